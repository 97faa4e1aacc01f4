"""Precision, device and batch size of a run, and the process that owns its folder."""

from __future__ import annotations

from collections.abc import Callable

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


FULL = RuntimeError("CUDA out of memory")
SIZES = [
    ("a quarter of the images", 100, {}, 16),
    ("never above 256", 100_000, {}, 256),
    ("memory ends at 32", 100_000, {32: FULL}, 16),
    ("slower for each image from 16 on", 100_000, {16: 1.2, 32: 1.2, 64: 1.2}, 8),
    ("a little slower is good enough", 64, {16: 0.0108}, 16),
    ("one size was disturbed", 1000, {8: 0.02, 32: 0.02}, 128),
    ("small steps are the quickest", 1000, dict.fromkeys((4, 8, 16, 32), 0.02), 8),
    ("few images", 7, {}, 2),
    ("no more than these few images allow", 20, {2: 0.001}, 4),
]


@pytest.mark.parametrize(("images", "at", "expected"), [case[1:] for case in SIZES], ids=[case[0] for case in SIZES])
def test_batch_size(
    images: int,
    at: dict[int, float | Exception],
    expected: int,
    recipe: TrainRecipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch import nn

    def step(network: nn.Module, recipe: TrainRecipe, size: int, clock: object) -> tuple[float, int]:
        result = at.get(size, 0.01)
        if isinstance(result, Exception):
            raise result
        return result * size, 0

    monkeypatch.setattr(step_time, "time_steps", step)
    assert step_time.find_batch_size(nn.Conv2d(3, 1, 1), recipe, images, RunContext()) == expected


@pytest.mark.parametrize(("devices", "accumulate_batches"), [(1, 3), (2, 1), (2, 8)])
def test_a_batch_is_divided_evenly(
    devices: int, accumulate_batches: int, recipe: TrainRecipe, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn

    monkeypatch.setattr(step_time, "time_steps", lambda network, recipe, size, clock: (float(size), 0))
    shared, network = change(recipe, devices=devices, accumulate_batches=accumulate_batches), nn.Conv2d(3, 1, 1)
    found = [step_time.find_batch_size(network, shared, images, RunContext()) for images in (40, 500, 10**6)]
    assert all(size % (devices * accumulate_batches) == 0 for size in found)
    assert found[-1] <= 256 * devices
    assert min(found) == max(step_time.smallest_batch_size(shared), 8 if accumulate_batches == 1 else 6)


def test_the_fastest_of_several_steps_counts(recipe: TrainRecipe) -> None:
    """Disturbed measurements do not change the chosen size."""
    import random

    from torch import Tensor, nn

    seen, now = [0], [0.0]

    class Network(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            seen[0] = len(images)
            return super().forward(images)

    for seed in range(5):
        draw = random.Random(seed)

        def clock(draw: random.Random = draw) -> float:
            now[0] += seen[0] * 0.01 * draw.choice([1, 1, 1, 2, 5])
            return now[0]

        assert step_time.find_batch_size(Network(3, 1, 1), recipe, 130, RunContext(), clock) == 32


def test_a_step_is_timed_and_does_not_change_the_network(recipe: TrainRecipe) -> None:
    import torch
    from torch import nn

    network = nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert step_time.find_batch_size(network, recipe, 16, RunContext()) == 4
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


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

    def steps(network: nn.Module, recipe: TrainRecipe, size: int, clock: object) -> tuple[float, int]:
        tried.append(recipe.precision)
        disturbed = 3.0 if len(tried) == 1 else 0.0
        return disturbed + (bf16_s if recipe.precision == "bf16" else 1.0), 0

    monkeypatch.setattr(inference, "cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr(step_time, "time_steps", steps)
    wished = recipe.model_copy(update={"precision": wish, "device": "cpu"})
    assert step_time.find_precision(nn.Conv2d(3, 1, 1), wished) == expected
    assert tried == (["fp32", "bf16"] * 2 if wish == "auto" and has_bf16 else [])
    assert step_time.find_precision(nn.Identity(), wished) in ("bf16", "fp32")  # nothing to measure


def test_bf16_is_used_if_memory_runs_out(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(*_: object) -> tuple[float, int]:
        raise MemoryError

    monkeypatch.setattr(inference, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(step_time, "time_steps", steps)
    wished = recipe.model_copy(update={"precision": "auto", "device": "cpu"})
    assert step_time.find_precision(nn.Conv2d(3, 1, 1), wished) == "bf16"


def test_trials_of_the_precision_stop_when_the_run_is_cancelled(
    recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, tried = RunContext(), []

    def steps(*_: object) -> tuple[float, int]:
        tried.append(1)
        run.cancel()
        return 1.0, 0

    monkeypatch.setattr(inference, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(step_time, "time_steps", steps)
    with pytest.raises(Cancelled):
        step_time.find_precision(
            nn.Conv2d(3, 1, 1), recipe.model_copy(update={"precision": "auto", "device": "cpu"}), run
        )
    assert len(tried) == 1


def test_real_steps_are_timed(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "cpu_has_bf16", lambda: True)
    wished = recipe.model_copy(update={"precision": "auto", "device": "cpu"})
    network = nn.Conv2d(3, 1, 3)
    before = network.weight.clone()
    assert step_time.find_precision(network, wished) in ("bf16", "fp32")
    assert torch.equal(network.weight, before)
