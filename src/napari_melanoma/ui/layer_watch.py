"""Hears what the user does to masks, strokes and photographs in the viewer itself: drawing, undo, removing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui import linked
from napari_melanoma.ui.connections import Connections

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.utils.events import Event

    from napari_melanoma.ui.lesion.book import LesionBook

FOLLOW_MS = 100
HIDDEN_MS = 1000


class LayerWatch(QObject):
    """Tells when a hand rests after drawing, and what went along when a photograph was removed."""

    touched = Signal(str)
    rested = Signal(str)
    stroked = Signal(str)
    removed = Signal(str, object)

    def __init__(self, book: LesionBook, parent: QObject) -> None:
        super().__init__(parent)
        self.connections = Connections()
        self._book = book
        self._drawn: set[str] = set()
        self._gone: dict[str, dict[str, Layer]] = {}
        self._rest = self._timer(FOLLOW_MS, self.flush)
        self._end = self._timer(0, self._on_end)  # a photograph and its layers go one after the other
        self.connections.connect(book.viewer.layers.events.removed, self._on_removed)
        self._active: Layer | None = book.viewer.layers.selection.active
        self.connections.connect(book.viewer.layers.selection.events.active, self._on_active)
        hidden = QTimer(self)
        hidden.timeout.connect(self._look)
        hidden.start(HIDDEN_MS)

    def _timer(self, wait_ms: int, slot: object) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(wait_ms)
        timer.timeout.connect(slot)
        return timer

    @property
    def busy(self) -> bool:
        """Whether something was done that nobody was told of yet."""
        return bool(self._drawn or self._gone)

    def watch(self, labels: Labels) -> None:
        """Hear what is drawn on a layer, and undone."""
        self.connections.connect(labels.events.paint, self._on_drawn)
        self.connections.connect(labels.events.set_data, self._on_drawn)  # undo and redo emit only this

    def mark(self, identity: str) -> None:
        """Take a mask for one that was drawn on."""
        self._drawn.add(identity)
        self._rest.start()
        self.touched.emit(identity)

    def flush(self) -> None:
        """Tell of what was drawn up to now, without waiting for the hand to rest."""
        drawn, self._drawn = self._drawn, set()
        for identity in drawn:
            self.rested.emit(identity)

    def _on_drawn(self, event: Event) -> None:
        identity = linked.identity(event.source)
        if identity not in self._book.lesions:
            return
        if event.source == self._book.mask(identity):
            self.mark(identity)
        else:
            self.stroked.emit(identity)

    def _on_active(self, event: Event) -> None:
        self._look()
        self._active = event.value

    def _look(self) -> None:
        """Take the mask that keys act on for drawn on while it is hidden: napari tells nobody of its undo then."""
        layer = self._active
        identity = None if layer is None or layer.visible else linked.identity(layer)
        if identity in self._book.lesions and layer == self._book.mask(str(identity)):
            self.mark(str(identity))

    def _on_removed(self, event: Event) -> None:
        identity = linked.identity(event.value)
        if identity is not None:
            self._gone.setdefault(identity, {})[linked.role(event.value) or "photograph"] = event.value
            self._end.start()

    def _on_end(self) -> None:
        gone, self._gone = self._gone, {}
        for identity, layers in gone.items():
            if self._book.image(identity) is None:
                self._drawn.discard(identity)
                self.removed.emit(identity, layers)
