"""P3's three branches side by side: features of the image, the depth, the patient's row; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_melanoma.core.tabular import TabularShape
from napari_melanoma.models.blocks.fusion import FusionBlock, pooled
from napari_melanoma.models.blocks.options import FusionConfig

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.core.depth import DepthScale, MeasuredDepth
    from napari_melanoma.models.zoo.biomarker import BiomarkerConfig


class DepthInput(nn.Module):
    """The depth as numbers for a classifier: as it is, one-hot between edges, or both; measured where that is known."""

    def __init__(self, config: BiomarkerConfig) -> None:
        super().__init__()
        self._scale, self._encoding = config.depth_scale, config.depth_encoding
        self._measured = config.measured if config.depth_source == "measured" else None
        self.register_buffer("edges", torch.tensor(config.depth_edges), persistent=False)
        bins = 0 if self._encoding == "number" else len(config.depth_edges) + 1
        self.width = bins + (self._encoding != "one_hot")

    edges: Tensor

    def forward(self, said: Tensor, continuous: Tensor | None) -> Tensor:
        """Give float (batch, width).

        ``said``: standardised depth as the picture tells it, float (batch, 1). ``continuous``: float (batch, input),
        the measured depth perhaps among them.
        """
        depth = said if self._measured is None or continuous is None else self._known(said, continuous, self._measured)
        parts = [] if self._encoding == "one_hot" else [depth]
        if self._encoding != "number":
            above = (in_mm(depth, self._scale) >= self.edges).to(depth.dtype)
            whole = torch.ones_like(depth)
            parts.append(torch.cat([whole, above], dim=1) - torch.cat([above, 0 * whole], dim=1))
        return torch.cat(parts, dim=1)

    def _known(self, said: Tensor, continuous: Tensor, at: MeasuredDepth) -> Tensor:
        """The measured depth on the network's scale, and what the picture says where there is none."""
        number, unknown = continuous[:, at.place : at.place + 1], continuous[:, at.place + 1 : at.place + 2]
        measured = standardised(number * at.std + at.mean, self._scale)
        return torch.where(unknown < 0.5, measured.to(said.dtype), said)


class Branches(FusionBlock):
    """Deepest maps and row to one vector: what each branch that is switched on says, side by side."""

    def __init__(self, features: int, config: BiomarkerConfig) -> None:
        shape = _beside_depth(config) if config.use_table else TabularShape()
        super().__init__(features, FusionConfig(tabular=shape))
        self._image = features if config.use_image else 0
        self._at = features
        self._place = config.measured.place if config.depth_source == "measured" and config.measured else None
        self.depth = DepthInput(config) if config.tells_depth and config.depth_source != "none" else None
        self.image_dropout = nn.Dropout(config.image_dropout)
        self.image_norm = nn.BatchNorm1d(features) if config.image_normalised and self._image else nn.Identity()
        self._gain = config.image_gain
        self.width = self._image + shape.width + (self.depth.width if self.depth else 0)

    def forward(self, maps: Tensor, continuous: Tensor | None, categories: Tensor | None) -> Tensor:
        """Give vectors, float (batch, width), of the deepest maps and both kinds of inputs from the table."""
        means = pooled(maps)
        parts = [self._gain * self.image_dropout(self.image_norm(means[:, : self._image]))] if self._image else []
        if self.depth is not None:
            parts.append(self.depth(means[:, self._at : self._at + 1], continuous))
        if self.table is not None and self.table.width:
            parts.append(self.table(self._others(continuous), categories))
        return torch.cat(parts, dim=1)

    def _others(self, continuous: Tensor | None) -> Tensor | None:
        """The inputs that are numbers, without the two that say the measured depth."""
        if continuous is None or self._place is None:
            return continuous
        return torch.cat([continuous[:, : self._place], continuous[:, self._place + 2 :]], dim=1)


def in_mm(depth: Tensor, scale: DepthScale) -> Tensor:
    """Give millimetres.

    Of that shape, 0 or more.
    """
    plain = depth * scale.std + scale.mean
    return (torch.expm1(plain) if scale.log else plain).clamp(min=0)


def standardised(mm: Tensor, scale: DepthScale) -> Tensor:
    """Bring millimetres to the scale of a network."""
    plain = mm.clamp(min=0)
    return ((torch.log1p(plain) if scale.log else plain) - scale.mean) / scale.std


def _beside_depth(config: BiomarkerConfig) -> TabularShape:
    """Inputs from the table without those two that say the measured depth."""
    shape = config.tabular
    if config.depth_source != "measured" or config.measured is None:
        return shape
    return shape.model_copy(update={"continuous": shape.continuous - 2})
