"""Magnification buttons and worklist of the Slide dock."""

from __future__ import annotations

from threading import Event
from time import monotonic
from types import SimpleNamespace

import numpy as np
import pytest
from fake_slides import FakeAnalysis, draw_slide
from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QLabel, QToolButton
from slide_fixtures import UNSEEN

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.slides.background_runs import read_slide_run_status
from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader
from napari_melanoma.ui.library.states import ReadStates, SlideStates
from napari_melanoma.ui.library.view import LibraryView
from napari_melanoma.ui.sections.overview.view import STEPS
from napari_melanoma.ui.session.navigation import NOT_IN_VIEW
from napari_melanoma.ui.session.run_status import SlideRunUpdate
from napari_melanoma.ui.slide import worklist as worklist_module
from napari_melanoma.ui.slide.worklist import MAX_INTERVAL_S
from napari_melanoma.ui.viewer.camera import get_camera, get_visible_region
from napari_melanoma.ui.viewer.view_memory import fit_view, show_only

MANY, FEW = 600, 200

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


def magnifiers(person):
    return {step: person.finds(QToolButton, f"magnify_{step}") for step in STEPS}


def test_magnification_1x_is_ten_micrometers_per_pixel(person, slide_path, tmp_path, monkeypatch):
    dock, viewer = person.dock, person.viewer
    person.opens_slides(slide_path)  # 0.5 µm a pixel: 20x
    buttons = magnifiers(person)
    person.clicks("magnify_40")
    assert get_camera(viewer).zoom == pytest.approx(4.0)
    middle = get_visible_region(viewer, dock.slide).center
    person.clicks("magnify_20")
    assert get_camera(viewer).zoom == pytest.approx(2.0)  # screen pixels a micrometre: a pixel of the slide is one
    assert get_visible_region(viewer, dock.slide).center == pytest.approx(middle)
    assert person.label_text("magnification_now") == "20x"
    assert [step for step, button in buttons.items() if button.isChecked()] == [20]
    get_camera(viewer).zoom = 0.32
    person.until(lambda: person.label_text("magnification_now") == "3.2x")
    assert not any(button.isChecked() for button in buttons.values())
    # On a screen with twice as many pixels as the canvas, its own pixels count, as for 1:1.
    with monkeypatch.context() as patch:
        patch.setattr(type(dock.window()), "devicePixelRatioF", lambda self: 2.0, raising=False)
        for button in ("actual_pixels", "magnify_10", "magnify_20"):
            person.clicks(button)
            shown = "10x" if button == "magnify_10" else "20x"
            person.until(lambda shown=shown: person.label_text("magnification_now") == shown)
            assert get_camera(viewer).zoom == pytest.approx(float(shown[:-1]) / 20)

    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    assert not any(button.isEnabled() for button in magnifiers(person).values())


def test_views_of_photographs_are_not_recorded_for_slides(person, slide_path):
    dock, viewer = person.dock, person.viewer
    person.opens_slides(slide_path)
    for zoom in (2.0, 4.0):
        get_camera(viewer).zoom = zoom
        person.session.view_history.record_now()
    views = len(person.session.view_history.trail.views)
    image = viewer.add_image(np.zeros((60, 80, 3), np.uint8))
    show_only(viewer, image)
    fit_view(viewer, (image,))
    before = tuple(get_camera(viewer).center), get_camera(viewer).zoom

    # Steps, rotation and bookmarks leave the view of the photograph as it is.
    person.clicks("view_back")
    person.clicks("rotate_left")
    dock.add_bookmark()
    assert (tuple(get_camera(viewer).center), get_camera(viewer).zoom) == before
    assert image.visible
    assert (person.session.notes.value.bookmarks, dock.status.text) == ((), NOT_IN_VIEW)
    assert len(person.session.view_history.trail.views) == views
    with pytest.raises(InputError, match="no part of the slide is in view"):
        dock.analysis.get_visible_region()

    # A position on the slide shows the slide.
    person.types("go_to", "30, 40 px")
    assert (image.visible, dock.slide.is_shown) == (False, True)
    assert person.sees((40, 30))


@pytest.fixture
def folder(tmp_path):
    """Create three slides, of which the second is analyzed."""
    (tmp_path / "case").mkdir()
    return [draw_slide(tmp_path / "case" / f"s{n}.tif", tint=n) for n in range(3)]


def list_of(person):
    return person.dock.findChild(LibraryView, "worklist")


def listed(person):
    model = list_of(person).model()
    return [[image.name, model.get_state(image).details] for image in model.rows]


def opens_list(person):
    person.dock.worklist_section.expand()
    person.finds(QToolButton, "worklist_next")


@pytest.mark.path
@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_slides_of_the_folder_are_listed_and_opened(person, folder):
    dock = person.dock
    person.opens_slides(folder[1])
    FakeAnalysis(dock.result_location.folder, folder[1], dock.slide.info.fingerprint).begins().finishes()
    assert dock.sections.worklist._view is None  # created when the section is opened
    dock.worklist_section.title_button.click()
    button = person.finds(QToolButton, "worklist_next")
    person.until(lambda: button.visibleRegion().boundingRect() == button.rect())  # the section opens slowly
    expected = [["s0.tif", "not analyzed"], ["s1.tif", "done with tiny"], ["s2.tif", "not analyzed"]]
    person.until(lambda: listed(person) == expected)
    person.waits()
    assert person.finds(QLabel, "worklist_summary").text() == "case: 2 not analyzed, 1 done"
    model = list_of(person).model()
    assert [model.is_displayed(model.index(line)) for line in range(3)] == [False, True, False]
    person.until(lambda: all(model.index(line).data(Qt.ItemDataRole.DecorationRole) for line in range(3)))
    assert list_of(person).currentIndex().row() == 1

    person.clicks("worklist_next")
    person.until(lambda: dock.slide.info.path == folder[2])
    person.waits()
    person.clicks("worklist_next")  # there is none further
    person.waits()
    assert dock.slide.info.path == folder[2]
    table = list_of(person)
    at = table.visualRect(table.model().index(0, 0)).center()
    person.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    person.until(lambda: dock.slide.info.path == folder[0])
    person.waits()
    assert len(person.viewer.layers) >= 3
    person.clicks("worklist_next")  # it is open already: shown, not opened again
    assert dock.slide.info.path == folder[1]
    assert sum(layer.name.startswith("s1") and layer.name == "s1" for layer in person.viewer.layers) == 1


@pytest.mark.usefixtures("shown_viewer")
def test_list_of_slides_stays_when_a_slide_in_a_subfolder_is_opened(person, folder):
    (folder[0].parent / "deep").mkdir()
    deep = draw_slide(folder[0].parent / "deep" / "s9.tif", tint=9)
    person.opens_slides(folder[1])
    opens_list(person)
    person.until(lambda: len(listed(person)) == 4)
    person.opens_slides(deep)
    person.dock.sections.worklist._refresh_folder()
    person.waits()
    assert person.dock.sections.worklist.folder == folder[0].parent
    assert len(listed(person)) == 4


def test_the_folder_of_a_dicom_slide_is_the_one_that_lists_it(person, tmp_path):
    context = person.dock.context
    path = tmp_path / "case" / "scan_dicom" / "1.dcm"
    context.slide = SimpleNamespace(info=SimpleNamespace(path=path, format="DICOM"))
    assert person.dock.sections.worklist.folder == tmp_path / "case"
    context.slide = None


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A folder of many slides, and the names of those whose states are read, by reading."""
    folder, read = tmp_path / "many", []
    folder.mkdir()
    for number in range(MANY):
        (folder / f"s{number:04}.svs").touch()

    def read_states(self, slides, run):
        read.append([slide.name for slide in slides])
        return {slide: WorkItem(slide, "waiting", "waiting") for slide in slides}

    monkeypatch.setattr(WorkItemReader, "read", read_states)
    return folder, read


@pytest.mark.usefixtures("shown_viewer")
def test_states_of_many_slides_are_read_in_the_background_and_again_for_visible_ones(
    person, slide_path, folder, many, monkeypatch
):
    large, read = many
    worklist = person.dock.sections.worklist
    begun = Event()

    def read_forever(self, slides, run):
        if len(slides) == MANY:
            begun.set()
            while True:
                run.check()
        return {slide: WorkItem(slide, "waiting", "waiting") for slide in slides}

    with monkeypatch.context() as patch:
        patch.setattr(WorkItemReader, "read", read_forever)
        person.opens_slides(slide_path)
        opens_list(person)
        person.clicks("worklist_folder")
        person.chooses_file("worklist_dialog", folder[0].parent)
        person.until(lambda: list_of(person).model().rowCount() == 3)
        assert worklist.folder == folder[0].parent
        person.waits()
        worklist._on_folder_chosen(large)
        person.until(begun.is_set)
        assert person.label_text("worklist_summary") == f"many: {MANY:,} slides"
        worklist._on_folder_chosen(folder[0].parent)
        person.until(lambda: listed(person) == [[path.name, "not analyzed"] for path in folder])
        person.waits()
    assert read == []

    # Only visible slides are read again, and the selection stays.
    worklist._on_folder_chosen(large)
    person.until(lambda: person.label_text("worklist_summary") == f"many: {MANY:,} not analyzed")
    person.waits()
    assert [len(names) for names in read if len(names) > FEW] == [MANY]  # to count them, once

    table = list_of(person)
    table.setCurrentIndex(table.model().index(MANY - 1, 0))
    table.viewport().repaint()
    person.waits()
    read.clear()
    worklist.refresh()
    person.waits()
    assert f"s{MANY - 1:04}.svs" in [name for names in read for name in names]
    assert sum(map(len, read)) < FEW

    (large / "s0000a.svs").touch()
    scroll = table.verticalScrollBar().value()
    worklist._next_reading = 0
    worklist.refresh()
    person.until(lambda: table.model().rowCount() == MANY + 1)
    person.waits()
    assert table.currentIndex().data() == f"s{MANY - 1:04}.svs"
    assert table.verticalScrollBar().value() == scroll


@pytest.mark.usefixtures("shown_viewer")
def test_a_slow_folder_is_listed_again_at_once_when_the_user_expects_it(person, folder, monkeypatch):
    person.opens_slides(folder[1])
    fake = FakeAnalysis(person.dock.result_location.folder, folder[1], person.dock.slide.info.fingerprint)
    opens_list(person)
    worklist = person.dock.sections.worklist
    for count, how in enumerate(("folder", "section", "analysis"), start=3):
        person.until(lambda count=count: len(listed(person)) == count)
        person.waits()
        worklist._next_reading = monotonic() + 1000  # as after a reading that took long
        draw_slide(folder[0].parent / f"s{count}.tif", tint=3)
        worklist.refresh()
        person.waits()
        assert len(listed(person)) == count
        if how == "folder":
            worklist._on_folder_chosen(folder[0].parent)
        elif how == "section":
            person.dock.worklist_section.collapse()
            person.dock.worklist_section.expand()
        else:
            fake.begins()
            for state in ("running", "finished"):
                if state == "finished":
                    fake.finishes()
                status = read_slide_run_status(fake.path)
                person.session.run.set(SlideRunUpdate(status))
        person.until(lambda count=count: len(listed(person)) == count + 1)
        assert worklist._next_reading < monotonic() + MAX_INTERVAL_S, how
    person.waits()

    # The interval is limited.
    started = monotonic() - 100
    worklist._requested = started
    worklist._on_states(worklist._view, started, ReadStates(worklist._context.run_manager.root, started, {}))
    assert worklist._next_reading == pytest.approx(monotonic() + MAX_INTERVAL_S, abs=1)
    person.waits()

    # The slides are counted once for many changed rows.
    counted = []
    model, count = list_of(person).model(), worklist_module.count_states
    monkeypatch.setattr(worklist_module, "count_states", lambda states: counted.append(1) or count(states))
    for line in range(3):
        model.dataChanged.emit(model.index(line), model.index(line))
    assert counted == []
    person.until(lambda: counted == [1])


def test_a_long_reading_of_states_does_not_replace_newer_ones_or_those_of_another_folder(qtbot, tmp_path, monkeypatch):
    root, owner, slides = [tmp_path / "a"], QObject(), (tmp_path / "s1.svs", tmp_path / "s2.svs")
    states = ["waiting"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()

    def read(self, slides, run):
        return {slide: WorkItem(slide, states[0], states[0]) for slide in slides}

    monkeypatch.setattr(WorkItemReader, "read", read)
    monkeypatch.setattr("napari_melanoma.ui.slide.run_manager.find_results_root", lambda settings: root[0])
    cache = SlideStates(None, owner)
    found = cache.prepare(slides)(RunContext())
    states[0] = "done"
    cache.request(slides[0])
    qtbot.waitUntil(lambda: cache.peek(slides[0]) is not None)
    cache.add(found)
    assert [cache.peek(slide).state for slide in slides] == ["done", "waiting"]
    older = cache.prepare(slides)(RunContext())
    root[0] = tmp_path / "b"
    cache.add(older)
    assert [cache.peek(slide) for slide in slides] == [None, None]
