"""Add to corrections: the stored rows, the messages, and that nothing is stored twice or lost."""

from __future__ import annotations

import numpy as np
import pytest
from fake_open_case import FakeOpenCase, make_case
from lesion_fixtures import FIXTURES, TWO
from lesion_fixtures import corrections as make_corrections
from message_boxes import answering, press_button
from napari._qt.qt_resources import get_stylesheet
from qtpy.QtCore import QObject
from qtpy.QtGui import QShortcut
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDockWidget,
    QDoubleSpinBox,
    QInputDialog,
    QLabel,
    QMenu,
    QScrollArea,
    QToolButton,
)

from conftest import photograph, wait_until_idle
from napari_melanoma.case.model import CaseImage, add_images
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.corrections import Correction, Corrections
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.diagnosis_labels import DiagnosisLabel
from napari_melanoma.io.results import read_mask
from napari_melanoma.privacy.pseudonyms import pseudonym
from napari_melanoma.ui.session import recovery
from napari_melanoma.ui.session.corrections_store import CorrectionsStore, ReviewDecision, ReviewSettings
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import METADATA_KEY, LayerPhotographSource

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


corrections = pytest.fixture(make_corrections)


@pytest.fixture
def analyzed(corrections, person):
    """A user with an analyzed photograph: a dark disk of radius 25 around (60, 80)."""
    person.opens()
    person.analyses()
    return person


def adds(person):
    person.clicks("add_correction")
    person.waits()


def test_an_untouched_mask_is_stored_once_as_accepted(analyzed, corrections):
    adds(analyzed)
    (row,) = corrections.rows()
    assert (row["image_id"], row["review"], row["reviewer"]) == ("mole", "accepted", "")
    assert (row["model"], row["model_fingerprint"]) == (analyzed.dock.model.model, "0" * 64)
    assert np.array_equal(read_mask(corrections.folder / row["mask_path"]), analyzed.mask)
    assert "mole stored as accepted" in analyzed.dock.status.text
    assert analyzed.finds(QLabel, "review_state").toolTip().startswith("in corrections: accepted, ")
    # Storing it again only reports it, with links to the folder and to training.
    adds(analyzed)
    assert "mole is already stored as accepted" in analyzed.dock.status.text
    assert len(corrections.rows()) == 1
    # It can be undone.
    analyzed.clicks("undo_correction")
    analyzed.waits()
    assert corrections.rows() == []
    # So does the shortcut.
    keys = {shortcut.key().toString(): shortcut for shortcut in analyzed.dock.findChildren(QShortcut)}
    keys["Ctrl+Alt+A"].activated.emit()
    analyzed.clicks("add_correction")  # twice at once
    analyzed.waits()
    assert len(corrections.rows()) == 1


@pytest.mark.path
def test_an_edited_mask_is_stored_as_corrected_with_the_predicted_mask(analyzed, corrections, tmp_path):
    own = analyzed.mask.copy()
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    analyzed.finds(QComboBox, "diagnosis").setEditText(" blue nevus ")
    adds(analyzed)  # at once: the stroke has not settled yet
    (row,) = corrections.rows()
    assert (row["review"], row["diagnosis"]) == ("corrected", "blue nevus")
    stored = read_mask(corrections.folder / row["mask_path"])
    assert np.array_equal(stored, analyzed.mask)
    assert not np.array_equal(stored, own)
    assert np.array_equal(read_mask(corrections.folder / row["prediction_path"]), own)
    (sample,) = read_dataset(corrections.folder)
    assert sample.review == "corrected"
    # What is stored counts as saved, until it is undone.
    assert [session.name for session in analyzed.dock.sessions.unsaved] == []
    assert not list(recovery.recovery_root().glob("*/drawn.npz"))
    analyzed.clicks("undo_correction")
    analyzed.waits()
    assert [session.name for session in analyzed.dock.sessions.unsaved] == ["mole"]
    assert list(recovery.recovery_root().glob("*/drawn.npz"))
    adds(analyzed)
    # A later correction is not stored until it is added, and then updates the row.
    analyzed.draws(analyzed.layer("mask"), [(100, 100), (100, 140)])
    analyzed.waits()
    assert analyzed.finds(QLabel, "review_state").text() == "not stored"
    adds(analyzed)
    (row,) = corrections.rows()
    assert row["review"] == "corrected"
    assert np.array_equal(read_mask(corrections.folder / row["mask_path"]), analyzed.mask)
    # Undoing it reports the folder in which it was undone, although another one is selected meanwhile.
    analyzed.clicks("undo_correction")
    set_folder = analyzed.dock.corrections.set_folder
    set_folder(tmp_path / "another")
    analyzed.waits()
    (row,) = corrections.rows()
    assert np.array_equal(read_mask(corrections.folder / row["mask_path"]), stored)
    assert [session.name for session in analyzed.dock.sessions.unsaved] == ["mole"]


def test_a_correction_is_unsaved_when_a_redo_returns_to_it_after_its_storing_was_undone(analyzed):
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    adds(analyzed)
    analyzed.layer("mask").undo()
    analyzed.waits()
    analyzed.clicks("undo_correction")
    analyzed.waits()
    assert not analyzed.dock.sessions.unsaved
    analyzed.layer("mask").redo()
    analyzed.waits()
    assert [session.name for session in analyzed.dock.sessions.unsaved] == ["mole"]
    assert list(recovery.recovery_root().glob("*/drawn.npz"))


def change_scale(person, session):
    photographs.set_pixel_size(person.viewer, session.image, PixelSize(10.0, 20.0, "ruler"))


def change_type(person, session):
    photographs.set_modality(session.image, "macroscopic")
    person.dock.controller.remeasure(session)


def clear_scale_and_type(person, session):
    change_scale(person, session)
    photographs.set_modality(session.image, "macroscopic")
    person.dock.controller.remeasure(session)
    person.waits()
    adds(person)
    photographs.set_pixel_size(person.viewer, session.image, None)
    photographs.set_modality(session.image, None)
    person.dock.controller.remeasure(session)


def clear_diagnosis(person, session):
    person.finds(QComboBox, "diagnosis").setEditText("")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (change_scale, {"mpp_x": "20", "mpp_y": "10"}),
        (change_type, {"modality": "macroscopic"}),
        (clear_scale_and_type, {"modality": "", "mpp_x": "", "mpp_y": ""}),
        (clear_diagnosis, {"diagnosis": ""}),
    ],
)
def test_what_has_changed_since_a_photograph_was_stored_is_stored(analyzed, corrections, change, expected):
    adds(analyzed)
    (session,) = analyzed.dock.sessions
    known = Correction("mole", session.lesion.result.photograph.rgb, None, "unreviewed")
    corrections.label(known, DiagnosisLabel("nevus", "Ana"))  # in another window
    user_data().corrections_changed.emit(corrections.folder)
    analyzed.waits()
    adds(analyzed)
    assert corrections.rows()[0]["diagnosis"] == "nevus"
    change(analyzed, session)
    analyzed.waits()
    adds(analyzed)
    (row,) = corrections.rows()
    assert {name: row.get(name) for name in expected} == expected
    adds(analyzed)
    assert "mole is already stored as accepted" in analyzed.dock.status.text
    assert corrections.rows() == [row]


def test_a_correction_that_another_window_has_undone_is_unsaved_and_stored_again(analyzed, corrections):
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    adds(analyzed)
    (before,) = corrections.rows()
    assert not analyzed.dock.sessions.unsaved
    corrections.undo()
    user_data().corrections_changed.emit(corrections.folder)
    analyzed.waits()
    assert [session.name for session in analyzed.dock.sessions.unsaved] == ["mole"]
    assert list(recovery.recovery_root().glob("*/drawn.npz"))
    adds(analyzed)
    (row,) = corrections.rows()
    assert {**row, "reviewed_at": before["reviewed_at"]} == before
    assert not analyzed.dock.sessions.unsaved


def test_photographs_of_a_case_are_those_of_one_patient_by_a_pseudonym(corrections, person, tmp_path):
    Corrections(corrections.folder).label(  # a photograph that is in no case
        Correction("other", photograph(((60, 80, 9),)), None, "unreviewed"), DiagnosisLabel("nevus", "Ana")
    )
    paths = [tmp_path / f"mole {number}.png" for number in range(4)]
    case = make_case(paths[0], {"patient_id": "P-0042"})
    case = add_images(case, [CaseImage(id="", path=path) for path in paths[1:]], "L1")
    FakeOpenCase(Workspace.of(person.viewer), case)
    for number, path in enumerate(paths):
        image = person.opens(path.stem, photograph(((60, 80, 12 + number),)))
        image.metadata = {METADATA_KEY: {**image.metadata[METADATA_KEY], "path": path}}
        if number == 0:
            person.clicks("reject")
        else:
            person.analyses()
            person.clicks("add_correction")
        person.waits()
    other, *rows = corrections.rows()
    assert [row["patient_id"] for row in rows] == [pseudonym("P-0042")] * 4
    assert "P-0042" not in (corrections.folder / "dataset.csv").read_text(encoding="utf-8")
    assert len({row["split"] for row in rows}) == 1, "else one patient would be in both parts"
    assert other["patient_id"] == ""


def test_photographs_with_the_same_name_are_each_stored_as_rejected(corrections, qtbot):
    owner, stored = QObject(), []
    store = CorrectionsStore(ReviewSettings(), owner)
    for shade in (10, 20, 30):
        source = LayerPhotographSource(np.full((20, 30, 3), shade, np.uint8), "lesion1", None, None)
        store.reject(source, ReviewDecision("rejected", "A. Meyer", None, None), stored.append)
    wait_until_idle(qtbot, store)
    assert len(stored) == 3
    assert [row["review"] for row in corrections.rows()] == ["rejected"] * 3


def test_a_diagnosis_is_stored_with_its_photograph(analyzed, corrections):
    def box():
        return analyzed.finds(QComboBox, "diagnosis")

    # It stays with its photograph and is offered for others.
    box().setEditText("Spitz nevus")
    adds(analyzed)
    other = analyzed.opens("another", photograph(((60, 80, 12),)))
    assert box().currentText() == ""
    assert box().findText("Spitz nevus") == 1
    analyzed.viewer.layers.remove(other)
    analyzed.waits()
    assert box().currentText() == "Spitz nevus"
    # The photograph that is opened again shows it, with its review.
    analyzed.viewer.layers.clear()
    analyzed.waits()
    analyzed.opens("under another name")
    assert box().currentText() == ""
    analyzed.analyses()
    assert box().currentText() == "Spitz nevus"
    assert box().lineEdit().cursorPosition() == 0, "the start is shown if it is wider than the box"
    assert "in corrections: accepted" in analyzed.finds(QLabel, "review_state").toolTip()
    # It is kept when the photograph is rejected where the box is empty.
    analyzed.viewer.layers.clear()
    analyzed.waits()
    analyzed.opens("blurred")
    assert box().currentText() == ""
    analyzed.clicks("reject")
    analyzed.waits()
    (row,) = corrections.rows()
    assert (row["review"], row["diagnosis"]) == ("rejected", "Spitz nevus")


def test_a_changed_threshold_is_stored_as_corrected_by_the_entered_reviewer(analyzed, corrections, tmp_path):
    menu = analyzed.finds(QToolButton, "corrections_menu").menu()
    assert isinstance(menu, QMenu)
    next(action for action in menu.actions() if action.objectName() == "reviewer").trigger()
    dialog = analyzed.dock.window().findChild(QInputDialog, "reviewer_dialog")
    dialog.setTextValue("Ana")
    dialog.accept()
    analyzed.finds(QDoubleSpinBox, "threshold").setValue(0.8)
    adds(analyzed)  # at once: the mask does not follow the threshold yet
    (row,) = corrections.rows()
    assert (row["review"], row["reviewer"], ReviewSettings().reviewer) == ("corrected", "Ana", "Ana")
    # A folder that cannot be written is reported, and the next click retries.
    (tmp_path / "a file").write_text("in the way")
    analyzed.dock.corrections.store.folder = tmp_path / "a file"
    analyzed.waits()
    adds(analyzed)
    assert "a file" in analyzed.dock.status.text
    analyzed.dock.corrections.store.folder = tmp_path / "room"
    adds(analyzed)
    assert len(Corrections(tmp_path / "room").rows()) == 1


@pytest.mark.parametrize("is_imported", [False, True])
def test_a_mask_that_a_user_has_stored_is_replaced_by_a_prediction_only_after_a_question(
    analyzed, corrections, qtbot, is_imported
):
    if is_imported:
        corrections.add(Correction("mole", photograph(), np.eye(120, 160, dtype=bool), "accepted"))
        user_data().corrections_changed.emit(corrections.folder)
        analyzed.waits()
    else:
        analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
        adds(analyzed)
    (before,) = corrections.rows()
    analyzed.viewer.layers.clear()
    analyzed.waits()
    analyzed.opens()
    analyzed.analyses()
    diagnosis = analyzed.finds(QComboBox, "diagnosis")
    diagnosis.setEditText("melanoma")
    for button, expected in (("Keep", before | {"diagnosis": "melanoma"}), ("Replace", None)):
        analyzed.clicks("add_correction")
        press_button(qtbot, "stored_mask", button)
        analyzed.waits()
        (row,) = corrections.rows()
        if expected is not None:
            names = ("review", "diagnosis", "mask_path", "prediction_path", "model", "model_fingerprint")
            assert [row.get(name, "") for name in names] == [expected.get(name, "") for name in names]
            assert analyzed.finds(QLabel, "review_state").text() == "not stored", "the mask in view"
    assert (row["review"], row["diagnosis"]) == ("accepted", "melanoma")
    assert np.array_equal(read_mask(corrections.folder / row["mask_path"]), analyzed.mask)
    adds(analyzed)
    assert "already stored as accepted" in analyzed.dock.status.text


def test_a_photograph_is_rejected_without_an_analysis_and_keeps_a_corrected_mask(corrections, person):
    image = person.opens("blurred")
    assert not person.finds(QToolButton, "reject").parent().isHidden()
    person.clicks("reject")
    person.waits()
    (row,) = corrections.rows()
    assert (row["image_id"], row["review"]) == ("blurred", "rejected")
    assert row["image_sha256"] == array_fingerprint(np.ascontiguousarray(image.data))
    assert "0 images with masks." in person.dock.status.text
    person.clicks("undo_correction")
    person.waits()
    # A corrected mask is kept, also if the photograph was not analyzed again.
    person.analyses()
    person.draws(person.layer("mask", "blurred"), [(10, 100), (10, 140)])
    adds(person)
    (before,) = corrections.rows()
    for is_analyzed in (False, True):
        person.viewer.layers.clear()
        person.waits()
        person.opens("again")
        if is_analyzed:
            person.analyses()
        person.clicks("reject")
        person.waits()
        (row,) = corrections.rows()
        assert row["review"] == "rejected"
        kept = ("mask_path", "prediction_path", "model", "model_fingerprint")
        assert [row[name] for name in kept] == [before[name] for name in kept]
        assert read_mask(corrections.folder / row["mask_path"])[10, 120]
        person.clicks("undo_correction")
        person.waits()
        assert corrections.rows() == [before]


def test_a_change_of_another_photograph_is_undone_only_after_a_question(analyzed, corrections):
    adds(analyzed)
    (row,) = corrections.rows()
    analyzed.viewer.layers.clear()  # as in a later session
    analyzed.waits()
    analyzed.opens("another", photograph(((60, 80, 12),)))
    for button, left in (("", [row]), ("replace", [])):
        with answering(button) as requested:
            analyzed.clicks("undo_correction")
            analyzed.waits()
        (details,) = requested
        assert "another photograph than the open one, 'another'" in details
        assert details.endswith("review accepted, diagnosis unknown.")
        assert corrections.rows() == left
    analyzed.clicks("undo_correction")
    analyzed.waits()
    assert "Nothing to undo." in analyzed.dock.status.text


def stored(corrections):
    (row,) = corrections.rows()
    return row["review"], read_mask(corrections.folder / row["mask_path"])


def test_other_lesions_are_stored_as_the_user_decides(corrections, person):
    person.opens("mole", photograph(TWO))
    person.analyses()
    for button, holds_both in (("Include all", True), ("Not lesions", False)):
        person.clicks("add_correction")
        person.answers("other_lesions", button)
        person.waits()
        review, mask = stored(corrections)
        assert mask[60, 50]
        assert mask[60, 120] == holds_both
        assert review == "accepted"
        person.viewer.layers.clear()  # and the same photograph is opened again
        person.waits()
        person.opens("mole", photograph(TWO))
        person.clicks("undo_correction")
        person.waits()
        assert corrections.rows() == []
        person.analyses()
    # Painting the second lesion needs no confirmation.
    person.draws(person.layer("mask"), [(60, 120), (60, 121)], brush=30)
    person.waits()
    assert not person.layer("other lesions").data
    person.clicks("add_correction")
    person.waits()
    review, mask = stored(corrections)
    assert review == "corrected"
    assert np.array_equal(mask, person.mask)


def test_lesions_that_a_new_threshold_finds_are_asked_about_although_the_mask_does_not_follow_yet(corrections, person):
    pixels = photograph(TWO[:1])
    pixels[45:75, 105:135] = 133  # a faint lesion: probability 0.4
    person.opens("mole", pixels)
    person.analyses()
    (session,) = person.dock.sessions
    assert not session.lesion.result.other_masks
    person.finds(QDoubleSpinBox, "threshold").setValue(0.3)
    adds(person)
    assert len(session.lesion.result.other_masks) == 1
    person.answers("other_lesions", "Include all")
    person.waits()
    review, mask = stored(corrections)
    assert (review, bool(mask[60, 120])) == ("accepted", True)


@pytest.fixture
def short(window, tmp_path):
    """A user with two photographs, one of them stored, in a dock of 340 x 420 pixels that looks as in napari."""
    window.main.setStyleSheet(get_stylesheet("dark"))
    ReviewSettings().corrections = tmp_path / "corrections"
    window.dock.corrections.store.refresh()
    window.opens("a photograph with a name that is too long for one line of the dock")
    window.opens("another photograph with a name that is too long for one line")
    window.clicks("analyse_all")
    window.waits()
    window.clicks("add_correction")
    window.waits()
    frame = window.dock.parentWidget()
    while not isinstance(frame, QDockWidget):
        frame = frame.parentWidget()
    frame.setFloating(True)
    frame.resize(340, 420)
    window.qtbot.wait(300)
    yield window
    frame.setFloating(False)
    window.qtbot.wait(50)


def test_a_short_dock_clips_no_line_or_button(short):
    for name in ("review_state", "status", "notice_of_use"):
        label = short.finds(QLabel, name)
        assert label.isVisible(), name
        assert label.height() >= label.heightForWidth(label.width()), name
        below = label.mapTo(short.dock, label.rect().bottomLeft()).y()
        assert below < short.dock.height(), name
    scroll = short.finds(QScrollArea, "lesion_scroll")
    assert scroll.verticalScrollBar().isVisible()
    bar = scroll.verticalScrollBar().width()
    assert scroll.widget().minimumSizeHint().width() <= 320 - bar  # with room for wider letters at 340
    button = short.finds(QAbstractButton, "analyse_all")
    right = button.mapTo(short.dock, button.rect().topRight()).x()
    assert right < short.dock.width()
