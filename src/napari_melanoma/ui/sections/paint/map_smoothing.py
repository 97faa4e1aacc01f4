"""Smooth the map of classes while its blocks are predicted, with the same result as in a slide analysis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
from napari_melanoma.slides.tissue_classifier.smoothing import gaussian_radius, smooth_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Part = tuple[Box, NDArray[np.float16]]  # box of cells, and probabilities (row, column, class)


class MapSmoother:
    """Smooths the predicted blocks of a slide; used by one thread at a time.

    ``sigma``: width of the Gaussian in cells.
    """

    def __init__(self, sigma: float) -> None:
        self._sigma, self._border = sigma, gaussian_radius(sigma)
        self._shape = 0, 0  # cells of the slide
        self._probability = np.empty((0, 0, 0), np.uint8)  # (class, row, column), times 255, as an analysis stores it
        self._predicted = np.zeros((0, 0), np.bool_)  # by block
        self._tissue: NDArray[np.bool_] | None = None  # by block; None until it is known

    def start(self, shape: tuple[int, int]) -> None:
        """Start, or continue, with the cells of a slide."""
        if self._shape != shape:
            self._shape = shape
            self._predicted = np.zeros(tuple(-(-side // BLOCK_CELLS) for side in shape), np.bool_)

    def set_tissue(self, blocks: NDArray[np.int32]) -> tuple[Box, ...]:
        """Let the other blocks have no influence, as in an analysis; return the boxes that must be smoothed again."""
        if self._tissue is not None:
            return ()
        self._tissue = np.zeros_like(self._predicted)
        self._tissue[tuple(blocks.T)] = True
        return tuple(self._box(*block) for block in np.argwhere(self._predicted).tolist())

    def add(self, parts: Iterable[Part], again: Sequence[Box] = ()) -> list[Part]:
        """Add predicted blocks; return these and their neighbors, smoothed. ``again``: other boxes to smooth."""
        changed = dict.fromkeys(again)
        for cells, probability in parts:
            if not self._probability.size:
                self._probability = np.zeros((probability.shape[-1], *self._shape), np.uint8)
            self._probability[:, *cells.slices] = np.rint(255 * np.moveaxis(probability.astype(np.float32), -1, 0))
            row, column = cells.top // BLOCK_CELLS, cells.left // BLOCK_CELLS
            self._predicted[row, column] = True
            first = max(0, row - 1), max(0, column - 1)
            near = np.argwhere(self._predicted[first[0] : row + 2, first[1] : column + 2]) + first
            changed |= dict.fromkeys(self._box(*block) for block in near.tolist())
        return [(box, self._smooth(box)) for box in changed]

    def _box(self, row: int, column: int) -> Box:
        top, left = row * BLOCK_CELLS, column * BLOCK_CELLS
        return Box(top, left, min(BLOCK_CELLS, self._shape[0] - top), min(BLOCK_CELLS, self._shape[1] - left))

    def _smooth(self, box: Box) -> NDArray[np.float16]:
        """Return the smoothed probabilities of a box, float16 (row, column, class), rounded as in an analysis."""
        top, left = max(0, box.top - self._border), max(0, box.left - self._border)
        rows = slice(top, box.top + box.height + self._border)
        columns = slice(left, box.left + box.width + self._border)
        values = self._probability[:, rows, columns].astype(np.float32) / 255
        known = values.any(axis=0) & self._has_influence(box, rows, columns)
        smoothed = smooth_map(np.where(known, values, np.nan), self._sigma)
        inside = smoothed[:, box.top - top :, box.left - left :][:, : box.height, : box.width]
        return np.moveaxis(np.round(255 * np.nan_to_num(inside)) / 255, 0, -1).astype(np.float16)

    def _has_influence(self, box: Box, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Return which cells of an area influence a box: those with tissue, or those without it."""
        if self._tissue is None:
            return np.ones((1, 1), np.bool_)
        height, width = self._shape
        cells = np.ix_(
            np.arange(rows.start, min(rows.stop, height)) // BLOCK_CELLS,
            np.arange(columns.start, min(columns.stop, width)) // BLOCK_CELLS,
        )
        own: NDArray[np.bool_] = self._tissue[cells] == self._tissue[box.top // BLOCK_CELLS, box.left // BLOCK_CELLS]
        return own
