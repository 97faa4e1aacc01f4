"""Curves of a run: the right points, legends, colors of the theme, and a page that still scrolls."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from fake_runs import FakeRun
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication
from stage import Stage

from napari_melanoma.imaging.color import to_lab
from napari_melanoma.training.monitor import LOSS_MONITOR
from napari_melanoma.ui.train.plot import MAX_POINTS, PLOTS, TrainingCurves
from napari_melanoma.ui.train.run_reader import LossTrace

LOSS, METRICS = PLOTS
ROWS = [
    {
        "epoch": epoch,
        "validation_loss": 0.6 - 0.1 * epoch,
        "validation_jaccard": jaccard,
        "validation_dice": jaccard + 0.1,
    }
    for epoch, jaccard in enumerate((0.5, 0.7, 0.65))
]
LOSSES = LossTrace(np.linspace(0.1, 3.5, 35).tolist(), np.linspace(0.9, 0.2, 35).tolist())


@pytest.fixture
def stage(home, qtbot):
    made = Stage(qtbot)
    yield made
    made.close()


@pytest.fixture
def curves(stage):
    made = stage.show(TrainingCurves(stage.icons))
    made.show_run(LOSSES, ROWS, 5)
    return made


def points(curves, label, number):
    """Epochs and values of a curve."""
    epochs, values = curves.curves[label][number].getOriginalDataset()
    return ([], []) if epochs is None else (epochs.tolist(), values.tolist())


def legend(curves, label):
    return curves.plots[label].titleLabel.text


def test_curves_show_the_metrics(curves):
    assert points(curves, LOSS, 0) == (LOSSES.epochs, LOSSES.values)
    assert points(curves, LOSS, 1)[0] == [1, 2, 3]  # an epoch is measured at its end
    assert points(curves, METRICS, 0)[1] == [0.5, 0.7, 0.65]
    assert points(curves, METRICS, 1)[1] == pytest.approx([0.6, 0.8, 0.75])
    (low, high), _ = curves.plots[LOSS].viewRange()
    assert low <= 0
    assert high >= 5  # of the whole run, so that it shows the progress
    for label, plot in curves.plots.items():
        assert plot.getAxis("left").labelText == label
        assert plot.getAxis("bottom").labelText == "epoch"
        assert plot.getAxis("left").autoSIPrefixScale == 1.0


def test_legends_have_the_last_values(curves):
    for text in ("training 0.200", "validation 0.400"):
        assert text in legend(curves, LOSS)
    for text in ("Jaccard 0.650", "Dice 0.750"):
        assert text in legend(curves, METRICS)
    curves.show_run(LossTrace(), [], 5)
    assert "training –" in legend(curves, LOSS)


@pytest.mark.parametrize(("monitor", "epoch"), [(None, 2.0), (LOSS_MONITOR, 3.0)])
def test_the_best_epoch_is_that_of_the_monitor(curves, monitor, epoch):
    curves.show_run(LOSSES, ROWS, 5, monitor)
    assert {line.value() for line in curves.best.values() if line.isVisible()} == {epoch}
    curves.show_run(LOSSES, [], 5, monitor)
    assert not any(line.isVisible() for line in curves.best.values())


def test_epochs_without_a_number_are_left_out(curves):
    broken = {"epoch": 3, "validation_loss": math.nan, "validation_jaccard": math.nan, "validation_dice": math.nan}
    curves.show_run(LOSSES, [*ROWS, broken], 5)
    assert points(curves, METRICS, 0)[0] == [1, 2, 3]


def test_a_run_of_few_steps_shows_the_loss_of_its_epochs(curves):
    rows = [
        {"epoch": epoch, "loss": 0.4 - 0.1 * epoch, "validation_loss": 0.5, "validation_jaccard": 0.6}
        for epoch in range(3)
    ]
    curves.show_run(LossTrace([2.0], [0.35]), rows, 3)
    assert points(curves, LOSS, 0) == ([1, 2, 3], pytest.approx([0.4, 0.3, 0.2]))


def test_many_steps_become_few_points_of_the_same_mean(curves):
    count = 10 * MAX_POINTS + 7
    curves.show_run(LossTrace(np.linspace(0, 200, count).tolist(), np.linspace(1, 0, count).tolist()), [], 200)
    epochs, values = points(curves, LOSS, 0)
    assert MAX_POINTS / 2 <= len(epochs) == len(values) <= MAX_POINTS
    assert epochs == sorted(epochs)
    assert epochs[-1] > 199
    assert np.mean(values) == pytest.approx(0.5, abs=0.01)


def test_a_single_point_is_visible(curves):
    curves.show_run(LossTrace([0.5], [0.35]), [], 3)
    assert curves.curves[LOSS][0].opts["symbol"] == "o"
    curves.show_run(LOSSES, [], 3)
    assert curves.curves[LOSS][0].opts["symbol"] is None


@pytest.mark.parametrize("epochs", [1, 3, 20, 400])
def test_ticks_are_at_whole_epochs(curves, epochs):
    curves.show_run(LossTrace(), [], epochs)
    ticks = [place for _, places in curves.plots[LOSS].getAxis("bottom").tickValues(0, epochs, 250) for place in places]
    assert 2 <= len(ticks) <= 10
    assert all(place == round(place) for place in ticks)


def test_another_run_resets_the_range(curves):
    high = [{**row, "validation_jaccard": 0.95, "validation_dice": 0.97} for row in ROWS]
    curves.show_run(LOSSES, high, 5)
    curves.grab()  # the range is found when it is drawn
    assert curves.plots[METRICS].viewRange()[1][0] > 0.9
    curves.show_run(LOSSES, [], 5)
    curves.grab()
    low, upper = curves.plots[METRICS].viewRange()[1]
    assert low <= 0
    assert upper >= 1


def test_colors_follow_the_theme_and_differ_in_brightness_from_the_background(stage, curves):
    def lightness(color):
        return to_lab(np.array([[[int(color[k : k + 2], 16) for k in (1, 3, 5)]]], np.uint8))[0, 0, 0]

    for theme in ("dark", "light"):
        stage.viewer.theme = theme
        palette = stage.icons.palette
        assert curves.backgroundBrush().color().name() == palette.background
        for label, styles in PLOTS.items():
            colors = [style.dark if palette.dark else style.light for style in styles]
            assert [curve.opts["pen"].color().name() for curve in curves.curves[label]] == colors
            assert all(abs(lightness(color) - lightness(palette.background)) > 25 for color in colors)
            assert styles[0].symbol != styles[1].symbol


@pytest.mark.both_qts
def test_the_wheel_over_a_plot_scrolls_the_page(curves):
    place, ranges = QPointF(curves.viewport().rect().center()), [plot.viewRange() for plot in curves.plots.values()]
    where, turn, none = QPointF(curves.viewport().mapToGlobal(place.toPoint())), QPoint(0, -120), QPoint()
    buttons, keys, phase = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
    event = QWheelEvent(place, where, none, turn, buttons, keys, phase, False)
    QApplication.sendEvent(curves.viewport(), event)
    assert not event.isAccepted()  # Qt passes it on to the parent
    assert [plot.viewRange() for plot in curves.plots.values()] == ranges


@pytest.mark.both_qts
def test_curves_leave_nothing_behind(nothing_left, home, qtbot):
    stage = Stage(qtbot)
    stage.show(TrainingCurves(stage.icons)).show_run(LOSSES, ROWS, 5)
    stage.close()


def step(epoch, batch, loss, batches=10):
    return {"kind": "step", "epoch": epoch, "batch": batch, "batches": batches, "loss": loss}


def test_an_epoch_that_is_repeated_after_a_resume_replaces_its_points():
    trace = LossTrace()
    trace.add([step(0, b, 1.0) for b in range(1, 11)] + [step(1, b, 0.9) for b in range(1, 6)])
    trace.add([step(1, b, 0.5) for b in range(1, 4)])
    assert trace == LossTrace((np.arange(1, 14) / 10).tolist(), [1.0] * 10 + [0.5] * 3)


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
    assert trace == LossTrace()


def test_curves_of_a_run_folder(curves, tmp_path):
    run = FakeRun(tmp_path).add_epochs(3)
    trace = LossTrace()
    trace.add(json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines())
    table = csv.DictReader((run.path / "metrics.csv").read_text().splitlines())
    curves.show_run(trace, [{name: float(value) for name, value in row.items()} for row in table], run.epochs)
    assert len(points(curves, LOSS, 0)[0]) == 90
    assert len(points(curves, METRICS, 1)[0]) == 3
