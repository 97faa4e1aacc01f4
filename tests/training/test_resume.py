"""A run that was stopped at any point and resumed ends with exactly the weights of an uninterrupted one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import RunError, SaveError
from napari_melanoma.models.bundle import BundleInfo, load_network, read_bundle
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]
Events = Callable[[Path], list[dict[str, Any]]]

Stop = Callable[..., None]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


def resume(recipe: TrainRecipe, out: Path) -> None:
    train(recipe, out, resume=True, run=RunContext())


def without_seconds(out: Path) -> list[str]:
    return [line.rsplit(",", 1)[0] for line in (out / "metrics.csv").read_text().splitlines()]


def assert_same(one: Path, other: Path) -> None:
    import torch

    states = [torch.load(out / "checkpoints" / "last.ckpt", weights_only=True) for out in (one, other)]
    for part in ("state_dict", "current_model_state"):
        for name, value in states[0].get(part, {}).items():
            assert torch.equal(value, states[1][part][name]), name
    assert states[0]["callbacks"] == states[1]["callbacks"]
    networks = [load_network(read_bundle(out / "bundle")).state_dict() for out in (one, other)]
    for name, value in networks[0].items():
        assert torch.equal(value, networks[1][name]), name
    assert without_seconds(one) == without_seconds(other)


WITH_MUCH_TO_REMEMBER: dict[str, object] = {
    "epochs": 3,
    "patience": 2,
    "monitor": "loss",
    "ema_decay": 0.9,
    "precision": "bf16",
    "augmentation": {"mosaic_probability": 0.4, "cutmix_probability": 0.4, "hair_probability": 0.4},
    "accumulate_batches": 2,
    "optimiser": "sgd",
    "schedule": "cosine_restarts",
    "cycle_epochs": 1.5,
    "learning_rate": 0.01,
    "wise_ft_weight": 0.25,
    "model": {"freeze_normalisation": True},
}


def test_resumed_run_equals_an_uninterrupted_one(
    alone: TrainRecipe, tmp_path: Path, change: Change, events: Events, stop: Stop
) -> None:
    recipe = change(alone, **WITH_MUCH_TO_REMEMBER)
    train(recipe, tmp_path / "whole", resume=False, run=RunContext())
    stop(recipe, tmp_path / "parts", "Epoch 1 of 3, ")  # before any epoch is finished
    stop(recipe, tmp_path / "parts", "Epoch 2 of 3, ", resume=True)
    resume(recipe, tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert not (tmp_path / "whole/start.safetensors").exists(), "without an initial bundle nothing is interpolated"
    started = [event for event in events(tmp_path / "parts") if event["kind"] == "started"]
    assert [(event["resumed"], event["epoch"]) for event in started] == [(False, 0), (True, 0), (True, 1)]
    epochs = [event for event in events(tmp_path / "whole") if event["kind"] == "epoch"]
    losses = [event["validation_loss"] for event in epochs]
    assert [event["best"] for event in epochs] == [loss < min(losses[:n], default=1e9) for n, loss in enumerate(losses)]
    assert best_score(tmp_path / "whole") == -min(losses), "the loss selects the epoch, also if it falls in each"


def best_score(out: Path) -> float:
    import torch

    state = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    return state["BestCheckpoint"]["best"]


def test_a_run_is_resumed_from_its_folder_alone(
    alone: TrainRecipe, blobs: Path, tiny_bundle: BundleInfo, tmp_path: Path, change: Change, stop: Stop
) -> None:
    """The folder was moved, the initial bundle and the data were deleted, and an older version was killed in it."""
    before, parts = tmp_path / "before", tmp_path / "parts"
    data = shutil.copytree(blobs, before / "data" / "blobs")
    start = shutil.copytree(tiny_bundle.path, before / "start")
    recipe = change(alone, wise_ft_weight=0.6, model={"start": str(start)}, data={"datasets": [str(data)]})
    train(recipe, tmp_path / "whole", resume=False, run=RunContext())
    stop(recipe, before / "run", "Epoch 1 of 2, ")  # before any epoch is finished: the folder has the initial weights
    (before / "run").rename(parts)
    shutil.rmtree(before)
    stop(recipe, parts, "Epoch 2 of 2, ", resume=True)
    remove_monitor(parts)
    add_incomplete_lines(parts)
    resume(recipe, parts)
    check_files(parts)
    assert_same(tmp_path / "whole", parts)
    check_parent(tmp_path / "whole", parts)


def remove_monitor(out: Path) -> None:
    """Change the recipe to that of a version without a choice of monitor."""
    config = out / "config.toml"
    text = config.read_text(encoding="utf-8")
    assert 'monitor = "metric"\n' in text
    config.write_text(text.replace('monitor = "metric"\n', ""), encoding="utf-8")


def add_incomplete_lines(out: Path) -> None:
    for name, line in (("events.jsonl", '{"time": 1, "ki'), ("metrics.csv", "1,0.4")):
        with (out / name).open("a") as file:
            file.write(line)


def check_files(out: Path) -> None:
    lines = (out / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines][-1] == "finished"
    assert len((out / "metrics.csv").read_text().splitlines()) == 3
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}


def check_parent(one: Path, other: Path) -> None:
    origins = [read_bundle(out / "bundle").config.provenance for out in (one, other)]
    assert origins[0]["parent"] == origins[1]["parent"] is not None


def test_a_run_that_was_stopped_early_is_not_continued(
    alone: TrainRecipe, tmp_path: Path, change: Change, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SaveError("the disk is full")

    recipe = change(alone, epochs=9, patience=1, learning_rate=1e-9)  # no epoch is better than the first
    with monkeypatch.context() as patch, pytest.raises(SaveError):
        patch.setattr("napari_melanoma.runs.bundling.write_bundle", fail)
        train(recipe, tmp_path, resume=False, run=RunContext())
    figures = [tmp_path / name / "of-before.json" for name in ("comparison", "evaluation")]
    for path in figures:  # as of a model that the run had before
        path.parent.mkdir()
        path.touch()
    resume(recipe, tmp_path)
    assert not any(path.exists() for path in figures)
    found = events(tmp_path)
    assert sum(event["kind"] == "epoch" for event in found) == 2
    assert any("stopped early" in str(event.get("message")) for event in found)
    assert found[-1]["kind"] == "finished"


def test_resume_with_another_recipe(alone: TrainRecipe, tmp_path: Path, change: Change) -> None:
    write_toml(tmp_path / "config.toml", alone)
    with pytest.raises(RunError, match="another recipe"):
        resume(change(alone, seed=9), tmp_path)


def test_settings_left_open_in_a_recipe_are_kept(
    alone: TrainRecipe, tmp_path: Path, change: Change, events: Events, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter((8, 2))
    monkeypatch.setattr("napari_melanoma.runs.resolved_settings.find_batch_size", lambda *_: next(sizes))
    recipe = change(alone, batch_size="auto")
    stop(recipe, tmp_path, "Epoch 2 of 2, ")
    resume(recipe, tmp_path)
    assert [event["batch_size"] for event in events(tmp_path) if event["kind"] == "started"] == [8, 8]
    assert json.loads((tmp_path / "resolved_settings.json").read_text())["batch_size"] == 8
