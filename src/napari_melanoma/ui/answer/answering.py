"""The answer of the Lesion dock: asked when a mask, the form or the model is another one, shown with its heatmap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.answer.queue import AnswerQueue, Picture, Question
from napari_melanoma.ui.answer.showing import Said, show_answer
from napari_melanoma.ui.answer.telling import TASK, AnswerTelling
from napari_melanoma.ui.asking_ahead import AskingAhead
from napari_melanoma.ui.earlier import Earlier, EarlierAnswers
from napari_melanoma.ui.filling import Filling
from napari_melanoma.ui.heatmap import Heatmap
from napari_melanoma.ui.models_changed import models_changed

if TYPE_CHECKING:
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.work import LesionWork
    from napari_melanoma.ui.worker_client import WorkerClient
    from napari_melanoma.workflows.answer import Answer
    from napari_melanoma.workflows.lesion import LesionResult

LOOK_MS = 40


class Answering(QObject):
    """Asks the classifier about every analysed photograph, and shows what it says of the one in view."""

    answered = Signal(str)
    failed = Signal(object)

    def __init__(self, controls: LesionControls, work: LesionWork, client: WorkerClient) -> None:
        super().__init__(controls)
        self._controls = controls
        self._work = work
        self._said: dict[str, Said] = {}
        self._after: dict[str, Callable[[], None]] = {}
        self.filling = Filling(controls, work.book, self)
        self.ahead = AskingAhead(work, self)
        self.queue = AnswerQueue(client, self._find, self)
        self.heatmap = Heatmap(controls, self.ahead, self.queue, work.book, self)
        self.earlier = EarlierAnswers(self)
        self._telling = AnswerTelling(controls.status, self.queue, self)
        self._waiting = QTimer(self)
        self._waiting.setSingleShot(True)
        self._waiting.setInterval(LOOK_MS)
        self._waiting.timeout.connect(self._look)
        self._moving = QTimer(self)
        self._moving.setInterval(LOOK_MS)
        self._moving.timeout.connect(self._on_moving)
        self._connect()
        self._on_model()

    def _connect(self) -> None:
        controls, work = self._controls, self._work
        controls.classifier.changed.connect(self._on_model)
        models_changed().changed.connect(self._on_models)
        controls.answer.hint.linkActivated.connect(self._on_link)
        controls.status.cancelled.connect(self._on_cancelled)
        self.filling.changed.connect(self.refresh)
        self.ahead.drawn.connect(self.refresh)
        work.changed.connect(self.refresh)
        for moved in (controls.mask_controls.moved, controls.mask_controls.settled):
            moved.connect(self._on_mask_controls)
        work.dropped.connect(self._on_dropped)
        self.earlier.found.connect(self._on_earlier)
        self.queue.answered.connect(self._on_answered)
        self.queue.failed.connect(self._on_failed)
        self.heatmap.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether an answer, or where it comes from, is awaited."""
        parts = (self.queue, self.filling, self.ahead, self.earlier)
        return any(part.busy for part in parts) or self._moving.isActive() or bool(self._after)

    def answer(self, identity: str) -> Answer | None:
        """Give the answer about a photograph as it is drawn and filled in now.

        None where there is none, or it was about another mask, patient or model.
        """
        said = self._said.get(identity)
        return None if said is None or said.question != self._question(identity) else said.answer

    def told(self, identity: str) -> LesionResult:
        """Give what is known of a photograph together with what is said of it now, as it is saved.

        With the answer, the form and the heatmap in sight; without them where there is no answer to it.
        """
        lesion, answer, asked = self._work.book.lesions[identity], self.answer(identity), self._asked_about(identity)
        result = lesion.result
        if answer is None or asked is None or asked.picture.mask_digest != lesion.digest:
            return result
        heat = self.heatmap.shown(identity, asked)
        return replace(result, told=answer, form=self.filling.row(identity), heatmap=heat)

    def when_answered(self, identity: str, then: Callable[[], None]) -> None:
        """Wait until everything has followed what was drawn and filled in, or cannot."""
        self.filling.settle()
        self._after[identity] = then
        self._look()

    def show(self) -> None:
        """Show what is known of the photograph in view."""
        self.filling.settle()
        self.filling.show()
        identity = self._controls.picker.identity
        if identity is not None:
            self.refresh(identity)
        self._show_answer()
        self.heatmap.follow(identity, self._asked_about(identity))

    def refresh(self, identity: str) -> None:
        """Ask about a photograph, unless what is known of it still holds."""
        question, said = self._question(identity), self._said.get(identity)
        if question is None:
            if self._said.pop(identity, None) is not None:
                self.answered.emit(identity)
        elif said is None or said.question != question:
            self.queue.ask(question)
        if identity == self._controls.picker.identity:
            self._show_answer()

    def _question(self, identity: str) -> Question | None:
        """What would be asked now; None where there is nothing to ask, or nobody."""
        lesion, model = self._work.book.lesions.get(identity), self._controls.classifier.model
        if lesion is None or not model:
            return None
        picture = Picture(model, lesion.image_digest, self.ahead.digest(identity) or lesion.digest)
        return Question(identity, picture, tuple(sorted(self.filling.row(identity).items())))

    def _asked_about(self, identity: str | None) -> Question | None:
        """The question that the answer in sight is of."""
        said = None if identity is None else self._said.get(identity)
        return None if said is None or said.answer is None else said.question

    def _find(self, question: Question) -> LesionResult | None:
        return self.ahead.find(question.identity, question.picture.mask_digest)

    def _on_answered(self, question: Question, told: object) -> None:
        from napari_melanoma.workflows.answer import Answer as Made

        if question.method:
            self.heatmap.take(question, told)
            return
        assert isinstance(told, Mapping)
        self._take(Said(question, Made.from_json(told["answer"])))

    def _on_failed(self, question: Question, error: Exception) -> None:
        if question.method:
            self.heatmap.fail(question, error)
        else:
            self._take(Said(question, fault=str(error)))

    def _take(self, said: Said) -> None:
        identity = said.question.identity
        if said.question == self._question(identity):
            self._said[identity] = said
            self.answered.emit(identity)
            if identity == self._controls.picker.identity:
                self._show_answer()
                self.heatmap.follow(identity, self._asked_about(identity))

    def _show_answer(self) -> None:
        identity = str(self._controls.picker.identity)
        waits = self.queue.waits_for(identity)
        known, earlier = self._question(identity), self.earlier.of(identity)
        before = None
        if earlier is not None:
            mask_digest = None if known is None else known.picture.mask_digest
            note = earlier.note(self._controls.classifier.model, mask_digest, self.filling.row(identity))
            before = earlier.answer, note
        show_answer(self._controls, self._said.get(identity), known, waits, before, changing=self._moving.isActive())

    def _on_mask_controls(self) -> None:
        """Show the prediction as outdated from the first move of a control on, until the mask has followed."""
        lesion = self._work.book.lesions.get(str(self._controls.picker.identity))
        if lesion is not None and not lesion.corrected:
            is_marked = self._moving.isActive()
            self._moving.start()
            if not is_marked:  # a slider moves many times a second
                self._show_answer()

    def _on_moving(self) -> None:
        if not self._controls.mask_controls.settling.isActive() and not self._work.busy:
            self._moving.stop()
            self._show_answer()

    def _on_model(self) -> None:
        """Ask the model that is picked now, about every photograph that was analysed."""
        self._controls.classifier.show_state()
        self.filling.ask_for(self._controls.classifier.model)
        seen = self._controls.picker.identity
        for identity in sorted(self._work.book.lesions, key=lambda identity: identity != seen):
            self.refresh(identity)
        self._show_answer()
        self.heatmap.follow(seen, self._asked_about(seen))

    def _on_models(self, name: str) -> None:
        """Ask anew: a model may be another one under the same name."""
        self._said.clear()
        self.heatmap.forget_all()
        self._on_model()

    def _on_link(self, link: str) -> None:
        identity = self._controls.picker.identity
        if link == "again" and identity is not None:
            self._said.pop(identity, None)
            self.refresh(identity)
        else:
            self._controls.status.followed.emit(link)

    def _on_earlier(self, found: Earlier) -> None:
        """Show what was saved of a photograph that was opened again, until it is asked about anew."""
        self.filling.fill(found.identity, found.form)
        if found.identity == self._controls.picker.identity:
            self._show_answer()

    def _on_cancelled(self, task: str) -> None:
        if task == TASK:
            self.queue.cancel()
            self._show_answer()

    def _on_dropped(self, identity: str) -> None:
        self.queue.drop(identity)
        self.ahead.forget(identity)
        self.filling.forget(identity)
        self.heatmap.forget(identity)
        self.earlier.forget(identity)
        self._said.pop(identity, None)

    def _look(self) -> None:
        """Fulfil what waited for an answer."""
        waits = self._work.busy or self.ahead.busy
        for identity in [one for one in self._after if not waits and not self.queue.concerns(one)]:
            self._after.pop(identity)()
        if self._after:
            self._waiting.start()
