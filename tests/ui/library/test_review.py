"""The Review dock through its controls: rate, review, accept and reject photographs without losing edits."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from PIL import Image as PillowImage
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QShortcut, QWindow
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QFileDialog, QLabel, QMessageBox

from conftest import PATIENCE_MS, wait_until_idle
from napari_melanoma.data.corrections import Correction, Corrections
from napari_melanoma.lesion.uncertainty_ratings import load_ratings
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.ui.library import review, review_photographs
from napari_melanoma.ui.library.review import ReviewDock
from napari_melanoma.ui.library.review_queues import list_photographs
from napari_melanoma.ui.session import corrections_store
from napari_melanoma.ui.session.corrections_store import ReviewSettings


def mole(shade):
    """Skin with a dark disk: uint8 (row, column, channel), of other pixels for every shade."""
    rows, columns = np.mgrid[:120, :160]
    rgb = np.full((120, 160, 3), (215, 170, 150), np.uint8)
    rgb[(rows - 60) ** 2 + (columns - 80) ** 2 <= 25**2] = (70, 45, 30 + shade)
    return rgb


def folder_of(place, *names):
    """A folder of photographs; the fake worker takes the number at the end of a name for the score."""
    place.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        PillowImage.fromarray(mole(number)).save(place / f"{name}.png")
    return place


def find_action(dock, name):
    """Find an entry of the menu of the Review dock."""
    return next(action for action in dock.folder_button.menu().actions() if action.objectName() == name)


@pytest.fixture
def corrections(tmp_path, home, monkeypatch):
    """The corrections that the docks of this test write to; ratings are kept in this test's own place too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    ReviewSettings().corrections = tmp_path / "my corrections"
    return Corrections(tmp_path / "my corrections")


class Reviewer:
    """Simulates a user of the Review dock."""

    def __init__(self, viewer, dock, qtbot):
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot

    def waits(self):
        wait_until_idle(self.qtbot)
        self.qtbot.wait(20)
        wait_until_idle(self.qtbot)

    def reviews(self, folder):
        self.dock.welcome.dropped.emit([folder])
        self.waits()

    def shown(self):
        return [image.name for image in self.dock.list_model.rows]

    def states(self, name):
        return [getattr(self.dock.records.find_state(image), name) for image in self.dock.list_model.rows]

    def presses(self, key):
        keys = {shortcut.key().toString(): shortcut for shortcut in self.dock.findChildren(QShortcut)}
        keys[key].activated.emit()
        self.waits()

    def clicks_on(self, name):
        index = self.dock.list_model.index(self.shown().index(name))
        self.dock.list_view.scrollTo(index)
        place = self.dock.list_view.visualRect(index).center()
        self.qtbot.mouseClick(self.dock.list_view.viewport(), Qt.MouseButton.LeftButton, pos=place)
        self.waits()

    @property
    def lesion(self):
        return self.dock.opener.connected_dock

    @property
    def layers(self):
        return [layer.name for layer in self.viewer.layers if "photograph" in layer.metadata["napari_melanoma"]]

    def sees(self):
        return self.lesion.picker.session.image.name


@pytest.fixture
def reviewer(viewer, shared_client, corrections, qtbot):
    """A user of the Review dock as opened from napari's menu."""
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Review")
    user = Reviewer(viewer, made, qtbot)
    yield user
    user.waits()


@pytest.fixture
def three(reviewer, tmp_path):
    """A user with three rated photographs: b is the most uncertain, then c, then a."""
    reviewer.reviews(folder_of(tmp_path / "photos", "a-10", "b-90", "c-50"))
    return reviewer


@pytest.fixture
def person_draws(qtbot):
    """Draw a line with the mouse on a mask."""

    def draw(layer):
        from napari.utils._test_utils import read_only_mouse_event
        from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks

        layer.selected_label, layer.brush_size, layer.mode = 1, 9, "paint"
        calls = (mouse_press_callbacks, mouse_move_callbacks, mouse_release_callbacks)
        kinds = ("mouse_press", "mouse_move", "mouse_release")
        for kind, call, point in zip(kinds, calls, ((5, 5), (5, 60), (5, 60)), strict=True):
            position = tuple(layer.data_to_world(point))
            moving = kind == "mouse_move"
            call(layer, read_only_mouse_event(type=kind, is_dragging=moving, position=position, dims_displayed=(0, 1)))

    return draw


def test_the_most_uncertain_come_first_are_opened_by_clicks_and_keys_and_stay_open_if_edited(three, person_draws):
    assert three.shown() == ["b-90.png", "c-50.png", "a-10.png"]
    assert three.states("text") == ["very uncertain 0.90", "very uncertain 0.50", "certain 0.10"]
    assert three.dock.findChild(QLabel, "counts").text() == "3 to do"
    # Selecting one opens and analyzes it, and closes the previous one.
    three.clicks_on("b-90.png")
    assert three.sees() == "b-90"
    assert three.lesion.picker.session.lesion is not None
    assert three.dock.primary_button.isEnabled()
    three.clicks_on("c-50.png")
    assert three.sees() == "c-50"
    assert not [name for name in three.layers if name.startswith("b-90")]
    # Keys go to the previous and the next.
    three.presses("Alt+PgUp")
    assert three.sees() == "b-90"
    three.presses("Alt+PgDown")
    assert three.sees() == "c-50"
    # A photograph with unsaved edits stays open.
    three.presses("Alt+PgUp")
    person_draws(three.viewer.layers["b-90 mask"])
    three.presses("Alt+PgDown")  # at once: the stroke has not settled
    assert three.sees() == "c-50"
    assert "b-90 mask" in three.layers
    assert "b-90 stays open" in three.dock.status.text
    drawn = three.viewer.layers["b-90 mask"].data.copy()
    assert drawn[5, 5:50].all()
    three.presses("Alt+PgUp")
    assert three.sees() == "b-90"
    assert np.array_equal(three.viewer.layers["b-90 mask"].data, drawn)
    three.presses("Alt+A")
    assert three.sees() == "c-50"
    assert not [name for name in three.layers if name.startswith("b-90")]


@pytest.mark.path
def test_accept_stores_and_opens_the_next(three, corrections, viewer, qtbot, tmp_path, monkeypatch):
    three.presses("Alt+PgDown")
    three.presses("Alt+A")
    (row,) = corrections.rows()
    assert (row["image_id"], row["review"]) == ("b-90", "accepted")
    assert three.sees() == "c-50"
    assert three.shown() == ["b-90.png", "c-50.png", "a-10.png"]  # nothing moves under the pointer
    # Ratings and states are known in the next session.
    requests, request = [], three.dock._client.request
    with monkeypatch.context() as patch:
        patch.setattr(three.dock._client, "request", lambda verb, **arguments: requests.append(verb))
        again = ReviewDock(viewer, three.dock._client)
        viewer.window.add_dock_widget(again, name="again")
        user = Reviewer(viewer, again, qtbot)
        user.reviews(tmp_path / "photos")
        assert user.shown() == ["c-50.png", "a-10.png"]
        assert requests == []
    assert three.dock._client.request == request
    viewer.window.remove_dock_widget(again)
    again.deleteLater()
    # The last ones are reviewed.
    three.presses("Alt+X")
    three.presses("Alt+A")
    assert [row["review"] for row in corrections.rows()] == ["accepted", "rejected", "accepted"]
    assert len(three.shown()) == 3
    three.dock.sort_button.click()
    assert three.shown() == []
    assert "All photographs are reviewed" in three.dock.status.text
    assert three.dock.findChild(QLabel, "counts").text() == "0 to do, 2 accepted, 1 rejected"
    # The last one is undone in the Lesion dock.
    three.lesion.findChild(QAbstractButton, "undo_correction").click()
    three.waits()
    assert three.shown() == ["a-10.png"]
    assert three.dock.findChild(QLabel, "counts").text() == "1 to do, 1 accepted, 1 rejected"


def test_reviews_of_another_program_are_shown_when_the_window_gets_the_focus(three, corrections):
    three.clicks_on("a-10.png")
    stored = three.lesion.findChild(QLabel, "review_state")
    assert stored.text() == "not stored"
    correction = Correction("a-10", mole(0), np.ones((120, 160), bool), "rejected", reviewer="B. Reader")
    Corrections(corrections.folder).add(correction)  # as another process does: no dock is notified
    QApplication.instance().focusWindowChanged.emit(QWindow())
    three.waits()
    assert three.dock.findChild(QLabel, "counts").text() == "2 to do, 1 rejected"
    assert stored.toolTip().startswith("in corrections: rejected by B. Reader")


def test_a_photograph_that_is_accepted_while_another_is_stored_is_stored_too(three, corrections, qtbot, monkeypatch):
    may_store, store_result = threading.Event(), corrections_store.store_result

    def store_slowly(*arguments):
        may_store.wait(PATIENCE_MS / 1000)
        return store_result(*arguments)

    def opens(name):
        three.dock._open_image(three.dock.list_model.rows[three.shown().index(f"{name}.png")])
        qtbot.waitUntil(lambda: three.dock.opener.is_shown and three.sees() == name, timeout=PATIENCE_MS)
        wait_until_idle(qtbot, three.dock.opener)

    monkeypatch.setattr(corrections_store, "store_result", store_slowly)
    for name in ("b-90", "c-50"):
        opens(name)
        qtbot.waitUntil(lambda: three.dock.opener.ready, timeout=PATIENCE_MS)
        three.lesion.corrections.add(three.lesion.picker.session)
    opens("a-10")
    may_store.set()
    three.waits()
    assert [row["image_id"] for row in corrections.rows()] == ["b-90", "c-50"]


def test_the_window_stays_open_until_a_review_is_stored(three):
    three.dock.corrections_store.refresh()
    assert not three.dock.close_guard.may_close()
    three.waits()
    assert three.dock.close_guard.may_close()


def test_rows_do_not_move_under_the_pointer_while_photographs_are_rated(three):
    view, names = three.dock.list_view, three.shown()
    last = three.dock.list_model.rows[-1].path
    view.setAttribute(Qt.WidgetAttribute.WA_UnderMouse)
    three.dock.records.set_rating(last, replace(three.dock.records._ratings[last], score=0.99))
    view.schedule_order()
    three.waits()
    assert three.shown() == names
    QApplication.sendEvent(view, QEvent(QEvent.Type.Leave))
    assert three.shown() == [names[2], *names[:2]]


def test_rating_can_be_stopped_and_resumed(reviewer, tmp_path, qtbot):
    folder = folder_of(tmp_path / "photos", *(f"slow-{number}" for number in range(10, 30)))
    reviewer.dock.welcome.dropped.emit([folder])
    qtbot.waitUntil(lambda: "Rating 2 of 20" in reviewer.dock.status.text, timeout=PATIENCE_MS)
    reviewer.dock.status.cancel_button.click()
    reviewer.waits()
    assert "not rated yet" in reviewer.dock.status.text
    assert reviewer.dock.primary_button.text().startswith("Rate ")
    assert reviewer.dock.rate_action.isEnabled()
    reviewer.dock.primary_button.click()
    qtbot.waitUntil(lambda: "Rating " in reviewer.dock.status.text, timeout=PATIENCE_MS)
    assert (reviewer.dock.primary_button.text(), reviewer.dock.rate_action.isEnabled()) == ("Next", False)
    reviewer.dock.status.cancel_button.click()


def find_rated(paths, model):
    """The names of the photographs for which a rating by a model is stored."""
    stored = load_ratings(find_bundle(model).fingerprint, "entropy")
    return [path.name for path in paths if (str(path), path.stat().st_mtime, path.stat().st_size) in stored]


def test_photographs_are_listed_again_if_the_model_was_replaced_under_its_name(reviewer, tmp_path, monkeypatch):
    listings = []

    def list_before(*args):
        listings.append(list_photographs(*args))
        return replace(listings[-1], fingerprint="of previous weights") if len(listings) == 1 else listings[-1]

    monkeypatch.setattr(review, "list_photographs", list_before)
    reviewer.reviews(folder_of(tmp_path / "photos", "a-10", "b-90"))
    assert [len(listed.ratings) for listed in listings] == [0, 1], "the rating by the new weights is stored"
    assert reviewer.states("score") == [0.9, 0.1]


def test_ratings_belong_to_the_model_although_it_is_changed_during_a_search(reviewer, tmp_path):
    # While photographs are searched for the first time.
    photographs = sorted(folder_of(tmp_path / "photos", "a-10", "b-90", "c-50", "d-60").iterdir())
    first = photographs[:2]
    reviewer.dock.open(first)
    reviewer.dock.model.model = "lesion-phone"
    reviewer.waits()
    assert reviewer.states("score") == [0.9, 0.1]
    assert find_rated(first, "lesion-phone") == ["a-10.png", "b-90.png"]
    assert find_rated(first, "lesion-small") == []
    # While the ratings by the changed model are searched.
    for model in ("lesion-phone", "lesion-small", "lesion-phone"):
        reviewer.dock.model.model = model
        reviewer.dock.model.changed.emit()
    reviewer.waits()
    assert find_rated(first, "lesion-phone") == ["a-10.png", "b-90.png"]


def test_unreadable_photographs_are_reported_and_the_others_rated(reviewer, tmp_path, qtbot):
    # A folder without photographs is reported.
    (tmp_path / "empty").mkdir()
    reviewer.reviews(tmp_path / "empty")
    assert "No photograph" in notification_manager.records[-1].message
    assert reviewer.dock.welcome.isVisibleTo(reviewer.dock)
    folder = folder_of(tmp_path / "photos", "a-10", "dies-20", "empty-100", "b-30")
    (folder / "broken-99.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    reviewer.reviews(folder)
    assert reviewer.shown()[:3] == ["empty-100.png", "b-30.png", "a-10.png"]
    assert reviewer.states("text")[0] == "no lesion found"
    assert reviewer.dock.count_label.text() == "3 to do, 2 unreadable"
    # A damaged one is offered, else it counts as unreadable.
    path = folder / "half-20.jpg"
    PillowImage.fromarray(np.repeat(np.repeat(mole(9), 4, axis=0), 4, axis=1)).save(path, quality=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + b"\xff\xd9")
    reviewer.reviews(folder)

    def question():
        return reviewer.dock.window().findChild(QMessageBox, "damaged_photograph")

    combo = reviewer.dock.findChild(QComboBox, "filter")
    combo.setCurrentText("All")
    combo.activated.emit(combo.currentIndex())
    reviewer.clicks_on(path.name)
    qtbot.waitUntil(lambda: question() is not None, timeout=PATIENCE_MS)
    question().reject()
    qtbot.waitUntil(lambda: question() is None, timeout=PATIENCE_MS)
    assert "damaged" in reviewer.dock.status.text
    reviewer.clicks_on("a-10.png")
    reviewer.clicks_on(path.name)
    qtbot.waitUntil(lambda: question() is not None, timeout=PATIENCE_MS)
    next(button for button in question().buttons() if "Open" in button.text()).click()
    qtbot.waitUntil(lambda: "half-20" in reviewer.layers, timeout=PATIENCE_MS)
    reviewer.waits()
    assert reviewer.sees() == "half-20"


def test_masks_from_other_software_are_imported_with_a_report_one_import_after_the_other(
    three, corrections, tmp_path, qtbot, monkeypatch
):
    masks = tmp_path / "masks"
    masks.mkdir()
    disk = (mole(0)[..., 1] < 100).astype(np.uint8) * 255
    PillowImage.fromarray(disk).save(masks / "b-90.png")
    PillowImage.fromarray(disk).save(masks / "of another study.png")
    find_action(three.dock, "import_folder").trigger()
    dialog = three.dock.window().findChild(QFileDialog, "masks_dialog")
    dialog.fileSelected.emit(str(masks))
    dialog.reject()
    question = three.dock.window().findChild(QMessageBox, "patients_question")
    assert corrections.rows() == []  # nothing is imported before the question is answered
    next(button for button in question.buttons() if button.objectName() == "no_patients").click()
    three.waits()
    (row,) = corrections.rows()
    assert (row["image_id"], row["review"]) == ("b-90", "accepted")
    assert "1 mask imported, 1 could not be imported, 2 photographs without a mask" in three.dock.status.text
    assert three.shown() == ["c-50.png", "a-10.png"]
    box = three.dock.window().findChild(QMessageBox, "import_report")
    assert "of another study" in box.detailedText()
    box.done(0)
    # A second import waits until the first one has stopped.
    running, started, released = [], [], threading.Event()

    def import_slowly(masks, *arguments):
        started.append(masks.name)
        running.append(masks.name)
        released.wait(PATIENCE_MS / 1000)
        running.remove(masks.name)
        arguments[-1].check()

    monkeypatch.setattr(review, "import_masks", import_slowly)
    dock, photographs = three.dock, tmp_path / "photos"
    dock.mask_import.chosen.emit(tmp_path / "first", photographs, None)
    qtbot.waitUntil(lambda: started == ["first"], timeout=PATIENCE_MS)
    dock.status.cancel_button.click()  # it has not stopped yet
    actions = [find_action(dock, name) for name in ("import_folder", "import_file")]
    assert not any(action.isEnabled() for action in actions)
    assert all("being imported" in action.toolTip() for action in actions)
    dock.status.link_activated.emit("import")
    assert "being imported" in dock.status.text
    assert dock.window().findChild(QFileDialog, "masks_dialog") is None
    assert running == started == ["first"]
    released.set()
    three.waits()
    assert all(action.isEnabled() for action in actions)


def test_a_photograph_that_is_requested_again_while_it_is_read_is_opened_once(three, tmp_path, qtbot, monkeypatch):
    path, allowed, reading = tmp_path / "photos" / "b-90.png", threading.Event(), threading.Event()
    real = review_photographs.read_photograph_layers

    def read_slowly(*arguments, **options):
        reading.set()
        assert allowed.wait(PATIENCE_MS / 1000)
        return real(*arguments, **options)

    monkeypatch.setattr(review_photographs, "read_photograph_layers", read_slowly)
    three.dock.opener.open(path)
    qtbot.waitUntil(reading.is_set, timeout=PATIENCE_MS)
    three.dock.opener.open(path)
    allowed.set()
    three.waits()
    assert three.sees() == "b-90"
    assert "b-90 [1]" not in three.viewer.layers


def test_the_review_dock_imports_no_readers_of_slides():
    code = "import sys, napari_melanoma.ui.library.review; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"napari_melanoma.slides.reading", "napari_melanoma.depth.readings"} & set(modules)
