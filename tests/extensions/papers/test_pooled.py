"""Pooled metrics compared with scikit-learn and plain sums, and intervals over patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from napari_melanoma.extensions.papers.kinds import PooledPredictions, estimate_changes, estimate_metrics
from napari_melanoma.metrics.calibration import expected_calibration_error


def drawn(count: int = 200, seed: int = 0, decimals: int = 1, shift: float = 0.3) -> PooledPredictions:
    """Predictions with many equal probabilities."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.3
    probability = np.clip(rng.normal(0.35 + shift * truth, 0.2), 0, 1).round(decimals)
    above, covered, several = (rng.random((3, count)) < 0.8).astype(float)
    return PooledPredictions(truth, probability, probability, above, covered, several)


def alone(count: int = 200) -> list[str]:
    return [str(number) for number in range(count)]


def test_metrics_match_scikit_learn() -> None:
    pooled = drawn()
    found = {name: estimate.mean for name, estimate in estimate_metrics(pooled, alone()).items()}
    truth, predicted = pooled.truth, pooled.probability >= 0.5
    assert found["AUC"] == pytest.approx(metrics.roc_auc_score(truth, pooled.probability))
    assert found["AP"] == pytest.approx(metrics.average_precision_score(truth, pooled.probability))
    assert found["AC"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert found["PR"] == pytest.approx(metrics.precision_score(truth, predicted))
    assert found["SE"] == pytest.approx(metrics.recall_score(truth, predicted))
    assert found["SP"] == pytest.approx(metrics.recall_score(~truth, ~predicted))
    assert found["F1"] == pytest.approx(metrics.f1_score(truth, predicted))
    assert found["SE90"] == pytest.approx(pooled.above[truth].mean())
    assert found["SP90"] == pytest.approx(1 - pooled.above[~truth].mean())
    assert found["COV"] == pytest.approx(pooled.covered.mean())
    assert found["CT"] == pytest.approx(pooled.several.mean())


def test_calibration_error_matches_the_metrics_package() -> None:
    pooled = drawn(197, decimals=6)
    error = expected_calibration_error(pooled.probability, pooled.truth)
    found = estimate_metrics(pooled, alone(197))["ECE"]
    assert found.mean == pytest.approx(error)
    assert found.low <= found.mean <= found.high


def test_weights_equal_repeated_images() -> None:
    pooled = drawn(60)
    times = np.random.default_rng(1).integers(0, 4, 60)
    again = [
        np.repeat(values, times) for values in (pooled.truth, pooled.as_trained, pooled.probability, *np.ones((3, 60)))
    ]
    weighted, repeated = (
        pooled.compute_metrics(times[None].astype(float)),
        PooledPredictions(*again).compute_metrics(np.ones((1, times.sum()))),
    )
    for name in ("AC", "PR", "SE", "SP", "F1", "AUC", "AP"):
        assert weighted[name] == pytest.approx(repeated[name])


def test_images_of_one_patient_are_not_independent() -> None:
    one = drawn(100)
    thrice = PooledPredictions(
        *(np.tile(v, 3) for v in (one.truth, one.as_trained, one.probability, one.above, one.covered, one.several))
    )
    apart = estimate_metrics(thrice, alone(300))["AUC"]
    together = estimate_metrics(thrice, alone(100) * 3)["AUC"]
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    nothing = estimate_metrics(one, ["the only one"] * 100)["AUC"]
    assert not nothing.has_interval


def test_differences_between_rows() -> None:
    less = drawn(300, shift=0.1)
    better = np.clip(less.probability + 0.4 * less.truth, 0, 1)
    more = PooledPredictions(less.truth, better, better, *(np.full((3, 300), np.nan)))
    found = estimate_changes(less, more, alone(300))
    assert found["AUC"].low > 0
    assert "COV" not in found  # one of them has no sets
    same = estimate_changes(less, less, alone(300))["AUC"]
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_constant_predictions_have_an_auc_of_one_half() -> None:
    one = drawn()
    never = PooledPredictions(one.truth, np.zeros(200), np.zeros(200), *np.full((3, 200), np.nan))
    found = estimate_metrics(never, alone())
    assert (found["AUC"].mean, found["F1"].mean, found["PR"].mean, found["SP"].mean) == (0.5, 0, 0, 1)
    assert {"SE90", "SP90", "COV", "CT"}.isdisjoint(found)


def test_calibration_that_undoes_balanced_sampling_changes_decisions_only_in_its_own_metrics() -> None:
    one = drawn(400, decimals=6)
    pooled = replace(one, probability=one.as_trained / (one.as_trained + 9 * (1 - one.as_trained)))
    found = {name: estimate.mean for name, estimate in estimate_metrics(pooled, alone(400)).items()}
    as_trained, calibrated = (values >= 0.5 for values in (pooled.as_trained, pooled.probability))
    assert found["SE"] == pytest.approx(metrics.recall_score(pooled.truth, as_trained))
    assert found["calibrated_SE"] == pytest.approx(metrics.recall_score(pooled.truth, calibrated))
    assert found["calibrated_SE"] < found["SE"]
    assert found["calibrated_AUC"] == pytest.approx(found["AUC"])  # the order is the same


def test_predictions_of_an_older_folder_have_only_calibrated_metrics() -> None:
    old = replace(drawn(), as_trained=np.full(200, np.nan))
    found = estimate_metrics(old, alone())
    assert {"AC", "AUC", "ECE"}.isdisjoint(found)
    assert {"calibrated_AC", "calibrated_AUC", "calibrated_ECE", "SE90"} <= set(found)
