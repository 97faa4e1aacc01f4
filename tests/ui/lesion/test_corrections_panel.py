"""In a narrow and short dock, texts and buttons are completely visible or can be scrolled to."""

from __future__ import annotations

import pytest
from lesion_fixtures import FIXTURES
from napari._qt.qt_resources import get_stylesheet
from qtpy.QtWidgets import QAbstractButton, QDockWidget, QLabel, QScrollArea

from napari_melanoma.ui.session.corrections_store import ReviewSettings

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


@pytest.fixture
def short(window, tmp_path):
    """A user with two photographs, one of them stored, in a dock of 340 x 380 pixels that looks as in napari."""
    window.main.setStyleSheet(get_stylesheet("dark"))
    ReviewSettings().corrections = tmp_path / "corrections"
    window.dock.corrections.store.refresh()
    window.opens("a photograph with a name that is too long for one line of the dock")
    window.opens("another photograph with a name that is too long for one line")
    window.clicks("analyse_all")
    window.waits()
    window.clicks("add_correction")
    window.waits()
    frame = window.dock.parentWidget()
    while not isinstance(frame, QDockWidget):
        frame = frame.parentWidget()
    frame.setFloating(True)
    frame.resize(340, 380)
    window.qtbot.wait(300)
    yield window
    frame.setFloating(False)
    window.qtbot.wait(50)


def test_a_short_dock_clips_no_line_or_button(short):
    for name in ("storage_state", "status", "notice_of_use"):
        label = short.finds(QLabel, name)
        assert label.isVisible(), name
        assert label.height() >= label.heightForWidth(label.width()), name
        below = label.mapTo(short.dock, label.rect().bottomLeft()).y()
        assert below < short.dock.height(), name
    scroll = short.finds(QScrollArea, "lesion_scroll")
    assert scroll.verticalScrollBar().isVisible()
    bar = scroll.verticalScrollBar().width()
    assert scroll.widget().minimumSizeHint().width() <= 320 - bar  # with room for wider letters at 340
    button = short.finds(QAbstractButton, "analyse_all")
    right = button.mapTo(scroll.viewport(), button.rect().topRight()).x()
    assert right < scroll.viewport().width()
