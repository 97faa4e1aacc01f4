"""Analyze photographs from the Lesion dock, and the notices that follow."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QAbstractButton, QMessageBox

from napari_melanoma.ui.lesion.analysis_queue import Analysed, AnalysisQueue
from napari_melanoma.ui.lesion.notices import several_in_words
from napari_melanoma.ui.viewer import linked
from napari_melanoma.ui.widgets.dialogs import ask

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.work import LesionWork
    from napari_melanoma.ui.widgets.status_line import Task
    from napari_melanoma.ui.widgets.worker_client import WorkerClient

TASK: Task = "analysing"


class Analysing(QObject):
    """Starts analyses, and keeps masks that were corrected unless the user says otherwise."""

    changed = Signal()
    failed = Signal(object)

    def __init__(self, controls: LesionControls, work: LesionWork, client: WorkerClient) -> None:
        super().__init__(controls)
        self._controls = controls
        self._work = work
        self._last: Analysed | None = None
        self._error: Exception | None = None
        self._before: dict[str, str | None] = {}
        # Photograph, seconds and sentence of the status line; not the result, which would outlive its photograph.
        self._summary: tuple[str, float, str] | None = None
        self.queue = AnalysisQueue(client, work.book.source, self)
        self.queue.progressed.connect(partial(controls.status.progress, TASK))
        self.queue.analysed.connect(self._on_analysed)
        self.queue.failed.connect(self._on_failed)
        self.queue.finished.connect(self._on_finished)
        controls.analyse.clicked.connect(self._on_analyse)
        controls.analyse_all.clicked.connect(self._on_analyse_all)
        controls.status.cancelled.connect(self._on_cancelled)
        work.changed.connect(self._on_result)

    def _on_analyse(self) -> None:
        identity = self._controls.picker.identity
        if identity is None or self.queue.busy:
            return
        if self._is_corrected(identity):
            self._ask_to_replace()
        else:
            self._start([identity])

    def _on_analyse_all(self) -> None:
        if self.queue.busy:
            return
        every = [str(linked.identity(image)) for image in linked.identify(self._work.book.viewer)]
        free = [identity for identity in every if not self._is_corrected(identity)]
        if free:
            self._start(free)
        else:
            self._controls.status.say("Every photograph here was corrected by hand, and stays so.")

    def _is_corrected(self, identity: str) -> bool:
        self._work.watcher.flush()
        return self._work.book.is_corrected(identity)

    def _ask_to_replace(self) -> None:
        details = "The mask was corrected by hand. Ctrl+Z on the mask brings your drawing back."
        box = ask(self._controls, "replace_corrections", "Replace your corrections?", details)
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(self._on_answer)
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_answer(self, button: QAbstractButton) -> None:
        identity = self._controls.picker.identity
        if button.objectName() == "replace" and identity is not None and not self.queue.busy:
            self._start([identity])

    def _start(self, identities: list[str]) -> None:
        self._last = self._error = None
        self._before = {identity: self._work.book.digest(identity) for identity in identities}
        self._controls.status.begin(TASK, "Analysing ...")
        self.queue.start({identity: self._work.options_of(identity) for identity in identities})
        self.changed.emit()

    def _on_analysed(self, analysed: Analysed) -> None:
        self._last = analysed
        options = self._work.options_of(analysed.identity)
        self._work.take(analysed, self._before.get(analysed.identity), options)

    def _on_failed(self, error: Exception) -> None:
        self._error = error
        self.failed.emit(error)

    def _on_cancelled(self, task: str) -> None:
        if task == TASK:
            self.queue.cancel()

    def _on_finished(self, done: int, seconds: float) -> None:
        sentence: str | None = None  # what failed was said
        if self._last is not None:
            sentence = summary(self._last.result, done, seconds)
            self._summary = (self._last.identity, seconds, sentence) if done == 1 else None
        elif self._error is None:
            sentence = "Stopped. Nothing was changed."
        self._controls.status.end(TASK, sentence)
        self._last = None
        self.changed.emit()

    def _on_result(self, identity: str) -> None:
        """Let the sentence about an analysis follow its result, such as the number of lesions at another threshold."""
        if self._summary is None or self._summary[0] != identity:
            return
        _, seconds, before = self._summary
        lesion, self._summary = self._work.book.lesions.get(identity), None
        if lesion is not None and self._controls.status.text == before:
            sentence = summary(lesion.result, 1, seconds)
            self._controls.status.say(sentence)
            self._summary = identity, seconds, sentence


def summary(result: LesionResult, done: int, seconds: float) -> str:
    """Say in one sentence what was done.

    Names the photograph where there was one.
    """
    model = f"by {result.model.name} on {result.model.device}"
    if done > 1:
        return f"{done} photographs analysed in {seconds:.1f} s {model}."
    name = result.photograph.name
    if not result.measurements:
        validity, advice = result.validity, "Lower the threshold, or paint one."
        if validity.valid:
            return f"{name}: {validity.headline(f'no lesion found {model}')}. {advice}"
        return f"{name}: {validity.headline('')}. No lesion found {model}. {advice}"  # the reason comes first
    several = several_in_words(result)
    return f"{name}: analysed in {seconds:.1f} s {model}.{several and ' '}{several}{_said_of_band(result)}"


def _said_of_band(result: LesionResult) -> str:
    """Say how much the answers about the mirror images disagree, where there were several."""
    if result.band is None:
        return ""
    share = result.band.sum() / max(1, (result.mask | result.band).sum())
    return f" Its mirror images disagree on {share:.0%} of what any of them calls lesion (blue band)."
