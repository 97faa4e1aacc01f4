"""Two processes on the CPU stop together, can be resumed, and train the same as one process.

The second is always a separate process that Lightning starts.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from patience import LONG_PATIENCE_S

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder, RunState
from napari_melanoma.runs.launching import read_run
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]
Events = Callable[[Path], list[dict[str, Any]]]
Live = Callable[[list[str], Path], BaseProcess]
EPOCHS = 6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("user_folders"),
    pytest.mark.skipif(sys.platform == "win32", reason="several devices are refused on Windows"),
]


def words(recipe: TrainRecipe, out: Path, *options: str) -> list[str]:
    """The command that starts a run."""
    config = out.with_suffix(".toml")
    write_toml(config, recipe)
    return ["train", "--config", str(config), "--out", str(out), *options]


def losses(out: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((out / "metrics.csv").read_text().splitlines())
    return [{name: float(value) for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture
def recipe_for_two(alone: TrainRecipe, change: Change) -> TrainRecipe:
    """A recipe in which nothing depends on the other images of a batch; normalization is frozen."""
    model, mixed = {"freeze_normalisation": True}, {"mosaic_probability": 0.3, "cutmix_probability": 0.3}
    two = change(alone, model=model, augmentation=mixed, data={"validation_fraction": 0.3})
    return change(two, epochs=EPOCHS, patience=EPOCHS, devices=2, ema_decay=0.5, samples=4)


def test_two_processes_stop_together_and_train_the_same_as_one(
    recipe_for_two: TrainRecipe, tmp_path: Path, change: Change, events: Events, live: Live
) -> None:
    out, output = tmp_path / "two", tmp_path / "two.txt"
    run = live(words(recipe_for_two, out), output)
    wait_for(out, "epoch", run, output)
    RunFolder(out).write_command("pause")
    wait_for(out, "paused", run, output)  # both wait for each other's commands
    run.terminate()  # as a cluster does
    run.join(LONG_PATIENCE_S)
    assert run.exitcode == 128 + 15, output.read_text()
    assert events(out)[-1]["kind"] == "cancelled"
    assert 0 < len(losses(out)) < EPOCHS
    RunFolder(out).write_command("run")
    again = live(words(recipe_for_two, out, "--resume"), output)
    train(change(recipe_for_two, devices=1), tmp_path / "one", resume=False, run=RunContext())
    again.join(LONG_PATIENCE_S)
    printed = output.read_text()
    assert again.exitcode == 0, printed
    for one, two in zip(losses(tmp_path / "one"), losses(out), strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert two[name] == pytest.approx(value, rel=0.02), name
    kinds = [event["kind"] for event in events(out) if event["kind"] not in ("step", "progress", "notice")]
    assert [kinds.count(kind) for kind in ("started", "paused", "samples", "epoch", "finished")] == [
        2,
        1,
        *[EPOCHS] * 2,
        1,
    ]  # written by one process only
    assert printed.count("Trained 'blobs'") == 1


def test_a_cancel_command_ends_both_processes(
    recipe_for_two: TrainRecipe, tmp_path: Path, change: Change, events: Events, live: Live
) -> None:
    """Only the first process reads the command; the second one must not wait for it forever."""
    out, output = tmp_path / "two", tmp_path / "two.txt"
    run = live(words(change(recipe_for_two, epochs=1000, patience=1000, samples=0), out), output)
    wait_for(out, "epoch", run, output)
    (helper,) = psutil.Process(run.pid).children()
    RunFolder(out).write_command("cancel")
    run.join(LONG_PATIENCE_S)
    assert run.exitcode == 130, output.read_text()
    helper.wait(LONG_PATIENCE_S)
    kinds = [event["kind"] for event in events(out)]
    assert kinds[-1] == "cancelled"
    assert kinds.count("cancelled") == 1
    assert "failed" not in kinds


@pytest.mark.parametrize("killed", ["the first process", "the second process"])
def test_killing_one_of_two_processes_ends_both(
    killed: str, recipe_for_two: TrainRecipe, tmp_path: Path, change: Change, live: Live
) -> None:
    out, output = tmp_path / "two", tmp_path / "two.txt"
    run = live(words(change(recipe_for_two, epochs=1000, patience=1000, samples=0), out), output)
    wait_for(out, "epoch", run, output)
    (helper,) = psutil.Process(run.pid).children()
    if killed == "the first process":
        run.kill()
    else:
        helper.kill()
    run.join(LONG_PATIENCE_S)
    psutil.wait_procs([helper], LONG_PATIENCE_S)
    assert run.exitcode != 0
    assert not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE
    assert read_run(out).state in (RunState.failed, RunState.lost)
    assert "Resume continues from epoch" in read_run(out).message or "another process" in read_run(out).message


def wait_for(out: Path, kind: str, run: BaseProcess, output: Path) -> None:
    """Wait until an event is recorded."""
    end = time.monotonic() + LONG_PATIENCE_S
    while not any(event["kind"] == kind for event in RunFolder(out).read_events()):
        assert run.is_alive(), output.read_text()
        assert time.monotonic() < end, f"no event {kind}"
        time.sleep(0.02)
