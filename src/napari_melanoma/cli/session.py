"""What all commands share while they run: their output, progress, signals, logging, errors and exit codes.

A command with a parameter ``current`` runs inside ``command_session``, which ``cli.options`` opens for it; it writes
through ``CommandSession.report`` and ends with ``CommandSession.finish``.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import typer

from napari_melanoma.core.context import Cancelled, Milestone, ParallelProgress, Progress, RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, InputError, MelanomaError, RunError, ScaleMissing
from napari_melanoma.core.files import exceeded_path_limit, replace_non_finite
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.locks import hold_output_lock
from napari_melanoma.core.paths import OutsidePaths, allow_outside_files
from napari_melanoma.io.photographs import accepting_damaged

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from napari_melanoma.core.errors import ConfigFault


LOG_EVERY_S = 10.0
MAX_PATH_SHOWN = 60  # characters of a path that is too long


class OutputClosed(Exception):  # noqa: N818 - not an error: the reader of the pipe, such as head, has read enough
    """The program that reads the output has ended."""


class CommandReport(Protocol):
    """Output of a command while it runs and at its end; ``text`` is for users, ``values`` for programs.

    ``last``: the last progress reported.
    """

    last: Progress | None

    def progress(self, progress: Progress) -> None:
        """Report progress."""

    def emit(self, kind: str, text: str, **values: object) -> None:
        """Report one event, such as a photograph that failed."""

    def emit_item(self, kind: str, text: str, **values: object) -> None:
        """Report one item that the user requested, such as a model of a list."""

    def finish(self, status: str, text: str, **values: object) -> None:
        """Write the last line; ``status``: ``done``, ``failed`` (some inputs), ``stopped`` or ``error``."""


def create_report(as_json: bool) -> CommandReport:
    """Return a report that writes JSON lines if requested, a progress bar on a terminal, plain lines otherwise."""
    if as_json:
        return _JsonReport()
    return _TerminalReport() if sys.stderr.isatty() else _LogReport()


class _JsonReport:
    """One JSON object a line on standard output; the last one has ``"event": "summary"``."""

    def __init__(self) -> None:
        self.last: Progress | None = None

    def progress(self, progress: Progress) -> None:
        """Write a progress line."""
        self.last = progress
        parts = {"parts": [vars(part) for part in progress.parts]} if isinstance(progress, ParallelProgress) else {}
        self._write("progress", done=progress.done, total=progress.total, message=progress.message, **parts)

    def emit(self, kind: str, text: str, **values: object) -> None:
        """Write a line of this kind."""
        self._write(kind, **values)

    def emit_item(self, kind: str, text: str, **values: object) -> None:
        """Write a line of this kind."""
        self._write(kind, **values)

    def finish(self, status: str, text: str, **values: object) -> None:
        """Write the summary, and an error also to standard error."""
        if status == "error":
            write_line(text, error=True)
        self._write("summary", status=status, message=text, **values)

    def _write(self, event: str, **values: Any) -> None:  # noqa: ANN401 - any JSON value
        write_line(json.dumps(replace_non_finite({"event": event, **values}), default=str))


class _LogReport:
    """Plain lines: requested items on standard output, progress and other events on standard error."""

    def __init__(self) -> None:
        self.last: Progress | None = None
        self._first: tuple[float, int] | None = None  # time and number of steps at the first report of a phase
        self._last_line_time = -LOG_EVERY_S

    def progress(self, progress: Progress) -> None:
        """Write a line every ten seconds, at the end, and for each milestone."""
        now = time.monotonic()
        if self._first is None or self.last is None or progress.total != self.last.total:  # a new phase
            self._first = (now, progress.done)
        self.last = progress
        is_due = isinstance(progress, Milestone) or progress.done == progress.total
        if is_due or now - self._last_line_time >= LOG_EVERY_S:
            self._last_line_time = now
            state = f"{_format_done(progress)}{_format_time_left(progress, now, self._first)}"
            write_line(f"{state}  {progress.message}".strip(), error=True)

    def emit(self, kind: str, text: str, **values: object) -> None:
        """Write a line if there is text."""
        if text:
            write_line(text, error=True)

    def emit_item(self, kind: str, text: str, **values: object) -> None:
        """Write a line to standard output."""
        write_line(text)

    def finish(self, status: str, text: str, **values: object) -> None:
        """Write the last line; an error goes to standard error."""
        write_line(text, error=status == "error")


class _TerminalReport(_LogReport):
    """A progress bar at the bottom of the terminal, with lines above it."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None  # the bar of the total
        self._parts: list[TaskID] = []  # the bars of parallel parts, each with the title of the part that it shows
        self._titles: list[str] = []

    def progress(self, progress: Progress) -> None:
        """Update the bar, which appears with the first report."""
        self.last = progress
        if self._bar is None or self._task is None:
            self._bar = _create_bar()
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        if isinstance(progress, Milestone):
            self.emit("milestone", progress.message)
        parts = progress.parts if isinstance(progress, ParallelProgress) else ()
        description = progress.message.partition(":")[0] if parts else progress.message  # each part has its own bar
        self._bar.update(self._task, completed=progress.done, total=progress.total, description=description)
        self._update_parts(self._bar, parts)

    def _update_parts(self, bar: RichProgress, parts: Sequence[Progress]) -> None:
        """Update the bars of parallel parts, below the bar of the total."""
        while len(self._parts) < len(parts):
            self._parts.append(bar.add_task("", total=None))
            self._titles.append("")
        for number, task in enumerate(self._parts):
            is_visible = number < len(parts)
            bar.update(task, visible=is_visible)
            if is_visible:
                part, title = parts[number], parts[number].message.partition(":")[0]
                if title != self._titles[number]:
                    bar.reset(task)  # a new part in this row: its time starts at zero
                    self._titles[number] = title
                bar.update(task, completed=part.done, total=part.total, description=part.message)

    def emit(self, kind: str, text: str, **values: object) -> None:
        """Write a line above the bar."""
        if self._bar is None:
            super().emit(kind, text)
        elif text:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def finish(self, status: str, text: str, **values: object) -> None:
        """Remove the bar and write the last line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        super().finish(status, text)


def write_line(text: str, *, error: bool = False) -> None:
    """Write a line and flush it."""
    name = "stderr" if error else "stdout"
    stream = getattr(sys, name)
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)  # a file name may not be valid UTF-8
        stream.write(f"{text}\n")
        stream.flush()
    except OSError as write_error:
        is_closed_on_windows = sys.platform == "win32" and write_error.errno == errno.EINVAL
        if not (isinstance(write_error, BrokenPipeError) or is_closed_on_windows):
            raise
        # Data left in the stream would fail again, with a message, when the interpreter ends.
        setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - until the process ends
        raise OutputClosed from None


def _create_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    return RichProgress(*columns, console=Console(stderr=True), transient=True)


def _format_done(progress: Progress) -> str:
    """Format ``12/100``, or ``12`` if the total is unknown; empty before the first item is done."""
    if not progress.done:
        return ""
    return f"{progress.done}" if progress.total is None else f"{progress.done}/{progress.total}"


def _format_time_left(progress: Progress, now: float, first: tuple[float, int]) -> str:
    """Estimate the remaining time from the progress since the first report, so that loading a model does not count.

    ``first``: time and number of steps at that report.
    """
    start_time, start_count = first
    if progress.total is None or not start_count < progress.done < progress.total:
        return ""
    seconds = (now - start_time) * (progress.total - progress.done) / (progress.done - start_count)
    return f", {format_duration(seconds)} left"


# Exit codes besides 0: some inputs failed, or an unexpected error; a wrong option or input; Ctrl+C (after a signal: 128
# plus its number); the reader of the output has ended.
FAILED, USAGE, INTERRUPTED, OUTPUT_CLOSED = 1, 2, 130, 141
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
        return isinstance(self.report, _JsonReport)

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
            else f"Error: unexpected {_format_error(error)} (--debug shows where)"
        )
        self.report.finish("error", text, exit_code=code, error=type(error).__name__)
        raise typer.Exit(code) from None


def values_without(result: object, *names: str) -> dict[str, Any]:
    """Return the fields of a result, without those that are reported in another form."""
    return {name: value for name, value in vars(result).items() if name not in names}


@contextmanager
def command_session(
    as_json: bool, debug: bool, allow_outside: bool = False, accept_damaged: bool = False
) -> Iterator[CommandSession]:
    """Run a command with signal handling, logging and error handling; the block ends with ``finish``.

    ``allow_outside`` and ``accept_damaged``: the options ``--allow-outside`` and ``--accept-damaged``.
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
        except OSError as error:
            limit = exceeded_path_limit(Path(str(error.filename)), error) if error.filename else ""
            if not limit:
                current.finish_failed(error, FAILED)
            start = str(error.filename)[:MAX_PATH_SHOWN]
            text = f"the path '{start}…' is too long for the file system. {limit} Specify a shorter path."
            current.finish_failed(InputError(text), USAGE)
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
    previous_level, previous_propagate = log.level, log.propagate
    log.propagate = False
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug else logging.CRITICAL)
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


def _format_error(error: Exception) -> str:
    """Format the type and message of an unexpected error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


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
