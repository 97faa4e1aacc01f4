"""The comparison after a run: a recommendation, metrics with intervals, its page, and a decision made once."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from fake_runs import fake_run
from message_boxes import answering
from napari.components import ViewerModel
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QLabel
from stage import Stage

from conftest import PATIENCE_MS, wait_until_idle
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.runs import acceptance
from napari_melanoma.runs.launching import read_run
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.train.comparison import RunComparisonView, format_metrics
from napari_melanoma.ui.train.run_text import describe_result
from napari_melanoma.ui.widgets.model_picker import ModelPicker
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import ThemedIcons


@pytest.fixture
def stage(home, qtbot):
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


def test_hidden_without_a_new_model(gate, tmp_path):
    assert not gate.isVisible()
    show(gate, fake_run(tmp_path, "running"))
    assert not gate.isVisible()


@pytest.mark.both_qts
def test_old_and_new_metrics_have_intervals(gate, run):
    show(gate, run.compare())
    assert text(gate, "gate_title") == "mine (new) compared with lesion-small (old)"
    table = text(gate, "gate_metrics")
    assert "<td>0.842</td><td>0.863</td><td>+0.021</td>" in table
    for interval in ("0.812 to 0.872", "0.833 to 0.893", "0.008 to 0.034"):
        assert interval in table
    assert "37 images of 22 patients or lesions; 95 % intervals" in text(gate, "gate_counts")


def test_a_recommendation_has_a_reason(gate, tmp_path):
    for advice, words in (
        ("activate", "Recommendation: use the new model."),
        ("keep", "Recommendation: keep the old model."),
        ("inconclusive", "No recommendation: the result is inconclusive."),
    ):
        run = fake_run(tmp_path, "finished", advice)
        show(gate, run.compare(advice=advice, reason="Only 3 images could be evaluated, and at least 5 are needed."))
        assert text(gate, "gate_advice") == words
        assert "at least 5 are needed" in text(gate, "gate_reason")
        assert gate.activate_button.isEnabled()
        assert gate.discard_button.isEnabled()  # the user decides, whatever the advice


def test_a_model_without_comparison(gate, run):
    show(gate, run)
    assert gate.isVisible()
    assert text(gate, "gate_advice") == "No recommendation: the models were not compared."
    assert "was canceled or failed" in text(gate, "gate_reason")
    assert text(gate, "gate_reason").endswith(f"napari-melanoma compare {run.path}")
    assert not gate.page_button.isVisible()
    assert gate.activate_button.isEnabled()


def test_the_page_of_the_comparison_opens(stage, gate, run, monkeypatch):
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


def test_a_classifier_that_started_from_no_classifier(gate, run):
    (run.path / "evaluation").mkdir()
    (run.path / "evaluation" / "summary.html").write_text("figures")
    show(gate, run)
    assert "did not start from a classifier" in text(gate, "gate_reason")


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
    assert "In use as mine-2: select it as a model in the Lesion dock" in text(gate, "gate_done")
    assert "lesion-small is still in the list" in text(gate, "gate_done")
    assert not gate.activate_button.isEnabled()
    assert not gate.discard_button.isEnabled()


def test_the_former_model_can_be_used_again(stage, gate, run, qtbot, monkeypatch):
    monkeypatch.setattr(models_changed(), "former", {})
    picker = ModelPicker(ThemedIcons(ViewerModel(), gate, Connections()))
    qtbot.addWidget(picker)
    picker.model = "mine-1"
    show(gate, run.compare().adopted("mine-2"))
    assert gate.return_button.text() == "Use lesion-small again", "the model that it was compared with"

    monkeypatch.setattr(picker, "can_use", lambda name: name in ("mine-1", "mine-2", DEFAULT_BUNDLE))
    models_changed().changed.emit("mine-2")
    show(gate, run)
    assert (picker.model, gate.return_button.text()) == ("mine-2", "Use mine-1 again"), "the model that was selected"
    with qtbot.waitSignal(gate.failed, timeout=PATIENCE_MS):
        stage.clicks(gate.return_button)  # mine-1 is not installed
    assert picker.model == "mine-2"

    models_changed().former["mine-2"] = DEFAULT_BUNDLE
    with qtbot.waitSignal(gate.decided, timeout=PATIENCE_MS) as decided:
        stage.clicks(gate.return_button)
    show(gate, run)
    assert (picker.model, decided.args[0]) == (DEFAULT_BUNDLE, f"Now in use again: {DEFAULT_BUNDLE}.")
    assert text(gate, "gate_done").startswith(f"Not in use: {DEFAULT_BUNDLE} is used again.")
    assert gate.activate_button.isEnabled()
    assert not gate.return_button.isVisible()


def test_a_slide_model_names_the_slide_dock(gate, run):
    config = run.path / "config.toml"
    config.write_text(f'modalities = ["slide"]\n{config.read_text()}')
    show(gate, run.compare().adopted("mine-2"))
    assert "select it as a model in the Slide dock" in text(gate, "gate_done")


def test_a_failed_decision_can_be_repeated(stage, gate, run, qtbot):
    show(gate, run.compare())
    with qtbot.waitSignal(gate.failed, timeout=PATIENCE_MS):  # the bundle of this run is empty
        stage.clicks(gate.activate_button)
    assert gate.activate_button.isEnabled()
    assert text(gate, "gate_done") == ""


def test_a_discarded_model_can_be_used_after_a_confirmation(stage, gate, run, qtbot):
    show(gate, run.compare())
    with qtbot.waitSignal(gate.decided, timeout=PATIENCE_MS):
        stage.clicks(gate.discard_button)
    show(gate, run)
    assert text(gate, "gate_done").startswith("Discarded: the docks do not list the new model.")
    assert "lesion-small" not in text(gate, "gate_done")  # nobody knows which model is in use
    assert not gate.discard_button.isEnabled()
    with answering("") as requested:
        stage.clicks(gate.activate_button)
    assert "This model was discarded." in requested[0]
    assert "Jaccard (IoU) 0.842 -> 0.863, difference +0.021" in requested[0]


def test_using_a_model_against_the_recommendation_is_confirmed(stage, gate, run, qtbot):
    figure = "JA -0.030 (95 % interval -0.040 to -0.020)"
    show(gate, run.compare(gain=-0.03, advice="keep", reason=f"The new model does worse: {figure}."))
    with answering("") as requested:
        stage.clicks(gate.activate_button)
    assert requested[0] == f"The recommendation is to keep lesion-small. The new model does worse: {figure}."
    assert gate.activate_button.isEnabled(), "nothing was chosen"
    with answering("replace"), qtbot.waitSignal(gate.failed, timeout=PATIENCE_MS):
        stage.clicks(gate.activate_button)


def test_using_a_model_that_was_not_measured_to_be_better_is_confirmed(stage, gate, run):
    show(gate, run.compare(advice="inconclusive", reason="Only 3 images could be evaluated."))
    with answering("") as requested:
        stage.clicks(gate.activate_button)
    assert requested[0] == "It was not measured to be better than lesion-small. Only 3 images could be evaluated."
    assert gate.activate_button.isEnabled(), "nothing was chosen"


def test_images_used_for_training_are_shown(gate, run):
    summary = "Left out: 3 of 40 images (3 patients or lesions), because 'lesion-small' was trained on them."
    run.compare()
    path = run.path / "comparison" / "comparison.json"
    values = json.loads(path.read_text())
    values["facts"]["training_overlap"] = {"summary": summary}
    path.write_text(json.dumps(values))
    show(gate, run)
    assert text(gate, "gate_counts").endswith(summary)


def test_unknown_values_are_dashes_and_one_image_has_no_interval(run, tmp_path):
    comparison = read_run(run.compare().path).comparison
    metrics = {"JA": Estimate(math.nan, math.nan, math.nan, 1)}
    new = dataclasses.replace(comparison.new, metrics=metrics)
    table = format_metrics(dataclasses.replace(comparison, new=new, difference=metrics))
    assert table.count("<td>–</td>") == 4
    single = fake_run(tmp_path, "finished", "single").compare(images=1, gain=-0.152, half=0.0)
    assert "one image: no interval" in format_metrics(read_run(single.path).comparison)


def test_it_fits_a_narrow_dock(stage, gate, tmp_path):
    for number, run in enumerate((fake_run(tmp_path, "finished", "a"), fake_run(tmp_path, "finished", "b"))):
        show(gate, run.compare() if number else run.compare_classes())
        for theme in ("dark", "light"):
            stage.viewer.theme = theme
            assert stage.page.minimumSizeHint().width() <= stage.scroll.viewport().width()
            assert not gate.grab().isNull()


@pytest.mark.both_qts
def test_a_gate_leaves_nothing_behind(nothing_left, home, qtbot, run):
    stage = Stage(qtbot)
    gate = stage.show(RunComparisonView())
    show(gate, run.compare())
    stage.close()


def test_classifiers_have_their_own_metrics(run):
    run.compare_classes()
    report = read_run(run.path)
    table = format_metrics(report.comparison)
    assert "Jaccard" not in table
    assert "<td>0.800</td><td>0.850</td><td>+0.050</td>" in table
    assert "0.020 to 0.080" in table
    assert "ECE (lower is better)" in table or "error (lower is better)" in table
    assert "test AUC 0.850 (+0.050 vs. old model)" in describe_result(report)
