"""The Risk section: estimate and explain in the worker, show, save, and reject invalid input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fake_models import add_risk
from fake_open_case import FakeOpenCase, make_case
from fake_slides import MPP, draw_slide
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel, QLineEdit
from slide_fixtures import UNSEEN

from conftest import wait_until_idle
from napari_melanoma.extensions.risk.maps import PATCH_CELLS
from napari_melanoma.models.bundle import user_models_folder
from napari_melanoma.ui import worker_client
from napari_melanoma.ui.viewer import slide_layers

from .test_depth import draws as draws_depth
from .test_depth import is_read, proposes

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
NETWORK_DEPTH = "Predicted by risk-test from a patch at the deepest position: 1.60 mm."
VERDICT = "metastasis 0.64 (0.20 to 0.44): inconclusive at 90 % coverage"


@pytest.fixture
def models(user):
    """Folder of models with one that predicts metastasis."""
    add_risk(user_models_folder())
    return user_models_folder()


@pytest.fixture
def waiting(models, shared_client, person, slide_path):
    """User with an open, measured slide and Risk section."""
    person.opens_slides(slide_path)
    proposes(person.session.folder, 0.91)
    person.session.findings.reload_predictions()
    opens(person)
    return person


def view(person):
    """The section of the displayed slide; None before it was expanded."""
    return person.dock.sections.hosted.sections["Risk"].widget


def is_opened(person):
    return view(person) is not None and view(person).document.is_ready


def opens(person):
    """Open the section."""
    person.opens_section("Risk")
    person.until(lambda: is_opened(person))
    person.waits()


def fills_in(person, age="64", sex=""):
    line = person.finds(QLineEdit, "patient_age")
    line.setText(age)
    line.textEdited.emit(age)
    line.editingFinished.emit()
    if sex:
        combo = person.finds(QComboBox, "patient_sex")
        combo.setCurrentIndex(combo.findData(sex))
        combo.activated.emit(combo.currentIndex())


def estimates(person, **known):
    fills_in(person, **known)
    person.presses("risk_estimate")
    person.waits()


def seen(person, name):
    """Return the text of a label if it is visible; empty while the section is closed."""
    if not is_opened(person):
        return ""
    label = view(person).findChild(QLabel, name)
    return label.text() if label.isVisibleTo(view(person)) else ""


def bars(person, name):
    return [(row.name, row.text) for row in getattr(view(person), name).rows]


def kept(person):
    return json.loads((person.dock.result_location.folder / "risk.json").read_text())


def test_bundle_is_selected_by_folder_and_others_are_rejected(person, slide_path, tmp_path, models):
    from fake_models import add_classifier

    other, wrong = add_risk(tmp_path / "mine", "risk-mine", phantom=False), add_classifier(tmp_path / "mine", "naevi")
    person.opens_slides(slide_path)
    opens(person)
    assert view(person).requests._client is None  # no request yet
    picker = view(person).model_picker
    listed = [picker.combo.itemText(index) for index in range(picker.combo.count())]
    assert listed == ["risk-test", "risk-demo", "A folder..."]  # the user's own first, and picked
    assert picker.model == "risk-test"
    assert "'risk-test' was trained on synthetic patients only" in seen(person, "risk_phantom")
    for folder, model in ((other, str(other)), (wrong, str(other))):
        picker.combo.setCurrentIndex(picker.combo.count() - 1)
        picker.combo.activated.emit(picker.combo.currentIndex())
        person.chooses_file("risk_bundle_dialog", folder)
        assert picker.model == model
    assert "predicts melanoma" in person.dock.status.text
    assert seen(person, "risk_phantom") == ""
    assert person.dock.settings.get("slide/risk_model", "") == str(other)


@pytest.mark.path
def test_risk_is_estimated_saved_and_restored(waiting, slide_path):
    person = waiting
    assert seen(person, "risk_depth") == "Depth 0.91 mm (0.86 to 0.96), measured by the analysis of the slide."
    assert "patient_depth_mm" not in [child.objectName() for child in view(person).patient_form.findChildren(QLineEdit)]
    estimates(person, age="64", sex="male")
    assert seen(person, "risk_verdict") == VERDICT
    assert bars(person, "risk_bar") == [("Risk", "0.64")]
    assert view(person).risk_bar.rows[0].interval == (0.2, 0.44)
    assert bars(person, "share_bars") == [("Slide", "+0.12"), ("Depth", "−0.05"), ("Patient", "0")]
    assert seen(person, "risk_without") == "Baseline without any data of this case: 0.22."
    assert seen(person, "risk_comparators") == "For comparison: Breslow thickness alone 0.30, Image alone 0.60."
    assert seen(person, "risk_caution") == "Unknown: body site.\nThe thickness may be more."
    assert seen(person, "risk_old") == ""
    person.dock.depth_section.expand()
    assert person.label_text("depth_network") == NETWORK_DEPTH
    assert kept(person)["known"] == {"age": "64", "sex": "male", "depth_mm": "0.91"}

    person.viewer.layers.clear()
    person.waits()
    person.opens_slides(slide_path)
    person.until(lambda: seen(person, "risk_verdict") == VERDICT)
    person.until(lambda: is_read(person))
    person.waits()
    assert person.label_text("depth_network") == NETWORK_DEPTH
    assert view(person).patient_form.row == {"age": "64", "sex": "male"}
    assert seen(person, "risk_old") == ""


def test_patches_are_shown_and_changed_inputs_listed(waiting):
    person = waiting
    estimates(person, age="64", sex="male")
    view(person).patch_label.linkActivated.emit("1")
    assert person.sees((256 + 64, 160 + 64))
    fills_in(person, "65")
    assert "the patient data have changed" in seen(person, "risk_old")
    fills_in(person, "64")
    assert seen(person, "risk_old") == ""
    person.dock.depth_section.expand()
    draws_depth(person)
    person.waits()
    assert "the depth has changed" in seen(person, "risk_old")
    assert "0.20 mm, measured by a reader without a name" in seen(person, "risk_depth")


def selects_heatmap(person, method):
    combo = view(person).heatmap_combo
    combo.setCurrentIndex(combo.findData(method))
    combo.activated.emit(combo.currentIndex())
    person.waits()


def heatmap_layer(person):
    return slide_layers.find_layer(person.viewer, person.dock.slide, "risk heatmap")


def test_heatmaps_lie_on_their_patches_and_are_kept(waiting, slide_path):
    person = waiting
    estimates(person, age="64")
    assert heatmap_layer(person) is None
    selects_heatmap(person, "attention")
    layer, step = heatmap_layer(person), 128 / PATCH_CELLS * MPP  # of a patch of 128 pixels at (32, 32)
    assert (layer.name, layer.visible) == ("section risk heatmap", True)
    np.testing.assert_allclose(layer.scale, (step, step))
    np.testing.assert_allclose(layer.translate, 32 * MPP + step / 2 - MPP / 2)
    assert layer.data[:30, :30].min() == 1
    assert layer.data[70:90, 70:90].max() == 0
    assert np.isnan(layer.data[:90, -10:]).all()  # beside the first patch, above the second
    assert "weight that the network gives" in seen(person, "risk_heatmap_note")
    selects_heatmap(person, "cam")
    assert "the heatmap is empty" in seen(person, "risk_heatmap_note").lower()
    selects_heatmap(person, "occlusion")
    assert "no map for occlusion" in person.dock.status.text
    assert view(person).heatmap_combo.currentText() == "none"
    assert not heatmap_layer(person).visible
    stored = (person.dock.result_location.folder / "risk" / "attention.tif").stat().st_mtime_ns

    person.viewer.layers.clear()
    person.waits()
    person.opens_slides(slide_path)
    person.until(lambda: seen(person, "risk_verdict") == VERDICT)
    selects_heatmap(person, "attention")
    assert heatmap_layer(person).visible
    assert (person.dock.result_location.folder / "risk" / "attention.tif").stat().st_mtime_ns == stored
    selects_heatmap(person, "")
    assert not heatmap_layer(person).visible

    selects_heatmap(person, "attention")
    estimates(person, age="30")  # the heatmap is none of this prediction
    assert view(person).heatmap_combo.currentText() == "none"
    assert not heatmap_layer(person).visible


def test_after_cancel_and_worker_errors_the_next_request_succeeds(waiting, shared_client):
    person = waiting
    check_cancel(person, shared_client)
    for age, text in (("15", "There is no tumour"), ("13", "stopped unexpectedly")):
        estimates(person, age=age)
        assert text in person.dock.status.text
        assert seen(person, "risk_verdict") == ""
        assert view(person).estimate_button.isEnabled()
    estimates(person, age="64")
    assert seen(person, "risk_verdict") == VERDICT


def check_cancel(person, shared_client):
    """Cancel ends the worker, and a second click is ignored."""
    fills_in(person, "14")
    person.presses("risk_estimate")
    button = view(person).estimate_button
    assert not button.isEnabled()
    view(person).estimate()  # as a second click of a double click would
    person.until(lambda: "Reading the deepest places" in person.dock.status.text)
    pid = shared_client.pid
    person.finds(QAbstractButton, "cancel").click()
    person.waits()
    person.until(lambda: shared_client.pid != pid and button.isEnabled())
    assert not (person.dock.result_location.folder / "risk.json").exists()


def test_prediction_is_stored_with_its_slide(waiting, tmp_path):
    person = waiting
    fills_in(person, "16")
    person.presses("risk_estimate")
    first = person.dock.result_location.folder
    person.dock.opener.open([draw_slide(tmp_path / "other.tif", tint=9)])
    person.until(lambda: person.dock.slide.info.name == "other" and (first / "risk.json").is_file())
    person.waits()
    assert seen(person, "risk_verdict") == ""
    assert view(person).patient_form.row == {}
    assert "deepest" not in seen(person, "risk_patches")
    person.dock.picker.step(-1)
    person.waits()
    assert seen(person, "risk_verdict").startswith("metastasis 0.16")
    person.dock.depth_section.expand()
    assert person.label_text("depth_network") == NETWORK_DEPTH


def test_patient_data_come_from_the_open_case(waiting, slide_path):
    person = waiting
    patient = {"patient_id": "P-0042", "age": "71", "sex": "female"}
    open_case = FakeOpenCase(person.dock.context.workspace, make_case(slide_path, patient))
    assert view(person).patient_form.row == {"age": "71", "sex": "female"}
    assert seen(person, "form_origin") == "From case P-0042."
    fills_in(person, "30")
    assert "Edited here only" in seen(person, "form_origin")
    person.presses("form_back")
    assert view(person).patient_form.row["age"] == "71"
    open_case.close()
    assert seen(person, "form_origin") == ""


def test_closing_the_window_during_a_request_leaves_nothing_behind(waiting):
    person = waiting
    fills_in(person, "14")
    person.presses("risk_estimate")
    person.until(lambda: "Reading the deepest places" in person.dock.status.text)
    folder, users = person.dock.result_location.folder, worker_client._SharedWorker.users
    person.viewer.window.remove_dock_widget("all")
    person.until(lambda: worker_client._SharedWorker.users == users - 1)  # with the last one the child ends
    assert not (folder / "risk.json").exists()


def test_prediction_is_added_to_the_open_case(waiting, tmp_path, slide_path):
    from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion

    person = waiting
    estimates(person)
    person.presses("risk_report")
    person.chooses_file("risk_report_dialog", tmp_path / "page")
    person.until(lambda: "page.html" in person.dock.status.text)
    person.waits()  # the message may announce the page
    assert VERDICT[1:] in (tmp_path / "page.html").read_text(encoding="utf-8")
    person.presses("risk_case")
    assert "No case is open" in person.dock.status.text
    _, case_dock = person.viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    wait_until_idle(person.qtbot)
    case_dock.controller.create(tmp_path / "P-1", Case())
    wait_until_idle(person.qtbot)
    person.presses("risk_case")
    assert "is not an image of the open case" in person.dock.status.text
    case = add_images(add_lesion(case_dock.controller.case), [CaseImage(id="", path=slide_path, modality="wsi")], "L1")
    case_dock.controller.edit(case, "a slide")
    wait_until_idle(person.qtbot)
    button = person.finds(QAbstractButton, "risk_case")
    person.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)  # an error stays until the user acts
    (written,) = (tmp_path / "P-1" / "risk").iterdir()
    assert json.loads(written.read_text())["verdict"] == VERDICT
    assert f"risk/{written.name}" in person.dock.status.text
    wait_until_idle(person.qtbot)
    case_dock.controller.open(tmp_path / "P-1")
    wait_until_idle(person.qtbot)
    assert case_dock.controller.case.lesions[0].images[0].risk.verdict == VERDICT
    patient = case_dock.controller.case.patient.model_copy(update={"age": 77})
    case_dock.controller.edit(case_dock.controller.case.model_copy(update={"patient": patient}), "older")
    assert view(person).patient_form.row["age"] == "64"  # what was filled in stays until it is taken back
    person.presses("form_back")
    assert view(person).patient_form.row["age"] == "77"
    wait_until_idle(person.qtbot)
