"""What a pixel of a section can be, and which of the four classes of the truth each belongs to."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

CLASSES = ("background", "dermis", "epidermis", "tumour")
# From here on a label is a nest of a lesion: LESION + its index in the section.
LESION = 32


class Kind(IntEnum):
    """Labels of pixels, in the order in which nothing is implied."""

    GLASS = 0
    DERMIS = 1
    KERATIN = 2
    EPIDERMIS = 3
    FAT = 4
    SHEATH = 5
    INNER_SHEATH = 6
    HAIR = 7
    SEBACEOUS = 8
    ECCRINE = 9
    LUMEN = 10
    WALL = 11
    BLOOD = 12
    INFILTRATE = 13
    CRUST = 14
    MUSCLE = 15
    NERVE = 16
    STROMA = 17
    NECROSIS = 18


def _classes() -> np.ndarray:
    """Give the class of each label, uint8 (256,)."""
    classes = np.ones(256, np.uint8)
    classes[[Kind.GLASS, Kind.KERATIN, Kind.CRUST]] = 0
    classes[Kind.EPIDERMIS] = 2
    classes[LESION:] = 3
    classes[Kind.NECROSIS] = 3  # dead tumour is tumour: it counts for the thickness
    return classes


CLASS_OF = _classes()
