"""Each section of the Slide, Lesion and Case dock, opened by a click first thing in a session, shows its content."""

from __future__ import annotations

import time

import pytest
from fake_slides import FakeAnalysis
from PIL import Image as PillowImage
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QApplication,
    QComboBox,
    QLabel,
    QPlainTextEdit,
)
from slide_fixtures import FIXTURES

from conftest import photograph, until, wait_until_idle
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.ui.sections import find_sections
from napari_melanoma.ui.sections.base import LesionSection, PhotographSection, SlideSection
from napari_melanoma.ui.widgets.style import CollapsibleSection

user, launched, slide_path, person, _ = map(pytest.fixture, FIXTURES)
SLIDE = {*find_sections(SlideSection), "File metadata", "Analysis"} - {"Prediction"}
LESION = set(find_sections(PhotographSection)) - {"Corrections"}
CASE = {*find_sections(LesionSection), "Prediction", "Over time", "Site", "Diagnosis", "Findings"}
ROUNDS = 20  # of the event loop, in which Qt shows and lays out widgets; there is no time for an animation
BUSY_S = 0.3  # such as the first layout of a long form


def collapse_all(dock):
    """Collapse all sections, as the user of the session before did; return them by title."""
    dock.choice.button.setChecked(True)
    for frame in dock.choice.list_frames().values():
        frame.collapse()
    return {title: frame for title, frame in dock.list_places().items() if isinstance(frame, CollapsibleSection)}


def check_first_open(qtbot, dock, frame):
    """Click on the title of a section while the window is busy, and expect all of its content."""
    dock.window().repaint()
    until(qtbot, frame.title_button.isVisible)
    assert not frame.is_expanded
    QTimer.singleShot(0, lambda: time.sleep(BUSY_S))
    qtbot.mouseClick(frame.title_button, Qt.MouseButton.LeftButton)
    until(qtbot, lambda: frame.content.layout().count() > 0)
    for _ in range(ROUNDS):
        QApplication.processEvents()
    content = frame.content
    assert content.isVisible()
    assert content.height() >= content.minimumSizeHint().height()
    kinds = (QLabel, QAbstractButton, QAbstractItemView, QComboBox, QPlainTextEdit)
    shown = [one for kind in kinds for one in content.findChildren(kind) if one.isVisible() and one.height() > 1]
    assert shown
    lowest = max(one.mapTo(content, one.rect().bottomLeft()).y() for one in shown)
    assert lowest <= content.height()
    wait_until_idle(qtbot, dock)


@pytest.mark.parametrize("title", sorted(SLIDE))
def test_a_section_of_the_slide_dock_shows_its_content_at_first(person, slide_path, qtbot, title):
    dock = person.dock
    person.until(lambda: set(dock.sections.hosted.sections) >= set(find_sections(SlideSection)))
    frames = collapse_all(dock)
    assert set(frames) == SLIDE
    folder = background_runs.slide_folder(dock.run_manager.root, slide_path)
    FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().finishes()
    person.opens_slides(slide_path)
    check_first_open(qtbot, dock, frames[title])


@pytest.mark.parametrize("title", sorted(LESION))
def test_a_section_of_the_lesion_dock_shows_its_content_at_first(window, qtbot, title):
    dock = window.dock
    until(qtbot, lambda: set(dock.hosted.sections) >= set(find_sections(PhotographSection)))
    frames = collapse_all(dock)
    assert set(frames) == LESION
    window.opens()
    window.waits()
    for one in LESION:
        dock.choice.set_needed(one, is_needed=True)  # such as patient data, by the model
    check_first_open(qtbot, dock, frames[title])


@pytest.mark.parametrize("title", sorted(CASE))
def test_a_section_of_the_case_dock_shows_its_content_at_first(shown_viewer, shared_client, qtbot, tmp_path, title):
    folder = tmp_path / "P-0001"
    folder.mkdir()
    for radius, kind in ((25, "dermoscopy"), (30, "macro")):
        PillowImage.fromarray(photograph(((60, 80, radius),))).save(folder / f"back_left_1_{kind}.png")
    _, dock = shown_viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    wait_until_idle(qtbot)
    frames = collapse_all(dock)
    dock.drops.dropped.emit([folder])
    wait_until_idle(qtbot)
    check_first_open(qtbot, dock, frames[title])
