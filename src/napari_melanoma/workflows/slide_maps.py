"""Maps of a finished slide: per tile, or stitched from dense answers block by block so that memory stays small."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.stitching import map_shape, stitch_block, tiles_reaching
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlace
from napari_melanoma.core.runs import Progress
from napari_melanoma.io.slide_results import DONE, SlideResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.tiling import TileGrid
    from napari_melanoma.core.runs import RunContext

BLOCK_CELLS = 1024
MAP_SIDE = 4096  # cells along the longer side of what lesions are found on: 64 MB a class, whatever the slide
KEPT_CHUNKS = 96  # of dense answers, about a megabyte each


@dataclass(frozen=True)
class SlideMaps:
    """Probability of each class, float32 (class, row, column) with NaN where nothing is known, and where it lies."""

    probability: NDArray[np.float32]
    place: MapPlace


def tile_maps(result: SlideResult) -> SlideMaps:
    """Give the values of tiles as maps."""
    return SlideMaps(np.moveaxis(result.probability, 2, 0), result.spec.place)


def stitched_maps(result: SlideResult, grid: TileGrid, run: RunContext) -> SlideMaps:
    """Stitch dense answers into the store's ``map``, and give them on cells that fit into memory.

    ``result``: of kind ``dense``, open for writing; receives ``map``, uint8 (class, row, column), probability times
    255. Means over whole cells of ``map``, at most ``MAP_SIDE`` of them along a side.
    """
    cells = replace(grid, side_px=result.spec.dense_px)
    shape = map_shape(cells)
    step = -(-max(shape) // MAP_SIDE)
    classes, answers = len(result.spec.classes), _Answers(result)
    small = np.full((classes, -(-shape[0] // step), -(-shape[1] // step)), np.nan, np.float32)
    store = result.new_map(shape)
    blocks = [block for block in _blocks(shape, step) if any(answers.has(*at) for at in tiles_reaching(block, cells))]
    for block in run.track(blocks, "Putting the tiles together"):
        values = stitch_block(block, cells, answers, channels=classes)
        store.put(block, np.round(255 * values).astype(np.uint8))
        part = slice(block.top // step, None), slice(block.left // step, None)
        reduced = _reduced(values, step)
        small[:, part[0], part[1]][:, : reduced.shape[1], : reduced.shape[2]] = reduced
    run.report(Progress(len(blocks), len(blocks), "Putting the tiles together"))
    place = cells.pixels_place
    fitted = MapPlace(place.top, place.left, place.step_y * step, place.step_x * step, place.pixel_size)
    return SlideMaps(_known(small, result, fitted), fitted)


class _Answers:
    """Dense answers of tiles by their place, chunks that were read last kept."""

    def __init__(self, result: SlideResult) -> None:
        self._result = result
        self._length = result.array("dense").chunks[0]
        self._chunks: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._index = np.full(result.state.shape, -1, np.int64)
        order, done = result.order, result.state == DONE
        self._index[order[:, 0], order[:, 1]] = np.where(done[order[:, 0], order[:, 1]], np.arange(len(order)), -1)

    def has(self, row: int, column: int) -> bool:
        """Say whether a tile has an answer."""
        return bool(self._index[row, column] >= 0)

    def __call__(self, row: int, column: int) -> NDArray[np.float32] | None:
        """Give a tile's maps, float32 (class, row, column), or None."""
        index = int(self._index[row, column])
        if index < 0:
            return None
        chunk, within = divmod(index, self._length)
        if chunk not in self._chunks:
            self._chunks[chunk] = self._result.dense(slice(chunk * self._length, (chunk + 1) * self._length))
            if len(self._chunks) > KEPT_CHUNKS:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(chunk)
        return self._chunks[chunk][within].astype(np.float32) / 255


def _blocks(shape: tuple[int, int], step: int) -> Iterator[Box]:
    """Cut a map into blocks whose sides are whole steps."""
    side = -(-BLOCK_CELLS // step) * step
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield Box(top, left, min(side, shape[0] - top), min(side, shape[1] - left))


def _reduced(values: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Means over squares; those at the far edges are of what there is."""
    if step == 1:
        return values
    below, beside = -values.shape[1] % step, -values.shape[2] % step
    padded = np.pad(values, ((0, 0), (0, below), (0, beside)), mode="edge")
    rows, columns = padded.shape[1] // step, padded.shape[2] // step
    return padded.reshape(len(values), rows, step, columns, step).mean(axis=(2, 4))


def _known(maps: NDArray[np.float32], result: SlideResult, place: MapPlace) -> NDArray[np.float32]:
    """Forget what lies in tiles without an answer."""
    tiles, grid = result.spec.place, result.state == DONE
    for axis, (corner, step, own, size) in enumerate(
        (
            (tiles.top, tiles.step_y, place.top, place.step_y),
            (tiles.left, tiles.step_x, place.left, place.step_x),
        )
    ):
        at = own + (np.arange(maps.shape[axis + 1]) + 0.5) * size
        index = np.clip(np.floor((at - corner) / step).astype(int), 0, grid.shape[axis] - 1)
        grid = grid.take(index, axis=axis)
    maps[:, ~grid] = np.nan
    return maps
