"""Simpler models that a model of slide and patient data is compared with, on the same test slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.evaluation.pipeline import TitledTable, estimates_to_json
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_differences, class_estimates
from napari_melanoma.training.data_selection import OTHER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.comparators import TableLogistic
    from napari_melanoma.data.bags import Bag
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.slides.bag_models import BagModel

AUC = "AUC"


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
    predictions: ClassPredictions, baselines: Sequence[SlideBaseline], scores: Mapping[str, NDArray[np.float64]]
) -> dict[str, BaselineComparison]:
    """Compare the AUC of a model with those of baselines, paired on bootstrap samples of the patients.

    ``scores``: probability of the positive class by name of the baseline, float64 (slide,). Baselines are left out if
    the slides are of one class.
    """
    model = _against_rest(predictions, predictions.scores)
    compared = {}
    for baseline in baselines:
        other = _against_rest(predictions, scores[baseline.name])
        difference, estimates = class_differences(other, model), class_estimates(other)
        if AUC in difference and AUC in estimates:
            compared[baseline.name] = BaselineComparison(baseline.title, estimates[AUC], difference[AUC])
    return compared


def _against_rest(predictions: ClassPredictions, scores: NDArray[np.float64]) -> ClassPredictions:
    """Return predictions of the positive class against all others."""
    return replace(
        predictions,
        probabilities=np.stack([1 - scores, scores], axis=1),
        labels=predictions.truth.astype(np.intp),
        classes=(OTHER, predictions.positive),
    )


def baselines_to_json(baselines: Mapping[str, BaselineComparison]) -> dict[str, object]:
    """Return the comparison with simpler models as JSON values; empty without them."""
    if not baselines:
        return {}
    compared = {
        name: {"title": one.title, **estimates_to_json({"AUC": one.auc, "difference": one.difference})}
        for name, one in baselines.items()
    }
    return {"baselines": compared}


def baselines_table(baselines: Mapping[str, BaselineComparison]) -> TitledTable:
    """Return the table of simpler models; without rows, which is not shown, if there are none."""
    rows = [
        (
            one.title,
            f"{one.auc.mean:.3f} ({one.auc.format_interval()})",
            f"{one.difference.mean:+.3f} ({one.difference.format_interval()})",
            one.verdict.partition(":")[0],
        )
        for one in baselines.values()
    ]
    columns = ("Simpler model", "Its AUC", "This model's AUC minus its AUC", "This model is")
    return ("Comparison with simpler models, same test slides", columns, rows)
