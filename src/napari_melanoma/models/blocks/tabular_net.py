"""What networks make of a row of a table: embeddings and normalised numbers, and layers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import batch_norm

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.core.tabular import TabularShape

SPREAD = 0.01  # standard deviation of embeddings at the start, as in fastai


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of rows; a batch of one row, which has no spread, gets the statistics of those before."""

    def forward(self, rows: Tensor) -> Tensor:
        """Normalise rows, float (batch, feature)."""
        if self.training and len(rows) < 2:
            return batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(rows)


class TableInputs(nn.Module):
    """A row of a table as one vector: an embedding for each index, and the numbers, normalised over the batch."""

    def __init__(self, shape: TabularShape) -> None:
        super().__init__()
        silent = shape.silent or (False,) * len(shape.cardinalities)
        sizes = zip(shape.cardinalities, shape.widths, silent, strict=True)
        self.embeddings = nn.ModuleList(_embedding(count, width, zeros) for count, width, zeros in sizes)
        self.norm = RowNorm(shape.continuous) if shape.continuous else None
        self.width = shape.width

    def forward(self, continuous: Tensor | None, categories: Tensor | None) -> Tensor:
        """Give vectors, float (batch, width).

        ``continuous``: float (batch, input); None where the shape has none. ``categories``: int64 (batch, embedding);
        None where the shape has none.
        """
        parts = [] if categories is None else [table(categories[:, at]) for at, table in enumerate(self.embeddings)]
        if self.norm is not None and continuous is not None:
            parts.append(self.norm(continuous))
        return torch.cat(parts, dim=1)


def _embedding(count: int, width: int, zeros: bool) -> nn.Embedding:
    """Make an embedding; where index 0 says nothing, it stays zeros."""
    table = nn.Embedding(count, width, padding_idx=0 if zeros else None)
    nn.init.trunc_normal_(table.weight[1:] if zeros else table.weight, std=SPREAD)
    return table


class TabularNet(nn.Sequential):
    """Layers behind the inputs of a table, as fastai's ``TabularModel`` has them (Howard and Gugger 2020).

    Each is linear, ReLU, batch normalisation and dropout; the last is linear alone.
    """

    def __init__(self, width: int, layers: Sequence[int], out_features: int, dropout: float) -> None:
        widths = (width, *layers)
        hidden = [
            part
            for wide, narrow in pairwise(widths)
            for part in (nn.Linear(wide, narrow, bias=False), nn.ReLU(), RowNorm(narrow), nn.Dropout(dropout))
        ]
        super().__init__(*hidden, nn.Linear(widths[-1], out_features))


class MetadataNet(nn.Sequential):
    """Layers behind the inputs of a table as in P2, Annex B: linear, ReLU and batch normalisation each."""

    def __init__(self, width: int, layers: Sequence[int], dropout: float) -> None:
        widths = (width, *layers)
        super().__init__(
            *(
                part
                for wide, narrow in pairwise(widths)
                for part in (nn.Linear(wide, narrow), nn.ReLU(), RowNorm(narrow), nn.Dropout(dropout))
            )
        )
        self.width = widths[-1]
