"""The prediction in the Lesion dock: requested, shown, explained by a heatmap."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.ui.lesion.patient_data import Filling
from napari_melanoma.ui.lesion.prediction_queue import AnswerQueue, Picture, Question
from napari_melanoma.ui.lesion.saving import Earlier, EarlierAnswers
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.viewer import layers, linked
from napari_melanoma.ui.widgets.job import Latest, Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.classification.prediction import Answer
    from napari_melanoma.core.context import Progress, RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.state import LesionBook
    from napari_melanoma.ui.lesion.work import LesionWork
    from napari_melanoma.ui.widgets.status_line import StatusLine, Task
    from napari_melanoma.ui.widgets.worker_client import WorkerClient

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
        from napari_melanoma.classification.prediction import Answer as Made

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


STROKE_MS = 20  # napari tells of one stroke several times


@dataclass(frozen=True)
class Drawn:
    """A mask, bool (row, column), with its fingerprint and the identity of its photograph."""

    identity: str
    digest: str
    mask: NDArray[np.bool_]


class AskingAhead(QObject):
    """Knows masks that were drawn on before contour, region and measurements have followed."""

    drawn = Signal(str)

    def __init__(self, work: LesionWork, parent: QObject) -> None:
        super().__init__(parent)
        self._book = work.book
        self._drawn: dict[str, Drawn] = {}
        self._latest = Latest(self, delay_ms=STROKE_MS)
        self._latest.succeeded.connect(self._on_looked)
        work.watcher.touched.connect(self._on_touched)
        work.changed.connect(self._on_followed)

    @property
    def busy(self) -> bool:
        """Whether a mask was drawn on that is not looked at yet."""
        return self._latest.busy

    def digest(self, identity: str) -> str | None:
        """Give the fingerprint of a mask as it is drawn now.

        None where the photograph was not analysed.
        """
        lesion, drawn = self._book.lesions.get(identity), self._drawn.get(identity)
        return None if lesion is None else lesion.digest if drawn is None else drawn.digest

    def find(self, identity: str, digest: str) -> LesionResult | None:
        """Give a photograph with a mask; what is derived from the mask may be of the one before.

        None where the mask is another one by now.
        """
        lesion, drawn = self._book.lesions.get(identity), self._drawn.get(identity)
        if lesion is None or self.digest(identity) != digest:
            return None
        return lesion.result if drawn is None else replace(lesion.result, mask=drawn.mask)

    def forget(self, identity: str) -> None:
        """Forget a photograph that was removed."""
        self._latest.drop(identity)
        self._drawn.pop(identity, None)

    def _on_touched(self, identity: str) -> None:
        def prepare() -> Work | None:
            labels = self._book.mask(identity)
            if labels is None:
                return None
            mask = labels.data != 0
            return lambda run: _looked_at(identity, mask, run)

        self._latest.submit(identity, prepare)

    def _on_looked(self, drawn: Drawn) -> None:
        lesion = self._book.lesions.get(drawn.identity)
        before = self.digest(drawn.identity)
        if lesion is None or lesion.digest == drawn.digest:
            self._drawn.pop(drawn.identity, None)
        else:
            self._drawn[drawn.identity] = drawn
        if self.digest(drawn.identity) != before:
            self.drawn.emit(drawn.identity)

    def _on_followed(self, identity: str) -> None:
        """Go by what was derived, as soon as that is of the mask that was drawn."""
        lesion, drawn = self._book.lesions.get(identity), self._drawn.get(identity)
        if drawn is not None and (lesion is None or lesion.digest == drawn.digest):
            del self._drawn[identity]


def _looked_at(identity: str, mask: NDArray[np.bool_], run: RunContext) -> Drawn:
    """Take the fingerprint of a mask (in a thread)."""
    return Drawn(identity, fingerprint(mask), mask)


NOT_ANALYSED = "Analyse the photograph: the answer is about the lesion inside the border."
NONE_PICKED = "Pick a model beside <i>answer</i> to be told what the lesion may be."
OUTDATED = "Outdated: the inputs have changed since this prediction. A new one is being computed."
STOPPED = "Stopped: nothing was said of this lesion."


@dataclass(frozen=True)
class Said:
    """What came of a question: an answer, or why there is none."""

    question: Question
    answer: Answer | None = None
    fault: str = ""


def show_answer(
    controls: LesionControls,
    said: Said | None,
    known: Question | None,
    waits: bool,
    earlier: tuple[Answer, str] | None = None,
    *,
    changing: bool = False,
) -> None:
    """Show what is known of the photograph in view."""
    section, waits = controls.answer, waits or changing
    is_now = known is not None and said is not None and said.question == known and not changing
    if said is not None and said.answer is not None and (is_now or _is_alike(said, known, waits)):
        controls.heatmap.show_classes(said.answer.classes, said.answer.positive)
        section.show_answer(said.answer, awaited=not is_now, outdated="" if is_now else OUTDATED)
        return
    why = _why_none(controls, said.fault if said is not None and is_now else "", known, waits)
    if earlier is None:
        section.show_none(why)
    else:
        section.show_earlier(*earlier, why)


def _is_alike(said: Said, known: Question | None, waits: bool) -> bool:
    """Whether an answer of before may stay in sight until the one of the same model that is awaited is there."""
    return waits and known is not None and said.question.picture.model == known.picture.model


def _why_none(controls: LesionControls, fault: str, known: Question | None, waits: bool) -> str:
    """Say why there is no answer, as rich text."""
    again = controls.icons.link("again", "Ask again")
    if not controls.classifier.model:
        return NONE_PICKED if controls.classifier.has_any else _none_installed(controls)
    if known is None:
        return NOT_ANALYSED
    if fault:
        return f"{_first_capital(html.escape(fault))} {again}"
    return "Asking ..." if waits else f"{STOPPED} {again}"


def _none_installed(controls: LesionControls) -> str:
    train = controls.icons.link("train", "Train one")
    return (
        f"No model that says what a lesion may be is installed. {train}, or add one with "
        "<i>napari-melanoma models import</i>."
    )


def _first_capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


TASK: Task = "answering"
PATIENCE_MS = 200
TOLD = "Answer in"  # so many seconds


class AnswerTelling(QObject):
    """Follows the questions of a queue."""

    def __init__(self, status: StatusLine, queue: AnswerQueue, parent: QObject) -> None:
        super().__init__(parent)
        self._status = status
        self._began = 0.0
        self._before = ""  # what the status line said before
        self._progress: Progress | None = None
        self._is_told = False  # whether the status line shows that an answer is awaited
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(self._on_long)
        queue.started.connect(self._on_started)
        queue.progressed.connect(self._on_progress)
        queue.rested.connect(self._on_rested)

    def _on_started(self, question: Question) -> None:
        if not self._patience.isActive() and not self._is_told:
            self._began, self._progress = time.monotonic(), None
            self._patience.start()

    def _on_long(self) -> None:
        """Say what takes longer than a moment."""
        self._is_told, self._before = True, self._status.text
        self._status.begin(TASK, "Asking what the lesion may be ...")
        if self._progress is not None:
            self._status.progress(TASK, self._progress)

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress
        if self._is_told:
            self._status.progress(TASK, progress)

    def _on_rested(self) -> None:
        self._patience.stop()
        if self._is_told:
            self._is_told = False
            before = "" if self._before.endswith("...") else self._before.partition(TOLD)[0].strip()
            self._status.end(TASK, f"{before} {TOLD} {time.monotonic() - self._began:.1f} s.".strip())


QUICK = ("grad_cam", "cam")


class Heatmap(QObject):
    """Keeps one layer a photograph in step with the answer about it."""

    failed = Signal(object)

    def __init__(
        self, controls: LesionControls, ahead: AskingAhead, queue: AnswerQueue, book: LesionBook, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._controls = controls.heatmap
        self._picker = controls.picker
        self._ahead = ahead
        self._book = book
        self._queue = queue
        self._shown: dict[str, Question] = {}
        self._refused: set[tuple[str, str]] = set()  # models and methods that failed are not asked again by themselves
        self._at: Question | None = None
        self._controls.wanted.connect(self._on_wanted)
        self._controls.faded.connect(self._on_faded)

    def follow(self, identity: str | None, asked: Question | None) -> None:
        """Show the heatmap of an answer, if one is wanted; one of another answer goes out of sight."""
        self._at = None
        if identity is None:
            return
        method = self._controls.method
        wanted = None if asked is None or not method else self._wanted(asked)
        self._at = asked
        if wanted is None or wanted != self._shown.get(identity):
            self._hide(identity, gone=asked is None)
            if wanted is not None and (wanted.picture.model, method) not in self._refused:
                self._queue.ask(wanted)
        else:
            self._see(identity)

    def take(self, question: Question, heat: object) -> None:
        """Show what the worker found, unless something else is wanted by now.

        ``heat``: float32 (row, column) in [0, 1].
        """
        import numpy as np

        image = self._book.image(question.identity)
        current = self._ahead.digest(question.identity) == question.picture.mask_digest
        if image is None or not current or question != self._wanted(question):
            return
        layers.show_heatmap(self._book.viewer, image, np.asarray(heat, np.float32), self._controls.opacity)
        self._shown[question.identity] = question

    def shown(self, identity: str, asked: Question | None) -> NDArray[np.float32] | None:
        """Give the heatmap of an answer that is in sight.

        Returns float32 (row, column) in [0, 1]; None where none is wanted, or another one is shown.
        """
        method, image = self._controls.method, self._book.image(identity)
        if asked is None or not method or image is None or self._shown.get(identity) != self._wanted(asked):
            return None
        layer = linked.part(self._book.viewer, image, "heatmap")
        return None if layer is None else layer.data

    def fail(self, question: Question, error: Exception) -> None:
        """Say that there is no heatmap."""
        self._refused.add((question.picture.model, question.method))
        self.failed.emit(error)

    def _wanted(self, asked: Question) -> Question:
        """What is to be asked of an answer's question, as the controls are now."""
        return replace(asked, method=self._controls.method, target=self._controls.target)

    def forget_all(self) -> None:
        """Take every heatmap for that of another model, as one may have changed under its name."""
        self._shown.clear()

    def forget(self, identity: str) -> None:
        """Forget a photograph that was removed."""
        self._shown.pop(identity, None)

    def _hide(self, identity: str, *, gone: bool) -> None:
        """Take a heatmap out of sight where none is wanted, or another one is not found in a moment."""
        if gone or self._controls.method not in QUICK:
            image = self._book.image(identity)
            layer = None if image is None else linked.part(self._book.viewer, image, "heatmap")
            if layer is not None:
                layer.visible = False  # kept: whoever comes back to the same answer sees it at once

    def _see(self, identity: str) -> None:
        image = self._book.image(identity)
        layer = None if image is None else linked.part(self._book.viewer, image, "heatmap")
        if layer is None:
            wanted = self._shown.pop(identity, None)  # somebody removed the layer
            if wanted is not None:
                self._queue.ask(wanted)
        else:
            layer.visible = bool(image is not None and image.visible)

    def _on_wanted(self) -> None:
        self._refused.clear()
        if self._at is not None:
            self.follow(self._at.identity, self._at)

    def _on_faded(self, opacity: float) -> None:
        for image in linked.identify(self._book.viewer):
            layer = linked.part(self._book.viewer, image, "heatmap")
            if layer is not None:
                layer.opacity = opacity
