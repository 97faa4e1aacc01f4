"""Time and memory of a whole process from its start to the result of one photograph, with each back end in turns.

Run: python benchmarks/first_prediction.py [--rounds 3] [--image PHOTOGRAPH]

Peers, measured in the same turns: ``import torch`` alone, and ``--help``, the shortest command.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import Usage, run_process

from napari_melanoma.io.results import write_rgb
from napari_melanoma.models.inference import BACKEND_VARIABLE
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom

PROGRAM = (sys.executable, "-m", "napari_melanoma")


def main() -> None:
    """Measure and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image", type=Path, help="a photograph; by default a phantom of 1200 x 900 pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image, out = options.image or Path(folder) / "phantom.png", Path(folder) / "out"
        if options.image is None:
            write_rgb(image, lesion_phantom(LesionPhantomConfig(size=(900, 1200))).rgb)
        lesion = [*PROGRAM, "lesion", str(image), "--out", str(out)]
        ways = {
            "lesion, ONNX Runtime": (lesion, {BACKEND_VARIABLE: "onnxruntime"}),
            "lesion, torch": (lesion, {BACKEND_VARIABLE: "torch"}),
            "import torch": ([sys.executable, "-c", "import torch"], {}),
            "--help": ([*PROGRAM, "--help"], {}),
        }
        taken: dict[str, list[Usage]] = {name: [] for name in ways}
        for turn in range(options.rounds + 1):
            for name, (arguments, variables) in ways.items():
                shutil.rmtree(out, ignore_errors=True)  # a finished photograph would be skipped
                usage = run_process(arguments, variables)
                if turn:  # the first turn reads the files from the disk
                    taken[name].append(usage)
    for name, usages in taken.items():
        seconds, processor_s, memory_mb = np.median(usages, axis=0)
        print(f"{name:22} {seconds:6.2f} s  {processor_s:6.2f} s of the processor  {memory_mb:6.0f} MB")


if __name__ == "__main__":
    main()
