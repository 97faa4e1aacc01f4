"""The segmenter keeps the sizes of photographs, and predicts the same for a batch as for single photographs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.imaging.preprocessing import select_views, turn_back
from napari_melanoma.lesion.segmentation import Segmenter, predict_lesions
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.torch_inference import choose_device
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom


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


@pytest.mark.parametrize("views", [4, 8])
def test_a_model_with_turned_views_ignores_orientation_and_gives_its_range(tiny_bundle: BundleInfo, views: int) -> None:
    config = tiny_bundle.config.model_copy(update={"turned_views": views})
    model, rgb = Segmenter.load(replace(tiny_bundle, config=config), "cpu"), _photograph((64, 64), 0)
    original = next(predict_lesions(model, [rgb], flips=True))
    for transposed, axes in select_views(views):
        channels = rgb.transpose(2, 1, 0) if transposed else rgb.transpose(2, 0, 1)
        turned = model.probability(np.ascontiguousarray(np.flip(channels, axes).transpose(1, 2, 0)))
        np.testing.assert_allclose(turn_back(turned, (transposed, axes)), original.probability, atol=1e-6)
    assert np.abs(Segmenter.load(tiny_bundle, "cpu").probability(rgb) - original.probability).max() > 1e-4
    np.testing.assert_allclose(model.probability(rgb), original.probability, atol=1e-6)
    assert original.spread is not None
    assert (original.spread[1] - original.spread[0]).max() > 1e-3


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("views", [(), (1.4, 2.4)])
@pytest.mark.slow
def test_a_black_frame_does_not_change_the_lesion(
    tiny_bundle: BundleInfo, flips: bool, views: tuple[float, ...]
) -> None:
    rgb = lesion_phantom(LesionPhantomConfig(seed=5, size=(150, 210))).rgb
    whole = Segmenter.load(tiny_bundle, "cpu").probability(rgb)
    updates = {"closer_views": views, "threshold": float(np.quantile(whole, 0.998))}
    model = Segmenter.load(replace(tiny_bundle, config=tiny_bundle.config.model_copy(update=updates)), "cpu")
    framed = np.pad(rgb, ((40, 20), (0, 70), (0, 0)))
    expected, found = predict_lesions(model, [rgb, framed], flips=flips)
    inside = slice(40, 190), slice(0, 210)
    np.testing.assert_allclose(found.probability[inside], expected.probability, atol=1e-6)
    outside = np.ones(framed.shape[:2], bool)
    outside[inside] = False
    assert found.probability[outside].max() < 1e-9
    if found.spread is not None:
        assert found.spread.shape == (2, *framed.shape[:2])
        assert (found.spread[0] <= found.spread[1]).all()
        assert found.spread[:, outside].max() < -20


def test_an_empty_batch(segmenter: Segmenter) -> None:
    assert segmenter.probabilities([]) == []


def test_device_is_known_to_torch() -> None:
    assert choose_device() in ("cpu", "cuda", "mps")
