"""A run in words: pure functions from a report to what a person reads; no Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_melanoma.training.monitor import MONITORS, monitor_in

if TYPE_CHECKING:
    from napari_melanoma.runs.runs import RunReport

STOPPING = "stopping ..."
LOADING, WAITING = "loading the network", "waiting for the first step"
BEFORE_LOADING = ("Decoding images", "Looking at the files")


@dataclass(frozen=True)
class Seen:
    """What a watcher knows beyond the report.

    ``doing`` is the last event that says what a run does, ``tuning`` how many images choose its epoch, None where
    that is not known, ``worked`` how many seconds it was at work.
    """

    doing: Mapping[str, Any] = field(default_factory=dict)
    tuning: int | None = None
    worked: float | None = None

    def after(self, events: Sequence[Mapping[str, Any]], worked: float) -> Seen:
        """Give what is known after further events.

        ``worked``: seconds at work until now.
        """
        known = replace(self, worked=worked)
        for event in events:
            if event["kind"] in ("launched", "started", "progress"):
                known = replace(known, doing=event)
            if event["kind"] == "started" and (tuning := number(event, "tuning")) is not None:
                known = replace(known, tuning=int(tuning))
        return known


def said_doing(report: RunReport, seen: Seen) -> str:
    """Say what a run does while it tells nothing: after its last progress, and before its first step.

    Empty where the state says it.
    """
    doing = seen.doing
    if str(report.state) == "starting":
        return LOADING
    if str(report.state) != "running" or (number(report.step, "time") or 0.0) >= (number(doing, "time") or 0.0):
        return ""
    if doing["kind"] == "started":
        return WAITING
    done, total = number(doing, "done"), number(doing, "total")
    complete = done is not None and total is not None and done >= total
    return LOADING if complete and doing.get("message") in BEFORE_LOADING else ""


def said_state(report: RunReport, seen: Seen | None = None) -> str:
    """Say where a run stands, in a few words."""
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
        return f"finished: {_judged(report) or said_best(report, seen)}"
    return f"{state} {_after(report)}"


def said_more(report: RunReport, seen: Seen | None = None) -> str:
    """Say what else there is to know: the pace of a run at work, why one ended, and what can be done.

    One sentence or a few figures; may be empty.
    """
    state, seen = str(report.state), seen or Seen()
    if said_doing(report, seen):
        return ""
    if state == "running" and is_learning(report):
        return said_pace(report.step)
    if state == "running":
        done, total = number(seen.doing, "done"), number(seen.doing, "total")
        return "" if done is None or not total else f"{done:.0f} of {total:.0f}"
    if state == "finished":
        took = "" if not seen.worked else f" It took {said_seconds(seen.worked)}."
        return f"{report.message}{took}{_of_tuning(report, seen)}"
    return report.message


def is_learning(report: RunReport) -> bool:
    """Say whether a run at work goes through its epochs, and is not before or after them.

    False where it says that it is doing something else.
    """
    return not report.message or report.message.startswith("Epoch ")


def said_best(report: RunReport, seen: Seen | None = None) -> str:
    """Say how good the best epoch was, and on which images."""
    best = best_row(report.metrics)
    if best is None:
        return "no epoch was measured"
    count = None if seen is None else seen.tuning
    images = "the validation images" if count is None else f"{count:,} validation image{'' if count == 1 else 's'}"
    monitor = monitor_in(best)
    return f"{monitor.title} {best[monitor.name]:.3f} on {images} at epoch {int(best['epoch']) + 1}"


def _judged(report: RunReport) -> str:
    """Say how good the new model is on images that were held out, as users get it; empty where nobody has looked."""
    found = report.comparison
    if found is None or found.decisive is None:
        return ""
    old, new, _ = found.decisive
    images = f"{found.images:,} image{'' if found.images == 1 else 's'}"
    return f"{MONITORS[found.task].title} {new.mean:.3f} on {images} held out (old model {old.mean:.3f})"


def _of_tuning(report: RunReport, seen: Seen) -> str:
    """Tell the figure of the curves from that of the comparison."""
    if not _judged(report) or best_row(report.metrics) is None:
        return ""
    return f" While it learnt, at the network's size and unrefined: {said_best(report, seen)}."


def best_row(metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Find the epoch with the greatest value of what picks it: Jaccard index, or AUC, of the validation images.

    Of equals that with the smallest loss, as is kept; None where none was measured.
    """
    name = monitor_in(metrics[-1] if metrics else {}).name
    measured = [row for row in metrics if number(row, name) is not None and number(row, "epoch") is not None]
    return max(measured, key=lambda row: (float(row[name]), -(number(row, "tuning_loss") or 0)), default=None)


def number(row: Mapping[str, Any], name: str) -> float | None:
    """Read a number that may be missing.

    None also for what is no number, or no finite one.
    """
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def said_pace(step: Mapping[str, Any]) -> str:
    """Say how long a run takes yet, how fast it is and what memory it has.

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

    ``megabytes``: in MB. Such as ``640 MB`` or ``1.1 GB``.
    """
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1024:.1f} GB"


def share_done(report: RunReport) -> float | None:
    """Say which share of a run is done.

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

    Such as ``epoch 4 of 20``, or the name of the state.
    """
    return said_state(report) if str(report.state) in ("running", "paused") else str(report.state)


def said_facts(report: RunReport) -> str:
    """Say in one line how far a run came, how good its model is, and what it gained.

    Such as ``20 of 20 epochs · Jaccard 0.863 held out, +0.021 to the old``.
    """
    epochs = f"{report.epoch} of {report.epochs} epochs" if report.epochs else f"{report.epoch} epochs"
    parts = [epochs if report.epoch or not report.state.active else ""]
    found = report.comparison
    if found is not None and found.decisive is not None:
        _, new, change = found.decisive
        parts.append(f"{MONITORS[found.task].title} {new.mean:.3f} held out, {change.mean:+.3f} to the old")
    elif report.best is not None:
        parts.append(f"{report.monitor.title} {report.best:.3f} validation")
    if report.adopted is not None:
        parts.append("taken over")
    elif report.discarded:
        parts.append("discarded")
    return " · ".join(part for part in parts if part) or report.message
