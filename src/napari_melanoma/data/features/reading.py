"""Cells of a table as an encoding understands them: text to a number or a word, or to not known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from napari_melanoma.data.cells import says_nothing

Row = Mapping[str, object]
"""Column name to what is in the cell: text as tables have it, or a number; "", None or no such column: not known."""


def number_of(cell: object) -> float:
    """Read a number.

    NaN where it is none that can be counted with.
    """
    try:
        value = float(str(cell))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def word_of(cell: object) -> str:
    """Read a word.

    Without spaces around it and in lower case; "" where it is not known.
    """
    return "" if cell is None else _word(str(cell))


@lru_cache(maxsize=4096)
def _word(text: str) -> str:
    """The word of a text; the cells of a column repeat a few."""
    word = text.strip()
    return "" if says_nothing(word) else word.casefold()
