"""Every lesion of a photograph on a row of its own: the one in the mask, and those that were found beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.analysis.masks import bounding_box
from napari_melanoma.analysis.measurements import MEASUREMENT_COLUMNS, measure
from napari_melanoma.io.results import write_table

if TYPE_CHECKING:
    from napari_melanoma.workflows.lesion import LesionResult

PLACE = ("lesion", "in_mask", "top_px", "left_px", "height_px", "width_px")


def describe_lesions(result: LesionResult) -> list[dict[str, Any]]:
    """Describe each lesion in plain values, as ``result.json`` holds it.

    First the lesions in the mask, then the others, the largest first: number, position, measurements and, where a
    classifier was asked, its prediction for that lesion. Empty where there is one lesion or none.
    """
    if result.lesions_found < 2:
        return []
    photograph, in_mask, rows = result.photograph, len(result.mask_parts), []
    for number, mask in enumerate([*result.mask_parts, *result.other_masks], start=1):
        box = bounding_box(mask)
        assert box is not None
        row = {
            **dict(zip(PLACE, (number, int(number <= in_mask), box.top, box.left, box.height, box.width), strict=True)),
            "measurements": measure(mask, photograph.rgb, photograph.pixel_size),
        }
        if result.each_told:
            row["answer"] = result.each_told[number - 1].to_json()
        rows.append(row)
    return rows


def write_lesions(path: Path, lesions: list[dict[str, Any]]) -> None:
    """Write a table with a row for each lesion."""
    from napari_melanoma.workflows.classified import answer_cells

    rows: list[Mapping[str, object]] = [
        {**{name: row.get(name) for name in PLACE}, **row["measurements"], **answer_cells(row.get("answer"))}
        for row in lesions
    ]
    measured = [name for name in MEASUREMENT_COLUMNS if any(name in row for row in rows)]
    said = dict.fromkeys(name for row in rows for name in row if name not in (*PLACE, *measured))
    write_table(path, rows, (*PLACE, *measured, *said))


def note_on_lesions(count: int) -> str:
    """Say in a table that a photograph has several lesions.

    Empty for one or none.
    """
    return "" if count < 2 else f"{count} lesions found; see lesions.csv of the photograph"
