"""Features of a slide in the stains of other laboratories, so that a classifier relies less on its colors."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.imaging.stain import (
    BITS,
    LEVELS,
    RGBValues,
    StainFit,
    look_up_colors,
    optical_density,
    stain_basis,
    table_levels,
)
from napari_melanoma.imaging.stain import DEFAULT_FIT as REFERENCE
from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource

# Of the amounts of hematoxylin and eosin. Fitted by Macenko's method, they differ by factors of 3 and 7 between the
# slides of skin and other tissue at hand, which are darker than those that are painted.
LEAST_AMOUNT, GREATEST_AMOUNT = 0.67, 3.3
COLOR_SPREAD = 0.06  # standard deviation of the components of a stain's color, which is a vector of length 1
DARKEST_GLASS = 0.97  # of a channel, relative to the slide


def draw_stain(number: int) -> tuple[StainFit, tuple[float, float], RGBValues]:
    """Draw a stain by its number: the colors of both stains, the factors of their amounts, and the color of glass."""
    rng = np.random.default_rng((number, *b"stain"))
    assert REFERENCE.stains is not None
    moved = np.clip(np.array(REFERENCE.stains) + rng.normal(0, COLOR_SPREAD, (2, 3)), 0.01, None)
    colors = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    hematoxylin, eosin = np.exp(rng.uniform(np.log(LEAST_AMOUNT), np.log(GREATEST_AMOUNT), 2)).tolist()
    red, green, blue = (255 * rng.uniform(DARKEST_GLASS, 1, 3)).tolist()
    fit = StainFit.model_validate({"config": REFERENCE.config, "stains": colors.tolist()})
    return fit, (hematoxylin, eosin), (red, green, blue)


def color_table(number: int) -> NDArray[np.uint8]:
    """Return the colors of a drawn stain for those of a slide, uint8 (index, channel=3), for ``look_up_colors``."""
    fit, amounts, glass = draw_stain(number)
    change = np.linalg.inv(stain_basis(REFERENCE)) @ np.diag([*amounts, 1.0]) @ stain_basis(fit)
    levels = np.rint(np.linspace(0, 255, LEVELS)).astype(np.uint8)
    density = optical_density(levels[table_levels(np.arange(LEVELS**3))]) @ change.astype(np.float32)
    return np.rint(np.clip(np.array(glass, np.float32) * np.exp(-density), 0, 255)).astype(np.uint8)


class VariantFeatures:
    """The features of another source in the colors of a drawn stain; see ``FeatureSource``.

    ``number``: that of the stain, from 0.
    """

    def __init__(self, source: FeatureSource, number: int) -> None:
        self._source, self._table = source, color_table(number)
        self.name, self.licence, self.length, self.mpp = source.name, source.licence, source.length, source.mpp
        self.fingerprint = hashlib.sha256(source.fingerprint.encode() + self._table.tobytes()).hexdigest()

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        return self._source.compute(np.stack([look_up_colors(block, self._table, BITS) for block in blocks]))
