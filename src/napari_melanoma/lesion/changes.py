"""Changes of a lesion between two photographs: registration, and changes of size, border and color with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.color import scale_channels, to_lab
from napari_melanoma.imaging.masks import bounding_box, grow_box
from napari_melanoma.imaging.measurements import color_measurements, measure_lesion
from napari_melanoma.imaging.registration import FeatureImage, register_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.imaging.registration import Registration
    from napari_melanoma.io.photographs import Photograph

BORDER_SHIFT = 0.02  # of the equivalent diameter: how far the border of a mask may be from that of the lesion
MIN_SHIFT_PX = 1.0
MIN_QUARTERS = 3  # around the lesion with common features: a ruler, which may be beside any lesion, is in one or two
VISIBLE_COLOR = 2.3  # CIE 1976: smaller differences are not noticed (Mahy et al. 1994)
SCALE_DISAGREEMENT = 0.05  # between two scales and the registration, from which users are warned
STANDARD_ERRORS = 2.0  # of the registration, in an interval
FRAME_PX = 1024  # longer side of the registered pictures
RING = (0.05, 0.4)  # skin around the lesions, in equivalent diameters
BLACK = 20  # brightest channel of pixels around the view of a dermatoscope
MIN_QUARTER_PX = 50  # pixels of skin in a quarter of the ring
PERIMETER_ERROR = 0.02  # of a perimeter that is counted on pixels, depending on its direction
UNCERTAIN = "no clear change"
LARGEST = 95  # percentile of the distances of the border
UNKNOWN_SCALE = PixelSize(1000.0, 1000.0)  # lengths are in pixels


@dataclass(frozen=True)
class MeasuredPhotograph:
    """A photograph with the mask of its lesion, bool (row, column)."""

    photograph: Photograph
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    """The change of one measurement, with its interval.

    ``before``, ``after``: the values in ``unit``; None if they have no absolute value. ``change`` and ``interval`` are
    in ``change_unit``, which is ``%`` of the value before for sizes.
    """

    label: str
    unit: str
    before: float | None
    after: float | None
    change: float
    interval: tuple[float, float]
    change_unit: str

    @property
    def is_certain(self) -> bool:
        """Whether the interval excludes no change, with the digits that are shown."""
        low, high = (round(one, self._digits) for one in self.interval)
        return low > 0 or high < 0

    @property
    def text(self) -> str:
        """The change with its interval, such as ``+48 % (+37 to +60)``."""
        digits = self._digits
        value, low, high = (f"{round(one, digits) + 0.0:+.{digits}f}" for one in (self.change, *self.interval))
        return f"{value} {self.change_unit}".rstrip() + f" ({low} to {high})"

    @property
    def conclusion(self) -> str:
        """The direction of the change; without one if the interval includes no change."""
        if not self.is_certain:
            return UNCERTAIN
        return "increased" if self.change > 0 else "decreased"

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
    """Both photographs in the view of the first one, with square pixels.

    ``first``, ``second``: uint8 (row, column, channel=3), the second with the light of the first one. ``first_mask``,
    ``second_mask``: bool (row, column). ``covered``: bool (row, column), where the second photograph is.
    ``pixel_size``: None without a scale.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    first_mask: NDArray[np.bool_]
    second_mask: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    pixel_size: PixelSize | None

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Where both photographs show skin, and not the black around the view of a dermatoscope."""
        return self.covered & (self.first.max(axis=2) >= BLACK) & (self.second.max(axis=2) >= BLACK)


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


def compare_photographs(first: MeasuredPhotograph, second: MeasuredPhotograph) -> LesionChanges:
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

    They are no confidence intervals: how often they contain the true change depends on the masks. Pressure of the
    dermatoscope, stretched skin and focus are not included.

    Raises InputError for photographs of different modalities and empty masks, and MelanomaError if the photographs have
    too few features in common.
    """
    _check(first, second)
    registration = _register(first, second)
    frame = _Frame.of(first, second, registration)
    pictures = frame.draw(first, second)
    gains = _find_gains(pictures)
    cautions = [_caution_of(one, name) for one, name in ((first, "first"), (second, "second"))]
    sizes = _is_inside(first.mask) and _is_inside(second.mask)
    if not sizes:
        cautions.append("The lesion is not in view as a whole in both photographs: sizes and borders are not compared.")
    if abs(frame.disagreement) > SCALE_DISAGREEMENT:
        cautions.append(
            f"The scales of the photographs differ from their registration by {100 * abs(frame.disagreement):.0f} %. "
            "Please check both."
        )
    if not gains:
        cautions.append("There is too little skin around the lesion in both photographs: colors are not compared.")
    changes = tuple(_list_changes(first, second, frame, pictures, gains, sizes=sizes))
    if gains:
        pictures = replace(pictures, second=scale_channels(pictures.second, gains[0]))
    return LesionChanges(changes, pictures, registration, tuple(filter(None, cautions)), frame.is_scaled)


def _check(first: MeasuredPhotograph, second: MeasuredPhotograph) -> None:
    """Raise for photographs that cannot be compared."""
    kinds = (first.photograph.modality, second.photograph.modality)
    if all(kinds) and kinds[0] != kinds[1]:
        raise InputError(
            f"expected two photographs of the same modality, found {kinds[0]} and {kinds[1]}, whose sizes and colors "
            "differ without any change of the lesion. Select two photographs of one modality."
        )
    for one, name in ((first, "first"), (second, "second")):
        if one.mask.shape != one.photograph.rgb.shape[:2]:
            raise InputError(
                f"the mask of the {name} photograph has {one.mask.shape} pixels, the photograph "
                f"{one.photograph.rgb.shape[:2]}. Segment it again."
            )
        if not one.mask.any():
            raise InputError(f"the mask of the {name} photograph contains no lesion. Draw or segment it first.")


def _caution_of(one: MeasuredPhotograph, name: str) -> str:
    damage = one.photograph.damage
    return f"The {name} photograph is damaged: {damage}. The comparison may be wrong." if damage else ""


def _is_inside(mask: NDArray[np.bool_]) -> bool:
    """Whether a lesion does not reach the edge of its photograph."""
    return not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _is_scaled(first: MeasuredPhotograph, second: MeasuredPhotograph) -> bool:
    return first.photograph.pixel_size is not None and second.photograph.pixel_size is not None


def _register(first: MeasuredPhotograph, second: MeasuredPhotograph) -> Registration:
    """Register by the skin, whose features do not grow with the lesion; else, with a scale, by all features."""
    images = []
    for one in (first, second):
        lightness = to_lab(one.photograph.rgb)[..., 0] / 100
        images.append(FeatureImage(lightness, _spacing(one), one.mask))
    try:
        return _check_features(register_features(*images), first)
    except MelanomaError as error:
        if not _is_scaled(first, second):
            raise MelanomaError(
                f"the photographs cannot be registered by the skin around the lesion: {error} Without a scale of both, "
                "growth cannot be distinguished from magnification. Set the scales, or select other photographs."
            ) from error
    try:
        whole = [replace(one, excluded=None) for one in images]
        return _check_features(register_features(*whole, with_scale=False), first)
    except MelanomaError as error:
        raise MelanomaError(
            f"the photographs cannot be registered: {error} Do they show the same lesion? Select other photographs."
        ) from error


def _check_features(found: Registration, first: MeasuredPhotograph) -> Registration:
    """Return a registration whose features are around the lesion; raise if they are on one side of it."""
    center = (np.argwhere(first.mask).mean(axis=0) + 0.5) * _spacing(first)
    quarters = {(row > 0, column > 0) for row, column in found.points - center}
    if len(quarters) < MIN_QUARTERS:
        raise MelanomaError(
            f"expected common features in at least {MIN_QUARTERS} of the 4 quarters around the lesion, found them in "
            f"{len(quarters)}. A ruler in both photographs is not enough: skin must be visible around the lesion."
        )
    return found


def _spacing(one: MeasuredPhotograph) -> tuple[float, float]:
    """Height and width of a pixel in mm, or in pixels without a scale."""
    size = one.photograph.pixel_size or UNKNOWN_SCALE
    return size.mm


@dataclass(frozen=True)
class _Frame:
    """The view of the first photograph in square pixels, and where the second one is in it.

    ``step``: side of a pixel, in mm or pixels of the first photograph. ``matrices``: from pixels of each photograph to
    pixels of the frame. ``magnification``: of the second photograph, in the units of both; 1 if both have a scale, and
    ``uncertainty`` is that of it. ``disagreement``: of the scales with the registration. ``error``: of positions.
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
    def of(cls, first: MeasuredPhotograph, second: MeasuredPhotograph, found: Registration) -> _Frame:
        """Create the frame of two photographs that are registered."""
        spacing = _spacing(first)
        extent = np.multiply(first.mask.shape, spacing)
        step = max(float(extent.max()) / FRAME_PX, *spacing)
        rows, columns = (max(1, round(float(one) / step)) for one in extent)
        to_frame = _scaling((1 / step, 1 / step))
        matrices = (to_frame @ _scaling(spacing), to_frame @ found.matrix @ _scaling(_spacing(second)))
        is_scaled = _is_scaled(first, second)
        disagreement = found.scale - 1 if is_scaled else 0.0
        uncertainty = max(STANDARD_ERRORS * found.scale_error, abs(disagreement))
        magnification = 1.0 if is_scaled else found.scale
        error = STANDARD_ERRORS * (found.error or 0.0)
        return cls((rows, columns), step, matrices, magnification, uncertainty, disagreement, error, is_scaled)

    def draw(self, first: MeasuredPhotograph, second: MeasuredPhotograph) -> RegisteredPictures:
        """Draw both photographs and masks in the frame."""
        drawn = [
            np.stack([self._warp(one.photograph.rgb[..., channel], matrix) for channel in range(3)], axis=-1)
            for one, matrix in zip((first, second), self.matrices, strict=True)
        ]
        masks = [
            np.nan_to_num(self._warp(one.mask, matrix)) > 0.5
            for one, matrix in zip((first, second), self.matrices, strict=True)
        ]
        before, after = (np.rint(np.nan_to_num(one)).clip(0, 255).astype(np.uint8) for one in drawn)
        um = 1000 * self.step
        size = None if first.photograph.pixel_size is None else PixelSize(um, um, first.photograph.pixel_size.source)
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


def _scaling(factors: tuple[float, float]) -> NDArray[np.float64]:
    return np.diag([*factors, 1.0])


def _find_gains(pictures: RegisteredPictures) -> list[NDArray[np.float64]]:
    """Find the factors of the channels that give the second photograph the light of the first one.

    From all skin around the lesion that both show, then from each of its quarters; empty if there is too little.
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
    *,
    sizes: bool,
) -> Iterator[Change]:
    """Yield the changes of size, border and color."""
    if sizes:
        measured = _Variants.of(_measure_size, (first, first.mask), (second, second.mask))
        unit, area_unit = ("mm", "mm²") if frame.is_scaled else ("", "")
        yield measured.relative("Area", "area_mm2", area_unit, frame, 2)
        yield measured.relative("Maximum diameter", "max_diameter_mm", unit, frame, 1)
        yield measured.difference("Border irregularity", "border_irregularity", share=PERIMETER_ERROR)
        yield _border_shift(frame, pictures)
    if gains:
        yield from _color_changes(pictures, gains)


Values = Mapping[str, float]
Item = TypeVar("Item")


def _measure_size(one: MeasuredPhotograph, mask: NDArray[np.bool_]) -> Values:
    return measure_lesion(mask, None, one.photograph.pixel_size or UNKNOWN_SCALE)


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
    """Measurements of both photographs as they are, and of the variants that an interval includes.

    ``borders``: pairs with the border of one mask shifted outward and inward. ``lights``: pairs with the light of each
    quarter.
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
            change(self.before, self.after, frame.magnification * (1 + sign * frame.uncertainty)) for sign in (1, -1)
        ]
        interval = _combine(value, [*self._shifted(change), scales])
        before, after = (self.before[name], self.after[name]) if frame.is_scaled else (None, None)
        return Change(label, unit, before, after, value, interval, "%")

    def difference(self, label: str, name: str, least: float = 0.0, share: float = 0.0) -> Change:
        """Return the change of a value without a unit.

        ``least``: that the interval includes on each side. ``share``: error of both values.
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

    ``mask``: bool (row, column), not empty. A lesion that would vanish stays as it is.
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
    return shifted if shifted.any() else mask


def _combine(value: float, groups: list[list[float]]) -> tuple[float, float]:
    """Return the interval around a value from the results of variants: the root sum of squares on each side."""
    below = sum(max([0.0, *(value - one for one in group)]) ** 2 for group in groups)
    above = sum(max([0.0, *(one - value for one in group)]) ** 2 for group in groups)
    return value - math.sqrt(below), value + math.sqrt(above)


def _border_shift(frame: _Frame, pictures: RegisteredPictures) -> Change:
    """Return how far the border has moved outward where it has moved most."""
    from scipy import ndimage

    after = pictures.second_mask
    outside, inside = (ndimage.distance_transform_edt(one) for one in (~pictures.first_mask, pictures.first_mask))
    border = after & ~ndimage.binary_erosion(after, border_value=1)
    distances = (outside - inside)[border] * frame.step
    largest = float(np.percentile(distances, LARGEST)) + frame.step
    diameters = [frame.step * math.sqrt(4 * int(one.sum()) / math.pi) for one in (pictures.first_mask, after)]
    parts = [max(BORDER_SHIFT * one, MIN_SHIFT_PX * frame.step) for one in diameters]
    margin = math.hypot(*parts, frame.error, frame.uncertainty * diameters[1] / 2)
    factor, unit = (1.0, "mm") if frame.is_scaled else (100 / diameters[0], "% of the diameter")
    interval = (factor * (largest - margin), factor * (largest + margin))
    return Change("Largest outward shift of the border", "", None, None, factor * largest, interval, unit)
