"""The store ``result.zarr`` of an analyzed slide: its metadata, and values and a state for each tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError, ResultsMismatch
from napari_melanoma.core.files import atomic_folder, remove_folder, save_error
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize, ScaleSource
from napari_melanoma.core.parsing import parse_error_reason
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.results import read_slide_result

if TYPE_CHECKING:
    import zarr


WAITING, DONE, FAILED, NO_TISSUE = range(4)  # states of a tile
TileKind = Literal["classification", "regression", "embedding", "dense"]
STORE = "result.zarr"
ATTRIBUTE = "napari_melanoma"
MAP_CHUNK = 512  # pixels along each side of a chunk of the stitched map
CHUNK_BYTES = 2**20  # of a chunk of arrays in processing order
WRITERS = 8  # threads, which mostly wait for the disk
SAME_STEP = 0.01  # relative difference of the distances of tiles that are the same
CHUNK = 64  # tiles along each side of a chunk of a grid


def tile_starts(length: int, side: int, stride: int, count: int, *, moved_inside: bool) -> NDArray[np.int64]:
    """Return the first pixel of each row or column of tiles, from the start of the tiled area.

    ``length``: of the area. ``moved_inside``: the last tiles do not extend beyond the area.
    """
    starts = np.arange(count) * stride
    return np.minimum(starts, max(0, length - side)) if moved_inside else starts


class TileBoxes(Config):
    """Boxes of the tiles of a slide in pixels of the finest level, without the margin that is read as context only.

    Tiles may overlap or be moved inside; cells of a map of tiles are placed evenly (``SlideResultSpec.placement``).
    """

    tops: tuple[float, ...] = Field(description="first pixel of each row of tiles")
    lefts: tuple[float, ...] = Field(description="first pixel of each column of tiles")
    height: float = Field(gt=0)
    width: float = Field(gt=0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.tops), len(self.lefts)

    @property
    def end(self) -> tuple[float, float]:
        """The last pixel (y, x) of the last row and column of tiles, exclusive."""
        return self.tops[-1] + self.height, self.lefts[-1] + self.width

    def select(self, tiles: ArrayLike) -> NDArray[np.float64]:
        """Return the boxes of tiles.

        ``tiles``: int (tile, 2), row and column. Returns float64 (tile, 4): top, left, height and width.
        """
        rows, columns = np.asarray(tiles, np.intp).reshape(-1, 2).T
        tops, lefts = np.asarray(self.tops)[rows], np.asarray(self.lefts)[columns]
        return np.column_stack([tops, lefts, np.full_like(tops, self.height), np.full_like(lefts, self.width)])


class SlideResultSpec(Config):
    """Metadata of a store: the slide, the kind of outputs, the positions of the tiles, and the settings."""

    format_version: Literal[1] = 1
    slide: str = Field(description="name of the slide")
    fingerprint: str = Field(description="fingerprint of the slide")
    kind: TileKind
    classes: tuple[str, ...] = Field((), description="names of the values of a tile, in order")
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    corner: tuple[float, float] = Field(description="(y, x) of the first cell, in pixels of the finest level")
    step: tuple[float, float] = Field(description="(y, x) from cell to cell, in pixels of the finest level")
    boxes: TileBoxes | None = Field(None, description="boxes of the tiles; null in stores of earlier versions")
    size: tuple[int, int] | None = Field(None, description="height and width of the slide, in pixels of that level")
    pixel_size_um: tuple[float, float] | None = Field(None, description="(y, x) of the finest level")
    scale_source: ScaleSource = Field("file", description="source of the pixel size")
    tile_px: int = Field(ge=1, description="side of a tile at the input of the network")
    features: int = Field(0, ge=0, description="length of a tile's embedding")
    dense_px: int = Field(0, ge=0, description="side of a tile's dense map, in cells")
    settings: dict[str, Any] = Field(default_factory=dict, description="all settings that determine the values")
    backend: Literal["onnxruntime", "torch"] = Field("torch", description="what ran the network")
    precision: Literal["bf16", "fp32"] = Field("fp32", description="precision of the network")
    precision_difference: float | None = Field(
        None, description="greatest change of a prediction by half precision on sampled tiles; null if not compared"
    )
    batch_size: int = Field(32, ge=1, description="tiles per forward pass: the unit of processing and resuming")

    @model_validator(mode="after")
    def _check_boxes(self) -> Self:
        if self.boxes is not None and self.boxes.shape != (self.rows, self.columns):
            found = " x ".join(map(str, self.boxes.shape))
            raise ValueError(f"boxes of {found} tiles, expected {self.rows} x {self.columns}")
        return self

    @property
    def placement(self) -> MapPlacement:
        """Placement of a map with a cell for each tile, which says nothing about the boxes of the tiles."""
        size = self.pixel_size_um and PixelSize(*self.pixel_size_um, self.scale_source)
        return MapPlacement(*self.corner, *self.step, size)


def differing_settings(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sorted names of the settings in which two analyses differ, also of those that only one of them has.

    Empty if the predictions of both are the same.
    """
    return tuple(
        sorted(
            key
            for key in {*stored, *requested}
            if effective_setting(stored.get(key)) != effective_setting(requested.get(key))
        )
    )


def effective_setting(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a setting, or None for a method "none", whose other values have no effect."""
    return None if isinstance(value, Mapping) and value.get("method") == "none" else value


class SlideResult:
    """An open store; it can be read by many processes while one process writes to it.

    ``wait_until_written``: function that returns when the names of all written files are on disk.
    """

    def __init__(
        self, path: Path, group: zarr.Group, spec: SlideResultSpec, wait_until_written: Callable[[], None]
    ) -> None:
        self.path = path
        self.spec = spec
        self.wait_until_written = wait_until_written
        self._group = group

    @classmethod
    def create(cls, folder: Path, spec: SlideResultSpec, order: NDArray[np.int32]) -> Self:
        """Create an empty store, open for writing; an existing one is replaced.

        ``order``: int32 (tile, 2), row and column of each tile to analyze, in processing order.
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
        """Open the store of a result folder; its values are read on access."""
        import zarr

        from napari_melanoma.io.zarr import DurableStore, check_metadata

        path = folder / STORE
        if not path.is_dir():
            raise InputError(f"{folder} has no results of a slide: {STORE} is missing. Analyze the slide first.")
        try:
            check_metadata(path)
            store = DurableStore(path, read_only=not writable)
            group = zarr.open_group(store=store, mode="r+" if writable else "r")
            spec = SlideResultSpec.parse(cast("dict[str, Any]", group.attrs[ATTRIBUTE]), str(path))
            missing = {"state", "order"} - set(group.array_keys())
        except Exception as error:  # zarr raises many kinds of errors for damaged metadata
            raise InputError(
                f"{path} cannot be read as the results of a slide ({parse_error_reason(error)}). Analyze the slide "
                "again (Python: force=True, command line: --force)."
            ) from error
        if missing:
            raise InputError(
                f"{path} is incomplete: {' and '.join(missing)} missing. Analyze the slide again (Python: "
                "force=True, command line: --force)."
            )
        return cls(path, group, spec, store.wait_until_written)

    @property
    def boxes(self) -> TileBoxes:
        """The box that each tile was read from."""
        return self.spec.boxes or _read_grid_of_result(self) or _cells_as_boxes(self.spec)

    def add_boxes(self, planned: TileBoxes) -> None:
        """Store the boxes in a store of an earlier version; ``planned``: those of an analysis that continues it."""
        self.spec = self.spec.model_copy(update={"boxes": _read_grid_of_result(self) or planned})
        with file_errors_translated(self.path):
            self._group.attrs[ATTRIBUTE] = self.spec.model_dump(mode="json")
            self.wait_until_written()

    @property
    def order(self) -> NDArray[np.int32]:
        """Row and column of each tile to analyze, in processing order: int32 (tile, 2)."""
        return self._read("order")

    @property
    def state(self) -> NDArray[np.uint8]:
        """State of each tile, uint8 (row, column): 0 waiting, 1 done, 2 failed, 3 no tissue."""
        return self._read("state")

    @property
    def has_open_tiles(self) -> bool:
        """Whether there are tiles without a prediction that an analysis would read."""
        return bool(np.isin(self.state, (WAITING, FAILED)).any())

    @property
    def probability(self) -> NDArray[np.float32]:
        """Values of each tile, float32 (row, column, class); NaN for unfinished tiles."""
        return self._read("probability")

    def embedding(self, tiles: slice) -> NDArray[np.float16]:
        """Read embeddings of tiles in processing order: float16 (tile, feature); zeros for unfinished tiles."""
        return self._read("embedding", tiles)

    def dense(self, tiles: slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Read dense maps, uint8 (tile, class, row, column): probability times 255; zeros for unfinished tiles.

        ``tiles``: indices in processing order; an array need not be sorted.
        """
        return self._read("dense", tiles)

    def check_same_slide(self, name: str, fingerprint: str) -> None:
        """Raise ``ResultsMismatch`` unless this store belongs to the slide with a fingerprint."""
        if self.spec.fingerprint != fingerprint:
            raise ResultsMismatch(
                f"{self.path.parent} holds results of another slide, '{self.spec.slide}' with other content than "
                f"'{name}'. Choose another folder, or analyze the slide again from the start (Python: "
                "force=True, command line: --force)."
            )

    def check_same_analysis(self, spec: SlideResultSpec) -> None:
        """Raise ``ResultsMismatch`` unless this store belongs to the same slide and settings."""
        self.check_same_slide(spec.slide, spec.fingerprint)
        stored, requested = self.spec.settings, spec.model_dump(mode="json")["settings"]
        differences = [
            f"{key} was {_format_setting(stored, key)}, now {_format_setting(requested, key)}"
            for key in differing_settings(stored, requested)
        ]
        if self.spec.kind != spec.kind or (self.spec.rows, self.spec.columns) != (spec.rows, spec.columns):
            differences.append(f"{self.spec.kind} of {self.spec.rows} x {self.spec.columns} tiles")
        elif not np.allclose(self.spec.step, spec.step, rtol=SAME_STEP):
            differences.append("tiles of another size")
        elif (self.spec.boxes or _read_grid_of_result(self)) not in (None, spec.boxes) and self.has_open_tiles:
            differences.append("tiles at other positions")
        if differences:
            description = "; ".join(differences)
            raise ResultsMismatch(
                f"{self.path.parent} holds results of this slide with other settings: {description}. Use the same "
                "settings, choose another folder, or analyze the slide again from the start (Python: force=True, "
                "command line: --force)."
            )

    def writer(self) -> SlideResultWriter:
        """Return the writer of the store; use one at a time, in one thread."""
        return SlideResultWriter(self)

    def create_map(self, shape: tuple[int, int]) -> StitchedMapWriter:
        """Create the array for the stitched map of dense tiles, ``map``: uint8 (class, row, column).

        ``shape``: rows and columns. The map is written block by block; an existing map is replaced.
        """
        import zarr

        with file_errors_translated(self.path):
            group = zarr.open_group(store=self.path, mode="r+")  # a lost map can be stitched again from the tiles
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
        """Return an array of the store, to be read or written by chunks."""
        return cast("zarr.Array", self._group[name])

    def _read(self, name: str, index: slice | NDArray[np.integer] = slice(None)) -> Any:  # noqa: ANN401
        try:
            array: Any = self._group[name]
            return np.asarray(array[index] if isinstance(index, slice) else array.oindex[index])
        except KeyError:
            raise InputError(f"{self.path} has no {name}: it contains {self.spec.kind} results.") from None
        except (*DAMAGE_ERRORS, MemoryError) as error:  # for example with an invalid shape
            raise InputError(
                f"{self.path}: {name} cannot be read ({parse_error_reason(error)}). Analyze the slide again "
                "(Python: force=True, command line: --force)."
            ) from error


def _read_grid_of_result(result: SlideResult) -> TileBoxes | None:
    """Return the boxes of the grid in ``result.json`` of earlier versions; None if it is missing or of other tiles."""
    with suppress(ArithmeticError, KeyError, TypeError, ValueError):
        grid = read_slide_result(result.path.parent)["grid"]
        if (grid["rows"], grid["columns"]) != (result.spec.rows, result.spec.columns):
            return None
        area, factor, inside = grid["area"], grid["downsample"], grid["border"] == "shift"
        margins = grid.get("margin_px", (0, 0))
        sides = [read - 2 * margin for read, margin in zip(grid["read_px"], margins, strict=True)]
        starts = [
            (area[first] + tile_starts(area[length], side, stride, grid[count], moved_inside=inside)) * factor
            for first, length, count, side, stride in zip(
                ("top", "left"), ("height", "width"), ("rows", "columns"), sides, grid["stride_px"], strict=True
            )
        ]
        tops, lefts = map(tuple, starts)
        return TileBoxes(tops=tops, lefts=lefts, height=sides[0] * factor, width=sides[1] * factor)
    return None


def _cells_as_boxes(spec: SlideResultSpec) -> TileBoxes:
    """Return what earlier versions took for the boxes of the tiles of an unfinished analysis: the cells of the map."""
    tops, lefts = (
        corner + step * np.arange(count)
        for corner, step, count in zip(spec.corner, spec.step, (spec.rows, spec.columns), strict=True)
    )
    return TileBoxes(tops=tuple(tops), lefts=tuple(lefts), height=spec.step[0], width=spec.step[1])


def _make_arrays(group: zarr.Group, spec: SlideResultSpec, order: NDArray[np.int32]) -> None:
    """Create the arrays; tiles to analyze are waiting, the others have the state "no tissue"."""
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
            compressors=None,  # not compressible
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
    """Return the number of tiles in a chunk of about a megabyte: a multiple of the batch size."""
    return batch_size * max(1, round(CHUNK_BYTES / (tile_bytes * batch_size)))


def discard_result(folder: Path) -> None:
    """Remove the store of a result folder, if there is one, to start over.

    It is renamed first, so that an interruption does not leave an incomplete store.
    """
    path = folder / STORE
    with file_errors_translated(path):
        remove_folder(path)


def _format_setting(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key)
    return "not given" if value is None else str(value)


class SlideResultWriter:
    """Writes values to a store: buffered until ``flush``, which writes data first and states last."""

    def __init__(self, result: SlideResult) -> None:
        self._result = result
        self._order = result.order
        self._state = result.state
        self._probability = result.probability if result.spec.classes else None
        self._changed_chunks: set[tuple[int, int]] = set()  # of the grids, (row, column)
        self._buffered: dict[str, list[tuple[int, NDArray]]] = {}  # by array: index of the first tile, values

    def put(self, first: int, states: NDArray[np.uint8], values: dict[str, NDArray]) -> None:
        """Add the outputs of consecutive tiles in processing order.

        ``first``: index of the first tile. ``states``: uint8 (tile,): done or failed. ``values``: depending on the
        store ``probability`` float32 (tile, class), ``embedding`` (tile, feature) or ``dense`` (tile, class, row,
        column).
        """
        rows, columns = self._order[first : first + len(states)].T
        self._state[rows, columns] = states
        for name, array in values.items():
            if name == "probability":
                assert self._probability is not None
                self._probability[rows, columns] = np.where((states == DONE)[:, None], array, np.nan)
            else:
                self._buffered.setdefault(name, []).append((first, array))
        self._changed_chunks.update(zip((rows // CHUNK).tolist(), (columns // CHUNK).tolist(), strict=True))

    def flush(self) -> None:
        """Write buffered values; return when they are on disk and safe from a power loss."""
        with file_errors_translated(self._result.path):
            for name, parts in self._buffered.items():
                for first, values in _join_consecutive(parts):
                    self._result.array(name)[first : first + len(values)] = values
            if self._probability is not None:
                self._write_chunks("probability", self._probability)
            self._result.wait_until_written()
            self._write_chunks("state", self._state)
            self._result.wait_until_written()
        self._buffered.clear()
        self._changed_chunks.clear()

    def _write_chunks(self, name: str, values: NDArray) -> None:
        """Write the changed chunks of a grid in several threads, because writing to disk has a long latency."""
        array = self._result.array(name)

        def write(chunk: tuple[int, int]) -> None:
            part = tuple(slice(at * CHUNK, (at + 1) * CHUNK) for at in chunk)
            array[part] = values[part]

        with ThreadPoolExecutor(WRITERS, thread_name_prefix="chunks") as pool:
            list(pool.map(write, sorted(self._changed_chunks)))


class StitchedMapWriter:
    """Writes the stitched map of a store block by block.

    ``array``: uint8 (class, row, column).
    """

    def __init__(self, path: Path, array: zarr.Array) -> None:
        self._path = path
        self._array = array

    def put(self, block: Box, values: NDArray[np.uint8]) -> None:
        """Write a block of the map; ``values``: uint8 (class, row, column)."""
        with file_errors_translated(self._path):
            self._array[:, *block.slices] = values


@contextmanager
def file_errors_translated(path: Path) -> Iterator[None]:
    """Convert errors of the file system into messages for the user."""
    try:
        yield
    except OSError as error:
        raise save_error(path, error) from error


def _join_consecutive(parts: list[tuple[int, NDArray]]) -> Iterator[tuple[int, NDArray]]:
    """Join the values of tiles that follow each other; parts are the index of the first tile and the values."""
    joined: list[NDArray] = []
    start = end = -1
    for first, values in sorted(parts, key=lambda part: part[0]):
        if joined and first != end:
            yield start, np.concatenate(joined)
            joined = []
        if not joined:
            start = first
        joined.append(values)
        end = first + len(values)
    if joined:
        yield start, np.concatenate(joined)
