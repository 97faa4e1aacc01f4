"""Real mouse events on napari's canvas, at points of a slide."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.view_memory import fit_view

MOVE_MS = 8  # vispy drops moves that follow within 10 ms, napari delays them by 5
WIDTH = 240  # of the canvas, in pixels
LEFT = Qt.MouseButton.LeftButton


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

    def _sends_move(self, place, buttons):
        whole = QPointF(self.canvas.mapToGlobal(place))
        button, modifiers = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(QEvent.Type.MouseMove, QPointF(place), whole, button, buttons, modifiers)
        QTest.qWait(MOVE_MS)
        self._updates()
        QApplication.sendEvent(self.canvas, event)
        QTest.qWait(MOVE_MS)

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
