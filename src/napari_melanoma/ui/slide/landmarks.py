"""Landmarks: the same structures, clicked in two views."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.viewer.mesa import reuse_shader_programs

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Layer, Points
    from numpy.typing import NDArray

COLOR = "#ffe100"
SIZE_PX = 14  # on the screen
NAME = "landmarks"


class Landmarks(QObject):
    """A layer of numbered points in each of two viewers, as long as landmarks are set.

    ``changed`` is emitted with the positions of both layers, (point, axis=2) in the coordinates of their data.
    """

    changed = Signal(object, object)

    def __init__(self, parent: QObject, viewers: tuple[Any, Any], pictures: tuple[Layer, Layer]) -> None:
        super().__init__(parent)
        reuse_shader_programs()
        self._viewers = viewers
        self.layers = tuple(_add_layer(viewer, picture) for viewer, picture in zip(viewers, pictures, strict=True))
        self._disconnect: list[Callable[[], object]] = []
        for layer in self.layers:
            layer.events.data.connect(self._on_data)

    def remove(self) -> None:
        """Remove the layers."""
        for viewer, layer in zip(self._viewers, self.layers, strict=True):
            layer.events.data.disconnect(self._on_data)
            if layer in viewer.layers:
                viewer.layers.remove(layer)
        self.deleteLater()

    def _on_data(self, event: object = None) -> None:
        for layer in self.layers:
            _number(layer)
        first, second = (_positions(layer) for layer in self.layers)
        self.changed.emit(first, second)


def _add_layer(viewer: Any, picture: Layer) -> Points:  # noqa: ANN401 - a viewer or its model
    """Add an empty layer in the coordinates of a slide without its pixel size."""
    from napari.layers import Points

    layer = Points(
        ndim=2,
        name=NAME,
        size=1,
        face_color="transparent",
        border_color=COLOR,
        border_width=0.15,
        symbol="cross",
        canvas_size_limits=(SIZE_PX, SIZE_PX),
        features={"number": []},
        text={"string": "{number:.0f}", "color": COLOR, "size": SIZE_PX, "anchor": "upper_left"},
        units=picture.units,
        affine=picture.affine.affine_matrix[-3:, -3:],
    )
    viewer.add_layer(layer)
    layer.feature_defaults = {"number": 1.0}
    layer.mode = "add"
    return layer


def _positions(layer: Points) -> NDArray[np.float64]:
    import numpy as np

    return np.array(layer.data, float).reshape(-1, 2)


def _number(layer: Points) -> None:
    """Number the points in their order."""
    numbers = [float(number) for number in range(1, len(layer.data) + 1)]
    if list(layer.features["number"]) != numbers:
        layer.features = {"number": numbers}
    layer.feature_defaults = {"number": len(numbers) + 1.0}
