"""Folders as COCO, Hugging Face and one folder per class lay them out: read, or listed as not used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, UnreadableImage
from napari_melanoma.data.check import check_data
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.dataset_import import SourceImportOptions, SourceImportReport, import_source
from napari_melanoma.data.mask_import import MaskImportOptions, MaskImportReport, import_masks
from napari_melanoma.data.mask_values import read_lesion_mask
from napari_melanoma.io.results import read_mask, read_table, write_mask
from napari_melanoma.io.tables import iterate_rows

SHAPE = (36, 52)
MASK = np.zeros(SHAPE, bool)
MASK[9:22, 14:33] = True


def photograph(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)).save(path)


def import_folder(tmp_path: Path, **options: object) -> SourceImportReport:
    chosen = SourceImportOptions(no_patients=True, **options)
    return import_source(find_source("folder"), tmp_path / "in", tmp_path / "set", chosen, run=RunContext())


def import_all(tmp_path: Path, **options: object) -> MaskImportReport:
    parsed = MaskImportOptions.parse({"no_patients": True, **options}, "the test")
    return import_masks(tmp_path / "in", tmp_path / "in", tmp_path / "masks", parsed, run=RunContext())


def diagnoses(tmp_path: Path) -> dict[str, str]:
    return {row["image_id"]: row["diagnosis"] for row in read_table(tmp_path / "set/dataset.csv")}


def test_metadata_of_an_imagefolder_is_read(tmp_path: Path) -> None:
    lines = []
    for seed, (name, diagnosis) in enumerate({"a": "melanoma", "b": "nevus"}.items()):
        photograph(tmp_path / f"in/train/{name}.png", seed)
        row = {
            "file_name": f"{name}.png",
            "diagnosis": diagnosis,
            "age": 40 + seed,
            "objects": {"bbox": [[1, 2, 3, 4]]},
        }
        lines.append(json.dumps({**row, "sex": None}))
    (tmp_path / "in/train/metadata.jsonl").write_text("\n".join(lines) + "\n")
    report = import_folder(tmp_path)
    assert (report.images, report.left) == (2, 0)
    assert [(row["diagnosis"], row["age"], row["sex"]) for row in read_table(tmp_path / "set/dataset.csv")] == [
        ("melanoma", "40", ""),
        ("nevus", "41", ""),
    ]
    assert ("folders", "train: not used as splits: name them in a column split of metadata.csv") in report.notes


def test_metadata_without_spaces_is_read(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name":"a.png","age":7,"note":"x, \\"y\\""}\n')
    assert list(iterate_rows(tmp_path / "metadata.jsonl")) == [{"file_name": "a.png", "age": "7", "note": 'x, "y"'}]


def test_a_faulty_line_of_metadata_is_named(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}\n\n[1]\n')
    with pytest.raises(DataSetError, match="line 3: expected a JSON object, found list"):
        list(iterate_rows(tmp_path / "metadata.jsonl"))
    (tmp_path / "metadata.jsonl").write_text('{"file_name": \n')
    with pytest.raises(DataSetError, match="line 1: it is not valid JSON"):
        list(iterate_rows(tmp_path / "metadata.jsonl"))


def test_folders_named_for_diagnoses_are_diagnoses(tmp_path: Path) -> None:
    for seed, name in enumerate(("melanoma/a", "melanoma/b", "nevus/c", "BCC/d")):
        photograph(tmp_path / f"in/{name}.png", seed)
    (tmp_path / "in/metadata.csv").write_text("image_id,diagnosis\nb,nevus\n")
    report = import_folder(tmp_path)
    assert diagnoses(tmp_path) == {"a": "melanoma", "b": "nevus", "c": "nevus", "d": "basal cell carcinoma"}
    assert ("folders", "BCC, melanoma, nevus: used as the diagnosis of 3 images") in report.notes


def test_other_folders_are_listed_as_not_used(tmp_path: Path) -> None:
    for seed, name in enumerate(("ward1/a", "ward1/b", "ward2/c", "ward2/d")):
        photograph(tmp_path / f"in/{name}.png", seed)
    report = import_folder(tmp_path)
    assert set(diagnoses(tmp_path).values()) == {""}
    assert any(about == "folders" and "ward1, ward2: not used" in message for about, message in report.notes)


def test_annotations_next_to_images_are_listed_as_unused(tmp_path: Path) -> None:
    photograph(tmp_path / "in/a.png", 0)
    (tmp_path / "in/instances.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    (tmp_path / "in/masks.npz").write_bytes(b"PK")
    (tmp_path / "in/a.truth.json").write_text("{}")  # of a phantom: its parameters, no annotation
    notes = dict(import_folder(tmp_path).notes)
    assert f"import-masks {tmp_path / 'in/instances.json'} --images {tmp_path / 'in'} --out" in notes["instances.json"]
    assert notes["instances.json"].endswith("--out DATASET, with --metadata or --no-patients")  # else it is rejected
    assert notes["masks.npz"].startswith("not used: save tables")
    assert not any("truth" in topic for topic in notes)


@pytest.mark.parametrize("values", [MASK, MASK * np.uint8(255), MASK[None].astype(np.float64)])
def test_arrays_next_to_images_are_their_masks(tmp_path: Path, values: np.ndarray) -> None:
    photograph(tmp_path / "in/a.png", 0)
    photograph(tmp_path / "in/b.png", 1)
    np.save(tmp_path / "in/a.npy", values)
    np.save(tmp_path / "in/other.npy", values)
    report = import_folder(tmp_path)
    assert (report.images, report.masks) == (2, 1)
    assert "other.npy" in dict(report.notes)["files"]
    assert np.array_equal(read_mask(tmp_path / "set/masks/a.png"), MASK)
    imported = import_all(tmp_path)
    assert (imported.added, imported.without_mask) == (["a"], ["b.png"])
    assert np.array_equal(read_mask(tmp_path / "masks/masks/a.png"), MASK)


def test_an_array_of_objects_or_probabilities_is_no_mask(tmp_path: Path) -> None:
    photograph(tmp_path / "in/a.png", 0)
    photograph(tmp_path / "in/b.png", 1)
    np.save(tmp_path / "in/a.npy", np.full(SHAPE, {"a": 1}, object), allow_pickle=True)
    np.save(tmp_path / "in/b.npy", np.full(SHAPE, 0.4))
    with pytest.raises(DataSetError, match="none of the 2 images"):
        import_folder(tmp_path)


def test_an_array_shorter_than_its_header_states_is_refused(tmp_path: Path) -> None:
    header = np.lib.format.header_data_from_array_1_0(MASK) | {"shape": (10**7, 10**7)}
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(100))
    with pytest.raises(UnreadableImage, match="cannot be read as a mask"):
        read_lesion_mask(tmp_path / "a.npy", "a.npy")


def test_inverted_masks_are_reported_and_can_be_imported(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        photograph(tmp_path / f"in/{name}.png", seed)
        write_mask(tmp_path / f"in/{name}_mask.png", ~MASK if seed else MASK)
    message = "2 cover the borders of images, as an inverted mask does (b, c): if 0 marks the lesion"
    assert message in dict(import_folder(tmp_path).notes)["masks"]
    assert message in dict(import_all(tmp_path).notes)["masks"]
    assert message in dict(check_data(tmp_path / "set", run=RunContext()).notes)["masks"]
    assert "1 covers the border" in dict(import_all(tmp_path, values=("0",), replace=True).notes)["masks"]
    samples = {sample.image_id: sample for sample in read_dataset(tmp_path / "masks")}
    assert np.array_equal(read_mask(samples["b"].mask), MASK)


def test_tables_of_known_names_are_read_by_both_importers(tmp_path: Path) -> None:
    photograph(tmp_path / "in/a.png", 0)
    write_mask(tmp_path / "in/a_mask.png", MASK)
    (tmp_path / "in/patients.csv").write_text("image_id,patient_id\na,P1\n")
    import_all(tmp_path)
    assert [row["patient_id"] for row in read_table(tmp_path / "masks/dataset.csv")] == ["P1"]


def test_images_next_to_annotations_are_noted(tmp_path: Path) -> None:
    photograph(tmp_path / "in/a.png", 0)
    write_mask(tmp_path / "annotations/b.png", MASK)
    ring = [[2, 3], [20, 3], [20, 18]]
    (tmp_path / "annotations/a.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    options = MaskImportOptions(no_patients=True)
    report = import_masks(tmp_path / "annotations", tmp_path / "in", tmp_path / "set", options, run=RunContext())
    assert report.added == ["a"]
    assert ("annotations", "not used, as no geojson: annotations/b.png") in report.notes
