"""Plans: the requested depth is exact for any skin; requests that do not fit raise an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
from napari_melanoma.phantoms.slide.looks import LOOKS, family_looks
from napari_melanoma.phantoms.slide.plan import plan_slide
from napari_melanoma.phantoms.slide.render import describe_slide_truth, render_truth
from napari_melanoma.phantoms.slide.tissue import SurfaceFrame


@dataclass(frozen=True)
class Case:
    name: str
    breslow_mm: float
    requested: dict[str, Any] = field(default_factory=dict)


DEEP = {"size": (9216, 9216), "mpp": 1.0}
CASES = [
    Case("as thin as can be", 0.2),
    Case("usual", 1.1),
    Case("thick", 6.0, DEEP),
    Case("ulcerated", 0.9, {"lesions": {"ulceration": True}}),
    Case("ulcerated and thick", 4.2, DEEP | {"lesions": {"ulceration": True}}),
    Case("oblique cut", 1.1, {"section": {"oblique_deg": 40}}),
    Case("upside down", 0.8, {"section": {"rotation_deg": 173}}),
    Case("several sections", 0.4, {"sections": 4}),
    Case("small pixels", 0.5, {"mpp": 0.25, "size": (8192, 8192)}),
]


def slide_of(case: Case, seed: int) -> SlidePhantomConfig:
    requested = {"seed": seed, "size": (4096, 4096), **case.requested}
    requested["lesions"] = {"breslow_mm": case.breslow_mm, **case.requested.get("lesions", {})}
    return SlidePhantomConfig.parse(requested, case.name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_thickest_part_has_the_requested_thickness(case: Case) -> None:
    for seed in range(2):
        plan = plan_slide(slide_of(case, seed))
        thickness = [lesion.breslow_um for section in plan.sections for lesion in section.lesions if lesion.breslow_um]
        assert plan.breslow_mm == pytest.approx(case.breslow_mm, abs=1e-4)
        assert max(thickness) == pytest.approx(1000 * case.breslow_mm, abs=0.1)


@pytest.mark.parametrize("case", [case for case in CASES if "mpp" not in case.requested], ids=lambda case: case.name)
def test_the_truth_holds_tumor_to_the_deepest_point_and_no_further(case: Case) -> None:
    plan = plan_slide(slide_of(case, 2))
    section = plan.sections[0]
    (lesion,) = (one for one in section.lesions if one.depth_line)
    scale = 4
    size = tuple(side // scale for side in plan.config.size)
    classes = render_truth(plan, scale, Box(0, 0, *size))
    rows, columns = np.nonzero(classes == 3)
    um = plan.config.mpp * scale
    along, depth = section.frame.to_section((columns + 0.5) * um, (rows + 0.5) * um)
    reach = 1.5 * lesion.request.half_width_um
    near = (np.abs(along - lesion.request.along) < reach) & (np.abs(depth) < section.layers.bottom.max() + 200)
    below = depth - section.layers.depth_at(section.layers.granular, along)
    assert below[near].max() == pytest.approx(lesion.breslow_um, abs=2.5 * um)


def test_the_line_of_measurement_is_as_long_as_the_thickness() -> None:
    config = SlidePhantomConfig.parse({"size": (4096, 4096), "lesions": {"breslow_mm": 1.0}}, "a test")
    for section in describe_slide_truth(plan_slide(config))["sections"]:
        for lesion in section["lesions"]:
            ends = np.array(lesion["breslow_line"])
            if lesion["class"] == "malignant":
                assert np.hypot(*(ends[1] - ends[0])) * config.mpp / 1000 == pytest.approx(1.0, abs=1e-4)
            else:
                assert (lesion["breslow_mm"], len(ends)) == (None, 0)


def test_an_oblique_cut_increases_the_measured_thickness() -> None:
    config = SlidePhantomConfig.parse({"lesions": {"breslow_mm": 1.0}, "section": {"oblique_deg": 60}}, "a test")
    known = describe_slide_truth(plan_slide(config))
    assert known["breslow_mm"] == pytest.approx(1.0)
    assert known["breslow_perpendicular_mm"] == pytest.approx(0.5)


@pytest.mark.parametrize("curvature", [0.0, 1.5e-4, -1.5e-4])
def test_section_coordinates_survive_a_round_trip(curvature: float) -> None:
    frame = SurfaceFrame(4000.0, 900.0, 0.7, curvature)
    rng = np.random.default_rng(0)
    along, depth = rng.uniform(-3000, 3000, 500), rng.uniform(-200, 3000, 500)
    back = frame.to_section(*frame.to_slide(along, depth).T)
    assert np.allclose(back, [along, depth], atol=0.01)


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"size": (1024, 1024), "lesions": {"breslow_mm": 3.0}}, "Breslow thickness of 3.00 mm does not fit"),
        ({"size": (1024, 1024), "section": {"width_mm": 5.0}}, "does not fit into the 0.51 x 0.51 mm"),
        ({"size": (512, 512)}, "larger size, fewer sections"),
    ],
)
def test_requests_that_do_not_fit_raise(requested: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_slide(SlidePhantomConfig.parse(requested, "a test"))


def test_a_lesion_at_the_end_of_the_section_is_marked_as_cut() -> None:
    requested = {"size": (4096, 4096), "lesions": {"breslow_mm": 0.8, "benign": 0, "position": 0.0}}
    (section,) = describe_slide_truth(plan_slide(SlidePhantomConfig.parse(requested, "a test")))["sections"]
    assert [lesion["at_edge"] for lesion in section["lesions"]] == [True]


def test_a_slide_without_sections_is_blank() -> None:
    plan = plan_slide(SlidePhantomConfig(sections=0, size=(512, 512)))
    assert plan.breslow_mm is None
    assert describe_slide_truth(plan)["sections"] == []
    assert not render_truth(plan, 1, Box(0, 0, 512, 512)).any()


def test_test_appearances_differ_from_training_appearances() -> None:
    train, test = family_looks("train"), family_looks("test")
    assert len(train) + len(test) == len(LOOKS)
    for one in train:
        for other in test:
            assert one.nuclei != other.nuclei
            assert one.texture != other.texture
            for dye in ("hematoxylin", "eosin"):
                apart = np.degrees(np.arccos(np.dot(getattr(one.stain, dye), getattr(other.stain, dye))))
                assert apart > 3, (one.name, other.name, dye)


@pytest.mark.parametrize("family", ["train", "test"])
def test_a_synthetic_slide_has_the_stain_of_its_family(family: str) -> None:
    config = SlidePhantomConfig.parse({"family": family, "size": (2048, 2048)}, "a test")
    found = {plan_slide(config.model_copy(update={"seed": seed})).look for seed in range(12)}
    assert len(found) > 1
    assert {look.family for look in found} == {family}
