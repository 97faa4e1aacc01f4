"""One run in words, pictures and buttons, whatever state it is in."""

from __future__ import annotations

import threading

import pytest
from fake_runs import STATES, FakeRun, fake_run
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QLabel, QProgressBar, QToolButton
from stage import Stage

from conftest import PATIENCE_MS, until, wait_until_idle
from napari_melanoma.training.monitor import MONITORS
from napari_melanoma.ui.train import run_reader, run_view
from napari_melanoma.ui.train.run_reader import LOG_BYTES, MAX_POINTS, LogTail
from napari_melanoma.ui.train.run_text import find_best_row
from napari_melanoma.ui.train.run_view import RunView
from napari_melanoma.ui.widgets import run_watch
from napari_melanoma.ui.widgets.job import tasks


@pytest.fixture
def stage(home, qtbot, monkeypatch):
    monkeypatch.setattr(run_watch, "INTERVAL_MS", 10)
    made = Stage(qtbot)
    yield made
    made.close()


@pytest.fixture
def view(stage, qtbot):
    made = stage.show(RunView(stage.icons, stage.settings))
    yield made
    wait_until_idle(qtbot, made)


def text(view, name):
    return view.findChild(QLabel, name).text()


def show(view, qtbot, run):
    with qtbot.waitSignal(view.watch.changed, timeout=PATIENCE_MS):
        view.set_run(run.path)


WORDS = {
    "queued": ("Queued", "1 other run"),
    "starting": ("Loading the network", ""),
    "running": ("Epoch 4 of 20", "58 images/s · 1.1 GB memory"),
    "paused": ("Paused in epoch 4 of 20", "memory"),
    "cancelling": ("Canceling ...", "all finished steps and a finished model are kept"),
    "cancelled": ("Canceled after epoch 3 of 20", "Resume continues from epoch 4."),
    "failed": ("Failed after epoch 3 of 20", "The disk is full. Free some space."),
    "finished": ("Finished: Jaccard 0.750 on 14 validation images at epoch 3", "threshold 0.52"),
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
    assert text(view, "run_state") == "Comparing with lesion-small"
    assert text(view, "run_more") == "3 of 7"
    run.tell("progress", message="Comparing with lesion-small", done=5, total=7)
    until(qtbot, lambda: text(view, "run_more") == "5 of 7")


COMMANDS = [  # state, button, command, text
    ("running", "pause", "pause", "Pausing after this batch ..."),
    ("paused", "pause", "run", "Continuing ..."),
    ("running", "cancel", "cancel", "Canceling ..."),
    ("paused", "cancel", "cancel", "Canceling ..."),
    ("queued", "cancel", "cancel", "Canceling ..."),
]


def test_a_command_is_shown_at_once_and_sent_once(stage, view, qtbot, tmp_path):
    wishes = []
    view.command_requested.connect(wishes.append)
    for number, (state, button, wish, answer) in enumerate(COMMANDS):
        wishes.clear()
        show(view, qtbot, fake_run(tmp_path, state, f"run-{number}"))
        pressed = getattr(view.buttons, button)
        stage.clicks(pressed)
        assert text(view, "run_state") == answer, state
        assert not pressed.isEnabled()
        pressed.click()  # of somebody who is impatient
        assert wishes == [wish]
        with qtbot.waitSignal(view.watch.changed, timeout=PATIENCE_MS):
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
    resumed = []
    view.resume_requested.connect(resumed.append)
    stage.clicks(view.buttons.resume)
    assert resumed == [run.path]
    assert text(view, "run_state") == "Resuming ..."
    run.alive().tell("started", resumed=True).step(3, 1)
    until(qtbot, lambda: text(view, "run_state") == "Epoch 4 of 20")
    assert view.watch.is_watching


def test_detach_does_not_change_the_run(stage, view, qtbot, tmp_path):
    show(view, qtbot, fake_run(tmp_path, "running"))
    with qtbot.waitSignal(view.detached):
        stage.clicks(view.buttons.detach)
    view.set_run(None)
    assert "No run is shown" in text(view, "run_more")
    assert not view.buttons.cancel.isEnabled()
    assert not (tmp_path / "run-running" / "control.json").exists()


def test_a_notice_of_the_run_is_shown(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running").tell("notice", message="the batch was halved to 8: out of memory.")
    show(view, qtbot, run)
    notice = view.findChild(QLabel, "run_notice")
    assert notice.isVisible()
    assert notice.text() == "The batch was halved to 8: out of memory."
    for named in (
        "batch_size: 8 images per step are fastest on this machine.",
        "bf16 is not used: float32 is as fast here.",
    ):
        run.tell("notice", message=named)
        until(qtbot, lambda named=named: text(view, "run_notice") == named)
    run.tell("detail", message="the number format is fp32.")
    details = view.findChild(QLabel, "run_more")
    until(qtbot, lambda: details.toolTip() == "The number format is fp32.")
    assert "number format" not in text(view, "run_notice") + text(view, "run_notices_earlier"), "out of sight"


def test_notices_are_kept_and_can_be_collapsed(stage, view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    for words in ("only 2 are held out.", "not learnt from: 5.", "both will be rough.", "not learnt from: 5."):
        run.tell("notice", message=words)
    show(view, qtbot, run)
    assert text(view, "run_notice") == "Not learnt from: 5."
    earlier = view.findChild(QLabel, "run_notices_earlier")
    assert earlier.text().splitlines() == ["• Both will be rough.", "• Only 2 are held out."]
    assert earlier.isVisible()
    fold = view.findChild(QToolButton, "run_notices_fold")
    stage.clicks(fold)
    assert (earlier.isVisible(), fold.text()) == (False, "Show 2 earlier")
    run.tell("notice", message="stopped early.")
    until(qtbot, lambda: text(view, "run_notice") == "Stopped early.")
    assert fold.text() == "Show 3 earlier"
    view.set_run(fake_run(tmp_path, "paused").path)
    assert text(view, "run_notice") == ""


def test_activity_without_events_is_shown(view, qtbot, tmp_path):
    run = FakeRun(tmp_path).alive().tell("launched")
    show(view, qtbot, run)
    assert text(view, "run_state") == "Loading the network"
    run.tell("progress", message="Decoding images", done=19, total=20)
    until(qtbot, lambda: text(view, "run_more") == "19 of 20")
    run.tell("progress", message="Decoding images", done=20, total=20)
    until(qtbot, lambda: text(view, "run_state") == "Loading the network")
    assert text(view, "run_more") == ""
    run.begin()
    until(qtbot, lambda: text(view, "run_state") == "Waiting for the first step")
    run.step(0, 1)
    until(qtbot, lambda: text(view, "run_state") == "Epoch 1 of 20")


def test_a_resumed_run_does_not_show_the_previous_speed(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "cancelled").alive().tell("launched", resumed=True).begin()
    show(view, qtbot, run)
    assert text(view, "run_state") == "Waiting for the first step"
    assert text(view, "run_more") == ""


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
    expected = "at the network's input size without refinement: Jaccard 0.750 on 14 validation images"
    assert expected in text(view, "run_more")


def test_events_come_once_without_steps_and_off_the_gui_thread(view, qtbot, tmp_path, monkeypatch):
    threads, heard = set(), []
    real = run_reader.RunFolderReader.read_new
    monkeypatch.setattr(
        run_reader.RunFolderReader,
        "read_new",
        lambda looker, run: (threads.add(threading.current_thread()), real(looker, run))[1],
    )
    view.watch.events.connect(heard.extend)
    run = fake_run(tmp_path, "running")
    show(view, qtbot, run)
    run.step(3, 13).tell("notice", message="once")
    until(qtbot, lambda: heard and heard[-1]["kind"] == "notice")
    assert [event["kind"] for event in heard] == ["started", "epoch", "epoch", "epoch", "notice"]
    assert threading.main_thread() not in threads


def test_an_incomplete_line_is_read_later(view, qtbot, tmp_path):
    run, heard = fake_run(tmp_path, "running"), []
    view.watch.events.connect(heard.extend)
    run._append("events.jsonl", '{"time": 1, "kind": "not')
    show(view, qtbot, run)
    assert all(event["kind"] != "notice" for event in heard)
    run._append("events.jsonl", 'ice", "message": "whole"}\n')
    until(qtbot, lambda: heard[-1]["kind"] == "notice")
    assert heard[-1]["message"] == "whole"


def test_ten_thousand_events_become_few_points(view, qtbot, tmp_path):
    run = FakeRun(tmp_path, epochs=200).alive().begin()
    line = '{{"time": 1, "kind": "step", "epoch": {}, "batch": {}, "batches": 50, "loss": {}}}\n'
    steps = (line.format(n // 50, n % 50 + 1, 1 / (1 + n)) for n in range(10_000))
    run._append("events.jsonl", "".join(steps))
    sights = []
    view.watch.snapshot_taken.connect(sights.append)
    show(view, qtbot, run)
    losses = sights[0].losses
    assert MAX_POINTS / 2 <= len(losses.values) <= MAX_POINTS
    assert losses.epochs[-1] > 190
    assert [event["kind"] for event in sights[0].events] == ["started"]


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
    until(qtbot, lambda: view.report.comparison is not None)
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
    wait_until_idle(qtbot, view.samples)
    assert None not in view.curves.values_at().values()
    view.set_run(fake_run(tmp_path, "queued").path)
    assert view.log.text == ""
    assert set(view.curves.values_at().values()) == {None}
    assert text(view, "run_name") == "run-queued"
    until(qtbot, lambda: text(view, "run_state") == "Queued")
    assert view.samples.pictures["now"].image is None
    assert view.log.text == ""


@pytest.mark.both_qts
def test_samples_show_image_before_and_now_of_any_epoch(stage, view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    show(view, qtbot, run)
    samples = view.samples
    pictures = samples.pictures

    def settled():
        return tasks.is_idle(view) and pictures["now"].image is not None

    until(qtbot, settled)
    assert pictures["image"].image.height() < pictures["image"].image.width()
    assert pictures["now"].heightForWidth(100) == pytest.approx(75, abs=1)  # the photograph's shape, not the network's
    assert samples._slider.value() == samples._slider.maximum() == 3
    assert samples._captions["now"].text() == "epoch 3"
    newest = pictures["now"].image
    samples._slider.setValue(1)
    until(qtbot, lambda: samples._captions["now"].text() == "epoch 1")
    assert pictures["now"].image != newest
    run.sample(3, "mole-1")
    until(qtbot, lambda: samples._slider.maximum() == 4)
    assert samples._slider.value() == 1  # who looks at an epoch stays there
    assert "mole-1  (1 of 2)" in text(view, "sample_name")
    stage.clicks(samples._next)
    until(qtbot, lambda: "mole-2  (2 of 2)" in text(view, "sample_name"))
    stage.clicks(samples._next)
    until(qtbot, lambda: "mole-1" in text(view, "sample_name"))


def test_the_newest_epoch_of_samples_is_followed(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    show(view, qtbot, run)
    run.sample(3, "mole-1").sample(3, "mole-2")
    until(qtbot, lambda: view.samples._captions["now"].text() == "epoch 4")


def test_a_late_image_is_shown(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    (run.path / "samples" / "epoch-0004").mkdir()
    show(view, qtbot, run)
    until(qtbot, lambda: view.samples._captions["now"].text() == "epoch 4")
    assert view.samples.pictures["now"].image is None
    run.sample(3, "mole-1").tell("samples", epoch=3, folder="samples/epoch-0004")
    until(qtbot, lambda: view.samples.pictures["now"].image is not None)


def test_a_folder_of_samples_that_is_being_written_is_not_shown(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    (run.path / "samples" / ".epoch-0004.1a2b3c4d").mkdir()
    show(view, qtbot, run)
    assert view.samples._epochs == ("start", "epoch-0001", "epoch-0002", "epoch-0003")


def test_samples_without_photographs(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running")
    (run.path / "data.csv").unlink()
    show(view, qtbot, run)
    until(qtbot, lambda: view.samples.pictures["now"].image is not None)
    assert view.samples.pictures["image"].image is None


def test_the_log_grows_and_is_copied(stage, view, qtbot, tmp_path):
    stage.settings.set_section_open("log_section", True)
    run = fake_run(tmp_path, "running")
    show(view, qtbot, run)
    run.log("second line\nhalf a li")
    until(qtbot, lambda: "second line" in view.log.text)
    assert view.log.text.splitlines()[-1] == "second line"
    run.log("ne\n")
    until(qtbot, lambda: view.log.text.splitlines()[-1] == "half a line")
    assert view.log.text.count("epoch 3 of 20") == 1
    view.log._copy.click()
    assert QGuiApplication.clipboard().text() == view.log.text


def test_the_log_does_not_scroll_if_scrolled_up(view, qtbot, tmp_path):
    run = fake_run(tmp_path, "running").log("".join(f"line {n}\n" for n in range(200)))
    show(view, qtbot, run)
    bar = view.log._text.verticalScrollBar()
    assert bar.value() == bar.maximum()
    bar.setValue(3)
    run.log("news\n")
    until(qtbot, lambda: "news" in view.log.text)
    assert bar.value() == 3


def test_the_output_is_shown_without_a_log(view, qtbot, tmp_path):
    run = FakeRun(tmp_path).dead().tell("launched")
    (run.path / "output.txt").write_text("ModuleNotFoundError: No module named 'torch'\n")
    show(view, qtbot, run)
    assert text(view, "run_state").startswith("Failed")
    assert "No module named 'torch'" in view.log.text


def test_of_a_long_log_the_end_is_read(tmp_path):
    (tmp_path / "log.txt").write_text("x" * 99 + "\n" + "line\n" * (LOG_BYTES // 5))
    tail = LogTail(tmp_path)
    first = tail.read()
    assert len(first) <= LOG_BYTES
    assert set(first.splitlines()) == {"line"}
    assert tail.read() == ""


@pytest.mark.both_qts
def test_deleting_the_view_while_reading(nothing_left, home, qtbot, tmp_path):
    stage = Stage(qtbot)
    view = stage.show(RunView(stage.icons, stage.settings))
    show(view, qtbot, fake_run(tmp_path, "running"))
    until(qtbot, lambda: bool(view.curves.plots))
    view.set_run(fake_run(tmp_path, "paused").path)
    assert not tasks.is_idle(view)
    stage.close()


def test_the_view_fits_a_narrow_dock_in_both_themes(stage, view, qtbot, tmp_path):
    show(view, qtbot, fake_run(tmp_path, "running"))
    until(qtbot, lambda: bool(view.curves.plots))
    for theme in ("light", "dark"):
        stage.viewer.theme = theme
        assert stage.page.minimumSizeHint().width() <= stage.scroll.viewport().width()


def test_of_equal_epochs_the_one_with_a_known_smaller_loss_is_best():
    rows = [
        {"epoch": number, "validation_jaccard": 0.8, "validation_loss": loss}
        for number, loss in enumerate(("", 0.4, 0.3))
    ]
    monitor = MONITORS["segmentation"]
    assert find_best_row(rows, monitor) == rows[2]
    assert find_best_row(rows[:1], monitor) == rows[0]
    assert find_best_row([], monitor) is None


def test_folder_of_tensorboard(view, qtbot, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(run_view.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    run = FakeRun(tmp_path / "first")
    (run.path / "tensorboard").mkdir()
    show(view, qtbot, run)
    button = view.findChild(QToolButton, "run_tensorboard")
    assert button.isVisible()
    assert f"tensorboard --logdir {run.path / 'tensorboard'}" in button.toolTip()
    button.click()
    assert opened == [str(run.path / "tensorboard")]
    show(view, qtbot, FakeRun(tmp_path / "second"))
    assert not button.isVisible()
