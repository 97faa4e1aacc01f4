"""How commands end: the last line and the exit code, after an error, a signal or a cancellation."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal

import pytest
import typer

from napari_melanoma.cli.session import command_session
from napari_melanoma.core.context import Cancelled, Progress
from napari_melanoma.core.errors import ConfigError, MelanomaError, SaveError
from napari_melanoma.models.inference import BACKEND_VARIABLE, DEVICE_VARIABLE


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


def test_back_end_and_device_are_forced_until_the_command_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    monkeypatch.setenv(DEVICE_VARIABLE, "mps")
    with command_session(False, False, backend="torch", device="cpu") as current:
        assert (os.environ[BACKEND_VARIABLE], os.environ[DEVICE_VARIABLE]) == ("torch", "cpu")
        current.finish("Done.")
    assert BACKEND_VARIABLE not in os.environ
    assert os.environ[DEVICE_VARIABLE] == "mps"


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


def test_warnings_in_the_log_are_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise slides of a folder that cannot be read would be left out without a word."""
    with command_session(as_json=False, debug=False):
        for _ in range(2):
            logging.getLogger("napari_melanoma.slides").warning("The folder %s cannot be read.", "a")
        logging.getLogger("napari_melanoma.slides").warning("a program failed", exc_info=True)
        logging.getLogger("napari_melanoma.slides").info("a detail")
    assert capsys.readouterr().err == "Warning: The folder a cannot be read.\n"


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
