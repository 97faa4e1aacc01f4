"""``export`` on the command line: what is written, what could not be, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_slides import FakeAnalysis, draw_slide
from typer.testing import Result

from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, write_depth


@pytest.fixture
def analysed(tmp_path: Path) -> Path:
    """A folder with the results of one slide."""
    FakeAnalysis(tmp_path / "results" / "section", draw_slide(tmp_path / "section.tif"), "a").begins().finishes()
    return tmp_path


def test_outlines_are_what_is_written_by_default(run: Callable[..., Result], analysed: Path) -> None:
    told = run("export", "results", "--out", "out")
    assert told.exit_code == 0
    assert "1 file written to out" in told.output
    content = json.loads((analysed / "out" / "section" / "lesions.geojson").read_text())
    assert len(content["features"]) == 2


def test_machines_read_what_could_not_be_written(run: Callable[..., Result], analysed: Path) -> None:
    told = run("export", "results/section", "--out", "out", "--to", "mask, zarr,dicom", "--json")
    lines = [json.loads(line) for line in told.output.splitlines() if line.startswith("{")]
    assert told.exit_code == 1
    assert [line["format"] for line in lines if line["event"] == "failed"] == ["dicom"]
    assert (lines[-1]["written"], lines[-1]["failed"]) == (2, 1)
    assert {path.name for path in (analysed / "out" / "section").iterdir()} == {"lesions.ome.tif", "heatmap.ome.zarr"}


def test_what_cannot_be_meant_is_a_wrong_command(run: Callable[..., Result], analysed: Path) -> None:
    assert run("export", "results", "--out", "out", "--to", "svg").exit_code == 2
    assert run("export", "out", "--out", "out").exit_code == 2


def test_readings_of_the_depth_are_written_where_there_are_some(run: Callable[..., Result], analysed: Path) -> None:
    told = run("export", "results", "--out", "out", "--to", "depth")
    assert told.exit_code == 1
    assert "holds no depth.json" in told.output
    write_depth(
        analysed / "results" / "section", SlideDepthReadings(readings=(DepthReading(reader="A", when="2026", mm=1.25),))
    )
    assert run("export", "results", "--out", "out", "--to", "depth").exit_code == 0
    assert "section,A,1.25," in (analysed / "out" / "section" / "readings.csv").read_text()
