"""Magnification buttons and views of the Slide dock, and states of slides."""

from __future__ import annotations

import numpy as np
import pytest
from fake_slides import draw_slide
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QToolButton
from slide_fixtures import UNSEEN

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader
from napari_melanoma.ui.library.states import SlideStates
from napari_melanoma.ui.sections.overview.view import STEPS
from napari_melanoma.ui.session.navigation import NOT_IN_VIEW
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
