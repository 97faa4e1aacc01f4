"""The synoptic report as FHIR: one DiagnosticReport that contains an Observation per answer.

A report with contained resources, rather than a Bundle, because the observations have no identity outside of it, and
because only elements with the same meaning in R4, R4B and R5 are used: one file is valid in all three. Codes are LOINC
where the code is certain, and otherwise our own; no code is guessed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_melanoma.depth.synoptic import SOURCE_NAMES, SynopticAnswer, SynopticReport
from napari_melanoma.depth.synoptic_fields import CANNOT, FIELDS, NOT_ASSESSED, SynopticField
from napari_melanoma.depth.t_category import round_measured_thickness, round_thickness
from napari_melanoma.reports.disclosure import show_patient_id

if TYPE_CHECKING:
    from napari_melanoma.case.model import CasePatient

Resource = dict[str, Any]

SYSTEM = "urn:napari-melanoma:synoptic"
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
# Codes without their names, which are LOINC's; the label of the field is written as text.
REPORT_CODE = "60568-3"  # pathology synoptic report
STAGE_CODE = "21899-0"  # primary tumor, pathologic
LOINC_CODES = {
    "subtype": "44640-1",
    "breslow": "44661-7",
    "ulceration": "44660-9",
    "clark": "86667-3",
    "mitotic_rate": "44695-5",
    "peripheral_distance_invasive": "44683-1",
}
TRANSECTED_CODE = "86668-1"  # thickness that is a lower bound, because the deep margin is involved
UCUM_CODES = {"mm": "mm", "mm²": "mm2", "per mm²": "/mm2", "": "1"}
ABSENT_CODES = {  # code and name of the reason for a missing value, by state of the answer
    NOT_ASSESSED: ("not-performed", "Not Performed"),
    CANNOT: ("unknown", "Unknown"),
    "suggested": ("temp-unknown", "Temporarily Unknown"),
}
NOTICE = "Research use only; not for diagnosis."


def build_diagnostic_report(
    report: SynopticReport,
    patient: CasePatient | None = None,
    *,
    changes: Sequence[str] = (),
    personal: bool = False,
) -> Resource:
    """Return a report as a FHIR DiagnosticReport, valid in R4, R4B and R5.

    Fields that are not filled in are left out. ``changes``: what has changed since it was signed. ``personal``: include
    who signed it, when, and any id of the patient.
    """
    observations = [*_list_observations(report)]
    addenda = [f"Addendum: {addendum.text}" for addendum in report.addenda]
    left_out = ["Signed; name and date left out: they are personal data."] if report.is_signed and not personal else []
    contained: list[Resource] = [
        *([] if patient is None else [_build_patient(patient, personal=personal)]),
        *observations,
    ]
    subject = {} if patient is None else {"subject": {"reference": "#patient"}}
    for observation in observations:
        observation |= {"status": report.status, **subject}
    return {
        "resourceType": "DiagnosticReport",
        "contained": contained,
        "status": "appended" if report.is_signed and report.addenda else report.status,
        "code": {"coding": [_coding(LOINC, REPORT_CODE)], "text": "Synoptic report of a primary cutaneous melanoma"},
        **subject,
        **(_describe_signature(report) if personal else {}),
        "result": [{"reference": f"#{observation['id']}"} for observation in observations],
        "conclusion": _clean(" ".join((report.stage.text, *left_out, *changes, *addenda, NOTICE))),
    }


def _build_patient(patient: CasePatient, *, personal: bool) -> Resource:
    """Return the id of a patient, and the sex."""
    patient_id = _clean(show_patient_id(patient.patient_id, personal=personal))
    identifier = {"identifier": [{"system": "urn:napari-melanoma:patient", "value": patient_id}]}
    is_known = patient.sex in ("female", "male")
    return {
        "resourceType": "Patient",
        "id": "patient",
        **(identifier if patient_id else {}),
        "gender": patient.sex if is_known else "unknown",
    }


def _describe_signature(report: SynopticReport) -> Resource:
    """Return who signed a report, and when; empty if it is not signed."""
    if not report.is_signed:
        return {}
    signed = datetime.fromisoformat(report.signed_at).astimezone(UTC)
    return {
        "issued": signed.isoformat(timespec="seconds"),
        "resultsInterpreter": [{"display": _clean(report.signed_by)}],
    }


def _list_observations(report: SynopticReport) -> Iterator[Resource]:
    """Yield an observation per field that is filled in, and the T category."""
    is_involved = report.value("deep_margin_invasive") == "involved"
    for field in FIELDS:
        answer = report.answer(field.name)
        if answer is not None:
            codes = {**LOINC_CODES, **({"breslow": TRANSECTED_CODE} if answer.at_least and is_involved else {})}
            yield {
                **_build_observation(field.name, field.label, codes.get(field.name)),
                **_describe_answer(field, answer),
                **_describe_author(answer),
            }
    stage = report.stage
    value = (
        {"valueCodeableConcept": _concept("t_category", stage.category, stage.category)}
        if stage.category
        else _absent(CANNOT, CANNOT)
    )
    observation = _build_observation("t_category", "T category (AJCC 8)", STAGE_CODE)
    yield {**observation, **value, "note": [{"text": _clean(stage.reason)}]}


def _describe_author(answer: SynopticAnswer) -> Resource:
    """Return who set a value, its details, and whose suggestion the reader has confirmed."""
    source = SOURCE_NAMES.get(answer.confirmed_from)
    notes = [
        *([answer.detail] if answer.detail and not answer.suggested_by else []),
        *([f"Suggested by {source}, confirmed by the reader."] if source else []),
    ]
    author = {"display": "imported from the case" if answer.author == "imported" else answer.author}
    return {
        **({"device": author} if answer.author == "model" else {"performer": [author]}),
        **({"note": [{"text": _clean(text)} for text in notes]} if notes else {}),
    }


def _build_observation(name: str, label: str, loinc: str | None) -> Resource:
    """Return an observation without a value."""
    codings = [_coding(LOINC, loinc)] if loinc else []
    return {
        "resourceType": "Observation",
        "id": name.replace("_", "-"),
        "code": {"coding": [*codings, _coding(SYSTEM, name, label)], "text": label},
    }


def _describe_answer(field: SynopticField, answer: SynopticAnswer) -> Resource:
    """Return the value of an observation, or why there is none."""
    value = answer.value
    if answer.suggested_by:
        return _absent("suggested", "suggested, not confirmed")
    if value is None:
        return _absent(answer.state, answer.state)
    if isinstance(value, str):
        if field.kind == "text":
            return {"valueString": _clean(value)}
        return {"valueCodeableConcept": _concept(field.name, value, field.choices[value])}
    if field.name == "breslow":
        return _describe_thickness(field, value, at_least=answer.at_least)
    if field.name == "mitotic_rate":  # LOINC's code has no quantity, so it is a component with a code of our own
        quantity = _component("mitotic_rate_quantity", "Mitotic rate, as a quantity", _quantity(value, field.unit))
        return {"valueCodeableConcept": {"text": f"{value:.4g} {field.unit}"}, **quantity}
    return {"valueInteger": int(value)} if field.is_integer else {"valueQuantity": _quantity(value, field.unit)}


def _describe_thickness(field: SynopticField, mm: float, *, at_least: bool) -> Resource:
    """Return the recorded thickness, with the measured one as a component."""
    recorded, bound = round_thickness(mm), {"comparator": ">="} if at_least else {}
    quantity = {**_quantity(round_measured_thickness(mm), field.unit), **bound}
    shown = {**_quantity(recorded, field.unit), **bound}
    if recorded == 0 < mm:  # a lower bound is given as measured: it may not become an upper one
        shown = quantity if at_least else {**_quantity(0.1, field.unit), "comparator": "<"}
    measured = _component("breslow_measured", "Breslow thickness as measured", quantity)
    return {"valueQuantity": shown, **measured}


def _component(name: str, label: str, quantity: Resource) -> Resource:
    code = {"coding": [_coding(SYSTEM, name, label)], "text": label}
    return {"component": [{"code": code, "valueQuantity": quantity}]}


def _quantity(value: float, unit: str) -> Resource:
    return {"value": round(value, 6), "unit": unit or "1", "system": UCUM, "code": UCUM_CODES[unit]}


def _absent(state: str, text: str) -> Resource:
    """Return the reason why an observation has no value."""
    return {"dataAbsentReason": {"coding": [_coding(ABSENT, *ABSENT_CODES[state])], "text": text}}


def _concept(name: str, word: str, label: str) -> Resource:
    return {"coding": [_coding(f"{SYSTEM}:{name}", word, label)], "text": label}


def _coding(system: str, code: str, display: str = "") -> dict[str, str]:
    return {"system": system, "code": code, **({"display": display} if display else {})}


def _clean(text: str) -> str:
    """Replace characters that strings of FHIR do not allow, such as control characters, by spaces."""
    return "".join(" " if _is_refused(character) else character for character in text)


def _is_refused(character: str) -> bool:
    return character not in "\n\r\t" and unicodedata.category(character) in ("Cc", "Cs", "Zs", "Zl", "Zp")
