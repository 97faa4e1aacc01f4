"""The looks of phantom slides: stain vectors, textures, nuclei; those for tests share none with those for training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Stain:
    """Optical densities (red, green, blue) of a unit of each dye, and the colour of bare glass.

    ``haematoxylin``, ``eosin``, ``melanin`` and ``blood`` are natural logarithms, of length about 1.
    """

    haematoxylin: Vector
    eosin: Vector
    melanin: Vector
    blood: Vector
    glass: tuple[int, int, int]
    nuclei: float = 1.0
    cytoplasm: float = 1.0


@dataclass(frozen=True)
class Nuclei:
    """How nuclei are drawn.

    ``grain`` is the size of chromatin clumps in micrometres, ``contrast`` how far they differ, ``rim`` how much darker
    the membrane is, ``softness`` the width of the edge in micrometres, ``lobes`` the harmonics that bend the outline.
    """

    grain: float
    contrast: float
    rim: float
    softness: float
    lobes: tuple[int, ...]
    nucleolus: float
    scale: float = 1.0


@dataclass(frozen=True)
class Texture:
    """How fibres and cytoplasm are drawn.

    ``bundle`` and ``length`` are the width and length of collagen bundles in micrometres, ``wave`` how far they
    wander, ``cleft`` the share of white gaps, ``grain`` the roughness of cytoplasm, ``weave`` the layers of keratin.
    """

    bundle: float
    length: float
    wave: float
    cleft: float
    grain: float
    weave: float


@dataclass(frozen=True)
class Look:
    """One way in which a laboratory's slides look; ``family`` says whether it may be trained on."""

    name: str
    family: Literal["train", "test"]
    stain: Stain
    nuclei: Nuclei
    texture: Texture


def _look(name: str, family: Literal["train", "test"], stain: Stain, nuclei: Nuclei, texture: Texture) -> Look:
    """Make a look with stain vectors of length 1."""
    stain = replace(
        stain,
        haematoxylin=_unit(stain.haematoxylin),
        eosin=_unit(stain.eosin),
        melanin=_unit(stain.melanin),
        blood=_unit(stain.blood),
    )
    return Look(name, family, stain, nuclei, texture)


def _unit(vector: Vector) -> Vector:
    """Scale to length 1."""
    length = float(np.linalg.norm(vector))
    red, green, blue = vector
    return red / length, green / length, blue / length


LOOKS = (
    _look(
        "harbour",
        "train",
        Stain((0.62, 0.70, 0.34), (0.10, 0.94, 0.38), (0.42, 0.58, 0.72), (0.14, 0.82, 0.62), (243, 242, 244)),
        Nuclei(1.3, 0.35, 0.35, 0.7, (2, 3), 0.5),
        Texture(9, 90, 12, 0.16, 0.30, 5),
    ),
    _look(
        "meadow",
        "train",
        Stain((0.54, 0.74, 0.42), (0.20, 0.84, 0.52), (0.46, 0.60, 0.66), (0.22, 0.78, 0.66), (239, 238, 236), 0.92),
        Nuclei(1.9, 0.45, 0.2, 0.9, (2, 4), 0.35, 1.05),
        Texture(13, 120, 18, 0.10, 0.22, 6.5),
    ),
    _look(
        "slate",
        "train",
        Stain(
            (0.70, 0.64, 0.30), (0.06, 0.97, 0.26), (0.40, 0.55, 0.75), (0.10, 0.86, 0.52), (246, 246, 247), 1.1, 0.9
        ),
        Nuclei(0.9, 0.30, 0.5, 0.5, (3, 5), 0.6, 0.95),
        Texture(7, 70, 8, 0.22, 0.38, 4),
    ),
    _look(
        "orchard",
        "train",
        Stain(
            (0.58, 0.66, 0.48), (0.14, 0.88, 0.46), (0.48, 0.60, 0.64), (0.16, 0.74, 0.72), (241, 240, 243), 1.0, 1.12
        ),
        Nuclei(1.6, 0.55, 0.28, 0.8, (2, 5), 0.45, 1.0),
        Texture(11, 60, 20, 0.13, 0.26, 7.5),
    ),
    _look(
        "dune",
        "test",
        Stain((0.50, 0.70, 0.52), (0.26, 0.78, 0.58), (0.50, 0.59, 0.62), (0.24, 0.70, 0.70), (238, 236, 232), 0.96),
        Nuclei(1.1, 0.50, 0.42, 1.0, (3, 4), 0.55, 1.08),
        Texture(10, 150, 10, 0.19, 0.34, 5.8),
    ),
    _look(
        "glacier",
        "test",
        Stain(
            (0.67, 0.69, 0.24), (0.04, 0.90, 0.44), (0.38, 0.57, 0.73), (0.08, 0.80, 0.60), (247, 247, 248), 1.05, 0.95
        ),
        Nuclei(2.2, 0.40, 0.25, 0.6, (2, 6), 0.7, 0.97),
        Texture(15, 80, 15, 0.08, 0.18, 4.6),
    ),
    _look(
        "heath",
        "test",
        Stain(
            (0.66, 0.58, 0.42), (0.17, 0.96, 0.32), (0.44, 0.56, 0.70), (0.19, 0.84, 0.55), (242, 243, 241), 1.06, 1.05
        ),
        Nuclei(1.45, 0.62, 0.15, 0.75, (4, 5), 0.4, 1.03),
        Texture(8, 110, 24, 0.12, 0.42, 7),
    ),
)


def look_names() -> tuple[str, ...]:
    """Names of all looks.

    Those for training first.
    """
    return tuple(look.name for look in LOOKS)


def find_look(name: str) -> Look:
    """Give a look by its name."""
    return next(look for look in LOOKS if look.name == name)


def family_looks(family: Literal["train", "test"]) -> tuple[Look, ...]:
    """Give the looks of a family.

    In their order.
    """
    return tuple(look for look in LOOKS if look.family == family)
