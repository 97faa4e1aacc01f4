"""Interpolation between the initial and the trained weights of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.runs.train import train
from napari_melanoma.training.engine import interpolate_weights, read_initial_weights, save_initial_weights
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


def _network(value: float) -> nn.Module:
    """Return a layer and a normalization, in which all values are equal."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    network[1].running_mean.fill_(value)
    network[1].num_batches_tracked.fill_(int(10 * value))
    return network


@pytest.mark.parametrize(("share", "expected"), [(1.0, 3.0), (0.5, 2.0), (0.25, 1.5)])
def test_the_share_is_the_weight_of_the_trained_values(share: float, expected: float, tmp_path: Path) -> None:
    save_initial_weights(_network(1.0), tmp_path / "start.safetensors")
    network = _network(3.0)
    start = read_initial_weights(tmp_path / "start.safetensors")
    assert start is not None
    interpolate_weights(network, start, share)
    assert [float(parameter.detach().max()) for parameter in network.parameters()] == pytest.approx([expected] * 4)
    assert float(network[1].running_mean) == pytest.approx(expected)
    assert int(network[1].num_batches_tracked) == 30


@pytest.mark.parametrize("content", [None, b"", b"half of it"])
def test_missing_or_damaged_initial_weights_are_not_used(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "start").write_bytes(content)
    assert read_initial_weights(tmp_path / "start") is None


@pytest.fixture
def start(tiny_bundle: BundleInfo, tmp_path: Path) -> Path:
    """A bundle in the user's folder, as initial model."""
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "start"))


@pytest.mark.parametrize("lost", [["checkpoints"], ["checkpoints", "start.safetensors"]], ids=["", "kept weights"])
def test_weights_are_interpolated_even_if_files_of_the_run_were_removed(
    lost: list[str], alone: TrainRecipe, start: Path, tmp_path: Path, change: Change
) -> None:
    out = tmp_path / "run"
    recipe = change(alone, samples=0, wise_ft_weight=0.25, model={"start": str(start)})
    bundle = train(recipe, out, resume=False, run=removing(*(out / name for name in lost)))
    assert bundle is not None
    old, new = load_file(start / "model.safetensors"), load_file(bundle.path / "model.safetensors")
    learnt = torch.load(out / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    name = next(name for name in old if name.endswith("weight"))
    expected = old[name].float().lerp(learnt[f"network.{name}"], 0.25)
    assert torch.allclose(new[name].float(), expected, atol=2e-3)
    assert not torch.allclose(new[name].float(), learnt[f"network.{name}"], atol=2e-3)


def test_a_model_without_its_initial_weights_is_not_interpolated(
    alone: TrainRecipe, start: Path, tmp_path: Path, change: Change
) -> None:
    out = tmp_path / "run"
    recipe = change(alone, samples=0, wise_ft_weight=0.25, model={"start": str(start)})
    bundle = train(recipe, out, resume=False, run=removing(out / "start.safetensors", start))
    assert bundle is not None
    learnt = torch.load(out / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    new = load_file(bundle.path / "model.safetensors")
    assert all(torch.allclose(new[name].float(), learnt[f"network.{name}"].float(), 1e-2, 2e-3) for name in new)
    notices = [str(event["message"]) for event in RunFolder(out).read_events() if event["kind"] == "notice"]
    assert [notice for notice in notices if "not interpolated" in notice]


def removing(*paths: Path) -> RunContext:
    """Return a context that removes files and folders during a run."""

    def report(progress: Progress) -> None:
        if progress.message.startswith("Epoch 1 of 2:"):
            for path in paths:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return RunContext(report)
