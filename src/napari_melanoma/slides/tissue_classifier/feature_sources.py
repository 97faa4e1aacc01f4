"""Sources of features of cells: what computes them from the pixels of a block."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CELL_UM, MARGIN_CELLS, margin_px

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TEXTURE = "texture"
JOIN = "+"
CONTEXTS = (1, 3, 7)  # sides of the squares of cells over which features are averaged
GEOMETRY = f"cells of {CELL_UM} um, blocks of {BLOCK_CELLS} + 2 x {MARGIN_CELLS}, contexts of {CONTEXTS}"


class FeatureSource(Protocol):
    """Computes features of cells.

    ``name``: for ``open_feature_source``. ``fingerprint``: hash of everything that determines the features.
    ``length``: number of features of a cell. ``licence``: that of the weights. ``mpp``: micrometers per pixel of the
    blocks.
    """

    @property
    def name(self) -> str:
        """See the class."""

    @property
    def fingerprint(self) -> str:
        """See the class."""

    @property
    def length(self) -> int:
        """See the class."""

    @property
    def licence(self) -> str:
        """See the class."""

    @property
    def mpp(self) -> float:
        """See the class."""

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Compute the features of the cells of blocks.

        ``blocks``: uint8 (block, row, column, channel=3), of side ``block_px(mpp)``, with their margins. Returns
        float16 (block, cell row, cell column, feature) without the margins; a block's features do not depend on the
        others.
        """


def open_feature_source(name: str, weights: Path | None = None) -> FeatureSource:
    """Open a source of features by its name.

    ``name``: ``texture`` (hand-made color and texture), or several names joined by ``+``. ``weights``: file with the
    weights of a published encoder.
    """
    parts = name.split(JOIN)
    if len(parts) > 1:
        return JoinedFeatures([open_feature_source(part, weights) for part in parts])
    if name == TEXTURE:
        return TextureFeatures()
    raise ConfigError(f"there are no features named '{name}', expected '{TEXTURE}'.")


class TextureFeatures:
    """Hand-made color and texture, see ``texture``."""

    name, licence, mpp = TEXTURE, "BSD-3-Clause", 1.0
    fingerprint = hashlib.sha256(f"texture 1, {GEOMETRY}".encode()).hexdigest()

    @property
    def length(self) -> int:
        """See ``FeatureSource``."""
        from napari_melanoma.slides.tissue_classifier.texture import LENGTH

        return LENGTH * len(CONTEXTS)

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        from napari_melanoma.slides.tissue_classifier.texture import measure_texture

        cell_px = margin_px(self.mpp) // MARGIN_CELLS
        return np.stack([add_context(measure_texture(block, cell_px)) for block in blocks])


class JoinedFeatures:
    """The features of several sources of the same scale, one after the other."""

    def __init__(self, sources: Sequence[FeatureSource]) -> None:
        self._sources = sources
        self.name = JOIN.join(source.name for source in sources)
        self.licence = ", ".join(dict.fromkeys(source.licence for source in sources))
        self.fingerprint = hashlib.sha256(" ".join(source.fingerprint for source in sources).encode()).hexdigest()
        self.length = sum(source.length for source in sources)
        self.mpp = sources[0].mpp
        if any(source.mpp != self.mpp for source in sources):
            scales = ", ".join(f"{source.name}: {source.mpp:g}" for source in sources)
            raise ConfigError(f"features of different scales cannot be joined ({scales} um per pixel). Choose one.")

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        return np.concatenate([source.compute(blocks) for source in self._sources], axis=-1)


def add_context(features: NDArray[np.float32]) -> NDArray[np.float16]:
    """Append the means over the neighborhoods of each cell, and leave out the margin.

    ``features``: float32 (cell row, cell column, feature), of a block with its margin. Returns float16 (cell row, cell
    column, feature x contexts) of the block.
    """
    sums = np.pad(features.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    means = []
    for side in CONTEXTS:
        first = MARGIN_CELLS - side // 2
        low, high = slice(first, first + BLOCK_CELLS), slice(first + side, first + side + BLOCK_CELLS)
        total = sums[high, high] - sums[low, high] - sums[high, low] + sums[low, low]
        means.append(total / side**2)
    return np.concatenate(means, axis=-1).astype(np.float16)
