"""The batch size that fits into the memory, the cost of a measured step, and the faster precision."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.models import torch_inference
from napari_melanoma.training import batch_size
from napari_melanoma.training.batch_size import StepCost
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]
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
        monkeypatch.setattr(batch_size, "measure_step", lambda recipe: cost)
        monkeypatch.setattr(batch_size, "_free_mb", lambda device: free_mb)

    return replace_measurement


@pytest.mark.parametrize(
    ("images", "image_bytes", "free_mb", "expected"), [case[1:] for case in SIZES], ids=[case[0] for case in SIZES]
)
def test_batch_size(
    images: int, image_bytes: int, free_mb: float, expected: int, recipe: TrainRecipe, measured: Callable[..., None]
) -> None:
    measured(image_bytes, free_mb)
    assert batch_size.find_batch_size(recipe, images) == expected


@pytest.mark.parametrize(("device", "expected"), [("cpu", 4 * 32), ("cuda", 4 * 256)])
def test_processes_of_a_machine_share_its_memory(
    device: str, expected: int, recipe: TrainRecipe, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four processes, each with its own graphics card, or all in half of the free memory of the machine."""
    cost = StepCost(0.1, 0.1, 0.1, 10 * MB, 100 * MB, device, "32-true")
    free_mb = 2 * (4 * (100 + 14 * 32) + 3 * batch_size.PROGRAM_MB["cpu"])
    monkeypatch.setattr(batch_size, "measure_step", lambda recipe: cost)
    monkeypatch.setattr(batch_size, "_free_mb", lambda device: free_mb)
    for nodes in (1, 2):
        shared = change(recipe, devices=4, nodes=nodes)
        assert batch_size.find_batch_size(shared, 10**6) == nodes * expected


@pytest.mark.parametrize(("devices", "accumulate_batches"), [(1, 3), (2, 1), (2, 8)])
def test_a_batch_is_divided_evenly(
    devices: int, accumulate_batches: int, recipe: TrainRecipe, change: Change, measured: Callable[..., None]
) -> None:
    measured(MB, 10**6)
    shared = change(recipe, devices=devices, accumulate_batches=accumulate_batches)
    found = [batch_size.find_batch_size(shared, images) for images in (10, 500, 10**6)]
    assert all(size % (devices * accumulate_batches) == 0 for size in found)
    assert found[-1] <= 256 * devices
    assert min(found) == batch_size.smallest_batch_size(shared)


def test_the_smallest_batch_if_one_step_fills_the_memory(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(recipe: TrainRecipe) -> StepCost:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(batch_size, "measure_step", fail)
    assert batch_size.find_batch_size(recipe, 10**6) == 2


@pytest.mark.slow
def test_the_cost_of_a_step_is_measured_by_the_clock(recipe: TrainRecipe) -> None:
    ticks = itertools.count()
    cost = batch_size.measure_step(recipe, clock=lambda: 0.1 * next(ticks))
    assert cost.update_s == pytest.approx(0.1)
    assert (cost.image_s, cost.forward_s) == (pytest.approx(0.1 / 16), pytest.approx(0.1 / 16))


@pytest.mark.slow
def test_the_cost_of_a_larger_input_scales_with_its_area(
    recipe: TrainRecipe, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_size, "PROBE_SIDE", {"cpu": 32})

    def cost(side: int) -> StepCost:
        ticks = itertools.count()
        return batch_size.measure_step(change(recipe, model={"input_size": side}), clock=lambda: 0.1 * next(ticks))

    small, large = cost(32), cost(64)
    assert large.image_s == pytest.approx(4 * small.image_s)
    assert large.image_bytes == pytest.approx(4 * small.image_bytes)
    assert (large.update_s, large.fixed_bytes) == (pytest.approx(small.update_s), small.fixed_bytes)


@pytest.mark.parametrize("fails", [True, False])
def test_memory_is_released_after_a_measurement(
    fails: bool, recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[str] = []
    monkeypatch.setattr(batch_size, "release_memory", released.append)
    if fails:
        monkeypatch.setattr(batch_size, "_StepProbe", lambda *_: pytest.fail("no memory"))
    with pytest.raises(pytest.fail.Exception) if fails else nullcontext():
        batch_size.measure_step(recipe)
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

    monkeypatch.setattr(torch_inference, "cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr(batch_size, "measure_pass", measure)
    wished = recipe.model_copy(update={"precision": wish, "device": "cpu"})
    assert batch_size.find_precision(wished) == expected
    assert tried == (["fp32", "bf16"] * 2 if wish == "auto" and has_bf16 else [])


def test_bf16_is_used_if_memory_runs_out(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(recipe: TrainRecipe) -> float:
        raise MemoryError

    monkeypatch.setattr(torch_inference, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(batch_size, "measure_pass", measure)
    wished = recipe.model_copy(update={"precision": "auto", "device": "cpu"})
    assert batch_size.find_precision(wished) == "bf16"


def test_trials_of_the_precision_stop_when_the_run_is_cancelled(
    recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, tried = RunContext(), []

    def measure(recipe: TrainRecipe) -> float:
        tried.append(1)
        run.cancel()
        return 1.0

    monkeypatch.setattr(torch_inference, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(batch_size, "measure_pass", measure)
    with pytest.raises(Cancelled):
        batch_size.find_precision(recipe.model_copy(update={"precision": "auto", "device": "cpu"}), run)
    assert len(tried) == 1
