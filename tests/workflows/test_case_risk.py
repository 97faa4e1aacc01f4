"""The risk of a slide in its case: saved, reopened, moved, checked, and of before when the case says otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.case.edit import add_images, add_lesion, set_lesion, set_patient
from napari_melanoma.data.case.model import Case, CaseImage
from napari_melanoma.data.case.store import CaseStore
from napari_melanoma.workflows.case_check import check_case
from napari_melanoma.workflows.case_risk import answer_of, changed_since, keep_risk, risk_of

ANSWER: dict[str, Any] = {
    "verdict": "metastasis 0.31 (0.20 to 0.44): cannot tell at 90 % coverage",
    "probability": 0.31,
    "interval": [0.2, 0.44],
    "shares": {"image": 0.12, "depth": -0.05, "patient": 0.02},
    "without": 0.22,
    "beside": {
        "breslow": {"title": "Breslow thickness alone", "probability": 0.3, "why": ""},
        "clark": {"title": "Clark level alone", "probability": None, "why": "clark is not known"},
    },
    "depth": {"mm": 1.4, "source": "automatic"},
    "depth_in_words": "depth 1.40 mm, measured by the analysis of the slide",
    "known": {"age": "64", "depth_mm": "1.4"},
    "missing": ["site"],
    "warnings": ["'x' has learnt from drawn patients alone (phantom-trained, demonstration)"],
    "patches": [{"what": "deepest place", "box": [0, 0, 9, 9], "probability": 0.31}],
    "model": {"name": "risk-test", "fingerprint": "abc"},
    "options": {"patch_mm": 3.0},
    "provenance": {"created": "2026-11-21T10:00:00+00:00"},
}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A patient of 64 years with a lesion that a slide is of, and a slide of no lesion."""
    (tmp_path / "section.svs").write_bytes(b"a slide")
    made = add_lesion(set_patient(Case(), patient_id="P-1", age=64))
    slide = CaseImage(id="", path=tmp_path / "section.svs", modality="wsi")
    return add_images(add_images(made, [slide], "L1"), [slide])


def test_it_survives_saving_reopening_and_a_move(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "P-1"
    with CaseStore.create(folder, case) as store:
        store.save(keep_risk(folder, store.case, "I1", ANSWER))
        before = store.case
    with CaseStore.open(folder) as store:
        assert store.case == before
    assert json.loads((folder / "case.json").read_text())["lesions"][0]["images"][0]["risk"]["path"] == "risk/I1.json"
    moved = shutil.move(folder, tmp_path / "elsewhere")
    with CaseStore.open(Path(moved)) as store:
        found = risk_of(store.case.lesions[0])
    assert found is not None
    image, risk = found
    assert (image.id, risk.path) == ("I1", tmp_path / "elsewhere/risk/I1.json")
    assert json.loads(risk.path.read_text()) == ANSWER
    shown = answer_of(risk)
    same = (
        "verdict",
        "probability",
        "interval",
        "shares",
        "without",
        "beside",
        "known",
        "missing",
        "warnings",
        "model",
    )
    assert {name: shown[name] for name in same} == {name: ANSWER[name] for name in same}


@pytest.mark.parametrize(
    ("edits", "changes"),
    [
        ({"depth_mm": 1.402}, ()),
        ({"depth_mm": 1.8}, ("depth_mm",)),
        ({"site": "lower extremity"}, ("site",)),
        ({"diagnosis": "melanoma", "metastasis": True}, ()),
    ],
)
def test_it_is_of_before_when_the_case_says_otherwise(
    case: Case, tmp_path: Path, edits: dict[str, object], changes: tuple[str, ...]
) -> None:
    kept = set_lesion(keep_risk(tmp_path, case, "I1", ANSWER), "L1", **edits)
    lesion = kept.lesions[0]
    assert lesion.images[0].risk is not None
    assert changed_since(kept, lesion, lesion.images[0], lesion.images[0].risk) == changes
    older = set_patient(kept, age=70)
    assert "age" in changed_since(older, older.lesions[0], lesion.images[0], lesion.images[0].risk)


def test_the_last_of_several_slides_counts(case: Case, tmp_path: Path) -> None:
    case = add_images(case, [CaseImage(id="", path=tmp_path / "other.svs", modality="wsi")], "L1")
    later = {**ANSWER, "probability": 0.5, "provenance": {"created": "2026-11-22T10:00:00+00:00"}}
    kept = keep_risk(tmp_path, keep_risk(tmp_path, case, "I3", later), "I1", ANSWER)
    found = risk_of(kept.lesions[0])
    assert found is not None
    assert (found[0].id, found[1].probability) == ("I3", 0.5)
    assert risk_of(add_lesion(case).lesions[-1]) is None


def test_what_does_not_fit_is_refused_and_the_case_stays(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of no lesion yet"):
        keep_risk(tmp_path, case, "I2", ANSWER)
    with pytest.raises(InputError, match="estimate it again"):
        keep_risk(tmp_path, case, "I1", {**ANSWER, "probability": 3})
    assert not (tmp_path / "risk").exists()


def test_the_check_misses_the_whole_answer(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "P-1"
    with CaseStore.create(folder, case) as store:
        store.save(keep_risk(folder, store.case, "I1", ANSWER))
    assert not [said for _, said in check_case(folder, run=RunContext()).faults if "risk" in said]
    (folder / "risk/I1.json").unlink()
    (fault,) = [said for _, said in check_case(folder, run=RunContext()).faults if "risk" in said]
    assert "I1.json, is missing or damaged" in fault


def test_the_command_line_prints_it(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "P-1"
    with CaseStore.create(folder, case) as store:
        store.save(keep_risk(folder, store.case, "I1", ANSWER))
    done = CliRunner().invoke(app, ["case", str(folder)])
    assert f"section.svs, wsi, risk: {ANSWER['verdict']}" in done.output
