"""Predictions for the lesions of a case in the Case dock, and the form that the case fills in the Lesion dock."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fake_models import add_classifier, make_models
from PIL import Image as PillowImage
from qtpy.QtWidgets import QCheckBox, QLabel, QLineEdit, QToolButton

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.figures.page import write_report
from napari_melanoma.reports.case_report import collect_report
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.patient_form import PatientForm

from .test_case import NAMES, PATIENCE_MS, Pathologist, mole

models = pytest.fixture(make_models)


@pytest.fixture
def case(models, tmp_path, viewer, shared_client):
    """A folder of five images of three lesions that has become a case, and somebody in front of it."""
    folder = tmp_path / "P-0042"
    folder.mkdir()
    for shade, name in enumerate(NAMES):
        PillowImage.fromarray(mole(shade)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def someone(case, viewer, qtbot):
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    person = Pathologist(viewer, made, qtbot)
    person.drops(case)
    yield person
    person.waits()


def states(person):
    items = [item for item in person.dock.tree.iterate_items() if item.parent() is None]
    return {person.row(item).id: item.text(1).splitlines()[-1] for item in items}


def predicted(person, name):
    label = person.dock.findChild(QLabel, name)
    return label.text() if label.isVisibleTo(person.dock) else ""


@pytest.mark.path
def test_lesions_are_classified_and_predictions_become_outdated_and_are_restored_unless_they_are_damaged(someone, case):
    assert someone.dock.answer.text.startswith("Press Classify")
    someone.clicks("case_answer")
    found = states(someone)
    assert [text[:11] for text in found.values()] == ["melanoma 0.", "melanoma 0.", "outlier · m"]
    assert someone.status == "3 lesions classified by melanoma-test."
    someone.picks(list(found)[-1])
    assert "outlier among 3 lesions of this patient" in predicted(someone, "lesion_odd")
    assert someone.dock.answer.headline.startswith("Above the melanoma threshold (")
    assert len(json.loads((case / "predictions.json").read_text())["lesions"]) == 3
    someone.types("patient_age", "70")
    someone.waits()
    assert states(someone)["L1"] == "outdated"
    someone.picks("L1")
    assert "the case has changed since" in someone.dock.answer.text
    someone.clicks("case_undo")
    assert states(someone)["L1"].startswith("melanoma")
    someone.dock.controller.close()
    someone.waits()
    someone.dock.importer.follow_link(f"recent:{case}")
    someone.waits()
    assert states(someone)["L1"].startswith("melanoma")
    # Damaged ones are reported.
    someone.dock.controller.close()
    someone.waits()
    (case / "predictions.json").write_text("{}")
    someone.dock.importer.follow_link(f"recent:{case}")
    someone.waits()
    assert "Run the prediction again" in someone.status
    assert len(someone.case.lesions) == 3


@pytest.mark.parametrize("is_valid", [True, False])
def test_the_answer_can_be_read_whole_and_is_marked_if_it_is_not_valid(someone, is_valid):
    """What does not fit is in the tooltip, as in the other docks."""
    someone.clicks("case_answer")
    someone.picks("L1")
    dock = someone.dock
    found = dock.predictor.predictions.find_lesion("L1")
    reasons = Validity() if is_valid else ValidityInputs("melanoma-test", demonstration=True).check()
    prediction = replace(found.prediction, validity=reasons)
    dock.lesion_page.show_prediction(replace(found, prediction=prediction), True, "")
    headline, tip = prediction.headline, dock.answer.toolTip()
    assert [one for one in (headline.text, *headline.parts, headline.detail) if one not in tip] == []
    assert bool(dock.answer.findChild(QLabel, "case_headline_headline").property("fault")) == (not is_valid)


def test_predicting_can_be_cancelled_and_needs_a_model(someone, models, qtbot, monkeypatch):
    add_classifier(models, "slow-model")
    someone.dock.predictor._settings.classifier = "slow-model"
    someone.dock.predict_button.click()
    qtbot.waitUntil(lambda: someone.dock.predictor._job is not None, timeout=PATIENCE_MS)
    someone.dock.status.cancelled.emit("predicting")
    someone.waits()
    assert "Stopped" in someone.status
    assert someone.dock.predictor.predictions is None
    # Without a model, the button shows the reason.
    someone.dock.predictor._settings.classifier = ""
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.user_models_folder", lambda: models / "none")
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.SHIPPED_FOLDER", models / "none")
    user_data().models_changed.emit("")
    button = someone.dock.findChild(QToolButton, "case_answer")
    assert not button.isEnabled()
    assert "is installed" in button.toolTip()
    assert "is installed" in someone.dock.answer.text


def test_the_report_shows_the_heatmap_of_a_photograph(someone, case, tmp_path):
    someone.opens("I1")
    someone.waits()
    heatmap = someone.dock.images.connected_dock.findChild(QCheckBox, "heatmap")
    assert "Heatmap" not in report_of(case, tmp_path)
    heatmap.click()
    someone.waits()
    page = report_of(case, tmp_path)
    assert "Heatmap: regions that contribute to melanoma" in page
    assert "Above the melanoma threshold" in page
    before = someone.case
    someone.draws("back_left_1_dermoscopy")
    assert someone.case.find_image("I1").correction is not None
    assert "Heatmap: regions that contribute to melanoma" in report_of(case, tmp_path)
    heatmap.click()
    someone.draws("back_left_1_dermoscopy", columns=slice(10, 16))
    assert "Heatmap" not in report_of(case, tmp_path)
    assert someone.case.find_image("I1").results != before.find_image("I1").results


def report_of(case, tmp_path):
    """The report of a case, as the command line writes it."""
    found = collect_report([case], run=RunContext())
    assert not found.problems
    write_report(tmp_path / "report.html", found.report)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_case_fills_the_form_and_is_not_changed_by_it(someone):
    someone.types("patient_age", "54")
    someone.chooses("patient_sex", "female")
    someone.opens("I1")
    lesion = someone.dock.images.connected_dock
    assert lesion.findChild(PatientForm).row["age"] == "54"
    assert lesion.findChild(PatientForm).row["sex"] == "female"
    assert "From case P-" in lesion.findChild(QLabel, "form_origin").text()
    first = lesion.predictions.current_prediction(lesion.picker.session)
    assert [one.field for one in first.contributions] == ["age", "sex"]
    line = lesion.findChild(QLineEdit, "patient_age")
    line.selectAll()
    someone.qtbot.keyClicks(line, "90")
    someone.waits()
    assert lesion.predictions.current_prediction(lesion.picker.session).probability > first.probability
    assert someone.case.patient.age == 54
    someone.chooses("patient_sex", "male")
    assert lesion.findChild(PatientForm).row == {**lesion.findChild(PatientForm).row, "age": "90", "sex": "male"}
