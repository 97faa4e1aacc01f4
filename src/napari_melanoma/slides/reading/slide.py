"""The interface of open slides, checks of their scale, display of channels, and damaged tiles."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.formatting import format_repr
from napari_melanoma.core.geometry import MAX_ASPECT, SLIDE_UM, Box, PixelSize

if TYPE_CHECKING:
    from napari_melanoma.core.channel_choice import ChannelChoice

SlideKind = Literal["brightfield", "fluorescence"]
_LEVEL_TOLERANCE = 1.01  # levels have whole pixels, so their downsample is inexact by a few parts in a thousand
_UM_BY_NAMES = {  # names of units in files, separated by spaces, to micrometers
    "pm picometer": 1e-6,
    "\u00c5 \u212b angstrom angstroms": 1e-4,  # both characters for Angstrom
    "nm nanometer": 1e-3,
    "\u00b5m \u03bcm um micron microns micrometer": 1.0,  # micro sign, and the Greek letter
    "thou mil": 25.4,
    "mm millimeter": 1e3,
    "li": 25400 / 12,
    "cm centimeter": 1e4,
    "in inch": 25400.0,
    "dm decimeter": 1e5,
    "ft foot": 304800.0,
    "m meter": 1e6,
}
UNIT_UM = {name: um for names, um in _UM_BY_NAMES.items() for name in names.split()}
SQUARE_TOLERANCE = 0.01  # relative difference of height and width up to which pixels count as square
SCALE_TOLERANCE = 0.05  # relative difference up to which two pixel sizes count as the same
# Pixel size times magnification is about 10 um: scanners have 0.5 um with a 20x objective and 0.25 um with 40x. A
# confusion of inch and centimeter is an error by a factor of 2.54, a wrong level or binning by 2.
UM_BY_MAGNIFICATION = (4.4, 22.0)  # plausible values of this product
USUAL_BY_MAGNIFICATION = (6.5, 15.5)  # usual values
OBJECTIVES = (1.25, 2.5, 5, 10, 20, 40, 63, 100)
EXPECTED_UM, COARSE_UM = (0.25, 4.0), 6.0  # range that models expect; above 6, no model works
FINE_UM = 0.1  # scanners with a 100x objective have 0.1; smaller values are plausible only with a stated objective
ADVICE = "Set it under Scale in the Slide dock (Python: pixel_size_um, command line: --mpp)."
TOO_COARSE = (
    f"Models expect {EXPECTED_UM[0]:g} to {EXPECTED_UM[1]:g} um per pixel, at which cells are visible. If this is an "
    "overview image, open the slide at its full resolution. If the file states a wrong scale, set the correct one "
    "under Scale in the Slide dock (Python: pixel_size_um, command line: --mpp)."
)
SUGGESTION = (
    "the file states an objective of {power:g}x, with which scanners usually have about {um:.2g} um per pixel. If this "
    "slide was scanned so, set this value (Python: pixel_size_um={um:.2g}, command line: --mpp {um:.2g})."
)
NOT_STATED = f"the file states no pixel size, so lengths are in pixels. {ADVICE}"

DEFAULT_COLORS = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 0), (255, 0, 255), (0, 255, 255))
_STRIPE_PX, _MARK_COLOR, _BACKGROUND_COLOR = 16, (214, 39, 140), (225, 225, 225)
# From the background to the brightest tissue; grains of dust are brighter, and would make tissue dark.
CONTRAST_PERCENTILES = (10, 99.8)

logger = logging.getLogger(__name__)
MAX_LOGGED = 20  # damaged tiles listed in the log; a truncated slide may have thousands


class DamagedTile(MelanomaError):  # noqa: N818 - describes the state of the tile
    """A tile of a slide that cannot be decoded; other tiles are readable.

    ``box``: position of the tile in pixels of the level.
    """

    def __init__(self, message: str, level: int, box: Box) -> None:
        super().__init__(message)
        self.level, self.box = level, box

    def __reduce__(self) -> tuple[type[DamagedTile], tuple[str, int, Box]]:
        """Pickle with level and box."""
        return type(self), (str(self), self.level, self.box)


@dataclass(frozen=True)
class LevelInfo:
    """One resolution of a slide.

    ``height``, ``width``: size in pixels. ``downsample``: pixels of level 0 along one pixel of this level.
    ``is_computed``: the file has no such level, and it is computed from the next finer one on demand.
    """

    height: int
    width: int
    downsample: float
    is_computed: bool = False


@dataclass(frozen=True)
class SlideInfo:
    """Metadata of a slide.

    ``levels``: the finest first. ``pixel_size``: of level 0; None if neither the file nor the user states it.
    ``bounds``: scanned area in pixels of level 0; None if unknown. ``kind``: brightfield is read as RGB, other slides
    as channels, unless ``composite`` states which of them are read as RGB. ``colors``: an 8-bit RGB color for each
    channel; empty if unknown. ``properties``: metadata as text.
    ``associated``: names of images stored with the slide. ``has_profile``: whether there is an ICC profile.
    ``scale_warnings``: those of ``warnings`` that are about the scale.
    """

    path: Path
    name: str
    format: str
    levels: tuple[LevelInfo, ...]
    pixel_size: PixelSize | None = None
    magnification: float | None = None
    bounds: Box | None = None
    kind: SlideKind = "brightfield"
    channels: tuple[str, ...] = ("red", "green", "blue")
    colors: tuple[tuple[int, int, int], ...] = ()
    properties: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    associated: tuple[str, ...] = ()
    has_profile: bool = False
    warnings: tuple[str, ...] = ()
    scale_warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    composite: ChannelChoice | None = None

    @property
    def is_rgb(self) -> bool:
        """Whether pixels are read as RGB: brightfield, or three chosen channels of fluorescence."""
        return self.kind == "brightfield" or self.composite is not None

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the corner of the scanned area, in pixels of level 0, from which QuPath counts."""
        return (0, 0) if self.bounds is None else (self.bounds.top, self.bounds.left)

    def __repr__(self) -> str:
        """Return a short text without levels and properties."""
        size = {"height": self.levels[0].height, "width": self.levels[0].width, "levels": len(self.levels)}
        known = {"pixel_size": self.pixel_size, "magnification": self.magnification}
        return format_repr(self, name=self.name, format=self.format, **size, **known, channels=self.channels)


class Slide(ABC):
    """An open slide; safe to read from several threads."""

    info: SlideInfo

    @abstractmethod
    def read_region(self, level: int, box: Box) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]:
        """Read a rectangle of pixels.

        ``box``: in pixels of the level; it may extend beyond the level. Returns, for brightfield, uint8 (row, column,
        channel=3), white outside the level; for fluorescence, uint8, uint16 or float32 (row, column, channel), zero
        outside. The caller may modify the array.
        """

    def read_square(self, box: Box, side_px: int) -> NDArray[np.uint8]:
        """Read a box as a square, see ``read_box``."""
        return self.read_box(box, side_px, side_px)

    def read_box(self, box: Box, height_px: int, width_px: int) -> NDArray[np.uint8]:
        """Read a box at a given size, uint8 (height, width, channel=3), from the coarsest level that is fine enough.

        ``box``: in pixels of level 0.
        """
        index = self.best_level(min(box.height / height_px, box.width / width_px))
        down = self.info.levels[index].downsample
        part = Box(*(round(value / down) for value in (box.top, box.left, box.height, box.width)))
        return resize_rgb(self.read_region(index, part).astype("uint8", copy=False), height_px, width_px)

    @abstractmethod
    def close(self) -> None:
        """Close the file; reading afterwards is an error."""

    def icc_profile(self) -> bytes | None:
        """Return the ICC profile; None if there is none."""
        return None

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Read an image that is stored with the slide, such as the label, which may identify the patient.

        ``name``: one of ``info.associated``. Returns uint8 (row, column, channel=3). The image is not cached.
        """
        raise self._no_associated_image(name)

    def _no_associated_image(self, name: str) -> InputError:
        known = ", ".join(self.info.associated) or "no such images"
        return InputError(f"{self.info.path} has no image '{name}', it has {known}. Choose one of these.")

    def thumbnail(self, side_px: int) -> NDArray[np.uint8]:
        """Read the whole slide as a thumbnail with a longer side of ``side_px``.

        Returns uint8 (row, column, channel=3); fluorescence channels are merged in their colors.
        """
        level, box = self._overview_level(side_px)
        return self._to_thumbnail(self.read_region(level, box), side_px)

    def thumbnail_around_damage(self, side_px: int) -> tuple[NDArray[np.uint8], tuple[Box, ...]]:
        """Read the whole slide as a thumbnail, also if tiles cannot be decoded.

        Returns the thumbnail with marks on damaged tiles, and the boxes of these tiles in pixels of level 0.
        """
        pixels, boxes = self.read_around_damage(*self._overview_level(side_px))
        return self._to_thumbnail(pixels, side_px), boxes

    def read_around_damage(self, level: int, box: Box) -> tuple[NDArray, tuple[Box, ...]]:
        """Read a rectangle of pixels as ``read_region`` does, also if tiles cannot be decoded.

        Returns the pixels with marks on damaged tiles, and the boxes of all damaged tiles that are known of the level,
        in pixels of level 0.
        """
        return self.read_region(level, box), ()

    def _overview_level(self, side_px: int) -> tuple[int, Box]:
        """Return the coarsest level that is fine enough for a thumbnail, and its box."""
        full = self.info.levels[0]
        index = self.best_level(max(full.height, full.width) / side_px)
        level = self.info.levels[index]
        return index, Box(0, 0, level.height, level.width)

    def _to_thumbnail(self, pixels: NDArray, side_px: int) -> NDArray[np.uint8]:
        full = self.info.levels[0]
        rgb = pixels if self.info.is_rgb else merge_channels(pixels, self.info.colors)
        scale = side_px / max(full.height, full.width)
        return resize_rgb(rgb, max(1, round(full.height * scale)), max(1, round(full.width * scale)))

    def best_level(self, downsample: float) -> int:
        """Return the index of the coarsest level that is at least as fine as requested.

        ``downsample``: greatest number of pixels of level 0 along one pixel. Returns 0 if level 0 is coarser.
        """
        fine = [
            index for index, level in enumerate(self.info.levels) if level.downsample <= downsample * _LEVEL_TOLERANCE
        ]
        return max(fine, default=0)

    def __enter__(self) -> Self:
        """Use the slide in a ``with`` block, which closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the slide."""
        self.close()


def compute_downsample(full: tuple[int, int], size: tuple[int, int]) -> float:
    """Return the number of level 0 pixels along one pixel of a level, an integer if the rounded sizes allow it.

    ``full``, ``size``: height and width of level 0 and of the level.
    """
    return whole_downsample(full, size) or sum(whole / part for whole, part in zip(full, size, strict=True)) / 2


def whole_downsample(full: tuple[int, int], size: tuple[int, int]) -> float | None:
    """Return the integer downsample of a level, if its rounded sizes allow one."""
    factor = round(sum(whole / part for whole, part in zip(full, size, strict=True)) / 2)
    if factor < 1:
        return None
    allowed = [(whole // factor, -(-whole // factor)) for whole in full]
    return float(factor) if all(part in sides for part, sides in zip(size, allowed, strict=True)) else None


def apply_icc_profile(rgb: NDArray[np.uint8], slide: Slide) -> NDArray[np.uint8]:
    """Convert pixels of a slide to sRGB by its ICC profile.

    ``rgb``: uint8 (row, column, channel=3), from ``read_region`` of the slide. Returns uint8, same shape; unchanged if
    the slide has no profile or a damaged one.
    """
    profile = slide.icc_profile()
    if not profile:
        return rgb
    from PIL import Image

    from napari_melanoma.io.color_conversion import to_srgb8

    return to_srgb8(Image.fromarray(rgb), profile)


@dataclass(frozen=True)
class ScaleInfo:
    """The pixel size if it is plausible, the magnification, and warnings about both."""

    pixel_size: PixelSize | None = None
    magnification: float | None = None
    warnings: tuple[str, ...] = ()


def validate_scale(
    y_um: float | None,
    x_um: float | None,
    magnification: float | None = None,
    origin: str = "file",
    *,
    fine_camera: bool = False,
    unusable: str = "",
) -> ScaleInfo:
    """Check the scale in a file for plausibility.

    The result has no pixel size if none is stated or it is implausible. Warnings state this, and also that pixels are
    not square, too coarse for any model, or contradict the magnification.

    ``y_um``, ``x_um``: height and width of a pixel in micrometers; None if unknown. ``origin``: what states them, for
    messages. ``fine_camera``: whether the scanner is of a make whose cameras have such small pixels that 20x is finer
    than 0.3 micrometers. ``unusable``: what the file states instead of a pixel size.
    """
    if y_um is None or x_um is None:
        problem = f"the {origin} states {unusable}, so lengths are in pixels. {ADVICE}" if unusable else NOT_STATED
        return ScaleInfo(None, magnification, (problem, *suggest_pixel_size(magnification)))
    low, high = SLIDE_UM
    in_range = all(math.isfinite(size) and low <= size <= high for size in (y_um, x_um))
    if not in_range or max(y_um, x_um) > MAX_ASPECT * min(y_um, x_um):
        stated = f"the {origin} states {x_um:.4g} x {y_um:.4g} um per pixel"
        expected = f"{low} to {high:.0f}" if not in_range else "similar heights and widths"
        problem = f"{stated}, but slides have {expected}; it may be that of a print, or in a wrong unit"
        advice = TOO_COARSE if math.isfinite(x_um) and x_um > high else ADVICE
        warning = f"{problem}. It is ignored, and lengths are in pixels. {advice}"
        return ScaleInfo(None, magnification, (warning, *suggest_pixel_size(magnification)))
    size = PixelSize(y_um, x_um, "file")
    warnings = (
        *_warn_not_square(size),
        *_warn_magnification_mismatch(size, magnification, fine_camera),
        *_warn_too_coarse(size, origin),
        *_warn_too_fine(size, magnification, origin),
    )
    return ScaleInfo(size, magnification, warnings)


def suggest_pixel_size(magnification: float | None) -> tuple[str, ...]:
    """Suggest the usual pixel size of an objective, which is never used unasked; empty if none is stated."""
    if not magnification or not OBJECTIVES[0] <= magnification <= OBJECTIVES[-1]:
        return ()
    return (SUGGESTION.format(power=magnification, um=10 / magnification),)


def override_pixel_size(scale: ScaleInfo, stated: PixelSize | None) -> ScaleInfo:
    """Use the pixel size set by the user, if any, instead of that in the file; warn if they contradict each other."""
    if stated is None:
        return scale
    in_file = scale.pixel_size
    warnings: tuple[str, ...] = ()
    if in_file and max(abs(stated.y_um / in_file.y_um - 1), abs(stated.x_um / in_file.x_um - 1)) > SCALE_TOLERANCE:
        warnings = (
            f"the pixel size is set to {stated.x_um:.4g} x {stated.y_um:.4g} um, but the file states "
            f"{in_file.x_um:.4g} x {in_file.y_um:.4g}. The set value is used.",
        )
    return replace(scale, pixel_size=stated, warnings=warnings)


def _warn_not_square(size: PixelSize) -> tuple[str, ...]:
    if abs(size.y_um / size.x_um - 1) <= SQUARE_TOLERANCE:
        return ()
    return (
        f"pixels are not square: {size.x_um:.4g} um wide and {size.y_um:.4g} um high. Both values are used; set the "
        "size in the Slide dock under Scale (Python: pixel_size_um, command line: --mpp) if one of them is wrong.",
    )


def _warn_too_coarse(size: PixelSize, origin: str) -> tuple[str, ...]:
    coarsest = max(size.y_um, size.x_um)
    if coarsest <= COARSE_UM:
        return ()
    return (
        f"no model can be used at this scale: the {origin} states {coarsest:.4g} um per pixel, so a cell is about "
        f"as large as a pixel. {TOO_COARSE}",
    )


def _warn_too_fine(size: PixelSize, magnification: float | None, origin: str) -> tuple[str, ...]:
    """Warn about pixels that are finer than those of a scanner, unless an objective is stated."""
    finest = min(size.y_um, size.x_um)
    if magnification or finest >= FINE_UM:
        return ()
    return (
        f"the {origin} states {finest:.4g} um per pixel, but scanners have {FINE_UM:g} or more: the value may be wrong "
        "by a factor. Check it with a known length.",
    )


def parse_decimal(text: str | None) -> float | None:
    """Parse a finite number with a decimal point or comma; None if there is none."""
    try:
        number = float((text or "").strip().replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _plain_unit(name: str) -> str:
    """Return the name of a unit in lower case and in American spelling; the case of abbreviations has a meaning."""
    name = name.lower() if len(name) > 2 else name
    return f"{name[:-2]}er" if name.endswith("tre") else name


def read_lengths_um(values: Sequence[str | None], units: Sequence[str | None]) -> tuple[list[float | None], str]:
    """Convert height and width of a pixel, as stated in a file, to micrometers.

    ``units``: their names; None for micrometers. Returns the sizes, and, if both cannot be used although something is
    stated, a description of it.
    """
    names = ["\u00b5m" if unit is None else unit.strip() for unit in units]
    factors = [UNIT_UM.get(name, UNIT_UM.get(_plain_unit(name))) for name in names]
    numbers = [parse_decimal(value) for value in values]
    sizes = [
        None if number is None or factor is None else number * factor
        for number, factor in zip(numbers, factors, strict=True)
    ]
    stated = [value for value in values if value is not None]
    if not stated or None not in sizes:
        return sizes, ""
    if None in numbers:
        return sizes, f"a pixel size of {' x '.join(repr(value) for value in stated)}, which is no height and width"
    unknown = next(name for name, factor in zip(names, factors, strict=True) if factor is None)
    return sizes, f"a pixel size of {' x '.join(stated)} in the unit {unknown!r}, which is not a known length"


def _warn_magnification_mismatch(size: PixelSize, magnification: float | None, fine_camera: bool) -> tuple[str, ...]:
    if not magnification:
        return ()
    product = magnification * math.sqrt(size.y_um * size.x_um)
    low, high = UM_BY_MAGNIFICATION
    least, most = USUAL_BY_MAGNIFICATION
    expected = f"(expected: about {10 / magnification:.2g} um)"
    if not low <= product <= high:
        return (
            f"{size.x_um:.4g} um per pixel does not match an objective of {magnification:g}x {expected}: its unit may "
            "be wrong. Check it with a known length.",
        )
    if least <= product <= most or (fine_camera and product < least):
        return ()
    usual = min(OBJECTIVES, key=lambda power: abs(math.log(power * size.x_um / 10)))
    return (
        f"{size.x_um:.4g} um per pixel is usual for {usual:g}x, but the file states an objective of "
        f"{magnification:g}x {expected}: the camera may have small or binned pixels, or one of the values is wrong. "
        "Check it with a known length.",
    )


def resize_rgb(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize an image, uint8 (row, column, channel=3), by averaging."""
    from PIL import Image

    if rgb.shape[:2] == (height, width):
        return rgb
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX))


def compose_over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compose colors that are already multiplied by their alpha over white.

    ``pixels``: uint8 (row, column, channel=4). Returns uint8 (row, column, channel=3).
    """
    glass = 255 - pixels[..., 3:].astype(np.uint16)
    return np.minimum(pixels[..., :3] + glass, 255).astype(np.uint8)


def blend_over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend RGBA over white; RGB is unchanged.

    ``pixels``: uint8 (row, column, channel=3 or 4). Returns uint8 (row, column, channel=3).
    """
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)


def channel_color(index: int, colors: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """Return the 8-bit RGB color of a channel: that in the file, or a default color.

    ``colors``: colors in the file; may be empty.
    """
    return colors[index] if index < len(colors) else DEFAULT_COLORS[index % len(DEFAULT_COLORS)]


def contrast_limits(channel: NDArray) -> tuple[float, float]:
    """Return the contrast limits of a channel, (row, column): from the background to nearly the maximum."""
    if not channel.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(channel, CONTRAST_PERCENTILES))
    if channel.dtype.kind == "f" and high > low:  # the values of a slide may all be below 1
        return low, high
    return low, max(high, low + 1)


def to_finite_float32(pixels: NDArray) -> NDArray[np.float32]:
    """Convert floating-point values of any precision and byte order to float32; values that are not finite become 0."""
    return np.nan_to_num(pixels.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def merge_channels(channels: NDArray, colors: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Merge channels in their colors.

    ``channels``: (row, column, channel), unsigned integers or float32. ``colors``: 8-bit RGB colors in the file; may be
    empty. Returns uint8 (row, column, channel=3).
    """
    merged = np.zeros((*channels.shape[:2], 3), np.float32)
    for index in range(channels.shape[2]):
        channel = channels[..., index]
        low, high = contrast_limits(channel)
        share = np.clip((channel - low) / (high - low), 0, 1).astype(np.float32)
        merged += share[..., None] * np.array(channel_color(index, colors), np.float32)
    return np.minimum(merged, 255).astype(np.uint8)


def draw_damaged_tile(height: int, width: int, channels: int, dtype: np.dtype) -> NDArray:
    """Draw a damaged tile, (row, column, channel): stripes in a color that does not occur in tissue."""
    stripes = (np.add.outer(np.arange(height), np.arange(width)) // _STRIPE_PX) % 2 == 0
    if channels == 3 and dtype == np.uint8:
        return np.where(stripes[..., None], np.array(_MARK_COLOR, dtype), np.array(_BACKGROUND_COLOR, dtype))
    most = np.iinfo(np.uint16 if dtype.kind == "f" else dtype).max
    bright = np.where(stripes, most // 2, 0).astype(dtype)
    return np.repeat(bright[..., None], channels, axis=2)


class DamageLog:
    """Records the positions of damaged tiles, and logs the first ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._positions: dict[tuple[int, Box], None] = {}  # level and box

    def add(self, damage: DamagedTile) -> None:
        """Record the position of a damaged tile; nothing happens if it is recorded already."""
        recorded = len(self._positions)
        self._positions.setdefault((damage.level, damage.box))
        if len(self._positions) == recorded:
            return
        if recorded < MAX_LOGGED:
            logger.warning("%s", damage)
        elif recorded == MAX_LOGGED:
            logger.warning("more tiles of %s cannot be decoded; they are not listed.", self._path.name)

    def boxes_at(self, level: int, downsample: float) -> tuple[Box, ...]:
        """Return the boxes of the damaged tiles of a level, in pixels of level 0."""
        positions = tuple(self._positions)  # other threads may add positions
        return tuple(
            Box(*(round(side * downsample) for side in (box.top, box.left, box.height, box.width)))
            for damaged_level, box in positions
            if damaged_level == level
        )


def damaged_tile_error(path: Path, level: int, box: Box, error: Exception) -> DamagedTile:
    """Create the error for a damaged tile; ``box``: its position in pixels of the level."""
    reason = shorten(str(error), width=160, placeholder=" ...") or type(error).__name__
    message = (
        f"a tile of {path.name} cannot be decoded (level {level}, row {box.top}, column {box.left}, "
        f"{box.height} x {box.width} pixels): {reason}. The rest of the slide is readable. To restore this part, copy "
        "the file again from its source, or export it again."
    )
    return DamagedTile(message, level, box)
