"""Slides whose levels consist of tiles: cache, reading by several threads, computed levels, and rough previews."""

from __future__ import annotations

import itertools
import logging
import math
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from threading import Lock, Thread, local
from time import monotonic
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import usable_cores
from napari_melanoma.core.errors import InputError, MelanomaError, UnreadableImage
from napari_melanoma.core.geometry import Box
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.slides.reading.slide import (
    DamagedTile,
    DamageLog,
    LevelInfo,
    Slide,
    SlideInfo,
    compute_downsample,
    damaged_tile_error,
    draw_damaged_tile,
)

MAX_THREADS = 4
MIN_TILES_FOR_THREADS = 8  # of 256 pixels; fewer are decoded before a thread begins
# Cache for computed levels up to a size: computing the coarsest ones requires reading the whole slide.
COARSE_BYTES = 160 * 2**20
COARSE_LEVEL_BYTES = 96 * 2**20

SCREEN_PX = 1024  # napari reads the whole coarsest level for the layer thumbnail, each time the view changes
MIN_LEVEL_GAP = 3.0  # ratio of neighboring levels from which on levels are computed in between; scanners use 2 and 4

MEMORY_SHARE = 1 / 64  # of the memory of the computer, for the shared cache
MIN_BYTES, MAX_BYTES = 96 * 2**20, 192 * 2**20
# For slides that are only displayed, the cache has room for the last views of each, so that a view that is moved or
# zoomed reads few tiles. A larger cache allocates new memory for longer, which took a third of the time of a jump.
KEPT_VIEWS, LEAST_BYTES = 3, 32 * 2**20

# Rough previews are drawn for levels that are halved this many times, of which a view needs about a thousand tiles, if
# the level of the file has this many pixels; of smaller levels, an exact overview takes a second or two.
ROUGH_DEPTH, ROUGH_PX = 3, 2000 * 256**2
ROUGH_TIME_S = 0.6  # time limit of a rough preview, for any file and computer
REFINEMENT_FACTOR = 4  # factor by which work grows with twice as many pieces in each direction
STRIP_PX = 4096  # a tile as wide as the image, and at least this wide, is a strip
MAX_SIDE = 8  # the square of this is the greatest number of lines sampled from strips for a tile
SAMPLES = 800  # maximum number of decoded tiles for one view
_EVERY = 4  # step of the sampled rows and columns of a tile; sufficient for its mean color

TileIndex = tuple[int, int]  # row and column in the grid of a level
# Applies a function to each of several tiles, as ``map`` does, possibly in threads.
MapTiles = Callable[[Callable[[TileIndex], "NDArray"], Sequence[TileIndex]], Iterable["NDArray"]]
TileRequest = tuple[int, TileIndex]  # level, and tile
Argument = TypeVar("Argument")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)
_slide_numbers = itertools.count()
_thread_state = local()


class TileLevel:
    """One level as a grid of tiles.

    ``height``, ``width``: size of the level in pixels.
    """

    def __init__(self, height: int, width: int, tile_height: int, tile_width: int) -> None:
        if min(height, width, tile_height, tile_width) < 1:  # in a damaged header
            raise ValueError(f"{width} x {height} pixels in tiles of {tile_width} x {tile_height} are invalid")
        self.height, self.width = height, width
        self.tile_height, self.tile_width = tile_height, tile_width

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return math.ceil(self.height / self.tile_height)

    @property
    def columns(self) -> int:
        """Number of columns of tiles."""
        return math.ceil(self.width / self.tile_width)

    def size_of(self, row: int, column: int) -> tuple[int, int]:
        """Return height and width of a tile in pixels; tiles at the last row and column may be smaller."""
        height = min(self.tile_height, self.height - row * self.tile_height)
        return height, min(self.tile_width, self.width - column * self.tile_width)

    def crop(self, height: int, width: int) -> None:
        """Leave out pixels at the bottom and at the right, if the level is larger."""
        self.height, self.width = min(self.height, height), min(self.width, width)

    def half_resolution(self) -> TileLevel:
        """Return a computed level of half the resolution."""
        return DownsampledLevel(self)


class TileCache:
    """A cache of arrays with a limited size in bytes; safe to use from several threads.

    ``limit_bytes``: the greatest size. ``least_bytes``: the size until more is requested; the limit by default.
    """

    def __init__(self, limit_bytes: int, least_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self._least_bytes = limit_bytes if least_bytes is None else min(least_bytes, limit_bytes)
        self._requests: dict[Hashable, int] = {}  # sizes by owner
        self._arrays: OrderedDict[Hashable, NDArray] = OrderedDict()
        self._bytes = 0
        self._released: deque[Hashable] = deque()  # owners whose arrays are to be removed
        self._lock = Lock()

    @property
    def used_bytes(self) -> int:
        """Current size in bytes."""
        return self._bytes

    @property
    def size_bytes(self) -> int:
        """Size from which on arrays are evicted."""
        return min(self.limit_bytes, max(self._least_bytes, sum(self._requests.values())))

    def request(self, owner: Hashable, size_bytes: int) -> None:
        """Request room for the arrays of an owner, until these are removed; the greatest request counts."""
        if size_bytes > self._requests.get(owner, 0):
            with self._lock:
                self._requests[owner] = size_bytes

    def get(self, key: Hashable) -> NDArray | None:
        """Return a cached array, read-only; None if it is not in the cache."""
        with self._lock:
            array = self._arrays.get(key)
            if array is not None:
                self._arrays.move_to_end(key)
            return array

    def put(self, key: Hashable, array: NDArray) -> None:
        """Add an array, which becomes read-only; the least recently used arrays are evicted."""
        array.flags.writeable = False
        with self._lock:
            self._drop_released()
            self._drop(key)
            size = self.size_bytes
            if array.nbytes > size:
                return
            while self._bytes + array.nbytes > size:
                self._drop(next(iter(self._arrays)))
            self._arrays[key] = array
            self._bytes += array.nbytes

    def drop_owner(self, owner: Hashable) -> None:
        """Remove all arrays whose key is a tuple that begins with ``owner``.

        The garbage records may call this at any time, also while this thread holds the lock of the cache. The arrays
        are then removed later, to avoid a deadlock.
        """
        self._released.append(owner)
        if self._lock.acquire(blocking=False):
            try:
                self._drop_released()
            finally:
                self._lock.release()

    def _drop_released(self) -> None:
        """Remove the arrays of released owners; the lock must be held."""
        while self._released:
            owner = self._released.popleft()
            self._requests.pop(owner, None)
            for key in [key for key in self._arrays if isinstance(key, tuple) and key[0] == owner]:
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        """Remove one array if present; the lock must be held."""
        dropped = self._arrays.pop(key, None)
        if dropped is not None:
            self._bytes -= dropped.nbytes


def do_nothing() -> None:
    """Do nothing; the default of optional callbacks."""


@dataclass(frozen=True)
class SlideExtras:
    """Functions of an open file: read the ICC profile, close the file, and read an associated image by name."""

    icc_profile: Callable[[], bytes | None] = do_nothing
    close: Callable[[], None] = do_nothing
    associated_image: Callable[[str], NDArray[np.uint8]] | None = None


class TiledSlide(Slide):
    """A slide whose levels consist of tiles.

    ``sources``: the level that each of ``info.levels`` is read from. ``dtype``: data type of pixels.
    """

    def __init__(
        self,
        info: SlideInfo,
        sources: Sequence[TileLevel],
        dtype: np.dtype,
        extras: SlideExtras | None = None,
        cache: TileCache | None = None,
    ) -> None:
        self.info = info
        self.sources = tuple(sources)
        self.dtype = np.dtype(dtype)
        self._extras = extras or SlideExtras()
        self._cache = cache or shared_cache()
        self._coarse = TileCache(COARSE_BYTES)
        self._exact_tile_builder = ExactTileBuilder(self._build_exact_tile)
        self._damage = DamageLog(info.path)
        self._number = next(_slide_numbers)
        # If the slide is no longer referenced, it is closed and its tiles are removed from the cache.
        self._end = weakref.finalize(self, _release_slide, self._extras.close, self._cache, self._number)

    @property
    def fill_value(self) -> int:
        """Pixel value outside the slide: white in brightfield, else zero."""
        return 255 if self.info.kind == "brightfield" else 0

    def read_region(self, level: int, box: Box) -> NDArray:
        """Read a rectangle of pixels, (row, column, channel), as in ``Slide.read_region``.

        ``box``: in pixels of the level; it may extend beyond the level.
        """
        self._cache.request(self._number, self._cache.limit_bytes)
        return self._region(level, box, marked=False)

    def read_for_display(self, level: int, box: Box) -> NDArray:
        """Read a rectangle of pixels for display, quickly and without errors for damaged tiles.

        Damaged tiles are shown as stripes. Overviews of a large image without coarser levels are rough at first; the
        functions of ``add_watcher`` are called when exact pixels can be read.

        ``box``: in pixels of the level; it may extend beyond the level.
        """
        return self._region(level, box, marked=True, rough=True)

    def read_around_damage(self, level: int, box: Box) -> tuple[NDArray, tuple[Box, ...]]:
        """Read a rectangle of pixels with stripes for damaged tiles, and the boxes of these tiles, see ``Slide``."""
        pixels = self._region(level, box, marked=True)
        source = self.sources[level]
        base = level - source.depth if isinstance(source, DownsampledLevel) else level
        return pixels, self._damage.boxes_at(base, self.info.levels[base].downsample)

    def add_watcher(self, watcher: Callable[[], None]) -> None:
        """Add a function that is called, in another thread, when all requested tiles can be read exactly."""
        self._exact_tile_builder.add_watcher(watcher)

    def icc_profile(self) -> bytes | None:
        """Return the ICC profile; None if there is none."""
        self._check_open()
        return self._extras.icc_profile()

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Read an image that is stored with the slide, as in ``Slide.associated_image``."""
        self._check_open()
        if self._extras.associated_image is None or name not in self.info.associated:
            raise self._no_associated_image(name)
        try:
            return self._extras.associated_image(name)
        except DAMAGE_ERRORS as error:
            raise UnreadableImage(
                f"the image '{name}' of {self.info.path.name} cannot be read ({error}): it is damaged. The slide "
                "itself may be readable."
            ) from error

    def close(self) -> None:
        """Close the file, and remove its tiles from the caches."""
        if self._end.alive:
            self._exact_tile_builder.stop()
            self._end()
            self._coarse.drop_owner(self._number)

    def _check_open(self) -> None:
        if not self._end.alive:
            raise InputError(f"{self.info.path} is closed and can no longer be read. Open it again.")

    def _region(self, level: int, box: Box, *, marked: bool, rough: bool = False) -> NDArray:
        """Compose a region from its tiles; ``marked``: draw damaged tiles; ``rough``: allow rough tiles."""
        self._check_open()
        if not 0 <= level < len(self.info.levels):
            raise InputError(
                f"{self.info.path} has levels 0 to {len(self.info.levels) - 1}, but level {level} was requested. "
                "Choose one of these."
            )
        source = self.sources[level]
        pixels = np.empty((box.height, box.width, len(self.info.channels)), self.dtype)
        if not _is_inside(box, source):
            pixels[:] = self.fill_value
        cells = _cells(source, box)
        self._cache.request(self._number, KEPT_VIEWS * len(cells) * self._tile_bytes(source))
        rough = rough and isinstance(source, DownsampledLevel) and needs_rough_tiles(source)
        tiles = self._rough_tiles(level, cells) if rough else self._tiles(level, cells, marked=marked)
        for (row, column), tile in zip(cells, tiles, strict=True):
            _paste(tile, row * source.tile_height - box.top, column * source.tile_width - box.left, pixels)
        return pixels

    def _tiles(self, level: int, cells: Sequence[TileIndex], *, marked: bool, keep: bool = True) -> list[NDArray]:
        """Return tiles, cached or decoded, in threads if many are missing and this is not a decoder thread itself.

        ``marked``: draw damaged tiles, instead of raising DamagedTile. ``keep``: cache the decoded tiles.
        """

        def tile(cell: TileIndex) -> NDArray:
            return self._tile(level, cell, marked=marked, keep=keep)

        if getattr(_thread_state, "is_helper", False) or len(cells) < MIN_TILES_FOR_THREADS:
            return [tile(cell) for cell in cells]
        tiles = self._cached_tiles(level, cells, marked=marked)
        missing = [cell for cell in cells if cell not in tiles]
        decode = map if len(missing) < MIN_TILES_FOR_THREADS else _map_with_helpers
        tiles |= dict(zip(missing, decode(tile, missing), strict=True))
        return [tiles[cell] for cell in cells]

    def _rough_tiles(self, level: int, cells: Sequence[TileIndex]) -> list[NDArray]:
        """Return exact tiles if they are cached, else rough ones; request the exact ones."""
        grid = cast("DownsampledLevel", self.sources[level])
        tiles = self._cached_tiles(level, cells, marked=True)
        requested = [cell for cell in cells if cell not in tiles]
        tiles |= {
            cell: rough
            for cell in requested
            if (rough := self._cache.get((self._number, level, *cell, "rough"))) is not None
        }
        missing = [cell for cell in cells if cell not in tiles]
        self._exact_tile_builder.request(level, requested)
        base = level - grid.depth
        tile = partial(self._tile, base, marked=True, keep=False)
        drawn = draw_rough_tiles(grid, missing, tile, partial(self._rows_at, base), _decoder_threads().map)
        for cell, rough in drawn.items():
            self._cache.put((self._number, level, *cell, "rough"), rough)
        tiles |= drawn
        return [tiles[cell] for cell in cells]

    def _rows_at(self, level: int, row: int) -> NDArray:
        """Decode a few whole rows of a level of the file, or draw them as damaged."""
        source = cast("TileSource", self.sources[level])
        try:
            return source.rows_at(row)
        except DAMAGE_ERRORS:
            return draw_damaged_tile(1, source.tile_width, len(self.info.channels), self.dtype)

    def _build_exact_tile(self, level: int, cell: TileIndex) -> None:
        """Compute an exact tile, and cache it."""
        decode_in_this_thread()
        self._check_open()
        self._tile(level, cell, marked=True, keep=True)

    def _cached_tile(self, level: int, cell: TileIndex, *, marked: bool) -> NDArray | None:
        """Return a cached tile, with drawn damage only if ``marked``; None if it is not cached."""
        cache = self._cache_of(level)
        tile = cache.get((self._number, level, *cell))
        return cache.get((self._number, level, *cell, "marked")) if tile is None and marked else tile

    def _cached_tiles(self, level: int, cells: Sequence[TileIndex], *, marked: bool) -> dict[TileIndex, NDArray]:
        tiles = {cell: self._cached_tile(level, cell, marked=marked) for cell in cells}
        return {cell: tile for cell, tile in tiles.items() if tile is not None}

    def _tile(self, level: int, cell: TileIndex, *, marked: bool, keep: bool) -> NDArray:
        """Return one tile, from a cache or decoded."""
        cached = self._cached_tile(level, cell, marked=marked)
        if cached is not None:
            return cached
        key: tuple[Hashable, ...] = (self._number, level, *cell)
        try:
            tile = self._decode_tile(level, cell, marked=False)
        except DamagedTile as fault:
            if not marked:
                raise
            if fault.level == level:
                self._damage.add(fault)
            tile, key = self._decode_tile(level, cell, marked=True), (*key, "marked")
        if keep or self._cache_of(level) is self._coarse:
            self._cache_of(level).put(key, tile)
        return tile

    def _decode_tile(self, level: int, cell: TileIndex, *, marked: bool) -> NDArray:
        """Decode a tile, or compute it from the finer level; ``marked``: draw it as damaged instead of decoding it."""
        source = self.sources[level]
        if isinstance(source, DownsampledLevel):
            parts = self._tiles(level - 1, source.finer_tiles(*cell), marked=marked, keep=False)
            return source.join_tiles(*cell, parts)
        height, width = source.size_of(*cell)
        if marked:
            return draw_damaged_tile(height, width, len(self.info.channels), self.dtype)
        try:
            return cast("TileSource", source).read_tile(*cell)
        except InputError:
            raise
        except DAMAGE_ERRORS as error:
            box = Box(cell[0] * source.tile_height, cell[1] * source.tile_width, height, width)
            raise damaged_tile_error(self.info.path, level, box, error) from error

    def _tile_bytes(self, source: TileLevel) -> int:
        return source.tile_height * source.tile_width * len(self.info.channels) * self.dtype.itemsize

    def _cache_of(self, level: int) -> TileCache:
        """Return the cache for a level; small computed levels have their own, so that other tiles do not evict them."""
        source = self.sources[level]
        size = source.height * source.width * len(self.info.channels) * self.dtype.itemsize
        return self._coarse if isinstance(source, DownsampledLevel) and size <= COARSE_LEVEL_BYTES else self._cache


def _release_slide(close: Callable[[], None], cache: TileCache, number: int) -> None:
    """Close the file of a slide, and remove its tiles from the shared cache."""
    close()
    cache.drop_owner(number)


def _cells(source: TileLevel, box: Box) -> list[TileIndex]:
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.height, source.height), min(box.left + box.width, source.width)
    if bottom <= top or right <= left:
        return []
    rows = range(top // source.tile_height, -(-bottom // source.tile_height))
    columns = range(left // source.tile_width, -(-right // source.tile_width))
    return [(row, column) for row in rows for column in columns]


def _is_inside(box: Box, source: TileLevel) -> bool:
    ends = box.top + box.height <= source.height and box.left + box.width <= source.width
    return box.top >= 0 and box.left >= 0 and ends


def _paste(tile: NDArray, top: int, left: int, pixels: NDArray) -> None:
    """Copy the part of a tile that lies within ``pixels``; ``top``, ``left``: its position, possibly negative."""
    height, width = pixels.shape[:2]
    rows = slice(max(top, 0), min(top + tile.shape[0], height))
    columns = slice(max(left, 0), min(left + tile.shape[1], width))
    pixels[rows, columns] = tile[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _map_with_helpers(decode: Callable[[TileIndex], NDArray], cells: Sequence[TileIndex]) -> list[NDArray]:
    """Decode tiles in this thread, and in others that take tiles until none is left.

    A thread that has not begun by then, on a busy computer, is not waited for. Raises the error of the first tile that
    has one.
    """
    waiting, found = deque(cells), dict[TileIndex, "NDArray | Exception"]()

    def work() -> None:
        while True:
            try:
                cell = waiting.popleft()
            except IndexError:
                return
            try:
                found[cell] = decode(cell)
            except Exception as error:  # noqa: BLE001 - raised below
                found[cell] = error
                waiting.clear()

    helpers = [_decoder_threads().submit(work) for _ in range(_thread_count() - 1)]
    work()
    for helper in helpers:
        if not helper.cancel():
            helper.result()
    tiles = []
    for cell in cells:
        tile = found[cell]
        if isinstance(tile, Exception):
            raise tile
        tiles.append(tile)
    return tiles


def start_in_thread(function: Callable[[Argument], Result], argument: Argument) -> Callable[[], Result]:
    """Call a function in a thread that decodes tiles; returns a function that waits for the result.

    If no thread has begun by then, the result is computed in the calling thread.
    """
    future = _decoder_threads().submit(function, argument)
    return lambda: function(argument) if future.cancel() else future.result()


def _thread_count() -> int:
    return min(MAX_THREADS, usable_cores())


@cache
def _decoder_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_thread_count(), thread_name_prefix="slide-tiles", initializer=decode_in_this_thread)


def decode_in_this_thread() -> None:
    """Decode all tiles in this thread from now on, without helper threads.

    Helpers that wait for other helpers could deadlock, and callers with their own reader threads gain nothing from
    further threads.
    """
    _thread_state.is_helper = True


class TileSource(TileLevel, ABC):
    """A level whose tiles are decoded from a file."""

    @abstractmethod
    def read_tile(self, row: int, column: int) -> NDArray:
        """Decode one tile, (row, column, channel), with the size of ``size_of``; called from several threads."""

    def rows_at(self, row: int) -> NDArray:
        """Decode as few whole rows as possible around a row; called from several threads.

        Returns (row, column, channel), as wide as the tiles of the first column.
        """
        return self.read_tile(row // self.tile_height, 0)


class DownsampledLevel(TileLevel):
    """A level that is not in the file: half the size of the next finer one, with tiles of the same size.

    A tile is computed from up to four tiles of the finer level, which the slide reads and passes to ``join_tiles``.
    """

    def __init__(self, finer: TileLevel) -> None:
        super().__init__((finer.height + 1) // 2, (finer.width + 1) // 2, finer.tile_height, finer.tile_width)
        self.finer = finer

    @property
    def base(self) -> TileLevel:
        """The level in the file that this level is computed from."""
        return self.finer.base if isinstance(self.finer, DownsampledLevel) else self.finer

    @property
    def depth(self) -> int:
        """How many times the level in the file is halved."""
        return 1 + (self.finer.depth if isinstance(self.finer, DownsampledLevel) else 0)

    def finer_tiles(self, row: int, column: int) -> list[tuple[int, int]]:
        """Return the positions of the tiles of the finer level that a tile is computed from."""
        finer_rows = range(2 * row, min(2 * row + 2, self.finer.rows))
        finer_columns = range(2 * column, min(2 * column + 2, self.finer.columns))
        return [(finer_row, finer_column) for finer_row in finer_rows for finer_column in finer_columns]

    def join_tiles(self, row: int, column: int, parts: list[NDArray]) -> NDArray:
        """Compute a tile, (row, column, channel), from the finer tiles."""
        side_height, side_width = self.tile_height, self.tile_width
        height = min(2 * side_height, self.finer.height - 2 * row * side_height)
        width = min(2 * side_width, self.finer.width - 2 * column * side_width)
        area = np.empty((height, width, parts[0].shape[2]), parts[0].dtype)
        for (part_row, part_column), part in zip(self.finer_tiles(row, column), parts, strict=True):
            top, left = (part_row - 2 * row) * side_height, (part_column - 2 * column) * side_width
            area[top : top + part.shape[0], left : left + part.shape[1]] = part
        return halve_resolution(area)


def halve_resolution(tile: NDArray) -> NDArray:
    """Average blocks of 2 x 2 pixels; an odd last row or column is averaged by itself.

    ``tile``: (row, column, channel), unsigned integers or float32. Returns the same type.
    """
    if tile.dtype == np.uint8 and tile.shape[2] == 3:
        from PIL import Image

        return np.asarray(Image.fromarray(np.ascontiguousarray(tile)).reduce(2))  # 18 times as fast as numpy's mean
    height, width = tile.shape[:2]
    if height % 2 or width % 2:
        tile = np.pad(tile, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    wide = tile if tile.dtype.kind == "f" else tile.astype(np.uint32)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return total / 4 if tile.dtype.kind == "f" else ((total + 2) // 4).astype(tile.dtype)


def fill_pyramid(sources: Sequence[TileLevel]) -> list[tuple[TileLevel, bool]]:
    """Compute levels that a pyramid lacks, down to a level that fits a screen, so that overviews read few tiles.

    ``sources``: levels of the file, the finest first. Returns each level, and whether it is computed.
    """
    levels: list[tuple[TileLevel, bool]] = []
    for finer, coarser in zip(sources, [*sources[1:], None], strict=True):
        levels.append((finer, False))
        while _has_gap(levels[-1][0], coarser):
            levels.append((levels[-1][0].half_resolution(), True))
    return levels


def describe_levels(levels: Sequence[tuple[TileLevel, bool]]) -> tuple[LevelInfo, ...]:
    """Return size and downsample of each level; ``levels``: from ``fill_pyramid``."""
    full = levels[0][0].height, levels[0][0].width
    return tuple(
        LevelInfo(level.height, level.width, compute_downsample(full, (level.height, level.width)), is_computed)
        for level, is_computed in levels
    )


def _has_gap(finer: TileLevel, coarser: TileLevel | None) -> bool:
    """Whether a level is missing between two levels, or after the coarsest (None as ``coarser``)."""
    if coarser is None:
        return max(finer.height, finer.width) > SCREEN_PX
    return max(finer.height / coarser.height, finer.width / coarser.width) >= MIN_LEVEL_GAP


def cache_limit() -> int:
    """Return the size of the shared cache in bytes: a sixty-fourth of the memory, within limits."""
    import psutil

    share = int(psutil.virtual_memory().total * MEMORY_SHARE)
    return min(max(share, MIN_BYTES), MAX_BYTES)


_shared: TileCache | None = None
_shared_lock = Lock()


def shared_cache() -> TileCache:
    """Return the cache shared by all slides of this process, created on first use."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = TileCache(cache_limit(), LEAST_BYTES)
        return _shared


class ExactTileBuilder:
    """A thread that computes exact tiles, the most recently requested first."""

    def __init__(self, build: Callable[[int, TileIndex], object]) -> None:
        self._build = build
        self._requests: dict[TileRequest, None] = {}
        self._watchers: list[Callable[[], None]] = []
        self._lock = Lock()
        self._thread: Thread | None = None
        self._ended = False

    def add_watcher(self, watcher: Callable[[], None]) -> None:
        """Add a function that is called in the thread when no requests are left."""
        with self._lock:
            self._watchers.append(watcher)

    def request(self, level: int, cells: Sequence[TileIndex]) -> None:
        """Request exact tiles, before those of earlier requests; start the thread if necessary."""
        with self._lock:
            for cell in cells:
                self._requests.pop((level, cell), None)
                self._requests[level, cell] = None
            if self._thread is None and not self._ended:
                self._thread = Thread(target=self._run, name="slide-sharpener", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop after the current tile."""
        with self._lock:
            self._ended = True
            self._requests.clear()
            self._watchers.clear()

    def _run(self) -> None:
        while (job := self._next_request()) is not None:
            try:
                self._build(*job)
            # The error is raised again when the viewer reads the tile; the thread continues with other tiles.
            except (MelanomaError, MemoryError, *DAMAGE_ERRORS) as error:
                logger.debug("an exact tile could not be computed: %s", error)
            self._notify_watchers()

    def _next_request(self) -> TileRequest | None:
        """Remove and return the most recent request; None if there is none, which ends the thread."""
        with self._lock:
            if self._requests:
                return self._requests.popitem()[0]
            self._thread = None
            return None

    def _notify_watchers(self) -> None:
        with self._lock:
            watchers = [] if self._requests else list(self._watchers)
        for watcher in watchers:
            watcher()


def needs_rough_tiles(grid: DownsampledLevel) -> bool:
    """Return whether an exact view of a level is so slow that a rough one is shown first."""
    return grid.depth >= ROUGH_DEPTH and grid.base.height * grid.base.width > ROUGH_PX


def draw_rough_tiles(
    grid: DownsampledLevel,
    cells: Sequence[TileIndex],
    tile: Callable[[TileIndex], NDArray],
    rows_at: Callable[[int], NDArray],
    each: MapTiles = map,
) -> dict[TileIndex, NDArray]:
    """Draw tiles of a computed level from samples of the file, refined within ``ROUGH_TIME_S``.

    ``cells``: the tiles to draw. ``tile``: returns a tile of ``grid.base``. ``rows_at``: returns some rows of
    ``grid.base`` around a row. ``each``: ``map``, or its equivalent in threads. Returns tiles, (row, column, channel),
    by position: mosaics of mean colors, or lines if the file has strips.
    """
    has_strips = grid.base.columns == 1 and grid.base.tile_width >= STRIP_PX
    max_side = MAX_SIDE if has_strips else samples_per_side(len(cells), grid.depth)
    side, spent = 2, 0.0
    while True:
        began = monotonic()
        if has_strips:
            draw = partial(_tile_from_rows, grid, side, rows_at)
        else:
            draw = partial(_tile_from_samples, grid, side, tile)
        tiles = dict(zip(cells, each(draw, cells), strict=True))
        took = monotonic() - began
        spent += took
        if side >= max_side or spent + REFINEMENT_FACTOR * took > ROUGH_TIME_S:
            return tiles
        side *= 2


def _tile_from_samples(
    grid: DownsampledLevel, side: int, tile: Callable[[TileIndex], NDArray], cell: TileIndex
) -> NDArray:
    """Draw a tile as a mosaic of the mean colors of some tiles of the file, with up to ``side`` pieces on each side."""
    height, width = grid.size_of(*cell)
    base, factor = grid.base, 2**grid.depth
    rows, columns = (
        _sample_positions(first, factor, side, end) for first, end in zip(cell, (base.rows, base.columns), strict=True)
    )
    sampled = [[tile((row, column)) for column in columns] for row in rows]
    mosaic = np.array([[part[::_EVERY, ::_EVERY].mean(axis=(0, 1)) for part in line] for line in sampled])
    down = np.minimum(np.arange(height) * side // grid.tile_height, len(rows) - 1)
    across = np.minimum(np.arange(width) * side // grid.tile_width, len(columns) - 1)
    return mosaic[down][:, across].astype(sampled[0][0].dtype)


def _tile_from_rows(grid: DownsampledLevel, side: int, rows_at: Callable[[int], NDArray], cell: TileIndex) -> NDArray:
    """Draw a tile as wide as the image from up to ``side`` squared rows of the file, with averaged columns."""
    height, width = grid.size_of(*cell)
    factor, count = 2**grid.depth, max(1, min(side * side, grid.tile_height) * height // grid.tile_height)
    centers = (cell[0] * grid.tile_height + (np.arange(count) + 0.5) * height / count) * factor
    lines = []
    for center in np.minimum(centers, grid.base.height - 1).astype(int).tolist():
        rows = rows_at(center)
        line = rows[::_EVERY].mean(axis=0, dtype=np.float32)
        line = np.pad(line, ((0, width * factor - len(line)), (0, 0)), mode="edge")
        lines.append(line.reshape(width, factor, -1).mean(axis=1).astype(rows.dtype))
    return np.stack(lines)[np.arange(height) * count // height]


def samples_per_side(tiles: int, depth: int) -> int:
    """Return the number of mosaic pieces on each side of a tile, a power of two up to ``2**depth``.

    It is limited so that at most about ``SAMPLES`` tiles of the file are decoded.
    """
    side = 2
    while side < 2**depth and tiles * (2 * side) ** 2 <= SAMPLES:
        side *= 2
    return side


def _sample_positions(first: int, factor: int, side: int, end: int) -> list[int]:
    """Return the rows (or columns) of the tiles of the file at the centers of the pieces of a mosaic.

    ``first``: row of the drawn tile. ``factor``: rows of the file for each row of the level. ``end``: number of rows in
    the file.
    """
    step = factor // side
    return [
        min(first * factor + piece * step + step // 2, end - 1)
        for piece in range(side)
        if first * factor + piece * step < end
    ]
