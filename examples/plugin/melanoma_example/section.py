"""A section of the Slide dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.session.strokes import STROKE_DOCUMENT

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession


class StrokesSection(Section):
    """Show how many strokes are painted on the slide."""

    documents = (STROKE_DOCUMENT,)

    def show(self, session: SlideSession) -> None:
        """Use the session of a slide."""
        self._document = session.painted

    def open(self, session: SlideSession) -> QLabel:
        """Return the widgets for a slide."""
        self._label = QLabel()
        self._label.setObjectName("example_strokes")
        self._document.changed.connect(self._show_count)
        self._show_count()
        return self._label

    def close(self) -> None:
        """Disconnect all signals."""
        self._document.changed.disconnect(self._show_count, missing_ok=True)

    def _show_count(self) -> None:
        self._label.setText(f"Strokes on this slide: {len(self._document.value.strokes)}")
