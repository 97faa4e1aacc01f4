"""The charts and texts of a prediction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QPoint
from qtpy.QtGui import QColor, QHelpEvent
from qtpy.QtWidgets import QApplication, QToolTip, QVBoxLayout, QWidget
from stage import Stage

from napari_melanoma.classification.prediction import (
    ClassifierStamp,
    ClassifyOptions,
    ClassPrediction,
    Contribution,
    NoveltyDistance,
)
from napari_melanoma.core.prediction_config import OperatingPoint
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.ui.sections.prediction import view as prediction_view
from napari_melanoma.ui.widgets.charts import BAR_PX, DEFAULT_COLORS, ROW_PX, STRONG_COLORS, Bar, BarChart
from napari_melanoma.ui.widgets.style import Connections, ThemedIcons

POINT = OperatingPoint(
    target_sensitivity=0.9,
    threshold=0.2,
    sensitivity=0.91,
    sensitivity_interval=(0.86, 0.95),
    specificity=0.55,
    specificity_interval=(0.5, 0.6),
)
ANSWER = ClassPrediction(
    classes=("nevus", "melanoma", "seborrheic keratosis"),
    positive="melanoma",
    probabilities=(0.58, 0.31, 0.11),
    interval=(0.2, 0.44),
    possible=("melanoma", "nevus"),
    coverage=0.9,
    operating_point=POINT,
    novelty=NoveltyDistance(10.0, 20.0),
    contributions=(
        Contribution("sex", "female", 0.001),
        Contribution("site", "back", -0.02),
        Contribution("age", "54", 0.04),
    ),
    from_image=0.29,
    neighbours=(),
    missing=("fitzpatrick",),
    unused=("ethnicity",),
    warnings=(),
    model=ClassifierStamp("small", "Small", "0" * 64, "cpu"),
    options=ClassifyOptions(),
)


def test_the_most_probable_class_comes_first_and_excluded_ones_are_faint():
    rows = prediction_view.class_bars(ANSWER)
    assert [(row.name, row.text, row.faint) for row in rows] == [
        ("Nevus", "0.58", False),
        ("Melanoma", "0.31", False),
        ("Seborrheic keratosis", "0.11", True),
    ]
    assert [row.strong for row in rows] == [False, True, False]
    assert [row.interval for row in rows] == [None, (0.2, 0.44), None]
    assert [row.mark for row in rows] == [None, 0.2, None]
    assert "In the prediction set with 90 % coverage" in rows[1].tip
    assert "Unusual for seborrheic keratosis: at most 10 of 100 seborrheic keratosis cases have" in rows[2].tip


def test_many_classes_share_the_last_row_but_never_the_positive_one():
    names = (*(f"class {place}" for place in range(10)), "melanoma")
    many = replace(ANSWER, classes=names, probabilities=(*[0.099] * 10, 0.01), possible=names, interval=None)
    rows = prediction_view.class_bars(many)
    assert len(rows) == prediction_view.MAX_CLASSES + 1
    assert rows[-2].name == "Melanoma"
    assert (rows[-1].name, rows[-1].text) == ("4 others", "0.40")
    assert sum(row.value for row in rows) == pytest.approx(1)


def test_effects_of_fields_are_sorted_by_size():
    rows, end = prediction_view.contribution_bars(ANSWER)
    assert [(row.name, row.text) for row in rows] == [
        ("Age 54", "+0.04"),
        ("Body site back", "\N{MINUS SIGN}0.02"),
        ("Sex female", "0"),
        ("Skin type", "unknown"),
    ]
    assert rows[0].tip == "Without age, the probability of melanoma is 0.27 instead of 0.31."
    assert end > 0.04


def test_small_changes_are_not_drawn_as_if_they_were_large():
    rows, end = prediction_view.contribution_bars(replace(ANSWER, contributions=(Contribution("age", "54", 0.001),)))
    assert rows[0].value / end < 0.06


def test_sentences():
    expected = "Inconclusive: nevus 0.58 or melanoma 0.31 (95 % interval 0.20–0.44)."
    assert prediction_view.format_verdict(ANSWER) == expected
    assert prediction_view.format_operating_point(ANSWER).startswith(
        "At or above the decision threshold (0.20) for melanoma: sensitivity 91 % (86–95)"
    )
    assert prediction_view.format_operating_point(replace(ANSWER, operating_point=None)) == ""
    assert (
        prediction_view.describe_form_use(ANSWER)
        == "From the image only: melanoma 0.29. Not used by this model: ethnicity."
    )
    assert prediction_view.describe_form_use(replace(ANSWER, contributions=(), unused=())) == ""
    assert prediction_view.format_short_verdict(ANSWER) == "melanoma 0.31 (95 % interval 0.20–0.44)"
    strange = replace(ANSWER, novelty=NoveltyDistance(25.0, 20.0))
    assert prediction_view.format_verdict(strange).startswith("Not valid: the image is out of distribution.")
    assert prediction_view.format_operating_point(strange) == ""
    assert prediction_view.format_short_verdict(strange) == "Not valid: out of distribution"
    assumed = ValidityInputs("m", modality="dermoscopic", modality_certain=False).check()
    text = prediction_view.format_short_verdict(replace(ANSWER, validity=assumed))
    assert text == "melanoma 0.31 (95 % interval 0.20–0.44); type assumed"
    other = ValidityInputs("m", modality="macroscopic", modalities=("dermoscopic",)).check()
    assert prediction_view.format_short_verdict(replace(strange, validity=other)) == "Not valid"


def test_a_probability_close_to_the_threshold_has_more_digits():
    close = replace(ANSWER, probabilities=(0.8, 0.19961, 0.00039), possible=("melanoma",))
    probability = close.probability
    assert (f"{probability:.2f}", close.is_above_threshold) == ("0.20", False)
    assert "melanoma 0.1996 (" in prediction_view.format_verdict(close).lower()
    assert prediction_view.format_operating_point(close).startswith("Below the decision threshold (0.2000)")
    (bar,) = (row for row in prediction_view.class_bars(close) if row.name == "Melanoma")
    assert bar.text == "0.1996"
    assert "decision threshold 0.2000" in bar.tip


@pytest.fixture
def stage(qtbot):
    made = Stage(qtbot)
    yield made
    made.close()


@pytest.mark.both_qts
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_bars_are_painted_to_scale(stage, theme):
    stage.viewer.theme = theme
    bars = stage.show(BarChart(stage.icons, "bars", "Bars"))
    bars.show_rows([Bar("melanoma", "0.50", 0.5, strong=True), Bar("nevus", "1.00", 1.0)])
    QApplication.processEvents()
    picture = bars.grab().toImage()

    def length(row, color):
        height = (2 * row + 1) * bars.height() // 4
        return sum(picture.pixelColor(column, height) == QColor(color) for column in range(picture.width()))

    dark = theme == "dark"
    whole, half = length(1, DEFAULT_COLORS[dark]), length(0, STRONG_COLORS[dark])
    assert whole > 60
    assert half == pytest.approx(whole / 2, abs=4)


def test_bars_of_negative_values_have_straight_edges(stage):
    bars = stage.show(BarChart(stage.icons, "bars", "Bars"))
    bars.show_rows([Bar("age", "-0.80", -0.8)], low=-1, high=1)
    QApplication.processEvents()
    picture = bars.grab().toImage()
    color = QColor(DEFAULT_COLORS[stage.icons.palette.dark])
    middle, edge = (
        sum(picture.pixelColor(column, row) == color for column in range(picture.width()))
        for row in (ROW_PX // 2, (ROW_PX - BAR_PX) // 2 + 1)
    )
    assert middle > 30
    assert edge == pytest.approx(middle, abs=4)


def test_bars_have_accessible_texts_and_tooltips(stage):
    bars = stage.show(BarChart(stage.icons, "bars", "Bars"))
    bars.show_rows([Bar("melanoma", "0.50", 0.5, tip="half"), Bar("nevus", "unknown")])
    assert bars.accessibleDescription() == "melanoma 0.50; nevus unknown"
    spot = QPoint(20, 5)
    QApplication.sendEvent(bars, QHelpEvent(QEvent.Type.ToolTip, spot, bars.mapToGlobal(spot)))
    assert QToolTip.text() == "half"
    QToolTip.hideText()
    bars.show_rows([])
    assert not bars.isVisibleTo(stage.page)


def test_texts_that_change_with_the_patient_data_do_not_move_the_heatmap_controls(qtbot):
    heatmap = prediction_view.HeatmapControls()
    window = QWidget()
    qtbot.addWidget(window)
    panel = prediction_view.PredictionPanel(ThemedIcons(ViewerModel(), window, Connections()), heatmap)
    layout = QVBoxLayout(window)
    layout.addWidget(panel)
    layout.addStretch(1)
    window.resize(320, 900)
    window.show()
    panel.show_prediction(replace(ANSWER, operating_point=None), is_pending=False)
    qtbot.wait(1)
    before = heatmap.mapTo(panel, QPoint(0, 0))
    warned = replace(ANSWER, warnings=("age: expected years, found 'x', so it is unknown",))
    panel.show_prediction(warned, is_pending=False)
    qtbot.waitUntil(lambda: panel.operating_point_text.height() > 10 and panel.warning.isVisible())
    assert panel.warning.mapTo(panel, QPoint(0, 0)).y() > before.y()
    assert heatmap.mapTo(panel, QPoint(0, 0)) == before
