"""The synoptic report: suggestions, confirmation, changes, signature, warnings, and its page of the documentation."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from napari_melanoma.case.model import Case, add_lesion
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.depth.findings import SlideFindings
from napari_melanoma.depth.readings import (
    FINDINGS,
    DepthReading,
    ExcisionMargins,
    MitosisCount,
    SlideDepthReadings,
    count_mitoses,
    latest_reading,
)
from napari_melanoma.depth.synoptic import (
    SynopticAnswer,
    SynopticReport,
    describe_finding,
    find_answer,
    set_finding,
)
from napari_melanoma.depth.synoptic_fields import CANNOT, FIELDS, FIELDS_BY_NAME, NOT_ASSESSED

REPOSITORY = Path(__file__).parents[2]
WHEN = "2026-01-02T10:00:00+00:00"
READING = DepthReading(
    reader="A",
    when=WHEN,
    mm=1.34,
    ulcerated=False,
    clark=4,
    margins=ExcisionMargins(lateral_mm=2.5, deep_mm=0.0),
    mitoses=MitosisCount(areas=(((0, 0), (0, 9), (9, 9)),), counted=3, mm2=1.5, per_mm2=2.0),
)
SQUARE = (((0.0, 0.0), (0.0, 2000.0), (2000.0, 2000.0), (2000.0, 0.0)),)
LESION = add_lesion(
    Case(),
    site="torso",
    sub_site="abdomen",
    laterality="left",
    diagnosis_detail="nodular melanoma",
    depth_mm=2.2,
    ulceration=True,
    mitoses_per_mm2=4.0,
).lesions[0]


def report(**values: object) -> SynopticReport:
    """Return a report with confirmed values; a state of its own means an answer without a value."""
    states = {NOT_ASSESSED, CANNOT}
    answers = {
        name: SynopticAnswer(state=value) if value in states else SynopticAnswer(value=value)
        for name, value in values.items()
    }
    return SynopticReport(answers=answers)


def values_of(given: SynopticReport) -> Mapping[str, object]:
    return {name: answer.value for name, answer in given.answers.items()}


def row(given: SynopticReport, name: str) -> tuple[str, str]:
    return next((one.text, one.state) for one in given.rows() if one.name == name)


def test_a_reading_answers_and_suggests_and_the_case_adds() -> None:
    given = SynopticReport().prefill(READING, LESION)
    assert values_of(given) == {
        "laterality": "left",
        "site": "torso",
        "extent": "invasive",
        "subtype": "nodular",
        "breslow": 1.34,
        "ulceration": "not_identified",
        "clark": "IV",
        "mitotic_rate": 2.0,
        "mitoses_counted": 3.0,
        "mitoses_area": 1.5,
        "peripheral_margin_invasive": "free",
        "peripheral_distance_invasive": 2.5,
        "deep_margin_invasive": "involved",
        "deep_distance_invasive": 0.0,
    }
    assert set(given.answers) - set(given.suggested) == {*FINDINGS}, "values by a reader are findings"
    assert row(given, "site") == ("torso: abdomen (suggested by the case, not confirmed)", "suggested")
    assert row(given, "extent")[0].endswith("(suggested by the depth reading, not confirmed)")
    assert row(given, "breslow") == ("1.34 mm, recorded as 1.3 mm", "answered")
    assert not given.history


def test_suggestion_gives_no_category_until_it_is_confirmed() -> None:
    automatic = DepthReading(mm=1.34, ulcerated=True, clark=4, method="automatic")
    given = SynopticReport().prefill(automatic)
    assert "clark" not in given.answers  # an estimate
    assert row(given, "breslow")[0].endswith("(suggested by the model, not confirmed)")
    assert given.stage.text == "no T category: Breslow thickness suggested, not confirmed"
    some = given.confirm("breslow", reader="B", when=WHEN)
    assert some.stage.category == "pT2"
    assert "ulceration suggested, not confirmed, so the category has no letter" in some.stage.reason
    every = some.confirm(reader="B", when=WHEN)
    assert (every.stage.category, every.suggested) == ("pT2b", ())
    assert [(one.field, one.reader, one.when) for one in every.history] == [
        ("breslow", "B", WHEN),
        ("extent", "B", WHEN),
        ("ulceration", "B", WHEN),
    ]
    assert every.history[0].before == {"state": "answered", "value": 1.34, "suggested_by": "model"}
    assert every.history[0].after == {"state": "answered", "value": 1.34, "confirmed_from": "model"}
    assert row(every, "ulceration")[0] == "present (suggested by the model, confirmed)"


def test_every_suggestion_has_an_author() -> None:
    mixed = READING.model_copy(update={"authors": {"ulcerated": "model"}})
    filled = SynopticReport().prefill(mixed, LESION)
    authors = {name: answer.author for name, answer in filled.answers.items()}
    suggested = {name for name, answer in filled.answers.items() if answer.suggested_by}
    assert suggested == {*filled.answers} - {*FINDINGS} | {"ulceration"}
    assert authors["ulceration"] == "model"
    assert {authors[name] for name in ("breslow", "mitotic_rate", "deep_margin_invasive", "clark")} == {"reader"}
    assert {authors[name] for name in ("site", "laterality", "subtype")} == {"imported"}
    changed = filled.confirm("ulceration", reader="B", when=WHEN)
    assert changed.answer("ulceration").author == "reader"
    assert changed.set_answer("ulceration", SynopticAnswer(value="present"), "B", WHEN).answer(
        "ulceration"
    ) == SynopticAnswer(value="present")


def test_redo_records_no_suggestion_as_a_change_of_the_reader() -> None:
    before = SynopticReport()
    after = before.prefill(DepthReading(mm=1.34)).set_answer("procedure", SynopticAnswer(value="punch"), "A", WHEN)
    redone = after.restore(before, "A", WHEN).restore(after, "A", WHEN)
    assert [change.field for change in redone.history] == ["procedure"] * 3


def test_prediction_that_is_not_valid_suggests_nothing() -> None:
    invalid = ValidityInputs("a", demonstration=True).check()
    assert not SynopticReport().prefill(DepthReading(mm=1.34), validity=invalid).answers
    assert SynopticReport().prefill(READING, validity=invalid).answers  # by a reader


def test_case_suggests_where_there_is_no_reading() -> None:
    found = values_of(SynopticReport().prefill(None, LESION))
    assert (found["breslow"], found["ulceration"], found["mitotic_rate"]) == (2.2, "present", 4.0)


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (DepthReading(when=WHEN), {}),
        (DepthReading(when=WHEN, mm=0.0), {"breslow": 0.0, "extent": "in_situ"}),
        (DepthReading(when=WHEN, mitoses=MitosisCount(points=((1, 1),), counted=1)), {"mitoses_counted": 1}),
        (DepthReading(when=WHEN, mitoses=count_mitoses((), SQUARE, PixelSize(1.0, 1.0))), {"mitoses_area": 4.0}),
        (
            DepthReading(when=WHEN, mitoses=count_mitoses((), SQUARE, PixelSize(1.0, 1.0), none_found=True)),
            {"mitotic_rate": 0.0, "mitoses_counted": 0, "mitoses_area": 4.0},
        ),
        (DepthReading(when=WHEN, mm=500.0), {"extent": "invasive"}),
    ],
    ids=["nothing", "in situ", "mitoses without an area", "area without a count", "none found", "impossible length"],
)
def test_prefilled_values_of_a_reading(reading: DepthReading, expected: dict[str, object]) -> None:
    assert values_of(SynopticReport().prefill(reading)) == expected


def test_user_values_stay_and_findings_follow_the_reading() -> None:
    own = SynopticAnswer(state=NOT_ASSESSED)
    given = SynopticReport().set_answer("regression", own, "A", WHEN).prefill(READING)
    assert given.answer("regression") == own
    assert given.prefill(DepthReading(when=WHEN, mm=3.0)).answer("breslow").value == 3.0
    assert values_of(given.prefill(DepthReading())) == {"regression": None}
    edited = given.set_answer("clark", SynopticAnswer(value="II"), "A", WHEN).set_answer("procedure", None, "A", WHEN)
    after = edited.set_answer("site", SynopticAnswer(value="torso"), "A", WHEN)
    stored = SlideFindings().edit_form(SynopticReport(), after).report
    assert not stored.answers.keys() & FINDINGS, "a finding has one store, the reading"
    assert [change.field for change in stored.history] == ["regression", "site"]


ANSWERS = {
    "breslow": SynopticAnswer(value=1.3, at_least=True),
    "ulceration": SynopticAnswer(value="not_identified", detail="two levels"),
    "clark": SynopticAnswer(value="IV", confirmed_from="model"),
    "mitotic_rate": SynopticAnswer(value=2.0),
    "mitoses_counted": SynopticAnswer(value=0.0),
    "mitoses_area": SynopticAnswer(value=1.5),
    "peripheral_distance_invasive": SynopticAnswer(value=2.5),
    "deep_distance_invasive": SynopticAnswer(value=0.0),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_is_unknown_not_assessed_undetermined_or_answered(name: str) -> None:
    """These stay four different things in the reading, in its file and in the report."""
    depth = SlideDepthReadings()
    for answer in (ANSWERS[name], *(SynopticAnswer(state=one) for one in (NOT_ASSESSED, CANNOT)), ANSWERS[name], None):
        depth = set_finding(depth, name, answer, "A", WHEN)
        depth = SlideDepthReadings.parse(json.loads(json.dumps(depth.model_dump(mode="json"))), "depth.json")
        reading = depth.reading_by("A")
        assert find_answer(reading, name) == answer
        assert SynopticReport().prefill(reading).answer(name) == answer
        expected = "unknown" if answer is None else answer.state if answer.value is None else None
        assert expected in (None, describe_finding(reading, name))
    assert len(reading.history) >= 5, "each change is recorded"
    assert "not assessed" in [change.after for change in reading.history] or FINDINGS[name] in ("mitoses", "margins")


def test_changes_are_recorded_and_undone() -> None:
    empty = SynopticReport()
    one = empty.set_answer("ulceration", SynopticAnswer(value="present", suggested_by="model"), "A", WHEN)
    assert one.answer("ulceration") == SynopticAnswer(value="present")  # set by a reader
    assert one.set_answer("ulceration", SynopticAnswer(value="present"), "B", WHEN) is one
    undone = one.restore(empty, "A", WHEN)
    assert not undone.answers
    assert [(entry.before is None, entry.after is None) for entry in undone.history] == [(True, False), (False, True)]
    assert one.set_answer("ulceration", None, "A", WHEN).answers == {}
    with pytest.raises(KeyError, match="no field 'color'"):
        empty.set_answer("color", None, "A", WHEN)


def test_signature_locks_until_reopened() -> None:
    given = SynopticReport().prefill(READING)
    with pytest.raises(InputError, match=r"not confirmed: Primary tumor, Peripheral margin.*, Deep margin"):
        given.sign("A", WHEN)
    given = given.confirm(reader="A", when=WHEN)
    with pytest.raises(InputError, match="needs a name"):
        given.sign(" ", WHEN)
    signed = given.sign("A", WHEN)
    assert (signed.signed_by, signed.signed_at, signed.status) == ("A", WHEN, "final")
    assert given.sign("B", WHEN).reader == "B"  # not the one who has edited it before
    for change in (
        lambda: signed.set_answer("clark", None, "A", WHEN),
        lambda: signed.restore(SynopticReport(), "A", WHEN),
        lambda: signed.sign("B", WHEN),
    ):
        with pytest.raises(InputError, match=r"signed by A\. Reopen it"):
            change()
    assert signed.prefill(DepthReading(when=WHEN, mm=9.0)) is signed
    reopened = signed.reopen("B", WHEN)
    assert (reopened.status, reopened.is_signed, reopened.reopen("B", WHEN) is reopened) == ("preliminary", False, True)
    assert [(one.before, one.after, one.reader) for one in reopened.history[-2:]] == [
        (None, "A", "A"),
        ("A", None, "B"),
    ]
    assert reopened.sign("B", WHEN).status == "amended"


def test_an_addendum_leaves_the_signed_report_unchanged() -> None:
    given = report(extent="invasive", breslow=1.34)
    with pytest.raises(InputError, match="requires a signed report"):
        given.add_addendum("later", "B", WHEN)
    signed = given.sign("A", WHEN)
    with pytest.raises(InputError, match="needs a text and the name"):
        signed.add_addendum(" ", "B", WHEN)
    added = signed.add_addendum(" Deeper levels: no change.\n", "B", WHEN)
    assert (added.addenda[0].text, added.addenda[0].reader) == ("Deeper levels: no change.", "B")
    assert (added.answers, added.signed_by, added.history) == (signed.answers, "A", signed.history)
    assert added.without_persons().addenda[0].reader == ""
    assert added.reopen("A", WHEN).addenda == added.addenda


def test_empty_fields_are_those_that_the_tumor_requires_and_the_others() -> None:
    required, other = report(extent="in_situ", procedure="punch", laterality="left").list_empty_fields()
    assert required[:2] == ["Site", "Histologic subtype"]
    assert "Breslow thickness" in other
    assert "Breslow thickness" in report(extent="invasive").list_empty_fields()[0]


def test_states_are_distinct_in_rows() -> None:
    given = report(mitotic_rate=0.0, ulceration=NOT_ASSESSED, regression=CANNOT, lymphocytes="absent")
    assert row(given, "mitotic_rate") == ("0 per mm²", "answered")
    assert row(given, "ulceration") == ("not assessed", "not assessed")
    assert row(given, "regression") == ("cannot be determined", "cannot be determined")
    assert row(given, "lymphocytes") == ("absent", "answered")
    assert row(given, "microsatellites") == ("not filled in", "missing")
    assert row(given, "t_category") == ("no T category: Breslow thickness not filled in", "missing")


def test_texts_have_units_and_details() -> None:
    least = SynopticAnswer(value=2.5, at_least=True)
    other = SynopticAnswer(value="other", detail="curettage")
    reason = SynopticAnswer(state=CANNOT, detail="curettage")
    given = SynopticReport(answers={"breslow": least, "procedure": other, "mitotic_rate": reason})
    assert row(given, "breslow")[0] == "at least 2.50 mm, recorded as at least 2.5 mm"
    assert row(given, "procedure")[0] == "other: curettage"
    assert row(given, "mitotic_rate")[0] == "cannot be determined: curettage"
    assert given.stage.category == "at least pT3"


@pytest.mark.parametrize(
    ("given", "warning"),
    [
        (report(), "Not filled in: Procedure; Laterality; Site"),
        (SynopticReport().prefill(READING), "Suggested, not confirmed: Primary tumor; Peripheral margin"),
        (report(extent="in_situ", breslow=1.2), "A Breslow thickness of 1.20 mm contradicts melanoma in situ. Correct"),
        (report(extent="in_situ", microsatellites="present"), "Microsatellites (present) contradicts melanoma in situ"),
        (report(ulceration_extent=2.0, ulceration="not_identified"), "ulceration is not answered as present"),
        (
            report(deep_margin_invasive="involved", deep_distance_invasive=2.0),
            "involved contradicts a distance of 2 mm",
        ),
        (report(deep_margin_in_situ="free", deep_distance_in_situ=0.0), "free contradicts a distance of 0 mm"),
        (report(mitotic_rate=5.0, mitoses_counted=2.0, mitoses_area=1.0), "5 per mm² contradicts 2 mitoses in 1 mm²"),
        (report(subtype="other"), "Histologic subtype: describe what 'other' means."),
        (report(breslow=CANNOT), "state why it cannot be determined"),
    ],
)
def test_warnings(given: SynopticReport, warning: str) -> None:
    assert any(warning in one for one in given.check()), given.check()


ALWAYS = ["Procedure", "Laterality", "Site"]
IN_SITU = ["Peripheral margin, melanoma in situ"]
INVASIVE = [
    *("Breslow thickness", "Ulceration", "Mitotic rate", "Microsatellites", "Lymphovascular invasion"),
    *("Neurotropism or perineural invasion", "Tumor-infiltrating lymphocytes", "Regression"),
    *("Peripheral margin, invasive melanoma", "Deep margin, invasive melanoma"),
]


@pytest.mark.parametrize(
    ("extent", "missing"),
    [
        ("invasive", [*ALWAYS, "Histologic subtype", *INVASIVE, *IN_SITU]),
        ("in_situ", [*ALWAYS, "Histologic subtype", *IN_SITU]),
        ("none", ALWAYS),
    ],
)
def test_only_required_fields_of_a_tumor_count_as_missing(extent: str, missing: list[str]) -> None:
    assert report(extent=extent).check() == (f"Not filled in: {'; '.join(missing)}.",)
    complete = {one.name: NOT_ASSESSED for one in FIELDS if one.absent and one.name != "extent"}
    specimen = {"procedure": "excision", "laterality": "left", "site": "torso"}
    assert report(**complete, **specimen, extent=extent).check() == ()


def test_rounded_rate_and_consistent_margins_are_accepted() -> None:
    given = report(mitotic_rate=2.0, mitoses_counted=5.0, mitoses_area=2.1, deep_margin_invasive="involved")
    assert not [one for one in given.check() if "contradicts" in one]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"clark": {"value": "VI"}}, "expected one of I, II, III, IV, V; found 'VI'"),
        ({"breslow": {"value": "thick"}}, "expected a number from 0 to 100 mm, found 'thick'"),
        ({"breslow": {"value": -1}}, "expected a number from 0 to 100 mm, found -1.0"),
        ({"breslow": {"value": 0, "at_least": True}}, "requires a Breslow thickness above 0 mm"),
        ({"ulceration": {"value": "present", "at_least": True}}, "requires a Breslow thickness above 0 mm"),
        ({"mitoses_counted": {"value": 1.5}}, "expected a whole number, found 1.5"),
        ({"comment": {"value": 3}}, "expected text, found 3.0"),
        ({"comment": {"value": " "}}, "the value is empty"),
        ({"procedure": {"state": "not assessed"}}, "it cannot be 'not assessed'"),
        ({"ulceration": {"state": "not assessed", "value": "present"}}, "expected a value for 'answered' and none"),
        ({"ulceration": {}}, "expected a value for 'answered' and none"),
        ({"ulceration": {"state": "unknown"}}, "'answers.ulceration.state' is 'unknown'"),
        ({"breslow": {"value": True}}, "expected a number"),
        ({"breslow": {"value": float("nan")}}, "'answers.breslow.value'"),
        ([], "'answers' is []"),
        ({"ulceration": 3}, "'answers.ulceration' is 3"),
    ],
)
def test_faulty_outputs_are_rejected(answers: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SynopticReport.parse({"answers": answers}, "a file")
    assert message in str(caught.value)


@pytest.mark.parametrize("when", ["yesterday", "2026-01-02T10:00:00", ""])
def test_signature_has_a_name_and_a_time_with_time_zone(when: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        SynopticReport.parse({"signed_by": "A", "signed_at": when}, "a file")


def test_keys_of_a_newer_version_are_kept() -> None:
    stored = report(ulceration="present").model_dump(mode="json")
    stored |= {"countersigned_by": "C"}
    stored["answers"] |= {"biomarkers": {"values": [1]}}
    stored["answers"]["ulceration"] |= {"observed": "twice", "repeated": False}
    stored["addenda"] = [{"text": "seen", "reader": "A", "when": WHEN, "why": "typo"}]
    stored["history"] = [{"field": "clark", "before": None, "after": None, "reader": "A", "when": WHEN, "why": "typo"}]
    given = SynopticReport.parse(stored, "a file")
    assert given.model_dump(mode="json") == stored
    changed = given.set_answer("clark", SynopticAnswer(value="II"), "A", WHEN).model_dump(mode="json")
    assert changed["countersigned_by"] == "C"
    assert changed["answers"]["biomarkers"] == {"values": [1]}
    assert changed["answers"]["ulceration"] == stored["answers"]["ulceration"]
    assert changed["history"][0] == stored["history"][0]
    stored["answers"]["ulceration"] |= {"observed": "Anna"}
    newer = SynopticReport.parse({**stored, "seen_by": "Anna"}, "a file")
    assert "Anna" not in json.dumps(newer.without_persons().model_dump(mode="json"))


def test_derived_values_are_computed_again() -> None:
    stored = report(breslow=1.34, ulceration="present").model_dump(mode="json")
    assert stored["derived"]["t_category"] == "pT2b"
    assert stored["derived"]["breslow_recorded"] == "1.3 mm"
    stored["derived"]["t_category"] = "pT4b"
    assert SynopticReport.parse(stored, "a file").model_dump(mode="json")["derived"]["t_category"] == "pT2b"


def test_fields_describe_a_form() -> None:
    assert len(FIELDS_BY_NAME) == len(FIELDS)
    for one in FIELDS:
        assert (one.kind == "choice") == bool(one.choices)
        assert (one.kind == "number") == bool(one.most)
        assert one.label
        assert one.group


def test_the_published_schema_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("synoptic_schema", REPOSITORY / "scripts" / "synoptic_schema.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.SCHEMA.read_text(encoding="utf-8") == script.schema_text(), "run python scripts/synoptic_schema.py"


def test_findings_of_a_signed_report_return_to_a_lost_reading() -> None:
    report = SynopticReport().set_answer("breslow", SynopticAnswer(value=0.47), "A", WHEN)
    report = report.set_answer("mitotic_rate", SynopticAnswer(state=NOT_ASSESSED), "A", WHEN).sign("A", WHEN)
    reading = SlideFindings(report=report).reopen("A", WHEN).reading_by("A")
    assert (reading.mm, describe_finding(reading, "mitotic_rate"), reading.when) == (0.47, NOT_ASSESSED, WHEN)
    changed = set_finding(SlideFindings(report=report), "breslow", SynopticAnswer(value=0.9), "A", WHEN)
    assert changed.reopen("A", WHEN).reading_by("A").mm == 0.9, "a later value of the signer stays"


def test_the_name_of_the_model_cannot_sign() -> None:
    with pytest.raises(InputError, match="reserved for the analysis"):
        SynopticReport().sign("Model", WHEN)


def test_times_are_compared_as_instants() -> None:
    early, late = "2026-01-02T23:30:00+09:00", "2026-01-02T15:00:00+00:00"  # the first is 14:30 in UTC
    depth = SlideDepthReadings(readings=(DepthReading(reader="A", when=early), DepthReading(reader="B", when=late)))
    assert latest_reading(depth).reader == "B"


def test_a_later_reading_without_a_thickness_does_not_hide_a_measured_one() -> None:
    measured, later = (
        DepthReading(reader="A", when=WHEN, mm=1.2),
        DepthReading(reader="B", when="2026-01-02T11:00:00+00:00", clark=3),
    )
    for readings in ((measured, later), (later, measured)):
        assert latest_reading(SlideDepthReadings(readings=readings)).reader == "A"
    assert latest_reading(SlideDepthReadings(readings=(later,))).reader == "B"
