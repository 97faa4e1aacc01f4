"""Whole slides with a table in the Train dock: the recipe for them is selected, and a training starts."""

from __future__ import annotations

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.runs.slide_datasets import make_slide_dataset
from napari_melanoma.slides.reading.detection import find_slides

from .test_train import blobs, launched, opens_dock, trainer, user

__all__ = ["blobs", "launched", "opens_dock", "trainer", "user"]  # fixtures


@pytest.fixture
def slides(user):
    folder = user / "slides"
    folder.mkdir()
    rows = ["slide,patient_id,age,sex,depth_mm,metastasis"]
    for number in range(24):
        (folder / f"s{number:02d}.svs").write_bytes(bytes([number]))
        depth = "" if number == 3 else f"{1 + number / 10:g}"
        rows.append(f"s{number:02d}.svs,p{number},{40 + number},{'fm'[number % 2]},{depth},{number % 2}")
    (user / "patients.csv").write_text("\n".join(rows), encoding="utf-8")
    make_slide_dataset(find_slides([folder]), user / "patients.csv", folder, run=RunContext())
    return folder


def test_slides_with_a_table_select_their_recipe(trainer, launched, slides, user):
    dock = trainer.dock
    dock.data_picker.training_list.add([slides])
    trainer.until(lambda: bool(dock.data_picker.datasets))
    trainer.waits()
    assert dock.recipe_picker.shipped_recipe.name == "slide-patients"
    assert trainer.says("about slides") == "24 slides of 24 patients"
    assert not dock.start_picker.isVisible()
    assert "Features of 24 slides are computed first" in trainer.says("image_counts")
    recipe = dock.build_recipe()
    assert (recipe.model.start, recipe.classification.target) == ("none", "metastasis")
    columns = (*recipe.classification.tabular.numbers, *recipe.classification.tabular.words)
    assert {column.name for column in columns} == {"age", "depth_mm", "sex"}  # the table has no site
    assert all(column.missing == "unknown" for column in columns)
    trainer.starts()
    assert launched.recipes[0].bags.encoder == "encoder:imagenet-tiles"
    trainer.clicks("back")
    trainer.picks("recipe", "fine-tune")
    assert "the recipe is for photographs" in trainer.says("warning")
    assert dock.start_picker.start == "lesion-small"
