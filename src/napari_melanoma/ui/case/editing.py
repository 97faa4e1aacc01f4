"""Edits of a case in its dock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.case import edits
from napari_melanoma.case.model import Case
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.wording import counted, first_few
from napari_melanoma.ui.body_map.chart import columns_of, title
from napari_melanoma.ui.case import words
from napari_melanoma.ui.case.details import NEW
from napari_melanoma.ui.case.tree import LOOSE
from napari_melanoma.ui.shared_state import case_rows
from napari_melanoma.ui.viewer import linked

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.ui.case.images import CaseOpening
    from napari_melanoma.ui.case.store import CaseDesk
    from napari_melanoma.ui.case.tree import CaseTree

PLACE = ("site", "sub_site", "laterality")


class CaseEditing(QObject):
    """Takes the wishes of the controls to the desk."""

    said = Signal(str)
    made = Signal(str)

    def __init__(self, desk: CaseDesk, tree: CaseTree, parent: QObject) -> None:
        super().__init__(parent)
        self._desk = desk
        self._tree = tree

    def set_patient(self, name: str, text: str) -> None:
        """Set a field of the patient."""
        self._edit(lambda case: edits.set_patient(case, **{name: text}), f"patient's {_said(name)}", f"patient {name}")

    def set_part(self, name: str, text: str) -> None:
        """Set a field of the lesion or image at hand."""
        part, change = self._tree.current, edits.set_lesion if self._is_lesion() else edits.set_image
        of = f"lesion {self._number(part)}" if self._is_lesion() else "the image"
        self._edit(lambda case: change(case, part, **{name: text}), f"{_said(name)} of {of}", f"{part} {name}")

    def refuse_patient(self, name: str) -> None:
        """Take back what was typed on the way to what is not allowed."""
        self._desk.take_back(f"patient {name}")

    def refuse_part(self, name: str) -> None:
        """Take back what was typed on the way to what is not allowed."""
        self._desk.take_back(f"{self._tree.current} {name}")

    def set_place(self, word: str, laterality: str) -> None:
        """Say where the lesion at hand is."""
        lesion = self._tree.current
        if self._is_lesion():
            values = dict(zip(PLACE, (*columns_of(word), laterality), strict=True))
            said = f"Lesion {self._number(lesion)}: {title(word, laterality)}"
            self._edit(lambda case: edits.set_lesion(case, lesion, **values), said)
            self.said.emit(f"{said}.")

    def confirm_patient(self, name: str) -> None:
        """Confirm a guess about the patient."""
        self._edit(lambda case: edits.confirm(case, "", name), f"patient's {_said(name)} confirmed")

    def confirm_part(self, name: str = "") -> None:
        """Confirm a guess about what is at hand."""
        part, fields = self._tree.current, [name] if name else []
        self._edit(lambda case: edits.confirm(case, part, *fields), "guesses confirmed")

    def confirm_all(self) -> None:
        """Confirm every guess of the case."""
        case = self._desk.case
        if case is None:
            return
        count = words.guesses(case)
        ids = ["", *(lesion.id for lesion in case.lesions), *(image.id for _, image in case.each_image())]

        def confirmed(case: Case) -> Case:
            for part in ids:
                case = edits.confirm(case, part)
            return case

        self._edit(confirmed, f"{counted(count, 'guess')} confirmed")
        self.said.emit(f"{counted(count, 'guess')} confirmed.")

    def add_lesion(self) -> None:
        """Add a lesion, and have it at hand."""
        self._edit(edits.add_lesion, "new lesion")
        case = self._desk.case
        if case is not None and self._desk.may_edit:
            self.made.emit(case.lesions[-1].id)

    def move(self, images: Sequence[str], lesion: str, place: int = -1) -> None:
        """Move images to a lesion."""
        is_new = lesion in ("", NEW)

        def moved(case: Case) -> Case:
            case = edits.add_lesion(case) if is_new else case
            target = case.lesions[-1].id if is_new else lesion.replace(LOOSE, "")
            for step, image in enumerate(images):
                case = edits.move_image(case, image, target, None if place < 0 else place + step)
            return case

        count = counted(len(images), "image")
        self._edit(moved, f"{count} moved")
        case = self._desk.case
        if is_new and case is not None:
            self.made.emit(case.lesions[-1].id)
        where = "no lesion" if lesion == LOOSE else f"lesion {self._number(lesion)}" if not is_new else "a new lesion"
        self.said.emit(f"{count} moved to {where}.")

    def remove(self, parts: Sequence[str]) -> None:
        """Take lesions and images out of the case."""
        case = self._desk.case
        lesions = set() if case is None else {lesion.id for lesion in case.lesions}
        there = lesions | (set() if case is None else {image.id for _, image in case.each_image()})
        parts = [part for part in dict.fromkeys(parts) if part in there]

        def removed(case: Case) -> Case:
            for part in parts:
                case = edits.remove_lesion(case, part) if part in lesions else edits.remove_image(case, part)
            return case

        if parts:
            gone = first_few([f"lesion {self._number(part)}" if part in lesions else "an image" for part in parts])
            self._edit(removed, f"{gone} removed")
            self.said.emit(f"Taken out of the case: {gone}. Files stay where they are; Ctrl+Z brings it back.")

    def _number(self, lesion: str) -> str:
        case = self._desk.case
        return "" if case is None else words.numbers(case).get(lesion, "")

    def _is_lesion(self) -> bool:
        case, current = self._desk.case, self._tree.current
        return case is not None and any(lesion.id == current for lesion in case.lesions)

    def _edit(self, change: Callable[[Case], Case], what: str, key: str = "") -> None:
        """Edit the case; what is at hand may have gone meanwhile, as by a double click on a button."""
        case = self._desk.case
        if case is None or not self._desk.may_edit:
            return
        try:
            self._desk.edit(change(case), what, key)
        except ConfigError as error:
            self.said.emit(str(error))
        except KeyError:
            return


def _said(name: str) -> str:
    """A field's name for people."""
    return name.replace("_", " ")


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
