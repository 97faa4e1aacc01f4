"""Model cards of segmentation, classification and whole-slide models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError, RunError
from napari_melanoma.core.prediction_config import AgeGroup
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.evaluation.evaluate_classes import AGES
from napari_melanoma.metrics.overlap import METRICS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.evaluation.comparison import Comparison
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.models.bundle import BundleConfig

MEASURED = """## How well it does

On images that neither training nor the choice of epoch and threshold saw. Averaged over images; each mask is made as
users get it: threshold {threshold:.2f}, smoothed, largest lesion kept and filled. In brackets 95 % intervals
(percentile bootstrap over patients or lesions, 2000 rounds, seed 0). TJA: Jaccard, 0 below 0.65; JA: Jaccard; DI: Dice;
AC: accuracy; SE: sensitivity; SP: specificity of the pixels (ISIC 2018).
"""
WHAT_IS_MEASURED = {
    "segmentation": "each mask made as users get it, the mean Jaccard index",
    "classification": "each answer given as users get it, the area under the ROC curve",
}
PIPELINES = {"segmentation": "image-segmentation", "classification": "image-classification"}
LIMITS = """## What it is not for

- Diagnosis, or any decision about a patient. It finds the border of a lesion; it does not know what the lesion is.
- Several lesions at once: it marks what looks like lesion, and the analysis keeps the largest unless told otherwise.
- Kinds of photograph that it was not trained on: total-body tiles, histology, fluorescence, mucosa and nails.
- Dark skin: the images it learnt from show mostly light skin (Fitzpatrick I to III). Check each mask.
- Lesions that fill the view: they are found in part. Elsewhere it tends to draw a little outside the border.
- A border to be trusted where people disagree: two readers of one image reach a Dice index of about 0.8 to 0.9.

Known to go wrong: red or sun-damaged skin, pale and diffuse borders, dense hair, ink, rulers and other moles near by.
"""


def write_compared_card(run: Path) -> None:
    """Write into the card of a run's model how it compared with its parent, also where it is worse."""
    from napari_melanoma.core.files import write_text
    from napari_melanoma.evaluation.comparison import read_comparison
    from napari_melanoma.models.bundle import CARD, read_bundle
    from napari_melanoma.training.run_data import read_data

    folder = RunFolder(run)
    try:
        found = read_comparison(folder.comparison)
    except InputError:
        return
    try:
        reviews = Counter(row.sample.review for row in read_data(folder.data) if row.part == "learn")
    except RunError:  # of another version: the card does without these counts
        reviews = None
    bundle = read_bundle(folder.bundle)
    write_text(bundle.path / CARD, draft_card(bundle.config, found, reviews))


def draft_card(
    config: BundleConfig, found: Comparison | None = None, reviews: Mapping[str | None, int] | None = None
) -> str:
    """Write the card that a training run leaves: all that is known before an evaluation of its own."""
    if config.encoder is not None:
        return bag_card(config)
    advice = (
        "Measure it on images that it never saw before relying on it:\n"
        "`napari-melanoma evaluate --model FOLDER --data DATASET --out DIR`.\n"
    )
    compared = [_compared(found)] if found is not None else []
    return "\n".join([card_header(config), *compared, training_section(config, reviews), advice])


def full_card(config: BundleConfig, figures: Mapping[str, Mapping[str, Estimate]], data_notes: str) -> str:
    """Write the card of a bundle that was measured on images that it never saw."""
    header = "| images | n | " + " | ".join(METRICS) + " |\n|---|---|" + "---|" * len(METRICS)
    rows = [
        f"| {name} | {estimates['DI'].count} | " + " | ".join(str(estimates[metric]) for metric in METRICS) + " |"
        for name, estimates in figures.items()
    ]
    measured = "\n".join([MEASURED.format(threshold=config.threshold), header, *rows, ""])
    return "\n".join([card_header(config), measured, training_section(config), data_notes, LIMITS])


def card_header(config: BundleConfig) -> str:
    """Write how a card begins: front matter, name and the notice."""
    kinds = f"For photographs of these kinds: {', '.join(config.modalities) or 'not stated'}."
    if config.tile is not None:
        tile = config.tile
        kinds = f"For whole-slide images, in tiles of {tile.side_px} pixels at {tile.mpp:g} micrometres per pixel."
    return f"""---
license: {config.licence.lower()}
library_name: napari-melanoma
pipeline_tag: {PIPELINES[config.task]}
---

# {config.name}

{config.title}.

**Research use only; not for diagnosis.** {kinds}
{_synthetic_note(config)}"""


def _synthetic_note(config: BundleConfig) -> str:
    """What a reader must know of a model that has learnt from phantoms."""
    share = config.synthetic_share
    if not share:
        return ""
    if share < 1:
        return f"\n**Phantoms:** {100 * share:.0f} % of the images that it has learnt from were drawn by a program.\n"
    return (
        "\n**Phantom-trained, demonstration.** All images that it has learnt from were drawn by a program: it shows "
        "how a model is used, and what it says means nothing for a real patient.\n"
    )


def _compared(found: Comparison) -> str:
    """How it compared with its parent, on images that the run did not see."""
    if found.decisive is None:
        return ""
    before, after, gain = found.decisive
    one = found.images == 1
    told = not one and (gain.low > 0 or gain.high < 0)
    word = ("better" if gain.mean > 0 else "worse") if told else "not told apart by these images"
    interval = "one image, so no interval" if one else gain.format_interval(words="95 % interval ")
    images = "1 image" if one else f"{found.images} images"
    patients = "1 patient or lesion" if found.patients == 1 else f"{found.patients} patients or lesions"
    return f"""## Against the model that it started from

{found.new.name} against {found.old.name}: **{word}**. On {images} of {patients} held out of the training,
{WHAT_IS_MEASURED[found.task]} is {after.mean:.3f} against {before.mean:.3f}, difference
{gain.mean:+.3f} ({interval}). Advice: {found.advice}. {found.reason}
"""


def training_section(config: BundleConfig, reviews: Mapping[str | None, int] | None = None) -> str:
    """Write how it was trained, from the provenance.

    Markdown, a section.
    """
    known = config.provenance
    learnt = "\n".join(f"- {name}: {count} images" for name, count in known.get("train_images", {}).items())
    if reviews is not None and (reviews.get("corrected") or reviews.get("accepted")):
        corrected, accepted = reviews.get("corrected", 0), reviews.get("accepted", 0)
        learnt += f"\n- of the masks, {corrected} were corrected by hand and {accepted} accepted as they were"
    elif known.get("corrections"):
        learnt += f"\n- of the masks, {known['corrections']} were corrected or accepted by hand"
    prepared = f" ({config.preprocessing.description})" if config.preprocessing.is_on else ""
    return f"""## Training

{learnt}

- Network: `{config.architecture}` {config.options}, input {config.input_size} x {config.input_size} pixels{prepared}
- Start: {known.get("start")}; loss: {known.get("loss")}; up to {known.get("epochs")} epochs; seed {known.get("seed")}
{_validation_text(config)}"""


def _validation_text(config: BundleConfig) -> str:
    """What the tuning images chose, and what they say."""
    known, images = config.provenance, config.provenance.get("tuning_images")
    if config.task == "segmentation" and not config.segments_one_class:
        chose = "had no say" if known.get("recipe", {}).get("keep") == "last" else "chose the epoch"
        dice = ", ".join(f"{name} {value}" for name, value in known.get("tuning_dice_of_classes", {}).items())
        return f"""- It tells {", ".join(config.classes)} apart, pixel by pixel; the most probable class counts
- {images} further images, set aside by patient or lesion, {chose}; on them, over all pixels, the mean
  Jaccard index of the classes is {known.get("tuning_jaccard")}, Dice: {dice}.
  That is optimistic for images like them, and no figure to compare with others
"""
    if config.classifier is None:
        return f"""- {images} further images, set aside by patient or lesion, chose the epoch and the threshold
  {config.threshold:.2f}; on them, at the network's size and unrefined, the mean Jaccard index is
  {known.get("tuning_jaccard")}, which is optimistic for images like them, and no figure to compare with others
"""
    asked, point = config.classifier, config.classifier.operating_point
    chose = "the temperature" if known.get("recipe", {}).get("keep") == "last" else "the epoch, the temperature"
    fields = ", ".join(config.tabular.fields) if config.tabular else "none"
    cut = (
        f"at {point.cut:.2f}, chosen for a sensitivity of {point.asked:.2f}, sensitivity is {point.sensitivity:.2f} "
        f"({point.sensitivity_interval[0]:.2f} to {point.sensitivity_interval[1]:.2f}) and specificity "
        f"{point.specificity:.2f} ({point.specificity_interval[0]:.2f} to {point.specificity_interval[1]:.2f})"
        if point
        else "no operating point could be chosen"
    )
    sees = f"of a photograph it sees the {asked.view.region}" if config.tile is None else "it sees a tile at a time"
    return f"""- It tells {", ".join(config.classes)} apart; {sees}
- Columns of the table: {fields}
- {images} further images, set aside by patient or lesion, chose {chose} {asked.temperature:.2f} and
  the operating point; on them the AUC of {asked.positive} is {known.get("tuning_auc")}, average precision
  {known.get("tuning_average_precision")}, calibration error {known.get("tuning_calibration_error")}, and {cut}.
  All of that is optimistic for images like them, and no figure to compare with others
"""


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
    return f"""{card_header(config)}
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


SHOWN = ("AUC", "AP", "sensitivity", "specificity", "ECE")
CLASSIFIER_MEASURED = """## How well it does

Cross-validated: {folds} networks of this recipe, each asked about the images that it has not seen, their answers
pooled. This bundle comes of all of the images by the same recipe, of which some taught it and the others calibrate it.
Sensitivity and specificity of {positive} are those at the cut that each fold chose on images of its own for a
sensitivity of {asked:.2f}. AP: average precision, {share:.2f} by chance; ECE: expected calibration error. In brackets
95 % intervals (bootstrap over patients or lesions, 2000 rounds, seed 0).
"""


@dataclass(frozen=True)
class CardSubgroup:
    """How it does on some of the images: what they have in common, how many, and how many are positive."""

    name: str
    count: int
    positives: int
    figures: Mapping[str, Estimate]


@dataclass(frozen=True)
class CrossValidationMetrics:
    """What a cross-validation found."""

    folds: int
    share: float
    asked: Mapping[str, Mapping[str, Estimate]]
    gain: Estimate
    sets: Mapping[str, Estimate]
    groups: Sequence[CardSubgroup] = ()


def full_class_card(
    config: BundleConfig, found: CrossValidationMetrics, elsewhere: Mapping[str, Mapping[str, Estimate]], notes: str
) -> str:
    """Write the card of a classifier that ships."""
    asked = config.classifier
    assert asked is not None
    about = {"folds": found.folds, "positive": asked.positive, "share": found.share}
    point = asked.operating_point.asked if asked.operating_point else 0.5
    parts = [
        card_header(config),
        CLASSIFIER_MEASURED.format(**about, asked=point),
        _table("asked with", found.asked),
        _patient_data_section(found, asked.positive),
        _sets(found.sets, asked.positive, asked.coverage),
        _groups(found.groups, asked.positive),
        "### Other data\n\nThis bundle, on images of other clinics and cameras.\n",
        _table("images", elsewhere),
        training_section(config),
        notes,
    ]
    return "\n".join(parts)


def age_groups(groups: Sequence[CardSubgroup]) -> tuple[AgeGroup, ...]:
    """Take out what a bundle says beside its answers: how often it was right about people of each age.

    Returns the youngest first; without a group that holds no positive or no other case.
    """
    named, limits = {group.name: group for group in groups}, (0.0, *(limit for limit, _ in AGES))
    found = []
    for (at_least, below), (_, ages) in zip(pairwise(limits), AGES, strict=True):
        group = named.get(f"age: {ages}")
        if group and {"sensitivity", "specificity"} <= set(group.figures):
            hit, spared = group.figures["sensitivity"], group.figures["specificity"]
            found.append(
                AgeGroup(
                    at_least=at_least,
                    below=below if below < float("inf") else None,
                    images=group.count,
                    positives=group.positives,
                    sensitivity=hit.mean,
                    sensitivity_interval=(hit.low, hit.high),
                    specificity=spared.mean,
                    specificity_interval=(spared.low, spared.high),
                )
            )
    return tuple(found)


def _table(title: str, rows: Mapping[str, Mapping[str, Estimate]]) -> str:
    """A line for each name."""
    lines = [f"| {title} | n | " + " | ".join(SHOWN) + " |", "|---|---|" + "---|" * len(SHOWN)]
    for name, figures in rows.items():
        cells = " | ".join(str(figures[metric]) if metric in figures else "" for metric in SHOWN)
        lines.append(f"| {name} | {figures['AUC'].count} | {cells} |")
    return "\n".join([*lines, ""])


def _patient_data_section(found: CrossValidationMetrics, positive: str) -> str:
    """Whether the patient's data help."""
    gain = found.gain
    helps = "helps" if gain.low > 0 else "harms" if gain.high < 0 else "cannot be shown to help"
    return (
        f"The form {helps}: with it the AUC of {positive} is {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) "
        "above that of the photograph alone, on the same images.\n"
    )


def _sets(sets: Mapping[str, Estimate], positive: str, coverage: float) -> str:
    """What the sets of classes keep of their promise."""
    return f"""Sets of classes were asked to hold the true one in {100 * coverage:g} %: they held it in a share of
{sets["held"]}, of {positive} in {sets["held of the positive"]}, and named more than one class, "cannot tell", in
{sets["cannot_tell"]}.
A share of {sets["unlike"]} was said to look like nothing it was trained on.
"""


def _groups(groups: Sequence[CardSubgroup], positive: str) -> str:
    """How it does on groups of images."""
    lines = [
        "### Groups",
        "",
        f"With photograph and form; no AUC where a group holds fewer than five {positive} or others.",
        "",
        f"| group | n | {positive} | AUC | sensitivity | specificity |",
        "|---|---|---|---|---|---|",
    ]
    for group in groups:
        cells = (str(group.figures.get(metric, "")) for metric in ("AUC", "sensitivity", "specificity"))
        lines.append(f"| {group.name} | {group.count} | {group.positives} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""]) if groups else ""
