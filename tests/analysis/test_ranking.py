"""Curves, areas and cuts are those of scikit-learn; intervals hold the truth of drawn patients."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.analysis.ranking import (
    area_under_roc,
    auc,
    auc_difference,
    average_precision,
    binary_metrics,
    choose_cut,
    confusion,
    operating_point,
    partial_auc,
    precision_recall,
    roc_curve,
)
from napari_melanoma.analysis.resampling import bootstrap_figure


def drawn(count: int = 300, ties: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that tell something."""
    random = np.random.default_rng(seed)
    labels = random.random(count) < 0.3
    scores = random.normal(size=count) + labels
    return (np.round(2 * scores) if ties else scores), labels


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_figures_equal_those_of_scikit_learn(ties: bool, weighted: bool) -> None:
    """With ties and with weights."""
    from sklearn import metrics

    scores, labels = drawn(ties=ties)
    weights = np.random.default_rng(1).integers(1, 4, 300).astype(float) if weighted else None
    assert area_under_roc(scores, labels, weights) == pytest.approx(
        metrics.roc_auc_score(labels, scores, sample_weight=weights)
    )
    assert average_precision(scores, labels, weights) == pytest.approx(
        metrics.average_precision_score(labels, scores, sample_weight=weights)
    )
    curve = roc_curve(scores, labels, weights)
    false, true, cuts = metrics.roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    np.testing.assert_allclose(curve.cuts, cuts)
    np.testing.assert_allclose(curve.false_positive_rate, false)
    np.testing.assert_allclose(curve.true_positive_rate, true)


def test_precision_and_recall_equal_those_of_scikit_learn() -> None:
    """From the highest cut on, up to where all positives are found."""
    from sklearn import metrics

    scores, labels = drawn(ties=True)
    curve = precision_recall(scores, labels)
    precision, recall, cuts = metrics.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(curve.precision[: len(cuts)], precision[:-1][::-1])
    np.testing.assert_allclose(curve.recall[: len(cuts)], recall[:-1][::-1])


def test_partial_area_is_that_of_the_challenge() -> None:
    """The challenge swaps the classes and takes scikit-learn's standardised area of few false positives back."""
    from sklearn.metrics import roc_auc_score

    for ties in (False, True):
        scores, labels = drawn(ties=ties)
        scaled = roc_auc_score(~labels, -scores, max_fpr=0.2)
        expected = 0.02 + (0.2 - 0.02) * (scaled - 0.5) / 0.5
        assert partial_auc(scores, labels) == pytest.approx(expected)
    assert partial_auc([0, 0, 1, 1], [0, 0, 1, 1]) == pytest.approx(0.2)
    assert partial_auc([0, 0, 0, 0], [0, 0, 1, 1]) == pytest.approx(0.02)


def test_an_area_counts_pairs() -> None:
    """Ties count half; without one class there is no figure."""
    assert area_under_roc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1]) == pytest.approx(3.5 / 4)
    assert area_under_roc([1, 1], [0, 1]) == pytest.approx(0.5)
    for figure in (area_under_roc, partial_auc, average_precision):
        assert np.isnan(figure([0.1, 0.2], [0, 0]))
    assert np.isnan(auc([0.1, 0.2], [1, 1]).mean)


def test_an_interval_of_patients_is_wider_than_one_of_their_images() -> None:
    """Five equal images of each patient say no more than one."""
    scores, labels = drawn(100)
    patients = np.tile(np.arange(100), 5)
    by_image = auc(np.tile(scores, 5), np.tile(labels, 5), rounds=300)
    by_patient = auc(np.tile(scores, 5), np.tile(labels, 5), patients, rounds=300)
    once = auc(scores, labels, rounds=300)
    assert by_patient.high - by_patient.low == pytest.approx(once.high - once.low, rel=0.15)
    assert by_image.high - by_image.low < 0.6 * (once.high - once.low)


def test_an_interval_holds_the_truth() -> None:
    """The AUC of two normal distributions at a distance of 1 is 0.7602; 19 of 20 intervals hold it."""
    held = []
    for seed in range(60):
        found = auc(*drawn(200, seed=seed), rounds=200)
        held.append(found.low <= 0.7602 <= found.high)
    assert np.mean(held) >= 0.88


def test_a_difference_is_paired() -> None:
    """A score with a little noise is hardly worse; both share their images, so the interval is narrow."""
    scores, labels = drawn()
    noisy = scores + 0.3 * np.random.default_rng(7).normal(size=300)
    found = auc_difference(noisy, scores, labels, rounds=300)
    alone = auc(scores, labels, rounds=300)
    assert found.mean == pytest.approx(area_under_roc(scores, labels) - area_under_roc(noisy, labels))
    assert found.high - found.low < 0.6 * (alone.high - alone.low)
    same = auc_difference(scores, scores, labels, rounds=50)
    assert (same.mean, same.low, same.high) == (0, 0, 0)


CUTS = [(0.9, 2.0), (1.0, 1.0), (0.5, 6.0), (0.01, 10.0)]


@pytest.mark.parametrize(("sensitivity", "expected"), CUTS)
def test_a_cut_finds_as_many_as_asked(sensitivity: float, expected: float) -> None:
    """Of positives with the scores 1 to 10; rounding makes no eleventh of them."""
    scores = np.concatenate([np.arange(1.0, 11), np.full(20, 5.5)])
    labels = np.arange(30) < 10
    cut = choose_cut(scores, labels, sensitivity)
    assert cut == expected
    assert binary_metrics(scores, labels, cut).recall >= sensitivity


def test_metrics_at_a_cut_are_counted() -> None:
    """Three hits, one miss, two false, four right."""
    scores = [0.9, 0.8, 0.7, 0.1, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    labels = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    found = binary_metrics(scores, labels, 0.5)
    assert found == pytest.approx((0.7, 3 / 5, 3 / 4, 4 / 6, 6 / 9))
    assert found.balanced_accuracy == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert np.isnan(binary_metrics([0.1], [0], 0.5).precision)
    assert binary_metrics([0.9, 0.1], [1, 1], 0.5, [3, 1]).recall == pytest.approx(0.75)


def test_confusion_has_true_classes_in_rows() -> None:
    """As scikit-learn has them, with classes that nobody has too."""
    assert confusion([0, 0, 1, 2], [0, 1, 1, 1], 4).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0] * 4]


def test_an_operating_point_says_what_is_found_there() -> None:
    """Its sensitivity is at least that asked for; images of one class have none."""
    scores, labels = drawn()
    chances = 1 / (1 + np.exp(-scores))
    point = operating_point(chances, labels, 0.9)
    found = binary_metrics(chances, labels, point.cut)
    assert point.sensitivity == pytest.approx(found.recall)
    assert point.specificity == pytest.approx(found.specificity)
    assert 0.9 <= point.sensitivity < 0.93
    assert point.specificity_interval[0] < point.specificity < point.specificity_interval[1]
    with pytest.raises(ValueError, match="both classes"):
        operating_point(chances[labels], labels[labels], 0.9)
    with pytest.raises(ValueError, match="positive"):
        choose_cut([0.1], [0], 0.9)


def test_shapes_that_do_not_fit_are_refused() -> None:
    """A score and a label each."""
    with pytest.raises(ValueError, match="a score and a label"):
        area_under_roc([0.1, 0.2], [1])
    with pytest.raises(ValueError, match="at least one image"):
        auc([], [])


def test_one_patient_gives_no_interval() -> None:
    """Nor do rounds of which most have one class only."""
    scores, labels = drawn(20)
    assert not auc(scores, labels, np.zeros(20)).has_interval
    assert not auc([0.1, 0.9], [0, 1], rounds=40).has_interval


def test_a_mean_has_the_interval_that_means_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a figure that is a mean, the bootstrap of means is the reference; many groups take the normal interval."""
    from napari_melanoma.analysis.statistics import bootstrap_mean

    values = np.random.default_rng(0).random(80)
    groups = np.arange(80) // 2
    found = bootstrap_figure(lambda weights: float(np.average(values, weights=weights)), groups)
    expected = bootstrap_mean(values, groups)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    monkeypatch.setattr("napari_melanoma.analysis.resampling.MANY", 10)
    normal = bootstrap_figure(lambda weights: float(np.average(values, weights=weights)), groups)
    assert (normal.low, normal.high) == pytest.approx((expected.low, expected.high), abs=0.02)
