"""The card of a model of whole slides: what it stands on, what it learnt from, what its figures are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.workflows.model_card import head

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleConfig


def bag_card(config: BundleConfig) -> str:
    """Write the card that a training on whole slides leaves."""
    known, asked, encoder = config.provenance, config.classifier, config.encoder
    assert asked is not None
    assert encoder is not None
    learnt = "\n".join(f"- {name}: {count} slides" for name, count in known.get("train_images", {}).items())
    point = asked.operating_point
    cut = (
        f"at {point.cut:.2f}, chosen for a sensitivity of {point.asked:.2f}, sensitivity is {point.sensitivity:.2f} "
        f"({point.sensitivity_interval[0]:.2f} to {point.sensitivity_interval[1]:.2f}) and specificity "
        f"{point.specificity:.2f} ({point.specificity_interval[0]:.2f} to {point.specificity_interval[1]:.2f})"
        if point
        else "no operating point could be chosen"
    )
    share = "not known" if asked.prevalence is None else f"{asked.prevalence:.2f}"
    return f"""{head(config)}
## What it stands on

It answers from embeddings of `{encoder.name}`: {encoder.features} features a tile, weights
`{encoder.fingerprint[:12]}`, licence {encoder.licence}, stain normalisation {encoder.stain}.
The encoder is not in this bundle; its licence binds whoever uses both. Embeddings of other weights or another scale are
refused.

## Training

{learnt}

- Network: `{config.architecture}` {config.options}
- Loss: {known.get("loss")}; up to {known.get("epochs")} epochs; seed {known.get("seed")}
- It tells {", ".join(config.classes)} apart, and gives the weight of each tile in the answer. A weight says where the
  network looked, not that a tile shows the class
- {known.get("tuning_images")} further slides, set aside by patient, chose the epoch, the temperature
  {asked.temperature:.2f} and the operating point; share of {asked.positive} among them: {share}. On them the AUC of
  {asked.positive} is {known.get("tuning_auc")}, average precision {known.get("tuning_average_precision")}, calibration
  error {known.get("tuning_calibration_error")}, and {cut}.
  All of that is optimistic, and no figure to compare with others

Measure it on slides that it never saw before relying on it:
`napari-melanoma evaluate --model FOLDER --data DATASET --out DIR`.
"""
