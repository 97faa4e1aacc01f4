"""Which images a step learns from: an order for each epoch that follows from seed and epoch alone, shared out by rank.

A resumed run and a run on several devices therefore go through the same steps as one that never stopped, on one device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import RunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.training.recipe import DataConfig

SHUFFLED, BALANCED, BASE, MIXED = range(4)  # what a seed is for


@dataclass(frozen=True)
class Shares:
    """How many images of a step come from where."""

    shuffled: int
    balanced: int = 0
    base: int = 0

    @property
    def learn(self) -> int:
        """How many come from what is learnt."""
        return self.shuffled + self.balanced

    @property
    def step(self) -> int:
        """How many there are in all."""
        return self.learn + self.base


def shares(data: DataConfig, batch_size: int, learn: int, base: int) -> Shares:
    """Share a step out.

    Of ``batch_size`` images, or of all there are to learn from where these are fewer and stand alone.
    """
    from_base = min(max(1, round(batch_size * data.base_share)), batch_size - 1) if base else 0
    rest = batch_size - from_base if base else min(batch_size, learn)
    balanced = {"shuffle": 0, "balanced": rest, "mixed": rest // 2}[data.sampling]
    return Shares(rest - balanced, balanced, from_base)


@dataclass(frozen=True)
class Rank:
    """Which of several processes this is, and in how many pieces each computes its share of a step."""

    rank: int = 0
    world_size: int = 1
    pieces: int = 1


ALONE = Rank()


class EpochSampler:
    """Batches of keys (epoch, image) for each epoch; images from ``len(classes)`` on are those of the base data.

    An image that is drawn again in an epoch gets another key, ``image + total``, ``image + 2 * total`` and so on, so
    that it is varied anew; ``key % total`` is the image.
    """

    def __init__(self, classes: Sequence[str], base: int, step: Shares, seed: int, rank: Rank = ALONE) -> None:
        self._classes = classes
        self._base = base
        self._step = step
        self._seed = seed
        self._rank = rank
        self._epoch = 0
        parts = rank.world_size * rank.pieces
        if step.step % parts:
            raise RunError(
                f"a step of {step.step} images cannot be shared out evenly over {rank.world_size} devices with "
                f"{rank.pieces} pieces each. Set batch_size to a multiple of {parts}."
            )

    @property
    def total(self) -> int:
        """How many images there are in all."""
        return len(self._classes) + self._base

    @property
    def steps(self) -> int:
        """Steps of an epoch: whole ones, at least one."""
        return max(1, len(self._classes) // self._step.learn)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self.steps * self._rank.pieces

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Go through one epoch: int64 (batch, 2)."""
        keys = self.keys(self._epoch)[:, self._rank.rank :: self._rank.world_size]
        for step in keys:
            yield from np.split(step, self._rank.pieces)

    def keys(self, epoch: int) -> NDArray[np.int64]:
        """Give the keys of a whole epoch, over all ranks.

        Returns int64 (step, image of the step, 2), each (epoch, key).
        """
        parts = [self._shuffled(epoch), self._balanced(epoch), self._from_base(epoch)]
        images = np.concatenate(parts, axis=1)
        images = self._draw(MIXED, epoch).permuted(images, axis=1)  # so that each rank sees a bit of everything
        images += self.total * _repetition(images.ravel()).reshape(images.shape)
        return np.stack([np.full_like(images, epoch), images], axis=-1)

    def _draw(self, purpose: int, turn: int) -> np.random.Generator:
        """Give the source of random numbers for a purpose at a turn."""
        return np.random.default_rng((self._seed, purpose, turn))

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """Images in an order of the epoch's own, (step, image); each once, or again where a step needs more."""
        count = self.steps * self._step.shuffled
        rounds = -(-count // len(self._classes))
        draw = self._draw(SHUFFLED, epoch)
        orders = [draw.permutation(len(self._classes)) for _ in range(rounds)]
        return np.concatenate([np.empty(0, np.int64), *orders])[:count].reshape(self.steps, -1)

    def _balanced(self, epoch: int) -> NDArray[np.int64]:
        """Images drawn with replacement so that each class is as likely, (step, image)."""
        size = (self.steps, self._step.balanced)
        if not self._step.balanced:
            return np.empty(size, np.int64)
        _, members, counts = np.unique(np.asarray(self._classes), return_inverse=True, return_counts=True)
        weights = 1 / counts[members]
        return self._draw(BALANCED, epoch).choice(len(weights), size, p=weights / weights.sum())

    def _from_base(self, epoch: int) -> NDArray[np.int64]:
        """Images of the base data, (step, image): on from where the epoch before ended, all before any again."""
        count = self.steps * self._step.base
        if not count:
            return np.empty((self.steps, 0), np.int64)
        places = np.arange(epoch * count, (epoch + 1) * count)
        rounds = places // self._base
        images = np.concatenate(
            [
                self._draw(BASE, int(turn)).permutation(self._base)[places[rounds == turn] % self._base]
                for turn in np.unique(rounds)
            ]
        )
        return (len(self._classes) + images).reshape(self.steps, -1)


def _repetition(images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each image how often it came before."""
    order = np.argsort(images, kind="stable")
    ordered = images[order]
    first = np.searchsorted(ordered, ordered)
    repetition = np.empty_like(images)
    repetition[order] = np.arange(len(images)) - first
    return repetition
