"""Adapt a classifier to the photographs of a clinic: a linear head on its logits and embeddings, chosen by nested CV.

Fitted in milliseconds with NumPy and SciPy. A candidate predicts ``a * start + b + weights * embedding``, where
``start`` are the calibrated logits of the model that is adapted. From cautious to free, the candidates are the model
itself (a = 1, b = 0, no weights), its logits recalibrated (a, b), *stacked* (a, b, weights) and *refit* (b, weights).
The ridge penalty draws ``a`` to 1 and the weights to 0, so few photographs change little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.data.splits import assign_folds

CandidateKind = Literal["shipped", "recalibrated", "stacked", "refit"]
# Fewer photographs, or fewer of the class of interest, of the others or of their patients: nothing can be fitted.
MIN_PHOTOGRAPHS, MIN_POSITIVES, MIN_OTHERS, MIN_GROUPS = 20, 5, 5, 3
# Fewer photographs, or fewer of the class of interest: only temperature and class offsets are fitted.
MIN_FOR_WEIGHTS, MIN_POSITIVES_FOR_WEIGHTS = 30, 8
MIN_FOR_CLASS = 10  # photographs of a class that the model lacks; rarer ones together are the class "other"
FOLDS = 5
REPEATS = 5  # of the division into folds: by another one, 80 photographs of PH2 chose another candidate
# On PH2, PAD-UFES-20 and ISIC 2017, the best of the stacked ones was between 0.1 and 1; a refit was rarely better.
STACKED_RIDGES = (3.0, 1.0, 0.3, 0.1)
REFIT_RIDGES = (0.3,)
# Standard errors of the difference to the best candidate within which the model is kept, or another one is chosen. With
# 1 and 1, 50 photographs of another clinic gain up to 0.006 less AUC; with 0.5 and 0.25 the model loses 0.008 at home.
KEPT_ERRORS, CHOSEN_ERRORS = 0.75, 0.25
SCALE_PENALTY, OFFSET_PENALTY = 1.0, 0.01  # of (a - 1)² / 2 and b² / 2
DIRECTIONS = 96  # principal directions of the embeddings: 97 % of their variance; all 320 change the mean AUC by 0.001
NEW_CLASS_LOGIT = -4.0  # start of a class that the model lacks, where the mean of the others is 0
MIN_FACTOR = 0.05  # of the start logits
MIN_SCALE = 1e-3  # standard deviation of a feature
SECONDS_PER_PHOTOGRAPH, SECONDS_BESIDES = 0.15, 20.0  # on two cores: embedding; fit and graphs of the bundle
ITERATIONS, GRADIENT = 200, 1e-5  # of L-BFGS


@dataclass(frozen=True)
class Candidate:
    """A kind of adaptation, and the strength of the ridge penalty of its weights."""

    kind: CandidateKind
    ridge: float = 0.0

    @property
    def name(self) -> str:
        """The candidate in words."""
        return self.kind if not self.ridge else f"{self.kind}, ridge {self.ridge:g}"

    @property
    def has_weights(self) -> bool:
        """Whether it is a function of the embedding, too."""
        return self.kind in ("stacked", "refit")


SHIPPED, RECALIBRATED = Candidate("shipped"), Candidate("recalibrated")
CANDIDATES = (
    SHIPPED,
    RECALIBRATED,
    *(Candidate("stacked", ridge) for ridge in STACKED_RIDGES),
    *(Candidate("refit", ridge) for ridge in REFIT_RIDGES),
)


@dataclass(frozen=True, eq=False)
class AdaptationBase:
    """What an adaptation starts from: the model's classes and calibration, and the scale of its embeddings.

    ``start``: for each adapted class the class of the model whose logit it starts from, float64 (class, model class) of
    0 and 1; a row of zeros for a class that the model lacks. ``temperature``, ``bias``: calibration of the model.
    ``mean``, ``scale``: of each feature, float64 (feature,). ``directions``: float64 (feature, direction).
    """

    start: NDArray[np.float64]
    temperature: float
    bias: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    directions: NDArray[np.float64]

    @classmethod
    def from_reference(
        cls, start: NDArray[np.float64], temperature: float, bias: Sequence[float], embeddings: NDArray[np.floating]
    ) -> Self:
        """Measure the scale of the embeddings on training cases, float (case, feature)."""
        values = np.asarray(embeddings, np.float64)
        mean, scale = values.mean(axis=0), np.maximum(values.std(axis=0), MIN_SCALE)
        _, vectors = np.linalg.eigh(np.cov((values - mean) / scale, rowvar=False, bias=True))
        offsets = np.asarray(bias, np.float64) if len(bias) else np.zeros(start.shape[1])
        return cls(start, temperature, offsets, mean, scale, vectors[:, ::-1][:, :DIRECTIONS])

    @cached_property
    def mix(self) -> NDArray[np.float64]:
        """The start logits as a linear function of the logits of the model, float64 (class, model class)."""
        count = self.start.shape[1]
        return self.start @ (np.eye(count) - 1 / count) / self.temperature

    @cached_property
    def offsets(self) -> NDArray[np.float64]:
        """The start logits where the logits of the model are 0, float64 (class,)."""
        known = self.start @ (self.bias - self.bias.mean())
        return known + np.where(self.start.any(axis=1), 0.0, NEW_CLASS_LOGIT)

    @cached_property
    def projection(self) -> NDArray[np.float64]:
        """Maps centered embeddings to features, float64 (feature, direction)."""
        return self.directions / self.scale[:, None] / np.sqrt(len(self.scale))


@dataclass(frozen=True, eq=False)
class LabeledCases:
    """Photographs with a diagnosis.

    ``embeddings``: float32 (case, feature). ``logits``: of the model that is adapted, uncalibrated, float32 (case,
    model class). ``labels``: adapted class, int64 (case,). ``groups``: patient or lesion of each case.
    """

    embeddings: NDArray[np.float32]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: Sequence[str]

    def subset(self, indices: NDArray[np.intp] | NDArray[np.bool_]) -> LabeledCases:
        groups = np.asarray(self.groups)[indices].tolist()
        return LabeledCases(self.embeddings[indices], self.logits[indices], self.labels[indices], groups)


@dataclass(frozen=True, eq=False)
class AdaptedHead:
    """Adapted logits as a linear function of the logits of the model and of the embedding.

    ``mix``: float64 (class, model class). ``weights``: float64 (class, feature). ``bias``: float64 (class,).
    """

    mix: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def predict(self, logits: NDArray[np.floating], embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the adapted logits, float64 (case, class)."""
        adapted: NDArray[np.float64] = logits @ self.mix.T + embeddings @ self.weights.T + self.bias
        return adapted


@dataclass(frozen=True)
class CandidateFigures:
    """Cross-validated log loss of a candidate, and how much it exceeds that of the best one, with standard error."""

    candidate: Candidate
    log_loss: float
    excess: float
    standard_error: float

    def to_json(self) -> dict[str, Any]:
        figures = {"log_loss": self.log_loss, "excess": self.excess, "standard_error": self.standard_error}
        return {"candidate": self.candidate.name, **{name: round(value, 4) for name, value in figures.items()}}


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen candidate, and what it predicts.

    ``out_of_fold``: logits of the chosen candidate, each predicted without the patient of the case; float64 (case,
    class). ``nested``: likewise, of the candidate that would have been chosen without that patient: figures of these
    include the choice. Both are means over the divisions into folds. ``shipped``: start logits. ``folds``: of the first
    division, int64 (case,).
    """

    chosen: Candidate
    head: AdaptedHead
    candidates: tuple[CandidateFigures, ...]
    out_of_fold: NDArray[np.float64]
    nested: NDArray[np.float64]
    shipped: NDArray[np.float64]
    folds: NDArray[np.int64]


class LabelCounts(NamedTuple):
    """Numbers of labeled photographs and of those of the class of interest, and of their patients or lesions."""

    photographs: int = 0
    positives: int = 0
    positive_groups: int = 0
    other_groups: int = 0

    @classmethod
    def of(cls, labels: NDArray[np.int64], groups: Sequence[str], positive: int) -> LabelCounts:
        """Count labels, int64 (case,), and patients or lesions."""
        is_positive, names = labels == positive, np.asarray(groups, str)
        of_each = (len(np.unique(names[part])) for part in (is_positive, ~is_positive))
        return cls(len(labels), int(is_positive.sum()), *of_each)

    def describe_missing(self, positive: str) -> str:
        """Describe what is missing for the first fit, such as ``12 more photographs, 3 more of melanoma``."""
        groups = {
            f"more patients or lesions with {positive}": MIN_GROUPS - self.positive_groups,
            f"more patients or lesions without {positive}": MIN_GROUPS - self.other_groups,
        }
        counts = {
            "more photographs": MIN_PHOTOGRAPHS - self.photographs,
            f"more of {positive}": MIN_POSITIVES - self.positives,
            "more of other classes": MIN_OTHERS - (self.photographs - self.positives),
        }
        return _list_positive(counts) or _list_positive(groups)

    def describe_limits(self, positive: str) -> str:
        """Describe what is missing until more than the calibration is fitted; empty if nothing is."""
        return _list_positive(
            {
                "more photographs": MIN_FOR_WEIGHTS - self.photographs,
                f"more of {positive}": MIN_POSITIVES_FOR_WEIGHTS - self.positives,
            }
        )


def _list_positive(counts: Mapping[str, int]) -> str:
    one = {
        what: what.replace("photographs", "photograph").replace("patients or lesions", "patient or lesion")
        for what in counts
    }
    return ", ".join(f"{count} {one[what] if count == 1 else what}" for what, count in counts.items() if count > 0)


def estimate_minutes(photographs: int) -> float:
    """Estimate the time of an adaptation that computes some embeddings."""
    return (SECONDS_PER_PHOTOGRAPH * photographs + SECONDS_BESIDES) / 60


def list_candidates(labels: NDArray[np.int64], positive: int) -> tuple[Candidate, ...]:
    allowed = len(labels) >= MIN_FOR_WEIGHTS and np.sum(labels == positive) >= MIN_POSITIVES_FOR_WEIGHTS
    return tuple(candidate for candidate in CANDIDATES if allowed or not candidate.has_weights)


def choose_case_folds(
    cases: LabeledCases, classes: Sequence[str], positive: int, repeats: int = REPEATS
) -> NDArray[np.int64]:
    """Divide cases into folds by patient or lesion, with the classes spread evenly; int64 (repeat, case).

    The result depends on the names of the groups, not on the order of the cases; each repeat hashes them differently.
    """
    names, is_positive = np.asarray(cases.groups), cases.labels == positive
    count = min(FOLDS, *(len(np.unique(names[part])) for part in (is_positive, ~is_positive)))
    words = [classes[label] for label in cases.labels]
    return np.array([assign_folds(cases.groups, words, count, seed) for seed in range(repeats)], np.int64)


def select_candidate(
    base: AdaptationBase,
    cases: LabeledCases,
    candidates: Sequence[Candidate],
    folds: NDArray[np.int64],
    *,
    run: RunContext,
) -> Selection:
    """Choose a candidate by nested cross-validation, and fit it to all cases.

    The losses of a case are averaged over the divisions into folds. The model is kept if its log loss exceeds that of
    the best candidate by no more than ``KEPT_ERRORS`` standard errors of the difference. Otherwise the most cautious
    candidate is chosen that is within ``CHOSEN_ERRORS`` of the best one. ``candidates``: from cautious to free;
    ``folds``: int64 (repeat, case).
    """
    problem = _Problem.prepare(base, cases)
    divisions = []
    for one in folds:
        run.check()
        divisions.append(_Division.predict(problem, candidates, one))
    losses = {one: np.mean([problem.losses(part.by_fold[one]) for part in divisions], axis=0) for one in candidates}
    figures = _compare(losses, problem.groups)
    chosen = choose_cautious(figures)
    nested = np.mean([part.predict_nested(problem, chosen) for part in divisions], axis=0)
    out_of_fold = np.mean([part.by_fold[chosen] for part in divisions], axis=0)
    head = problem.fit(chosen, np.ones(len(cases.labels), bool)).to_head(base)
    return Selection(chosen, head, tuple(figures), out_of_fold, nested, problem.start, folds[0])


@dataclass(frozen=True, eq=False)
class _Division:
    """One division into folds, int64 (case,), and the logits of all candidates, float64 (case, class).

    ``by_fold``: each fold is predicted by the fit without it. ``by_pair``: logits by the fit without a pair of folds.
    """

    folds: NDArray[np.int64]
    by_fold: Mapping[Candidate, NDArray[np.float64]]
    by_pair: Mapping[frozenset[int], Mapping[Candidate, NDArray[np.float64]]]

    @classmethod
    def predict(cls, problem: _Problem, candidates: Sequence[Candidate], folds: NDArray[np.int64]) -> Self:
        numbers = np.unique(folds).tolist()
        by_fold = _collect(folds, {fold: problem.predict(candidates, folds != fold) for fold in numbers})
        # Each pair of folds is predicted once: for the choice without the one, it is a fold of the other.
        pairs = list(combinations(numbers, 2)) if len(numbers) > 2 else []
        by_pair = {frozenset(pair): problem.predict(candidates, ~np.isin(folds, pair)) for pair in pairs}
        return cls(folds, by_fold, by_pair)

    def predict_nested(self, problem: _Problem, default: Candidate) -> NDArray[np.float64]:
        """Predict each fold by the candidate that the other folds choose; by ``default`` if there are only two."""
        folds, nested = self.folds, self.by_fold[default].copy()
        numbers = np.unique(folds).tolist()
        for fold in numbers if self.by_pair else []:
            others = {other: self.by_pair[frozenset((fold, other))] for other in numbers if other != fold}
            used = folds != fold
            losses = {one: problem.losses(logits)[used] for one, logits in _collect(folds, others).items()}
            nested[~used] = self.by_fold[choose_cautious(_compare(losses, problem.groups[used]))][~used]
        return nested


def _collect(
    folds: NDArray[np.int64], predicted: Mapping[int, Mapping[Candidate, NDArray[np.float64]]]
) -> dict[Candidate, NDArray[np.float64]]:
    """Return logits of which each fold is predicted by the fit without it; ``predicted``: by that fold."""
    found = {one: np.zeros_like(logits) for one, logits in next(iter(predicted.values())).items()}
    for fold, by_candidate in predicted.items():
        for one, logits in by_candidate.items():
            found[one][folds == fold] = logits[folds == fold]
    return found


def fit_candidate(base: AdaptationBase, cases: LabeledCases, candidate: Candidate) -> AdaptedHead:
    """Fit one candidate to all cases, as for the predictions while photographs are labeled."""
    return _Problem.prepare(base, cases).fit(candidate, np.ones(len(cases.labels), bool)).to_head(base)


def predict_left_out(
    base: AdaptationBase, cases: LabeledCases, candidate: Candidate, folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the logits of a candidate, each predicted without the fold of its case; float64 (case, class)."""
    problem = _Problem.prepare(base, cases)
    return _collect(folds, {fold: problem.predict([candidate], folds != fold) for fold in np.unique(folds).tolist()})[
        candidate
    ]


def fit_scale(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the temperature of out-of-fold logits, drawn to 1, and not below.

    Separable classes would need a temperature of 0; with 10 easy melanomas of PH2 it was 0.61 to 0.65, and the other
    photographs were predicted worse than by the model as it is (log loss +0.10 to +0.18).
    """
    from scipy.optimize import minimize_scalar

    true = logits[np.arange(len(labels)), labels]

    def loss(factor: float) -> float:
        losses = np.logaddexp.reduce(factor * logits, axis=1) - factor * true
        return float(losses.sum() + SCALE_PENALTY * (factor - 1) ** 2 / 2)

    return 1 / float(minimize_scalar(loss, bounds=(MIN_FACTOR, 1.0), method="bounded").x)


def _compare(losses: Mapping[Candidate, NDArray[np.float64]], names: NDArray[Any]) -> list[CandidateFigures]:
    """Compare the log loss of candidates, float64 (case,), with that of the best one, by patient or lesion."""
    best = min(losses.values(), key=lambda values: float(values.mean()))
    groups = np.unique(names, return_inverse=True)[1]
    figures = []
    for candidate, values in losses.items():
        excess, total = values - best, len(values)
        sums = np.bincount(groups, excess - excess.mean())
        error = float(np.sqrt(len(sums) / max(len(sums) - 1, 1) * np.sum(sums**2)) / total)
        figures.append(CandidateFigures(candidate, float(values.mean()), float(excess.mean()), error))
    return figures


def choose_cautious(figures: Sequence[CandidateFigures]) -> Candidate:
    """Choose the first candidate that exceeds the best one by no more than its share of the standard error."""
    shares = {SHIPPED: KEPT_ERRORS}
    return next(
        one.candidate for one in figures if one.excess <= shares.get(one.candidate, CHOSEN_ERRORS) * one.standard_error
    )


@dataclass(frozen=True, eq=False)
class _Fit:
    """Parameters of a fitted candidate: ``weights`` float64 (direction, class), ``offsets`` float64 (class,)."""

    scale: float
    offsets: NDArray[np.float64]
    weights: NDArray[np.float64]

    def to_head(self, base: AdaptationBase) -> AdaptedHead:
        weights = (base.projection @ self.weights).T
        bias = self.offsets + self.scale * base.offsets - weights @ base.mean
        return AdaptedHead(self.scale * base.mix, weights, bias)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Cases as features, float64 (case, direction), start logits, float64 (case, class), and true classes."""

    features: NDArray[np.float64]
    start: NDArray[np.float64]
    observed: NDArray[np.float64]
    groups: NDArray[Any]

    @classmethod
    def prepare(cls, base: AdaptationBase, cases: LabeledCases) -> Self:
        return cls(
            (cases.embeddings.astype(np.float64) - base.mean) @ base.projection,
            cases.logits.astype(np.float64) @ base.mix.T + base.offsets,
            np.eye(len(base.start))[cases.labels],
            np.asarray(cases.groups),
        )

    def losses(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log loss of each case, float64 (case,)."""
        losses: NDArray[np.float64] = np.logaddexp.reduce(logits, axis=1) - (logits * self.observed).sum(axis=1)
        return losses

    def predict(
        self, candidates: Sequence[Candidate], fitted: NDArray[np.bool_]
    ) -> dict[Candidate, NDArray[np.float64]]:
        """Return the logits of all cases by fits to some of them; a fit starts from the one before of its kind."""
        fits: dict[CandidateKind, _Fit] = {}
        logits = {}
        for one in candidates:
            fit = fits[one.kind] = self.fit(one, fitted, fits.get(one.kind))
            logits[one] = fit.scale * self.start + fit.offsets + self.features @ fit.weights
        return logits

    def fit(self, candidate: Candidate, fitted: NDArray[np.bool_], near: _Fit | None = None) -> _Fit:
        """Fit a candidate to some cases; ``near``: a fit to start from."""
        classes, width = self.start.shape[1], self.features.shape[1] if candidate.has_weights else 0
        none = np.zeros((self.features.shape[1], classes))
        if candidate.kind == "shipped":
            return _Fit(1.0, np.zeros(classes), none)
        from scipy.optimize import minimize

        features, start, observed = self.features[fitted, :width], self.start[fitted], self.observed[fitted]
        is_scaled = candidate.kind != "refit"

        def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            scale, offsets, weights = values[0], values[1 : classes + 1], values[classes + 1 :].reshape(width, classes)
            logits = scale * start + offsets + features @ weights
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))  # logaddexp.reduce takes five times as long
            probabilities = powers / powers.sum(axis=1, keepdims=True)
            error = probabilities - observed
            gradient = np.empty_like(values)
            gradient[0] = is_scaled * (np.sum(error * start) + SCALE_PENALTY * (scale - 1))
            gradient[1 : classes + 1] = error.sum(axis=0) + OFFSET_PENALTY * offsets
            gradient[classes + 1 :] = (features.T @ error + candidate.ridge * weights).ravel()
            penalty = is_scaled * SCALE_PENALTY * (scale - 1) ** 2 + OFFSET_PENALTY * np.sum(offsets**2)
            penalty += candidate.ridge * np.sum(weights**2)
            true = np.maximum((probabilities * observed).sum(axis=1), np.finfo(float).tiny)
            return float(penalty / 2 - np.log(true).sum()), gradient

        first = np.zeros(1 + classes + width * classes)
        first[0] = is_scaled
        if near is not None:
            first = np.concatenate([[near.scale], near.offsets, near.weights[:width].ravel()])
        bounds = [(MIN_FACTOR, None), *[(None, None)] * (len(first) - 1)] if is_scaled else None
        options = {"maxiter": ITERATIONS, "ftol": 1e-6, "gtol": GRADIENT * len(start)}
        found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
        weights = found[classes + 1 :].reshape(width, classes) if width else none
        return _Fit(float(found[0]), found[1 : classes + 1], weights)
