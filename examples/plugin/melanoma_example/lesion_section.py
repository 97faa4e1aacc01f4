"""A section of the Case dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

from napari_melanoma.ui.case.lesion_sections import LesionSection

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.ui.case.controller import CaseController
    from napari_melanoma.ui.widgets.settings import DockSettings


class ImagesSection(LesionSection):
    """Show the number of images of the selected lesion."""

    def open(self, controller: CaseController, settings: DockSettings) -> QLabel:
        """Return the widgets, when the section is first expanded."""
        self.label = QLabel()
        self.label.setObjectName("lesion_images")
        return self.label

    def show_lesion(self, lesion: CaseLesion, *, is_other: bool) -> None:
        """Show a lesion, also after each change of the case."""
        self.label.setText(f"{len(lesion.images)} images")
