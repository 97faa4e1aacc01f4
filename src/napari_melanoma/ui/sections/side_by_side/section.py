"""The Side by side section of the Slide dock: a second slide in a second view, and its registration."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QSignalBlocker
from qtpy.QtWidgets import QCheckBox, QWidget

from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.side_by_side.comparison import Comparison
from napari_melanoma.ui.sections.side_by_side.second_view import SecondView
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import fill_column, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

HINT = "Open two slides to compare them side by side."
SHOW_HINT = "Press show to see the other slide beside this one."


class SideBySideView(QWidget):
    """Controls to choose the second slide and to link the views."""

    def __init__(self) -> None:
        super().__init__()
        self.slide_combo = named(
            NoWheelComboBox(), "side_by_side_slide", "Second slide", "Slide to show next to this one"
        )
        self.show_button = tool_button(
            "side_by_side_show", "Show side by side", "Show it in a second view", "show", checkable=True
        )
        self.link_check = named(
            QCheckBox("move together"), "side_by_side_link", "Move together", "The views pan and zoom together"
        )
        tip = "Treat the centers of both views as the same position, and keep that offset"
        self.align_button = tool_button("side_by_side_align", "Align here", tip, "align here")
        tip = "Find rotation, side and position of the second slide from the tissue in both; takes some seconds"
        self.register_button = tool_button("side_by_side_register", "Register automatically", tip, "register")
        tip = "Click the same structures in both views; from two of them, the slides are turned and shifted together"
        self.landmark_button = tool_button("side_by_side_landmarks", "Landmarks", tip, "landmarks", checkable=True)
        tip = "Discard the registration of these two slides, also the saved one"
        self.reset_button = tool_button("side_by_side_reset", "Reset the registration", tip, "reset")
        self.hint_label = named(quiet_label(), "side_by_side_hint", "How to compare")
        fill_column(
            self,
            row(self.slide_combo, self.show_button, stretch=0),
            row(self.register_button, self.landmark_button, self.align_button, self.reset_button),
            row(self.link_check),
            self.hint_label,
        )

    @property
    def identity(self) -> str:
        """Identity of the selected slide; empty if there is none."""
        return str(self.slide_combo.currentData() or "")

    def show_slides(self, slides: list[ViewerSlide], shown: str | None) -> None:
        """List the slides to choose from; ``shown``: identity of that in the second view, None while it is closed."""
        identity = self.identity
        self.slide_combo.clear()
        for slide in slides:
            self.slide_combo.addItem(slide_display_name(slide.info), slide.identity)
        index = max(0, self.slide_combo.findData(identity)) if shown is None else self.slide_combo.findData(shown)
        self.slide_combo.setCurrentIndex(index)

    def show_state(self, comparison: Comparison | None, *, is_linked: bool) -> None:
        """Show a comparison, and enable the controls that are possible; None while the second view is closed."""
        is_open, has_others = comparison is not None, self.slide_combo.count() > 0
        can_link = comparison is None or comparison.can_link
        has_landmarks = comparison is not None and comparison.landmarks is not None
        checked = {self.show_button: is_open, self.link_check: is_linked, self.landmark_button: has_landmarks}
        for button, on in checked.items():
            with QSignalBlocker(button):
                button.setChecked(on)
        self.show_button.setEnabled(is_open or has_others)
        self.link_check.setEnabled(can_link)
        for button in (self.align_button, self.register_button, self.landmark_button):
            button.setEnabled(is_open and can_link)
        self.reset_button.setEnabled(comparison is not None and can_link and bool(comparison.alignment))
        closed_hint = SHOW_HINT if has_others else HINT
        self.hint_label.setText(closed_hint if comparison is None else comparison.text)


class SideBySideSection(Section):
    """Show a second slide in a second view, which stays open while other slides are displayed in the first."""

    def __init__(self) -> None:
        self.second: SecondView | None = None  # while it is open
        self.comparison: Comparison | None = None  # with the displayed slide, while the second view is open
        self._view: SideBySideView | None = None  # while the section is open
        self._is_linked = True

    def show(self, session: SlideSession) -> None:
        """Compare the slide with that in the second view."""
        self._session, self._sessions, self._owner = session, session.sessions, QObject(session.sessions.parent)
        self._connections = SectionConnections(self._owner)
        events = session.services.viewer.layers.events
        for emitter in (events.inserted, events.removed):
            self._connections.connect(emitter, self._refresh)
        self._connections.connect(session.sessions.second.changed, self._compare)
        self._compare(session.sessions.second.value)

    def open(self, session: SlideSession) -> QWidget:
        """Return the controls."""
        view, second = SideBySideView(), session.sessions.second
        view.show_button.toggled.connect(lambda on: second.set(view.identity if on else ""))
        view.slide_combo.activated.connect(lambda _: second.set(view.identity) if second.value else None)
        view.link_check.toggled.connect(self._on_linked)
        view.landmark_button.toggled.connect(lambda on: self._apply(Comparison.set_landmarks, on))
        for button, action in (
            (view.align_button, Comparison.align),
            (view.register_button, Comparison.register),
            (view.reset_button, Comparison.reset),
        ):
            button.clicked.connect(partial(self._apply, action))
        self._view = view
        self._refresh()
        return view

    def close(self) -> None:
        """End the comparison; the second view stays."""
        self._end_comparison()
        self._connections.close()
        self._owner.deleteLater()
        self._view = None
        del self._session, self._owner, self._connections

    def _compare(self, identity: str) -> None:
        """Show a slide in the second view, and compare it with the displayed one; close the view if it is empty."""
        services = self._session.services
        slide = slide_layers.find_slide(services.viewer, identity)
        self._end_comparison()
        if slide is not None:
            if self.second is None:
                self.second = SecondView(services, self._sessions.parent, slide)
                self.second.closed.connect(self._on_closed)
            self.second.show_slide(slide)
            self.comparison = Comparison(self._session, self.second, self._is_linked)
            self.comparison.changed.connect(self._refresh)
        elif self.second is not None:
            self.second.close()
        self._refresh()

    def _on_closed(self) -> None:
        """Release the button after the view was closed, also in its title bar or with its slide."""
        self._end_comparison()
        self.second = None
        self._sessions.second.set("")

    def _end_comparison(self) -> None:
        comparison, self.comparison = self.comparison, None
        if comparison is not None:
            self._is_linked |= comparison.landmarks is not None  # the views were apart only for these
            comparison.close()

    def _refresh(self, event: object = None) -> None:
        """List the other open slides, and show the state of the comparison."""
        if self._view is None:
            return
        slides = slide_layers.list_slides(self._session.services.viewer)
        if self.comparison is not None:
            self._is_linked = self.comparison.is_linked
        shown = None if self.second is None else self.second.slide.identity
        self._view.show_slides([one for one in slides if one.identity != self._session.identity], shown)
        self._view.show_state(self.comparison, is_linked=self._is_linked)

    def _apply(self, action: Callable[[Comparison, bool], None], on: bool = True) -> None:
        if self.comparison is not None:
            action(self.comparison, on)

    def _on_linked(self, on: bool) -> None:
        self._is_linked = on
        self._apply(Comparison.set_linked, on)
