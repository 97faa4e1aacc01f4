"""A slide whose levels are grids of tiles: regions are read through the cache, by threads, and around damage."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from threading import local
from typing import TYPE_CHECKING, cast

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.threads import usable_cores
from napari_melanoma.io.formats import DAMAGE
from napari_melanoma.io.slides.cache import TileCache, shared_cache
from napari_melanoma.io.slides.damage import FoundDamage, damaged
from napari_melanoma.io.slides.pictures import marked_tile
from napari_melanoma.io.slides.sharpening import Cell, Sharpener, is_rough_at_first, rough_tiles
from napari_melanoma.io.slides.slide import DamagedTile, Slide, SlideInfo
from napari_melanoma.io.slides.sources import BuiltGrid, Grid, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_THREADS = 4
WORTH_THREADS = 64  # missing tiles; with fewer, on two busy cores, handing over cost more than it gained
COARSE_BYTES = 160 * 2**20  # of levels that were built; the coarsest cost a pass over the whole slide, so they stay
COARSE_LEVEL_BYTES = 96 * 2**20

_numbers = itertools.count()
_here = local()


def nothing() -> None:
    """Do nothing: what is there to close where nothing was opened."""
    return


@dataclass(frozen=True)
class Extras:
    """What an open file has beside its tiles: the ICC profile, images by name, each read when asked; and its end."""

    profile: Callable[[], bytes | None] = nothing
    associated: Mapping[str, Callable[[], NDArray]] = field(default_factory=dict)
    close: Callable[[], None] = nothing


class TiledSlide(Slide):
    """A slide whose levels are sources of tiles."""

    def __init__(
        self,
        info: SlideInfo,
        sources: Sequence[Grid],
        dtype: np.dtype,
        extras: Extras | None = None,
        cache: TileCache | None = None,
    ) -> None:
        self.info = info
        self.sources = tuple(sources)
        self.dtype = np.dtype(dtype)
        self._extras = extras or Extras()
        self._cache = cache or shared_cache()
        self._coarse = TileCache(COARSE_BYTES)
        self._sharpener = Sharpener(self._sharpen)
        self._damage = FoundDamage(info.path)
        self._number = next(_numbers)
        # A layer that goes takes its slide along, with what was decoded of it.
        self._end = weakref.finalize(self, _let_go, self._extras.close, self._cache, self._number)

    @property
    def fill(self) -> int:
        """What lies outside: white in brightfield, else zero."""
        return 255 if self.info.kind == "brightfield" else 0

    def read_region(self, level: int, box: Box) -> NDArray:
        """Read a rectangle of pixels, as ``Slide.read_region`` says.

        ``box``: in pixels of that level; it may reach outside. Returns (row, column, channel).
        """
        return self._region(level, box, marked=False)

    def read_shown(self, level: int, box: Box) -> NDArray:
        """Read a rectangle of pixels for a viewer, which must be quick and stop at nothing.

        A striped mark stands in the place of each tile that cannot be decoded. Overviews of a large image without
        coarser levels are rough at first; ``watch`` says when they are exact.

        ``box``: in pixels of that level; it may reach outside.
        """
        return self._region(level, box, marked=True, rough=True)

    def _around_damage(self, side_px: int) -> tuple[NDArray[np.uint8], tuple[Box, ...]]:
        """The small picture with striped marks, and where tiles of the level that it comes from are damaged."""
        picture = self._small(partial(self._region, marked=True), side_px)
        full = self.info.levels[0]
        base = _level_of_file(self.sources, self.best_level(max(full.height, full.width) / side_px))
        return picture, self._damage.at(base, self.info.levels[base].downsample)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Have a function called each time that what was shown roughly can be read exactly."""
        self._sharpener.watch(watcher)

    def profile(self) -> bytes | None:
        """Give the ICC profile, where there is one."""
        self._refuse_closed()
        return self._extras.profile()

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Read the label, macro or another image beside the slide, as ``Slide.associated_image`` says.

        Returns uint8 (row, column, channel=3).
        """
        self._refuse_closed()
        return self._extras.associated[name]()

    def close(self) -> None:
        """Let go of the file and of what was decoded of it."""
        if self._end.alive:
            self._sharpener.end()
            self._end()
            self._coarse.forget(self._number)

    def _refuse_closed(self) -> None:
        if not self._end.alive:
            raise InputError(f"{self.info.path} was closed, and is read no more. Open it again.")

    def _region(self, level: int, box: Box, *, marked: bool, rough: bool = False) -> NDArray:
        """Put a region together from its tiles."""
        self._refuse_closed()
        _refuse_level(level, self.info)
        source = self.sources[level]
        pixels = np.empty((box.height, box.width, len(self.info.channels)), self.dtype)
        if not _is_inside(box, source):
            pixels[:] = self.fill
        cells = _cells(source, box)
        rough = rough and isinstance(source, BuiltGrid) and is_rough_at_first(source)
        tiles = self._rough_tiles(level, cells) if rough else self._tiles(level, cells, marked=marked)
        for (row, column), tile in zip(cells, tiles, strict=True):
            _paste(tile, row * source.tile_height - box.top, column * source.tile_width - box.left, pixels)
        return pixels

    def _tiles(self, level: int, cells: Sequence[Cell], *, marked: bool, keep: bool = True) -> list[NDArray]:
        """Tiles from the caches or decoded, by threads where that is worth it and this is none of them."""

        def tile(cell: Cell) -> NDArray:
            return self._tile(level, cell, marked=marked, keep=keep)

        if getattr(_here, "is_helper", False) or len(cells) < WORTH_THREADS:
            return [tile(cell) for cell in cells]
        found = {cell: kept for cell in cells if (kept := self._kept(level, cell, marked=marked)) is not None}
        missing = [cell for cell in cells if cell not in found]
        decoded = map(tile, missing) if len(missing) < WORTH_THREADS else _helpers().map(tile, missing)
        found |= dict(zip(missing, decoded, strict=True))
        return [found[cell] for cell in cells]

    def _rough_tiles(self, level: int, cells: Sequence[Cell]) -> list[NDArray]:
        """Exact tiles where they are known; mosaics for the others, and a wish for the exact ones."""
        grid = cast(BuiltGrid, self.sources[level])
        found = {cell: kept for cell in cells if (kept := self._kept(level, cell, marked=True)) is not None}
        wanted = [cell for cell in cells if cell not in found]
        found |= {
            cell: rough
            for cell in wanted
            if (rough := self._cache.get((self._number, level, *cell, "rough"))) is not None
        }
        missing = [cell for cell in cells if cell not in found]
        self._sharpener.ask(level, wanted)
        base = level - grid.depth
        tile = partial(self._tile, base, marked=True, keep=False)
        drawn = rough_tiles(grid, missing, tile, partial(self._rows_at, base), _helpers().map)
        for cell, rough in drawn.items():
            self._cache.put((self._number, level, *cell, "rough"), rough)
        found |= drawn
        return [found[cell] for cell in cells]

    def _rows_at(self, level: int, row: int) -> NDArray:
        """A few whole rows of a level of the file, with a mark where they cannot be decoded."""
        source = cast(Source, self.sources[level])
        try:
            return source.rows_at(row)
        except DAMAGE:
            return marked_tile(1, source.tile_width, len(self.info.channels), self.dtype)

    def _sharpen(self, level: int, cell: Cell) -> None:
        """Build an exact tile, and keep it."""
        decode_here()
        self._refuse_closed()
        self._tile(level, cell, marked=True, keep=True)

    def _kept(self, level: int, cell: Cell, *, marked: bool) -> NDArray | None:
        """A tile that was decoded before; with marks in it only where those are wanted."""
        cache = self._cache_of(level)
        tile = cache.get((self._number, level, *cell))
        return cache.get((self._number, level, *cell, "marked")) if tile is None and marked else tile

    def _tile(self, level: int, cell: Cell, *, marked: bool, keep: bool) -> NDArray:
        """One tile, from a cache or decoded and then kept."""
        kept = self._kept(level, cell, marked=marked)
        if kept is not None:
            return kept
        key: tuple[Hashable, ...] = (self._number, level, *cell)
        try:
            tile = self._decoded(level, cell, marked=False)
        except DamagedTile as fault:
            if not marked:
                raise
            if fault.level == level:
                self._damage.add(fault)
            tile, key = self._decoded(level, cell, marked=True), (*key, "marked")
        if keep or self._cache_of(level) is self._coarse:
            self._cache_of(level).put(key, tile)
        return tile

    def _decoded(self, level: int, cell: Cell, *, marked: bool) -> NDArray:
        """Decode a tile, or build it from those of the level below."""
        source = self.sources[level]
        if isinstance(source, BuiltGrid):
            parts = self._tiles(level - 1, source.parts_of(*cell), marked=marked, keep=False)
            return source.joined(*cell, parts)
        height, width = source.size_of(*cell)
        if marked:
            return marked_tile(height, width, len(self.info.channels), self.dtype)
        try:
            return cast(Source, source).tile(*cell)
        except InputError:
            raise
        except DAMAGE as error:
            box = Box(cell[0] * source.tile_height, cell[1] * source.tile_width, height, width)
            raise damaged(self.info.path, level, box, error) from error

    def _cache_of(self, level: int) -> TileCache:
        """Where tiles of a level are kept: coarse levels that were built are never pushed out by others."""
        source = self.sources[level]
        size = source.height * source.width * len(self.info.channels) * self.dtype.itemsize
        return self._coarse if isinstance(source, BuiltGrid) and size <= COARSE_LEVEL_BYTES else self._cache


def _let_go(close: Callable[[], None], cache: TileCache, number: int) -> None:
    """Close the file of a slide, and drop its tiles from the cache of all slides."""
    close()
    cache.forget(number)


def _refuse_level(level: int, info: SlideInfo) -> None:
    """Raise where a slide has no such level."""
    if not 0 <= level < len(info.levels):
        raise InputError(
            f"{info.path} has levels 0 to {len(info.levels) - 1}, but level {level} was asked for. Choose one of those."
        )


def _level_of_file(sources: Sequence[Grid], level: int) -> int:
    """The level of the file that a level is, or is built from."""
    source = sources[level]
    return level - source.depth if isinstance(source, BuiltGrid) else level


def _cells(source: Grid, box: Box) -> list[Cell]:
    """Rows and columns in the grid of the tiles that a box touches."""
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.height, source.height), min(box.left + box.width, source.width)
    if bottom <= top or right <= left:
        return []
    rows = range(top // source.tile_height, -(-bottom // source.tile_height))
    columns = range(left // source.tile_width, -(-right // source.tile_width))
    return [(row, column) for row in rows for column in columns]


def _is_inside(box: Box, source: Grid) -> bool:
    """Whether tiles cover all of a box."""
    ends = box.top + box.height <= source.height and box.left + box.width <= source.width
    return box.top >= 0 and box.left >= 0 and ends


def _paste(tile: NDArray, top: int, left: int, pixels: NDArray) -> None:
    """Copy what of a tile lies within the pixels; its corner may lie outside."""
    height, width = pixels.shape[:2]
    rows = slice(max(top, 0), min(top + tile.shape[0], height))
    columns = slice(max(left, 0), min(left + tile.shape[1], width))
    pixels[rows, columns] = tile[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


@cache
def _helpers() -> ThreadPoolExecutor:
    """Threads that decode; shared by all slides."""
    number = min(MOST_THREADS, usable_cores())
    return ThreadPoolExecutor(number, thread_name_prefix="slide-tiles", initializer=decode_here)


def decode_here() -> None:
    """Let this thread decode what it reads by itself from now on, without handing tiles to helpers.

    A helper that waited for others of its kind could wait for ever; and whoever reads in threads of its own gains
    nothing by more of them.
    """
    _here.is_helper = True
