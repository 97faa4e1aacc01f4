"""Lists of the images that a model was trained on, as hashes, which show whether a test image is among them.

A model bundle has such a list, ``training_images.safetensors``, without pictures and names. It contains

- for each training and validation image the first 64 bits of the SHA-256 of its upright 8-bit pixels;
- for photographs also the 120-bit perceptual hash of ``data.duplicates``, which finds resized and re-encoded copies;
- for each patient or lesion an HMAC of 64 bits, and another of its normalized id if this differs, as of 007 and 7.

The HMAC uses the key of the project (``privacy.pseudonyms``), which never leaves the computer, because short patient
ids could otherwise be found by trying all of them. So patients are recognized only with the same key, but images are
recognized everywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import Progress, RunContext, map_in_threads
from napari_melanoma.core.errors import BundleError, MelanomaError
from napari_melanoma.core.files import atomic_file, hash_file
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.duplicates import (
    BANDS,
    compute_hashes,
    find_close_pairs,
    has_texture,
    load_hash_thumbnails,
    make_hash_thumbnail,
)
from napari_melanoma.data.groups import normalize_patient
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.privacy.pseudonyms import key_id, keyed_digest

FILE_NAME = "training_images.safetensors"
TRAINING_IMAGES_KEY = "training_images"  # in the provenance of a bundle: summary and hash of the list
FORMAT = "1"
PUBLIC = "public"  # key id of published data sets, whose patient ids are public
PIXELS_KEY, HASHES_KEY, GROUPS_PREFIX = "pixels", "looks", "groups/"
NORMALIZED_SUFFIX = "/normalized"  # of the key of hashes of normalized ids
# Bits. Of 3.9 million pairs of photographs 9 are within this distance, all of them copies; of re-encoded or resized
# copies 98 % are.
MAX_HASH_DISTANCE = 9
MIN_SHARED_TILES = 0.5  # share of listed tiles that identifies a slide; tiles of bare glass are in many slides
MAX_BYTES = 200_000_000  # of a file; enough for eight million photographs


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """Hashes of the images that a model, and the models it started from, were trained and validated on.

    ``pixels``: uint64 (image,), ascending. ``perceptual_hashes``: uint8 (image, 15), of photographs with texture only.
    ``groups``: id of the key to the hashes of patients and lesions, uint64 (group,); with ``NORMALIZED_SUFFIX`` those
    of their normalized ids, where they differ. ``unlisted``: descriptions of training images that the list lacks.
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
        """Number of images, and of named patients or lesions."""
        patients = (values for key, values in self.groups.items() if not key.endswith(NORMALIZED_SUFFIX))
        return {"images": len(self.pixels), "patients": sum(map(len, patients))}

    def write(self, path: Path) -> None:
        """Write the list, atomically."""
        from safetensors.numpy import save

        arrays: dict[str, NDArray[Any]] = {
            PIXELS_KEY: self.pixels,
            HASHES_KEY: np.ascontiguousarray(self.perceptual_hashes),
        }
        arrays |= {GROUPS_PREFIX + key: values for key, values in self.groups.items()}
        metadata = {"format": FORMAT, "unlisted": json.dumps(self.unlisted), "note": self.note}
        content = _sort_metadata(save(arrays, metadata))
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)

    @classmethod
    def read(cls, path: Path) -> Self:
        from safetensors import SafetensorError, safe_open

        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
            with safe_open(path, "np") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ValueError(f"expected format {FORMAT}, found {metadata.get('format')}")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - file is not a mapping
            unlisted = parse_json(metadata.get("unlisted", "[]"), path.name)
            return cls(
                _check_digests(arrays.pop(PIXELS_KEY)),
                _check_hashes(arrays.pop(HASHES_KEY)),
                {name.removeprefix(GROUPS_PREFIX): _check_digests(values) for name, values in arrays.items()},
                tuple(map(str, unlisted)),
                metadata.get("note", ""),
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleError(
                f"cannot read {path}, the list of training images: {error}. Download or copy the bundle again."
            ) from error


def _sort_metadata(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, whose order is random, so that equal lists are equal files."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = parse_json(content[8:start], FILE_NAME)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


DigestFunction = Callable[[Path], int | None]  # hashes the pixels of a file; None if it cannot be read


def hash_pixels(rgb: NDArray[np.uint8]) -> str:
    """Return the hexadecimal SHA-256 of decoded pixels, independent of the file format.

    ``rgb``: uint8 (row, column, channel=3), upright.
    """
    digest = hashlib.sha256(repr(rgb.shape).encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def shorten_digest(digest: str) -> int:
    """Return the first 64 bits of a digest; two of 400,000 images agree by chance in one of 200 million lists."""
    return int(digest[:16], 16)


def hash_image_file(path: Path) -> int | None:
    """Read an image and hash its pixels; None if it cannot be read."""
    from napari_melanoma.io.photographs import read_photograph

    try:
        return shorten_digest(hash_pixels(read_photograph(path).rgb))
    except (MelanomaError, OSError):
        return None


@dataclass(frozen=True, eq=False)
class HashedImages:
    """Hashes of images, to be compared with lists of training images.

    ``pixels``: uint64 (image,), 0 if unreadable. ``perceptual_hashes``: uint8 (image, 15). ``has_texture``: bool
    (image,), whether the perceptual hash can be compared.
    """

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
    """Hash images in threads, in the order of the samples.

    ``known_digests``: digests of images that need not be read. ``perceptual``: whether photographs also get perceptual
    hashes.
    """
    digests_by_path = known_digests or {}
    pixels = np.zeros(len(samples), np.uint64)
    paths = [sample.image for sample in samples]
    digests = map_in_threads(
        lambda path: digests_by_path[path] if path in digests_by_path else digest(path), paths, run
    )
    for index, (_, value) in enumerate(digests):
        pixels[index] = value or 0
        run.report(Progress(index + 1, len(samples), "Comparing with the training images"))
    photographs = np.array([perceptual and not sample.synthetic for sample in samples], bool)
    codes, textured = np.zeros((len(samples), BANDS), np.uint8), np.zeros(len(samples), bool)
    if photographs.any():
        indices = np.flatnonzero(photographs)
        thumbnails = load_hash_thumbnails([samples[index].image for index in indices.tolist()], run)
        codes[indices], textured[indices] = compute_hashes(thumbnails), has_texture(thumbnails)
    return HashedImages(samples, pixels, codes, textured)


def hash_photograph(rgb: NDArray[np.uint8]) -> HashedImages:
    """Hash one photograph in memory.

    ``rgb``: uint8 (row, column, channel=3), upright. The result has no sample; use it with ``find_trained_images``.
    """
    thumbnails = make_hash_thumbnail(rgb)[None]
    pixels = np.array([shorten_digest(hash_pixels(rgb))], np.uint64)
    return HashedImages((), pixels, compute_hashes(thumbnails), has_texture(thumbnails))


def make_training_images(hashed: HashedImages, *, key: str | None = None) -> TrainingImages:
    """Make a list of training images, with the patients and lesions that the tables name.

    ``key``: ``PUBLIC`` for published data sets, None for the key of the project.
    """
    group_names = _list_named_groups(hashed.samples)
    normalized = sorted({*map(_normalize_group, group_names)} - {*group_names})
    hashes = np.unique(hashed.perceptual_hashes[hashed.has_texture], axis=0)
    hashes_by_key = {
        f"{key or key_id()}{suffix}": np.unique(np.array([_hash_group(name, key) for name in names], np.uint64))
        for suffix, names in (("", group_names), (NORMALIZED_SUFFIX, normalized))
        if names
    }
    return TrainingImages(np.unique(hashed.pixels[hashed.pixels > 0]), hashes, hashes_by_key)


def find_trained_images(hashed: HashedImages, listed: TrainingImages, *, tiles: bool = False) -> NDArray[np.bool_]:
    """Find the images that a model was trained on; with ``tiles``, the tiles of slides that it was trained on.

    Returns bool (image,).
    """
    is_trained = np.isin(hashed.pixels, listed.pixels) & (hashed.pixels > 0)
    if tiles:
        return is_trained & _mark_tiles_of_training_slides(hashed, is_trained)
    candidates = np.flatnonzero(hashed.has_texture & ~is_trained)
    if len(candidates) and len(listed.perceptual_hashes):
        codes = hashed.perceptual_hashes[candidates]
        for pairs in find_close_pairs(codes, listed.perceptual_hashes, MAX_HASH_DISTANCE):
            is_trained[candidates[pairs[:, 0]]] = True
    return is_trained


def find_trained_groups(samples: Sequence[Sample], listed: TrainingImages) -> NDArray[np.bool_]:
    """Find the images of patients or lesions that a model was trained on.

    Returns bool (image,); False for lists made with the key of another project.
    """
    keys: dict[str, str | None] = {PUBLIC: PUBLIC} if PUBLIC in listed.groups else {}
    own = key_id(make=False)
    if own in listed.groups:
        keys[own] = None
    groups, trained = _list_named_groups(samples), set[str]()
    for name, key in keys.items():
        found = (listed.groups.get(name + suffix) for suffix in ("", NORMALIZED_SUFFIX))
        hashes = {one for values in found if values is not None for one in values.tolist()}
        trained |= {
            group
            for group in groups
            if any(_hash_group(spelling, key) in hashes for spelling in {group, _normalize_group(group)})
        }
    return np.array([not trained.isdisjoint(sample.group_names) for sample in samples], bool)


def _mark_tiles_of_training_slides(hashed: HashedImages, is_listed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark all tiles of slides with at least half of their distinct tiles in the list; bool (tile,)."""
    _, groups = np.unique([sample.group for sample in hashed.samples], return_inverse=True)
    distinct = np.unique(np.stack((groups.astype(np.uint64), hashed.pixels), axis=1), axis=0, return_index=True)[1]
    listed = np.bincount(groups[distinct], weights=is_listed[distinct], minlength=groups.max(initial=-1) + 1)
    return (listed >= MIN_SHARED_TILES * np.bincount(groups[distinct]))[groups]


def _list_named_groups(samples: Iterable[Sample]) -> list[str]:
    """List the groups that are patients or lesions with a name, not single images."""
    return sorted({name for one in samples if one.group != one.full_name for name in one.group_names})


def _normalize_group(group: str) -> str:
    """Return the name of a patient or lesion with the id in the form that spreadsheets do not change."""
    domain, _, name = group.partition("/")
    return f"{domain}/{normalize_patient(name)}"


def _hash_group(group: str, key: str | None) -> int:
    """Return the 64-bit hash of a patient or lesion of a data set."""
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


def read_training_images(info: BundleInfo) -> TrainingImages | None:
    """Read the training and validation images of a model; None if the bundle, like older ones, does not list them."""
    statement = info.config.provenance.get(TRAINING_IMAGES_KEY)
    return (
        _read_verified(info.path / FILE_NAME, info.name, statement.get("sha256"))
        if isinstance(statement, dict)
        else None
    )


def was_trained_on(info: BundleInfo, rgb: NDArray[np.uint8]) -> bool:
    """Whether a model was trained or validated on a photograph, or on a resized or recompressed copy of it.

    ``rgb``: uint8 (row, column, channel=3), upright. Also False if the model has no readable list of its images.
    """
    statement = info.config.provenance.get(TRAINING_IMAGES_KEY)
    listed = (
        _cached_training_images(info.path, info.name, str(statement.get("sha256")))
        if isinstance(statement, dict)
        else None
    )
    return listed is not None and bool(find_trained_images(hash_photograph(rgb), listed).any())


@lru_cache(maxsize=8)
def _cached_training_images(folder: Path, name: str, sha256: str) -> TrainingImages | None:
    """Read the list of a bundle once; None if the file is missing, damaged or does not belong to the bundle."""
    try:
        return _read_verified(folder / FILE_NAME, name, sha256)
    except (BundleError, OSError):
        return None


def _read_verified(path: Path, name: str, sha256: object) -> TrainingImages:
    """Read the list of a bundle; raise an error if its SHA-256 is not the one in the bundle."""
    listed = TrainingImages.read(path)
    if sha256 != hash_file(path):
        raise BundleError(f"{path} does not match the bundle '{name}'. Download or copy the bundle again.")
    return listed


def training_images_statement(path: Path) -> dict[str, Any]:
    """Return the provenance entry of a list of training images; empty if the file does not exist."""
    if not path.is_file():
        return {}
    listed = TrainingImages.read(path)
    statement = {**listed.counts, "unlisted": list(listed.unlisted), "note": listed.note, "sha256": hash_file(path)}
    return {TRAINING_IMAGES_KEY: statement}
