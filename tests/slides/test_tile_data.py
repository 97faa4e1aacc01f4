"""Tiles of annotated slides as a data set: which, of what class and place, split by patient; bad input in words."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError, SaveError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.tabular_encoding import list_eligible_columns
from napari_melanoma.io.geojson import write_geojson
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, read_table
from napari_melanoma.metrics.overlap import UNLABELED_PIXEL
from napari_melanoma.runs.shipped_recipes import find_shipped_recipe
from napari_melanoma.slides import tile_sets
from napari_melanoma.slides.notes import SlideNotes, write_notes
from napari_melanoma.slides.regions import REGIONS, RegionClass, region_from_vertices
from napari_melanoma.slides.tile_sets import (
    TileDataOptions,
    TileReport,
    TileSet,
    make_tile_data,
    read_annotated_slide,
    read_joint_tile_set,
    read_tile_set,
    split_tiles,
    write_tile_set,
)
from napari_melanoma.training.data_selection import check_run_classes, select_labeled, select_samples

DARK = (128, 192, 256, 320)  # the lesion of the drawn slide: top, left, bottom, right
OPTIONS = TileDataOptions(mpp=0.5, tile_px=32, share=0.75)


def box(top, left, bottom, right, name="Skin", reader=""):
    corners = np.array([(top, left), (top, right), (bottom, right), (bottom, left)], float)
    return region_from_vertices(corners, RegionClass(name, (1, 2, 3)), reader)


def usual():
    return [box(0, 0, 448, 448), box(*DARK, "Tumour")]


def annotated(path: Path, regions) -> Path:
    write_geojson(path.with_suffix(".geojson"), regions)
    return path


def made(slides, out, options=OPTIONS, places=(), **how):
    return make_tile_data(slides, list(places), out, options, run=RunContext(), **how)


def test_tiles_carry_class_place_and_labels(slide_path, tmp_path):
    report = made([annotated(slide_path, usual())], tmp_path / "tiles")
    assert report.tiles == 14 * 14
    assert report.classes == {"Skin": 180, "Tumour": 16}
    rows = read_table(tmp_path / "tiles" / "dataset.csv")
    samples = read_dataset(tmp_path / "tiles")
    for row, sample in zip(rows, samples, strict=True):
        inside = DARK[0] <= float(row["y_px"]) < DARK[2] and DARK[1] <= float(row["x_px"]) < DARK[3]
        assert row["tissue"] == ("Tumour" if inside else "Skin")
        assert (row["slide"], row["level"], row["modality"], row["mpp_x"]) == ("section", "0", "wsi", "0.5")
        labels = read_labels(sample.mask)
        assert set(np.unique(labels)) == {2 if inside else 1}
        assert (read_photograph(sample.image).rgb.mean() < 150) == inside
    assert read_tile_set(tmp_path / "tiles").labels == ("Background", "Skin", "Tumour")
    assert json.loads((tmp_path / "tiles" / "source.json").read_text())["images"] == 196


def test_the_scale_decides_the_level_and_the_share_which_tiles(slide_path, tmp_path):
    annotated(slide_path, [box(0, 0, 448, 448), box(128, 192, 256, 232, "Tumour")])
    made([slide_path], tmp_path / "coarse", OPTIONS.model_copy(update={"mpp": 1.0, "share": 0.5}))
    rows = read_table(tmp_path / "coarse" / "dataset.csv")
    assert {row["level"] for row in rows} == {"0"}, "stored levels may have been compressed once more"
    assert {row["width_px"] for row in rows} == {"64"}
    assert sum(row["tissue"] == "Tumour" for row in rows) == 2
    made([slide_path], tmp_path / "strict", OPTIONS.model_copy(update={"mpp": 1.0, "share": 0.9}))
    strict = read_table(tmp_path / "strict" / "dataset.csv")
    assert sum(not row["tissue"] for row in strict) == 2, "half of each: usable for segmentation only"


def test_each_patient_is_in_one_split_that_never_changes(tmp_path, drawn_slide):
    slides = [annotated(drawn_slide(tmp_path / f"s{n}.tif", seed=n), usual()) for n in range(6)]
    patients = {f"s{n}": {"patient_id": f"p{n // 2}", "sex": "female"} for n in range(6)}
    patients |= {"s4": {"patient_id": "p2"}, "s5": {"patient_id": "p3"}}
    report = made(
        slides, tmp_path / "a", OPTIONS.model_copy(update={"test_fraction": 0.4, "most": 8}), patients=patients
    )
    rows = read_table(tmp_path / "a" / "dataset.csv")
    splits = {row["patient_id"]: row["split"] for row in rows}
    assert {(row["patient_id"], row["split"]) for row in rows} == set(splits.items())
    assert sorted(splits) == ["p0", "p1", "p2", "p3"]
    assert set(splits.values()) == {"train", "test"}
    assert report.tiles == 6 * 16
    assert {row["sex"] for row in rows if row["slide"] == "s0"} == {"female"}
    more = [{"image_id": str(n), "patient_id": f"p{n}", "slide": f"s{n}"} for n in range(9)]
    split_tiles(more, 0.4)
    assert {row["patient_id"]: row["split"] for row in more if row["patient_id"] in splits} == splits


@pytest.mark.parametrize("spellings", [("1", "001"), ("2", "2.0"), ("P7", "p 7")])
def test_tiles_of_a_patient_with_two_spellings_are_in_one_split(spellings):
    for others in range(4, 30):
        names = [*spellings, *(f"x{number}" for number in range(others))]
        rows = [{"image_id": f"t{n}", "patient_id": name, "slide": f"s{n}"} for n, name in enumerate(names * 2)]
        assert " and ".join(sorted(spellings)) in split_tiles(rows, 0.4)
        assert len({row["split"] for row in rows if row["patient_id"] in spellings}) == 1


def test_areas_of_few_patients_stay_together_with_a_note(slide_path, tmp_path):
    report = made([annotated(slide_path, usual())], tmp_path / "tiles")
    rows = read_table(tmp_path / "tiles" / "dataset.csv")
    assert {row["patient_id"] for row in rows} == {""}
    assert {(row["lesion_id"], row["split"]) for row in rows} == set({r["lesion_id"]: r["split"] for r in rows}.items())
    assert any("too few for a split by patient" in message for _, message in report.notes)


def test_each_class_is_in_the_training_and_the_validation_set(tmp_path, drawn_slide):
    path = drawn_slide(tmp_path / "one.tif")
    naevi = [box(0, 0, 96, 128, "Nevus"), box(0, 256, 96, 448, "Nevus"), box(352, 0, 448, 256, "Nevus")]
    report = made([annotated(path, [*naevi, box(192, 192, 256, 288, "Melanoma")])], tmp_path / "tiles")
    message = " ".join(message for _, message in report.notes)
    assert "1 patient:" in message
    assert "Draw another region of Melanoma at a different position" in message
    recipe = find_shipped_recipe("classify-tiles").complete([tmp_path / "tiles"], "none")
    chosen, table, _ = select_labeled(select_samples(recipe), recipe)
    parts = chosen.parts
    assert [{table.labels[one.key] for one in part} for part in (parts.training, parts.validation)] == [
        {"Melanoma", "Nevus"},
        {"Melanoma", "Nevus"},
    ]
    assert parts.test
    assert not {one.group for one in parts.training} & {one.group for one in (*parts.validation, *parts.test)}


def test_missing_validation_class_suggests_where_to_annotate(tmp_path, drawn_slide):
    path = drawn_slide(tmp_path / "one.tif")
    made([annotated(path, [box(0, 0, 448, 160, "Nevus"), box(192, 192, 224, 224, "Melanoma")])], tmp_path / "tiles")
    recipe = find_shipped_recipe("classify-tiles").complete([tmp_path / "tiles"], "none")
    chosen, table, _ = select_labeled(select_samples(recipe), recipe)
    missing = r"no validation data of the class Melanoma among the .* tiles\. Draw another region of Melanoma"
    with pytest.raises(DataSetError, match=missing):
        check_run_classes(chosen, recipe, table)


def test_tile_positions_are_not_training_columns(slide_path, tmp_path):
    made([annotated(slide_path, [*usual(), box(0, 0, 100, 100, "Fold")])], tmp_path / "tiles")
    assert not list_eligible_columns(read_table(tmp_path / "tiles" / "dataset.csv"), "tissue")


def test_classes_are_renamed_selected_or_not_found(slide_path, tmp_path):
    annotated(slide_path, [*usual(), box(0, 0, 32, 32, "Ignore*")])
    options = OPTIONS.model_copy(update={"classes": ("Tumour=melanoma", "Skin=Background")})
    report = made([slide_path], tmp_path / "tiles", options)
    assert report.classes == {"Background": 179, "melanoma": 16}
    assert read_tile_set(tmp_path / "tiles").labels == ("Background", "melanoma")
    with pytest.raises(DataSetError, match=r"no region has the class Nevus \(classes: .*Skin \(1\)"):
        made([slide_path], tmp_path / "none", OPTIONS.model_copy(update={"classes": ("Nevus",)}))
    assert not (tmp_path / "none").exists()


def test_disagreeing_readers_are_rejected_merged_or_selected(slide_path, tmp_path):
    annotated(slide_path, [box(0, 0, 256, 448, reader="A"), box(128, 0, 448, 448, "Tumour", "B")])
    with pytest.raises(DataSetError, match=r"A and B differ on 0\.0143 mm²"):
        made([slide_path], tmp_path / "refused")
    agreed = made([slide_path], tmp_path / "agreed", OPTIONS.model_copy(update={"readers": "agree"}))
    assert agreed.classes == {"Tumour": 84, "Skin": 56}
    assert any("differ" in message for _, message in agreed.notes)
    one = made([slide_path], tmp_path / "one", OPTIONS.model_copy(update={"readers": "B"}))
    assert one.classes == {"Tumour": 140}
    assert any("a classifier cannot be trained" in message for _, message in one.notes)
    with pytest.raises(DataSetError, match="reader 'C' has no regions"):
        made([slide_path], tmp_path / "c", OPTIONS.model_copy(update={"readers": "C"}))


def test_readers_who_have_set_different_scales_are_refused(slide_path, tmp_path):
    sizes = {"A": PixelSize(0.5, 0.5, "given"), "B": PixelSize(0.25, 0.25, "ruler"), "C": None}
    for reader, size in sizes.items():
        folder = tmp_path / reader / slide_path.stem
        folder.mkdir(parents=True)
        write_geojson(folder / REGIONS, usual())
        write_notes(folder, SlideNotes(pixel_size=size))
    assert read_annotated_slide(slide_path, [tmp_path / "C", tmp_path / "A"], "agree").pixel_size == sizes["A"]
    with pytest.raises(InputError, match=r"readers have set different scales for section\.tif: 0\.5 and 0\.25 µm"):
        read_annotated_slide(slide_path, [tmp_path / "A", tmp_path / "B"], "agree")


def test_tiles_of_a_damaged_slide_that_cannot_be_removed_are_reported(tmp_path, monkeypatch):
    def damaged(*_):
        yield {"image_id": "a_1"}
        raise KeyError("ImageType")

    monkeypatch.setattr(tile_sets, "_write_tiles", damaged)
    (tmp_path / "images" / "a_1.png").mkdir(parents=True)
    slide = SimpleNamespace(path=tmp_path / "a.svs")
    with pytest.raises(SaveError, match=r"cannot write .*a_1\.png"):
        tile_sets._cut_slide(slide, None, tmp_path, OPTIONS, TileReport(), RunContext())


def test_a_slide_without_regions_is_listed_and_others_are_processed(slide_path, tmp_path, drawn_slide):
    annotated(slide_path, usual())
    bare, odd = drawn_slide(tmp_path / "bare.tif"), drawn_slide(tmp_path / "odd.tif", mpp=None)
    annotated(odd, usual())
    report = made([slide_path, bare, odd], tmp_path / "tiles")
    assert [name for name, _ in report.faults] == ["bare.tif", "odd.tif"]
    assert "no regions" in report.faults[0][1]
    assert "no pixel size" in report.faults[1][1]
    with pytest.raises(DataSetError, match="none of 1 slides"):
        made([bare], tmp_path / "none")


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([box(0, 0, 20, 20)], "no tile of 32 px at 0.5 µm"),
        ([box(900, 900, 950, 950)], "none of its 1 regions lies on the slide"),
        ([box(0, 0, 99, 99, "")], "no region of .* has a class"),
        ([box(0, 0, 99, 99, "Ignore*")], "no region of .* has a class"),
    ],
    ids=["too small", "outside", "no class", "ignored"],
)
def test_regions_without_tiles_give_the_reason(slide_path, tmp_path, regions, message):
    with pytest.raises((DataSetError, InputError), match=message):
        made([annotated(slide_path, regions)], tmp_path / "tiles", places=[slide_path.with_suffix(".geojson")])
    assert not (tmp_path / "tiles").exists()


def test_recipes_take_scale_and_classes_from_tiles_and_refuse_a_mixture(slide_path, tmp_path):
    annotated(slide_path, usual())
    made([slide_path], tmp_path / "fine")
    made([slide_path], tmp_path / "coarse", OPTIONS.model_copy(update={"mpp": 1.0}))
    reported = find_shipped_recipe("classify-tiles").complete([tmp_path / "fine"], "none")
    assert (reported.tile.mpp, reported.model.input_size, reported.classification.positive) == (0.5, 32, "Tumour")
    drawn = find_shipped_recipe("segment-tiles").complete([tmp_path / "fine"], "none")
    assert drawn.classes == ("Background", "Skin", "Tumour")
    with pytest.raises(DataSetError, match="the tiles of fine and coarse differ"):
        find_shipped_recipe("classify-tiles").complete([tmp_path / "fine", tmp_path / "coarse"], "none")


def test_tile_sets_that_cannot_be_understood_are_refused(tmp_path):
    tiles = TileSet(tile={"mpp": 1, "side_px": 64}, labels=("a", "b"), classes=("b",))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_tile_set(tmp_path / name, tiles)
    assert read_joint_tile_set([tmp_path / "one", tmp_path / "two"]) == tiles
    assert read_joint_tile_set([tmp_path / "one", tmp_path]) is None
    for text in ("{", '{"format_version": 9}', "[]"):
        (tmp_path / "one" / "tiles.json").write_text(text)
        with pytest.raises(DataSetError, match="create the data set of tiles again"):
            read_tile_set(tmp_path / "one")


def placed(step, offset, size=640, side=32):
    """Rows of tiles of one patient, ``step`` pixels apart."""
    positions = [(y, x) for y in range(offset, size, step) for x in range(offset + 3, size // 2, step)]
    sides = {"height_px": str(side), "width_px": str(side)}
    names = {"patient_id": "p", "slide": "s", "tissue": "Skin"}
    return [{"image_id": f"{y}-{x}", "y_px": str(y), "x_px": str(x), **sides, **names} for y, x in positions]


@pytest.mark.parametrize("step", [8, 16, 24, 32])
@pytest.mark.parametrize("offset", [0, 5, 31])
def test_tiles_of_two_areas_share_no_pixels(step, offset):
    rows = placed(step, offset)
    split_tiles(rows, 0.3)
    kept = [row for row in rows if row["split"] != tile_sets.LEFT_OUT]
    assert {row["split"] for row in kept} == {"train", "test"}
    covered = {row["lesion_id"]: np.zeros((700, 400), bool) for row in kept}
    for row in kept:
        top, left = int(row["y_px"]), int(row["x_px"])
        covered[row["lesion_id"]][top : top + 32, left : left + 32] = True
    assert sum(area.astype(int) for area in covered.values()).max() == 1
    assert len(kept) == len(rows) if step == 32 else len(kept) > 0.5 * len(rows)


def test_the_order_of_tiles_does_not_change_what_is_left_out():
    rows, found = placed(16, 5), []
    for ordered in (rows, rows[::-1], rows[1::2] + rows[::2]):
        copies = [dict(row) for row in ordered]
        split_tiles(copies, 0.3)
        found.append({row["image_id"]: (row["split"], row["lesion_id"]) for row in copies})
    assert found[0] == found[1] == found[2]


def test_tiles_that_are_left_out_have_no_files(slide_path, tmp_path):
    options = OPTIONS.model_copy(update={"overlap": 0.5, "test_fraction": 0.3})
    report = made([annotated(slide_path, [box(0, 0, 256, 256)])], tmp_path / "tiles", options)
    rows = read_table(tmp_path / "tiles" / "dataset.csv")
    assert report.tiles == len(rows) == sum(report.splits.values()) < 15 * 15
    assert {row["split"] for row in rows} == {"train", "test"}
    names = {f"{row['image_id']}.png" for row in rows}
    for part in ("images", "masks"):
        assert {path.name for path in (tmp_path / "tiles" / part).iterdir()} == names
    assert any("left out, since they share pixels with tiles of other areas" in note for _, note in report.notes)


def test_tiles_that_only_touch_stay(slide_path, tmp_path):
    report = made([annotated(slide_path, usual())], tmp_path / "tiles")
    assert report.tiles == 14 * 14
    assert not any("left out" in note for _, note in report.notes)


def test_slides_of_one_name_are_told_apart(tmp_path, drawn_slide):
    slides = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        slides.append(annotated(drawn_slide(tmp_path / str(number) / "HE.tif", seed=number), [box(0, 0, 192, 192)]))
    other = annotated(drawn_slide(tmp_path / "other.tif", seed=5), [box(0, 0, 192, 192)])
    report = made([*slides, other], tmp_path / "tiles")
    rows = read_table(tmp_path / "tiles" / "dataset.csv")
    assert report.slides == len({row["slide"] for row in rows}) == 3
    assert {row["slide"] for row in rows} >= {"other"}
    assert len({row["lesion_id"] for row in rows if row["slide"] != "other"}) == 2 * len(
        {row["lesion_id"] for row in rows if row["slide"] == "other"}
    )
    with pytest.raises(DataSetError, match="2 slides are named HE, so that the patient data of that name cannot be"):
        made([*slides, other], tmp_path / "more", patients={"HE": {"patient_id": "p1"}, "other": {"patient_id": "p2"}})


def test_patients_are_found_by_the_names_of_slides(tmp_path, drawn_slide):
    decomposed = unicodedata.normalize("NFD", "Läsion")
    slides = [annotated(drawn_slide(tmp_path / f"{decomposed}.tif"), [box(0, 0, 192, 192)])]
    made(slides, tmp_path / "tiles", patients={"Läsion": {"patient_id": "p1", "sex": "female"}})
    assert {row["sex"] for row in read_table(tmp_path / "tiles" / "dataset.csv")} == {"female"}
    for number, name in enumerate(("HE", "he")):
        (tmp_path / str(number)).mkdir()
        slides.append(annotated(drawn_slide(tmp_path / str(number) / f"{name}.tif"), [box(0, 0, 192, 192)]))
    with pytest.raises(DataSetError, match="2 slides are named HE and he, so that the patient data of that name"):
        made(slides, tmp_path / "more", patients={"HE": {"patient_id": "p1"}, "he": {"patient_id": "p2"}})


def test_regions_of_one_file_are_those_of_one_slide(tmp_path, drawn_slide):
    slides = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        slides.append(drawn_slide(tmp_path / str(number) / "HE.tif", seed=number))
    (tmp_path / "regions").mkdir()
    write_geojson(tmp_path / "regions" / "HE.geojson", usual())
    report = made(slides, tmp_path / "tiles", places=[tmp_path / "regions"])
    assert report.slides == 1
    ((_, fault),) = report.faults
    assert "has the regions of" in fault


def test_each_of_several_files_of_regions_is_that_of_its_slide(tmp_path, drawn_slide):
    slides = [drawn_slide(tmp_path / f"{name}.tif", seed=number) for number, name in enumerate("ab")]
    (tmp_path / "regions").mkdir()
    files = [tmp_path / "regions" / f"{name}.geojson" for name in "ab"]
    write_geojson(files[0], [box(0, 0, 192, 192)])
    write_geojson(files[1], [box(192, 192, 384, 384, "Fat")])
    made(slides, tmp_path / "tiles", places=files)
    rows = read_table(tmp_path / "tiles" / "dataset.csv")
    assert {(row["slide"], row["tissue"]) for row in rows} == {("a", "Skin"), ("b", "Fat")}


def test_patient_data_are_found_in_another_case(tmp_path, drawn_slide):
    slides = [annotated(drawn_slide(tmp_path / "Section.tif"), [box(0, 0, 192, 192)])]
    made(slides, tmp_path / "tiles", patients={"SECTION": {"sex": "female"}, "other": {"sex": "male"}})
    assert {row["sex"] for row in read_table(tmp_path / "tiles" / "dataset.csv")} == {"female"}


def test_pixels_of_ignored_regions_have_no_label(slide_path, tmp_path):
    """A tile that an ignored region hardly touches is used."""
    annotated(slide_path, [box(0, 0, 448, 448), box(30, 30, 34, 34, "Ignore*")])
    made([slide_path], tmp_path / "tiles", OPTIONS.model_copy(update={"tile_px": 64}))
    masks = [read_labels(sample.mask) for sample in read_dataset(tmp_path / "tiles")]
    assert {int(value) for mask in masks for value in np.unique(mask)} == {1, UNLABELED_PIXEL}
    assert sum(np.count_nonzero(mask == UNLABELED_PIXEL) for mask in masks) == 16
