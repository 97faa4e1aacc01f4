"""What the Risk section shows: the thickness, why it cannot estimate, and changed inputs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.depth.readings import DepthProposal, DepthReading, SlideDepthProposals, SlideDepthReadings
from napari_melanoma.extensions.risk.slide_files import StoredRisk
from napari_melanoma.extensions.risk.ui.section import (
    NO_MODEL,
    NO_SCALE,
    NO_SHARES,
    NOT_BRIGHTFIELD,
    NOT_LOCATED,
    NOT_MEASURED,
    READING,
    RUNNING,
    describe_baseline,
    describe_changes,
    describe_depth,
    describe_methods,
    find_blocker,
    list_cautions,
    list_given_data,
)
from napari_melanoma.slides.depth_readings import UNKNOWN_DEPTH, KnownDepth
from napari_melanoma.slides.reading.slide import SlideInfo

LINE = ((60.0, 100.0), (460.0, 100.0))
DEPTH = KnownDepth(0.91, "automatic", (0.86, 0.96))
PREDICTION = {
    "verdict": "metastasis 0.64 (0.20 to 0.44): inconclusive at 90 % coverage",
    "positive": "metastasis",
    "probability": 0.64,
    "interval": [0.2, 0.44],
    "shares": {"image": 0.12},
    "without": 0.22,
    "comparators": {
        "breslow": {"title": "Breslow alone", "probability": 0.3},
        "clark": {"title": "Clark level alone", "probability": None, "why": "clark is unknown"},
    },
    "patches": [],
    "known": {"age": "64", "depth_mm": "0.91", "clark": "4"},
    "missing": ["site", "ulceration"],
    "warnings": ["the thickness may be more"],
    "depth": {"mm": 0.91, "source": "automatic"},
    "model": {"fingerprint": "f", "settings": "s"},
}
MODEL = SimpleNamespace(fingerprint="f", settings_digest="s")
OTHER_MODEL = SimpleNamespace(fingerprint="g", settings_digest="s")
INFO = SlideInfo(Path("a.tif"), "a", "tiff", (), PixelSize(0.5, 0.5))
LOCATED = StoredRisk(DEPTH, n_patches=1, prediction=PREDICTION)


@pytest.mark.parametrize(
    ("values", "blocker"),
    [
        ({}, ""),
        ({"is_read": False}, READING),
        ({"info": replace(INFO, kind="fluorescence")}, NOT_BRIGHTFIELD),
        ({"info": replace(INFO, pixel_size=None)}, NO_SCALE),
        ({"model": ""}, NO_MODEL),
        ({"stored": StoredRisk(DEPTH)}, NOT_LOCATED),
        ({"is_running": True}, RUNNING),
    ],
)
def test_why_the_risk_cannot_be_estimated(values: dict[str, Any], blocker: str) -> None:
    facts = {"info": INFO, "stored": LOCATED, "model": "risk-test", "is_read": True, "is_running": False}
    assert find_blocker(**{**facts, **values}) == blocker


@dataclass(frozen=True)
class Changed:
    name: str
    changes: str
    row: dict[str, str] = field(default_factory=lambda: {"age": "64"})
    model: Any = field(default_factory=lambda: MODEL)
    depth: KnownDepth = DEPTH
    used: dict[str, Any] = field(default_factory=dict)
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    findings: dict[str, str] = field(default_factory=dict)


CHANGED = [
    Changed("as predicted", ""),
    Changed("empty fields", "", {"age": "64", "site": ""}),
    Changed("a case with data that the model does not use", "", {"age": "64", "patient_id": "A", "clark": "2"}),
    Changed("another age", "the patient data have changed", {"age": "65"}),
    Changed("no age", "the patient data have changed", {}),
    Changed("another model", "the model has changed", model=OTHER_MODEL),
    Changed("calibrated again", "the model has changed", model=SimpleNamespace(fingerprint="f", settings_digest="t")),
    Changed("patches at this scale", "", boxes=((0, 0, 6000, 6000), (-5, 0, 6000, 6000))),
    Changed("patches at another scale", "the scale has changed", boxes=((0, 0, 6000, 3000),)),
    Changed("no model, hence no form", "", {}, model=None),
    Changed("another depth", "the depth has changed", depth=KnownDepth(0.2, "reader")),
    Changed("a depth that was predicted", "", depth=UNKNOWN_DEPTH, used={"mm": 1.6, "source": "predicted"}),
    Changed("measured since", "the depth has changed", used={"mm": 1.6, "source": "predicted"}),
    Changed("the same Clark level", "", findings={"clark": "4"}),
    Changed("another Clark level", "the findings have changed", findings={"clark": "3"}),
    Changed("an unknown finding", "the findings have changed", findings={"ulceration": "0"}),
    Changed("a finding that neither model nor comparators use", "", findings={"mitoses_per_mm2": "3"}),
    Changed(
        "all of them",
        "the model has changed and the patient data have changed and the depth has changed",
        {},
        OTHER_MODEL,
        UNKNOWN_DEPTH,
    ),
]


@pytest.mark.parametrize("case", CHANGED, ids=lambda case: case.name)
def test_changed_inputs(case: Changed) -> None:
    prediction = PREDICTION | ({"depth": case.used} if case.used else {})
    prediction |= {"patches": [{"box": list(box)} for box in case.boxes], "options": {"patch_mm": 3.0}}
    stored = replace(LOCATED, depth=case.depth, prediction=prediction, findings=case.findings)
    expected = f"Outdated: {case.changes} since this estimate. Estimate again." if case.changes else ""
    assert describe_changes(stored, case.model, case.row, ("age", "site"), INFO.pixel_size) == expected


def test_texts_of_a_prediction() -> None:
    assert describe_baseline(PREDICTION) == "Baseline without any data of this case: 0.22."
    assert describe_baseline({**PREDICTION, "shares": None}) == NO_SHARES
    assert describe_methods(PREDICTION) == "For comparison: Breslow alone 0.30."
    assert list_cautions(PREDICTION) == "Unknown: body site, ulceration.\nThe thickness may be more."


INVALID = ValidityInputs("tiny", distance=2.0, limit=1.0).check()
PROPOSED = SlideDepthProposals(proposals=(DepthProposal(line=LINE, mm=0.91, interval_mm=(0.86, 0.96)),))
MEASURED = DepthReading(when="2026-01-01T10:00:00+00:00", line=LINE, mm=0.2, reader="A")


@pytest.mark.parametrize(
    ("readings", "proposals", "patches", "text"),
    [
        ((), SlideDepthProposals(), 0, "Depth 1.20 mm, from the patient table."),
        ((), PROPOSED, 1, "Depth 0.91 mm (0.86 to 0.96), measured by the analysis of the slide."),
        ((MEASURED,), PROPOSED, 2, "Depth 0.20 mm, measured by A."),
        (
            (),
            PROPOSED.model_copy(update={"validity": INVALID}),
            1,
            f"{INVALID.headline('')} (depth measured by the analysis of the slide).",
        ),
    ],
)
def test_thickness_follows_readings_and_proposals(
    readings: tuple[DepthReading, ...], proposals: SlideDepthProposals, patches: int, text: str
) -> None:
    row = {"depth_mm": "1.2"}  # used if the thickness was not measured
    stored = StoredRisk(prediction=PREDICTION).with_depth(SlideDepthReadings(readings=readings), proposals, row)
    assert (describe_depth(stored), stored.n_patches) == (text, patches)
    assert stored.prediction is PREDICTION


def test_a_depth_from_a_table_is_kept_for_the_next_estimate() -> None:
    measured = {"known": {"age": "64", "depth_mm": "1.2", "clark": "4"}, "depth": {"mm": 1.2, "source": "reader"}}
    assert list_given_data(measured) == {"age": "64"}
    prediction = {**PREDICTION, **measured, "depth": {"mm": 1.2, "source": "metadata"}}
    given = list_given_data(prediction)
    assert given == {"age": "64", "depth_mm": "1.2"}
    stored = StoredRisk(prediction=prediction).with_depth(SlideDepthReadings(), SlideDepthProposals(), given)
    assert describe_changes(stored, MODEL, given, ("age", "site"), None) == ""


def test_a_thickness_that_is_not_known() -> None:
    stored = StoredRisk().with_depth(SlideDepthReadings(), SlideDepthProposals(), {})
    assert describe_depth(stored) == NOT_MEASURED
