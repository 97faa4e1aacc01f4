"""Overlap of label images: counts by hand, properties of both indices, and intervals over patients."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.metrics.overlap import (
    UNLABELED_PIXEL,
    count_class_pairs,
    dice_per_class,
    estimate_label_metrics,
    jaccard_per_class,
    label_differences,
    label_metrics,
    mean_over_classes,
)
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean

CLASSES = ("glass", "dermis", "tumour")


def test_counts_by_hand() -> None:
    truth = [[0, 0, 1], [1, 2, 2]]
    found = [[0, 1, 1], [1, 2, 0]]
    assert count_class_pairs(found, truth, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]


def test_pixels_without_a_label_are_not_counted() -> None:
    truth = np.array([[0, UNLABELED_PIXEL, 1], [UNLABELED_PIXEL, 2, 2]])
    assert count_class_pairs([[0, 1, 1], [1, 2, 0]], truth, 3).tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_indices_by_hand() -> None:
    counts = np.array([[1, 1, 0], [0, 2, 0], [1, 0, 1]])
    assert dice_per_class(counts) == pytest.approx([2 / 4, 4 / 5, 2 / 3])
    assert jaccard_per_class(counts) == pytest.approx([1 / 3, 2 / 3, 1 / 2])
    found = label_metrics(counts, CLASSES)
    assert float(found["AC"]) == pytest.approx(4 / 6)
    assert float(found["DI"]) == pytest.approx(np.mean([2 / 4, 4 / 5, 2 / 3]))
    assert float(found["JA tumour"]) == pytest.approx(1 / 2)


def test_a_single_wrong_pixel_of_a_class_that_does_not_occur_decides_nothing() -> None:
    new = np.repeat(np.diag([1000, 500, 0])[None], 4, axis=0)
    old = new.copy()
    old[0, 0] += (-1, 0, 1)
    change = label_differences(old, new, list("aabb"), CLASSES)
    assert 0 < change["DI"].mean < 0.001
    assert "DI tumour" not in change


def test_a_class_that_does_not_occur_is_left_out() -> None:
    counts = np.zeros((3, 3), int)
    counts[0, 0] = 5
    assert np.isnan(dice_per_class(counts)).tolist() == [False, True, True]
    assert float(mean_over_classes(dice_per_class(counts))) == 1
    assert np.isnan(mean_over_classes(dice_per_class(np.zeros((3, 3)))))
    assert "DI tumour" not in estimate_label_metrics(counts[None], ["a"], CLASSES)
    assert estimate_label_metrics(np.zeros((0, 3, 3), int), [], CLASSES) == {}


@pytest.mark.parametrize("seed", range(4))
def test_laws(seed: int) -> None:
    """Exchanging truth and prediction changes nothing; J = D / (2 - D); equal labels agree completely."""
    random = np.random.default_rng(seed)
    truth, found = random.integers(0, 3, (2, 40, 40))
    counts = count_class_pairs(found, truth, 3)
    assert np.array_equal(count_class_pairs(truth, found, 3), counts.T)
    assert dice_per_class(counts.T) == pytest.approx(dice_per_class(counts))
    assert jaccard_per_class(counts) == pytest.approx(dice_per_class(counts) / (2 - dice_per_class(counts)))
    assert dice_per_class(count_class_pairs(truth, truth, 3)) == pytest.approx(np.ones(3))
    assert counts.sum() == truth.size


def test_pixels_of_all_images_are_counted_together() -> None:
    random = np.random.default_rng(0)
    counts = random.integers(0, 50, (12, 3, 3)) + 200 * np.eye(3, dtype=int)
    groups = [f"slide {index // 2}" for index in range(12)]
    found = estimate_label_metrics(counts, groups, CLASSES)
    assert found["DI"].mean == pytest.approx(float(mean_over_classes(dice_per_class(counts.sum(0)))))
    assert found["DI"].count == 12
    for estimate in found.values():
        assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1
    alone = estimate_label_metrics(counts, ["one slide"] * 12, CLASSES)
    assert alone["DI"].mean == found["DI"].mean
    assert not alone["DI"].has_interval


def test_few_groups_give_less_information() -> None:
    """The interval of images in pairs is wider than that of independent images."""
    random = np.random.default_rng(1)
    spread = random.uniform(0.2, 1, 8)
    counts = np.array([[[100, 0], [round(100 * (1 - each)), round(100 * each)]] for each in spread for _ in range(2)])
    pairs = estimate_label_metrics(counts, [str(index // 2) for index in range(16)], ("rest", "tumour"))["DI tumour"]
    single = estimate_label_metrics(counts, [str(index) for index in range(16)], ("rest", "tumour"))["DI tumour"]
    assert pairs.high - pairs.low > single.high - single.low


def counts_of_accuracy(accuracy: np.ndarray) -> np.ndarray:
    """Images of 1000 pixels of two classes with given accuracies: their pooled accuracy is the mean."""
    right = np.round(500 * accuracy)
    return np.array([[[each, 500 - each], [500 - each, each]] for each in right])


def test_the_interval_is_that_of_a_mean() -> None:
    for images, tolerance in ((60, 1e-9), (20_000, 0.1)):
        accuracy = 0.5 + np.random.default_rng(0).integers(0, 200, images) / 500
        groups = [str(index // 2) for index in range(images)]
        found = estimate_label_metrics(counts_of_accuracy(accuracy), groups, ("rest", "tumour"))["AC"]
        expected = bootstrap_mean(accuracy, groups)
        width = expected.high - expected.low
        assert (found.mean, found.low, found.high) == pytest.approx(
            (expected.mean, expected.low, expected.high), abs=tolerance * width
        )
    assert found.mean - found.low == pytest.approx(found.high - found.mean)  # the normal interval of many groups


def test_a_difference_is_paired() -> None:
    random = np.random.default_rng(0)
    before = 0.5 + random.integers(0, 200, 40) / 500
    after = before + random.integers(-5, 20, 40) / 500
    groups = [str(index // 2) for index in range(40)]
    old, new = counts_of_accuracy(before), counts_of_accuracy(after)
    found = label_differences(old, new, groups, ("rest", "tumour"))
    expected = bootstrap_mean(after - before, groups)
    width = expected.high - expected.low
    assert (found["AC"].mean, found["AC"].low, found["AC"].high) == pytest.approx(
        (expected.mean, expected.low, expected.high), abs=1e-9 * width
    )
    assert found["AC"].count == 40
    back = label_differences(new, old, groups, ("rest", "tumour"))
    for name, there in found.items():
        assert (there.mean, there.low, there.high) == pytest.approx(
            (-back[name].mean, -back[name].high, -back[name].low), abs=1e-12
        )
    with pytest.raises(ValueError, match="the same images for a paired difference, found 40 and 39"):
        label_differences(old, new[1:], groups, ("rest", "tumour"))


@pytest.mark.parametrize("paired", [False, True])
def test_the_defaults_are_those_of_means_and_no_interval_leaves_its_range(paired: bool) -> None:
    good, bad = counts_of_accuracy(np.array([1.0, 0.98])), counts_of_accuracy(np.array([0.1, 0.0]))
    names = ("rest", "tumour")
    groups = ["a", "b"]

    def estimate(**options: int) -> dict[str, Estimate]:
        if paired:
            return label_differences(bad, good, groups, names, **options)
        return estimate_label_metrics(good, groups, names, **options)

    assert (estimate()["AC"].low > 0, estimate()["AC"].high) == (True, 1)
    if paired:
        down = label_differences(good, bad, groups, names)["AC"]
        assert (down.low, down.high < 0) == (-1, True)
    many = counts_of_accuracy(np.random.default_rng(0).random(9)), [str(index) for index in range(9)]
    usual = estimate_label_metrics(*many, names)
    assert usual == estimate_label_metrics(*many, names, rounds=2000, seed=0)
    assert usual != estimate_label_metrics(*many, names, rounds=2001, seed=0)
    assert usual != estimate_label_metrics(*many, names, rounds=2000, seed=1)
