"""The style shared by all docks: names, layouts, sections, icons, colors and labels."""

from __future__ import annotations

import html
import re
from bisect import bisect
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QPoint, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QCursor, QFontMetrics, QIcon, QPainter, QPixmap, QResizeEvent
from qtpy.QtSvg import QSvgRenderer
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QMenu,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.formatting import shorten_name
from napari_melanoma.ui.widgets.pending import commit_typed
from napari_melanoma.ui.widgets.wheel import guard_wheel

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.signals import Connections

AnyWidget = TypeVar("AnyWidget", bound=QWidget)
# In the theme's blue, a section title would look like a pressed button; only the primary button stands out.
# Frames, of the focus and of napari's disabled buttons, take their width from the padding, so that nothing moves.
STYLE = """
QPushButton:disabled {{ padding: 3px; }}
QPushButton:checked {{ background-color: {primary}; color: white; }}
QPushButton#primary {{
    background-color: {primary}; color: white; font-weight: bold; padding: 7px; border-radius: 3px; }}
QPushButton#primary:hover {{ background-color: {hover}; }}
QPushButton#primary:disabled {{ background-color: {disabled}; color: {faint}; border: none; }}
QPushButton#sectionTitle, QPushButton#sectionTitle:checked, QPushButton#sectionTitle:hover {{
    background-color: transparent; color: {text}; font-weight: bold;
    padding: 3px 0px; text-align: left; border: none; }}
QPushButton#sectionTitle[quiet="true"], QPushButton#sectionTitle[quiet="true"]:checked {{
    color: {faint}; font-weight: normal; }}
QLabel[quiet="true"], QToolButton[quiet="true"]:enabled {{ color: {faint}; }}
QLabel[fault="true"] {{ color: {fault}; }}
QLabel[loud="true"] {{ font-weight: bold; }}
QLabel:disabled {{ color: {faint}; }}
*[legible="true"] QComboBox:disabled, *[legible="true"] QLineEdit:disabled, *[legible="true"] QPlainTextEdit:disabled,
*[legible="true"] QCheckBox:disabled, *[legible="true"] QLabel:disabled {{ color: {text}; }}
*[legible="true"] QComboBox:disabled, *[legible="true"] QLineEdit:disabled, *[legible="true"] QPlainTextEdit:disabled {{
    background-color: transparent; }}
*[legible="true"] QComboBox::drop-down:disabled, *[legible="true"] QComboBox::down-arrow:disabled {{
    image: none; background-color: transparent; }}
*[suggested="true"] QComboBox:enabled, *[suggested="true"] QLineEdit:enabled {{ color: {soft}; font-style: italic; }}
QLineEdit, QPlainTextEdit, QComboBox {{ placeholder-text-color: {soft}; }}
QToolButton {{ background-color: {button}; border: none; border-radius: 2px; padding: 3px; }}
QToolButton:hover {{ background-color: {highlight}; }}
QToolButton:checked {{ background-color: {primary}; color: white; }}
QToolButton:disabled {{ background-color: {disabled}; }}
QToolButton::menu-indicator {{ image: none; }}
QPushButton:focus {{ border: 1px solid {link}; padding: 3px; }}
QPushButton#primary:focus {{ border: 2px solid {text}; padding: 5px; }}
QPushButton#sectionTitle:focus {{ border-bottom: 1px solid {link}; padding: 3px 0px 2px 0px; }}
QToolButton:focus {{ border: 1px solid {link}; padding: 2px; }}
QToolButton:checked:focus {{ border: 1px solid {text}; padding: 2px; }}
QComboBox:focus {{ border: 1px solid {link}; padding: 2px 9px 2px 7px; }}
QComboBox:editable {{ padding: 3px 2px 3px 4px; }}
QComboBox:editable:focus {{ padding: 2px 1px 2px 3px; }}
QLineEdit:focus {{ border: 1px solid {link}; padding: 1px; }}
QComboBox > QLineEdit:focus, QAbstractSpinBox > QLineEdit:focus {{ border: none; padding: 2px; }}
QAbstractSpinBox:focus {{ border: 1px solid {link}; padding: 0px 9px; }}
QCheckBox::indicator:focus {{ border: 1px solid {link}; padding: 0px; }}
QPlainTextEdit[readOnly="false"] {{ background-color: {button}; border-radius: 2px; padding: 2px; }}
QPlainTextEdit[readOnly="false"]:focus {{ border: 1px solid {link}; padding: 1px; }}
QFrame[card="true"] {{ background-color: {disabled}; border-radius: 4px; }}
QFrame[card="true"] QLabel {{ background-color: transparent; }}
QFrame#notice {{ background-color: {disabled}; border-left: 3px solid {fault}; }}
QFrame#proposal {{ background-color: {disabled}; border-left: 3px solid {soft}; }}
QFrame#proposal QLabel {{ color: {soft}; font-style: italic; }}
QFrame#welcome {{ border: 2px dashed {highlight}; border-radius: 6px; }}
QFrame#welcome[over="true"] {{ border-color: {primary}; }}
"""
# The same blue in both themes: napari's own is too pale for white text in the light theme.
PRIMARY, PRIMARY_HOVER = "#2f6fb3", "#3576bd"
ICON_PX = 72  # shown at a quarter of this size, so that it is sharp on every screen
TALL = "Xµ·"  # some fonts lack characters, and those of others are taller
NO_LIMIT_PX = 16_777_215  # Qt's QWIDGETSIZE_MAX
READING = "Reading ..."
LINK = re.compile(r"(<a [^>]*>)(.*?)(</a>)")
MIN_LINK_LETTERS = 8  # of a link whose text is cut
REST_MS = 100  # without a change of its layout, after which content is at rest
ROW_TOLERANCE_PX = 6  # between the middles of controls in one row
HOVER_EVENTS = (QEvent.Type.HoverEnter, QEvent.Type.HoverMove, QEvent.Type.HoverLeave)
HEIGHT_EVENTS = (QEvent.Type.FontChange, QEvent.Type.StyleChange, QEvent.Type.ContentsRectChange)


def named(widget: AnyWidget, name: str, accessible_name: str, tip: str = "") -> AnyWidget:
    """Set a control's object name, accessible name and tooltip; the wheel changes it only after a click.

    A button acts on what was typed until it is pressed.
    """
    widget.setObjectName(name)
    widget.setAccessibleName(accessible_name)
    widget.setToolTip(tip or accessible_name)
    if isinstance(widget, QAbstractItemView):
        widget.setTabKeyNavigation(False)  # in a table, the tab key would go from cell to cell and never leave it
    if isinstance(widget, QAbstractButton):
        widget.pressed.connect(commit_typed)
    return guard_wheel(widget)


def add_clear_button(field: QLineEdit) -> None:
    """Let a button in a text field clear it; Qt's has no name."""
    field.setClearButtonEnabled(True)
    for button in field.findChildren(QAbstractButton):
        named(button, "clear", "Clear")


def row(*widgets: QWidget, stretch: int = -1) -> QWidget:
    """Put widgets side by side; ``stretch``: index of the widget that fills the row, -1 for an empty rest."""
    holder = QWidget()
    layout = QHBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    if stretch >= 0:
        layout.setStretch(stretch, 1)
    else:
        layout.addStretch(1)
    return holder


def column(*widgets: QWidget, spacing: int = 5) -> QWidget:
    """Put widgets below each other."""
    holder = QWidget()
    fill_column(holder, *widgets, spacing=spacing)
    return holder


def fill_column(holder: QWidget, *widgets: QWidget, spacing: int = 4) -> None:
    """Put widgets below each other into a widget without a layout."""
    layout = QVBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    for widget in widgets:
        layout.addWidget(widget)


def reserve_space(widget: QWidget) -> None:
    """Keep the space of a widget while it is hidden, so that others do not move."""
    policy = widget.sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    widget.setSizePolicy(policy)


def quiet_label(text: str = "", lines: int = 0) -> QLabel:
    """Make a label for secondary text; ``lines``: its height as that of a ``WrappedLabel``."""
    label = WrappedLabel(text, lines) if lines else QLabel(text)
    label.setProperty("quiet", True)
    label.setWordWrap(True)
    return label


def elide(metrics: QFontMetrics, text: str, width: int) -> str:
    """Cut a text at its end if it is wider than ``width`` pixels. The caller shows the whole text as a tooltip."""
    return str(metrics.elidedText(text, Qt.TextElideMode.ElideRight, width))


def fit_rows(view: QListWidget, rows: int) -> None:
    """Give a list the height of a number of rows; an empty list is as high as one with a row of text."""
    view.ensurePolished()
    row_px = max(view.sizeHintForRow(0), view.fontMetrics().height())
    view.setFixedHeight(rows * row_px + 2 * view.frameWidth())


def top_label(text: str) -> QLabel:
    """Make a label at the top of its row, beside a control of several lines."""
    label = QLabel(text)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    label.setContentsMargins(0, 4, 0, 0)
    return label


def form_layout(parent: QWidget) -> QFormLayout:
    """Make an empty form layout that needs little width."""
    layout = QFormLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setVerticalSpacing(5)
    layout.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return layout


class _ScrollArea(QScrollArea):
    """A scroll area whose content stays under the pointer; without a pointer on it, where the focus is.

    When content above that changes its height, such as results, the area scrolls along, if necessary into spare room
    below the page, or with spare room above it until the pointer leaves or the user scrolls. It also stays where it is
    when the button that was pressed is disabled or hidden.
    """

    def __init__(self) -> None:
        super().__init__()
        self._anchor: tuple[QWidget, int] | None = None  # what stays, and its place in the viewport at rest
        self._spare = self._above = 0  # heights of the room below and above the page
        self._is_settling = False
        self._pointer = QPoint()  # where the pointer was when the anchor was found
        self.verticalScrollBar().valueChanged.connect(self._on_scrolled)
        QApplication.instance().focusChanged.connect(self._on_focus)

    def setWidget(self, widget: QWidget) -> None:  # noqa: N802 - Qt's name
        """Set the page, and follow the pointer on it."""
        widget.setAttribute(Qt.WidgetAttribute.WA_Hover)
        super().setWidget(widget)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Find what the pointer is on, before the page is laid out again."""
        if event.type() in HOVER_EVENTS and watched is self.widget():
            has_left = event.type() == QEvent.Type.HoverLeave
            if has_left:
                self._set_above(0)
            if has_left or QCursor.pos() != self._pointer:  # else the content has moved, and is held in place soon
                self._find_anchor()
        return bool(super().eventFilter(watched, event))

    def event(self, event: QEvent) -> bool:
        """Hold the content after the page was laid out again."""
        if event.type() != QEvent.Type.LayoutRequest or self._is_settling:
            return bool(super().event(event))
        self._is_settling, position = True, self.verticalScrollBar().value()
        handled = bool(super().event(event))
        self._hold(position)
        self._is_settling = False
        self._find_anchor()
        return handled

    def _find_anchor(self) -> None:
        """Find what must stay: the widget under the pointer, or that with the focus."""
        page, viewport, self._pointer = self.widget(), self.viewport(), QCursor.pos()
        for found in (QApplication.widgetAt(self._pointer), QApplication.focusWidget()):
            if page is not None and found is not None and page.isAncestorOf(found):
                top = found.mapTo(viewport, QPoint()).y()
                if found.isVisible() and -found.height() < top < viewport.height():
                    self._anchor = (found, top)
                    return
        self._anchor = None

    def _hold(self, position: int) -> None:
        """Scroll by what the anchor has moved; ``position``: that of the scroll bar before the change."""
        bar, (widget, top) = self.verticalScrollBar(), self._anchor or (self, 0)
        if isalive(widget) and widget.isVisible() and self.viewport().isAncestorOf(widget):
            position = bar.value() - self._above + widget.mapTo(self.viewport(), QPoint()).y() - top
            self._set_above(max(0, -position))
            self._make_room(max(0, position))
            bar.setValue(max(0, position))
        else:
            self._make_room(min(position, bar.maximum()))

    def _set_above(self, height: int) -> None:
        """Keep room above the page, so that content at its top, of which less is left, moves nothing below it."""
        page = self.widget()
        layout = None if page is None else page.layout()
        if layout is not None and height != self._above:
            margins = layout.contentsMargins()
            margins.setTop(margins.top() + height - self._above)
            self._above = height
            layout.setContentsMargins(margins)
            layout.activate()

    def _make_room(self, position: int) -> None:
        """Keep as much room below the page as scrolling to a position needs."""
        page = self.widget()
        layout = None if page is None else page.layout()
        if page is None or layout is None:
            return
        width = page.width()
        needed = layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else layout.totalMinimumSize().height()
        spare = max(0, self.viewport().height() + position - (needed - self._spare)) if position else 0
        if spare != self._spare:
            margins = layout.contentsMargins()
            margins.setBottom(margins.bottom() + spare - self._spare)
            self._spare = spare
            layout.setContentsMargins(margins)
            layout.activate()
            super().event(QEvent(QEvent.Type.LayoutRequest))

    def _on_focus(self, _: QWidget | None, focused: QWidget | None) -> None:
        if not self._is_settling:
            self._find_anchor()

    def _on_scrolled(self, position: int) -> None:
        if not self._is_settling:
            self._is_settling = True
            self._set_above(0)
            self._make_room(position)
            self._is_settling = False
            self._find_anchor()

    def focusNextPrevChild(self, forward: bool) -> bool:  # noqa: N802 - Qt's name
        """Move the focus to the next control below; Qt appends controls that are created later to the window's.

        Qt scrolls to the new place also if the user has not pressed the tab key.
        """
        for first, second in pairwise(_list_controls(self)):
            QWidget.setTabOrder(first, second)
        focused, bar = self.focusWidget(), self.verticalScrollBar()
        is_usable, position = focused is None or (focused.isEnabled() and focused.isVisible()), bar.value()
        is_moved = super().focusNextPrevChild(forward)
        if not is_usable:
            bar.setValue(position)
        return is_moved


def _list_controls(widget: QWidget) -> list[QWidget]:
    """Return what the tab key reaches in a widget, by its place: from top to bottom, in a row from left to right.

    Items of layouts are not asked: PySide6 keeps them after Qt has deleted them, and takes later objects for them.
    """
    found = [widget] if widget.focusPolicy() & Qt.FocusPolicy.TabFocus else []
    if isinstance(widget, QScrollArea):
        parts = [page] if (page := widget.widget()) is not None else []
    elif isinstance(widget, (QAbstractSpinBox, QComboBox, QAbstractScrollArea)):
        parts = []  # Qt's own
    else:
        parts = [child for child in widget.children() if isinstance(child, QWidget) and not child.isWindow()]
    rows: list[list[QWidget]] = []
    for part in sorted(parts, key=_find_middle):
        if not rows or _find_middle(part) > _find_middle(rows[-1][0]) + ROW_TOLERANCE_PX:
            rows.append([])
        rows[-1].append(part)
    ordered = [part for row in rows for part in sorted(row, key=QWidget.x)]
    return found + [control for part in ordered for control in _list_controls(part)]


def _find_middle(widget: QWidget) -> int:
    return widget.geometry().center().y()


def scroll_area(page: QWidget, name: str) -> QScrollArea:
    """Put a page of a dock into a frameless scroll area that scrolls vertically only."""
    page.setObjectName(f"{name}_page")
    scroll = _ScrollArea()
    scroll.setObjectName(name)
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # the focus would not be visible on it
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(page)
    return scroll


class KeptRoom(QFrame):
    """A column of widgets that keeps its height while the content of another image is to come, and only then.

    ``rested``: the height of the content.
    """

    rested = Signal(int)

    def __init__(self, *above: QWidget) -> None:
        super().__init__()
        self.content = column(spacing=6)
        fill_column(self, *above, self.content, spacing=2)
        self._expected = 0  # height of the content to come
        self._rest_timer = QTimer(self)
        self._rest_timer.setSingleShot(True)
        self._rest_timer.setInterval(REST_MS)
        self._rest_timer.timeout.connect(self._keep)

    @property
    def is_expanded(self) -> bool:
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether the content is to come; the widgets of other images are hidden."""
        return all(child.isHidden() for child in self.content.children() if isinstance(child, QWidget))

    def add_widget(self, widget: QWidget) -> None:
        self.content.layout().addWidget(widget)
        self._set_empty(0)

    def expect(self, height: int) -> None:
        """Keep room for content to come, of which the height is known."""
        self._expected = height
        self.clear()

    def clear(self) -> None:
        """Keep the expected room; the caller has removed the content."""
        self._set_empty(max(0, self._expected - self._needed_height) if self.is_expanded else 0)

    def release_height(self) -> None:
        """Keep no room: no content follows, or it takes another height."""
        self._set_empty(0)

    def event(self, event: QEvent) -> bool:
        """Notice the height of the content."""
        handled = bool(super().event(event))
        if event.type() == QEvent.Type.LayoutRequest and self.is_expanded:
            self._rest_timer.start()
        return handled

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Let content take another height at another width, at which texts wrap in another way."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width() and not self.is_waiting:
            self.release_height()

    @property
    def _needed_height(self) -> int:
        layout, width = self.content.layout(), self.content.width()
        return layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else layout.totalSizeHint().height()

    def _keep(self) -> None:
        needed = self._needed_height
        if needed and self.is_expanded and self.isVisible() and not self.is_waiting:
            self._expected = needed
            self.rested.emit(needed)

    def _set_empty(self, height: int) -> None:
        self.layout().setContentsMargins(0, 0, 0, height)


class CollapsibleSection(KeptRoom):
    """A title above content that a click on it shows or hides; ``toggled``: the new state.

    Nothing limits or animates the height: widgets that are added to an expanded section are shown at once.
    ``grows_up``: its lower end stays in place, so what comes and goes is first in it.
    """

    toggled = Signal(bool)
    grows_up = False

    def __init__(self, title: str) -> None:
        button = named(QPushButton(title), "sectionTitle", title, f"Show or hide: {title}")
        super().__init__(button)
        self.title, self.title_button = title, button
        button.setCheckable(True)
        self.content.layout().setContentsMargins(2, 0, 0, 4)
        self._placeholder = quiet_label(READING)
        self.content.layout().addWidget(self._placeholder)
        self.content.hide()
        self._icons = (QIcon(), QIcon())  # collapsed, expanded
        self.layout().addStretch(0)  # for a section that has more room
        self.title_button.toggled.connect(self._on_toggled)

    @property
    def is_expanded(self) -> bool:
        return bool(self.title_button.isChecked())

    @property
    def is_waiting(self) -> bool:
        return not self._placeholder.isHidden()

    def expand(self) -> None:
        self.title_button.setChecked(True)

    def collapse(self) -> None:
        self.title_button.setChecked(False)

    def add_widget(self, widget: QWidget) -> None:
        self._placeholder.hide()
        super().add_widget(widget)

    def clear(self) -> None:
        """State that the content is being read, with the expected room; the caller has removed the previous content."""
        self._placeholder.show()
        super().clear()

    def set_icons(self, collapsed: QIcon, expanded: QIcon) -> None:
        self._icons = (collapsed, expanded)
        self.title_button.setIcon(self._icons[self.is_expanded])

    def _on_toggled(self, is_expanded: bool) -> None:
        self.title_button.setIcon(self._icons[is_expanded])
        self.release_height()
        self.content.setVisible(is_expanded)
        self.toggled.emit(is_expanded)


def section(
    title: str, name: str, content: QWidget | None, settings: DockSettings, is_open: bool
) -> CollapsibleSection:
    """Make a collapsible section that stores its state in the settings.

    ``content``: None to add it later. ``is_open``: the state at first use.
    """
    made = named(CollapsibleSection(title), name, f"{title} section", f"Show or hide: {title}")
    if content is not None:
        made.add_widget(content)
    if settings.is_section_open(name, is_open):
        made.expand()
    if content is None:
        remember_height(made, name, settings)
    made.toggled.connect(lambda expanded: settings.set_section_open(name, expanded))
    return made


def remember_height(made: KeptRoom, name: str, settings: DockSettings) -> None:
    """Keep the room that the content took last, also in another session, until the content is added."""
    key = f"heights/{name}"
    made.expect(settings.get(key, 0))
    made.rested.connect(lambda height: settings.set(key, height))


def section_title(part: QWidget) -> str:
    """Return the title of a section; empty for another widget."""
    return part.title if isinstance(part, CollapsibleSection) else ""


class Palette(NamedTuple):
    """Colors of the theme for custom painting, as ``#rrggbb``."""

    dark: bool = True
    text: str = "#f0f1f2"
    faint: str = "#9aa0a8"
    background: str = "#262930"
    raised: str = "#414851"
    highlight: str = "#6a7380"
    fault: str = "#e3b617"
    link: str = "#6cb0f2"


class ThemedIcons(QObject):
    """Sets napari's icons on buttons and the colors of a dock, and updates both with the theme."""

    changed = Signal()

    def __init__(self, viewer: Viewer, dock: QWidget, connections: Connections) -> None:
        super().__init__(dock)
        self.palette = Palette()
        self._viewer = viewer
        self._dock = dock
        self._buttons: list[tuple[QAbstractButton, str]] = []
        self._sections: list[CollapsibleSection] = []
        self._color = ""  # of the icons; empty until the theme is applied
        connections.connect(viewer.events.theme, self._on_theme)

    def add(self, button: QAbstractButton, icon: str) -> None:
        button.setIconSize(QSize(18, 18))
        # Not removed by a slot of ``destroyed``: releasing the button there would free the slot while it runs.
        self._buttons = [entry for entry in self._buttons if isalive(entry[0])]
        self._buttons.append((button, icon))
        if self._color:
            button.setIcon(theme_icon(icon, self._color))

    def add_sections(self, *sections: CollapsibleSection) -> None:
        self._sections.extend(sections)
        if self._color:
            _set_arrows(sections, self._color)

    def apply(self) -> None:
        from napari.utils.theme import get_theme

        theme = get_theme(str(self._viewer.theme))
        color = self._color = theme.icon.as_hex()
        self._sections = [section for section in self._sections if isalive(section)]  # a section may be closed
        self._buttons = [entry for entry in self._buttons if isalive(entry[0])]
        for button, icon in self._buttons:
            button.setIcon(theme_icon(icon, color))
        _set_arrows(self._sections, color)
        colors = {"primary": PRIMARY, "hover": PRIMARY_HOVER, "highlight": theme.highlight}
        dark = theme.type == "dark"
        faint = "#9aa0a8" if dark else "#5c5f64"
        soft = "#bcc0c6" if dark else "#46484c"  # in fields, which are paler or darker than the dock
        link = "#6cb0f2" if dark else "#1f5fa8"
        painted = {name: QColor(getattr(theme, name).as_hex()).name() for name in ("text", "background", "highlight")}
        # The theme's yellow is not readable on its light gray
        fault = QColor(theme.warning.as_hex()).name() if dark else "#7a5200"
        raised = QColor(theme.foreground.as_hex()).name()
        previous = self.palette
        self.palette = Palette(dark, faint=faint, fault=fault, raised=raised, link=link, **painted)
        texts = {"faint": faint, "fault": fault, "button": theme.primary, "disabled": theme.foreground, "link": link}
        texts |= {"soft": soft, "text": theme.text}
        self._dock.setStyleSheet(STYLE.format(**colors, **texts))
        self._recolor_links(previous.link)
        self.changed.emit()

    def link(self, target: str, text: str) -> str:
        """Make a link for rich text; Qt's default link color is not readable on a dark theme."""
        return f"<a href='{html.escape(target)}' style='color: {self.palette.link}'>{html.escape(text)}</a>"

    def _recolor_links(self, previous: str) -> None:
        """Give the links that are shown the color of the present theme."""
        if previous == self.palette.link:
            return
        for label in self._dock.window().findChildren(QLabel):  # also those in the reading mode
            text = label.text()
            if (recolored := text.replace(f"style='color: {previous}'", f"style='color: {self.palette.link}'")) != text:
                label.setText(recolored)

    def _on_theme(self, event: object = None) -> None:
        self.apply()


def _set_arrows(sections: Iterable[CollapsibleSection], color: str) -> None:
    collapsed, expanded = theme_icon("right_arrow", color), theme_icon("chevron_down", color)
    for section in sections:
        section.set_icons(collapsed, expanded)


def theme_icon(name: str, color: str) -> QIcon:
    """Draw one of napari's icons in a color."""
    from napari.resources import get_colorized_svg, get_icon_path

    picture = QPixmap(ICON_PX, ICON_PX)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    QSvgRenderer(get_colorized_svg(get_icon_path(name), color).encode()).render(painter)
    painter.end()
    return QIcon(picture)


class ToolButton(QToolButton):
    """A button whose menu acts on what was typed until it is opened, which leaves the focus in a field."""

    def setMenu(self, menu: QMenu) -> None:  # noqa: N802 - Qt's name
        """Open a menu by the button."""
        menu.aboutToShow.connect(commit_typed)
        super().setMenu(menu)


def tool_button(
    name: str, accessible_name: str, tip: str = "", text: str = "", *, checkable: bool = False
) -> QToolButton:
    button = named(ToolButton(), name, accessible_name, tip)
    button.setText(text)
    button.setCheckable(checkable)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    if text:
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    return button


def more_button(name: str, contents: str, settings: DockSettings, *widgets: QWidget) -> QToolButton:
    """Make a button that shows and hides rarely needed widgets, and remembers it; ``contents``: what they are."""
    tip = f"Show or hide: {contents}"
    button = tool_button(f"more_{name}", f"More: {contents}", tip, "More", checkable=True)

    def show(is_shown: bool) -> None:
        for widget in widgets:
            widget.setVisible(is_shown)

    button.setChecked(settings.get(f"more/{name}", False))
    show(button.isChecked())
    button.toggled.connect(show)
    button.toggled.connect(lambda is_shown: settings.set(f"more/{name}", is_shown))
    return button


def enable(control: QWidget, tip: str, blocker: str) -> None:
    """Enable a button or another control, or show why it is disabled."""
    control.setEnabled(not blocker)
    control.setToolTip(blocker or tip)


class WrappedLabel(QLabel):
    """A label that wraps its text, and requires the height that the text needs at its width.

    A plain QLabel only prefers that height, and is squeezed if there is little room. ``lines``: above controls, which
    must not move, the label has the height of this number of lines; of a longer text, links are elided in the middle,
    or else words are left out, and the tooltip has all of it.
    """

    def __init__(self, text: str = "", lines: int = 0) -> None:
        super().__init__(text)
        self._lines, self._text = lines, text
        self.setWordWrap(True)
        if lines:
            self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)

    def text(self) -> str:
        return self._text

    def setText(self, text: str) -> None:  # noqa: N802 - Qt's name
        """Set the text and update the height."""
        self._text = text
        super().setText(text)
        self._update_height()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Update the height after a change of width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._update_height()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Update the height after a change of font or style."""
        super().changeEvent(event)
        if event.type() in HEIGHT_EVENTS:
            self._update_height()

    def _update_height(self) -> None:
        if self._lines:
            self._cut()
            return
        previous = self.minimumHeight()
        self.setMinimumHeight(0)  # heightForWidth includes the minimum height
        needed = max(0, self.heightForWidth(self.width())) if self._text else 0
        self.setMinimumHeight(needed)
        if needed != previous:
            self.updateGeometry()

    def _cut(self) -> None:
        """Show as much as fits in the lines: shorten links, or else leave out words before the first link."""
        set_text = super().setText

        def measure(text: str) -> int:
            set_text(text)
            return int(self.heightForWidth(self.width()))

        self.setMinimumHeight(0)  # heightForWidth includes the minimum height
        height = measure("\n".join([TALL] * self._lines))
        is_whole = measure(self._text) <= height
        if not is_whole:
            lengths = range(MIN_LINK_LETTERS, max(map(len, LINK.split(self._text))) + 1)
            fitting = bisect(lengths, False, key=lambda length: measure(_shorten_links(self._text, length)) > height)
            text = _shorten_links(self._text, lengths[max(0, fitting - 1)])
            if not fitting:
                words = re.findall(r"<a .*?</a>\S*|\S+", text)
                end = next((place for place, word in enumerate(words) if LINK.match(word)), len(words))
                cuts = [" ".join((*words[:count], "...", *words[end:])) for count in range(end)]
                text = cuts[max(0, bisect(cuts, False, key=lambda cut: measure(cut) > height) - 1)] if cuts else text
            set_text(text)
        self.setToolTip("" if is_whole else self._text)
        self.setFixedHeight(height)


def _shorten_links(text: str, letters: int) -> str:
    """Cut the texts of long links in the middle."""
    return LINK.sub(lambda link: link[1] + html.escape(shorten_name(html.unescape(link[2]), letters)) + link[3], text)


def state_label(name: str, accessible_name: str, *, quiet: bool = False, lines: int = 0) -> WrappedLabel:
    """Make a label without a tooltip for a text that changes; ``lines``: of a ``WrappedLabel``."""
    label = named(WrappedLabel(lines=lines), name, accessible_name)
    label.setProperty("quiet", quiet)
    label.setToolTip("")
    return label


def show_text(label: QLabel, text: str) -> None:
    """Show a text; the label is hidden if it is empty."""
    label.setText(text)
    label.setVisible(bool(text))


def set_shown(widget: QWidget, shown: bool) -> None:
    """Show or hide a widget; if it had the focus, its parent gets it.

    Qt would give it to the next button, which the user might press by accident with the next Enter or space.
    """
    focus = QApplication.focusWidget()
    parent = widget.parentWidget()
    if not shown and parent is not None and focus is not None and (widget is focus or widget.isAncestorOf(focus)):
        parent.setFocus()
    widget.setVisible(shown)


def problem_label(problem: str) -> WrappedLabel:
    """Make a label that states why a section is not available."""
    label = state_label("section_problem", "Why the section is not available")
    label.setText(problem)
    return label


class FormRows(QWidget):
    """A form whose long rows wrap; it requires the height that the rows need at its width.

    A plain widget only prefers that height, and its rows are squeezed if there is little room.
    """

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Update the height after a change of width."""
        super().resizeEvent(event)
        self._update_height()

    def event(self, event: QEvent) -> bool:
        """Update the height after a change of a row, such as an error message."""
        handled = bool(super().event(event))
        if event.type() == QEvent.Type.LayoutRequest:
            self._update_height()
        return handled

    def _update_height(self) -> None:
        needed = self.layout().totalHeightForWidth(self.width())
        if needed > 0 and needed != self.minimumHeight():
            self.setMinimumHeight(needed)
