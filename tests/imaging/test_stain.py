"""Stain normalization: known stains are recovered, references are matched, and a second time changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.prediction_config import StainMethod
from napari_melanoma.imaging.color import to_lab, to_srgb
from napari_melanoma.imaging.stain import (
    StainConfig,
    StainFit,
    default_reference,
    fit_stain,
    normalize_stain,
    normalize_stain_exact,
    optical_density,
    stain_amounts,
)

METHODS: list[StainMethod] = ["macenko", "reinhard", "histogram", "standardise"]
STAINS = [
    ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)),  # Ruifrok and Johnston
    ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581)),  # Macenko's reference
    ((0.76, 0.60, 0.25), (0.27, 0.86, 0.43)),
]


def unit(stains: tuple[tuple[float, ...], ...]) -> np.ndarray:
    return np.array(stains) / np.linalg.norm(stains, axis=1, keepdims=True)


def mixed(
    stains: tuple[tuple[float, ...], ...], seed: int = 0, strength: tuple[float, float] = (0.9, 0.6), side: int = 96
) -> np.ndarray:
    """Draw pixels in which both stains occur alone and together; uint8 (row, column, channel)."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, (side, side))
    amounts = rng.gamma(4, 0.25, (side, side, 2)) * strength
    amounts[kind == 0, 1] = 0
    amounts[kind == 1, 0] = 0
    amounts[kind == 2] *= 0.02
    light = 255 * np.exp(-amounts @ unit(stains))
    return np.clip(np.rint(light + rng.normal(0, 0.7, light.shape)), 0, 255).astype(np.uint8)


def angle(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(one @ other, -1, 1))))


@pytest.mark.parametrize("stains", STAINS)
@pytest.mark.parametrize("white", [(255.0, 255.0, 255.0), (235.0, 228.0, 240.0)])
def test_macenko_recovers_known_stains(stains: tuple, white: tuple[float, float, float]) -> None:
    rgb = np.rint(mixed(stains) * (np.array(white) / 255)).astype(np.uint8)
    fit = fit_stain(rgb, StainConfig(), white)
    assert fit.stains is not None
    assert fit.note == ""
    for found, known in zip(np.array(fit.stains), unit(stains), strict=True):
        assert angle(found, known) < 3


def test_amounts_are_recovered_and_melanin_is_neither_stain() -> None:
    fit = StainFit(stains=tuple(map(tuple, unit(STAINS[0]).tolist())), amounts=(1.0, 1.0))
    amounts = np.array([[0.8, 0.0], [0.0, 0.5], [0.4, 0.3]])
    rgb = np.rint(255 * np.exp(-amounts @ unit(STAINS[0]))).astype(np.uint8)
    np.testing.assert_allclose(stain_amounts(rgb, fit)[:, :2], amounts, atol=0.03)
    assert abs(stain_amounts(rgb, fit)[:, 2]).max() < 0.03
    melanin = np.rint(255 * np.exp(-np.array([0.6, 0.8, 1.0]))).astype(np.uint8)
    assert abs(stain_amounts(melanin, fit)[2]) > 0.3


def test_unmixing_needs_stains() -> None:
    with pytest.raises(ValueError, match="available for Macenko's method only"):
        stain_amounts(np.zeros((1, 3), np.uint8), StainFit(config=StainConfig(method="reinhard")))


def test_normalization_makes_two_slides_of_one_tissue_similar() -> None:
    one, other = mixed(STAINS[0], strength=(0.9, 0.6)), mixed(STAINS[2], strength=(0.6, 0.9))
    before = np.abs(one.astype(float) - other).mean()
    after = np.abs(
        normalize_stain(one, fit_stain(one, StainConfig())).astype(float)
        - normalize_stain(other, fit_stain(other, StainConfig()))
    ).mean()
    assert after < before / 4


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_repetition_changes_nothing(method: StainMethod) -> None:
    config = StainConfig(method=method)
    source, reference = mixed(STAINS[0], 1), fit_stain(mixed(STAINS[1], 2, (0.7, 0.5)), config)
    once = normalize_stain(source, fit_stain(source, config), reference)
    twice = normalize_stain(once, fit_stain(once, config), reference)
    difference = np.abs(once.astype(float) - twice)
    assert difference.mean() < 2
    assert np.abs(once.astype(float) - source).mean() > 4


@pytest.mark.parametrize("method", METHODS)
def test_a_slide_is_its_own_reference(method: StainMethod) -> None:
    rgb = mixed(STAINS[1], 3)
    fit = fit_stain(rgb, StainConfig(method=method))
    np.testing.assert_allclose(normalize_stain_exact(rgb, fit, fit), rgb, atol=1.6)


@pytest.mark.parametrize("method", METHODS)
def test_the_figures_of_the_reference_are_met(method: StainMethod) -> None:
    config = StainConfig(method=method, keep_background=False)
    source, target = mixed(STAINS[0], 4, (0.9, 0.6)), mixed(STAINS[0], 5, (0.7, 0.5))
    source = source[(source < 200).any(axis=-1)]
    reference = fit_stain(target, config)
    found = fit_stain(
        np.rint(normalize_stain_exact(source, fit_stain(source, config), reference)).astype(np.uint8), config
    )
    if method == "macenko":
        np.testing.assert_allclose(found.amounts, reference.amounts, rtol=0.05)
    elif method == "histogram":
        levels = [np.searchsorted(np.array(fit.shares)[1], [0.1, 0.5, 0.9]) for fit in (found, reference)]
        np.testing.assert_allclose(levels[0], levels[1], atol=4)
    else:
        np.testing.assert_allclose(found.mean, reference.mean, atol=4)
        np.testing.assert_allclose(found.spread, reference.spread, atol=4)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_glass_stays_as_it_is(method: StainMethod) -> None:
    rgb = mixed(STAINS[0])
    fit = fit_stain(rgb, StainConfig(method=method))
    glass = np.full((4, 4, 3), 255, np.uint8)
    np.testing.assert_array_equal(normalize_stain(glass, fit), glass)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_table_is_near_the_exact_function(method: StainMethod) -> None:
    rgb = mixed(STAINS[1], 6)
    fit = fit_stain(rgb, StainConfig(method=method))
    off = np.abs(normalize_stain(rgb, fit) - normalize_stain_exact(rgb, fit))
    assert off.mean() < 1.3
    assert np.percentile(off, 99) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_batches_are_normalized_tile_by_tile(method: StainMethod) -> None:
    tiles = np.stack([mixed(STAINS[0], seed, side=33) for seed in range(3)])
    fit = fit_stain(tiles, StainConfig(method=method))
    together = normalize_stain(tiles, fit)
    assert (together.shape, together.dtype) == (tiles.shape, np.uint8)
    for tile, expected in zip(tiles, together, strict=True):
        np.testing.assert_array_equal(normalize_stain(tile, fit), expected)
    np.testing.assert_array_equal(normalize_stain(tiles[:, ::2, ::3], fit), together[:, ::2, ::3])


def test_none_gives_the_tiles_themselves() -> None:
    tiles = mixed(STAINS[0])
    fit = fit_stain(tiles, StainConfig(method="none"))
    assert normalize_stain(tiles, fit) is tiles
    np.testing.assert_allclose(normalize_stain_exact(tiles, fit), tiles, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_is_kept_as_json(method: StainMethod) -> None:
    fit = fit_stain(mixed(STAINS[0]), StainConfig(method=method))
    assert StainFit.model_validate_json(fit.model_dump_json()) == fit
    assert default_reference(fit).config == fit.config


def test_a_single_stain_is_reported() -> None:
    rng = np.random.default_rng(0)
    eosin = rng.gamma(9, 0.1, (80, 80, 1)) * np.array([0.07, 0.99, 0.11])
    fit = fit_stain(np.rint(255 * np.exp(-eosin)).astype(np.uint8), StainConfig())
    assert "one stain only" in fit.note


@pytest.mark.parametrize("method", METHODS)
def test_glass_has_no_stain_to_fit(method: StainMethod) -> None:
    with pytest.raises(InputError, match="has 0"):
        fit_stain(np.full((99, 99, 3), 240, np.uint8), StainConfig(method=method))


def test_a_reference_of_another_method_is_refused() -> None:
    rgb = mixed(STAINS[0])
    with pytest.raises(ValueError, match="fitted by reinhard"):
        normalize_stain(rgb, fit_stain(rgb, StainConfig()), fit_stain(rgb, StainConfig(method="reinhard")))


@settings(max_examples=50)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_lab_and_back(colour: tuple[int, int, int]) -> None:
    rgb = np.array(colour, np.uint8)
    np.testing.assert_allclose(to_srgb(to_lab(rgb)) * 255, rgb, atol=0.05)


def test_white_has_no_density() -> None:
    np.testing.assert_array_equal(optical_density(np.array([255, 255, 255], np.uint8)), 0)
    assert np.isfinite(optical_density(np.zeros(3, np.uint8))).all()
