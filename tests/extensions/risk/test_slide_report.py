"""The page of a slide names the risk with all that it rests on, and goes out with the results."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from finding_files import write_depth

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.depth.readings import DepthReading, ExcisionMargins, MitosisCount, SlideDepthReadings
from napari_melanoma.extensions.risk.report_section import read_risk_section
from napari_melanoma.extensions.risk.slide_prediction import predict_slide_risk
from napari_melanoma.figures.page import Block, Figure, Gallery, Section
from napari_melanoma.reports.slide import write_slide_report
from napari_melanoma.reports.slide_export import export_results, find_result_folders
from napari_melanoma.slides.notes import SlideNotes, write_notes
from napari_melanoma.slides.result_folder import record_slide

LINE = {"surface": [400, 500], "deepest": [680, 500], "mm": 1.4, "interval_mm": [1.2, 1.6], "section": 0}
PHANTOM = "phantom-trained, demonstration"


VALID = {"validity": Validity().to_json()}


@pytest.fixture
def reported(slide: Path, tmp_path: Path, model: Path) -> Path:
    """The folder of a slide whose thickness the analysis measured and whose risk was told."""
    folder = tmp_path / "results" / "section"
    content = {"breslow_mm": 1.4, "breslow_interval_mm": [1.2, 1.6], "depth": {"candidates": [LINE], "notes": []}}
    write_json(folder / "result.json", {**content, **VALID})
    predict_slide_risk(slide, folder, {"model": str(model)}, {"age": "64", "sex": "male"}, RunContext())
    return folder


def list_blocks(section: Section) -> Iterator[Block]:
    """Yield the blocks of a section, also of the sections in it."""
    for block in section.blocks:
        yield from list_blocks(block) if isinstance(block, Section) else [block]


def figures_of(section: Section) -> list[Figure]:
    """Return the figures of a section."""
    return [one for block in list_blocks(section) if isinstance(block, Gallery) for one in block.figures]


def text_of(page: Path) -> str:
    """Text of a page, without its images and tags."""
    whole = re.sub(r'src="[^"]*"', "", page.read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", re.sub(r"<style>.*</style>|<[^>]*>", " ", whole, flags=re.DOTALL))


def test_the_page_shows_the_risk_and_its_inputs(reported: Path, tmp_path: Path) -> None:
    answer = json.loads((reported / "risk.json").read_text())
    path = reported / "risk.json"
    path.write_text(
        json.dumps({**answer, "warnings": [f"'x' ({PHANTOM}): of <drawn> patients", "out of distribution"]})
    )
    page = write_slide_report(tmp_path / "page.html", reported)
    text = text_of(page)
    low, high = answer["interval"]
    assert f"{answer['probability']:.2f} ({low:.2f} to {high:.2f})" in text
    assert answer["verdict"][1:] in text
    for name, share in answer["shares"].items():
        assert f"{name.capitalize()} {round(share, 2) + 0.0:+.2f}" in text
    for one in answer["comparators"].values():
        assert f"{one['title']} " + (f"{one['probability']:.2f}" if one["probability"] else "–") in text
    for words in (
        "Depth 1.40 mm (1.20 to 1.60), measured by the analysis of the slide.",
        f"{PHANTOM}): of &lt;drawn&gt; patients.",
        "Out of distribution.",
        "Age 64 years, Sex male",
        "No reader has reviewed this slide",
        "Breslow thickness and T category (AJCC 8) 1.40 mm",
        f"and {answer['without']:.2f}, the probability that the model predicts without any data of this case.",
    ):
        assert words in text
    whole = page.read_text(encoding="utf-8")
    assert whole.count("data:image/jpeg") == 2  # the line and the patch
    assert str(tmp_path) not in whole


def test_a_depth_that_is_not_valid_is_named_with_the_reason(slide: Path, tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "results" / "section"
    validity = ValidityInputs("tiny", distance=2.0, limit=1.0).check()
    depth = {"candidates": [{**LINE, "at_least": True}], "notes": [], "validity": validity.to_json()}
    write_json(folder / "result.json", {"breslow_mm": 1.4, "breslow_interval_mm": [1.2, 1.6], "depth": depth, **VALID})
    predict_slide_risk(slide, folder, {"model": str(model)}, {}, RunContext())
    text = html.unescape(text_of(write_slide_report(tmp_path / "page.html", folder)))
    assert f"Thickness used {validity.headline('')} (depth measured by the analysis of the slide)." in text
    answer = json.loads((folder / "risk.json").read_text())
    assert answer["depth"]["mm"] == 1.4  # as a number, beside the reason
    assert answer["depth"]["not_valid"] == validity.headline("")
    assert not [one for one in answer["warnings"] if "thickness" in one]


def test_a_thickness_of_the_patient_data_is_outdated_only_once_it_was_measured(
    slide: Path, tmp_path: Path, model: Path
) -> None:
    folder = tmp_path / "results" / "section"
    lesion = {"label": "malignant", "seed_row_px": 400.0, "seed_column_px": 500.0}
    write_json(folder / "result.json", {"lesions": [lesion]})
    predict_slide_risk(slide, folder, {"model": str(model)}, {"depth_mm": "1.2"}, RunContext())
    assert json.loads((folder / "risk.json").read_text())["depth"]["source"] == "metadata"
    assert "outdated" not in text_of(write_slide_report(tmp_path / "page.html", folder)).lower()
    reading = DepthReading(reader="A", when="2026-01-02T10:00:00+00:00", mm=1.8)
    write_depth(folder, SlideDepthReadings(readings=(reading,)))
    assert "is now 1.80 mm" in text_of(write_slide_report(tmp_path / "page.html", folder))


def test_a_changed_reading_is_shown_and_makes_the_risk_outdated(reported: Path, tmp_path: Path) -> None:
    line = ((400.0, 500.0), (760.0, 500.0))
    reading = DepthReading(
        reader="A",
        when="2026-01-02T10:00:00+00:00",
        line=line,
        um_per_px=(5.0, 5.0),
        mm=1.8,
        ulcerated=True,
        clark=4,
        margins=ExcisionMargins(lateral_mm=3.0, deep_mm=2.5),
        mitoses=MitosisCount(counted=3, mm2=1.0, per_mm2=3.0),
    )
    write_depth(reported, SlideDepthReadings(readings=(reading,)))
    text = text_of(write_slide_report(tmp_path / "page.html", reported))
    for words in (
        "1.80 mm, T2b",
        "present",
        "3.0 per mm²",
        "Clark level IV",
        "peripheral margin 3 mm",
        "deep margin 2.5 mm",
    ):
        assert words in text
    assert "the thickness has changed since this prediction and is now 1.80 mm" in text
    assert "No reader has reviewed" not in text


def test_a_changed_finding_makes_the_risk_outdated(slide: Path, tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "results" / "section"
    reading = DepthReading(reader="A", when="2026-01-02T10:00:00+00:00", line=((4.0, 5.0), (7.0, 5.0)), mm=1.8, clark=3)
    write_depth(folder, SlideDepthReadings(readings=(reading,)))
    predict_slide_risk(slide, folder, {"model": str(model)}, {"clark": "2"}, RunContext())
    assert "outdated" not in text_of(write_slide_report(tmp_path / "page.html", folder)).lower()
    write_depth(folder, SlideDepthReadings(readings=(reading.model_copy(update={"clark": 4}),)))
    text = text_of(write_slide_report(tmp_path / "page.html", folder))
    assert "Outdated: ulceration, Clark level or mitoses have changed since this prediction." in text


def test_a_scale_that_a_person_set_counts_more_than_that_of_the_file(
    reported: Path, slide: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    assert "5 µm per pixel (file)" in text_of(write_slide_report(page, reported, slide))
    assert "2 x 2.5 µm per pixel" in text_of(write_slide_report(page, reported, slide, scale=PixelSize(2.5, 2.0)))
    same = write_slide_report(page, reported, slide, scale=PixelSize(5.0 + 1e-9, 5.0))
    assert "5 µm per pixel (file)" in text_of(same)
    reading = DepthReading(reader="A", when="2026-01-02T10:00:00+00:00", line=((4.0, 5.0), (7.0, 5.0)), mm=1.8)
    measured = reading.model_copy(update={"um_per_px": (3.0, 4.0)})
    write_depth(reported, SlideDepthReadings(readings=(measured,)))
    text = text_of(write_slide_report(page, reported, slide))
    assert "5 µm per pixel (file)" in text
    assert "Measured at 4 x 3 µm per pixel; the slide is now set to 5." in text, "as the window states it"


def test_the_scale_that_is_set_for_a_slide_is_that_of_its_report(reported: Path, slide: Path, tmp_path: Path) -> None:
    write_notes(reported, SlideNotes(pixel_size=PixelSize(2.0, 2.0, "given")))
    assert "2 µm per pixel (given)" in text_of(write_slide_report(tmp_path / "page.html", reported, slide))
    reading = DepthReading(reader="A", when="2026-01-02T10:00:00+00:00", line=((4.0, 5.0), (7.0, 5.0)), mm=1.8)
    readings = SlideDepthReadings(readings=(reading.model_copy(update={"um_per_px": (5.0, 5.0)}),))
    write_depth(reported, readings)
    text = text_of(write_slide_report(tmp_path / "page.html", reported, slide))
    assert "Measured at 5 µm per pixel; the slide is now set to 2." in text


def test_a_report_without_the_slide_has_no_pictures(reported: Path, tmp_path: Path) -> None:
    found = read_risk_section(reported, tmp_path / "gone.svs")
    assert found is not None
    assert not figures_of(found)
    assert any("can no longer be read" in getattr(one, "text", "") for one in list_blocks(found))
    source = json.loads((reported / "slide.json").read_text())
    (reported / "slide.json").write_text(json.dumps({**source, "slide": str(tmp_path / "gone.svs")}))
    text = text_of(write_slide_report(tmp_path / "page.html", reported))
    assert "Risk of metastasis" in text
    assert "1.40 mm" in text
    assert read_risk_section(tmp_path / "nothing", None) is None


def test_exports_include_the_page_and_the_risk(reported: Path, tmp_path: Path) -> None:
    folders = find_result_folders([reported.parent])  # no store: it was asked for its risk alone
    assert folders == [reported]
    written = export_results(folders, tmp_path / "out", ["risk", "report", "tiles"], run=RunContext())
    assert [one.error != "" for one in written] == [False, False, True]
    assert json.loads((tmp_path / "out/section/risk.json").read_text())["file"] == "section.tif"
    assert "Risk of metastasis" in (tmp_path / "out/section/report.html").read_text(encoding="utf-8")


@pytest.fixture
def analysed(slide: Path, tmp_path: Path) -> Path:
    """The folder of a slide that was analyzed, without a risk prediction."""
    folder = tmp_path / "out" / "section"
    notes = ["the slide is out of distribution for the model"]
    write_json(folder / "result.json", {"breslow_mm": 1.4, "depth": {"candidates": [LINE], "notes": notes}})
    record_slide(folder, slide)
    return folder


def test_an_empty_analysis_has_no_page(tmp_path: Path) -> None:
    notes = {"depth": {"candidates": [], "notes": ["no epidermis in this section"]}, **VALID}
    write_json(tmp_path / "empty" / "result.json", notes)
    with pytest.raises(InputError, match=r"neither thickness nor risk is known\. Analysis: no epidermis"):
        write_slide_report(tmp_path / "page.html", tmp_path / "empty")
