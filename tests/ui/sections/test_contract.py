"""What holds for all sections: content at the first click, and a widget for each open image, which ends with it."""

from __future__ import annotations

import time
from threading import Event

import pytest
from fake_slides import FakeAnalysis, draw_slide
from lesion_fixtures import count_callbacks
from PIL import Image as PillowImage
from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QAbstractButton, QAbstractItemView, QApplication, QComboBox, QLabel, QPlainTextEdit
from slide_fixtures import UNSEEN

from conftest import photograph, until, wait_until_idle
from napari_melanoma.case.model import Case, add_lesion
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.ui.sections import find_sections
from napari_melanoma.ui.sections.base import ImageSection, LesionSection, PhotographSection, SlideSection
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.widgets.job import run_job
from napari_melanoma.ui.widgets.style import CollapsibleSection

user, launched, slide_path, unseen, _ = map(pytest.fixture, UNSEEN)
SLIDE = {*find_sections(SlideSection), "File metadata"} - {"Prediction"}
LESION = set(find_sections(PhotographSection)) - {"Corrections", "Prediction summary", "Published"}
CASE = {*find_sections(LesionSection), "Over time", "Site", "Diagnosis", "Findings"}
ROUNDS = 20  # of the event loop, in which Qt shows and lays out widgets; there is no time for an animation
BUSY_S = 0.3  # such as the first layout of a long form


def collapse_all(dock):
    """Collapse all sections, as the user of the session before did; return them by title."""
    dock.choice.button.setChecked(True)
    for frame in dock.choice.list_frames().values():
        frame.collapse()
    return {title: frame for title, frame in dock.list_places().items() if isinstance(frame, CollapsibleSection)}


def check_first_clicks(qtbot, dock, frames):
    """Click on the title of each section while the window is busy, and expect all of its content."""
    for title, frame in sorted(frames.items()):
        dock.window().repaint()
        until(qtbot, frame.title_button.isVisible)
        assert not frame.is_expanded, title
        QTimer.singleShot(0, lambda: time.sleep(BUSY_S))
        qtbot.mouseClick(frame.title_button, Qt.MouseButton.LeftButton)
        until(qtbot, lambda content=frame.content: content.layout().count() > 0)
        for _ in range(ROUNDS):
            QApplication.processEvents()
        content = frame.content
        assert content.isVisible(), title
        assert content.height() >= content.minimumSizeHint().height(), title
        kinds = (QLabel, QAbstractButton, QAbstractItemView, QComboBox, QPlainTextEdit)
        shown = [one for kind in kinds for one in content.findChildren(kind) if one.isVisible() and one.height() > 1]
        assert shown, title
        assert max(one.mapTo(content, one.rect().bottomLeft()).y() for one in shown) <= content.height(), title
        wait_until_idle(qtbot, dock)


@pytest.mark.usefixtures("shown_viewer")
def test_each_section_of_the_slide_dock_shows_its_content_at_first(unseen, slide_path, qtbot):
    person, dock = unseen, unseen.dock
    person.until(lambda: set(dock.sections.hosted.sections) >= set(find_sections(SlideSection)))
    frames = collapse_all(dock)
    assert set(frames) == SLIDE
    folder = background_runs.slide_folder(dock.settings.slide_results, slide_path)
    FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().finishes()
    person.opens_slides(slide_path)
    check_first_clicks(qtbot, dock, frames)


def test_each_section_of_the_lesion_dock_shows_its_content_at_first(window, qtbot):
    dock = window.dock
    until(qtbot, lambda: set(dock.hosted.sections) >= set(find_sections(PhotographSection)))
    frames = collapse_all(dock)
    assert set(frames) == LESION
    window.opens()
    window.waits()
    for one in LESION:
        dock.choice.set_needed(one, is_needed=True)  # such as patient data, by the model
    check_first_clicks(qtbot, dock, frames)


def test_each_section_of_the_case_dock_shows_its_content_at_first(shown_viewer, shared_client, qtbot, tmp_path):
    folder = tmp_path / "P-0001"
    folder.mkdir()
    for radius, kind in ((25, "dermoscopy"), (30, "macro")):
        PillowImage.fromarray(photograph(((60, 80, radius),))).save(folder / f"back_left_1_{kind}.png")
    _, dock = shown_viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    wait_until_idle(qtbot)
    frames = collapse_all(dock)
    dock.drops.dropped.emit([folder])
    wait_until_idle(qtbot)
    check_first_clicks(qtbot, dock, {title: frames[title] for title in CASE})


def opens_all(qtbot, hosted):
    """Expand all sections that are widgets of one image; return them by title."""
    frames = {
        title: one.frame
        for title, one in hosted.sections.items()
        if isinstance(one.section, type) and issubclass(one.section, ImageSection)
    }
    for frame in frames.values():
        if hasattr(frame, "expand"):
            frame.expand()
    until(qtbot, lambda: all(hosted.sections[title].widget is not None for title in frames))
    return {title: hosted.sections[title].widget for title in frames}


def check_deletion(qtbot, widgets, close):
    """The widgets of what is closed are deleted while a job of each runs, and get no result."""
    may_end, results, stopped = Event(), [], []

    def wait(run):
        assert may_end.wait(60)
        stopped.append(run.cancelled)

    for widget in widgets:
        run_job(widget, "waits", wait, results.append, results.append)
    close()
    until(qtbot, lambda: not any(map(isalive, widgets)))
    may_end.set()
    until(qtbot, lambda: len(stopped) == len(widgets) > 0)
    assert stopped == [True] * len(widgets)
    qtbot.wait(10)
    assert results == []


def check_widgets(qtbot, hosted, display, first, other, close_first):
    """Two images have their own widgets; those of a closed one are deleted, the others stay."""
    display(first)
    own = opens_all(qtbot, hosted)
    display(other)
    others = opens_all(qtbot, hosted)
    assert own.keys() == others.keys()
    assert not set(own.values()) & set(others.values())
    assert all(widget.isHidden() for widget in own.values())
    display(first)
    assert opens_all(qtbot, hosted) == own
    assert all(widget.isHidden() for widget in others.values())
    check_deletion(qtbot, list(own.values()), close_first)
    assert all(map(isalive, others.values()))


@pytest.mark.both_qts
def test_each_slide_has_its_own_sections(unseen, slide_path, tmp_path, qtbot):
    person, hosted, other = unseen, unseen.dock.sections.hosted, draw_slide(tmp_path / "other.tif")
    person.until(lambda: "Tissue" in hosted.sections)
    for frame in person.dock.choice.list_frames().values():
        frame.collapse()

    def display(path):
        if not person.dock.picker.select_file(path):
            person.opens_slides(path)
        person.until(lambda: hosted.session is not None and hosted.session.slide.info.path == path)
        person.waits()

    counts = []
    for _ in range(2):
        check_widgets(qtbot, hosted, display, slide_path, other, person.dock.close_slide)
        person.waits()
        counts.append(count_callbacks(person.viewer))
    assert counts[0] == counts[1]


@pytest.mark.both_qts
def test_each_photograph_has_its_own_sections(person, qtbot):
    hosted, viewer = person.dock.hosted, person.viewer
    until(qtbot, lambda: "Mask" in hosted.sections)
    other = person.opens("other", photograph(((60, 80, 12),)))
    counts = []

    def display(image):
        viewer.layers.selection.active = image
        until(qtbot, lambda: hosted.session is not None and hosted.session.image == image)
        person.waits()

    for _ in range(2):
        first = person.opens("first")
        person.waits()
        check_widgets(qtbot, hosted, display, first, other, lambda first=first: viewer.layers.remove(first))
        person.waits()
        counts.append(count_callbacks(viewer))
    assert counts[0] == counts[1]


@pytest.mark.usefixtures("user", "shared_client")
def test_each_lesion_of_a_case_has_its_own_sections_while_it_is_selected(viewer, qtbot, tmp_path):
    dock = show_dock(viewer, "Case")
    hosted, counts = dock.lesion_sections, []
    until(qtbot, lambda: set(hosted.sections) >= set(find_sections(LesionSection)))
    for number in range(2):
        dock.controller.create(tmp_path / f"P-{number}", add_lesion(add_lesion(Case())))
        until(qtbot, lambda: hosted.session is not None)
        wait_until_idle(qtbot)
        for select, lesion in ((lambda: dock._show_rows("L2"), "L1"), (dock.controller.close, "L2")):
            assert hosted.session.lesion.id == lesion
            check_deletion(qtbot, list(opens_all(qtbot, hosted).values()), select)
        wait_until_idle(qtbot)
        counts.append(count_callbacks(viewer))
    assert counts[0] == counts[1]
