"""What a classifier says of each lesion of a case: values, their words, and ``answers.json`` in the case folder.

A module of its own, without torch, because docks and the command line read it. The file is no part of ``case.json``: it
can be made again at any time, and an undo does not concern it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json, reason_of
from napari_melanoma.data.case.model import Case, CaseImage, CaseLesion
from napari_melanoma.data.case.store import CaseStore
from napari_melanoma.workflows.answer import Answer, ClassifierStamp

ANSWERS = "answers.json"
VERSION = 1
STANDS_OUT = 3.5  # robust z from which a value is an outlier (Iglewicz and Hoaglin 1993)


@dataclass(frozen=True)
class OddOne:
    """How odd a lesion is among ``lesions`` of the same patient and modality, itself included.

    ``distance`` is the mean cosine distance of its embedding to those of the others, ``z`` its robust z among them,
    ``rank`` 1 for the one that lies farthest away; ``measured_rank`` is the same by measurements, None where too few
    are known.
    """

    lesions: int
    rank: int
    distance: float
    z: float
    measured_rank: int | None = None

    @property
    def stands_out(self) -> bool:
        """Whether it lies so far from the others that they do not explain it."""
        return self.rank == 1 and self.z >= STANDS_OUT

    @property
    def sentence(self) -> str:
        """It in words."""
        of = f"the {self.lesions} lesions of this patient"
        if self.rank == 1:
            return f"the odd one out among {of}" if self.stands_out else f"least like the others among {of}"
        return f"number {self.rank} of {of} by how unlike the others it is"


@dataclass(frozen=True)
class LesionAnswer:
    """The answer of one lesion, over the images ``image_ids``; ``odd`` is None where there are fewer than three.

    ``rests_on`` says what it was made from, so that it is known when that has changed.
    """

    lesion_id: str
    image_ids: tuple[str, ...]
    answer: Answer
    odd: OddOne | None
    rests_on: str


@dataclass(frozen=True)
class CaseAnswers:
    """The answers of a case, the images that have none (``notes``: about what, and why), and who answered."""

    lesions: tuple[LesionAnswer, ...]
    notes: tuple[tuple[str, str], ...]
    model: ClassifierStamp
    created: str

    def of(self, lesion_id: str) -> LesionAnswer | None:
        """Find the answer of a lesion.

        None where it has none.
        """
        return next((one for one in self.lesions if one.lesion_id == lesion_id), None)

    def is_current(self, case: Case, lesion_id: str) -> bool:
        """Say whether a lesion's answer still fits the case.

        False where its images, their masks or what is known of the patient changed since, or it has no answer.
        """
        answered = self.of(lesion_id)
        return answered is not None and answered.rests_on == rests_on(case, case.lesion(lesion_id))

    def to_json(self) -> dict[str, Any]:
        """Say it in plain values."""
        lesions = [
            {
                "lesion_id": one.lesion_id,
                "image_ids": list(one.image_ids),
                "answer": one.answer.to_json(),
                "odd": one.odd and asdict(one.odd),
                "rests_on": one.rests_on,
            }
            for one in self.lesions
        ]
        notes = [list(note) for note in self.notes]
        return {
            "version": VERSION,
            "created": self.created,
            "model": asdict(self.model),
            "notes": notes,
            "lesions": lesions,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make it of what ``to_json`` gave."""
        lesions = tuple(
            LesionAnswer(
                one["lesion_id"],
                tuple(one["image_ids"]),
                Answer.from_json(one["answer"]),
                one["odd"] and OddOne(**one["odd"]),
                one["rests_on"],
            )
            for one in values["lesions"]
        )
        stamp = {**values["model"], "modalities": tuple(values["model"]["modalities"])}
        notes = tuple((str(about), str(said)) for about, said in values["notes"])
        return cls(lesions, notes, ClassifierStamp(**stamp), values["created"])


def rests_on(case: Case, lesion: CaseLesion) -> str:
    """Say what an answer of a lesion would be made from: its images, their masks, what is known of patient and lesion.

    SHA-256; another one where any of that is another. What no model may look at, such as the diagnosis, is left out: an
    answer does not get old because the truth is known.
    """
    import hashlib

    from napari_melanoma.data.features.leaks import why_not

    rows = (
        {name: text for name, text in row_of(case, lesion, one).items() if not why_not(name)} for one in lesion.images
    )
    images = [[one.id, one.content, _mask_of(one), row] for one, row in zip(lesion.images, rows, strict=True)]
    return hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()


def row_of(case: Case, lesion: CaseLesion | None, image: CaseImage) -> dict[str, str]:
    """Put what a case knows into the columns of the harmonised table.

    Column to text, what is known only. Also guesses: they are the best that is known.
    """
    from napari_melanoma.data.table_schema import column_named

    parts = [case.patient, *([lesion] if lesion else []), image]
    names = ((part, name) for part in parts for name in type(part).model_fields if column_named(name))
    return {name: text for part, name in names if (text := _text(part, name))}


def keep_answers(store: CaseStore, answers: CaseAnswers) -> Path:
    """Write the answers into the case folder."""
    if store.read_only:
        raise SaveError(f"cannot save answers in {store.folder}: {store.read_only}")
    write_json(store.folder / ANSWERS, answers.to_json())
    return store.folder / ANSWERS


def read_answers(folder: Path) -> CaseAnswers | None:
    """Read the answers of a case.

    None where it was never asked for.
    """
    path = folder / ANSWERS
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        if values["version"] != VERSION:
            raise InputError(f"{path} is of version {values['version']}, expected {VERSION}. Answer the case again.")
        return CaseAnswers.from_json(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {path}: {reason_of(error)}. Answer the case again.") from error


def _mask_of(image: CaseImage) -> str:
    """Which mask of an image counts now."""
    if image.correction:
        return image.correction.digest
    return image.current.created if image.current else ""


def _text(part: Any, name: str) -> str:  # noqa: ANN401 - patient, lesion or image
    """A value as text; nothing for what holds several, such as the images of a lesion."""
    value = getattr(part, name)
    return part.cell(name) if isinstance(value, str | float | int) else ""
