"""One format has one importer: ``data import`` and ``data import-masks`` give the same ids, masks and verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import napari_melanoma as nm
from napari_melanoma.io.results import read_mask, read_table, write_mask, write_rgb

SHAPE = (40, 60)
LESION, RULER = (5, 25), (30, 50)  # columns of rectangles


def area(columns: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[10:30, slice(*columns)] = True
    return mask


def outline(columns: tuple[int, int]) -> list[list[int]]:
    first, last = columns
    return [[first, 10], [last, 10], [last, 30], [first, 30]]


def make_photographs(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
        write_rgb(folder / "images" / f"{name}.png", pixels)
    return folder


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def coco(images: list[tuple[object, str]], areas: list[tuple[object, str, tuple[int, int]]]) -> dict[str, Any]:
    labels = sorted({label for _, label, _ in areas})
    return {
        "images": [{"id": number, "file_name": name, "height": 40, "width": 60} for number, name in images],
        "categories": [{"id": labels.index(label), "name": label} for label in labels],
        "annotations": [
            {"image_id": number, "category_id": labels.index(label), "segmentation": [np.ravel(outline(of)).tolist()]}
            for number, label, of in areas
        ],
    }


def write_coco(folder: Path) -> None:
    write_json(folder / "masks/a.json", coco([(1, "a.png")], [(1, "lesion", LESION), (1, "ruler", RULER)]))


def write_labelme(folder: Path) -> None:
    shapes = [{"label": name, "points": outline(of)} for name, of in (("lesion", LESION), ("ruler", RULER))]
    write_json(folder / "masks/a.json", {"imagePath": "a.png", "imageHeight": 40, "imageWidth": 60, "shapes": shapes})


def write_nnunet(folder: Path) -> None:
    (folder / "masks").mkdir()
    Image.fromarray((area(LESION) + 2 * area(RULER)).astype(np.uint8)).save(folder / "masks/a.png")
    write_json(folder / "masks/dataset.json", {"labels": {"background": 0, "lesion": 1, "ruler": 2}})


FORMATS = {"coco": write_coco, "labelme": write_labelme, "folder": write_nnunet}


def import_both(folder: Path, name: str, **options: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return the two imports of a folder with ``images`` and ``masks``, into ``one`` and ``two``."""
    return (
        lambda: nm.import_dataset(name, folder, folder.parent / "one", no_patients=True, **options),
        lambda: nm.import_masks(
            folder / "masks", folder / "images", folder.parent / "two", no_patients=True, **options
        ),
    )


@pytest.mark.parametrize("name", FORMATS)
def test_one_of_several_classes_must_be_selected(name: str, tmp_path: Path) -> None:
    FORMATS[name](make_photographs(tmp_path / "in", "a"))
    if name == "folder":  # beside the folder of images, as its description is searched
        (tmp_path / "in/masks/dataset.json").rename(tmp_path / "in/dataset.json")
    for bring in import_both(tmp_path / "in", name):
        with pytest.raises(nm.DataSetError, match=r"the classes lesion, ruler: name .* --class \(such"):
            bring()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    for bring, out in zip(import_both(tmp_path / "in", name, classes=("lesion",)), ("one", "two"), strict=True):
        bring()
        assert (read_mask(tmp_path / out / "masks/a.png") == area(LESION)).all()


def test_ids_and_faults_are_the_same(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "case_0000", "P1/x", "P2/x", "b", "c", "d", "e")
    for name in ("case", "P1/x", "P2/x", "b"):
        write_mask(folder / f"masks/{name}.png", area(LESION))
    write_mask(folder / "masks/c.png", np.zeros(SHAPE, bool))
    write_mask(folder / "masks/d.png", np.ones((30, 30), bool))
    (folder / "masks/e.png").write_bytes(b"no image")
    write_mask(folder / "masks/gone.png", area(LESION))
    first, second = (bring() for bring in import_both(folder, "folder"))
    rows = [read_table(tmp_path / out / "dataset.csv") for out in ("one", "two")]
    assert [sorted(row["image_id"] for row in table) for table in rows] == [["P1_x", "P2_x", "b", "case"]] * 2
    faults = {"masks/gone.png": "no photograph of that name was found", "c": "its mask is empty"}
    faults["d"] = "has 60 x 40 pixels, its mask 30 x 30: expected the size of the upright image"
    assert faults.items() <= dict(first.faults).items()
    of_both = [{name.removesuffix(".png"): reason for name, reason in one.faults} for one in (first, second)]
    assert of_both[0] == of_both[1]
    assert "cannot be read as a mask" in dict(first.faults)["e"]


def test_an_id_of_two_images_is_refused(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "image1")
    Image.open(folder / "images/image1.png").save(folder / "images/image1.jpg")
    content = coco([(1, "image1.png"), (1, "image1.jpg")], [(1, "lesion", LESION), (1, "lesion", RULER)])
    write_json(folder / "masks/a.json", content)
    for bring in import_both(folder, "coco"):
        with pytest.raises(nm.DataSetError, match=r"the image id 1 is that of image1\.png and of image1\.jpg"):
            bring()


@pytest.mark.parametrize("annotator", ["", "image 1", "image 2", "majority"])
def test_an_image_with_two_ids_has_two_annotators(annotator: str, tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "a")
    wide = (LESION[0], RULER[1])
    content = coco([(1, "a.png"), (2, "a.png")], [(1, "lesion", LESION), (2, "lesion", wide)])
    write_json(folder / "masks/a.json", content)
    expected = {"": wide, "image 1": LESION, "image 2": wide, "majority": LESION}[annotator]
    for bring, out in zip(import_both(folder, "coco", annotator=annotator), ("one", "two"), strict=True):
        notes = dict(bring().notes)
        assert (read_mask(tmp_path / out / "masks/a.png") == area(expected)).all()
        assert ("1 image with masks of several (image 1, image 2)" in notes.get("annotators", "")) == (not annotator)


def test_annotations_of_unknown_images_are_left_out(tmp_path: Path) -> None:
    content = coco([(1, "a.png")], [(1, "lesion", LESION), (99, "lesion", RULER)])
    write_json(make_photographs(tmp_path / "in", "a") / "masks/a.json", content)
    for bring, out in zip(import_both(tmp_path / "in", "coco"), ("one", "two"), strict=True):
        assert ("annotations", "left out: 1 annotations of an image that is not in the file") in bring().notes
        assert (read_mask(tmp_path / out / "masks/a.png") == area(LESION)).all()


def save_black_ink(path: Path) -> None:
    ink = np.dstack([np.zeros((*SHAPE, 3), np.uint8), area(LESION) * np.uint8(255)])
    Image.fromarray(ink).save(path)


def save_inverted_palette(path: Path) -> None:
    picture = Image.fromarray(area(LESION).astype(np.uint8), "P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(path)


def test_odd_masks_are_judged_one_by_one(tmp_path: Path) -> None:
    names = [f"m{number:02}" for number in range(20)]
    folder = make_photographs(tmp_path / "in", *names)
    for name in names:
        write_mask(folder / f"masks/{name}.png", area(LESION))
    save_black_ink(folder / "masks/m03.png")
    save_inverted_palette(folder / "masks/m05.png")
    Image.fromarray((area(LESION) + 2 * area(RULER)).astype(np.uint8)).save(folder / "masks/m07.png")
    for bring, out in zip(import_both(folder, "folder"), ("one", "two"), strict=True):
        imported = bring()
        faults = {name.removesuffix(".png"): reason for name, reason in imported.faults}
        assert sorted(faults) == ["m03", "m07"]
        assert "m03.png: its mask is in the transparency" in faults["m03"]
        assert "label image with the values 0, 1, 2" in faults["m07"]
        assert "1 covers the border of its image, as an inverted mask does (m05)" in dict(imported.notes)["masks"]
        assert len(read_table(tmp_path / out / "dataset.csv")) == 18


@pytest.mark.parametrize("column", ["split", "fold"])
def test_a_patient_in_two_splits_is_reported_as_by_the_check(column: str, tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "a", "b")
    for name in "ab":
        write_mask(folder / f"masks/{name}.png", area(LESION))
    values = ("train", "val") if column == "split" else ("1", "2")
    (folder / "metadata.csv").write_text(f"image_id,patient_id,{column}\na,p1,{values[0]}\nb,p1,{values[1]}\n")
    imported = nm.import_dataset("folder", folder, tmp_path / "set")
    expected = ("p1", f"is in more than one {column}: {', '.join(values)}")
    assert expected in imported.faults
    assert expected in imported.dataset.check().faults
    added = nm.import_masks(
        folder / "masks", folder / "images", tmp_path / "set", table=folder / "metadata.csv", replace=True
    )
    assert len(added.added) == 2
    assert expected in added.faults


def test_a_table_that_is_joined_is_not_called_unread(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "a")
    write_mask(folder / "masks/a.png", area(LESION))
    for name in ("people.csv", "metadata.csv"):
        (folder / name).write_text("image_id,patient_id\na,p1\n")
        notes = nm.import_dataset("folder", folder, tmp_path / name, table=folder / name).notes
        assert not [note for _, note in notes if "not read" in note]
        (folder / name).unlink()


def test_images_that_differ_in_their_suffix_are_two(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "image1", "image2")
    for name in ("image1", "image2"):
        Image.open(folder / f"images/{name}.png").rotate(180).save(folder / f"images/{name}.jpg")
    images = [(1, "image1.png"), (2, "image1.jpg"), (3, "image2.png")]
    areas = [(1, "lesion", LESION), (2, "lesion", RULER), (3, "lesion", LESION)]
    write_json(folder / "masks/a.json", coco(list(images), list(areas)))
    for bring, out in zip(import_both(folder, "coco"), ("one", "two"), strict=True):
        imported = bring()
        found = {path.stem: read_mask(path) for path in (tmp_path / out / "masks").glob("*.png")}
        assert sorted(found) == ["image1", "image1-2", "image2"]
        first, second = (found["image1-2"], found["image1"])  # image1.jpg is first in the alphabet
        assert (first == area(LESION)).all()
        assert (second == area(RULER)).all()
        assert "files" in dict(imported.notes)
        assert "image2.jpg" in dict(imported.notes)["files"]


@pytest.mark.parametrize("annotator", ["", "masks_second", "union"])
def test_a_second_folder_of_masks_is_used_if_it_is_selected(annotator: str, tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "a", "b")
    for name in "ab":
        write_mask(folder / f"masks/{name}.png", area(LESION))
    write_mask(folder / "masks_second/a.png", area(RULER))
    imported = nm.import_dataset("folder", folder, tmp_path / "set", no_patients=True, annotator=annotator)
    expected = {"": area(LESION), "masks_second": area(RULER), "union": area(LESION) | area(RULER)}[annotator]
    assert (read_mask(tmp_path / "set/masks/a.png") == expected).all()
    noted = "1 image with masks of several (masks, masks_second), of which one was used"
    assert (noted in dict(imported.notes).get("annotators", "")) == (not annotator)
    assert (tmp_path / "set/masks/b.png").exists() == (annotator != "masks_second")


def test_a_link_to_itself_is_a_fault_of_one_file(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "a", "b")
    for name in ("a", "loop"):
        write_mask(folder / f"masks/{name}.png", area(LESION))
    (folder / "images/loop.png").symlink_to("loop.png")
    for bring, out in zip(import_both(folder, "folder"), ("one", "two"), strict=True):
        ((_, reason),) = bring().faults
        assert "loop.png" in reason
        assert "Too many levels of symbolic links" in reason
        assert "unexpected" not in reason
        assert (tmp_path / out / "masks/a.png").exists()


def write_shapes(folder: Path, name: str, labels: list[str]) -> None:
    shapes = [{"label": label, "points": outline(LESION if label == "lesion" else RULER)} for label in labels]
    content = {"imagePath": f"{name}.png", "imageHeight": 40, "imageWidth": 60, "shapes": shapes}
    write_json(folder / f"images/{name}.json", content)


@pytest.mark.parametrize("values", [None, "all", "keep"])
def test_an_outline_of_ignored_pixels_is_no_lesion(tmp_path: Path, values: str | None) -> None:
    folder = make_photographs(tmp_path / "in", "a", "b")
    write_shapes(folder, "a", ["lesion", "Ignore"])
    write_shapes(folder, "b", ["lesion"])
    report = nm.import_dataset("labelme", folder, tmp_path / "out", no_patients=True, values=values)
    assert [name for name, _ in report.faults] == ["a"]
    assert "outline of the class 'Ignore', whose pixels were not annotated" in report.faults[0][1]
    assert report.masks == 1


def test_an_outline_below_another_class_is_not_lost_in_silence(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "a", "b")
    write_shapes(folder, "a", ["lesion"])
    write_shapes(folder, "b", ["lesion"])
    path = folder / "images/b.json"
    content = json.loads(path.read_text())
    whole = {**content["shapes"][0], "label": "skin", "points": [[0, 0], [60, 0], [60, 40], [0, 40]]}
    for shapes, lost in (([*content["shapes"], whole], 1), ([whole, *content["shapes"]], 0)):
        write_json(path, {**content, "shapes": shapes})
        out = tmp_path / f"out{lost}"
        report = nm.import_dataset("labelme", folder, out, no_patients=True, values="keep")
        note = ("masks", "1 object lost below later ones of other classes: b")
        assert (note in report.notes) == bool(lost)
        assert len(np.unique(np.asarray(Image.open(out / "masks/b.png")))) == 2 - lost


def test_ignored_pixels_are_skin_if_the_class_of_the_lesion_is_named(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "a")
    write_shapes(folder, "a", ["lesion", "ignore"])
    report = nm.import_dataset("labelme", folder, tmp_path / "out", no_patients=True, classes=("lesion",))
    assert ("classes", "1 object of other classes left out") in report.notes
    assert np.array_equal(read_mask(tmp_path / "out/masks/a.png"), area(LESION))


def test_more_classes_than_a_label_image_has_values(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "in", "a")
    write_shapes(folder, "a", [*(f"class {number:03d}" for number in range(255)), "lesion"])
    with pytest.raises(nm.InputError, match=r"the outlines have 256 classes: expected at most 255 to keep them"):
        nm.import_dataset("labelme", folder, tmp_path / "kept", no_patients=True, values="keep")
    nm.import_dataset("labelme", folder, tmp_path / "out", no_patients=True, values="all")
    assert np.array_equal(read_mask(tmp_path / "out/masks/a.png"), area(LESION) | area(RULER))
