"""Check a case for missing or inconsistent images, corrections and results, and for open questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.case.image_assignment import Note
from napari_melanoma.case.model import Case, CaseImage
from napari_melanoma.case.store import CaseStore, read_correction
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.io.photographs import read_image_size
from napari_melanoma.lesion.results import read_result
from napari_melanoma.privacy.pseudonyms import SHAPE


@dataclass(frozen=True)
class CaseCheckResult:
    """A checked case.

    ``faults``: should be corrected. ``notes``: open questions and other remarks. Both are pairs (subject, message).
    """

    case: Case
    faults: tuple[Note, ...]
    notes: tuple[Note, ...]


def check_case(folder: Path, *, run: RunContext | None = None) -> CaseCheckResult:
    """Check the case in a folder without changing it."""
    run = run or RunContext()
    store = CaseStore.open_read_only(folder)
    case, faults = store.case, list(store.missing.items())
    images = [image for _, image in case.iterate_images()]
    for image in run.track(images, "checking images"):
        if image.id not in store.missing:
            faults += ((image.id, message) for message in _find_image_faults(image))
        faults += ((image.id, message) for message in (*_find_result_faults(image), *_find_risk_faults(image)))
    faults += _find_duplicate_ids(case)
    return CaseCheckResult(case, tuple(faults), tuple(_list_notes(case)))


def _find_image_faults(image: CaseImage) -> Iterator[str]:
    """Yield the faults of an existing image and of its corrected mask."""
    size = None
    if image.modality != "wsi":
        size = read_image_size(image.path)
        if size is None:
            yield f"{image.path.name} cannot be read as an image: it is damaged or has an unknown format."
    if image.correction is None:
        return
    try:
        height, width = read_correction(image.correction).shape
    except MelanomaError as error:
        yield str(error)
        return
    if size is not None and sorted(size) != sorted((width, height)):  # sorted: the header may rotate an image
        yield f"its corrected mask has {width} x {height} pixels, the image {size[0]} x {size[1]}: draw it again."


def _find_result_faults(image: CaseImage) -> Iterator[str]:
    for result in image.results:
        try:
            read_result(result.path)
        except InputError as error:
            yield f"a result is missing or damaged: {error} Analyze the image again."


def _find_risk_faults(image: CaseImage) -> Iterator[str]:
    """Yield a fault if the file with the complete risk prediction of a slide is missing."""
    if image.risk is not None and not read_object_or_empty(image.risk.path):
        yield (
            f"its risk, {image.risk.path.name}, is missing or damaged: the case contains only a summary. Estimate it "
            "again in the Slide dock."
        )


def _find_duplicate_ids(case: Case) -> Iterator[Note]:
    """Yield the ids that occur several times, for example in a file that was edited by hand."""
    ids = [lesion.id for lesion in case.lesions] + [image.id for _, image in case.iterate_images()]
    for name, count in Counter(ids).items():
        if count > 1:
            yield name, f"{count} lesions or images have this id: change it so that each id is unique."


def _list_notes(case: Case) -> Iterator[Note]:
    yield from (("case", f"contains values that were read from files. {text}") for text in case.imports)
    patient_id = case.patient.patient_id
    if patient_id and not SHAPE.fullmatch(patient_id):
        yield "patient", f"{patient_id} is not a pseudonym: check that it does not identify a person."
    for lesion in case.lesions:
        if not lesion.images:
            yield lesion.id, "has no image."
    if case.images:
        yield "case", f"{format_count(len(case.images), 'image')} not assigned to a lesion."
    for _, image in case.iterate_images():
        if image.results and image.current is None:
            yield image.id, "no result belongs to the current mask: save it again."
    unknown_keys = [
        *case.patient.more,
        *(key for lesion in case.lesions for key in lesion.more),
        *(key for _, image in case.iterate_images() for key in image.more),
        *case.more,
    ]
    if unknown_keys:
        yield "case", f"keys of another version are preserved: {', '.join(dict.fromkeys(unknown_keys))}."
