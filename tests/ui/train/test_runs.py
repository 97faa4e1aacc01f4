"""The list of runs and the page of one: order, figures, commands, and what is removed."""

from __future__ import annotations

import dataclasses
import shutil
import threading

import pytest
from fake_runs import STATES, FakeRun, fake_run
from message_boxes import answering
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QLabel, QProgressBar
from stage import Stage

from conftest import PATIENCE_MS, until, wait_until_idle
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.runs.launching import read_run
from napari_melanoma.ui.train import run_list, run_reader
from napari_melanoma.ui.train.plot import PLOTS
from napari_melanoma.ui.train.run_list import RunList
from napari_melanoma.ui.train.run_text import describe_kept_epoch, describe_result
from napari_melanoma.ui.train.run_view import TrainingPage
from napari_melanoma.ui.train.start import resume_run
from napari_melanoma.ui.widgets import run_panel


class Trash:
    """Takes the place of the platform's trash."""

    full = False

    def __init__(self, name):
        self._name = name

    def moveToTrash(self):  # noqa: N802 - Qt's name
        if not self.full:
            shutil.rmtree(self._name)
        return not self.full


@pytest.fixture
def stage(nothing_left, home, qtbot, monkeypatch):
    monkeypatch.setattr(run_panel, "INTERVAL_MS", 10)
    monkeypatch.setattr(run_list, "INTERVAL_MS", 10)
    monkeypatch.setattr(run_list, "QFile", type("FakeFile", (Trash,), {}))
    made = Stage(qtbot)
    yield made
    made.close()


@pytest.fixture
def view(stage, qtbot, monkeypatch):
    monkeypatch.setattr(
        TrainingPage, "_write_command", lambda *_: None
    )  # the process of a fake run is that of the test
    made = stage.show(TrainingPage(stage.icons, stage.settings))
    yield made
    wait_until_idle(qtbot, made)


def text(view, name):
    return view.findChild(QLabel, name).text()


def values(view, label, number):
    data = view.curves.curves[label][number].getOriginalDataset()[1]
    return () if data is None else data


def show(view, qtbot, run):
    with qtbot.waitSignal(view.updated, timeout=PATIENCE_MS):
        view.set_folder(run.path)


WORDS = {
    "queued": ("Queued", "1 other run"),
    "starting": ("Starting", ""),
    "running": ("Epoch 4 of 20", "58 images/s · 1.1 GB memory"),
    "paused": ("Paused in epoch 4 of 20", "memory"),
    "cancelling": ("Canceling ...", "all finished steps and a finished model are kept"),
    "cancelled": ("Canceled after epoch 3 of 20", "Resume continues from epoch 4."),
    "failed": ("Failed after epoch 3 of 20", "The disk is full. Free some space."),
    "finished": ("Finished: Jaccard 0.750 at threshold 0.52 on 14 validation images", "threshold 0.52"),
    "lost": ("Lost after epoch 3 of 20", "Resume continues from epoch 4."),
}
# Pause or Continue, Cancel, Resume, Detach.
ENABLED = {
    "queued": (False, True, False, True),
    "starting": (False, True, False, True),
    "running": (True, True, False, True),
    "paused": (True, True, False, True),
    "cancelling": (False, False, False, True),
    "cancelled": (False, False, True, True),
    "failed": (False, False, True, True),
    "finished": (False, False, False, True),
    "lost": (False, False, True, True),
}


def test_every_state_has_its_text_and_buttons(view, qtbot, tmp_path):
    for state in STATES:
        show(view, qtbot, fake_run(tmp_path, state))
        predicted, more = WORDS[state]
        assert text(view, "run_state") == predicted
        assert more in text(view, "run_more"), state
        buttons = view.buttons
        four = (buttons.pause, buttons.cancel, buttons.resume, buttons.detach)
        assert tuple(button.isEnabled() for button in four) == ENABLED[state], state
        assert buttons.pause.text() == ("Continue" if state == "paused" else "Pause"), state
    # The heading of a compared run is the test result.
    show(view, qtbot, fake_run(tmp_path, "finished", "compared").compare())
    assert text(view, "run_state") == "Finished: Jaccard 0.863 on 37 images of the test set (old model 0.842)"
    expected = "without refinement: Jaccard 0.750 at threshold 0.5 on 14 validation images at epoch 3"
    assert expected in text(view, "run_more")
    # Figures belong to their thresholds.
    run = fake_run(tmp_path, "finished", "thresholds").tell("finished", threshold=0.59, validation_jaccard=0.729)
    show(view, qtbot, run)  # in its best epoch: 0.750 at threshold 0.5
    assert text(view, "run_state") == "Finished: Jaccard 0.729 at threshold 0.59 on 14 validation images"
    assert "threshold 0.59 (validation Jaccard 0.729)" in text(view, "run_more")
    report = read_run(run.path)  # the list states the figure of the model, as the page
    assert describe_result(report) == "3 of 20 epochs · validation Jaccard 0.729"
    assert report.best == pytest.approx(0.75, abs=1e-3)
    # Where the last epoch is kept, its figure is stated, not that of the best one.
    rows = [{"epoch": 0, "validation_jaccard": 0.8}, {"epoch": 1, "validation_jaccard": 0.7}]
    for keep, expected in (("best", "0.800"), ("last", "0.700")):
        recipe = report.recipe.model_copy(update={"keep": keep})
        row = describe_kept_epoch(dataclasses.replace(report, recipe=recipe, metrics=rows))
        assert row.startswith(f"Jaccard {expected} ")
    # Only active time is shown.
    run = FakeRun(tmp_path).dead().bundle().tell("launched")
    run.now += 9
    run.begin().tell("cancelled")
    run.now += 5000
    run.tell("launched").tell("queued", position=1)
    run.now += 5000
    run.begin().tell("paused")
    run.now += 5000
    run.tell("continued").add_epochs(1).tell("finished", threshold=0.5)
    show(view, qtbot, run)
    assert "Duration: 45 s." in text(view, "run_more")
    # A run whose folder is gone is lost, no matter in which epoch; Resume states why it cannot continue.
    run = fake_run(tmp_path, "running", "removed")
    show(view, qtbot, run)
    shutil.rmtree(run.path)
    until(qtbot, lambda: text(view, "run_state") == "Lost")
    assert not view.buttons.pause.isEnabled()
    with pytest.raises(RunError, match=r"removed no longer contains a run\. Its folder was moved, renamed or deleted"):
        resume_run(run.path, RunContext())


def test_progress_activity_and_notices_are_shown(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    run.step(3, 15, eta_s=200, gpu_memory_mb=2310, images_per_second=4.25)
    show(view, qtbot, run)
    assert text(view, "run_more") == "3 min left · 4.2 images/s · 1.1 GB memory · 2.3 GB on the GPU"
    bar = view.findChild(QProgressBar, "run_progress")
    assert bar.value() / bar.maximum() == pytest.approx(3.5 / 20, abs=0.001)
    # Activity between epochs.
    for done in (3, 5):
        run.tell("progress", message="Comparing with lesion-small", done=done, total=7)
        until(qtbot, lambda done=done: text(view, "run_state") == f"Comparing with lesion-small: {done} of 7")
    # Notices are listed with the newest first.
    for words in ("only 2 are held out.", "not learnt from: 5.", "both will be rough.", "not learnt from: 5."):
        run.tell("notice", message=words)
    notices = view.findChild(QLabel, "run_notices")
    until(qtbot, notices.isVisible)
    until(qtbot, lambda: len(notices.text().splitlines()) == 3)
    assert notices.text().splitlines() == ["• Not learnt from: 5.", "• Both will be rough.", "• Only 2 are held out."]
    run.tell("notice", message="stopped early.")
    until(qtbot, lambda: notices.text().startswith("• Stopped early."))
    view.set_folder(fake_run(tmp_path, "paused").path)
    assert notices.text() == ""
    assert not notices.isVisible()
    # A resumed run does not show the previous speed.
    run = fake_run(tmp_path, "cancelled").alive().tell("launched", resumed=True)
    run.tell("progress", message="Loading the network").begin()
    show(view, qtbot, run)
    assert text(view, "run_state") == "Loading the network"
    assert text(view, "run_more") == ""


COMMANDS = [  # state, button, command, text
    ("running", "pause", "pause", "Pausing after this batch ..."),
    ("paused", "pause", "run", "Continuing ..."),
    ("running", "cancel", "cancel", "Canceling ..."),
    ("paused", "cancel", "cancel", "Canceling ..."),
    ("queued", "cancel", "cancel", "Canceling ..."),
]


def test_a_command_is_shown_at_once_sent_once_and_replaced_by_the_state(stage, view, qtbot, tmp_path):
    wishes = []
    view.buttons.command_requested.connect(wishes.append)
    for number, (state, button, wish, answer) in enumerate(COMMANDS):
        wishes.clear()
        show(view, qtbot, fake_run(tmp_path, state, f"run-{number}"))
        pressed = getattr(view.buttons, button)
        stage.clicks(pressed)
        assert text(view, "run_state") == answer, state
        assert not pressed.isEnabled()
        pressed.click()  # of somebody who is impatient
        assert wishes == [wish]
        with qtbot.waitSignal(view.updated, timeout=PATIENCE_MS):
            pass
        assert text(view, "run_state") == answer, "nothing has happened yet"
    run = fake_run(tmp_path, "running", "another")
    show(view, qtbot, run)
    stage.clicks(view.buttons.pause)
    run.tell("paused")
    until(qtbot, lambda: text(view, "run_state") == "Paused in epoch 4 of 20")
    stage.clicks(view.buttons.pause)
    run.tell("continued")
    until(qtbot, lambda: text(view, "run_state") == "Epoch 4 of 20")
    assert view.buttons.pause.isEnabled()
    # One that failed is reset.
    stage.clicks(view.buttons.cancel)
    view.clear_pending_command()
    assert text(view, "run_state") == "Epoch 4 of 20"
    assert view.buttons.cancel.isEnabled()
    # A stopped run that is resumed is connections again.
    run = fake_run(tmp_path, "cancelled")
    show(view, qtbot, run)
    until(qtbot, lambda: not view.watch.is_watching)
    with qtbot.waitSignal(view.resume_requested):
        stage.clicks(view.buttons.resume)
    assert text(view, "run_state") == "Resuming ..."
    run.alive().tell("started", resumed=True).step(3, 1)
    until(qtbot, lambda: text(view, "run_state") == "Epoch 4 of 20")
    assert view.watch.is_watching
    # Detach does not change the run.
    with qtbot.waitSignal(view.detached):
        stage.clicks(view.buttons.detach)
    view.set_folder(None)
    assert "No run is shown" in text(view, "run_more")
    assert not view.buttons.cancel.isEnabled()
    assert not (tmp_path / "run-cancelled" / "control.json").exists()


def test_a_run_is_read_in_a_thread_while_it_is_shown_and_active(view, qtbot, tmp_path, monkeypatch):
    threads, heard = set(), []
    real = run_reader.TrainingReader.read_new
    monkeypatch.setattr(
        run_reader.TrainingReader,
        "read_new",
        lambda looker, run: (threads.add(threading.current_thread()), real(looker, run))[1],
    )
    view.updated.connect(lambda snapshot: heard.extend(snapshot.events))
    run = fake_run(tmp_path, "running")
    show(view, qtbot, run)
    run.step(3, 13).tell("notice", message="once")
    until(qtbot, lambda: heard and heard[-1]["kind"] == "notice")
    assert [event["kind"] for event in heard] == ["started", "epoch", "epoch", "epoch", "notice"]
    assert threading.main_thread() not in threads
    # An incomplete line is read later.
    run._append("events.jsonl", '{"time": 1, "kind": "not')
    run._append("events.jsonl", 'ice", "message": "whole"}\n')
    until(qtbot, lambda: heard[-1].get("message") == "whole")
    # A hidden run or one that has ended is not read.
    view.hide()
    wait_until_idle(qtbot, view.watch)
    assert not view.watch.is_watching
    run.tell("cancelled")
    run.dead()
    view.show()
    until(qtbot, lambda: text(view, "run_state") == "Canceled after epoch 3 of 20")
    until(qtbot, lambda: not view.watch.is_watching)
    # One that has finished is watched until its comparison is there.
    run = fake_run(tmp_path, "finished").alive()
    show(view, qtbot, run)
    assert view.watch.is_watching
    run.compare()
    until(qtbot, lambda: view.status.comparison is not None)
    until(qtbot, lambda: not view.watch.is_watching)
    # Another run clears the view.
    show(view, qtbot, fake_run(tmp_path, "running", "another").log("of the first\n"))
    until(qtbot, lambda: view.curves is not None)
    until(qtbot, lambda: all(len(values(view, label, number)) for label in PLOTS for number in (0, 1)))
    view.set_folder(fake_run(tmp_path, "queued").path)
    assert view.log.toPlainText() == ""
    assert not any(len(values(view, label, number)) for label in PLOTS for number in (0, 1))
    assert text(view, "run_name") == "run-queued"
    assert view.log.toPlainText() == ""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def listed(stage, folder, qtbot):
    """The list over a folder; called once the folder is as the test wants it."""
    made = []

    def show():
        made.append(RunList(stage.icons, folder))
        with qtbot.waitSignal(made[-1].listed, timeout=PATIENCE_MS):
            stage.show(made[-1])
        return made[-1]

    yield show
    for one in made:
        one.hide()
        wait_until_idle(qtbot, one)


def predicted(runs, row):
    return runs.view.model().index(row).data(Qt.ItemDataRole.AccessibleTextRole)


def test_runs_are_listed_the_newest_first_and_follow_their_files(stage, listed, folder, qtbot, monkeypatch):
    fake_run(folder, "finished", "run-1").compare().adopted()
    for number, state in enumerate(("running", "failed"), start=2):
        run = fake_run(folder, state, f"run-{number}")
        events = run.path / "events.jsonl"
        events.write_text(events.read_text().replace('"time": 17', f'"time": {17 + number}'))
    runs = listed()
    assert [report.name for report in runs.reports] == ["run-3", "run-2", "run-1"]
    assert predicted(runs, 0) == "run-3, failed after epoch 3 of 20, 3 of 20 epochs · validation Jaccard 0.750"
    assert predicted(runs, 1) == "run-2, epoch 4 of 20, 3 of 20 epochs · validation Jaccard 0.750"
    assert predicted(runs, 2).endswith("3 of 20 epochs · test Jaccard 0.863 (+0.021 vs. old model) · in use")
    # The list follows the files, and keeps the selection.
    run = fake_run(folder, "running", "run-4")
    until(qtbot, lambda: len(runs.reports) == 4)
    runs.select(run.path)
    run.epoch(3).step(4, 1)
    until(qtbot, lambda: any("epoch 5 of 20" in predicted(runs, row) for row in range(4)))
    assert runs.selected.path == run.path
    run.tell("cancelled")
    until(qtbot, lambda: runs.resume_button.isEnabled())
    # It is not read while it is hidden.
    runs.hide()
    wait_until_idle(qtbot, runs)
    assert not runs._timer.isActive()
    fake_run(folder, "running", "run-5")
    with qtbot.waitSignal(runs.listed, timeout=PATIENCE_MS):
        runs.show()
    assert len(runs.reports) == 5


# Look, Resume, Remove.
LIST_ENABLED = {
    "queued": (True, False, False),
    "starting": (True, False, False),
    "running": (True, False, False),
    "paused": (True, False, False),
    "cancelling": (True, False, False),
    "cancelled": (True, True, True),
    "failed": (True, True, True),
    "finished": (True, False, True),
    "lost": (True, True, True),
}


@pytest.mark.both_qts
def test_buttons_follow_the_state_and_a_run_is_shown_by_button_and_double_click(stage, listed, folder, qtbot):
    for state in STATES:
        fake_run(folder, state)
    runs = listed()
    three = (runs.show_button, runs.resume_button, runs.remove_button)
    assert [button.isEnabled() for button in three] == [False] * 3
    for state in STATES:
        runs.select(folder / f"run-{state}")
        assert tuple(button.isEnabled() for button in three) == LIST_ENABLED[state], state
    chosen, last = [], runs.reports[0].path
    runs.chosen.connect(chosen.append)
    runs.select(last)
    stage.clicks(runs.show_button)
    place = runs.view.visualRect(runs.view.model().index(0)).center()
    qtbot.mouseClick(runs.view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(runs.view.viewport(), Qt.MouseButton.LeftButton, pos=place + QPoint(1, 0))
    assert chosen == [last] * 2
    assert stage.page.minimumSizeHint().width() <= stage.scroll.viewport().width()
    assert not runs.view.horizontalScrollBar().isVisible()
    runs.select(folder / "run-lost")
    with qtbot.waitSignal(runs.resume_requested) as wished:
        stage.clicks(runs.resume_button)
    assert wished.args == [folder / "run-lost"]


def test_a_list_that_cannot_be_read_is_not_read_again_at_once(stage, folder, qtbot, monkeypatch):
    def fail(folder):
        raise RunError("not readable")

    monkeypatch.setattr("napari_melanoma.runs.launching.list_runs", fail)
    monkeypatch.setattr(run_list, "INTERVAL_MS", 60_000)
    runs = RunList(stage.icons, folder)
    with qtbot.waitSignal(runs.failed, timeout=PATIENCE_MS):
        stage.show(runs)
    with qtbot.assertNotEmitted(runs.failed, wait=200):
        wait_until_idle(qtbot, runs)
    runs.hide()


def test_a_run_is_removed_after_confirmation_unless_it_is_active_or_there_is_no_trash(
    stage, listed, folder, qtbot, monkeypatch
):
    run, active = fake_run(folder, "finished"), fake_run(folder, "cancelled")
    runs, removed, failed = listed(), [], []
    runs.removed.connect(removed.append)
    runs.failed.connect(failed.append)
    runs.select(active.path)
    active.alive()
    RunFolder(active.path).append_event("launched", resumed=True)
    with answering("replace"):
        stage.clicks(runs.remove_button)
    until(qtbot, lambda: len(failed) == 1)
    assert isinstance(failed[0], RunError)
    assert "Cancel it first" in str(failed[0])
    runs.select(run.path)
    until(qtbot, runs.remove_button.isEnabled)
    with answering(""):
        stage.clicks(runs.remove_button)
    assert not runs._removals.busy
    with monkeypatch.context() as patch, answering("replace"):
        patch.setattr(run_list.QFile, "full", True)
        stage.clicks(runs.remove_button)
        until(qtbot, lambda: len(failed) == 2)
    assert str(run.path) in str(failed[1])
    assert run.path.exists()
    until(qtbot, runs.remove_button.isEnabled)
    with answering("replace"):
        stage.clicks(runs.remove_button)
    until(qtbot, lambda: removed == [run.path] and len(runs.reports) == 1)
    assert not run.path.exists()
    assert active.path.exists()
