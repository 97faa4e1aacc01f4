"""The risk law: each kind of information contributes, and all together predict best; on tables only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.phantoms.cohort import (
    LAW,
    SITES,
    RiskFactors,
    area_under_curve,
    draw_risk_factors,
    expected_aucs,
    optimal_scores,
)

ROWS = 100_000


@pytest.fixture(scope="module")
def facts() -> RiskFactors:
    return draw_risk_factors(np.random.default_rng(7), ROWS)


@pytest.fixture(scope="module")
def areas() -> dict[str, float]:
    found = expected_aucs()
    return {name: area for name, area in found.items() if area is not None}


def test_all_inputs_reach_the_documented_auc_and_each_part_less(areas: dict[str, float]) -> None:
    assert areas["all"] == pytest.approx(0.93, abs=0.005)
    assert areas["depth"] == pytest.approx(0.78, abs=0.01)
    assert areas["patient"] == pytest.approx(0.73, abs=0.01)
    assert areas["necrosis"] == pytest.approx(0.76, abs=0.01)
    assert areas["image"] == pytest.approx(0.85, abs=0.01)
    assert areas["table"] == pytest.approx(0.885, abs=0.01)
    assert areas["depth"] < areas["tumour"] < areas["image"] < areas["all"] - 0.05
    assert areas["table"] < areas["all"] - 0.03


def test_half_of_all_have_a_metastasis(facts: RiskFactors) -> None:
    assert LAW.probability(facts).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("part", ["log_depth", "ulceration", "decade", "male", "site", "necrosis"])
def test_each_part_improves_the_prediction(facts: RiskFactors, part: str) -> None:
    truth = np.random.default_rng(1).random(ROWS) < LAW.probability(facts)
    zero = (0.0,) * len(SITES) if part == "site" else 0.0
    without = replace(LAW, **{part: zero}).probability(facts)
    lost = (area_under_curve(LAW.probability(facts), truth) or 0) - (area_under_curve(without, truth) or 1)
    assert lost > 0.002


def test_the_prediction_without_an_image_is_the_mean_over_images(facts: RiskFactors) -> None:
    thick = (facts.depth_mm > 1.0) & (facts.depth_mm < 1.3) & (facts.age > 55) & (facts.age < 65)
    assert LAW.probability(facts)[thick].mean() == pytest.approx(
        LAW.probability_without_image(facts)[thick].mean(), abs=0.01
    )


def test_image_findings_are_independent_of_the_patient(facts: RiskFactors) -> None:
    parts = optimal_scores(facts)
    assert np.corrcoef(parts["patient"], parts["necrosis"])[0, 1] == pytest.approx(0, abs=0.01)
    assert np.corrcoef(parts["patient"], np.log(parts["depth"]))[0, 1] == pytest.approx(0, abs=0.01)
    assert not facts.necrotic[facts.depth_mm < 0.5].any()
    assert facts.necrotic[facts.depth_mm >= 0.5].mean() == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(
    ("answer", "truth", "area"),
    [([1, 2, 3, 4], [0, 0, 1, 1], 1.0), ([1, 2, 3, 4], [1, 1, 0, 0], 0.0), ([1, 1, 1, 1], [0, 1, 0, 1], 0.5)],
)
def test_area_under_the_curve(answer: list[float], truth: list[int], area: float) -> None:
    assert area_under_curve(np.array(answer, float), np.array(truth, bool)) == area


def test_identical_values_have_no_area() -> None:
    assert area_under_curve(np.arange(3.0), np.ones(3, bool)) is None
