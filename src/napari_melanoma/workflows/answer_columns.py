"""Names of the columns in which tables hold an answer; a module, as several files are written and read with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

OLD = "probability_{}"  # until 2026-11-21 the class stood there as it is, with spaces


def probability_columns(classes: Iterable[str]) -> dict[str, str]:
    """Name the column of each class's probability, so that every program can read it.

    Class to column, such as ``probability_seborrheic_keratosis``. Two classes never share a column.
    """
    found: dict[str, str] = {}
    for name in classes:
        safe = re.sub(r"\W+", "_", name).strip("_") or "class"
        column, number = f"probability_{safe}", 2
        while column in found.values():
            column, number = f"probability_{safe}_{number}", number + 1
        found[name] = column
    return found


def bound_columns(positive: str, classes: Iterable[str]) -> tuple[str, str]:
    """Name the columns of the interval around the positive class's probability."""
    column = probability_columns(classes).get(positive, "probability")
    return f"{column}_low", f"{column}_high"


def used_column(field: str) -> str:
    """Name the column that says what of the patient an answer went by.

    Such as ``used_age``; apart from the columns of measurements and of the user's own.
    """
    return f"used_{field}"


def renamed(classes: Iterable[str], positive: str) -> dict[str, str]:
    """Say what columns of older files are called now.

    Old name to new name, of those that changed.
    """
    classes = tuple(classes)
    pairs = {OLD.format(name): column for name, column in probability_columns(classes).items()}
    ends = zip(("low", "high"), bound_columns(positive, classes), strict=True)
    pairs |= {f"{OLD.format(positive)}_{end}": column for end, column in ends}
    return {old: column for old, column in pairs.items() if old != column}


def probabilities_in(row: Mapping[str, str], classes: Iterable[str]) -> list[float]:
    """Read the probability of each class, also from a row that an older version wrote.

    In their order.
    """
    columns = probability_columns(classes)
    return [float(row[column if column in row else OLD.format(name)]) for name, column in columns.items()]
