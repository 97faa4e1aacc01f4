"""A model between the one that a run started from and the one that it learnt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from napari_melanoma.core.errors import TrainingError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.training.blending import blend_with_start, keep_start
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.train import train


def _network(value: float) -> nn.Module:
    """A layer and a normalisation with one value everywhere."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    network[1].running_mean.fill_(value)
    network[1].num_batches_tracked.fill_(int(10 * value))
    return network


@pytest.mark.parametrize(("share", "expected"), [(1.0, 3.0), (0.5, 2.0), (0.25, 1.5)])
def test_the_share_is_that_of_what_was_learnt(share: float, expected: float, tmp_path: Path) -> None:
    keep_start(_network(1.0), tmp_path / "start.safetensors")
    network = _network(3.0)
    blend_with_start(network, tmp_path / "start.safetensors", share)
    assert [float(parameter.detach().max()) for parameter in network.parameters()] == pytest.approx([expected] * 4)
    assert float(network[1].running_mean) == pytest.approx(expected)
    assert int(network[1].num_batches_tracked) == 30


def test_a_start_that_has_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="set blend = 1"):
        blend_with_start(_network(1.0), tmp_path / "gone.safetensors", 0.5)


def test_the_bundle_of_a_run_is_blended_with_the_one_it_started_from(
    alone: TrainRecipe, tmp_path: Path, change: Callable[..., TrainRecipe]
) -> None:
    first = train(alone, tmp_path / "first", resume=False, run=RunContext())
    assert first is not None
    recipe = change(alone, blend=0.25, model={"start": str(first.path)})
    second = train(recipe, tmp_path / "second", resume=False, run=RunContext())
    assert second is not None
    old, new = load_file(first.path / "model.safetensors"), load_file(second.path / "model.safetensors")
    learnt = torch.load(tmp_path / "second/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    name = next(name for name in old if name.endswith("weight"))
    expected = old[name].float().lerp(learnt[f"network.{name}"], 0.25)
    assert torch.allclose(new[name].float(), expected, atol=2e-3)
    assert not torch.allclose(new[name].float(), learnt[f"network.{name}"], atol=2e-3)


def test_without_a_bundle_to_start_from_nothing_is_blended(
    alone: TrainRecipe, tmp_path: Path, change: Callable[..., TrainRecipe]
) -> None:
    train(change(alone, blend=0.25), tmp_path / "run", resume=False, run=RunContext())
    assert not (tmp_path / "run/checkpoints/start.safetensors").exists()
