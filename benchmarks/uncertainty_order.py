"""Evaluate whether reviewing uncertain photographs first is useful: correlation of each rating with the error.

    python benchmarks/uncertainty_order.py --data DATASET --split val

prints, for each rating, the Spearman correlation of the score with one minus Dice, and the mean Dice of the most
uncertain photographs compared with that of a random sample of the same size, here of the validation images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from napari_melanoma.data.dataset import read_dataset, select_for_split
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.analysis import ModelStamp, derive_result
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.lesion.uncertainty_ratings import UNCERTAINTY_MEASURES, score_pixels
from napari_melanoma.metrics.overlap import overlap_metrics
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.models.installed_bundles import find_bundle

DRAWS = 10_000


def main() -> None:
    """Rate, compare and print."""
    options = arguments()
    model = Segmenter.load(find_bundle(options.model))
    samples = select_for_split(read_dataset(options.data), options.split)[: options.count]
    dice, scores = np.zeros(len(samples)), {how: np.zeros(len(samples)) for how in UNCERTAINTY_MEASURES}
    for number, sample in enumerate(samples):
        photograph = read_photograph(sample.image)
        result = derive_result(photograph, model.probability(photograph.rgb), LesionOptions(), ModelStamp.of(model))
        dice[number] = overlap_metrics(result.mask, read_mask(sample.mask))["DI"]
        for how in UNCERTAINTY_MEASURES:
            scores[how][number] = score_pixels(model, photograph.rgb, how)[0]
    print(
        f"{model.info.name} on {options.data.name} {options.split or ''}: {len(dice)} images, mean Dice "
        f"{dice.mean():.3f}"
    )
    found = {how: figures(scores[how], dice, options.first) for how in UNCERTAINTY_MEASURES}
    for how, one in found.items():
        low, high = one["random_interval"]
        print(
            f"{how:<12}  Spearman with 1 - Dice {one['spearman']:.2f};  Dice of the {options.first} most uncertain "
            f"{one['most_unsure']:.3f}, of {options.first} at random {one['random']:.3f} (95 % {low:.3f} to {high:.3f})"
        )
    print(json.dumps(found))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set with masks")
    parser.add_argument("--split", help="for example val; every image by default")
    parser.add_argument("--model", default=DEFAULT_BUNDLE, help="a model's name or folder")
    parser.add_argument("--count", type=int, help="greatest number of images")
    parser.add_argument("--first", type=int, default=20, help="number of photographs to review")
    return parser.parse_args()


def figures(score: np.ndarray, dice: np.ndarray, first: int) -> dict[str, object]:
    """Correlation, and Dice of the first photographs compared with random samples."""
    rng = np.random.default_rng(0)
    drawn = [dice[rng.choice(len(dice), first, replace=False)].mean() for _ in range(DRAWS)]
    return {
        "spearman": round(float(spearmanr(score, 1 - dice).statistic), 3),
        "most_unsure": round(float(dice[np.argsort(-score, kind="stable")[:first]].mean()), 3),
        "random": round(float(np.mean(drawn)), 3),
        "random_interval": [round(float(q), 3) for q in np.quantile(drawn, (0.025, 0.975))],
    }


if __name__ == "__main__":
    main()
