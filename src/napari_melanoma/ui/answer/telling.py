"""What the status line says of an answer that is awaited: nothing for a moment, then that it runs, then its time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from napari_melanoma.core.runs import Progress
    from napari_melanoma.ui.answer.queue import AnswerQueue, Question
    from napari_melanoma.ui.status_line import StatusLine, Task

TASK: Task = "answering"
PATIENCE_MS = 200
TOLD = "Answer in"  # so many seconds


class AnswerTelling(QObject):
    """Follows the questions of a queue."""

    def __init__(self, status: StatusLine, queue: AnswerQueue, parent: QObject) -> None:
        super().__init__(parent)
        self._status = status
        self._began = 0.0
        self._before = ""  # what the status line said before
        self._progress: Progress | None = None
        self._is_told = False  # whether the status line shows that an answer is awaited
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(self._on_long)
        queue.started.connect(self._on_started)
        queue.progressed.connect(self._on_progress)
        queue.rested.connect(self._on_rested)

    def _on_started(self, question: Question) -> None:
        if not self._patience.isActive() and not self._is_told:
            self._began, self._progress = time.monotonic(), None
            self._patience.start()

    def _on_long(self) -> None:
        """Say what takes longer than a moment."""
        self._is_told, self._before = True, self._status.text
        self._status.begin(TASK, "Asking what the lesion may be ...")
        if self._progress is not None:
            self._status.progress(TASK, self._progress)

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress
        if self._is_told:
            self._status.progress(TASK, progress)

    def _on_rested(self) -> None:
        self._patience.stop()
        if self._is_told:
            self._is_told = False
            before = "" if self._before.endswith("...") else self._before.partition(TOLD)[0].strip()
            self._status.end(TASK, f"{before} {TOLD} {time.monotonic() - self._began:.1f} s.".strip())
