"""List of the training and validation images of a model, as hashes, to detect a test on them.

``training_images.safetensors`` is part of a bundle. It contains no picture and no name: for each image the first 64
bits of SHA-256 of its upright 8-bit pixels, and for photographs also the 120-bit perceptual hash of
``data.duplicates``, which finds copies of another size or compression; for each patient or lesion an HMAC of 64 bits.
The key of the HMAC is that of the project (``privacy.pseudonyms``), which never leaves the computer: short patient ids
could otherwise be found by trying all of them. Patients are therefore recognized only if the key is the same; images
are recognized everywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_melanoma.core.context import Progress, RunContext, map_in_threads
from napari_melanoma.core.errors import BundleError, MelanomaError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.data.duplicates import (
    BANDS,
    compute_hashes,
    find_close_pairs,
    has_texture,
    load_hash_thumbnails,
    make_hash_thumbnail,
)
from napari_melanoma.privacy.pseudonyms import key_id, keyed_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample

FILE_NAME = "training_images.safetensors"
FORMAT = "1"
PUBLIC = "public"  # key id of published data sets, whose patient ids are public
PIXELS_KEY, HASHES_KEY, GROUPS_PREFIX = "pixels", "looks", "groups/"
MAX_HASH_DISTANCE = (
    9  # of 3.9 million pairs of photographs 9 are as close, all copies; 98 % of re-encoded or resized copies are
)
MIN_SHARED_TILES = 0.5  # share of listed tiles that identifies a slide: bare glass is the same everywhere
OLD_UNLISTED = re.compile(  # entry of lists written before 2026-11-23
    r"synthetic tiles of (\S+) as the version drew them that it was trained with; listed are today's"
)
MAX_BYTES = 200_000_000  # eight million photographs


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """Hashes of the images that a model was trained and validated on, including those of the models it started from.

    ``pixels``: uint64 (image,), ascending. ``perceptual_hashes``: uint8 (image, 15), of photographs with texture only.
    """

    pixels: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    perceptual_hashes: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, BANDS), np.uint8))
    groups: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)
    unlisted: tuple[str, ...] = ()
    note: str = ""

    def __or__(self, other: TrainingImages) -> TrainingImages:
        """Merge two lists."""
        none = np.zeros(0, np.uint64)
        return TrainingImages(
            np.union1d(self.pixels, other.pixels),
            np.unique(np.concatenate((self.perceptual_hashes, other.perceptual_hashes)), axis=0),
            {
                key: np.union1d(self.groups.get(key, none), other.groups.get(key, none))
                for key in sorted(self.groups.keys() | other.groups.keys())
            },
            tuple(dict.fromkeys((*self.unlisted, *other.unlisted))),
            " ".join(dict.fromkeys(filter(None, (self.note, other.note)))),
        )

    @property
    def counts(self) -> dict[str, int]:
        """Number of images, and of patients or lesions with an id."""
        return {"images": len(self.pixels), "patients": sum(map(len, self.groups.values()))}

    def write(self, path: Path) -> None:
        """Write the list, atomically."""
        from safetensors.numpy import save

        arrays: dict[str, NDArray[Any]] = {
            PIXELS_KEY: self.pixels,
            HASHES_KEY: np.ascontiguousarray(self.perceptual_hashes),
        }
        arrays |= {GROUPS_PREFIX + key: values for key, values in self.groups.items()}
        about = {"format": FORMAT, "unlisted": json.dumps(self.unlisted), "note": self.note}
        content = save(arrays, about)
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a list."""
        from safetensors import SafetensorError, safe_open

        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
            with safe_open(path, "np") as file:
                about = file.metadata() or {}
                if about.get("format") != FORMAT:
                    raise ValueError(f"expected format {FORMAT}, found {about.get('format')}")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - file is not a mapping
            unlisted = parse_json(about.get("unlisted", "[]"), path.name)
            return cls(
                _check_digests(arrays.pop(PIXELS_KEY)),
                _check_hashes(arrays.pop(HASHES_KEY)),
                {name.removeprefix(GROUPS_PREFIX): _check_digests(values) for name, values in arrays.items()},
                tuple(OLD_UNLISTED.sub(r"synthetic tiles of an earlier version of \1", str(one)) for one in unlisted),
                about.get("note", ""),
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleError(
                f"cannot read {path}, the list of training images: {error}. Download or copy the bundle again."
            ) from error


DigestFunction = Callable[[Path], int | None]


def hash_pixels(rgb: NDArray[np.uint8]) -> str:
    """Hash decoded pixels, independent of the file format.

    ``rgb``: uint8 (row, column, channel), upright.
    """
    digest = hashlib.sha256(repr(rgb.shape).encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def shorten_digest(digest: str) -> int:
    """Return 64 bits of a digest: of 400,000 images two agree by chance once in 200 million lists."""
    return int(digest[:16], 16)


def hash_image_file(path: Path) -> int | None:
    """Read an image and hash its pixels; None if it cannot be read, which the analysis reports."""
    from napari_melanoma.io.photographs import read_photograph

    try:
        return shorten_digest(hash_pixels(read_photograph(path).rgb))
    except (MelanomaError, OSError):
        return None


@dataclass(frozen=True, eq=False)
class HashedImages:
    """Images to compare with lists: 0 if unreadable; ``has_texture`` marks perceptual hashes that can be compared."""

    samples: Sequence[Sample]
    pixels: NDArray[np.uint64]
    perceptual_hashes: NDArray[np.uint8]
    has_texture: NDArray[np.bool_]


def hash_images(
    samples: Sequence[Sample],
    run: RunContext,
    *,
    digest: DigestFunction = hash_image_file,
    known_digests: Mapping[Path, int] | None = None,
    perceptual: bool = True,
) -> HashedImages:
    """Hash images in threads, in the order of the samples."""
    known = known_digests or {}
    pixels = np.zeros(len(samples), np.uint64)
    paths = [sample.image for sample in samples]
    found = map_in_threads(lambda path: known[path] if path in known else digest(path), paths, run)
    for index, (_, value) in enumerate(found):
        pixels[index] = value or 0
        run.report(Progress(index + 1, len(samples), "Comparing with the training images"))
    photographs = np.array([perceptual and not sample.synthetic for sample in samples], bool)
    codes, textured = np.zeros((len(samples), BANDS), np.uint8), np.zeros(len(samples), bool)
    if photographs.any():
        chosen = np.flatnonzero(photographs)
        thumbnails = load_hash_thumbnails([samples[index].image for index in chosen.tolist()], run)
        codes[chosen], textured[chosen] = compute_hashes(thumbnails), has_texture(thumbnails)
    return HashedImages(samples, pixels, codes, textured)


def hash_photograph(rgb: NDArray[np.uint8]) -> HashedImages:
    """Hash one photograph in memory.

    ``rgb``: uint8 (row, column, channel=3), upright. The result has no sample; use it with ``find_trained_images``.
    """
    thumbnails = make_hash_thumbnail(rgb)[None]
    pixels = np.array([shorten_digest(hash_pixels(rgb))], np.uint64)
    return HashedImages((), pixels, compute_hashes(thumbnails), has_texture(thumbnails))


def make_training_images(hashed: HashedImages, *, key: str | None = None) -> TrainingImages:
    """Make the list of training images; patients and lesions are included if the table names them."""
    named = _list_named_groups(hashed.samples)
    groups = np.unique(np.array([_hash_group(group, key) for group in named], np.uint64))
    hashes = np.unique(hashed.perceptual_hashes[hashed.has_texture], axis=0)
    named_groups = {key or key_id(): groups} if named else {}
    return TrainingImages(np.unique(hashed.pixels[hashed.pixels > 0]), hashes, named_groups)


def find_trained_images(hashed: HashedImages, listed: TrainingImages, *, tiles: bool = False) -> NDArray[np.bool_]:
    """Find the images that a model was trained on: bool (image,)."""
    same = np.isin(hashed.pixels, listed.pixels) & (hashed.pixels > 0)
    if tiles:
        return same & _are_of_training_slides(hashed, same)
    chosen = np.flatnonzero(hashed.has_texture & ~same)
    if len(chosen) and len(listed.perceptual_hashes):
        codes = np.concatenate((listed.perceptual_hashes, hashed.perceptual_hashes[chosen]))
        part = np.repeat([0, 1], [len(listed.perceptual_hashes), len(chosen)])
        for pairs in find_close_pairs(codes, MAX_HASH_DISTANCE, part=part):
            same[chosen[pairs[:, 1] - len(listed.perceptual_hashes)]] = True
    return same


def find_trained_groups(samples: Sequence[Sample], listed: TrainingImages) -> NDArray[np.bool_]:
    """Find the images of patients or lesions that a model was trained on.

    Returns bool (image,); False if the list was made with another project's key.
    """
    keys: dict[str, str | None] = {PUBLIC: PUBLIC} if PUBLIC in listed.groups else {}
    own = key_id(make=False)
    if own in listed.groups:
        keys[own] = None
    known = set()
    for group in _list_named_groups(samples):
        if any(np.isin(np.uint64(_hash_group(group, key)), listed.groups[name]) for name, key in keys.items()):
            known.add(group)
    return np.array([sample.group in known for sample in samples], bool)


def _are_of_training_slides(hashed: HashedImages, same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark tiles of slides of which at least half of the distinct tiles are listed."""
    _, groups = np.unique([sample.group for sample in hashed.samples], return_inverse=True)
    different = np.unique(np.stack((groups.astype(np.uint64), hashed.pixels), axis=1), axis=0, return_index=True)[1]
    listed = np.bincount(groups[different], weights=same[different], minlength=groups.max(initial=-1) + 1)
    return (listed >= MIN_SHARED_TILES * np.bincount(groups[different]))[groups]


def _list_named_groups(samples: Iterable[Sample]) -> list[str]:
    """List the patients or lesions that the tables name; other images are identified by their pixels."""
    return sorted({one.group for one in samples if one.group != one.full_name})


def _hash_group(group: str, key: str | None) -> int:
    """64-bit hash of a patient or lesion of a data set."""
    if key == PUBLIC:
        text = f"{PUBLIC}\n{group}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hmac.digest(PUBLIC.encode(), text, hashlib.sha256)[:8], "big")
    return int.from_bytes(keyed_digest(f"training group\n{group}")[:8], "big")


def _check_digests(values: NDArray[Any]) -> NDArray[np.uint64]:
    if values.dtype != np.uint64 or values.ndim != 1:
        raise ValueError(f"expected one row of uint64, found {values.dtype} {values.shape}")
    return np.unique(values)


def _check_hashes(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype != np.uint8 or values.ndim != 2 or values.shape[1] != BANDS:
        raise ValueError(f"expected uint8 (image, {BANDS}), found {values.dtype} {values.shape}")
    return values
