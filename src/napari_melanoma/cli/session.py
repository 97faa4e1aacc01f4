"""What all commands share while they run: cancellation, signals, logging, errors and exit codes.

A command with a parameter ``current`` runs inside ``command_session``, which ``cli.options`` opens for it; it writes
through ``CommandSession.report`` (``cli.output``) and ends with ``CommandSession.finish``.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer

from napari_melanoma.cli.output import CommandReport, JsonReport, OutputClosed, create_report, exit_when_output_closes
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import (
    BundleError,
    ConfigError,
    ConfigFault,
    InputError,
    MelanomaError,
    RunError,
    ScaleMissing,
)
from napari_melanoma.core.files import exceeded_path_limit, has_temporary_folder
from napari_melanoma.core.locks import hold_output_lock
from napari_melanoma.core.packages import explain_import_error
from napari_melanoma.core.paths import OutsidePaths, allow_outside_files

NO_TEMPORARY_FOLDER = "no temporary folder can be written. Set TMPDIR to a folder that you can write."
MAX_PATH_SHOWN = 60  # characters of a path that is too long
# Exit codes besides 0: some inputs failed, or an unexpected error; a wrong option or input; Ctrl+C (after a signal: 128
# plus its number). ``cli.output`` has that of a closed output.
FAILED, USAGE, INTERRUPTED = 1, 2, 130
USAGE_ERRORS = (BundleError, ConfigError, InputError, RunError, ScaleMissing)
SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK")  # SIGBREAK exists on Windows only


@dataclass
class CommandSession:
    """A running command: its report, its cancellation, and the advice shown after it was stopped."""

    report: CommandReport
    run: RunContext
    after_stop: str = "Run the same command again to continue."
    _signals: list[int] = field(default_factory=list)  # numbers of the signals received
    resources: ExitStack = field(default_factory=ExitStack)  # closed when the command ends

    @property
    def as_json(self) -> bool:
        """Whether the output is for programs."""
        return isinstance(self.report, JsonReport)

    def lock_folder(self, folder: Path) -> None:
        """Hold the lock of an output folder until the command ends, so that no other process writes there."""
        self.resources.enter_context(hold_output_lock(folder))

    def finish(self, text: str, *, some_failed: bool = False, **values: object) -> None:
        """Write the last line and, if some inputs failed, exit with code 1."""
        code = FAILED if some_failed else 0
        self.report.finish("failed" if some_failed else "done", text, exit_code=code, **values)
        if some_failed:
            raise typer.Exit(code)

    def report_notes(self, notes: Iterable[tuple[str, str]], kind: str = "note") -> None:
        """Write a line for each note; a note consists of its subject and a text."""
        for about, note in notes:
            self.report.emit(kind, f"{kind}: {about}: {note}", about=about, message=note)

    def report_failures(self, failures: Iterable[tuple[str, str]], kind: str = "image") -> None:
        """Write a line for each failure: the name of the input and the reason; ``kind``: key of the name in JSON."""
        for name, reason in failures:
            self.report.emit("failed", f"failed: {name}: {reason}", **{kind: name}, error=reason)

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """Cancel the command at its next check; a second signal ends it at once."""
        if self.run.cancelled:
            raise KeyboardInterrupt
        self._signals.append(number)
        self.run.cancel()

    def finish_stopped(self) -> NoReturn:
        """Write the last line of a stopped command, and exit."""
        code = 128 + self._signals[0] if self._signals else INTERRUPTED
        last = self.report.last
        progress = f" after {last.done} of {last.total}" if last and last.total else ""
        self.report.finish("stopped", f"Stopped{progress}. {self.after_stop}", exit_code=code)
        raise typer.Exit(code)

    def finish_failed(self, error: Exception, code: int) -> NoReturn:
        """Write an error as one line, and exit."""
        logging.getLogger(__name__).debug("%s", error, exc_info=error)
        text = (
            f"Error: {explain_by_options(error)}"
            if isinstance(error, MelanomaError)
            else f"Error: unexpected {type(error).__name__}: {' '.join(str(error).split())} (--debug shows where)"
        )
        self.report.finish("error", text, exit_code=code, error=type(error).__name__)
        raise typer.Exit(code) from None


def values_without(result: object, *names: str) -> dict[str, Any]:
    """Return the fields of a result, without those that are reported in another form."""
    return {name: value for name, value in vars(result).items() if name not in names}


@contextmanager
def command_session(
    as_json: bool,
    debug: bool,
    allow_outside: bool = False,
    accept_damaged: bool = False,
    backend: str | None = None,
    device: str | None = None,
) -> Iterator[CommandSession]:
    """Run a command with signal handling, logging and error handling; the block ends with ``finish``.

    The other arguments are the options ``--allow-outside``, ``--accept-damaged``, ``--backend`` and ``--device``.
    """
    from napari_melanoma.io.photographs import accepting_damaged
    from napari_melanoma.models.inference import using_backend

    report = create_report(as_json)
    current = CommandSession(report, RunContext(report.progress))
    with (
        _configure_logging(debug, report),
        exit_when_output_closes(),
        accepting_damaged(accept_damaged),
        using_backend(backend, device),
    ):
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
        except OSError as error:
            if not error.filename and not has_temporary_folder():
                current.finish_failed(InputError(NO_TEMPORARY_FOLDER), USAGE)
            limit = exceeded_path_limit(Path(str(error.filename)), error) if error.filename else ""
            if not limit:
                current.finish_failed(error, FAILED)
            start = str(error.filename)[:MAX_PATH_SHOWN]
            text = f"the path '{start}…' is too long for the file system. {limit} Specify a shorter path."
            current.finish_failed(InputError(text), USAGE)
        except ImportError as error:
            explained = explain_import_error(error)
            current.finish_failed(explained or error, USAGE if explained else FAILED)
        except Exception as error:  # noqa: BLE001 - the one place that reports any error to the user
            current.finish_failed(error, FAILED)


@contextmanager
def _report_outside_files(report: CommandReport) -> Iterator[None]:
    """Allow data sets to name files outside their folders, and report each folder once."""
    reported: set[str] = set()

    def report_once(outside: OutsidePaths) -> None:
        text = f"note: {outside}; used because of --allow-outside"
        if text not in reported:
            reported.add(text)
            values = {"folder": str(outside.folder), "count": outside.count, "first": outside.first}
            report.emit("outside", text, **values)

    with allow_outside_files(report_once):
        yield


class _WarningHandler(logging.Handler):
    """Reports each warning in the package's log once, such as a folder that cannot be read; no errors of programs."""

    def __init__(self, report: CommandReport) -> None:
        super().__init__()
        self._report, self._reported = report, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno == logging.WARNING and not record.exc_info and text not in self._reported:
            self._reported.add(text)
            self._report.emit("warning", f"Warning: {text}", message=text)


@contextmanager
def _configure_logging(debug: bool, report: CommandReport) -> Iterator[None]:
    """Show the package's log with tracebacks if debugging; otherwise only its warnings."""
    log = logging.getLogger("napari_melanoma")
    handler = logging.StreamHandler(sys.stderr) if debug else _WarningHandler(report)
    previous_level, previous_propagate = log.level, log.propagate
    log.propagate = False
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(previous_level)
        log.propagate = previous_propagate


def stop_signals() -> list[int]:
    """List the signals of this system that stop a command."""
    return [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]


@contextmanager
def _handle_signals(current: CommandSession) -> Iterator[None]:
    """Cancel the command on a signal while it runs."""
    previous = {number: signal.signal(number, current.request_stop) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def explain_by_options(error: MelanomaError) -> str:
    """Describe an error by the options of the current command if all wrong values were given as options.

    Otherwise return its own message.
    """
    if not isinstance(error, ConfigError) or not error.faults:
        return str(error)
    texts = [_format_fault(fault) for fault in error.faults]
    return str(error) if None in texts else f"{'; '.join(dict.fromkeys(filter(None, texts)))}."


def _format_fault(fault: ConfigFault) -> str | None:
    """Describe a fault by its option; None if it has no option, or if that option has another value."""
    option, option_value = _find_option(parameter_name(fault.key))
    option_items = option_value if isinstance(option_value, list | tuple) else ()
    if option and fault.found in (option_value, *option_items):
        value = f"{fault.found:g}" if isinstance(fault.found, float) else fault.found
        return f"{option} is {value}: {fault.expected.rstrip('.')}"
    return None


def parameter_name(key: str) -> str:
    """Return the parameter name for a key: ``roi.side_px`` becomes ``roi__side_px``; list indices are left out."""
    return "__".join(part for part in key.split(".") if not part.isdigit())


def _find_option(name: str) -> tuple[str, object]:
    """Return the long form of an option of the current command and its value; "" and None if there is no such option.

    ``name``: name of its parameter.
    """
    command_context = _current_context()
    for parameter in command_context.command.params if command_context else ():
        if parameter.name == name and parameter.opts:
            return max(parameter.opts, key=len), command_context.params.get(parameter.name)
    return "", None


def _current_context() -> Any:  # noqa: ANN401 - a class of click, of which newer versions of typer contain a copy
    """Return the context of the current command, or None."""
    click_package = typer.Context.__mro__[1].__module__.rpartition(".")[0]
    return import_module(f"{click_package}.globals").get_current_context(silent=True)
