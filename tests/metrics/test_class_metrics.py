"""Metrics of classifiers: compared with scikit-learn, within bounds, with intervals that cover the true value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from napari_melanoma.metrics.calibration import expected_calibration_error
from napari_melanoma.metrics.class_metrics import (
    ClassPredictions,
    class_differences,
    class_estimates,
    domain_auc,
)
from napari_melanoma.metrics.metric_table import CLASS_METRICS
from napari_melanoma.metrics.roc_curves import ResampledScores


def predictions(
    count: int = 300, seed: int = 0, strength: float = 1.5, per_patient: int = 2, digits: int = 2
) -> ClassPredictions:
    """Calibrated predictions of an informative model, with ties."""
    random = np.random.default_rng(seed)
    scores = np.round(1 / (1 + np.exp(-(strength * random.normal(size=count) - 1))), digits)
    labels = (random.random(count) < scores).astype(int)
    groups = np.array([f"p{index // per_patient}" for index in range(count)])
    return ClassPredictions(
        np.stack([1 - scores, scores], axis=1), labels, groups, ("other", "melanoma"), "melanoma", 0.3
    )


def partial_area(given: ClassPredictions) -> float:
    """As in the code of the challenge: the standardized area of the inverted problem, converted back."""
    scaled = metrics.roc_auc_score(~given.truth, 1 - given.scores, max_fpr=0.2)
    return 0.5 * 0.2**2 + (0.2 - 0.5 * 0.2**2) / 0.5 * (scaled - 0.5)


def test_two_classes_match_scikit_learn() -> None:
    given = predictions()
    found = {name: estimate.mean for name, estimate in class_estimates(given).items()}
    truth, predicted = given.truth, given.scores >= 0.3
    expected = {
        "AUC": metrics.roc_auc_score(truth, given.scores),
        "AP": metrics.average_precision_score(truth, given.scores),
        "pAUC": partial_area(given),
        "sensitivity": metrics.recall_score(truth, predicted),
        "specificity": metrics.recall_score(~truth, ~predicted),
        "precision": metrics.precision_score(truth, predicted),
        "F1": metrics.f1_score(truth, predicted),
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "MCC": metrics.matthews_corrcoef(truth, predicted),
        "kappa": metrics.cohen_kappa_score(truth, predicted),
        "ECE": expected_calibration_error(given.scores, truth),
        "Brier": metrics.brier_score_loss(truth, given.scores),
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("digits", "seed"), [(2, 5), (1, 6), (6, 7)])
def test_partial_auc_is_that_of_isic_2024(digits: int, seed: int) -> None:
    """With and without ties; at most 0.2, and 0.02 by chance."""
    given = predictions(seed=seed, digits=digits)
    assert class_estimates(given)["pAUC"].mean == pytest.approx(partial_area(given))
    labels, alike = np.array([0, 0, 1, 1]), np.ones((1, 4))
    assert ResampledScores(labels.astype(float), labels == 1, alike).partial_auc() == pytest.approx(0.2)
    assert ResampledScores(np.zeros(4), labels == 1, alike).partial_auc() == pytest.approx(0.02)


def test_the_order_of_images_changes_no_metric() -> None:
    """Also where many images have the same probability, and the table is sorted by class."""
    random = np.random.default_rng(3)
    chances = random.integers(1, 4, (240, 3)).astype(float)
    labels = np.sort(random.integers(0, 3, 240))
    groups, domains = (
        np.array([f"{name}{index % parts}" for index in range(240)]) for name, parts in (("p", 90), ("d", 2))
    )
    three = ClassPredictions(
        chances / chances.sum(axis=1, keepdims=True),
        labels,
        groups,
        ("nevus", "other", "melanoma"),
        "melanoma",
        0.4,
        domains,
    )
    two = predictions(240, digits=1)
    two = two.subset(np.argsort(two.labels, kind="stable"))
    for given in (three, two):
        expected = class_estimates(given)
        assert {*expected} >= {"ECE", "AUC", "AP", "pAUC"}
        for seed in range(3):
            found = class_estimates(given.subset(np.random.default_rng(seed).permutation(240)))
            assert {*found} == {*expected}
            for name, one in expected.items():
                assert (found[name].mean, found[name].low, found[name].high) == pytest.approx(
                    (one.mean, one.low, one.high), abs=1e-12
                ), name


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("count", [7, 15, 100, 307])
def test_calibration_error_matches_the_metrics_package(count: int, digits: int) -> None:
    """Also if images do not divide evenly into bins, and if many have the same probability."""
    given = predictions(count, digits=digits)
    found = ResampledScores(given.scores, given.truth, np.ones((1, count))).calibration_error()
    assert found == pytest.approx(expected_calibration_error(given.scores, given.truth))


def test_weights_equal_repeated_images() -> None:
    given = predictions(60)
    times = np.random.default_rng(1).integers(0, 4, size=(3, 60))
    drawn = ResampledScores(given.scores, given.truth, times.astype(float))
    for row, area, precision in zip(times, drawn.auc(), drawn.average_precision(), strict=True):
        scores, truth = np.repeat(given.scores, row), np.repeat(given.truth, row)
        assert area == pytest.approx(metrics.roc_auc_score(truth, scores))
        assert precision == pytest.approx(metrics.average_precision_score(truth, scores))


def test_several_classes() -> None:
    random = np.random.default_rng(2)
    probabilities, labels = random.dirichlet(np.ones(3), 200), random.integers(0, 3, 200)
    given = ClassPredictions(probabilities, labels, np.arange(200), ("a", "b", "c"), "b", 0.4)
    found = class_estimates(given)
    assert found["macro_AUC"].mean == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))
    predicted = probabilities.argmax(1)
    assert found["class_balanced_accuracy"].mean == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found["class_MCC"].mean == pytest.approx(metrics.matthews_corrcoef(labels, predicted))
    assert found["class_kappa"].mean == pytest.approx(metrics.cohen_kappa_score(labels, predicted))
    assert list(found) == [name for name in CLASS_METRICS if name != "AUC_within"]


def test_agreement_below_chance_has_an_interval_below_zero() -> None:
    given = predictions()
    wrong = class_estimates(replace(given, labels=1 - given.labels))
    assert wrong["MCC"].mean == pytest.approx(-class_estimates(given)["MCC"].mean)
    assert wrong["kappa"].high < 0
    change = class_differences(given, replace(given, threshold=1.1))
    assert change["MCC"].mean == pytest.approx(-class_estimates(given)["MCC"].mean)


def test_decisions_of_one_class_agree_by_chance_only() -> None:
    found = class_estimates(replace(predictions(), threshold=1.1))
    assert (found["MCC"].mean, found["kappa"].mean) == (0, 0)


@pytest.mark.slow
def test_intervals_cover_the_true_value() -> None:
    """The interval covers the known AUC in about 95 % of 60 samples."""
    many = predictions(40_000, seed=99, digits=6)
    truth = metrics.roc_auc_score(many.truth, many.scores)
    found = [class_estimates(predictions(160, seed=seed, digits=6))["AUC"] for seed in range(60)]
    assert 0.86 <= np.mean([one.low <= truth <= one.high for one in found]) <= 1.0


def test_counts_of_metrics() -> None:
    given = predictions()
    found = class_estimates(given)
    assert found["sensitivity"].count == given.truth.sum()
    assert found["specificity"].count == (~given.truth).sum()
    assert found["AUC"].count == 300


def test_few_correct_images_give_wide_intervals() -> None:
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    given = ClassPredictions(
        np.stack([1 - scores, scores], 1), np.array([0, 0, 1, 1]), np.arange(4), ("o", "m"), "m", 0.5
    )
    found = class_estimates(given)
    assert (found["AUC"].mean, found["AUC"].high) == (1.0, 1.0)
    assert found["AUC"].low == pytest.approx(0.025**0.5)
    assert found["sensitivity"].low < 0.2


def test_one_class_has_no_auc() -> None:
    given = predictions()
    found = class_estimates(given.subset(~given.truth))
    assert {"AUC", "AP", "pAUC", "sensitivity"}.isdisjoint(found)
    assert {"specificity", "accuracy", "ECE"} <= set(found)
    with pytest.raises(ValueError, match="at least one image"):
        class_estimates(given.subset(np.zeros(300, bool)))


def test_one_patient_has_no_interval() -> None:
    given = predictions(20, per_patient=20)
    assert not class_estimates(given)["AUC"].has_interval


def test_a_paired_difference() -> None:
    good = predictions(400, strength=2.5)
    blurred = np.clip(good.scores + np.random.default_rng(3).normal(0, 0.3, 400), 0.001, 0.999)
    bad = replace(good, probabilities=np.stack([1 - blurred, blurred], 1))
    change = class_differences(bad, good)["AUC"]
    assert change.mean == pytest.approx(class_estimates(good)["AUC"].mean - class_estimates(bad)["AUC"].mean)
    assert 0 < change.low < change.mean < change.high
    same = class_differences(good, good)["AUC"]
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="same images"):
        class_differences(good, predictions(300))


def test_recognizing_the_data_set_raises_only_the_pooled_auc() -> None:
    """Two data sets, one with many positives: a score by data set is good over both and useless within."""
    random = np.random.default_rng(4)
    labels = np.r_[random.random(300) < 0.7, random.random(300) < 0.1].astype(int)
    scores = np.repeat([0.7, 0.1], 300)
    domains = np.repeat(["a", "b"], 300)
    given = ClassPredictions(np.stack([1 - scores, scores], 1), labels, np.arange(600), ("o", "m"), "m", 0.5, domains)
    found = class_estimates(given)
    assert found["AUC"].mean > 0.75
    assert found["AUC_within"].mean == 0.5
    assert domain_auc(given) == pytest.approx(found["AUC"].mean)


@pytest.mark.parametrize("count", [4, 10, 13])
def test_every_metric_of_a_perfect_model_is_uncertain_for_few_images(count: int) -> None:
    """The sum of a partial area misses its bound by rounding."""
    scores = np.r_[np.linspace(0.01, 0.2, count), np.linspace(0.8, 0.99, count)]
    labels = np.repeat([0, 1], count)
    probabilities = np.stack([1 - scores, scores], 1)
    found = class_estimates(ClassPredictions(probabilities, labels, np.arange(2 * count), ("o", "m"), "m", 0.5))
    assert found["pAUC"].low / 0.2 == pytest.approx(found["AUC"].low)
    assert all(one.low < one.high for one in found.values())


def test_models_of_different_positive_classes_have_no_difference() -> None:
    random = np.random.default_rng(5)
    given = ClassPredictions(
        random.dirichlet(np.ones(3), 60), random.integers(0, 3, 60), np.arange(60), ("n", "m", "b"), "m", 0.5
    )
    with pytest.raises(ValueError, match="same classes and positive class; found m of n, m, b and b of n, m, b"):
        class_differences(given, replace(given, positive="b"))
