"""Photographs waiting for the worker, one after the other, with progress over all of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.runs import Progress
from napari_melanoma.ui.analysis import Analysis
from napari_melanoma.ui.photographs import Source

if TYPE_CHECKING:
    from napari_melanoma.ui.worker_client import WorkerClient
    from napari_melanoma.workflows.lesion import LesionOptions, LesionResult


@dataclass(frozen=True)
class Analysed:
    """What came back for the photograph of an identity, with the fingerprints of the mask and of the pixels."""

    identity: str
    result: LesionResult
    digest: str
    image_digest: str


class AnalysisQueue(QObject):
    """Analyses photographs one after the other.

    ``finished``: how many were analysed, and in how many seconds; also after ``cancel``.
    """

    progressed = Signal(object)
    analysed = Signal(object)
    failed = Signal(object)
    finished = Signal(int, float)

    def __init__(self, client: WorkerClient, source: Callable[[str], Source | None], parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._source = source
        self._waiting: deque[str] = deque()
        self._options: Mapping[str, LesionOptions] = {}
        self._analysis: Analysis | None = None
        self._current = ""
        self._name = ""
        self._total = self._done = 0
        self._began = 0.0

    @property
    def busy(self) -> bool:
        """Whether a photograph is on its way."""
        return self._analysis is not None

    def start(self, wanted: Mapping[str, LesionOptions]) -> None:
        """Begin with photographs; what was on its way is dropped."""
        self._drop()
        self._waiting = deque(wanted)
        self._options = wanted
        self._total, self._done, self._began = len(self._waiting), 0, time.monotonic()
        self._next()

    def cancel(self) -> None:
        """Stop at once; what is finished stays."""
        if self.busy:
            self._drop()
            self.finished.emit(self._done, time.monotonic() - self._began)

    def _drop(self) -> None:
        self._waiting.clear()
        analysis, self._analysis = self._analysis, None
        if analysis is not None:
            analysis.finished.disconnect(self._next)
            analysis.cancel()

    def _next(self) -> None:
        self._analysis = None
        while self._waiting and self._analysis is None:
            self._current = self._waiting.popleft()
            source = self._source(self._current)
            if source is not None:
                self._name = source.name
                self._analysis = Analysis(self._client, source, self._options[self._current])
        if self._analysis is None:
            self.finished.emit(self._done, time.monotonic() - self._began)
            return
        self._analysis.progressed.connect(self._on_progress)
        self._analysis.succeeded.connect(self._on_success)
        self._analysis.failed.connect(self.failed)
        self._analysis.finished.connect(self._next)
        self._analysis.start()

    def _on_progress(self, progress: Progress) -> None:
        if self._total == 1:
            self.progressed.emit(progress)
            return
        position = self._total - len(self._waiting)
        left = ""
        if self._done:
            left = f", {(time.monotonic() - self._began) / self._done * (len(self._waiting) + 1):.0f} s left"
        message = f"{self._name}: photograph {position} of {self._total}{left}"
        self.progressed.emit(Progress(position - 1, self._total, message))

    def _on_success(self, found: tuple[LesionResult, str, str]) -> None:
        self._done += 1
        self.analysed.emit(Analysed(self._current, *found))
