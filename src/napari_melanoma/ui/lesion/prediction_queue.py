"""Questions to the classifier in the worker, one after the other; of one photograph only the newest is asked."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.widgets.job import Job

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.widgets.worker_client import Request, WorkerClient

Row = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """Which classifier sees what: its name, and the fingerprints of the photograph and of the mask."""

    model: str
    image_digest: str
    mask_digest: str


@dataclass(frozen=True)
class Question:
    """A lesion and what is known of the patient; with a ``method``, what is asked is where the answer comes from.

    That is asked of the class ``target``; of the positive one where it is empty.
    """

    identity: str
    picture: Picture
    row: Row
    method: str = ""
    target: str = ""

    @property
    def key(self) -> str:
        """Of several questions with the same one, the newest is asked."""
        return f"{'explain' if self.method else 'classify'} {self.identity}"


Find = Callable[[Question], "LesionResult | None"]


class AnswerQueue(QObject):
    """Asks the worker, and keeps the arrays that it reads in files for as long as they may be asked about again.

    ``answered``: the ``Question``; what the worker said, a dict, or for an explanation the heat, float32 (row, column).
    """

    started = Signal(object)
    progressed = Signal(object)
    answered = Signal(object, object)
    failed = Signal(object, object)
    rested = Signal()

    def __init__(self, client: WorkerClient, find: Find, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._find = find
        self._waiting: dict[str, Question] = {}
        self._stage: Job | Request | None = None
        self._asked: Question | None = None
        self._files: dict[str, tuple[str, Path]] = {}  # kind to fingerprint and array
        self._out: Path | None = None
        self._about: dict[str, str | None] = {}  # what the photograph's file says of it
        self._seen: Picture | None = None  # that the worker has looked at last
        self._is_short = False  # whether it is asked only about the patient

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._asked is not None or bool(self._waiting)

    def waits_for(self, identity: str) -> bool:
        """Say whether an answer about a photograph is awaited.

        False also where it is only asked where an answer comes from.
        """
        every = (*self._waiting.values(), *([self._asked] if self._asked else []))
        return any(question.identity == identity and not question.method for question in every)

    def concerns(self, identity: str) -> bool:
        """Say whether anything about a photograph is awaited, also where an answer comes from.

        True until all of it was told.
        """
        every = (*self._waiting.values(), *([self._asked] if self._asked else []))
        return any(question.identity == identity for question in every)

    def ask(self, question: Question) -> None:
        """Ask soon; a question about the same that waits is forgotten."""
        if question != self._asked:
            self._waiting.pop(question.key, None)
            self._waiting[question.key] = question
            self._next()
        else:
            self._waiting.pop(question.key, None)

    def drop(self, identity: str) -> None:
        """Forget what waits about a photograph."""
        for key in [key for key, question in self._waiting.items() if question.identity == identity]:
            del self._waiting[key]

    def cancel(self) -> None:
        """Stop at once."""
        self._waiting.clear()
        stage, self._stage, self._asked = self._stage, None, None
        if stage is not None:
            self._seen = None
            stage.cancel()
            self.rested.emit()

    def _next(self) -> None:
        while self._asked is None and self._waiting:
            # What the lesion may be comes before where that comes from.
            key = min(self._waiting, key=lambda key: bool(self._waiting[key].method))
            question = self._waiting.pop(key)
            result = self._find(question)
            if result is not None:
                self._asked = question
                self.started.emit(question)
                self._begin(question, result)

    def _begin(self, question: Question, result: LesionResult, *, anew: bool = False) -> None:
        """Ask; only about the patient where the worker has looked at this picture last."""
        self._is_short = question.picture == self._seen and not question.method and not anew
        if self._is_short:
            self._request("reclassify", {})
            return
        self._about = {"modality": result.photograph.modality, "damage": result.photograph.damage}
        digests = {"image": question.picture.image_digest, "mask": question.picture.mask_digest}
        missing = {}
        for kind, array in (("image", result.photograph.rgb), ("mask", result.mask)):
            known, path = self._files.get(kind, ("", None))
            if known != digests[kind] or path is None or not path.is_file():
                if path is not None:
                    _remove(path)
                path = self._client.folder / f"{uuid.uuid4().hex}-{kind}.npy"
                self._files[kind] = (digests[kind], path)
                missing[path] = array
        if missing:
            self._enter(Job(partial(_write, missing)), self._on_written)
        else:
            self._on_written()

    def _on_written(self, written: None = None) -> None:
        question = self._asked
        assert question is not None
        paths: dict[str, str | None] = {kind: str(path) for kind, (_, path) in self._files.items()}
        if question.method:
            self._out = self._client.folder / f"{uuid.uuid4().hex}-heat.npy"
            asked = {"method": question.method, "class": question.target, "out": str(self._out)}
            self._request("explain", {**paths, **asked})
        else:
            self._request("classify", {**paths, **self._about})

    def _request(self, verb: str, more: dict[str, str | None]) -> None:
        question = self._asked
        assert question is not None
        asked = self._client.request(verb, model=question.picture.model, row=dict(question.row), **more)
        self._enter(asked, self._on_explained if verb == "explain" else self._on_answer)

    def _enter(self, stage: Job | Request, then: Callable[[Any], None]) -> None:
        self._stage = stage
        stage.progressed.connect(self.progressed)
        stage.succeeded.connect(then)
        stage.failed.connect(self._on_failed)
        if isinstance(stage, Job):
            stage.start()

    def _on_answer(self, told: dict[str, Any]) -> None:
        assert self._asked is not None
        self._seen = self._asked.picture
        self._tell(self.answered, told)

    def _on_explained(self, told: dict[str, Any]) -> None:
        assert self._out is not None
        self._enter(Job(partial(_read, self._out)), self._on_heat)

    def _on_heat(self, heat: object) -> None:
        self._tell(self.answered, heat)

    def _on_failed(self, error: Exception) -> None:
        question, self._seen = self._asked, None
        result = None if question is None or not self._is_short else self._find(question)
        if question is not None and result is not None:  # the worker has ended since, and another looks at it anew
            self._begin(question, result, anew=True)
        else:
            self._tell(self.failed, error)

    def _tell(self, signal: Any, value: object) -> None:  # noqa: ANN401 - a bound signal has no type of its own
        """End a question, and go on with the next."""
        question, self._stage = self._asked, None
        if question is not None:
            signal.emit(question, value)
            if self._asked is question:
                self._asked = None
                self._next()
                if self._asked is None:
                    self.rested.emit()


def _write(arrays: dict[Path, Any], run: RunContext) -> None:
    """Put arrays where the worker finds them."""
    import numpy as np

    for path, array in arrays.items():
        np.save(path, array)


def _read(path: Path, run: RunContext) -> object:
    """Read an array that the worker wrote, once."""
    import numpy as np

    array = np.load(path)
    _remove(path)
    return array


def _remove(path: Path) -> None:
    with suppress(OSError):  # Windows, where the worker may still hold it; the folder goes with the client
        path.unlink(missing_ok=True)
