"""Processes that compute features of the same slide are killed: stored features are correct, and the rest resumes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures

SIDE, ATTEMPTS = 2048, 2
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from napari_melanoma.core.context import RunContext
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures

slide, folder, first = sys.argv[1:]
with open_slide(Path(slide)) as opened:
    features = SlideFeatures.open(opened, open_feature_source("texture"), Path(folder))
    blocks = np.argwhere(np.ones(features.grid.blocks.shape)).astype(np.int32)
    print("started", flush=True)
    features.compute(np.roll(blocks, int(first), axis=0), RunContext())
"""


@pytest.mark.slow
def test_killed_processes_lose_only_the_blocks_in_progress(tmp_path: Path, drawn_slide: Callable[..., Path]) -> None:
    path, out, choice = drawn_slide(tmp_path / "section.tif", SIDE, mpp=1.0), tmp_path / "out", random.Random(0)
    command = [sys.executable, "-c", SCRIPT, str(path), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    stored = 0
    with open_slide(path) as slide:
        source = open_feature_source("texture")
        for _ in range(ATTEMPTS):
            processes = [
                subprocess.Popen([*command, str(first)], stdout=subprocess.PIPE, text=True, env=environment)
                for first in (0, 3)
            ]
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "started\n"
            time.sleep(choice.uniform(0.1, 0.8))
            for process in processes:
                process.kill()
                process.communicate()
            features = SlideFeatures.open(slide, source, out)
            known = int(features._stored.sum())
            assert known >= stored, "stored blocks are kept"
            stored = known
        blocks = np.argwhere(np.ones(features.grid.blocks.shape)).astype(np.int32)
        features.compute(blocks, RunContext())
        with SlideFeatures.open(slide, source) as fresh:
            fresh.compute(blocks, RunContext())
            for block in blocks:
                np.testing.assert_array_equal(features.read_block(block), fresh.read_block(block))
