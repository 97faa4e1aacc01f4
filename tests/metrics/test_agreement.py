"""Agreement of readers: published examples, symmetries, and invalid input."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.metrics.agreement import bland_altman, intraclass_correlation

# Peak expiratory flow by a large and a small meter, l/min: Bland and Altman 1986, table of the first measurements.
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
SMALL = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
# Six things by four judges: Shrout and Fleiss 1979, table 2.
JUDGED = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_bland_altman_published_values() -> None:
    found = bland_altman(SMALL, LARGE)
    assert (found.bias.mean, found.sd) == pytest.approx((-2.1, 38.8), abs=0.05)
    assert (found.low.mean, found.high.mean) == pytest.approx((-79.7, 75.5), abs=1.7)  # they take 2 for 1.96
    assert (found.bias.low, found.bias.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    assert found.low.low < found.low.mean < found.low.high < found.bias.low
    assert found.bias.high < found.high.low < found.high.mean < found.high.high
    assert found.means.tolist() == [(one + other) / 2 for one, other in zip(LARGE, SMALL, strict=True)]
    assert found.differences.tolist() == [one - other for one, other in zip(LARGE, SMALL, strict=True)]
    assert {each.count for each in (found.bias, found.low, found.high, found.slope)} == {17}


def test_exchanged_readers_give_the_mirrored_limits() -> None:
    there, back = bland_altman(SMALL, LARGE), bland_altman(LARGE, SMALL)
    for one, other in ((there.bias, back.bias), (there.low, back.high), (there.slope, back.slope)):
        assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))


def test_the_limits_have_the_exact_interval_of_a_quantile() -> None:
    """The limit of normally distributed differences lies below its interval with a probability of 2.5 %."""
    from scipy.stats import nct

    found, root = bland_altman(SMALL, LARGE), np.sqrt(17)
    for end, chance in ((found.high.low, 0.025), (found.high.high, 0.975)):
        factor = (end - found.bias.mean) / found.sd
        assert nct.cdf(factor * root, 16, 1.959964 * root) == pytest.approx(chance, abs=1e-4)


def test_the_slope_is_that_of_least_squares() -> None:
    from scipy.stats import linregress, t

    found = bland_altman(SMALL, LARGE)
    line = linregress(found.means, found.differences)
    reach = t.ppf(0.975, 15) * line.stderr
    assert (found.slope.mean, found.slope.low, found.slope.high) == pytest.approx(
        (line.slope, line.slope - reach, line.slope + reach)
    )
    alone = bland_altman([1, 2, 3], [3, 2, 1]).slope  # the same mean three times
    assert np.isnan([alone.mean, alone.low, alone.high]).all()
    assert alone.count == 3


def test_shrout_fleiss_published_values() -> None:
    found = intraclass_correlation(JUDGED)
    assert (found.mean, found.low, found.high) == pytest.approx((0.290, 0.019, 0.761), abs=0.001)
    assert found.count == 6


def test_intervals_have_their_nominal_coverage() -> None:
    random, held = np.random.default_rng(1), np.zeros(3)
    rounds, sd_thing, sd_read = 400, 1.0, 0.3
    truth = np.array([0.1, 0.1 + 1.959964 * sd_read * np.sqrt(2), sd_thing**2 / (sd_thing**2 + sd_read**2)])
    for _ in range(rounds):
        things = random.normal(2, sd_thing, 25)
        read = things[:, None] + random.normal(0, sd_read, (25, 2)) + [0, 0.1]
        found = bland_altman(*read.T)
        icc = intraclass_correlation(read - [0, 0.1])
        for index, (one, true) in enumerate(zip((found.bias, found.high, icc), truth, strict=True)):
            held[index] += one.low <= true <= one.high
    assert (held / rounds > 0.92).all()
    assert (held / rounds < 0.985).all()


def test_equal_ratings_agree_and_a_constant_offset_reduces_agreement() -> None:
    values = np.array([0.5, 1.0, 3.5, 4.0])  # exact in binary
    same = bland_altman(values, values)
    assert (same.bias.mean, same.low.mean, same.high.mean, same.slope.mean) == (0, 0, 0, 0)
    assert intraclass_correlation(np.stack([values, values], 1)).mean == pytest.approx(1)
    off = bland_altman(values, values + 0.4)
    assert (off.bias.mean, off.sd) == pytest.approx((0.4, 0))
    constant = intraclass_correlation(np.stack([values, values + 0.5], 1))
    assert 0.5 < constant.mean < 1
    assert (constant.has_interval, constant.count) == (False, 4)
    assert bland_altman(values, 1.1 * values).slope.low > 0


REFUSED = [
    ([1, 2], [1, 2], "at least 3 pairs"),
    ([1, 2, 3], [1, 2], "at least 3 pairs"),
    ([[1], [2], [3]], [[1], [2], [3]], "at least 3 pairs"),
    ([1, 2, np.nan], [1, 2, 3], "expected finite values"),
    ([1, 2, 3], [1, 2, np.inf], "expected finite values"),
]


@pytest.mark.parametrize(("first", "second", "reason"), REFUSED)
def test_an_impossible_comparison_is_rejected(first: list, second: list, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        bland_altman(first, second)


@pytest.mark.parametrize(
    "values",
    [[[1], [2], [3]], [[1, 2], [3, 5]], [1, 2, 3], [[1, 2], [3, 5], [4, np.nan]]],
    ids=["one reader", "two items", "no table", "a missing value"],
)
def test_ratings_that_are_no_table_are_refused(values: list) -> None:
    with pytest.raises(ValueError, match="expected finite values of at least two readers for at least 3 items"):
        intraclass_correlation(values)


def test_the_fewest_ratings() -> None:
    assert intraclass_correlation([[1, 2], [3, 5], [4, 4]]).has_interval
    for value in (0.1, 0.7, 1.1e5 / 3):  # whose mean is rounded
        assert np.isnan(intraclass_correlation(np.full((7, 3), value)).mean)
        assert np.isnan(bland_altman(np.full(7, value), np.full(7, value)).slope.mean)
        constant = intraclass_correlation(value * np.array([[1, 2], [2, 3], [3, 4], [5, 6.0]]))
        assert not constant.has_interval
    equal = intraclass_correlation(np.ones((4, 2)))
    assert (np.isnan(equal.mean), equal.has_interval, equal.count) == (True, False, 4)
