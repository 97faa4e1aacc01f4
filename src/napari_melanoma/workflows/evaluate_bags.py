"""Measure a model of whole slides on slides whose class is known: metrics with intervals, tables, figures, a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import BundleError, DataSetError, InputError, in_words
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.runs import CONCERNS_ALL
from napari_melanoma.core.tabular import TabularEncoding
from napari_melanoma.data.dataset import Entry, check_names, each_entry
from napari_melanoma.data.training_images import shortened
from napari_melanoma.inference.bags import BagModel
from napari_melanoma.io.bags import Bag, BagKind
from napari_melanoma.training.bag_rows import bag_samples, why_not
from napari_melanoma.training.class_prepare import read_held_out
from napari_melanoma.training.class_rows import answers_of, key_of
from napari_melanoma.training.run_data import read_data
from napari_melanoma.workflows.evaluate_classes import ClassEvaluation, judged_by
from napari_melanoma.workflows.evaluation import Figures
from napari_melanoma.workflows.judged_classes import Judged
from napari_melanoma.workflows.measuring_classes import DISTANCE, WHOLE, ClassEvaluationOptions, logit_name

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.inference.judging import Judge
    from napari_melanoma.models.bundle import BundleInfo


@dataclass(frozen=True)
class _Answering:
    """What the figures and tables of classifiers ask of a model: what it is, and how its logits are read."""

    info: BundleInfo
    judge: Judge
    device: str
    encoding: TabularEncoding = field(default_factory=TabularEncoding)


def evaluate_bags(
    info: BundleInfo, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Measure a model of whole slides on data sets, and write what was found."""
    with atomic_folder(out) as temporary:
        return _measured(info, _judged(info, datasets, options), temporary, options, run)


def evaluate_bags_held_out(folder: RunFolder, info: BundleInfo, *, run: RunContext) -> ClassEvaluation:
    """Measure the model of a run on the slides that it has held out."""
    rows = read_data(folder.data)
    labels, said = read_held_out(folder.path, rows)
    samples = [row.sample for row in rows if row.part == "held_out"]
    assert info.config.classifier is not None
    judged = Judged(samples, said, labels, info.config.classifier.positive, 0, info.config.classes)
    with atomic_folder(folder.evaluation) as temporary:
        return _measured(info, judged, temporary, ClassEvaluationOptions(), run)


def _judged(info: BundleInfo, datasets: Sequence[Path], options: ClassEvaluationOptions) -> Judged:
    """The slides of data sets whose class the model knows."""
    check_names(datasets)
    config = info.config
    learnt = (config.provenance.get("recipe", {}).get("classification") or {}).get("target", "diagnosis")
    target = options.target or str(learnt)
    rows = {
        (folder.name, entry.image_id): entry.row
        for folder in datasets
        for entry in each_entry(folder)
        if isinstance(entry, Entry)
    }
    answers, places = answers_of(rows, target), {name: place for place, name in enumerate(config.classes)}
    found = [one for folder in datasets for one in bag_samples(folder) if options.split in (None, one.split)]
    samples = [sample for sample in found if answers.get(key_of(sample)) in places]
    if not samples:
        raise DataSetError(
            f"none of {len(found)} slides has one of the classes of '{info.name}' ({', '.join(config.classes)}) in the "
            f"column '{target}'. Name another: --target."
        )
    labels = np.array([places[answers[key_of(sample)]] for sample in samples], np.intp)
    return Judged(samples, rows, labels, target, len(found) - len(samples), config.classes)


def _measured(
    info: BundleInfo, judged: Judged, out: Path, options: ClassEvaluationOptions, run: RunContext
) -> ClassEvaluation:
    """Ask the model about each slide, estimate, write."""
    from napari_melanoma.workflows.class_files import write_class_evaluation

    judged = judged.without_training_images([info], options, run=run, digest=_digest)
    model = BagModel.load(info)
    answering = _Answering(info, model.judge, model.device)
    names = [logit_name(WHOLE, place) for place in range(len(info.config.classes))]
    figures = Figures((*names, DISTANCE))
    for sample in run.track(judged.samples, "Looking at the slides"):
        try:
            answer = model.answer(_bag(sample.image, info).pieces())
        except CONCERNS_ALL:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a library raises is of this slide; the others go on
            figures.fail(sample, in_words(error))
        else:
            figures.add(sample, dict(zip(names, answer.logits.tolist(), strict=True)))
    if not len(figures.measured):
        raise DataSetError(f"not one of {len(judged.samples)} slides could be measured: {figures.failed[0].error}")
    evaluation = judged_by(answering, figures, judged, options)  # type: ignore[arg-type]  # pictures are never asked for
    trained_on = judged.overlap.warnings if judged.overlap else ()
    evaluation = replace(evaluation, warnings=(*trained_on, *evaluation.warnings), overlap=judged.overlap)
    write_class_evaluation(out, evaluation, answering, options)  # type: ignore[arg-type]
    return evaluation


def _digest(folder: Path) -> int | None:
    """64 bits of the embeddings of a slide; None where they cannot be read, which is reported of the slide."""
    try:
        return shortened(Bag.open(folder).fingerprint())
    except InputError:
        return None


def _bag(folder: Path, info: BundleInfo) -> Bag:
    """Open the bag of a slide, whose embeddings must be those that the model learnt from."""
    encoder, tile = info.config.encoder, info.config.tile
    if encoder is None or tile is None:
        raise BundleError(f"'{info.name}' is no model of whole slides.")
    bag = Bag.open(folder)
    if why := why_not(bag, BagKind(encoder, tile)):
        raise InputError(f"{folder} has embeddings that '{info.name}' did not learn from: {why}.")
    return bag
