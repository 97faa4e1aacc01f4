"""Monitoring of a training: the measure that selects the epoch, timers, and messages that explain failures."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import MelanomaError, TrainingError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.metrics.agreement import MIN_CASES
from napari_melanoma.models.torch_inference import is_out_of_memory

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe


# Parts of error messages of torch, by cause.
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
    "the memory of the {where} is full even with one image at a time. "
    "Close other programs, set a smaller model.input_size, or train on another device."
)
SHARED_MEMORY_FULL = (
    "the memory of one of several devices is full. Resume the run: it then uses gradient "
    "accumulation over {accumulate_batches} micro-batches."
)
DEVICE_LOST = (
    "the GPU was lost or stopped working ({reason}). If this happens again, restart the machine or its driver; "
    "resuming the run (Python: resume=True, command line: --resume) continues at the last checkpoint."
)
PEER_LOST = (
    "another process of this run ended or is not reachable ({reason}). See its own output for the cause; "
    "resuming the run (Python: resume=True, command line: --resume) continues at the last checkpoint."
)
READER_LOST = (
    "a data loading process was ended, usually because memory ran out ({reason}). "
    "Decrease workers, then resume the run."
)
DIVERGED = (
    "the {what} is not a finite number any more, in {place}. Start again with a lower learning_rate (it was {rate:g})"
    "{other}. The best checkpoint of the finished epochs is kept."
)
MIN_VALIDATION_IMAGES, MIN_VALIDATION_GROUPS = 10, 5  # with fewer, figures of the validation set are imprecise
ROUNDING = 1e-9  # relative tolerance when counting complete cycles


class Monitor(NamedTuple):
    """A measure on the validation set; greater is better, unless it is a loss.

    ``name``: key in events, tables and the provenance of a bundle. ``title``: for users. ``others``: name and title of
    further measures that are reported.
    """

    name: str
    title: str
    others: tuple[tuple[str, str], ...] = ()
    is_loss: bool = False

    def score(self, value: float) -> float:
        """Return a number that is greater for a better value."""
        return -value if self.is_loss else value

    @property
    def measures(self) -> tuple[tuple[str, str], ...]:
        """Name and title of each measure; the first selects the epoch."""
        return ((self.name, self.title), *self.others)


MONITORS = {
    "segmentation": Monitor("validation_jaccard", "Jaccard", (("validation_dice", "Dice"),)),
    "classification": Monitor("validation_auc", "AUC", (("validation_accuracy", "accuracy"),)),
}
LOSS_MONITOR = Monitor("validation_loss", "loss", is_loss=True)


def describe_groups(groups: int) -> str:
    """Format a number of patients or lesions."""
    return f"{groups} patient{'s' * (groups > 1)} or lesion{'s' * (groups > 1)}"


def describe_few_validation(images: int, groups: int, noun: str = "validation image") -> str:
    """Describe a validation set that is too small for a reliable figure; "" if it is not.

    ``images``, ``groups``: numbers of images, and of patients or lesions; 0 images: no validation set. ``noun``: what
    the images are.
    """
    if not images or (images >= MIN_VALIDATION_IMAGES and groups >= MIN_VALIDATION_GROUPS):
        return ""
    return f"imprecise: {format_count(images, noun)} of {describe_groups(groups)}"


def monitor_for_recipe(recipe: TrainRecipe) -> Monitor:
    """Return the measure that selects the epoch of a recipe."""
    return LOSS_MONITOR if recipe.monitor == "loss" else MONITORS[recipe.task]


def monitor_from_values(values: Mapping[str, Any]) -> Monitor:
    """Find the monitor whose value a row, an event or a provenance contains; by default that of segmentation."""
    return next((monitor for monitor in MONITORS.values() if monitor.name in values), MONITORS["segmentation"])


def patience_warnings(recipe: TrainRecipe) -> tuple[str, ...]:
    """Return a warning if the patience is shorter than a cycle of ``cosine_restarts``."""
    longest = longest_cycle(recipe.epochs, recipe.cycle_epochs, recipe.cycle_growth)
    if recipe.schedule != "cosine_restarts" or recipe.patience >= longest:
        return ()
    return (
        f"patience = {recipe.patience} may stop the run in the middle of a cycle of {longest:g} epochs, before it can "
        f"improve again. Set patience to {math.ceil(longest)} or more, or choose shorter cycles.",
    )


def longest_cycle(epochs: int, first: float, growth: float) -> float:
    """Return the length in epochs of the longest complete cycle of ``cosine_restarts``; 0 for fewer than two.

    ``first``: epochs of the first cycle. ``growth``: growth factor of the cycle length.
    """
    share = epochs / first * (1 + ROUNDING)
    cycles = math.floor(math.log1p(share * (growth - 1)) / math.log(growth) if growth > 1 else share)
    return first * growth ** (cycles - 1) if cycles > 1 else 0.0


class PausableClock:
    """A clock that stops during pauses, and the intervals of repeated actions."""

    def __init__(self) -> None:
        self._paused_s = 0.0
        self._last_times: dict[str, float] = {}

    def now(self) -> float:
        """Return the seconds since an arbitrary start, without pauses."""
        return time.monotonic() - self._paused_s

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Stop the clock inside the ``with`` block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._paused_s += time.monotonic() - began

    def is_due(self, action: str, interval_s: float) -> bool:
        """Whether an action is due again; if so, its next interval starts.

        The first call for an action starts its interval, and returns False unless the interval is 0.
        """
        now = self.now()
        if now - self._last_times.setdefault(action, now) < interval_s:
            return False
        self._last_times[action] = now
        return True


class EpochTimer:
    """Times epochs, batches and validation, and estimates the remaining time."""

    VALIDATION_SHARE = 0.4  # assumed time of a validation batch relative to a training batch, until one is measured

    def __init__(self, clock: PausableClock) -> None:
        self._clock = clock
        self._began = clock.now()
        self._earlier_s = 0.0
        self._validation_began = self._began
        self._done = 0
        self._validation_s: float | None = None

    def begin_epoch(self, earlier_s: float = 0.0) -> None:
        """Start timing an epoch; ``earlier_s``: seconds that a resumed epoch took before."""
        self._began, self._done, self._earlier_s = self._clock.now(), 0, earlier_s

    def count_batch(self) -> None:
        self._done += 1

    def begin_validation(self) -> None:
        """Start timing a validation pass."""
        self._validation_began = self._clock.now()

    def end_validation(self) -> None:
        self._validation_s = self._clock.now() - self._validation_began

    def epoch_seconds(self) -> float:
        """Return the seconds of the epoch until now."""
        return self._earlier_s + self._clock.now() - self._began

    def batch_seconds(self) -> float:
        """Return the mean seconds of a batch, since the epoch was started or resumed."""
        return (self._clock.now() - self._began) / max(1, self._done)

    def seconds_left(self, batches: int, validation_batches: int, passes: int) -> float:
        """Estimate the remaining seconds without early stopping.

        ``batches``: remaining training batches. ``validation_batches``: batches of one validation. ``passes``:
        remaining validations.
        """
        batch_s = self.batch_seconds()
        validation_s = (
            self._validation_s
            if self._validation_s is not None
            else self.VALIDATION_SHARE * batch_s * validation_batches
        )
        return batches * batch_s + passes * validation_s


def is_peer_lost(error: BaseException) -> bool:
    """Whether an error only reports that another process of the run was lost."""
    return isinstance(error, RuntimeError) and any(word in str(error) for word in PEER_MARKERS)


def explain_error(error: Exception) -> Exception:
    """Return a ``TrainingError`` with an explanation of an error of torch; other errors are returned unchanged."""
    if isinstance(error, MelanomaError):
        return error
    reason = _first_line(error)
    if is_out_of_memory(error):
        return TrainingError(MEMORY_FULL.format(where="GPU" if "CUDA" in reason else "computer"))
    for words, sentence in ((PEER_MARKERS, PEER_LOST), (READER_MARKERS, READER_LOST), (DEVICE_MARKERS, DEVICE_LOST)):
        if isinstance(error, RuntimeError) and any(word in str(error) for word in words):
            return TrainingError(sentence.format(reason=reason))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return TrainingError("the disk is full. Free some space, then resume the run.")
    return error


def divergence_message(recipe: TrainRecipe, quantity: str, epoch: int, batch: int | None) -> str:
    """Describe where a value is no longer finite, and what to change.

    ``quantity``: name of the value. ``epoch``, ``batch``: counted from 0.
    """
    place = f"epoch {epoch + 1}" + ("" if batch is None else f", batch {batch + 1}")
    other = "" if recipe.precision == "fp32" else ' or precision = "fp32"'
    return DIVERGED.format(what=quantity, place=place, rate=recipe.learning_rate, other=other)


def _first_line(error: Exception) -> str:
    """Return the first line of a message, without torch's advice to programmers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__


def measure_validation_depths(predicted_mm: NDArray[np.float64], true_mm: NDArray[np.float64]) -> dict[str, float]:
    """Evaluate predicted depths.

    ``predicted_mm``, ``true_mm``: float64 (image,); NaN if unknown. Returns ``validation_depth_mae_mm`` and
    ``validation_depth_r`` (Pearson; 0 if all predictions are equal); empty if there are too few cases.
    """
    is_known = ~np.isnan(true_mm)
    predicted, true = predicted_mm[is_known], true_mm[is_known]
    if len(true) < MIN_CASES:
        return {}
    spread = float(predicted.std() * true.std())
    correlation = float(((predicted - predicted.mean()) * (true - true.mean())).mean()) / spread if spread > 0 else 0.0
    return {"validation_depth_mae_mm": float(np.abs(predicted - true).mean()), "validation_depth_r": correlation}
