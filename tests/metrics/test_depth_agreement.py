"""Conversion of depths, coverage of their intervals, and agreement for known errors."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.prediction_config import DepthOutputConfig, DepthScale
from napari_melanoma.metrics.agreement import (
    DepthIntervals,
    conformal_margin,
    decode_depths,
    depth_metrics,
    depth_to_mm,
    standardize_depth,
    weighted_pearson,
)
from napari_melanoma.metrics.metric_table import DEPTH_METRICS

SCALES = {"mm": DepthScale(mean=2.0, std=1.5), "log": DepthScale(log=True, mean=0.9, std=0.4)}
each_scale = pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES.keys())


def cases(scale: DepthScale, count: int, seed: int, own_spread: bool) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true depths; the errors are normally distributed with a known standard deviation."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(0.2, 6.0, count)
    spread = rng.uniform(0.1, 0.6, count)
    predicted = standardize_depth(true, scale) + rng.normal(0, spread)
    columns = [predicted, 2 * np.log(spread)] if own_spread else [predicted]
    return np.stack(columns, axis=1), true


@each_scale
def test_millimeters_come_back(scale: DepthScale) -> None:
    mm = np.array([0.0, 0.2, 1.0, 6.0, np.nan])
    np.testing.assert_allclose(depth_to_mm(standardize_depth(mm, scale), scale), mm, atol=1e-12)
    assert depth_to_mm(-99.0, scale) == 0
    assert standardize_depth(-1.0, scale) == standardize_depth(0.0, scale)


def test_the_scale_by_hand() -> None:
    assert standardize_depth([2.0, 5.0], SCALES["mm"]).tolist() == [0.0, 2.0]
    assert standardize_depth(np.expm1(1.3), SCALES["log"]) == pytest.approx(1.0)


@each_scale
@pytest.mark.parametrize("own_spread", [False, True])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_intervals_cover_new_depths_at_the_requested_rate(scale: DepthScale, own_spread: bool, coverage: float) -> None:
    half = conformal_margin(*cases(scale, 8000, 2, own_spread), scale, coverage)
    assert half is not None
    predicted, true = cases(scale, 4000, 1, own_spread)
    found = decode_depths(predicted, DepthOutputConfig(scale=scale, margin=half, coverage=coverage))
    assert np.mean((found.low <= true) & (true <= found.high)) == pytest.approx(coverage, abs=0.02)
    assert ((found.low <= found.mm) & (found.mm <= found.high)).all()
    if own_spread:
        assert half == pytest.approx({0.8: 1.28, 0.9: 1.64}[coverage], abs=0.05)


def test_too_few_cases_give_no_interval_or_the_widest() -> None:
    scale = DepthScale()
    predicted = np.array([[1.0], [2.0], [3.0], [4.0]])
    assert conformal_margin(predicted, [1.0, 2.5, np.nan, np.nan], scale, 0.9) is None
    assert conformal_margin(predicted, [1.1, 2.5, 3.2, np.nan], scale, 0.9) == pytest.approx(0.5)
    found = decode_depths(predicted, DepthOutputConfig(scale=scale))
    assert found.mm.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert np.isnan(found.low).all()


@pytest.mark.parametrize(("coverage", "error"), [(0.8, 8.0), (0.81, 9.0), (0.5, 5.0), (0.95, 9.0)])
@pytest.mark.parametrize("sd", [None, 2.0])
def test_the_margin_is_the_corrected_quantile(coverage: float, error: float, sd: float | None) -> None:
    """Of 9 errors from 1 to 9 mm, the one with rank (9 + 1) times the coverage, rounded up."""
    columns = [np.zeros(9)] if sd is None else [np.zeros(9), np.full(9, 2 * np.log(sd))]
    found = conformal_margin(np.stack(columns, axis=1), np.arange(9.0, 0, -1), DepthScale(), coverage)
    assert found == pytest.approx(error / (sd or 1))


def test_rounding_errors_do_not_widen_the_margin() -> None:
    """Of 99 errors at 55 % the fifty-fifth, although 100 * 0.55 is 55.00000000000001 in floating point."""
    assert conformal_margin(np.zeros((99, 1)), np.arange(1.0, 100.0), DepthScale(), 0.55) == 55


def test_intervals_by_hand() -> None:
    plain = decode_depths(np.array([[1.5], [0.2]]), DepthOutputConfig(margin=0.6))
    assert np.stack(plain, axis=1) == pytest.approx(np.array([[1.5, 0.9, 2.1], [0.2, 0.0, 0.8]]))
    scaled = decode_depths(np.array([[2.0, 2 * np.log(3)]]), DepthOutputConfig(margin=0.5))
    assert np.stack(scaled, axis=1) == pytest.approx(np.array([[2.0, 0.5, 3.5]]))


def test_figures_of_known_errors() -> None:
    true = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    predicted = np.array([[1.5], [2.5], [3.5], [4.5], [9.0]])
    found = depth_metrics(decode_depths(predicted, DepthOutputConfig(margin=0.6)), true, list("abcde"))
    means = {name: one.mean for name, one in found.items()}
    assert means == pytest.approx(
        {
            "depth_mae_mm": 0.5,
            "depth_r": 1.0,
            "depth_bias_mm": 0.5,
            "depth_low_mm": 0.5,
            "depth_high_mm": 0.5,
            "depth_coverage": 1.0,
        }
    )
    assert found["depth_mae_mm"].count == 4
    coverage = found["depth_coverage"]
    assert (coverage.low, coverage.high) == pytest.approx((0.025**0.25, 1))  # Clopper and Pearson: four of four
    assert depth_metrics(decode_depths(predicted[:2], DepthOutputConfig()), true[:2], ["a", "b"]) == {}


def test_figures_of_some_intervals_and_of_none() -> None:
    """An interval includes its ends; two images of a patient are not independent."""
    true = np.array([1.0, 2.0, 3.0, 4.0])
    predicted = np.array([1.0, 2.0, 3.5, 5.5])
    depths = DepthIntervals(predicted, np.array([1.0, 1.0, 3.1, 1.0]), np.array([1.5, 2.0, 4.0, 3.9]))
    found = depth_metrics(depths, true, list("aabc"))
    assert found["depth_coverage"].mean == 0.5
    assert found["depth_mae_mm"].mean == 0.5
    assert (found["depth_mae_mm"].low, found["depth_coverage"].low) == (0, 0)
    assert found["depth_r"].mean == pytest.approx(np.corrcoef(predicted, true)[0, 1])
    assert set(found) == set(DEPTH_METRICS)
    by_image = depth_metrics(depths, true, list("abcd"))
    assert by_image["depth_mae_mm"].high < found["depth_mae_mm"].high
    without = depth_metrics(depths._replace(low=np.full(4, np.nan)), true, list("aabc"))
    assert set(without) == set(DEPTH_METRICS) - {"depth_coverage"}
    assert len(depth_metrics(depths, np.append(true[:3], np.nan), list("aabc"))) == 6


def test_weights_are_repetitions() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(6), rng.random(6)
    weights = np.array([1, 0, 2, 1, 3, 1])
    again = np.repeat(np.arange(6), weights)
    expected = np.corrcoef(one[again], other[again])[0, 1]
    assert weighted_pearson(one, other, weights[None].astype(float))[0] == pytest.approx(expected)
    for constant in (np.zeros(6), np.ones(6)):
        assert np.isnan(weighted_pearson(constant, other, np.ones((1, 6)))[0])
        assert np.isnan(weighted_pearson(other, constant, np.ones((1, 6)))[0])
