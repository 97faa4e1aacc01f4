"""``export``: written files, failures and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_slides import FakeAnalysis, draw_slide
from finding_files import save_synoptic, write_depth
from typer.testing import Result

from napari_melanoma.case.model import Case, add_lesion, set_lesion
from napari_melanoma.case.store import CaseStore
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport


@pytest.fixture
def analyzed(tmp_path: Path) -> Path:
    """A folder with the results of one slide."""
    FakeAnalysis(tmp_path / "results" / "section", draw_slide(tmp_path / "section.tif"), "a").begins().finishes()
    return tmp_path


def test_outlines_are_written_by_default(run: Callable[..., Result], analyzed: Path) -> None:
    result = run("export", "results", "--out", "out")
    assert result.exit_code == 0
    assert "1 file written to out" in result.output
    content = json.loads((analyzed / "out" / "section" / "lesions.geojson").read_text())
    assert len(content["features"]) == 2


def test_json_output_lists_failures(run: Callable[..., Result], analyzed: Path) -> None:
    result = run("export", "results/section", "--out", "out", "--to", "mask, zarr,dicom", "--json")
    lines = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
    assert result.exit_code == 1
    assert [line["format"] for line in lines if line["event"] == "failed"] == ["dicom"]
    assert (lines[-1]["written"], lines[-1]["failed"]) == (2, 1)
    assert {path.name for path in (analyzed / "out" / "section").iterdir()} == {"lesions.ome.tif", "heatmap.ome.zarr"}


def test_unknown_formats_and_missing_results_are_usage_errors(run: Callable[..., Result], analyzed: Path) -> None:
    assert run("export", "results", "--out", "out", "--to", "svg").exit_code == 2
    assert run("export", "out", "--out", "out").exit_code == 2


def test_depth_readings_are_written_if_there_are_any(run: Callable[..., Result], analyzed: Path) -> None:
    result = run("export", "results", "--out", "out", "--to", "depth")
    assert result.exit_code == 1
    assert "no findings.json in results/section" in result.output
    write_depth(
        analyzed / "results" / "section", SlideDepthReadings(readings=(DepthReading(reader="A", when="2026", mm=1.25),))
    )
    assert run("export", "results", "--out", "out", "--to", "depth").exit_code == 0
    assert "section,A,1.25," in (analyzed / "out" / "section" / "readings.csv").read_text()


def test_synoptic_reports_of_slides_and_cases_are_written(run: Callable[..., Result], analyzed: Path) -> None:
    report = SynopticReport(answers={"extent": SynopticAnswer(value="in_situ")}).sign(
        "Anna Miller", "2026-01-02T10:00Z"
    )
    save_synoptic(analyzed / "results" / "section", report)
    with CaseStore.create(analyzed / "case", set_lesion(add_lesion(Case()), "L1", synoptic=report)):
        pass
    result = run("export", "results/section", "case", "--out", "out", "--to", "fhir,synoptic.csv")
    assert result.exit_code == 0, result.output
    found = [analyzed / "out" / name / "synoptic.fhir.json" for name in ("section", "case/L1")]
    assert not [path for path in found if "Miller" in path.read_text(encoding="utf-8")]
    assert run("export", "case", "--out", "own", "--to", "fhir", "--personal").exit_code == 0
    assert "Miller" in (analyzed / "own" / "case" / "L1" / "synoptic.fhir.json").read_text(encoding="utf-8")


def test_lesions_without_report_are_listed_and_skipped(run: Callable[..., Result], analyzed: Path) -> None:
    report = SynopticReport(answers={"extent": SynopticAnswer(value="in_situ")})
    with CaseStore.create(analyzed / "case", set_lesion(add_lesion(add_lesion(Case())), "L2", synoptic=report)):
        pass
    result = run("export", "case", "results", "--out", "out", "--to", "fhir,synoptic")
    assert result.exit_code == 0, result.output
    assert result.output.count("left out: case, L1: there is no synoptic report yet.") == 1
    assert result.output.count("left out: section: there is no synoptic report yet.") == 1
    assert "2 files written to out, 4 left out. Research use only." in result.output
    assert sorted(path.name for path in (analyzed / "out" / "case").iterdir()) == ["L2"]
    nothing = run("export", "results", "--out", "none", "--to", "fhir", "--json")
    assert nothing.exit_code == 1
    summary = json.loads(nothing.output.splitlines()[-1])
    assert (summary["written"], summary["left_out"], summary["failed"]) == (0, 1, 0)


@pytest.mark.parametrize("damage", ["truncated", "invalid"])
def test_a_case_that_cannot_be_exported_fails_alone(run: Callable[..., Result], analyzed: Path, damage: str) -> None:
    save_synoptic(analyzed / "results" / "section", SynopticReport(answers={"extent": SynopticAnswer(value="in_situ")}))
    with CaseStore.create(analyzed / "case", add_lesion(Case())):
        pass
    stored = analyzed / "case" / "case.json"
    content = stored.read_text(encoding="utf-8")
    if damage == "truncated":
        stored.write_text(content[: len(content) // 2], encoding="utf-8")
    else:
        stored.write_text(json.dumps({**json.loads(content), "lesions_numbered": "many"}), encoding="utf-8")
    result = run("export", "case", "results", "--out", "out", "--to", "fhir,synoptic", "--json")
    lines = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
    assert result.exit_code == 1
    assert [(line["folder"], line["format"]) for line in lines if line["event"] == "failed"] == [
        ("case", "fhir"),
        ("case", "synoptic"),
    ]
    assert (lines[-1]["written"], lines[-1]["failed"]) == (2, 2)
    assert (analyzed / "out" / "section" / "synoptic.fhir.json").is_file()
    assert not (analyzed / "out" / "case").exists()


def test_the_table_of_qupath_counts_in_micrometers_and_can_be_imported(
    run: Callable[..., Result], analyzed: Path
) -> None:
    assert run("export", "results", "--out", "out", "--to", "qupath").exit_code == 0
    table = (analyzed / "out/section/objects.tsv").read_text(encoding="utf-8").splitlines()
    header, *rows = [line.split("\t") for line in table]
    assert header[:5] == ["Image", "Object type", "Name", "Classification", "ROI"]
    assert [row[2] for row in rows] == ["lesion 1", "lesion 2"]
    assert header[5:8] == ["Centroid X µm", "Centroid Y µm", "Area µm^2"]
    area = {name: float(rows[0][header.index(name)]) for name in ("Area µm^2", "area_mm2")}
    assert area["Area µm^2"] == pytest.approx(area["area_mm2"] * 1e6, rel=0.01)
    assert run("data", "import", "qupath", "out/section", "--out", "objects", "--no-patients").exit_code == 0
    assert "section_2" in (analyzed / "objects/dataset.csv").read_text()
