"""Commands for a classifier: an automatic batch size, and an estimate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.config import write_toml
from napari_melanoma.training.recipe import TrainRecipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]
Change = Callable[..., TrainRecipe]


def run_json(words: list[str]) -> list[dict[str, Any]]:
    """Run a command, and return its JSON output."""
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_check_counts_and_estimates_and_a_batch_size_is_found(
    class_recipe: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    config = tmp_path / "recipe.toml"
    write_toml(config, change(class_recipe, epochs=1, samples=0, batch_size="auto"))
    *_, checked = run_json(["train", "--check", "--config", str(config)])
    assert checked["images"]["train"] + checked["images"]["validation"] == 24
    assert checked["estimate"]["seconds"] > 0
    assert checked["estimate"]["memory_mb"] > 100
    assert checked["estimate"]["steps"] > 0
    run_json(["train", "--config", str(config), "--out", str(tmp_path / "run")])
    size = json.loads((tmp_path / "run" / "resolved_settings.json").read_text())["batch_size"]
    assert 1 < size <= checked["images"]["train"]
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert any(
        event.get("message") == f"batch_size: {size} images per step fit into the free memory." for event in events
    )
