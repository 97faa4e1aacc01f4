"""Memory that runs out while a slide is analyzed: smaller passes from then on, the same result, a clear end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException
from slide_models import TILE_TEST
from torch import nn

from napari_melanoma.core.context import RunContext
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.metrics.out_of_distribution import MahalanobisDetector
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides import analysis as workflow
from napari_melanoma.slides.analysis import SlideOutcome
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.slide_table import SlideStatus
from napari_melanoma.slides.tile_models import OutOfMemory, TileModel, TileNoveltyDetector, TorchPasses

TEXTURES = 40  # of the shipped model of tiles
LoadModel = Callable[..., TileModel]
Analyze = Callable[..., SlideOutcome]
FAULTS = {
    "GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "computer": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    "convolution": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "Python": MemoryError,
    "ONNX Runtime": lambda: Fail("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for"),
    "ONNX Runtime on Windows": lambda: RuntimeException("[ONNXRuntimeError] : 1 : FAIL : bad allocation"),
}


class Hungry(nn.Module):
    """Another network, in memory for so many tiles; counts how many it was asked for at once. Copies count together."""

    def __init__(self, network: nn.Module, most: int, fault: Callable[[], Exception]) -> None:
        super().__init__()
        self.network, self.most, self.fault, self.requested = network, most, fault, list[int]()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.requested.append(len(images))
        if len(images) > self.most:
            raise self.fault()
        return self.network(images)


class HungryTextures:
    """A network with memory for so many tiles, whose textures are the variations in their rows."""

    device = "cpu"

    def __init__(self, most: int, fault: Callable[[], Exception]) -> None:
        self.most, self.fault = most, fault

    def run(self, function: str, image: np.ndarray) -> dict[str, np.ndarray]:
        assert function == "textures"
        if len(image) > self.most:
            raise self.fault()
        return {"textures": image[:, 0, :TEXTURES].std(axis=2)}


def network_of(model: TileModel) -> nn.Module:
    """The network that torch runs."""
    passes = model._passes
    assert isinstance(passes, TorchPasses)
    return passes._network


def notices(folder: Path) -> list[str]:
    """What a person was told."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event["message"] for event in events if event["kind"] == "notice"]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "kind"), [("GPU", "classification"), ("computer", "dense")])
def test_smaller_passes_give_the_same_result(analyze: Analyze, fault: str, kind: str, tile_model: LoadModel) -> None:
    plain = tile_model(kind)
    expected = analyze(folder="expected", with_model=plain)
    hungry = Hungry(network_of(plain), most=2**62, fault=FAULTS[fault])
    model = tile_model(kind, network=hungry)
    store = workflow._open_or_create_store

    def then_memory_runs_out(*given: Any) -> SlideResult:
        made = store(*given)
        hungry.most = 2
        hungry.requested.clear()
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "_open_or_create_store", then_memory_runs_out)
        found = analyze(folder="found", with_model=model)
    assert hungry.requested[:3] == [8, 4, 2]
    assert set(hungry.requested[2:]) == {2}  # the larger passes are not tried again
    text = [one for one in notices(found.folder) if "out of memory: continuing" in one]
    assert text == [
        "out of memory: continuing with 4 tiles per pass.",
        "out of memory: continuing with 2 tiles per pass.",
    ]
    results = [SlideResult.open(outcome.folder) for outcome in (expected, found)]
    np.testing.assert_array_equal(results[0].state, results[1].state)
    np.testing.assert_allclose(results[1].probability, results[0].probability, atol=1e-5)
    assert [one["area_mm2"] for one in found.content["lesions"]] == [
        one["area_mm2"] for one in expected.content["lesions"]
    ]


@pytest.mark.slow
def test_too_little_memory_for_one_tile_is_an_error_with_a_remedy(
    analyze: Analyze, slide_path: Path, options: SlideOptions, tile_model: LoadModel, tmp_path: Path
) -> None:
    hungry = Hungry(network_of(tile_model()), most=2**62, fault=FAULTS["computer"])
    model, seen = tile_model(network=hungry), list[SlideStatus]()
    store = workflow._open_or_create_store

    def then_memory_is_gone(*given: Any) -> SlideResult:
        made = store(*given)
        hungry.most = 0
        hungry.requested.clear()
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "_open_or_create_store", then_memory_is_gone)
        patch.setattr(workflow, "load_model", lambda options: model)
        workflow.analyze_slides([slide_path], tmp_path / "out", options, run=RunContext(), on_status=seen.append)
    assert hungry.requested == [8, 4, 2, 1]
    assert seen[0].status == "failed"
    assert "too small for one tile of 'darkness'. Close other programs" in seen[0].error
    hungry.most = 2**62
    assert analyze(folder=seen[0].folder, with_model=model).content["tiles_done"] == 224  # goes on from there


@pytest.mark.parametrize("fault", FAULTS)
def test_novelty_detection_uses_smaller_parts_too(fault: str, demo_tiles: BundleInfo) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    hungry = HungryTextures(most=2**62, fault=FAULTS[fault])
    familiar = TileNoveltyDetector(demo_tiles, hungry, _novelty(demo_tiles))
    expected = familiar.distances(tiles)
    hungry.most = 2
    np.testing.assert_allclose(familiar.distances(tiles), expected, rtol=1e-4)
    hungry.most = 0
    with pytest.raises(OutOfMemory, match="too small for one tile"):
        familiar.distances(tiles)


@pytest.fixture(scope="module")
def demo_tiles() -> BundleInfo:
    """A model of tiles, which remembers what it learnt from."""
    from napari_melanoma.models.bundle import read_bundle

    return read_bundle(TILE_TEST)


def _novelty(info: BundleInfo) -> MahalanobisDetector:
    """What a bundle remembers."""
    from napari_melanoma.models.bundle import read_reference

    reference = read_reference(info)
    assert reference is not None
    assert reference.textures is not None
    return MahalanobisDetector.fit(reference.textures)
