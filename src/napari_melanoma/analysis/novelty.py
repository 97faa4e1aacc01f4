"""How unlike a picture is to those that a model was trained on, and which of them are most like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NEIGHBOURS = 10
AT_ONCE = 2**22  # numbers of the table of likenesses that are held at a time
SMALL = 1e-12


class Nearest(NamedTuple):
    """The training cases that are most like each image, nearest first: int64 and float64 (image, neighbour)."""

    places: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclass(frozen=True)
class Novelty:
    """Embeddings of training cases, of unit length, float32 (case, feature), and how many neighbours are asked.

    The distance of an image is that to its k-th nearest training case (Sun et al. 2022, Out-of-distribution detection
    with deep nearest neighbors, arXiv:2204.06507): it supposes no distribution, and the neighbours are what a person
    can be shown.
    """

    embeddings: NDArray[np.float32]
    neighbours: int = NEIGHBOURS

    @classmethod
    def fit(cls, embeddings: ArrayLike, neighbours: int = NEIGHBOURS) -> Self:
        """Keep the embeddings of training cases.

        Parameters
        ----------
        embeddings : array_like
            Float (case, feature).
        neighbours : int
            The distance is that to so manieth neighbour; to the farthest where there are fewer cases.

        Returns
        -------
        Novelty
            To be asked for distances.

        Raises
        ------
        ValueError
            Where there is no case.
        """
        unit = _unit(embeddings)
        if not len(unit):
            raise ValueError("how unlike a picture is needs at least one training case; found none.")
        return cls(unit, neighbours)

    def distance(self, embeddings: ArrayLike) -> NDArray[np.float64]:
        """Say how far images are from the training cases.

        Parameters
        ----------
        embeddings : array_like
            Float (image, feature), of images that are not among the training cases.

        Returns
        -------
        numpy.ndarray
            float64 (image,): distance of unit vectors, in [0, 2].
        """
        return self.nearest(embeddings, self.neighbours).distances[:, -1]

    def nearest(self, embeddings: ArrayLike, count: int) -> Nearest:
        """Find the training cases that are most like each image.

        Parameters
        ----------
        embeddings : array_like
            Float (image, feature).
        count : int
            How many; all where there are fewer.

        Returns
        -------
        Nearest
            Places in ``embeddings`` and distances of unit vectors, nearest first.
        """
        asked, number = _unit(embeddings), min(count, len(self.embeddings))
        step = max(1, AT_ONCE // len(self.embeddings))
        found = [self._nearest(asked[first : first + step], number) for first in range(0, len(asked), step)]
        if not found:
            return Nearest(np.zeros((0, number), np.int64), np.zeros((0, number)))
        return Nearest(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _nearest(self, asked: NDArray[np.float32], number: int) -> Nearest:
        """Do it for some images."""
        likeness = asked @ self.embeddings.T
        places = np.argpartition(-likeness, number - 1, axis=1)[:, :number]
        near = np.take_along_axis(likeness, places, axis=1)
        order = np.argsort(-near, axis=1, kind="stable")
        squares = 2.0 - 2.0 * np.take_along_axis(near, order, axis=1).astype(np.float64)
        return Nearest(np.take_along_axis(places, order, axis=1), np.sqrt(np.maximum(squares, 0.0)))


def threshold(distances: ArrayLike, share: float = 0.99) -> float:
    """Find the distance from which a picture counts as unlike the training cases.

    Parameters
    ----------
    distances : array_like
        Float (case,), of cases of calibration: like the training cases, and not among them.
    share : float
        Of such pictures that shall not be called unlike.

    Returns
    -------
    float
        Their quantile; above 0.

    Raises
    ------
    ValueError
        Where there is no case.
    """
    values = np.asarray(distances, np.float64)
    if not len(values):
        raise ValueError("a limit of distances needs at least one case of calibration; found none.")
    return max(float(np.quantile(values, share, method="higher")), SMALL)


def _unit(embeddings: ArrayLike) -> NDArray[np.float32]:
    """Embeddings of length 1, float32 (image, feature)."""
    given = np.asarray(embeddings, np.float32)
    return given / np.maximum(np.linalg.norm(given, axis=1, keepdims=True), SMALL)
