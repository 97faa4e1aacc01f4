"""A plan as a pyramid of JPEG tiles: drawn once, row by row, coarser levels made on the way, in little memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.durations import duration
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.data.phantom.mark import DESCRIPTION
from napari_melanoma.data.phantom.slide.plan import SlidePlan
from napari_melanoma.data.phantom.slide.render import BLOCK, draw, halved, is_glass

Rgb = NDArray[np.uint8]
# Tiles of a row by column; one that is missing is clean glass.
Row = dict[int, Rgb]


class _Spool:
    """Encoded tiles of a coarser level, kept in a temporary file until the finer ones are written."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the spool
        self._lengths: list[int] = []

    def add(self, tile: bytes | None) -> None:
        """Append a tile; ``None`` is glass."""
        self._lengths.append(0 if tile is None else len(tile))
        self._file.write(tile or b"")

    def tiles(self, glass: bytes) -> Iterator[bytes]:
        """Give them back in their order."""
        self._file.seek(0)
        for length in self._lengths:
            yield self._file.read(length) if length else glass

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class Pyramid:
    """The tiles of all levels of a slide."""

    def __init__(self, plan: SlidePlan, folder: Path, run: RunContext) -> None:
        self._plan, self._run = plan, run
        self._quality = plan.config.quality
        colour = np.array(plan.look.stain.glass, np.uint8)
        self._glass = np.broadcast_to(colour, (BLOCK, BLOCK, 3))
        self._encoded_glass = self._encoded(np.ascontiguousarray(self._glass))
        self._spools = [_Spool(folder) for _ in range(plan.levels - 1)]
        self._waiting: dict[int, Row] = {}

    def __enter__(self) -> Pyramid:
        return self

    def __exit__(self, *stop: object) -> None:
        for spool in self._spools:
            spool.close()

    def tiles(self, level: int) -> Iterator[bytes]:
        """Give the encoded tiles of a level, row by row; level 0 first, which makes the others.

        A JPEG of ``BLOCK`` by ``BLOCK`` pixels.
        """
        if level:
            yield from self._spools[level - 1].tiles(self._encoded_glass)
            return
        for row, columns in enumerate(self._drawn_columns()):
            tiles = {column: self._drawn(row, column) for column in sorted(columns)}
            # Before the tiles are given away: whoever has the last one does not come back.
            self._pass_on(1, row, tiles)
            for column in range(self._grid(0)[1]):
                yield self._encoded(tiles[column]) if column in tiles else self._encoded_glass

    def _drawn(self, row: int, column: int) -> Rgb:
        """Draw a tile of level 0."""
        self._run.check()
        return draw(self._plan, Box(row * BLOCK, column * BLOCK, BLOCK, BLOCK))

    def _grid(self, level: int) -> tuple[int, int]:
        """Rows and columns of tiles of a level."""
        height, width = self._plan.level_size(level)
        return -(-height // BLOCK), -(-width // BLOCK)

    def _drawn_columns(self) -> Iterator[set[int]]:
        """Columns of each row of level 0 that hold more than glass; reports how many of all are done."""
        rows, columns = self._grid(0)
        busy = [self._busy(row, columns) for row in range(rows)]
        total, done, began = sum(map(len, busy)), 0, time.monotonic()
        for row in busy:
            self._run.check()
            if done:
                left = (time.monotonic() - began) * (total - done) / done
                self._run.report(Progress(done, total, f"drawing tiles, about {duration(left)} left"))
            yield row
            done += len(row)

    def _busy(self, row: int, columns: int) -> set[int]:
        """Columns of a row of level 0 that hold more than glass."""
        self._run.check()
        boxes = (Box(row * BLOCK, column * BLOCK, BLOCK, BLOCK) for column in range(columns))
        return {column for column, box in enumerate(boxes) if not is_glass(self._plan, 0, box)}

    def _pass_on(self, level: int, finer_row: int, finer: Row) -> None:
        """Take a row of the next finer level; two of them make one of this."""
        if level > len(self._spools):
            return
        last = finer_row == self._grid(level - 1)[0] - 1
        if finer_row % 2 == 0 and not last:
            self._waiting[level] = finer
            return
        pair = (self._waiting.pop(level), finer) if finer_row % 2 else (finer, {})
        tiles = {column: self._joined(pair, column) for column in sorted({c // 2 for row in pair for c in row})}
        for column in range(self._grid(level)[1]):
            self._spools[level - 1].add(self._encoded(tiles[column]) if column in tiles else None)
        self._pass_on(level + 1, finer_row // 2, tiles)

    def _joined(self, pair: tuple[Row, Row], column: int) -> Rgb:
        """Make a tile of four of the next finer level."""
        tile = np.empty((BLOCK, BLOCK, 3), np.uint8)
        half = BLOCK // 2
        for down, row in enumerate(pair):
            for across in (0, 1):
                finer = row.get(2 * column + across, self._glass)
                tile[down * half : (down + 1) * half, across * half : (across + 1) * half] = halved(finer)
        return tile

    def _encoded(self, tile: Rgb) -> bytes:
        """Compress a tile."""
        import imagecodecs

        encoded: Any = imagecodecs.jpeg8_encode(tile, level=self._quality, colorspace="RGB", subsampling="420")
        return bytes(encoded)


def write_pyramid(plan: SlidePlan, path: Path, run: RunContext) -> None:
    """Write a slide as a tiled BigTIFF with all its levels, the finest first."""
    import tifffile

    per_cm = 1e4 / plan.config.mpp
    with tifffile.TiffWriter(path, bigtiff=True) as writer, Pyramid(plan, path.parent, run) as pyramid:
        for level in range(plan.levels):
            writer.write(
                pyramid.tiles(level),
                shape=(*plan.level_size(level), 3),
                dtype=np.uint8,
                tile=(BLOCK, BLOCK),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                resolution=(per_cm / 2**level, per_cm / 2**level),
                resolutionunit="CENTIMETER",
                subfiletype=1 if level else 0,
                description=DESCRIPTION if level == 0 else None,
                software=False,
                metadata=None,
            )
