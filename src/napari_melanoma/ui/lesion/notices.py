"""Notices of the Lesion dock: modality and several lesions."""

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
    """Say how many lesions were found, where some of them are not in the mask.

    Such as ``2 lesions found; showing the largest.``; empty where all are in the mask.
    """
    others = len(result.other_masks)
    if not others:
        return ""
    if result.corrected or len(result.mask_parts) != 1:
        said = f"{others} other lesion{'s' if others > 1 else ''} found beside the mask (thin outlines)."
    else:
        area = int(result.mask.sum())
        which = "the largest" if all(area >= int(one.sum()) for one in result.other_masks) else "the chosen one"
        said = f"{result.lesions_found} lesions found; showing {which}."
    if with_advice:
        said += " Measurements and prediction are of the mask alone. Choose lesion takes another one; "
        said += "without largest only, all are taken together."
    return said


def confirm_other_lesions(parent: QWidget, result: LesionResult, callback: Callable[[bool], None]) -> None:
    """Ask what other lesions are before the photograph is stored: as skin, a model would learn to overlook them."""
    others = len(result.other_masks)
    them, lesions = ("it", "lesion") if others == 1 else ("them", "lesions")
    details = (
        f"{others} other {lesions} found (thin outlines) would be stored as skin, and a model would learn to overlook "
        f"{them}. Include {them} if you confirm the outlines, or correct the mask first."
    )
    box = create_question(parent, "other_lesions", "The mask does not hold every lesion", details)
    box.addButton("Include all", QMessageBox.ButtonRole.AcceptRole).setObjectName(INCLUDE_OTHERS)
    box.addButton("They are not lesions", QMessageBox.ButtonRole.DestructiveRole).setObjectName(NO_LESIONS)
    box.setDefaultButton(box.addButton("Leave out", QMessageBox.ButtonRole.RejectRole))

    def on_clicked(button: QAbstractButton) -> None:
        if button.objectName() in (INCLUDE_OTHERS, NO_LESIONS):
            callback(button.objectName() == INCLUDE_OTHERS)

    box.buttonClicked.connect(on_clicked)
    box.finished.connect(box.deleteLater)
    box.open()


class ModalityNotice(QFrame):
    """One sentence, in sight for as long as the photograph that it is about."""

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
