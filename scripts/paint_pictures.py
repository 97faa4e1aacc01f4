"""The film strip of the tutorial on tissue classifiers: the skin slide of the samples, painted with the mouse."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pictures import open_dock, picture, save_picture, wait_until
from PIL import Image, ImageDraw, ImageFont
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QScrollArea, QWidget

from napari_melanoma.samples.catalog import SLIDE, get_sample
from napari_melanoma.ui.launch import process_events
from napari_melanoma.ui.viewer.camera import find_canvas, get_camera
from napari_melanoma.ui.viewer.view_memory import fit_view

if TYPE_CHECKING:
    from napari_melanoma.core.polygons import Point
    from napari_melanoma.ui.slide.dock import SlideDock

SIZE = (1340, 800)  # of the window in pixels
FRAME_WIDTH, COLUMNS, GAP = 640, 2, 8  # of the strip in pixels
MOVE_MS, STEPS = 12, 6  # vispy drops moves that follow within 10 ms


@dataclass(frozen=True)
class PaintedLine:
    """A stroke of the tutorial: its class and points (row, column) in pixels of the slide."""

    class_name: str
    points: tuple[Point, ...]


FIRST = (
    PaintedLine("Adnexa", ((1560, 1130), (1650, 1180), (1600, 1260))),
    PaintedLine("Dermis", ((700, 1900), (850, 1950), (1000, 1900))),
)
MORE = (
    PaintedLine("Epidermis", ((1080, 3030), (1190, 3130))),
    PaintedLine("Background", ((600, 3300), (800, 3700))),
    PaintedLine("Epidermis", ((560, 2620), (680, 2680))),
    PaintedLine("Background", ((1300, 3600), (1500, 3900))),
    PaintedLine("Adnexa", ((900, 1330), (840, 1480))),
)
CORRECTIONS = (
    PaintedLine("Dermis", ((1370, 640), (1520, 680))),
    PaintedLine("Dermis", ((1720, 2020), (1780, 2120))),
    PaintedLine("Dermis", ((1800, 900), (1980, 1150))),
    PaintedLine("Dermis", ((400, 250), (500, 500))),
)


class Painter:
    """Paints on the displayed slide with the mouse, as a user does, and takes pictures of the window."""

    def __init__(self, dock: SlideDock) -> None:
        from napari_melanoma.ui.widgets.job import tasks

        self.dock, self.frames, self._wait_until = dock, list[Image.Image](), wait_until
        self._is_idle = tasks.is_idle

    def open(self, slide: Path) -> None:
        """Open a slide with the section Paint expanded, and fit it into the view."""
        hosted = self.dock.sections.hosted
        self.dock.opener.open([slide])
        self._wait_until(lambda: self.dock.slide is not None and self.dock.slide.info.path == slide)
        self._wait_until(lambda: "Paint" in hosted.sections and self._is_idle())
        hosted.sections["Paint"].frame.expand()
        self._wait_until(lambda: hosted.sections["Paint"].widget is not None and self._is_idle())
        fit_view(self.dock.context.viewer)
        process_events(0.5)

    def start_from(self, model: str) -> None:
        """Select the model to start from; empty for nothing."""
        box = self._find("paint_start")
        box.setCurrentIndex(box.findData(model))
        box.activated.emit(box.currentIndex())
        self._wait_until(self._is_idle)

    def paint(self, *lines: PaintedLine) -> None:
        """Select the class of each line, and paint it with the brush."""
        for line in lines:
            self._select(line.class_name)
            brush = self._find("paint_brush")
            if not brush.property("checked"):
                QTest.mouseClick(brush, Qt.MouseButton.LeftButton)
            self._drag(line.points)
            process_events(0.6)
            self._wait_until(self._is_idle)

    def save_model(self) -> None:
        """Save the model with the suggested name."""
        QTest.mouseClick(self._find("paint_save"), Qt.MouseButton.LeftButton)
        process_events(0.3)
        save = self.dock.window().findChild(QWidget, "paint_model_save")
        QTest.mouseClick(save, Qt.MouseButton.LeftButton)
        process_events(0.6)
        self._wait_until(self._is_idle)

    def apply_model(self) -> None:
        """Analyze the slide with the saved model."""
        QTest.mouseClick(self._find("paint_apply"), Qt.MouseButton.LeftButton)
        self._wait_until(lambda: bool(self.dock.context.session.results.value.content) and self._is_idle())

    def take(self, part: str = "paint_advice") -> None:
        """Take a picture of the canvas and the dock; ``part``: of the dock, that is scrolled into view."""
        self.dock.findChild(QScrollArea, "slide_scroll").verticalScrollBar().setValue(0)
        self.dock.findChild(QScrollArea, "slide_scroll").ensureWidgetVisible(self._find(part))
        process_events(0.8)
        window = self.dock.window()
        canvas = find_canvas(window)
        assert canvas is not None
        left = canvas.mapTo(window, QPoint(0, 0)).x()
        image = Image.fromqpixmap(window.grab())
        self.frames.append(image.crop((round(left * image.width / window.width()), 0, *image.size)))

    def _find(self, name: str) -> QWidget:
        return self.dock.findChild(QWidget, name)

    def _select(self, name: str) -> None:
        classes = self.dock.sections.hosted.sections["Paint"].widget.view.class_list.list
        item = next(classes.item(row) for row in range(classes.count()) if classes.item(row).text() == name)
        place = classes.visualItemRect(item).center()
        QTest.mouseClick(classes.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)

    def _drag(self, points: tuple[Point, ...]) -> None:
        """Press the left button at the first point, move through the others, and release it."""
        button, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        canvas = find_canvas(self.dock.window())
        self._move(points[0], Qt.MouseButton.NoButton)
        QTest.mousePress(canvas, button, none, self._place(points[0]))
        for start, end in pairwise(points):
            for row, column in np.linspace(start, end, STEPS)[1:].tolist():
                self._move((row, column), button)
        QTest.mouseRelease(canvas, button, none, self._place(points[-1]))

    def _move(self, point: Point, buttons: Qt.MouseButton) -> None:
        canvas = find_canvas(self.dock.window())
        assert canvas is not None
        place = self._place(point)
        whole, none = QPointF(canvas.mapToGlobal(place)), Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(QEvent.Type.MouseMove, QPointF(place), whole, Qt.MouseButton.NoButton, buttons, none)
        QTest.qWait(MOVE_MS)
        QApplication.sendEvent(canvas, event)
        QTest.qWait(MOVE_MS)

    def _place(self, point: Point) -> QPoint:
        """Return the position of a point of the slide on the canvas."""
        viewer = self.dock.context.viewer
        canvas, camera = find_canvas(self.dock.window()), get_camera(viewer)
        world = self.dock.slide.to_world(point)
        assert canvas is not None
        down, right = (camera.zoom * (at - center) for at, center in zip(world, camera.center[-2:], strict=True))
        return QPoint(round(canvas.width() / 2 + right), round(canvas.height() / 2 + down))


def paint_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the first stroke, the map, its correction, accuracy and areas, and the model applied to the slide."""
    viewer, dock = open_dock("Slide", theme, SIZE)
    dock.settings.slide_results = folder / "results"
    painter = Painter(dock)
    painter.open(get_sample(SLIDE).path)
    painter.start_from("")
    for lines in (FIRST[:1], FIRST[1:], MORE, CORRECTIONS):
        painter.paint(*lines)
        painter.take()
    picture(dock.window(), out / "paint.webp")
    painter.take("paint_areas")
    painter.save_model()
    painter.apply_model()
    painter.take()
    save_picture(compose(painter.frames), out / "paint-film.webp")
    viewer.close()


def compose(frames: list[Image.Image]) -> Image.Image:
    """Put the frames into rows, with their numbers."""
    height = round(frames[0].height * FRAME_WIDTH / frames[0].width)
    rows = -(-len(frames) // COLUMNS)
    strip = Image.new("RGB", (COLUMNS * (FRAME_WIDTH + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    font = ImageFont.load_default(22)
    for index, frame in enumerate(frames):
        small = frame.convert("RGB").resize((FRAME_WIDTH, height), Image.Resampling.LANCZOS)
        draw = ImageDraw.Draw(small)
        draw.ellipse((10, 34, 44, 68), fill="#e69f00")
        draw.text((27, 51), str(index + 1), fill="black", font=font, anchor="mm")
        strip.paste(small, (index % COLUMNS * (FRAME_WIDTH + GAP), index // COLUMNS * (height + GAP)))
    return strip
