"""The sections Depth and Report as a reader uses them: no text is cut, nothing is empty, and no fact stands twice."""

from __future__ import annotations

from collections import Counter

import pytest
from canvas_mouse import CanvasMouse
from looks import TAG, find_place, list_blanks, list_cut_texts, visible
from message_boxes import press_button
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel, QLineEdit, QPlainTextEdit, QScrollArea, QWidget
from slide_fixtures import UNSEEN

from napari_melanoma.depth.synoptic import SynopticAnswer
from napari_melanoma.depth.synoptic_fields import FIELDS
from napari_melanoma.ui.sections.depth.section import REPORT
from napari_melanoma.ui.viewer.docking import MIN_WIDTH_PX
from napari_melanoma.ui.widgets.dock_layout import SummarySection
from napari_melanoma.ui.widgets.style import CollapsibleSection

from .sections.test_depth import acts, draws
from .sections.test_steady import PALE, paints, rests
from .sections.test_synoptic import chooses, measures, presses, types

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
shown = pytest.mark.usefixtures("shown_viewer")
SECTIONS = ("Depth", "Report")
BUTTONS = ("depth_draw", "depth_automatic", "depth_move")


@pytest.fixture
def reporting(analysed):
    """User with the sections Depth and Report of a slide, in a window of a small screen."""
    person = analysed
    person.viewer.window._qt_window.resize(1366, 768)
    person.dock.parentWidget().setFixedWidth(MIN_WIDTH_PX)
    for frame in person.dock.choice.list_frames().values():
        frame.collapse()
    for title in SECTIONS:
        person.opens_section(title)
    rests(person)
    person.mouse = CanvasMouse(person)
    return person


def frames(person) -> list[CollapsibleSection]:
    return [person.dock.choice.list_frames()[title] for title in SECTIONS]


def find_visible(person, kind: type) -> list:
    """The visible widgets of both sections."""
    return [one for frame in frames(person) for one in visible(frame.content, kind)]


def list_faults(person) -> str:
    """What is cut or empty in both sections, and which texts stand twice."""
    rests(person)
    faults = [measure(frame.content) for frame in frames(person) for measure in (list_cut_texts, list_blanks)]
    texts = Counter(TAG.sub("", one.text()).strip().rstrip(".:") for one in find_visible(person, QLabel))
    return "\n".join([*faults, *(text for text, count in texts.items() if count > 1 and len(text) > 4)]).strip()


def list_entries(person) -> dict[str, int]:
    """How many controls each field of the synoptic report is entered with."""
    names = [one.objectName() for kind in (QComboBox, QPlainTextEdit) for one in find_visible(person, kind)]
    return {field.name: sum(name.partition("_")[2] == field.name for name in names) for field in FIELDS}


def is_seen(person, name: str) -> bool:
    """Whether a widget is whole in view, without scrolling."""
    widget = person.finds(QWidget, name)
    return widget.visibleRegion().boundingRect().height() == widget.height() > 0


@shown
def test_a_slide_is_painted_measured_signed_and_reported_with_no_fact_twice(reporting, tmp_path) -> None:
    person, content = reporting, reporting.dock.choice.list_frames()["Depth"].content
    assert list_faults(person) == ""
    places = [find_place(content, name) for name in BUTTONS]
    person.opens_section("Paint")
    paints(person, PALE, 2)
    person.dock.choice.list_frames()["Paint"].collapse()
    draws(person)
    assert [find_place(content, name) for name in BUTTONS] == places
    assert list_faults(person) == ""
    presses(person, "depth_move")  # ends the tool, whose hint is above the report

    # All other findings are entered in the report, with one reader and one button that signs.
    person.session.services.section_requested.emit(REPORT)
    types(person, "synoptic_reader", "A. Meyer")
    chooses(person, "ulceration", "not identified")
    chooses(person, "clark", "III")
    chooses(person, "mitotic_rate", "not assessed")
    measures(person)
    presses(person, "synoptic_peripheral_distance_invasive_ruler")
    assert list_faults(person) == ""
    assert list_entries(person) == {field.name: int(field.name != "breslow") for field in FIELDS}
    assert [one.objectName() for one in find_visible(person, QLineEdit) if "reader" in one.objectName()] == [
        "synoptic_reader"
    ]
    assert [one.text() for one in find_visible(person, QAbstractButton)].count("Sign") == 1
    assert [one.text() for one in find_visible(person, QLabel)].count("Not signed.") == 1
    person.dock.findChild(QScrollArea, "slide_scroll").verticalScrollBar().setValue(0)
    person.session.services.section_requested.emit(REPORT)
    rests(person)
    presses(person, "synoptic_confirm")
    assert all(is_seen(person, name) for name in ("synoptic_signature", "synoptic_stage", "synoptic_sign"))
    presses(person, "synoptic_sign")
    press_button(person.qtbot, "synoptic_sign_question", "Sign")
    person.waits()
    assert list_faults(person) == ""
    hidden = [name for name in ("synoptic_signature", "synoptic_stage", "synoptic_reopen") if not is_seen(person, name)]
    assert not hidden, [person.finds(QWidget, name).visibleRegion().boundingRect() for name in hidden]
    labels = find_visible(person, QLabel)
    assert [one.objectName() for one in labels if "Signed by" in one.text()] == ["synoptic_signature"]
    # The thickness, and its value in the report, which links to it
    assert [one.objectName() for one in labels if "0.20 mm" in one.text()] == ["depth_head", "synoptic_breslow"]

    # What has changed since is stated once, at the top.
    measures(person)
    rests(person)
    labels = find_visible(person, QLabel)
    assert [one.objectName() for one in labels if "Changed after signature" in one.text()] == ["synoptic_changed"]
    assert [one.objectName() for one in labels if "now: " in one.text()] == ["synoptic_changes"]
    assert person.dock.answer.details.startswith("Report changed after signature"), (
        "also where the Report is not in view"
    )
    assert list_faults(person) == ""
    acts(person, "depth_report")
    person.chooses_file("depth_report_dialog", tmp_path / "page.html")
    assert "A. Meyer" in (tmp_path / "page.html").read_text(encoding="utf-8")


@shown
@pytest.mark.both_qts
def test_no_answer_of_the_report_and_no_text_of_depth_is_cut(reporting) -> None:
    person = reporting
    person.finds(SummarySection, "depth_folded").expand()
    person.dock.context.set_reader("A. Meyer")
    draws(person)
    person.session.findings.set_values(at_least=True, mm=0.98)
    editors, cut = person.dock.sections.hosted.sections["Report"].widget.form.findings.editors, []
    for name, editor in editors.items():
        longest = max(editor.field.choices, key=lambda word: len(editor.field.choices[word]), default="")
        if longest:
            editor.show_answer(SynopticAnswer(value=longest, suggested_by="case"))
            cut.append((name, editor.control.currentText()))
        elif editor.field.kind == "number":
            editor.show_answer(SynopticAnswer(state="cannot be determined"))
    assert ("subtype", "melanoma in giant congenital nevus") in cut
    assert len({editor.control.font().stretch() for editor in editors.values()}) == 1, "letters are not narrowed"
    assert list_faults(person) == "Breslow thickness", (
        "it is entered in Depth while the row is open, and shown in Report"
    )
