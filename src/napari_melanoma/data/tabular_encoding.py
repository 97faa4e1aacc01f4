"""Encode patient data as inputs of networks: choose columns and encodings, fit them, and impute unknown values."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.prediction_config import (
    MAX_DEVIATIONS,
    FittedNumbers,
    FittedWords,
    NumberColumn,
    TabularColumn,
    TabularConfig,
    TabularEncoding,
    WordColumn,
)
from napari_melanoma.data.cell_values import is_unknown_text, parse_cell, parse_number
from napari_melanoma.data.dataset_table import KEY_COLUMN, TableFile
from napari_melanoma.data.harmonize import list_counts
from napari_melanoma.data.table_mapping import possible_columns
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX, READER_COLUMN, find_column


@dataclass(frozen=True)
class TableValues:
    """The values of rows in the columns of an encoding, before imputation.

    ``numbers``: float64 (row, column of numbers), in the units of the table, NaN if unknown. ``codes``: int64 (row,
    column of words), the position of the word in the column's words from 1 on, 0 if unknown. ``unseen``: for each
    column, counts of texts that are no valid number, or a word that the training rows do not have.
    """

    numbers: NDArray[np.float64]
    codes: NDArray[np.int64]
    unseen: dict[str, dict[str, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether a row has a value in a column: bool (row, field), fields as in ``TabularEncoding.fields``."""
        return np.concatenate([~np.isnan(self.numbers), self.codes > 0], axis=1)

    def drop_columns(self, dropped: NDArray[np.bool_]) -> Self:
        """Return the values with some cells or columns unknown.

        ``dropped``: bool (row, field) or (field,), fields as in ``TabularEncoding.fields``.
        """
        removed = np.broadcast_to(dropped, (len(self), self.numbers.shape[1] + self.codes.shape[1]))
        split = self.numbers.shape[1]
        numbers = np.where(removed[:, :split], np.nan, self.numbers)
        return replace(self, numbers=numbers, codes=np.where(removed[:, split:], 0, self.codes))

    def select_rows(self, indices: NDArray[np.integer]) -> Self:
        """Select rows by ``indices``, int (row,), such as those of a batch."""
        return replace(self, numbers=self.numbers[indices], codes=self.codes[indices])


@dataclass(frozen=True)
class TabularInputs:
    """The inputs of a network.

    ``continuous``: float32 (row, input), finite; ``TabularEncoding.continuous`` names the inputs. ``categories``: int64
    (row, column), codes of the columns in ``TabularEncoding.embedded``. ``known``: bool (row, field), whether a value
    is known.
    """

    continuous: NDArray[np.float32]
    categories: NDArray[np.int64]
    known: NDArray[np.bool_]


def encode_rows(rows: Sequence[Row], encoding: TabularEncoding) -> TabularInputs:
    return make_network_inputs(read_table_values(rows, encoding), encoding)


def read_table_values(rows: Sequence[Row], encoding: TabularEncoding) -> TableValues:
    numbers = np.full((len(rows), len(encoding.numbers)), np.nan)
    codes = np.zeros((len(rows), len(encoding.words)), np.int64)
    unseen: dict[str, dict[str, int]] = {}
    for index, number in enumerate(encoding.numbers):
        cells = [row.get(number.name) for row in rows]
        numbers[:, index] = [read_number(cell, number.name) for cell in cells]
        _count_unknown(unseen, number.name, cells, np.isnan(numbers[:, index]))
    for position, column in enumerate(encoding.words):
        indices = _index_words(column)
        cells = [row.get(column.name) for row in rows]
        codes[:, position] = [_find_code(indices, cell, column.name) for cell in cells]
        _count_unknown(unseen, column.name, cells, codes[:, position] == 0)
    return TableValues(numbers, codes, unseen)


def _index_words(column: FittedWords) -> dict[str, int]:
    """Return the codes of the words of a column.

    Earlier versions stored words as the table had them, also several with one meaning, such as two diagnoses that are
    melanoma: each keeps its code.
    """
    indices = {read_word(word): index for index, word in enumerate(column.words, start=1)}
    for index, word in enumerate(column.words, start=1):
        indices.setdefault(read_word(word, column.name), index)
    return indices


def _find_code(indices: Mapping[str, int], cell: object, name: str) -> int:
    """Return the code of a cell of a column: that of its text, else of its meaning; 0 if unknown."""
    return indices.get(read_word(cell)) or indices.get(read_word(cell, name), 0)


def make_network_inputs(values: TableValues, encoding: TabularEncoding) -> TabularInputs:
    """Impute unknown values, and encode the values as inputs of a network.

    Those of an ensemble are the inputs of its networks, one after the other.
    """
    if encoding.members:
        parts = [make_network_inputs(_translate_codes(values, encoding, member), member) for member in encoding.members]
        continuous = np.concatenate([part.continuous for part in parts], axis=1)
        return TabularInputs(continuous, np.concatenate([part.categories for part in parts], axis=1), values.known)
    blocks = [_number_inputs(values, encoding, index) for index in range(len(encoding.numbers))]
    blocks += [_word_inputs(values.codes[:, index], column) for index, column in enumerate(encoding.words)]
    embedded = [index for index, column in enumerate(encoding.words) if column.encoding == "embedding"]
    continuous = np.concatenate([np.zeros((len(values), 0)), *blocks], axis=1)
    return TabularInputs(continuous.astype(np.float32), values.codes[:, embedded], values.known)


def _translate_codes(values: TableValues, encoding: TabularEncoding, member: TabularEncoding) -> TableValues:
    """Return the values with the codes of one network of an ensemble; words that it does not have are unknown."""
    codes = np.zeros_like(values.codes)
    for index, (column, own) in enumerate(zip(encoding.words, member.words, strict=True)):
        own_codes = _index_words(own)
        translated = [0, *(_find_code(own_codes, word, column.name) for word in column.words)]
        codes[:, index] = np.array(translated)[values.codes[:, index]]
    return replace(values, codes=codes)


def join_encodings(members: Sequence[TabularEncoding]) -> TabularEncoding:
    """Return the encoding of an ensemble: the columns of its networks, with the words of all of them."""
    first = members[0]
    words = []
    for columns in zip(*(member.words for member in members), strict=True):
        known = dict.fromkeys(read_word(word, column.name) for column in columns for word in column.words)
        words.append(columns[0].model_copy(update={"words": tuple(known)}))
    return TabularEncoding(numbers=first.numbers, words=tuple(words), rows=first.rows, members=tuple(members))


def drop_each_column(values: TableValues, encoding: TabularEncoding) -> dict[str, TableValues]:
    """Return the values without each column in turn, by the name of the column, to measure its contribution."""
    fields = encoding.fields
    removed = np.eye(len(fields), dtype=bool)
    return {name: values.drop_columns(column) for name, column in zip(fields, removed, strict=True)}


def to_matrix(values: TableValues) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return values as one matrix, for models that handle gaps and categories themselves, such as boosted trees.

    Returns float64 (row, field), numbers or codes of words, NaN if unknown; and bool (field,), whether a field has
    codes.
    """
    codes = np.where(values.codes > 0, values.codes, np.nan)
    is_code = np.repeat([False, True], [values.numbers.shape[1], codes.shape[1]])
    return np.concatenate([values.numbers, codes], axis=1), is_code


def _count_unknown(
    unseen: dict[str, dict[str, int]], name: str, cells: Sequence[object], unknown: NDArray[np.bool_]
) -> None:
    """Count the texts of cells that have a value which was not understood (``unknown``: bool (row,))."""
    counts = Counter(
        str(cell).strip() for cell, is_unknown in zip(cells, unknown, strict=True) if is_unknown and read_word(cell)
    )
    if counts:
        unseen[name] = dict(counts.most_common())


def _number_inputs(values: TableValues, encoding: TabularEncoding, index: int) -> NDArray[np.float64]:
    """Return the inputs of a column of numbers, float64 (row, input)."""
    column, values_of_column = encoding.numbers[index], values.numbers[:, index]
    unknown = np.isnan(values_of_column)
    filled = np.where(unknown, _impute(values, encoding, column), values_of_column)
    if column.encoding == "one_hot":
        inputs = _encode_bins(filled, unknown, column)
    elif column.encoding == "integer":
        inputs = _encode_ranks(filled, unknown, column)[:, None]
    else:
        inputs = np.clip((filled - column.mean) / column.std, -MAX_DEVIATIONS, MAX_DEVIATIONS)[:, None]
    return np.concatenate([inputs, *([unknown[:, None]] if column.has_indicator else [])], axis=1)


def _impute(values: TableValues, encoding: TabularEncoding, column: FittedNumbers) -> NDArray[np.float64]:
    """Return the value for each row that replaces an unknown number, float64 (row,)."""
    if column.missing == "category_average":
        index = [words.name for words in encoding.words].index(column.by)
        words = encoding.words[index].words
        averages = np.array([column.mean, *(column.averages.get(word, column.mean) for word in words)])
        return averages[values.codes[:, index]]
    constants = {"median": column.median, "unknown": column.mean, "zero": 0.0}
    return np.full(len(values), constants[column.missing])


def _encode_bins(filled: NDArray[np.float64], unknown: NDArray[np.bool_], column: FittedNumbers) -> NDArray[np.float64]:
    """Encode numbers one-hot, with one input for each bin, and one for unknown if ``column.missing`` is "unknown"."""
    count = len(column.edges) + 1
    bins = np.searchsorted(np.asarray(column.edges), filled, side="right")
    if column.missing in ("unknown", "zero"):
        bins = np.where(unknown, count, bins)
    return np.eye(count + 1)[bins][:, : count + (column.missing == "unknown")]


def _encode_ranks(
    filled: NDArray[np.float64], unknown: NDArray[np.bool_], column: FittedNumbers
) -> NDArray[np.float64]:
    """Encode numbers as their rank among the distinct training values, divided by the number of these."""
    if not column.levels:
        return np.zeros(len(filled))
    count = len(column.levels)
    ranks = np.interp(filled, column.levels, np.arange(1, count + 1) / count)
    return np.where(unknown, 0.0, ranks) if column.missing in ("unknown", "zero") else ranks


def _word_inputs(codes: NDArray[np.int64], column: FittedWords) -> NDArray[np.float64]:
    """Return the continuous inputs of a column of words, float64 (row, input); none for an embedding."""
    unknown = (codes == 0)[:, None]
    blocks = [np.zeros((len(codes), 0))]
    if column.encoding == "one_hot":
        blocks.append(np.eye(column.cardinality)[codes][:, 1:])
        blocks += [unknown] if column.missing == "unknown" else []
    elif column.encoding == "integer":
        blocks.append(codes[:, None] / max(1, len(column.words)))
    blocks += [unknown] if column.indicator else []
    return np.concatenate(blocks, axis=1)


def fit_encoding(rows: Sequence[Row], choices: TabularConfig, target: str = "diagnosis") -> TabularEncoding:
    """Fit an encoding to training rows; ``target`` is the column that the model predicts.

    A column without known values is kept; it does not contribute to predictions.
    """
    check_columns(rows, choices, target)
    words = tuple(
        _fit_categories(column, [read_word(row.get(column.name), column.name) for row in rows])
        for column in choices.words
    )
    numbers = tuple(_fit_numbers(column, rows) for column in choices.numbers)
    return TabularEncoding(numbers=numbers, words=words, rows=len(rows))


def check_columns(rows: Sequence[Row], choices: TabularConfig, target: str) -> None:
    """Raise if a column of patient data is in none of the training rows, or must not be an input."""
    if not rows:
        raise DataSetError("an encoding of patient data needs training rows, found none. Choose another split.")
    present = {name for row in rows for name in row}
    columns: list[TabularColumn] = [*choices.numbers, *choices.words]
    for column in columns:
        if reason := explain_ineligible(column.name, target):
            raise DataSetError(f"the column '{column.name}' cannot be an input: it {reason}. Remove it from the list.")
        if column.name not in present:
            raise DataSetError(
                f"the table has no column '{column.name}'. Correct its name in the list of inputs, or remove it."
            )


def _fit_categories(column: WordColumn, cells: Sequence[str]) -> FittedWords:
    """List the words of a column that enough rows have, the most frequent first."""
    counts = Counter(word for word in cells if word)
    frequent = [word for word, count in counts.items() if count >= column.min_count]
    words = sorted(frequent, key=lambda word: (-counts[word], word))
    return FittedWords(**column.model_dump(), known=sum(counts[word] for word in words), words=tuple(words))


def _fit_numbers(column: NumberColumn, rows: Sequence[Row]) -> FittedNumbers:
    values = np.array([read_number(row.get(column.name), column.name) for row in rows])
    known_values = values[~np.isnan(values)]
    if not known_values.size:
        return FittedNumbers(**column.model_dump())
    return FittedNumbers(
        **column.model_dump(),
        known=known_values.size,
        mean=float(known_values.mean()),
        std=float(known_values.std()) or float(abs(known_values[0])) or 1.0,
        median=float(np.median(known_values)),
        levels=tuple(np.unique(known_values).tolist()) if column.encoding == "integer" else (),
        averages=_average_by_word(values, rows, column.by) if column.by else {},
    )


def _average_by_word(values: np.ndarray, rows: Sequence[Row], name: str) -> dict[str, float]:
    """Return the mean of the known numbers for each word of a column."""
    words = np.array([read_word(row.get(name), name) for row in rows])
    groups = {word: values[(words == word) & ~np.isnan(values)] for word in sorted({*words.tolist()} - {""})}
    return {word: float(group.mean()) for word, group in groups.items() if group.size}


# Cells of a table

Row = Mapping[str, object]
"""Column to cell: text or a number. A missing column, None, "" and words such as "n/a" mean unknown."""


def read_number(cell: object, name: str = "") -> float:
    """Read a finite number; NaN if the cell contains none.

    ``name``: the column. A number of the schema is read as when its table is harmonized: in the unit of the column, and
    NaN if it is impossible, such as an age of 540 years. In another column, ``1,234`` is NaN: it may be a thousand.
    """
    text, column = str(cell).strip(), find_column(name)
    if column is not None and column.kind == "number":
        text = parse_cell(column, text).value
    elif _AMBIGUOUS.fullmatch(text):
        return math.nan
    value = parse_number(text)
    return value if value is not None and math.isfinite(value) else math.nan


def read_word(cell: object, name: str = "") -> str:
    """Read a word in lower case, without surrounding spaces; "" if unknown.

    ``name``: the column. A word of the schema is read as when its table is harmonized: ``F`` as ``female``.
    """
    return "" if cell is None else _normalize_word(str(cell), name)


@lru_cache(maxsize=4096)
def _normalize_word(text: str, name: str) -> str:
    """Normalize the text of a cell; cached, because a column has few different words."""
    word, column = text.strip(), find_column(name)
    if is_unknown_text(word):
        return ""
    if column is not None and column.kind in ("word", "yes_no"):
        value, fault = parse_cell(column, word)
        return word.casefold() if fault else value
    return word.casefold()


def describe_invalid_numbers(rows: Mapping[str, Row], columns: Iterable[str]) -> Iterator[str]:
    """Describe cells in columns of numbers without a possible number; ``rows`` maps names to rows."""
    for name in columns:
        cells = {key: str(row.get(name, "")).strip() for key, row in rows.items() if read_word(row.get(name))}
        invalid = {key: text for key, text in cells.items() if math.isnan(read_number(text, name))}
        if invalid:
            yield _describe_cells(name, invalid, len(rows), "no valid number")


def describe_rare_values(rows: Mapping[str, Row], columns: Iterable[WordColumn]) -> Iterator[str]:
    """Describe cells whose word is too rare to be learned; ``rows`` maps names to rows."""
    for column in columns:
        words = {key: word for key, row in rows.items() if (word := read_word(row.get(column.name), column.name))}
        counts = Counter(words.values())
        rare = {key: word for key, word in words.items() if counts[word] < column.min_count}
        if rare:
            yield _describe_cells(column.name, rare, len(rows), f"a word that fewer than {column.min_count} rows have")


def _describe_cells(name: str, cells: Mapping[str, str], rows: int, problem: str) -> str:
    holds = "holds" if len(cells) == 1 else "hold"
    return (
        f"{len(cells)} of {rows} rows {holds} {problem} in '{name}', which counts as unknown: "
        f"{list_counts(Counter(cells.values()))} ({format_names(cells)})."
    )


# Choice of columns and encodings

EncodingStyle = Literal["embedding", "one_hot", "integer"]
# P3 encodes age and depth one-hot but does not state its bins. These are decades, and the limits of T1a, T1b, T2, T3
# and T4 (AJCC Cancer Staging Manual, 8th edition): T1b is 0.8 to 1.0, T2 above 1.0 to 2.0 and so on, to the nearest
# 0.1 mm.
BIN_EDGES = {"age": (30.0, 40.0, 50.0, 60.0, 70.0, 80.0), "depth_mm": (0.75, 1.05, 2.05, 4.05)}
_AMBIGUOUS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")  # a decimal comma, or thousands
# Columns that identify where an image is from
PROVENANCE_PATTERN = re.compile(
    r"source|domain|.*_source|also_in|original_(width|height)|pixels_[xy]|mpp_[xy]"
    r"|slide|level|[xy]_px|(width|height)_px|share"  # of a tile: position in the slide, share of its class
    r"|result|slide_file|depth_source"  # of a slide: its result folder, and where its depth was measured
)
MAX_WORDS = 100  # of a column; a column with more different words is free text
MAX_CODES = 10  # outside the schema, a column with at most this many different whole numbers contains codes


def list_eligible_columns(rows: Sequence[Row], target: str = "diagnosis") -> tuple[str, ...]:
    """List the columns of a table that can be inputs, in the order of the table.

    These have at least two different values, repeat their words (unlike free text), and do not contain the target or
    the diagnosis. ``source``, ``domain``, the size of the file and similar columns are left out: a network could learn
    where an image is from instead of what it shows.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    shows_provenance = PROVENANCE_PATTERN.fullmatch
    allowed = [
        name
        for name in names
        if not any(map(shows_provenance, (name, *possible_columns(name)))) and not explain_ineligible(name, target)
    ]
    return tuple(name for name in allowed if _is_informative(name, rows))


def _is_informative(name: str, rows: Sequence[Row]) -> bool:
    """Whether a column has several words that repeat, or several numbers."""
    words = {word for row in rows if (word := read_word(row.get(name), name))}
    return len(words) > 1 and (len(words) <= MAX_WORDS or _is_number(name, rows))


def choose_encodings(names: Sequence[str], rows: Sequence[Row], style: EncodingStyle = "embedding") -> TabularConfig:
    """Choose an encoding for each column; the result can be changed before fitting."""
    if not names:
        raise DataSetError("no input column was given. Choose some, such as age, sex and site.")
    numbers = [name for name in names if _is_number(name, rows)]
    words = [WordColumn(name=name, encoding=style) for name in names if name not in numbers]
    return TabularConfig(
        numbers=tuple(_choose_number_encoding(name, rows, style) for name in numbers), words=tuple(words)
    )


def _is_number(name: str, rows: Sequence[Row]) -> bool:
    """Whether a column contains numbers rather than codes."""
    schema_column = find_column(name)
    if schema_column is not None:
        return schema_column.kind == "number"
    cells = [row.get(name) for row in rows]
    numbers = {read_number(cell) for cell in cells if read_word(cell)}
    are_codes = len(numbers) <= MAX_CODES and all(number.is_integer() for number in numbers)
    return not (are_codes or any(math.isnan(number) for number in numbers))


def _choose_number_encoding(name: str, rows: Sequence[Row], style: EncodingStyle) -> NumberColumn:
    if style == "integer":
        return NumberColumn(name=name, encoding="integer", missing="unknown")
    edges = (BIN_EDGES.get(name) or _quartiles(name, rows)) if style == "one_hot" else ()
    if edges:
        return NumberColumn(name=name, encoding="one_hot", missing="unknown", edges=edges)
    return NumberColumn(name=name)


def _quartiles(name: str, rows: Sequence[Row]) -> tuple[float, ...]:
    """Return the distinct quartiles of the known numbers; none if no number is known."""
    numbers = np.array([read_number(row.get(name), name) for row in rows])
    numbers = numbers[~np.isnan(numbers)]
    return tuple(np.unique(np.quantile(numbers, [0.25, 0.5, 0.75])).tolist()) if numbers.size else ()


def join_features(rows: Sequence[Row], path: Path) -> list[dict[str, object]]:
    """Add the columns of a table of features to the rows of a data set, by image id.

    If both have a column, the value of the data set is used.
    """
    if not path.is_file():
        raise DataSetError(f"the table of features {path} does not exist. Run: napari-melanoma data features DATASET")
    measured = {row[KEY_COLUMN]: row for row in TableFile.read(path).rows()}
    return [{**measured.get(str(row.get(KEY_COLUMN)), {}), **row} for row in rows]


# Columns that cannot be inputs

ID_COLUMNS = ("image_id", "patient_id", "lesion_id", "near_duplicate_of", "path", "mask_path")
BOOKKEEPING_COLUMNS = ("split", "fold", "review", "licence", "attribution", "copyright_license")
DIAGNOSIS_COLUMNS = ("diagnosis", "diagnosis_detail", "diagnosis_by", "target", "melanoma")
# Columns that are never inputs, so that a notice on unused columns omits them: identifiers, acquisition and diagnosis.
NEVER_INPUTS = (
    *ID_COLUMNS,
    *BOOKKEEPING_COLUMNS,
    *DIAGNOSIS_COLUMNS,
    *("source", "domain", "modality", "mpp_x", "mpp_y", "metastasis"),
)
# Columns of public sets (PAD-UFES-20, PH2, ISIC 2017, 2020 and 2024, Fitzpatrick17k, lesion sizes) that reveal the
# diagnosis: outputs of models and of crowds, and columns that are filled in for one diagnosis only.
DIAGNOSIS_PATTERN = re.compile(
    r"diagnos|histo(log|path)|malignan|benign|biops|label|mpath|\bdx|iddx|seborrheic_keratosis|_score$|_confidence$"
    r"|^(mel|bcc|scc|nevus)_|^melanocytic$|^atypia$|^derm_fib$"
)
ID_PATTERN = re.compile(r"(.*_)?(id|name)|mrn", re.IGNORECASE)
OTHER_PREFIX = "other_"  # prefix of a column with differing values of a second row of the image
# Known only after the histological diagnosis
POST_DIAGNOSIS_COLUMNS = (
    "depth_mm",
    "ulceration",
    "mitoses_per_mm2",
    "clark",
    "necrosis",
    "metastasis",
    "mel_thick_mm",
    "mel_mitotic_index",
)
DEPTH_COLUMNS = ("depth_mm", "clark", "mel_thick_mm")  # measures of invasion, which predict each other


def find_unused(row: Row, used: Collection[str]) -> tuple[str, ...]:
    """Return the columns of clinical metadata that have a value but are not used, sorted; without ``NEVER_INPUTS``."""
    ignored = {*used, *NEVER_INPUTS}
    return tuple(sorted(name for name, cell in row.items() if read_word(cell) and name not in ignored))


def explain_ineligible(name: str, target: str = "diagnosis") -> str:
    """Explain why a column cannot be an input, as a clause that follows "it"; "" if it can be an input."""
    column = name.removesuffix(AS_GIVEN_SUFFIX).removeprefix(OTHER_PREFIX)
    column = "depth_mm" if READER_COLUMN.fullmatch(column) else column
    return next(
        filter(
            None,
            (_explain_ineligible_meaning(meaning, target) for meaning in (column, *sorted(possible_columns(column)))),
        ),
        "",
    )


def _explain_ineligible_meaning(column: str, target: str) -> str:
    if column in ID_COLUMNS or ID_PATTERN.fullmatch(column):
        return "is an identifier, which does not generalize to other patients"
    if column in BOOKKEEPING_COLUMNS or column.startswith("split_"):
        return "describes how the data are organized, not the lesion"
    if column == target or (column in DEPTH_COLUMNS and target in DEPTH_COLUMNS):
        return "contains the target"
    if target not in DIAGNOSIS_COLUMNS:
        return ""
    if column in DIAGNOSIS_COLUMNS or DIAGNOSIS_PATTERN.search(column.lower()):
        return "contains the diagnosis, or follows from a suspected diagnosis"
    return "is known only once the diagnosis is known" if column in POST_DIAGNOSIS_COLUMNS else ""
