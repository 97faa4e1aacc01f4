"""What all layers drawn on a slide share: keys, freehand repair, line width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Layer, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
    from napari_melanoma.ui.widgets.job import LatestJobQueue

HALF = 0.5  # napari counts from the centre of the first pixel
Keys = Mapping[str, Callable[[], None]]


def bind_keys(layer: Layer, keys: Keys) -> None:
    """Say what keys do while a layer is the active one."""
    for key, act in keys.items():
        layer.bind_key(key, lambda _, act=act: act(), overwrite=True)


def is_slide_open(viewer: Viewer, slide: ViewerSlide) -> bool:
    """Say whether a slide is still in a viewer.

    False where it was closed.
    """
    return any(own in viewer.layers for own in slide.layers)


MAX_FLAT_SLOPE = 0.15  # a line that rises less has its words above it, a steeper one beside it
LABEL_PADDING = " " * 24  # moves words that stand in the middle of a line to its right


def offset_label(data: NDArray[np.float64], kind: str, label: str) -> str:
    """Give words that a line does not run through, for they stand in its middle: blanks put them above or beside it.

    With blanks or a line break.
    """
    if kind != "line":
        return label
    height, width = abs(data[-1] - data[0])[-2:]
    return f"{label}\n " if height < MAX_FLAT_SLOPE * width else LABEL_PADDING + label


LASSO = "add_polygon_lasso"
MIN_STROKE_AREA_PX2 = 30.0  # area on the screen of an outline that is meant as one
HINT = "Nothing was drawn: hold the mouse button, go around, and let go where you began."


def complete_lasso_strokes(layer: Shapes, show_message: Callable[[str], None]) -> None:
    """Let every stroke of the lasso end when the mouse button is released.

    ``layer``: in pixels of the slide's finest level.
    """
    layer.mouse_drag_callbacks.append(_LassoStrokes(show_message).track_stroke)


def repair_features(layer: Shapes) -> None:
    """Remove the features of a shape that napari took away without them: an outline with too few corners."""
    if len(layer.features) > len(layer.data):
        layer.features = layer.features.iloc[: len(layer.data)]


class _LassoStrokes:
    """Follows the mouse beside napari's lasso, and ends what the lasso leaves unfinished."""

    def __init__(self, show_message: Callable[[str], None]) -> None:
        self._show_message = show_message
        self._hinted = False
        self._pending_end: Callable[[], None] | None = None

    def track_stroke(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Record one stroke, from the press to the release."""
        if str(layer.mode) != LASSO:
            return
        self._end()  # of the stroke before, where the next press is quicker than the event loop
        before = len(layer.data)
        data, screen = [layer.world_to_data(event.position)], [event.pos]
        yield
        while event.type == "mouse_move":
            data.append(layer.world_to_data(event.position))
            screen.append(event.pos)
            yield
        data.append(layer.world_to_data(event.position))
        screen.append(event.pos)
        self._pending_end = partial(self._finish, layer, before, data, screen)
        QTimer.singleShot(0, self._end)  # after napari's own lasso

    def _end(self) -> None:
        ending, self._pending_end = self._pending_end, None
        if ending is not None:
            ending()

    def _finish(self, layer: Shapes, before: int, data: list[Any], screen: list[Any]) -> None:
        """Complete or drop what napari left unfinished."""
        import numpy as np

        if str(layer.mode) != LASSO:
            return
        if len(layer.data) > before and layer.shape_type[-1] == "path":
            with layer.events.mode.blocker():  # in this mode napari drops a path of two points
                layer.mode = "add_path"
                layer.mode = LASSO
        repair_features(layer)
        if len(layer.data) == before and _area(np.asarray(screen, float)) >= MIN_STROKE_AREA_PX2:
            layer.add_polygons([np.asarray(data, float)[:, -2:]])
        drawn = len(layer.data) > before
        if self._hinted or not drawn:
            self._show_message("" if drawn else HINT)
        self._hinted = not drawn


def _area(points: NDArray[np.float64]) -> float:
    """Area that a closed line of (point, 2) encloses."""
    import numpy as np

    x, y = points[:, 0], points[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


WIDTHS: dict[slide_layers.Role, float] = {  # in pixels of the screen
    "lesions": 2.0,
    "measures": 2.0,
    "drawing": 2.0,
    "regions": 2.5,
    "mitosis area": 2.5,
    "readings": 2.5,
    "depth": 2.5,
}
MAX_WIDTH_RATIO = 1.6  # lines that are so many times wider or thinner than they should be are drawn anew


def line_width(viewer: Viewer, slide: ViewerSlide, role: slide_layers.Role) -> float:
    """Give the width of a line that can be seen and hides little.

    In pixels of the finest level.
    """
    zoom = max(float(get_camera(viewer).zoom), 1e-12)
    return float(min(WIDTHS[role] / (zoom * min(slide.pixel_um)), max(slide.size) / 100))


class LineWidthUpdater(QObject):
    """Fits the lines on all slides when the magnification has changed."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._zoom_timer = DebounceTimer(self)
        self._zoom_timer.timeout.connect(self.update_widths)
        connections = Connections()
        connections.connect(get_camera(viewer).events.zoom, self._on_zoom)
        self.destroyed.connect(connections.close)

    def update_widths(self) -> None:
        """Fit the lines now."""
        for slide in slide_layers.list_slides(self._viewer):
            for role in WIDTHS:
                layer = slide_layers.find_layer(self._viewer, slide, role)
                if layer is not None:
                    _set_line_width(layer, line_width(self._viewer, slide, role), drawn=role != "drawing")

    def _on_zoom(self, event: object = None) -> None:
        self._zoom_timer.start()


def _set_line_width(layer: Shapes, width: float, *, drawn: bool) -> None:
    """Give the lines of a layer a width, where theirs is far from it; of a drawing what is drawn next alone."""
    now = float(layer.edge_width[0]) if drawn and len(layer.data) else float(layer.current_edge_width)
    if width / MAX_WIDTH_RATIO < now < width * MAX_WIDTH_RATIO:
        return
    with layer.events.data.blocker():
        if drawn and len(layer.data):
            layer.edge_width = width
        if not layer.selected_data:  # else napari gives those the width too, as if somebody had changed them
            layer.current_edge_width = width


Stamp = tuple[int, int]
Value = TypeVar("Value")


class WriteResult(Protocol):
    """What came of writing a file: its stamp, and what a user should know."""

    @property
    def stamp(self) -> Stamp | None:
        """Tells the file from a later one."""

    @property
    def notes(self) -> tuple[str, ...]:
        """In words."""


class LatestValueWriter(Generic[Value]):
    """Writes values into the folders of slides, one at a time; of several that wait for one folder the last alone."""

    def __init__(self, latest: LatestJobQueue, write: Callable[[Path, Value, Stamp | None], WriteResult]) -> None:
        self._latest, self._write = latest, write
        self._writing = Lock()
        self._pending: dict[Path, Value] = {}
        self._stamps: dict[Path, Stamp | None] = {}

    def set_stamp(self, folder: Path, stamp: Stamp | None) -> None:
        """Note which file was read."""
        self._stamps[folder] = stamp

    def save(self, folder: Path, value: Value) -> None:
        """Let a value be written."""
        self._pending[folder] = value
        self._latest.submit(f"keep {folder}", lambda: partial(self._write_pending, folder))

    def flush(self) -> None:
        """Write now what still waits; a write that is under way is waited for, lest it comes after this one."""
        for folder in tuple(self._pending):
            try:
                written, error = self._write_pending(folder), None
            except MelanomaError as raised:
                written, error = None, raised
            if isalive(self._latest):  # else the window is gone, and nobody is there to be told
                told = self._latest.succeeded if error is None else self._latest.failed
                told.emit(written if error is None else error)
        with self._writing:
            return

    def _write_pending(self, folder: Path, run: RunContext | None = None) -> WriteResult | None:
        """Write the last value of a folder; one that cannot be written still waits, for the next change or the end."""
        with self._writing:
            if folder not in self._pending:
                return None
            value = self._pending.pop(folder)
            try:
                written = self._write(folder, value, self._stamps.get(folder))
            except BaseException:
                self._pending.setdefault(folder, value)
                raise
            self._stamps[folder] = written.stamp
            return written
