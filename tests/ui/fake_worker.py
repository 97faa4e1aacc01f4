"""A worker without a network: dark pixels are lesion. The model's name says how it misbehaves."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from napari_melanoma.core.errors import BundleError, RunError
from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.core.runs import Progress
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.worker import main


def segment(arguments, run):
    model = arguments["model"]
    run.report(Progress(0, None, "Finding the lesion"))
    if model.startswith("slow"):
        time.sleep(float(model.removeprefix("slow-")))
    if model == "dies":
        os._exit(3)
    if model == "nonsense":
        raise BundleError("there is no model named 'nonsense' (known: lesion-small), and no folder of that path.")
    sys.stdout.write("a library that prints\n")
    grey = np.load(arguments["image"]).astype(np.float32).mean(axis=2) / 255
    np.save(arguments["out"], (1 / (1 + np.exp(20 * (grey - 0.5)))).astype(np.float32))
    if "spread" in arguments:  # at a threshold of 0.5 the answers differ on the skin, at 0.9 in the lesion
        np.save(arguments["spread"], np.stack([20 * (0.5 - grey) - 5, 20 * (0.5 - grey) + 5]).astype(np.float32))
    stamp = {"name": model, "fingerprint": "0" * 64, "device": "cpu", "threshold": 0.5}
    return {"model": stamp, **({"spread": arguments["spread"]} if "spread" in arguments else {})}


def rate(arguments, run):
    """The number at the end of the file's name is the score in percent; the words before say how it misbehaves."""
    path = Path(arguments["image"])
    kind, _, number = path.stem.rpartition("-")
    if kind == "slow":
        time.sleep(1)
    if kind == "dies":
        os._exit(3)
    rgb = read_photograph(path).rgb
    return {"score": int(number) / 100, "lesion_found": kind != "empty", "image_sha256": fingerprint(rgb)}


def estimate(arguments, run):
    """The batch size says how it misbehaves; an epoch takes a minute."""
    recipe = arguments["recipe"]
    memory = 1e9 if recipe["batch_size"] == 4096 else 1130
    if recipe["batch_size"] == 4095:
        raise RunError("a GPU is asked for and there is none.")
    return {"seconds": 60.0 * recipe["epochs"], "memory_mb": memory, "device": "cpu", "rests_on": "one step"}


if __name__ == "__main__":
    raise SystemExit(main({"segment": segment, "rate": rate, "estimate": estimate}))
