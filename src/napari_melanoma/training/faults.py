"""What torch and its drivers say when a run dies, in words that a person can act on; torch-free, judges messages."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError, TrainingError
from napari_melanoma.models.memory import is_out_of_memory

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

PEER_WORDS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "ProcessGroup", "c10d")
READER_WORDS = ("DataLoader worker",)
DEVICE_WORDS = ("CUDA error", "HIP error", "MPS backend", "device-side assert", "CUDNN_STATUS", "CUBLAS_STATUS", "NVML")

MEMORY = (
    "the memory of the {where} is full even for one image at a time. "
    "Close what else uses it, take a smaller model.input_size, or train on another device."
)
SHARED_MEMORY = (
    "the memory of one of several devices is full. Resume the run: it then computes each step in {pieces} pieces."
)
DEVICE = (
    "the GPU was lost or refused to work ({said}). Restart the machine or its driver if that happens again; "
    "--resume goes on after the last finished epoch."
)
PEER = (
    "another process of this run ended, or could not be reached ({said}). Its own output says why; "
    "--resume goes on after the last finished epoch."
)
READER = (
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
    return isinstance(error, RuntimeError) and any(word in str(error) for word in PEER_WORDS)


def explain(error: Exception) -> Exception:
    """Turn an error of torch into one with a sentence that a person can act on.

    A ``TrainingError`` where the cause is known; otherwise the error itself.
    """
    if isinstance(error, MelanomaError):
        return error
    said = _first_line(error)
    if is_out_of_memory(error):
        return TrainingError(MEMORY.format(where="GPU" if "CUDA" in said else "computer"))
    for words, sentence in ((PEER_WORDS, PEER), (READER_WORDS, READER), (DEVICE_WORDS, DEVICE)):
        if isinstance(error, RuntimeError) and any(word in str(error) for word in words):
            return TrainingError(sentence.format(said=said))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return TrainingError("the disk is full. Free some space, then resume the run.")
    return error


def diverged(recipe: TrainRecipe, what: str, epoch: int, batch: int | None) -> str:
    """Say that numbers became none, where, and what to change."""
    place = f"epoch {epoch + 1}" + ("" if batch is None else f", batch {batch + 1}")
    other = "" if recipe.precision == "fp32" else ' or precision = "fp32"'
    return DIVERGED.format(what=what, place=place, rate=recipe.learning_rate, other=other)


def _first_line(error: Exception) -> str:
    """The first line of a message, without torch's advice to programmers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
