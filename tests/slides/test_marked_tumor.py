"""A tumor that a reader has outlined, measured on the map of a model without a class of tumor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.slides.analysis import analyze_slides
from napari_melanoma.slides.cohort import analyze_cohort
from napari_melanoma.slides.depth import DepthMap, measure_slide_depth
from napari_melanoma.slides.maps import SlideMaps
from napari_melanoma.slides.marked_tumor import check_surface_model, mark_tumor, read_tumor
from napari_melanoma.slides.options import CohortOptions, SlideOptions

CELL_UM, GRANULAR_UM = 32, 320  # the upper side of the epidermis, below glass and a horny layer of one cell
ROLES = ("epidermis", "keratin", "", "background")  # of epidermis, keratin, dermis and background
PLACE = MapPlacement(0, 0, 2 * CELL_UM, 2 * CELL_UM, PixelSize(0.5, 0.5, "file"))


def skin_map() -> DepthMap:
    """Flat skin of 60 x 100 cells: nine rows of glass, one of keratin, three of epidermis, and dermis."""
    rows = np.repeat([3, 1, 0, 2], [9, 1, 3, 47])
    values = np.zeros((4, 60, 100), np.uint8)
    values[rows, np.arange(60)] = 255
    return DepthMap(values, ROLES, "", SlideMaps(values.astype(np.float32) / 255, PLACE))


def rectangle(top_um: float, bottom_um: float, left_um: float = 1200, right_um: float = 1800) -> Polygon:
    top, bottom, left, right = (2 * side for side in (top_um, bottom_um, left_um, right_um))
    return Polygon([(top, left), (top, right), (bottom, right), (bottom, left)])


@pytest.mark.parametrize(
    ("tumor", "deepest_um"),
    [
        ([rectangle(320, 800)], 800),
        ([rectangle(340, 1000)], 1000),
        ([rectangle(320, 560), rectangle(500, 900, 1400, 1600)], 900),  # two outlines that overlap
        ([rectangle(430, 700)], 700),  # below the epidermis
    ],
)
def test_the_line_ends_at_the_deepest_point_of_the_outline(tumor: list[Polygon], deepest_um: float) -> None:
    found = measure_slide_depth(mark_tumor(skin_map(), tumor), (), RunContext())
    (best, *_) = found["depth"]["candidates"]
    assert best["deepest"][0] / 2 == pytest.approx(deepest_um, abs=CELL_UM / 2)
    assert best["surface"][0] / 2 == pytest.approx(GRANULAR_UM, abs=CELL_UM / 2)  # not on the horny layer
    assert found["breslow_mm"] == pytest.approx((deepest_um - GRANULAR_UM) / 1000, abs=CELL_UM / 1000)
    assert "painted" in [reason["code"] for reason in found["depth"]["validity"]["reasons"]]


@pytest.mark.parametrize(
    ("roles", "is_accepted"),
    [
        (ROLES, True),
        (("epidermis", "background"), True),
        (("epidermis", "background", "tumor"), False),
        (("background", "epidermis", "dermis", "nevus", "melanoma"), False),
        (("epidermis", "", ""), False),
        ((), False),
    ],
)
def test_models_that_an_outlined_tumor_is_measured_with(roles: tuple[str, ...], is_accepted: bool) -> None:
    if is_accepted:
        check_surface_model("layers", ("Skin",), roles)
    else:
        with pytest.raises(ConfigError, match="none of tumor, such as skin-tissue; 'layers' predicts"):
            check_surface_model("layers", ("Skin",), roles)


def write_regions(path: Path, *classes: str) -> Path:
    ring = [[0, 0], [0, 10], [10, 10], [0, 0]]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"classification": {"name": name}},
        }
        for name in classes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.parametrize(
    ("classes", "count"), [(("Melanoma", "Dermis"), 1), (("Tumor", "melanoma"), 2), (("Tumeur", "Nevus"), 1)]
)
def test_outlines_of_the_tumor_are_found_by_their_class(tmp_path: Path, classes: tuple[str, ...], count: int) -> None:
    assert len(read_tumor(write_regions(tmp_path / "regions.geojson", *classes))) == count


def test_a_file_without_a_tumor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no outline of a tumor.*found Dermis, Nevus"):
        read_tumor(write_regions(tmp_path / "regions.geojson", "Nevus", "Dermis"))


def test_the_outlines_of_one_slide_are_not_used_for_several(tmp_path: Path) -> None:
    options = SlideOptions(tumor_outlines=write_regions(tmp_path / "tumor.geojson", "Tumor"))
    slides = [tmp_path / "a.tif", tmp_path / "b.tif"]
    with pytest.raises(ConfigError, match="outlines the tumor of one slide, but 2 slides"):
        analyze_slides(slides, tmp_path / "out", options, run=RunContext())
    with pytest.raises(ConfigError, match="outlines the tumor of one slide, but 2 slides"):
        analyze_cohort(slides, tmp_path / "out", options, CohortOptions(), run=RunContext())
