"""Shares that add up, logistic regressions against known laws, and where patches lie on a slide."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.classification.comparators import LogisticRegression
from napari_melanoma.extensions.risk.contributions import coalitions, shapley_shares
from napari_melanoma.extensions.risk.patches import choose_patch_positions, cover_tissue, patch_center

PARTS = ("image", "depth", "patient")
UM = (0.5, 0.5)


def test_shares_of_a_sum_are_its_terms_and_of_a_product_are_even() -> None:
    terms = {"image": 0.2, "depth": -0.1, "patient": 0.05}
    found = shapley_shares({known: sum(terms[part] for part in known) for known in coalitions(PARTS)}, PARTS)
    assert found == pytest.approx(terms)
    together = shapley_shares({known: float(len(known) == 3) for known in coalitions(PARTS)}, PARTS)
    assert together == pytest.approx(dict.fromkeys(PARTS, 1 / 3))


def test_a_logistic_regression_agrees_with_scikit_learn() -> None:
    from sklearn import linear_model

    draw = np.random.default_rng(1)
    inputs, labels = draw.normal(size=(60, 3)), draw.random(60) < 0.4
    reference = linear_model.LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(inputs, labels)
    own = LogisticRegression.fit(inputs, labels)
    assert [*own.weights, own.intercept] == pytest.approx([*reference.coef_[0], *reference.intercept_], abs=1e-4)


@pytest.mark.parametrize("truth", [True, False])
def test_identical_cases_give_their_share(truth: bool) -> None:
    found = LogisticRegression.fit(np.ones((9, 2)), np.full(9, truth))
    assert found.predict([[5.0, -5.0]])[0] == pytest.approx(0.95 if truth else 0.05)


def test_separable_cases_do_not_run_away() -> None:
    found = LogisticRegression.fit([[-1.0], [1.0]] * 20, [False, True] * 20)
    assert 0.9 < found.predict([[1.0]])[0] < 1


def test_a_patch_starts_slightly_above_the_surface() -> None:
    row, column = patch_center((1000, 500), (3000, 500), UM, 3.0)
    assert (row, column) == (1000 + 1300 / 0.5, 500)  # 3 mm high, 0.2 mm of it above: its middle 1.3 mm below
    (place,) = choose_patch_positions([((1000, 500), (3000, 500))], [], UM, 3.0, 3)
    box = place.box(UM)
    assert (box.top, box.height, box.width) == (1000 - 400, 6000, 6000)
    assert patch_center((10, 10), (10, 10), UM, 3.0) == (10 + 2600, 10)


def test_a_slanted_line_and_unequal_pixels_are_followed_in_mm() -> None:
    row, column = patch_center((0, 0), (0, 1000), (0.5, 0.25), 3.0)
    assert (row, column) == pytest.approx((0, 1300 / 0.25))


def test_overlapping_positions_are_chosen_once_and_lesions_last() -> None:
    line = ((1000, 5000), (2000, 5000))
    far, near = (20000, 5000), (3700, 5100)
    found = choose_patch_positions([line, ((1100, 5000), (2000, 5000))], [near, far], UM, 3.0, 5)
    assert [one.description for one in found] == ["deepest place", "lesion"]
    assert found[1].center == far
    assert len(choose_patch_positions([line], [far], UM, 3.0, 1)) == 1
    assert choose_patch_positions([], [], UM, 3.0, 3) == ()


@pytest.mark.parametrize(
    ("tissue_mm", "count"),
    [((1.0, 5.0, 2.0, 9.0), 6), ((0.0, 1.0, 0.0, 1.0), 1), ((9.0, 10.0, 19.0, 20.0), 1), ((0.0, 10.0, 0.0, 20.0), 28)],
)
def test_patches_side_by_side_cover_the_tissue(tissue_mm: tuple[float, ...], count: int) -> None:
    mask = np.zeros((50, 100), bool)  # 10 mm x 20 mm, 0.2 mm per pixel
    top, bottom, left, right = (round(5 * mm) for mm in tissue_mm)
    mask[top:bottom, left:right] = True
    found = cover_tissue(mask, (20_000, 40_000), (0.5, 0.5), 3.0)
    covered = np.zeros((20_000 // 100, 40_000 // 100), bool)
    for place in found:
        box = place.box((0.5, 0.5))
        assert (box.height, box.width, place.description) == (6000, 6000, "tissue")
        assert 0 <= box.top <= 20_000 - 6000
        assert 0 <= box.left <= 40_000 - 6000
        covered[box.top // 100 : (box.top + 6000) // 100 + 1, box.left // 100 : (box.left + 6000) // 100 + 1] = True
    assert len(found) == count
    assert covered[np.kron(mask, np.ones((4, 4), bool))].all()


def test_patches_of_glass_between_pieces_of_tissue_are_left_out() -> None:
    mask = np.zeros((50, 100), bool)
    mask[:15, :15] = mask[35:, 85:] = True
    found = cover_tissue(mask, (20_000, 40_000), (0.5, 0.5), 3.0)
    assert len(found) == 8  # of 28 that cover the whole slide
    assert {round(place.center[0] / 20_000) for place in found} == {0, 1}
    assert cover_tissue(np.zeros((50, 100), bool), (20_000, 40_000), (0.5, 0.5), 3.0) == ()
