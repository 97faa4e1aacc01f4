"""How commands end: the last line, the exit code and the output streams."""

from __future__ import annotations

import errno
import json
import signal
import sys
from dataclasses import dataclass

import pytest
import typer

from napari_melanoma.cli import session
from napari_melanoma.cli.session import command_session, write_line
from napari_melanoma.core.context import Cancelled, Progress
from napari_melanoma.core.errors import ConfigError, MelanomaError, SaveError


def end(error: BaseException | None, *, as_json: bool = False, debug: bool = False) -> int:
    """Run a command that ends with an error or none; return its exit code."""
    try:
        with command_session(as_json, debug) as current:
            current.report.progress(Progress(2, 5, "counting"))
            if error is not None:
                raise error
            current.finish("Written to out.", out="out", nothing=float("nan"))
    except typer.Exit as ended:
        return ended.exit_code
    return 0


ENDS = [
    (None, 0, "done", "Written to out."),
    (ConfigError("the key is unknown"), 2, "error", "Error: the key is unknown"),
    (SaveError("the disk is full"), 1, "error", "Error: the disk is full"),
    (MelanomaError("it failed"), 1, "error", "Error: it failed"),
    (
        ValueError("an internal\nfault"),
        1,
        "error",
        "Error: unexpected ValueError: an internal fault (--debug shows where)",
    ),
    (
        OSError(errno.ENAMETOOLONG, "File name too long", f"a/{'b' * 300}"),
        2,
        "error",
        f"Error: the path 'a/{'b' * 58}…' is too long for the file system. It has 302 characters, 300 of them in one "
        "name; names can usually have 255. Specify a shorter path.",
    ),
    (Cancelled(), 130, "stopped", "Stopped after 2 of 5. Run the same command again to continue."),
    (KeyboardInterrupt(), 130, "stopped", "Stopped after 2 of 5. Run the same command again to continue."),
]


@pytest.mark.parametrize(("error", "code", "status", "text"), ENDS, ids=lambda value: type(value).__name__)
def test_the_last_line_of_text(error, code: int, status: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert end(error) == code
    output = capsys.readouterr()
    last = (output.err if status == "error" else output.out).splitlines()[-1]
    assert last == text
    assert "Traceback" not in output.err


@pytest.mark.parametrize(("error", "code", "status", "text"), ENDS, ids=lambda value: type(value).__name__)
def test_the_last_line_of_json(error, code: int, status: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert end(error, as_json=True) == code
    output = capsys.readouterr()
    progress, summary = (json.loads(line) for line in output.out.splitlines())
    assert progress == {"event": "progress", "done": 2, "total": 5, "message": "counting"}
    assert (summary["event"], summary["status"], summary["exit_code"]) == ("summary", status, code)
    assert summary["message"] == text
    assert output.err == (f"{text}\n" if status == "error" else "")


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
    assert end(error, as_json=as_json) == 141
    assert "rror" not in capsys.readouterr().err
    sys.stdout.close()


def test_an_invalid_argument_is_a_closed_output_on_windows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", ClosedStream(OSError(errno.EINVAL, "Invalid argument")))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(OSError, match="Invalid argument"):
        write_line("a line")


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(ValueError("an internal fault"), debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_cancels_and_the_second_interrupts(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with pytest.raises(typer.Exit) as ended, command_session(False, False) as current:
        signal.raise_signal(number)
        assert current.run.cancelled
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        current.run.check()
    assert ended.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    assert capsys.readouterr().out.startswith("Stopped.")


def test_a_log_has_few_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([100.0, 102.0, 112.0, 113.0])
    monkeypatch.setattr(session.time, "monotonic", lambda: next(clock))
    report = session.create_report(as_json=False)
    for done in range(1, 5):
        report.progress(Progress(done, 4, "x"))
    assert capsys.readouterr().err.splitlines() == ["1/4  x", "3/4, 6 s left  x", "4/4  x"]


def test_the_time_left_restarts_with_a_new_phase(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 400.0, 500.0, 520.0])
    monkeypatch.setattr(session.time, "monotonic", lambda: next(clock))
    report = session.create_report(as_json=False)
    for done, total in ((1, 2), (2, 2), (10, 100), (20, 100)):
        report.progress(Progress(done, total, "x"))
    assert capsys.readouterr().err.splitlines()[-2:] == ["10/100  x", "20/100, 3 min left  x"]


def test_a_terminal_shows_a_bar_and_lines_above_it(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(session.sys.stderr, "isatty", lambda: True)
    report = session.create_report(as_json=False)
    report.progress(Progress(1, 4, "x.png"))
    report.emit("failed", "failed: [red]y.png[/red]: why")
    report.progress(Progress(4, 4, "z.png"))
    report.finish("done", "The end.")
    output = capsys.readouterr()
    assert "failed: [red]y.png[/red]: why" in output.err
    assert output.out == "The end.\n"
