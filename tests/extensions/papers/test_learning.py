"""The recipe of a row: initial weights of the user, and restarts that end with a whole cycle."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.extensions.papers.paper_rows import complete_recipe
from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.extensions.papers.planning import (
    PlannedRow,
    ReproduceOptions,
    ReproductionContext,
    ReproductionFolder,
    ReproductionPlan,
)
from napari_melanoma.extensions.papers.run import check
from napari_melanoma.extensions.papers.split import RoleImages


@pytest.mark.usefixtures("planned")
def test_provided_weights_are_used_as_start(sets: Path, tmp_path: Path) -> None:
    name, file = "pascal_voc_mobilenetv2", tmp_path / "mobilenet.safetensors"
    file.write_bytes(b"weights")
    options = ReproduceOptions(
        paper="P4", data=(str(sets),), rows=("deeplab-mobilenetv2",), weights=(f"{name}={file}",)
    )
    plan, place = check(options, run=RunContext()).plan, ReproductionFolder(tmp_path)
    data = {"M": RoleImages("M", (sets / "dermofit",), Counter(train=10, test=2))}
    work = ReproductionContext(read_paper("P4"), plan, data, place)
    assert complete_recipe(work, read_paper("P4").rows["deeplab-mobilenetv2"]).model.start == str(file)
    without = ReproductionContext(read_paper("P4"), plan.model_copy(update={"weights": {}}), data, place)
    assert complete_recipe(without, read_paper("P4").rows["deeplab-mobilenetv2"]).model.start == "none"
    for wrong, message in (
        (f"{name}=nowhere.pth", "the file of weights nowhere.* does not exist.*http"),
        ("imagenet=x", "no initial weights 'imagenet'"),
    ):
        with pytest.raises(ConfigError, match=message):
            check(options.model_copy(update={"weights": (wrong,)}), run=RunContext())


@pytest.mark.parametrize(("epochs", "first"), [(124, 4), (3, 3), (11, 11), (12, 4), (20, 20 / 3)])
def test_restarts_end_with_a_cycle(tmp_path: Path, epochs: int, first: float) -> None:
    paper = read_paper("P4")
    plan = ReproductionPlan(paper="P4", budget="full", data={}, rows=(PlannedRow(name="unet", epochs=epochs),))
    data = {"M": RoleImages("M", (tmp_path,), Counter(train=10, test=2))}
    work = ReproductionContext(paper, plan, data, ReproductionFolder(tmp_path))
    recipe = complete_recipe(work, paper.rows["unet"])
    assert (recipe.schedule, recipe.epochs) == ("cosine_restarts", epochs)
    assert recipe.cycle_epochs == pytest.approx(first)
