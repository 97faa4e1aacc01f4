"""Kinds of tissue classifiers on tiles with a mask of the tumor: accuracy on other tiles, and the time of a fit.

Each tile is resized to 1 micrometer per pixel and divided into cells; those with at least 80 % or at most 20 % of tumor
have a class. For each tile, a classifier is fitted on the cells of some of the others. Reported are the balanced
accuracy and the area under the ROC curve (AUC), means over the tiles; and processor seconds for a fit on 50 strokes of
64 cells.

Example: ``python benchmarks/tissue_classifiers.py --data histology/ocdc --mpp 0.5``, a folder with ``images`` and
``masks``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CELL_UM, block_px, margin_px
from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
from napari_melanoma.slides.tissue_classifier.fitting import KINDS, ClassifierKind, TrainingCells, fit_classifier

TUMOR, OTHER = 0.8, 0.2  # share of tumor in a cell from which, and up to which, its class is known
MIN_CELLS = 3  # of a class in a tile
TRAINING_TILES = (1, 3, 9)
FITS = 5


def read_tiles(folder: Path, mpp: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return tiles as blocks with margins, uint8 (tile, row, column, channel), and the tumor share of their cells."""
    blocks, shares = [], []
    margin, side = margin_px(1.0), block_px(1.0)
    for image, mask in zip(sorted((folder / "images").iterdir()), sorted((folder / "masks").iterdir()), strict=True):
        with Image.open(image) as tile, Image.open(mask) as truth:
            size = [min(BLOCK_CELLS, round(length * mpp) // CELL_UM) * CELL_UM for length in tile.size]
            rgb = np.asarray(tile.convert("RGB").resize(size, Image.Resampling.BOX))
            tumor = np.asarray(truth.convert("L").resize(size, Image.Resampling.BOX)) / 255
        below, right = side - margin - rgb.shape[0], side - margin - rgb.shape[1]
        blocks.append(np.pad(rgb, ((margin, below), (margin, right), (0, 0)), mode="reflect"))
        rows, columns = tumor.shape[0] // CELL_UM, tumor.shape[1] // CELL_UM
        shares.append(tumor.reshape(rows, CELL_UM, columns, CELL_UM).mean(axis=(1, 3)))
    return np.stack(blocks), shares


def gather(features: np.ndarray, shares: list[np.ndarray]) -> TrainingCells:
    """Return the cells of known class; a stroke is all cells of a class in a tile, a slide is a tile."""
    values, labels, strokes, tiles = [], [], [], []
    for number, share in enumerate(shares):
        of_tile = features[number, : share.shape[0], : share.shape[1]]
        for label, chosen in enumerate((share <= OTHER, share >= TUMOR)):
            if chosen.sum() >= MIN_CELLS:
                values.append(of_tile[chosen])
                labels += [label] * int(chosen.sum())
                strokes += [len(values) - 1] * int(chosen.sum())
                tiles += [number] * int(chosen.sum())
    return TrainingCells(
        np.concatenate(values).astype(np.float32),
        np.array(labels),
        np.array(strokes),
        np.array(tiles),
        ("other", "tumor"),
    )


def measure(cells: TrainingCells, kind: ClassifierKind, count: int) -> tuple[float, float]:
    """Return balanced accuracy and AUC on each tile, by a classifier fitted on ``count`` others; means over tiles."""
    random, accuracies, areas = np.random.default_rng(0), [], []
    for tile in np.unique(cells.slide):
        others = random.permutation(np.setdiff1d(cells.slide, [tile]))
        trained, tested = np.isin(cells.slide, others[:count]), cells.slide == tile
        if len(np.unique(cells.labels[trained])) < 2 or len(np.unique(cells.labels[tested])) < 2:
            continue
        classifier, truth = fit_classifier(cells.select(trained), kind), cells.labels[tested]
        score = classifier.predict(cells.features[tested])[:, 1]
        accuracies.append(np.mean([(score[truth == 1] > 0.5).mean(), (score[truth == 0] <= 0.5).mean()]))
        areas.append(roc_auc_score(truth, score))
    return float(np.mean(accuracies)), float(np.mean(areas))


def time_fit(kind: ClassifierKind, features: int) -> float:
    """Return the median processor seconds of a fit on 50 strokes of 64 cells and five classes."""
    random, stroke = np.random.default_rng(0), np.repeat(np.arange(50), 64)
    values = random.normal(size=(5, features))[stroke % 5] / 2 + random.normal(size=(3200, features))
    cells = TrainingCells(values.astype(np.float32), stroke % 5, stroke, 0 * stroke, tuple("abcde"))
    fit_classifier(cells.thin(2), kind)  # imports
    seconds = []
    for _ in range(FITS):
        began = time.process_time()
        fit_classifier(cells, kind)
        seconds.append(time.process_time() - began)
    return float(np.median(seconds))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mpp", type=float, default=0.5, help="micrometers per pixel of the tiles")
    parser.add_argument("--sources", nargs="+", default=["imagenet", "texture", "imagenet+texture"])
    options = parser.parse_args()
    blocks, shares = read_tiles(options.data, options.mpp)
    for name in options.sources:
        cells = gather(open_feature_source(name).compute(blocks), shares)
        for kind in KINDS:
            results = [measure(cells, kind, count) for count in TRAINING_TILES]
            text = "; ".join(
                f"{count} tiles: accuracy {accuracy:.3f}, AUC {area:.3f}"
                for count, (accuracy, area) in zip(TRAINING_TILES, results, strict=True)
            )
            print(f"{name:<18} {kind:<13} {text}; fit {time_fit(kind, cells.features.shape[1]):.3f} s")


if __name__ == "__main__":
    main()
