"""Cells of a table that training counts as unknown although something stands in them: how many, which, and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from napari_melanoma.core.counting import first_few
from napari_melanoma.core.tabular import WordColumn
from napari_melanoma.data.features.encoding import possible_number
from napari_melanoma.data.features.reading import Row, word_of
from napari_melanoma.data.harmonise_report import listed


def unread_numbers(rows: Mapping[str, Row], columns: Iterable[str]) -> Iterator[str]:
    """Describe cells in columns of numbers that hold no number, or an impossible one."""
    for name in columns:
        cells = {key: str(row.get(name, "")).strip() for key, row in rows.items() if word_of(row.get(name))}
        bad = {key: text for key, text in cells.items() if math.isnan(possible_number(text, name))}
        if bad:
            yield _sentence(name, bad, len(rows), "no possible number")


def rare_words(rows: Mapping[str, Row], columns: Iterable[WordColumn]) -> Iterator[str]:
    """Describe cells in columns of words whose word is too rare to be learned."""
    for column in columns:
        words = {key: word for key, row in rows.items() if (word := word_of(row.get(column.name)))}
        counts = Counter(words.values())
        rare = {key: word for key, word in words.items() if counts[word] < column.min_count}
        if rare:
            yield _sentence(column.name, rare, len(rows), f"a word that fewer than {column.min_count} rows have")


def _sentence(name: str, cells: Mapping[str, str], rows: int, why: str) -> str:
    holds = "holds" if len(cells) == 1 else "hold"
    return (
        f"{len(cells)} of {rows} rows {holds} {why} in '{name}', which counts as unknown: "
        f"{listed(Counter(cells.values()))} ({first_few(cells)})."
    )
