"""The correlation of lesion area and probability in the Slide dock: description, plot and selection."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import pytest
from fake_slides import draw_slide
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QTableView, QWidget
from slide_fixtures import UNSEEN

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.scores import describe_correlation
from napari_melanoma.ui.sections.lesions.correlation import LesionMark, LesionScatterPlot, _correlate, choose_ticks
from napari_melanoma.ui.viewer.camera import get_camera

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
NAN = float("nan")


def opens_fold(person):
    assert person.dock.findChild(QWidget, "relation_plot") is None  # created when the section is opened
    person.opens_section("Area and probability")
    person.waits()
    return person.finds(LesionScatterPlot, "relation_plot")


def test_plot_follows_the_lesions_and_fewer_than_three_have_no_correlation(analysed):
    plot = opens_fold(analysed)
    assert "at least three lesions; there are 2 lesions" in analysed.label_text("correlation_text")
    assert len(plot.marks) == 2
    analysed.lesion_table.selectAll()
    analysed.clicks("lesion_merge")
    analysed.until(lambda: len(plot.marks) == 1)
    analysed.waits()
    assert "there is 1 lesion." in analysed.label_text("correlation_text")
    check_order_of_marks(plot)


def test_a_mark_names_the_class_of_the_probability_though_the_class_was_set_by_hand(analysed):
    """The probability of the model does not change with the class of the lesion."""
    dock = analysed.dock
    folder, state = dock.result_location.folder, analysed.session.lesions.value
    lesions = tuple(replace(lesion, label="benign", origin="classed") for lesion in state.lesions)
    state = replace(state, source=replace(state.source, target="melanoma"), lesions=lesions)
    write_json(folder / "result.json", {**read_json(folder / "result.json"), "target": "melanoma"})
    copy = shutil.copytree(folder, folder.with_name("other"))
    for root in (None, folder.parent):
        correlation = _correlate(state, root, RunContext())
        others = [mark.description for mark in correlation.marks if f" of {copy.name}" in mark.description]
        assert bool(others) == (root is not None)
        assert all("probability of melanoma" in mark.description for mark in correlation.marks)


def test_without_lesions_there_is_no_correlation(person, slide_path):
    person.opens_slides(slide_path)
    plot = opens_fold(person)
    assert "No lesions yet" in person.label_text("correlation_text")
    assert not plot.isVisibleTo(person.dock)


@pytest.mark.both_qts
def test_click_on_a_mark_selects_and_shows_its_lesion(analysed):
    person = analysed
    plot = opens_fold(person)
    before = tuple(get_camera(person.viewer).center)
    mark = next(mark for mark in plot.marks if mark.index == 2)
    person.qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=plot.mark_position(mark).toPoint())
    assert person.lesion_table.selected == (2,)
    assert tuple(get_camera(person.viewer).center) != before
    person.qtbot.keyClick(plot, Qt.Key.Key_Right)
    assert person.lesion_table.selected == (1,)
    person.qtbot.keyClick(plot, Qt.Key.Key_Right)
    assert person.lesion_table.selected == (2,)


def test_interval_of_all_slides_is_over_slides_which_may_have_no_scale_or_another_model(analysed):
    person, root = analysed, analysed.dock.run_manager.root
    for number in range(4):  # of slides that were analysed before
        folder = root / f"other{number}"
        folder.mkdir()
        for name in ("lesions.csv", "result.json"):
            shutil.copy(person.analysis.path / name, folder / name)
    (root / "other0" / "lesions.csv").write_text("nonsense\n1\n")
    plot = opens_fold(person)
    person.finds(QAbstractButton, "relation_all").click()
    person.waits()
    text = person.label_text("correlation_text")
    assert "8 lesions of 4 slides" in text
    assert text.startswith("Spearman 1.00")
    assert "over slides" in text
    assert "different models" not in text
    assert sum(mark.index is None for mark in plot.marks) == 6

    # Numbers of another slide that are not valid are not shown.
    validity = ValidityInputs("tiny", demonstration=True, field_mm=0.24, model_field_mm=3).check().to_json()
    known = (root / "other2" / "result.json").read_text()
    write_json(root / "other2" / "result.json", {**json.loads(known), "validity": validity})
    for _ in range(2):
        person.finds(QAbstractButton, "relation_all").click()
        person.waits()
    text = person.label_text("correlation_text")
    assert "6 lesions of 3 slides" in text
    assert text.endswith("Left out: 2 lesions of 1 other slide whose results are not valid.")
    assert sum(mark.index is None for mark in plot.marks) == 4
    (root / "other2" / "result.json").write_text(known)

    rows, content = read_table(folder / "lesions.csv"), read_json(folder / "result.json")
    write_table(folder / "lesions.csv", [{**row, "area_mm2": ""} for row in rows])
    write_json(root / "other1" / "result.json", {**content, "model": {**content["model"], "name": "other"}})
    for _ in range(2):
        person.finds(QAbstractButton, "relation_all").click()
        person.waits()
    text = person.label_text("correlation_text")
    assert "6 lesions of 3 slides" in text
    assert "2 lesions have no area in mm² and are left out" in text
    assert "2 different models" in text
    assert len(plot.marks) == 6
    assert all("mm²" in mark.description for mark in plot.marks)

    foreign = next(mark for mark in plot.marks if mark.index is None)
    person.lesion_table.clearSelection()
    plot.show_marks([foreign], "mm²")
    person.qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=plot.mark_position(foreign).toPoint())
    assert person.lesion_table.selected == ()


def test_the_order_of_the_tables_and_all_slides_are_kept_for_the_next_slide(analysed, tmp_path):
    person = analysed
    person.opens_section("Regions")
    person.opens_section("Area and probability")
    tables = ("lesion_table", "region_list")
    for name in tables:
        person.finds(QTableView, name).sortByColumn(3, Qt.SortOrder.DescendingOrder)
    person.finds(QAbstractButton, "relation_all").click()
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    for _ in range(2):  # on the other slide, and on return
        person.until(lambda: person.finds(QAbstractButton, "relation_all") is not None)
        assert person.finds(QAbstractButton, "relation_all").isChecked()
        for name in tables:
            assert person.finds(QTableView, name).order == (3, Qt.SortOrder.DescendingOrder)
        person.clicks("previous_slide")
        person.until(lambda: person.session is not None)
        person.waits()


@pytest.mark.parametrize(
    ("found", "lesions", "slides", "text"),
    [
        (None, 0, None, "there are 0 lesions."),
        (None, 2, 1, "there are 2 lesions of 1 slide."),
        (Estimate(NAN, NAN, NAN, 5), 5, None, "equal"),
        (Estimate(0.4, -0.1, 0.8, 5), 5, None, "Spearman 0.40 (95 % interval -0.10 to 0.80), 5 lesions."),
        (Estimate(0.4, -0.1, 0.8, 5), 5, 1, "does not apply to other slides"),
        (Estimate(0.4, NAN, NAN, 5), 5, 2, "(too few for an interval)"),
    ],
)
def test_describe_correlation(found, lesions, slides, text):
    assert text in describe_correlation(found, lesions, slides)


def check_order_of_marks(plot):
    """Marks are ordered by area within the axes."""
    for areas in ((1.0, 2.0, 3.0), (0.001, 0.1, 40.0), (2.0, 2.0, 2.0)):  # even, wide, alike
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
def test_axis_has_round_ticks(low, high, logarithmic, numbers):
    assert choose_ticks(low, high, logarithmic=logarithmic) == pytest.approx(numbers)
