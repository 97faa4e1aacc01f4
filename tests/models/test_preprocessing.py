"""Conversion of photographs to network inputs, and of outputs to probability maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_melanoma.io.thumbnails import fit_input
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.models.inference import restore_size, to_tensor
from napari_melanoma.models.torch_inference import memory_layout


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (2000, 3000)])
def test_input_is_the_square(shape: tuple[int, int]) -> None:
    rgb = np.full((*shape, 3), (10, 100, 200), np.uint8)
    fitted = fit_input(rgb, 64)
    assert fitted.shape == (64, 64, 3)
    assert np.array_equal(np.unique(fitted.reshape(-1, 3), axis=0), [[10, 100, 200]])


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(fit_input(stripes, 64)) < 40


def test_tensor_is_normalized_by_channel() -> None:
    config = BundleConfig(name="x", title="x", architecture="unet", mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    tensor = to_tensor([np.full((32, 32, 3), 255, np.uint8)], config)
    assert tensor.shape == (1, 3, 32, 32)
    assert tensor[0, :, 0, 0].tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("device", "layout"),
    [("cpu", torch.channels_last), ("cuda:1", torch.channels_last), ("mps", torch.contiguous_format)],
)
def test_channels_are_last_in_memory_where_torch_handles_it(device: str, layout: torch.memory_format) -> None:
    assert memory_layout(device) is layout
    assert memory_layout(torch.device(device)) is layout


def test_restored_map_is_a_probability_of_the_photographs_size() -> None:
    logits = np.linspace(-200, 200, 64 * 64, dtype=np.float32).reshape(64, 64)
    probability = restore_size(logits, (100, 30))
    assert probability.shape == (100, 30)
    assert probability.dtype == np.float32
    assert probability.min() >= 0
    assert probability.max() <= 1
    assert np.all(np.diff(probability[:, 15]) >= 0)
    assert abs(probability[50, 15] - 0.5) < 0.5
    assert np.isfinite(probability).all()


def test_a_centered_border_stays_centered() -> None:
    logits = np.where(np.arange(64) < 32, 8.0, -8.0).astype(np.float32)[None].repeat(64, 0)
    assert np.count_nonzero(restore_size(logits, (50, 640))[25] >= 0.5) == 320
