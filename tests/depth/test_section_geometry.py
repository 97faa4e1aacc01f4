"""Parts of the thickness measurement on sections of a few cells, counted by hand: cells of 10 micrometers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_melanoma.depth.geometry import (
    CERTAIN_TUMOR,
    MIN_CURVATURE,
    POSSIBLE_TUMOR,
    LesionExtent,
    SectionSurface,
    SkinSection,
    SurfaceArc,
    Ulceration,
    dilate,
    find_covered_rim,
    find_sections,
    find_surface,
    find_ulceration,
    fit_arc,
    group_lesions,
    half_cell_depth,
    is_cut_off_by_section,
    label_invasive_parts,
    measure_thickest,
    remove_small_parts,
    thickness_bounds,
)
from napari_melanoma.depth.tumor_maps import DepthMeasurementConfig, TissueMasks

CELL = (10.0, 10.0)
CONFIG = DepthMeasurementConfig()
FLAT = SurfaceArc(0.0, 0.0, (1.0, 0.0), MIN_CURVATURE)
Mask = np.ndarray


def cells(shape: tuple[int, int], *boxes: tuple[slice, slice]) -> Mask:
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[box] = True
    return mask


def section(tumor: Mask, **changes: Any) -> SkinSection:
    """A section that fills its box, with tumor that is certain, and without epidermis."""
    nothing, whole = np.zeros_like(tumor), np.ones_like(tumor)
    values = {"whole": whole, "epidermis": nothing, "tumor_probability": np.where(tumor, 255, 0), **changes}
    values["tumor_probability"] = values["tumor_probability"].astype(np.uint8)
    return SkinSection(0, 0, 0, tumor=tumor, cell_um=CELL, **values)


def surface(bins: int, bare: tuple[slice, ...] = (), depth: float = 0.0) -> SectionSurface:
    """A flat surface along the top of the box, in steps of one cell."""
    covered = np.ones(bins, bool)
    for part in bare:
        covered[part] = False
    return SectionSurface(FLAT, 0.0, 10.0, np.full(bins, depth), covered, 50.0)


def test_small_parts_are_removed() -> None:
    mask = cells((9, 12), (slice(0, 2), slice(0, 2)), (slice(4, 5), slice(0, 3)), (slice(6, 9), slice(6, 9)))
    assert [int(remove_small_parts(mask, limit).sum()) for limit in (3, 3.5, 4, 5, 10)] == [16, 13, 13, 9, 0]


def test_a_mask_is_widened_by_whole_cells() -> None:
    mask = cells((20, 20), (slice(10, 11), slice(10, 11)))
    wide = dilate(mask, 10.0, (4.0, 5.0))
    assert (wide == cells((20, 20), (slice(7, 14), slice(8, 13)))).all()


def test_half_a_cell_across_the_surface() -> None:
    assert half_cell_depth((4.0, 2.0), SurfaceArc(0, 0, (-0.6, 0.8), 1e-9)) == pytest.approx(2.0)


def test_positions_rim_and_directions() -> None:
    """Tissue that starts in the third row and column, and goes on beyond the lower and the right edge of the map."""
    whole = cells((12, 14), (slice(2, None), slice(2, None)))
    one = SkinSection(0, 3, 5, whole, whole, whole, whole.astype(np.uint8), (4.0, 2.0))
    assert one.positions(cells((12, 14), (slice(1, 2), slice(2, 3)))).tolist() == [[18.0, 15.0]]
    assert one.cell_um2 == 8.0
    assert (one.rim == whole & ~cells((12, 14), (slice(3, None), slice(3, None)))).all()
    upper, left = (one.inward_normals(cells((12, 14), box)) for box in ((2, slice(13, 14)), (slice(11, 12), 2)))
    assert upper == pytest.approx(np.array([[1.0, 0.0]]), abs=1e-6)
    assert left == pytest.approx(np.array([[0.0, 1.0]]), abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_directions_on_a_mirrored_map_are_mirrored(axis: int) -> None:
    """An oblique edge of tissue that reaches two sides of the map."""
    rows, columns = np.indices((16, 14))
    whole = rows >= 3 + columns // 2
    one, mirrored = (
        section(np.zeros_like(whole), whole=whole),
        section(np.zeros_like(whole), whole=np.flip(whole, axis)),
    )
    expected, found = np.zeros((2, 16, 14, 2))
    expected[one.rim], found[mirrored.rim] = one.inward_normals(one.rim), mirrored.inward_normals(mirrored.rim)
    expected[..., axis] *= -1
    assert found == pytest.approx(np.flip(expected, axis), abs=1e-6)


def test_bins_and_ends_of_a_surface() -> None:
    found = SectionSurface(FLAT, 100.0, 20.0, np.zeros(5), np.ones(5, bool), 50.0)
    along = np.array([0.0, 100.0, 119.0, 120.0, 199.0, 200.0, 500.0])
    assert found.bins(along).tolist() == [0, 0, 0, 1, 4, 4, 4]
    assert found.beyond_epidermis(along, 0.0).tolist() == [True, False, False, False, False, False, True]
    assert found.beyond_epidermis(along, 20.0).tolist() == [True, True, True, False, True, True, True]


@pytest.mark.parametrize(("chord", "curvature"), [(799.0, MIN_CURVATURE), (801.0, 1e-3)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_short_surface_is_straight(chord: float, curvature: float, axis: int) -> None:
    """Points on a circle with a radius of 1 mm, whose upper side faces up or to the left."""
    along = np.linspace(-chord / 2, chord / 2, 200)
    points, inward = np.stack([1000 - np.sqrt(1e6 - along**2), along], axis=1), np.tile([1.0, 0.0], (200, 1))
    found = fit_arc(np.roll(points, axis, axis=1), np.roll(inward, axis, axis=1))
    assert found.curvature == pytest.approx(curvature, rel=1e-6)


def test_points_without_weight_do_not_move_the_arc() -> None:
    x = np.arange(0.0, 2000.0, 10.0)
    points = np.stack([np.where(x < 500, 300.0, 40.0), x], axis=1)
    found = fit_arc(points, np.tile([1.0, 0.0], (len(x), 1)), (x >= 500).astype(float))
    assert found.to_skin(np.array([140.0]), np.array([1200.0]))[1] == pytest.approx(100, abs=1e-4)
    assert found.down == pytest.approx((1, 0))


@pytest.mark.parametrize(
    ("epidermis", "gap", "ends", "bare", "um"),
    [
        (slice(5, 65), slice(0), (55, 655), [], 180 * 100 / (40 * 15)),
        (slice(10, 60), slice(30, 38), (100, 610), [14, 15, 16, 17, 18], 126 * 100 / (29 * 15)),
    ],
    ids=["whole", "with a gap"],
)
def test_a_surface_reaches_from_one_end_of_the_epidermis_to_the_other(
    epidermis: slice, gap: slice, ends: tuple[int, int], bare: list[int], um: float
) -> None:
    """Three rows of epidermis on tissue whose upper side lies at 50 micrometers, in steps of one and a half cells."""
    skin = cells((60, 70), (slice(5, 8), epidermis))
    skin[:, gap] = False
    lesion, whole = cells((60, 70), (slice(8, 20), slice(30, 40))), cells((60, 70), (slice(5, 50), slice(5, 65)))
    one = section(lesion, whole=whole, epidermis=skin)
    found = find_surface(one, find_covered_rim(one), lesion, CONFIG)
    y, x = found.arc.to_map(found.start + 15 * np.arange(len(found.depth) + 1), np.append(found.depth, found.depth[-1]))
    assert found.step == 15
    assert y == pytest.approx(np.full(len(y), 50.0), abs=1e-4)
    assert (x[0], x[-1]) == pytest.approx(ends, abs=1e-3)  # from the center of the first cell
    assert np.flatnonzero(~found.covered).tolist() == bare
    assert found.epidermis_um == pytest.approx(um)


@pytest.mark.parametrize(("columns", "height"), [(3, 0), (6, 9)], ids=["9 micrometers wide", "18"])
def test_narrow_bumps_are_smoothed_away(columns: int, height: int) -> None:
    """A bump of 9 micrometers in height, on cells of 3 micrometers; the median filter is 5 steps of 4.5 wide."""
    skin = cells((60, 70), (slice(15, 20), slice(5, 65)), (slice(12, 15), slice(32, 32 + columns)))
    lesion, whole = (
        cells((60, 70), (slice(20, 30), slice(30, 40))),
        cells((60, 70), (slice(20, 50), slice(5, 65))) | skin,
    )
    one = replace(section(lesion, whole=whole, epidermis=skin), cell_um=(3.0, 3.0))
    found = find_surface(one, find_covered_rim(one), lesion, CONFIG)
    y, _ = found.arc.to_map(found.start + 4.5 * np.arange(len(found.depth)), found.depth)
    assert found.step == 4.5
    assert float(np.median(y) - y.min()) == pytest.approx(height, abs=0.5)


# Tumor in one row above columns 5 to 34, the surface above it, and the ulceration.
ROW = (slice(5, 6), slice(5, 35))
ULCERS: dict[str, tuple[tuple[slice, slice], SectionSurface, Ulceration]] = {
    "covered": (ROW, surface(40), Ulceration(False, 0.0, 0.0)),
    "a gap of 120 micrometers": (ROW, surface(40, (slice(10, 22),)), Ulceration(True, 120.0, 12 / 30)),
    "a shorter gap": (ROW, surface(40, (slice(10, 21),)), Ulceration(False, 0.0, 11 / 30)),
    "two gaps": (ROW, surface(40, (slice(7, 12), slice(14, 27))), Ulceration(True, 130.0, 18 / 30)),
    "a gap beside the tumor": (ROW, surface(60, (slice(40, 60),)), Ulceration(False, 0.0, 0.0)),
    "a gap from the first column": (ROW, surface(40, (slice(0, 20),)), Ulceration(True, 150.0, 0.5)),
    "far below": ((slice(20, 21), slice(5, 35)), surface(40, (slice(10, 30),)), Ulceration(False, 0.0, None)),
    "at the limit": (
        (slice(15, 16), slice(5, 35)),
        surface(40, (slice(10, 22),), depth=5.0),
        Ulceration(True, 120.0, 12 / 30),
    ),
    "beyond the epidermis": (ROW, surface(20), Ulceration(None, 0.0, None)),
    "beyond it by less": ((slice(5, 6), slice(5, 32)), surface(20), Ulceration(False, 0.0, 0.0)),
    "beyond both ends by less": (
        (slice(5, 6), slice(0, 32)),
        replace(surface(20), start=60.0),
        Ulceration(False, 0.0, 0.0),
    ),
    "beyond it by 120": ((slice(5, 6), slice(5, 33)), surface(20), Ulceration(None, 0.0, None)),
    "an ulcer and beyond": (ROW, surface(20, (slice(6, 19),)), Ulceration(True, 130.0, 13 / 15)),
}


@pytest.mark.parametrize(("tumor", "above", "expected"), ULCERS.values(), ids=ULCERS)
def test_an_ulcer_is_a_gap_of_the_epidermis(
    tumor: tuple[slice, slice], above: SectionSurface, expected: Ulceration
) -> None:
    lesion = cells((30, 60), tumor)
    assert find_ulceration(section(lesion), above, lesion, CONFIG) == expected


def test_the_thickest_position_by_hand() -> None:
    lesion = cells((30, 40), (slice(2, 13), slice(7, 8)), (slice(2, 12), slice(20, 21)))
    above = surface(40)
    above.depth[7] = 20.0
    line = measure_thickest(section(lesion), above, lesion)
    assert line.um == pytest.approx(120.0)  # (11 + 0.5) * 10 and half a cell below a surface at 0
    assert (*line.surface, *line.deepest) == pytest.approx((0.0, 205.0, 120.0, 205.0), abs=1e-3)
    above.depth[20] = 15.0
    line = measure_thickest(section(lesion), above, lesion)
    assert (line.um, *line.surface, *line.deepest) == pytest.approx((110.0, 20.0, 75.0, 130.0, 75.0), abs=1e-3)


def test_bounds_are_those_of_certain_and_of_possible_tumor() -> None:
    near, possible = cells((30, 40), (slice(2, 10), slice(7, 8))), cells((30, 40), (slice(2, 15), slice(7, 8)))
    probability = np.where(near, CERTAIN_TUMOR - 1, 0)
    growth = LesionExtent(near, near, near, possible)
    assert thickness_bounds(section(near, tumor_probability=probability), surface(40), growth) == pytest.approx(
        (0, 150)
    )
    probability[2:6] += 1
    assert thickness_bounds(section(near, tumor_probability=probability), surface(40), growth) == pytest.approx(
        (60, 150)
    )


RIGHT = {"whole": cells((40, 40), (slice(None), slice(0, 30)))}
BELOW = {"whole": cells((40, 40), (slice(0, 30), slice(None)))}
ENDS: dict[str, tuple[tuple[slice, slice], dict[str, Any], SectionSurface, bool]] = {
    "within the map": ((slice(1, 39), slice(1, 39)), {}, surface(40), False),
    "three cells at the upper border": ((slice(0, 5), slice(5, 8)), {}, surface(40), True),
    "three cells at the left border": ((slice(5, 8), slice(0, 5)), {}, surface(40), True),
    "three cells at the right border": ((slice(5, 8), slice(35, 40)), {}, surface(40), True),
    "three cells at the border of the map": ((slice(30, 40), slice(5, 8)), {}, surface(40), True),
    "two cells there": ((slice(30, 40), slice(5, 7)), {}, surface(40), False),
    "near the end, three cells deep enough": ((slice(2, 3), slice(28, 29)), RIGHT, surface(30), True),
    "near the end, two cells deep enough": ((slice(1, 2), slice(28, 29)), RIGHT, surface(30), False),
    "four cells from the end": ((slice(5, 20), slice(20, 26)), RIGHT, surface(30), False),
    "three cells from the end": ((slice(5, 20), slice(20, 27)), RIGHT, surface(30), True),
    "epidermis goes on for 60 micrometers": ((slice(5, 20), slice(20, 29)), RIGHT, surface(36), False),
    "for 50": ((slice(5, 20), slice(20, 29)), RIGHT, surface(35), True),
    "at the lower side": ((slice(20, 28), slice(10, 20)), BELOW, surface(40), True),
}


@pytest.mark.parametrize(("tumor", "changes", "above", "expected"), ENDS.values(), ids=ENDS)
def test_detection_of_lesions_truncated_by_the_section(
    tumor: tuple[slice, slice], changes: dict[str, Any], above: SectionSurface, expected: bool
) -> None:
    lesion = cells((40, 40), tumor)
    assert is_cut_off_by_section(section(lesion, **changes), above, lesion, CONFIG) is expected


NEST = (slice(10, 12), slice(10, 12))  # its surroundings are 32 cells, of which 12.8 are 40 %
NESTS: dict[str, tuple[tuple[slice, slice], tuple[slice, slice], bool, bool]] = {
    "two cells are a speck": ((slice(10, 11), slice(10, 12)), (slice(0), slice(0)), False, False),
    "three are a nest": ((slice(10, 11), slice(10, 13)), (slice(0), slice(0)), True, False),
    "13 of 32 cells around are epidermis": (NEST, (slice(8, 10), slice(8, 14)), True, False),
    "14 of 32": (NEST, (slice(7, 10), slice(8, 15)), True, False),
    "18 of 32": (NEST, (slice(8, 11), slice(8, 14)), False, True),
    "60 cells within the epidermis": ((slice(10, 16), slice(10, 20)), (slice(None), slice(None)), False, True),
    "63 cells within the epidermis": ((slice(10, 17), slice(10, 19)), (slice(None), slice(None)), True, False),
}


@pytest.mark.parametrize(("nest", "epidermis", "invasive", "in_situ"), NESTS.values(), ids=NESTS)
def test_a_nest_within_the_epidermis_is_in_situ(
    nest: tuple[slice, slice], epidermis: tuple[slice, slice], invasive: bool, in_situ: bool
) -> None:
    tumor = cells((30, 30), nest)
    parts, within = label_invasive_parts(section(tumor, epidermis=cells((30, 30), epidermis) & ~tumor), CONFIG)
    assert ((parts > 0) == (tumor if invasive else False)).all()
    assert (within == (tumor if in_situ else False)).all()


def extent_of(tumor: Mask, **changes: Any) -> tuple[LesionExtent, ...]:
    one = section(tumor, **changes)
    return group_lesions(one, label_invasive_parts(one, CONFIG)[0], CONFIG)


@pytest.mark.parametrize(("width", "count"), [(5, 1), (4, 0)])
def test_a_lesion_has_at_least_fifty_cells(width: int, count: int) -> None:
    assert len(extent_of(cells((30, 30), (slice(10, 20), slice(10, 10 + width))))) == count


@pytest.mark.parametrize(("gap", "together"), [(6, True), (7, False)])
def test_parts_within_the_gap_are_one_lesion(gap: int, together: bool) -> None:
    larger, other = (
        cells((30, 60), (slice(5, 15), slice(5, 15))),
        cells((30, 60), (slice(5, 15), slice(15 + gap, 24 + gap))),
    )
    found = extent_of(larger | other)
    assert len(found) == (1 if together else 2)
    assert (found[0].body == larger).all()
    assert (found[0].near == (larger | other if together else larger)).all()


@pytest.mark.parametrize(
    ("gap", "width", "far"), [(29, 1, True), (30, 1, False), (20, 1, True), (20, 2, False)], ids=str
)
def test_small_distant_nests_belong_to_the_wider_extent(gap: int, width: int, far: bool) -> None:
    """A nest of less than a fifth of the lesion's 100 cells, up to 300 micrometers away."""
    main = cells((30, 60), (slice(5, 15), slice(5, 15)))
    nest = cells((30, 60), (slice(5, 15), slice(15 + gap, 15 + gap + width)))
    found = extent_of(main | nest)[0]
    assert (found.near == main).all()
    assert (found.far == (main | nest if far else main)).all()


POSSIBLE: dict[str, tuple[tuple[slice, slice], int, bool]] = {
    "connected": ((slice(15, 24), slice(5, 8)), POSSIBLE_TUMOR, True),
    "connected, but improbable": ((slice(15, 24), slice(5, 8)), POSSIBLE_TUMOR - 1, False),
    "within the gap": ((slice(20, 21), slice(5, 15)), POSSIBLE_TUMOR, True),
    "beyond it": ((slice(21, 22), slice(5, 15)), POSSIBLE_TUMOR, False),
    "a speck": ((slice(17, 18), slice(5, 7)), POSSIBLE_TUMOR, False),
}


@pytest.mark.parametrize(("where", "probability", "included"), POSSIBLE.values(), ids=POSSIBLE)
def test_possible_tumor_is_connected_or_near(where: tuple[slice, slice], probability: int, included: bool) -> None:
    main, unsure = cells((30, 30), (slice(5, 15), slice(5, 15))), cells((30, 30), where)
    found = extent_of(main, tumor_probability=np.where(main, 255, np.where(unsure, probability, 0)))[0]
    assert (found.possible == (main | unsure if included else main)).all()


def masks(tissue: Mask, **changes: Mask) -> TissueMasks:
    nothing = np.zeros_like(tissue)
    return TissueMasks(
        **{"tissue": tissue, "epidermis": nothing, "tumor": nothing, **changes},
        tumor_probability=np.full(tissue.shape, 9, np.uint8),
    )


@pytest.mark.parametrize(("gap", "count"), [(2, 1), (3, 2)])
def test_tissue_on_both_sides_of_a_crack_is_one_section(gap: int, count: int) -> None:
    left, right = (slice(4, 24), slice(5, 17)), (slice(4, 24), slice(17 + gap, 30 + gap))
    found = find_sections(masks(cells((40, 60), left, right)), CELL, CONFIG)
    assert [(one.index, one.top, one.left) for one in found] == [(0, 2, 3), (1, 2, 15 + gap)][:count]


@pytest.mark.parametrize(("rows", "count"), [(20, 1), (19, 0)])
def test_small_pieces_are_no_sections(rows: int, count: int) -> None:
    """0.02 square millimeters are 200 cells; another piece above the larger one comes first."""
    tissue = cells((60, 40), (slice(4, 4 + rows), slice(5, 15)), (slice(30, 55), slice(0, 10)))
    found = find_sections(masks(tissue), CELL, CONFIG)
    assert [one.whole.sum() for one in found] == [200] * count + [250]
    assert [(one.top, one.left) for one in found] == [(2, 3)] * count + [(28, 0)]


def test_a_section_is_filled_and_has_its_own_classes() -> None:
    own, other = (slice(5, 25), slice(5, 25)), (slice(5, 25), slice(30, 50))
    tissue = cells((40, 60), own, other)
    tissue[10, 10] = False
    epidermis = cells(
        (40, 60), (slice(5, 10), slice(5, 10)), (slice(15, 21), slice(5, 9)), (slice(5, 25), slice(30, 50))
    )
    tumor = cells((40, 60), (slice(12, 14), slice(12, 14)), (slice(12, 14), slice(40, 44)))
    one, _ = find_sections(masks(tissue, epidermis=epidermis, tumor=tumor), CELL, CONFIG)
    assert one.whole.shape == (24, 24)
    assert (one.whole.sum(), one.epidermis.sum(), one.tumor.sum()) == (400, 25, 4)  # 24 cells of epidermis are none
    assert one.tumor_probability.sum() == 9 * 399
    assert math.prod(one.cell_um) == 100
