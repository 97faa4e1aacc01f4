"""Photographs waiting to be rated: kept ratings at once, the others by the worker, one after the other."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import WorkerDied
from napari_melanoma.core.wording import duration
from napari_melanoma.ui.widgets.job import Job

if TYPE_CHECKING:
    from napari_melanoma.lesion.review import Known
    from napari_melanoma.ui.widgets.worker_client import Request, WorkerClient

DEATHS = 3  # of the worker in a row: it is not the photograph then


class ReviewRating(QObject):
    """Rates photographs; an analysis that the user asks for waits for one of them at most.

    ``finished``: how many were rated, and in how many seconds; also after ``cancel``.
    """

    rated = Signal(int, object)
    refused = Signal(int, str)
    progressed = Signal(object)
    failed = Signal(object)
    finished = Signal(int, float)

    def __init__(self, client: WorkerClient, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._waiting: deque[tuple[int, Path]] = deque()
        self._stage: Job | Request | None = None
        self._current: tuple[int, Path] = (0, Path())
        self._model = self._fingerprint = self._how = ""
        self._total = self._done = self._deaths = 0
        self._began = 0.0

    @property
    def busy(self) -> bool:
        """Whether photographs are being rated."""
        return self._stage is not None

    def start(self, items: list[tuple[int, Path]], model: str, fingerprint: str, how: str) -> None:
        """Begin; call where it is not busy."""
        self._waiting = deque(items)
        self._model, self._fingerprint, self._how = model, fingerprint, how
        self._total, self._done, self._deaths, self._began = len(items), 0, 0, time.monotonic()
        self._next()

    def cancel(self) -> None:
        """Rate nothing more; what is rated stays. The one that is on its way ends unheard."""
        self._waiting.clear()
        stage, self._stage = self._stage, None
        if stage is not None:
            for signal in (stage.succeeded, stage.failed):
                signal.disconnect()
            self.finished.emit(self._done, time.monotonic() - self._began)

    def _enter(self, stage: Job | Request, then: Any) -> None:  # noqa: ANN401 - a slot
        self._stage = stage
        stage.succeeded.connect(then)
        stage.failed.connect(self._on_failed)
        if isinstance(stage, Job):
            stage.start()

    def _next(self) -> None:
        self._stage = None
        if not self._waiting:
            self.finished.emit(self._done, time.monotonic() - self._began)
            return
        self._current = self._waiting.popleft()
        done = self._total - len(self._waiting) - 1
        seconds = time.monotonic() - self._began
        left = f", {duration(seconds / done * (self._total - done))} left" if done > 1 and seconds > 1 else ""
        self.progressed.emit(Progress(done, self._total, f"Rating {done + 1:,} of {self._total:,}{left}"))
        self._enter(Job(partial(_find, self._current[1], self._fingerprint, self._how)), self._on_found)

    def _on_found(self, known: Known | None) -> None:
        if known is not None:
            self._take(known)
            return
        arguments = {"model": self._model, "image": str(self._current[1]), "how": self._how}
        self._enter(self._client.request("rate", **arguments), self._on_answer)

    def _on_answer(self, answer: dict[str, Any]) -> None:
        keep = partial(_keep, self._current[1], self._fingerprint, self._how, answer)
        self._enter(Job(keep), self._take)

    def _take(self, known: Known) -> None:
        self._deaths = 0
        self._done += 1
        self.rated.emit(self._current[0], known)
        self._next()

    def _on_failed(self, error: Exception) -> None:
        from napari_melanoma.core.errors import BundleError

        self._deaths = self._deaths + 1 if isinstance(error, WorkerDied) else 0
        if isinstance(error, BundleError) or self._deaths == DEATHS:
            self._waiting.clear()
            self.failed.emit(error)
        else:
            self.refused.emit(self._current[0], str(error))
        self._next()


def _find(path: Path, fingerprint: str, how: str, run: RunContext) -> Known | None:
    from napari_melanoma.lesion.review import RatingCache

    run.check()
    return RatingCache().find(path, fingerprint, how)


def _keep(path: Path, fingerprint: str, how: str, answer: dict[str, Any], run: RunContext) -> Known:
    from napari_melanoma.lesion.review import Known, RatingCache

    known = Known(float(answer["score"]), bool(answer["lesion_found"]), str(answer["image_sha256"]))
    RatingCache().keep(path, fingerprint, how, known)
    return known
