"""The status line of a dock, its progress bar, and how errors are shown."""

from __future__ import annotations

import re
from typing import Literal

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import MelanomaError, in_words
from napari_melanoma.ui.widgets.look import ThemedIcons, Words, named, quiet, row, tool

SHOWN_AFTER_MS = 200
AT_ONCE = ("saving", "storing", "starting")  # are done in a moment, and as a whole
Task = Literal["analysing", "answering", "opening", "saving", "storing", "rating", "importing", "starting", "finding"]


class StatusLine(QWidget):
    """Says what is done and what was done, also where several things are; keeps its height, so that nothing jumps."""

    cancelled = Signal(str)
    followed = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._tasks: dict[Task, Progress] = {}
        self._told: Task | None = None  # whose sentence is shown; None where it is no task's
        self._sentence = named(Words(), "status", "Status")
        self._sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._sentence.linkActivated.connect(self.followed)
        self._bar = named(QProgressBar(), "progress", "Progress")
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        self._cancel = tool("cancel", "Cancel", "Cancel (what is finished stays)")
        self._cancel.clicked.connect(self._on_cancel)
        icons.add(self._cancel, "playback-stop")
        self._running = row(self._bar, self._cancel, stretch=0)
        policy = self._running.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._running.setSizePolicy(policy)
        self._running.hide()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SHOWN_AFTER_MS)
        self._timer.timeout.connect(self._running.show)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._sentence)
        layout.addWidget(self._running)
        layout.addWidget(named(quiet("Research use only. Not for diagnosis."), "notice_of_use", "Research use only"))

    @property
    def text(self) -> str:
        """The sentence as it is."""
        return str(self._sentence.text())

    def say(self, sentence: str) -> None:
        """Show a sentence."""
        self._told = None
        self._sentence.setText(sentence)

    def clear(self) -> None:
        """Remove a sentence about what is no longer in view; that of a task that runs stays."""
        if not self._tasks:
            self.say("")

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
        told = self._told
        self._show()
        if sentence is not None:
            self.say(sentence)
        elif not self._tasks and told == task:
            self.say("")

    def _show(self) -> None:
        """Show the task that began last."""
        if not self._tasks:
            self._timer.stop()
            self._running.hide()
            return
        task, progress = list(self._tasks.items())[-1]
        self.say(f"{progress.message} ...")
        self._told = task
        total = progress.total or 0
        self._bar.setRange(0, total if total > 1 else 0)
        self._bar.setValue(progress.done)
        self._cancel.setEnabled(task not in AT_ONCE)
        if self._running.isHidden() and not self._timer.isActive():
            self._timer.start()

    def _on_cancel(self) -> None:
        if self._tasks:
            self.cancelled.emit(list(self._tasks)[-1])


OPTION = re.compile(r" \(command line: [^()]*\)")


def without_options(text: str) -> str:
    """Leave out what a text says of the command line."""
    return OPTION.sub("", text)


def show_failure(status: StatusLine, error: Exception) -> None:
    """Show an error of a dock."""
    from napari.utils import notifications

    status.say(without_options(in_words(error)))
    if isinstance(error, MelanomaError):
        notifications.show_error(without_options(str(error)))
    else:
        notifications.notification_manager.dispatch(notifications.ErrorNotification(error))
