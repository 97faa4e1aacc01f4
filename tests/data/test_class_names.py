"""Names of classes are part of a data set: kept by imports, exports, merges, checks and recipes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_melanoma as nm
from napari_melanoma.core.context import RunContext
from napari_melanoma.data.check import check_data
from napari_melanoma.data.dataset import read_class_names, write_class_names
from napari_melanoma.data.merging import MergeOptions, merge_datasets
from napari_melanoma.io.results import read_labels, write_labels, write_rgb, write_table
from napari_melanoma.runs.shipped_recipes import find_shipped_recipe

SHAPE = (36, 52)
CLASSES = {"border": (3,), "core": (1,), "halo": (7,)}
FORMATS = ("nnunet", "coco", "labelme", "label-studio", "geojson", "decathlon", "imagefolder", "parquet", "masks")


def make_labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for column, (value,) in enumerate(CLASSES.values()):
        labels[5:20, 5 + 15 * column : 15 + 15 * column] = value
    return labels


def make_dataset(folder: Path, classes: dict[str, tuple[int, ...]] = CLASSES, seed: int = 0) -> Path:
    for number in range(2):
        rgb = np.random.default_rng(seed + number).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
        write_rgb(folder / f"images/x{number}.png", rgb)
        write_labels(folder / f"masks/x{number}.png", make_labels())
    rows = [{"image_id": f"x{number}", "patient_id": f"{folder.name}{number}", "split": "train"} for number in range(2)]
    write_table(folder / "dataset.csv", rows)
    write_class_names(folder, classes)
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_names_and_values_survive_an_export_and_an_import(name: str, tmp_path: Path) -> None:
    exported = nm.export_dataset(make_dataset(tmp_path / "set"), name, tmp_path / "out")
    assert exported.classes == CLASSES
    source = "folder" if name == "masks" else name
    imported = nm.import_dataset(source, exported.folder, tmp_path / "back", values="keep", no_patients=True)
    assert imported.faults == []
    names = read_class_names(tmp_path / "back")
    values = {1: 1, 3: 2, 7: 3} if name == "nnunet" else {1: 1, 3: 3, 7: 7}  # nnU-Net needs consecutive ones
    assert names == {class_: (values[value],) for class_, (value,) in CLASSES.items()}
    labels = read_labels(tmp_path / "back/masks/x0.png")
    for class_, (value,) in CLASSES.items():
        assert ((labels == names[class_][0]) == (make_labels() == value)).mean() > 0.99
    again = nm.export_dataset(tmp_path / "back", "coco", tmp_path / "coco")
    (content,) = [json.loads(path.read_text()) for path in (again.folder / "annotations").iterdir()]
    assert sorted(one["name"] for one in content["categories"]) == ["border", "core", "halo"]


def test_values_without_a_name_are_numbered(tmp_path: Path) -> None:
    exported = nm.export_dataset(make_dataset(tmp_path / "set", {"core": (1,)}), "masks", tmp_path / "out")
    assert exported.classes == {"core": (1,), "class 3": (3,), "class 7": (7,)}


def test_the_check_lists_the_names(tmp_path: Path) -> None:
    notes = dict(check_data(make_dataset(tmp_path / "set"), run=RunContext()).notes)
    assert notes["masks"] == "2 are label images (values 0, 1, 3, 7) of the classes border 3, core 1, halo 7"


def test_merged_sets_keep_names_and_do_not_mix_them(tmp_path: Path) -> None:
    first, second = make_dataset(tmp_path / "a"), make_dataset(tmp_path / "b", {"core": (1,), "hair": (9,)}, seed=5)
    merge_datasets([first, second], tmp_path / "merged", MergeOptions(), run=RunContext())
    assert read_class_names(tmp_path / "merged") == {**CLASSES, "hair": (9,)}
    for classes in ({"core": (2,)}, {"hair": (3,)}):
        write_class_names(second, classes)
        with pytest.raises(nm.DataSetError, match=f"the class {next(iter(classes))} of b has other values"):
            merge_datasets([first, second], tmp_path / "none", MergeOptions(), run=RunContext())


def test_recipes_have_the_names(tmp_path: Path) -> None:
    recipe = "fine-tune"
    dataset = make_dataset(tmp_path / "set", {"halo": (2,), "core": (1,)})
    assert find_shipped_recipe(recipe).complete([dataset], "none").classes == ("background", "core", "halo")
    write_class_names(dataset, {"core": (1,), "halo": (3,)})
    assert find_shipped_recipe(recipe).complete([dataset], "none").classes == ("background", "core", "class 2", "halo")
    other = make_dataset(tmp_path / "other", {"core": (1,), "hair": (2,)}, seed=5)
    assert find_shipped_recipe(recipe).complete([dataset, other], "none").classes == (
        "background",
        "core",
        "hair",
        "halo",
    )
    write_class_names(other, {"core": (2,)})
    with pytest.raises(nm.DataSetError, match="the class core of other has other values"):
        find_shipped_recipe(recipe).complete([dataset, other], "none")
    (dataset / "classes.json").unlink()
    assert find_shipped_recipe(recipe).complete([dataset], "none").classes == ()


def test_damaged_names_are_an_error(tmp_path: Path) -> None:
    (make_dataset(tmp_path / "set") / "classes.json").write_text('{"core": [300]}')
    with pytest.raises(nm.DataSetError, match="expected a list of values from 1 to 255 for 'core'"):
        nm.export_dataset(tmp_path / "set", "coco", tmp_path / "out")


@pytest.mark.parametrize("content", ['{"0": "nevus", "1": "melanoma"}', '{"mel": {"id": 3}}', '["nevus"]', "{"])
def test_a_file_of_another_program_is_not_used(content: str, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "set")
    (folder / "dataset.csv").rename(folder / "metadata.csv")
    (folder / "classes.json").write_text(content)
    imported = nm.import_dataset("folder", folder, tmp_path / "out", values="all")
    assert (imported.images, imported.faults) == (2, [])
    is_noted = any(message.startswith("classes.json is not used") for _, message in imported.notes)
    assert is_noted == content.startswith('{"')
