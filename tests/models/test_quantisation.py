"""An 8-bit network is smaller and predicts nearly the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.export import export_int8, export_network, read_metadata
from napari_melanoma.models.exported_network import ExportedNetwork

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 48, 3, padding=1), nn.ReLU())
    return nn.Sequential(*layers, nn.Conv2d(48, 1, 1)).eval()


def photographs(count: int) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(1, 3, 32, 32)).astype(np.float32) for _ in range(count))


def read_int8(path: Path) -> list[NDArray[np.int8]]:
    """Read the 8-bit initializers of an ONNX file: weights, and zero points without dimensions."""
    import onnx
    from onnx.numpy_helper import to_array

    initializers = [to_array(each) for each in onnx.load(path).graph.initializer]
    return [each for each in initializers if each.dtype == np.int8]


def test_the_integer_network_is_small_and_similar(network, tmp_path: Path) -> None:
    import torch

    whole, integers = tmp_path / "whole.onnx", tmp_path / "integers.onnx"
    export_network(network, whole, side=32)
    export_int8(network, integers, photographs(8), side=32, metadata='{"threshold": 0.4}')
    images = torch.from_numpy(np.concatenate(list(photographs(3))))
    with torch.inference_mode():
        expected, found = network(images), ExportedNetwork(integers)(images)
    assert float((found - expected).abs().max()) < 0.03 * float(expected.max() - expected.min())
    assert integers.stat().st_size < 0.45 * whole.stat().st_size
    assert read_metadata(integers) == '{"threshold": 0.4}'
    weights = [each for each in read_int8(integers) if each.ndim == 4]
    assert len(weights) == 3
    assert all(-64 <= each.min() <= each.max() <= 64 for each in weights), "sums of products saturate without VNNI"


def test_calibration_needs_photographs(network, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs photographs for calibrating the range of each layer, found none"):
        export_int8(network, tmp_path / "x.onnx", iter(()), side=32)
    assert list(tmp_path.iterdir()) == []
