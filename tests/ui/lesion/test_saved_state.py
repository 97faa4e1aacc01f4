"""What is stored of a photograph is restored as a whole: mask, scale, type, patient data, threshold and options."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from lesion_fixtures import FIXTURES, gradient
from qtpy.QtWidgets import QAbstractButton, QDoubleSpinBox, QLabel

from conftest import PATIENCE_MS, wait_until_idle
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.results import read_mask, write_mask
from napari_melanoma.ui.lesion import saving
from napari_melanoma.ui.session import photograph_predictions, recovery
from napari_melanoma.ui.session.saved_result import read_saved_result
from napari_melanoma.ui.viewer import photographs

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)
SIZE = PixelSize(100.0, 100.0, "ruler")
PATIENT = {"age": "54", "sex": "male"}
STATED = "scale (100 µm per pixel, by the ruler), type (macroscopic), patient data (age, sex)"


@pytest.fixture
def stated(person):
    """A user who has drawn the ruler, and entered the type and patient data of an analyzed photograph."""
    person.opens(rgb=gradient())
    person.analyses()
    draws_ruler(person, 10.0)
    person.dock.picker.set_modality("macroscopic")
    session = person.dock.picker.session
    session.patient_data.set_row(PATIENT)
    person.dock.predictions.follow_patient_data(session)
    person.waits()
    return person


def draws_ruler(person, length_mm):
    """Draw a line of 100 pixels over a known length."""
    person.clicks("ruler")
    person.layer("ruler").add_lines(np.array([[20.0, 30.0], [20.0, 130.0]]))
    person.finds(QDoubleSpinBox, "ruler_length").setValue(length_mm)
    person.clicks("ruler_set")
    person.clicks("ruler")
    person.waits()


def sets_threshold(person, threshold):
    person.finds(QDoubleSpinBox, "threshold").setValue(threshold)
    person.waits()


def strikes(person, points=((10, 100), (10, 140))):
    person.draws(person.layer("mask"), list(points))
    person.waits()


def saves(person, tmp_path):
    person.dock.settings.folder = tmp_path
    person.clicks("save")
    person.waits()
    return read_json(tmp_path)


def read_json(tmp_path):
    return json.loads((tmp_path / "mole" / "result.json").read_text())


def opens_again(person):
    person.viewer.layers.clear()
    person.waits()
    person.opens(rgb=gradient())
    person.waits()


def stated_values(person):
    session = person.dock.picker.session
    size, modality = photographs.get_pixel_size(session.image), photographs.get_modality(session.image)
    return size, modality, session.patient_data.row


def kept():
    return sorted(path.name for path in recovery.recovery_root().glob("*/*"))


@pytest.mark.parametrize("is_corrected", [False, True], ids=["predicted", "corrected"])
def test_saving_again_what_was_restored_changes_nothing(stated, tmp_path, is_corrected):
    sets_threshold(stated, 0.62)
    if is_corrected:
        strikes(stated)
    saved, mask = saves(stated, tmp_path), stated.mask.copy()
    assert (saved["form"], saved["options"]["threshold"]) == (PATIENT, 0.62)
    opens_again(stated)
    assert stated_values(stated) == (SIZE, "macroscopic", PATIENT)
    assert np.array_equal(stated.mask, mask)
    assert stated.finds(QDoubleSpinBox, "threshold").value() == 0.62
    assert f"Restored: {STATED}, threshold (0.62)." in stated.dock.status.text
    assert not stated.lesion.unsaved
    assert stated.lesion.result.measurements["area_mm2"] == saved["measurements"]["area_mm2"]
    stated.clicks("save")
    stated.answers("replace_result", "Replace")
    stated.waits()
    again = read_json(tmp_path)
    assert {key for key in saved.keys() | again.keys() if saved.get(key) != again.get(key)} <= {"provenance"}
    assert np.array_equal(read_mask(tmp_path / "mole" / "mask.png"), mask)


def test_another_threshold_is_not_lost_with_a_lesion_that_was_selected(person, tmp_path):
    rgb = np.minimum(gradient(40), np.clip(gradient(130).astype(int) + 70, 0, 255).astype(np.uint8))
    person.opens(rgb=rgb)
    person.analyses()
    largest = person.mask.copy()
    controller, session = person.dock.controller, person.dock.picker.session
    controller.rederive(session, chosen=(60, 130))
    person.waits()
    selected = person.mask.copy()
    assert not (largest & selected).any()
    saves(person, tmp_path)
    person.viewer.layers.clear()
    person.waits()
    person.opens(rgb=rgb)
    person.waits()
    assert np.array_equal(person.mask, selected)
    controller.rederive(person.dock.picker.session)
    person.waits()
    assert (person.mask & selected).any(), "the selected lesion, not the largest"


def test_values_that_the_user_sets_while_a_result_is_read_stay(stated, tmp_path, monkeypatch, qtbot):
    def read_slowly(*args):
        may_read.wait(PATIENCE_MS / 1000)
        return read_saved_result(*args)

    may_read = threading.Event()
    saves(stated, tmp_path)
    monkeypatch.setattr(photograph_predictions, "read_saved_result", read_slowly)
    stated.viewer.layers.clear()
    stated.waits()
    image = stated.opens(rgb=gradient())
    own = PixelSize(20.0, 20.0, "ruler")
    photographs.set_pixel_size(stated.viewer, image, own)
    stated.dock.picker.set_modality("dermoscopic")
    may_read.set()
    stated.waits()
    assert stated_values(stated) == (own, "dermoscopic", PATIENT)
    assert "Kept as set since the photograph was opened: scale, type." in stated.dock.status.text
    assert stated.lesion.result.photograph.pixel_size == own


def test_the_question_states_that_a_scale_would_be_lost(stated, tmp_path):
    saves(stated, tmp_path)
    opens_again(stated)
    stated.clicks("ruler")
    stated.clicks("ruler_clear")
    stated.waits()
    text = saving.describe_stored(tmp_path / "mole", read_json(tmp_path)["image_sha256"])
    assert "It has a scale, but the photograph has none now: values in mm would be lost." in text


def crash(person):
    """Leave what a crash would leave: the recovery files of a process that is no more."""
    (about,) = recovery.recovery_root().glob("*/recovery.json")
    values = json.loads(about.read_text())
    values["owner"] = {"pid": 2**22 - 7, "created": 1.0}
    for session in person.dock.sessions:
        session.lesion = None
    person.viewer.layers.clear()
    person.waits()
    about.write_text(json.dumps(values))


def test_everything_is_restored_after_a_crash(stated, qtbot):
    sets_threshold(stated, 0.62)
    strikes(stated)
    # Patient data that are entered after the stroke are stored, too.
    session = stated.dock.picker.session
    session.patient_data.set_row({**PATIENT, "age": "55"})
    stated.dock.predictions.follow_patient_data(session)
    wait_until_idle(qtbot)
    mask, area = stated.mask.copy(), stated.lesion.result.measurements["area_mm2"]
    crash(stated)
    stated.opens(rgb=gradient())
    button = stated.finds(QAbstractButton, "recover")
    qtbot.waitUntil(lambda: button.isVisibleTo(stated.dock), timeout=PATIENCE_MS)
    assert stated_values(stated) == (None, None, {})
    button.click()
    stated.waits()
    assert np.array_equal(stated.mask, mask)
    assert stated_values(stated) == (SIZE, "macroscopic", {**PATIENT, "age": "55"})
    assert stated.lesion.result.measurements["area_mm2"] == area
    assert stated.lesion.result.options.threshold == 0.62
    assert stated.dock.status.text == f"The unsaved mask is shown. Restored: {STATED}, threshold (0.62)."
    assert not [label for label in stated.dock.findChildren(QLabel) if "unsaved corrections from" in label.text()
                and label.isVisibleTo(stated.dock)]  # fmt: skip


def test_recovered_values_replace_those_of_the_saved_result(stated, tmp_path, qtbot):
    saves(stated, tmp_path)
    strikes(stated)
    draws_ruler(stated, 5.0)
    wait_until_idle(qtbot)
    crash(stated)
    stated.opens(rgb=gradient())
    button = stated.finds(QAbstractButton, "recover")
    qtbot.waitUntil(lambda: button.isVisibleTo(stated.dock), timeout=PATIENCE_MS)
    stated.waits()
    assert stated_values(stated)[0] == SIZE, "as saved"
    button.click()
    stated.waits()
    assert stated_values(stated)[0] == PixelSize(50.0, 50.0, "ruler")


def test_recovery_files_of_an_earlier_version_are_read(stated, qtbot):
    strikes(stated)
    wait_until_idle(qtbot)
    mask = stated.mask.copy()
    crash(stated)
    (about,) = recovery.recovery_root().glob("*/recovery.json")
    values = json.loads(about.read_text())
    about.write_text(
        json.dumps({name: values[name] for name in values if name not in ("pixel_size_um", "modality", "form")})
    )
    stated.opens(rgb=gradient())
    button = stated.finds(QAbstractButton, "recover")
    qtbot.waitUntil(lambda: button.isVisibleTo(stated.dock), timeout=PATIENCE_MS)
    button.click()
    stated.waits()
    assert np.array_equal(stated.mask, mask)


def test_strokes_that_are_not_applied_stay_recoverable_after_saving(person, tmp_path):
    person.opens()
    person.analyses()
    strikes(person)
    person.clicks("inside")
    person.draws(person.layer("scribbles"), [(20, 20), (20, 30)], label=1)
    person.waits()
    saves(person, tmp_path)
    assert "recovery.json" in kept()
    assert [session.name for session in person.dock.sessions.unsaved] == ["mole"]
    # Applied strokes stay in view, and need no recovery once the mask is saved.
    person.clicks("apply")
    person.waits()
    assert person.layer("scribbles").data.any()
    saves(person, tmp_path)
    assert kept() == []
    assert person.dock.sessions.unsaved == []


def test_strokes_are_stored_when_the_dock_is_closed(person):
    person.opens()
    person.analyses()
    person.clicks("inside")
    person.draws(person.layer("scribbles"), [(20, 20), (20, 30)], label=1)
    person.waits()
    person.closes()
    assert "recovery.json" in kept()


def test_a_photograph_that_is_closed_while_its_result_waits_is_saved(stated, tmp_path):
    stated.dock.settings.folder = tmp_path
    strikes(stated)
    stated.draws(stated.layer("mask"), [(100, 20), (100, 60)])
    drawn = stated.mask.copy()
    stated.clicks("save")
    stated.viewer.layers.clear()  # before anything could follow the stroke
    stated.waits()
    assert np.array_equal(read_mask(tmp_path / "mole" / "mask.png"), drawn)
    saved = read_json(tmp_path)
    assert (saved["corrected_by_hand"], saved["pixel_size_um"], saved["form"]) == (True, SIZE.to_json(), PATIENT)
    assert kept() == [], "saved corrections need no recovery"
    assert stated.dock.status.text.startswith("Saved to ")
    assert read_saved_result(
        photographs.LayerPhotographSource(gradient(), "mole", None, None), tmp_path / "mole", RunContext()
    )


def test_a_saved_mask_that_another_program_has_changed_is_not_shown_as_the_measured_one(stated, tmp_path):
    saves(stated, tmp_path)
    write_mask(tmp_path / "mole" / "mask.png", ~stated.mask.astype(bool))
    opens_again(stated)
    assert stated.dock.picker.session.lesion is None
    assert "mask.png is not the mask that was measured" in stated.dock.status.text
    assert stated_values(stated) == (SIZE, "macroscopic", PATIENT)
