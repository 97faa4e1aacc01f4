"""A tissue classifier as the network of a slide analysis."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from painted_tables import Table

from napari_melanoma.slides.tissue_classifier.bundle import TissuePasses
from napari_melanoma.slides.tissue_classifier.fitting import fit_classifier

FEATURES = 20


def make_passes(name: str = "texture") -> TissuePasses:
    """The features of a cell are the first value of its tile, repeated."""

    def compute(tiles: np.ndarray) -> np.ndarray:
        return np.broadcast_to(tiles[:, :1, :1, :1].astype(np.float16), (len(tiles), 2, 3, FEATURES))

    source: Any = SimpleNamespace(name=name, compute=compute)
    return TissuePasses(source, fit_classifier(Table(features=FEATURES).build(), "logistic"))


@pytest.mark.parametrize(
    ("name", "backend"),
    [("imagenet+texture", "onnxruntime"), ("uni", "torch"), ("texture+timm:vit_small_patch14_dinov2", "torch")],
)
def test_the_back_end_is_that_of_the_features(name: str, backend: str) -> None:
    assert make_passes(name).backend == backend


def test_tiles_do_not_depend_on_their_batch() -> None:
    passes = make_passes()
    tiles = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), np.uint8)
    whole = passes.run(tiles, 5)
    parts = passes.concatenate([passes.run(tiles[:2], 5), passes.run(tiles[2:], 5)])
    assert np.asarray(whole["dense"]).shape == (5, 3, 2, 3)
    assert np.asarray(whole["dense"]).dtype == np.uint8
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values)
    np.testing.assert_allclose(
        np.asarray(whole["probability"]), np.asarray(whole["dense"]).mean(axis=(2, 3)) / 255, atol=1 / 255
    )
    assert passes.share_out_of_distribution(tiles) is None  # of a classifier without it
    assert passes.exact() is passes
    assert passes.supports("fp32")
    assert not passes.supports("bf16")
