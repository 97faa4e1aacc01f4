"""Compare features of cells for tissue classifiers on real tiles: level of the encoder, scale, context, hand-made ones.

    python benchmarks/tissue_features.py DATA
    python benchmarks/tissue_features.py DATA --only "imagenet 1.0 um" "texture, forest"

DATA contains ``histology/ocdc`` (tumor masks), ``histology/skin_wsi_atlas``, ``histology/kather2016`` and
``histology/nct_crc`` (labels by tile, ``labels.csv``). Each candidate is a row with these figures:

* ``ocdc``: AUC of tumor cells on five tiles, from five strokes of six cells a class on the other five; mean and lowest
  of ``REPEATS`` random choices;
* ``morphea``, ``molluscum``: balanced accuracy of tiles by the mean probability of their cells, one tile of the slide
  left out at a time, from a stroke of ten cells on each of the others;
* ``to morphea``, ``to molluscum``: the same for four classes, from all tiles of the other slide;
* ``kather``, ``nct``: accuracy of colorectal tiles, one tile left out, and from the first set to the second.

The sets are small: differences below about 0.05 mean little. Logistic regression, unless the candidate is a forest.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from napari_melanoma.slides.tissue_classifier.cells import CELL_UM, MARGIN_CELLS
from napari_melanoma.slides.tissue_classifier.texture import measure_texture

ENCODER = "tf_efficientnet_lite0"
REPEATS, STROKES, STROKE_CELLS, TILE_CELLS = 12, 5, 6, 10
GLASS = 225  # mean gray value above which a cell is glass
TISSUES = {
    "epidermis": "epidermis",
    "superficial_dermis": "dermis",
    "deep_dermis": "dermis",
    "dermis": "dermis",
    "hair_follicle": "adnexa",
    "adnexa": "adnexa",
    "glass": "glass",
}
OF_SLIDE = {  # labels with several tiles
    "morphea": ("epidermis", "superficial_dermis", "deep_dermis", "hair_follicle", "fat"),
    "molluscum": ("epidermis", "lesion_epithelium", "keratin_debris", "dermis"),
}
KATHER_OF_NCT = {
    "adipose": "adipose",
    "background": "empty",
    "debris": "debris",
    "lymphocytes": "lympho",
    "smooth muscle": "stroma",
    "stroma": "stroma",
    "tumour": "tumor",
}
Features = NDArray[np.float32]  # (cell row, cell column, feature)
Predict = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True)
class Tile:
    """An image with its scale, and a label or the share of tumor in each cell, 0 to 1."""

    part: str
    rgb: NDArray[np.uint8] = field(hash=False, compare=False)
    mpp: float
    name: str
    label: str = ""
    mask: NDArray[np.bool_] | None = field(default=None, hash=False, compare=False)


@dataclass(frozen=True)
class Candidate:
    """Features: (micrometers per pixel, layer) of each part, sides of the contexts in cells, and the classifier."""

    parts: tuple[tuple[float, str], ...]
    contexts: tuple[int, ...] = (1, 3, 7)
    forest: bool = False


LEVEL = "stage 5"
CANDIDATES = {
    "imagenet 1.0 um": Candidate(((1.0, LEVEL),)),
    **{f"imagenet 1.0 um, stage {stage}": Candidate(((1.0, f"stage {stage}"),)) for stage in (3, 4, 6, 7)},
    "imagenet 1.0 um, stages 3 + 5": Candidate(((1.0, "stage 3"), (1.0, LEVEL))),
    "imagenet 1.0 um, stages 4 + 5": Candidate(((1.0, "stage 4"), (1.0, LEVEL))),
    "imagenet 1.0 um, own cell": Candidate(((1.0, LEVEL),), (1,)),
    "imagenet 1.0 um, 1 + 3 cells": Candidate(((1.0, LEVEL),), (1, 3)),
    "imagenet 1.0 um, 7 cells": Candidate(((1.0, LEVEL),), (7,)),
    "imagenet 0.5 um": Candidate(((0.5, LEVEL),)),
    "imagenet 1.0 + 0.5 um": Candidate(((1.0, LEVEL), (0.5, LEVEL))),
    "texture": Candidate(((1.0, "texture"),)),
    "texture, forest": Candidate(((1.0, "texture"),), forest=True),
    "imagenet + texture": Candidate(((1.0, LEVEL), (1.0, "texture"))),
}


def main() -> int:
    """Print a row for each candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    options = parser.parse_args()
    tiles = read_tiles(options.data / "histology")
    sys.stdout.write(
        "| features | ocdc (lowest) | morphea | molluscum | to morphea | to molluscum | kather | nct |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    for name in options.only:
        candidate = CANDIDATES[name]
        mean, lowest = ocdc(tiles, candidate)
        figures = [*skin(tiles, candidate), *colorectal(tiles, candidate)]
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        sys.stdout.write(f"| {name} | {mean:.3f} ({lowest:.3f}) | {cells} |\n")
        sys.stdout.flush()
    return 0


def read_tiles(folder: Path) -> list[Tile]:
    """Read the tiles of all sets."""
    tiles = []
    for path in sorted((folder / "ocdc" / "images").glob("*.jpg")):
        mask = np.asarray(Image.open(folder / "ocdc" / "masks" / f"{path.stem}.png").convert("L")) > 127
        tiles.append(Tile("ocdc", _read(path), 0.5, path.stem, mask=mask))
    with (folder / "skin_wsi_atlas" / "labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = row["image_id"]
            (path,) = (folder / "skin_wsi_atlas" / "images").glob(f"{name}.*")
            tiles.append(Tile(name.split("_")[0], _read(path), 0.2633, name, row["label"]))
    for part in ("kather2016", "nct_crc"):
        with (folder / part / "labels.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                path = folder / part / "images" / row["image"]
                tiles.append(Tile(part, _read(path), 0.495, path.stem, row["label"]))
    return tiles


def _read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def resize(tile: Tile, mpp: float) -> NDArray[np.uint8]:
    """Resize a tile to a scale; its sides are cut to whole cells, at least one."""
    cell_px = round(CELL_UM / mpp)
    rows, columns = (max(1, round(side * tile.mpp) // CELL_UM) for side in tile.rgb.shape[:2])
    covered = [round(count * CELL_UM / tile.mpp) for count in (rows, columns)]
    image = Image.fromarray(tile.rgb[: covered[0], : covered[1]])
    return np.asarray(image.resize((columns * cell_px, rows * cell_px), Image.Resampling.BILINEAR))


@cache
def layers(tile: Tile, mpp: float) -> Mapping[str, Features]:
    """Compute texture and all stages of the encoder, of a tile that is mirrored at its border."""
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    network, mean, std = load_encoder()
    image, cell_px = resize(tile, mpp), round(CELL_UM / mpp)
    margin = MARGIN_CELLS * cell_px
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    cells = padded.shape[0] // cell_px, padded.shape[1] // cell_px
    found = {"texture": measure_texture(padded, cell_px)}
    with torch.inference_mode():
        values = (torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255 - mean) / std
        values = network.bn1(network.conv_stem(values))
        for number, stage in enumerate(network.blocks, start=1):
            values = stage(values)
            found[f"stage {number}"] = adaptive_avg_pool2d(values, cells)[0].permute(1, 2, 0).numpy()
    return found


@cache
def load_encoder():  # noqa: ANN201 - a network of timm and two tensors
    """Load the whole encoder with its ImageNet weights."""
    import timm
    import torch

    from napari_melanoma.models.published_encoders import imagenet_normalization, load_imagenet_weights

    network = timm.create_model(ENCODER).eval()
    load_imagenet_weights(network, ENCODER)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in imagenet_normalization(ENCODER))
    return network, mean, std


def features_of(tile: Tile, candidate: Candidate) -> Features:
    """Return the features of a tile without its mirrored border."""
    inner, found = slice(MARGIN_CELLS, -MARGIN_CELLS), []
    for mpp, layer in candidate.parts:
        values = layers(tile, mpp)[layer]
        found += [uniform_filter(values, (side, side, 1))[inner, inner] for side in candidate.contexts]
    return np.concatenate(found, axis=-1).astype(np.float32)


def fit(features: Sequence[Features], labels: Sequence[str], candidate: Candidate) -> tuple[Predict, list[str]]:
    """Fit a classifier on cells of equal labels; returns it with the classes."""
    cells = np.concatenate([values.reshape(-1, values.shape[-1]) for values in features])
    truth = np.concatenate(
        [np.full(values.size // values.shape[-1], label) for values, label in zip(features, labels, strict=True)]
    )
    if candidate.forest:
        classifier = RandomForestClassifier(200, min_samples_leaf=2, class_weight="balanced", random_state=0)
    else:
        regression = LogisticRegression(C=0.01, max_iter=100, tol=1e-3, class_weight="balanced")
        classifier = make_pipeline(StandardScaler(), regression)
    classifier.fit(cells, truth)
    return classifier.predict_proba, list(classifier.classes_)


def ocdc(tiles: Sequence[Tile], candidate: Candidate) -> tuple[float, float]:
    """Return the mean and the lowest AUC of tumor cells."""
    own = [tile for tile in tiles if tile.part == "ocdc"]
    features = [features_of(tile, candidate) for tile in own]
    shares = []
    for tile, values in zip(own, features, strict=True):
        assert tile.mask is not None
        image = Image.fromarray(tile.mask.astype(np.uint8) * 255)
        shares.append(np.asarray(image.resize(values.shape[1::-1], Image.Resampling.BOX)) / 255)
    found = []
    for seed in range(REPEATS):
        random = np.random.default_rng(seed)
        order = random.permutation(len(own))
        painted, held_out = order[: len(own) // 2], order[len(own) // 2 :]
        strokes, labels = [], []
        for label, allowed in (("tumor", lambda share: share > 0.9), ("other", lambda share: share < 0.1)):
            candidates = [at for at in np.tile(painted, STROKES) if allowed(shares[at]).any()]
            for at in candidates[:STROKES]:
                rows, columns = draw_stroke(allowed(shares[at]), random)
                strokes.append(features[at][rows, columns])
                labels.append(label)
        predict, classes = fit(strokes, labels, candidate)
        truth = np.concatenate([shares[at].ravel() for at in held_out])
        scores = predict(np.concatenate([features[at].reshape(-1, features[at].shape[-1]) for at in held_out]))
        clear = (truth > 0.75) | (truth < 0.25)
        found.append(roc_auc_score(truth[clear] > 0.5, scores[clear, classes.index("tumor")]))
    return float(np.mean(found)), float(np.min(found))


def draw_stroke(allowed: NDArray[np.bool_], random: np.random.Generator) -> tuple[list[int], list[int]]:
    """Draw a random path through allowed cells; returns rows and columns."""
    path = [tuple(random.choice(np.argwhere(allowed)).tolist())]
    while len(path) < STROKE_CELLS:
        row, column = path[-1]
        around = [(row, column + 1), (row + 1, column), (row, column - 1), (row - 1, column)]
        free = [
            at
            for at in around
            if 0 <= at[0] < allowed.shape[0] and 0 <= at[1] < allowed.shape[1] and allowed[at] and at not in path
        ]
        if not free:
            break
        path.append(free[random.integers(len(free))])
    return [row for row, _ in path], [column for _, column in path]


def tissue_cells(tile: Tile, candidate: Candidate) -> Features:
    """Return the cells of a tile that are not glass, (cell, feature); all of a tile of glass."""
    features, image = features_of(tile, candidate), resize(tile, 1.0)
    rows, columns = features.shape[:2]
    gray = image.reshape(rows, CELL_UM, columns, CELL_UM, 3).mean(axis=(1, 3, 4))
    stained = features[gray < GLASS]
    return stained if len(stained) and tile.label != "glass" else features.reshape(-1, features.shape[-1])


def skin(tiles: Sequence[Tile], candidate: Candidate) -> list[float]:
    """Return the balanced accuracy within each slide, and from each slide to the other."""
    figures = []
    for part, labels in OF_SLIDE.items():
        own = [tile for tile in tiles if tile.part == part and tile.label in labels]
        cells = [tissue_cells(tile, candidate) for tile in own]
        strokes = [
            values[np.random.default_rng(number).permutation(len(values))[:TILE_CELLS]]
            for number, values in enumerate(cells)
        ]
        figures.append(leave_one_out(cells, strokes, [tile.label for tile in own], candidate, balanced=True))
    known = {part: [tile for tile in tiles if tile.part == part and tile.label in TISSUES] for part in OF_SLIDE}
    for source, target in (("molluscum", "morphea"), ("morphea", "molluscum")):
        predict, classes = fit(
            [tissue_cells(tile, candidate) for tile in known[source]],
            [TISSUES[tile.label] for tile in known[source]],
            candidate,
        )
        predicted = [classes[predict(tissue_cells(tile, candidate)).mean(0).argmax()] for tile in known[target]]
        figures.append(balanced_accuracy_score([TISSUES[tile.label] for tile in known[target]], predicted))
    return figures


def leave_one_out(
    cells: Sequence[Features],
    strokes: Sequence[Features],
    labels: Sequence[str],
    candidate: Candidate,
    *,
    balanced: bool,
) -> float:
    """Return the accuracy of tiles, each predicted from the strokes of the others."""
    predicted = []
    for left_out in range(len(cells)):
        others = [index for index in range(len(cells)) if index != left_out]
        predict, classes = fit([strokes[at] for at in others], [labels[at] for at in others], candidate)
        predicted.append(classes[predict(cells[left_out]).mean(0).argmax()])
    if balanced:
        return float(balanced_accuracy_score(labels, predicted))
    return float(np.mean(np.array(predicted) == np.array(labels)))


def colorectal(tiles: Sequence[Tile], candidate: Candidate) -> list[float]:
    """Return the accuracy within Kather's set, and from it to the other set."""
    own = [tile for tile in tiles if tile.part == "kather2016"]
    cells = [np.concatenate(list(features_of(tile, candidate))) for tile in own]
    within = leave_one_out(cells, cells, [tile.label for tile in own], candidate, balanced=False)
    others = [tile for tile in tiles if tile.part == "nct_crc" and tile.label in KATHER_OF_NCT]
    predict, classes = fit(cells, [tile.label for tile in own], candidate)
    hits = [
        classes[predict(np.concatenate(list(features_of(tile, candidate)))).mean(0).argmax()]
        == KATHER_OF_NCT[tile.label]
        for tile in others
    ]
    return [within, float(np.mean(hits))]


if __name__ == "__main__":
    sys.exit(main())
