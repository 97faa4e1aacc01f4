"""The map of a tissue classifier on a slide, in memory: for images that are only looked at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.engine import TileReader
from napari_melanoma.slides.maps import SlideMaps
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tile_passes import to_array
from napari_melanoma.slides.tiling import MIN_TISSUE, has_enough_tissue, tissue_share
from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview
from napari_melanoma.slides.tissue_classifier.bundle import load_tissue_passes
from napari_melanoma.slides.tissue_classifier.cells import CellGrid
from napari_melanoma.slides.tissue_classifier.feature_sources import JOIN, open_feature_source
from napari_melanoma.slides.tissue_classifier.published_features import is_published
from napari_melanoma.slides.tissue_classifier.smoothing import smooth_map


def map_tissue(slide: Slide, bundle: BundleInfo, run: RunContext) -> SlideMaps:
    """Predict the classes of the cells of the tissue of a slide, as an analysis with default options does.

    Raises ``BundleError`` for features of published encoders, which need torch, and ``ScaleMissing`` without a scale.
    """
    config = bundle.config.tissue
    assert config is not None
    if any(map(is_published, config.source.split(JOIN))):
        raise BundleError(
            f"'{bundle.name}' uses the features '{config.source}', which need torch. Open the slide in the Slide dock, "
            "which runs torch in a process of its own."
        )
    grid = CellGrid.plan(slide.info, open_feature_source(config.source).mpp)
    passes = load_tissue_passes(bundle)
    probability = np.full((len(bundle.config.classes), *grid.shape), np.nan, np.float32)
    reader = TileReader(slide, grid.blocks)
    for block in run.track(_find_tissue_blocks(slide, grid), "Classifying the tissue"):
        tiles, readable = reader.read(block[None])
        if readable.all():
            cells = grid.cells_of(block)
            values = to_array(passes.run(tiles, 1)["dense"])[0, :, : cells.height, : cells.width]
            probability[:, *cells.slices] = values.astype(np.float32) / 255
    return SlideMaps(smooth_map(probability, config.smoothing), replace(grid.placement, pixel_size=None))


def _find_tissue_blocks(slide: Slide, grid: CellGrid) -> NDArray[np.int32]:
    info = slide.info
    mask, _ = tissue_of_overview(info, read_overview(slide), TissueConfig(), info.pixel_size)
    place = MapPlacement.from_thumbnail(mask.shape, (info.levels[0].height, info.levels[0].width), info.pixel_size)
    share = tissue_share(grid.blocks.without_margin, mask, place)
    return np.argwhere(has_enough_tissue(share, MIN_TISSUE)).astype(np.int32)
