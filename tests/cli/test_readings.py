"""``studies readings``: written files, output and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from finding_files import write_depth
from typer.testing import Result

from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of four slides, measured by two readers."""
    for number in range(4):
        both = tuple(
            DepthReading(reader=name, when="2026", mm=1 + number + off) for name, off in (("A", 0), ("B. C.", 0.1))
        )
        write_depth(tmp_path / "results" / f"slide{number}", SlideDepthReadings(readings=both))
    return tmp_path / "results"


def test_the_only_two_readers_are_compared(run: Callable[..., Result], results: Path) -> None:
    result = run("studies", "readings", "results", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "A and B. C.: 4 slides measured by both" in result.output
    assert "bias (B. C. minus A) +0.10 mm" in result.output
    assert "8 readings of 4 slides by A, B. C. in " in result.output
    assert (results.parent / "out" / "figures" / "bland_altman.png").is_file()


def test_json_output_contains_the_agreement(run: Callable[..., Result], results: Path) -> None:
    result = run("studies", "readings", "results", "--out", "out", "--reader", "B. C.", "--reader", "A", "--json")
    lines = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
    found = next(line for line in lines if line["event"] == "agreement")
    assert found["bias_mm"]["mean"] == pytest.approx(-0.1)
    assert lines[-1]["readings"] == 8


def test_unreadable_results_are_reported_and_the_rest_is_processed(run: Callable[..., Result], results: Path) -> None:
    for name in ("slide0", "slide1", "slide2"):
        (results / name / "findings.json").write_text("{")
    result = run("studies", "readings", "results", "--out", "out")
    assert result.exit_code == 1
    assert "failed: slide0" in result.output
    assert "2 readings of 1 slide by" in result.output


def test_unknown_readers_and_missing_results_are_usage_errors(run: Callable[..., Result], results: Path) -> None:
    assert run("studies", "readings", "results", "--out", "out", "--reader", "A").exit_code == 2
    assert run("studies", "readings", "results", "--out", "out", "--reader", "A", "--reader", "D").exit_code == 2
    assert run("studies", "readings", "nowhere", "--out", "out").exit_code == 2
