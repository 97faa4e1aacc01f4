"""Tissue detection on an overview of a slide: excludes glass, pen and dirt, and marks folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.map_placement import MapPlacement
from napari_melanoma.imaging.masks import label_components
from napari_melanoma.imaging.stain import RGBValues, optical_density

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import Box, PixelSize
    from napari_melanoma.slides.reading.slide import Slide, SlideInfo

TissueMethod = Literal["auto", "otsu", "entropy", "triangle", "luminance"]
WORKING_UM = 4.0  # finer overviews are downscaled, as single cells do not help to detect tissue
MAX_SIDE_PX = 2048  # larger overviews are downscaled, so that detection takes a second or two
# Three fat cells wide. The edge of other tissue has a share of a half, and is as strong as its center.
FAT_WINDOW_UM, FAT_SHARE, FAT_FAINT, FAT_GAPS = 160.0, 0.15, 0.45, 0.1
ASSUMED_SLIDE_UM = 20_000.0  # assumed longer side of an overview without a pixel size
MIN_ENTROPY, GRAY_STEP = 1.3, 4.0  # bits, and gray levels: glass with usual noise has less than a bit
MIN_STAINING, MAX_STAINING = 0.035, 0.10  # limits of the threshold that is estimated from noise
# A fold has two layers: twice as dark where the image is sharp, less on average with its edges.
FOLD_CANDIDATE, FOLD_DARKER, FOLD_ALIKE = 1.35, 1.5, 0.997  # the last is a cosine of optical densities: 4 degrees
FINE_FOLD_UM, AROUND_FOLD_UM, MAX_FOLD_UM = 12.0, 150.0, 400.0

UNSCANNED_LEVEL = 6  # unscanned areas are black or white; neither glass nor tissue is this dark
MIN_GLASS_LEVEL, MAX_GLASS_TINT = 185, 30  # minimum of the channels, and maximum difference of the channels
DEFAULT_WHITE: RGBValues = (245.0, 245.0, 245.0)
GLASS_SHARE = 0.001  # minimum share of the image for estimating the color of glass
# Levels of brightness around the most frequent one, and staining relative to white, of glass beside white.
WHITE, GLASS_SPREAD, GLASS_TINT = 255, 6.0, 0.06
STRAIGHT_PX = 8  # minimum length of a straight line; a sixth of the outline of a disk has such lines

THUMBNAIL_PX = 2048
_GLASS_LEVEL = 255


class TissueConfig(Config):
    """Method of tissue detection, and postprocessing of the mask."""

    method: TissueMethod = Field(
        "auto",
        description="threshold on staining: auto: above the noise of the glass; otsu, triangle: from the "
        "histogram; luminance: Otsu's, on brightness; entropy: Otsu's, on the local entropy",
    )
    threshold: float | None = Field(None, ge=0, description="fixed threshold, in optical density or, for entropy, bits")
    find_pen: bool = Field(True, title="Exclude pen ink", description="exclude pen ink: green, blue, red and black")
    fat: Literal["drop", "keep"] = Field("drop", description="fat: excluded, or kept with its empty cells filled")
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

    ``threshold``: minimum staining, darkness (both in optical density) or entropy (bits) of tissue.
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
    thumbnail: NDArray[np.uint8], um_per_px: tuple[float, float] | None, config: TissueConfig
) -> TissueDetection:
    """Detect the tissue on an overview of a slide.

    ``thumbnail``: uint8 (row, column, channel=3), brightfield; 8 to 16 micrometers per pixel are best. ``um_per_px``:
    micrometers per pixel, (y, x); without it, the longer side is assumed to be 20 mm. Returns masks of the overview;
    empty with a warning where there is only glass.
    """
    step_um = um_per_px or (ASSUMED_SLIDE_UM / max(thumbnail.shape[:2]),) * 2
    factor = max(1, round(WORKING_UM / max(step_um)), -(-max(thumbnail.shape) // MAX_SIDE_PX))
    small, um = _downscale(thumbnail, factor), (step_um[0] * factor, step_um[1] * factor)
    empty = find_unscanned(small)
    density = smoothed_optical_density(small, estimate_glass_color(small, empty), sigma_px=1.0)
    density[empty] = 0
    pen = _find_pen(density, um) if config.find_pen else np.zeros(small.shape[:2], bool)
    stained = _threshold_feature(density, config)
    threshold = config.threshold if config.threshold is not None else _threshold(stained[~(pen | empty)], config)
    mask = (stained > threshold) & ~pen
    if config.fat == "drop":
        mask &= ~_find_fat(stained, mask, um)
    mask = _clean_mask(mask, um, config) & ~pen
    fold = _find_folds(density, mask, um)
    if config.folds == "drop":
        mask &= ~fold
    warnings = _tissue_warnings(mask, pen, fold, small)
    mask, pen, fold = (_upscale_mask(found, factor, thumbnail.shape) for found in (mask, pen, fold))
    return TissueDetection(mask, pen, fold, float(threshold), warnings)


def _threshold_feature(density: NDArray[np.float32], config: TissueConfig) -> NDArray[np.float32]:
    """Feature image for the threshold."""
    if config.method == "entropy":
        return _local_entropy(density)
    return density.mean(axis=2) if config.method == "luminance" else staining_strength(density)


def _threshold(stained: NDArray[np.float32], config: TissueConfig) -> float:
    """Threshold of the requested method, limited by the possible noise of glass."""
    from skimage import filters

    if not stained.size or stained.max() <= MIN_STAINING:
        return MIN_STAINING
    if config.method == "auto":
        return float(np.clip(_noise_threshold(stained), MIN_STAINING, MAX_STAINING))
    if config.method == "entropy":
        return max(MIN_ENTROPY, float(filters.threshold_otsu(stained)))
    found = filters.threshold_triangle(stained) if config.method == "triangle" else filters.threshold_otsu(stained)
    return max(MIN_STAINING, float(found))


def _noise_threshold(stained: NDArray[np.float32]) -> float:
    """Six standard deviations above the mode of glass, estimated from the values below it, where there is no tissue."""
    glass = stained[stained < 2 * MAX_STAINING]
    counts, edges = np.histogram(glass, bins=128, range=(0, 2 * MAX_STAINING))
    mode = edges[counts.argmax()] + (edges[1] - edges[0]) / 2
    below = glass[glass <= mode]
    return float(mode + 6 * 1.4826 * np.median(mode - below)) if len(below) else MIN_STAINING


def _local_entropy(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Local entropy of the gray levels in bits, quantized in steps above the usual noise of glass."""
    from skimage.filters import rank

    gray = (255 * np.exp(-density.mean(axis=2)) / GRAY_STEP).astype(np.uint8)
    found: NDArray[np.float32] = rank.entropy(gray, np.ones((9, 9), np.uint8)).astype(np.float32)
    return found


def _find_pen(density: NDArray[np.float32], um: tuple[float, float]) -> NDArray[np.bool_]:
    """Pen ink, widened over its pale edges; doubtful colors count next to certain ink, or if surrounded by glass."""
    from scipy import ndimage

    certain, doubtful = find_ink(density)
    certain = _remove_small(ndimage.binary_opening(certain), um, 0.01)
    labels, count = label_components(_remove_small(certain | doubtful, um, 0.02))
    if not count:
        return certain
    owner = _local_maximum(labels, um, 60)
    ring = (owner > 0) & (_local_maximum(labels, um, 25) == 0)
    glass = (staining_strength(density) < MAX_STAINING)[ring]
    of_glass = np.bincount(owner[ring], glass, count + 1) / np.maximum(np.bincount(owner[ring], minlength=count + 1), 1)
    pen = of_glass >= 0.5
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
    """Narrow pieces of tissue that are darker than their surroundings and of the same hue: two layers of it.

    Epidermis and nests of cells are darker too, but more blue than the dermis around them.
    """
    from scipy import ndimage

    darkness = density.mean(axis=2)
    fine, away = (tuple(by_um / step for step in um) for by_um in (FINE_FOLD_UM, AROUND_FOLD_UM))
    weight = mask.astype(np.float32)
    smooth, usual = (
        blur(darkness * mask, sigma) / np.maximum(blur(weight, sigma), 1e-6)
        for blur, sigma in ((ndimage.gaussian_filter, fine), (_blur_widely, tuple(3 * part for part in away)))
    )
    labels, count = label_components(_remove_small(mask & (smooth > FOLD_CANDIDATE * usual), um, 0.02))
    fold = np.zeros(count + 1, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        near = tuple(
            slice(max(0, part.start - round(away[axis])), part.stop + round(away[axis]))
            for axis, part in enumerate(box)
        )
        fold[number] = _is_fold(labels[near] == number, labels[near] == 0, density[near], mask[near], um)
    return fold[labels]


def _blur_widely(values: NDArray[np.float32], sigma: Sequence[float]) -> NDArray[np.float32]:
    """Gaussian filter, as ``scipy.ndimage.gaussian_filter``, in a time that hardly depends on sigma.

    Its kernel, which ends at four sigma, is applied to the frequencies of the image mirrored at its borders.
    """
    from scipy import fft

    frequencies = fft.dctn(values.astype(np.float64))
    for axis, (side, deviation) in enumerate(zip(values.shape, sigma, strict=True)):
        radius = int(4 * deviation + 0.5)
        offsets = np.arange(-radius, radius + 1)
        kernel = np.exp(-0.5 * (offsets / deviation) ** 2)
        response = np.cos(np.pi / side * np.outer(np.arange(side), offsets)) @ (kernel / kernel.sum())
        frequencies *= response[:, None] if axis == 0 else response
    return fft.idctn(frequencies).astype(np.float32)


def _is_fold(
    piece: NDArray[np.bool_],
    unmarked: NDArray[np.bool_],
    density: NDArray[np.float32],
    mask: NDArray[np.bool_],
    um: tuple[float, float],
) -> bool:
    """Whether a dark piece is narrow, and has the hue of the adjacent tissue."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(piece, 1), sampling=um)
    if 2 * depth.max() > MAX_FOLD_UM:
        return False
    adjacent = _dilate(piece, um, AROUND_FOLD_UM) & unmarked & mask
    if not adjacent.any():
        return False
    inside, outside = density[piece].mean(axis=0), density[adjacent].mean(axis=0)
    similarity = float(inside @ outside / (np.linalg.norm(inside) * np.linalg.norm(outside)))
    return similarity > FOLD_ALIKE and float(inside.mean()) > FOLD_DARKER * float(outside.mean())


def _tissue_warnings(
    mask: NDArray[np.bool_], pen: NDArray[np.bool_], fold: NDArray[np.bool_], rgb: NDArray[np.uint8]
) -> tuple[str, ...]:
    """List warnings about the detected tissue."""
    warnings = []
    if np.median(rgb) < 60:
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


def _downscale(rgb: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Downscale by an integer factor, by averaging."""
    from PIL import Image

    return rgb if factor == 1 else np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).reduce(factor))


def _upscale_mask(mask: NDArray[np.bool_], factor: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Undo ``_downscale`` for a mask."""
    return mask.repeat(factor, axis=0).repeat(factor, axis=1)[: shape[0], : shape[1]]


def _remove_small(mask: NDArray[np.bool_], um: tuple[float, float], area_mm2: float) -> NDArray[np.bool_]:
    """Remove parts that are smaller than an area."""
    labels, _ = label_components(mask)
    large = np.bincount(labels.ravel()) * (um[0] * um[1] / 1e6) >= area_mm2
    large[0] = False
    return large[labels]


def _dilate(mask: NDArray[np.bool_], um: tuple[float, float], by_um: float) -> NDArray[np.bool_]:
    """Dilate a mask by a distance along rows and columns."""
    return _local_maximum(mask.view(np.uint8), um, by_um).view(bool)


def _local_maximum(values: NDArray, um: tuple[float, float], by_um: float) -> NDArray:
    """Maximum within a distance; a square window is many times faster than exact distances."""
    from scipy import ndimage

    return ndimage.maximum_filter(values, size=[2 * round(by_um / step) + 1 for step in um], mode="nearest")


def _close_gaps(mask: NDArray[np.bool_], um: tuple[float, float], by_um: float) -> NDArray[np.bool_]:
    """Close gaps of up to twice a distance."""
    return ~_dilate(~_dilate(mask, um, by_um), um, by_um)


def _find_fat(stained: NDArray[np.float32], mask: NDArray[np.bool_], um: tuple[float, float]) -> NDArray[np.bool_]:
    """Sparse tissue, or faint structures with gaps: fat consists of thin membranes around empty cells."""
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

    ``rgb``: uint8 (row, column, channel=3). ``empty``: bool (row, column): unscanned pixels; by default as detected by
    ``find_unscanned``, which requires the values of the file, so pass it for images with an applied profile. Returns
    red, green, blue; a standard white where hardly any pixel looks like glass, as within tissue.
    """
    pixels = rgb[~(find_unscanned(rgb) if empty is None else empty)]
    glass = pixels[_is_glass_like(pixels)]
    if len(glass) < max(1, GLASS_SHARE * len(pixels)):
        return DEFAULT_WHITE
    brightness = glass.sum(axis=1, dtype=np.int32)
    red, green, blue = np.median(glass[brightness >= np.median(brightness)], axis=0).tolist()
    return red, green, blue


def find_unscanned(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Detect the areas that the scanner filled with black or white, on pixel values of the file.

    Black is not glass. White may be overexposed glass, so it counts only where other pixels are colored glass, and
    where its outline has straight lines, as fields of a scanner do and tissue does not.

    ``rgb``: uint8 (row, column, channel=3). Returns bool (row, column): black areas at the border of the image, and
    white areas.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(rgb.max(axis=2) < UNSCANNED_LEVEL)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    white = _straight_sided_parts(rgb.min(axis=2) == WHITE)
    if white.any() and not _has_glass(rgb[~white]):
        white[:] = False
    found: NDArray[np.bool_] = np.isin(labels, border[border > 0]) | white
    return found


def _is_glass_like(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels, (pixel, channel=3), are bright and nearly colorless."""
    least, most = pixels.min(axis=1), pixels.max(axis=1)
    return (least >= MIN_GLASS_LEVEL) & (most - least <= MAX_GLASS_TINT)


def _has_glass(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels, (pixel, channel=3), show colored glass: many of nearly the same color, hardly stained.

    Similar colors in pale tissue are spread widely, or stained.
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
    """Parts of a mask with at least half of their outline straight, along rows or columns; none in a full mask."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    outline, straight = np.zeros(count + 1), np.zeros(count + 1)
    for axis in (0, 1):
        along = np.moveaxis(labels, axis, 0)  # of two neighbors, one inside and one outside the mask
        owner = np.maximum(along[1:], along[:-1]) * ((along[1:] == 0) != (along[:-1] == 0))
        kept = ndimage.binary_opening(owner > 0, np.ones((1, STRAIGHT_PX), bool))
        outline += np.bincount(owner.ravel(), minlength=count + 1)
        straight += np.bincount(owner[kept], minlength=count + 1)
    found = (outline > 0) & (straight >= 0.5 * outline)
    found[0] = False
    return found[labels]


def staining_strength(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how strongly pixels are stained: the difference between the most and least absorbing channel.

    Every stain of tissue, and melanin, absorbs colors unequally; shadows, dust, air and uneven light do not.

    ``density``: float32 (row, column, channel=3), optical density. Returns float32 (row, column), 0 for glass.
    """
    spread: NDArray[np.float32] = density.max(axis=2) - density.min(axis=2)
    return spread


def find_ink(density: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Detect colors of pens: those that no stain has, and those that resemble stained tissue.

    Hematoxylin and eosin absorb green most, brown chromogens blue: a minimum of absorption in green is green ink. Blue
    ink absorbs far more red than green, red ink hardly any red but blue and green, black ink all equally. Dense nuclei,
    blood and melanin do so too to a lesser degree, so these three are certain only where they are strong.

    ``density``: float32 (row, column, channel=3), optical density. Returns bool (row, column).
    """
    red, green, blue = np.moveaxis(density, 2, 0)
    mean, staining = density.mean(axis=2), staining_strength(density)
    of_green = (density.max(axis=2) > 0.3) & (green < 0.75 * red) & (green < 0.9 * blue)
    of_blue = (red > 1.2 * green) & (blue < 0.45 * red)
    of_red = (blue > 0.7 * green) & (red < 0.25 * green)
    of_black, nearly_black = staining < 0.22 * mean, staining < 0.3 * mean
    strong = (of_blue & (red > 1.2)) | (of_red & (green > 1.3)) | (of_black & (mean > 1.4))
    weak = (of_blue & (red > 0.6)) | (of_red & (green > 0.9)) | (nearly_black & (mean > 0.8))
    certain = of_green | strong
    return certain, weak & ~certain


def smoothed_optical_density(rgb: NDArray[np.uint8], white: RGBValues, sigma_px: float) -> NDArray[np.float32]:
    """Return the optical density of a slightly smoothed image, clipped at that of glass.

    ``rgb``: uint8 (row, column, channel=3). Returns float32 (row, column, channel=3).
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(rgb.astype(np.float32), (sigma_px, sigma_px, 0), mode="nearest")
    return np.maximum(optical_density(smooth, white), 0)


def read_overview(slide: Slide) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read the overview, also of a slide with damaged tiles.

    The content of damaged tiles is unknown. They are glass in the image, so that they do not change the threshold, and
    tissue in the mask, so that they are reported as failed tiles instead of being omitted.

    Returns uint8 (row, column, channel=3) of the whole slide; and bool (row, column): damaged tiles.
    """
    image, boxes = slide.thumbnail_around_damage(THUMBNAIL_PX)
    damage = np.zeros(image.shape[:2], bool)
    full = slide.info.levels[0]
    scale = (image.shape[0] / full.height, image.shape[1] / full.width)
    for box in boxes:
        damage[_cells(box, scale)] = True
    if boxes:
        image = np.where(damage[..., None], np.uint8(_GLASS_LEVEL), image)
    return image, damage


def scanned_slices(info: SlideInfo, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the scanned rows and columns of an overview: other pixels are filled, not glass.

    All rows and columns where the file states no useful bounds.
    """
    full, box = info.levels[0], info.bounds
    everything = slice(0, shape[0]), slice(0, shape[1])
    if box is None:
        return everything
    rows, columns = _cells(box, (shape[0] / full.height, shape[1] / full.width))
    rows = slice(max(0, rows.start), min(rows.stop, shape[0]))
    columns = slice(max(0, columns.start), min(columns.stop, shape[1]))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else everything


def tissue_of_overview(
    info: SlideInfo,
    overview: tuple[NDArray[np.uint8], NDArray[np.bool_]],
    config: TissueConfig,
    scale: PixelSize | None,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Detect the tissue in the scanned area; bool (row, column) of the whole slide, true for damaged tiles."""
    image, damage = overview
    full, scanned = info.levels[0], scanned_slices(info, image.shape)
    place = MapPlacement.from_thumbnail(image.shape, (full.height, full.width), scale)
    found = find_tissue(image[scanned], place.cell_um, config)
    mask = damage.copy()
    mask[scanned] |= found.mask
    return mask, found.warnings


def _cells(box: Box, scale: tuple[float, float]) -> tuple[slice, slice]:
    """Pixels of the image that a box of level 0 touches."""
    rows = slice(math.floor(box.top * scale[0]), math.ceil((box.top + box.height) * scale[0]))
    columns = slice(math.floor(box.left * scale[1]), math.ceil((box.left + box.width) * scale[1]))
    return rows, columns
