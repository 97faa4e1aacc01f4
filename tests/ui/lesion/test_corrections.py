"""Add to corrections: the stored rows, the messages, and that nothing is stored twice or lost."""

from __future__ import annotations

import getpass

import numpy as np
import pytest
from lesion_fixtures import FIXTURES
from qtpy.QtCore import QObject
from qtpy.QtGui import QShortcut
from qtpy.QtWidgets import QApplication, QComboBox, QDoubleSpinBox, QInputDialog, QLabel, QMenu, QToolButton

from conftest import photograph, wait_until_idle
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.corrections import Corrections
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.io.results import read_mask
from napari_melanoma.ui.sections.corrections import describe_correction
from napari_melanoma.ui.session import recovery
from napari_melanoma.ui.session.corrections_store import (
    CorrectionsIndex,
    CorrectionsStore,
    ReviewSettings,
    StoredCorrection,
)
from napari_melanoma.ui.widgets.job import tasks

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)

PATIENCE_MS = 60_000


@pytest.fixture
def corrections(tmp_path, home):
    """The corrections that the docks of this test write to."""
    ReviewSettings().corrections = tmp_path / "my corrections"
    return Corrections(tmp_path / "my corrections")


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
    state = analyzed.finds(QLabel, "review_state")
    assert state.text() == "not stored"
    analyzed.clicks("add_correction")
    texts = []
    while not tasks.is_idle(analyzed.dock):
        texts.append(state.text())
        QApplication.processEvents()
    assert "storing ..." in texts
    assert state.text() == "accepted"
    (row,) = corrections.rows()
    assert (row["image_id"], row["review"], row["reviewer"]) == ("mole", "accepted", getpass.getuser())
    assert (row["model"], row["model_fingerprint"]) == (analyzed.dock.model.model, "0" * 64)
    assert np.array_equal(read_mask(corrections.folder / row["mask_path"]), analyzed.mask)
    assert "mole stored as accepted" in analyzed.dock.status.text
    assert ">my corrections</a>" in analyzed.dock.status.text
    assert "1 image with masks in total" in analyzed.dock.status.text
    assert "'train'" in analyzed.dock.status.text
    assert analyzed.finds(QLabel, "storage_state").text().startswith("in corrections: accepted by ")
    # Storing it again only reports it, with links to the folder and to training.
    adds(analyzed)
    assert ">my corrections</a>" in analyzed.dock.status.text
    assert "mole is already stored as accepted" in analyzed.dock.status.text
    assert "'train'" in analyzed.dock.status.text
    assert len(corrections.rows()) == 1
    # It can be undone.
    analyzed.clicks("undo_correction")
    analyzed.waits()
    assert corrections.rows() == []
    assert "Undid the last change" in analyzed.dock.status.text
    assert not analyzed.finds(QLabel, "storage_state").isVisibleTo(analyzed.dock)
    # Two quick clicks store it once.
    analyzed.clicks("add_correction")
    analyzed.clicks("add_correction")
    analyzed.waits()
    assert len(corrections.rows()) == 1
    analyzed.clicks("undo_correction")
    analyzed.waits()
    # So does the shortcut.
    keys = {shortcut.key().toString(): shortcut for shortcut in analyzed.dock.findChildren(QShortcut)}
    keys["Ctrl+Alt+A"].activated.emit()
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
    assert analyzed.finds(QLabel, "review_state").text() == "corrected"
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
    assert [session.name for session in analyzed.dock.sessions.unsaved] == []
    # A later correction is not stored until it is added, and then updates the row.
    analyzed.draws(analyzed.layer("mask"), [(100, 100), (100, 140)])
    analyzed.waits()
    assert analyzed.finds(QLabel, "review_state").text() == "not stored"
    assert [session.name for session in analyzed.dock.sessions.unsaved] == ["mole"]
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
    assert "1 image with masks in total" in analyzed.dock.status.text
    assert ">my corrections</a>" in analyzed.dock.status.text
    assert [session.name for session in analyzed.dock.sessions.unsaved] == ["mole"]
    # So is each of several that are undone one after another, although the folder was changed and back.
    set_folder(corrections.folder)
    adds(analyzed)
    analyzed.opens("another", photograph(((60, 80, 12),)))
    analyzed.analyses()
    analyzed.draws(analyzed.layer("mask", "another"), [(10, 100), (10, 140)])
    adds(analyzed)
    assert [session.name for session in analyzed.dock.sessions.unsaved] == []
    set_folder(tmp_path / "another")
    set_folder(corrections.folder)
    analyzed.waits()
    for names in (["another"], ["mole", "another"]):
        analyzed.clicks("undo_correction")
        analyzed.waits()
        assert [session.name for session in analyzed.dock.sessions.unsaved] == names


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
    # An empty one clears it once.
    box().setCurrentIndex(0)
    adds(analyzed)
    assert corrections.rows()[0]["diagnosis"] == ""
    box().setEditText("melanoma")
    adds(analyzed)
    # The photograph that is opened again shows it, with its review.
    analyzed.viewer.layers.clear()
    analyzed.waits()
    analyzed.opens("under another name")
    assert box().currentText() == ""
    analyzed.analyses()
    assert box().currentText() == "melanoma"
    assert "in corrections: accepted" in analyzed.finds(QLabel, "storage_state").text()
    # It is kept when the photograph is rejected where the box is empty.
    analyzed.viewer.layers.clear()
    analyzed.waits()
    analyzed.opens("blurred")
    assert box().currentText() == ""
    analyzed.clicks("reject")
    analyzed.waits()
    (row,) = corrections.rows()
    assert (row["review"], row["diagnosis"]) == ("rejected", "melanoma")


def test_a_changed_threshold_is_stored_as_corrected_by_the_entered_reviewer(analyzed, corrections, tmp_path):
    menu = analyzed.finds(QToolButton, "corrections_menu").menu()
    assert isinstance(menu, QMenu)
    next(action for action in menu.actions() if action.objectName() == "reviewer").trigger()
    dialog = analyzed.dock.window().findChild(QInputDialog, "reviewer_dialog")
    dialog.setTextValue("Ana")
    dialog.accept()
    analyzed.finds(QToolButton, "threshold_reset")
    analyzed.finds(QDoubleSpinBox, "threshold").setValue(0.8)
    analyzed.dock.picker.session.commit_requested.emit()
    analyzed.waits()
    adds(analyzed)
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


def test_a_folder_selected_in_one_dock_is_used_in_all(home, qtbot, tmp_path):
    docks = QObject()
    one, other = CorrectionsStore(ReviewSettings(), docks), CorrectionsStore(ReviewSettings(), docks)
    one.folder = tmp_path / "new"
    wait_until_idle(qtbot, docks)
    assert other.folder == tmp_path / "new"
    # What was being stored in the previous folder does not bring that back.
    other.set_stored(StoredCorrection("mole", "digest", "accepted", CorrectionsIndex(tmp_path / "old")))
    wait_until_idle(qtbot, docks)
    assert other.folder == tmp_path / "new"


WORDS = [
    ("corrected", "N", "2026-01-01T00:00:00+00:00", "corrected by N, 2 minutes ago"),
    ("rejected", "", "2026-01-01T00:02:00+00:00", "rejected, a moment ago"),
    ("", "N", "yesterday", "unreviewed by N"),
]


@pytest.mark.parametrize(("review", "reviewer", "when", "words"), WORDS)
def test_the_stored_review_as_text(review, reviewer, when, words):
    row = {"review": review, "reviewer": reviewer, "reviewed_at": when}
    assert describe_correction(row, 1_767_225_720.0) == f"in corrections: {words}"


def test_a_photograph_is_rejected_without_an_analysis_and_keeps_a_corrected_mask(corrections, person):
    image = person.opens("blurred")
    assert not person.finds(QToolButton, "reject").parent().isHidden()
    person.clicks("reject")
    person.waits()
    (row,) = corrections.rows()
    assert (row["image_id"], row["review"]) == ("blurred", "rejected")
    assert row["image_sha256"] == array_fingerprint(np.ascontiguousarray(image.data))
    assert "0 images with masks in total" in person.dock.status.text
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
