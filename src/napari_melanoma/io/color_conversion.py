"""Conversion of decoded images to upright 8-bit sRGB, by the same rules for all formats.

The rules are:

- values are scaled from the range that the file states or ``find_value_range`` finds, and what is assumed is noted;
- transparent pixels are blended over white, as on paper and in viewers;
- an embedded ICC profile is converted to sRGB (relative colorimetric with black point compensation); a profile that is
  damaged or belongs to another color space is ignored, and the colors are regarded as sRGB;
- CMYK without a profile is converted by the simple formula of Pillow, so its colors are approximate;
- the image is rotated or flipped according to its EXIF orientation.
"""

from __future__ import annotations

import io
import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

logger = logging.getLogger(__name__)
_MAX_BYTE = 255
_INTEGER_RANGES = (255, 4095, 65535)  # white of 8, 12 and 16 bits; cameras store fewer than 16 without scaling
_FLOAT_RANGES = (1.0, 255.0, 4095.0, 65535.0)
_STATED_RANGES = tuple(2**bits - 1 for bits in range(8, 16))
# Interpolation exceeds the range by up to about a fifth of its length at edges, and sharpening by a little more.
_OVERSHOOT = 0.25
_HALF_LEVEL = 0.5 / 255  # of the range; less than this is due to rounding
_MAX_EXCEEDING_SHARE = 0.01  # of the values, by defective pixels, reflections and labels in the picture
_MAX_UNDERSHOOT_SHARE = 0.02  # of the values; images that are normalized around 0 have more negative ones
_SAMPLED_VALUES = 1 << 22
INVISIBLE = "all pixels are transparent by the opacity channel, which was ignored"  # note of a photograph
_SRGB_TOLERANCE = 2  # levels of 255; sRGB profiles under other names differ by rounding only


@dataclass(frozen=True)
class ValueRange:
    """Which value of an image is white; larger ones are clipped.

    ``opaque``: value of opacity that is opaque. ``note``: what was assumed, None if nothing.
    """

    white: float
    opaque: float | None = None
    note: str | None = None


def find_value_range(
    samples: NDArray, bits: int | None = None, largest: float | None = None, *, has_alpha: bool = False
) -> ValueRange:
    """Find which value of an image is white, by the share of its values that exceed the usual ranges.

    The maximum does not decide: interpolation and sharpening exceed white, and single pixels are defective. 16-bit
    integers may have 8, 12 or 16 bits, as cameras store fewer bits without scaling; floating-point values may be
    fractions, or values of 8, 12 or 16 bits.

    ``samples``: (row, column) or (row, column, channel). ``bits``: used bits of integers, if the file states them.
    ``largest``: maximum value that the file states; used if it is that of a range that fits. ``has_alpha``: whether the
    last channel is opacity, which has a range of its own. Raises ``UnreadableImage`` for values of other types, that
    are not finite, or that fit no range.
    """
    _check_dtype(samples.dtype)
    colors = samples[..., :-1] if has_alpha else samples
    found = _find_range(colors, bits, largest)
    return replace(found, opaque=_find_opaque(samples[..., -1], bits)) if has_alpha else found


def to_eight_bit(samples: NDArray, values: ValueRange | None = None) -> NDArray[np.uint8]:
    """Convert samples of any depth to 8 bits; returns uint8, same shape.

    ``values``: their range; found by ``find_value_range`` by default. If it has one of opacity, the last channel is.
    """
    values = values or find_value_range(samples)
    if values.opaque is None:
        return _scale(samples, values.white)
    return np.concatenate([_scale(samples[..., :-1], values.white), _scale(samples[..., -1:], values.opaque)], axis=-1)


def _scale(samples: NDArray, white: float) -> NDArray[np.uint8]:
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)  # big-endian values are equal to no np.uint16
    if samples.dtype.kind == "f":
        return np.rint(np.clip(samples * (255.0 / white), 0, 255)).astype(np.uint8)
    if samples.dtype == bool:
        return samples.astype(np.uint8) * np.uint8(255)
    if samples.dtype == np.uint8 and white == _MAX_BYTE:
        return samples
    levels = np.arange(2 ** (samples.dtype.itemsize * 8)) * (255 / white)
    return np.rint(np.minimum(levels, 255)).astype(np.uint8)[samples]


def _check_dtype(dtype: np.dtype) -> None:
    if dtype.kind not in "bf" and dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise UnreadableImage(
            f"has {describe_dtype(dtype)}, but a photograph must have 8 or 16 bits unsigned, or floating points. "
            "Export it with 8 bits per channel."
        )


def describe_dtype(dtype: np.dtype) -> str:
    """Describe a data type for a message, such as ``16-bit unsigned integer samples``."""
    kinds = {"f": "floating-point", "i": "signed integer", "u": "unsigned integer", "c": "complex"}
    if dtype.kind not in kinds:
        return f"samples of type {dtype.name}"
    return f"{8 * dtype.itemsize}-bit {kinds[dtype.kind]} samples"


def _find_range(colors: NDArray, bits: int | None, largest: float | None) -> ValueRange:
    """Find the range of values without opacity."""
    if colors.dtype.kind == "f":
        return _find_float_range(colors, largest)
    full = 8 * colors.dtype.itemsize
    if full == 8 or (bits is not None and bits < full):
        return ValueRange(2 ** (bits or 8) - 1)
    highest = int(colors.max(initial=0))
    sampled = _sample(colors)
    if largest is not None and largest in _STATED_RANGES and _nearly_all_fit(sampled, highest, largest):
        used = int(largest).bit_length()
        note = f"the file states {largest:.0f} as the maximum value: its channels were read as {used}-bit values"
        return ValueRange(largest, note=note)
    white = next(top for top in _INTEGER_RANGES if _nearly_all_fit(sampled, highest, top))
    if highest == 0 or white == _INTEGER_RANGES[-1]:
        return ValueRange(_INTEGER_RANGES[-1])
    exceeding = "nearly no value exceeds" if highest > white else "no value exceeds"
    note = f"its 16-bit channels were read as {int(white).bit_length()}-bit values, as {exceeding} {white}"
    return ValueRange(white, note=note)


def _find_float_range(colors: NDArray, largest: float | None) -> ValueRange:
    """Find the range of floating-point values, which may be exceeded by a little due to interpolation."""
    invalid = int(np.count_nonzero(~np.isfinite(colors)))
    if invalid:
        raise UnreadableImage(
            f"has {invalid} values that are not finite (NaN or infinite), but all pixels of a photograph must have a "
            "color. Replace them and export it again."
        )
    low, high = float(colors.min(initial=0)), float(colors.max(initial=0))
    sampled = _sample(colors)
    ranges = (largest, *_FLOAT_RANGES) if largest in _FLOAT_RANGES else _FLOAT_RANGES
    fitting = (top for top in ranges if _nearly_all_fit(sampled, high / (1 + _OVERSHOOT), top, _OVERSHOOT))
    white = next(fitting, None)
    if white is None or low < -_OVERSHOOT * white or np.mean(sampled < -_HALF_LEVEL * white) > _MAX_UNDERSHOOT_SHARE:
        raise UnreadableImage(
            f"has floating points from {low:.4g} to {high:.4g}, but expected are 0 to 1, 0 to 255, 0 to 4095 or 0 to "
            "65535. Rescale it and export it again."
        )
    is_clipped = low < -_HALF_LEVEL * white or high > (1 + _HALF_LEVEL) * white
    if white == 1 and not is_clipped:
        return ValueRange(white)
    clipped = "; those outside were clipped" if is_clipped else ""
    return ValueRange(white, note=f"its floating-point values were read as 0 to {white:.0f}{clipped}")


def _find_opaque(alpha: NDArray, bits: int | None) -> float:
    """Return the value of opacity that is opaque: the end of the smallest range that it does not exceed."""
    if alpha.dtype.kind == "f":
        high = float(np.nan_to_num(alpha).max(initial=0)) / (1 + _OVERSHOOT)
        return next((top for top in _FLOAT_RANGES if high <= top), _FLOAT_RANGES[-1])
    full = 8 * alpha.dtype.itemsize
    if full == 8 or (bits is not None and bits < full):
        return float(2 ** (bits or 8) - 1)
    return next(top for top in _INTEGER_RANGES if alpha.max(initial=0) <= top)


def _sample(values: NDArray) -> NDArray:
    """Return some of the values, evenly distributed, so that their shares are found quickly."""
    step = max(1, math.isqrt(values.size // _SAMPLED_VALUES))
    return values[::step, ::step] if values.ndim > 1 else values


def _nearly_all_fit(values: NDArray, highest: float, white: float, overshoot: float = 0.0) -> bool:
    """Whether at most a small share of the values exceeds white; values of 0 do not count, as they fit any range."""
    if highest <= white:
        return True
    exceeding = np.count_nonzero(values > white * (1 + overshoot))
    return bool(exceeding <= _MAX_EXCEEDING_SHARE * np.count_nonzero(values))


def apply_orientation(image: NDArray, orientation: int) -> NDArray:
    """Rotate or flip an image according to its EXIF orientation.

    ``image``: (row, column, ...), as stored. Returns the upright image, contiguous.
    """
    return np.ascontiguousarray(apply_orientation_view(image, orientation))


def apply_orientation_view(image: NDArray, orientation: int) -> NDArray:
    """Return a view of an image, rotated or flipped according to its EXIF orientation.

    ``image``: (row, column, ...), as stored.
    """
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def to_srgb8(image: Image, profile: bytes | None) -> NDArray[np.uint8]:
    """Convert a Pillow image of 8 bits per channel to sRGB.

    ``image``: of mode 1, L, LA, La, P, PA, RGB, RGBA, RGBa, CMYK or YCbCr. Returns uint8 (row, column, channel=3),
    composited over white; opacity of which no pixel is visible is ignored, as ``note_invisible`` states.
    """
    from PIL import Image as PillowImage

    if not image.has_transparency_data or is_invisible(image):
        return np.array(_opaque_srgb(without_opacity(image), profile))
    gray = image.mode in ("1", "L", "LA", "La")
    image = image.convert("LA" if gray else "RGBA")
    rgb = _opaque_srgb(image.convert("L" if gray else "RGB"), profile)
    white = PillowImage.new("RGB", image.size, "white")
    return np.array(PillowImage.composite(rgb, white, image.getchannel("A")))


def is_invisible(image: Image) -> bool:
    """Whether an opacity channel is 0 everywhere, as some programs write it."""
    return image.mode in ("LA", "RGBA") and image.getchannel("A").getextrema()[1] == 0


def without_opacity(image: Image) -> Image:
    """Return the colors of an image without its opacity channel, if it has one."""
    return image.convert(image.mode[:-1]) if image.mode in ("LA", "RGBA") else image


def note_invisible(image: Image) -> tuple[str, ...]:
    """Return the note on an opacity channel that is 0 everywhere; none for other images."""
    return (INVISIBLE,) if is_invisible(image) else ()


def _opaque_srgb(image: Image, profile: bytes | None) -> Image:
    """Convert an image without alpha to RGB in sRGB."""
    from PIL import ImageCms

    if image.mode not in ("L", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    try:
        if profile:
            return _apply_profile(image, profile)
    except (ImageCms.PyCMSError, OSError) as error:
        logger.info("An ICC profile is ignored and the colors are regarded as sRGB: %s", error)
    return image if image.mode == "RGB" else image.convert("RGB")


def _apply_profile(image: Image, profile: bytes) -> Image:
    """Apply an ICC profile, unless it is sRGB itself."""
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    # Many cameras store gray images with an RGB profile.
    if image.mode == "L" and source.profile.xcolor_space.strip() == "RGB":
        image = image.convert("RGB")
    transform = ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        image.mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if image.mode == "RGB" and _is_identity(transform):
        return image
    return cast("Image", ImageCms.applyTransform(image, transform))


def _is_identity(transform: ImageCmsTransform) -> bool:
    """Whether a transform from RGB leaves colors unchanged, tested on a grid; large images then need no conversion."""
    from PIL import Image as PillowImage
    from PIL import ImageCms

    steps = np.arange(0, 256, 51, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(len(steps), -1, 3)
    converted = np.asarray(ImageCms.applyTransform(PillowImage.fromarray(cube), transform))
    return bool(np.abs(converted.astype(int) - cube).max() <= _SRGB_TOLERANCE)
