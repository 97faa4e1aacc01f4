"""The shipped models for photographs predict the same with ONNX Runtime and with torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.imaging.prompts import Point, Prompts
from napari_melanoma.io.results import write_rgb
from napari_melanoma.lesion.prompting import PromptedSegmenter, Prompter
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.bundle import load_network
from napari_melanoma.models.inference import OnnxNetwork, TorchNetwork, load_inference
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom

MAX_SHARE = 0.001  # of pixels whose class may differ
WITHOUT_TORCH = """
import json, sys
import numpy as np
from napari_melanoma.lesion.loaded_models import load_segmenter
model = load_segmenter("lesion-small")
model.probability(np.full((60, 80, 3), 200, np.uint8))
print(json.dumps([model.network.backend, "torch" in sys.modules]))
"""


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return lesion_phantom(LesionPhantomConfig(seed=3, size=(300, 400))).rgb


@pytest.fixture(scope="module")
def networks() -> dict[str, tuple[OnnxNetwork, TorchNetwork]]:
    pairs = {}
    for name in ("lesion-small", "lesion-click"):
        info = find_bundle(name)
        onnx = load_inference(info, "cpu", "onnxruntime")
        assert isinstance(onnx, OnnxNetwork)
        pairs[name] = onnx, TorchNetwork(load_network(info), info.config)
    return pairs


@pytest.mark.slow
def test_masks_are_the_same(networks: dict, photograph: np.ndarray) -> None:
    info = find_bundle("lesion-small")
    info = replace(info, config=info.config.model_copy(update={"closer_views": (1.4, 2.4)}))
    first, second = (Segmenter(info, network).probability(photograph) for network in networks["lesion-small"])
    assert np.abs(first - second).max() < 1e-3
    assert 0.01 < (first >= info.config.threshold).mean() < 0.9
    assert ((first >= info.config.threshold) != (second >= info.config.threshold)).mean() <= MAX_SHARE


def test_answers_to_clicks_are_the_same(networks: dict, photograph: np.ndarray) -> None:
    info = find_bundle("lesion-click")
    prompts = Prompts(include=(Point(150, 200),), exclude=(Point(10, 10),))
    first, second = (
        Prompter(PromptedSegmenter(info, network), photograph).segment(prompts) for network in networks["lesion-click"]
    )
    assert first.best == second.best
    assert first.qualities == pytest.approx(second.qualities, abs=1e-3)
    assert (first.best_mask != second.best_mask).mean() <= MAX_SHARE


@pytest.mark.slow
def test_lesions_of_one_photograph_are_the_same(networks: dict, photograph: np.ndarray) -> None:
    info = find_bundle("lesion-click")
    found = [Prompter(PromptedSegmenter(info, network), photograph).find_all() for network in networks["lesion-click"]]
    assert len(found[0]) == len(found[1])
    assert all((one.inside != other.inside).mean() <= MAX_SHARE for one, other in zip(*found, strict=True))


@pytest.mark.slow
def test_torch_is_not_imported() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["onnxruntime", False]


@pytest.mark.slow
def test_the_command_imports_nothing_that_one_photograph_does_not_need(photograph: np.ndarray, tmp_path: Path) -> None:
    write_rgb(tmp_path / "mole.png", photograph)
    command = [sys.executable, "-X", "importtime", "-m", "napari_melanoma", "lesion", "mole.png", "--out", "results"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "napari_melanoma.lesion.analysis" in imported
    assert not imported & {"torch", "pandas", "scipy.spatial", "napari_melanoma.classification.classifier"}
    assert (tmp_path / "results" / "mole" / "result.json").is_file()
