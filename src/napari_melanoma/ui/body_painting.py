"""Paints the chart of the body: skin, soft shade, borders of sites, and which of them are pointed at or chosen."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPen

from napari_melanoma.ui.body_parts import Drawing, Part, Place
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
    chosen: str
    mark: str = "#e69f00"  # of Okabe and Ito: stands apart from the blue for every kind of eye
    current: str = "#f0e442"
    mark_edge: str = "#1c1300"


DARK = Ink("#59616d", "#aeb6c1", "#12161d", "#7e8794", "#c3cad3", "#8a93a0", "#76879c", PRIMARY)
LIGHT = Ink("#f4f1ee", "#5d646e", "#8d8078", "#bdb6b0", "#4f565f", "#a59c95", "#d5e3f1", "#5b97d3")


def ink(palette: Palette) -> Ink:
    """Give the colours for a theme.

    Parameters
    ----------
    palette : Palette
        Of the theme.

    Returns
    -------
    Ink
        For a dark or a light ground.
    """
    return DARK if palette.dark else LIGHT


def paint_drawing(
    painter: QPainter, drawing: Drawing, colours: Ink, chosen: Collection[Place], hovered: Place | None
) -> None:
    """Paint one drawing.

    Parameters
    ----------
    painter : QPainter
        Scaled to the units of the chart.
    drawing : Drawing
        What to paint.
    colours : Ink
        Of the theme.
    chosen : collection of (str, str)
        Sites with laterality that are chosen.
    hovered : (str, str) or None
        The one that is pointed at.
    """
    for part in drawing.parts:
        painter.strokePath(part.path, QPen(QColor(colours.edge), 1.7))
        painter.save()
        painter.setClipPath(part.path)
        _paint_sites(painter, part, colours, chosen, hovered)
        for width, opacity in SHADES:
            colour = QColor(colours.shade)
            colour.setAlpha(opacity)
            painter.strokePath(part.shade, QPen(colour, width))
        painter.restore()
    painter.strokePath(drawing.creases, QPen(QColor(colours.crease), 0.7))
    painter.strokePath(drawing.lines, QPen(QColor(colours.line), 0.9))


def _paint_sites(painter: QPainter, part: Part, colours: Ink, chosen: Collection[Place], hovered: Place | None) -> None:
    """Fill the sites, the first last, so that each lies over what it is cut out of."""
    painter.fillPath(part.path, QColor(colours.skin))
    border = QPen(QColor(colours.border), 0.6)
    for region in reversed(part.regions):
        fill = colours.chosen if region.place in chosen else colours.hover if region.place == hovered else colours.skin
        painter.fillPath(region.shape, QColor(fill))
        painter.strokePath(region.shape, border)


def paint_mark(painter: QPainter, at: QPointF, across: float, label: str, colours: Ink, current: bool) -> None:
    """Paint the numbered dot of a lesion.

    Parameters
    ----------
    painter : QPainter
        In pixels.
    at : QPointF
        Its centre.
    across : float
        Its diameter.
    label : str
        One or two characters can be read.
    colours : Ink
        Of the theme.
    current : bool
        Whether it stands out.
    """
    half = across / 2 - 1
    painter.setPen(QPen(QColor(colours.mark_edge), 2.4 if current else 1.2))
    painter.setBrush(QColor(colours.current if current else colours.mark))
    painter.drawEllipse(at, half, half)
    font = QFont(painter.font())
    font.setPixelSize(round(across * (0.62 if len(label) < 3 else 0.45)))
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(QColor(colours.mark_edge))
    painter.drawText(QRectF(at.x() - across, at.y() - half, 2 * across, 2 * half), Qt.AlignmentFlag.AlignCenter, label)


def paint_cursor(painter: QPainter, at: QPointF, colours: Ink) -> None:
    """Paint where the keyboard stands.

    Parameters
    ----------
    painter : QPainter
        In pixels.
    at : QPointF
        The site's anchor.
    colours : Ink
        Of the theme.
    """
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(colours.line), 1.6))
    painter.drawEllipse(at, 3.2, 3.2)
