"""Model cards: what a bundle is, what it was trained on, how well it does and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_melanoma.analysis.overlap import METRICS

if TYPE_CHECKING:
    from napari_melanoma.analysis.statistics import Estimate
    from napari_melanoma.models.bundle import BundleConfig

MEASURED = """## How well it does

On images that neither training nor the choice of epoch and threshold saw. Averaged over images; each mask is made as
users get it: threshold {threshold:.2f}, smoothed, largest lesion kept and filled. In brackets 95 % intervals
(percentile bootstrap over patients or lesions, 2000 rounds, seed 0). TJA: Jaccard, 0 below 0.65; JA: Jaccard; DI: Dice;
AC: accuracy; SE: sensitivity; SP: specificity of the pixels (ISIC 2018).
"""
LIMITS = """## What it is not for

- Diagnosis, or any decision about a patient. It finds the border of a lesion; it does not know what the lesion is.
- Several lesions at once: it marks what looks like lesion, and the analysis keeps the largest unless told otherwise.
- Kinds of photograph that it was not trained on: total-body tiles, histology, fluorescence, mucosa and nails.
- Dark skin: the images it learnt from show mostly light skin (Fitzpatrick I to III). Check each mask.
- Lesions that fill the view: they are found in part. Elsewhere it tends to draw a little outside the border.
- A border to be trusted where people disagree: two readers of one image reach a Dice index of about 0.8 to 0.9.

Known to go wrong: red or sun-damaged skin, pale and diffuse borders, dense hair, ink, rulers and other moles near by.
"""


def draft_card(config: BundleConfig) -> str:
    """Write the card that a training run leaves: all that is known before a held-out evaluation.

    Parameters
    ----------
    config : BundleConfig
        Of the bundle, with the provenance that training writes.

    Returns
    -------
    str
        Markdown with the front matter that the hub reads.
    """
    advice = (
        "Measure it on images that it never saw before relying on it:\n"
        "`napari-melanoma evaluate --model FOLDER --data DATASET --out DIR`.\n"
    )
    return "\n".join([_head(config), _training(config), advice])


def full_card(config: BundleConfig, figures: Mapping[str, Mapping[str, Estimate]], data_notes: str) -> str:
    """Write the card of a bundle that was measured on images that it never saw.

    Parameters
    ----------
    config : BundleConfig
        Of the bundle, with the provenance that training writes.
    figures : mapping
        Name of the data and split to the estimate of each metric.
    data_notes : str
        Markdown: where the images come from and under which licence.

    Returns
    -------
    str
        Markdown with the front matter that the hub reads.
    """
    header = "| images | n | " + " | ".join(METRICS) + " |\n|---|---|" + "---|" * len(METRICS)
    rows = [
        f"| {name} | {estimates['DI'].count} | " + " | ".join(str(estimates[metric]) for metric in METRICS) + " |"
        for name, estimates in figures.items()
    ]
    measured = "\n".join([MEASURED.format(threshold=config.threshold), header, *rows, ""])
    return "\n".join([_head(config), measured, _training(config), data_notes, LIMITS])


def _head(config: BundleConfig) -> str:
    """Front matter, name and the notice."""
    kinds = ", ".join(config.modalities) or "not stated"
    return f"""---
license: {config.licence.lower()}
library_name: napari-melanoma
pipeline_tag: image-segmentation
---

# {config.name}

{config.title}.

**Research use only; not for diagnosis.** For photographs of these kinds: {kinds}.
"""


def _training(config: BundleConfig) -> str:
    """How it was trained, from the provenance."""
    known = config.provenance
    learnt = "\n".join(f"- {name}: {count} images" for name, count in known.get("train_images", {}).items())
    return f"""## Training

{learnt}

- Network: `{config.architecture}` {config.options}, input {config.input_size} x {config.input_size} pixels
- Start: {known.get("start")}; loss: {known.get("loss")}; up to {known.get("epochs")} epochs; seed {known.get("seed")}
- {known.get("tuning_images")} further images, set aside by patient or lesion, chose the epoch and the threshold
  {config.threshold:.2f}; on them the mean Jaccard index is {known.get("tuning_jaccard")}, which is optimistic
"""
