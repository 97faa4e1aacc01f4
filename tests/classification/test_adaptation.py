"""Candidates of an adaptation, the choice among them, and predictions without the patient of a case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_melanoma.classification.adaptation import (
    CANDIDATES,
    RECALIBRATED,
    REPEATS,
    SHIPPED,
    AdaptationBase,
    Candidate,
    CandidateFigures,
    LabelCounts,
    LabeledCases,
    choose_case_folds,
    choose_cautious,
    fit_candidate,
    fit_scale,
    list_candidates,
    predict_left_out,
    select_candidate,
)
from napari_melanoma.classification.embeddings import EmbeddingStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.metrics.calibration import softmax
from napari_melanoma.models.bundle import BundleConfig, BundleInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("melanoma", "nevus", "keratosis")
FEATURES = 12
TEMPERATURE, BIAS = 1.5, (0.4, -0.1, -0.3)


def auc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, scores))


def make_base(classes: int = 3) -> AdaptationBase:
    reference = np.random.default_rng(5).normal(2.0, 3.0, (200, FEATURES))
    return AdaptationBase.from_reference(np.eye(classes, 3), TEMPERATURE, BIAS, reference)


def make_cases(seed: int, count: int, *, informative: bool, right: bool, classes: int = 3) -> LabeledCases:
    """Cases of two per patient; the class follows the logits (``right``), and an embedding that may be informative."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, 3)).astype(np.float32)
    probabilities = softmax(logits, TEMPERATURE, BIAS)
    labels = (
        np.array([random.choice(3, p=row) for row in probabilities]) if right else random.integers(0, classes, count)
    )
    embeddings = random.normal(2.0, 3.0, (count, FEATURES))
    if informative:
        embeddings[:, :classes] += 6.0 * np.eye(classes)[labels]
    groups = [f"patient {index // 2:03}" for index in range(count)]
    return LabeledCases(embeddings.astype(np.float32), logits, labels.astype(np.int64), groups)


def select(cases: LabeledCases, base: AdaptationBase | None = None):
    base = base or make_base()
    classes = (*CLASSES, "carcinoma")[: len(base.start)]
    folds = choose_case_folds(cases, classes, 0)
    return select_candidate(base, cases, list_candidates(cases.labels, 0), folds, run=RunContext())


def test_the_model_as_it_is_predicts_its_calibrated_probabilities() -> None:
    cases = make_cases(0, 40, informative=False, right=True)
    head = fit_candidate(make_base(), cases, SHIPPED)
    found = softmax(head.predict(cases.logits, cases.embeddings))
    np.testing.assert_allclose(found, softmax(cases.logits, TEMPERATURE, BIAS), atol=1e-9)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_the_linear_head_predicts_what_was_fitted(candidate: Candidate) -> None:
    """A fold of everything but one case and the head of all cases are the same function."""
    cases = make_cases(1, 60, informative=True, right=False)
    folds = np.zeros(60, np.int64)
    folds[:20] = 1
    left_out = predict_left_out(make_base(), cases, candidate, folds)
    head = fit_candidate(make_base(), cases.subset(folds == 0), candidate)
    np.testing.assert_allclose(left_out[:20], head.predict(cases.logits, cases.embeddings)[:20], atol=1e-8)


def test_labels_of_a_patient_do_not_change_the_own_prediction() -> None:
    cases = make_cases(2, 80, informative=True, right=False)
    folds = choose_case_folds(cases, CLASSES, 0)[0]
    changed = replace(cases, labels=np.where(folds == 0, (cases.labels + 1) % 3, cases.labels))
    for candidate in (RECALIBRATED, Candidate("stacked", 0.3), Candidate("refit", 0.3)):
        before, after = (predict_left_out(make_base(), one, candidate, folds) for one in (cases, changed))
        np.testing.assert_array_equal(before[folds == 0], after[folds == 0])
        assert np.abs(before - after).max() > 1e-3  # the others were fitted to these labels


def test_a_patient_is_in_one_fold_whatever_the_order() -> None:
    cases = make_cases(3, 90, informative=False, right=True)
    order = np.random.default_rng(0).permutation(90)
    folds = choose_case_folds(cases, CLASSES, 0)
    np.testing.assert_array_equal(choose_case_folds(cases.subset(order), CLASSES, 0), folds[:, order])
    assert (folds[:, ::2] == folds[:, 1::2]).all()
    divisions = {tuple(np.unique(one[::2], return_inverse=True)[1].tolist()) for one in folds}
    assert len(divisions) == REPEATS


@pytest.mark.parametrize("informative", [False, True])
@pytest.mark.slow
def test_the_order_of_the_cases_does_not_matter(informative: bool) -> None:
    """Candidates, choice and predictions of all divisions are equal; the sums of floats are not, in the last digits."""
    cases = make_cases(3, 90, informative=informative, right=not informative)
    order = np.random.default_rng(0).permutation(90)
    first, second = select(cases), select(cases.subset(order))
    assert first.chosen == second.chosen
    for one, other in zip(first.candidates, second.candidates, strict=True):
        np.testing.assert_allclose(one.log_loss, other.log_loss, atol=1e-4)
    np.testing.assert_array_equal(first.folds[order], second.folds)
    np.testing.assert_allclose(first.nested[order], second.nested, atol=0.02)


def test_logits_are_not_sharpened() -> None:
    """Easy cases show no overconfidence; the temperature of others would be too low."""
    labels = np.arange(40) % 2
    logits = 2.0 * np.eye(2)[labels]
    assert fit_scale(logits, labels) == pytest.approx(1.0, abs=1e-4)
    assert fit_scale(20 * logits, np.where(np.arange(40) % 5, labels, 1 - labels)) > 5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
def test_a_model_that_is_right_is_kept(seed: int) -> None:
    chosen = select(make_cases(seed, 120, informative=False, right=True)).chosen
    assert chosen in (SHIPPED, RECALIBRATED)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_an_informative_embedding_is_used_where_the_model_is_wrong(seed: int) -> None:
    cases = make_cases(seed, 120, informative=True, right=False)
    found = select(cases)
    assert found.chosen.has_weights
    truth = cases.labels == 0
    assert auc(found.shipped[:, 0], truth) < 0.65
    assert auc(softmax(found.nested)[:, 0], truth) > 0.8
    new = make_cases(seed + 10, 400, informative=True, right=False)
    assert auc(softmax(found.head.predict(new.logits, new.embeddings))[:, 0], new.labels == 0) > 0.8


@pytest.mark.slow
def test_a_class_that_the_model_lacks() -> None:
    base, cases = make_base(4), make_cases(4, 160, informative=True, right=False, classes=4)
    found = select(cases, base)
    assert found.chosen.has_weights
    new = make_cases(14, 400, informative=True, right=False, classes=4)
    predicted = softmax(found.head.predict(new.logits, new.embeddings))
    assert auc(predicted[:, 3], new.labels == 3) > 0.8


@pytest.mark.parametrize(
    ("excess", "expected"),
    [
        ((0.07, 0.03, 0.02, 0.0), "shipped"),  # of standard errors of 0.1
        ((0.08, 0.03, 0.02, 0.0), "stacked, ridge 3"),
        ((0.08, 0.02, 0.02, 0.0), "recalibrated"),
        ((0.08, 0.03, 0.03, 0.0), "refit, ridge 0.3"),
        ((0.0, 0.1, 0.1, 0.1), "shipped"),
    ],
)
def test_the_choice_is_cautious(excess: tuple[float, ...], expected: str) -> None:
    candidates = (CANDIDATES[0], CANDIDATES[1], CANDIDATES[2], CANDIDATES[-1])
    figures = [
        CandidateFigures(one, 1 + value, value, 0.1 * (value > 0))
        for one, value in zip(candidates, excess, strict=True)
    ]
    assert choose_cautious(figures).name == expected


@pytest.mark.slow
def test_figures_of_all_candidates() -> None:
    found = select(make_cases(6, 100, informative=True, right=False))
    assert [one.candidate for one in found.candidates] == list(CANDIDATES)
    assert min(one.excess for one in found.candidates) == 0
    assert found.chosen == choose_cautious(found.candidates)


@pytest.mark.parametrize(
    ("photographs", "positives", "weights", "missing"),
    [
        (60, 20, True, ""),
        (29, 12, False, ""),
        (60, 7, False, ""),
        (30, 8, True, ""),
        (19, 8, False, "1 more photograph"),
        (40, 4, False, "1 more of melanoma"),
        (20, 17, False, "2 more of other classes"),
        (8, 2, False, "12 more photographs, 3 more of melanoma"),
    ],
)
def test_limits(photographs: int, positives: int, weights: bool, missing: str) -> None:
    labels = np.array([0] * positives + [1] * (photographs - positives), np.int64)
    groups = [f"{index}" for index in range(photographs)]
    assert LabelCounts.of(labels, groups, 0).describe_missing("melanoma") == missing
    assert any(one.has_weights for one in list_candidates(labels, 0)) == weights


def test_photographs_of_two_patients_are_too_few() -> None:
    labels = np.array([0] * 20 + [1] * 20, np.int64)
    groups = [f"{index % 2}" for index in range(20)] + [f"other {index}" for index in range(20)]
    missing = LabelCounts.of(labels, groups, 0).describe_missing("melanoma")
    assert missing == "1 more patient or lesion with melanoma"


def test_embeddings_with_and_without_test_time_augmentation_are_stored_apart(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    facts = {"name": "m", "title": "M", "task": "classification", "architecture": "image_tabular"}
    stores = {
        EmbeddingStore(
            tmp_path,
            BundleInfo(
                tmp_path,
                BundleConfig.parse(
                    {**facts, "classes": ("other", "melanoma"), "classifier": {"test_time_augmentation": augmented}},
                    "the test",
                ),
            ),
        ).folder
        for augmented in (True, False)
    }
    assert len(stores) == 2
