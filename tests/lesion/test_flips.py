"""Test-time augmentation with networks whose prediction for a flipped image is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_melanoma.core.prediction_config import PreprocessingConfig
from napari_melanoma.lesion.segmentation import predict_lesions, predict_view_logits

SIDE = 8
CONFIG = SimpleNamespace(input_size=SIDE, preprocessing=PreprocessingConfig(), closer_views=(), turned_views=None)


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
    views, alone = predict_view_logits(Even(), photographs), Even().logits(photographs)
    np.testing.assert_array_equal(views, np.repeat(alone[:, None], 4, axis=1))


def test_flips_average_an_asymmetric_model_and_give_its_range(photographs: list[np.ndarray]) -> None:
    """The column of a pixel and that of its mirror image add up to 7 everywhere."""
    views, plain = predict_view_logits(Leaning(), photographs), Even().logits(photographs)
    columns = np.arange(SIDE)
    np.testing.assert_allclose(views.mean(1), plain + 3.5, atol=1e-5)
    np.testing.assert_allclose(views.min(1), plain + np.minimum(columns, 7 - columns), atol=1e-5)
    np.testing.assert_allclose(views.max(1), plain + np.maximum(columns, 7 - columns), atol=1e-5)


def test_the_mask_has_the_size_of_the_photograph(photographs: list[np.ndarray]) -> None:
    wide = np.repeat(photographs[0], 3, axis=1)
    prediction = next(predict_lesions(Leaning(), [wide], flips=True))
    assert (prediction.probability.shape, prediction.spread.shape) == ((SIDE, 3 * SIDE), (2, SIDE, SIDE))
    assert (prediction.spread[0] <= prediction.spread[1]).all()
