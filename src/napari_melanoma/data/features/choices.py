"""Choices for the columns that a person ticks: numbers or words, and encoded as one of the papers does it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.tabular import NumberColumn, TabularChoices, WordColumn
from napari_melanoma.data.column_names import meant_by_any
from napari_melanoma.data.features.leaks import why_not
from napari_melanoma.data.features.reading import Row, number_of, word_of
from napari_melanoma.data.table_schema import column_named

Style = Literal["embedding", "one_hot", "integer"]

# P3 encodes age and depth one-hot and names no bins. Decades, and the thicknesses that divide T1a, T1b, T2, T3 and T4
# (AJCC Cancer Staging Manual, 8th edition): T1b is 0.8 to 1.0, T2 above 1.0 to 2.0 and so on, to the nearest 0.1 mm.
BINS = {"age": (30.0, 40.0, 50.0, 60.0, 70.0, 80.0), "depth_mm": (0.75, 1.05, 2.05, 4.05)}
WHENCE = re.compile(
    r"source|domain|.*_source|also_in|original_(width|height)|pixels_[xy]|mpp_[xy]"
    r"|slide|level|[xy]_px|(width|height)_px|share"  # where a tile was cut, and how much of it is of its class
)
MOST = 100  # different words: a column with more is a free text
FEW = 10  # different whole numbers: in a column that the schema does not know, so few are codes of something


def eligible(rows: Sequence[Row], target: str = "diagnosis") -> tuple[str, ...]:
    """List the columns of a table that can be ticked.

    In the order of the table: those that do not give the answer away, know two different things at least, and repeat
    their words, unlike a free text. ``source``, ``domain``, the size of the file and the like are left out: they tell
    where an image is from, which a network takes for what it shows.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    allowed = [name for name in names if not (_tells_whence(name) or why_not(name, target))]
    return tuple(name for name in allowed if _says_much(name, rows))


def _tells_whence(name: str) -> bool:
    """Whether a column says where an image is from, under our name or another's."""
    return any(WHENCE.fullmatch(one) for one in (name, *meant_by_any(name)))


def _says_much(name: str, rows: Sequence[Row]) -> bool:
    """Whether a column has several words that come again, or several numbers."""
    words = {word for row in rows if (word := word_of(row.get(name)))}
    return len(words) > 1 and (len(words) <= MOST or _is_number(name, rows))


def choices_for(names: Sequence[str], rows: Sequence[Row], style: Style = "embedding") -> TabularChoices:
    """Choose how columns are encoded.

    To fit, or to change first.
    """
    if not names:
        raise DataSetError("no column was named that a network could learn from. Name some, such as age, sex and site.")
    numbers = [name for name in names if _is_number(name, rows)]
    words = [WordColumn(name=name, encoding=style) for name in names if name not in numbers]
    return TabularChoices(numbers=tuple(_number(name, rows, style) for name in numbers), words=tuple(words))


def _is_number(name: str, rows: Sequence[Row]) -> bool:
    """Whether a column holds numbers that can be counted with."""
    known = column_named(name)
    if known is not None:
        return known.kind == "number"
    cells = [row.get(name) for row in rows]
    found = {number_of(cell) for cell in cells if word_of(cell)}
    codes = len(found) <= FEW and all(number.is_integer() for number in found)
    return not (codes or any(math.isnan(number) for number in found))


def _number(name: str, rows: Sequence[Row], style: Style) -> NumberColumn:
    """Choose for a column of numbers."""
    if style == "integer":
        return NumberColumn(name=name, encoding="integer", missing="unknown")
    edges = (BINS.get(name) or _quartiles(name, rows)) if style == "one_hot" else ()
    if edges:
        return NumberColumn(name=name, encoding="one_hot", missing="unknown", edges=edges)
    return NumberColumn(name=name)


def _quartiles(name: str, rows: Sequence[Row]) -> tuple[float, ...]:
    """Bounds of the quarters of the rows; fewer where many are equal, none where nothing is known."""
    found = np.array([number_of(row.get(name)) for row in rows])
    found = found[~np.isnan(found)]
    bounds = np.quantile(found, [0.25, 0.5, 0.75]).tolist() if found.size else []
    return tuple(bounds[:1]) + tuple(high for low, high in pairwise(bounds) if high > low)
