"""Export of slides: each format is read back, and errors are reported."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fake_slides import LESION, MPP, TILE, FakeAnalysis, draw_slide, truth

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.figures.page import Section, Table
from napari_melanoma.io.geojson import Annotation, read_geojson
from napari_melanoma.io.results import read_slide_result, read_table
from napari_melanoma.reports.case_report import collect_report
from napari_melanoma.reports.export_formats import EXPORTS, FORMATS, ORDER, find_export
from napari_melanoma.reports.ome_zarr import decode_probability
from napari_melanoma.reports.slide_export import (
    WRITERS,
    export_results,
    find_result_folders,
    read_exported_slide,
    write_export,
)
from napari_melanoma.slides.counts import CountedPoint, save_counts
from napari_melanoma.slides.lesion_edits import set_lesion_class
from napari_melanoma.slides.lesion_files import read_lesions, save_lesions
from napari_melanoma.slides.lesions import LesionConfig
from napari_melanoma.slides.notes import SlideMeasurement, SlideNotes, write_notes
from napari_melanoma.slides.regions import save_regions
from napari_melanoma.slides.result_folder import record_slide


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two analyzed slides, one of them incomplete."""
    slide = draw_slide(tmp_path / "section.tif")
    FakeAnalysis(tmp_path / "results" / "section", slide, "a").begins().finishes()
    FakeAnalysis(tmp_path / "results" / "stopped", slide, "a").begins().works(40)
    return tmp_path / "results"


def out_of(results: Path, name: str, tmp_path: Path) -> Path:
    path = tmp_path / "out" / find_export(name)[1]
    write_export(name, path, read_exported_slide(results / "section"))
    return path


@pytest.mark.parametrize("name", ["section", "Section"])
def test_results_of_one_name_do_not_replace_each_other(name: str, tmp_path: Path) -> None:
    folders = [tmp_path / "first" / "section", tmp_path / "second" / name]
    for number, folder in enumerate(folders):
        write_notes(folder, SlideNotes(measures=(SlideMeasurement("angle", ((0, 1), (0, 0), (1, number))),)))
    with pytest.raises(InputError, match="have the same name"):
        export_results(folders, tmp_path / "out", ["counts"], run=RunContext())
    assert not (tmp_path / "out").exists()


def test_each_format_is_written_and_documented(repository: Path) -> None:
    assert list(WRITERS) == list(FORMATS)
    page = (repository / "docs" / "how-to" / "exchange.md").read_text(encoding="utf-8")
    documented = re.findall(r"`([\w-]+)`", " ".join(re.findall(r"^\| (`[a-z].*?) \|", page, re.MULTILINE)))
    assert set(documented) == {name for name in EXPORTS.members if EXPORTS.find_plugin(name) is None} == set(ORDER)


def test_outlines_and_table_are_those_of_the_results(results: Path, tmp_path: Path) -> None:
    outlines = read_geojson(out_of(results, "geojson", tmp_path))
    assert outlines.annotations == read_geojson(results / "section" / "lesions.geojson").annotations
    assert len(outlines.annotations) == 2
    table = read_table(out_of(results, "csv", tmp_path))
    kept = read_table(results / "section" / "lesions.csv")
    assert [{name: row[name] for name in kept[0]} for row in table] == kept
    assert set(table[0]) - set(kept[0]) == {"valid", "validity"}


def test_counts_are_those_of_the_slide_and_of_the_regions_of_each_class(results: Path, tmp_path: Path) -> None:
    folder, slide = results / "section", results.parent / "section.tif"
    with pytest.raises(InputError, match="nothing was measured or counted yet"):
        out_of(results, "counts", tmp_path)
    points = tuple(CountedPoint(*one) for one in (("TIL", (8.0, 8.0)), ("TIL", (90.0, 8.0)), ("Mitosis", (90.0, 9.0))))
    save_counts(folder, slide, points, None)
    square = Polygon(((0.0, 0.0), (0.0, 50.0), (50.0, 50.0), (50.0, 0.0)))
    save_regions(folder, slide, (Annotation((square,), "tumor"), Annotation((square,), "tumor")), None)
    write_notes(folder, SlideNotes(measures=(SlideMeasurement("line", ((0.0, 0.0), (0.0, 100.0))),)))
    rows = json.loads(out_of(results, "counts.json", tmp_path).read_text(encoding="utf-8"))["measurements"]
    assert [(row["kind"], row["name"]) for row in rows[:1]] == [("length", "length 1")]
    assert [(row["within"], row["name"], row["count"]) for row in rows[1:]] == [
        ("the whole slide", "TIL", 2),
        ("the whole slide", "Mitosis", 1),
        ("all regions of class tumor", "TIL", 1),
        ("all regions of class tumor", "Mitosis", 0),
    ]
    assert rows[3]["area_mm2"] == pytest.approx((50 * MPP / 1000) ** 2)
    table = read_table(out_of(results, "counts", tmp_path))
    assert [row["count"] for row in table] == ["", "2", "1", "1", "0"]


def test_counts_need_no_analysis(tmp_path: Path) -> None:
    slide = draw_slide(tmp_path / "section.tif")
    save_counts(tmp_path / "results" / "section", slide, (CountedPoint("TIL", (8.0, 8.0)),), None)
    (found,) = export_results([tmp_path / "results" / "section"], tmp_path / "out", ["counts"], run=RunContext())
    assert found.error == ""
    assert [row["count"] for row in read_table(found.path)] == ["1"]


def test_reports_list_what_was_measured_and_counted(tmp_path: Path) -> None:
    folder, slide = tmp_path / "results" / "section", draw_slide(tmp_path / "section.tif")
    record_slide(folder, slide, record_name=True)
    save_counts(folder, slide, (CountedPoint("TIL", (8.0, 8.0)),), None)
    write_notes(folder, SlideNotes(measures=(SlideMeasurement("line", ((0.0, 0.0), (0.0, 100.0))),)))
    lengths, counts = tables_of_report(folder)
    assert lengths.rows == (("length 1", f"{0.1 * MPP:.4g} mm"),)
    assert counts.rows[0][:3] == ("TIL", "the whole slide", "1")
    slide.unlink()
    assert tables_of_report(folder) == []


def tables_of_report(folder: Path, title: str = "Measured on the slide") -> list[Table]:
    """Collect the report of a slide, and return the tables of its section on measurements."""
    (part, *_) = collect_report([folder], run=RunContext()).report.blocks
    sections = [block for block in part.blocks if isinstance(block, Section) and block.title == title]
    return [table for section in sections for table in section.blocks if isinstance(table, Table)]


def test_measurements_need_neither_points_nor_an_analysis_nor_with_a_scale_the_slide(tmp_path: Path) -> None:
    folder, slide = tmp_path / "results" / "section", draw_slide(tmp_path / "section.tif")
    record_slide(folder, slide, record_name=True)
    notes = SlideNotes(measures=(SlideMeasurement("line", ((0.0, 0.0), (0.0, 100.0))),))
    write_notes(folder, notes)
    assert find_result_folders([tmp_path / "results"]) == [folder]
    assert export_value(folder, tmp_path) == pytest.approx(0.1 * MPP)
    write_notes(folder, replace(notes, pixel_size=PixelSize(2.0, 2.0, "given")))
    slide.unlink()
    assert export_value(folder, tmp_path) == pytest.approx(0.2)


def export_value(folder: Path, tmp_path: Path) -> float:
    """Export the only measurement of a slide, and read its value in mm."""
    (found,) = export_results([folder], tmp_path / "out", ["counts"], run=RunContext())
    assert found.error == ""
    (row,) = read_table(found.path)
    assert row["unit"] == "mm"
    return float(row["value"])


def test_outlines_and_labels_contain_the_reasons_against_validity(results: Path, tmp_path: Path) -> None:
    import zarr

    folder = results / "section"
    content = read_slide_result(folder)
    validity = ValidityInputs("a", demonstration=True).check()
    write_json(folder / "result.json", {**content, "validity": validity.to_json()})
    save_lesions(folder, read_lesions(folder), LesionConfig())
    outlines = read_geojson(out_of(results, "geojson", tmp_path)).annotations
    labels = zarr.open_group(out_of(results, "zarr", tmp_path), mode="r")["labels/lesions"]
    properties = labels.attrs["ome"]["image-label"]["properties"]
    texts = [*(one.properties["metadata"]["validity"] for one in outlines), *(one["validity"] for one in properties)]
    assert texts == [validity.headline("")] * 4
    assert texts[0].startswith("Not valid: ")


def test_a_report_has_the_lesions_that_a_reader_has_changed_without_numbers_that_are_not_valid(results: Path) -> None:
    folder = results / "section"
    first, second = read_lesions(folder) or ()
    changed = (*set_lesion_class([first], 1, "malignant"), replace(second, origin="merged"))
    save_lesions(folder, changed, LesionConfig())
    (table,) = tables_of_report(folder, "Lesions")
    probability = table.columns.index("Probability")
    assert "–" not in {row[probability] for row in table.rows}
    validity = ValidityInputs("a", demonstration=True).check()
    write_json(folder / "result.json", {**read_slide_result(folder), "validity": validity.to_json()})
    (invalid,) = tables_of_report(folder, "Lesions")
    assert [row[1] for row in invalid.rows] == [row[1] for row in table.rows]
    assert [row[probability] for row in invalid.rows] == ["–", "–"]


def test_a_reason_with_a_backslash_is_in_the_description_of_the_heatmap(results: Path, tmp_path: Path) -> None:
    folder, reason = results / "section", r"the model D:\models\1 & 2 is not known"
    validity = ValidityInputs("a", demonstration=True).check()
    validity = validity.model_copy(update={"reasons": (validity.reasons[0].model_copy(update={"text": reason}),)})
    write_json(folder / "result.json", {**read_slide_result(folder), "validity": validity.to_json()})
    with tifffile.TiffFile(out_of(results, "tif", tmp_path)) as tiff:
        metadata = tifffile.xml2dict(tiff.ome_metadata)
    assert reason in metadata["OME"]["Image"]["Description"]


def test_the_mask_covers_the_lesions_pixel_by_pixel(results: Path, tmp_path: Path) -> None:
    with tifffile.TiffFile(out_of(results, "mask", tmp_path)) as tiff:
        mask, texts = tiff.asarray(), tiff.ome_metadata or ""
    expected = np.zeros((512, 512), np.uint16)
    expected[tuple(slice(part.start * TILE, part.stop * TILE) for part in LESION)] = 1
    expected[12 * TILE : 13 * TILE, 2 * TILE : 3 * TILE] = 2
    np.testing.assert_array_equal(mask, expected)
    assert 'PhysicalSizeX="0.5"' in texts


def test_the_heatmap_carries_the_lesions_as_labels(results: Path, tmp_path: Path) -> None:
    import zarr

    group = zarr.open_group(out_of(results, "zarr", tmp_path), mode="r")
    known = slice(None, 14)  # the rest is glass
    heat = decode_probability(np.asarray(group["0"]))
    np.testing.assert_allclose(heat[:, :, known], np.moveaxis(truth(), 2, 0)[:, :, known], atol=2e-5)
    assert np.isnan(heat[:, :, 14:]).all()
    labels = np.asarray(group["labels/lesions/0"])[0]
    assert (labels[LESION] == 1).all()
    assert np.count_nonzero(labels) == 17
    properties = group["labels/lesions"].attrs["ome"]["image-label"]["properties"]
    assert [one["label-value"] for one in properties] == [1, 2]
    assert properties[0]["area_mm2"] == pytest.approx((4 * TILE * 0.5e-3) ** 2)


def test_tables_as_parquet(results: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    lesions = parquet.read_table(out_of(results, "csv.parquet", tmp_path)).to_pydict()
    table = read_table(results / "section" / "lesions.csv")
    assert list(lesions) == [*table[0], "valid", "validity"]
    assert lesions["area_mm2"] == pytest.approx([float(row["area_mm2"]) for row in table])
    tiles = parquet.read_table(out_of(results, "tiles", tmp_path)).to_pydict()
    assert len(tiles["row"]) == 16 * 14
    assert set(tiles["state"]) == {"done"}
    rows, columns = np.array(tiles["row"]), np.array(tiles["column"])
    np.testing.assert_allclose(tiles["probability_melanoma"], truth()[rows, columns, 1])
    assert tiles["x_px"] == (columns * TILE).tolist()


@pytest.mark.parametrize(("name", "module"), [("csv.parquet", "pyarrow"), ("tiles", "pyarrow")])
def test_a_missing_library_is_named(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"pip install 'napari-melanoma\[parquet\]'"):
        out_of(results, name, tmp_path)
    assert not list((tmp_path / "out").glob("*"))


def test_other_slides_get_no_dicom_segmentation(results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"section.tif is not a DICOM slide: .* Export a mask or outlines"):
        out_of(results, "dicom", tmp_path)


def test_errors_are_reported_and_the_rest_continues(results: Path, tmp_path: Path) -> None:
    folders = find_result_folders([results, results / "section"])
    assert [folder.name for folder in folders] == ["section", "stopped"]
    exported = export_results(folders, tmp_path / "out", ["geojson", "tif", "zarr"], run=RunContext())
    failed = {(one.folder.name, one.format): one.error for one in exported if one.error}
    assert set(failed) == {("stopped", "geojson"), ("stopped", "tif")}
    assert "no lesions yet" in failed["stopped", "geojson"]
    assert all(one.path.exists() != bool(one.error) for one in exported)


def test_a_slide_that_was_moved_can_be_named(results: Path, tmp_path: Path) -> None:
    (tmp_path / "section.tif").rename(tmp_path / "elsewhere.tif")
    with pytest.raises(InputError, match="its path is not in the results: name its file with --slide"):
        out_of(results, "mask", tmp_path)
    moved = read_exported_slide(results / "section", tmp_path / "elsewhere.tif")
    WRITERS["mask"](tmp_path / "m.tif", moved)
    assert (tmp_path / "m.tif").is_file()


def test_invalid_arguments_are_rejected(results: Path, tmp_path: Path) -> None:
    folders = find_result_folders([results])
    with pytest.raises(ConfigError, match=r"unknown format 'xml'\. Expected one of: geojson"):
        export_results(folders, tmp_path, ["geojson", "xml"], run=RunContext())
    with pytest.raises(ConfigError, match="--slide names one slide, but there are 2 results"):
        export_results(folders, tmp_path, ["mask"], slide=tmp_path / "section.tif", run=RunContext())
    with pytest.raises(InputError, match="contains no results of slides"):
        find_result_folders([tmp_path / "results" / "section" / "result.zarr"])
