"""Tells the Lesion dock what the open case says of the patient and the lesion of each photograph in the viewer."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.ui import linked
from napari_melanoma.ui.case_rows import case_rows

if TYPE_CHECKING:
    from napari_melanoma.data.case.model import Case, CaseLesion
    from napari_melanoma.ui.case.desk import CaseDesk
    from napari_melanoma.ui.case.opening import CaseOpening

# What is known before a diagnosis: what was found since would tell a classifier what it is asked.
OF_PATIENT = ("age", "sex", "fitzpatrick", "ethnicity", "personal_history", "family_history")
OF_LESION = ("site", "sub_site", "laterality", "diameter_1_mm", "diameter_2_mm")


class CaseTelling(QObject):
    """Fills the form of the Lesion dock, and again when the case is edited."""

    def __init__(self, desk: CaseDesk, opening: CaseOpening, parent: QObject) -> None:
        super().__init__(parent)
        self._desk = desk
        self._opening = opening
        for signal in (desk.opened, desk.changed, opening.changed, opening.lesion_opened):
            signal.connect(self.tell)
        parent.destroyed.connect(partial(_withdraw, id(self)))

    def tell(self) -> None:
        """Tell what is known of every photograph that is open, and of slides."""
        lesion, case = self._opening.lesion, self._desk.case
        rows = {} if case is None else {image.path: row_of(case, part) for part, image in case.each_image()}
        case_rows().tell(id(self), "" if case is None else self._name(case), rows)
        if lesion is None:
            return
        of = {} if case is None else {image.path: part for part, image in case.each_image()}
        for layer in linked.identify(self._opening.viewer):
            identity = str(linked.identity(layer))
            path = self._opening.path(identity)
            if case is None or path not in of:
                lesion.answering.filling.set_case(identity, "", {})
            else:
                lesion.answering.filling.set_case(identity, self._name(case), row_of(case, of[path]))

    def _name(self, case: Case) -> str:
        store = self._desk.store
        return case.patient.patient_id or ("" if store is None else store.folder.name)


def row_of(case: Case, lesion: CaseLesion | None) -> dict[str, str]:
    """Give what a case knows of a lesion before anybody has said what it is.

    Columns of the harmonised table to text; what is not known is left out.
    """
    row = {name: case.patient.cell(name) for name in OF_PATIENT}
    row |= {} if lesion is None else {name: lesion.cell(name) for name in OF_LESION}
    return {name: text for name, text in row.items() if text}


def _withdraw(teller: int, _: object = None) -> None:
    """Take back what a Case dock said that is gone."""
    with suppress(RuntimeError):  # at the end of the application Qt's part of the object may go before the dock
        case_rows().tell(teller, "", {})
