"""The random numbers and partners of each image of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.training.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_melanoma.training.recipe import AugmentationConfig

# A new name goes to the end: the earlier ones then keep their numbers.
NAMES = (
    *("angle", "flip", "zoom", "stretch", "shift_x", "shift_y", "elsewhere"),
    *("brightness", "contrast", "saturation", "hue"),
    *("coarse", "coarseness", "blur", "sigma", "sharpen", "noise", "deviation", "jpeg", "quality"),
    *("mosaic", "corner", "split_x", "split_y", "neighbour_1", "neighbour_2", "neighbour_3"),
    *("cutmix", "patch_x", "patch_y", "patch_width", "patch_height", "donor"),
    *("hair", "bubbles"),
    *("vignette", "stop_x", "stop_y", "stop", "softness", "darkness"),
    *("cutout", "cover_x", "cover_y", "cover_side"),
)


@dataclass(frozen=True)
class BatchRandomNumbers:
    """What chance has in store for the images of a batch, kept where the processor can read it without waiting.

    ``numbers``: float64 (image, name) in [0, 1), a column for each of ``NAMES``.
    """

    seeds: tuple[int, ...]
    numbers: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.seeds)

    def uniform(self, name: str, low: float, high: float) -> NDArray[np.float64]:
        """Give each image's number, stretched to a range.

        Returns float64 (image,).
        """
        return low + (high - low) * self.numbers[:, NAMES.index(name)]

    def select(self, name: str, probability: float) -> NDArray[np.int64]:
        """Say which images something happens to.

        Returns int64, their places in the batch, ascending.
        """
        return np.flatnonzero(self.uniform(name, 0, 1) < probability)

    def subset(self, places: NDArray[np.int64]) -> BatchRandomNumbers:
        """Keep some images of the batch.

        ``places``: int64, their places. In the order of the places.
        """
        return BatchRandomNumbers(tuple(self.seeds[place] for place in places), self.numbers[places])


def draw_random_numbers(seed: int, keys: Iterable[tuple[int, int]]) -> BatchRandomNumbers:
    """Draw the numbers of a batch.

    In the order of the keys.
    """
    seeds = tuple(derive_seed(seed, int(epoch), int(image)) for epoch, image in keys)
    numbers = np.array([np.random.default_rng(each).random(len(NAMES)) for each in seeds])
    return BatchRandomNumbers(seeds, numbers.reshape(len(seeds), len(NAMES)))


NEIGHBORS = ("neighbour_1", "neighbour_2", "neighbour_3")
DONORS = ("donor",)


class MixingTargets:
    """Which images of a batch take something from partners; mosaics have three each, and come first."""

    def __init__(self, config: AugmentationConfig, chance: BatchRandomNumbers) -> None:
        self.mosaic = chance.select("mosaic", config.mosaic_probability)
        self.cutmix = chance.select("cutmix", config.cutmix_probability)

    @property
    def partner_count(self) -> int:
        """How many partners they need together."""
        return len(NEIGHBORS) * len(self.mosaic) + len(self.cutmix)


class PartnerSampler:
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

    def sample(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Choose the partners of a batch.

        ``keys``: int64 (batch, 2): epoch and key of each image. Returns int64 (partner,), places of images: three for
        each mosaic, then one for each patch.
        """
        chance = draw_random_numbers(self._seed, keys)
        takers = MixingTargets(self._config, chance)
        places = keys[:, 1] % (self._learn + self._base)
        neighbours = self._draw_others(places[takers.mosaic], chance.subset(takers.mosaic), NEIGHBORS)
        donors = self._draw_others(places[takers.cutmix], chance.subset(takers.cutmix), DONORS)
        return np.concatenate([neighbours, donors])

    def _draw_others(
        self, places: NDArray[np.int64], chance: BatchRandomNumbers, names: tuple[str, ...]
    ) -> NDArray[np.int64]:
        """Draw as many other images of the same part for each place as there are names, one of each share of them."""
        is_base = places >= self._learn
        first, count = np.where(is_base, self._learn, 0), np.where(is_base, self._base, self._learn)
        shares = np.stack([(turn + chance.uniform(name, 0, 1)) / len(names) for turn, name in enumerate(names)], axis=1)
        further = 1 + np.floor(shares * np.maximum(count - 1, 1)[:, None]).astype(np.int64)
        return (first[:, None] + ((places - first)[:, None] + further) % count[:, None]).ravel()


def is_mixing(config: AugmentationConfig) -> bool:
    """Say whether images are mixed at all.

    False where the loader need not read partners.
    """
    return config.mosaic_probability > 0 or config.cutmix_probability > 0
