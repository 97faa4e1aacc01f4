"""Colors of a lesion and the skin around it, color constancy, and the black around the view of a dermatoscope."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.masks import bounding_box, grow_box

GRID_SIDE = 256  # largest side, in pixels, of the grid on which colors are measured
RING_WIDTHS = (0.05, 0.25)  # distances of the ring of skin from the lesion, in equivalent diameters
FRAME_SHARE = (
    0.02  # of the pixels of a line of a black frame, which may be brighter: hairs, dust, the top of a round view
)
BLACK = 20  # of 255, brightest channel: neither the darkest skin nor its shadows are darker over a wide area
HAIR_SHARE = 1 / 150  # of the longer side: black that is narrower is a hair
RIM_SHARE = 0.025  # of the longer side, around black: the edge of a round view is blurred and dim
CLIPPED = 250  # of 255: clipped pixels show the limit of the camera, not the color of the light
MIN_UNCLIPPED_SHARE = 0.05  # share of unclipped pixels below which all pixels are used
MIN_LIGHT = 1.0  # of 255, assumed for an empty channel
DARK = 20.0  # CIELAB lightness below which there is almost no light
EDGE = 0.25  # share of a side that may be dark, because of hairs or a lesion at the border
MAX_CUT_SIDE_SHARE = 0.5  # dark share of the first cropped side above which it is a black bar rather than a circle
MIN_SIDE_SHARE = 0.25  # side that must be left, as a fraction of the photograph's
ELLIPSE_MARGIN = 1.1  # radii from the center beyond which pixels count as outside of the circle
MIN_BLACK_SHARE = 0.9  # dark share of the pixels outside of a circle
# The six colors that the ABCD rule of dermatoscopy counts (Nachbar et al. 1994, doi:10.1016/S0190-9622(94)70061-3).
# The rule names them without values: these sRGB values are this program's own.
ABCD_COLORS: dict[str, tuple[int, int, int]] = {
    "white": (235, 228, 222),
    "red": (190, 80, 75),
    "light brown": (175, 120, 85),
    "dark brown": (95, 60, 42),
    "blue-grey": (105, 112, 130),
    "black": (38, 30, 30),
}
# sRGB (IEC 61966-2-1) to XYZ relative to the D65 white, so that white is (1, 1, 1).
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_TO_RELATIVE = (_TO_XYZ / _TO_XYZ.sum(axis=1, keepdims=True)).astype(np.float32)
_STEPS = np.arange(256) / 255
_LINEAR = np.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert sRGB to CIELAB under D65 (CIE 15:2004).

    Other than that of scikit-image, gray is neutral; a lookup table for the gamma halves the time.

    ``rgb``: uint8, (..., channel=3). Returns float32, same shape: L* from 0 to 100, a*, b*.
    """
    # einsum, not a matrix product: BLAS would start threads for it, which stall on a busy machine.
    relative = np.einsum("...c,wc->...w", _LINEAR[rgb], _TO_RELATIVE)
    compressed = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative * (841 / 108) + 4 / 29)
    x, y, z = compressed[..., 0], compressed[..., 1], compressed[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def to_srgb(lab: NDArray[np.floating]) -> NDArray[np.float32]:
    """Convert CIELAB under D65 to sRGB: the inverse of ``to_lab``.

    Returns float32, same shape, from 0 to 1; colors outside sRGB are clipped.
    """
    y = (lab[..., 0] + 16) / 116
    compressed = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    relative = np.where(compressed > 6 / 29, compressed**3, (compressed - 4 / 29) * (108 / 841))
    linear = np.clip(np.einsum("...w,cw->...c", relative, np.linalg.inv(_TO_RELATIVE)), 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)


def color_shares(lab: NDArray[np.float32]) -> dict[str, float]:
    """Return the share of pixels that are nearest to each of the six colors of the ABCD rule, by distance in CIELAB.

    ``lab``: float32, (pixel, channel=3), at least one. Returns share by name of the color; the shares add up to 1.
    """
    references = to_lab(np.array(list(ABCD_COLORS.values()), np.uint8))
    # |p - r|^2 without |p|^2, which is the same for every reference.
    distances = (references**2).sum(axis=1) - 2 * np.einsum("pc,rc->pr", lab, references)
    counts = np.bincount(distances.argmin(axis=1), minlength=len(references))
    return dict(zip(ABCD_COLORS, (counts / len(lab)).tolist(), strict=True))


def lesion_and_ring(
    mask: NDArray[np.bool_], rgb: NDArray[np.uint8], usable: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]]:
    """Find the lesion and the ring of skin around it on one grid, averaged down to at most 256 pixels a side.

    The ring is 5 % to 25 % of the equivalent diameter away from the lesion; it is empty if the lesion fills the view.

    ``mask``: boolean, (row, column), not empty. ``rgb``: photograph, uint8, (row, column, channel=3). ``usable``: bool
    (row, column), pixels of the photograph that may be skin; those of ``find_view`` by default. Returns lesion and
    ring, bool (row, column), and the colors in CIELAB, float32 (row, column, channel=3), all on the grid.
    """
    from PIL import Image
    from scipy import ndimage

    box = bounding_box(mask)
    assert box is not None, "the caller measures masks that are not empty"
    if usable is None:
        usable = find_view(rgb, mask)
    diameter = math.sqrt(4 * np.count_nonzero(mask) / math.pi)
    view = grow_box(box, math.ceil(RING_WIDTHS[1] * diameter) + 1, (mask.shape[0], mask.shape[1]))
    step = math.ceil(max(view.height, view.width) / GRID_SIDE)
    coverage = np.asarray(Image.fromarray(mask[view.slices].view(np.uint8) * 255).reduce(step))
    colors = np.asarray(Image.fromarray(np.ascontiguousarray(rgb[view.slices])).reduce(step))
    shares = np.asarray(Image.fromarray(usable[view.slices].view(np.uint8) * 255).reduce(step))
    lesion = coverage == coverage.max()
    distance = ndimage.distance_transform_edt(coverage == 0) * step
    ring = (distance > max(1.0, RING_WIDTHS[0] * diameter)) & (distance <= max(2.0, RING_WIDTHS[1] * diameter))
    return lesion, ring & (shares == 255), to_lab(colors)


def find_view(rgb: NDArray[np.uint8], lesion: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the pixels that may show skin: all but white bars, the black around the view, and the dim rim of the view.

    ``rgb``: photograph, uint8, (row, column, channel=3), of any size. ``lesion``: bool (row, column). Returns bool
    (row, column), with a precision of 1/256 of the longer side; all True if nothing is outside the view.
    """
    from PIL import Image
    from scipy import ndimage

    part = _without_white_bars(rgb)
    height, width = rgb[part].shape[:2]
    view = np.zeros(lesion.shape, bool)
    if not height:
        return view
    step = math.ceil(max(height, width) / GRID_SIDE)
    colors = np.asarray(Image.fromarray(np.ascontiguousarray(rgb[part])).reduce(step))
    shares = np.asarray(Image.fromarray(lesion[part].view(np.uint8) * 255).reduce(step))
    black = black_around_view(colors, shares > 0)
    if black.any():
        inside = ndimage.distance_transform_edt(~black) > RIM_SHARE * max(black.shape)
        view[part] = inside.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
    else:
        view[part] = True
    return view


def black_around_view(rgb: NDArray[np.uint8], lesion: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the black around the circle of a dermatoscope or around a turned photograph, and black bars.

    Such an area extends to the edge of the photograph, and is wider than a hair.

    ``rgb``: uint8 (row, column, channel=3). ``lesion``: bool (row, column), left out however dark it is. Returns bool
    (row, column).
    """
    from scipy import ndimage

    black = (rgb.max(axis=2) < BLACK) & ~lesion
    if not any(side.any() for side in (black[0], black[-1], black[:, 0], black[:, -1])):
        return np.zeros_like(black)
    reach = max(1, round(HAIR_SHARE * max(black.shape) / 2))
    frame = 2 * reach + 1  # wide enough to remain after the opening; it connects all areas at the edge
    framed = np.pad(black, frame, constant_values=True)
    labels, _ = ndimage.label(ndimage.binary_opening(framed, np.ones((3, 3), bool), iterations=reach))
    around: NDArray[np.bool_] = (labels == labels[0, 0])[frame:-frame, frame:-frame]
    return around


def find_picture(rgb: NDArray[np.uint8]) -> Box:
    """Find the part of a photograph inside a black frame, black bars, or the black around a round view.

    Segmentation and crops for classifiers are limited to it, so that they do not depend on the black around. Only lines
    that are black from end to end are left out: a dark lesion at the edge has skin beside it.

    ``rgb``: photograph, uint8, (row, column, channel=3), of any size. Returns the whole photograph if it has no such
    lines, or if they leave less than a quarter of its height or width.
    """
    rows, columns = _without_bars(rgb, lambda line: (line.max(axis=1) >= BLACK).mean() <= FRAME_SHARE)
    box = Box(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
    is_enough = box.height >= MIN_SIDE_SHARE * rgb.shape[0] and box.width >= MIN_SIDE_SHARE * rgb.shape[1]
    return box if is_enough else Box(0, 0, rgb.shape[0], rgb.shape[1])


def _without_white_bars(rgb: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rows and columns without white padding, whose lines are white from end to end; may be empty."""
    return _without_bars(rgb, lambda line: line.min() >= CLIPPED)


def _without_bars(rgb: NDArray[np.uint8], is_bar: Callable[[NDArray[np.uint8]], bool]) -> tuple[slice, slice]:
    """Return the rows and columns inside the outermost lines, each (pixel, channel), that belong to a bar."""
    height, width = rgb.shape[:2]
    lines = (rgb, rgb[::-1], rgb.transpose(1, 0, 2), rgb.transpose(1, 0, 2)[::-1])
    top, bottom, left, right = (
        next((count for count, line in enumerate(side) if not is_bar(line)), len(side)) for side in lines
    )
    return slice(top, height - bottom), slice(left, width - right)


def scale_channels(rgb: NDArray[np.uint8], gains: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Multiply each channel by its factor.

    ``rgb``: uint8 sRGB (row, column, channel). ``gains``: float64 (3,), from ``illuminant_gains``. Returns uint8, same
    shape; values above white are clipped.
    """
    table = np.rint(np.clip(np.arange(256)[:, None] * gains, 0, 255)).astype(np.uint8)
    return np.stack([table[rgb[..., channel], channel] for channel in range(3)], axis=-1)


def illuminant_gains(rgb: NDArray[np.uint8], power: float = 6.0) -> NDArray[np.float64]:
    """Calculate the factors of the channels that make the light white, at the same brightness.

    They make the power means of the channels equal. With power 1 the mean color is regarded as that of the light (gray
    world), with infinity the brightest one (white patch): Finlayson and Trezzi 2004, "Shades of gray and color
    constancy". The default is that of Barata et al. 2015 for dermoscopy, doi:10.1109/JBHI.2014.2336473.

    ``rgb``: uint8 sRGB (row, column, channel). Returns float64 (3,), all 1 if the light is white already.
    """
    unclipped = rgb.max(axis=2) < CLIPPED
    pixels = rgb[unclipped] if unclipped.mean() >= MIN_UNCLIPPED_SHARE else rgb.reshape(-1, 3)
    # From a histogram, so that the power is calculated for 256 numbers only.
    counts = np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(3)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    light = np.maximum((shares @ (np.arange(256) / 255) ** power) ** (1 / power), MIN_LIGHT / 255)
    return np.sqrt((light**2).mean()) / light


def illuminated_rectangle(lightness: NDArray[np.float32]) -> tuple[slice, slice] | None:
    """Find approximately the largest rectangle inside an illuminated circle or ellipse on black.

    ``lightness``: float32 (row, column), CIELAB lightness, 0 to 100; about 64 x 64 pixels are enough. Returns rows and
    columns of the rectangle; None if there is no such circle, or if it is too small.
    """
    dark = lightness < DARK
    part = _crop_dark_sides(dark)
    return part if part is not None and _extends_beyond_sides(dark, part) and _is_black_around(dark, part) else None


def _crop_dark_sides(dark: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Crop rows and columns, the darkest first, until no side is dark."""
    top, bottom, left, right = 0, dark.shape[0], 0, dark.shape[1]
    while bottom - top >= MIN_SIDE_SHARE * dark.shape[0] and right - left >= MIN_SIDE_SHARE * dark.shape[1]:
        part = dark[top:bottom, left:right]
        shares = [float(side.mean()) for side in (part[0], part[-1], part[:, 0], part[:, -1])]
        darkest = int(np.argmax(shares))
        if shares[darkest] <= EDGE:
            return None if part.shape == dark.shape else (slice(top, bottom), slice(left, right))
        top, bottom = top + (darkest == 0), bottom - (darkest == 1)
        left, right = left + (darkest == 2), right - (darkest == 3)
    return None


def _extends_beyond_sides(dark: NDArray[np.bool_], part: tuple[slice, slice]) -> bool:
    """Whether the light extends beyond the middle of each side, as in a circle."""
    rows, columns = part
    beyond = [dark[row, columns] for row in (rows.start - 1, rows.stop) if 0 <= row < dark.shape[0]]
    beyond += [dark[rows, column] for column in (columns.start - 1, columns.stop) if 0 <= column < dark.shape[1]]
    return all(side.mean() < MAX_CUT_SIDE_SHARE for side in beyond)


def _is_black_around(dark: NDArray[np.bool_], part: tuple[slice, slice]) -> bool:
    """Whether the image is dark outside the ellipse around the rectangle."""
    down, across = (
        (np.arange(length) - (side.start + side.stop - 1) / 2) / ((side.stop - side.start) / np.sqrt(2))
        for side, length in zip(part, dark.shape, strict=True)
    )
    outside = dark[np.hypot(down[:, None], across[None, :]) > ELLIPSE_MARGIN]
    return outside.size == 0 or bool(outside.mean() >= MIN_BLACK_SHARE)
