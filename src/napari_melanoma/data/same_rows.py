"""Rows of several tables that are about one image, made into one: nothing they know is lost, contradictions are listed.

Which rows those are follows from names that one archive gives to one image for good (``SourceSpec.ids``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from napari_melanoma.data.packed_rows import PackedRow, as_dict
from napari_melanoma.data.sources import sources
from napari_melanoma.data.table_schema import column_named
from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy

OF_THE_SET = ("image_id", "path", "mask_path", "source", "near_duplicate_of", "split", "review")
FAMILIES = (  # who is contradicted in one of these is believed in none
    ("diagnosis", "diagnosis_detail", "diagnosis_by", "target", "melanoma"),
    ("site", "sub_site", "laterality"),
)
ALSO_IN = "also_in"

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """A row with its name and data set; of several about one image the one of the highest ``rank`` is preferred."""

    row: PackedRow
    data_set: str
    image_id: str
    rank: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """That two data sets say different things of one image: what was taken and what was not."""

    image_id: str
    column: str
    taken: str
    taken_from: str
    other: str
    other_from: str


def identity(image_id: str, source: str) -> str:
    """Say which image a row is about."""
    found = _published().fullmatch(image_id)
    return next(filter(None, found.groups())).lower() if found else f"{source}/{image_id}"


@cache
def _published() -> re.Pattern[str]:
    """Names that one archive alone gives; a group inside is what tells images apart."""
    patterns = dict.fromkeys(source.spec.ids for source in sources().values() if source.spec.ids)
    return re.compile("|".join(one if re.compile(one).groups else f"({one})" for one in patterns), re.IGNORECASE)


def groups_of(origins: Sequence[Origin]) -> list[list[Origin]]:
    """Put the rows of each image together.

    In the order of the first row of each; the preferred one of each image first.
    """
    groups: dict[str, list[Origin]] = {}
    for origin in origins:
        name = identity(origin.image_id, origin.row.get("source", origin.data_set))
        group = groups.setdefault(name, [])
        if any(other.data_set == origin.data_set for other in group):
            group = groups.setdefault(f"{name}/{origin.data_set}/{origin.image_id}", [])
        group.append(origin)
    for group in groups.values():
        group.sort(key=lambda origin: origin.rank, reverse=True)
    return list(groups.values())


def united(group: Sequence[Origin]) -> tuple[Row, list[Conflict]]:
    """Make one row of those that are about one image.

    What the preferred one says, and what it leaves open or says less exactly from the others in their order; of a row
    that contradicts it in the diagnosis nothing that follows from a diagnosis is taken, and likewise of the site.
    ``also_in`` names the other data sets. Where another row contradicts what was taken.
    """
    first, *others = group
    row, conflicts = as_dict(first.row), list[Conflict]()
    said_by = dict.fromkeys(row, first.data_set)
    for other in others:
        differ = {c: text for c, text in as_dict(other.row).items() if c not in OF_THE_SET and text != row.get(c)}
        better = {column: _agreed(column, row.get(column, ""), text) for column, text in differ.items()}
        refused = {column for column, agreed in better.items() if agreed is None}
        for family in FAMILIES:
            if not refused.isdisjoint(family):
                refused |= better.keys() & set(family)
        for column, agreed in better.items():
            if column in refused:
                taken = (row.get(column, ""), said_by.get(column, ""))
                conflicts.append(Conflict(first.image_id, column, *taken, differ[column], other.data_set))
            elif agreed and agreed != row.get(column):
                row[column], said_by[column] = agreed, other.data_set
    return row | ({ALSO_IN: " ".join(other.data_set for other in others)} if others else {}), conflicts


def conflict_rows(conflicts: Iterable[Conflict]) -> Iterator[dict[str, object]]:
    """Write conflicts as rows of a table."""
    for one in conflicts:
        yield {column: getattr(one, column) for column in CONFLICT_COLUMNS}


CONFLICT_COLUMNS = ("image_id", "column", "taken", "taken_from", "other", "other_from")


def _agreed(column: str, one: str, other: str) -> str | None:
    """The better of two values that do not contradict each other: the more exact one; None where they do."""
    if not one or one == UNKNOWN:
        return other
    if not other or other == UNKNOWN:
        return one
    return _comparison(column)(one, other)


@cache
def _comparison(column: str) -> Callable[[str, str], str | None]:
    """How two values of a column are compared."""
    known = column_named(column)
    if known is not None and known.kind == "number":
        return _same_number
    if known is not None and known.taxonomy:
        within = taxonomy(known.taxonomy).within
        return lambda one, other: one if within(one, other) else other if within(other, one) else None
    return lambda one, other: one if one == other else None


def _same_number(one: str, other: str) -> str | None:
    """A number that is written in two ways."""
    try:
        return one if float(one) == float(other) else None
    except ValueError:
        return None
