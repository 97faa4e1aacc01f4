"""The place of a section in a dock: its widget is that of the displayed session."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

Session = TypeVar("Session", contravariant=True)


class SessionSection(Protocol[Session]):
    """A part of a dock for one session at a time; it knows neither the dock nor other sections."""

    def open(self, session: Session) -> QWidget:
        """Return the widgets for a session, and connect to its signals."""

    def close(self) -> None:
        """Disconnect all signals; the caller deletes the widgets."""


class SectionSlot(QWidget, Generic[Session]):
    """Opens a section on a session, and closes it when another session is displayed."""

    section: SessionSection[Session]  # set before the first session is shown

    def __init__(self) -> None:
        super().__init__()
        self._widget: QWidget | None = None  # of the open section
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)

    def show_session(self, session: Session | None) -> None:
        """Open the section on a session; None leaves it closed."""
        if self._widget is not None:
            self.section.close()
            self._widget.setParent(None)  # not found by its name any more
            self._widget.deleteLater()
        self._widget = None if session is None else self.section.open(session)
        if self._widget is not None:
            self.layout().addWidget(self._widget)
            self._set_tab_order(self._widget)

    def _set_tab_order(self, widget: QWidget) -> None:
        """Let the tab key follow the eye: Qt appends the widgets of a section that is opened later to the window's."""
        previous = self.previousInFocusChain() or self
        while previous.focusPolicy() == Qt.FocusPolicy.NoFocus and previous is not self:
            previous = previous.previousInFocusChain() or self
        for part in (widget, *widget.findChildren(QWidget)):
            if part.focusPolicy() != Qt.FocusPolicy.NoFocus and part.window() is self.window():  # no popup of a combo
                QWidget.setTabOrder(previous, part)
                previous = part
