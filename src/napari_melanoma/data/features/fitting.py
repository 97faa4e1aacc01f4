"""An encoding fitted on the rows that are learnt from: what is typical of a number, and which words there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.tabular import (
    FittedNumbers,
    FittedWords,
    NumberColumn,
    TabularChoices,
    TabularColumn,
    TabularEncoding,
    WordColumn,
)
from napari_melanoma.data.features.encoding import possible_number
from napari_melanoma.data.features.leaks import why_not
from napari_melanoma.data.features.reading import Row, word_of


def fit(rows: Sequence[Row], choices: TabularChoices, target: str = "diagnosis") -> TabularEncoding:
    """Fit an encoding.

    What a bundle carries. A column of which nothing is known gets ``known`` 0; it then says nothing.
    """
    _check(rows, choices, target)
    words = tuple(_fit_words(column, [word_of(row.get(column.name)) for row in rows]) for column in choices.words)
    numbers = tuple(_fit_numbers(column, rows) for column in choices.numbers)
    return TabularEncoding(numbers=numbers, words=words, rows=len(rows))


def _check(rows: Sequence[Row], choices: TabularChoices, target: str) -> None:
    """Refuse what cannot be fitted, or must not."""
    if not rows:
        raise DataSetError("an encoding of patient data needs rows to learn from, found none. Name another split.")
    there = {name for row in rows for name in row}
    columns: list[TabularColumn] = [*choices.numbers, *choices.words]
    for column in columns:
        if said := why_not(column.name, target):
            raise DataSetError(f"the column '{column.name}' {said}: it cannot be an input. Take it off the list.")
        if column.name not in there:
            raise DataSetError(
                f"the table has no column '{column.name}'; it has {', '.join(sorted(there))}. Name one of these."
            )


def _fit_words(column: WordColumn, found: Sequence[str]) -> FittedWords:
    """Take the words that enough rows have, the most frequent first."""
    counts = Counter(word for word in found if word)
    enough = [word for word, count in counts.items() if count >= column.min_count]
    words = sorted(enough, key=lambda word: (-counts[word], word))
    return FittedWords(**_chosen(column), known=sum(counts[word] for word in words), words=tuple(words))


def _fit_numbers(column: NumberColumn, rows: Sequence[Row]) -> FittedNumbers:
    """Take what is typical of the numbers that are known."""
    values = np.array([possible_number(row.get(column.name), column.name) for row in rows])
    known = values[~np.isnan(values)]
    if not known.size:
        return FittedNumbers(**_chosen(column))
    return FittedNumbers(
        **_chosen(column),
        known=known.size,
        mean=float(known.mean()),
        std=float(known.std()) or float(abs(known[0])) or 1.0,
        median=float(np.median(known)),
        levels=tuple(np.unique(known).tolist()) if column.encoding == "integer" else (),
        averages=_averages(values, [word_of(row.get(column.by)) for row in rows]) if column.by else {},
    )


def _averages(values: np.ndarray, words: Sequence[str]) -> dict[str, float]:
    """Mean of the numbers that are known, for each word."""
    named = np.array(words)
    groups = {word: values[(named == word) & ~np.isnan(values)] for word in sorted(set(words) - {""})}
    return {word: float(group.mean()) for word, group in groups.items() if group.size}


def _chosen(column: NumberColumn | WordColumn) -> dict[str, Any]:
    """The choice, which the fitted column repeats."""
    return column.model_dump()


def unlearnt(encoding: TabularEncoding) -> tuple[str, ...]:
    """Name the columns of which no training row knew anything.

    Returns their names; what is filled in there has no say.
    """
    return tuple(column.name for column in encoding.columns if not column.known)
