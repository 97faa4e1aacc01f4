"""The frame of every command: signals, logging, errors as one line and an exit code, and the last line."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from napari_melanoma.cli.console import CommandReport, OutputClosed, create_report
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, InputError, MelanomaError, RunError, ScaleMissing
from napari_melanoma.core.locks import hold_output_lock
from napari_melanoma.core.paths import OutsidePaths, allow_outside_files
from napari_melanoma.io.photographs import accepting_damaged

if TYPE_CHECKING:
    from napari_melanoma.core.errors import ConfigFault, MelanomaError

FAILED, USAGE, INTERRUPTED, OUTPUT_CLOSED = 1, 2, 130, 141
USAGE_ERRORS = (BundleError, ConfigError, InputError, RunError, ScaleMissing)
SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last one is Windows' alone
UNITS = ("_um", "_px", "_mm")  # suffixes of field names that option names lack
OPTION_NAMES = {"classify.model": "classifier", "measured": "images"}  # fields whose option has another name


@dataclass
class CommandSession:
    """A running command: its report, its cancellation, and the advice shown after it was stopped."""

    report: CommandReport
    run: RunContext
    after_stop: str = "Run the same command again to continue."
    _signal: list[int] = field(default_factory=list)
    resources: ExitStack = field(default_factory=ExitStack)

    def lock_folder(self, folder: Path) -> None:
        """Hold the lock of an output folder until the command ends, so that no other process writes there."""
        self.resources.enter_context(hold_output_lock(folder))

    def finish(self, text: str, *, some_failed: bool = False, **values: object) -> None:
        """Write the last line and, if some inputs failed, exit with code 1."""
        code = FAILED if some_failed else 0
        self.report.finish("failed" if some_failed else "done", text, exit_code=code, **values)
        if some_failed:
            raise typer.Exit(code)

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """Cancel the command; a second Ctrl+C does not wait for it."""
        if self.run.cancelled:
            raise KeyboardInterrupt
        self._signal.append(number)
        self.run.cancel()

    def finish_stopped(self) -> NoReturn:
        """Write the last line of a stopped command, and exit."""
        code = 128 + self._signal[0] if self._signal else INTERRUPTED
        last = self.report.last
        so_far = f" after {last.done} of {last.total}" if last and last.total else ""
        self.report.finish("stopped", f"Stopped{so_far}. {self.after_stop}", exit_code=code)
        raise typer.Exit(code)

    def finish_failed(self, error: Exception, code: int) -> NoReturn:
        """Write an error as one line, and exit."""
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
    """Run a command with signals, logging and error handling; end it with ``CommandSession.finish``."""
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
        except Exception as error:  # noqa: BLE001 - the one place that reports any error to the user
            current.finish_failed(error, FAILED)


@contextmanager
def _report_outside_files(report: CommandReport) -> Iterator[None]:
    """Allow data sets to name files outside their folders, and report each folder once."""
    reported: set[str] = set()

    def report_once(found: OutsidePaths) -> None:
        text = f"note: {found}; used because of --allow-outside"
        if text not in reported:
            reported.add(text)
            values = {"folder": str(found.folder), "count": found.count, "first": found.first}
            report.emit("outside", text, **values)

    with allow_outside_files(report_once):
        yield


@contextmanager
def _exit_when_output_closes() -> Iterator[None]:
    """Exit silently when the reader of the output has ended, as programs in a pipe do."""
    try:
        yield
    except OutputClosed:
        raise typer.Exit(OUTPUT_CLOSED) from None


@contextmanager
def _configure_logging(debug: bool) -> Iterator[None]:
    """Show the package's log with tracebacks if debugging; otherwise show nothing."""
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
    """Cancel the command on a signal while it runs."""
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
    """Format the type and message of an unexpected error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def explain_by_options(error: MelanomaError) -> str:
    """Describe an error by the options of the current command, if all wrong values were given as options."""
    if not isinstance(error, ConfigError) or not error.faults:
        return str(error)
    texts = [_format_fault(fault) for fault in error.faults]
    return str(error) if None in texts else f"{'; '.join(dict.fromkeys(filter(None, texts)))}."


def _format_fault(fault: ConfigFault) -> str | None:
    """Describe a fault by its option; None if it has no option, or if that option has another value."""
    for name in _option_names(fault.key):
        option, given = _find_option(name)
        if option and fault.found in (given, *(given if isinstance(given, list | tuple) else ())):
            found = f"{fault.found:g}" if isinstance(fault.found, float) else fault.found
            return f"{option} is {found}: {fault.expected.rstrip('.')}"
    return None


def _option_names(key: str) -> Iterator[str]:
    """Yield the names that an option for a field may have."""
    parts = [part for part in key.split(".") if not part.isdigit()]
    if key in OPTION_NAMES:
        yield OPTION_NAMES[key]
    for name in parts[-1:]:
        yield name
        yield from (name.removesuffix(unit) for unit in UNITS if name.endswith(unit))


def _find_option(name: str) -> tuple[str, object]:
    """Return an option of the current command as typed, and its value; "" and None if there is no such option."""
    context = _current_context()
    for parameter in context.command.params if context else ():
        if parameter.name.rstrip("_") == name and parameter.opts:  # as in format_, because format is a Python built-in
            return max(parameter.opts, key=len), context.params.get(parameter.name)
    return "", None


def _current_context() -> Any:  # noqa: ANN401 - of click, or of the copy of it in newer versions of typer
    """Return the context of the current command, or None."""
    click_package = typer.Context.__mro__[1].__module__.rpartition(".")[0]
    return import_module(f"{click_package}.globals").get_current_context(silent=True)
