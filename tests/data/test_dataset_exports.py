"""Exported data sets, read with the libraries of the other programs; a test is skipped if its library is missing."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.exports import (
    DATA_EXPORTS,
    DataExportOptions,
    DataExportReport,
    ExportedImage,
    export_dataset,
    find_data_export,
)
from napari_melanoma.data.formats.coco import RunLengthArea
from napari_melanoma.io.photographs import read_image_size
from napari_melanoma.io.results import read_labels, read_mask, write_labels, write_mask, write_rgb, write_table
from napari_melanoma.io.tables import iterate_rows

SHAPE = (40, 60)


def make_dataset(folder: Path, *, labels: bool = False) -> Path:
    """Write six images of three patients; x2 has a hole, x3 two areas, x4 is a test image, x5 is unreviewed."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        mask = np.zeros(SHAPE, bool)
        mask[5 + number : 25, 10:30] = True
        mask[12:15, 15:20] = number != 2
        mask[30:36, 40:50] = number == 3
        write_rgb(folder / f"images/x{number}.png", rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8))
        if labels:
            values = np.where(mask, 2, 0).astype(np.uint8)
            values[2:5, 10:20] = 5
            write_labels(folder / f"masks/x{number}.png", values)
        else:
            write_mask(folder / f"masks/x{number}.png", mask)
        rows.append(
            {
                "image_id": f"x{number}",
                "patient_id": f"p{number // 2}",
                "diagnosis": ("nevus", "melanoma")[number % 2],
                "age": str(40 + number) if number else "",
                "split": "test" if number == 4 else "",
                "review": "unreviewed" if number == 5 else "accepted",
            }
        )
    write_table(folder / "dataset.csv", rows)
    return folder


def export(tmp_path: Path, format_: str, *, labels: bool = False, **options: object) -> tuple[Path, DataExportReport]:
    dataset, out = tmp_path / "set", tmp_path / "out"
    if not dataset.exists():
        make_dataset(dataset, labels=labels)
    chosen = DataExportOptions.parse(options, "the test")
    return out, export_dataset(dataset, find_data_export(format_), out, chosen, run=RunContext())


def reference(tmp_path: Path, number: int) -> NDArray[np.bool_]:
    return read_mask(tmp_path / f"set/masks/x{number}.png")


def count_different(mask: NDArray[np.bool_], tmp_path: Path, number: int) -> int:
    return int(np.count_nonzero(mask != reference(tmp_path, number)))


def test_nnunet_accepts_the_data_set(tmp_path: Path) -> None:
    out, report = export(tmp_path, "nnunet")
    assert json.loads((out / "dataset.json").read_text()) == {
        "name": "set",
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 4,
        "file_ending": ".png",
    }
    assert (read_labels(out / "labelsTr/x2.png") == reference(tmp_path, 2)).all()
    assert [path.name for path in (out / "imagesTs").iterdir()] == ["x4_0000.png"]
    assert report.left_out == {"masks that were not reviewed": 1}
    assert {row["image_id"]: row["age"] for row in iterate_rows(out / "metadata.csv")}["x3"] == "43"
    folds = json.loads((out / "splits_final.json").read_text())
    assert sorted(tuple(fold["val"]) for fold in folds) == [("x0", "x1"), ("x2", "x3")]  # patients stay together
    for fold in folds:
        assert {*fold["train"], *fold["val"]} == {"x0", "x1", "x2", "x3"}
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: pip install nnunetv2")
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
    from nnunetv2.utilities.label_handling.label_handling import LabelManager
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    verify_dataset_integrity(str(out), 1)
    cases = get_filenames_of_train_images_and_targets(str(out))
    assert sorted(cases) == ["x0", "x1", "x2", "x3"]
    image, _ = NaturalImage2DIO().read_images(cases["x0"]["images"])
    label, _ = NaturalImage2DIO().read_seg(cases["x0"]["label"])
    assert image.shape == (3, 1, *SHAPE)
    assert (label[0, 0] == reference(tmp_path, 0)).all()
    assert LabelManager({"background": 0, "lesion": 1}, None).all_labels == [0, 1]


def test_regions_of_nnunet(tmp_path: Path) -> None:
    out, _ = export(tmp_path, "nnunet", labels=True, classes=("core=5", "whole=2,5"))
    content = json.loads((out / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "whole": [1, 2], "core": [2]}
    assert content["regions_class_order"] == [1, 2]
    assert np.unique(read_labels(out / "labelsTr/x0.png")).tolist() == [0, 1, 2]
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: pip install nnunetv2")
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    manager = LabelManager(content["labels"], content["regions_class_order"])
    assert manager.has_regions
    drawn = manager.convert_probabilities_to_segmentation(
        np.stack([read_labels(out / "labelsTr/x0.png") > 0, read_labels(out / "labelsTr/x0.png") == 2]).astype(float)
    )
    assert (drawn == read_labels(out / "labelsTr/x0.png")).all()


def test_folds_of_the_table_are_those_of_nnunet(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "set")
    rows = [{**row, "fold": "2" if row["image_id"] == "x1" else "1"} for row in iterate_rows(dataset / "dataset.csv")]
    write_table(dataset / "dataset.csv", rows)
    out, _ = export(tmp_path, "nnunet")
    assert [fold["val"] for fold in json.loads((out / "splits_final.json").read_text())] == [["x0", "x2", "x3"], ["x1"]]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11
@pytest.mark.parametrize("areas", ["polygons", "pixels"])
def test_coco_is_read_by_pycocotools(tmp_path: Path, areas: str) -> None:
    out, _ = export(tmp_path, "coco", areas=areas)
    assert not (out / "annotations/instances_train.json").exists()
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed: pip install pycocotools")
    of_all = coco.COCO(str(out / "annotations/instances_all.json"))
    assert [category["name"] for category in of_all.loadCats(of_all.getCatIds())] == ["lesion"]
    assert len(of_all.getAnnIds()) == 5  # x3 has two areas
    for image in of_all.loadImgs(of_all.getImgIds()):
        number, mask = int(image["file_name"][1]), np.zeros(SHAPE, bool)
        for annotation in of_all.loadAnns(of_all.getAnnIds(image["id"])):
            part = of_all.annToMask(annotation).astype(bool)
            assert read_image_size(out / "images" / image["file_name"]) == (image["width"], image["height"])
            mask |= part
            if isinstance(annotation["segmentation"], dict):
                assert part.sum() == annotation["area"]
        assert count_different(mask, tmp_path, number) <= (0 if areas == "pixels" or number == 2 else 4)
    assert len(coco.COCO(str(out / "annotations/instances_test.json")).getImgIds()) == 1


def test_each_split_of_coco_has_a_file_in_the_folder(tmp_path: Path) -> None:
    """Also one that is no file name, or that differs from another in case only."""
    table = make_dataset(tmp_path / "set") / "dataset.csv"
    splits = ["Fold", "fold", "/../../../fold"]
    write_table(table, [{**row, "split": splits[number % 3]} for number, row in enumerate(iterate_rows(table))])
    out, _ = export(tmp_path, "coco")
    files = [*out.glob("annotations/*.json")]
    assert len({path.name.casefold() for path in files}) == 3
    assert sum(len(json.loads(path.read_text())["images"]) for path in files) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set"]


@pytest.mark.parametrize("areas", ["polygons", "pixels"])
def test_labelme_opens_its_files(tmp_path: Path, areas: str) -> None:
    out, _ = export(tmp_path, "labelme", areas=areas)
    assert (out / "x5.png").exists()
    assert not (out / "x5.json").exists()
    label_file = pytest.importorskip("labelme._label_file", reason="labelme is not installed: pip install labelme")
    from labelme import utils

    for number in range(5):
        opened = label_file.LabelFile(str(out / f"x{number}.json"))
        mask = np.zeros(SHAPE, bool)
        for shape in opened.shapes:
            assert shape["label"] == "lesion"
            if shape["shape_type"] == "mask":
                (left, top), (right, bottom) = np.array(shape["points"], int)
                mask[top : bottom + 1, left : right + 1] |= shape["mask"]
            else:
                mask |= utils.shape_to_mask(SHAPE, shape["points"], shape["shape_type"])
        assert count_different(mask, tmp_path, number) <= (0 if areas == "pixels" or number == 2 else 60)
        assert opened.flags == {("nevus", "melanoma")[number % 2]: True}


@pytest.mark.parametrize("areas", ["polygons", "pixels"])
def test_label_studio_reads_its_tasks(tmp_path: Path, areas: str) -> None:
    out, _ = export(tmp_path, "label-studio", areas=areas, unreviewed=True)
    tasks = {task["data"]["image_id"]: task for task in json.loads((out / "tasks.json").read_text())}
    assert tasks["x0"]["data"]["image"] == "/data/local-files/?d=out/images/x0.png"
    assert "annotations" in tasks["x0"]
    assert "annotations" not in tasks["x5"]
    assert len(tasks["x3"]["annotations"][0]["result"]) == 2
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="label-studio is not installed: pip install label-studio-sdk"
    )
    for number in range(6):
        (annotation,) = tasks[f"x{number}"]["predictions" if number == 5 else "annotations"]
        for result in annotation["result"]:
            assert (result["original_height"], result["original_width"]) == SHAPE
            if result["type"] == "polygonlabels":
                assert np.max(result["value"]["points"]) <= 100
                continue
            decoded = brush.decode_rle(result["value"]["rle"]).reshape(*SHAPE, 4)[:, :, 3] > 0
            assert number == 3 or count_different(decoded, tmp_path, number) == 0
    config = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio is not installed")
    interface = config.LabelInterface((out / "interface.xml").read_text())
    for name in ("x0", "x2", "x5"):
        task = tasks[name]
        for kind, validate in (
            ("annotations", interface.validate_annotation),
            ("predictions", interface.validate_prediction),
        ):
            assert all(map(validate, task.get(kind, ())))


@pytest.mark.slow
def test_monai_reads_its_data_list(tmp_path: Path) -> None:
    out, _ = export(tmp_path, "decathlon")
    monai = pytest.importorskip("monai.data", reason="monai is not installed: pip install monai")
    training = monai.load_decathlon_datalist(out / "dataset.json", True, "training")
    assert [Path(case["label"]).name for case in training] == ["x0.png", "x1.png", "x2.png", "x3.png"]
    assert all(Path(case[key]).is_file() for case in training for key in ("image", "label"))
    assert len(monai.load_decathlon_datalist(out / "dataset.json", True, "test")) == 1


@pytest.mark.parametrize("format_", ["imagefolder", "parquet"])
@pytest.mark.slow
def test_hugging_face_reads_images_masks_and_columns(
    tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = export(tmp_path, format_)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed: pip install datasets")
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 5, "test": 1}
    rows = {row["image_id"]: row for row in loaded["train"]}
    assert rows["x2"]["diagnosis"] == "nevus"
    assert float(rows["x1"]["age"]) == 41
    assert np.asarray(rows["x0"]["image"]).shape == (*SHAPE, 3)
    assert rows["x5"]["mask"] is None
    assert count_different(np.asarray(rows["x2"]["mask"]) == 255, tmp_path, 2) == 0


def test_geojson_has_holes_and_several_areas(tmp_path: Path) -> None:
    out, _ = export(tmp_path, "geojson")
    features = {path.stem: json.loads(path.read_text())["features"] for path in out.glob("*.geojson")}
    assert len(features["x2"][0]["geometry"]["coordinates"]) == 2
    assert len(features["x3"]) == 2
    assert features["x3"][0]["properties"]["classification"]["name"] == "lesion"


def test_masks_have_the_suffix_value_and_type(tmp_path: Path) -> None:
    out, _ = export(tmp_path, "masks", mask_suffix="_anno", mask_value=7, mask_type="tif")
    import tifffile

    values = tifffile.imread(out / "masks/x2_anno.tif")
    assert np.unique(values).tolist() == [0, 7]
    assert ((values == 7) == reference(tmp_path, 2)).all()


def test_a_photograph_is_copied_unless_others_would_show_it_differently(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "set")
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, saved in ((0, {}), (1, {"exif": exif})):
        path = dataset / f"images/x{number}.jpg"
        size = SHAPE if number else SHAPE[::-1]  # turned by a quarter
        Image.new("RGB", size, (90, 80, 70)).save(path, **saved)
        path.with_suffix(".png").unlink()
    out, report = export(tmp_path, "masks")
    assert not report.faults
    assert (out / "images/x0.jpg").read_bytes() == (dataset / "images/x0.jpg").read_bytes()
    assert read_image_size(out / "images/x1.png") == SHAPE[::-1]


@pytest.mark.parametrize(
    ("name", "save", "copied"),
    [
        ("x0.png", lambda path: Image.new("L", SHAPE).save(path), True),
        ("x0.png", lambda path: imagecodecs.imwrite(path, np.zeros((*SHAPE[::-1], 3), np.uint16)), False),
        ("x0.png", lambda path: Image.new("RGB", SHAPE).save(path, transparency=(0, 0, 0)), False),
        ("x0.jpg", lambda path: Image.new("RGB", SHAPE).save(path, "WEBP"), False),
        ("x0.jpg", lambda path: Image.new("RGB", SHAPE).save(path, "PNG"), False),
    ],
)
def test_only_plain_files_of_their_suffix_are_copied(
    tmp_path: Path, name: str, save: Callable[[Path], None], copied: bool
) -> None:
    save(tmp_path / name)
    image = ExportedImage("x0", tmp_path / name, None, {}, "", "", {}, False)
    content, suffix, _ = image.encode()
    assert (content == (tmp_path / name).read_bytes()) == copied
    assert suffix == ".png"


def test_faults_are_listed_and_the_others_exported(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "set")
    write_mask(dataset / "masks/x0.png", np.ones((5, 5), bool))
    (dataset / "images/x1.png").write_bytes(b"no image")
    for format_ in DATA_EXPORTS.members:
        out, report = export(tmp_path, format_)
        assert [name for name, _ in report.faults] == ["x0", "x1"]
        assert "x0" not in "".join(path.name for path in out.rglob("*.csv"))
        assert report.images >= 3
        shutil.rmtree(out)


@pytest.mark.parametrize("format_", ["coco", "geojson", "imagefolder", "masks", "nnunet"])
def test_ids_that_are_one_file_on_other_systems_are_several_files(tmp_path: Path, format_: str) -> None:
    """Windows and macOS do not distinguish x0 from X0, and Windows allows no colon."""
    table = make_dataset(tmp_path / "set") / "dataset.csv"
    ids, rows = {"x1": "X0", "x2": "x:2"}, []
    for row in iterate_rows(table):
        name = row["image_id"]
        files = {"path": f"images/{name}.png", "mask_path": f"masks/{name}.png"}
        rows.append({**row, **files, "image_id": ids.get(name, name)})
    write_table(table, rows)
    out, report = export(tmp_path, format_)
    assert not report.faults
    assert "image ids" in dict(report.notes)
    names = [str(path.relative_to(out)).casefold() for path in out.rglob("*") if path.is_file()]
    assert len(names) == len({*names})
    assert ":" not in "".join(names)


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no format named 'voc' for data sets \(known: .*coco"):
        find_data_export("voc")
    make_dataset(tmp_path / "set", labels=True)
    with pytest.raises(InputError, match="expected a class with its values, such as tumor=1 or whole=1,2, found 'a'"):
        export(tmp_path, "coco", classes=("a",))
    with pytest.raises(DataSetError, match="no mask has the value 7: found 0, 2, 5"):
        export(tmp_path, "coco", classes=("a=7",))
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(DataSetError, match="already exists"):
        export(tmp_path, "coco")


def write_values(dataset: Path, *of_masks: dict[int, int]) -> None:
    """Replace the first masks, each with numbers of pixels by value, as 16-bit PNG."""
    for number, pixels in enumerate(of_masks):
        mask = np.zeros(np.prod(SHAPE), np.uint16)
        mask[: sum(pixels.values())] = np.repeat(list(pixels), list(pixels.values()))
        Image.fromarray(mask.reshape(SHAPE)).save(dataset / f"masks/x{number}.png")


def count_values(mask: NDArray[np.uint8]) -> dict[int, int]:
    values, counts = np.unique(mask[mask > 0], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def read_exported(out: Path, name: str) -> NDArray[np.uint8]:
    """Read the mask of an image in any folder, or in a Parquet file."""
    for path in out.rglob("*.parquet"):
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        masks = {row["image_id"]: row["mask"] for row in rows}
        if name in masks:
            return np.asarray(Image.open(io.BytesIO(masks[name]["bytes"])))
    (path,) = (path for path in out.rglob(f"{name}.png") if path.parent.name in ("masks", "labels", "labelsTr"))
    return np.asarray(Image.open(path))


MASK_FORMATS = ["masks", "decathlon", "imagefolder", "parquet", "nnunet"]


@pytest.mark.parametrize("format_", MASK_FORMATS)
def test_values_without_a_class_become_background(tmp_path: Path, format_: str) -> None:
    write_values(make_dataset(tmp_path / "set", labels=True), {1: 60, 5: 20, 257: 130})
    out, report = export(tmp_path, format_, classes=("tumor=1",))
    assert count_values(read_exported(out, "x0")) == {1: 60}
    noted = ("classes", "the values 2, 5, 257 have no class, and are exported as background")
    assert noted in report.notes


def test_values_beyond_8_bits_are_refused(tmp_path: Path) -> None:
    write_values(make_dataset(tmp_path / "set"), {1: 60, 257: 130})
    with pytest.raises(InputError, match="values from 1 to 255, found 'tumor=257'"):
        export(tmp_path, "nnunet", classes=("tumor=257",))
    with pytest.raises(DataSetError, match=r"values up to 257: expected at most 255\. Name the classes"):
        export(tmp_path, "nnunet")


@pytest.mark.parametrize("class_", ["ground=0", "tumor=0,1", "Background=1"])
def test_the_background_is_no_class(tmp_path: Path, class_: str) -> None:
    with pytest.raises(InputError, match="Values without a class are exported as background"):
        export(tmp_path, "nnunet", classes=(class_, "whole=1,255"))


@pytest.mark.parametrize(
    ("of_masks", "classes"),
    [
        ([{255: 60}, {1: 60}], {"lesion": (1,)}),
        ([{128: 60}] * 6, {"lesion": (1,)}),
        ([{255: 200, 100: 5}, {1: 60}], {"lesion": (1,)}),  # soft edges
        ([{1: 60}, {2: 60}], {"class 1": (1,), "class 2": (2,), "class 255": (255,)}),
        ([{1: 60, 2: 60}], {"class 1": (1,), "class 2": (2,), "class 255": (255,)}),
    ],
)
def test_masks_mark_one_lesion_or_classes(
    tmp_path: Path, of_masks: list[dict[int, int]], classes: dict[str, tuple[int, ...]]
) -> None:
    write_values(make_dataset(tmp_path / "set"), *of_masks)
    out, report = export(tmp_path, "decathlon")
    assert report.classes == classes
    if "lesion" in classes:
        lesion = max(of_masks[0].values())
        assert count_values(read_exported(out, "x0")) == {1: lesion}


@pytest.mark.parametrize(("format_", "taken"), [("imagefolder", ["file_name", "raw_file_name"]), ("parquet", ["mask"])])
def test_columns_of_the_format_are_not_overwritten(tmp_path: Path, format_: str, taken: list[str]) -> None:
    dataset = make_dataset(tmp_path / "set")
    rows = [{**row, **dict.fromkeys(taken, "own"), "age": ""} for row in iterate_rows(dataset / "dataset.csv")]
    rows[0]["age"], rows[1]["age"] = "12.3456789", "1234567"
    write_table(dataset / "dataset.csv", rows)
    out, report = export(tmp_path, format_)
    assert [topic for topic, _ in report.notes if topic != "split"] == ["columns"] * len(taken)
    if format_ == "parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table(out / "data/train-00000-of-00001.parquet")
        exported = table.to_pylist()
        assert exported[0]["mask"]["path"] == "x0.png"
    else:
        exported = [json.loads(line) for line in (out / "train/metadata.jsonl").read_text().splitlines()]
        assert exported[0]["file_name"] == "images/x0.png"
        assert "raw_file_name" not in exported[0]
        assert [row["age"] for row in exported[:3]] == ["12.3456789", "1234567", ""]
    assert exported[0][f"{taken[0]}_in_table"] == "own"


def test_run_lengths_begin_outside(tmp_path: Path) -> None:
    mask = np.ones((3, 4), bool)
    from napari_melanoma.data.formats.coco import _encode_runs

    assert _encode_runs(mask) == [0, 12]
    assert RunLengthArea(_encode_runs(mask), (3, 4)).draw((3, 4), (3, 4)).all()


@pytest.mark.parametrize("format_", ["nnunet", "imagefolder", "decathlon"])
def test_no_image_of_another_split_is_for_training(tmp_path: Path, format_: str) -> None:
    table = make_dataset(tmp_path / "set") / "dataset.csv"
    rows = list(iterate_rows(table))
    write_table(table, [{**row, "split": "external" if row["image_id"] == "x2" else row["split"]} for row in rows])
    out, report = export(tmp_path, format_, unreviewed=True)
    assert report.left_out == {"images of other splits than train, val, test": 1}
    assert not [path for path in out.rglob("x2*") if path.is_file()]
    ((_, note),) = (one for one in report.notes if one[0] == "split")
    assert "1 image for training or validation (x5)" in note, "x5 is of the patient of x4, a test image"


def test_a_format_without_parts_has_all_splits(tmp_path: Path) -> None:
    table = make_dataset(tmp_path / "set") / "dataset.csv"
    write_table(table, [{**row, "split": "external"} for row in iterate_rows(table)])
    _, report = export(tmp_path, "coco")
    assert (report.images, [topic for topic, _ in report.notes]) == (5, [])
