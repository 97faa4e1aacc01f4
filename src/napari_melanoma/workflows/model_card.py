"""Model cards: what a bundle is, what it was trained on, how well it does and what it is not for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.recipe import TrainRecipe


def draft_card(config: BundleConfig, recipe: TrainRecipe) -> str:
    """Write the card that a training run leaves: all that is known before a held-out evaluation.

    Parameters
    ----------
    config : BundleConfig
        Of the bundle.
    recipe : TrainRecipe
        That made it.

    Returns
    -------
    str
        Markdown with the front matter that the hub reads.
    """
    images = config.provenance.get("train_images", {})
    learnt = "\n".join(f"- {name}: {count} images" for name, count in images.items())
    return f"""---
license: {config.licence.lower()}
library_name: napari-melanoma
pipeline_tag: image-segmentation
---

# {config.name}

{config.title}. Research use only; not for diagnosis.

## Training

{learnt}

Architecture `{config.architecture}`, options `{config.options}`, input {config.input_size} x {config.input_size}
pixels, start `{recipe.model.start}`, loss `{recipe.loss}`, up to {recipe.epochs} epochs, seed {recipe.seed}.
Images set aside by patient or lesion ({config.provenance.get("tuning_images", 0)}) chose the epoch and the
threshold ({config.threshold:.2f}); on them the mean Jaccard index is {config.provenance.get("tuning_jaccard", float("nan")):.3f}.
That figure is optimistic. Measure the model on images that it never saw: `napari-melanoma evaluate --model FOLDER
--data DATASET --out DIR`.
"""
