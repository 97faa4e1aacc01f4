"""The reading mode: the slide fills the window, with a slim toolbar above it and the sections as tabs at the side."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtWidgets import QDockWidget, QMainWindow, QSizePolicy, QToolBar, QWidget
from superqt import QElidingLabel

from napari_melanoma.ui.slide.navigation import MagnificationButtons
from napari_melanoma.ui.slide.reading_keys import MAGNIFICATIONS
from napari_melanoma.ui.slide.section_tabs import SectionTabs
from napari_melanoma.ui.slide.view_history import ViewButtons
from napari_melanoma.ui.viewer.camera import find_canvas
from napari_melanoma.ui.viewer.docking import CanvasLayout
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.view_memory import fit_view
from napari_melanoma.ui.widgets.dialogs import WindowGuard
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import named, tool_button

if TYPE_CHECKING:
    from qtpy.QtWidgets import QAbstractButton, QToolButton

    from napari_melanoma.ui.slide.controls import SlideControls
    from napari_melanoma.ui.slide.navigation import MagnificationController
    from napari_melanoma.ui.slide.view_history import ViewHistory

NAME_PX = 190  # of the list of slides
ICON_PX = 16
NO_SLIDE = "The reading mode requires a slide. Open one first: drop it on the Slide dock, or follow 'open one'."
NOT_SHOWN = "The reading mode requires a slide in view. Select one in the list of slides first."
NO_WINDOW = "The reading mode requires the viewer's window. Move the Slide dock into it first."


class ReadingMode(WindowGuard):
    """Enter and leave the reading mode.

    ``bookmark_requested`` and ``ruler_requested``: their buttons of the toolbar were pressed.
    """

    bookmark_requested = Signal()
    ruler_requested = Signal()

    def __init__(self, controls: SlideControls, magnification: MagnificationController, history: ViewHistory) -> None:
        super().__init__(controls)
        self._controls, self._context = controls, controls.context
        self._undo: ExitStack | None = None  # what leaves the mode; None unless it is on
        self.tabs = SectionTabs(controls)
        self.toolbar = ReadingToolbar(controls, magnification, history)
        self.toolbar.bookmark_button.clicked.connect(lambda: self.bookmark_requested.emit())
        self.toolbar.ruler_button.clicked.connect(lambda: self.ruler_requested.emit())
        self.toolbar.regions_button.clicked.connect(lambda: self.tabs.toggle("Regions"))
        self.toolbar.full_screen_button.clicked.connect(self._on_full_screen)
        self.toolbar.leave_button.clicked.connect(lambda: self.leave())
        controls.picker.changed.connect(self._on_slide)

    @property
    def is_on(self) -> bool:
        """Whether the mode is on."""
        return self._undo is not None

    def enter(self) -> None:
        """Enter the mode, or show why that is not possible; after an error, the window is as it was."""
        window, frame, slide = self._context.main_window, self._controls.parentWidget(), self._context.slide
        if self.is_on:
            return
        obstacle = NO_SLIDE if slide is None else "" if slide.is_shown else NOT_SHOWN
        if obstacle or not isinstance(window, QMainWindow) or not isinstance(frame, QDockWidget):
            self._context.status.show_message(obstacle or NO_WINDOW)
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
            layout.interrupted.connect(self.leave)
            self._undo = undo.pop_all()
        self.watch()
        canvas = find_canvas(window)
        if canvas is not None:
            for part in (self.toolbar, self.tabs):  # otherwise a click there would give the keys to the window
                part.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
                part.setFocusProxy(canvas)
            canvas.setFocus()

    def leave(self) -> bool:
        """Leave the mode; return whether it was on."""
        undo, self._undo = self._undo, None
        if undo is None:
            return False
        undo.close()
        return True

    def may_close(self) -> bool:
        """Leave the mode before the window is closed, so that napari does not store this layout."""
        self.leave()
        return True

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Follow full screen, which napari's menu turns on and off, too."""
        if event.type() == QEvent.Type.WindowStateChange and watched is self.window:
            self.toolbar.full_screen_button.setChecked(watched.isFullScreen())
        return super().eventFilter(watched, event)

    def _on_slide(self) -> None:
        if self._context.slide is None:
            self.leave()

    def _on_full_screen(self, on: bool) -> None:
        window = self._context.main_window
        if window is not None:  # showNormal() would end a maximized window
            full = Qt.WindowState.WindowFullScreen
            window.setWindowState(window.windowState() | full if on else window.windowState() & ~full)


class ReadingToolbar(QToolBar):
    """The slide, magnifications, views, tools and messages in one row."""

    def __init__(self, controls: SlideControls, magnification: MagnificationController, history: ViewHistory) -> None:
        super().__init__("Reading mode", controls.waiting.holder)  # deleted with the dock
        named(self, "reading_toolbar", "Reading mode").setToolTip("")
        self.setMovable(False)
        self.setIconSize(QSize(ICON_PX, ICON_PX))
        self.toggleViewAction().setVisible(False)
        self._controls, self._history = controls, history
        self.slide_combo = self._create_slide_list()
        self._magnification_buttons = MagnificationButtons(MAGNIFICATIONS)
        self._magnification_buttons.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self._view_buttons = ViewButtons()
        fit_key, key = format_key("fit"), format_key("slide.reading")
        self.fit_button = self._add_button("reading_fit", "Fit", f"Fit: show the whole slide ({fit_key})", icon="home")
        tip = f"Bookmark the view ({format_key('slide.bookmark')})"
        self.bookmark_button = self._add_button("reading_bookmark", "Bookmark", tip, "bookmark")
        tip = f"Measure a length; again to end it ({format_key('slide.line')})"
        self.ruler_button = self._add_button("reading_ruler", "Measure", tip, "ruler")
        tip = "Show or hide the section of the regions, with its drawing tools"
        self.regions_button = self._add_button("reading_regions", "Regions", tip, "regions")
        self.full_screen_button = self._add_button("reading_full_screen", "Full screen", "Full screen", "full screen")
        self.full_screen_button.setCheckable(True)
        tip = f"Leave the reading mode ({key}, or Escape on the image)"
        self.leave_button = self._add_button("reading_leave", "Leave the reading mode", tip, "✕ leave")
        self.message_label = named(QElidingLabel(), "reading_message", "Status")
        self.message_label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.message_label.setMinimumWidth(0)
        self.cancel_button = self._add_button("reading_cancel", "Cancel", "", icon="playback-stop")
        self._cancel_buttons = (controls.status.cancel_button, controls.run_panel.buttons.cancel)
        self._lay_out()
        self._view_buttons.step_requested.connect(history.step)
        self._view_buttons.actual_pixels_requested.connect(magnification.show_actual_pixels)
        self.fit_button.clicked.connect(lambda: fit_view(controls.context.viewer))
        history.changed.connect(self._show_history)
        self.message_label.linkActivated.connect(controls.status.link_activated)
        self.cancel_button.clicked.connect(self._on_cancel)
        for button in self._cancel_buttons:
            button.installEventFilter(self)
        controls.status.message_changed.connect(self._show_message)
        controls.icons.changed.connect(self._apply_style)
        magnification.add_buttons(self._magnification_buttons)

    def add_to(self, window: QMainWindow) -> None:
        """Show the toolbar in a window."""
        self._show_slides()
        self._show_history()
        self._show_message(self._controls.status.text)
        self._show_cancel()
        self._apply_style()
        self.full_screen_button.setChecked(window.isFullScreen())
        window.addToolBar(Qt.ToolBarArea.TopToolBarArea, self)
        self.show()

    def remove_from(self, window: QMainWindow) -> None:
        """Remove the toolbar from the window, and keep it for the next time."""
        window.removeToolBar(self)
        self.setParent(self._controls.waiting.holder)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Follow the dock's buttons that cancel."""
        if event is not None and event.type() == QEvent.Type.EnabledChange and watched in self._cancel_buttons:
            self._show_cancel()
        return False

    def _create_slide_list(self) -> NoWheelComboBox:
        """Create a list of the same slides as that of the dock."""
        picker = self._controls.picker
        combo = named(NoWheelComboBox(), "reading_slide", "Slide", picker.combo.toolTip())
        combo.setFixedWidth(NAME_PX)
        combo.activated.connect(lambda index: picker.select_slide(combo.itemData(index)))
        # A model that both shared would be deleted before one of them.
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
        tools = (self.bookmark_button, self.ruler_button, self.regions_button)
        views = (self.slide_combo, self._magnification_buttons, self.fit_button, self._view_buttons)
        for widget in (*views, *tools, self.message_label):
            self.addWidget(widget)
        self._cancel_action = self.addWidget(self.cancel_button)
        for widget in (self.full_screen_button, self.leave_button):
            self.addWidget(widget)
        for part in self.findChildren(QWidget):
            if part.focusPolicy() & Qt.FocusPolicy.ClickFocus:
                part.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys to the image

    def _show_slides(self) -> None:
        combo = self._controls.picker.combo
        self.slide_combo.clear()
        for index in range(combo.count()):
            self.slide_combo.addItem(combo.itemText(index), combo.itemData(index))
        self.slide_combo.setCurrentIndex(combo.currentIndex())
        self.slide_combo.setToolTip(combo.currentText() or combo.toolTip())

    def _show_history(self) -> None:
        self._view_buttons.show_history(self._history)

    def _show_message(self, message: str) -> None:
        has_link = "<a href=" in message  # eliding would count and cut its tags
        self.message_label.setElideMode(Qt.TextElideMode.ElideNone if has_link else Qt.TextElideMode.ElideRight)
        self.message_label.setText(message)
        self.message_label.setToolTip(message)

    def _show_cancel(self) -> None:
        """Show the button while one of the dock's can be pressed."""
        button = self._find_cancel()
        self._cancel_action.setVisible(button is not None)
        self.cancel_button.setToolTip("" if button is None else button.toolTip())

    def _find_cancel(self) -> QAbstractButton | None:
        """Return the dock's button that cancels what is running; None if nothing can be canceled."""
        return next((button for button in self._cancel_buttons if button.isEnabled()), None)

    def _on_cancel(self) -> None:
        button = self._find_cancel()
        if button is not None:
            button.click()

    def _apply_style(self) -> None:
        self.setStyleSheet(self._controls.styleSheet())
