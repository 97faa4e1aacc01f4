"""The layout of this package's docks in napari's window, and how they are opened without delay."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow, QMenu, QSizePolicy, QWidget

from napari_melanoma.ui.viewer.garbage import free_in_own_context
from napari_melanoma.ui.viewer.layers import LayerUnits
from napari_melanoma.ui.viewer.shortcuts import add_help_shortcuts
from napari_melanoma.ui.viewer.view_memory import FIT_KEY, ViewMemory, fit_view
from napari_melanoma.ui.widgets.job import GuiTaskQueue, tasks
from napari_melanoma.ui.widgets.signals import Connections

if TYPE_CHECKING:
    from napari.viewer import Viewer


MIN_WIDTH_PX = 340  # of a dock; all docks can be used at this width
MIN_HEIGHT_PX = 140  # of a dock; less than it needs, as docks that are stacked for a moment would enlarge the window
TWO_COLUMNS_PX = 1500  # a window this wide has room for a photograph and two docks side by side
MIN_CANVAS_PX = 400  # width that a second column of docks leaves for the canvas
# The Lesion dock is used together with the Review dock or the Case dock.
SIDE_BY_SIDE_DOCKS = (frozenset({"lesion_dock", "review_dock"}), frozenset({"lesion_dock", "case_dock"}))
# A dock with a bottom height is placed below the image if it is opened in one of these areas: napari's default area,
# and the area below the image, where the user left it.
BELOW_FROM = (Qt.DockWidgetArea.RightDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea)
DEFER_DELAY_MS = 60  # time until an opened dock has been drawn
PLUGIN = "napari-melanoma"  # and the names of docks in its manifest
LESION_DOCK, SLIDE_DOCK, CASE_DOCK, TRAY_DOCK, TRAIN_DOCK = "Lesion", "Slide", "Case", "Tray", "Train"


class DockPlacement(QObject):
    """Positions a dock once, when it is opened; later changes of the layout by the user are kept.

    The dock becomes the front tab of another dock of this package in the same area of the window. The Lesion dock
    gets a column of its own beside the Review or the Case dock if the window is wide enough.

    ``bottom_height``: height in pixels of a dock that is placed below the image instead; 0 for other docks.
    ``front_changed``: the dock has come to the front of its tabs, or is no longer visible.
    """

    front_changed = Signal(bool)

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
        self.in_front = False
        self._closing = False
        self._awaits_user = False  # it was opened hidden
        self.is_placed = False
        dock.setMinimumWidth(MIN_WIDTH_PX)
        dock.setMinimumHeight(MIN_HEIGHT_PX)
        # Otherwise napari adds a stretch below the dock's content, which is larger for each dock that was opened before
        dock.setSizePolicy(dock.sizePolicy().horizontalPolicy(), QSizePolicy.Policy.Expanding)
        dock.installEventFilter(self)
        if viewer is not None and connections is not None:
            free_in_own_context()
            LayerUnits(viewer, connections, self)
            ViewMemory(viewer, connections, self)
            add_help_shortcuts(dock)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """React to a new frame of the dock, and to the frame being closed, hidden or shown again."""
        kind = None if event is None else event.type()
        if watched is self._dock and kind == QEvent.Type.ParentChange:
            self._keep_widths()  # napari's button to close removes the dock from its frame first
            frame = self._dock.parentWidget()
            self._frame = frame if isinstance(frame, QDockWidget) else None
            # Deferred, because the frame is not in the window yet, or the dock may be moved to another frame
            self.is_placed = False
            QTimer.singleShot(0, self._dispose if frame is None else self._place_new)
        elif self._frame is None or watched is not self._frame:
            return False
        elif kind == QEvent.Type.ShowToParent:
            self._awaits_user = False
            QTimer.singleShot(0, self._raise_frame if self.is_placed else self.place_dock)
        elif kind == QEvent.Type.Close:
            self._closing = True
        elif kind == QEvent.Type.HideToParent:
            self._keep_widths()
            # napari's menu hides an open dock also if it is a tab behind others, although the user wants to see it
            if not self.in_front and not self._closing:
                QTimer.singleShot(0, self._reopen)
            self._closing = False
        return False

    def _live_frame(self) -> QDockWidget | None:
        """Return the frame; None if there is none, or if it was deleted before a deferred call."""
        return self._frame if isalive(self) and self._frame is not None and isalive(self._frame) else None

    def place_dock(self) -> None:
        """Position the dock among the open docks of this package, unless this was done already."""
        frame = self._live_frame()
        window = None if frame is None else frame.parentWidget()
        if self.is_placed or frame is None or not isinstance(window, QMainWindow) or frame.isFloating():
            return
        self.is_placed = True
        # Short titles, so that five tabs fit into the minimum width
        frame.setWindowTitle(self._dock.accessibleName() or frame.windowTitle())
        frame.installEventFilter(self)
        frame.visibilityChanged.connect(self._on_visibility)
        self._set_in_front(True)
        self._extend_fit(window)
        for layout in window.findChildren(CanvasLayout):
            layout.interrupt(frame)
        if self._bottom_height and window.dockWidgetArea(frame) in BELOW_FROM:
            _place_below(window, frame, self._bottom_height)
        else:
            _place(window, frame)
        frame.show()
        frame.raise_()

    def _place_new(self) -> None:
        """Place a new dock, unless it was opened hidden: then once the user shows it."""
        if isalive(self) and not self._awaits_user:
            self.place_dock()

    def keep_hidden(self) -> None:
        """Hide a new dock, which is placed once the user shows it."""
        frame = self._live_frame()
        if frame is not None:
            frame.hide()
            self._awaits_user = True
            frame.installEventFilter(self)

    def _extend_fit(self, window: QMainWindow) -> None:
        """Make napari's command to fit the view fit the visible image; napari fits all layers, even hidden ones."""
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

    def _keep_widths(self) -> None:
        """Let the other docks keep their widths when this one is closed, so that the image gets its width.

        Qt would give it to the dock beside the closed one.
        """
        frame = self._live_frame()
        window = None if frame is None else frame.parentWidget()
        if frame is None or not isinstance(window, QMainWindow) or frame.isFloating() or not self.in_front:
            return
        others = [
            dock
            for dock in _find_docks(window)
            if dock is not frame and not (dock.isFloating() or dock.visibleRegion().isEmpty() or _has_canvas(dock))
        ]
        widths = [dock.width() for dock in others]
        QTimer.singleShot(0, partial(_restore_widths, window, others, widths))

    def _on_visibility(self, visible: bool) -> None:
        """Record whether the dock is in front; if it is no longer visible, after the current event."""
        if visible:
            self._set_in_front(True)
        else:
            QTimer.singleShot(0, self._update_in_front)

    def _update_in_front(self) -> None:
        if isalive(self):
            frame = self._live_frame()
            self._set_in_front(frame is not None and not frame.visibleRegion().isEmpty())

    def _set_in_front(self, in_front: bool) -> None:
        if in_front != self.in_front:
            self.in_front = in_front
            self.front_changed.emit(in_front)

    def _dispose(self) -> None:
        """Delete a dock that was closed, which napari leaves without frame and parent."""
        if isalive(self) and isalive(self._dock) and self._dock.parentWidget() is None:
            self._dock.deleteLater()

    def _reopen(self) -> None:
        """Show a dock that was hidden while it was a tab behind others, unless it has been removed or shown since."""
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


def _restore_widths(window: QMainWindow, docks: list[QDockWidget], widths: list[int]) -> None:
    """Give docks their previous widths, unless they were closed since."""
    if isalive(window):
        shown = [(dock, width) for dock, width in zip(docks, widths, strict=True) if isalive(dock) and dock.isVisible()]
        window.resizeDocks([dock for dock, _ in shown], [width for _, width in shown], Qt.Orientation.Horizontal)


def place_next_to_canvas(window: QMainWindow, frame: QDockWidget) -> None:
    """Move a dock between the canvas and the docks of this package.

    The docks of this package keep their columns and tabs, and the same tabs are in front.
    """
    columns = _columns(window, frame)
    front_docks = [dock for column in columns for dock in column if not dock.visibleRegion().isEmpty()]
    _add_column(window, [frame])
    for column in columns:
        _add_column(window, column)
    for dock in front_docks:
        dock.raise_()


def _place(window: QMainWindow, frame: QDockWidget) -> None:
    """Make a new dock a tab in one of the columns, or give it a column of its own."""
    columns = [column for column in _columns(window, frame) if frame not in column]
    partners = [
        column
        for column in columns
        if any({_dock_name(dock), _dock_name(frame)} in SIDE_BY_SIDE_DOCKS for dock in column)
    ]
    others = [column for column in columns if column not in partners]
    if partners and not others and _has_room(window):
        _add_column(window, [frame])
    elif columns:
        # Not in the column of a partner dock if there is another one: both are used together
        window.tabifyDockWidget((others or columns)[-1][-1], frame)


def _place_below(window: QMainWindow, frame: QDockWidget, height: int) -> None:
    """Place a dock below the image; docks on the right keep their height."""
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
    """Move docks into a column of their own, as tabs; it becomes the outermost column of their area."""
    area = window.dockWidgetArea(frames[0])
    for frame in frames:
        window.removeDockWidget(frame)
    window.addDockWidget(area, frames[0], Qt.Orientation.Horizontal)
    for frame in frames[1:]:
        window.tabifyDockWidget(frames[0], frame)
    for frame in frames:
        frame.show()


def _columns(window: QMainWindow, frame: QDockWidget) -> list[list[QDockWidget]]:
    """Return the columns of this package's docks in the area of a frame, from left to right, each with its tabs."""
    columns: list[list[QDockWidget]] = []
    for dock in window.findChildren(QDockWidget):
        if _dock_name(dock) is None or not _shares_area(window, dock, frame):
            continue
        tabs = window.tabifiedDockWidgets(dock)
        column = next((column for column in columns if any(tab in column for tab in tabs)), None)
        if column is None:
            columns.append([dock])
        else:
            column.append(dock)
    # Tabs in the background lie outside the window, so the largest position is that of the front tab
    return sorted(columns, key=lambda column: max(dock.x() for dock in column))


def _dock_name(frame: QDockWidget) -> str | None:
    """Return the object name of the dock in a frame; None if it is not a dock of this package that has been placed."""
    dock = frame.widget()
    if dock is None or not any(isinstance(child, DockPlacement) and child.is_placed for child in dock.children()):
        return None
    return dock.objectName()


def _shares_area(window: QMainWindow, other: QDockWidget, frame: QDockWidget) -> bool:
    """Return whether another dock is shown in the same area of the window."""
    in_area = window.dockWidgetArea(other) == window.dockWidgetArea(frame)
    return in_area and not other.isFloating() and not other.isHidden()


class CanvasLayout(QObject):
    """Hides all docks but one beside the canvas, and restores the previous layout of the window later.

    Floating docks and docks with a canvas of their own are not hidden. ``interrupted``: the user opened another dock or
    closed the remaining one, so the layout must be restored.
    """

    interrupted = Signal()

    def __init__(self, window: QMainWindow, frame: QDockWidget) -> None:
        super().__init__(window)
        self._window, self._frame = window, frame
        self._state, self._window_state = window.saveState(), window.windowState()
        self._focus = QApplication.focusWidget()
        self._min_size = frame.minimumSize()
        self._title_bar: QWidget | None = None
        self._is_closed = False  # whether the user closed the remaining dock
        self._watched_docks = _find_docks(window)
        self._docks = [dock for dock in self._watched_docks if not dock.isHidden() and not dock.isFloating()]
        self._front_docks = [dock for dock in self._docks if not dock.visibleRegion().isEmpty()]

    def apply(self) -> None:
        """Hide the other docks, and put the remaining one to the right, without a title bar."""
        window, frame = self._window, self._frame
        if frame.isFloating():
            frame.setFloating(False)
        if window.dockWidgetArea(frame) != Qt.DockWidgetArea.RightDockWidgetArea:
            window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, frame)
        self._title_bar = frame.titleBarWidget()
        frame.setTitleBarWidget(QWidget(frame))
        frame.setMinimumSize(0, 0)  # both sides: otherwise the minimum width stays that of the previous content
        for dock in self._docks:
            if dock is not frame and not _has_canvas(dock):
                _hide(dock)
        frame.show()
        frame.raise_()
        for watched in (window, *self._watched_docks):
            watched.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Interrupt when the user opens another dock or closes the remaining one."""
        kind = None if event is None else event.type()
        if watched is self._frame and kind == QEvent.Type.HideToParent:
            QTimer.singleShot(0, self._on_hidden)
        elif watched is self._window and kind == QEvent.Type.ChildAdded:
            QTimer.singleShot(0, self._find_new)  # later, because the child is not complete yet
        elif kind == QEvent.Type.ShowToParent and watched in self._watched_docks and watched is not self._frame:
            QTimer.singleShot(0, partial(self._on_shown, watched))
        return False

    def _find_new(self) -> None:
        """Interrupt if a dock was added, such as one of another plugin."""
        if isalive(self) and isalive(self._window):
            for frame in _find_docks(self._window):
                if frame not in self._watched_docks:
                    self._watched_docks.append(frame)
                    frame.installEventFilter(self)
                    self._on_shown(frame)

    def _on_shown(self, frame: QDockWidget) -> None:
        """Interrupt if a dock that is now shown makes the canvas narrower."""
        if isalive(self) and isalive(frame) and not (frame.isHidden() or frame.isFloating() or _has_canvas(frame)):
            self.interrupt(frame)

    def _on_hidden(self) -> None:
        """Interrupt if the remaining dock was closed, not only moved."""
        if isalive(self) and (not isalive(self._frame) or self._frame.isHidden()):
            self._is_closed = True
            self.interrupted.emit()

    def interrupt(self, frame: QDockWidget) -> None:
        """Request to restore the layout, because a dock is being opened."""
        self._front_docks.append(frame)
        self.interrupted.emit()

    def restore(self) -> None:
        """Restore docks, window state and focus; docks that were opened meanwhile stay open."""
        window, frame = self._window, self._frame
        if not isalive(self) or not isalive(window):
            return
        for watched in filter(isalive, (window, *self._watched_docks)):
            watched.removeEventFilter(self)
        if self._title_bar is not None and isalive(frame) and isalive(self._title_bar):
            empty = frame.titleBarWidget()
            frame.setTitleBarWidget(self._title_bar)
            frame.setMinimumSize(self._min_size)
            empty.deleteLater()
        if window.isFullScreen() and not self._window_state & Qt.WindowState.WindowFullScreen:
            window.setWindowState(self._window_state)
        opened = [dock for dock in _find_docks(window) if dock not in self._docks and not dock.isHidden()]
        window.restoreState(self._state)
        for dock in opened:
            dock.show()  # the stored state hides a dock that was closed at the time
            if not dock.isFloating() and _has_canvas(dock):
                place_next_to_canvas(window, dock)
        if self._is_closed and isalive(frame):
            frame.hide()
        focus = self._focus
        if focus is not None and isalive(focus) and focus.isVisible():
            focus.setFocus()
        QTimer.singleShot(0, self._finish)  # later, because each dock that is shown again comes to the front

    def _finish(self) -> None:
        """Bring the docks to the front that were in front before, and those that are being opened."""
        if isalive(self):
            for dock in self._front_docks:
                if isalive(dock) and not dock.isHidden():
                    dock.raise_()
            self.deleteLater()


def _hide(frame: QDockWidget) -> None:
    """Hide a dock of this package or of another plugin."""
    for placement in frame.findChildren(DockPlacement):
        placement.hide_frame()
    frame.hide()


def _find_docks(window: QMainWindow) -> list[QDockWidget]:
    """Return the docks of a window, hidden ones included."""
    return list(window.findChildren(QDockWidget, options=Qt.FindChildOption.FindDirectChildrenOnly))


def _has_canvas(frame: QDockWidget) -> bool:
    """Return whether a dock shows images, such as a second view."""
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    return frame.findChild(QOpenGLWidget) is not None


class DeferredWidgets(QObject):
    """Inserts parts of a dock one by one after the dock was drawn, so that it opens fast.

    ``opened``: the dock was added to the window. ``drawn``: the dock was drawn, and parts are now inserted.
    """

    opened = Signal()
    drawn = Signal()

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self.holder = QWidget()  # parent of parts that are not inserted yet
        self.is_opening = True
        self._pending: deque[Callable[[], object]] = deque()
        self._queue = GuiTaskQueue(self)
        # A child of the dock, so that it is deleted with a dock that is closed early
        self._draw_timer = QTimer(self)
        self._draw_timer.setSingleShot(True)
        self._draw_timer.timeout.connect(self._start_inserting)
        dock.destroyed.connect(self.holder.deleteLater)

    def add_widget(self, part: QWidget, insert: Callable[[QWidget], None]) -> None:
        """Add a part to be inserted; ``insert``: adds it to a layout."""
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
        """Run functions after all pending parts and tasks, each in its own turn of the event loop."""
        self._queue.add(*[self._next] * len(self._pending), *functions)

    def insert_all(self) -> None:
        """Insert all pending parts and run all pending tasks now."""
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


def find_frame(widget: QWidget) -> QDockWidget | None:
    """Return the frame of the dock that contains a widget; None outside of docks, such as in the middle of a window."""
    parent: QWidget | None = widget
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent


def show_dock(viewer: Viewer, name: str) -> QWidget | None:
    """Open a dock of this package in a viewer, or bring it to the front if it is open.

    Returns the dock's widget; None if this installation has no such dock.
    """
    dock, _ = _open_dock(viewer, name)
    for placement in () if dock is None else dock.findChildren(DockPlacement):
        placement.place_dock()
    frame = None if dock is None else dock.parentWidget()
    if frame is not None:
        frame.show()
        frame.raise_()
    return dock


def open_hidden_dock(viewer: Viewer, name: str) -> None:
    """Open a dock of this package for what it provides, without showing it; one that is open stays as it is."""
    dock, is_new = _open_dock(viewer, name)
    for placement in () if dock is None or not is_new else dock.findChildren(DockPlacement):
        placement.keep_hidden()


def _open_dock(viewer: Viewer, name: str) -> tuple[QWidget | None, bool]:
    """Return a dock of this package and whether it is new; None if this installation has no such dock."""
    import npe2

    manifest = npe2.PluginManager.instance().get_manifest(PLUGIN)
    widgets = manifest.contributions.widgets or ()
    dock_class: Any = next((widget.get_callable() for widget in widgets if widget.display_name == name), None)
    if dock_class is None:
        return None, False
    open_docks = getattr(viewer.window, "dock_widgets", {})  # since napari 0.6.2
    dock: QWidget | None = next((widget for widget in open_docks.values() if isinstance(widget, dock_class)), None)
    if dock is not None:
        return dock, False
    dock = dock_class(napari_viewer=viewer)
    # The same name as in napari's menu, which would otherwise open a second dock
    viewer.window.add_dock_widget(dock, name=f"{name} ({manifest.display_name})")
    return dock, True
