"""Patches: position on the slide, visible area, and agreement with the slide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.cohort import (
    CohortConfig,
    CohortPatch,
    choose_patch_box,
    downsample_factor,
    draw_patch,
    draw_patients,
    drawn_level,
    make_slide_config,
)
from napari_melanoma.phantoms.slide.plan import plan_slide
from napari_melanoma.phantoms.slide.render import describe_slide_truth, render_region, render_truth

USUAL = CohortConfig(count=10)
# A small view, so that little is drawn; 8 pixels of the slide make one of the patch.
SMALL = CohortConfig(count=10, patch_mm=0.8, patch_px=100)
PATIENT = replace(draw_patients(USUAL)[0], depth_mm=0.7, ulcerated=False, necrosis=0.3, seed=12)


@pytest.fixture(scope="module")
def patch() -> CohortPatch:
    return draw_patch(PATIENT, SMALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth_mm", "fits"), [(0.2, True), (1.1, True), (2.5, True), (2.75, None), (3.5, False), (6.0, False)]
)
def test_surface_and_deepest_place_are_in_view_as_far_as_they_fit(depth_mm: float, fits: bool | None) -> None:
    plan = plan_slide(make_slide_config(replace(PATIENT, depth_mm=depth_mm, seed=1), USUAL))
    box, found = choose_patch_box(plan, USUAL)
    assert fits in (None, found)
    (lesion,) = (one for one in describe_slide_truth(plan)["sections"][0]["lesions"] if one["breslow_line"])
    ends = np.array(lesion["breslow_line"]) / downsample_factor(USUAL)
    per_mm = USUAL.patch_px / 3
    within = (ends >= (box.top, box.left)) & (ends < (box.top + box.height, box.left + box.width))
    assert within[0].all()
    assert bool(within[1].all()) == found or not found
    assert ends[0, 0] - box.top == pytest.approx(0.2 * per_mm, abs=1.5)
    if found:
        assert ends[:, 1].mean() - box.left == pytest.approx(256, abs=1.5)
    else:
        assert ends[1, 0] > box.top + box.height - 0.06 * per_mm


def slide_pixels(config: CohortConfig, patch: CohortPatch) -> NDArray[np.float64]:
    """The upper half of a patch, as the mean of the pixels of level 0 of the slide."""
    plan = plan_slide(make_slide_config(PATIENT, config))
    place, step = patch.truth["patch"], downsample_factor(config)
    assert plan.config.mpp * step == pytest.approx(config.patch_mm * 1000 / config.patch_px) == place["mpp"]
    rows, columns = config.patch_px // 2, config.patch_px
    box = Box(place["top"] * step, place["left"] * step, rows * step, columns * step)
    fine = render_region(plan, 0, box).astype(float)
    return fine.reshape(rows, step, columns, step, 3).mean(axis=(1, 3))


@pytest.mark.slow
def test_fine_patches_are_the_pixels_of_the_slide_made_coarser() -> None:
    config = CohortConfig(count=10, patch_mm=0.5, patch_px=200)
    assert (downsample_factor(config), drawn_level(downsample_factor(config))) == (3, 0)
    patch = draw_patch(PATIENT, config)
    assert np.abs(slide_pixels(config, patch) - patch.rgb[:100]).max() <= 1.5
    assert patch.rgb.shape == (200, 200, 3)


@pytest.mark.slow
def test_patches_of_wide_pixels_have_the_colors_and_the_texture_of_the_slide(patch: CohortPatch) -> None:
    assert drawn_level(downsample_factor(SMALL)) == 1
    slide, own = slide_pixels(SMALL, patch), patch.rgb[:50].astype(float)
    assert np.abs((own - slide).mean(axis=(0, 1))).max() < 1
    assert own.std(axis=(0, 1)) == pytest.approx(slide.std(axis=(0, 1)), rel=0.03)
    assert np.corrcoef(own.ravel(), slide.ravel())[0, 1] > 0.98


@pytest.mark.slow
def test_masks_are_those_of_the_truth(patch: CohortPatch) -> None:
    plan = plan_slide(make_slide_config(PATIENT, SMALL))
    place = patch.truth["patch"]
    classes = render_truth(plan, downsample_factor(SMALL), Box(place["top"], place["left"], 100, 100))
    assert np.array_equal(patch.tumor, classes == 3)
    assert patch.necrosis.any()
    assert not (patch.necrosis & ~patch.tumor).any()
    assert patch.truth["necrosis_in_view_mm2"] == pytest.approx(patch.necrosis.sum() * 0.008**2, abs=1e-5)
    assert patch.truth["clark"] == patch.truth["slide"]["sections"][0]["lesions"][0]["clark_level"]


def test_the_same_patient_gives_the_same_patch(patch: CohortPatch) -> None:
    again = draw_patch(PATIENT, SMALL)
    assert np.array_equal(again.rgb, patch.rgb)
    assert again.truth == patch.truth


@pytest.mark.parametrize(("patch_px", "step"), [(512, 6), (256, 12), (1000, 3), (3000, 1)])
def test_a_slide_is_never_coarser_than_a_micrometer(patch_px: int, step: int) -> None:
    config = CohortConfig(count=10, patch_px=patch_px)
    assert downsample_factor(config) == step
    slide = make_slide_config(PATIENT, config)
    assert slide.mpp <= 1
    assert slide.mpp * step * patch_px == pytest.approx(3000)


@pytest.mark.slow
def test_every_patient_has_a_slide_that_the_tumor_fits_on() -> None:
    for number, depth in enumerate((0.2, 0.5, 3.0, 6.0)):
        for turn in (False, True):
            patient = replace(PATIENT, depth_mm=depth, seed=90 + number, ulcerated=turn, necrosis=0.0)
            assert plan_slide(make_slide_config(patient, USUAL)).breslow_mm == pytest.approx(depth, abs=1e-3)
