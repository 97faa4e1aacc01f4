"""The card of a classifier that was measured: with the form, without it, by the form alone, and in groups of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_melanoma.core.classifier import AgeGroup
from napari_melanoma.workflows.class_subgroups import AGES
from napari_melanoma.workflows.model_card import head, training

if TYPE_CHECKING:
    from napari_melanoma.analysis.statistics import Estimate
    from napari_melanoma.models.bundle import BundleConfig

SHOWN = ("AUC", "AP", "sensitivity", "specificity", "ECE")
MEASURED = """## How well it does

Cross-validated: {folds} networks of this recipe, each asked about the images that it has not seen, their answers
pooled. This bundle comes of all of the images by the same recipe, of which some taught it and the others calibrate it.
Sensitivity and specificity of {positive} are those at the cut that each fold chose on images of its own for a
sensitivity of {asked:.2f}. AP: average precision, {share:.2f} by chance; ECE: expected calibration error. In brackets
95 % intervals (bootstrap over patients or lesions, 2000 rounds, seed 0).
"""


@dataclass(frozen=True)
class Group:
    """How it does on some of the images: what they have in common, how many, and how many are positive."""

    name: str
    count: int
    positives: int
    figures: Mapping[str, Estimate]


@dataclass(frozen=True)
class CrossValidated:
    """What a cross-validation found."""

    folds: int
    share: float
    asked: Mapping[str, Mapping[str, Estimate]]
    gain: Estimate
    sets: Mapping[str, Estimate]
    groups: Sequence[Group] = ()


def full_class_card(
    config: BundleConfig, found: CrossValidated, elsewhere: Mapping[str, Mapping[str, Estimate]], notes: str
) -> str:
    """Write the card of a classifier that ships."""
    asked = config.classifier
    assert asked is not None
    about = {"folds": found.folds, "positive": asked.positive, "share": found.share}
    point = asked.operating_point.asked if asked.operating_point else 0.5
    parts = [
        head(config),
        MEASURED.format(**about, asked=point),
        _table("asked with", found.asked),
        _form(found, asked.positive),
        _sets(found.sets, asked.positive, asked.coverage),
        _groups(found.groups, asked.positive),
        "### Other data\n\nThis bundle, on images of other clinics and cameras.\n",
        _table("images", elsewhere),
        training(config),
        notes,
    ]
    return "\n".join(parts)


def age_groups(groups: Sequence[Group]) -> tuple[AgeGroup, ...]:
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


def _form(found: CrossValidated, positive: str) -> str:
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


def _groups(groups: Sequence[Group], positive: str) -> str:
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
