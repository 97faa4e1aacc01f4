"""Engine of slide analysis: threads read tiles, one network predicts, one thread writes."""

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
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.slide_spec import DONE, FAILED
from napari_melanoma.slides.reading.opening import SlideFileMonitor, slide_unavailable_error
from napari_melanoma.slides.reading.slide import DamagedTile
from napari_melanoma.slides.reading.tiled import decode_in_this_thread

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.geometry import Box
    from napari_melanoma.io.slide_store import SlideResultWriter
    from napari_melanoma.slides.reading.slide import Slide
    from napari_melanoma.slides.tile_models import TileModel
    from napari_melanoma.slides.tiling import TileGrid

FLUSH_S = 1.0  # shortest interval between flushes: limits the loss in a crash and the age of the live heatmap
# Interval between flushes as a multiple of their duration: at most a fifth of the time is spent on flushing.
FLUSH_TIME_FACTOR = 4.0
WAITING_BATCHES = 4  # maximum number between the network and the writer
DECODER_NICENESS = 5  # added to the niceness of reader threads, so that they run in the gaps of the network
PACE_WINDOW_S = 20.0  # for estimating the rate
BLOCK_PX = 896  # side of a block read at once: each JPEG tile of the file is then decoded about once
MIN_BLOCK_SHARE = 0.5  # of a block; if no more is requested, its tiles are read one by one
TilePreprocessing = Callable[["NDArray[np.uint8]"], "NDArray[np.uint8]"]
ReadTiles = Callable[["NDArray[np.int32]"], "tuple[NDArray[np.uint8], NDArray[np.bool_]]"]
TileOutputs = dict[str, "torch.Tensor"]
WriteItem = tuple["TileBatch", "NDArray[np.bool_]", TileOutputs]


class BatchCallback(Protocol):
    """Called for each batch with its number of tiles, and how many of them could not be read."""

    def __call__(self, tiles: int, failed: int) -> None:
        """Receive the counts."""


@dataclass(frozen=True)
class TileBatch:
    """A part of the processing order that is read, predicted and written together."""

    first: int
    tiles: NDArray[np.int32]


@dataclass(frozen=True)
class EngineStages:
    """Stages of the processing of each batch.

    ``read_tiles`` returns tiles and whether each could be read (``TileReader.read``), in ``readers`` threads; ``model``
    predicts in the calling thread; ``writer`` is that of the store.
    """

    read_tiles: ReadTiles
    model: TileModel
    writer: SlideResultWriter
    readers: int = 2


def pending_batches(order: NDArray[np.int32], state: NDArray[np.uint8], size: int) -> list[TileBatch]:
    """Split the processing order into batches, without finished ones; failed tiles are tried again.

    A batch with an unfinished tile is repeated as a whole, so that batches have the same content as without an
    interruption.

    ``order``: int32 (tile, 2): row and column. ``state``: uint8 (row, column), as stored.
    """
    done = state[order[:, 0], order[:, 1]] == DONE
    starts = range(0, len(order), size)
    return [TileBatch(first, order[first : first + size]) for first in starts if not done[first : first + size].all()]


def analyze_tiles(stages: EngineStages, batches: Iterable[TileBatch], run: RunContext, on_batch: BatchCallback) -> None:
    with _WriterThread(stages.writer) as writer:
        for batch, (tiles, good) in _read_ahead(stages.read_tiles, batches, stages.readers):
            if run.is_pause_requested:
                writer.wait_until_written()
            run.check()
            outputs = stages.model.predict(tiles) if good.any() else {}
            writer.put(batch, good, outputs)
            on_batch(len(good), int((~good).sum()))


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

    def __init__(self, writer: SlideResultWriter) -> None:
        self._writer = writer
        self._waiting: Queue[WriteItem | threading.Event | None] = Queue(WAITING_BATCHES)
        self._unwritten = False
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="results")

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        """Write the remaining batches and stop; an error in the ``with`` block takes precedence."""
        self._waiting.put(None)
        self._thread.join()
        if fault is None:
            self._raise_fault()

    def put(self, batch: TileBatch, good: NDArray[np.bool_], outputs: TileOutputs) -> None:
        """Add a batch; blocks while the queue is full."""
        self._raise_fault()
        self._waiting.put((batch, good, outputs))

    def wait_until_written(self) -> None:
        """Block until all batches are on disk."""
        self._raise_fault()
        settled = threading.Event()
        self._waiting.put(settled)
        settled.wait()
        self._raise_fault()

    def _raise_fault(self) -> None:
        """Raise the error of the thread."""
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        """Process batches and flush at intervals, also without new batches; after an error, discard them."""
        due, more = 0.0, True
        while more:
            item: WriteItem | threading.Event | tuple[()] | None
            try:
                item = self._waiting.get(timeout=FLUSH_S)
            except Empty:
                item = ()
            more = item is not None
            if self._fault is None:
                due = self._handle_item(item, due)
            if isinstance(item, threading.Event):
                item.set()

    def _handle_item(self, item: WriteItem | threading.Event | tuple[()] | None, due: float) -> float:
        """Process an item, flush if due or requested, and return the time of the next flush."""
        try:
            if isinstance(item, tuple) and item:
                self._store_outputs(*item)
                self._unwritten = True
            requested = item is None or isinstance(item, threading.Event)
            if self._unwritten and (requested or time.monotonic() > due):
                due = self._flush()
        except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
            self._fault = error
        return due

    def _flush(self) -> float:
        """Write to disk; return the time of the next flush, later if the disk is slow."""
        began = time.monotonic()
        self._writer.flush()
        self._unwritten = False
        ended = time.monotonic()
        return ended + max(FLUSH_S, FLUSH_TIME_FACTOR * (ended - began))

    def _store_outputs(self, batch: TileBatch, good: NDArray[np.bool_], outputs: TileOutputs) -> None:
        """Copy outputs into memory, waiting for the device that computes them."""
        values = {name: tensor.cpu().numpy() for name, tensor in outputs.items()}
        self._writer.put(batch.first, np.where(good, DONE, FAILED).astype(np.uint8), values)


class TileRate:
    """Measures the rate in tiles per second, and estimates the remaining time; ``clock`` returns seconds."""

    def __init__(self, left: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._left = left
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._done = 0

    def add(self, tiles: int) -> None:
        """Count finished tiles."""
        self._done += tiles
        now = self._clock()
        self._seen.append((now, self._done))
        while len(self._seen) > 2 and now - self._seen[1][0] > PACE_WINDOW_S:
            self._seen.popleft()

    @property
    def tiles_per_s(self) -> float:
        """Rate over the last twenty seconds; 0 before the first batch."""
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - start) if end > start else 0.0

    @property
    def eta_s(self) -> float | None:
        """Estimated remaining seconds; None before the first batch."""
        return (self._left - self._done) / self.tiles_per_s if self.tiles_per_s else None


class TileReader:
    """Reads tiles of one slide; safe to use from several threads.

    ``prepare``: preprocessing of each batch, such as stain normalization: uint8 (tile, row, column, channel=3) to the
    same shape.
    """

    def __init__(self, slide: Slide, grid: TileGrid, prepare: TilePreprocessing | None = None) -> None:
        self._slide = slide
        self._grid = grid
        self._prepare = prepare
        self._file_monitor = SlideFileMonitor(slide.info)
        self._block = max(2, round(BLOCK_PX / max(grid.read_px)))

    def read(self, places: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read a batch.

        ``places``: int32 (tile, 2): row and column of each tile in the grid. Returns uint8 (tile, row, column,
        channel=3) at the input size of the network, white for damaged tiles; and bool (tile,): whether each could be
        read.
        """
        side = self._grid.side_px
        tiles, good = np.empty((len(places), side, side, 3), np.uint8), np.ones(len(places), np.bool_)
        for members in _tile_blocks(places, self._block):
            if not (len(members) > MIN_BLOCK_SHARE * self._block**2 and self._read_block(places, members, tiles)):
                for index in members:
                    good[index] = self._read_one(places[index], tiles[index])
        if self._prepare is not None and good.any():
            tiles[good] = self._prepare(tiles[good])
        return tiles, good

    def _read_block(self, places: NDArray[np.int32], members: NDArray[np.intp], tiles: NDArray[np.uint8]) -> bool:
        """Read the tiles of a block at once; False if a part of it is damaged."""
        (top, left), (bottom, right) = places[members].min(axis=0).tolist(), places[members].max(axis=0).tolist()
        block = self._grid.block_box((top, bottom + 1), (left, right + 1))
        try:
            pixels = self._read_region(block)
        except DamagedTile:
            return False
        for index in members:
            box = self._grid.box(*places[index].tolist())
            first_row, first_column = box.top - block.top, box.left - block.left
            cut = pixels[first_row : first_row + box.height, first_column : first_column + box.width]
            self._resize(cut, tiles[index])
        return True

    def _read_one(self, place: NDArray[np.int32], out: NDArray[np.uint8]) -> bool:
        """Read one tile; white and False if it is damaged."""
        try:
            self._resize(self._read_tile(self._grid.box(*place.tolist())), out)
        except DamagedTile:
            out[:] = 255
            return False
        return True

    def _read_tile(self, box: Box) -> NDArray[np.uint8]:
        """Read the pixels of one tile; try again once if it is damaged and the slide file was checked."""
        try:
            pixels = self._read_region(box)
        except DamagedTile:
            if not self._file_monitor.record_damage():
                raise
            pixels = self._read_region(box)
        self._file_monitor.record_success()
        return pixels

    def _read_region(self, box: Box) -> NDArray[np.uint8]:
        """Read pixels of the level; raise a specific error if the file is no longer available."""
        try:
            return self._slide.read_region(self._grid.level, box).astype(np.uint8, copy=False)
        except (OSError, DamagedTile, InputError) as error:
            path = self._slide.info.path
            if path.exists() and isinstance(error, DamagedTile):
                raise
            raise slide_unavailable_error(path, error) from error

    def _resize(self, pixels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Resize pixels to the input size of the network."""
        if pixels.shape == out.shape:
            out[:] = pixels
        else:
            from PIL import Image

            image = Image.fromarray(np.ascontiguousarray(pixels))
            out[:] = np.asarray(image.resize(out.shape[1::-1], Image.Resampling.BILINEAR))


def _tile_blocks(places: NDArray[np.int32], side: int) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of the tiles in each block of neighbors."""
    blocks = places // side
    _, numbers = np.unique(blocks, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    for number in range(int(numbers.max(initial=-1)) + 1):
        yield np.flatnonzero(numbers == number)
