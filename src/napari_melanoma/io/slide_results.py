"""The store of one analysed slide, ``result.zarr``: a value and a state for each tile, readable while it is written.

Grids lie over the tiles, (row, column); what is large for each tile (embeddings, dense maps) lies in the order of work
instead, so that each of its chunks is written once. A tile counts as done only when its values are on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.files import atomic_folder, save_error
from napari_melanoma.core.geometry import PixelSize, ScaleSource
from napari_melanoma.core.placement import MapPlace

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

STORE = "result.zarr"
WAITING, DONE, FAILED, NO_TISSUE = range(4)
ATTRIBUTE = "napari_melanoma"
CHUNK = 64  # tiles along each side of a grid's chunk
CHUNK_BYTES = 2**20  # of what lies in the order of work

TileKind = Literal["classification", "regression", "embedding", "dense"]


class ResultSpec(Config):
    """What a store says of itself: whose results these are, what each tile has, and where the tiles lie."""

    format_version: Literal[1] = 1
    slide: str = Field(description="name of the slide")
    fingerprint: str = Field(description="of the slide's content")
    kind: TileKind
    classes: tuple[str, ...] = Field((), description="names of the values of a tile, in their order")
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    corner: tuple[float, float] = Field(description="(y, x) of the first cell, in pixels of the finest level")
    step: tuple[float, float] = Field(description="(y, x) from cell to cell, in pixels of the finest level")
    pixel_size_um: tuple[float, float] | None = Field(None, description="(y, x) of the finest level")
    scale_source: ScaleSource = Field("file", description="who says so")
    tile_px: int = Field(ge=1, description="side of a tile as the network sees it")
    features: int = Field(0, ge=0, description="length of a tile's embedding")
    dense_px: int = Field(0, ge=0, description="side of a tile's dense map, in cells")
    settings: dict[str, Any] = Field(default_factory=dict, description="all that the values depend on")
    precision: str = Field("fp32", description="in which the network computed")
    batch_size: int = Field(32, ge=1, description="tiles of a pass of the network: the unit of work and of resuming")

    @property
    def place(self) -> MapPlace:
        """Where the grids lie on the slide."""
        size = self.pixel_size_um and PixelSize(*self.pixel_size_um, self.scale_source)
        return MapPlace(*self.corner, *self.step, size)


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
    """

    def __init__(self, path: Path, group: zarr.Group, spec: ResultSpec) -> None:
        self.path = path
        self.spec = spec
        self._group = group

    @classmethod
    def create(cls, folder: Path, spec: ResultSpec, order: NDArray[np.int32]) -> Self:
        """Make an empty store; one that is there is replaced.

        Parameters
        ----------
        folder : pathlib.Path
            Receives ``result.zarr``.
        spec : ResultSpec
            What it is for.
        order : numpy.ndarray
            int32 (tile, 2): row and column of each tile to analyse, in the order of work.

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

        path = folder / STORE
        with atomic_folder(path) as temporary, _faults(path):
            group = zarr.create_group(store=temporary, attributes={ATTRIBUTE: spec.model_dump(mode="json")})
            _make_arrays(group, spec, order)
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

        path = folder / STORE
        if not path.is_dir():
            raise InputError(f"{folder} holds no results of a slide: there is no {STORE}. Analyse the slide first.")
        try:
            group = zarr.open_group(store=path, mode="r+" if writable else "r")
            spec = ResultSpec.parse(dict(group.attrs[ATTRIBUTE]), str(path))  # type: ignore[call-overload]
            missing = {"state", "order"} - set(group.array_keys())
        except (OSError, KeyError, ValueError, TypeError, ConfigError) as error:
            raise InputError(
                f"{path} cannot be read as the results of a slide ({error}). Analyse the slide again with --force."
            ) from error
        if missing:
            raise InputError(f"{path} is incomplete: it has no {' or '.join(missing)}. Analyse again with --force.")
        return cls(path, group, spec)

    @property
    def order(self) -> NDArray[np.int32]:
        """Row and column of each tile to analyse, in the order of work: int32 (tile, 2)."""
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

    def refuse_others(self, spec: ResultSpec) -> None:
        """Raise unless this store is of the same slide and the same settings.

        Parameters
        ----------
        spec : ResultSpec
            Of the analysis that is to go on here.

        Raises
        ------
        RunError
            Naming what differs.
        """
        if self.spec.fingerprint != spec.fingerprint:
            raise RunError(
                f"{self.path.parent} holds results of another slide, '{self.spec.slide}' with other content than "
                f"'{spec.slide}'. Choose another folder, or begin again with --force."
            )
        mine, asked = self.spec.settings, spec.model_dump(mode="json")["settings"]
        differs = [f"{key} was {mine.get(key)}, now {asked.get(key)}" for key in asked if mine.get(key) != asked[key]]
        if differs or self.spec.kind != spec.kind or (self.spec.rows, self.spec.columns) != (spec.rows, spec.columns):
            said = "; ".join(differs) or f"{self.spec.kind} of {self.spec.rows} x {self.spec.columns} tiles"
            raise RunError(
                f"{self.path.parent} holds results of this slide with other settings: {said}. Use the same settings, "
                "choose another folder, or begin again with --force."
            )

    def writer(self) -> ResultWriter:
        """Give the one writer of the store.

        Returns
        -------
        ResultWriter
            Use one at a time, in one thread.
        """
        return ResultWriter(self)

    def array(self, name: str) -> zarr.Array:
        """Give an array of the store itself.

        Parameters
        ----------
        name : str
            Such as ``"state"``.

        Returns
        -------
        zarr.Array
            Read or written chunk by chunk.
        """
        found: Any = self._group[name]
        return found  # type: ignore[no-any-return]

    def _read(self, name: str, index: slice | NDArray[np.integer] = slice(None)) -> Any:  # noqa: ANN401
        """Values of an array of the store."""
        try:
            array: Any = self._group[name]
            return np.asarray(array[index] if isinstance(index, slice) else array.oindex[index])
        except KeyError:
            raise InputError(f"{self.path} has no {name}: it holds results of {self.spec.kind}.") from None
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.path}: {name} cannot be read ({error}). Analyse again with --force.") from error


class ResultWriter:
    """Puts values into a store: kept in memory until ``flush``, which writes data first and what is done last.

    Parameters
    ----------
    result : SlideResult
        Open for writing.
    """

    def __init__(self, result: SlideResult) -> None:
        self._result = result
        self._order = result.order
        self._state = result.state
        self._probability = result.probability if result.spec.classes else None
        self._touched: set[tuple[int, int]] = set()
        self._waiting: dict[str, list[tuple[int, NDArray]]] = {}

    def put(self, first: int, states: NDArray[np.uint8], values: dict[str, NDArray]) -> None:
        """Take what came of tiles that follow each other in the order of work.

        Parameters
        ----------
        first : int
            Place of the first of them in the order.
        states : numpy.ndarray
            uint8 (tile,): done or failed.
        values : dict of str to numpy.ndarray
            ``probability`` float32 (tile, class), ``embedding`` (tile, feature), ``dense`` (tile, class, row, column),
            whichever the store has.
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
        """Write what waits; returns when it is with the file system.

        Raises
        ------
        SaveError
            Where the file system refuses; tiles that were not written do not count as done.
        """
        with _faults(self._result.path):
            for name, parts in self._waiting.items():
                for first, values in _joined(parts):
                    self._result.array(name)[first : first + len(values)] = values
            if self._probability is not None:
                self._write_chunks("probability", self._probability)
            self._write_chunks("state", self._state)
        self._waiting.clear()
        self._touched.clear()

    def _write_chunks(self, name: str, values: NDArray) -> None:
        """Write the chunks of a grid that have changed."""
        for row, column in sorted(self._touched):
            part = slice(row * CHUNK, (row + 1) * CHUNK), slice(column * CHUNK, (column + 1) * CHUNK)
            self._result.array(name)[part] = values[part]


def _make_arrays(group: zarr.Group, spec: ResultSpec, order: NDArray[np.int32]) -> None:
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


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Turn what the file system says into words."""
    try:
        yield
    except OSError as error:
        raise save_error(path, error) from error


def discard_result(folder: Path) -> None:
    """Remove the store of a result folder, where there is one, so that the analysis begins again.

    Parameters
    ----------
    folder : pathlib.Path
        That holds ``result.zarr``.

    Raises
    ------
    SaveError
        Where it cannot be removed.
    """
    import shutil

    with suppress(FileNotFoundError), _faults(folder / STORE):
        shutil.rmtree(folder / STORE)
