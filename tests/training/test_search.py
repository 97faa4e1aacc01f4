"""The command for a search, with a tiny training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.extensions.studies.search import SearchRecipe
from napari_melanoma.models.bundle import load_network, read_bundle
from napari_melanoma.training.recipe import TrainRecipe

pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def searched(alone: TrainRecipe) -> SearchRecipe:
    """One epoch with losses and a schedule that no other test uses."""
    options = {
        "loss": ["ce_log_jaccard", "focal_tversky"],
        "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    }
    fixed = {"schedule": "cosine_restarts", "threshold_rule": "best", "epochs": 1, "samples": 0}
    return SearchRecipe.parse({**alone.model_dump(), **fixed, "search": {"trials": 9, "options": options}}, "the test")


@pytest.mark.slow
def test_the_search_command(searched: SearchRecipe, tmp_path: Path) -> None:
    write_toml(tmp_path / "recipe.toml", searched)
    words = ["search", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "out"), "--trials", "1", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    *_, trial, summary = (json.loads(line) for line in result.stdout.splitlines())
    assert (trial["event"], trial["number"], trial["state"], trial["epochs"]) == ("trial", 1, "finished", 1)
    assert trial["validation_jaccard"] == summary["validation_jaccard"]
    assert summary["options"].keys() == searched.search.options.keys()
    chosen = read_toml(tmp_path / "out" / "best.toml", TrainRecipe)
    assert (chosen.name, chosen.loss) == ("blobs", summary["options"]["loss"])
    bundle = read_bundle(tmp_path / "out" / "trials" / "trial-001" / "bundle")
    assert bundle.config.provenance["threshold_rule"] == "best"
    load_network(bundle)
    again = CliRunner().invoke(app, words)
    assert json.loads(again.stdout.splitlines()[-1])["validation_jaccard"] == summary["validation_jaccard"]


def test_a_recipe_without_a_search_is_a_usage_error(alone: TrainRecipe, tmp_path: Path) -> None:
    write_toml(tmp_path / "recipe.toml", alone)
    result = CliRunner().invoke(app, ["search", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "expected a table [search] with the options to vary, found none; add one" in result.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()
