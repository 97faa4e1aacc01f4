"""Formatting of durations."""

from __future__ import annotations

import pytest

from napari_melanoma.core.formatting import format_duration

CASES = [(0.2, "0 s"), (89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (90_000, "25.0 h")]


@pytest.mark.parametrize(("seconds", "message"), CASES)
def test_durations_have_a_readable_unit(seconds: float, message: str) -> None:
    assert format_duration(seconds) == message
