"""Cards of the shipped models, with their evaluation on other images, for the scripts that release models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from napari_melanoma.evaluation.model_card import CardSubgroup, card_header, training_section
from napari_melanoma.metrics.metric_table import OVERLAP_METRICS
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import BundleConfig

PERFORMANCE = """## Performance

On images that were used neither for training nor to choose the epoch and threshold. Averaged over images, with the
default post-processing: threshold {threshold:.2f}, smoothed, largest lesion kept and filled. In brackets 95 % intervals
(percentile bootstrap over patients or lesions, 2000 rounds, seed 0). Accuracy, sensitivity and specificity are those of
pixels; the thresholded Jaccard index is 0 below 0.65 (ISIC 2018).
"""
OTHER_COLLECTIONS = """### On collections that it was not trained on

The nearest to what to expect on new photographs.
"""
OWN_COLLECTIONS = """### On the collections of its training data

Validation images (`val`) of the same collections. They selected no weights and no threshold, but alternatives were
compared on them during the development: better than on new photographs.
"""
LIMITS = """## Limitations

- Not for diagnosis or any decision about a patient. The model segments a lesion; it does not classify it.
- One lesion at a time: the analysis keeps the largest region unless configured otherwise.
- Types of photograph that it was not trained on: total-body tiles, histology, fluorescence, mucosa and nails.
- Dark skin: the training images show mostly light skin (Fitzpatrick I to III). Check each mask.
- Lesions that fill the field of view are segmented only in part. Other masks are slightly too small or too
  large, depending on the collection.
- Ambiguous borders: two readers of the same image reach a Dice index of about 0.8 to 0.9.

Known failures: red or sun-damaged skin, pale and diffuse borders, dense hair, ink, rulers and other nevi nearby.
"""
OUTSIDE_HEADER = """## Outside the development data

On images that were kept back from all development. The figures above were measured on the collections that the model
was developed with, and are better than those of new images.
"""
# Measured once, on images that these scripts must not read
OUTSIDE_FIGURES = {
    "lesion-small": """\
- The version before this one, on the official validation set of the ISIC 2017 challenge: Dice 0.843 (0.813 to 0.871),
  Jaccard 0.761, where a fifth of the training set of that challenge gave a Dice of 0.902. Its masks were 5 to 7 % too
  small on three of four sets. This version has not been measured on these images.
""",
    "lesion-click": """\
- ISIC photographs: on average 1.3 clicks to a Dice of 0.90, instead of the 1.0 above.
- Before the first click, expect the accuracy of `lesion-small`. The Dice of its previous version fell from 0.902 to
  0.843 (0.813 to 0.871) on the official validation set of ISIC 2017; above is a fifth of its training set.
""",
    "melanoma-small": """\
The version before this one (160 x 160 pixels); this version has not been measured on these images.

- ISIC 2017, official test set: AUC of melanoma 0.824 with the photograph alone, 0.856 with patient data; ECE 0.04.
- Crops of HAM10000: AUC 0.741 with the photograph alone, 0.731 with patient data, within its Australian part 0.53; ECE
  0.15. Prediction sets with a nominal coverage of 90 % contain the true class in 0.82, that of keratoses in 0.51.
""",
    "lesion-phone": """\
The version before this one (160 x 160 pixels); this version has not been measured on these images.

- Patients of PAD-UFES-20: sensitivity 0.82 for malignant lesions, 0.53 for melanoma; ECE 0.10 to 0.13. Prediction sets
  with a nominal coverage of 90 % contain the true class in 0.86, of malignant lesions in 0.82.
""",
}
CLASS_METRICS = ("AUC", "AP", "sensitivity", "specificity", "ECE")
CLASSIFIER_PERFORMANCE = """## Performance

Sensitivity and specificity of {positive} are those at a decision threshold that was chosen for a sensitivity of
{target_sensitivity:.2f} on other images. AP: average precision; ECE: expected calibration error. In brackets 95 %
intervals (bootstrap over patients or lesions, 2000 rounds, seed 0).
"""
NO_OTHER_COLLECTION = """### On collections that it was not trained on

Not measured: there was no other collection of this type of photograph with diagnoses.
"""
CROSS_VALIDATED = """### On the collection of its training data

Cross-validated: {folds} networks trained with this recipe, each evaluated on images that it was not trained on; their
predictions are pooled. This bundle was made from all of the images with the same recipe: some for training, the others
for calibration. By chance, AP is {share:.2f}.
"""


def full_card(
    config: BundleConfig,
    figures: Mapping[str, Mapping[str, Estimate]],
    data_notes: str,
    elsewhere: Collection[str] = (),
) -> str:
    """Return the card of a bundle that was evaluated on new images.

    ``figures``: name of a data set to its estimates. ``data_notes``: the section on the data, in Markdown.
    ``elsewhere``: names of those data sets whose collections the model was not trained on.
    """
    measured = [
        PERFORMANCE.format(threshold=config.threshold),
        *(_overlap_section(OTHER_COLLECTIONS, {name: one for name, one in figures.items() if name in elsewhere})),
        *(_overlap_section(OWN_COLLECTIONS, {name: one for name, one in figures.items() if name not in elsewhere})),
    ]
    outside = outside_section(config.name)
    return "\n".join([card_header(config), *measured, *outside, training_section(config), data_notes, LIMITS])


def _overlap_section(header: str, figures: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Return a table of overlap metrics below a header; empty without data sets."""
    labels = [metric.label for metric in OVERLAP_METRICS.values()]
    rows = [
        f"| {name} | {estimates['DI'].count} | " + " | ".join(str(estimates[key]) for key in OVERLAP_METRICS) + " |"
        for name, estimates in figures.items()
    ]
    table = ["| images | n | " + " | ".join(labels) + " |\n|---|---|" + "---|" * len(labels), *rows, ""]
    return [header, *table] if figures else []


def outside_section(model: str) -> list[str]:
    """Return the section on data that were kept back from development; empty for models without figures on them."""
    return [f"{OUTSIDE_HEADER}\n{OUTSIDE_FIGURES[model]}"] if model in OUTSIDE_FIGURES else []


@dataclass(frozen=True)
class CrossValidationMetrics:
    """Result of a cross-validation of a classifier.

    ``share``: of the positive class. ``by_input``: input of the model, such as the photograph alone, to its estimates
    by metric. ``gain``: of the AUC by clinical metadata; None if it was not measured. ``sets``: estimates on the
    prediction sets: ``held`` and ``held of the positive`` (the set contains the true class), ``inconclusive`` and
    ``out_of_distribution``; empty if they were not measured.
    """

    folds: int
    share: float
    by_input: Mapping[str, Mapping[str, Estimate]]
    gain: Estimate | None
    sets: Mapping[str, Estimate]
    groups: Sequence[CardSubgroup] = ()


def full_class_card(
    config: BundleConfig, metrics: CrossValidationMetrics, elsewhere: Mapping[str, Mapping[str, Estimate]], notes: str
) -> str:
    """Return the card of a shipped classifier.

    ``elsewhere``: name of another data set to its estimates. ``notes``: the sections on data and limits, in Markdown.
    """
    classifier = config.classifier
    assert classifier is not None
    about = {"folds": metrics.folds, "positive": classifier.positive, "share": metrics.share}
    sensitivity = classifier.operating_point.target_sensitivity if classifier.operating_point else 0.5
    parts = [
        card_header(config),
        CLASSIFIER_PERFORMANCE.format(**about, target_sensitivity=sensitivity),
        *([OTHER_COLLECTIONS, _metrics_table("images", elsewhere)] if elsewhere else [NO_OTHER_COLLECTION]),
        CROSS_VALIDATED.format(**about),
        _metrics_table("input", metrics.by_input),
        *([_metadata_text(metrics.gain, classifier.positive)] if metrics.gain else []),
        *([_prediction_sets_text(metrics.sets, classifier.positive, classifier.coverage)] if metrics.sets else []),
        _subgroups_section(metrics.groups, classifier.positive),
        *outside_section(config.name),
        training_section(config),
        notes,
    ]
    return "\n".join(parts)


def _metrics_table(title: str, rows: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Return a table of metrics; ``rows``: name to estimates."""
    lines = [f"| {title} | n | " + " | ".join(CLASS_METRICS) + " |", "|---|---|" + "---|" * len(CLASS_METRICS)]
    for name, figures in rows.items():
        cells = " | ".join(str(figures[metric]) if metric in figures else "" for metric in CLASS_METRICS)
        lines.append(f"| {name} | {figures['AUC'].count} | {cells} |")
    return "\n".join([*lines, ""])


def _metadata_text(gain: Estimate, positive: str) -> str:
    """State whether clinical metadata improve the predictions; ``gain``: of the AUC."""
    effect = "improve" if gain.low > 0 else "worsen" if gain.high < 0 else "do not significantly change"
    return (
        f"Clinical metadata {effect} the AUC of {positive}: {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) "
        "compared with the photograph alone, on the same images.\n"
    )


def _prediction_sets_text(sets: Mapping[str, Estimate], positive: str, coverage: float) -> str:
    """Describe the coverage of the prediction sets."""
    return f"""Prediction sets with a nominal coverage of {100 * coverage:g} % contain the true class in a share of
{sets["held"]}, of {positive} in {sets["held of the positive"]}, and are inconclusive (more than one class) in
{sets["inconclusive"]}.
A share of {sets["out_of_distribution"]} was out of distribution.
"""


def _subgroups_section(groups: Sequence[CardSubgroup], positive: str) -> str:
    """Return the section on subgroups; "" without subgroups."""
    lines = [
        "### Subgroups",
        "",
        f"With photograph and clinical metadata; no AUC for subgroups with fewer than five {positive} or others.",
        "",
        f"| subgroup | n | {positive} | AUC | sensitivity | specificity |",
        "|---|---|---|---|---|---|",
    ]
    for group in groups:
        cells = (str(group.figures.get(metric, "")) for metric in ("AUC", "sensitivity", "specificity"))
        lines.append(f"| {group.name} | {group.count} | {group.positives} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""]) if groups else ""
