"""Killed at random moments, a run is never corrupt, goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import load_network, read_bundle
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]

KILLS = int(os.environ.get("NAPARI_MELANOMA_KILLS", "5"))  # each costs the start of a process: 20 before a release
PATIENCE_S = 300
LONGEST_S = 0.3

pytestmark = pytest.mark.usefixtures("user_folders")


def start(recipe: TrainRecipe, out: Path) -> subprocess.Popen[bytes]:
    """Start a run, or go on with it."""
    config = out / "config.toml"
    words = ["--resume"] if config.exists() else []
    if not words:
        config = out.with_suffix(".toml")
        write_toml(config, recipe)
    command = [sys.executable, "-m", "napari_melanoma", "train", "--config", str(config), "--out", str(out), *words]
    output = out.with_suffix(".txt").open("ab")
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=output, stderr=output)


def finish(recipe: TrainRecipe, out: Path) -> None:
    """Run to the end."""
    assert start(recipe, out).wait(timeout=PATIENCE_S) == 0, out.with_suffix(".txt").read_text()


def kill_after(run: subprocess.Popen[bytes], out: Path, events: int, seconds: float) -> None:
    """Kill a run some time after it has told so many events, however fast the machine is."""
    end = time.monotonic() + PATIENCE_S
    before = told(out)
    while told(out) - before < events and run.poll() is None:
        assert time.monotonic() < end, out.with_suffix(".txt").read_text()
        time.sleep(0.005)
    time.sleep(seconds)
    run.kill()
    run.wait()


def told(out: Path) -> int:
    """Count the events so far, a last one that is being written included."""
    path = out / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def check_whole(out: Path) -> int:
    """Read every file as a dock would at this moment; say how many epochs are safe."""
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


def test_killed_at_random_moments(alone: TrainRecipe, tmp_path: Path, change: Change) -> None:
    import torch

    recipe = change(alone, epochs=2 * KILLS + 4, patience=1000, ema_decay=0.9, samples=2)
    out, moments, safe = tmp_path / "killed", random.Random(7), 0
    for _ in range(KILLS):
        run = start(recipe, out)
        kill_after(run, out, moments.randint(1, 10), moments.uniform(0, LONGEST_S))
        now = check_whole(out)
        assert now >= safe
        safe = now
        if any(event["kind"] == "finished" for event in RunFolder(out).read_events()):
            break
    finish(recipe, out)
    finish(recipe, tmp_path / "whole")
    names = ("whole", "killed")
    whole, killed = (load_network(read_bundle(tmp_path / name / "bundle")).state_dict() for name in names)
    assert max(float((value.double() - killed[name].double()).abs().max()) for name, value in whole.items()) <= 1e-6
    assert all(torch.isfinite(value).all() for value in killed.values())
    rows = [list(csv.DictReader((tmp_path / name / "metrics.csv").read_text().splitlines())) for name in names]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    begun: dict[int, int] = {}
    for event in RunFolder(out).read_events():
        if event["kind"] == "started":
            assert event["epoch"] >= max(begun, default=0) - 1  # at most one epoch is done twice
        if event["kind"] == "epoch":
            begun[event["epoch"]] = begun.get(event["epoch"], 0) + 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_cancels(alone: TrainRecipe, tmp_path: Path, change: Change) -> None:
    out = tmp_path / "run"
    run = start(change(alone, epochs=400, patience=400), out)
    end = time.monotonic() + PATIENCE_S
    while not any(event["kind"] == "epoch" for event in RunFolder(out).read_events()):
        assert run.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    run.terminate()
    assert run.wait(timeout=PATIENCE_S) == 128 + 15
    assert RunFolder(out).read_events()[-1]["kind"] == "cancelled"
