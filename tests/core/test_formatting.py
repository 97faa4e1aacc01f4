"""Formatting of classes, counts, durations, names and representations."""

from __future__ import annotations

import pytest

from napari_melanoma.core.formatting import (
    count_digits,
    format_class,
    format_count,
    format_duration,
    format_estimated_duration,
    format_names,
    format_repr,
    format_share,
    format_significant,
    format_time_ago,
    shorten_name,
)


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
        (0, "image", "0 images"),
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
    ("value", "limit", "digits"),
    [(0.31, 0.2, 2), (0.0771, 0.0812, 3), (0.07991, 0.08, 4), (0.08, 0.08, 2), (0.08, 0.08 + 1e-12, 6)],
)
def test_a_value_is_distinguished_from_its_limit(value: float, limit: float, digits: int) -> None:
    assert count_digits(value, limit) == digits


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


CASES = [
    (-0.2, "0 s"), (89.4, "89 s"), (89.5, "2 min"), (90, "2 min"), (5369, "89 min"), (5399, "1 h 30 min"),
    (7220, "2 h"),
    (35_940, "9 h 59 min"), (36_500, "10 h"), (90_000, "25 h"), (171_000, "2 days"), (300_000, "3 days"),
    (float("inf"), "unknown"), (float("nan"), "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("seconds", "message"), CASES)
def test_durations_have_a_readable_unit(seconds: float, message: str) -> None:
    assert format_duration(seconds) == message


ESTIMATES = [
    (0.3, "5 s"), (42, "40 s"), (87, "85 s"), (89.4, "2 min"), (3599, "60 min"), (3700, "60 min"),
    (5369, "1 h 30 min"), (7980, "2 h 10 min"), (36_500, "10 h"),
]  # fmt: skip


@pytest.mark.parametrize(("seconds", "message"), ESTIMATES)
def test_estimated_durations_are_rounded(seconds: float, message: str) -> None:
    assert format_estimated_duration(seconds) == message


@pytest.mark.parametrize(
    ("names", "most", "message"),
    [
        ([], 3, ""),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        ({"a": 1, "b": 2}, 1, "a and 1 more"),
        ((1, 2), 3, "1, 2"),
    ],
)
def test_the_first_few_of_many_are_named(names, most, message) -> None:
    assert format_names(names, most) == message


@pytest.mark.parametrize(
    ("name", "shown"),
    [("mole", "mole"), ("a" * 24, "a" * 24), ("dermoscopic photograph of the left arm 12", "dermoscopic…left arm 12")],
)
def test_a_long_name_keeps_its_start_and_its_end(name: str, shown: str) -> None:
    assert shorten_name(name) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (0.0004, "0.04 %"),
        (0.05, "5 %"),
        (0.0994, "9.9 %"),
        (0.0996, "10 %"),
        (0.17, "17 %"),
        (0.994, "99 %"),
        (0.996, "99.6 %"),
        (0.9996, "99.96 %"),
        (1.0, "100 %"),
    ],
)
def test_only_none_and_all_are_0_and_100_percent(share: float, shown: str) -> None:
    assert format_share(share) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (99.95, "100"), (999.4, "999"), (999.6, "1,000"), (1234.5, "1,234"), (-1234.5, "-1,234")],
)
def test_a_large_number_has_no_power_of_ten(value: float, text: str) -> None:
    assert format_significant(value) == text
