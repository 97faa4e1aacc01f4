"""Features of published encoders by their weights file, with small networks of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import BundleError
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, MARGIN_CELLS, block_px
from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource, open_feature_source
from napari_melanoma.slides.tissue_classifier.published_features import CELL_PX

WINDOW = 4  # cells


def test_the_weights_are_requested() -> None:
    with pytest.raises(BundleError, match="weights of 'uni' are not included"):
        open_feature_source("uni")


@pytest.fixture(scope="module", params=["vit_tiny_patch16_224", "test_efficientnet"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights: Path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model(request.param, pretrained=False, num_classes=0).state_dict(), weights)
    return open_feature_source(f"timm:{request.param}", weights)


@pytest.mark.slow
def test_a_change_of_a_cell_changes_features_of_its_window_only(source: FeatureSource) -> None:
    side = block_px(source.mpp)
    block = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    changed = block.copy()
    row, column = 9, 6
    top, left = (CELL_PX * (MARGIN_CELLS + cell) for cell in (row, column))
    changed[top : top + CELL_PX, left : left + CELL_PX] = 255
    before, after = source.compute(np.stack([block, changed]))
    assert before.shape == (BLOCK_CELLS, BLOCK_CELLS, source.length)
    assert np.isfinite(before).all()
    differs = (before != after).any(axis=-1)
    window = np.zeros_like(differs)
    window[8 : 8 + WINDOW, 4 : 4 + WINDOW] = True
    np.testing.assert_array_equal(differs, window)
