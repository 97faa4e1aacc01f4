"""The reading mode: the slide fills the window, with a toolbar above it and the sections as tabs beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractButton,
    QBoxLayout,
    QDockWidget,
    QFrame,
    QMainWindow,
    QProgressBar,
    QSizePolicy,
    QToolBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_melanoma.ui.sections.overview.picture import Overview
from napari_melanoma.ui.sections.overview.view import MagnificationButtons, ViewButtons
from napari_melanoma.ui.session.run_status import describe_progress
from napari_melanoma.ui.slide.reading_keys import MAGNIFICATIONS
from napari_melanoma.ui.viewer.camera import find_canvas, pan_view
from napari_melanoma.ui.viewer.docking import MIN_WIDTH_PX, CanvasLayout
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.slide_layers import list_slides
from napari_melanoma.ui.viewer.view_memory import fit_view
from napari_melanoma.ui.widgets.dialogs import WindowGuard
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.signals import follow
from napari_melanoma.ui.widgets.status_line import NOTICE_OF_USE
from napari_melanoma.ui.widgets.style import (
    NO_LIMIT_PX,
    CollapsibleSection,
    named,
    quiet_label,
    scroll_area,
    tool_button,
)

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.slide.controls import SlideControls
    from napari_melanoma.ui.slide.hosted_sections import HostedSections

NAME_PX = 190  # width of the list of slides
PROGRESS_PX = 90
LABEL_LETTERS = 12  # in a line of the label of a tab
ICON_PX = 16
NO_SLIDE = "The reading mode requires a slide. Open one first: drop it on the Slide dock, or follow 'open one'."
NOT_SHOWN = "The reading mode requires a slide in view. Select one in the list of slides first."
NO_WINDOW = "The reading mode requires the viewer's window. Move the Slide dock into it first."


class ReadingMode(WindowGuard):
    """Enter and leave the reading mode.

    ``bookmark_requested`` and ``ruler_requested``: the button of the toolbar was pressed.
    """

    bookmark_requested = Signal()
    ruler_requested = Signal()

    def __init__(self, controls: SlideControls, hosted: HostedSections) -> None:
        super().__init__(controls)
        self._controls, self._context, self._hosted = controls, controls.context, hosted
        self._undo: ExitStack | None = None  # closing it leaves the mode; None while the mode is off
        self.tabs = SectionTabs(controls)
        self.toolbar = ReadingToolbar(controls)
        self.toolbar.bookmark_button.clicked.connect(lambda: self.bookmark_requested.emit())
        self.toolbar.ruler_button.clicked.connect(lambda: self.ruler_requested.emit())
        self.toolbar.regions_button.clicked.connect(lambda: self.tabs.toggle("Regions"))
        self.toolbar.full_screen_button.clicked.connect(self._on_full_screen)
        self.toolbar.leave_button.clicked.connect(lambda: self.leave())
        self.inset = OverviewInset(controls)
        self.toolbar.overview_button.toggled.connect(self.inset.set_wanted)
        hosted.session_changed.connect(self._show_session)
        controls.picker.changed.connect(self._on_slide)
        controls.picker.visibility_changed.connect(self._on_visibility)

    @property
    def is_on(self) -> bool:
        return self._undo is not None

    def enter(self) -> None:
        """Enter the mode, or show why that is not possible; if an error occurs, the window is restored."""
        window, frame, slide = self._context.main_window, self._controls.parentWidget(), self._context.slide
        if self.is_on:
            return
        obstacle = NO_SLIDE if slide is None else "" if slide.is_shown else NOT_SHOWN
        if obstacle or not isinstance(window, QMainWindow) or not isinstance(frame, QDockWidget):
            self._context.status.show_briefly(obstacle or NO_WINDOW)
            if isinstance(frame, QDockWidget):
                frame.raise_()
            return
        self._controls.waiting.insert_all()
        with ExitStack() as undo:
            layout = CanvasLayout(window, frame)
            undo.callback(layout.restore)
            layout.apply()
            undo.callback(self.tabs.stop)
            self.tabs.start(window)
            undo.callback(self.toolbar.remove_from, window)
            self.toolbar.add_to(window)
            undo.callback(self.inset.stop)
            self.inset.start(window)
            layout.interrupted.connect(self.leave)
            self._undo = undo.pop_all()
        self._context.reading.set(True)
        self._show_session(self._hosted.session)
        self.watch()
        canvas = find_canvas(window)
        if canvas is not None:
            for part in (self.toolbar, self.tabs, self.inset):  # otherwise a click would take the focus from the canvas
                part.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
                part.setFocusProxy(canvas)
            canvas.setFocus()

    def leave(self) -> bool:
        """Leave the mode; return whether it was on."""
        undo, self._undo = self._undo, None
        if undo is None:
            return False
        undo.close()
        self._context.reading.set(False)
        self._show_session(None)
        return True

    def may_close(self) -> bool:
        """Leave the mode before the window is closed, so that napari does not store this layout."""
        self.leave()
        return True

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Update the full-screen button: full screen can also be changed in napari's menu."""
        if event.type() == QEvent.Type.WindowStateChange and watched is self.window:
            self.toolbar.full_screen_button.setChecked(watched.isFullScreen())
        return super().eventFilter(watched, event)

    def _show_session(self, session: SlideSession | None) -> None:
        """Show the navigation of the displayed slide while the mode is on."""
        for part in (self.toolbar, self.inset):
            part.show_session(session if self.is_on else None)

    def _on_slide(self) -> None:
        if self._context.slide is None:
            self.leave()

    def _on_visibility(self) -> None:
        """Close the open tab when a photograph hides the slide: its numbers do not belong to the photograph."""
        if self.is_on and not any(slide.is_shown for slide in list_slides(self._context.viewer)):
            self.tabs.close_tab()
            self.tabs.place_body()

    def _on_full_screen(self, on: bool) -> None:
        window = self._context.main_window
        if window is not None:  # showNormal() would also undo maximizing
            full = Qt.WindowState.WindowFullScreen
            window.setWindowState(window.windowState() | full if on else window.windowState() & ~full)


def leave_focus(widget: QWidget) -> None:
    """Let clicks in a widget leave the keyboard focus on the canvas."""
    for part in widget.findChildren(QWidget):
        if part.focusPolicy() & Qt.FocusPolicy.ClickFocus:
            part.setFocusPolicy(Qt.FocusPolicy.TabFocus)


class SessionSlot(QWidget):
    """Shows a widget of the displayed slide."""

    def __init__(self, create: Callable[[SlideSession], QWidget]) -> None:
        super().__init__()
        self._create = create
        self._widget: QWidget | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)

    def show_session(self, session: SlideSession | None) -> None:
        """Show the widget of a slide, whose clicks leave the keyboard focus on the canvas; None for none."""
        if self._widget is not None:
            self._widget.setParent(None)  # not found by its name any more
            self._widget.deleteLater()
        self._widget = None if session is None else self._create(session)
        if self._widget is not None:
            leave_focus(self._widget)
            self.layout().addWidget(self._widget)
            self._widget.show()  # now, because a hidden widget has no height


class ReadingToolbar(QToolBar):
    """Toolbar of the reading mode: slides, magnifications, views, tools and status messages in one row."""

    def __init__(self, controls: SlideControls) -> None:
        super().__init__("Reading mode", controls.waiting.holder)  # deleted with the dock
        named(self, "reading_toolbar", "Reading mode").setToolTip("")
        self.setMovable(False)
        self.setIconSize(QSize(ICON_PX, ICON_PX))
        self.toggleViewAction().setVisible(False)
        self._controls = controls
        self.slide_combo = self._create_slide_list()
        self._magnification = SessionSlot(partial(MagnificationButtons, steps=MAGNIFICATIONS))
        self._views = SessionSlot(ViewButtons)
        for slot in (self._magnification, self._views):
            slot.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        fit_key, mode_key = format_key("fit"), format_key("slide.reading")
        self.fit_button = self._add_button("reading_fit", "Fit", f"Fit: show the whole slide ({fit_key})", icon="home")
        tip = f"Bookmark the view ({format_key('slide.bookmark')})"
        self.bookmark_button = self._add_button("reading_bookmark", "Bookmark", tip, "Bookmark")
        tip = f"Measure a length; press again to stop measuring ({format_key('slide.line')})"
        self.ruler_button = self._add_button("reading_ruler", "Measure", tip, icon="line")
        tip = "Regions: show or hide the section with its drawing tools"
        self.regions_button = self._add_button("reading_regions", "Regions", tip, icon="polygon")
        tip = "Overview: show or hide it on the image"
        self.overview_button = self._add_button("reading_overview", "Overview", tip, icon="visibility")
        self.overview_button.setCheckable(True)
        self.overview_button.setChecked(controls.settings.get(INSET_SETTING, True))
        self.full_screen_button = self._add_button("reading_full_screen", "Full screen", "Full screen", "Full screen")
        self.full_screen_button.setCheckable(True)
        tip = f"Leave the reading mode ({mode_key}, or Escape on the image)"
        self.leave_button = self._add_button("reading_leave", "Leave the reading mode", tip, "✕ Leave")
        self.message_label = named(QElidingLabel(), "reading_message", "Status")
        self.message_label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.message_label.setMinimumWidth(0)
        self._run_panel = controls.run_panel
        self.progress_bar = named(QProgressBar(), "reading_progress", "Progress of the analysis")
        self.progress_bar.setFixedWidth(PROGRESS_PX)
        self.cancel_button = self._add_button("reading_cancel", "Cancel", "", icon="playback-stop")
        self._cancel_buttons = (controls.status.cancel_button, controls.run_panel.buttons.cancel)
        self._lay_out()
        self.fit_button.clicked.connect(lambda: fit_view(controls.context.viewer))
        self.message_label.linkActivated.connect(controls.status.link_activated)
        self.cancel_button.clicked.connect(self._on_cancel)
        for button in self._cancel_buttons:
            button.installEventFilter(self)
        controls.status.message_changed.connect(self._show_message)
        controls.status.repeaters.append(self.message_label)
        self._run_panel.updated.connect(self._show_progress)
        controls.icons.changed.connect(self._apply_style)

    def show_session(self, session: SlideSession | None) -> None:
        for slot in (self._magnification, self._views):
            slot.show_session(session)

    def add_to(self, window: QMainWindow) -> None:
        self._show_slides()
        self._show_cancel()
        self._show_progress()
        self._apply_style()
        self.full_screen_button.setChecked(window.isFullScreen())
        window.addToolBar(Qt.ToolBarArea.TopToolBarArea, self)
        self.show()

    def remove_from(self, window: QMainWindow) -> None:
        """Remove the toolbar from the window without deleting it."""
        window.removeToolBar(self)
        self.setParent(self._controls.waiting.holder)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Update the Cancel button when one of the Cancel buttons in the dock is enabled or disabled."""
        if event is not None and event.type() == QEvent.Type.EnabledChange and watched in self._cancel_buttons:
            self._show_cancel()
        return False

    def _create_slide_list(self) -> NoWheelComboBox:
        picker = self._controls.picker
        combo = named(NoWheelComboBox(), "reading_slide", "Slide", picker.combo.toolTip())
        combo.setFixedWidth(NAME_PX)
        combo.elide_mode = Qt.TextElideMode.ElideMiddle
        combo.setProperty("holds_names", True)
        combo.activated.connect(lambda index: picker.select_slide(combo.itemData(index)))
        # The lists have no common model: Qt would delete it with the dock's list while this one still uses it.
        for changed in (picker.combo.model().rowsInserted, picker.combo.model().rowsRemoved):
            changed.connect(self._show_slides)
        picker.combo.currentIndexChanged.connect(self._show_slides)
        return combo

    def _add_button(self, name: str, accessible_name: str, tip: str, text: str = "", icon: str = "") -> QToolButton:
        button = tool_button(name, accessible_name, tip, text)
        if icon:
            self._controls.icons.add(button, icon)
        return button

    def _lay_out(self) -> None:
        self.layout().setSpacing(6)
        self.layout().setContentsMargins(4, 2, 4, 2)
        tools = (self.bookmark_button, self.ruler_button, self.regions_button, self.overview_button)
        views = (self.slide_combo, self._magnification, self.fit_button, self._views)
        for widget in (*views, *tools, self.message_label):
            self.addWidget(widget)
        self._progress_action = self.addWidget(self.progress_bar)
        self._cancel_action = self.addWidget(self.cancel_button)
        for widget in (self.full_screen_button, self.leave_button):
            self.addWidget(widget)
        leave_focus(self)

    def _show_slides(self) -> None:
        combo = self._controls.picker.combo
        self.slide_combo.clear()
        for index in range(combo.count()):
            self.slide_combo.addItem(combo.itemText(index), combo.itemData(index))
        self.slide_combo.setCurrentIndex(combo.currentIndex())
        self.slide_combo.setToolTip(combo.currentText() or combo.toolTip())

    def _show_message(self, message: str) -> None:
        has_link = "<a href=" in message  # eliding would count its tags as text, and cut them
        self.message_label.setElideMode(Qt.TextElideMode.ElideNone if has_link else Qt.TextElideMode.ElideRight)
        self.message_label.setText(message)
        self.message_label.setToolTip(message)

    def _show_progress(self, update: object = None) -> None:
        """Show the progress of the analysis of the displayed slide while it runs."""
        status = self._run_panel.status
        self._progress_action.setVisible(self._run_panel.active)
        if status is not None:
            self.progress_bar.setValue(round(100 * (status.fraction or 0)))
            self.progress_bar.setToolTip(describe_progress(status))

    def _show_cancel(self) -> None:
        """Show the Cancel button while one of those in the dock is enabled."""
        button = self._find_cancel()
        self._cancel_action.setVisible(button is not None)
        self.cancel_button.setToolTip("" if button is None else button.toolTip())

    def _find_cancel(self) -> QAbstractButton | None:
        """Return the enabled Cancel button of the dock; None if nothing can be canceled."""
        return next((button for button in self._cancel_buttons if button.isEnabled()), None)

    def _on_cancel(self) -> None:
        button = self._find_cancel()
        if button is not None:
            button.click()

    def _apply_style(self) -> None:
        self.setStyleSheet(self._controls.styleSheet())
        self._show_message(self._controls.status.text)  # with links in the color of the theme


INSET_SETTING = "slide/reading_overview"
INSET_PX, INSET_MARGIN_PX = 200, 8  # width of the inset, and its distance from the corner of the canvas


class OverviewInset(QFrame):
    """A small overview of the slide, in the corner of the canvas that is opposite to the scale bar."""

    def __init__(self, controls: SlideControls) -> None:
        super().__init__(controls.waiting.holder)  # deleted with the dock
        named(self, "reading_inset", "Overview of the slide").setToolTip("")
        self.setAutoFillBackground(True)
        self._controls = controls
        self._central: QWidget | None = None
        self._slot = SessionSlot(self._create_overview)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self._slot)

    def show_session(self, session: SlideSession | None) -> None:
        self._slot.show_session(session)
        self._place()

    def _create_overview(self, session: SlideSession) -> Overview:
        overview = Overview(session)
        overview.setObjectName("reading_overview_picture")
        overview.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # a click leaves the keyboard focus on the canvas
        follow(overview, session.rotated, self._place)
        return overview

    def start(self, window: QMainWindow) -> None:
        """Show the inset on the canvas, unless the user has hidden it."""
        self._central = window.centralWidget()
        self.setParent(self._central)
        self.setStyleSheet(self._controls.styleSheet())
        self.setVisible(self._controls.settings.get(INSET_SETTING, True))
        self._place()

    def stop(self) -> None:
        """Remove the inset from the canvas without deleting it."""
        self._central = None
        self.setParent(self._controls.waiting.holder)

    def set_wanted(self, wanted: bool) -> None:
        """Show or hide the inset, and remember it."""
        self._controls.settings.set(INSET_SETTING, wanted)
        self.setVisible(wanted and self._central is not None)
        self._place()

    def _place(self) -> None:
        """Resize to the height of the overview, which depends on the slide and its rotation."""
        if self._central is not None and self.isVisible():
            height = max(self._slot.heightForWidth(INSET_PX), 0) + 8
            self.setGeometry(INSET_MARGIN_PX, INSET_MARGIN_PX, INSET_PX, height)
            self.raise_()


MIN_SLIDE_PX = 800  # minimum width of the canvas beside an open tab, which covers its edge in a narrower window


class SectionTabs(QWidget):
    """Column of tabs that replaces the content of the dock; a click on a tab shows its part of the dock."""

    def __init__(self, controls: SlideControls) -> None:
        super().__init__(controls.waiting.holder)  # deleted with the dock
        named(self, "section_tabs", "Sections").setToolTip("")
        self._controls = controls
        self._tabs = controls.list_tabs()
        self._window: QMainWindow | None = None
        self._current = ""
        self._shift_px = 0.0  # of the view, so that the image stays in place while the canvas is narrower
        self._moved: list[tuple[QWidget, QBoxLayout, int]] = []  # widgets, their layouts and indices in the dock
        self._expanded: CollapsibleSection | None = None  # section to collapse again when its tab is closed
        page = QWidget()
        self._column = QVBoxLayout(page)
        self._column.setContentsMargins(6, 6, 6, 6)
        self._column.addStretch(1)
        self._scroll = scroll_area(page, "tab_scroll")
        self._scroll.setParent(controls.waiting.holder)
        self.buttons = {label: self._create_button(label) for label in self._tabs}
        strip = QWidget()
        self._strip = QVBoxLayout(strip)
        self._strip.setContentsMargins(2, 4, 2, 4)
        self._strip.setSpacing(2)
        self._strip.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 6)
        outer.addWidget(scroll_area(strip, "tab_strip"), 1)
        self._notice = named(quiet_label(NOTICE_OF_USE), "tab_notice", "Research use only")
        outer.addWidget(self._notice)
        for parts in self._tabs.values():
            if len(parts) == 1 and isinstance(parts[0], CollapsibleSection):
                parts[0].toggled.connect(partial(self._on_section_toggled, parts[0]))
        controls.icons.changed.connect(self._apply_style)
        controls.choice.changed.connect(self._show_buttons)

    def _show_buttons(self) -> None:
        """Show the tabs of the sections that are shown; close the open tab if it is not among them."""
        for label, parts in self._tabs.items():
            sections = [part for part in parts if isinstance(part, CollapsibleSection)]
            is_shown, button = not sections or not all(one.isHidden() for one in sections), self.buttons[label]
            if is_shown and button.isHidden() and self._window is not None:
                self._strip.removeWidget(button)
                self._strip.insertWidget(self._strip.count() - 1, button)  # below the others, which stay in place
            button.setVisible(is_shown)
            if label == self._current and not is_shown:
                self.close_tab()
                self.place_body()

    def start(self, window: QMainWindow) -> None:
        """Show the tabs instead of the dock's content, all closed."""
        for index, button in enumerate(self.buttons.values()):
            self._strip.removeWidget(button)
            self._strip.insertWidget(index, button)
        self._show_buttons()
        controls, self._window = self._controls, window
        controls.content_scroll.hide()
        controls.show_head(only_answer=True)
        controls.body.layout().insertWidget(1, self._scroll, 1)
        self._scroll.show()
        controls.layout().addWidget(self)
        self.setFixedWidth(self._find_width())
        self.show()
        window.centralWidget().installEventFilter(self)
        self.place_body()

    def stop(self) -> None:
        """Close the open tab, and show the dock as before."""
        controls, window, self._window = self._controls, self._window, None
        self.close_tab()
        self._shift_view(0)
        if window is not None and isalive(window) and window.centralWidget() is not None:
            window.centralWidget().removeEventFilter(self)
        controls.layout().insertWidget(0, controls.body)
        for part in (self, self._scroll):
            part.setParent(controls.waiting.holder)
        controls.setMinimumWidth(MIN_WIDTH_PX)
        controls.setMaximumWidth(NO_LIMIT_PX)
        self._set_style("")
        controls.content_scroll.show()
        controls.show_head(only_answer=False)
        controls.body.show()

    def toggle(self, label: str) -> None:
        """Open a tab, or close it if it is open."""
        if label != self._current:
            self.open_tab(label)
            return
        self.close_tab()
        self.place_body()

    def open_tab(self, label: str) -> None:
        """Open a tab, unless it is open."""
        if label != self._current:
            self.close_tab()
            self._open(label)
            self.place_body()

    def close_tab(self) -> None:
        """Move the widgets of the open tab back into the dock; the caller then places the empty body again."""
        label, self._current = self._current, ""
        if not label:
            return
        self.buttons[label].setChecked(False)
        section, self._expanded = self._expanded, None
        if section is not None:
            section.collapse()
        for part, layout, index in self._moved:
            _move(part, layout, index)
        self._moved.clear()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Place the open tab again when the window is resized."""
        if event is not None and event.type() == QEvent.Type.Resize and self._current:
            self.place_body()
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
        if isinstance(section, CollapsibleSection) and len(self._moved) == 1 and not section.is_expanded:
            section.expand()
            self._expanded = section
        self._scroll.verticalScrollBar().setValue(0)

    def place_body(self) -> None:
        """Show the open tab beside the canvas if the window is wide enough, otherwise over the edge of the canvas."""
        controls, window = self._controls, self._window
        if window is None:
            return
        body, central, is_open = controls.body, window.centralWidget(), bool(self._current)
        fits_next_to_it = window.width() - self.width() - MIN_WIDTH_PX >= MIN_SLIDE_PX
        if is_open and not fits_next_to_it:
            body.setParent(central)
            self._apply_style()
            body.setGeometry(central.width() - MIN_WIDTH_PX, 0, MIN_WIDTH_PX, central.height())
        elif body.parentWidget() is not controls:
            controls.layout().insertWidget(0, body)
        taken = MIN_WIDTH_PX if is_open and fits_next_to_it else 0  # from the right of the canvas
        width = self.width() + taken
        controls.setMinimumWidth(width)
        controls.setMaximumWidth(NO_LIMIT_PX if taken else width)
        self._shift_view(-taken / 2)
        frame = controls.parentWidget()
        if isinstance(frame, QDockWidget):
            window.resizeDocks([frame], [width], Qt.Orientation.Horizontal)
        body.setVisible(is_open)
        self._notice.setVisible(not is_open)  # the content of an open tab shows the notice itself
        body.raise_()

    def _shift_view(self, shift_px: float) -> None:
        viewer, moved_px = self._controls.context.viewer, shift_px - self._shift_px
        self._shift_px = shift_px
        if moved_px:
            pan_view(viewer, 0, moved_px / viewer.canvas.size[1])

    def _on_section_toggled(self, section: CollapsibleSection, is_open: bool) -> None:
        """Close the open tab when its section is collapsed by a click on the title."""
        if not is_open and self._current and section in self._tabs[self._current]:
            self._expanded = None if self._expanded is section else self._expanded
            self.close_tab()
            self.place_body()

    def _create_button(self, label: str) -> QToolButton:
        lines = textwrap.fill(label, LABEL_LETTERS)
        button = tool_button(f"tab_{label}", label, f"Show or hide: {label}", lines, checkable=True)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keyboard focus on the canvas
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.clicked.connect(lambda: self.toggle(label))
        return button

    def _find_width(self) -> int:
        """Return the width of the widest label, with margins and a scroll bar."""
        return max(button.sizeHint().width() for button in self.buttons.values()) + 22

    def _apply_style(self) -> None:
        """Apply the style sheet of the dock to the open tab while it covers the canvas, outside the dock."""
        if self._window is not None and self._controls.body.parentWidget() is not self._controls:
            self._set_style(self._controls.styleSheet())

    def _set_style(self, style: str) -> None:
        """Set the style sheet if it differs: Qt takes 100 ms even for the same one."""
        if self._controls.body.styleSheet() != style:
            self._controls.body.setStyleSheet(style)


def _move(part: QWidget, layout: QBoxLayout, index: int) -> None:
    """Move a widget into a layout; a hidden widget stays hidden."""
    is_hidden = part.isHidden()
    layout.insertWidget(index, part)
    part.setVisible(not is_hidden)
