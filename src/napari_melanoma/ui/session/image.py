"""What the sessions of slides, photographs and lesions share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar

from qtpy.compat import isalive
from qtpy.QtCore import QObject

from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.widgets.pending import CommitSignal
from napari_melanoma.ui.widgets.signals import Connections

Part = TypeVar("Part")


class PartOwner:
    """Has one object of each class that follows it, such as the layer of a section; made when first requested."""

    def __init__(self) -> None:
        self._parts: dict[object, Any] = {}

    def part(self, kind: Callable[[Self], Part]) -> Part:
        """Return the object of a class."""
        if kind not in self._parts:
            self._parts[kind] = kind(self)
        part: Part = self._parts[kind]
        return part


class ImageSession(PartOwner):
    """An open image; its parts call ``follow`` instead of connecting signals.

    ``displayed``: whether its dock displays it. ``commit_requested``: connect a function that applies what is being
    typed now, or to its ``drawn`` one that applies what is being drawn, because it is saved next, or another image is
    displayed. ``owner``: of the timers and jobs of the parts, with which they are deleted.
    """

    def __init__(self, on_error: Callable[[Exception], object], parent: QObject | None = None) -> None:
        super().__init__()
        self._parent = parent
        self.displayed: Shared[bool] = Shared(False)
        self.commit_requested = CommitSignal(on_error)
        self._connections, self.owner = self._create_owner()

    def follow(self, signal: Any, slot: Callable[..., object]) -> None:  # noqa: ANN401 - of Qt, psygnal or napari
        """Call a slot until the image is closed."""
        self._connections.connect(signal, slot)

    def at_end(self, function: Callable[[], object]) -> None:
        """Call a function when the parts are removed."""
        self._connections.at_end(function)

    def end_parts(self) -> None:
        """Remove all parts: the image was closed, or has another scale."""
        self._connections.end()  # now: their owner is deleted later, when other parts may follow signals
        self._parts.clear()
        if isalive(self.owner):
            self.owner.deleteLater()
            self._connections, self.owner = self._create_owner()

    def _create_owner(self) -> tuple[Connections, QObject]:
        owner = QObject(self._parent)
        return Connections(owner), owner  # the dock may be closed: napari would keep the connections
