"""From the rows of a classification to what it learns from: answers and an encoding, kept in the run folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json, reason_of
from napari_melanoma.core.tabular import TabularEncoding
from napari_melanoma.data.features.encoding import possible_number, understand
from napari_melanoma.data.features.fitting import fit
from napari_melanoma.data.features.reading import number_of
from napari_melanoma.training.class_batch import UNANSWERED, ClassData, ClassPart
from napari_melanoma.training.class_rows import ClassTable, key_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.training.classifying import ClassificationConfig
    from napari_melanoma.training.run_data import DataRow

CLASSES = "classes.json"


def write_classes(
    folder: Path,
    table: ClassTable,
    rows: Sequence[DataRow],
    asked: ClassificationConfig,
    fitted: TabularEncoding | None,
) -> None:
    """Keep what the rows of a run say, so that a resumed run learns from the same answers."""
    learnt = [table.rows[key_of(row.sample)] for row in rows if row.part == "learn"]
    encoding = fitted or (fit(learnt, asked.tabular, asked.target) if asked.tabular else None)
    depth = asked.depth.column if asked.depth else ""
    fields = encoding.fields if encoding else ()
    found: dict[str, Any] = {
        "names": table.names,
        "encoding": encoding.model_dump(mode="json") if encoding else None,
        "fields": fields,
        "rows": [
            [
                UNANSWERED if row.part == "unlabelled" else table.label(row.sample),
                *(table.rows[key_of(row.sample)].get(name, "") for name in fields),
            ]
            for row in rows
        ],
        "depth": [_depth(table.rows[key_of(row.sample)].get(depth, ""), depth) for row in rows] if depth else [],
    }
    write_json(folder / CLASSES, found)


def _depth(cell: str, column: str) -> str:
    """Return the cell, "" where it holds no possible depth."""
    return "" if math.isnan(possible_number(cell, column)) else cell


def read_run_classes(folder: Path, rows: Sequence[DataRow]) -> ClassData:
    """Read what the rows of a run say."""
    found, said = _read(folder / CLASSES, rows)
    encoding = TabularEncoding.parse(found["encoding"], str(folder / CLASSES)) if found["encoding"] else None
    domains = tuple(sorted({row.sample.domain for row in rows}))
    cells_of_depth = found.get("depth") or [None] * len(rows)  # runs from before depths were learnt have none
    depths = dict(zip(map(id, rows), map(number_of, cells_of_depth), strict=True))

    def part(name: str) -> ClassPart:
        chosen = [row for row in rows if row.part == name]
        cells = [said[id(row)] for row in chosen]
        return ClassPart(
            labels=np.array([cell[0] for cell in cells], np.int64),
            values=understand([dict(zip(found["fields"], cell[1:], strict=True)) for cell in cells], encoding)
            if encoding
            else None,
            domains=np.array([domains.index(row.sample.domain) for row in chosen], np.int64),
            depth_mm=np.array([depths[id(row)] for row in chosen], np.float64),
        )

    return ClassData(tuple(found["names"]), encoding, domains, part("learn"), part("tuning"), part("unlabelled"))


def read_held_out(
    folder: Path, rows: Sequence[DataRow]
) -> tuple[NDArray[np.intp], dict[tuple[str, str], dict[str, str]]]:
    """Read what is known of the images that a run has held out.

    Int (image,), places of their classes, in the order of the rows.
    """
    found, said = _read(folder / CLASSES, rows)
    chosen = [row for row in rows if row.part == "held_out"]
    labels = np.array([said[id(row)][0] for row in chosen], np.intp)
    return labels, {
        key_of(row.sample): dict(zip(found["fields"], map(str, said[id(row)][1:]), strict=True)) for row in chosen
    }


def _read(path: Path, rows: Sequence[DataRow]) -> tuple[dict[str, Any], dict[int, list[Any]]]:
    """Content of ``classes.json``, and what it says of each row by its identity."""
    try:
        found = read_json(path)
        return found, dict(zip(map(id, rows), found["rows"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path}, the answers of the run's images, cannot be read ({reason_of(error)}). Start a new run in "
            "another folder."
        ) from error
