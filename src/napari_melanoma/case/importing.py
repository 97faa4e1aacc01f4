"""Cases gathered from files, and made without a window."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.case.edits import set_patient
from napari_melanoma.case.image_metadata import (
    CaseTable,
    FoundImage,
    Note,
    file_images,
    is_other_patient,
    merge_metadata,
    parse_name_metadata,
    read_case_table,
    read_header_metadata,
)
from napari_melanoma.case.model import Case, CaseImage
from napari_melanoma.case.store import CASE, CORRECTIONS, RESULTS, CaseStore, content_digest
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, SaveError, UnreadableImage, describe_error
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.io.discovery import SLIDE_SUFFIXES, TABLE_SUFFIXES, find_images_and_tables
from napari_melanoma.io.photographs import read_image_size
from napari_melanoma.lesion.results import is_own_output
from napari_melanoma.privacy.pseudonyms import pseudonym

MASK_ENDINGS = ("_mask", "_segmentation", "-mask", " mask")


@dataclass(frozen=True)
class CollectedPatient:
    """One patient that files tell of."""

    name: str
    case: Case
    images: tuple[FoundImage, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class CollectedPatients:
    """What was found: ``patients`` in the order found, at least one, and ``notes`` on the files and tables."""

    patients: tuple[CollectedPatient, ...]
    notes: tuple[Note, ...] = ()


def collect_patients(
    paths: Iterable[Path | str], *, mapping: TableMapping | None = None, run: RunContext | None = None
) -> CollectedPatients:
    """Find images, and what names, headers and tables say of them, their lesions and patients, as guesses.

    Tables count before headers, headers before names. Images without a patient belong to the one patient that
    is named, where it is one.

    At least one patient, who may have no name.
    """
    run = run or RunContext()
    named = [Path(os.path.normpath(Path(path).expanduser().absolute())) for path in paths]
    files = find_images_and_tables(named)
    csvs = [path for path in files if path.suffix.lower() in TABLE_SUFFIXES]
    notes: list[Note] = []
    known, images = set(files), _select_images(files, notes)
    tables = [read_case_table(path, images, mapping) for path in run.track(csvs, "reading tables")]
    notes += [note for table in tables for note in table.notes]
    images += _select_images({path: None for table in tables for path in table.images if path not in known}, notes)
    if not images:
        raise InputError(f"{_format_paths(named)} holds no image. Name a folder of images, or a table that names some.")
    by_patient: dict[str, list[FoundImage]] = {}
    for path in run.track(images, "looking at images"):
        found = _inspect_image(path, named, tables, notes)
        if found:
            by_patient.setdefault(pseudonym(found.metadata.patient), []).append(found)
    if not by_patient:
        raise InputError(f"{_format_paths(named)} holds no image that can be read: {_first_left_out(notes)}")
    notes += _note_rows_without_image(tables, images)
    patients = tuple(
        _create_patient(patient_id, found) for patient_id, found in _assign_unnamed_images(by_patient, notes).items()
    )
    return CollectedPatients(patients, tuple(dict.fromkeys(notes)))


def _select_images(files: Iterable[Path], notes: list[Note]) -> list[Path]:
    """Files that are images of a patient: no tables, no masks, nothing that this program wrote."""
    images, masks = [], Counter[Path]()
    for path in dict.fromkeys(files):
        if path.suffix.lower() in TABLE_SUFFIXES or is_own_output(path) or _is_case_file(path):
            continue
        if path.stem.lower().endswith(MASK_ENDINGS) or path.parent.name.lower().startswith("masks"):
            masks[path.parent] += 1
        else:
            images.append(path)
    notes += [
        (folder.name, f"{count} of its files look like masks and were left out.") for folder, count in masks.items()
    ]
    return images


def _is_case_file(path: Path) -> bool:
    """Whether a file is a mask or a result in the folder of a case."""
    return any(
        parent.name in (CORRECTIONS, RESULTS) and (parent.parent / CASE).is_file() for parent in path.parents[:2]
    )


def _inspect_image(path: Path, named: list[Path], tables: Iterable[CaseTable], notes: list[Note]) -> FoundImage | None:
    """One image with all that is said of it; None for what is none, such as the label of a slide."""
    try:
        headers = read_header_metadata(path)
        if not path.name.lower().endswith(SLIDE_SUFFIXES) and read_image_size(path) is None:
            raise UnreadableImage("it holds no image that can be read.")
        image = CaseImage(id="", path=path.absolute(), content=content_digest(path))
    except Exception as error:  # noqa: BLE001 - whatever a library raises is of this file; the others go on
        notes.append((path.name, f"was left out: {describe_error(error)}"))
        return None
    rows = (table.image_metadata(path) for table in tables)
    return FoundImage(image, merge_metadata((*rows, *headers, parse_name_metadata(_relative_to_named(path, named)))))


def _relative_to_named(path: Path, named: list[Path]) -> Path:
    """A path from the folder on that was named, so that folders above it say nothing."""
    folder = next((folder for folder in named if path.is_relative_to(folder) and path != folder), path.parent)
    return Path(folder.name) / path.relative_to(folder)


def _assign_unnamed_images(
    by_patient: Mapping[str, list[FoundImage]], notes: list[Note]
) -> dict[str, list[FoundImage]]:
    """Give images of nobody to the patient, where there is but one."""
    named = [patient_id for patient_id in by_patient if patient_id]
    if len(named) != 1 or "" not in by_patient:
        return dict(by_patient)
    notes.append(("patient", f"{len(by_patient[''])} of the images name none: taken for those of the only one named."))
    return {named[0]: [found for images in by_patient.values() for found in images]}


def _create_patient(patient_id: str, found: list[FoundImage]) -> CollectedPatient:
    """A new case of one patient."""
    filed = file_images(Case(), found)
    case = filed.case
    named = next((one.metadata for one in found if one.metadata.patient), None)
    if named is not None:
        guesses = {**case.patient.guesses, "patient_id": named.origins["patient"]}
        case = set_patient(case, patient_id=patient_id, guesses=guesses)
    return CollectedPatient(named.patient if named else "", case, tuple(found), filed.notes)


def _note_rows_without_image(tables: Iterable[CaseTable], images: Iterable[Path]) -> list[Note]:
    """Say how many rows of a table name no image that is here."""
    notes = []
    for table in tables:
        missing = table.count_rows_without(images)
        if missing:
            notes.append((table.path.name, f"{missing} of {table.count} rows name no image that is here."))
    return notes


def _first_left_out(notes: list[Note]) -> str:
    """What is said of the first file that was left out."""
    about, said = next((note for note in notes if "left out" in note[1]), ("", "it was left out."))
    return f"{about} {said}"


def _format_paths(paths: list[Path]) -> str:
    """The first of some paths, for a message."""
    return ", ".join(str(path) for path in paths[:3]) + (" ..." if len(paths) > 3 else "")


MAX_NAMED = 8  # patients that a message names


@dataclass(frozen=True)
class ImportedCase:
    """A case as it was saved, how many images are new in it, and notes (about what, what is said)."""

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
    """Make a case from files, or add what is new in them to the case that is there."""
    gathered = collect_patients(paths, mapping=mapping, run=run)
    if not (folder / CASE).is_file():
        chosen = _choose_patient(gathered, patient)
        with CaseStore.create(folder, chosen.case) as store:
            notes = (*gathered.notes, *_note_other_patients(gathered, chosen), *chosen.notes)
            return ImportedCase(store.case, store.case.images_numbered, notes)
    with CaseStore.open(folder) as store:
        if store.read_only:
            raise SaveError(f"cannot add to the case in {folder}: {store.read_only}")
        chosen = _choose_patient(gathered, patient, store.case.patient.patient_id)
        if not patient and is_other_patient(store.case, chosen.name):
            raise InputError(
                f"the case in {folder} is of {store.case.patient.patient_id}, and these images are of {chosen.name}. "
                "Name another folder, or the patient with --patient where they are the same person."
            )
        filed = file_images(store.case, chosen.images)
        more = filed.case.images_numbered - store.case.images_numbered
        store.save(filed.case)
        return ImportedCase(filed.case, more, (*gathered.notes, *_note_other_patients(gathered, chosen), *filed.notes))


def _choose_patient(gathered: CollectedPatients, named: str, pseudonymous: str = "") -> CollectedPatient:
    """The patient who is meant: the one of that name or pseudonym, or the only one."""
    found = gathered.patients
    if named:
        meant = [one for one in found if named in (one.name, one.case.patient.patient_id)]
    else:
        meant = [one for one in found if pseudonymous == one.case.patient.patient_id != ""] or list(found)
    if len(meant) == 1:
        return meant[0]
    names = ", ".join(one.name or "(images of nobody)" for one in found[:MAX_NAMED])
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    said = f"there is no patient '{named}' among" if named else "a case is one patient, and here are"
    raise InputError(f"{said} {len(found)}: {names}{more}. Name one with --patient.")


def _note_other_patients(gathered: CollectedPatients, chosen: CollectedPatient) -> list[Note]:
    """Say how many images are of other patients than the one who was chosen."""
    others = sum(len(one.images) for one in gathered.patients if one is not chosen)
    return [("patient", f"{others} of the images are of others, or of nobody, and were left out.")] if others else []
