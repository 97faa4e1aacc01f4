"""Plan a slide analysis before the first prediction: tissue, tiles and their order, preprocessing, and settings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.core.geometry import UM_PER_MM, Box, MapPlacement, PixelSize
from napari_melanoma.depth.tumor_maps import describe_implausible_size
from napari_melanoma.imaging.stain import StainFit, fit_stain, normalize_stain
from napari_melanoma.io.slide_store import SlideResultSpec
from napari_melanoma.slides.options import DENSE_OVERLAP, SlideOptions, check_scale, hashed_tile_settings
from napari_melanoma.slides.reading.composite import fluorescence_error
from napari_melanoma.slides.reading.slide import DamagedTile, Slide, SlideInfo, apply_icc_profile, suggest_pixel_size
from napari_melanoma.slides.tile_models import ModelIdentity, TileModelInfo
from napari_melanoma.slides.tiling import (
    CELL_OVERSAMPLING,
    OVERSAMPLING,
    TileGrid,
    TilingConfig,
    coarse_to_fine,
    has_enough_tissue,
    plan_tiles,
    tissue_share,
)
from napari_melanoma.slides.tissue import read_overview, scanned_slices, tissue_of_overview

STAIN_TILES = 32  # tiles for fitting the stain; a fit to 16 is within 1.3 gray levels of a fit to all tissue
ImageLoader = Callable[[], "NDArray[np.uint8]"]
OverviewLoader = Callable[[], "tuple[NDArray[np.uint8], NDArray[np.bool_]]"]  # see read_overview
PixelTransform = Callable[["NDArray[np.uint8]"], "NDArray[np.uint8]"]  # colors, (..., channel=3), both


@dataclass(frozen=True)
class AnalysisPlan:
    """Plan of an analysis.

    ``tissue``: bool (row, column), mask of the whole slide, with its position ``tissue_placement``.
    ``order``: int32 (tile, 2), row and column of the tiles in processing order; the first ``first_pass`` are spread
    over all of the tissue. ``stain``: the fitted stain of the slide; None without normalization.
    """

    grid: TileGrid
    tissue: NDArray[np.bool_]
    tissue_placement: MapPlacement
    order: NDArray[np.int32]
    stain: StainFit | None
    warnings: tuple[str, ...]
    first_pass: int

    def sample_tiles(self, count: int) -> NDArray[np.int32]:
        """Choose at most ``count`` tiles that represent all of the tissue.

        They are evenly spaced along the first pass, which runs through the tissue from neighbor to neighbor. Returns
        int32 (tile, 2), row and column.
        """
        count = min(count, self.first_pass)
        return self.order[np.linspace(0, self.first_pass - 1, count).round().astype(np.intp)]


def stated_pixel_size(options: SlideOptions) -> PixelSize | None:
    """Return the pixel size set by the user, with source ``given``; square unless its height is set, too."""
    return None if options.mpp is None else PixelSize(options.mpp_y or options.mpp, options.mpp, "given")


def check_slide(info: SlideInfo) -> None:
    """Raise InputError if a slide cannot be analyzed: no RGB, or a missing or implausible pixel size."""
    if not info.is_rgb:
        raise fluorescence_error(info, "a slide model")
    if info.pixel_size is None:
        suggestion = "".join(f" {text[0].upper()}{text[1:]}" for text in suggest_pixel_size(info.magnification))
        raise ScaleMissing(
            f"pixel size is missing: tiles have a size in micrometers, and {info.path.name} has no pixel size, or an "
            f"implausible one. Set it under Scale in the Slide dock (Python: pixel_size_um, command line: --mpp)."
            f"{suggestion}"
        )
    finest, size = info.levels[0], info.pixel_size
    sides_mm = finest.height * size.y_um / UM_PER_MM, finest.width * size.x_um / UM_PER_MM
    reason = describe_implausible_size(size, sides_mm)
    if reason:
        raise ScaleMissing(reason)


def plan_slide(slide: Slide, model: TileModelInfo, options: SlideOptions) -> AnalysisPlan:
    """Find the tissue, place the tiles and order them; deterministic for a slide, model and options."""
    check_slide(slide.info)
    within = Box(*options.region) if options.region is not None else slide.info.bounds
    oversampling = CELL_OVERSAMPLING if model.is_tissue_classifier else OVERSAMPLING
    tiling = _tiling_config(model, options)
    grid = plan_tiles(slide.info.levels, slide.info.pixel_size, tiling, within, oversampling=oversampling)
    check_scale(slide.info, grid, model, options)
    overview = cache(partial(read_overview, slide))
    mask, mask_placement, warnings = _load_or_find_tissue(slide.info, overview, options)
    share = tissue_share(grid.boxes, mask, mask_placement)
    passes = coarse_to_fine(has_enough_tissue(share, options.min_tissue))
    if not passes:
        raise InputError(
            f"no tissue was found on {slide.info.path.name}: it is blank, stained very weakly, or the part to analyze "
            "contains no tissue. Correct the tissue in the Slide dock (Python: options={'tissue_mask': FILE}, command "
            "line: --tissue-mask)."
        )
    stain = _fit_slide_stain(
        partial(_sample_tissue_pixels, slide, grid, share),
        partial(_scanned_overview, slide.info, overview),
        _profile_transform(slide, options),
        options,
    )
    return AnalysisPlan(grid, mask, mask_placement, np.concatenate(passes), stain, warnings, len(passes[0]))


def result_spec(slide: SlideInfo, model: TileModelInfo, plan: AnalysisPlan, options: SlideOptions) -> SlideResultSpec:
    """Return the specification of the store; features, dense maps and precision are filled in later.

    The map of tiles has a cell for each tile, as large as a stride and in the middle of the tile. Tiles that were moved
    inside have cells that follow the others, and may extend beyond their tiles.
    """
    boxes, size = plan.grid.boxes, slide.pixel_size
    step_y, step_x = (stride * plan.grid.downsample for stride in plan.grid.stride_px)
    return SlideResultSpec(
        slide=slide.name,
        fingerprint=slide.fingerprint,
        kind=model.kind,
        classes=model.classes,
        rows=plan.grid.rows,
        columns=plan.grid.columns,
        corner=(boxes.tops[0] + (boxes.height - step_y) / 2, boxes.lefts[0] + (boxes.width - step_x) / 2),
        step=(step_y, step_x),
        boxes=boxes,
        size=(slide.levels[0].height, slide.levels[0].width),
        pixel_size_um=None if size is None else (size.y_um, size.x_um),
        scale_source="file" if size is None else size.source,
        tile_px=plan.grid.side_px,
        settings=analysis_settings(model.identity, options),
        batch_size=options.batch_size,
    )


def analysis_settings(model: ModelIdentity, options: SlideOptions) -> dict[str, Any]:
    """Return all settings that determine the predictions of tiles, except the slide itself.

    A partial or complete result is reused only if they are equal.
    """
    return {**hashed_tile_settings(options), **model.tile_settings}


def build_preprocessing(slide: Slide, plan: AnalysisPlan, options: SlideOptions) -> PixelTransform | None:
    """Return the preprocessing of tiles, uint8 (tile, row, column, channel=3) to the same shape; None if unchanged."""
    steps: list[PixelTransform] = []
    to_srgb = _profile_transform(slide, options)
    if to_srgb is not None:
        steps.append(lambda tiles: np.stack([to_srgb(tile) for tile in tiles]))
    if plan.stain is not None:
        steps.append(_stain_transform(plan.stain, options))
    if not steps:
        return None

    def prepare(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        for step in steps:
            tiles = step(tiles)
        return tiles

    return prepare


def _profile_transform(slide: Slide, options: SlideOptions) -> PixelTransform | None:
    """Return the conversion of uint8 (row, column, channel=3) to sRGB; None without a profile or the option."""
    if not options.apply_profile or not slide.info.has_profile:
        return None
    return lambda rgb: apply_icc_profile(rgb, slide)


def _tiling_config(model: TileModelInfo, options: SlideOptions) -> TilingConfig:
    """Take size and overlap of tiles from the options, or from the model where they are not set."""
    overlap = options.overlap
    if overlap is None:
        overlap = DENSE_OVERLAP if model.kind == "dense" and not model.margin_px else 0.0
    return TilingConfig(
        side_px=model.side_px,
        mpp=options.tile_mpp or model.mpp,
        side_um=options.tile_um,
        overlap=overlap,
        margin_px=model.margin_px,
        border=options.border,
    )


def _load_or_find_tissue(
    slide: SlideInfo, overview: OverviewLoader, options: SlideOptions
) -> tuple[NDArray[np.bool_], MapPlacement, tuple[str, ...]]:
    """Load the tissue mask of the options, or detect the tissue; return the mask, its position, and warnings."""
    from napari_melanoma.io.results import read_mask

    full, size = slide.levels[0], slide.pixel_size
    warnings: tuple[str, ...] = ()
    if options.tissue_mask is not None:
        mask = read_mask(options.tissue_mask)
        _check_mask_shape(mask, slide)
    else:
        mask, warnings = tissue_of_overview(slide, overview(), options.tissue, size)
    return mask, MapPlacement.from_thumbnail(mask.shape, (full.height, full.width), size), warnings


def _check_mask_shape(mask: NDArray[np.bool_], slide: SlideInfo) -> None:
    """Raise InputError if the proportions of a tissue mask differ by more than a cell from those of the slide."""
    full, (rows, columns) = slide.levels[0], mask.shape
    cells = full.height / rows, full.width / columns
    if min(abs(full.height - rows * cells[1]) / cells[1], abs(full.width - columns * cells[0]) / cells[0]) > 1:
        raise InputError(
            f"a tissue mask must cover the whole slide, at any resolution: expected the proportions of "
            f"{full.height:,} x "
            f"{full.width:,} pixels, found {rows:,} x {columns:,} (height x width). It belongs to another slide, or "
            "was cropped. Draw it in the Slide dock, or export it for this slide."
        )


def _fit_slide_stain(
    load_tissue: ImageLoader, load_overview: ImageLoader, to_srgb: PixelTransform | None, options: SlideOptions
) -> StainFit | None:
    """Fit the stain of the slide's tissue, in sRGB; None without normalization.

    ``load_tissue``: returns pixels of tissue. ``load_overview``: returns the overview, for the color of glass.
    """
    if options.stain is None or not options.normalizes_stain:
        return None
    from napari_melanoma.slides.tissue import estimate_glass_color, find_unscanned

    pixels, overview = load_tissue(), load_overview()
    empty = find_unscanned(overview)
    if to_srgb is not None:
        pixels, overview = to_srgb(pixels[None])[0], to_srgb(overview)
    return fit_stain(pixels, options.stain, estimate_glass_color(overview, empty))


def _scanned_overview(slide: SlideInfo, overview: OverviewLoader) -> NDArray[np.uint8]:
    image = overview()[0]
    return image[scanned_slices(slide, image.shape)]


def _sample_tissue_pixels(slide: Slide, grid: TileGrid, share: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Read the pixels of tiles across the tissue, uint8 (pixel, channel=3); in an overview, the stains are mixed."""
    chosen = coarse_to_fine(share >= min(0.5, share.max()), STAIN_TILES)[0][:STAIN_TILES]
    pixels = []
    for row, column in chosen.tolist():
        with suppress(DamagedTile):
            pixels.append(slide.read_region(grid.level, grid.box(row, column)).reshape(-1, 3))
    return np.concatenate(pixels) if pixels else np.empty((0, 3), np.uint8)


def _stain_transform(fit: StainFit, options: SlideOptions) -> PixelTransform:
    """Return the transformation of colors to those of the reference image, or of the standard reference."""
    from napari_melanoma.io.photographs import read_photograph
    from napari_melanoma.slides.tissue import estimate_glass_color

    reference = None
    if options.stain_reference is not None:
        rgb = read_photograph(options.stain_reference).rgb
        reference = fit_stain(rgb, fit.config, estimate_glass_color(rgb))  # relative to its own glass, as for the slide
    return lambda tiles: normalize_stain(tiles, fit, reference)
