"""Precision of the search for similar cells: how many of the ten most similar cells have the label of the query.

    python benchmarks/similar_cells.py DATA

DATA contains ``histology/ocdc`` (tumor masks) and ``histology/skin_wsi_atlas`` (labels by tile, ``labels.csv``). Each
query is a cell of a tile, and the cells of all other tiles of the set are searched:

* ``ocdc``: tumor and the rest, by cells with a share of tumor above 0.75 and below 0.25;
* ``skin``: the labels of each slide with two tiles or more; cells of glass in other tiles are left out;
* ``other slide``: tissues that both slides of skin have, searched on the slide that the query is not on.

Rows: source of the features and measure. Columns: mean over the labels of the precision at 10. Chance: a random cell.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tissue_features import (
    CANDIDATES,
    CELL_UM,
    GLASS,
    OF_SLIDE,
    TISSUES,
    Candidate,
    Tile,
    features_of,
    read_tiles,
    resize,
)

from napari_melanoma.slides.tissue_classifier.similar import FeatureScale

AT, QUERIES = 10, 6  # cells found, and queries of each label in each tile
SOURCES = {"imagenet": "imagenet 1.0 um", "texture": "texture", "imagenet+texture": "imagenet + texture"}


@dataclass(frozen=True)
class LabelledTile:
    """The features of a tile, (row, column, feature), and the label of each cell; empty where it is left out."""

    part: str
    features: NDArray[np.float32]
    labels: NDArray[np.str_]


def main() -> int:
    """Print a row for each source of features and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    tiles = read_tiles(parser.parse_args().data / "histology")
    sys.stdout.write("| features | measure | ocdc | skin | other slide |\n|---|---|---|---|---|\n")
    for source, name in SOURCES.items():
        sets = [label_tiles(tiles, CANDIDATES[name], kind) for kind in ("ocdc", "skin", "other slide")]
        for measure in ("cosine, standardized", "cosine"):
            figures = [precision(one, measure, other_part=number == 2) for number, one in enumerate(sets)]
            write_row(source, measure, [found for found, _ in figures])
    write_row("chance", "", [chance for _, chance in figures])
    return 0


def write_row(source: str, measure: str, figures: Sequence[float]) -> None:
    """Print a row of the table."""
    cells = " | ".join(f"{figure:.2f}" for figure in figures)
    sys.stdout.write(f"| {source} | {measure} | {cells} |\n")
    sys.stdout.flush()


def label_tiles(tiles: Sequence[Tile], candidate: Candidate, kind: str) -> list[LabelledTile]:
    """Compute the features of the tiles of a set, and label their cells."""
    labels = {tile.name: name_label(tile, kind) for tile in tiles}
    counts = Counter(labels.values())
    used = [tile for tile in tiles if labels[tile.name] and (kind != "skin" or counts[labels[tile.name]] > 1)]
    found = []
    for tile in used:
        features = features_of(tile, candidate)
        found.append(LabelledTile(tile.part, features, label_cells(tile, labels[tile.name], features.shape[:2])))
    return found


def name_label(tile: Tile, kind: str) -> str:
    """Return the label of a tile in a set; empty for tiles of other sets."""
    if kind == "ocdc" or tile.part == "ocdc":
        return "by mask" if kind == tile.part else ""
    if tile.part not in OF_SLIDE:
        return ""
    return f"{tile.part} {tile.label}" if kind == "skin" else TISSUES.get(tile.label, "")


def label_cells(tile: Tile, label: str, shape: tuple[int, ...]) -> NDArray[np.str_]:
    """Return the label of each cell."""
    if tile.mask is not None:
        image = Image.fromarray(tile.mask.astype(np.uint8) * 255)
        share = np.asarray(image.resize(shape[1::-1], Image.Resampling.BOX)) / 255
        return np.select([share > 0.75, share < 0.25], ["tumor", "other"], "")
    gray = resize(tile, 1.0).reshape(shape[0], CELL_UM, shape[1], CELL_UM, 3).mean(axis=(1, 3, 4))
    return np.where((gray < GLASS) | ("glass" in label), label, "")


def precision(tiles: Sequence[LabelledTile], measure: str, *, other_part: bool) -> tuple[float, float]:
    """Return the precision at 10, and that of random cells; both as the mean over the labels of the queries."""
    labels = [tile.labels[tile.labels != ""] for tile in tiles]
    features = [tile.features[tile.labels != ""] for tile in tiles]
    scale = FeatureScale.fit(np.concatenate(features))
    if measure == "cosine":
        scale = FeatureScale(np.zeros_like(scale.mean), np.ones_like(scale.spread))
    directions = [scale.directions(values) for values in features]
    hits: dict[str, list[float]] = {}
    chances: dict[str, list[float]] = {}
    random = np.random.default_rng(0)
    for number, tile in enumerate(tiles):
        others = [at for at, one in enumerate(tiles) if at != number and (not other_part or one.part != tile.part)]
        searched, names = (
            np.concatenate([directions[at] for at in others]),
            np.concatenate([labels[at] for at in others]),
        )
        for label in np.unique(labels[number]).tolist():
            if (names == label).sum() < AT:
                continue
            own = np.flatnonzero(labels[number] == label)
            for query in directions[number][random.permutation(own)[:QUERIES]]:
                found = names[np.argsort(-(searched @ query), kind="stable")[:AT]]
                hits.setdefault(label, []).append(float((found == label).mean()))
            chances.setdefault(label, []).append(float((names == label).mean()))
    means = [float(np.mean([np.mean(one) for one in values.values()])) for values in (hits, chances)]
    return means[0], means[1]


if __name__ == "__main__":
    raise SystemExit(main())
