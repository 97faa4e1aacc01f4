"""The Overview section: positions, magnifications, rotation, views and their history, and where the user has been."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from fake_slides import TILE, draw_slide
from napari.utils.notifications import notification_manager
from qtpy.compat import isalive
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QImage
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QDoubleSpinBox,
    QListWidget,
    QSlider,
    QToolButton,
)
from slide_fixtures import UNSEEN, with_slide_dock

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.notes import (
    NOTES,
    LayerDisplay,
    SlideMeasurement,
    SlideView,
    read_notes,
    seen_ratios,
    write_notes,
)
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.ui.sections.overview.picture import Overview
from napari_melanoma.ui.sections.overview.resolve import (
    parse_position,
    resolve_magnification,
)
from napari_melanoma.ui.sections.overview.view import STEPS
from napari_melanoma.ui.sections.overview.visited import COLOR, VisitedArea, draw_visited
from napari_melanoma.ui.session.navigation import (
    MAX_VIEWS,
    NOT_IN_VIEW,
    SETTLE_MS,
    ViewTrail,
    normalize_angle,
    rotate,
)
from napari_melanoma.ui.session.tissue import CORRECTED_FILE
from napari_melanoma.ui.slide import run_manager
from napari_melanoma.ui.viewer.camera import find_canvas, get_camera, get_extent, get_visible_region
from napari_melanoma.ui.viewer.view_memory import center_view, fit_view, get_view, is_fitted, show_only

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
SOME_STEPS = (4, 20, 40)
HEIGHT, WIDTH = 256, 512
CORNERS = {(40, 60): (200, 0, 0), (40, 450): (0, 160, 0), (210, 60): (0, 0, 200), (210, 450): (0, 0, 0)}  # pixel: color
LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
PLACES = ((100.0, 120.0, 200.0), (300.0, 150.0, 100.0), (250.0, 400.0, 60.0))
NO_KEY, SHIFT_ALT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier
NEWER = '{"format_version": 2, "bookmarks": {"ulcer": [1, 2]}}'


def slide(size_um: float | None = 0.5, origin: tuple[int, int] = (0, 0)) -> Any:
    info = SimpleNamespace(pixel_size=size_um, origin=origin)
    return SimpleNamespace(info=info, pixel_um=(size_um or 1.0,) * 2, size=(512, 512))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1, 0.05", (100, 200)),
        ("0,1; 0,05", (100, 200)),
        ("0,1 0,05", (100, 200)),
        ("0,1;0,05 mm", (100, 200)),
        ("100, 50 um", (100, 200)),
        ("30, 40 px", (40, 30)),
        ("30,40 px", (40, 30)),  # a lone comma lies between the two
        ("  .1;.05  MM ", (100, 200)),
    ],
)
def test_parse_position(text: str, expected: tuple[float, float]) -> None:
    assert parse_position(slide(), text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "size_um", "message"),
    [
        ("7, 1", 0.5, "lies outside the slide, which ends at 0.256, 0.256 mm"),
        ("over there", 0.5, "is not a position on the slide. Enter x, y in mm"),
        ("over there", None, "Enter x, y in pixels"),
        ("-1, 5 px", 0.5, "outside"),
        ("1, 2 mm", None, "has no scale"),
        ("600, 2", None, "ends at 512, 512 px"),
    ],
)
def test_positions_that_cannot_be_shown(text: str, size_um: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_position(slide(size_um), text)


@pytest.mark.parametrize(
    ("native", "magnification", "value", "checked", "enlarged"),
    [
        (20.0, 20.0, "20x", (20,), (40,)),
        (20.0, 19.7, "19.7x", (20,), (40,)),
        (37.0, 40.0, "40x", (40,), ()),  # scanners report 40x for it
        (2.0, 4.0, "4x", (4,), (4, 20, 40)),
    ],
)
def test_magnifications(
    native: float, magnification: float, value: str, checked: tuple[int, ...], enlarged: tuple[int, ...]
) -> None:
    texts = resolve_magnification(native, magnification, SOME_STEPS)
    assert (texts.value, texts.checked) == (value, checked)
    assert "1x is 10 µm" in texts.value_tip
    assert tuple(step for step, tip in texts.tips.items() if "pixels are enlarged" in tip) == enlarged


@pytest.mark.parametrize(("angle", "expected"), [(190, -170), (-180, 180), (180, 180), (450, 90), (-95, -95)])
def test_normalize_angle(angle: float, expected: float) -> None:
    assert normalize_angle(angle) == expected


def test_a_new_view_replaces_those_that_followed() -> None:
    views = tuple(SlideView(100.0 * number, 120.0, 60.0) for number in range(3))
    trail = ViewTrail()
    for view in views:
        trail = trail.add(view).add(SlideView(view.row + 1e-3, view.column, view.width_px))  # closer than one can see
    assert (trail, trail.can_step(-1), trail.can_step(1)) == (ViewTrail(views, 2), True, False)
    trail = ViewTrail(views, 0)
    assert (trail.can_step(-1), trail.can_step(1)) == (False, True)
    assert trail.add(views[2]) == ViewTrail((views[0], views[2]), 1)
    for number in range(2 * MAX_VIEWS):
        trail = trail.add(SlideView(number, 0.0, 10.0))
    assert len(trail.views) == MAX_VIEWS == trail.current + 1


@pytest.mark.path
def test_navigation_on_opened_slides(person, slide_path, tmp_path):
    dock = person.dock
    person.opens_slides(slide_path)
    assert person.label_text("slide_about") == "0.5 µm/px · 0.256 x 0.256 mm · 512 x 512 px · TIFF"
    assert "levels" in person.label_text("slide_facts")
    assert not person.label_text("slide_warnings")
    person.until(lambda: person.session.thumbnail.value is not None)

    overview = person.finds(Overview, "overview")
    person.qtbot.mouseClick(
        overview, Qt.MouseButton.LeftButton, pos=QPoint(overview.width() // 2, overview.height() // 2)
    )
    assert np.allclose(get_camera(person.viewer).center[-2:], dock.slide.to_world((256, 256)), atol=2)

    person.types("go_to", "0.1, 0.05")
    assert person.sees((100, 200))
    person.types("go_to", "30, 40 px")
    assert person.sees((40, 30))
    before = list(notification_manager.records)
    person.types("go_to", "over there")
    assert "is not a position on the slide" in dock.status.text
    assert notification_manager.records == before
    assert person.sees((40, 30))

    person.clicks("bookmark")
    person.finds(QListWidget, "bookmarks").item(0).setText("ulcer")
    person.types("go_to", "0.2, 0.2")
    person.waits()
    second = draw_slide(tmp_path / "other.tif", tint=9)
    person.opens_slides(second)
    assert dock.slide.info.name == "other"
    assert person.finds(QListWidget, "bookmarks").count() == 0
    assert [layer.visible for layer in person.viewer.layers] == [False, True]
    person.clicks("previous_slide")
    person.waits()
    marks = person.finds(QListWidget, "bookmarks")
    assert dock.slide.info.name == "section"
    assert [layer.visible for layer in person.viewer.layers] == [True, False]
    person.qtbot.mouseClick(
        marks.viewport(), Qt.MouseButton.LeftButton, pos=marks.visualItemRect(marks.item(0)).center()
    )
    assert marks.item(0).text() == "ulcer"
    assert person.sees((40, 30))


def test_magnification_1x_is_ten_micrometers_per_pixel(person, slide_path, tmp_path, monkeypatch):
    dock, viewer = person.dock, person.viewer
    person.opens_slides(slide_path)  # 0.5 µm a pixel: 20x
    buttons = {step: person.finds(QToolButton, f"magnify_{step}") for step in STEPS}
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
    person.until(lambda: not any(button.isChecked() for button in buttons.values()))
    # On a screen with twice as many pixels as the canvas, its own pixels count, as for 1:1.
    with monkeypatch.context() as patch:
        patch.setattr(type(dock.window()), "devicePixelRatioF", lambda self: 2.0, raising=False)
        for button in ("actual_pixels", "magnify_10", "magnify_20"):
            person.clicks(button)
            shown = "10x" if button == "magnify_10" else "20x"
            person.until(lambda shown=shown: person.label_text("magnification_now") == shown)
            assert get_camera(viewer).zoom == pytest.approx(float(shown[:-1]) / 20)

    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    assert not any(person.finds(QToolButton, f"magnify_{step}").isEnabled() for step in STEPS)


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


def test_all_layers_rotate_together(analysed):
    dock, viewer = analysed.dock, analysed.viewer
    slide, before = dock.slide, analysed.lesions
    center_view(viewer, slide, (6 * TILE, 8 * TILE), 6 * TILE)
    for press, expected in (("rotate_right", 90), ("rotate_right", 180), ("rotate_left", 90)):
        analysed.finds(QAbstractButton, press).click()
        assert (slide.angle, analysed.finds(QDoubleSpinBox, "rotation_angle").value()) == (expected, expected)
    affines = [np.asarray(layer.affine.affine_matrix) for layer in viewer.layers]
    assert len(affines) >= 3
    for affine in affines:
        np.testing.assert_array_equal(affine, slide.affine)
    assert get_visible_region(viewer, slide).center == pytest.approx((6 * TILE, 8 * TILE))
    # A quarter to the right: what was at the top left corner is at the top right.
    top, right = slide.to_world((0.0, 0.0)), slide.to_world((512.0, 0.0))
    assert top[0] == pytest.approx(right[0])
    assert top[1] > right[1]
    assert analysed.lesions == before


def test_positions_agree_with_napari_and_the_angle_is_kept(person, slide_path):
    person.opens_slides(slide_path)
    person.until(lambda: person.dock.result_location is not None)
    folder = person.dock.result_location.folder
    slide, angle = person.dock.slide, person.finds(QDoubleSpinBox, "rotation_angle")
    for degrees in (33.0, -90.0, 180.0):
        angle.setValue(degrees)
        for point in ((0.5, 0.5), (100.5, 300.5), (512.5, 7.5)):
            world = slide.to_world(point)
            np.testing.assert_allclose(slide.layers[0].data_to_world(np.array(point) - 0.5), world, atol=1e-9)
            assert slide.to_slide(world) == pytest.approx(point)
        angle.setValue(0.0)
        np.testing.assert_array_equal(slide.layers[0].affine.affine_matrix, np.eye(3))

    # It is restored with the slide.
    person.finds(QAbstractButton, "rotate_right").click()
    person.waits()
    assert read_notes(folder).angle == 90
    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: person.dock.slide.angle == 90)
    person.waits()
    assert person.finds(QDoubleSpinBox, "rotation_angle").value() == 90
    person.finds(QAbstractButton, "rotate_left").click()
    person.waits()
    assert read_notes(folder).angle == 0


@pytest.fixture
def reader(shown_viewer, person, tmp_path):
    """A user with a slide whose pixels are twice as high as wide, and whose corners have colors."""
    pixels = np.full((HEIGHT, WIDTH, 3), 230, np.uint8)
    for (row, column), color in CORNERS.items():
        pixels[row - 30 : row + 30, column - 30 : column + 30] = color
    about = {"photometric": "rgb", "resolution": (20000, 10000), "resolutionunit": "CENTIMETER", "metadata": None}
    tifffile.imwrite(tmp_path / "corners.tif", pixels, tile=(128, 128), **about)
    person.opens_slides(tmp_path / "corners.tif")
    assert person.dock.slide.pixel_um == (1.0, 0.5)
    person.until(lambda: person.session.thumbnail.value is not None and picture_of(person).height() > 0)
    person.waits()
    return person


def picture_of(person):
    return person.finds(Overview, "overview")


def color_at(picture, point):
    color = picture.pixelColor(point)
    return np.array([color.red(), color.green(), color.blue()])


def test_rotated_overview_and_clicks_in_it(reader):
    for angle in (0.0, 90.0, 180.0, -90.0, 30.0):
        check_picture(reader, angle)

    # The frame is the view, also when rotated.
    center_view(reader.viewer, reader.dock.slide, (100, 200), 300)
    reader.qtbot.wait(60)
    overview = picture_of(reader)
    frame, scale = overview._frame_rect(*overview._view), overview._scale()
    height, width = get_extent(reader.viewer)
    assert (frame.height(), frame.width()) == pytest.approx((height * scale, width * scale))


def check_picture(reader, angle):
    dock, overview = reader.dock, picture_of(reader)
    rotate(reader.session, angle)
    center_view(reader.viewer, dock.slide, (128, 256), 60)
    reader.qtbot.wait(60)
    overview._view = None  # no frame above the colors
    picture = overview.grab().toImage()
    found = {}
    for place, color in CORNERS.items():
        y, x = np.array(dock.slide.to_world(place)) - dock.slide.to_world((HEIGHT / 2, WIDTH / 2))
        scale = overview._scale()
        at = QPoint(round(overview.width() / 2 + scale * x), round(overview.height() / 2 + scale * y))
        found[place] = at
        assert np.abs(color_at(picture, at) - color).max() < 40, place
    for place, at in found.items():
        QTest.mouseClick(overview, LEFT, NONE, at)
        assert get_visible_region(reader.viewer, dock.slide).center == pytest.approx(place, abs=1.5 / scale)
    ratio = overview.heightForWidth(100) / 100
    tall, wide = (HEIGHT * 1.0, WIDTH * 0.5)
    c, s = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
    assert ratio == pytest.approx((tall * c + wide * s) / (wide * c + tall * s), abs=0.02)


def test_the_frame_follows_the_size_of_the_canvas(reader):
    overview = picture_of(reader)
    reader.until(lambda: overview._view is not None)
    height, width = reader.viewer.canvas.size
    before = overview._view[1]
    reader.viewer.canvas.size = height, width // 2  # as when a section opens in reading mode
    reader.until(lambda: overview._view[1] == pytest.approx(get_extent(reader.viewer)) != before)
    reader.viewer.canvas.size = height, width


@pytest.mark.both_qts
def test_drags_and_arrows_move_the_view_on_the_screen(reader):
    viewer, dock, overview = reader.viewer, reader.dock, picture_of(reader)
    rotate(reader.session, 90.0)
    center_view(viewer, dock.slide, (128, 256), 30)
    reader.qtbot.wait(60)
    for key, direction in ((Qt.Key.Key_Right, (0, 1)), (Qt.Key.Key_Up, (-1, 0))):
        before, extent = np.array(get_camera(viewer).center[-2:]), np.array(get_extent(viewer))
        QTest.keyClick(overview, key)
        moved = (np.array(get_camera(viewer).center[-2:]) - before) / extent
        assert moved == pytest.approx(0.5 * np.array(direction), abs=1e-6)
        reader.qtbot.wait(60)
    middle = overview.rect().center()
    QTest.mousePress(overview, LEFT, NONE, middle)
    event_at = middle + QPoint(12, 7)
    QTest.mouseMove(overview, event_at)
    QTest.mouseRelease(overview, LEFT, NONE, event_at)
    reader.qtbot.wait(60)
    row, column = get_visible_region(viewer, dock.slide).center
    assert (row, column) == pytest.approx((128 - 12 / overview._scale(), 256 + 7 / overview._scale() / 0.5), abs=4)


@pytest.fixture
def visitor(reader):
    """A user in the active window, whose visited area was read."""
    window = reader.dock.window()
    window.activateWindow()
    reader.until(lambda: QApplication.activeWindow() is window and reader.session.part(VisitedArea).visited is not None)
    reader.clicks("visited_clear") if reader.finds(QToolButton, "visited_clear").isEnabled() else None
    return reader


def visits(person, row, column, width):
    views = len(person.session.view_history.trail.views)
    center_view(person.viewer, person.dock.slide, (row, column), width)
    person.until(lambda: len(person.session.view_history.trail.views) > views)


def seen(person):
    """Return the highest magnification of each cell, as pixels of the screen for one of the slide."""
    return seen_ratios(person.session.part(VisitedArea).visited)


def check_records(visitor, patch):
    """Settled views are recorded, and kept with the slide."""
    window = visitor.dock.window()
    patch.setattr(type(window), "devicePixelRatioF", lambda self: 2.0, raising=False)  # twice as many as the canvas
    center_view(visitor.viewer, visitor.dock.slide, (60, 60), 20)  # in passing
    visits(visitor, 220, 440, 40)
    area = seen(visitor)
    cell = WIDTH / area.shape[1]
    assert area[int(220 / cell), int(440 / cell)] == pytest.approx(2 * visitor.viewer.canvas.size[1] / 40, rel=0.1)
    assert area[int(60 / cell), int(60 / cell)] == 0
    assert visitor.session.visited.value is not None
    path = visitor.dock.slide.info.path
    visitor.clicks("close_slide")
    visitor.waits()
    visitor.opens_slides(path)
    visitor.until(lambda: not visitor.session.part(VisitedArea).is_empty)
    assert (seen(visitor) >= area).all()


def test_visited_areas_are_recorded_and_cleared(visitor, user, monkeypatch):
    check_pauses(visitor, monkeypatch)
    check_clearing(visitor, user)
    with monkeypatch.context() as patch:
        check_records(visitor, patch)


def check_pauses(visitor, monkeypatch):
    """Nothing is recorded while the window is in the background, or while the box is not checked."""
    with monkeypatch.context() as patch:
        patch.setattr(QApplication, "activeWindow", lambda: None)
        before = seen(visitor).copy()  # the whole slide, if its view has settled already
        visits(visitor, 200, 400, 40)
    assert (seen(visitor) == before).all()
    visitor.finds(QCheckBox, "visited_shown").click()
    visits(visitor, 100, 300, 40)
    assert (seen(visitor) == before).all()
    visitor.finds(QCheckBox, "visited_shown").click()
    visits(visitor, 50, 200, 40)
    assert (seen(visitor) > before).any()
    visitor.finds(QCheckBox, "visited_shown").click()
    assert visitor.session.visited.value is None
    visitor.finds(QCheckBox, "visited_shown").click()


def check_clearing(visitor, user):
    """Clearing also deletes the stored area."""
    visits(visitor, 200, 400, 40)
    assert seen(visitor).any()
    visitor.dock.hide()
    [file] = (user / "data" / "napari-melanoma" / "visited-slides").glob("*.png")
    visitor.dock.show()
    visitor.clicks("visited_clear")
    assert not seen(visitor).any()
    assert not file.exists()
    assert not visitor.finds(QToolButton, "visited_clear").isEnabled()


def test_higher_magnifications_are_drawn_darker():
    codes = np.array([[0, 100, 112, 116, 120, 128]], np.uint8)  # not seen, then 0.3x, 2.5x, 5x, 10x, 40x
    picture = draw_visited(codes, native=40.0)
    assert picture.format() == QImage.Format.Format_RGBA8888
    alphas = [picture.pixelColor(column, 0).alpha() for column in range(6)]
    assert alphas == [0, 0, 25, 55, 90, 125]
    color = picture.pixelColor(5, 0)
    assert (color.red(), color.green(), color.blue()) == COLOR


def looks_at(person, row, column, width):
    """Move the view, and stay there until it has settled."""
    views = len(person.session.view_history.trail.views)
    center_view(person.viewer, person.dock.slide, (row, column), width)
    person.until(lambda: len(person.session.view_history.trail.views) == views + 1)


def place_of(person):
    view = get_view(person.viewer, person.dock.slide)
    return view.row, view.column, view.width_px


@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_back_and_forward_among_settled_views(person, slide_path):
    person.opens_slides(slide_path)
    person.until(lambda: len(person.session.view_history.trail.views) == 1)
    for row, column, width in PLACES:
        center_view(person.viewer, person.dock.slide, (row + 30, column), 2 * width)  # passed on the way
        looks_at(person, row, column, width)
    person.dock.window().activateWindow()
    person.until(lambda: QApplication.activeWindow() is person.dock.window())
    for how in ("buttons", "keys", "mouse"):
        for place in (PLACES[1], PLACES[0]):
            steps(person, how, -1)
            person.until(lambda place=place: place_of(person) == pytest.approx(place))
        person.qtbot.wait(2 * SETTLE_MS)
        for place in (PLACES[1], PLACES[2]):
            steps(person, how, 1)
            assert place_of(person) == pytest.approx(place), how
        assert not person.finds(QToolButton, "view_forward").isEnabled()
        for _ in range(3):
            steps(person, how, -1)
        assert is_fitted(person.viewer, tuple(person.dock.slide.layers))
        assert not person.finds(QToolButton, "view_back").isEnabled()
        for _ in range(3):
            steps(person, how, 1)

    # A view that is left at once is a view.
    center_view(person.viewer, person.dock.slide, (300, 300), 80)
    person.session.view_history.step(-1)
    assert place_of(person) == pytest.approx(PLACES[2])


def steps(person, how, by):
    """Go back or forward by a button, keys or the mouse."""
    canvas = find_canvas(person.dock.window())
    if how == "buttons":
        person.clicks("view_back" if by < 0 else "view_forward")
    elif how == "keys":
        QTest.keyClick(canvas, Qt.Key.Key_Left if by < 0 else Qt.Key.Key_Right, SHIFT_ALT)
    else:
        button = Qt.MouseButton.BackButton if by < 0 else Qt.MouseButton.ForwardButton
        QTest.mouseClick(canvas, button, NO_KEY, QPoint(50, 50))


def stored_place(folder):
    view = read_notes(folder).view
    return view.row, view.column, view.width_px


def notes_of(person):
    return read_notes(person.dock.result_location.folder)


def open_located(person, path):
    """Open a slide, and wait until its stored view was restored."""
    person.opens_slides(path)
    person.until(lambda: person.dock.result_location is not None)
    person.waits()


def test_view_and_rotation_are_restored_in_another_session(person, slide_path, qtbot):
    open_located(person, slide_path)
    person.clicks("rotate_right")
    looks_at(person, *PLACES[0])
    closes_slide(person)
    assert person.dock.slide is None

    person.opens_slides(slide_path)
    person.waits()
    looks_at(person, *PLACES[2])
    looks_at(person, *PLACES[1])
    closes_slide(person)

    [other] = closes_the_dock_and_opens_another(person, qtbot)
    open_located(other, slide_path)
    assert other.dock.slide.angle == 90
    assert place_of(other) == pytest.approx(PLACES[1])

    # A fitted slide is fitted again.
    looks_at(other, *PLACES[0])
    views = other.session.view_history.trail.current
    other.clicks("fit_slide")
    other.until(lambda: other.session.view_history.trail.current == views + 1)
    closes_slide(other)
    open_located(other, slide_path)
    assert notes_of(other).view is None
    assert is_fitted(other.viewer, tuple(other.dock.slide.layers))
    for part in other.parts:
        next(part, None)


def closes_slide(person):
    person.clicks("close_slide")
    person.waits()


def closes_the_dock_and_opens_another(person, qtbot):
    viewer = person.viewer
    viewer.window.remove_dock_widget(person.dock)
    made = with_slide_dock(viewer, qtbot)
    other = next(made)
    other.parts = [made]
    return [other]


@pytest.mark.usefixtures("shown_viewer")
def test_view_is_saved_after_a_while_and_when_the_dock_is_hidden_or_deleted(person, slide_path):
    open_located(person, slide_path)
    folder = person.dock.result_location.folder
    assert not (folder / NOTES).exists()  # a slide that was only opened
    looks_at(person, *PLACES[0])
    person.dock.hide()
    person.waits()
    assert stored_place(folder) == pytest.approx(PLACES[0])
    person.dock.show()
    person.memory._timer.setInterval(20)
    looks_at(person, *PLACES[1])
    person.until(lambda: stored_place(folder) == pytest.approx(PLACES[1]))
    person.memory._timer.setInterval(60_000)
    looks_at(person, *PLACES[2])
    person.viewer.layers.clear()
    person.waits()
    assert stored_place(folder) == pytest.approx(PLACES[2])

    open_located(person, slide_path)

    # The window closes before the view was saved.
    looks_at(person, *PLACES[1])
    person.viewer.window.remove_dock_widget(person.dock)
    person.until(lambda: not isalive(person.dock))
    assert stored_place(folder) == pytest.approx(PLACES[1])


@pytest.mark.usefixtures("shown_viewer")
def test_the_view_of_each_of_several_slides_is_kept(person, slide_path, tmp_path, monkeypatch):
    dock, second = person.dock, draw_slide(tmp_path / "second.tif", tint=3)
    # It is saved on switching.
    open_located(person, slide_path)
    looks_at(person, *PLACES[0])
    folder = dock.result_location.folder
    open_located(person, second)
    person.waits()
    assert stored_place(folder) == pytest.approx(PLACES[0])
    dock.picker.step(1)
    assert place_of(person) == pytest.approx(PLACES[0])
    person.waits()
    assert place_of(person) == pytest.approx(PLACES[0])

    # The next slide is shown after closing one.
    person.opens_slides(second)
    window = dock.window()
    window.activateWindow()
    person.until(lambda: QApplication.activeWindow() is window)
    close = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    QTest.keyClick(find_canvas(window), Qt.Key.Key_X, close)
    person.until(lambda: dock.slide.info.path == slide_path)
    assert dock.slide.is_shown

    # One to one is a screen pixel for each pixel.
    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    person.clicks("actual_pixels")
    assert place_of(person)[2] == pytest.approx(person.viewer.canvas.size[1])
    monkeypatch.setattr(type(window), "devicePixelRatioF", lambda self: 2.0, raising=False)  # a canvas of twice as many
    person.clicks("actual_pixels")
    assert place_of(person)[2] == pytest.approx(2 * person.viewer.canvas.size[1])


def test_notes_are_kept_if_the_folder_is_read_only_another_window_changes_them_or_they_are_damaged(
    person, slide_path, user, tmp_path
):
    open_located(person, slide_path)
    folder = person.dock.result_location.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder can be made here")
    looks_at(person, *PLACES[0])
    closes_slide(person)
    assert "cannot write" not in person.dock.status.text
    open_located(person, slide_path)
    assert place_of(person) == pytest.approx(PLACES[0])
    private = user / "data" / "napari-melanoma" / run_manager.PRIVATE_NOTES
    assert [path.name for path in private.rglob(NOTES)] == [NOTES]

    # Changes of another window are kept when the view is saved.
    open_located(person, draw_slide(tmp_path / "second.tif", tint=3))
    person.dock.add_bookmark()
    person.waits()
    folder = person.dock.result_location.folder
    notes, line = read_notes(folder), SlideMeasurement("line", ((1.0, 2.0), (3.0, 4.0)))
    changed = {
        "measures": (line,),
        "pixel_size": PixelSize(2.0, 2.0, "given"),
        "layers": {"lesions": LayerDisplay(False)},
    }
    write_notes(folder, replace(notes, **changed))
    looks_at(person, *PLACES[0])
    person.dock.hide()
    person.waits()
    stored = read_notes(folder)
    assert {name: getattr(stored, name) for name in changed} == changed
    assert (stored.view is None, stored.bookmarks) == (False, notes.bookmarks)

    # Notes that cannot be read are not replaced by looking at the slide.
    person.dock.show()
    third = draw_slide(tmp_path / "third.tif", tint=9)
    folder = slide_folder(person.dock.settings.slide_results, third)
    folder.mkdir(parents=True)
    (folder / NOTES).write_text(NEWER)
    (folder / CORRECTED_FILE).write_text("no image")
    open_located(person, third)
    assert "cannot be read" in person.dock.status.text
    tissue, notes = (one.message for one in notification_manager.records[-2:])
    assert CORRECTED_FILE in tissue
    assert notes == person.dock.status.text
    looks_at(person, *PLACES[0])
    person.dock.hide()
    person.dock.show()
    person.waits()
    assert (folder / NOTES).read_text() == NEWER
    QTest.mouseClick(person.dock, Qt.MouseButton.LeftButton)  # until then, the error stays
    person.dock.add_bookmark()
    person.waits()
    assert "backed up as view-" in person.dock.status.text
    [backup] = folder.glob("view-*.json")
    assert backup.read_text() == NEWER
    assert len(read_notes(folder).bookmarks) == 1


def test_hidden_layers_stay_hidden(analysed):
    viewer, dock = analysed.viewer, analysed.dock
    path = dock.slide.info.path

    viewer.layers["section lesions"].visible = False
    analysed.finds(QSlider, "slide_opacity").setValue(25)
    closes_slide(analysed)
    layers = read_notes(analysed.analysis.path).layers
    assert layers == {"lesions": LayerDisplay(False, layers["lesions"].opacity), "heatmap": LayerDisplay(True, 0.25)}
    dock.settings.set("slide/opacity", 80)
    analysed.opens_slides(path)
    analysed.until(lambda: len(analysed.rows()) == 2)
    analysed.waits()
    analysed.until(lambda: not viewer.layers["section lesions"].visible)
    assert viewer.layers["section heatmap"].opacity == 0.25
    assert analysed.finds(QSlider, "slide_opacity").value() == 25
    analysed.finds(QCheckBox, "slide_heatmap").click()
    closes_slide(analysed)
    analysed.opens_slides(path)
    analysed.until(lambda: len(analysed.rows()) == 2)
    analysed.waits()
    assert not viewer.layers["section heatmap"].visible
    assert not analysed.finds(QCheckBox, "slide_heatmap").isChecked()
