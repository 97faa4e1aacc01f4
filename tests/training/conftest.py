"""A data set of synthetic blobs, and the smallest recipe that trains on it."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.io.results import write_mask, write_table
from napari_melanoma.training.recipe import TrainRecipe

COUNT = 24
FEW = 24
LESION_SIDE = 64
HEAVY = ["napari_melanoma.runs.train", "napari_melanoma.training.tasks.segmentation", "lightning.pytorch", "timm"]
# Code of a process: multiprocessing imports the target by its name, which is impossible for a test module.
# Lightning starts further processes by the name of the main module.
LIFE = """
import os, sys
from importlib.util import find_spec
os.environ.update({environment!r})
for number in (1, 2):
    os.dup2(os.open({output!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
sys.modules["__main__"].__spec__ = find_spec("napari_melanoma.__main__")
sys.argv = ["napari-melanoma", *{words!r}]
from napari_melanoma.cli import app
app({words!r}, prog_name="napari-melanoma")
"""
Live = Callable[[list[str], Path], multiprocessing.process.BaseProcess]
Stop = Callable[..., None]


def draw_blobs(folder: Path, count: int = COUNT, side: int = 48, seed: int = 0) -> Path:
    """Write a data set whose lesions are dark disks on bright skin."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows, columns = np.mgrid[:side, :side]
    for index in range(count):
        centre, radius = rng.uniform(16, side - 16, 2), rng.uniform(7, 13)
        mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        skin = np.kron(
            rng.normal(0, 12, (side // 4, side // 4)), np.ones((4, 4))
        )  # otherwise all would be the same picture
        rgb = np.where(mask[..., None], (90, 50, 40), (230, 190, 170)) + rng.normal(0, 6, (side, side, 3))
        rgb += np.resize(skin, (side, side))[..., None]
        Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(folder / f"images/b{index:02}.png")
        write_mask(folder / f"masks/b{index:02}.png", mask)
    table = [
        {
            "image_id": f"b{index:02}",
            "patient_id": f"p{index // 2}",
            "split": "train" if index < count - 4 else "test",
            "modality": "macroscopic",
        }
        for index in range(count)
    ]
    write_table(folder / "dataset.csv", table)
    return folder


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of blobs."""
    return draw_blobs(tmp_path_factory.mktemp("data") / "blobs")


def draw_once(draw: Callable[..., Path], drawn: Path) -> Callable[..., Path]:
    """Return a function that writes a data set to a folder as a copy of one that was drawn once, which is faster."""
    known: dict[str, Path] = {}

    def write(folder: Path, *arguments: object, **options: object) -> Path:
        key = repr((arguments, sorted(options.items())))
        if key not in known:
            known[key] = draw(drawn / str(len(known)), *arguments, **options)
        return shutil.copytree(known[key], folder)

    return write


@pytest.fixture(scope="session")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes another data set of blobs to a folder."""
    return draw_once(draw_blobs, tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def recipe(blobs: Path) -> TrainRecipe:
    """Two epochs of a tiny network."""
    return TrainRecipe.parse(
        {
            "name": "blobs",
            "epochs": 2,
            "batch_size": 4,
            "device": "cpu",
            "precision": "fp32",
            "data": {"datasets": [str(blobs)], "validation_fraction": 0.2, "cache_size": 48},
            "model": {
                "options": {"encoder": "test_efficientnet", "decoder_channels": 16},
                "start": "none",
                "input_size": 32,
            },
        },
        "the test",
    )


def draw_lesions(folder: Path, decides: str, count: int = 96, seed: int = 0) -> Path:
    """Write dark red or dark blue lesions of young or old patients; color or age determines the label."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows, columns = np.mgrid[:LESION_SIDE, :LESION_SIDE]
    table = []
    for index in range(count):
        blue, old = rng.random(2) < 0.5
        centre = rng.uniform(20, LESION_SIDE - 20, 2)
        mask = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(10, 16)
        skin = np.kron(rng.normal(0, 14, (LESION_SIDE // 4, LESION_SIDE // 4)), np.ones((4, 4)))
        lesion = (40, 50, 150) if blue else (150, 50, 40)
        rgb = np.where(mask[..., None], lesion, (225, 190, 170)) + skin[..., None]
        Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(folder / f"images/c{index:03}.png")
        write_mask(folder / f"masks/c{index:03}.png", mask)
        row = {"image_id": f"c{index:03}", "patient_id": f"p{index}", "modality": "dermoscopic"}
        row |= {
            "age": int(rng.integers(60, 80) if old else rng.integers(20, 40)),
            "sex": rng.choice(["male", "female"]),
        }
        table.append({**row, "melanoma": int({"image": blue, "table": old}[decides]), "split": "train"})
    write_table(folder / "dataset.csv", table)
    return folder


@pytest.fixture(scope="session")
def draw_classes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes another data set of two classes to a folder."""
    return draw_once(draw_lesions, tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def by_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in which the color of the lesion determines the class, with as few images as a run needs."""
    return draw_lesions(tmp_path_factory.mktemp("classes") / "by-image", "image", FEW)


@pytest.fixture(scope="session")
def by_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in which the age of the patient determines the class."""
    return draw_lesions(tmp_path_factory.mktemp("classes") / "by-table", "table", 64)


@pytest.fixture(scope="session")
def class_recipe(by_image: Path) -> TrainRecipe:
    """Two epochs of the smallest classifier."""
    return TrainRecipe.parse(
        {
            "name": "classes",
            "task": "classification",
            "epochs": 2,
            "batch_size": 8,
            "samples": 0,
            "device": "cpu",
            "precision": "fp32",
            "data": {"datasets": [str(by_image)], "validation_fraction": 0.33, "cache_size": 64, "test_fraction": 0.0},
            "model": {
                "options": {"encoder": "test_efficientnet", "out_features": 16, "tabular_layers": [16], "hidden": 16},
                "start": "none",
                "input_size": 64,
            },
            "classification": {
                "tabular": {"numbers": [{"name": "age"}], "words": [{"name": "sex"}]},
                "drop_form": 0.0,
                "drop_field": 0.0,
            },
        },
        "the test",
    )


Change = Callable[..., TrainRecipe]


@pytest.fixture(scope="session")
def change() -> Change:
    """Return a function that changes values of a recipe; those of a section are given as a dict."""

    def changed(recipe: TrainRecipe, **values: object) -> TrainRecipe:
        whole = recipe.model_dump()
        for name, value in values.items():
            whole[name] = {**whole[name], **value} if isinstance(value, dict) else value
        return TrainRecipe.parse(whole, "the test")

    return changed


@pytest.fixture(scope="session")
def alone(recipe: TrainRecipe, change: Change) -> TrainRecipe:
    """The recipe without sample pictures, and without test images, so that no comparison follows."""
    return change(recipe, samples=0, data={"test_split": "nobody", "test_fraction": 0.0})


@pytest.fixture
def events() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function that reads all events of a run folder; each line must be complete."""
    return lambda folder: [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def stop() -> Stop:
    """Return a function that trains a recipe, and cancels it at the first report that starts with a text."""

    def stopped(recipe: TrainRecipe, out: Path, message: str, **options: bool) -> None:
        from napari_melanoma.runs.train import train
        from napari_melanoma.training import callbacks

        run = RunContext(lambda progress: run.cancel() if progress.message.startswith(message) else None)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Cancelled):
            patch.setattr(callbacks, "EVENT_INTERVAL_S", 0.0)  # each batch is reported
            train(recipe, out, run=run, **{"resume": False, **options})

    return stopped


@pytest.fixture(scope="session")
def live() -> Live:
    """Return a function that runs a command in a process, with its output in a file; forks share slow imports."""
    kinds = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in kinds else "spawn")
    if "forkserver" in kinds:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch must have no threads where processes are forked
        context.set_forkserver_preload(HEAVY)

    def started(words: list[str], output: Path) -> multiprocessing.process.BaseProcess:
        given = {name: value for name, value in os.environ.items() if name.startswith(("XDG_", "WIN_PD_", "OMP_"))}
        process = context.Process(
            target=exec, args=(LIFE.format(environment=given, output=str(output), words=words), {})
        )
        process.start()
        return process

    return started
