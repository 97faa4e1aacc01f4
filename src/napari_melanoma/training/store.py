"""The store of decoded images and masks, kept by content: each file is decoded once, for any run and data set.

A corrected mask therefore decodes one mask, and an image that two data sets share lies here once. ``cache_index`` knows
where everything is, ``shards`` holds the pixels, ``decoding`` fills it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from napari_melanoma.core.files import save_error
from napari_melanoma.core.preprocessing import UNTOUCHED, PreprocessingConfig
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.runs import Progress
from napari_melanoma.training.cache import Cache
from napari_melanoma.training.cache_index import CacheIndex, Facts, Kind, Slot
from napari_melanoma.training.shards import whole_shards, write_shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext

KEEP_DAYS = 30
INDEX, LOCK = "index.sqlite", "filling.lock"
WAIT_S = 0.5


class Pair(NamedTuple):
    """An image and its mask, each by the SHA-256 of its file."""

    image_sha: str
    mask_sha: str


def user_store() -> Path:
    """Say where decoded images are kept, for all runs of this user.

    A folder below the user's caches; it may not exist yet.
    """
    from platformdirs import user_cache_path

    return user_cache_path("napari-melanoma", appauthor=False) / "training"


class PixelStore:
    """The decoded images of one user, open in this process."""

    def __init__(self, folder: Path, index: CacheIndex, preprocessing: PreprocessingConfig = UNTOUCHED) -> None:
        self.folder = folder
        self.index = index
        self.preprocessing = preprocessing
        self._present = whole_shards(folder)  # a person or the system may have removed some, or cut them off

    @classmethod
    @contextmanager
    def locked(cls, folder: Path, run: RunContext, preprocessing: PreprocessingConfig = UNTOUCHED) -> Iterator[Self]:
        """Open the store for writing, once no other process does."""
        with _lock(folder, run), CacheIndex.opened(folder / INDEX) as index:
            yield cls(folder, index, preprocessing)

    @classmethod
    @contextmanager
    def copied(cls, folder: Path, preprocessing: PreprocessingConfig = UNTOUCHED) -> Iterator[Self]:
        """Open the store so that what is found out leaves no trace."""
        with CacheIndex.copied(folder / INDEX) as index:
            yield cls(folder, index, preprocessing)

    def slot(self, kind: Kind, side: int, sha: str) -> Slot | None:
        """Look up where the pixels of a content lie.

        ``sha``: of the file's bytes. None where they are not here, or not any more.
        """
        slot = self.index.slot(self._kept_as(kind), side, sha)
        return slot if slot and slot.shard in self._present else None

    def add_decoded(self, kind: Kind, side: int, shard: str, found: dict[str, tuple[int, Facts]]) -> None:
        """Remember what was decoded, whose pixels are in a shard by now.

        ``shard``: its name, empty where no pixels were kept.
        """
        self.index.add_decoded(kind, side, shard, found, self._kept_as(kind))

    def add(self, shape: tuple[int, ...], pixels: Iterable[NDArray[np.uint8]]) -> str:
        """Write a shard; the index is told of its content afterwards.

        ``pixels``: uint8, one item after the other.
        """
        name = write_shard(self.folder, shape, pixels)
        self._present.add(name)
        return name

    def cache(self, pairs: Sequence[Pair], side: int, masks: Kind = "mask") -> Cache:
        """Find images and masks that are decoded.

        ``side``: of the squares, in pixels. In the order of the pairs.
        """
        shards: dict[str, int] = {}
        places = np.empty((len(pairs), 4), np.int32)
        kinds: tuple[Kind, Kind] = ("image", masks)
        for item, pair in enumerate(pairs):
            for first, kind, sha in zip((0, 2), kinds, pair, strict=True):
                slot = self.slot(kind, side, sha)
                assert slot is not None
                places[item, first : first + 2] = shards.setdefault(slot.shard, len(shards)), slot.place
        return Cache(self.folder, side, tuple(shards), places)

    def _kept_as(self, kind: Kind) -> str:
        """Name what the index knows pixels by: images that something was done to are others."""
        mark = self.preprocessing.mark if kind == "image" else ""
        return f"{kind} {mark}" if mark else kind

    def use(self, run: Path, caches: Iterable[Cache]) -> None:
        """Keep what a run stands on, for as long as the run can go on."""
        shards = {name for cache in caches for name in cache.shards}
        self.index.use(str(run.absolute()), shards)
        for name in shards:
            with suppress(OSError):
                os.utime(self.folder / name)

    def prune(self) -> None:
        """Remove what no run has used for a month: it shows people's skin, and fills the disk."""
        runs = self.index.runs()
        over = [run for run in runs if not can_go_on(Path(run))]
        kept = {name for run in runs.keys() - over for name in runs[run]}
        limit = time.time() - KEEP_DAYS * 86400
        for path in self.folder.iterdir():
            if path.name.startswith((INDEX, LOCK)) or path.name in kept:
                continue
            # Hidden ones are what a killed process left, as only one writes at a time.
            with suppress(OSError):  # on Windows, what another process reads stays until the next time
                if path.name.startswith(".") or path.stat().st_mtime < limit:
                    _remove(path)
        self._present = whole_shards(self.folder)
        self.index.forget(over, self.index.shards() - self._present)


def can_go_on(run: Path) -> bool:
    """Say whether a run may still need its images: it is there, and has left no model yet.

    False too where the folder has gone.
    """
    return run.is_dir() and not RunFolder(run).bundle.is_dir()


def _remove(path: Path) -> None:
    """Remove a file or folder of the store."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def _lock(folder: Path, run: RunContext) -> Iterator[None]:
    """Wait until no other process fills the store, and keep others from it meanwhile."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        while not lock.is_locked:
            run.check()
            try:
                lock.acquire(timeout=WAIT_S)
            except Timeout:
                run.report(Progress(0, None, "Waiting for another run that decodes images"))
    except OSError as error:
        raise save_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()
