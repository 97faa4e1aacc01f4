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
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from napari_melanoma.core.files import write_json
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.imaging.modality import (
    CERTAIN_FROM,
    COEFFICIENTS,
    MACROSCOPIC_FROM,
    MAX_DEVIATIONS,
    MODALITY_KINDS,
    appearance_features,
    recognize_modality,
    select_modality,
)
from napari_melanoma.io.discovery import find_photographs
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

VARIANTS = {"dermoscopic": 1, "macroscopic": 3, "neither": 4}  # variants per image, besides the image itself
LEAST_SIDE = {"dermoscopic": 0.6, "macroscopic": 0.6, "neither": 0.25}  # smallest side of a crop
PENALTY = 1e-3
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
    """Crop an image at random, and change its brightness, gamma and white balance.

    ``rgb``: uint8 (row, column, channel). ``least``: side of the smallest crop, as a share of the image's side.
    """
    height, width = (max(8, int(side * rng.uniform(least, 1))) for side in rgb.shape[:2])
    top, left = rng.integers(rgb.shape[0] - height + 1), rng.integers(rgb.shape[1] - width + 1)
    light = (rgb[top : top + height, left : left + width] / 255.0) ** rng.uniform(0.8, 1.25)
    return np.asarray(np.clip(light * rng.uniform(0.85, 1.15) * rng.uniform(0.92, 1.08, 3), 0, 1) * 255, dtype=np.uint8)


def fit(values: NDArray[np.float64], kinds: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a multinomial logistic regression with equal weights of the modalities.

    ``values``: float64 (picture, value), scaled. ``kinds``: index into ``MODALITY_KINDS``. Returns weights, float64
    (value, kind), and offset, float64 (kind,).
    """
    count, targets = values.shape[1], np.eye(len(MODALITY_KINDS))[kinds]
    weight = (1 / (len(MODALITY_KINDS) * np.bincount(kinds)))[kinds][:, None]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, offset = flat[:-3].reshape(count, -1), flat[-3:]
        scores = values @ weights + offset
        logs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        error = (np.exp(logs) - targets) * weight
        slope = np.concatenate([(values.T @ error + 2 * PENALTY * weights).ravel(), error.sum(axis=0)])
        return float(-(logs * targets * weight).sum() + PENALTY * (weights**2).sum()), slope

    flat = minimize(loss, np.zeros(3 * count + 3), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return flat[:-3].reshape(count, -1), flat[-3:]


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
        if kind in datasets:
            found += [list(appearance_features(phantom).values()) for phantom in phantoms(kind, range(PHANTOMS))]
        log.info("%s: %d images, %d rows", kind, len(paths), len(found))
        values += found
        kinds += [index] * len(found)
    table = np.array(values)
    mean, deviation = table.mean(axis=0), table.std(axis=0) + 1e-6
    weights, offset = fit(np.clip((table - mean) / deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS), np.array(kinds))
    numbers = np.round(np.column_stack([mean, deviation, weights]), 5).tolist()
    fitted = {
        "kinds": MODALITY_KINDS,
        "columns": ["mean", "deviation", *MODALITY_KINDS],
        "offset": np.round(offset, 5).tolist(),
    }
    write_json(COEFFICIENTS, {**fitted, "values": dict(zip(names, numbers, strict=True))})
    validation = [(kind, "val", of_split(folders, "val")) for kind, folders in datasets.items()]
    log.info("%s", confusion([*validation, ("neither", "held out", find_photographs(given.other_validation))]))


if __name__ == "__main__":
    main()
