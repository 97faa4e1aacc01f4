"""The relation of area and probability in the Slide dock: said with its interval, plotted, linked with the table."""

from __future__ import annotations

import math
import shutil

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QWidget
from slide_stage import FIXTURES

from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.ui.slide.correlation import LesionMark, LesionScatterPlot, choose_ticks, describe_correlation
from napari_melanoma.ui.viewer.camera import get_camera

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)
NAN = float("nan")


def opens_fold(person):
    fold = person.dock.correlation_section
    assert person.dock.findChild(QWidget, "relation_plot") is None  # made when somebody looks
    fold.expand(animate=False)
    person.waits()
    return person.finds(LesionScatterPlot, "relation_plot")


def test_fewer_than_three_lesions_are_said_and_drawn(analysed):
    plot = opens_fold(analysed)
    assert "at least three lesions; there are 2 lesions" in analysed.says("relation_words")
    assert len(plot.marks) == 2


@pytest.mark.one_qt
def test_without_lesions_there_is_no_relation(person, slide_path):
    person.opens_slides(slide_path)
    plot = opens_fold(person)
    assert "No lesions yet" in person.says("relation_words")
    assert not plot.isVisible()


def test_a_click_on_a_mark_selects_its_lesion_and_flies_there(analysed):
    person, dock = analysed, analysed.dock
    plot = opens_fold(person)
    before = tuple(get_camera(person.viewer).center)
    mark = next(mark for mark in plot.marks if mark.index == 2)
    person.qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=plot.mark_position(mark).toPoint())
    assert dock.lesion_table.selected == [2]
    assert tuple(get_camera(person.viewer).center) != before
    person.qtbot.keyClick(plot, Qt.Key.Key_Right)
    assert dock.lesion_table.selected == [1]
    person.qtbot.keyClick(plot, Qt.Key.Key_Right)
    assert dock.lesion_table.selected == [2]


@pytest.mark.one_qt
def test_lesions_of_all_slides_are_related_with_an_interval_over_slides(analysed):
    person, dock = analysed, analysed.dock
    for number in range(4):  # of slides that were analysed before
        folder = dock.run_manager.root / f"other{number}"
        folder.mkdir()
        for name in ("lesions.csv", "result.json"):
            shutil.copy(person.analysis.path / name, folder / name)
    (dock.run_manager.root / "other0" / "lesions.csv").write_text("nonsense\n1\n")
    plot = opens_fold(person)
    person.finds(QAbstractButton, "relation_all").click()
    person.waits()
    said = person.says("relation_words")
    assert "8 lesions of 4 slides" in said
    assert said.startswith("Spearman 1.00")
    assert "over slides" in said
    assert sum(mark.index is None for mark in plot.marks) == 6
    foreign = next(mark for mark in plot.marks if mark.index is None)
    dock.lesion_table.clearSelection()
    plot.show_marks([foreign], "mm²")
    person.qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=plot.mark_position(foreign).toPoint())
    assert dock.lesion_table.selected == []


@pytest.mark.one_qt
def test_a_change_of_lesions_changes_the_plot(analysed):
    person, dock = analysed, analysed.dock
    plot = opens_fold(person)
    dock.lesion_table.selectAll()
    person.clicks("lesion_merge")
    person.until(lambda: len(plot.marks) == 1)
    person.waits()
    assert "there is 1 lesion." in person.says("relation_words")


@pytest.mark.parametrize(
    ("found", "lesions", "slides", "said"),
    [
        (None, 0, None, "there are 0 lesions."),
        (None, 2, 1, "there are 2 lesions of 1 slide."),
        (Estimate(NAN, NAN, NAN, 5), 5, None, "alike"),
        (Estimate(0.4, -0.1, 0.8, 5), 5, None, "Spearman 0.40 (95 % -0.10 to 0.80), 5 lesions."),
        (Estimate(0.4, -0.1, 0.8, 5), 5, 1, "nothing of other slides"),
        (Estimate(0.4, NAN, NAN, 5), 5, 2, "(no interval: too few)"),
    ],
)
def test_what_is_said_of_a_relation(found, lesions, slides, said):
    assert said in describe_correlation(found, lesions, slides)


@pytest.mark.one_qt
@pytest.mark.parametrize("areas", [(1.0, 2.0, 3.0), (0.001, 0.1, 40.0), (2.0, 2.0, 2.0)], ids=["even", "wide", "alike"])
def test_marks_stand_in_the_order_of_their_areas_within_the_axes(analysed, areas):
    plot = opens_fold(analysed)
    marks = [
        LesionMark(area, share, False, "", number)
        for number, (area, share) in enumerate(zip(areas, (0, 0.5, 1), strict=True))
    ]
    plot.show_marks(marks, "mm²")
    places = [plot.mark_position(mark) for mark in marks]
    assert all(0 <= place.x() <= plot.width() and 0 <= place.y() <= plot.height() for place in places)
    assert [place.y() for place in places] == sorted((place.y() for place in places), reverse=True)
    assert [place.x() for place in places] == sorted(place.x() for place in places)
    assert not plot.grab().isNull()
    assert math.isfinite(places[0].x())


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "numbers"),
    [
        (0, 1, False, [0, 0.5, 1]),
        (0, 0.00442, False, [0, 0.002, 0.004]),
        (0, 37, False, [0, 10, 20, 30]),
        (-2.2, 1.1, True, [0.01, 0.1, 1, 10]),
        (-7.5, 2.5, True, [1e-7, 1e-5, 1e-3, 0.1, 10]),
    ],
)
def test_an_axis_has_round_numbers(low, high, logarithmic, numbers):
    assert choose_ticks(low, high, logarithmic=logarithmic) == pytest.approx(numbers)
