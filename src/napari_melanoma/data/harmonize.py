"""Harmonize a table: map each row to our columns and words, and report what was not understood."""

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
from napari_melanoma.core.formatting import format_names
from napari_melanoma.data.table_mapping import (
    NO_SITE,
    ColumnMeaning,
    Diagnosis,
    TableMapping,
    append_unit,
    escapes_folder,
    expand_diagnosis,
    find_column_meanings,
    is_exact_diagnosis,
    merge_body_sites,
    parse_body_site,
    parse_cell,
    parse_number,
    strip_image_suffix,
    suggest_column,
    translate_diagnosis,
)
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX, COLUMN_NAMES, FILE_COLUMNS, find_column
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.io.tables import iterate_rows

SITE_COLUMNS = ("site", "sub_site", "laterality")
DIAGNOSIS_COLUMNS = ("diagnosis", "diagnosis_detail")
MALIGNANCY_COLUMNS = ("target", "melanoma")
TEXT_SEPARATOR = " // "  # joins original texts in one cell; no known word contains it
MAX_LISTED_WORDS = 12  # words of one column that a message lists
MAX_LISTED_ROWS = 3  # rows that a message lists
MAPPING_ADVICE = 'if they mean the same, map it with --map FILE.toml (the line {key} = "{ours}" below [columns])'
MAX_COMPARED = 200  # columns with an unknown name that are compared with the known ones
PARSER_CACHE_SIZE = 1 << 14  # results of a step: most columns have few different words
ROWS_PER_REPORT = 2000  # rows between two progress reports
Row = Mapping[str, str]


class TableCell(NamedTuple):
    """A cell that is not empty: its column, its text, and what the column means."""

    column: str
    text: str
    meaning: ColumnMeaning


@dataclass
class HarmonizedCells:
    """The outcome of parsing some cells of a row."""

    found: dict[str, str] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)

    def add_unmapped(self, cell: TableCell, fault: str = "unmapped") -> None:
        """Keep a cell unchanged; a number in a column outside the schema is not reported as an unknown word."""
        if not cell.meaning.words_only:
            self.faults.append((fault, cell.meaning.column_name, cell.text))
        elif parse_number(cell.text) is None:
            self.faults.append((fault, cell.column, cell.text))
        self.add_original(cell)

    def add_disagreement(self, cell: TableCell) -> None:
        """Keep a cell that contradicts a preferred one, under the name of its column if this is not one of ours."""
        other = cell.meaning.column_name if cell.column != cell.meaning.column_name else "another column"
        self.disagreements.append(f"{cell.column} contradicts {other}")
        if find_column(cell.column):
            self.add_original(cell)
        else:
            self.other[cell.column] = cell.text

    def add_original(self, cell: TableCell) -> None:
        """Keep the original text of a cell in ``<our column>_as_given``; in its own column if only words are used."""
        if cell.meaning.words_only:
            self.other[cell.column] = cell.text
        elif not cell.meaning.keeps_original:
            name = cell.meaning.column_name + AS_GIVEN_SUFFIX
            earlier = [self.other[name]] if name in self.other else []
            texts = TEXT_SEPARATOR.join((*earlier, cell.text)).split(TEXT_SEPARATOR)
            self.other[name] = TEXT_SEPARATOR.join(dict.fromkeys(texts))


CellParser = Callable[[Iterable[TableCell], str], HarmonizedCells]


def find_parser(column_name: str) -> tuple[str, CellParser]:
    """Return the key and the function of the parsing step of a column; columns with one key are parsed together.

    The function gets the cells, in the order of our columns and the preferred one first, and the source.
    """
    if column_name in SITE_COLUMNS:
        return "site", parse_site_cells
    if column_name in DIAGNOSIS_COLUMNS or column_name in MALIGNANCY_COLUMNS:
        return "diagnosis", parse_diagnosis_cells
    return column_name, parse_column_cells


def parse_column_cells(cells: Iterable[TableCell], source: str) -> HarmonizedCells:
    """Parse cells that map to one of our columns; the first non-empty value counts."""
    outcome = HarmonizedCells()
    for cell in cells:
        column = find_column(cell.meaning.column_name)
        assert column is not None
        value, fault = parse_cell(column, cell.text, source)
        if fault:
            outcome.add_unmapped(cell, fault)
        elif value and outcome.found.setdefault(column.name, value) != value:
            outcome.add_disagreement(cell)
    return outcome


def parse_site_cells(cells: Iterable[TableCell], source: str) -> HarmonizedCells:
    """Parse body site, sub-site and side; one cell may give several of them."""
    outcome, known = HarmonizedCells(), NO_SITE
    for cell in cells:
        found = parse_body_site(cell.text, source)
        if found is None:
            outcome.add_unmapped(cell)
        elif (both := merge_body_sites(known, found)) is None:
            outcome.add_disagreement(cell)
        else:
            known = both
    outcome.found = {ours: value for ours, value in zip(SITE_COLUMNS, known, strict=True) if value}
    return outcome


def parse_diagnosis_cells(cells: Iterable[TableCell], source: str) -> HarmonizedCells:
    """Parse class and subtype, and derive malignancy if the row does not give it.

    The most specific diagnosis that does not contradict the first one counts.
    """
    given = list(cells)
    outcome = parse_column_cells((cell for cell in given if cell.meaning.column_name in MALIGNANCY_COLUMNS), source)
    words = load_taxonomy("diagnosis")
    best, vague, unsure = "", list[tuple[TableCell, str]](), False
    against: list[TableCell] = []
    for cell in (cell for cell in given if cell.meaning.column_name in DIAGNOSIS_COLUMNS):
        word = None if TEXT_SEPARATOR in cell.text else translate_diagnosis(cell.text, source)
        exact = word is not None and is_exact_diagnosis(cell.text, source)
        if not exact:
            outcome.add_unmapped(cell)  # kept, although the part that was understood may count
        unsure = unsure or word is None
        if word is None or word == UNKNOWN or (best and words.is_within(best, word)):
            continue
        if expand_diagnosis(word).group:
            vague.append((cell, word))
        elif not best or words.is_within(word, best):
            best = word
        elif exact and not (
            cell.meaning.keeps_original and expand_diagnosis(word).diagnosis == expand_diagnosis(best).diagnosis
        ):
            # Two subtypes of one class, such as in situ and superficial spreading, do not contradict
            against.append(cell)
    _add_unused_words(outcome, best, vague, against, source)
    _fill_diagnosis(
        outcome,
        expand_diagnosis(best),
        Diagnosis() if best or unsure else _merge_vague_diagnoses([expand_diagnosis(word) for _, word in vague]),
    )
    return outcome


def _merge_vague_diagnoses(words: Sequence[Diagnosis]) -> Diagnosis:
    """Malignancy that words above the level of a diagnosis imply together; empty if they differ."""
    targets = {word.target for word in words}
    melanomas = {word.melanoma for word in words if word.melanoma}
    return Diagnosis(target=targets.pop(), melanoma="".join(melanomas)) if len(targets) == 1 else Diagnosis()


def _add_unused_words(
    outcome: HarmonizedCells,
    best: str,
    vague: Iterable[tuple[TableCell, str]],
    against: Iterable[TableCell],
    source: str,
) -> None:
    """Keep words that contradict the diagnosis, and unspecific words if there is no diagnosis."""
    for cell in against:
        outcome.add_disagreement(cell)
    for cell, word in vague:
        if not is_exact_diagnosis(cell.text, source):
            continue  # kept already
        if not best:
            outcome.add_original(cell)
        elif not load_taxonomy("diagnosis").is_within(best, word):
            outcome.add_disagreement(cell)


def _fill_diagnosis(outcome: HarmonizedCells, known: Diagnosis, vaguely: Diagnosis) -> None:
    """Fill in what a diagnosis implies; malignancy given in the row comes first, unspecific words last."""
    found = outcome.found
    found |= {"diagnosis": known.diagnosis} if known.diagnosis else {}
    found |= {"diagnosis_detail": known.detail} if known.detail else {}
    for column, value in (("melanoma", known.melanoma), ("target", known.target)):
        if value and found.setdefault(column, value) != value:
            outcome.disagreements.append(f"{column} contradicts the diagnosis")
    if target := "1" if found.get("melanoma") == "1" else vaguely.target:
        found.setdefault("target", target)
    if found.get("melanoma") == "1" and found.get("target") == "0" and not known.diagnosis:  # else reported above
        outcome.disagreements.append("target contradicts melanoma")
    if found.get("target") == "0" or (vaguely.melanoma == "0" and found.get("target") == vaguely.target):
        found.setdefault("melanoma", "0")


@dataclass(frozen=True)
class HarmonizeReport:
    """The outcome of harmonizing a table."""

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
        """Columns with an unknown name and the most similar column of ours; "" if none is similar."""
        own = [
            name for name in self.own if name and not name.startswith("other_") and not name.endswith(AS_GIVEN_SUFFIX)
        ]
        return {name: suggest_column(name) if index < MAX_COMPARED else "" for index, name in enumerate(own)}

    def describe_unrecognized(
        self,
        fate: str = "kept unchanged and not used",
        advice_template: str = MAPPING_ADVICE,
        similar_only: bool = False,
    ) -> Iterator[tuple[str, str]]:
        """Describe unrecognized columns: yield a column, and a sentence with the most similar known one and advice."""
        others = []
        for theirs, ours in self.unrecognized.items():
            if ours and ours not in self.known:
                advice = advice_template.format(key=quote_toml_key(theirs), ours=ours)
                yield theirs, f"not recognized, so it is {fate}. The most similar known column is {ours}: {advice}"
            else:
                others.append(theirs)
        if others and not similar_only:
            yield "columns", f"not recognized ({fate}): {format_names(others, MAX_LISTED_WORDS)}"

    def describe_findings(self, kept_in: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
        """Describe what a user should review: yield a column and a sentence for each finding."""
        for fault, meaning in (("unmapped", "not understood"), ("impossible", "impossible")):
            for column, words in getattr(self, fault).items():
                kept = (kept_in or {}).get(column) or (f"{column}{AS_GIVEN_SUFFIX}" if find_column(column) else column)
                yield (
                    column,
                    f"{_describe_cell_count(words)} {meaning} and kept in {kept}: {self.list_cells(fault, column)}",
                )
        for disagreement, rows in self.disagreements.items():
            yield "columns", f"{disagreement} in {rows} row{'s' if rows > 1 else ''}; the first one counts"
        if self.renamed:
            yield "image_id", describe_renamed(self.renamed)
        if self.duplicates:
            count = len(self.duplicates)
            ids = f"{count} ids occur" if count > 1 else "1 id occurs"
            yield "image_id", f"{ids} in several rows: {list_counts(self.duplicates)}"
        for column in self.empty:
            yield column, "no row has a value in this column"

    def list_cells(self, fault: str, column: str) -> str:
        """List cells that were not understood, and their first rows: ``'430' (1), '-5' (1); rows a, b``."""
        words, rows = getattr(self, fault)[column], self.rows_of.get(fault, {}).get(column, ())
        if not rows:
            return list_counts(words)
        others = sum(words.values()) - len(rows)
        more = f" and {others} more" if others else ""
        return f"{list_counts(words)}; row{'s' if len(rows) > 1 or more else ''} {', '.join(rows)}{more}"


def describe_renamed(renamed: Mapping[str, str]) -> str:
    """Describe changed ids: their number, and the first of them."""
    shown = ", ".join(f"{old!r} is now {new!r}" for old, new in list(renamed.items())[:MAX_LISTED_ROWS])
    more = f" and {len(renamed) - MAX_LISTED_ROWS} more" if len(renamed) > MAX_LISTED_ROWS else ""
    ids = "1 id was" if len(renamed) == 1 else f"{len(renamed)} ids were"
    return f"{ids} changed, because an id must not name a path and must be a file name: {shown}{more}"


def quote_toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def list_counts(counts: Mapping[str, int], max_listed: int = MAX_LISTED_WORDS) -> str:
    """List counted words, the most frequent first: ``'Hallux' (3), 'Glabella' (1) and 5 more``."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ordered) - max_listed} more" if len(ordered) > max_listed else ""
    return ", ".join(f"'{word}' ({count})" for word, count in ordered[:max_listed]) + more


class HarmonizeTally:
    """Collect the report while rows are harmonized."""

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, tuple[str, ...]] = {}
        self._columns_with_values: set[str] = set()
        self._known: Counter[str] = Counter()
        self._faults: dict[str, dict[str, Counter[str]]] = {
            fault: defaultdict(Counter) for fault in ("unmapped", "impossible")
        }
        self._rows_of: dict[str, dict[str, list[str]]] = {fault: defaultdict(list) for fault in self._faults}
        self._disagreements: Counter[str] = Counter()
        self._renamed: dict[str, str] = {}
        self._ids: set[str] = set()
        self._repeated_ids: Counter[str] = Counter()

    def add_row(
        self, given: Mapping[str, str], found: Mapping[str, str], faults: Iterable[tuple[str, str, str]] = ()
    ) -> None:
        """Count a row."""
        self.rows += 1
        if len(self._columns_with_values) < len(self.columns):
            self._columns_with_values.update(given)
        self._known.update(found.keys())
        image_id = found.get("image_id", "")
        if image_id in self._ids:
            self._repeated_ids[image_id] += 1
        elif image_id:
            self._ids.add(image_id)
        for fault, column, text in faults:
            self._faults[fault][column][text] += 1
            rows = self._rows_of[fault][column]
            if len(rows) < MAX_LISTED_ROWS:
                rows.append(image_id or str(self.rows))

    def count_disagreements(self, disagreements: Iterable[str]) -> None:
        """Count columns that contradict each other."""
        self._disagreements.update(disagreements)

    def add_renamed(self, given: str, found: str) -> None:
        """Record a changed id."""
        self._renamed[given] = found

    def make_report(self) -> HarmonizeReport:
        """Return the report so far."""
        return HarmonizeReport(
            rows=self.rows,
            columns={theirs: ours for theirs, ours in self.columns.items() if ours},
            own=tuple(theirs for theirs, ours in self.columns.items() if not ours),
            empty=tuple(theirs for theirs, ours in self.columns.items() if self._is_empty_column(theirs, ours)),
            known=dict(self._known),
            unmapped={column: dict(words) for column, words in self._faults["unmapped"].items()},
            impossible={column: dict(words) for column, words in self._faults["impossible"].items()},
            rows_of={
                fault: {column: tuple(rows) for column, rows in of_columns.items()}
                for fault, of_columns in self._rows_of.items()
            },
            disagreements=dict(self._disagreements),
            renamed=dict(self._renamed),
            duplicates={image_id: 1 + again for image_id, again in self._repeated_ids.items()},
        )

    def _is_empty_column(self, theirs: str, ours: tuple[str, ...]) -> bool:
        """Whether a column is empty, or unknown, in all rows."""
        names = (theirs, *ours, *(f"{column}{AS_GIVEN_SUFFIX}" for column in ours))
        return theirs not in self._columns_with_values or (
            bool(ours) and not any(column in self._known for column in names)
        )


def _describe_cell_count(words: Mapping[str, int]) -> str:
    count = sum(words.values())
    return f"{count} cell{'s are' if count > 1 else ' is'}"


@dataclass(frozen=True)
class HarmonizedTable:
    """Harmonized rows in their order, and the report; empty cells are left out of a row."""

    rows: list[dict[str, str]]
    report: HarmonizeReport


def harmonize_rows(rows: Iterable[Row], source: str = "") -> HarmonizedTable:
    """Harmonize rows, in their order."""
    harmonizer = Harmonizer(source)
    return HarmonizedTable([harmonizer.harmonize_row(row) for row in rows], harmonizer.make_report())


class _ParsingStep(NamedTuple):
    """Columns of a table that are parsed together, and their parser."""

    columns: tuple[str, ...]
    parse: Callable[[tuple[str, ...]], HarmonizedCells]


class _ColumnPlan(NamedTuple):
    """The role of each column of a table: kept unchanged, naming the image, or parsed in a step."""

    unchanged: tuple[str, ...]
    id_columns: tuple[str, ...]
    steps: tuple[_ParsingStep, ...]


class Harmonizer:
    """Harmonize rows one by one, so that a large table need not be in memory."""

    def __init__(self, source: str = "") -> None:
        self.source = source
        self._tally = HarmonizeTally()
        self._plans: dict[tuple[tuple[str, ...], str], _ColumnPlan] = {}

    def make_report(self) -> HarmonizeReport:
        """Return the report so far."""
        return self._tally.make_report()

    def harmonize_row(self, row: Row) -> dict[str, str]:
        """Harmonize a row: our columns first, then the others; empty cells are left out."""
        given = {name: text for name, cell in row.items() if (text := cell.strip())}
        source = "" if given.get("source") else self.source  # a row that names its source was harmonized before
        unchanged, ids, steps = self._plan_columns(tuple(row), source)
        found: dict[str, str] = {}
        other: dict[str, str] = {}
        faults: list[tuple[str, str, str]] = []
        for columns, parse in steps:
            texts = tuple([given.get(column, "") for column in columns])
            if any(texts):
                outcome = parse(texts)
                found |= outcome.found
                if outcome.other or outcome.disagreements or outcome.faults:
                    other |= outcome.other
                    faults += outcome.faults
                    self._tally.count_disagreements(outcome.disagreements)
        if self.source:
            found.setdefault("source", self.source)
        found |= {column: given[column] for column in unchanged if column in given}
        found |= other
        self._note_renamed([given[column] for column in ids if column in given], found.get("image_id", ""))
        self._tally.add_row(given, found, faults)
        return found

    def _note_renamed(self, texts: Iterable[str], image_id: str) -> None:
        """Record an id that was reduced to its last part because it named a path outside its folder."""
        for text in texts:
            if escapes_folder(text) and image_id == strip_image_suffix(text) != text:
                self._tally.add_renamed(text, image_id)

    def list_unchanged_columns(self, row: Row) -> tuple[str, ...]:
        """Return the columns that keep their own names, in their order."""
        return self._plan_columns(tuple(row), "" if row.get("source", "").strip() else self.source).unchanged

    def _plan_columns(self, names: tuple[str, ...], source: str) -> _ColumnPlan:
        """Plan the roles of columns; cached for rows with the same columns."""
        key = (names, source)
        if key not in self._plans:
            meanings = {name: find_column_meanings(name, source) for name in names}
            self._tally.columns.update(
                {name: tuple(meaning.column_name for meaning in found) for name, found in meanings.items()}
            )
            unchanged = [
                name
                for name, found in meanings.items()
                if not found or any(meaning.keeps_original for meaning in found)
            ]
            ids = [name for name, found in meanings.items() if any(one.column_name == "image_id" for one in found)]
            self._plans[key] = _ColumnPlan(tuple(unchanged), tuple(ids), tuple(_make_steps(meanings, source)))
        return self._plans[key]


def _make_steps(meanings: Mapping[str, tuple[ColumnMeaning, ...]], source: str) -> Iterable[_ParsingStep]:
    """Plan the parsing steps of a table, in the order of the schema."""
    pairs = [(name, meaning) for name, found in meanings.items() for meaning in found]
    order = {name: index for index, name in enumerate(COLUMN_NAMES)}
    # Our own columns first: they contain the harmonized values, which must win when a table is harmonized again.
    pairs.sort(
        key=lambda pair: (
            pair[1].rank > 0,
            order.get(pair[1].column_name, len(order)),
            pair[1].column_name,
            pair[1].rank,
        )
    )
    grouped: dict[str, list[tuple[str, ColumnMeaning]]] = {}
    for name, meaning in pairs:
        grouped.setdefault(find_parser(meaning.column_name)[0], []).append((name, meaning))
    return [_make_step(group, source) for group in grouped.values()]


def _make_step(group: list[tuple[str, ColumnMeaning]], source: str) -> _ParsingStep:
    """Make one step; its results are cached."""
    parse_cells = find_parser(group[0][1].column_name)[1]

    @lru_cache(maxsize=PARSER_CACHE_SIZE)
    def parse(texts: tuple[str, ...]) -> HarmonizedCells:
        cells = ((name, text, meaning) for (name, meaning), text in zip(group, texts, strict=True) if text)
        return parse_cells(
            (TableCell(name, append_unit(text, meaning.unit), meaning) for name, text, meaning in cells), source
        )

    return _ParsingStep(tuple(name for name, _ in group), parse)


class HarmonizeOptions(Config):
    """Facts about a table that cannot be detected."""

    source: str = Field("", description="name of the public set that the table belongs to; some words differ by set")
    mapping: TableMapping = Field(
        TableMapping(), description="meaning of columns and words that are not known otherwise"
    )


def harmonize_table(table: Path, out: Path, options: HarmonizeOptions, *, run: RunContext) -> HarmonizeReport:
    """Harmonize a table; all rows are kept, in their order."""
    if out.resolve() == table.resolve():
        raise InputError(f"{out} is the table itself: name another file, so that it stays as it is.")
    harmonizer = Harmonizer(options.source)
    written = _RowBuffer()
    moved = _relative_folder(out.resolve().parent, table.resolve().parent)
    for given in track_rows(iterate_rows(table), run, "Harmonizing rows"):
        row = options.mapping.apply(given)
        found = harmonizer.harmonize_row(row)
        for column in FILE_COLUMNS if moved != "." else ():
            if found.get(column) and not Path(found[column]).is_absolute():
                found[column] = Path(os.path.normpath(Path(moved, found[column]))).as_posix()
        if not written.count:
            written.add_columns((*COLUMN_NAMES, *harmonizer.list_unchanged_columns(row)))
        written.add(found)
    if not written.count:
        raise DataSetError(f"{table} needs at least one row below its header; found none.")
    written.write(out)
    return harmonizer.make_report()


def _relative_folder(start: Path, goal: Path) -> str:
    """Path from one folder to another."""
    try:
        return os.path.relpath(goal, start)
    except ValueError:  # another drive of Windows
        return str(goal)


def track_rows(rows: Iterable[dict[str, str]], run: RunContext, message: str) -> Iterator[dict[str, str]]:
    """Yield rows; after every few thousand check whether to stop, and report the progress."""
    for count, row in enumerate(rows, start=1):
        yield row
        if count % ROWS_PER_REPORT == 0:
            run.check()
            run.report(Progress(count, None, message))


class _CsvRecords(list[str]):
    """A list that a CSV writer writes its lines to."""

    write = list.append


class _RowBuffer:
    """Rows as text, which needs a tenth of the memory of dicts; columns that first occur in a later row come last."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._records = _CsvRecords()
        self._widths: list[int] = []
        self._table = CsvWriter(self._records, line_end="")

    @property
    def count(self) -> int:
        return len(self._records)

    def add_columns(self, columns: Iterable[str]) -> None:
        """Set the first columns."""
        self._positions = {column: index for index, column in enumerate(dict.fromkeys(columns))}

    def add(self, row: dict[str, str]) -> None:
        positions = self._positions
        if not row.keys() <= positions.keys():
            for column in row:
                positions.setdefault(column, len(positions))
        self._table.write_row(map(row.get, positions, repeat("")))
        self._widths.append(len(positions))

    def write(self, path: Path) -> None:
        """Write all rows; earlier rows get empty cells for columns added later."""
        header = _CsvRecords()
        CsvWriter(header, line_end="").write_row(self._positions)
        width = len(self._positions)
        with (
            atomic_file(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            file.write(f"{header[0]}\n")
            for record, known in zip(self._records, self._widths, strict=True):
                file.write(f"{record}{',' * (width - known)}\n")
