"""A section of the Slide dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.session.strokes import STROKE_DOCUMENT

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession


class StrokesSection(SlideSection):
    """Shows how many strokes are painted on the slide."""

    documents = (STROKE_DOCUMENT,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._label = QLabel()
        self._label.setObjectName("example_strokes")
        self.add(self._label)
        self.follow(session.painted.changed, self._show_count)
        self._show_count()

    def _show_count(self) -> None:
        self._label.setText(f"Strokes on this slide: {len(self.session.painted.value.strokes)}")
