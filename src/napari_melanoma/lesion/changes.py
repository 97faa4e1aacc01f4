"""Changes of a lesion between two photographs: registration, and changes of size, border and color with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.color import BLACK, black_around_view, find_view, scale_channels, to_lab
from napari_melanoma.imaging.masks import bounding_box, grow_box
from napari_melanoma.imaging.measurements import color_measurements, measure_lesion
from napari_melanoma.imaging.registration import FeatureImage, Registration, register_features
from napari_melanoma.io.photographs import Photograph

BORDER_SHIFT = 0.02  # assumed error of the border of a mask, as a share of the equivalent diameter
MIN_SHIFT_PX = 1.0  # smallest assumed error of the border
MIN_QUARTERS = 3  # quarters around the lesion with common features; those of a ruler beside it are in one or two
VISIBLE_COLOR = 2.3  # least visible color difference, CIE 1976 (Mahy et al. 1994)
SCALE_DISAGREEMENT = 0.05  # difference between the scales and the registration above which users are warned, as a share
MAX_DISAGREEMENT = 0.5  # difference above which one of the scales is certainly wrong
MIN_OVERLAP = 0.2  # share of the smaller mask in the other one, below which users are warned
# Standard deviations of the two Gaussian filters whose difference shows the texture of skin in registered pictures.
TEXTURE_PX = (2, 8)
# Least share of the skin with the same texture in both pictures; 0.5 is expected by chance. In phantoms it was 0.70 to
# 0.95 for the same skin, also with blur, noise and JPEG; 0.53 to 0.57 for other skin with the same reticle; 0.61 and
# 0.67 for other skin with rings all over the view.
MIN_AGREEMENT = 0.65
MIN_SKIN_PX = 5000  # with fewer pixels of skin, this share is too uncertain
EDGE_PX = 2  # distance from the edge of the view, in a reduced photograph, at which a lesion may extend beyond it
STANDARD_ERRORS = 2.0  # half the width of an interval, in standard errors of the registration
FRAME_PX = 1024  # longer side of the registered pictures; photographs are reduced to less than twice this size
RING = (0.05, 0.4)  # distances from the lesions between which skin is compared, in equivalent diameters
MIN_QUARTER_PX = 50  # pixels of skin in a quarter of the ring
PERIMETER_ERROR = 0.02  # relative error of a perimeter counted on pixels, which depends on the border's direction
UNCERTAIN = "no clear change"
LARGEST = 95  # percentile of the shifts of the border that is reported as the largest one
UNKNOWN_SCALE = PixelSize(1000.0, 1000.0)  # with 1 mm per pixel, lengths in mm are lengths in pixels
INTERVALS = (
    f"Intervals: the change if the border of each contour is {100 * BORDER_SHIFT:.0f} % of the lesion's diameter "
    "outside or inside of where it is drawn, with the uncertainty of the registration, of the scales and of the light. "
    "They are no confidence intervals. There is no clear change where the interval includes 0. A shift of the border "
    "alone is no evidence of growth: it is clear only if the area or the diameter changes as well."
)
RELATIVE_SIZES = "The photographs do not both have a scale: sizes are relative to the first one, after registration."
Values = Mapping[str, float]  # measurements by name
Item = TypeVar("Item")  # a photograph, or its pixels


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
    negative changes. ``is_supported``: False if the photographs may show different lesions, or if the change is
    evidence only together with another change that is not clear.
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
        """Whether the change is supported, and its interval, rounded as shown, excludes 0."""
        low, high = (round(limit, self._digits) for limit in self.interval)
        return self.is_supported and (low > 0 or high < 0)

    @property
    def text(self) -> str:
        """The change with its interval, such as ``+48 % (+37 to +60)``."""
        digits = self._digits
        value, low, high = (f"{round(number, digits) + 0.0:+.{digits}f}" for number in (self.change, *self.interval))
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
        before, after = ("–" if value is None else f"{value:#.3g}".rstrip(".") for value in (self.before, self.after))
        return before, after

    @property
    def _digits(self) -> int:
        return 0 if self.change_unit.startswith("%") else 2


@dataclass(frozen=True, eq=False)
class RegisteredPictures:
    """Both photographs in the view of the first one, extended by the lesion of the second one, with square pixels.

    ``first``, ``second``: uint8 (row, column, channel=3); in a result, the second one is adjusted to the light of the
    first one. ``first_mask``, ``second_mask``: bool (row, column). ``covered``: bool (row, column), the area of the
    second photograph.
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
        """The part of ``in_view`` that may be skin in both photographs: no black, such as ink or a ruler."""
        return self.in_view & (self.first.max(axis=2) >= BLACK) & (self.second.max(axis=2) >= BLACK)


@dataclass(frozen=True, eq=False)
class LesionChanges:
    """The changes of a lesion, its registered photographs, and cautions about the comparison as sentences.

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
        return (INTERVALS,) if self.is_scaled else (INTERVALS, RELATIVE_SIZES)


def compare_photographs(
    first: MeasuredPhotograph, second: MeasuredPhotograph, run: RunContext = NULL_CONTEXT
) -> LesionChanges:
    """Compare two photographs of one lesion.

    The second photograph is registered to the first one, with rotation, shift and magnification, by features of the
    skin around the lesion. If there are too few of these and both photographs have a scale, all features are used, with
    rotation and shift only. Sizes are in mm if both photographs have a scale; otherwise they are relative to the first
    photograph, after registration. Before colors are compared, the channels of the second photograph are scaled so that
    the skin around the lesion has the same mean color in both.

    An interval is the root sum of squares of the changes that result from these errors:

    - The border of either mask, independently, is 2 % of the equivalent diameter of the lesion (at least one pixel)
      outside or inside of where it is drawn.
    - The magnification is wrong by twice its standard error or, if this is larger, by the difference between the scales
      of the photographs and the registration. Positions are wrong by twice the error of the registration.
    - The light on the lesion is that of any one quarter of the skin around it. A difference of color below 2.3, which
      is not visible, is added.
    - Each perimeter is wrong by 2 %, since it is counted on pixels.

    These are not confidence intervals: how often they contain the true change depends on the masks. The pressure of the
    dermatoscope, stretched skin and focus are not included.

    A shift of the border is called clear only if the area or the diameter changes clearly as well: the largest of many
    shifts is never 0, as no border is drawn twice in the same way. No change is called clear if the photographs may
    show different lesions, since the texture of the skin differs or the masks overlap little.

    Raises MelanomaError for photographs of different modalities, empty masks, masks of different lesions, photographs
    with too few features in common, and scales that differ by more than half from the registration.
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
    cautions = [_damage_caution(measured, name) for measured, name in ((first, "first"), (second, "second"))]
    cautions += [*doubts, frame.caution]
    gains = _find_gains(pictures)
    are_whole = all(_is_inside(photograph) for photograph in reduced)
    if not are_whole:
        cautions.append("The lesion is not in view as a whole in both photographs: sizes and borders are not compared.")
    if not gains:
        cautions.append("There is too little skin around the lesion in both photographs: colors are not compared.")
    changes = tuple(_list_changes(first, second, frame, pictures, gains, run, with_sizes=are_whole))
    if any(doubts):
        changes = tuple(replace(change, is_supported=False) for change in changes)
    if gains:
        pictures = replace(pictures, second=scale_channels(pictures.second, gains[0]))
    return LesionChanges(changes, pictures, registration, tuple(filter(None, cautions)), is_scaled)


def _check(first: MeasuredPhotograph, second: MeasuredPhotograph) -> None:
    modalities = (first.photograph.modality, second.photograph.modality)
    if all(modalities) and modalities[0] != modalities[1]:
        raise MelanomaError(
            f"expected two photographs of the same modality, found {modalities[0]} and {modalities[1]}, whose sizes "
            "and colors differ without any change of the lesion. Select two photographs of one modality."
        )
    for measured, name in ((first, "first"), (second, "second")):
        if measured.mask.shape != measured.photograph.rgb.shape[:2]:
            raise MelanomaError(
                f"the mask of the {name} photograph has {measured.mask.shape} pixels, the photograph "
                f"{measured.photograph.rgb.shape[:2]}. Segment it again."
            )
        if not measured.mask.any():
            raise MelanomaError(f"the mask of the {name} photograph contains no lesion. Draw or segment it first.")


def _damage_caution(measured: MeasuredPhotograph, name: str) -> str:
    damage = measured.photograph.damage
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
        """Reduce a photograph by averaging, so that time and memory depend little on its size."""
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
        """The lightness of the photograph in [0, 1], with the lesion excluded from registration."""
        return FeatureImage(to_lab(self.rgb)[..., 0] / 100, self.spacing, self.mask)


def _is_inside(reduced: _Reduced) -> bool:
    """Whether a lesion reaches neither the edge of its photograph nor the black around the view of a dermatoscope."""
    from scipy import ndimage

    near = ndimage.binary_dilation(np.pad(reduced.mask, EDGE_PX), iterations=EDGE_PX)
    return not (near & np.pad(black_around_view(reduced.rgb, reduced.mask), EDGE_PX, constant_values=True)).any()


def _check_overlap(pictures: RegisteredPictures) -> str:
    """Return a caution if the masks overlap little; raise if they do not overlap."""
    common = int((pictures.first_mask & pictures.second_mask).sum())
    if not common:
        raise MelanomaError(
            "the masks show different lesions: they do not overlap where the photographs are in registration. Please "
            "check both masks, or select other photographs."
        )
    share = common / min(int(pictures.first_mask.sum()), int(pictures.second_mask.sum()))
    if share >= MIN_OVERLAP:
        return ""
    return f"The masks have only {100 * share:.0f} % of the smaller one in common. Do they show the same lesion?"


def _register(first: _Reduced, second: _Reduced, run: RunContext, *, is_scaled: bool) -> Registration:
    """Register by features of the skin, which do not grow with the lesion.

    If there are too few and both photographs have a scale, all features are used.
    """
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
        whole = [image.without_exclusion() for image in images]
        return _check_features(register_features(*whole, with_scale=False), first)
    except MelanomaError as error:
        raise MelanomaError(
            f"the photographs cannot be registered: {error} Do they show the same lesion? Select other photographs."
        ) from error


def _check_features(registration: Registration, first: _Reduced) -> Registration:
    """Return the registration; raise MelanomaError if its features lie only on one side of the lesion."""
    center = (np.argwhere(first.mask).mean(axis=0) + 0.5) * first.spacing
    quarters = {(row > 0, column > 0) for row, column in registration.points - center}
    if len(quarters) < MIN_QUARTERS:
        raise MelanomaError(
            f"expected common features in at least {MIN_QUARTERS} of the 4 quarters around the lesion, found them in "
            f"{len(quarters)}. A ruler in both photographs is not enough: skin must be visible around the lesion."
        )
    return registration


def _check_skin(pictures: RegisteredPictures) -> str:
    """Return a caution if the texture of the skin differs, which indicates that only marks were registered."""
    from scipy import ndimage

    skin = pictures.in_view & ~pictures.first_mask & ~pictures.second_mask
    inner = ndimage.binary_erosion(skin, iterations=TEXTURE_PX[1])
    if int(inner.sum()) < MIN_SKIN_PX:
        return ""
    first, second = (_find_lighter(picture)[inner] for picture in (pictures.first, pictures.second))
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

    ``shape``: (rows, columns). ``step``: side of a pixel, in mm or in pixels of the first photograph. ``matrices``:
    float64 (3, 3) each, from pixels of either photograph to pixels of the frame. ``magnification``: factor from lengths
    in the second photograph to lengths in the first one; 1 if both have a scale. ``magnification_error``: half the
    width of its interval, as a share. ``disagreement``: the difference between the scales and the registration, as a
    share. ``position_error``: half the width of the interval of a position, in the unit of ``step``.
    """

    shape: tuple[int, int]
    step: float
    matrices: tuple[NDArray[np.float64], NDArray[np.float64]]
    magnification: float
    magnification_error: float
    disagreement: float
    position_error: float
    is_scaled: bool

    @classmethod
    def of(cls, first: _Reduced, second: _Reduced, registration: Registration, *, is_scaled: bool) -> _Frame:
        """Create the frame of two registered photographs."""
        low, high = _find_extent(first, second, registration)
        extent = high - low
        step = max(float(extent.max()) / FRAME_PX, *first.spacing)
        rows, columns = (max(1, round(float(length) / step)) for length in extent)
        to_frame = _scaling((1 / step, 1 / step))
        to_frame[:2, 2] = -low / step
        matrices = (to_frame @ _scaling(first.spacing), to_frame @ registration.matrix @ _scaling(second.spacing))
        disagreement = registration.scale - 1 if is_scaled else 0.0
        factor = max(registration.scale, 1 / registration.scale)
        if is_scaled and factor > 1 + MAX_DISAGREEMENT:
            raise MelanomaError(
                f"expected scales that fit the registration of the photographs, found that they differ by a factor of "
                f"{factor:.1f}. Correct the scales."
            )
        magnification_error = max(STANDARD_ERRORS * registration.scale_error, abs(disagreement))
        return cls(
            shape=(rows, columns),
            step=step,
            matrices=matrices,
            magnification=1.0 if is_scaled else registration.scale,
            magnification_error=magnification_error,
            disagreement=disagreement,
            position_error=STANDARD_ERRORS * (registration.error or 0.0),
            is_scaled=is_scaled,
        )

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
    def pixel_sides(self) -> tuple[float, float]:
        """The side of a pixel of each photograph in the unit of ``step``, at least ``step``."""
        first, second = (math.sqrt(abs(float(np.linalg.det(matrix[:2, :2])))) for matrix in self.matrices)
        return self.step * max(1.0, first), self.step * max(1.0, second)

    def draw(self, first: _Reduced, second: _Reduced, first_scale: PixelSize | None) -> RegisteredPictures:
        """Draw both photographs and masks in the frame; ``first_scale``: the pixel size of the first photograph."""
        drawn = [
            np.stack([self._warp(reduced.rgb[..., channel], matrix) for channel in range(3)], axis=-1)
            for reduced, matrix in zip((first, second), self.matrices, strict=True)
        ]
        masks = [
            np.nan_to_num(self._warp(reduced.mask, matrix)) > 0.5
            for reduced, matrix in zip((first, second), self.matrices, strict=True)
        ]
        rgb = [np.rint(np.nan_to_num(picture)).clip(0, 255).astype(np.uint8) for picture in drawn]
        um = 1000 * self.step
        size = None if first_scale is None else PixelSize(um, um, first_scale.source)
        return RegisteredPictures(rgb[0], rgb[1], masks[0], masks[1], np.isfinite(drawn[1][..., 0]), size)

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


def _find_extent(
    first: _Reduced, second: _Reduced, registration: Registration
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest (row, column) of the first photograph and the lesion of the second one.

    Some skin around the lesion is included. Positions are in the unit of the first photograph's ``spacing``.
    """
    box = bounding_box(second.mask)
    assert box is not None, "masks are checked to contain a lesion"
    pixels = [(row, column) for row in (box.top, box.top + box.height) for column in (box.left, box.left + box.width)]
    corners = registration.transform(np.multiply(pixels, second.spacing))
    margin = RING[0] * np.ptp(corners, axis=0).max()
    extent = np.multiply(first.mask.shape, first.spacing)
    return np.minimum(0.0, corners.min(axis=0) - margin), np.maximum(extent, corners.max(axis=0) + margin)


def _scaling(factors: tuple[float, float]) -> NDArray[np.float64]:
    return np.diag([*factors, 1.0])


def _find_gains(pictures: RegisteredPictures) -> list[NDArray[np.float64]]:
    """Find the factors of the channels, float64 (3,), that give the second photograph the light of the first one.

    The first element is computed from all skin around the lesion that both photographs show, each of the others from
    one quarter of it. The list is empty if there is too little skin.
    """
    from scipy import ndimage

    lesions = pictures.first_mask | pictures.second_mask
    diameter = math.sqrt(4 * int(pictures.first_mask.sum()) / math.pi)
    distance = ndimage.distance_transform_edt(~lesions)
    ring = (distance > RING[0] * diameter) & (distance < RING[1] * diameter) & pictures.usable
    center = np.argwhere(lesions).mean(axis=0)
    rows, columns = np.indices(ring.shape, sparse=True)
    quarters = [
        ring & ((rows < center[0]) == upper) & ((columns < center[1]) == left)
        for upper in (True, False)
        for left in (True, False)
    ]
    usable = [quarter for quarter in quarters if int(quarter.sum()) >= MIN_QUARTER_PX]
    if len(usable) < 2:
        return []
    return [
        pictures.first[skin].mean(axis=0) / pictures.second[skin].mean(axis=0).clip(1.0) for skin in (ring, *usable)
    ]


def _list_changes(
    first: MeasuredPhotograph,
    second: MeasuredPhotograph,
    frame: _Frame,
    pictures: RegisteredPictures,
    gains: list[NDArray[np.float64]],
    run: RunContext,
    *,
    with_sizes: bool,
) -> Iterator[Change]:
    """Yield the changes of size and border (``with_sizes``) and of color (if there are gains)."""

    def measure(measured: MeasuredPhotograph, mask: NDArray[np.bool_]) -> Values:
        run.check()
        return measure_lesion(mask, None, measured.photograph.pixel_size or UNKNOWN_SCALE)

    if with_sizes:
        variants = _Variants.compute(measure, (first, first.mask), (second, second.mask))
        unit, area_unit = ("mm", "mm²") if frame.is_scaled else ("", "")
        area = variants.relative("Area", "area_mm2", area_unit, frame, 2)
        diameter = variants.relative("Maximum diameter", "max_diameter_mm", unit, frame, 1)
        yield from (area, diameter)
        yield variants.difference("Border irregularity", "border_irregularity", share=PERIMETER_ERROR)
        yield _border_shift(frame, pictures, (area, diameter))
    run.check()
    if gains:
        yield from _color_changes(pictures, gains)


def _color_changes(pictures: RegisteredPictures, gains: list[NDArray[np.float64]]) -> Iterator[Change]:
    """Yield the changes of color, measured on the registered pictures, if both pictures show enough skin."""

    def measure(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Values:
        return color_measurements(mask, rgb, pictures.usable)

    relit = [scale_channels(pictures.second, gain) for gain in gains]
    variants = _Variants.compute(
        measure, (pictures.first, pictures.first_mask), (relit[0], pictures.second_mask), relit=relit[1:]
    )
    for label, name in (("Contrast to the skin", "color_difference"), ("Variation of lightness", "color_std_l")):
        change = variants.difference(label, name, VISIBLE_COLOR)
        if math.isfinite(change.change) and all(map(math.isfinite, change.interval)):
            yield change


@dataclass(frozen=True)
class _Variants:
    """Measurements of both photographs, and of variants of them that determine an interval.

    A pair is (before, after). ``borders``: for each mask, the pairs with its border shifted outward and inward.
    ``lights``: the pairs with the light of each quarter of the skin.
    """

    before: Values
    after: Values
    borders: tuple[tuple[tuple[Values, Values], ...], ...]
    lights: tuple[tuple[Values, Values], ...]

    @classmethod
    def compute(
        cls,
        measure: Callable[[Item, NDArray[np.bool_]], Values],
        first: tuple[Item, NDArray[np.bool_]],
        second: tuple[Item, NDArray[np.bool_]],
        relit: Sequence[Item] = (),
    ) -> _Variants:
        """Measure two photographs and all their variants.

        ``first``, ``second``: a photograph and its mask, bool (row, column). ``relit``: the second photograph with the
        light of each quarter of the skin.
        """
        before, after = measure(*first), measure(*second)
        shifts = (BORDER_SHIFT, -BORDER_SHIFT)
        borders = (
            tuple((measure(first[0], shift_border(first[1], shift)), after) for shift in shifts),
            tuple((before, measure(second[0], shift_border(second[1], shift))) for shift in shifts),
        )
        return cls(before, after, borders, tuple((before, measure(photograph, second[1])) for photograph in relit))

    def relative(self, label: str, name: str, unit: str, frame: _Frame, power: int) -> Change:
        """Return the relative change of a length (``power`` 1) or an area (2), in percent."""

        def change(before: Values, after: Values, magnification: float = frame.magnification) -> float:
            return 100 * (magnification**power * after[name] / before[name] - 1)

        value = change(self.before, self.after)
        scales = [
            change(self.before, self.after, frame.magnification * max(0.0, 1 + sign * frame.magnification_error))
            for sign in (1, -1)
        ]
        low, high = _combine(value, [*self._with_shifted_borders(change), scales])
        before, after = (self.before[name], self.after[name]) if frame.is_scaled else (None, None)
        return Change(label, unit, before, after, value, (max(-100.0, low), high), "%")

    def difference(self, label: str, name: str, least: float = 0.0, share: float = 0.0) -> Change:
        """Return the change of a value without a unit.

        ``least``: error of the change. ``share``: error of each of the two values, as a share of the value.
        """

        def change(before: Values, after: Values) -> float:
            return after[name] - before[name]

        value = change(self.before, self.after)
        lights = [change(*pair) for pair in self.lights]
        errors = [least, share * self.before[name], share * self.after[name]]
        fixed = [[value - error, value + error] for error in errors]
        interval = _combine(value, [*self._with_shifted_borders(change), lights, *fixed])
        return Change(label, "", self.before[name], self.after[name], value, interval, "")

    def _with_shifted_borders(self, change: Callable[[Values, Values], float]) -> list[list[float]]:
        return [[change(*pair) for pair in pairs] for pairs in self.borders]


def shift_border(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Move the border of a mask outward, or inward if ``share`` is negative.

    ``mask``: bool (row, column), not empty. ``share``: distance as a share of the equivalent diameter; the border is
    moved by at least one pixel. Raises MelanomaError if nothing of the lesion would be left.
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
    """Return the interval around a value: on each side, the root sum of squares of the largest deviation in each group.

    ``groups``: for each source of error, the values with this error.
    """
    below = sum(max([0.0, *(value - variant for variant in group)]) ** 2 for group in groups)
    above = sum(max([0.0, *(variant - value for variant in group)]) ** 2 for group in groups)
    return value - math.sqrt(below), value + math.sqrt(above)


def _border_shift(frame: _Frame, pictures: RegisteredPictures, sizes: tuple[Change, ...]) -> Change:
    """Return how far the border has moved outward where it has moved most.

    ``sizes``: the changes of size, of which a clear one in the same direction supports this change.
    """
    from scipy import ndimage

    after = pictures.second_mask
    outside, inside = (ndimage.distance_transform_edt(mask) for mask in (~pictures.first_mask, pictures.first_mask))
    border = after & ~ndimage.binary_erosion(after)
    distances = (outside - inside + (inside > 0))[border]  # 0 on the outermost pixels of the first lesion
    largest = float(np.percentile(distances, LARGEST)) * frame.step
    diameters = [frame.step * math.sqrt(4 * int(mask.sum()) / math.pi) for mask in (pictures.first_mask, after)]
    border_errors = [
        max(BORDER_SHIFT * diameter, MIN_SHIFT_PX * side)
        for diameter, side in zip(diameters, frame.pixel_sides, strict=True)
    ]
    # The largest shift is where both borders are off in opposite directions, so their errors add up.
    margin = math.hypot(sum(border_errors), frame.position_error, frame.magnification_error * diameters[1] / 2)
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
        is_supported=any(change.is_certain and change.change * largest > 0 for change in sizes),
    )
