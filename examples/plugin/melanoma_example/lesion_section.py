"""A section of the Case dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

from napari_melanoma.ui.sections import LesionSection

if TYPE_CHECKING:
    from napari_melanoma.ui.session.case_lesion import LesionSession


class ImagesSection(LesionSection):
    """Show the number of images of the selected lesion."""

    def show(self, session: LesionSession) -> None:
        """Show nothing outside of the dock."""
        self._session = session

    def open(self, session: LesionSession) -> QLabel:
        """Return the widgets for a lesion."""
        self._label = QLabel()
        self._label.setObjectName("lesion_images")
        session.changed.connect(self._show_count)
        self._show_count()
        return self._label

    def close(self) -> None:
        """Disconnect all signals."""
        self._session.changed.disconnect(self._show_count, missing_ok=True)

    def _show_count(self) -> None:
        self._label.setText(f"{len(self._session.lesion.images)} images")
