"""Lesions of a slide: hysteresis, class, and measurements in mm that are known by construction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse.csgraph import connected_components

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.slides.lesions import (
    LESION_COLUMNS,
    LesionConfig,
    LesionMaps,
    find_lesions,
    label_lesions,
    lesions_table,
    region_from_polygons,
)

PLACE = MapPlacement(1000.0, 2000.0, 200.0, 400.0, PixelSize(0.5, 0.25))  # cells of 100 um, pixels that are not square
CONFIG = LesionConfig()


def maps(shape: tuple[int, int] = (20, 30), **parts: float) -> LesionMaps:
    """Return an empty slide on which ``r2_5_c3_9=0.8`` are rows 2 to 4, columns 3 to 8."""
    presence = np.full(shape, 0.05, np.float32)
    for name, value in parts.items():
        top, bottom, left, right = (int(part) for part in name.replace("r", "").replace("c", "").split("_"))
        presence[top:bottom, left:right] = value
    return LesionMaps(presence, PLACE)


def test_a_rectangle_is_measured() -> None:
    (lesion,) = find_lesions(maps(r2_5_c3_9=0.8), CONFIG)
    assert (lesion.index, lesion.label, lesion.origin) == (1, "malignant", "found")
    assert lesion.probability == pytest.approx(0.8)
    assert lesion.presence == pytest.approx(0.8)
    assert lesion.area_px == 18 * 200 * 400
    assert lesion.area_mm2 == pytest.approx(0.18)
    assert (lesion.height_mm, lesion.width_mm) == (pytest.approx(0.3), pytest.approx(0.6))
    assert lesion.perimeter_mm == pytest.approx(1.8, rel=0.12)
    assert lesion.extent == 1
    assert lesion.tissue_share == pytest.approx(18 / 600)
    assert lesion.box == Box(1000 + 2 * 200, 2000 + 3 * 400, 600, 2400)
    assert sum(polygon.area for polygon in lesion.polygons) == lesion.area_px
    assert 1400 < lesion.seed[0] < 2000
    assert 3200 < lesion.seed[1] < 5600


def test_a_disc_has_the_perimeter_of_a_circle() -> None:
    rows, columns = np.mgrid[:80, :80]
    disc = (np.hypot(rows - 40, columns - 40) < 25).astype(np.float32)
    (lesion,) = find_lesions(LesionMaps(disc, PLACE), CONFIG)
    assert lesion.area_mm2 == pytest.approx(np.pi * 2.5**2, rel=0.015)
    assert lesion.perimeter_mm == pytest.approx(2 * np.pi * 2.5, rel=0.03)
    assert lesion.extent == pytest.approx(np.pi / 4, rel=0.05)


def test_hysteresis_reaches_to_low_and_needs_high() -> None:
    found = find_lesions(maps(r2_4_c2_8=0.45, r2_3_c2_3=0.9, r10_14_c2_8=0.55, r10_11_c20_21=0.65), CONFIG)
    assert [round(lesion.area_px / PLACE.cell_area_px) for lesion in found] == [1, 12]
    assert [lesion.label for lesion in found] == ["malignant", "benign"]


def test_cells_at_a_corner_belong_together() -> None:
    (lesion,) = find_lesions(maps(r2_3_c2_3=0.9, r3_4_c3_4=0.9), CONFIG)
    assert len(lesion.polygons) == 2


def test_malignant_ones_come_first_and_of_those_the_largest() -> None:
    speck, flat, wide = {"r1_2_c1_2": 0.99}, {"r5_7_c1_3": 0.7}, {"r9_14_c1_9": 0.7}
    found = find_lesions(maps(r16_19_c1_29=0.66, **speck, **flat, **wide), LesionConfig(malignant_from=0.68))
    reported = [(lesion.index, lesion.label, round(lesion.area_px / PLACE.cell_area_px)) for lesion in found]
    assert reported == [(1, "malignant", 40), (2, "malignant", 4), (3, "malignant", 1), (4, "benign", 84)]


def test_a_malignancy_map_gives_the_class_and_the_position() -> None:
    given_maps = maps(r2_6_c2_6=0.9, r10_14_c2_6=0.9)
    malignancy = np.full((20, 30), 0.1, np.float32)
    malignancy[10:14, 2:6] = 0.8
    malignancy[12, 4] = 0.99
    one, other = find_lesions(replace(given_maps, malignancy=malignancy), CONFIG)
    assert (one.label, other.label) == ("malignant", "benign")
    assert one.presence == pytest.approx(0.9)
    assert one.seed == tuple(PLACE.to_slide((12.5, 4.5)))
    highest = find_lesions(replace(given_maps, malignancy=malignancy), LesionConfig(score="maximum"))[0]
    assert highest.probability == pytest.approx(0.9 * 0.99)


def test_no_lesion_is_more_probable_than_the_slide_at_its_most() -> None:
    """Of 0.6 for melanoma and 0.04 for nevus 94 % is melanoma: the heatmap shows 0.6, as does the lesion."""
    given_maps = replace(maps(r2_6_c2_6=0.64), malignancy=np.full((20, 30), 0.6 / 0.64, np.float32))
    (lesion,) = find_lesions(given_maps, CONFIG)
    assert lesion.label == "malignant"
    assert lesion.probability == pytest.approx(0.6)
    assert lesion.probability <= float(given_maps.target.max()) + 1e-6


def test_shares_are_weighted_by_tissue() -> None:
    tissue = np.ones((20, 30), np.float32)
    tissue[2, :] = 0.0
    tissue[3, :] = 0.5
    presence = maps(r2_4_c2_4=0.9).presence.copy()
    presence[3, 2:4] = 0.7
    (lesion,) = find_lesions(LesionMaps(presence, PLACE, tissue=tissue), CONFIG)
    assert lesion.probability == pytest.approx(0.7)
    assert lesion.tissue_share == pytest.approx(2 * 0.5 / tissue.sum())


@pytest.mark.parametrize("tissue", [None, np.ones((20, 30), np.float32)], ids=["no tissue map", "tissue"])
def test_unknown_cells_are_neither_lesion_nor_tissue(tissue: np.ndarray | None) -> None:
    presence = maps(r2_6_c2_6=0.9).presence.copy()
    presence[:, 4:] = np.nan
    (lesion,) = find_lesions(LesionMaps(presence, PLACE, tissue=tissue), CONFIG)
    assert round(lesion.area_px / PLACE.cell_area_px) == 8
    assert lesion.tissue_share == pytest.approx(8 / 80)
    assert find_lesions(LesionMaps(np.full((4, 4), np.nan, np.float32), PLACE), CONFIG) == ()


def test_malignancy_that_is_unknown_everywhere_is_not_claimed() -> None:
    unknown = np.full((20, 30), np.nan, np.float32)
    (lesion,) = find_lesions(replace(maps(r2_6_c2_6=0.9), malignancy=unknown), CONFIG)
    assert np.isnan(lesion.probability)
    assert lesion.label == "benign"


def test_small_ones_are_dropped_and_near_ones_joined() -> None:
    given_maps = maps(r2_6_c2_6=0.9, r2_6_c7_11=0.9, r15_16_c20_21=0.9)
    assert len(find_lesions(given_maps, CONFIG)) == 3
    assert len(find_lesions(given_maps, LesionConfig(min_area_mm2=0.02))) == 2
    joined = find_lesions(given_maps, LesionConfig(join_um=250))
    assert [round(lesion.area_px / PLACE.cell_area_px) for lesion in joined] == [32, 1]


@pytest.mark.parametrize("seed", range(6))
def test_parts_are_joined_by_the_distance_of_their_edges(seed: int) -> None:
    """Also across an odd number of cells, and diagonally."""
    rng = np.random.default_rng(seed)
    presence = np.where(rng.random((24, 30)) < 0.04, 0.9, 0.0).astype(np.float32)
    place = MapPlacement(0, 0, 200, 300, PixelSize(0.5, 0.5))
    um = np.array(place.cell_um)
    cells = np.argwhere(presence)
    apart = (np.abs(cells[:, None] - cells[None]) - 1).clip(0) * um
    for gap in (0.0, 1.0, 100.0, 150.0, 181.0, 300.0, 333.0):
        labels = label_lesions(LesionMaps(presence, place), LesionConfig(join_um=gap))
        near = connected_components(np.hypot(*np.moveaxis(apart, -1, 0)) <= gap)[1]
        found = labels[tuple(cells.T)]
        assert np.array_equal(found[:, None] == found[None], near[:, None] == near[None]), gap
        assert not labels[presence == 0].any()


def test_holes_are_kept_or_filled() -> None:
    given_maps = maps(r2_9_c2_9=0.9, r4_6_c4_6=0.0)
    (hollow,) = find_lesions(given_maps, CONFIG)
    assert len(hollow.polygons[0].holes) == 1
    assert round(hollow.area_px / PLACE.cell_area_px) == 45
    (solid,) = find_lesions(given_maps, LesionConfig(fill_holes=True))
    assert solid.polygons[0].holes == ()
    assert round(solid.area_px / PLACE.cell_area_px) == 49


@pytest.mark.parametrize("scale", [1, 2])
def test_a_lesion_in_a_filled_hole_is_part_of_the_one_around_it(scale: int) -> None:
    """Else its area counts twice."""
    rings = {"r2_17_c2_17": 0.9, "r3_16_c3_16": 0.0, "r5_14_c5_14": 0.8, "r6_13_c6_13": 0.0, "r9_10_c9_10": 0.95}
    given_maps = maps(**rings, r18_19_c20_25=0.7)
    if scale > 1:
        presence = np.kron(given_maps.presence, np.ones((scale, scale), np.float32))
        given_maps = LesionMaps(presence, replace(PLACE, step_y=100.0, step_x=200.0))
    assert len(find_lesions(given_maps, CONFIG)) == 4
    areas = sorted(lesion.area_mm2 or 0 for lesion in find_lesions(given_maps, LesionConfig(fill_holes=True)))
    assert areas == pytest.approx([5 * 0.01, 15 * 15 * 0.01])


@pytest.mark.parametrize("method", ["mean", "maximum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("limit", [0.3, 0.5, 0.7])
def test_the_share_that_decides_is_that_of_the_probabilities_of_the_record(
    method: str, weighted: bool, limit: float
) -> None:
    """Melanoma 0.33 of 0.675 is benign at 0.5, also if most of its cells are malignant ones of low probability."""
    presence = np.zeros((4, 10), np.float32)
    presence[1:3, 1:9] = np.where(np.arange(8) < 4, 0.45, 0.9)
    malignancy = np.full(presence.shape, 0.9, np.float32)
    malignancy[:, 5:] = 0.28
    tissue = np.linspace(0.2, 1, 40, dtype=np.float32).reshape(4, 10) if weighted else None
    given_maps = LesionMaps(presence, PLACE, malignancy=malignancy, tissue=tissue)
    config = LesionConfig.model_validate({"malignant_from": limit, "score": method})
    (lesion,) = find_lesions(given_maps, config)
    (mean,) = find_lesions(given_maps, LesionConfig(malignant_from=limit))
    assert lesion.malignancy == pytest.approx(mean.probability / mean.presence)
    assert lesion.label == ("malignant" if mean.probability / mean.presence >= limit else "benign")
    assert lesion.class_probability == lesion.malignancy


def test_smoothing_removes_single_tiles_except_at_the_border() -> None:
    given_maps = maps(r2_3_c2_3=0.9, r8_14_c8_16=0.9)
    presence = given_maps.presence.copy()
    presence[14:] = np.nan
    found = find_lesions(LesionMaps(presence, PLACE), LesionConfig(smoothing_um=80))
    assert len(found) == 1
    bottom = found[0].box.top + found[0].box.height
    assert bottom == 1000 + 14 * 200


def test_without_a_scale_there_are_pixels_alone() -> None:
    place = MapPlacement(0, 0, 224, 224)
    (lesion,) = find_lesions(
        LesionMaps(maps(r2_5_c3_9=0.8).presence, place), LesionConfig(min_area_mm2=99, join_um=99, smoothing_um=99)
    )
    assert (lesion.area_mm2, lesion.perimeter_mm, lesion.height_mm, lesion.width_mm) == (None, None, None, None)
    assert lesion.area_px == 18 * 224**2


@settings(max_examples=40)
@given(arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 1, width=32)))
def test_lesions_are_apart_and_hold_a_certain_cell(presence: np.ndarray) -> None:
    given_maps = LesionMaps(presence, PLACE)
    labels = label_lesions(given_maps, CONFIG)
    lesions = find_lesions(given_maps, CONFIG)
    assert len(lesions) == labels.max(initial=0) == len(np.unique(labels[labels > 0]))
    covered = np.zeros(presence.shape, int)
    for lesion in lesions:
        region = region_from_polygons(lesion.polygons, given_maps)
        covered[region.slices] += region.mask
        assert presence[region.slices][region.mask].max() >= CONFIG.high
        assert 0 <= lesion.probability <= 1
    np.testing.assert_array_equal(covered, labels > 0)
    assert (presence[covered > 0] >= CONFIG.low).all()
    assert [lesion.index for lesion in lesions] == list(range(1, len(lesions) + 1))
    assert sum(lesion.tissue_share for lesion in lesions) == pytest.approx((labels > 0).mean())


def test_a_region_of_a_drawing_beyond_the_map_ends_with_it() -> None:
    drawn = Polygon(((-1e5, -1e5), (-1e5, 1e5), (1e5, 1e5), (1e5, -1e5)))
    assert region_from_polygons([drawn], maps()).mask.sum() == 600
    away = Polygon(((-1e5, -1e5), (-1e5, -9e4), (-9e4, -9e4)))
    assert not region_from_polygons([away], maps()).mask.any()


def test_the_table_is_written_and_read(tmp_path: Path) -> None:
    lesions = find_lesions(maps(r2_5_c3_9=0.8, r8_9_c3_9=0.7), CONFIG)
    rows = lesions_table(lesions)
    assert all(tuple(row) == LESION_COLUMNS for row in rows)
    write_table(tmp_path / "lesions.csv", rows, LESION_COLUMNS)
    first = read_table(tmp_path / "lesions.csv")[0]
    assert (first["index"], first["label"], first["area_mm2"], first["origin"]) == ("1", "malignant", "0.18", "found")


def test_thresholds_that_cross_are_refused() -> None:
    with pytest.raises(ConfigError, match="must not be above"):
        LesionConfig.parse({"low": 0.7, "high": 0.6}, "here")


def test_lesions_of_a_phantom_slide_have_their_true_areas() -> None:
    from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
    from napari_melanoma.phantoms.slide.plan import plan_slide
    from napari_melanoma.phantoms.slide.render import describe_slide_truth, render_truth

    plan = plan_slide(SlidePhantomConfig(size=(5120, 6144), mpp=1.0, seed=7, family="test"))
    classes = render_truth(plan, 4.0, Box(0, 0, 1280, 1536))
    tissue = (classes > 0).astype(np.float32)
    given_maps = LesionMaps((classes == 3).astype(np.float32), MapPlacement(0, 0, 4, 4, PixelSize(1, 1)), tissue=tissue)
    found = find_lesions(given_maps, LesionConfig(min_area_mm2=0.02, join_um=60))
    known = sorted(
        lesion["area_mm2"] for section in describe_slide_truth(plan)["sections"] for lesion in section["lesions"]
    )
    assert sorted(lesion.area_mm2 or 0 for lesion in found) == pytest.approx(known, rel=0.05)


@pytest.mark.parametrize(("rows", "columns"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.25), (0.7, 0.25)])
def test_a_lesion_ends_with_the_slide(rows: float, columns: float) -> None:
    """Thirty by thirty cells in the far corner, of the last of which the slide has a part."""
    place = MapPlacement(0.0, 0.0, 10.0, 10.0, PixelSize(0.5, 0.5))
    presence = np.zeros((60, 60), np.float32)
    presence[30:, 30:] = 1
    maps = LesionMaps(presence, place, slide_end=(590 + 10 * rows, 590 + 10 * columns))
    (lesion,) = find_lesions(maps, LesionConfig(min_area_mm2=0))
    height, width = 290 + 10 * rows, 290 + 10 * columns
    assert lesion.area_px == pytest.approx(height * width)
    assert lesion.area_mm2 == pytest.approx(height * width * 0.25e-6)
    assert (lesion.height_mm, lesion.width_mm) == pytest.approx((height * 0.5e-3, width * 0.5e-3))
    assert lesion.extent == pytest.approx(1)
    (whole,) = find_lesions(replace(maps, slide_end=None), LesionConfig(min_area_mm2=0))
    assert whole.perimeter_px - lesion.perimeter_px == pytest.approx(2 * (600 - height - width))
    (outline,) = lesion.polygons
    assert outline.area == pytest.approx(lesion.area_px)
    again = region_from_polygons(lesion.polygons, maps)  # as it is read back from the file
    assert (again.top, again.left, again.mask.sum()) == (30, 30, 900)


def test_the_seed_is_where_the_probability_of_the_lesion_is_highest() -> None:
    """The malignant share of the probability may be higher at a border where hardly any lesion is predicted."""
    malignancy = np.full((20, 30), 0.95, np.float32)
    malignancy[5, 5] = 1.0
    given_maps = replace(maps(r2_6_c2_6=0.7, r3_4_c3_4=0.99, r5_6_c5_6=0.45), malignancy=malignancy)
    (lesion,) = find_lesions(given_maps, LesionConfig(score="maximum"))
    assert lesion.seed == tuple(PLACE.to_slide((3.5, 3.5)))
    assert lesion.probability == pytest.approx(0.99 * 0.95)
