"""The mouse on a slide: real events on napari's canvas, and shapes drawn through the callbacks of a layer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from fake_slides import TILE
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_melanoma.ui.viewer.camera import find_canvas, get_camera
from napari_melanoma.ui.viewer.view_memory import center_view, fit_view

MOVE_MS = 8  # vispy drops moves that follow within 10 ms, napari delays them by 5
WIDTH = 240  # of the canvas, in pixels
LEFT = Qt.MouseButton.LeftButton
CALLBACKS = {
    "mouse_press": mouse_press_callbacks,
    "mouse_move": mouse_move_callbacks,
    "mouse_release": mouse_release_callbacks,
}


def box(top, left, bottom, right):
    """Return the corners of a rectangle, from tiles to pixels."""
    corners = ((top, left), (top, right), (bottom, right), (bottom, left))
    return [(row * TILE, column * TILE) for row, column in corners]


def event(person, kind, place):
    """Return an event at a point of the slide."""
    world = person.dock.slide.to_world(place)
    at = np.array(place) * 10.0  # on the canvas, far enough for napari to distinguish vertices
    return read_only_mouse_event(
        type=kind, is_dragging=kind == "mouse_move", position=world, pos=at, dims_displayed=(0, 1), button=1
    )


def drags(person, layer, *points):
    """Drag the mouse from the first point to the last through the tool of a layer, without pausing."""
    mouse_press_callbacks(layer, event(person, "mouse_press", points[0]))
    for place in points[1:]:
        mouse_move_callbacks(layer, event(person, "mouse_move", place))
    mouse_release_callbacks(layer, event(person, "mouse_release", points[-1]))


def goes_around(person, role, corners):
    """Drag the mouse around an area with the tool of a layer."""
    closed = pairwise([*corners, corners[0]])
    points = [tuple(point) for start, end in closed for point in np.linspace(start, end, 12)]
    drags(person, person.viewer.layers[f"{person.dock.slide.info.name} {role}"], *points)


def clicks_corners(layer, *corners):
    """Click the corners of a shape, and move the mouse on without the double click that ends it."""
    for point in corners:
        for kind in ("mouse_move", "mouse_press", "mouse_release"):
            sends(layer, kind, point)
    sends(layer, "mouse_move", (corners[-1][0] + 5, corners[-1][1] + 5))


def sends(layer, kind, point):
    """Send an event at a pixel of a layer."""
    pos, position = np.array(point) * 10.0, tuple(layer.data_to_world(point))
    event = read_only_mouse_event(type=kind, is_dragging=False, position=position, pos=pos, dims_displayed=(0, 1))
    CALLBACKS[kind](layer, event)


def focus_canvas(person):
    """Give the canvas the keyboard focus, with a part of the slide in view."""
    window = person.dock.window()
    person.canvas = find_canvas(window)
    window.activateWindow()
    person.canvas.setFocus()
    person.until(lambda: QApplication.activeWindow() is window and person.canvas.hasFocus())
    center_view(person.viewer, person.dock.slide, (256.0, 256.0), 200.0)
    return person


def press(person, *keys, modifier=Qt.KeyboardModifier.NoModifier):
    """Press keys on the canvas."""
    for key in keys:
        QTest.keyClick(person.canvas, key, modifier)


class CanvasMouse:
    """The mouse over the canvas of a viewer; points are (row, column) in pixels of the displayed slide.

    The window may be hidden: then nothing is drawn, which takes longer than most tests.
    """

    def __init__(self, person):
        self._person = person
        self.canvas = person.viewer.window._qt_viewer.canvas.native
        if self.canvas.isVisible():
            self._make_room()
        else:
            self.canvas.resizeGL(self.canvas.width(), self.canvas.height())  # as Qt does before the first frame

    def _updates(self):
        """Let napari follow camera and layers; it does so before each frame that it draws."""
        if not self.canvas.isVisible():
            self._person.viewer.window._qt_viewer.canvas.on_draw(None)

    def _make_room(self):
        """Widen the window if docks leave so little of the canvas that what is aimed at is smaller than a pixel."""
        window = self._person.viewer.window._qt_window
        if self.canvas.width() >= WIDTH:
            return
        window.resize(window.width() + WIDTH - self.canvas.width(), window.height())
        self._person.until(lambda: self.canvas.width() >= WIDTH)
        fit_view(self._person.viewer)

    def at(self, point):
        """Return the position of a point on the canvas."""
        camera = get_camera(self._person.viewer)
        world = np.array(self._person.dock.slide.to_world(point))
        offset = (world - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + offset[1]), round(self.canvas.height() / 2 + offset[0]))

    def moves(self, point, buttons=Qt.MouseButton.NoButton):
        """Move the mouse; ``QTest.mouseMove`` does not hold buttons."""
        self._sends_move(self.at(point), buttons)

    def moves_to(self, x, y):
        """Move the mouse to a position on the canvas while its button is held."""
        self._sends_move(QPoint(x, y), LEFT)

    def moves_at_once(self, point):
        """Move the mouse while its button is held, without waiting for what follows from it."""
        self._sends(self.at(point), LEFT)

    def _sends_move(self, place, buttons):
        QTest.qWait(MOVE_MS)
        self._updates()
        self._sends(place, buttons)
        QTest.qWait(MOVE_MS)

    def _sends(self, place, buttons):
        whole = QPointF(self.canvas.mapToGlobal(place))
        button, modifiers = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(QEvent.Type.MouseMove, QPointF(place), whole, button, buttons, modifiers)
        QApplication.sendEvent(self.canvas, event)

    def clicks(self, point, button=LEFT, modifiers=Qt.KeyboardModifier.NoModifier):
        self.moves(point)
        QTest.mouseClick(self.canvas, button, modifiers, self.at(point))

    def double_clicks(self, point):
        self.moves(point)
        QTest.mouseDClick(self.canvas, LEFT, Qt.KeyboardModifier.NoModifier, self.at(point))

    def drags(self, *points, steps=6):
        """Press, move through the points, and release."""
        self.presses(points[0])
        for start, end in pairwise(points):
            for point in np.linspace(start, end, steps)[1:]:
                self.moves(tuple(point), LEFT)
        self.releases(points[-1])

    def turns_wheel(self, point, notches, modifiers=Qt.KeyboardModifier.NoModifier):
        """Turn the wheel; with positive notches away from the hand."""
        at = QPointF(self.at(point))
        whole, phase = QPointF(self.canvas.mapToGlobal(at.toPoint())), Qt.ScrollPhase.NoScrollPhase
        turned = QPoint(0, 120 * notches)
        event = QWheelEvent(at, whole, QPoint(), turned, Qt.MouseButton.NoButton, modifiers, phase, False)
        self._updates()
        QApplication.sendEvent(self.canvas, event)
        QTest.qWait(MOVE_MS)
        self._updates()

    def presses(self, point):
        self.moves(point)
        QTest.mousePress(self.canvas, LEFT, Qt.KeyboardModifier.NoModifier, self.at(point))

    def releases(self, point):
        QTest.mouseRelease(self.canvas, LEFT, Qt.KeyboardModifier.NoModifier, self.at(point))
