"""How long a training would take and how much memory, asked of a worker of its own while the recipe rests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil
from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.worker_client import Request, WorkerClient

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

REST_MS = 900  # of the recipe, before anything is measured
MB = 1024**2
MINUTE, HOUR, DAY = 60, 3600, 86400


class Estimator(QObject):
    """Measures one step of a recipe, later than the last change and never twice at once.

    Not the worker of the other docks: that one answers a question at a time, and an analysis must not wait for this.
    """

    estimated = Signal(object)
    failed = Signal(object)

    def __init__(self, client: WorkerClient, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._recipe: TrainRecipe | None = None
        self._asked: TrainRecipe | None = None
        self._request: Request | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REST_MS)
        self._timer.timeout.connect(self._ask)

    @property
    def busy(self) -> bool:
        """Whether something is measured or will be."""
        return self._request is not None or self._timer.isActive()

    def want(self, recipe: TrainRecipe) -> None:
        """Estimate a recipe when nothing newer comes."""
        self._recipe = recipe
        self._timer.start()

    def rest(self) -> None:
        """Want nothing; what is being measured is measured to its end, and forgotten."""
        self._recipe = None
        self._timer.stop()

    def drop(self) -> None:
        """Want nothing; what is being measured is stopped, and its memory is free."""
        self.rest()
        request, self._request = self._request, None
        if request is not None:
            request.cancel()
        self._client.close()

    def _ask(self) -> None:
        if self._recipe is None or self._request is not None:
            return  # asked again when the answer has come
        self._asked = self._recipe
        self._request = self._client.request("estimate", recipe=self._asked.model_dump(mode="json"))
        self._request.succeeded.connect(self._on_answer)
        self._request.failed.connect(self._on_failed)
        self._request.finished.connect(self._on_finished)

    def _on_answer(self, answer: dict[str, Any]) -> None:
        if self._asked is self._recipe:  # an equal one that was wanted later may be of other data
            self.estimated.emit(answer)

    def _on_failed(self, error: Exception) -> None:
        if self._asked is self._recipe:
            self.failed.emit(error)

    def _on_finished(self) -> None:
        self._request = None
        if self._recipe is not None and self._recipe is not self._asked:
            self._timer.start()


def said(answer: dict[str, Any]) -> str:
    """Say an estimate in a sentence.

    ``answer``: ``seconds``, ``memory_mb`` and ``device``. Such as ``about 6 min on this machine (cpu), 1.1 GB; measured
    with one step``.
    """
    memory = f"{answer['memory_mb'] / 1024:.1f} GB" if answer["memory_mb"] >= 100 else f"{answer['memory_mb']:.0f} MB"
    return f"about {span(answer['seconds'])} on this machine ({answer['device']}), {memory}; measured with one step"


def warning(answer: dict[str, Any]) -> str:
    """Say that the memory may not do.

    Empty where it does.
    """
    free = answer.get("free_mb") or psutil.virtual_memory().available / MB
    if answer["memory_mb"] <= free:
        return ""
    return (
        f"That is more memory than is free now ({free / 1024:.1f} GB): close other programs, or set a smaller batch "
        "size or more pieces under Advanced."
    )


def span(seconds: float) -> str:
    """Say how long something takes, as roughly as it is known.

    Such as ``40 s``, ``6 min``, ``2 h 10 min``, ``3 days``.
    """
    if seconds < 1.5 * MINUTE:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < HOUR:
        return f"{round(seconds / MINUTE)} min"
    if seconds < 1.5 * DAY:
        tens = 10 * round(seconds / MINUTE / 10)
        return f"{tens // 60} h {tens % 60} min" if tens % 60 else f"{tens // 60} h"
    return f"{round(seconds / DAY)} days"
