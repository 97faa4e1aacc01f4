"""Prediction sets contain the true class with the given coverage, on simulated cases."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.metrics.calibration import conformal_sets, softmax

RULES = ("lac", "aps", "class_conditional", "clustered")


def drawn(random: np.random.Generator, count: int, classes: int) -> tuple:
    """Overconfident probabilities with wrong class frequencies, and the labels."""
    logits = random.normal(size=(count, classes)) + np.linspace(1.0, 0.0, classes)
    truth = softmax(logits)
    labels = (random.random(count)[:, None] > truth.cumsum(axis=1)).sum(axis=1)
    return softmax(2 * logits, 1.0, np.linspace(0.0, 1.0, classes)), labels


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_true_class_has_the_requested_coverage(rule: str, coverage: float, classes: int) -> None:
    """Over 40 draws of 200 cases, also for an inaccurate model, and not much more often."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(40):
        known, truth = drawn(random, 200, classes)
        requested, labels = drawn(random, 500, classes)
        sets = conformal_sets(requested, known, truth, coverage, rule)
        found.append(sets[np.arange(500), labels].mean())
    assert (
        coverage - 0.02 <= np.mean(found) <= coverage + (0.05 if rule in ("class_conditional", "clustered") else 0.03)
    )


def test_each_class_by_itself_is_covered() -> None:
    """The class-conditional rule covers the rare class; that of the smallest sets does not."""
    random = np.random.default_rng(1)

    def rare(count: int) -> tuple:
        labels = (random.random(count) < 0.1).astype(int)
        scores = random.normal(size=count) + 1.2 * labels - 2.5
        return softmax(np.stack([0 * scores, scores], axis=1)), labels

    (known, truth), (requested, labels) = rare(4000), rare(8000)
    of_rare = {
        rule: conformal_sets(requested, known, truth, 0.9, rule)[labels == 1, 1].mean()
        for rule in ("lac", "class_conditional")
    }
    assert of_rare["lac"] < 0.5
    assert of_rare["class_conditional"] == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("rule", RULES)
def test_too_few_cases_exclude_no_class(rule: str) -> None:
    """Nine cases of a class are needed to exclude it at a coverage of 90 %."""
    known = np.tile([0.9, 0.1], (8, 1))
    assert conformal_sets([[0.99, 0.01]], known, [0] * 8, 0.9, rule).all()
    assert conformal_sets([[0.99, 0.01]], np.zeros((0, 2)), [], 0.9, rule).all()


def test_classes_with_too_few_cases_share_the_limit_of_all() -> None:
    """A class of three cases is in every set of the class-conditional rule; with clusters, only if it is probable."""
    random = np.random.default_rng(4)
    truth = np.repeat([0, 1, 2], [60, 60, 3])
    known = softmax(random.normal(size=(123, 3)) + 4 * np.eye(3)[truth])
    requested = np.array([[0.98, 0.015, 0.005], [0.3, 0.1, 0.6]])
    alone, clustered = (
        conformal_sets(requested, known, truth, 0.9, rule)[:, 2].tolist() for rule in ("class_conditional", "clustered")
    )
    assert alone == [True, True]
    assert clustered == [False, True]


@pytest.mark.parametrize("rule", RULES)
def test_no_set_leaves_out_a_more_probable_class(rule: str) -> None:
    """Nevi are always recognized with 0.8 or more, so 0.33 is unusual for them; keratoses and melanomas are not."""
    random = np.random.default_rng(3)
    truth = np.repeat([0, 1, 2], 60)  # nevus, keratosis, melanoma
    own = np.where(truth == 0, random.uniform(0.8, 0.99, 180), random.uniform(0.2, 0.5, 180))
    known = np.repeat((1 - own)[:, None] / 2, 3, axis=1)
    known[np.arange(180), truth] = own
    requested = random.dirichlet([1, 1, 1], 500)
    requested[0] = 0.33, 0.42, 0.25
    sets = conformal_sets(requested, known, truth, 0.9, rule)
    least = np.where(sets, requested, np.inf).min(axis=1)
    assert (sets == (requested >= least[:, None])).all()
    if rule in ("class_conditional", "clustered"):
        assert sets[0].all()


def test_no_set_is_empty() -> None:
    """A model with a higher accuracy than the coverage has sets of the most probable class instead of empty ones."""
    known = np.tile([0.99, 0.01], (100, 1))
    sets = conformal_sets([[0.6, 0.4]], known, [0] * 100, 0.5, "lac")
    assert sets.tolist() == [[True, False]]


def test_the_limit_is_the_corrected_quantile() -> None:
    """At 90 %, the limit is the largest score of 9 cases, and the eighteenth of 19."""
    misses = np.arange(1, 10) / 20
    known = np.stack([1 - misses, misses], axis=1)
    sets = conformal_sets([[0.55, 0.45], [0.54, 0.46]], known, [0] * 9, 0.9, "lac")
    assert sets.tolist() == [[True, False], [True, False]]  # of the second, only because no set is empty
    assert conformal_sets([[0.45, 0.55], [0.44, 0.56]], known, [0] * 9, 0.9, "lac").tolist() == [[False, True]] * 2
    assert conformal_sets([[0.55, 0.45]], known[:, ::-1], [1] * 9, 0.9, "lac").tolist() == [[True, False]]


def test_a_rank_that_is_whole_is_not_rounded_up() -> None:
    """Of 99 cases at 55 % the fifty-fifth, although 100 * 0.55 is 55.00000000000001 in floating point."""
    misses = np.arange(1, 100) / 400
    known = np.stack([1 - misses, misses], axis=1)
    sets = conformal_sets([[0.9, 1 - 55 / 400], [0.9, 1 - 56 / 400]], known, [0] * 99, 0.55, "lac")
    assert sets.tolist() == [[True, True], [True, False]]


def test_cumulative_probability_counts_the_last_class_half() -> None:
    """Scores of (0.5, 0.3, 0.2) are 0.25, 0.65 and 0.9."""
    known = np.tile([0.5, 0.3, 0.2], (3, 1))
    for label, expected in ((0, [True, False, False]), (1, [True, True, False]), (2, [True, True, True])):
        assert conformal_sets(known[:1], known, [label] * 3, 0.75, "aps").tolist() == [expected]


def test_each_class_by_itself_is_the_usual_rule() -> None:
    random = np.random.default_rng(3)
    (known, truth), (requested, _) = drawn(random, 300, 3), drawn(random, 300, 3)
    usual, lac = conformal_sets(requested, known, truth, 0.9), conformal_sets(requested, known, truth, 0.9, "lac")
    assert (usual == conformal_sets(requested, known, truth, 0.9, "class_conditional")).all()
    assert (usual != lac).any()


def test_sets_grow_with_the_coverage() -> None:
    """A class in the set at 80 % is also in the set at 95 %."""
    random = np.random.default_rng(2)
    known, truth = drawn(random, 300, 3)
    requested, _ = drawn(random, 300, 3)
    for rule in RULES:
        small, large = (conformal_sets(requested, known, truth, share, rule) for share in (0.8, 0.95))
        assert (small <= large).all()
        assert large.sum() > small.sum()


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_classes_and_images_changes_no_set(rule: str) -> None:
    """Also of classes with equal probabilities."""
    random = np.random.default_rng(2)
    known, requested = (random.integers(1, 4, (count, 4)).astype(float) for count in (60, 200))
    known, requested = (part / part.sum(axis=1, keepdims=True) for part in (known, requested))
    labels = random.integers(0, 4, 60)
    expected = conformal_sets(requested, known, labels, 0.6, rule)
    for seed in range(5):
        order, classes = np.random.default_rng(seed).permutation(60), np.random.default_rng(seed).permutation(4)
        renumbered = np.argsort(classes)[labels]
        found = conformal_sets(requested[:, classes], known[order][:, classes], renumbered[order], 0.6, rule)
        np.testing.assert_array_equal(found, expected[:, classes])
