"""Import of masks made elsewhere: matching masks are imported, others are reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.data.corrections import Corrections
from napari_melanoma.data.dataset import read_dataset, select_for_split
from napari_melanoma.data.mask_import import MaskImportOptions, MaskImportReport, import_masks
from napari_melanoma.io.results import read_mask, write_mask

SHAPE = (40, 60)
Import = Callable[..., MaskImportReport]


def square(side: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[:side, :side] = True
    return mask


def photograph(path: Path, seed: int, **saved: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(path, **saved)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for seed, name in enumerate(("one.png", "two.jpg", "sub/three.png")):
        photograph(tmp_path / "images" / name, seed)
    return tmp_path / "images"


@pytest.fixture
def bring(tmp_path: Path, images: Path) -> Import:
    def bring(masks: Path, **options: object) -> MaskImportReport:
        parsed = MaskImportOptions.parse({"no_patients": "metadata" not in options, **options}, "the test")
        return import_masks(masks, images, tmp_path / "out", parsed, run=RunContext())

    return bring


@pytest.mark.parametrize("names", [("a_label", "b_label"), ("a", "b", "x_label"), ("a", "x_mask"), ("a_lesion", "b")])
def test_a_mask_of_the_same_name_is_that_of_its_photograph(names: tuple[str, ...], tmp_path: Path) -> None:
    for seed, name in enumerate(names):
        photograph(tmp_path / "i" / f"{name}.png", seed)
    masks = masks_of(tmp_path / "m", **{name: square(10 + number) for number, name in enumerate(names)})
    report = import_masks(
        masks, tmp_path / "i", tmp_path / "out", MaskImportOptions(no_patients=True), run=RunContext()
    )
    assert (sorted(report.added), report.faults, report.without_mask) == (sorted(names), [], [])
    for number, name in enumerate(names):
        np.testing.assert_array_equal(read_mask(tmp_path / "out" / "masks" / f"{name}.png"), square(10 + number))


def test_the_assumed_range_of_a_photograph_is_reported(tmp_path: Path, bring: Import, images: Path) -> None:
    dark = np.random.default_rng(9).integers(0, 4096, (*SHAPE, 3), dtype=np.uint16)
    dark[0, 0] = 65535
    tifffile.imwrite(images / "deep.tif", dark, photometric="rgb", metadata=None)
    report = bring(masks_of(tmp_path / "masks", deep=square(20)))
    note = "deep: its 16-bit channels were read as 12-bit values, as nearly no value exceeds 4095"
    assert ("images", note) in report.notes
    stored = np.asarray(Image.open(tmp_path / "out" / "images" / "deep.png"))
    assert 100 < stored.mean() < 150


def masks_of(folder: Path, **masks: np.ndarray) -> Path:
    for name, mask in masks.items():
        write_mask(folder / f"{name}.png", mask)
    return folder


def coco(path: Path, *annotations: tuple[str, str, list[float]], **image: object) -> Path:
    """A COCO file: for each annotation the image, the class and the outline."""
    names = list(dict.fromkeys(name for name, _, _ in annotations))
    labels = list(dict.fromkeys(label for _, label, _ in annotations))
    content = {
        "images": [{"id": names.index(n), "file_name": n, "height": 40, "width": 60, **image} for n in names],
        "categories": [{"id": labels.index(label), "name": label} for label in labels],
        "annotations": [
            {"image_id": names.index(n), "category_id": labels.index(label), "segmentation": [outline]}
            for n, label, outline in annotations
        ],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def outline(left: float, right: float) -> list[float]:
    return [left, 0, right, 0, right, 10, left, 10]


def test_a_folder_of_pictures(bring: Import, tmp_path: Path) -> None:
    masks = masks_of(tmp_path / "masks", one_mask=square(9), TWO=square(8), four=square(7))
    report = bring(masks, reviewer="B", modality="dermoscopic")
    assert report.added == ["one", "two"]
    assert report.faults == [("masks/four.png", "no photograph of that name was found")]
    assert report.without_mask == ["sub/three.png"]
    samples = select_for_split(read_dataset(tmp_path / "out"))
    assert [(s.image_id, s.review, s.modality) for s in samples] == [
        ("one", "accepted", "dermoscopic"),
        ("two", "accepted", "dermoscopic"),
    ]
    assert [np.count_nonzero(read_mask(s.mask)) for s in samples] == [81, 64]
    assert [row["source"] for row in Corrections(tmp_path / "out").rows()] == ["one.png", "two.jpg"]


def test_again_is_no_change_and_a_reviewed_mask_is_kept(bring: Import, tmp_path: Path) -> None:
    masks = masks_of(tmp_path / "masks", one=square(9), two=square(8))
    bring(masks)
    table = (tmp_path / "out/dataset.csv").read_bytes()
    again = bring(masks_of(masks, one=square(20), two=square(21)))
    assert (again.added, again.kept) == ([], ["one.png", "two.jpg"])
    assert (tmp_path / "out/dataset.csv").read_bytes() == table
    assert bring(masks, replace=True).added == ["one", "two"]
    assert np.count_nonzero(read_mask(select_for_split(read_dataset(tmp_path / "out"))[0].mask)) == 400
    assert Corrections(tmp_path / "out").undo() == "two"


def test_unreviewed_masks_are_replaced(bring: Import, tmp_path: Path) -> None:
    masks = masks_of(tmp_path / "masks", one=square(9))
    bring(masks, review="unreviewed")
    assert bring(masks).added == ["one"]
    assert [row["review"] for row in Corrections(tmp_path / "out").rows()] == ["accepted"]


def test_masks_replace_those_of_a_data_set_that_was_not_made_of_corrections(
    bring: Import, tmp_path: Path, images: Path
) -> None:
    out = tmp_path / "out"
    photograph(out / "images/one.png", 0)
    photograph(out / "images/two.png", 9)  # another photograph than images/two.jpg
    masks_of(out / "masks", one=square(3), two=square(4))
    text = "image_id,patient_id,split,fold\none,p,train,2\ntwo,q,val,1\n"
    (out / "dataset.csv").write_text(text)

    report = bring(masks_of(tmp_path / "masks", one=square(9), two=square(8)), review="corrected")
    assert report.added == ["one", "two-2"]
    rows = Corrections(out).rows()
    assert [row["image_id"] for row in rows] == ["one", "two", "two-2"]
    expected = ["p", "train", "2", "", "masks/one@2.png", "corrected"]
    assert [rows[0][name] for name in ("patient_id", "split", "fold", "path", "mask_path", "review")] == expected
    assert [np.count_nonzero(read_mask(sample.mask)) for sample in read_dataset(out)] == [81, 16, 64]

    assert [Corrections(out).undo() for _ in range(2)] == ["two-2", "one"]
    assert [np.count_nonzero(read_mask(sample.mask)) for sample in read_dataset(out)] == [9, 16]
    assert not (out / "masks/one@2.png").exists()
    assert (out / "images/one.png").exists()


def test_objects_of_an_image_are_united_or_chosen_by_class(bring: Import, tmp_path: Path) -> None:
    objects = [
        ("one.png", "nevus", outline(0, 5)),
        ("one.png", "nevus", outline(20, 25)),
        ("one.png", "ruler", outline(40, 60)),
    ]
    masks = coco(tmp_path / "coco.json", *objects, ("two.jpg", "ruler", outline(0, 9)))
    report = bring(masks, classes=["nevus"], class_is_diagnosis=True)
    assert report.added == ["one"]
    assert ("classes", "2 objects of other classes left out") in report.notes
    (sample,) = select_for_split(read_dataset(tmp_path / "out"))
    assert sample.diagnosis == "nevus"
    assert np.count_nonzero(read_mask(sample.mask)) == 100
    with pytest.raises(InputError, match="the classes nevus, ruler: name those of the lesion with --class"):
        bring(masks, replace=True)
    assert bring(masks, replace=True, values="all").added == ["one", "two"]
    assert np.count_nonzero(read_mask(select_for_split(read_dataset(tmp_path / "out"))[0].mask)) == 300
    with pytest.raises(InputError, match=r"'mole' is no class .* one of the classes nevus, ruler"):
        bring(masks, classes=["mole"])


def test_objects_that_disagree(bring: Import, tmp_path: Path) -> None:
    masks = coco(tmp_path / "c.json", ("one.png", "nevus", outline(0, 5)), ("one.png", "melanoma", outline(20, 25)))
    report = bring(masks, class_is_diagnosis=True, values="all")
    assert ("one", "its objects have several diagnoses, none is used: melanoma, nevus") in report.notes


def test_a_table_assigns_photographs_to_patients(bring: Import, tmp_path: Path) -> None:
    table = tmp_path / "known.csv"
    table.write_text("patient_id,age,image_id,diagnosis\np7,60,one,melanoma\np7,60,two,\n", encoding="utf-8")
    masks = coco(tmp_path / "c.json", ("one.png", "nevus", outline(0, 5)), ("two.jpg", "nevus", outline(0, 9)))
    bring(masks, metadata=table, class_is_diagnosis=True)
    first, second = select_for_split(read_dataset(tmp_path / "out"))
    assert first.group == second.group == "out/p7"
    assert [first.diagnosis, second.diagnosis] == ["melanoma", "nevus"]
    table.write_text("name\none\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no column that names images"):
        bring(masks, metadata=table)


def test_splits_of_a_table_are_kept_and_other_patients_assigned(bring: Import, tmp_path: Path) -> None:
    table = tmp_path / "known.csv"
    table.write_text("image_id,patient_id,split\none,p7,test\ntwo,p8,\n", encoding="utf-8")
    masks = masks_of(tmp_path / "masks", one=square(9), two=square(8))
    bring(masks, metadata=table, split=True)
    assert [row["split"] for row in Corrections(tmp_path / "out").rows()] == ["test", "train"]
    table.write_text("image_id,patient_id,split\none,p7,train\ntwo,p8,test\n", encoding="utf-8")
    bring(masks, metadata=table, replace=True)
    assert [row["split"] for row in Corrections(tmp_path / "out").rows()] == ["test", "train"], "no change afterwards"


def test_a_table_with_foreign_column_names_and_values(bring: Import, tmp_path: Path) -> None:
    table = tmp_path / "known.csv"
    table.write_bytes("Patient;Bild;Diagnose\np7;one.png;Nävus\np8;two.jpg;Muttermal\n".encode("cp1252"))
    bring(coco(tmp_path / "c.json", ("one.png", "x", outline(0, 5)), ("two.jpg", "x", outline(0, 9))), metadata=table)
    first, second = select_for_split(read_dataset(tmp_path / "out"))
    assert [first.diagnosis, second.diagnosis] == ["nevus", "Muttermal"]
    assert second.group == "out/p8"


def test_cells_that_cannot_be_taken_are_reported_and_kept(bring: Import, tmp_path: Path) -> None:
    table = tmp_path / "known.csv"
    table.write_text("image_id,patient_id,age,sex,diagnosis\none,p7,430,divers?,Warzenschwein\ntwo,p8,50,f,\n", "utf-8")
    masks = masks_of(tmp_path / "masks", one=square(9), two=square(8))
    notes = bring(masks, metadata=table).notes
    assert ("age", "1 cell is impossible and kept in age_as_given: '430' (1); row one") in notes
    assert ("sex", "1 cell is not understood and kept in sex_as_given: 'divers?' (1); row one") in notes
    assert ("diagnosis", "1 cell is not understood and kept in diagnosis: 'Warzenschwein' (1); row one") in notes
    first, second = Corrections(tmp_path / "out").rows()
    assert (first["age_as_given"], first["sex_as_given"], first["diagnosis"]) == ("430", "divers?", "Warzenschwein")
    assert (second["age"], second["age_as_given"]) == ("50", "")
    table.write_text("image_id,patient_id,age,sex\none,p7,43,f\ntwo,p8,50,f\n", "utf-8")
    bring(masks, metadata=table, replace=True)
    row = Corrections(tmp_path / "out").rows()[0]
    assert (row["age"], row["age_as_given"], row["sex"], row["sex_as_given"]) == ("43", "", "female", "")


def test_a_mask_of_another_size(bring: Import, tmp_path: Path) -> None:
    masks = masks_of(tmp_path / "masks", one=square(40, (80, 120)), two=square(8, (60, 60)), three=square(9, (60, 40)))
    faults = dict(bring(masks).faults)
    assert faults["one.png"] == "has 60 x 40 pixels, its mask 120 x 80: scale it (command line: --resize)"
    assert faults["two.jpg"].endswith("its mask 60 x 60: expected the size of the upright image")
    assert "(turned by its EXIF orientation?)" in faults["sub/three.png"]
    report = bring(masks, resize=True)
    assert (report.added, len(report.faults)) == (["one"], 2)
    assert ("masks", "1 object scaled to the size of the image") in report.notes
    (sample,) = select_for_split(read_dataset(tmp_path / "out"))
    assert np.array_equal(read_mask(sample.mask), square(20))


def test_polygons_are_scaled_before_they_are_drawn(bring: Import, tmp_path: Path) -> None:
    masks = coco(tmp_path / "c.json", ("one.png", "lesion", [0, 0, 41, 0, 41, 21, 0, 21]), height=80, width=120)
    assert ("masks", "1 object scaled to the size of the image") in bring(masks, resize=True).notes
    mask = read_mask(select_for_split(read_dataset(tmp_path / "out"))[0].mask)
    assert mask.sum() == 20 * 10  # edges at 20.5 and 10.5: the next centers lie on them
    assert mask[:10, :20].all()


def test_points_outside_are_counted(bring: Import, tmp_path: Path) -> None:
    masks = coco(tmp_path / "c.json", ("one.png", "lesion", outline(-9, 5)), ("two.jpg", "lesion", outline(70, 80)))
    report = bring(masks)
    assert report.added == ["one"]
    assert ("masks", "2 points outside the image cut off") in report.notes
    assert report.faults == [("two.jpg", "its mask is empty")]


def test_photographs_of_one_name_or_one_content(tmp_path: Path, images: Path, bring: Import) -> None:
    photograph(images / "sub/two.jpg", 7)
    photograph(images / "copy.png", 0)
    masks = masks_of(tmp_path / "masks", one=square(9), two=square(8), copy=square(3))
    report = bring(masks)
    assert report.added == ["copy", "two"]  # of the two photographs the one that is not in a folder, as the mask
    assert sorted(report.without_mask) == ["sub/three.png", "sub/two.jpg"]
    faults = dict(report.faults)
    assert faults["one.png"] == "shows the same pixels as another photograph: only one mask is imported"


def test_masks_next_to_their_photographs(tmp_path: Path, images: Path, bring: Import) -> None:
    masks_of(images, one_mask=square(9), two_segmentation=square(8))
    report = bring(images)
    assert report.added == ["one", "two"]
    assert report.without_mask == ["sub/three.png"]
    assert report.faults == []


def test_a_photograph_that_cannot_be_read(bring: Import, tmp_path: Path, images: Path) -> None:
    (images / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    masks = masks_of(tmp_path / "masks", one=square(9), two=square(8))
    report = bring(masks)
    assert report.added == ["two"]
    assert "cannot be decoded" in dict(report.faults)["one.png"]


def test_the_first_of_contradicting_rows_counts_and_both_are_reported(tmp_path: Path, bring: Import) -> None:
    table = tmp_path / "table.csv"
    table.write_text("image_id,patient_id,age\none,A,40\none,B,\ntwo,,50\ntwo,C,50\nnot_there,D,30\n")
    notes = bring(masks_of(tmp_path / "masks", one=square(5), two=square(9)), metadata=table).notes
    assert [(row["patient_id"], row["age"]) for row in Corrections(tmp_path / "out").rows()] == [
        ("A", "40"),
        ("C", "50"),
    ]
    contradiction = "1 row contradicts another of the same image: the first counts, the other is in other_patient_id"
    assert ("patient_id", contradiction) in notes
    assert ("table.csv", "joined to 2 of 2 images; 1 row without an image left out (not_there)") in notes


def test_photographs_are_compared_upright_and_metadata_removed(tmp_path: Path, bring: Import) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    exif[0x010F] = "Secret Camera"
    photograph(tmp_path / "images/turned.jpg", 9, exif=exif)
    masks = masks_of(tmp_path / "masks", turned=square(9, (60, 40)))
    report = bring(masks)
    assert report.added == ["turned"]
    assert [message for _, message in report.notes if message.startswith("1 image with an EXIF orientation")]
    stored = (tmp_path / "out/images/turned.png").read_bytes()
    assert b"Secret" not in stored
    with Image.open(tmp_path / "out/images/turned.png") as image:
        assert image.size == (40, 60)


def test_no_photographs(tmp_path: Path, bring: Import, images: Path) -> None:
    for path in list(images.rglob("*.*")):
        path.unlink()
    masks = masks_of(tmp_path / "masks", one=square(9))
    with pytest.raises(InputError, match=r"has no mask in the format folder of a photograph in .*images"):
        bring(masks)


def test_a_stop_keeps_what_was_stored(tmp_path: Path, images: Path) -> None:
    masks = masks_of(tmp_path / "masks", one=square(9), two=square(8), three=square(7))

    def stop(progress: Progress) -> None:
        if progress.message == "Importing masks" and progress.done == 2:
            run.cancel()

    run = RunContext(stop)
    with pytest.raises(Cancelled):
        import_masks(masks, images, tmp_path / "out", MaskImportOptions(no_patients=True), run=run)
    assert len(Corrections(tmp_path / "out").rows()) == 2
