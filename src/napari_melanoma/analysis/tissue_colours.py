"""Colours of an overview of a slide: what glass looks like, how strongly a pixel is stained, what is ink of a pen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.stain import Triple, optical_density

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNSCANNED = 6  # scanners fill what they did not scan with black or white; no glass and no tissue is as dark
BRIGHT, NEUTRAL = 185, 30  # least of the channels and most of their difference that glass has
USUAL_WHITE: Triple = (245.0, 245.0, 245.0)
GLASS_SHARE = 0.001  # of the picture that has to look like glass to be believed
# Levels of brightness around the most frequent one, and staining seen against white, that glass beside white has.
WHITE, GLASS_SPREAD, GLASS_TINT = 255, 6.0, 0.06
STRAIGHT_PX = 8  # at least, of a straight line: of the outline of a disk, a sixth has such lines


def glass_colour(rgb: NDArray[np.uint8], empty: NDArray[np.bool_] | None = None) -> Triple:
    """Estimate the colour of glass: the middle of the brighter half of what is bright and hardly coloured.

    ``rgb``: uint8 (row, column, channel=3). ``empty``: bool (row, column), what was not scanned and shows no glass; by
    default as ``unscanned`` finds it, which knows it by the values of the file: say it where a profile was applied.
    Red, green, blue; a usual white where hardly anything looks like glass, as in a picture cut out of tissue.
    """
    pixels = rgb[~(unscanned(rgb) if empty is None else empty)]
    glass = pixels[_like_glass(pixels)]
    if len(glass) < max(1, GLASS_SHARE * len(pixels)):
        return USUAL_WHITE
    brightness = glass.sum(axis=1, dtype=np.int32)
    red, green, blue = np.median(glass[brightness >= np.median(brightness)], axis=0).tolist()
    return red, green, blue


def unscanned(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find what the scanner filled with black or white, as it came from the file.

    Black is no glass. White may be glass that is too bright for the camera, so white counts only where the rest shows
    glass of a colour of its own, and where it ends in straight lines, as fields of a scanner do and tissue does not.

    ``rgb``: uint8 (row, column, channel=3). Returns bool (row, column): black that reaches the border of the picture,
    white wherever it lies.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(rgb.max(axis=2) < UNSCANNED)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    white = _straight(rgb.min(axis=2) == WHITE)
    if white.any() and not _has_glass(rgb[~white]):
        white[:] = False
    found: NDArray[np.bool_] = np.isin(labels, border[border > 0]) | white
    return found


def _like_glass(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of (pixel, channel=3) are bright and hardly coloured."""
    least, most = pixels.min(axis=1), pixels.max(axis=1)
    return (least >= BRIGHT) & (most - least <= NEUTRAL)


def _has_glass(pixels: NDArray[np.uint8]) -> bool:
    """Whether (pixel, channel=3) have a colour of glass beside white: much of nearly one colour, itself hardly stained.

    What pale tissue has of such colours is spread widely, or stained.
    """
    glass = pixels[_like_glass(pixels)]
    if len(glass) < max(1, GLASS_SHARE * len(pixels)):
        return False
    brightness = glass.mean(axis=1)
    usual = int(np.bincount(brightness.astype(np.int64)).argmax())
    near = np.abs(brightness - usual) <= GLASS_SPREAD
    density = optical_density(np.median(glass[near], axis=0)[None, None].astype(np.float32), (WHITE, WHITE, WHITE))
    return bool(near.mean() >= 0.5 and staining(density)[0, 0] <= GLASS_TINT)


def _straight(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Parts of a mask of which at least half of the outline runs straight along rows or columns; all of it has none."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    outline, straight = np.zeros(count + 1), np.zeros(count + 1)
    for axis in (0, 1):
        along = np.moveaxis(labels, axis, 0)  # of two neighbours, one in the mask and one beside it
        owner = np.maximum(along[1:], along[:-1]) * ((along[1:] == 0) != (along[:-1] == 0))
        kept = ndimage.binary_opening(owner > 0, np.ones((1, STRAIGHT_PX), bool))
        outline += np.bincount(owner.ravel(), minlength=count + 1)
        straight += np.bincount(owner[kept], minlength=count + 1)
    found = (outline > 0) & (straight >= 0.5 * outline)
    found[0] = False
    return found[labels]


def staining(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """How strongly pixels are stained: the difference between the channels that absorb most and least.

    Every stain of tissue, and melanin, absorbs colours unequally; shadows, dust, air and uneven light do not.

    ``density``: float32 (row, column, channel=3), optical density. Returns float32 (row, column), 0 for glass.
    """
    spread: NDArray[np.float32] = density.max(axis=2) - density.min(axis=2)
    return spread


def ink(density: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find colours that pens have: those that no stain has, and those that stained tissue comes near to.

    Haematoxylin and eosin absorb green most, brown chromogens blue: what absorbs green least is green ink. Blue ink
    takes far more red than green, red ink hardly any red but blue as well as green, black ink all alike. Dense nuclei,
    blood and melanin do so too to a lesser degree, so these three are certain only where they are strong.

    ``density``: float32 (row, column, channel=3), optical density. Returns bool (row, column).
    """
    red, green, blue = np.moveaxis(density, 2, 0)
    mean = density.mean(axis=2)
    of_green = (density.max(axis=2) > 0.3) & (green < 0.75 * red) & (green < 0.9 * blue)
    of_blue = (red > 1.2 * green) & (blue < 0.45 * red)
    of_red = (blue > 0.7 * green) & (red < 0.25 * green)
    of_black, nearly_black = staining(density) < 0.22 * mean, staining(density) < 0.3 * mean
    strong = (of_blue & (red > 1.2)) | (of_red & (green > 1.3)) | (of_black & (mean > 1.4))
    weak = (of_blue & (red > 0.6)) | (of_red & (green > 0.9)) | (nearly_black & (mean > 0.8))
    certain = of_green | strong
    return certain, weak & ~certain


def densities(rgb: NDArray[np.uint8], white: Triple, sigma_px: float) -> NDArray[np.float32]:
    """Optical density of a slightly smoothed picture, lighter than glass counted as glass.

    ``rgb``: uint8 (row, column, channel=3). Returns float32 (row, column, channel=3).
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(rgb.astype(np.float32), (sigma_px, sigma_px, 0), mode="nearest")
    return np.maximum(optical_density(smooth, white), 0)
