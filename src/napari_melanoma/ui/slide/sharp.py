"""The picture of a slide drawn anew when it can be shown exactly: where the reader's threads meet its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QObject, Qt, Signal

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_melanoma.io.slides.tiled import TiledSlide


class Refresher(QObject):
    """Hears in any thread that a slide can be shown exactly, and refreshes its layers in the window's."""

    _sharper = Signal()

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        # A dock sees proxies of layers, which are made anew each time and live no longer than a line.
        self._layers = [ref(getattr(layer, "__wrapped__", layer)) for layer in layers]
        self._sharper.connect(self._on_sharper, Qt.ConnectionType.QueuedConnection)

    def tell(self) -> None:
        """Ask for a refresh; may be called in any thread."""
        self._sharper.emit()

    def _on_sharper(self) -> None:
        """Read what is shown again; napari keeps the coarsest level as it was first read until the data is set."""
        for layer in filter(None, (kept() for kept in self._layers)):
            layer.data = layer.data
            layer.refresh()


def keep_sharp(slide: TiledSlide, layers: Sequence[Layer]) -> None:
    """Refresh the layers of a slide each time that what they show roughly can be read exactly."""
    refresher = Refresher(layers)
    slide.watch(refresher.tell)
    refresher.tell()  # what was asked for while the layers were made may be exact by now
