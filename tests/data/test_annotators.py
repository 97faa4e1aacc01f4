"""Masks of one image by several annotators, and images of one name in several splits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_melanoma as nm
from napari_melanoma.data.mask_areas import find_majority
from napari_melanoma.io.results import read_mask, read_table, write_mask, write_rgb

SHAPE = (40, 60)  # rows, columns
LEFT, MIDDLE, RIGHT = (5, 25), (15, 35), (25, 45)  # columns of the rectangle that an annotator outlines


def rectangle(*columns: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[10:30, slice(*columns)] = True
    return mask


def points(first: int, last: int) -> list[list[int]]:
    return [[first, 10], [last, 10], [last, 30], [first, 30]]


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def as_coco(columns: Sequence[int], names: Sequence[str] = ("a.png",)) -> dict[str, Any]:
    size = {"height": SHAPE[0], "width": SHAPE[1]}
    outline = [value for point in points(*columns) for value in point]
    return {
        "images": [{"id": number, "file_name": name, **size} for number, name in enumerate(names)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "segmentation": [outline]}
            for number, _ in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "lesion"}],
    }


def as_labelme(columns: Sequence[int]) -> dict[str, Any]:
    shape = {"label": "lesion", "shape_type": "polygon", "points": points(*columns)}
    return {"imagePath": "a.png", "imageHeight": SHAPE[0], "imageWidth": SHAPE[1], "shapes": [shape]}


def as_annotation(columns: Sequence[int], **stated: object) -> dict[str, Any]:
    percents = [[100 * x / SHAPE[1], 100 * y / SHAPE[0]] for x, y in points(*columns)]
    result = {"type": "polygonlabels", "original_width": SHAPE[1], "original_height": SHAPE[0]}
    return {"result": [{**result, "value": {"points": percents, "polygonlabels": ["lesion"]}}], **stated}


AREAS = {"anna": LEFT, "ben": MIDDLE, "cleo": RIGHT}


def write_coco(folder: Path) -> None:
    for name, columns in AREAS.items():
        write(folder / f"annotations/{name}.json", as_coco(columns))


def write_labelme(folder: Path) -> None:
    for name, columns in AREAS.items():
        write(folder / f"{name}/a.json", as_labelme(columns))


def write_label_studio(folder: Path) -> None:
    annotations = [as_annotation(columns, completed_by={"id": 3, "email": name}) for name, columns in AREAS.items()]
    write(folder / "project.json", [{"data": {"image": "a.png"}, "annotations": annotations}])


def write_label_studio_min(folder: Path) -> None:
    tasks = [
        {"image": "a.png", "label": as_annotation(columns)["result"], "annotator": name}
        for name, columns in AREAS.items()
    ]
    write(folder / "project.json", tasks)


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "coco": ("coco", write_coco),
    "labelme": ("labelme", write_labelme),
    "label-studio": ("label-studio", write_label_studio),
    "label-studio JSON-MIN": ("label-studio", write_label_studio_min),
}
UNITED = rectangle(5, 45)
DEFAULTS = {
    "coco": (UNITED, "anna.json, annotations/ben.json, annotations/cleo.json), which were united; --annotator NAME"),
    "labelme": (UNITED, "anna/a.json, ben/a.json, cleo/a.json), which were united; --annotator NAME selects one"),
    "label-studio": (
        rectangle(*RIGHT),
        "(anna, ben, cleo), of which one was used (the ground truth, else the last",
    ),
    "label-studio JSON-MIN": (UNITED, "1 image with masks of several (anna, ben, cleo), which were united"),
}
SELECTED = {"ben": rectangle(*MIDDLE), "union": UNITED, "majority": rectangle(15, 35)}


@pytest.fixture(params=WRITERS)
def annotated(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, Path]:
    """The key of a format, its name, and a folder with an image that three have annotated."""
    name, write_annotations = WRITERS[request.param]
    write_rgb(tmp_path / "in/images/a.png", np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8))
    write_annotations(tmp_path / "in")
    return request.param, name, tmp_path / "in"


def test_several_annotators_are_noted(annotated: tuple[str, str, Path], tmp_path: Path) -> None:
    key, name, folder = annotated
    mask, note = DEFAULTS[key]
    imported = nm.import_dataset(name, folder, tmp_path / "out", no_patients=True)
    assert (read_mask(tmp_path / "out/masks/a.png") == mask).all()
    assert [note in text for topic, text in imported.notes if topic == "annotators"] == [True]
    masks = nm.import_masks(folder, folder / "images", tmp_path / "set", no_patients=True, format=name)
    assert (read_mask(tmp_path / "set/masks/a.png") == mask).all()
    assert [topic for topic, _ in masks.notes].count("annotators") == 1


@pytest.mark.parametrize("annotator", SELECTED)
def test_annotators_are_selected(annotated: tuple[str, str, Path], annotator: str, tmp_path: Path) -> None:
    _, name, folder = annotated
    imported = nm.import_dataset(name, folder, tmp_path / "out", no_patients=True, annotator=annotator)
    assert (read_mask(tmp_path / "out/masks/a.png") == SELECTED[annotator]).all()
    assert "annotators" not in dict(imported.notes)
    options = {"annotator": annotator, "format": name}
    masks = nm.import_masks(folder, folder / "images", tmp_path / "set", no_patients=True, **options)
    assert masks.added == ["a"]
    assert (read_mask(tmp_path / "set/masks/a.png") == SELECTED[annotator]).all()


def test_an_unknown_annotator(annotated: tuple[str, str, Path], tmp_path: Path) -> None:
    _, name, folder = annotated
    with pytest.raises(nm.InputError, match=r"no mask is by 'dora': expected an annotator.*found .*anna"):
        nm.import_dataset(name, folder, tmp_path / "out", no_patients=True, annotator="dora")
    assert not (tmp_path / "out").exists()


def test_masks_of_several_folders(tmp_path: Path) -> None:
    """Image files, one folder an annotator; the second image is of one of them."""
    for number, name in enumerate("ab"):
        pixels = np.random.default_rng(number).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
        write_rgb(tmp_path / f"images/{name}.png", pixels)
    for name, columns in AREAS.items():
        write_mask(tmp_path / f"masks/{name}/a.png", rectangle(*columns))
    write_mask(tmp_path / "masks/ben/b.png", rectangle(*LEFT))
    arguments = tmp_path / "masks", tmp_path / "images"
    united = nm.import_masks(*arguments, tmp_path / "united", no_patients=True)
    assert "1 image with masks of several (anna, ben, cleo)" in dict(united.notes)["annotators"]
    one = nm.import_masks(*arguments, tmp_path / "one", no_patients=True, annotator="cleo")
    assert one.added == ["a"]
    assert (read_mask(tmp_path / "one/masks/a.png") == rectangle(*RIGHT)).all()
    assert dict(one.notes)["annotators"] == "1 image with masks, but none by cleo: left without a mask"


def test_annotators_who_agree_on_no_pixel(tmp_path: Path) -> None:
    write_rgb(tmp_path / "in/a.png", np.zeros((*SHAPE, 3), np.uint8))
    for name, columns in {"anna": (5, 15), "ben": (30, 40)}.items():
        write(tmp_path / f"in/{name}.json", as_coco(columns))
    with pytest.raises(nm.DataSetError, match="no pixel is in the masks of more than half of its 2 annotators"):
        nm.import_dataset("coco", tmp_path / "in", tmp_path / "out", no_patients=True, annotator="majority")


def test_majority_of_classes() -> None:
    masks = [np.array([[1, 1, 2, 0]], np.uint8), np.array([[1, 2, 2, 0]], np.uint8), np.array([[0, 3, 2, 0]], np.uint8)]
    assert find_majority(masks).tolist() == [[1, 0, 2, 0]]
    assert find_majority([mask > 0 for mask in masks]).tolist() == [[True, True, True, False]]
    assert find_majority([np.zeros((2, 2), bool)]).tolist() == [[False, False], [False, False]]


LAYOUTS = {
    "a file for each split": "annotations/instances_{split}2017.json",
    "a file beside the images": "images/{split}/_annotations.coco.json",
}


@pytest.mark.parametrize("file", LAYOUTS.values(), ids=LAYOUTS)
def test_images_of_one_name_in_several_splits_stay_apart(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    areas = {"train": LEFT, "test": RIGHT}
    for number, (split, columns) in enumerate(areas.items()):
        pixels = np.random.default_rng(number).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
        write_rgb(folder / f"images/{split}/a.png", pixels)
        write(folder / file.format(split=split), as_coco(columns))
    imported = nm.import_dataset("coco", folder, tmp_path / "out", no_patients=True)
    assert (imported.images, imported.masks) == (2, 2)
    assert imported.notes == []
    splits = {row["image_id"]: row["split"] for row in read_table(tmp_path / "out/dataset.csv")}
    assert splits == {"test_a": "test", "train_a": "train"}
    for name, split in splits.items():
        assert (read_mask(tmp_path / f"out/masks/{name}.png") == rectangle(*areas[split])).all()
