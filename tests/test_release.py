"""The script that releases models: pooled figures of a cross-validation, and sections of the card written by hand."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from napari_melanoma.metrics.class_metrics import ClassPredictions, class_estimates
from napari_melanoma.models.installed_bundles import find_bundle

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "release.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folds(tmp_path: Path) -> list[Path]:
    """Two evaluations of 30 images, with thresholds of their own."""
    random = np.random.default_rng(0)
    for fold, threshold in enumerate((0.45, 0.55)):
        folder, melanoma = tmp_path / f"{fold}", random.random(30) < 0.4
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"positive": "melanoma", "threshold": threshold}))
        table = pd.DataFrame(
            {
                "image_id": [f"{fold}-{number:02}" for number in range(30)],
                "group": [f"{fold}-{number // 2}" for number in range(30)],
                "status": "done",
                "label": np.where(melanoma, "melanoma", "nevus"),
                "probability_melanoma": np.clip(0.3 + 0.4 * melanoma + random.normal(0, 0.2, 30), 0, 1),
            }
        )
        table.to_csv(folder / "per_image.csv", index=False)
    return [tmp_path / "0", tmp_path / "1"]


def test_the_predictions_of_all_folds_are_pooled(script: ModuleType, folds: list[Path]) -> None:
    pooled = script.pool_folds(folds)
    found, truth = script.estimate(pooled), pooled["positive"].to_numpy()
    assert len(pooled) == 60
    scores = pooled["probability"].to_numpy()
    whole = ClassPredictions(
        np.stack([1 - scores, scores], 1), truth.astype(int), pooled["group"].to_numpy(), ("a", "b"), "b"
    )
    assert found["AUC"] == class_estimates(whole)["AUC"]
    above = scores >= np.repeat((0.45, 0.55), 30)
    assert found["sensitivity"].mean == pytest.approx(above[truth].mean())
    assert found["specificity"].mean == pytest.approx(1 - above[~truth].mean())


def test_age_groups_have_the_figures_of_their_images(script: ModuleType, folds: list[Path]) -> None:
    pooled = script.pool_folds(folds)
    ages = {name: 20 + 50 * (number % 2) for number, name in enumerate(pooled["image_id"])}
    young, old = script.estimate_ages(pooled, ages)
    assert (young.name, old.name) == ("age: 0 to 29", "age: 70 and over")
    part = pooled[pooled["image_id"].map(ages) == 70]
    assert (old.count, old.positives) == (30, part["positive"].sum())
    assert old.figures["sensitivity"].mean == pytest.approx(part["above"][part["positive"]].mean())


def test_sections_of_a_card_that_are_written_by_hand_are_kept(script: ModuleType) -> None:
    sections = script.list_sections(find_bundle("lesion-small").card)
    titles = [section.partition("\n")[0] for section in sections]
    assert titles == ["## Outside the development data", "## Turned photographs", "## Data", "## Limitations"]
    assert "Known failures" in sections[-1]
