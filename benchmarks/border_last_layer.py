"""Does the last layer of ``lesion-small``, fitted to a clinic's masks, find better borders on its other photographs?

The 1 x 1 convolution is fitted to 300 pixels of each of N masks at the size of its features (64 x 64): a logistic
regression with a ridge penalty that draws the weights to the shipped ones. The threshold is chosen on the same masks.
Each row is the change of the Dice index on the other photographs: mean of the draws, with their standard deviation.

Run: python benchmarks/border_last_layer.py DATA [DRAWS]

DATA contains the data sets ``ph2``, ``pad_ufes`` and ``isic2017_sharp``. The shipped model was trained on most of the
masks of the last two, so only PH2 is foreign.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import minimize
from scipy.special import expit

from napari_melanoma.data.dataset import Sample, read_dataset, read_rows
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.segmentation import prepare_picture, to_logit
from napari_melanoma.models.bundle import load_network
from napari_melanoma.models.installed_bundles import find_bundle

PHOTOGRAPHS, PIXELS = 400, 300  # at most so many photographs of a data set, evenly spaced; pixels of each for the fit
MASKS, RIDGES = (20, 50, 100), (0.001, 0.01, 0.1)
THRESHOLDS = np.linspace(-1.5, 1.5, 13)  # logits
TABLES = {"isic2017_sharp": "isic2017"}  # data sets whose diagnoses are in the table of another one


@dataclass(frozen=True, eq=False)
class Features:
    """Inputs of the last layer, float16 (channel, row, column), with the mask at their size."""

    maps: NDArray[np.float16]
    mask: NDArray[np.bool_]
    group: str
    diagnosis: str

    def logits(self, weights: NDArray[np.float64], bias: float) -> NDArray[np.float64]:
        return np.tensordot(weights.astype(np.float32), self.maps.astype(np.float32), 1) + bias


def main() -> None:
    """Read, draw, fit and print."""
    data, draws = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    reader = FeatureReader()
    for name in ("ph2", "pad_ufes", "isic2017_sharp"):
        rows = {key[1]: row for key, row in read_rows([data / TABLES.get(name, name)]).items()}
        samples = [sample for sample in read_dataset(data / name) if sample.mask is not None]
        step = max(1, len(samples) // PHOTOGRAPHS)
        found = [reader.read(one, rows.get(one.image_id, {})) for one in samples[::step][:PHOTOGRAPHS]]
        base = np.array([dice(one.logits(reader.weights, reader.bias) > reader.threshold, one.mask) for one in found])
        print(f"{name}: {len(found)} photographs, Dice {base.mean():.4f}")
        for count in MASKS:
            for ridge in RIDGES:
                if count < 0.85 * len(found):
                    print(f"  {count} masks, ridge {ridge:g}: {draw_often(found, base, reader, count, ridge, draws)}")


class FeatureReader:
    """Computes the inputs of the last layer."""

    def __init__(self) -> None:
        info = find_bundle("lesion-small")
        self.config, self.network = info.config, load_network(info).eval()
        layer = [one for one in self.network.modules() if isinstance(one, torch.nn.Conv2d)][-1]
        layer.register_forward_pre_hook(lambda _, inputs: self._inputs.append(inputs[0].numpy()))
        assert layer.bias is not None
        self.weights, self.bias = layer.weight.detach().numpy().ravel().astype(float), layer.bias.item()
        self.threshold = to_logit(info.config.threshold)
        self._inputs: list[NDArray[np.float32]] = []

    def read(self, sample: Sample, row: Mapping[str, str]) -> Features:
        """Read a photograph with its mask."""
        assert sample.mask is not None
        picture = prepare_picture(read_photograph(sample.image).rgb, self.config) / 255
        normalized = (picture - np.array(self.config.mean)) / np.array(self.config.std)
        with torch.no_grad():
            self.network(torch.from_numpy(normalized.astype(np.float32)).permute(2, 0, 1)[None])
        maps = self._inputs.pop()[0].astype(np.float16)
        mask = Image.fromarray(read_mask(sample.mask).astype(np.uint8) * 255)
        small = np.asarray(mask.resize(maps.shape[:0:-1], Image.Resampling.BOX)) > 127
        group = row.get("patient_id") or row.get("lesion_id") or sample.image_id
        return Features(maps, small, group, row.get("diagnostic") or row.get("diagnosis") or "unknown")


def draw_often(
    found: list[Features], base: NDArray[np.float64], reader: FeatureReader, count: int, ridge: float, draws: int
) -> str:
    """Fit to several draws of masks, and describe the change on the other photographs."""
    groups, changes, by_diagnosis = np.array([one.group for one in found]), [], defaultdict(list)
    for seed in range(draws):
        random = np.random.default_rng(seed)
        used = np.isin(groups, random.permutation(np.unique(groups))[:count])
        fitted = [one for one, is_used in zip(found, used, strict=True) if is_used]
        weights, bias = fit(fitted, reader, ridge, random)
        logits = [one.logits(weights, bias) for one in fitted]
        scores = [
            np.mean([dice(z > limit, one.mask) for z, one in zip(logits, fitted, strict=True)]) for limit in THRESHOLDS
        ]
        limit = THRESHOLDS[int(np.argmax(scores))]
        rest = [(one, before) for one, before, is_used in zip(found, base, used, strict=True) if not is_used]
        change = [dice(one.logits(weights, bias) > limit, one.mask) - before for one, before in rest]
        changes.append(np.mean(change))
        for (one, _), value in zip(rest, change, strict=True):
            by_diagnosis[one.diagnosis].append(value)
    parts = ", ".join(f"{name} {np.mean(values):+.4f}" for name, values in sorted(by_diagnosis.items()))
    return f"{np.mean(changes):+.4f} (SD {np.std(changes):.4f}); {parts}"


def fit(
    found: list[Features], reader: FeatureReader, ridge: float, random: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Fit the weights of the last layer, float64 (channel,), and its bias."""
    pixels = [random.choice(one.mask.size, PIXELS, replace=False) for one in found]
    maps = [one.maps.reshape(len(one.maps), -1)[:, kept].T for one, kept in zip(found, pixels, strict=True)]
    inputs = np.concatenate(maps).astype(np.float32)
    truth = np.concatenate([one.mask.ravel()[kept] for one, kept in zip(found, pixels, strict=True)]).astype(float)
    scale = inputs.std(axis=0) + 1e-4
    inputs, start = inputs / scale, reader.weights * scale

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        change, bias = values[:-1], values[-1]
        logits = inputs @ (start + change) + reader.bias + bias
        errors = (expit(logits) - truth) / len(truth)
        total = np.mean(np.logaddexp(0, logits) - truth * logits) + ridge / 2 * change @ change
        return float(total), np.append(inputs.T @ errors + ridge * change, errors.sum())

    best = minimize(loss, np.zeros(len(start) + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return (start + best[:-1]) / scale, reader.bias + float(best[-1])


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the Dice index; 1 for two empty masks."""
    total = first.sum() + second.sum()
    return float(2 * (first & second).sum() / total) if total else 1.0


if __name__ == "__main__":
    main()
