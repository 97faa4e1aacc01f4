"""Notices of the Lesion dock: modality mismatch and multiple lesions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QAbstractButton, QFrame, QMessageBox, QVBoxLayout, QWidget

from napari_melanoma.ui.widgets.dialogs import create_question
from napari_melanoma.ui.widgets.style import WrappedLabel, named

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionResult

INCLUDE_OTHERS, NO_LESIONS = "include_others", "no_lesions"


def describe_other_lesions(result: LesionResult, *, with_advice: bool = False) -> str:
    """Describe detected lesions that are not in the mask, such as ``2 lesions found; showing the largest.``.

    Empty if all are in the mask.
    """
    others = len(result.other_masks)
    if not others:
        return ""
    if result.corrected or len(result.mask_parts) != 1:
        text = f"{others} other lesion{'s' if others > 1 else ''} found outside the mask (thin outlines)."
    else:
        area = int(result.mask.sum())
        shown = "the largest" if all(area >= int(one.sum()) for one in result.other_masks) else "the selected one"
        text = f"{result.lesions_found} lesions found; showing {shown}."
    if with_advice:
        text += " Measurements and prediction refer to the mask only. Use Select lesion for another lesion, "
        text += "or clear 'largest only' to include all."
    return text


def confirm_other_lesions(parent: QWidget, result: LesionResult, callback: Callable[[bool], None]) -> None:
    """Ask whether to include other lesions before storing a photograph; as background, they would harm training."""
    others = len(result.other_masks)
    them, lesions = ("it", "lesion") if others == 1 else ("them", "lesions")
    details = (
        f"{others} other {lesions} found (thin outlines) would be stored as background, so that models trained on "
        f"this photograph tend to miss {them}. Include {them} if the outlines are correct, or correct the mask first."
    )
    box = create_question(parent, "other_lesions", "The mask does not contain all lesions", details)
    box.addButton("Include all", QMessageBox.ButtonRole.AcceptRole).setObjectName(INCLUDE_OTHERS)
    box.addButton("Not lesions", QMessageBox.ButtonRole.DestructiveRole).setObjectName(NO_LESIONS)
    box.setDefaultButton(box.addButton("Do not store", QMessageBox.ButtonRole.RejectRole))

    def on_clicked(button: QAbstractButton) -> None:
        if button.objectName() in (INCLUDE_OTHERS, NO_LESIONS):
            callback(button.objectName() == INCLUDE_OTHERS)

    box.buttonClicked.connect(on_clicked)
    box.finished.connect(box.deleteLater)
    box.open()


class ModalityNotice(QFrame):
    """Shows the warning of a result, such as a mismatch of modality and model."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._label = named(WrappedLabel(), "modality_warning", "Photograph and model")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._label)
        self.hide()

    def show_result(self, result: LesionResult | None) -> None:
        """Show the warning of a result, if it has one."""
        warning = "" if result is None else result.warning
        self._label.setText(warning)
        self.setVisible(bool(warning))
