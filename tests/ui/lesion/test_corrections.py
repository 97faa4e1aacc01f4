"""Add to corrections: the stored rows, the messages, and that nothing is stored twice or lost."""

from __future__ import annotations

import getpass

import numpy as np
import pytest
from qtpy.QtGui import QShortcut
from qtpy.QtWidgets import QApplication, QComboBox, QInputDialog, QLabel, QMenu, QToolButton

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.corrections import Corrections
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.io.results import read_mask
from napari_melanoma.ui.lesion import state as recovery
from napari_melanoma.ui.lesion.corrections_store import ReviewSettings
from napari_melanoma.ui.lesion.footer import describe_correction

PATIENCE_MS = 20_000


@pytest.fixture
def corrections(tmp_path, home):
    """The corrections that the docks of this test write to."""
    ReviewSettings().corrections = tmp_path / "my corrections"
    return Corrections(tmp_path / "my corrections")


@pytest.fixture
def analysed(corrections, person):
    """A user with an analyzed photograph: a dark disk of radius 25 around (60, 80)."""
    person.opens()
    person.analyses()
    return person


def adds(person):
    person.clicks("add_correction")
    person.waits()


def test_an_untouched_mask_is_stored_as_accepted(analysed, corrections):
    state = analysed.finds(QLabel, "review_state")
    assert state.text() == "not stored"
    analysed.clicks("add_correction")
    said = []
    while analysed.dock.busy:
        said.append(state.text())
        QApplication.processEvents()
    assert "storing ..." in said
    assert state.text() == "accepted"
    (row,) = corrections.rows()
    assert (row["image_id"], row["review"], row["reviewer"]) == ("mole", "accepted", getpass.getuser())
    assert (row["model"], row["model_fingerprint"]) == (analysed.dock.model.model, "0" * 64)
    assert np.array_equal(read_mask(corrections.folder / row["mask_path"]), analysed.mask)
    assert "mole stored as accepted" in analysed.dock.status.text
    assert "1 image with masks in total" in analysed.dock.status.text
    assert "'train'" in analysed.dock.status.text
    assert analysed.finds(QLabel, "standing").text().startswith("in corrections: accepted by ")


@pytest.mark.one_qt
def test_an_edited_mask_is_stored_as_corrected_with_the_predicted_mask(analysed, corrections):
    own = analysed.mask.copy()
    analysed.draws(analysed.layer("mask"), [(10, 100), (10, 140)])
    analysed.finds(QComboBox, "diagnosis").setEditText(" blue nevus ")
    adds(analysed)  # at once: the stroke has not settled yet
    (row,) = corrections.rows()
    assert (row["review"], row["diagnosis"]) == ("corrected", "blue nevus")
    stored = read_mask(corrections.folder / row["mask_path"])
    assert np.array_equal(stored, analysed.mask)
    assert not np.array_equal(stored, own)
    assert np.array_equal(read_mask(corrections.folder / row["prediction_path"]), own)
    assert analysed.finds(QLabel, "review_state").text() == "corrected"
    analysed.draws(analysed.layer("mask"), [(100, 100), (100, 140)])
    analysed.waits()
    assert analysed.finds(QLabel, "review_state").text() == "not stored"
    (sample,) = read_dataset(corrections.folder)
    assert sample.review == "corrected"


@pytest.mark.one_qt
def test_stored_corrections_count_as_saved(analysed):
    analysed.draws(analysed.layer("mask"), [(10, 100), (10, 140)])
    analysed.waits()
    assert analysed.dock.controller.store.unsaved_names() == ["mole"]
    adds(analysed)
    assert analysed.dock.controller.store.unsaved_names() == []
    assert not list(recovery.recovery_root().glob("*/drawn.npz"))
    analysed.clicks("undo_correction")
    analysed.waits()
    assert analysed.dock.controller.store.unsaved_names() == ["mole"]
    assert list(recovery.recovery_root().glob("*/drawn.npz"))


@pytest.mark.one_qt
def test_a_changed_threshold_counts_as_a_correction(analysed, corrections):
    analysed.finds(QToolButton, "threshold_reset")
    analysed.dock.mask_controls._box.setValue(0.8)
    analysed.dock.mask_controller.flush()
    analysed.waits()
    adds(analysed)
    assert corrections.rows()[0]["review"] == "corrected"


@pytest.mark.one_qt
def test_clicking_twice_stores_once_and_can_be_undone(analysed, corrections):
    analysed.clicks("add_correction")
    analysed.clicks("add_correction")
    analysed.waits()
    adds(analysed)
    assert len(corrections.rows()) == 1
    analysed.clicks("undo_correction")
    analysed.waits()
    assert corrections.rows() == []
    assert "Undid the last change" in analysed.dock.status.text
    assert not analysed.finds(QLabel, "standing").isVisibleTo(analysed.dock)
    adds(analysed)
    assert len(corrections.rows()) == 1


@pytest.mark.one_qt
def test_adding_after_more_correction_updates_the_row(analysed, corrections):
    adds(analysed)
    analysed.draws(analysed.layer("mask"), [(10, 100), (10, 140)])
    adds(analysed)
    (row,) = corrections.rows()
    assert row["review"] == "corrected"
    assert np.array_equal(read_mask(corrections.folder / row["mask_path"]), analysed.mask)
    analysed.clicks("undo_correction")
    analysed.waits()
    (row,) = corrections.rows()
    assert row["review"] == "accepted"


def test_a_photograph_can_be_rejected_without_an_analysis(corrections, person):
    image = person.opens("blurred")
    assert not person.finds(QToolButton, "reject").parent().isHidden()
    person.clicks("reject")
    person.waits()
    (row,) = corrections.rows()
    assert (row["image_id"], row["review"]) == ("blurred", "rejected")
    assert row["image_sha256"] == array_fingerprint(np.ascontiguousarray(image.data))
    assert "0 images with masks in total" in person.dock.status.text


@pytest.mark.one_qt
def test_a_photograph_opened_again_shows_its_stored_review(analysed, corrections):
    analysed.finds(QComboBox, "diagnosis").setEditText("melanoma")
    adds(analysed)
    for layer in list(analysed.viewer.layers):
        analysed.viewer.layers.remove(layer)
    analysed.waits()
    analysed.opens("under another name")
    assert analysed.finds(QComboBox, "diagnosis").currentText() == ""
    analysed.analyses()
    assert analysed.finds(QComboBox, "diagnosis").currentText() == "melanoma"
    assert "in corrections: accepted" in analysed.finds(QLabel, "standing").text()


@pytest.mark.one_qt
def test_a_diagnosis_stays_with_its_photograph_and_is_offered_for_others(analysed):
    box = analysed.finds(QComboBox, "diagnosis")
    box.setEditText("Spitz nevus")
    adds(analysed)
    analysed.opens("another")
    assert box.currentText() == ""
    assert box.findText("Spitz nevus") == 1
    analysed.dock.picker.step(-1)
    assert box.currentText() == "Spitz nevus"


def test_the_reviewer_is_entered_once(analysed, corrections, qtbot):
    menu = analysed.finds(QToolButton, "corrections_menu").menu()
    assert isinstance(menu, QMenu)
    next(action for action in menu.actions() if action.objectName() == "reviewer").trigger()
    dialog = analysed.dock.window().findChild(QInputDialog, "reviewer_dialog")
    dialog.setTextValue("Ana")
    dialog.accept()
    adds(analysed)
    assert corrections.rows()[0]["reviewer"] == "Ana"
    assert ReviewSettings().reviewer == "Ana"


def test_the_shortcut_stores(analysed, corrections):
    keys = {shortcut.key().toString(): shortcut for shortcut in analysed.dock.findChildren(QShortcut)}
    keys["Ctrl+Alt+A"].activated.emit()
    analysed.waits()
    assert len(corrections.rows()) == 1


@pytest.mark.one_qt
def test_an_unwritable_folder_is_reported_and_the_next_click_retries(analysed, tmp_path):
    (tmp_path / "a file").write_text("in the way")
    analysed.dock.corrections_controller.corrections_store.folder = tmp_path / "a file"
    analysed.waits()
    adds(analysed)
    assert "a file" in analysed.dock.status.text
    analysed.dock.corrections_controller.corrections_store.folder = tmp_path / "room"
    adds(analysed)
    assert len(Corrections(tmp_path / "room").rows()) == 1


WORDS = [
    ("corrected", "N", "2026-01-01T00:00:00+00:00", "corrected by N, 2 minutes ago"),
    ("rejected", "", "2026-01-01T00:02:00+00:00", "rejected, a moment ago"),
    ("", "N", "yesterday", "unreviewed by N"),
]


@pytest.mark.parametrize(("review", "reviewer", "when", "words"), WORDS)
def test_the_stored_review_as_text(review, reviewer, when, words):
    row = {"review": review, "reviewer": reviewer, "reviewed_at": when}
    assert describe_correction(row, 1_767_225_720.0) == f"in corrections: {words}"


@pytest.mark.one_qt
def test_storing_again_reports_the_stored_row_with_a_link_to_training(analysed):
    adds(analysed)
    adds(analysed)
    assert "mole is already stored as accepted" in analysed.dock.status.text
    assert "'train'" in analysed.dock.status.text


@pytest.mark.one_qt
def test_an_empty_diagnosis_clears_the_stored_one_once(analysed, corrections):
    box = analysed.finds(QComboBox, "diagnosis")
    box.setEditText("melanoma")
    adds(analysed)
    box.setCurrentIndex(0)
    adds(analysed)
    assert corrections.rows()[0]["diagnosis"] == ""


@pytest.mark.one_qt
def test_a_diagnosis_stored_elsewhere_is_kept(analysed, corrections):
    box = analysed.finds(QComboBox, "diagnosis")
    box.setEditText("melanoma")
    adds(analysed)
    analysed.viewer.layers.clear()
    analysed.waits()
    analysed.opens("blurred")
    assert box.currentText() == ""
    analysed.clicks("reject")
    analysed.waits()
    (row,) = corrections.rows()
    assert (row["review"], row["diagnosis"]) == ("rejected", "melanoma")


@pytest.mark.one_qt
@pytest.mark.parametrize("analyse", [False, True])
def test_a_rejected_photograph_keeps_its_corrected_mask(analysed, corrections, analyse):
    analysed.draws(analysed.layer("mask"), [(10, 100), (10, 140)])
    adds(analysed)
    (before,) = corrections.rows()
    analysed.viewer.layers.clear()
    analysed.waits()
    analysed.opens("again")
    if analyse:
        analysed.analyses()
    analysed.clicks("reject")
    analysed.waits()
    (row,) = corrections.rows()
    assert row["review"] == "rejected"
    kept = ("mask_path", "prediction_path", "model", "model_fingerprint")
    assert [row[name] for name in kept] == [before[name] for name in kept]
    assert read_mask(corrections.folder / row["mask_path"])[10, 120]
    analysed.clicks("undo_correction")
    analysed.waits()
    assert corrections.rows() == [before]
