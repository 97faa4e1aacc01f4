"""Thickness of an analyzed slide: section by section from parts of its map, and what files and people are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.depth.breslow_candidates import DepthCandidate, DepthFeatures, DepthIntervalModel
from napari_melanoma.depth.t_category import t_category
from napari_melanoma.slides import depth
from napari_melanoma.slides import depth as parts
from napari_melanoma.slides.depth import DepthMap, describe_depth, measure_slide_depth
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, find_lesions
from napari_melanoma.slides.maps import SlideMaps
from napari_melanoma.slides.slide_table import COLUMNS, SlideStatus, status_to_row

CLASSES = ("background", "dermis", "epidermis", "tumour")
PIXEL = PixelSize(0.5, 0.5)
STEP = 8.0  # pixels of the slide in a cell: 4 micrometers


class Recorded:
    """A map that counts what is read of it."""

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self.values, self.shape, self.read = values, values.shape, 0

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        part = self.values[index]
        self.read += part.size
        return part


def section(rows: int, columns: int, mm: float | None) -> NDArray[np.uint8]:
    """Labels of a flat section with a margin of glass, a tumor of this thickness in its middle."""
    labels = np.zeros((rows, columns), np.uint8)
    labels[40:-15, 15:-15] = 1
    labels[40:60, 15:-15] = 2
    if mm is not None:
        labels[60 : 40 + round(1000 * mm / 4), columns // 2 - 40 : columns // 2 + 40] = 3
    return labels


def depth_map(labels: NDArray[np.uint8], step: int = 1, pixel: PixelSize | None = PIXEL) -> DepthMap:
    """The map of labels, and means over ``step`` cells as the analysis keeps them in memory."""
    values = 255 * (labels[None] == np.arange(4)[:, None, None]).astype(np.uint8)
    below, adjacent = (-side % step for side in labels.shape)
    padded = np.pad(values / np.float32(255), ((0, 0), (0, below), (0, adjacent)), mode="edge")
    shape = len(values), padded.shape[1] // step, step, padded.shape[2] // step, step
    small = padded.reshape(shape).mean(axis=(2, 4)).astype(np.float32)
    place = MapPlacement(100, 200, STEP * step, STEP * step, pixel)
    return DepthMap(Recorded(values), CLASSES, "hash of weights", SlideMaps(small, place, step=step))


def measured(found: DepthMap) -> dict[str, Any]:
    return json.loads(json.dumps(measure_slide_depth(found, (), RunContext())))


@pytest.mark.parametrize("step", [1, 2, 3])
def test_the_slide_is_as_thick_as_its_thickest_section(step: int) -> None:
    labels = np.concatenate([section(250, 400, 0.3), section(250, 400, 0.5), section(250, 400, None)])
    reported = measured(depth_map(labels, step))
    assert reported["breslow_mm"] == pytest.approx(0.5, abs=1e-3)
    assert (reported["t_category"], reported["breslow_interval_mm"]) == ("T1a", None)
    found = reported["depth"]
    assert [(one["section"], one["mm"]) for one in found["candidates"]] == [
        (1, pytest.approx(0.5, abs=1e-3)),
        (0, pytest.approx(0.3, abs=1e-3)),
    ]
    assert found["candidates"][0]["deepest"][0] == pytest.approx(100 + STEP * (250 + 40 + 125), abs=1)
    assert found["candidates"][0]["surface"][0] == pytest.approx(100 + STEP * (250 + 40), abs=1)
    assert (found["ulceration"], found["at_least"], found["clark_estimate"]) == (False, False, 4)
    assert found["notes"][0] == "thickness by section: 0.30 mm in section 1, 0.50 mm in section 2"
    assert found["notes"][1] == "no invasive tumor was found in section 3"
    assert found["notes"][2].startswith("no interval")


def test_only_tiles_around_lesions_are_read() -> None:
    labels = section(500, 5000, 0.6)
    found = depth_map(labels, 2)
    assert measured(found)["breslow_mm"] == pytest.approx(0.6, abs=1e-3)
    assert isinstance(found.values, Recorded)
    assert found.values.read < 0.4 * found.values.values.size


def test_large_section_is_measured_on_coarser_cells_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_CELLS", 30_000)
    reported = measured(depth_map(section(250, 400, 0.5)))
    assert reported["breslow_mm"] == pytest.approx(0.5, abs=0.01)
    assert "section 1 is large: measured on cells of 8.0 micrometers" in reported["depth"]["notes"]


def test_each_section_is_measured_independently() -> None:
    """The second one stands on its head right below the first: its epidermis faces the first one's bottom."""
    labels = np.concatenate([section(150, 400, 0.3)[:-8], np.flipud(section(200, 400, 0.5))[8:]])
    reported = measured(depth_map(labels))
    assert [one["mm"] for one in reported["depth"]["candidates"]] == pytest.approx([0.5, 0.3], abs=1e-3)


@pytest.mark.parametrize(
    ("pixel", "reason"),
    [(None, "pixel size is missing"), (PixelSize(500.0, 500.0), "implausible pixel size 500 micrometers")],
)
def test_without_a_true_scale_there_is_a_reason_in_place_of_a_thickness(pixel: PixelSize | None, reason: str) -> None:
    reported = measured(depth_map(section(250, 400, 0.5), pixel=pixel))
    assert reported["breslow_mm"] is None
    assert reported["depth"]["notes"][0].startswith(reason)
    assert describe_depth(reported).startswith(f"no Breslow thickness: {reason}")


def test_model_without_the_needed_classes_gives_no_depth() -> None:
    found = replace(depth_map(section(250, 400, 0.5)), classes=("benign tissue", "naevus", "melanoma", "other"))
    assert measured(found) == {"breslow_mm": None, "breslow_interval_mm": None, "t_category": None, "depth": None}


def test_an_interval_that_reaches_several_categories_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    law = DepthIntervalModel(0.9, (0.1, 0.0, 0.0), 1.0, 1.0, 100, "drawn cases")
    monkeypatch.setattr(depth, "load_interval_models", lambda: {"hash of weights": law})
    reported = measured(depth_map(section(300, 400, 0.8)))
    assert reported["breslow_interval_mm"] == pytest.approx([0.7, 0.9], abs=2e-3)
    assert reported["t_category"] == "T1b"
    assert "the interval covers T1a and T1b: the category is uncertain" in reported["depth"]["notes"]
    strange = ValidityInputs("own", distance=1, limit=0.1).check()
    unlike = measure_slide_depth(depth_map(section(300, 400, 0.8)), (), RunContext(), strange)
    assert unlike["breslow_interval_mm"] == reported["breslow_interval_mm"]
    assert any("its interval too narrow" in note for note in unlike["depth"]["notes"])
    assert describe_depth(unlike).startswith("Not valid: the image is out of distribution.")
    assert "0.80" not in describe_depth(unlike)
    message = describe_depth(reported)
    assert message.startswith("Breslow thickness 0.80 mm (90 % interval 0.70 to 0.90), T1b, estimated Clark level 4; ")


@pytest.mark.parametrize(
    ("share", "category", "low_mm", "note"),
    [(0.0, "T1b", 0.8, "the category is T1b or higher"), (0.1, "T1b", 0.7, "the category is T1a or higher")],
)
def test_the_depth_of_a_truncated_lesion_is_a_lower_bound(
    monkeypatch: pytest.MonkeyPatch, share: float, category: str, low_mm: float, note: str
) -> None:
    law = DepthIntervalModel(0.9, (share, 0.0, 0.0), 1.0, 1.0, 100, "drawn cases")
    monkeypatch.setattr(depth, "load_interval_models", lambda: {"hash of weights": law})
    labels = section(300, 400, 0.8)
    labels[60:240, 200:385] = 3
    reported = measured(depth_map(labels))
    assert reported["t_category"] == category
    assert reported["breslow_interval_mm"][0] == pytest.approx(low_mm, abs=6e-3)
    assert reported["depth"]["notes"][-1].endswith(note)
    assert not any("is not sure" in one for one in reported["depth"]["notes"])
    message = describe_depth(reported)
    assert message.startswith("Breslow thickness at least 0.80 mm (90 % interval of the visible part ")
    assert "), at least T1b" in message


def stored(*mm: float, **values: Any) -> dict[str, Any]:
    features = DepthFeatures(1.0, 1.0, 1.0)
    one = DepthCandidate((0.0, 0.0), (1.0, 0.0), 0.0, features, 0, False, False, 0.0, 0.0, 1.0, 0)
    found = [replace(one, mm=thickness, section=number, **values) for number, thickness in enumerate(mm)]
    return parts._depth_content(found, [])


@pytest.mark.parametrize("mm", [0.749995, 0.74994, 1.049995, 4.04996])
def test_the_category_is_that_of_the_stored_thickness(mm: float) -> None:
    content = stored(mm, interval_mm=(mm, mm))
    assert content["t_category"] == t_category(content["breslow_mm"], ulcerated=False)
    assert not any("uncertain" in note for note in content["depth"]["notes"])


def test_thicknesses_by_section_are_rounded_as_that_of_the_slide() -> None:
    assert stored(1.048, 0.748)["depth"]["notes"] == [
        "thickness by section: 1.04 mm in section 1, 0.74 mm in section 2"
    ]


def test_no_category_is_higher_than_t4() -> None:
    content = stored(5.0, at_least=True)
    assert not any("or higher" in note for note in content["depth"]["notes"])
    content["depth"]["validity"] = Validity().to_json()
    assert describe_depth(content).startswith("Breslow thickness at least 5.00 mm, T4a")


def test_a_candidate_names_the_lesion_that_it_belongs_to() -> None:
    found = depth_map(section(250, 800, 0.5))
    labels = section(250, 800, 0.5)
    labels[60:70, 100:120] = 3
    found = depth_map(labels)
    maps = LesionMaps(found.overview.probability[3], found.overview.placement, label="tumour")
    lesions = find_lesions(maps, LesionConfig())
    reported = measure_slide_depth(found, lesions, RunContext())
    main = max(lesions, key=lambda one: one.area_px)
    assert reported["depth"]["candidates"][0]["lesion"] == main.index


def test_cancellation_stops_it() -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        measure_slide_depth(depth_map(section(250, 400, 0.5)), (), run)


CONTENT = {
    **dict.fromkeys(("probability", "tissue_mm2", "breslow_interval_mm", "mpp")),
    **dict.fromkeys(("tiles_done", "tiles_failed", "tiles_total", "seconds"), 1),
    "breslow_mm": None,
    "t_category": None,
    "target": "tumour",
    "lesions": [],
    "scores": {},
    "warnings": [],
    "model": {"name": "a model"},
}


def test_the_table_contains_the_depth() -> None:
    reported = measured(depth_map(section(250, 400, 0.5)))
    row = status_to_row(
        SlideStatus(Path("a.tif"), Path("a"), "done", {**CONTENT, **reported, "breslow_interval_mm": [0.4, 0.6]})
    )
    kept = {name: row[name] for name in COLUMNS if name in row}
    assert kept["breslow_mm"] == pytest.approx(0.5, abs=1e-3)
    assert (kept["breslow_low_mm"], kept["breslow_high_mm"], kept["breslow_at_least"]) == (0.4, 0.6, False)
    assert (kept["t_category"], kept["ulceration"], kept["clark_estimate"]) == ("T1a", False, 4)


def test_results_from_before_depth_was_measured_keep_working() -> None:
    row = status_to_row(SlideStatus(Path("a.tif"), Path("a"), "done", CONTENT))
    assert row["breslow_mm"] is row["breslow_low_mm"] is row["ulceration"] is None
    assert describe_depth(CONTENT) == ""


def test_a_thickness_is_assigned_to_the_lesion_that_it_was_measured_in() -> None:
    """The box of a large lesion beside it extends to the small one."""
    labels = np.concatenate([section(250, 400, 0.5), np.zeros((20, 400), np.uint8)])
    found = depth_map(labels)
    (candidate,) = measured(found)["depth"]["candidates"]
    row, column = candidate["deepest"]
    presence = np.zeros((40, 60), np.float32)
    presence[10:14, 20:24] = presence[16:40, 10:50] = 0.9
    place = MapPlacement(row - 12 * 20, column - 22 * 20, 20, 20, PIXEL)
    lesions = find_lesions(LesionMaps(presence, place), LesionConfig())
    assert [one.index for one in lesions] == [1, 2]
    (candidate,) = measure_slide_depth(found, lesions, RunContext())["depth"]["candidates"]
    assert candidate["lesion"] == 2
