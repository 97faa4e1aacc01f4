"""What a recipe says of a model of whole slides: how many tiles of each it looks at while it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_melanoma.core.config import Config

if TYPE_CHECKING:
    from napari_melanoma.training.classifying import ClassificationConfig

DEFAULTS: dict[str, Any] = {
    "title": "Slide classification",
    "batch_size": 4,
    "learning_rate": 5e-4,
    "epochs": 50,
    "patience": 10,
    "precision": "fp32",  # two small layers: half precision saves no time and costs digits
}
NETWORK = {"architecture": "attention_mil", "start": "none"}


class BagConfig(Config):
    """Slides as bags of embeddings: what is drawn of each in an epoch. All tiles count when it is measured."""

    tiles: int = Field(
        4096, ge=1, description="tiles of a slide that a step learns from at most, drawn anew each epoch"
    )


def out_of_place(asked: ClassificationConfig) -> list[str]:
    """Name the options of a classification that need pictures or a form, and say nothing of bags."""
    usual = type(asked)()
    names = (
        *("view", "masks", "tabular", "features", "mixup", "cutmix", "mirrored", "freeze_encoder", "adaptation"),
        *("stages", "depth"),
    )
    return [f"classification.{name}" for name in names if getattr(asked, name) != getattr(usual, name)]
