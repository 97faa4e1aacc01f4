"""Bags for multiple-instance learning: the embeddings of a slide's tiles, and the attention weights of a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.prediction_config import EncoderConfig, TileConfig
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.io.slide_store import CHUNK, DONE, WAITING, SlideResult, effective_setting, file_errors_translated

TILES_PER_CHUNK = 8192  # tiles read at once: 32 MB of 1024 features
MAX_CHUNKS = 64  # chunks of the store, about 1 MB each, from which a sample is drawn
ATTENTION = "attention"
PREPROCESSING_SETTINGS = ("predictions", "stain", "stain_reference", "apply_profile")


@dataclass(frozen=True)
class BagKind:
    """The encoder and its tiles (scale and size); only embeddings of the same kind can be compared."""

    encoder: EncoderConfig
    tile: TileConfig


class Bag:
    """The embeddings of the tiles of one slide.

    ``grid_positions``: int32 (tile, 2), row and column of each tile in the grid, in the order of the store.
    ``mpp``: micrometers per pixel (vertical, horizontal) at which the encoder read the tiles; None if unknown.
    """

    def __init__(self, folder: Path, result: SlideResult, kind: BagKind, mpp: tuple[float, float] | None) -> None:
        self.folder = folder
        self.kind = kind
        self.mpp = mpp
        self._result = result
        self.slide_fingerprint = result.spec.fingerprint
        self.grid_positions = result.order
        self._is_done = result.state[self.grid_positions[:, 0], self.grid_positions[:, 1]] == DONE

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the bag of a slide without reading its embeddings."""
        result = SlideResult.open(folder)
        if result.spec.kind != "embedding":
            raise InputError(
                f"{folder} contains {result.spec.kind} results, expected embeddings of tiles. Analyze the slide with "
                "an encoder into another folder: napari-melanoma slide SLIDE --out DIR --model ENCODER."
            )
        metadata = read_slide_result(folder)
        bag = cls(folder, result, _read_kind(result, metadata), _read_mpp(metadata))
        waiting = int((result.state == WAITING).sum())
        if waiting or not metadata:
            raise InputError(
                f"{folder} is not finished: {waiting} of {len(bag.grid_positions)} tiles are not done. Run the same "
                "analysis again to continue it."
            )
        if not len(bag):
            raise InputError(f"{folder} has no readable tile. Analyze the slide again (command line: --force).")
        return bag

    def __reduce__(self) -> tuple[Any, ...]:
        """Reopen the bag in another process, such as a worker of a data loader."""
        return type(self).open, (self.folder,)

    def __len__(self) -> int:
        """Count the tiles that have an embedding."""
        return int(self._is_done.sum())

    def iter_embeddings(self, size: int = TILES_PER_CHUNK) -> Iterator[NDArray[np.float32]]:
        """Read all embeddings in chunks.

        Yields float32 (tile, feature), never empty; tiles that could not be read are left out.
        """
        for first in range(0, len(self._is_done), size):
            is_done = self._is_done[first : first + size]
            if is_done.any():
                yield self._result.embedding(slice(first, first + size))[is_done].astype(np.float32)

    def sample_embeddings(self, count: int, seed: int) -> NDArray[np.float32]:
        """Read a random sample of the embeddings, without replacement.

        Of a large store, only ``MAX_CHUNKS`` randomly selected chunks are read. Returns float32 (tile, feature), at
        most ``count`` tiles.
        """
        done = np.flatnonzero(self._is_done)
        if len(done) <= count:
            return np.concatenate(list(self.iter_embeddings()))
        chunk_length, rng = self._result.array("embedding").chunks[0], np.random.default_rng(seed)
        chunks = np.unique(done // chunk_length)
        if len(chunks) > MAX_CHUNKS:
            done = done[np.isin(done // chunk_length, rng.choice(chunks, MAX_CHUNKS, replace=False))]
        sampled = np.sort(rng.choice(done, min(count, len(done)), replace=False))
        samples = []
        for chunk in np.unique(sampled // chunk_length):
            within = sampled[sampled // chunk_length == chunk] - chunk * chunk_length
            samples.append(self._result.embedding(slice(chunk * chunk_length, (chunk + 1) * chunk_length))[within])
        return np.concatenate(samples).astype(np.float32)

    def fingerprint(self) -> str:
        """Return a value that changes with the slide, the encoder, the settings and the tiles.

        It is the hexadecimal SHA-256 of the store's settings, its tile grid and the embeddings of the first 256 tiles;
        hashing all embeddings of many slides would take minutes.
        """
        spec = self._result.spec.model_dump(mode="json", exclude={"boxes"})  # which stores of earlier versions lack
        digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
        digest.update(self.grid_positions.tobytes())
        digest.update(self._is_done.tobytes())
        digest.update(next(self.iter_embeddings(256)).tobytes())
        return digest.hexdigest()


def hash_preprocessing(settings: Mapping[str, Any]) -> str:
    """Return a hash of how tiles become the input of an encoder, apart from their scale and size.

    ``settings``: of a store, as of ``analysis_settings``.
    """
    values = {name: effective_setting(settings.get(name)) or None for name in PREPROCESSING_SETTINGS}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _read_mpp(metadata: dict[str, Any]) -> tuple[float, float] | None:
    """Return micrometers per pixel of the tiles (vertical, horizontal); None if unknown."""
    values = metadata.get("tile_mpp")
    return (float(values[0]), float(values[1])) if isinstance(values, list) and len(values) == 2 else None


def _read_kind(result: SlideResult, metadata: dict[str, Any]) -> BagKind:
    """Read the encoder and the tile size from the settings of a store."""
    spec, model = result.spec, metadata.get("model") or {}
    settings, side = spec.settings, spec.tile_px
    requested_mpp = settings["tile_um"] / side if settings.get("tile_um") else settings.get("tile_mpp")
    mpp = float(requested_mpp or model.get("mpp") or np.mean(_read_mpp(metadata) or 1.0))
    encoder = EncoderConfig(
        name=str(settings.get("model")),
        fingerprint=str(settings.get("weights") or "unknown"),
        features=spec.features,
        licence=str((metadata.get("encoder") or metadata).get("licence") or "unknown"),
        stain=str((settings.get("stain") or {}).get("method", "none")),
        preprocessing=hash_preprocessing(settings),
    )
    return BagKind(encoder, TileConfig(mpp=mpp, side_px=side))


def write_attention(result: SlideResult, positions: NDArray[np.int32], weights: NDArray[np.floating]) -> None:
    """Write the attention weights of tiles to a store.

    ``positions``: int32 (tile, 2), row and column. ``weights``: float (tile,), adding up to 1. They are stored in the
    array ``attention``, float32 (row, column), NaN where there is no weight.
    """
    import zarr

    shape = (result.spec.rows, result.spec.columns)
    grid = np.full(shape, np.nan, np.float32)
    grid[positions[:, 0], positions[:, 1]] = weights
    with file_errors_translated(result.path):
        group = zarr.open_group(store=result.path, mode="r+")
        group.create_array(
            ATTENTION,
            shape=shape,
            chunks=(CHUNK, CHUNK),
            dtype="float32",
            fill_value=np.nan,
            overwrite=True,
            dimension_names=("row", "column"),
        )[:] = grid


def read_attention(result: SlideResult) -> NDArray[np.float32] | None:
    """Read the attention weights of tiles.

    Returns float32 (row, column); None if no whole-slide model was applied to these embeddings.
    """
    try:
        return np.asarray(result.array(ATTENTION)[:], np.float32)
    except (KeyError, OSError, ValueError):
        return None


def normalize_attention(attention: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale attention weights for display, so that the largest is 1.

    ``attention``: float32 (row, column), NaN where there is no weight. The weights add up to 1, so that each is tiny in
    a slide of many tiles.
    """
    is_weight = np.isfinite(attention)
    return attention / attention[is_weight].max() if is_weight.any() else attention
