"""The pace of a network: measured several times, so that a busy moment has no effect, or estimated from its work."""

from __future__ import annotations

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.reproduction.budget import PaceEstimator, Paces, measure_paces, reduce_input, use_threads
from napari_melanoma.reproduction.papers import read_paper
from napari_melanoma.reproduction.planning import ANY_DATA
from napari_melanoma.training import step_time
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.step_time import StepCost


def test_a_slow_measurement_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    seen: list[int] = []

    def measured(recipe: TrainRecipe) -> StepCost:
        seen.append(torch.get_num_threads())
        quiet = 0.35 if seen[-1] > 1 else 0.02
        return StepCost(5.0 if len(seen) < 3 else quiet, 0.001, 0.005, 1, 1, "cpu", "32-true")

    monkeypatch.setattr(step_time, "measure_step", measured)
    rows = [read_paper("P4").rows[name] for name in ("transfer-d", "transfer-d-then-m", "deeplab-mobilenetv2-035")]
    alike = {row.name: row.recipe("small", data={"datasets": ["m"]}, model={"start": "none"}) for row in rows}
    with use_threads(2):
        paces, faults = measure_paces(alike, 1e6, RunContext())
        assert torch.get_num_threads() == 2
    assert sorted(seen) == [1, 1, 1, 2, 2, 2]
    assert {(pace.cost.image_s, pace.threads) for pace in paces.values()} == {(0.02, 1)}
    assert faults == {}


def estimate(rows: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> tuple[Paces, list[str]]:
    """Estimate rows of P4 with a step of 0.2 s per image of the one network that is measured."""
    measured: list[str] = []

    def measure(recipe: TrainRecipe) -> StepCost:
        measured.append(recipe.name)
        return StepCost(0.2, 0.001, 0.05, 1, 1, "cpu", "32-true")

    monkeypatch.setattr(step_time, "measure_step", measure)
    estimator = PaceEstimator(RunContext())
    recipes = {name: read_paper("P4").rows[name].recipe("small", **ANY_DATA) for name in rows}
    smaller = {f"{name}, 64": reduce_input(recipe, 64) for name, recipe in recipes.items()}
    paces, faults = estimator(recipes)
    more, more_faults = estimator(smaller)
    return ({**paces, **more}, {**faults, **more_faults}), measured


def test_an_estimate_measures_one_network_and_scales_the_others_by_their_work(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ("unet", "deeplab-mobilenetv2-035", "attention-unet")
    (paces, faults), measured = estimate(rows, monkeypatch)
    assert measured == ["unet"]  # of median work
    assert faults == {}
    seconds = {name: pace.cost.image_s for name, pace in paces.items()}
    assert seconds["deeplab-mobilenetv2-035"] < seconds["unet"] == 0.2 < seconds["attention-unet"]
    assert seconds["attention-unet, 64"] == pytest.approx(seconds["attention-unet"] / 4)
    assert {pace.cost.device for pace in paces.values()} == {"cpu"}


def test_counted_memory_is_that_of_a_real_step() -> None:
    for name in ("deeplab-mobilenetv2-035", "unet"):
        recipe = reduce_input(read_paper("P4").rows[name].recipe("small", **ANY_DATA), 64)
        counted, measured = step_time.count_step(recipe), step_time.measure_step(recipe)
        assert counted.stored_bytes == pytest.approx(measured.image_bytes, rel=0.1)
        assert counted.scale(measured, counted, recipe).fixed_bytes == measured.fixed_bytes


def test_a_frozen_encoder_takes_no_backward_pass() -> None:
    recipe = read_paper("P3").rows["image-alone"].recipe("small", **ANY_DATA)
    trained = recipe.model_copy(
        update={"classification": recipe.classification.model_copy(update={"freeze_encoder": False})}
    )
    frozen, whole = step_time.count_step(recipe), step_time.count_step(trained)
    assert frozen.operations == whole.operations
    assert whole.training_work == pytest.approx(3 * frozen.training_work)
    assert frozen.stored_bytes < whole.stored_bytes / 4
