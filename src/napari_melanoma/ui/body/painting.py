"""Paints the chart of the body: skin, soft shade, borders of sites, and which of them are pointed at or chosen."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPen

from napari_melanoma.ui.body.parts import Drawing, Part, Place
from napari_melanoma.ui.look import PRIMARY, Palette

SHADES = ((15, 12), (10.5, 14), (7, 16), (4, 18), (1.8, 22))  # width and opacity of what is laid along the edge


@dataclass(frozen=True)
class Ink:
    """Colours of the drawing on one ground."""

    skin: str
    edge: str
    shade: str
    border: str
    line: str
    crease: str
    hover: str
    words: str
    chosen: str
    mark: str = "#e69f00"  # of Okabe and Ito: stands apart from the blue for every kind of eye
    current: str = "#f0e442"
    mark_edge: str = "#1c1300"


DARK = Ink("#5b636f", "#b4bcc7", "#10141a", "#828c99", "#d0d6de", "#434a55", "#76879c", "#a9b0ba", PRIMARY)
LIGHT = Ink("#f6f3f0", "#565d67", "#7d7068", "#b9b2ac", "#454b54", "#d3cac3", "#d5e3f1", "#63666b", "#5b97d3")


def ink(palette: Palette) -> Ink:
    """Give the colours for a theme.

    For a dark or a light ground.
    """
    return DARK if palette.dark else LIGHT


def paint_drawing(
    painter: QPainter, drawing: Drawing, colours: Ink, chosen: Collection[Place], pointed: Collection[Place]
) -> None:
    """Paint one drawing."""
    for part in drawing.parts:
        painter.strokePath(part.path, QPen(QColor(colours.edge), 1.7))
        painter.save()
        painter.setClipPath(part.path)
        _paint_sites(painter, part, colours, chosen, pointed)
        for width, opacity in SHADES:
            colour = QColor(colours.shade)
            colour.setAlpha(opacity)
            painter.strokePath(part.shade, _round(colour, width))
        painter.restore()
    painter.strokePath(drawing.creases, _round(QColor(colours.crease), 0.9))
    painter.strokePath(drawing.lines, _round(QColor(colours.line), 0.8 if drawing.is_detail else 0.65))


def paint_words(painter: QPainter, drawing: Drawing, colours: Ink) -> None:
    """Write what a drawing shows above it, and which side of the patient is which beside that."""
    frame = drawing.frame
    font = QFont(painter.font())
    font.setPixelSize(9 if drawing.is_detail else 11)
    font.setBold(False)
    painter.save()
    painter.setFont(font)
    painter.setPen(QColor(colours.words))
    line = QRectF(frame.x() - 30, frame.y() - 16, frame.width() + 60, 12)
    painter.drawText(line, Qt.AlignmentFlag.AlignCenter, drawing.title)
    line = QRectF(frame.x() + 2, frame.y() - (16 if drawing.is_detail else 0), frame.width() - 4, 12)
    for side, end in zip(drawing.sides, (Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight), strict=False):
        said = side[0].upper() if drawing.is_detail else side
        painter.drawText(line, end | Qt.AlignmentFlag.AlignVCenter, said)
    painter.restore()


def _round(colour: QColor, width: float) -> QPen:
    return QPen(colour, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)


def _paint_sites(
    painter: QPainter, part: Part, colours: Ink, chosen: Collection[Place], pointed: Collection[Place]
) -> None:
    """Fill the sites, the first last, so that each lies over what it is cut out of."""
    painter.fillPath(part.path, QColor(colours.skin))
    border = QPen(QColor(colours.border), 0.55)
    for region in reversed(part.regions):
        fill = colours.chosen if region.place in chosen else colours.hover if region.place in pointed else colours.skin
        painter.fillPath(region.shape, QColor(fill))
        painter.strokePath(region.shape, border)


def paint_mark(painter: QPainter, at: QPointF, across: float, label: str, colours: Ink, current: bool) -> None:
    """Paint the numbered dot of a lesion.

    ``painter``: in pixels.
    """
    half = across / 2 - 1
    painter.setPen(QPen(QColor(colours.mark_edge), 2.4 if current else 1.2))
    painter.setBrush(QColor(colours.current if current else colours.mark))
    painter.drawEllipse(at, half, half)
    font = QFont(painter.font())
    font.setPixelSize(round(across * (0.62 if len(label) < 2 else 0.54 if len(label) == 2 else 0.42)))
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(QColor(colours.mark_edge))
    painter.drawText(QRectF(at.x() - across, at.y() - half, 2 * across, 2 * half), Qt.AlignmentFlag.AlignCenter, label)


def paint_cursor(painter: QPainter, at: QPointF, colours: Ink) -> None:
    """Paint where the keyboard stands.

    ``painter``: in pixels.
    """
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(colours.line), 1.6))
    painter.drawEllipse(at, 3.2, 3.2)
