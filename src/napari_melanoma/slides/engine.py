"""The engine of slide analysis: threads read tiles, one network predicts, one thread writes."""

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

FLUSH_S = 1.0  # what a crash loses at most, and how old a live heatmap is
FLUSH_TIME_FACTOR = (
    4.0  # times as long as a flush took until the next: at most a fifth of the time is spent waiting for it
)
WAITING_BATCHES = 4  # between the network and the writer
DECODER_NICENESS = 5  # by how much readers are nicer than the network: they fill the gaps that it leaves
PACE_WINDOW_S = 20.0  # over which the pace is taken
ReadTiles = Callable[["NDArray[np.int32]"], "tuple[NDArray[np.uint8], NDArray[np.bool_]]"]
TileOutputs = dict[str, "torch.Tensor"]
WriteItem = tuple["TileBatch", "NDArray[np.bool_]", TileOutputs]


class BatchCallback(Protocol):
    """Told of each batch: how many tiles it had, how many of them could not be read."""

    def __call__(self, tiles: int, failed: int) -> None:
        """Take the counts."""


@dataclass(frozen=True)
class TileBatch:
    """A piece of the order of work: what is read, answered and written together."""

    first: int
    tiles: NDArray[np.int32]


@dataclass(frozen=True)
class EngineStages:
    """Who does what to each batch.

    ``read`` turns places into tiles and whether each could be read (``SlideTiles.read``), in ``readers`` threads;
    ``model`` answers in the thread that calls; ``writer`` is the one of the store.
    """

    read_tiles: ReadTiles
    model: TileModel
    writer: SlideResultWriter
    readers: int = 2


def pending_batches(order: NDArray[np.int32], state: NDArray[np.uint8], size: int) -> list[TileBatch]:
    """Cut the order of work into batches, and leave out those that are done; tiles that failed are tried again.

    A batch of which a tile is missing is done again as a whole, so that every tile has the company that it would have
    had without an interruption.

    ``order``: int32 (tile, 2): row and column. ``state``: uint8 (row, column), as stored. In the order of work.
    """
    ready = state[order[:, 0], order[:, 1]] == DONE
    cuts = range(0, len(order), size)
    return [TileBatch(first, order[first : first + size]) for first in cuts if not ready[first : first + size].all()]


def analyze_tiles(stages: EngineStages, batches: Iterable[TileBatch], run: RunContext, on_batch: BatchCallback) -> None:
    """Analyze batches of tiles."""
    with _WriterThread(stages.writer) as writing:
        for batch, (tiles, good) in _read_ahead(stages.read_tiles, batches, stages.readers):
            if run.is_pause_requested:
                writing.wait_until_written()
            run.check()
            answer = stages.model.predict(tiles) if good.any() else {}
            writing.put(batch, good, answer)
            on_batch(len(good), int((~good).sum()))


def _read_ahead(
    read: ReadTiles, batches: Iterable[TileBatch], readers: int
) -> Iterator[tuple[TileBatch, tuple[NDArray[np.uint8], NDArray[np.bool_]]]]:
    """Read batches in threads, a bounded number of them ahead, and give them in their order."""
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
    """Let this thread decode by itself, and have the processor only where the network leaves it.

    The network's threads wait for the slowest of them at each layer: a reader that takes turns with one of them holds
    up all. Standing back, readers work in its gaps, and while it waits for them.
    """
    decode_in_this_thread()
    if sys.platform == "linux":  # elsewhere a process has one priority
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + DECODER_NICENESS))


class _WriterThread:
    """The one thread that writes; what it raises is raised where the next batch is handed over."""

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
        """Write what waits, and end; the fault that is under way says more than one of the end."""
        self._waiting.put(None)
        self._thread.join()
        if fault is None:
            self._raise_fault()

    def put(self, batch: TileBatch, good: NDArray[np.bool_], answer: TileOutputs) -> None:
        """Hand a batch over, waiting where the writer is behind."""
        self._raise_fault()
        self._waiting.put((batch, good, answer))

    def wait_until_written(self) -> None:
        """Return when all that was handed over is on the disk."""
        self._raise_fault()
        settled = threading.Event()
        self._waiting.put(settled)
        settled.wait()
        self._raise_fault()

    def _raise_fault(self) -> None:
        """Raise what went wrong in the thread."""
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        """Take batches until the end, and write now and then, also where none comes; after a fault, only take them."""
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
        """Take what has come, and write where it is time or asked for; say when it is time again."""
        try:
            if isinstance(item, tuple) and item:
                self._store_outputs(*item)
                self._unwritten = True
            asked = item is None or isinstance(item, threading.Event)
            if self._unwritten and (asked or time.monotonic() > due):
                due = self._flush()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._fault = error
        return due

    def _flush(self) -> float:
        """Write to the disk; say when to do so again, later where the disk is slow."""
        began = time.monotonic()
        self._writer.flush()
        self._unwritten = False
        ended = time.monotonic()
        return ended + max(FLUSH_S, FLUSH_TIME_FACTOR * (ended - began))

    def _store_outputs(self, batch: TileBatch, good: NDArray[np.bool_], answer: TileOutputs) -> None:
        """Bring an answer into memory, waiting for the device that computes it."""
        values = {name: tensor.cpu().numpy() for name, tensor in answer.items()}
        self._writer.put(batch.first, np.where(good, DONE, FAILED).astype(np.uint8), values)


class TileRate:
    """How fast it goes: tiles a second over the last while, and how long the rest takes.

    ``clock``: seconds.
    """

    def __init__(self, left: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._left = left
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._done = 0

    def add(self, tiles: int) -> None:
        """Count tiles that are done."""
        self._done += tiles
        now = self._clock()
        self._seen.append((now, self._done))
        while len(self._seen) > 2 and now - self._seen[1][0] > PACE_WINDOW_S:
            self._seen.popleft()

    @property
    def tiles_per_s(self) -> float:
        """Over the last twenty seconds; 0 before the first batch."""
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - start) if end > start else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds that the rest takes at this pace; None before there is one."""
        return (self._left - self._done) / self.tiles_per_s if self.tiles_per_s else None


BLOCK_PX = 896  # side of what is read at once: each JPEG tile of the file is then decoded about once
MIN_BLOCK_SHARE = 0.5  # of such a block must be asked for; where less is, its tiles are read one by one
TilePreprocessing = Callable[["NDArray[np.uint8]"], "NDArray[np.uint8]"]


class TileReader:
    """Reads tiles of one slide; safe to use from several threads.

    ``prepare``: what is done to each batch before a network sees it, such as the normalization of stain: uint8 (tile,
    row, column, channel=3) to the same.
    """

    def __init__(self, slide: Slide, grid: TileGrid, prepare: TilePreprocessing | None = None) -> None:
        self._slide = slide
        self._grid = grid
        self._prepare = prepare
        self._file_monitor = SlideFileMonitor(slide.info)
        self._block = max(2, round(BLOCK_PX / max(grid.read_px)))

    def read(self, places: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read a batch.

        ``places``: int32 (tile, 2): row and column of each in the grid. Returns uint8 (tile, row, column, channel=3) of
        the side that the network sees; white where one is damaged. Returns bool (tile,): whether it could be read.
        """
        side = self._grid.side_px
        tiles, good = np.empty((len(places), side, side, 3), np.uint8), np.ones(len(places), np.bool_)
        for members in _tile_blocks(places, self._block):
            if not (len(members) > MIN_BLOCK_SHARE * self._block**2 and self._read_together(places, members, tiles)):
                for index in members:
                    good[index] = self._read_one(places[index], tiles[index])
        if self._prepare is not None and good.any():
            tiles[good] = self._prepare(tiles[good])
        return tiles, good

    def _read_together(self, places: NDArray[np.int32], members: NDArray[np.intp], tiles: NDArray[np.uint8]) -> bool:
        """Read tiles of a block in one go; False where something in it is damaged."""
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
        """Read one tile; False, and white, where it is damaged."""
        try:
            self._resize(self._read_tile(self._grid.box(*place.tolist())), out)
        except DamagedTile:
            out[:] = 255
            return False
        return True

    def _read_tile(self, box: Box) -> NDArray[np.uint8]:
        """Pixels of one tile, tried again where the slide was looked after."""
        try:
            pixels = self._read_region(box)
        except DamagedTile:
            if not self._file_monitor.record_damage():
                raise
            pixels = self._read_region(box)
        self._file_monitor.record_success()
        return pixels

    def _read_region(self, box: Box) -> NDArray[np.uint8]:
        """Pixels of the level; where the file itself has gone, say so."""
        try:
            return self._slide.read_region(self._grid.level, box).astype(np.uint8, copy=False)
        except (OSError, DamagedTile, InputError) as error:
            path = self._slide.info.path
            if path.exists() and isinstance(error, DamagedTile):
                raise
            raise slide_unavailable_error(path, error) from error

    def _resize(self, pixels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Bring what was read to the network's size."""
        if pixels.shape == out.shape:
            out[:] = pixels
        else:
            from PIL import Image

            picture = Image.fromarray(np.ascontiguousarray(pixels))
            out[:] = np.asarray(picture.resize(out.shape[1::-1], Image.Resampling.BILINEAR))


def _tile_blocks(places: NDArray[np.int32], side: int) -> Iterator[NDArray[np.intp]]:
    """Indices of the tiles of each block of neighbors."""
    blocks = places // side
    _, numbers = np.unique(blocks, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    for number in range(int(numbers.max(initial=-1)) + 1):
        yield np.flatnonzero(numbers == number)
