"""The script that cross-validates a recipe: what a fold judges, its network has not seen, whatever the recipe says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from napari_melanoma.core.config import read_toml
from napari_melanoma.training.recipe import TrainRecipe


@pytest.fixture
def script(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("cross_validate", repository / "scripts/cross_validate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_recipe_that_learns_from_every_image_leaves_out_the_fold_that_is_judged(
    script: ModuleType, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[TrainRecipe] = []
    monkeypatch.setattr(script, "train", lambda recipe, *_, **__: learnt.append(recipe))
    shipped = read_toml(repository / "recipes/melanoma-small.toml", TrainRecipe)
    assert shipped.data.split == "all"
    script._learn(shipped, tmp_path / "fold", tmp_path / "run")
    (recipe,) = learnt
    assert (recipe.data.split, recipe.data.held_out_split) == ("train", "test")
    assert recipe.data.datasets == (str((tmp_path / "fold").resolve()),)
