"""Necrosis: inside the tumor, listed in the truth, and without effect on other pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.config import TissueKind
from napari_melanoma.phantoms.slide.pixels import label_pixels
from napari_melanoma.phantoms.slide.plan import PhantomSlidePlan
from napari_melanoma.phantoms.slide.render import describe_slide_truth, make_annotations, render_region, render_truth

from .conftest import planned


def dying(share: float, **lesions: Any) -> PhantomSlidePlan:
    requested = {"breslow_mm": 0.9, "benign": 0, "necrosis": share, **lesions}
    return planned(seed=3, lesions=requested)


@pytest.fixture(scope="module")
def pair() -> tuple[PhantomSlidePlan, PhantomSlidePlan]:
    """The same slide with and without."""
    return dying(0.25), dying(0.0)


def test_a_slide_has_no_necrosis_by_default(pair: tuple[PhantomSlidePlan, PhantomSlidePlan]) -> None:
    plain = planned(seed=3, lesions={"breslow_mm": 0.9, "benign": 0})
    assert plain.config == pair[1].config
    (lesion,) = describe_slide_truth(plain)["sections"][0]["lesions"]
    assert lesion["necrosis"] == {"area_mm2": 0, "share": 0.0, "outlines": []}


def test_thickness_and_classes_stay_as_they_are(pair: tuple[PhantomSlidePlan, PhantomSlidePlan]) -> None:
    dead, alive = pair
    assert dead.breslow_mm == alive.breslow_mm == pytest.approx(0.9)
    whole = Box(0, 0, 1024, 1024)
    assert np.array_equal(render_truth(dead, 2, whole), render_truth(alive, 2, whole))
    assert (label_pixels(dead.sections[0], whole, 2) == TissueKind.NECROSIS).any()


def test_only_its_own_pixels_change_and_they_turn_pale(pair: tuple[PhantomSlidePlan, PhantomSlidePlan]) -> None:
    from scipy.ndimage import binary_dilation

    dead, alive = pair
    outline = np.array(describe_slide_truth(dead)["sections"][0]["lesions"][0]["necrosis"]["outlines"][0])
    row, column = outline.mean(axis=0).astype(int) - 160
    box = Box(int(row), int(column), 320, 320)
    with_it, without = render_region(dead, 0, box).astype(int), render_region(alive, 0, box).astype(int)
    area = label_pixels(dead.sections[0], box) == TissueKind.NECROSIS
    near = binary_dilation(area, iterations=16)
    assert near.mean() < 0.95
    assert np.array_equal(with_it[~near], without[~near])
    dark = 0.62 * np.mean(dead.look.stain.glass)
    assert (without[area].mean(axis=1) < dark).mean() > 2 * (with_it[area].mean(axis=1) < dark).mean()  # nuclei
    assert np.ptp(with_it[area].mean(axis=0)) > 20  # pink, not white


def test_outlines_have_the_listed_size_and_share(pair: tuple[PhantomSlidePlan, PhantomSlidePlan]) -> None:
    dead, _ = pair
    (lesion,) = describe_slide_truth(dead)["sections"][0]["lesions"]
    known = lesion["necrosis"]
    assert 0.25 <= known["share"] < 0.35
    assert known["area_mm2"] == pytest.approx(known["share"] * lesion["area_mm2"], rel=0.01)
    for outline in map(np.array, known["outlines"]):
        across = np.ptp(outline, axis=0).max() * dead.config.mpp
        assert 100 < across < 750
    counted = (label_pixels(dead.sections[0], Box(0, 0, 2048, 2048)) == TissueKind.NECROSIS).sum() / 1e6
    assert counted == pytest.approx(known["area_mm2"], rel=0.1)


def test_qupath_files_outline_the_melanoma(
    pair: tuple[PhantomSlidePlan, PhantomSlidePlan],
) -> None:
    drawn = [(one.class_name, one.name) for one in make_annotations(pair[0])]
    assert drawn[-2:] == [("Melanoma", "Melanoma 1.1"), ("Necrosis", "Necrosis 1.1")]
    assert "Necrosis" not in [one.class_name for one in make_annotations(pair[1])]
