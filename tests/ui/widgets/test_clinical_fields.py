"""The field of a date: typed in the usual notations, or chosen in a calendar."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QDate, Qt
from qtpy.QtWidgets import QApplication, QCalendarWidget, QToolButton

from napari_melanoma.ui.widgets.clinical_fields import CHECKS, DAY_COLUMN, CaseField, parse_day

DAYS = {
    "2026-03-01": "2026-03-01",
    "1.3.2026": "2026-03-01",
    "01.03.2026": "2026-03-01",
    " 31. 12. 1999 ": "1999-12-31",
    "2026-3-1": "2026-03-01",
    "29.2.2024": "2024-02-29",
    "29.2.2023": "",
    "31.4.2026": "",
    "1.3.26": "",  # of which century
    "3/1/2026": "",  # March or January
    "1.3.202": "",
    "yesterday": "",
    "": "",
}


@pytest.fixture
def field(qtbot):
    made = CaseField("image", DAY_COLUMN, CHECKS["taken_on"])
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.mark.parametrize(("text", "day"), DAYS.items())
def test_dates_are_read_in_two_notations(text, day):
    assert parse_day(text) == day


@pytest.mark.both_qts
def test_dates_of_any_notation_are_stored_in_one(field, qtbot):
    edits = []
    field.edited.connect(lambda column, text: edits.append((column, text)))
    qtbot.keyClicks(field.control, "1.3.2026")
    assert edits == [("taken_on", "2026-03-01")]
    assert field.fault == ""
    qtbot.keyClick(field.control, Qt.Key.Key_Backspace)
    assert "2026-05-31 or 31.5.2026" in field.fault
    field.clear_edits()

    field.show_value("2026-03-01", editable=True)
    field.findChild(QToolButton, "image_taken_on_calendar").click()
    calendar = QApplication.activePopupWidget().findChild(QCalendarWidget)
    assert calendar.selectedDate() == QDate(2026, 3, 1)
    calendar.clicked.emit(QDate(2025, 11, 9))
    assert field.text == "2025-11-09"
    assert edits[-1] == ("taken_on", "2025-11-09")
    assert QApplication.activePopupWidget() is None
