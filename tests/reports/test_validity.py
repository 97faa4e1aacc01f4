"""Outputs of invalid predictions start with the reason and contain nothing reassuring."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.cli.slide import _report_slide
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.data.dataset import COHORT_FILE
from napari_melanoma.extensions.risk.batch import RiskOutcome
from napari_melanoma.extensions.risk.batch import _result_row as risk_row
from napari_melanoma.extensions.risk.command import _report_risk
from napari_melanoma.extensions.risk.patches import cut_slide_patches, read_patch_image
from napari_melanoma.extensions.risk.prediction import PatchPrediction, RiskOptions, RiskPrediction
from napari_melanoma.figures.page import write_report
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.lesion.analysis import ModelStamp, derive_result, describe_result
from napari_melanoma.lesion.batch import result_row as photograph_row
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.phantoms import is_phantom
from napari_melanoma.reports.case_report import collect_report
from napari_melanoma.reports.lesion import write_lesion_report
from napari_melanoma.reports.slide import write_slide_report
from napari_melanoma.slides import cohort as slide_cohort
from napari_melanoma.slides.depth import describe_depth
from napari_melanoma.slides.depth_readings import KnownDepth
from napari_melanoma.slides.options import SlideOptions, check_scale, match_scale
from napari_melanoma.slides.reading.slide import LevelInfo, SlideInfo
from napari_melanoma.slides.slide_table import SlideStatus, status_to_row
from napari_melanoma.slides.tile_models import TileModelInfo
from napari_melanoma.slides.tiling import TilingConfig, plan_tiles

REASSURING = re.compile(
    r"no (metastasis|invasive|lesion|breslow|tumou?r)|benign|\bT1[ab]?\b|\bT2[ab]?\b|0 lesions|\d mm\b.*\bT\d|"
    r"\d+ % coverage|such a low|below the (cut|[a-z]+ threshold)|nevus|0\.08|Clark level [1-5I]",
    re.IGNORECASE,
)
DEMO = ValidityInputs("skin-test", demonstration=True, distance=0.9, limit=0.1).check()
NOTHING_FOUND: dict[str, Any] = {
    "slide": "puma",
    "validity": DEMO.to_json(),
    "target": "melanoma",
    "probability": 0.08,
    "probability_method": "mean",
    "scores": {"mean": {"melanoma": 0.08}},
    "lesions": [],
    "tissue_mm2": 0.05,
    "mpp": [0.23, 0.23],
    "model": {"name": "skin-test", "mpp": 4.0},
    "tiles_done": 1, "tiles_failed": 0, "tiles_total": 1, "seconds": 1.0, "warnings": [],
    "breslow_mm": None, "breslow_interval_mm": None, "t_category": None,
    "depth": {
        "validity": DEMO.to_json(), "candidates": [], "notes": ["no invasive tumour was found in section 1"],
        "at_least": None, "clark_estimate": None, "ulceration": None,
    },
}  # fmt: skip
LINE = {"surface": [10, 10], "deepest": [90, 10], "mm": 0.5, "interval_mm": [0.4, 0.6], "section": 0}
THIN: dict[str, Any] = {
    **NOTHING_FOUND,
    "lesions": [{"label": "benign", "area_mm2": 0.1}],
    "breslow_mm": 0.5,
    "breslow_interval_mm": [0.4, 0.6],
    "t_category": "T1a",
    "depth": {**NOTHING_FOUND["depth"], "candidates": [LINE], "notes": [], "clark_estimate": 2, "at_least": False},
}
RISK = RiskPrediction(
    positive="metastasis",
    probability=0.08,
    interval=(0.0, 0.25),
    possible=("other",),
    coverage=0.9,
    depth=KnownDepth(None, "unknown"),
    patches=(PatchPrediction("lesion", (0, 0, 9, 9), 0.08),),
    shares=None,
    without=None,
    comparators={},
    known={},
    missing=(),
    warnings=(),
    model={"name": "risk-demo", "title": "", "fingerprint": "0"},
    options=RiskOptions(model="risk-demo"),
    validity=ValidityInputs("risk-demo", demonstration=True, field_mm=0.24, model_field_mm=3).check(),
)


def lines_of(report_result: Any) -> list[str]:
    lines: list[str] = []

    def collect(kind: str, text: str, **values: object) -> None:
        lines.append(text)

    report = SimpleNamespace(emit=collect, emit_item=collect)
    report_result(SimpleNamespace(report=report))
    return lines


@pytest.mark.parametrize("content", [NOTHING_FOUND, THIN], ids=["nothing found", "a thin one"])
def test_the_command_line_about_a_slide(content: dict[str, Any]) -> None:
    texts = lines_of(
        lambda current: _report_slide(current, SlideStatus(Path("puma.tif"), Path("puma"), "done", content))
    )
    assert texts[0].startswith("puma: Not valid: ")
    assert not [one for one in texts if REASSURING.search(one)], texts
    assert describe_depth(content).startswith("Not valid: ")


def test_the_command_line_reports_a_valid_slide() -> None:
    content = {**THIN, "validity": Validity().to_json(), "depth": {**THIN["depth"], "validity": Validity().to_json()}}
    texts = lines_of(lambda current: _report_slide(current, SlideStatus(Path("a.tif"), Path("a"), "done", content)))
    assert texts[0] == "a: melanoma 0.08, mean of all tiles; 1 lesion"
    assert "T1a" in texts[1]


def test_the_table_of_slides() -> None:
    row = status_to_row(SlideStatus(Path("puma.tif"), Path("puma"), "done", NOTHING_FOUND))
    assert row["valid"] == "false"
    assert "demonstration" in row["validity"]
    assert row["probability"] == 0.08


@pytest.mark.parametrize("content", [NOTHING_FOUND, THIN], ids=["nothing found", "a thin one"])
def test_the_page_of_a_slide(content: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", content)
    write_json(tmp_path / "risk.json", {"file": "puma.tif", **RISK.to_json()})
    page = write_slide_report(tmp_path / "page.html", tmp_path).read_text(encoding="utf-8")
    seen = re.sub(r"<(style|details)>?.*?</\1>", " ", page, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", seen))
    assert text.count("Not valid: ") >= 2
    assert not REASSURING.search(text), REASSURING.search(text)
    assert text.index("Not valid: ") < text.index("Ulceration")
    assert "0.08" in page  # folded away


def test_the_page_states_why_a_map_of_tissue_is_not_valid(tmp_path: Path) -> None:
    areas = {"Dermis": {"mm2": 1.5, "percent": 70.0}}
    content = {
        key: value for key, value in NOTHING_FOUND.items() if key not in ("probability", "scores", "lesions", "depth")
    }
    write_json(tmp_path / "result.json", {**content, "target": None, "areas": areas})
    write_report(tmp_path / "page.html", collect_report([tmp_path], personal=False, run=RunContext()).report)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Not valid: " in page
    assert "Dermis" not in page


def test_an_empty_page_is_an_error(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", NOTHING_FOUND)
    with pytest.raises(InputError, match="Not valid: ") as refused:
        write_slide_report(tmp_path / "page.html", tmp_path)
    assert "invasive" not in str(refused.value)


def test_a_risk_without_patches_is_an_error(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "puma.tif", np.full((64, 64, 3), 200, np.uint8), photometric="rgb", tile=(32, 32))
    with pytest.raises(InputError, match=r"puma.tif: Not valid: .* Measure the thickness by hand") as refused:
        cut_slide_patches(tmp_path / "puma.tif", (), NOTHING_FOUND, RiskOptions(model="risk-demo", mpp=0.23))
    assert not REASSURING.search(str(refused.value))


def test_the_risk_as_text_table_and_json() -> None:
    texts = lines_of(lambda current: _report_risk(current, f"puma: {RISK.headline}", RISK, {"case": "puma"}))
    assert texts[0].startswith("puma: Not valid: ")
    assert not [one for one in texts if REASSURING.search(one)], texts
    row = risk_row(RiskOutcome("puma", Path("puma.tif"), RISK))
    assert (row["valid"], row["probability"]) == ("false", 0.08)
    assert str(row["verdict"]).startswith("Not valid: ")
    stored = json.loads(json.dumps(RISK.to_json()))
    assert next(iter(stored)) == "verdict"
    assert not REASSURING.search(stored["verdict"])
    assert [one["code"] for one in stored["validity"]["reasons"]] == ["demonstration", "field_of_view"]
    valid = replace(RISK, validity=Validity())
    assert (
        valid.headline
        == "Risk of metastasis 0.08 (95 % interval 0.00–0.25); at most 10 of 100 metastasis cases have such a low "
        "probability"
    )


def test_a_photograph_without_a_lesion(tmp_path: Path) -> None:
    stamp = ModelStamp("lesion-small", "f" * 8, "cpu", 0.5, ("dermoscopic",))
    rgb = np.full((60, 80, 3), 200, np.uint8)
    empty = np.zeros((60, 80), np.float32)
    result = derive_result(Photograph(rgb, "phone", modality="macroscopic"), empty, LesionOptions(), stamp)
    about = json.loads(json.dumps(describe_result(result)))
    row = photograph_row("phone", "phone.jpg", about)
    assert str(row["note"]).startswith("Not valid: ")
    assert not REASSURING.search(str(row["note"]))
    assert row["valid"] == "false"
    page = write_lesion_report(tmp_path / "page.html", result.photograph, describe_result(result), rgb, None)
    text = page.read_text(encoding="utf-8")
    assert "Not valid: " in text
    assert "No lesion" not in text


def test_an_implausible_scale_is_rejected() -> None:
    size = PixelSize(16.8, 16.8)
    levels = (LevelInfo(800, 800, 1.0),)
    model = TileModelInfo("own", "classification", ("benign", "melanoma"), 128, 0.5)
    slide = SlideInfo(Path("bone.dcm"), "bone", "", levels, pixel_size=size)
    grid = plan_tiles(levels, size, TilingConfig(side_px=128, mpp=0.5))
    with pytest.raises(InputError, match=r"a factor of 33\.6.*--mpp.*--accept-scale"):
        check_scale(slide, grid, model, SlideOptions())
    accepted = SlideOptions(accept_scale=True)
    check_scale(slide, grid, model, accepted)
    assert ValidityInputs("own", scale=match_scale(grid, model, accepted)).check().codes == ("scale",)
    assert SlideOptions(accept_scale=True).tile_settings == SlideOptions().tile_settings


def test_the_mark_of_a_phantom(tmp_path: Path) -> None:
    import tifffile

    for name, description in (("drawn", "napari-melanoma phantom slide"), ("real", "Aperio")):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((8, 8), np.uint8), description=description, metadata=None)
    assert is_phantom(tmp_path / "drawn.tif")
    assert not is_phantom(tmp_path / "real.tif")
    (tmp_path / "real.truth.json").write_text("{}")
    assert is_phantom(tmp_path / "real.tif")


@pytest.mark.parametrize("depth", [0, 1])
def test_the_state_of_analyzed_slides_does_not_make_real_images_phantoms(tmp_path: Path, depth: int) -> None:
    image = tmp_path / "slides" / "patch.png" if depth else tmp_path / "patch.png"
    image.parent.mkdir(exist_ok=True)
    Image.new("RGB", (32, 32), (180, 90, 140)).save(image)
    assert slide_cohort.MANIFEST == COHORT_FILE  # two files of one name
    manifest = slide_cohort.CohortManifest(tmp_path / slide_cohort.MANIFEST, {}, {})
    manifest.write()
    assert (tmp_path / COHORT_FILE).is_file()
    assert not is_phantom(image)
    assert not read_patch_image(image, {}, RiskOptions(model="risk-demo")).synthetic
    (tmp_path / COHORT_FILE).write_text('{"law": {}}')
    assert is_phantom(image)
