"""The random numbers of each image of a batch: they follow from seed, epoch and image, and from nothing else.

An image is therefore varied alike whichever batch or process it falls to, and a repeated epoch repeats it. Where it is
computed changes nothing but rounding, and the single grains of noise, which each kind of device draws in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.training.seeds import seed_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

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
class Chances:
    """What chance has in store for the images of a batch, kept where the processor can read it without waiting.

    ``numbers``: float64 (image, name) in [0, 1), a column for each of ``NAMES``.
    """

    seeds: tuple[int, ...]
    numbers: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.seeds)

    def between(self, name: str, low: float, high: float) -> NDArray[np.float64]:
        """Give each image's number, stretched to a range.

        Returns float64 (image,).
        """
        return low + (high - low) * self.numbers[:, NAMES.index(name)]

    def chosen(self, name: str, probability: float) -> NDArray[np.int64]:
        """Say which images something happens to.

        Returns int64, their places in the batch, ascending.
        """
        return np.flatnonzero(self.between(name, 0, 1) < probability)

    def of(self, places: NDArray[np.int64]) -> Chances:
        """Keep some images of the batch.

        ``places``: int64, their places. In the order of the places.
        """
        return Chances(tuple(self.seeds[place] for place in places), self.numbers[places])


def chances(seed: int, keys: Iterable[tuple[int, int]]) -> Chances:
    """Draw the numbers of a batch.

    In the order of the keys.
    """
    seeds = tuple(seed_of(seed, int(epoch), int(image)) for epoch, image in keys)
    numbers = np.array([np.random.default_rng(each).random(len(NAMES)) for each in seeds])
    return Chances(seeds, numbers.reshape(len(seeds), len(NAMES)))
