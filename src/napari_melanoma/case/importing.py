"""Collect the images of patients from files, and create or extend cases from them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.case.image_assignment import (
    CaseTable,
    CollectedImage,
    ImageMetadata,
    Note,
    describe_day_conflict,
    file_images,
    is_other_patient,
    merge_metadata,
    parse_name_metadata,
    read_case_table,
    read_header_metadata,
)
from napari_melanoma.case.model import Case, CaseImage, set_patient
from napari_melanoma.case.store import CASE, CORRECTIONS, RESULTS, CaseStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, SaveError, UnreadableImage, describe_error
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.paths import expand_user
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.io.discovery import SLIDE_SUFFIXES, TABLE_SUFFIXES, find_images_and_tables, note_left_out
from napari_melanoma.io.photographs import read_image_size
from napari_melanoma.lesion.results import is_own_output
from napari_melanoma.privacy.pseudonyms import pseudonym
from napari_melanoma.slides.reading.detection import is_certainly_slide

MASK_ENDINGS = ("_mask", "_segmentation", "-mask", " mask")
MAX_NAMED = 8  # patients that a message lists


@dataclass(frozen=True)
class CollectedPatient:
    """The images of one patient in a set of files, also as a new case.

    ``name``: as in the files, which is never stored; empty if they name none. ``notes``: (subject, message).
    """

    name: str
    case: Case
    images: tuple[CollectedImage, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class CollectedPatients:
    """The patients in a set of files, at least one; ``notes``: (subject, message), on files and tables."""

    patients: tuple[CollectedPatient, ...]
    notes: tuple[Note, ...] = ()


def collect_patients(
    paths: Iterable[Path | str], *, mapping: TableMapping | None = None, run: RunContext | None = None
) -> CollectedPatients:
    """Find images, and collect metadata about them from tables, headers and file names.

    Tables take precedence over headers, and headers over names. Images without a patient are assigned to the only named
    patient, if there is exactly one. Raise ``InputError`` if there is no image.
    """
    run = run or RunContext()
    selected = [Path(os.path.normpath(expand_user(path).absolute())) for path in paths]
    left_out: list[Path] = []
    files = find_images_and_tables(selected, left_out)
    table_files = [path for path in files if path.suffix.lower() in TABLE_SUFFIXES]
    notes: list[Note] = note_left_out(left_out)
    listed, images = set(files), _select_images(files, notes)
    tables = [read_case_table(path, images, mapping) for path in run.track(table_files, "reading tables")]
    notes += [note for table in tables for note in table.notes]
    images += _select_images([path for table in tables for path in table.images if path not in listed], notes)
    if not images:
        raise InputError(
            f"{_format_paths(selected)} contains no image. Select a folder of images, or a table that lists images."
        )
    by_patient: dict[str, list[CollectedImage]] = {}
    for path in run.track(images, "reading images"):
        image = _inspect_image(path, selected, tables, notes)
        if image:
            by_patient.setdefault(pseudonym(image.metadata.patient), []).append(image)
    if not by_patient:
        raise InputError(f"{_format_paths(selected)} contains no image that can be read: {_first_left_out(notes)}")
    notes += _note_rows_without_image(tables, images)
    by_patient = _assign_unnamed_images(by_patient, notes)
    patients = tuple(_create_patient(patient_id, images) for patient_id, images in by_patient.items())
    return CollectedPatients(patients, tuple(dict.fromkeys(notes)))


def _select_images(files: Iterable[Path], notes: list[Note]) -> list[Path]:
    """Return the files that are images of a patient, not tables, masks or results; add notes about left-out masks."""
    images, masks = [], Counter[Path]()
    for path in dict.fromkeys(files):
        if path.suffix.lower() in TABLE_SUFFIXES or is_own_output(path) or _is_case_file(path):
            continue
        if path.stem.lower().endswith(MASK_ENDINGS) or path.parent.name.lower().startswith("masks"):
            masks[path.parent] += 1
        else:
            images.append(path)
    notes += [(folder.name, f"{count} files that appear to be masks were left out.") for folder, count in masks.items()]
    return images


def _is_case_file(path: Path) -> bool:
    """Return whether a file is a mask or a result in the folder of a case."""
    return any(
        parent.name in (CORRECTIONS, RESULTS) and (parent.parent / CASE).is_file() for parent in path.parents[:2]
    )


def _inspect_image(
    path: Path, selected: list[Path], tables: Iterable[CaseTable], notes: list[Note]
) -> CollectedImage | None:
    """Return an image with its metadata; for other files, such as the label of a slide, add a note and return None."""
    try:
        headers = read_header_metadata(path)
        slide = is_certainly_slide(path)
        if not slide and not path.name.lower().endswith(SLIDE_SUFFIXES) and read_image_size(path) is None:
            raise UnreadableImage("it contains no image that can be read.")
        image = CaseImage(id="", path=path.absolute())
    except Exception as error:  # noqa: BLE001 - any error of a library concerns this file only
        notes.append((path.name, f"was left out: {describe_error(error)}"))
        return None
    rows = [table.image_metadata(path) for table in tables]
    stated = (*rows, *headers, *(table.row_day(path) for table in tables))
    if conflict := describe_day_conflict(stated):
        notes.append((path.name, conflict))
    kind = ImageMetadata.from_source("content", {"modality": "wsi" if slide else ""})
    return CollectedImage(image, merge_metadata((*stated, kind, parse_name_metadata(_make_relative(path, selected)))))


def _make_relative(path: Path, selected: list[Path]) -> Path:
    """Return a path from the selected folder on, since the names of folders above it are no metadata."""
    folder = next((folder for folder in selected if path.is_relative_to(folder) and path != folder), path.parent)
    return Path(folder.name) / path.relative_to(folder)


def _assign_unnamed_images(
    by_patient: Mapping[str, list[CollectedImage]], notes: list[Note]
) -> dict[str, list[CollectedImage]]:
    """Assign images without a patient to the only named patient, if there is exactly one."""
    named = [patient_id for patient_id in by_patient if patient_id]
    if len(named) != 1 or "" not in by_patient:
        return dict(by_patient)
    notes.append(
        (
            "patient",
            f"{format_count(len(by_patient['']), 'image')} without a patient: assigned to the only named patient.",
        )
    )
    return {named[0]: [image for images in by_patient.values() for image in images]}


def _create_patient(patient_id: str, images: list[CollectedImage]) -> CollectedPatient:
    """Create a patient from images; ``patient_id``: pseudonym, empty if the images name no patient."""
    filed = file_images(Case(), images)
    case = filed.case
    named = next((image.metadata for image in images if image.metadata.patient), None)
    if named is not None:
        case = set_patient(case, patient_id=patient_id)
    return CollectedPatient(named.patient if named else "", case, tuple(images), filed.notes)


def _note_rows_without_image(tables: Iterable[CaseTable], images: Iterable[Path]) -> list[Note]:
    notes = []
    for table in tables:
        missing = table.count_rows_without(images)
        if missing:
            notes.append((table.path.name, f"{missing} of {table.count} rows belong to none of the images."))
    return notes


def _first_left_out(notes: list[Note]) -> str:
    about, message = next((note for note in notes if "left out" in note[1]), ("", "it was left out."))
    return f"{about} {message}"


def _format_paths(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths[:3]) + (" ..." if len(paths) > 3 else "")


@dataclass(frozen=True)
class ImportedCase:
    """A saved case, the number of added images, and notes: (subject, message)."""

    case: Case
    added: int
    notes: tuple[Note, ...] = ()


def import_case(
    folder: Path,
    paths: Iterable[Path | str],
    *,
    patient: str = "",
    mapping: TableMapping | None = None,
    run: RunContext | None = None,
) -> ImportedCase:
    """Create a case from files, or add new images to the case in a folder.

    ``patient``: name or pseudonym of the patient to import, required if the files contain several.
    """
    collected = collect_patients(paths, mapping=mapping, run=run)
    if not (folder / CASE).is_file():
        imported = _choose_patient(collected, patient)
        with CaseStore.create(folder, imported.case) as store:
            notes = (*collected.notes, *_note_other_patients(collected, imported), *imported.notes)
            return ImportedCase(store.case, store.case.images_numbered, notes)
    with CaseStore.open(folder) as store:
        if store.read_only:
            raise SaveError(f"cannot add images to the case in {folder}: {store.read_only}")
        imported = _choose_patient(collected, patient, store.case.patient.patient_id)
        if not patient and is_other_patient(store.case, imported.name):
            raise InputError(
                f"the case in {folder} belongs to {store.case.patient.patient_id}, but these images belong to "
                f"{imported.name}. Choose another folder, or, if it is the same person, name the patient (command "
                "line: --patient)."
            )
        filed = file_images(store.case, imported.images)
        added = filed.case.images_numbered - store.case.images_numbered
        store.save(filed.case)
        notes = (*collected.notes, *_note_other_patients(collected, imported), *filed.notes)
        return ImportedCase(filed.case, added, notes)


def _choose_patient(collected: CollectedPatients, requested: str, patient_id: str = "") -> CollectedPatient:
    """Return the requested patient, else the patient of the case, else the only patient.

    ``requested``: name or pseudonym, empty if none is requested. ``patient_id``: pseudonym in the case. Raise
    ``InputError`` if this does not identify one patient.
    """
    patients = collected.patients
    if requested:
        candidates = [one for one in patients if requested in (one.name, one.case.patient.patient_id)]
    else:
        candidates = [one for one in patients if patient_id == one.case.patient.patient_id != ""] or list(patients)
    if len(candidates) == 1:
        return candidates[0]
    names = ", ".join(one.name or "(images without a patient)" for one in patients[:MAX_NAMED])
    unlisted = f" and {len(patients) - MAX_NAMED} more" if len(patients) > MAX_NAMED else ""
    problem = f"there is no patient '{requested}' among" if requested else "a case contains one patient, but there are"
    raise InputError(f"{problem} {len(patients)}: {names}{unlisted}. Choose one (command line: --patient).")


def _note_other_patients(collected: CollectedPatients, imported: CollectedPatient) -> list[Note]:
    count = sum(len(one.images) for one in collected.patients if one is not imported)
    return [("patient", f"{count} images of other patients or without a patient were left out.")] if count else []
