"""Saving from the dock: the result folder and the row of ``results.csv`` that the command line writes as well."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.ui.job import Work
    from napari_melanoma.ui.lesion_state import Lesion
    from napari_melanoma.workflows.lesion import LesionResult

TABLE = "results.csv"


@dataclass(frozen=True)
class Target:
    """Whose result is saved: the identity of its layer, the fingerprint of its pixels, and the name it has now."""

    identity: str
    image_digest: str
    name: str


def place(folder: Path, name: str) -> Path:
    """Say where the result of a photograph goes.

    Parameters
    ----------
    folder : pathlib.Path
        The folder that the user chose.
    name : str
        Of the photograph's layer.

    Returns
    -------
    pathlib.Path
        A folder in it; characters that no file name can have become ``_``.
    """
    return folder / (re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(" .")[:120] or "photograph")


def to_save(target: Target, saved: Path, lesion: Lesion) -> Work:
    """Prepare to save a lesion as it is now.

    Parameters
    ----------
    target : Target
        Whose result it is.
    saved : pathlib.Path
        The result's own folder, replaced where it exists.
    lesion : Lesion
        What is known of it.

    Returns
    -------
    callable
        For a thread; does what ``save`` does.
    """
    result = lesion.result
    return lambda run: save(result, target.name, saved)


def save(result: LesionResult, name: str, saved: Path) -> Path:
    """Save a result and put its measurements into the table beside it; meant for a thread.

    Parameters
    ----------
    result : LesionResult
        What to save.
    name : str
        Of the photograph's layer, as it is now.
    saved : pathlib.Path
        The result's own folder, as ``place`` gives it.

    Returns
    -------
    pathlib.Path
        The result's own folder.

    Raises
    ------
    SaveError
        Where it cannot be written; nothing half-written is left.
    InputError
        Where the folder has a ``results.csv`` that is something else.
    """
    from napari_melanoma.analysis.measurements import MEASUREMENT_COLUMNS
    from napari_melanoma.workflows.batch import COLUMNS, NO_LESION
    from napari_melanoma.workflows.lesion import save_lesion
    from napari_melanoma.workflows.result_table import ResultTable

    table = ResultTable(saved.parent / TABLE, (*COLUMNS, *MEASUREMENT_COLUMNS))
    save_lesion(replace(result, photograph=replace(result.photograph, name=name)), saved)
    size = result.photograph.pixel_size
    height, width = result.mask.shape
    notes = ("corrected by hand" * result.corrected, NO_LESION * (not result.measurements))
    about = {
        "image": saved.name,
        "file": name,
        "status": "done",
        "note": "; ".join(filter(None, notes)),
        "warning": result.warning,
        "looks_like": result.looks and result.looks.kind,
        "model": result.model.name,
        "threshold": result.threshold,
        "height_px": height,
        "width_px": width,
        "pixel_height_um": size and size.y_um,
        "pixel_width_um": size and size.x_um,
    }
    table.put({**about, **result.measurements})
    table.write()
    return saved
