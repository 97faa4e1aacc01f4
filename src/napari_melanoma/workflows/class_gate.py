"""The gate of a classifier: against the one that it started from, or by itself, on what the run has held out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from napari_melanoma.analysis.statistics import INTERVAL, Estimate
from napari_melanoma.core.config import read_toml
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.runs import RunContext
from napari_melanoma.training.class_prepare import read_held_out
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data
from napari_melanoma.workflows.advice import LEAST, advise
from napari_melanoma.workflows.compare_classes import SHOWN, ClassesCompared, ClassStanding, compare_judged
from napari_melanoma.workflows.comparison import Advice, ComparedModel, Comparison, DomainChange
from napari_melanoma.workflows.evaluate_classes import evaluate_judged
from napari_melanoma.workflows.judged_classes import Judged
from napari_melanoma.workflows.measuring_classes import ClassEvaluationOptions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.workflows.evaluate_classes import ClassEvaluation

FEW = (
    "Of the {images} images that judge, {fewest} {are} of the rarer kind, and at least {least} are needed to say how "
    "well a model tells the two apart. {remedy}"
)
MORE = "Hold more images out, and train again."
WORSE = {
    "sensitivity": "At its own cut the new model finds fewer of the positives: sensitivity {said}.",
    "specificity": "At its own cut the new model raises more false alarms: specificity {said}.",
    "ECE": "The new model's probabilities are further from what is seen: calibration error {said}.",
}
NEXT = "Take the new model over, or discard it; the old one stays either way."


def compare_with_start(
    folder: RunFolder, models: Sequence[BundleInfo], notes: Sequence[str], out: Path, *, run: RunContext
) -> Comparison:
    """Compare the classifier of a run with the one that it started from.

    Returns the area under the ROC curve decides; calibration error, sensitivity and specificity at each model's own cut
    stand beside it, and are named in the reason where the new model is worse in them.
    """
    from napari_melanoma.inference.classification import Classifier

    recipe = read_toml(folder.config, TrainRecipe)
    judged = _judged(folder, models[-1]).without_training_images(models, ClassEvaluationOptions(), run=run)
    overlap = judged.overlap
    assert overlap is not None
    loaded = [Classifier.load(info) for info in models]

    def advised(found: ClassesCompared) -> tuple[Advice, str]:
        remedy = " ".join(overlap.more_needed(recipe.data.held_out_fraction))
        advice, reason = overlap.verdict(*_advised(_changes(found, judged), judged.labels.size, remedy))
        return advice, " ".join([reason, *notes])

    found = compare_judged(
        loaded, judged, out, ClassEvaluationOptions(), run=run, conclude=lambda found: (advised(found)[1], NEXT)
    )
    comparison = _comparison(found, models, judged, *advised(found))
    comparison.write(out)  # last: whoever reads takes it for the sign that all is there
    return comparison


def evaluate_held_out(folder: RunFolder, model: BundleInfo, *, run: RunContext) -> ClassEvaluation:
    """Evaluate the classifier of a run that started from none."""
    from napari_melanoma.inference.classification import Classifier

    judged = _judged(folder, model)
    with atomic_folder(folder.evaluation) as temporary:
        return evaluate_judged(Classifier.load(model), judged, temporary, ClassEvaluationOptions(), run=run)


def _judged(folder: RunFolder, model: BundleInfo) -> Judged:
    """The images that a run held out, with the answers that it has noted when it began."""
    rows = read_data(folder.data)
    labels, said = read_held_out(folder.path, rows)
    samples = [row.sample for row in rows if row.part == "held_out"]
    assert model.config.classifier is not None
    return Judged(samples, said, labels, model.config.classifier.positive, 0, model.config.classes)


def _changes(found: ClassesCompared, judged: Judged) -> list[DomainChange]:
    """What changed: on all images first, then on each data set where there are several."""
    lost = {image_id for image_id, _ in found.failed}
    measured = [sample for sample in judged.samples if sample.image_id not in lost]
    olds, news = found.standings[::2], found.standings[1::2]
    changes = []
    for old, new in zip(olds, news, strict=True):
        groups = {sample.group for sample in measured if old.part in ("all", sample.domain)}
        difference = {name: one for name, one in new.difference.items() if name in SHOWN}
        changes.append(DomainChange(old.part, False, len(groups), _shown(old), _shown(new), difference))
    return changes


def _shown(standing: ClassStanding) -> dict[str, Estimate]:
    """The metrics that a gate shows."""
    return {name: standing.metrics[name] for name in SHOWN if name in standing.metrics}


def _advised(changes: Sequence[DomainChange], images: int, remedy: str) -> tuple[Advice, str]:
    """Advise by the area under the curve, and say beside it what got worse."""
    whole, *domains = changes
    there = [whole.new[name].count for name in ("sensitivity", "specificity") if name in whole.new]
    fewest = min(there) if len(there) > 1 else 0
    if 0 < fewest < LEAST:
        are = "is" if fewest == 1 else "are"
        remedy = remedy or MORE
        return "cannot tell", FEW.format(images=images, fewest=fewest, are=are, least=LEAST, remedy=remedy)
    advice, reason = advise(whole, domains, "AUC", remedy=remedy)
    return advice, " ".join([reason, *_worse(whole)])


def _worse(whole: DomainChange) -> Iterator[str]:
    """Sentences on what the area under the curve does not show, where the new model is worse beyond chance."""
    for name, words in WORSE.items():
        change = whole.difference.get(name)
        if change is None or not math.isfinite(change.low):
            continue
        if (change.low > 0) if name == "ECE" else (change.high < 0):
            yield words.format(said=f"{change.mean:+.3f} ({change.interval(words='95 % interval ')})")


def _comparison(
    found: ClassesCompared, models: Sequence[BundleInfo], judged: Judged, advice: Advice, reason: str
) -> Comparison:
    """Put it as the docks and the command line read it."""
    whole, *domains = _changes(found, judged)
    old, new = (
        ComparedModel(info.name, info.fingerprint, _cut(info), metrics)
        for info, metrics in zip(models, (whole.old, whole.new), strict=True)
    )
    return Comparison(
        old=old,
        new=new,
        difference=whole.difference,
        domains=tuple(domains),
        better=(),
        worse=(),
        advice=advice,
        reason=reason,
        images=found.standings[0].images,
        patients=whole.patients,
        failed=found.failed,
        facts={
            "warnings": list(found.warnings),
            "training_overlap": judged.overlap.facts if judged.overlap else None,
            "interval": f"{INTERVAL}; of differences paired",
            "provenance": provenance(),
        },
        task="classification",
    )


def _cut(info: BundleInfo) -> float:
    """Where a model's probabilities are cut; in the middle where nobody ever chose."""
    classifier = info.config.classifier
    return classifier.operating_point.cut if classifier and classifier.operating_point else 0.5
