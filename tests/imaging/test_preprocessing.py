"""Preprocessing for networks: none by default, and equal for different input sizes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.prediction_config import PreprocessingConfig, StainMethod
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.thumbnails import fit_input
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import ArtifactOptions, LesionPhantomConfig

BOTH = PreprocessingConfig(remove_hair=True, color_constancy=True, working_size=256)


def test_nothing_is_done_by_default() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    config = PreprocessingConfig()
    assert (config.is_on, config.cache_key, config.description) == (False, "", "")
    assert np.array_equal(prepare_network_input(rgb, 64, config), fit_input(rgb, 64))


def test_cached_images_of_another_size_are_treated_the_same() -> None:
    """Training keeps images at its own size and shrinks them again; use goes straight to the network's."""
    artefacts = ArtifactOptions(hairs=15, ruler=False, bubbles=0, ink=False)
    rgb = lesion_phantom(LesionPhantomConfig(seed=1, size=(300, 400), artefacts=artefacts)).rgb
    used, kept = prepare_network_input(rgb, 96, BOTH), fit_input(prepare_network_input(rgb, 160, BOTH), 96)
    assert used.shape == (96, 96, 3)
    assert np.abs(used.astype(int) - kept).mean() < 1.5
    assert np.abs(used.astype(int) - fit_input(rgb, 96)).mean() > 4


def test_the_cache_key_changes_with_effective_settings_only() -> None:
    hair = PreprocessingConfig(remove_hair=True)
    marks = {
        hair.cache_key,
        PreprocessingConfig(color_constancy=True).cache_key,
        PreprocessingConfig(remove_hair=True, color_constancy=True).cache_key,
        PreprocessingConfig(remove_hair=True, working_size=256).cache_key,
        PreprocessingConfig(color_constancy=True, grey_power=1).cache_key,
        PreprocessingConfig(color_constancy=True, working_size=256).cache_key,
        PreprocessingConfig(stain="histogram").cache_key,
        PreprocessingConfig(stain="standardise").cache_key,
    }
    assert len(marks) == 8
    assert PreprocessingConfig(remove_hair=True, grey_power=3).cache_key == hair.cache_key  # no light is corrected
    assert BOTH.description == "dark hairs removed, light corrected by shades of gray with power 6"


def test_keys_of_caches_without_stain_normalization_are_unchanged() -> None:
    assert PreprocessingConfig(remove_hair=True).cache_key == "0ff9b75731d2"


def stained(strength: float) -> np.ndarray:
    """A patch with tissue on the right and glass on the left."""
    rng = np.random.default_rng(0)
    amounts = strength * rng.uniform(0.2, 1.0, (128, 128, 2))
    density = amounts @ np.array([(0.56, 0.72, 0.41), (0.22, 0.80, 0.56)])
    density[:, :64] = 0
    return np.rint(255 * np.exp(-density)).astype(np.uint8)


@pytest.mark.parametrize("method", ["histogram", "standardise"])
def test_the_stain_of_a_patch_is_normalized(method: StainMethod) -> None:
    config = PreprocessingConfig(stain=method, working_size=128)
    pale, dark = stained(0.6), stained(1.2)
    prepared = [prepare_network_input(rgb, 128, config) for rgb in (pale, dark)]
    tissue = [image[:, 64:].mean((0, 1)) for image in prepared]
    before = np.abs(pale[:, 64:].mean((0, 1)) - dark[:, 64:].mean((0, 1))).max()
    assert np.abs(tissue[0] - tissue[1]).max() < before / 4
    assert (prepared[0][:, :64] == 255).all(), "glass is unchanged"


def test_a_patch_without_tissue_is_unchanged() -> None:
    glass = np.full((128, 128, 3), 240, np.uint8)
    config = PreprocessingConfig(stain="histogram", working_size=128)
    assert np.array_equal(prepare_network_input(glass, 128, config), glass)


def test_large_network_inputs_keep_full_detail() -> None:
    checks = (np.indices((512, 512)).sum(axis=0) // 2 % 2).astype(np.uint8)
    rgb = np.stack([100 + 80 * checks, 90 + 70 * checks, 80 + 60 * checks], axis=-1).astype(np.uint8)
    plain = fit_input(rgb, 512).astype(float).std()
    for what in ({"color_constancy": True}, {"remove_hair": True}):
        prepared = prepare_network_input(rgb, 512, PreprocessingConfig(**what, working_size=128))
        assert prepared.astype(float).std() > 0.8 * plain, what


def test_the_light_is_judged_at_the_working_size() -> None:
    rgb = np.full((256, 256, 3), (150, 110, 90), np.uint8)
    rgb[::16, ::16] = (120, 180, 240)  # sparkles that a small copy blurs away
    small, large = (
        prepare_network_input(rgb, 64, PreprocessingConfig(color_constancy=True, grey_power=64, working_size=size))
        for size in (128, 256)
    )
    assert np.abs(small.astype(int) - large).max() > 3


@pytest.mark.parametrize("method", ["histogram", "standardise", "macenko", "reinhard"])
def test_a_cached_patch_has_the_stain_of_a_predicted_one(method: StainMethod) -> None:
    config = PreprocessingConfig(stain=method, working_size=256)
    rgb = np.tile(stained(1.0), (4, 4, 1))
    cached = fit_input(prepare_network_input(rgb, 160, config), 64)
    predicted = prepare_network_input(rgb, 64, config)
    assert np.abs(cached.astype(float) - predicted).mean() < 2
