"""Domain shift between data sets: how well a classifier separates their images, cross-validated by patient.

An area under the ROC curve (AUC) of 0.5 means that the sources are indistinguishable by the features, 1 that they are
separable. The classifier's advantage over guessing is the proxy distance between domains of Ben-David et al. 2010
(doi:10.1007/s10994-009-5152-4). It is measured for each family of features and for all together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_FOLDS = 5
MIN_PATIENTS = 10  # patients of a source: with fewer, a fold has hardly one
BOOTSTRAP_ROUNDS = 400
MAX_PAIRED_SOURCES = 5  # sources that are compared two by two; of more, each with all others
ALL_OTHERS = "all others"
ALL_FEATURES = "everything"


@dataclass(frozen=True)
class AucInterval:
    """Area under the ROC curve with its 95 % interval: out-of-fold, bootstrap over patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class DomainShift:
    """How well two sources are separated: AUC for each family of features and for all, and for single features.

    ``rests_on`` gives the AUC of each feature alone (at least 0.5, whichever its direction), the largest first. With
    many correlated features, dropping a single one changes little, so this shows more than an ablation.
    """

    first: str
    second: str
    images: tuple[int, int]
    auc: dict[str, AucInterval]
    rests_on: tuple[tuple[str, float], ...]

    @property
    def family(self) -> str:
        """The first family of features that both sources have; pairs are sorted by it."""
        return next(iter(self.auc))


def measure_domain_shifts(
    families: Mapping[str, Mapping[str, NDArray[np.float64]]],
    sources: Sequence[str],
    groups: Sequence[str],
    seed: int = 0,
) -> tuple[list[DomainShift], list[str]]:
    """Measure how well sources are separated: in pairs, or each from all others where there are many.

    ``families``: name of a family to its features, each float (image,) with NaN where unknown. Returns the shifts,
    those with the first family first and the best separated first, and descriptions of the sources with too few
    patients.
    """
    names, members = np.asarray(sources), np.asarray(groups)
    known = list(dict.fromkeys(sources))
    sizes = {name: len(set(members[names == name])) for name in known}
    left_out = [f"{name} ({sizes[name]} patients, lesions or images)" for name in known if sizes[name] < MIN_PATIENTS]
    enough = [name for name in known if sizes[name] >= MIN_PATIENTS]
    pairs = (
        list(combinations(enough, 2)) if len(enough) <= MAX_PAIRED_SOURCES else [(name, ALL_OTHERS) for name in enough]
    )
    shifts = []
    for first, second in pairs:
        taken = np.isin(names, enough if second == ALL_OTHERS else (first, second))
        parts = {family: {k: v[taken] for k, v in found.items()} for family, found in families.items()}
        shifts.append(_measure_shift(first, second, parts, names[taken] == first, members[taken], seed))
    order = [*families, ALL_FEATURES]
    return sorted(shifts, key=lambda shift: (order.index(shift.family), -shift.auc[shift.family].value)), left_out


def bootstrap_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray, seed: int = 0) -> AucInterval:
    """Area under the ROC curve with a bootstrap interval over groups, drawn within each class.

    ``scores``: float (image,): higher where ``truth`` is predicted. ``truth``: bool (image,). ``groups``: (image,): the
    patient of each; a patient in both classes is drawn in each of them independently.
    """
    rng = np.random.default_rng(seed)
    _, index = np.unique(np.char.add(truth.astype("U1"), groups.astype(str)), return_inverse=True)
    of_class = np.zeros(index.max() + 1, bool)
    of_class[index] = truth
    parts = [np.flatnonzero(of_class == side) for side in (True, False)]
    found = []
    for _ in range(BOOTSTRAP_ROUNDS):
        weights = np.zeros(len(of_class))
        for part in parts:
            weights += np.bincount(rng.choice(part, len(part)), minlength=len(of_class))
        found.append(_weighted_auc(scores, truth, weights[index]))
    low, high = np.percentile(found, [2.5, 97.5])
    return AucInterval(_weighted_auc(scores, truth, np.ones(len(scores))), float(low), float(high))


def _weighted_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Weighted share of correctly ordered pairs, ties as one half."""
    _, level = np.unique(scores, return_inverse=True)
    right = np.bincount(level, weights * truth)
    wrong = np.bincount(level, weights * ~truth)
    below = np.cumsum(wrong) - wrong
    return float((right * (below + wrong / 2)).sum() / (right.sum() * wrong.sum()))


def _measure_shift(
    first: str,
    second: str,
    families: Mapping[str, Mapping[str, NDArray[np.float64]]],
    truth: NDArray[np.bool_],
    groups: NDArray,
    seed: int,
) -> DomainShift:
    """Separate one source from another with each family, and with all."""
    usable = {family: _select_features(found, truth, groups) for family, found in families.items()}
    usable = {family: found for family, found in usable.items() if found}
    combined = {name: values for found in usable.values() for name, values in found.items()}
    auc = {}
    for family, found in (*usable.items(), (ALL_FEATURES, combined)):
        table = np.column_stack(list(found.values())) if found else np.zeros((len(truth), 1))
        known = np.isfinite(table).any(axis=1)  # an image without any value would be recognized by the imputed ones
        sides = (truth[known], groups[known])
        auc[family] = bootstrap_auc(_out_of_fold_scores(table[known], *sides, seed), *sides, seed)
    alone = {name: _single_feature_auc(values, truth) for name, values in combined.items()}
    rests_on = tuple(sorted(alone.items(), key=lambda item: -item[1]))
    return DomainShift(first, second, (int(truth.sum()), int((~truth).sum())), auc, rests_on)


def _single_feature_auc(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """AUC of one feature where it is known; at least 0.5, whichever its direction."""
    known = np.isfinite(values)
    found = _weighted_auc(values[known], truth[known], np.ones(int(known.sum())))
    return max(found, 1 - found)


def _select_features(
    found: Mapping[str, NDArray[np.float64]], truth: NDArray[np.bool_], groups: NDArray
) -> dict[str, NDArray[np.float64]]:
    """Select features that enough patients of both sources have and that vary."""
    return {
        name: values
        for name, values in found.items()
        if all(len(set(groups[side & np.isfinite(values)])) >= MIN_PATIENTS for side in (truth, ~truth))
        and np.nanstd(values) > 0
    }


def _out_of_fold_scores(
    table: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray, seed: int
) -> NDArray[np.float64]:
    """Cross-validated scores of a logistic regression, folds split by patient."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.zeros(len(truth))
    for training, test in StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed).split(table, truth, groups):
        model = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(class_weight="balanced", max_iter=1000),
        ).fit(table[training], truth[training])
        scores[test] = model.decision_function(table[test])
    return scores
