"""The rows of a data set in another order give the same files and numbers.

The subjects are all commands that read a data set, and all formats to which it is exported: a new command fails until
it has its words here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import world
from product_commands import list_data_set_commands, normalize, read_outputs

from napari_melanoma.data.exports import DATA_EXPORTS
from napari_melanoma.io.results import read_table

RECIPE = """
name = "order"
epochs = 1
batch_size = 4
device = "cpu"
seed = 3
[data]
datasets = ["dataset"]
cache_size = 48
[model]
architecture = "deeplabv3plus"
options = { encoder = "test_efficientnet", decoder_channels = 16 }
start = "none"
input_size = 32
"""
# Words after the command; the data set is in the folder ``dataset``.
WORDS: dict[str, tuple[str, ...]] = {
    "data check": ("dataset",),
    "data merge": ("dataset", "other", "--out", "out"),
    "data report": ("dataset", "--out", "out"),
    "data split": ("dataset",),
    "data split --folds 3": ("dataset",),
    "data duplicates": ("dataset", "--out", "out/pairs.csv"),
    "data features": ("dataset", "--out", "out/features.csv"),
    "data baseline": ("dataset", "--columns", "age,sex", "--target", "diagnosis", "--folds", "3"),
    "evaluate": ("--model", "lesion-small", "--data", "dataset", "--out", "out"),
    "compare": ("--model", "lesion-small", "--model", "TINY", "--data", "dataset", "--out", "out"),
    "recipes write": ("fine-tune", "--data", "dataset", "--out", "out/recipe.toml"),
    "adapt": ("melanoma-small", "dataset", "--out", "out/adapted"),
    "studies biomarkers": ("melanoma-small", "--data", "dataset", "--out", "out", "--count", "3", "--shown", "2"),
}
OTHERS = {
    "data export": "each format is a subject of its own",
    "data tiles": "writes a data set",
    "data slides": "writes a data set",
    "data import": "writes a data set",
    "data import-masks": "writes a data set",
    "phantom cohort": "writes a data set",
}
SLOW = ("adapt", "compare", "evaluate", "studies biomarkers", "train")


def test_every_command_is_a_subject() -> None:
    assert set(list_data_set_commands()) <= {*WORDS, *OTHERS}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in which nothing is known of patients and lesions: each image is a group."""
    return world.write_dataset(tmp_path_factory.mktemp("single") / "dataset", patient_id="", lesion_id="")


def observe(call: Callable[..., str], dataset: Path, folder: Path, *words: str) -> dict[str, Any]:
    """Run a command on a copy of a data set; return what it prints and writes."""
    shutil.copytree(dataset, folder / "dataset")
    (folder / "recipe.toml").write_text(RECIPE)
    world.write_dataset(folder / "other", first=20)
    (folder / "out").mkdir(exist_ok="--out" not in words or "/" in words[words.index("--out") + 1])
    if "out" in words:
        (folder / "out").rmdir()
    lines = [json.loads(line) for line in call(*words, "--json", at=folder).splitlines()]
    printed = [line for line in lines if line.get("event") != "progress"]
    files = read_outputs(folder / "out", {str(folder): ""}) if (folder / "out").exists() else {}
    rows = {row["image_id"]: normalize(row) for row in read_table(folder / "dataset/dataset.csv")}
    return {"printed": normalize(printed), "files": files, "rows": rows}


@pytest.mark.parametrize(
    "command", [pytest.param(one, marks=pytest.mark.slow if one in SLOW else ()) for one in (*WORDS, "train")]
)
@pytest.mark.parametrize("groups", ["of patients", "of single images"])
@pytest.mark.slow
def test_the_order_of_rows_changes_no_result(
    command: str, groups: str, dataset: Path, single: Path, tmp_path: Path, call: Callable[..., str], tiny_bundle: Any
) -> None:
    words = WORDS.get(command, ("--config", "recipe.toml", "--out", "out"))
    words = tuple(str(tiny_bundle.path) if word == "TINY" else word for word in words)
    dataset = single if groups == "of single images" else dataset
    if command in {"adapt", "studies biomarkers"}:  # need more photographs
        nameless = {"patient_id": "", "lesion_id": ""} if groups == "of single images" else {}
        dataset = world.write_dataset(tmp_path / "more", 36, **nameless)
    first = observe(call, dataset, tmp_path / "first", *command.split(), *words)
    shuffled = world.shuffle_rows(dataset, tmp_path / "shuffled")
    second = observe(call, shuffled, tmp_path / "second", *command.split(), *words)
    assert second["printed"] == first["printed"]
    assert second["rows"] == first["rows"]
    assert second["files"] == first["files"]


@pytest.mark.parametrize("name", DATA_EXPORTS.members)
@pytest.mark.slow
def test_the_order_of_rows_changes_no_export(
    name: str, dataset: Path, tmp_path: Path, call: Callable[..., str]
) -> None:
    words = ("data", "export", name, "dataset", "--out", "out")
    first = observe(call, dataset, tmp_path / "first", *words)
    shuffled = world.shuffle_rows(dataset, tmp_path / "shuffled")
    second = observe(call, shuffled, tmp_path / "second", *words)
    assert second == first
