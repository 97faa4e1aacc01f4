"""Metrics of pooled predictions: the papers' names, changes between rows, and columns that may be empty."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from napari_melanoma.extensions.papers.kinds import CLASSIFICATION

Images = list[dict[str, str]]


def drawn(count: int = 200, shift: float = 0.3, seed: int = 0) -> Images:
    """Predictions of single patients with many equal probabilities, all in the columns of ``per_image.csv``."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.3
    probability = np.clip(rng.normal(0.35 + shift * truth, 0.2), 0, 1).round(2)
    stored = (rng.random((3, count)) < 0.8).astype(int)
    return [
        {
            "group": str(number),
            "label": str(int(truth[number])),
            "as_trained": str(probability[number]),
            "probability": str(probability[number]),
            **dict(zip(("above", "covered", "several"), map(str, stored[:, number]), strict=True)),
        }
        for number in range(count)
    ]


def column(images: Images, name: str) -> np.ndarray:
    return np.array([float(image[name]) for image in images])


def changed(images: Images, **columns: object) -> Images:
    """Replace columns by a value, or by one value for each image."""
    values = {name: np.broadcast_to(value, len(images)) for name, value in columns.items()}
    return [{**image, **{name: str(each[n]) for name, each in values.items()}} for n, image in enumerate(images)]


def means(images: Images) -> dict[str, float]:
    return {name: estimate.mean for name, estimate in CLASSIFICATION.estimates(images, ()).items()}


def test_metrics_match_scikit_learn() -> None:
    images = drawn()
    found, probability = means(images), column(images, "probability")
    truth, predicted, above = column(images, "label") == 1, probability >= 0.5, column(images, "above") == 1
    assert found["AUC"] == pytest.approx(metrics.roc_auc_score(truth, probability))
    assert found["AP"] == pytest.approx(metrics.average_precision_score(truth, probability))
    assert found["AC"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert found["PR"] == pytest.approx(metrics.precision_score(truth, predicted))
    assert found["SE"] == pytest.approx(metrics.recall_score(truth, predicted))
    assert found["SP"] == pytest.approx(metrics.recall_score(~truth, ~predicted))
    assert found["F1"] == pytest.approx(metrics.f1_score(truth, predicted))
    assert found["SE90"] == pytest.approx(above[truth].mean())
    assert found["SP90"] == pytest.approx(1 - above[~truth].mean())
    assert found["COV"] == pytest.approx(column(images, "covered").mean())
    assert found["CT"] == pytest.approx(column(images, "several").mean())


def test_images_of_one_patient_are_not_independent() -> None:
    one = drawn(100)
    apart = changed(3 * one, group=np.arange(300))
    widths = [estimate.high - estimate.low for estimate in (auc(3 * one), auc(apart))]
    assert widths[0] > 1.5 * widths[1]
    assert not auc(changed(one, group="the only one")).has_interval


def auc(images: Images):
    return CLASSIFICATION.estimates(images, ())["AUC"]


def test_differences_between_rows() -> None:
    less = drawn(300, shift=0.1)
    better = np.clip(column(less, "probability") + 0.4 * column(less, "label"), 0, 1)
    more = changed(less, as_trained=better, probability=better, covered="")
    found = CLASSIFICATION.estimates(more, less)
    assert found["AUC"].low > 0
    assert "COV" not in found  # one of them has no sets
    same = CLASSIFICATION.estimates(less, less)
    assert all((one.mean, one.low, one.high) == (0, 0, 0) for one in (same["AUC"], same["CT"], same["SE90"]))


def test_constant_predictions_have_an_auc_of_one_half() -> None:
    none = dict.fromkeys(("above", "covered", "several"), "")
    found = means(changed(drawn(), as_trained=0.0, probability=0.0, **none))
    assert (found["AUC"], found["F1"], found["SP"]) == (0.5, 0, 1)
    assert {"PR", "SE90", "SP90", "COV", "CT"}.isdisjoint(found)  # no image is predicted positive


def test_calibration_that_undoes_balanced_sampling_changes_decisions_only_in_its_own_metrics() -> None:
    images = drawn(400)
    as_trained = column(images, "as_trained")
    calibrated = as_trained / (as_trained + 9 * (1 - as_trained))
    found, truth = means(changed(images, probability=calibrated)), column(images, "label")
    assert found["SE"] == pytest.approx(metrics.recall_score(truth, as_trained >= 0.5))
    assert found["calibrated_SE"] == pytest.approx(metrics.recall_score(truth, calibrated >= 0.5))
    assert found["calibrated_SE"] < found["SE"]
    assert found["calibrated_AUC"] == pytest.approx(found["AUC"])  # the order is the same


def test_predictions_of_an_older_folder_have_only_calibrated_metrics() -> None:
    found = means(changed(drawn(), as_trained=""))
    assert {"AC", "AUC", "ECE"}.isdisjoint(found)
    assert {"calibrated_AC", "calibrated_AUC", "calibrated_ECE", "SE90"} <= set(found)
