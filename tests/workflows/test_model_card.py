"""The cards say the figures that they were given, and what the model is not for."""

from __future__ import annotations

from napari_melanoma.analysis.overlap import METRICS
from napari_melanoma.analysis.statistics import Estimate
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.workflows.model_card import draft_card, full_card

CONFIG = BundleConfig(
    name="small",
    title="A model",
    architecture="unet",
    threshold=0.62,
    licence="CC-BY-4.0",
    modalities=("dermoscopic",),
    provenance={"train_images": {"set-a": 12}, "tuning_images": 3, "tuning_jaccard": 0.871, "start": "imagenet"},
)


def test_draft_warns_of_its_own_figure() -> None:
    card = draft_card(CONFIG)
    assert "- set-a: 12 images" in card
    assert "0.871, which is optimistic" in card
    assert "How well it does" not in card


def test_full_card_gives_each_figure_with_its_interval() -> None:
    figures = {"held out": {name: Estimate(0.9 + i / 1000, 0.8, 0.95, 40) for i, name in enumerate(METRICS)}}
    card = full_card(CONFIG, figures, "## Data\n\nFrom somewhere.\n")
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert "| held out | 40 | 0.900 (0.800 to 0.950) | 0.901 (0.800 to 0.950) |" in card
    assert "threshold 0.62" in card
    assert "From somewhere." in card
    assert "not for diagnosis" in card
