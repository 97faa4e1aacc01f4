"""The layout of this package's docks in napari's window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow, QMenu, QSizePolicy, QWidget

from napari_melanoma.ui.viewer.layers import LayerUnits
from napari_melanoma.ui.viewer.shortcuts import add_help_shortcuts
from napari_melanoma.ui.viewer.view_memory import FIT_KEY, ViewMemory, fit_view
from napari_melanoma.ui.widgets.job import GuiTaskQueue, tasks

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.widgets.style import Connections

MIN_WIDTH_PX = 340  # every dock works at this width and is never narrower
MIN_HEIGHT_PX = 140  # less than a dock needs: docks stacked for a moment would otherwise enlarge the window
TWO_COLUMNS_PX = 1500  # a window this wide has room for a photograph and two docks side by side
MIN_CANVAS_PX = 400  # width that a second column of docks leaves for the canvas
# The Lesion dock is used together with the Review dock or the Case dock.
SIDE_BY_SIDE_DOCKS = (frozenset({"lesion_dock", "review_dock"}), frozenset({"lesion_dock", "case_dock"}))
# Areas from which a dock is placed below the image: napari's default, and where the user left it.
BELOW_FROM = (Qt.DockWidgetArea.RightDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea)
DEFER_DELAY_MS = 60  # after this time an opened dock has been drawn
PLUGIN, LESION_DOCK, SLIDE_DOCK = "napari-melanoma", "Lesion", "Slide"


class DockPlacement(QObject):
    """Positions a dock once, when it is opened; later changes of the layout by the user are kept.

    The dock becomes the front tab of another dock of this package in the same area of the window. The Lesion dock
    gets a column of its own beside the Review or the Case dock if the window is wide enough.

    ``bottom_height``: of a dock that is placed below the image instead, in pixels.
    """

    def __init__(
        self,
        dock: QWidget,
        viewer: Viewer | None = None,
        connections: Connections | None = None,
        bottom_height: int = 0,
    ) -> None:
        super().__init__(dock)
        self._dock, self._viewer, self._bottom_height = dock, viewer, bottom_height
        self._frame: QDockWidget | None = None
        self._in_front = False
        self._closing = False
        self.is_placed = False
        dock.setMinimumWidth(MIN_WIDTH_PX)
        dock.setMinimumHeight(MIN_HEIGHT_PX)
        # Otherwise napari adds a stretch below the dock's content, a larger one for each dock opened before.
        dock.setSizePolicy(dock.sizePolicy().horizontalPolicy(), QSizePolicy.Policy.Expanding)
        dock.installEventFilter(self)
        if viewer is not None and connections is not None:
            LayerUnits(viewer, connections, self)
            ViewMemory(viewer, connections, self)
            add_help_shortcuts(dock)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle the dock's new frame, and the frame being closed, hidden or shown again."""
        kind = None if event is None else event.type()
        if watched is self._dock and kind == QEvent.Type.ParentChange:
            frame = self._dock.parentWidget()
            self._frame = frame if isinstance(frame, QDockWidget) else None
            # Deferred: the frame is not in the window yet, or another frame may get the dock.
            self.is_placed = False
            QTimer.singleShot(0, self._dispose if frame is None else self.place_dock)
        elif self._frame is None or watched is not self._frame:
            return False
        elif kind == QEvent.Type.ShowToParent:
            QTimer.singleShot(0, self._raise_frame)
        elif kind == QEvent.Type.Close:
            self._closing = True
        elif kind == QEvent.Type.HideToParent:
            # napari's menu hides an open dock even if it is a tab behind others, when the user wants to see it.
            if not self._in_front and not self._closing:
                QTimer.singleShot(0, self._reopen)
            self._closing = False
        return False

    def _live_frame(self) -> QDockWidget | None:
        """Return the frame; None if there is none, or if it was deleted before a deferred event is handled."""
        return self._frame if isalive(self) and self._frame is not None and isalive(self._frame) else None

    def place_dock(self) -> None:
        """Position the dock among the open docks of this package, unless this was done already."""
        frame = self._live_frame()
        window = None if frame is None else frame.parentWidget()
        if self.is_placed or frame is None or not isinstance(window, QMainWindow) or frame.isFloating():
            return
        self.is_placed = True
        frame.setWindowTitle(self._dock.accessibleName() or frame.windowTitle())  # five tabs fit the least width
        frame.installEventFilter(self)
        frame.visibilityChanged.connect(self._on_visibility)
        self._in_front = True
        self._extend_fit(window)
        for layout in window.findChildren(CanvasLayout):
            layout.interrupt(frame)
        if self._bottom_height and window.dockWidgetArea(frame) in BELOW_FROM:
            _place_below(window, frame, self._bottom_height)
        else:
            _place(window, frame)
        frame.show()
        frame.raise_()

    def _extend_fit(self, window: QMainWindow) -> None:
        """Make napari's own fit command fit the visible image: by default it fits all layers, hidden ones included."""
        menus = [menu for entry in window.menuBar().actions() if isinstance(menu := entry.menu(), QMenu)]
        for action in (action for menu in menus for action in menu.actions()):
            if action.shortcut() == QKeySequence(FIT_KEY):
                action.triggered.connect(self._on_fit)

    def _on_fit(self, checked: bool = False) -> None:
        if self._viewer is not None and self._dock.window().isActiveWindow():  # all windows share one action
            fit_view(self._viewer)

    def hide_frame(self) -> None:
        """Hide the dock, also if it is a tab behind others."""
        frame = self._live_frame()
        if frame is not None:
            self._closing = True
            frame.hide()

    def _on_visibility(self, visible: bool) -> None:
        """Record whether the dock is in front; when it is hidden, only after the current event."""
        if visible:
            self._in_front = True
        else:
            QTimer.singleShot(0, self._update_in_front)

    def _update_in_front(self) -> None:
        frame = self._live_frame()
        self._in_front = frame is not None and not frame.visibleRegion().isEmpty()

    def _dispose(self) -> None:
        """Delete a dock that was closed: napari removes it from its frame and leaves it without a parent."""
        if isalive(self) and isalive(self._dock) and self._dock.parentWidget() is None:
            self._dock.deleteLater()

    def _reopen(self) -> None:
        """Show a dock that was hidden while it was a tab behind others, unless it was removed or shown since."""
        frame = self._live_frame()
        window = None if frame is None else frame.parentWidget()
        if frame is None or not isinstance(window, QMainWindow) or not frame.isHidden():
            return
        if window.dockWidgetArea(frame) != Qt.DockWidgetArea.NoDockWidgetArea and frame.widget() is self._dock:
            frame.show()

    def _raise_frame(self) -> None:
        frame = self._live_frame()
        if frame is not None and not frame.isHidden():
            frame.raise_()


def place_next_to_canvas(window: QMainWindow, frame: QDockWidget) -> None:
    """Put a dock between the canvas and the docks of this package, which keep their columns, tabs and front tabs."""
    columns = _columns(window, frame)
    front = [one for column in columns for one in column if not one.visibleRegion().isEmpty()]
    _add_column(window, [frame])
    for column in columns:
        _add_column(window, column)
    for one in front:
        one.raise_()


def _place(window: QMainWindow, frame: QDockWidget) -> None:
    """Make a new dock a tab in one of the columns, or give it a column of its own."""
    columns = [column for column in _columns(window, frame) if frame not in column]
    partners = [
        column
        for column in columns
        if any({_dock_name(one), _dock_name(frame)} in SIDE_BY_SIDE_DOCKS for one in column)
    ]
    others = [column for column in columns if column not in partners]
    if partners and not others and _has_room(window):
        _add_column(window, [frame])
    elif columns:
        # Not over a partner dock if there is another column: both are used together.
        window.tabifyDockWidget((others or columns)[-1][-1], frame)


def _place_below(window: QMainWindow, frame: QDockWidget, height: int) -> None:
    """Place a dock below the image; docks at the right keep their height."""
    window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
    window.removeDockWidget(frame)
    window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, frame)
    frame.show()
    window.resizeDocks([frame], [height], Qt.Orientation.Vertical)


def _has_room(window: QMainWindow) -> bool:
    """Return whether a second column of docks leaves enough room for the canvas."""
    canvas = window.centralWidget()
    return window.width() >= TWO_COLUMNS_PX and canvas is not None and canvas.width() - MIN_WIDTH_PX >= MIN_CANVAS_PX


def _add_column(window: QMainWindow, frames: list[QDockWidget]) -> None:
    """Move docks as tabs into a column of their own, the outermost of their area."""
    area = window.dockWidgetArea(frames[0])
    for frame in frames:
        window.removeDockWidget(frame)
    window.addDockWidget(area, frames[0], Qt.Orientation.Horizontal)
    for frame in frames[1:]:
        window.tabifyDockWidget(frames[0], frame)
    for frame in frames:
        frame.show()


def _columns(window: QMainWindow, frame: QDockWidget) -> list[list[QDockWidget]]:
    """Return the columns of this package's docks in a frame's area, from left to right, each with its tabs."""
    columns: list[list[QDockWidget]] = []
    for one in window.findChildren(QDockWidget):
        if _dock_name(one) is None or not _shares_area(window, one, frame):
            continue
        tabs = window.tabifiedDockWidgets(one)
        column = next((column for column in columns if any(tab in column for tab in tabs)), None)
        if column is None:
            columns.append([one])
        else:
            column.append(one)
    return sorted(columns, key=lambda column: max(one.x() for one in column))  # background tabs lie outside


def _dock_name(frame: QDockWidget) -> str | None:
    """Return the object name of the dock in a frame; None if it is not of this package or not positioned yet."""
    dock = frame.widget()
    ours = dock is not None and any(isinstance(child, DockPlacement) and child.is_placed for child in dock.children())
    return dock.objectName() if dock is not None and ours else None


def _shares_area(window: QMainWindow, other: QDockWidget, frame: QDockWidget) -> bool:
    """Return whether a dock is shown in the same area of the window."""
    in_area = window.dockWidgetArea(other) == window.dockWidgetArea(frame)
    return in_area and not other.isFloating() and not other.isHidden()


class CanvasLayout(QObject):
    """Leaves one dock beside the canvas, and restores the layout of the window as it was before.

    Floating docks and docks with a canvas of their own stay. ``interrupted``: the user opened another dock, or closed
    the remaining one, so that the layout is to be restored.
    """

    interrupted = Signal()

    def __init__(self, window: QMainWindow, frame: QDockWidget) -> None:
        super().__init__(window)
        self._window, self._frame = window, frame
        self._state, self._window_state = window.saveState(), window.windowState()
        self._focus = QApplication.focusWidget()
        self._min_size = frame.minimumSize()
        self._title: QWidget | None = None
        self._hidden: list[QDockWidget] = []
        self._closed = False
        self._known = _find_docks(window)
        self._docks = [one for one in self._known if not one.isHidden() and not one.isFloating()]
        self._front = [one for one in self._docks if not one.visibleRegion().isEmpty()]

    def apply(self) -> None:
        """Hide the other docks, and put the remaining one to the right, without a title bar."""
        window, frame = self._window, self._frame
        if frame.isFloating():
            frame.setFloating(False)
        if window.dockWidgetArea(frame) != Qt.DockWidgetArea.RightDockWidgetArea:
            window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, frame)
        self._title = frame.titleBarWidget()
        frame.setTitleBarWidget(QWidget(frame))
        frame.setMinimumSize(0, 0)  # a minimum width alone would stay that of the content before
        for one in self._docks:
            if one is not frame and not _has_canvas(one):
                self._hidden.append(one)
                _hide(one)
        frame.show()
        frame.raise_()
        for part in (window, *self._known):
            part.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Interrupt when the user opens another dock or closes the remaining one."""
        kind = None if event is None else event.type()
        if watched is self._frame and kind == QEvent.Type.HideToParent:
            QTimer.singleShot(0, self._on_hidden)
        elif watched is self._window and kind == QEvent.Type.ChildAdded:
            QTimer.singleShot(0, self._find_new)  # now the child is not complete
        elif kind == QEvent.Type.ShowToParent and watched in self._known and watched is not self._frame:
            QTimer.singleShot(0, partial(self._on_shown, watched))
        return False

    def _find_new(self) -> None:
        """Interrupt if a dock was added, such as one of another plugin."""
        if isalive(self) and isalive(self._window):
            for frame in _find_docks(self._window):
                if frame not in self._known:
                    self._known.append(frame)
                    frame.installEventFilter(self)
                    self._on_shown(frame)

    def _on_shown(self, frame: QDockWidget) -> None:
        """Interrupt if a dock takes width from the slide that it did not take before."""
        if isalive(self) and isalive(frame) and not (frame.isHidden() or frame.isFloating() or _has_canvas(frame)):
            self.interrupt(frame)

    def _on_hidden(self) -> None:
        """Interrupt if the remaining dock was closed, not only moved."""
        if isalive(self) and (not isalive(self._frame) or self._frame.isHidden()):
            self._closed = True
            self.interrupted.emit()

    def interrupt(self, frame: QDockWidget) -> None:
        """Restore the layout for a dock that is being opened."""
        self._front.append(frame)
        self.interrupted.emit()

    def restore(self) -> None:
        """Restore docks, full screen and focus; docks that were opened meanwhile stay open."""
        window, frame = self._window, self._frame
        if not isalive(self) or not isalive(window):
            return
        for part in filter(isalive, (window, *self._known)):
            part.removeEventFilter(self)
        if self._title is not None and isalive(frame) and isalive(self._title):
            empty = frame.titleBarWidget()
            frame.setTitleBarWidget(self._title)
            frame.setMinimumSize(self._min_size)
            empty.deleteLater()
        if window.isFullScreen() and not self._window_state & Qt.WindowState.WindowFullScreen:
            window.setWindowState(self._window_state)
        opened = [one for one in _find_docks(window) if one not in self._docks and not one.isHidden()]
        window.restoreState(self._state)
        for one in opened:
            one.show()  # hidden again if it was closed before
            if not one.isFloating() and _has_canvas(one):
                place_next_to_canvas(window, one)
        if self._closed and isalive(frame):
            frame.hide()
        focus = self._focus
        if focus is not None and isalive(focus) and focus.isVisible():
            focus.setFocus()
        QTimer.singleShot(0, self._finish)  # docks that are shown again come to the front one after the other

    def _finish(self) -> None:
        """Bring the docks to the front that were there."""
        if isalive(self):
            for one in self._front:
                if isalive(one) and not one.isHidden():
                    one.raise_()
            self.deleteLater()


def _hide(frame: QDockWidget) -> None:
    """Hide a dock of any plugin."""
    for docking in frame.findChildren(DockPlacement):
        docking.hide_frame()
    frame.hide()


def _find_docks(window: QMainWindow) -> list[QDockWidget]:
    """Return the docks of a window, hidden ones included."""
    return list(window.findChildren(QDockWidget, options=Qt.FindChildOption.FindDirectChildrenOnly))


def _has_canvas(frame: QDockWidget) -> bool:
    """Return whether a dock shows images, such as a second view."""
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    return frame.findChild(QOpenGLWidget) is not None


class DeferredWidgets(QObject):
    """Inserts parts of a dock one by one after it was drawn, or at once if they are needed earlier."""

    opened = Signal()
    drawn = Signal()

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self.holder = QWidget()
        self.is_opening = True
        self._pending: deque[Callable[[], object]] = deque()
        self._queue = GuiTaskQueue(self)
        # Owned by the dock, so that it is deleted with a dock that is closed early.
        self._draw_timer = QTimer(self)
        self._draw_timer.setSingleShot(True)
        self._draw_timer.timeout.connect(self._start_inserting)
        dock.destroyed.connect(self.holder.deleteLater)

    def add_widget(self, part: QWidget, insert: Callable[[QWidget], None]) -> None:
        part.setParent(self.holder)
        self._pending.append(lambda: insert(part))

    def add_task(self, task: Callable[[], object]) -> None:
        """Add a task to run after the parts added so far."""
        self._pending.append(task)

    def start(self) -> None:
        """Start inserting once the dock is shown."""
        tasks.set_running(self, bool(self._pending))
        QTimer.singleShot(0, self._open)
        self._draw_timer.start(DEFER_DELAY_MS)

    def run_after(self, *functions: Callable[[], None]) -> None:
        """Run tasks after all pending parts, each in its own turn of the event loop."""
        self._queue.add(*[self._next] * len(self._pending), *functions)

    def insert_all(self) -> None:
        """Insert all pending parts now."""
        while self._pending:
            self._next()

    def _open(self) -> None:
        self.is_opening = False
        self.opened.emit()

    def _start_inserting(self) -> None:
        self.drawn.emit()
        self.run_after()

    def _next(self) -> None:
        if self._pending:
            self._pending.popleft()()
            tasks.set_running(self, bool(self._pending))


def show_dock(viewer: Viewer, name: str) -> QWidget | None:
    """Open a dock of this package in a viewer, or bring it to the front if it is open.

    Returns the dock's widget; None if this installation has no such dock.
    """
    import npe2

    manifest = npe2.PluginManager.instance().get_manifest(PLUGIN)
    widgets = manifest.contributions.widgets or ()
    make: Any = next((widget.get_callable() for widget in widgets if widget.display_name == name), None)
    if make is None:
        return None
    docked = getattr(viewer.window, "dock_widgets", {})  # since napari 0.6.2
    dock: QWidget | None = next((one for one in docked.values() if isinstance(one, make)), None)
    if dock is None:
        dock = make(napari_viewer=viewer)
        # The name that napari's menu uses: otherwise the menu would open a second dock.
        viewer.window.add_dock_widget(dock, name=f"{name} ({manifest.display_name})")
        for docking in dock.findChildren(DockPlacement):
            docking.place_dock()
    frame = dock.parentWidget()
    if frame is not None:
        frame.show()
        frame.raise_()
    return dock
