"""Thresholds that few positives do not choose too high."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.metrics.cautious_threshold import ThresholdChoice, choose_cautious_threshold, count_groups_needed
from napari_melanoma.metrics.roc_curves import choose_decision_threshold


def choose(count: int, known: float | None = None, *, images: int = 1, target: float = 0.9) -> ThresholdChoice:
    """Positives with the scores 1/n, 2/n ... 1, ``images`` of each patient, among as many others."""
    scores = np.repeat(np.arange(1, count + 1) / count, images)
    labels = np.r_[np.ones(len(scores), bool), np.zeros(len(scores), bool)]
    groups = np.r_[np.repeat(np.arange(count), images), -np.arange(1, len(scores) + 1)]
    return choose_cautious_threshold(np.r_[scores, scores / 2], labels, groups, target, known)


@pytest.mark.parametrize(
    ("choice", "basis", "threshold"),
    [
        (choose(10), "chosen", 1 / 10),  # all of ten: 10 / 11 expected
        (choose(10, 0.05), "kept", 0.05),
        (choose(10, 0.3), "lowered", 1 / 10),
        (choose(10, 0.3, images=4), "lowered", 1 / 10),  # four photographs of a patient are one observation
        (choose(20, 0.3), "lowered", 2 / 20),  # 19 of 20: 19 / 21 expected
        (choose(34, 0.02), "kept", 0.02),
        (choose(35, 0.01), "shown", 1 / 35),  # the interval of 35 of 35 begins at 0.901
        (choose(200, 0.01), "shown", 11 / 200),  # of 190 of 200 at 0.911, of 189 at 0.904, of 188 at 0.898
        (choose(10, 0.2, target=0.7), "shown", 1 / 10),
    ],
)
def test_the_threshold(choice: ThresholdChoice, basis: str, threshold: float) -> None:
    assert choice.basis == basis
    assert choice.threshold == pytest.approx(threshold, abs=1 / 200 + 1e-9 if basis == "shown" else 1e-9)


@pytest.mark.parametrize("count", [3, 10, 34, 35, 60, 300])
@pytest.mark.parametrize("known", [None, 0.001, 0.05, 0.9])
def test_it_is_never_above_the_usual_one(count: int, known: float | None) -> None:
    scores = np.arange(1, count + 1) / count
    usual = choose_decision_threshold(scores, np.ones(count, bool), 0.9)
    assert choose(count, known).threshold <= usual


def test_the_order_does_not_matter() -> None:
    random = np.random.default_rng(0)
    scores, labels, groups = random.random(80).round(1), random.random(80) < 0.4, random.integers(0, 30, 80)
    order = random.permutation(80)
    found = choose_cautious_threshold(scores, labels, groups, 0.9, 0.3)
    assert choose_cautious_threshold(scores[order], labels[order], groups[order], 0.9, 0.3) == found


def test_sensitivity_to_new_patients() -> None:
    """Of many draws of ten positives, the mean sensitivity is the expected one; the usual threshold has less."""
    random = np.random.default_rng(1)
    draws = random.normal(size=(2000, 10))
    labels, groups = np.ones(10, bool), np.arange(10)
    new = np.sort(random.normal(size=100_000))

    def sensitivity(threshold: float) -> float:
        return 1 - np.searchsorted(new, threshold) / len(new)

    cautious = np.mean([sensitivity(choose_cautious_threshold(one, labels, groups, 0.9).threshold) for one in draws])
    usual = np.mean([sensitivity(choose_decision_threshold(one, labels, 0.9)) for one in draws])
    assert cautious == pytest.approx(10 / 11, abs=0.01)
    assert usual == pytest.approx(9 / 11, abs=0.01)


def test_the_basis_is_described() -> None:
    kept = choose(10, 0.05).describe("melanoma", "melanoma-small")
    assert kept == (
        "Decision threshold 0.050, that of 'melanoma-small': 10 of melanoma (10 patients or lesions) cannot show a "
        "sensitivity of 0.9, for which 35 patients or lesions are needed."
    )
    assert "lowered from 0.300 of 'm', which misses too many" in choose(10, 0.3).describe("melanoma", "m")
    assert "so low that it finds nearly all of them" in choose(10).describe("melanoma", "m")
    assert (
        choose(40)
        .describe("melanoma", "m")
        .endswith("40 of melanoma (40 patients or lesions) show a sensitivity of 0.9 or more.")
    )
    assert [count_groups_needed(target) for target in (0.5, 0.9, 0.95)] == [4, 35, 73]


def test_a_positive_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one positive image"):
        choose_cautious_threshold([0.2, 0.3], [False, False], ["a", "b"], 0.9)
