"""Saving from the dock: the result folder and the row of ``results.csv`` that the command line writes as well."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.ui.job import Work
    from napari_melanoma.ui.lesion.state import Lesion
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

    A folder in it; characters that no file name can have become ``_``.
    """
    return folder / (re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(" .")[:120] or "photograph")


def to_save(target: Target, saved: Path, told: Callable[[str], LesionResult], lesion: Lesion) -> Work:
    """Prepare to save a lesion as it is now.

    For a thread; does what ``save`` does.
    """
    result = told(target.identity)
    return lambda run: save(result, target.name, saved)


def save(result: LesionResult, name: str, saved: Path) -> Path:
    """Save a result, and put its measurements and its answer into the table beside it; meant for a thread."""
    from napari_melanoma.analysis.measurements import MEASUREMENT_COLUMNS
    from napari_melanoma.workflows.answer_columns import renamed
    from napari_melanoma.workflows.batch import COLUMNS, row_of
    from napari_melanoma.workflows.classified import answer_cells
    from napari_melanoma.workflows.lesion import save_lesion
    from napari_melanoma.workflows.result_folders import read_result
    from napari_melanoma.workflows.result_table import ResultTable

    told = result.told
    asked, old = ({}, {}) if told is None else (answer_cells(told.to_json()), renamed(told.classes, told.positive))
    table = ResultTable(saved.parent / TABLE, (*COLUMNS, *asked, *MEASUREMENT_COLUMNS), old)
    save_lesion(replace(result, photograph=replace(result.photograph, name=name)), saved)
    table.put(row_of(saved.name, name, read_result(saved), "corrected by hand" * result.corrected))
    table.write()
    return saved
