"""The outline of the body, front and back alike: half of it, in units of which the body is 400 high, midline at x = 0.

Proportions of an adult of no particular sex, seven and a half heads high, in the anatomical position: palms forwards,
feet a little apart.
"""

from __future__ import annotations

from qtpy.QtGui import QPainterPath

from napari_melanoma.ui.body.curves import both_halves, capsule, curve, lines, points_of, symmetrical

_HEAD = "0,0 7,0.9 13.2,4.6 17.3,11 18.9,19.5 18.5,29 17.3,37 14.6,44.5 10.2,50.6 5,54.2 0,55"
_OCCIPUT = "0,0 7,0.9 13.2,4.6 17.3,11 18.9,19.5 18.5,29 17,37 14,42.6 10.6,45.6 5.6,46.9 0,47.2"
_EAR = "17.8,25.2 19.8,22.9 21.7,23.8 21.9,28 20.6,32.8 19,35.8 17.4,35"
_NECK = "0,46 11.2,46"
_ARM_OUTSIDE = (
    "11.2,46 10.7,54 12,60.6 17.6,65.4 26.4,68.8 36,71.8 43.8,76.8 49,85.6 51.4,96.6 53.4,108 57,120 60.2,132.5 "
    "61.6,143.5 63.4,152.4 67.6,162.6 70.9,175 73.8,189 76,201.6 78.2,208"
)
_PALM = "78.2,208 82.4,216 85.6,225.4 84,231.5 72.6,232.6"
_PALM_INSIDE = "71,231 68.2,224 66.4,215 66.4,206.4"
_ARM_INSIDE = "66.4,206.4 62.4,194.4 56.4,181 52,169 49.4,157 46.8,147 42,133.6 37.8,119.4 35.4,106.6"
_SIDE = (
    "35.4,106.6 34.9,112.6 33.5,123 31,136.6 28.8,149 28,158.4 29.2,169 32,181 34.9,194 36.7,207.4 36.9,221 "
    "35.6,241 33,263 30.6,279.4 29.2,290 29,300 30.6,311.6 31.6,325 30.2,343 27.4,360 25.7,372 26.7,379.4 "
    "26.6,384.6"
)
_LEG_INSIDE = (
    "16.3,386 15.6,380 16.7,372 15.2,358.6 12,341 10.7,325 11.6,311.4 12.2,299.6 11,289 9,275 6,256 3.5,236 "
    "1.8,220 0,210.5"
)
_FINGERS = (
    ((81.9, 225.6), (88.6, 243.4), (4.7, 3.5)),
    ((78.9, 227.6), (84.2, 248.6), (4.7, 3.5)),
    ((75.5, 228.4), (79.2, 248), (4.5, 3.4)),
    ((72.2, 226.6), (74.4, 242.4), (4.1, 3.1)),
)
_THUMB = ((79.4, 211), (92.4, 228.8), (6.2, 4))


def head() -> QPainterPath:
    """Draw the head without ears, as seen from the front."""
    return both_halves(_HEAD)


def occiput() -> QPainterPath:
    """Draw the head as seen from behind, where the neck hides the chin."""
    return both_halves(_OCCIPUT)


def ear() -> QPainterPath:
    """Draw an ear.

    Where x is positive; a part of it lies under the head.
    """
    return curve(_EAR)


def fingers() -> list[QPainterPath]:
    """Draw thumb and fingers.

    Where x is positive; their roots lie in the palm.
    """
    return [capsule(*finger) for finger in (*_FINGERS, _THUMB)]


def trunk(foot: str) -> QPainterPath:
    """Draw the body without head, fingers and toes.

    Symmetrical, one outline.
    """
    leg = f"{_SIDE} {foot} {_LEG_INSIDE}"
    right = [points_of(run) for run in (_NECK, _ARM_OUTSIDE, _PALM, _PALM_INSIDE, _ARM_INSIDE, leg)]
    left = [[(-x, y) for x, y in reversed(run)] for run in reversed(right)]
    return curve(*right, *left)


def edge(foot: str) -> QPainterPath:
    """Draw what of the trunk's outline is an edge of the body: not where fingers begin, nor the neck under the head."""
    beside_thumb = _PALM.rpartition(" ")[0]
    return symmetrical(
        lines(_ARM_OUTSIDE, beside_thumb, f"{_PALM_INSIDE} {_ARM_INSIDE}", f"{_SIDE} {foot} {_LEG_INSIDE}")
    )
