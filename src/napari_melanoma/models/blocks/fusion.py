"""Ways to join an image and a row of a table, one class each: deepest maps and vector in, one vector out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.blocks.tabular_net import MetadataNet, RowNorm, TableInputs, TabularNet

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.options import Fusion, FusionConfig


class FusionBlock(nn.Module):
    """Base of the ways to join; ``width`` is that of the vector that comes out."""

    hears_table = True

    def __init__(self, features: int, config: FusionConfig) -> None:
        super().__init__()
        self.table = TableInputs(config.tabular) if self.hears_table else None
        self.width = self._make_parts(features, config)

    def _make_parts(self, features: int, config: FusionConfig) -> int:
        """Make the layers of this way to join, and say how wide its vectors are; as wide as the image's by default."""
        return features

    def forward(self, maps: Tensor, continuous: Tensor | None, categories: Tensor | None) -> Tensor:
        """Give vectors, float (batch, width).

        ``maps``: the deepest maps, float (batch, channel, row, column). ``continuous``: float (batch, input).
        ``categories``: int64 (batch, embedding).
        """
        return pooled(maps) if self.table is None else self.join(maps, self.table(continuous, categories))

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Join image and table; each way to join says how.

        ``maps``: the deepest maps, float (batch, channel, row, column). ``row``: what the inputs from the table are as
        one vector, float (batch, input). Returns float (batch, width).
        """
        raise NotImplementedError


class ImageOnly(FusionBlock):
    """The image alone, whatever the table says."""

    hears_table = False


class TableOnly(FusionBlock):
    """The table alone, whatever the image shows."""

    def _make_parts(self, features: int, config: FusionConfig) -> int:
        self.network = _tabular_net(config)
        return config.out_features

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Leave the maps aside."""
        found: Tensor = self.network(row)
        return found


class Concatenation(FusionBlock):
    """P1: a vector of the same length from image and table, side by side."""

    def _make_parts(self, features: int, config: FusionConfig) -> int:
        self.image = nn.Linear(features, config.out_features)
        self.network = _tabular_net(config)
        return 2 * config.out_features

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Put both side by side."""
        return torch.cat([self.image(pooled(maps)), self.network(row)], dim=1)


class AnnexB(FusionBlock):
    """P2, Annex B: features of the image beside what fully connected layers make of the table."""

    def _make_parts(self, features: int, config: FusionConfig) -> int:
        self.network = MetadataNet(config.tabular.width, config.tabular_layers, config.tabular_dropout)
        return features + self.network.width

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Put both side by side."""
        return torch.cat([pooled(maps), self.network(row)], dim=1)


class MetaBlock(FusionBlock):
    """The table scales and shifts each map, between tanh and sigmoid.

    Pacheco and Krohling 2021, doi:10.1109/JBHI.2021.3062002: sigmoid(tanh(V f(x)) + g(x)).
    """

    def _make_parts(self, features: int, config: FusionConfig) -> int:
        width = config.tabular.width
        self.scale = nn.Sequential(nn.Linear(width, features), RowNorm(features))
        self.shift = nn.Sequential(nn.Linear(width, features), RowNorm(features))
        return features

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Weigh the maps, then take their means."""
        scale, shift = self.scale(row)[..., None, None], self.shift(row)[..., None, None]
        return pooled(((maps * scale).tanh() + shift).sigmoid())


class Film(FusionBlock):
    """The table scales and shifts each map; at the start it leaves all as they are.

    The mean of a map that is scaled and shifted is its mean, scaled and shifted, so means are what is computed with.
    Perez et al. 2018, doi:10.1609/aaai.v32i1.11671.
    """

    def _make_parts(self, features: int, config: FusionConfig) -> int:
        hidden = MetadataNet(config.tabular.width, config.tabular_layers[:1], config.tabular_dropout)
        last = nn.Linear(hidden.width, 2 * features)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(hidden, last)
        return features

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Weigh the means of the maps."""
        scale, shift = self.network(row).chunk(2, dim=1)
        return pooled(maps) * (1 + scale) + shift


FUSIONS: dict[Fusion, Callable[[int, FusionConfig], FusionBlock]] = {
    "concat": Concatenation,
    "annex_b": AnnexB,
    "metablock": MetaBlock,
    "film": Film,
    "none": ImageOnly,
    "tabular": TableOnly,
}


def build_fusion(features: int, config: FusionConfig) -> FusionBlock:
    """Build the way to join that options name; without inputs from the table it is the image alone.

    Deepest maps, numbers and indices to one vector.
    """
    if config.fusion == "tabular" and not config.tabular.width:
        raise ConfigError('fusion = "tabular" needs columns of the table, found none. Choose some, or another fusion.')
    return FUSIONS[config.fusion if config.tabular.width else "none"](features, config)


def pooled(maps: Tensor) -> Tensor:
    """Take the mean of each map.

    ``maps``: float (batch, channel, row, column). Returns float (batch, channel).
    """
    return maps.mean(dim=(2, 3))


def _tabular_net(config: FusionConfig) -> TabularNet:
    """P1's branch of the table."""
    return TabularNet(config.tabular.width, config.tabular_layers, config.out_features, config.tabular_dropout)
