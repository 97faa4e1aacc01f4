"""The order of the rows of a table, and of the data sets of a recipe, changes neither the data nor the weights."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.runs.train import train
from napari_melanoma.training.data_preparation import CLASSES_FILE, prepare_data
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, read_data

Change = Callable[..., TrainRecipe]


def shuffle_rows(folder: Path) -> None:
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", random.Random(1).sample(rows, len(rows)))


def prepared_rows(recipe: TrainRecipe, out: Path) -> tuple[list[DataRow], str]:
    folder = RunFolder(out)
    out.mkdir()
    prepare_data(recipe, folder, resume=False, run=RunContext())
    of_classes = out / CLASSES_FILE
    return read_data(folder.data), of_classes.read_text() if of_classes.exists() else ""


def test_the_same_images_in_the_same_order(
    recipe: TrainRecipe, change: Change, draw: Callable[..., Path], tmp_path: Path
) -> None:
    folders = [str(draw(tmp_path / name, seed=seed)) for seed, name in enumerate(("second", "first"))]
    both = change(recipe, data={"datasets": folders, "validation_fraction": 0.3})
    before = prepared_rows(both, tmp_path / "before")
    for folder in folders:
        shuffle_rows(Path(folder))
    assert prepared_rows(both, tmp_path / "rows") == before
    assert prepared_rows(change(both, data={"datasets": folders[::-1]}), tmp_path / "arguments") == before


def test_the_same_classes_and_patient_data(
    class_recipe: TrainRecipe, change: Change, draw_classes: Callable[..., Path], tmp_path: Path
) -> None:
    folder = draw_classes(tmp_path / "classes", "image", 32)
    recipe = change(class_recipe, data={"datasets": [str(folder)], "test_fraction": 0.2})
    rows, classes = prepared_rows(recipe, tmp_path / "before")
    shuffle_rows(folder)
    assert prepared_rows(recipe, tmp_path / "after") == (rows, classes)


@pytest.mark.slow
def test_the_same_weights(alone: TrainRecipe, change: Change, draw: Callable[..., Path], tmp_path: Path) -> None:
    folder = draw(tmp_path / "blobs")
    recipe = change(alone, data={"datasets": [str(folder)]})
    train(recipe, tmp_path / "before", resume=False, run=RunContext())
    shuffle_rows(folder)
    train(recipe, tmp_path / "after", resume=False, run=RunContext())
    first, second = (tmp_path / run for run in ("before", "after"))
    assert (first / "bundle/model.safetensors").read_bytes() == (second / "bundle/model.safetensors").read_bytes()
    losses = [[(row["epoch"], row["loss"]) for row in read_table(run / "metrics.csv")] for run in (first, second)]
    assert losses[0] == losses[1]
