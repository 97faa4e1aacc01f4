"""What a thickness is made of and what follows from it: arcs, categories, Clark levels, intervals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from napari_melanoma.depth.breslow_candidates import (
    MIN_CASES,
    DepthCandidate,
    DepthFeatures,
    DepthIntervalModel,
    calibrate_intervals,
    interval_models_to_json,
    load_interval_models,
    rank_candidates,
)
from napari_melanoma.depth.geometry import SurfaceArc, fit_arc
from napari_melanoma.depth.t_category import categories_in_interval, describe_contradiction, t_category
from napari_melanoma.slides.depth import estimate_clark_level

BENDS = [1e-9, 1e-4, -1e-4, 3e-4]
TURNS = [0.0, 1.0, 2.5, -2.0]


@pytest.mark.parametrize("bend", BENDS)
@pytest.mark.parametrize("turn", TURNS)
def test_an_arc_leads_there_and_back(bend: float, turn: float) -> None:
    arc = SurfaceArc(1000.0, 500.0, (math.cos(turn), math.sin(turn)), bend)
    along, depth = np.linspace(-3000, 3000, 40), np.linspace(-300, 2500, 40)
    found = arc.to_skin(*arc.to_map(along, depth))
    assert found[0] == pytest.approx(along, abs=1e-4)
    assert found[1] == pytest.approx(depth, abs=1e-4)


@pytest.mark.parametrize("bend", BENDS)
@pytest.mark.parametrize("turn", TURNS)
def test_an_arc_is_found_again_with_furrows_and_bumps_on_it(bend: float, turn: float) -> None:
    random = np.random.default_rng(3)
    arc = SurfaceArc(1000.0, 500.0, (math.cos(turn), math.sin(turn)), bend)
    along, depth = np.linspace(-3000, 3000, 800), 8 * random.standard_normal(800)
    depth[300:400] -= 400  # lifted skin
    surface, deeper = (np.stack(arc.to_map(along, depth + down), axis=1) for down in (0, 10))
    found = fit_arc(surface, deeper - surface)
    below = found.to_skin(*arc.to_map(along, np.full(800, 1000.0)))[1]
    assert below == pytest.approx(1000, abs=6)


@pytest.mark.parametrize("mm", [0.0, -1.0, math.nan, math.inf])
def test_an_invalid_thickness_has_no_category(mm: float) -> None:
    with pytest.raises(ValueError, match="expected a positive thickness"):
        t_category(mm, False)


@pytest.mark.parametrize(
    ("interval", "ulcerated", "reached"),
    [
        ((1.2, 1.8), False, ()),
        ((0.9, 1.2), False, ("T1b", "T2a")),
        ((0.6, 1.2), False, ("T1a", "T1b", "T2a")),
        ((0.6, 0.9), True, ()),
        ((0.6, 0.9), None, ("T1", "T1b")),
        ((0.0, 0.3), False, ()),
        ((1.9, 4.05), True, ("T2b", "T3b", "T4b")),
        ((1.05, 2.04), False, ()),
        ((1.049, 2.05), False, ("T1b", "T2a", "T3a")),
        ((-0.5, 0.74), False, ()),
    ],
)
def test_an_interval_reaches_categories(
    interval: tuple[float, float], ulcerated: bool | None, reached: tuple[str, ...]
) -> None:
    assert categories_in_interval(interval, ulcerated) == reached


@pytest.mark.parametrize(
    ("mm", "clark", "text"),
    [
        (None, 2, ""),
        (0.5, None, ""),
        (0.0, 1, ""),
        (0.5, 1, "Clark level I (in situ) contradicts a Breslow thickness of 0.50 mm"),
        (0.0, 2, "Clark level II (invasive) contradicts a Breslow thickness of 0 mm"),
        (0.0, 5, "Clark level V (invasive) contradicts a Breslow thickness of 0 mm"),
        (0.5, 2, ""),
        (4.0, 5, ""),
    ],
)
def test_clark_level_and_thickness_must_agree(mm: float | None, clark: int | None, text: str) -> None:
    found = describe_contradiction(mm, clark)
    assert found.split(": a melanoma")[0].split(". Correct")[0] == text


@pytest.mark.parametrize(
    ("below", "at_least", "level"),
    [
        (100, False, 2),
        (170, False, 2),
        (171, False, 3),
        (250, False, 3),
        (251, False, 4),
        (1300, False, 4),
        (1301, False, None),
        (100, True, None),
    ],
)
def test_clark_level_is_shown_with_its_reason(below: float, at_least: bool, level: int | None) -> None:
    found = estimate_clark_level(below, at_least)
    assert found.level == level
    assert f"{below / 1000:.2f} mm below the epidermis" in found.reason


def measured(random: np.random.Generator, count: int) -> tuple[list[float], list[DepthFeatures]]:
    """Truths and measurements whose errors grow with thickness and spread, skewed and off in the mean."""
    truth = np.exp(random.uniform(np.log(0.2), np.log(6), count))
    spread = random.gamma(1.0, 0.06, count)
    off = 0.01 + 0.02 * truth * random.standard_normal(count) + spread * random.gamma(2.0, 0.4, count)
    found = np.maximum(truth + off, 0.05)
    features = [DepthFeatures(mm, mm - wide / 2, mm + wide / 2) for mm, wide in zip(found, spread, strict=True)]
    return truth.tolist(), features


def test_intervals_have_the_requested_coverage() -> None:
    random = np.random.default_rng(5)
    shares, widths = [], []
    for _ in range(40):
        law = calibrate_intervals(*measured(random, 120))
        truth, features = measured(random, 200)
        found = np.array([law.interval(one) for one in features])
        shares.append(((found[:, 0] <= truth) & (truth <= found[:, 1])).mean())
        widths.append(np.corrcoef(found[:, 1] - found[:, 0], [one.spread_mm for one in features])[0, 1])
    assert 0.89 <= np.mean(shares) <= 0.94
    assert np.mean(widths) > 0.3  # wide where it was hard


def test_an_interval_includes_the_measurement_and_ends_at_zero() -> None:
    low, high = DepthIntervalModel(0.9, (0.05, 0.1, 1.0), 2.0, 1.5, 100, "").interval(DepthFeatures(0.1, 0.1, 0.3))
    assert low == 0.0
    assert high == pytest.approx(0.1 + 1.5 * (0.05 + 0.01 + 0.2))


def test_the_width_is_never_less_than_five_micrometers_per_unit() -> None:
    law = DepthIntervalModel(0.9, (0.0, 0.0, 1.0), 2.0, 1.0, 100, "")
    assert law.interval(DepthFeatures(1.0, 1.1, 1.0)) == pytest.approx((0.99, 1.005))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("coverage", "reach"), [(0.9, 0.39), (0.8, 0.37), (0.95, 0.4)])
def test_an_interval_ends_at_the_corrected_quantile(sign: int, coverage: float, reach: float) -> None:
    """Of 40 errors of 0.01 to 0.4 mm, the one of rank 41 times the share of one side, rounded up."""
    truth = [1 + sign * number / 100 for number in range(1, 41)]
    law = calibrate_intervals(truth, [DepthFeatures(1.0, 1.0, 1.0)] * 40, coverage)
    assert law.interval(DepthFeatures(1.0, 1.0, 1.0)) == pytest.approx(sorted((1.0, 1 + sign * reach)))
    assert (law.coverage, law.cases, law.made_of) == (coverage, 40, "")


def test_a_coverage_that_the_slides_cannot_show_is_refused() -> None:
    with pytest.raises(ValueError, match="needs more slides"):
        calibrate_intervals(range(1, 41), [DepthFeatures(1.0, 1.0, 1.0)] * 40, 0.99)


def candidate(mm: float, way: int = 0, area: float = 1.0) -> DepthCandidate:
    return DepthCandidate((0, 0), (0, mm), mm, DepthFeatures(mm, mm, mm), 0, False, False, 0.0, mm, area, way)


def test_a_candidate_is_stored_in_hundredths_of_a_pixel_and_tenths_of_a_micrometer() -> None:
    found = DepthCandidate(
        surface=(60.1264, 201.0119),
        deepest=(160.5678, 202.3351),
        mm=0.402469,
        features=DepthFeatures(0.402469, 0.361278, 0.424762),
        section=2,
        at_least=True,
        ulcerated=None,
        ulcer_mm=0.123457,
        below_epidermis_mm=0.320186,
        lesion_mm2=0.128,
        way=1,
        interval_mm=(0.351247, 0.476983),
        lesion=4,
        notes=("cut off",),
        ulcer_share=0.166667,
    )
    assert found.to_json() == {
        "surface": [60.13, 201.01],
        "deepest": [160.57, 202.34],
        "mm": 0.4025,
        "interval_mm": [0.3512, 0.477],
        "at_least": True,
        "ulcerated": None,
        "ulcer_mm": 0.1235,
        "ulcer_share": 0.1667,
        "section": 2,
        "lesion": 4,
        "certain_mm": 0.3613,
        "possible_mm": 0.4248,
        "below_epidermis_mm": 0.3202,
        "notes": ["cut off"],
    }


@pytest.mark.parametrize("mm", [0.74996, 1.04998, 2.04997, 4.04999])
def test_a_stored_thickness_has_the_category_of_the_measured_one(mm: float) -> None:
    stored = candidate(mm).to_json()["mm"]
    assert stored == pytest.approx(mm, abs=1e-4)
    assert t_category(stored, False) == t_category(mm, False)


def test_candidates_are_ranked_by_connection_and_size_then_by_thickness() -> None:
    """A lesion of less than a tenth of the area of the largest comes after all others, even detached ones."""
    ranked = [
        candidate(1.0),
        candidate(0.9, area=0.1),
        candidate(3.0, way=1),
        candidate(2.0, way=2),
        candidate(9.0, way=3),
        candidate(8.0, way=5, area=50.0),
        candidate(4.0, area=0.09),
        candidate(5.0, way=1, area=0.09),
    ]
    assert rank_candidates(reversed(ranked)) == tuple(ranked)
    assert rank_candidates([]) == ()


def test_few_slides_make_no_law() -> None:
    truth, features = measured(np.random.default_rng(0), MIN_CASES)
    law = calibrate_intervals(truth, features)
    assert (law.cases, law.coverage) == (MIN_CASES, 0.9)
    for few in ((truth[1:], features[1:]), (truth, [*features, features[0]])):
        with pytest.raises(ValueError, match=f"needs {MIN_CASES} slides"):
            calibrate_intervals(*few)


def test_laws_are_written_as_they_are_read() -> None:
    truth, features = measured(np.random.default_rng(0), MIN_CASES)
    law = calibrate_intervals(truth, features, made_of="drawn cases")
    read = json.loads(interval_models_to_json({"hash": law}))["hash"]
    assert DepthIntervalModel(**{**read, "scale": tuple(read["scale"])}) == law
    for known in load_interval_models().values():
        assert known.cases >= MIN_CASES
        assert known.interval(DepthFeatures(1.0, 0.95, 1.05))[0] < 1.0
