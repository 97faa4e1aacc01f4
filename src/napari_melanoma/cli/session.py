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

from napari_melanoma.cli.naming import in_options
from napari_melanoma.cli.reports import NobodyReads, Report, choose_report
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, InputError, MelanomaError, RunError, ScaleMissing
from napari_melanoma.core.ownership import output
from napari_melanoma.core.paths import Outside, outside_allowed
from napari_melanoma.io.photographs import accepting_damaged

FAILED, USAGE, INTERRUPTED, UNREAD = 1, 2, 130, 141
USAGE_ERRORS = (BundleError, ConfigError, InputError, RunError, ScaleMissing)
SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last one is Windows' alone


@dataclass
class Session:
    """One verb at work: whom it reports to, whether it may go on, and what a person does after a stop."""

    report: Report
    run: RunContext
    after_stop: str = "Run the same command again to go on."
    _signal: list[int] = field(default_factory=list)
    held: ExitStack = field(default_factory=ExitStack)

    def own(self, folder: Path) -> None:
        """Hold the lock of an output folder until the verb ends, so that no other process writes there meanwhile."""
        self.held.enter_context(output(folder))

    def done(self, text: str, *, some_failed: bool = False, **values: object) -> None:
        """Say the last line and, where some inputs failed, end with exit code 1."""
        code = FAILED if some_failed else 0
        self.report.finish("failed" if some_failed else "done", text, exit_code=code, **values)
        if some_failed:
            raise typer.Exit(code)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Ask the verb to stop; a second Ctrl+C does not wait for it."""
        if self.run.cancelled:
            raise KeyboardInterrupt
        self._signal.append(number)
        self.run.cancel()

    def stopped(self) -> NoReturn:
        """Say the last line of a verb that was stopped, and end."""
        code = 128 + self._signal[0] if self._signal else INTERRUPTED
        last = self.report.last
        so_far = f" after {last.done} of {last.total}" if last and last.total else ""
        self.report.finish("stopped", f"Stopped{so_far}. {self.after_stop}", exit_code=code)
        raise typer.Exit(code)

    def failed(self, error: Exception, code: int) -> NoReturn:
        """Say an error in one line, and end."""
        logging.getLogger(__name__).debug("%s", error, exc_info=error)
        text = (
            f"Error: {in_options(error)}"
            if isinstance(error, MelanomaError)
            else f"Error: unexpected {_one_line(error)} (--debug shows where)"
        )
        self.report.finish("error", text, exit_code=code, error=type(error).__name__)
        raise typer.Exit(code) from None


@contextmanager
def session(as_json: bool, debug: bool, allow_outside: bool = False, accept_damaged: bool = False) -> Iterator[Session]:
    """Frame a verb.

    To report to, and to end with ``done``.
    """
    report = choose_report(as_json)
    current = Session(report, RunContext(report.progress))
    with _logged(debug), _until_nobody_reads(), accepting_damaged(accept_damaged):
        try:
            with _signals(current), current.held, _outside(report) if allow_outside else nullcontext():
                yield current
        except (Cancelled, KeyboardInterrupt):
            current.stopped()
        except MelanomaError as error:
            current.failed(error, USAGE if isinstance(error, USAGE_ERRORS) else FAILED)
        except (typer.Exit, NobodyReads):
            raise
        except Exception as error:  # noqa: BLE001 - the one place that hands any error to a person
            current.failed(error, FAILED)


@contextmanager
def _outside(report: Report) -> Iterator[None]:
    """Let data sets name files outside their folders, and tell once of each which those are."""
    told: set[str] = set()

    def tell(found: Outside) -> None:
        text = f"note: {found}; used because of --allow-outside"
        if text not in told:
            told.add(text)
            values = {"folder": str(found.folder), "count": found.count, "first": found.first}
            report.tell("outside", text, **values)

    with outside_allowed(tell):
        yield


@contextmanager
def _until_nobody_reads() -> Iterator[None]:
    """End in silence where the reader has gone, as programs in a pipe do."""
    try:
        yield
    except NobodyReads:
        raise typer.Exit(UNREAD) from None


@contextmanager
def _logged(debug: bool) -> Iterator[None]:
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
def _signals(current: Session) -> Iterator[None]:
    """Let signals ask the verb to stop, for as long as it works."""
    before = {}
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None:
            before[number] = signal.signal(number, current.stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _one_line(error: Exception) -> str:
    """Type and message of an error that nobody foresaw, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
