"""Answers about the lesions of the open case: read with it, asked for by a button, kept in the case folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.widgets.job import Latest, Work
from napari_melanoma.ui.widgets.settings import Settings
from napari_melanoma.ui.widgets.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case
    from napari_melanoma.case.predictions import CaseAnswers, LesionAnswer
    from napari_melanoma.case.store import CaseStore
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.case.details import LesionPage
    from napari_melanoma.ui.case.store import CaseDesk
    from napari_melanoma.ui.widgets.worker_client import Request

NONE_INSTALLED = "No model that says what a lesion may be is installed"


class CaseAnswering(QObject):
    """Has the worker answer about all lesions at once, over the images of each."""

    started = Signal()
    changed = Signal()
    progressed = Signal(object)
    finished = Signal(str)
    failed = Signal(object)

    def __init__(self, desk: CaseDesk, parent: QObject, client: WorkerClient | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._client = client or acquire_worker()
        self._settings = Settings()
        self._request: Request | None = None
        self._store: CaseStore | None = None  # whose answers these are
        self.answers: CaseAnswers | None = None
        self._files = Latest(self)
        self._files.succeeded.connect(self._on_files)
        self._files.failed.connect(self._on_failed)
        desk.opened.connect(self._on_opened)
        if client is None:
            parent.destroyed.connect(release_worker)

    @property
    def busy(self) -> bool:
        """Whether answers are read, asked for or kept."""
        return self._files.busy or self._request is not None

    @property
    def fitting(self) -> dict[str, LesionAnswer]:
        """The answers that still fit the case, by the id of the lesion."""
        case = self._desk.case
        lesions = () if case is None or self.answers is None else case.lesions
        told = ((lesion.id, self.answers.of(lesion.id)) for lesion in lesions if self.answers is not None)
        return {name: found for name, found in told if found is not None and self._is_current(name)}

    @property
    def why_not(self) -> str:
        """Why nothing can be asked; empty where it can."""
        case = self._desk.case
        if case is None or not any(lesion.images for lesion in case.lesions):
            return "There is no lesion with an image yet"
        if not self._desk.may_edit:
            return "The case is open to look at alone"
        return "" if self._model() else NONE_INSTALLED

    def ask(self) -> None:
        """Ask about every lesion, when what was drawn and edited is in the file."""
        if not self.why_not and not self.busy:
            self._desk.saving.when_saved(self._ask)

    def cancel(self) -> None:
        """Stop at once; the answers of before stay."""
        request = self._request
        if request is not None:
            request.cancel()
            self._end("Stopped. The answers are those of before.")

    def show(self, page: LesionPage, lesion: str) -> None:
        """Show the answer about a lesion, or how to get one."""
        told = None if self.answers is None else self.answers.of(lesion)
        how = f"{self.why_not}." if self.why_not else "Press <i>answer</i> above to ask what each lesion may be."
        page.show_answer(told, self._is_current(lesion), how)

    def _is_current(self, lesion: str) -> bool:
        """Whether an answer still fits the case."""
        case = self._desk.case
        return case is not None and self.answers is not None and self.answers.is_current(case, lesion)

    def _model(self) -> str:
        """The model that the Lesion dock asks, or the usual one."""
        from napari_melanoma.models.registry import default_classifier

        usual = default_classifier()
        return self._settings.classifier or ("" if usual is None else usual.name)

    def _ask(self) -> None:
        store = self._desk.store
        if store is not None and self._request is None:
            self._request = self._client.request("answer_case", folder=str(store.folder), model=self._model())
            self._request.progressed.connect(self.progressed)
            self._request.succeeded.connect(self._on_answers)
            self._request.failed.connect(self._on_failed)
            self.started.emit()

    def _on_answers(self, told: Mapping[str, Any]) -> None:
        store, case = self._desk.store, self._desk.case
        if store is not None and case is not None:
            self._files.submit("keep", lambda: partial(_keep, store, told["answers"]))

    def _on_opened(self) -> None:
        request, store = self._request, self._desk.store
        if request is not None:
            request.cancel()
            self._end("")
        self.answers, self._store = None, store
        self.changed.emit()
        if store is not None:
            self._files.submit("read", lambda: _reading(store))

    def _on_files(self, found: tuple[CaseStore, CaseAnswers | None]) -> None:
        store, answers = found
        if store is self._desk.store:
            self.answers = answers
            self.changed.emit()
        if self._request is not None and answers is not None:
            count = len(answers.lesions)
            notes = f" {_notes(answers, self._desk.case)}" if answers.notes else ""
            self._end(f"{count} {'lesion' if count == 1 else 'lesions'} answered by {answers.model.name}.{notes}")

    def _on_failed(self, error: Exception) -> None:
        self.failed.emit(error)
        self._end(str(error))

    def _end(self, said: str) -> None:
        if self._request is not None:
            self._request = None
            self.finished.emit(said)


def _reading(store: CaseStore) -> Work:
    return lambda run: _read(store, run)


def _read(store: CaseStore, run: RunContext) -> tuple[CaseStore, CaseAnswers | None]:
    from napari_melanoma.case.predictions import read_answers

    return store, read_answers(store.folder)


def _keep(store: CaseStore, told: Mapping[str, Any], run: RunContext) -> tuple[CaseStore, CaseAnswers | None]:
    """Take the answers, and write them into the case folder."""
    from napari_melanoma.case.predictions import CaseAnswers, keep_answers

    answers = CaseAnswers.from_json(told)
    keep_answers(store, answers)
    return store, answers


def _notes(answers: CaseAnswers, case: Case | None) -> str:
    """Which images could not be asked about, and why of the first."""
    names = {} if case is None else {image.id: image.path.name for _, image in case.each_image()}
    (about, why), more = answers.notes[0], len(answers.notes) - 1
    return f"{names.get(about, about)}: {why}" + (f" And {more} more." if more else "")
