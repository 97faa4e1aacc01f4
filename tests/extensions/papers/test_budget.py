"""The small budget: a minimum of steps, the same for all rows; the slowest rows wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.extensions.papers.budget import (
    COMPARE_S,
    MIN_EPOCHS,
    MIN_STEPS,
    RowCandidate,
    RowCost,
    TrainingPace,
    choose_size,
    fit_rows,
    measure_candidates,
    measure_paces,
    reduce_input,
    steps_that_fit,
)
from napari_melanoma.extensions.papers.papers import papers, read_paper
from napari_melanoma.extensions.papers.planning import PlannedRow, ReproductionPlan
from napari_melanoma.training import batch_size
from napari_melanoma.training.batch_size import StepCost
from napari_melanoma.training.recipe import TrainRecipe


def candidates(train: int, slow: dict[str, float] | None = None) -> list[RowCandidate]:
    """The trained rows of P4's tables, each with a number of images."""
    paper, found = read_paper("P4"), []
    for row in paper.select(()):
        if row.file.train:
            recipe = row.recipe("small", data={"datasets": ["m"]}, model={"start": "none"})
            cost = StepCost((slow or {}).get(row.name, 0.01), 0.001, 0.005, 1, 1, "cpu", "32-true")
            found.append(RowCandidate(row, 20, train, train // 10, recipe, TrainingPace(cost, 8)))
    return found


@pytest.mark.parametrize(("seconds", "steps"), [(0, 0), (29, 0), (30, 5), (59.9, 15), (60, 20), (1e6, 50)])
def test_steps_fill_the_time_and_no_more(seconds: float, steps: int) -> None:
    assert steps_that_fit([RowCost(10, 4, 5), RowCost(10, 6, 5)], seconds, 50) == steps


@pytest.mark.parametrize("images", [60, 600, 9000])
def test_plans_have_the_minimum_steps(images: int) -> None:
    rows = candidates(images)
    for seconds in (100, 400, 1800, 1e6):
        found = choose_size(rows, seconds)
        if found is not None:
            assert found.steps >= MIN_STEPS
            assert min(row.cost(found.images).epochs(found.steps) for row in rows) >= MIN_EPOCHS
    assert choose_size(candidates(60), 10) is None


def test_rows_without_a_network_of_their_own_take_the_time_of_those_of_other_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = {"unetpp_p2": 0.5, "image_tabular": 0.2}
    monkeypatch.setattr(
        batch_size,
        "measure_step",
        lambda recipe: StepCost(0.01, 0.001, of[recipe.model.architecture], 1, 1, "cpu", "32-true"),
    )
    rows = [read_paper("P2").rows[name] for name in ("unetpp-folds", "cls-lite0", "chain-lite0", "cls-lite0-predicted")]
    recipes = {row.name: row.recipe("small", data={"datasets": ["d"]}) for row in rows if row.file.train}
    found = [RowCandidate(row, 100, recipe=recipes.get(row.name), folds=5) for row in rows]
    measured, _ = measure_candidates(found, partial(measure_paces, seconds=0, run=RunContext()))
    seconds = {one.row.name: one.seconds for one in measured}
    reading = 5 * 100 * COMPARE_S
    assert seconds["chain-lite0"] == pytest.approx(reading + 5 * 100 * (0.5 + 0.2))
    assert seconds["cls-lite0-predicted"] == pytest.approx(reading + 5 * 100 * 0.2)


def test_the_slowest_rows_wait_with_those_that_need_them() -> None:
    found = choose_size(candidates(500, {"deeplab-xception": 1.0, "transfer-d": 0.5}), 500)
    assert found is not None
    assert found.waiting == ("deeplab-xception", "transfer-d", "transfer-d-then-m")
    plan = ReproductionPlan(
        paper="P4",
        budget="small",
        data={},
        rows=tuple(
            PlannedRow(name=name, fixed_s=seconds, epoch_s=0, waits=name in found.waiting)
            for name, seconds in (("deeplab-xception", 50), ("unet", 5), ("transfer-d", 40), ("transfer-d-then-m", 5))
        ),
    )
    names = [row.name for row in plan.ordered_rows(read_paper("P4"))]
    assert names == ["unet", "transfer-d", "transfer-d-then-m", "deeplab-xception"]


def test_the_main_comparison_waits_after_all_others() -> None:
    slow = {"transfer-m": 0.5, "transfer-d": 0.5, "transfer-d-then-m": 0.5}
    rows = [replace(one, central=one.row.name in slow) for one in candidates(500, slow)]
    found = choose_size(rows, 2600)
    assert found is not None
    assert found.waiting
    assert slow.keys().isdisjoint(found.waiting)
    short = choose_size(rows, 2000)
    assert short is not None
    assert short.waiting == ("transfer-d-then-m",)  # as no time is enough for all of the comparison


@pytest.mark.parametrize("name", papers())
def test_the_main_comparison_of_a_paper_is_complete(name: str) -> None:
    paper = read_paper(name)
    assert paper.file.central
    assert paper.central <= {row.name for row in paper.select(())}
    compared = [paper.rows[row].file for row in paper.file.central]
    assert any(set(file.against) & paper.central for file in compared)


@pytest.mark.parametrize(
    ("seconds", "size", "waiting"),
    [(4000, None, 0), (1500, 96, 0), (800, 64, 0), (330, 64, 1), (1, 64, 2)],
)
def test_images_are_reduced_before_rows_are_postponed(seconds: float, size: int | None, waiting: int) -> None:
    rows, seen = candidates(500)[:2], list[int]()

    def measure(sized: Sequence[RowCandidate]) -> tuple[list[RowCandidate], dict[str, str]]:
        sizes = {one.recipe.model.input_size for one in sized if one.recipe}
        seen.extend(sizes)
        return [replace(one, pace=pace_at(*sizes)) for one in sized], {}

    _, found = fit_rows([], rows, (96, 64), measure, lambda: seconds)
    assert found.input_size == size
    assert found.missing == waiting
    assert {one.recipe.model.input_size for one in found.candidates if one.recipe} == {size or 128}
    assert seen == [128, 96, 64][: len(seen)]
    assert seen[-1] == (size or 128)


def pace_at(*sizes: int) -> TrainingPace:
    """Return steps of 0.2 s for each image of 128 pixels."""
    (size,) = sizes or (128,)
    return TrainingPace(StepCost(0.2 * (size / 128) ** 2, 1e-3, 0.01, 1, 1, "cpu", "32-true"), 16)


@pytest.mark.parametrize("name", papers())
def test_every_network_accepts_each_reduced_size(name: str) -> None:
    paper = read_paper(name)
    trained = [row for row in paper.rows.values() if row.file.train and row.file.predictor == "network"]
    assert bool(paper.file.smaller_sizes) == (name != "P3")  # its encoder was trained at one scale
    for size in paper.file.smaller_sizes:
        recipes = [reduce_input(row.recipe("small", data={"datasets": ["d"]}), size) for row in trained]
        assert {recipe.model.input_size for recipe in recipes} == {size}
        assert all(TrainRecipe.model_validate(recipe.model_dump()) == recipe for recipe in recipes)
        assert all(recipe.data.cache_size >= size for recipe in recipes)
