"""Packed rows equal the mapping that they were made from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.data.dataset import PackedRow, unpack_row

ROWS = st.dictionaries(st.text(max_size=3), st.text(st.characters(exclude_characters="\x1f"), max_size=4), max_size=4)


@settings(max_examples=50)
@given(ROWS, ROWS, ROWS)
def test_a_phantom_matches_its_configuration(
    own: dict[str, str], below: dict[str, str], deepest: dict[str, str]
) -> None:
    row = PackedRow(own).with_defaults(below).with_defaults(deepest)
    expected = {**deepest, **below, **own}
    assert unpack_row(row) == dict(row.items()) == expected
    assert len(row) == len(expected)
    assert unpack_row(expected) == expected


def test_a_cell_that_is_not_there() -> None:
    row = PackedRow({"a": ""}, {"b": "1"})
    assert (row["a"], row["b"], row.get("c", "-")) == ("", "1", "-")
    with pytest.raises(KeyError):
        row["c"]


def test_the_separator_itself_is_a_blank() -> None:
    for values in ({"a": "x\x1fy"}, {"a": "\x1f", "b": "z"}):
        assert unpack_row(PackedRow(values)) == {name: text.replace("\x1f", " ") for name, text in values.items()}
