"""Killed at random moments, a run is never corrupt, goes on where it was, and ends as if nothing had happened."""

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

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import REFERENCE_FILE, load_network, read_bundle
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]
Live = Callable[[list[str], Path], BaseProcess]

KILLS = int(os.environ.get("NAPARI_MELANOMA_KILLS", "3"))
PATIENCE_S = 600
LONGEST_S = 0.3

pytestmark = pytest.mark.usefixtures("user_folders")


def words(recipe: TrainRecipe, out: Path) -> list[str]:
    """The command that starts a run, or goes on with it."""
    resumed, config = (out / "config.toml").exists(), out / "config.toml"
    if not resumed:
        config = out.with_suffix(".toml")
        write_toml(config, recipe)
    return ["train", "--config", str(config), "--out", str(out), *["--resume"] * resumed]


def start(live: Live, recipe: TrainRecipe, out: Path) -> BaseProcess:
    """Give a run another life."""
    return live(words(recipe, out), out.with_suffix(".txt"))


def finish(live: Live, recipe: TrainRecipe, out: Path) -> None:
    """Run to the end."""
    process = start(live, recipe, out)
    process.join(PATIENCE_S)
    assert process.exitcode == 0, out.with_suffix(".txt").read_text()


def kill_after(process: BaseProcess, out: Path, events: int, seconds: float) -> None:
    """Kill a run some time after a number of events, independent of the speed of the machine."""
    end = time.monotonic() + PATIENCE_S
    before = count_events(out)
    while count_events(out) - before < events and process.is_alive():
        assert time.monotonic() < end, out.with_suffix(".txt").read_text()
        time.sleep(0.005)
    time.sleep(seconds)
    process.kill()
    process.join()


def count_events(out: Path) -> int:
    """Count the events so far, a last one that is being written included."""
    path = out / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def check_whole(out: Path) -> int:
    """Read every file as a dock would at this moment; return the number of completed epochs."""
    import torch

    lines = (out / "events.jsonl").read_text().split("\n")
    assert all(isinstance(json.loads(line)["kind"], str) for line in lines[:-1])
    checkpoints = {path.name: path for path in (out / "checkpoints").glob("[!.]*.ckpt")}
    states = {name: torch.load(path, weights_only=True) for name, path in checkpoints.items()}
    for name in ("config.toml", "settled.json", "control.json", "data.csv"):
        path = out / name
        assert not path.exists() or path.stat().st_size
    last = states.get("last.ckpt", {})
    return int(last["epoch"]) + 1 if "loops" in last else 0


def test_killed_at_random_moments(alone: TrainRecipe, tmp_path: Path, change: Change, live: Live) -> None:
    recipe = change(alone, epochs=2 * KILLS + 4, patience=1000, ema_decay=0.9, samples=2)
    out, moments, safe = tmp_path / "killed", random.Random(7), 0
    for _ in range(KILLS):
        kill_after(start(live, recipe, out), out, moments.randint(1, 10), moments.uniform(0, LONGEST_S))
        now = check_whole(out)
        assert now >= safe
        safe = now
    assert 0 < safe < recipe.epochs, "killed too early or too late for the test"
    finish(live, recipe, out)
    finish(live, recipe, tmp_path / "whole")
    assert_same(tmp_path / "whole", out)
    assert_one_epoch_lost_at_most(out)


def test_a_classifier_killed_at_random_moments(asked: TrainRecipe, tmp_path: Path, change: Change, live: Live) -> None:
    recipe = change(asked, epochs=6, patience=1000, ema_decay=0.9, samples=1, classification={"mixup": 0.3})
    out, moments = tmp_path / "killed", random.Random(3)
    for events in (2, 4):
        kill_after(start(live, recipe, out), out, events, moments.uniform(0, LONGEST_S))
        safe = check_whole(out)
    assert safe < recipe.epochs, "killed too late for the test"
    finish(live, recipe, out)
    finish(live, recipe, tmp_path / "whole")
    assert_same(tmp_path / "whole", out)
    bundles = [read_bundle(path / "bundle") for path in (tmp_path / "whole", out)]
    assert bundles[0].config.classifier == bundles[1].config.classifier
    assert bundles[0].config.tabular == bundles[1].config.tabular
    assert len({(bundle.path / REFERENCE_FILE).read_bytes() for bundle in bundles}) == 1


def assert_same(whole: Path, killed: Path) -> None:
    """Compare weights and figures."""
    networks = [load_network(read_bundle(out / "bundle")).state_dict() for out in (whole, killed)]
    away = [float((value.double() - networks[1][name].double()).abs().max()) for name, value in networks[0].items()]
    assert max(away) <= 1e-6
    rows = [list(csv.DictReader((out / "metrics.csv").read_text().splitlines())) for out in (whole, killed)]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


def assert_one_epoch_lost_at_most(out: Path) -> None:
    """Go through the lives of a run: each begins where the one before was, or an epoch earlier."""
    finished = 0
    for event in RunFolder(out).read_events():
        if event["kind"] == "started":
            assert finished - 1 <= event["epoch"] <= finished
        if event["kind"] == "epoch":
            finished = event["epoch"] + 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_cancels(alone: TrainRecipe, tmp_path: Path, change: Change, live: Live) -> None:
    out = tmp_path / "run"
    run = start(live, change(alone, epochs=400, patience=400), out)
    end = time.monotonic() + PATIENCE_S
    while not any(event["kind"] == "epoch" for event in RunFolder(out).read_events()):
        assert run.is_alive(), out.with_suffix(".txt").read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    run.terminate()
    run.join(PATIENCE_S)
    assert run.exitcode == 128 + 15
    assert RunFolder(out).read_events()[-1]["kind"] == "cancelled"
