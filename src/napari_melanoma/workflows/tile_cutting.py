"""Tiles of one slide within its annotated regions: which there are, what each shows, its pixels and its labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from napari_melanoma.analysis.region_maps import MOST_CLASSES, NOT_LEARNT, RegionMap
from napari_melanoma.analysis.tiling import TileGrid, TilingConfig, plan_tiles, tissue_share
from napari_melanoma.core.config import Config
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.io.slides.slide import Slide, SlideInfo

CELLS = 16  # of the map of classes, along the side of a tile: shares are right to a few thousandths
UNLEARNT_SHARE = 0.01  # of a tile that may be of a region to ignore
BATCH = 32


class CuttingConfig(Config):
    """Scale and size of the tiles, and which of them are taken."""

    mpp: float = Field(0.5, gt=0, le=100, description="micrometres per pixel of the tiles")
    tile_px: int = Field(224, ge=32, le=2048, description="side of a tile in pixels")
    share: float = Field(
        0.6, gt=0, le=1, description="share of a tile that regions cover, and that one class covers to be its class"
    )
    overlap: float = Field(0.0, ge=0, le=0.9, description="share of a tile's side that the next one shows again")
    most: int = Field(400, ge=1, description="tiles of each class that are taken from a slide, drawn where it has more")
    seed: int = Field(0, ge=0, description="another seed, other tiles drawn")

    @property
    def tiling(self) -> TilingConfig:
        """How a slide is cut: nothing outside of it, for glass beyond its edge is no picture."""
        return TilingConfig(side_px=self.tile_px, mpp=self.mpp, overlap=self.overlap, border="inside")


@dataclass(frozen=True)
class ChosenTiles:
    """Tiles of a slide.

    ``places``: int32 (tile, 2): row and column of each that was chosen. ``classes``: uint8 (tile,): number of the class
    that it shows; 0 where none covers enough of it. ``shares``: float32 (tile,): share of it that regions cover.
    """

    grid: TileGrid
    places: NDArray[np.int32]
    classes: NDArray[np.uint8]
    shares: NDArray[np.float32]
    drawn_from: int


@dataclass(frozen=True)
class Tile:
    """A tile: uint8 (row, column, channel=3), its labels uint8 (row, column), and its place among the chosen."""

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    index: int


def choose_tiles(info: SlideInfo, regions: RegionMap, classes: int, config: CuttingConfig) -> ChosenTiles:
    """Choose the tiles of a slide that lie in its regions.

    In the order of the slide; those of a class that has more than ``config.most`` are drawn.
    """
    assert classes <= MOST_CLASSES
    grid = plan_tiles(info.levels, info.pixel_size, config.tiling)
    if not grid.rows or not grid.columns:
        return _none(grid)
    labels, place = _map(info, regions, grid)
    shares = np.stack([tissue_share(grid, labels == number, place) for number in range(1, classes + 1)])
    unlearnt = tissue_share(grid, labels == NOT_LEARNT, place)
    covered = shares.sum(axis=0)
    taken = np.argwhere((covered >= config.share - 1e-6) & (unlearnt <= UNLEARNT_SHARE)).astype(np.int32)
    found = shares[:, taken[:, 0], taken[:, 1]]
    shown = np.where(found.max(axis=0) >= config.share - 1e-6, found.argmax(axis=0) + 1, 0).astype(np.uint8)
    kept = _drawn(shown, config)
    at = taken[kept]
    return ChosenTiles(grid, at, shown[kept], covered[at[:, 0], at[:, 1]], len(taken))


def cut_tiles(slide: Slide, chosen: ChosenTiles, regions: RegionMap) -> Iterator[Tile]:
    """Read tiles with their labels; damaged ones are left out.

    Its labels as ``RegionMap.labels`` gives them, at the tile's own scale.
    """
    from napari_melanoma.inference.slide_tiles import SlideTiles

    reader, grid = SlideTiles(slide, chosen.grid), chosen.grid
    step_y, step_x = (read / grid.side_px * grid.downsample for read in grid.read_px)
    window = Box(0, 0, grid.side_px, grid.side_px)
    for first in range(0, len(chosen.places), BATCH):
        places = chosen.places[first : first + BATCH]
        pixels, good = reader.read(places)
        for index, (row, column) in enumerate(places.tolist()):
            if good[index]:
                top, left, _, _ = grid.slide_box(row, column)
                labels = regions.labels(MapPlace(top, left, step_y, step_x), window)
                yield Tile(pixels[index], labels, first + index)


def _map(info: SlideInfo, regions: RegionMap, grid: TileGrid) -> tuple[NDArray[np.uint8], MapPlace]:
    """Classes of the whole slide, with so many cells along the side of a tile."""
    steps = [max(1.0, read * grid.downsample / CELLS) for read in grid.read_px]
    full = info.levels[0]
    place = MapPlace(0.0, 0.0, steps[0], steps[1], info.pixel_size)
    rows, columns = (int(np.ceil(side / step)) for side, step in zip((full.height, full.width), steps, strict=True))
    return regions.labels(place, Box(0, 0, rows, columns)), place


def _drawn(shown: NDArray[np.uint8], config: CuttingConfig) -> NDArray[np.intp]:
    """Indices of at most so many tiles of each class, in order."""
    random = np.random.default_rng(config.seed)
    parts: Sequence[NDArray[np.intp]] = [np.flatnonzero(shown == number) for number in np.unique(shown)]
    kept = [part if len(part) <= config.most else random.choice(part, config.most, replace=False) for part in parts]
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.intp)


def _none(grid: TileGrid) -> ChosenTiles:
    """No tile: the slide is smaller than one."""
    return ChosenTiles(grid, np.zeros((0, 2), np.int32), np.zeros(0, np.uint8), np.zeros(0, np.float32), 0)
