"""From the embeddings of a slide's tiles to one answer, with the weight that each tile had in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

import numpy as np

from napari_melanoma.analysis.novelty import Novelty
from napari_melanoma.analysis.slide_scores import SlideScore
from napari_melanoma.core.errors import BundleError
from napari_melanoma.inference.judging import Judge
from napari_melanoma.models.bundle import BundleInfo, load_network
from napari_melanoma.models.precision import best_device

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.core.encoder import EncoderConfig
    from napari_melanoma.models.blocks.bags import BagNetwork

PIECE = 8192  # tiles that are looked at together


@dataclass(frozen=True)
class BagAnswer:
    """What is said of a slide.

    ``probability``: float64 (class,), calibrated. ``logits``: float32 (class,), before that. ``embedding``: float32
    (feature,) of the slide as a whole. ``weights``: float32 (tile,), in the order of the tiles, adding up to 1.
    """

    probability: NDArray[np.float64]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    weights: NDArray[np.float32]


class BagModel:
    """A bundle's network over bags of embeddings; also an ``analysis.slide_scores.Aggregation``."""

    def __init__(self, info: BundleInfo, network: BagNetwork, device: str = "cpu") -> None:
        self.info = info
        self.device = device
        self.judge = Judge.of(info)
        self._network = network.to(device)

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None) -> Self:
        """Load a bundle's weights."""
        if info.config.encoder is None:
            raise BundleError(
                f"'{info.name}' does not answer from the embeddings of tiles, expected a model that does."
            )
        return cls(info, cast("BagNetwork", load_network(info)), device or best_device())

    @property
    def encoder(self) -> EncoderConfig:
        """What makes the embeddings."""
        assert self.info.config.encoder is not None
        return self.info.config.encoder

    def answer(self, pieces: Iterable[NDArray[np.floating]]) -> BagAnswer:
        """Look at all tiles of a slide.

        ``pieces``: float (tile, feature) of the bundle's encoder, of one tile at least. Returns the same, but for
        rounding, in whatever order and pieces the tiles come.
        """
        import torch

        with torch.inference_mode():
            found = self._network.over(_tensors(pieces))
        logits = found.logits.cpu().numpy()
        probability = self.judge.probabilities(logits[None])[0]
        return BagAnswer(probability, logits, found.embedding.cpu().numpy(), found.weights.cpu().numpy())

    def __call__(self, tiles: NDArray[np.floating], shares: NDArray[np.floating]) -> SlideScore:
        """Aggregate embeddings, float (tile, feature); ``shares`` of tissue have no say: the network learnt without."""
        del shares
        found = self.answer(tiles[first : first + PIECE] for first in range(0, len(tiles), PIECE))
        return SlideScore(found.probability, found.weights.astype(np.float64))

    def is_unlike(self, answer: BagAnswer) -> bool:
        """Say whether a slide is unlike those that the model learnt from.

        False where the bundle does not remember what these were like.
        """
        config, reference = self.judge.config, self.judge.reference
        if config.unlike is None or reference is None:
            return False
        return bool(Novelty.fit(reference.embeddings).distance(answer.embedding[None])[0] > config.unlike)


def _tensors(pieces: Iterable[NDArray[np.floating]]) -> Iterator[Tensor]:
    """Give arrays as float32 tensors."""
    import torch

    for piece in pieces:
        yield torch.from_numpy(np.ascontiguousarray(piece, np.float32))
