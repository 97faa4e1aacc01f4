"""``tissue train``: a network on the strokes of slides, killed and resumed, and its map of a slide."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_phantoms import CLASSES, Phantom, draw_phantom
from patience import LONG_PATIENCE_S

from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.evaluation.comparison_results import read_comparison
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.slides.tissue_classifier.strokes import write_strokes

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]  # trains a network: a minute


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    drawn = draw_phantom(tmp_path_factory.mktemp("phantom") / "skin.tif")
    write_strokes(drawn.path.with_suffix(".geojson"), drawn.strokes(4), dict(CLASSES))
    return drawn


def test_a_network_that_was_killed_is_resumed_and_gives_a_map(
    phantom: Phantom, start: Callable[..., subprocess.Popen], run: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["tissue", "train", str(phantom.path), "--out", str(out), "--epochs", "2"]
    process = start(*words)
    end = time.monotonic() + LONG_PATIENCE_S
    while process.poll() is None and not (out / "checkpoints" / "last.ckpt").exists() and time.monotonic() < end:
        time.sleep(0.1)
    process.kill()
    process.communicate()
    refused = run(*words[:-1], "3", "--resume")
    assert refused.exit_code == 2
    assert "--epochs is 3, but the run in" in refused.output
    resumed = run(*words, "--resume")
    assert resumed.exit_code == 0, resumed.output
    folder = RunFolder(out)
    comparison = read_comparison(folder.comparison)
    assert comparison.reason in resumed.output
    assert ("models import" in resumed.output) == (comparison.advice == "activate")
    assert comparison.new.metrics[comparison.metric].mean > 0.8

    bundle = read_bundle(folder.bundle)
    assert bundle.config.classes == tuple(CLASSES)
    applied = run("tissue", "apply", phantom.path, "--model", str(folder.bundle), "--out", "applied")
    assert applied.exit_code == 0, applied.output
    result = tmp_path / "applied" / "skin"
    labels = np.asarray(SlideResult.open(result).array("map")[:]).argmax(axis=0)
    truth = phantom.truth.argmax(axis=2)
    known = (phantom.truth.max(axis=2) > 0.95) & (truth > 0)  # glass is not analyzed
    assert labels.shape == truth.shape
    recalls = [(labels == truth)[known & (truth == index)].mean() for index in range(1, len(CLASSES))]
    assert np.mean(recalls) > 0.8
    assert set(json.loads((result / "result.json").read_text())["areas"]) == set(CLASSES)
    assert read_geojson(result / "classes.geojson")


def test_too_few_strokes_are_refused(phantom: Phantom, run: Callable[..., Any], tmp_path: Path) -> None:
    write_strokes(tmp_path / "few.geojson", phantom.strokes(1), dict(CLASSES))
    refused = run("tissue", "train", phantom.path, "--strokes", "few.geojson", "--out", "run")
    assert refused.exit_code
    assert "at least two strokes of each of two classes" in refused.output
