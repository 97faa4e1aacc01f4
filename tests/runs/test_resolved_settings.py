"""The settings that a recipe leaves open: determined from the data, recorded, and completed for older runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.runs.resolved_settings import (
    read_resolved,
    resolve_settings,
    write_resolved,
)
from napari_melanoma.training.recipe import TrainRecipe

OPTIONS = {"encoder": "test_efficientnet"}


def prepared(lesion_share: float = 0.1) -> Any:
    """Twenty training images without classes."""
    return SimpleNamespace(train=range(20), replay=None, classes=None, lesion_share=lesion_share)


def recipe_of(**values: Any) -> TrainRecipe:
    model = {"start": "none", "options": OPTIONS}
    values = {"device": "cpu", "precision": "fp32", "data": {"datasets": ["any"]}, "model": model, **values}
    return TrainRecipe.parse(values, "the test")


@pytest.mark.parametrize(
    ("weight", "lesion_share", "expected"),
    [(2.5, 0.1, 2.5), ("auto", 0.25, 3.0), ("auto", 0.001, 20.0), ("auto", 0.0, 1.0)],
)
def test_lesion_weight_balances_lesion_and_skin(weight: float | str, lesion_share: float, expected: float) -> None:
    recipe = recipe_of(lesion_weight=weight)
    resolved = resolve_settings(recipe, prepared(lesion_share), RunContext())
    assert resolved.lesion_weight == pytest.approx(expected)
    assert resolved.apply(recipe).lesion_weight == resolved.lesion_weight
    assert (resolved.batch_size, resolved.precision, resolved.network_options) == (16, "fp32", OPTIONS)


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    resolved = resolve_settings(recipe_of(), prepared(), RunContext())
    write_resolved(RunFolder(tmp_path), resolved)
    assert read_resolved(RunFolder(tmp_path)) == resolved
