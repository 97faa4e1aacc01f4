"""Saving, corrections that survive a crash, and closing the window."""

from __future__ import annotations

import errno
import json
import os
import shutil
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from fake_dicom import write_photograph
from lesion_fixtures import FIXTURES, open_dock
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QAbstractButton, QApplication, QFileDialog

from conftest import photograph
from napari_melanoma.core.errors import SaveError
from napari_melanoma.io.results import read_mask, read_table
from napari_melanoma.lesion import analysis
from napari_melanoma.ui.lesion.saving import NOT_DICOM_TIP, SAVE_FIRST, result_folder
from napari_melanoma.ui.session import recovery
from napari_melanoma.ui.session.open_photograph import PhotographSessions
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.session.recovery import discard_unsaved
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.settings import READER_SETTING

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)

PATIENCE_MS = 60_000


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
    assert "Saved to" in corrected.dock.status.text
    assert not corrected.lesion.unsaved
    assert kept() == []
    # A stroke that has not settled is saved, too, into the same folder.
    corrected.draws(corrected.layer("mask"), [(100, 100), (100, 140)])
    corrected.dock.save_bar.save()
    corrected.waits()
    assert corrected.mask[100, 120]
    assert np.array_equal(read_mask(folder / "mask.png"), corrected.mask)
    assert len(read_table(out / "results.csv")) == 1
    # An existing result is replaced only after confirmation.
    corrected.dock.settings.folder = tmp_path / "one"
    (tmp_path / "one" / "mole").mkdir(parents=True)
    (tmp_path / "one" / "mole" / "note.txt").write_text("of another day")
    corrected.clicks("save")
    corrected.answers("replace_result", "Cancel")
    assert (tmp_path / "one" / "mole" / "note.txt").is_file()
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


def test_no_report_is_written_of_a_saved_result_that_was_changed(analyzed, tmp_path, monkeypatch):
    requested = []
    monkeypatch.setattr(analyzed.dock.report_writer, "ask", lambda *arguments: requested.append(arguments))
    analyzed.dock.settings.folder = tmp_path
    analyzed.clicks("save")
    analyzed.waits()
    analyzed.clicks("lesion_report")
    assert requested == [((tmp_path / "mole",), tmp_path, "mole-report")]
    # A mask that was edited since, also one that is just being drawn.
    analyzed.draws(analyzed.layer("mask"), [(10, 100), (10, 140)])
    for _ in range(2):
        analyzed.clicks("lesion_report")
        assert "has changed since it was saved. Press Save first" in analyzed.dock.status.text
        analyzed.waits()
    assert len(requested) == 1
    analyzed.clicks("save")
    analyzed.waits()
    analyzed.clicks("lesion_report")
    assert len(requested) == 2
    # Undo restores a mask that is no longer the saved one.
    analyzed.layer("mask").undo()
    analyzed.waits()
    analyzed.clicks("lesion_report")
    assert len(requested) == 2
    # After redo, the shown result is again the saved one.
    analyzed.layer("mask").redo()
    analyzed.waits()
    analyzed.clicks("lesion_report")
    assert len(requested) == 3


def test_the_measurement_report_of_a_saved_dicom_photograph(person, tmp_path):
    highdicom = pytest.importorskip("highdicom")
    person.opens()
    person.analyses()
    button = person.finds(QAbstractButton, "lesion_dicom_sr")
    assert (button.isEnabled(), button.toolTip()) == (False, NOT_DICOM_TIP)
    path = write_photograph(tmp_path / "archive" / "nevus.dcm", photograph(), PixelSpacing=[0.02, 0.02])
    person.dock.opener.open([path])
    person.waits()
    person.analyses()
    assert (button.isEnabled(), button.toolTip()) == (False, SAVE_FIRST)
    person.dock.settings.folder = tmp_path
    person.dock.settings.set(READER_SETTING, "A. Meyer")
    person.draws(person.layer("mask", "nevus"), [(10, 100), (10, 140)])
    person.waits()
    person.clicks("save")
    person.waits()
    person.clicks("lesion_dicom_sr")
    dialog = person.dock.window().findChild(QFileDialog, "dicom_sr_dialog")
    dialog.fileSelected.emit(str(tmp_path / "sr.dcm"))
    dialog.close()
    person.waits()
    assert person.dock.status.text == f"Written: {tmp_path / 'sr.dcm'}"
    (lesion, *_) = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_planar_roi_measurement_groups()
    assert any("A. Meyer" in str(item.get("PersonName", "")) for item in lesion[0].ContentSequence)
    # A result that was changed since is saved first.
    person.draws(person.layer("mask", "nevus"), [(20, 100), (20, 140)])
    person.clicks("lesion_dicom_sr")
    assert "has changed since it was saved. Press Save first" in person.dock.status.text
    person.waits()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_reported(analyzed, tmp_path):
    analyzed.dock.settings.folder = tmp_path
    tmp_path.chmod(0o500)
    analyzed.clicks("save")
    analyzed.waits()
    tmp_path.chmod(0o700)
    assert "no permission" in notification_manager.records[-1].message


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


def test_no_report_is_written_of_a_result_that_was_replaced(tmp_path):
    viewer = ViewerModel()
    for _ in range(2):
        viewer.add_image(np.zeros((4, 4, 3), np.uint8), rgb=True)
    sessions = PhotographSessions(viewer, partial(PhotographSession, services=Mock()))
    first, second = sessions.update()
    for session in (first, second):
        sessions.set_saved(session, tmp_path / "mole", "pixels")
    assert first.saved.folder is None
    # An older result of the photograph in another folder is outdated: it does not take the place of the replaced one.
    for session, folder in ((first, "older"), (first, "mole"), (second, "mole")):
        sessions.set_saved(session, tmp_path / folder, "pixels")
    assert first.saved.folder is None
    assert second.saved.folder == tmp_path / "mole"
    assert second.saved.contains(tmp_path / "mole", "pixels")
    assert not second.saved.contains(tmp_path / "mole", "other pixels")
    # Names that differ in case alone are two folders, unless the disk ignores case.
    (tmp_path / "MOLE").mkdir()
    ignores_case = (tmp_path / "mole").exists()
    sessions.set_saved(first, tmp_path / "MOLE", "pixels")
    assert (second.saved.folder is None) is ignores_case


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


@pytest.mark.path
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
    qtbot.waitUntil(lambda: len(crashed.viewer.layers) == 6, timeout=PATIENCE_MS)
    crashed.waits()
    labels = crashed.layer("mask", "the same pixels")
    assert np.array_equal(labels.data != 0, crashed.drawn)
    assert crashed.layer("scribbles", "the same pixels").data.any()
    assert crashed.lesion.corrected
    assert crashed.lesion.unsaved
    assert not button.isVisibleTo(crashed.dock)
    # Corrections that are undone are not kept.
    labels.undo()
    crashed.waits()
    assert not crashed.lesion.corrected
    assert kept() == []
    # The offer can be discarded.
    opens_after_the_crash("mole")
    assert kept() != []
    button = crashed.finds(QAbstractButton, "recover_discard")
    qtbot.waitUntil(lambda: button.isVisibleTo(crashed.dock), timeout=PATIENCE_MS)
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


@pytest.mark.path
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
