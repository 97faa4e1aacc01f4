"""Writing into the store of a slide: one writer, data first and what is done last, faults of the disk in words."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.files import save_error
from napari_melanoma.io.slide_spec import DONE

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import Box
    from napari_melanoma.io.slide_results import SlideResult

WRITERS = 8  # threads that mostly wait for the disk
CHUNK = 64  # tiles along each side of a grid's chunk


class ResultWriter:
    """Puts values into a store: kept in memory until ``flush``, which writes data first and what is done last."""

    def __init__(self, result: SlideResult) -> None:
        self._result = result
        self._order = result.order
        self._state = result.state
        self._probability = result.probability if result.spec.classes else None
        self._touched: set[tuple[int, int]] = set()
        self._waiting: dict[str, list[tuple[int, NDArray]]] = {}

    def put(self, first: int, states: NDArray[np.uint8], values: dict[str, NDArray]) -> None:
        """Take what came of tiles that follow each other in the order of work.

        ``states``: uint8 (tile,): done or failed. ``values``: ``probability`` float32 (tile, class), ``embedding``
        (tile, feature), ``dense`` (tile, class, row, column), whichever the store has.
        """
        rows, columns = self._order[first : first + len(states)].T
        self._state[rows, columns] = states
        for name, array in values.items():
            if name == "probability":
                assert self._probability is not None
                self._probability[rows, columns] = np.where((states == DONE)[:, None], array, np.nan)
            else:
                self._waiting.setdefault(name, []).append((first, array))
        self._touched.update(zip((rows // CHUNK).tolist(), (columns // CHUNK).tolist(), strict=True))

    def flush(self) -> None:
        """Write what waits; returns when it is on the disk, where a loss of power leaves it."""
        with faults(self._result.path):
            for name, parts in self._waiting.items():
                for first, values in _joined(parts):
                    self._result.array(name)[first : first + len(values)] = values
            if self._probability is not None:
                self._write_chunks("probability", self._probability)
            self._result.settle()
            self._write_chunks("state", self._state)
            self._result.settle()
        self._waiting.clear()
        self._touched.clear()

    def _write_chunks(self, name: str, values: NDArray) -> None:
        """Write the chunks of a grid that have changed, several at once: a disk takes them as one."""
        array = self._result.array(name)

        def write(chunk: tuple[int, int]) -> None:
            part = tuple(slice(at * CHUNK, (at + 1) * CHUNK) for at in chunk)
            array[part] = values[part]

        with ThreadPoolExecutor(WRITERS, thread_name_prefix="chunks") as pool:
            list(pool.map(write, sorted(self._touched)))


class ResultMap:
    """The stitched map of a store, while it is made.

    ``array``: uint8 (class, row, column).
    """

    def __init__(self, path: Path, array: zarr.Array) -> None:
        self._path = path
        self._array = array

    def put(self, block: Box, values: NDArray[np.uint8]) -> None:
        """Write a block.

        ``values``: uint8 (class, row, column).
        """
        with faults(self._path):
            self._array[:, *block.slices] = values


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Turn what the file system says into words."""
    try:
        yield
    except OSError as error:
        raise save_error(path, error) from error


def _joined(parts: list[tuple[int, NDArray]]) -> Iterator[tuple[int, NDArray]]:
    """Join parts that follow each other without a gap."""
    run: list[NDArray] = []
    start = end = -1
    for first, values in sorted(parts, key=lambda part: part[0]):
        if run and first != end:
            yield start, np.concatenate(run)
            run = []
        if not run:
            start = first
        run.append(values)
        end = first + len(values)
    if run:
        yield start, np.concatenate(run)
