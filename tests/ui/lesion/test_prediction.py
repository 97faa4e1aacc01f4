"""Predictions in the Lesion dock through its controls."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from fake_models import add_classifier, make_models
from fake_open_case import FakeOpenCase, make_case
from fake_slides import draw_slide
from lesion_fixtures import FIXTURES
from napari.layers import Layer
from napari.utils.notifications import notification_manager
from PIL import Image
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtGui import QPalette
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QCheckBox, QComboBox, QLabel, QLineEdit, QScrollArea, QSlider, QWidget
from steady import SETTLE_MS, list_moved_controls

from conftest import PATIENCE_MS, photograph
from napari_melanoma.classification.prediction import ClassPrediction
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.io.results import read_table, write_mask
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.ui.sections.measurements import MeasurementTable
from napari_melanoma.ui.sections.prediction import NOT_ANALYZED, OUTDATED, PredictionPanel
from napari_melanoma.ui.session.saved_result import read_saved_result
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.viewer.slide_layers import read_slide_layers
from napari_melanoma.ui.widgets.dock_layout import AnswerCard
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.patient_form import PatientForm

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)
models = pytest.fixture(make_models)

pytestmark = pytest.mark.usefixtures("models")


def prediction_of(person):
    return person.dock.predictions.current_prediction(person.dock.picker.session)


def panel_of(person):
    return person.dock.findChild(PredictionPanel)


def text_of(person, name):
    label = person.finds(QLabel, name)
    return label.text() if label.isVisibleTo(person.dock) else ""


def answer_of(person):
    return person.finds(AnswerCard, "prediction_summary")


def verdict_of(person):
    return answer_of(person).headline


def types(person, text, name="patient_age", wait=True):
    line = person.finds(QLineEdit, name)
    line.selectAll()
    person.qtbot.keyClick(line, Qt.Key.Key_Delete)
    person.qtbot.keyClicks(line, text)
    if wait:
        person.waits()


def chooses(person, word, name="patient_sex"):
    combo = person.finds(QComboBox, name)
    place = combo.findData(word)
    assert place >= 0, word
    combo.setCurrentIndex(place)
    combo.activated.emit(place)
    person.waits()


def analyzed(person, name="mole", **options):
    image = person.opens(name, **options)
    person.analyses()
    return image


def chooses_model(person, name, wait=True):
    combo = person.finds(QComboBox, "classifier")
    place = combo.findData(name)
    assert place >= 0, name
    combo.setCurrentIndex(place)
    combo.activated.emit(place)
    if wait:
        person.waits()


def test_a_prediction_with_patient_data_of_the_user_or_of_a_case(person):
    analyzed(person)
    before = prediction_of(person)
    low, high = before.interval
    expected = f"threshold (sensitivity 90 %): melanoma {before.probability:.2f}, {low:.2f} to {high:.2f}"
    assert verdict_of(person).endswith(expected)
    assert "for melanoma: sensitivity 91 % (86–95)" in text_of(person, "prediction_threshold")
    rows = {row.name: row for row in panel_of(person).classes.rows}
    assert rows["Melanoma"].value == pytest.approx(before.probability)
    assert (rows["Melanoma"].interval, rows["Melanoma"].mark) == (before.interval, 0.2)
    nearest = panel_of(person).nearest
    assert nearest.topLevelItemCount() == 3
    assert nearest.columnWidth(0) >= nearest.fontMetrics().horizontalAdvance(nearest.topLevelItem(0).text(0))
    assert text_of(person, "prediction_validity") == ""
    # Patient data change it; an impossible age is reported and counts as unknown.
    types(person, "80")
    after = prediction_of(person)
    assert after.probability > before.probability + 0.1
    (age, sex) = panel_of(person).contributions.rows
    assert (age.name, age.text) == ("Age 80", f"{after.probability - before.probability:+.2f}")
    assert (sex.name, sex.text, sex.value) == ("Sex", "unknown", None)
    chooses(person, "male")
    assert prediction_of(person).probability > after.probability
    types(person, "")
    chooses(person, "")
    assert prediction_of(person).probability == pytest.approx(before.probability)
    types(person, "800")
    assert "expected a number from 0 to 120" in text_of(person, "patient_age_fault")
    assert prediction_of(person).probability == pytest.approx(before.probability)
    types(person, "")
    # A case fills the form, and its values can be edited.
    image, path = person.dock.picker.session.image, Path("mole.png").absolute()
    image.metadata = {METADATA_KEY: {**image.metadata[METADATA_KEY], "path": path}}
    patient = {"patient_id": "P-0042", "age": "30", "sex": "female"}
    open_case = FakeOpenCase(Workspace.of(person.viewer), make_case(path, patient))
    person.waits()
    assert person.finds(QLineEdit, "patient_age").text() == "30"
    assert "From case P-0042." in text_of(person, "form_origin")
    young = prediction_of(person)
    # A value that the model does not use leaves the prediction as it is, without a request.
    requests = []
    person.dock.predictions.queue.started.connect(requests.append)
    open_case.edit(make_case(path, patient, site="torso"))
    unused = prediction_of(person)
    assert unused is not None, "not outdated"
    assert unused.probabilities == young.probabilities
    assert "Not used by this model: body site." in text_of(person, "prediction_without_metadata_text")
    person.waits()
    assert not requests
    types(person, "90")
    assert requests
    assert "the case is not changed" in text_of(person, "form_origin")
    assert prediction_of(person).probability > young.probability
    open_case.edit(make_case(path, {**patient, "age": "31", "sex": "male"}))
    person.waits()
    assert person.dock.findChild(PatientForm).row == {"age": "90", "sex": "male"}
    person.clicks("form_back")
    person.waits()
    assert person.dock.findChild(PatientForm).row == {"age": "31", "sex": "male"}
    open_case.close()
    person.waits()
    assert person.dock.findChild(PatientForm).row == {}


def test_the_dock_may_be_refreshed_before_a_removed_photograph_is_no_longer_listed(person):
    """As other docks do that are told of a removed layer first."""
    analyzed(person)
    listed, removed = [], person.viewer.layers.events.removed

    def refresh(event):
        listed.append(person.dock.picker.session is not None)
        person.dock._refresh()

    removed.connect(refresh, position="first")
    person.viewer.layers.remove(person.viewer.layers["mole"])
    removed.disconnect(refresh)
    assert any(listed)
    assert person.dock.welcome.isVisibleTo(person.dock)


@pytest.mark.both_qts
def test_results_are_hidden_with_their_photograph_and_while_a_slide_covers_it(person, tmp_path):
    analyzed(person)
    dock, layers = person.dock, person.viewer.layers
    parts = panel_of(person).classes, dock.findChild(MeasurementTable)
    names = ("primary", "save", "add_correction", "reject")
    buttons = [dock.findChild(QAbstractButton, name) for name in names]

    def opens(path):
        for data, attributes, kind in read_slide_layers(path):
            person.viewer.add_layer(Layer.create(data, attributes, kind))

    layers["mole"].visible = False  # as a slide does that is opened
    assert not [part for part in parts if part.isVisibleTo(dock)]
    assert text_of(person, "photograph_hidden").startswith("'mole' is hidden: its results are not shown.")
    dock.hidden_notice.linkActivated.emit("show")
    assert layers["mole"].visible
    for path in (draw_slide(tmp_path / "one.tif"), tmp_path / "one.tif"):  # opened without the Slide dock, and again
        opens(path)
        assert not [part for part in parts if part.isVisibleTo(dock)]
        assert text_of(person, "photograph_hidden").startswith("'mole' is behind a slide: its results are not shown.")
        tips = {button.toolTip() for button in buttons if not button.isEnabled()}
        assert tips == {"'mole' is behind a slide. Show the photograph first."}
        assert not [button.objectName() for button in buttons if button.isEnabled()]
        layers["one"].visible = False
        assert [button.objectName() for button in buttons if button.isEnabled()] == [*names]
        assert all(part.isVisibleTo(dock) for part in parts)
        layers["one"].visible = True
        assert not [part for part in parts if part.isVisibleTo(dock)]
        dock.hidden_notice.linkActivated.emit("show")
        assert not layers["one"].visible
        assert all(part.isVisibleTo(dock) for part in parts)
        layers.remove("one")
    opens(tmp_path / "one.tif")
    layers.move(layers.index("one"), 0)
    assert all(part.isVisibleTo(dock) for part in parts), "the photograph covers the slide"


def test_the_prediction_follows_the_mask_and_is_outdated_from_its_edit_on(person):
    analyzed(person)
    before = prediction_of(person)
    person.draws(person.layer("mask"), [(10, 10), (10, 100)], brush=20)
    person.waits()
    after = prediction_of(person)
    assert after.probability > before.probability
    person.layer("mask").undo()
    person.waits()
    assert prediction_of(person).probability == pytest.approx(before.probability)
    # It is outdated as soon as the threshold changes.
    section = panel_of(person)
    worker = psutil.Process(prediction_of(person).provenance["pid"])
    worker.suspend()
    try:
        person.finds(QSlider, "threshold_slider").setValue(95)
        assert not section.details.isEnabled()
        digest = person.lesion.mask_digest
        person.qtbot.waitUntil(lambda: person.lesion.mask_digest != digest, timeout=PATIENCE_MS)
        person.qtbot.waitUntil(lambda: answer_of(person).details.startswith(OUTDATED))
        assert not section.details.isEnabled()
        headline = person.finds(QLabel, "prediction_summary_headline")
        assert headline.palette().color(QPalette.ColorRole.WindowText).name() == person.dock.icons.palette.faint
    finally:
        worker.resume()
    person.waits()
    assert prediction_of(person) is not None
    person.qtbot.waitUntil(section.details.isEnabled, timeout=PATIENCE_MS)
    assert OUTDATED not in answer_of(person).details
    # It is outdated from an edit of the mask until the lesion follows, too.
    session, controller = person.dock.picker.session, person.dock.controller
    before, begun, goes_on = prediction_of(person), Event(), Event()

    def store_slowly(run):
        begun.set()
        goes_on.wait(PATIENCE_MS / 1000)

    controller.store("slow", session, lambda lesion: store_slowly)
    person.qtbot.waitUntil(begun.is_set, timeout=PATIENCE_MS)
    try:
        person.layer("mask").paint((10, 10), 1)
        assert not section.details.isEnabled()
        controller.watcher.flush()
        assert not section.details.isEnabled(), "the lesion is stored before it follows"
        assert prediction_of(person) == before
    finally:
        goes_on.set()
    person.waits()
    person.qtbot.waitUntil(section.details.isEnabled, timeout=PATIENCE_MS)
    assert prediction_of(person).probability != before.probability


def test_no_control_moves_while_a_photograph_is_analyzed_corrected_and_described(window, models):
    person, dock = window, window.dock
    person.opens()
    place = next(iter(dock.list_places()))

    def draws():
        person.draws(person.layer("mask"), [(10, 10), (10, 100)], brush=20)
        person.waits()

    def find_tools():
        return dock.hosted.sections["Mask"].frame, dock.save_bar, dock.hosted.sections["Corrections"].frame

    states = {
        "opened": lambda: None,
        "analyzed": person.analyses,
        "corrected": draws,
        "reset": lambda: (person.clicks("revert"), person.waits()),
        "the age": lambda: types(person, "54"),
        "no age": lambda: types(person, ""),
    }
    moved = list_moved_controls(dock, states, person.waits, find_tools)
    worker = psutil.Process(prediction_of(person).provenance["pid"])

    def outdated():
        worker.suspend()
        person.finds(QSlider, "threshold_slider").setValue(95)
        person.qtbot.waitUntil(lambda: answer_of(person).details.startswith(OUTDATED), timeout=PATIENCE_MS)

    try:
        moved += list_moved_controls(dock, {"current": lambda: None, "outdated": outdated})
    finally:
        worker.resume()
    person.waits()
    assert not moved, moved
    assert place == "Mask", "results below its tools change their height"
    dock.window().resize(1366, 768)
    QTest.qWait(SETTLE_MS)
    for page, names in (
        (dock, ("primary", "save")),
        (dock.findChild(QScrollArea, "lesion_scroll").viewport(), ("paint", "erase", "threshold_slider")),
    ):
        for name in names:
            tool = person.finds(QWidget, name)
            assert page.rect().contains(QRect(tool.mapTo(page, QPoint()), tool.size())), name
    answer = answer_of(person)  # the section is below the fold
    assert dock.rect().contains(QRect(answer.mapTo(dock, QPoint()), answer.size()))


@pytest.mark.path
def test_the_heatmap_is_a_layer_that_follows_prediction_model_and_class(person, models):
    add_classifier(models, "three-model", classes=["nevus", "other", "melanoma"])
    image = analyzed(person, scale=(20.0, 20.0), units=("um", "um"), translate=(100.0, 50.0))
    person.finds(QCheckBox, "heatmap").click()
    person.waits()
    layer = person.layer("heatmap")
    assert np.allclose(layer.scale, image.scale)
    assert np.allclose(layer.translate, image.translate)
    assert layer.units == image.units
    assert np.array_equal(layer.data > 0, person.mask)
    person.draws(person.layer("mask"), [(10, 10), (10, 60)])
    person.waits()
    assert layer.data[10, 30] == 1
    person.dock.classifier.refresh()
    chooses_model(person, "three-model")
    chooses(person, "nevus", "heatmap_class")
    assert person.layer("heatmap").data.max() == 0.25
    chooses_model(person, "melanoma-test")
    assert person.layer("heatmap").data.max() == 1
    # A method that is not supported is reported once, and the heatmap of another method is not shown for it.
    chooses(person, "other", "heatmap_class")
    chooses(person, "occlusion", "heatmap_method")
    assert "no map for occlusion" in notification_manager.records[-1].message
    assert text_of(person, "heatmap_notice").startswith("This network has no map for occlusion. <a href='heatmap'")
    assert not person.layer("heatmap").visible
    # Another method removes the error.
    chooses(person, "cam", "heatmap_method")
    assert person.layer("heatmap").visible


def test_patient_data_belong_to_one_photograph_and_a_mask_without_lesion_has_no_prediction(person):
    analyzed(person, "one")
    types(person, "80")
    old = prediction_of(person)
    two = person.opens("two", photograph(((60, 80, 12),)))
    person.viewer.layers.selection.active = two
    assert person.finds(QLineEdit, "patient_age").text() == ""
    assert text_of(person, "prediction_hint") == NOT_ANALYZED
    person.clicks("primary")
    person.waits()
    assert prediction_of(person).probability < old.probability
    person.dock.picker.step(-1)
    assert person.finds(QLineEdit, "patient_age").text() == "80"
    assert prediction_of(person) == old
    analyzed(person, "none", rgb=np.full((60, 80, 3), 230, np.uint8))
    assert "There is no lesion to look at" in text_of(person, "prediction_hint")


def test_predictions_can_be_interrupted(person, models, client, qtbot):
    add_classifier(models, "slow-model")
    analyzed(person)
    person.dock.classifier.refresh()
    # A worker that stopped is restarted.
    first = prediction_of(person)
    os.kill(client.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    qtbot.waitUntil(lambda: client.pid is None, timeout=PATIENCE_MS)
    types(person, "80")
    assert prediction_of(person).provenance["pid"] != first.provenance["pid"]
    # A prediction can be canceled, and stays so.
    chooses_model(person, "slow-model", wait=False)
    qtbot.waitUntil(lambda: "Loading the model" in person.dock.status.text, timeout=PATIENCE_MS)
    person.clicks("cancel")
    person.waits()
    assert "There is no prediction for this lesion" in text_of(person, "prediction_hint")
    assert "Predicted in" not in person.dock.status.text
    # It stays canceled, also if another photograph is shown in between.
    other = person.opens("other")
    person.viewer.layers.selection.active = other
    person.dock.picker.step(-1)
    person.waits()
    assert "There is no prediction for this lesion" in text_of(person, "prediction_hint")
    person.viewer.layers.remove(other)
    person.finds(QLabel, "prediction_hint").linkActivated.emit("again")
    qtbot.waitUntil(lambda: "Loading the model" in person.dock.status.text, timeout=PATIENCE_MS)
    person.clicks("cancel")
    chooses_model(person, "melanoma-test")
    assert prediction_of(person) is not None
    # Its photograph is removed.
    chooses_model(person, "slow-model", wait=False)
    person.viewer.layers.remove(person.viewer.layers["mole"])
    person.dock.predictions.queue.cancel()
    person.waits()
    assert person.dock.welcome.isVisibleTo(person.dock)
    person.viewer.layers.clear()
    # The dock is closed.
    chooses_model(person, "melanoma-test")
    analyzed(person)
    chooses_model(person, "slow-model", wait=False)
    qtbot.waitUntil(lambda: not tasks.is_idle(person.dock.predictions.queue), timeout=PATIENCE_MS)
    person.closes()


def test_without_a_classifier_the_section_says_how_to_get_one(person, home, monkeypatch):
    person.waits()  # the models are listed once the dock is drawn
    person.dock.classifier.model = "melanoma-test"
    analyzed(person)
    chooses_model(person, "")
    assert prediction_of(person) is None
    assert "Select a <i>classifier</i>" in text_of(person, "prediction_hint")
    assert not person.dock.findChild(PatientForm).isVisibleTo(person.dock)
    # A hint is shown if none is installed.
    combo = person.finds(QComboBox, "classifier")
    person.dock.classifier.model = ""
    for place in range(combo.count() - 1, 0, -1):
        combo.removeItem(place)
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.user_models_folder", lambda: home / "nothing")
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.SHIPPED_FOLDER", home / "nothing")
    person.dock.classifier.refresh()
    person.analyses()
    assert combo.currentText() == "none installed"
    assert "is installed" in text_of(person, "prediction_hint")
    assert "models import" in text_of(person, "prediction_hint")


def test_an_out_of_distribution_image_gives_a_warning(person, models):
    add_classifier(models, "novel-model")
    person.dock.classifier.refresh()
    analyzed(person)
    chooses_model(person, "novel-model")
    section = panel_of(person)
    assert verdict_of(person).startswith("Not valid: the image is out of distribution")
    assert not section.classes.isVisibleTo(section)
    seen = " ".join(one.text() for one in section.findChildren(QLabel) if one.isVisibleTo(section)).lower()
    assert not [word for word in ("nevus", "rarely", "below", "mask", "not valid") if word in seen]
    section.validity.show_anyway_button.click()
    assert section.classes.isVisibleTo(section)
    chooses_model(person, "melanoma-test")
    assert not verdict_of(person).startswith("Not valid")
    chooses_model(person, "novel-model")
    assert not section.classes.isVisibleTo(section)  # hidden again
    section.validity.show_anyway_button.click()
    analyzed(person, name="other", rgb=photograph(lesions=((60, 80, 45),)))
    assert not panel_of(person).classes.isVisibleTo(person.dock), "the numbers of another photograph"


def test_the_prediction_is_saved_as_on_the_command_line_and_restored_with_its_patient_data(person, models, tmp_path):
    person.dock.settings.folder = tmp_path
    analyzed(person)
    types(person, "80")
    person.finds(QCheckBox, "heatmap").click()
    person.clicks("save")
    person.waits()
    found, about = prediction_of(person), json.loads((tmp_path / "mole" / "result.json").read_text())
    assert ClassPrediction.from_json(about["prediction"]) == found
    assert about["form"] == {"age": "80"}
    (row,) = read_table(tmp_path / "results.csv")
    assert float(row["probability_melanoma"]) == pytest.approx(found.probability)
    assert (row["prediction_set"], row["inconclusive"], row["classifier"]) == ("other|melanoma", "1", "melanoma-test")
    assert float(row["area_px"]) == person.mask.sum()
    with Image.open(tmp_path / "mole" / "heatmap.png") as drawn:
        assert drawn.size == person.mask.shape[::-1]
    person.finds(QCheckBox, "heatmap").click()
    person.draws(person.layer("mask"), [(10, 10), (10, 100)])
    person.clicks("save")  # waits for the prediction for the edited mask
    person.waits()
    about = json.loads((tmp_path / "mole" / "result.json").read_text())
    assert ClassPrediction.from_json(about["prediction"]) == prediction_of(person) != found
    assert not (tmp_path / "mole" / "heatmap.png").exists()
    chooses_model(person, "")
    person.clicks("save")
    person.waits()
    assert "prediction" not in json.loads((tmp_path / "mole" / "result.json").read_text())
    assert read_table(tmp_path / "results.csv")[0]["classifier"] == ""
    # It is restored when the photograph is opened again; a mask that a user has made would be predicted anew.
    person.clicks("revert")
    chooses_model(person, "melanoma-test")
    person.clicks("save")
    person.waits()
    verdict, path = verdict_of(person), tmp_path / "mole" / "result.json"
    about = json.loads(path.read_text())
    about["prediction"]["model"]["fingerprint"] = find_bundle("melanoma-test").fingerprint
    path.write_text(json.dumps(about))
    person.viewer.layers.clear()
    person.waits()
    # That of another image of the same name is ignored.
    person.opens(rgb=photograph(((60, 80, 12),)))
    person.waits()
    assert person.finds(QLineEdit, "patient_age").text() == ""
    assert verdict_of(person) == ""
    person.viewer.layers.clear()
    person.waits()
    # The mask of the same image is shown, and predicted again with its patient data.
    person.opens()
    person.waits()
    assert person.finds(QLineEdit, "patient_age").text() == "80"
    assert (verdict_of(person), text_of(person, "prediction_saved")) == (verdict, "")
    # Without its mask, the saved prediction is shown, and outdated by an edit.
    write_mask(tmp_path / "mole" / "mask.png", np.ones((6, 8), bool))
    person.viewer.layers.clear()
    person.waits()
    person.opens()
    person.waits()
    assert person.finds(QLineEdit, "patient_age").text() == "80"
    assert (verdict_of(person), text_of(person, "prediction_saved")) == (verdict, "Saved earlier.")
    assert "for a prediction of the segmented lesion" in text_of(person, "prediction_hint")
    types(person, "30")
    assert text_of(person, "prediction_saved") == "Saved earlier. Outdated. Changed since then: the patient data."
    person.analyses()
    assert (text_of(person, "prediction_saved"), text_of(person, "prediction_hint")) == ("", "")
    assert verdict_of(person) != verdict
    chooses_model(person, "")
    assert verdict_of(person) == verdict


RGB = np.zeros((6, 8, 3), np.uint8)
SOURCE = SimpleNamespace(read_with_digest=lambda: (Photograph(RGB, "mole"), array_fingerprint(RGB)))


@pytest.mark.parametrize(
    "about",
    [
        None,
        "no JSON",
        json.dumps({"image_sha256": array_fingerprint(RGB)}),
        json.dumps({"image_sha256": array_fingerprint(RGB), "prediction": {"classes": []}, "form": {}}),
        json.dumps({"image_sha256": "of another", "prediction": {}, "form": {}}),
    ],
)
def test_a_folder_without_a_prediction_is_ignored(tmp_path, about):
    write_mask(tmp_path / "mask.png", np.ones((6, 8), bool))
    if about is not None:
        (tmp_path / "result.json").write_text(about)
    saved = read_saved_result(SOURCE, tmp_path, RunContext())
    assert saved is None or saved.prediction is None
