"""P3's network: an encoder with spatial attention, a depth module beside it, and a head over both and the patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from napari_melanoma.core.tabular import TabularShape
from napari_melanoma.models.blocks.branches import Branches, in_mm, standardised
from napari_melanoma.models.blocks.class_heads import LayeredHead
from napari_melanoma.models.blocks.classifier import Classifier
from napari_melanoma.models.blocks.depth import DepthAttention, DepthConvolutions, spread
from napari_melanoma.models.blocks.fusion import pooled
from napari_melanoma.models.blocks.spatial_attention import Narrowed, SpatialAttention
from napari_melanoma.models.blocks.timm_encoder import MeanColour, TimmEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from napari_melanoma.models.zoo.biomarker import BiomarkerConfig


class BiomarkerNetwork(Classifier):
    """Image, depth and patient to the class; the depth is told too.

    The deepest maps are those of the encoder, weighed by attention, and behind them those of the depth: one whose mean
    is the standardised depth and, where the spread is told, one for the logarithm of its variance. So whoever keeps
    the deepest maps keeps all that the head and the depth come from.
    """

    def __init__(self, config: BiomarkerConfig) -> None:
        seen = (config.encoder, config.output_stride, config.levels_left_off)
        encoder = TimmEncoder(*seen) if config.needs_encoder else MeanColour()
        narrowed = config.image_maps if config.use_image else 0
        shown = (narrowed or encoder.features) if config.use_image or not config.tells_depth else 0
        fusion = Branches(shown, config)
        head = LayeredHead(fusion.width, config.hidden, config.classes, config.head_dropout)
        asks = config.use_table or config.measured is not None
        super().__init__(encoder, fusion, head, config.tabular if asks else TabularShape())
        self.image_features = shown
        self.narrow = Narrowed(encoder.features, narrowed) if narrowed else None
        weighs = (config.attention_kernel, config.attention_shares, config.attention_start)
        self.attention = SpatialAttention(*weighs) if config.attends else None
        self.depth = _depth_module(encoder.features, config) if config.tells_depth else None
        self.scale = config.depth_scale

    def encode(self, images: Tensor) -> list[Tensor]:
        """Give maps of features; the deepest, last, are weighed by attention, and those of the depth stand behind.

        ``images``: normalised float (batch, 3, row, column), of one scale where a depth is told. Each float (batch,
        channel, row, column).
        """
        *before, deepest = cast("list[Tensor]", self.encoder(images))
        shown = deepest if self.narrow is None else self.narrow(deepest)
        shown = shown if self.attention is None else self.attention(shown)
        if self.depth is None:
            return [*before, shown]
        told = self.depth(images, deepest)
        if not self.image_features:
            return [*before, told]
        return [*before, torch.cat([shown, spread(told, shown)], dim=1)]

    @property
    def tells_depth(self) -> bool:
        """Whether it tells a depth."""
        return self.depth is not None

    @property
    def image_maps(self) -> int:
        """How many of the deepest maps, the first, show the image; those of the depth stand behind them."""
        return self.image_features

    @property
    def weighs_places(self) -> bool:
        """Whether it has spatial attention."""
        return self.attention is not None

    def told_depth(self, maps: Sequence[Tensor]) -> Tensor:
        """Give the depth as a network says it.

        Returns float (batch, 1 or 2): standardised depth and, where it is told, the logarithm of its variance.
        """
        return pooled(maps[-1][:, self.image_features :])

    def attended(self, images: Tensor) -> Tensor | None:
        """Give the weights of the places.

        ``images``: normalised float (batch, 3, row, column). Returns float (batch, 1, row, column) in [0, 1]; None
        where the network has no attention.
        """
        if self.attention is None:
            return None
        deepest: Tensor = self.encoder(images)[-1]
        return self.attention.weights(deepest if self.narrow is None else self.narrow(deepest))

    def in_mm(self, depth: Tensor) -> Tensor:
        """Turn depths as ``told_depth`` gives them into millimetres.

        Of that shape, 0 or more.
        """
        return in_mm(depth, self.scale)

    def standardised(self, mm: Tensor) -> Tensor:
        """Turn millimetres into depths as the network learns them."""
        return standardised(mm, self.scale)


def _depth_module(features: int, config: BiomarkerConfig) -> nn.Module:
    """The part that tells the depth."""
    outputs = 2 if config.heteroscedastic else 1
    if config.depth_module == "attention":
        return DepthAttention(features, outputs)
    return DepthConvolutions(config.depth_channels, config.depth_grid, outputs, config.depth_normalisation)
