"""A coarse map of blocks whose features are not known yet, which takes a twentieth of the time of their features.

The features are color and texture at a fourth of the resolution, for any source of the full features. Their classifier
is fitted on the slide itself, on the classes that the classifier of the full features predicts in the nearest known
blocks. A coarse map is shown until the features are known, and is neither measured nor stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CELL_UM, MARGIN_CELLS, CellGrid
from napari_melanoma.slides.tissue_classifier.feature_sources import add_context, measure_texture
from napari_melanoma.slides.tissue_classifier.feature_store import BlockCache, SlideFeatures
from napari_melanoma.slides.tissue_classifier.fitting import SCANNED, CellClassifier, TrainingCells, fit_classifier

COARSE_MPP = 4.0
CELL_PX = round(CELL_UM / COARSE_MPP)
SCALES = 1  # of the texture: further ones hardly change the map
READ_BLOCKS = 4  # along each side of what is read at once
CACHE_BYTES = 32 * 2**20
LEARNED_BLOCKS, LEARNED_CELLS = 16, 1000  # that a classifier is fitted on, at most
STRENGTH = 0.1  # see ``TrainingCells``: more hardly changes the map, and takes longer


class CoarseFeatures:
    """Color and texture of the cells of an open slide, in memory; safe to use from several threads."""

    def __init__(self, slide: Slide, grid: CellGrid) -> None:
        self._slide, self._grid, self._cache = slide, grid, BlockCache(CACHE_BYTES)

    def read(
        self, blocks: NDArray[np.int32], run: RunContext
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float16]]]:
        """Yield blocks, int32 (2,), with their features, float16 (cell row, cell column, feature).

        ``blocks``: int32 (block, 2); neighbors are read at once, in the order of the first of them. Those that cannot
        be read are left out.
        """
        waiting = dict.fromkeys((row // READ_BLOCKS, column // READ_BLOCKS) for row, column in blocks.tolist())
        for part in waiting:
            run.check()
            members = blocks[(blocks // READ_BLOCKS == part).all(axis=1)]
            known = {tuple(block): self._cache.get(self._slide.info.path, tuple(block)) for block in members.tolist()}
            if missing := [block for block, values in known.items() if values is None]:
                known |= self._compute(np.array(missing, np.int32))
            yield from ((block, values) for block in members if (values := known[tuple(block.tolist())]) is not None)

    def _compute(self, blocks: NDArray[np.int32]) -> dict[tuple[int, int], NDArray[np.float16]]:
        """Compute the features of adjacent blocks from one image; empty if it cannot be read."""
        first = blocks.min(axis=0)
        rows, columns = ((blocks.max(axis=0) + 1 - first) * BLOCK_CELLS + 2 * MARGIN_CELLS).tolist()
        place = self._grid.placement
        top, left = place.to_slide(first * BLOCK_CELLS - MARGIN_CELLS).tolist()
        box = Box(round(top), round(left), round(rows * place.step_y), round(columns * place.step_x))
        try:
            rgb = self._slide.read_box(box, rows * CELL_PX, columns * CELL_PX)
        except (OSError, MelanomaError):
            return {}  # the computation of the full features states why
        measures, computed = measure_texture(rgb, CELL_PX, SCALES), {}
        side = BLOCK_CELLS + 2 * MARGIN_CELLS
        for block in blocks:
            y, x = ((block - first) * BLOCK_CELLS).tolist()
            key = int(block[0]), int(block[1])
            computed[key] = add_context(measures[y : y + side, x : x + side])
            self._cache.add(self._slide.info.path, key, computed[key])
        return computed


@dataclass(frozen=True, eq=False)
class CoarseClassifier:
    """Predicts the classes of another classifier from coarse features.

    ``classes``: those of the other classifier. ``shares``: of the classes in the blocks that this one was fitted on.
    """

    features: CoarseFeatures
    classifier: CellClassifier
    classes: tuple[str, ...]
    shares: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        coarse: CoarseFeatures,
        features: SlideFeatures,
        classifier: CellClassifier,
        center: ArrayLike,
        run: RunContext,
    ) -> Self | None:
        """Fit a classifier on the predictions of ``classifier`` in the known blocks that are nearest to a cell.

        ``features``: those of ``classifier``. ``center``: the cell, (2,). Returns None if there is one class only.
        """
        blocks = features.grid.blocks_by_distance(features.known_blocks, center)[:LEARNED_BLOCKS]
        values, labels = list[NDArray[np.float16]](), [np.empty(0, np.intp)]
        for block, read in coarse.read(blocks, run):
            known, box = features.read_block(block), features.grid.cells_of(block)
            if known is not None:
                inside = known[: box.height, : box.width]
                labels.append(classifier.predict(inside.reshape(-1, inside.shape[-1])).argmax(axis=1))
                values.append(read[: box.height, : box.width].reshape(-1, read.shape[-1]))
        label = np.concatenate(labels)
        step = -(-len(label) // LEARNED_CELLS) | 1  # odd, so that no column of a block is left out
        label = label[::step]
        counts = np.bincount(label, minlength=len(classifier.classes))
        if np.count_nonzero(counts) < 2:
            return None
        number = np.arange(len(label))
        cells = TrainingCells(
            np.concatenate(values)[::step].astype(np.float32),
            label,
            number,
            np.zeros_like(number),
            classifier.classes,
            np.full(len(label), SCANNED, np.int8),
            STRENGTH,
        )
        # Fitted as if all classes were equally frequent
        return cls(coarse, fit_classifier(cells, "logistic"), classifier.classes, counts[counts > 0] / len(label))

    def predict(
        self, blocks: NDArray[np.int32], run: RunContext
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Yield blocks, int32 (2,), with their probabilities, float32 (cell row, cell column, class)."""
        index = [self.classes.index(name) for name in self.classifier.classes]
        for block, values in self.features.read(blocks, run):
            probability = np.zeros((*values.shape[:2], len(self.classes)), np.float32)
            likelihood = self.classifier.predict(values.reshape(-1, values.shape[-1])) * self.shares
            likelihood /= likelihood.sum(axis=1, keepdims=True)
            probability[..., index] = likelihood.reshape(*values.shape[:2], -1)
            yield block, probability
