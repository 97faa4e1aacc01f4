"""Conversion of decoded images to upright 8-bit sRGB, by the same rules for all formats.

The rules are:

- integers are scaled from their full range, or from that of fewer bits if the file states or ``detect_bit_depth`` finds
  fewer; floating-point values as in ``to_eight_bit``;
- transparent pixels are blended over white, as on paper and in viewers;
- an embedded ICC profile is converted to sRGB (relative colorimetric with black point compensation); a profile that is
  damaged or belongs to another color space is ignored, and the colors are regarded as sRGB;
- CMYK without a profile is converted by the simple formula of Pillow, so its colors are approximate;
- the image is rotated or flipped according to its EXIF orientation.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

logger = logging.getLogger(__name__)
_UNSCALED_BITS = (8, 12)  # bits per channel that cameras store in 16 bits without scaling
_SRGB_TOLERANCE = 2  # levels of 255; sRGB profiles under other names differ by rounding only


def to_eight_bit(samples: NDArray, bits: int | None = None) -> NDArray[np.uint8]:
    """Convert samples of any depth to 8 bits.

    Floating-point values are scaled by their range: up to 1 as fractions, up to 255 as 8-bit values, up to 65,535 as
    16-bit values.

    ``bits``: used bits of integer samples; all by default. Returns uint8, same shape.
    """
    if samples.dtype == bool:
        return samples.astype(np.uint8) * np.uint8(255)
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)  # big-endian values are equal to no np.uint16
    if samples.dtype in (np.uint8, np.uint16):
        bits = bits or samples.dtype.itemsize * 8
        if samples.dtype == np.uint8 and bits == 8:
            return samples
        levels = np.arange(2 ** (samples.dtype.itemsize * 8)) * (255 / (2**bits - 1))
        return np.rint(np.minimum(levels, 255)).astype(np.uint8)[samples]
    if samples.dtype.kind == "f":
        return _floats_to_eight_bit(samples)
    raise UnreadableImage(
        f"has {describe_dtype(samples.dtype)}, but a photograph must have 8 or 16 bits unsigned, or floating points. "
        "Export it with 8 bits per channel."
    )


def describe_dtype(dtype: np.dtype) -> str:
    """Describe a data type for a message, such as ``16-bit unsigned integer samples``."""
    kinds = {"f": "floating-point", "i": "signed integer", "u": "unsigned integer", "c": "complex"}
    if dtype.kind not in kinds:
        return f"samples of type {dtype.name}"
    return f"{8 * dtype.itemsize}-bit {kinds[dtype.kind]} samples"


def detect_bit_depth(samples: NDArray) -> tuple[int | None, str | None]:
    """Detect whether a camera stored fewer than 16 bits per channel in a 16-bit image.

    Such an image would be nearly black if it were scaled from the full range. Its maximum is below a sixteenth of that
    range, because the values have 12 or 8 bits.

    ``samples``: (row, column) or (row, column, channel); alpha is ignored. Returns the number of bits and a note for
    the result; both are None if the full range is used.
    """
    if samples.dtype.newbyteorder("=") != np.uint16:
        return None, None
    colors = samples if samples.ndim == 2 else samples[..., : max(1, samples.shape[2] - 1 + samples.shape[2] % 2)]
    brightest = int(colors.max(initial=0))
    bits = next((bits for bits in _UNSCALED_BITS if 0 < brightest < 2**bits), None)
    if bits is None:
        return None, None
    return bits, f"no value of its 16-bit channels exceeds {brightest}: they were read as {bits}-bit values"


def _floats_to_eight_bit(samples: NDArray) -> NDArray[np.uint8]:
    """Convert floating-point values according to their range."""
    invalid = int(np.count_nonzero(~np.isfinite(samples)))
    if invalid:
        raise UnreadableImage(
            f"has {invalid} values that are not finite (NaN or infinite), but all pixels of a photograph must have a "
            "color. Replace them and export it again."
        )
    low, high = float(samples.min()), float(samples.max())
    top = next((top for top in (1.0, 255.0, 65535.0) if high <= top), None)
    if low < 0 or top is None:
        raise UnreadableImage(
            f"has floating points from {low:.4g} to {high:.4g}, but expected are 0 to 1, 0 to 255 or 0 to 65535. "
            "Rescale it and export it again."
        )
    return np.rint(samples * (255.0 / top)).astype(np.uint8)


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
    composited over white.
    """
    from PIL import Image as PillowImage

    if not image.has_transparency_data:
        return np.array(_opaque_srgb(image, profile))
    gray = image.mode in ("1", "L", "LA", "La")
    image = image.convert("LA" if gray else "RGBA")
    rgb = _opaque_srgb(image.convert("L" if gray else "RGB"), profile)
    white = PillowImage.new("RGB", image.size, "white")
    return np.array(PillowImage.composite(rgb, white, image.getchannel("A")))


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
