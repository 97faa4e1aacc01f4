"""How wide outlines on a slide are: the same on the screen at every magnification, neither lost nor in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.ui.connections import Connections
from napari_melanoma.ui.settling import Settling
from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide.camera import camera

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.layers import OpenSlide

WIDTHS: dict[slide_layers.Role, float] = {  # in pixels of the screen
    "lesions": 2.0,
    "measures": 2.0,
    "drawing": 2.0,
    "regions": 2.5,
    "mitosis area": 2.5,
    "readings": 2.5,
    "depth": 2.5,
}
TOO_WIDE = 1.6  # lines that are so many times wider or thinner than they should be are drawn anew


def line_width(viewer: Viewer, slide: OpenSlide, role: slide_layers.Role) -> float:
    """Give the width of a line that can be seen and hides little.

    In pixels of the finest level.
    """
    zoom = max(float(camera(viewer).zoom), 1e-12)
    return float(min(WIDTHS[role] / (zoom * min(slide.um)), max(slide.size) / 100))


class LineWidths(QObject):
    """Fits the lines on all slides when the magnification has changed."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._zoomed = Settling(self)
        self._zoomed.timeout.connect(self.fit)
        connections = Connections()
        connections.connect(camera(viewer).events.zoom, self._on_zoom)
        self.destroyed.connect(connections.close)

    def fit(self) -> None:
        """Fit the lines now."""
        for slide in slide_layers.open_slides(self._viewer):
            for role in WIDTHS:
                layer = slide_layers.part(self._viewer, slide, role)
                if layer is not None:
                    _fit(layer, line_width(self._viewer, slide, role), drawn=role != "drawing")

    def _on_zoom(self, event: object = None) -> None:
        self._zoomed.start()


def _fit(layer: Shapes, width: float, *, drawn: bool) -> None:
    """Give the lines of a layer a width, where theirs is far from it; of a drawing what is drawn next alone."""
    now = float(layer.edge_width[0]) if drawn and len(layer.data) else float(layer.current_edge_width)
    if width / TOO_WIDE < now < width * TOO_WIDE:
        return
    with layer.events.data.blocker():
        if drawn and len(layer.data):
            layer.edge_width = width
        if not layer.selected_data:  # else napari gives those the width too, as if somebody had changed them
            layer.current_edge_width = width
