"""``slide`` merges its options with those of a file, and reports the thickness or why there is none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_melanoma.cli.slide import _report_cohort_slide, _report_slide
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.slides.cohort import CohortEntry
from napari_melanoma.slides.slide_table import SlideStatus

DEPTH = {"candidates": [], "notes": [], "at_least": False, "clark_estimate": None, "ulceration": False}
CASES = [
    ({"depth": None, "breslow_mm": None}, []),
    ({}, []),
    (
        {"depth": {**DEPTH, "notes": ["no tissue was found"]}, "breslow_mm": None},
        ["section: no Breslow thickness: no tissue was found"],
    ),
    (
        {
            "depth": {**DEPTH, "at_least": True, "notes": ["at least: cut off"], "clark_estimate": 4},
            "breslow_mm": 1.234,
            "breslow_interval_mm": [1.1, 1.4],
            "t_category": "T2a",
        },
        [
            "section: Breslow thickness at least 1.23 mm (90 % interval of the visible part 1.10 to 1.40), at least "
            "T2a, estimated Clark level 4; at least: cut off"
        ],
    ),
]


@pytest.mark.parametrize(("content", "expected"), CASES, ids=["not measured", "older result", "nothing", "cut off"])
def test_the_thickness_is_reported(content: dict[str, Any], expected: list[str]) -> None:
    events: list[tuple[str, str]] = []
    report = SimpleNamespace(emit=lambda kind, text, **values: events.append((kind, text)))
    current: Any = SimpleNamespace(report=report)
    result = {"warnings": [], "validity": {"valid": True}, **content}
    _report_slide(current, SlideStatus(Path("section.tif"), Path("out/section"), "done", result))
    assert [line for kind, line in events if kind == "depth"] == expected


def test_several_processes_report_the_same_of_a_slide(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"warnings": ["Tiles are damaged."], "validity": {"valid": True}, "target": "tumor"}
    monkeypatch.setattr("napari_melanoma.slides.lesion_files.read_analysis", lambda folder: content)
    events: list[tuple[str, str]] = []
    report = SimpleNamespace(emit=lambda kind, text, **values: events.append((kind, text)))
    current: Any = SimpleNamespace(report=report)
    _report_slide(current, SlideStatus(Path("section.tif"), Path("out/section"), "done", content))
    alone, events = events, []
    _report_cohort_slide(current, CohortEntry("section", "section.tif", "done"), Path("out"))
    assert [event for event in events if event[1]] == alone
    assert ("warning", "section: Tiles are damaged.") in alone


def test_an_option_replaces_only_its_own_value_of_the_file(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def record(paths: list[Path], out: Path, options: object, **_: object) -> None:
        given.append(options)
        raise MelanomaError("recorded")

    monkeypatch.setattr("napari_melanoma.slides.reading.detection.find_slides", lambda slides: [Path("section.svs")])
    monkeypatch.setattr("napari_melanoma.slides.analysis.analyze_slides", record)
    (tmp_path / "options.toml").write_text("batch_size = 8\n[stain]\nleast_density = 0.2\n", encoding="utf-8")
    run("slide", "section.svs", "--out", "out", "--config", "options.toml", "--stain", "reinhard", "--overlap", "0.5")
    (options,) = given
    assert (options.stain.method, options.stain.least_density) == ("reinhard", 0.2)
    assert (options.batch_size, options.overlap) == (8, 0.5)
