"""Periodic textures of a look, made once: fibres, weave, grain and clouds, of which the ground of tissue is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.slide.looks import Texture, find_look
from napari_melanoma.data.phantom.streams import stream

Floats = NDArray[np.floating[Any]]
SIDE = 1024
# Micrometres a texture pixel of what is fine, and of what changes slowly.
FINE_UM, CLOUD_UM = 0.6, 5.0


@dataclass(frozen=True)
class Textures:
    """Periodic float32 (SIDE, SIDE), each of values that are evenly spread from 0 to 1.

    ``bundles`` and ``strands`` are fibres along the columns, thick and fine; ``weave`` the layers of keratin;
    ``grain`` fine and without direction; ``clouds`` changes slowly; ``patches`` slowly and elsewhere.
    """

    bundles: Floats
    strands: Floats
    weave: Floats
    grain: Floats
    clouds: Floats
    patches: Floats


def sample(texture: Floats, x: Floats, y: Floats, pixel_um: float) -> Floats:
    """Look a texture up.

    ``texture``: float32 (SIDE, SIDE). ``x``, ``y``: where, in micrometres along its columns and rows, of any shape.
    ``pixel_um``: size of its pixels. Returns float32 of that shape; the texture goes on for ever.
    """
    scale = np.float32(1 / pixel_um)
    column = np.floor(x * scale).astype(np.int32) & np.int32(SIDE - 1)
    row = np.floor(y * scale).astype(np.int32) & np.int32(SIDE - 1)
    return texture.ravel()[(row << np.int32(10)) | column]


def smooth_sample(texture: Floats, x: Floats, y: Floats, pixel_um: float) -> Floats:
    """Look a texture up, between its pixels too.

    ``texture``: float32 (SIDE, SIDE). ``x``, ``y``: where, in micrometres along its columns and rows, of any shape.
    ``pixel_um``: size of its pixels. Returns float32 of that shape, bilinear; the texture goes on for ever.
    """
    scale = np.float32(1 / pixel_um)
    across, down = (x * scale).astype(np.float32), (y * scale).astype(np.float32)
    column, row = np.floor(across), np.floor(down)
    across, down = across - column, down - row
    left, top = (
        column.astype(np.int32) & np.int32(SIDE - 1),
        (row.astype(np.int32) & np.int32(SIDE - 1)) << np.int32(10),
    )
    right, bottom = (left + np.int32(1)) & np.int32(SIDE - 1), (top + np.int32(SIDE)) & np.int32(SIDE * SIDE - 1)
    flat = texture.ravel()
    upper = flat[top | left] * (1 - across) + flat[top | right] * across
    lower = flat[bottom | left] * (1 - across) + flat[bottom | right] * across
    return upper * (1 - down) + lower * down


@lru_cache(maxsize=8)
def textures(look_name: str) -> Textures:
    """Make the textures of a look."""
    style = find_look(look_name).texture
    rng = stream(0, look_name, "textures")
    made = Textures(
        _fibres(rng, style, style.bundle, style.length),
        _fibres(rng, style, 0.3 * style.bundle, 0.45 * style.length),
        _fibres(rng, style, style.weave, 11 * style.weave),
        _even(_band(rng, 1.1 + 1.5 * style.grain, 1.1 + 1.5 * style.grain)),
        _even(_clouds(rng, 26)),
        _even(_swell(rng, 70)),
    )
    for texture in vars(made).values():
        texture.flags.writeable = False
    return made


def _frequencies() -> tuple[Floats, Floats]:
    """Waves per pixel along rows (row, 1) and columns (1, column)."""
    return np.fft.fftfreq(SIDE).astype(np.float32)[:, None], np.fft.rfftfreq(SIDE).astype(np.float32)[None]


def _band(rng: np.random.Generator, length: float, width: float) -> Floats:
    """Noise of a given grain along columns and rows, in pixels."""
    noise = np.fft.rfft2(rng.standard_normal((SIDE, SIDE), dtype=np.float32))
    rows, columns = _frequencies()
    square = (rows * width) ** 2 + (columns * length) ** 2
    return np.fft.irfft2(noise * square**0.25 * np.exp(-4 * square), (SIDE, SIDE))


def _clouds(rng: np.random.Generator, size: float) -> Floats:
    """Noise with detail at all scales below a size in pixels."""
    noise = np.fft.rfft2(rng.standard_normal((SIDE, SIDE), dtype=np.float32))
    rows, columns = _frequencies()
    return np.fft.irfft2(noise / (1 + (size * np.hypot(rows, columns)) ** 2.2), (SIDE, SIDE))


def _swell(rng: np.random.Generator, size: float) -> Floats:
    """Noise without detail below a size in pixels."""
    noise = np.fft.rfft2(rng.standard_normal((SIDE, SIDE), dtype=np.float32))
    rows, columns = _frequencies()
    return np.fft.irfft2(noise * np.exp(-((size * np.hypot(rows, columns)) ** 2)), (SIDE, SIDE))


def _even(values: Floats) -> Floats:
    """Spread values evenly from 0 to 1, by the quantiles of a part of them."""
    share = np.linspace(0, 1, 513)
    quantiles = np.quantile(values.ravel()[::37], share)
    return np.interp(values, quantiles, share).astype(np.float32)


def _fibres(rng: np.random.Generator, style: Texture, width_um: float, length_um: float) -> Floats:
    """Wavy fibres along the columns, two sets woven into each other."""
    wave = style.wave / FINE_UM * min(1.0, length_um / 60)
    rows, columns = np.indices((SIDE, SIDE))
    sets = []
    for _ in range(2):
        straight = _band(rng, length_um / FINE_UM, width_um / FINE_UM)
        shift = wave * _unit(_clouds(rng, 1.6 * length_um / FINE_UM))
        moved = np.round(rows + shift).astype(np.int64) % SIDE
        sets.append(_unit(straight[moved, columns]))
    over = _unit(_clouds(rng, length_um / FINE_UM))
    return _even(np.where(over > 0, sets[0] + 0.35 * np.abs(over), sets[1] + 0.35 * np.abs(over)))


def _unit(values: Floats) -> Floats:
    """Scale to mean 0 and standard deviation 1."""
    return (values - values.mean()) / values.std()
