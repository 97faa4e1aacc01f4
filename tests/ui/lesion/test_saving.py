"""Saving, corrections that survive a crash, and closing of the window or the dock."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
from fake_dicom import write_photograph
from lesion_fixtures import FIXTURES, gradient, open_dock
from message_boxes import answering
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QFileDialog,
    QLabel,
    QWidget,
)

from conftest import PATIENCE_MS, photograph
from napari_melanoma.core.errors import SaveError
from napari_melanoma.io.results import read_mask, read_table
from napari_melanoma.lesion import analysis
from napari_melanoma.ui.lesion import saving
from napari_melanoma.ui.lesion.saving import CHANGED_MESSAGE, NOT_DICOM_TIP, SAVE_FIRST, result_folder
from napari_melanoma.ui.session import photograph_predictions, recovery
from napari_melanoma.ui.session.recovery import discard_unsaved, save_unsaved
from napari_melanoma.ui.session.saved_result import describe_saved_mask, read_saved_result
from napari_melanoma.ui.widgets.dialogs import StoreGuard
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.settings import READER_SETTING

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


@pytest.fixture
def analyzed(person):
    """A user with an analyzed photograph."""
    person.opens()
    person.analyses()
    return person


@pytest.fixture
def corrected(analyzed):
    """A user who has edited the mask of an analyzed photograph."""
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    analyzed.waits()
    return analyzed


def strikes(person, name, points=((10, 100), (10, 140)), **brush):
    """Draw a stroke on the mask of a photograph, and wait until all results are updated."""
    person.draws(person.layer("mask", name), list(points), **brush)
    person.waits()


def saves(person):
    person.clicks("save")
    person.waits()


def asked():
    """What the question about a result says."""
    (box,) = [box for box in QApplication.topLevelWidgets() if box.objectName() == "replace_result" and box.isVisible()]
    return box.informativeText()


def disk(row, column, radius):
    """Skin with one dark disk: uint8 (row, column, channel)."""
    rows, columns = np.mgrid[:120, :160]
    dark = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return np.where(dark[..., None], np.uint8((70, 45, 40)), np.uint8((215, 170, 150)))


def offered(person, qtbot):
    """The button that brings back, once it is there."""
    button = person.finds(QAbstractButton, "recover")
    qtbot.waitUntil(lambda: button.isVisibleTo(person.dock), timeout=PATIENCE_MS)
    return button


def masks(person):
    return [layer for layer in person.viewer.layers if "mask" in layer.name]


def saved_values(folder):
    """The saved model, model in the options, threshold, and whether the mask was corrected."""
    about = json.loads((folder / "result.json").read_text())
    return about["model"]["name"], about["options"]["model"], about["threshold"], about["corrected_by_hand"]


def sets_next_threshold(person, threshold):
    """Set the threshold of the next analysis; the mask does not follow it."""
    session, options = person.dock.picker.session, person.dock.options
    options.edit(session, options.get(session).model_copy(update={"threshold": threshold}))


@pytest.mark.path
def test_everything_is_saved_into_the_chosen_folder_or_the_reason_is_reported(corrected, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "results"
    out.mkdir()
    assert "recovery.json" in kept()
    corrected.clicks("save")
    dialog = next(found for found in QApplication.topLevelWidgets() if found.objectName() == "folder_dialog")
    assert isinstance(dialog, QFileDialog)
    dialog.fileSelected.emit(str(out))
    dialog.reject()
    corrected.waits()
    folder = out / "mole"
    assert {path.name for path in folder.iterdir()} == {
        "mask.png", "probability.png", "roi.png", "overlay.png", "result.json", "lesions.csv",
    }  # fmt: skip
    assert np.array_equal(read_mask(folder / "mask.png"), corrected.mask)
    assert json.loads((folder / "result.json").read_text())["corrected_by_hand"] is True
    (row,) = read_table(out / "results.csv")
    assert row["image"] == "mole"
    assert float(row["area_px"]) == corrected.mask.sum()
    assert not corrected.lesion.unsaved
    assert kept() == []
    # A stroke that has not settled is saved, too, into the same folder.
    corrected.draws(corrected.layer("mask"), [(100, 100), (100, 140)])
    corrected.dock.save_bar.save()
    corrected.waits()
    assert corrected.mask[100, 120]
    assert np.array_equal(read_mask(folder / "mask.png"), corrected.mask)
    assert len(read_table(out / "results.csv")) == 1
    # A full disk leaves no partial files.
    (tmp_path / "two").mkdir()
    corrected.dock.settings.folder = tmp_path / "two"
    with monkeypatch.context() as patch:
        patch.setattr(analysis, "write_rgb", full)
        corrected.clicks("save")
        corrected.waits()
    assert "the disk is full" in notification_manager.records[-1].message
    assert "the disk is full" in corrected.dock.status.text
    assert not list((tmp_path / "two").glob("**/mole*"))
    # The status of saving ends with its photograph.
    (tmp_path / "three").mkdir()
    corrected.dock.settings.folder = tmp_path / "three"
    corrected.clicks("save")
    corrected.viewer.layers.clear()
    corrected.waits()
    assert not corrected.dock.status.is_busy


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_reported(analyzed, tmp_path):
    analyzed.dock.settings.folder = tmp_path
    tmp_path.chmod(0o500)
    analyzed.clicks("save")
    analyzed.waits()
    tmp_path.chmod(0o700)
    assert "no permission" in notification_manager.records[-1].message


def test_saving_over_another_photograph_of_the_same_name_needs_confirmation(corrected, tmp_path):
    corrected.dock.settings.folder = tmp_path
    saves(corrected)
    # A stroke keeps the model and options of the mask, whatever is picked for the next analysis.
    model = corrected.lesion.result.options.model
    corrected.dock.model.model = "another"
    strikes(corrected, "mole", [(100, 20), (100, 60)])
    saves(corrected)
    assert saved_values(tmp_path / "mole") == (model, model, 0.5, True)
    drawn = corrected.mask.copy()
    # Another photograph of the same name.
    corrected.viewer.layers.clear()
    corrected.opens(rgb=disk(40, 40, 20))
    corrected.analyses()
    corrected.clicks("save")
    assert "has a result of another photograph, saved a moment ago. Its mask was made by a user" in asked()
    corrected.answers("replace_result", "Cancel")
    corrected.waits()
    assert np.array_equal(read_mask(tmp_path / "mole" / "mask.png"), drawn)
    corrected.clicks("save")
    corrected.answers("replace_result", "Replace")
    corrected.waits()
    assert np.array_equal(read_mask(tmp_path / "mole" / "mask.png"), corrected.mask)
    saves(corrected)  # its own result of a moment ago: no question
    # Another window, or a command, has replaced it meanwhile: it is neither reported nor replaced without a question.
    with (tmp_path / "mole" / "result.json").open("a") as file:
        file.write("\n")
    corrected.finds(QAction, "lesion_report").trigger()
    assert corrected.dock.status.text == CHANGED_MESSAGE
    corrected.clicks("save")
    assert "has a result of this photograph, saved a moment ago" in asked()
    corrected.answers("replace_result", "Replace")
    corrected.waits()
    saves(corrected)
    # In the next session, it is asked whether to replace a result of the same photograph.
    strikes(corrected, "mole")
    saves(corrected)
    two_days_ago = time.time() - 2 * 86400 - 1
    os.utime(tmp_path / "mole" / "result.json", (two_days_ago, two_days_ago))
    corrected.viewer.layers.clear()
    corrected.waits()
    corrected.opens(rgb=disk(40, 40, 20))
    corrected.waits()
    corrected.clicks("revert")
    corrected.waits()
    corrected.clicks("save")
    assert "has a result of this photograph, saved 2 days ago. Its mask" in asked()
    assert "(corrected by hand)" in asked()
    corrected.answers("replace_result", "Replace")
    corrected.waits()
    assert saved_values(tmp_path / "mole")[-1] is False
    # A result without a correction, and a folder without a result.
    corrected.viewer.layers.clear()
    corrected.waits()
    corrected.opens(rgb=disk(40, 40, 20))
    corrected.analyses()
    corrected.clicks("save")
    assert asked().endswith("has a result of this photograph, saved a moment ago.")
    corrected.answers("replace_result", "Cancel")
    (tmp_path / "mole" / "result.json").rename(tmp_path / "result.json")
    corrected.clicks("save")
    assert asked().endswith("already exists and may belong to another photograph with the same name.")
    corrected.answers("replace_result", "Cancel")
    (tmp_path / "result.json").rename(tmp_path / "mole" / "result.json")
    # Once it is renamed, it is saved under its current name, and the folder of that of the previous name stays.
    replaced = (tmp_path / "mole" / "result.json").read_text()
    corrected.viewer.layers["mole"].name = "left arm"
    assert str(tmp_path / "left arm") in corrected.dock.save_bar.button.toolTip()
    saves(corrected)
    assert (tmp_path / "mole" / "result.json").read_text() == replaced
    assert json.loads((tmp_path / "left arm" / "result.json").read_text())["image"] == "left arm"
    assert [row["image"] for row in read_table(tmp_path / "results.csv")].count("left arm") == 1


def test_no_report_is_written_of_a_saved_result_that_was_changed(analyzed, tmp_path, monkeypatch):
    requested = []
    monkeypatch.setattr(analyzed.dock.report_writer, "ask", lambda *arguments: requested.append(arguments))
    analyzed.dock.settings.folder = tmp_path
    analyzed.clicks("save")
    analyzed.waits()
    analyzed.chooses("lesion_report")
    assert requested == [((tmp_path / "mole",), tmp_path, "mole-report")]
    # A mask that was edited since, also one that is just being drawn.
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    for _ in range(2):
        analyzed.chooses("lesion_report")
        assert "has changed since it was saved. Press Save first" in analyzed.dock.status.text
        analyzed.waits()
    assert len(requested) == 1
    analyzed.clicks("save")
    analyzed.waits()
    analyzed.chooses("lesion_report")
    assert len(requested) == 2
    # Undo restores a mask that is no longer the saved one.
    analyzed.layer("mask").undo()
    analyzed.waits()
    analyzed.chooses("lesion_report")
    assert len(requested) == 2
    # After redo, the shown result is again the saved one.
    analyzed.layer("mask").redo()
    analyzed.waits()
    analyzed.chooses("lesion_report")
    assert len(requested) == 3
    # The type of photograph is in the report, too.
    analyzed.dock.picker.set_modality("macroscopic")
    analyzed.waits()
    analyzed.chooses("lesion_report")
    assert len(requested) == 3


def test_the_measurement_report_of_a_saved_dicom_photograph(person, tmp_path):
    highdicom = pytest.importorskip("highdicom")
    person.opens()
    person.analyses()
    action = person.finds(QAction, "lesion_dicom_sr")
    assert (action.isEnabled(), action.toolTip()) == (False, NOT_DICOM_TIP)
    path = write_photograph(tmp_path / "archive" / "nevus.dcm", photograph(), PixelSpacing=[0.02, 0.02])
    person.dock.opener.open([path])
    person.waits()
    person.analyses()
    assert (action.isEnabled(), action.toolTip()) == (False, SAVE_FIRST)
    person.dock.settings.folder = tmp_path
    person.dock.settings.set(READER_SETTING, "A. Meyer")
    person.draws(person.layer("mask", "nevus"), [(10, 100), (10, 140)])
    person.waits()
    person.clicks("save")
    person.waits()
    person.chooses("lesion_dicom_sr")
    dialog = person.dock.window().findChild(QFileDialog, "dicom_sr_dialog")
    dialog.fileSelected.emit(str(tmp_path / "sr.dcm"))
    dialog.close()
    person.waits()
    assert person.dock.status.text == f"Written: {tmp_path / 'sr.dcm'}"
    (lesion, *_) = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_planar_roi_measurement_groups()
    assert any("A. Meyer" in str(item.get("PersonName", "")) for item in lesion[0].ContentSequence)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lesion12", "lesion12"),
        ("a/b:c", "a_b_c"),
        ("lesion [1]", "lesion [1]"),
        ("...", "photograph"),
        ("x" * 200, "x" * 120),
        (f"{'x' * 119} y", "x" * 119),
        ("con", "photograph con"),
    ],
)
def test_the_result_folder_is_valid_on_every_system(tmp_path, name, expected):
    assert result_folder(tmp_path, name) == tmp_path / expected


def test_undo_across_models_restores_the_model_of_the_mask(person, tmp_path):
    person.dock.settings.folder = tmp_path
    person.opens(rgb=gradient())
    person.dock.model.model = "first"
    person.analyses()
    masks = [person.mask.copy()]
    strikes(person, "mole", [(10, 100), (10, 140)])
    masks.append(person.mask.copy())
    person.dock.model.model = "second"
    person.finds(QAbstractButton, "revert").click()  # the first model's, whatever is picked for next time
    person.waits()
    assert person.lesion.result.options.model == "first"
    sets_next_threshold(person, 0.9)
    person.analyses()
    saves(person)
    assert saved_values(tmp_path / "mole") == ("second", "second", 0.9, False)
    for mask, corrected in ((masks[0], False), (masks[1], True), (masks[0], False)):
        person.layer("mask").undo()
        person.waits()
        assert np.array_equal(person.mask, mask)
        saves(person)
        assert saved_values(tmp_path / "mole") == ("first", "first", 0.5, corrected)


def test_a_corrected_mask_is_replaced_only_after_confirmation(person):
    person.opens()
    person.analyses()
    model = person.mask.copy()
    person.draws(person.layer("mask"), [(10, 10), (10, 60)])
    person.waits()
    drawn = person.mask.copy()
    for pressed, expected in (("Cancel", drawn), ("Replace", model)):
        person.clicks("primary")
        person.answers("replace_corrections", pressed)
        person.waits()
        assert np.array_equal(person.mask, expected), pressed
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, drawn)
    assert person.lesion.corrected
    # So it is in a dock that is opened again.
    person.reopens()
    person.clicks("primary")
    person.answers("replace_corrections", "Cancel")
    assert np.array_equal(person.mask, drawn)
    person.clicks("primary")
    person.answers("replace_corrections", "Replace")
    person.waits()
    assert len(masks(person)) == 1
    assert not np.array_equal(person.mask, drawn)
    assert np.array_equal(person.mask, person.lesion.result.mask)
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, drawn)
    assert person.lesion.corrected
    # The question is about its photograph, also if another one is shown in the meantime.
    person.clicks("primary")
    person.opens("another mole")
    person.answers("replace_corrections", "Replace")
    person.waits()
    assert np.array_equal(person.mask, model)
    assert "another mole mask" not in person.viewer.layers


def kept():
    return sorted(path.name for path in recovery.recovery_root().glob("*/*"))


def crash(person):
    """Leave what a crash would leave: the kept files of a process that is no more."""
    (about,) = recovery.recovery_root().glob("*/recovery.json")
    values = json.loads(about.read_text())
    values["owner"] = {"pid": 2**22 - 7, "created": 1.0}
    person.viewer.layers.clear()
    for session in person.dock.sessions:
        session.lesion = None
    about.write_text(json.dumps(values))


@pytest.fixture
def crashed(corrected):
    """A user whose napari crashed after a correction, with the edited mask."""
    corrected.clicks("inside")
    corrected.draws(corrected.layer("scribbles"), [(20, 20), (20, 30)], label=1)
    corrected.waits()
    corrected.drawn = corrected.mask.copy()
    crash(corrected)
    return corrected


def test_corrections_are_offered_after_a_crash_and_restored_or_discarded(crashed, qtbot, tmp_path):
    left = shutil.copytree(recovery.recovery_root(), tmp_path / "left by the crash")

    def opens_after_the_crash(name):
        crashed.viewer.layers.clear()
        crashed.waits()
        shutil.rmtree(recovery.recovery_root())
        shutil.copytree(left, recovery.recovery_root())
        crashed.opens(name)

    # Nothing is offered for other pixels.
    crashed.opens(rgb=np.full((120, 160, 3), 99, np.uint8))
    crashed.waits()
    assert not crashed.dock.recovery_notice.isVisibleTo(crashed.dock)
    crashed.viewer.layers.clear()
    # The offer for the same pixels restores the mask and the strokes.
    crashed.opens("the same pixels")
    button = crashed.finds(QAbstractButton, "recover")
    qtbot.waitUntil(lambda: button.isVisibleTo(crashed.dock), timeout=PATIENCE_MS)
    button.click()
    qtbot.waitUntil(lambda: "the same pixels ROI" in crashed.viewer.layers, timeout=PATIENCE_MS)
    crashed.waits()
    labels = crashed.layer("mask", "the same pixels")
    assert np.array_equal(labels.data != 0, crashed.drawn)
    assert crashed.layer("scribbles", "the same pixels").data.any()
    assert crashed.lesion.corrected
    assert not button.isVisibleTo(crashed.dock)
    # Corrections that are undone are not kept, but strokes are until they are cleared.
    labels.undo()
    crashed.waits()
    assert not crashed.lesion.corrected
    assert kept() != []
    crashed.clicks("clear")
    crashed.waits()
    assert kept() == []
    # The offer can be discarded.
    opens_after_the_crash("mole")
    assert kept() != []
    button = crashed.finds(QAbstractButton, "recover_discard")
    qtbot.waitUntil(lambda: button.isVisibleTo(crashed.dock), timeout=PATIENCE_MS)
    with answering("") as asked_for:
        button.click()
    assert "never saved" in asked_for[0]
    crashed.waits()
    assert kept() != []
    assert button.isVisibleTo(crashed.dock)
    with answering("replace"):
        button.click()
    crashed.waits()
    assert kept() == []
    # Damaged files are not offered.
    next(left.glob("*/drawn.npz")).write_bytes(b"half")
    notification_manager.records.clear()
    opens_after_the_crash("mole again")
    crashed.waits()
    assert not crashed.dock.recovery_notice.isVisibleTo(crashed.dock)
    assert list(notification_manager.records) == []
    # A crash while they were written has left no recovery.json. Old files are pruned.
    next(recovery.recovery_root().glob("*/recovery.json")).unlink()
    recovery.prune_recoveries()
    assert kept() != []
    recovery.prune_recoveries(days=0)
    assert kept() == []


def test_a_saved_mask_that_was_corrected_is_shown_the_next_day(corrected, tmp_path):
    corrected.dock.settings.folder = tmp_path
    saves(corrected)
    drawn, predicted = corrected.mask.copy(), read_mask(tmp_path / "mole" / "mask.png")
    assert np.array_equal(drawn, predicted)
    corrected.viewer.layers.clear()
    corrected.waits()
    os.utime(tmp_path / "mole" / "result.json", (1795780800, 1795780800))  # 2026-11-27, 12:00 UTC
    shown = []
    corrected.dock.controller.changed.connect(lambda session: shown.append(session.lesion.corrected))
    corrected.opens()
    corrected.waits()
    assert np.array_equal(corrected.mask, drawn)
    assert (corrected.lesion.corrected, corrected.lesion.unsaved) == (True, False)
    assert all(shown), "the predicted mask is not shown before"
    assert kept() == []
    saved = "Saved mask of 2026-11-27, corrected by hand."
    assert corrected.dock.status.text.startswith(saved)
    notices = [
        label.text() for label in corrected.dock.findChildren(QLabel) if "Threshold and refinement" in label.text()
    ]
    assert notices == [f"{saved} Threshold and refinement are off."]
    # The predicted mask is offered, and the saved one comes back with undo
    corrected.clicks("revert")
    corrected.waits()
    assert not corrected.mask[10, 100:140].any()
    assert not corrected.lesion.corrected
    corrected.layer("mask").undo()
    corrected.waits()
    assert np.array_equal(corrected.mask, drawn)
    # A mask that was corrected again is not the saved one
    corrected.clicks("revert")
    corrected.waits()
    strikes(corrected, "mole", [(20, 100), (20, 140)])
    assert corrected.lesion.corrected
    assert not [label for label in corrected.dock.findChildren(QLabel) if "saved result is shown" in label.text()]
    # Another photograph of the same name shows nothing
    corrected.viewer.layers.clear()
    corrected.opens(rgb=photograph(((60, 60, 20),)))
    corrected.waits()
    assert corrected.lesion is None


def test_analyze_waits_for_the_saved_mask(corrected, tmp_path, monkeypatch, qtbot):
    def read_slowly(*args):
        may_read.wait(PATIENCE_MS / 1000)
        return read_saved_result(*args)

    may_read = threading.Event()
    monkeypatch.setattr(photograph_predictions, "read_saved_result", read_slowly)
    dock = corrected.dock
    dock.settings.folder = tmp_path
    saves(corrected)
    drawn = corrected.mask.copy()
    corrected.viewer.layers.clear()
    corrected.waits()
    analyzed = []
    dock.analysis_controller.analyzed.connect(analyzed.append)
    corrected.opens()
    qtbot.waitUntil(lambda: dock.status.text == "Loading the saved result ...", timeout=PATIENCE_MS)
    corrected.clicks("primary")
    may_read.set()
    corrected.waits()
    assert np.array_equal(corrected.mask, drawn)
    assert not analyzed
    # Without a saved mask, the photograph is analyzed.
    (tmp_path / "mole" / "mask.png").unlink()
    corrected.viewer.layers.clear()
    corrected.waits()
    may_read.clear()
    corrected.opens()
    qtbot.waitUntil(lambda: dock.status.text == "Loading the saved result ...", timeout=PATIENCE_MS)
    corrected.clicks("primary")
    may_read.set()
    corrected.waits()
    assert len(analyzed) == 1


def test_the_reader_of_a_saved_mask_is_named():
    values = {"corrected_by_hand": True, "reader": "Reader A"}
    text = describe_saved_mask(values, 1795780800)
    assert text == "Saved mask of 2026-11-27 by Reader A, corrected by hand."


def test_an_edit_after_saving_is_reported(corrected, tmp_path):
    corrected.dock.settings.folder = tmp_path
    saves(corrected)
    assert corrected.dock.status.text.startswith("Saved to ")
    strikes(corrected, "mole", [(100, 20), (100, 60)])
    assert corrected.dock.status.text.startswith("Unsaved changes")


def test_a_recovery_offer_survives_other_actions(crashed, qtbot, tmp_path):
    crashed.opens()
    button = offered(crashed, qtbot)
    crashed.analyses()
    strikes(crashed, "mole", [(100, 20), (100, 60)])
    own = crashed.mask.copy()
    crashed.dock.settings.folder = tmp_path
    saves(crashed)
    assert kept().count("recovery.json") == 1
    with answering("") as requested:
        button.click()
    assert requested[0].startswith("The mask that is shown was edited, too. Corrections from ")
    assert np.array_equal(crashed.mask, own)
    assert button.isVisibleTo(crashed.dock), "still offered"
    with answering("replace"):
        button.click()
    crashed.waits()
    assert len(masks(crashed)) == 1
    assert np.array_equal(crashed.mask, crashed.drawn)
    assert crashed.lesion.unsaved
    crashed.layer("mask").undo()
    crashed.waits()
    assert np.array_equal(crashed.mask, own)


def test_a_removed_photograph_is_freed_and_only_its_corrections_kept(person, qtbot):
    # Without corrections, nothing is left of it.
    person.opens()
    person.analyses()
    result = person.lesion.result
    held = (result.photograph.rgb, result.probability, result.smoothed, result.mask, result.roi.image)
    known = [weakref.ref(array) for array in held]
    known += [weakref.ref(getattr(layer, "__wrapped__", layer)) for layer in person.viewer.layers]
    del result, held
    person.viewer.layers.remove(person.viewer.layers["mole"])
    person.waits()
    assert kept() == []
    assert not [layer for layer in person.viewer.layers if layer.visible], "they would cover another photograph"
    person.viewer.layers.clear()  # its layers had stayed
    # A stroke is kept, even if it has not settled.
    person.opens()
    person.analyses()
    strikes(person, "mole")
    person.draws(person.layer("mask"), [(100, 20), (100, 60)])
    drawn = person.mask.copy()
    person.viewer.layers.clear()  # before anything could follow the stroke
    person.waits()
    person.opens()
    offered(person, qtbot).click()
    person.waits()
    assert np.array_equal(person.mask, drawn)

    # Layers and arrays of the first are freed.
    def left():
        gc.unfreeze()
        gc.collect()
        return [ref() for ref in known if ref() is not None]

    qtbot.waitUntil(lambda: not left(), timeout=PATIENCE_MS)


def test_corrections_of_a_photograph_opened_twice_are_kept(corrected):
    corrected.opens("again")
    corrected.analyses()
    assert not corrected.dock.recovery_notice.isVisibleTo(corrected.dock)  # what the other layer keeps is its own
    save_unsaved(corrected.dock.sessions)
    corrected.reopens()
    corrected.waits()
    assert kept().count("recovery.json") == 1


def test_a_stroke_that_has_not_settled_is_asked_for_and_kept(analyzed):
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    assert [session.name for session in analyzed.dock.sessions.unsaved] == ["mole"]
    save_unsaved(analyzed.dock.sessions)
    analyzed.closes()
    assert "recovery.json" in kept()


def press(button):
    """Press a button of the question that is about to come."""

    def look():
        for box in QApplication.topLevelWidgets():
            if box.objectName() == "unsaved_corrections":
                next(found for found in box.buttons() if button in found.text()).click()
                return
        QTimer.singleShot(20, look)

    QTimer.singleShot(20, look)


@pytest.mark.path
@pytest.mark.both_qts
def test_closing_with_unsaved_corrections_shows_a_message_box(window, monkeypatch):
    window.opens()
    window.analyses()
    window.draws(window.layer("mask"), [(10, 100), (10, 140)])
    window.waits()

    def closes(button):
        press(button)
        return not window.dock.close_guard.eventFilter(window.dock.close_guard.window, QEvent(QEvent.Type.Close))

    def full(*args):
        raise SaveError("the disk is full")

    # A full disk keeps the window open.
    with monkeypatch.context() as patch:
        patch.setattr("napari_melanoma.ui.session.recovery.save_recovery", full)
        assert not closes("keep")
    assert "The disk is full" in window.dock.status.text
    for button, is_closed, is_kept in (("Cancel", False, True), ("keep", True, True), ("Discard", True, False)):
        assert closes(button) is is_closed, button
        assert bool(kept()) is is_kept, button
    discard_unsaved(window.dock.sessions)


class Store(QObject):
    """Something else that stores what users make."""

    failed = Signal(object)


def test_the_user_is_asked_once_if_something_else_keeps_the_window_open(window, monkeypatch, qtbot):
    asked = []

    def keep(box):
        asked.append(box.text())
        box.deleteLater()
        return next(button for button in box.buttons() if "keep" in button.text())

    monkeypatch.setattr(saving, "exec_question", keep)
    window.opens()
    window.analyses()
    strikes(window, "mole")
    other, store, main = QWidget(window.main), Store(window.main), window.main
    StoreGuard(other, store).watch()
    main.removeEventFilter(window.dock.close_guard)
    main.installEventFilter(window.dock.close_guard)  # asks first
    tasks.set_running(store, True)
    assert not main.close()
    assert asked == ["The corrections of mole are not saved."]
    assert not main.close()
    assert len(asked) == 2, "the user closes the window again"
    tasks.set_running(store, False)
    qtbot.waitUntil(lambda: not main.isVisible(), timeout=PATIENCE_MS)
    assert len(asked) == 2
    assert "recovery.json" in kept()
    discard_unsaved(window.dock.sessions)


def test_a_window_that_is_closed_while_a_result_is_saved_closes_afterwards(window, tmp_path, qtbot, monkeypatch):
    may_save, save = threading.Event(), saving.save_result

    def save_slowly(*arguments):
        may_save.wait(PATIENCE_MS / 1000)
        return save(*arguments)

    monkeypatch.setattr(saving, "save_result", save_slowly)
    window.dock.settings.folder = tmp_path
    window.opens()
    window.analyses()
    window.clicks("save")
    assert not window.main.close()
    may_save.set()
    qtbot.waitUntil(lambda: not window.main.isVisible(), timeout=PATIENCE_MS)
    assert (tmp_path / "mole" / "result.json").is_file()


@pytest.mark.both_qts
def test_closing_while_an_analysis_runs_leaves_nothing(window, client, qtbot):
    window.opens()
    window.dock.model.model = "slow-60"
    window.clicks("primary")
    qtbot.waitUntil(lambda: "Finding the lesion" in window.dock.status.text, timeout=PATIENCE_MS)
    assert client.pid is not None  # the fixtures close the window now, and look for what is left


def test_closing_at_once_leaves_nothing(viewer, client, stage):
    open_dock(stage, viewer, client)
    assert tasks.is_idle(client)  # nothing has started yet, and the fixtures close the window now
