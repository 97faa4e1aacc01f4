"""A worker without a network: dark pixels are lesion. The model's name says how it misbehaves."""

from __future__ import annotations

import os
import sys
import time

import numpy as np

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.runs import Progress
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
    return {"model": {"name": model, "fingerprint": "0" * 64, "device": "cpu", "threshold": 0.5}}


if __name__ == "__main__":
    raise SystemExit(main({"segment": segment}))
