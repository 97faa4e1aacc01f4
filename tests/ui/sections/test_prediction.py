"""The Prediction section: charts and texts, which prediction, notice and heatmap it shows, and why there is none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QPoint
from qtpy.QtGui import QColor, QHelpEvent
from qtpy.QtWidgets import QApplication, QLabel, QToolTip, QWidget
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
from napari_melanoma.ui.sections import prediction as prediction_view
from napari_melanoma.ui.sections.prediction import (
    HEATMAP_STOPPED,
    NO_MODEL_SELECTED,
    NOT_ANALYZED,
    OTHER_SHOWN,
    OUTDATED,
    STOPPED,
    PhotographHeatmapLayer,
    PredictionSection,
    PredictionSummary,
)
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.open_photograph import PhotographSessions, SavedPrediction
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.session.photograph_predictions import (
    HeatmapKey,
    HeatmapOptions,
    PredictionHeatmap,
    PredictionKey,
    PredictionOutcome,
    SharedHeatmapOptions,
)
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.widgets.charts import DEFAULT_COLORS, STRONG_COLORS, Bar, BarChart
from napari_melanoma.ui.widgets.dock_layout import AnswerCard
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import ThemedIcons

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari.layers import Image
    from pytestqt.qtbot import QtBot

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
KEY = PredictionKey("small", "image", "mask")
EDITED, LARGE = KEY._replace(mask_digest="edited"), KEY._replace(model="large")
DONE, CANCELED = PredictionOutcome(KEY, ANSWER), PredictionOutcome(KEY)
FAILED = PredictionOutcome(KEY, error="no <lesion> found.")
OLD = replace(ANSWER, provenance={"created": "2026-11-20T14:05:09+00:00"})
SAVED_TEXT = "Saved on 2026-11-20 14:05 UTC."
CAM, NEVUS = HeatmapKey(KEY, "cam", "nevus"), HeatmapKey(KEY, "cam", "melanoma")
OCCLUSION = HeatmapKey(KEY, "occlusion", "nevus")
FAILED_HEATMAP, EMPTY = PredictionHeatmap(OCCLUSION, error="this <network> has none."), np.zeros((6, 8), np.float32)
FAILED_TEXT = "This &lt;network&gt; has none."
EMPTY_TEXT = "The heatmap is empty: the method found no image region that increases the probability of nevus."
SIDES = (6, 8)
TWO_CLASSES: Any = SimpleNamespace(classes=("nevus", "melanoma"), positive="melanoma", predicted="melanoma")


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


def test_sentences():
    expected = (
        "Above the melanoma threshold (sensitivity 90 %): melanoma 0.31, 0.20 to 0.44. Cannot be ruled out: nevus 0.58."
    )
    assert prediction_view.format_headline(ANSWER) == expected
    assert prediction_view.format_operating_point(ANSWER).startswith(
        "Decision threshold 0.20 for melanoma: sensitivity 91 % (86–95)"
    )
    strange = replace(ANSWER, novelty=NoveltyDistance(25.0, 20.0))
    assert prediction_view.format_headline(strange).startswith("Not valid: the image is out of distribution.")
    assert prediction_view.format_operating_point(strange) == ""
    assert prediction_view.format_short_verdict(strange) == "Not valid: out of distribution"
    assumed = ValidityInputs("m", modality="dermoscopic", modality_certain=False).check()
    text = prediction_view.format_short_verdict(replace(ANSWER, validity=assumed))
    assert text == "melanoma 0.31; type assumed"
    other = ValidityInputs("m", modality="macroscopic", modalities=("dermoscopic",)).check()
    assert prediction_view.format_short_verdict(replace(strange, validity=other)) == "Not valid"


def test_a_probability_close_to_the_threshold_has_more_digits():
    close = replace(ANSWER, probabilities=(0.8, 0.19961, 0.00039), possible=("melanoma",))
    probability = close.probability
    assert (f"{probability:.2f}", close.is_above_threshold) == ("0.20", False)
    assert ": melanoma 0.1996, " in prediction_view.format_headline(close)
    assert prediction_view.format_operating_point(close).startswith("Decision threshold 0.2000 ")
    (bar,) = (row for row in prediction_view.class_bars(close) if row.name == "Melanoma")
    assert bar.text == "0.1996"
    assert "decision threshold 0.2000" in bar.tip


@pytest.fixture
def stage(qtbot):
    made = Stage(qtbot)
    yield made
    made.close()


@pytest.mark.both_qts
def test_bars_are_painted_to_scale(stage):
    bars = stage.show(BarChart(stage.icons, "bars", "Bars"))
    bars.show_rows([Bar("melanoma", "0.50", 0.5, strong=True), Bar("nevus", "1.00", 1.0)])
    QApplication.processEvents()
    picture = bars.grab().toImage()

    def length(row, color):
        height = (2 * row + 1) * bars.height() // 4
        return sum(picture.pixelColor(column, height) == QColor(color) for column in range(picture.width()))

    dark = stage.icons.palette.dark
    whole, half = length(1, DEFAULT_COLORS[dark]), length(0, STRONG_COLORS[dark])
    assert whole > 60
    assert half == pytest.approx(whole / 2, abs=4)


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


class Shown:
    """The section of a photograph whose values a test sets."""

    def __init__(self, qtbot: QtBot) -> None:
        viewer, self.window = ViewerModel(), QWidget()
        qtbot.addWidget(self.window)
        icons = ThemedIcons(viewer, self.window, Connections())
        self.options = SharedHeatmapOptions(DockSettings())
        self.predictions = SimpleNamespace(heatmap_options=self.options, has_models=True)
        services: Any = SimpleNamespace(predictions=self.predictions, icons=icons, status=None, hidden=Shared(""))
        viewer.add_image(np.zeros((6, 8, 3), np.uint8), rgb=True, name="mole")
        self.session: Any = PhotographSessions(viewer, partial(PhotographSession, services=services)).update()[0]
        self.session.classifier = "small"
        self.section = PredictionSection(self.session)
        self.section.setParent(self.window)

    def text(self, name: str) -> str:
        label = self.section.findChild(QLabel, name)
        assert label is not None
        return label.text() if label.isVisibleTo(self.section) else ""


@pytest.fixture
def shown(qtbot: QtBot, home: Path) -> Iterator[Shown]:
    made = Shown(qtbot)
    yield made
    made.session.end_parts()


class Case(NamedTuple):
    name: str
    outcome: PredictionOutcome | None
    key: PredictionKey | None
    reason: str  # empty if a prediction is shown
    is_current: bool = False
    classifier: str = "small"


CASES = [
    Case("not analyzed", None, None, NOT_ANALYZED),
    Case("no classifier", None, None, NO_MODEL_SELECTED, classifier=""),
    Case("predicting", None, KEY, "Predicting ..."),
    Case("canceled", CANCELED, KEY, STOPPED),
    Case("canceled, then edited", CANCELED, EDITED, "Predicting ..."),
    Case("predicted", DONE, KEY, "", is_current=True),
    Case("the mask was edited", DONE, EDITED, ""),
    Case("another model", DONE, LARGE, "Predicting ...", classifier="large"),
    Case("failed", FAILED, KEY, "No &lt;lesion&gt; found."),
    Case("failed, then edited", FAILED, EDITED, "Predicting ..."),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_shown_prediction(shown: Shown, qtbot: QtBot, case: Case) -> None:
    shown.session.classifier, shown.session.prediction_key = case.classifier, case.key
    shown.session.prediction = case.outcome
    details = shown.section.findChild(QWidget, "prediction_classes").parentWidget()
    assert shown.text("prediction_hint").startswith(case.reason)
    assert bool(shown.text("prediction_hint")) is bool(case.reason)
    assert ("Predict again" in shown.text("prediction_hint")) is (case.reason in (STOPPED, "No &lt;lesion&gt; found."))
    assert details.isEnabledTo(shown.section) is (case.is_current or bool(case.reason))
    qtbot.addWidget(summary := PredictionSummary(shown.session))
    answer = summary.findChild(AnswerCard, "prediction_summary")
    if case.reason:
        assert answer.headline == ""
        assert case.reason not in answer.details, "the reason stands once"
    else:
        assert answer.headline == ANSWER.headline.text
        assert answer.details.startswith(OUTDATED) is not case.is_current
        assert answer.details.endswith(ANSWER.headline.parts[-1])


def test_a_model_can_be_trained_if_none_is_installed(shown: Shown) -> None:
    shown.predictions.has_models = False
    shown.session.classifier = ""
    assert shown.text("prediction_hint").startswith("No classification model is installed.")


def test_a_prediction_is_outdated_while_the_mask_follows_a_control(shown: Shown, monkeypatch: Any) -> None:
    shown.session.prediction_key, shown.session.prediction = KEY, DONE
    monkeypatch.setattr(PhotographSession, "is_mask_changing", True)
    shown.session.shown.emit()
    assert not shown.section.findChild(QWidget, "prediction_classes").isEnabled()


@pytest.mark.parametrize(
    ("key", "mask", "row", "modality", "changed"),
    [
        (None, "mask", {}, None, ""),
        (None, "edited", {}, None, "the mask"),  # without a model for this type of photograph
        (KEY, "mask", {}, None, ""),
        (KEY, "mask", {"localization": "x"}, None, ""),
        (EDITED, "edited", {"age": "54"}, "macroscopic", "the mask, the type of photograph, the patient data"),
    ],
)
def test_a_saved_prediction_until_there_is_a_new_one(
    shown: Shown, key: PredictionKey | None, mask: str, row: dict[str, str], modality: str | None, changed: str
) -> None:
    session = shown.session
    session.saved_prediction = SavedPrediction(OLD, {}, "mask", is_same_model=True)
    session.lesion = SimpleNamespace(mask_digest=mask)
    session.patient_data.set_row(row)
    photographs.set_modality(session.image, modality)
    session.prediction_key = key
    session.patient_changed.emit()
    note = f"{SAVED_TEXT} Outdated. Changed since then: {changed}." if changed else SAVED_TEXT
    assert shown.text("prediction_saved") == note
    assert shown.text("prediction_hint") == (OTHER_SHOWN if key is None else "Predicting ...")
    session.prediction_key, session.prediction = KEY, DONE
    assert (shown.text("prediction_saved"), shown.text("prediction_hint")) == ("", "")


def test_an_analysis_is_not_requested_first_above_other_predictions(
    shown: Shown, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(PhotographSession, "path", tmp_path / "mole.png")
    shown.session.prediction_key = None
    assert shown.text("prediction_hint") == NOT_ANALYZED
    texts = {tmp_path / "mole.png": "lesion-phone: melanoma 0.31. Fitted to the labels: melanoma 0.40."}
    shown.session.workspace.live_predictions.set(texts)
    assert shown.text("prediction_live") == texts[tmp_path / "mole.png"]
    assert shown.text("prediction_hint") == OTHER_SHOWN
    shown.session.workspace.live_predictions.set({})
    assert shown.text("prediction_hint") == NOT_ANALYZED


class HeatmapCase(NamedTuple):
    name: str
    heatmap: PredictionHeatmap
    options: dict[str, Any]
    notice: str
    key: PredictionKey = KEY


HEATMAP_CASES = [
    HeatmapCase("an empty heatmap", PredictionHeatmap(CAM, EMPTY), {}, EMPTY_TEXT),
    HeatmapCase("an empty heatmap of another class", PredictionHeatmap(NEVUS, EMPTY), {}, ""),
    HeatmapCase("shown", PredictionHeatmap(CAM, EMPTY + 1), {}, ""),
    HeatmapCase("failed", FAILED_HEATMAP, {"method": "occlusion"}, FAILED_TEXT),
    HeatmapCase("failed, then edited", FAILED_HEATMAP, {"method": "occlusion"}, FAILED_TEXT, EDITED),
    HeatmapCase("failed with another model", FAILED_HEATMAP, {"method": "occlusion"}, "", LARGE),
    HeatmapCase("failed, and hidden", FAILED_HEATMAP, {"method": "occlusion", "is_shown": False}, ""),
    HeatmapCase("another method failed", FAILED_HEATMAP, {}, ""),
    HeatmapCase("canceled", PredictionHeatmap(CAM), {}, HEATMAP_STOPPED),
    HeatmapCase("canceled, then edited", PredictionHeatmap(CAM), {}, "", EDITED),
]


@pytest.mark.parametrize("case", HEATMAP_CASES, ids=lambda case: case.name)
def test_why_no_heatmap_can_be_seen(shown: Shown, case: HeatmapCase) -> None:
    shown.options.edit(**{"is_shown": True, "method": "cam", **case.options})
    shown.session.classifier, shown.session.prediction_key = case.key.model, case.key
    shown.session.prediction = PredictionOutcome(case.key, ANSWER)
    shown.session.heatmap = case.heatmap
    assert shown.text("heatmap_notice").startswith(case.notice)
    assert bool(shown.text("heatmap_notice")) is bool(case.notice)


@pytest.mark.parametrize(("selected", "explained"), [("", "nevus"), ("melanoma", "melanoma"), ("wart", "nevus")])
def test_a_heatmap_explains_the_predicted_class_unless_another_is_selected(selected: str, explained: str) -> None:
    options = HeatmapOptions(is_shown=True, target=selected)
    assert options.make_key(DONE) == HeatmapKey(KEY, "cam", explained)
    assert replace(options, is_shown=False).make_key(DONE) is None
    assert options.make_key(CANCELED) is None


class Photographs:
    """Two photographs with heatmaps, of which one is displayed at a time."""

    def __init__(self, qtbot: QtBot) -> None:
        self.viewer, self.options, self._qtbot = ViewerModel(), SharedHeatmapOptions(DockSettings()), qtbot
        self.requested: list[HeatmapKey | None] = []
        predictions = SimpleNamespace(heatmap_options=self.options, request_heatmap=self._request)
        services: Any = SimpleNamespace(predictions=predictions, status=None)
        for name in ("first", "second"):
            self.viewer.add_image(np.zeros((*SIDES, 3), np.uint8), rgb=True, name=name)
        sessions = PhotographSessions(self.viewer, partial(PhotographSession, services=services))
        self.first, self.second = sessions.update()
        self.options.edit(is_shown=True)
        for session in (self.first, self.second):
            session.prediction = PredictionOutcome(PredictionKey("small", "image", "mask"), TWO_CLASSES)
            self.explains(session)
        self.displays(self.first)

    def _request(self, session: PhotographSession) -> None:
        self.requested.append(self.options.value.make_key(session.prediction))

    def explains(self, session: PhotographSession) -> None:
        """Set the current heatmap of a photograph."""
        key = self.options.value.make_key(session.prediction)
        assert key is not None
        session.heatmap = PredictionHeatmap(key, np.ones(SIDES, np.float32))

    def displays(self, session: PhotographSession) -> None:
        """Display a photograph as the dock does."""
        photographs.show_only(self.viewer, session.image)
        for other in (self.first, self.second):
            other.displayed.set(False)
        session.displayed.set(True)
        session.part(PhotographHeatmapLayer)  # type: ignore[arg-type]
        self.waits()

    def closes(self) -> None:
        for session in (self.first, self.second):
            session.end_parts()

    def waits(self) -> None:
        """Let Qt deliver what is due."""
        self._qtbot.wait(10)

    def heatmap(self, session: PhotographSession) -> Image | None:
        layer: Image | None = photographs.find_layer(self.viewer, session.image, "heatmap")
        return layer


@pytest.fixture
def pair(qtbot: QtBot, home: Path) -> Iterator[Photographs]:
    made = Photographs(qtbot)
    yield made
    made.closes()


def test_the_heatmap_of_the_displayed_photograph_is_shown(pair: Photographs) -> None:
    for session, other in ((pair.first, pair.second), (pair.second, pair.first), (pair.first, pair.second)):
        pair.displays(session)
        layer, hidden = pair.heatmap(session), pair.heatmap(other)
        assert layer is not None
        assert layer.visible
        assert hidden is None or not hidden.visible
    assert pair.options.value.is_shown
    assert not pair.requested


def test_a_heatmap_that_was_hidden_stays_hidden_until_it_is_shown_again(pair: Photographs) -> None:
    layer = pair.heatmap(pair.first)
    assert layer is not None
    layer.visible = False
    pair.waits()
    assert not pair.options.value.is_shown, "so that it is not saved"
    pair.displays(pair.second)
    pair.displays(pair.first)
    assert not layer.visible
    layer.visible = True
    pair.waits()
    assert pair.options.value.is_shown
    assert layer.visible


def test_a_heatmap_that_was_removed_is_not_added_again(pair: Photographs) -> None:
    pair.viewer.layers.remove(pair.heatmap(pair.first))
    pair.waits()
    assert not pair.options.value.is_shown
    pair.displays(pair.second)
    pair.displays(pair.first)
    assert pair.heatmap(pair.first) is None


def test_a_heatmap_that_goes_with_its_photograph_stays_switched_on(pair: Photographs) -> None:
    layer = pair.heatmap(pair.first)
    assert layer is not None
    layer.visible = False
    pair.first.image.visible = False
    pair.waits()
    assert pair.options.value.is_shown
    pair.displays(pair.first)
    assert layer.visible
    pair.viewer.layers.remove(layer)
    pair.viewer.layers.remove(pair.first.image)
    pair.waits()
    assert pair.options.value.is_shown


def test_a_heatmap_comes_back_with_its_photograph_after_a_slide(pair: Photographs) -> None:
    layer = pair.heatmap(pair.first)
    assert layer is not None
    for hidden in (pair.first.image, layer):  # as for a slide
        hidden.visible = False
    pair.waits()
    photographs.show_only(pair.viewer, pair.first.image)  # the dock has displayed it all the time
    assert layer.visible
    layer.visible = False
    pair.waits()
    assert not pair.options.value.is_shown
    pair.first.image.visible = False
    photographs.show_only(pair.viewer, pair.first.image)
    assert not layer.visible


def test_the_opacity_applies_to_all_photographs(pair: Photographs) -> None:
    pair.displays(pair.second)
    heatmaps = pair.heatmap(pair.first), pair.heatmap(pair.second)
    pair.options.edit(opacity=20)
    assert [layer is not None and layer.opacity for layer in heatmaps] == [0.2, 0.2]
    assert heatmaps[1] is not None
    heatmaps[1].opacity = 0.35  # in napari's controls
    pair.waits()
    assert pair.options.value.opacity == 35
    assert [layer is not None and layer.opacity for layer in heatmaps] == [0.35, 0.35]


def test_an_outdated_heatmap_is_hidden_when_the_new_one_is_canceled(pair: Photographs) -> None:
    session, layer = pair.first, pair.heatmap(pair.first)
    assert layer is not None
    session.prediction = PredictionOutcome(PredictionKey("small", "image", "edited"), TWO_CLASSES)
    (key,) = pair.requested
    assert key is not None
    assert layer.visible, "until the new one has been computed, which is fast"
    session.heatmap = PredictionHeatmap(key)  # canceled
    pair.waits()
    assert not layer.visible
    assert pair.options.value.is_shown
    session.heatmap = None
    assert pair.requested == [key, key]
