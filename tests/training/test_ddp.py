"""Two processes on the processor learn what one does and hear what it hears.

The second is always a separate process that Lightning starts; the first one is separate where noted.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]
Events = Callable[[Path], list[dict[str, Any]]]
Live = Callable[[list[str], Path], BaseProcess]
PATIENCE_S = 300

pytestmark = [
    pytest.mark.usefixtures("user_folders"),
    pytest.mark.skipif(sys.platform == "win32", reason="several devices are refused on Windows"),
]


def words(recipe: TrainRecipe, out: Path, *options: str) -> list[str]:
    """The command that starts a run."""
    config = out.with_suffix(".toml")
    write_toml(config, recipe)
    return ["train", "--config", str(config), "--out", str(out), *options]


def start(recipe: TrainRecipe, out: Path) -> subprocess.Popen[str]:
    """Start a run as a person does, by the module, so that Lightning can start it again for the second process."""
    command = [sys.executable, "-m", "napari_melanoma", *words(recipe, out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def losses(out: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((out / "metrics.csv").read_text().splitlines())
    return [{name: float(value) for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture
def recipe_for_two(alone: TrainRecipe, change: Change) -> TrainRecipe:
    """Nothing in it depends on what else is in a batch, not even what is mixed; normalisation is frozen."""
    model, mixed = {"freeze_normalisation": True}, {"mosaic_probability": 0.3, "cutmix_probability": 0.3}
    two = change(alone, model=model, augmentation=mixed, data={"tuning_fraction": 0.3})
    return change(two, epochs=3, devices=2, ema_decay=0.5)


def test_two_processes_learn_what_one_does(
    recipe_for_two: TrainRecipe, tmp_path: Path, change: Change, events: Events, live: Live
) -> None:
    output = tmp_path / "two.txt"
    run = live(words(recipe_for_two, tmp_path / "two"), output)
    train(change(recipe_for_two, devices=1), tmp_path / "one", resume=False, run=RunContext())
    run.join(PATIENCE_S)
    printed = output.read_text()
    assert run.exitcode == 0, printed
    for one, two in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert two[name] == pytest.approx(value, rel=0.02), name
    kinds = [event["kind"] for event in events(tmp_path / "two") if event["kind"] not in ("step", "progress", "notice")]
    assert kinds == ["started", *["samples", "epoch"] * 3, "finished"]  # by one process alone
    assert printed.count("Trained 'blobs'") == 1


def test_cancel_and_resume_reach_every_process(
    recipe_for_two: TrainRecipe, tmp_path: Path, change: Change, events: Events, live: Live
) -> None:
    out, output = tmp_path / "run", tmp_path / "again.txt"
    recipe = change(recipe_for_two, epochs=400, patience=400)
    run = start(recipe, out)
    wait_for(out, "epoch", run)
    RunFolder(out).write_command("pause")
    wait_for(out, "paused", run)
    RunFolder(out).write_command("cancel")
    printed = run.communicate(timeout=PATIENCE_S)[0]
    assert run.returncode == 130, printed
    assert events(out)[-1]["kind"] == "cancelled"
    RunFolder(out).write_command("run")
    done = len(losses(out))
    again = live(words(recipe, out, "--resume"), output)
    end = time.monotonic() + PATIENCE_S
    while len(losses(out)) <= done:
        assert again.is_alive(), output.read_text()
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.2)
    again.terminate()  # as a cluster does
    again.join(PATIENCE_S)
    assert again.exitcode == 128 + 15, output.read_text()
    assert events(out)[-1]["kind"] == "cancelled"


def wait_for(out: Path, kind: str, run: subprocess.Popen[str]) -> None:
    """Wait until an event is recorded."""
    end = time.monotonic() + PATIENCE_S
    while not any(event["kind"] == kind for event in RunFolder(out).read_events()):
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < end, f"no event {kind}"
        time.sleep(0.1)
