"""Formatting of durations."""

from __future__ import annotations

import pytest

from napari_melanoma.core.formatting import format_duration, format_estimated_duration

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
