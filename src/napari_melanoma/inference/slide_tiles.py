"""The tiles of a slide as a network sees them: neighbours read at once, brought to size, the damaged ones marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.slides.presence import Presence, gone
from napari_melanoma.io.slides.slide import DamagedTile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.tiling import TileGrid
    from napari_melanoma.core.geometry import Box
    from napari_melanoma.io.slides.slide import Slide

BLOCK_PX = 896  # side of what is read at once: each JPEG tile of the file is then decoded about once
FULL = 0.5  # of such a block must be asked for; where less is, its tiles are read one by one

Prepare = Callable[["NDArray[np.uint8]"], "NDArray[np.uint8]"]


class SlideTiles:
    """Reads tiles of one slide; safe to use from several threads.

    ``prepare``: what is done to each batch before a network sees it, such as the normalisation of stain: uint8 (tile,
    row, column, channel=3) to the same.
    """

    def __init__(self, slide: Slide, grid: TileGrid, prepare: Prepare | None = None) -> None:
        self._slide = slide
        self._grid = grid
        self._prepare = prepare
        self._presence = Presence(slide.info)
        self._block = max(2, round(BLOCK_PX / max(grid.read_px)))

    def read(self, places: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read a batch.

        ``places``: int32 (tile, 2): row and column of each in the grid. Returns uint8 (tile, row, column, channel=3) of
        the side that the network sees; white where one is damaged. Returns bool (tile,): whether it could be read.
        """
        side = self._grid.side_px
        tiles, good = np.empty((len(places), side, side, 3), np.uint8), np.ones(len(places), np.bool_)
        for members in _blocks(places, self._block):
            if not (len(members) > FULL * self._block**2 and self._read_together(places, members, tiles)):
                for index in members:
                    good[index] = self._read_one(places[index], tiles[index])
        if self._prepare is not None and good.any():
            tiles[good] = self._prepare(tiles[good])
        return tiles, good

    def _read_together(self, places: NDArray[np.int32], members: NDArray[np.intp], tiles: NDArray[np.uint8]) -> bool:
        """Read tiles of a block in one go; False where something in it is damaged."""
        (top, left), (bottom, right) = places[members].min(axis=0).tolist(), places[members].max(axis=0).tolist()
        block = self._grid.block((top, bottom + 1), (left, right + 1))
        try:
            pixels = self._region(block)
        except DamagedTile:
            return False
        for index in members:
            box = self._grid.box(*places[index].tolist())
            first_row, first_column = box.top - block.top, box.left - block.left
            cut = pixels[first_row : first_row + box.height, first_column : first_column + box.width]
            self._fit(cut, tiles[index])
        return True

    def _read_one(self, place: NDArray[np.int32], out: NDArray[np.uint8]) -> bool:
        """Read one tile; False, and white, where it is damaged."""
        try:
            self._fit(self._tile(self._grid.box(*place.tolist())), out)
        except DamagedTile:
            out[:] = 255
            return False
        return True

    def _tile(self, box: Box) -> NDArray[np.uint8]:
        """Pixels of one tile, tried again where the slide was looked after."""
        try:
            pixels = self._region(box)
        except DamagedTile:
            if not self._presence.damaged():
                raise
            pixels = self._region(box)
        self._presence.good()
        return pixels

    def _region(self, box: Box) -> NDArray[np.uint8]:
        """Pixels of the level; where the file itself has gone, say so."""
        try:
            return self._slide.read_region(self._grid.level, box).astype(np.uint8, copy=False)
        except (OSError, DamagedTile, InputError) as error:
            path = self._slide.info.path
            if path.exists() and isinstance(error, DamagedTile):
                raise
            raise gone(path, error) from error

    def _fit(self, pixels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Bring what was read to the network's size."""
        if pixels.shape == out.shape:
            out[:] = pixels
        else:
            from PIL import Image

            picture = Image.fromarray(np.ascontiguousarray(pixels))
            out[:] = np.asarray(picture.resize(out.shape[1::-1], Image.Resampling.BILINEAR))


def _blocks(places: NDArray[np.int32], side: int) -> Iterator[NDArray[np.intp]]:
    """Indices of the tiles of each block of neighbours."""
    blocks = places // side
    _, numbers = np.unique(blocks, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    for number in range(int(numbers.max(initial=-1)) + 1):
        yield np.flatnonzero(numbers == number)
