"""A case looked over: whether its images, corrections and results are there and fit each other, and what is open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.case.image_metadata import Note
from napari_melanoma.case.model import Case, CaseImage, CasePart
from napari_melanoma.case.store import CaseStore, content_digest, read_correction
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.io.photographs import read_image_size
from napari_melanoma.io.results import read_object
from napari_melanoma.lesion.results import read_result
from napari_melanoma.privacy.pseudonyms import SHAPE


@dataclass(frozen=True)
class CaseCheckResult:
    """A case, its ``faults``, which should be mended, and its ``notes``; each is (about what, what is said)."""

    case: Case
    faults: tuple[Note, ...]
    notes: tuple[Note, ...]


def check_case(folder: Path, *, run: RunContext | None = None) -> CaseCheckResult:
    """Look a case over; writes nothing.

    What is wrong, and what is not settled.
    """
    run = run or RunContext()
    store = CaseStore.open_read_only(folder)
    case, faults = store.case, list(store.missing.items())
    images = [image for _, image in case.iterate_images()]
    for image in run.track(images, "looking at images"):
        if image.id not in store.missing:
            faults += ((image.id, said) for said in _find_image_faults(image))
        faults += ((image.id, said) for said in (*_find_result_faults(image), *_find_risk_faults(image)))
    faults += _find_duplicate_ids(case)
    return CaseCheckResult(case, tuple(faults), (*store.found.items(), *_list_notes(case)))


def _find_image_faults(image: CaseImage) -> Iterator[str]:
    """What is wrong with an image that is there, and with its correction."""
    size = None
    try:
        if image.content and content_digest(image.path) != image.content:
            yield f"{image.path.name} was changed since it was added: its masks may not fit any more."
    except InputError as error:
        yield str(error)
    if image.modality != "wsi":
        size = read_image_size(image.path)
        if size is None:
            yield f"{image.path.name} cannot be read as an image: it is damaged, or of a format that is not known."
    if image.correction is None:
        return
    try:
        height, width = read_correction(image.correction).shape
    except MelanomaError as error:
        yield str(error)
        return
    if size is not None and sorted(size) != sorted((width, height)):  # an image may lie on its side
        yield f"its corrected mask is {width} x {height} pixels, the image {size[0]} x {size[1]}: draw it again."


def _find_result_faults(image: CaseImage) -> Iterator[str]:
    """Results of an image that are missing or damaged."""
    for result in image.results:
        try:
            read_result(result.path)
        except InputError as error:
            yield f"a result is missing or damaged: {error} Analyse the image again."


def _find_risk_faults(image: CaseImage) -> Iterator[str]:
    """The whole answer of a risk that is missing."""
    if image.risk is not None and not read_object(image.risk.path):
        yield (
            f"its risk, {image.risk.path.name}, is missing or damaged: the case holds what is shown of it. Estimate it "
            "again in the Slide dock."
        )


def _find_duplicate_ids(case: Case) -> Iterator[Note]:
    """Ids that were given twice, as by somebody who edits the file."""
    ids = [lesion.id for lesion in case.lesions] + [image.id for _, image in case.iterate_images()]
    for name, count in Counter(ids).items():
        if count > 1:
            yield name, f"{count} lesions or images have this id: give each its own."


def _list_notes(case: Case) -> Iterator[Note]:
    """What is not settled, and what is worth knowing."""
    yield from _note_unconfirmed(case)
    patient_id = case.patient.patient_id
    if patient_id and not SHAPE.fullmatch(patient_id):
        yield "patient", f"{patient_id} has not the form of a pseudonym: see that it names nobody."
    for lesion in case.lesions:
        if not lesion.images:
            yield lesion.id, "has no image."
    if case.images:
        yield "case", f"{format_count(len(case.images), 'image')} of no lesion yet."
    for _, image in case.iterate_images():
        if image.results and image.current is None:
            yield image.id, "no result rests on the mask that counts now: save it again."
    kept = [key for part in _list_parts(case) for key in part.more] + list(case.more)
    if kept:
        yield "case", f"keys of another version are kept: {', '.join(dict.fromkeys(kept))}."


def _note_unconfirmed(case: Case) -> Iterator[Note]:
    """How many guesses nobody has confirmed."""
    guesses = sum(len(part.guesses) for part in _list_parts(case))
    if guesses:
        yield "case", f"{format_count(guesses, 'value')} guessed and not confirmed."


def _list_parts(case: Case) -> Iterator[CasePart]:
    """Patient, lesions and images."""
    yield case.patient
    yield from case.lesions
    yield from (image for _, image in case.iterate_images())
