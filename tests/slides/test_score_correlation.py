"""Spearman's correlation of area and probability against scipy's, with its interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, SlideLesion, find_lesions
from napari_melanoma.slides.scores import (
    correlate_area_and_probability,
    describe_correlation,
    select_comparable_lesions,
    spearman,
)

NAN = float("nan")

VALUES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=20)


@settings(max_examples=30)
@given(VALUES.filter(lambda pairs: all(len(set(axis)) > 1 for axis in zip(*pairs, strict=True))))
def test_correlation_with_ties_matches_scipy(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, float).T
    assert spearman(x, y, np.ones((1, len(x))))[0] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)


@settings(max_examples=30)
@given(VALUES, st.integers(0, 2**32 - 1))
def test_a_weight_is_as_many_copies(pairs: list[tuple[int, int]], seed: int) -> None:
    x, y = np.array(pairs, float).T
    times = np.random.default_rng(seed).integers(0, 4, len(x))
    if not times.any():
        return
    weighted = spearman(x, y, times[None].astype(float))
    copied = spearman(x.repeat(times), y.repeat(times), np.ones((1, times.sum())))
    assert weighted == pytest.approx(copied, nan_ok=True, abs=1e-9)


def lesions(pairs: list[tuple[float, float]], pixel_size: PixelSize | None = None) -> list[SlideLesion]:
    presence = np.zeros((3, 3), np.float32)
    presence[1, 1] = 0.9
    (one,) = find_lesions(LesionMaps(presence, MapPlacement(0, 0, 1, 1, pixel_size)), LesionConfig())
    in_mm = pixel_size is not None
    return [replace(one, area_px=a, area_mm2=a if in_mm else None, probability=p) for a, p in pairs]


def of_area(areas: list[float], pixel_size: PixelSize | None = None) -> list[SlideLesion]:
    return lesions([(area, area / 10) for area in areas], pixel_size)


def correlate(lesions: list[SlideLesion], slides: list[str] | None = None) -> Estimate | None:
    return correlate_area_and_probability(select_comparable_lesions(lesions, slides))


def test_a_relation_has_its_interval() -> None:
    rng = np.random.default_rng(0)
    area = rng.gamma(2, 1, 60)
    found = correlate(lesions(list(zip(area, area + rng.normal(0, 1, 60), strict=True)), PixelSize(1, 1)))
    assert found is not None
    assert 0.5 < found.low < found.mean < found.high < 1
    assert found.count == 60


def test_slides_are_drawn_as_a_whole() -> None:
    rng = np.random.default_rng(2)
    base = rng.random((6, 1, 2)) * (1, 1)
    values = (base[:, :, :1] + 0.01 * rng.random((6, 10, 2))).reshape(-1, 2)
    pairs = [(float(area), float(probability)) for area, probability in values]
    slides = [f"slide {number // 10}" for number in range(60)]
    alone, grouped = (
        correlate(lesions(pairs, PixelSize(1, 1))),
        correlate(lesions(pairs, PixelSize(1, 1)), slides),
    )
    assert alone is not None
    assert grouped is not None
    assert grouped.mean == alone.mean
    assert grouped.high - grouped.low > alone.high - alone.low


def test_few_lesions_have_none_and_equal_ones_no_number() -> None:
    assert correlate(lesions([(1, 0.5), (2, 0.7)])) is None
    found = correlate(lesions([(1, 0.5), (1, 0.7), (1, 0.9)]))
    assert found is not None
    assert np.isnan(found.mean)


def test_lesions_without_a_probability_do_not_count() -> None:
    pairs = [(1.0, 0.1), (2.0, 0.3), (3.0, 0.2), (4.0, 0.9)]
    known, more = lesions(pairs), lesions([*pairs[:2], (9.0, float("nan")), *pairs[2:]])
    assert len(select_comparable_lesions(more).lesions) == 4
    assert correlate(more) == correlate(known)
    assert correlate(more[:3]) is None


def test_a_lesion_without_a_pixel_size_does_not_switch_the_others_to_pixels() -> None:
    areas = [1.0, 2.0, 3.0, 4.0]
    known = [replace(one, area_px=9 - area) for one, area in zip(of_area(areas, PixelSize(1, 1)), areas, strict=True)]
    unknown = of_area([2.5])
    found = select_comparable_lesions([*known, *unknown], ["a", "a", "b", "b", "c"])
    assert (list(found.lesions), found.unit, found.left_out) == (known, "mm²", 1)
    assert found.note.startswith("1 lesion has no area in mm² and is left out")
    estimate = correlate_area_and_probability(found)
    assert estimate is not None
    assert estimate.mean == pytest.approx(1)


def test_areas_in_pixels_are_compared_within_one_slide_only() -> None:
    unknown = of_area([1.0, 2.0, 3.0, 4.0])
    one, several = (
        select_comparable_lesions(unknown, ["a"] * 4),
        select_comparable_lesions(unknown, ["a", "a", "b", "b"]),
    )
    assert (len(one.lesions), one.unit, one.note) == (4, "pixels", "")
    assert several.lesions == ()
    assert "areas in pixels of different slides cannot be compared" in several.note
    assert correlate_area_and_probability(several) is None


@pytest.mark.parametrize(
    ("found", "lesions", "slides", "text"),
    [
        (None, 0, None, "there are 0 lesions."),
        (None, 2, 1, "there are 2 lesions of 1 slide."),
        (Estimate(NAN, NAN, NAN, 5), 5, None, "equal"),
        (Estimate(0.4, -0.1, 0.8, 5), 5, None, "Spearman 0.40 (95 % interval -0.10 to 0.80), 5 lesions."),
        (Estimate(0.4, -0.1, 0.8, 5), 5, 1, "does not apply to other slides"),
        (Estimate(0.4, NAN, NAN, 5), 5, 2, "(too few for an interval)"),
    ],
)
def test_describe_correlation(found: Estimate | None, lesions: int, slides: int | None, text: str) -> None:
    assert text in describe_correlation(found, lesions, slides)
