"""The case that is open in a dock without a viewer: steps, saving, closing of the window, files that ask something."""

from __future__ import annotations

from functools import partial
from threading import Event
from types import SimpleNamespace

import pytest
from PIL import Image as PillowImage
from qtpy import API_NAME
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QDialog, QFileDialog, QInputDialog, QMainWindow, QMessageBox, QWidget

from conftest import PATIENCE_MS, wait_until_idle
from napari_melanoma.case.model import (
    Case,
    CaseCorrection,
    CaseImage,
    add_images,
    add_lesion,
    add_slide_findings,
    number_lesions,
    set_correction,
    set_image,
    set_lesion,
    set_patient,
)
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.errors import SaveError
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.depth.findings import SlideFindings
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.ui.case.controller import CaseCloseGuard, CaseController, CaseHistory, CaseSettings
from napari_melanoma.ui.case.importing import CaseImporter, CaseImportRequest
from napari_melanoma.ui.case.tree import NO_LESION, create_rows


@pytest.fixture
def window(home, qtbot, qapp):
    """A window with a dock in it; it goes while it is held, for a filter of events must not outlive what it filters."""
    made = QMainWindow()
    qtbot.addWidget(made)
    dock = QWidget()
    made.setCentralWidget(dock)
    made.show()
    yield made
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert not isalive(made)


@pytest.fixture
def desk(window, tmp_path, qtbot):
    """A desk with an empty case."""
    made = CaseController(window.centralWidget())
    made.create(tmp_path / "case")
    wait_until_idle(qtbot, made)
    return made


def aged(desk, age):
    """Set the age as a form does."""
    desk.edit(set_patient(desk.case, age=age), "age", "patient age")


def test_edits_of_one_field_are_one_step_and_undo_keeps_scales_and_masks(tmp_path):
    history = CaseHistory(Case())
    for age in (5, 54):
        history.edit(set_patient(history.case, age=age), "age", "patient age")
    history.end_step()
    history.edit(set_patient(history.case, age=55), "age", "patient age")
    assert not history.edit(history.case, "nothing")
    assert (history.undo(), history.case.patient.age) == ("age", 54)
    assert (history.undo(), history.case.patient.age, history.undo()) == ("age", None, "")
    assert (history.redo(), history.case.patient.age) == ("age", 54)
    # Undo keeps a scale and a mask that were set since.
    history = CaseHistory(add_images(Case(), [CaseImage(id="", path=tmp_path / "a.png")]))
    history.edit(set_patient(history.case, age=54), "age")
    history.amend(set_image(history.case, "I1", mpp_x=40.0, mpp_y=40.0))
    mask = CaseCorrection(path=tmp_path / "m.png", digest="1")
    history.amend(set_correction(history.case, "I1", mask))
    history.undo()
    image = history.case.find_image("I1")
    assert (history.case.patient.age, image.mpp_x, image.mpp_y) == (None, 40.0, 40.0)
    assert image.correction == mask


def test_undo_removes_added_findings_unless_the_report_of_the_lesion_is_signed(tmp_path):
    when = "2026-01-02T10:00:00+00:00"
    report = SynopticReport().set_answer("procedure", SynopticAnswer(value="punch"), "A", when)
    case = add_images(add_lesion(Case()), [CaseImage(id="", path=tmp_path / "a.tif", modality="wsi")], "L1")
    for added in (report, report.sign("A", when)):
        history = CaseHistory(case)
        changed = set_lesion(case, "L1", synoptic=added)
        history.edit(add_slide_findings(changed, "I1", SlideFindings(report=added), when), "the synoptic report")
        assert history.undo() == "the synoptic report"
        kept = history.case.find_image("I1").findings
        assert (kept is not None) == history.case.lesions[0].form.is_signed == added.is_signed
        history.redo()
        assert history.case.find_image("I1").findings.document.report == added


def test_lesion_numbers_follow_the_files_if_unique():
    case = add_lesion(add_lesion(Case(), label="3"), label="2")
    assert number_lesions(case) == {"L1": "3", "L2": "2"}
    assert number_lesions(add_lesion(case)) == {"L1": "1", "L2": "2", "L3": "3"}
    assert number_lesions(set_lesion(case, "L2", label="mole of 2019")) == {"L1": "1", "L2": "2"}


def test_rows_show_missing_files_and_unassigned_images(tmp_path):
    image = CaseImage(id="", path=tmp_path / "a.png", modality="dermoscopic")
    case = add_images(add_lesion(Case(), site="head/neck"), [image], "L1")
    rows = create_rows(add_images(case, [image]), missing={"I1"})
    assert [(row.id, row.texts[0]) for row in rows] == [("L1", "1  Head and neck"), (NO_LESION, "Not assigned")]
    assert [row.texts for row in rows[0].rows] == [("a.png", "dermoscopic\nmissing")]
    other = image.model_copy(update={"path": tmp_path / "later" / "a.png"})
    rows = create_rows(add_images(case, [other], "L1"))
    names = [f"{tmp_path.name}/a.png", "later/a.png"]
    assert [row.texts[0] for row in rows[0].rows] == names


@pytest.mark.both_qts
def test_a_window_that_is_closed_while_something_is_unsaved_saves_it_first(desk, window, qtbot, tmp_path):
    guard = CaseCloseGuard(window.centralWidget(), desk, _Idle())
    guard.watch()
    aged(desk, 54)
    assert not window.close()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=PATIENCE_MS)
    assert CaseStore.open_read_only(tmp_path / "case").case.patient.age == 54


def test_closing_an_unsavable_case_shows_a_message_box_which_keeps_the_window_when_it_is_closed(
    desk, window, qtbot, monkeypatch
):
    guard = CaseCloseGuard(window.centralWidget(), desk, _Idle())
    guard.watch()
    requested = []
    monkeypatch.setattr(guard, "_confirm_close", lambda: requested.append(str(desk.saver.error)))
    monkeypatch.setattr(desk.store, "save", _refuse)
    aged(desk, 54)
    assert not window.close()
    qtbot.waitUntil(lambda: requested == ["the disk is full"], timeout=PATIENCE_MS)
    assert window.isVisible()
    assert desk.saver.has_unsaved_changes
    # A question that is closed keeps the window.
    guard = CaseCloseGuard(window.centralWidget(), desk, _Idle())
    monkeypatch.setattr(QMessageBox, "exec", _delete)
    monkeypatch.setattr(guard, "_close_window", pytest.fail)
    desk.saver.error = SaveError("the disk is full")
    guard._confirm_close()
    assert desk.saver.has_unsaved_changes
    desk.saver.discard_changes()


def test_the_open_case_is_opened_again_by_another_name_of_its_folder(desk, tmp_path, qtbot):
    other = tmp_path / "link"
    other.symlink_to(tmp_path / "case", target_is_directory=True)
    desk.open(other)
    wait_until_idle(qtbot, desk)
    assert (desk.read_only, desk.store.folder) == ("", other)


def test_requested_images_are_shown_when_their_case_is_open(desk, tmp_path, qtbot):
    other, shown = tmp_path / "other", []
    CaseStore.create(other, Case()).close()
    desk.opened.connect(lambda: shown.append(desk.store.folder.name))
    desk.images_requested.connect(shown.append)
    desk.show_images(other, ("I1", "I2"))
    wait_until_idle(qtbot, desk)
    desk.add_slide(tmp_path / "case", tmp_path / "a.svs")  # of a case that is not open
    desk.add_slide(other, tmp_path / "b.svs")
    desk.show_images(other, ["I3"])
    assert (shown, desk.slides) == (["other", ["I1", "I2"], ["I3"]], [tmp_path / "b.svs"])
    # A case that cannot be opened, or is replaced meanwhile, shows none.
    desk.show_images(tmp_path / "missing", ["I4"])
    wait_until_idle(qtbot, desk)
    desk.show_images(tmp_path / "case", ["I5"])
    desk.open(other)
    wait_until_idle(qtbot, desk)
    assert shown[3:] == ["other"]


def _delete(box):
    """As when the window that a box belongs to is deleted."""
    if API_NAME.startswith("PySide"):
        import shiboken6

        shiboken6.delete(box)
    else:
        from PyQt6 import sip

        sip.delete(box)


class _Idle:
    """Nothing was drawn."""

    is_saved = True

    def flush(self):
        """Nothing to write."""


def _refuse(case, overwrite=False):
    raise SaveError("the disk is full")


def test_unsaved_changes_prevent_opening_another_case(desk, qtbot, monkeypatch, tmp_path):
    monkeypatch.setattr(desk.store, "save", _refuse)
    aged(desk, 54)
    desk.create(tmp_path / "other")
    wait_until_idle(qtbot, desk)
    assert (desk.store.folder.name, desk.case.patient.age) == ("case", 54)


def test_requests_wait_for_the_save_and_none_is_lost(desk, qtbot, tmp_path):
    aged(desk, 54)
    called = []
    for name in ("report", "tray"):
        desk.saver.run_when_saved(partial(called.append, name))
    for count in (1, 2):  # clicks on one button
        desk.saver.run_when_saved(partial(called.append, count), "button")
    desk.create(tmp_path / "other")
    desk.saver.run_when_saved(partial(called.append, "again"))
    assert called == []
    wait_until_idle(qtbot, desk)
    assert called == ["report", "tray", 2, "again"]
    assert desk.store.folder.name == "other"
    assert CaseStore.open_read_only(tmp_path / "case").case.patient.age == 54


def test_a_case_that_is_closed_while_another_is_opened_stays_closed(desk, qtbot, tmp_path, monkeypatch):
    started, closed, create = Event(), Event(), CaseStore.create

    def create_slowly(*arguments):
        started.set()
        assert closed.wait(PATIENCE_MS / 1000)
        return create(*arguments)

    monkeypatch.setattr(CaseStore, "create", create_slowly)
    desk.create(tmp_path / "other")
    qtbot.waitUntil(started.is_set, timeout=PATIENCE_MS)
    desk.close()
    closed.set()
    wait_until_idle(qtbot)
    assert desk.store is None
    store = CaseStore.open(tmp_path / "other")
    assert store.read_only == ""
    store.close()


def photos(folder, *names):
    """A folder of small images."""
    folder.mkdir(exist_ok=True)
    for shade, name in enumerate(names):
        PillowImage.new("RGB", (20, 20), (200, 150, 90 + shade)).save(folder / f"{name}.png")
    return folder


def dialog_of(qtbot, kind):
    """The dialog that is asked with."""

    def found():
        return [one for one in QApplication.topLevelWidgets() if isinstance(one, kind) and one.isVisible()]

    qtbot.waitUntil(lambda: len(found()) == 1, timeout=PATIENCE_MS)
    return found()[0]


@pytest.fixture
def importer(window, desk):
    """An importer of a dock that shows links as text, and no case."""
    desk.close()
    dock = window.centralWidget()
    dock.icons = SimpleNamespace(link=lambda link, text: text)
    return CaseImporter(dock, desk, CaseSettings())


def test_one_of_several_patients_is_selected(importer, desk, tmp_path, qtbot):
    importer.collect(CaseImportRequest((photos(tmp_path / "all", "PAT_1_1_1", "PAT_2_7_1", "PAT_2_8_1"),)))
    dialog = dialog_of(qtbot, QInputDialog)
    assert dialog.comboBoxItems() == ["1. PAT_1: 1 image, 1 lesion", "2. PAT_2: 2 images, 2 lesions"]
    dialog.setTextValue("2. PAT_2: 2 images, 2 lesions")
    dialog.accept()
    chooser = dialog_of(qtbot, QFileDialog)
    assert chooser.windowTitle() == "Folder for the case of these images"
    chooser.fileSelected.emit(str(tmp_path / "new"))
    chooser.reject()
    wait_until_idle(qtbot)
    assert [lesion.label for lesion in desk.case.lesions] == ["7", "8"]


@pytest.mark.both_qts
def test_an_unknown_table_opens_the_mapping_dialog(importer, desk, tmp_path, qtbot):
    folder = photos(tmp_path / "own", "a", "b")
    (folder / "own.csv").write_text("Bildchen;Lebensjahre\na;54\nb;54\n", encoding="utf-8")
    importer.collect(CaseImportRequest((folder,)))
    dialog = dialog_of(qtbot, QDialog)
    assert dialog.objectName() == "mapping_dialog"
    wait_until_idle(qtbot, dialog)
    dialog.mapping_chosen.emit(TableMapping(columns={"Bildchen": "image_id", "Lebensjahre": "age"}))
    dialog.accept()
    wait_until_idle(qtbot)
    assert desk.case.patient.age == 54
