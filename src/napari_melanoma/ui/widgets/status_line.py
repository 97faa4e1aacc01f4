"""The status line of a dock, its progress bar, and how errors are shown."""

from __future__ import annotations

import re
from typing import Literal

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import MelanomaError, describe_error
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, named, quiet_label, row, tool_button

SHOW_DELAY_MS = 200
NOT_CANCELLABLE = ("saving", "storing", "starting")  # are done in a moment, and as a whole
Task = Literal["analysing", "answering", "opening", "saving", "storing", "rating", "importing", "starting", "finding"]


class StatusLine(QWidget):
    """Says what is done and what was done, also where several things are; keeps its height, so that nothing jumps."""

    cancelled = Signal(str)
    link_activated = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._tasks: dict[Task, Progress] = {}
        self._message_task: Task | None = None  # whose sentence is shown; None where it is no task's
        self._label = named(WrappedLabel(), "status", "Status")
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._label.linkActivated.connect(self.link_activated)
        self._bar = named(QProgressBar(), "progress", "Progress")
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        self._cancel = tool_button("cancel", "Cancel", "Cancel (what is finished stays)")
        self._cancel.clicked.connect(self._on_cancel)
        icons.add(self._cancel, "playback-stop")
        self._running = row(self._bar, self._cancel, stretch=0)
        policy = self._running.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._running.setSizePolicy(policy)
        self._running.hide()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SHOW_DELAY_MS)
        self._timer.timeout.connect(self._running.show)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._label)
        layout.addWidget(self._running)
        layout.addWidget(
            named(quiet_label("Research use only. Not for diagnosis."), "notice_of_use", "Research use only")
        )

    @property
    def text(self) -> str:
        """The sentence as it is."""
        return str(self._label.text())

    def show_message(self, sentence: str) -> None:
        """Show a sentence."""
        self._message_task = None
        self._label.setText(sentence)

    def clear(self) -> None:
        """Remove a sentence about what is no longer in view; that of a task that runs stays."""
        if not self._tasks:
            self.show_message("")

    def begin(self, task: Task, sentence: str) -> None:
        """Show that something runs; the bar comes if it takes a moment."""
        self._tasks.pop(task, None)
        self._tasks[task] = Progress(0, None, sentence.removesuffix(" ..."))
        self._show()

    def progress(self, task: Task, progress: Progress) -> None:
        """Show how far it is."""
        if task in self._tasks:
            self._tasks[task] = progress
            self._show()

    def end(self, task: Task, sentence: str | None = None) -> None:
        """End a task; the bar goes on with another one that runs, or is hidden."""
        self._tasks.pop(task, None)
        told = self._message_task
        self._show()
        if sentence is not None:
            self.show_message(sentence)
        elif not self._tasks and told == task:
            self.show_message("")

    def _show(self) -> None:
        """Show the task that began last."""
        if not self._tasks:
            self._timer.stop()
            self._running.hide()
            return
        task, progress = list(self._tasks.items())[-1]
        self.show_message(f"{progress.message} ...")
        self._message_task = task
        total = progress.total or 0
        self._bar.setRange(0, total if total > 1 else 0)
        self._bar.setValue(progress.done)
        self._cancel.setEnabled(task not in NOT_CANCELLABLE)
        if self._running.isHidden() and not self._timer.isActive():
            self._timer.start()

    def _on_cancel(self) -> None:
        if self._tasks:
            self.cancelled.emit(list(self._tasks)[-1])


OPTION_PATTERN = re.compile(r" \(command line: [^()]*\)")


def remove_option_hints(text: str) -> str:
    """Leave out what a text says of the command line."""
    return OPTION_PATTERN.sub("", text)


def show_failure(status: StatusLine, error: Exception) -> None:
    """Show an error of a dock."""
    from napari.utils import notifications

    status.show_message(remove_option_hints(describe_error(error)))
    if isinstance(error, MelanomaError):
        notifications.show_error(remove_option_hints(str(error)))
    else:
        notifications.notification_manager.dispatch(notifications.ErrorNotification(error))
