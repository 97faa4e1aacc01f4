"""What a user asks of cases without a window: gather one from files, keep results in it, look it over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.case.contents import content_digest
from napari_melanoma.data.case.edit import add_images
from napari_melanoma.data.case.model import Case, CaseImage
from napari_melanoma.io.photographs import find_photographs


@dataclass(frozen=True)
class GatheredPatient:
    """One patient that files tell of: a case to take over, and what the files call the patient (never stored)."""

    called: str
    case: Case


@dataclass(frozen=True)
class Gathered:
    """What was found: ``patients`` in the order found, and ``notes`` (about what, what is said) for a person."""

    patients: tuple[GatheredPatient, ...]
    notes: tuple[tuple[str, str], ...] = ()


def gather(paths: Iterable[Path | str], *, run: RunContext | None = None) -> Gathered:
    """Find images and what their names, headers and tables say of lesions and patients, as guesses.

    Parameters
    ----------
    paths : iterable of pathlib.Path or str
        Images, folders, CSV files in harmonised columns.
    run : RunContext, optional
        To report progress and ask whether to go on.

    Returns
    -------
    Gathered
        At least one patient, who may have no name.

    Raises
    ------
    InputError
        Where a path does not exist or nothing is found.
    """
    run = run or RunContext()
    files = find_photographs(paths)
    images = [
        CaseImage(id=path.name, path=path.absolute(), content=content_digest(path))
        for path in run.track(files, "looking at images")
    ]
    return Gathered((GatheredPatient("", add_images(Case(), images)),))
