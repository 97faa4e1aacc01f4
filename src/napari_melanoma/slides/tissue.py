"""Detect the tissue on an overview of a slide, without glass, pen ink and dirt; mark folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.imaging.masks import label_components
from napari_melanoma.imaging.stain import RGBValues, optical_density
from napari_melanoma.slides.reading.slide import Slide, SlideInfo

TissueMethod = Literal["auto", "otsu", "entropy"]
Value = TypeVar("Value", np.uint8, np.float32)
Combine = Callable[["NDArray", "NDArray"], "NDArray"]  # of arrays of the same shape, such as ``np.maximum``
WORKING_UM = 4.0  # finer overviews are downscaled, as single cells do not help to detect tissue
MAX_SIDE_PX = 2048  # larger overviews are downscaled, so that detection takes a second or two
# Fat is tissue of which a window, three fat cells wide, contains less than a share, or which is faint, relative to the
# median staining of the slide, and has gaps. The edge of other tissue has a share of a half, and is not faint.
FAT_WINDOW_UM, FAT_SHARE, FAT_FAINT, FAT_GAPS = 160.0, 0.15, 0.45, 0.1
ASSUMED_SLIDE_UM = 20_000.0  # assumed longer side of an overview without a pixel size
MIN_ENTROPY, GRAY_STEP = 1.3, 4.0  # in bits, and in gray levels: glass with usual noise has less than a bit
MIN_STAINING, MAX_STAINING = 0.035, 0.10  # limits of the threshold that is estimated from noise
# A fold has two layers: it is twice as dark as the tissue around it where the image is sharp, and less at its edges.
FOLD_CANDIDATE, FOLD_DARKER = 1.35, 1.5  # least ratios of darkness, for each pixel and for the mean of a piece
FOLD_ALIKE = 0.997  # least cosine between the optical densities of a fold and of the tissue around it: 4 degrees
FOLD_UM = 8.0  # finer overviews are downscaled: folds are several times as wide
FINE_FOLD_UM, AROUND_FOLD_UM, MAX_FOLD_UM = 12.0, 150.0, 400.0  # smoothing, surroundings, greatest width

UNSCANNED_LEVEL = 6  # unscanned areas are black or white; neither glass nor tissue is this dark
MIN_GLASS_LEVEL, MAX_GLASS_TINT = 185, 30  # least value of a channel, and greatest difference between channels
DEFAULT_WHITE: RGBValues = (245.0, 245.0, 245.0)
GLASS_SHARE = 0.001  # minimum share of the image for estimating the color of glass
WHITE = 255
# Greatest distance of the brightness of glass from the most frequent one, and greatest staining relative to white.
GLASS_SPREAD, GLASS_TINT = 6.0, 0.06
DARK_OVERVIEW_LEVEL = 60  # half of the values are below this in fluorescence
STRAIGHT_PX = 8  # minimum length of a straight line; a sixth of the outline of a disk has such lines

THUMBNAIL_PX = 2048


class TissueConfig(Config):
    """Parameters of tissue detection and of the postprocessing of the mask."""

    method: TissueMethod = Field(
        "auto",
        description="threshold on staining: auto: above the noise of the glass; otsu: from the histogram; "
        "entropy: Otsu's, on the local entropy",
    )
    threshold: float | None = Field(None, ge=0, description="fixed threshold, in optical density or, for entropy, bits")
    find_pen: bool = Field(True, title="Exclude pen ink", description="exclude pen ink: green, blue, red and black")
    fat: Literal["drop", "keep"] = Field("drop", description="fat: excluded, or kept with the empty fat cells filled")
    folds: Literal["keep", "drop"] = Field(
        "keep", title="Tissue folds", description="folded tissue: analyzed or excluded"
    )
    min_area_mm2: float = Field(
        0.05, title="Minimum area (mm²)", ge=0, description="smaller pieces are removed as dirt"
    )
    fill_holes_mm2: float = Field(
        0.05, title="Fill holes up to (mm²)", ge=0, description="smaller holes in tissue are filled: vessels, glands"
    )
    margin_um: float = Field(
        0.0,
        title="Margin (µm)",
        ge=0,
        le=1000,
        description="tissue is widened by this distance, so that no edge is lost",
    )


@dataclass(frozen=True)
class TissueDetection:
    """Detected tissue, pen and folds, each bool (row, column) of the overview, with warnings for the user.

    ``threshold``: minimum staining (in optical density) or entropy (bits) of tissue.
    """

    mask: NDArray[np.bool_]
    pen: NDArray[np.bool_]
    fold: NDArray[np.bool_]
    threshold: float
    warnings: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the overview that is tissue."""
        return float(self.mask.mean())


def find_tissue(
    thumbnail: NDArray[np.uint8],
    um_per_px: tuple[float, float] | None,
    config: TissueConfig,
    run: RunContext = NULL_CONTEXT,
) -> TissueDetection:
    """Detect the tissue on an overview of a slide.

    ``thumbnail``: uint8 (row, column, channel=3), brightfield; 8 to 16 micrometers per pixel are best. ``um_per_px``:
    micrometers per pixel, (y, x); without it, the longer side is assumed to be 20 mm. If there is only glass, the masks
    are empty, with a warning.
    """
    small, um, factor = _to_working_scale(thumbnail, um_per_px)
    empty = find_unscanned(small)
    density = smoothed_optical_density(small, estimate_glass_color(small, empty), sigma_px=1.0)
    density[empty] = 0
    run.check()
    pen = _find_pen(density, um) if config.find_pen else np.zeros(small.shape[:2], bool)
    run.check()
    stained = _local_entropy(density) if config.method == "entropy" else staining_strength(density)
    threshold = config.threshold if config.threshold is not None else _threshold(stained[~(pen | empty)], config)
    mask = (stained > threshold) & ~pen
    if config.fat == "drop":
        mask &= ~_find_fat(stained, mask, um)
    run.check()
    mask = _clean_mask(mask, um, config) & ~pen
    run.check()
    fold = _find_folds(density, mask, um)
    if config.folds == "drop":
        mask &= ~fold
    warnings = _tissue_warnings(mask, pen, fold, small)
    mask, pen, fold = (_enlarge(found, factor, thumbnail.shape) for found in (mask, pen, fold))
    return TissueDetection(mask, pen, fold, float(threshold), warnings)


def find_signal(
    thumbnail: NDArray[np.uint8], um_per_px: tuple[float, float] | None, config: TissueConfig
) -> TissueDetection:
    """Detect the tissue on an overview of three fluorescence channels: signal in any of them.

    ``thumbnail``: uint8 (row, column, channel=3), black without signal, see ``slides.reading.composite``. Other
    arguments as in ``find_tissue``; there is no pen ink, and folds are not detected.
    """
    small, um, factor = _to_working_scale(thumbnail, um_per_px)
    # Inverted, a signal has the same range as a stain, so that the same thresholds apply.
    signal = smoothed_optical_density(WHITE - small, (WHITE, WHITE, WHITE), sigma_px=1.0).max(axis=2)
    threshold = config.threshold if config.threshold is not None else _threshold(signal, config)
    found = _clean_mask(signal > threshold, um, config)
    warnings = (
        () if found.any() else ("no tissue was found: no channel has a signal. Check the limits of the channels.",)
    )
    mask, none = _enlarge(found, factor, thumbnail.shape), np.zeros(thumbnail.shape[:2], bool)
    return TissueDetection(mask, none, none, float(threshold), warnings)


def _to_working_scale(
    thumbnail: NDArray[np.uint8], um_per_px: tuple[float, float] | None
) -> tuple[NDArray[np.uint8], tuple[float, float], int]:
    """Downscale an overview; return it with micrometers per pixel and the factor."""
    step_um = um_per_px or (ASSUMED_SLIDE_UM / max(thumbnail.shape[:2]),) * 2
    factor = max(1, round(WORKING_UM / max(step_um)), -(-max(thumbnail.shape) // MAX_SIDE_PX))
    return _reduce(thumbnail, factor), (step_um[0] * factor, step_um[1] * factor), factor


def _enlarge(mask: NDArray[np.bool_], factor: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return mask if factor == 1 else mask.repeat(factor, axis=0).repeat(factor, axis=1)[: shape[0], : shape[1]]


def _threshold(stained: NDArray[np.float32], config: TissueConfig) -> float:
    """Return the threshold by the requested method, at least above the noise of glass."""
    from skimage import filters

    if not stained.size or stained.max() <= MIN_STAINING:
        return MIN_STAINING
    if config.method == "auto":
        return float(np.clip(_noise_threshold(stained), MIN_STAINING, MAX_STAINING))
    if config.method == "entropy":
        return max(MIN_ENTROPY, float(filters.threshold_otsu(stained)))
    return max(MIN_STAINING, float(filters.threshold_otsu(stained)))


def _noise_threshold(stained: NDArray[np.float32]) -> float:
    """Return a threshold six standard deviations above the mode of glass.

    The deviation is estimated from the values below the mode, which are not those of tissue.
    """
    glass = stained[stained < 2 * MAX_STAINING]
    counts, edges = np.histogram(glass, bins=128, range=(0, 2 * MAX_STAINING))
    mode = edges[counts.argmax()] + (edges[1] - edges[0]) / 2
    below = glass[glass <= mode]
    return float(mode + 6 * 1.4826 * np.median(mode - below)) if len(below) else MIN_STAINING


def _local_entropy(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the local entropy in bits of gray levels that are quantized in steps above the usual noise of glass."""
    from skimage.filters import rank

    gray = (255 * np.exp(-density.mean(axis=2)) / GRAY_STEP).astype(np.uint8)
    entropy: NDArray[np.float32] = rank.entropy(gray, np.ones((9, 9), np.uint8)).astype(np.float32)
    return entropy


def _find_pen(density: NDArray[np.float32], um: tuple[float, float]) -> NDArray[np.bool_]:
    """Detect pen ink with its pale edges; doubtful colors count if connected to certain ink or surrounded by glass."""
    certain, doubtful = find_ink(density)
    certain = _remove_small(_cross(np.logical_or, _cross(np.logical_and, certain)), um, 0.01)
    labels, count = label_components(_remove_small(certain | doubtful, um, 0.02))
    if not count:
        return certain
    owner = _local_maximum(labels, um, 60)
    ring = (owner > 0) & (_local_maximum(labels, um, 25) == 0)
    glass = (staining_strength(density) < MAX_STAINING)[ring]
    ring_cells = np.maximum(np.bincount(owner[ring], minlength=count + 1), 1)
    pen = np.bincount(owner[ring], glass, count + 1) / ring_cells >= 0.5
    pen[labels[certain]] = True
    pen[0] = False
    return _dilate(pen[labels], um, 40)


def _clean_mask(mask: NDArray[np.bool_], um: tuple[float, float], config: TissueConfig) -> NDArray[np.bool_]:
    """Close gaps, including those of fat if it is kept; remove small pieces, fill small holes, add the margin."""
    mask = _close_gaps(mask, um, 60 if config.fat == "keep" else 10)
    mask = _remove_small(mask, um, config.min_area_mm2)
    mask = ~_remove_small(~mask, um, 0.5 if config.fat == "keep" else config.fill_holes_mm2)
    return _dilate(mask, um, config.margin_um)


def _find_folds(density: NDArray[np.float32], mask: NDArray[np.bool_], um: tuple[float, float]) -> NDArray[np.bool_]:
    """Detect folds: narrow pieces of tissue that are darker than the tissue around them and have the same hue.

    Epidermis and nests of cells are darker too, but more blue than the dermis around them.
    """
    from scipy import ndimage

    factor = max(1, round(FOLD_UM / max(um)))
    if factor > 1:
        coarse = _find_folds(_reduce(density, factor), _reduce_mask(mask, factor), (um[0] * factor, um[1] * factor))
        return _enlarge(coarse, factor, mask.shape) & mask
    darkness, weight = density.mean(axis=2) * mask, mask.astype(np.float32)
    fine, away = (tuple(by_um / step for step in um) for by_um in (FINE_FOLD_UM, AROUND_FOLD_UM))
    smooth, usual = (
        blur(darkness, sigma) / np.maximum(blur(weight, sigma), 1e-6)
        for blur, sigma in ((ndimage.gaussian_filter, fine), (_blur_widely, tuple(3 * part for part in away)))
    )
    labels, count = label_components(_remove_small(mask & (smooth > FOLD_CANDIDATE * usual), um, 0.02))
    fold = np.zeros(count + 1, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        near = tuple(
            slice(max(0, part.start - round(away[axis])), part.stop + round(away[axis]))
            for axis, part in enumerate(box)
        )
        piece = labels[near] == number
        adjacent = _dilate(piece, um, AROUND_FOLD_UM) & (labels[near] == 0) & mask[near]
        is_dark = _is_darker(density[near], piece, adjacent)
        fold[number] = is_dark and _width_um(labels[box] == number, um) <= MAX_FOLD_UM
    return fold[labels]


def _blur_widely(values: NDArray[np.float32], sigma: Sequence[float]) -> NDArray[np.float32]:
    """Apply a Gaussian filter within 0.00001 of ``scipy.ndimage.gaussian_filter``, the faster the greater sigma is.

    Its kernel, which ends at four sigma, is applied by a cosine transform, which mirrors the image at its borders. Only
    the frequencies that pass are computed.
    """
    from scipy import fft

    responses = []
    for side, deviation in zip(values.shape, sigma, strict=True):
        offsets = np.arange(-int(4 * deviation + 0.5), int(4 * deviation + 0.5) + 1)
        kernel = np.exp(-0.5 * (offsets / deviation) ** 2)
        passing = np.arange(min(side, 8 + int(6 * side / (np.pi * deviation))))
        responses.append(np.cos(np.pi / side * np.outer(passing, offsets)) @ (kernel / kernel.sum()))
    rows, columns = (response.astype(np.float32) for response in responses)
    frequencies = fft.dct(fft.dct(values, axis=1)[:, : len(columns)], axis=0)[: len(rows)]
    frequencies *= rows[:, None] * columns
    return fft.idct(fft.idct(frequencies, n=values.shape[0], axis=0), n=values.shape[1], axis=1)


def _is_darker(density: NDArray[np.float32], piece: NDArray[np.bool_], adjacent: NDArray[np.bool_]) -> bool:
    """Whether a piece of tissue is much darker than the adjacent tissue, and of the same hue."""
    if not adjacent.any():
        return False
    inside, outside = density[piece].mean(axis=0), density[adjacent].mean(axis=0)
    similarity = float(inside @ outside / (np.linalg.norm(inside) * np.linalg.norm(outside)))
    return similarity > FOLD_ALIKE and float(inside.mean()) > FOLD_DARKER * float(outside.mean())


def _width_um(piece: NDArray[np.bool_], um: tuple[float, float]) -> float:
    from scipy import ndimage

    return 2 * float(ndimage.distance_transform_edt(np.pad(piece, 1), sampling=um).max())


def _tissue_warnings(
    mask: NDArray[np.bool_], pen: NDArray[np.bool_], fold: NDArray[np.bool_], rgb: NDArray[np.uint8]
) -> tuple[str, ...]:
    warnings = []
    if np.count_nonzero(rgb < DARK_OVERVIEW_LEVEL) > rgb.size / 2:
        warnings.append(
            "the overview is dark: tissue detection supports brightfield slides only. Draw the tissue by hand."
        )
    if not mask.any():
        warnings.append(
            "no tissue was found: the slide is blank or very pale. Lower the threshold, or draw the tissue."
        )
    elif mask.mean() > 0.98:
        warnings.append("no glass was found: the whole image is regarded as tissue.")
    if pen.sum() > 0.2 * max(1, mask.sum()):
        warnings.append("pen ink covers much of the slide and is excluded. Check that no tissue is excluded with it.")
    if mask.any() and fold.sum() > 0.05 * mask.sum():
        warnings.append(f"{100 * fold.sum() / mask.sum():.0f} % of the tissue may be folded. Review these areas.")
    return tuple(warnings)


def _reduce(values: NDArray[Value], factor: int) -> NDArray[Value]:
    """Average blocks of pixels, (row, column, channel).

    The channels of the result are stored one after the other, as their differences and means are then fast.
    """
    from PIL import Image

    channels = np.ascontiguousarray(np.moveaxis(values, 2, 0))
    if factor > 1:
        channels = np.stack([np.asarray(Image.fromarray(channel).reduce(factor)) for channel in channels])
    return np.moveaxis(channels, 0, 2)


def _reduce_mask(mask: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    return _reduce(mask[..., None] * np.uint8(WHITE), factor)[..., 0] > WHITE // 2


def _remove_small(mask: NDArray[np.bool_], um: tuple[float, float], area_mm2: float) -> NDArray[np.bool_]:
    """Remove parts that are smaller than an area."""
    if not mask.any():
        return mask
    labels, _ = label_components(mask)
    large = np.bincount(labels.ravel()) * (um[0] * um[1] / 1e6) >= area_mm2
    large[0] = False
    return large.take(labels)


def _dilate(mask: NDArray[np.bool_], um: tuple[float, float], by_um: float) -> NDArray[np.bool_]:
    """Dilate a mask by a distance along rows and columns."""
    return _local_maximum(mask, um, by_um)


def _local_maximum(values: NDArray, um: tuple[float, float], by_um: float) -> NDArray:
    """Return the maximum within a distance, in a square window, which is many times faster than exact distances."""
    radii = [round(by_um / step) for step in um]
    padded = np.pad(values, [(radius, radius) for radius in radii], mode="edge")
    for axis, radius in enumerate(radii):
        padded = _sliding(np.maximum, padded, 2 * radius + 1, axis)
    return padded


def _sliding(combine: Combine, values: NDArray, size: int, axis: int) -> NDArray:
    """Combine the values of each window along an axis, such as their maximum; only whole windows are returned.

    Windows are joined from smaller ones: 7 steps for 100 values, each of which is vectorized.
    """
    along, reach = np.moveaxis(values, axis, 0), 1
    while reach < size:
        step = min(reach, size - reach)
        along = combine(along[:-step], along[step:])
        reach += step
    return np.moveaxis(along, 0, axis)


def _close_gaps(mask: NDArray[np.bool_], um: tuple[float, float], by_um: float) -> NDArray[np.bool_]:
    """Close gaps of up to twice a distance."""
    return ~_dilate(~_dilate(mask, um, by_um), um, by_um)


def _find_fat(stained: NDArray[np.float32], mask: NDArray[np.bool_], um: tuple[float, float]) -> NDArray[np.bool_]:
    """Detect fat, which consists of thin membranes around empty cells: sparse tissue, or faint tissue with gaps."""
    from scipy import ndimage

    if not mask.any():
        return mask
    size = [2 * round(FAT_WINDOW_UM / 2 / step) + 1 for step in um]
    share = ndimage.uniform_filter(mask.astype(np.float32), size, mode="nearest")
    strength = ndimage.uniform_filter(stained * mask, size, mode="nearest") / np.maximum(share, 1e-6)
    faint: NDArray[np.bool_] = strength < FAT_FAINT * np.median(stained[mask])
    return (share < FAT_SHARE) | (faint & (share < 1 - FAT_GAPS))


def estimate_glass_color(rgb: NDArray[np.uint8], empty: NDArray[np.bool_] | None = None) -> RGBValues:
    """Estimate the color of glass: the median of the brighter half of bright and nearly colorless pixels.

    ``rgb``: uint8 (row, column, channel=3). ``empty``: bool (row, column), unscanned pixels; by default those that
    ``find_unscanned`` detects, which requires pixel values as in the file, before an ICC profile is applied. Returns
    red, green, blue; a standard white if hardly any pixel can be glass, such as within tissue.
    """
    scanned = ~(find_unscanned(rgb) if empty is None else empty)
    is_glass = _is_glass_like(rgb) & scanned
    if np.count_nonzero(is_glass) < max(1, GLASS_SHARE * np.count_nonzero(scanned)):
        return DEFAULT_WHITE
    channels = [channel[is_glass] for channel in np.moveaxis(rgb, 2, 0)]
    brightness = np.sum(channels, axis=0, dtype=np.uint16)
    is_bright = brightness >= np.median(brightness)
    red, green, blue = (float(np.median(channel[is_bright])) for channel in channels)
    return red, green, blue


def find_unscanned(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Detect the areas that the scanner filled with black or white.

    Black areas count at the border of the image. White areas may be overexposed glass, so they count only if other
    pixels show glass of another color, and if half of their outline consists of straight lines, as that of the fields
    of a scanner does.

    ``rgb``: uint8 (row, column, channel=3), pixel values as in the file. Returns bool (row, column).
    """
    from scipy import ndimage

    least, most = _channel_range(rgb)
    unscanned: NDArray[np.bool_] = _straight_sided_parts(least == WHITE)
    if unscanned.any() and not _has_glass(rgb[~unscanned]):
        unscanned[:] = False
    dark = most < UNSCANNED_LEVEL
    if any(edge.any() for edge in (dark[0], dark[-1], dark[:, 0], dark[:, -1])):
        labels, _ = ndimage.label(dark)
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        unscanned |= np.isin(labels, border[border > 0])
    return unscanned


def _channel_range(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the least and the greatest channel of pixels, (..., channel=3)."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    return np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)


def _is_glass_like(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which pixels, (..., channel=3), are bright and nearly colorless."""
    least, most = _channel_range(pixels)
    return (least >= MIN_GLASS_LEVEL) & (most - least <= MAX_GLASS_TINT)


def _has_glass(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels, (pixel, channel=3), show glass: many have nearly the same bright color, hardly stained.

    The bright colors of pale tissue vary more, or are stained.
    """
    glass = pixels[_is_glass_like(pixels)]
    if len(glass) < max(1, GLASS_SHARE * len(pixels)):
        return False
    brightness = glass.mean(axis=1)
    mode = int(np.bincount(brightness.astype(np.int64)).argmax())
    similar = np.abs(brightness - mode) <= GLASS_SPREAD
    density = optical_density(np.median(glass[similar], axis=0)[None, None].astype(np.float32), (WHITE, WHITE, WHITE))
    return bool(similar.mean() >= 0.5 and staining_strength(density)[0, 0] <= GLASS_TINT)


def _straight_sided_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the parts of a mask with at least half of their outline in straight lines along rows or columns."""
    from scipy import ndimage

    # Whether the outline lies between neighbors, one inside and one outside the mask, and whether it is straight there.
    edges = [along[1:] != along[:-1] for along in (mask, mask.T)]
    lines = [_keep_lines(edge) for edge in edges]
    if not any(line.any() for line in lines):
        return np.zeros_like(mask)
    labels, count = ndimage.label(mask)
    outline, straight = np.zeros(count + 1), np.zeros(count + 1)
    for along, edge, line in zip((labels, labels.T), edges, lines, strict=True):
        owner = np.maximum(along[1:], along[:-1])  # label of the part that the outline belongs to
        outline += np.bincount(owner[edge], minlength=count + 1)
        straight += np.bincount(owner[line], minlength=count + 1)
    straight_sided = (outline > 0) & (straight >= 0.5 * outline)
    straight_sided[0] = False
    return straight_sided[labels]


def _cross(combine: Combine, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Combine each pixel with its four neighbors; there is nothing beyond the image."""
    padded = np.pad(mask, 1)
    return combine(_sliding(combine, padded, 3, axis=0)[:, 1:-1], _sliding(combine, padded, 3, axis=1)[1:-1])


def _keep_lines(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the parts of a mask that are at least ``STRAIGHT_PX`` long in their row."""
    if mask.shape[1] < STRAIGHT_PX:
        return np.zeros_like(mask)
    starts = _sliding(np.logical_and, mask, STRAIGHT_PX, axis=1)
    padded = np.pad(starts, ((0, 0), (STRAIGHT_PX - 1, STRAIGHT_PX - 1)))
    return _sliding(np.logical_or, padded, STRAIGHT_PX, axis=1)


def staining_strength(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how strongly pixels are stained: the difference between the most and least absorbing channel.

    Every stain of tissue, and melanin, absorbs colors unequally; shadows, dust, air and uneven light do not.

    ``density``: float32 (row, column, channel=3), optical density. Returns float32 (row, column), 0 for glass.
    """
    spread: NDArray[np.float32] = density.max(axis=2) - density.min(axis=2)
    return spread


def find_ink(density: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Detect the colors of pen ink: certain ones, and doubtful ones that tissue may also have.

    Hematoxylin and eosin absorb green most, and brown chromogens blue, so the least absorption in green is that of
    green ink. Blue ink absorbs far more red than green, red ink absorbs blue and green but hardly any red, and black
    ink absorbs all colors equally. So do dense nuclei, blood and melanin to a lesser degree, so these three inks are
    certain only where they are strong.

    ``density``: float32 (row, column, channel=3), optical density. Returns the masks of certain and of doubtful ink,
    bool (row, column).
    """
    red, green, blue = np.moveaxis(density, 2, 0)
    mean, staining = density.mean(axis=2), staining_strength(density)
    is_green = (density.max(axis=2) > 0.3) & (green < 0.75 * red) & (green < 0.9 * blue)
    is_blue = (red > 1.2 * green) & (blue < 0.45 * red)
    is_red = (blue > 0.7 * green) & (red < 0.25 * green)
    is_black, is_nearly_black = staining < 0.22 * mean, staining < 0.3 * mean
    strong = (is_blue & (red > 1.2)) | (is_red & (green > 1.3)) | (is_black & (mean > 1.4))
    weak = (is_blue & (red > 0.6)) | (is_red & (green > 0.9)) | (is_nearly_black & (mean > 0.8))
    certain = is_green | strong
    return certain, weak & ~certain


def smoothed_optical_density(rgb: NDArray[np.uint8], white: RGBValues, sigma_px: float) -> NDArray[np.float32]:
    """Return the optical density of a smoothed image, at least 0, that of glass.

    ``rgb``: uint8 (row, column, channel=3). ``white``: color of glass. Returns float32 (row, column, channel=3).
    """
    from scipy import ndimage

    smooth = np.moveaxis(rgb, 2, 0)  # channels one after the other, as their differences are then fast
    for _ in ("rows", "columns"):  # filtering along contiguous values is twice as fast
        along = np.ascontiguousarray(np.swapaxes(smooth, 1, 2))
        smooth = ndimage.gaussian_filter1d(along, sigma_px, mode="nearest", output=np.float32)
    return np.maximum(optical_density(np.moveaxis(smooth, 0, 2), white), 0)


def read_overview(slide: Slide) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read the overview, also of a slide with damaged tiles, no finer than tissue is detected on.

    Damaged tiles are white in the overview, so that they do not change the threshold of the tissue.

    Returns the overview of the whole slide, uint8 (row, column, channel=3), and the mask of damaged tiles, bool (row,
    column).
    """
    full, size = slide.info.levels[0], slide.info.pixel_size
    finest_um = WORKING_UM * THUMBNAIL_PX if size is None else max(size.y_um, size.x_um) * max(full.height, full.width)
    image, boxes = slide.thumbnail_around_damage(min(THUMBNAIL_PX, math.ceil(finest_um / WORKING_UM)))
    damage = np.zeros(image.shape[:2], bool)
    scale = (image.shape[0] / full.height, image.shape[1] / full.width)
    for box in boxes:
        damage[_touched_pixels(box, scale)] = True
    if boxes:
        image = np.where(damage[..., None], np.uint8(WHITE), image)
    return image, damage


def scanned_slices(info: SlideInfo, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the scanned rows and columns of an overview; the scanner has filled all other pixels.

    All rows and columns if the file states no useful bounds.
    """
    full, box = info.levels[0], info.bounds
    everything = slice(0, shape[0]), slice(0, shape[1])
    if box is None:
        return everything
    rows, columns = _touched_pixels(box, (shape[0] / full.height, shape[1] / full.width))
    rows = slice(max(0, rows.start), min(rows.stop, shape[0]))
    columns = slice(max(0, columns.start), min(columns.stop, shape[1]))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else everything


def tissue_of_overview(
    info: SlideInfo,
    overview: tuple[NDArray[np.uint8], NDArray[np.bool_]],
    config: TissueConfig,
    scale: PixelSize | None,
    run: RunContext = NULL_CONTEXT,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Detect the tissue in the scanned area of a slide; return the mask and warnings.

    ``overview``: the result of ``read_overview``. ``scale``: pixel size of the finest level. The mask is bool (row,
    column) of the whole overview. Damaged tiles count as tissue, so that they are reported as failed tiles.
    """
    image, damage = overview
    full, scanned = info.levels[0], scanned_slices(info, image.shape)
    place = MapPlacement.from_thumbnail(image.shape, (full.height, full.width), scale)
    detect = partial(find_tissue, run=run) if info.composite is None else find_signal
    detection = detect(image[scanned], place.cell_um, config)
    mask = damage.copy()
    mask[scanned] |= detection.mask
    return mask, detection.warnings


def _touched_pixels(box: Box, scale: tuple[float, float]) -> tuple[slice, slice]:
    """Return the rows and columns of an overview that a box in pixels of the finest level touches."""
    rows = slice(math.floor(box.top * scale[0]), math.ceil((box.top + box.height) * scale[0]))
    columns = slice(math.floor(box.left * scale[1]), math.ceil((box.left + box.width) * scale[1]))
    return rows, columns
