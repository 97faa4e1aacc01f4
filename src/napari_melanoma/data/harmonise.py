"""A table in anybody's columns and words becomes one in ours, row by row; no row is lost and none is doubled.

What cannot be understood stays as it was in ``<column>_as_given`` and is counted; harmonising twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from napari_melanoma.data.cells import leads_out, stem_of, with_unit
from napari_melanoma.data.column_names import Meaning, meanings
from napari_melanoma.data.harmonise_report import HarmoniseReport, Tally
from napari_melanoma.data.harmonise_steps import Cell, Outcome, step_of
from napari_melanoma.data.table_schema import NAMES

REMEMBERED = 1 << 14  # answers of a step: most columns have few different words

Row = Mapping[str, str]


@dataclass(frozen=True)
class Harmonised:
    """Rows in our columns and words, in their order, and what was met on the way.

    Cells that say nothing are left out of a row.
    """

    rows: list[dict[str, str]]
    report: HarmoniseReport


def harmonise(rows: Iterable[Row], source: str = "") -> Harmonised:
    """Bring rows to our columns and words.

    A row for each, in their order.
    """
    at_work = Harmoniser(source)
    return Harmonised([at_work.row(row) for row in rows], at_work.report())


class _Step(NamedTuple):
    """Columns of a table that are understood together, and what understands their texts."""

    columns: tuple[str, ...]
    answer: Callable[[tuple[str, ...]], Outcome]


class _Plan(NamedTuple):
    """What the columns of a table mean: what stays, what names the image, and the steps of the others."""

    stays: tuple[str, ...]
    ids: tuple[str, ...]
    steps: tuple[_Step, ...]


class Harmoniser:
    """Harmonises rows that come one by one, so that a large table need not be in memory."""

    def __init__(self, source: str = "") -> None:
        self.source = source
        self._tally = Tally()
        self._plans: dict[tuple[tuple[str, ...], str], _Plan] = {}

    def report(self) -> HarmoniseReport:
        """Say what was met so far."""
        return self._tally.report()

    def row(self, row: Row) -> dict[str, str]:
        """Bring a row to our columns and words.

        Ours first, then the others; cells that say nothing are left out.
        """
        given = {name: text for name, cell in row.items() if (text := cell.strip())}
        source = "" if given.get("source") else self.source  # a row that names its source was harmonised before
        stays, ids, steps = self._plan(tuple(row), source)
        found: dict[str, str] = {}
        other: dict[str, str] = {}
        faults: list[tuple[str, str, str]] = []
        for columns, answer in steps:
            texts = tuple([given.get(column, "") for column in columns])
            if any(texts):
                outcome = answer(texts)
                found |= outcome.found
                if outcome.other or outcome.disagreements or outcome.faults:
                    other |= outcome.other
                    faults += outcome.faults
                    self._tally.count_disagreements(outcome.disagreements)
        if self.source:
            found.setdefault("source", self.source)
        found |= {column: given[column] for column in stays if column in given}
        found |= other
        self._note_renamed([given[column] for column in ids if column in given], found.get("image_id", ""))
        self._tally.row(given, found, faults)
        return found

    def _note_renamed(self, texts: Iterable[str], image_id: str) -> None:
        """Note an id that named a place outside its folder, and of which the last part is left."""
        for text in texts:
            if leads_out(text) and image_id == stem_of(text) != text:
                self._tally.rename(text, image_id)

    def stays(self, row: Row) -> tuple[str, ...]:
        """Say which columns stay under their own names.

        In their order.
        """
        return self._plan(tuple(row), "" if row.get("source", "").strip() else self.source).stays

    def _plan(self, names: tuple[str, ...], source: str) -> _Plan:
        """What the columns mean; found out once for rows with the same columns."""
        key = (names, source)
        if key not in self._plans:
            meant = {name: meanings(name, source) for name in names}
            self._tally.columns.update(
                {name: tuple(meaning.ours for meaning in means) for name, means in meant.items()}
            )
            stays = [name for name, means in meant.items() if not means or any(meaning.keeps for meaning in means)]
            ids = [name for name, means in meant.items() if any(meaning.ours == "image_id" for meaning in means)]
            self._plans[key] = _Plan(tuple(stays), tuple(ids), tuple(_steps(meant, source)))
        return self._plans[key]


def _steps(meant: Mapping[str, tuple[Meaning, ...]], source: str) -> Iterable[_Step]:
    """The steps for the columns of a table, in the order of the schema."""
    pairs = [(name, meaning) for name, means in meant.items() for meaning in means]
    order = {name: place for place, name in enumerate(NAMES)}
    # Our own columns first: what is understood ends there, and has to come first the next time too.
    pairs.sort(key=lambda pair: (pair[1].rank > 0, order.get(pair[1].ours, len(order)), pair[1].ours, pair[1].rank))
    grouped: dict[str, list[tuple[str, Meaning]]] = {}
    for name, meaning in pairs:
        grouped.setdefault(step_of(meaning.ours)[0], []).append((name, meaning))
    return [_step(group, source) for group in grouped.values()]


def _step(group: list[tuple[str, Meaning]], source: str) -> _Step:
    """One step, which remembers its answers."""
    understand = step_of(group[0][1].ours)[1]

    @lru_cache(maxsize=REMEMBERED)
    def answer(texts: tuple[str, ...]) -> Outcome:
        told = ((name, text, meaning) for (name, meaning), text in zip(group, texts, strict=True) if text)
        return understand((Cell(name, with_unit(text, meaning.unit), meaning) for name, text, meaning in told), source)

    return _Step(tuple(name for name, _ in group), answer)
