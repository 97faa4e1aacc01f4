"""Measure the effect of hair removal and color constancy on the Dice of a model trained without them, with intervals.

    OMP_NUM_THREADS=1 python scripts/preprocessing_effect.py --data DATASET --split val --every 2

prints for each option the mean Dice of the validation images, its difference from that of the unchanged images, and the
processor time for preparing a photograph. Masks are at the model's threshold and unrefined. For hair removal the images
with detected hair are also reported separately.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from napari_melanoma.core.prediction_config import PreprocessingConfig
from napari_melanoma.data.dataset import Sample, read_dataset, select_for_split
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.metrics.overlap import overlap_metrics
from napari_melanoma.metrics.statistics import bootstrap_mean, paired_difference
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.models.inference import restore_size
from napari_melanoma.models.installed_bundles import find_bundle

OPTIONS = {
    "unchanged": PreprocessingConfig(),
    "hair removed": PreprocessingConfig(remove_hair=True),
    "shades of gray": PreprocessingConfig(color_constancy=True),
    "both": PreprocessingConfig(remove_hair=True, color_constancy=True),
}
USUAL, HAIR = "unchanged", "hair removed"
VISIBLE = 40  # of 255: greater than the effect of resizing twice


def main() -> None:
    """Evaluate each data set and print the results."""
    options = arguments()
    model = Segmenter.load(find_bundle(options.model), device="cpu")
    found = {}
    for folder in options.data:
        samples = select_for_split(read_dataset(folder), options.split)[:: options.every][: options.count]
        found[folder.name] = figures(samples, *measure(samples, model))
        lines = [f"{model.info.name} on {folder.name} {options.split or ''}: {len(samples)} images"]
        for name, one in found[folder.name].items():
            lines.append(f"  {name:<26} Dice {one['dice']}, difference {one['difference']}, {one['seconds']:.3f} s")
        sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.write(json.dumps(found) + "\n")


def measure(samples: list[Sample], model: Segmenter) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the Dice of each image with each option, the preparation time, and whether hair was removed."""
    dice, seconds = np.zeros((2, len(samples), len(OPTIONS)))
    hairy = np.zeros(len(samples), bool)
    for number, sample in enumerate(samples):
        rgb, truth = read_photograph(sample.image).rgb, read_mask(sample.mask)
        inputs = []
        for option, config in enumerate(OPTIONS.values()):
            began = time.process_time()
            inputs.append(prepare_network_input(rgb, model.info.config.input_size, config))
            seconds[number, option] = time.process_time() - began
        plain, bald = (inputs[list(OPTIONS).index(name)].astype(int) for name in (USUAL, HAIR))
        hairy[number] = np.abs(bald - plain).max() > VISIBLE
        for option, logits in enumerate(model.logits(inputs)):
            found = restore_size(logits, truth.shape) >= model.info.config.threshold
            dice[number, option] = overlap_metrics(found, truth)["DI"]
    return dice, seconds, hairy


def figures(samples: list[Sample], dice: np.ndarray, seconds: np.ndarray, hairy: np.ndarray) -> dict[str, dict]:
    """Compute means, paired differences and times."""
    groups = [sample.group for sample in samples]
    usual = dice[:, list(OPTIONS).index(USUAL)]
    found = {}
    for option, name in enumerate(OPTIONS):
        found[name] = _row(usual, dice[:, option], groups) | {"seconds": float(np.median(seconds[:, option]))}
    if hairy.any():
        part = [group for group, is_hairy in zip(groups, hairy, strict=True) if is_hairy]
        removed = dice[hairy, list(OPTIONS).index(HAIR)]
        found[f"{HAIR}, {hairy.sum()} with hair"] = _row(usual[hairy], removed, part) | {"seconds": 0.0}
    return found


def _row(usual: np.ndarray, dice: np.ndarray, groups: list[str]) -> dict[str, object]:
    """Mean Dice, and its difference from that of the unchanged images."""
    change = paired_difference(usual, dice, groups)
    return {
        "dice": str(bootstrap_mean(dice, groups, bounds=(0.0, 1.0))),
        "difference": f"{change.mean:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of data sets with masks")
    parser.add_argument("--split", help="for example val; every image by default")
    parser.add_argument("--every", type=int, default=1, help="use every n-th image")
    parser.add_argument("--count", type=int, help="greatest number of images")
    parser.add_argument("--model", default=DEFAULT_BUNDLE, help="a model's name or folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
