"""The rows of a case as values: lesions with their images, then the images of none; and what each row says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import counted
from napari_melanoma.data.case.model import Case, CaseImage, CaseLesion
from napari_melanoma.ui.answer.words import short, verdict
from napari_melanoma.ui.case import words

if TYPE_CHECKING:
    from napari_melanoma.workflows.case_answer import LesionAnswer

LOOSE = "loose"  # the row above the images of no lesion


@dataclass(frozen=True)
class CaseRow:
    """What one row shows: its id, title, a quiet line below, a word at the right, and the file of its picture.

    ``number`` stands in the dot of a lesion. ``rows`` are those below it.
    """

    id: str
    title: str
    words: str = ""
    state: str = ""
    number: str = ""
    path: Path | None = None
    tip: str = ""
    rows: tuple[CaseRow, ...] = ()


def rows_of(
    case: Case, missing: Collection[str] = (), answers: Mapping[str, LesionAnswer] | None = None
) -> tuple[CaseRow, ...]:
    """Give the rows of a case.

    Lesions, and at the end the images of none where there are any.
    """
    numbers = words.numbers(case)
    said = answers or {}
    lesions = tuple(_lesion(lesion, numbers[lesion.id], missing, said.get(lesion.id)) for lesion in case.lesions)
    if not case.images:
        return lesions
    images = tuple(_image(image, missing) for image in case.images)
    count = counted(len(images), "image")
    return (*lesions, CaseRow(LOOSE, "No lesion yet", f"{count}: drag each to its lesion", rows=images))


def _lesion(lesion: CaseLesion, number: str, missing: Collection[str], told: LesionAnswer | None) -> CaseRow:
    """The row of a lesion; what a classifier says of it stands before what a person says."""
    tip = f"Lesion {number}{f', called {lesion.label}' if lesion.label not in ('', number) else ''}"
    images = tuple(_image(image, missing) for image in lesion.images)
    said, state = words.summary(lesion), ""
    if told is not None:
        said, tip = f"{short(told.answer)} · {said}", f"{tip}\n{verdict(told.answer)}"
        valid = told.answer.validity.valid
        state = "" if not valid else "odd one out" if told.odd and told.odd.stands_out else ""
    return CaseRow(lesion.id, words.place(lesion), said, state, number=number, tip=tip, rows=images)


def _image(image: CaseImage, missing: Collection[str]) -> CaseRow:
    """The row of an image."""
    gone = image.id in missing
    state = "missing" if gone else "✎ corrected" if image.correction else "analysed" if image.results else ""
    tips = [str(image.path), *(words.guessed(origin) for name, origin in image.guesses.items() if name == "modality")]
    tips.append("Its file is gone." if gone else "Double click or Enter: open it.")
    return CaseRow(image.id, words.modality(image), image.path.name, state, path=image.path, tip="\n".join(tips))
