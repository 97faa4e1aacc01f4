"""A resumed run states what has changed in its data sets since it started."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.io.results import read_table, write_mask, write_table
from napari_melanoma.runs.train import train
from napari_melanoma.training.data_changes import TABLES, describe_data_changes, write_table_digests
from napari_melanoma.training.data_preparation import prepare_data
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data

pytestmark = pytest.mark.usefixtures("user_folders")

Change = Callable[..., TrainRecipe]
Row = dict[str, str]


@pytest.fixture
def data(draw: Callable[..., Path], tmp_path: Path) -> Path:
    return draw(tmp_path / "blobs")


@pytest.fixture
def of_data(recipe: TrainRecipe, change: Change, data: Path) -> TrainRecipe:
    return change(recipe, data={"datasets": [str(data)]})


@pytest.fixture
def run_folder(of_data: TrainRecipe, tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    write_table_digests(folder, of_data)
    prepare_data(of_data, folder, resume=False, run=RunContext())
    early = time.time() - 60
    os.utime(folder.data, (early, early))  # the files may be written within the same tick of the clock
    return folder


def edit(data: Path, edited: Callable[[list[Row]], list[Row]]) -> None:
    write_table(data / "dataset.csv", edited(read_table(data / "dataset.csv")))


def relabel(rows: list[Row]) -> list[Row]:
    return [{**row, "split": "test" if row["image_id"] == "b03" else row["split"]} for row in rows]


def write_again(data: Path) -> None:
    write_mask(data / "masks/b03.png", np.eye(48, dtype=bool))


CHANGES: list[tuple[str, Callable[[Path], Any], list[str]]] = [
    ("nothing", lambda data: None, []),
    ("the same content", lambda data: os.utime(data / "images/b03.png"), []),
    ("moved", lambda data: data.rename(data.with_name("elsewhere")), ["is not there any more", "Move it back"]),
    ("another mask", write_again, ["1 file changed (b03.png)", "Start a new run to use the changes"]),
    ("a lost image", lambda data: (data / "images/b02.png").unlink(), ["1 file missing (b02.png)"]),
    ("a lost row", lambda data: edit(data, lambda rows: rows[1:]), ["its table was edited; 1 image not in the table"]),
    (
        "a table that cannot be read",
        lambda data: (data / "dataset.csv").write_text("name\nb00\n"),
        ["its table was edited; its table is unusable", "needs a column image_id", "Start a new run"],
    ),
    ("another split", lambda data: edit(data, relabel), ["1 image with another split or diagnosis (b03)"]),
    (
        "spaces around the splits",
        lambda data: edit(data, lambda rows: [{**row, "split": f" {row['split']} "} for row in rows]),
        ["has changed since the run started: its table was edited. The run continues"],
    ),
    (
        "an added row",
        lambda data: edit(data, lambda rows: [*rows, {**rows[0], "image_id": "new", "path": "images/b00.png"}]),
        ["its table was edited. The run continues with the images, splits and labels"],
    ),
]


@pytest.mark.parametrize(("name", "apply", "expected"), CHANGES, ids=[case[0] for case in CHANGES])
def test_changes_are_stated(
    name: str,
    apply: Callable[[Path], Any],
    expected: list[str],
    data: Path,
    of_data: TrainRecipe,
    run_folder: RunFolder,
) -> None:
    apply(data)
    sentences = describe_data_changes(run_folder, of_data)
    assert len(sentences) == bool(expected)
    for text in expected:
        assert text in sentences[0]


def test_a_run_without_digests_compares_rows(data: Path, of_data: TrainRecipe, run_folder: RunFolder) -> None:
    """Such as those of earlier versions."""
    (run_folder.path / TABLES).unlink()
    assert describe_data_changes(run_folder, of_data) == []
    edit(data, relabel)
    assert "1 image with another split" in describe_data_changes(run_folder, of_data)[0]


@pytest.mark.slow
def test_a_resumed_run_has_the_notice(
    alone: TrainRecipe, change: Change, data: Path, tmp_path: Path, events: Any, stop: Any
) -> None:
    recipe = change(alone, data={"datasets": [str(data)]})
    stop(recipe, tmp_path / "run", "Epoch 2 of 2, ")
    edit(data, relabel)
    evaluation = RunFolder(tmp_path / "run").evaluation
    evaluation.mkdir()
    train(recipe, tmp_path / "run", resume=True, run=RunContext(), evaluate=False)
    assert not evaluation.exists()
    notices = [event["message"] for event in events(tmp_path / "run") if event["kind"] == "notice"]
    assert sum("its table was edited" in notice for notice in notices) == 1
    assert "removed the evaluation of an earlier model of this run" in notices


def test_the_images_of_a_run_are_read_as_they_were_in_the_data_set(
    of_data: TrainRecipe, data: Path, tmp_path: Path
) -> None:
    """The test set is measured at the scale of the table, as by an evaluation of the data set itself."""
    edit(
        data,
        lambda rows: [{**row, "mpp_y": "12.5", "mpp_x": "10" if number else ""} for number, row in enumerate(rows)],
    )
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    prepare_data(of_data, folder, resume=False, run=RunContext())
    samples = {sample.key: sample for sample in read_dataset(data)}
    rows = read_data(folder.data)
    assert [row.sample for row in rows] == [samples[row.sample.key] for row in rows]
    assert {row.sample.pixel_size for row in rows} == {None, PixelSize(12.5, 10)}
