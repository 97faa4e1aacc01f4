"""Texts about the state and the results of a training run: pure functions of its report, without Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.formatting import format_count, format_duration
from napari_melanoma.metrics.metric_table import metric_label
from napari_melanoma.training.monitor import MONITORS, Monitor

if TYPE_CHECKING:
    from napari_melanoma.evaluation.comparison_results import Comparison
    from napari_melanoma.runs.launching import RunReport

CANCELING = "canceling ..."


def describe_state(report: RunReport, validation_images: int | None = None) -> str:
    """Describe the state of a run, such as ``epoch 4 of 20``, with the result of a finished run.

    ``validation_images``: size of the validation set, None if unknown.
    """
    state = str(report.state)
    if state in ("queued", "starting"):
        return state
    if state == "running":
        return _describe_epoch(report) if is_training(report) else _lower_first(report.message.rstrip("."))
    if state == "paused":
        return f"paused in {_describe_epoch(report)}" if report.step or report.metrics else "paused"
    if state == "cancelling":
        return CANCELING
    if state == "finished":
        result = _describe_test_result(report) or _describe_final_result(report, validation_images)
        return f"finished: {result or describe_kept_epoch(report, validation_images)}"
    return f"{_name_state(report)} {_describe_end(report)}" if report.started else _name_state(report)


def describe_details(report: RunReport, active_seconds: float = 0.0, validation_images: int | None = None) -> str:
    """Describe the speed of an active run, or how a run ended; may be empty.

    ``active_seconds``: how long the run was active, 0 if unknown.
    """
    state = str(report.state)
    if state in ("starting", "running"):
        return describe_pace(report.step) if state == "running" and is_training(report) else ""
    if state == "finished":
        duration = f" Duration: {format_duration(active_seconds)}." if active_seconds else ""
        return f"{report.message}{duration}{_describe_validation_result(report, validation_images)}"
    return report.message


def is_training(report: RunReport) -> bool:
    """Return whether an active run is in its training epochs, not preparing or finishing."""
    # During training, the message is empty or like "Epoch 4 of 20."; otherwise, it comes from the last progress event.
    return not report.message or report.message.startswith("Epoch ")


def describe_kept_epoch(report: RunReport, validation_images: int | None = None) -> str:
    monitor = report.monitor
    kept = find_kept_row(report.metrics, monitor, keeps_last(report))
    if kept is None:
        return "no epoch was measured"
    images = _name_validation_images(report, validation_images)
    threshold = " at threshold 0.5" if _is_thresholded(report) else ""
    return f"{monitor.title} {kept[monitor.name]:.3f}{threshold} on {images} at epoch {int(kept['epoch']) + 1}"


def _describe_final_result(report: RunReport, validation_images: int | None) -> str:
    """Describe the result of the finished model on the validation set, at its own threshold; empty if unknown."""
    monitor, value = report.monitor, parse_number(report.final, report.monitor.name)
    if value is None:
        return ""
    threshold = f" at threshold {report.final['threshold']:g}" if _is_thresholded(report) else ""
    return f"{monitor.title} {value:.3f}{threshold} on {_name_validation_images(report, validation_images)}"


def _is_thresholded(report: RunReport) -> bool:
    """Return whether the figures of a finished run depend on a threshold: 0.5 in each epoch, then that of the model."""
    return report.monitor.name == "validation_jaccard" and parse_number(report.final, "threshold") is not None


def _name_validation_images(report: RunReport, count: int | None) -> str:
    few = " (imprecise)" if report.few_validation else ""  # a note states why
    return f"{'the validation images' if count is None else format_count(count, 'validation image')}{few}"


def _describe_test_result(report: RunReport) -> str:
    """Describe the result of the new model on the test set; empty without a comparison."""
    comparison = report.comparison
    if comparison is None or comparison.decisive is None:
        return ""
    old, new, _ = comparison.decisive
    images = format_count(comparison.images, "image")
    return f"{_metric_title(comparison)} {new.mean:.3f} on {images} of the test set (old model {old.mean:.3f})"


def _metric_title(comparison: Comparison) -> str:
    monitor = MONITORS.get(comparison.task)
    return metric_label(comparison.metric) if monitor is None else monitor.title


def _describe_validation_result(report: RunReport, validation_images: int | None) -> str:
    """Describe the validation result of the kept epoch, to explain why it differs from the test result.

    Empty if there is no test result, or no validation result.
    """
    kept_row = find_kept_row(report.metrics, report.monitor, keeps_last(report))
    if not _describe_test_result(report) or kept_row is None:
        return ""
    kept = describe_kept_epoch(report, validation_images)
    return f" During training, at the network's input size without refinement: {kept}."


def keeps_last(report: RunReport) -> bool:
    """Return whether the model of a run is that of the last epoch, not of the best one."""
    return report.recipe is not None and report.recipe.keep == "last"


def find_kept_row(
    metrics: Sequence[Mapping[str, Any]], monitor: Monitor, is_last_kept: bool
) -> Mapping[str, Any] | None:
    """Return the row of the epoch that is kept: the best one, or the last one; None if none was measured.

    Of epochs with the same value, the one with the smaller validation loss is the best.
    """
    name = monitor.name
    measured = [
        row for row in metrics if parse_number(row, name) is not None and parse_number(row, "epoch") is not None
    ]

    def rank(row: Mapping[str, Any]) -> tuple[float, float]:
        loss = parse_number(row, "validation_loss")
        return monitor.score(float(row[name])), -math.inf if loss is None else -loss

    return next(reversed(measured), None) if is_last_kept else max(measured, key=rank, default=None)


def parse_number(row: Mapping[str, Any], name: str) -> float | None:
    """Read a finite number; None if it is missing or invalid."""
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def describe_pace(step: Mapping[str, Any]) -> str:
    """Describe remaining time, speed and memory, such as ``3 min left · 58 images/s · 1.1 GB memory``."""
    left, speed = parse_number(step, "eta_s"), parse_number(step, "images_per_second")
    memory, gpu_memory = parse_number(step, "memory_mb"), parse_number(step, "gpu_memory_mb")
    parts = [
        "" if left is None else f"{format_duration(left)} left",
        "" if speed is None else f"{speed:.0f} images/s" if speed >= 10 else f"{speed:.1f} images/s",
        "" if memory is None else f"{format_memory(memory)} memory",
        "" if gpu_memory is None else f"{format_memory(gpu_memory)} on the GPU",
    ]
    return " · ".join(part for part in parts if part)


def format_memory(megabytes: float) -> str:
    """Format an amount of memory, such as ``640 MB`` or ``1.1 GB``."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1024:.1f} GB"


def completed_fraction(report: RunReport) -> float | None:
    """Return the completed share of a run, from 0 to 1; None if unknown."""
    if str(report.state) == "finished":
        return 1.0
    if not report.epochs:
        return None
    done = float(report.epoch)
    batches, epoch = parse_number(report.step, "batches"), parse_number(report.step, "epoch")
    if batches and epoch is not None:
        done = max(done, epoch + (parse_number(report.step, "batch") or 0.0) / batches)
    return min(1.0, done / report.epochs)


def _describe_epoch(report: RunReport) -> str:
    """Format the current epoch, counted from 1."""
    step = parse_number(report.step, "epoch")
    epoch = max(report.epoch, 0 if step is None else int(step)) + 1
    unit = report.unit
    return f"{unit} {min(epoch, report.epochs)} of {report.epochs}" if report.epochs else f"{unit} {epoch}"


def _describe_end(report: RunReport) -> str:
    if not report.epoch:
        return f"before the first {report.unit} was finished"
    done = f"after {report.unit} {report.epoch}"
    return f"{done} of {report.epochs}" if report.epochs else done


def _lower_first(sentence: str) -> str:
    """Make the first letter lowercase."""
    return sentence[:1].lower() + sentence[1:]


def describe_state_briefly(report: RunReport) -> str:
    """Describe the state of a run for a list, without results, such as ``epoch 4 of 20``."""
    return describe_state(report) if str(report.state) in ("running", "paused") else _name_state(report)


def _name_state(report: RunReport) -> str:
    """Name a state for users; the stored names have British spelling."""
    return {"cancelled": "canceled", "cancelling": CANCELING}.get(str(report.state), str(report.state))


def describe_result(report: RunReport) -> str:
    """Describe the result of a run, such as ``20 of 20 epochs · test Jaccard 0.863 (+0.021 vs. old model)``."""
    epochs = f"{report.epoch} of {report.epochs} {report.unit}s" if report.epochs else f"{report.epoch} {report.unit}s"
    parts = [epochs if report.epoch or not report.state.active else ""]
    comparison = report.comparison
    if comparison is not None and comparison.decisive is not None:
        _, new, change = comparison.decisive
        parts.append(f"test {_metric_title(comparison)} {new.mean:.3f} ({change.mean:+.3f} vs. old model)")
    elif report.validation_result is not None:
        few = " (imprecise)" if report.few_validation else ""  # a note states why
        parts.append(f"validation {report.monitor.title} {report.validation_result:.3f}{few}")
    if report.activated_as is not None:
        parts.append("in use")
    elif report.discarded:
        parts.append("discarded")
    return " · ".join(part for part in parts if part) or report.message
