"""An analysis as read from its folder in a background thread: state, results, texts, and the panel that follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.ui.widgets.run_panel import RunPanel, RunSnapshot
from napari_melanoma.ui.widgets.status_line import remove_option_hints
from napari_melanoma.ui.widgets.style import fill_column

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.run_folder import RunCommand
    from napari_melanoma.io.slide_store import SlideResult
    from napari_melanoma.slides.background_runs import SlideRunStatus
    from napari_melanoma.slides.reading.slide import SlideInfo

MAX_TILES = 5  # suspicious tiles to show
# Of classes without a color of their own (Okabe and Ito, safe for color vision deficiency)
OTHER_COLORS = ("#0072b2", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#56b4e9", "#e69f00", "#4d4d4d")
MAX_SIDE_PX = 2048  # of a displayed heatmap; a larger one would block the window


@dataclass(frozen=True)
class SuspiciousTile:
    """A suspicious tile: its mean value, and its center, height and width in pixels of the finest level."""

    value: float
    row: float
    column: float
    height_px: float
    width_px: float


@dataclass(frozen=True, eq=False)
class ClassMapData:
    """The most probable class of each cell of a tissue classifier.

    ``labels``: uint8 (row, column), the position of the class + 1, 0 where unknown. ``colors``: of each class, as
    ``#rrggbb``.
    """

    labels: NDArray[np.uint8]
    placement: MapPlacement
    colors: Mapping[str, str]


@dataclass(frozen=True)
class HeatmapData:
    """Heatmap of one class.

    ``values``: float32 (row, column); NaN where there is no tissue. Tiles that have not been analyzed yet have the
    value of their neighbors. ``limits``: of the color scale. ``class_map``: of a tissue classifier, shown instead of
    the heatmap if ``shows_classes``, as at first.
    """

    values: NDArray[np.float32]
    placement: MapPlacement
    target: str
    classes: tuple[str, ...]
    limits: tuple[float, float]
    tiles: tuple[SuspiciousTile, ...]
    is_probability: bool = True
    class_map: ClassMapData | None = None
    shows_classes: bool = False


@dataclass(frozen=True)
class SlideRunUpdate(RunSnapshot):
    """Status and results read from the folder of a slide.

    ``heatmap``: None if it is unchanged or there is none. ``content``: of result.json, with the lesions.
    """

    status: SlideRunStatus
    heatmap: HeatmapData | None = None
    content: Mapping[str, Any] = field(default_factory=dict)


class SlideRunReader:
    """Read the folder of one slide repeatedly; not thread-safe.

    ``target``: returns the class of the heatmap; None to read no heatmap.
    """

    def __init__(self, path: Path, target: Callable[[], str] | None = None) -> None:
        self.path = path
        self._target = target
        self._last_stamp: tuple[object, ...] = ()

    def read_new(self, run: RunContext) -> SlideRunUpdate:
        """Read the state and result.json, and the heatmap if it has changed."""
        from napari_melanoma.slides.background_runs import read_slide_run_status
        from napari_melanoma.slides.lesion_files import read_analysis

        status, content = read_slide_run_status(self.path), read_analysis(self.path)
        if self._target is None:
            return SlideRunUpdate(status, content=content)
        target = self._target()
        analysis = analysis_identity(content)
        stamp = (status.state, status.done, status.failed, target, analysis, _store_created_at(self.path))
        if stamp == self._last_stamp:
            return SlideRunUpdate(status, content=content)
        heat = read_heatmap(self.path, target, content)
        self._last_stamp = stamp
        return SlideRunUpdate(status, heatmap=heat, content=content)


def analysis_identity(content: Mapping[str, Any]) -> tuple[object, ...]:
    """Identify the analysis that wrote a result.json, by its model, its end and its duration."""
    model, provenance = content.get("model") or {}, content.get("provenance") or {}
    return model.get("fingerprint"), provenance.get("created"), content.get("seconds")


def needs_run_panel(update: SlideRunUpdate) -> bool:
    """Return whether the run panel is needed; it is not when the analysis has ended and its results are shown."""
    state = str(update.status.state)
    return state != "finished" and (state != "lost" or not update.content)


def read_heatmap(folder: Path, target: str, content: Mapping[str, Any]) -> HeatmapData | None:
    """Read the heatmap of one class, even while it is being computed.

    Return None if there are no values. A model that classifies whole slides has no heatmap of classes; the attention is
    returned instead, relative to its maximum.
    """
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.io.slide_store import SlideResult
    from napari_melanoma.slides.results import default_target

    try:
        result = SlideResult.open(folder)
        classes = result.spec.classes
        if not classes:
            return _read_attention(result)
        shown = target if target in classes else default_target(classes, content)
        heat = _read_class_heatmap(folder, result, shown, content)
        if heat is None or not content.get("areas"):  # not of a tissue classifier
            return heat
        return replace(heat, class_map=_read_class_map(folder, result, content), shows_classes=target not in classes)
    except InputError:  # the store is just being created, or cannot be read
        return None


def _read_class_map(folder: Path, result: SlideResult, content: Mapping[str, Any]) -> ClassMapData:
    import numpy as np

    from napari_melanoma.slides.maps import tile_maps
    from napari_melanoma.slides.results import read_stitched_maps

    maps, classes = read_stitched_maps(folder, result) or tile_maps(result), result.spec.classes
    most_probable = np.nan_to_num(maps.probability).argmax(axis=0) + 1
    labels, placement = _downsample_map(np.where(np.isfinite(maps.probability[0]), most_probable, 0), maps.placement)
    stored = (content.get("class_map") or {}).get("colors") or {}
    colors = {name: str(stored.get(name, color)) for name, color in zip(classes, cycle(OTHER_COLORS), strict=False)}
    return ClassMapData(labels.astype(np.uint8), placement, colors)


def _read_class_heatmap(
    folder: Path, result: SlideResult, target: str, content: Mapping[str, Any]
) -> HeatmapData | None:
    import numpy as np

    from napari_melanoma.io.slide_store import WAITING
    from napari_melanoma.slides.maps import fill_waiting, find_highest_cells
    from napari_melanoma.slides.results import list_tissue_classes, read_lesion_maps

    classes, placement = result.spec.classes, result.spec.placement
    values = np.ascontiguousarray(result.probability[..., classes.index(target)])
    if not np.isfinite(values).any():
        return None
    tissue = [classes.index(name) for name in list_tissue_classes(classes, content)]
    is_tissue = np.isin(np.nan_to_num(result.probability).argmax(axis=-1), tissue)
    suspicious = np.where(is_tissue & (classes.index(target) in tissue), values, np.nan).astype(np.float32)
    tiles = _make_tiles(values, result, find_highest_cells(suspicious, MAX_TILES))
    shown, shown_placement = fill_waiting(values, result.state == WAITING), placement
    if content and result.spec.kind == "dense":
        maps = read_lesion_maps(folder, target)
        target_map = np.where(np.isfinite(maps.presence), maps.target, np.nan)
        shown, shown_placement = _downsample_map(target_map, maps.placement)
    limits = (0.0, 1.0)
    if result.spec.kind == "regression":
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        limits = (low, max(high, low + 1e-6))
    return HeatmapData(shown, shown_placement, target, classes, limits, tiles, result.spec.kind != "regression")


def _read_attention(result: SlideResult) -> HeatmapData | None:
    from napari_melanoma.data.bags import ATTENTION, normalize_attention, read_attention
    from napari_melanoma.slides.maps import find_highest_cells

    weights, placement = read_attention(result), result.spec.placement
    if weights is None:
        return None
    values = normalize_attention(weights)
    tiles = _make_tiles(values, result, find_highest_cells(values, MAX_TILES))
    return HeatmapData(values, placement, ATTENTION, (ATTENTION,), (0.0, 1.0), tiles, is_probability=False)


def _make_tiles(
    values: NDArray[np.float32], result: SlideResult, cells: list[tuple[int, int]]
) -> tuple[SuspiciousTile, ...]:
    """Return tiles with their values; ``values``: float (row, column) of all tiles."""
    return tuple(
        SuspiciousTile(float(values[cell]), top + height / 2, left + width / 2, height, width)
        for cell, (top, left, height, width) in zip(cells, result.boxes.select(cells).tolist(), strict=True)
    )


def _downsample_map(values: NDArray[np.float32], placement: MapPlacement) -> tuple[NDArray[np.float32], MapPlacement]:
    """Subsample a map if it is too large to display."""
    import numpy as np

    step = -(-max(values.shape) // MAX_SIDE_PX)
    if step == 1:
        return values.astype(np.float32), placement
    coarse = replace(placement, step_y=placement.step_y * step, step_x=placement.step_x * step)
    return values[step // 2 :: step, step // 2 :: step].astype(np.float32), coarse


def _store_created_at(folder: Path) -> float:
    """Return the time when the result store was created, which differs for each analysis; 0 if there is none."""
    try:
        return (folder / "result.zarr" / "zarr.json").stat().st_mtime
    except OSError:
        return 0.0


NOTHING_TO_RESUME = "Press Analyze to start again."
NO_SLIDE = "Open a slide first."
NO_MODEL = "Select a model first, or paint classes of your own in the section Paint."
RUNNING = "The analysis of this slide is running."
FLUORESCENCE = (
    "This is a fluorescence slide, but the model reads brightfield stains such as H&E. Select one for fluorescence."
)
BRIGHTFIELD = "This is a brightfield slide, but the selected model reads fluorescence. Select another model."
NO_SCALE = "The slide has no scale, so it can be neither measured nor analyzed. Set it with Scale, the ruler above."


def find_analysis_blocker(info: SlideInfo | None, model: str, *, fluorescence: bool, running: bool) -> str:
    """Return why the slide cannot be analyzed now; empty if it can.

    ``fluorescence``: whether the model was fitted on fluorescence slides.
    """
    if info is None:
        return NO_SLIDE
    if info.pixel_size is None:
        return NO_SCALE
    if not model:
        return NO_MODEL
    if info.is_rgb == fluorescence:
        return BRIGHTFIELD if info.is_rgb else FLUORESCENCE
    return RUNNING if running else ""


def find_resume_blocker(run: SlideRunStatus) -> str:
    """Return why the analysis cannot be resumed; empty if it can."""
    return "" if run.done or str(run.state) not in ("cancelled", "lost") else NOTHING_TO_RESUME


def describe_progress(run: SlideRunStatus) -> str:
    """Describe the progress in a line, such as ``1,240 / 8,112 tiles  ·  212/s  ·  32 s left``."""
    state = str(run.state)
    if state in ("cancelled", "lost"):
        return f"{run.message} {'Press Resume to continue from there.' if run.done else NOTHING_TO_RESUME}"
    if state != "running" or not run.total:
        return remove_option_hints(run.message)
    parts = [f"{run.done:,} / {run.total:,} tiles"]
    if run.tiles_per_s:
        parts.append(f"{run.tiles_per_s:.0f}/s" if run.tiles_per_s >= 10 else f"{run.tiles_per_s:.1f}/s")
    if run.eta_s is not None:
        parts.append(f"{format_duration(run.eta_s)} left")
    if run.failed:
        parts.append(f"{run.failed:,} could not be read")
    return "  ·  ".join(parts)


class SlideRunPanel(RunPanel):
    """Follow an analysis, show its state until it has finished with results, and send the user's commands.

    ``updated``: a ``SlideRunUpdate``.
    """

    def __init__(self) -> None:
        self._target = ""
        kept = "finished tiles"
        super().__init__("slide_run", "analysis", "where it stopped; finished tiles are not repeated", kept)
        fill_column(self, self.state_label, self.progress_bar, self.buttons)  # below the sections: grows upward
        self.hide()

    def set_folder(self, folder: Path | None, target: str = "") -> None:
        """Follow the analysis in a folder; None stops and hides the panel. ``target``: class whose heatmap is read."""
        if folder is None or folder != self.watch.path:
            self.hide()
            self._target = target
        self.watch.set_active(False)
        super().set_folder(folder)
        self.watch.set_active(folder is not None)

    def set_target(self, target: str) -> None:
        """Set the class whose heatmap is read."""
        self._target = target
        self.watch.refresh()

    def _create_reader(self, path: Path) -> SlideRunReader:
        return SlideRunReader(path, lambda: self._target)

    def _write_command(self, folder: Path, command: RunCommand, run: RunContext) -> None:
        from napari_melanoma.core.processes import send_command
        from napari_melanoma.slides.background_runs import cancel_slide

        if command == "cancel":
            cancel_slide(folder)
        else:
            send_command(folder, command)

    def _show_snapshot(self, snapshot: RunSnapshot) -> str:
        assert isinstance(snapshot, SlideRunUpdate)
        self.setVisible(needs_run_panel(snapshot))
        return find_resume_blocker(snapshot.status)

    def _describe(self) -> tuple[str, float]:
        return describe_progress(self.status), self.status.fraction or 0.0
