"""Evaluation of whole-slide classifiers: each slide is a bag of embeddings of its tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.data.bags import Bag, BagKind
from napari_melanoma.data.dataset import Sample, read_rows
from napari_melanoma.data.tabular_encoding import read_table_values
from napari_melanoma.data.training_images import shorten_digest
from napari_melanoma.evaluation.baselines import SlideBaseline, compare_with_baselines
from napari_melanoma.evaluation.classes import (
    DISTANCE,
    ClassEvaluation,
    ClassReport,
    field_variants,
    left_out_warnings,
    logit_name,
    missing_field_warning,
    omitted_fields,
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


def evaluate_bags_test_set(
    folder: RunFolder, info: BundleInfo, baselines: Sequence[SlideBaseline] = (), *, run: RunContext
) -> ClassEvaluation:
    """Evaluate the model of a run on its held-out slides, and compare it with baselines."""
    rows = read_data(folder.data)
    labels, metadata = read_test_set(folder.path, rows)
    samples = [row.sample for row in rows if row.part == "test"]
    assert info.config.classifier is not None
    slides = LabeledImages(samples, metadata, labels, info.config.classifier.positive, 0, info.config.classes)
    task = BagTask(BagModel.load(info), slides, ClassEvaluationOptions(), baselines)
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


@dataclass(frozen=True)
class LabeledBag:
    """The embeddings of a slide, and its row of patient data."""

    bag: Bag
    row: Mapping[str, str]


class BagTask(ClassReport[LabeledBag]):
    """Classes of whole slides.

    The values of a slide are the logits of each class for each variant of the patient data, and the probability of the
    positive class of each baseline.
    """

    digest = staticmethod(_digest)

    def __init__(
        self,
        model: BagModel,
        slides: LabeledImages,
        options: ClassEvaluationOptions,
        baselines: Sequence[SlideBaseline] = (),
    ) -> None:
        super().__init__([model], slides, options)
        self.model, self.baselines = model, baselines
        tile = model.info.config.tile
        assert tile is not None
        self._kind = BagKind(model.encoder, tile)

    @property
    def names(self) -> list[list[str]]:
        classes = range(len(self.model.info.config.classes))
        logits = [logit_name(variant, index) for variant in field_variants(self.model) for index in classes]
        return [[*logits, *(_baseline_column(baseline) for baseline in self.baselines), DISTANCE]]

    @property
    def settings(self) -> dict[str, object]:
        return {
            "model": [self.model.info.fingerprint, self.model.device],
            "baselines": [baseline.name for baseline in self.baselines],
        }

    def stamp(self, sample: Sample) -> str:
        row = self.images.rows.get(sample.key, {})
        return " ".join([str(_digest(sample.image)), *(row.get(name, "") for name in self.model.encoding.fields)])

    def size(self, sample: Sample) -> int:
        return 0  # embeddings are read piece by piece

    def read(self, sample: Sample) -> LabeledBag:
        bag = Bag.open(sample.image)
        if why := explain_mismatch(bag, self._kind):
            raise InputError(f"{sample.image} has embeddings that '{self.model.info.name}' was not trained on: {why}.")
        return LabeledBag(bag, self.images.rows.get(sample.key, {}))

    def predict(self, contents: Sequence[LabeledBag]) -> list[list[dict[str, float]]]:
        return [[self._predict_slide(content)] for content in contents]

    def _predict_slide(self, content: LabeledBag) -> dict[str, float]:
        """Return the values of a slide; its embeddings are pooled once for all variants of the patient data."""
        embedding = self.model.predict(content.bag.iter_embeddings()).embedding
        values = read_table_values([content.row], self.model.encoding)
        omitted = omitted_fields(len(self.model.encoding.fields))
        variants = zip(field_variants(self.model), omitted, strict=True)
        return {
            logit_name(variant, index): logit
            for variant, dropped in variants
            for index, logit in enumerate(self.model.run_head(embedding, values.drop_columns(dropped))[0].tolist())
        } | {_baseline_column(one): one.probability(content.bag, content.row) for one in self.baselines}

    def image_warnings(self, samples: Sequence[Sample]) -> list[str]:
        missing = missing_field_warning(self.model.info, samples, self.images.rows)
        return [*left_out_warnings(self.images), *missing]

    def summarize(self, measured: Sequence[ImageMetrics]) -> ClassEvaluation:
        (metrics,) = measured
        evaluation = summarize_classes(self.model, metrics, self.images, self.options, field_variants(self.model))
        scores = {one.name: metrics.column(_baseline_column(one))[metrics.measured] for one in self.baselines}
        return replace(evaluation, baselines=compare_with_baselines(evaluation.predictions, self.baselines, scores))


def _baseline_column(baseline: SlideBaseline) -> str:
    return f"{baseline.name}_probability"
