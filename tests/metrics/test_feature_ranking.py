"""Features are ranked by separation of classes, per patient, with correction for multiple testing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from napari_melanoma.metrics.roc_curves import average_by_patient, rank_features


def test_features_are_sorted_by_absolute_strength() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(80) % 2 == 0
    values = rng.normal(size=(80, 6))
    values[:, 2] += 1.0 * positive
    values[:, 4] -= 2.5 * positive
    values[:, 5] = 7.0  # uninformative
    found = rank_features(values, positive, np.array([f"p{place}" for place in range(80)]), 10)
    assert [one.feature_index for one in found][:2] == [4, 2]
    assert 5 not in [one.feature_index for one in found]
    assert len(found) == 5
    first, second = found[:2]
    assert first.auc.mean == pytest.approx(roc_auc_score(positive, values[:, 4]))
    assert first.strength == pytest.approx(2 * first.auc.mean - 1)
    assert first.strength < 0 < second.strength
    assert first.auc.low < first.auc.mean < first.auc.high < 0.5 < second.auc.low
    assert first.p < second.p < 0.01
    assert all(one.q >= one.p for one in found)


def test_images_of_a_patient_count_as_one() -> None:
    rng = np.random.default_rng(1)
    values, positive = rng.normal(size=(20, 3)), np.arange(20) % 2 == 0
    names = np.array([f"p{place}" for place in range(20)])
    again = (np.repeat(values, 5, axis=0), np.repeat(positive, 5), np.repeat(names, 5))
    for one, other in zip(rank_features(values, positive, names, 3), rank_features(*again, 3), strict=True):
        assert one.feature_index == other.feature_index
        assert (one.p, one.q, one.strength) == pytest.approx((other.p, other.q, other.strength))
        assert (one.auc.mean, one.auc.low, one.auc.high) == pytest.approx(
            (other.auc.mean, other.auc.low, other.auc.high)
        )


def test_a_patient_of_both_classes_has_a_mean_of_each() -> None:
    values = np.array([[1.0], [3.0], [10.0], [5.0]])
    rows, positive, names = average_by_patient(
        values, np.array([True, True, False, False]), np.array(["a", "a", "a", "b"])
    )
    assert sorted(zip(names, positive.tolist(), rows[:, 0].tolist(), strict=True)) == [
        ("a", False, 10.0),
        ("a", True, 2.0),
        ("b", False, 5.0),
    ]


def test_noise_is_no_biomarker() -> None:
    rng = np.random.default_rng(2)
    positive = np.arange(60) % 2 == 0
    found = rank_features(rng.normal(size=(60, 300)), positive, np.arange(60).astype(str), 15)
    assert min(one.p for one in found) < 0.05, "of three hundred some look good by chance"
    assert min(one.q for one in found) > 0.2


@pytest.mark.parametrize("positives", [2, 3])
def test_too_few_patients_are_refused(positives: int) -> None:
    positive, found = np.arange(5) < positives, f"found {positives} positive and {5 - positives} others"
    with pytest.raises(ValueError, match=f"at least 3 patients per class for a ranking, {found}"):
        rank_features(np.random.default_rng(0).random((5, 2)), positive, np.arange(5).astype(str), 2)
