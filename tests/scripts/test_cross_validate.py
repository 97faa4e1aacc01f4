"""The script that cross-validates a recipe: what a fold judges, its network has not seen, whatever the recipe says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.config import read_toml
from napari_melanoma.data.dataset import DatasetEntry, iter_entries
from napari_melanoma.extensions.papers.predictions import PooledPredictions, estimate_metrics
from napari_melanoma.io.results import write_table
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


def test_a_recipe_that_learns_from_every_image_leaves_out_the_fold_that_is_evaluated(
    script: ModuleType, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[TrainRecipe] = []
    monkeypatch.setattr(script, "train", lambda recipe, *_, **__: learnt.append(recipe))
    shipped = read_toml(repository / "recipes/melanoma-small.toml", TrainRecipe)
    assert shipped.data.split == "all"
    script._train_fold(shipped, tmp_path / "fold", tmp_path / "run")
    (recipe,) = learnt
    assert (recipe.data.split, recipe.data.test_split) == ("train", "test")
    assert recipe.data.datasets == (str((tmp_path / "fold").resolve()),)


def test_folds_read_the_images_of_the_data_set(
    script: ModuleType, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tmp_path / "moles"
    (dataset / "images").mkdir(parents=True)
    names = [f"i{number}" for number in range(10)]
    for number, name in enumerate(names):
        Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(dataset / "images" / f"{name}.png")
    rows = [{"image_id": name, "diagnosis": ("nevus", "melanoma")[number % 2]} for number, name in enumerate(names)]
    write_table(dataset / "dataset.csv", rows)
    found: list[list[str]] = []

    def read(recipe: TrainRecipe, *_: object, **__: object) -> None:
        entries = list(iter_entries(Path(recipe.data.datasets[0])))
        found.append([entry.image_id for entry in entries if isinstance(entry, DatasetEntry) and entry.image])
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "train", read)
    arguments = [repository / "recipes/melanoma-small.toml", dataset, "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["cross_validate.py", *map(str, arguments)])
    with pytest.raises(KeyboardInterrupt):
        script.main()
    assert found == [names]


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
    found = script._figures(ClassificationConfig(), entries, [1 + n % 5 for n in range(60)], rows)
    held, several = (np.array([float(row[name]) for row in rows]) for name in ("held", "inconclusive"))
    pooled = PooledPredictions(truth, predicted, predicted, (predicted >= cuts).astype(float), held, several)
    expected = estimate_metrics(pooled, [f"p{n // 2}" for n in range(60)])
    assert found["both"] == {script.NAMES[key]: expected[key] for key in ("AUC", "AP", "SE90", "SP90", "ECE")}
    assert found["sets"]["held"] == expected["COV"]
    assert found["both less image"]["AUC"].mean == pytest.approx(expected["AUC"].mean - 0.5)
    assert found["image"]["AUC"].mean == 0.5
