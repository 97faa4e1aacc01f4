"""The sections of the Slide dock as tabs at the side of the window, of which one at most is open."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QBoxLayout, QDockWidget, QMainWindow, QSizePolicy, QToolButton, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_melanoma.ui.viewer.docking import MIN_WIDTH_PX
from napari_melanoma.ui.widgets.status_line import NOTICE_OF_USE
from napari_melanoma.ui.widgets.style import NO_LIMIT_PX, named, quiet_label, scroll_area, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.slide.controls import SlideControls

MIN_SLIDE_PX = 800  # width that an open tab leaves for the canvas; in a narrower window it lies over the canvas


class SectionTabs(QWidget):
    """Replaces the content of the dock by a column of tabs; a click on one shows its part of the dock beside it."""

    def __init__(self, controls: SlideControls) -> None:
        super().__init__(controls.waiting.holder)  # deleted with the dock
        named(self, "section_tabs", "Sections").setToolTip("")
        self._controls = controls
        self._tabs = controls.list_tabs()
        self._window: QMainWindow | None = None
        self._current = ""
        self._moved: list[tuple[QWidget, QBoxLayout, int]] = []  # parts of the open tab, with their place in the dock
        self._expanded: QCollapsible | None = None  # a section that was collapsed before its tab was opened
        page = QWidget()
        self._column = QVBoxLayout(page)
        self._column.setContentsMargins(6, 6, 6, 6)
        self._column.addStretch(1)
        self._scroll = scroll_area(page, "tab_scroll")
        self._scroll.setParent(controls.waiting.holder)
        self.buttons = {label: self._create_button(label) for label in self._tabs}
        strip = QWidget()
        layout = QVBoxLayout(strip)
        layout.setContentsMargins(2, 4, 2, 4)
        layout.setSpacing(2)
        for button in self.buttons.values():
            layout.addWidget(button)
        layout.addStretch(1)
        around = QVBoxLayout(self)
        around.setContentsMargins(0, 0, 0, 6)
        around.addWidget(scroll_area(strip, "tab_strip"), 1)
        self._notice = named(quiet_label(NOTICE_OF_USE), "tab_notice", "Research use only")
        around.addWidget(self._notice)
        for parts in self._tabs.values():
            if len(parts) == 1 and isinstance(parts[0], QCollapsible):
                parts[0].toggled.connect(partial(self._on_section_toggled, parts[0]))
        controls.icons.changed.connect(self._apply_style)

    def start(self, window: QMainWindow) -> None:
        """Show the tabs instead of the dock's content, all closed."""
        controls, self._window = self._controls, window
        controls.content_scroll.hide()
        controls.body.layout().insertWidget(0, self._scroll, 1)
        self._scroll.show()
        controls.layout().addWidget(self)
        self.setFixedWidth(self._find_width())
        self.show()
        window.centralWidget().installEventFilter(self)
        self._place_body()

    def stop(self) -> None:
        """Close the open tab, and show the dock as before."""
        controls, window, self._window = self._controls, self._window, None
        self.close_tab()
        if window is not None and isalive(window) and window.centralWidget() is not None:
            window.centralWidget().removeEventFilter(self)
        controls.layout().insertWidget(0, controls.body)
        for part in (self, self._scroll):
            part.setParent(controls.waiting.holder)
        controls.setMinimumWidth(MIN_WIDTH_PX)
        controls.setMaximumWidth(NO_LIMIT_PX)
        self._set_style("")
        controls.content_scroll.show()
        controls.body.show()

    def toggle(self, label: str) -> None:
        """Open a tab, or close it if it is open."""
        if label != self._current:
            self.open_tab(label)
            return
        self.close_tab()
        self._place_body()

    def open_tab(self, label: str) -> None:
        """Open a tab, unless it is open."""
        if label != self._current:
            self.close_tab()
            self._open(label)
            self._place_body()

    def close_tab(self) -> None:
        """Put the parts of the open tab back into the dock."""
        label, self._current = self._current, ""
        if not label:
            return
        self.buttons[label].setChecked(False)
        section, self._expanded = self._expanded, None
        if section is not None:
            section.collapse(animate=False)
        for part, layout, index in self._moved:
            _move(part, layout, index)
        self._moved.clear()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Follow the size of the window."""
        if event is not None and event.type() == QEvent.Type.Resize and self._current:
            self._place_body()
        return False

    def _open(self, label: str) -> None:
        self._current = label
        self.buttons[label].setChecked(True)
        for part in self._tabs[label]:
            holder = part.parentWidget()
            layout = None if holder is None else holder.layout()
            if isinstance(layout, QBoxLayout):
                self._moved.append((part, layout, layout.indexOf(part)))
        for number, (part, _, _) in enumerate(self._moved):
            _move(part, self._column, number)
        section = self._tabs[label][0]
        if isinstance(section, QCollapsible) and len(self._moved) == 1 and not section.isExpanded():
            section.expand(animate=False)
            self._expanded = section
        self._scroll.verticalScrollBar().setValue(0)

    def _place_body(self) -> None:
        """Show the open tab beside the canvas if there is room, otherwise over its edge."""
        controls, window = self._controls, self._window
        if window is None:
            return
        body, central, is_open = controls.body, window.centralWidget(), bool(self._current)
        is_beside = window.width() - self.width() - MIN_WIDTH_PX >= MIN_SLIDE_PX
        if is_open and not is_beside:
            body.setParent(central)
            self._apply_style()
            body.setGeometry(central.width() - MIN_WIDTH_PX, 0, MIN_WIDTH_PX, central.height())
        elif body.parentWidget() is not controls:
            controls.layout().insertWidget(0, body)
        width = self.width() + (MIN_WIDTH_PX if is_open and is_beside else 0)
        controls.setMinimumWidth(width)
        controls.setMaximumWidth(NO_LIMIT_PX if is_open and is_beside else width)
        frame = controls.parentWidget()
        if isinstance(frame, QDockWidget):
            window.resizeDocks([frame], [width], Qt.Orientation.Horizontal)
        body.setVisible(is_open)
        self._notice.setVisible(not is_open)  # below an open tab is another one
        body.raise_()

    def _on_section_toggled(self, section: QCollapsible, is_open: bool) -> None:
        """Close the tab of a section that is collapsed by its own title."""
        if not is_open and self._current and section in self._tabs[self._current]:
            self._expanded = None if self._expanded is section else self._expanded
            self.close_tab()
            self._place_body()

    def _create_button(self, label: str) -> QToolButton:
        button = tool_button(f"tab_{label}", label, f"Show or hide: {label}", label, checkable=True)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys to the image
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.clicked.connect(lambda: self.toggle(label))
        return button

    def _find_width(self) -> int:
        """Return the width of the widest label, with margins and a scroll bar."""
        return max(button.sizeHint().width() for button in self.buttons.values()) + 22

    def _apply_style(self) -> None:
        """Style the open tab over the canvas as it is in the dock."""
        if self._window is not None and self._controls.body.parentWidget() is not self._controls:
            self._set_style(self._controls.styleSheet())

    def _set_style(self, style: str) -> None:
        """Style the content; Qt takes 100 ms, also for a style that it has."""
        if self._controls.body.styleSheet() != style:
            self._controls.body.setStyleSheet(style)


def _move(part: QWidget, layout: QBoxLayout, index: int) -> None:
    """Move a widget into a layout; one that is hidden stays so."""
    is_hidden = part.isHidden()
    layout.insertWidget(index, part)
    part.setVisible(not is_hidden)
