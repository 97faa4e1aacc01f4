"""A case made, or added to, without a window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.case.files import CASE
from napari_melanoma.data.case.filing import Note, file_images, is_of_another
from napari_melanoma.data.case.model import Case
from napari_melanoma.data.case.store import CaseStore
from napari_melanoma.data.mapping import Mapping
from napari_melanoma.workflows.case import Gathered, GatheredPatient, gather

NAMED = 8  # patients that a message names


@dataclass(frozen=True)
class MadeCase:
    """A case as it was saved, how many images are new in it, and notes (about what, what is said)."""

    case: Case
    added: int
    notes: tuple[Note, ...] = ()


def make_case(
    folder: Path,
    paths: Iterable[Path | str],
    *,
    patient: str = "",
    mapping: Mapping | None = None,
    run: RunContext | None = None,
) -> MadeCase:
    """Make a case from files, or add what is new in them to the case that is there."""
    gathered = gather(paths, mapping=mapping, run=run)
    if not (folder / CASE).is_file():
        chosen = _chosen(gathered, patient)
        with CaseStore.create(folder, chosen.case) as store:
            notes = (*gathered.notes, *_left_out(gathered, chosen), *chosen.notes)
            return MadeCase(store.case, store.case.images_numbered, notes)
    with CaseStore.open(folder) as store:
        if store.read_only:
            raise SaveError(f"cannot add to the case in {folder}: {store.read_only}")
        chosen = _chosen(gathered, patient, store.case.patient.patient_id)
        if not patient and is_of_another(store.case, chosen.called):
            raise InputError(
                f"the case in {folder} is of {store.case.patient.patient_id}, and these images are of {chosen.called}. "
                "Name another folder, or the patient with --patient where they are the same person."
            )
        filed = file_images(store.case, chosen.found)
        more = filed.case.images_numbered - store.case.images_numbered
        store.save(filed.case)
        return MadeCase(filed.case, more, (*gathered.notes, *_left_out(gathered, chosen), *filed.notes))


def _chosen(gathered: Gathered, named: str, pseudonymous: str = "") -> GatheredPatient:
    """The patient who is meant: the one of that name or pseudonym, or the only one."""
    found = gathered.patients
    if named:
        meant = [one for one in found if named in (one.called, one.case.patient.patient_id)]
    else:
        meant = [one for one in found if pseudonymous == one.case.patient.patient_id != ""] or list(found)
    if len(meant) == 1:
        return meant[0]
    names = ", ".join(one.called or "(images of nobody)" for one in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    said = f"there is no patient '{named}' among" if named else "a case is one patient, and here are"
    raise InputError(f"{said} {len(found)}: {names}{more}. Name one with --patient.")


def _left_out(gathered: Gathered, chosen: GatheredPatient) -> list[Note]:
    """Say how many images are of other patients than the one who was chosen."""
    others = sum(len(one.found) for one in gathered.patients if one is not chosen)
    return [("patient", f"{others} of the images are of others, or of nobody, and were left out.")] if others else []
