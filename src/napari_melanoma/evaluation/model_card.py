"""Model cards of segmentation models, classifiers and whole-slide models, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import InputError, RunError
from napari_melanoma.core.files import write_text
from napari_melanoma.core.formatting import format_share
from napari_melanoma.core.prediction_config import AgeGroup, OperatingPoint
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.evaluation.classes import AGES
from napari_melanoma.evaluation.comparison_results import ADVICE, Comparison, read_comparison
from napari_melanoma.metrics.roc_curves import finite_interval
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import CARD, BundleConfig, read_bundle
from napari_melanoma.training.monitor import describe_few_validation
from napari_melanoma.training.run_data import read_data

# The metric that decides a comparison, in words.
DECISIVE_METRIC = {
    "segmentation": "the mean Jaccard index of masks with the default post-processing",
    "classification": "the area under the ROC curve of the calibrated probabilities",
    "cells": "the balanced accuracy of the cells of strokes",
}
PIPELINE_TAGS = {
    "segmentation": "image-segmentation",
    "classification": "image-classification",
    "embedding": "image-feature-extraction",
}


@dataclass(frozen=True)
class CardSubgroup:
    """Estimates of a model on a subgroup, such as ``age: 30 to 49``, with its number of images and positives."""

    name: str
    count: int
    positives: int
    figures: Mapping[str, Estimate]


def age_groups(groups: Sequence[CardSubgroup]) -> tuple[AgeGroup, ...]:
    """Return sensitivity and specificity for each age group, the youngest first, to show with predictions.

    Groups without positives or without other cases are omitted.
    """
    by_name, limits = {group.name: group for group in groups}, (0.0, *(limit for limit, _ in AGES))
    shown_groups = []
    for (at_least, below), (_, ages) in zip(pairwise(limits), AGES, strict=True):
        group = by_name.get(f"age: {ages}")
        if group and {"sensitivity", "specificity"} <= set(group.figures):
            sensitivity, specificity = group.figures["sensitivity"], group.figures["specificity"]
            shown_groups.append(
                AgeGroup(
                    at_least=at_least,
                    below=below if below < float("inf") else None,
                    images=group.count,
                    positives=group.positives,
                    sensitivity=sensitivity.mean,
                    sensitivity_interval=finite_interval(sensitivity),
                    specificity=specificity.mean,
                    specificity_interval=finite_interval(specificity),
                )
            )
    return tuple(shown_groups)


def write_compared_card(run: Path) -> None:
    """Add the comparison with the start model to the card of the model of a run; without one, nothing changes."""
    folder = RunFolder(run)
    try:
        comparison = read_comparison(folder.comparison)
    except InputError:
        return
    try:
        trained = [row.sample for row in read_data(folder.data) if row.part == "train"]
        # Masks that were imported count as accepted, too, but no model drew them.
        reviews = Counter(one.review for one in trained if one.review != "accepted" or one.has_accepted_prediction)
    except RunError:  # the run is of another version: the card omits these counts
        reviews = None
    bundle = read_bundle(folder.bundle)
    write_text(bundle.path / CARD, draft_card(bundle.config, comparison, reviews))


def draft_card(
    config: BundleConfig, comparison: Comparison | None = None, reviews: Mapping[str | None, int] | None = None
) -> str:
    """Return the card of a training run, before an evaluation on new images.

    ``comparison``: its comparison with the start model. ``reviews``: state of the review of a mask to number of images.
    """
    if config.encoder is not None:
        return bag_card(config)
    advice = (
        "Evaluate it on new images before use:\n`napari-melanoma evaluate --model FOLDER --data DATASET --out DIR`.\n"
    )
    sections = [_comparison_section(comparison, config)] if comparison is not None else []
    return "\n".join([card_header(config), *sections, training_section(config, reviews), advice])


def card_header(config: BundleConfig) -> str:
    """Return the start of a card: front matter, name and notice."""
    scope = f"For photographs of these types: {', '.join(config.modalities) or 'not stated'}."
    if config.tile is not None:
        tile = config.tile
        scope = f"For whole-slide images, in tiles of {tile.side_px} pixels at {tile.mpp:g} micrometers per pixel."
    return f"""---
license: {config.licence.lower()}
library_name: napari-melanoma
pipeline_tag: {PIPELINE_TAGS[config.task]}
---

# {config.name}

{config.title}.

**Research use only; not for diagnosis.** {scope}
{_synthetic_note(config)}"""


def _synthetic_note(config: BundleConfig) -> str:
    """Return the warning on a model that was trained on synthetic images; "" for other models."""
    share = config.synthetic_share
    if not share:
        return ""
    if share < 1:
        return f"\n**Phantoms:** {format_share(share)} of the training images are synthetic.\n"
    return (
        "\n**Phantom-trained, demonstration.** Trained on synthetic images only. It demonstrates how a model is used; "
        "its predictions are not valid for real patients.\n"
    )


def _comparison_section(comparison: Comparison, config: BundleConfig) -> str:
    """Return the section on the comparison with the start or another model, on the held-out images of the run."""
    if comparison.decisive is None:
        return ""
    old, new = comparison.old.name, comparison.new.name
    before, after, gain = comparison.decisive
    is_single = comparison.images == 1
    significant = not is_single and (gain.low > 0 or gain.high < 0)
    verdict = ("better" if gain.mean > 0 else "worse") if significant else "no significant difference"
    advice = f" {ADVICE[comparison.advice]}"
    if comparison.advice == "inconclusive":
        verdict, advice = "inconclusive", ""
    parent = config.provenance.get("parent") or {}
    is_start = parent.get("fingerprint") == comparison.old.fingerprint
    interval = "one image, so no interval" if is_single else gain.format_interval(words="95 % interval ")
    images = "1 image" if is_single else f"{comparison.images} images"
    patients = "1 patient or lesion" if comparison.patients == 1 else f"{comparison.patients} patients or lesions"
    return f"""## Comparison with {"its start model" if is_start else old}

{new} compared with {old}: **{verdict}**. On {images} of {patients} held out of the training,
{DECISIVE_METRIC[comparison.task]} is {after.mean:.3f} and was {before.mean:.3f}, difference
{gain.mean:+.3f} ({interval}).{advice} {comparison.reason}
"""


def training_section(config: BundleConfig, reviews: Mapping[str | None, int] | None = None) -> str:
    """Return the section on the training, from the provenance; ``reviews``: as for ``draft_card``."""
    facts = config.provenance
    trained_on = "\n".join(f"- {name}: {count} images" for name, count in facts.get("train_images", {}).items())
    if reviews is not None and (reviews.get("corrected") or reviews.get("accepted")):
        corrected, accepted = reviews.get("corrected", 0), reviews.get("accepted", 0)
        trained_on += f"\n- of the masks, {corrected} were corrected by hand and {accepted} accepted as they were"
    elif facts.get("corrections"):
        trained_on += f"\n- of the masks, {facts['corrections']} were corrected or accepted by hand"
    prepared = f" ({config.preprocessing.description})" if config.preprocessing.is_on else ""
    prepared += "".join(f"\n- {text}" for text in config.describe_views())
    prepared += ". An exported network has no closer views" * bool(config.closer_views)
    return f"""## Training

{trained_on}

- Network: `{config.architecture}` {config.options}, input {config.input_size} x {config.input_size} pixels{prepared}
- Start: {facts.get("start")}; loss: {facts.get("loss")}; up to {facts.get("epochs")} epochs; seed {facts.get("seed")}
{_teacher_text(facts.get("teacher"))}{_validation_text(config)}"""


def _teacher_text(teacher: Mapping[str, Any] | None) -> str:
    """Return the line on the teacher of a distilled model; "" for other models."""
    if teacher is None:
        return ""
    images = ", ".join(f"{count} images of {name}" for name, count in teacher["train_images"].items())
    own = "; each of its networks predicted the images that it was not trained on" if teacher["out_of_fold"] else ""
    return f"""- Distilled from `{teacher["name"]}`, weights {teacher["fingerprint"][:12]}: its predictions have
  the weight {teacher["weight"]:g} in the loss, at a temperature of {teacher["temperature"]:g}{own}. It was trained on
  {images or "images that it does not state"}; they count as training images of this model
"""


def _validation_text(config: BundleConfig) -> str:
    """Return the rest of the section on the training: the validation set, its use, and the metrics on it."""
    facts = config.provenance
    images, groups = facts.get("validation_images"), facts.get("validation_groups")
    few = describe_few_validation(images, groups) if images and groups else ""
    remark = f" ({few})" if few else ""
    measured = f"Validation set: {images} images of other patients or lesions{remark}"
    if members := facts.get("members"):  # an ensemble: the metrics are means over its networks
        measured = (
            f"Validation sets of {len(members)} networks, each of other patients or lesions than its training images: "
            f"{images} images in all{remark}"
        )
    if config.task == "segmentation" and not config.segments_one_class:
        used = (
            "not used to choose the epoch"
            if facts.get("recipe", {}).get("keep") == "last"
            else "used to choose the epoch"
        )
        of_classes = facts.get("validation_dice_of_classes", {})
        dice = ", ".join(f"{name} {value}" for name, value in of_classes.items() if value is not None)
        return f"""- Classes of pixels: {", ".join(config.classes)}; each pixel gets the most probable class
- {measured}, {used}; over all pixels, the mean Jaccard index of the classes is
  {facts.get("validation_jaccard")}, Dice: {dice}.
  These values are optimistic and not comparable with those of other models
"""
    if config.classifier is None:
        recipe = facts.get("recipe", {})
        choices = ["epoch"] * (recipe.get("keep") != "last")
        choices += [f"threshold {config.threshold:.2f}"] * (recipe.get("threshold_rule") != "half")
        used = f"used to choose {' and '.join(choices)}" if choices else "not used to choose epoch or threshold"
        optimistic = "optimistic and " if choices else ""
        return f"""- {measured}, {used};
  there, at the network's size and without refinement, the mean Jaccard index is
  {facts.get("validation_jaccard")}, which is {optimistic}not comparable with that of other models
"""
    classifier = config.classifier
    chosen = "the temperature" if facts.get("recipe", {}).get("keep") == "last" else "the epoch, the temperature"
    fields = ", ".join(config.tabular.fields) if config.tabular else "none"
    region = "the region of interest" if classifier.view.region == "roi" else "the whole image"
    view = region if config.tile is None else "one tile at a time"
    return f"""- Classes: {", ".join(config.classes)}; input: {view}
- Clinical metadata: {fields}
- {measured}, used to choose {chosen}
  {classifier.temperature:.2f} and the operating point; there the AUC of {classifier.positive} is
  {facts.get("validation_auc")}, average precision {facts.get("validation_average_precision")},
  calibration error {facts.get("validation_calibration_error")}, and
  {_operating_point_text(classifier.operating_point)}.
  These values are optimistic and not comparable with those of other models
"""


def _operating_point_text(point: OperatingPoint | None) -> str:
    if point is None:
        return "no operating point could be chosen"
    return (
        f"at {point.threshold:.3f}, chosen for a sensitivity of {point.target_sensitivity:.2f}, "
        f"sensitivity is {point.sensitivity:.2f} "
        f"({point.sensitivity_interval[0]:.2f} to {point.sensitivity_interval[1]:.2f}) and specificity "
        f"{point.specificity:.2f} ({point.specificity_interval[0]:.2f} to {point.specificity_interval[1]:.2f})"
    )


def bag_card(config: BundleConfig) -> str:
    """Return the card of a training run on whole slides."""
    facts, classifier, encoder = config.provenance, config.classifier, config.encoder
    assert classifier is not None
    assert encoder is not None
    trained_on = "\n".join(f"- {name}: {count} slides" for name, count in facts.get("train_images", {}).items())
    share = "not known" if classifier.prevalence is None else f"{classifier.prevalence:.2f}"
    return f"""{card_header(config)}
## Encoder

The input is embeddings of `{encoder.name}`: {encoder.features} features per tile, weights
`{encoder.fingerprint[:12]}`, license {encoder.licence}, stain normalization {encoder.stain}.
The encoder is not part of this bundle and has its own license. Embeddings of other weights or another scale are
rejected.

## Training

{trained_on}

- Network: `{config.architecture}` {config.options}
- Loss: {facts.get("loss")}; up to {facts.get("epochs")} epochs; seed {facts.get("seed")}
- Classes: {", ".join(config.classes)}; the output includes the attention weight of each tile. A high weight does not
  mean that the tile shows the class
- Validation set: {facts.get("validation_images")} slides of other patients, used to choose the epoch, the temperature
  {classifier.temperature:.2f} and the operating point; share of {classifier.positive}: {share}. On it the AUC of
  {classifier.positive} is {facts.get("validation_auc")}, average precision {facts.get("validation_average_precision")},
  calibration error {facts.get("validation_calibration_error")}, and
  {_operating_point_text(classifier.operating_point)}. These values are optimistic and not comparable with those of
  other models

Evaluate it on new slides before use:
`napari-melanoma evaluate --model FOLDER --data DATASET --out DIR`.
"""
