"""The page Diagnosis of the Review dock through its controls: label by keys, undo, order, readers and use."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from message_boxes import answering
from PIL import Image as PillowImage
from qtpy.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from qtpy.QtGui import QShortcut
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QFileDialog, QInputDialog, QLabel, QListView, QTabBar

from conftest import PATIENCE_MS, WINDOW_SIZE, wait_until_idle
from napari_melanoma import worker
from napari_melanoma.core.context import Progress
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.data.corrections import Correction, Corrections
from napari_melanoma.data.diagnosis_labels import DiagnosisLabel, read_diagnoses
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.ui.library import diagnosis, review_photographs
from napari_melanoma.ui.library.diagnosis_list import DiagnosisChips
from napari_melanoma.ui.library.resolve import INFORMATIVE
from napari_melanoma.ui.library.review import ReviewDock
from napari_melanoma.ui.library.review_answer import ReviewAnswer
from napari_melanoma.ui.library.review_photographs import OPENING, Opening, find_press_time
from napari_melanoma.ui.library.review_queues import EmbeddingQueue, RatingQueue
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer.camera import find_canvas
from napari_melanoma.ui.viewer.photographs import (
    STANDBY,
    filter_photographs,
    get_own_units,
    get_path,
    get_pixel_size,
    get_role,
    is_photograph,
    set_pixel_size,
)
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.settings import READER_SETTING

from .test_review import Reviewer, find_action, mole

COUNT = 24
MELANOMA, NEVUS = 1, 2  # keys


@pytest.fixture
def photographs(tmp_path):
    """A folder with photographs; the bluer, the more likely melanoma by the fake worker."""
    place = tmp_path / "clinic"
    place.mkdir()
    for number in range(COUNT):
        PillowImage.fromarray(mole(3 * number)).save(place / f"mole-{number:02}.png")
    return place


@pytest.fixture
def corrections(tmp_path, home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    settings = ReviewSettings()
    settings.corrections, settings.reviewer = tmp_path / "my corrections", "Ana"
    return Corrections(tmp_path / "my corrections")


def shortcut(dock, name):
    return next(key for key in dock.findChildren(QShortcut) if key.objectName() == name)


def number_key(dock, number):
    return [key for key in dock.findChildren(QShortcut) if key.objectName() == "review.classes"][number - 1]


class Labeler(Reviewer):
    def shown(self):
        return [image.name.removesuffix(".png") for image in self.dock.list_model.rows]

    @property
    def page(self):
        return self.dock.diagnosis

    def presses_key(self, number, name="review.classes"):
        keys = [key for key in self.dock.findChildren(QShortcut) if key.objectName() == name]
        keys[number - 1].activated.emit()
        self.waits()

    def lists(self, kind):
        self.dock.filter_combo.setCurrentText(kind.capitalize())
        self.dock.filter_combo.activated.emit(self.dock.filter_combo.currentIndex())

    def state_of(self, name):
        (image,) = [image for image in self.dock.list_model.images if image.path.stem == name]
        return self.dock.records.find_state(image).mark

    def labels(self, count):
        """Label photographs by their color, as they come; return their names."""
        seen = []
        for _ in range(count):
            name = self.sees()
            seen.append(name)
            self.presses_key(MELANOMA if int(name[-2:]) >= COUNT // 2 else NEVUS)
        return seen

    def text(self, name):
        return self.dock.findChild(QLabel, name).text()


@pytest.fixture
def labeled(corrections, photographs):
    """Labels of 20 photographs from an earlier session, every fourth of them drawn at random."""
    for number in range(2, COUNT - 2):
        name, word = f"mole-{number:02}", "melanoma" if number >= COUNT // 2 else "nevus"
        path, drawn = photographs / f"{name}.png", "random" if number % 4 == 3 else ""
        correction = Correction(name, read_photograph(path).rgb, None, "unreviewed", source=path)
        corrections.label(correction, DiagnosisLabel(word, "Ana", drawn=drawn))


@pytest.fixture
def labeler(viewer, shared_client, corrections, qtbot, photographs, monkeypatch):
    """A user with the page Diagnosis, and the first photograph open; keys may be repeated at once."""
    monkeypatch.setattr(review_photographs, "REPEAT_S", 0.0)
    monkeypatch.setattr(diagnosis, "PAUSE_MS", 0)
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Review")
    user = Labeler(viewer, made, qtbot)
    user.page.mode_button.click()
    user.reviews(photographs)
    user.presses("Alt+PgDown")
    yield user
    user.waits()


@pytest.mark.both_qts
def test_number_keys_store_diagnoses_and_open_the_next_also_after_a_restart(
    labeler, corrections, viewer, qtbot, photographs
):
    assert labeler.dock.sort_combo.currentText() == INFORMATIVE.capitalize()
    first, second = labeler.labels(2)
    assert first != second != labeler.sees()
    rows = corrections.rows()
    assert {row["image_id"] for row in rows} == {first, second}
    for row in rows:
        (label,) = read_diagnoses(row)
        assert (label.diagnosis, label.reader) == (row["diagnosis"], "Ana")
        assert label.at.startswith("20")
        assert (row["review"], row["mask_path"]) == ("unreviewed", "")
    # The list shows the progress.
    assert labeler.dock.count_label.text() == f"{COUNT - 2} to do, 2 labeled"
    # Rows stay in place until they are listed again.
    assert len(labeler.shown()) == COUNT
    labeler.lists("to do")
    assert len(labeler.shown()) == COUNT - 2
    assert not {first, second} & {*labeler.shown()}
    # A digit works while the dock has the focus, one that is no class does nothing
    labeler.presses_key(NEVUS, "review.class_keys")
    assert len(corrections.rows()) == 3
    shown = labeler.sees()
    labeler.presses_key(9)
    assert len(corrections.rows()) == 3
    assert labeler.sees() == shown
    # Labels and embeddings are there after a restart.
    labeled = {row["image_id"] for row in corrections.rows()}
    viewer.window.remove_dock_widget(labeler.dock)
    requests = []
    again = ReviewDock(viewer, labeler.dock._client)
    request = again._client.request
    again._client.request = lambda function, *arguments: requests.append(function) or request(function, *arguments)
    viewer.window.add_dock_widget(again, name="again")
    user = Labeler(viewer, again, qtbot)
    user.reviews(photographs)
    assert worker.embed_photograph not in requests
    assert {image.path.stem for image in again.list_model.images if again.records.find_own(image.path)} == labeled
    assert not set(user.shown()) & set(labeled)
    user.lists("labeled")
    assert set(user.shown()) == set(labeled)
    del again._client.request
    viewer.window.remove_dock_widget(again)
    again.deleteLater()


def test_labels_of_the_record_are_listed_without_ratings_features_and_the_section(
    labeled, viewer, shared_client, photographs, qtbot, monkeypatch
):
    monkeypatch.setattr(RatingQueue, "start", lambda *_: None)
    monkeypatch.setattr(diagnosis.DiagnosisPage, "refresh", lambda *_: None)
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Review")
    user = Labeler(viewer, made, qtbot)
    user.reviews(photographs)
    assert made.count_label.text() == f"4 to do, {COUNT - 4} labeled"
    user.lists("all")
    assert [user.state_of(name) for name in ("mole-00", "mole-02", "mole-21")] == ["", "● nevus", "● melanoma"]
    # Another reader has labeled none of them
    made.settings.reviewer = "Ben"
    user.waits()
    assert made.count_label.text() == f"{COUNT} to do"
    assert user.state_of("mole-02") == "● labeled by Ana"


def test_a_corrected_label_changes_the_text_of_its_row(labeler):
    labeler.lists("all")
    name, painted = labeler.sees(), []
    row = labeler.shown().index(name)

    def record(first, last):  # what is painted now
        if first.row() <= row <= last.row():
            painted.append(labeler.state_of(name))

    labeler.dock.list_model.dataChanged.connect(record)
    for number, text in ((MELANOMA, "● melanoma"), (NEVUS, "● nevus")):
        labeler.clicks_on(name)
        labeler.presses_key(number)
        assert labeler.state_of(name) == painted[-1] == text
    labeler.dock.list_model.dataChanged.disconnect(record)


def shows_window(viewer, qtbot):
    """Show the window, where keys and clicks arrive as those of a user."""
    window = viewer.window._qt_window
    window.resize(*WINDOW_SIZE)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is window, timeout=PATIENCE_MS)
    return window


def test_keys_act_on_the_photograph_on_the_canvas_alone(labeler, corrections, viewer, qtbot):
    window = shows_window(viewer, qtbot)
    labeler.waits()
    labeler.dock.list_view.setFocus()
    canvas = find_canvas(window)
    first = labeler.sees()
    canvas.setUpdatesEnabled(False)  # the machine is busy: the next photograph is not drawn yet
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_1)
    qtbot.waitUntil(lambda: labeler.dock.list_view.path.stem != first, timeout=PATIENCE_MS)
    second = labeler.dock.list_view.path.stem
    for key, modifier in (
        (Qt.Key.Key_2, Qt.KeyboardModifier.NoModifier),
        (Qt.Key.Key_X, Qt.KeyboardModifier.AltModifier),
    ):
        QTest.keyClick(window.windowHandle(), key, modifier)
        assert labeler.dock.status.text.endswith(OPENING)
    assert not labeler.dock.reject_button.isEnabled()
    wait_until_idle(qtbot, labeler.dock.corrections_store, labeler.dock.opener.connected_dock.corrections)
    assert [row["image_id"] for row in corrections.rows()] == [first]
    canvas.setUpdatesEnabled(True)
    labeler.waits()
    assert labeler.sees() == second
    labeler.dock.status.begin("embedding", "Computing image features ...")
    labeler.dock.status.progress("embedding", Progress(2, 20, "Computing image features 3 of 20"))
    assert f"2 keys were too early: {OPENING}" in labeler.dock.status.text  # until the next key
    labeler.dock.status.end("embedding")
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_2)
    labeler.waits()
    assert OPENING not in labeler.dock.status.text
    assert {row["image_id"]: row["diagnosis"] for row in corrections.rows()} == {first: "melanoma", second: "nevus"}
    # Nor on one that the user has hidden
    viewer.layers[labeler.sees()].visible = False
    labeler.waits()
    labeler.presses_key(NEVUS)
    assert len(corrections.rows()) == 2
    window.hide()


PRESS_TIMES = {  # of an event, in ms; the time at which it arrives, in s; expected
    "at once": (1_000_000, 1000.0, 1000.0),
    "rounded up": (1_000_001, 1000.0, 1000.0),
    "while the GUI was busy": (998_500, 1000.0, 998.5),
    "32 bits since 50 days": (1_000_000, 2**32 / 1000 + 1000.5, 2**32 / 1000 + 1000),
    "of another clock": (7_000, 1000.0, None),
    "later": (1_002_000, 1000.0, None),
}


@pytest.mark.parametrize(("timestamp", "now", "expected"), PRESS_TIMES.values(), ids=PRESS_TIMES)
def test_time_of_a_press(timestamp, now, expected):
    found = find_press_time(timestamp, now)
    assert found == (expected if expected is None else pytest.approx(expected, abs=1e-3))


def press_at(window, number, seconds):
    """Press a digit; its event arrives now, and states that it was pressed at a time by ``time.monotonic``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(review_photographs, "find_press_time", lambda timestamp, now: seconds)
        QTest.keyClick(window.windowHandle(), str(number))


@pytest.mark.both_qts
@pytest.mark.parametrize("is_seen", [True, False], ids=["after the drawing", "before the drawing"])
def test_a_key_counts_from_the_drawing_on_whenever_its_event_arrives(labeler, corrections, monkeypatch, qtbot, is_seen):
    opener = labeler.dock.opener
    window = shows_window(labeler.viewer, qtbot)
    labeler.waits()
    first = labeler.sees()
    number_key(labeler.dock, MELANOMA).activated.emit()
    busy = []

    def be_busy():  # the photograph is on the screen, but the event loop does not deliver keys yet
        if not busy and opener._state is Opening.DRAWING:
            time.sleep(0.3)
            busy.append(opener._drawn_time)
            press_at(window, NEVUS, busy[0] + (0.1 if is_seen else -0.1))

    opener._drawing_timers[0].timeout.connect(be_busy)
    labeler.waits()
    opener._drawing_timers[0].timeout.disconnect(be_busy)
    assert len(busy) == 1
    labels = {row["image_id"]: row["diagnosis"] for row in corrections.rows()}
    assert labels.pop(first) == "melanoma"
    assert list(labels.values()) == (["nevus"] if is_seen else [])
    assert (OPENING in labeler.dock.status.text) is not is_seen
    window.hide()


def test_a_key_that_waits_while_the_lesion_dock_follows_acts(labeler, corrections, monkeypatch, qtbot):
    opener, press = labeler.dock.opener, number_key(labeler.dock, NEVUS).activated.emit
    shows_window(labeler.viewer, qtbot)
    labeler.waits()
    select = review_photographs.show_photograph
    pressed = []

    def select_slowly(viewer, image):
        if not pressed:
            pressed.append(opener.is_opening)
            QTimer.singleShot(0, press)
        select(viewer, image)

    monkeypatch.setattr(review_photographs, "show_photograph", select_slowly)
    press()
    labeler.waits()
    assert pressed == [True]
    assert len(corrections.rows()) == 2
    labeler.viewer.window._qt_window.hide()


def test_a_digit_that_is_pressed_twice_labels_one_photograph(labeler, corrections, monkeypatch, qtbot):
    monkeypatch.setattr(review_photographs, "REPEAT_S", 0.5)
    window = shows_window(labeler.viewer, qtbot)
    labeler.waits()
    first, opener = labeler.sees(), labeler.dock.opener
    number_key(labeler.dock, MELANOMA).activated.emit()
    qtbot.waitUntil(lambda: opener.is_shown and labeler.sees() != first, timeout=PATIENCE_MS)
    second = labeler.sees()
    press_at(window, MELANOMA, opener._drawn_time + 0.4)
    labeler.waits()
    assert [row["image_id"] for row in corrections.rows()] == [first]
    assert labeler.sees() == second
    assert "1 again: the same key within 0.5 s of a new photograph is ignored" in labeler.dock.status.text
    # Another one, and the same one later, count
    press_at(window, NEVUS, opener._drawn_time + 0.4)
    labeler.waits()
    third = labeler.sees()
    press_at(window, NEVUS, opener._drawn_time + 0.6)
    labeler.waits()
    assert "again" not in labeler.dock.status.text
    labels = {row["image_id"]: row["diagnosis"] for row in corrections.rows()}
    assert labels == {first: "melanoma", second: "nevus", third: "nevus"}
    window.hide()


def test_digits_label_wherever_the_focus_is_while_the_dock_is_in_front(labeler, corrections, viewer, qtbot):
    window = viewer.window._qt_window
    window.resize(*WINDOW_SIZE)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is window, timeout=PATIENCE_MS)
    labeler.waits()
    first = labeler.sees()
    mask = viewer.layers[f"{first} mask"]
    viewer.layers.selection.active = mask
    find_action(labeler.dock, "open_lesion_dock").trigger()

    def find_tabs():
        bars = window.findChildren(QTabBar)
        return next((bar for bar in bars if "Review" in map(bar.tabText, range(bar.count()))), None)

    qtbot.waitUntil(lambda: find_tabs() is not None, timeout=PATIENCE_MS)
    tabs = find_tabs()

    def brings_forward(title):
        number = next(n for n in range(tabs.count()) if tabs.tabText(n) == title)
        qtbot.mouseClick(tabs, Qt.MouseButton.LeftButton, pos=tabs.tabRect(number).center())
        labeler.waits()

    # The Lesion dock is in front of the Review dock: a digit selects a tool of napari
    brings_forward("Lesion")
    find_canvas(window).setFocus()
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_2)
    labeler.waits()
    assert (corrections.rows(), mask.mode) == ([], "paint")
    mask.mode = "pan_zoom"
    # The user comes back by the tab, and the focus stays on the canvas
    brings_forward("Review")
    for count, focus in enumerate((find_canvas(window), labeler.dock.primary_button), start=1):
        focus.setFocus()
        name = labeler.sees()
        QTest.keyClick(window.windowHandle(), Qt.Key.Key_2)
        labeler.waits()
        assert (len(corrections.rows()), corrections.rows()[-1]["image_id"]) == (count, name)
        assert labeler.sees() != name
    assert mask.mode == "pan_zoom"
    # Text fields get the characters, and with the tools for masks in view, nothing is stored
    labeler.dock.name_field.setFocus()
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_1)
    assert labeler.dock.name_field.text() == "1"
    labeler.dock.clear_name()
    assert len(corrections.rows()) == 2
    labeler.dock.mask_button.click()
    labeler.dock.list_view.setFocus()
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_1)
    labeler.waits()
    assert len(corrections.rows()) == 2
    window.hide()


def chooses_folder(dock, folder):
    find_action(dock, "choose_folder").trigger()
    dialog = dock.window().findChild(QFileDialog, "review_dialog")
    dialog.fileSelected.emit(str(folder))
    dialog.reject()


def test_a_digit_labels_no_photograph_of_a_previous_folder(labeler, corrections, viewer, qtbot, photographs):
    window = shows_window(viewer, qtbot)
    labeler.waits()
    find_canvas(window).setFocus()
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_1)
    labeler.waits()
    assert len(corrections.rows()) == 1
    labeler.page.undo_button.click()
    labeler.waits()
    assert corrections.rows() == []
    other = photographs.parent / "other"
    other.mkdir()
    for number in range(3):
        PillowImage.fromarray(mole(110 + number)).save(other / f"other-{number:02}.png")
    chooses_folder(labeler.dock, other)
    labeler.waits()
    view = labeler.dock.list_view
    below = view.visualRect(labeler.dock.list_model.index(2)).bottomLeft() + QPoint(20, 30)
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=below)  # on no row
    labeler.waits()
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_1)
    labeler.waits()
    assert corrections.rows() == []
    assert "Select a photograph in the list to label it" in labeler.dock.status.text
    assert not labeler.dock.reject_button.isEnabled()
    labeler.clicks_on("other-01")
    find_canvas(window).setFocus()
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_1)
    labeler.waits()
    assert [row["image_id"] for row in corrections.rows()] == ["other-01"]
    assert labeler.sees() in ("other-00", "other-02")
    window.hide()


def test_in_a_series_the_next_photograph_is_shown_before_any_analysis(labeler, corrections, qtbot):
    opener, drawn = labeler.dock.opener, []
    opener.shown.connect(lambda path: drawn.append(path.stem))
    session = labeler.dock.opener.connected_dock.picker
    for count in range(1, 4):
        qtbot.waitUntil(lambda: opener.is_shown and len(opener._prefetched) > 0, timeout=PATIENCE_MS)
        name = labeler.sees()
        number_key(labeler.dock, NEVUS).activated.emit()
        qtbot.waitUntil(lambda count=count: len(drawn) == count, timeout=PATIENCE_MS)
        assert labeler.sees() == labeler.dock.list_view.path.stem == drawn[-1] != name
        assert session.session.lesion is None
    labeler.waits()
    assert len(corrections.rows()) == 3
    assert session.session.lesion is not None  # once the user pauses


def standby(viewer):
    """The layers of photographs that were added in advance."""
    return [layer for layer in viewer.layers if get_role(layer) == STANDBY]


def listed(viewer):
    """The names in napari's list of layers, and whether each is shown there."""
    (view,) = [
        view for view in viewer.window._qt_window.findChildren(QListView) if type(view).__name__ == "QtLayerList"
    ]
    model = view.model()
    rows = range(model.rowCount())
    return {model.index(row, 0).data(): not view.isRowHidden(row) for row in rows}


@pytest.mark.both_qts
def test_the_next_photograph_is_added_in_advance_and_is_not_open_until_it_is_labeled(labeler, viewer, corrections):
    for _ in range(3):
        (layer,) = standby(viewer)
        assert not layer.visible
        assert not is_photograph(layer)
        assert labeler.lesion.picker.combo.count() == 1
        assert listed(viewer)[layer.name] is False
        expected = labeler.page.find_next(labeler.dock.list_view.path)
        labeler.presses_key(NEVUS)
        assert labeler.sees() == expected.stem
        image = labeler.lesion.picker.session.image
        assert image is layer
        assert image.visible
        assert listed(viewer)[image.name] is True
        assert get_path(image) == expected
        assert [one.name for one in filter_photographs(viewer.layers)] == [image.name]
    assert len(corrections.rows()) == 3
    labeler.dock.close()
    labeler.dock.parentWidget().deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()
    assert standby(viewer) == []


def test_a_photograph_added_in_advance_is_read_again_if_its_file_has_changed(labeler, viewer, corrections):
    (layer,) = standby(viewer)
    path = get_path(layer)
    changed = mole(200)
    PillowImage.fromarray(changed).save(path)
    labeler.presses_key(NEVUS)
    assert labeler.sees() == path.stem
    assert np.array_equal(labeler.lesion.picker.session.image.data, changed)
    assert layer not in viewer.layers or get_role(layer) == STANDBY
    assert len(standby(viewer)) == 1


def test_a_photograph_added_in_advance_has_no_scale_of_another_one(labeler, viewer):
    (layer,) = standby(viewer)
    set_pixel_size(viewer, labeler.lesion.picker.session.image, PixelSize(10, 10))
    labeler.waits()
    assert str(layer.units[0]) == "micrometer"  # napari needs layers with units of the same type
    labeler.presses_key(NEVUS)
    assert labeler.lesion.picker.session.image is layer
    assert get_pixel_size(layer) is None
    assert {str(unit) for unit in get_own_units(layer)} == {"pixel"}


def test_the_photograph_added_in_advance_goes_with_its_folder(labeler, viewer, photographs):
    assert len(standby(viewer)) == 1
    other = photographs.parent / "other"
    other.mkdir()
    PillowImage.fromarray(mole(110)).save(other / "other.png")
    chooses_folder(labeler.dock, other)
    labeler.waits()
    assert standby(viewer) == []


def test_rows_keep_their_order_while_labels_are_given_until_the_user_sorts_again(labeled, labeler):
    names = labeler.shown()
    labeled = labeler.labels(2)
    assert labeler.shown() == names
    button = labeler.dock.findChild(QAbstractButton, "sort_again")
    assert button.isEnabled()
    button.click()
    assert not {*labeled} & {*labeler.shown()}
    assert not button.isEnabled()
    # Reviewed ones stay, too, and photographs whose labels are undone come back
    names = labeler.shown()
    labeler.presses("Alt+X")
    assert labeler.shown() == names
    assert labeler.dock.count_label.text().endswith("1 rejected")
    for _ in range(2):
        labeler.page.undo_button.click()
        labeler.waits()
    assert set(labeler.shown()) == {*names, labeled[1]}
    labeler.reviews(labeler.dock.chosen[0])
    assert set(labeler.shown()) == {*names, labeled[1]}


def test_the_order_does_not_change_by_itself_once_a_photograph_is_open(
    labeled, viewer, shared_client, qtbot, photographs
):
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Review")
    user = Labeler(viewer, made, qtbot)
    user.reviews(photographs)
    user.lists("all")
    names = user.shown()
    user.clicks_on(names[3])
    window = shows_window(viewer, qtbot)
    qtbot.mouseClick(user.page.mode_button, Qt.MouseButton.LeftButton)
    user.waits()
    assert user.page.state.fit is not None
    assert user.shown() == names
    assert "The photographs keep their order" in user.dock.status.text
    user.dock.status.link_activated.emit("informative")
    user.waits()
    names = user.shown()
    assert user.dock.sort_combo.currentText() == INFORMATIVE.capitalize()
    # States that changed before the click do not move the rows after it
    user.dock.list_model.keeps_order = False
    ranks = [image.path for image in reversed(user.dock.list_model.rows)]
    user.dock.records.set_order(ranks)
    user.clicks_on(names[5])
    user.dock.list_view.update_order()
    assert user.shown() == names
    assert user.dock.sort_button.isEnabled()
    qtbot.mouseClick(user.dock.mask_button, Qt.MouseButton.LeftButton)
    user.waits()
    assert user.shown() == names
    window.hide()


@pytest.mark.parametrize("is_visible", [False, True])
def test_the_list_follows_the_photograph_that_is_selected_in_the_lesion_dock(labeler, viewer, qtbot, is_visible):
    if is_visible:
        shows_window(viewer, qtbot)
        labeler.waits()
    first = labeler.sees()
    labeler.dock.opener._has_unsaved_work = lambda identity: True  # the first one stays open
    labeler.presses("Alt+PgDown")
    second = labeler.sees()
    labeler.lesion.picker.step(1)
    labeler.waits()
    assert first == labeler.sees() == labeler.dock.list_view.path.stem != second
    assert labeler.dock.opener.is_shown
    viewer.window._qt_window.hide()


def test_undo_of_a_change_that_was_not_made_here_asks(labeled, labeler, corrections):
    count = len(corrections.rows())
    (undo,) = [key for key in labeler.dock.findChildren(QShortcut) if key.objectName() == "review.undo"]
    with answering("") as asked:
        undo.activated.emit()
        labeler.waits()
    assert len(asked) == 1
    assert len(corrections.rows()) == count


def test_undo_restores_the_row_that_was_stored_before_also_after_another_folder_was_opened(
    labeler, corrections, photographs
):
    first, second = labeler.labels(2)
    labeler.clicks_on(first)
    labeler.presses_key(3)
    before = corrections.rows()
    labeler.clicks_on(second)
    labeler.presses_key(3)
    labeler.lists("all")
    labeler.dock.sort_combo.setCurrentText("Name")
    labeler.dock.sort_combo.activated.emit(labeler.dock.sort_combo.currentIndex())
    other = photographs.parent / "other"
    other.mkdir()
    PillowImage.fromarray(mole(110)).save(other / "other-00.png")
    labeler.reviews(other)
    with answering("") as asked:
        shortcut(labeler.dock, "review.undo").activated.emit()
        labeler.waits()
        assert corrections.rows() == before
        assert f"{second}: the last change was undone. Its diagnosis is nevus" in labeler.dock.status.text
        shortcut(labeler.dock, "review.undo").activated.emit()
        labeler.waits()
    assert not asked
    assert [row["diagnosis"] for row in corrections.rows()] == ["nevus", "nevus"]
    assert labeler.dock.chosen[0] == other


def test_each_undo_counts_also_before_the_previous_one_is_done(labeler, corrections):
    labeler.labels(3)
    count = sum(bool(row["diagnosis"]) for row in corrections.rows())
    with answering("") as asked:
        shortcut(labeler.dock, "review.undo").activated.emit()
        shortcut(labeler.dock, "review.undo").activated.emit()
        labeler.waits()
    assert not asked
    assert sum(bool(row["diagnosis"]) for row in corrections.rows()) == count - 2


def test_undo_asks_if_the_photograph_was_labeled_elsewhere_since(labeler, corrections, photographs):
    (name,) = labeler.labels(1)
    rgb = read_photograph(photographs / f"{name}.png").rgb
    corrections.label(Correction(name, rgb, None, "unreviewed"), DiagnosisLabel("melanoma", "Ben"))
    rows = corrections.rows()
    with answering("") as asked:
        shortcut(labeler.dock, "review.undo").activated.emit()
        labeler.waits()
    assert len(asked) == 1
    assert corrections.rows() == rows


def test_undo_takes_a_label_back_and_opens_its_photograph(labeler, corrections):
    first, second = labeler.labels(2)
    (undo,) = [key for key in labeler.dock.findChildren(QShortcut) if key.objectName() == "review.undo"]
    undo.activated.emit()
    labeler.waits()
    assert [row["image_id"] for row in corrections.rows()] == [first]
    assert labeler.sees() == second
    # The list is scrolled to it.
    view = labeler.dock.list_view
    view.setFixedHeight(150)
    view.scrollToBottom()
    labeler.page.findChild(QAbstractButton, "undo_label").click()
    labeler.waits()
    assert corrections.rows() == []
    assert labeler.sees() == first
    assert first in {image.path.stem for image in view.list_visible()}
    # A label of a stored mask is taken back alone
    labeler.presses("Alt+A")
    (row,) = corrections.rows()
    labeler.lists("all")
    labeler.clicks_on(first)
    labeler.presses_key(MELANOMA)
    assert corrections.rows()[0]["diagnosis"] == "melanoma"
    assert "without a mask" not in labeler.dock.status.text
    undo.activated.emit()
    labeler.waits()
    assert corrections.rows() == [row | {"diagnosis_labels": ""}]


@pytest.mark.both_qts
def test_the_fit_changes_predictions_order_and_texts(labeled, labeler):
    assert labeler.page.summary.text().startswith("20 labels: ")
    # What the button would do is stated before it is pressed, and the curve is shown on request
    choice = labeler.page.summary.text().split(". ")[-1].rstrip(".")
    assert "model would be" in choice
    assert choice in labeler.page.use_button.toolTip()
    assert not labeler.page.details.isVisibleTo(labeler.dock)
    labeler.page.findChild(QAbstractButton, "more_labels").click()
    assert labeler.page.details.isVisibleTo(labeler.dock)
    assert labeler.page.chart.isHidden() == (labeler.page.curve is None)
    assert "drawn at random" in labeler.text("label_details")
    assert labeler.page.use_button.isEnabled()
    assert set(labeler.shown()[:4]) == {"mole-00", "mole-01", "mole-22", "mole-23"}
    # Both predictions are in the Lesion dock, and in the answer
    live = labeler.dock.opener.connected_dock.findChild(QLabel, "prediction_live").text()
    assert live.startswith("Shipped: melanoma 0.")
    assert "\nYours so far: melanoma 0." in live
    dock = labeler.dock
    assert "Yours so far: melanoma 0." in dock.answer.text
    # The headline is the prediction of the shipped model, unless another one is selected in the Lesion dock
    labeler.qtbot.waitUntil(lambda: bool(dock.answer.headline), timeout=PATIENCE_MS)
    assert "Shipped: " not in dock.answer.text
    other = ReviewAnswer(dock.opener, dock.workspace.live_predictions, lambda: "of another folder")
    assert other.headline == dock.answer.headline
    assert "Shipped: melanoma 0." in other.toolTip()


def test_a_photograph_that_cannot_be_predicted_is_labeled(labeler, corrections):
    labeler.qtbot.waitUntil(lambda: labeler.dock.opener.session.prediction is not None, timeout=PATIENCE_MS)
    session, name = labeler.dock.opener.session, labeler.sees()
    session.prediction = session.prediction._replace(prediction=None)
    labeler.presses_key(MELANOMA)
    assert [(row["image_id"], row["diagnosis"]) for row in corrections.rows()] == [(name, "melanoma")]


def test_the_answer_leaves_a_photograph_at_once(labeler):
    """Connections that lasted longer called a deleted answer, and analyses failed after the dock was closed."""
    answer, session = labeler.dock.answer, labeler.dock.opener.session
    assert answer._session is session
    answer._follow_session(None)
    session.patient_changed.emit()
    assert answer._session is None
    answer._update()
    assert answer._session is session


def test_what_the_button_would_do_is_computed_in_a_pause_or_when_the_pointer_approaches(labeled, labeler):
    page, timer = labeler.page, labeler.page.findChild(QTimer, "choice_pause")
    timer.setInterval(10 * PATIENCE_MS)
    number_key(labeler.dock, NEVUS).activated.emit()
    labeler.qtbot.waitUntil(timer.isActive, timeout=PATIENCE_MS)
    assert "Not known yet whether your model would be used" in page.summary.text()
    QApplication.sendEvent(page.use_button, QEvent(QEvent.Type.Enter))
    assert not timer.isActive()
    labeler.waits()
    assert "model would be" in page.summary.text()
    assert "Not known yet" not in page.summary.text()


def test_a_second_reader_is_kept_apart(labeler, corrections):
    (name,) = labeler.labels(1)
    labeler.page._given.update(labeler.page.state.labels)  # as before the fit has followed
    labeler.page.set_reader("Ben")
    labeler.waits()
    labeler.clicks_on(name)
    assert labeler.state_of(name) == "● labeled by Ana"
    assert labeler.page.state.order
    assert not labeler.page._given
    labeler.presses_key(3)
    (row,) = corrections.rows()
    assert {(label.reader, label.diagnosis) for label in read_diagnoses(row)} == {
        ("Ana", "melanoma" if int(name[-2:]) >= COUNT // 2 else "nevus"),
        ("Ben", "seborrheic keratosis"),
    }
    assert row["diagnosis"] == ""
    assert "The readers disagree" in labeler.dock.status.text
    assert "≠ Ana:" in labeler.state_of(name)
    # They agree
    labeler.lists("labeled")
    labeler.clicks_on(name)
    labeler.presses_key(MELANOMA if int(name[-2:]) >= COUNT // 2 else NEVUS)
    assert corrections.rows()[0]["diagnosis"] in ("melanoma", "nevus")


def answer_reader(window, qtbot, name):
    """Enter a name in the question for the reader, which is then closed."""

    def find():
        return next((one for one in window.findChildren(QInputDialog, "label_reader_dialog") if one.isVisible()), None)

    qtbot.waitUntil(lambda: find() is not None, timeout=PATIENCE_MS)
    dialog = find()
    if name is None:
        dialog.reject()
    else:
        dialog.setTextValue(name)
        dialog.accept()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_a_diagnosis_is_stored_once_its_reader_is_given(labeler, corrections, viewer, qtbot):
    settings = labeler.dock.settings
    settings.reviewer = ""  # not the name of the user account
    button = labeler.page.reader_button
    assert (settings.reviewer, button.text()) == ("", "not set")
    window = shows_window(viewer, qtbot)
    labeler.waits()
    first = labeler.sees()

    def press_and_answer(*names):
        window.activateWindow()
        qtbot.waitUntil(lambda: QApplication.activeWindow() is window, timeout=PATIENCE_MS)
        find_canvas(window).setFocus()
        QTest.keyClick(window.windowHandle(), Qt.Key.Key_1)
        for name in names:
            answer_reader(window, qtbot, name)
        labeler.waits()

    # Without a name nothing is stored, and the question comes again
    for name in (None, " "):
        press_and_answer(name)
        assert (corrections.rows(), labeler.sees(), settings.reviewer) == ([], first, "")
        assert f"The diagnosis of {first}.png was not stored" in labeler.dock.status.text
    # A reserved name is asked again
    press_and_answer("model", "Ana Silva")
    assert (settings.reviewer, button.text()) == ("Ana Silva", "Ana Silva")
    (row,) = corrections.rows()
    (label,) = read_diagnoses(row)
    assert (row["image_id"], label.diagnosis, label.reader) == (first, "melanoma", "Ana Silva")
    assert labeler.sees() != first
    with qtbot.waitSignal(user_data().reader_changed):
        button.click()
        answer_reader(window, qtbot, "Ben")
    assert settings.get(READER_SETTING, "") == "Ben"
    window.hide()


def test_a_reader_given_elsewhere_signs_the_diagnosis_that_waits(labeler, corrections):
    labeler.dock.settings.reviewer = ""
    first = labeler.sees()
    labeler.presses_key(MELANOMA)
    assert corrections.rows() == []
    labeler.dock.settings.set(READER_SETTING, "Ana")  # as another section does
    user_data().reader_changed.emit("Ana")
    labeler.waits()
    assert [row["image_id"] for row in corrections.rows()] == [first]
    answer_reader(labeler.dock.window(), labeler.qtbot, None)
    assert "was not stored" not in labeler.dock.status.text


def test_texts_state_alike_that_the_mask_in_view_is_not_stored(labeler, viewer, qtbot):
    window = shows_window(viewer, qtbot)
    labeler.waits()
    find_canvas(window).setFocus()
    name = labeler.sees()
    assert labeler.lesion.picker.session.masked_lesion is not None
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_1)
    labeler.waits()
    assert f"{name}.png: melanoma stored by Ana; mask not stored." in labeler.dock.status.text
    labeler.lists("all")
    labeler.clicks_on(name)
    state = labeler.lesion.findChild(QLabel, "review_state")
    assert state.text() == "mask not stored"
    assert state.toolTip().startswith("in corrections: diagnosis only")
    window.hide()


def test_a_rejected_photograph_is_not_labeled(labeler, corrections):
    name = labeler.sees()
    labeler.presses("Alt+X")
    labeler.lists("all")
    labeler.clicks_on(name)
    labeler.presses_key(MELANOMA)
    assert "marked as not valid (rejected). The diagnosis was not stored" in labeler.dock.status.text
    assert [row["diagnosis"] for row in corrections.rows()] == [""]


def test_keys_are_those_of_the_chips_although_another_window_changes_the_list(labeler, corrections):
    own, other = labeler.page.class_list, DiagnosisChips(labeler.dock.settings, labeler.dock.icons)
    own.add_class("basal cell carcinoma")
    number = len(own.chips)
    other.remove_button.click()
    other.add_class("blue nevus")
    shown = own.chips[-1].text()
    labeler.presses_key(number)
    assert [row["diagnosis"] for row in corrections.rows()] == [shown] == ["basal cell carcinoma"]


def test_diagnoses_of_the_taxonomy_are_added(labeler, corrections):
    labeler.page.class_list.add_class("basal cell carcinoma")
    labeler.page.class_list.add_class("no such word")
    assert labeler.page.class_list.classes[3:] == ["basal cell carcinoma"]
    search = labeler.page.class_list.search
    assert search.findText("basal cell carcinoma") < 0 <= search.findText("blue nevus")
    labeler.presses_key(4)
    assert corrections.rows()[0]["diagnosis"] == "basal cell carcinoma"
    # A click on a chip is the same as its key; the chip is marked once it is stored
    name = labeler.sees()
    labeler.page.class_list.chips[1].click()
    labeler.waits()
    assert {row["image_id"]: row["diagnosis"] for row in corrections.rows()}[name] == "nevus"
    assert not any(chip.isChecked() for chip in labeler.page.class_list.chips)
    labeler.lists("all")
    labeler.clicks_on(name)
    assert [chip.text() for chip in labeler.page.class_list.chips if chip.isChecked()] == ["nevus"]
    search.activated.emit(search.findText("blue nevus"))
    search.setEditText("blue nevus")  # by the completer, after the signal
    labeler.waits()
    assert labeler.page.class_list.classes[3:] == ["basal cell carcinoma", "blue nevus"]
    assert not search.currentText()
    labeler.page.class_list.remove_button.click()
    labeler.page.class_list.remove_button.click()
    assert "basal cell carcinoma" not in labeler.page.class_list.classes


def test_an_unreadable_photograph_does_not_block_the_random_order(labeler):
    first, second = [path for path in labeler.page.state.order if path in labeler.page.state.drawn][:2]
    labeler.dock.rating.rating_failed.emit(first, "damaged")
    labeler.waits()
    assert first not in labeler.page.state.order
    assert labeler.page._find_drawn() == second


def test_the_learning_curve_of_other_labels_is_not_shown():
    page = MagicMock(curve=None, is_active=False, _fitted_labels="of a")
    fit = ("state", (SimpleNamespace(fit=object()), {}))
    diagnosis.DiagnosisPage._on_job(page, ("curve", "curve"))
    diagnosis.DiagnosisPage._on_job(page, fit)  # after more embeddings
    assert page.curve == "curve"
    page._fitted_labels = "of b"
    diagnosis.DiagnosisPage._on_job(page, fit)
    assert page.curve is None


def test_an_outcome_is_of_the_labels_with_which_its_selection_began():
    page = MagicMock(_state_labels="of a")
    page._on_adapted = partial(diagnosis.DiagnosisPage._on_adapted, page)
    diagnosis.DiagnosisPage.use(page)
    page._state_labels = page._fitted_labels = "of b"  # given while the process runs
    *_, on_adapted = page._dock.start.call_args.args
    on_adapted(({}, None))
    assert page._outcome.labels == "of a"
    assert diagnosis.DiagnosisPage._describe_outcome(page) is None
    page._parts.records.find_digest.assert_not_called()  # of no photograph at each change of the texts


OUTCOMES = {
    "kept": (
        {
            "bundle": None,
            "advice": "inconclusive",
            "reason": "Chance.",
            "shipped": {"AUC": {"mean": 0.8}},
            "adapted": {"AUC": {"mean": 0.81}},
        },
        "Keep the shipped model; nothing was written",
    ),
    "better": ({"bundle": "x", "advice": "activate", "reason": "Better."}, "In use as"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_adapted_model_is_used_only_if_it_is_better(labeled, labeler, corrections, monkeypatch, outcome):
    from napari_melanoma.models.installed_bundles import find_bundle

    summary, expected = OUTCOMES[outcome]
    commands, chosen = [], []

    def run_command(command, processes, run):
        commands.append(command)
        chosen.append(sorted(Path(command[command.index("--only") + 1]).read_text("utf-8").splitlines()))
        out = command[command.index("--out") + 1]
        if summary["bundle"]:
            import shutil

            shutil.copytree(find_bundle("melanoma-small").path, out)
        return summary

    monkeypatch.setattr(diagnosis, "run_command", run_command)
    activated = []
    diagnosis.user_data().models_changed.connect(activated.append)
    labeler.page.use_button.click()
    labeler.waits()
    (command,) = commands
    assert command[-8:-4] == ["adapt", "melanoma-small", str(labeler.dock.corrections_store.folder), "--only"]
    assert chosen == [sorted(row["image_id"] for row in corrections.rows())]
    assert labeler.page.summary.text().startswith(expected)
    assert labeler.page.summary.text().endswith(summary["reason"])
    if outcome == "kept":
        labeler.page.findChild(QAbstractButton, "more_labels").click()
        assert "AUC 0.80 → 0.81." in labeler.text("label_details")
    assert activated == (["melanoma-small-adapted"] if outcome == "better" else [])
    assert labeler.page.model.model == "melanoma-small"
    if outcome == "better":  # the user returns to the shipped model
        classifier = labeler.lesion.classifier
        classifier.model = "melanoma-small"
        classifier.changed.emit()
        assert "In use as" not in labeler.page.summary.text() + labeler.dock.status.text
        assert "another model is selected in the Lesion dock" in labeler.page.summary.text()
    picker, shown = labeler.page.model, labeler.page.summary.text()
    picker.model = "lesion-phone"
    picker.changed.emit()  # the selection was that of another classifier
    assert summary["reason"] not in labeler.page.summary.text()
    picker.model = "melanoma-small"
    picker.changed.emit()
    assert labeler.page.summary.text() == shown
    labeler.labels(1)
    assert expected not in labeler.page.summary.text()
    assert summary["reason"] not in labeler.page.summary.text()


def request_embeddings(dock, monkeypatch):
    """Collect the requests for embeddings of a dock: name and mask."""
    requests, request = [], dock._client.request

    def collect(function, *arguments):
        if function is worker.embed_photograph:
            *_, files = arguments
            requests.append((files.image.stem, files.mask and str(files.mask)))
        return request(function, *arguments)

    monkeypatch.setattr(dock._client, "request", collect)
    return requests


def test_a_photograph_with_a_corrected_mask_is_embedded_again(labeler, corrections, monkeypatch):
    (name,) = labeler.labels(1)
    requests = request_embeddings(labeler.dock, monkeypatch)
    labeler.lists("labeled")
    labeler.clicks_on(name)
    labeler.presses("Alt+A")
    assert requests == []  # the accepted mask is the predicted one
    labeler.lists("all")
    labeler.clicks_on(name)
    rows, columns = np.nonzero(labeler.dock.opener.connected_dock.picker.session.mask.data)
    labeler.dock.opener.connected_dock.picker.session.mask.data_setitem((rows[:300], columns[:300]), 0)
    labeler.waits()
    labeler.presses("Alt+A")
    (row,) = corrections.rows()
    assert requests == [(name, str(corrections.folder / row["mask_path"]))]
    assert labeler.state_of(name).startswith("✎ ")  # corrected, with the diagnosis


def test_a_crash_of_the_worker_loses_neither_labels_nor_embeddings(
    viewer, shared_client, corrections, qtbot, photographs
):
    place = photographs / "dies-05.png"
    PillowImage.fromarray(mole(170)).save(place)
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Review")
    user = Labeler(viewer, made, qtbot)
    user.page.mode_button.click()
    user.reviews(photographs)
    user.presses("Alt+PgDown")
    assert len(user.page.state.shipped) == COUNT  # all others
    assert place not in user.page.state.order, "it is not offered: it can neither be rated nor embedded"
    user.labels(2)
    assert user.page.summary.text().startswith("2 labels: ")


def test_embeddings_continue_where_diagnoses_were_given(labeler, corrections, photographs, monkeypatch):
    labeler.labels(1)
    labeler.dock.mask_button.click()
    other = photographs.parent / "other"
    other.mkdir()
    for number in range(3):
        PillowImage.fromarray(mole(110 + number)).save(other / f"other-{number:02}.png")
    requests = request_embeddings(labeler.dock, monkeypatch)
    labeler.reviews(other)
    assert requests == []
    PillowImage.fromarray(mole(120)).save(photographs / "mole-50.png")
    labeler.reviews(photographs)
    assert [name for name, _ in requests] == ["mole-50"]
    # A folder that shows a labeled photograph
    labeled = next(image.path for image in labeler.dock.list_model.images if labeler.dock.records.find_own(image.path))
    PillowImage.fromarray(read_photograph(labeled).rgb).save(other / "copy-03.png")
    labeler.reviews(other)
    assert {name for name, _ in requests[1:]} == {"other-00", "other-01", "other-02"}
    # A model without an encoder is stated.


def test_a_model_without_an_encoder_is_stated(labeler, corrections, photographs):
    PillowImage.fromarray(mole(170)).save(photographs / "bare-05.png")  # a fault of the fake worker
    labeler.reviews(photographs)
    assert "Diagnoses are stored, but not fitted: 'melanoma-small' has no encoder" in labeler.dock.status.text
    labeler.presses("Alt+PgDown")
    labeler.labels(1)
    assert len(corrections.rows()) == 1


@pytest.mark.both_qts
@pytest.mark.parametrize("queue", ["rating", "embedding"])
def test_the_prediction_of_a_photograph_that_ends_after_the_dock_was_closed_is_ignored(qtbot, tmp_path, queue):
    go, parent = threading.Event(), QObject()

    class Client:
        def request(self, function, *arguments):
            return BackgroundJob(lambda run: go.wait(10)).start()

    rating = RatingQueue(Client(), parent)
    if queue == "rating":
        rating.start([SimpleNamespace(path=tmp_path, modified=0, size=0)], "model", "fingerprint")
    else:
        status = SimpleNamespace(begin=lambda *_: None, progress=lambda *_: None, end=lambda *_: None)
        embeddings = EmbeddingQueue(Client(), rating, status, parent)
        embeddings.set_photographs("model", tmp_path, {tmp_path: SimpleNamespace()}, 1)
    with qtbot.captureExceptions() as errors:
        parent.deleteLater()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        go.set()
        wait_until_idle(qtbot)
        qtbot.wait(50)
    assert not errors
