"""Which tiles are unlike those that a model of slides learnt from, by how its own encoder sees their texture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_melanoma.analysis.novelty import FEWEST, Novelty
from napari_melanoma.analysis.preprocessing import network_input
from napari_melanoma.core.errors import BundleError
from napari_melanoma.inference.tiles import memory_full
from napari_melanoma.models.bundle import load_network
from napari_melanoma.models.memory import is_out_of_memory
from napari_melanoma.models.precision import best_device
from napari_melanoma.models.preprocessing import to_tensor
from napari_melanoma.models.reference import read_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from napari_melanoma.models.bundle import BundleInfo

AT_ONCE = 32


class Familiar:
    """What the training tiles of a bundle look like to it, and from which distance on a tile is unlike them."""

    def __init__(self, info: BundleInfo, encoder: nn.Module, novelty: Novelty, device: str = "cpu") -> None:
        assert info.config.unlike is not None
        self.limit = info.config.unlike
        self._name = info.name
        self._config = info.config
        self._encoder = encoder
        self._novelty = novelty
        self._device = device

    @classmethod
    def of(cls, info: BundleInfo, device: str | None = None) -> Self | None:
        """Read what a bundle remembers of its training, whatever its task.

        None where the bundle remembers no textures, or too few.
        """
        from napari_melanoma.models.zoo import encoder_of

        reference = read_reference(info) if info.config.unlike is not None else None
        if reference is None or reference.textures is None or len(reference.textures) < FEWEST:
            return None
        encoder = encoder_of(load_network(info))
        if encoder is None:
            raise BundleError(f"'{info.name}' remembers textures, and its network has no encoder. Get it again.")
        device = device or best_device()
        return cls(info, encoder.to(device), Novelty.fit(reference.textures), device)

    def distances(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float64]:
        """Say how far tiles lie from what was learnt from.

        ``tiles``: each uint8 (row, column, channel), at the scale that the bundle states. Returns float64 (tile,), to
        be compared with ``limit``.
        """
        found = []
        for first in range(0, len(tiles), AT_ONCE):
            found.append(self._textures(tiles[first : first + AT_ONCE]))
        return self._novelty.distance(np.concatenate(found)) if found else np.zeros(0)

    def _textures(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Textures of a few tiles, float32 (tile, feature); in halves where memory runs out."""
        import torch

        from napari_melanoma.models.blocks.texture import texture

        config = self._config
        inputs = [network_input(tile, config.input_size, config.preprocessing) for tile in tiles]
        try:
            with torch.inference_mode():
                maps = self._encoder(to_tensor(inputs, config).to(self._device))
                return texture(maps, config.input_size).cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(tiles) == 1:
                raise memory_full(self._name, self._device) from error
        half = (len(tiles) + 1) // 2  # outside of the handler: what failed has let go of its memory
        return np.concatenate([self._textures(tiles[:half]), self._textures(tiles[half:])])

    def unlike(self, tiles: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Say which tiles are unlike what was learnt from.

        Returns bool (tile,). Of slides like those that were learnt from about one in a hundred; more than a few of a
        slide say that the model does not know slides of its kind.
        """
        return self.distances(tiles) > self.limit
