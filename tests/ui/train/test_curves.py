"""Curves of a run: the right points, safe colours, values under the mouse, and a page that still scrolls."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from fake_runs import FakeRun
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QLabel
from stage import Stage

from napari_melanoma.imaging.color import to_lab
from napari_melanoma.training.monitor import LOSS_MONITOR
from napari_melanoma.ui.train.run_reader import MAX_POINTS, LossCurve, LossTrace
from napari_melanoma.ui.train.run_view import PLOTS, TrainingCurves

PATIENCE_MS = 60_000
ROWS = [
    {
        "epoch": epoch,
        "validation_loss": 0.6 - 0.1 * epoch,
        "validation_jaccard": jaccard,
        "validation_dice": jaccard + 0.1,
    }
    for epoch, jaccard in enumerate((0.5, 0.7, 0.65))
]
LOSSES = LossCurve(tuple(np.linspace(0.1, 3.5, 35)), tuple(np.linspace(0.9, 0.2, 35)))


@pytest.fixture
def stage(home, qtbot):
    made = Stage(qtbot)
    yield made
    made.close()


@pytest.fixture
def curves(stage, qtbot):
    made = TrainingCurves(stage.icons)
    with qtbot.waitSignal(made.ready, timeout=PATIENCE_MS):
        stage.show(made)
    made.show_run(LOSSES, ROWS, 5)
    return made


def step(epoch, batch, loss, batches=10):
    return {"kind": "step", "epoch": epoch, "batch": batch, "batches": batches, "loss": loss}


def legend(curves, name):
    return curves.findChild(QLabel, f"legend_{name}").text()


def test_curves_show_the_metrics(curves):
    training, values = curves.plots["loss"].points("training")
    assert training.tolist() == list(LOSSES.epochs)
    assert values.tolist() == list(LOSSES.values)
    assert curves.plots["loss"].points("validation")[0].tolist() == [1, 2, 3]  # an epoch is measured at its end
    assert curves.plots["overlap"].points("monitor")[1].tolist() == [0.5, 0.7, 0.65]
    assert curves.plots["overlap"].points("second")[1].tolist() == pytest.approx([0.6, 0.8, 0.75])
    (low, high), _ = curves.plots["loss"].getPlotItem().viewRange()
    assert low <= 0
    assert high >= 5  # of the whole run, so that it shows how far it is


def test_axes_are_named_and_numbers_are_not_scaled(stage, curves):
    for theme in ("light", "dark"):
        stage.viewer.theme = theme
    for name, label in (("loss", "loss"), ("overlap", "0 to 1")):
        plot = curves.plots[name].getPlotItem()
        assert plot.getAxis("left").labelText == label
        assert plot.getAxis("bottom").labelText == "epoch"
        assert plot.getAxis("left").autoSIPrefixScale == 1.0


def test_the_best_epoch_is_marked(curves):
    assert {plot.best for plot in curves.plots.values()} == {2.0}
    assert "best: 2" in legend(curves, "overlap")
    curves.show_run(LOSSES, [], 5)
    assert {plot.best for plot in curves.plots.values()} == {None}


def test_epochs_without_a_number_are_left_out(curves):
    broken = [
        *ROWS,
        {"epoch": 3, "validation_loss": math.nan, "validation_jaccard": math.nan, "validation_dice": math.nan},
    ]
    curves.show_run(LOSSES, broken, 5)
    assert curves.plots["overlap"].points("monitor")[0].tolist() == [1, 2, 3]


def test_legends_show_the_last_values_or_those_at_the_mouse(curves):
    assert "training 0.200" in legend(curves, "loss")
    assert "Jaccard 0.650" in legend(curves, "overlap")
    curves.plots["loss"].pointed.emit(1.9)
    assert "epoch 2" in legend(curves, "loss")
    assert "validation 0.500" in legend(curves, "loss")
    assert "Jaccard 0.700" in legend(curves, "overlap")
    curves.plots["loss"].pointed.emit(3.5)  # in an epoch that is not done there is no such value yet
    assert "validation –" in legend(curves, "loss")
    curves.plots["loss"].pointed.emit(math.nan)
    assert "Jaccard 0.650" in legend(curves, "overlap")


def test_the_mouse_over_a_plot_is_followed(curves, qtbot):
    plot = curves.plots["overlap"]
    told = []
    plot.pointed.connect(told.append)
    where = plot.getPlotItem().vb.mapViewToScene(QPointF(2.0, 0.6)).toPoint()
    qtbot.mouseMove(plot.viewport(), where)
    qtbot.mouseMove(plot.viewport(), where + QPoint(1, 0))
    qtbot.waitUntil(lambda: bool(told), timeout=PATIENCE_MS)
    assert told[-1] == pytest.approx(2.0, abs=0.1)


@pytest.mark.both_qts
def test_the_wheel_over_a_plot_scrolls_the_page(curves):
    for plot in curves.plots.values():
        place, view = QPointF(plot.viewport().rect().center()), plot.getPlotItem().viewRange()
        where, turn, none = QPointF(plot.viewport().mapToGlobal(place.toPoint())), QPoint(0, -120), QPoint()
        buttons, keys, phase = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
        event = QWheelEvent(place, where, none, turn, buttons, keys, phase, False)
        QApplication.sendEvent(plot.viewport(), event)
        assert not event.isAccepted()  # Qt hands on to the parent what is not accepted, where a hand turned the wheel
        assert plot.getPlotItem().viewRange() == view


def test_colors_follow_the_theme(stage, curves):
    for theme in ("dark", "light"):
        stage.viewer.theme = theme
        plot = curves.plots["loss"]
        palette = stage.icons.palette
        assert plot.backgroundBrush().color().name() == palette.background
        ground = lab(palette.background)
        for name, found in PLOTS.items():
            colours = [curve.color(palette) for curve in found]
            pens = [curves.plots[name]._items[curve.name].opts["pen"].color().name() for curve in found]
            assert pens == colours
            for colour in colours:
                assert abs(lab(colour)[0] - ground[0]) > 25  # brightness alone tells a line from its ground
            assert found[0].symbol != found[1].symbol  # and shape one curve from the other


def lab(colour):
    rgb = np.array([[[int(colour[k : k + 2], 16) for k in (1, 3, 5)]]], np.uint8)
    return to_lab(rgb)[0, 0]


def test_a_run_of_few_steps_shows_the_loss_of_its_epochs(curves):
    rows = [
        {"epoch": epoch, "loss": 0.4 - 0.1 * epoch, "validation_loss": 0.5, "validation_jaccard": 0.6}
        for epoch in range(3)
    ]
    curves.show_run(LossCurve((2.0,), (0.35,)), rows, 3)
    epochs, values = curves.plots["loss"].points("training")
    assert (epochs.tolist(), values.tolist()) == ([1, 2, 3], pytest.approx([0.4, 0.3, 0.2]))
    assert "training 0.200" in legend(curves, "loss")


def test_the_best_epoch_is_that_of_the_monitor(curves):
    assert "best: 2" in legend(curves, "overlap")
    curves.show_run(LOSSES, ROWS, 5, LOSS_MONITOR)
    assert "best: 3" in legend(curves, "overlap")


def test_one_point_can_be_seen(curves):
    curves.show_run(LossCurve((0.5,), (0.35,)), [], 3)
    assert curves.plots["loss"]._items["training"].opts["symbol"] == "o"
    curves.show_run(LOSSES, [], 3)
    assert curves.plots["loss"]._items["training"].opts["symbol"] is None


def test_ticks_are_at_whole_epochs(curves):
    plot = curves.plots["loss"]
    for epochs in (1, 3, 20, 400):
        plot.set_epochs(epochs)
        axis = plot.getPlotItem().getAxis("bottom")
        ticks = [place for _, places in axis.tickValues(0, epochs, 250) for place in places]
        assert 2 <= len(ticks) <= 10, epochs
        assert all(place == round(place) for place in ticks), epochs


def test_another_run_resets_the_range(curves):
    high = [{**row, "validation_jaccard": 0.95, "validation_dice": 0.97} for row in ROWS]
    curves.show_run(LOSSES, high, 5)
    curves.grab()  # the range is found when it is drawn
    assert curves.plots["overlap"].viewRange()[1][0] > 0.9
    curves.show_run(LOSSES, [], 5)
    curves.grab()
    low, upper = curves.plots["overlap"].viewRange()[1]
    assert low <= 0
    assert upper >= 1


def test_the_height_is_reserved_from_the_start(stage, qtbot):
    made = stage.show(TrainingCurves(stage.icons))
    height = made.height()
    qtbot.waitUntil(lambda: bool(made.plots), timeout=PATIENCE_MS)
    assert "appear after the first batches" in made.findChild(QLabel).text()
    made.show_run(LOSSES, ROWS, 5)
    assert made.height() == height


@pytest.mark.both_qts
def test_curves_leave_nothing_behind(nothing_left, home, qtbot):
    stage = Stage(qtbot)
    curves = TrainingCurves(stage.icons)
    with qtbot.waitSignal(curves.ready, timeout=PATIENCE_MS):
        stage.show(curves)
    curves.show_run(LOSSES, ROWS, 5)
    stage.close()


@given(st.integers(1, 30), st.integers(1, 400))
def test_thinning_keeps_order_ends_and_mean(epochs, batches):
    trace = LossTrace()
    trace.add(step(e, b, float(e), batches) for e in range(epochs) for b in range(1, batches + 1))
    losses = trace.to_curve()
    assert len(losses.values) <= MAX_POINTS
    assert list(losses.epochs) == sorted(set(losses.epochs))
    assert 0 < losses.epochs[0] <= losses.epochs[-1] <= epochs
    if epochs * batches <= MAX_POINTS:
        assert len(losses.values) == epochs * batches
    else:
        assert losses.epochs[-1] > epochs * (1 - 3 / MAX_POINTS * 2)
        assert np.mean(losses.values) == pytest.approx((epochs - 1) / 2, abs=0.02 * epochs)


def test_an_epoch_that_is_repeated_after_a_resume_replaces_its_points():
    trace = LossTrace()
    trace.add([step(0, b, 1.0) for b in range(1, 11)] + [step(1, b, 0.9) for b in range(1, 6)])
    trace.add([step(1, b, 0.5) for b in range(1, 4)])
    losses = trace.to_curve()
    assert losses.epochs == tuple(np.arange(1, 14) / 10)
    assert losses.values == (1.0,) * 10 + (0.5,) * 3


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "step"},
        {"kind": "step", "epoch": 1, "loss": None},
        {"kind": "step", "epoch": "one", "loss": 1.0},
        {"kind": "epoch", "epoch": 1, "loss": 1.0},
        {"kind": "step", "epoch": 1, "batch": 1, "batches": 3, "loss": math.nan},
    ],
)
def test_events_without_loss_or_position_are_ignored(event):
    trace = LossTrace()
    trace.add([event])
    assert trace.to_curve() == LossCurve()


def test_curves_of_a_real_run(curves, tmp_path):
    run = FakeRun(tmp_path).add_epochs(3)
    trace = LossTrace()
    trace.add(json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines())
    table = csv.DictReader((run.path / "metrics.csv").read_text().splitlines())
    rows = [{name: float(value) for name, value in row.items()} for row in table]
    curves.show_run(trace.to_curve(), rows, run.epochs)
    assert len(curves.plots["loss"].points("training")[0]) == 90
    assert len(curves.plots["overlap"].points("second")[0]) == 3
