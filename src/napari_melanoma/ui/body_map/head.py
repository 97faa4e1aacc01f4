"""Enlarged drawings of the face and the open mouth, for sites such as eyelids and lips."""

from __future__ import annotations

from qtpy.QtGui import QPainterPath

from napari_melanoma.ui.body_map.outlines import (
    LEFT,
    BodyDrawing,
    BodyPart,
    BodyRegion,
    add_mirror_image,
    close_half_outline,
    curve,
    draw_lines,
    ellipse,
    midline_regions,
    paired_regions,
    unite_paths,
)

_HEAD = "0,0 15.4,1.8 30.6,10.4 41.4,26.6 45.9,46 45.3,66 42.4,84 35.8,101 25,115.4 12,124.2 0,126.4"
_EAR = "43.6,57 48,50.8 53.4,52 55,61 52.4,73 47.8,81.6 42.6,80"
_HAIRLINE = "-60,47 -46.6,42.6 -41.6,37 -34,26.4 -17,20 0,18.2 17,20 34,26.4 41.6,37 46.6,42.6 60,47"
_NECK = "27,96 25.6,116 26,128 31,141"


def draw_face() -> BodyDrawing:
    """Draw the face, 142 units high; the patient's left is at positive x."""
    head, ears, neck = close_half_outline(_HEAD), add_mirror_image(curve(_EAR)), _neck()
    throat = curve("0,90 50,90", "50,150 0,150")
    parts = (
        BodyPart(neck, tuple(paired_regions([("neck", throat)], LEFT)), _sides_of_neck()),
        BodyPart(ears, tuple(paired_regions([("ear", curve(_EAR))], LEFT)), ears),
        BodyPart(head, tuple(_sites()), head),
    )
    return BodyDrawing("face", "Face", parts, add_mirror_image(_lines()), add_mirror_image(_creases()))


def draw_mouth() -> BodyDrawing:
    """Draw the open mouth."""
    lips = close_half_outline("0,-12.4 4.6,-15.2 10,-14.4 19,-7.6 26,0 19,9.6 10,15.4 0,17")
    cavity = close_half_outline("0,-8.2 9.6,-8.8 18,-3.8 21.2,0.2 14,7.6 7,10.2 0,10.8")
    teeth = draw_lines("0,-4.4 8,-4.8 15.6,-2", "3.6,-8.4 3.6,-4.6", "9.4,-8.6 9,-4.6")
    tongue = draw_lines("0,4.4 5,2.2 10,4.4 12.6,8")
    parts = (BodyPart(lips, tuple(midline_regions(("mouth", cavity), ("lip", lips))), lips),)
    return BodyDrawing("mouth", "Mouth", parts, unite_paths(cavity), add_mirror_image(unite_paths(teeth, tongue)), ())


def _neck() -> QPainterPath:
    return close_half_outline(f"0,96 {_NECK} 24,143.6 14,146 0,147")


def _sides_of_neck() -> QPainterPath:
    return add_mirror_image(draw_lines(_NECK))


def _sites() -> list[BodyRegion]:
    """The sites of the face: eyelids, nose and lips first, the cheeks are the rest."""
    scalp = curve(_HAIRLINE, "60,-9 -60,-9")
    brow = curve("-40,51 -30,50.4 -19,46.8 -8,50.6 0,55 8,50.6 19,46.8 30,50.4 40,51", "40,0 -40,0")
    nose = close_half_outline("0,53.6 4.8,56 5.6,66 9.6,76 12,82.6 10.6,88.6 5,91.6 0,92.4")
    lips = close_half_outline("0,97 4.6,95.5 10.4,99 17.6,103.8 11.4,109.8 5.6,112.8 0,113.2")
    chin = close_half_outline("0,111 9,112.6 16.4,115 21.6,120.6 24,129 14,138 0,140")
    temple = curve("34,20 35.6,36 35.4,50 36.6,66 52,68", "60,60 60,20")
    lids = curve("8,60.4 11.4,54.6 19.4,51.8 28.6,53.6 34,60.8 28,65.6 20,67 12,65.4")
    cheek = curve("0,0 60,0", "60,140 0,140")
    return [
        *midline_regions(("scalp", scalp), ("lip", lips), ("nose", nose)),
        *paired_regions([("temple", temple), ("eyelid", lids)], LEFT),
        *midline_regions(("forehead", brow), ("chin", chin)),
        *paired_regions([("cheek", cheek)], LEFT),
    ]


def _lines() -> QPainterPath:
    """Eyes, nose and mouth."""
    drawn = draw_lines(
        "8,51.2 13,48.5 20,47.3 26.8,48.7 31.4,51.6",
        "9.8,60.6 14,56.6 20,55 26.4,57 31,61",
        "16.9,56.4 16.4,59.8 17.6,63.4",
        "23.7,56.2 24.2,59.8 23,63.6",
        "9.8,60.6 14.6,63.2 20.4,64 26.6,63 31,61",
        "7.4,79.6 10.6,82 10.2,86.4 6.8,88",
        "6.8,88 4.7,86.9 3,88.7 1.4,89.9 0,90.1",
        "0,98.9 1.4,98.3 4.4,97.5 9.6,100.8 15.6,103.8",
        "0,104.6 4.4,103.8 9.6,104.4 15.6,103.8",
        "0,111 5,110.6 10.4,108.2 15.6,103.8",
    )
    return unite_paths(drawn, ellipse((20.3, 59.6), 2.2, 2.2))


def _creases() -> QPainterPath:
    """Eyelid crease, bridge of the nose, folds beside nose and chin, inner ear, neck muscles."""
    return draw_lines(
        "10.6,56.2 18.8,52.6 29,56.4",
        "6.4,55 5.2,64 6.6,73.6",
        "12.4,84.6 16.4,91.6 18.4,99",
        "1.6,93 1.8,96.4",
        "0,116.2 4,116 7.4,114.6",
        "47,57 51,57.6 51.4,64 48.8,70 49,75",
        "46.8,63 48.4,66.4 46.6,69.6",
        "22,118 18.6,130 14,140.6",
    )
