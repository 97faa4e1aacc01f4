"""Output of commands: logs, progress bars, JSON lines, and a reader that has ended."""

from __future__ import annotations

import errno
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import typer

from napari_melanoma.cli import output
from napari_melanoma.cli.output import create_report, write_line
from napari_melanoma.cli.session import command_session
from napari_melanoma.core.context import Cancelled, ParallelProgress, Progress


@dataclass
class ClosedStream:
    """A stream whose reader has ended."""

    error: OSError

    def write(self, text: str) -> None:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize("closed", [BrokenPipeError(), OSError(errno.EINVAL, "Invalid argument")], ids=["", "Windows"])
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("error", [None, Cancelled()], ids=["done", "stopped"])
def test_a_closed_output_is_not_reported_as_error(
    error: BaseException | None,
    as_json: bool,
    closed: OSError,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdout", ClosedStream(closed))
    if closed.errno == errno.EINVAL:
        monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(typer.Exit) as ended, command_session(as_json, debug=False) as current:
        current.report.progress(Progress(2, 5, "counting"))
        if error is not None:
            raise error
        current.finish("Written to out.")
    assert ended.value.exit_code == 141
    assert "rror" not in capsys.readouterr().err
    sys.stdout.close()


def test_an_invalid_argument_is_a_closed_output_on_windows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", ClosedStream(OSError(errno.EINVAL, "Invalid argument")))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(OSError, match="Invalid argument"):
        write_line("a line")


def test_a_log_has_few_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([100.0, 102.0, 112.0, 113.0])
    monkeypatch.setattr(output.time, "monotonic", lambda: next(clock))
    report = create_report(as_json=False)
    for done in range(1, 5):
        report.progress(Progress(done, 4, "x"))
    assert capsys.readouterr().err.splitlines() == ["1/4  x", "3/4, 6 s left  x", "4/4  x"]


def test_the_time_left_restarts_with_a_new_phase(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 400.0, 500.0, 520.0])
    monkeypatch.setattr(output.time, "monotonic", lambda: next(clock))
    report = create_report(as_json=False)
    for done, total in ((1, 2), (2, 2), (10, 100), (20, 100)):
        report.progress(Progress(done, total, "x"))
    assert capsys.readouterr().err.splitlines()[-2:] == ["10/100  x", "20/100, 3 min left  x"]


def test_a_terminal_shows_a_bar_and_lines_above_it(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: True)
    report = create_report(as_json=False)
    report.progress(Progress(1, 4, "x.png"))
    report.emit("failed", "failed: [red]y.png[/red]: why")
    report.progress(Progress(4, 4, "z.png"))
    report.finish("done", "The end.")
    written = capsys.readouterr()
    assert "failed: [red]y.png[/red]: why" in written.err
    assert written.out == "The end.\n"


def test_progress_bars_appear_end_and_restart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: True)
    report: Any = create_report(as_json=False)
    a, b = Progress(3, 10, "a: 5 tiles/s"), Progress(0, None, "b: starting")
    report.progress(ParallelProgress(1, 4, "slides, 2 on 2 workers: a 30 %, b", (a, b)))
    whole, *parts = report._bar.tasks
    assert (whole.completed, whole.total, whole.description) == (1, 4, "slides, 2 on 2 workers")
    assert [(part.completed, part.total, part.description) for part in parts] == [
        (3, 10, "a: 5 tiles/s"),
        (0, None, "b: starting"),
    ]
    before = parts[0].start_time
    report.progress(ParallelProgress(2, 4, "slides, 1 on 2 workers: c 10 %", (Progress(1, 10, "c: 4 tiles/s"),)))
    assert [part.visible for part in parts] == [True, False]
    assert (parts[0].completed, parts[0].description) == (1, "c: 4 tiles/s")
    assert parts[0].start_time > before
    report.emit("slide", "")  # without text, so not shown
    report.finish("done", "Ended.")
    assert capsys.readouterr().out == "Ended.\n"


def test_json_lines_contain_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    report = create_report(as_json=True)
    report.progress(ParallelProgress(1, 4, "slides", (Progress(3, 10, "a"),)))
    report.progress(Progress(1, 4, "slides"))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["parts"] == [{"done": 3, "total": 10, "message": "a"}]
    assert "parts" not in second


def test_log_omits_events_without_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: False)
    report = create_report(as_json=False)
    report.emit("slide", "")
    report.emit("slide", "failed: a")
    assert capsys.readouterr().err == "failed: a\n"
