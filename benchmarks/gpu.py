"""What a machine with a GPU is asked before a release, in at most seven minutes, as one table.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --scale 0.05     # tries the script itself on a machine without a GPU

Everything is made on the spot: phantoms, a slide of noise, encoders with random weights. Each part runs in a process of
its own, and one that fails does not stop the others:

* what ``napari-melanoma doctor`` states;
* training: the images per second of a run and of the plain loop (``training_throughput.py``), and the memory of the
  GPU, in bfloat16 and in float32;
* an interrupted training: canceled, killed and resumed on the GPU; its weights must equal those of an undisturbed run;
* slides: the tiles per second of ResNet-50 and ViT-S, and of the plain forward loop (``slide_throughput.py``);
* the first prediction of a photograph, from the start of the process (``first_prediction.py``).

The exit code is 1 if a part failed, or if the resumed weights differ by more than ``--tolerance``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from napari_melanoma.core.run_folder import RunFolder

HERE = Path(__file__).parent
PROGRAM = (sys.executable, "-m", "napari_melanoma")
LIMIT_S = 420.0
Row = tuple[str, str]


def main() -> None:
    """Run all parts and print their rows."""
    options = _arguments()
    ends = time.monotonic() + LIMIT_S
    failed = False
    for title, part in PARTS.items():
        if options.parts and title not in options.parts:
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                for name, value in part(options, Path(folder), ends):
                    print(f"| {title} | {name} | {value} |", flush=True)
            except (subprocess.SubprocessError, OSError, ValueError) as error:
                failed = True
                print(f"| {title} | failed | {_reason(error)} |", flush=True)
        print(f"# {title}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    sys.exit(int(failed))


def check_machine(options: argparse.Namespace, folder: Path, ends: float) -> Iterator[Row]:
    """List what ``doctor`` found."""
    output = _run([*PROGRAM, "doctor", "--json"], ends, expected=(0, 1))
    for line in output.splitlines():
        event = json.loads(line)
        if event["event"] == "check" and event["name"] in {"Packages", "Model", "Torch", "GPU", "Memory"}:
            yield event["name"], f"{event['status']}: {event['found']}"


def measure_training(options: argparse.Namespace, folder: Path, ends: float) -> Iterator[Row]:
    """Compare a run with the plain loop."""
    images, batch = max(64, int(2048 * options.scale)), max(8, int(64 * options.scale))
    for precision in ("bf16", "fp32"):
        words = ["training_throughput.py", "--device", options.device, "--precision", precision, "--at-least", "0"]
        words += ["--images", str(images), "--batch-size", str(batch), "--rounds", "2"]
        output = _run([sys.executable, str(HERE / words[0]), *words[1:]], ends)
        *rounds, summary = output.splitlines()
        yield f"lesion network, {precision}, batch {batch}", f"{rounds[-1]}; {summary}"


def measure_resume(options: argparse.Namespace, folder: Path, ends: float) -> Iterator[Row]:
    """Train undisturbed, and again canceled, killed and resumed; compare the weights."""
    data, recipe = folder / "data", folder / "recipe.toml"
    _run([sys.executable, "-c", _PHANTOMS, str(HERE), str(data), str(max(48, int(256 * options.scale)))], ends)
    recipe.write_text(_RECIPE.format(data=data.as_posix(), device=options.device), encoding="utf-8")
    whole, stopped = folder / "whole", folder / "stopped"
    train = [*PROGRAM, "train", "--config", str(recipe), "--out"]
    begun = time.monotonic()
    _run([*train, str(whole)], ends)
    yield "undisturbed, 4 epochs", f"{time.monotonic() - begun:.0f} s"

    _interrupt([*train, str(stopped)], stopped, 1, ends, lambda _: RunFolder(stopped).write_command("cancel"))
    resume = [*PROGRAM, "train", "--config", str(stopped / "config.toml"), "--out", str(stopped), "--resume"]
    _interrupt(resume, stopped, 2, ends, lambda process: process.kill())
    _run(resume, ends)
    pair = [load_file(path / "bundle" / "model.safetensors") for path in (whole, stopped)]
    difference = max(
        float(np.abs(pair[0][name].astype(np.float64) - pair[1][name].astype(np.float64)).max()) for name in pair[0]
    )
    yield "canceled, killed, resumed twice", f"greatest difference of a weight {difference:.3g}"
    if difference > options.tolerance:
        raise ValueError(f"the resumed weights differ by {difference:.3g}, at most {options.tolerance:.3g} expected")


def measure_slides(options: argparse.Namespace, folder: Path, ends: float) -> Iterator[Row]:
    """Compare the analysis of a slide with the plain forward loop."""
    side, batch = max(2048, int(24_576 * options.scale**0.5)), max(8, int(256 * options.scale))
    device = "cuda" if options.device == "gpu" else options.device
    for network in ("resnet50", "vit_small_patch16_224"):
        words = ["--device", device, "--architectures", network, "--side", str(side), "--batch-size", str(batch)]
        words += ["--rounds", "2", "--loop-batches", "16", "--no-at-least"]
        output = _run([sys.executable, str(HERE / "slide_throughput.py"), *words], ends)
        yield f"{network}, {side} px, batch {batch}", output.splitlines()[-1]


def measure_start(options: argparse.Namespace, folder: Path, ends: float) -> Iterator[Row]:
    """Time the first prediction of a process."""
    output = _run([sys.executable, str(HERE / "first_prediction.py"), "--rounds", "2"], ends)
    for line in output.splitlines():
        yield line[:22].strip(), " ".join(line[22:].split())


# ``ends``: on the monotonic clock
Part = Callable[[argparse.Namespace, Path, float], Iterator[Row]]
PARTS: dict[str, Part] = {
    "machine": check_machine,
    "training": measure_training,
    "resume": measure_resume,
    "slides": measure_slides,
    "start": measure_start,
}
_PHANTOMS = "import sys; sys.path.insert(0, sys.argv[1]); import pathlib, training_throughput as t; "
_PHANTOMS += "t.phantoms(pathlib.Path(sys.argv[2]), int(sys.argv[3]))"
_RECIPE = """
epochs = 4
batch_size = 16
patience = 4
keep = "last"
ema_decay = 0.9
samples = 0
device = "{device}"
seed = 1

[data]
datasets = ["{data}"]
split = "all"
validation_fraction = 0.2

[model]
architecture = "deeplabv3plus"
start = "none"
input_size = 128
"""


def _interrupt(
    words: list[str], folder: Path, epochs: int, ends: float, stop: Callable[[subprocess.Popen[bytes]], object]
) -> None:
    """Start or resume a run, and stop it within the epoch after the given number of finished ones."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None and time.monotonic() < ends and _finished_epochs(folder) < epochs:
            time.sleep(0.02)
        stop(process)
        process.communicate()


def _finished_epochs(folder: Path) -> int:
    """Count the epochs of a run with a checkpoint."""
    metrics = folder / "metrics.csv"
    return max(0, len(metrics.read_text(encoding="utf-8").splitlines()) - 1) if metrics.exists() else 0


def _run(words: list[str], ends: float, expected: tuple[int, ...] = (0,)) -> str:
    """Run a command and return what it printed."""
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # the same sums in each run
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=max(ends - time.monotonic(), 1)
    )
    if done.returncode not in expected:
        raise ValueError(f"exit code {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout.strip()


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not finished within {LIMIT_S:.0f} s of the whole script"
    return str(error)


def _arguments() -> argparse.Namespace:
    parser: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images, batches and tiles")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), help="some parts only")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="greatest difference of resumed weights")
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


if __name__ == "__main__":
    main()
