"""What is monitored while a task trains: metric, patience, time, and failures in plain words."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_melanoma.core.errors import MelanomaError, TrainingError
from napari_melanoma.models.inference import is_out_of_memory

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe


class Monitor(NamedTuple):
    """A measure of the tuning images, the greater the better.

    ``name`` is its key in events, tables and the provenance of a bundle; ``title`` is for a person, and ``others`` are
    further measures of the same kind by their names.
    """

    name: str
    title: str
    others: tuple[tuple[str, str], ...] = ()

    @property
    def measures(self) -> tuple[tuple[str, str], ...]:
        """Name and title of each, the one that picks the epoch first."""
        return ((self.name, self.title), *self.others)


MONITORS = {
    "segmentation": Monitor("tuning_jaccard", "Jaccard", (("tuning_dice", "Dice"),)),
    "classification": Monitor("tuning_auc", "AUC", (("tuning_accuracy", "accuracy"),)),
}


def monitor_for_recipe(recipe: TrainRecipe) -> Monitor:
    """Say what picks the epoch of a recipe.

    Name, title and companions.
    """
    return MONITORS[recipe.task]


def monitor_from_values(values: Mapping[str, Any]) -> Monitor:
    """Find which measure a row, an event or a provenance speaks of.

    That of segmentation where it speaks of none.
    """
    return next((found for found in MONITORS.values() if found.name in values), MONITORS["segmentation"])


ROUNDING = 1e-9


def patience_warnings(recipe: TrainRecipe) -> tuple[str, ...]:
    """Warn of a patience that does not last from the end of one cycle of ``cosine_restarts`` to that of the next.

    A sentence that says what to change; empty where all is well.
    """
    longest = longest_cycle(recipe.epochs, recipe.cycle_epochs, recipe.cycle_growth)
    if recipe.schedule != "cosine_restarts" or recipe.patience >= longest:
        return ()
    return (
        f"patience = {recipe.patience} may stop the run in the middle of a cycle of {longest:g} epochs, while nothing "
        f"can get better until its end. Set patience to {math.ceil(longest)} or more, or choose shorter cycles.",
    )


def longest_cycle(epochs: int, first: float, growth: float) -> float:
    """Give the longest cycle that a run gets through after the rate has sprung back.

    In epochs; 0 where there is but one cycle.
    """
    share = epochs / first * (1 + ROUNDING)
    cycles = math.floor(math.log1p(share * (growth - 1)) / math.log(growth) if growth > 1 else share)
    return first * growth ** (cycles - 1) if cycles > 1 else 0.0


class PausableClock:
    """Seconds of work, and whether it is time again for something that is done now and then."""

    def __init__(self) -> None:
        self._paused_s = 0.0
        self._last_times: dict[str, float] = {}

    def now(self) -> float:
        """Read the clock.

        Seconds since some moment, without pauses.
        """
        return time.monotonic() - self._paused_s

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Stand still.

        While nothing is counted.
        """
        began = time.monotonic()
        try:
            yield
        finally:
            self._paused_s += time.monotonic() - began

    def is_due(self, what: str, interval_s: float) -> bool:
        """Say whether something is to be done again, and take it for done.

        ``interval_s``: seconds from one time to the next. False the first time asked, unless the interval is nothing:
        its seconds begin then.
        """
        now = self.now()
        if now - self._last_times.setdefault(what, now) < interval_s:
            return False
        self._last_times[what] = now
        return True


class EpochTimer:
    """How fast an epoch goes, and how long the rest of the run will take at that."""

    VALIDATION_SHARE = 0.4  # of a batch's time, where none was measured yet: forward without backward

    def __init__(self, clock: PausableClock) -> None:
        self._clock = clock
        self._began = clock.now()
        self._validation_began = self._began
        self._done = 0
        self._validation_s: float | None = None

    def begin_epoch(self) -> None:
        """Begin to count batches anew."""
        self._began, self._done = self._clock.now(), 0

    def count_batch(self) -> None:
        """Count one more batch."""
        self._done += 1

    def begin_validation(self) -> None:
        """Begin to time a pass over the tuning images."""
        self._validation_began = self._clock.now()

    def end_validation(self) -> None:
        """Keep how long it took."""
        self._validation_s = self._clock.now() - self._validation_began

    def epoch_seconds(self) -> float:
        """Say how long the epoch has taken so far.

        Seconds.
        """
        return self._clock.now() - self._began

    def batch_seconds(self) -> float:
        """Say how long a batch of this epoch took.

        Seconds.
        """
        return self.epoch_seconds() / max(1, self._done)

    def seconds_left(self, batches: int, validation_batches: int, passes: int) -> float:
        """Judge how long the run will take yet, if it is not stopped early.

        Seconds.
        """
        one = self.batch_seconds()
        tuning = (
            self._validation_s if self._validation_s is not None else self.VALIDATION_SHARE * one * validation_batches
        )
        return batches * one + passes * tuning


PEER_MARKERS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "ProcessGroup", "c10d")
READER_MARKERS = ("DataLoader worker",)
DEVICE_MARKERS = (
    "CUDA error",
    "HIP error",
    "MPS backend",
    "device-side assert",
    "CUDNN_STATUS",
    "CUBLAS_STATUS",
    "NVML",
)
MEMORY_FULL = (
    "the memory of the {where} is full even for one image at a time. "
    "Close what else uses it, take a smaller model.input_size, or train on another device."
)
SHARED_MEMORY_FULL = (
    "the memory of one of several devices is full. Resume the run: it then computes each step in {pieces} pieces."
)
DEVICE_LOST = (
    "the GPU was lost or refused to work ({said}). Restart the machine or its driver if that happens again; "
    "--resume goes on after the last finished epoch."
)
PEER_LOST = (
    "another process of this run ended, or could not be reached ({said}). Its own output says why; "
    "--resume goes on after the last finished epoch."
)
READER_LOST = (
    "a process that reads images ahead was ended, most often because memory ran out ({said}). "
    "Lower workers, then resume the run."
)
DIVERGED = (
    "the {what} is no finite number any more, in {place}. Start again with a lower learning_rate (it was {rate:g})"
    "{other}. "
    "The best checkpoint of the finished epochs is kept."
)


def is_peer_lost(error: BaseException) -> bool:
    """Say whether an error only tells that another process of the run went away.

    True where the cause is in another process.
    """
    return isinstance(error, RuntimeError) and any(word in str(error) for word in PEER_MARKERS)


def explain_error(error: Exception) -> Exception:
    """Turn an error of torch into one with a sentence that a person can act on.

    A ``TrainingError`` where the cause is known; otherwise the error itself.
    """
    if isinstance(error, MelanomaError):
        return error
    said = _first_line(error)
    if is_out_of_memory(error):
        return TrainingError(MEMORY_FULL.format(where="GPU" if "CUDA" in said else "computer"))
    for words, sentence in ((PEER_MARKERS, PEER_LOST), (READER_MARKERS, READER_LOST), (DEVICE_MARKERS, DEVICE_LOST)):
        if isinstance(error, RuntimeError) and any(word in str(error) for word in words):
            return TrainingError(sentence.format(said=said))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return TrainingError("the disk is full. Free some space, then resume the run.")
    return error


def divergence_message(recipe: TrainRecipe, what: str, epoch: int, batch: int | None) -> str:
    """Say that numbers became none, where, and what to change."""
    place = f"epoch {epoch + 1}" + ("" if batch is None else f", batch {batch + 1}")
    other = "" if recipe.precision == "fp32" else ' or precision = "fp32"'
    return DIVERGED.format(what=what, place=place, rate=recipe.learning_rate, other=other)


def _first_line(error: Exception) -> str:
    """The first line of a message, without torch's advice to programmers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
