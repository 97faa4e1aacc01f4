"""``result.zarr``: the predictions of one analyzed slide, a value and a state for each tile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from napari_melanoma.core.errors import InputError, ResultsMismatch
from napari_melanoma.core.files import atomic_folder, rename_with_retry, save_error, temporary_name
from napari_melanoma.core.parsing import parse_error_reason
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.slide_spec import DONE, NO_TISSUE, WAITING, SlideResultSpec, differing_settings

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import Box

__all__ = ["STORE", "SlideResult", "discard_result"]

STORE = "result.zarr"
ATTRIBUTE = "napari_melanoma"
MAP_CHUNK = 512
CHUNK_BYTES = 2**20  # of what lies in the order of work


class SlideResult:
    """An open store; any number may read it, also while one process writes to it.

    Parameters
    ----------
    path : pathlib.Path
        Of ``result.zarr``.
    group : zarr.Group
        The store.
    spec : ResultSpec
        What it says of itself.
    settle : callable
        Brings the names of what was written to the disk.
    """

    def __init__(self, path: Path, group: zarr.Group, spec: SlideResultSpec, settle: Callable[[], None]) -> None:
        self.path = path
        self.spec = spec
        self.wait_until_written = settle
        self._group = group

    @classmethod
    def create(cls, folder: Path, spec: SlideResultSpec, order: NDArray[np.int32]) -> Self:
        """Make an empty store; one that is there is replaced.

        Parameters
        ----------
        folder : pathlib.Path
            Receives ``result.zarr``.
        spec : ResultSpec
            What it is for.
        order : numpy.ndarray
            int32 (tile, 2): row and column of each tile to analyze, in the order of work.

        Returns
        -------
        SlideResult
            Open for writing.

        Raises
        ------
        SaveError
            Where the folder cannot be written.
        """
        import zarr

        from napari_melanoma.io.zarr import DurableStore, sync_folder

        path = folder / STORE
        with atomic_folder(path) as temporary, file_errors_translated(path):
            store = DurableStore(temporary)
            group = zarr.create_group(store=store, attributes={ATTRIBUTE: spec.model_dump(mode="json")})
            _make_arrays(group, spec, order)
            store.wait_until_written()
        sync_folder(folder)
        return cls.open(folder, writable=True)

    @classmethod
    def open(cls, folder: Path, *, writable: bool = False) -> Self:
        """Open the store of a result folder.

        Parameters
        ----------
        folder : pathlib.Path
            That holds ``result.zarr``.
        writable : bool
            Whether it is to be written; reading alone is the default.

        Returns
        -------
        SlideResult
            Its values are read when asked for.

        Raises
        ------
        InputError
            Where there is none, or what is there is damaged or of another version.
        """
        import zarr

        from napari_melanoma.io.zarr import DurableStore, check_metadata

        path = folder / STORE
        if not path.is_dir():
            raise InputError(f"{folder} holds no results of a slide: there is no {STORE}. Analyze the slide first.")
        try:
            check_metadata(path)
            store = DurableStore(path, read_only=not writable)
            group = zarr.open_group(store=store, mode="r+" if writable else "r")
            spec = SlideResultSpec.parse(cast("dict[str, Any]", group.attrs[ATTRIBUTE]), str(path))
            missing = {"state", "order"} - set(group.array_keys())
        except Exception as error:  # zarr raises many kinds on damaged metadata
            raise InputError(
                f"{path} cannot be read as the results of a slide ({parse_error_reason(error)}). Analyze the slide "
                "again "
                "with --force."
            ) from error
        if missing:
            raise InputError(f"{path} is incomplete: it has no {' or '.join(missing)}. Analyze again with --force.")
        return cls(path, group, spec, store.wait_until_written)

    @property
    def order(self) -> NDArray[np.int32]:
        """Row and column of each tile to analyze, in the order of work: int32 (tile, 2)."""
        return self._read("order")

    @property
    def state(self) -> NDArray[np.uint8]:
        """State of each tile, uint8 (row, column): 0 waits, 1 done, 2 failed, 3 no tissue."""
        return self._read("state")

    @property
    def probability(self) -> NDArray[np.float32]:
        """Values of each tile, float32 (row, column, class); NaN where there are none yet."""
        return self._read("probability")

    def embedding(self, tiles: slice) -> NDArray[np.float16]:
        """Read embeddings.

        Parameters
        ----------
        tiles : slice
            In the order of work.

        Returns
        -------
        numpy.ndarray
            float16 (tile, feature); zeros where a tile is not done.
        """
        return self._read("embedding", tiles)

    def dense(self, tiles: slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Read dense maps.

        Parameters
        ----------
        tiles : slice or numpy.ndarray
            In the order of work; an array of places in it need not be sorted.

        Returns
        -------
        numpy.ndarray
            uint8 (tile, class, row, column): probability times 255; zeros where a tile is not done.
        """
        return self._read("dense", tiles)

    def check_same_analysis(self, spec: SlideResultSpec) -> None:
        """Raise unless this store is of the same slide and the same settings.

        Parameters
        ----------
        spec : ResultSpec
            Of the analysis that is to go on here.

        Raises
        ------
        OtherResults
            Naming what differs.
        """
        if self.spec.fingerprint != spec.fingerprint:
            raise ResultsMismatch(
                f"{self.path.parent} holds results of another slide, '{self.spec.slide}' with other content than "
                f"'{spec.slide}'. Choose another folder, or begin again with --force."
            )
        mine, asked = self.spec.settings, spec.model_dump(mode="json")["settings"]
        differs = [
            f"{key} was {_format_setting(mine, key)}, now {_format_setting(asked, key)}"
            for key in differing_settings(mine, asked)
        ]
        if differs or self.spec.kind != spec.kind or (self.spec.rows, self.spec.columns) != (spec.rows, spec.columns):
            said = "; ".join(differs) or f"{self.spec.kind} of {self.spec.rows} x {self.spec.columns} tiles"
            raise ResultsMismatch(
                f"{self.path.parent} holds results of this slide with other settings: {said}. Use the same settings, "
                "choose another folder, or begin again with --force."
            )

    def writer(self) -> SlideResultWriter:
        """Return the one writer of the store.

        Returns
        -------
        ResultWriter
            Use one at a time, in one thread.
        """
        return SlideResultWriter(self)

    def create_map(self, shape: tuple[int, int]) -> StitchedMapWriter:
        """Make room for the map that stitched dense tiles make, ``map``: uint8 (class, row, column).

        Parameters
        ----------
        shape : tuple of int
            Rows and columns.

        Returns
        -------
        ResultMap
            To be filled block by block; one that is there is replaced.

        Raises
        ------
        SaveError
            Where the store cannot be written.
        """
        import zarr

        with file_errors_translated(self.path):
            group = zarr.open_group(store=self.path, mode="r+")  # the map is made again from the tiles if it is lost
            array = group.create_array(
                "map",
                shape=(len(self.spec.classes), *shape),
                chunks=(len(self.spec.classes), min(MAP_CHUNK, shape[0]), min(MAP_CHUNK, shape[1])),
                dtype="uint8",
                overwrite=True,
                dimension_names=("class", "y", "x"),
            )
        return StitchedMapWriter(self.path, array)

    def array(self, name: str) -> zarr.Array:
        """Return an array of the store itself.

        Parameters
        ----------
        name : str
            Such as ``"state"``.

        Returns
        -------
        zarr.Array
            Read or written chunk by chunk.
        """
        return cast("zarr.Array", self._group[name])

    def _read(self, name: str, index: slice | NDArray[np.integer] = slice(None)) -> Any:  # noqa: ANN401
        """Values of an array of the store."""
        try:
            array: Any = self._group[name]
            return np.asarray(array[index] if isinstance(index, slice) else array.oindex[index])
        except KeyError:
            raise InputError(f"{self.path} has no {name}: it holds results of {self.spec.kind}.") from None
        except (*DAMAGE_ERRORS, MemoryError) as error:  # of a shape that is a lie, for example
            raise InputError(
                f"{self.path}: {name} cannot be read ({parse_error_reason(error)}). Analyze again with --force."
            ) from error


def _make_arrays(group: zarr.Group, spec: SlideResultSpec, order: NDArray[np.int32]) -> None:
    """Lay out the arrays; of a grid, only what is no tissue is known from the start."""
    from zarr.codecs import ZstdCodec

    grid = (spec.rows, spec.columns)
    group.create_array("order", shape=(len(order), 2), chunks=(max(1, len(order)), 2), dtype="int32")[:] = order
    state = np.full(grid, NO_TISSUE, np.uint8)
    state[order[:, 0], order[:, 1]] = WAITING
    group.create_array(
        "state",
        shape=grid,
        chunks=(CHUNK, CHUNK),
        dtype="uint8",
        fill_value=WAITING,
        dimension_names=("row", "column"),
    )[:] = state
    if spec.classes:
        group.create_array(
            "probability",
            shape=(*grid, len(spec.classes)),
            chunks=(CHUNK, CHUNK, len(spec.classes)),
            dtype="float32",
            fill_value=np.nan,
            dimension_names=("row", "column", "class"),
        )
    tiles = max(1, len(order))
    if spec.features:
        length = _chunk_length(2 * spec.features, spec.batch_size)
        group.create_array(
            "embedding",
            shape=(tiles, spec.features),
            chunks=(length, spec.features),
            dtype="float16",
            compressors=None,  # noise to a compressor
            dimension_names=("tile", "feature"),
        )
    if spec.dense_px:
        shape = (len(spec.classes), spec.dense_px, spec.dense_px)
        group.create_array(
            "dense",
            shape=(tiles, *shape),
            chunks=(_chunk_length(int(np.prod(shape)), spec.batch_size), *shape),
            dtype="uint8",
            compressors=ZstdCodec(level=1),
            dimension_names=("tile", "class", "y", "x"),
        )


def _chunk_length(tile_bytes: int, batch_size: int) -> int:
    """Tiles of a chunk: whole batches, about a megabyte."""
    return batch_size * max(1, round(CHUNK_BYTES / (tile_bytes * batch_size)))


def discard_result(folder: Path) -> None:
    """Remove the store of a result folder, where there is one, so that the analysis begins again.

    It is renamed first: killed in the middle, it leaves no store of which a part is missing.

    Parameters
    ----------
    folder : pathlib.Path
        That holds ``result.zarr``.

    Raises
    ------
    SaveError
        Where it cannot be removed.
    """
    path = folder / STORE
    gone = temporary_name(path)
    if path.exists():
        with file_errors_translated(path):
            rename_with_retry(lambda: path.rename(gone))
            shutil.rmtree(gone)


def _format_setting(settings: Mapping[str, Any], key: str) -> str:
    """A setting in words."""
    value = settings.get(key)
    return "not given" if value is None else str(value)


WRITERS = 8  # threads that mostly wait for the disk
CHUNK = 64  # tiles along each side of a grid's chunk


class SlideResultWriter:
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
        with file_errors_translated(self._result.path):
            for name, parts in self._waiting.items():
                for first, values in _join_consecutive(parts):
                    self._result.array(name)[first : first + len(values)] = values
            if self._probability is not None:
                self._write_chunks("probability", self._probability)
            self._result.wait_until_written()
            self._write_chunks("state", self._state)
            self._result.wait_until_written()
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


class StitchedMapWriter:
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
        with file_errors_translated(self._path):
            self._array[:, *block.slices] = values


@contextmanager
def file_errors_translated(path: Path) -> Iterator[None]:
    """Turn what the file system says into words."""
    try:
        yield
    except OSError as error:
        raise save_error(path, error) from error


def _join_consecutive(parts: list[tuple[int, NDArray]]) -> Iterator[tuple[int, NDArray]]:
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
