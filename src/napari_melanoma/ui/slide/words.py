"""What is said of the analysis of a slide: how far it is, what was found, why it cannot be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.durations import duration
from napari_melanoma.ui.failures import without_options

if TYPE_CHECKING:
    from napari_melanoma.io.slides.slide import SlideInfo
    from napari_melanoma.workflows.slide_runs import SlideRun

NONE_DONE = "Press Analyse to start again."
NO_SLIDE = "Open a slide first."
NO_MODEL = "Choose a model first."
RUNNING = "The slide is being analysed."
FLUORESCENCE = (
    "This slide shows fluorescence. Models of slides learnt from brightfield stains such as H&E and would answer "
    "nonsense, so it is only looked at, channel by channel."
)
NO_SCALE = "The slide has no scale, and tiles have a size in micrometres: set it with the ruler beside the list."


def why_not(info: SlideInfo | None, model: str, *, running: bool) -> str:
    """Say why a slide cannot be analysed now.

    Empty where it can be.
    """
    if info is None:
        return NO_SLIDE
    if info.kind != "brightfield":
        return FLUORESCENCE
    if info.pixel_size is None:
        return NO_SCALE
    if not model:
        return NO_MODEL
    return RUNNING if running else ""


def no_resume(run: SlideRun) -> str:
    """Say why there is nothing to resume.

    Empty where there is.
    """
    return "" if run.done or str(run.state) not in ("cancelled", "lost") else NONE_DONE


def said_run(run: SlideRun) -> str:
    """Say how an analysis fares, in a line.

    Such as ``1,240 / 8,112 tiles  ·  212/s  ·  32 s left``.
    """
    state = str(run.state)
    if state in ("cancelled", "lost"):
        return f"{run.message} {'Resume goes on from there.' if run.done else NONE_DONE}"
    if state != "running" or not run.total:
        return without_options(run.message)
    parts = [f"{run.done:,} / {run.total:,} tiles"]
    if run.tiles_per_s:
        parts.append(f"{run.tiles_per_s:.0f}/s" if run.tiles_per_s >= 10 else f"{run.tiles_per_s:.1f}/s")
    if run.eta_s is not None:
        parts.append(f"{duration(run.eta_s)} left")
    if run.failed:
        parts.append(f"{run.failed:,} could not be read")
    return "  ·  ".join(parts)


def said_end(run: SlideRun, content: Mapping[str, Any]) -> str:
    """Say in a sentence what an analysis came to.

    What was done, on what, in which time.
    """
    if str(run.state) in ("failed", "cancelled") or not content:
        return run.message
    tiles, seconds = content.get("tiles_done", 0), float(content.get("seconds") or 0.0)
    model = (content.get("model") or {}).get("name", "")
    return f"{content.get('slide', '')}: {tiles:,} tiles in {duration(seconds)} by {model}."


def said_answer(content: Mapping[str, Any]) -> str:
    """Say what the slide as a whole was answered, in numbers; never as a verdict.

    Empty where there is no answer.
    """
    target, scores = content.get("target"), content.get("scores") or {}
    if not target or content.get("probability") is None:
        return ""
    if "attention" in scores:
        return f"{target} {float(content['probability']):.2f}, attention over all tiles{_said_prevalence(content)}"
    method = ((content.get("options") or {}).get("score") or {}).get("method", "mean")
    others = [
        f"{name.replace('_', ' ')} {values[target]:.2f}"
        for name, values in scores.items()
        if name != method and target in values
    ]
    said = f"{target} {float(content['probability']):.2f}, {method.replace('_', ' ')} of all tiles"
    return f"{said} ({', '.join(others)})" if others else said


def _said_prevalence(content: Mapping[str, Any]) -> str:
    """Say to which prevalence an answer was brought, and what it was before."""
    known = content.get("calibration") or {}
    stated = known.get("stated_prevalence")
    if stated is None or known.get("probability") is None:
        return ""
    return f", at a stated prevalence of {stated:g} ({known.get('positive')} {known['probability']:.2f} without)"
