"""Harmonize a table: each row brought to our columns and words, with a report of what was not understood."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.csv_files import CsvWriter
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.wording import first_few
from napari_melanoma.data.cells import (
    NOWHERE,
    Diagnosis,
    Meaning,
    diagnosis_word,
    is_exact,
    joined,
    leads_out,
    meanings,
    nearest,
    number,
    place,
    said,
    stem_of,
    told,
    with_unit,
)
from napari_melanoma.data.mapping import TableMapping
from napari_melanoma.data.table_schema import AS_GIVEN, NAMES, column_named
from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy
from napari_melanoma.io.tables import each_row

PLACES = ("site", "sub_site", "laterality")
DIAGNOSES = ("diagnosis", "diagnosis_detail")
FOLLOWS = ("target", "melanoma")
BESIDE = " // "  # between texts that are kept in one cell; no word has it, so that they mean nothing together


class Cell(NamedTuple):
    """A cell that says something: its column, its text, and what the column means."""

    column: str
    text: str
    meaning: Meaning


@dataclass
class Outcome:
    """What some cells of a row say."""

    found: dict[str, str] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)

    def not_understood(self, cell: Cell, fault: str = "unmapped") -> None:
        """Keep a cell as it is; a number in a column that may hold anything is no word that we should know."""
        if not cell.meaning.only_words:
            self.faults.append((fault, cell.meaning.ours, cell.text))
        elif number(cell.text) is None:
            self.faults.append((fault, cell.column, cell.text))
        self.keep(cell)

    def disagrees(self, cell: Cell) -> None:
        """Keep a cell that says otherwise than a better one, under its own name where that is not ours."""
        other = cell.meaning.ours if cell.column != cell.meaning.ours else "another column"
        self.disagreements.append(f"{cell.column} says otherwise than {other}")
        if column_named(cell.column):
            self.keep(cell)
        else:
            self.other[cell.column] = cell.text

    def keep(self, cell: Cell) -> None:
        """Keep a cell as it was given: beside our column, or under its own name where it may hold anything."""
        if cell.meaning.only_words:
            self.other[cell.column] = cell.text
        elif not cell.meaning.keeps:
            name = cell.meaning.ours + AS_GIVEN
            before = [self.other[name]] if name in self.other else []
            texts = BESIDE.join((*before, cell.text)).split(BESIDE)
            self.other[name] = BESIDE.join(dict.fromkeys(texts))


Step = Callable[[Iterable[Cell], str], Outcome]


def step_of(ours: str) -> tuple[str, Step]:
    """Say which step a column of ours belongs to.

    Takes the cells, those of our first column first and of one column the best first, and the source.
    """
    if ours in PLACES:
        return "place", understand_place
    if ours in DIAGNOSES or ours in FOLLOWS:
        return "diagnosis", understand_diagnosis
    return ours, understand_column


def understand_column(cells: Iterable[Cell], source: str) -> Outcome:
    """Understand cells that mean one column of ours.

    Returns the first that says something counts.
    """
    outcome = Outcome()
    for cell in cells:
        column = column_named(cell.meaning.ours)
        assert column is not None
        value, fault = said(column, cell.text, source)
        if fault:
            outcome.not_understood(cell, fault)
        elif value and outcome.found.setdefault(column.name, value) != value:
            outcome.disagrees(cell)
    return outcome


def understand_place(cells: Iterable[Cell], source: str) -> Outcome:
    """Understand site, place within it and side, each of which may be said with the others."""
    outcome, known = Outcome(), NOWHERE
    for cell in cells:
        found = place(cell.text, source)
        if found is None:
            outcome.not_understood(cell)
        elif (both := joined(known, found)) is None:
            outcome.disagrees(cell)
        else:
            known = both
    outcome.found = {ours: value for ours, value in zip(PLACES, known, strict=True) if value}
    return outcome


def understand_diagnosis(cells: Iterable[Cell], source: str) -> Outcome:
    """Understand class and subtype, and what follows from them for malignancy where the row does not say it.

    Returns the most exact diagnosis that does not contradict the first one.
    """
    given = list(cells)
    outcome = understand_column((cell for cell in given if cell.meaning.ours in FOLLOWS), source)
    words = taxonomy("diagnosis")
    best, vague, unsure = "", list[tuple[Cell, str]](), False
    against: list[Cell] = []
    for cell in (cell for cell in given if cell.meaning.ours in DIAGNOSES):
        word = None if BESIDE in cell.text else diagnosis_word(cell.text, source)
        exact = word is not None and is_exact(cell.text, source)
        if not exact:
            outcome.not_understood(cell)  # and kept: what is understood of it may count all the same
        unsure = unsure or word is None
        if word is None or word == UNKNOWN or (best and words.within(best, word)):
            continue
        if told(word).group:
            vague.append((cell, word))
        elif not best or words.within(word, best):
            best = word
        elif exact and not (cell.meaning.keeps and told(word).diagnosis == told(best).diagnosis):
            against.append(cell)  # not two subtypes of one class, such as in situ and superficial spreading
    _keep(outcome, best, vague, against, source)
    _follow(outcome, told(best), Diagnosis() if best or unsure else _vaguely([told(word) for _, word in vague]))
    return outcome


def _vaguely(words: Sequence[Diagnosis]) -> Diagnosis:
    """What words that are less than a diagnosis say together of malignancy; nothing where they differ."""
    targets = {word.target for word in words}
    melanomas = {word.melanoma for word in words if word.melanoma}
    return Diagnosis(target=targets.pop(), melanoma="".join(melanomas)) if len(targets) == 1 else Diagnosis()


def _keep(outcome: Outcome, best: str, vague: Iterable[tuple[Cell, str]], against: Iterable[Cell], source: str) -> None:
    """Keep words that contradict the diagnosis, and those that are less than one where there is none."""
    for cell in against:
        outcome.disagrees(cell)
    for cell, word in vague:
        if not is_exact(cell.text, source):
            continue  # kept already
        if not best:
            outcome.keep(cell)
        elif not taxonomy("diagnosis").within(best, word):
            outcome.disagrees(cell)


def _follow(outcome: Outcome, known: Diagnosis, vaguely: Diagnosis) -> None:
    """Fill in what a diagnosis says; a row's own word on malignancy comes first, vague words last."""
    found = outcome.found
    found |= {"diagnosis": known.diagnosis} if known.diagnosis else {}
    found |= {"diagnosis_detail": known.detail} if known.detail else {}
    for column, value in (("melanoma", known.melanoma), ("target", known.target)):
        if value and found.setdefault(column, value) != value:
            outcome.disagreements.append(f"{column} says otherwise than the diagnosis")
    if target := "1" if found.get("melanoma") == "1" else vaguely.target:
        found.setdefault("target", target)
    if found.get("melanoma") == "1" and found.get("target") == "0" and not known.diagnosis:  # else said above
        outcome.disagreements.append("target says otherwise than melanoma")
    if found.get("target") == "0" or (vaguely.melanoma == "0" and found.get("target") == vaguely.target):
        found.setdefault("melanoma", "0")


MOST = 12  # words of one column that a line names
MOST_ROWS = 3  # rows that a line names
MAP_IT = 'if it is that, name a TOML file with --map that has the line {key} = "{ours}" below [columns]'
MOST_COMPARED = 200  # columns with an unknown name that are compared with the known ones


@dataclass(frozen=True)
class HarmoniseReport:
    """What was met in a table."""

    rows: int = 0
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    known: Mapping[str, int] = field(default_factory=dict)
    unmapped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    impossible: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rows_of: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    disagreements: Mapping[str, int] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    duplicates: Mapping[str, int] = field(default_factory=dict)

    @property
    def unrecognized(self) -> dict[str, str]:
        """Columns with an unknown name, each with the column of ours that is nearest, "" where none is similar."""
        own = [name for name in self.own if name and not name.startswith("other_") and not name.endswith(AS_GIVEN)]
        return {name: nearest(name) if place < MOST_COMPARED else "" for place, name in enumerate(own)}

    def unrecognized_columns(
        self, fate: str = "kept under its own name, where nothing reads it", how: str = MAP_IT, near: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Name the columns that are not recognized, with the nearest known one and how to map them.

        A column, and a sentence on it.
        """
        others = []
        for theirs, ours in self.unrecognized.items():
            if ours and ours not in self.known:
                advice = how.format(key=toml_key(theirs), ours=ours)
                yield theirs, f"not recognized, so it is {fate}. The nearest known column is {ours}: {advice}"
            else:
                others.append(theirs)
        if others and not near:
            yield "columns", f"not recognized and {fate}: {first_few(others, MOST)}"

    def findings(self, kept_in: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
        """Describe what a user should review.

        A column, and a sentence on it.
        """
        for fault, meaning in (("unmapped", "not understood"), ("impossible", "impossible")):
            for column, words in getattr(self, fault).items():
                kept = (kept_in or {}).get(column) or (f"{column}{AS_GIVEN}" if column_named(column) else column)
                yield column, f"{_cells(words)} {meaning} and kept in {kept}: {self.cells(fault, column)}"
        for disagreement, rows in self.disagreements.items():
            yield "columns", f"{disagreement} in {rows} row{'s' if rows > 1 else ''}; the first one counts"
        if self.renamed:
            yield "image_id", renamed_note(self.renamed)
        if self.duplicates:
            ids = f"{len(self.duplicates)} ids stand" if len(self.duplicates) > 1 else "1 id stands"
            yield "image_id", f"{ids} in several rows: {listed(self.duplicates)}"
        for column in self.empty:
            yield column, "no row says anything in this column"

    def cells(self, fault: str, column: str) -> str:
        """List the cells of a column that were not understood, and the first rows that they are in.

        Such as ``'430' (1), '-5' (1); rows a, b``.
        """
        words, rows = getattr(self, fault)[column], self.rows_of.get(fault, {}).get(column, ())
        if not rows:
            return listed(words)
        others = sum(words.values()) - len(rows)
        more = f" and {others} more" if others else ""
        return f"{listed(words)}; row{'s' if len(rows) > 1 or more else ''} {', '.join(rows)}{more}"


def renamed_note(renamed: Mapping[str, str]) -> str:
    """Describe ids that were changed.

    How many, and the first of them.
    """
    shown = ", ".join(f"{old!r} is now {new!r}" for old, new in list(renamed.items())[:MOST_ROWS])
    more = f" and {len(renamed) - MOST_ROWS} more" if len(renamed) > MOST_ROWS else ""
    ids = "1 id was" if len(renamed) == 1 else f"{len(renamed)} ids were"
    return f"{ids} changed, because an id must not name a path and must be a file name: {shown}{more}"


def toml_key(name: str) -> str:
    """Write the name of a column as a key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def listed(counts: Mapping[str, int], most: int = MOST) -> str:
    """Name what was counted, the most frequent first.

    Such as ``'Hallux' (3), 'Glabella' (1) and 5 more``.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(f"'{word}' ({count})" for word, count in ordered[:most]) + more


class Tally:
    """Counts while rows go by; ``report`` gives what there is so far."""

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, tuple[str, ...]] = {}
        self._heard: set[str] = set()
        self._known: Counter[str] = Counter()
        self._faults: dict[str, dict[str, Counter[str]]] = {
            fault: defaultdict(Counter) for fault in ("unmapped", "impossible")
        }
        self._rows_of: dict[str, dict[str, list[str]]] = {fault: defaultdict(list) for fault in self._faults}
        self._disagreements: Counter[str] = Counter()
        self._renamed: dict[str, str] = {}
        self._ids: set[str] = set()
        self._again: Counter[str] = Counter()

    def row(
        self, given: Mapping[str, str], found: Mapping[str, str], faults: Iterable[tuple[str, str, str]] = ()
    ) -> None:
        """Count a row."""
        self.rows += 1
        if len(self._heard) < len(self.columns):
            self._heard.update(given)
        self._known.update(found.keys())
        image_id = found.get("image_id", "")
        if image_id in self._ids:
            self._again[image_id] += 1
        elif image_id:
            self._ids.add(image_id)
        for fault, column, text in faults:
            self._faults[fault][column][text] += 1
            rows = self._rows_of[fault][column]
            if len(rows) < MOST_ROWS:
                rows.append(image_id or str(self.rows))

    def count_disagreements(self, disagreements: Iterable[str]) -> None:
        """Count columns that contradict each other."""
        self._disagreements.update(disagreements)

    def rename(self, given: str, found: str) -> None:
        """Note an id that was changed."""
        self._renamed[given] = found

    def report(self) -> HarmoniseReport:
        """Give what was counted."""
        return HarmoniseReport(
            rows=self.rows,
            columns={theirs: ours for theirs, ours in self.columns.items() if ours},
            own=tuple(theirs for theirs, ours in self.columns.items() if not ours),
            empty=tuple(theirs for theirs, ours in self.columns.items() if self._silent(theirs, ours)),
            known=dict(self._known),
            unmapped={column: dict(words) for column, words in self._faults["unmapped"].items()},
            impossible={column: dict(words) for column, words in self._faults["impossible"].items()},
            rows_of={
                fault: {column: tuple(rows) for column, rows in of_columns.items()}
                for fault, of_columns in self._rows_of.items()
            },
            disagreements=dict(self._disagreements),
            renamed=dict(self._renamed),
            duplicates={image_id: 1 + again for image_id, again in self._again.items()},
        )

    def _silent(self, theirs: str, ours: tuple[str, ...]) -> bool:
        """Whether no row says anything in a column, or all say that nobody knows."""
        said = (theirs, *ours, *(f"{column}{AS_GIVEN}" for column in ours))
        return theirs not in self._heard or (bool(ours) and not any(column in self._known for column in said))


def _cells(words: Mapping[str, int]) -> str:
    """How many cells are meant."""
    count = sum(words.values())
    return f"{count} cell{'s are' if count > 1 else ' is'}"


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


STEP = 5000  # rows between two reports
FILES = ("path", "mask_path")


class HarmoniseOptions(Config):
    """What a table is, where it does not say so itself."""

    source: str = Field("", description="name of the public set that the table belongs to; some words differ by set")
    mapping: TableMapping = Field(
        TableMapping(), description="what its columns and words mean, where they are nobody else's"
    )


def harmonise_table(table: Path, out: Path, options: HarmoniseOptions, *, run: RunContext) -> HarmoniseReport:
    """Bring a table to our columns and words; its rows stay in their order, and none is left out."""
    if out.resolve() == table.resolve():
        raise InputError(f"{out} is the table itself: name another file, so that it stays as it is.")
    harmoniser = Harmoniser(options.source)
    written = _Lines()
    moved = _way(out.resolve().parent, table.resolve().parent)
    for row in _given(table, options.mapping, run):
        found = harmoniser.row(row)
        for column in FILES if moved != "." else ():
            if found.get(column) and not Path(found[column]).is_absolute():
                found[column] = Path(os.path.normpath(Path(moved, found[column]))).as_posix()
        if not written.count:
            written.expect((*NAMES, *harmoniser.stays(row)))
        written.add(found)
    if not written.count:
        raise DataSetError(f"{table} needs at least one row below its header; found none.")
    written.write(out)
    return harmoniser.report()


def _way(start: Path, goal: Path) -> str:
    """How one gets from one folder to another."""
    try:
        return os.path.relpath(goal, start)
    except ValueError:  # another drive of Windows
        return str(goal)


def _given(table: Path, mapping: TableMapping, run: RunContext) -> Iterator[dict[str, str]]:
    """The rows of a table under the names that the mapping gives."""
    mapped = bool(mapping.columns or mapping.words)
    for count, row in enumerate(each_row(table), start=1):
        if count % STEP == 0:
            run.check()
            run.report(Progress(count, None, "Harmonising rows"))
        yield mapping.apply(row) if mapped else row


class _Records(list[str]):
    """Where a writer of CSV puts its lines."""

    write = list.append


class _Lines:
    """Rows as text, which is a tenth of what they take as values; a column that a later row adds comes last."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._records = _Records()
        self._widths: list[int] = []
        self._table = CsvWriter(self._records, line_end="")

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._records)

    def expect(self, columns: Iterable[str]) -> None:
        """Name the columns that come first."""
        self._places = {column: place for place, column in enumerate(dict.fromkeys(columns))}

    def add(self, row: dict[str, str]) -> None:
        """Add a row."""
        places = self._places
        if not row.keys() <= places.keys():
            for column in row:
                places.setdefault(column, len(places))
        self._table.row(map(row.get, places, repeat("")))
        self._widths.append(len(places))

    def write(self, path: Path) -> None:
        """Write all rows, the earlier ones with empty cells for columns that came later."""
        header = _Records()
        CsvWriter(header, line_end="").row(self._places)
        width = len(self._places)
        with (
            atomic_file(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            file.write(f"{header[0]}\n")
            for record, known in zip(self._records, self._widths, strict=True):
                file.write(f"{record}{',' * (width - known)}\n")
