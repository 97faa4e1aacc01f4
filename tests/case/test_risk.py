"""The risk of a slide in its case: saved, reopened, moved, checked, and outdated when the case changes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_melanoma.case.check import check_case
from napari_melanoma.case.model import (
    Case,
    CaseImage,
    CaseLesion,
    CaseRisk,
    add_images,
    add_lesion,
    remove_image,
    set_lesion,
    set_patient,
)
from napari_melanoma.case.results import (
    find_changed_fields,
    find_overruled_fields,
    latest_risk,
    risk_to_json,
    save_risk,
)
from napari_melanoma.case.store import CaseStore
from napari_melanoma.cli import app
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.validity import Validity, ValidityInputs

ANSWER: dict[str, Any] = {
    "verdict": "metastasis 0.31 (0.20 to 0.44): inconclusive at 90 % coverage",
    "probability": 0.31,
    "interval": [0.2, 0.44],
    "shares": {"image": 0.12, "depth": -0.05, "patient": 0.02},
    "without": 0.22,
    "comparators": {
        "breslow": {"title": "Breslow thickness alone", "probability": 0.3, "why": ""},
        "clark": {"title": "Clark level alone", "probability": None, "why": "clark is unknown"},
    },
    "depth": {"mm": 1.4, "source": "automatic"},
    "depth_text": "depth 1.40 mm, measured by the analysis of the slide",
    "known": {"age": "64", "depth_mm": "1.4"},
    "missing": ["site"],
    "warnings": [],
    "validity": ValidityInputs("risk-test", demonstration=True).check().to_json(),
    "patches": [{"what": "deepest place", "box": [0, 0, 9, 9], "probability": 0.31}],
    "model": {"name": "risk-test", "fingerprint": "abc"},
    "options": {"patch_mm": 3.0},
    "provenance": {"created": "2026-11-21T10:00:00+00:00"},
}


NAME = f"I1-{hashlib.sha256(json.dumps(ANSWER, sort_keys=True).encode()).hexdigest()[:12]}.json"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A patient of 64 years with a slide of a lesion, and an unassigned slide."""
    (tmp_path / "section.svs").write_bytes(b"a slide")
    made = add_lesion(set_patient(Case(), patient_id="P-1", age=64))
    slide = CaseImage(id="", path=tmp_path / "section.svs", modality="wsi")
    return add_images(add_images(made, [slide], "L1"), [slide])


def test_it_survives_saving_reopening_and_a_move(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "P-1"
    with CaseStore.create(folder, case) as store:
        store.save(save_risk(store, store.case, "I1", ANSWER))
        before = store.case
    with CaseStore.open(folder) as store:
        assert store.case == before
    assert json.loads((folder / "case.json").read_text())["lesions"][0]["images"][0]["risk"]["path"] == f"risk/{NAME}"
    moved = shutil.move(folder, tmp_path / "elsewhere")
    with CaseStore.open(Path(moved)) as store:
        found = latest_risk(store.case.lesions[0])
    assert found is not None
    image, risk = found
    assert (image.id, risk.path) == ("I1", tmp_path / "elsewhere/risk" / NAME)
    assert json.loads(risk.path.read_text()) == ANSWER
    shown = risk_to_json(risk)
    same = (
        "verdict",
        "probability",
        "interval",
        "shares",
        "without",
        "comparators",
        "known",
        "missing",
        "warnings",
        "model",
    )
    assert {name: shown[name] for name in same} == {name: ANSWER[name] for name in same}


@pytest.mark.parametrize("step", [1, -1], ids=["first slide earlier", "second slide earlier"])
@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-11-21T12:30:00+03:00", "2026-11-21T10:00:00+00:00"),
        ("2026-11-21T10:00:00", "2026-11-21T09:30:00-01:00"),
        ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00.5+00:00"),
        ("", "2026-11-21"),
        ("unknown", "2026-11-21"),
    ],
)
def test_the_latest_risk_is_that_of_the_latest_time(
    case: Case, tmp_path: Path, earlier: str, later: str, step: int
) -> None:
    case = add_images(case, [CaseImage(id="", path=tmp_path / "section.svs", modality="wsi")], "L1")
    with CaseStore.create(tmp_path / "P-1", case) as store:
        changed = store.case
        for image, created in zip(case.lesions[0].images[::step], (earlier, later), strict=True):
            changed = save_risk(store, changed, image.id, {**ANSWER, "provenance": {"created": created}})
        found = latest_risk(changed.lesions[0])
    assert found is not None
    assert found[1].created == later


@pytest.fixture
def store(case: Case, tmp_path: Path) -> Iterator[CaseStore]:
    """The same in a folder, open."""
    with CaseStore.create(tmp_path / "P-1", case) as opened:
        yield opened


def requested(case: Case) -> tuple[Case, CaseLesion, CaseImage, CaseRisk]:
    """The risk of the first lesion."""
    found = latest_risk(case.lesions[0])
    assert found is not None
    return (case, case.lesions[0], *found)


@pytest.mark.parametrize(
    ("edits", "changes"),
    [
        ({"depth_mm": 1.402}, ()),
        ({"depth_mm": 1.8}, ("depth_mm",)),
        ({"site": "lower extremity"}, ("site",)),
        ({"diagnosis": "melanoma", "metastasis": True}, ()),
    ],
)
def test_it_is_outdated_when_the_case_changes(
    store: CaseStore, edits: dict[str, object], changes: tuple[str, ...]
) -> None:
    kept = set_lesion(save_risk(store, store.case, "I1", ANSWER), "L1", **edits)
    assert find_changed_fields(*requested(kept)) == changes
    assert "age" in find_changed_fields(*requested(set_patient(kept, age=70)))
    assert "age" in find_changed_fields(*requested(set_patient(kept, age=None)))  # erased


def test_values_of_the_slide_do_not_outdate_the_risk(store: CaseStore) -> None:
    case = set_lesion(store.case, "L1", depth_mm=1.2, site="lower extremity")
    kept = save_risk(store, case, "I1", ANSWER)
    assert find_changed_fields(*requested(kept)) == ()
    found = find_overruled_fields(*requested(kept))
    assert found["depth_mm"] == ("1.2", "1.4")
    assert found["site"][1] == ""
    assert set(found) == {"depth_mm", "site"}
    mended = set_lesion(kept, "L1", depth_mm=1.4)
    assert (find_changed_fields(*requested(mended)), set(find_overruled_fields(*requested(mended)))) == ((), {"site"})
    thicker = set_lesion(kept, "L1", depth_mm=1.8)
    assert (find_changed_fields(*requested(thicker)), set(find_overruled_fields(*requested(thicker)))) == (
        ("depth_mm",),
        {"site"},
    )
    assert find_changed_fields(*requested(set_lesion(kept, "L1", depth_mm=None))) == ("depth_mm",)
    again = save_risk(store, thicker, "I1", ANSWER)
    assert find_changed_fields(*requested(again)) == ()


def test_undo_restores_the_previous_risk_and_no_data_remain(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "P-1"
    later = {**ANSWER, "probability": 0.5}
    with CaseStore.create(folder, case) as store:
        first = save_risk(store, store.case, "I1", ANSWER)
        store.save(first)
        store.save(save_risk(store, first, "I1", later))
        store.save(first)  # undone
        save_risk(store, first, "I1", {**ANSWER, "probability": 0.6})  # and one that nobody saved
    (left,) = (folder / "risk").iterdir()
    assert json.loads(left.read_text(encoding="utf-8")) == ANSWER
    with CaseStore.open(folder) as store:  # another day
        store.save(remove_image(store.case, "I1"))
        assert left.is_file()  # an undo would ask for it
    assert not list((folder / "risk").iterdir())


def test_a_read_only_case_is_not_changed(store: CaseStore) -> None:
    looking = CaseStore.open_read_only(store.folder)
    with pytest.raises(SaveError, match="read-only"):
        save_risk(looking, looking.case, "I1", ANSWER)
    assert not (store.folder / "risk").exists()


def test_the_latest_of_several_slides_counts(store: CaseStore, tmp_path: Path) -> None:
    case = add_images(store.case, [CaseImage(id="", path=tmp_path / "other.svs", modality="wsi")], "L1")
    later = {**ANSWER, "probability": 0.5, "provenance": {"created": "2026-11-22T10:00:00+00:00"}}
    kept = save_risk(store, save_risk(store, case, "I3", later), "I1", ANSWER)
    found = latest_risk(kept.lesions[0])
    assert found is not None
    assert (found[0].id, found[1].probability) == ("I3", 0.5)
    assert latest_risk(add_lesion(case).lesions[-1]) is None


def test_an_invalid_risk_is_rejected(store: CaseStore) -> None:
    with pytest.raises(InputError, match="not assigned to a lesion"):
        save_risk(store, store.case, "I2", ANSWER)
    with pytest.raises(InputError, match="estimate it again"):
        save_risk(store, store.case, "I1", {**ANSWER, "probability": 3})
    assert not (store.folder / "risk").exists()


def test_the_check_reports_a_missing_result(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "P-1"
    with CaseStore.create(folder, case) as store:
        store.save(save_risk(store, store.case, "I1", ANSWER))
    assert not [message for _, message in check_case(folder, run=RunContext()).faults if "risk" in message]
    (folder / "risk" / NAME).unlink()
    (fault,) = [message for _, message in check_case(folder, run=RunContext()).faults if "risk" in message]
    assert f"{NAME}, is missing or damaged" in fault


def test_the_command_line_prints_it(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "P-1"
    with CaseStore.create(folder, case) as store:
        store.save(save_risk(store, store.case, "I1", ANSWER))
    done = CliRunner().invoke(app, ["case", str(folder)])
    assert "section.svs, wsi, risk: Not valid: not applicable to real patients." in done.output
    assert "inconclusive" not in done.output
    valid = {**ANSWER, "validity": Validity().to_json()}
    with CaseStore.open(folder) as store:
        store.save(save_risk(store, store.case, "I1", valid))
    done = CliRunner().invoke(app, ["case", str(folder)])
    assert f"section.svs, wsi, risk: {ANSWER['verdict']}" in done.output
