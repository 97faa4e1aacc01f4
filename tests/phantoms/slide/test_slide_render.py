"""Rendering is independent of the requested part, and tissue cannot be segmented by color alone."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.looks import LOOKS, look_names
from napari_melanoma.phantoms.slide.plan import PhantomSlidePlan, plan_slide
from napari_melanoma.phantoms.slide.render import (
    BLOCK,
    downsample_by_two,
    draw_region,
    is_glass,
    render_region,
    render_truth,
)

from .conftest import planned

REGION = Box(240, 500, 400, 560)


def crop(image: np.ndarray, outer: Box, inner: Box) -> np.ndarray:
    top, left = inner.top - outer.top, inner.left - outer.left
    return image[top : top + inner.height, left : left + inner.width]


@pytest.fixture(scope="module")
def region(plan: PhantomSlidePlan) -> np.ndarray:
    return render_region(plan, 0, REGION)


@pytest.mark.slow
@pytest.mark.parametrize(
    "box", [Box(256, 512, 1, 1), Box(250, 760, 20, 30), Box(490, 830, 40, 120), Box(300, 700, 300, 340)]
)
def test_pixels_are_independent_of_the_box(plan: PhantomSlidePlan, region: np.ndarray, box: Box) -> None:
    again = render_region(plan_slide(plan.config), 0, box)
    assert np.array_equal(crop(region, REGION, box), again)


@pytest.mark.parametrize("top", [200, 411])
def test_blocks_have_no_visible_seams(plan: PhantomSlidePlan, top: int) -> None:
    box = Box(top, 620, 130, 170)
    at_once = draw_region(plan, box).astype(int)
    assert np.abs(at_once - render_region(plan, 0, box)).max() <= 1


def test_a_coarser_level_is_the_mean_of_the_finer_one(plan: PhantomSlidePlan) -> None:
    fine = render_region(plan, 1, Box(200, 200, 120, 160))
    assert np.array_equal(render_region(plan, 2, Box(100, 100, 60, 80)), downsample_by_two(fine))


def test_everything_outside_the_slide_is_glass(plan: PhantomSlidePlan) -> None:
    outside = render_region(plan, 0, Box(-40, -40, 30, 30))
    assert np.array_equal(outside, np.broadcast_to(np.array(plan.look.stain.glass, np.uint8), (30, 30, 3)))


def test_glass_is_found_where_tissue_is_absent() -> None:
    plan = planned(seed=4, section={"width_mm": 1.2, "depth_mm": 0.9}, artefacts={"pens": 1})
    boxes = [Box(row, column, BLOCK, BLOCK) for row in range(0, 2048, BLOCK) for column in range(0, 2048, BLOCK)]
    clean = [box for box in boxes if is_glass(plan, 0, box)]
    assert clean
    for box in clean[:3]:
        assert not render_truth(plan, 1, box).any()
        assert (draw_region(plan, box) == plan.look.stain.glass).all()


def test_truth_is_the_same_at_any_downsample(plan: PhantomSlidePlan) -> None:
    fine = render_truth(plan, 1, Box(0, 0, 2048, 2048))
    coarse = render_truth(plan, 3, Box(0, 0, 682, 682))
    assert np.array_equal(fine[1:2046:3, 1:2046:3], coarse)
    part = Box(100, 130, 90, 77)
    assert np.array_equal(render_truth(plan, 3, part), coarse[part.slices])
    assert set(np.unique(fine)) == {0, 1, 2, 3}


@pytest.mark.slow
@pytest.mark.parametrize("look", look_names())
def test_tissue_stains_and_glass_does_not(look: str) -> None:
    plan = planned(seed=1, look=look)
    box = Box(320, 576, 160, 160)
    rgb, classes = render_region(plan, 0, box).astype(int), render_truth(plan, 1, box)
    assert np.abs(rgb[classes == 1].mean(axis=0) - plan.look.stain.glass).max() > 40
    nuclei = rgb.sum(axis=2) < 0.62 * sum(plan.look.stain.glass)
    assert nuclei[classes == 2].mean() > nuclei[classes == 1].mean()


def test_artifacts_leave_the_truth_as_it_is(plan: PhantomSlidePlan) -> None:
    clean = plan_slide(plan.config.model_copy(update={"artefacts": type(plan.config.artefacts)()}))
    whole = Box(0, 0, 512, 512)
    assert np.array_equal(render_truth(clean, 4, whole), render_truth(plan, 4, whole))
    column, row = (plan.sections[0].folds[0][len(plan.sections[0].folds[0]) // 2] / plan.config.mpp).astype(int)
    folded = Box(int(row) - 20, int(column) - 20, 40, 40)
    assert render_region(plan, 0, folded).mean() < render_region(clean, 0, folded).mean() - 20


def test_a_pale_stain_is_pale() -> None:
    usual, pale = (planned(seed=6, stain_strength=strength) for strength in (1.0, 0.4))
    box = Box(512, 512, 256, 256)
    assert render_region(pale, 0, box).mean() > render_region(usual, 0, box).mean() + 20


def channels(rgb: np.ndarray) -> dict[str, np.ndarray]:
    from skimage.color import rgb2hed, rgb2hsv

    bands = np.concatenate([rgb / 255, rgb2hed(rgb), rgb2hsv(rgb)], axis=2)
    density = -np.log(np.maximum(rgb, 1) / 255).sum(axis=2)
    names = ("red", "green", "blue", "haematoxylin", "eosin", "dab", "hue", "saturation", "value")
    return dict(zip(names, np.moveaxis(bands, 2, 0), strict=True)) | {"density": density}


def best_dice(values: np.ndarray, tumour: np.ndarray) -> float:
    """Best Dice of a threshold, from below or from above."""
    best = 0.0
    for order in (np.argsort(values), np.argsort(-values)):
        hits = np.cumsum(tumour[order])
        best = max(best, float((2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])).max()))
    return best


@pytest.fixture(scope="module")
def stained() -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each look a slide: at 4 micrometers per pixel, and its truth."""
    slides = []
    for seed, look in enumerate(LOOKS):
        plan = planned(seed=seed, look=look.name, size=(1024, 1024))
        whole = Box(0, 0, *plan.level_size(2))
        slides.append((render_region(plan, 2, whole), render_truth(plan, 4, whole)))
    return slides


@pytest.mark.slow
@pytest.mark.parametrize("smooth_px", [1, 12])
def test_a_color_threshold_does_not_find_the_tumor(stained: list, smooth_px: int) -> None:
    from scipy.ndimage import uniform_filter

    pooled: dict[str, list[np.ndarray]] = {}
    for rgb, classes in stained:
        tissue = classes > 0
        share = np.maximum(uniform_filter(tissue.astype(float), smooth_px), 1e-6)
        for name, values in channels(rgb).items():
            smooth = uniform_filter(values * tissue, smooth_px) / share
            pooled.setdefault(name, []).append(smooth[tissue])
    tumour = np.concatenate([classes[classes > 0] == 3 for _, classes in stained])
    reached = {name: best_dice(np.concatenate(values), tumour) for name, values in pooled.items()}
    assert len(reached) == 10
    assert max(reached.values()) < 0.6, reached
