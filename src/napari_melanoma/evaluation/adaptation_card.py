"""Figures of an adapted classifier beside those of the model it was made from, and its model card.

All are measured on the photographs of the adaptation, each predicted by a fit without its patient or lesion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.adaptation import REPEATS, SHIPPED, Candidate, LabeledCases, Selection, fit_scale
from napari_melanoma.classification.classifier import PredictionCalibration
from napari_melanoma.core.prediction_config import AgeGroup, OperatingPoint, SetRule
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.taxonomy import UNKNOWN
from napari_melanoma.evaluation.classes import class_subgroups
from napari_melanoma.evaluation.comparison_results import TOLERATED_LOSS, Advice
from napari_melanoma.evaluation.labeled_images import Rows
from napari_melanoma.evaluation.model_card import CardSubgroup, age_groups, card_header
from napari_melanoma.metrics.calibration import conformal_sets, softmax
from napari_melanoma.metrics.cautious_threshold import ThresholdChoice, choose_cautious_threshold
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_differences, class_estimates
from napari_melanoma.metrics.metric_table import CLASS_METRICS
from napari_melanoma.metrics.roc_curves import finite_interval
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean, bootstrap_statistic, weighted_mean
from napari_melanoma.models.bundle import BundleConfig, BundleInfo

RANKED = ("AUC", "AP", "ECE")  # metrics of the probabilities
DECISIONS = ("sensitivity", "specificity")
DECIDED = 0.5  # threshold of decisions, which are 0 or 1
SHOWN = ("AUC", "AP", "sensitivity", "specificity", "ECE")
SET_FIGURES = {
    "coverage": "true class in the prediction set",
    "coverage_positive": "of {positive}",
    "inconclusive": "inconclusive",
}
SMALLEST = 1e-6  # probability, so that its logarithm is finite
BETTER = "The adapted model predicts {positive} better on these photographs"
WORSE = "The adapted model predicts {positive} worse on these photographs"
UNDECIDED = "That the adapted model predicts {positive} better on these photographs may be due to chance"
NO_GAIN = "No candidate predicts these photographs clearly better"
# Of 90 % and 95 % intervals. Of 13 draws of 100 labels of ISIC 2017 with a real gain (lesion-phone), 90 % intervals
# showed it in 8, 95 % intervals in 4.
NARROWER = 1.645 / 1.96
Estimates = Mapping[str, Estimate]


@dataclass(frozen=True, eq=False)
class AdaptationFigures:
    """Figures of the model and of the adapted one for the class of interest, and the recommendation.

    ``shipped``, ``adapted``: estimates by metric of ``SHOWN`` and of ``SET_FIGURES``, each model at its own decision
    threshold; of a model that lacks the class, only the latter. ``difference``: adapted minus shipped, also of the log
    loss. ``subgroups``: both models on each subgroup. ``threshold``: of the adapted model.
    """

    positive: str
    photographs: int
    groups: int
    threshold: ThresholdChoice
    coverage: float
    shipped: Estimates
    adapted: Estimates
    difference: Estimates
    subgroups: tuple[tuple[CardSubgroup, CardSubgroup], ...]
    ages: tuple[AgeGroup, ...]
    advice: Advice
    verdict: str
    reason: str

    def make_operating_point(self) -> OperatingPoint:
        """Return the threshold of the adapted model, with its performance as on the card."""
        sensitivity, specificity = (self.adapted[name] for name in DECISIONS)
        return OperatingPoint(
            target_sensitivity=self.threshold.target,
            target_shown=self.threshold.basis == "shown",
            threshold=min(max(self.threshold.threshold, 0.0), 1.0),
            sensitivity=sensitivity.mean,
            sensitivity_interval=finite_interval(sensitivity),
            specificity=specificity.mean,
            specificity_interval=finite_interval(specificity),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "advice": self.advice,
            "reason": self.reason,
            "target_sensitivity": self.threshold.target,
            "threshold": self.threshold._asdict(),
            **{
                name: {metric: asdict(one) for metric, one in getattr(self, name).items()}
                for name in ("shipped", "adapted", "difference")
            },
        }


@dataclass(frozen=True, eq=False)
class _Model:
    """Predictions of one model for the photographs.

    ``scores``: probability of the class of interest, float64 (photograph,). ``found``: whether it is predicted, bool
    (photograph,). ``sets``: prediction sets, bool (photograph, class). ``labels``: int64 (photograph,), -1 for a class
    that the model lacks.
    """

    scores: NDArray[np.float64]
    found: NDArray[np.bool_]
    sets: NDArray[np.bool_]
    labels: NDArray[np.int64]

    def losses(self, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the log loss of the class of interest, float64 (photograph,)."""
        return np.where(truth, -_log(self.scores), -_log(1 - self.scores))

    def estimate_sets(self, truth: NDArray[np.bool_], groups: NDArray[Any]) -> dict[str, Estimate]:
        """Estimate coverage, that of the class of interest, and the share of inconclusive sets."""
        contained = ((self.labels >= 0) & self.sets[np.arange(len(self.labels)), self.labels]).astype(float)
        return {
            "coverage": bootstrap_mean(contained, groups, bounds=(0, 1)),
            "coverage_positive": bootstrap_mean(contained[truth], groups[truth], bounds=(0, 1)),
            "inconclusive": bootstrap_mean((self.sets.sum(axis=1) != 1).astype(float), groups, bounds=(0, 1)),
        }


@dataclass(frozen=True)
class MeasuredPhotographs:
    """The photographs of an adaptation, and the rows of their patient data."""

    samples: Sequence[Sample]
    rows: Rows


@dataclass(frozen=True, eq=False)
class MeasuredSelection:
    """What was selected by which cases, for which class of interest (an index), with which sets and threshold."""

    cases: LabeledCases
    selection: Selection
    positive: int
    rule: SetRule
    threshold: ThresholdChoice


def measure_adaptation(
    info: BundleInfo, photographs: MeasuredPhotographs, measured: MeasuredSelection, positive: str
) -> AdaptationFigures:
    """Measure both models; ``positive``: name of the class of interest."""
    config, cases = info.config.classifier, measured.cases
    assert config is not None
    truth, is_lacking = cases.labels == measured.positive, measured.positive >= len(info.config.classes)
    groups = np.asarray(cases.groups)
    models = _shipped(info, measured, truth), _adapted(measured, truth, config.coverage)
    predictions = [_binary(model.scores, truth, groups, positive) for model in models]
    estimates: list[Estimates] = [
        _pick_ranked(class_estimates(values)) | _estimate_decisions(model.found == truth, truth, groups)
        for values, model in zip(predictions, models, strict=True)
    ]
    changes = (models[1].found == truth) - (models[0].found == truth).astype(float)
    difference = _pick_ranked(class_differences(*predictions)) | _estimate_decisions(changes, truth, groups, lowest=-1)
    if is_lacking:
        estimates[0], difference = {}, {}
    difference["log_loss"] = bootstrap_mean(models[1].losses(truth) - models[0].losses(truth), groups)
    estimates = [{**one, **model.estimate_sets(truth, groups)} for one, model in zip(estimates, models, strict=True)]
    decisions = [_binary(model.found.astype(float), truth, groups, positive) for model in models]
    subgroups = [_subgroups(*values, photographs) for values in zip(predictions, decisions, strict=True)]
    advice, verdict, reason = _advise(difference, positive, measured.selection.chosen)
    if is_lacking:
        subgroups[0] = [replace(one, figures={}) for one in subgroups[0]]
        reason += f" '{info.name}' lacks this class; the comparison is with its frequency on these photographs."
    return AdaptationFigures(
        positive=positive,
        photographs=len(truth),
        groups=len(set(cases.groups)),
        threshold=measured.threshold,
        coverage=config.coverage,
        shipped=estimates[0],
        adapted=estimates[1],
        difference=difference,
        subgroups=tuple(zip(*subgroups, strict=True)),
        ages=age_groups(subgroups[1]),
        advice=advice,
        verdict=verdict,
        reason=reason,
    )


def _shipped(info: BundleInfo, measured: MeasuredSelection, truth: NDArray[np.bool_]) -> _Model:
    """Predict with the model as it is; the first adapted classes are its own.

    The probability of a class that it lacks is the frequency on the photographs.
    """
    calibration, count = PredictionCalibration.from_bundle(info), len(info.config.classes)
    cases, known, index = measured.cases, measured.threshold.known, measured.positive
    probabilities = calibration.probabilities(cases.logits)
    scores = probabilities[:, index] if index < count else np.full(len(truth), np.mean(truth))
    labels = np.where(cases.labels < count, cases.labels, -1)
    found = scores >= known if known is not None else _decide(scores, measured, truth)
    return _Model(scores, found, calibration.prediction_sets(probabilities), labels)


def _adapted(measured: MeasuredSelection, truth: NDArray[np.bool_], coverage: float) -> _Model:
    """Predict each photograph without its fold; temperature, sets and threshold are chosen on the other folds."""
    labels, folds, logits = measured.cases.labels, measured.selection.folds, measured.selection.nested
    scores, sets = np.empty(len(labels)), np.zeros(logits.shape, bool)
    for fold in np.unique(folds):
        own = folds == fold
        probabilities = softmax(logits, fit_scale(logits[~own], labels[~own]))
        scores[own] = probabilities[own, measured.positive]
        sets[own] = conformal_sets(probabilities[own], probabilities[~own], labels[~own], coverage, measured.rule)
    return _Model(scores, _decide(scores, measured, truth), sets, labels)


def _decide(scores: NDArray[np.float64], measured: MeasuredSelection, truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Decide on each fold by the threshold that the other folds choose, bool (photograph,)."""
    folds, rule, groups = measured.selection.folds, measured.threshold, np.asarray(measured.cases.groups)
    found = np.zeros(len(scores), bool)
    for fold in np.unique(folds):
        own = folds == fold
        choice = choose_cautious_threshold(scores[~own], truth[~own], groups[~own], rule.target, rule.known)
        found[own] = scores[own] >= choice.threshold
    return found


def _pick_ranked(estimates: Estimates) -> dict[str, Estimate]:
    return {name: one for name, one in estimates.items() if name in RANKED}


def _estimate_decisions(
    values: NDArray[Any], truth: NDArray[np.bool_], groups: NDArray[Any], lowest: float = 0.0
) -> dict[str, Estimate]:
    """Estimate sensitivity and specificity, or their differences, from right decisions, (photograph,)."""
    return {
        name: bootstrap_statistic(
            partial(weighted_mean, values[part].astype(float)), groups[part], bounds=(lowest, 1.0)
        )
        for name, part in zip(DECISIONS, (truth, ~truth), strict=True)
    }


def _binary(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray[Any], positive: str
) -> ClassPredictions:
    """Return predictions of the class against all others; ``scores``: probabilities, or decisions 0 or 1."""
    return ClassPredictions(
        np.stack([1 - scores, scores], axis=1),
        truth.astype(np.intp),
        groups,
        ("", positive),
        positive,
        DECIDED,
        np.full(len(truth), "", object),
    )


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithms: NDArray[np.float64] = np.log(np.clip(values, SMALLEST, 1))
    return logarithms


def _subgroups(
    predictions: ClassPredictions, decisions: ClassPredictions, photographs: MeasuredPhotographs
) -> list[CardSubgroup]:
    """Estimate the metrics of subgroups: of decisions by the threshold that the other folds choose, as for all."""
    samples, rows = photographs.samples, photographs.rows
    pairs = zip(class_subgroups(predictions, samples, rows), class_subgroups(decisions, samples, rows), strict=True)
    return [
        CardSubgroup(
            f"{one.by}: {one.value or UNKNOWN}",
            one.count,
            one.positives or 0,
            _pick_ranked(one.metrics) | {name: decided.metrics[name] for name in DECISIONS if name in decided.metrics},
        )
        for one, decided in pairs
    ]


def _advise(difference: Estimates, positive: str, chosen: Candidate) -> tuple[Advice, str, str]:
    """Return the recommendation, its verdict, and the verdict with the figures.

    It goes by the log loss of the class of interest, if its AUC does not become worse.

    The gain has to exceed its uncertainty, with an error of 5 %: 90 % intervals, which have 5 % on either side.
    """
    advice: Advice
    loss, auc = _narrow(difference["log_loss"]), _narrow(difference["AUC"]) if "AUC" in difference else None
    shown = {"log loss": loss, "AUC": auc}
    change = ", ".join(f"{name} {one.mean:+.3f} ({one.format_interval()})" for name, one in shown.items() if one)
    change += " (90 % intervals)"
    if loss.low > 0 or (auc is not None and auc.high < -TOLERATED_LOSS):
        advice, verdict, next_step = "keep", WORSE, ""
    elif chosen == SHIPPED:
        advice, verdict, next_step = "keep", NO_GAIN, ""
    elif loss.high < 0:
        advice, verdict, next_step = "activate", BETTER, ""
    else:
        advice, verdict, next_step = "inconclusive", UNDECIDED, " Label more photographs."
    verdict = verdict.format(positive=positive)
    return advice, verdict, f"{verdict}: {change}.{next_step}"


def _narrow(estimate: Estimate) -> Estimate:
    """Return the estimate with the 90 % interval instead of the 95 % interval."""
    low, high = (estimate.mean + NARROWER * (end - estimate.mean) for end in (estimate.low, estimate.high))
    return replace(estimate, low=low, high=high)


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
- {figures.threshold.describe(figures.positive, parent["name"])}
{remarks}

| candidate | log loss | above the best | standard error |
|---|---|---|---|
{_candidate_rows(facts["candidates"])}

## Performance on the clinic's photographs

Each photograph is predicted by fits without its patient or lesion, including the choice of the candidate and of the
decision threshold: the mean of {REPEATS} divisions into folds. `{parent["name"]}` has its own threshold. In brackets
95 % intervals (bootstrap over patients or lesions).

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
