"""Thickness on maps that are true: what it is, where it is measured, and what is refused with words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.depth.breslow_candidates import DepthCandidate, measure_depth
from napari_melanoma.depth.tumor_maps import TissueMaps
from napari_melanoma.phantoms.slide.config import SectionOptions, SlideLesionOptions, SlidePhantomConfig
from napari_melanoma.phantoms.slide.plan import plan_slide
from napari_melanoma.phantoms.slide.render import describe_slide_truth, render_truth

CLASSES = ("background", "dermis", "epidermis", "tumour")
GLASS, DERMIS, EPIDERMIS, TUMOUR = range(4)
CELL_UM = 4.0
Labels = NDArray[np.uint8]


def place(cell_um: float = CELL_UM, across: float | None = None) -> MapPlacement:
    """Cells of one pixel of the slide each."""
    return MapPlacement(0, 0, 1, 1, PixelSize(cell_um, across or cell_um))


def skin(rows: int = 300, columns: int = 500) -> Labels:
    """A flat section: its surface at row 60, epidermis of 20 rows, its bottom 20 rows above the map's end."""
    labels = np.zeros((rows, columns), np.uint8)
    labels[60:-20, 30:-30] = DERMIS
    labels[60:80, 30:-30] = EPIDERMIS
    return labels


def with_tumour(bottom: int = 160, columns: slice = slice(200, 300)) -> Labels:
    """The same with a tumor below the epidermis, as far as a row: (bottom - 60) cells thick."""
    labels = skin()
    labels[80:bottom, columns] = TUMOUR
    return labels


def maps_of(labels: Labels, classes: tuple[str, ...] = CLASSES) -> TissueMaps:
    """Return maps with the probabilities 0 and 255 of the classes of a label image."""
    is_class = labels[None] == np.arange(len(classes))[:, None, None]
    return TissueMaps(is_class.astype(np.uint8) * np.uint8(255), tuple(classes))


@dataclass(frozen=True)
class Phantom:
    """A phantom's map of classes, where it lies, and its truth."""

    labels: Labels
    place: MapPlacement
    mm: float
    ulcerated: bool
    line: NDArray[np.float64]


def breslow_candidates(maps: TissueMaps, at: MapPlacement) -> tuple[DepthCandidate, ...]:
    return measure_depth(maps, at).candidates


@cache
def drawn_phantom(mm: float, ulcerated: bool = False, rotation: float = 0.0, oblique: float = 0.0) -> Phantom:
    """Section with one melanoma, on cells of 3 micrometers."""
    config = SlidePhantomConfig(
        seed=round(1000 * mm) + ulcerated,
        size=(256 * int(np.ceil((1.9 * mm + 2.6) * 4)),) * 2,
        mpp=1.0,
        lesions=SlideLesionOptions(malignant=1, benign=0, breslow_mm=mm, ulceration=ulcerated),
        section=SectionOptions(
            width_mm=2.2 + 1.5 * mm, depth_mm=mm / 0.7 + 0.2, rotation_deg=rotation, oblique_deg=oblique
        ),
    )
    plan = plan_slide(config)
    (lesion,) = describe_slide_truth(plan)["sections"][0]["lesions"]
    labels = render_truth(plan, 3, Box(0, 0, *(side // 3 for side in config.size)))
    return Phantom(
        labels,
        MapPlacement(0, 0, 3, 3, PixelSize(1, 1)),
        lesion["breslow_mm"],
        ulcerated,
        np.array(lesion["breslow_line"]),
    )


PHANTOMS = [
    {"mm": 0.3},
    {"mm": 0.8, "ulcerated": True},
    {"mm": 0.5, "rotation": 130.0},
    {"mm": 0.7, "oblique": 35.0},
    {"mm": 1.4, "ulcerated": True, "rotation": -40.0},
]


@cache
def best_of_phantom(**how: Any) -> DepthCandidate:
    drawn = drawn_phantom(**how)
    return breslow_candidates(maps_of(drawn.labels), drawn.place)[0]


@pytest.mark.parametrize("how", PHANTOMS, ids=lambda how: "-".join(map(str, how.values())))
@pytest.mark.slow
def test_a_phantom_is_as_thick_as_it_was_drawn(how: dict[str, Any]) -> None:
    drawn, best = drawn_phantom(**how), best_of_phantom(**how)
    assert best.mm == pytest.approx(drawn.mm, abs=0.02)
    assert best.ulcerated == drawn.ulcerated
    assert not best.at_least
    length = np.hypot(*np.subtract(best.deepest, best.surface)) / 1000
    assert length == pytest.approx(best.mm, abs=1e-6)
    assert np.hypot(*(best.deepest - drawn.line[1])) < 0.15 * 1000 * drawn.mm


def test_a_tumor_drawn_to_the_cell_is_measured_to_the_cell() -> None:
    (best,) = breslow_candidates(maps_of(with_tumour(bottom=160)), place())
    assert best.mm == pytest.approx(100 * CELL_UM / 1000, abs=1e-3)
    assert best.surface[0] == pytest.approx(60, abs=0.3)
    assert best.deepest[0] == pytest.approx(160, abs=0.3)
    assert best.below_epidermis_mm == pytest.approx(80 * CELL_UM / 1000, abs=0.01)
    assert best.lesion_mm2 == pytest.approx(80 * 100 * CELL_UM**2 / 1e6)
    assert (best.section, best.ulcerated, best.notes) == (0, False, ())


TURNS: list[Callable[[Labels], Labels]] = [np.rot90, np.flipud, np.fliplr]


@pytest.mark.parametrize("turn", TURNS, ids=["quarter", "upside down", "mirrored"])
def test_thickness_is_invariant_to_rotation_and_reflection(turn: Callable[[Labels], Labels]) -> None:
    drawn, before = drawn_phantom(mm=0.3), best_of_phantom(mm=0.3).mm
    after = breslow_candidates(maps_of(np.ascontiguousarray(turn(drawn.labels))), drawn.place)[0].mm
    assert after == pytest.approx(before, abs=0.004)


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_a_larger_pixel_size_makes_it_thicker(factor: float) -> None:
    maps = maps_of(with_tumour())
    before, after = (breslow_candidates(maps, place(CELL_UM * times))[0].mm for times in (1, factor))
    assert after == pytest.approx(factor * before, rel=1e-3)


def test_pixel_sizes_of_rows_and_columns_are_separate() -> None:
    drawn, before = drawn_phantom(mm=0.5, rotation=130.0), best_of_phantom(mm=0.5, rotation=130.0)
    wide = MapPlacement(0, 0, 3, 1.5, PixelSize(1, 1))
    after = breslow_candidates(maps_of(np.repeat(drawn.labels, 2, axis=1)), wide)[0]
    assert after.mm == pytest.approx(before.mm, abs=0.004)
    assert after.deepest == pytest.approx(before.deepest, abs=6)


def test_the_position_of_a_map_changes_only_the_line_ends() -> None:
    maps = maps_of(with_tumour())
    here = breslow_candidates(maps, place())[0]
    there = breslow_candidates(maps, MapPlacement(1000, 2000, 1, 1, place().pixel_size))[0]
    assert there.mm == here.mm
    assert np.subtract(there.deepest, here.deepest) == pytest.approx((1000, 2000))


def test_small_nests_below_the_body_count_and_far_ones_are_another_candidate() -> None:
    labels = with_tumour(bottom=160)
    labels[166:172, 240:250] = TUMOUR  # 24 micrometers below the body
    labels[200:206, 240:250] = TUMOUR  # 112 further down
    near, far, body = (candidate.mm for candidate in breslow_candidates(maps_of(labels), place()))
    assert near == pytest.approx(112 * CELL_UM / 1000, abs=1e-3)
    assert sorted((far, body)) == pytest.approx([100 * CELL_UM / 1000, 146 * CELL_UM / 1000], abs=1e-3)


def test_specks_and_distant_tissue_do_not_change_the_depth() -> None:
    labels = with_tumour()
    before = breslow_candidates(maps_of(labels), place())
    labels[165:168, 245:248] = TUMOUR  # 12 x 12 micrometers
    labels[265:275, 60:70] = TUMOUR
    labels[250:254, 30:90] = EPIDERMIS  # at the section's end, as a network may take it
    labels[200:204, 200:300] = EPIDERMIS
    after = breslow_candidates(maps_of(labels), place())
    assert [one.mm for one in after] == pytest.approx([one.mm for one in before], abs=1e-3)


def test_nests_within_the_epidermis_have_no_thickness() -> None:
    labels = with_tumour(bottom=90)
    labels[70:82, 350:358] = TUMOUR
    labels[70:82, 400:408] = TUMOUR
    assert [one.mm for one in breslow_candidates(maps_of(labels), place())] == pytest.approx([0.12], abs=1e-3)
    labels[80:90, 200:300] = DERMIS
    assert measure_depth(maps_of(labels), place()).notes == (
        "section 1 has nests within the epidermis only: a melanoma in situ has no thickness",
    )


def test_where_the_epidermis_is_missing_the_ulcers_base_counts() -> None:
    labels = with_tumour(bottom=160)
    labels[60:90, 220:280] = GLASS  # 30 rows deep
    best = breslow_candidates(maps_of(labels), place())[0]
    assert best.ulcerated
    assert best.ulcer_mm == pytest.approx(60 * CELL_UM / 1000, abs=0.01)
    assert breslow_candidates(maps_of(with_tumour(bottom=160)), place())[0].ulcer_share == 0
    open_end = with_tumour(bottom=160, columns=slice(400, 600))
    open_end[60:80, 450:] = GLASS  # the epidermis ends over the tumor, so it is unknown whether it lies bare
    cut = breslow_candidates(maps_of(open_end), place())[0]
    assert (cut.ulcerated, cut.ulcer_share) == (None, None)
    over = 100  # columns of the tumor, of which 60 lie bare
    assert best.ulcer_share == pytest.approx(60 / over, abs=0.04)
    assert best.to_json()["ulcer_share"] == pytest.approx(best.ulcer_share, abs=1e-4)
    labels[150:160, 200:225] = labels[150:160, 275:300] = DERMIS
    best = breslow_candidates(maps_of(labels), place())[0]
    assert best.mm == pytest.approx(90 * CELL_UM / 1000, abs=2e-3)  # at its sides


def test_predicted_nevi_are_not_measured() -> None:
    classes = ("background", "dermis", "epidermis", "naevus", "melanoma")
    labels = with_tumour(bottom=120, columns=slice(100, 200))
    labels[labels == TUMOUR] = 4
    labels[80:200, 350:430] = 3
    found = breslow_candidates(maps_of(labels, classes), place())
    assert [one.mm for one in found] == pytest.approx([60 * CELL_UM / 1000], abs=1e-3)


def test_nevus_like_cells_of_a_melanoma_are_part_of_it() -> None:
    classes = ("background", "dermis", "epidermis", "naevus", "melanoma")
    labels = with_tumour(bottom=160)
    labels[labels == TUMOUR] = 4
    labels[155:160, 230:250] = 3
    (best,) = breslow_candidates(maps_of(labels, classes), place())
    assert best.mm == pytest.approx(100 * CELL_UM / 1000, abs=1e-3)


class Cut(NamedTuple):
    """A tumor somewhere, and whether the section's end cuts it."""

    name: str
    bottom: int
    columns: slice
    cut: bool


CUTS = [
    Cut("within", 160, slice(200, 300), False),
    Cut("at the left end", 160, slice(30, 120), True),
    Cut("at the right end", 160, slice(400, 470), True),
    Cut("at the bottom", 280, slice(200, 300), True),
]


@pytest.mark.parametrize("case", CUTS, ids=lambda case: case.name)
def test_depth_at_the_end_of_the_section_is_a_lower_bound(case: Cut) -> None:
    best = breslow_candidates(maps_of(with_tumour(case.bottom, case.columns)), place())[0]
    assert best.at_least == case.cut
    assert (
        "lower bound: the lesion reaches the end of the section or of the analyzed region" in best.notes
    ) == case.cut
    assert best.mm == pytest.approx((case.bottom - 60) * CELL_UM / 1000, abs=2e-3)


def rising_skin() -> Labels:
    """A section whose surface rises to the right and leaves the map at column 400; its tumor is beyond that."""
    labels = np.zeros((300, 560), np.uint8)
    depth = np.arange(300)[:, None] - (200 - np.arange(560)[None] // 2)
    labels[(depth >= 0) & (np.arange(560) >= 30)] = DERMIS
    labels[(depth >= 0) & (depth < 20) & (np.arange(560) >= 30)] = EPIDERMIS
    labels[20:150, 440:530] = TUMOUR
    return labels


def test_a_line_begins_at_the_end_of_the_map_if_the_surface_is_outside() -> None:
    best = breslow_candidates(maps_of(rising_skin()), place())[0]
    assert best.surface[0] == pytest.approx(0, abs=0.5)
    assert np.hypot(*np.subtract(best.deepest, best.surface)) * CELL_UM / 1000 == pytest.approx(best.mm, abs=1e-3)
    assert best.at_least
    assert "lower bound: the surface above the deepest cells is outside the slide or the analyzed region" in best.notes


def test_no_line_extends_beyond_the_end_of_the_slide() -> None:
    labels, end = np.flipud(rising_skin()), (290.0, 560.0)  # the last 10 rows are padding
    candidates = measure_depth(maps_of(labels), place(), end=end).candidates
    assert candidates
    for one in candidates:
        assert one.surface[0] == pytest.approx(290, abs=0.5)
        assert one.deepest[0] < 290
        assert one.at_least


def test_sections_are_measured_separately_and_sorted_by_thickness() -> None:
    labels = np.concatenate([with_tumour(bottom=130), with_tumour(bottom=180), skin()])
    found = measure_depth(maps_of(labels), place())
    assert [(one.section, round(one.mm, 2)) for one in found.candidates] == [(1, 0.48), (0, 0.28)]
    assert found.notes == ("no invasive tumor was found in section 3",)


def ring() -> Labels:
    """Epidermis all around, as where a wart or a fold is cut across."""
    rows, columns = np.mgrid[-150:150, -150:150]
    away = np.hypot(rows, columns)
    labels = np.select([away < 40, away < 90, away < 110], [TUMOUR, DERMIS, EPIDERMIS], GLASS)
    return labels.astype(np.uint8)


def without_epidermis() -> Labels:
    labels = with_tumour()
    labels[labels == EPIDERMIS] = DERMIS
    return labels


def buried() -> Labels:
    """Epidermis in islands within the dermis, as where a cut runs along the skin."""
    labels = without_epidermis()
    labels[130:170, 60:160] = labels[120:180, 330:430] = EPIDERMIS
    return labels


REFUSED = [
    (np.zeros((200, 300), np.uint8), "no tissue was found"),
    (skin(), "no invasive tumor was found in section 1"),
    (without_epidermis(), "no epidermis was found in section 1"),
    (ring(), "no surface was found in section 1"),
    (buried(), "no surface was found in section 1"),
]


@pytest.mark.parametrize(("labels", "reason"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_unmeasurable_sections_give_the_reason(labels: Labels, reason: str) -> None:
    found = measure_depth(maps_of(labels), place())
    assert found.candidates == ()
    assert found.notes[0].startswith(reason)


def test_lesion_not_connected_to_the_surface_is_reported() -> None:
    labels = skin()
    labels[180:240, 200:300] = TUMOUR
    (only,) = breslow_candidates(maps_of(labels), place())
    assert "not connected to the surface: possibly not a primary melanoma" in only.notes
    labels[80:110, 60:180] = TUMOUR
    first, second = breslow_candidates(maps_of(labels), place())
    assert (first.mm, second.mm) == pytest.approx((0.2, 0.72), abs=1e-3)


def test_a_thick_epidermis_warns_of_an_oblique_cut() -> None:
    labels = with_tumour(bottom=200)
    labels[60:150, 30:200] = labels[60:150, 300:-30] = EPIDERMIS
    best = breslow_candidates(maps_of(labels), place())[0]
    assert any("an oblique section overestimates the thickness" in note for note in best.notes)


SCALES = [
    (None, "pixel size is missing"),
    (PixelSize(500.0, 500.0), "implausible pixel size"),
    (PixelSize(0.0005, 0.0005), "implausible pixel size"),
    (PixelSize(0.5, 500.0), "implausible pixel size"),
    (PixelSize(4.0, 0.5), "implausible pixel size"),
]


@pytest.mark.parametrize(("size", "reason"), SCALES, ids=str)
def test_a_scale_that_is_missing_or_cannot_be_true_is_refused(size: PixelSize | None, reason: str) -> None:
    with pytest.raises(ScaleMissing, match=reason):
        breslow_candidates(maps_of(with_tumour()), MapPlacement(0, 0, 8, 8, size))


def test_a_map_without_the_classes_is_refused() -> None:
    maps = TissueMaps(np.zeros((3, 100, 100), np.uint8), ("benign tissue", "naevus", "melanoma"))
    with pytest.raises(InputError, match="background, epidermis and melanoma"):
        breslow_candidates(maps, place())


def test_certain_and_possible_depth_follow_from_probabilities() -> None:
    sure = maps_of(with_tumour(bottom=160), CLASSES).probability.astype(np.float32) / 255
    sure[:, 160:165, 200:300] = np.array([0, 0.6, 0, 0.4])[:, None, None]
    sure[:, 150:160, 200:300] = np.array([0, 0.4, 0, 0.6])[:, None, None]
    sure[:, :10] = np.nan
    best = breslow_candidates(TissueMaps(sure, CLASSES), place())[0]
    assert best.mm == pytest.approx(0.4, abs=1e-3)
    assert best.features.low_mm == pytest.approx(0.36, abs=1e-3)
    assert best.features.high_mm == pytest.approx(0.42, abs=1e-3)
