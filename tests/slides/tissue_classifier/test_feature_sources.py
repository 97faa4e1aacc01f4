"""Features of cells: each source alike, and what texture and context measure."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CELL_UM, MARGIN_CELLS, block_px
from napari_melanoma.slides.tissue_classifier.feature_sources import (
    COLORS,
    CONTEXTS,
    LENGTH,
    MEASURES,
    SHIPPED_SOURCES,
    STAINS,
    FeatureSource,
    JoinedFeatures,
    add_context,
    measure_texture,
    open_feature_source,
)

SOURCES = [*SHIPPED_SOURCES]


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> FeatureSource:
    return open_feature_source(request.param)


def random_blocks(source: FeatureSource, count: int = 2) -> np.ndarray:
    side = block_px(source.mpp)
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def test_features_of_a_block_do_not_depend_on_the_others(source: FeatureSource) -> None:
    blocks = random_blocks(source)
    features = source.compute(blocks)
    assert features.shape == (2, BLOCK_CELLS, BLOCK_CELLS, source.length)
    assert features.dtype == np.float16
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(features[1], source.compute(blocks[1:])[0])
    assert not np.array_equal(features[0], features[1])


def test_sources_are_identified_by_their_fingerprints() -> None:
    fingerprints = {open_feature_source(name).fingerprint for name in SOURCES}
    assert len(fingerprints) == len(SOURCES)
    assert open_feature_source("texture").fingerprint == open_feature_source("texture").fingerprint


def test_unknown_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="no features named 'color'"):
        open_feature_source("color")


def test_features_of_different_scales_cannot_be_joined() -> None:
    coarse, fine = open_feature_source("texture"), open_feature_source("texture")
    fine.mpp = 0.5  # type: ignore[misc]
    with pytest.raises(ConfigError, match="different scales"):
        JoinedFeatures([coarse, fine])


def test_context_is_the_mean_over_the_neighborhood() -> None:
    side = BLOCK_CELLS + 2 * MARGIN_CELLS
    cells = np.random.default_rng(0).random((side, side, 2), np.float32)
    features = add_context(cells).astype(np.float32)
    for index, context in enumerate(CONTEXTS):
        reach = context // 2
        for row, column in ((0, 0), (3, 15), (15, 7)):
            top, left = row + MARGIN_CELLS, column + MARGIN_CELLS
            around = cells[top - reach : top + reach + 1, left - reach : left + reach + 1]
            expected = around.mean(axis=(0, 1))
            np.testing.assert_allclose(features[row, column, 2 * index : 2 * index + 2], expected, atol=1e-3)


def test_texture_of_a_plain_block_has_no_variation() -> None:
    plain = np.full((64, 96, 3), (200, 120, 180), np.uint8)
    features = measure_texture(plain, CELL_UM)
    assert features.shape == (2, 3, LENGTH)
    np.testing.assert_allclose(features[0, 0, :3], np.array((200, 120, 180)) / 255, atol=1e-6)
    np.testing.assert_allclose(features[..., 3:6], 0, atol=1e-3)
    np.testing.assert_allclose(features, np.broadcast_to(features[0, 0], features.shape), atol=1e-5)


def test_fine_stripes_disappear_at_the_coarsest_scale() -> None:
    columns, gradient = np.arange(128), COLORS + 2 * STAINS * MEASURES + 2
    fine, coarse = (
        measure_texture(np.broadcast_to(line[None, :, None], (64, 128, 3)), CELL_UM)
        for line in (np.where(columns // width % 2, 255, 90).astype(np.uint8) for width in (1, 8))
    )
    assert fine[..., gradient].mean() < 0.2 * coarse[..., gradient].mean()


def test_texture_is_the_same_when_the_block_is_turned() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    features, turned = measure_texture(rgb, CELL_UM), measure_texture(np.transpose(rgb, (1, 0, 2)), CELL_UM)
    np.testing.assert_allclose(features, np.transpose(turned, (1, 0, 2)), atol=2e-3)
