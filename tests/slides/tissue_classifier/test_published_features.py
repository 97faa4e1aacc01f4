"""Features of published encoders by their weights file, with small networks of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_melanoma.core.errors import BundleError
from napari_melanoma.slides.model_loading import LoadOptions, load_tile_model
from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, MARGIN_CELLS, block_px
from napari_melanoma.slides.tissue_classifier.classifier import (
    PaintedSlideFile,
    TissueFitOptions,
    fit_tissue_classifier,
)
from napari_melanoma.slides.tissue_classifier.feature_sources import CELL_PX, FeatureSource, open_feature_source
from napari_melanoma.slides.tissue_classifier.strokes import Stroke

WINDOW = 4  # cells
SMALL = "test_efficientnet"


def save_random_weights(name: str, folder: Path) -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model(name, pretrained=False, num_classes=0).state_dict(), folder / "model.safetensors")
    return folder / "model.safetensors"


def test_the_weights_are_requested() -> None:
    with pytest.raises(BundleError, match="weights of 'uni' are not included"):
        open_feature_source("uni")


@pytest.fixture(scope="module", params=["vit_tiny_patch16_224", SMALL])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    return open_feature_source(
        f"timm:{request.param}", save_random_weights(request.param, tmp_path_factory.mktemp("w"))
    )


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


@pytest.mark.slow
def test_the_encoder_runs_on_the_chosen_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_melanoma.models.torch_inference.list_devices", lambda: ["mps", "cpu"])
    weights, slide = save_random_weights(SMALL, tmp_path), tmp_path / "slide.tif"
    scale = {"resolution": (1e4, 1e4), "resolutionunit": "CENTIMETER"}  # 1 micrometer per pixel
    rgb = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    tifffile.imwrite(slide, rgb, photometric="rgb", tile=(256, 256), metadata=None, **scale)  # type: ignore[arg-type]
    strokes = tuple(
        Stroke(f"{name}-{column}", name, "cells", ((row, column),))
        for name, row in (("dermis", 40.0), ("tumor", 200.0))
        for column in (40.0, 200.0)
    )
    options = TissueFitOptions(sources=(f"timm:{SMALL}",), weights=weights, device="cpu", kinds=("nearest_mean",))
    fitted = fit_tissue_classifier([PaintedSlideFile(slide, strokes)], options)
    model = str(write_tissue_bundle(tmp_path / "model", fitted).path)
    assert load_tile_model(model, LoadOptions(weights=weights, device="cpu")).device == "cpu"
    with pytest.raises(BundleError, match="the device is 'cuda', but torch finds only: mps, cpu"):
        load_tile_model(model, LoadOptions(weights=weights, device="cuda"))
