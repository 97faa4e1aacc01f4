"""Detection of tiles that differ from the training tiles of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.metrics.out_of_distribution import MIN_TRAINING_CASES, MahalanobisDetector
from napari_melanoma.models.bundle import BundleInfo, read_reference
from napari_melanoma.models.inference import InferenceNetwork, load_inference, normalize_images
from napari_melanoma.models.torch_inference import is_out_of_memory
from napari_melanoma.slides.tile_models import out_of_memory_error

TILES_PER_PASS = 32


class TileNoveltyDetector:
    """Detects tiles that are out of distribution by their distance from the training tiles of a bundle."""

    def __init__(self, info: BundleInfo, network: InferenceNetwork, detector: MahalanobisDetector) -> None:
        assert info.config.novelty_threshold is not None
        self.limit = info.config.novelty_threshold
        self._info = info
        self._network = network
        self._detector = detector

    @classmethod
    def from_bundle(cls, info: BundleInfo, device: str | None = None) -> Self | None:
        """Read the textures of training tiles that a bundle stores; None if there are none, or too few."""
        reference = read_reference(info) if info.config.novelty_threshold is not None else None
        if reference is None or reference.textures is None or len(reference.textures) < MIN_TRAINING_CASES:
            return None
        network = load_inference(info, device)
        if "textures" not in network.functions:
            raise BundleError(
                f"'{info.name}' stores textures, but its network has no encoder. Copy or download it again."
            )
        return cls(info, network, MahalanobisDetector.fit(reference.textures))

    def distances(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the distances of tiles from the training tiles.

        ``tiles``: each uint8 (row, column, channel), at the scale of the bundle. Returns float64 (tile,); tiles above
        ``limit`` are out of distribution.
        """
        starts = range(0, len(tiles), TILES_PER_PASS)
        textures = [self._textures(tiles[first : first + TILES_PER_PASS]) for first in starts]
        return self._detector.distance(np.concatenate(textures)) if textures else np.zeros(0)

    def _textures(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the textures of some tiles, float32 (tile, feature); in halves if memory runs out."""
        config = self._info.config
        inputs = [prepare_network_input(tile, config.input_size, config.preprocessing) for tile in tiles]
        try:
            return self._network.run("textures", image=normalize_images(inputs, config))["textures"]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(tiles) == 1:
                raise out_of_memory_error(self._info.name, self._network.device) from error
        half = (len(tiles) + 1) // 2  # outside the handler, where the failed call has released its memory
        return np.concatenate([self._textures(tiles[:half]), self._textures(tiles[half:])])

    def is_out_of_distribution(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which tiles are out of distribution, bool (tile,).

        On slides similar to the training slides, this is about one tile in a hundred; a larger share indicates a
        different type of slide.
        """
        return self.distances(tiles) > self.limit
