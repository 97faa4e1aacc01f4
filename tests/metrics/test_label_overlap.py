"""Overlap of label images: counts by hand, the laws of both indices, and intervals over patients."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.metrics.overlap import (
    count_class_pairs,
    dice_per_class,
    estimate_label_metrics,
    jaccard_per_class,
    label_metrics,
    mean_over_classes,
)

CLASSES = ("glass", "dermis", "tumour")


def test_counts_by_hand() -> None:
    truth = [[0, 0, 1], [1, 2, 2]]
    found = [[0, 1, 1], [1, 2, 0]]
    assert count_class_pairs(found, truth, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]


def test_indices_by_hand() -> None:
    counts = np.array([[1, 1, 0], [0, 2, 0], [1, 0, 1]])
    assert dice_per_class(counts) == pytest.approx([2 / 4, 4 / 5, 2 / 3])
    assert jaccard_per_class(counts) == pytest.approx([1 / 3, 2 / 3, 1 / 2])
    found = label_metrics(counts, CLASSES)
    assert float(found["AC"]) == pytest.approx(4 / 6)
    assert float(found["DI"]) == pytest.approx(np.mean([2 / 4, 4 / 5, 2 / 3]))
    assert float(found["JA tumour"]) == pytest.approx(1 / 2)


def test_a_class_that_neither_is_nor_was_found_is_left_out() -> None:
    counts = np.zeros((3, 3), int)
    counts[0, 0] = 5
    assert np.isnan(dice_per_class(counts)).tolist() == [False, True, True]
    assert float(mean_over_classes(dice_per_class(counts))) == 1
    assert np.isnan(mean_over_classes(dice_per_class(np.zeros((3, 3)))))
    assert "DI tumour" not in estimate_label_metrics(counts[None], ["a"], CLASSES)


@pytest.mark.parametrize("seed", range(4))
def test_laws(seed: int) -> None:
    """Turning truth and answer around changes nothing; J = D / (2 - D); the same labels agree wholly."""
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
    """The same images as one group each and in pairs: pairs are fewer witnesses, and their interval is wider."""
    random = np.random.default_rng(1)
    spread = random.uniform(0.2, 1, 8)
    counts = np.array([[[100, 0], [round(100 * (1 - each)), round(100 * each)]] for each in spread for _ in range(2)])
    pairs = estimate_label_metrics(counts, [str(index // 2) for index in range(16)], ("rest", "tumour"))["DI tumour"]
    single = estimate_label_metrics(counts, [str(index) for index in range(16)], ("rest", "tumour"))["DI tumour"]
    assert pairs.high - pairs.low > single.high - single.low
