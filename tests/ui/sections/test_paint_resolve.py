"""What the Paint section states: advice at each step, progress, and the map of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.ui.sections.paint.loop import LoopState
from napari_melanoma.ui.sections.paint.map_layer import ClassMap
from napari_melanoma.ui.sections.paint.mapping import MapPart
from napari_melanoma.ui.sections.paint.resolve import Painted, resolve_advice, resolve_class_names, resolve_progress

IDLE = LoopState()
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
    Advice("one class", {"Fat": 3}, "Select a second class and paint it: so far only fat has strokes."),
    Advice("the first map is computed", {"Fat": 1, "Dermis": 1}, "Updating the map of the view", AT_WORK),
    Advice("few strokes", {"Fat": 4, "Dermis": 1}, "Correct the map where it is wrong. Dermis has only 1 stroke."),
    Advice("enough strokes", {"Fat": 5, "Dermis": 9}, "Correct the map where it is wrong: each stroke updates it."),
]


@pytest.mark.parametrize("case", ADVICE, ids=lambda case: case.name)
def test_advice(case: Advice) -> None:
    painted = Painted(case.strokes, dict.fromkeys(case.strokes, 1))
    assert resolve_advice(painted, case.loop, "Dermis", case.tool).startswith(case.expected)


@dataclass(frozen=True)
class ProgressCase:
    name: str
    loop: LoopState
    expected: str


PROGRESS = [
    ProgressCase("before tissue is known", AT_WORK, ""),
    ProgressCase("at work", LoopState(True, 1200, 8000, 32.0), "Map of the slide: 1,200 of 8,000 blocks, 32 s left"),
    ProgressCase("without an estimate", LoopState(True, 1, 8), "Map of the slide: 1 of 8 blocks"),
    ProgressCase(
        "paused", LoopState(False, 1, 8, None, True), "Paused: map of 1 of 8 blocks; the view is still updated."
    ),
    ProgressCase("done", LoopState(False, 8, 8), ""),
]


@pytest.mark.parametrize("case", PROGRESS, ids=lambda case: case.name)
def test_progress(case: ProgressCase) -> None:
    assert resolve_progress(case.loop) == case.expected


def test_strokes_of_each_class() -> None:
    painted = Painted({"Fat": 1}, {"Fat": 1})
    assert resolve_class_names(["Fat", "Dermis"], painted) == ["Fat: 1 stroke", "Dermis: 0 strokes"]


def part(top: int, left: int, probability: list[float]) -> MapPart:
    return MapPart(Box(top, left, 1, 2), np.array([[probability, probability]], np.float16))


def test_classes_keep_their_label_when_others_are_added() -> None:
    class_map = ClassMap((2, 4))
    class_map.add([part(0, 0, [0.2, 0.8])], ("Fat", "Dermis"))
    class_map.add([part(1, 2, [0.1, 0.2, 0.7])], ("Epidermis", "Fat", "Dermis"))
    assert class_map.labels.tolist() == [[2, 2, 0, 0], [0, 0, 2, 2]]
    assert class_map.count() == {"Dermis": 4}
    assert class_map.certainty[0, 0] == pytest.approx(0.8, abs=1e-3)
    colors = class_map.make_colors({"Dermis": (255, 0, 0)})
    assert colors == {None: "transparent", 0: "transparent", 2: (1.0, 0.0, 0.0, 1.0)}
    class_map.clear()
    assert class_map.count() == {}
