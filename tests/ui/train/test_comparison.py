"""The comparison after a run and its curves: a recommendation, metrics with intervals, and a decision made once."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from fake_runs import fake_run
from message_boxes import answering
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QDesktopServices, QWheelEvent
from qtpy.QtWidgets import QApplication, QLabel
from stage import Stage

from conftest import PATIENCE_MS, wait_until_idle
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs import acceptance
from napari_melanoma.runs.launching import read_run
from napari_melanoma.training.monitor import LOSS_MONITOR
from napari_melanoma.ui.train.comparison import RunComparisonView, format_metrics
from napari_melanoma.ui.train.plot import MAX_POINTS, PLOTS, TrainingCurves
from napari_melanoma.ui.train.run_reader import LossTrace
from napari_melanoma.ui.train.run_text import describe_result
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.model_picker import ModelPicker, store_used_model
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import ThemedIcons


@pytest.fixture
def stage(nothing_left, home, qtbot):
    made = Stage(qtbot)
    yield made
    made.close()


@pytest.fixture
def gate(stage, qtbot):
    made = stage.show(RunComparisonView())
    yield made
    wait_until_idle(qtbot, made)


@pytest.fixture
def run(tmp_path):
    return fake_run(tmp_path, "finished")


def show(gate, run):
    gate.show_comparison(read_run(run.path))


def text(gate, name):
    return gate.findChild(QLabel, name).text()


@pytest.mark.both_qts
def test_metrics_have_intervals_and_a_recommendation_its_reason(stage, gate, tmp_path, monkeypatch):
    show(gate, fake_run(tmp_path, "running"))
    assert not gate.isVisible()
    words = {"keep": "keep the old model.", "inconclusive": "inconclusive.", "activate": "use the new model."}
    for advice, end in words.items():
        run = fake_run(tmp_path, "finished", advice)
        show(gate, run.compare(advice=advice, reason="Only 3 images could be evaluated."))
        assert text(gate, "gate_advice").endswith(end)
        assert "Only 3 images" in text(gate, "gate_reason")
        assert gate.activate_button.isEnabled(), "the user decides, whatever the advice"
        assert gate.discard_button.isEnabled(), advice
    table = text(gate, "gate_metrics")
    assert "<td>0.842</td><td>0.863</td><td>+0.021</td>" in table
    for interval in ("0.812 to 0.872", "0.833 to 0.893", "0.008 to 0.034"):
        assert interval in table
    assert "37 images of 22 patients or lesions; 95 % intervals" in text(gate, "gate_counts")
    # Images used for training are shown.
    summary = "Left out: 3 of 40 images, because 'lesion-small' was trained on them."
    path = run.path / "comparison" / "comparison.json"
    values = json.loads(path.read_text())
    values["facts"]["training_overlap"] = {"summary": summary}
    path.write_text(json.dumps(values))
    show(gate, run)
    assert text(gate, "gate_counts").endswith(summary)
    # Each model without a comparison has a reason, and pages are opened.
    run = fake_run(tmp_path, "finished", "alone")
    show(gate, run)
    assert gate.isVisible()
    assert text(gate, "gate_advice") == "No recommendation: the models were not compared."
    assert "was canceled or failed" in text(gate, "gate_reason")
    assert gate.activate_button.isEnabled()
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    pages = run.path / "evaluation" / "summary.html", run.path / "comparison" / "comparison.html"
    for page, name in zip(pages, ("Open test results", "Open comparison"), strict=True):
        page.parent.mkdir(exist_ok=True)
        page.write_text("a page", encoding="utf-8")
        show(gate, run)
        assert gate.page_button.text() == name
        stage.clicks(gate.page_button)
    assert opened == [page.as_posix() for page in pages]


def test_using_a_model_is_carried_out_once(stage, gate, run, qtbot, monkeypatch):
    used = []
    monkeypatch.setattr(acceptance, "activate_model", lambda path: used.append(path) or read_run(run.path))
    show(gate, run.compare())
    with qtbot.waitSignal(gate.decided, timeout=PATIENCE_MS) as decided:
        stage.clicks(gate.activate_button)
        assert text(gate, "gate_done") == "Activating ..."
        show(gate, run)  # the run is read again before it is done
        gate.activate_button.click()
        gate.discard_button.click()
    assert used == [run.path]
    assert "is in use" in decided.args[0]
    show(gate, run.adopted("mine-2"))
    assert "In use as mine-2, selected in the Lesion dock" in text(gate, "gate_done")
    assert not gate.activate_button.isEnabled()
    assert not gate.discard_button.isEnabled()
    # A model for slides names the other dock.
    config = run.path / "config.toml"
    config.write_text(f'modalities = ["slide"]\n{config.read_text()}')
    show(gate, run.compare().adopted("mine-2"))
    assert "selected in the Slide dock" in text(gate, "gate_done")


def test_docks_that_are_opened_later_select_the_model(stage, gate, run, qtbot, monkeypatch):
    monkeypatch.setattr(acceptance, "activate_model", lambda path: find_bundle("lesion-phone"))
    show(gate, run.compare())
    with qtbot.waitSignal(gate.decided, timeout=PATIENCE_MS):
        stage.clicks(gate.activate_button)
    settings = DockSettings()
    assert (settings.classifier, settings.options.model) == ("lesion-phone", DEFAULT_BUNDLE)
    # Returning to the former model changes the docks that would select the new one.
    store_used_model("melanoma-small", "another")
    assert settings.classifier == "lesion-phone"
    store_used_model("melanoma-small", "lesion-phone")
    assert settings.classifier == "melanoma-small"


def test_the_former_model_can_be_used_again(stage, gate, run, qtbot, monkeypatch):
    monkeypatch.setattr(user_data(), "former", defaultdict(WeakKeyDictionary))
    picker = ModelPicker(ThemedIcons(ViewerModel(), gate, Connections()))
    qtbot.addWidget(picker)
    picker.model = "mine-1"
    show(gate, run.compare().adopted("mine-2"))
    assert gate.return_button.text() == "Use lesion-small again", "the model that it was compared with"

    monkeypatch.setattr(picker, "can_use", lambda name: name in ("mine-1", "mine-2", DEFAULT_BUNDLE))
    user_data().models_changed.emit("mine-2")
    show(gate, run)
    assert (picker.model, gate.return_button.text()) == ("mine-2", "Use mine-1 again"), "the model that was selected"
    with qtbot.waitSignal(gate.failed, timeout=PATIENCE_MS):
        stage.clicks(gate.return_button)  # mine-1 is not installed
    assert picker.model == "mine-2"

    # Each dock returns to what it had, and one that has another model keeps it.
    monkeypatch.setattr(user_data(), "former", defaultdict(WeakKeyDictionary))
    pickers = []
    for model in (DEFAULT_BUNDLE, "lesion-phone", "mine-2", "lesion-phone"):
        pickers.append(ModelPicker(ThemedIcons(ViewerModel(), gate, Connections())))
        qtbot.addWidget(pickers[-1])
        pickers[-1].model = model
        usable = (DEFAULT_BUNDLE, "lesion-phone", "mine-2")
        monkeypatch.setattr(pickers[-1], "can_use", usable.__contains__)
    user_data().models_changed.emit("mine-2")
    pickers[3].model = "lesion-click"
    show(gate, run)
    with qtbot.waitSignal(gate.decided, timeout=PATIENCE_MS) as decided:
        stage.clicks(gate.return_button)
    show(gate, run)
    models = [one.model for one in pickers]
    assert models == [DEFAULT_BUNDLE, "lesion-phone", "lesion-small", "lesion-click"]
    assert decided.args[0] == "Now in use again: the former model of each dock."
    assert text(gate, "gate_done").startswith("Not in use: the former model of each dock is used again.")
    assert gate.activate_button.isEnabled()
    assert not gate.return_button.isVisible()
    # One model has its name.
    show(gate, run.adopted("mine-2"))
    with qtbot.waitSignal(gate.decided, timeout=PATIENCE_MS) as decided:
        stage.clicks(gate.return_button)
    show(gate, run)
    assert decided.args[0] == "Now in use again: lesion-small."
    assert text(gate, "gate_done").startswith("Not in use: lesion-small is used again.")


def test_a_failed_decision_can_be_repeated_and_a_discarded_model_used_after_confirmation(stage, gate, run, qtbot):
    show(gate, run.compare())
    with qtbot.waitSignal(gate.failed, timeout=PATIENCE_MS):  # the bundle of this run is empty
        stage.clicks(gate.activate_button)
    wait_until_idle(qtbot, gate)
    assert gate.activate_button.isEnabled()
    assert text(gate, "gate_done") == ""
    with qtbot.waitSignal(gate.decided, timeout=PATIENCE_MS):
        stage.clicks(gate.discard_button)
    wait_until_idle(qtbot, gate)
    show(gate, run)
    assert text(gate, "gate_done").startswith("Discarded: the docks do not list the new model.")
    assert not gate.discard_button.isEnabled()
    with answering("") as requested:
        stage.clicks(gate.activate_button)
    assert "This model was discarded." in requested[0]
    assert "Jaccard (IoU) 0.842 -> 0.863, difference +0.021" in requested[0]


def test_using_a_model_that_was_not_measured_to_be_better_is_confirmed(stage, gate, run, qtbot):
    figure = "JA -0.030 (95 % interval -0.040 to -0.020)"
    show(gate, run.compare(gain=-0.03, advice="keep", reason=f"The new model does worse: {figure}."))
    with answering("") as requested:
        stage.clicks(gate.activate_button)
    assert requested[0] == f"The recommendation is to keep lesion-small. The new model does worse: {figure}."
    assert gate.activate_button.isEnabled(), "nothing was chosen"
    with answering("replace"), qtbot.waitSignal(gate.failed, timeout=PATIENCE_MS):
        stage.clicks(gate.activate_button)
    show(gate, run.compare(advice="inconclusive", reason="Only 3 images could be evaluated."))
    with answering("") as requested:
        stage.clicks(gate.activate_button)
    assert requested[0] == "It was not measured to be better than lesion-small. Only 3 images could be evaluated."
    assert gate.activate_button.isEnabled(), "nothing was chosen"


def test_metrics_of_classifiers_unknown_values_and_one_image(run, tmp_path):
    comparison = read_run(run.compare().path).comparison
    metrics = {"JA": Estimate(math.nan, math.nan, math.nan, 1)}
    new = dataclasses.replace(comparison.new, metrics=metrics)
    table = format_metrics(dataclasses.replace(comparison, new=new, difference=metrics))
    assert table.count("<td>–</td>") == 4
    single = fake_run(tmp_path, "finished", "single").compare(images=1, gain=-0.152, half=0.0)
    assert "one image: no interval" in format_metrics(read_run(single.path).comparison)
    # Classifiers have their own metrics.
    run = fake_run(tmp_path, "finished", "classes")
    run.compare_classes()
    report = read_run(run.path)
    table = format_metrics(report.comparison)
    assert "Jaccard" not in table
    assert "<td>0.800</td><td>0.850</td><td>+0.050</td>" in table
    assert "0.020 to 0.080" in table
    assert "ECE (lower is better)" in table or "error (lower is better)" in table
    assert "test AUC 0.850 (+0.050 vs. old model)" in describe_result(report)


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


def test_curves_show_losses_metrics_and_the_best_epoch(curves):
    assert points(curves, LOSS, 0) == (LOSSES.epochs, LOSSES.values)
    assert points(curves, LOSS, 1)[0] == [1, 2, 3]  # an epoch is measured at its end
    assert points(curves, METRICS, 0)[1] == [0.5, 0.7, 0.65]
    assert points(curves, METRICS, 1)[1] == pytest.approx([0.6, 0.8, 0.75])
    (low, high), _ = curves.plots[LOSS].viewRange()
    assert low <= 0
    assert high >= 5  # of the whole run, so that it shows the progress
    for text in ("training 0.200", "validation 0.400"):
        assert text in legend(curves, LOSS)
    for text in ("Jaccard 0.650", "Dice 0.750"):
        assert text in legend(curves, METRICS)
    curves.show_run(LossTrace(), [], 5)
    assert "training –" in legend(curves, LOSS)
    # The best epoch is that of the monitor.
    for monitor, epoch in ((None, 2.0), (LOSS_MONITOR, 3.0)):
        curves.show_run(LOSSES, ROWS, 5, monitor)
        assert {line.value() for line in curves.kept.values() if line.isVisible()} == {epoch}
    # Epochs without a number are left out.
    broken = {"epoch": 3, "validation_loss": math.nan, "validation_jaccard": math.nan, "validation_dice": math.nan}
    curves.show_run(LOSSES, [*ROWS, broken], 5)
    assert points(curves, METRICS, 0)[0] == [1, 2, 3]
    # A run of few steps shows the loss of its epochs.
    rows = [
        {"epoch": epoch, "loss": 0.4 - 0.1 * epoch, "validation_loss": 0.5, "validation_jaccard": 0.6}
        for epoch in range(3)
    ]
    curves.show_run(LossTrace([2.0], [0.35]), rows, 3)
    assert points(curves, LOSS, 0) == ([1, 2, 3], pytest.approx([0.4, 0.3, 0.2]))
    # Many steps become few points of the same mean.
    count = 10 * MAX_POINTS + 7
    curves.show_run(LossTrace(np.linspace(0, 200, count).tolist(), np.linspace(1, 0, count).tolist()), [], 200)
    epochs, values = points(curves, LOSS, 0)
    assert MAX_POINTS / 2 <= len(epochs) == len(values) <= MAX_POINTS
    assert epochs == sorted(epochs)
    assert epochs[-1] > 199
    assert np.mean(values) == pytest.approx(0.5, abs=0.01)
    # A single point is visible.
    curves.show_run(LossTrace([0.5], [0.35]), [], 3)
    assert curves.curves[LOSS][0].opts["symbol"] == "o"
    curves.show_run(LOSSES, [], 3)
    assert curves.curves[LOSS][0].opts["symbol"] is None
    # Another run resets the range.
    high = [{**row, "validation_jaccard": 0.95, "validation_dice": 0.97} for row in ROWS]
    curves.show_run(LOSSES, high, 5)
    curves.grab()  # the range is found when it is drawn
    assert curves.plots[METRICS].viewRange()[1][0] > 0.9
    curves.show_run(LOSSES, [], 5)
    curves.grab()
    low, upper = curves.plots[METRICS].viewRange()[1]
    assert low <= 0
    assert upper >= 1


@pytest.mark.both_qts
def test_the_wheel_over_a_plot_scrolls_the_page(curves):
    place, ranges = QPointF(curves.viewport().rect().center()), [plot.viewRange() for plot in curves.plots.values()]
    where, turn, none = QPointF(curves.viewport().mapToGlobal(place.toPoint())), QPoint(0, -120), QPoint()
    buttons, keys, phase = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
    event = QWheelEvent(place, where, none, turn, buttons, keys, phase, False)
    QApplication.sendEvent(curves.viewport(), event)
    assert not event.isAccepted()  # Qt passes it on to the parent
    assert [plot.viewRange() for plot in curves.plots.values()] == ranges


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
