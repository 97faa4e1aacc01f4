"""The synoptic report for other programs: valid in FHIR R4B and R5, and nowhere a 0 or no for what was not assessed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from finding_files import save_synoptic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from napari_melanoma.case.model import Case, CasePatient, add_lesion, set_lesion, set_patient
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.depth.signatures import NOT_RECORDED
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.depth.synoptic_fields import ANSWERED, CANNOT, FIELDS, NOT_ASSESSED, SynopticField
from napari_melanoma.extensions.privacy_audit.audit import PrivacyFinding, audit
from napari_melanoma.extensions.synoptic.exports import write_synoptic_json, write_synoptic_table
from napari_melanoma.extensions.synoptic.fhir import SYSTEM, build_diagnostic_report
from napari_melanoma.io.results import read_table
from napari_melanoma.privacy.pseudonyms import pseudonym
from napari_melanoma.reports.slide_export import export_results, find_exported_folders, find_result_folders

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[3] / "docs" / "reference" / "synoptic.schema.json").read_text(encoding="utf-8"))
)
RELEASES = [
    import_module(f"fhir.resources.{release}diagnosticreport").DiagnosticReport for release in ("R4B.", "")
]  # R4B is R4 for these resources; without a release it is R5
WHEN, NAME = "2026-01-02T10:00:00+01:00", "Anna Miller"
CERTAIN_LOINC = {
    *("60568-3", "21899-0", "44640-1", "44661-7", "86668-1", "44660-9", "86667-3", "44695-5", "44683-1"),
}
# Words of required value sets that the package abbreviates by "+".
MORE_WORDS = {"amended"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def answers(draw: st.DrawFn, one: SynopticField) -> SynopticAnswer:
    """Draw any answer that a field accepts."""
    state = draw(st.sampled_from((ANSWERED, *one.absent)))
    detail, source = draw(TEXTS), draw(st.sampled_from(("", "model", "reading", "case")))
    if state != ANSWERED:
        return SynopticAnswer(state=state, detail=detail, suggested_by=source)
    if one.kind == "choice":
        value: str | float = draw(st.sampled_from(tuple(one.choices)))
    elif one.kind == "text":
        value = draw(TEXTS.filter(str.strip))
    else:
        value = float(draw(st.integers(0, int(one.most)) if one.is_integer else st.floats(0, one.most)))
    least = one.name == "breslow" and value != 0 and draw(st.booleans())
    return SynopticAnswer(value=value, detail=detail, suggested_by=source, at_least=least)


@st.composite
def reports(draw: st.DrawFn) -> SynopticReport:
    """Draw any report: each field missing or with any answer, signed or not."""
    found = draw(st.fixed_dictionaries({}, optional={one.name: answers(one) for one in FIELDS}))
    report = SynopticReport(answers=found)
    if not draw(st.booleans()):
        return report
    report = report.confirm(reader=NAME, when=WHEN).sign(NAME, WHEN)
    return report.reopen(NAME, WHEN).sign(NAME, WHEN) if draw(st.booleans()) else report


PATIENTS = st.sampled_from(
    [None, CasePatient(), CasePatient(patient_id="P-7F3K2Q-9XMAB4", sex="female", age=40, note="a note")]
)
MANY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def invalid_codes(model: BaseModel) -> Iterator[str]:
    """Yield values outside of the value set of their element, which the package itself does not check."""
    for name, info in type(model).model_fields.items():
        value, extra = getattr(model, name), info.json_schema_extra
        allowed = extra.get("enum_values") if isinstance(extra, dict) else None
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, BaseModel):
                yield from invalid_codes(one)
            elif allowed and one is not None and one not in allowed and not ("+" in allowed and one in MORE_WORDS):
                yield f"{type(model).__name__}.{name}: {one}"


def codings(values: Any) -> Iterator[dict[str, str]]:
    if isinstance(values, dict):
        yield from values.get("coding", ())
        for value in values.values():
            yield from codings(value)
    elif isinstance(values, list):
        for value in values:
            yield from codings(value)


@pytest.mark.slow
@MANY
@given(reports(), PATIENTS, st.booleans())
def test_every_report_is_valid_fhir(report: SynopticReport, patient: CasePatient | None, personal: bool) -> None:
    resource = build_diagnostic_report(report, patient, personal=personal)
    text = json.dumps(resource)
    for release in RELEASES:
        found = release.model_validate_json(text)
        assert list(invalid_codes(found)) == []
        for one in found.contained:
            assert list(invalid_codes(one)) == []
    ids = [one["id"] for one in resource["contained"]]
    assert len(set(ids)) == len(ids)
    referenced = [*resource["result"], *([resource["subject"]] if patient else [])]
    assert sorted(one["reference"] for one in referenced) == sorted(f"#{one}" for one in ids)
    assert {one["code"] for one in codings(resource) if one["system"] == "http://loinc.org"} <= CERTAIN_LOINC
    assert resource["status"] == ("preliminary" if not report.is_signed else report.status)
    for one in resource["contained"]:
        assert ("dataAbsentReason" in one) <= (not [key for key in one if key.startswith("value")])
    assert personal or (NAME not in text and "2026" not in text)
    assert "a note" not in text


def test_the_patient_has_no_id_of_a_hospital_but_a_sex(user_folders: object) -> None:
    patient = CasePatient(patient_id="Mueller_Hans_1953", sex="male")
    found = build_diagnostic_report(SynopticReport(), patient)["contained"][0]
    assert found["gender"] == "male"
    assert found["identifier"][0]["value"] == pseudonym("Mueller_Hans_1953")
    personal = build_diagnostic_report(SynopticReport(), patient, personal=True)["contained"][0]
    assert personal["identifier"][0]["value"] == "Mueller_Hans_1953"
    assert personal["gender"] == "male"


@pytest.mark.parametrize(("source", "notes"), [("", [{"text": "a detail"}]), ("model", None)])
def test_a_suggested_value_has_no_note(source: str, notes: object) -> None:
    report = one_answer("breslow", value=1.3, detail="a detail", suggested_by=source)
    assert value_of(report, "breslow").get("note") == notes


def test_values_outside_of_a_value_set_are_found() -> None:
    resource = build_diagnostic_report(SynopticReport(), CasePatient(sex="female"))
    resource["contained"][0]["gender"] = "unsaid"
    (patient, _) = RELEASES[0].model_validate(resource).contained
    assert list(invalid_codes(patient)) == ["Patient.gender: unsaid"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synoptic")


@pytest.mark.slow
@MANY
@given(report=reports())
def test_empty_fields_are_empty_in_all_outputs(report: SynopticReport, folder: Path) -> None:
    write_synoptic_json(folder / "a.json", report)
    write_synoptic_table(folder / "a.csv", report)
    stored = json.loads((folder / "a.json").read_text(encoding="utf-8"))
    SCHEMA.validate(stored)
    cells = {row["field"]: row for row in read_table(folder / "a.csv")}
    rows = {row.name: row for row in report.rows()}
    observed = {one["id"]: one for one in build_diagnostic_report(report)["contained"]}
    for one in FIELDS:
        answer, observation = report.answer(one.name), observed.get(one.name.replace("_", "-"))
        assert cells[one.name]["state"] == rows[one.name].state
        if answer is None:
            assert (rows[one.name].text, cells[one.name]["value"]) == ("not filled in", "")
            assert one.name not in stored["answers"]
            assert observation is None
        elif answer.state != ANSWERED:
            assert rows[one.name].text.startswith(answer.state)
            assert cells[one.name]["value"] == ""
            assert not {"value", "at_least"} & set(stored["answers"][one.name])
        else:
            assert "value" in stored["answers"][one.name]
            assert cells[one.name]["value"] != ""
        if answer is not None:
            is_known = answer.state == ANSWERED and not answer.suggested_by
            assert ("dataAbsentReason" not in observation) == is_known
            assert bool([key for key in observation if key.startswith(("value", "component"))]) == is_known
    assert ("breslow_recorded" in cells) == (report.value("breslow") is not None)


def value_of(report: SynopticReport, name: str) -> dict[str, Any]:
    """Return an observation without its constant parts."""
    (found,) = (one for one in build_diagnostic_report(report)["contained"] if one["id"] == name)
    return {key: value for key, value in found.items() if key not in ("resourceType", "id", "status")}


def one_answer(name: str, **values: object) -> SynopticReport:
    return SynopticReport(answers={name: SynopticAnswer(**values)})


def own(name: str, label: str) -> dict[str, str]:
    return {"system": SYSTEM, "code": name, "display": label}


def millimeters(value: float, **more: str) -> dict[str, object]:
    return {"value": value, "unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm", **more}


@pytest.mark.parametrize(
    ("values", "code", "recorded", "measured"),
    [
        ({"value": 1.34}, "44661-7", millimeters(1.3), millimeters(1.34)),
        (
            {"value": 2.55, "at_least": True},
            "44661-7",
            millimeters(2.6, comparator=">="),
            millimeters(2.55, comparator=">="),
        ),
        ({"value": 0.04}, "44661-7", millimeters(0.1, comparator="<"), millimeters(0.04)),
        (
            {"value": 0.04, "at_least": True},
            "44661-7",
            millimeters(0.04, comparator=">="),
            millimeters(0.04, comparator=">="),
        ),
    ],
)
def test_thickness_is_recorded_with_the_measured_one(
    values: dict[str, object], code: str, recorded: dict[str, object], measured: dict[str, object]
) -> None:
    found = value_of(one_answer("breslow", **values), "breslow")
    assert found["code"]["coding"] == [
        {"system": "http://loinc.org", "code": code},
        own("breslow", "Breslow thickness"),
    ]
    assert found["valueQuantity"] == recorded
    assert [one["valueQuantity"] for one in found["component"]] == [measured]


def test_thickness_of_a_transected_melanoma_has_a_code_of_its_own() -> None:
    report = one_answer("breslow", value=2.5, at_least=True)
    for margin, code in (("free", "44661-7"), ("involved", "86668-1")):
        given = report.set_answer("deep_margin_invasive", SynopticAnswer(value=margin), NAME, WHEN)
        assert value_of(given, "breslow")["code"]["coding"][0]["code"] == code


def test_rate_is_a_concept_with_a_quantity() -> None:
    found = value_of(one_answer("mitotic_rate", value=0.0), "mitotic-rate")
    assert found["valueCodeableConcept"] == {"text": "0 per mm²"}
    (component,) = found["component"]
    assert (component["valueQuantity"]["value"], component["valueQuantity"]["code"]) == (0.0, "/mm2")
    assert component["code"]["coding"][0]["code"] not in [one["code"] for one in found["code"]["coding"]]  # obs-7
    assert value_of(one_answer("mitoses_counted", value=3.0), "mitoses-counted")["valueInteger"] == 3


@pytest.mark.parametrize(
    ("values", "code", "text"),
    [
        ({"state": NOT_ASSESSED}, "not-performed", "not assessed"),
        ({"state": CANNOT, "detail": "curettage"}, "unknown", "cannot be determined"),
        ({"value": "present", "suggested_by": "model"}, "temp-unknown", "suggested, not confirmed"),
    ],
)
def test_missing_values_have_a_reason(values: dict[str, object], code: str, text: str) -> None:
    found = value_of(one_answer("ulceration", **values), "ulceration")
    assert (found["dataAbsentReason"]["coding"][0]["code"], found["dataAbsentReason"]["text"]) == (code, text)
    assert found.get("note") == ([{"text": "curettage"}] if "detail" in values else None)


def test_category_has_its_reason() -> None:
    found = value_of(one_answer("breslow", value=3.0), "t-category")
    assert found["valueCodeableConcept"]["text"] == "pT3"
    assert "so the category has no letter" in found["note"][0]["text"]
    assert "dataAbsentReason" in value_of(SynopticReport(), "t-category")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A signed report without an analysis of the slide, and a folder with a reading alone."""
    report = one_answer("breslow", value=1.34).set_answer("ulceration", SynopticAnswer(value="present"), NAME, WHEN)
    save_synoptic(tmp_path / "results" / "section", report.sign(NAME, WHEN))
    (tmp_path / "results" / "other").mkdir()
    (tmp_path / "results" / "other" / "depth.json").write_text("{}", encoding="utf-8")
    return tmp_path / "results"


def audited(path: Path) -> list[PrivacyFinding]:
    findings: list[PrivacyFinding] = []
    audit([path], findings.append, run=RunContext())
    return findings


def test_export_has_no_person_and_no_date_unless_requested(results: Path, tmp_path: Path) -> None:
    kinds = ["synoptic", "synoptic.csv", "fhir"]
    folders = find_result_folders([results])
    written = export_results(folders, tmp_path / "out", kinds, run=RunContext())
    left_out = [one for one in written if one.left_out]
    assert [one.folder.name for one in left_out] == ["other"] * 3
    assert all("no synoptic report yet. Fill in the form" in one.error for one in left_out)
    out = tmp_path / "out" / "section"
    assert sorted(path.name for path in out.iterdir()) == ["synoptic.csv", "synoptic.fhir.json", "synoptic.json"]
    assert audited(tmp_path / "out") == []
    assert json.loads((out / "synoptic.json").read_text(encoding="utf-8"))["derived"]["status"] == "final"

    export_results(folders[1:], tmp_path / "own", kinds, personal=True, run=RunContext())
    resource = json.loads((tmp_path / "own" / "section" / "synoptic.fhir.json").read_text(encoding="utf-8"))
    assert resource["issued"] == "2026-01-02T09:00:00+00:00"
    assert resource["resultsInterpreter"] == [{"display": NAME}]
    stored = json.loads((tmp_path / "own" / "section" / "synoptic.json").read_text(encoding="utf-8"))
    assert (stored["signed_by"], len(stored["history"])) == (NAME, 2)
    assert audited(tmp_path / "own")


def test_case_exports_the_reports_of_its_lesions(tmp_path: Path) -> None:
    case = set_patient(add_lesion(add_lesion(Case())), patient_id="P-7F3K2Q-9XMAB4", sex="female")
    case = set_lesion(case, "L2", synoptic=one_answer("extent", value="in_situ"))
    with CaseStore.create(tmp_path / "case", case):
        pass
    folders = find_exported_folders([tmp_path / "case", tmp_path / "case"])
    written = export_results(folders, tmp_path / "out", ["synoptic", "fhir", "csv"], run=RunContext())
    assert [one.path.relative_to(tmp_path / "out").as_posix() for one in written if not one.error] == [
        "case/L2/synoptic.json",
        "case/L2/synoptic.fhir.json",
    ]
    assert [(one.folder.name, one.left_out) for one in written if one.error] == [("L1", True)] * 3 + [("L2", False)]
    assert "expected --to synoptic, fhir" in written[-1].error
    resource = json.loads(written[4].path.read_text(encoding="utf-8"))
    assert resource["contained"][0]["identifier"][0]["value"] == "P-7F3K2Q-9XMAB4"
    assert (resource["contained"][0]["gender"], resource["subject"]) == ("female", {"reference": "#patient"})
    assert resource["conclusion"].startswith("pTis: melanoma in situ")
    assert audited(tmp_path / "out") == []
    with CaseStore.create(tmp_path / "empty", add_lesion(Case())):
        pass
    (failed,) = export_results([tmp_path / "empty"], tmp_path / "out", ["fhir"], run=RunContext())
    assert "is a case without a synoptic report" in failed.error


def test_table_has_a_row_per_field(results: Path, tmp_path: Path) -> None:
    export_results([results / "section"], tmp_path, ["synoptic.csv"], run=RunContext())
    with (tmp_path / "section" / "synoptic.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["field"]: row for row in csv.DictReader(file)}
    assert [*rows] == [
        name for one in FIELDS for name in ([one.name, "breslow_recorded"] if one.name == "breslow" else [one.name])
    ] + ["t_category", "status", "change"]
    assert rows["change"]["value"] == NOT_RECORDED
    assert [(rows[name]["value"], rows[name]["unit"]) for name in ("breslow", "breslow_recorded")] == [
        ("1.34", "mm"),
        ("1.3", "mm"),
    ]
    assert rows["t_category"]["value"] == "pT2b"
    assert rows["t_category"]["detail"].startswith("recorded as 1.3 mm")
    assert rows["status"]["value"] == "final"
