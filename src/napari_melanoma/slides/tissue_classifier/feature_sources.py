"""Sources of features of cells: what computes them from the pixels of a block.

Of the stages and contexts that were compared (docs/explanation/measurements.md), the fifth stage of the shipped encoder
at 1 um per pixel, with the means over 3 x 3 and 7 x 7 cells, transferred best from one slide to another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.inference import load_inference, normalize_images
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.published_encoders import FOUNDATION_ENCODERS
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CELL_UM, MARGIN_CELLS, block_px, margin_px

IMAGENET, TEXTURE = "imagenet", "texture"
IMAGENET_BUNDLE = "imagenet-tiles"
SHIPPED_SOURCES = (IMAGENET, TEXTURE, f"{IMAGENET}+{TEXTURE}")  # need no file
JOIN = "+"
CONTEXTS = (1, 3, 7)  # sides of the squares of cells over which features are averaged
GEOMETRY = f"cells of {CELL_UM} um, blocks of {BLOCK_CELLS} + 2 x {MARGIN_CELLS}, contexts of {CONTEXTS}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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


def open_feature_source(name: str, weights: Path | None = None, device: str | None = None) -> FeatureSource:
    """Open a source of features by its name.

    ``name``: ``imagenet`` (the encoder that is shipped), ``texture`` (hand-made color and texture), a published encoder
    such as ``uni`` or ``timm:vit_small_patch14_dinov2``, or several names joined by ``+``. ``weights``: file with the
    weights of the published encoder. ``device``: where that runs; None to choose it.
    """
    parts = name.split(JOIN)
    if len(parts) > 1:
        return JoinedFeatures([open_feature_source(part, weights, device) for part in parts])
    if name == TEXTURE:
        return TextureFeatures()
    if name == IMAGENET:
        return ImagenetFeatures()
    from napari_melanoma.slides.tissue_classifier.published_features import PublishedFeatures, is_published

    if is_published(name):
        return PublishedFeatures(name, weights, device)
    raise ConfigError(
        f"there are no features named '{name}'. Expected {', '.join(SHIPPED_SOURCES)}, timm:NAME, or a published "
        f"encoder: {', '.join(FOUNDATION_ENCODERS)}."
    )


class ImagenetFeatures:
    """The features of the shipped encoder ``imagenet-tiles``.

    It runs in ONNX Runtime on the CPU, block by block, so that all programs compute the same bits.
    """

    name = IMAGENET

    def __init__(self) -> None:
        info = find_bundle(IMAGENET_BUNDLE)
        tile = info.config.tile
        assert tile is not None
        self.licence, self.mpp = info.config.licence, tile.mpp
        self.fingerprint = _hash(f"{info.fingerprint} {info.prediction_fingerprint()} {GEOMETRY}")
        self._config = info.config
        self._network = load_inference(info, "cpu")
        white = np.full((block_px(self.mpp), block_px(self.mpp), 3), 255, np.uint8)
        self.length = self._compute_block(white).shape[-1]  # the first pass, which also opens the graph

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        return np.stack([self._compute_block(block) for block in blocks])

    def _compute_block(self, block: NDArray[np.uint8]) -> NDArray[np.float16]:
        (features,) = self._network.run("features", image=normalize_images(block[None], self._config))["features"]
        return add_context(np.moveaxis(features, 0, -1))


class TextureFeatures:
    """Hand-made color and texture, see ``texture``."""

    name, licence, mpp = TEXTURE, "BSD-3-Clause", 1.0
    fingerprint = _hash(f"texture 1, {GEOMETRY}")

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
        self.fingerprint = _hash(" ".join(source.fingerprint for source in sources))
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
