"""Venn-Abers equals the isotonic fits that define it; the coverage of its interval."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.metrics.calibration import MAX_BINS, ProbabilityBand, VennAbers


def by_definition(scores: np.ndarray, labels: np.ndarray, requested: float) -> list[float]:
    """Isotonic regression with one more case of either label, as scikit-learn fits it."""
    from sklearn.isotonic import isotonic_regression

    found = []
    for label in (0.0, 1.0):
        distinct, index = np.unique(np.append(scores, requested), return_inverse=True)
        counts = np.bincount(index)
        means = np.bincount(index, weights=np.append(labels, label)) / counts
        found.append(isotonic_regression(means, sample_weight=counts)[np.searchsorted(distinct, requested)])
    return found


@pytest.mark.parametrize("seed", range(25))
def test_equals_isotonic_regression_with_one_case_more(seed: int) -> None:
    """Few cases with ties, also of one class only; at their scores, between and beyond them."""
    random = np.random.default_rng(seed)
    places = int(random.integers(1, 25))
    scores = random.integers(0, places, int(random.integers(1, 40))).astype(float)
    labels = random.random(len(scores)) < random.choice([0.0, 0.2, 0.5, 1.0])
    requested = np.concatenate([scores, random.uniform(-1, places + 1, 10)])
    found = VennAbers.fit(scores, labels).predict(requested)
    expected = np.array([by_definition(scores, labels, one) for one in requested])
    np.testing.assert_allclose(np.stack(found, axis=1), expected, atol=1e-12)


def test_a_case_of_weight_two_is_two_cases() -> None:
    """A case with weight 0 has no effect."""
    scores, labels = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 1, 0, 1])
    weighted = VennAbers.fit(scores, labels, [2, 1, 0, 1])
    repeated = VennAbers.fit([0.0, 0.0, 1.0, 3.0], [0, 0, 1, 1])
    requested = np.linspace(-1, 4, 21)
    np.testing.assert_array_equal(weighted.predict(requested), repeated.predict(requested))


CURVES = {
    "logistic": lambda scores: 1 / (1 + np.exp(1.7 - scores)),
    "steps": lambda scores: np.where(scores < 0, 0.05, np.where(scores < 1.5, 0.3, 0.8)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("curve", "cases"), [("steps", 260), ("logistic", 260)])
def test_the_band_contains_the_truth(curve: str, cases: int) -> None:
    """The mean coverage is 93 to 99 % (docs/explanation/calibration.md), with a standard error of 3 % for eight draws.

    Venn-Abers alone contains the truth in half of the images at best. The cases have more scores than there are bins.
    """
    random = np.random.default_rng(0)
    band, alone = [], []
    for _ in range(8):
        scores = random.normal(size=cases + 200) * 1.5
        truth = CURVES[curve](scores)
        labels = random.random(len(scores)) < truth
        low, high = ProbabilityBand.fit(scores[:cases], labels[:cases]).predict(scores[cases:])
        band.append(np.mean((low <= truth[cases:]) & (truth[cases:] <= high)))
        low, high = VennAbers.fit(scores[:cases], labels[:cases]).predict(scores[cases:])
        alone.append(np.mean((low <= truth[cases:]) & (truth[cases:] <= high)))
    assert np.mean(band) >= 0.85
    assert np.mean(alone) < 0.65


def test_the_band_narrows_with_cases_and_widens_with_patients() -> None:
    """Ten images of one patient are not independent."""
    random = np.random.default_rng(0)
    scores = random.normal(size=500)
    labels = random.random(500) < CURVES["logistic"](scores)

    def width(cases: int, groups: np.ndarray | None = None) -> float:
        low, high = ProbabilityBand.fit(scores[:cases], labels[:cases], groups).predict(np.linspace(-1, 1, 50))
        return float(np.mean(high - low))

    assert width(500) < width(200) < width(80)
    few, repeated = np.tile(scores[:50], 10), np.tile(labels[:50], 10)
    by_patient = ProbabilityBand.fit(few, repeated, np.tile(np.arange(50), 10)).predict([0.0])
    by_image = ProbabilityBand.fit(few, repeated).predict([0.0])
    assert by_patient[1] - by_patient[0] > by_image[1] - by_image[0]


def test_thousands_of_cases_share_places() -> None:
    """Bins limit the computation time; each score belongs to one of them."""
    scores = np.random.default_rng(0).permutation(5000) / 5000
    band = ProbabilityBand.fit(scores, scores > 0.5)
    assert len(band.low) == MAX_BINS
    assert (band.bottoms[1:] > band.tops[:-1]).all()
    low, high = band.predict([-1.0, 0.1, 0.9, 2.0])
    assert low[0] == 0
    assert high[1] < 0.05
    assert low[2] > 0.95
    assert high[3] == 1


def test_no_case_gives_no_band() -> None:
    """An error is raised."""
    with pytest.raises(ValueError, match="at least one case"):
        ProbabilityBand.fit([], [])
