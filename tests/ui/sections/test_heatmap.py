"""Why there is no heatmap; and the threshold keeps what is typed while results are updated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fake_session import open_session
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QLabel

from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.ui.sections.heatmap import (
    ALL_CLASSES,
    NO_HEATMAP,
    NO_RESULTS,
    NOT_SHOWN,
    HeatmapSection,
    explain_no_heatmap,
)
from napari_melanoma.ui.session.results import AnalysisResults
from napari_melanoma.ui.session.run_status import ClassMapData, HeatmapData
from napari_melanoma.ui.session.slide import SlideSession

PLACEMENT = MapPlacement(0, 0, 32, 32)
HEAT = HeatmapData(np.zeros((2, 2), np.float32), PLACEMENT, "melanoma", ("melanoma", "nevus"), (0, 1), ())
CONTENT = {"target": "melanoma", "probability": 0.21}
NOT_VALID = {**CONTENT, "validity": ValidityInputs("tiny", demonstration=True).check().to_json()}


@dataclass(frozen=True)
class Case:
    name: str
    results: AnalysisResults
    expected: str


CASES = [
    Case("nothing was analyzed", AnalysisResults(), NO_RESULTS),
    Case("the first tiles are computed", AnalysisResults(is_running=True), NO_RESULTS),
    Case("the model has no classes", AnalysisResults(content=CONTENT), NO_HEATMAP),
    Case("it is not known yet whether values are valid", AnalysisResults(is_running=True, heatmap=HEAT), ""),
    Case("finished", AnalysisResults(heatmap=HEAT, content=CONTENT), ""),
    Case("not valid", AnalysisResults(heatmap=HEAT, content=NOT_VALID), NOT_SHOWN),
    Case("not valid, but shown", AnalysisResults(heatmap=HEAT, content=NOT_VALID, shows_invalid=True), ""),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reasons_for_no_heatmap(case: Case) -> None:
    assert explain_no_heatmap(case.results) == case.expected


@pytest.fixture
def session(qtbot: QtBot, tmp_path: Path) -> Iterator[SlideSession]:
    yield from open_session(qtbot, tmp_path / "slide.tif", tmp_path / "results")


@pytest.fixture
def section(session: SlideSession, qtbot: QtBot) -> HeatmapSection:
    made = HeatmapSection(session)
    qtbot.addWidget(made)
    return made


def test_the_threshold_keeps_its_digits_while_others_are_shown(
    session: SlideSession, section: HeatmapSection, qtbot: QtBot
) -> None:
    chosen: list[float] = []
    session.results.set(AnalysisResults(heatmap=HEAT, content=CONTENT))
    session.results.threshold_selected.connect(chosen.append)
    section.show()
    section.activateWindow()
    qtbot.waitActive(section)
    box = section.findChild(QDoubleSpinBox, "slide_threshold_number")
    assert box is not None
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    box.selectAll()
    for key in "0.73":
        qtbot.keyClicks(box, key)
        session.heatmap_display.update(threshold=0.2)  # such as that of results that are restored now
    qtbot.keyClick(box, Qt.Key.Key_Return)
    session.commit_requested.emit()
    assert chosen == [0.73]
    assert session.heatmap_display.value.threshold == 0.73


def test_a_map_of_all_classes_is_one_of_the_choices(session: SlideSession, section: HeatmapSection) -> None:
    classes = ClassMapData(np.ones((2, 2), np.uint8), PLACEMENT, {"dermis": "#e69f00"})
    heat = replace(HEAT, class_map=classes, shows_classes=True)
    session.results.set(AnalysisResults(heatmap=heat, content=CONTENT))
    combo, legend = section.findChild(QComboBox, "slide_class"), section.findChild(QLabel, "slide_class_colors")
    assert combo is not None
    assert legend is not None
    assert combo.itemText(0) == combo.currentText() == ALL_CLASSES
    assert "dermis" in legend.text()
