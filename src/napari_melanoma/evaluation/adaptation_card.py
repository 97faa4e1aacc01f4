"""Figures of an adapted classifier beside those of the model it was made from, and its model card.

All are measured on the photographs of the adaptation, each predicted by a fit without its patient or lesion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.adaptation import LabeledCases, Selection, fit_scale
from napari_melanoma.classification.classifier import PredictionCalibration
from napari_melanoma.core.prediction_config import AgeGroup, SetRule
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.taxonomy import UNKNOWN
from napari_melanoma.evaluation.classes import class_subgroups
from napari_melanoma.evaluation.comparison import TOLERATED_LOSS, Advice
from napari_melanoma.evaluation.labeled_images import Rows
from napari_melanoma.evaluation.model_card import CardSubgroup, age_groups, card_header
from napari_melanoma.metrics.calibration import conformal_sets, softmax
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_differences, class_estimates
from napari_melanoma.metrics.metric_table import CLASS_METRICS
from napari_melanoma.metrics.roc_curves import choose_decision_threshold
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.bundle import BundleConfig, BundleInfo

SHOWN = ("AUC", "AP", "sensitivity", "specificity", "ECE")
SET_FIGURES = {
    "coverage": "true class in the prediction set",
    "coverage_positive": "of {positive}",
    "inconclusive": "inconclusive",
}
SMALLEST = 1e-6  # probability, so that its logarithm is finite
BETTER = "The adapted model predicts {positive} better on these photographs"
WORSE = "The adapted model predicts {positive} worse on these photographs"
UNDECIDED = "The difference may be due to chance"
Estimates = Mapping[str, Estimate]


@dataclass(frozen=True, eq=False)
class AdaptationFigures:
    """Figures of the model and of the adapted one for the class of interest, and the recommendation.

    ``shipped``, ``adapted``: estimates by metric of ``SHOWN`` and of ``SET_FIGURES``, with the decision threshold that
    reaches the target sensitivity on these photographs; of a model that lacks the class, only the latter.
    ``difference``: adapted minus shipped, also of the log loss. ``subgroups``: both models on each subgroup.
    """

    positive: str
    photographs: int
    groups: int
    sensitivity: float
    coverage: float
    shipped: Estimates
    adapted: Estimates
    difference: Estimates
    subgroups: tuple[tuple[CardSubgroup, CardSubgroup], ...]
    ages: tuple[AgeGroup, ...]
    advice: Advice
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "advice": self.advice,
            "reason": self.reason,
            "target_sensitivity": self.sensitivity,
            **{
                name: {metric: asdict(one) for metric, one in getattr(self, name).items()}
                for name in ("shipped", "adapted", "difference")
            },
        }


@dataclass(frozen=True, eq=False)
class _Model:
    """Probabilities of one model for the photographs, float64 (photograph, class), and its prediction sets.

    ``labels``: int64 (photograph,), -1 for a class that the model lacks.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    sets: NDArray[np.bool_]
    scores: NDArray[np.float64]

    def estimate_sets(self, truth: NDArray[np.bool_], groups: Sequence[str]) -> dict[str, Estimate]:
        """Estimate coverage, that of the class of interest, and the share of inconclusive sets."""
        contained = (self.labels >= 0) & self.sets[np.arange(len(self.labels)), self.labels]
        names = np.asarray(groups)
        return {
            "coverage": bootstrap_mean(contained.astype(float), names, bounds=(0, 1)),
            "coverage_positive": bootstrap_mean(contained[truth].astype(float), names[truth], bounds=(0, 1)),
            "inconclusive": bootstrap_mean((self.sets.sum(axis=1) != 1).astype(float), names, bounds=(0, 1)),
        }


@dataclass(frozen=True)
class MeasuredPhotographs:
    """The photographs of an adaptation, and the rows of their patient data."""

    samples: Sequence[Sample]
    rows: Rows


def measure_adaptation(
    info: BundleInfo,
    photographs: MeasuredPhotographs,
    cases: LabeledCases,
    classes: tuple[str, ...],
    selection: Selection,
    *,
    positive: str,
    rule: SetRule,
    sensitivity: float,
) -> AdaptationFigures:
    """Measure both models; ``classes``, ``rule``: of the adapted one."""
    index, config = classes.index(positive), info.config.classifier
    assert config is not None
    truth, is_lacking = cases.labels == index, index >= len(info.config.classes)
    models = (_shipped(info, cases, index), _adapted(cases, selection, index, rule, config.coverage))
    predictions = [_binary(model.scores, truth, cases.groups, positive, sensitivity) for model in models]
    metrics = () if is_lacking else SHOWN, SHOWN
    estimates = [
        {name: one for name, one in class_estimates(values).items() if name in shown}
        | model.estimate_sets(truth, cases.groups)
        for values, model, shown in zip(predictions, models, metrics, strict=True)
    ]
    losses = [np.where(truth, -_log(model.scores), -_log(1 - model.scores)) for model in models]
    difference = {name: one for name, one in class_differences(*predictions).items() if name in metrics[0]}
    difference["log_loss"] = bootstrap_mean(losses[1] - losses[0], np.asarray(cases.groups))
    subgroups = [_subgroups(values, photographs) for values in predictions]
    advice, reason = _advise(difference, positive)
    if is_lacking:
        subgroups[0] = [replace(one, figures={}) for one in subgroups[0]]
        reason += f" '{info.name}' lacks this class; the comparison is with its frequency on these photographs."
    return AdaptationFigures(
        positive=positive,
        photographs=len(truth),
        groups=len(set(cases.groups)),
        sensitivity=sensitivity,
        coverage=config.coverage,
        shipped=estimates[0],
        adapted=estimates[1],
        difference=difference,
        subgroups=tuple(zip(*subgroups, strict=True)),
        ages=age_groups(subgroups[1]),
        advice=advice,
        reason=reason,
    )


def _shipped(info: BundleInfo, cases: LabeledCases, index: int) -> _Model:
    """Predict with the model as it is; the first adapted classes are its own.

    The probability of a class that it lacks is the frequency on the photographs.
    """
    calibration, count = PredictionCalibration.from_bundle(info), len(info.config.classes)
    probabilities = calibration.probabilities(cases.logits)
    frequency = np.full(len(cases.labels), np.mean(cases.labels == index))
    scores = probabilities[:, index] if index < count else frequency
    labels = np.where(cases.labels < count, cases.labels, -1)
    return _Model(probabilities, labels, calibration.prediction_sets(probabilities), scores)


def _adapted(cases: LabeledCases, selection: Selection, index: int, rule: SetRule, coverage: float) -> _Model:
    """Predict each photograph without its fold; its prediction set is calibrated on the other folds."""
    probabilities = softmax(selection.nested, fit_scale(selection.nested, cases.labels))
    sets = np.zeros(probabilities.shape, bool)
    for fold in np.unique(selection.folds):
        own = selection.folds == fold
        sets[own] = conformal_sets(probabilities[own], probabilities[~own], cases.labels[~own], coverage, rule)
    return _Model(probabilities, cases.labels, sets, probabilities[:, index])


def _binary(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], groups: Sequence[str], positive: str, sensitivity: float
) -> ClassPredictions:
    """Return predictions of the class of interest against all others."""
    return ClassPredictions(
        np.stack([1 - scores, scores], axis=1),
        truth.astype(np.intp),
        np.asarray(groups),
        ("", positive),
        positive,
        choose_decision_threshold(scores, truth, sensitivity),
        np.full(len(truth), "", object),
    )


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithms: NDArray[np.float64] = np.log(np.clip(values, SMALLEST, 1))
    return logarithms


def _subgroups(predictions: ClassPredictions, photographs: MeasuredPhotographs) -> list[CardSubgroup]:
    return [
        CardSubgroup(f"{one.by}: {one.value or UNKNOWN}", one.count, one.positives or 0, one.metrics)
        for one in class_subgroups(predictions, photographs.samples, photographs.rows)
    ]


def _advise(difference: Estimates, positive: str) -> tuple[Advice, str]:
    """Return the recommendation: by the log loss of the class of interest, if its AUC does not become worse."""
    loss, auc = difference["log_loss"], difference.get("AUC")
    change = f"log loss {loss.mean:+.3f} ({loss.format_interval()})"
    change += "" if auc is None else f", AUC {auc.mean:+.3f} ({auc.format_interval()})"
    if loss.low > 0 or (auc is not None and auc.high < -TOLERATED_LOSS):
        return "keep", f"{WORSE.format(positive=positive)}: {change}."
    if loss.high < 0:
        return "activate", f"{BETTER.format(positive=positive)}: {change}."
    return "inconclusive", f"{UNDECIDED}: {change}. Label more photographs."


# The card.


def adaptation_card(
    config: BundleConfig, figures: AdaptationFigures, notes: Sequence[str], warnings: Sequence[str]
) -> str:
    """Return the card of an adapted classifier; ``notes``: on photographs that were left out."""
    facts = config.provenance["adaptation"]
    parent = config.provenance["parent"]
    counts = ", ".join(f"{name} {count}" for name, count in facts["classes"].items())
    grouped = ", ".join(f"{count} by {column}" for column, count in facts["grouped_by"].items())
    remarks = "\n".join(f"- {text}" for text in (*warnings, *notes))
    return f"""{card_header(config)}
## Adaptation

Made from `{parent["name"]}` (weights {parent["fingerprint"][:12]}) by a linear layer that was fitted to
{figures.photographs} photographs of one clinic, of {figures.groups} patients or lesions (grouped: {grouped}).

- Classes: {counts}
- Chosen by nested cross-validation: {facts["chosen"]}
{remarks}

| candidate | log loss | above the best | standard error |
|---|---|---|---|
{_candidate_rows(facts["candidates"])}

## Performance on the clinic's photographs

Each photograph is predicted by a fit without its patient or lesion, including the choice of the candidate. The decision
threshold of each model reaches a sensitivity of {figures.sensitivity:.2f} for {figures.positive} on these photographs.
In brackets 95 % intervals (bootstrap over patients or lesions).

| | {parent["name"]} | adapted | difference |
|---|---|---|---|
{_figure_rows(figures)}

{figures.reason} **These figures say nothing about another clinic**, and are somewhat optimistic if photographs of one
lesion are not marked as such. Label the photographs of another year or device, and measure the model on them:
`napari-melanoma evaluate --model FOLDER --data DATASET --out DIR`.

### Diagnoses and subgroups

No AUC is given for subgroups with fewer than five {figures.positive} or others.

| subgroup | n | {figures.positive} | AUC | | sensitivity | | specificity | |
|---|---|---|---|---|---|---|---|---|
| | | | {" | ".join([parent["name"], "adapted"] * 3)} |
{_subgroup_rows(figures)}

## Limitations

- Not for diagnosis or any decision about a patient.
- Adapted to one clinic: its devices, its patients, and how often it sees each diagnosis.
- Prediction sets have the stated coverage for photographs like these, without a reserve for other clinics.
- Everything that limits `{parent["name"]}` limits this model, too: see its card.
"""


def _candidate_rows(candidates: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(
        f"| {one['candidate']} | {one['log_loss']:.3f} | {one['excess']:.3f} | {one['standard_error']:.3f} |"
        for one in candidates
    )


def _figure_rows(figures: AdaptationFigures) -> str:
    titles = {name: CLASS_METRICS[name].title for name in SHOWN}
    coverage = f"{100 * figures.coverage:g} %"
    titles |= {
        name: f"{text.format(positive=figures.positive)} (sets of {coverage})" for name, text in SET_FIGURES.items()
    }
    rows = []
    for name, title in titles.items():
        found = [str(part[name]) if name in part else "" for part in (figures.shipped, figures.adapted)]
        change = figures.difference.get(name)
        text = f"{change.mean:+.3f} ({change.format_interval()})" if change else ""
        rows.append(f"| {title} | {' | '.join(found)} | {text} |")
    return "\n".join(rows)


def _subgroup_rows(figures: AdaptationFigures) -> str:
    rows = []
    for pair in figures.subgroups:
        cells = [str(one.figures.get(metric, "")) for metric in ("AUC", "sensitivity", "specificity") for one in pair]
        rows.append(f"| {pair[0].name} | {pair[0].count} | {pair[0].positives} | {' | '.join(cells)} |")
    return "\n".join(rows)
