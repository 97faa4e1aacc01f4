"""Compare encoders as the start of ``classify-tiles`` by linear probes on real tiles.

    python benchmarks/tile_starts.py DATA

DATA contains ``histology/kather2016``, ``histology/nct_crc`` (labels by tile) and ``histology/ocdc`` (tumor masks). All
tiles are read at 1 um per pixel in windows of 64 px, as the recipe does. A window is described by the mean of the
deepest feature maps; a logistic regression is fitted on all tiles but one, and predicts this one. ``nct_crc`` is
predicted from ``kather2016``. Windows of ocdc with 20 to 80 % of tumor are left out. Figures are shares of correct
tiles, or of correct windows of a tile, with 95 % intervals by bootstrap over tiles; differences are of pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tissue_features import KATHER_OF_NCT, Tile, read_tiles

from napari_melanoma.models.bundle import load_network
from napari_melanoma.models.inference import normalize_images
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.zoo import find_encoder

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.models.bundle import BundleConfig

SETS = ("kather2016", "nct_crc", "ocdc")
STARTS = ("skin-demo", "tile-demo", "imagenet-tiles")  # the last: ImageNet weights, not trained on synthetic slides
SIDE_PX, TUMOR, BOOTSTRAPS = 64, (0.2, 0.8), 2000


@dataclass(frozen=True)
class Described:
    """The windows of a tile with their features and labels."""

    features: NDArray[np.float32]
    labels: NDArray[np.str_]


def main() -> None:
    """Print a row for each set and start, with the difference from the first start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    tiles = [tile for tile in read_tiles(parser.parse_args().data / "histology") if tile.part in SETS]
    print("| set | start | correct | difference |\n|---|---|---|---|")
    scores = {start: score(start, tiles) for start in STARTS}
    for part in SETS:
        for start in STARTS:
            own, first = scores[start][part], scores[STARTS[0]][part]
            difference = "" if start == STARTS[0] else describe(own - first, "+.2f")
            print(f"| {part}, {len(own)} tiles | {start} | {describe(own, '.2f')} | {difference} |", flush=True)


def describe(values: NDArray[np.float64], form: str) -> str:
    """Return the mean of tiles with its interval."""
    random = np.random.default_rng(0)
    means = values[random.integers(0, len(values), (BOOTSTRAPS, len(values)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return f"{values.mean():{form}} ({low:{form}} to {high:{form}})"


def score(start: str, tiles: Sequence[Tile]) -> dict[str, NDArray[np.float64]]:
    """Return the share of correct windows of each tile, by set."""
    described = {part: [embed(start, tile) for tile in tiles if tile.part == part] for part in SETS}
    known = [one for one in described["nct_crc"] if one.labels[0]]
    return {
        "kather2016": leave_out(described["kather2016"]),
        "nct_crc": predict(described["kather2016"], known),
        "ocdc": leave_out(described["ocdc"]),
    }


@cache
def load(start: str) -> tuple[nn.Module, BundleConfig]:
    """Load the encoder of a bundle, with its configuration."""
    bundle = find_bundle(start)
    encoder = find_encoder(load_network(bundle).eval())
    assert encoder is not None
    return encoder, bundle.config


def embed(start: str, tile: Tile) -> Described:
    """Compute the features of the windows of a tile."""
    import torch

    encoder, config = load(start)
    windows, labels = cut(tile)
    with torch.inference_mode():
        maps = encoder(torch.from_numpy(normalize_images(windows, config)))
    deepest = maps[-1] if isinstance(maps, (list, tuple)) else maps
    return Described(deepest.mean(dim=(2, 3)).numpy(), labels)


def cut(tile: Tile) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Return the windows of a tile at 1 um per pixel, and their labels; a label is empty if it is unknown."""
    size = [max(SIDE_PX, round(side * tile.mpp)) for side in tile.rgb.shape[:2]]
    rgb = np.asarray(Image.fromarray(tile.rgb).resize((size[1], size[0]), Image.Resampling.BOX))
    corners = [(row, column) for row in range(0, size[0] - 63, SIDE_PX) for column in range(0, size[1] - 63, SIDE_PX)]
    windows = np.stack([rgb[row : row + SIDE_PX, column : column + SIDE_PX] for row, column in corners])
    if tile.mask is None:
        label = KATHER_OF_NCT.get(tile.label, "") if tile.part == "nct_crc" else tile.label
        return windows, np.array([label] * len(windows))
    mask = np.asarray(Image.fromarray(tile.mask.astype(np.float32)).resize((size[1], size[0]), Image.Resampling.BOX))
    shares = np.array([mask[row : row + SIDE_PX, column : column + SIDE_PX].mean() for row, column in corners])
    clear = (shares <= TUMOR[0]) | (shares >= TUMOR[1])
    return windows[clear], np.where(shares[clear] >= TUMOR[1], "tumor", "other")


def leave_out(tiles: Sequence[Described]) -> NDArray[np.float64]:
    """Return the share of correct windows of each tile, predicted from the others."""
    parts = [predict([*tiles[:index], *tiles[index + 1 :]], [tile]) for index, tile in enumerate(tiles)]
    return np.concatenate(parts)


def predict(known: Sequence[Described], others: Sequence[Described]) -> NDArray[np.float64]:
    """Return the share of correct windows of each of ``others``, predicted from ``known``."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
    model.fit(np.concatenate([one.features for one in known]), np.concatenate([one.labels for one in known]))
    return np.array([(model.predict(one.features) == one.labels).mean() for one in others if len(one.labels)])


if __name__ == "__main__":
    main()
