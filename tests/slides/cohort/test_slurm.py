"""The examples for SLURM, with commands of SLURM that run jobs as processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile
from patience import LONG_PATIENCE_S

from napari_melanoma.core.config import write_toml
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.options import SlideOptions

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "slurm"
SBATCH = """#!/bin/sh
cp "$1" "$JOBS/script" && setsid bash "$JOBS/script" >> "$JOBS/log" 2>&1 &
echo $! >> "$JOBS/submitted"
echo "Submitted batch job $!"
"""
SCANCEL = '#!/bin/sh\nkill -- "-$1"\n'
SCONTROL = '#!/bin/sh\necho "$@" > "$JOBS/scontrol"\n'
PROGRAM = f'#!/bin/sh\nexec "{sys.executable}" -m napari_melanoma "$@"\n'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("user_folders"),
    pytest.mark.skipif(sys.platform != "linux", reason="SLURM runs on Linux"),
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables with the commands of SLURM and the program in the path, and small jobs in the configuration of dask."""
    (tmp_path / "bin").mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL, "scontrol": SCONTROL, "napari-melanoma": PROGRAM}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    slurm = {"CORES": "1", "MEMORY": "4GiB", "INTERFACE": "lo", "WALLTIME": "00:10:00"}
    return {
        **os.environ,
        **{f"DASK_JOBQUEUE__SLURM__{name}": value for name, value in slurm.items()},
        "JOBS": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "ignore",
    }


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    """Three slides of pink noise, of which the first one takes longest."""
    files = []
    for number, repeats in enumerate((4, 1, 1)):
        noise = np.random.default_rng(number).normal(0, 12, (512, 512, 3))
        rgb = np.tile(np.clip(np.array((205, 120, 180)) + noise, 0, 255).astype(np.uint8), (repeats, repeats, 1))
        files.append(tmp_path / f"s{number}.tif")
        how: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
        tifffile.imwrite(files[-1], rgb, **how, resolution=(2e4, 2e4), resolutionunit="CENTIMETER")
    return files


@pytest.fixture
def options(tmp_path: Path, dense_bundle_without_timm: BundleInfo) -> Path:
    model = str(dense_bundle_without_timm.path)
    write_toml(
        tmp_path / "options.toml", SlideOptions(model=model, batch_size=8, precision="fp32", min_tissue=0, tile_mpp=0.5)
    )
    return tmp_path / "options.toml"


def wait_for(what: Callable[[], Any], process: subprocess.Popen[bytes], log: Path) -> Any:
    end = time.monotonic() + LONG_PATIENCE_S
    while not (found := what()):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)
    return found


def result(out: Path, slide: Path) -> dict[str, Any]:
    return dict(json.loads((out / slide.stem / "result.json").read_text()))


@pytest.mark.parametrize("name", ["slides-array.sh", "jobqueue_slides.py"])
def test_documented_script(name: str) -> None:
    page = EXAMPLES.parents[1] / "docs" / "how-to" / "cohorts.md"
    assert f"\n{(EXAMPLES / name).read_text()}```" in page.read_text(encoding="utf-8")


def test_a_task_of_an_array_is_queued_again_before_its_time_limit_and_resumes(
    tmp_path: Path, slides: list[Path], options: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "slides.txt").write_text("".join(f"{slide}\n" for slide in slides))
    out, log = tmp_path / "out", tmp_path / "task.log"
    words = ["bash", *map(str, (EXAMPLES / "slides-array.sh", tmp_path / "slides.txt", out, "--config", options))]
    task = {**environment, "SLURM_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "1"}
    with log.open("w") as file:
        first = subprocess.Popen(words, env=task, stdout=file, stderr=file, cwd=tmp_path)
        try:
            wait_for(lambda: list(out.glob("s0/result.zarr")), first, log)
            first.send_signal(signal.SIGUSR1)  # as SLURM does two minutes before the limit
            assert first.wait(LONG_PATIENCE_S) == 1
        finally:
            first.kill()
    assert (tmp_path / "scontrol").read_text() == "requeue 17\n"
    assert "run the same command again to continue" in log.read_text()
    again = subprocess.run(
        words, env=task, cwd=tmp_path, capture_output=True, text=True, timeout=LONG_PATIENCE_S, check=False
    )
    assert again.returncode == 0, again.stderr
    content = result(out, slides[0])
    assert content["tiles_done"] == content["tiles_total"]
    assert not (out / "s1").exists()  # the slide of another task
    beyond = subprocess.run(
        words, env={**task, "SLURM_ARRAY_TASK_ID": "4"}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (beyond.returncode, beyond.stderr) == (2, f"{tmp_path / 'slides.txt'} has no line 4\n")


def test_a_job_of_dask_jobqueue_that_ends_is_replaced_and_its_slide_resumed(
    tmp_path: Path, slides: list[Path], options: Path, environment: dict[str, str]
) -> None:
    out, log, submitted = tmp_path / "out", tmp_path / "command.log", tmp_path / "submitted"
    words = [sys.executable, str(EXAMPLES / "jobqueue_slides.py"), "1", *map(str, slides)]
    words += ["--out", str(out), "--config", str(options)]
    with log.open("w") as file:
        command = subprocess.Popen(words, env=environment, stdout=file, stderr=file, cwd=tmp_path)
        try:
            wait_for(lambda: list(out.glob("s0/result.zarr")), command, log)
            job = int(submitted.read_text().split()[0])
            os.killpg(job, signal.SIGKILL)
            assert command.wait(LONG_PATIENCE_S) == 0, log.read_text() + (tmp_path / "log").read_text()
        finally:
            command.kill()
    assert [result(out, slide)["tiles_done"] for slide in slides] == [
        result(out, slide)["tiles_total"] for slide in slides
    ]
    jobs = [int(line) for line in submitted.read_text().split()]
    assert len(jobs) >= 2
    assert not any(psutil.pid_exists(one) and psutil.Process(one).status() != "zombie" for one in jobs)
