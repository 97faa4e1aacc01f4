"""Write the drawings of the body map as SVG paths, for reports that are written without Qt.

Usage: python scripts/body_map_svg.py    (after a change of ``ui/body_map``; a test compares both)
"""

from __future__ import annotations

import json
from typing import Any

from qtpy.QtGui import QPainterPath

from napari_melanoma.data.body_sites import LEFT, MIDLINE, RIGHT, list_site_words
from napari_melanoma.reports.body_map import CHART_FILE
from napari_melanoma.ui.body_map.chart import BodyChart, ChartSpot, get_chart
from napari_melanoma.ui.body_map.outlines import BodyDrawing

KINDS = {
    QPainterPath.ElementType.MoveToElement: "M",
    QPainterPath.ElementType.LineToElement: "L",
    QPainterPath.ElementType.CurveToElement: "C",
    QPainterPath.ElementType.CurveToDataElement: "",  # the second handle and the end of a curve
}
DIGITS = 2  # at 340 units of width; 0.01 is a thirtieth of a millimeter on A4


def describe_chart(chart: BodyChart) -> dict[str, Any]:
    """Describe drawings, and the position of the mark of each site on each side."""
    spots = (
        (word, side, chart.find_site(word, side)) for word in list_site_words() for side in ("", LEFT, RIGHT, MIDLINE)
    )
    return {
        "size": [chart.size.width(), chart.size.height()],
        "drawings": [_describe_drawing(drawing) for drawing in chart.drawings],
        "marks": [[word, side, *_describe_spot(spot)] for word, side, spot in spots if spot is not None],
    }


def _describe_spot(spot: ChartSpot) -> list[Any]:
    return [spot.drawing, spot.region.site, spot.region.laterality, *_round(spot.anchor.x(), spot.anchor.y())]


def _describe_drawing(drawing: BodyDrawing) -> dict[str, Any]:
    frame = drawing.frame
    return {
        "name": drawing.name,
        "title": drawing.title,
        "sides": list(drawing.sides),
        "is_detail": drawing.is_detail,
        "frame": _round(frame.x(), frame.y(), frame.width(), frame.height()),
        "parts": [
            {
                "outline": svg_path(part.path),
                # Clipped here, because not every program that prints a report knows clipping paths.
                "regions": [
                    [one.site, one.laterality, svg_path(part.path.intersected(one.shape))] for one in part.regions
                ],
            }
            for part in drawing.parts
        ],
        "lines": svg_path(drawing.lines),
        "creases": svg_path(drawing.creases),
    }


def svg_path(path: QPainterPath) -> str:
    """Convert a path to the data of an SVG path."""
    elements = (path.elementAt(number) for number in range(path.elementCount()))
    return "".join(f"{KINDS[one.type]}{_point(one.x, one.y)}" for one in elements).strip()


def _point(x: float, y: float) -> str:
    return " ".join(f"{value:g}" for value in _round(x, y)) + " "


def _round(*values: float) -> list[float]:
    return [round(value, DIGITS) + 0.0 for value in values]


def main() -> None:
    """Write the file of the package."""
    text = json.dumps(describe_chart(get_chart()), separators=(",", ":"), ensure_ascii=False)
    CHART_FILE.write_text(text.replace('{"name"', '\n{"name"').replace('"marks"', '\n"marks"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
