"""Phantom slides for the calibration and test of thickness: any depth, with artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_melanoma.phantoms.slide.config import (
    LookFamily,
    SectionOptions,
    SlideArtifactOptions,
    SlideLesionOptions,
    SlidePhantomConfig,
)

SHALLOWEST_MM, DEEPEST_MM = 0.2, 6.0
EVENLY = 0.3  # share of the slides with uniformly distributed depth; log-uniform for the others
MPP = 1.0
BLOCK = 256  # slides are drawn in whole blocks


@dataclass(frozen=True)
class Spread:
    """Variation of the slides: ranges of stain strength and variation, shares of slides with a nevus or an ulcer.

    ``width_mm`` is the width of a slide with a thin melanoma, and the increase per mm of thickness.
    """

    strength: tuple[float, float] = (0.6, 1.35)
    variation: tuple[float, float] = (0.2, 1.0)
    naevus: float = 0.5
    ulcer: float = 0.3
    oblique_deg: float = 40.0
    without_melanoma: float = 0.0
    width_mm: tuple[float, float] = (2.6, 1.1)


def depth_config(family: LookFamily, seed: int, spread: Spread) -> SlidePhantomConfig:
    """Return the configuration of a slide: a melanoma of any depth in a section that contains it."""
    random = np.random.default_rng(seed)
    deep = drawn_depth(random)
    benign = int(random.random() < spread.naevus)
    none = random.random() < spread.without_melanoma
    height = 1.12 * (deep / 0.75 + 0.3) + max(0.6, 0.12 * deep)
    width = spread.width_mm[0] + spread.width_mm[1] * deep + 1.2 * benign
    return SlidePhantomConfig(
        seed=seed,
        family=family,
        size=(_blocks(max(height, 2.3)), _blocks(width)),
        mpp=MPP,
        stain_strength=float(random.uniform(*spread.strength)),
        stain_variation=float(random.uniform(*spread.variation)),
        lesions=SlideLesionOptions(
            malignant=0 if none else 1,
            benign=max(benign, int(none)),
            breslow_mm=None if none else round(deep, 4),
            ulceration=bool(random.random() < spread.ulcer),
        ),
        section=SectionOptions(oblique_deg=float(random.random() < 0.5) * random.uniform(0, spread.oblique_deg)),
        artefacts=SlideArtifactOptions(folds=int(random.integers(0, 3)), defocus=int(random.random() < 0.3)),
    )


def drawn_depth(random: np.random.Generator) -> float:
    """Draw a thickness: thin and thick ones are about equally frequent, very thick ones a little more frequent."""
    if random.random() < EVENLY:
        return float(random.uniform(SHALLOWEST_MM, DEEPEST_MM))
    return float(np.exp(random.uniform(np.log(SHALLOWEST_MM), np.log(DEEPEST_MM))))


def _blocks(side_mm: float) -> int:
    """Return a side in pixels."""
    return BLOCK * int(np.ceil(side_mm * 1000 / MPP / BLOCK))


def hard_parts(config: SlidePhantomConfig) -> dict[str, Any]:
    """Return what makes a slide difficult to read."""
    return {
        "oblique_deg": round(config.section.oblique_deg, 1),
        "folds": config.artefacts.folds,
        "defocus": config.artefacts.defocus,
        "stain_strength": round(config.stain_strength, 3),
        "stain_variation": round(config.stain_variation, 3),
        "naevus": config.lesions.benign,
    }
