"""First a rough picture, then the exact one: for the overview of a large image that has no coarser levels of its own.

Such an overview takes a pass over the whole file, which is half a minute for 40,000 x 40,000 pixels in JPEG. What a
viewer asks for is answered at once from a sample of the tiles; a thread then builds the exact tiles, those that were
asked for last first, and tells whoever watches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.io.formats import DAMAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.io.slides.sources import BuiltGrid

logger = logging.getLogger(__name__)

ROUGH_DEPTH = 3  # a view of a level that is halved three times needs some thousand tiles
ROUGH_PX = 2000 * 256**2  # of the level of the file; below, an exact overview takes a second or two
FIRST_S = 0.6  # in which a rough picture is to be there, whatever the file and whatever else the computer does
FINER = 4  # times the work when there are twice as many pieces in each direction
STRIP_PX = 4096  # a tile as wide as the image, and at least this, is a strip
MOST_SIDE = 8  # its square is the number of lines that are drawn of strips, in a tile
SAMPLES = 800  # tiles that are decoded for one view
_EVERY = 4  # of the rows and columns of a tile; enough for its mean

Cell = tuple[int, int]
Each = Callable[[Callable[[Cell], "NDArray"], Sequence[Cell]], Iterable["NDArray"]]
Job = tuple[int, Cell]


class Sharpener:
    """A thread that builds tiles, those asked for last first."""

    def __init__(self, build: Callable[[int, Cell], object]) -> None:
        self._build = build
        self._jobs: dict[Job, None] = {}
        self._watchers: list[Callable[[], None]] = []
        self._lock = Lock()
        self._thread: Thread | None = None
        self._ended = False

    def watch(self, watcher: Callable[[], None]) -> None:
        """Have a function called, in the thread, each time that all tiles asked for are exact."""
        with self._lock:
            self._watchers.append(watcher)

    def ask(self, level: int, cells: Sequence[Cell]) -> None:
        """Ask for exact tiles."""
        with self._lock:
            for cell in cells:
                self._jobs.pop((level, cell), None)
                self._jobs[level, cell] = None
            if self._thread is None and not self._ended:
                self._thread = Thread(target=self._work, name="slide-sharpener", daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Stop after the tile at hand."""
        with self._lock:
            self._ended = True
            self._jobs.clear()
            self._watchers.clear()

    def _work(self) -> None:
        """Build until nothing is left to do."""
        while (job := self._next()) is not None:
            try:
                self._build(*job)
            except (MelanomaError, *DAMAGE) as fault:  # what a viewer asks for again tells it of the fault
                logger.debug("an exact tile could not be built: %s", fault)
            self._tell()

    def _next(self) -> Job | None:
        """The job that was asked for last; None, and the thread is forgotten, where there is none."""
        with self._lock:
            if self._jobs:
                return self._jobs.popitem()[0]
            self._thread = None
            return None

    def _tell(self) -> None:
        """Tell the watchers where nothing is left to do."""
        with self._lock:
            watchers = [] if self._jobs else list(self._watchers)
        for watcher in watchers:
            watcher()


def is_rough_at_first(grid: BuiltGrid) -> bool:
    """Say whether an exact view of a level takes so long that a rough one comes first.

    True where it is halved often, and the level of the file is large.
    """
    return grid.depth >= ROUGH_DEPTH and grid.base.height * grid.base.width > ROUGH_PX


def rough_tiles(
    grid: BuiltGrid,
    cells: Sequence[Cell],
    tile: Callable[[Cell], NDArray],
    rows_at: Callable[[int], NDArray],
    each: Each = map,
) -> dict[Cell, NDArray]:
    """Draw tiles of a built level from samples of the file, finer and finer as long as that is quick.

    Cell to (row, column, channel): a mosaic of mean colours, or lines where the file is made of strips.
    """
    strips = grid.base.columns == 1 and grid.base.tile_width >= STRIP_PX
    most = MOST_SIDE if strips else samples_a_side(len(cells), grid.depth)
    side, spent = 2, 0.0
    while True:
        began = monotonic()
        draw = partial(_lines, grid, side, rows_at) if strips else partial(_mosaic, grid, side, tile)
        found = dict(zip(cells, each(draw, cells), strict=True))
        took = monotonic() - began
        spent += took
        if side >= most or spent + FINER * took > FIRST_S:
            return found
        side *= 2


def _mosaic(grid: BuiltGrid, side: int, tile: Callable[[Cell], NDArray], cell: Cell) -> NDArray:
    """A tile as a mosaic of the mean colours of some tiles of the file, up to ``side`` pieces in each direction."""
    height, width = grid.size_of(*cell)
    base, factor = grid.base, 2**grid.depth
    rows, columns = (
        _pieces(first, factor, side, end) for first, end in zip(cell, (base.rows, base.columns), strict=True)
    )
    sampled = [[tile((row, column)) for column in columns] for row in rows]
    mosaic = np.array([[one[::_EVERY, ::_EVERY].mean(axis=(0, 1)) for one in line] for line in sampled])
    down = np.minimum(np.arange(height) * side // grid.tile_height, len(rows) - 1)
    across = np.minimum(np.arange(width) * side // grid.tile_width, len(columns) - 1)
    return mosaic[down][:, across].astype(sampled[0][0].dtype)


def _lines(grid: BuiltGrid, side: int, rows_at: Callable[[int], NDArray], cell: Cell) -> NDArray:
    """A tile as wide as the image, of some rows of the file, with their columns averaged: ``side`` squared of them."""
    height, width = grid.size_of(*cell)
    factor, count = 2**grid.depth, max(1, min(side * side, grid.tile_height) * height // grid.tile_height)
    middles = (cell[0] * grid.tile_height + (np.arange(count) + 0.5) * height / count) * factor
    drawn = []
    for middle in np.minimum(middles, grid.base.height - 1).astype(int).tolist():
        rows = rows_at(middle)
        line = rows[::_EVERY].mean(axis=0, dtype=np.float32)
        line = np.pad(line, ((0, width * factor - len(line)), (0, 0)), mode="edge")
        drawn.append(line.reshape(width, factor, -1).mean(axis=1).astype(rows.dtype))
    return np.stack(drawn)[np.arange(height) * count // height]


def samples_a_side(tiles: int, depth: int) -> int:
    """How many pieces a mosaic has in each direction, so that a view decodes few tiles.

    A power of two, at most ``2**depth``.
    """
    side = 2
    while side < 2**depth and tiles * (2 * side) ** 2 <= SAMPLES:
        side *= 2
    return side


def _pieces(first: int, factor: int, side: int, end: int) -> list[int]:
    """Rows (or columns) of the tiles of the file that stand for the pieces of a mosaic: the middle one of each."""
    step = factor // side
    return [
        min(first * factor + piece * step + step // 2, end - 1)
        for piece in range(side)
        if first * factor + piece * step < end
    ]
