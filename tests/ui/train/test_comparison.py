"""The comparison after a run: metrics with intervals, a recommendation, images that open, and a decision made once."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import re
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_runs import fake_run
from qtpy.QtCore import Qt, QTimer, QUrl
from qtpy.QtWidgets import QAbstractButton, QApplication, QLabel, QMessageBox
from stage import Stage

from conftest import PATIENCE_MS, wait_until_idle
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.runs.launching import read_run
from napari_melanoma.ui.train.comparison import RunComparisonView
from napari_melanoma.ui.train.run_text import describe_result
from napari_melanoma.ui.train.samples import ThumbnailButton, ThumbnailItem
from napari_melanoma.ui.widgets.charts import MetricChange, _axis_range, format_difference, interval_color


@pytest.fixture
def stage(home, qtbot):
    made = Stage(qtbot)
    yield made
    made.close()


@pytest.fixture
def gate(stage, qtbot):
    made = stage.show(RunComparisonView(stage.icons))
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
    found = {name: (text(gate, f"gate_{name}"), text(gate, f"gate_{name}_interval")) for name in ("old_JA", "new_JA")}
    assert found == {"old_JA": ("0.842", "0.812 to 0.872"), "new_JA": ("0.863", "0.833 to 0.893")}
    assert text(gate, "gate_difference_JA") == "+0.021"
    assert text(gate, "gate_difference_JA_interval") == "0.008 to 0.034"
    assert text(gate, "gate_difference_DI") == "+0.011"
    assert "37 images of 22 patients or lesions" in text(gate, "gate_counts")
    assert "95 %" in text(gate, "gate_counts")


def test_each_data_set_has_its_row(gate, run):
    show(gate, run.compare())
    rows = [(change.name, change.values_text, change.difference_text) for change in gate._forest.changes]
    assert rows == [
        ("all 37 images", "0.842 → 0.863", "+0.021 (+0.008 to +0.034)"),
        ("mine, 37 images", "0.842 → 0.863", "+0.021 (+0.008 to +0.034)"),
        ("isic2017 (replay data), 37 images", "0.842 → 0.840", "-0.002 (-0.008 to +0.004)"),
    ]
    assert "isic2017" in gate._forest.accessibleDescription()


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
    assert "was not compared" in text(gate, "gate_reason")
    assert text(gate, "gate_advice") == "No recommendation: the models were not compared."
    assert "was canceled or failed" in text(gate, "gate_reason")
    assert text(gate, "gate_reason").endswith(f"napari-melanoma compare {run.path}")
    assert not gate._metric_table.isVisible()
    assert gate.activate_button.isEnabled()


def test_images_that_changed_open_in_the_viewer(stage, gate, run, qtbot):
    show(gate, run.compare(shown=5))
    better, worse = gate.images["better"].buttons, gate.images["worse"].buttons
    assert [button.item.caption for button in better] == ["+0.10", "+0.08", "+0.07", "+0.06", "+0.04"]
    assert [button.item.caption for button in worse] == ["-0.10", "-0.08"]
    qtbot.waitUntil(lambda: all(button.image is not None for button in [*better, *worse]), timeout=PATIENCE_MS)
    with qtbot.waitSignal(gate.image_requested) as opened:
        stage.clicks(worse[1])
    assert opened.args == [str(run.path.parent / "photographs" / "worse1.png")]
    with qtbot.waitSignal(gate.image_requested):
        qtbot.keyClick(better[0], Qt.Key.Key_Space)
    assert "Jaccard 0.800 → 0.900" in better[0].accessibleName()


def test_a_name_is_not_markup(stage):
    picture = Path("50 % of #1's.png").absolute()
    button = ThumbnailButton(ThumbnailItem("+0.10", "a<b>c", Path("a.png"), picture), stage.icons)
    assert button.toolTip().startswith("a&lt;b&gt;c<br>")
    assert button.accessibleName() == "a<b>c"
    (address,) = re.findall("<img src='([^']+)'", button.toolTip())
    assert Path(QUrl(html.unescape(address)).toLocalFile()) == picture  # Qt loads only what is a local file
    button.deleteLater()


def test_no_changed_images(gate, run):
    show(gate, run.compare(shown=0))
    assert gate._headings["better"].text() == "Better: no images"
    assert gate._headings["worse"].text() == "Worse: no images"


def test_missing_thumbnails_leave_a_button(gate, run, qtbot):
    run.compare(shown=2)
    for picture in (run.path / "comparison" / "thumbnails").iterdir():
        picture.unlink()
    show(gate, run)
    wait_until_idle(qtbot, gate)
    button = gate.images["better"].buttons[0]
    assert button.image is None
    assert button.isEnabled()


def test_activating_is_requested_once_and_described(stage, gate, run, qtbot):
    show(gate, run.compare())
    wished = []
    gate.activate_requested.connect(wished.append)
    stage.clicks(gate.activate_button)
    gate.activate_button.click()
    gate.discard_button.click()
    assert wished == [run.path]
    assert text(gate, "gate_done") == "Activating ..."
    show(gate, run)  # the run is read again before it is done
    assert not gate.activate_button.isEnabled()
    show(gate, run.adopted("mine-2"))
    assert "In use as mine-2" in text(gate, "gate_done")
    assert "lesion-small is still in the list" in text(gate, "gate_done")
    assert "in the Lesion dock" in text(gate, "gate_done")
    assert not gate.activate_button.isEnabled()
    assert not gate.discard_button.isEnabled()


def test_a_slide_model_names_the_slide_dock(gate, run):
    config = run.path / "config.toml"
    config.write_text(f'modalities = ["slide"]\n{config.read_text()}')
    show(gate, run.compare().adopted("mine-2"))
    assert "select it as a model in the Slide dock" in text(gate, "gate_done")


def test_a_discarded_model_can_be_activated(stage, gate, run, qtbot):
    show(gate, run.compare())
    with qtbot.waitSignal(gate.discard_requested) as wished:
        stage.clicks(gate.discard_button)
    assert wished.args == [run.path]
    show(gate, run.discarded())
    assert text(gate, "gate_done").startswith("Discarded: the docks do not list the new model.")
    assert "lesion-small" not in text(gate, "gate_done")  # nobody knows which model is in use
    assert not gate.discard_button.isEnabled()
    with answering("activate_anyway_yes") as requested, qtbot.waitSignal(gate.activate_requested):
        stage.clicks(gate.activate_button)
    assert "This model was discarded." in requested[0]
    assert "Jaccard (IoU) 0.842 -> 0.863, difference +0.021" in requested[0]


@contextmanager
def answering(button):
    """Press a button of the next question, Cancel where none is named; gives what was asked."""
    requested = []

    def press():
        box = QApplication.activeModalWidget()
        requested.append(box.informativeText())
        chosen = box.findChild(QAbstractButton, button) if button else box.button(QMessageBox.StandardButton.Cancel)
        chosen.click()

    QTimer.singleShot(0, press)
    yield requested


FIGURE = "JA -0.030 (95 % interval -0.040 to -0.020)"


def test_using_a_model_against_the_recommendation_is_confirmed(stage, gate, run, qtbot):
    show(gate, run.compare(gain=-0.03, advice="keep", reason=f"The new model does worse: {FIGURE}."))
    with answering("") as requested, qtbot.assertNotEmitted(gate.activate_requested):
        stage.clicks(gate.activate_button)
    assert requested[0] == f"The recommendation is to keep lesion-small. The new model does worse: {FIGURE}."
    assert gate.activate_button.isEnabled(), "nothing was chosen"
    with answering("activate_anyway_yes"), qtbot.waitSignal(gate.activate_requested) as wished:
        stage.clicks(gate.activate_button)
    assert wished.args == [run.path]


def test_images_used_for_training_are_shown(gate, run):
    summary = "Left out: 3 of 40 images (3 patients or lesions), because 'lesion-small' was trained on them."
    run.compare()
    path = run.path / "comparison" / "comparison.json"
    values = json.loads(path.read_text())
    values["facts"]["training_overlap"] = {"summary": summary}
    path.write_text(json.dumps(values))
    show(gate, run)
    assert text(gate, "gate_counts").endswith(summary)


def test_a_failed_decision_can_be_repeated(stage, gate, run):
    show(gate, run.compare())
    stage.clicks(gate.activate_button)
    gate.reset_choice()
    assert gate.activate_button.isEnabled()
    assert text(gate, "gate_done") == ""


def test_another_run_resets_the_decision(stage, gate, run, tmp_path):
    show(gate, run.compare())
    stage.clicks(gate.activate_button)
    show(gate, fake_run(tmp_path, "finished", "run-other").compare(gain=-0.03, advice="keep", shown=1))
    assert gate.activate_button.isEnabled()
    assert text(gate, "gate_difference_JA") == "-0.030"
    assert len(gate.images["better"].buttons) == 1


def test_showing_again_creates_no_widgets(gate, run):
    show(gate, run.compare())
    before = gate.images["better"].buttons
    show(gate, run)
    assert gate.images["better"].buttons is before


def test_unknown_values_are_dashes(gate, run):
    report = read_run(run.compare().path)
    unknown = Estimate(math.nan, math.nan, math.nan, 1)
    metrics = {"JA": unknown}
    found = dataclasses.replace(
        report.comparison,
        new=dataclasses.replace(report.comparison.new, metrics=metrics),
        difference=metrics,
    )
    gate.show_comparison(dataclasses.replace(report, comparison=found))
    assert text(gate, "gate_new_JA") == "–"
    assert text(gate, "gate_new_DI") == "–"
    assert gate._forest.changes == ()
    gate.grab()  # and it can be drawn


def test_one_image_has_no_interval(gate, run):
    show(gate, run.compare(images=1, gain=-0.152, half=0.0))
    assert text(gate, "gate_difference_JA_interval") == "one image: no interval"
    assert gate._forest.changes[0].difference_text == "-0.152"
    assert interval_color(gate._forest.changes[0].difference, True) == ""


def test_it_fits_a_narrow_dock(stage, gate, tmp_path):
    for gain, advice in ((0.021, "activate"), (-0.099, "inconclusive")):
        run = fake_run(tmp_path, "finished", advice)
        show(gate, run.compare(shown=12, gain=gain, half=0.019, advice=advice))
        for theme in ("dark", "light"):
            stage.viewer.theme = theme
            assert stage.page.minimumSizeHint().width() <= stage.scroll.viewport().width()
            assert not gate.grab().isNull()


@pytest.mark.parametrize(
    ("low", "high", "meaning"),
    [(0.01, 0.03, "better"), (-0.03, -0.01, "worse"), (-0.01, 0.03, "nothing"), (0.0, 0.03, "nothing")],
)
def test_the_color_follows_the_interval(low, high, meaning):
    found = {dark: interval_color(Estimate((low + high) / 2, low, high, 9), dark) for dark in (True, False)}
    expected = {"better": ("#56b4e9", "#0066a8"), "worse": ("#e69f00", "#b35c00"), "nothing": ("", "")}
    assert (found[True], found[False]) == expected[meaning]


def test_the_axis_holds_every_interval_and_zero():
    changes = [
        MetricChange("a", 0.8, 0.9, Estimate(0.1, 0.05, 0.2, 9)),
        MetricChange("b", 0.8, 0.8, Estimate(0.0, 0.0, 0.0, 9)),
    ]
    low, high = _axis_range(changes)
    assert low < 0
    assert high > 0.2
    low, high = _axis_range(changes[1:])
    assert high - low >= 0.02  # of nothing, not much is made


def test_an_interval_without_limits_is_not_drawn():
    assert format_difference(Estimate(0.02, math.nan, math.nan, 1)) == "+0.020"


@pytest.mark.both_qts
def test_a_gate_leaves_nothing_behind(nothing_left, home, qtbot, run):
    stage = Stage(qtbot)
    gate = stage.show(RunComparisonView(stage.icons))
    show(gate, run.compare(shown=3))
    stage.close()


def test_classifiers_have_their_own_metrics(gate, run):
    show(gate, run.compare())
    assert gate.findChild(QLabel, "gate_AUC").isHidden()
    show(gate, run.compare_classes())
    assert gate.findChild(QLabel, "gate_JA").isHidden()
    assert not gate.findChild(QLabel, "gate_AUC").isHidden()
    assert (text(gate, "gate_old_AUC"), text(gate, "gate_new_AUC")) == ("0.800", "0.850")
    assert text(gate, "gate_difference_AUC") == "+0.050"
    assert text(gate, "gate_difference_AUC_interval") == "0.020 to 0.080"
    assert (text(gate, "gate_new_ECE"), text(gate, "gate_new_sensitivity")) == ("0.040", "–")
    assert [change.values_text for change in gate._forest.changes] == ["0.800 → 0.850"]
    assert gate._image_panel.isHidden()
    assert "test AUC 0.850 (+0.050 vs. old model)" in describe_result(read_run(run.path))


def test_a_classifier_without_comparison_names_its_report(gate, run):
    show(gate, run)
    assert "was not compared" in text(gate, "gate_reason")
    (run.path / "evaluation").mkdir()
    (run.path / "evaluation" / "summary.html").write_text("figures")
    show(gate, run)
    assert text(gate, "gate_reason").endswith("summary.html")
    assert "did not start from a classifier" in text(gate, "gate_reason")
