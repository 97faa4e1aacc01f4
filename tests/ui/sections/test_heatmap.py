"""The Heatmap section: why there is none, threshold, classes and class map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fake_session import open_session
from fake_slides import FakeAnalysis
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QLabel
from slide_fixtures import UNSEEN

from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.reading.files import slide_fingerprint
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
from napari_melanoma.ui.viewer.slide_layers import find_layer

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
PLACEMENT = MapPlacement(0, 0, 32, 32)
HEAT = HeatmapData(np.zeros((2, 2), np.float32), PLACEMENT, "melanoma", ("melanoma", "nevus"), (0, 1), ())
CONTENT = {"target": "melanoma", "probability": 0.21, "validity": {"valid": True}}
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


def test_results_of_a_tissue_classifier_are_a_class_map_also_when_they_are_opened_again(person, slide_path):
    def find(role):
        return find_layer(person.viewer, person.dock.slide, role)

    def chooses(name):
        classes = person.finds(QComboBox, "slide_class")
        classes.setCurrentIndex(classes.findData(name))
        classes.activated.emit(classes.currentIndex())

    folder = background_runs.slide_folder(person.dock.settings.slide_results, slide_path)
    FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().finishes()
    class_map = {"colors": {"benign": "#00ff00", "melanoma": "#ff0000"}, "background": "benign"}
    areas = {name: {"mm2": 0.1, "percent": 50.0} for name in ("benign", "melanoma")}
    content = {**read_json(folder / "result.json"), "areas": areas, "class_map": class_map}
    write_json(folder / "result.json", content)
    for _ in range(2):
        person.opens_slides(slide_path)
        person.opens_section("Heatmap")
        person.until(lambda: find("classes") is not None)
        person.waits()
        assert find("classes").visible
        assert find("classes").data is person.session.results.value.shown_class_map.labels
        assert find("heatmap") is None or not np.isfinite(find("heatmap").data).any()
        assert person.finds(QComboBox, "slide_class").currentText() == "all classes"
        assert "melanoma" in person.label_text("slide_class_colors")
        chooses("melanoma")
        person.until(lambda: find("classes") is None)
        person.waits()
        assert np.isfinite(find("heatmap").data).any()
        assert person.tiles
        chooses("benign")
        person.until(lambda: all(tile.isHidden() for tile in person.tiles))
        person.waits()
        person.viewer.layers.clear()
        person.waits()
