"""A patience shorter than a cycle of the schedule is reported before the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napari_melanoma.training.monitor import longest_cycle, patience_warnings
from napari_melanoma.training.recipe import TrainRecipe

LENGTHS = [
    ((4, 4, 2), 0),  # one cycle: no restart
    ((11, 4, 2), 0),
    ((12, 4, 2), 8),
    ((28, 4, 2), 16),
    ((124, 4, 2), 64),
    ((123, 4, 2), 32),
    ((10, 5, 1), 5),
    ((9, 5, 1), 0),
    ((3, 0.5, 2), 1),
    ((1000, 1e-9, 1), 1e-9),
]


@pytest.mark.parametrize(("run", "expected"), LENGTHS)
def test_longest_cycle_that_does_not_exhaust_patience(run: tuple[int, float, float], expected: float) -> None:
    assert longest_cycle(*run) == pytest.approx(expected)


WARNED: list[tuple[dict[str, Any], bool]] = [
    ({"schedule": "cosine_restarts", "epochs": 28, "patience": 15}, True),
    ({"schedule": "cosine_restarts", "epochs": 28, "patience": 16}, False),
    ({"schedule": "cosine_restarts", "epochs": 16}, False),  # the defaults of a recipe
    ({"schedule": "one_cycle", "epochs": 28, "patience": 2}, False),
]


@pytest.mark.parametrize(("options", "expected"), WARNED)
def test_a_short_patience_is_reported(
    options: dict[str, Any], expected: bool, recipe: TrainRecipe, change: Callable[..., TrainRecipe]
) -> None:
    settled = {"cycle_epochs": 4, "cycle_growth": 2, "patience": 8}
    warnings = patience_warnings(change(recipe, **settled | options))
    assert bool(warnings) is expected
    if expected:
        assert "cycle of 16 epochs" in warnings[0]
        assert "Set patience to 16 or more" in warnings[0]
