"""Networks that classify bags of tile embeddings by attention or mean pooling; imports torch.

A bag can be processed in chunks of any size with the same result, because the sums of the softmax are kept relative to
the greatest score so far.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from napari_melanoma.models.blocks.classifier import TableInputs, make_layers
from napari_melanoma.models.blocks.options import AttentionMilConfig


class PooledBag(NamedTuple):
    """A pooled bag.

    ``embedding``: embedding of the bag, float32 (head * hidden,). ``weights``: attention weights of the tiles, averaged
    over the heads and adding up to 1, without gradient, float32 (tile,).
    """

    embedding: Tensor
    weights: Tensor


class GatedAttention(nn.Module):
    """Attention scores of Ilse et al. 2018: ``w (tanh(V h) * sigmoid(U h))``, equation 9; without U equation 8."""

    def __init__(self, features: int, hidden: int, heads: int, gated: bool) -> None:
        super().__init__()
        self.content = nn.Linear(features, hidden)
        self.gate = nn.Linear(features, hidden) if gated else None
        self.score = nn.Linear(hidden, heads, bias=False)  # a constant would cancel in the softmax

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the scores (tile, head) of tiles (tile, feature)."""
        content = torch.tanh(self.content(tiles))
        return self.score(content if self.gate is None else content * torch.sigmoid(self.gate(tiles)))


class TableBranch(nn.Module):
    """Layers for patient data, without batch normalization: a step has only a few slides."""

    def __init__(self, config: AttentionMilConfig) -> None:
        super().__init__()
        self.inputs = TableInputs(config.tabular, normalize=False)
        widths = (self.inputs.width, *config.tabular_layers)
        self.layers = nn.Sequential(*make_layers(widths, config.tabular_dropout, normalized=False))
        self.width = widths[-1]

    def forward(self, continuous: Tensor | None, categories: Tensor | None) -> Tensor:
        """Return vectors, float (bag, width), of rows of patient data."""
        vectors: Tensor = self.layers(self.inputs(continuous, categories))
        return vectors


class BagNetwork(nn.Module):
    """A projection of the tiles, a weighted mean for each head, and a linear classifier of it and of patient data."""

    def __init__(self, config: AttentionMilConfig) -> None:
        super().__init__()
        self.features = config.features
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
        self.embedding_width = self.heads * config.hidden
        self.tabular = config.tabular
        self.table = TableBranch(config) if config.tabular.width else None
        self.head = nn.Linear(self.embedding_width + (self.table.width if self.table else 0), config.classes)

    def forward(self, tiles: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Return logits, float (class,), of a bag, float (tile, feature), and its row of patient data."""
        return self.classify(self.pool_chunks([tiles]).embedding[None], continuous, categories)[0]

    def classify(
        self, embeddings: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None
    ) -> Tensor:
        """Classify pooled bags with patient data.

        ``embeddings``: float (bag, head * hidden). ``continuous``: float (bag, input); ``categories``: int64 (bag,
        embedding); both are not used by a network without tabular inputs. Returns logits, float32 (bag, class).
        """
        if self.table is not None:
            embeddings = torch.cat([embeddings, self.table(continuous, categories)], dim=1)
        logits: Tensor = self.head(embeddings)
        return logits.float()

    def pool_chunks(self, chunks: Iterable[Tensor]) -> PooledBag:
        """Pool a bag in chunks.

        ``chunks``: at least one, each float (tile, feature) with at least one tile, on any device.
        """
        scores: list[Tensor] = []
        device = self.head.weight.device
        greatest = torch.full((self.heads,), -torch.inf, device=device)
        total, pooled = torch.zeros(self.heads, device=device), torch.zeros((), device=device)
        for chunk in chunks:
            tiles, score = self.score_tiles(chunk.to(device))
            scores.append(score.detach())
            new_greatest = torch.maximum(greatest, score.detach().amax(dim=0))
            rescaling, shares = (greatest - new_greatest).exp(), (score - new_greatest).exp()
            total = total * rescaling + shares.sum(dim=0)
            pooled = pooled * rescaling[:, None] + shares.T @ tiles
            greatest = new_greatest
        if not scores:
            raise ValueError("expected a bag with at least one tile, found none.")
        embedding = (pooled / total[:, None]).flatten()
        weights = torch.cat(scores).softmax(dim=0).mean(dim=1)
        return PooledBag(embedding, weights)

    def score_tiles(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Project tiles, and score their attention.

        ``tiles``: float (tile, feature). Returns float32 (tile, hidden), and float32 (tile, head): zeros for mean
        pooling.
        """
        projected = self.project(tiles).float()
        if self.attention is None:
            return projected, torch.zeros_like(projected[:, :1])
        return projected, self.attention(projected).float()
