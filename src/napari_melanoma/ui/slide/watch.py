"""The state of a running analysis, read from its folder in a thread, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.wording import duration
from napari_melanoma.ui.widgets.status_line import without_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.placement import MapPlace
    from napari_melanoma.core.run_state import RunState
    from napari_melanoma.io.slide_store import SlideResult
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.slides.runs import SlideRun

MOST_TILES = 5
SIDE_PX = 2048  # of a stitched map as it is shown; finer, the window would stall


@dataclass(frozen=True)
class SuspiciousTile:
    """A tile worth a look: its value, and its middle and height in pixels of the finest level."""

    value: float
    row: float
    column: float
    height_px: float
    width_px: float


@dataclass(frozen=True)
class Heat:
    """What is known of one class all over the slide.

    ``values``: float32 (row, column); NaN where there is no tissue. What waits has the value of its surroundings.
    """

    values: NDArray[np.float32]
    place: MapPlace
    target: str
    classes: tuple[str, ...]
    limits: tuple[float, float]
    tiles: tuple[SuspiciousTile, ...]
    is_probability: bool = True


@dataclass(frozen=True)
class SlideSight:
    """What one look at the folder of a slide found; ``heat`` is None where nothing is new, or nothing is known."""

    path: Path
    report: SlideAt
    heat: Heat | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlideAt:
    """How the analysis fares, as the buttons of a run take it."""

    run: SlideRun

    @property
    def path(self) -> Path:
        """The slide's folder."""
        return self.run.folder

    @property
    def state(self) -> RunState:
        """Where it stands."""
        return self.run.state


class SlideLooker:
    """Looks at the folder of one slide again and again; used by one thread at a time."""

    def __init__(self, path: Path, target: Callable[[], str]) -> None:
        self.path = path
        self._target = target
        self._seen: tuple[object, ...] = ()

    def look(self, run: RunContext) -> SlideSight:
        """Read what is new."""
        from napari_melanoma.io.results import read_content
        from napari_melanoma.slides.runs import read_slide_run

        report = read_slide_run(self.path)
        content = read_content(self.path)
        target = self._target()
        stamp = (report.state, report.done, report.failed, target, content.get("seconds"), _made(self.path))
        if stamp == self._seen:
            return SlideSight(self.path, SlideAt(report), None, content)
        heat = read_heat(self.path, target, content)
        self._seen = stamp
        return SlideSight(self.path, SlideAt(report), heat, content)


def goes_on(report: SlideAt) -> bool:
    """Say whether there may be news of an analysis.

    True while it is at work.
    """
    return bool(report.state.active)


def read_heat(folder: Path, target: str, content: Mapping[str, Any]) -> Heat | None:
    """Read the map of one class, also while it is being made.

    None where nothing is known, or the model tells no values. Of a model of whole slides the attention, relative to
    that of the tile with the most.
    """
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.io.slide_store import SlideResult
    from napari_melanoma.slides.findings import usual_target

    try:
        result = SlideResult.open(folder)
        classes = result.spec.classes
        if not classes:
            return _attention(result)
        target = target if target in classes else usual_target(classes, content)
        return _heat(folder, result, target, finished=bool(content))
    except InputError:  # it is being made, or replaced, at this very moment
        return None


def _heat(folder: Path, result: SlideResult, target: str, *, finished: bool) -> Heat | None:
    import numpy as np

    from napari_melanoma.io.slide_spec import WAITING
    from napari_melanoma.slides.findings import read_maps
    from napari_melanoma.slides.tiling import fill_waiting, most_suspicious

    classes, place = result.spec.classes, result.spec.place
    values = np.ascontiguousarray(result.probability[..., classes.index(target)])
    if not np.isfinite(values).any():
        return None
    tiles = tuple(_tile(values, place, at) for at in most_suspicious(values, MOST_TILES))
    shown, shown_place = fill_waiting(values, result.state == WAITING), place
    if finished and result.spec.kind == "dense":
        maps = read_maps(folder, target)
        shown, shown_place = _fitting(np.where(np.isfinite(maps.presence), maps.target, np.nan), maps.place)
    limits = (0.0, 1.0)
    if result.spec.kind == "regression":
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        limits = (low, max(high, low + 1e-6))
    return Heat(shown, shown_place, target, classes, limits, tiles, result.spec.kind != "regression")


def _attention(result: SlideResult) -> Heat | None:
    from napari_melanoma.data.bags import ATTENTION, read_attention, relative
    from napari_melanoma.slides.tiling import most_suspicious

    weights, place = read_attention(result), result.spec.place
    if weights is None:
        return None
    values = relative(weights)
    tiles = tuple(_tile(values, place, at) for at in most_suspicious(values, MOST_TILES))
    return Heat(values, place, ATTENTION, (ATTENTION,), (0.0, 1.0), tiles, is_probability=False)


def _tile(values: NDArray[np.float32], place: MapPlace, at: tuple[int, int]) -> SuspiciousTile:
    row, column = place.to_slide((at[0] + 0.5, at[1] + 0.5)).tolist()
    return SuspiciousTile(float(values[at]), row, column, place.step_y, place.step_x)


def _fitting(values: NDArray[np.float32], place: MapPlace) -> tuple[NDArray[np.float32], MapPlace]:
    """Every n-th cell of a map that is finer than the window can take at once."""
    import numpy as np

    from napari_melanoma.core.placement import MapPlace

    step = -(-max(values.shape) // SIDE_PX)
    if step == 1:
        return values.astype(np.float32), place
    coarse = MapPlace(place.top, place.left, place.step_y * step, place.step_x * step, place.pixel_size)
    return values[step // 2 :: step, step // 2 :: step].astype(np.float32), coarse


def _made(folder: Path) -> float:
    """When the store was made: another analysis makes another one."""
    try:
        return (folder / "result.zarr" / "zarr.json").stat().st_mtime
    except OSError:
        return 0.0


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
