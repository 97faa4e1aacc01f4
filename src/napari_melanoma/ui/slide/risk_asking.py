"""The worker asked about the risk of slides: one question after the other, whichever slide is in view."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari_melanoma.core.runs import Progress
    from napari_melanoma.ui.worker_client import Request

DONE = {
    "risk": "The risk of {} is estimated.",
    "attention": "Where the network looks at {} is shown.",
    "grad_cam": "What speaks for metastasis in {} is shown.",
    "biomarkers": "What the network goes by in {} is found.",
}
BEGUN = {
    "risk": "Estimating the risk",
    "attention": "Finding where the network looks",
    "grad_cam": "Finding what speaks for metastasis",
    "biomarkers": "Finding what the network goes by",
}
VERBS = {"risk": "slide_risk", "biomarkers": "slide_biomarkers"}


@dataclass(frozen=True, eq=False)
class RiskQuestion:
    """What is asked: ``risk``, ``attention``, ``grad_cam`` or ``biomarkers``; of which slide; in the worker's words.

    ``said`` is what the slide is called before a user.
    """

    kind: str
    slide: Path
    said: str
    folder: Path
    arguments: dict[str, Any]


class RiskAsking(QObject):
    """Has one question answered at a time; the answers lie beside the slides, whichever of them is in view by then."""

    began = Signal(str)
    progressed = Signal(object)
    ended = Signal(object, str)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._dock = parent
        self._client: WorkerClient | None = None
        self._waiting: deque[RiskQuestion] = deque()
        self._asked: RiskQuestion | None = None
        self._request: Request | None = None
        self._said = ""

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._asked is not None

    def awaits(self, kind: str, folder: Path) -> bool:
        """Say whether a question was asked and not answered yet.

        True also where it waits for its turn.
        """
        there = (*self._waiting, *([] if self._asked is None else [self._asked]))
        return any(one.kind == kind and one.folder == folder for one in there)

    def ask(self, question: RiskQuestion) -> None:
        """Ask; the same question twice is asked once."""
        if not self.awaits(question.kind, question.folder):
            self._waiting.append(question)
            self._next()

    def cancel(self) -> None:
        """Take back all questions; the worker is ended where it is busy with one."""
        waiting, asked = tuple(self._waiting), self._request
        self._waiting.clear()
        for one in waiting:
            self.ended.emit(one, "")
        if asked is not None:
            asked.cancel()

    def _next(self) -> None:
        if self._asked is not None or not self._waiting:
            return
        question = self._asked = self._waiting.popleft()
        if self._client is None:
            self._client = acquire_worker()
            self._dock.destroyed.connect(release_worker)
        self._said = ""
        place = {"slide": str(question.slide), "folder": str(question.folder)}
        self._request = self._client.request(VERBS.get(question.kind, "slide_risk_map"), **place, **question.arguments)
        self._request.progressed.connect(self._on_progress)
        self._request.succeeded.connect(self._on_answer)
        self._request.failed.connect(self.failed)
        self._request.finished.connect(self._on_finished)
        self.began.emit(f"{BEGUN[question.kind]} ...")

    def _on_progress(self, progress: Progress) -> None:
        self.progressed.emit(progress)

    def _on_answer(self, _: object) -> None:
        if self._asked is not None:
            self._said = DONE[self._asked.kind].format(self._asked.said)

    def _on_finished(self) -> None:
        question, self._asked, self._request = self._asked, None, None
        if question is not None:
            self.ended.emit(question, self._said)
        self._next()
