"""Fixtures: the command line in a separate process, photographs, and models of which one needs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dark_model import use_dark_model
from PIL import Image

from napari_melanoma.models.bundle import BundleConfig, write_bundle


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Start the command line as users do."""

    def started(*words: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "napari_melanoma", *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(command, cwd=tmp_path, env=environment, encoding="utf-8", **pipes)

    return started


@pytest.fixture
def dark(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the shipped model with one that predicts a high probability for dark pixels."""
    use_dark_model(tmp_path_factory.mktemp("dark"), monkeypatch.setattr)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle with random weights."""
    import torch

    from napari_melanoma.models.zoo import build_network

    options = {"encoder": "test_efficientnet", "decoder_channels": 16}
    config = BundleConfig(name="tiny", title="Tiny", architecture="deeplabv3plus", options=options, input_size=64)
    torch.manual_seed(0)
    network = build_network(config.architecture, options)
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", config, network, "# The card of tiny\n").path


def photograph(path: Path, radius: int = 20) -> Path:
    """Draw a dark disc on light skin."""
    rows, columns = np.indices((80, 100))
    rgb = np.full((80, 100, 3), (225, 180, 160), np.uint8)
    rgb[np.hypot(rows - 40, columns - 50) < radius] = (60, 40, 30)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with three photographs."""
    for number in range(3):
        photograph(tmp_path / "photographs" / f"p{number}.png", 15 + number)
    return tmp_path / "photographs"
