"""Evaluation of whole-slide classifiers: each slide is a bag of embeddings of its tiles.

A model of slide and patient data is compared with simpler models on the same slides: its baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.bags import Bag, BagKind
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.tabular_encoding import read_table_values
from napari_melanoma.data.training_images import shorten_digest
from napari_melanoma.evaluation.classes import (
    DISTANCE,
    ClassEvaluation,
    ClassReport,
    field_variants,
    left_out_warnings,
    logit_names,
    missing_field_warning,
    omitted_fields,
)
from napari_melanoma.evaluation.labeled_images import (
    ClassEvaluationOptions,
    LabeledImages,
    read_table_labels,
    select_images_of_split,
)
from napari_melanoma.evaluation.pipeline import (
    PageContent,
    estimates_to_json,
    identify_model,
    measured_rows,
    run_evaluation,
)
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_differences, class_estimates
from napari_melanoma.slides.bag_models import BagModel
from napari_melanoma.training.data_selection import OTHER
from napari_melanoma.training.whole_slides import bag_samples, explain_mismatch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    from napari_melanoma.classification.comparators import TableLogistic
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.models.bundle import BundleInfo

BASELINE_COLUMNS = ("Simpler model", "Its AUC", "This model's AUC minus its AUC", "This model is")


def evaluate_bags(
    model: BagModel, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Evaluate a whole-slide model on data sets and write the results."""
    if options.masks == "predicted":
        raise InputError("masks have no effect on whole slides. Leave the options of masks out.")
    slides = _find_labeled_bags(model.info, datasets, options)
    task = BagTask(model, slides, options)
    return run_evaluation(task, slides.samples, out, include_seen=options.include_seen, run=run)


def _find_labeled_bags(info: BundleInfo, datasets: Sequence[Path], options: ClassEvaluationOptions) -> LabeledImages:
    rows, target, classes, row_classes = read_table_labels(datasets, [info], options)
    indices = {name: index for index, name in enumerate(classes)}
    slides = select_images_of_split([sample for folder in datasets for sample in bag_samples(folder)], options.split)
    samples = [sample for sample in slides if row_classes.get(sample.key) in indices]
    if not samples:
        raise DataSetError(
            f"none of {len(slides)} slides has one of the classes of '{info.name}' ({', '.join(info.config.classes)}) "
            f"in the column '{target}'. Name another column (Python: target='COLUMN', command line: --target)."
        )
    labels = np.array([indices[row_classes[sample.key]] for sample in samples], np.intp)
    return LabeledImages(samples, rows, labels, target, len(slides) - len(samples), classes)


def _digest(folder: Path) -> int | None:
    """Hash the embeddings of a slide to 64 bits; None if they cannot be read, which is reported later."""
    try:
        return shorten_digest(Bag.open(folder).fingerprint())
    except InputError:
        return None


LabeledBag = tuple[Bag, Mapping[str, str]]
"""The embeddings of a slide, and its row of patient data."""


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
        self.compared: Mapping[str, BaselineComparison] = {}
        tile = model.info.config.tile
        assert tile is not None
        self._kind = BagKind(model.encoder, tile)

    @property
    def names(self) -> list[list[str]]:
        return [[*logit_names(self.model), *(f"{one.name}_probability" for one in self.baselines), DISTANCE]]

    @property
    def settings(self) -> dict[str, object]:
        return {
            "model": identify_model(self.model),
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
        return bag, self.images.rows.get(sample.key, {})

    def predict(self, contents: Sequence[LabeledBag]) -> list[list[dict[str, float]]]:
        """Return the values of slides; embeddings are pooled once for all variants of the patient data."""
        predicted = []
        for bag, row in contents:
            embedding = self.model.predict(bag.iter_embeddings()).embedding
            table, omitted = read_table_values([row], self.model.encoding), omitted_fields(self.model)
            values = {f"{one.name}_probability": one.probability(bag, row) for one in self.baselines}
            for variant, dropped in zip(field_variants(self.model), omitted, strict=True):
                logits = self.model.run_head(embedding, table.drop_columns(dropped))[0].tolist()
                values |= dict(zip(logit_names(self.model, variant), logits, strict=True))
            predicted.append([values])
        return predicted

    def image_warnings(self, samples: Sequence[Sample]) -> list[str]:
        missing = missing_field_warning(self.model.info, samples, self.images.rows)
        return [*left_out_warnings(self.images), *missing]

    def summarize(self, tables: Sequence[DataFrame]) -> ClassEvaluation:
        evaluation = super().summarize(tables)
        rows = measured_rows(evaluation.table)
        scores = [(one, rows[f"{one.name}_probability"].to_numpy(np.float64)) for one in self.baselines]
        self.compared = compare_with_baselines(evaluation.predictions, scores)
        lead = " ".join([evaluation.lead, *(one.verdict for one in self.compared.values())])
        return replace(evaluation, lead=lead, headline=f"{lead} Over {len(rows)} images")

    def details(self, evaluation: ClassEvaluation) -> dict[str, object]:
        compared = {
            name: {"title": one.title, **estimates_to_json({"AUC": one.auc, "difference": one.difference})}
            for name, one in self.compared.items()
        }
        return super().details(evaluation) | ({"baselines": compared} if compared else {})

    def describe(self, evaluation: ClassEvaluation) -> PageContent:
        content = super().describe(evaluation)
        rows = [
            (
                one.title,
                f"{one.auc.mean:.3f} ({one.auc.format_interval()})",
                f"{one.difference.mean:+.3f} ({one.difference.format_interval()})",
                one.verdict.partition(":")[0],
            )
            for one in self.compared.values()
        ]
        first, *others = content.tables
        compared = ("Comparison with simpler models, same test slides", BASELINE_COLUMNS, rows)
        return replace(content, tables=[first, compared, *others])


# Simpler models.


class SlideBaseline(Protocol):
    """A simpler model; ``name`` identifies it in files, ``title`` in pages."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def probability(self, bag: Bag, row: Mapping[str, str]) -> float:
        """Return the probability of the positive class for a slide and its patient data."""


@dataclass(frozen=True)
class PatientDataBaseline:
    """A logistic regression of patient data, without the slide."""

    name: str
    regression: TableLogistic

    @property
    def title(self) -> str:
        return self.regression.title

    def probability(self, bag: Bag, row: Mapping[str, str]) -> float:
        return float(self.regression.predict([row])[0])


@dataclass(frozen=True)
class SlideAloneBaseline:
    """The same network, trained without patient data."""

    model: BagModel
    name: str = "slide_alone"
    title: str = "Slide alone"

    def probability(self, bag: Bag, row: Mapping[str, str]) -> float:
        prediction = self.model.predict(bag.iter_embeddings())
        return float(prediction.probability[self.model.calibration.positive_index])


@dataclass(frozen=True)
class BaselineComparison:
    """A baseline on the evaluated slides: its AUC, and the difference of the evaluated model from it (paired)."""

    title: str
    auc: Estimate
    difference: Estimate

    @property
    def verdict(self) -> str:
        """One sentence: whether the evaluated model is better than the baseline."""
        change = f"AUC {self.difference.mean:+.3f} (95 % interval {self.difference.format_interval()})"
        name = self.title[:1].lower() + self.title[1:]
        if not self.difference.has_interval:
            return f"Whether it is better than {name} cannot be judged with so few patients: {change}."
        if self.difference.low > 0:
            return f"Better than {name}: {change}."
        if self.difference.high < 0:
            return f"Worse than {name}: {change}."
        return f"Not shown to be better than {name}: {change}."


def compare_with_baselines(
    predictions: ClassPredictions, scores: Sequence[tuple[SlideBaseline, NDArray[np.float64]]]
) -> dict[str, BaselineComparison]:
    """Compare the AUC of a model with those of baselines, paired on bootstrap samples of the patients.

    ``scores``: baselines, each with its probability of the positive class, float64 (slide,). They are left out if the
    slides are of one class.
    """

    def against_rest(positive: NDArray[np.float64]) -> ClassPredictions:
        return replace(
            predictions,
            probabilities=np.stack([1 - positive, positive], axis=1),
            labels=predictions.truth.astype(np.intp),
            classes=(OTHER, predictions.positive),
        )

    compared, model = {}, against_rest(predictions.scores)
    for baseline, positive in scores:
        other = against_rest(positive)
        difference, estimates = class_differences(other, model), class_estimates(other)
        if "AUC" in difference and "AUC" in estimates:
            compared[baseline.name] = BaselineComparison(baseline.title, estimates["AUC"], difference["AUC"])
    return compared
