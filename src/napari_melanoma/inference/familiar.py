"""Which pictures are unlike those that a bundle learnt from, by how its own encoder sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_melanoma.analysis.novelty import FEWEST, Novelty
from napari_melanoma.inference.embedding import Embedder
from napari_melanoma.models.reference import read_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.models.bundle import BundleInfo

AT_ONCE = 32


class Familiar:
    """What the training images of a bundle look like to it, and from which distance on a picture is unlike them.

    Parameters
    ----------
    embedder : Embedder
        The bundle's encoder.
    novelty : Novelty
        Fitted on the embeddings that the bundle remembers.
    limit : float
        Above it a picture is unlike.
    """

    def __init__(self, embedder: Embedder, novelty: Novelty, limit: float) -> None:
        self._embedder = embedder
        self._novelty = novelty
        self.limit = limit

    @classmethod
    def of(cls, info: BundleInfo, device: str | None = None) -> Self | None:
        """Read what a bundle remembers of its training, whatever its task.

        Parameters
        ----------
        info : BundleInfo
            The bundle.
        device : str, optional
            Where its encoder shall run; the fastest that is there by default.

        Returns
        -------
        Familiar or None
            None where the bundle remembers nothing, or too little.

        Raises
        ------
        BundleError
            Where the weights or what it remembers are damaged.
        """
        config = info.config
        limit = config.classifier.unlike if config.classifier else config.unlike
        reference = read_reference(info) if limit is not None else None
        if limit is None or reference is None or len(reference.embeddings) < FEWEST:
            return None
        return cls(Embedder.load(info, device), Novelty.fit(reference.embeddings), limit)

    def distances(self, pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float64]:
        """Say how far pictures lie from what was learnt from.

        Parameters
        ----------
        pictures : sequence of numpy.ndarray
            Each uint8 (row, column, channel); tiles of slides at the scale that the bundle states.

        Returns
        -------
        numpy.ndarray
            float64 (picture,), to be compared with ``limit``.
        """
        if not len(pictures):
            return np.zeros(0)
        parts = [self._embedder.embed(list(pictures[at : at + AT_ONCE])) for at in range(0, len(pictures), AT_ONCE)]
        return self._novelty.distance(np.concatenate(parts))

    def unlike(self, pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Say which pictures are unlike what was learnt from.

        Parameters
        ----------
        pictures : sequence of numpy.ndarray
            As ``distances`` takes them.

        Returns
        -------
        numpy.ndarray
            Bool (picture,). Of images like those that were learnt from, about one in a hundred.
        """
        return self.distances(pictures) > self.limit
