"""The file of a synoptic report: atomic, kept if it is damaged, and described by the published schema."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_melanoma.case.model import Case, add_lesion, set_lesion
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, read_depth, write_depth
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, describe_reading
from napari_melanoma.io.results import OUTLINES
from napari_melanoma.reports.export_formats import ExportedSlide
from napari_melanoma.reports.slide import write_depth_report
from napari_melanoma.reports.slide_export import write_export
from napari_melanoma.slides.lesion_files import save_lesions, write_outlines
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.synoptic_files import (
    SYNOPTIC_FILE,
    describe_lesions,
    list_changes_since_signature,
    load_synoptic,
    save_synoptic,
)

SQUARE = Polygon(((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0)))
SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "synoptic.schema.json"
KEYS = st.sampled_from(
    [
        *(
            "format_version",
            "answers",
            "other_answers",
            "more",
            "signed_by",
            "signed_at",
            "history",
            "derived",
            "newer",
        ),
        *("ulceration", "breslow", "mitotic_rate", "state", "value", "at_least", "detail", "suggested_by", "newer"),
    ]
)
WHEN = "2026-01-02T10:00:00+00:00"
REPORT = (
    SynopticReport()
    .set_answer("breslow", SynopticAnswer(value=1.34), "A", WHEN)
    .set_answer("mitotic_rate", SynopticAnswer(state="not assessed"), "A", WHEN)
    .sign("A", WHEN)
)


def test_report_is_read_as_it_was_saved(tmp_path: Path) -> None:
    assert load_synoptic(tmp_path / "none") is None
    save_synoptic(tmp_path / "section", REPORT)
    assert load_synoptic(tmp_path / "section") == REPORT
    assert [path.name for path in (tmp_path / "section").iterdir()] == [SYNOPTIC_FILE]
    stored = json.loads((tmp_path / "section" / SYNOPTIC_FILE).read_text(encoding="utf-8"))
    assert stored["answers"]["mitotic_rate"] == {"state": "not assessed"}
    jsonschema.validate(stored, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_changes_after_the_signature_are_in_every_export(tmp_path: Path) -> None:
    folder = tmp_path / "section"
    reading = DepthReading(reader="A", when=WHEN, mm=1.34)
    lesion = SlideLesion(1, "malignant", 0.9, 0.9, 100.0, 40.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.2, (5.0, 5.0), (SQUARE,))
    values = {**describe_reading(reading), **describe_lesions([lesion], 0.6)}
    report = REPORT.reopen("A", WHEN).sign("A", WHEN, values).add_addendum("Levels reviewed.", "A", WHEN)
    save_synoptic(folder, report)
    write_json(folder / "result.json", {"options": {"lesions": {"high": 0.6, "low": 0.4}}})
    write_outlines(folder / OUTLINES, [lesion])
    write_depth(folder, SlideDepthReadings(readings=(reading,)))
    assert list_changes_since_signature(folder, report, read_depth(folder)) == ()

    write_depth(folder, SlideDepthReadings(readings=(reading.model_copy(update={"mm": 0.7}),)))
    save_lesions(folder, [lesion, replace(lesion, index=2, label="benign")], LesionConfig(high=0.3, low=0.1))
    changes = list_changes_since_signature(folder, report, read_depth(folder))
    for expected in (
        "Breslow thickness: 1.34 mm when signed, now 0.70 mm.",
        "lesions on the slide: 1, 1 malignant, 0.5 mm² in total when signed, now 2, 1 malignant, 1 mm² in total.",
        "threshold of the lesions: 0.60 when signed, now 0.30.",
    ):
        assert f"Changed after signature: {expected}" in changes
    exported = ExportedSlide(folder, None, {})
    for name, text in (("synoptic", "derived"), ("synoptic-csv", "Change after signature"), ("fhir", "appended")):
        write_export(name, tmp_path / name, exported)
        content = (tmp_path / name).read_text(encoding="utf-8")
        assert all(part in content for part in (text, "1.34 mm when signed, now 0.70 mm", "Levels reviewed."))
    page = write_depth_report(
        tmp_path / "page.html", SlideInfo(folder, "section", "", ()), read_depth(folder), reading, reading, folder
    )
    assert "1.34 mm when signed, now 0.70 mm" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"answers": {"clark": {"value": "VI"}}}', '{"format_version": 2}', "\udcff"),
        *('{"more": 3}', '{"other_answers": 3}', '{"answers": {"clark": {"value": "I", "more": 3}}}'),
        *('{"answers": []}', '{"signed_by": "A"}'),
    ],
)
def test_damaged_file_is_reported_and_kept(text: str, tmp_path: Path) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    (tmp_path / SYNOPTIC_FILE).write_bytes(raw)
    with pytest.raises(InputError, match="does not contain a valid synoptic report"):
        load_synoptic(tmp_path)
    with pytest.raises(InputError, match="it is not overwritten"):
        save_synoptic(tmp_path, REPORT)
    assert (tmp_path / SYNOPTIC_FILE).read_bytes() == raw


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 999)
    | st.floats()
    | st.sampled_from(["present", "I", "not assessed", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.dictionaries(KEYS, JSON_VALUES, max_size=6))
def test_any_content_is_read_or_reported_and_saved_unchanged(values: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / SYNOPTIC_FILE
    path.write_text(json.dumps(values), encoding="utf-8")
    try:
        found = load_synoptic(tmp_path)
    except InputError:
        return
    assert found is not None
    save_synoptic(tmp_path, found)
    assert load_synoptic(tmp_path) == found


@pytest.mark.parametrize(
    "answers",
    [
        {"clark": {"value": "VI"}},
        {"breslow": {"state": "answered"}},
        {"breslow": {"value": -1}},
        {"ulceration": {"state": "not assessed", "value": "present"}},
        {"procedure": {"state": "not assessed"}},
    ],
)
def test_schema_and_model_reject_the_same(answers: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"answers": answers}, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_case_keeps_the_report_of_a_lesion(tmp_path: Path) -> None:
    case = set_lesion(add_lesion(Case()), "L1", synoptic=REPORT)
    with CaseStore.create(tmp_path / "case", case):
        pass
    path = tmp_path / "case" / "case.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["lesions"][0]["synoptic"] == REPORT.model_dump(mode="json")
    stored["lesions"][0]["synoptic"]["answers"]["biomarkers"] = {"value": ["newer"]}
    path.write_text(json.dumps(stored), encoding="utf-8")
    with CaseStore.open(tmp_path / "case") as store:
        found = store.case.lesions[0].synoptic
        assert found.answers == REPORT.answers
        store.save(set_lesion(store.case, "L1", laterality="left"))
    kept = json.loads(path.read_text(encoding="utf-8"))["lesions"][0]
    assert kept["synoptic"]["answers"]["biomarkers"] == {"value": ["newer"]}
    assert kept["laterality"] == "left"
    with CaseStore.open(tmp_path / "case") as store:
        assert set_lesion(store.case, "L1", synoptic=None).lesions[0].synoptic is None
