"""Where the docks of this package open: behind one another or side by side, for stacked none of them can be read."""

from __future__ import annotations

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QSizePolicy, QWidget

WIDTH_PX = 340  # what every dock promises to work at; it is never narrower
BESIDE_PX = 1500  # a window at least so wide has room for a photograph and two docks side by side
# A review is gone through in both at once, and so are the images of a case.
TOGETHER = (frozenset({"lesion_dock", "review_dock"}), frozenset({"lesion_dock", "case_dock"}))


class Docking(QObject):
    """Gives a dock its place when it is opened, once: how the user arranges the window later is the user's.

    In the area of the window where it opens, it becomes a tab of another dock of this package, and is the one in front.
    The Lesion dock is laid beside the Review or the Case dock where the window is wide enough.

    Parameters
    ----------
    dock : QWidget
        The content of the dock, not yet in a window.
    """

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        self._frame: QDockWidget | None = None
        dock.setMinimumWidth(WIDTH_PX)
        # Else napari puts a stretch below what is in it, a greater one for each dock that was opened before.
        dock.setSizePolicy(dock.sizePolicy().horizontalPolicy(), QSizePolicy.Policy.Expanding)
        dock.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Hear that the dock was put into a frame, and that a frame that was hidden is shown again."""
        kind = None if event is None else event.type()
        if watched is self._dock and kind == QEvent.Type.ParentChange:
            frame = self._dock.parentWidget()
            self._frame = frame if isinstance(frame, QDockWidget) else None
            # Later, for the frame is not in the window yet, or another may take the dock over.
            QTimer.singleShot(0, self._dispose if frame is None else self._settle)
        elif watched is self._frame and kind == QEvent.Type.ShowToParent:
            QTimer.singleShot(0, self._to_front)
        return False

    def _alive(self) -> QDockWidget | None:
        """The frame, unless it is none or has gone by the time that an event of before is answered."""
        return self._frame if isalive(self) and self._frame is not None and isalive(self._frame) else None

    def _settle(self) -> None:
        """Take a place among the docks of this package that are there."""
        frame = self._alive()
        window = None if frame is None else frame.parentWidget()
        if frame is None or not isinstance(window, QMainWindow) or frame.isFloating():
            return
        frame.installEventFilter(self)
        others = [other for other in _frames(window) if other is not frame and _shares_area(window, other, frame)]
        if not others:
            return
        partner = next((other for other in others if {_name(other), _name(frame)} in TOGETHER), None)
        if partner is not None and window.width() >= BESIDE_PX:
            window.splitDockWidget(partner, frame, Qt.Orientation.Horizontal)
        else:
            window.tabifyDockWidget(partner or others[-1], frame)
        frame.show()
        frame.raise_()

    def _dispose(self) -> None:
        """End a dock that was closed for good: napari takes it out of its frame and leaves it to nobody."""
        if isalive(self) and isalive(self._dock) and self._dock.parentWidget() is None:
            self._dock.deleteLater()

    def _to_front(self) -> None:
        frame = self._alive()
        if frame is not None and not frame.isHidden():
            frame.raise_()


def _frames(window: QMainWindow) -> list[QDockWidget]:
    """Frames of the docks of this package, in the order in which they were opened."""
    return [frame for frame in window.findChildren(QDockWidget) if _name(frame) is not None]


def _name(frame: QDockWidget) -> str | None:
    """Object name of the dock of this package that a frame holds; None where it holds another."""
    dock = frame.widget()
    ours = dock is not None and any(isinstance(child, Docking) for child in dock.children())
    return dock.objectName() if dock is not None and ours else None


def _shares_area(window: QMainWindow, other: QDockWidget, frame: QDockWidget) -> bool:
    """Whether a dock is seen in the same area of the window."""
    in_area = window.dockWidgetArea(other) == window.dockWidgetArea(frame)
    return in_area and not other.isFloating() and not other.isHidden()
