"""Evaluation of whole-slide classifiers: each slide is a bag of embeddings of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.data.bags import Bag, BagKind
from napari_melanoma.data.dataset import Sample, read_rows
from napari_melanoma.data.training_images import shorten_digest
from napari_melanoma.evaluation.classes import (
    ALL_FIELDS,
    DISTANCE,
    ClassEvaluation,
    ClassReport,
    left_out_warnings,
    logit_name,
    summarize_classes,
)
from napari_melanoma.evaluation.labeled_images import (
    ClassEvaluationOptions,
    LabeledImages,
    select_images_of_split,
    trained_target,
)
from napari_melanoma.evaluation.pipeline import ImageMetrics, check_evaluated_datasets, run_evaluation
from napari_melanoma.slides.bag_models import BagModel
from napari_melanoma.training.data_preparation import read_test_set
from napari_melanoma.training.data_selection import row_labels
from napari_melanoma.training.run_data import read_data
from napari_melanoma.training.whole_slides import bag_samples, explain_mismatch

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.models.bundle import BundleInfo


def evaluate_bags(
    model: BagModel, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Evaluate a whole-slide model on data sets and write the results."""
    slides = _find_labeled_bags(model.info, datasets, options)
    task = BagTask(model, slides, options)
    return run_evaluation(task, slides.samples, out, include_seen=options.include_seen, run=run)


def evaluate_bags_test_set(folder: RunFolder, info: BundleInfo, *, run: RunContext) -> ClassEvaluation:
    """Evaluate the model of a run on its held-out slides."""
    rows = read_data(folder.data)
    labels, metadata = read_test_set(folder.path, rows)
    samples = [row.sample for row in rows if row.part == "test"]
    assert info.config.classifier is not None
    slides = LabeledImages(samples, metadata, labels, info.config.classifier.positive, 0, info.config.classes)
    task = BagTask(BagModel.load(info), slides, ClassEvaluationOptions())
    with atomic_folder(folder.evaluation) as temporary:
        return run_evaluation(task, samples, temporary, run=run)


def _find_labeled_bags(info: BundleInfo, datasets: Sequence[Path], options: ClassEvaluationOptions) -> LabeledImages:
    """Find the slides whose label is a class of the model."""
    check_evaluated_datasets(datasets)
    config = info.config
    target, rows = options.target or trained_target(config), read_rows(datasets)
    row_classes, indices = row_labels(rows, target), {name: index for index, name in enumerate(config.classes)}
    slides = select_images_of_split([sample for folder in datasets for sample in bag_samples(folder)], options.split)
    samples = [sample for sample in slides if row_classes.get(sample.key) in indices]
    if not samples:
        raise DataSetError(
            f"none of {len(slides)} slides has one of the classes of '{info.name}' ({', '.join(config.classes)}) in "
            f"the column '{target}'. Name another column (Python: target='COLUMN', command line: --target)."
        )
    labels = np.array([indices[row_classes[sample.key]] for sample in samples], np.intp)
    return LabeledImages(samples, rows, labels, target, len(slides) - len(samples), config.classes)


def _digest(folder: Path) -> int | None:
    """Hash the embeddings of a slide to 64 bits; None if they cannot be read, which is reported later."""
    try:
        return shorten_digest(Bag.open(folder).fingerprint())
    except InputError:
        return None


class BagTask(ClassReport[Bag]):
    """Classes of whole slides. The values of a slide are the logits of each class."""

    digest = staticmethod(_digest)

    def __init__(self, model: BagModel, slides: LabeledImages, options: ClassEvaluationOptions) -> None:
        super().__init__([model], slides, options)
        self.model = model
        tile = model.info.config.tile
        assert tile is not None
        self._kind = BagKind(model.encoder, tile)
        self._names = [logit_name(ALL_FIELDS, index) for index in range(len(slides.classes))]

    @property
    def names(self) -> list[list[str]]:
        return [[*self._names, DISTANCE]]

    @property
    def settings(self) -> dict[str, object]:
        return {"model": [self.model.info.fingerprint, self.model.device]}

    def stamp(self, sample: Sample) -> str:
        return str(_digest(sample.image))

    def size(self, sample: Sample) -> int:
        return 0  # embeddings are read piece by piece

    def read(self, sample: Sample) -> Bag:
        bag = Bag.open(sample.image)
        if why := explain_mismatch(bag, self._kind):
            raise InputError(f"{sample.image} has embeddings that '{self.model.info.name}' was not trained on: {why}.")
        return bag

    def predict(self, contents: Sequence[Bag]) -> list[list[dict[str, float]]]:
        logits = [self.model.predict(bag.iter_embeddings()).logits.tolist() for bag in contents]
        return [[dict(zip(self._names, each, strict=True))] for each in logits]

    def image_warnings(self, samples: Sequence[Sample]) -> list[str]:
        return left_out_warnings(self.images)

    def summarize(self, measured: Sequence[ImageMetrics]) -> ClassEvaluation:
        return summarize_classes(self.model, measured[0], self.images, self.options, (ALL_FIELDS,))
