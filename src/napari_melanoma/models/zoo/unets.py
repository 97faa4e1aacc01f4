"""U-shaped networks that are trained from random weights: the U-Nets of P4, and P2's variant of U-Net++."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.models.blocks.options import Upsampling
from napari_melanoma.models.zoo import P2_REFERENCE, ArchitectureSpec, OutputMaps, list_network

if TYPE_CHECKING:
    from torch import nn

UNET = "Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28"
RECURRENT, GATED = "Alom et al. 2018, arXiv:1802.06955", "Oktay et al. 2018, arXiv:1804.03999"
FIRST_LEVEL = "channels of the first level, doubled at each level below"
UPSAMPLING = "transposed: trained 2 x 2 convolutions; otherwise an interpolation without weights"


class UShapeConfig(Config):
    """Options of a U-shaped network."""

    channels: int = Field(32, title="Channels of the first level", ge=4, description=f"{FIRST_LEVEL} (P4: 16 to 64)")
    depth: int = Field(4, title="Downsampling steps", ge=1, le=5, description="number of downsampling steps")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of the values dropped between two convolutions")
    normalisation: bool = Field(
        True, title="Batch normalization", description="batch normalization after each convolution"
    )
    upsampling: Upsampling = Field("nearest", description=UPSAMPLING)
    classes: int = Field(1, title="Output maps", ge=1, description="number of output maps")


class RecurrentConfig(UShapeConfig):
    """Options of a U-shaped network with recurrent convolutions."""

    steps: int = Field(2, title="Recurrent steps", ge=1, le=4, description="recurrent steps of a convolution (t in P4)")
    shared: bool = Field(
        False,
        title="Share weights over steps",
        description="one set of weights for all steps, as in the original; in P4 each step has its own",
    )


class PlainUNetConfig(UShapeConfig):
    """Options of the classical U-Net with zero-padding; 7.8 million weights with 32 channels (P4: 8 million).

    P4 uses a dropout of 0.2 and does not mention batch normalization, without which a network of this depth trains
    slowly from random weights: so it is an option, and the default.
    """

    upsampling: Upsampling = Field("transposed", description=UPSAMPLING)


class AttentionUNetConfig(UShapeConfig):
    """Options of the Attention U-Net; 31.9 million weights with 64 channels (P4: 32 million).

    P4 derives it from its U-Net, so the default dropout is 0.2 here too.
    """

    channels: int = Field(64, ge=4, description=f"{FIRST_LEVEL} (P4: 16 to 64)")


class R2UNetConfig(RecurrentConfig):
    """Options of R2U-Net; 6.0 million weights with 16 channels (P4: 6 million).

    In the original, the steps of a recurrent convolution share their weights, and the network has 2 million weights. To
    reach the number in P4, each of t = 2 steps has its own weights, and upsampling has none.
    """

    channels: int = Field(16, ge=4, description=f"{FIRST_LEVEL} (P4: 16 to 64)")


class AttentionR2UNetConfig(RecurrentConfig):
    """Options of Attention R2U-Net; 96 million weights with 64 channels, as in P4.

    As in R2U-Net, this number requires separate weights for each step; with shared weights there are 34 million.
    """

    channels: int = Field(64, ge=4, description=f"{FIRST_LEVEL} (P4: 16 to 64)")


@list_network(ArchitectureSpec("unet_p4", "U-Net (classical)", UNET, config=PlainUNetConfig, small={"channels": 8}))
def unet_p4(config: PlainUNetConfig) -> nn.Module:
    return _build_u_shape(config)


@list_network(
    ArchitectureSpec("attention_unet", "Attention U-Net", GATED, config=AttentionUNetConfig, small={"channels": 8})
)
def attention_unet(config: AttentionUNetConfig) -> nn.Module:
    return _build_u_shape(config, gated=True)


@list_network(ArchitectureSpec("r2_unet", "R2U-Net", RECURRENT, config=R2UNetConfig, small={"channels": 8, "depth": 2}))
def r2_unet(config: R2UNetConfig) -> nn.Module:
    return _build_u_shape(config)


@list_network(
    ArchitectureSpec(
        "attention_r2_unet",
        "Attention R2U-Net",
        f"{RECURRENT}; {GATED}",
        config=AttentionR2UNetConfig,
        small={"channels": 8, "depth": 2, "steps": 1},
    )
)
def attention_r2_unet(config: AttentionR2UNetConfig) -> nn.Module:
    return _build_u_shape(config, gated=True)


def _build_u_shape(config: UShapeConfig, *, gated: bool = False) -> nn.Module:
    """Build a U-Net, whose images have sides divisible by 2^depth; ``gated``: its skip connections."""
    from napari_melanoma.models.blocks.convolutions import (
        MakeBlock,
        RecurrentResidual,
        UShapeNetwork,
        make_double_convolution,
    )

    options: dict[str, Any] = {"dropout": config.dropout, "normalization": config.normalisation}
    block: MakeBlock = partial(make_double_convolution, **options)
    if isinstance(config, RecurrentConfig):
        block = partial(RecurrentResidual, steps=config.steps, shared=config.shared, **options)
    return UShapeNetwork(block, config.channels, config.depth, config.classes, config.upsampling, gated=gated)


class NestedUNetConfig(Config):
    """Options of P2's variant; the paper states neither channels nor the number of weights.

    The dense grid of the original U-Net++ is ``unetplusplus``.
    """

    channels: int = Field(32, title="Channels of the first level", ge=4, description=FIRST_LEVEL)
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout between two convolutions (a searched parameter in P2)")
    classes: OutputMaps = 1


@list_network(
    ArchitectureSpec(
        "unetpp_p2",
        "U-Net++ (P2)",
        f"{P2_REFERENCE}; after Zhou et al. 2018, doi:10.1007/978-3-030-00889-5_1",
        config=NestedUNetConfig,
        small={"channels": 8},
    )
)
def unetpp_p2(config: NestedUNetConfig) -> nn.Module:
    from napari_melanoma.models.blocks.convolutions import NestedUShapeNetwork

    return NestedUShapeNetwork(config.channels, config.dropout, config.classes)
