"""The overview of a slide: it turns with the picture, and shows where the user has been."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QImage
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QCheckBox, QToolButton
from slide_fixtures import FIXTURES

from napari_melanoma.slides.visited import seen_ratios
from napari_melanoma.ui.sections.overview.picture import Overview
from napari_melanoma.ui.sections.overview.visited import COLOR, VisitedArea, draw_visited
from napari_melanoma.ui.session.navigation import rotate
from napari_melanoma.ui.viewer.camera import get_camera, get_extent, get_visible_region
from napari_melanoma.ui.viewer.view_memory import center_view

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)
HEIGHT, WIDTH = 256, 512
CORNERS = {(40, 60): (200, 0, 0), (40, 450): (0, 160, 0), (210, 60): (0, 0, 200), (210, 450): (0, 0, 0)}  # pixel: color
LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


@pytest.fixture
def reader(person, tmp_path):
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


@pytest.mark.path
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


def looks_at(person, row, column, width):
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
    looks_at(visitor, 220, 440, 40)
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
    check_steps(visitor)


def check_pauses(visitor, monkeypatch):
    """Nothing is recorded while the window is in the background, or while the box is not checked."""
    with monkeypatch.context() as patch:
        patch.setattr(QApplication, "activeWindow", lambda: None)
        before = seen(visitor).copy()  # the whole slide, if its view has settled already
        looks_at(visitor, 200, 400, 40)
    assert (seen(visitor) == before).all()
    visitor.finds(QCheckBox, "visited_shown").click()
    looks_at(visitor, 100, 300, 40)
    assert (seen(visitor) == before).all()
    visitor.finds(QCheckBox, "visited_shown").click()
    looks_at(visitor, 50, 200, 40)
    assert (seen(visitor) > before).any()
    visitor.finds(QCheckBox, "visited_shown").click()
    assert visitor.session.visited.value is None
    visitor.finds(QCheckBox, "visited_shown").click()


def check_clearing(visitor, user):
    """Clearing also deletes the stored area."""
    looks_at(visitor, 200, 400, 40)
    assert seen(visitor).any()
    visitor.dock.hide()
    [file] = (user / "data" / "napari-melanoma" / "visited-slides").glob("*.png")
    visitor.dock.show()
    visitor.clicks("visited_clear")
    assert not seen(visitor).any()
    assert not file.exists()
    assert not visitor.finds(QToolButton, "visited_clear").isEnabled()


def check_steps(visitor):
    """A view that is left too soon for the visited area is in the history, also while stepping through it."""
    history = visitor.session.view_history
    looks_at(visitor, 150, 300, 40)
    visitor.clicks("visited_clear")
    views = len(history.trail.views)
    center_view(visitor.viewer, visitor.dock.slide, (60, 60), 20)
    for direction in (-1, 1, -1):
        history.step(direction)
    assert len(history.trail.views) == views + 1
    assert not seen(visitor).any()
    visitor.until(lambda: seen(visitor).any())
    area = seen(visitor)
    cell = WIDTH / area.shape[1]
    assert area[int(150 / cell), int(300 / cell)] > 0
    assert area[int(60 / cell), int(60 / cell)] == 0


def test_higher_magnifications_are_drawn_darker():
    codes = np.array([[0, 100, 112, 116, 120, 128]], np.uint8)  # not seen, then 0.3x, 2.5x, 5x, 10x, 40x
    picture = draw_visited(codes, native=40.0)
    assert picture.format() == QImage.Format.Format_RGBA8888
    alphas = [picture.pixelColor(column, 0).alpha() for column in range(6)]
    assert alphas == [0, 0, 25, 55, 90, 125]
    color = picture.pixelColor(5, 0)
    assert (color.red(), color.green(), color.blue()) == COLOR
