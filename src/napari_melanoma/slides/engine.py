"""Predict the tiles of a slide: several threads read them, the calling thread predicts, and one thread writes."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.io.slide_store import DONE, FAILED
from napari_melanoma.slides.reading.opening import SlideFileMonitor, slide_unavailable_error
from napari_melanoma.slides.reading.slide import DamagedTile, Slide
from napari_melanoma.slides.reading.tiled import decode_in_this_thread
from napari_melanoma.slides.tile_models import to_array
from napari_melanoma.slides.tiling import TileGrid

if TYPE_CHECKING:
    from napari_melanoma.slides.tile_models import TileOutputs

FLUSH_S = 1.0  # shortest interval between flushes: limits the loss in a crash and the age of the live heatmap
# Interval between flushes as a multiple of their duration, so that flushing takes at most a fifth of the time.
FLUSH_TIME_FACTOR = 4.0
WAITING_BATCHES = 4  # greatest number of batches between the network and the writer
DECODER_NICENESS = 5  # added to the niceness of reader threads, so that they run in the gaps of the network
RATE_WINDOW_S = 20.0  # time over which the rate is averaged
BLOCK_PX = 896  # side of a block read at once: each JPEG tile of the file is then decoded about once
MIN_BLOCK_SHARE = 0.5  # if no more than this share of a block's tiles is requested, they are read one by one
TilePreprocessing = Callable[["NDArray[np.uint8]"], "NDArray[np.uint8]"]  # (tile, row, column, channel=3), both
ReadTiles = Callable[["NDArray[np.int32]"], "tuple[NDArray[np.uint8], NDArray[np.bool_]]"]  # see TileReader.read
WrittenBatch = tuple["TileBatch", "NDArray[np.bool_]", "TileOutputs"]  # batch, which tiles were readable, outputs
# An item of the writer's queue: a batch, an event to set when all batches are on disk, or None to stop.
QueueItem = WrittenBatch | threading.Event | None


class BatchCallback(Protocol):
    """Called for each batch with its number of tiles, and how many of them could not be read."""

    def __call__(self, tiles: int, failed: int) -> None:
        """Receive the counts."""


class BatchModel(Protocol):
    """What predicts batches; see ``TileModel.predict``."""

    def predict(self, tiles: NDArray[np.uint8]) -> TileOutputs:
        """Predict tiles, uint8 (tile, row, column, channel=3)."""


class BatchWriter(Protocol):
    """What stores the outputs of batches; see ``SlideResultWriter``."""

    def put(self, first: int, states: NDArray[np.uint8], values: dict[str, NDArray[Any]]) -> None:
        """Add the outputs of consecutive tiles in processing order."""

    def flush(self) -> None:
        """Return when all outputs are on disk."""


@dataclass(frozen=True)
class TileBatch:
    """Tiles that are read, predicted and written together.

    ``first``: index of the first tile in the processing order. ``tiles``: int32 (tile, 2), row and column in the grid.
    """

    first: int
    tiles: NDArray[np.int32]


@dataclass(frozen=True)
class EngineStages:
    """What processes each batch.

    ``read_tiles``: ``TileReader.read`` or a function like it, called in ``readers`` threads. ``model``: predicts in the
    calling thread. ``writer``: writes to the store in a thread of its own.
    """

    read_tiles: ReadTiles
    model: BatchModel
    writer: BatchWriter
    readers: int = 2


def pending_batches(order: NDArray[np.int32], state: NDArray[np.uint8], size: int) -> list[TileBatch]:
    """Split the processing order into batches of ``size`` tiles, without those that are finished.

    A batch with a tile that is not finished is repeated as a whole, so that batches have the same content as without
    an interruption. Failed tiles count as not finished.

    ``order``: int32 (tile, 2), row and column in the grid. ``state``: uint8 (row, column), as stored.
    """
    done = state[order[:, 0], order[:, 1]] == DONE
    starts = range(0, len(order), size)
    return [TileBatch(first, order[first : first + size]) for first in starts if not done[first : first + size].all()]


def analyze_tiles(stages: EngineStages, batches: Iterable[TileBatch], run: RunContext, on_batch: BatchCallback) -> None:
    """Read, predict and write batches; on pause, all predictions are on disk before the run waits."""
    with _WriterThread(stages.writer) as writer:
        for batch, (tiles, readable) in _read_ahead(stages.read_tiles, batches, stages.readers):
            if run.is_pause_requested:
                writer.wait_until_written()
            run.check()
            outputs = stages.model.predict(tiles) if readable.any() else {}
            writer.put(batch, readable, outputs)
            on_batch(len(readable), int((~readable).sum()))


def _read_ahead(
    read: ReadTiles, batches: Iterable[TileBatch], readers: int
) -> Iterator[tuple[TileBatch, tuple[NDArray[np.uint8], NDArray[np.bool_]]]]:
    """Read a limited number of batches ahead in threads, and yield them in order."""
    ahead: deque[tuple[TileBatch, Future[tuple[NDArray[np.uint8], NDArray[np.bool_]]]]] = deque()
    with ThreadPoolExecutor(readers, thread_name_prefix="tiles", initializer=_lower_thread_priority) as pool:
        try:
            for batch in batches:
                ahead.append((batch, pool.submit(read, batch.tiles)))
                if len(ahead) > readers + 1:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                first, future = ahead.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _lower_thread_priority() -> None:
    """Decode in this thread, and give it a lower priority than the network.

    At each layer, the threads of the network wait for the slowest of them; a reader that competes with one of them
    delays all. With a lower priority, readers run in the gaps of the network.
    """
    decode_in_this_thread()
    if sys.platform == "linux":  # elsewhere a process has one priority
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + DECODER_NICENESS))


class _WriterThread:
    """The only thread that writes; its errors are raised when the next batch is added."""

    def __init__(self, writer: BatchWriter) -> None:
        self._writer = writer
        self._queue: Queue[QueueItem] = Queue(WAITING_BATCHES)
        self._unflushed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="results")

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the remaining batches and stop; an error in the ``with`` block takes precedence."""
        self._queue.put(None)
        self._thread.join()
        if error is None:
            self._raise_error()

    def put(self, batch: TileBatch, readable: NDArray[np.bool_], outputs: TileOutputs) -> None:
        """Add a batch; blocks while the queue is full."""
        self._raise_error()
        self._queue.put((batch, readable, outputs))

    def wait_until_written(self) -> None:
        """Block until all batches are on disk."""
        self._raise_error()
        written = threading.Event()
        self._queue.put(written)
        written.wait()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        """Write the items of the queue and flush at intervals, also without new items; after an error, discard them."""
        next_flush, stopped = 0.0, False
        while not stopped:
            item: QueueItem | tuple[()]
            try:
                item = self._queue.get(timeout=FLUSH_S)
            except Empty:
                item = ()
            stopped = item is None
            if self._error is None:
                next_flush = self._process_item(item, next_flush)
            if isinstance(item, threading.Event):
                item.set()

    def _process_item(self, item: QueueItem | tuple[()], next_flush: float) -> float:
        """Write an item of the queue, or () for none; flush if due or requested; return the time of the next flush."""
        try:
            if isinstance(item, tuple) and item:
                self._store_outputs(*item)
                self._unflushed = True
            requested = item is None or isinstance(item, threading.Event)
            if self._unflushed and (requested or time.monotonic() > next_flush):
                next_flush = self._flush()
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            self._error = error
        return next_flush

    def _flush(self) -> float:
        """Write to disk; return the time of the next flush, later if the disk is slow."""
        began = time.monotonic()
        self._writer.flush()
        self._unflushed = False
        ended = time.monotonic()
        return ended + max(FLUSH_S, FLUSH_TIME_FACTOR * (ended - began))

    def _store_outputs(self, batch: TileBatch, readable: NDArray[np.bool_], outputs: TileOutputs) -> None:
        """Copy outputs from the device, which waits until they are computed, and pass them to the store."""
        values = {name: to_array(output) for name, output in outputs.items()}
        self._writer.put(batch.first, np.where(readable, DONE, FAILED).astype(np.uint8), values)


class TileRate:
    """Measures the rate in tiles per second, and estimates the remaining time.

    ``remaining``: number of tiles to process. ``clock``: returns seconds.
    """

    def __init__(self, remaining: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._remaining = remaining
        self._clock = clock
        self._history: deque[tuple[float, int]] = deque([(clock(), 0)])  # time, and number of tiles finished until then
        self._done = 0

    def add(self, tiles: int) -> None:
        """Count finished tiles."""
        self._done += tiles
        now = self._clock()
        self._history.append((now, self._done))
        while len(self._history) > 2 and now - self._history[1][0] > RATE_WINDOW_S:
            self._history.popleft()

    @property
    def tiles_per_s(self) -> float:
        """Rate over the last ``RATE_WINDOW_S``; 0 before the first batch."""
        (start, before), (end, after) = self._history[0], self._history[-1]
        return (after - before) / (end - start) if end > start else 0.0

    @property
    def eta_s(self) -> float | None:
        """Estimated remaining seconds; None before the first batch."""
        return (self._remaining - self._done) / self.tiles_per_s if self.tiles_per_s else None


class TileReader:
    """Reads tiles of one slide; safe to use from several threads.

    ``prepare``: preprocessing of each batch, such as stain normalization.
    """

    def __init__(self, slide: Slide, grid: TileGrid, prepare: TilePreprocessing | None = None) -> None:
        self._slide = slide
        self._grid = grid
        self._prepare = prepare
        self._file_monitor = SlideFileMonitor(slide.info)
        side = max(grid.read_px)
        self._block_tiles = max(2 if side <= 2 * BLOCK_PX else 1, round(BLOCK_PX / side))

    def read(self, places: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read a batch.

        ``places``: int32 (tile, 2), row and column of each tile in the grid. Returns the pixels, uint8 (tile, row,
        column, channel=3) at the input size of the network, white for damaged tiles; and whether each tile could be
        read, bool (tile,).
        """
        side = self._grid.side_px
        tiles, readable = np.empty((len(places), side, side, 3), np.uint8), np.ones(len(places), np.bool_)
        for indices in _tile_blocks(places, self._block_tiles):
            is_filled = len(indices) > MIN_BLOCK_SHARE * self._block_tiles**2
            if not (is_filled and self._read_block(places, indices, tiles)):
                for index in indices:
                    readable[index] = self._read_one(places[index], tiles[index])
        if self._prepare is not None and readable.any():
            tiles[readable] = self._prepare(tiles[readable])
        return tiles, readable

    def _read_block(self, places: NDArray[np.int32], indices: NDArray[np.intp], tiles: NDArray[np.uint8]) -> bool:
        """Read the tiles of a block at once into ``tiles``; return False if a part of the block is damaged."""
        (top, left), (bottom, right) = places[indices].min(axis=0).tolist(), places[indices].max(axis=0).tolist()
        block = self._grid.block_box((top, bottom + 1), (left, right + 1))
        try:
            pixels = self._read_region(block)
        except DamagedTile:
            return False
        for index in indices:
            box = self._grid.box(*places[index].tolist())
            first_row, first_column = box.top - block.top, box.left - block.left
            tile = pixels[first_row : first_row + box.height, first_column : first_column + box.width]
            self._resize(tile, tiles[index])
        return True

    def _read_one(self, place: NDArray[np.int32], out: NDArray[np.uint8]) -> bool:
        """Read one tile into ``out``; if it is damaged, fill it with white and return False."""
        try:
            self._resize(self._read_tile(self._grid.box(*place.tolist())), out)
        except DamagedTile:
            out[:] = 255
            return False
        return True

    def _read_tile(self, box: Box) -> NDArray[np.uint8]:
        """Read the pixels of one tile; if it is damaged and the slide file has been checked, try once more."""
        try:
            pixels = self._read_region(box)
        except DamagedTile:
            if not self._file_monitor.record_damage():
                raise
            pixels = self._read_region(box)
        self._file_monitor.record_success()
        return pixels

    def _read_region(self, box: Box) -> NDArray[np.uint8]:
        """Read pixels of the level; raise an error that says so if the file is no longer available."""
        try:
            return self._slide.read_region(self._grid.level, box).astype(np.uint8, copy=False)
        except (OSError, DamagedTile, InputError) as error:
            path = self._slide.info.path
            if path.exists() and isinstance(error, DamagedTile):
                raise
            raise slide_unavailable_error(path, error) from error

    def _resize(self, pixels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Resize pixels to the input size of the network, into ``out``."""
        if pixels.shape == out.shape:
            out[:] = pixels
        else:
            from PIL import Image

            image = Image.fromarray(np.ascontiguousarray(pixels))
            out[:] = np.asarray(image.resize(out.shape[1::-1], Image.Resampling.BILINEAR))


def _tile_blocks(places: NDArray[np.int32], side: int) -> Iterator[NDArray[np.intp]]:
    """Group tiles into blocks of ``side`` x ``side`` neighbors; yield the indices of the tiles of each block."""
    blocks = places // side
    _, numbers = np.unique(blocks, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    for number in range(int(numbers.max(initial=-1)) + 1):
        yield np.flatnonzero(numbers == number)
