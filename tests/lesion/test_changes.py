"""Changes of a lesion between two photographs: known growth is in the intervals, and without growth there is none."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.lesion import changes
from napari_melanoma.lesion.changes import (
    UNCERTAIN,
    Change,
    LesionChanges,
    MeasuredPhotograph,
    compare_photographs,
    shift_border,
)
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom

SHAPE = (144, 192)
WIDE = (192, 256)  # where smaller images have too few features in three quarters
pytestmark = pytest.mark.usefixtures("features_found_once")


@cache
def phantom(
    growth: float = 0.0,
    seed: int = 1,
    modality: str = "dermoscopic",
    *,
    ruler: bool = False,
    shape: tuple[int, int] = SHAPE,
) -> MeasuredPhotograph:
    """A lesion of 5 mm whose area has grown by a share, on the same skin."""
    config = LesionPhantomConfig(seed=seed, modality=modality, size=shape, field_mm=14.0)
    lesion = config.lesion.model_copy(update={"diameter_mm": 5.0 * (1 + growth) ** 0.5, "centre": (0.5, 0.5)})
    artefacts = config.artefacts.model_copy(update={"ruler": ruler})
    made = lesion_phantom(config.model_copy(update={"lesion": lesion, "artefacts": artefacts}))
    return MeasuredPhotograph(Photograph(made.rgb, "phantom", made.pixel_size, modality), made.mask)


def photographed_again(
    one: MeasuredPhotograph, *, degrees: float = 0.0, zoom: float = 1.0, light: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> MeasuredPhotograph:
    """The lesion turned, at another distance and in another light."""
    from skimage.transform import SimilarityTransform, warp

    rows, columns = one.mask.shape
    middle = SimilarityTransform(translation=(-columns / 2, -rows / 2))
    turn = SimilarityTransform(scale=zoom, rotation=np.radians(degrees))
    whole = middle + turn + SimilarityTransform(translation=(columns / 2 + 9, rows / 2 - 6))
    rgb = 255 * warp(one.photograph.rgb, whole.inverse, order=1, mode="constant") * np.array(light)
    mask = warp(one.mask.astype(float), whole.inverse, order=1) > 0.5
    um = one.photograph.pixel_size.x_um / zoom
    photograph = replace(one.photograph, rgb=rgb.clip(0, 255).astype(np.uint8), pixel_size=PixelSize(um, um, "phantom"))
    return MeasuredPhotograph(photograph, mask)


def without_scale(one: MeasuredPhotograph) -> MeasuredPhotograph:
    return replace(one, photograph=replace(one.photograph, pixel_size=None))


def cropped(one: MeasuredPhotograph, top: int, left: int) -> MeasuredPhotograph:
    inner = np.s_[top : SHAPE[0] - 20, left : SHAPE[1] - 14]
    return MeasuredPhotograph(
        replace(one.photograph, rgb=np.ascontiguousarray(one.photograph.rgb[inner])), one.mask[inner]
    )


def change_of(found: LesionChanges, label: str) -> Change:
    return next(one for one in found.changes if one.label == label)


AGAIN = {
    "unchanged": lambda one: one,
    "in another light": lambda one: photographed_again(one, light=(0.8, 0.72, 0.66)),
    "turned": lambda one: photographed_again(one, degrees=25),
    "from farther away": lambda one: photographed_again(one, zoom=0.8),
    "all of it": lambda one: cropped(photographed_again(one, degrees=-140, zoom=1.15, light=(0.8, 0.8, 0.9)), 7, 10),
}


# Each way to photograph it again with a small and a large growth or none, not all of them with each other.
GROWN = [
    ("unchanged", 0.0, True),
    ("in another light", 0.1, True),
    ("turned", 0.0, False),
    ("from farther away", 0.5, True),
    *(("all of it", growth, scaled) for growth, scaled in ((0.0, True), (0.5, False))),
]


@pytest.mark.parametrize(("again", "growth", "scaled"), GROWN)
@pytest.mark.slow
def test_the_interval_contains_known_growth(again: str, growth: float, scaled: bool) -> None:
    first, grown = phantom(), phantom(growth)
    second = AGAIN[again](grown)
    true_area = 100 * (grown.mask.sum() / first.mask.sum() - 1)
    true_diameter = 100 * ((1 + growth) ** 0.5 - 1)
    if not scaled:
        first, second = without_scale(first), without_scale(second)
    found = compare_photographs(first, second)
    for label, truth in (("Area", true_area), ("Maximum diameter", true_diameter)):
        change = change_of(found, label)
        assert change.interval[0] <= truth <= change.interval[1], (label, change.text)
        assert change.change == pytest.approx(truth, abs=2.5), label
        assert (change.unit != "") == found.is_scaled == scaled
    if growth == 0:
        assert [one.text for one in found.changes if one.is_certain] == []
        assert {one.conclusion for one in found.changes} == {UNCERTAIN}
    if growth == 0.5:
        shift = change_of(found, "Largest outward shift of the border")
        assert all(change_of(found, name).conclusion == "increased" for name in ("Area", "Maximum diameter"))
        assert shift.is_certain
        radius_mm = 2.5 * (1.5**0.5 - 1)
        truth = radius_mm if scaled else 100 * radius_mm / 5
        assert shift.interval[0] <= truth <= shift.interval[1]
    assert not found.cautions


@pytest.mark.slow
def test_the_pictures_are_in_registration_and_in_one_light() -> None:
    first = phantom()
    found = compare_photographs(first, photographed_again(first, degrees=25, light=(0.7, 0.8, 0.9))).pictures
    overlap = (found.first_mask & found.second_mask).sum() / (found.first_mask | found.second_mask).sum()
    assert overlap > 0.97
    inner = found.covered & ~found.first_mask
    assert np.abs(found.first[inner].mean(axis=0) - found.second[inner].mean(axis=0)).max() < 3
    assert found.pixel_size.x_um == pytest.approx(first.photograph.pixel_size.x_um)


def test_pixels_that_are_not_square_change_nothing() -> None:
    first, grown = phantom(), phantom(0.5)
    um = grown.photograph.pixel_size.x_um
    half = replace(
        grown.photograph, rgb=np.ascontiguousarray(grown.photograph.rgb[::2]), pixel_size=PixelSize(2 * um, um, "given")
    )
    change = change_of(compare_photographs(first, MeasuredPhotograph(half, grown.mask[::2])), "Area")
    assert change.change == pytest.approx(50, abs=2)


@pytest.mark.slow
def test_a_darker_lesion_is_a_change_of_color_alone() -> None:
    first = phantom()
    rgb = first.photograph.rgb.copy()
    rgb[first.mask] = (0.6 * rgb[first.mask]).astype(np.uint8)
    found = compare_photographs(first, replace(first, photograph=replace(first.photograph, rgb=rgb)))
    assert [one.label for one in found.changes if one.is_certain] == ["Contrast to the skin"]
    assert change_of(found, "Contrast to the skin").conclusion == "increased"


def test_a_wrong_ruler_widens_the_interval_and_is_named() -> None:
    first, grown = phantom(), phantom(0.5)
    um = 1.2 * grown.photograph.pixel_size.x_um
    wrong = replace(grown, photograph=replace(grown.photograph, pixel_size=PixelSize(um, um, "ruler")))
    found = compare_photographs(first, wrong)
    area = change_of(found, "Area")
    assert area.change == pytest.approx(100 * (1.5 * 1.44 - 1), abs=2)
    assert area.interval[0] < 50
    assert "differ from their registration by 17 %" in found.cautions[0]


def test_a_lesion_at_the_edge_is_compared_by_color_only() -> None:
    first, edge = phantom(), 5 * SHAPE[1] // 8
    second = MeasuredPhotograph(
        replace(first.photograph, rgb=first.photograph.rgb[:, :edge].copy()), first.mask[:, :edge].copy()
    )
    found = compare_photographs(first, second)
    assert {one.label for one in found.changes} <= {"Contrast to the skin", "Variation of lightness"}
    assert "not in view as a whole" in found.cautions[0]


def test_a_damaged_photograph_is_named() -> None:
    first = phantom()
    damaged = replace(first, photograph=replace(first.photograph, damage="the lower half is missing"))
    assert (
        compare_photographs(first, damaged).cautions[0].startswith("The second photograph is damaged: the lower half")
    )


def test_photographs_of_different_modalities_are_refused() -> None:
    with pytest.raises(MelanomaError, match="found dermoscopic and macroscopic") as found:
        compare_photographs(phantom(), phantom(0, 1, "macroscopic"))
    assert not isinstance(found.value, InputError)  # both files are usable


def test_an_empty_mask_is_refused() -> None:
    empty = replace(phantom(), mask=np.zeros(SHAPE, bool))
    with pytest.raises(MelanomaError, match="second photograph contains no lesion"):
        compare_photographs(phantom(), empty)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(MelanomaError, match="Segment it again"):
        compare_photographs(phantom(), replace(phantom(), mask=np.ones((9, 9), bool)))


@pytest.mark.slow
def test_other_skin_is_refused() -> None:
    with pytest.raises(MelanomaError, match="Do they show the same lesion"):
        compare_photographs(phantom(), phantom(0, 13))


def test_without_scale_growth_is_not_taken_for_magnification() -> None:
    """Only the lesion has features, and it has grown with all of its pattern."""
    first, second = (without_scale(photographed_again(phantom(), zoom=zoom)) for zoom in (1.0, 1.2))
    plain = [replace(one, photograph=replace(one.photograph, rgb=_on_plain_skin(one))) for one in (first, second)]
    with pytest.raises(MelanomaError, match="growth cannot be distinguished from magnification"):
        compare_photographs(*plain)


def _on_plain_skin(one: MeasuredPhotograph) -> np.ndarray:
    return np.where(one.mask[..., None], one.photograph.rgb, np.uint8((215, 170, 150)))


@pytest.mark.slow
def test_the_same_ruler_next_to_another_lesion_is_rejected() -> None:
    # At 192 x 256 and 240 x 320, 2 to 4 features of the rulers match, and the refusal is that of too few features.
    with pytest.raises(MelanomaError, match="A ruler in both photographs is not enough"):
        compare_photographs(phantom(ruler=True, shape=(270, 360)), phantom(0, 13, ruler=True, shape=(270, 360)))


def with_reticle(one: MeasuredPhotograph) -> MeasuredPhotograph:
    """The photograph through a contact plate with a cross, whose ticks differ in length."""
    height, width = one.mask.shape
    plate = Image.new("L", (width, height), 255)
    draw, lengths = ImageDraw.Draw(plate), np.random.default_rng(0).integers(3, 16, (40, 2))
    draw.line((0, height / 2, width, height / 2), fill=30, width=2)
    draw.line((width / 2, 0, width / 2, height), fill=30, width=2)
    for number, (across, down) in enumerate(lengths.tolist()):
        x, y = width * (number + 0.5) / 40, height * (number + 0.5) / 40
        draw.line((x, height / 2 - across, x, height / 2), fill=30, width=2)
        draw.line((width / 2 - down, y, width / 2, y), fill=30, width=2)
    rgb = (one.photograph.rgb * (np.asarray(plate)[..., None] / 255)).astype(np.uint8)
    return replace(one, photograph=replace(one.photograph, rgb=rgb))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "is_other"), [(1, False), (13, True)])
def test_the_same_reticle_on_another_lesion_is_a_caution(seed: int, is_other: bool) -> None:
    found = compare_photographs(with_reticle(phantom(shape=WIDE)), with_reticle(phantom(0.5, seed, shape=WIDE)))
    cautions = [one for one in found.cautions if "such as a reticle" in one]
    assert len(cautions) == is_other
    assert any(one.is_certain for one in found.changes) != is_other


def test_a_poor_photograph_of_the_same_skin_has_no_caution() -> None:
    poor = photographed_again(phantom(0.5), degrees=-30, light=(0.8, 0.8, 0.9))
    rgb = ndimage.gaussian_filter(poor.photograph.rgb.astype(float), (2, 2, 0))
    rgb += np.random.default_rng(5).normal(0, 3, rgb.shape)
    poor = replace(poor, photograph=replace(poor.photograph, rgb=rgb.clip(0, 255).astype(np.uint8)))
    assert not compare_photographs(phantom(), poor).cautions


@pytest.mark.parametrize("side", [1, 3, 20])
def test_tiny_photographs_are_refused(side: int) -> None:
    mask = np.zeros((side, side), bool)
    mask[side // 2, side // 2] = True
    tiny = MeasuredPhotograph(Photograph(np.full((side, side, 3), 99, np.uint8), "tiny", None, None), mask)
    with pytest.raises(MelanomaError, match="expected 8 features"):
        compare_photographs(tiny, tiny)


def test_a_border_is_shifted_by_a_share_of_the_diameter() -> None:
    rows, columns = np.indices((200, 200))
    disk = (rows - 100) ** 2 + (columns - 100) ** 2 < 60**2
    for share in (0.05, -0.05):
        radius = np.sqrt(shift_border(disk, share).sum() / np.pi)
        assert radius == pytest.approx(60 + share * 120, abs=0.6)
    dot = np.zeros((5, 5), bool)
    dot[2, 2] = True
    with pytest.raises(MelanomaError, match="found one of 1 pixels"):
        shift_border(dot, -0.05)


def test_a_change_that_is_shown_as_zero_is_no_change() -> None:
    change = Change("Maximum diameter", "mm", 5.65, 5.93, 4.9, (0.3, 9.8), "%")
    assert (change.text, change.conclusion) == ("+5 % (+0 to +10)", UNCERTAIN)
    assert Change("Area", "mm²", 178.1, 2.0, -8.0, (-9.0, -7.0), "%").values == ("178", "2.00")


SHIFT = "Largest outward shift of the border"
SIZES = {"Area", "Maximum diameter", "Border irregularity", SHIFT}


def in_round_view(one: MeasuredPhotograph, right: int = 0) -> MeasuredPhotograph:
    """The photograph with black around a round view, shifted to the right; the mask ends there."""
    rows, columns = np.indices(one.mask.shape)
    height, width = one.mask.shape
    view = (rows - height / 2) ** 2 + (columns - width / 2 - right) ** 2 < (0.486 * height) ** 2
    rgb = np.where(view[..., None], one.photograph.rgb, np.uint8(0))
    return MeasuredPhotograph(replace(one.photograph, rgb=rgb), one.mask & view)


def with_border(one: MeasuredPhotograph, share: float, seed: int) -> MeasuredPhotograph:
    """The mask as another reader draws it: with smooth noise of a share of the diameter, root mean square."""
    rng = np.random.default_rng(seed)
    waves = [(order, *rng.normal(size=2)) for order in range(2, 12)]

    def noise(angle: np.ndarray) -> np.ndarray:
        return sum(a * np.cos(order * angle) + b * np.sin(order * angle) for order, a, b in waves)

    rows, columns = np.indices(one.mask.shape)
    center = np.argwhere(one.mask).mean(axis=0)
    around = noise(np.arctan2(rows - center[0], columns - center[1])) / noise(np.linspace(0, 2 * np.pi, 720)).std()
    outward = ndimage.distance_transform_edt(~one.mask) - ndimage.distance_transform_edt(one.mask)
    return replace(one, mask=outward < around * share * np.sqrt(4 * one.mask.sum() / np.pi))


def grown_to_the_right(one: MeasuredPhotograph) -> MeasuredPhotograph:
    rows, columns = np.indices(SHAPE)
    right = np.flatnonzero(one.mask.any(axis=0))[-1]
    diameter = np.sqrt(4 * one.mask.sum() / np.pi)
    middle = np.flatnonzero(one.mask.any(axis=1)).mean()
    more = ((rows - middle) / (0.45 * diameter)) ** 2 + ((columns - right) / (0.5 * diameter)) ** 2 < 1
    rgb = one.photograph.rgb.copy()
    rgb[more & ~one.mask] = (0.5 * rgb[more & ~one.mask]).astype(np.uint8)
    return MeasuredPhotograph(replace(one.photograph, rgb=rgb), one.mask | more)


def with_another_lesion(one: MeasuredPhotograph, row: int, column: int) -> MeasuredPhotograph:
    """The same skin with another lesion, of which the mask is."""
    rows, columns = np.indices(SHAPE)
    other = ((rows - row) / 11) ** 2 + ((columns - column) / 14) ** 2 < 1
    rgb = one.photograph.rgb.copy()
    rgb[other] = (0.5 * rgb[other]).astype(np.uint8)
    return MeasuredPhotograph(replace(one.photograph, rgb=rgb), other)


@pytest.mark.slow
def test_a_lesion_clipped_by_a_round_view_is_compared_by_color_only() -> None:
    # If the view is shifted by a fifth, common features remain in two quarters only, and the comparison is refused.
    shifted = in_round_view(phantom(0.5, shape=WIDE), right=-WIDE[1] // 6)
    found = compare_photographs(in_round_view(phantom(shape=WIDE)), shifted)
    assert SIZES.isdisjoint(one.label for one in found.changes)
    assert "not in view as a whole" in found.cautions[0]


@pytest.mark.slow
def test_a_lesion_inside_of_the_round_view_is_measured_also_with_a_black_hair() -> None:
    hairy = in_round_view(phantom(0.5))
    hairy.photograph.rgb[SHAPE[0] // 2 - 1 : SHAPE[0] // 2 + 1, : SHAPE[1] // 2] = 0
    found = compare_photographs(in_round_view(phantom()), hairy)
    assert {one.label for one in found.changes} >= SIZES
    assert not found.cautions


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.slow
def test_a_black_bar_inside_of_the_view_is_no_skin(which: int) -> None:
    marked = phantom()
    marked = replace(marked, photograph=replace(marked.photograph, rgb=marked.photograph.rgb.copy()))
    bottom = int(np.flatnonzero(marked.mask.any(axis=1))[-1])
    marked.photograph.rgb[bottom + 6 : bottom + 22, 56:136] = 0
    found = compare_photographs(*((marked, phantom()) if which == 0 else (phantom(), marked)))
    pictures = found.pictures  # the second in the light of the first
    usable = pictures.usable
    assert pictures.second[usable].mean() == pytest.approx(pictures.first[usable].mean(), rel=0.005)
    assert change_of(found, "Contrast to the skin").change == pytest.approx(0, abs=0.1)


@pytest.mark.slow
def test_growth_beyond_the_first_photograph_is_measured() -> None:
    first, grown = phantom(), grown_to_the_right(phantom())
    width = np.flatnonzero(first.mask.any(axis=0))[-1] + 6
    cut = replace(first.photograph, rgb=np.ascontiguousarray(first.photograph.rgb[:, :width]))
    whole = compare_photographs(first, grown)
    found = compare_photographs(MeasuredPhotograph(cut, first.mask[:, :width]), grown)
    assert change_of(whole, SHIFT).change > 2.4
    assert change_of(found, SHIFT).change == pytest.approx(change_of(whole, SHIFT).change, abs=0.05)
    assert found.pictures.second_mask.sum() == pytest.approx(whole.pictures.second_mask.sum(), rel=0.02)


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_two_readers_are_no_shift_of_the_border(seed: int) -> None:
    """The largest of many random shifts is never 0."""
    found = compare_photographs(with_border(phantom(), 0.02, seed), with_border(phantom(), 0.02, seed + 1))
    assert change_of(found, SHIFT).conclusion == UNCERTAIN


@pytest.mark.slow
def test_the_same_photograph_has_no_shift_and_a_smaller_lesion_one_inward() -> None:
    assert change_of(compare_photographs(phantom(), phantom()), SHIFT).change == 0
    shift = change_of(compare_photographs(phantom(), phantom(-0.4)), SHIFT)
    assert shift.change == pytest.approx(2.5 * (0.6**0.5 - 1), abs=0.25)
    assert shift.conclusion == "inward"


@pytest.mark.slow
def test_another_lesion_on_the_same_skin_is_refused_or_named() -> None:
    first = phantom()
    with pytest.raises(MelanomaError, match="the masks show different lesions"):
        compare_photographs(first, with_another_lesion(first, 32, 32))
    adjacent = np.flatnonzero(first.mask.any(axis=0))[0] - 9
    found = compare_photographs(first, with_another_lesion(first, SHAPE[0] // 2, adjacent))
    assert "Do they show the same lesion?" in found.cautions[0]


@pytest.mark.slow
def test_another_lesion_outside_of_the_first_photograph_is_refused() -> None:
    other = with_another_lesion(phantom(), 32, 32)
    cut = np.ascontiguousarray(other.photograph.rgb[50:])
    first = MeasuredPhotograph(replace(other.photograph, rgb=cut), phantom().mask[50:])
    with pytest.raises(MelanomaError, match="the masks show different lesions"):
        compare_photographs(first, other)


@pytest.mark.parametrize("factor", [0.3, 3.2])
def test_scales_that_are_certainly_wrong_are_refused(factor: float) -> None:
    um = phantom().photograph.pixel_size.x_um / factor
    wrong = replace(phantom(), photograph=replace(phantom().photograph, pixel_size=PixelSize(um, um, "given")))
    with pytest.raises(MelanomaError, match="Correct the scales"):
        compare_photographs(phantom(), wrong)


def test_no_size_decreases_by_more_than_all_of_it() -> None:
    small = changes._Variants({"length": 9.0}, {"length": 1.0}, ((({"length": 1.0}, {"length": 0.0}),),), ())
    assert small.relative("Length", "length", "", wide_frame(), 1).interval[0] == -100


def wide_frame() -> changes._Frame:
    still = (np.eye(3), np.eye(3))
    return changes._Frame(
        (1, 1), 1.0, still, 1.0, magnification_error=2.2, disagreement=0.0, position_error=0.0, is_scaled=True
    )


def test_large_photographs_are_reduced_before_they_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "FRAME_PX", SHAPE[1])
    sides: list[int] = []
    to_lab = changes.to_lab
    monkeypatch.setattr(changes, "to_lab", lambda rgb: (sides.append(max(rgb.shape)), to_lab(rgb))[1])
    first, grown = enlarged(phantom(), 2), enlarged(phantom(0.5), 2)
    area = change_of(compare_photographs(first, grown), "Area")
    assert SHAPE[1] <= max(sides) < 2 * SHAPE[1]
    assert area.change == pytest.approx(50, abs=2)
    plain = change_of(compare_photographs(without_scale(first), without_scale(phantom(0.5))), "Area")
    assert plain.change == pytest.approx(50, abs=2.5)


def enlarged(one: MeasuredPhotograph, factor: int) -> MeasuredPhotograph:
    um = one.photograph.pixel_size.x_um / factor
    rgb, mask = (values.repeat(factor, axis=0).repeat(factor, axis=1) for values in (one.photograph.rgb, one.mask))
    return MeasuredPhotograph(replace(one.photograph, rgb=rgb, pixel_size=PixelSize(um, um, "phantom")), mask)


class StopAfter(RunContext):
    """Stops at a check."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if not self.left:
            self.cancel()
        super().check()


@pytest.mark.parametrize("checks", [1, 2, 4, 8])
def test_a_stop_ends_the_comparison_at_any_step(checks: int) -> None:
    run = StopAfter(checks)
    with pytest.raises(Cancelled):
        compare_photographs(phantom(), phantom(0.5), run)
    assert run.left == 0
