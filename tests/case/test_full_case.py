"""One case from photographs and a slide to its report, exchange files and audit, against the truth of phantoms."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from finding_files import save_synoptic, write_depth
from slide_models import SKIN_TEST, use_skin_errors
from typer.testing import CliRunner

from napari_melanoma.case.model import set_lesion
from napari_melanoma.case.store import CaseStore
from napari_melanoma.cli import app
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.depth.readings import SlideDepthReadings, automatic_reading, set_values, values_for_line
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.io.geojson import Annotation, write_geojson
from napari_melanoma.io.results import read_mask, read_table, write_table
from napari_melanoma.slides.regions import REGIONS
from napari_melanoma.slides.slide_content import read_proposals

pytestmark = pytest.mark.slow

GROWTH, PHOTOGRAPH_PX = 0.5, (300, 400)
SEED, BRESLOW_MM, MPP, UP_PX, REGION_PX = 1, 0.9, 1.0, 40, 200
READERS, WHEN = ("Anna Schmidt", "Bernd Vogel"), "2026-01-0{}T10:00:00+00:00"
PERSONAL = ("Schmidt", "Vogel", "2024", "2025-", "2026-01", "lesion_0005", "slide_0001")


def call(*words: object) -> str:
    """Run a command, which must succeed, and return its output."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@dataclass(frozen=True)
class FullCase:
    """The files of the case, and the truth of its phantoms."""

    root: Path
    areas_mm2: tuple[float, float]
    masks: tuple[Any, ...]
    line: tuple[tuple[float, float], ...]

    @property
    def case(self) -> Path:
        return self.root / "P-0042"

    @property
    def results(self) -> Path:
        return self.root / "results" / "slide_0001"

    @cached_property
    def text(self) -> str:
        """The text of the report."""
        page = re.sub(r'src="[^"]*"', "", (self.root / "shared" / "report.html").read_text(encoding="utf-8"))
        page = re.sub(
            r"<style>.*?</style>|<title>.*?</title>|<caption class=.*?</caption>|<[^>]*>", " ", page, flags=re.S
        )
        return re.sub(r"\s+", " ", html.unescape(page))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FullCase]:
    """Everything from the first photograph to the report."""
    with pytest.MonkeyPatch.context() as patch:
        use_skin_errors(patch)
        yield make_case(tmp_path_factory)


def make_case(tmp_path_factory: pytest.TempPathFactory) -> FullCase:
    """Run the commands, and read the slide in between."""
    root = tmp_path_factory.mktemp("full")
    areas, masks = write_photographs(root / "photographs")
    call("phantom", "slide", "--out", root / "slides", "--seed", SEED, "--size", 2048, "--mpp", MPP,
         "--breslow-mm", BRESLOW_MM, "--ulcerated")  # fmt: skip
    (slide,) = (root / "slides").glob("*.tif")
    truth = json.loads(next((root / "slides").glob("*.truth.json")).read_text())
    (line,) = [
        one["breslow_line"] for section in truth["sections"] for one in section["lesions"] if one["breslow_line"]
    ]
    made = FullCase(root, areas, masks, tuple(map(tuple, line)))
    call("slide", slide, "--out", root / "results", "--model", SKIN_TEST)
    call("case", made.case, "--from", root / "photographs", "--from", slide)
    call("case", made.case, "--classify")
    read_slide(made)
    call("report", made.case, made.results, "--out", root / "shared" / "report.html")
    call("export", made.case, made.results, "--out", root / "shared", "--to", "fhir,synoptic,synoptic.csv")
    call("studies", "readings", made.results, "--out", root / "agreement")
    return made


def write_photographs(folder: Path) -> tuple[tuple[float, float], tuple[Any, ...]]:
    """Write two dermoscopic photographs of a lesion that has grown, an overview, and a table with their days."""
    call("phantom", "lesion", "--out", folder, "--seed", 5, "--growth", GROWTH, "--size", *PHOTOGRAPH_PX)
    call("phantom", "lesion", "--out", folder, "--seed", 3, "--modality", "macroscopic", "--size", *PHOTOGRAPH_PX)
    names = ("lesion_0005", "lesion_0005_grown")
    truth = [json.loads((folder / f"{name}.truth.json").read_text(encoding="utf-8")) for name in names]
    um = truth[0]["pixel_size_um"]
    common = {"patient_id": "P-0042", "lesion_id": "1", "age": "54", "sex": "female", "site": "left upper back"}
    scale = {"mpp_x": um, "mpp_y": um, "modality": "dermoscopic"}
    rows = [
        {"image_id": names[0], **common, **scale, "date": "2024-05-02"},
        {"image_id": names[1], **common, **scale, "date": "10.05.2025"},
        {"image_id": "lesion_0003", **common, "modality": "macroscopic", "date": "2025-05-10"},
        {"image_id": "slide_0001", **common},
    ]
    write_table(folder / "table.csv", rows)
    areas = tuple(one["lesions"][0]["area_mm2"] for one in truth)
    return areas, tuple(read_mask(folder / f"{name}_mask.png") for name in names)


def read_slide(made: FullCase) -> None:
    """Measure the depth as two readers, draw a region, and sign the synoptic report, as in the Slide dock."""
    size, depth = PixelSize(MPP, MPP), SlideDepthReadings()
    base = automatic_reading(read_proposals(made.results), 0, size)
    (row, column), deepest = made.line
    for day, (reader, up_px) in enumerate(zip(READERS, (0, UP_PX), strict=True), start=1):
        values = values_for_line(base, ((row - up_px, column), deepest), size)
        depth = set_values(depth, reader, WHEN.format(day), **values, ulcerated=True, clark=4)
    write_depth(made.results, depth)
    square = Polygon(
        ((row, column), (row, column + REGION_PX), (row + REGION_PX, column + REGION_PX), (row + REGION_PX, column))
    )
    write_geojson(made.results / REGIONS, [Annotation((square,), "Tumor", (200, 0, 0))])
    report = SynopticReport().prefill(depth.reading_by(READERS[0])).confirm(reader=READERS[0], when=WHEN.format(3))
    for name, word in {"procedure": "excision", "laterality": "left", "site": "posterior torso"}.items():
        report = report.set_answer(name, SynopticAnswer(value=word), READERS[0], WHEN.format(3))
    report = report.set_answer("mitotic_rate", SynopticAnswer(state="not assessed"), READERS[0], WHEN.format(3))
    report = report.sign(READERS[0], WHEN.format(4))
    save_synoptic(made.results, report)
    with CaseStore.open(made.case) as store:
        store.save(set_lesion(store.case, "L1", synoptic=report, depth_mm=depth.reading_by(READERS[0]).mm))


def number(pattern: str, text: str) -> list[float]:
    """Find the numbers of a row of the report."""
    found = re.search(pattern, text)
    assert found, (pattern, text)
    return [float(one) for one in found.groups()]


def test_the_case_is_filled_in_from_table_and_slide(full: FullCase) -> None:
    case = CaseStore.open_read_only(full.case).case
    (lesion,) = case.lesions
    assert [(one.modality, one.taken_on) for one in lesion.images] == [
        ("macroscopic", "2025-05-10"),
        ("dermoscopic", "2024-05-02"),
        ("dermoscopic", "2025-05-10"),
        ("wsi", ""),
    ]
    assert (lesion.sub_site, lesion.laterality, case.patient.age) == ("upper back", "left", 54)
    assert "No faults" in call("case", full.case)


def test_masks_are_those_of_the_phantoms(full: FullCase) -> None:
    _, *images, _ = CaseStore.open_read_only(full.case).case.lesions[0].images
    for image, truth in zip(images, full.masks, strict=True):
        mask = read_mask(image.current.path / "mask.png")
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.93


def test_measurements_and_growth_contain_the_truth(full: FullCase) -> None:
    """In the report: the areas, and the interval of the change of the area."""
    areas = number(r"Measurement Image 1 Image 2 Image 3 Area, mm² – ([\d.]+) ([\d.]+)", full.text)
    assert areas == pytest.approx(full.areas_mm2, rel=0.08)
    low, high = number(r"Area, mm² [\d.]+ [\d.]+ \+\d+ % \(\+(\d+) to \+(\d+)\) increased", full.text)
    assert low < 100 * GROWTH < high
    assert "Image 3, 12 months later than image 2" in full.text


def test_the_depth_is_that_of_the_phantom(full: FullCase) -> None:
    """Of the analysis within its interval, of the first reader exactly, of the second by the length that was added."""
    analysis = json.loads((full.results / "result.json").read_text())["depth"]["candidates"][0]
    low, high = analysis["interval_mm"]
    assert low <= BRESLOW_MM <= high
    longer = BRESLOW_MM + UP_PX * MPP / 1000
    assert f"AS {BRESLOW_MM:.2f} T1b yes IV" in full.text
    assert f"BV {longer:.2f} T1b yes IV" in full.text
    assert "2 readers: thickness 0.90 to 0.94 mm, a difference of 0.04 mm; the same T category (T1b)." in full.text
    rows = read_table(full.root / "agreement" / "readings.csv")
    assert {row["reader"]: float(row["depth_mm"]) for row in rows if row["reader"] in READERS} == pytest.approx(
        {READERS[0]: BRESLOW_MM, READERS[1]: longer}, abs=0.005
    )


PARTS = (
    "Research use only; not for diagnosis.",
    "Case P-",
    "Age 54 years",
    "Lesions: 1 Left upper back.",
    "Prediction From image 2, image 3 Prediction",
    "1 photograph left out: 'melanoma-small' predicts from the dermoscopic ones.",
    "Image 2, dermoscopic",
    "Contour; scale bar 2 mm.",
    "Region of interest; scale bar",
    "Image 1, macroscopic 12 months later",
    "Demonstration model: melanoma",
    "1 region (dashed); scale bar 0.5 mm.",
    "Tumor 1 0.040",
    "Measurement line from the surface to the deepest cell; scale bar",
    "demonstration model 0.",
    "Depth, entered in the case 0.90 mm",
    "Signed by AS (date left out: it is personal data).",
    "Mitotic rate not assessed",
    "T category (AJCC 8) pT1b: 0.90 mm, recorded as 0.9 mm",
    "skin-test 3940814c19c9da5e",
)


@pytest.mark.parametrize("part", PARTS)
def test_the_report_contains(part: str, full: FullCase) -> None:
    assert part in full.text


def test_a_synoptic_report_of_slide_and_lesion_is_shown_once(full: FullCase) -> None:
    assert full.text.count("Synoptic report Signed by AS (date left out: it is personal data).") == 1


def test_the_synoptic_report_is_exchanged(full: FullCase) -> None:
    """That of the slide and that of the lesion: FHIR R4B and R5, JSON and CSV."""
    folders = {path.parent for path in (full.root / "shared").rglob("synoptic.fhir.json")}
    assert len(folders) == 2
    for folder in folders:
        text = (folder / "synoptic.fhir.json").read_text(encoding="utf-8")
        for release in ("R4B.", ""):
            found = import_module(f"fhir.resources.{release}diagnosticreport").DiagnosticReport.model_validate_json(
                text
            )
            assert found.status == "final"
        values = {
            one["code"]["text"]: one.get("valueQuantity") for one in json.loads(text)["contained"] if "code" in one
        }
        assert values["Breslow thickness"]["value"] == pytest.approx(BRESLOW_MM, abs=0.005)
        assert values["Mitotic rate"] is None
        stored = json.loads((folder / "synoptic.json").read_text(encoding="utf-8"))
        assert stored["derived"]["t_category"] == "pT1b"
        rows = {row["field"]: row for row in read_table(folder / "synoptic.csv")}
        assert (rows["mitotic_rate"]["state"], rows["mitotic_rate"]["value"]) == ("not assessed", "")


def test_no_personal_data_are_shared_and_planted_data_are_found(full: FullCase, tmp_path: Path) -> None:
    assert [name for name in PERSONAL if name in full.text] == []
    call("audit", full.root / "shared")
    page = (full.root / "shared" / "report.html").read_text(encoding="utf-8")
    (tmp_path / "report.html").write_text(page.replace("Age", "Patient: Anna Schmidt. Age", 1), encoding="utf-8")
    result = CliRunner().invoke(app, ["audit", str(tmp_path)])
    assert result.exit_code == 1
    assert "report.html" in result.output
    assert "A*** S******" in result.output
