"""Enlarged drawings of the backs of the hands, the soles and the toes, for sites such as nails and soles."""

from __future__ import annotations

import math

from qtpy.QtGui import QPainterPath, QTransform

from napari_melanoma.ui.body_map.outlines import (
    LEFT,
    BodyDrawing,
    BodyPart,
    Point,
    add_mirror_image,
    capsule,
    curve,
    draw_lines,
    mirror_path,
    paired_regions,
    unite_paths,
)

Digit = tuple[Point, Point, Point]  # root, tip, and the widths there
_LITTLE_SIDE = "21.4,104 20.6,92 17,76 14,60"
_KNUCKLES = "14.2,50 19.6,44.4 28,41.6 36,41.8 42.8,45.6"
_INDEX_SIDE, _THUMB_SIDE = "45.6,54 46.4,60", "49.4,74 46.6,84 42,93 41,104"
_FINGERS: tuple[Digit, ...] = (
    ((17.8, 52), (10.6, 21.6), (8.4, 6.4)),
    ((25, 47), (21.4, 9.6), (9, 7)),
    ((33.2, 46), (33.6, 5), (9.2, 7.2)),
    ((41, 50), (45.8, 11), (9, 6.8)),
    ((45, 80), (62.4, 51.6), (12, 8)),
)
_JOINTS = (0.4, 0.72)
_SOLE = (
    "26,100 33.6,97.4 37,89 36,75 37.4,60 41.4,46 42.8,34 39.8,25 31,20.6 20,19 12,22 9.2,32 11.4,46 "
    "16.6,59 18,72 16.2,86 18.8,96.6"
)
_TOES: tuple[Digit, ...] = (
    ((16.2, 20), (14.8, 9.6), (11.2, 10)),
    ((24.6, 18), (25, 7), (7, 6.2)),
    ((30.8, 20), (31.8, 9.8), (6.4, 5.6)),
    ((35.8, 23), (37.6, 14), (6, 5.2)),
    ((39.8, 28), (42.2, 20), (5.8, 5)),
)


def draw_hands() -> BodyDrawing:
    """Draw the backs of both hands with the fingers up, 104 units high; the patient's left is at positive x."""
    knuckles = curve("0,52 14,50 24,46.6 34,45.6 43,49.6 50,58 51,70 46,77 52,88 80,88", "80,-9 0,-9")
    wrist = curve("0,93 31,95.4 60,93", "60,120 0,120")
    rest = curve("0,0 80,0", "80,120 0,120")
    hand = curve(f"{_LITTLE_SIDE} {_KNUCKLES} {_INDEX_SIDE} {_THUMB_SIDE}")
    skin = _both([hand, *(capsule(*finger) for finger in _FINGERS)])
    rims = _both([draw_lines(_LITTLE_SIDE, _INDEX_SIDE, _THUMB_SIDE), *(_rim(finger) for finger in _FINGERS)])
    nails = _both([_nail(finger, 0.62, 0.1) for finger in _FINGERS])
    parts = (
        BodyPart(skin, tuple(paired_regions([("wrist", wrist), ("finger", knuckles), ("hand", rest)], LEFT)), rims),
        BodyPart(nails, tuple(paired_regions([("nail", knuckles)], LEFT)), draw_lines()),
    )
    tendons = draw_lines("24,52 26.6,66 29,78", "32.4,52 32.2,64 32,78", "40,54 37.4,66 35,78", "18.4,58 22.4,70 26,80")
    creases = unite_paths(*(_joint(finger, share) for finger in _FINGERS for share in _JOINTS), tendons)
    return BodyDrawing("hands", "Hands", parts, draw_lines(), add_mirror_image(creases))


def draw_soles() -> BodyDrawing:
    """Draw both soles with the toes up, 100 units high; the patient's left is at positive x."""
    roots = curve("0,20.6 12,18.6 20,16.4 28,17.4 35,20.6 41,27 60,34", "60,-9 0,-9")
    rest = curve("0,0 60,0", "60,120 0,120")
    skin = _both([curve(_SOLE), *(capsule(*toe) for toe in _TOES)])
    parts = (
        BodyPart(skin, tuple(paired_regions([("toe", roots), ("sole", rest)], LEFT)), add_mirror_image(curve(_SOLE))),
    )
    creases = draw_lines(
        "11.4,41 20,46 29.6,44.6 36.6,38.6",
        "11.6,32 16.4,38 18,44",
        "21,56 25,66 25.4,76 22,86",
        "20.6,88.6 26.6,91.6 32.4,88.4",
    )
    return BodyDrawing("soles", "Soles", parts, draw_lines(), add_mirror_image(creases))


def draw_toes() -> BodyDrawing:
    """Draw the toes from the front, for their nails, 64 units high; the patient's left is at positive x."""
    digits = [capsule(*toe) for toe in _TOES]
    foot = curve("17.4,66 14,56 11,44 9.2,32 12,22 20,19 31,20.6 39.8,25 42.8,34 40.4,46 36,58 33.4,66 25.4,68.6")
    roots = curve("0,25 12,24 20,22 28,23 35,26 41,31 60,36", "60,-9 0,-9")
    rest = curve("0,0 60,0", "60,120 0,120")
    skin = _both([foot, *digits])
    nails = _both([_nail(toe, 0.66, -0.1) for toe in _TOES])
    parts = (
        BodyPart(skin, tuple(paired_regions([("toe", roots), ("foot", rest)], LEFT)), draw_lines()),
        BodyPart(nails, tuple(paired_regions([("nail", rest)], LEFT)), draw_lines()),
    )
    tendons = draw_lines(
        "17.6,28 19,40 21,50", "25.6,28 25.6,40 25.4,50", "31.6,29 30.6,40 29.4,50", "36.4,32 34.6,42 33,50"
    )
    return BodyDrawing("toes", "Toes", parts, draw_lines(), add_mirror_image(tendons)).transformed(
        QTransform.fromScale(1, -1)
    )


def _both(shapes: list[QPainterPath]) -> QPainterPath:
    """Unite shapes and their mirror images."""
    return unite_paths(*shapes, *(mirror_path(shape) for shape in shapes))


def _nail(digit: Digit, width: float, back: float) -> QPainterPath:
    """Draw the nail at the tip of a finger; ``width``: share of the finger's width."""
    root, tip, (_, across) = digit
    return capsule(_between(root, tip, 1 - back), _between(root, tip, 1.03), (across * width, across * width))


def _rim(digit: Digit) -> QPainterPath:
    """Draw the free edge of a finger."""
    root, tip, (first, last) = digit
    x, y = _along(digit)
    start, end = _between(root, tip, 0.3), _between(root, tip, 1 + 0.5 * last / math.dist(root, tip))
    sides = [(at[0] + side * y, at[1] - side * x) for at, side in ((start, first / 2), (tip, last / 2))]
    others = [(at[0] + side * y, at[1] - side * x) for at, side in ((tip, -last / 2), (start, -first / 2))]
    return curve([*sides, end, *others], closed=False)


def _along(digit: Digit) -> Point:
    """The direction of a finger as a unit vector."""
    root, tip, _ = digit
    length = math.dist(root, tip)
    return (tip[0] - root[0]) / length, (tip[1] - root[1]) / length


def _joint(digit: Digit, share: float) -> QPainterPath:
    """Draw the crease across a finger at a share of its length."""
    root, tip, (first, last) = digit
    along = _along(digit)
    half = 0.3 * (first + share * (last - first))
    x, y = _between(root, tip, share)
    ends = [(x - half * along[1], y + half * along[0]), (x + half * along[1], y - half * along[0])]
    return curve([ends[0], (x + 1.1 * along[0], y + 1.1 * along[1]), ends[1]], closed=False)


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
