"""Jobs that write files: inputs, command, and the part of the output that must be equal after any kill."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from hostile.photos import encoded, scene, written
from hostile.sandbox import Sandbox
from hostile.tables import data_set, write

ALWAYS = ("napari_melanoma.cli", "napari_melanoma.data.merging", "napari_melanoma.case.store")
HEAVY = ("napari_melanoma.runs.train", "napari_melanoma.lesion.batch", "lightning.pytorch")
LONGEST_S = 240.0
RECIPE = """name = "tiny"
epochs = 3
batch_size = 4
device = "cpu"
precision = "fp32"
samples = 0
[data]
datasets = [{data!r}]
validation_fraction = 0.2
cache_size = 48
[model]
architecture = "r2_unet"
start = "none"
input_size = 32
[model.options]
channels = 4
"""


@dataclass(frozen=True)
class Job:
    """A command over ``IN`` that writes to ``OUT``; ``kept`` are the files that are the same in every run."""

    prepare: Callable[[Path, np.random.Generator], None]
    words: str
    kept: tuple[str, ...]
    has_network: bool = True

    def command(self, inputs: Path, out: Path) -> list[str]:
        """The words of the command; an interrupted training is resumed."""
        begun = self.words.startswith("train") and (out / "config.toml").exists()
        words = "train --config OUT/config.toml --out OUT --resume" if begun else self.words
        places = {"IN": str(inputs), "OUT": str(out)}
        return [re.sub(r"\b(IN|OUT)\b", lambda found: places[found[1]], word) for word in words.split()]


def photographs(folder: Path, rng: np.random.Generator) -> None:
    for number in range(6):
        written(folder / "photos" / f"P{number}_arm.png", encoded("png", scene(rng), rng))


def a_slide(folder: Path, rng: np.random.Generator) -> None:
    rgb = np.clip(np.array((215, 150, 190)) + rng.normal(0, 8, (768, 768, 3)), 0, 255).astype(np.uint8)
    rgb[150:400, 150:400] = np.clip(np.array((90, 40, 110)) + rng.normal(0, 8, (250, 250, 3)), 0, 255)
    how: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib", "metadata": None}
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / "section.tif", rgb, resolution=(1e4 / 0.5, 1e4 / 0.5), resolutionunit="CENTIMETER", **how)


def two_sets(folder: Path, rng: np.random.Generator) -> None:
    write(folder / "first", data_set(folder / "first", rng, 8))
    write(folder / "second", data_set(folder / "second", rng, 8, "other"))


def training(folder: Path, rng: np.random.Generator) -> None:
    rows = data_set(folder / "set", rng, 14)
    for row in rows[-3:]:
        row["split"] = "test"
    write(folder / "set", rows)
    written(folder / "recipe.toml", RECIPE.format(data=(folder / "set").as_posix()).encode())


TILE_TEST = Path(__file__).parent.parent / "shared" / "slide_models" / "tile-test"
IMAGES, TABLE, WEIGHTS = ("images/*", "masks/*"), "dataset.csv", "bundle/model.safetensors"
JOBS = {
    "lesion": Job(photographs, "lesion IN/photos --out OUT", ("*/*.png", "results.csv")),
    "slide": Job(
        a_slide,
        f"slide IN/section.tif --out OUT --model {TILE_TEST.as_posix()} --precision fp32",
        ("*/lesions.geojson", "*/lesions.csv", "*/tissue.png"),
    ),
    "merge": Job(two_sets, "data merge IN/first IN/second --out OUT", (*IMAGES, TABLE), has_network=False),
    "import": Job(two_sets, "data import folder IN/first --out OUT --no-patients", (*IMAGES, TABLE), has_network=False),
    "corrections": Job(
        two_sets,
        "data import-masks IN/first/masks --images IN/first/images --out OUT --no-patients",
        IMAGES,
        has_network=False,
    ),
    "case": Job(photographs, "case OUT --from IN/photos", (), has_network=False),
    "evaluate": Job(
        two_sets,
        "evaluate --model lesion-small --data IN/first --out OUT --no-difficulty",
        ("per_image.csv", "subgroups.csv"),
    ),
    "train": Job(training, "train --config IN/recipe.toml --out OUT", (WEIGHTS,)),
}


def kept_of(job: Job, out: Path) -> dict[str, str]:
    """The files that must be the same, by a hash of their content."""
    paths = sorted(path for pattern in job.kept for path in out.glob(pattern))
    return {path.relative_to(out).as_posix(): hashlib.blake2b(path.read_bytes()).hexdigest() for path in paths}


@cache
def reference(name: str) -> tuple[dict[str, str], float, Path]:
    """What a job gives when nothing disturbs it, how long it takes, and its inputs; found out once in a process."""
    job, folder = JOBS[name], Path(tempfile.mkdtemp(prefix=f"{name}-", dir=os.environ["HOME"]))
    job.prepare(folder / "in", np.random.default_rng(7))
    started = time.monotonic()
    life = Life(name, folder / "in", folder / "out", folder)
    if life.end() != 0:
        raise RuntimeError(f"'{name}' fails undisturbed: {life.message()}")
    return kept_of(job, folder / "out"), time.monotonic() - started, folder / "in"


class Life:
    """One process that runs a job, in a copy of a process that has loaded what the first job of the suite needs."""

    def __init__(self, job: str, inputs: Path, out: Path, folder: Path) -> None:
        context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            context.set_forkserver_preload([*ALWAYS, *(HEAVY if JOBS[job].has_network else ())])
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".txt", dir=os.environ["HOME"])
        os.close(handle)
        self._output = Path(name)
        environment = {name: os.environ[name] for name in os.environ if name in ("TMPDIR", "TEMP", "TMP")}
        words = JOBS[job].command(inputs, out)
        self.process = context.Process(target=_live, args=(words, str(self._output), environment))
        self.process.start()

    def end(self, seconds: float = LONGEST_S) -> int | None:
        """Wait for its end; give the exit code, None where it goes on and on (then it is killed)."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.kill()
            return None
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def message(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")[-1500:]


def _live(words: list[str], output: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    tempfile.tempdir = None
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False, encoding="utf-8") for number in (1, 2))
    from importlib.util import find_spec

    sys.modules["__main__"].__spec__ = find_spec("napari_melanoma.__main__")  # which Lightning looks for
    sys.argv = ["napari-melanoma", *words]
    from napari_melanoma.cli import app

    app(words, prog_name="napari-melanoma")


def wrong_in(name: str, out: Path) -> str:
    """What is wrong with the output of a job, compared with that of the undisturbed one."""
    expected, found = reference(name)[0], kept_of(JOBS[name], out)
    gone, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = sorted(path for path in expected.keys() & found.keys() if expected[path] != found[path])
    message = [
        f"{what}: {', '.join(paths[:3])}"
        for what, paths in (("lost", gone), ("added", more), ("different", other))
        if paths
    ]
    return "; ".join(message)


def setting(name: str, box: Sandbox) -> tuple[Path, Path]:
    """The inputs that all runs of a job share, and an output folder of its own."""
    out = box.outputs / "out"
    out.parent.mkdir(parents=True, exist_ok=True)
    return reference(name)[2], out
