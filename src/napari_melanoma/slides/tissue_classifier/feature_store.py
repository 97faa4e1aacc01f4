"""Features of the cells of a slide: computed once, block by block, and stored in the slide's result folder.

A block is a chunk of the store, and its file is written under a temporary name and renamed: a block is complete if its
file exists. A killed computation therefore resumes; two processes that compute the same block write the same file.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.config import Config
from napari_melanoma.core.context import NULL_CONTEXT, Progress, RunContext, usable_cores
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.files import FileStamp, atomic_folder, file_stamp, remove_folder, save_error, temporary_prefix
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.results import TISSUE, read_mask
from napari_melanoma.io.slide_store import ATTRIBUTE, DONE, file_errors_translated
from napari_melanoma.slides.engine import EngineStages, TileBatch, TileReader, analyze_tiles
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.reading.composite import read_as_rgb
from napari_melanoma.slides.reading.detection import FolderSearch
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import Slide, SlideInfo
from napari_melanoma.slides.result_folder import SlideFolderNames, list_folder_names, record_new_slide
from napari_melanoma.slides.tiling import MIN_TISSUE, has_enough_tissue, tissue_share
from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CellGrid

if TYPE_CHECKING:
    import zarr

    from napari_melanoma.io.zarr import DurableStore
    from napari_melanoma.slides.tile_models import TileOutputs
    from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource


FEATURES = "features"  # folder in the result folder of a slide, and array in a store
LOCK_FILE, LOCK_S = ".features.lock", 30.0  # held while a store is created
CACHE_BYTES = 256 * 2**20  # of a cache of blocks
KEY_DIGITS = 12
OnBlock = Callable[["NDArray[np.int32]"], None]  # row and column of a block whose features can be read now


class FeatureStoreSpec(Config):
    """Metadata of a store: the slide, the source of the features, and the positions of the cells."""

    format_version: Literal[1] = 1
    slide: str = Field(description="name of the slide")
    fingerprint: str = Field(description="fingerprint of the slide")
    source: str = Field(description="name of the source of the features")
    source_fingerprint: str = Field(description="hash of everything that determines the features of a block")
    mpp: float = Field(gt=0, description="micrometers per pixel at which the features are computed")
    features: int = Field(ge=1, description="features of a cell")
    rows: int = Field(ge=1, description="of cells")
    columns: int = Field(ge=1, description="of cells")
    corner: tuple[float, float] = Field(description="(y, x) of the first cell, in pixels of the finest level")
    step: tuple[float, float] = Field(description="(y, x) from cell to cell, in pixels of the finest level")
    pixel_size_um: tuple[float, float] = Field(description="(y, x) of the finest level")
    channels: ChannelChoice | None = Field(None, description="of fluorescence, read as RGB; none: brightfield")

    @property
    def key(self) -> str:
        """Hash of the metadata: stores with the same key have the same features."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:KEY_DIGITS]


class BlockCache:
    """The blocks that were used last, in memory, of one or several stores; safe to use from several threads.

    ``limit``: in bytes.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit, self._bytes = limit, 0
        self._blocks: OrderedDict[tuple[Path, int, int], NDArray[np.float16]] = OrderedDict()
        self._lock = Lock()

    def get(self, store: Path, block: tuple[int, int]) -> NDArray[np.float16] | None:
        """Return a block of a store, float16 (cell row, cell column, feature), or None if it is not in memory."""
        with self._lock:
            values = self._blocks.get((store, *block))
            if values is not None:
                self._blocks.move_to_end((store, *block))
            return values

    def add(self, store: Path, block: tuple[int, int], values: NDArray[np.float16]) -> None:
        """Add a block; those that were not used for the longest time are removed."""
        with self._lock:
            self._remove((store, *block))
            self._blocks[store, *block] = values
            self._bytes += values.nbytes
            while self._bytes > self._limit and len(self._blocks) > 1:
                self._remove(next(iter(self._blocks)))

    def remove(self, store: Path) -> None:
        """Remove all blocks of a store."""
        with self._lock:
            for key in [key for key in self._blocks if key[0] == store]:
                self._remove(key)

    def _remove(self, key: tuple[Path, int, int]) -> None:
        values = self._blocks.pop(key, None)
        self._bytes -= 0 if values is None else values.nbytes


class TissueMask:
    """The tissue of a slide, which the stores of several sources share; safe to use from several threads.

    It is that of the mask in the result folder, or detected, which takes seconds: once, also if several threads wait.
    """

    def __init__(self, slide: Slide, folder: Path) -> None:
        self._slide, self._path = slide, folder / TISSUE
        self._lock = Lock()
        self._stamp: FileStamp | None = None
        self._mask: NDArray[np.bool_] | None = None

    def read(self) -> NDArray[np.bool_]:
        """Return the mask, bool (row, column) of an overview; the file is read again if it has changed."""
        with self._lock:
            stamp = file_stamp(self._path)
            if self._mask is None or stamp != self._stamp:
                self._mask, self._stamp = self._read_or_detect(), stamp
            return self._mask

    def _read_or_detect(self) -> NDArray[np.bool_]:
        if self._path.is_file():
            return read_mask(self._path)
        info = self._slide.info
        return tissue_of_overview(info, read_overview(self._slide), TissueConfig(), info.pixel_size)[0]


def find_tissue_blocks(info: SlideInfo, grid: CellGrid, mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the blocks with enough tissue, int32 (block, 2); ``mask``: (row, column) of an overview."""
    size = info.levels[0]
    place = MapPlacement.from_thumbnail(mask.shape, (size.height, size.width), info.pixel_size)
    share = tissue_share(grid.blocks.boxes, mask, place)
    return np.argwhere(has_enough_tissue(share, MIN_TISSUE)).astype(np.int32)


class SlideFeatures:
    """The features of the cells of an open slide; safe to use from several threads.

    ``grid``: the cells. ``source``: what computes the features. ``slide``: as it is read.
    """

    def __init__(
        self,
        slide: Slide,
        source: FeatureSource,
        grid: CellGrid,
        folder: Path,
        cache: BlockCache | None = None,
        tissue: TissueMask | None = None,
    ) -> None:
        self.grid = grid
        self.source = source
        self.slide = slide
        self._tissue = tissue or TissueMask(slide, folder)
        self._spec = _describe(slide, source, grid)
        name = re.sub(r"[^\w.+-]+", "-", source.name)  # Windows allows no colon, as in timm:NAME
        self._path = folder / FEATURES / f"{name}-{self._spec.key}.zarr"
        self._store, self._array = _open_or_create(self._path, self._spec, grid)
        self._lock = Lock()
        self._cache = cache or BlockCache()
        self._unwritten: dict[tuple[int, int], NDArray[np.float16]] = {}
        self._stored = list_stored_blocks(self._path, grid.blocks.shape)
        self._temporary: TemporaryDirectory[str] | None = None

    @classmethod
    def open(
        cls,
        slide: Slide,
        source: FeatureSource,
        folder: Path | None = None,
        cache: BlockCache | None = None,
        tissue: TissueMask | None = None,
    ) -> SlideFeatures:
        """Open the features of a slide, which is read as RGB; nothing is computed.

        ``folder``: the result folder of the slide; without it, features are stored until this object is closed.
        ``cache``: of the blocks in memory, and ``tissue``: that of the slide, if stores share them.

        Raises ``ScaleMissing`` if the pixel size of the slide is unknown.
        """
        grid = CellGrid.plan(slide.info, source.mpp)
        if folder is not None:
            return cls(slide, source, grid, folder, cache, tissue)
        temporary = TemporaryDirectory(prefix=temporary_prefix(FEATURES), ignore_cleanup_errors=True)
        features = cls(slide, source, grid, Path(temporary.name), cache, tissue)
        features._temporary = temporary
        return features

    def close(self) -> None:
        """Release memory, and remove features that were stored only until now."""
        self._cache.remove(self._path)
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        """Use the features in a ``with`` block, which closes them."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the features."""
        self.close()

    @property
    def length(self) -> int:
        """Number of features of a cell."""
        return self.source.length

    @cached_property
    def tissue_blocks(self) -> NDArray[np.int32]:
        """The blocks that an analysis with default options predicts, int32 (block, 2): those with enough tissue."""
        return find_tissue_blocks(self.slide.info, self.grid, self._tissue.read())

    @property
    def progress(self) -> tuple[int, int]:
        """Number of tissue blocks whose features are known, and number of tissue blocks."""
        blocks = self.tissue_blocks
        return int(self._are_known(blocks).sum()), len(blocks)

    def known(self, cells: ArrayLike) -> NDArray[np.bool_]:
        """Return which cells (cell, 2) have features, bool (cell,)."""
        positions = np.asarray(cells, np.int32).reshape(-1, 2)
        known = self.grid.contains(positions)
        known[known] = self._are_known(positions[known] // BLOCK_CELLS)
        return known

    @property
    def known_blocks(self) -> NDArray[np.int32]:
        """The blocks with features, also beyond tissue, int32 (block, 2)."""
        return np.argwhere(self._find_known()).astype(np.int32)

    def read(self, cells: ArrayLike) -> NDArray[np.float32]:
        """Return the features of cells (cell, 2), float32 (cell, feature); NaN where they are not known."""
        positions = np.asarray(cells, np.int32).reshape(-1, 2)
        features = np.full((len(positions), self.length), np.nan, np.float32)
        inside = np.flatnonzero(self.known(positions))
        blocks, number = np.unique(positions[inside] // BLOCK_CELLS, axis=0, return_inverse=True)
        for index, block in enumerate(blocks):
            chosen = inside[number.reshape(-1) == index]
            values = self.read_block(block)
            if values is not None:
                within = positions[chosen] % BLOCK_CELLS
                features[chosen] = values[within[:, 0], within[:, 1]]
        return features

    def read_block(self, block: ArrayLike) -> NDArray[np.float16] | None:
        """Return the features of a block, float16 (cell row, cell column, feature), or None if they are not known.

        The array has ``BLOCK_CELLS`` rows and columns, also at the end of the slide, and must not be modified.
        """
        row, column = (int(value) for value in np.asarray(block))
        known = self._cache.get(self._path, (row, column))
        if known is not None:
            return known
        with self._lock:
            if (row, column) in self._unwritten:
                return self._unwritten[row, column]
            if not self._stored[row, column]:
                return None
        values = self._read_stored(row, column)
        if values is not None:
            self._cache.add(self._path, (row, column), values)
        return values

    def compute(self, blocks: NDArray[np.int32], run: RunContext, on_block: OnBlock | None = None) -> None:
        """Compute and store the features of blocks that are not known, in the given order.

        ``blocks``: int32 (block, 2). ``on_block``: called in this thread with each of them, also if it was known.
        Blocks that cannot be read are left out. If cancelled, finished blocks are kept.
        """
        done = on_block or (lambda block: None)
        self._stored |= list_stored_blocks(self._path, self._stored.shape)  # another process may have stored some
        known = self._are_known(blocks)
        for block in blocks[known]:
            done(block)
        missing = blocks[~known]
        if not len(missing):
            return
        model, writer = _Passes(self.source), _Writer(self, missing)
        batches = [TileBatch(index, missing[index : index + 1]) for index in range(len(missing))]
        position = iter(missing)

        def add(tiles: int, failed: int) -> None:
            block = next(position)
            if not failed:
                self._add((int(block[0]), int(block[1])), model.last)
                done(block)

        reader = TileReader(self.slide, self.grid.blocks)
        analyze_tiles(EngineStages(reader.read, model, writer, max(2, usable_cores())), batches, run, add)

    def _are_known(self, blocks: NDArray[np.integer]) -> NDArray[np.bool_]:
        return self._find_known()[blocks[:, 0], blocks[:, 1]]

    def _find_known(self) -> NDArray[np.bool_]:
        """Return which blocks have features, bool (row, column) of blocks."""
        with self._lock:
            known: NDArray[np.bool_] = self._stored.copy()
            for block in self._unwritten:
                known[block] = True
        return known

    def _add(self, block: tuple[int, int], values: NDArray[np.float16]) -> None:
        """Make computed features readable before they are stored."""
        with self._lock:
            if not self._stored[block]:
                self._unwritten[block] = values
        self._cache.add(self._path, block, values)

    def _write(self, block: tuple[int, int], values: NDArray[np.float16]) -> None:
        top, left = block[0] * BLOCK_CELLS, block[1] * BLOCK_CELLS
        with file_errors_translated(self._path):
            self._array[top : top + BLOCK_CELLS, left : left + BLOCK_CELLS] = values
        with self._lock:
            self._stored[block] = True
            self._unwritten.pop(block, None)

    def _read_stored(self, row: int, column: int) -> NDArray[np.float16] | None:
        """Read a block from the store; a damaged one is removed, to be computed again."""
        top, left = row * BLOCK_CELLS, column * BLOCK_CELLS
        try:
            stored: Any = self._array[top : top + BLOCK_CELLS, left : left + BLOCK_CELLS]
            return np.asarray(stored)
        except DAMAGE_ERRORS:
            (self._path / FEATURES / "c" / str(row) / str(column) / "0").unlink(missing_ok=True)
            with self._lock:
                self._stored[row, column] = False
            return None

    def wait_until_written(self) -> None:
        """Return when the names of all stored blocks are on disk."""
        with file_errors_translated(self._path):
            self._store.wait_until_written()


class _Passes:
    """The network of the engine: keeps the last result, which the callback of the batch receives."""

    def __init__(self, source: FeatureSource) -> None:
        self._source = source
        self.last = np.empty((0, 0, 0), np.float16)

    def predict(self, tiles: NDArray[np.uint8]) -> TileOutputs:
        """Compute the features of one block."""
        outputs = self._source.compute(tiles)
        self.last = outputs[0]
        return {FEATURES: outputs}


class _Writer:
    """The writer of the engine."""

    def __init__(self, features: SlideFeatures, blocks: NDArray[np.int32]) -> None:
        self._features = features
        self._blocks = blocks

    def put(self, first: int, states: NDArray[np.uint8], values: dict[str, NDArray[Any]]) -> None:
        """Write blocks; those that could not be read are left out."""
        for index in np.flatnonzero(states == DONE).tolist():
            row, column = self._blocks[first + index].tolist()
            self._features._write((row, column), values[FEATURES][index])

    def flush(self) -> None:
        """See ``SlideFeatures.wait_until_written``."""
        self._features.wait_until_written()


def _describe(slide: Slide, source: FeatureSource, grid: CellGrid) -> FeatureStoreSpec:
    place, size = grid.placement, slide.info.pixel_size
    assert size is not None  # refused when the cells were placed
    return FeatureStoreSpec(
        slide=slide.info.name,
        fingerprint=slide.info.fingerprint,
        source=source.name,
        source_fingerprint=source.fingerprint,
        mpp=source.mpp,
        features=source.length,
        rows=grid.shape[0],
        columns=grid.shape[1],
        corner=(place.top, place.left),
        step=(place.step_y, place.step_x),
        pixel_size_um=(size.y_um, size.x_um),
        channels=slide.info.composite,
    )


def _open_or_create(path: Path, spec: FeatureStoreSpec, grid: CellGrid) -> tuple[DurableStore, zarr.Array]:
    """Open the store of features; a missing or damaged one is created."""
    import zarr

    from napari_melanoma.io.zarr import DurableStore, check_metadata

    with hold_lock(path.parent / LOCK_FILE, LOCK_S):
        try:
            check_metadata(path)
            store = DurableStore(path)
            group = zarr.open_group(store=store, mode="r+")
            if FeatureStoreSpec.parse(cast("dict[str, Any]", group.attrs[ATTRIBUTE]), str(path)) == spec:
                return store, cast("zarr.Array", group[FEATURES])
        except FileNotFoundError:
            remove_folder(path)
        except OSError as error:  # such as a server that does not answer: the features may be intact
            raise save_error(path, error) from error
        except Exception:  # noqa: BLE001 - zarr raises many kinds of errors for missing and damaged metadata
            remove_folder(path)
        with atomic_folder(path) as temporary, file_errors_translated(path):
            _create(temporary, spec, grid)
    store = DurableStore(path)
    return store, cast("zarr.Array", zarr.open_group(store=store, mode="r+")[FEATURES])


def _create(path: Path, spec: FeatureStoreSpec, grid: CellGrid) -> None:
    import zarr

    from napari_melanoma.io.zarr import DurableStore

    store = DurableStore(path)
    group = zarr.create_group(store=store, attributes={ATTRIBUTE: spec.model_dump(mode="json")})
    rows, columns = grid.blocks.shape
    group.create_array(
        FEATURES,
        shape=(rows * BLOCK_CELLS, columns * BLOCK_CELLS, spec.features),
        chunks=(BLOCK_CELLS, BLOCK_CELLS, spec.features),
        dtype="float16",
        fill_value=np.nan,
        compressors=None,  # not compressible
        dimension_names=("row", "column", "feature"),
    )
    store.wait_until_written()


def list_stored_blocks(path: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which blocks of a store are complete, bool (row, column)."""
    stored = np.zeros(shape, np.bool_)
    for file in (path / FEATURES / "c").glob("*/*/0"):
        row, column = int(file.parts[-3]), int(file.parts[-2])
        stored[row, column] = True
    return stored


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """The store of the features of a slide; read only.

    ``slide``: the file of the slide.
    """

    slide: Path
    spec: FeatureStoreSpec
    path: Path
    array: zarr.Array

    @classmethod
    def find(cls, slide: Path, folder: Path, source: FeatureSource) -> StoredFeatures | None:
        """Find the latest features of a source in the result folder of a slide; None if there are none.

        Features of another encoder, another version of it, of channels of fluorescence, or at another scale than the
        slide has now are not comparable, and not found.
        """
        found, wanted = [], (source.fingerprint, source.mpp, None)
        for path in (folder / FEATURES).glob("*.zarr"):
            opened = _open(path)
            if opened is not None and (opened[0].source_fingerprint, opened[0].mpp, opened[0].channels) == wanted:
                found.append((path.stat().st_mtime, cls(slide, opened[0], path, opened[1])))
        if not found:
            return None
        size = None
        with suppress(MelanomaError, OSError):
            size = read_notes(folder).pixel_size
            if size is None:  # also of a single store, whose scale was perhaps set before
                with open_slide(slide) as file:
                    size = file.info.pixel_size
        same = [one for one in found if size is None or PixelSize(*one[1].spec.pixel_size_um).is_close(size)]
        return max(same, key=lambda one: one[0])[1] if same else None

    @property
    def placement(self) -> MapPlacement:
        """Placement of a map with a pixel for each cell."""
        return MapPlacement(*self.spec.corner, *self.spec.step, PixelSize(*self.spec.pixel_size_um))

    def list_blocks(self) -> NDArray[np.int32]:
        """List the blocks whose features are stored, int32 (block, 2), row by row."""
        shape = -(-self.spec.rows // BLOCK_CELLS), -(-self.spec.columns // BLOCK_CELLS)
        return np.argwhere(list_stored_blocks(self.path, shape)).astype(np.int32)

    def read_blocks(
        self, blocks: NDArray[np.integer], run: RunContext = NULL_CONTEXT
    ) -> Iterator[tuple[Box, NDArray[np.float32]]]:
        """Read blocks (block, 2) one after the other, each as its box of cells and float32 (row, column, feature).

        The features are NaN where they are not known. Damaged blocks are left out.
        """
        for top, left in (np.asarray(blocks) * BLOCK_CELLS).tolist():
            run.check()
            bottom, right = min(top + BLOCK_CELLS, self.spec.rows), min(left + BLOCK_CELLS, self.spec.columns)
            try:
                values: Any = self.array[top:bottom, left:right]
            except DAMAGE_ERRORS:
                continue
            yield Box(top, left, bottom - top, right - left), np.asarray(values, np.float32)


def _open(path: Path) -> tuple[FeatureStoreSpec, zarr.Array] | None:
    """Open a store; None if it is damaged or being created."""
    import zarr

    from napari_melanoma.io.zarr import ConfinedStore, check_metadata

    try:
        check_metadata(path)
        group = zarr.open_group(store=ConfinedStore(path), mode="r")
        spec = FeatureStoreSpec.parse(cast("dict[str, Any]", group.attrs[ATTRIBUTE]), str(path))
        return spec, cast("zarr.Array", group[FEATURES])
    except Exception:  # noqa: BLE001 - zarr raises many kinds of errors for missing and damaged metadata
        return None


def list_folder_slides(folder: Path, run: RunContext = NULL_CONTEXT) -> list[Path]:
    """List the slides in a folder and its subfolders; empty if it cannot be read."""
    return [path for path, is_slide in FolderSearch(run).walk(folder) if is_slide]


def find_stored_features(
    slides: Iterable[Path],
    root: Path,
    source: FeatureSource,
    known: Mapping[Path, Path] | None = None,
) -> tuple[list[StoredFeatures], list[Path]]:
    """Find the features of slides in a folder with their result folders.

    ``known``: result folders of slides that are open. Returns the features, and the slides that have none.
    """
    names, folders = SlideFolderNames(root, list_folder_names(root)), known or {}
    found, missing = [], []
    for slide in dict.fromkeys(slides):
        folder = folders.get(slide) or names.find_results(slide)
        stored = None if folder is None else StoredFeatures.find(slide, folder, source)
        if stored is None:
            missing.append(slide)
        else:
            found.append(stored)
    return found, missing


def compute_slide_features(slide: Path, folder: Path, source: FeatureSource, run: RunContext) -> None:
    """Compute the features of the tissue of a slide that are not stored yet, and store them in its result folder.

    The pixel size is that of the user in the notes of the slide, or that of the file. Raises ``InputError`` for a
    fluorescence slide.
    """
    with open_slide(slide, read_notes(folder).pixel_size) as opened:
        features = SlideFeatures.open(read_as_rgb(opened, None, "Find similar"), source, folder)
        record_new_slide(folder, slide)
        done, blocks = count(1), features.tissue_blocks
        message = f"Computing features of {slide.name}"
        features.compute(blocks, run, lambda block: run.report(Progress(next(done), len(blocks), message)))
        features.wait_until_written()
