"""A run of a network without weights: one epoch, no optimizer step, a bundle, and an estimate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import load_network, read_bundle
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


@pytest.fixture
def baseline(alone: TrainRecipe, change: Change) -> TrainRecipe:
    """A recipe of many epochs, which have no effect on a network without weights."""
    model = {"architecture": "constant_negative", "options": {}}
    return change(alone, epochs=40, batch_size="auto", samples=0, ema_decay=0.9, model=model)


def test_one_epoch_produces_a_bundle(baseline: TrainRecipe, tmp_path: Path) -> None:
    from napari_melanoma.runs.train import train

    train(baseline, tmp_path / "run", resume=False, run=RunContext())
    events = RunFolder(tmp_path / "run").read_events()
    assert sum(event["kind"] == "epoch" for event in events) == 1
    bundle = read_bundle(tmp_path / "run" / "bundle")
    assert bundle.config.provenance["validation_jaccard"] == 0  # it predicts no lesion, but each image has one
    assert load_network(bundle).state_dict() == {}


def test_a_step_of_it_can_be_measured(baseline: TrainRecipe) -> None:
    from napari_melanoma.training.batch_size import measure_step

    assert measure_step(baseline).image_s > 0
