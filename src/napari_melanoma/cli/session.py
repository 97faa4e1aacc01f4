"""The frame of every verb: Ctrl+C asks it to stop, its errors become a line and an exit code, it ends with one line."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

import typer

from napari_melanoma.cli.console import CommandReport, OutputClosed, create_report
from napari_melanoma.cli.option_errors import explain_by_options
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, InputError, MelanomaError, RunError, ScaleMissing
from napari_melanoma.core.locks import hold_output_lock
from napari_melanoma.core.paths import OutsidePaths, allow_outside_files
from napari_melanoma.io.photographs import accepting_damaged

FAILED, USAGE, INTERRUPTED, OUTPUT_CLOSED = 1, 2, 130, 141
USAGE_ERRORS = (BundleError, ConfigError, InputError, RunError, ScaleMissing)
SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last one is Windows' alone


@dataclass
class CommandSession:
    """One verb at work: whom it reports to, whether it may go on, and what a person does after a stop."""

    report: CommandReport
    run: RunContext
    after_stop: str = "Run the same command again to go on."
    _signal: list[int] = field(default_factory=list)
    resources: ExitStack = field(default_factory=ExitStack)

    def lock_folder(self, folder: Path) -> None:
        """Hold the lock of an output folder until the verb ends, so that no other process writes there meanwhile."""
        self.resources.enter_context(hold_output_lock(folder))

    def finish(self, text: str, *, some_failed: bool = False, **values: object) -> None:
        """Say the last line and, where some inputs failed, end with exit code 1."""
        code = FAILED if some_failed else 0
        self.report.finish("failed" if some_failed else "done", text, exit_code=code, **values)
        if some_failed:
            raise typer.Exit(code)

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """Ask the verb to stop; a second Ctrl+C does not wait for it."""
        if self.run.cancelled:
            raise KeyboardInterrupt
        self._signal.append(number)
        self.run.cancel()

    def finish_stopped(self) -> NoReturn:
        """Say the last line of a verb that was stopped, and end."""
        code = 128 + self._signal[0] if self._signal else INTERRUPTED
        last = self.report.last
        so_far = f" after {last.done} of {last.total}" if last and last.total else ""
        self.report.finish("stopped", f"Stopped{so_far}. {self.after_stop}", exit_code=code)
        raise typer.Exit(code)

    def finish_failed(self, error: Exception, code: int) -> NoReturn:
        """Say an error in one line, and end."""
        logging.getLogger(__name__).debug("%s", error, exc_info=error)
        text = (
            f"Error: {explain_by_options(error)}"
            if isinstance(error, MelanomaError)
            else f"Error: unexpected {_format_error(error)} (--debug shows where)"
        )
        self.report.finish("error", text, exit_code=code, error=type(error).__name__)
        raise typer.Exit(code) from None


@contextmanager
def command_session(
    as_json: bool, debug: bool, allow_outside: bool = False, accept_damaged: bool = False
) -> Iterator[CommandSession]:
    """Frame a verb.

    To report to, and to end with ``done``.
    """
    report = create_report(as_json)
    current = CommandSession(report, RunContext(report.progress))
    with _configure_logging(debug), _exit_when_output_closes(), accepting_damaged(accept_damaged):
        try:
            with (
                _handle_signals(current),
                current.resources,
                _report_outside_files(report) if allow_outside else nullcontext(),
            ):
                yield current
        except (Cancelled, KeyboardInterrupt):
            current.finish_stopped()
        except MelanomaError as error:
            current.finish_failed(error, USAGE if isinstance(error, USAGE_ERRORS) else FAILED)
        except (typer.Exit, OutputClosed):
            raise
        except Exception as error:  # noqa: BLE001 - the one place that hands any error to a person
            current.finish_failed(error, FAILED)


@contextmanager
def _report_outside_files(report: CommandReport) -> Iterator[None]:
    """Let data sets name files outside their folders, and tell once of each which those are."""
    told: set[str] = set()

    def tell(found: OutsidePaths) -> None:
        text = f"note: {found}; used because of --allow-outside"
        if text not in told:
            told.add(text)
            values = {"folder": str(found.folder), "count": found.count, "first": found.first}
            report.emit("outside", text, **values)

    with allow_outside_files(tell):
        yield


@contextmanager
def _exit_when_output_closes() -> Iterator[None]:
    """End in silence where the reader has gone, as programs in a pipe do."""
    try:
        yield
    except OutputClosed:
        raise typer.Exit(OUTPUT_CLOSED) from None


@contextmanager
def _configure_logging(debug: bool) -> Iterator[None]:
    """Show what the package logs, tracebacks included, where somebody looks for a fault; otherwise nothing."""
    log = logging.getLogger("napari_melanoma")
    handler = logging.StreamHandler(sys.stderr) if debug else logging.NullHandler()
    before, log.propagate = (log.level, log.propagate), False
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug else logging.CRITICAL)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


@contextmanager
def _handle_signals(current: CommandSession) -> Iterator[None]:
    """Let signals ask the verb to stop, for as long as it works."""
    before = {}
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None:
            before[number] = signal.signal(number, current.request_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _format_error(error: Exception) -> str:
    """Type and message of an error that nobody foresaw, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
