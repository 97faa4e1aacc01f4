"""Changes of a lesion between two photographs: registration, and changes of size, border and color with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_melanoma.core.context import NULL_CONTEXT
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.color import BLACK, black_around_view, find_view, scale_channels, to_lab
from napari_melanoma.imaging.masks import bounding_box, grow_box
from napari_melanoma.imaging.measurements import color_measurements, measure_lesion
from napari_melanoma.imaging.registration import FeatureImage, register_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.imaging.registration import Registration
    from napari_melanoma.io.photographs import Photograph

BORDER_SHIFT = 0.02  # assumed error of the border of a mask, as a share of the equivalent diameter
MIN_SHIFT_PX = 1.0
MIN_QUARTERS = 3  # around the lesion with common features; those of a ruler, beside any lesion, are in one or two
VISIBLE_COLOR = 2.3  # least visible color difference, CIE 1976 (Mahy et al. 1994)
SCALE_DISAGREEMENT = 0.05  # between two scales and the registration, from which users are warned
MAX_DISAGREEMENT = 0.5  # from which one of the scales is certainly wrong
MIN_OVERLAP = 0.2  # of the smaller mask, below which users are warned
# Widths of the Gaussian filters whose difference is the texture of skin, in the registered pictures.
TEXTURE_PX = (2, 8)
# Share of the skin with the same texture, 0.5 by chance. Phantoms of the same skin, also with blur, noise and JPEG:
# 0.70 to 0.95; of other skin with the same reticle: 0.53 to 0.57, with rings all over the view 0.61 and 0.67.
MIN_AGREEMENT = 0.65
MIN_SKIN_PX = 5000  # below which this share would be uncertain
EDGE_PX = 2  # distance from the edge of the view, in a reduced photograph, at which a lesion may extend beyond it
STANDARD_ERRORS = 2.0  # of the registration, in an interval
FRAME_PX = 1024  # longer side of the registered pictures; photographs are reduced to less than twice this size
RING = (0.05, 0.4)  # skin around the lesions, in equivalent diameters
MIN_QUARTER_PX = 50  # pixels of skin in a quarter of the ring
PERIMETER_ERROR = 0.02  # of a perimeter on pixels, depending on the direction of the border
UNCERTAIN = "no clear change"
LARGEST = 95  # percentile of the distances of the border
UNKNOWN_SCALE = PixelSize(1000.0, 1000.0)  # with it, lengths in mm are lengths in pixels
INTERVALS = (
    f"Intervals: the change if the border of each contour is {100 * BORDER_SHIFT:.0f} % of the lesion's diameter "
    "outside or inside of where it is drawn, with the uncertainty of the registration, of the scales and of the light. "
    "They are no confidence intervals. There is no clear change where the interval includes 0. A shift of the border "
    "alone is no evidence of growth: it is clear only if the area or the diameter changes as well."
)
RELATIVE = "The photographs do not both have a scale: sizes are relative to the first one, after registration."


@dataclass(frozen=True)
class MeasuredPhotograph:
    """A photograph with the mask of its lesion, bool (row, column)."""

    photograph: Photograph
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    """The change of one measurement, with its interval.

    ``before``, ``after``: the values in ``unit``; None if they have no absolute value. ``change`` and ``interval`` are
    in ``change_unit``, which is ``%`` of the value before for sizes. ``directions``: the conclusions for positive and
    negative changes. ``is_supported``: False if the change is evidence only together with another one, which is not
    clear, or if the photographs may show different lesions.
    """

    label: str
    unit: str
    before: float | None
    after: float | None
    change: float
    interval: tuple[float, float]
    change_unit: str
    directions: tuple[str, str] = ("increased", "decreased")
    is_supported: bool = True

    @property
    def is_certain(self) -> bool:
        """Whether the interval excludes 0, with the digits that are shown."""
        low, high = (round(one, self._digits) for one in self.interval)
        return self.is_supported and (low > 0 or high < 0)

    @property
    def text(self) -> str:
        """The change with its interval, such as ``+48 % (+37 to +60)``."""
        digits = self._digits
        value, low, high = (f"{round(one, digits) + 0.0:+.{digits}f}" for one in (self.change, *self.interval))
        return f"{value} {self.change_unit}".rstrip() + f" ({low} to {high})"

    @property
    def conclusion(self) -> str:
        """The direction of the change, or that there is no clear change."""
        return self.directions[self.change < 0] if self.is_certain else UNCERTAIN

    @property
    def title(self) -> str:
        """The label with the unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def values(self) -> tuple[str, str]:
        """The values before and after with three digits; dashes if they have no absolute value."""
        before, after = ("–" if one is None else f"{one:#.3g}".rstrip(".") for one in (self.before, self.after))
        return before, after

    @property
    def _digits(self) -> int:
        return 0 if self.change_unit.startswith("%") else 2


@dataclass(frozen=True, eq=False)
class RegisteredPictures:
    """Both photographs in the view of the first one, extended by the lesion of the second one, with square pixels.

    ``first``, ``second``: uint8 (row, column, channel=3), the second with the light of the first one. ``first_mask``,
    ``second_mask``: bool (row, column). ``covered``: bool (row, column), the area of the second photograph.
    ``pixel_size``: None without a scale.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    first_mask: NDArray[np.bool_]
    second_mask: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    pixel_size: PixelSize | None

    @cached_property
    def in_view(self) -> NDArray[np.bool_]:
        """The area that both photographs show, without the black around a dermatoscope's view; bool (row, column)."""
        return self.covered & find_view(self.first, self.first_mask) & find_view(self.second, self.second_mask)

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """The area that may be skin in both photographs, also without black in the view, such as ink or a ruler."""
        return self.in_view & (self.first.max(axis=2) >= BLACK) & (self.second.max(axis=2) >= BLACK)


@dataclass(frozen=True, eq=False)
class LesionChanges:
    """The changes of a lesion, its photographs in registration, and cautions as sentences.

    ``is_scaled``: whether sizes are in mm.
    """

    changes: tuple[Change, ...]
    pictures: RegisteredPictures
    registration: Registration
    cautions: tuple[str, ...]
    is_scaled: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on the meaning of intervals and sizes."""
        return (INTERVALS,) if self.is_scaled else (INTERVALS, RELATIVE)


def compare_photographs(
    first: MeasuredPhotograph, second: MeasuredPhotograph, run: RunContext = NULL_CONTEXT
) -> LesionChanges:
    """Compare two photographs of one lesion.

    The second photograph is registered to the first one by features of the skin around the lesion, with rotation, shift
    and magnification; if the skin has too few and both photographs have a scale, by all features, with rotation and
    shift. With a scale of both, sizes are in mm; otherwise they are relative to the first photograph, after
    registration. Colors are compared with the light of the second photograph scaled so that the skin around the lesion
    has the same mean color.

    The intervals combine, as root sum of squares, the changes of the result if

    - the border of either mask, independently, is 2 % of the equivalent diameter of the lesion (at least one pixel)
      outside or inside of where it is drawn;
    - the magnification is wrong by twice its standard error, or by the difference between the scales of the photographs
      and the registration, if this is larger; positions are wrong by twice the error of the registration;
    - the light on the lesion is that of any one quarter of the skin around it; differences of color below 2.3, which
      are not visible, are included in the interval as well;
    - each perimeter is wrong by 2 %, as counted on pixels.

    They are not confidence intervals: how often they contain the true change depends on the masks. The pressure of the
    dermatoscope, stretched skin and focus are not included.

    A shift of the border is called clear only if the area or the diameter changes as well: the largest of many shifts
    is never 0, as borders are never drawn twice in the same way. No change is called clear if the photographs may show
    different lesions: if the texture of the skin differs, or the masks overlap little.

    Raises MelanomaError for photographs of different modalities, empty masks, masks of different lesions, photographs
    with too few features in common, and scales that differ by half from the registration.
    """
    _check(first, second)
    is_scaled = first.photograph.pixel_size is not None and second.photograph.pixel_size is not None
    reduced = (_Reduced.of(first.photograph, first.mask), _Reduced.of(second.photograph, second.mask))
    run.check()
    registration = _register(*reduced, run, is_scaled=is_scaled)
    frame = _Frame.of(*reduced, registration, is_scaled=is_scaled)
    run.check()
    pictures = frame.draw(*reduced, first.photograph.pixel_size)
    doubts = [_check_overlap(pictures), _check_skin(pictures)]
    cautions = [_caution_of(one, name) for one, name in ((first, "first"), (second, "second"))]
    cautions += [*doubts, frame.caution]
    gains = _find_gains(pictures)
    sizes = all(_is_inside(one) for one in reduced)
    if not sizes:
        cautions.append("The lesion is not in view as a whole in both photographs: sizes and borders are not compared.")
    if not gains:
        cautions.append("There is too little skin around the lesion in both photographs: colors are not compared.")
    changes = tuple(_list_changes(first, second, frame, pictures, gains, run, sizes=sizes))
    if any(doubts):
        changes = tuple(replace(one, is_supported=False) for one in changes)
    if gains:
        pictures = replace(pictures, second=scale_channels(pictures.second, gains[0]))
    return LesionChanges(changes, pictures, registration, tuple(filter(None, cautions)), is_scaled)


def _check(first: MeasuredPhotograph, second: MeasuredPhotograph) -> None:
    """Raise for photographs that cannot be compared."""
    kinds = (first.photograph.modality, second.photograph.modality)
    if all(kinds) and kinds[0] != kinds[1]:
        raise MelanomaError(
            f"expected two photographs of the same modality, found {kinds[0]} and {kinds[1]}, whose sizes and colors "
            "differ without any change of the lesion. Select two photographs of one modality."
        )
    for one, name in ((first, "first"), (second, "second")):
        if one.mask.shape != one.photograph.rgb.shape[:2]:
            raise MelanomaError(
                f"the mask of the {name} photograph has {one.mask.shape} pixels, the photograph "
                f"{one.photograph.rgb.shape[:2]}. Segment it again."
            )
        if not one.mask.any():
            raise MelanomaError(f"the mask of the {name} photograph contains no lesion. Draw or segment it first.")


def _caution_of(one: MeasuredPhotograph, name: str) -> str:
    damage = one.photograph.damage
    return f"The {name} photograph is damaged: {damage}. The comparison may be wrong." if damage else ""


@dataclass(frozen=True, eq=False)
class _Reduced:
    """A photograph and its mask at about the resolution of the registered pictures.

    ``spacing``: height and width of a pixel in mm, or in pixels of the photograph if it has no scale.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    spacing: tuple[float, float]

    @classmethod
    def of(cls, photograph: Photograph, mask: NDArray[np.bool_]) -> _Reduced:
        """Average blocks of pixels, so that time and memory depend little on the size of the photograph."""
        from PIL import Image

        factor = max(1, max(mask.shape) // FRAME_PX)
        height, width = (photograph.pixel_size or UNKNOWN_SCALE).mm
        spacing = (factor * height, factor * width)
        if factor == 1:
            return cls(photograph.rgb, mask, spacing)
        rgb = np.array(Image.fromarray(np.ascontiguousarray(photograph.rgb)).reduce(factor))
        shares = np.array(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).reduce(factor))
        reduced = shares > 127
        return cls(rgb, reduced if reduced.any() else shares > 0, spacing)

    @property
    def features(self) -> FeatureImage:
        """The lightness of the skin, without the lesion."""
        return FeatureImage(to_lab(self.rgb)[..., 0] / 100, self.spacing, self.mask)


def _is_inside(one: _Reduced) -> bool:
    """Whether a lesion reaches neither the edge of its photograph nor the black around the view of a dermatoscope."""
    from scipy import ndimage

    near = ndimage.binary_dilation(np.pad(one.mask, EDGE_PX), iterations=EDGE_PX)
    return not (near & np.pad(black_around_view(one.rgb, one.mask), EDGE_PX, constant_values=True)).any()


def _check_overlap(pictures: RegisteredPictures) -> str:
    """Return a caution if the masks overlap little; raise if they do not overlap."""
    common = int((pictures.first_mask & pictures.second_mask).sum())
    if not common:
        raise MelanomaError(
            "the masks show different lesions: they do not overlap where the photographs are in registration. Please "
            "check both masks, or select other photographs."
        )
    share = common / min(int(one.sum()) for one in (pictures.first_mask, pictures.second_mask))
    if share >= MIN_OVERLAP:
        return ""
    return f"The masks have only {100 * share:.0f} % of the smaller one in common. Do they show the same lesion?"


def _register(first: _Reduced, second: _Reduced, run: RunContext, *, is_scaled: bool) -> Registration:
    """Register by features of the skin, which do not grow with the lesion; if too few, with scales, by all features."""
    images = (first.features, second.features)
    run.check()
    try:
        return _check_features(register_features(*images), first)
    except MelanomaError as error:
        if not is_scaled:
            raise MelanomaError(
                f"the photographs cannot be registered by the skin around the lesion: {error} Without a scale of both, "
                "growth cannot be distinguished from magnification. Set the scales, or select other photographs."
            ) from error
    run.check()
    try:
        whole = [one.without_exclusion() for one in images]
        return _check_features(register_features(*whole, with_scale=False), first)
    except MelanomaError as error:
        raise MelanomaError(
            f"the photographs cannot be registered: {error} Do they show the same lesion? Select other photographs."
        ) from error


def _check_features(found: Registration, first: _Reduced) -> Registration:
    """Return the registration; raise if its features are not around the lesion but on one side of it."""
    center = (np.argwhere(first.mask).mean(axis=0) + 0.5) * first.spacing
    quarters = {(row > 0, column > 0) for row, column in found.points - center}
    if len(quarters) < MIN_QUARTERS:
        raise MelanomaError(
            f"expected common features in at least {MIN_QUARTERS} of the 4 quarters around the lesion, found them in "
            f"{len(quarters)}. A ruler in both photographs is not enough: skin must be visible around the lesion."
        )
    return found


def _check_skin(pictures: RegisteredPictures) -> str:
    """Return a caution if the texture of the skin differs, which indicates that only marks were registered."""
    from scipy import ndimage

    skin = pictures.in_view & ~pictures.first_mask & ~pictures.second_mask
    inner = ndimage.binary_erosion(skin, iterations=TEXTURE_PX[1])
    if int(inner.sum()) < MIN_SKIN_PX:
        return ""
    first, second = (_find_lighter(one)[inner] for one in (pictures.first, pictures.second))
    share = float((first == second).mean())
    if share >= MIN_AGREEMENT:
        return ""
    return (
        f"The texture of the skin is the same in {100 * share:.0f} % of the view, which is hardly more than the 50 % "
        "expected by chance: marks in both photographs, such as a reticle, may have been registered instead. Do they "
        "show the same lesion?"
    )


def _find_lighter(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a picture is lighter than its surroundings, bool (row, column)."""
    from scipy import ndimage

    fine, coarse = (ndimage.gaussian_filter(rgb.mean(axis=2, dtype=np.float32), width) for width in TEXTURE_PX)
    lighter: NDArray[np.bool_] = fine > coarse
    return lighter


@dataclass(frozen=True)
class _Frame:
    """The view of the first photograph in square pixels, extended by the lesion of the second one.

    ``step``: side of a pixel, in mm or in pixels of the first photograph. ``matrices``: from pixels of each photograph
    to pixels of the frame. ``magnification``: that of the second photograph by the registration; 1 if both have a
    scale. ``uncertainty``: of the magnification, as a share. ``disagreement``: of the scales with the registration, as
    a share. ``error``: of positions.
    """

    shape: tuple[int, int]
    step: float
    matrices: tuple[NDArray[np.float64], NDArray[np.float64]]
    magnification: float
    uncertainty: float
    disagreement: float
    error: float
    is_scaled: bool

    @classmethod
    def of(cls, first: _Reduced, second: _Reduced, found: Registration, *, is_scaled: bool) -> _Frame:
        """Create the frame of two photographs that are registered."""
        low, high = _find_view(first, second, found)
        extent = high - low
        step = max(float(extent.max()) / FRAME_PX, *first.spacing)
        rows, columns = (max(1, round(float(one) / step)) for one in extent)
        to_frame = _scaling((1 / step, 1 / step))
        to_frame[:2, 2] = -low / step
        matrices = (to_frame @ _scaling(first.spacing), to_frame @ found.matrix @ _scaling(second.spacing))
        disagreement = found.scale - 1 if is_scaled else 0.0
        factor = max(found.scale, 1 / found.scale)
        if is_scaled and factor > 1 + MAX_DISAGREEMENT:
            raise MelanomaError(
                f"expected scales that fit the registration of the photographs, found that they differ by a factor of "
                f"{factor:.1f}. Correct the scales."
            )
        uncertainty = max(STANDARD_ERRORS * found.scale_error, abs(disagreement))
        magnification = 1.0 if is_scaled else found.scale
        error = STANDARD_ERRORS * (found.error or 0.0)
        return cls((rows, columns), step, matrices, magnification, uncertainty, disagreement, error, is_scaled)

    @property
    def caution(self) -> str:
        """A caution if the scales differ from the registration; empty if they agree."""
        if abs(self.disagreement) <= SCALE_DISAGREEMENT:
            return ""
        return (
            f"The scales of the photographs differ from their registration by {100 * abs(self.disagreement):.0f} %. "
            "Please check both."
        )

    @property
    def pixels(self) -> tuple[float, float]:
        """Side of the pixels of each photograph in the unit of ``step``, at least ``step``."""
        first, second = (math.sqrt(abs(float(np.linalg.det(one[:2, :2])))) for one in self.matrices)
        return self.step * max(1.0, first), self.step * max(1.0, second)

    def draw(self, first: _Reduced, second: _Reduced, given: PixelSize | None) -> RegisteredPictures:
        """Draw both photographs and masks in the frame; ``given``: the scale of the first photograph."""
        drawn = [
            np.stack([self._warp(one.rgb[..., channel], matrix) for channel in range(3)], axis=-1)
            for one, matrix in zip((first, second), self.matrices, strict=True)
        ]
        masks = [
            np.nan_to_num(self._warp(one.mask, matrix)) > 0.5
            for one, matrix in zip((first, second), self.matrices, strict=True)
        ]
        before, after = (np.rint(np.nan_to_num(one)).clip(0, 255).astype(np.uint8) for one in drawn)
        um = 1000 * self.step
        size = None if given is None else PixelSize(um, um, given.source)
        return RegisteredPictures(before, after, masks[0], masks[1], np.isfinite(drawn[1][..., 0]), size)

    def _warp(self, values: NDArray[np.generic], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """Warp pixels into the frame without aliasing; NaN outside of the photograph."""
        from scipy import ndimage

        back = np.linalg.inv(matrix)
        factors = np.sqrt((back[:2, :2] ** 2).sum(axis=1))  # pixels of the photograph for one of the frame
        smooth = ndimage.gaussian_filter(values.astype(np.float32), np.maximum(0.0, (factors - 1) / 2), mode="nearest")
        offset = back[:2, 2] + back[:2, :2].sum(axis=1) / 2 - 0.5  # from corners to centers of pixels
        warped: NDArray[np.float32] = ndimage.affine_transform(
            smooth, back[:2, :2], offset, self.shape, order=1, mode="constant", cval=np.nan
        )
        return warped


def _find_view(first: _Reduced, second: _Reduced, found: Registration) -> tuple[NDArray[np.float64], ...]:
    """Return the lowest and highest position of the first photograph and, with some skin, of the second lesion."""
    box = bounding_box(second.mask)
    assert box is not None, "masks are checked to contain a lesion"
    corners = [(row, column) for row in (box.top, box.top + box.height) for column in (box.left, box.left + box.width)]
    places = found.transform(np.multiply(corners, second.spacing))
    margin = RING[0] * np.ptp(places, axis=0).max()
    extent = np.multiply(first.mask.shape, first.spacing)
    return np.minimum(0.0, places.min(axis=0) - margin), np.maximum(extent, places.max(axis=0) + margin)


def _scaling(factors: tuple[float, float]) -> NDArray[np.float64]:
    return np.diag([*factors, 1.0])


def _find_gains(pictures: RegisteredPictures) -> list[NDArray[np.float64]]:
    """Find the factors of the channels that give the second photograph the light of the first one.

    The first factors are those of all skin around the lesion that both show, the others those of each of its quarters.
    Empty if there is too little skin.
    """
    from scipy import ndimage

    lesions = pictures.first_mask | pictures.second_mask
    diameter = math.sqrt(4 * int(pictures.first_mask.sum()) / math.pi)
    away = ndimage.distance_transform_edt(~lesions)
    ring = (away > RING[0] * diameter) & (away < RING[1] * diameter) & pictures.usable
    center = np.argwhere(lesions).mean(axis=0)
    rows, columns = np.indices(ring.shape, sparse=True)
    quarters = [
        ring & ((rows < center[0]) == upper) & ((columns < center[1]) == left)
        for upper in (True, False)
        for left in (True, False)
    ]
    usable = [one for one in quarters if int(one.sum()) >= MIN_QUARTER_PX]
    if len(usable) < 2:
        return []
    return [pictures.first[one].mean(axis=0) / pictures.second[one].mean(axis=0).clip(1.0) for one in (ring, *usable)]


def _list_changes(
    first: MeasuredPhotograph,
    second: MeasuredPhotograph,
    frame: _Frame,
    pictures: RegisteredPictures,
    gains: list[NDArray[np.float64]],
    run: RunContext,
    *,
    sizes: bool,
) -> Iterator[Change]:
    """Yield the changes of size, border and color."""

    def measure(one: MeasuredPhotograph, mask: NDArray[np.bool_]) -> Values:
        run.check()
        return measure_lesion(mask, None, one.photograph.pixel_size or UNKNOWN_SCALE)

    if sizes:
        measured = _Variants.of(measure, (first, first.mask), (second, second.mask))
        unit, area_unit = ("mm", "mm²") if frame.is_scaled else ("", "")
        area = measured.relative("Area", "area_mm2", area_unit, frame, 2)
        diameter = measured.relative("Maximum diameter", "max_diameter_mm", unit, frame, 1)
        yield from (area, diameter)
        yield measured.difference("Border irregularity", "border_irregularity", share=PERIMETER_ERROR)
        yield _border_shift(frame, pictures, (area, diameter))
    run.check()
    if gains:
        yield from _color_changes(pictures, gains)


Values = Mapping[str, float]
Item = TypeVar("Item")


def _color_changes(pictures: RegisteredPictures, gains: list[NDArray[np.float64]]) -> Iterator[Change]:
    """Yield the changes of color, measured on the registered pictures; nothing if one shows no skin."""

    def measure(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Values:
        return color_measurements(mask, rgb, pictures.usable)

    lit = [scale_channels(pictures.second, one) for one in gains]
    measured = _Variants.of(
        measure, (pictures.first, pictures.first_mask), (lit[0], pictures.second_mask), others=lit[1:]
    )
    for label, name in (("Contrast to the skin", "color_difference"), ("Variation of lightness", "color_std_l")):
        change = measured.difference(label, name, VISIBLE_COLOR)
        if math.isfinite(change.change) and all(map(math.isfinite, change.interval)):
            yield change


@dataclass(frozen=True)
class _Variants:
    """Measurements of both photographs, and of variants of them that determine an interval.

    ``borders``: for each mask, pairs (before, after) with its border shifted outward and inward. ``lights``: pairs with
    the light of each quarter.
    """

    before: Values
    after: Values
    borders: tuple[tuple[tuple[Values, Values], ...], ...]
    lights: tuple[tuple[Values, Values], ...]

    @classmethod
    def of(
        cls,
        measure: Callable[[Item, NDArray[np.bool_]], Values],
        first: tuple[Item, NDArray[np.bool_]],
        second: tuple[Item, NDArray[np.bool_]],
        others: Sequence[Item] = (),
    ) -> _Variants:
        """Measure two photographs with their masks, and all variants; ``others``: the second one in other light."""
        before, after = measure(*first), measure(*second)
        shifts = (BORDER_SHIFT, -BORDER_SHIFT)
        borders = (
            tuple((measure(first[0], shift_border(first[1], shift)), after) for shift in shifts),
            tuple((before, measure(second[0], shift_border(second[1], shift))) for shift in shifts),
        )
        return cls(before, after, borders, tuple((before, measure(one, second[1])) for one in others))

    def relative(self, label: str, name: str, unit: str, frame: _Frame, power: int) -> Change:
        """Return the relative change of a length (``power`` 1) or an area (2), in percent."""

        def change(before: Values, after: Values, magnification: float = frame.magnification) -> float:
            return 100 * (magnification**power * after[name] / before[name] - 1)

        value = change(self.before, self.after)
        scales = [
            change(self.before, self.after, frame.magnification * max(0.0, 1 + sign * frame.uncertainty))
            for sign in (1, -1)
        ]
        low, high = _combine(value, [*self._shifted(change), scales])
        before, after = (self.before[name], self.after[name]) if frame.is_scaled else (None, None)
        return Change(label, unit, before, after, value, (max(-100.0, low), high), "%")

    def difference(self, label: str, name: str, least: float = 0.0, share: float = 0.0) -> Change:
        """Return the change of a value without a unit.

        ``least``: least extent of the interval on each side. ``share``: error of each value, as a share of it.
        """

        def change(before: Values, after: Values) -> float:
            return after[name] - before[name]

        value = change(self.before, self.after)
        lights = [change(*pair) for pair in self.lights]
        errors = [least, share * self.before[name], share * self.after[name]]
        fixed = [[value - one, value + one] for one in errors]
        interval = _combine(value, [*self._shifted(change), lights, *fixed])
        return Change(label, "", self.before[name], self.after[name], value, interval, "")

    def _shifted(self, change: Callable[[Values, Values], float]) -> list[list[float]]:
        return [[change(*pair) for pair in pairs] for pairs in self.borders]


def shift_border(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Move the border outward by a share of the equivalent diameter, at least one pixel; inward if it is negative.

    ``mask``: bool (row, column), not empty. Raises MelanomaError if nothing of the lesion would be left.
    """
    from scipy import ndimage

    distance = max(MIN_SHIFT_PX, abs(share) * math.sqrt(4 * int(mask.sum()) / math.pi))
    box = bounding_box(mask)
    assert box is not None, "the caller shifts masks that are not empty"
    view = grow_box(box, math.ceil(distance) + 1, (mask.shape[0], mask.shape[1])).slices
    part, shifted = mask[view], mask.copy()
    if share > 0:
        shifted[view] = ndimage.distance_transform_edt(~part) <= distance
        return shifted
    shifted[view] = ndimage.distance_transform_edt(part) > distance
    if not shifted.any():
        raise MelanomaError(
            f"expected a lesion of some pixels in each direction, found one of {int(mask.sum())} pixels, which is not "
            "known well enough to be compared. Select photographs that were taken from nearer."
        )
    return shifted


def _combine(value: float, groups: list[list[float]]) -> tuple[float, float]:
    """Return the interval around a value from the results of variants: the root sum of squares on each side."""
    below = sum(max([0.0, *(value - one for one in group)]) ** 2 for group in groups)
    above = sum(max([0.0, *(one - value for one in group)]) ** 2 for group in groups)
    return value - math.sqrt(below), value + math.sqrt(above)


def _border_shift(frame: _Frame, pictures: RegisteredPictures, sizes: tuple[Change, ...]) -> Change:
    """Return how far the border has moved outward where it has moved most; ``sizes``: changes that support it."""
    from scipy import ndimage

    after = pictures.second_mask
    outside, inside = (ndimage.distance_transform_edt(one) for one in (~pictures.first_mask, pictures.first_mask))
    border = after & ~ndimage.binary_erosion(after)
    distances = (outside - inside + (inside > 0))[border]  # 0 on the outermost pixels of the first lesion
    largest = float(np.percentile(distances, LARGEST)) * frame.step
    diameters = [frame.step * math.sqrt(4 * int(one.sum()) / math.pi) for one in (pictures.first_mask, after)]
    parts = [max(BORDER_SHIFT * one, MIN_SHIFT_PX * px) for one, px in zip(diameters, frame.pixels, strict=True)]
    # The largest shift is where both borders are off in opposite directions: their parts add up.
    margin = math.hypot(sum(parts), frame.error, frame.uncertainty * diameters[1] / 2)
    factor, unit = (1.0, "mm") if frame.is_scaled else (100 / diameters[0], "% of the diameter")
    return Change(
        label="Largest outward shift of the border",
        unit="",
        before=None,
        after=None,
        change=factor * largest,
        interval=(factor * (largest - margin), factor * (largest + margin)),
        change_unit=unit,
        directions=("outward", "inward"),
        is_supported=any(one.is_certain and one.change * largest > 0 for one in sizes),
    )
