"""How embeddings are read from the tokens of a vision transformer where timm's own pooling is not it; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

HEADS = 8


class ClassAndPatches(nn.Module):
    """The class token beside the mean of the patches' tokens, as Virchow's page says (arXiv:2309.07778).

    ``trunk``: images to tokens (batch, token, width).
    """

    def __init__(self, trunk: nn.Module, prefix: int) -> None:
        super().__init__()
        self.trunk = trunk
        self._prefix = prefix

    def forward(self, images: Tensor) -> Tensor:
        """Give embeddings, (batch, 2 x width), of normalised images (batch, 3, row, column)."""
        tokens = self.trunk(images)
        return torch.cat([tokens[:, 0], tokens[:, self._prefix :].mean(1)], dim=-1)


class Pooler(nn.Module):
    """One learnt question asked of all tokens (CoCa, arXiv:2205.01917)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, features))
        self.attn = nn.MultiheadAttention(features, HEADS, kdim=width, vdim=width, batch_first=True)
        self.ln_q = nn.LayerNorm(features)
        self.ln_k = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Give the answer, (batch, feature), for tokens (batch, token, width)."""
        known = self.ln_k(tokens)
        question = self.ln_q(self.query).expand(len(tokens), -1, -1)
        answer: Tensor = self.attn(question, known, known, need_weights=False)[0]
        return answer[:, 0]


class Contrast(nn.Module):
    """What the pooler that learnt beside texts makes of the tokens, before it is projected to them (CONCH)."""

    def __init__(self, trunk: nn.Module, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = Pooler(features, int(trunk.embed_dim))  # type: ignore[arg-type]
        self.ln_contrast = nn.LayerNorm(features)

    def forward(self, images: Tensor) -> Tensor:
        """Give embeddings, (batch, feature), of normalised images (batch, 3, row, column)."""
        pooled: Tensor = self.ln_contrast(self.attn_pool_contrast(self.trunk.forward_features(images)))  # type: ignore[operator]
        return pooled
