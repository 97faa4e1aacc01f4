"""Data sets of other programs: those that their libraries wrote, damaged ones, and the way there and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_files import read_masks
from PIL import Image

import napari_melanoma as nm
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.formats.label_studio import decode_brush, encode_brush
from napari_melanoma.io.results import (
    read_labels,
    read_mask,
    read_table,
    write_labels,
    write_mask,
    write_rgb,
    write_table,
)

SHAPE = (36, 52)
TRIANGLE = [[10, 10], [60, 10], [60, 50]]
ROUND_TRIPS = {
    "nnunet": "nnunet",
    "coco": "coco",
    "labelme": "labelme",
    "label-studio": "label-studio",
    "geojson": "geojson",
    "decathlon": "decathlon",
    "imagefolder": "imagefolder",
    "parquet": "parquet",
    "masks": "folder",
}


def make_mask(number: int) -> np.ndarray:
    """A blob with a rough border; the second one has a hole."""
    rows, columns = np.indices(SHAPE)
    angle = np.arctan2(rows - 18, columns - 26)
    radius = np.hypot(rows - 18, columns - 26)
    return (radius < 11 + 3 * np.sin(5 * angle + number)) & ((radius > 4) | (number != 1))


def make_image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def make_dataset(folder: Path) -> Path:
    for number in range(4):
        write_rgb(folder / f"images/x{number}.png", make_image(number))
        write_mask(folder / f"masks/x{number}.png", make_mask(number))
    rows = [
        {"image_id": f"x{number}", "patient_id": f"p{number}", "diagnosis": "nevus", "age": 40 + number, "split": split}
        for number, split in enumerate(("train", "train", "val", "test"))
    ]
    write_table(folder / "dataset.csv", rows)
    return folder


def make_images(folder: Path) -> Path:
    for number in range(2):
        write_rgb(folder / f"x{number}.png", make_image(number))
    return folder


@pytest.mark.parametrize("areas", ["polygons", "pixels"])
@pytest.mark.parametrize("format_", ROUND_TRIPS)
def test_there_and_back(tmp_path: Path, format_: str, areas: str) -> None:
    dataset = make_dataset(tmp_path / "set")
    exported = nm.export_dataset(dataset, format_, tmp_path / "out", areas=areas)
    assert (exported.images, exported.masks, exported.classes) == (4, 4, {"lesion": (1,)})
    imported = nm.import_dataset(ROUND_TRIPS[format_], exported.folder, tmp_path / "back")
    assert (imported.images, imported.masks, imported.faults) == (4, 4, [])
    rows = {row["image_id"]: row for row in read_table(tmp_path / "back/dataset.csv")}
    for number, split in enumerate(("train", "train", "val", "test")):
        row = rows[f"x{number}"]
        assert (row["patient_id"], row["diagnosis"], row["age"]) == (f"p{number}", "nevus", str(40 + number))
        assert row["split"] == split
        found = read_mask(tmp_path / f"back/masks/x{number}.png")
        assert (found == make_mask(number)).mean() > (0.997 if areas == "polygons" else 0.9999)
        assert (nm.read_photograph(tmp_path / f"back/images/x{number}.png").rgb == make_image(number)).all()


def test_coco_of_pycocotools(tmp_path: Path) -> None:
    coding = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed: pip install pycocotools")
    make_images(tmp_path / "in/images")
    annotations = []
    for number, (kind, mask) in enumerate((("lesion", make_mask(0)), ("hair", make_mask(1)), ("lesion", make_mask(1)))):
        runs = coding.encode(np.asfortranarray(mask.astype(np.uint8)))
        segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
        annotations.append(
            {
                "id": number,
                "image_id": min(number, 1),
                "category_id": 1 + (kind == "hair"),
                "segmentation": segmentation,
            }
        )
    content = {
        "images": [{"id": n, "file_name": f"x{n}.png", "height": SHAPE[0], "width": SHAPE[1]} for n in range(2)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "lesion"}, {"id": 2, "name": "hair"}],
    }
    (tmp_path / "in/instances_train2017.json").write_text(json.dumps(content))
    with pytest.raises(DataSetError, match=r"the classes hair, lesion: name .* --class hair\).* all, or keep them"):
        nm.import_dataset("coco", tmp_path / "in", tmp_path / "out", no_patients=True)
    assert not (tmp_path / "out").exists()
    imported = nm.import_dataset("coco", tmp_path / "in", tmp_path / "out", values=["lesion"], no_patients=True)
    assert imported.masks == 2
    assert [(read_mask(tmp_path / f"out/masks/x{n}.png") == make_mask(n)).all() for n in range(2)] == [True, True]
    assert {row["split"] for row in read_table(tmp_path / "out/dataset.csv")} == {"train"}
    kept = nm.import_dataset("coco", tmp_path / "in", tmp_path / "kept", values="keep", no_patients=True)
    assert ("classes", "the masks have the values 1 hair, 2 lesion") in kept.notes
    assert np.unique(read_labels(tmp_path / "kept/masks/x0.png")).tolist() == [0, 2]


def label_studio_task(number: int, result: list[dict], **more: object) -> dict:
    data = {"image": f"/data/upload/3/0a1b2c3d-x{number}.png"}
    return {"id": number, "data": data, "annotations": [{"id": 1, "result": result, **more}]}


def label_studio_result(kind: str, value: dict, label: str = "lesion") -> dict:
    size = {"original_width": SHAPE[1], "original_height": SHAPE[0], "image_rotation": 0}
    return {"id": "r1", "type": kind, "from_name": "tag", "to_name": "image", **size, "value": {**value, kind: [label]}}


def test_brushes_of_label_studio(tmp_path: Path) -> None:
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="label-studio is not installed: pip install label-studio-sdk"
    )
    make_images(tmp_path / "in/images")
    runs = brush.mask2rle(make_mask(0).astype(np.uint8) * 255)
    choice = {"type": "choices", "value": {"choices": ["melanoma"]}, "from_name": "c", "to_name": "image"}
    polygon = {"points": [[10, 10], [60, 10], [60, 50], [10, 50]]}
    tasks = [
        label_studio_task(0, [label_studio_result("brushlabels", {"format": "rle", "rle": runs}), choice]),
        label_studio_task(1, [label_studio_result("polygonlabels", polygon)]),
    ]
    (tmp_path / "in/project-1.json").write_text(json.dumps(tasks))
    imported = nm.import_dataset("label-studio", tmp_path / "in", tmp_path / "out", no_patients=True)
    assert imported.masks == 2
    assert (read_mask(tmp_path / "out/masks/x0.png") == make_mask(0)).all()
    drawn = np.zeros(SHAPE, bool)
    drawn[4:18, 5:31] = True
    assert (read_mask(tmp_path / "out/masks/x1.png") == drawn).all()
    assert read_table(tmp_path / "out/dataset.csv")[0]["diagnosis"] == "melanoma"
    report = nm.import_masks(tmp_path / "in/project-1.json", tmp_path / "in/images", tmp_path / "set", no_patients=True)
    assert report.added == ["x0", "x1"]
    assert (brush.decode_rle(encode_brush(make_mask(1))).reshape(*SHAPE, 4)[..., 3] == 255 * make_mask(1)).all()


def test_shapes_of_label_studio(tmp_path: Path) -> None:

    make_images(tmp_path)
    ellipse = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 0}
    turned = {"x": 50, "y": 0, "width": 50 * SHAPE[0] / SHAPE[1], "height": 20, "rotation": 90}  # turns to the left
    flat = {**label_studio_result("rectanglelabels", turned), **turned, "rectanglelabels": ["lesion"]}
    for name in ("value", "type"):
        flat.pop(name)
    (tmp_path / "a.json").write_text(
        json.dumps([label_studio_task(0, [label_studio_result("ellipselabels", ellipse)])])
    )
    (tmp_path / "b.json").write_text(json.dumps([{"image": "s3://bucket/x1.png", "label": [flat], "id": 7}]))
    (area,), _ = read_masks(tmp_path / "a.json")
    assert abs(area.area.draw(SHAPE, SHAPE).sum() - np.pi * 0.2 * SHAPE[1] * 0.1 * SHAPE[0]) < 8
    (box,), _ = read_masks(tmp_path / "b.json")
    assert (box.image, box.label) == ("x1.png", "lesion")
    rows, columns = np.nonzero(box.area.draw(SHAPE, SHAPE))
    assert (rows.min(), rows.max() + 1, columns.max() + 1) == (0, 18, 26)


@pytest.mark.parametrize(
    ("data", "image"),
    [
        ({"image": "/data/upload/1/1a2b3c4f-mole-20240115-1.png"}, "mole-20240115-1.png"),
        ({"image": "/data/upload/1/1a2b3c4f-20240115-1.png"}, "20240115-1.png"),
        ({"image": "/data/upload/1/1a2b3c4f-0f8fad5b-d9cb-469f.png"}, "0f8fad5b-d9cb-469f.png"),
        ({"note": "http://[1", "photo": "x0.png"}, "x0.png"),
        ({"patient": "P1", "photo": "https://host/photos/x0.PNG?key=a.png"}, "photos/x0.PNG"),
        ({"patient": "P1", "photo": "s3://bucket/x0"}, "x0"),
        ({"photo": "x0"}, "x0"),
        ({"left": "x0.png", "right": "x1.png", "photo": "x2.png"}, "x2.png"),
    ],
)
def test_the_image_of_a_label_studio_task(tmp_path: Path, data: dict[str, str], image: str) -> None:

    result = {**label_studio_result("polygonlabels", {"points": TRIANGLE}), "to_name": "photo"}
    (tmp_path / "a.json").write_text(json.dumps([{"data": data, "annotations": [{"result": [result]}]}]))
    (found,), left_out = read_masks(tmp_path / "a.json")
    assert (found.image, left_out) == (image, [])


def test_label_studio_tasks_with_several_images(tmp_path: Path) -> None:

    results = [
        {**label_studio_result("polygonlabels", {"points": TRIANGLE}), "to_name": name}
        for name in ("left", "right", "img")
    ]
    choices = [
        {"type": "choices", "value": {"choices": [name]}, "from_name": "c", "to_name": to_name}
        for to_name, name in (("right", "melanoma"), ("left", "nevus"))
    ]
    data = {"left": "x0.png", "right": "x1.png"}
    tasks = [{"data": data, "annotations": [{"result": [*choices, *results]}]}]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    objects, left_out = read_masks(tmp_path / "a.json")
    assert [(one.image, one.diagnosis) for one in objects] == [("x0.png", "nevus"), ("x1.png", "melanoma")]
    assert left_out == ["results whose image is not clear (to_name: img; images of the task: left, right)"]


def test_annotations_that_are_not_read_are_counted(tmp_path: Path) -> None:

    polygon = label_studio_result("polygonlabels", {"points": TRIANGLE})
    second = label_studio_task(0, [polygon])
    second["annotations"].insert(0, {"result": [polygon], "ground_truth": False})
    tasks = [second, {"data": {"image": "x1.png"}, "annotations": [], "predictions": [{"result": [polygon]}]}]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    objects, left_out = read_masks(tmp_path / "a.json")
    assert [(one.annotator, one.is_default) for one in objects] == [("annotation 1", False), ("annotation 2", True)]
    assert left_out == ["predictions without an annotation"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda runs: runs[:20], "are damaged .*they end after 160 bits"),
        (lambda runs: [0, 0, 0, 9, *runs[4:]], f"9 values, expected {SHAPE[0] * SHAPE[1] * 4}"),
    ],
)
def test_damaged_brushes_are_refused(change: Callable[[list[int]], list[int]], message: str) -> None:
    runs = encode_brush(make_mask(0))
    assert (decode_brush(runs, SHAPE) == make_mask(0)).all()
    with pytest.raises(DataSetError, match=message):
        decode_brush(change(runs), SHAPE)


def test_a_decathlon_list_that_monai_reads(tmp_path: Path) -> None:
    make_images(tmp_path / "in/imagesTr")
    write_labels(tmp_path / "in/labelsTr/x0.png", make_mask(0).astype(np.uint8))
    content = {
        "training": [{"image": "./imagesTr/x0.png", "label": "./labelsTr/x0.png", "fold": 0}],
        "test": ["./imagesTr/x1.png", "./imagesTr/gone.png"],
    }
    path = tmp_path / "in/dataset.json"
    path.write_text(json.dumps(content))
    imported = nm.import_dataset("decathlon", tmp_path / "in", tmp_path / "out", no_patients=True)
    assert (imported.images, imported.masks) == (2, 1)
    missing = "not found, so these images or masks are left out: ./imagesTr/gone.png. Expected paths from the folder of"
    assert ("files", f"{missing} the data list or from the imported folder") in imported.notes
    rows = read_table(tmp_path / "out/dataset.csv")
    assert [(row["fold"], row["split"]) for row in rows] == [("1", ""), ("", "test")]
    path.write_text(json.dumps({"training": [{"image": ["a.png", "b.png"]}]}))
    with pytest.raises(DataSetError, match="training 0: expected the path of one color image or mask, found"):
        nm.import_dataset("decathlon", tmp_path / "in", tmp_path / "none", no_patients=True)
    path.write_text(json.dumps(content))
    monai = pytest.importorskip("monai.data", reason="monai is not installed: pip install monai")
    assert len(monai.load_decathlon_datalist(path, True, "training")) == 1


def test_a_decathlon_list_never_exchanges_image_and_mask(tmp_path: Path) -> None:
    write_rgb(tmp_path / "in/images/x0.png", make_image(0))
    for number in range(3):
        write_labels(tmp_path / f"in/labels/x{number}.png", make_mask(0).astype(np.uint8))
    root = tmp_path / "in"
    cases = [
        {"image": "images/x0.png", "label": "masks/x0.png"},  # the only x0.png besides the image is in labels
        {"image": "images/x1.png", "label": "labels/x1.png"},  # the image is missing
    ]
    (root / "lists").mkdir()
    path = root / "lists/dataset.json"
    path.write_text(json.dumps({"training": cases}))
    imported = nm.import_dataset("decathlon", root, tmp_path / "out", no_patients=True)
    assert (imported.images, imported.masks) == (1, 0)
    assert any("left out: masks/x0.png, images/x1.png. Expected" in note for _, note in imported.notes)
    path.write_text(json.dumps({"training": [{"image": str(root / "images/x0.png"), "label": "../labels/x0.png"}]}))
    assert nm.import_dataset("decathlon", root, tmp_path / "absolute", no_patients=True).masks == 1
    path.write_text(json.dumps({"training": [{"image": "labels/x0.png", "label": "labels/x0.png"}]}))
    with pytest.raises(DataSetError, match=r"name a file both as an image and as a mask: labels/x0\.png"):
        nm.import_dataset("decathlon", root, tmp_path / "none", no_patients=True)


def test_folds_of_nnunet(tmp_path: Path) -> None:
    make_images(tmp_path / "in/imagesTr")
    for number in range(2):
        shutil.move(tmp_path / f"in/imagesTr/x{number}.png", tmp_path / f"in/imagesTr/x{number}_0000.png")
        write_labels(tmp_path / f"in/labelsTr/x{number}.png", make_mask(number).astype(np.uint8))
    splits = tmp_path / "in/splits_final.json"
    splits.write_text(json.dumps([{"train": ["x0"], "val": ["x1"]}, {"train": ["x1"], "val": ["x0", "x9"]}]))
    imported = nm.import_dataset("nnunet", tmp_path / "in", tmp_path / "out", no_patients=True)
    assert ("splits_final.json", "its cases x9 have no image") in imported.notes
    assert [row["fold"] for row in read_table(tmp_path / "out/dataset.csv")] == ["2", "1"]
    splits.write_text(json.dumps([{"train": ["x0"], "val": ["x1"]}]))
    nm.import_dataset("nnunet", tmp_path / "in", tmp_path / "one", no_patients=True)
    assert [row["split"] for row in read_table(tmp_path / "one/dataset.csv")] == ["train", "val"]
    splits.write_text(json.dumps([{"train": "x0"}]))
    with pytest.raises(DataSetError, match=r"splits_final\.json, fold 0: expected the lists 'train' and 'val'"):
        nm.import_dataset("nnunet", tmp_path / "in", tmp_path / "none", no_patients=True)


NNUNET_PLACES = {  # the folder with masks, and the folder of dataset.json
    "raw data": ("nnUNet_raw/Dataset501_Lesion/labelsTr", "nnUNet_raw/Dataset501_Lesion"),
    "predictions": ("predictions", "predictions"),
    "validation": ("Dataset501_Lesion/Trainer__Plans__2d/fold_0/validation", "Dataset501_Lesion/Trainer__Plans__2d"),
}


@pytest.mark.parametrize("place", NNUNET_PLACES.values(), ids=NNUNET_PLACES)
def test_masks_in_the_folders_of_nnunet_have_class_names(
    place: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, described = (tmp_path / part for part in place)
    images = tmp_path / "images"
    for number in range(2):
        write_rgb(images / f"x{number}_0000.png", make_image(number))
        write_labels(masks / f"x{number}.png", np.where(make_mask(number), 2, 1).astype(np.uint8))
    (described / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "skin": 1, "lesion": 2}}))
    if place[0] == "predictions":
        (masks / "plans.json").write_text(json.dumps({"plans_name": "nnUNetPlans"}))
    monkeypatch.chdir(masks)
    for number, folder in enumerate((masks, Path())):
        out = tmp_path / f"set{number}"
        report = nm.import_masks(folder, images, out, no_patients=True, values=("lesion",))
        assert sorted(report.added) == ["x0", "x1"]
        assert (read_mask(out / "masks/x1.png") == make_mask(1)).all()


def test_the_only_set_in_a_raw_folder_of_nnunet(tmp_path: Path) -> None:
    raw = tmp_path / "nnUNet_raw/Dataset501_Lesion"
    write_rgb(raw / "imagesTr/x0_0000.png", make_image(0))
    write_labels(raw / "labelsTr/x0.png", np.where(make_mask(0), 2, 1).astype(np.uint8))
    (raw / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "skin": 1, "lesion": 2}}))
    options: dict[str, Any] = {"no_patients": True, "values": ["lesion"]}
    assert nm.import_dataset("nnunet", tmp_path / "nnUNet_raw", tmp_path / "out", **options).masks == 1
    assert (read_mask(tmp_path / "out/masks/x0.png") == make_mask(0)).all()


def test_a_table_for_a_set_without_one(tmp_path: Path) -> None:
    """Rows are joined by image_id, the name of a file or of a case; what does not match is counted."""
    make_images(tmp_path / "in/imagesTr")
    for number in range(2):
        shutil.move(tmp_path / f"in/imagesTr/x{number}.png", tmp_path / f"in/imagesTr/x{number}_0000.png")
    table = tmp_path / "patients.csv"
    rows = [{"image_id": "X0_0000.png", "patient_id": "p0", "dx": "nev"}, {"image_id": "x1", "patient_id": "p1"}]
    write_table(table, rows)
    arguments = "nnunet", tmp_path / "in"
    imported = nm.import_dataset(*arguments, tmp_path / "out", table=table)
    stored = read_table(tmp_path / "out/dataset.csv")
    assert [(row["image_id"], row["patient_id"]) for row in stored] == [("x0", "p0"), ("x1", "p1")]
    assert "patients.csv" not in dict(imported.notes), "all rows matched"
    write_table(table, [rows[0], {"image_id": "x7", "patient_id": "p7"}, {"image_id": "x8", "patient_id": "p8"}])
    notes = dict(nm.import_dataset(*arguments, tmp_path / "gaps", table=table).notes)
    expected = "joined to 1 of 2 images; no row for x1; 2 rows without an image left out (x7, x8)"
    assert notes["patients.csv"] == expected
    assert "1 of 2 rows name no patient" in notes["patient_id"]
    write_table(table, [{"image_id": "x7", "patient_id": "p7"}])
    with pytest.raises(nm.InputError, match=r"patients\.csv has rows for x7, but the set has the 2 images x0, x1"):
        nm.import_dataset(*arguments, tmp_path / "none", table=table)
    write_table(table, [{"value": "x0", "patient_id": "p0"}])
    with pytest.raises(nm.InputError, match=r"patients\.csv has no column that names images"):
        nm.import_dataset(*arguments, tmp_path / "none", table=table)
    assert not (tmp_path / "none").exists()


def test_a_table_is_preferred_to_that_of_the_set(tmp_path: Path) -> None:
    make_dataset(tmp_path / "set")
    nm.export_dataset(tmp_path / "set", "parquet", tmp_path / "in")
    table = tmp_path / "patients.csv"
    write_table(table, [{"image_id": f"x{number}", "diagnosis": "melanoma", "site": "back"} for number in range(4)])
    notes = dict(nm.import_dataset("parquet", tmp_path / "in", tmp_path / "out", table=table).notes)
    row = next(row for row in read_table(tmp_path / "out/dataset.csv") if row["image_id"] == "x0")
    assert (row["diagnosis"], row["patient_id"], row["other_diagnosis"]) == ("melanoma", "p0", "nevus")
    assert notes["diagnosis"].startswith("the table differs from the set for 4 images: it counts")


@pytest.mark.parametrize("form", ["parquet", "imagefolder"])
def test_what_hugging_face_wrote(tmp_path: Path, form: str) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed: pip install datasets")
    folder = tmp_path / "in"
    (folder / "data").mkdir(parents=True)
    if form == "parquet":
        features = datasets.Features(
            {
                "image": datasets.Image(),
                "annotation": datasets.Image(),
                "dx": datasets.ClassLabel(names=["nevus", "melanoma"]),
                "patient_id": datasets.Value("string"),
            }
        )
        rows = [
            {
                "image": Image.fromarray(make_image(number)),
                "annotation": Image.fromarray(make_mask(number).astype(np.uint8)) if number else None,
                "dx": number,
                "patient_id": f"p{number}",
            }
            for number in range(2)
        ]
        dataset = datasets.Dataset.from_list(rows, features=features)
        dataset.to_parquet(folder / "data/validation-00000-of-00001.parquet")
    else:
        make_images(folder / "validation")
        write_labels(folder / "validation/m1.png", make_mask(1).astype(np.uint8))
        lines = [
            {"file_name": "x0.png", "mask_file_name": None, "dx": "nevus", "patient_id": "p0"},
            {"file_name": "x1.png", "mask_file_name": "m1.png", "dx": "melanoma", "patient_id": "p1"},
        ]
        (folder / "validation/metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
        loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
        assert np.asarray(loaded["validation"][1]["mask"]).shape == SHAPE
    imported = nm.import_dataset(form, folder, tmp_path / "out")
    assert (imported.images, imported.masks, imported.faults) == (2, 1, [])
    rows = read_table(tmp_path / "out/dataset.csv")
    assert [(row["diagnosis"], row["patient_id"], row["split"]) for row in rows] == [
        ("nevus", "p0", "val"),
        ("melanoma", "p1", "val"),
    ]
    (mask,) = (tmp_path / "out/masks").iterdir()
    assert (read_mask(mask) == make_mask(1)).all()


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataSetError, match=r"cannot be read as Parquet .*Download it again"):
        nm.import_dataset("parquet", tmp_path / "in", tmp_path / "out", no_patients=True)


@pytest.mark.parametrize("source", ["nnunet", "coco", "labelme", "label-studio", "geojson", "decathlon", "imagefolder"])
def test_another_folder_is_refused_with_what_was_expected(tmp_path: Path, source: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_text("x")
    with pytest.raises(
        DataSetError, match=r"(?s)does not contain .*Expected:\n.*Found: notes\.txt \(1 file\)"
    ) as raised:
        nm.import_dataset(source, tmp_path / "in", tmp_path / "out", no_patients=True)
    assert "The format is described at https:" in str(raised.value)


def test_annotations_of_missing_images_are_faults(tmp_path: Path) -> None:
    nm.export_dataset(make_dataset(tmp_path / "set"), "coco", tmp_path / "out")
    (tmp_path / "out/images/x1.png").unlink()
    imported = nm.import_dataset("coco", tmp_path / "out", tmp_path / "back")
    assert imported.images == 3
    assert imported.faults == [("x1.png", "no photograph of that name was found")]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("annotations/instances_test2017.json", "test"),
        ("valid/_annotations.coco.json", "val"),
        ("test/instances_train.json", "train"),
        ("annotations/valerie_1.json", ""),
        ("validated.json", ""),
        ("train_test.json", ""),
        ("my test/labels.json", ""),
    ],
)
def test_files_of_coco_state_the_split_of_all_their_images(tmp_path: Path, path: str, split: str) -> None:
    make_images(tmp_path / "in/images")
    images = [{"id": number, "file_name": f"x{number}.png"} for number in range(2)]  # x1 has no annotation
    annotation = {"id": 1, "image_id": 0, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "lesion"}]}
    (tmp_path / "in" / path).parent.mkdir(exist_ok=True)
    (tmp_path / "in" / path).write_text(json.dumps(content))
    imported = nm.import_dataset("coco", tmp_path / "in", tmp_path / "out", no_patients=True)
    assert [row.get("split", "") for row in read_table(tmp_path / "out/dataset.csv")] == [split, split]
    assert "split" not in dict(imported.notes)


def test_an_image_in_files_of_two_splits_has_none(tmp_path: Path) -> None:
    nm.export_dataset(make_dataset(tmp_path / "set"), "coco", tmp_path / "in")
    (tmp_path / "in/metadata.csv").unlink()
    path = tmp_path / "in/annotations/instances_test.json"
    content = json.loads(path.read_text())
    del content["annotations"]  # as in image_info_test2017.json
    content["images"].append({"id": 9, "file_name": "x0.png"})
    path.write_text(json.dumps(content))
    imported = nm.import_dataset("coco", tmp_path / "in", tmp_path / "out", no_patients=True)
    assert ("split", "none is used for images/x0.png, which are in files of several splits") in imported.notes
    assert [row["split"] for row in read_table(tmp_path / "out/dataset.csv")] == ["", "train", "val", "test"]


@pytest.mark.parametrize("name", ["valerie_1", "test_mole", "Valdez-1"])
@pytest.mark.parametrize("format_", ["labelme", "geojson"])
def test_the_name_of_an_image_states_no_split(tmp_path: Path, format_: str, name: str) -> None:
    write_rgb(tmp_path / f"in/{name}.png", make_image(0))
    contents = {
        "labelme": {"shapes": [{"label": "lesion", "points": TRIANGLE}], "imagePath": f"{name}.png"},
        "geojson": {"type": "Polygon", "coordinates": [[*TRIANGLE, TRIANGLE[0]]]},
    }
    (tmp_path / f"in/{name}.json").write_text(json.dumps(contents[format_]))
    nm.import_dataset(format_, tmp_path / "in", tmp_path / "out", no_patients=True)
    assert read_table(tmp_path / "out/dataset.csv")[0].get("split", "") == ""


def test_annotations_for_another_size_are_a_fault(tmp_path: Path) -> None:
    nm.export_dataset(make_dataset(tmp_path / "set"), "coco", tmp_path / "out")
    write_rgb(tmp_path / "out/images/x1.png", np.zeros((40, 52, 3), np.uint8))
    imported = nm.import_dataset("coco", tmp_path / "out", tmp_path / "back")
    assert imported.faults == [("x1", "has 52 x 40 pixels, its mask 52 x 36: expected the size of the upright image")]


MEASURED = [
    "Image|Object ID|Object type|Classification|ROI|Centroid X µm|Centroid Y µm|Area µm^2|Num Detections",
    "case 1.svs|6b1f|Annotation|Tumor|Polygon|1204.5|88.25|5310.1|12",
    "case 1.svs|77aa|Annotation|Stroma|Polygon|2204.5|98.25|310.7|3",
    "case 2.svs|90cd|Annotation|Tumor|Geometry|4.5|8.25|99|",
]


def test_measurement_tables_of_qupath(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/measurements.tsv").write_text("\n".join(MEASURED).replace("|", "\t"), encoding="utf-8")
    with pytest.raises(DataSetError, match="names the patient"):
        nm.import_dataset("qupath", tmp_path / "in", tmp_path / "out")
    write_table(tmp_path / "in/metadata.csv", [{"image_id": "case 1", "patient_id": "p1", "age": 61}])
    imported = nm.import_dataset("qupath", tmp_path / "in", tmp_path / "out")
    assert (imported.images, imported.faults) == (0, [])
    rows = read_table(tmp_path / "out/dataset.csv")
    assert [row["image_id"] for row in rows] == ["case 1_1", "case 1_2", "case 2"]
    assert [row["patient_id"] for row in rows] == ["p1", "p1", ""]
    assert [(row["slide"], row["object_class"]) for row in rows[:2]] == [
        ("case 1.svs", "Tumor"),
        ("case 1.svs", "Stroma"),
    ]
    assert (rows[0]["Area µm^2"], rows[0]["Centroid X µm"], rows[2]["Num Detections"]) == ("5310.1", "1204.5", "")
    assert rows[0]["diagnosis"] == ""


DECIMAL_COMMAS = [
    ("commas", ["5310,1", "1204,5", "3"], ["5310.1", "1204.5", "3"]),
    ("exponents and missing values", ["1,5E-4", "NaN", ""], ["1.5E-4", "NaN", ""]),
    ("points elsewhere in the table", ["5310,1", "0.5", "3"], ["5310,1", "0.5", "3"]),
    ("a text", ["5310,1", "1,2 of 3", "3"], ["5310.1", "1,2 of 3", "3"]),
]


@pytest.mark.parametrize(("name", "cells", "expected"), DECIMAL_COMMAS, ids=[case[0] for case in DECIMAL_COMMAS])
def test_decimal_commas_of_qupath(name: str, cells: list[str], expected: list[str], tmp_path: Path) -> None:
    header = ["Image", "Object type", "Name", "Area µm^2", "Centroid X µm", "Num Detections"]
    (tmp_path / "in").mkdir()
    lines = [header, ["case 1.svs", "Annotation", "1,2", *cells], ["case 2.svs", "Annotation", "region", "7", "8", "9"]]
    (tmp_path / "in/measurements.tsv").write_text("\n".join(map("\t".join, lines)), encoding="utf-8")
    nm.import_dataset("qupath", tmp_path / "in", tmp_path / "out", no_patients=True)
    first = read_table(tmp_path / "out/dataset.csv")[0]
    assert [first[column] for column in header[2:]] == ["1,2", *expected]


def test_accession_numbers_with_dots_are_whole_names_of_slides(tmp_path: Path) -> None:
    names = ["S12.345", "S12.346.svs", "S12.vsi - 20x", "S12"]
    lines = ["Image\tObject type", *(f"{name}\tAnnotation" for name in names)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/measurements.tsv").write_text("\n".join(lines), encoding="utf-8")
    known = {"S12": "p1", "S12.345": "p2", "S12.346": "p3"}
    write_table(tmp_path / "in/metadata.csv", [{"image_id": name, "patient_id": one} for name, one in known.items()])
    nm.import_dataset("qupath", tmp_path / "in", tmp_path / "out")
    rows = {row["slide"]: row["patient_id"] for row in read_table(tmp_path / "out/dataset.csv")}
    assert rows == dict(zip(names, ["p2", "p3", "p1", "p1"], strict=True))


@pytest.mark.parametrize("route", ["masks", "folder"])
def test_masks_with_a_suffix_of_another_program(tmp_path: Path, route: str) -> None:
    make_images(tmp_path / "in/images")
    for number in range(2):
        write_mask(tmp_path / f"in/masks/x{number}_Simple Annotation.png", make_mask(number))
    if route == "masks":
        masks = nm.import_masks(tmp_path / "in/masks", tmp_path / "in/images", tmp_path / "out", no_patients=True)
        assert (masks.added, masks.faults) == (["x0", "x1"], [])
        notes = masks.notes
    else:
        imported = nm.import_dataset("folder", tmp_path / "in", tmp_path / "out", no_patients=True)
        assert (imported.masks, imported.faults) == (2, [])
        notes = imported.notes
    assert ("masks", "their names end in '_simple annotation' after the names of images") in notes


@pytest.mark.parametrize(
    "names",
    [
        ["x10"],
        ["x0-2", "x1-2"],  # photographs 2 of the patients x0 and x1, which are missing
        ["x0-2_mask", "x1-2_mask"],
        ["x0-left"],  # one is no evidence
        ["x0-left", "x1-left", "y1", "y2", "y3"],  # not shared by most
    ],
)
def test_masks_of_missing_photographs_are_not_given_to_others(tmp_path: Path, names: list[str]) -> None:
    make_images(tmp_path / "in/images")
    write_mask(tmp_path / "in/masks/x1.png", make_mask(1))
    for name in names:
        write_mask(tmp_path / f"in/masks/{name}.png", make_mask(0))
    masks = nm.import_masks(tmp_path / "in/masks", tmp_path / "in/images", tmp_path / "out", no_patients=True)
    assert masks.added == ["x1"]
    assert masks.faults == [(f"masks/{name}.png", "no photograph of that name was found") for name in sorted(names)]
    imported = nm.import_dataset("folder", tmp_path / "in", tmp_path / "set", no_patients=True)
    assert (imported.masks, imported.faults) == (1, masks.faults)


def test_a_suffix_gives_no_image_a_second_mask(tmp_path: Path) -> None:
    for number in range(4):
        write_rgb(tmp_path / f"in/images/x{number}.png", make_image(number))
        write_mask(tmp_path / f"in/masks/x{number}_anno.png", make_mask(0))
    write_mask(tmp_path / "in/masks/x1.png", make_mask(1))
    masks = nm.import_masks(tmp_path / "in/masks", tmp_path / "in/images", tmp_path / "out", no_patients=True)
    assert masks.added == ["x0", "x1", "x2", "x3"]
    assert masks.faults == [("masks/x1_anno.png", "no photograph of that name was found")]
    imported = nm.import_dataset("folder", tmp_path / "in", tmp_path / "set", no_patients=True)
    assert (imported.masks, imported.faults) == (4, masks.faults)
    for folder in ("out", "set"):
        assert (read_mask(tmp_path / folder / "masks/x1.png") == make_mask(1)).all()


def test_rows_of_a_data_list_name_folders(tmp_path: Path) -> None:
    """Cameras repeat file names: the second patient must not get the diagnosis of the first."""
    for patient in ("p1", "p2"):
        write_rgb(tmp_path / f"in/images/{patient}/IMG_1.png", np.full((20, 30, 3), 90, np.uint8))
        write_mask(tmp_path / f"in/labels/{patient}/IMG_1.png", np.eye(20, 30, dtype=bool))
    cases = [{"image": f"images/{one}/IMG_1.png", "label": f"labels/{one}/IMG_1.png"} for one in ("p1", "p2")]
    (tmp_path / "in/dataset.json").write_text(json.dumps({"training": cases}))
    rows = "p1/IMG_1.png,x,nevus\np2/IMG_1.png,y,melanoma\n"
    (tmp_path / "in/metadata.csv").write_text(f"image_id,patient_id,diagnosis\n{rows}")
    nm.import_dataset("decathlon", tmp_path / "in", tmp_path / "out")
    found = [(row["patient_id"], row["diagnosis"]) for row in read_table(tmp_path / "out/dataset.csv")]
    assert found == [("x", "nevus"), ("y", "melanoma")]
