"""Test-time augmentation with networks whose prediction for a flipped image is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_melanoma.core.prediction_config import PreprocessingConfig
from napari_melanoma.lesion.segmentation import predict_flipped_logits, predict_lesions

SIDE = 8
CONFIG = SimpleNamespace(input_size=SIDE, preprocessing=PreprocessingConfig(), closer_views=())


class Even:
    """Pixel-wise model, so that a flip of the input flips the output."""

    info = SimpleNamespace(config=CONFIG)

    def logits(self, inputs) -> np.ndarray:
        return np.stack([image.astype(np.float32).mean(2) / 64 - 2 for image in inputs])


class Leaning(Even):
    """Adds the number of the column, whatever is in it."""

    def logits(self, inputs) -> np.ndarray:
        return super().logits(inputs) + np.arange(SIDE, dtype=np.float32)


@pytest.fixture
def photographs() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return list(random.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8))


def test_symmetric_network_ignores_flips(photographs: list[np.ndarray]) -> None:
    found = predict_flipped_logits(Even(), photographs)
    alone = Even().logits(photographs)
    np.testing.assert_array_equal(found.low, alone)
    np.testing.assert_array_equal(found.high, alone)
    np.testing.assert_allclose(found.mean, alone, rtol=1e-6)


def test_flips_average_an_asymmetric_model_and_give_its_range(photographs: list[np.ndarray]) -> None:
    """The column of a pixel and that of its mirror image add up to 7 everywhere."""
    found, plain = predict_flipped_logits(Leaning(), photographs), Even().logits(photographs)
    columns = np.arange(SIDE)
    np.testing.assert_allclose(found.mean, plain + 3.5, atol=1e-5)
    np.testing.assert_allclose(found.low, plain + np.minimum(columns, 7 - columns), atol=1e-5)
    np.testing.assert_allclose(found.high, plain + np.maximum(columns, 7 - columns), atol=1e-5)


def test_the_mask_has_the_size_of_the_photograph(photographs: list[np.ndarray]) -> None:
    wide = np.repeat(photographs[0], 3, axis=1)
    answer = next(predict_lesions(Leaning(), [wide], flips=True))
    assert (answer.probability.shape, answer.spread.shape) == ((SIDE, 3 * SIDE), (2, SIDE, SIDE))
    assert (answer.spread[0] <= answer.spread[1]).all()
