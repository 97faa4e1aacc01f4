"""Harmonize tables: translate their columns and words to those of our schema, and report what was not understood."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.paths import real_path
from napari_melanoma.data.cell_values import (
    NO_SITE,
    Diagnosis,
    append_unit,
    escapes_folder,
    expand_diagnosis,
    is_exact_diagnosis,
    merge_body_sites,
    parse_body_site,
    parse_cell,
    parse_number,
    strip_image_suffix,
    translate_diagnosis,
)
from napari_melanoma.data.dataset import PackedRow, write_rows
from napari_melanoma.data.table_mapping import ColumnMeaning, TableMapping, find_column_meanings, suggest_column
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX, COLUMN_NAMES, FILE_COLUMNS, find_column
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.io.tables import iterate_rows

SITE_COLUMNS = ("site", "sub_site", "laterality")
DIAGNOSIS_COLUMNS = ("diagnosis", "diagnosis_detail")
MALIGNANCY_COLUMNS = ("target", "melanoma")
TEXT_SEPARATOR = " // "  # joins original texts in one cell; no known word contains it
MAX_LISTED_WORDS = 12  # words of one column that a message lists
MAX_LISTED_ROWS = 3  # rows that a message lists
MAPPING_ADVICE = (
    'if they mean the same, map it with --map FILE.toml (the line {key} = "{target_column}" below [columns])'
)
PARSER_CACHE_SIZE = 1 << 14  # cached results of a parsing step; most columns have few different words
UNUSED_ROWS = {
    "split": "rows with another split are neither trained on nor tested, unless an option names it",
    "review": "masks in another review state are not trained on",
}
ROWS_PER_REPORT = 2000  # rows between two progress reports
FAULTS = ("unmapped", "impossible")  # of cells: not understood, or not possible
Row = Mapping[str, str]  # column to text


class TableCell(NamedTuple):
    """A cell that is not empty: its column, its text, and what the column means."""

    column: str
    text: str
    meaning: ColumnMeaning


class CellFault(NamedTuple):
    """A cell that could not be harmonized: ``kind`` is "unmapped" (not understood) or "impossible"."""

    kind: str
    column: str
    text: str


@dataclass
class HarmonizedCells:
    """The outcome of parsing some cells of a row.

    ``values`` maps our columns to harmonized values, ``originals`` the names of further columns to texts that are kept
    unchanged. ``disagreements`` are messages about columns that contradict each other.
    """

    values: dict[str, str] = field(default_factory=dict)
    originals: dict[str, str] = field(default_factory=dict)
    faults: list[CellFault] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)

    def add_unmapped(self, cell: TableCell, fault: str = "unmapped") -> None:
        """Keep a cell unchanged and report it; in a column outside the schema, a number is not reported."""
        if not cell.meaning.words_only:
            self.faults.append(CellFault(fault, cell.meaning.column_name, cell.text))
        elif parse_number(cell.text) is None:
            self.faults.append(CellFault(fault, cell.column, cell.text))
        self.add_original(cell)

    def add_disagreement(self, cell: TableCell) -> None:
        """Keep a cell that contradicts a preferred one, and report it."""
        preferred = cell.meaning.column_name if cell.column != cell.meaning.column_name else "another column"
        self.disagreements.append(f"{cell.column} contradicts {preferred}")
        if find_column(cell.column):
            self.add_original(cell)
        else:
            self.originals[cell.column] = cell.text

    def add_original(self, cell: TableCell) -> None:
        """Keep the text of a cell in ``<our column>_as_given``, or in its own column if this is outside the schema."""
        if cell.meaning.words_only:
            self.originals[cell.column] = cell.text
        elif not cell.meaning.keeps_original:
            name = cell.meaning.column_name + AS_GIVEN_SUFFIX
            earlier = [self.originals[name]] if name in self.originals else []
            texts = TEXT_SEPARATOR.join((*earlier, cell.text)).split(TEXT_SEPARATOR)
            self.originals[name] = TEXT_SEPARATOR.join(dict.fromkeys(texts))


CellParser = Callable[[Iterable[TableCell], str], HarmonizedCells]  # called with cells and the source


def find_parser(column_name: str) -> tuple[str, CellParser]:
    """Return the parser of one of our columns, and a key; columns with the same key are parsed together.

    The parser is called with the cells, in the order of our columns and the preferred one first, and the source.
    """
    if column_name in SITE_COLUMNS:
        return "site", parse_site_cells
    if column_name in DIAGNOSIS_COLUMNS or column_name in MALIGNANCY_COLUMNS:
        return "diagnosis", parse_diagnosis_cells
    return column_name, parse_column_cells


def parse_column_cells(cells: Iterable[TableCell], source: str) -> HarmonizedCells:
    """Parse each cell for its column of ours; the first non-empty value of a column counts."""
    outcome = HarmonizedCells()
    for cell in cells:
        column = find_column(cell.meaning.column_name)
        assert column is not None
        value, fault = parse_cell(column, cell.text, source)
        if fault:
            outcome.add_unmapped(cell, fault)
            continue
        # a split must match exactly, since the recipes name it
        if value and column.expected and (value.lower() if column.name == "review" else value) not in column.expected:
            outcome.faults.append(CellFault("unmapped", column.name, value))  # kept: without a split it would be used
        if value and outcome.values.setdefault(column.name, value) != value:
            outcome.add_disagreement(cell)
    return outcome


def parse_site_cells(cells: Iterable[TableCell], source: str) -> HarmonizedCells:
    """Parse body site, sub-site and laterality; one cell may contain several of them."""
    outcome, site = HarmonizedCells(), NO_SITE
    for cell in cells:
        site_of_cell = parse_body_site(cell.text, source)
        if site_of_cell is None:
            outcome.add_unmapped(cell)
        elif (merged := merge_body_sites(site, site_of_cell)) is None:
            outcome.add_disagreement(cell)
        else:
            site = merged
    outcome.values = {target_column: value for target_column, value in zip(SITE_COLUMNS, site, strict=True) if value}
    return outcome


def parse_diagnosis_cells(cells: Iterable[TableCell], source: str) -> HarmonizedCells:
    """Parse diagnosis, subtype and malignancy; malignancy is derived from the diagnosis if the row does not state it.

    The most specific diagnosis that does not contradict the first one counts.
    """
    all_cells = list(cells)
    outcome = parse_column_cells((cell for cell in all_cells if cell.meaning.column_name in MALIGNANCY_COLUMNS), source)
    words = load_taxonomy("diagnosis")
    best, vague, has_unknown = "", list[tuple[TableCell, str]](), False
    contradicting: list[TableCell] = []
    for cell in (cell for cell in all_cells if cell.meaning.column_name in DIAGNOSIS_COLUMNS):
        word = None if TEXT_SEPARATOR in cell.text else translate_diagnosis(cell.text, source)
        exact = word is not None and is_exact_diagnosis(cell.text, source)
        if not exact:
            outcome.add_unmapped(cell)  # kept, although the part that was understood may be used
        has_unknown = has_unknown or word is None
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
            contradicting.append(cell)
    _add_unused_values(outcome, best, vague, contradicting, source)
    _fill_diagnosis(
        outcome,
        expand_diagnosis(best),
        Diagnosis() if best or has_unknown else _merge_vague_diagnoses([expand_diagnosis(word) for _, word in vague]),
    )
    return outcome


def _merge_vague_diagnoses(diagnoses: Sequence[Diagnosis]) -> Diagnosis:
    """Return the malignancy implied by words above the level of a diagnosis; empty if they differ."""
    targets = {diagnosis.target for diagnosis in diagnoses}
    melanomas = {diagnosis.melanoma for diagnosis in diagnoses if diagnosis.melanoma}
    return Diagnosis(target=targets.pop(), melanoma="".join(melanomas)) if len(targets) == 1 else Diagnosis()


def _add_unused_values(
    outcome: HarmonizedCells,
    best: str,
    vague: Iterable[tuple[TableCell, str]],
    contradicting: Iterable[TableCell],
    source: str,
) -> None:
    """Keep words that contradict the diagnosis, and vague words if there is no diagnosis."""
    for cell in contradicting:
        outcome.add_disagreement(cell)
    for cell, word in vague:
        if not is_exact_diagnosis(cell.text, source):
            continue  # parse_diagnosis_cells has kept it
        if not best:
            outcome.add_original(cell)
        elif not load_taxonomy("diagnosis").is_within(best, word):
            outcome.add_disagreement(cell)


def _fill_diagnosis(outcome: HarmonizedCells, diagnosis: Diagnosis, vague: Diagnosis) -> None:
    """Fill in what the diagnosis implies.

    Malignancy stated in the row comes first, then that of the diagnosis, then that of the vague words.
    """
    values = outcome.values
    values |= {"diagnosis": diagnosis.diagnosis} if diagnosis.diagnosis else {}
    values |= {"diagnosis_detail": diagnosis.detail} if diagnosis.detail else {}
    for column, value in (("melanoma", diagnosis.melanoma), ("target", diagnosis.target)):
        if value and values.setdefault(column, value) != value:
            outcome.disagreements.append(f"{column} contradicts the diagnosis")
    if target := "1" if values.get("melanoma") == "1" else vague.target:
        values.setdefault("target", target)
    if values.get("melanoma") == "1" and values.get("target") == "0" and not diagnosis.diagnosis:  # else reported above
        outcome.disagreements.append("target contradicts melanoma")
    if values.get("target") == "0" or (vague.melanoma == "0" and values.get("target") == vague.target):
        values.setdefault("melanoma", "0")


@dataclass(frozen=True)
class HarmonizeReport:
    """The outcome of harmonizing a table.

    ``columns`` maps recognized columns to our columns; ``own`` lists the others, ``empty`` columns without values.
    ``known`` maps each column of the harmonized rows to its number of values. ``unmapped`` (not understood) and
    ``impossible`` map columns to texts and their numbers; ``rows_of`` maps "unmapped" and "impossible" to columns and
    the first rows concerned. ``disagreements`` maps messages to numbers of rows, ``renamed`` given ids to changed ids,
    ``duplicates`` repeated ids to their numbers of rows.
    """

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
        """Columns with an unknown name, mapped to the column of ours with nearly the same name, "" if there is none."""
        return {
            name: suggest_column(name)
            for name in self.own
            if name and not name.startswith("other_") and not name.endswith(AS_GIVEN_SUFFIX)
        }

    def describe_unrecognized(
        self,
        fate: str = "kept unchanged and not used",
        advice_template: str = MAPPING_ADVICE,
        similar_only: bool = False,
    ) -> Iterator[tuple[str, str]]:
        """Describe unrecognized columns: yield a column and a message, with advice if a known column is similar.

        ``fate`` describes what happens to their values; ``similar_only`` leaves out columns without a similar one.
        """
        dissimilar = []
        for source_column, target_column in self.unrecognized.items():
            if target_column and target_column not in self.known:
                advice = advice_template.format(key=quote_toml_key(source_column), target_column=target_column)
                yield (
                    source_column,
                    f"not recognized, so it is {fate}. The most similar known column is {target_column}: {advice}",
                )
            else:
                dissimilar.append(source_column)
        if dissimilar and not similar_only:
            yield "columns", f"not recognized ({fate}): {format_names(dissimilar, MAX_LISTED_WORDS)}"

    def describe_findings(self, kept_in: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
        """Describe what a user should review: yield a column and a message for each finding.

        ``kept_in`` maps a column to the one that keeps its original texts, if not ``<column>_as_given``.
        """
        for fault, meaning in (("unmapped", "not understood"), ("impossible", "impossible")):
            for column, words in getattr(self, fault).items():
                schema_column = find_column(column)
                is_moved = schema_column is not None and not schema_column.expected
                column_kept_in = (kept_in or {}).get(column) or (f"{column}{AS_GIVEN_SUFFIX}" if is_moved else column)
                count = sum(words.values())
                yield (
                    column,
                    f"{count} cell{'s are' if count > 1 else ' is'} {meaning} and kept in {column_kept_in}: "
                    f"{self.list_cells(fault, column)}{describe_expected(column)}",
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
        """List faulty cells of a column, and their first rows: ``'430' (1), '-5' (1); rows a, b``."""
        words, rows = getattr(self, fault)[column], self.rows_of.get(fault, {}).get(column, ())
        if not rows:
            return list_counts(words)
        others = sum(words.values()) - len(rows)
        more = f" and {others} more" if others else ""
        return f"{list_counts(words)}; row{'s' if len(rows) > 1 or more else ''} {', '.join(rows)}{more}"


def describe_expected(column: str) -> str:
    """Describe the expected words of a column of text, and what happens to rows with others; "" for other columns."""
    if column not in UNUSED_ROWS:
        return ""
    schema_column = find_column(column)
    assert schema_column is not None
    return f". Expected {', '.join(schema_column.expected)}: {UNUSED_ROWS[column]}"


def describe_renamed(renamed: Mapping[str, str]) -> str:
    """Describe changed ids (given to changed): their number, and the first of them."""
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


@dataclass(frozen=True)
class HarmonizedTable:
    """Harmonized rows in their order, and the report; empty cells are left out of a row."""

    rows: list[dict[str, str]]
    report: HarmonizeReport


def harmonize_rows(rows: Iterable[Row], source: str = "") -> HarmonizedTable:
    """Harmonize rows, in their order."""
    harmonizer = Harmonizer(source)
    return HarmonizedTable([harmonizer.harmonize_row(row) for row in rows], harmonizer.make_report())


def restore_unrecognized(row: Row) -> dict[str, str]:
    """Return a harmonized row with the values that were not recognized, unchanged, under the names of their columns.

    So they take precedence over values for all rows, and are reported where they are used.
    """
    as_given = {name: text for name, text in row.items() if name.endswith(AS_GIVEN_SUFFIX)}
    unrecognized = {name.removesuffix(AS_GIVEN_SUFFIX): text for name, text in as_given.items()}
    return unrecognized | {name: text for name, text in row.items() if text and name not in as_given}


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
    """Harmonize rows one by one, so that a large table need not be in memory, and count what the report describes."""

    def __init__(self, source: str = "") -> None:
        self.source = source
        self._plans: dict[tuple[tuple[str, ...], str], _ColumnPlan] = {}
        self._rows = 0
        self._columns: dict[str, tuple[str, ...]] = {}  # of the table, with ours; none if it is not recognized
        self._columns_with_values: set[str] = set()
        self._known: Counter[str] = Counter()
        self._faults: dict[str, dict[str, Counter[str]]] = {kind: defaultdict(Counter) for kind in FAULTS}
        self._rows_of: dict[str, dict[str, list[str]]] = {kind: defaultdict(list) for kind in FAULTS}
        self._disagreements: Counter[str] = Counter()
        self._renamed: dict[str, str] = {}
        self._ids: set[str] = set()
        self._repeated_ids: Counter[str] = Counter()

    def harmonize_row(self, row: Row) -> dict[str, str]:
        """Return a row harmonized: our columns first, then the others; empty cells are left out."""
        cells = {name: text for name, cell in row.items() if (text := cell.strip())}
        source = "" if cells.get("source") else self.source  # a row that names its source was harmonized before
        unchanged, ids, steps = self._plan_columns(tuple(row), source)
        harmonized: dict[str, str] = {}
        originals: dict[str, str] = {}
        faults: list[CellFault] = []
        for columns, parse in steps:
            texts = tuple([cells.get(column, "") for column in columns])
            if any(texts):
                outcome = parse(texts)
                harmonized |= outcome.values
                if outcome.originals or outcome.disagreements or outcome.faults:
                    originals |= outcome.originals
                    faults += outcome.faults
                    self._disagreements.update(outcome.disagreements)
        if self.source:
            harmonized.setdefault("source", self.source)
        harmonized |= {column: cells[column] for column in unchanged if column in cells}
        harmonized |= originals
        for text in [cells[column] for column in ids if column in cells]:
            if escapes_folder(text) and harmonized.get("image_id", "") == strip_image_suffix(text) != text:
                self._renamed[text] = harmonized["image_id"]
        self._count(cells, harmonized, faults)
        return harmonized

    def _count(self, cells: Row, harmonized: Row, faults: Iterable[CellFault]) -> None:
        """Count the values and faults of a row; ``cells`` are those that are not empty."""
        self._rows += 1
        if len(self._columns_with_values) < len(self._columns):
            self._columns_with_values.update(cells)
        self._known.update(harmonized.keys())
        image_id = harmonized.get("image_id", "")
        if image_id in self._ids:
            self._repeated_ids[image_id] += 1
        elif image_id:
            self._ids.add(image_id)
        for kind, column, text in faults:
            self._faults[kind][column][text] += 1
            rows = self._rows_of[kind][column]
            if len(rows) < MAX_LISTED_ROWS:
                rows.append(image_id or str(self._rows))

    def make_report(self) -> HarmonizeReport:
        """Return the report so far."""
        faults = {kind: {column: dict(words) for column, words in self._faults[kind].items()} for kind in FAULTS}
        return HarmonizeReport(
            rows=self._rows,
            columns={name: ours for name, ours in self._columns.items() if ours},
            own=tuple(name for name, ours in self._columns.items() if not ours),
            empty=tuple(name for name, ours in self._columns.items() if self._is_empty_column(name, ours)),
            known=dict(self._known),
            **faults,
            rows_of={
                kind: {column: tuple(rows) for column, rows in of_kind.items()}
                for kind, of_kind in self._rows_of.items()
            },
            disagreements=dict(self._disagreements),
            renamed=dict(self._renamed),
            duplicates={image_id: 1 + repeats for image_id, repeats in self._repeated_ids.items()},
        )

    def _is_empty_column(self, name: str, ours: tuple[str, ...]) -> bool:
        """Whether a column has no value, or only words for unknown, in all rows."""
        filled = (name, *ours, *(f"{column}{AS_GIVEN_SUFFIX}" for column in ours))
        return name not in self._columns_with_values or (
            bool(ours) and not any(column in self._known for column in filled)
        )

    def list_unchanged_columns(self, row: Row) -> tuple[str, ...]:
        """Return the columns that keep their own names, in their order."""
        return self._plan_columns(tuple(row), "" if row.get("source", "").strip() else self.source).unchanged

    def _plan_columns(self, names: tuple[str, ...], source: str) -> _ColumnPlan:
        """Return the roles of columns; cached for rows with the same columns."""
        key = (names, source)
        if key not in self._plans:
            meanings = {name: find_column_meanings(name, source) for name in names}
            ours = {name: tuple(meaning.column_name for meaning in meanings[name]) for name in names}
            self._columns.update(ours)
            also_kept = {name for name in names if any(meaning.keeps_original for meaning in meanings[name])}
            unchanged = tuple(name for name in names if not ours[name] or name in also_kept)
            ids = tuple(name for name in names if "image_id" in ours[name])
            self._plans[key] = _ColumnPlan(unchanged, ids, _make_steps(meanings, source))
        return self._plans[key]


def _make_steps(meanings: Mapping[str, tuple[ColumnMeaning, ...]], source: str) -> tuple[_ParsingStep, ...]:
    """Return the parsing steps of a table with these column names and meanings, in the order of the schema."""
    pairs = [(name, meaning) for name, column_meanings in meanings.items() for meaning in column_meanings]
    order = {name: index for index, name in enumerate(COLUMN_NAMES)}

    def rank(pair: tuple[str, ColumnMeaning]) -> tuple[object, ...]:
        """Our own columns first: they contain the harmonized values, which must win if a table is harmonized again."""
        ours = pair[1].column_name
        return pair[1].rank > 0, order.get(ours, len(order)), ours, pair[1].rank

    groups: dict[str, list[tuple[str, ColumnMeaning]]] = {}
    for name, meaning in sorted(pairs, key=rank):
        groups.setdefault(find_parser(meaning.column_name)[0], []).append((name, meaning))
    return tuple(_make_step(group, source) for group in groups.values())


def _make_step(group: list[tuple[str, ColumnMeaning]], source: str) -> _ParsingStep:
    """Make one step; its results are cached."""
    parse_cells = find_parser(group[0][1].column_name)[1]

    @lru_cache(maxsize=PARSER_CACHE_SIZE)
    def parse(texts: tuple[str, ...]) -> HarmonizedCells:
        cells = [
            TableCell(name, append_unit(text, meaning.unit) if meaning.unit else text, meaning)
            for (name, meaning), text in zip(group, texts, strict=True)
            if text
        ]
        return parse_cells(cells, source)

    return _ParsingStep(tuple(name for name, _ in group), parse)


class HarmonizeOptions(Config):
    """Facts about a table that cannot be detected."""

    source: str = Field("", description="name of the public set that the table belongs to; some words differ by set")
    mapping: TableMapping = Field(
        TableMapping(), description="meaning of columns and words that are not known otherwise"
    )


def harmonize_table(table: Path, out: Path, options: HarmonizeOptions, *, run: RunContext) -> HarmonizeReport:
    """Harmonize the file ``table`` into the CSV file ``out``; all rows are kept, in their order."""
    if real_path(out) == real_path(table):
        raise InputError(f"{out} is the table itself: name another file, so that it stays as it is.")
    harmonizer = Harmonizer(options.source)
    rows: list[PackedRow] = []
    columns: dict[str, None] = {}  # in the order in which they first occur
    folder_prefix = _relative_folder(real_path(out).parent, real_path(table).parent)
    for given in track_rows(iterate_rows(table), run, "Harmonizing rows"):
        row = options.mapping.apply(given)
        harmonized = harmonizer.harmonize_row(row)
        for column in FILE_COLUMNS if folder_prefix != "." else ():
            if harmonized.get(column) and not Path(harmonized[column]).is_absolute():
                harmonized[column] = Path(os.path.normpath(Path(folder_prefix, harmonized[column]))).as_posix()
        if not rows:
            columns = dict.fromkeys((*COLUMN_NAMES, *harmonizer.list_unchanged_columns(row)))
        if not harmonized.keys() <= columns.keys():
            columns |= dict.fromkeys(harmonized)
        rows.append(PackedRow(harmonized))
    if not rows:
        raise DataSetError(f"{table} needs at least one row below its header; found none.")
    write_rows(out, list(columns), rows)
    return harmonizer.make_report()


def _relative_folder(start: Path, goal: Path) -> str:
    """Return the path from one folder to another, relative if possible."""
    try:
        return os.path.relpath(goal, start)
    except ValueError:  # another drive of Windows
        return str(goal)


def track_rows(rows: Iterable[dict[str, str]], run: RunContext, message: str) -> Iterator[dict[str, str]]:
    """Yield rows; every ``ROWS_PER_REPORT`` rows, check for cancellation and report the progress."""
    for count, row in enumerate(rows, start=1):
        yield row
        if count % ROWS_PER_REPORT == 0:
            run.check()
            run.report(Progress(count, None, message))
