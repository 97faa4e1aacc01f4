"""Depth readings in ``findings.json``: round trip, invalid files, and depth proposals of an analysis."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finding_files import write_depth

from napari_melanoma.core.errors import InputError
from napari_melanoma.depth.findings import FINDINGS_FILE, SlideFindings, read_findings
from napari_melanoma.depth.readings import (
    DepthReading,
    ExcisionMargins,
    MitosisCount,
    ReadingChange,
    SlideDepthProposals,
    parse_proposals,
)

READING = DepthReading(
    reader="Reader A",
    when="2026-01-02T10:00:00+00:00",
    method="corrected",
    line=((1.5, 2.0), (300.25, 4.0)),
    um_per_px=(0.25, 0.25),
    mm=1.34,
    ulcerated=False,
    clark=4,
    margins=ExcisionMargins(lateral_mm=3.0),
    mitoses=MitosisCount(
        points=((1.0, 2.0),), areas=(((0.0, 0.0), (0.0, 9.0), (9.0, 9.0)),), counted=1, mm2=1.0, per_mm2=1.0
    ),
    notes="ulcer at the left",
    history=(ReadingChange(field="mm", before=1.2, after=1.34, reader="Reader A", when="2026-01-02T10:00:00+00:00"),),
)


def test_readings_come_back_as_they_were(tmp_path: Path) -> None:
    depth = SlideFindings(fingerprint="abc", readings=(READING, DepthReading()))
    write_depth(tmp_path / "slide", depth)
    assert read_findings(tmp_path / "slide") == depth
    reported = json.loads((tmp_path / "slide" / FINDINGS_FILE).read_text(encoding="utf-8"))
    assert reported["format_version"] == 1
    assert reported["readings"][0]["margins"] == {"lateral_mm": 3.0, "deep_mm": None}
    assert read_findings(tmp_path) == SlideFindings()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 2}', '{"readings": [{"mm": -1}]}'])
def test_invalid_readings_are_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / FINDINGS_FILE).write_text(text)
    with pytest.raises(InputError, match="does not contain valid findings of a slide"):
        read_findings(tmp_path)


def test_an_analysis_proposes_where_to_measure() -> None:
    line = {"surface": [10.0, 20.0], "deepest": [500, 20]}
    good = {**line, "mm": 1.2, "interval_mm": [1.0, 1.4], "at_least": True, "section": 0, "notes": ["a"], "new": 1}
    reported = {"depth": {"candidates": [good, {"mm": 1}, 7], "clark_estimate": 4, "ulceration": True, "notes": ["b"]}}
    found = parse_proposals(reported)
    assert len(found.proposals) == 1
    assert found.proposals[0].line == ((10.0, 20.0), (500.0, 20.0))
    assert (found.proposals[0].interval_mm, found.proposals[0].at_least) == ((1.0, 1.4), True)
    assert (found.clark, found.ulcerated, found.notes) == (4, True, ("b",))


@pytest.mark.parametrize(
    "content", [{}, {"depth": None}, {"depth": {"candidates": 3, "clark_estimate": "x"}, "validity": {"valid": True}}]
)
def test_an_analysis_without_depth_has_no_depth_output(content: dict[str, object]) -> None:
    assert parse_proposals(content) == SlideDepthProposals()
