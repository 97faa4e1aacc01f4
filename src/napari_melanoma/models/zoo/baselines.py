"""Baselines of P2: a simple CNN, and two predictions without weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.models.zoo import P2_REFERENCE, ArchitectureSpec, OutputMaps, list_network

if TYPE_CHECKING:
    from torch import nn

REFERENCE = f"{P2_REFERENCE}, table 1"


class SimpleCNNConfig(Config):
    """Options of P2's simple CNN, of which the paper states only the number of layers.

    Fully connected layers need a fixed number of values: so features are resized to ``grid`` x ``grid``, and the coarse
    output mask is enlarged to the size of the image.
    """

    channels: int = Field(
        16, ge=4, description="channels of the first convolution; the next two have twice and four times as many"
    )
    hidden: int = Field(256, title="Hidden values", ge=4, description="values between the two fully connected layers")
    grid: int = Field(
        16,
        title="Feature grid size",
        ge=4,
        le=64,
        description="side of the features that go into the fully connected layers",
    )
    mask_size: int = Field(64, title="Output mask size (px)", ge=8, le=256, description="side of their output mask")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before each fully connected layer")
    classes: OutputMaps = 1


@list_network(
    ArchitectureSpec(
        "simple_cnn",
        "Simple CNN (P2)",
        REFERENCE,
        config=SimpleCNNConfig,
        small={"channels": 4, "hidden": 32, "grid": 8, "mask_size": 32},
    )
)
def simple_cnn(config: SimpleCNNConfig) -> nn.Module:
    from napari_melanoma.models.blocks.convolutions import SimpleCNN

    return SimpleCNN(**config.model_dump())


class ConstantNegativeConfig(Config):
    """Options of the constant prediction; it has no weights and is not trained."""

    classes: OutputMaps = 1


@list_network(
    ArchitectureSpec("constant_negative", "Constant negative (baseline)", REFERENCE, config=ConstantNegativeConfig)
)
def constant_negative(config: ConstantNegativeConfig) -> nn.Module:
    from napari_melanoma.models.blocks.convolutions import ConstantNegative

    return ConstantNegative(config.classes)


class RandomBaselineConfig(Config):
    """Options of the random prediction; it has no weights and is not trained."""

    seed: int = Field(
        0, title="Random seed", ge=0, le=2**31 - 1, description="random seed; the same image gets the same prediction"
    )
    classes: OutputMaps = 1


@list_network(ArchitectureSpec("random", "Random (baseline)", REFERENCE, config=RandomBaselineConfig))
def random(config: RandomBaselineConfig) -> nn.Module:
    from napari_melanoma.models.blocks.convolutions import RandomBaseline

    return RandomBaseline(config.seed, config.classes)
