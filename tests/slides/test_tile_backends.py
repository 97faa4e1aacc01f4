"""Tiles predicted by ONNX Runtime and by torch: the same values, and the faster of both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patience import LONG_PATIENCE_S
from slide_models import SKIN_TEST, TILE_TEST

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.bundle import BundleInfo, load_network
from napari_melanoma.models.inference import BACKEND_VARIABLE, TorchNetwork
from napari_melanoma.slides import model_loading
from napari_melanoma.slides.model_loading import LoadOptions, choose_passes, load_tile_model
from napari_melanoma.slides.tile_models import OnnxPasses, TileModel, to_array
from napari_melanoma.slides.tissue_segmenter import _interpolate

ANALYZE = """
import json, sys
from pathlib import Path
from napari_melanoma.core.context import RunContext
from napari_melanoma.slides import model_loading
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.options import SlideOptions
model_loading.has_bfloat16 = lambda: False  # otherwise torch is measured, too
slide, out, model = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
outcome = analyze_slide(slide, out, SlideOptions(model=model, tile_mpp=0.5, min_tissue=0), RunContext())
unwanted = sorted({"torch", "torchvision", "timm", "lightning"} & set(sys.modules))
print(json.dumps([unwanted, {name: outcome.content[name] for name in ("backend", "precision", "tiles_done")}]))
"""


def tiles_of(count: int, side: int) -> np.ndarray:
    """Tiles with structures of several sizes."""
    random = np.random.default_rng(0)
    coarse = np.kron(random.integers(0, 200, (count, side // 16, side // 16, 3)), np.ones((1, 16, 16, 1)))
    return (coarse + random.integers(0, 56, (count, side, side, 3))).astype(np.uint8)


def assert_equal_outputs(model: TileModel, other: TileModel, tiles: np.ndarray) -> None:
    found, expected = model.predict(tiles), other.predict(tiles)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        array = to_array(values)
        assert found[name].dtype == array.dtype
        limit = {"dense": 1.0, "embedding": 2e-3 * float(np.abs(array).max())}.get(name, 1e-4)
        np.testing.assert_allclose(np.asarray(found[name], float), array.astype(float), atol=limit, rtol=0)


@pytest.mark.parametrize("name", [f"{TILE_TEST}", f"encoder:{TILE_TEST}", f"{SKIN_TEST}"])
@pytest.mark.slow
def test_onnx_runtime_predicts_as_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, "onnxruntime")
    model = load_tile_model(name, LoadOptions(batch_size=4, device="cpu"))
    monkeypatch.setenv(BACKEND_VARIABLE, "torch")
    other = load_tile_model(name, LoadOptions(batch_size=4, device="cpu", precision="fp32"))
    assert [(one.backend, one.device, one.precision) for one in (model, other)] == [
        ("onnxruntime", "cpu", "fp32"),
        ("torch", "cpu", "fp32"),
    ]
    assert_equal_outputs(model, other, tiles_of(6, model.info.side_px))
    assert model.output_sizes() == other.output_sizes()


def test_onnx_runtime_in_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, "onnxruntime")
    with pytest.raises(ConfigError, match="ONNX Runtime computes in 'fp32' only"):
        load_tile_model(str(TILE_TEST), LoadOptions(device="cpu", precision="bf16"))


@pytest.mark.parametrize("augmented", [False, True])
def test_views_and_calibration_are_those_of_torch(tile_bundle: BundleInfo, augmented: bool) -> None:
    classifier = tile_bundle.config.classifier
    assert classifier is not None
    updates = {"test_time_augmentation": augmented, "temperature": 0.5, "bias": (0.3, -0.1)}
    classifier = classifier.model_copy(update=updates)
    bundle = BundleInfo(tile_bundle.path, tile_bundle.config.model_copy(update={"classifier": classifier}))
    assert_equal_outputs(*both_models(bundle), tiles_of(5, 64))


@pytest.mark.slow
def test_cells_are_those_of_torch(dense_bundle: BundleInfo) -> None:
    assert_equal_outputs(*both_models(dense_bundle), tiles_of(5, 64))


def both_models(bundle: BundleInfo) -> tuple[TileModel, TileModel]:
    """The model with outputs computed by numpy, and by torch."""
    from napari_melanoma.slides.model_loading import _describe_bundle, _torch_passes

    info, network = _describe_bundle(bundle), TorchNetwork(load_network(bundle), bundle.config)
    passes = OnnxPasses(info, network, bundle.config.classifier)
    return TileModel(info, passes, 4), TileModel(info, _torch_passes(bundle, info, network, "fp32"), 4)


def test_an_analysis_in_bfloat16_is_resumed_with_a_notice(tile_bundle: BundleInfo) -> None:
    model, reported = both_models(tile_bundle)[0], list[str]()
    model.set_notice_callback(reported.append)
    model.resume_with("bf16", 8)
    assert (model.precision, model.batch_size) == ("fp32", 8)
    assert reported == [
        "started in bf16, which ONNX Runtime does not support; resuming in fp32: predictions may differ by 0.01."
    ]


@pytest.mark.parametrize("shape", [(200, 90), (31, 64), (64, 64), (1, 700)])
def test_maps_are_resized_as_by_torch(shape: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], shape, mode="bilinear")[0].numpy()
    found = _interpolate(_interpolate(maps, shape[0], 1), shape[1], 2)
    np.testing.assert_allclose(found, expected, atol=1e-4)


class Timed:
    """Passes whose duration is known."""

    def __init__(self, backend: str, seconds: float, clock: list[float]) -> None:
        self.backend, self.seconds, self.clock = backend, seconds, clock

    def run(self, tiles: np.ndarray, batch_size: int) -> dict[str, Any]:
        self.clock[0] += self.seconds
        return {}


@pytest.mark.parametrize(("torch_s", "faster"), [(0.5, "torch"), (2.0, "onnxruntime")])
def test_the_faster_back_end_is_chosen_and_remembered(
    torch_s: float, faster: str, tile_bundle: BundleInfo, user_folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    monkeypatch.setattr(model_loading, "has_bfloat16", lambda: True)
    clock = [0.0]
    monkeypatch.setattr(model_loading.time, "perf_counter", lambda: clock[0])
    info = both_models(tile_bundle)[0].info
    candidates: Any = (Timed("onnxruntime", 1.0, clock), Timed("torch", torch_s, clock))
    assert choose_passes(info, candidates[0], lambda: candidates[1]).backend == faster
    assert set(json.loads(model_loading.choices_path().read_text()).values()) == {faster}
    measured = clock[0]
    assert choose_passes(info, candidates[0], lambda: candidates[1]).backend == faster
    assert clock[0] == measured > 0
    monkeypatch.setenv("OMP_NUM_THREADS", "77")  # the ratio may be another one
    choose_passes(info, candidates[0], lambda: candidates[1])
    assert clock[0] > measured


@pytest.mark.parametrize(("has_bfloat16", "backend"), [(False, "auto"), (True, "onnxruntime")])
def test_torch_is_not_loaded_without_need(
    has_bfloat16: bool, backend: str, tile_bundle: BundleInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, backend)
    monkeypatch.setattr(model_loading, "has_bfloat16", lambda: has_bfloat16)
    passes: Any = Timed("onnxruntime", 1.0, [0.0])
    assert choose_passes(both_models(tile_bundle)[0].info, passes, lambda: pytest.fail("torch is loaded")) is passes


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("model name\t: EPYC\nflags\t\t: fpu avx2 avx512f\n", False),
        ("flags\t\t: fpu avx2 avx512_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("", False),
    ],
)
def test_bfloat16_is_read_from_the_flags_of_the_processor(
    content: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(content)
    monkeypatch.setattr(model_loading, "PROCESSOR", tmp_path / "cpuinfo")
    assert model_loading.has_bfloat16.__wrapped__() is expected


@pytest.mark.slow
def test_the_analysis_of_a_slide_does_not_import_torch(drawn_slide: Callable[..., Path], tmp_path: Path) -> None:
    slide = drawn_slide(tmp_path / "section.tif")
    command = [sys.executable, "-W", "ignore", "-c", ANALYZE, str(slide), str(tmp_path / "out"), str(TILE_TEST)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    unwanted, content = json.loads(done.stdout.splitlines()[-1])
    assert unwanted == []
    assert content["tiles_done"] > 0
    assert (content["backend"], content["precision"]) == ("onnxruntime", "fp32")
