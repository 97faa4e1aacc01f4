"""Reproducible random numbers of a run: seeds, the numbers that augment an image, and the partners for mixing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_melanoma.training.augmentation_config import AugmentationConfig


def derive_seed(*numbers: int) -> int:
    """Combine numbers into one seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


# Names of the random numbers of an image. Append new names at the end, so that the other numbers stay the same.
NAMES = (
    *("angle", "flip", "zoom", "stretch", "shift_x", "shift_y", "elsewhere"),
    *("brightness", "contrast", "saturation", "hue"),
    *("coarse", "coarseness", "blur", "sigma", "sharpen", "noise", "deviation", "jpeg", "quality"),
    *("mosaic", "corner", "split_x", "split_y", "neighbour_1", "neighbour_2", "neighbour_3"),
    *("cutmix", "patch_x", "patch_y", "patch_width", "patch_height", "donor"),
    *("hair", "bubbles"),
    *("vignette", "stop_x", "stop_y", "stop", "softness", "darkness"),
    *("cutout", "cover_x", "cover_y", "cover_side"),
    "vertical_flip",
)


@dataclass(frozen=True)
class BatchRandomNumbers:
    """The random numbers of a batch, in main memory so that reading them does not synchronize with a GPU.

    ``seeds``: a seed for each image. ``numbers``: float64 (image, name) in [0, 1), a column for each of ``NAMES``.
    """

    seeds: tuple[int, ...]
    numbers: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.seeds)

    def uniform(self, name: str, low: float, high: float) -> NDArray[np.float64]:
        """Return each image's number scaled to a range, float64 (image,)."""
        return low + (high - low) * self.numbers[:, NAMES.index(name)]

    def select(self, name: str, probability: float) -> NDArray[np.int64]:
        """Return the indices of the images whose number is below a probability, int64, ascending."""
        return np.flatnonzero(self.uniform(name, 0, 1) < probability)

    def subset(self, indices: NDArray[np.int64]) -> BatchRandomNumbers:
        """Return the numbers of some images, in the order of their indices in the batch, int64 (image,)."""
        return BatchRandomNumbers(tuple(self.seeds[index] for index in indices), self.numbers[indices])


def draw_random_numbers(seed: int, keys: Iterable[tuple[int, int]]) -> BatchRandomNumbers:
    """Draw the random numbers of a batch; those of an image depend on the seed and its key (epoch, image) only."""
    seeds = tuple(derive_seed(seed, int(epoch), int(image)) for epoch, image in keys)
    numbers = np.array([np.random.default_rng(image_seed).random(len(NAMES)) for image_seed in seeds])
    return BatchRandomNumbers(seeds, numbers.reshape(len(seeds), len(NAMES)))


NEIGHBORS = ("neighbour_1", "neighbour_2", "neighbour_3")
DONORS = ("donor",)


class MixingTargets:
    """The images of a batch that become mosaics, with three partners each, or receive a patch of one partner.

    ``mosaic``, ``cutmix``: int64, indices in the batch, ascending.
    """

    def __init__(self, config: AugmentationConfig, rng: BatchRandomNumbers) -> None:
        self.mosaic = rng.select("mosaic", config.mosaic_probability)
        self.cutmix = rng.select("cutmix", config.cutmix_probability)

    @property
    def partner_count(self) -> int:
        return len(NEIGHBORS) * len(self.mosaic) + len(self.cutmix)


class PartnerSampler:
    """Chooses the partners of the images of a batch.

    Training images have training images as partners, replay images have replay images, so that the shares of a step
    do not change; an image is its own partner only if there is no other, and a mosaic shows four different images if
    possible.
    """

    def __init__(self, config: AugmentationConfig, seed: int, train: int, replay: int = 0) -> None:
        self._config = config
        self._seed = seed
        self._train = train
        self._replay = replay

    def __bool__(self) -> bool:
        """Whether any image can need a partner."""
        return is_mixing(self._config)

    def sample(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Choose the partners of a batch.

        ``keys``: int64 (batch, 2): epoch and key of each image. Returns int64 (partner,), image indices: three for each
        mosaic, then one for each patch.
        """
        rng = draw_random_numbers(self._seed, keys)
        targets = MixingTargets(self._config, rng)
        indices = keys[:, 1] % (self._train + self._replay)
        neighbors = self._draw_others(indices[targets.mosaic], rng.subset(targets.mosaic), NEIGHBORS)
        donors = self._draw_others(indices[targets.cutmix], rng.subset(targets.cutmix), DONORS)
        return np.concatenate([neighbors, donors])

    def _draw_others(
        self, indices: NDArray[np.int64], rng: BatchRandomNumbers, names: tuple[str, ...]
    ) -> NDArray[np.int64]:
        """Draw other images of the same data (training or replay) for each index, one per name.

        The other images are divided into as many ranges as there are names, and each name draws from its own range,
        so that the images differ. Returns int64 (index * name,).
        """
        is_replay = indices >= self._train
        first, count = np.where(is_replay, self._train, 0), np.where(is_replay, self._replay, self._train)
        shares = np.stack(
            [(number + rng.uniform(name, 0, 1)) / len(names) for number, name in enumerate(names)], axis=1
        )
        offset = 1 + np.floor(shares * np.maximum(count - 1, 1)[:, None]).astype(np.int64)
        return (first[:, None] + ((indices - first)[:, None] + offset) % count[:, None]).ravel()


def is_mixing(config: AugmentationConfig) -> bool:
    """Whether mosaics or CutMix are enabled, so that the loader has to read partners."""
    return config.mosaic_probability > 0 or config.cutmix_probability > 0
