"""The Report section: suggestions, answers, undo, signature, keys, and the transfer to a case."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import cos, sin
from pathlib import Path

import pytest
from fake_open_case import FakeOpenCase, make_case
from fake_slides import draw_slide
from finding_files import load_synoptic, write_depth
from message_boxes import press_button
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QFocusEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDialog,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
    QScrollArea,
    QWidget,
)
from region_access import opens_section
from slide_fixtures import UNSEEN

from conftest import wait_until_idle
from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion, set_lesion
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.findings import FINDINGS_FILE, SlideFindings, read_findings
from napari_melanoma.depth.readings import FINDINGS, count_mitoses, set_values
from napari_melanoma.depth.shown_blocks import BlockChange, ShownBlock, find_block
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, find_answer
from napari_melanoma.extensions.synoptic.ui.form import ReportForm
from napari_melanoma.extensions.synoptic.ui.slide_section import SynopticSection
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.results import RESULT, read_slide_result
from napari_melanoma.slides.counts import CountedPoint
from napari_melanoma.slides.lesion_files import read_lesions, save_lesions
from napari_melanoma.slides.lesions import LesionConfig
from napari_melanoma.slides.notes import SlideMeasurement, read_notes, write_notes
from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_polygons
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.slides.slide_content import lesions_block, read_slide_content
from napari_melanoma.slides.synoptic_files import DAMAGED, read_synoptic
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer.docking import MIN_WIDTH_PX
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.widgets.dock_layout import SummarySection
from napari_melanoma.ui.widgets.editors import NoWheelComboBox, ReaderField
from napari_melanoma.ui.widgets.settings import READER_SETTING, DebounceTimer

from .test_depth import TOP, document, draws, line_layer, opens
from .test_depth import section as depth_section
from .test_lesions import moves

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
LATER = "2030-01-01T10:00:00+00:00"
MARKS = {"points": ((70.0, 80.0),), "areas": (((0.0, 0.0), (0.0, 90.0), (90.0, 90.0)),)}
# What a reader does to each value that the signature rests on, as far as the dock locks it
LOCKED = {
    "scale": lambda person: person.dock._on_pixel_size(PixelSize(1.0, 1.0, "given")),
    "line": lambda person: depth_section(person).layer.line_drawn.emit((TOP, (260.0, 100.0))),
    "breslow": lambda person: person.session.synoptic.set_answer("breslow", SynopticAnswer(value=9.0)),
    "ulceration": lambda person: document(person).set_findings({"ulceration": SynopticAnswer(value="present")}),
    "clark": lambda person: section(person).form.findings.answered.emit("clark", SynopticAnswer(value="V")),
    "mitoses": lambda person: person.session.synoptic.set_answer("mitotic_rate", SynopticAnswer(value=9.0)),
    "mitosis_marks": lambda person: section(person).entries.count_mitoses(none_found=True),
    "mitosis_areas": lambda person: section(person).entries.count_mitoses(none_found=True),
    "lateral_margin": lambda person: person.session.synoptic.set_answer(
        "peripheral_distance_invasive", SynopticAnswer(value=9.0)
    ),
    "deep_margin": lambda person: person.session.synoptic.set_answer(
        "deep_distance_invasive", SynopticAnswer(value=9.0)
    ),
}


@pytest.fixture
def reporting(person, slide_path: Path):
    """User with an open slide and Report section."""
    person.opens_slides(slide_path)
    expands(person)
    return person


def section(person):
    """The section of the displayed slide; None before it was expanded."""
    return person.dock.sections.hosted.sections["Report"].widget


def expands(person) -> None:
    person.until(lambda: "Report" in person.dock.sections.hosted.sections)
    person.dock.synoptic_section.expand()
    person.until(lambda: section(person) is not None)


def chooses(person, field: str, text: str) -> None:
    combo = person.finds(QComboBox, f"synoptic_{field}")
    combo.setCurrentIndex(combo.findText(text))
    combo.activated.emit(combo.currentIndex())
    person.waits()


def types(person, name: str, text: str) -> None:
    """Type a text with the keyboard, and leave the field."""
    widget = person.dock.findChild(QWidget, name)
    line = widget.lineEdit() if isinstance(widget, QComboBox) else widget
    if isinstance(line, ReaderField) and line.isReadOnly():
        line.change_button.click()
    line.setFocus()
    line.selectAll()
    person.qtbot.keyClicks(line, text) if text else person.qtbot.keyClick(line, Qt.Key.Key_Delete)
    person.qtbot.keyClick(line, Qt.Key.Key_Return)
    person.waits()


def types_thickness(person, text: str) -> None:
    """Type a thickness in the section Depth."""
    opens(person)
    person.finds(SummarySection, "depth_folded").expand()
    types(person, "depth_breslow", text)


def thickness(person) -> str:
    """The thickness that the report shows."""
    return text(person, "synoptic_breslow")


def changes(person) -> str:
    """What has changed since the signature, each change as the sentence that states it in files."""
    if not is_shown(person, "synoptic_changes"):
        return ""
    shown = text(person, "synoptic_changes")
    shown = shown.replace("\n    signed: not in the report\n    now: ", ": not in the signed report; now: ")
    shown = shown.replace("\n    signed: ", ": signed: ").replace("\n    now: ", "; now: ")
    return "\n".join(
        f"Changed after signature: {line}." if "; now: " in line and not line.endswith(".") else line
        for line in shown.splitlines()
    )


def presses(person, name: str) -> None:
    button = person.finds(QAbstractButton, name)
    assert button.isEnabled(), button.toolTip()
    button.click()
    person.waits()


def signs(person) -> None:
    presses(person, "synoptic_sign")
    press_button(person.qtbot, "synoptic_sign_question", "Sign")
    person.waits()


def reopens(person) -> None:
    presses(person, "synoptic_reopen")
    press_button(person.qtbot, "synoptic_reopen_question", "Reopen")


def text(person, name: str) -> str:
    return person.finds(QLabel, name).text()


def stored(person):
    person.session.flush()
    return read_synoptic(person.session.folder)[0]


def signed_value(person, *keys: str):
    """The value of a block of the signed report."""
    return find_block(stored(person).signed_report, *keys).value


def is_shown(person, name: str) -> bool:
    """Whether a widget is shown; what few fields need is created when it is first shown."""
    widget = person.dock.findChild(QWidget, name)
    return widget is not None and widget.isVisibleTo(person.dock)


def test_valid_entries_are_saved_and_determine_the_category(reporting, tmp_path: Path) -> None:
    person = reporting
    assert text(person, "synoptic_stage") == "No T category"
    chooses(person, "extent", "invasive melanoma")
    types_thickness(person, "1,34 mm")
    assert thickness(person) == "1.34 mm"
    chooses(person, "ulceration", "not identified")
    assert text(person, "synoptic_stage") == "pT2a"
    assert "1.3 mm" in text(person, "synoptic_reason")
    chooses(person, "lymphocytes", "not assessed")
    types(person, "synoptic_mitotic_rate", "not assessed")
    report = stored(person)
    assert (report.value("breslow"), report.answer("mitotic_rate").state) == (1.34, "not assessed")
    assert report.answer("mitotic_rate").value is None
    assert report.stage.category == "pT2a"
    assert not load_synoptic(person.session.folder).answers.keys() & FINDINGS, "they are in the depth reading"
    assert document(person).state.reading.mm == 1.34

    # A wrong number stays for correction, and is not signed.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=20))
    person.until(lambda: section(person) is not None)
    types_thickness(person, "thick")
    assert text(person, "depth_breslow_fault") == "Expected a number from 0 to 100 mm, found 'thick'."
    assert person.finds(QComboBox, "depth_breslow").currentText() == "thick"
    assert stored(person) is None
    types(person, "synoptic_reader", "A. Reader")
    types_thickness(person, "1.2")
    types(person, "synoptic_mitotic_rate", "many")
    sign = person.finds(QAbstractButton, "synoptic_sign")
    assert (sign.isEnabled(), sign.toolTip()) == (False, "Correct the input that is marked first.")
    types(person, "synoptic_mitotic_rate", "2")
    presses(person, "synoptic_confirm")  # that it is invasive
    signs(person)
    assert stored(person).value("breslow") == 1.2


def test_the_thickness_of_depth_is_shown_in_the_report_with_a_link(reporting) -> None:
    person = reporting
    opens(person)
    draws(person)
    assert not is_shown(person, "synoptic_breslow_confirm"), "the reader has measured it"
    assert thickness(person) == "0.20 mm"
    assert stored(person) is None
    presses(person, "synoptic_confirm")  # the extent
    assert text(person, "synoptic_stage").startswith("pT1")
    assert stored(person).value("breslow") == pytest.approx(0.2, rel=1e-2)

    # A finding of the form is in the reading; each state is a different one.
    for state in ("not identified", "not assessed", "cannot be determined", "present"):
        chooses(person, "ulceration", state)
        assert stored(person).answer("ulceration") == find_answer(document(person).state.reading, "ulceration")
    assert text(person, "depth_head") == "0.20 mm, T1b"
    chooses(person, "ulceration", "–")
    assert find_answer(document(person).state.reading, "ulceration") is None
    chooses(person, "clark", "III")
    chooses(person, "procedure", "excision")
    types_thickness(person, "0.9")
    assert (text(person, "depth_head"), thickness(person)) == ("0.90 mm, T1b", "0.90 mm")
    assert "The line measures 0.20 mm; 0.90 mm was entered." in text(person, "depth_warning")

    # Undo goes back in the order of the changes, whichever section they were made in.
    presses(person, "synoptic_undo")
    assert thickness(person) == "0.20 mm"
    assert person.finds(QComboBox, "synoptic_procedure").currentText() == "excision"
    presses(person, "synoptic_undo")
    assert person.finds(QComboBox, "synoptic_procedure").currentText() == "–"
    assert person.finds(QComboBox, "synoptic_clark").currentText() == "III"
    presses(person, "synoptic_undo")
    assert person.finds(QComboBox, "synoptic_clark").currentText() == "–"
    for _ in range(3):
        presses(person, "synoptic_redo")
    assert (stored(person).value("clark"), stored(person).value("procedure")) == ("III", "excision")
    assert stored(person).value("breslow") == 0.9

    # The links lead from one section to the other.
    person.dock.depth_section.collapse()
    person.finds(QLabel, "synoptic_breslow_link").linkActivated.emit("Depth")
    assert person.dock.depth_section.is_expanded
    person.dock.synoptic_section.collapse()
    person.finds(QLabel, "depth_link").linkActivated.emit("Report")
    assert person.dock.synoptic_section.is_expanded
    person.waits()
    person.dock.reading_mode.toggle()
    person.finds(QLabel, "depth_link").linkActivated.emit("Report")
    assert person.dock.reading_mode.mode.tabs.buttons["Report"].isChecked()
    person.dock.reading_mode.leave()
    person.waits()

    # The name of the reader is shared by all sections.
    opens_section(person)
    fields = [person.finds(QLineEdit, f"{name}_reader") for name in ("synoptic", "region")]
    fields[0].setText("Reader 0")
    fields[0].editingFinished.emit()
    assert [(one.text(), one.isReadOnly()) for one in fields] == [("Reader 0", True)] * 2
    person.dock.settings.set(READER_SETTING, "Reader 3")  # as the Case dock does
    user_data().reader_changed.emit("Reader 3")
    assert [document(person).reader, *(one.text() for one in fields)] == ["Reader 3"] * 3


def test_margins_are_taken_from_the_ruler(reporting) -> None:
    person = reporting
    types(person, "synoptic_peripheral_distance_invasive", "3,5 mm")
    types(person, "synoptic_deep_distance_invasive", "much")
    assert "found 'much'" in text(person, "synoptic_deep_distance_invasive_fault")
    presses(person, "synoptic_deep_distance_invasive_ruler")
    assert "no line to use" in person.dock.status.text
    measures(person)
    presses(person, "synoptic_deep_distance_invasive_ruler")
    assert person.finds(QComboBox, "synoptic_deep_distance_invasive").currentText() == "0.05"
    presses(person, "synoptic_deep_distance_in_situ_ruler")
    assert stored(person).value("deep_distance_in_situ") == pytest.approx(0.05, rel=1e-2)
    margins = document(person).state.reading.margins
    assert (margins.lateral_mm, margins.deep_mm) == (3.5, pytest.approx(0.05, rel=1e-2))


def test_mitoses_are_those_that_measure_counts_within_the_selected_regions(reporting) -> None:
    person = reporting
    types(person, "synoptic_reader", "A. Reader")

    def shown() -> tuple[str, ...]:
        fields = ("mitotic_rate", "mitoses_counted", "mitoses_area")
        values = (person.finds(QComboBox, f"synoptic_{one}").currentText() for one in fields)
        return *values, text(person, "synoptic_mitoses") if is_shown(person, "synoptic_mitoses") else ""

    presses(person, "synoptic_mitoses_measured")
    assert "No mitosis is counted there" in person.dock.status.text
    places = ((100.0, 100.0), (200.0, 200.0), (500.0, 500.0))
    points = (*(CountedPoint("Mitosis", at) for at in places), CountedPoint("TIL", (110.0, 110.0)))
    person.session.document(COUNT_DOCUMENT).apply(lambda _: points)
    presses(person, "synoptic_mitoses_measured")
    assert shown() == ("", "3", "", "Select the counted region to get the number per mm².")

    # The count has an area and a density within a selected region.
    square = Polygon(((0.0, 0.0), (0.0, 400.0), (400.0, 400.0), (400.0, 0.0)))
    region = region_from_polygons((square,), DEFAULT_CLASSES[0])
    person.session.regions.apply(lambda regions: (*regions, region))
    person.session.selected_regions.set((region.id,))
    presses(person, "synoptic_mitoses_measured")
    note = "Imprecise: the counted area is below 1 mm². 1 outside the area not counted."
    assert shown() == ("50", "2", "0.04", note)
    kept = document(person).state.reading.mitoses
    assert (kept.per_mm2, kept.points, kept.areas) == (pytest.approx(50.0, rel=1e-3), places, (square.outer,))
    for _ in range(2):
        presses(person, "synoptic_undo")
    assert shown() == ("", "", "", "")

    # A rate that no report can state is named beside its empty field.
    small = Polygon(((90.0, 90.0), (90.0, 110.0), (110.0, 110.0), (110.0, 90.0)))
    person.session.regions.apply(lambda _: (replace(region, polygons=(small,)),))
    presses(person, "synoptic_mitoses_measured")
    assert shown()[:3] == ("", "1", "0.0001")
    assert "10,000 per mm² is above the limit of 1,000. Select a larger region." in shown()[3]
    presses(person, "synoptic_undo")
    person.session.regions.apply(lambda _: (region,))

    # A region without a mitosis is no count, until the reader states that there is none.
    person.session.document(COUNT_DOCUMENT).apply(lambda _: ())
    presses(person, "synoptic_mitoses_measured")
    assert document(person).state.reading.mitoses.per_mm2 is None
    presses(person, "synoptic_none_found")
    assert shown()[:3] == ("0", "0", "0.04")
    assert not person.finds(QAbstractButton, "synoptic_none_found").isEnabled()


def test_changes_are_undone_and_recorded_and_details_appear_where_they_are_needed(reporting, tmp_path: Path) -> None:
    person = reporting
    types(person, "synoptic_reader", "A. Reader")
    types(person, "synoptic_reader", "Model")
    assert person.dock.context.reader == person.finds(QLineEdit, "synoptic_reader").text() == "A. Reader"
    assert "reserved for the analysis" in person.dock.status.text
    chooses(person, "procedure", "excision")
    chooses(person, "procedure", "punch biopsy")
    presses(person, "synoptic_undo")
    assert person.finds(QComboBox, "synoptic_procedure").currentText() == "excision"
    presses(person, "synoptic_redo")
    report = stored(person)
    assert report.value("procedure") == "punch"
    assert [one.reader for one in report.history] == ["A. Reader"] * 4

    # Details appear where they are needed.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=20))
    person.until(lambda: section(person) is not None)
    assert not is_shown(person, "synoptic_subtype_detail")
    chooses(person, "subtype", "other")
    assert "describe what 'other' means" in text(person, "synoptic_check")
    types(person, "synoptic_subtype_detail", "dermal")
    assert stored(person).answer("subtype").detail == "dermal"
    chooses(person, "subtype", "nodular melanoma")
    assert not is_shown(person, "synoptic_subtype_detail")
    types_thickness(person, "1.2")
    box = person.finds(QAbstractButton, "depth_breslow_at_least")
    box.click()
    assert stored(person).answer("breslow").at_least

    # A redo is discarded by an edit of the other document.
    presses(person, "synoptic_undo")
    assert person.finds(QAbstractButton, "synoptic_redo").isEnabled()
    chooses(person, "procedure", "punch biopsy")
    assert not person.finds(QAbstractButton, "synoptic_redo").isEnabled()
    assert not stored(person).answer("breslow").at_least
    presses(person, "synoptic_undo")
    presses(person, "synoptic_redo")
    assert stored(person).value("procedure") == "punch"


def test_a_signed_report_is_locked_until_reopened_and_input_stays_with_its_slide(reporting, tmp_path: Path) -> None:
    person = reporting
    sign = person.finds(QAbstractButton, "synoptic_sign")
    assert (sign.isEnabled(), sign.toolTip()) == (False, "Enter your name first.")
    types(person, "synoptic_reader", "A. Reader")
    person.finds(QPlainTextEdit, "synoptic_comment").setPlainText("Typed last")  # still focused in the form
    signs(person)
    signature = person.finds(QLabel, "synoptic_signature")
    assert signature.text().startswith("Signed by A. Reader, ")
    form = signature.parentWidget()
    assert form.layout().indexOf(signature) == 0, "at the top of the form"
    assert stored(person).value("comment") == "Typed last"
    assert not person.finds(QComboBox, "synoptic_procedure").isEnabled()
    assert not person.finds(QAbstractButton, "synoptic_undo").isEnabled()
    assert not is_shown(person, "synoptic_sign")
    presses(person, "synoptic_case")
    assert person.dock.status.text.startswith("No case is open")
    reopens(person)
    assert "No case" not in person.dock.status.text  # it was about the signed report
    assert person.finds(QComboBox, "synoptic_procedure").isEnabled()
    assert [one.field for one in stored(person).history if one.field == "signature"] == ["signature"] * 2

    # What is typed stays with its slide.
    first, signed = person.dock.slide.identity, stored(person)
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=20))
    person.until(lambda: section(person) is not None)
    second = person.dock.slide.identity

    def comment():
        return person.finds(QPlainTextEdit, "synoptic_comment")

    comment().setFocus()
    comment().setPlainText("of the second slide")
    types(person, "synoptic_mitotic_rate", "many")
    comment().setFocus()
    person.dock.picker.select_slide(first)
    person.waits()
    assert comment().toPlainText() == "Typed last"
    assert person.finds(QComboBox, "synoptic_mitotic_rate").currentText() == ""
    assert not is_shown(person, "synoptic_mitotic_rate_fault")
    assert stored(person) == signed
    person.dock.picker.select_slide(second)
    person.waits()
    assert comment().toPlainText() == "of the second slide"
    assert set(stored(person).answers) == {"comment"}


@pytest.mark.path
def test_signing_lists_empty_fields_and_freezes_the_reading_that_the_report_rests_on(reporting) -> None:
    person = reporting
    opens(person)
    types(person, "synoptic_reader", "A. Reader")
    draws(person)
    presses(person, "synoptic_confirm")
    presses(person, "synoptic_sign")
    question = person.dock.window().findChild(QMessageBox, "synoptic_sign_question")
    assert "T category: pT1" in question.informativeText()
    assert "Required, but empty: Procedure; Laterality; Site" in question.informativeText()
    press_button(person.qtbot, "synoptic_sign_question", "Sign")
    person.waits()
    assert signed_value(person, "reading", "breslow") == pytest.approx(0.2, rel=1e-2)
    assert signed_value(person, "slide", "scale")[2] == "file"
    assert read_synoptic(person.session.folder)[1] == (), "another process reads the same values"

    # The reading is locked: nothing that the dock or the layer does changes it.
    depth, line_tool = document(person), depth_section(person).layer
    before = depth.state.reading
    assert text(person, "depth_link").startswith("Locked since the report was signed")
    draw = person.finds(QAbstractButton, "depth_draw")
    assert not draw.isEnabled()
    assert "The reading is locked: A. Reader has signed" in draw.toolTip()
    assert not person.finds(QComboBox, "depth_breslow").isEnabled()
    assert not person.finds(QAbstractButton, "depth_undo").isEnabled()
    layer = line_layer(person)
    moved = layer.data[0].copy()
    moved[1, 0] -= 200
    layer.data = [moved]
    line_tool.line_drawn.emit((TOP, (260.0, 100.0)))
    depth.undo()
    person.waits()
    assert depth.state.reading == before
    assert not is_shown(person, "synoptic_changes")

    # Deleting the line or a mark is refused as any other edit is, and so is another scale, by every reader.
    person.dock.status.clear()
    layer = line_layer(person)
    layer.selected_data = {0}
    layer.remove_selected()
    person.until(lambda: len(layer.data) == 1 and "The reading is locked" in person.dock.status.text)
    person.dock.status.clear()
    person.viewer.layers.remove(layer)  # as the button below napari's list of layers does
    person.until(lambda: line_layer(person) is not None)
    person.waits()
    assert "The reading is locked" in person.dock.status.text
    assert (len(line_layer(person).data), depth.state.reading) == (1, before)
    for reader in ("A. Reader", "B. Reader"):
        person.dock.context.set_reader(reader)
        QTest.mouseClick(person.dock, Qt.MouseButton.LeftButton)  # ends the error
        person.dock.status.clear()
        scale = person.dock.slide.info.pixel_size
        person.finds(QAbstractButton, "scale").click()
        assert not person.finds(QAbstractButton, "scale").isChecked()
        person.dock._on_pixel_size(PixelSize(1.0, 1.0, "given"))
        assert person.dock.slide.info.pixel_size == scale
        assert person.dock.status.text.startswith(
            "The scale is locked: A. Reader has signed. Reopen the synoptic report"
        )
    person.dock.context.set_reader("A. Reader")
    person.waits()

    # Another reader may measure, and an addendum leaves the report as it is.
    person.dock.context.set_reader("B. Reader")
    person.waits()
    assert draw.isEnabled()
    presses(person, "synoptic_addendum")
    dialog = person.dock.window().findChild(QInputDialog, "synoptic_addendum_dialog")
    dialog.setTextValue("Deeper levels show the same.")
    dialog.accept()
    person.waits()
    assert stored(person).addenda[0].reader == "B. Reader"
    assert "Deeper levels show the same." in text(person, "synoptic_addenda")

    person.dock.context.set_reader("A. Reader")
    person.waits()
    assert not draw.isEnabled()
    reopens(person)
    assert text(person, "depth_link").startswith("Other findings and signature")
    assert draw.isEnabled()
    person.dock._on_pixel_size(PixelSize(1.0, 1.0, "given"))
    assert depth.state.reading.mm == pytest.approx(0.4, rel=1e-2)


def test_a_dialog_about_a_report_closes_when_another_slide_is_shown(reporting, tmp_path: Path) -> None:
    person = reporting
    types(person, "synoptic_reader", "A. Reader")
    presses(person, "synoptic_sign")
    assert person.dock.window().findChild(QDialog, "synoptic_sign_question").isVisible()
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=20))
    person.until(lambda: section(person) is not None)
    opened = person.dock.window().findChild(QDialog, "synoptic_sign_question")
    assert opened is None or not opened.isVisible()
    assert not person.session.synoptic.value.is_signed


def test_only_a_signature_saves_lesions_and_another_threshold_is_stated_until_it_is_undone(analysed) -> None:
    person = analysed
    expands(person)
    opens(person)
    moves(person, 0.95)
    section(person)._sign()  # without a name
    person.waits()
    assert not person.session.synoptic.value.is_signed
    assert not person.session.lesions.is_saved
    moves(person, 0.6)
    types(person, "synoptic_reader", "A. Reader")
    signs(person)
    assert signed_value(person, "lesions", "summary", "threshold") == 0.6
    assert person.session.lesions.is_saved
    moves(person, 0.95)
    assert "Lesions, threshold: signed: 0.60; now: 0.95." in changes(person)
    moves(person, 0.6)
    assert not is_shown(person, "synoptic_changes")
    assert text(person, "depth_warning") == ""


def edits_lesions(person, edit) -> None:
    person.session.lesions.edit(lambda lesions, maps, config: edit(lesions))
    wait_until_idle(person.qtbot, person.session.lesions.queue)


def shows_result(person, **values) -> None:
    """Show another result of the analysis."""
    results = person.session.results
    results.set(replace(results.value, content={**results.value.content, **values}))
    person.waits()


def replaces_slide(person) -> None:
    """Open a slide of another content under the same name."""
    layer = person.dock.slide.layers[0]
    values = layer.metadata[METADATA_KEY]
    info = replace(values["info"], fingerprint="fedcba9876543210")
    layer.metadata = {**layer.metadata, METADATA_KEY: {**values, "info": info}}


def draws_region(person) -> None:
    region = Annotation((Polygon(((0.0, 0.0), (0.0, 90.0), (90.0, 90.0))),), "Hot spot", id="r1")
    person.session.regions.apply(lambda regions: (*regions, region))


def marks(person) -> None:
    person.session.points.apply(lambda points: (*points, CountedPoint("Mitosis", (10.0, 20.0))))


def measures(person) -> None:
    line = SlideMeasurement("line", ((0.0, 0.0), (0.0, 100.0)))
    person.session.measures.apply(lambda measures: (*measures, line))


# What a reader does to a value that is not locked, and a part of what is stated
STATED = {
    "slide file": (replaces_slide, "Slide, slide file: signed: "),
    "lesions": (
        lambda person: edits_lesions(person, lambda lesions: lesions[1:]),
        "Lesions, number: signed: 2; now: 1.",
    ),
    "outlines": (
        lambda person: edits_lesions(person, lambda lesions: (replace(lesions[0], label="benign"),)),
        "Class: signed: malignant; now: benign.",
    ),
    "threshold": (lambda person: moves(person, 0.95), "Lesions, threshold: signed: 0.60; now: 0.95."),
    "model": (
        lambda person: shows_result(person, model={"name": "other", "fingerprint": "0123"}),
        "now: other (0123).",
    ),
    "probability": (
        lambda person: shows_result(person, probability=0.123, scores={}),
        "Analysis, Prediction, probability: signed: 0.210; now: 0.123.",
    ),
    "tissue": (lambda person: shows_result(person, tissue_mm2=7.5), "Analysis, Tissue: signed: 2.5 mm²; now: 7.5 mm²."),
    "scale of the analysis": (
        lambda person: shows_result(person, mpp=[0.25, 0.25], mpp_source="given"),
        "now: 0.25 µm per pixel (given).",
    ),
    "region": (draws_region, "Regions, Hot spot, Count: not in the signed report; now: 1."),
    "mark": (marks, "Measured on the slide, Mitosis in the whole slide: signed: 1, "),
    "measurement": (measures, "Measured on the slide, length 1: not in the signed report; now: 0.05 mm."),
}


def test_what_a_signed_report_shows_is_locked_or_stated_in_the_dock(analysed, monkeypatch) -> None:
    person = analysed
    found = [add_lesion(Case(), depth_mm=0.2).lesions[0]]
    monkeypatch.setattr("napari_melanoma.ui.session.depth.find_slide_lesion", lambda *_: found[0])
    expands(person)
    opens(person)
    types(person, "synoptic_reader", "A. Reader")
    draws(person)
    document(person).set_values(
        mitoses=count_mitoses(MARKS["points"], MARKS["areas"], person.dock.slide.info.pixel_size)
    )
    person.session.points.apply(lambda points: (*points, CountedPoint("Mitosis", MARKS["points"][0])))
    shows_result(person, tissue_mm2=2.5, mpp=[0.5, 0.5])
    presses(person, "synoptic_confirm")
    signs(person)
    before, scale = document(person).state.reading, person.dock.slide.info.pixel_size
    for name, act in LOCKED.items():
        person.dock.status.clear()
        act(person)
        person.waits()
        assert (document(person).state.reading, person.dock.slide.info.pixel_size) == (before, scale), name
        assert "locked" in person.dock.status.text or "signed by A. Reader" in person.dock.status.text, name
        assert not is_shown(person, "synoptic_changes")
    for act, expected in STATED.values():
        act(person)
        person.session.findings.refresh()
        assert expected in changes(person)
    found[0] = add_lesion(Case(), depth_mm=0.7, diagnosis="nevus").lesions[0]
    person.session.findings.refresh()
    stated = changes(person)
    assert "Lesion of the case, Depth, entered in the case: signed: 0.20 mm; now: 0.70 mm." in stated
    assert "Lesion of the case, Diagnosis: not in the signed report; now: Nevus." in stated
    assert "Contradiction since the signature: Diagnosis: Nevus (lesion of the case), but pT1" in stated


def test_the_files_show_what_the_window_has_signed(analysed, monkeypatch) -> None:
    """Also lesions that are stored only then, positions between pixels, and regions without a class."""
    person = analysed
    lesion = add_lesion(Case(), depth_mm=0.2).lesions[0]
    monkeypatch.setattr("napari_melanoma.ui.session.depth.find_slide_lesion", lambda *_: lesion)
    expands(person)
    opens(person)
    types(person, "synoptic_reader", "A. Reader")
    draws(person)
    outline = tuple((150.123 + 77.777 * sin(angle), 170.987 + 77.777 * cos(angle)) for angle in range(6))
    document(person).set_values(
        mitoses=count_mitoses(((70.123, 80.987),), (outline,), person.dock.slide.info.pixel_size)
    )
    regions = (Annotation((Polygon(outline),), "Hot spot", id="r1"), Annotation((Polygon(outline),), "", id="r2"))
    person.session.regions.apply(lambda _: regions)
    person.session.points.apply(lambda _: (CountedPoint("Mitosis", (150.0, 160.0)), CountedPoint("Cell", (1.0, 2.0))))
    person.session.measures.apply(lambda _: (SlideMeasurement("area", outline), SlideMeasurement("line", outline[:2])))
    edits_lesions(person, lambda lesions: (replace(lesions[0], polygons=(Polygon(outline),), origin="drawn"),))
    presses(person, "synoptic_confirm")
    signs(person)
    assert not is_shown(person, "synoptic_changes")
    person.session.flush()
    person.waits()
    folder = person.session.folder
    shown, stored = person.session.synoptic.read_content(), read_slide_content(folder)
    assert len(read_lesions(folder)) == len(shown.analysis["lesions"]) == 1
    assert shown.analysis["lesions"] == stored.analysis["lesions"]
    assert read_synoptic(folder, lesion)[1] == ()
    assert [one.label for one in find_block(load_synoptic(folder).signed_report, "regions").blocks] == [
        "without a class",
        "Hot spot",
    ]


def test_damaged_files_and_signed_reports_of_the_case_are_not_replaced(
    person, slide_path, monkeypatch, tmp_path
) -> None:
    # A damaged file is named and kept.
    person.opens_slides(slide_path)
    expands(person)
    chooses(person, "procedure", "excision")
    folder, other = person.session.folder, tmp_path / "other results"
    damaged = slide_folder(other, slide_path) / FINDINGS_FILE
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{", encoding="utf-8")
    person.dock._on_root_chosen(other)
    labels = partial(person.dock.synoptic_section.findChildren, QLabel)
    person.until(lambda: any(str(damaged) in label.text() for label in labels()))
    assert [person.session.synoptic.list_changes(), person.session.synoptic.has_changed_values] == [(DAMAGED,), False]
    assert "changed after signature" not in person.dock.answer.text
    assert not isinstance(section(person), SynopticSection)
    person.session.synoptic.set_answer("procedure", SynopticAnswer(value="punch"))
    person.session.flush()
    assert damaged.read_text(encoding="utf-8") == "{"
    assert load_synoptic(folder).answer("procedure").value == "excision"

    # A signed report of the case is not replaced.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=20))
    person.until(lambda: section(person) is not None)
    chooses(person, "procedure", "excision")
    when = "2026-01-31T10:00:00+00:00"
    report = SynopticReport().set_answer("procedure", SynopticAnswer(value="punch"), "B", when).sign("B", when)
    case = make_case(person.dock.slide.info.path, {}, synoptic=report)
    FakeOpenCase(person.dock.context.workspace, case)
    presses(person, "synoptic_case")
    assert "Reopen it in the Case dock first" in person.dock.status.text

    # A difference from the report of the case is stated.
    chooses(person, "laterality", "left")
    assert "in the case: Procedure punch biopsy (here excision). Correct one" in changes(person)
    chooses(person, "procedure", "punch biopsy")
    assert changes(person) == ""


@pytest.mark.parametrize(("mm", "shown"), [(1.4234, "1.42"), (2.0482, "2.04"), (0.8, "0.80")])
def test_thickness_is_shown_with_two_digits(qtbot, mm: float, shown: str) -> None:
    form = ReportForm()
    qtbot.addWidget(form)
    editor = form.findings.editors["breslow"]
    editor.show_answer(SynopticAnswer(value=mm))
    assert editor.control.currentText() == shown


def signs_findings(person) -> None:
    types(person, "synoptic_reader", "A. Reader")
    types_thickness(person, "0.47")
    chooses(person, "ulceration", "not identified")
    chooses(person, "procedure", "excision")
    presses(person, "synoptic_confirm")
    signs(person)


def test_undo_after_reopening_gives_no_findings_to_another_reader(reporting) -> None:
    person = reporting
    signs_findings(person)
    person.dock.context.set_reader("B. Reader")
    person.waits()
    reopens(person)
    presses(person, "synoptic_undo")
    presses(person, "synoptic_redo")
    person.session.flush()
    assert load_synoptic(person.session.folder).answers.keys().isdisjoint(FINDINGS)
    depth = read_findings(person.session.folder)
    assert depth.reading_by("B. Reader") is None
    assert depth.reading_by("A. Reader").mm == 0.47


def test_reopening_keeps_findings_whose_reading_was_lost(reporting) -> None:
    person = reporting
    signs_findings(person)
    person.session.findings.set(SlideFindings(report=person.session.synoptic.value))  # as if its file was damaged
    reopens(person)
    person.session.flush()
    assert read_findings(person.session.folder).reading_by("A. Reader").mm == 0.47
    assert stored(person).value("ulceration") == "not_identified"


def test_lesions_of_another_class_are_no_change_and_are_not_signed(analysed) -> None:
    person = analysed
    expands(person)
    types(person, "synoptic_reader", "A. Reader")
    session = person.session
    state = session.lesions.value
    stored_lesions = lesions_block(read_lesions(session.folder), read_slide_result(session.folder), 0.6)
    assert session.results.value.content["target"] == state.source.target

    def shows_another_class() -> None:
        other = replace(state.source, target="another class")
        session.lesions.set(replace(state, source=other, lesions=state.lesions[1:]))
        person.waits()

    shows_another_class()
    signs(person)
    assert find_block(stored(person).signed_report, "lesions") == stored_lesions
    assert read_synoptic(session.folder)[1] == ()
    assert not is_shown(person, "synoptic_changes")
    session.lesions.set(state)
    person.waits()
    assert not is_shown(person, "synoptic_changes")
    shows_another_class()
    assert not is_shown(person, "synoptic_changes")


def passes(person, name: str, *keys: Qt.Key, leaves: bool = True) -> None:
    """Press keys in a closed list, and leave it."""
    combo = person.finds(QComboBox, name)
    for key in keys:
        person.qtbot.keyClick(combo, key)
    if leaves:  # no window of a test is active, so that Qt sends no such event
        QApplication.sendEvent(combo, QFocusEvent(QEvent.Type.FocusOut))


def test_items_that_are_passed_with_the_keyboard_are_no_changes(reporting) -> None:
    person, down, up = reporting, Qt.Key.Key_Down, Qt.Key.Key_Up
    types(person, "synoptic_reader", "A. Reader")
    opens(person)
    timers = [combo.findChild(DebounceTimer) for combo in person.dock.findChildren(NoWheelComboBox)]
    for timer in timers:
        timer.setInterval(10**6)
    passes(person, "synoptic_ulceration", down, down, down, down)
    passes(person, "synoptic_procedure", down, down, down)  # the focus leaves the first
    passes(person, "synoptic_laterality", down, down, up, up)
    passes(person, "synoptic_clark", *[down] * 5)
    passes(person, "synoptic_ulceration", up, down)
    assert not any(timer.isActive() for timer in timers)
    report, reading = stored(person), document(person).state.reading
    assert [(one.field, one.after["value"]) for one in report.history] == [("procedure", "punch")]
    assert [(one.field, one.before, one.after) for one in reading.history] == [
        ("ulcerated", None, False),
        ("clark", None, 3),
    ]

    # What was passed is one step, also if the next action is undo, and it stays for a moment without one.
    passes(person, "synoptic_procedure", down, leaves=False)
    presses(person, "synoptic_undo")
    assert stored(person).value("procedure") == "punch"
    passes(person, "synoptic_clark", down, leaves=False)
    presses(person, "synoptic_undo")
    assert stored(person).value("clark") == "III"
    for timer in timers:
        timer.setInterval(100)
    passes(person, "synoptic_procedure", down, leaves=False)
    person.until(lambda: stored(person).value("procedure") == "incisional")
    assert sum(one.field == "procedure" for one in stored(person).history) == 4


def test_a_step_too_far_in_a_list_sets_no_finding(qtbot) -> None:
    form = ReportForm()
    qtbot.addWidget(form)
    for editor in form.findings.editors.values():
        if isinstance(editor.control, QComboBox):
            words = [editor.control.itemData(index) for index in range(editor.control.count())]
            assert words[0] is None, editor.field.name
            harmless = {*editor.field.absent, "not_specified"} & {*words}
            assert {*words[1 : 1 + len(harmless)]} == harmless, editor.field.name
    margin = form.findings.editors["peripheral_margin_invasive"].control
    words = [margin.itemText(index) for index in range(margin.count())]
    assert words == ["–", "not assessed", "cannot be determined", "free", "involved"]


def focuses(person) -> None:
    """Return to the window from another program."""
    QApplication.instance().focusWindowChanged.emit(person.dock.window().windowHandle())
    person.waits()


def edits_result(folder: Path, **values: object) -> None:
    write_json(folder / RESULT, read_slide_result(folder) | values)


# What another program does to files that the signature rests on, and a part of what is stated
ELSEWHERE = (
    (
        lambda folder: save_lesions(folder, read_lesions(folder), LesionConfig(high=0.9)),
        "Lesions, threshold: signed: 0.60; now: 0.90.",
    ),
    (lambda folder: edits_result(folder, tissue_mm2=9.5), "now: 9.5 mm²"),
    (
        lambda folder: write_depth(folder, set_values(read_findings(folder), "A. Reader", LATER, mm=3.3)),
        "Depth reading, Breslow thickness: signed: 0.20 mm, recorded as 0.2 mm; now: 3.30 mm, recorded as 3.3 mm.",
    ),
    (
        lambda folder: write_notes(folder, replace(read_notes(folder), pixel_size=PixelSize(1.0, 1.0))),
        "now: 1 µm per pixel (given).",
    ),
)


def test_changes_by_another_program_are_stated_when_the_window_gets_the_focus(analysed) -> None:
    person = analysed
    expands(person)
    opens(person)
    types(person, "synoptic_reader", "A. Reader")
    draws(person)
    presses(person, "synoptic_confirm")
    signs(person)
    person.session.flush()
    focuses(person)
    assert not is_shown(person, "synoptic_changes")
    for change, expected in ELSEWHERE:
        change(person.session.folder)
        focuses(person)
        person.until(lambda expected=expected: expected in changes(person))
        stated = next(one for one in changes(person).splitlines() if expected in one)
        assert stated.startswith("Changed after signature: ")
        assert stated not in text(person, "depth_warning"), "it stands once"
    assert document(person).state.reading.mm == 3.3
    assert set(changes(person).splitlines()) >= set(read_synoptic(person.session.folder)[1])


def test_a_report_is_not_signed_with_values_that_another_program_has_replaced(reporting) -> None:
    person = reporting
    opens(person)
    types(person, "synoptic_reader", "A. Reader")
    draws(person)
    presses(person, "synoptic_confirm")
    person.session.flush()
    write_depth(person.session.folder, set_values(read_findings(person.session.folder), "A. Reader", LATER, mm=3.3))
    signs(person)
    assert "Not signed: another program has changed" in person.dock.status.text
    assert "Depth reading, Breslow thickness: 0.20 mm, recorded as 0.2 mm, now 3.30 mm" in person.dock.status.text
    assert not stored(person).is_signed
    assert thickness(person) == "3.30 mm"
    signs(person)
    assert stored(person).value("breslow") == 3.3
    assert person.dock.status.text == "The synoptic report is signed by A. Reader, and locked until it is reopened."


@pytest.fixture
def form(qtbot):
    """Shown form with an active window and a thickness; edits are stored as a section does."""
    made = ReportForm()
    qtbot.addWidget(made)
    made.resize(MIN_WIDTH_PX, 1800)
    made.show()
    made.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is made)
    report = SynopticReport(answers={"breslow": SynopticAnswer(value=0.57)})
    made.show_report(report, "A. Reader", (), is_editable=True)
    return made


def test_spaces_keep_a_value_and_escape_restores_it(form, qtbot) -> None:
    editor, answers = form.findings.editors["breslow"], []
    form.findings.answered.connect(lambda name, answer: answers.append((name, answer)))
    line = editor.control.lineEdit()
    for key, leave in ((" ", Qt.Key.Key_Tab), ("1.2", Qt.Key.Key_Escape), ("thick", Qt.Key.Key_Escape)):
        editor.control.setFocus()
        line.selectAll()
        qtbot.keyClicks(line, key)
        qtbot.keyClick(editor.control, leave)
        assert (line.text(), answers) == ("0.57", []), key
    editor.control.clearFocus()
    assert answers == []
    line.selectAll()
    qtbot.keyClicks(line, "thick")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert editor.has_fault
    qtbot.keyClick(editor.control, Qt.Key.Key_Escape)
    assert (line.text(), editor.has_fault) == ("0.57", False)

    notes = next(one for one in form.findings.editors.values() if one.field.kind == "text")
    notes.show_answer(SynopticAnswer(value="a scar"))
    for key, leave in ((" ", Qt.Key.Key_Tab), ("wrong", Qt.Key.Key_Escape)):
        notes.control.setFocus()
        notes.control.selectAll()
        qtbot.keyClicks(notes.control, key)
        qtbot.keyClick(notes.control, leave)
        assert (notes.control.toPlainText(), answers) == ("a scar", []), key

    # A number that is deleted is cleared.
    line.selectAll()
    qtbot.keyClick(line, Qt.Key.Key_Delete)
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert answers == [("breslow", None)]


@pytest.mark.both_qts
def test_what_is_typed_is_stored_after_a_pause_and_typing_goes_on(form, qtbot) -> None:
    report, answers = SynopticReport(), []

    def store(name: str, answer: SynopticAnswer | None) -> None:
        nonlocal report
        answers.append((name, answer.value or answer.state))
        report = report.set_answer(name, answer, "A. Reader", LATER)
        form.show_report(report, "A. Reader", (), is_editable=True)

    def types_and_pauses(control: QWidget, keys: str) -> None:
        control.setFocus()
        qtbot.keyClicks(control, keys)
        wait_until_idle(qtbot)

    form.findings.answered.connect(store)
    form.show_report(report, "A. Reader", (), is_editable=True)
    comment = form.findings.editors["comment"].control
    types_and_pauses(comment, "Typed last")
    qtbot.keyClick(comment, Qt.Key.Key_Left)
    types_and_pauses(comment, " ")
    assert answers == [("comment", "Typed last"), ("comment", "Typed las t")]
    assert (comment.hasFocus(), comment.textCursor().position()) == (True, 10)
    types_and_pauses(comment, " ")
    qtbot.keyClick(comment, Qt.Key.Key_End)
    types_and_pauses(comment, " ")
    assert comment.toPlainText() == "Typed las  t ", "spaces at the end stay while the text is typed"
    answers.clear()

    # A number is stored when it is accepted and complete.
    editor = form.findings.editors["mitotic_rate"]
    line = editor.control.lineEdit()
    for keys, expected in (("1.", []), ("5", [1.5]), ("x", [1.5]), ("\b", [1.5]), ("2", [1.5, 1.52])):
        types_and_pauses(line, keys)
        assert [value for _, value in answers] == expected, keys
        assert (line.hasFocus(), line.cursorPosition(), editor.has_fault) == (True, len(line.text()), False)
    line.selectAll()
    types_and_pauses(line, "n")  # Qt completes it
    assert [value for _, value in answers] == [1.5, 1.52]
    line.selectAll()
    types_and_pauses(line, "1.520")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert (line.text(), len(answers)) == ("1.52", 2), "the same number, as it is shown"

    # Another answer, such as of Undo, replaces what was stored.
    types_and_pauses(line, "1")
    form.show_report(SynopticReport(), "A. Reader", (), is_editable=True)
    assert (line.text(), comment.toPlainText(), line.hasFocus()) == ("", "", True)
    line.clearFocus()
    assert [value for _, value in answers] == [1.5, 1.52, 11.52], "the cursor was at the start"


def test_a_comment_and_a_number_of_a_slide_are_in_its_files_before_their_fields_are_left(reporting) -> None:
    person = reporting
    for name, keys in (("comment", "Typed last"), ("mitotic_rate", "12")):
        control = person.finds(QWidget, f"synoptic_{name}")
        person.qtbot.keyClicks(control.lineEdit() if isinstance(control, QComboBox) else control, keys)
        person.waits()
    report = read_synoptic(person.session.folder)[0]
    assert (report.value("comment"), report.value("mitotic_rate")) == ("Typed last", 12)
    presses(person, "synoptic_undo")
    presses(person, "synoptic_undo")
    assert read_synoptic(person.session.folder)[0].answers == {}
    assert not person.finds(QAbstractButton, "synoptic_undo").isEnabled()


def test_confirming_by_the_keyboard_keeps_the_focus_in_the_row(form, qtbot) -> None:
    editor, suggested = form.findings.editors["breslow"], SynopticAnswer(value=0.57, suggested_by="reading")

    def confirm(name: str) -> None:
        form.show_report(SynopticReport(answers={name: SynopticAnswer(value=0.57)}), "A. Reader", (), is_editable=True)

    form.confirm_requested.connect(confirm)
    form.show_report(SynopticReport(answers={"breslow": suggested}), "A. Reader", (), is_editable=True)
    editor.confirm_button.setFocus()
    qtbot.keyClick(editor.confirm_button, Qt.Key.Key_Space)
    assert editor.confirm_button.isHidden()
    assert editor.control.hasFocus()


def test_changes_after_the_signature_are_shown_whole_at_the_top(qtbot) -> None:
    form = ReportForm()
    qtbot.addWidget(form)
    form.resize(MIN_WIDTH_PX, 900)
    form.show()
    report = SynopticReport().sign("A. Reader", LATER)
    before, after = (ShownBlock(key="a", value=value, text=value) for value in "12")
    changes = [BlockChange(("a",), name, before, after) for name in map(str, range(30))]
    form.show_report(report, "A. Reader", [*changes, "Another statement."], is_editable=True)
    qtbot.wait(50)
    notice = form.change_notice
    assert notice.heading.text() == "Changed after signature: 30 values"
    assert notice.label.text().splitlines()[:3] == ["0", "    signed: 1", "    now: 2"]
    assert notice.label.text().endswith("Another statement.")
    assert notice.label.height() >= notice.label.heightForWidth(notice.label.width())
    assert notice.parentWidget() is form
    assert not notice.findChildren(QScrollArea)
    above = [form.layout().itemAt(index).widget() for index in range(form.layout().indexOf(notice))]
    assert above == [form.signature_label, form.reader_row, form.button_row]
    form.show_report(report, "A. Reader", (), is_editable=True)
    assert notice.isHidden()


def test_a_typed_thickness_is_marked_and_the_question_before_signing_states_it(reporting) -> None:
    person = reporting
    opens(person)
    types(person, "synoptic_reader", "A. Reader")
    draws(person)
    types_thickness(person, "1.23")
    layer = line_layer(person)
    assert [label.strip() for label in layer.text.values] == ["0.20 mm"], "the length of the line"
    assert text(person, "depth_warning").startswith("The line measures 0.20 mm; 1.23 mm was entered.")
    presses(person, "synoptic_confirm")
    presses(person, "synoptic_sign")
    question = person.dock.window().findChild(QMessageBox, "synoptic_sign_question")
    assert question.text() == "1 contradiction. Sign the synoptic report as A. Reader?"
    expected = "Breslow thickness: 1.23 mm, recorded as 1.2 mm (synoptic report), but 0.20 mm (length of the line)."
    assert expected in question.informativeText()
    press_button(person.qtbot, "synoptic_sign_question", "Sign")
    person.waits()
    assert stored(person).value("breslow") == 1.23


@pytest.mark.both_qts
def test_a_click_on_a_signed_field_says_why_it_cannot_be_changed(reporting) -> None:
    person = reporting
    opens(person)
    types(person, "synoptic_reader", "A. Reader")
    draws(person)
    chooses(person, "ulceration", "not identified")
    presses(person, "synoptic_confirm")
    signs(person)
    before = stored(person)
    person.viewer.window._qt_window.show()
    person.finds(SummarySection, "depth_folded").expand()
    person.waits()
    for name, reason in (
        ("synoptic_ulceration", "The report is locked: A. Reader has signed it."),
        ("synoptic_clark", "The report is locked"),
        ("depth_breslow", "The reading is locked: A. Reader has signed."),
        ("depth_notes", "The reading is locked"),
    ):
        person.dock.status.clear()
        widget = person.finds(QWidget, name)
        target = widget.viewport() if isinstance(widget, QPlainTextEdit) else widget
        person.qtbot.mouseClick(target, Qt.MouseButton.LeftButton)
        assert reason in person.dock.status.text, name
    assert "The reading is locked" in person.finds(QAbstractButton, "depth_draw").toolTip()
    assert stored(person) == before


def test_escape_keeps_the_name_of_the_reader(qtbot):
    holder = QWidget()
    field = ReaderField("reader", "your name")
    QHBoxLayout(holder).addWidget(field)
    holder.layout().addWidget(field.change_button)
    qtbot.addWidget(holder)
    holder.show()
    field.show_name("A. Reader")
    QTest.mouseClick(field.change_button, Qt.MouseButton.LeftButton)
    QTest.keyClicks(field, "B.")
    assert (field.text(), field.change_button.isVisible()) == ("B.", False)
    QTest.keyClick(field, Qt.Key.Key_Escape)
    assert (field.text(), field.isReadOnly(), field.change_button.isVisible()) == ("A. Reader", True, True)


def test_the_message_that_a_report_is_signed_ends_when_it_is_reopened(reporting) -> None:
    person = reporting
    signs_findings(person)
    assert person.dock.status.text.startswith("The synoptic report is signed by A. Reader")
    reopens(person)
    person.waits()
    assert "is signed" not in person.dock.status.text


def test_findings_of_the_signer_are_hidden_until_another_reader_has_measured(reporting) -> None:
    person = reporting
    opens(person)
    signs_findings(person)
    person.session.points.apply(lambda points: (*points, CountedPoint("Mitosis", (10.0, 20.0))))

    def shown() -> tuple[str, str, str]:
        return thickness(person), text(person, "synoptic_stage"), changes(person)

    assert shown()[:2] == ("0.47 mm", "pT1a")
    assert "Mitosis in the whole slide" in shown()[2]
    person.dock.context.set_reader("B. Reader")
    person.waits()
    assert shown()[:2] == ("–", "T category hidden")
    assert "Mitosis" not in shown()[2]
    assert "1 other reader measured this slide" in text(person, "depth_others")
    assert "0.47" not in "".join(label.text() for label in person.dock.findChildren(QLabel))
    draws(person)
    assert shown()[:2] == ("0.47 mm", "pT1a")

    person.dock.context.set_reader("C. Reader")
    person.waits()
    assert shown()[:2] == ("–", "T category hidden")
    presses(person, "synoptic_reveal")
    assert shown()[:2] == ("0.47 mm", "pT1a")
    assert not is_shown(person, "synoptic_reveal")
    assert stored(person).signed_by == "A. Reader"


def test_contradictions_with_the_case_are_named_before_signing(reporting, monkeypatch) -> None:
    person = reporting
    lesion = add_lesion(Case(), site="upper extremity", laterality="right", diagnosis="nevus").lesions[0]
    monkeypatch.setattr("napari_melanoma.ui.session.depth.find_slide_lesion", lambda *_: lesion)
    types(person, "synoptic_reader", "A. Reader")
    chooses(person, "laterality", "midline")
    chooses(person, "site", "lower extremity")
    types_thickness(person, "3")
    chooses(person, "ulceration", "present")
    presses(person, "synoptic_confirm")
    presses(person, "synoptic_sign")
    question = person.dock.window().findChild(QMessageBox, "synoptic_sign_question")
    assert question.text() == "3 contradictions. Sign the synoptic report as A. Reader?"
    for expected in (
        "Laterality: midline (synoptic report), but right (lesion of the case).",
        "Site: lower extremity (synoptic report), but upper extremity (lesion of the case).",
        "Diagnosis: Nevus (lesion of the case), but pT3b (synoptic report).",
    ):
        assert expected in question.informativeText().split("\n\n")
    press_button(person.qtbot, "synoptic_sign_question", "Cancel")
    person.waits()
    assert not stored(person).is_signed
    signs(person)
    assert stored(person).is_signed
    assert not is_shown(person, "synoptic_changes"), "they were confirmed"


def test_the_lesion_of_the_case_is_compared_also_when_files_have_changed(reporting) -> None:
    """The files of the slide do not contain the lesion, which is open in the Case dock, also if it is read-only."""
    person = reporting
    case = add_lesion(Case(), diagnosis="melanoma")
    case = add_images(case, [CaseImage(id="I1", path=person.dock.slide.info.path, modality="wsi")], "L1")
    open_case = FakeOpenCase(person.dock.context.workspace, case, read_only="another window has opened it")
    types(person, "synoptic_reader", "A. Reader")
    chooses(person, "procedure", "excision")
    signs(person)
    for diagnosis, expected in (
        ("nevus", "Changed after signature: Lesion of the case, Diagnosis: signed: Melanoma; now: Nevus."),
        ("melanoma", ""),
    ):
        open_case.edit(set_lesion(case, "L1", diagnosis=diagnosis))
        write_notes(person.dock.result_location.folder, read_notes(person.dock.result_location.folder))
        person.session.check_files()  # as when the window gets the focus
        person.waits()
        assert changes(person) == expected


def test_the_report_follows_the_lesion_of_the_case(reporting) -> None:
    person = reporting
    types(person, "synoptic_reader", "A. Reader")
    open_case = FakeOpenCase(person.dock.context.workspace, make_case(person.dock.slide.info.path, {}, clark=3))
    assert person.finds(QComboBox, "synoptic_clark").currentText() == "III", "suggested"
    presses(person, "synoptic_confirm")
    signs(person)
    for clark, expected in ((4, "Lesion of the case, Clark level, entered in the case: signed: III"), (3, "")):
        open_case.edit(set_lesion(open_case.case, "L1", clark=clark))
        assert expected in changes(person) if expected else changes(person) == ""


def test_a_scale_that_another_program_has_cleared_is_that_of_the_file_again(reporting) -> None:
    person = reporting
    folder, scale = person.session.folder, person.dock.slide.info.pixel_size
    types(person, "synoptic_reader", "A. Reader")
    chooses(person, "procedure", "excision")
    signs(person)
    for size, expected in ((PixelSize(1.0, 1.0), "now: 1 µm per pixel (given)."), (None, "")):
        write_notes(folder, replace(read_notes(folder), pixel_size=size))
        focuses(person)
        assert person.dock.slide.info.pixel_size == (size or scale)
        person.until(lambda: section(person) is not None)
        assert expected in changes(person) if expected else changes(person) == ""


def test_a_case_that_is_opened_later_edited_and_closed_is_followed(reporting) -> None:
    person = reporting
    chooses(person, "procedure", "excision")
    punch = SynopticReport().set_answer("procedure", SynopticAnswer(value="punch"), "B", utc_time())
    open_case = FakeOpenCase(person.dock.context.workspace, make_case(person.dock.slide.info.path, {}, synoptic=punch))
    assert "in the case: Procedure punch biopsy (here excision)." in changes(person)
    excision = punch.set_answer("procedure", SynopticAnswer(value="excision"), "B", utc_time())
    open_case.edit(set_lesion(open_case.case, "L1", synoptic=excision))
    assert changes(person) == ""
    open_case.edit(set_lesion(open_case.case, "L1", synoptic=punch))
    assert changes(person) != ""
    open_case.close()
    assert changes(person) == ""


def test_findings_are_added_to_the_case_and_later_ones_are_stated(reporting) -> None:
    person = reporting
    types(person, "synoptic_reader", "A. Reader")
    chooses(person, "procedure", "excision")
    open_case = FakeOpenCase(person.dock.context.workspace, make_case(person.dock.slide.info.path, {}))

    def adds() -> None:
        presses(person, "synoptic_case")
        (lesion,) = open_case.case.lesions
        assert lesion.images[0].findings.document == person.session.findings.value
        assert lesion.report.answers == stored(person).answers
        assert text(person, "synoptic_changes") == ""

    adds()
    for change in (
        lambda: chooses(person, "laterality", "left"),
        lambda: types_thickness(person, "1.5"),
        lambda: chooses(person, "laterality", "–"),
    ):
        change()
        assert text(person, "synoptic_changes").startswith(
            f"The findings of {person.dock.slide.info.path.name} differ from those that were added to the case on "
        )
        adds()


def test_what_others_have_measured_is_not_suggested_by_the_case(reporting, monkeypatch) -> None:
    """Until the reader has measured; the site, which is not measured on the slide, is suggested at once."""
    person = reporting
    values = {"depth_mm": 0.47, "ulceration": True, "clark": 4, "mitoses_per_mm2": 3.0}
    lesion = add_lesion(Case(), site="upper extremity", **values).lesions[0]
    opens(person)
    signs_findings(person)
    monkeypatch.setattr("napari_melanoma.ui.session.depth.find_slide_lesion", lambda *_: lesion)
    person.dock.context.set_reader("B. Reader")
    person.waits()
    fields = ("breslow", "ulceration", "clark", "mitotic_rate", "extent")

    def suggested() -> dict[str, object]:
        answers = person.session.synoptic.shown_findings.answers
        return {name: one.value for name, one in answers.items() if one.suggested_by == "case"}

    assert suggested() == {"site": "upper extremity"}
    assert all(person.finds(QComboBox, f"own_{name}").currentText() == "–" for name in ("ulceration", "clark"))
    draws(person)
    assert suggested().keys() >= {"ulceration", "clark", "mitotic_rate"}
    assert not suggested().keys() >= {*fields}


def test_another_reader_enters_own_findings_below_a_signed_report(reporting) -> None:
    person = reporting
    opens(person)
    signs_findings(person)
    assert not is_shown(person, "own_clark")
    person.dock.context.set_reader("B. Reader")
    person.waits()
    draws(person)
    own = person.finds(QComboBox, "own_clark")
    own.setCurrentIndex(own.findText("IV"))
    own.activated.emit(own.currentIndex())
    measures(person)
    presses(person, "own_deep_distance_invasive_ruler")
    person.session.flush()
    readings = read_findings(person.session.folder)
    assert readings.reading_by("B. Reader").clark == 4
    assert readings.reading_by("B. Reader").margins.deep_mm == pytest.approx(0.05, rel=1e-2)
    assert (readings.reading_by("A. Reader").clark, stored(person).signed_by) == (None, "A. Reader")
    assert not person.finds(QAbstractButton, "synoptic_mitoses_measured").isEnabled()
    assert person.finds(QAbstractButton, "own_mitoses_measured").isEnabled()
