"""What the gate says: pure functions from a comparison to what a person reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_melanoma.models.bundle import SLIDE
from napari_melanoma.ui.forest import Change

if TYPE_CHECKING:
    from napari_melanoma.analysis.statistics import Estimate
    from napari_melanoma.workflows.comparison import Comparison
    from napari_melanoma.workflows.runs import RunReport

METRICS = {
    "segmentation": {"JA": "Jaccard index, mean over images", "DI": "Dice index, mean over images"},
    "classification": {
        "AUC": "Area under the ROC curve: it decides",
        "sensitivity": "Share of the positives that is found at each model's own cut",
        "specificity": "Share of the others that is let go at each model's own cut",
        "ECE": "Calibration error: less is better",
    },
}
ADVICE = {
    "take over": "Advice: take the new model over.",
    "keep": "Advice: keep the old model.",
    "cannot tell": "No advice: the images cannot tell.",
}
NO_ADVICE = "No advice: the models were not compared."
ONE_IMAGE = "one image: no interval"
NOT_KNOWN = "Whether the models were trained on some of these images was not checked by the version that compared them."
NOT_COMPARED = (
    "The new model was not compared with the old one: the comparison was cancelled or failed, or no images were held "
    "out (the log states which). Whether it is better is not known. To compare them: napari-melanoma compare {run}"
)
ALONE = (
    "The run started from no classifier, so there is none to compare with. How the new model does by itself on the "
    "images held out: {page}"
)


def said_counts(found: Comparison) -> str:
    """Say what two models were compared on.

    Such as ``On 37 images of 22 patients or lesions; 95 % intervals.``, and which images were left out because a model
    was trained on them, or that none was.
    """
    images = _images(found.images)
    patients = (
        f"{found.patients} patient{'' if found.patients == 1 else 's'} or lesion{'' if found.patients == 1 else 's'}"
    )
    failed = f" {len(found.failed)} more could not be compared." if found.failed else ""
    overlap = found.facts.get("training_overlap") or {}
    seen = overlap.get("summary") or NOT_KNOWN
    return f"On {images} of {patients}; 95 % intervals.{failed} {seen}" if found.images else str(seen)


def said_missing(report: RunReport) -> str:
    """Say why there is nothing to compare.

    Of a classifier that started from none, where it was judged by itself.
    """
    page = report.path / "evaluation" / "summary.html"
    return ALONE.format(page=page) if page.is_file() else NOT_COMPARED.format(run=report.path)


def said_heading(name: str, count: int) -> str:
    """Head a list of images that got better or worse.

    Such as ``Better: 5 images``.
    """
    return (
        f"No image got {name}"
        if not count
        else f"{name.capitalize()}: {count} image{'' if count == 1 else 's'}, most first"
    )


def said_choice(report: RunReport) -> str:
    """Say what was chosen, where the model is, and how to go back.

    Empty where nothing was chosen.
    """
    old = "The old model" if report.comparison is None else report.comparison.old.name
    if report.adopted is not None:
        dock = "Slide" if report.recipe is not None and SLIDE in report.recipe.modalities else "Lesion"
        return f"Taken over as {report.adopted}: pick it as a model in the {dock} dock. {old} is still in the list."
    if report.discarded:
        return f"Discarded: no dock lists the new model. It is kept in {report.path.name}; Take over brings it back."
    return ""


def changes_of(found: Comparison) -> list[Change]:
    """Give the differences in what decides: all images first, then each data set where there are several.

    In the order of the comparison.
    """
    if found.decisive is None:
        return []
    old, new, change = found.decisive
    rows = [Change(f"all {_images(found.images)}", old.mean, new.mean, change)]
    if len(found.domains) > 1:
        rows += [
            Change(
                f"{domain.name}{' (base data)' if domain.base else ''}, {_images(domain.images)}",
                domain.old[found.metric].mean,
                domain.new[found.metric].mean,
                domain.difference[found.metric],
            )
            for domain in found.domains
            if found.metric in domain.difference
        ]
    return rows


def said_mean(estimate: Estimate | None, *, signed: bool) -> str:
    """Say a mean.

    Such as ``0.863``; a dash where it is not known.
    """
    if estimate is None or not math.isfinite(estimate.mean):
        return "–"
    return f"{estimate.mean:+.3f}" if signed else f"{estimate.mean:.3f}"


def said_ends(estimate: Estimate | None) -> str:
    """Say an interval.

    Such as ``0.821 to 0.886``; empty where there is none. One image says nothing of how others differ.
    """
    if estimate is not None and estimate.count == 1:
        return ONE_IMAGE
    if estimate is None or not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
