"""What stands at the end of a classifier: a vector in, a logit for each class out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import pad

from napari_melanoma.models.blocks.tabular_net import RowNorm

if TYPE_CHECKING:
    from torch import Tensor


class LinearHead(nn.Sequential):
    """One linear layer, as P1 has it.

    ``classes``: logits that come out.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(width, classes))


class TwoLayerHead(nn.Module):
    """P2's head: two linear layers with ReLU, batch normalisation and dropout between them, and a sigmoid.

    The sigmoid of two classes has one logit; beside it stands 0 for the other class, so that softmax says the same.

    ``classes``: logits that come out.
    """

    def __init__(self, width: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.one = classes == 2
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            RowNorm(hidden),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1 if self.one else classes),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Give logits, float (batch, class), of vectors (batch, width)."""
        found: Tensor = self.layers(vectors)
        return pad(found, (1, 0)) if self.one else found


class LayeredHead(nn.Sequential):
    """P3's head: fully connected layers with ReLU, 128 and 64 wide in the paper, and one for the classes.

    ``classes``: logits that come out.
    """

    def __init__(self, width: int, hidden: Sequence[int], classes: int, dropout: float) -> None:
        widths = (width, *hidden)
        parts = [
            part
            for wide, narrow in pairwise(widths)
            for part in (nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(dropout))
        ]
        super().__init__(*parts, nn.Linear(widths[-1], classes))
