"""The Case dock as a person uses it: a patient made from a folder, changed, drawn on, closed, and there again."""

from __future__ import annotations

import json
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from unittest.mock import MagicMock

import numpy as np
import pytest
from click_tool import use_tool
from fake_open_case import make_case
from fake_slides import draw_slide
from finding_files import save_synoptic, write_depth
from message_boxes import press_button
from patience import PATIENCE_MS
from PIL import Image as PillowImage
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QShortcut, QWindow
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDialog,
    QFileDialog,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
)

from conftest import wait_until_idle
from napari_melanoma.case import importing
from napari_melanoma.case.model import (
    Case,
    CaseImage,
    CaseLesion,
    CaseSlideFindings,
    add_lesion,
    collect_prior_metadata,
    set_image,
    set_lesion,
)
from napari_melanoma.case.results import save_result
from napari_melanoma.case.store import CaseStore, read_correction
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.provenance import array_fingerprint, utc_time
from napari_melanoma.data.corrections import Corrections
from napari_melanoma.depth.findings import SlideFindings
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, set_values
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, set_finding
from napari_melanoma.extensions.synoptic.ui import lesion_section
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.results import read_result
from napari_melanoma.slides.result_folder import record_slide, slide_folder
from napari_melanoma.ui.case.controls import describe_other_findings
from napari_melanoma.ui.case.dock import CaseDock, _find_slide_results
from napari_melanoma.ui.case.importing import CaseImporter, CaseImportRequest
from napari_melanoma.ui.case.tree import row_of_item
from napari_melanoma.ui.session.saved_result import read_stored_result
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.slide_layers import list_slides
from napari_melanoma.ui.widgets.settings import DockSettings

NAMES = (
    "back_left_1_dermoscopy",
    "back_left_1_macro",
    "forearm_right_2_dermoscopy",
    "forearm_right_2_macro",
    "cheek_3_dermoscopy",
)


def mole(shade):
    """Skin with a dark disk: uint8 (row, column, channel), of other pixels for every shade."""
    rows, columns = np.mgrid[:60, :80]
    rgb = np.full((60, 80, 3), (215, 170, 150), np.uint8)
    rgb[(rows - 30) ** 2 + (columns - 40) ** 2 <= 14**2] = (70, 45, 30 + shade)
    return rgb


@pytest.fixture
def photos(tmp_path):
    """A folder with five images of three lesions, named as people name files."""
    folder = tmp_path / "P-0042"
    folder.mkdir()
    for shade, name in enumerate(NAMES):
        PillowImage.fromarray(mole(shade)).save(folder / f"{name}.png")
    return folder


class Pathologist:
    """Does with the Case dock what a person would do, and waits as a person would."""

    def __init__(self, viewer, dock, qtbot):
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot

    def waits(self):
        for _ in range(2):
            wait_until_idle(self.qtbot)
            self.qtbot.wait(20)

    def drops(self, *paths, on=None):
        if on is None:
            self.dock.drops.dropped.emit(list(paths))
        else:
            self.dock.tree.dropped.emit(list(paths), on)
        self.waits()

    def clicks(self, name):
        button = self.dock.findChild(QAbstractButton, name)
        assert button.isEnabled(), f"{name} is disabled: {button.toolTip()}"
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        self.waits()

    def picks(self, *ids):
        self.dock.tree.clearSelection()
        for item in self.dock.tree.iterate_items():
            if self.row(item).id in ids:
                self.dock.tree.setCurrentItem(item)
        for item in self.dock.tree.iterate_items():
            item.setSelected(self.row(item).id in ids)

    def row(self, item):
        return row_of_item(item)

    def opens(self, image):
        self.dock.tree.opened.emit(image)
        self.waits()

    def types(self, name, text):
        line = self.dock.findChild(QLineEdit, name)
        line.setFocus()
        line.selectAll()
        self.qtbot.keyClicks(line, text) if text else self.qtbot.keyClick(line, Qt.Key.Key_Delete)

    def chooses(self, name, value):
        combo = self.dock.findChild(QComboBox, name)
        combo.setCurrentIndex(combo.findData(value))
        combo.activated.emit(combo.currentIndex())
        self.waits()

    def fault(self, name):
        return self.dock.findChild(QLabel, f"{name}_fault").text()

    @property
    def case(self):
        return self.dock.controller.case

    @property
    def status(self):
        return self.dock.status.text

    @property
    def notice(self):
        return "" if self.dock.notice.isHidden() else self.dock.notice.label.text()

    def draws(self, name, rows=slice(2, 8), columns=slice(2, 8)):
        """Draw a square, as one step that Ctrl+Z takes back."""
        labels = self.viewer.layers[f"{name} mask"]
        labels.data_setitem(np.nonzero(square(labels.data.shape, rows, columns)), 1)
        self.waits()
        return labels.data != 0


def square(shape, rows, columns):
    """True in a rectangle: bool (row, column)."""
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


@pytest.fixture
def someone(viewer, shared_client, qtbot):
    """Somebody in front of the Case dock as napari's menu opens it."""
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    person = Pathologist(viewer, made, qtbot)
    yield person
    person.waits()


@pytest.fixture
def five(someone, photos):
    """Somebody with a case of three lesions and five images."""
    someone.drops(photos)
    return someone


def test_a_folder_becomes_a_case_and_is_saved_in_it(five, photos, tmp_path, monkeypatch):
    assert [len(lesion.images) for lesion in five.case.lesions] == [2, 2, 1]
    values = "body site of 3 lesions, side of 2 lesions"
    assert values in five.status
    assert five.case.patient.patient_id.startswith("P-")
    assert CaseStore.open_read_only(photos).case == five.case
    # The values that were read stay listed in the menu.
    five.dock.menu_button.menu().aboutToShow.emit()
    next(entry for entry in five.dock.menu_button.menu().actions() if entry.text().startswith("Values")).trigger()
    box = five.dock.window().findChild(QMessageBox, "case_notes")
    assert values in box.informativeText()
    box.reject()
    # The same folder again adds what is new.
    PillowImage.fromarray(mole(90)).save(photos / "forearm_right_2_macroscopic.png")
    five.drops(photos)
    assert five.status.startswith("1 image added. The case contains values")
    assert (len(five.case.lesions[1].images), five.notice) == (3, "")


def test_images_of_no_lesion_are_not_counted_among_those_of_lesions(someone, photos):
    draw_slide(photos / "back_left_1_slide_A.tif")
    someone.drops(photos)
    assert len(someone.case.images) == 1
    assert someone.status.startswith("Created a case of 6 images in 3 lesions; without a lesion: 1 image.")


@pytest.mark.both_qts
def test_a_script_closes_the_viewer_while_saving(viewer, shared_client, photos, qtbot):
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    viewer.show()
    person = Pathologist(viewer, dock, qtbot)
    person.drops(photos)
    person.types("patient_age", "54")
    qtbot.keyClick(dock.findChild(QLineEdit, "patient_age"), Qt.Key.Key_Return)
    window = viewer.window._qt_window
    assert dock.guard._has_unsaved_changes()
    viewer.close()  # removes the canvas before it asks the window
    assert not window.isVisible()
    del window
    qtbot.waitUntil(lambda: CaseStore.open_read_only(photos).case.patient.age == 54, timeout=PATIENCE_MS)
    qtbot.wait(200)  # nothing looks at the window once more


def test_closing_a_case_closes_its_slide_whose_results_are_in_the_report(someone, tmp_path, viewer):
    own = draw_slide(tmp_path / "own.tif")
    viewer.open(own, plugin="napari-melanoma")
    folder = tmp_path / "P-0043"
    folder.mkdir()
    slide = draw_slide(folder / "back_left_1_slide.tif", tint=5)
    someone.drops(folder)
    someone.opens(next(image.id for _, image in someone.case.iterate_images()))
    someone.qtbot.waitUntil(lambda: len(list_slides(viewer)) == 2, timeout=PATIENCE_MS)
    # Its results are in the report.
    results = slide_folder(someone.dock.settings.slide_results, slide)
    save_synoptic(results, SynopticReport().set_answer("procedure", SynopticAnswer(value="punch"), "A", utc_time()))
    record_slide(results, slide, record_name=True)
    someone.clicks("case_report")
    someone.waits()
    dialog = someone.dock.window().findChild(QDialog, "report_dialog")
    assert dialog.options.paths == (folder,)
    someone.dock.report_writer.write(dialog.options._replace(pdf=False), tmp_path / "report.html")
    dialog.reject()
    someone.waits()
    assert "punch biopsy" in (tmp_path / "report.html").read_text(encoding="utf-8")
    someone.dock.controller.close()
    someone.waits()
    assert [slide.info.path for slide in list_slides(viewer)] == [own]


def test_a_report_that_differs_from_that_of_its_slide_says_so(someone, tmp_path):
    folder = tmp_path / "P-0043"
    folder.mkdir()
    slide = draw_slide(folder / "back_left_1_slide.tif", tint=5)
    someone.drops(folder)
    someone.picks("L1")
    someone.dock.choice.list_frames()["Report"].expand()
    someone.waits()
    own = SynopticReport().set_answer("clark", SynopticAnswer(value="IV"), "A", utc_time())
    someone.dock.controller.edit(set_lesion(someone.case, "L1", synoptic=own), "the report")
    changes = someone.dock.findChild(QLabel, "synoptic_changes")
    someone.waits()
    assert changes.text() == ""
    results = slide_folder(someone.dock.settings.slide_results, slide)
    write_depth(results, SlideDepthReadings(readings=(DepthReading(reader="A", when=utc_time(), clark=3),)))
    save_synoptic(results, SynopticReport(reader="A"))
    someone.dock.controller.edit(set_lesion(someone.case, "L1", note="seen"), "the note")
    someone.waits()
    assert changes.text().startswith("The report of back_left_1_slide.tif has other values: Clark level III (here IV).")


def test_the_report_of_its_slide_is_read_again_when_the_window_gets_the_focus(someone, tmp_path):
    folder = tmp_path / "P-0043"
    folder.mkdir()
    slide = draw_slide(folder / "back_left_1_slide.tif", tint=5)
    someone.viewer.show()
    someone.drops(folder)
    someone.picks("L1")
    someone.dock.choice.list_frames()["Report"].expand()
    own = SynopticReport().set_answer("clark", SynopticAnswer(value="IV"), "A", utc_time())
    someone.dock.controller.edit(set_lesion(someone.case, "L1", synoptic=own), "the report")
    someone.waits()
    results = slide_folder(someone.dock.settings.slide_results, slide)
    write_depth(results, SlideDepthReadings(readings=(DepthReading(reader="A", when=utc_time(), clark=3),)))
    save_synoptic(results, SynopticReport(reader="A"))
    QApplication.instance().focusWindowChanged.emit(QWindow())
    someone.waits()
    assert "has other values: Clark level III (here IV)." in someone.dock.findChild(QLabel, "synoptic_changes").text()


@pytest.mark.parametrize("is_read_only", [False, True])
def test_a_case_that_another_program_has_changed_is_called_outdated(someone, photos, is_read_only, monkeypatch):
    threads, describe = set(), CaseStore.describe_outside_change

    def describe_change(store):
        threads.add(threading.current_thread())
        return describe(store)

    monkeypatch.setattr(CaseStore, "describe_outside_change", describe_change)
    someone.drops(photos)
    someone.dock.controller.close()
    someone.waits()
    with CaseStore.open(photos) if is_read_only else nullcontext():
        someone.drops(photos)
        assert "outdated" not in someone.notice
        content = json.loads((photos / "case.json").read_text(encoding="utf-8"))
        content["patient"]["age"] = 43
        write_json(photos / "case.json", content)
        QApplication.instance().focusWindowChanged.emit(QWindow())
        someone.waits()
        assert someone.notice.startswith("Read-only: " if is_read_only else "Another program has changed the case")
        assert "what is shown here is outdated" in someone.notice
        someone.dock._on_link("again")
        someone.waits()
        assert someone.dock.findChild(QLineEdit, "patient_age").text() == "43"
        assert "outdated" not in someone.notice
        assert threading.main_thread() not in threads, "a slow disk would stop the window"


def test_reports_of_slides_are_read_by_file_and_left_out_if_the_results_cannot_be_listed(home, tmp_path, monkeypatch):
    slides = []
    for name, level in (("first", 3), ("second", 4)):
        (tmp_path / name).mkdir()
        slides.append(draw_slide(tmp_path / name / "slide.tif", tint=level))
        results = slide_folder(DockSettings().slide_results, slides[-1])
        record_slide(results, slides[-1], record_name=True)
        write_depth(results, SlideDepthReadings(readings=(DepthReading(reader="A", when=utc_time(), clark=level),)))
        save_synoptic(results, SynopticReport(reader="A"))
    root = DockSettings().slide_results
    findings = lesion_section._read_slide_findings(root, slides)
    assert [findings[path].reading_by("A").clark for path in slides] == [3, 4]

    def fail(root, slide):
        raise PermissionError(f"{root} cannot be listed")

    monkeypatch.setattr(lesion_section, "slide_folder", fail)
    assert lesion_section._read_slide_findings(root, slides) == {}


def test_the_results_of_a_missing_slide_are_in_the_report(tmp_path):
    slide = tmp_path / "removed" / "section.tif"
    for name, path in (("section", slide), ("other", tmp_path / "other.tif")):
        (tmp_path / "results" / name).mkdir(parents=True)
        write_json(tmp_path / "results" / name / "slide.json", {"slide": str(path)})
    (tmp_path / "results" / "note.txt").touch()
    assert _find_slide_results(tmp_path / "results", [slide]) == [tmp_path / "results" / "section"]


def test_create_edit_correct_close_and_reopen(five, photos, viewer, tmp_path):
    five.types("patient_age", "54")
    five.chooses("patient_sex", "female")
    five.picks("L1")
    five.dock.lesion_page.body_map.site_chosen.emit("upper back", "left")
    five.picks("I5")
    five.chooses("image_modality", "tbp_tile")
    five.opens("I1")
    five.draws("back_left_1_dermoscopy")
    five.opens("I2")
    other = five.draws("back_left_1_macro")
    five.opens("I1")
    assert "dermoscopic\n✎ corrected" in [item.text(1) for item in five.dock.tree.iterate_items()]
    labels = viewer.layers["back_left_1_dermoscopy mask"]
    labels.data_setitem(np.nonzero(square(labels.data.shape, slice(50, 55), slice(2, 8))), 1)
    drawn = labels.data != 0
    five.dock.controller.close()  # at once: the stroke has not settled
    five.waits()
    case = CaseStore.open_read_only(photos).case
    assert five.dock.welcome.isVisibleTo(five.dock)
    assert five.status == "P-0042 is closed."
    assert not [layer for layer in viewer.layers if "back_left" in layer.name]
    five.dock.importer.follow_link(f"recent:{photos}")
    five.waits()
    for name, mask in (("back_left_1_dermoscopy", drawn), ("back_left_1_macro", other)):
        assert np.array_equal(viewer.layers[f"{name} mask"].data != 0, mask)
    assert not five.dock.images.connected_dock.sessions.unsaved
    moved = photos.rename(tmp_path / "elsewhere")
    five.drops(moved)
    again = five.case
    assert (again.patient.age, again.patient.sex) == (54, "female")
    assert (again.find_lesion("L1").sub_site, again.find_image("I5").modality) == ("upper back", "tbp_tile")
    assert again.find_image("I1").correction.digest == case.find_image("I1").correction.digest


def test_a_scale_is_kept_in_the_case_until_it_is_cleared_and_given_to_open_photographs(five, viewer):
    def scale(name):
        image = five.case.find_image(name)
        return image.mpp_x, image.mpp_y

    layers = {}
    for name in ("I1", "I2"):
        path = five.case.find_image(name).path
        viewer.open(path, plugin="napari-melanoma")
        layers[name] = viewer.layers[path.stem]
        five.dock.controller.amend(set_image(five.case, name, mpp_x=40.0, mpp_y=40.0))
    five.opens("I1")
    assert (tuple(layers["I1"].scale), scale("I1")) == ((40.0, 40.0), (40.0, 40.0))
    for size, expected in ((PixelSize(50.0, 50.0), (50.0, 50.0)), (None, (None, None))):
        photographs.set_pixel_size(viewer, layers["I1"], size)
        five.waits()
        assert scale("I1") == expected
    # One that was not opened from the case keeps it.
    lesion_dock = five.dock.images.connected_dock
    viewer.layers.selection.active = layers["I2"]
    lesion_dock.picker.show_current()
    five.waits()
    lesion_dock.analyze_button.click()
    five.waits()
    assert (len(five.case.find_image("I2").results), scale("I2")) == (1, (40.0, 40.0))
    # Its type is stored with its result, too.
    five.dock.images.connected_dock.picker.set_modality("macroscopic")
    five.waits()
    assert read_result(five.case.find_image("I2").current.path)["modality"] == "macroscopic"


def test_a_photograph_is_opened_with_the_type_that_is_stated_in_the_case(five):
    five.dock.controller.amend(set_image(five.case, "I1", modality="macroscopic"))
    five.opens("I1")
    five.waits()
    session = five.dock.images.connected_dock.picker.session
    assert photographs.get_modality(session.image) == "macroscopic"
    assert read_result(five.case.find_image("I1").current.path)["modality"] == "macroscopic"


def test_of_several_opened_images_only_those_that_are_shown_are_analyzed(five):
    five.picks("I1", "I2", "I3", "I4")
    five.clicks("primary")
    five.waits()
    images = [five.case.find_image(f"I{number}") for number in range(1, 5)]
    assert all(five.dock.images.is_open_or_queued(image.path) for image in images)
    assert 0 < sum(bool(image.results) for image in images) < 4


def test_undo_keeps_masks_and_mask_undo_removes_the_correction(five, photos, viewer, qtbot, tmp_path):
    def correction():
        return five.case.find_image("I1").correction

    five.types("patient_age", "54")
    five.opens("I1")
    five.draws("back_left_1_dermoscopy")
    kept = correction()
    five.clicks("case_undo")
    assert five.case.patient.age is None
    assert correction() == kept is not None
    viewer.layers["back_left_1_dermoscopy mask"].undo()
    five.waits()
    assert correction() is None
    # A mask that is drawn without the Lesion dock is kept.
    viewer.window.remove_dock_widget(five.dock.images.connected_dock)
    qtbot.waitUntil(lambda: five.dock.images.connected_dock is None, timeout=PATIENCE_MS)
    drawn = five.draws("back_left_1_dermoscopy")
    five.opens("I1")
    assert np.array_equal(viewer.layers["back_left_1_dermoscopy mask"].data != 0, drawn)
    assert correction() is not None
    assert np.array_equal(read_correction(correction()), drawn)
    # Reopening shows the mask that another program has saved meanwhile.
    copytree(photos, tmp_path / "other")
    five.draws("back_left_1_dermoscopy", rows=slice(50, 55))
    copytree(tmp_path / "other", photos, dirs_exist_ok=True)
    five.dock._on_link("again")
    five.waits()
    assert np.array_equal(viewer.layers["back_left_1_dermoscopy mask"].data != 0, drawn)


def analyzes_beside_the_case(person, path):
    """Open and analyze a photograph in the viewer, not from the case."""
    person.viewer.open(path, plugin="napari-melanoma")
    lesion_dock = person.dock.images.connected_dock
    person.viewer.layers.selection.active = person.viewer.layers[path.stem]
    lesion_dock.picker.show_current()
    person.waits()
    lesion_dock.analyze_button.click()
    person.waits()
    return person.viewer.layers[f"{path.stem} mask"]


def test_a_photograph_that_was_analyzed_before_shows_the_mask_of_the_case_and_strokes_are_added(five, photos, viewer):
    five.opens("I1")
    drawn, path = five.draws("back_left_1_dermoscopy"), five.case.find_image("I1").path
    five.dock.controller.close()
    five.waits()
    labels = analyzes_beside_the_case(five, path)
    assert not np.array_equal(labels.data != 0, drawn)
    five.drops(photos)
    assert np.array_equal(labels.data != 0, drawn)
    five.draws("back_left_1_dermoscopy", rows=slice(50, 55))
    stored = read_correction(five.case.find_image("I1").correction)
    assert np.array_equal(stored, drawn | square(drawn.shape, slice(50, 55), slice(2, 8)))


def test_a_correction_that_was_stored_while_its_photograph_stayed_open_is_kept(five, photos, viewer):
    path = five.case.find_image("I1").path
    five.opens("I2")
    labels = analyzes_beside_the_case(five, path)
    assert five.case.find_image("I1").results
    five.dock.controller.close()
    five.waits()
    assert path.stem in viewer.layers
    with CaseStore.open(photos) as store:  # by a colleague
        photograph, entry = read_photograph(path), store.case.find_image("I1").current
        result = read_stored_result(entry.path, photograph, array_fingerprint(photograph.rgb))
        mask = result.mask | square(result.mask.shape, slice(2, 8), slice(2, 8))
        store.save(save_result(store, store.case, "I1", replace(result, mask=mask, corrected=True)))
    five.drops(photos)
    assert np.array_equal(labels.data != 0, mask)
    photographs.set_pixel_size(viewer, viewer.layers[path.stem], PixelSize(33.0, 33.0))
    five.waits()
    assert np.array_equal(read_correction(five.case.find_image("I1").correction), mask)
    labels.undo()  # the correction of the case can be undone, as if it had been drawn here
    five.waits()
    assert five.case.find_image("I1").correction is None


def test_a_mask_is_corrected_by_clicks_and_saved_in_the_case(five, photos, viewer):
    name = "back_left_1_dermoscopy"
    five.opens("I1")
    five.dock.images.connected_dock.hosted.toggle_tool("click")
    use_tool(viewer, name, (30, 35), button=2)
    five.waits()
    mask = viewer.layers[f"{name} mask"].data != 0
    assert not mask[30, 35]
    kept = five.case.find_image("I1").correction
    assert kept is not None
    assert np.array_equal(read_correction(kept), mask)
    five.dock.controller.close()
    five.waits()
    five.drops(photos)
    assert np.array_equal(viewer.layers[f"{name} mask"].data != 0, mask)


def test_nothing_disagrees_about_a_mask_that_is_corrected_from_two_docks(five, photos, viewer, tmp_path):
    name = "back_left_1_dermoscopy"
    five.opens("I1")
    lesion_dock, labels = five.dock.images.connected_dock, viewer.layers[f"{name} mask"]
    session = lesion_dock.picker.session
    lesion_dock.corrections.store.folder = tmp_path / "corrections"

    def undoes_hidden():
        labels.visible = False
        labels.undo()

    def clicks_in_the_lesion_dock():
        labels.visible = True
        lesion_dock.hosted.toggle_tool("click")
        use_tool(viewer, name, (30, 35), button=2)

    steps = {
        "drawn": lambda: five.draws(name),
        "undone while hidden": undoes_hidden,
        "redone while hidden": labels.redo,
        "clicked": clicks_in_the_lesion_dock,
        "drawn again": lambda: five.draws(name, rows=slice(50, 55)),
        "reset": lesion_dock.findChild(QAbstractButton, "revert").click,
        "reset undone": labels.undo,
        "by a script": lambda: (labels.data.__setitem__((slice(20, 24), slice(2, 8)), 1), labels.refresh()),
    }
    for step, do in steps.items():
        do()
        five.waits()
        mask, image = labels.data != 0, five.case.find_image("I1")
        assert np.array_equal(session.lesion.result.mask, mask), step
        assert np.array_equal(read_mask(image.current.path / "mask.png"), mask), step
        is_corrected = step not in ("undone while hidden", "reset")
        assert session.lesion.corrected is is_corrected, step
        assert (image.correction is not None) is is_corrected, step
        assert read_result(image.current.path)["corrected_by_hand"] is is_corrected or step == "clicked", step
        assert not is_corrected or np.array_equal(read_correction(image.correction), mask), step
        texts = [item.text(1) for item in five.dock.tree.iterate_items() if five.row(item).id == "I1"]
        assert ("corrected" in texts[0]) is is_corrected, step
        assert not session.lesion.unsaved, step
        assert not session.has_unsaved_work, step
        outcome = session.current_prediction
        assert outcome is None or outcome.key.mask_digest == session.lesion.mask_digest, step
        lesion_dock.findChild(QAbstractButton, "add_correction").click()
        five.waits()
        (row,) = Corrections(tmp_path / "corrections").rows()
        assert np.array_equal(read_mask(tmp_path / "corrections" / row["mask_path"]), mask), step
        assert row["review"] == ("corrected" if is_corrected else "accepted"), step


def test_invalid_values_are_reported_and_valid_steps_undone_and_redone(five):
    five.types("patient_age", "430")
    assert five.fault("patient_age") == "Age: expected a number from 0 to 120 years; found 430."
    assert five.case.patient.age is None  # 43 was typed on the way, and not meant
    assert not five.dock.undo_button.isEnabled()
    five.chooses("patient_sex", "female")
    assert five.dock.findChild(QLineEdit, "patient_age").text() == "430"
    assert five.fault("patient_age")
    five.types("patient_age", "1,000")  # some mean a thousand
    assert five.fault("patient_age")
    assert five.case.patient.age is None
    five.types("patient_age", "54,5")
    assert (five.fault("patient_age"), five.case.patient.age) == ("", 54.5)
    # Steps are undone and redone.
    five.types("patient_age", "54")
    five.clicks("add_lesion")
    five.dock.tree.removed.emit(["I1"])
    assert "Ctrl+Z undoes it" in five.status
    for _ in range(3):
        five.clicks("case_undo")
    assert (five.case.patient.age, len(five.case.lesions)) == (None, 3)
    for _ in range(3):
        five.clicks("case_redo")
    assert (five.case.patient.age, len(five.case.lesions)) == (54, 4)
    # An invalid value keeps the known one, and belongs to its lesion.
    five.types("patient_age", "430")
    assert five.case.patient.age == 54
    five.dock.lesion_page.show()
    five.picks("L1")
    five.chooses("lesion_itch", "1")
    lesion = five.case.find_lesion("L1")
    assert (lesion.itch, lesion.bleed) == (True, None)
    assert collect_prior_metadata(five.case, lesion)["itch"] == "1"
    # An invalid value belongs to its lesion.
    five.types("lesion_diameter_1_mm", "5000000")
    assert five.fault("lesion_diameter_1_mm")
    five.picks("L2")
    assert five.fault("lesion_diameter_1_mm") == five.dock.findChild(QLineEdit, "lesion_diameter_1_mm").text() == ""


def test_the_synoptic_report_of_a_lesion_is_filled_in_undone_and_saved(five, photos):
    def combo(field):
        return five.dock.findChild(QComboBox, f"synoptic_{field}")

    def chooses(field, text):
        combo(field).setCurrentIndex(combo(field).findText(text))
        combo(field).activated.emit(combo(field).currentIndex())

    five.picks("L1")
    five.dock.choice.list_frames()["Report"].expand()
    five.waits()
    assert combo("laterality").currentText() == "left"  # suggested from the case
    assert five.case.find_lesion("L1").synoptic is None
    chooses("procedure", "excision")
    five.clicks("synoptic_laterality_confirm")
    report = five.case.find_lesion("L1").synoptic
    assert (report.value("procedure"), report.value("laterality")) == ("excision", "left")
    five.picks("L2")
    assert combo("procedure").currentText() == "–"
    five.picks("L1")
    chooses("procedure", "shave biopsy")
    five.clicks("case_undo")
    assert combo("procedure").currentText() == "excision"
    five.waits()
    assert CaseStore.open_read_only(photos).case.find_lesion("L1").synoptic.value("procedure") == "excision"

    # What is typed is stored before its field is left.
    five.qtbot.keyClicks(five.dock.findChild(QPlainTextEdit, "synoptic_comment"), "Typed last")
    five.waits()
    five.qtbot.keyClicks(combo("mitotic_rate").lineEdit(), "12")
    five.waits()
    report = CaseStore.open_read_only(photos).case.find_lesion("L1").synoptic
    assert (report.value("comment"), report.value("mitotic_rate")) == ("Typed last", 12)


@pytest.fixture
def reporting(five):
    """Somebody with an open synoptic report of the first lesion, as a named reader."""
    five.picks("L1")
    five.dock.choice.list_frames()["Report"].expand()
    five.waits()
    reader = five.dock.findChild(QLineEdit, "synoptic_reader")
    reader.setText("A. Reader")
    with five.qtbot.waitSignal(user_data().reader_changed) as signal:  # the sections of the Slide dock show it
        reader.editingFinished.emit()
    assert signal.args == ["A. Reader"]
    return five


def report_of(person, lesion="L1"):
    return person.case.find_lesion(lesion).synoptic


def test_undo_keeps_a_signature_and_comments_belong_to_their_lesions(reporting, photos):
    person = reporting
    for field, text in (("procedure", "excision"), ("procedure", "shave biopsy")):
        combo = person.dock.findChild(QComboBox, f"synoptic_{field}")
        combo.setCurrentIndex(combo.findText(text))
        combo.activated.emit(combo.currentIndex())
    # Undo records what it restores.
    person.clicks("case_undo")
    assert report_of(person).value("procedure") == "excision"
    assert [one.field for one in report_of(person).history] == ["procedure"] * 3
    # A comment that is being typed belongs to its lesion.
    comment = person.dock.findChild(QPlainTextEdit, "synoptic_comment")
    comment.setFocus()
    comment.setPlainText("of the first lesion")
    person.picks("L2")
    person.waits()
    assert person.dock.findChild(QPlainTextEdit, "synoptic_comment").toPlainText() == ""
    assert report_of(person).value("comment") == "of the first lesion"
    # Undo keeps a signature.
    person.picks("L1")
    person.waits()
    person.clicks("synoptic_confirm")
    person.clicks("synoptic_sign")
    press_button(person.qtbot, "synoptic_sign_question", "Sign")
    person.waits()
    signed = report_of(person)
    assert signed.is_signed
    for _ in range(9):  # more than there are steps
        if person.dock.undo_button.isEnabled():
            person.clicks("case_undo")
    assert report_of(person) == signed
    # A change of a value that the report rests on is stated, and an addendum leaves the report as it is.
    change_label = person.dock.findChild(QLabel, "synoptic_changes")
    person.dock.controller.edit(set_lesion(person.case, "L1", depth_mm=2.2), "depth")  # added, not changed
    added = "Imported, but not part of the signed report: Breslow thickness: 2.20 mm, recorded as 2.2 mm."
    assert change_label.text() == added
    person.clicks("case_undo")
    assert change_label.text() == ""
    person.dock.controller.edit(set_lesion(person.case, "L1", sub_site="shoulder"), "site")
    stated = "Lesion of the case, Sub-site\n    signed: not in the report\n    now: Shoulder"
    assert change_label.text() == stated
    assert person.dock.findChild(QLabel, "synoptic_changed").text() == "Changed after signature: 1 value"
    person.clicks("case_undo")
    person.dock.controller.edit(set_lesion(person.case, "L1", diagnosis="nevus"), "diagnosis")
    assert "Lesion of the case, Diagnosis\n" in change_label.text()
    assert "now: Nevus" in change_label.text()
    person.clicks("case_undo")
    assert change_label.isHidden()
    person.clicks("synoptic_addendum")
    dialog = person.dock.window().findChild(QInputDialog, "synoptic_addendum_dialog")
    dialog.setTextValue("Deeper levels show the same.")
    dialog.accept()
    assert report_of(person).addenda[0].text == "Deeper levels show the same."
    assert report_of(person).answers == signed.answers
    assert not person.dock.undo_button.isEnabled()
    # Closing saves the comment that is being typed.
    person.picks("L2")
    person.waits()
    comment = person.dock.findChild(QPlainTextEdit, "synoptic_comment")
    comment.setFocus()
    comment.setPlainText("of the second lesion")
    person.dock.controller.close()
    person.waits()
    case = CaseStore.open_read_only(photos).case
    assert case.find_lesion("L1").synoptic.value("comment") == "of the first lesion"
    assert case.find_lesion("L2").synoptic.value("comment") == "of the second lesion"


def test_a_finding_of_a_lesion_is_one_value_in_the_form_and_in_the_findings(reporting):
    person, form = reporting, reporting.dock.findChild

    def chooses(name, text):
        combo = form(QComboBox, name)
        combo.setCurrentIndex(combo.findText(text))
        combo.activated.emit(combo.currentIndex())

    def types(name, text):
        line = form(QComboBox, name).lineEdit()
        line.setText(text)
        line.setModified(True)
        line.editingFinished.emit()

    def lesion():
        return person.case.find_lesion("L1")

    def shown(field):
        return [form(QComboBox, f"{place}_{field}").currentText() for place in ("synoptic", "lesion")]

    chooses("synoptic_ulceration", "not identified")
    chooses("lesion_clark", "III")
    types("lesion_breslow", "1.34")
    assert (lesion().ulceration, lesion().clark, lesion().depth_mm) == (False, 3, 1.34)
    assert (shown("ulceration"), shown("clark"), shown("breslow")) == (
        ["not identified"] * 2,
        ["III"] * 2,
        ["1.34"] * 2,
    )
    types("synoptic_breslow", "2.5")
    chooses("lesion_ulceration", "not assessed")
    assert (shown("breslow"), shown("ulceration")) == (["2.50"] * 2, ["not assessed"] * 2)
    assert (lesion().depth_mm, lesion().ulceration) == (2.5, None)
    fields = [one.field for one in lesion().synoptic.history]
    assert fields == ["ulceration", "clark", "breslow", "breslow", "ulceration"]
    person.clicks("case_undo")
    assert (lesion().ulceration, shown("ulceration")) == (False, ["not identified"] * 2)
    # Signed means signed: also in the findings, where a click states why.
    when = "2026-01-02T10:00:00+00:00"
    report = lesion().synoptic.confirm(reader="A. Reader", when=when).sign("A. Reader", when)
    person.dock.controller.amend(set_lesion(person.case, "L1", synoptic=report))
    for name in ("lesion_ulceration", "lesion_breslow", "synoptic_clark"):
        person.dock.status.clear()
        assert not form(QComboBox, name).isEnabled()
        person.qtbot.mouseClick(form(QComboBox, name), Qt.MouseButton.LeftButton)
        assert "A. Reader" in person.status, name
    person.dock.status.clear()
    person.dock.editor.set_finding("L1", "clark", SynopticAnswer(value="V"))
    assert lesion().clark == 3
    assert "A. Reader has signed it" in person.status


def test_a_finding_that_is_being_typed_belongs_to_its_lesion(five, viewer):
    viewer.show()  # only then has a field the focus
    viewer.window._qt_window.activateWindow()
    line = five.dock.findChild(QComboBox, "lesion_breslow").lineEdit()
    five.dock.choice.list_frames()["Findings"].expand()

    def types(lesion, text):
        five.picks(lesion)
        line.setFocus()
        five.qtbot.waitUntil(line.hasFocus)
        five.qtbot.keyClicks(line, text)

    types("L1", "1.4")
    five.picks("L2")  # as when the tree follows the viewer: the focus stays
    assert line.text() == ""
    types("L2", "0.6")
    five.dock.editor.add_lesion()  # as by the shortcut
    assert line.text() == ""
    assert five.dock.tree.current_id == "L4"
    expected = {"L1": 1.4, "L2": 0.6, "L3": None, "L4": None}
    assert {lesion.id: lesion.depth_mm for lesion in five.case.lesions} == expected
    types("L4", "3")
    five.dock.editor.remove(["L4"])
    del expected["L4"]
    assert {lesion.id: lesion.depth_mm for lesion in five.case.lesions} == expected


def test_a_finding_that_is_not_accepted_does_not_hide_that_of_another_patient(five, tmp_path):
    combo = five.dock.findChild(QComboBox, "lesion_breslow")
    line = combo.lineEdit()
    five.picks("L1")
    five.qtbot.keyClicks(line, "abc")
    line.editingFinished.emit()
    assert five.dock.lesion_page.histology.has_fault
    five.dock.controller.create(tmp_path / "other", add_lesion(Case(), depth_mm=2.5))
    five.waits()
    assert five.dock.tree.current_id == "L1"
    assert line.text() == "2.50"
    assert not five.dock.lesion_page.histology.has_fault


def test_images_are_not_added_to_a_case_that_was_opened_while_they_were_read(five, photos, tmp_path, monkeypatch):
    collect, may_end = importing.collect_patients, threading.Event()

    def collect_slowly(*arguments, **options):
        assert may_end.wait(20)
        return collect(*arguments, **options)

    monkeypatch.setattr(importing, "collect_patients", collect_slowly)
    PillowImage.fromarray(mole(90)).save(photos / "forearm_right_2_macroscopic.png")
    five.dock.tree.dropped.emit([photos], "L1")
    other = add_lesion(Case())  # of another patient, whose lesion has the same id
    five.dock.controller.create(tmp_path / "other", other)
    five.qtbot.waitUntil(lambda: five.dock.controller.is_open(tmp_path / "other"))
    may_end.set()
    five.waits()
    assert five.case.lesions == other.lesions
    assert five.case.images == ()
    assert five.status.startswith(f"Nothing was added: the case {photos.name} was closed")


def test_images_for_a_new_case_are_not_added_to_a_case_that_was_opened_since(tmp_path):
    importer = MagicMock()  # whose controller has opened a case, as while the patient dialog is open
    importer._controller.store.folder = tmp_path / "other"
    CaseImporter._add(importer, CaseImportRequest((tmp_path,)), importing.CollectedPatient("A", Case()), ())
    importer._controller.edit.assert_not_called()
    importer._create.assert_not_called()
    ((text,), _) = importer.message.emit.call_args
    assert text.startswith("Nothing was added: the case other was opened")


def test_findings_of_readings_are_stated_with_their_authors_and_not_assessed_is_not_unknown():
    when = "2026-01-02T10:00:00+00:00"
    depth = set_values(SlideFindings(), "A", when, mm=0.47)
    depth = set_finding(depth, "ulceration", SynopticAnswer(state="not assessed"), "A", when)
    depth = set_values(depth, "B", when, ulcerated=False)
    added = CaseSlideFindings(document=depth, added=when)
    slide = CaseImage(id="I1", path=Path("section.tif"), modality="wsi", findings=added)
    text = describe_other_findings(CaseLesion(id="L1", images=(slide,)))
    assert text.splitlines() == [
        "section.tif, reading by A: breslow thickness 0.47 mm, recorded as 0.5 mm, ulceration not assessed.",
        "section.tif, reading by B: ulceration not identified.",
    ]
    other = CaseImage(id="I2", path=Path("other/section.tif"), modality="wsi", findings=added)
    same = slide.model_copy(update={"path": Path("first/section.tif")})
    text = describe_other_findings(CaseLesion(id="L1", images=(same, other)))
    assert len(text.splitlines()) == 4  # of both slides of this name


@pytest.mark.path
def test_the_report_of_a_case_is_written_with_its_last_edits(five, tmp_path):
    five.types("patient_age", "54")
    five.clicks("case_report")
    five.waits()
    dialog = five.dock.window().findChild(QDialog, "report_dialog")
    dialog.pdf_check.setChecked(False)
    dialog.accept()
    chooser = five.dock.window().findChild(QFileDialog, "report_file_dialog")
    assert chooser.selectedFiles()[0].endswith("P-0042-report.html")
    chooser.fileSelected.emit(str(tmp_path / "report.html"))
    chooser.reject()
    five.waits()
    assert "Saved: " in five.status
    assert "54" in (tmp_path / "report.html").read_text(encoding="utf-8")


def drop(tree, mime, place, source=None):
    """Let something fall on a place of the tree."""
    event = QDropEvent(
        QPointF(place), Qt.DropAction.MoveAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    event.source = lambda: source
    tree.dropEvent(event)


@pytest.mark.both_qts
def test_images_are_dragged_between_lesions_and_files_dropped_on_them(five, tmp_path):
    five.picks("I1", "I2")
    tree = five.dock.tree
    drop(tree, QMimeData(), tree.visualItemRect(tree.topLevelItem(1)).center(), source=tree)
    assert [len(lesion.images) for lesion in five.case.lesions] == [0, 4, 1]
    five.dock.tree.moved.emit(["I5"], "", -1)
    assert [len(lesion.images) for lesion in five.case.lesions] == [0, 3, 1, 1]
    five.dock.tree.moved.emit(["I5"], "loose", -1)
    assert tree.topLevelItem(4).text(0) == "Not assigned"
    # Files that are dropped on a lesion are its images.
    PillowImage.fromarray(mole(90)).save(tmp_path / "IMG_0012.png")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path / "IMG_0012.png"))])
    actions, button = Qt.DropAction.CopyAction | Qt.DropAction.MoveAction, Qt.MouseButton.LeftButton
    entering = QDragEnterEvent(QPoint(5, 5), actions, mime, button, Qt.KeyboardModifier.NoModifier)
    tree.dragEnterEvent(entering)
    assert entering.isAccepted()
    item = tree.topLevelItem(1)
    before = [image.name for image in five.case.find_lesion(five.row(item).id).images]
    drop(tree, mime, tree.visualItemRect(item).center())
    five.waits()
    assert [image.name for image in five.case.find_lesion(five.row(tree.topLevelItem(1)).id).images] == [
        *before,
        "IMG_0012",
    ]


@pytest.mark.path
def test_a_second_window_is_read_only(five, photos, viewer, qtbot):
    second = CaseDock(viewer)
    viewer.window.add_dock_widget(second, name="second")
    other = Pathologist(viewer, second, qtbot)
    other.drops(photos)
    assert "Read-only: another window of yours" in other.notice
    assert not other.dock.add_lesion_button.isEnabled()
    other.dock.tree.removed.emit(["I1"])
    assert len(list(other.case.iterate_images())) == 5
    five.dock.controller.close()
    five.waits()
    other.dock._on_link("again")
    other.waits()
    assert (other.notice, other.dock.add_lesion_button.isEnabled()) == ("", True)


def test_corrections_of_a_read_only_case_are_saved_later_and_kept_for_a_missing_image(someone, photos, tmp_path):
    someone.drops(photos)
    someone.opens("I1")
    someone.dock.controller.close()
    someone.waits()
    with CaseStore.open(photos):
        someone.drops(photos)
        assert "Read-only" in someone.notice
        drawn = someone.draws("back_left_1_dermoscopy")
    assert someone.case.find_image("I1").correction is None
    someone.dock._on_link("again")
    someone.waits()
    assert np.array_equal(read_correction(someone.case.find_image("I1").correction), drawn)
    # The image is moved to another folder.
    someone.dock.controller.close()
    someone.waits()
    away = tmp_path / "away"
    away.mkdir()
    (photos / "back_left_1_dermoscopy.png").rename(away / "back_left_1_dermoscopy.png")
    someone.drops(photos)
    assert "1 image not found: back_left_1_dermoscopy.png" in someone.notice
    assert someone.case.find_image("I1").correction is not None
    someone.opens("I1")
    assert "was not found" in someone.status
    someone.dock.notice.label.linkActivated.emit("locate")
    (dialog,) = someone.dock.window().findChildren(QFileDialog, "case_folder_dialog")
    dialog.fileSelected.emit(str(away))
    dialog.reject()
    someone.waits()
    assert (someone.notice, someone.status) == ("", f"1 image found in {away}.")
    assert someone.case.find_image("I1").path == away / "back_left_1_dermoscopy.png"
    someone.types("patient_age", "54")
    someone.clicks("case_undo")
    someone.waits()
    assert CaseStore.open_read_only(photos).case.find_image("I1").path == away / "back_left_1_dermoscopy.png"


def test_changes_of_another_program_are_not_overwritten_and_a_removed_folder_is_reported(five, photos, tmp_path):
    text = (photos / "case.json").read_text()
    (photos / "case.json").write_text(text.replace('"version"', '"made_by": "hand", "version"'))
    five.types("patient_age", "54")
    five.waits()
    assert "another program changed the case" in five.notice
    assert "age" not in json.loads((photos / "case.json").read_text())["patient"]
    five.dock._on_link("over")
    five.waits()
    assert five.notice == ""
    assert json.loads((photos / "case.json").read_text())["patient"]["age"] == 54
    # The folder is removed, and created again.
    photos.rename(tmp_path / "away")
    five.types("patient_age", "55")
    five.waits()
    assert "no longer exists: it was moved or removed. Open the case at its new location." in five.notice
    five.dock._on_link("over")
    five.waits()
    assert json.loads((photos / "case.json").read_text())["patient"]["age"] == 55


@pytest.mark.path
def test_recent_edits_are_saved_when_the_dock_is_closed(viewer, shared_client, photos, qtbot):
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    person = Pathologist(viewer, made, qtbot)
    person.drops(photos)
    person.types("patient_age", "54")
    viewer.window.remove_dock_widget(made)

    def is_free():  # the file is written before its lock is released
        with CaseStore.open(photos) as store:
            return store.read_only == ""

    qtbot.waitUntil(is_free)
    assert CaseStore.open_read_only(photos).case.patient.age == 54


def test_images_in_a_read_only_folder_get_a_case_elsewhere(someone, photos, tmp_path, monkeypatch):
    create = CaseStore.create

    def refuses(folder, case=None):
        if folder == photos:
            raise SaveError(f"cannot write in {folder}")
        return create(folder, case)

    monkeypatch.setattr(CaseStore, "create", refuses)
    someone.drops(photos)
    dialogs = someone.dock.window().findChildren(QFileDialog, "case_folder_dialog")
    assert [dialog.windowTitle() for dialog in dialogs] == ["Folder for the case of these images"]
    dialogs[0].fileSelected.emit(str(tmp_path / "my  case"))
    dialogs[0].reject()
    someone.waits()
    assert (someone.dock.controller.store.folder, len(someone.case.lesions)) == (tmp_path / "my  case", 3)


def test_invalid_input_does_no_harm(five, photos):
    five.clicks("add_lesion")
    five.dock.add_lesion_button.click()
    five.dock.add_lesion_button.click()
    five.dock.tree.opened.emit("I1")
    five.dock.tree.opened.emit("I1")
    five.dock.tree.removed.emit(["I1", "L1", "L1"])
    assert "Removed from the case: 1 image and 1 lesion." in five.status
    five.dock.tree.removed.emit(["I1"])
    five.dock.editor.set_part("age", "nonsense")
    five.dock.editor.move(["I99"], "L2")
    assert "moved" not in five.status
    five.dock.controller.open(photos)
    five.dock.controller.close()
    five.dock.controller.close()
    five.waits()
    assert five.case is None
    assert len(CaseStore.open_read_only(photos).case.lesions) == 5


def tab_stops(dock, first):
    """Names of the controls that Tab goes through, from one on, in order."""
    found, widget = [], first
    while True:
        can = widget.focusPolicy() & Qt.FocusPolicy.TabFocus == Qt.FocusPolicy.TabFocus
        if can and widget.isVisibleTo(dock) and widget.isEnabledTo(dock):
            found.append(widget.objectName())
        widget = widget.nextInFocusChain()
        if widget is first or widget is None or not dock.isAncestorOf(widget):
            return found


@pytest.mark.path
@pytest.mark.both_qts
def test_the_form_is_filled_in_by_keyboard_alone(five, qtbot):
    dock = five.dock
    five.picks("L1")
    stops = tab_stops(dock, dock.title)
    fields = ("patient_id", "age", "sex", "fitzpatrick", "personal_history", "family_history", "ethnicity", "note")
    wanted = ["primary", "add_lesion", "add_image", "case_tree", *(f"patient_{name}" for name in fields)]
    wanted += ["body_site", "body_side", "body_unknown"]
    wanted += [f"lesion_{name}" for name in ("diagnosis", "diagnosis_detail", "diagnosis_by", "label", "note")]
    assert [name for name in stops if name in wanted] == [*wanted]
    qtbot.keyClicks(dock.findChild(QLineEdit, "patient_age"), "61")
    qtbot.keyClick(dock.findChild(QComboBox, "patient_sex"), Qt.Key.Key_M)
    assert (five.case.patient.age, five.case.patient.sex) == (61, "male")
    qtbot.keyClick(dock.tree, Qt.Key.Key_Down)
    assert dock.image_page.isVisibleTo(dock)
    assert "image_lesion" in tab_stops(dock, dock.title)
    five.chooses("image_lesion", "L3")
    assert len(five.case.find_lesion("L3").images) == 3
    qtbot.keyClick(dock.tree, Qt.Key.Key_Delete)
    assert len(list(five.case.iterate_images())) == 4
    keys = {shortcut.key().toString(): shortcut for shortcut in dock.findChildren(QShortcut)}
    keys["Ctrl+Z"].activated.emit()
    keys["Alt+N"].activated.emit()
    assert (len(list(five.case.iterate_images())), len(five.case.lesions)) == (5, 4)


def test_a_damaged_photograph_is_confirmed_and_marked(someone, photos, viewer, qtbot):
    path = photos / "cheek_4_dermoscopy.jpg"
    PillowImage.fromarray(np.repeat(np.repeat(mole(9), 4, axis=0), 4, axis=1)).save(path, quality=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + b"\xff\xd9")
    someone.drops(photos)
    [image] = [image for _, image in someone.case.iterate_images() if image.path == path]

    def question():
        return someone.dock.window().findChild(QMessageBox, "damaged_photograph")

    someone.dock.tree.opened.emit(image.id)
    qtbot.waitUntil(lambda: question() is not None, timeout=PATIENCE_MS)
    assert not viewer.layers
    next(button for button in question().buttons() if "Open" in button.text()).click()
    qtbot.waitUntil(lambda: len(viewer.layers) > 0, timeout=PATIENCE_MS)
    someone.waits()
    assert "could be decoded" in viewer.layers[0].metadata["napari_melanoma"]["damage"]


@pytest.mark.both_qts
def test_a_case_reaches_only_the_docks_of_its_own_viewer(shared_client, make_napari_viewer, tmp_path, qtbot):
    path = tmp_path / "mole.png"
    PillowImage.fromarray(mole(9)).save(path)
    viewers = make_napari_viewer(show=False), make_napari_viewer(show=False)
    case_docks = [show_dock(viewer, "Case") for viewer in viewers]
    lesion_docks = [show_dock(viewer, "Lesion") for viewer in viewers]
    for number, (lesion_dock, case_dock) in enumerate(zip(lesion_docks, case_docks, strict=True), 1):
        lesion_dock.show_file(path)
        wait_until_idle(qtbot)
        case_dock.controller.create(
            tmp_path / f"P-{number}", make_case(path, {"patient_id": f"P-{number}", "age": 10 * number})
        )
        wait_until_idle(qtbot)

    def known() -> list[tuple[str, dict[str, str]]]:
        data = [dock.picker.session.patient_data for dock in lesion_docks]
        return [(one.case, one.row) for one in data]

    assert known() == [("P-1", {"age": "10"}), ("P-2", {"age": "20"})]
    case_docks[0].controller.edit(make_case(path, {"patient_id": "P-1", "age": 11}), "the age")
    assert known() == [("P-1", {"age": "11"}), ("P-2", {"age": "20"})]
    viewers[0].window.remove_dock_widget(case_docks[0])
    qtbot.waitUntil(lambda: known() == [("", {}), ("P-2", {"age": "20"})], timeout=PATIENCE_MS)
    wait_until_idle(qtbot)
