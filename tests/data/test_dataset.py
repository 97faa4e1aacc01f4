"""Reading data sets, and the errors of faulty ones."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.locks import is_locked
from napari_melanoma.data.dataset import (
    DatasetEntry,
    PackedRow,
    Sample,
    assemble_folder,
    check_lesion_masks,
    iter_entries,
    read_dataset,
    require_outside_datasets,
    select_for_split,
    unpack_row,
    write_class_names,
)
from napari_melanoma.data.splits import hold_out
from napari_melanoma.io.results import write_mask, write_rgb
from napari_melanoma.lesion.feature_table import FeatureOptions, compute_features
from napari_melanoma.lesion.patient_data import PatientTable


def _dataset(folder: Path, table: str, *, name: str = "dataset.csv", images: tuple[str, ...] = ("a", "b")) -> Path:
    for image in images:
        write_rgb(folder / f"images/{image}.png", np.zeros((20, 30, 3), np.uint8))
        write_mask(folder / f"masks/{image}.png", np.zeros((20, 30), bool))
    (folder / name).write_text(table, encoding="utf-8")
    return folder


def test_a_plain_folder_is_read(tmp_path: Path) -> None:
    table = "image_id,patient_id,lesion_id,split,modality\na,p1,7,train,dermoscopic\nb,,8,val,other\n"
    first, second = read_dataset(_dataset(tmp_path / "set", table))
    assert (first.image_id, first.group, first.split, first.modality) == ("a", "set/p1", "train", "dermoscopic")
    assert (second.group, second.modality, second.domain) == ("set/8", None, "set")
    assert first.mask == tmp_path / "set/masks/a.png"


@pytest.mark.parametrize(
    ("columns", "cells", "um"),
    [
        ("mpp_x,mpp_y", "20.5,20.5", 20.5),
        ("mpp_x;mpp_y", "20,5;20,5", 20.5),
        ("mpp_x,mpp_y", "0.02 mm,0.02 mm", 20),
        ("mpp", "20", 20),
        ("mpp_x [mm],mpp_y [mm]", "0.02,0.02", 20),
        ("mpp_x,mpp_y", "0.0000205,0.0000205", None),  # in meters: impossible
    ],
)
def test_a_scale_is_read_as_in_a_table_of_patients(tmp_path: Path, columns: str, cells: str, um: float | None) -> None:
    separator = ";" if ";" in columns else ","
    names, values = f"image_id{separator}modality{separator}{columns}", f"a{separator}Dermoscopy{separator}{cells}"
    (sample,) = read_dataset(_dataset(tmp_path / "set", f"{names}\n{values}\n", images=("a",)))
    table = PatientTable({}, tmp_path / "set/dataset.csv")
    assert sample.pixel_size == table.pixel_size("a") == (None if um is None else PixelSize(um, um))
    assert sample.modality == table.modality("a") == "dermoscopic"


def test_files_whose_letters_macos_has_decomposed_are_found(tmp_path: Path) -> None:
    (sample,) = read_dataset(_dataset(tmp_path, "image_id\nr\u00fccken\n", images=("ru\u0308cken",)))
    assert sample.mask is not None
    paths = "images/r\u00fccken.png,masks/r\u00fccken.png"
    (tmp_path / "dataset.csv").write_text(f"image_id,path,mask_path\n1,{paths}\n", encoding="utf-8")
    assert read_dataset(tmp_path) == [replace(sample, image_id="1", group=f"{tmp_path.name}/1")]


def test_images_named_with_their_suffix_are_found(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "image_id\na.jpg\nb.1\n", images=("a", "b.1"))
    assert [(one.image_id, one.image.name, one.mask is not None) for one in read_dataset(folder)] == [
        ("a.jpg", "a.png", True),
        ("b.1", "b.1.png", True),
    ]


def test_paths_of_the_table_win(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "image_id,path,mask_path\nx,images/a.png,masks/b.png\n")
    (sample,) = read_dataset(folder)
    assert (sample.image.name, sample.mask.name if sample.mask else None) == ("a.png", "b.png")


def test_a_byte_order_mark_and_the_other_table_name_are_fine(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "\ufeffimage_id\na\n", name="metadata.csv")
    assert [sample.image_id for sample in read_dataset(folder)] == ["a"]


def test_near_duplicates_share_a_group(tmp_path: Path) -> None:
    first, second = read_dataset(_dataset(tmp_path, "image_id,near_duplicate_of\na,\nb,a\n"))
    assert first.group == second.group


@dataclass(frozen=True)
class Fault:
    """A faulty table and its error."""

    table: str
    message: str


FAULTS = [
    Fault("", "at least one row; found no rows"),
    Fault("image_id\n", "at least one row"),
    Fault("name\na\n", "needs a column image_id .* found name"),
    Fault("image_id\na\na\n", "repeats image_id a"),
    Fault("image_id\na\na.JPG\n", "names a.png in several rows, also as a.JPG"),
    Fault("image_id\nc\n", "the image of 'c' is missing"),
    Fault("image_id,mask_path\na,masks/z.png\n", "the mask of 'a' is missing"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.message)
def test_faults(fault: Fault, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=fault.message):
        read_dataset(_dataset(tmp_path, fault.table))


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"expected a table dataset.csv or metadata.csv in it, found none\."):
        read_dataset(tmp_path)
    with pytest.raises(DataSetError, match=r"in it, but there is no such folder\."):
        read_dataset(tmp_path / "missing")
    table = _dataset(tmp_path, "image_id\na\n") / "dataset.csv"
    with pytest.raises(DataSetError, match=r"in it, but it is a file\. Select its folder, "):
        read_dataset(table)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "dataset.csv").write_bytes(b"PK\x03\x04\n\xff\n")
    with pytest.raises(DataSetError, match="a workbook of a spreadsheet program"):
        read_dataset(tmp_path)


def test_an_image_without_mask_is_kept_until_masks_are_needed(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "image_id,split\na,train\nb,train\n")
    (folder / "masks/b.png").unlink()
    samples = read_dataset(folder)
    assert len(samples) == 2
    assert [sample.image_id for sample in select_for_split(samples, "train")] == ["a"]
    with pytest.raises(DataSetError, match=r"split 'val': 2 rows, splits train"):
        select_for_split(samples, "val")


def _samples(count: int) -> list[Sample]:
    return [
        Sample(f"i{n}", Path("x"), None, f"g{n // 3}", "train", "abc"[n % 2], None, "xy"[n // 9 % 2])
        for n in range(count)
    ]


def test_hold_out_follows_the_seed_and_the_strata() -> None:
    first, second, other = (hold_out(_samples(900), 0.2, seed)[1] for seed in (0, 0, 1))
    assert first == second != other
    shares = [sum(s.diagnosis == d for s in first) / sum(s.diagnosis == d for s in _samples(900)) for d in "xy"]
    assert shares == pytest.approx([0.2, 0.2], abs=0.03)


def test_adding_images_moves_few_others() -> None:
    before = {s.group for s in hold_out(_samples(600), 0.2, 0)[1]}
    after = {s.group for s in hold_out(_samples(630), 0.2, 0)[1]}
    assert len(before - after) <= 4


def test_the_real_sets_are_read(shared_data: Path) -> None:
    sizes = {name: len(select_for_split(read_dataset(shared_data / name))) for name in ("isic2017", "pad_ufes", "ph2")}
    assert sizes == {"isic2017": 1990, "pad_ufes": 687, "ph2": 120}


def test_rows_without_an_image_are_entries_and_no_samples(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, "image_id,path,age\na,,40\nalone,,50\nlost,images/lost.png,60\na,,70\n")
    found = list(iter_entries(folder))
    entries = [entry for entry in found if isinstance(entry, DatasetEntry)]
    assert [(entry.image_id, entry.image and entry.image.name) for entry in entries] == [
        ("a", "a.png"),
        ("alone", None),
    ]
    message = [str(error) for error in found if isinstance(error, DataSetError)]
    assert "the image of 'lost' is missing" in message[0]
    assert "repeats image_id a" in message[1]
    with pytest.raises(DataSetError, match="the image of 'alone' is missing"):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("cohort", "drawn"),
    [("", [True, False]), ('{"law": {}}', [True, True]), ('{"version": 1, "slides": []}', [True, False])],
)
def test_phantoms_are_recognized_by_source_or_cohort_file(tmp_path: Path, cohort: str, drawn: list[bool]) -> None:
    folder = _dataset(tmp_path, "image_id,source\na,Phantom-cohort\nb,clinic of phantoms\n")
    if cohort:
        (folder / "cohort.json").write_text(cohort, encoding="utf-8")
    assert [sample.synthetic for sample in read_dataset(folder)] == drawn


def test_a_data_set_is_protected_where_the_disk_ignores_upper_and_lower_case(tmp_path: Path, monkeypatch) -> None:
    data = tmp_path / "Data"
    data.mkdir()
    same = Path.samefile
    monkeypatch.setattr(Path, "samefile", lambda one, other: str(one).lower() == str(other).lower() or same(one, other))
    require_outside_datasets(tmp_path / "data-2", [data])
    for out, where in ((tmp_path / "data", "is"), (tmp_path / "DATA" / "new", "lies in")):
        with pytest.raises(InputError, match=f"{where} the data set"):
            require_outside_datasets(out, [data])


ROWS = st.dictionaries(st.text(max_size=3), st.text(st.characters(exclude_characters="\x1f"), max_size=4), max_size=4)


@settings(max_examples=50)
@given(ROWS, ROWS, ROWS)
def test_a_phantom_matches_its_configuration(
    own: dict[str, str], below: dict[str, str], deepest: dict[str, str]
) -> None:
    row = PackedRow(own).with_defaults(below).with_defaults(deepest)
    expected = {**deepest, **below, **own}
    assert unpack_row(row) == dict(row.items()) == expected
    assert len(row) == len(expected)
    assert unpack_row(expected) == expected


def test_a_cell_that_is_not_there() -> None:
    row = PackedRow({"a": ""}, {"b": "1"})
    assert (row["a"], row["b"], row.get("c", "-")) == ("", "1", "-")
    with pytest.raises(KeyError):
        row["c"]


def test_the_separator_itself_is_a_blank() -> None:
    for values in ({"a": "x\x1fy"}, {"a": "\x1f", "b": "z"}):
        assert unpack_row(PackedRow(values)) == {name: text.replace("\x1f", " ") for name, text in values.items()}


def test_a_discarded_folder_is_removed_before_its_lock_is_released(tmp_path: Path, monkeypatch) -> None:
    seen = []

    def removed(place: Path, **how: object) -> None:
        seen.append(is_locked(tmp_path / ".new.gathering.lock"))
        real(place, **how)

    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", removed)
    with pytest.raises(KeyError), assemble_folder(tmp_path / "new", discard_on=KeyError) as place:
        (place / "images" / "a.png").touch()
        raise KeyError
    assert seen == [True]
    assert list(tmp_path.iterdir()) == []


def test_files_of_an_earlier_attempt_are_kept(tmp_path: Path) -> None:
    for error in (ValueError, KeyError):
        with pytest.raises(error), assemble_folder(tmp_path / "new", discard_on=KeyError) as place:
            (place / "images" / "a.png").touch()
            raise error
    assert (place / "images" / "a.png").exists()


def test_label_images_of_several_classes_are_no_masks_of_lesions(tmp_path: Path) -> None:
    """An image with hair alone would be measured, trained on and evaluated as a lesion."""
    folder = _dataset(tmp_path / "set", "image_id\na\nb\n")
    write_class_names(folder, {"lesion": (1,)})
    check_lesion_masks([folder])
    write_class_names(folder, {"lesion": (1,), "hair": (2,)})
    with pytest.raises(DataSetError, match="label images with the classes lesion, hair"):
        compute_features(folder, tmp_path / "features.csv", FeatureOptions(), run=RunContext())
