"""What the Paint section states: advice at each step, progress, accuracy and features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.tissue_classifier.feature_sources import TextureFeatures
from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells
from napari_melanoma.slides.tissue_classifier.validation import Validation
from napari_melanoma.ui.sections.paint.mapping import Assessment, Choice
from napari_melanoma.ui.sections.paint.view import (
    advise,
    describe_choice,
    describe_confusions,
    describe_features,
    describe_progress,
    list_bars,
)

VALIDATION = Validation(
    source="texture",
    kind="nearest_mean",
    classes=("Fat", "Dermis", "Tumor"),
    strokes=(3, 2, 1),
    cells=(80, 40, 1),
    accuracy=Estimate(0.85, 0.7, 0.95, 6),
    confusion=np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [np.nan] * 3]),
    advice="More fat.",
)


def assess(validation: Validation, *candidates: Validation) -> Assessment:
    cells = TrainingCells.gather([], [])
    return Assessment(frozenset(), cells, TextureFeatures(), validation, candidates or (validation,))


def make_loop(**values: Any) -> Any:
    """Return what the texts are about, by default an idle loop with an assessed classifier."""
    fit = SimpleNamespace(choice=Choice("texture"))
    loop = {"fit": fit, "assessment": assess(VALIDATION), "is_running": False, "is_paused": False, "activity": ""}
    loop |= {"done": 0, "total": None} | values
    return SimpleNamespace(**loop, is_complete=loop["total"] is not None and loop["done"] >= loop["total"])


@dataclass(frozen=True)
class Advice:
    name: str
    painted: tuple[str, ...]
    expected: str
    tool: str = "brush"
    corners: int = 0
    loop: dict[str, Any] = field(default_factory=dict)


BOTH = ("Fat", "Dermis")
ADVICE = [
    Advice("nothing painted, no tool", (), "Select a class, then the brush", tool=""),
    Advice("nothing painted, with a tool", (), "Paint a stroke on dermis."),
    Advice("an unfinished area", BOTH, "Click the second corner of the area.", "polygon", 1),
    Advice("a search", ("Fat",), "Click a cell", "similar"),
    Advice("one class", ("Fat",), "Select a second class and paint it: so far only fat has strokes."),
    Advice("the first map is computed", BOTH, "Computing the first map", loop={"fit": None, "is_running": True}),
    Advice("strokes beyond the slide", BOTH, "There is no map yet", loop={"fit": None}),
    Advice("a map, no tool", BOTH, "Select the brush, and paint where the map is wrong.", tool=""),
    Advice("not assessed yet", BOTH, "Paint where the map is wrong.", loop={"assessment": None}),
    Advice("a map", BOTH, "Paint where the map is wrong. More fat."),
]


@pytest.mark.parametrize("case", ADVICE, ids=lambda case: case.name)
def test_advice(case: Advice) -> None:
    advice = advise(case.painted, make_loop(**case.loop), "Dermis", case.tool, case.corners)
    assert advice.startswith(case.expected)


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ({}, ""),
        ({"is_running": True}, "Updating the view ..."),
        (
            {"is_running": True, "activity": "Features of the view: 1 of 9 blocks"},
            "Features of the view: 1 of 9 blocks",
        ),
        ({"fit": None, "is_running": True, "done": 1, "total": 8}, "Features of the slide: 1 of 8 blocks"),
        ({"fit": None, "done": 8, "total": 8}, ""),
        ({"is_running": True, "done": 1200, "total": 8000}, "Map of the slide: 1,200 of 8,000 blocks"),
        ({"is_paused": True, "done": 1, "total": 8}, "Paused: map of 1 of 8 blocks; the view is still updated."),
        ({"is_running": True, "done": 8, "total": 8}, "Updating the map ..."),
        ({"done": 8, "total": 8}, "The map of the slide is complete."),
    ],
)
def test_progress(loop: dict[str, Any], expected: str) -> None:
    assert describe_progress(make_loop(**loop)) == expected


def test_accuracy_before_and_after_the_validation() -> None:
    assert [row.accessible_text for row in list_bars({"Fat": 3, "Dermis": 1}, None)] == [
        "Fat 3 strokes",
        "Dermis 1 stroke",
    ]
    rows = list_bars({}, VALIDATION)
    assert [row.accessible_text for row in rows] == [
        "Accuracy 0.85 (0.70–0.95)",
        "Fat 3 strokes, 80 cells",
        "Dermis 2 strokes, 40 cells",
        "Tumor 1 stroke, 1 cell",
    ]
    assert [row.value for row in rows] == [0.85, 0.9, 0.8, None]
    assert rows[1].tip == "Left-out cells of Fat are predicted as: Fat 90%, Dermis 10%"
    assert describe_confusions(VALIDATION) == "Dermis predicted as Fat: 20%; Fat predicted as Dermis: 10%"
    assert describe_confusions(replace(VALIDATION, accuracy=None)) == ""
    on_two = replace(VALIDATION, slides=Estimate(0.6, np.nan, np.nan, 1))
    assert list_bars({}, on_two)[1].accessible_text == "Other slides 0.60"


def test_the_features_of_the_map_are_stated_at_the_save_button() -> None:
    start = "Saved as shown, with the features of this map: texture"
    other = replace(VALIDATION, source="imagenet", accuracy=Estimate(0.7, 0.6, 0.8, 6))
    assert describe_features(make_loop(fit=None)) == ""
    compared = "The features are still being compared, so the map may change."
    assert describe_features(make_loop(assessment=None)) == f"{start}. {compared}"
    assert describe_features(make_loop()) == f"{start}."
    both = assess(VALIDATION, VALIDATION, other)
    assert describe_features(make_loop(assessment=both)) == f"{start}, chosen by the accuracy on left-out strokes."


def test_the_accuracy_of_all_features_is_stated() -> None:
    imagenet = replace(VALIDATION, source="imagenet", accuracy=Estimate(0.9, 0.8, 1.0, 5))
    joined = replace(VALIDATION, source="imagenet+texture", accuracy=Estimate(0.88, 0.8, 1.0, 5), kind="forest")
    worse = replace(joined, accuracy=Estimate(0.7, 0.6, 0.8, 5))
    assert describe_choice(assess(imagenet, imagenet, joined, worse)) == (
        "ImageNet, nearest mean: chosen among 3 combinations of features and classifier by strokes that were left out "
        "(accuracy: ImageNet 0.90, ImageNet + texture 0.88)"
    )
