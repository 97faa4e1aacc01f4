"""A training with a tracker records its epochs, samples and result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MissingPackage
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


def test_training_is_recorded(alone: TrainRecipe, tmp_path: Path, change: Change) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = change(alone, trackers=["tensorboard"], samples=1)
    train(recipe, tmp_path / "run", resume=False, run=RunContext())
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [item.step for item in events.Scalars("epoch/validation_jaccard")] == [1, 2]
    assert len(events.Scalars("result/threshold")) == 1
    (picture,) = events.Tags()["images"]
    assert [item.step for item in events.Images(picture)] == [1, 2]
    assert "README.md/text_summary" in events.Tags()["tensors"]


def test_a_missing_tracker_is_reported_before_the_folder_is_created(
    alone: TrainRecipe, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = "napari_melanoma.core.packages.is_installed"
    monkeypatch.setattr(real, lambda package: package != "wandb")
    with pytest.raises(MissingPackage, match="pip install wandb"):
        train(change(alone, trackers=["wandb"]), tmp_path / "run", resume=False, run=RunContext())
    assert not (tmp_path / "run").exists()
