"""The advice of a comparison, case by case, and the number of images that a verdict needs."""

from __future__ import annotations

import math

import pytest

from napari_melanoma.evaluation.comparison_results import DomainChange, advise, advise_by_auc, count_images_needed
from napari_melanoma.metrics.statistics import Estimate


def change(
    low: float, high: float, *, name: str = "new", count: int = 40, patients: int = 30, replay: bool = False
) -> DomainChange:
    level = {"JA": Estimate(0.8, 0.7, 0.9, count)}
    return DomainChange(name, replay, patients, level, level, {"JA": Estimate((low + high) / 2, low, high, count)})


BETTER, GAIN = "The new model is better", "Jaccard (IoU) +0.020 (95 % interval +0.010 to +0.030)"
CASES = [
    ("a gain", change(0.01, 0.03), [], "activate", f"{BETTER} on 40 images: {GAIN}."),
    ("a loss", change(-0.03, -0.01), [], "keep", "The new model is worse on 40 images"),
    ("perhaps a gain", change(-0.01, 0.04), [], "inconclusive", "The difference may be due to chance"),
    ("alike", change(-0.004, 0.006), [], "inconclusive", "The models perform equally well"),
    ("few images", change(0.2, 0.3, count=4), [], "inconclusive", "Only 4 images of 30 patients or lesions"),
    ("few patients", change(0.2, 0.3, patients=2), [], "inconclusive", "Only 40 images of 2 patients or lesions"),
    ("a loss on old data", change(0.01, 0.03), [change(-0.05, -0.02, name="old", replay=True)], "keep",
     "The new model is worse on old: Jaccard (IoU) -0.035"),
    ("perhaps a loss on old data", change(0.01, 0.03), [change(-0.02, 0.01, name="old", replay=True)], "inconclusive",
     f"{BETTER} on the new images: {GAIN}, but it may lose more than 0.01 on old"),
    ("no loss on old data", change(0.01, 0.03), [change(-0.005, 0.01, name="old", replay=True)], "activate",
     BETTER),
    ("a data set that is too small", change(0.01, 0.03), [change(-0.5, -0.1, patients=3)], "activate", BETTER),
    ("a gain at the limit", change(0.0, 0.03), [], "inconclusive", "The difference may be due to chance"),
    ("the tolerated loss", change(0.01, 0.03), [change(-0.01, 0.01, name="old")], "activate", BETTER),
]  # fmt: skip


@pytest.mark.parametrize(("new", "others", "advice", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_advice(new: DomainChange, others: list[DomainChange], advice: str, reason: str) -> None:
    found, text = advise(new, others)
    assert (found, text[: len(reason)]) == (advice, reason)


def test_the_reason_names_the_compared_data() -> None:
    kept = advise(change(0.01, 0.03), [change(-0.005, 0.01, name="old", replay=True)])[1]
    assert kept.endswith("It loses no more than 0.01 on old.")
    assert advise(change(0.01, 0.03), [change(0.01, 0.03)])[1].endswith("No other images were compared.")
    few = change(-0.5, -0.1, name="few", patients=3, replay=True)
    assert advise(change(0.01, 0.03), [few])[1].endswith("). Too few images or patients for a verdict on few.")


@pytest.mark.parametrize(
    ("found", "limit", "more"),
    [
        (Estimate(0.02, -0.02, 0.06, 50), 0.0, 150),  # the interval is twice as wide as it may be: four times as many
        (Estimate(0.0, -0.02, 0.02, 50), -0.01, 150),
        (Estimate(0.001, -0.1, 0.1, 50), 0.0, None),
        (Estimate(0.0, -0.1, 0.1, 50), 0.0, None),
        (Estimate(0.02, -0.0001, 0.0401, 50), 0.0, 1),
    ],
)
def test_images_needed_for_a_verdict(found: Estimate, limit: float, more: int | None) -> None:
    assert count_images_needed(found, limit) == more


def test_the_reason_states_how_many_images_are_needed() -> None:
    assert advise(change(-0.02, 0.06), [])[1].endswith("A verdict needs about 120 more test images.")
    assert advise(change(-0.02, 0.021), [])[1].endswith("A verdict would need far more test images.")


def class_change(
    gain: tuple[float, float], positives: int = 20, others: int = 60, sensitivity: float = 0.0
) -> list[DomainChange]:
    """Return the result on all images of a comparison: number of positives, difference in AUC and in sensitivity."""
    count = positives + others
    new = {
        "AUC": Estimate(0.8, 0.7, 0.9, count),
        "sensitivity": Estimate(0.8, 0.7, 0.9, positives),
        "specificity": Estimate(0.8, 0.7, 0.9, others),
    }
    low, high = gain
    difference = {
        "AUC": Estimate((low + high) / 2, low, high, count),
        "sensitivity": Estimate(sensitivity, sensitivity - 0.01, sensitivity + 0.01, positives),
        "ECE": Estimate(0.0, math.nan, math.nan, count),
    }
    return [DomainChange("all", False, count, new, new, difference)]


CLASS_CASES = [
    ("a gain", class_change((0.01, 0.05)), "activate", "The new model is better on 80 images: AUC +0.030"),
    ("a loss", class_change((-0.05, -0.01)), "keep", "is worse on 80 images: AUC -0.030"),
    ("perhaps", class_change((-0.02, 0.05)), "inconclusive", "may be due to chance"),
    ("few positives", class_change((0.01, 0.05), 4), "inconclusive", "80 test images, 4 are of the rarer class"),
    ("finds fewer", class_change((0.01, 0.05), sensitivity=-0.1), "activate", "has a lower sensitivity"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "advice", "expected_reason"), [case[1:] for case in CLASS_CASES], ids=[case[0] for case in CLASS_CASES]
)
def test_the_recommendation_follows_the_auc(changes: list[DomainChange], advice: str, expected_reason: str) -> None:
    found, reason = advise_by_auc(changes, 80, "")
    assert found == advice
    assert expected_reason in reason


def test_images_of_one_class_give_no_recommendation() -> None:
    (whole,) = class_change((0.01, 0.05))
    alone = {"specificity": whole.new["specificity"]}
    assert advise_by_auc([DomainChange("all", False, 60, alone, alone, alone)], 60, "") == (
        "inconclusive",
        "All 60 images of the test set are of one class, so AUC cannot be measured.",
    )
