"""The Side by side section of the Slide dock: a second slide in a second view, and its registration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from psygnal import Signal
from qtpy.QtCore import QObject, QSignalBlocker
from qtpy.QtWidgets import QCheckBox

from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.side_by_side.comparison import SlideComparison
from napari_melanoma.ui.sections.side_by_side.second_view import SecondView
from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import named, quiet_label, row, tool_button

HINT = "Open two slides to compare them side by side."
SHOW_HINT = "Press Show to see the other slide beside this one."


class SideBySide(QObject):
    """The second view of a window, and its comparison with the displayed slide; it stays open with another one.

    ``changed``: what the section shows.
    """

    changed = Signal()

    def __init__(self, sessions: SlideSessions) -> None:
        super().__init__(sessions.parent)
        self._sessions = sessions
        self._session: SlideSession | None = None  # that is displayed
        self.second: SecondView | None = None  # while it is open
        self.comparison: SlideComparison | None = None  # with the displayed slide, while the second view is open
        self.is_linked = True
        sessions.second.changed.connect(self._compare)

    def display(self, session: SlideSession, is_displayed: bool) -> None:
        """Compare a slide that is displayed now, or none."""
        self._session = session if is_displayed else None
        self._compare()

    def apply(self, action: Callable[[SlideComparison, bool], None], on: bool = True) -> None:
        if self.comparison is not None:
            action(self.comparison, on)

    def set_linked(self, on: bool) -> None:
        """Let the views move together, or each by itself."""
        self.is_linked = on
        self.apply(SlideComparison.set_linked, on)

    def _compare(self) -> None:
        """Show the selected slide in the second view, and compare it with the displayed one; close the view if none."""
        self._end_comparison()
        session = self._session
        if session is None:
            return
        slide = slide_layers.find_slide(session.services.viewer, self._sessions.second.value)
        if slide is not None:
            if self.second is None:
                self.second = SecondView(session.services, self._sessions.parent, slide)
                self.second.closed.connect(self._on_closed)
            self.second.show_slide(slide)
            self.comparison = SlideComparison(session, self.second, self.is_linked)
            self.comparison.changed.connect(self._on_changed)
        elif self.second is not None:
            self.second.close()
        self.changed.emit()

    def _on_changed(self) -> None:
        if self.comparison is not None:
            self.is_linked = self.comparison.is_linked
        self.changed.emit()

    def _on_closed(self) -> None:
        """Release the button after the view was closed, also in its title bar or with its slide."""
        self._end_comparison()
        self.second = None
        self._sessions.second.set("")
        self.changed.emit()

    def _end_comparison(self) -> None:
        comparison, self.comparison = self.comparison, None
        if comparison is not None:
            self.is_linked = comparison.is_linked or comparison.landmarks is not None  # they were apart only for these
            comparison.close()


def compare_when_displayed(session: SlideSession) -> None:
    """Compare a slide with that in the second view while it is displayed, also while the section is collapsed."""
    side_by_side = session.sessions.part(SideBySide)
    session.follow(session.displayed.changed, partial(side_by_side.display, session))
    side_by_side.display(session, session.displayed.value)


class SideBySideSection(SlideSection):
    """Controls to choose the second slide, to link the views and to register the slides."""

    parts = (compare_when_displayed,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._viewer, self._second = session.services.viewer, session.sessions.second
        self._side_by_side = session.sessions.part(SideBySide)
        self._slide_combo = named(
            NoWheelComboBox(), "side_by_side_slide", "Second slide", "Slide to show next to this one"
        )
        self._show_button = tool_button(
            "side_by_side_show", "Show side by side", "Show it in a second view", "Show", checkable=True
        )
        self._link_check = named(
            QCheckBox("Move together"), "side_by_side_link", "Move together", "The views pan and zoom together"
        )
        tip = "Treat the centers of both views as the same position, and keep that offset"
        self._align_button = tool_button("side_by_side_align", "Align here", tip, "Align here")
        tip = "Find rotation, side and position of the second slide from the tissue in both; takes some seconds"
        self._register_button = tool_button("side_by_side_register", "Register automatically", tip, "Register")
        tip = "Click the same structures in both views; from two of them, the slides are turned and shifted together"
        self._landmark_button = tool_button("side_by_side_landmarks", "Landmarks", tip, "Landmarks", checkable=True)
        tip = "Discard the registration of these two slides, also the saved one"
        self._reset_button = tool_button("side_by_side_reset", "Reset the registration", tip, "Reset")
        self._hint_label = named(quiet_label(), "side_by_side_hint", "How to compare")
        self.add(
            row(self._slide_combo, self._show_button, stretch=0),
            row(self._register_button, self._landmark_button, self._align_button, self._reset_button),
            row(self._link_check),
            self._hint_label,
        )
        self._connect()
        self._refresh()

    def _connect(self) -> None:
        side_by_side, second = self._side_by_side, self._second
        self._show_button.toggled.connect(lambda on: second.set(self._identity if on else ""))
        self._slide_combo.activated.connect(lambda _: second.set(self._identity) if second.value else None)
        self._link_check.toggled.connect(side_by_side.set_linked)
        self._landmark_button.toggled.connect(partial(side_by_side.apply, SlideComparison.set_landmarks))
        self._align_button.clicked.connect(lambda: side_by_side.apply(SlideComparison.align))
        self._register_button.clicked.connect(lambda: side_by_side.apply(SlideComparison.register))
        self._reset_button.clicked.connect(lambda: side_by_side.apply(SlideComparison.reset))
        self.follow(side_by_side.changed, self._refresh)
        for emitter in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            self.follow(emitter, self._refresh)

    @property
    def _identity(self) -> str:
        """Identity of the selected slide; empty if there is none."""
        return str(self._slide_combo.currentData() or "")

    def _refresh(self, event: object = None) -> None:
        """List the other open slides, and show the state of the comparison."""
        selected = self._identity if self._side_by_side.second is None else self._side_by_side.second.slide.identity
        self._slide_combo.clear()
        for slide in slide_layers.list_slides(self._viewer):
            if slide.identity != self.session.identity:
                self._slide_combo.addItem(slide_display_name(slide.info), slide.identity)
        index = self._slide_combo.findData(selected)
        self._slide_combo.setCurrentIndex(index if self._side_by_side.second is not None else max(0, index))
        self._show_comparison(self._side_by_side.comparison)

    def _show_comparison(self, comparison: SlideComparison | None) -> None:
        """Show a comparison, and enable the controls that are possible; None while the second view is closed."""
        is_open, has_others = comparison is not None, self._slide_combo.count() > 0
        can_link = comparison is None or comparison.can_link
        has_landmarks = comparison is not None and comparison.landmarks is not None
        is_linked = self._side_by_side.is_linked if comparison is None else comparison.is_linked
        checked = {self._show_button: is_open, self._link_check: is_linked, self._landmark_button: has_landmarks}
        for button, on in checked.items():
            with QSignalBlocker(button):
                button.setChecked(on)
        self._show_button.setEnabled(is_open or has_others)
        self._link_check.setEnabled(can_link)
        for button in (self._align_button, self._register_button, self._landmark_button):
            button.setEnabled(is_open and can_link)
        self._reset_button.setEnabled(comparison is not None and can_link and bool(comparison.alignment))
        closed_hint = SHOW_HINT if has_others else HINT
        self._hint_label.setText(closed_hint if comparison is None else comparison.text)
