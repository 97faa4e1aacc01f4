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
from napari_melanoma.ui.lesion import recovery
from napari_melanoma.ui.lesion.corrections_bar import describe_correction
from napari_melanoma.ui.lesion.reviewer import ReviewSettings
from napari_melanoma.ui.widgets.job import tasks

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


def test_an_untouched_mask_is_stored_as_accepted(analyzed, corrections):
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
    assert "1 image with masks in total" in analyzed.dock.status.text
    assert "'train'" in analyzed.dock.status.text
    assert analyzed.finds(QLabel, "standing").text().startswith("in corrections: accepted by ")


def test_an_edited_mask_is_stored_as_corrected_with_the_predicted_mask(analyzed, corrections):
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
    analyzed.draws(analyzed.layer("mask"), [(100, 100), (100, 140)])
    analyzed.waits()
    assert analyzed.finds(QLabel, "review_state").text() == "not stored"
    (sample,) = read_dataset(corrections.folder)
    assert sample.review == "corrected"


def test_stored_corrections_count_as_saved(analyzed):
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    analyzed.waits()
    assert analyzed.dock.controller.store.unsaved_names() == ["mole"]
    adds(analyzed)
    assert analyzed.dock.controller.store.unsaved_names() == []
    assert not list(recovery.recovery_root().glob("*/drawn.npz"))
    analyzed.clicks("undo_correction")
    analyzed.waits()
    assert analyzed.dock.controller.store.unsaved_names() == ["mole"]
    assert list(recovery.recovery_root().glob("*/drawn.npz"))


def test_a_changed_threshold_counts_as_a_correction(analyzed, corrections):
    analyzed.finds(QToolButton, "threshold_reset")
    analyzed.dock.mask_controls._box.setValue(0.8)
    analyzed.dock.mask_controller.flush()
    analyzed.waits()
    adds(analyzed)
    assert corrections.rows()[0]["review"] == "corrected"


def test_clicking_twice_stores_once_and_can_be_undone(analyzed, corrections):
    analyzed.clicks("add_correction")
    analyzed.clicks("add_correction")
    analyzed.waits()
    adds(analyzed)
    assert len(corrections.rows()) == 1
    analyzed.clicks("undo_correction")
    analyzed.waits()
    assert corrections.rows() == []
    assert "Undid the last change" in analyzed.dock.status.text
    assert not analyzed.finds(QLabel, "standing").isVisibleTo(analyzed.dock)
    adds(analyzed)
    assert len(corrections.rows()) == 1


def test_adding_after_more_correction_updates_the_row(analyzed, corrections):
    adds(analyzed)
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    adds(analyzed)
    (row,) = corrections.rows()
    assert row["review"] == "corrected"
    assert np.array_equal(read_mask(corrections.folder / row["mask_path"]), analyzed.mask)
    analyzed.clicks("undo_correction")
    analyzed.waits()
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


def test_a_photograph_opened_again_shows_its_stored_review(analyzed, corrections):
    analyzed.finds(QComboBox, "diagnosis").setEditText("melanoma")
    adds(analyzed)
    for layer in list(analyzed.viewer.layers):
        analyzed.viewer.layers.remove(layer)
    analyzed.waits()
    analyzed.opens("under another name")
    assert analyzed.finds(QComboBox, "diagnosis").currentText() == ""
    analyzed.analyses()
    assert analyzed.finds(QComboBox, "diagnosis").currentText() == "melanoma"
    assert "in corrections: accepted" in analyzed.finds(QLabel, "standing").text()


def test_a_diagnosis_stays_with_its_photograph_and_is_offered_for_others(analyzed):
    box = analyzed.finds(QComboBox, "diagnosis")
    box.setEditText("Spitz nevus")
    adds(analyzed)
    analyzed.opens("another")
    assert box.currentText() == ""
    assert box.findText("Spitz nevus") == 1
    analyzed.dock.picker.step(-1)
    assert box.currentText() == "Spitz nevus"


@pytest.mark.both_qts
def test_the_reviewer_is_entered_once(analyzed, corrections, qtbot):
    menu = analyzed.finds(QToolButton, "corrections_menu").menu()
    assert isinstance(menu, QMenu)
    next(action for action in menu.actions() if action.objectName() == "reviewer").trigger()
    dialog = analyzed.dock.window().findChild(QInputDialog, "reviewer_dialog")
    dialog.setTextValue("Ana")
    dialog.accept()
    adds(analyzed)
    assert corrections.rows()[0]["reviewer"] == "Ana"
    assert ReviewSettings().reviewer == "Ana"


@pytest.mark.both_qts
def test_the_shortcut_stores(analyzed, corrections):
    keys = {shortcut.key().toString(): shortcut for shortcut in analyzed.dock.findChildren(QShortcut)}
    keys["Ctrl+Alt+A"].activated.emit()
    analyzed.waits()
    assert len(corrections.rows()) == 1


def test_an_unwritable_folder_is_reported_and_the_next_click_retries(analyzed, tmp_path):
    (tmp_path / "a file").write_text("in the way")
    analyzed.dock.corrections_controller.corrections_store.folder = tmp_path / "a file"
    analyzed.waits()
    adds(analyzed)
    assert "a file" in analyzed.dock.status.text
    analyzed.dock.corrections_controller.corrections_store.folder = tmp_path / "room"
    adds(analyzed)
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


def test_storing_again_reports_the_stored_row_with_a_link_to_training(analyzed):
    adds(analyzed)
    adds(analyzed)
    assert "mole is already stored as accepted" in analyzed.dock.status.text
    assert "'train'" in analyzed.dock.status.text


def test_an_empty_diagnosis_clears_the_stored_one_once(analyzed, corrections):
    box = analyzed.finds(QComboBox, "diagnosis")
    box.setEditText("melanoma")
    adds(analyzed)
    box.setCurrentIndex(0)
    adds(analyzed)
    assert corrections.rows()[0]["diagnosis"] == ""


def test_a_diagnosis_stored_elsewhere_is_kept(analyzed, corrections):
    box = analyzed.finds(QComboBox, "diagnosis")
    box.setEditText("melanoma")
    adds(analyzed)
    analyzed.viewer.layers.clear()
    analyzed.waits()
    analyzed.opens("blurred")
    assert box.currentText() == ""
    analyzed.clicks("reject")
    analyzed.waits()
    (row,) = corrections.rows()
    assert (row["review"], row["diagnosis"]) == ("rejected", "melanoma")


@pytest.mark.parametrize("analyse", [False, True])
def test_a_rejected_photograph_keeps_its_corrected_mask(analyzed, corrections, analyse):
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    adds(analyzed)
    (before,) = corrections.rows()
    analyzed.viewer.layers.clear()
    analyzed.waits()
    analyzed.opens("again")
    if analyse:
        analyzed.analyses()
    analyzed.clicks("reject")
    analyzed.waits()
    (row,) = corrections.rows()
    assert row["review"] == "rejected"
    kept = ("mask_path", "prediction_path", "model", "model_fingerprint")
    assert [row[name] for name in kept] == [before[name] for name in kept]
    assert read_mask(corrections.folder / row["mask_path"])[10, 120]
    analyzed.clicks("undo_correction")
    analyzed.waits()
    assert corrections.rows() == [before]
