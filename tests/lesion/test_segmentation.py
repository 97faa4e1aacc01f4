"""The segmenter keeps the sizes of photographs, and predicts the same for a batch as for single photographs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.torch_inference import choose_device


@pytest.fixture(scope="module")
def segmenter(tiny_bundle: BundleInfo) -> Segmenter:
    return Segmenter.load(tiny_bundle, "cpu")


def _photograph(shape: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(64, 64), (16, 200), (301, 97)])
def test_probability_has_the_photographs_size(segmenter: Segmenter, shape: tuple[int, int]) -> None:
    probability = segmenter.probability(_photograph(shape, 0))
    assert probability.shape == shape
    assert probability.dtype == np.float32
    assert 0 <= probability.min() <= probability.max() <= 1


def test_a_batch_equals_its_images(segmenter: Segmenter) -> None:
    images = [_photograph(shape, seed) for seed, shape in enumerate([(64, 64), (50, 80), (128, 90)])]
    for together, image in zip(segmenter.probabilities(images), images, strict=True):
        np.testing.assert_allclose(together, segmenter.probability(image), atol=1e-5)


def test_an_empty_batch(segmenter: Segmenter) -> None:
    assert segmenter.probabilities([]) == []


def test_device_is_known_to_torch() -> None:
    assert choose_device() in ("cpu", "cuda", "mps")
