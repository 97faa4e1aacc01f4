"""The lesions of all slides in a folder of results, as far as their tables tell: area, probability, class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.results import format_cell, read_table
from napari_melanoma.io.slide_folder import LESIONS, read_content

if TYPE_CHECKING:
    from napari_melanoma.analysis.slide_lesions import SlideLesion

PLACES = ("*", "*/*")  # of the slides' folders, and of folders of results below


@dataclass(frozen=True)
class TabledLesion:
    """A row of ``lesions.csv``: ``slide`` is the folder of its slide, ``model`` what was asked about its tiles."""

    slide: Path
    model: str
    index: int
    label: str
    area_px: float
    area_mm2: float | None
    probability: float


def tabled_lesions(root: Path) -> tuple[TabledLesion, ...]:
    """Read the lesions of all slides that were analysed to the end.

    Slide by slide; a table that cannot be read is left out, as is a row without a probability.
    """
    folders = sorted({path.parent for place in PLACES for path in root.glob(f"{place}/{LESIONS}")})
    return tuple(lesion for folder in folders for lesion in _of(folder))


def as_tabled(folder: Path, lesions: Sequence[SlideLesion]) -> tuple[TabledLesion, ...]:
    """Give lesions as their table has them, with its digits: equal values of slides are to stay equal.

    In their order, the name of the model left out.
    """

    def told(value: float | None) -> float:
        return float(format_cell(value) or math.nan)

    return tuple(
        TabledLesion(
            folder,
            "",
            one.index,
            one.label,
            told(one.area_px),
            None if one.area_mm2 is None else told(one.area_mm2),
            told(one.probability),
        )
        for one in lesions
    )


def _of(folder: Path) -> Iterator[TabledLesion]:
    """Rows of one slide."""
    with suppress(InputError, KeyError, ValueError):
        model = str((read_content(folder).get("model") or {}).get("name", ""))
        for row in read_table(folder / LESIONS):
            in_mm2 = float(row["area_mm2"]) if row["area_mm2"] else None
            probability = float(row["probability"] or math.nan)
            if math.isfinite(probability):
                yield TabledLesion(
                    folder, model, int(row["index"]), row["label"], float(row["area_px"]), in_mm2, probability
                )
