"""A section of the Slide dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession, SlideState


class StrokesSection:
    """Show how many strokes are painted on the slide."""

    def open(self, session: SlideSession) -> QLabel:
        """Return the widgets for a slide."""
        self._session, self._label = session, QLabel()
        self._label.setObjectName("example_strokes")
        session.changed.connect(self._show)
        self._show(session.state)
        return self._label

    def close(self) -> None:
        """Disconnect all signals."""
        self._session.changed.disconnect(self._show)

    def _show(self, state: SlideState) -> None:
        self._label.setText(f"Strokes on this slide: {len(state.strokes)}")
