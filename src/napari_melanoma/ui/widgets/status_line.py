"""The status line of a dock with its progress bar, and the display of errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QApplication, QProgressBar, QWidget

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import MelanomaError, describe_error
from napari_melanoma.core.formatting import capitalize, to_sentence
from napari_melanoma.ui.widgets.about import show_about
from napari_melanoma.ui.widgets.job import BackgroundJob, JobFunction, run_job
from napari_melanoma.ui.widgets.style import (
    ThemedIcons,
    WrappedLabel,
    fill_column,
    named,
    quiet_label,
    reserve_space,
    row,
    tool_button,
)

CANCELED = "Canceled."
NOTICE_OF_USE = "Research use only. Not for diagnosis."
SHOW_DELAY_MS = 200
MESSAGE_LINES, BAR_PX = 2, 4
BRIEF_MS = 10_000  # time for which a brief message is shown
NOT_CANCELLABLE = ("saving", "storing", "starting", "loading")  # short tasks that must not be interrupted
ACTS = QEvent.Type.MouseButtonPress, QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress, QEvent.Type.Drop
OPTION_PATTERN = re.compile(r" \((Python: .*?)?command line: [^()]*\)")


class _MessageEnd(QObject):
    """Ends a message when one of its events occurs; deleting it disconnects it, also from objects that are deleted."""

    def __init__(self, status: StatusLine, events: tuple[Any, ...]) -> None:
        super().__init__(status)
        self._status = status
        for event in events:
            event.connect(self.on_event)

    def on_event(self, *_: object) -> None:
        """Clear the message, unless another one has followed."""
        self._status.end_until(self)


class _ActWatch(QObject):
    """Notices the next press of a key or a mouse button, or a drop, except on some widgets."""

    acted = Signal()

    def __init__(self, status: StatusLine) -> None:
        super().__init__(status)
        self._status = status
        self._is_on = False
        self._start = QTimer(self)
        self._start.setSingleShot(True)
        self._start.timeout.connect(lambda: self._install(True))

    def watch(self, on: bool) -> None:
        """Watch all events of the application after the current one, which may have caused the error, or stop it."""
        if on:
            self._start.start(0)
        else:
            self._start.stop()
            self._install(False)

    def _install(self, on: bool) -> None:
        application = QApplication.instance()
        if application is not None and on != self._is_on:
            self._is_on = on
            (application.installEventFilter if on else application.removeEventFilter)(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Notice an act; presses on the message itself, to select it or to follow its link, do not count."""
        if event.type() in ACTS and isinstance(watched, QWidget):
            shown_in = (self._status, *self._status.repeaters)
            if not any(isalive(one) and (one is watched or one.isAncestorOf(watched)) for one in shown_in):
                self.acted.emit()
        return False


class StatusLine(QWidget):
    """Shows running tasks, the last message and the last error; its height is constant: the layout does not jump.

    An error covers all messages until the user acts, or its task runs again. ``cancel_button`` is enabled while a
    task can be canceled. ``is_wide``: all in one row, for a dock below the image. ``notice``: of use, in ``last_row``
    unless the dock places it elsewhere.
    """

    cancelled = Signal(str)
    link_activated = Signal(str)
    message_changed = Signal(str)

    def __init__(self, icons: ThemedIcons, *, is_wide: bool = False) -> None:
        super().__init__()
        self._tasks: dict[str, Progress] = {}
        self._jobs: dict[str, BackgroundJob] = {}  # of ``run``, by task
        self.repeaters: list[QWidget] = []  # widgets that repeat the message while the dock is hidden
        self._message_task: str | None = None  # the task whose message is shown; None for other messages
        self._message = self._error = ""  # the message waits while there is an error
        self._end: _MessageEnd | None = None  # of a message that ends with an event
        self._error_end: _MessageEnd | None = None
        self._error_task = ""
        self._acts = _ActWatch(self)
        self._acts.acted.connect(self._on_act)
        self._label = named(WrappedLabel(lines=1 if is_wide else MESSAGE_LINES), "status", "Status")
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._label.linkActivated.connect(self.link_activated)
        self._bar = named(QProgressBar(), "progress", "Progress")
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(BAR_PX)
        reserve_space(self._bar)
        self._bar.hide()
        self.cancel_button = tool_button("cancel", "Cancel", "Cancel (completed results are kept)")
        self.cancel_button.setEnabled(False)
        self.cancel_button.clicked.connect(self._on_cancel)
        icons.add(self.cancel_button, "playback-stop")
        reserve_space(self.cancel_button)
        self.cancel_button.hide()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SHOW_DELAY_MS)
        self._timer.timeout.connect(lambda: self._show_running(True))
        self._brief_timer = QTimer(self)
        self._brief_timer.setSingleShot(True)
        self._brief_timer.setInterval(BRIEF_MS)
        self._brief_timer.timeout.connect(lambda: self.show_message(""))
        self._note_timer = QTimer(self)  # runs while a note was just shown
        self._note_timer.setSingleShot(True)
        self._note_timer.setInterval(BRIEF_MS)
        self.notice = named(quiet_label(NOTICE_OF_USE), "notice_of_use", "Research use only")
        self.notice.linkActivated.connect(self._show_about)
        self._icons = icons
        icons.changed.connect(self._update_notice)
        if is_wide:
            self.notice.setWordWrap(False)
            self.last_row = row(self._label, self.cancel_button, self.notice, stretch=0)
            fill_column(self, self._bar, self.last_row, spacing=2)
        else:
            self.last_row = row(self.notice, self.cancel_button, stretch=0)
            fill_column(self, self._bar, self._label, self.last_row, spacing=2)

    def _update_notice(self) -> None:
        self.notice.setText(f"{NOTICE_OF_USE} {self._icons.link('about', 'About')}")

    def _show_about(self, link: str) -> None:
        show_about(self.window(), self._icons.palette.link)

    @property
    def text(self) -> str:
        """The message or the error that is shown."""
        return self._error or self._message

    @property
    def has_error(self) -> bool:
        """Whether what is shown is an error."""
        return bool(self._error)

    @property
    def is_in_view(self) -> bool:
        """Whether the message can be read: here, or in a widget that repeats it."""
        return any(isalive(widget) and widget.isVisible() for widget in (self, *self.repeaters))

    @property
    def is_busy(self) -> bool:
        return bool(self._tasks)

    def show_message(self, message: str) -> None:
        """Show a message until there is another one; it waits while an error is shown."""
        self._set_message(message, None)
        self._show_text()

    def add_note(self, note: str) -> None:
        """Show a note, such as the name of a backup, before one that was shown just now, which it would replace."""
        earlier = self._message if self._note_timer.isActive() else ""
        self.show_message(" ".join(map(to_sentence, (note, earlier))) if earlier else note)
        self._note_timer.start()

    def _set_message(self, message: str, end: _MessageEnd | None) -> None:
        self._brief_timer.stop()
        self._note_timer.stop()
        if self._end is not None:
            self._end.deleteLater()
        self._message, self._end, self._message_task = message, end, None

    def _show_text(self) -> None:
        self._label.setText(self.text)
        self.message_changed.emit(self.text)

    def show_error(self, message: str, *events: Any, task: str = "") -> None:  # noqa: ANN401 - bound Qt signals
        """Show an error until the user acts, one of the signals is emitted, or its task begins again.

        After the user has acted, the last message that has waited is shown, or the error until the next message.
        """
        self._end_error()
        self._set_message("", None)
        self._error, self._error_task = message, task
        self._error_end = _MessageEnd(self, events) if events else None
        self._acts.watch(bool(message))
        self._show_text()

    def _end_error(self) -> None:
        if self._error_end is not None:
            self._error_end.deleteLater()
        self._error, self._error_end, self._error_task = "", None, ""
        self._acts.watch(False)

    def _on_act(self) -> None:
        if not self._message:
            self._set_message(self._error, self._error_end)
            self._error_end = None
        self._end_error()
        self._show_text()

    def show_briefly(self, message: str) -> None:
        """Show a message that soon no longer applies, such as what has come into view or which step was undone."""
        self.show_message(message)
        self._brief_timer.start()

    def show_until(self, message: str, *events: Any) -> None:  # noqa: ANN401 - bound Qt signals
        """Show a message until one of the signals is emitted, after which it would no longer apply."""
        self._set_message(message, _MessageEnd(self, events) if events else None)
        self._show_text()

    def end_until(self, end: QObject) -> None:
        """Clear the message or the error if ``end`` is its end."""
        if end is self._error_end and isalive(self):
            self._end_error()
            self._show_text()
        elif end is self._end and isalive(self):
            self.show_message("")

    def end_message(self, message: str) -> None:
        """Clear a message that no longer applies, such as the hint on a tool, unless another one has followed."""
        if message and message == self._error:
            self._end_error()
            self._show_text()
        elif message and message == self._message:
            self.show_message("")

    def clear(self) -> None:
        """Clear the message, unless a task is running."""
        if not self._tasks:
            self.show_message("")

    def begin(self, task: str, message: str) -> None:
        """Show that a task is running; the progress bar appears after a delay."""
        if task == self._error_task:
            self._end_error()
        self._tasks.pop(task, None)
        self._tasks[task] = Progress(0, None, message.removesuffix(" ..."))
        self._show()

    def progress(self, task: str, progress: Progress) -> None:
        if task in self._tasks:
            self._tasks[task] = progress
            self._show()

    def end(self, task: str, message: str | None = None) -> None:
        """End a task; the progress bar shows another running task, or is hidden."""
        self._tasks.pop(task, None)
        message_task = self._message_task
        self._show()
        if message is not None:
            self.show_message(message)
        elif not self._tasks and message_task == task:
            self.show_message("")

    def run(self, owner: QObject, message: str, work: JobFunction, done: Callable[[Any], object]) -> BackgroundJob:
        """Show that a function runs in a thread, its progress and its error, until its owner is deleted.

        Cancel stops it, and so does another one of the owner with the same message. ``done``: called with the result.
        """
        job = run_job(owner, message, work, done, partial(show_failure, self, task=message))
        task = f"{message} {id(job)}"
        if message == self._error_task:
            self._end_error()

        def finish() -> None:
            if isalive(self) and self._jobs.pop(task, None) is not None:
                self.end(task)

        self._jobs[task] = job
        self.begin(task, message)
        job.progressed.connect(partial(self.progress, task))
        for ended in (job.finished, job.canceled):
            ended.connect(finish)
        return job

    def _show(self) -> None:
        """Show the task that was started last."""
        if not self._tasks:
            self._timer.stop()
            self._show_running(False)
            self.cancel_button.setEnabled(False)
            return
        task, progress = list(self._tasks.items())[-1]
        self.show_message(f"{progress.message} ...")
        self._message_task = task
        total = progress.total or 0
        self._bar.setRange(0, total if total > 1 else 0)
        self._bar.setValue(progress.done)
        self.cancel_button.setEnabled(task not in NOT_CANCELLABLE)
        if self._bar.isHidden() and not self._timer.isActive():
            self._timer.start()

    def _show_running(self, is_shown: bool) -> None:
        for part in (self._bar, self.cancel_button):
            part.setVisible(is_shown)

    def _on_cancel(self) -> None:
        if not self._tasks:
            return
        task = list(self._tasks)[-1]
        if (job := self._jobs.get(task)) is None:
            self.cancelled.emit(task)
        else:
            job.cancel()
            self.end(task, CANCELED)


def remove_option_hints(text: str) -> str:
    """Remove hints about command-line options from a message."""
    return OPTION_PATTERN.sub("", text)


def describe_failure(error: Exception) -> str:
    """Return the message of an error for a dock."""
    return capitalize(remove_option_hints(describe_error(error)))


def show_outcome(status: StatusLine, action: Callable[[], str], *events: Any) -> None:  # noqa: ANN401 - bound signals
    """Show the message that an action returns, or, until one of the events, why it failed."""
    try:
        status.show_message(action())
    except MelanomaError as error:
        show_failure(status, error, *events)


def show_failure(
    status: StatusLine,
    error: Exception,
    *events: Any,  # noqa: ANN401 - bound Qt signals
    task: str = "",
) -> None:
    """Show an error once: in the status line, or as a napari notification if that is not in view.

    An unexpected one is always a notification, too, which offers its traceback. ``events``, ``task``: that end the
    message (``StatusLine.show_error``).
    """
    from napari.utils import notifications

    message = describe_failure(error)
    status.show_error(message, *events, task=task)
    if not isinstance(error, MelanomaError):
        notifications.notification_manager.dispatch(notifications.ErrorNotification(error))
    elif not status.is_in_view:
        notifications.show_error(message)
