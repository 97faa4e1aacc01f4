"""Edits of a case: unique ids and no lost images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as some

from napari_melanoma.case.lesion_content import LesionContent
from napari_melanoma.case.model import (
    FINDINGS,
    Case,
    CaseCorrection,
    CaseFindings,
    CaseImage,
    CaseResult,
    add_images,
    add_lesion,
    add_result,
    move_image,
    move_images,
    remove_image,
    remove_lesion,
    set_correction,
    set_lesion,
    set_lesion_answers,
    set_patient,
)
from napari_melanoma.case.store import case_to_json, parse_case
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport

FOLDER = Path("cases/P-0042").absolute()


def picture(name: str, **values: object) -> CaseImage:
    return CaseImage(id="", path=FOLDER / f"{name}.jpg", **values)


def small_case() -> Case:
    """Two lesions with two and one images, and one image of no lesion."""
    case = add_lesion(add_lesion(Case(), site="torso"), sub_site="forearm")
    case = add_images(case, [picture("a"), picture("b")], "L1")
    return add_images(add_images(case, [picture("c")], "L2"), [picture("d")])


def layout(case: Case) -> dict[str, list[str]]:
    return {**{lesion.id: names(lesion.images) for lesion in case.lesions}, "": names(case.images)}


def names(images: tuple[CaseImage, ...]) -> list[str]:
    return [image.name for image in images]


def test_lesions_and_images_are_numbered_as_they_come() -> None:
    case = small_case()
    assert layout(case) == {"L1": ["a", "b"], "L2": ["c"], "": ["d"]}
    assert [image.id for _, image in case.iterate_images()] == ["I1", "I2", "I3", "I4"]


def test_a_number_missing_in_the_file_is_not_reused() -> None:
    written = small_case().model_copy(update={"lesions_numbered": 0, "images_numbered": 1})
    case = add_images(add_lesion(written), [picture("e")])
    assert [lesion.id for lesion in case.lesions] == ["L1", "L2", "L3"]
    assert [image.id for _, image in case.iterate_images()] == ["I1", "I2", "I3", "I4", "I5"]


@dataclass(frozen=True)
class Move:
    name: str
    image: str
    lesion: str
    position: int | None
    expected: dict[str, list[str]]


MOVES = [
    Move("to another lesion", "I1", "L2", None, {"L1": ["b"], "L2": ["c", "a"], "": ["d"]}),
    Move("to its beginning", "I1", "L2", 0, {"L1": ["b"], "L2": ["a", "c"], "": ["d"]}),
    Move("within its own", "I1", "L1", 1, {"L1": ["b", "a"], "L2": ["c"], "": ["d"]}),
    Move("out of all", "I3", "", 0, {"L1": ["a", "b"], "L2": [], "": ["c", "d"]}),
    Move("into one", "I4", "L1", 1, {"L1": ["a", "d", "b"], "L2": ["c"], "": []}),
]


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.name)
def test_an_image_is_moved(move: Move) -> None:
    before = small_case()
    assert layout(move_image(before, move.image, move.lesion, move.position)) == move.expected
    assert before == small_case()


def test_images_of_a_lesion_that_is_removed_stay_in_the_case() -> None:
    case = remove_lesion(small_case(), "L1")
    assert layout(case) == {"L2": ["c"], "": ["d", "a", "b"]}


def test_a_number_is_not_reused() -> None:
    case = add_lesion(remove_lesion(small_case(), "L2"))
    case = add_images(remove_image(case, "I4"), [picture("e")], "L3")
    assert [lesion.id for lesion in case.lesions] == ["L1", "L3"]
    assert case.find_lesion("L3").images[0].id == "I5"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"age": "54"}, {"age": "54"}),
        ({"age": " "}, {"age": ""}),
        ({"age": None}, {"age": ""}),
        ({"sex": "female", "fitzpatrick": "3"}, {"sex": "female", "fitzpatrick": "3"}),
        ({"sex": "unknown"}, {"sex": ""}),
        ({"personal_history": "1", "family_history": "0"}, {"personal_history": "1", "family_history": "0"}),
    ],
)
def test_texts_of_a_form_are_converted(values: dict[str, str | None], expected: dict[str, str]) -> None:
    patient = set_patient(set_patient(Case(), age=80), **values).patient
    assert {name: patient.cell(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"age": "430"}, "from 0 to 120"),
        ({"age": "old"}, "valid number"),
        ({"sex": "f "}, "female, male"),
        ({"fitzpatrick": 7}, "1, 2, 3, 4, 5, 6"),
        ({"name": "x"}, "unknown key 'name'"),
    ],
)
def test_invalid_values_are_rejected_with_the_allowed_ones(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        set_patient(Case(), **values)


def test_a_result_is_current_for_its_mask() -> None:
    mask = CaseCorrection(path=FOLDER / "m.png", digest="abc")
    own, corrected = CaseResult(path=FOLDER / "r"), CaseResult(path=FOLDER / "s", correction="abc")
    case = add_result(add_result(small_case(), "I3", own), "I3", corrected)
    assert [case.find_image("I3").is_current(result) for result in (own, corrected)] == [True, False]
    case = set_correction(case, "I3", mask)
    assert [case.find_image("I3").is_current(result) for result in (own, corrected)] == [False, True]
    assert case.find_image("I3").current == corrected
    again = add_result(case, "I3", own.model_copy(update={"model": "b"}))
    assert [result.model for result in again.find_image("I3").results] == ["", "b"]


def test_images_that_are_moved_within_their_lesion_stay_together() -> None:
    case = add_images(add_lesion(Case()), [picture(name) for name in "abcd"], "L1")
    assert layout(move_images(case, ["I1", "I3"], "L1", 2)) == {"L1": ["b", "d", "a", "c"], "": []}
    assert layout(move_images(case, ["I3", "I4"], "L1", 0)) == {"L1": ["c", "d", "a", "b"], "": []}
    assert layout(move_images(case, ["I2", "I4"], "")) == {"L1": ["a", "c"], "": ["b", "d"]}


def test_the_subtype_of_another_diagnosis_is_removed() -> None:
    case = set_lesion(add_lesion(Case()), "L1", diagnosis_detail="dysplastic nevus", diagnosis_by="histopathology")
    case = set_lesion(case, "L1", diagnosis="nevus")
    assert (case.lesions[0].diagnosis_detail, case.lesions[0].diagnosis_by) == ("dysplastic nevus", "histopathology")
    case = set_lesion(case, "L1", diagnosis="melanoma", diagnosis_by="consensus")
    assert (case.lesions[0].diagnosis_detail, case.lesions[0].diagnosis_by) == ("", "consensus")


@pytest.mark.parametrize("edit", [remove_lesion, remove_image, lambda case, name: set_lesion(case, name)])
def test_an_unknown_id_is_reported(edit) -> None:
    with pytest.raises(KeyError, match="no X9"):
        edit(small_case(), "X9")


STEPS = some.lists(some.tuples(some.integers(0, 5), some.integers(0, 9), some.integers(0, 9)), max_size=12)


def step(case: Case, kind: int, which: int, other: int) -> tuple[Case, int]:
    """One edit and by how many images it changes the case."""
    images, lesions = [image.id for _, image in case.iterate_images()], ["", *(lesion.id for lesion in case.lesions)]
    lesion = lesions[other % len(lesions)]
    if kind == 0:
        return add_lesion(case), 0
    if kind == 1:
        return add_images(case, [picture(f"n{which}"), picture("same")], lesion), 2
    if kind == 2 and lesion:
        return remove_lesion(case, lesion), 0
    if kind == 3 and images:
        return move_image(case, images[which % len(images)], lesion, other % 3), 0
    if kind == 4 and images:
        return remove_image(case, images[which % len(images)]), -1
    return set_patient(case, age=which), 0


@pytest.mark.slow
@tries(max_examples=40)
@given(STEPS)
def test_edits_keep_all_images_and_cases_can_be_stored(steps: list[tuple[int, int, int]]) -> None:
    case, count, seen = small_case(), 4, set()
    for kind, which, other in steps:
        case, more = step(case, kind, which, other)
        count += more
        ids = [image.id for _, image in case.iterate_images()]
        assert len(ids) == len(set(ids)) == count
        seen |= set(ids)
    assert case.images_numbered >= len(seen)
    assert parse_case(case_to_json(case, FOLDER), FOLDER) == case


WHEN = "2026-01-02T10:00:00+00:00"


def test_imported_findings_of_a_lesion_are_suggestions_of_its_form() -> None:
    case = add_lesion(Case(), depth_mm=0.9, ulceration=False, clark=3, mitoses_per_mm2=2)
    lesion = case.lesions[0]
    assert (lesion.depth_mm, lesion.ulceration, lesion.clark, lesion.mitoses_per_mm2) == (0.9, False, 3, 2.0)
    assert {one.author for one in lesion.form.answers.values()} == {"imported"}
    assert lesion.report is None, "no reader has answered"
    assert lesion.form.stage.category == "", "what is not confirmed decides no category"
    stored = json.loads(case_to_json(case, FOLDER))["lesions"][0]
    assert (stored["imported"].keys(), "synoptic" in stored) == (set(FINDINGS.values()), False), "they are stored once"
    assert parse_case(case_to_json(case, FOLDER), FOLDER) == case

    answered = set_lesion_answers(case, "L1", {"breslow": SynopticAnswer(value=1.5)}, "A", WHEN).lesions[0]
    assert (answered.depth_mm, answered.report is None) == (1.5, False)
    assert (
        set_lesion(case, "L1", depth_mm="", ulceration=None, clark=None, mitoses_per_mm2=None).lesions[0]
        == (add_lesion(Case()).lesions[0])
    )
    with pytest.raises(ConfigError, match="clark level: expected 1, 2, 3, 4, 5"):
        set_lesion(case, "L1", clark=7)


OPEN = SynopticReport().set_answer("breslow", SynopticAnswer(value=0.5), "A", WHEN)
BOTH = "Breslow thickness: two values were stored, 0.50 mm, recorded as 0.5 mm in the synoptic report and 0.70 mm"


@pytest.mark.parametrize("report", [None, OPEN, OPEN.sign("A", WHEN, {})], ids=["none", "open", "signed"])
def test_columns_of_earlier_versions_are_imported_findings(report: SynopticReport | None) -> None:
    """Of two values of a finding, both are stated."""
    content = json.loads(case_to_json(add_lesion(Case(), site="torso"), FOLDER))
    content["lesions"][0] |= {"depth_mm": 0.7, "ulceration": True, "clark": 3, "mitoses_per_mm2": 2.0}
    content["lesions"][0] |= {} if report is None else {"synoptic": report.model_dump(mode="json")}
    lesion = parse_case(json.dumps(content), FOLDER).lesions[0]
    found = (lesion.ulceration, lesion.clark, lesion.mitoses_per_mm2)
    is_signed = report is not None and report.is_signed
    assert found == ((None, None, None) if is_signed else (True, 3, 2.0)), "a signed report lacks them"
    assert (lesion.imported.clark, lesion.more) == (3, {})
    assert lesion.depth_mm == (0.7 if report is None else 0.5), "that of the report counts"
    if report is not None:
        assert lesion.double_findings[0].startswith(BOTH)
        assert len(lesion.double_findings) == (4 if is_signed else 1)
        assert lesion.synoptic == report
    again = parse_case(case_to_json(Case(lesions=(lesion,)), FOLDER), FOLDER)
    assert again.lesions[0] == lesion


def test_a_signed_finding_is_not_changed_and_a_new_answer_ends_the_statement_of_two_values() -> None:
    case = set_lesion(add_lesion(Case()), "L1", synoptic=OPEN.sign("A", WHEN, {}))
    lesion = set_lesion(case, "L1", depth_mm=3.0).lesions[0]
    assert (lesion.depth_mm, len(lesion.double_findings)) == (0.5, 1)
    with pytest.raises(InputError, match="signed by A"):
        set_lesion_answers(case, "L1", {"breslow": SynopticAnswer(value=3.0)}, "B", WHEN)
    suggested = set_lesion(add_lesion(Case()), "L1", depth_mm=0.7)
    lesion = set_lesion_answers(suggested, "L1", {"breslow": SynopticAnswer(value=0.6)}, "A", WHEN).lesions[0]
    assert (lesion.depth_mm, lesion.double_findings) == (0.6, ())


def test_an_import_keeps_the_answers_of_a_reader_and_states_the_other_value() -> None:
    case = set_lesion(add_lesion(Case()), "L1", synoptic=OPEN)
    lesion = set_lesion(case, "L1", depth_mm=0.7).lesions[0]
    assert (lesion.depth_mm, lesion.synoptic) == (0.5, OPEN)
    assert lesion.double_findings[0].startswith(BOTH)
    assert set_lesion(case, "L1", depth_mm=None) == case


def test_an_import_after_the_signature_is_stated_and_not_part_of_the_report() -> None:
    lesion = add_lesion(Case()).lesions[0]
    signed = OPEN.sign("A", WHEN, LesionContent(lesion).list_blocks(OPEN))
    case = set_lesion(add_lesion(Case()), "L1", synoptic=signed)
    lesion = set_lesion(case, "L1", clark=4, ulceration="").lesions[0]
    assert (lesion.form, lesion.clark, lesion.cell("clark"), lesion.imported.clark) == (signed, None, "", 4)
    assert lesion.double_findings == ("Imported, but not part of the signed report: Clark level: IV.",)
    assert LesionContent(lesion).list_changes(signed) == ()
    reopened = set_lesion(case, "L1", synoptic=signed.reopen("A", WHEN), clark=4).lesions[0]
    assert (reopened.clark, reopened.double_findings) == (4, ()), "it is a suggestion again"


def stored_on_28_november(report: SynopticReport, **values: object) -> str:
    """A case whose reports contain what was imported, and the texts of the other values."""
    content = json.loads(case_to_json(add_lesion(Case()), FOLDER))
    content["lesions"][0]["synoptic"] = {**report.model_dump(mode="json"), **values}
    return json.dumps(content)


def test_findings_that_an_earlier_version_imported_into_the_report() -> None:
    suggested = {
        "breslow": SynopticAnswer(value=0.9, suggested_by="case"),
        "ulceration": SynopticAnswer(value="present", suggested_by="case"),
        "clark": SynopticAnswer(value="IV", suggested_by="case"),
        "site": SynopticAnswer(value="torso", suggested_by="case"),
    }
    lesion = parse_case(stored_on_28_november(SynopticReport(answers=suggested)), FOLDER).lesions[0]
    assert (lesion.depth_mm, lesion.ulceration, lesion.clark, lesion.synoptic) == (0.9, True, 4, None)
    both = f"{BOTH}, recorded as 0.7 mm in the case. That of the report counts."
    texts = {
        "breslow": both,
        "clark": "Added after signature: Clark level: IV. It is not part of the signed report.",
        "ulceration": "Added after signature: Ulceration: not identified. It is not part of the signed report.",
        "mitotic_rate": "Added after signature: Mitotic rate: 2 per mm². It is not part of the signed report.",
    }
    signed = OPEN.sign("A", WHEN, {})
    lesion = parse_case(stored_on_28_november(signed, conflicts=texts), FOLDER).lesions[0]
    lacking = {"Clark level: IV", "Ulceration: not identified", "Mitotic rate: 2 per mm²"}
    assert (lesion.synoptic, lesion.depth_mm, lesion.clark, lesion.double_findings[0]) == (signed, 0.5, None, both)
    assert {*lesion.double_findings[1:]} == {f"Imported, but not part of the signed report: {one}." for one in lacking}
    assert lesion.imported == CaseFindings(depth_mm=0.7, clark=4, ulceration=False, mitoses_per_mm2=2)
    assert parse_case(case_to_json(Case(lesions=(lesion,)), FOLDER), FOLDER).lesions[0] == lesion


def test_an_unconfirmed_value_of_the_model_is_no_value_of_the_lesion() -> None:
    suggested = SynopticAnswer(value=2.5, suggested_by="model")
    of_slide = SynopticReport(answers={"breslow": suggested, "clark": SynopticAnswer(value="IV")})
    case = set_lesion(add_lesion(Case()), "L1", synoptic=of_slide)
    lesion = case.lesions[0]
    assert (lesion.depth_mm, lesion.clark) == (None, 4)
    assert lesion.synoptic.prefill(None, lesion).answer("breslow") is None
    imported = set_lesion(add_lesion(Case()), "L1", depth_mm=0.9)
    assert set_lesion(imported, "L1", synoptic=of_slide).lesions[0].depth_mm == 0.9


def test_a_finding_that_was_imported_can_be_made_unknown() -> None:
    case = add_lesion(Case(), depth_mm=9.0, clark=4)
    lesion = set_lesion_answers(case, "L1", {"breslow": None}, "A", WHEN).lesions[0]
    assert (lesion.depth_mm, lesion.clark) == (None, 4)
    (change,) = lesion.synoptic.history
    assert (change.field, change.before["value"], change.before["suggested_by"]) == ("breslow", 9.0, "case")
    assert (change.after, change.reader) == (None, "A")
    assert lesion.imported == CaseFindings(clark=4)
