"""Without personal data, a report shows intervals, initials and no high ages."""

from __future__ import annotations

import re

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.depth.readings import DepthReading, ReadingChange, SlideDepthReadings
from napari_melanoma.figures.page import Notice, Report
from napari_melanoma.reports.disclosure import (
    disclose_changes,
    disclose_readings,
    format_days_later,
    format_later,
    hide_age,
    label_readers,
    remove_personal_data,
    show_patient_id,
    show_times,
)
from napari_melanoma.reports.report_records import ReportRecords


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "at the start"),
        (20, "at the start"),
        (60, "1 minute later"),
        (4000, "67 minutes later"),
        (3 * 3600, "3 hours later"),
        (86400, "1 day later"),
        (45 * 86400, "45 days later"),
        (46 * 86400, "46 days later"),
        (59 * 86400, "2 months later"),  # January and February
        (365 * 86400, "12 months later"),
        (548 * 86400, "18 months later"),
        (730 * 86400, "2 years later"),
        (900 * 86400, "2 years later"),
        (5 * 365 * 86400, "5 years later"),
        (-86400, "1 day earlier"),
    ],
)
def test_intervals(seconds: float, text: str) -> None:
    assert format_later(seconds) == text


def test_days_of_photographs() -> None:
    assert format_days_later("2024-05-02", "2025-05-10") == "12 months later"
    assert format_days_later("2024-05-02", "") == ""


def test_initials_of_readers_differ() -> None:
    names = ("Anna Schmidt", "Anton Schulz", "Bernd Vogel", "model", "", "42")
    assert label_readers(names, personal=False) == {
        "Anna Schmidt": "AS 1",
        "Anton Schulz": "AS 2",
        "Bernd Vogel": "BV",
        "model": "model",
        "": "",
        "42": "Reader",
    }
    assert label_readers(names, personal=True) == {name: name for name in names}


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [("age", "89", "89"), ("age", "90", "90 or older"), ("age", "", ""), ("depth_mm", "93", "93")],
)
def test_high_ages_are_hidden(column: str, text: str, expected: str) -> None:
    assert hide_age(column, text, personal=False) == expected
    assert hide_age(column, text, personal=True) == text


def test_a_name_or_number_is_not_shown_as_the_id_of_a_patient(user_folders: object) -> None:
    for harmless in ("P-0042", "P7", "ABC-1234", "P-7F3K2Q-9XMAB4", ""):
        assert show_patient_id(harmless, personal=False) == harmless
    for identifying in (
        *("Anna Schmidt", "Mueller", "hans mueller", "Mueller_Hans_1953", "MUELLER-1953", "1234"),
        *("8812345", "H-1234567", "M1234567", "P-0042\n"),
    ):
        shown = show_patient_id(identifying, personal=False)
        assert shown.startswith("P-")
        assert identifying not in shown
        assert show_patient_id(identifying, personal=True) == identifying


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"see D:\Patients\Anna Meyer\slides\Mueller Hans 1953.svs for more", "see (removed) for more"),
        ("see C:/Users/Anna Meyer/Mueller, Hans.ome.tif.", "see (removed)."),
        (r"in '\\\\server\share one\Mueller Hans' and", "in '(removed)' and"),
        (r"in '\\server\share one\Mueller Hans' and", "in '(removed)' and"),
        ("/srv/anna/Mueller Hans/slide.svs is missing", "(removed) is missing"),
        ("the slide (/patients/Mueller/a.svs) is missing", "the slide ((removed)) is missing"),
        ("the folder /patients/Hans Mueller is missing: restore it", "the folder (removed): restore it"),
        ("file:///srv/O'Neil Hans/a.svs is missing", "(removed) is missing"),
        ("/Mueller.svs is missing", "(removed) is missing"),
        ("the slide mueller hans 1953.SVS, and Mueller.png", "the slide (removed), and (removed)"),
        ("T1a/T1b, 3 /mm² and 4 /mm², 3 / 4, and/or", "T1a/T1b, 3 /mm² and 4 /mm², 3 / 4, and/or"),
        ("see https://doi.org/10.1000/a.b and x.png", "see https://doi.org/10.1000/a.b and x.png"),
    ],
)
def test_paths_and_names_of_files_are_removed(text: str, expected: str) -> None:
    report = Report("Case", "", (Notice(text),))
    cleaned = remove_personal_data(report, {"Mueller.png", "Mueller Hans 1953.svs"})
    assert cleaned.blocks == (Notice(expected),)


def test_an_unknown_time_is_not_the_first_one() -> None:
    first, later = "2026-01-02T10:00:00+00:00", "2026-01-05T10:00:00"
    shown = {first: "at the start", later: "3 days later", "": "unknown", "yesterday": "unknown"}
    assert show_times(tuple(shown), personal=False) == shown
    assert show_times(("",), personal=False) == {"": "unknown"}


def test_readings_and_changes_have_no_dates_names_and_notes() -> None:
    def change(field: str, reader: str, when: str, before: object, after: object) -> ReadingChange:
        return ReadingChange(field=field, before=before, after=after, reader=reader, when=when)

    first, later = "2026-01-02T10:00:00+00:00", "2026-01-05T10:00:00+00:00"
    readings = (
        DepthReading(
            reader="B",
            when=later,
            mm=1.0,
            notes="secret",
            history=(change("notes", "B", later, "", "secret"), change("mm", "B", later, None, 1.0)),
        ),
        DepthReading(
            reader="A",
            when=first,
            mm=1.1,
            history=(change("mm", "model", first, None, 0.9), change("mm", "A", first, 0.9, 1.1)),
        ),
        DepthReading(reader="C"),
    )
    depth, labels = SlideDepthReadings(readings=readings), {"A": "X", "B": "Y"}
    shown = disclose_readings(depth, labels, personal=False)
    assert [(one.reader, one.when, one.notes) for one in shown.readings] == [
        ("Y", "3 days later", ""),
        ("X", "at the start", ""),
    ]
    changes = disclose_changes(depth, labels)
    assert [(one.reader, one.field, one.when) for one in changes] == [
        ("X", "mm", first),
        ("Y", "mm", later),
    ]


def test_patient_data_in_the_options_of_an_analysis_are_left_out() -> None:
    options = {"patient": {"age": "93", "site": "foot"}, "metadata": "Meyer.csv", "border": "pad"}
    shown = {}
    for personal in (True, False):
        records = ReportRecords(personal, RunContext())
        records.add_origin("Slide 1", {"model": {"name": "a"}, "options": options})
        shown[personal] = repr(records.provenance())
    assert "border pad" in shown[False]
    assert "93" in shown[True]
    assert not {"93", "foot", "Meyer"} & set(re.findall(r"\w+", shown[False]))
