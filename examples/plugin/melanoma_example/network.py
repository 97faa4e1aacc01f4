"""A fully convolutional network (Long et al. 2015, doi:10.1109/CVPR.2015.7298965) without skips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class FullyConvolutionalConfig(Config):
    """Options of the network."""

    channels: int = Field(32, ge=4, description="of the first level; each deeper one has twice as many")
    levels: int = Field(3, ge=1, le=5, description="how often the image is halved")
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")


SPEC = ArchitectureSpec(
    name="fully_convolutional",
    title="Fully convolutional network",
    reference="Long et al. 2015, doi:10.1109/CVPR.2015.7298965",
    config=FullyConvolutionalConfig,
    small={"channels": 8, "levels": 2},
)


def build(config: FullyConvolutionalConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 32 to logits (batch, class, row, column).
    """
    from torch import nn

    layers: list[nn.Module] = []
    inside = 3
    for level in range(config.levels):
        out = config.channels * 2**level
        layers += [nn.Conv2d(inside, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
        inside = out
    layers += [nn.Conv2d(inside, config.classes, 1)]
    layers += [nn.Upsample(scale_factor=2**config.levels, mode="bilinear")]
    return nn.Sequential(*layers)
