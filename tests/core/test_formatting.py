"""Formatting of classes, counts, time spans and representations."""

from __future__ import annotations

import pytest

from napari_melanoma.core.formatting import format_class, format_count, format_repr, format_time_ago


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("naevus", "nevus"),
        ("Naevus", "Nevus"),
        ("Spitz naevus", "Spitz nevus"),
        ("blue naevi", "blue nevi"),
        ("nevus", "nevus"),
        ("melanoma", "melanoma"),
        ("naevoid", "naevoid"),
    ],
)
def test_classes_are_shown_in_one_spelling(stored: str, shown: str) -> None:
    assert format_class(stored) == shown


@pytest.mark.parametrize(
    ("count", "what", "expected"),
    [
        (1, "box", "1 box"),
        (2, "box", "2 boxes"),
        (0, "class", "0 classes"),
        (1200, "patch", "1,200 patches"),
        (2, "epoch", "2 epochs"),
    ],
)
def test_a_count_has_the_plural_of_its_noun(count: int, what: str, expected: str) -> None:
    assert format_count(count, what) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "a moment ago"),
        (59.9, "a moment ago"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (7200, "2 hours ago"),
        (86400, "1 day ago"),
        (200_000, "2 days ago"),
    ],
)
def test_a_time_span_is_given_in_its_largest_unit(seconds: float, expected: str) -> None:
    assert format_time_ago(seconds) == expected


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (0.123456, "0.1235"),
        (12345.6, "12346"),
        (-12345.6, "-12346"),
        ((0.123456, 2.0), "(0.1235, 2)"),
        ({"area": 1 / 3}, "{'area': 0.3333}"),
        ((1, 2), "(1, 2)"),
        ("a", "'a'"),
        (None, "None"),
    ],
    ids=str,
)
def test_numbers_of_a_representation_are_short(field: object, shown: str) -> None:
    assert format_repr(ValueError(), field=field, other=1) == f"ValueError(field={shown}, other=1)"
