"""The keyboard shortcuts of all docks, and the dialog that lists them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent, QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QStyle,
    QTextEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.ui.viewer.camera import find_canvas, find_main_window
from napari_melanoma.ui.viewer.photographs import is_photograph
from napari_melanoma.ui.viewer.view_memory import ViewMemory, get_current_picture
from napari_melanoma.ui.widgets.pending import commit_typed
from napari_melanoma.ui.widgets.style import add_clear_button, named, quiet_label

if TYPE_CHECKING:
    from napari.viewer import Viewer

ShortcutContext = Literal["window", "numbers", "dock", "widget", "canvas", "tool"]
CONTEXT_TEXTS = {
    "window": "in the whole window",
    "numbers": "in the whole window, except in text fields",
    "dock": "while the dock has the keyboard focus",
    "widget": "in the list, table or layer concerned",
    "canvas": "on the image while a slide is shown, with any tool; a layer of your own comes first",
    "tool": "on the image while the tool is on",
}
# Shortcuts that repeat while the key is held. Others must not: they would accept several masks, or toggle a mode.
REPEATED = frozenset(
    {
        *("lesion.next", "lesion.previous", "slide.next", "slide.previous"),
        *(
            "slide.undo",
            "slide.redo",
            "slide.back",
            "slide.forward",
            "review.next",
            "review.previous",
            "case.undo",
            "case.redo",
        ),
    }
)
TEXT_FIELDS = (QLineEdit, QTextEdit, QPlainTextEdit, QAbstractSpinBox)
IGNORED_MODIFIERS = (
    Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.MetaModifier
)
ALTGR_MODIFIERS = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
PHOTOGRAPH_DOCKS = ("lesion_dock", "review_dock")  # docks for photographs, not for slides
DIALOG_NAME = "melanoma_shortcuts"
WIDTH_PX, HEIGHT_PX = 560, 600


class Shortcut(NamedTuple):
    """A shortcut: its key, a description of its action, its group in the help dialog, and where it works.

    Context ``numbers``: one of nine keys. Context ``widget``: the widget itself or napari handles the key. Context
    ``canvas``: ``key`` is one or several keys, separated by commas, which work while a slide is shown. Context
    ``tool``: the same, while a tool is on.
    """

    key: str
    text: str
    dock: str
    context: ShortcutContext = "window"


SHORTCUTS = {
    "help": Shortcut("F1", "Show this list", "All docks"),
    "help.dock": Shortcut("?", "Show this list", "All docks", "dock"),
    "fit": Shortcut("Ctrl+0", "Fit the photograph or slide to the view", "All docks", "widget"),
    "undo.layer": Shortcut("Ctrl+Z", "Undo on the selected layer", "All docks", "widget"),
    "lesion.analyse": Shortcut("Ctrl+Return", "Analyze the photograph in view", "Lesion"),
    "lesion.analyse_all": Shortcut("Ctrl+Shift+Return", "Analyze all open photographs", "Lesion"),
    "lesion.next": Shortcut("Alt+Right", "Next photograph", "Lesion"),
    "lesion.previous": Shortcut("Alt+Left", "Previous photograph", "Lesion"),
    "lesion.paint": Shortcut("Alt+B", "Paint on the mask (brush)", "Lesion"),
    "lesion.erase": Shortcut("Alt+E", "Erase on the mask", "Lesion"),
    "lesion.brush": Shortcut("[, ]", "Change the brush size", "Lesion", "widget"),
    "lesion.click": Shortcut("Alt+J", "Correct the mask by clicks", "Lesion"),
    "lesion.next_mask": Shortcut("Tab", "Next mask that fits the clicks", "Lesion", "tool"),
    "lesion.previous_mask": Shortcut("Shift+Tab", "Previous mask that fits the clicks", "Lesion", "tool"),
    "lesion.leave_clicks": Shortcut("Escape", "Stop correcting by clicks", "Lesion", "tool"),
    "lesion.inside": Shortcut("Alt+I", "Draw strokes inside the lesion", "Lesion"),
    "lesion.outside": Shortcut("Alt+O", "Draw strokes outside the lesion", "Lesion"),
    "lesion.apply": Shortcut("Alt+R", "Update the mask from the strokes", "Lesion"),
    "lesion.choose": Shortcut("Alt+U", "Select one of several lesions with a click", "Lesion"),
    "lesion.accept_scale": Shortcut("Alt+Y", "Accept the proposed scale", "Lesion"),
    "lesion.undo": Shortcut("Ctrl+Z", "Undo the last change of the scale", "Lesion", "dock"),
    "lesion.redo": Shortcut("Ctrl+Shift+Z", "Redo the last change of the scale that was undone", "Lesion", "dock"),
    "lesion.save": Shortcut("Ctrl+Alt+W", "Save", "Lesion"),
    "lesion.correct": Shortcut("Ctrl+Alt+A", "Add to corrections", "Lesion"),
    "lesion.copy": Shortcut("Ctrl+C", "Copy the measurements table", "Lesion", "widget"),
    "slide.analyse": Shortcut("Ctrl+Return", "Analyze the slide", "Slide"),
    "slide.analyse_view": Shortcut("Ctrl+Shift+Return", "Analyze the visible region", "Slide"),
    "slide.next": Shortcut("Alt+Right", "Next slide", "Slide"),
    "slide.previous": Shortcut("Alt+Left", "Previous slide", "Slide"),
    "slide.pan": Shortcut("Left, Right, Up, Down", "Move the view by a quarter", "Slide", "canvas"),
    "slide.page": Shortcut("Shift+Left, Shift+Right, Shift+Up, Shift+Down", "Move by a whole view", "Slide", "canvas"),
    "slide.zoom_in": Shortcut("+, =", "Zoom in at the mouse pointer", "Slide", "canvas"),
    "slide.zoom_out": Shortcut("-", "Zoom out at the mouse pointer", "Slide", "canvas"),
    "slide.magnify": Shortcut("1, 2, 3, 4, 5", "Magnify 2x, 4x, 10x, 20x, 40x at the mouse pointer", "Slide", "canvas"),
    "slide.actual_pixels": Shortcut("0", "One screen pixel for each pixel of the scan (1:1)", "Slide", "canvas"),
    "slide.whole": Shortcut("Home", "Fit the slide to the view", "Slide", "canvas"),
    "slide.next_stop": Shortcut("Tab", "Next lesion, then region, then bookmark", "Slide", "canvas"),
    "slide.previous_stop": Shortcut("Shift+Tab", "Previous lesion, region or bookmark", "Slide", "canvas"),
    "slide.overlays": Shortcut(
        "H", "Hide everything on the slide, such as lesions; again to show it", "Slide", "canvas"
    ),
    "slide.leave_reading": Shortcut(
        "Escape", "End the active tool, otherwise leave the reading mode", "Slide", "canvas"
    ),
    "slide.drag": Shortcut("Space", "Hold to move the view with any tool", "Slide", "widget"),
    "slide.reading": Shortcut("F8", "Reading mode: the slide fills the window; again to leave it", "Slide"),
    "slide.back": Shortcut("Alt+Shift+Left", "Previous view", "Slide"),
    "slide.forward": Shortcut("Alt+Shift+Right", "Next view", "Slide"),
    "slide.close": Shortcut("Ctrl+Alt+X", "Close the slide", "Slide"),
    "slide.bookmark": Shortcut("Alt+K", "Bookmark the current view", "Slide"),
    "slide.line": Shortcut("Alt+Q", "Measure a length", "Slide"),
    "slide.area": Shortcut("Alt+Shift+Q", "Measure an area", "Slide"),
    "slide.angle": Shortcut("Ctrl+Alt+Q", "Measure an angle", "Slide"),
    "slide.copy": Shortcut("Ctrl+C", "Copy the selected regions", "Slide", "widget"),
    "slide.paste": Shortcut("Ctrl+V", "Paste the copied regions", "Slide", "widget"),
    "slide.draw": Shortcut("Alt+D", "Draw a lesion; press again to finish", "Slide"),
    "slide.click": Shortcut("Alt+J", "Refine lesions by clicks; press again to finish", "Slide"),
    "slide.depth": Shortcut("Alt+T", "Measure the Breslow thickness manually", "Slide"),
    "slide.classes": Shortcut("Ctrl+1 to Ctrl+9", "Class of what you paint, draw or count", "Slide", "numbers"),
    "slide.rename": Shortcut("F2", "Rename the selected bookmark or region", "Slide", "widget"),
    "slide.remove": Shortcut(
        "Delete", "Remove the selected bookmark, measurement, lesion or region", "Slide", "widget"
    ),
    "slide.undo": Shortcut("Ctrl+Z", "Undo the last change of what is drawn on the slide", "Slide", "dock"),
    "slide.redo": Shortcut("Ctrl+Shift+Z", "Redo the last change that was undone", "Slide", "dock"),
    "slide.save": Shortcut("Ctrl+Alt+W", "Save the lesions", "Slide"),
    "review.next": Shortcut("Alt+PgDown", "Next photograph", "Review"),
    "review.previous": Shortcut("Alt+PgUp", "Previous photograph", "Review"),
    "review.accept": Shortcut("Alt+A", "Accept the mask and go to the next photograph", "Review"),
    "review.reject": Shortcut("Alt+X", "Reject the photograph and go to the next", "Review"),
    "review.classes": Shortcut("Ctrl+1 to Ctrl+9", "Diagnosis of the photograph, then the next", "Review", "numbers"),
    "review.class_keys": Shortcut("1 to 9", "The same, while the dock is in front of its tabs", "Review", "numbers"),
    "review.undo": Shortcut("Ctrl+Z", "Undo the last diagnosis", "Review", "dock"),
    "train.start": Shortcut("Ctrl+Alt+Return", "Start the training", "Train"),
    "train.back": Shortcut("Escape", "Close the page of a run", "Train", "dock"),
    "case.undo": Shortcut("Ctrl+Z", "Undo the last step", "Case", "dock"),
    "case.redo": Shortcut("Ctrl+Shift+Z", "Redo the last step", "Case", "dock"),
    "case.open": Shortcut("Alt+G", "Open the selected images", "Case", "dock"),
    "case.open_list": Shortcut("Return", "Open the selected images", "Case", "widget"),
    "case.add_lesion": Shortcut("Alt+N", "Add a lesion", "Case", "dock"),
    "case.add_image": Shortcut("Alt+M", "Add images", "Case", "dock"),
    "case.remove": Shortcut("Delete", "Remove the selected image or lesion from the case", "Case", "widget"),
    "tray.open": Shortcut("Return", "Open the selected slides and photographs", "Tray", "widget"),
    "tray.side_by_side": Shortcut("Shift+Return", "Show the selected slide in the second view", "Tray", "widget"),
    "tray.find": Shortcut("Ctrl+F", "Filter by name", "Tray", "dock"),
    "tray.refresh": Shortcut("F5", "Search the folder again", "Tray", "dock"),
}


def get_key(name: str) -> str:
    """Return the key of a shortcut on this platform, in Qt's notation.

    On macOS, Control (Qt's Meta) is added to Alt, since Option alone types characters and moves by words.
    """
    key = SHORTCUTS[name].key
    return f"Meta+{key}" if sys.platform == "darwin" and key.startswith("Alt+") else key


def list_keys(name: str) -> list[str]:
    """List the keys of a shortcut of the canvas or of a tool."""
    return SHORTCUTS[name].key.split(", ")


def format_key(name: str) -> str:
    """Format the key of a shortcut for tooltips and the help dialog, with the symbols of the platform."""
    if " to " in SHORTCUTS[name].key or SHORTCUTS[name].context in (
        "widget",
        "canvas",
        "tool",
    ):
        return get_key(name)
    return QKeySequence(get_key(name)).toString(QKeySequence.SequenceFormat.NativeText)


def add_shortcut(dock: QWidget, name: str, callback: Callable[[], object]) -> QShortcut:
    shortcut = QShortcut(QKeySequence(get_key(name)), dock)
    shortcut.setObjectName(name)
    shortcut.setAutoRepeat(name in REPEATED)
    if SHORTCUTS[name].context == "dock":
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
    shortcut.activated.connect(commit_typed)
    shortcut.activated.connect(callback)
    # If two open docks use the same key, Qt activates neither shortcut, and reports the ambiguity to one of them
    shortcut.activatedAmbiguously.connect(partial(_activate_best_match, shortcut))
    return shortcut


def add_number_shortcuts(dock: QWidget, name: str, callback: Callable[[int], object]) -> list[QShortcut]:
    """Connect the keys Ctrl+1 to Ctrl+9, in a dock also 1 to 9, to a callback, unless the user types in a field."""
    shortcuts = []

    def act(number: int) -> None:
        if not is_text_field(QApplication.focusWidget()):
            callback(number)

    is_in_dock = not SHORTCUTS[name].key.startswith("Ctrl")
    for number in range(1, 10):
        shortcut = QShortcut(QKeySequence(f"{number}" if is_in_dock else f"Ctrl+{number}"), dock)
        shortcut.setObjectName(name)
        if is_in_dock:
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.setAutoRepeat(False)
        shortcut.activated.connect(partial(act, number))
        shortcut.activatedAmbiguously.connect(partial(_activate_best_match, shortcut))
        shortcuts.append(shortcut)
    return shortcuts


class CanvasKeys(QObject):
    """Keys that work on the canvas while a tool is on.

    An event filter handles them, because napari does not receive Tab. ``actions``: by the name of the shortcut.
    """

    def __init__(self, dock: QWidget, actions: Mapping[str, Callable[[], object]]) -> None:
        super().__init__(dock)
        self._dock = dock
        self._actions = {key: action for name, action in actions.items() for key in list_keys(name)}
        self._canvas: QWidget | None = None

    def set_active(self, active: bool) -> None:
        if self._canvas is not None:
            with suppress(RuntimeError):  # it was deleted with its window
                self._canvas.removeEventFilter(self)
        window = find_main_window(self._dock) if active else None
        self._canvas = None if window is None else find_canvas(window)
        if self._canvas is not None:
            self._canvas.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle a key; return whether it was handled."""
        if event is None:
            return False
        if event.type() == QEvent.Type.Enter:
            focus_entered_canvas(self._canvas)
        if event.type() != QEvent.Type.KeyPress or not isinstance(event, QKeyEvent):
            return False
        action = self._actions.get(name_key(event))
        if action is not None:
            action()
        return action is not None


def focus_entered_canvas(canvas: QWidget | None) -> None:
    """Give the keyboard focus to a canvas that the mouse pointer has entered, unless the user types in a field.

    Otherwise the focus stays on a button after a click: the space bar would press the button again instead of moving
    the view.
    """
    is_typing = is_text_field(QApplication.focusWidget())
    if canvas is not None and not is_typing and canvas.window().isActiveWindow():
        canvas.setFocus(Qt.FocusReason.MouseFocusReason)


def is_text_field(widget: QWidget | None) -> bool:
    return isinstance(widget, TEXT_FIELDS) or (isinstance(widget, QComboBox) and widget.isEditable())


def _is_read_only(field: QObject | None) -> bool:
    """Return whether a text field is read-only, or another widget."""
    editor = field.lineEdit() if isinstance(field, QComboBox) else field
    return not isinstance(editor, TEXT_FIELDS) or editor.isReadOnly()


class TypedCharacters(QObject):
    """Let text fields receive characters typed with AltGr, although shortcuts use the same keys.

    Windows reports AltGr as Ctrl+Alt: the ą of a Polish keyboard would be Ctrl+Alt+A, and the @ of a German one
    Ctrl+Alt+Q.
    """

    def __init__(self, application: QApplication) -> None:
        super().__init__(application)
        application.focusChanged.connect(self._on_focus_changed)

    def _on_focus_changed(self, previous: QWidget | None, current: QWidget | None) -> None:
        if previous is not None and is_text_field(previous):
            with suppress(RuntimeError):  # it was deleted
                previous.removeEventFilter(self)
        if current is not None and is_text_field(current):
            current.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Let the field receive a character instead of a shortcut; return whether the key was a character."""
        if event is None or event.type() != QEvent.Type.ShortcutOverride or not isinstance(event, QKeyEvent):
            return False
        if _is_read_only(watched):
            return False
        if sys.platform == "darwin":  # where these modifiers are Command+Option, which type nothing
            return False
        has_altgr = event.modifiers() & ALTGR_MODIFIERS == ALTGR_MODIFIERS
        is_character = has_altgr and bool(event.text()) and event.text().isprintable()
        if is_character:
            event.accept()
        return is_character


def name_key(event: QKeyEvent) -> str:
    """Return a key in the notation of ``SHORTCUTS``; empty for keys with modifiers other than Shift."""
    if event.modifiers() & IGNORED_MODIFIERS:
        return ""
    name = str(QKeySequence(event.key()).toString(QKeySequence.SequenceFormat.PortableText))
    return {"Backtab": "Shift+Tab", "Esc": "Escape"}.get(name, name)


def is_delete_key(event: QEvent | None) -> bool:
    """Return whether an event is a press of the Delete key, which is Backspace on the keyboard of a MacBook.

    With modifiers, these keys do something else: Alt+Backspace is undo on Windows, Ctrl+Delete removes a word.
    """
    if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
        return False
    is_delete = event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace)
    return is_delete and not event.modifiers() & IGNORED_MODIFIERS


def _activate_best_match(shortcut: QShortcut) -> None:
    """Activate the shortcut of the dock that matches best, among the docks that use the same key."""
    dock = shortcut.parent()
    candidates = [
        other
        for other in dock.window().findChildren(QShortcut)
        if other.key() == shortcut.key()
        and other.isEnabled()
        and other.objectName() in SHORTCUTS
        and other.parent().isVisible()
    ]
    max(candidates, key=lambda candidate: _match_score(candidate.parent())).activated.emit()


def _match_score(dock: QWidget) -> tuple[bool, bool, bool]:
    """Return the rank of a dock for a key: whether it has the focus, concerns the image in view, and is visible."""
    focus, memory = QApplication.focusWidget(), dock.findChild(ViewMemory)
    picture = None if memory is None else get_current_picture(memory.viewer)
    is_for_photographs = dock.objectName() in PHOTOGRAPH_DOCKS
    is_relevant = picture is not None and is_for_photographs == is_photograph(picture[0])
    return focus is not None and dock.isAncestorOf(focus), is_relevant, not dock.visibleRegion().isEmpty()


class ShortcutHelp(QDialog):
    """Lists the shortcuts, filtered by the text in the search field."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName(DIALOG_NAME)
        self.setWindowTitle("Keyboard shortcuts (Melanoma)")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.search = named(QLineEdit(), "shortcut_search", "Search", "Search by key, dock or action")
        self.search.setPlaceholderText("Search")
        add_clear_button(self.search)
        self.list = named(QTreeWidget(), "shortcut_list", "Keyboard shortcuts")
        self.list.setToolTip("")
        self.list.setHeaderHidden(True)
        self.list.setColumnCount(2)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.list.setUniformRowHeights(True)
        for name, shortcut in SHORTCUTS.items():
            item = QTreeWidgetItem(self._get_group(shortcut.dock), [format_key(name), shortcut.text])
            for column in range(2):
                item.setToolTip(column, f"Works {CONTEXT_TEXTS[shortcut.context]}.")
        self.list.expandAll()
        self.list.resizeColumnToContents(0)
        self.list.setColumnWidth(0, self.list.columnWidth(0) + 24)
        self.no_match_label = quiet_label("No shortcut matches.")
        self.no_match_label.hide()
        layout = QVBoxLayout(self)
        for widget in (self.search, self.list, self.no_match_label):
            layout.addWidget(widget)
        self.search.textChanged.connect(self._on_search)
        screen = parent.screen().availableGeometry()
        self.list.resizeColumnToContents(1)
        frame = layout.contentsMargins()
        bar = self.list.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent) + 2 * self.list.frameWidth()
        needed = self.list.columnWidth(0) + self.list.columnWidth(1) + bar + frame.left() + frame.right()
        self.resize(min(max(WIDTH_PX, needed), screen.width()), min(HEIGHT_PX, screen.height() - 60))

    def _get_group(self, dock: str) -> QTreeWidgetItem:
        """Return the heading of a dock; add it if it is missing."""
        headings = self.list.findItems(dock, Qt.MatchFlag.MatchExactly)
        if headings:
            return headings[0]
        group = QTreeWidgetItem(self.list, [dock])
        group.setFirstColumnSpanned(True)
        font = group.font(0)
        font.setBold(True)
        group.setFont(0, font)
        return group

    def _on_search(self, text: str) -> None:
        has_match = False
        for index in range(self.list.topLevelItemCount()):
            group = self.list.topLevelItem(index)
            match_count = 0
            for row in range(group.childCount()):
                item = group.child(row)
                matches = text.strip().lower() in f"{group.text(0)} {item.text(0)} {item.text(1)}".lower()
                item.setHidden(not matches)
                match_count += matches
            group.setHidden(match_count == 0)
            has_match = has_match or match_count > 0
        self.no_match_label.setVisible(not has_match)


def show_shortcut_help(window: QWidget) -> ShortcutHelp:
    """Show the shortcut list over a window without blocking it, or bring it to the front."""
    dialog = window.findChild(ShortcutHelp, DIALOG_NAME) or ShortcutHelp(window)
    dialog.show()
    dialog.raise_()
    dialog.activateWindow()
    dialog.search.setFocus()
    return dialog


def show_shortcuts(napari_viewer: Viewer | None = None) -> None:
    """Show the shortcut list over the active window; called from napari's menu."""
    windows = [window for window in QApplication.topLevelWidgets() if isinstance(window, QMainWindow)]
    active = [window for window in windows if window.isActiveWindow()] or [
        window for window in windows if window.isVisible()
    ]
    if active:
        show_shortcut_help(active[0])


def add_help_shortcuts(dock: QWidget) -> None:
    """Make F1 and ``?`` show the shortcut list in a dock, and protect AltGr characters in all text fields."""
    for name in ("help", "help.dock"):
        add_shortcut(dock, name, lambda: show_shortcut_help(dock.window()))
    application = QApplication.instance()
    if isinstance(application, QApplication) and application.findChild(TypedCharacters) is None:
        TypedCharacters(application)
