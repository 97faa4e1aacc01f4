"""Hand-made color and texture features of cells at three scales, such as QuPath and ilastik compute for pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.imaging.stain import DEFAULT_STAINS

SCALES = 3  # of 1, 2 and 4 pixels
STAINS = 3  # hematoxylin, eosin, and what neither explains
COLORS = 6  # mean and standard deviation of red, green and blue
MEASURES = 8  # of each stain and scale, see ``_measure``
LENGTH = COLORS + SCALES * STAINS * MEASURES
ENTROPY_LEVELS, MAX_DENSITY = 8, 2.0  # of the histogram of a cell
_RESIDUAL = np.cross(*DEFAULT_STAINS)
_MATRIX = np.linalg.inv(
    np.array([np.array(stain) / np.linalg.norm(stain) for stain in (*DEFAULT_STAINS, _RESIDUAL)])
).astype(np.float32)
_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)  # optical density of a value
_KERNEL = np.array([1, 4, 6, 4, 1], np.float32) / 16


def measure_texture(rgb: NDArray[np.uint8], cell_px: int) -> NDArray[np.float32]:
    """Measure color and texture of each cell.

    ``rgb``: uint8 (row, column, channel=3), H&E. ``cell_px``: side of a cell in pixels; divides both sides, and is a
    multiple of 4. Returns float32 (cell row, cell column, feature), ``LENGTH`` features: mean and standard deviation of
    the colors, and for each scale and stain those of ``_measure``.
    """
    colors = np.moveaxis(rgb, -1, 0).astype(np.float32) / np.float32(255)
    features = [*_mean(colors, cell_px), *_deviation(colors, cell_px)]
    density = _DENSITY[rgb]
    stains = np.moveaxis(density @ _MATRIX, -1, 0)
    for scale in range(SCALES):
        stains = _smooth(stains)
        features += [values for stain in stains for values in _measure(stain, cell_px >> scale)]
        stains = stains[:, ::2, ::2]
    return np.stack(features, axis=-1)


def _measure(stain: NDArray[np.float32], cell_px: int) -> list[NDArray[np.float32]]:
    """Measure the amount of a stain, float32 (row, column), in each cell.

    Mean and standard deviation of the amount; mean and standard deviation of the gradient; mean absolute Laplacian and
    its standard deviation; coherence of the structure tensor, 0 to 1; entropy of the histogram in bits.
    """
    padded = np.pad(stain, 1, mode="edge")
    half = np.float32(0.5)
    down, right = half * (padded[2:, 1:-1] - padded[:-2, 1:-1]), half * (padded[1:-1, 2:] - padded[1:-1, :-2])
    around = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
    laplacian, gradient = around - 4 * stain, np.hypot(down, right)
    yy, xx, yx = (_mean(product, cell_px) for product in (down * down, right * right, down * right))
    coherence = np.hypot(yy - xx, 2 * yx) / (yy + xx + 1e-6)
    return [
        _mean(stain, cell_px),
        _deviation(stain, cell_px),
        _mean(gradient, cell_px),
        _deviation(gradient, cell_px),
        _mean(np.abs(laplacian), cell_px),
        _deviation(laplacian, cell_px),
        coherence,
        _entropy(stain, cell_px),
    ]


def _mean(values: NDArray[np.float32], cell_px: int) -> NDArray[np.float32]:
    """Average over cells, (..., row, column) to (..., cell row, cell column)."""
    rows, columns = values.shape[-2] // cell_px, values.shape[-1] // cell_px
    # Rows first, which is ten times faster than both at once
    strips = values.reshape(*values.shape[:-2], rows, cell_px, columns * cell_px).sum(axis=-2)
    sums: NDArray[np.float32] = strips.reshape(*strips.shape[:-1], columns, cell_px).sum(axis=-1)
    return sums / np.float32(cell_px**2)


def _deviation(values: NDArray[np.float32], cell_px: int) -> NDArray[np.float32]:
    """Return the standard deviation in each cell, of the shape of ``_mean``."""
    shifted = values - values.mean(axis=(-2, -1), keepdims=True)  # squares of small values are exact enough
    variance = _mean(np.square(shifted), cell_px) - np.square(_mean(shifted, cell_px))
    return np.sqrt(np.maximum(variance, 0))


def _entropy(stain: NDArray[np.float32], cell_px: int) -> NDArray[np.float32]:
    """Return the entropy of the histogram of each cell in bits, float32 (cell row, cell column)."""
    levels = np.clip(stain * (ENTROPY_LEVELS / MAX_DENSITY), 0, ENTROPY_LEVELS - 1).astype(np.intp)
    rows, columns = (side // cell_px for side in stain.shape)
    cells = (np.arange(stain.shape[0]) // cell_px * columns)[:, None] + np.arange(stain.shape[1]) // cell_px
    levels += ENTROPY_LEVELS * cells
    counts = np.bincount(levels.ravel(), minlength=rows * columns * ENTROPY_LEVELS).reshape(rows, columns, -1)
    shares = (counts / cell_px**2).astype(np.float32)
    entropy: NDArray[np.float32] = -(shares * np.log2(np.maximum(shares, np.float32(1e-9)))).sum(axis=-1)
    return entropy


def _smooth(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth planes (plane, row, column) with a binomial kernel of five pixels."""
    from scipy.ndimage import correlate1d

    rows = correlate1d(planes, _KERNEL, axis=1, mode="nearest")
    smoothed: NDArray[np.float32] = correlate1d(rows, _KERNEL, axis=2, mode="nearest")
    return smoothed
