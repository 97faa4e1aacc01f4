"""The plan of a reproduction: a minimum of steps, or the time that is missing for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import RunError
from napari_melanoma.extensions.papers import budget
from napari_melanoma.extensions.papers.budget import MIN_STEPS
from napari_melanoma.extensions.papers.paper_rows import complete_recipe, describe_reductions
from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.extensions.papers.planning import (
    ReproductionContext,
    ReproductionFolder,
    ReproductionImages,
    ReproductionPlan,
    complete_plan,
)
from napari_melanoma.extensions.papers.split import CrossValidatedRole, RoleData
from napari_melanoma.training import batch_size
from napari_melanoma.training.batch_size import StepCost
from napari_melanoma.training.recipe import TrainRecipe


@pytest.mark.slow
def test_a_plan_has_enough_steps_or_states_the_time_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "fastest_seconds", lambda work, device, clock: 0.05)
    monkeypatch.setattr(batch_size, "MAX_PROBE_IMAGES", 2)
    monkeypatch.setattr(budget, "ROUNDS", 1)
    rows = read_paper("P2").select(("unet", "unetpp"))
    data = ReproductionImages({"HAM10000": RoleData("HAM10000", (Path("ham"),), 60, 20)})

    def planned(minutes: float) -> ReproductionPlan:
        draft = ReproductionPlan(paper="P2", budget="small", minutes=minutes, data={"HAM10000": ("ham",)})
        return complete_plan(draft, rows, data, {}, RunContext())

    plan = planned(40)
    assert {row.steps * row.epochs >= MIN_STEPS for row in plan.rows if row.steps and row.epochs} == {True}
    assert len({row.epochs for row in plan.rows}) == 1
    assert plan.notices == plan.late == ()
    assert plan.seconds is not None
    assert plan.seconds < 40 * 60
    short = planned(5)
    assert [row.name for row in short.rows if row.waits] == ["unet"]  # unetpp is in the main comparison
    assert "unet runs only if the others leave time. All rows need about" in short.late[0]
    assert {row.epochs for row in short.rows} == {100}
    with pytest.raises(RunError, match=r"too short for any row: .* at least 300 steps each.*--minutes \d+"):
        planned(1)


@pytest.mark.parametrize(
    ("row", "weights", "start"),
    [
        ("cls-lite0", {}, "ImageNet weights of tf_efficientnet_lite0"),
        ("cls-resnet50", {"imagenet_resnet50": "resnet50.pth"}, "ResNet-50, ImageNet"),
        (
            "cls-resnet50",
            {},
            "random initialization instead of ResNet-50, ImageNet (--weights imagenet_resnet50=FILE)",
        ),
        ("cls-resnet50-predicted", {}, ""),  # the network of another row
        ("meta-table-alone", {}, ""),
    ],
)
def test_a_plan_lists_the_starting_weights_of_each_row(row: str, weights: dict[str, str], start: str) -> None:
    draft = ReproductionPlan(paper="P2", budget="full", data={"HAM10000": ("ham",)}, weights=weights)
    role = CrossValidatedRole("HAM10000", Path("folds"), ("ham",), 5, images=100, positives=20, groups=50)
    data = ReproductionImages({}, {"HAM10000": role})
    plan = complete_plan(draft, read_paper("P2").select((row,)), data, {}, RunContext())
    assert plan.by_name[row].start == start


def test_a_reduced_size_is_part_of_the_plan_and_of_the_recipes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A continued reproduction measures nothing: it keeps the size that it began with."""

    def measure(recipe: TrainRecipe) -> StepCost:
        pixels = recipe.model.input_size**2
        return StepCost(1.4e-6 * pixels, 1e-3, 1.4e-7 * pixels, 1, 1, "cpu", "32-true")

    monkeypatch.setattr(batch_size, "measure_step", measure)
    paper = read_paper("P2")
    data = {"HAM10000": RoleData("HAM10000", (Path("ham"),), 60, 20)}
    draft = ReproductionPlan(
        paper="P2", budget="small", minutes=5, planning_s=7.0, data={"HAM10000": ("ham",)}, notices=("a",)
    )
    plan = complete_plan(draft, paper.select(("unet", "unetpp")), ReproductionImages(data), {}, RunContext())
    assert plan.planning_s == pytest.approx(7, abs=1)  # the data were checked before
    assert {row.input_size for row in plan.rows} == {96}
    assert plan.late == ()
    assert plan.notices[0] == "a"
    assert "images of 96 pixels instead of 128" in plan.notices[1]
    stored = ReproductionPlan.parse(plan.model_dump(mode="json"), "the folder")
    work = ReproductionContext(paper, stored, data, ReproductionFolder(tmp_path))
    recipes = [complete_recipe(work, paper.rows[name]) for name in plan.by_name]
    assert {(recipe.model.input_size, recipe.data.cache_size) for recipe in recipes} == {(96, 96)}
    for recipe in recipes:
        write_toml(work.folder.row(recipe.name).recipe, recipe)
        assert "96 px instead of 256" in describe_reductions(work, paper.rows[recipe.name])


def test_longer_training_leaves_no_cross_validated_row_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "measure_step", lambda recipe: StepCost(0.02, 1e-3, 2e-3, 1, 1, "cpu", "32-true"))
    rows = read_paper("P2").select(("unet", "cls-lite0", "meta-image-alone"))
    role = CrossValidatedRole("HAM10000", Path("folds"), ("ham",), 5, images=1000, positives=180, groups=900)
    data = ReproductionImages({"HAM10000": RoleData("HAM10000", (Path("ham"),), 400, 100)}, {"HAM10000": role})
    draft = ReproductionPlan(paper="P2", budget="small", minutes=15, data={"HAM10000": ("ham",)})
    plan = complete_plan(draft, rows, data, {}, RunContext())
    seconds = {row.name: row.seconds or 0.0 for row in plan.rows}
    assert seconds["cls-lite0"] + seconds["meta-image-alone"] > 0.5 * 60 * 15 * budget.SHARE  # more than their share
    assert not any(row.waits or row.input_size for row in plan.rows)
    (trained,) = [row for row in plan.rows if row.name == "unet"]
    assert trained.steps is not None
    assert trained.epochs is not None
    assert trained.steps * trained.epochs >= MIN_STEPS
    assert plan.seconds is not None
    assert plan.seconds <= 60 * 15 * budget.SHARE


def plan_p2(names: tuple[str, ...], minutes: float, split_s: float, crossed_s: float) -> ReproductionPlan:
    """Plan rows of P2 whose steps take a time for each image of 128 pixels."""

    def measure(recipe: TrainRecipe) -> StepCost:
        image_s = (split_s if recipe.task == "segmentation" else crossed_s) * (recipe.model.input_size / 128) ** 2
        return StepCost(image_s, 1e-3, image_s / 10, 1, 1, "cpu", "32-true")

    role = CrossValidatedRole("HAM10000", Path("folds"), ("ham",), 5, images=1000, positives=180, groups=900)
    data = ReproductionImages({"HAM10000": RoleData("HAM10000", (Path("ham"),), 400, 100)}, {"HAM10000": role})
    draft = ReproductionPlan(paper="P2", budget="small", minutes=minutes, data={"HAM10000": ("ham",)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_size, "measure_step", measure)
        return complete_plan(draft, read_paper("P2").select(names), data, {}, RunContext())


SPLIT_AND_CROSSED = ("unet", "unetpp", "simple-cnn", "cls-lite0")


def test_images_are_not_reduced_for_a_share_that_is_not_needed() -> None:
    plan = plan_p2(SPLIT_AND_CROSSED, 30, 0.025, 0.002)
    assert not any(row.waits or row.input_size for row in plan.rows)
    assert plan.notices == plan.late == ()


@pytest.mark.parametrize("crossed_s", [0.002, 0.02, 0.06])
def test_the_stated_time_is_enough_for_all_rows(crossed_s: float) -> None:
    (late,) = plan_p2(SPLIT_AND_CROSSED, 9, 0.12, crossed_s).late
    minutes = int(late.rpartition("--minutes ")[2].rstrip("."))
    assert plan_p2(SPLIT_AND_CROSSED, minutes, 0.12, crossed_s).late == ()


def test_cross_validated_rows_run_if_there_is_no_time_for_others() -> None:
    plan = plan_p2(("unetpp", "cls-constant-negative", "cls-lite0"), 6, 1.0, 1e-4)
    assert [row.name for row in plan.rows if row.waits] == ["unetpp"]
    assert "unetpp runs only if the others leave time" in plan.late[0]


def test_rows_without_training_do_not_wait_for_images_that_they_do_not_read() -> None:
    role = CrossValidatedRole("A", Path("folds"), ("isic",), 5, images=400_000, positives=400, groups=1000)
    draft = ReproductionPlan(paper="P1", budget="small", minutes=5, data={"A": ("isic",)})
    rows = read_paper("P1").select(("data-set-alone",))
    plan = complete_plan(draft, rows, ReproductionImages({}, {"A": role, "B": role}), {}, RunContext())
    assert [row.waits for row in plan.rows] == [False]
    assert plan.planning_s < 5


def test_a_forecast_of_the_full_budget_has_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(recipe: TrainRecipe) -> StepCost:
        device, image_s = ("cpu", 1.0) if recipe.device == "cpu" else ("cuda", 0.01)
        return StepCost(image_s, 0.1, 0.1, 10 * 2**20, 100 * 2**20, device, "32-true")

    monkeypatch.setattr(batch_size, "measure_step", measure)
    data = ReproductionImages({"M": RoleData("M", (Path("m"),), 100, 20)})
    draft = ReproductionPlan(paper="P4", budget="full", data={"M": ("m",)})
    row = read_paper("P4").rows["unet"]
    (planned,) = complete_plan(draft, (row,), data, {}, RunContext(), forecast=True).rows
    assert (planned.epochs, planned.device) == (124, "cuda")
    assert planned.memory_mb == 700 + 100 + 1.4 * 4 * 10  # libraries, weights and optimizer, activations of a batch
    assert planned.seconds is not None
    assert planned.cpu_s is not None
    assert 124 * 90 < planned.cpu_s < 124 * 120  # 90 images, 1 s each
    assert planned.seconds < planned.cpu_s / 10
    (planned,) = complete_plan(draft, (row,), data, {}, RunContext()).rows
    assert (planned.seconds, planned.memory_mb) == (None, None)
