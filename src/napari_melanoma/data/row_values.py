"""Values of one row of a table by the meaning of its columns, as when the table is harmonized.

Every use of a row reads it with these functions: a scale, a patient or a type of photograph is otherwise known to one
part of the product and unknown to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from napari_melanoma.data.cell_values import append_unit, is_unknown_text, parse_cell
from napari_melanoma.data.table_mapping import ColumnMeaning, find_column_meanings
from napari_melanoma.data.table_schema import find_column


def read_text(row: Mapping[str, object], column: str) -> str:
    """Return the text in a column of ours; "" for none, and for a word that means unknown.

    Without a value, columns of the same meaning are read, such as ``subject_id`` for ``patient_id``.
    """
    texts = (_drop_unknown(str(row.get(name) or "").strip()) for name, _ in _list_columns(tuple(row), column))
    return next(filter(None, texts), "")


def read_value(row: Mapping[str, object], column: str) -> str:
    """Return the value of a column of the schema in our words or its unit; "" if unknown, impossible or not understood.

    Without a value, columns of the same meaning are read, such as ``mpp`` for ``mpp_x``.
    """
    columns = _list_columns(tuple(row), column)
    values = (_parse(column, str(row.get(name) or "").strip(), unit) for name, unit in columns)
    return next(filter(None, values), "")


@lru_cache(maxsize=1 << 10)
def _list_columns(names: tuple[str, ...], column: str) -> tuple[tuple[str, str], ...]:
    """List the columns of a table that mean one of ours with their units, the preferred one first.

    Columns without a meaning mean themselves.
    """
    found: list[tuple[ColumnMeaning, str]] = [
        (meaning, name) for name in names for meaning in find_column_meanings(name) if meaning.column_name == column
    ]
    ranked = sorted(found, key=lambda pair: (pair[0].rank, pair[1]))
    return tuple((name, meaning.unit) for meaning, name in ranked) or ((column, ""),)


@lru_cache(maxsize=1 << 14)
def _drop_unknown(text: str) -> str:
    return "" if is_unknown_text(text) else text


@lru_cache(maxsize=1 << 14)
def _parse(name: str, text: str, unit: str) -> str:
    column = find_column(name)
    assert column is not None
    return parse_cell(column, append_unit(text, unit) if unit else text).value
