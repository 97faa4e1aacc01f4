"""Data sets of dark disks, plans of two steps, three folds, and classifiers that are not trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.prediction_config import ClassifierConfig, OperatingPoint, TabularEncoding
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import read_datasets, select_trainable
from napari_melanoma.extensions.papers import paper_rows, planning, run
from napari_melanoma.extensions.papers.papers import TrainingBudget, papers, read_paper
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.models.bundle import BundleConfig, ReferenceCases, write_bundle
from napari_melanoma.models.zoo import build_network
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, write_data


def write_spots(folder: Path, count: int = 12, seed: int = 0, split: str = "") -> Path:
    """Write a data set of dark disks on bright skin, two images per patient."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :48]
    for index in range(count):
        centre = rng.uniform(14, 26, 2)
        mask = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(6, 12)
        skin = np.where(mask[..., None], (90, 50, 40), (230, 190, 170)) + rng.normal(0, 12, (40, 48, 3))
        write_rgb(folder / f"images/s{index}.png", skin.clip(0, 255).astype(np.uint8))
        write_mask(folder / f"masks/s{index}.png", mask)
    table = [{"image_id": f"s{n}", "patient_id": f"p{n // 2}", "split": split} for n in range(count)]
    write_table(folder / "dataset.csv", table)
    return folder


@pytest.fixture(scope="session", name="spots")
def spots_() -> Callable[..., Path]:
    """A function that writes a data set of disks."""
    return write_spots


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set of each role, one that is used only by name, and an unknown one."""
    folder = tmp_path_factory.mktemp("sets")
    for seed, name in enumerate(("isic2017", "dermofit", "ph2", "unknown")):
        write_spots(folder / name, seed=seed)
    return folder


def patch_plan(monkeypatch: pytest.MonkeyPatch, steps: int = 2, side: int | None = None) -> None:
    """Plan a number of steps for every row, and smaller images if a side is given."""
    budget = TrainingBudget(steps=steps)
    for module in (planning, run):
        monkeypatch.setattr(module, "BUDGETS", {"small": budget, "full": budget})
    monkeypatch.setattr("napari_melanoma.runs.resolved_settings.find_precision", lambda *of: "fp32")
    if side is not None:
        complete = paper_rows.complete_recipe_with

        def reduce(*arguments: Any) -> TrainRecipe:
            recipe = complete(*arguments)
            model = recipe.model.model_copy(update={"input_size": side})
            return recipe.model_copy(update={"model": model})

        monkeypatch.setattr(paper_rows, "complete_recipe_with", reduce)


@pytest.fixture(scope="session")
def two_steps() -> Callable[[pytest.MonkeyPatch], None]:
    """A function that patches a plan: two steps for every row."""
    return patch_plan


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, two_steps: Callable[[pytest.MonkeyPatch], None]) -> None:
    """Plan two steps for every row."""
    two_steps(monkeypatch)


def write_moles(folder: Path, count: int = 30, seed: int = 0) -> Path:
    """Write a data set of disks, two per patient; those of every third, older patient are dark blue melanomas."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:64, :64]
    table = []
    for index in range(count):
        melanoma = index // 2 % 3 == 0
        centre, radius = rng.uniform(24, 40, 2), rng.uniform(10, 18)
        mask = np.hypot(rows - centre[0], columns - centre[1]) < radius
        lesion = (30, 20, 70) if melanoma else (150, 90, 60)
        speckles = np.kron(rng.normal(0, 40, (8, 8, 1)), np.ones((8, 8, 1)))  # no two are the same picture
        skin = np.where(mask[..., None], lesion, speckles + np.array((200, 160, 140))) + rng.normal(0, 6, (64, 64, 3))
        write_rgb(folder / f"images/m{index}.png", skin.clip(0, 255).astype(np.uint8))
        write_mask(folder / f"masks/m{index}.png", mask)
        patient = {"age": int(rng.normal(70 if melanoma else 40, 4)), "sex": "female", "site": "posterior torso"}
        predicted = {"melanoma": int(melanoma), "diagnosis": "melanoma" if melanoma else "nevus"}
        table.append({"image_id": f"m{index}", "patient_id": f"p{index // 2}", **patient, **predicted})
    write_table(folder / "dataset.csv", table)
    return folder


@pytest.fixture(scope="session", name="moles")
def moles_() -> Callable[..., Path]:
    """A function that writes a data set of melanomas and others."""
    return write_moles


PATIENTS = 60


def write_patients(folder: Path, count: int = PATIENTS, seed: int = 0) -> Path:
    """Write patients with an image of noise; thick melanomas of old patients metastasize; a fifth is the test set."""
    rng, table = np.random.default_rng(seed), []
    for index in range(count):
        spread = index % 2
        coarse = np.kron(rng.uniform(0, 255, (8, 8, 3)), np.ones((8, 8, 1)))
        write_rgb(folder / f"images/p{index}.png", coarse.astype(np.uint8))
        depth = float(np.exp(rng.normal(0.8 * spread, 0.7)))
        known = {"age": int(rng.normal(55 + 8 * spread, 10)), "sex": "female", "site": "posterior torso"}
        known |= {"depth_mm": round(depth, 2), "clark": 2 + spread, "metastasis": spread}
        known |= {"necrosis": "" if index % 15 == 14 else int(index % 3 == 0)}
        known |= {f"depth_mm_reader_{one}": round(depth * rng.normal(1, 0.1), 1) for one in (1, 2)}
        split = "test" if index < count // 5 else "train"
        table.append({"image_id": f"p{index}", "patient_id": f"q{index}", "split": split, **known})
    write_table(folder / "dataset.csv", table)
    return folder


@pytest.fixture(scope="session", name="patients")
def patients_() -> Callable[..., Path]:
    """A function that writes a data set of patients with and without metastasis."""
    return write_patients


FOLDS = 3


@pytest.fixture(scope="module")
def three_folds() -> Iterator[int]:
    """Use three folds instead of five to save time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in papers():
            patch.setitem(vars(read_paper(name).file), "folds", FOLDS)
        yield FOLDS


OPTIONS = {"encoder": "test_efficientnet", "fusion": "none", "out_features": 8}
POINT = OperatingPoint(
    target_sensitivity=0.9,
    threshold=0.4,
    sensitivity=0.9,
    sensitivity_interval=(0.8, 1),
    specificity=0.5,
    specificity_interval=(0.4, 0.6),
)


def write_classifier(recipe: TrainRecipe, out: Path) -> None:
    """Write a run folder with a bundle whose weights depend on the name of its fold."""
    import torch

    assert recipe.classification is not None
    torch.manual_seed(int(out.name.rpartition("-")[2]))
    folder, draw = RunFolder(out), np.random.default_rng(0)
    folder.checkpoints.mkdir(parents=True)
    write_toml(folder.config, recipe)
    for epoch in range(2):
        losses = {"loss": 1 / (epoch + 1), "validation_loss": 1.1 / (epoch + 1)}
        folder.add_metrics({"epoch": epoch, **losses, "validation_auc": 0.5 + epoch / 4})
    labels = np.arange(40) % 2
    reference = ReferenceCases(
        logits=draw.normal(0, 1, (40, 2)).astype(np.float32),
        labels=labels,
        groups=np.arange(40),
        embeddings=np.zeros((0, 4), np.float16),
        embedded_labels=np.zeros(0, np.int64),
    )
    config = BundleConfig(
        name=recipe.name,
        title=recipe.title,
        task="classification",
        architecture="image_tabular",
        options=OPTIONS,
        input_size=64,
        classes=("other", "melanoma"),
        classifier=ClassifierConfig(view=recipe.classification.view, operating_point=POINT),
        tabular=TabularEncoding(),
    )
    write_bundle(folder.bundle, config, build_network("image_tabular", OPTIONS), "", reference=reference)


def write_segmenter(recipe: TrainRecipe, out: Path) -> None:
    """Write a run folder with a small untrained network, whose validation masks are worse than the whole image."""
    folder, options = RunFolder(out), {"channels": 4}
    folder.checkpoints.mkdir(parents=True)
    write_toml(folder.config, recipe)
    for epoch in range(2):
        losses = {"loss": 1 / (epoch + 1), "validation_loss": 1.2 / (epoch + 1)}
        folder.add_metrics({"epoch": epoch, **losses, "validation_jaccard": epoch / 4, "validation_dice": 0.1})
    samples = select_trainable(read_datasets([Path(one) for one in recipe.data.datasets]))[:2]
    write_data(folder.data, [DataRow("validation", sample, "", "") for sample in samples])
    config = BundleConfig(
        name=recipe.name, title=recipe.title, architecture="unetpp_p2", options=options, input_size=32, threshold=0.5
    )
    write_bundle(folder.bundle, config, build_network("unetpp_p2", options), "")


@contextmanager
def patched() -> Iterator[Callable[[TrainRecipe, Path], None]]:
    """Write networks instead of training them."""

    def train(recipe: TrainRecipe, out: Path, **_: object) -> None:
        (write_classifier if recipe.classification else write_segmenter)(recipe, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_rows, "train", train)
        yield write_classifier


@pytest.fixture(scope="session", name="patched")
def patched_() -> Callable[..., AbstractContextManager[Callable[[TrainRecipe, Path], None]]]:
    """A context in which classifiers are written instead of trained."""
    return patched
