"""``runs`` and ``recipes`` on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.processes import ProcessStamp
from napari_melanoma.core.run_folder import PROCESS_FILE, RunFolder
from napari_melanoma.training.recipe import TrainRecipe

Run = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An active run that has finished two of twenty epochs."""
    folder = RunFolder(tmp_path / "runs" / "lesion-01")
    folder.path.mkdir(parents=True)
    write_toml(folder.config, TrainRecipe.parse({"epochs": 20, "data": {"datasets": ["x"]}}, "the test"))
    folder.append_event("started")
    folder.append_event("step", epoch=2, loss=0.3)
    for epoch in range(2):
        folder.add_metrics({"epoch": epoch, "validation_jaccard": 0.7 + epoch / 10})
    ProcessStamp.create().write(folder.path / PROCESS_FILE)
    return folder


def test_runs_are_listed(run: Run, folder: RunFolder, lines) -> None:
    listed = run("runs", "list", "runs").stdout.splitlines()
    assert listed[0].split() == ["lesion-01", "running", "Jaccard", "0.800", "Epoch", "3", "of", "20."]
    assert listed[1] == "1 run in runs"
    (found, summary) = lines(run("runs", "list", "runs", "--json").stdout)
    assert (found["name"], found["state"], found["epoch"], found["best_jaccard"]) == ("lesion-01", "running", 2, 0.8)
    assert summary["count"] == 1


def test_no_runs_yet(run: Run) -> None:
    done = run("runs", "list")
    assert done.exit_code == 0
    assert done.stdout.startswith("0 runs in ")


@pytest.mark.parametrize(("verb", "command"), [("pause", "pause"), ("unpause", "run"), ("cancel", "cancel")])
def test_an_active_run_receives_a_command(verb: str, command: str, run: Run, folder: RunFolder) -> None:
    folder.write_command("run" if command != "run" else "pause")
    done = run("runs", verb, folder.path)
    assert done.exit_code == 0, done.output
    assert folder.read_command() == command


def test_a_canceled_run_states_the_command_that_continues_it(run: Run, folder: RunFolder) -> None:
    command = f"napari-melanoma train --config {folder.path / 'config.toml'} --out {folder.path} --resume"
    assert command in " ".join(run("runs", "cancel", folder.path).stdout.split())


def test_a_finished_run_rejects_commands(run: Run, folder: RunFolder) -> None:
    folder.append_event("finished", threshold=0.5)
    done = run("runs", "cancel", folder.path)
    assert done.exit_code == 2
    assert "is finished, not active. Finished after 2 epochs" in done.stderr
    assert folder.read_command() == "run"


def test_recipes_are_listed(run: Run) -> None:
    listed = run("recipes", "list").stdout.splitlines()
    assert listed[0].split(maxsplit=1)[0] == "fine-tune"
    assert "For a few to a few hundred corrected masks" in listed[0]
    names = [line.split(" ", 1)[0] for line in listed[:-1]]
    assert names[-4:] == ["P1", "P2", "P3", "P4"]
    assert listed[-1].startswith(f"{len(names) - 4} recipes and 4 papers; ")
    command = listed[-1].rpartition("napari-melanoma ")[2].split()
    written = run(*command)
    assert written.exit_code == 0, written.output
    assert Path("recipe.toml").is_file()


def test_a_recipe_is_written_ready_to_run(run: Run, lines) -> None:
    words = ("recipes", "write", "fine-tune", "--data", "corrections", "--replay", "isic2017", "--out", "recipe.toml")
    done = run(*words)
    assert done.exit_code == 0, done.output
    recipe = read_toml(Path("recipe.toml"), TrainRecipe)
    assert (recipe.data.datasets, recipe.data.replay, recipe.model.start) == (
        ("corrections",),
        ("isic2017",),
        "lesion-small",
    )
    assert recipe.model.freeze_normalisation
    again = run(*words)
    assert again.exit_code == 2
    assert "recipe.toml exists already" in again.stderr


def test_a_recipe_keeps_its_own_start(run: Run) -> None:
    run("recipes", "write", "from-scratch", "--data", "x", "--out", "recipe.toml")
    assert read_toml(Path("recipe.toml"), TrainRecipe).model.start == "none"


def test_an_unknown_recipe(run: Run) -> None:
    done = run("recipes", "write", "fast", "--data", "x", "--out", "recipe.toml")
    assert done.exit_code == 2
    assert "there is no recipe 'fast' (known: fine-tune, classify, classify-p1," in done.stderr
