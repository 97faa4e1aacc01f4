"""Slides on real processes: of this machine, and of a running scheduler one of whose workers is killed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
import tifffile
from distributed import LocalCluster
from patience import PATIENCE_S
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.config import write_toml
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.cohort import CohortJob, count_workers, job_result, run_job, start_cluster
from napari_melanoma.slides.options import SlideOptions

IN_THIS_PROCESS: dict[str, Any] = {
    "n_workers": 1,
    "threads_per_worker": 1,
    "processes": False,
    "protocol": "tcp://",
    "host": "127.0.0.1",
    "dashboard_address": None,
    "silence_logs": logging.CRITICAL,
    "memory_limit": 0,
}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


@pytest.fixture
def options(dense_bundle_without_timm: BundleInfo) -> SlideOptions:
    model = str(dense_bundle_without_timm.path)
    return SlideOptions(model=model, batch_size=8, precision="fp32", min_tissue=0, tile_mpp=0.5)


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
    job = CohortJob(tmp_path / "nowhere" / "nothing.tif", tmp_path / "out" / "nothing", SlideOptions())
    with start_cluster(1) as client:
        (address,) = client.scheduler_info(n_workers=-1)["workers"]
        assert address.startswith("tls://127.0.0.1:")
        future = client.submit(run_job, job, pure=False)
        assert "cannot access the folder of nothing.tif" in future.result(PATIENCE_S).error
        (child,) = [one for one in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(one.cmdline())]
        child.suspend()  # so that it cannot answer before it dies
        future = client.submit(run_job, job, pure=False)
        wait_for(lambda: client.processing()[address])  # the scheduler has it: one that arrives later waits
        child.kill()
        wait_for(future.done)
        assert "its process ended without an error message" in job_result(future).error
        wait_for(lambda: count_workers(client) == 1)
    assert not child.is_running()


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[LocalCluster]:
    """A scheduler and a worker in threads of this process, and a worker in another one, not replaced if killed."""
    with (
        (tmp_path / "dask.txt").open("w") as message,
        dask.config.set({"distributed.worker.memory.pause": False}),
        LocalCluster(**IN_THIS_PROCESS) as cluster,
    ):
        words = ["worker", cluster.scheduler_address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", "w1"]
        environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False"}
        command = [sys.executable, "-W", "ignore", "-m", "dask", *words]
        process = subprocess.Popen(command, stdout=message, stderr=message, env=environment, cwd=tmp_path)
        try:
            wait_for(lambda: len(cluster.scheduler_info["workers"]) == 2, (tmp_path / "dask.txt").read_text)
            yield cluster
        finally:
            process.kill()
            process.wait()


def stamp_of_other_process(out: Path) -> tuple[str, int] | None:
    """The slide that another process than this one works on, and the id of that process."""
    stamps = {path.parent.name: json.loads(path.read_text())["pid"] for path in out.glob("s?/process.json")}
    return next((one for one in stamps.items() if one[1] != os.getpid()), None)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is none there")
def test_the_slide_of_a_killed_worker_is_analyzed_by_another_one(
    slides: Path, options: SlideOptions, tmp_path: Path, scheduler: LocalCluster
) -> None:
    write_toml(tmp_path / "options.toml", options)
    out = tmp_path / "out"
    words = ["slide", str(slides), "--out", str(out), "--config", str(tmp_path / "options.toml"), "--json"]
    words += ["--scheduler", scheduler.scheduler_address]
    command = [sys.executable, "-m", "napari_melanoma", *words]
    with (tmp_path / "lines.jsonl").open("w") as lines:
        cohort = subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT)
    try:
        killed, process = wait_for(lambda: stamp_of_other_process(out), (tmp_path / "dask.txt").read_text)
        os.kill(process, signal.SIGKILL)
        second = CliRunner().invoke(app, words)
        assert second.exit_code == 2
        assert "another process works in" in second.stderr
        assert cohort.wait(PATIENCE_S) == 1
    finally:
        cohort.kill()
        cohort.wait()
    found = entries(out)
    assert {name: one["state"] for name, one in found.items()} == {
        "s0": "done",
        "s1": "done",
        "s2": "failed",
        "s3": "done",
    }
    assert "s2.tif" in found["s2"]["error"]
    summary = json.loads((tmp_path / "lines.jsonl").read_text().splitlines()[-1])
    assert (summary["event"], summary["done"], summary["failed"], summary["exit_code"]) == ("summary", 3, 1, 1)
    assert not RunFolder(out / killed).is_owned
