"""The shown results of a slide follow its analysis, and its heatmap is displayed as last time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.core.run_folder import RunState
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.slides.notes import LayerDisplay
from napari_melanoma.ui.session.results import AnalysisResults, HeatmapDisplay, SlideHeatmapDisplay, SlideResults
from napari_melanoma.ui.session.run_status import HeatmapData, SlideRunUpdate

HEAT = HeatmapData(np.zeros((2, 2), np.float32), MapPlacement(0, 0, 32, 32), "melanoma", ("melanoma",), (0, 1), ())
CONTENT = {"target": "melanoma", "seconds": 3.0}
OTHER_CONTENT = {**CONTENT, "seconds": 5.0}
NOT_VALID = {**CONTENT, "validity": ValidityInputs("tiny", demonstration=True).check().to_json()}
NOT_VALID_EITHER = {**CONTENT, "validity": ValidityInputs("tiny", distance=2.0, limit=1.0).check().to_json()}
DONE = AnalysisResults(state="finished", heatmap=HEAT, content=CONTENT)
RUNNING = AnalysisResults(state="running", is_running=True, heatmap=HEAT)


def update(state: str, content: dict[str, Any] | None = None, heatmap: HeatmapData | None = None) -> SlideRunUpdate:
    return SlideRunUpdate(SimpleNamespace(state=RunState(state)), heatmap=heatmap, content=content or {})


@dataclass(frozen=True)
class Case:
    name: str
    before: AnalysisResults
    update: SlideRunUpdate
    expected: AnalysisResults


CASES = [
    Case("first tiles", AnalysisResults(), update("running", None, HEAT), RUNNING),
    Case(
        "the content while an analysis runs is that of the previous one", RUNNING, update("running", CONTENT), RUNNING
    ),
    Case("the heatmap stays if it is unchanged", RUNNING, update("finished", CONTENT), DONE),
    Case("results of an earlier session", AnalysisResults(), update("finished", CONTENT, HEAT), DONE),
    Case("a failed analysis", RUNNING, update("failed"), AnalysisResults(state="failed", heatmap=HEAT)),
    Case(
        "those of the view stay those of the view",
        AnalysisResults(is_view=True),
        update("finished", CONTENT, HEAT),
        replace(DONE, is_view=True),
    ),
    Case(
        "numbers that are not valid stay shown",
        AnalysisResults(state="finished", content=NOT_VALID, shows_invalid=True),
        update("finished", NOT_VALID, HEAT),
        AnalysisResults(state="finished", heatmap=HEAT, content=NOT_VALID, shows_invalid=True),
    ),
    Case(
        "numbers of another analysis are hidden again",
        AnalysisResults(state="finished", content=NOT_VALID, shows_invalid=True),
        update("finished", {**NOT_VALID, "seconds": 9.0}, HEAT),
        AnalysisResults(state="finished", heatmap=HEAT, content={**NOT_VALID, "seconds": 9.0}),
    ),
    Case(
        "numbers that are not valid for another reason are hidden again",
        AnalysisResults(state="finished", content=NOT_VALID, shows_invalid=True),
        update("finished", NOT_VALID_EITHER),
        AnalysisResults(state="finished", content=NOT_VALID_EITHER),
    ),
    Case(
        "numbers that were not valid and are now",
        AnalysisResults(state="finished", content=NOT_VALID, shows_invalid=True),
        update("finished", CONTENT),
        AnalysisResults(state="finished", content=CONTENT),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_results_follow_an_update(case: Case) -> None:
    assert vars(case.before.follow(case.update)) == vars(case.expected)


def test_an_update_without_change_is_not_announced() -> None:
    assert DONE.follow(update("finished", CONTENT)) is DONE


@pytest.mark.parametrize(
    ("content", "shows_invalid", "shown"),
    [({}, False, True), (CONTENT, False, True), (NOT_VALID, False, False), (NOT_VALID, True, True)],
)
def test_numbers_are_shown_if_they_are_valid_or_requested(content: dict, shows_invalid: bool, shown: bool) -> None:
    assert AnalysisResults(content=content, shows_invalid=shows_invalid).shows_numbers is shown


@pytest.mark.parametrize(
    ("results", "has_lesions"),
    [
        (DONE, True),
        (RUNNING, False),
        (AnalysisResults(content=CONTENT), False),
        (AnalysisResults(content={"seconds": 3.0}, heatmap=HEAT), False),
        (replace(DONE, heatmap=replace(HEAT, is_probability=False)), False),
    ],
    ids=["finished", "running", "no heatmap", "no target", "attention"],
)
def test_lesions_are_detected_on_probabilities(results: AnalysisResults, has_lesions: bool) -> None:
    assert results.has_lesions is has_lesions


def test_the_end_of_an_analysis_is_announced_once_and_again_when_the_slide_is_displayed_again() -> None:
    ends: list[tuple[str, bool]] = []
    results = SlideResults(AnalysisResults())
    results.ended.connect(lambda update, was_running: ends.append((str(update.status.state), was_running)))
    for one in (update("finished", CONTENT, HEAT), update("finished", CONTENT), update("running", CONTENT)):
        results.follow(one)
    assert ends == [("finished", False)]
    results.follow(update("finished", OTHER_CONTENT))
    assert ends.pop() == ("finished", True)
    results.reopen(is_view=False)
    assert results.value.heatmap is HEAT
    results.follow(update("finished", OTHER_CONTENT))
    assert ends.pop() == ("finished", False)
    results.reopen(is_view=True)
    assert vars(results.value) == vars(AnalysisResults(is_view=True))


def test_invalid_numbers_are_hidden_when_the_slide_is_displayed_again() -> None:
    results = SlideResults(AnalysisResults(content=NOT_VALID))
    results.show_invalid(True)
    results.reopen(is_view=False)
    assert not results.value.shows_numbers
    assert results.value.content == NOT_VALID


@pytest.fixture
def settings() -> Any:
    values: dict[str, object] = {}
    return SimpleNamespace(get=values.get, set=values.__setitem__, values=values)


def test_a_changed_display_is_also_that_of_the_next_slide(settings: Any) -> None:
    display = SlideHeatmapDisplay(settings, None)
    assert display.value == HeatmapDisplay()
    display.edit(visible=False, colormap="viridis", threshold=0.8)
    display.update(opacity=10)  # of this slide only
    assert SlideHeatmapDisplay(settings, None).value == HeatmapDisplay(
        visible=False, opacity=60, colormap="viridis", threshold=0.8
    )


def test_visibility_and_opacity_are_those_of_the_notes(settings: Any) -> None:
    settings.set("slide/colours", "unknown")
    display = SlideHeatmapDisplay(settings, LayerDisplay(visible=False, opacity=0.25))
    assert display.value == HeatmapDisplay(visible=False, opacity=25)
    assert settings.values == {"slide/colours": "unknown"}
