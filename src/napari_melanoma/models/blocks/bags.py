"""Networks that make one answer of many tiles: attention, gated or plain, or the mean; imports torch.

A bag goes through in pieces of any size, and the answer is the same: the sums under a softmax are kept relative to the
greatest score so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from napari_melanoma.models.blocks.options import AttentionMilConfig


class PooledBag(NamedTuple):
    """What a network makes of a bag.

    ``logits`` is float32 (class,), ``embedding`` float32 (head * hidden,) the bag itself, ``weights`` float32 (tile,)
    the mean over the heads of what each tile had in it, adding up to 1, without a gradient.
    """

    logits: Tensor
    embedding: Tensor
    weights: Tensor


class GatedAttention(nn.Module):
    """Attention scores of Ilse et al. 2018: ``w (tanh(V h) * sigmoid(U h))``, equation 9; without U equation 8."""

    def __init__(self, features: int, hidden: int, heads: int, gated: bool) -> None:
        super().__init__()
        self.content = nn.Linear(features, hidden)
        self.gate = nn.Linear(features, hidden) if gated else None
        self.score = nn.Linear(hidden, heads, bias=False)  # a softmax does not know what all scores share

    def forward(self, tiles: Tensor) -> Tensor:
        """Give scores, (tile, head), of tiles (tile, feature)."""
        said = torch.tanh(self.content(tiles))
        return self.score(said if self.gate is None else said * torch.sigmoid(self.gate(tiles)))


class BagNetwork(nn.Module):
    """Tiles to a common space, a weighted mean of them for each head, a linear layer."""

    def __init__(self, config: AttentionMilConfig) -> None:
        super().__init__()
        self.heads = 1 if config.pooling == "mean" else config.heads
        self.project = nn.Sequential(
            nn.LayerNorm(config.features) if config.normalise else nn.Identity(),
            nn.Linear(config.features, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )
        gated = config.pooling == "gated"
        self.attention = (
            None if config.pooling == "mean" else GatedAttention(config.hidden, config.attention, self.heads, gated)
        )
        self.head = nn.Linear(self.heads * config.hidden, config.classes)

    def forward(self, tiles: Tensor) -> Tensor:
        """Give logits, float (class,), of a bag, float (tile, feature)."""
        return self.pool_chunks([tiles]).logits

    def pool_chunks(self, chunks: Iterable[Tensor]) -> PooledBag:
        """Go through a bag piece by piece.

        ``pieces``: float (tile, feature), of one tile at least; where they lie does not matter.
        """
        scores: list[Tensor] = []
        device = self.head.weight.device
        greatest = torch.full((self.heads,), -torch.inf, device=device)
        total, pooled = torch.zeros(self.heads, device=device), torch.zeros((), device=device)
        for piece in chunks:
            tiles = self.project(piece.to(device)).float()
            score = self._scores(tiles)
            scores.append(score.detach())
            risen = torch.maximum(greatest, score.detach().amax(dim=0))
            kept, shares = (greatest - risen).exp(), (score - risen).exp()
            total = total * kept + shares.sum(dim=0)
            pooled = pooled * kept[:, None] + shares.T @ tiles
            greatest = risen
        if not scores:
            raise ValueError("a bag has at least one tile; found none.")
        embedding = (pooled / total[:, None]).flatten()
        weights = torch.cat(scores).softmax(dim=0).mean(dim=1)
        return PooledBag(self.head(embedding).float(), embedding, weights)

    def _scores(self, tiles: Tensor) -> Tensor:
        """Scores, float32 (tile, head); all alike where the mean is taken."""
        if self.attention is None:
            return tiles.new_zeros((len(tiles), 1))
        return self.attention(tiles).float()
