"""Time and memory of a run: counted from recipe and data, scaled from a step that is measured with a fake clock."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma import worker
from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.runs import estimate as module
from napari_melanoma.runs.estimate import MB, RunEstimate, RunWorkload, count_workload, estimate_run, scale_cost
from napari_melanoma.training import step_time
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.step_time import StepCost, measure_step

COST = StepCost(0.5, 0.1, 0.05, 50 * MB, 60 * MB, "cpu", "32-true")
PLAN = RunWorkload(
    training_images=100, validation_images=20, test_images=10, batch=8, device_batch=8, processes=1, steps=12, epochs=5
)
NOTHING = dict.fromkeys(("START_S", "READ_S", "TEST_IMAGE_S"), 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small images without a split."""
    folder = tmp_path_factory.mktemp("data") / "few"
    for index in range(40):
        write_rgb(folder / f"images/i{index}.png", np.full((8, 8, 3), 99, np.uint8))
        write_mask(folder / f"masks/i{index}.png", np.eye(8, dtype=bool))
    write_table(folder / "dataset.csv", [{"image_id": f"i{n}"} for n in range(40)])
    return folder


@pytest.fixture
def recipe(folder: Path) -> TrainRecipe:
    values = {
        "device": "cpu",
        "epochs": 3,
        "batch_size": 4,
        "data": {"datasets": [str(folder)], "cache_size": 48},
        "model": {
            "options": {"encoder": "test_efficientnet", "decoder_channels": 16},
            "input_size": 32,
            "start": "none",
        },
    }
    return TrainRecipe.parse(values, "the test")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cost_cache", {})


def test_time_is_steps_times_their_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NOTHING.items():
        monkeypatch.setattr(module, name, value)
    found = scale_cost(COST, PLAN)
    steps, validation, test = 60 * (8 * 0.5 + 0.1), 20 * 6 * 0.05, 2 * 10 * 0.05
    assert found.seconds == pytest.approx(steps + validation + test)
    assert (found.steps, found.epochs, found.images) == (60, 5, 100)
    assert "500 ms/image" in found.basis


def test_start_and_reading_count_too() -> None:
    assert (
        scale_cost(COST, replace(PLAN, steps=0, validation_images=0, test_images=0)).seconds
        == module.START_S + 100 * module.READ_S
    )


def test_memory_depends_on_the_device_batch() -> None:
    whole, pieces = scale_cost(COST, PLAN).memory_mb, scale_cost(COST, replace(PLAN, device_batch=2)).memory_mb
    assert whole - pieces == pytest.approx(module.WORKSPACE * 6 * 50)
    assert pieces == pytest.approx(module.PROGRAM_MB["cpu"] + 60 + module.WORKSPACE * 2 * 50)


def test_two_devices_share_the_images_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_S", 0.0)
    alone = scale_cost(COST, replace(PLAN, validation_images=0, test_images=0, training_images=0))
    together = scale_cost(COST, replace(PLAN, validation_images=0, test_images=0, training_images=0, processes=2))
    assert alone.seconds - together.seconds == pytest.approx(60 * 4 * 0.5)


PLANS = [
    ("whole steps of the training images", {}, {"batch": 4, "device_batch": 4, "steps": 6, "epochs": 3}),
    ("with gradient accumulation", {"accumulate_batches": 2}, {"batch": 4, "device_batch": 2, "steps": 6}),
    ("more in a step than there are", {"batch_size": 64}, {"steps": 1}),
    ("auto is a quarter of the images at most", {"batch_size": "auto"}, {"batch": 4}),
]


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in PLANS], ids=[case[0] for case in PLANS])
def test_plan(change: dict[str, object], expected: dict[str, int], recipe: TrainRecipe) -> None:
    plan = count_workload(recipe.model_copy(update=change))
    assert plan.training_images + plan.validation_images + plan.test_images == 40
    assert {name: getattr(plan, name) for name in expected} == expected


def test_base_data_take_their_share_of_each_step(folder: Path, recipe: TrainRecipe) -> None:
    data = recipe.data.model_copy(update={"base": (str(folder),), "base_share": 0.5})
    plan = count_workload(recipe.model_copy(update={"data": data}))
    assert (plan.batch, plan.steps) == (4, count_workload(recipe).training_images // 2)


def test_the_cost_of_a_step_is_measured_by_the_clock(recipe: TrainRecipe) -> None:
    """Each reading of the clock is a tenth of a second later than the previous one."""
    ticks = count()
    cost = measure_step(recipe, clock=lambda: next(ticks) / 10)
    images = 16  # measured together, because they are small
    assert cost.image_s == pytest.approx(0.1 / images)
    assert cost.update_s == pytest.approx(0.1)
    assert cost.forward_s == pytest.approx(0.1 / images)
    assert cost.device == "cpu"


def test_a_larger_input_costs_by_its_area(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(step_time.PROBE_SIDE, "cpu", 64)

    def cost(side: int) -> StepCost:
        ticks = count()
        large = recipe.model.model_copy(update={"input_size": side})
        return measure_step(recipe.model_copy(update={"model": large}), clock=lambda: next(ticks) / 10)

    small, large = cost(64), cost(128)
    assert large.image_s == pytest.approx(4 * small.image_s)
    assert large.image_bytes == pytest.approx(4 * small.image_bytes)


def test_memory_of_a_step_is_that_of_the_network(recipe: TrainRecipe) -> None:
    """Twice the side needs four times the activations; weights, gradients and two moments do not change."""
    small, large = (
        measure_step(recipe.model_copy(update={"model": recipe.model.model_copy(update={"input_size": side}), **more}))
        for side, more in ((64, {"precision": "fp32"}), (128, {"precision": "fp32", "ema_decay": 0.9}))
    )
    assert large.image_bytes / small.image_bytes == pytest.approx(4, rel=0.25)
    assert large.fixed_bytes / small.fixed_bytes == pytest.approx(5 / 4)


def test_it_is_measured_once(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr("napari_melanoma.training.step_time.measure_step", lambda recipe: COST)
    run = RunContext(lambda progress: messages.append(progress.message))
    first = estimate_run(recipe, run=run)
    again = estimate_run(recipe.model_copy(update={"epochs": 6, "batch_size": 8, "learning_rate": 1e-4}), run=run)
    assert (first.epochs, again.epochs) == (3, 6)
    estimate_run(recipe.model_copy(update={"precision": "fp32"}), run=run)
    assert messages == ["Measuring a step"] * 2


def test_a_frozen_encoder_is_measured_separately() -> None:
    values = {"data": {"datasets": ["somewhere"]}, "task": "classification"}
    plain, frozen = (
        TrainRecipe.parse({**values, "classification": {"freeze_encoder": freeze}}, "the test")
        for freeze in (False, True)
    )
    assert module._cost_key(plain) != module._cost_key(frozen)


def test_the_worker_estimates(recipe: TrainRecipe) -> None:
    messages: list[Progress] = []
    answer = worker.HANDLERS["estimate"]({"recipe": recipe.model_dump(mode="json")}, RunContext(messages.append))
    assert RunEstimate(**answer).device == "cpu"
    assert answer["seconds"] > 0
    assert answer["memory_mb"] > 100
    with pytest.raises(ConfigError, match="the recipe: "):
        worker.HANDLERS["estimate"]({"recipe": {}}, RunContext())


def test_what_cannot_be_estimated(recipe: TrainRecipe, tmp_path: Path) -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        estimate_run(recipe, run=run)
    gone = recipe.data.model_copy(update={"datasets": (str(tmp_path / "gone"),)})
    with pytest.raises(DataSetError, match="is not a data set"):
        estimate_run(recipe.model_copy(update={"data": gone}), run=RunContext())


def test_memory_of_a_gpu_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from napari_melanoma.training.engine import release_memory

    released: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: released.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: released.append("mps"))
    for device in ("cpu", "cuda", "mps"):
        release_memory(device)
    assert released == ["cuda", "mps"]


@pytest.mark.parametrize("fails", [False, True])
def test_memory_is_released_after_an_error(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[str] = []

    def measured(*_: object) -> None:
        if fails:
            raise MemoryError

    monkeypatch.setattr(step_time, "_measure_step", measured)
    monkeypatch.setattr(step_time, "release_memory", released.append)
    recipe = TrainRecipe.parse({"device": "cpu", "data": {"datasets": ["somewhere"]}}, "the test")
    with pytest.raises(MemoryError) if fails else nullcontext():
        step_time.measure_step(recipe)
    assert released == ["cpu"]
