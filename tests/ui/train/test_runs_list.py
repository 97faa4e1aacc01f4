"""The list of runs: in order, up to date, and careful with what it removes."""

from __future__ import annotations

import shutil
import threading

import pytest
from fake_runs import STATES, fake_run
from message_boxes import answering
from qtpy.QtCore import QPoint, Qt
from stage import Stage

from conftest import PATIENCE_MS, until, wait_until_idle
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.ui.train import run_list as runs_list
from napari_melanoma.ui.train.run_list import RunList
from napari_melanoma.ui.widgets.job import tasks


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
def stage(home, qtbot, monkeypatch):
    monkeypatch.setattr(runs_list, "INTERVAL_MS", 10)
    monkeypatch.setattr(runs_list, "QFile", type("FakeFile", (Trash,), {}))
    made = Stage(qtbot)
    yield made
    made.close()


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


def test_the_empty_list_shows_a_hint(listed):
    runs = listed()
    assert "Runs that you start are listed here" in runs._empty.text()
    assert runs._empty.isVisible()
    assert not runs.view.isVisible()


def test_runs_are_listed_with_their_figures_the_newest_first(listed, folder):
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


# Look, Resume, Remove.
ENABLED = {
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


def test_buttons_follow_the_state(listed, folder):
    for state in STATES:
        fake_run(folder, state)
    runs = listed()
    three = (runs.show_button, runs.resume_button, runs.remove_button)
    assert [button.isEnabled() for button in three] == [False] * 3
    assert {button.toolTip() for button in three} == {"Select a run first"}
    for state in STATES:
        runs.select(folder / f"run-{state}")
        assert tuple(button.isEnabled() for button in three) == ENABLED[state], state
    runs.select(folder / "run-running")
    assert runs.remove_button.toolTip() == "The run is active: cancel it first"


@pytest.mark.both_qts
def test_a_run_is_shown_by_button_and_double_click(stage, listed, folder, qtbot):
    run = fake_run(folder, "finished")
    runs, chosen = listed(), []
    runs.chosen.connect(chosen.append)
    runs.select(run.path)
    stage.clicks(runs.show_button)
    place = runs.view.visualRect(runs.view.model().index(0)).center()
    qtbot.mouseClick(runs.view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(runs.view.viewport(), Qt.MouseButton.LeftButton, pos=place + QPoint(1, 0))
    assert chosen == [run.path] * 2


def test_resume_is_requested(stage, listed, folder, qtbot):
    run = fake_run(folder, "lost")
    runs = listed()
    runs.select(run.path)
    with qtbot.waitSignal(runs.resume_requested) as wished:
        stage.clicks(runs.resume_button)
    assert wished.args == [run.path]


def test_the_list_updates_and_keeps_the_selection(listed, folder, qtbot, monkeypatch):
    threads = set()
    real = runs_list._list_runs
    monkeypatch.setattr(runs_list, "_list_runs", lambda *of: (threads.add(threading.current_thread()), real(*of))[1])
    run = fake_run(folder, "running")
    runs = listed()
    runs.select(run.path)
    run.epoch(3).step(4, 1)
    until(qtbot, lambda: "epoch 5 of 20" in predicted(runs, 0))
    assert runs.selected.path == run.path
    later = fake_run(folder, "queued", "run-later")
    until(qtbot, lambda: len(runs.reports) == 2)
    assert runs.selected.path == run.path
    run.tell("cancelled")
    until(qtbot, lambda: runs.resume_button.isEnabled())
    assert later.path in {report.path for report in runs.reports}
    assert threading.main_thread() not in threads


def test_a_hidden_list_is_not_read(listed, folder, qtbot):
    runs = listed()
    runs.hide()
    wait_until_idle(qtbot, runs)
    assert not runs._timer.isActive()
    fake_run(folder, "running")
    with qtbot.waitSignal(runs.listed, timeout=PATIENCE_MS):
        runs.show()
    assert len(runs.reports) == 1


def test_a_list_that_cannot_be_read_is_not_read_again_at_once(stage, folder, qtbot, monkeypatch):
    def fail(folder):
        raise RunError("not readable")

    monkeypatch.setattr("napari_melanoma.runs.launching.list_runs", fail)
    monkeypatch.setattr(runs_list, "INTERVAL_MS", 60_000)
    runs = RunList(stage.icons, folder)
    with qtbot.waitSignal(runs.failed, timeout=PATIENCE_MS):
        stage.show(runs)
    with qtbot.assertNotEmitted(runs.failed, wait=200):
        wait_until_idle(qtbot, runs)
    runs.hide()


@pytest.mark.parametrize("pressed", ["Cancel", "Remove"])
def test_removing_requires_confirmation(stage, listed, folder, qtbot, pressed):
    run = fake_run(folder, "finished")
    runs, removed = listed(), []
    runs.removed.connect(removed.append)
    runs.select(run.path)
    with answering("replace" if pressed == "Remove" else ""):
        stage.clicks(runs.remove_button)
    if pressed == "Cancel":
        assert not runs._removals.busy
        assert run.path.exists()
    else:
        until(qtbot, lambda: removed == [run.path])
        until(qtbot, lambda: runs.reports == [])
        assert not run.path.exists()


def test_an_active_run_is_not_removed(stage, listed, folder, qtbot):
    run = fake_run(folder, "cancelled")
    runs, failed = listed(), []
    runs.failed.connect(failed.append)
    runs.select(run.path)
    run.alive()
    RunFolder(run.path).append_event("launched", resumed=True)
    with answering("replace"):
        stage.clicks(runs.remove_button)
    until(qtbot, lambda: bool(failed))
    assert isinstance(failed[0], RunError)
    assert "Cancel it first" in str(failed[0])
    assert run.path.exists()


def test_nothing_is_removed_without_a_trash(stage, listed, folder, qtbot, monkeypatch):
    monkeypatch.setattr(runs_list.QFile, "full", True)
    run = fake_run(folder, "failed")
    runs, failed = listed(), []
    runs.failed.connect(failed.append)
    runs.select(run.path)
    with answering("replace"):
        stage.clicks(runs.remove_button)
    until(qtbot, lambda: bool(failed))
    assert str(run.path) in str(failed[0])
    assert run.path.exists()


def test_rows_fit_a_narrow_dock(stage, listed, folder):
    for state in STATES:
        fake_run(folder, state, f"a-rather-long-name-of-a-run-{state}").compare()
    runs = listed()
    assert stage.page.minimumSizeHint().width() <= stage.scroll.viewport().width()
    assert not runs.view.horizontalScrollBar().isVisible()
    assert runs.view.count() == len(STATES)


@pytest.mark.both_qts
def test_a_list_leaves_nothing_behind(nothing_left, home, qtbot, folder):
    fake_run(folder, "running")
    stage = Stage(qtbot)
    runs = RunList(stage.icons, folder)
    stage.show(runs)
    assert not tasks.is_idle(runs)
    stage.close()
