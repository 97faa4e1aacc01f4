"""Slides on real processes: of this machine, and of a scheduler elsewhere whose worker is killed in the middle.

Several seconds, for each worker is a process of its own that loads torch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.config import write_toml
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.cohort_cluster import CohortJob, WorkerLost, start_cluster
from napari_melanoma.slides.options import SlideOptions

PATIENCE_S = 120.0
pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def options(tmp_path: Path, tile_bundle: BundleInfo) -> SlideOptions:
    return SlideOptions(model=str(tile_bundle.path), batch_size=8, precision="fp32", min_tissue=0, tile_mpp=0.25)


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """Three slides of pink noise on glass, and one that was cut off."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for number in range(4):
        rng = np.random.default_rng(number)
        rgb = np.clip(np.array((205, 120, 180)) + rng.normal(0, 12, (512, 512, 3)), 0, 255).astype(np.uint8)
        rgb[:, -96:] = 245
        how: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
        resolution = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(folder / f"s{number}.tif", rgb, **how, **resolution)
    broken = folder / "s2.tif"
    broken.write_bytes(broken.read_bytes()[:3000])
    return folder


def entries(out: Path) -> dict[str, dict[str, Any]]:
    try:
        return {one["slide"]: one for one in json.loads((out / "cohort.json").read_text())["slides"]}
    except OSError:
        return {}


def wait_for(what: Callable[[], Any], message: Callable[[], str] = str) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < end, message()
        time.sleep(0.05)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is none there")
def test_a_process_of_this_machine_that_is_killed_is_replaced(tmp_path: Path) -> None:
    job = CohortJob(tmp_path / "nothing.tif", tmp_path / "out" / "nothing", SlideOptions())
    with start_cluster(1) as cluster:
        ((address, seen),) = cluster.workers().items()
        assert (address.startswith("tls://127.0.0.1:"), seen.name, seen.ready) == (True, "process 0", True)
        given = cluster.submit(address, job)
        wait_for(given.is_done)
        answer = given.result()
        assert (answer.outcome, "cannot access nothing.tif" in answer.error) == ("again", True)
        (child,) = [one for one in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(one.cmdline())]
        child.suspend()  # so that it cannot answer before it dies
        given = cluster.submit(address, job)
        wait_for(lambda: cluster._client.processing()[address])  # the scheduler has it: one that arrives later waits
        child.kill()
        wait_for(given.is_done)
        with pytest.raises(WorkerLost):
            given.result()
        another = wait_for(lambda: cluster.workers().keys() - {address})
        assert len(another) == 1
    assert not child.is_running()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """A scheduler and two workers in processes of their own; they are not replaced when they die."""
    file, quiet = tmp_path / "scheduler.json", ["--no-dashboard", "--host", "127.0.0.1"]
    dask, processes = [sys.executable, "-W", "ignore", "-m", "dask"], []
    message = (tmp_path / "dask.txt").open("w")
    environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False"}
    for words in (
        ["scheduler", "--port", "0", "--scheduler-file", str(file)],
        *(
            ["worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--name", n]
            for n in ("w1", "w2")
        ),
    ):
        command = [*dask, *words, *quiet]
        processes.append(subprocess.Popen(command, stdout=message, stderr=message, env=environment, cwd=tmp_path))
        if words[0] == "scheduler":
            wait_for(file.exists)
    yield str(file)
    for process in processes:
        process.kill()
        process.wait()
    message.close()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is none there")
def test_a_scheduler_elsewhere_whose_worker_is_killed(
    slides: Path, options: SlideOptions, tmp_path: Path, elsewhere: str
) -> None:
    write_toml(tmp_path / "options.toml", options)
    out = tmp_path / "out"
    words = ["slide", str(slides), "--out", str(out), "--config", str(tmp_path / "options.toml"), "--json"]
    command = [sys.executable, "-m", "napari_melanoma", *words, "--scheduler", elsewhere]
    lines = (tmp_path / "lines.jsonl").open("w")
    cohort = subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT)
    stamp = wait_for(lambda: next(out.glob("s[01]/process.json"), None), (tmp_path / "dask.txt").read_text)
    killed = stamp.parent.name
    os.kill(json.loads(stamp.read_text())["pid"], signal.SIGKILL)
    second = CliRunner().invoke(app, [*words, "--scheduler", elsewhere])
    assert second.exit_code == 2
    assert "another process works in" in second.stderr
    assert cohort.wait(PATIENCE_S) == 1
    lines.close()
    found = entries(out)
    assert {name: one["state"] for name, one in found.items()} == {
        "s0": "done",
        "s1": "done",
        "s2": "failed",
        "s3": "done",
    }
    assert (found[killed]["attempts"], len(found[killed]["earlier"])) == (2, 1)
    assert "its process ended without an error message (w" in found[killed]["earlier"][0]
    assert (found["s2"]["attempts"], "s2.tif" in found["s2"]["error"]) == (1, True)
    summary = json.loads((tmp_path / "lines.jsonl").read_text().splitlines()[-1])
    assert (summary["event"], summary["done"], summary["failed"], summary["exit_code"]) == ("summary", 3, 1, 1)
    assert not RunFolder(out / killed).is_owned
