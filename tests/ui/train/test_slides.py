"""Whole slides with a table, and tiles of slides, in the Train dock."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QCheckBox
from slide_models import install_slide_models

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.prediction_config import TileConfig
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.runs.slide_datasets import make_slide_dataset
from napari_melanoma.slides.reading.detection import find_slides
from napari_melanoma.slides.tile_sets import TileSet, write_tile_set

from .test_train import blobs, launched, opens_dock, trainer, user, write_data_set

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
    assert not dock.start_picker.isVisible()
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


LABELS = ("Background", "Dermis", "Melanoma")


@pytest.fixture
def tiles(user):
    install_slide_models()
    folder = write_data_set(user / "tiles", tissue=["Melanoma", "Dermis"] * 6)
    tile = TileConfig(mpp=0.5, side_px=64)
    write_tile_set(folder, TileSet(tile=tile, labels=LABELS, classes=("Dermis", "Melanoma")))
    return folder


def test_tiles_select_a_recipe_with_their_scale_and_classes_and_are_not_mixed_with_photographs(
    trainer, launched, tiles, blobs, user
):
    trainer.adds(tiles)
    dock = trainer.dock
    assert dock.recipe_picker.shipped_recipe.name == "classify-tiles"
    recipe = dock.build_recipe()
    assert (recipe.tile.mpp, recipe.tile.side_px, recipe.model.input_size) == (0.5, 64, 64)
    assert recipe.classification.target == "tissue"
    assert recipe.classification.classes == ("Dermis", "Melanoma")
    assert recipe.classification.positive == "Melanoma"
    assert recipe.modalities == ("slide",)
    assert recipe.model.start == "imagenet-tiles"
    starts = [dock.start_picker.combo.itemData(place) for place in range(dock.start_picker.combo.count())]
    assert "tile-test" in starts
    assert "lesion-small" not in starts
    trainer.picks("recipe", "segment-tiles")
    assert dock.build_recipe().classes == LABELS
    assert dock.build_recipe().model.options["classes"] == 3
    trainer.starts()
    assert launched.recipes[0].tile == recipe.tile
    trainer.clicks("back")
    # Tiles and photographs are not mixed.
    trainer.adds(blobs)
    assert not trainer.dock.start_button.isEnabled()
    assert "one type" in trainer.says("warning")
    trainer.finds(QCheckBox, "use tiles").click()
    trainer.waits()
    assert "the recipe is for tiles of slides" in trainer.says("warning")
    trainer.picks("recipe", "fine-tune")
    assert trainer.dock.start_button.isEnabled()
    assert trainer.dock.start_picker.start == "lesion-small"


def test_a_class_of_one_patient_is_reported_before_the_start(trainer, user):
    folder = write_data_set(user / "few")
    rows = [{**row, "tissue": "Naevus", "split": "train"} for row in read_table(folder / "dataset.csv")]
    rows[3]["tissue"] = "Melanoma"
    rows[4]["split"] = "test"
    write_table(folder / "dataset.csv", rows)
    tile = TileConfig(mpp=0.5, side_px=64)
    labels = ("Background", "Melanoma", "Naevus")
    write_tile_set(folder, TileSet(tile=tile, labels=labels, classes=labels[1:]))
    trainer.adds(folder)
    assert not trainer.dock.start_button.isEnabled()
    assert "Draw another region of Melanoma, at another position" in trainer.says("warning")
    assert "validation_fraction" not in trainer.says("warning")


@pytest.fixture
def with_a_new_class(user):
    install_slide_models()
    folder = write_data_set(user / "grown")
    kinds = ("benign tissue", "naevus", "melanoma", "necrosis")
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [{**row, "tissue": kinds[n % 4]} for n, row in enumerate(rows)])
    tile = TileConfig(mpp=1.0, side_px=128)
    write_tile_set(folder, TileSet(tile=tile, labels=("background", *kinds), classes=kinds))
    return folder


def test_unknown_classes_suggest_a_new_head(trainer, launched, with_a_new_class, monkeypatch):
    trainer.adds(with_a_new_class)
    dock = trainer.dock
    assert not dock.start_hint.isVisibleTo(dock)  # of the model that draws tissues the encoder is taken anyhow
    trainer.picks("start_from", "tile-test")
    assert dock.start_picker.start_weights_combo.isVisibleTo(dock)
    assert "necrosis is not a class of 'tile-test'" in dock.start_hint.text()
    assert dock.build_recipe().classification.classes == ("benign tissue", "naevus", "melanoma")
    # The encoder is used by the link.
    dock.start_hint.linkActivated.emit("encoder")
    trainer.waits()
    assert not dock.start_hint.isVisibleTo(dock)
    recipe = dock.build_recipe()
    assert recipe.classification.classes == ("benign tissue", "naevus", "melanoma", "necrosis")
    assert (recipe.model.start, recipe.model.start_weights, recipe.name) == ("tile-test", "encoder", "tile-test-new")
    assert dock.settings.get("train/start_weights", "") == "encoder"
    trainer.starts()
    assert launched.recipes[0].model.start_weights == "encoder"
    trainer.clicks("back")
    # The weights to use can be selected.
    trainer.picks("start_weights", "all")
    assert trainer.dock.build_recipe().model.start_weights == "all"
    assert trainer.dock.start_hint.isVisibleTo(trainer.dock)
    trainer.picks("start_weights", "encoder")
    assert trainer.dock.build_recipe().model.start_weights == "encoder"
    trainer.picks("start_from", "none")
    assert trainer.dock.build_recipe().model.start_weights == "all"
    assert not trainer.dock.start_hint.isVisibleTo(trainer.dock)
