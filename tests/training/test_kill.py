"""A run that is killed at random moments, or by SIGTERM, is never corrupt, and can be resumed with the same result."""

from __future__ import annotations

import csv
import json
import os
import random
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from patience import LONG_PATIENCE_S

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import load_network, read_bundle
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]
Live = Callable[[list[str], Path], BaseProcess]

KILLS = int(os.environ.get("NAPARI_MELANOMA_KILLS", "2"))
LONGEST_S = 0.3

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


def words(recipe: TrainRecipe, out: Path) -> list[str]:
    """Return the command that starts or resumes a run."""
    resumed, config = (out / "config.toml").exists(), out / "config.toml"
    if not resumed:
        config = out.with_suffix(".toml")
        write_toml(config, recipe)
    return ["train", "--config", str(config), "--out", str(out), *["--resume"] * resumed]


def start(live: Live, recipe: TrainRecipe, out: Path) -> BaseProcess:
    """Start or resume a run in a new process."""
    return live(words(recipe, out), out.with_suffix(".txt"))


def finish(live: Live, recipe: TrainRecipe, out: Path) -> None:
    """Start or resume a run, and wait until it has finished."""
    process = start(live, recipe, out)
    process.join(LONG_PATIENCE_S)
    assert process.exitcode == 0, out.with_suffix(".txt").read_text()


def wait_for_events(process: BaseProcess, out: Path, events: int) -> None:
    """Wait for a number of events of a process, independent of the speed of the machine."""
    end = time.monotonic() + LONG_PATIENCE_S
    before = count_events(out)
    while count_events(out) - before < events and process.is_alive():
        assert time.monotonic() < end, out.with_suffix(".txt").read_text()
        time.sleep(0.005)


def count_events(out: Path) -> int:
    """Count the complete events so far."""
    path = out / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def check_whole(out: Path) -> int:
    """Read every file as a dock would at this moment; return the number of completed epochs."""
    import torch

    lines = (out / "events.jsonl").read_text().split("\n")
    assert all(isinstance(json.loads(line)["kind"], str) for line in lines[:-1])
    checkpoints = {path.name: path for path in (out / "checkpoints").glob("[!.]*.ckpt")}
    states = {name: torch.load(path, weights_only=True) for name, path in checkpoints.items()}
    for name in ("config.toml", "resolved_settings.json", "control.json", "data.csv"):
        path = out / name
        assert not path.exists() or path.stat().st_size
    last = states.get("last.ckpt", {})
    return int(last["epoch"]) + ("partial_epoch" not in last) if "loops" in last else 0


def test_killed_at_random_moments(alone: TrainRecipe, tmp_path: Path, change: Change, live: Live) -> None:
    recipe = change(alone, epochs=8 * KILLS, patience=1000, ema_decay=0.9, samples=2)
    out, moments, safe = tmp_path / "killed", random.Random(7), 0
    for _ in range(KILLS):
        process = start(live, recipe, out)
        wait_for_events(process, out, moments.randint(1, 10))
        time.sleep(moments.uniform(0, LONGEST_S))
        process.kill()
        process.join()
        now = check_whole(out)
        assert now >= safe
        safe = now
    stop_by_sigterm(live, recipe, out)
    safe = check_whole(out)
    assert 0 < safe < recipe.epochs, "killed too early or too late for the test"
    finish(live, recipe, out)
    finish(live, recipe, tmp_path / "whole")
    assert_same(tmp_path / "whole", out)
    assert_one_epoch_lost_at_most(out)


def stop_by_sigterm(live: Live, recipe: TrainRecipe, out: Path) -> None:
    """End the process of a run with SIGTERM, as a cluster does; Windows has no SIGTERM."""
    process = start(live, recipe, out)
    wait_for_events(process, out, 3)  # more than the event that it has started
    process.terminate()
    process.join(LONG_PATIENCE_S)
    if sys.platform != "win32":
        assert process.exitcode == 128 + 15, out.with_suffix(".txt").read_text()
        assert RunFolder(out).read_events()[-1]["kind"] == "cancelled"


def assert_same(whole: Path, killed: Path) -> None:
    """Compare weights and losses of two runs."""
    networks = [load_network(read_bundle(out / "bundle")).state_dict() for out in (whole, killed)]
    away = [float((value.double() - networks[1][name].double()).abs().max()) for name, value in networks[0].items()]
    assert max(away) <= 1e-6
    rows = [list(csv.DictReader((out / "metrics.csv").read_text().splitlines())) for out in (whole, killed)]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


def assert_one_epoch_lost_at_most(out: Path) -> None:
    """Check that each process continued in the epoch after the last finished one, or one epoch earlier."""
    finished = 0
    for event in RunFolder(out).read_events():
        if event["kind"] == "started":
            assert finished - 1 <= event["epoch"] <= finished
        if event["kind"] == "epoch":
            finished = event["epoch"] + 1
