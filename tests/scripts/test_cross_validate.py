"""The script that pools the predictions of a cross-validation."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import astuple
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.data.dataset import DatasetEntry
from napari_melanoma.extensions.papers.predictions import PooledPredictions, estimate_metrics
from napari_melanoma.io.results import write_table
from napari_melanoma.runs.folds import train_folds
from napari_melanoma.training.recipe import ClassificationConfig, TrainRecipe


@pytest.fixture
def script(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    spec = importlib.util.spec_from_file_location("cross_validate", repository / "scripts/cross_validate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.usefixtures("user_folders")
def test_the_figures_of_a_cross_validation(
    script: ModuleType, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is predicted once, and the figures can be read for the card of a release."""
    dataset, folds, random = tmp_path / "moles", tmp_path / "folds", np.random.default_rng(0)
    (dataset / "images").mkdir(parents=True)
    rows = []
    for number in range(24):
        pixels = np.kron(random.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(pixels).save(dataset / "images" / f"i{number}.png")
        diagnosis, age = ("nevus", "melanoma")[number % 2], int(random.integers(20, 80))
        rows.append({"image_id": f"i{number}", "diagnosis": diagnosis, "melanoma": number % 2, "age": age})
    write_table(dataset / "dataset.csv", rows)
    options = {"encoder": "test_efficientnet", "out_features": 16, "tabular_layers": [16], "hidden": 16}
    values = {
        "task": "classification",
        "epochs": 1,
        "batch_size": 8,
        "device": "cpu",
        "precision": "fp32",
        "samples": 0,
        "data": {"datasets": [str(dataset)], "validation_fraction": 0.33, "cache_size": 64},
        "model": {"options": options, "start": "none", "input_size": 64},
        "classification": {"view": {"region": "photograph"}, "tabular": {"numbers": [{"name": "age"}], "words": []}},
    }
    train_folds(TrainRecipe.parse(values, "the test"), 2, folds, resume=False, run=RunContext())
    monkeypatch.setattr("sys.argv", ["cross_validate.py", str(folds)])
    assert script.main() == 0
    figures = json.loads((folds / "figures.json").read_text())
    assert {"both", "image", "form", "sets", "both less image", "groups"} == figures.keys()
    assert sum(group["count"] for group in figures["groups"] if group["name"].startswith("diagnosis")) == 24
    spec = importlib.util.spec_from_file_location("release_classifier", repository / "scripts/release_classifier.py")
    assert spec is not None
    assert spec.loader is not None
    release = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(release)
    assert release._read(figures, 2, "age").share == pytest.approx(0.5)


def test_predictions_are_pooled_as_in_the_reproduction(script: ModuleType, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    truth = random.random(60) < 0.4
    predicted = np.clip(0.3 + 0.4 * truth + random.normal(0, 0.2, 60), 0, 1).round(4)
    cuts = np.where(np.arange(60) % 2, 0.45, 0.55)
    rows = [
        {"image_id": f"i{n}", "class": "melanoma" if truth[n] else "nevus", "both": f"{predicted[n]}", "image": "0.5"}
        | {
            "threshold": f"{cuts[n]}",
            "held": f"{n % 5 > 0:d}",
            "inconclusive": f"{n % 3 == 0:d}",
            "out_of_distribution": "0",
        }
        for n in range(60)
    ]
    entries = [
        DatasetEntry({"image_id": f"i{n}", "patient_id": f"p{n // 2}"}, tmp_path / f"i{n}.png", None) for n in range(60)
    ]
    found = script._figures(
        ClassificationConfig(), entries, [1 + n % 5 for n in range(60)], rows, {f"i{n}" for n in range(40)}
    )
    held, several = (np.array([float(row[name]) for row in rows]) for name in ("held", "inconclusive"))
    pooled = PooledPredictions(truth, predicted, predicted, (predicted >= cuts).astype(float), held, several)
    expected = estimate_metrics(pooled, [f"p{n // 2}" for n in range(60)])
    assert found["both"] == {script.NAMES[key]: expected[key] for key in ("AUC", "AP", "SE90", "SP90", "ECE")}
    part = PooledPredictions(*(values[:40] for values in astuple(pooled)))
    new = estimate_metrics(part, [f"p{n // 2}" for n in range(40)])
    assert found["new"] == {script.NAMES[key]: new[key] for key in ("AUC", "AP", "SE90", "SP90", "ECE")}
    assert found["sets"]["held"] == expected["COV"]
    assert found["both less image"]["AUC"].mean == pytest.approx(expected["AUC"].mean - 0.5)
    assert found["image"]["AUC"].mean == 0.5
