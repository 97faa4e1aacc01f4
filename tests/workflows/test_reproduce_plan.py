"""The plan of a reproduction: enough steps to learn anything, the same for all rows, or it says what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_melanoma.core.errors import RunError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.models.bundle import CONFIG
from napari_melanoma.training import step_cost
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.step_cost import StepCost
from napari_melanoma.workflows import reproduce_measuring
from napari_melanoma.workflows.reproduce_data import RoleData
from napari_melanoma.workflows.reproduce_measuring import computing_with, measure_rows
from napari_melanoma.workflows.reproduce_papers import read_paper
from napari_melanoma.workflows.reproduce_plan import (
    LEAST_EPOCHS,
    LEAST_STEPS,
    Counts,
    Plan,
    PlannedRow,
    RowCost,
    Size,
    capped,
    choose_size,
    in_turn,
    steps_that_fit,
    whole_cycles,
)
from napari_melanoma.workflows.reproduce_planning import PlanRequest, make_plan
from napari_melanoma.workflows.reproduce_rows import Place, Work, has_time

NEEDS = {row.name: row.file.needs for row in read_paper("P4").table_rows}


def cost(image_s: float = 0.01) -> StepCost:
    return StepCost(image_s, 0.001, 0.005, 1, 1, "cpu", "32-true")


def recipes(paper: str = "P4") -> dict[str, TrainRecipe]:
    rows = [row for row in read_paper(paper).table_rows if row.file.learn]
    return {row.name: row.recipe("small", data={"datasets": ["m"]}, model={"start": "none"}) for row in rows}


def size(count: Counts, seconds: float, slow: dict[str, float] | None = None) -> Size | None:
    of = recipes()
    costs = {name: cost((slow or {}).get(name, 0.01)) for name in of}
    return choose_size(dict.fromkeys(of, count), costs, of, NEEDS, seconds)


@pytest.mark.parametrize(("seconds", "steps"), [(0, 0), (29, 0), (30, 5), (59.9, 15), (60, 20), (1e6, 50)])
def test_steps_fill_the_time_and_no_more(seconds: float, steps: int) -> None:
    assert steps_that_fit([RowCost(10, 4, 5), RowCost(10, 6, 5)], seconds, 50) == steps


@pytest.mark.parametrize("images", [60, 600, 9000])
def test_no_plan_has_fewer_steps_than_learning_takes(images: int) -> None:
    for seconds in (100, 400, 1800, 1e6):
        found = size(Counts(images, images // 10, 20), seconds)
        if found is not None:
            assert found.steps >= LEAST_STEPS
            learn = capped(Counts(images, images // 10, 20), found.images).learn
            assert found.steps / max(1, learn // 8) > LEAST_EPOCHS - 1
    assert size(Counts(60, 6, 20), 10) is None


def test_the_costliest_rows_wait_with_those_that_need_them() -> None:
    found = size(Counts(500, 50, 20), 500, {"deeplab-xception": 1.0, "transfer-d": 0.5})
    assert found is not None
    assert found.waiting == ("deeplab-xception", "transfer-d", "transfer-d-then-m")
    plan = Plan(
        paper="P4",
        budget="small",
        data={},
        rows=tuple(
            PlannedRow(name=name, fixed_s=seconds, epoch_s=0, waits=name in found.waiting)
            for name, seconds in (("deeplab-xception", 50), ("unet", 5), ("transfer-d", 40), ("transfer-d-then-m", 5))
        ),
    )
    names = [row.name for row in in_turn(plan, read_paper("P4"))]
    assert names == ["unet", "transfer-d", "transfer-d-then-m", "deeplab-xception"]


def test_a_row_that_another_is_only_compared_with_is_not_needed() -> None:
    assert NEEDS["transfer-d-then-m"] == ("transfer-d",)
    assert NEEDS["unet"] == ()


@pytest.mark.parametrize(("epochs", "first"), [(124, 4), (3, 3), (11, 11), (12, 4), (20, 20 / 3)])
def test_restarts_end_with_a_cycle(epochs: int, first: float) -> None:
    recipe = read_paper("P4").row("unet").recipe("full", data={"datasets": ["m"]}, epochs=epochs)
    assert recipe.schedule == "cosine_restarts"
    assert whole_cycles(recipe, epochs) == pytest.approx(first)


def test_the_papers_own_run_ends_with_a_cycle_and_its_patience_outlasts_the_longest() -> None:
    for row in read_paper("P4").rows:
        if row.file.learn:
            recipe = row.recipe("full", data={"datasets": ["m"]}, model={"start": "none"})
            cycles = [recipe.cycle_epochs]
            while sum(cycles) < recipe.epochs:
                cycles.append(cycles[-1] * recipe.cycle_growth)
            assert sum(cycles) == recipe.epochs
            assert recipe.patience > cycles[-1]


def request(minutes: float) -> PlanRequest:
    return PlanRequest(("unet", "unetpp"), "small", minutes, {"HAM10000": (Path("ham"),)}, {})


def test_a_plan_has_steps_enough_or_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cost, "_seconds", lambda work, device, clock: 0.05)
    monkeypatch.setattr(reproduce_measuring, "ROUNDS", 1)
    data = {"HAM10000": RoleData("HAM10000", (Path("ham"),), 60, 20)}
    plan = make_plan(read_paper("P2"), request(40), data, RunContext())
    assert {row.steps * row.epochs >= LEAST_STEPS for row in plan.rows if row.steps and row.epochs} == {True}
    assert len({row.epochs for row in plan.rows}) == 1
    assert plan.notices == ()
    assert plan.seconds is not None
    assert plan.seconds < 40 * 60
    short = make_plan(read_paper("P2"), request(5), data, RunContext())
    assert [row.name for row in short.rows if row.waits] == ["unetpp"]
    assert "unetpp waits for time that the others leave. All rows need about" in short.notices[0]
    assert {row.epochs for row in short.rows} == {100}
    with pytest.raises(RunError, match=r"no row can learn anything: each needs 300 steps.*--minutes \d+"):
        make_plan(read_paper("P2"), request(1), data, RunContext())


def test_a_busy_moment_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    seen: list[int] = []

    def measured(recipe: TrainRecipe) -> StepCost:
        seen.append(torch.get_num_threads())
        quiet = 0.35 if seen[-1] > 1 else 0.02
        return cost(5.0 if len(seen) < 3 else quiet)

    monkeypatch.setattr(step_cost, "measure_step", measured)
    alike = {name: recipes()[name] for name in ("transfer-d", "transfer-d-then-m", "deeplab-mobilenetv2-035")}
    with computing_with(2):
        paces, faults = measure_rows(alike, 1e6, RunContext())
        assert torch.get_num_threads() == 2
    assert sorted(seen) == [1, 1, 1, 2, 2, 2]
    assert {(pace.cost.image_s, pace.threads) for pace in paces.values()} == {(0.02, 1)}
    assert faults == {}


@pytest.mark.parametrize(("took_s", "time"), [(60, True), (100, True), (200, False)])
def test_a_row_begins_where_it_ends_in_time_at_the_pace_of_those_before(
    tmp_path: Path, took_s: int, time: bool
) -> None:
    place = Place(tmp_path)
    rows = tuple(PlannedRow(name=name, epochs=10, fixed_s=0, epoch_s=10) for name in ("unet", "attention-unet"))
    plan = Plan(paper="P4", budget="small", minutes=5, data={}, rows=rows)
    work = Work(read_paper("P4"), plan, {}, place)
    assert has_time(work, "unet")
    folder = place.run("unet")
    folder.bundle.mkdir(parents=True)
    folder.config.touch()
    (folder.bundle / CONFIG).touch()
    times = [json.dumps({"event": "epoch", "time": 1e9 + took_s * n / 4}) for n in range(5)]
    folder.events.write_text("\n".join(times) + "\n", encoding="utf-8")
    assert has_time(work, "attention-unet") is time
    assert has_time(work, "unet")  # one that has begun goes on
