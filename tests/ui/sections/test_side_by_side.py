"""The Side by side section: linked views of two slides, and their registration."""

from __future__ import annotations

import functools
from threading import Event

import numpy as np
import pytest
import tifffile
from fake_slides import MPP, draw_slide
from qtpy.QtWidgets import QAbstractButton, QCheckBox, QLabel, QSlider
from scipy import ndimage
from slide_fixtures import FIXTURES

from conftest import wait_until_idle
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides import notes
from napari_melanoma.slides.lesion_edits import remove_lesion
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.ui.sections.side_by_side import second_view
from napari_melanoma.ui.sections.side_by_side.section import SideBySide
from napari_melanoma.ui.session.navigation import rotate
from napari_melanoma.ui.viewer.camera import get_camera, get_scale_bar

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)


def controller(person):
    return person.session.sessions.part(SideBySide)


def closes_the_second(person):
    """Close the second view, and wait until it is deleted."""
    with person.qtbot.waitSignal(controller(person).second.canvas.destroyed):
        person.presses("side_by_side_show")
    assert controller(person).second is None


def place(viewer):
    return np.array([*get_camera(viewer).center[-2:], get_camera(viewer).zoom])


@pytest.mark.both_qts
def test_second_view_follows_with_its_offset_and_closes(person, slide_path, tmp_path):
    dock, viewer = person.dock, person.viewer
    viewer.window._qt_window.resize(1500, 900)
    person.opens_slides(draw_slide(tmp_path / "ihc.tif", tint=40))
    person.opens_section("Side by side")
    assert not person.finds(QAbstractButton, "side_by_side_show").isEnabled()
    person.opens_slides(slide_path)
    person.qtbot.wait(200)
    width = dock.width()
    person.presses("side_by_side_show")
    controls = controller(person).second
    person.until(lambda: controls.canvas.width() > 300)
    assert [layer.name for layer in controls.model.layers] == ["ihc"]
    assert [layer.visible for layer in controls.model.layers] == [True]
    np.testing.assert_allclose(place(controls.model), place(viewer))

    get_camera(viewer).center, get_camera(viewer).zoom = (0, 60.0, 90.0), 3.0
    np.testing.assert_allclose(place(controls.model), [60, 90, 3])
    get_camera(controls.model).center = (0, 20.0, 30.0)
    np.testing.assert_allclose(place(viewer), [20, 30, 3])

    person.presses("side_by_side_link")  # apart
    get_camera(controls.model).center = (0, 25.0, 18.0)
    np.testing.assert_allclose(place(viewer), [20, 30, 3])
    person.presses("side_by_side_align")
    np.testing.assert_allclose(place(controls.model), [20, 30, 3])
    np.testing.assert_allclose(controls.model.layers[0].affine.affine_matrix[-3:-1, -1], [-5, 12])
    assert "12, -5 µm" in person.finds(QLabel, "side_by_side_hint").text()
    get_camera(viewer).center = (0, 100.0, 100.0)
    np.testing.assert_allclose(place(controls.model), [100, 100, 3])
    get_camera(controls.model).zoom = 1.5
    np.testing.assert_allclose(place(viewer), [100, 100, 1.5])

    person.qtbot.wait(200)
    closes_the_second(person)
    assert person.finds(QLabel, "side_by_side_hint").text().startswith("Press Show")
    person.until(lambda: abs(dock.width() - width) < 20)

    # A slide without a scale is shown, but not linked; the view closes with its slide.
    viewer.layers.remove("ihc")
    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    person.opens_slides(slide_path)
    person.presses("side_by_side_show")
    assert not person.finds(QAbstractButton, "side_by_side_link").isEnabled()
    controls = controller(person).second
    before = place(controls.model)
    get_camera(viewer).zoom = 0.7
    np.testing.assert_allclose(place(controls.model), before)
    with person.qtbot.waitSignal(controls.canvas.destroyed):
        viewer.layers.remove("bare")
    assert controller(person).second is None
    person.waits()


def write_section(path, angle=0.0):
    """Write a section of tissue with structure on glass, turned counterclockwise by an angle."""
    resolution = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, draw_section(angle), tile=(128, 128), photometric="rgb", metadata=None, **resolution)
    return path


@functools.cache
def draw_section(angle):
    rng = np.random.default_rng(3)
    layers = [ndimage.gaussian_filter(rng.normal(size=(512, 512)), sigma) * sigma for sigma in (3, 6, 12, 24)]
    rows, columns = np.indices((512, 512))
    inside = np.hypot((rows - 250) / 190, (columns - 240) / 130) + 0.3 * layers[3] < 1
    amount = np.where(inside, np.clip(0.5 + 0.25 * sum(layers[:3]), 0.1, 1), 0)
    amount = ndimage.rotate(amount, angle, reshape=False, order=1)
    return (255 * (1 - amount[..., None] * np.array((0.4, 0.7, 0.3)))).astype(np.uint8)


def test_second_view_shows_results_and_scale_bar_and_a_failed_registration_is_reported(analysed, tmp_path, monkeypatch):
    person, dock = analysed, analysed.dock
    person.opens_slides(draw_slide(tmp_path / "he.tif", tint=40))
    person.opens_section("Side by side")
    person.presses("side_by_side_show")
    controls = controller(person).second.model
    assert [layer.name for layer in controls.layers] == ["section", "section heatmap", "section lesions"]
    assert all(layer.visible for layer in controls.layers)
    heatmap = controls.layers["section heatmap"]
    np.testing.assert_array_equal(heatmap.data, person.viewer.layers["section heatmap"].data)
    assert get_scale_bar(controls).visible
    person.finds(QSlider, "slide_opacity").setValue(25)
    person.finds(QCheckBox, "slide_heatmap").setChecked(False)
    assert (heatmap.opacity, heatmap.visible) == (0.25, False)
    person.finds(QAbstractButton, "scale_bar").setChecked(False)
    assert not get_scale_bar(controls).visible
    assert not get_scale_bar(person.viewer).visible

    def refuse(*_):
        raise MelanomaError("the images do not fit together")

    monkeypatch.setattr(notes, "register_slides", refuse)
    monkeypatch.setattr(second_view, "NARROW_PX", 0)  # otherwise the offer of the reading mode may follow
    before = controls.layers[0].affine.affine_matrix
    person.presses("side_by_side_register")
    person.until(lambda: "do not fit together" in dock.status.text)
    np.testing.assert_array_equal(controls.layers[0].affine.affine_matrix, before)
    closes_the_second(person)


def test_results_that_were_edited_while_their_slide_was_displayed_are_shown_in_the_second_view(
    analysed, slide_path, tmp_path
):
    person, other = analysed, draw_slide(tmp_path / "he.tif", tint=40)
    person.opens_slides(other)
    person.opens_section("Side by side")
    person.presses("side_by_side_show")
    model = controller(person).second.model
    assert len(model.layers["section lesions"].data) == len(person.viewer.layers["section lesions"].data) == 2
    person.opens_slides(slide_path)
    person.session.lesions.edit(lambda lesions, maps, config: remove_lesion(lesions, 2))
    person.until(lambda: len(person.viewer.layers["section lesions"].data) == 1)
    person.waits()
    person.opens_slides(other)
    assert controller(person).second.model is model
    assert len(model.layers["section lesions"].data) == 1
    closes_the_second(person)


@pytest.fixture
def sections(person, tmp_path):
    """User with two serial sections side by side, the second turned by 30 degrees."""
    person.opens_slides(write_section(tmp_path / "ihc.tif", angle=30))
    person.opens_slides(write_section(tmp_path / "he.tif"))
    person.opens_section("Side by side")
    person.presses("side_by_side_show")
    return person


def shown_at(layer, point):
    """World coordinates of a pixel of a layer."""
    return np.array(layer.data_to_world(point))[-2:]


def turned(point):
    """Pixel of the second section that shows the same structure as a pixel of the first."""
    cosine, sine = np.cos(np.radians(30)), np.sin(np.radians(30))
    row, column = np.subtract(point, 255.5)
    return 255.5 + cosine * row - sine * column, 255.5 + sine * row + cosine * column


def assert_registered(person, within_um):
    for point in ((200.0, 200.0), (330.0, 260.0)):
        first = shown_at(person.dock.slide.layers[0], point)
        second = shown_at(controller(person).second.model.layers[0], turned(point))
        np.testing.assert_allclose(second, first, atol=within_um)


def test_serial_sections_are_registered_and_rotated_together_until_reset(sections):
    person = sections
    person.presses("side_by_side_register")
    words = person.finds(QLabel, "side_by_side_hint")
    person.until(lambda: words.text().startswith("Registered by"))
    assert "turned by -30°" in words.text()
    assert "remaining error" in words.text()
    assert_registered(person, 1.0)
    get_camera(person.viewer).center = (0, 60.0, 90.0)
    rotate(person.session, 90.0)
    assert_registered(person, 1.0)
    np.testing.assert_allclose(place(controller(person).second.model), place(person.viewer))
    person.waits()
    folder = person.dock.context.location.folder
    (saved,) = read_notes(folder).alignments.values()
    assert saved.error is not None
    assert saved.error < 2

    # It is restored with its pair.
    closes_the_second(person)
    person.presses("side_by_side_show")
    assert words.text().startswith("Registered earlier; remaining error ")
    assert_registered(person, 1.0)
    person.presses("side_by_side_reset")
    assert not words.text().startswith("Registered")
    with pytest.raises(AssertionError):
        assert_registered(person, 1.0)
    person.waits()
    assert read_notes(folder).alignments == {}
    closes_the_second(person)


@pytest.mark.parametrize("action", ["align", "landmarks"])
def test_what_the_user_does_during_a_registration_is_kept(sections, monkeypatch, action):
    person, begun, goes_on = sections, Event(), Event()
    register = notes.register_slides

    def register_slowly(*slides):
        begun.set()
        assert goes_on.wait(30)
        return register(*slides)

    monkeypatch.setattr(notes, "register_slides", register_slowly)
    person.presses("side_by_side_register")
    person.until(begun.is_set)
    person.presses(f"side_by_side_{action}")
    words = person.finds(QLabel, "side_by_side_hint").text
    before = words()
    assert before.startswith(("Aligned: ", "Click the same structure"))
    goes_on.set()
    wait_until_idle(person.qtbot)
    assert words() == before
    closes_the_second(person)


def test_slides_are_aligned_by_hand_or_by_landmarks_until_a_scale_changes(sections):
    person, controls = sections, controller(sections)
    words = person.finds(QLabel, "side_by_side_hint")
    person.presses("side_by_side_align")
    assert words.text().startswith("Aligned: ")
    closes_the_second(person)
    person.presses("side_by_side_show")
    assert words.text().startswith("Registered earlier.")

    # Landmarks register the slides, and disappear.
    person.presses("side_by_side_landmarks")
    assert not person.finds(QAbstractButton, "side_by_side_link").isChecked()
    first, second = controls.comparison.landmarks.layers
    for number, point in enumerate(((180.0, 200.0), (340.0, 250.0), (250.0, 300.0)), start=1):
        first.add(np.multiply(point, MPP))
        second.add(np.multiply(turned(point), MPP))
        if number == 1:
            assert "1 of at least 2" in words.text()
        else:
            assert f"Registered by {number} landmarks" in words.text()
            assert_registered(person, 0.5)
    assert list(first.features["number"]) == [1, 2, 3]
    person.presses("side_by_side_landmarks")
    assert "landmarks" not in person.viewer.layers
    assert "landmarks" not in controls.second.model.layers
    assert person.finds(QAbstractButton, "side_by_side_link").isChecked()
    assert_registered(person, 0.5)

    # Another scale ends the registration.
    assert words.text().startswith("Registered by")
    person.dock._on_pixel_size(PixelSize(2 * MPP, 2 * MPP, "given"))
    person.waits()
    assert controls.comparison.alignment == ""
    person.dock.picker.select_slide(controls.second.slide.identity)  # to set the scale of the other slide, too
    person.dock._on_pixel_size(PixelSize(2 * MPP, 2 * MPP, "given"))
    person.waits()
    np.testing.assert_allclose(controls.second.model.layers[0].scale, (2 * MPP, 2 * MPP))
    closes_the_second(person)


@pytest.mark.both_qts
def test_closing_the_second_view_in_its_title_bar_releases_the_button(person, slide_path, tmp_path):
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=40))
    person.opens_section("Side by side")
    person.opens_slides(slide_path)
    for _ in range(2):
        person.presses("side_by_side_show")
        canvas = controller(person).second.canvas
        with person.qtbot.waitSignal(canvas.destroyed):
            canvas.parentWidget().title.close_button.click()
        assert controller(person).second is None
        assert not person.finds(QAbstractButton, "side_by_side_show").isChecked()
        get_camera(person.viewer).zoom *= 2
    person.viewer.layers.clear()  # as when napari closes
    person.waits()
