"""Precision and device of a run, and the process that owns its folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from napari_melanoma.core.errors import RunError
from napari_melanoma.models import torch_inference
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.training import engine
from napari_melanoma.training.engine import RANKS, is_first_process, next_accumulation
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.tasks import task
from napari_melanoma.training.tasks.segmentation import SegmentationTask

Change = Callable[..., TrainRecipe]


@pytest.mark.parametrize(
    ("wish", "has_bf16", "expected"),
    [
        ("fp32", True, "32-true"),
        ("bf16", False, "bf16-mixed"),
        ("auto", True, "bf16-mixed"),
        ("auto", False, "32-true"),
    ],
)
def test_precision(
    wish: str, has_bf16: bool, expected: str, recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_inference, "cpu_has_bf16", lambda: has_bf16)
    assert engine.choose_precision(recipe.model_copy(update={"precision": wish})) == expected


def test_channels_are_not_last_on_apples_gpus(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, the backward pass of batch normalization fails with channels last."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))
    bundle = BundleConfig(name="x", title="x", architecture="x")
    model = SegmentationTask(network, recipe, bundle)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(task, "memory_layout", lambda device: torch.contiguous_format)
    model.to("cpu")
    found: list[bool] = [one.is_contiguous() for one in network.parameters()]
    for part in network:
        part.register_forward_pre_hook(lambda part, given: found.append(given[0].is_contiguous()))
    model(torch.zeros(2, 8, 8, 3).permute(0, 3, 1, 2))
    assert found == [True] * 9


def test_bf16_support_is_known() -> None:
    assert torch_inference.cpu_has_bf16() in (True, False)


def test_a_missing_gpu_is_refused(recipe: TrainRecipe, change: Change) -> None:
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(RunError, match="finds no GPU"):
        engine.accelerator(change(recipe, device="gpu"))
    assert engine.accelerator(change(recipe, device="auto")) == "cpu"
    assert engine.process_count(change(recipe, devices="auto")) == 1


@pytest.mark.parametrize(("devices", "nodes", "expected"), [(1, 1, 1), (2, 1, 2), (4, 2, 8)])
def test_processes(devices: int, nodes: int, expected: int, recipe: TrainRecipe, change: Change) -> None:
    assert engine.process_count(change(recipe, devices=devices, nodes=nodes)) == expected


@pytest.mark.parametrize(
    ("devices", "environment", "first"),
    [
        (1, {}, True),
        (1, {"SLURM_PROCID": "3"}, True),  # one of several runs of a job, each on another device
        (2, {}, True),
        (2, {"LOCAL_RANK": "0"}, True),
        (2, {"LOCAL_RANK": "1"}, False),
        (2, {"SLURM_PROCID": "0", "LOCAL_RANK": ""}, True),
        (2, {"SLURM_PROCID": "1"}, False),
        (2, {"RANK": "2", "LOCAL_RANK": "0"}, False),
        (2, {"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),  # the first of another machine
        (2, {"GROUP_RANK": "1"}, False),
    ],
)
def test_the_first_process_owns_the_folder(
    devices: int,
    environment: dict[str, str],
    first: bool,
    recipe: TrainRecipe,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process(change(recipe, devices=devices)) is first


@pytest.mark.parametrize(
    ("step", "processes", "accumulate_batches", "expected"),
    [(16, 1, 1, 2), (16, 1, 2, 4), (16, 2, 4, 8), (16, 2, 8, None), (5, 1, 1, 5), (9, 1, 1, 3), (1, 1, 1, None)],
)
def test_micro_batches_shrink_to_one_image(
    step: int, processes: int, accumulate_batches: int, expected: int | None
) -> None:
    assert next_accumulation(step, processes, accumulate_batches) == expected
