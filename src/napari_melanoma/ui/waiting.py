"""Parts of a dock that wait outside it until it stands: what is added to a window with many parts takes Qt long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.job import Turns

DRAWN_MS = 60  # when a dock that was opened is drawn


class Waiting(QObject):
    """Keeps parts of a dock aside, and puts them in bit by bit once it is drawn, or at once where they are needed."""

    opened = Signal()
    drawn = Signal()

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self.aside = QWidget()
        self.is_opening = True
        self._parts: deque[Callable[[], object]] = deque()
        self._turns = Turns(self)
        # A timer of the dock's own: a dock that is closed before takes it along.
        self._drawn = QTimer(self)
        self._drawn.setSingleShot(True)
        self._drawn.timeout.connect(self._begin)
        dock.destroyed.connect(self.aside.deleteLater)

    @property
    def busy(self) -> bool:
        """Whether something still waits."""
        return bool(self._parts) or self._turns.busy

    def hold(self, part: QWidget, put: Callable[[QWidget], None]) -> None:
        """Take a part aside."""
        part.setParent(self.aside)
        self._parts.append(lambda: put(part))

    def later(self, work: Callable[[], object]) -> None:
        """Let something be done after the parts are in that nobody needs before."""
        self._parts.append(work)

    def begin(self) -> None:
        """The dock is complete but for these, and about to be shown."""
        QTimer.singleShot(0, self._open)
        self._drawn.start(DRAWN_MS)

    def then(self, *pieces: Callable[[], None]) -> None:
        """Do pieces of work as soon as all that waits is in its place, each in a turn of its own."""
        self._turns.add(*[self._next] * len(self._parts), *pieces)

    def place_all(self) -> None:
        """Put in what still waits, for it is needed now."""
        while self._parts:
            self._next()

    def _open(self) -> None:
        self.is_opening = False
        self.opened.emit()

    def _begin(self) -> None:
        self.drawn.emit()
        self.then()

    def _next(self) -> None:
        if self._parts:
            self._parts.popleft()()
