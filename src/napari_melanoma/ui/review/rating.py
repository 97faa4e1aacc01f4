"""Queue of photographs to rate: cached ratings are used at once, the others are requested from the worker."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import BundleError, WorkerTerminated
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.ui.widgets.job import BackgroundJob

if TYPE_CHECKING:
    from napari_melanoma.lesion.review import CachedRating
    from napari_melanoma.ui.widgets.worker_client import WorkerClient, WorkerRequest

MAX_WORKER_DEATHS = 3  # after so many in a row, the photographs are not the cause


class RatingQueue(QObject):
    """Rates photographs; an analysis started by the user waits for at most one of them.

    ``finished``: number of rated photographs, and the seconds taken; also after ``cancel``.
    """

    rated = Signal(int, object)
    rating_failed = Signal(int, str)
    progressed = Signal(object)
    failed = Signal(object)
    finished = Signal(int, float)

    def __init__(self, client: WorkerClient, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._pending: deque[tuple[int, Path]] = deque()
        self._stage: BackgroundJob | WorkerRequest | None = None
        self._current: tuple[int, Path] = (0, Path())
        self._model = self._fingerprint = self._method = ""
        self._total = self._done = self._deaths = 0
        self._start_time = 0.0

    @property
    def busy(self) -> bool:
        """Whether photographs are being rated."""
        return self._stage is not None

    def start(self, items: list[tuple[int, Path]], model: str, fingerprint: str, method: str) -> None:
        """Start rating; call only if not busy."""
        self._pending = deque(items)
        self._model, self._fingerprint, self._method = model, fingerprint, method
        self._total, self._done, self._deaths, self._start_time = len(items), 0, 0, time.monotonic()
        self._next()

    def cancel(self) -> None:
        """Cancel rating; existing ratings are kept, the result of the current one is ignored."""
        self._pending.clear()
        stage, self._stage = self._stage, None
        if stage is not None:
            for signal in (stage.succeeded, stage.failed):
                signal.disconnect()
            self.finished.emit(self._done, time.monotonic() - self._start_time)

    def _start_stage(self, stage: BackgroundJob | WorkerRequest, on_success: Any) -> None:  # noqa: ANN401 - a slot
        self._stage = stage
        stage.succeeded.connect(on_success)
        stage.failed.connect(self._on_failed)
        if isinstance(stage, BackgroundJob):
            stage.start()

    def _next(self) -> None:
        self._stage = None
        if not self._pending:
            self.finished.emit(self._done, time.monotonic() - self._start_time)
            return
        self._current = self._pending.popleft()
        done = self._total - len(self._pending) - 1
        seconds = time.monotonic() - self._start_time
        left = f", {format_duration(seconds / done * (self._total - done))} left" if done > 1 and seconds > 1 else ""
        self.progressed.emit(Progress(done, self._total, f"Rating {done + 1:,} of {self._total:,}{left}"))
        self._start_stage(
            BackgroundJob(partial(_find_rating, self._current[1], self._fingerprint, self._method)), self._on_found
        )

    def _on_found(self, rating: CachedRating | None) -> None:
        if rating is not None:
            self._set_rating(rating)
            return
        arguments = {"model": self._model, "image": str(self._current[1]), "how": self._method}
        self._start_stage(self._client.request("rate", **arguments), self._on_response)

    def _on_response(self, response: dict[str, Any]) -> None:
        work = partial(_store_rating, self._current[1], self._fingerprint, self._method, response)
        self._start_stage(BackgroundJob(work), self._set_rating)

    def _set_rating(self, rating: CachedRating) -> None:
        self._deaths = 0
        self._done += 1
        self.rated.emit(self._current[0], rating)
        self._next()

    def _on_failed(self, error: Exception) -> None:
        self._deaths = self._deaths + 1 if isinstance(error, WorkerTerminated) else 0
        if isinstance(error, BundleError) or self._deaths == MAX_WORKER_DEATHS:
            self._pending.clear()
            self.failed.emit(error)
        else:
            self.rating_failed.emit(self._current[0], str(error))
        self._next()


def _find_rating(path: Path, fingerprint: str, method: str, run: RunContext) -> CachedRating | None:
    from napari_melanoma.lesion.review import RatingCache

    run.check()
    return RatingCache().find(path, fingerprint, method)


def _store_rating(path: Path, fingerprint: str, method: str, response: dict[str, Any], run: RunContext) -> CachedRating:
    from napari_melanoma.lesion.review import CachedRating, RatingCache

    rating = CachedRating(float(response["score"]), bool(response["lesion_found"]), str(response["image_sha256"]))
    RatingCache().save(path, fingerprint, method, rating)
    return rating
