"""Phantom bags with known truth: a few known tiles determine the class of a slide."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.io.slide_store import DONE, FAILED, SlideResult, SlideResultSpec
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.models.bundle import BundleInfo

FEATURES, TILES, DECIDING = 12, 48, 3
SIGN = np.array([4.0] * 4 + [0.0] * (FEATURES - 4))  # added to the noise of a decisive tile

Draw = Callable[..., Path]


def write_bag(folder: Path, embeddings: NDArray, failed: Sequence[int] = (), **how: Any) -> Path:
    """Write a result folder as ``slide`` does with an encoder; ``how``: model, weights, mpp, kind, settings."""
    tiles, features = embeddings.shape
    columns = 8
    rows = -(-tiles // columns)
    order = np.stack(np.divmod(np.arange(tiles), columns), axis=1).astype(np.int32)
    settings = {"model": how.get("model", "toy"), "weights": how.get("weights", "5eed"), **how.get("settings", {})}
    spec = SlideResultSpec(
        slide=folder.name,
        fingerprint=f"slide {folder.name}",
        kind=how.get("kind", "embedding"),
        rows=rows,
        columns=columns,
        corner=(0, 0),
        step=(32, 32),
        pixel_size_um=(0.5, 0.5),
        tile_px=32,
        features=features,
        settings=settings,
        batch_size=8,
    )
    folder.mkdir(parents=True)
    writer = SlideResult.create(folder, spec, order).writer()
    states = np.full(tiles, DONE, np.uint8)
    states[list(failed)] = FAILED
    writer.put(
        0, states[: how.get("done", tiles)], {"embedding": embeddings.astype(np.float16)[: how.get("done", tiles)]}
    )
    writer.flush()
    mpp = how.get("mpp", 0.5)
    content = {"model": {"name": settings["model"], "mpp": mpp}, "tile_mpp": [mpp, mpp], "licence": "CC0-1.0"}
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def draw_bag(folder: Path, positive: bool, seed: int, tiles: int = TILES, **how: Any) -> list[int]:
    """Write a bag of noise, with a few decisive tiles if the slide is positive; return their indices."""
    draw = np.random.default_rng(seed)
    embeddings = draw.normal(size=(tiles, FEATURES))
    deciding = sorted(draw.choice(tiles, DECIDING, replace=False).tolist()) if positive else []
    embeddings[deciding] += SIGN
    write_bag(folder, embeddings, **how)
    return deciding


@cache
def draw_once(folder: Path, positive: bool, seed: int) -> list[int]:
    """Write a bag of which data sets get copies: writing takes twenty times as long as copying."""
    return draw_bag(folder, positive, seed)


@pytest.fixture(scope="session")
def draw_cohort(tmp_path_factory: pytest.TempPathFactory) -> Draw:
    """Write a data set of slides, every second one positive: folder, number of slides, labels, seed.

    ``label`` overrides the label in the table.
    """
    drawn = tmp_path_factory.mktemp("bags")

    def write(folder: Path, slides: int = 24, label: Callable[[int], bool] | None = None, seed: int = 0) -> Path:
        truth, rows = {}, []
        for number in range(slides):
            name, positive = f"slide_{number:02d}", number % 2 == 1
            truth[name] = draw_once(drawn / str(seed) / name, positive, 1000 * seed + number)
            shutil.copytree(drawn / str(seed) / name, folder / name)
            is_positive = positive if label is None else label(number)
            split = "test" if number % 6 in (4, 5) else "train"
            row = {"image_id": name, "patient_id": f"p{number // 2 if label else number}", "split": split}
            rows.append({**row, "diagnosis": "melanoma" if is_positive else "naevus"})
        with (folder / "dataset.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
        return folder

    return write


def bag_recipe(dataset: Path, **more: Any) -> TrainRecipe:
    """A recipe that trains in a second."""
    values: dict[str, Any] = {
        "name": "phantom-mil",
        "task": "classification",
        "bags": {"tiles": 32},
        "data": {"datasets": [str(dataset)], "validation_fraction": 0.3},
        "model": {"options": {"hidden": 16, "attention": 8, "dropout": 0.1}},
        "classification": {"target": "diagnosis", "classes": ["naevus", "melanoma"]},
        "epochs": 12,
        "learning_rate": 0.02,
        "device": "cpu",
    }
    return TrainRecipe.parse({**values, **more}, "test")


@pytest.fixture
def cohort(draw_cohort: Draw, tmp_path: Path) -> Path:
    """A data set of 24 slides."""
    return draw_cohort(tmp_path / "cohort")


@pytest.fixture(scope="session")
def learnt(draw_cohort: Draw, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, BundleInfo]:
    """A data set, a run that was trained on it, and its bundle."""
    folder = tmp_path_factory.mktemp("learnt")
    data = draw_cohort(folder / "cohort", slides=60)
    bundle = train(bag_recipe(data, epochs=15), folder / "run", resume=False, run=RunContext())
    assert bundle is not None
    return data, folder / "run", bundle


@pytest.fixture(name="write_bag")
def write_bag_fixture() -> Callable[..., Path]:
    """Write a result folder of an encoder: folder, embeddings, failed positions, other values of its header."""
    return write_bag


@pytest.fixture(scope="session", name="bag_recipe")
def bag_recipe_fixture() -> Callable[..., TrainRecipe]:
    """Return a function that creates a recipe of a second from a data set and changes."""
    return bag_recipe
