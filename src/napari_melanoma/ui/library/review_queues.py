"""What is read and computed about the photographs of a review: digests, ratings and embeddings."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma import worker
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import BundleError, MelanomaError, WorkerTerminated
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.lesion.uncertainty_ratings import Rating, UncertaintyMeasure
from napari_melanoma.ui.library.listing import create_image, name_distinctly
from napari_melanoma.ui.library.resolve import LibraryImage
from napari_melanoma.ui.widgets.job import BackgroundJob, tasks
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.worker_client import WorkerClient

if TYPE_CHECKING:
    from napari_melanoma.runs.labeling import PhotographFiles


def identify_photographs(paths: Sequence[Path], run: RunContext) -> dict[Path, str]:
    """Return the digests of the pixels of photographs, by which corrections name them; unreadable ones are left out."""
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.io.photographs import read_photograph

    digests = {}
    for path in paths:
        run.check()
        with suppress(MelanomaError, OSError):  # reported when it is rated
            digests[path] = array_fingerprint(read_photograph(path, accept_damaged=True).rgb)
    return digests


MEASURE: UncertaintyMeasure = "entropy"  # of the uncertainty by which photographs are ranked


@dataclass(frozen=True)
class PhotographList:
    """Photographs with their stored ratings by a model; ``fingerprint``: of its weights."""

    model: str
    fingerprint: str
    images: Sequence[LibraryImage]
    ratings: Mapping[Path, Rating]


def list_photographs(chosen: Sequence[Path], model: str, run: RunContext) -> PhotographList:
    """Find the selected photographs and those in selected folders, in natural order, with their stored ratings."""
    from napari_melanoma.io.discovery import find_photographs
    from napari_melanoma.lesion.uncertainty_ratings import load_ratings
    from napari_melanoma.models.installed_bundles import find_bundle

    images = name_distinctly(create_image(path.absolute(), is_slide=False) for path in find_photographs(chosen))
    run.check()
    fingerprint = find_bundle(model).fingerprint
    stored = load_ratings(fingerprint, MEASURE)
    ratings = {image.path: stored.get((str(image.path), image.modified, image.size)) for image in images}
    found = {path: rating for path, rating in ratings.items() if rating is not None}
    return PhotographList(model, fingerprint, images, found)


EMBEDDED_BEFORE_ORDER = 10  # embeddings between two orders
MAX_CRASHES = 3  # after so many crashes of the worker in a row, the photographs are probably not the cause


class RatingQueue(QObject):
    """Rate photographs one by one, so that an analysis started by the user waits for one photograph at most.

    ``finished``: all photographs were rated, or rating was canceled. ``model_replaced``: afterwards, if it has ended
    since another model has the name now.
    """

    rated = Signal(object, object)  # Path, Rating
    rating_failed = Signal(object, str)  # Path, reason
    progressed = Signal(object)  # Progress
    failed = Signal(object)  # the exception, which ends rating
    finished = Signal(int, float)  # number of rated photographs, seconds
    model_replaced = Signal()

    def __init__(self, client: WorkerClient, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._pending: deque[LibraryImage] = deque()
        self._request: BackgroundJob | None = None
        self._model = self._fingerprint = ""
        self._total = self._done = self._crashes = 0
        self._start_time = 0.0

    def start(self, images: Sequence[LibraryImage], model: str, fingerprint: str) -> None:
        """Rate photographs; must not be called while others are being rated. ``fingerprint``: of the model."""
        self._pending, self._model, self._fingerprint = deque(images), model, fingerprint
        self._total, self._done, self._crashes, self._start_time = len(images), 0, 0, time.monotonic()
        self._rate_next()

    def cancel(self) -> None:
        """Cancel rating; existing ratings are kept, and the result of the current photograph is ignored."""
        self._pending.clear()
        request, self._request = self._request, None
        tasks.set_running(self, False)
        if request is not None:
            request.ignore()
            self.finished.emit(self._done, time.monotonic() - self._start_time)

    def _rate_next(self) -> None:
        self._request = None
        tasks.set_running(self, bool(self._pending))
        seconds = time.monotonic() - self._start_time
        if not self._pending:
            self.finished.emit(self._done, seconds)
            return
        image = self._pending.popleft()
        done = self._total - len(self._pending) - 1
        left = f", {format_duration(seconds / done * (self._total - done))} left" if done > 1 and seconds > 1 else ""
        self.progressed.emit(Progress(done, self._total, f"Rating {done + 1:,} of {self._total:,}{left}"))
        self._request = self._client.request(worker.rate, self._model, image.path, MEASURE)
        self._request.succeeded.connect(partial(self._on_rated, image))
        self._request.failed.connect(partial(self._on_failed, image.path))
        self.destroyed.connect(self._request.ignore)  # which outlives a closed dock

    def _on_rated(self, image: LibraryImage, rating: Rating) -> None:
        from napari_melanoma.lesion.uncertainty_ratings import store_rating

        store_rating(image.path, image.modified, image.size, rating)
        self._crashes = 0
        if rating.model_fingerprint != self._fingerprint:
            self._pending.clear()
            self._rate_next()
            self.model_replaced.emit()
            return
        self._done += 1
        self.rated.emit(image.path, rating)
        self._rate_next()

    def _on_failed(self, path: Path, error: Exception) -> None:
        self._crashes = self._crashes + 1 if isinstance(error, WorkerTerminated) else 0
        if isinstance(error, BundleError) or self._crashes == MAX_CRASHES:
            self._pending.clear()
            self._rate_next()
            self.failed.emit(error)  # last, so that the reason stays in the status line
        else:
            self.rating_failed.emit(path, str(error))
            self._rate_next()


class EmbeddingQueue(QObject):
    """Compute the embeddings of photographs one by one, while none is being rated; each photograph is tried once.

    ``done``: number of computed embeddings. ``advanced``: some were computed, or all. ``stopped``: by the user.
    """

    advanced = Signal()
    failed = Signal(object)  # the exception, after which nothing more is computed

    def __init__(self, client: WorkerClient, rating: RatingQueue, status: StatusLine, parent: QObject) -> None:
        super().__init__(parent)
        self._client, self._rating, self._status = client, rating, status
        self._pending: dict[Path, PhotographFiles] = {}
        self._tried: dict[Path, PhotographFiles] = {}
        self._target = "", Path()  # the model, and the folder of the corrections
        self._request: BackgroundJob | None = None
        self._total = self._crashes = self.done = 0
        self.stopped = False
        rating.finished.connect(self.resume)

    def set_photographs(self, model: str, folder: Path, missing: Mapping[Path, PhotographFiles], total: int) -> None:
        """Replace the photographs, in their order; ``total``: number with those that have an embedding."""
        self._target = model, folder
        self._pending = {path: files for path, files in missing.items() if self._tried.get(path) != files}
        self._total = total
        self.resume()

    def clear(self) -> None:
        """Remove all photographs, and try again those that failed."""
        self._pending.clear()
        self._tried.clear()
        self.stopped = False

    def resume(self, *_: object) -> None:
        """Request the next embedding."""
        if self._request is not None or self.stopped or not tasks.is_idle(self._rating):
            return
        if not self._pending:
            self._status.end("embedding")
            return
        path, files = next(iter(self._pending.items()))
        done = max(0, self._total - len(self._pending))
        self._status.begin("embedding", "Computing image features ...")
        progress = Progress(done, self._total, f"Computing image features {done + 1:,} of {self._total:,}")
        self._status.progress("embedding", progress)
        self._request = self._client.request(worker.embed_photograph, *self._target, files)
        tasks.set_running(self, True)
        end = partial(self._end, path, files, self._target)
        self._request.succeeded.connect(lambda _: end())
        self._request.failed.connect(end)
        self.destroyed.connect(self._request.ignore)  # which outlives a closed dock

    def _end(
        self, path: Path, files: PhotographFiles, target: tuple[str, Path], error: Exception | None = None
    ) -> None:
        self._request = None
        if target == self._target:  # otherwise, another model was selected in the meantime
            self._tried[path] = files
            if self._pending.get(path) == files:  # otherwise, its mask was corrected
                del self._pending[path]
        self.done += error is None
        self._crashes = self._crashes + 1 if isinstance(error, WorkerTerminated) else 0
        if isinstance(error, BundleError) or self._crashes == MAX_CRASHES:
            self._pending.clear()
            self.failed.emit(error)
        tasks.set_running(self, False)
        if not self._pending or self.done % EMBEDDED_BEFORE_ORDER == 0:
            self.advanced.emit()
        self.resume()
