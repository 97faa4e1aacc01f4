"""What the Risk section shows: the thickness, why it cannot estimate, and changed inputs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.depth.readings import DepthProposal, DepthReading, SlideDepthProposals, SlideDepthReadings
from napari_melanoma.extensions.risk.slide_files import StoredRisk
from napari_melanoma.extensions.risk.ui.resolve import (
    NO_MODEL,
    NO_SCALE,
    NO_SHARES,
    NOT_BRIGHTFIELD,
    NOT_LOCATED,
    NOT_MEASURED,
    READING,
    RUNNING,
    RiskFacts,
    resolve_risk,
)
from napari_melanoma.slides.slide_depth import UNKNOWN_DEPTH, KnownDepth

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
    "missing": ["site"],
    "warnings": ["the thickness may be more"],
    "depth": {"mm": 0.91, "source": "automatic"},
    "model": {"fingerprint": "f"},
}
DEMONSTRATION = Validity.from_json({"reasons": [{"code": "demonstration", "text": "trained on synthetic patients"}]})
LOCATED = RiskFacts(
    StoredRisk(DEPTH, n_patches=1), model="risk-test", fingerprint="f", row={"age": "64"}, fields=("age", "site")
)
ESTIMATED = replace(LOCATED, stored=replace(LOCATED.stored, prediction=PREDICTION))


@dataclass(frozen=True)
class Blocked:
    """``note``: the text below the button, if it is not the reason itself."""

    name: str
    facts: RiskFacts
    blocker: str
    note: str | None = None


BLOCKED = [
    Blocked("nothing is in the way", LOCATED, ""),
    Blocked("not read yet", replace(LOCATED, is_read=False), READING),
    Blocked("fluorescence", replace(LOCATED, is_brightfield=False), NOT_BRIGHTFIELD),
    Blocked("without a scale", replace(LOCATED, has_scale=False), NO_SCALE),
    Blocked("without a model, which another label explains", replace(LOCATED, model=""), NO_MODEL, note=""),
    Blocked("not located", replace(LOCATED, stored=StoredRisk(DEPTH)), NOT_LOCATED),
    Blocked("running", replace(LOCATED, is_running=True), RUNNING, note=""),
    Blocked("damaged file", replace(LOCATED, stored=replace(LOCATED.stored, fault="Damaged.")), "", note="Damaged."),
]


@pytest.mark.parametrize("case", BLOCKED, ids=lambda case: case.name)
def test_why_the_risk_cannot_be_estimated(case: Blocked) -> None:
    texts = resolve_risk(case.facts)
    assert texts.blocker == case.blocker
    assert texts.note == (case.blocker if case.note is None else case.note)


@dataclass(frozen=True)
class Changed:
    name: str
    changes: str
    facts: dict[str, Any] = field(default_factory=dict)
    depth: KnownDepth = DEPTH
    used: dict[str, Any] = field(default_factory=dict)


CHANGED = [
    Changed("as predicted", ""),
    Changed("empty fields", "", {"row": {"age": "64", "site": ""}}),
    Changed(
        "a case with data that the model does not use", "", {"row": {"age": "64", "patient_id": "A", "clark": "2"}}
    ),
    Changed("another age", "the patient data have changed", {"row": {"age": "65"}}),
    Changed("no age", "the patient data have changed", {"row": {}}),
    Changed("another model", "the model has changed", {"fingerprint": "g"}),
    Changed("no model, hence no form", "", {"fingerprint": "", "model": "", "row": {}}),
    Changed("another depth", "the depth has changed", depth=KnownDepth(0.2, "reader")),
    Changed("a depth that was predicted", "", depth=UNKNOWN_DEPTH, used={"mm": 1.6, "source": "predicted"}),
    Changed("measured since", "the depth has changed", used={"mm": 1.6, "source": "predicted"}),
    Changed(
        "all of them",
        "the model has changed and the patient data have changed and the depth has changed",
        {"fingerprint": "g", "row": {}},
        UNKNOWN_DEPTH,
    ),
]


@pytest.mark.parametrize("case", CHANGED, ids=lambda case: case.name)
def test_changed_inputs(case: Changed) -> None:
    prediction = PREDICTION | ({"depth": case.used} if case.used else {})
    stored = replace(ESTIMATED.stored, depth=case.depth, prediction=prediction)
    texts = resolve_risk(replace(ESTIMATED, stored=stored, **case.facts))
    assert texts.outdated == (f"Outdated: {case.changes} since this estimate. Estimate again." if case.changes else "")
    assert texts.verdict == PREDICTION["verdict"]


def test_texts_of_a_prediction() -> None:
    texts = resolve_risk(ESTIMATED)
    assert texts.baseline == "Baseline without any data of this case: 0.22."
    assert texts.methods == "For comparison: Breslow alone 0.30."
    assert texts.cautions == "Unknown: body site.\nThe thickness may be more."
    invalid = replace(ESTIMATED.stored, prediction={**PREDICTION, "shares": None, "validity": DEMONSTRATION.to_json()})
    texts = resolve_risk(replace(ESTIMATED, stored=invalid))
    assert not texts.validity.valid
    assert texts.verdict == "Risk of metastasis 0.64 (0.20 to 0.44)."
    assert texts.baseline == NO_SHARES


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
    assert (resolve_risk(replace(LOCATED, stored=stored)).thickness, stored.n_patches) == (text, patches)
    assert stored.prediction is PREDICTION
    assert resolve_risk(replace(LOCATED, stored=stored, is_read=False)).thickness == ""


def test_a_thickness_that_is_not_known() -> None:
    stored = StoredRisk().with_depth(SlideDepthReadings(), SlideDepthProposals(), {})
    assert resolve_risk(replace(LOCATED, stored=stored)).thickness == NOT_MEASURED
