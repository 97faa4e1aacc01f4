"""Which images lend a part of themselves to which: it follows from the key of the image that takes, as all variation.

The loader reads the partners of a batch behind its images, in the order that is said here; the mixing on the network's
device draws the same numbers again and so knows whose they are. Nothing depends on what else is in the batch, on the
process or on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.training.augment.chances import Chances, chances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.training.recipe import AugmentationConfig

NEIGHBOURS = ("neighbour_1", "neighbour_2", "neighbour_3")
DONORS = ("donor",)


class Takers:
    """Which images of a batch take something from partners; mosaics have three each, and come first."""

    def __init__(self, config: AugmentationConfig, chance: Chances) -> None:
        self.mosaic = chance.chosen("mosaic", config.mosaic_probability)
        self.cutmix = chance.chosen("cutmix", config.cutmix_probability)

    @property
    def partners(self) -> int:
        """How many partners they need together."""
        return len(NEIGHBOURS) * len(self.mosaic) + len(self.cutmix)


class Partners:
    """Chooses the images that lend a part to those of a batch.

    An image that is learnt from takes from those that are learnt from, one of the base data from the base data, so that
    the shares of a step stay what they are; never from itself where there is another, and a mosaic shows four images
    where there are four.
    """

    def __init__(self, config: AugmentationConfig, seed: int, learn: int, base: int = 0) -> None:
        self._config = config
        self._seed = seed
        self._learn = learn
        self._base = base

    def __bool__(self) -> bool:
        """Whether any image can need a partner."""
        return is_mixing(self._config)

    def of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Choose the partners of a batch.

        ``keys``: int64 (batch, 2): epoch and key of each image. Returns int64 (partner,), places of images: three for
        each mosaic, then one for each patch.
        """
        chance = chances(self._seed, keys)
        takers = Takers(self._config, chance)
        places = keys[:, 1] % (self._learn + self._base)
        neighbours = self._others(places[takers.mosaic], chance.of(takers.mosaic), NEIGHBOURS)
        donors = self._others(places[takers.cutmix], chance.of(takers.cutmix), DONORS)
        return np.concatenate([neighbours, donors])

    def _others(self, places: NDArray[np.int64], chance: Chances, names: tuple[str, ...]) -> NDArray[np.int64]:
        """Draw as many other images of the same part for each place as there are names, one of each share of them."""
        is_base = places >= self._learn
        first, count = np.where(is_base, self._learn, 0), np.where(is_base, self._base, self._learn)
        shares = np.stack([(turn + chance.between(name, 0, 1)) / len(names) for turn, name in enumerate(names)], axis=1)
        further = 1 + np.floor(shares * np.maximum(count - 1, 1)[:, None]).astype(np.int64)
        return (first[:, None] + ((places - first)[:, None] + further) % count[:, None]).ravel()


def is_mixing(config: AugmentationConfig) -> bool:
    """Say whether images are mixed at all.

    False where the loader need not read partners.
    """
    return config.mosaic_probability > 0 or config.cutmix_probability > 0
