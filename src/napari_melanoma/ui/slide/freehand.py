"""Freehand outlines that napari's lasso leaves unfinished: a click is dropped with a hint, a quick stroke is completed.

napari takes a press without at least two moves for the start of an outline that follows the mouse and ends with the
next press, and drops what its simplification makes too small. Either way the next stroke of a user is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Shapes
    from numpy.typing import NDArray

LASSO = "add_polygon_lasso"
LEAST_PX2 = 30.0  # area on the screen of an outline that is meant as one
HINT = "Nothing was drawn: hold the mouse button, go around, and let go where you began."


def complete_strokes(layer: Shapes, say: Callable[[str], None]) -> None:
    """Let every stroke of the lasso end when the mouse button is released.

    ``layer``: in pixels of the slide's finest level.
    """
    layer.mouse_drag_callbacks.append(_Strokes(say).follow)


def repair_features(layer: Shapes) -> None:
    """Remove the features of a shape that napari took away without them: an outline with too few corners."""
    if len(layer.features) > len(layer.data):
        layer.features = layer.features.iloc[: len(layer.data)]


class _Strokes:
    """Follows the mouse beside napari's lasso, and ends what the lasso leaves unfinished."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._hinted = False
        self._ending: Callable[[], None] | None = None

    def follow(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
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
        self._ending = partial(self._finish, layer, before, data, screen)
        QTimer.singleShot(0, self._end)  # after napari's own lasso

    def _end(self) -> None:
        ending, self._ending = self._ending, None
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
        if len(layer.data) == before and _area(np.asarray(screen, float)) >= LEAST_PX2:
            layer.add_polygons([np.asarray(data, float)[:, -2:]])
        drawn = len(layer.data) > before
        if self._hinted or not drawn:
            self._say("" if drawn else HINT)
        self._hinted = not drawn


def _area(points: NDArray[np.float64]) -> float:
    """Area that a closed line of (point, 2) encloses."""
    import numpy as np

    x, y = points[:, 0], points[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
