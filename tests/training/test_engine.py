"""Precision, device and batch size of a run, and the process that owns its folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import RunError
from napari_melanoma.models import inference
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.training import engine, step_time
from napari_melanoma.training.engine import RANKS, is_first_process, next_accumulation
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.step_time import StepCost
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
    monkeypatch.setattr(inference, "cpu_has_bf16", lambda: has_bf16)
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
    assert inference.cpu_has_bf16() in (True, False)


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


MB = 2**20
SIZES = [  # images, bytes of an image, free memory in MB, expected
    ("a quarter of the images", 100, MB, 10**6, 16),
    ("never above 256", 100_000, MB, 10**6, 256),
    ("half of the free memory", 100_000, 10 * MB, 2 * (100 + 14 * 32), 32),
    ("a little less memory", 100_000, 10 * MB, 2 * (99 + 14 * 32), 16),
    ("no free memory", 100_000, 10 * MB, 0, 2),
    ("few images", 7, MB, 10**6, 2),
]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, float], None]:
    """Replace the measurement of a step, and the free memory in MB, by known values."""

    def replace_measurement(image_bytes: int, free_mb: float) -> None:
        cost = StepCost(0.1, 0.1, 0.1, image_bytes, 100 * MB, "cpu", "32-true")
        monkeypatch.setattr(step_time, "measure_step", lambda recipe: cost)
        monkeypatch.setattr(step_time, "_free_mb", lambda device: free_mb)

    return replace_measurement


@pytest.mark.parametrize(
    ("images", "image_bytes", "free_mb", "expected"), [case[1:] for case in SIZES], ids=[case[0] for case in SIZES]
)
def test_batch_size(
    images: int, image_bytes: int, free_mb: float, expected: int, recipe: TrainRecipe, measured: Callable[..., None]
) -> None:
    measured(image_bytes, free_mb)
    assert step_time.find_batch_size(recipe, images) == expected


@pytest.mark.parametrize(("devices", "accumulate_batches"), [(1, 3), (2, 1), (2, 8)])
def test_a_batch_is_divided_evenly(
    devices: int, accumulate_batches: int, recipe: TrainRecipe, change: Change, measured: Callable[..., None]
) -> None:
    measured(MB, 10**6)
    shared = change(recipe, devices=devices, accumulate_batches=accumulate_batches)
    found = [step_time.find_batch_size(shared, images) for images in (10, 500, 10**6)]
    assert all(size % (devices * accumulate_batches) == 0 for size in found)
    assert found[-1] <= 256 * devices
    assert min(found) == step_time.smallest_batch_size(shared)


def test_the_smallest_batch_if_one_step_fills_the_memory(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(recipe: TrainRecipe) -> StepCost:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(step_time, "measure_step", fail)
    assert step_time.find_batch_size(recipe, 10**6) == 2


def test_the_cost_of_a_step_is_measured_by_the_clock(recipe: TrainRecipe) -> None:
    ticks = itertools.count()
    cost = step_time.measure_step(recipe, clock=lambda: 0.1 * next(ticks))
    assert cost.update_s == pytest.approx(0.1)
    assert (cost.image_s, cost.forward_s) == (pytest.approx(0.1 / 16), pytest.approx(0.1 / 16))


def test_the_cost_of_a_larger_input_scales_with_its_area(
    recipe: TrainRecipe, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_time, "PROBE_SIDE", {"cpu": 32})

    def cost(side: int) -> StepCost:
        ticks = itertools.count()
        return step_time.measure_step(change(recipe, model={"input_size": side}), clock=lambda: 0.1 * next(ticks))

    small, large = cost(32), cost(64)
    assert large.image_s == pytest.approx(4 * small.image_s)
    assert large.image_bytes == pytest.approx(4 * small.image_bytes)
    assert (large.update_s, large.fixed_bytes) == (pytest.approx(small.update_s), small.fixed_bytes)


@pytest.mark.parametrize("fails", [True, False])
def test_memory_is_released_after_a_measurement(
    fails: bool, recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[str] = []
    monkeypatch.setattr(step_time, "release_memory", released.append)
    if fails:
        monkeypatch.setattr(step_time, "_StepProbe", lambda *_: pytest.fail("no memory"))
    with pytest.raises(pytest.fail.Exception) if fails else nullcontext():
        step_time.measure_step(recipe)
    assert released == ["cpu"]


@pytest.mark.parametrize(
    ("wish", "has_bf16", "bf16_s", "expected"),
    [
        ("auto", True, 0.5, "bf16"),
        ("auto", True, 0.95, "fp32"),  # a gain of a twentieth is too small
        ("auto", True, 1.6, "fp32"),
        ("auto", False, 0.5, "fp32"),
        ("bf16", True, 1.6, "bf16"),
        ("fp32", True, 0.5, "fp32"),
    ],
)
def test_the_faster_precision_is_used_on_a_cpu(
    wish: str, has_bf16: bool, bf16_s: float, expected: str, recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def measure(recipe: TrainRecipe) -> float:
        tried.append(recipe.precision)
        disturbed = 3.0 if len(tried) == 1 else 0.0
        return disturbed + (bf16_s if recipe.precision == "bf16" else 1.0)

    monkeypatch.setattr(inference, "cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr(step_time, "measure_pass", measure)
    wished = recipe.model_copy(update={"precision": wish, "device": "cpu"})
    assert step_time.find_precision(wished) == expected
    assert tried == (["fp32", "bf16"] * 2 if wish == "auto" and has_bf16 else [])


def test_bf16_is_used_if_memory_runs_out(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(recipe: TrainRecipe) -> float:
        raise MemoryError

    monkeypatch.setattr(inference, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(step_time, "measure_pass", measure)
    wished = recipe.model_copy(update={"precision": "auto", "device": "cpu"})
    assert step_time.find_precision(wished) == "bf16"


def test_trials_of_the_precision_stop_when_the_run_is_cancelled(
    recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, tried = RunContext(), []

    def measure(recipe: TrainRecipe) -> float:
        tried.append(1)
        run.cancel()
        return 1.0

    monkeypatch.setattr(inference, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(step_time, "measure_pass", measure)
    with pytest.raises(Cancelled):
        step_time.find_precision(recipe.model_copy(update={"precision": "auto", "device": "cpu"}), run)
    assert len(tried) == 1
