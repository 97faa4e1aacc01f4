"""A run in words: pure functions from a report to what a person reads; no Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_melanoma.workflows.runs import RunReport

STOPPING = "stopping after this batch ..."


def said_state(report: RunReport) -> str:
    """Say where a run stands, in a few words.

    Parameters
    ----------
    report : RunReport
        As it was read.

    Returns
    -------
    str
        Such as ``epoch 4 of 20``.
    """
    state = str(report.state)
    if state in ("queued", "starting"):
        return state
    if state == "running":
        return _where(report) if is_learning(report) else _lower(report.message.rstrip("."))
    if state == "paused":
        return f"paused in {_where(report)}" if report.step or report.metrics else "paused"
    if state == "cancelling":
        return STOPPING
    if state == "finished":
        return f"finished: {said_best(report)}"
    return f"{state} {_after(report)}"


def said_more(report: RunReport, doing: Mapping[str, Any] | None = None) -> str:
    """Say what else there is to know: the pace of a run at work, why one ended, and what can be done.

    Parameters
    ----------
    report : RunReport
        As it was read.
    doing : mapping, optional
        The last progress event, of a run that is doing something else than learning.

    Returns
    -------
    str
        One sentence or a few figures; may be empty.
    """
    state = str(report.state)
    if state == "running" and is_learning(report):
        return said_pace(report.step)
    if state in ("running", "starting"):
        done, total = number(doing or {}, "done"), number(doing or {}, "total")
        return "" if done is None or not total else f"{done:.0f} of {total:.0f}"
    if state == "finished" and report.started and report.ended:
        return f"{report.message} It took {said_seconds(report.ended - report.started)}."
    return report.message


def is_learning(report: RunReport) -> bool:
    """Say whether a run at work goes through its epochs, and is not before or after them.

    Parameters
    ----------
    report : RunReport
        As it was read.

    Returns
    -------
    bool
        False where it says that it is doing something else.
    """
    return not report.message or report.message.startswith("Epoch ")


def said_best(report: RunReport) -> str:
    """Say how good the best epoch was.

    Parameters
    ----------
    report : RunReport
        As it was read.

    Returns
    -------
    str
        Such as ``Jaccard 0.863 at epoch 12``.
    """
    best = best_row(report.metrics)
    if best is None:
        return "no epoch was measured"
    return f"Jaccard {best['tuning_jaccard']:.3f} at epoch {int(best['epoch']) + 1}"


def best_row(metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Find the epoch with the greatest Jaccard index of the tuning images.

    Parameters
    ----------
    metrics : sequence of mapping
        Rows of ``metrics.csv``.

    Returns
    -------
    mapping or None
        The first of equals; None where none was measured.
    """
    measured = [
        row for row in metrics if number(row, "tuning_jaccard") is not None and number(row, "epoch") is not None
    ]
    return max(measured, key=lambda row: float(row["tuning_jaccard"]), default=None)


def number(row: Mapping[str, Any], name: str) -> float | None:
    """Read a number that may be missing.

    Parameters
    ----------
    row : mapping
        A row of a table or an event.
    name : str
        Its key.

    Returns
    -------
    float or None
        None also for what is no number, or no finite one.
    """
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def said_pace(step: Mapping[str, Any]) -> str:
    """Say how long a run takes yet, how fast it is and what memory it has.

    Parameters
    ----------
    step : mapping
        The last step event; empty where there is none.

    Returns
    -------
    str
        Such as ``3 min left · 58 images/s · 1.1 GB memory``; parts that are not known are left out.
    """
    left, pace = number(step, "eta_s"), number(step, "images_per_second")
    memory, on_gpu = number(step, "memory_mb"), number(step, "gpu_memory_mb")
    parts = [
        "" if left is None else f"{said_seconds(left)} left",
        "" if pace is None else f"{pace:.0f} images/s" if pace >= 10 else f"{pace:.1f} images/s",
        "" if memory is None else f"{said_memory(memory)} memory",
        "" if on_gpu is None else f"{said_memory(on_gpu)} on the GPU",
    ]
    return " · ".join(part for part in parts if part)


def said_seconds(seconds: float) -> str:
    """Say a time span as people do.

    Parameters
    ----------
    seconds : float
        Its length.

    Returns
    -------
    str
        Such as ``40 s``, ``3 min``, ``1 h 20 min``.
    """
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 10 and rest else f"{hours} h"


def said_memory(megabytes: float) -> str:
    """Say an amount of memory.

    Parameters
    ----------
    megabytes : float
        In MB.

    Returns
    -------
    str
        Such as ``640 MB`` or ``1.1 GB``.
    """
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1024:.1f} GB"


def share_done(report: RunReport) -> float | None:
    """Say which share of a run is done.

    Parameters
    ----------
    report : RunReport
        As it was read.

    Returns
    -------
    float or None
        Between 0 and 1; None where it is not known.
    """
    if str(report.state) == "finished":
        return 1.0
    if not report.epochs:
        return None
    done = float(report.epoch)
    batches, epoch = number(report.step, "batches"), number(report.step, "epoch")
    if batches and epoch is not None:
        done = max(done, epoch + (number(report.step, "batch") or 0.0) / batches)
    return min(1.0, done / report.epochs)


def _where(report: RunReport) -> str:
    """Name the epoch that is under way, counted as people do."""
    step = number(report.step, "epoch")
    epoch = max(report.epoch, 0 if step is None else int(step)) + 1
    return f"epoch {min(epoch, report.epochs)} of {report.epochs}" if report.epochs else f"epoch {epoch}"


def _after(report: RunReport) -> str:
    if not report.epoch:
        return "before the first epoch was done"
    return f"after epoch {report.epoch} of {report.epochs}" if report.epochs else f"after epoch {report.epoch}"


def _lower(sentence: str) -> str:
    """Begin with a small letter, as the other states do."""
    return sentence[:1].lower() + sentence[1:]


def said_short(report: RunReport) -> str:
    """Say where a run stands, in the fewest words.

    Parameters
    ----------
    report : RunReport
        As it was read.

    Returns
    -------
    str
        Such as ``epoch 4 of 20``, or the name of the state.
    """
    return said_state(report) if str(report.state) in ("running", "paused") else str(report.state)


def said_facts(report: RunReport) -> str:
    """Say in one line how far a run came, how good its model is, and what it gained.

    Parameters
    ----------
    report : RunReport
        As it was read.

    Returns
    -------
    str
        Such as ``20 of 20 epochs · Jaccard 0.863 · +0.021 to the old model``.
    """
    epochs = f"{report.epoch} of {report.epochs} epochs" if report.epochs else f"{report.epoch} epochs"
    parts = [epochs if report.epoch or not report.state.active else ""]
    if report.best_jaccard is not None:
        parts.append(f"Jaccard {report.best_jaccard:.3f}")
    if report.comparison is not None:
        parts.append(f"{report.comparison.difference['JA'].mean:+.3f} to the old")
    if report.adopted is not None:
        parts.append("taken over")
    elif report.discarded:
        parts.append("discarded")
    return " · ".join(part for part in parts if part) or report.message
