"""One run in words, pictures and buttons, whatever state it is in."""

from __future__ import annotations

import threading

import pytest
from fake_runs import STATES, FakeRun, fake_run
from qtpy.QtWidgets import QLabel, QProgressBar
from stage import Stage

from conftest import PATIENCE_MS, until, wait_until_idle
from napari_melanoma.ui.train import run_reader
from napari_melanoma.ui.train.plot import PLOTS
from napari_melanoma.ui.train.run_view import TrainingPage
from napari_melanoma.ui.widgets import run_panel


@pytest.fixture
def stage(home, qtbot, monkeypatch):
    monkeypatch.setattr(run_panel, "INTERVAL_MS", 10)
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
        assert text(view, "run_name") == f"run-{state} · Fine-tuned on my masks"
        buttons = view.buttons
        four = (buttons.pause, buttons.cancel, buttons.resume, buttons.detach)
        assert tuple(button.isEnabled() for button in four) == ENABLED[state], state
        assert all(button.toolTip() for button in four)
        assert buttons.pause.text() == ("Continue" if state == "paused" else "Pause"), state


def test_progress_speed_and_memory_are_shown(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    run.step(3, 15, eta_s=200, gpu_memory_mb=2310, images_per_second=4.25)
    show(view, qtbot, run)
    assert text(view, "run_more") == "3 min left · 4.2 images/s · 1.1 GB memory · 2.3 GB on the GPU"
    bar = view.findChild(QProgressBar, "run_progress")
    assert bar.value() / bar.maximum() == pytest.approx(3.5 / 20, abs=0.001)


def test_activity_between_epochs_is_shown(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running").tell("progress", message="Comparing with lesion-small", done=3, total=7)
    show(view, qtbot, run)
    assert text(view, "run_state") == "Comparing with lesion-small: 3 of 7"
    assert text(view, "run_more") == ""
    run.tell("progress", message="Comparing with lesion-small", done=5, total=7)
    until(qtbot, lambda: text(view, "run_state") == "Comparing with lesion-small: 5 of 7")


COMMANDS = [  # state, button, command, text
    ("running", "pause", "pause", "Pausing after this batch ..."),
    ("paused", "pause", "run", "Continuing ..."),
    ("running", "cancel", "cancel", "Canceling ..."),
    ("paused", "cancel", "cancel", "Canceling ..."),
    ("queued", "cancel", "cancel", "Canceling ..."),
]


def test_a_command_is_shown_at_once_and_sent_once(stage, view, qtbot, tmp_path):
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


def test_the_pending_text_is_replaced_by_the_state(stage, view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    show(view, qtbot, run)
    stage.clicks(view.buttons.pause)
    run.tell("paused")
    until(qtbot, lambda: text(view, "run_state") == "Paused in epoch 4 of 20")
    stage.clicks(view.buttons.pause)
    run.tell("continued")
    until(qtbot, lambda: text(view, "run_state") == "Epoch 4 of 20")
    assert view.buttons.pause.isEnabled()


def test_a_failed_command_is_reset(stage, view, qtbot, tmp_path):
    show(view, qtbot, fake_run(tmp_path, "running"))
    stage.clicks(view.buttons.cancel)
    view.clear_pending_command()
    assert text(view, "run_state") == "Epoch 4 of 20"
    assert view.buttons.cancel.isEnabled()


def test_a_resumed_run_is_followed_again(stage, view, qtbot, tmp_path):
    run = fake_run(tmp_path, "cancelled")
    show(view, qtbot, run)
    until(qtbot, lambda: not view.watch.is_watching)
    with qtbot.waitSignal(view.resume_requested):
        stage.clicks(view.buttons.resume)
    assert text(view, "run_state") == "Resuming ..."
    run.alive().tell("started", resumed=True).step(3, 1)
    until(qtbot, lambda: text(view, "run_state") == "Epoch 4 of 20")
    assert view.watch.is_watching


def test_detach_does_not_change_the_run(stage, view, qtbot, tmp_path):
    show(view, qtbot, fake_run(tmp_path, "running"))
    with qtbot.waitSignal(view.detached):
        stage.clicks(view.buttons.detach)
    view.set_folder(None)
    assert "No run is shown" in text(view, "run_more")
    assert not view.buttons.cancel.isEnabled()
    assert not (tmp_path / "run-running" / "control.json").exists()


def test_notices_are_listed_with_the_newest_first(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    for words in ("only 2 are held out.", "not learnt from: 5.", "both will be rough.", "not learnt from: 5."):
        run.tell("notice", message=words)
    run.tell("detail", message="the number format is fp32.")
    show(view, qtbot, run)
    notices = view.findChild(QLabel, "run_notices")
    assert notices.isVisible()
    assert notices.text().splitlines() == ["• Not learnt from: 5.", "• Both will be rough.", "• Only 2 are held out."]
    assert view.findChild(QLabel, "run_more").toolTip() == "The number format is fp32."
    run.tell("notice", message="stopped early.")
    until(qtbot, lambda: notices.text().startswith("• Stopped early."))
    view.set_folder(fake_run(tmp_path, "paused").path)
    assert notices.text() == ""
    assert not notices.isVisible()


def test_a_resumed_run_does_not_show_the_previous_speed(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "cancelled").alive().tell("launched", resumed=True)
    run.tell("progress", message="Loading the network").begin()
    show(view, qtbot, run)
    assert text(view, "run_state") == "Loading the network"
    assert text(view, "run_more") == ""
    run.step(3, 1)
    until(qtbot, lambda: text(view, "run_state") == "Epoch 4 of 20")


def test_only_active_time_is_shown(view, qtbot, tmp_path):
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


def test_the_heading_of_a_compared_run_is_the_test_result(view, qtbot, tmp_path):
    show(view, qtbot, fake_run(tmp_path, "finished").compare())
    assert text(view, "run_state") == "Finished: Jaccard 0.863 on 37 images of the test set (old model 0.842)"
    expected = "without refinement: Jaccard 0.750 at threshold 0.5 on 14 validation images at epoch 3"
    assert expected in text(view, "run_more")


def test_figures_belong_to_their_thresholds(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "finished").tell("finished", threshold=0.59, validation_jaccard=0.729)
    show(view, qtbot, run)  # in its best epoch: 0.750 at threshold 0.5
    assert text(view, "run_state") == "Finished: Jaccard 0.729 at threshold 0.59 on 14 validation images"
    assert "threshold 0.59 (validation Jaccard 0.729)" in text(view, "run_more")


def test_events_come_once_without_steps_and_off_the_gui_thread(view, qtbot, tmp_path, monkeypatch):
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


def test_an_incomplete_line_is_read_later(view, qtbot, tmp_path):
    run, heard = fake_run(tmp_path, "running"), []
    view.updated.connect(lambda snapshot: heard.extend(snapshot.events))
    run._append("events.jsonl", '{"time": 1, "kind": "not')
    show(view, qtbot, run)
    assert all(event["kind"] != "notice" for event in heard)
    run._append("events.jsonl", 'ice", "message": "whole"}\n')
    until(qtbot, lambda: heard[-1]["kind"] == "notice")
    assert heard[-1]["message"] == "whole"


def test_hidden_or_ended_runs_are_not_read(stage, view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    show(view, qtbot, run)
    assert view.watch.is_watching
    view.hide()
    wait_until_idle(qtbot, view.watch)
    assert not view.watch.is_watching
    run.tell("cancelled")
    run.dead()
    view.show()
    until(qtbot, lambda: text(view, "run_state") == "Canceled after epoch 3 of 20")
    until(qtbot, lambda: not view.watch.is_watching)


def test_a_finished_run_is_watched_until_its_comparison_is_there(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "finished").alive()
    show(view, qtbot, run)
    assert view.watch.is_watching
    run.compare()
    until(qtbot, lambda: view.status.comparison is not None)
    until(qtbot, lambda: not view.watch.is_watching)


def test_a_missing_folder_is_lost(view, qtbot, tmp_path):
    import shutil

    run = fake_run(tmp_path, "running")
    show(view, qtbot, run)
    shutil.rmtree(run.path)
    until(qtbot, lambda: text(view, "run_state").startswith("Lost"))
    assert not view.buttons.pause.isEnabled()


def test_another_run_clears_the_view(view, qtbot, tmp_path):
    show(view, qtbot, fake_run(tmp_path, "running").log("of the first\n"))
    until(qtbot, lambda: view.curves is not None)
    assert all(len(values(view, label, number)) for label in PLOTS for number in (0, 1))
    view.set_folder(fake_run(tmp_path, "queued").path)
    assert view.log.toPlainText() == ""
    assert not any(len(values(view, label, number)) for label in PLOTS for number in (0, 1))
    assert text(view, "run_name") == "run-queued"
    until(qtbot, lambda: text(view, "run_state") == "Queued")
    assert view.log.toPlainText() == ""
