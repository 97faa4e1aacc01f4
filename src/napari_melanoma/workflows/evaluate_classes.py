"""Measure a classifier on images whose class is known: as users get its answers, calibrated and cut where it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.statistics import Estimate, bootstrap_mean
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.runs import Milestone, RunContext
from napari_melanoma.models.registry import find_bundle, for_photographs, of_task
from napari_melanoma.workflows.class_subgroups import ClassSubgroup, class_subgroups
from napari_melanoma.workflows.evaluated_depths import EvaluatedDepths, evaluated_depths
from napari_melanoma.workflows.evaluation import Failed, Figures
from napari_melanoma.workflows.evaluation_classes import Told, class_differences, class_estimates, knowing_the_domain
from napari_melanoma.workflows.judged_classes import Judged, images_to_judge
from napari_melanoma.workflows.measuring_classes import (
    DISTANCE,
    WHOLE,
    ClassEvaluationOptions,
    logit_name,
    measure_classifiers,
    variants,
)
from napari_melanoma.workflows.modality_fit import unfit_images
from napari_melanoma.workflows.unfinished import forget

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.workflows.classify import ClassifyingModel
    from napari_melanoma.workflows.lesion import ProbabilityModel
    from napari_melanoma.workflows.training_overlap import Overlap

REWARDED = 0.55  # the AUC of knowing the data set alone, from which a reader is warned
KNOWS_DOMAIN = (
    "Over all data sets together, an AUC of {area:.3f} is had by who knows of each image its data set alone, since "
    "{shares}. Look at each data set by itself, or at AUC_within."
)
ONE_CLASS = "No image is {what}: what tells the classes apart, such as the AUC, cannot be measured on these."
LEFT_OUT = "{count} of {all} images have no answer in the column '{target}', or one that the model does not know."


@dataclass(frozen=True, eq=False)
class ClassEvaluation:
    """What an evaluation of a classifier found.

    ``parts`` has estimates for all images and each data set. ``without`` says for each column of the form, and for an
    empty form, by how much the AUC changes when it is taken away. ``told`` has what was said of each image that was
    measured, in the order of ``figures.measured``; so has ``depths`` of a model that tells them.
    """

    told: Told
    figures: Figures
    parts: dict[str, dict[str, Estimate]]
    subgroups: tuple[ClassSubgroup, ...] = ()
    without: Mapping[str, Estimate] | None = None
    warnings: tuple[str, ...] = ()
    depths: EvaluatedDepths | None = None
    overlap: Overlap | None = None

    @property
    def failed(self) -> tuple[Failed, ...]:
        """The images that could not be measured."""
        return self.figures.failed


def evaluate_classifier(
    model: ClassifyingModel, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Measure a classifier and write what was found, or go on where an earlier call was stopped."""
    of_task(model.info, "classification")
    return evaluate_judged(model, images_to_judge(datasets, model, options), out, options, run=run)


def evaluate_judged(
    model: ClassifyingModel, judged: Judged, out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Measure a classifier on images that were chosen; ``evaluate_classifier`` says the rest."""
    from napari_melanoma.workflows.class_files import write_class_evaluation

    judged = judged.without_training_images([model.info], options, run=run)
    warnings = judged_warnings([model.info], judged)
    for warning in warnings:
        run.report(Milestone(0, len(judged.samples), f"Warning: {warning}"))
    (figures,) = measure_classifiers(
        [model], judged.samples, judged.rows, options, out, segmenter=segmenter_of(options), run=run
    )
    evaluation = judged_by(model, figures, judged, options)
    trained_on = judged.overlap.warnings if judged.overlap else ()
    warnings = [*trained_on, *warnings, *evaluation.warnings]
    evaluation = replace(evaluation, warnings=tuple(warnings), overlap=judged.overlap)
    write_class_evaluation(out, evaluation, model, options)
    forget(out)
    return evaluation


def judged_warnings(models: Sequence[BundleInfo], judged: Judged) -> list[str]:
    """Say what of the images a reader of the figures should know first.

    That some are of a kind that a model was not trained on, or have no answer.
    """
    warnings = [*unfit_images(models, judged.samples)]
    if judged.left_out:
        every = judged.left_out + len(judged.samples)
        warnings.append(LEFT_OUT.format(count=judged.left_out, all=every, target=judged.target))
    return warnings


def segmenter_of(options: ClassEvaluationOptions) -> ProbabilityModel | None:
    """Load the model that draws the masks, where they are not the data set's.

    None where the masks are there.
    """
    if options.masks == "reference":
        return None
    from napari_melanoma.inference.photograph import Segmenter

    return Segmenter.load(for_photographs(find_bundle(options.segmenter), "segmentation"))


def told_by(
    model: ClassifyingModel, figures: Figures, judged: Judged, options: ClassEvaluationOptions, variant: str = WHOLE
) -> Told:
    """Give what a model said of the images that could be measured.

    In the order of ``figures.measured``.
    """
    config, places = model.info.config, figures.measured
    assert config.classifier is not None
    names = [logit_name(variant, place) for place in range(len(config.classes))]
    logits = np.stack([figures.column(name)[places] for name in names], axis=1)
    samples = [figures.samples[place] for place in places]
    probabilities = model.judge.probabilities(logits.astype(np.float32))
    if judged.classes != config.classes:  # against the rest
        positive = probabilities[:, config.classes.index(config.classifier.positive)]
        probabilities = np.stack([1 - positive, positive], axis=1)
    return Told(
        probabilities,
        judged.labels[places],
        np.array([sample.group for sample in samples]),
        judged.classes,
        config.classifier.positive,
        _cut(model, options),
        np.array([sample.domain for sample in samples]),
    )


def _cut(model: ClassifyingModel, options: ClassEvaluationOptions) -> float:
    """Where probabilities are cut in two; in the middle where nobody ever chose."""
    point = model.judge.operating_point(options.sensitivity)
    if point is None and options.sensitivity is not None:
        raise InputError(
            f"'{model.info.name}' carries no reference cases by which a cut for {options.sensitivity:g} could be "
            "found. Leave --sensitivity out, or train it again."
        )
    return 0.5 if point is None else point.cut


def judged_by(
    model: ClassifyingModel, figures: Figures, judged: Judged, options: ClassEvaluationOptions
) -> ClassEvaluation:
    """Estimate all there is to estimate from what was measured."""
    told = told_by(model, figures, judged, options)
    domains = told.domains
    assert domains is not None
    depths = evaluated_depths(model.info, figures, judged.rows)
    parts = {"all": class_estimates(told) | _of_sets(model, told, figures)}
    for domain in np.unique(domains):
        here = domains == domain
        parts[str(domain)] = class_estimates(told.take(here)) | _of_sets(
            model, told.take(here), figures, figures.measured[here]
        )
        parts[str(domain)] |= depths.estimates(list(told.groups[here]), here) if depths else {}
    parts["all"] |= depths.estimates(list(told.groups)) if depths else {}
    found = tuple(class_subgroups(told, [figures.samples[place] for place in figures.measured], judged.rows))
    # Where a column changes no answer at all, nobody filled it in.
    less = {name: told_by(model, figures, judged, options, name) for name in variants(model)[1:]}
    without = {
        name: class_differences(told, one)["AUC"]
        for name, one in less.items()
        if "AUC" in parts["all"] and not np.array_equal(one.probabilities, told.probabilities)
    }
    return ClassEvaluation(told, figures, parts, found, without, tuple(_beware(told)), depths)


def _of_sets(
    model: ClassifyingModel, told: Told, figures: Figures, places: NDArray[np.intp] | None = None
) -> dict[str, Estimate]:
    """How often the set of classes holds the true one, how often it tells nothing, and how many images are unlike."""
    config = model.info.config.classifier
    assert config is not None
    found: dict[str, NDArray[np.bool_]] = {}
    if model.judge.reference is not None and told.classes == model.info.config.classes:  # else no set is asked for
        sets = model.judge.possible(told.probabilities)
        found["coverage"] = sets[np.arange(len(sets)), told.labels]
        found["cannot_tell"] = sets.sum(axis=1) != 1
    distances = figures.column(DISTANCE)[figures.measured if places is None else places]
    if config.unlike is not None and not np.isnan(distances).any():
        found["unlike"] = distances > config.unlike
    return {name: bootstrap_mean(one.astype(float), list(told.groups), bounds=(0, 1)) for name, one in found.items()}


def _beware(told: Told) -> Iterator[str]:
    """What a reader should know before the figures."""
    if told.truth.all() or not told.truth.any():
        yield ONE_CLASS.format(what=f"other than {told.positive}" if told.truth.all() else told.positive)
        return
    assert told.domains is not None
    names = np.unique(told.domains)
    area = knowing_the_domain(told)
    if len(names) > 1 and area >= REWARDED:
        shares = ", ".join(f"{100 * told.truth[told.domains == name].mean():.0f} % of '{name}'" for name in names)
        yield KNOWS_DOMAIN.format(area=area, shares=f"{shares} are {told.positive}")
