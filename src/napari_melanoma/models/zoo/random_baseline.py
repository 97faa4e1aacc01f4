"""P2's trivial baseline: a random prediction for each pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.blocks.options import P2_REFERENCE
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class RandomBaselineConfig(Config):
    """Options of the random prediction; it has no weights and is not trained."""

    seed: int = Field(
        0, title="Random seed", ge=0, le=2**31 - 1, description="random seed; the same image gets the same prediction"
    )
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")


SPEC = ArchitectureSpec(
    name="random",
    title="Random (baseline)",
    reference=f"{P2_REFERENCE}, table 1",
    config=RandomBaselineConfig,
)


def build(config: RandomBaselineConfig) -> nn.Module:
    """Build the baseline.

    Maps float (batch, 3, row, column) to logits (batch, class, row, column), whose probabilities are uniformly
    distributed.
    """
    from napari_melanoma.models.blocks.convolutions import RandomBaseline

    return RandomBaseline(config.seed, config.classes)
