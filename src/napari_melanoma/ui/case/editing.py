"""What a person does in the Case dock as edits of the case: forms, tree, body map, undo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.counting import counted, first_few
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.data.case import edit
from napari_melanoma.data.case.model import Case
from napari_melanoma.ui.body.words import columns_of, title
from napari_melanoma.ui.case import words
from napari_melanoma.ui.case.details import NEW
from napari_melanoma.ui.case.rows import LOOSE

if TYPE_CHECKING:
    from napari_melanoma.ui.case.desk import CaseDesk
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
        self._edit(lambda case: edit.set_patient(case, **{name: text}), f"patient's {_said(name)}", f"patient {name}")

    def set_part(self, name: str, text: str) -> None:
        """Set a field of the lesion or image at hand."""
        part, change = self._tree.current, edit.set_lesion if self._is_lesion() else edit.set_image
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
            self._edit(lambda case: edit.set_lesion(case, lesion, **values), said)
            self.said.emit(f"{said}.")

    def confirm_patient(self, name: str) -> None:
        """Confirm a guess about the patient."""
        self._edit(lambda case: edit.confirm(case, "", name), f"patient's {_said(name)} confirmed")

    def confirm_part(self, name: str = "") -> None:
        """Confirm a guess about what is at hand."""
        part, fields = self._tree.current, [name] if name else []
        self._edit(lambda case: edit.confirm(case, part, *fields), "guesses confirmed")

    def confirm_all(self) -> None:
        """Confirm every guess of the case."""
        case = self._desk.case
        if case is None:
            return
        count = words.guesses(case)
        ids = ["", *(lesion.id for lesion in case.lesions), *(image.id for _, image in case.each_image())]

        def confirmed(case: Case) -> Case:
            for part in ids:
                case = edit.confirm(case, part)
            return case

        self._edit(confirmed, f"{counted(count, 'guess')} confirmed")
        self.said.emit(f"{counted(count, 'guess')} confirmed.")

    def add_lesion(self) -> None:
        """Add a lesion, and have it at hand."""
        self._edit(edit.add_lesion, "new lesion")
        case = self._desk.case
        if case is not None and self._desk.may_edit:
            self.made.emit(case.lesions[-1].id)

    def move(self, images: Sequence[str], lesion: str, place: int = -1) -> None:
        """Move images to a lesion."""
        is_new = lesion in ("", NEW)

        def moved(case: Case) -> Case:
            case = edit.add_lesion(case) if is_new else case
            target = case.lesions[-1].id if is_new else lesion.replace(LOOSE, "")
            for step, image in enumerate(images):
                case = edit.move_image(case, image, target, None if place < 0 else place + step)
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
                case = edit.remove_lesion(case, part) if part in lesions else edit.remove_image(case, part)
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
