"""A fitted encoding applied: rows to what they say, and what they say to the inputs of a network.

Between the two a column can be taken away from any row, as if its cell were empty: that is how a network learns to do
without it, and how an explanation asks what a column adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_melanoma.core.tabular import FARTHEST, FittedNumbers, FittedWords, TabularEncoding
from napari_melanoma.data.features.reading import Row, number_of, word_of
from napari_melanoma.data.table_schema import column_named

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TableValues:
    """What rows say of the columns of an encoding, before anything is filled in.

    ``numbers`` is float64 (row, column of numbers), in the units of the table, NaN where not known. ``codes`` is int64
    (row, column of words), an index into its words from 1, 0 where not known. ``unseen`` counts, for each column, what
    stands in a cell and is no number that can be, or no word that the training rows have.
    """

    numbers: NDArray[np.float64]
    codes: NDArray[np.int64]
    unseen: dict[str, dict[str, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Bool (row, field): whether a row says anything of a column, in the order of ``TabularEncoding.fields``."""
        return np.concatenate([~np.isnan(self.numbers), self.codes > 0], axis=1)

    def without(self, dropped: NDArray[np.bool_]) -> Self:
        """Take columns away from rows, as if their cells were empty.

        ``dropped``: bool (row, field) or (field,), in the order of ``TabularEncoding.fields``.
        """
        gone = np.broadcast_to(dropped, (len(self), self.numbers.shape[1] + self.codes.shape[1]))
        split = self.numbers.shape[1]
        numbers = np.where(gone[:, :split], np.nan, self.numbers)
        return replace(self, numbers=numbers, codes=np.where(gone[:, split:], 0, self.codes))

    def take(self, places: NDArray[np.integer]) -> Self:
        """Take some rows, such as those of a batch.

        ``places``: int (row,): which ones. In that order.
        """
        return replace(self, numbers=self.numbers[places], codes=self.codes[places])


@dataclass(frozen=True)
class TabularInputs:
    """The inputs of a network.

    ``continuous`` is float32 (row, input) as ``TabularEncoding.continuous`` names them, always finite. ``categories``
    is int64 (row, embedding) as ``TabularEncoding.embedded`` names them. ``known`` is bool (row, field).
    """

    continuous: NDArray[np.float32]
    categories: NDArray[np.int64]
    known: NDArray[np.bool_]


def encode(rows: Sequence[Row], encoding: TabularEncoding) -> TabularInputs:
    """Turn rows of a table into the inputs of a network, each row by itself."""
    return network_inputs(understand(rows, encoding), encoding)


def understand(rows: Sequence[Row], encoding: TabularEncoding) -> TableValues:
    """Read what rows say of the columns of an encoding."""
    numbers = np.full((len(rows), len(encoding.numbers)), np.nan)
    codes = np.zeros((len(rows), len(encoding.words)), np.int64)
    unseen: dict[str, dict[str, int]] = {}
    for place, number in enumerate(encoding.numbers):
        cells = [row.get(number.name) for row in rows]
        numbers[:, place] = [possible_number(cell, number.name) for cell in cells]
        _count(unseen, number.name, cells, np.isnan(numbers[:, place]))
    for place, column in enumerate(encoding.words):
        indices = {word: index for index, word in enumerate(column.words, start=1)}
        cells = [row.get(column.name) for row in rows]
        codes[:, place] = [indices.get(word_of(cell), 0) for cell in cells]
        _count(unseen, column.name, cells, codes[:, place] == 0)
    return TableValues(numbers, codes, unseen)


def network_inputs(values: TableValues, encoding: TabularEncoding) -> TabularInputs:
    """Fill in what is not known, and turn what rows say into the inputs of a network."""
    blocks = [_number_inputs(values, encoding, place) for place in range(len(encoding.numbers))]
    blocks += [_word_inputs(values.codes[:, place], column) for place, column in enumerate(encoding.words)]
    embedded = [place for place, column in enumerate(encoding.words) if column.encoding == "embedding"]
    continuous = np.concatenate([np.zeros((len(values), 0)), *blocks], axis=1)
    return TabularInputs(continuous.astype(np.float32), values.codes[:, embedded], values.known)


def without_each(values: TableValues, encoding: TabularEncoding) -> dict[str, TableValues]:
    """Take each column away by itself, to ask what it adds to an answer."""
    fields = encoding.fields
    return {name: values.without(gone) for name, gone in zip(fields, np.eye(len(fields), dtype=bool), strict=True)}


def as_matrix(values: TableValues) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give what rows say as one table, for what deals with gaps and categories itself, such as boosted trees.

    Returns float64 (row, field): numbers as they are and indices of words, NaN where not known. Returns bool (field,):
    whether a column holds indices.
    """
    codes = np.where(values.codes > 0, values.codes, np.nan)
    kinds = np.repeat([False, True], [values.numbers.shape[1], codes.shape[1]])
    return np.concatenate([values.numbers, codes], axis=1), kinds


def possible_number(cell: object, name: str) -> float:
    """Read a number of a column.

    NaN where it is none, or impossible there, such as an age of 540 years.
    """
    value, column = number_of(cell), column_named(name)
    if column is None or column.low is None or column.high is None or column.low <= value <= column.high:
        return value
    return np.nan


def _count(unseen: dict[str, dict[str, int]], name: str, cells: Sequence[object], unknown: NDArray[np.bool_]) -> None:
    """Count what stands in cells and was not understood."""
    found = Counter(str(cell).strip() for cell, gone in zip(cells, unknown, strict=True) if gone and word_of(cell))
    if found:
        unseen[name] = dict(found.most_common())


def _number_inputs(values: TableValues, encoding: TabularEncoding, place: int) -> NDArray[np.float64]:
    """Inputs of a column of numbers, float64 (row, input)."""
    column, found = encoding.numbers[place], values.numbers[:, place]
    unknown = np.isnan(found)
    filled = np.where(unknown, _stand_ins(values, encoding, column), found)
    if column.encoding == "one_hot":
        inputs = _bins(filled, unknown, column)
    elif column.encoding == "integer":
        inputs = _places(filled, unknown, column)[:, None]
    else:
        inputs = np.clip((filled - column.mean) / column.std, -FARTHEST, FARTHEST)[:, None]
    return np.concatenate([inputs, *([unknown[:, None]] if column.has_indicator else [])], axis=1)


def _stand_ins(values: TableValues, encoding: TabularEncoding, column: FittedNumbers) -> NDArray[np.float64]:
    """What stands for a number that is not known, for each row."""
    if column.missing == "category_average":
        place = [words.name for words in encoding.words].index(column.by)
        words = encoding.words[place].words
        averages = np.array([column.mean, *(column.averages.get(word, column.mean) for word in words)])
        return averages[values.codes[:, place]]
    alike = {"median": column.median, "unknown": column.mean, "zero": 0.0}
    return np.full(len(values), alike[column.missing])


def _bins(filled: NDArray[np.float64], unknown: NDArray[np.bool_], column: FittedNumbers) -> NDArray[np.float64]:
    """One input for each bin, and one for unknown where it has a code."""
    count = len(column.edges) + 1
    bins = np.searchsorted(np.asarray(column.edges), filled, side="right")
    if column.missing in ("unknown", "zero"):
        bins = np.where(unknown, count, bins)
    return np.eye(count + 1)[bins][:, : count + (column.missing == "unknown")]


def _places(filled: NDArray[np.float64], unknown: NDArray[np.bool_], column: FittedNumbers) -> NDArray[np.float64]:
    """Place among the values seen over their number; between two of them, in between."""
    if not column.levels:
        return np.zeros(len(filled))
    count = len(column.levels)
    places = np.interp(filled, column.levels, np.arange(1, count + 1) / count)
    return np.where(unknown, 0.0, places) if column.missing in ("unknown", "zero") else places


def _word_inputs(codes: NDArray[np.int64], column: FittedWords) -> NDArray[np.float64]:
    """Continuous inputs of a column of words, float64 (row, input)."""
    unknown = (codes == 0)[:, None]
    blocks = [np.zeros((len(codes), 0))]
    if column.encoding == "one_hot":
        blocks.append(np.eye(column.cardinality)[codes][:, 1:])
        blocks += [unknown] if column.missing == "unknown" else []
    elif column.encoding == "integer":
        blocks.append(codes[:, None] / max(1, len(column.words)))
    blocks += [unknown] if column.indicator else []
    return np.concatenate(blocks, axis=1)
