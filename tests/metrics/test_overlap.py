"""Overlap metrics compared with counts by hand and with TorchMetrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_melanoma.metrics.metric_table import OVERLAP_METRICS
from napari_melanoma.metrics.overlap import TJA_LIMIT, choose_best_setting, jaccard_by_threshold, overlap_metrics


@dataclass(frozen=True)
class Case:
    """Two masks in one row and their metrics in the order TJA, JA, DI, AC, SE, SP."""

    name: str
    mask: str
    reference: str
    expected: tuple[float, ...]


CASES = [
    Case("equal", "1100", "1100", (1, 1, 1, 1, 1, 1)),
    Case("half missed", "1000", "1100", (0, 1 / 2, 2 / 3, 3 / 4, 1 / 2, 1)),
    Case("a third too much", "1110", "1100", (2 / 3, 2 / 3, 4 / 5, 3 / 4, 1, 1 / 2)),
    Case("nothing in common", "0011", "1100", (0, 0, 0, 0, 0, 0)),
    Case("both empty", "0000", "0000", (1, 1, 1, 1, 1, 1)),
    Case("nothing found", "0000", "1100", (0, 0, 0, 1 / 2, 0, 1)),
    Case("all lesion", "1111", "1111", (1, 1, 1, 1, 1, 1)),
    Case("at the limit of TJA", 13 * "1" + 7 * "0", 20 * "1", (0.65, 0.65, 26 / 33, 0.65, 0.65, 1)),
    Case("below it", 12 * "1" + 8 * "0", 20 * "1", (0, 0.6, 24 / 32, 0.6, 0.6, 1)),
]


def _mask(text: str) -> np.ndarray:
    return np.array([[digit == "1" for digit in text]])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_metrics(case: Case) -> None:
    found = overlap_metrics(_mask(case.mask), _mask(case.reference))
    assert [found[name] for name in OVERLAP_METRICS] == pytest.approx(list(case.expected))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        overlap_metrics(np.zeros((2, 2), bool), np.zeros((2, 3), bool))


@settings(max_examples=40)
@given(arrays(np.bool_, (5, 6)), arrays(np.bool_, (5, 6)))
def test_dice_and_jaccard_agree(mask: np.ndarray, reference: np.ndarray) -> None:
    found = overlap_metrics(mask, reference)
    assert found["DI"] == pytest.approx(2 * found["JA"] / (1 + found["JA"]))
    assert all(0 <= value <= 1 for value in found.values())
    assert overlap_metrics(reference, mask)["JA"] == found["JA"]


@settings(max_examples=40)
@given(
    arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)),
    arrays(np.bool_, (4, 5)),
)
def test_one_pass_equals_many(probability: np.ndarray, reference: np.ndarray) -> None:
    thresholds = np.linspace(0.1, 0.9, 9)
    plain = [overlap_metrics(probability >= threshold, reference)["JA"] for threshold in thresholds]
    assert jaccard_by_threshold(probability, reference, thresholds) == pytest.approx(plain)


def test_a_probability_at_a_threshold_is_lesion() -> None:
    probability = np.array([[0.25, 0.5, 0.75, 0.0]], np.float32)
    found = jaccard_by_threshold(probability, np.array([[True, True, True, False]]), np.array([0.25, 0.5, 0.75]))
    assert found.tolist() == [1.0, 2 / 3, 1 / 3]


@dataclass(frozen=True)
class Choice:
    """Values of images (rows) under settings (columns), the usual setting, and the one to choose."""

    name: str
    curves: list[list[float]]
    usual: int | None
    expected: int


CHOICES = [
    Choice("nothing is usual: the best mean", [[0.5, 0.7], [0.6, 0.5]], None, 1),
    Choice("better on each image", [[0.5, 0.6], [0.6, 0.7], [0.2, 0.31]], 0, 1),
    Choice("better by one lucky image", [[0.5, 0.9], [0.6, 0.59], [0.7, 0.69]], 0, 0),
    Choice("one image is no evidence", [[0.5, 0.9]], 0, 0),
    Choice("two images are, if they agree", [[0.5, 0.6], [0.6, 0.72]], 0, 1),
    Choice("by exactly one standard error", [[0.0, 0.0], [0.0, 1.0]], 0, 0),
    Choice("by nearly four standard errors", [[0.0, 0.1], [0.0, 0.3], [0.0, 0.2], [0.0, 0.4]], 0, 1),
    Choice("the usual one is the best", [[0.9, 0.5], [0.8, 0.6]], 0, 0),
    Choice("no difference at all", [[0.5, 0.5], [0.6, 0.6]], 1, 1),
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.name)
def test_another_setting_than_the_usual_one_needs_more_than_chance(choice: Choice) -> None:
    assert choose_best_setting(np.array(choice.curves), choice.usual) == choice.expected


SHAPE = (9, 11)


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks with any agreement with their references, which contain lesion and skin."""
    random = np.random.default_rng(3)
    found = []
    for flipped in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9, 1.0):
        for share in (0.2, 0.5, 0.8):
            reference = random.random(SHAPE) < share
            found.append((reference ^ (random.random(SHAPE) < flipped), reference))
    return found


@pytest.mark.slow
def test_torchmetrics_agrees_for_each_image() -> None:
    """All metrics of ISIC 2018, including the thresholded Jaccard."""
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.functional.classification")
    masks, references = (torch.tensor(np.stack(both)).int() for both in zip(*pairs(), strict=True))
    given = {"multidim_average": "samplewise"}
    jaccard = np.array(
        [classification.binary_jaccard_index(*both).item() for both in zip(masks, references, strict=True)]
    )
    expected = {
        "JA": jaccard,
        "TJA": np.where(jaccard >= TJA_LIMIT, jaccard, 0.0),
        "DI": classification.binary_f1_score(masks, references, **given).numpy(),
        "AC": classification.binary_accuracy(masks, references, **given).numpy(),
        "SE": classification.binary_recall(masks, references, **given).numpy(),
        "SP": classification.binary_specificity(masks, references, **given).numpy(),
    }
    found = [overlap_metrics(mask, reference) for mask, reference in pairs()]
    assert {name: np.array([item[name] for item in found]) for name in found[0]} == {
        name: pytest.approx(values, abs=1e-6) for name, values in expected.items()
    }
    assert 0 < np.count_nonzero(expected["TJA"]) < len(found), "the threshold falls between them"
