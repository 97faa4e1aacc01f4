"""Images and masks decoded once into memory-mapped files, so that every epoch reads uint8 from disk and no JPEG."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.models.preprocessing import fit_input

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
KEEP_DAYS = 30


@dataclass(frozen=True)
class Cache:
    """Decoded images and masks in a folder; opened where they are used, so that handing it on copies no pixels."""

    folder: Path

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """The images, uint8 (image, row, column, channel), read-only."""
        return np.load(self.folder / "images.npy", mmap_mode="r")

    @cached_property
    def masks(self) -> NDArray[np.uint8]:
        """The masks, uint8 0 or 255 (image, row, column), read-only."""
        return np.load(self.folder / "masks.npy", mmap_mode="r")

    def __reduce__(self) -> tuple[type[Cache], tuple[Path]]:
        """Travel to another process as a path."""
        return Cache, (self.folder,)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def read(self, places: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Copy a batch out of the cache.

        Parameters
        ----------
        places : numpy.ndarray
            int64, in any order.

        Returns
        -------
        images, masks : numpy.ndarray
            uint8 (image, row, column, channel), and 0 or 255 (image, row, column).
        """
        return self.images[places], self.masks[places]


def build_cache(samples: Sequence[Sample], side: int, folder: Path, *, run: RunContext) -> Cache:
    """Decode samples into a memory-mapped cache, or open the one that is there for exactly these files.

    Parameters
    ----------
    samples : sequence of Sample
        Each with a mask.
    side : int
        Images are resized to this square, antialiased.
    folder : pathlib.Path
        Where caches are kept; this one gets a sub-folder named after its content. Caches that no run has used for 30
        days are removed from it.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    Cache
        Read-only arrays in the order of the samples.

    Raises
    ------
    UnreadableImage
        Where an image or mask cannot be decoded.
    SaveError
        Where the cache cannot be written.
    Cancelled
        Where the user stopped it; an unfinished cache is removed.
    """
    path = folder / _key(samples, side)
    if not path.is_dir():
        with atomic_folder(path) as temporary:
            _fill(temporary, samples, side, run)
    os.utime(path)
    _prune(folder)
    return Cache(path)


def _prune(folder: Path) -> None:
    """Remove caches that no run has used for a month: they hold people's photographs and fill the disk."""
    limit = time.time() - KEEP_DAYS * 86400
    for cache in folder.iterdir():
        if cache.is_dir() and cache.stat().st_mtime < limit:
            shutil.rmtree(cache, ignore_errors=True)


def _fill(folder: Path, samples: Sequence[Sample], side: int, run: RunContext) -> None:
    """Decode every sample into the two files of a new cache."""
    count = len(samples)
    create = np.lib.format.open_memmap
    images = create(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(count, side, side, 3))
    masks = create(folder / "masks.npy", mode="w+", dtype=np.uint8, shape=(count, side, side))
    for index, sample in enumerate(run.track(samples, "Decoding images")):
        images[index], masks[index] = _decode(sample, side)
    images.flush()
    masks.flush()


def _decode(sample: Sample, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read one image and its mask and resize both to the square."""
    from PIL import Image

    assert sample.mask is not None
    mask = Image.fromarray(read_mask(sample.mask).astype(np.uint8) * 255)
    resized = np.asarray(mask.resize((side, side), Image.Resampling.BILINEAR))
    return fit_input(read_photograph(sample.image).rgb, side), np.where(resized >= 128, 255, 0).astype(np.uint8)


def _key(samples: Sequence[Sample], side: int) -> str:
    """Name of the cache: changes with the files, their sizes and times, their order and the side."""
    digest = hashlib.sha256(f"{FORMAT} {side}".encode())
    for sample in samples:
        for path in (sample.image, sample.mask):
            assert path is not None
            status = path.stat()
            digest.update(f"\n{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:24]
