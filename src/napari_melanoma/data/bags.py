"""Embeddings and attention of a slide's tiles as a bag for multiple-instance learning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.prediction_config import EncoderConfig, TileConfig
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.io.slide_spec import DONE, WAITING
from napari_melanoma.io.slide_store import CHUNK, SlideResult, file_errors_translated

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILES_PER_CHUNK = 8192  # tiles read at once: 32 MB of 1024 features
MAX_CHUNKS = 64  # chunks of the store that one sample is drawn from, about a megabyte each
ATTENTION = "attention"


@dataclass(frozen=True)
class BagKind:
    """What comparable embeddings share: the encoder, and the scale and size of its tiles."""

    encoder: EncoderConfig
    tile: TileConfig


class Bag:
    """The embeddings of the tiles of one slide.

    ``mpp``: micrometers per pixel, down and across, at which the encoder read the tiles of this slide.
    """

    def __init__(self, folder: Path, result: SlideResult, kind: BagKind, mpp: tuple[float, float] | None) -> None:
        self.folder = folder
        self.kind = kind
        self.mpp = mpp
        self._result = result
        self.grid_positions = result.order
        self._is_done = result.state[self.grid_positions[:, 0], self.grid_positions[:, 1]] == DONE

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the bag of a slide; no embedding is read."""
        result = SlideResult.open(folder)
        if result.spec.kind != "embedding":
            raise InputError(
                f"{folder} contains {result.spec.kind} results, expected embeddings of tiles. Analyze the slide with "
                "an encoder into another folder: napari-melanoma slide SLIDE --out DIR --model ENCODER."
            )
        content = read_slide_result(folder)
        found = cls(folder, result, _read_kind(result, content), _read_mpp(content))
        waiting = int((result.state == WAITING).sum())
        if waiting or not content:
            raise InputError(
                f"{folder} is not finished: {waiting} of {len(found.grid_positions)} tiles are not done. Run the same "
                "analysis again to continue it."
            )
        if not len(found):
            raise InputError(f"{folder} has no readable tile. Analyze the slide again (command line: --force).")
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Reopen the bag in another process, such as one that reads ahead."""
        return type(self).open, (self.folder,)

    def __len__(self) -> int:
        """Count the tiles that have an embedding."""
        return int(self._is_done.sum())

    def iter_embeddings(self, size: int = TILES_PER_CHUNK) -> Iterator[NDArray[np.float32]]:
        """Read all embeddings in chunks.

        Yields float32 (tile, feature), never empty; tiles that could not be read are left out.
        """
        for first in range(0, len(self._is_done), size):
            known = self._is_done[first : first + size]
            if known.any():
                yield self._result.embedding(slice(first, first + size))[known].astype(np.float32)

    def sample_embeddings(self, count: int, seed: int) -> NDArray[np.float32]:
        """Read a random sample of the embeddings, without replacement.

        Of a large store some chunks are drawn first, so that a sample does not read all of it; each tile is equally
        likely. Returns float32 (tile, feature).
        """
        known = np.flatnonzero(self._is_done)
        if len(known) <= count:
            return np.concatenate(list(self.iter_embeddings()))
        length, draw = self._result.array("embedding").chunks[0], np.random.default_rng(seed)
        chunks = np.unique(known // length)
        if len(chunks) > MAX_CHUNKS:
            known = known[np.isin(known // length, draw.choice(chunks, MAX_CHUNKS, replace=False))]
        chosen = np.sort(draw.choice(known, min(count, len(known)), replace=False))
        parts = []
        for chunk in np.unique(chosen // length):
            within = chosen[chosen // length == chunk] - chunk * length
            parts.append(self._result.embedding(slice(chunk * length, (chunk + 1) * length))[within])
        return np.concatenate(parts).astype(np.float32)

    def fingerprint(self) -> str:
        """Return a value that changes with the slide, the encoder, the settings and the tiles.

        SHA-256, hexadecimal, of the store's settings, tile grid and first 256 embeddings: hashing all would take
        minutes for many slides.
        """
        found = hashlib.sha256(json.dumps(self._result.spec.model_dump(mode="json"), sort_keys=True).encode())
        found.update(self.grid_positions.tobytes())
        found.update(self._is_done.tobytes())
        found.update(next(self.iter_embeddings(256)).tobytes())
        return found.hexdigest()


def _read_mpp(content: dict[str, Any]) -> tuple[float, float] | None:
    """Micrometers per pixel of the tiles, down and across; None if unknown."""
    values = content.get("tile_mpp")
    return (float(values[0]), float(values[1])) if isinstance(values, list) and len(values) == 2 else None


def _read_kind(result: SlideResult, content: dict[str, Any]) -> BagKind:
    """Read from a store which embeddings it contains."""
    spec, model = result.spec, content.get("model") or {}
    settings, side = spec.settings, spec.tile_px
    stated = settings["tile_um"] / side if settings.get("tile_um") else settings.get("tile_mpp")
    mpp = float(stated or model.get("mpp") or np.mean(_read_mpp(content) or 1.0))
    encoder = EncoderConfig(
        name=str(settings.get("model")),
        fingerprint=str(settings.get("weights") or "unknown"),
        features=spec.features,
        licence=str((content.get("encoder") or content).get("licence") or "unknown"),
        stain=str((settings.get("stain") or {}).get("method", "none")),
    )
    return BagKind(encoder, TileConfig(mpp=mpp, side_px=side))


def write_attention(result: SlideResult, positions: NDArray[np.int32], weights: NDArray[np.floating]) -> None:
    """Write the weights of tiles as a grid, ``attention``: float32 (row, column), NaN where no tile has an embedding.

    ``positions``: int32 (tile, 2): row and column. ``weights``: float (tile,), adding up to 1.
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
    """Read the weights of tiles.

    Returns float32 (row, column); None if no model of whole slides was applied to these embeddings.
    """
    try:
        return np.asarray(result.array(ATTENTION)[:], np.float32)
    except (KeyError, OSError, ValueError):
        return None


def normalize_attention(attention: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale weights to [0, 1] for display: 1 for the tile with the greatest.

    ``attention``: float32 (row, column), NaN where there is none. Without it each of a hundred thousand tiles weighs a
    hundred-thousandth.
    """
    known = np.isfinite(attention)
    return attention / attention[known].max() if known.any() else attention
