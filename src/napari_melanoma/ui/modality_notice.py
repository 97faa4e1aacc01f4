"""Says in the Lesion dock that a photograph and the model that answered may not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame, QVBoxLayout

from napari_melanoma.ui.look import named
from napari_melanoma.ui.words import Words

if TYPE_CHECKING:
    from napari_melanoma.workflows.lesion import LesionResult


class ModalityNotice(QFrame):
    """One sentence, in sight for as long as the photograph that it is about."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._words = named(Words(), "modality_warning", "Photograph and model")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._words)
        self.hide()

    def show_result(self, result: LesionResult | None) -> None:
        """Show the warning of a result, if it has one."""
        warning = "" if result is None else result.warning
        self._words.setText(warning)
        self.setVisible(bool(warning))
