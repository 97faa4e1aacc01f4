"""The output of commands: lines and a progress bar for users, JSON lines for programs, and a pipe that was closed."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer

from napari_melanoma.core.context import Milestone, ParallelProgress, Progress
from napari_melanoma.core.files import replace_non_finite
from napari_melanoma.core.formatting import format_duration

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


LOG_EVERY_S = 10.0
OUTPUT_CLOSED = 141  # exit code if the reader of the output has ended


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
        return JsonReport()
    return _TerminalReport() if sys.stderr.isatty() else _LogReport()


class JsonReport:
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


@contextmanager
def exit_when_output_closes() -> Iterator[None]:
    """Exit silently when the reader of the output has ended, as programs in a pipe do."""
    try:
        yield
    except OutputClosed:
        raise typer.Exit(OUTPUT_CLOSED) from None
