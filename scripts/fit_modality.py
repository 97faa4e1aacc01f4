"""Fit the modality check (``imaging/modality.py``) and report its accuracy on unseen images.

    python scripts/fit_modality.py --dermoscopic datasets/isic2017 --macroscopic datasets/pad_ufes \
        --other pictures/fit --other-validation pictures/validation

The split ``train`` of the data sets is used for the fit and ``val`` for the table. Images of anything else are from two
folders; no image of the second may be in the first. Phantoms of both modalities are included, as the sample data are
phantoms.

    python scripts/fit_modality.py --check dermoscopic datasets/ph2/images --check neither pictures/histology

only reports the accuracy on folders of images of one type, without a fit.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.neural_network import MLPClassifier

from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.imaging.modality import (
    CERTAIN_FROM,
    MACROSCOPIC_FROM,
    MODALITY_KINDS,
    WEIGHTS,
    appearance_features,
    recognize_modality,
    scale_features,
    select_modality,
)
from napari_melanoma.io.discovery import find_photographs
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

VARIANTS = {"dermoscopic": 3, "macroscopic": 9, "neither": 8}  # variants per image, besides the image itself
LEAST_SIDE = {"dermoscopic": 0.5, "macroscopic": 0.5, "neither": 0.25}  # smallest side of a crop
NETWORKS = 5
UNITS = (32,)
PENALTY = 0.3
EPOCHS = 40
STEPS = {"learning_rate_init": 2e-3, "batch_size": 256}
DRAWN = 100
PHANTOMS = 40
LONGEST = 512  # side in pixels of the images; the check uses 64

Image = NDArray[np.uint8]
log = logging.getLogger("fit_modality")


def rows(kind: str, pictures: Iterable[Image], seed: int) -> Iterator[list[float]]:
    """Describe each image and some crops of it under other light."""
    rng = np.random.default_rng(seed)
    for picture in pictures:
        yield list(appearance_features(picture).values())
        for _ in range(VARIANTS[kind]):
            yield list(appearance_features(varied(picture, LEAST_SIDE[kind], rng)).values())


def varied(rgb: Image, least: float, rng: np.random.Generator) -> Image:
    """Crop an image at random, and change its brightness, gamma, saturation and white balance.

    ``rgb``: uint8 (row, column, channel). ``least``: side of the smallest crop, as a share of the image's side.
    """
    height, width = (max(8, int(side * rng.uniform(least, 1))) for side in rgb.shape[:2])
    top, left = rng.integers(rgb.shape[0] - height + 1), rng.integers(rgb.shape[1] - width + 1)
    light = (rgb[top : top + height, left : left + width] / 255.0) ** rng.uniform(0.75, 1.35)
    gray = light.mean(axis=-1, keepdims=True)
    light = (gray + (light - gray) * rng.uniform(0.75, 1.25)) * rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3)
    return np.asarray(np.clip(light, 0, 1) * 255, dtype=np.uint8)


def drawn(count: int) -> Iterator[Image]:
    """Draw images without content: noise, one color, stripes, squares and gradients."""
    rng = np.random.default_rng(0)
    for number in range(count):
        rows, columns = np.mgrid[: rng.integers(40, 300), : rng.integers(40, 300)]
        colors, width = rng.integers(0, 256, (2, 3)), int(rng.integers(4, 40))
        plain = (colors[0], np.zeros(3), np.full(3, 255))[number // 5 % 3]
        share = (rows * 0, rows // width % 2, (rows // width + columns // width) % 2, columns / columns.max())
        kind = number % 5
        noise = rng.integers(0, 256, (*rows.shape, 3))
        picture = noise if kind == 4 else plain + share[kind][..., None] * (colors[1] - plain)
        yield picture.astype(np.uint8)


def fit(values: NDArray[np.float64], kinds: NDArray[np.intp]) -> dict[str, NDArray[np.float32]]:
    """Fit small networks that differ in their start, with equal weights of the modalities.

    ``values``: float64 (image, feature). ``kinds``: index into ``MODALITY_KINDS``. Returns ``mean`` and ``deviation``
    (feature,), ``hidden`` (network, feature, unit), ``hidden_bias`` (network, unit), ``output`` (network, unit, kind)
    and ``output_bias`` (network, kind).
    """
    mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-6
    weight = (len(kinds) / (len(MODALITY_KINDS) * np.bincount(kinds)))[kinds]
    networks = [
        MLPClassifier(UNITS, alpha=PENALTY, max_iter=EPOCHS, n_iter_no_change=EPOCHS, random_state=seed, **STEPS).fit(
            scale_features(values, mean, deviation), kinds, sample_weight=weight
        )
        for seed in range(NETWORKS)
    ]
    layers = zip(*([*one.coefs_, *one.intercepts_] for one in networks), strict=True)
    hidden, output, hidden_bias, output_bias = (np.stack(layer) for layer in layers)
    found = {"mean": mean, "deviation": deviation, "hidden": hidden, "hidden_bias": hidden_bias, "output": output}
    return {name: array.astype(np.float32) for name, array in {**found, "output_bias": output_bias}.items()}


def of_split(folders: Iterable[Path], split: str) -> list[Path]:
    """List the photographs of a split."""
    return [sample.image for folder in folders for sample in read_dataset(folder) if sample.split == split]


def read(paths: Iterable[Path]) -> Iterator[Image]:
    """Read images, downscaled to about 512 pixels a side."""
    for path in paths:
        rgb = read_photograph(path).rgb
        step = max(1, min(rgb.shape[:2]) // LONGEST)
        yield rgb[::step, ::step]


def phantoms(modality: str, seeds: Iterable[int]) -> Iterator[Image]:
    """Draw phantoms of a modality."""
    for seed in seeds:
        config = {"seed": seed, "modality": modality, "skin_type": 1 + seed % 6}
        yield lesion_phantom(LesionPhantomConfig.parse(config, "the phantom")).rgb


def confusion(pictures: Iterable[tuple[str, str, list[Path]]]) -> str:
    """Tabulate the predicted modalities of collections, each with its true modality and its name."""
    selecting = "selects a model for macroscopic photographs"
    lines = [f"| true | {' | '.join(MODALITY_KINDS)} | {selecting} | n |", "|---|" + "---|" * (len(MODALITY_KINDS) + 2)]
    for kind, name, paths in pictures:
        found = [recognize_modality(rgb) for rgb in read(paths)]
        cells = [
            f"{sum(f.kind == other for f in found)} ({sum(f.kind == other and f.is_certain for f in found)})"
            for other in MODALITY_KINDS
        ]
        selected = sum(select_modality(f) == "macroscopic" for f in found)
        lines.append(f"| {kind}, {name} | {' | '.join(cells)} | {selected} | {len(found)} |")
    note = f"In brackets: with a probability of at least {CERTAIN_FROM}; {selecting}: at least {MACROSCOPIC_FROM}."
    return "\n".join([*lines, note])


def main() -> None:
    """Fit, write the coefficients, and report the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--dermoscopic", "--macroscopic", "--other", "--other-validation"):
        parser.add_argument(option, type=Path, action="append", default=[])
    parser.add_argument("--check", nargs=2, metavar=("KIND", "FOLDER"), action="append", default=[])
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given.check:
        log.info("%s", confusion((kind, folder, find_photographs([folder])) for kind, folder in given.check))
        return
    datasets = {"dermoscopic": given.dermoscopic, "macroscopic": given.macroscopic}
    values, kinds, names = [], [], list(appearance_features(np.zeros((8, 8, 3), np.uint8)))
    for index, kind in enumerate(MODALITY_KINDS):
        paths = of_split(datasets[kind], "train") if kind in datasets else find_photographs(given.other)
        found = list(rows(kind, read(paths), index))
        synthetic = phantoms(kind, range(PHANTOMS)) if kind in datasets else drawn(DRAWN)
        found += [list(appearance_features(image).values()) for image in synthetic]
        log.info("%s: %d images, %d rows", kind, len(paths), len(found))
        values += found
        kinds += [index] * len(found)
    fitted = fit(np.array(values), np.array(kinds))
    save_file(fitted, WEIGHTS, {"kinds": json.dumps(MODALITY_KINDS), "features": json.dumps(names)})
    validation = [(kind, "val", of_split(folders, "val")) for kind, folders in datasets.items()]
    log.info("%s", confusion([*validation, ("neither", "held out", find_photographs(given.other_validation))]))


if __name__ == "__main__":
    main()
