"""Killed with SIGKILL at random moments, an analysis goes on where it was and ends as if nothing had happened.

Several seconds, for each life is a process of its own that loads torch; NAPARI_MELANOMA_KILLS asks for more of them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import LONG_PATIENCE_S

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.slide_store import DONE, SlideResult
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.options import SlideOptions

KILLS = int(os.environ.get("NAPARI_MELANOMA_KILLS", "3"))
HEAVY = [
    "napari_melanoma.slides.cohort",
    "napari_melanoma.slides.model_loading",
    "napari_melanoma.models.zoo",
    "timm",
]
# A word for multiprocessing, which must find by its name what a process shall do; a test module has none. Writing is
# often, and reading slow, so that there is something to lose at any moment, however fast the machine.
LIFE = """
import os, sys, time
for number in (1, 2):
    os.dup2(os.open({output!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
from napari_melanoma.slides import engine
engine.FLUSH_S, engine.FLUSH_TIME_FACTOR = 0.02, 0
plain = engine.TileReader.read
def slowly(self, places):
    time.sleep({pause!r})
    return plain(self, places)
engine.TileReader.read = slowly
from napari_melanoma.cli import app
app({words!r}, prog_name="napari-melanoma")
"""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


@pytest.fixture(scope="module")
def context() -> Any:
    """Where there are forks, all lives share the slow imports."""
    kinds = multiprocessing.get_all_start_methods()
    found: Any = multiprocessing.get_context("forkserver" if "forkserver" in kinds else "spawn")
    if "forkserver" in kinds:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch must have no threads where processes are forked
        found.set_forkserver_preload(HEAVY)
    return found


def started(context: Any, words: list[str], out: Path, pause: float) -> Any:
    """Return an analysis another life."""
    message = str(out.with_suffix(".txt"))
    process = context.Process(target=exec, args=(LIFE.format(words=words, output=message, pause=pause), {}))
    process.start()
    return process


def wait_for(what: Callable[[], bool], process: Any, out: Path) -> None:
    """Wait until something is so, or the process has ended."""
    end = time.monotonic() + LONG_PATIENCE_S
    while not what() and process.is_alive():
        assert time.monotonic() < end, out.with_suffix(".txt").read_text()
        time.sleep(0.005)


def lives(folder: Path) -> int:
    """How often an analysis has begun to work."""
    return sum(event["kind"] == "started" for event in RunFolder(folder).read_events())


@pytest.mark.parametrize(("kind", "kills"), [("tile", KILLS), ("dense", max(1, KILLS // 3))])
def test_killed_at_random_moments(
    context: Any,
    drawn_slide: Callable[..., Path],
    tile_bundle: BundleInfo,
    dense_bundle: BundleInfo,
    mask_path: Path,
    tmp_path: Path,
    kind: str,
    kills: int,
) -> None:
    slide = drawn_slide(tmp_path / "section.tif")
    bundle, mpp = (tile_bundle, 0.25) if kind == "tile" else (dense_bundle, 0.25)
    options = SlideOptions(model=str(bundle.path), tissue_mask=mask_path, batch_size=2, tile_mpp=mpp)
    write_toml(tmp_path / "options.toml", options)
    random_moments, safe = random.Random(7), 0

    def words(out: Path) -> list[str]:
        return ["slide", str(slide), "--out", str(out), "--config", str(tmp_path / "options.toml")]

    out = tmp_path / "killed"
    folder = out / "section"
    for life in range(1, kills + 1):
        process = started(context, words(out), out, pause=0.1)
        wait_for(lambda life=life: lives(folder) >= life, process, out)
        time.sleep(random_moments.uniform(0, 8.0 / (kills + 2)))
        assert process.is_alive(), out.with_suffix(".txt").read_text()
        process.kill()
        process.join()
        now = int((SlideResult.open(folder).state == DONE).sum())
        assert now >= safe, "what was done is lost"
        safe = now
    assert 0 < safe < 224, "killed too early or too late for the test"
    for target in (out, tmp_path / "whole"):
        process = started(context, words(target), target, pause=0.0)
        process.join(LONG_PATIENCE_S)
        assert process.exitcode == 0, target.with_suffix(".txt").read_text()
    assert_same(tmp_path / "whole" / "section", folder)
    assert lives(folder) == kills + 1


def assert_same(whole: Path, killed: Path) -> None:
    """Compare all that was found."""
    results = [SlideResult.open(folder) for folder in (whole, killed)]
    names = ["state", "probability", "order", *(["dense", "map"] if results[0].spec.kind == "dense" else [])]
    for name in names:
        arrays = [np.asarray(result.array(name)[:]) for result in results]
        np.testing.assert_array_equal(arrays[0], arrays[1], err_msg=name)
    for name in ("lesions.csv", "lesions.geojson", "tissue.png"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    contents = [json.loads((folder / "result.json").read_text()) for folder in (whole, killed)]
    for key in ("probability", "scores", "outlines", "tiles_done", "tiles_total"):
        assert contents[0][key] == contents[1][key]
