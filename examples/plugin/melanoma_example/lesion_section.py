"""A section of the Case dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

from napari_melanoma.ui.sections.base import LesionSection

if TYPE_CHECKING:
    from napari_melanoma.ui.session.case_lesion import LesionSession


class ImagesSection(LesionSection):
    """Shows the number of images of the selected lesion."""

    def __init__(self, session: LesionSession) -> None:
        super().__init__(session)
        self._label = QLabel()
        self._label.setObjectName("lesion_images")
        self.add(self._label)
        self.follow(session.changed, self._show_count)
        self._show_count()

    def _show_count(self) -> None:
        self._label.setText(f"{len(self.session.lesion.images)} images")
