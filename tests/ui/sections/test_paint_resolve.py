"""What the Paint section states: advice at each step, progress, and the map of classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.tissue_classifier.feature_sources import TextureFeatures
from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells
from napari_melanoma.slides.tissue_classifier.validation import Validation
from napari_melanoma.ui.sections.paint.assessment import Assessment
from napari_melanoma.ui.sections.paint.loop import LoopState
from napari_melanoma.ui.sections.paint.map_layer import ClassMap
from napari_melanoma.ui.sections.paint.mapping import MapPart
from napari_melanoma.ui.sections.paint.resolve import (
    Painted,
    resolve_advice,
    resolve_apply_blocker,
    resolve_panel,
    resolve_progress,
    resolve_save_blocker,
    resolve_save_note,
)

BLOCK = np.zeros((1, 2), np.int32)
IDLE = LoopState(is_fitted=True)
AT_WORK = LoopState(is_running=True)


@dataclass(frozen=True)
class Advice:
    name: str
    strokes: dict[str, int]
    expected: str
    loop: LoopState = IDLE
    tool: str = "brush"


ADVICE = [
    Advice("nothing painted, no tool", {}, "Select a class, then the brush", tool=""),
    Advice("nothing painted, with a tool", {}, "Paint a stroke on dermis."),
    Advice("a search", {"Fat": 1}, "Click a cell", tool="similar"),
    Advice("one class", {"Fat": 3}, "Select a second class and paint it: so far only fat has strokes."),
    Advice("the first map is computed", {"Fat": 1, "Dermis": 1}, "Computing the first map", AT_WORK),
    Advice("strokes beyond the slide", {"Fat": 1, "Dermis": 1}, "There is no map yet", LoopState()),
    Advice("a map, no tool", {"Fat": 1, "Dermis": 1}, "Select the brush, and paint where the map is wrong.", tool=""),
    Advice("another stroke", {"Fat": 1, "Dermis": 1}, "Paint where the map is wrong.", replace(IDLE, is_running=True)),
    Advice("a map", {"Fat": 5, "Dermis": 9}, "Paint where the map is wrong. More fat."),
]


@pytest.mark.parametrize("case", ADVICE, ids=lambda case: case.name)
def test_advice(case: Advice) -> None:
    painted = Painted(case.strokes, dict.fromkeys(case.strokes, 1))
    assert resolve_advice(painted, case.loop, "Dermis", case.tool, "More fat.").startswith(case.expected)


@dataclass(frozen=True)
class ProgressCase:
    name: str
    loop: LoopState
    expected: str


PROGRESS = [
    ProgressCase("nothing to do", IDLE, ""),
    ProgressCase("before tissue is known", AT_WORK, "Updating the view ..."),
    ProgressCase("without a classifier and an estimate", LoopState(True, 1, 8), "Features of the slide: 1 of 8 blocks"),
    ProgressCase("after the last stroke but one was undone", LoopState(False, 8, 8), ""),
    ProgressCase(
        "at work",
        replace(IDLE, is_running=True, done=1200, total=8000, left_s=32.0),
        "Map of the slide: 1,200 of 8,000 blocks, 32 s left",
    ),
    ProgressCase(
        "without an estimate", replace(IDLE, is_running=True, done=1, total=8), "Map of the slide: 1 of 8 blocks"
    ),
    ProgressCase(
        "paused",
        replace(IDLE, done=1, total=8, is_paused=True),
        "Paused: map of 1 of 8 blocks; the view is still updated.",
    ),
    ProgressCase("another stroke", replace(IDLE, is_running=True, done=8, total=8), "Updating the map ..."),
    ProgressCase("done", replace(IDLE, done=8, total=8), "The map of the slide is complete."),
]


@pytest.mark.parametrize("case", PROGRESS, ids=lambda case: case.name)
def test_progress(case: ProgressCase) -> None:
    assert resolve_progress(case.loop) == case.expected


def assess(validation: Validation, notice: str = "") -> Assessment:
    cells = TrainingCells.gather([], [])
    return Assessment(frozenset(), cells, TextureFeatures(), validation, (validation,) * 3, notice)


VALIDATION = Validation(
    source="texture",
    kind="nearest_mean",
    classes=("Fat", "Dermis", "Tumor"),
    strokes=(3, 2, 1),
    cells=(80, 40, 1),
    accuracy=Estimate(0.85, 0.7, 0.95, 6),
    confusion=np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [np.nan] * 3]),
    warnings=("One slide only.",),
)


def test_panel_before_and_after_the_validation() -> None:
    painted = Painted({"Fat": 3, "Dermis": 1}, {"Fat": 1, "Dermis": 1})
    view = resolve_panel(painted, None)
    assert [row.accessible_text for row in view.rows] == ["Fat 3 strokes", "Dermis 1 stroke"]
    view = resolve_panel(painted, assess(VALIDATION, "Out."), {"Fat": 1.5, "Dermis": 0.25}, ("1 stroke left out.",))
    assert view.areas == "Areas of the tissue on the map: Fat 1.5 mm², Dermis 0.25 mm²"
    assert [row.accessible_text for row in view.rows] == [
        "Accuracy 0.85 (0.70–0.95)",
        "Fat 3 strokes, 80 cells",
        "Dermis 2 strokes, 40 cells",
        "Tumor 1 stroke, 1 cell",
    ]
    assert [row.value for row in view.rows] == [0.85, 0.9, 0.8, None]
    assert view.rows[1].tip == "Left-out cells of Fat are predicted as: Fat 90%, Dermis 10%"
    assert view.confusions == "Dermis predicted as Fat: 20%; Fat predicted as Dermis: 10%"
    assert view.warnings == "1 stroke left out.\nOut.\nOne slide only."
    assert view.choice.startswith("texture, nearest mean: chosen among 3")
    on_two = replace(VALIDATION, slides=Estimate(0.6, np.nan, np.nan, 1))
    both = resolve_panel(painted, assess(on_two))
    assert both.rows[1].accessible_text == "Other slides 0.60"


def test_the_features_of_the_map_are_stated_at_the_save_button() -> None:
    fitted = replace(IDLE, is_fitted=True)
    other = replace(VALIDATION, source="imagenet", accuracy=Estimate(0.7, 0.6, 0.8, 6))
    both = replace(assess(VALIDATION), candidates=(VALIDATION, other))
    start = "Saved as shown, with the features of this map: "
    compared = "The features are still being compared, so the map may change."
    for loop, source, assessment, is_assessing, expected in (
        (replace(IDLE, is_fitted=False), "texture", None, False, ""),
        (
            fitted,
            "imagenet",
            None,
            True,
            f"{start}ImageNet. {compared}",
        ),
        (fitted, "imagenet", None, False, f"{start}ImageNet."),
        (
            fitted,
            "texture",
            both,
            False,
            f"{start}texture, chosen by the accuracy on left-out strokes (see Options).",
        ),
    ):
        assert resolve_save_note(loop, source, assessment, is_assessing=is_assessing) == expected


def test_when_a_model_can_be_saved_and_applied() -> None:
    assert resolve_save_blocker(Painted({"Fat": 1}), is_saving=False) == "Paint at least two classes first."
    assert resolve_save_blocker(Painted({"Fat": 1, "Dermis": 1}), is_saving=True) == "A model is being saved."
    assert resolve_save_blocker(Painted({"Fat": 1, "Dermis": 1}), is_saving=False) == ""
    assert resolve_apply_blocker("") == "Save a model first."
    assert resolve_apply_blocker("tissue") == ""


def test_the_least_certain_cells_are_found() -> None:
    class_map = ClassMap((2, 4))
    class_map.add([part(0, 0, [0.2, 0.8])], ("Fat", "Dermis"))
    class_map.add([part(1, 2, [0.45, 0.55])], ("Fat", "Dermis"))
    assert class_map.find_uncertain(2).tolist() == [[1, 2], [1, 3]]
    assert len(class_map.find_uncertain(9)) == 4


def part(top: int, left: int, probability: list[float]) -> MapPart:
    return MapPart(Box(top, left, 1, 2), np.array([[probability, probability]], np.float16))


def test_classes_keep_their_label_when_others_are_added() -> None:
    class_map = ClassMap((2, 4))
    class_map.add([part(0, 0, [0.2, 0.8])], ("Fat", "Dermis"))
    class_map.add([part(1, 2, [0.1, 0.2, 0.7])], ("Epidermis", "Fat", "Dermis"))
    assert class_map.labels.tolist() == [[2, 2, 0, 0], [0, 0, 2, 2]]
    assert class_map.count(BLOCK) == {"Dermis": 4}
    assert class_map.count(BLOCK[:0]) == {}
    assert class_map.certainty[0, 0] == pytest.approx(0.8, abs=1e-3)
    class_map.rename_class("Dermis", "Stroma")
    assert class_map.count(BLOCK) == {"Stroma": 4}
    class_map.rename_class("Stroma", "Fat")  # a class of the map: it is computed again
    assert class_map.count(BLOCK) == {"Stroma": 4}
    class_map.rename_class("Stroma", "Dermis")
    colors = class_map.make_colors({"Dermis": (255, 0, 0)})
    assert colors == {None: "transparent", 0: "transparent", 2: (1.0, 0.0, 0.0, 1.0)}
    class_map.clear()
    assert class_map.count(BLOCK) == {}


def test_the_accuracy_of_all_features_is_stated() -> None:
    painted = Painted({"Fat": 3, "Dermis": 2})
    imagenet = replace(VALIDATION, source="imagenet", accuracy=Estimate(0.9, 0.8, 1.0, 5))
    both = replace(VALIDATION, source="imagenet+texture", accuracy=Estimate(0.88, 0.8, 1.0, 5), kind="forest")
    worse = replace(both, accuracy=Estimate(0.7, 0.6, 0.8, 5))
    chosen = replace(assess(imagenet), candidates=(imagenet, both, worse))
    assert resolve_panel(painted, chosen).choice == (
        "ImageNet, nearest mean: chosen among 3 combinations of features and classifier by strokes that were left out "
        "(accuracy: ImageNet 0.90, ImageNet + texture 0.88)"
    )
    texture = replace(VALIDATION, source="texture")
    only = replace(assess(texture), candidates=(texture, texture))
    assert resolve_panel(painted, only).choice == (
        "texture, nearest mean: chosen among 2 kinds of classifiers by strokes that were left out"
    )


def test_what_takes_long_before_the_map_is_stated() -> None:
    assert resolve_progress(replace(AT_WORK, activity="Loading the encoder ...")) == "Loading the encoder ..."
    assert resolve_progress(AT_WORK) == "Updating the view ..."
