"""The plan of a reproduction: which rows run, from which weights, and with how many steps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.extensions.papers.papers import BUDGETS, read_paper
from napari_melanoma.extensions.papers.planning import (
    ReproductionContext,
    ReproductionFolder,
    ReproductionPlan,
    complete_plan,
)
from napari_melanoma.extensions.papers.split import RoleImages


def begin(draft: ReproductionPlan, data: dict[str, RoleImages]) -> ReproductionContext:
    return ReproductionContext(read_paper(draft.paper), draft, data, ReproductionFolder(Path()))


@pytest.mark.parametrize("images", [60, 400])
def test_the_small_budget_has_enough_steps_and_epochs(images: int) -> None:
    data = {"HAM10000": RoleImages("HAM10000", (Path("ham"),), Counter(train=images, test=20))}
    draft = ReproductionPlan(paper="P2", budget="small", data={"HAM10000": ("ham",)})
    plan = complete_plan(begin(draft, data), read_paper("P2").select(("unet", "unetpp")), {}, RunContext())
    for row in plan.rows:
        assert row.steps is not None
        assert row.epochs is not None
        assert row.steps * row.epochs >= (BUDGETS["small"].steps or 0)
        assert row.epochs >= BUDGETS["small"].epochs


def test_the_full_budget_has_the_epochs_of_the_paper() -> None:
    data = {"M": RoleImages("M", (Path("m"),), Counter(train=100, test=20))}
    draft = ReproductionPlan(paper="P4", budget="full", data={"M": ("m",)})
    (planned,) = complete_plan(begin(draft, data), (read_paper("P4").rows["unet"],), {}, RunContext()).rows
    assert planned.epochs == 124
    assert planned.parameters


def test_rows_that_train_nothing_have_no_number_of_parameters() -> None:
    data = {"HAM10000": RoleImages("HAM10000", (Path("ham"),), Counter(train=100, test=20))}
    draft = ReproductionPlan(paper="P2", budget="small", data={"HAM10000": ("ham",)})
    (planned,) = complete_plan(begin(draft, data), (read_paper("P2").rows["constant-negative"],), {}, RunContext()).rows
    assert planned.parameters is None


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
    folds = {"HAM10000": RoleImages("HAM10000", (Path("ham"),), Counter(train=100), positives=20, groups=50)}
    context = ReproductionContext(read_paper("P2"), draft, {}, ReproductionFolder(Path()), folds)
    plan = complete_plan(context, read_paper("P2").select((row,)), {}, RunContext())
    assert plan.by_name[row].start == start
