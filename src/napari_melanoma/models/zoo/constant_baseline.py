"""P2's trivial baseline: predicts no lesion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.blocks.options import P2_REFERENCE
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class ConstantNegativeConfig(Config):
    """Options of the constant prediction; it has no weights and is not trained."""

    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")


SPEC = ArchitectureSpec(
    name="constant_negative",
    title="Constant negative (baseline)",
    reference=f"{P2_REFERENCE}, table 1",
    config=ConstantNegativeConfig,
)


def build(config: ConstantNegativeConfig) -> nn.Module:
    """Build the baseline.

    Maps float (batch, 3, row, column) to logits (batch, class, row, column), of skin at each pixel.
    """
    from napari_melanoma.models.blocks.convolutions import ConstantNegative

    return ConstantNegative(config.classes)
