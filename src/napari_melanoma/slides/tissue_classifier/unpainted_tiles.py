"""Tiles anywhere in the tissue of slides: on their unpainted cells, a network is compared with the painted classifier.

Their true class is unknown. But where the painted classifier of all strokes is certain, a network that predicts another
class has a different map. Strokes that were held back do not show it: both models were made without them there, but the
network that is used later has still not seen them, while the painted classifier has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.cell_tiles import TILE_CELLS, read_tile
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, list_cells
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile, TissueClassifier
from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.strokes import PaintedCells

UNPAINTED, UNPAINTED_TABLE = "unpainted", "unpainted.csv"  # folder of the tiles, and table of their cells
TILES = 48  # of all slides: 3,000 cells, whose features take about 15 s if they are not known
SEED = 0


def write_unpainted_tiles(
    slides: Sequence[PaintedSlideFile], classifier: TissueClassifier, folder: Path, run: RunContext
) -> None:
    """Write tiles of slides with all their strokes, and the predictions of a classifier for their unpainted cells.

    Writes ``unpainted/*.png`` and ``unpainted.csv`` in ``folder``. Slides are named by their fingerprints, since names
    of files may identify patients.
    """
    (folder / UNPAINTED).mkdir(exist_ok=True)
    source, rows = open_feature_source(classifier.source), list[dict[str, object]]()
    for number, slide in enumerate(slides, start=1):
        with (
            open_slide(slide.path, slide.pixel_size) as opened,
            SlideFeatures.open(opened, source, slide.folder) as features,
        ):
            painted = PaintedCells.of_slide(slide.strokes, features.grid).cells
            corners = choose_tiles(features.tissue_blocks, -(-TILES // len(slides)))
            for tile, corner in run.track(list(enumerate(corners, start=1)), "Cutting tiles between strokes"):
                path = folder / UNPAINTED / f"slide-{number:02}-{tile:02}.png"
                rows += _write_tile(path, corner, features, painted, classifier, run)
    write_table(folder / UNPAINTED_TABLE, rows)


def choose_tiles(blocks: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Choose tiles at random in blocks of cells (block, 2); return the first cell of each, int32 (tile, 2)."""
    parts = BLOCK_CELLS // TILE_CELLS
    tiles = (parts * blocks[:, None] + list_cells(Box(0, 0, parts, parts))).reshape(-1, 2)
    return (TILE_CELLS * np.random.default_rng(SEED).permutation(tiles)[:count]).astype(np.int32)


def _write_tile(
    path: Path,
    corner: NDArray[np.int32],
    features: SlideFeatures,
    painted: NDArray[np.int32],
    classifier: TissueClassifier,
    run: RunContext,
) -> Iterator[dict[str, object]]:
    """Write a tile, and yield a row for each of its cells with features that is not painted."""
    grid, (top, left) = features.grid, corner.tolist()
    cells = list_cells(Box(top, left, TILE_CELLS, TILE_CELLS))
    is_painted = (cells[:, None] == painted).all(axis=2).any(axis=1)
    cells = cells[grid.contains(cells) & ~is_painted]
    features.compute(grid.blocks_of(cells), run)
    values = features.read(cells)
    is_known = np.isfinite(values).all(axis=1)
    pixels = read_tile(features.slide, grid, corner)
    if pixels is None or not is_known.any():
        return
    write_rgb(path, pixels)
    cells, probability = cells[is_known], classifier.predict(values[is_known])
    centers = grid.center_of(cells).round().astype(int).tolist()
    for cell, center, one in zip((cells - corner).tolist(), centers, probability, strict=True):
        yield {
            "image_id": path.stem,
            "fingerprint": features.slide.info.fingerprint,
            "row": cell[0],
            "column": cell[1],
            "center_row_px": center[0],
            "center_column_px": center[1],
            "painted": classifier.classes[int(one.argmax())],
            "probability": float(one.max()),
        }
