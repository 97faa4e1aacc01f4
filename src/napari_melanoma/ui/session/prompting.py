"""Correct a mask by clicks: each prompt is sent to the worker, and its response changes the mask as an undo step.

The clicks that made a mask belong to the mask (``AnalyzedLesion.prompts``), so that undo restores both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_melanoma import worker
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.imaging.prompts import Point, PromptOptions, Prompts
from napari_melanoma.lesion.mask_record import PROMPTS, get_mask_origin
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptState, PromptStep, find_state, strokes_outside
from napari_melanoma.ui.session.analyzed_lesion import (
    AnalyzedLesion,
    MaskChange,
    RecoveredLesion,
    threshold_mask,
)
from napari_melanoma.ui.session.lesion_updates import LesionController
from napari_melanoma.ui.session.open_photograph import OpenPhotograph, PendingPrompt, PromptPixels, PromptResponse
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource, get_model_digest
from napari_melanoma.ui.widgets.job import BackgroundJob, JobFunction, run_job, tasks
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.worker_client import URGENT, WorkerClient

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import ModelStamp
    from napari_melanoma.lesion.prompting import PromptedMasks

TASK: Literal["prompting"] = "prompting"  # in the status line
ChangeState = Callable[[PromptState], PromptState]


FIND_ALL = PendingPrompt(PromptOptions())  # compared by identity


class MaskToCorrect(NamedTuple):
    """The mask that prompts correct, the strokes, and the analysis of the photograph, collected on the GUI thread.

    ``mask``: uint8 (row, column); None if there is none. ``strokes``: uint8 (row, column). ``lesion``: None if this
    dock has not analyzed the photograph. ``predicted_digest``: the digest of the predicted mask, as stored in the mask
    layer, which an earlier dock may have left.
    """

    mask: NDArray[np.uint8] | None
    strokes: NDArray[np.uint8] | None
    lesion: AnalyzedLesion | None
    predicted_digest: str | None = None

    @classmethod
    def find(cls, session: OpenPhotograph) -> MaskToCorrect:
        """Collect the mask of a photograph."""
        labels = session.mask or session.existing_mask
        if labels is None:
            return cls(None, session.strokes, None)
        return cls(labels.data.copy(), session.strokes, session.masked_lesion, get_model_digest(labels))


@dataclass(frozen=True)
class PreparedPrompt:
    """A request to the worker for the current lesion of a state, or for all lesions.

    ``before``: bool (row, column), the mask before the prompts. ``is_first``: whether the pixels of the photograph were
    not analyzed before. ``is_corrected``: whether there was a mask that differs from the predicted one. ``rest``: the
    pending prompts for other lesions. ``prompts``: of the request, with strokes and previous mask; None to find all
    lesions. ``is_needed``: whether there is a request.
    """

    pixels: PromptPixels
    before: NDArray[np.bool_]
    is_first: bool
    is_corrected: bool
    state: PromptState
    rest: tuple[PendingPrompt, ...]
    prompts: Prompts | None = None
    is_needed: bool = True


class PromptChange(NamedTuple):
    """A change of the state by a response of the worker; ``chosen``: the index of the hypothesis."""

    change: ChangeState
    response: PromptResponse
    chosen: int = 0


class PromptedChange(NamedTuple):
    """A prompt with its change, None without a request, and the result before it if the photograph has none."""

    prepared: PreparedPrompt
    change: PromptChange | None
    first: RecoveredLesion | None = None


class PromptController(QObject):
    """Sends prompts to the worker, those of one lesion at a time, and changes the mask."""

    failed = Signal(object)  # Exception

    def __init__(
        self, controller: LesionController, client: WorkerClient, status: StatusLine, get_model: Callable[[], str]
    ) -> None:
        super().__init__(controller.parent())
        self._controller, self._client, self._status, self._get_model = controller, client, status, get_model
        self._sessions = controller.sessions
        self._first: OpenPhotograph | None = None  # whose prompts are sent before those of others
        self._job: BackgroundJob | None = None
        self._active: OpenPhotograph | None = None  # the photograph of the job
        self._is_prompting = False  # whether the job is a prompt; otherwise it prepares the first one
        self._rest: list[PendingPrompt] = []  # prompts that were taken with that of the job, for other lesions
        status.cancelled.connect(self._on_cancelled)
        tasks.idle.connect(self._next)
        self._sessions.removed.connect(self._on_removed)

    def add(self, session: OpenPhotograph, prompt: PendingPrompt) -> None:
        """Change the mask of a photograph by a prompt, or by all lesions that are found."""
        self._first = session
        session.prompted = replace(session.prompted, pending=(*session.prompted.pending, prompt))
        self._next()

    def encode(self, session: OpenPhotograph) -> None:
        """Prepare a photograph, so that the first prompt takes effect at once."""
        self._first = session
        session.prompted = replace(session.prompted, must_encode=True)
        self._next()

    def choose(self, session: OpenPhotograph, position: int) -> None:
        """Change the lesion that was prompted last to another hypothesis, counted from the smallest."""
        response = session.prompted.response
        if response is None or response.hypotheses is None or self._is_prompting:
            return
        index = response.hypotheses.by_area[position]
        change = PromptChange(partial(_set_hypothesis, response.hypotheses, index), response, index)
        self._controller.replace_mask(session, partial(change_mask, None, change), key="prompt")

    def _next(self) -> None:
        """Send pending prompts, those of the latest photograph first, once the previous response is in its mask."""
        if self._job is not None:
            return
        sessions = sorted(self._sessions, key=lambda session: session is not self._first)
        if waiting := next((session for session in sessions if session.prompted.pending), None):
            tasks.set_running(self, True)
            self._controller.watcher.flush()
            if tasks.is_idle(self._controller):
                pending, waiting.prompted = waiting.prompted.pending, replace(waiting.prompted, pending=())
                self._status.begin(TASK, "Finding the lesion ...")
                self._run(waiting, self._make_prompt(waiting, pending), self._on_prompted, is_prompting=True)
        elif waiting := next((session for session in sessions if session.prompted.must_encode), None):
            waiting.prompted = replace(waiting.prompted, must_encode=False)
            read = partial(read_pixels, waiting.prompted.pixels, waiting.source)
            self._run(waiting, lambda run: read(), self._on_pixels, is_prompting=False)

    def _run(
        self,
        session: OpenPhotograph,
        work: JobFunction,
        done: Callable[[OpenPhotograph, Any], None],
        *,
        is_prompting: bool,
    ) -> None:
        def finish(result: object) -> None:
            self._end()
            done(session, result)
            self._next()

        if session.is_open:
            self._active, self._is_prompting = session, is_prompting
            self._job = run_job(self, "prompt", work, finish, self._on_failed)
        else:
            self._end()

    def _on_pixels(self, session: OpenPhotograph, pixels: PromptPixels) -> None:
        """Request the features of a photograph; prompts do not wait for them here, but in the worker."""
        session.prompted = replace(session.prompted, pixels=pixels)
        client, model = self._client, self._get_model()

        def work(run: RunContext) -> None:
            from napari_melanoma.models.installed_bundles import find_prompted_model

            client.call(run, worker.encode, find_prompted_model(model), pixels.kept)

        job = BackgroundJob(work)
        job.failed.connect(self.failed)
        job.start(client)

    def _make_prompt(self, session: OpenPhotograph, pending: tuple[PendingPrompt, ...]) -> JobFunction:
        """Return the function that requests the mask for the pending prompts of one lesion."""
        client, model, mask, previous = self._client, self._get_model(), MaskToCorrect.find(session), session.prompted
        number = 1 if previous.response is None else previous.response.number + 1
        read, options = partial(read_pixels, previous.pixels, session.source), self._controller.options.get(session)
        rest: list[PendingPrompt] = []
        self._rest = rest

        def work(run: RunContext) -> PromptedChange:
            from napari_melanoma.models.installed_bundles import find_prompted_model

            prepared = prepare_prompt(read(), pending, mask, run)
            rest.extend(prepared.rest)
            if not prepared.is_needed:
                return PromptedChange(prepared, None)
            prompted = find_prompted_model(model)
            response = request_masks(client, prompted, prepared, run)
            changed_options = options.model_copy(update={"model": prompted, "flips": False})
            return PromptedChange(prepared, *read_response(prepared, number, response, changed_options, run))

        return work

    def _on_prompted(self, session: OpenPhotograph, prompted: PromptedChange) -> None:
        """Change the mask in one undo step."""
        prepared, change, first = prompted
        rest = (*prepared.rest, *session.prompted.pending)
        session.prompted = replace(session.prompted, pending=rest, pixels=prepared.pixels)
        if change is None:  # a proposed lesion was removed
            previous = session.prompted.response
            assert previous is not None
            change = PromptChange(lambda state: state, previous._replace(hypotheses=None))
        else:
            session.prompted = replace(session.prompted, response=change.response)
        session.applied_strokes = session.strokes
        if first is not None:
            self._controller.restore(session, first)
        else:
            self._controller.replace_mask(session, partial(change_mask, prepared, change), key="prompt")

    def _on_failed(self, error: Exception) -> None:
        """Show the error; the prompts for other lesions are sent next."""
        session, rest = self._active, self._rest
        self._end()
        if session is not None:
            session.prompted = replace(session.prompted, pending=(*rest, *session.prompted.pending))
        self.failed.emit(error)
        self._next()

    def _on_cancelled(self, task: str) -> None:
        if task == TASK:
            for session in self._sessions:
                session.prompted = replace(session.prompted, pending=())
            job = self._job
            self._end()
            if job is not None:
                job.cancel()

    def _end(self) -> None:
        self._job, self._active, self._is_prompting, self._rest = None, None, False, []
        tasks.set_running(self, False)
        self._status.end(TASK)

    def _on_removed(self, session: OpenPhotograph) -> None:
        self._first = None if session is self._first else self._first
        job = self._job
        if job is not None and self._active is session:
            self._end()
            job.ignore()
            self._next()


def read_pixels(previous: PromptPixels | None, source: LayerPhotographSource) -> PromptPixels:
    """Return the pixels of a photograph with its current scale; call this in a thread.

    They are read again only if those of the layer were replaced.
    """
    if previous is None or source.data is not previous.data:
        photograph, digest = source.read_with_digest()
        previous = PromptPixels(photograph, digest, source.data)
    return previous._replace(photograph=source.describe(previous.photograph.rgb))


def prepare_prompt(
    pixels: PromptPixels, pending: tuple[PendingPrompt, ...], current: MaskToCorrect, run: RunContext
) -> PreparedPrompt:
    """Add the prompts of one lesion to the state; call this in a thread."""
    run.check()
    shape = pixels.photograph.rgb.shape[:2]
    before = np.zeros(shape, bool) if current.mask is None else current.mask != 0
    lesion = current.lesion
    if lesion is not None and lesion.image_digest != pixels.digest:
        lesion = None  # the pixels were replaced
    state = find_lesion_state(lesion, before)
    is_corrected = bool(before.any()) and array_fingerprint(before) != current.predicted_digest
    made = partial(PreparedPrompt, pixels, before, lesion is None, is_corrected)
    if pending[0] is FIND_ALL:
        return made(state, pending[1:])
    state, rest = add_pending(state, pending)
    options = state.lesions[state.current]
    if options == PromptOptions():
        return made(state, rest, is_needed=False)
    own = state.current_pixels
    strokes = None if current.strokes is None else strokes_outside(current.strokes, state.other_pixels)
    prompts = replace(options.to_prompts(), strokes=strokes, previous=own if own.any() else None)
    return made(state, rest, prompts)


def request_masks(
    client: WorkerClient, model: str, prepared: PreparedPrompt, run: RunContext
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[Point], ModelStamp]:
    """Request logits, qualities and, for all lesions, a pixel in each, and the model."""
    pixels, prompts = prepared.pixels.kept, prepared.prompts
    if prompts is None:
        return client.call(run, worker.find_lesions, model, pixels, priority=URGENT)
    logits, qualities, stamp = client.call(run, worker.prompt, model, pixels, prompts, priority=URGENT)
    return logits, qualities, [], stamp


def find_lesion_state(lesion: AnalyzedLesion | None, mask: NDArray[np.bool_]) -> PromptState:
    """Return the state of a mask, bool (row, column), which may have been edited, analyzed again or recovered."""
    if lesion is None:
        return find_state(mask, None)
    record = lesion.result.prompt_record
    if lesion.prompts is None and record is not None:
        state = PromptState.from_record(record, mask)
        return replace(state, locked=mask != _predicted_mask(lesion)) if record.by_hand else state
    return find_state(mask, lesion.prompts, _predicted_mask(lesion) if lesion.corrected else mask)


def _predicted_mask(lesion: AnalyzedLesion) -> NDArray[np.bool_]:
    return threshold_mask(lesion.result, lesion.result.options, lesion.chosen)


def add_pending(
    state: PromptState, pending: tuple[PendingPrompt, ...]
) -> tuple[PromptState, tuple[PendingPrompt, ...]]:
    """Add the prompts of one lesion to the state; return it with the remaining prompts, which are for other lesions."""
    first = pending[0]
    state = state.add_prompt(first.prompt, is_new=first.is_new)
    for index, item in enumerate(pending[1:], start=1):
        if item.is_new or item is FIND_ALL:
            return state, pending[index:]
        following = state.add_prompt(item.prompt)
        if following.current != state.current or following.lesions[following.current] == PromptOptions():
            return state, pending[index:]
        state = following
    return state, ()


def read_response(
    prepared: PreparedPrompt,
    number: int,
    response: tuple[NDArray[np.float32], NDArray[np.float32], list[Point], ModelStamp],
    options: LesionOptions,
    run: RunContext,
) -> tuple[PromptChange, RecoveredLesion | None]:
    """Return the change of the state by the worker's response; call this in a thread.

    ``number``: of the response. ``options``: of the photograph. For a photograph that was not analyzed, also return the
    result before the change with the mask after it.
    """
    from napari_melanoma.lesion.analysis import derive_result, remeasure
    from napari_melanoma.lesion.prompting import PromptedMasks

    photograph, state, prompts = prepared.pixels.photograph, prepared.state, prepared.prompts
    logits, qualities, points, stamp = response
    run.check()
    shape, model, threshold = (photograph.rgb.shape[0], photograph.rgb.shape[1]), vars(stamp), stamp.threshold
    if prompts is None:
        seeds = [PromptOptions(include=(point,)) for point in points]
        lesions = [
            PromptedMasks(lesion_logits[None], quality[None], shape, seed.to_prompts(), threshold)
            for lesion_logits, quality, seed in zip(logits, qualities, seeds, strict=True)
        ]
        propose = partial(_propose, [lesion.best_mask for lesion in lesions], seeds)
        change = PromptChange(propose, PromptResponse(number, model, None))
        highest = logits.max(0, keepdims=True, initial=-9)
        best = PromptedMasks(highest, np.ones(1, np.float32), shape, Prompts(), threshold)
    else:
        best = PromptedMasks(logits, qualities, shape, prompts, threshold)
        change = PromptChange(partial(_set_hypothesis, best, best.best), PromptResponse(number, model, best), best.best)
    if not prepared.is_first:
        return change, None
    prompt_options = None if prompts is None else state.lesions[state.current]
    options = options.model_copy(update={"prompts": prompt_options})
    derived = derive_result(photograph, best.probability(best.best), options, stamp)
    base = replace(remeasure(derived, prepared.before, options), corrected=prepared.is_corrected)
    base.compute_properties()
    before = PromptStep.of(find_state(prepared.before, None))  # undo returns to it
    lesion = AnalyzedLesion.from_model(base, prepared.pixels.digest, prompts=before)
    changed = change_mask(prepared, change, lesion, prepared.before.view(np.uint8))
    origin, steps = get_mask_origin(changed.origin.provenance), (before, changed.origin.prompts)
    return change, RecoveredLesion(base, lesion.image_digest, None, changed.mask, origin=origin, prompts=steps)


def _set_hypothesis(hypotheses: PromptedMasks, index: int, state: PromptState) -> PromptState:
    return state.set_mask(hypotheses.mask(index))


def _propose(masks: list[NDArray[np.bool_]], seeds: list[PromptOptions], state: PromptState) -> PromptState:
    return state.propose(masks, seeds)


def change_mask(
    prepared: PreparedPrompt | None, change: PromptChange, lesion: AnalyzedLesion, current_mask: NDArray[np.uint8]
) -> MaskChange:
    """Return the mask after a change of the prepared state; call this in a thread.

    ``prepared``: None to change the current state. ``current_mask``: uint8 (row, column), which may have been edited
    since the state was prepared.
    """
    mask, result = current_mask != 0, lesion.result
    state = find_lesion_state(lesion, mask) if prepared is None else prepared.state.edit(prepared.before, mask)
    changed = change.change(state)
    step = PromptStep.of(changed, 0 if change.response.hypotheses is None else change.response.number, change.chosen)
    record = changed.to_record(change.response.model, by_hand=result.corrected_by_hand)
    provenance = {**result.provenance, PROMPTS: record.model_dump(mode="json")}
    origin = lesion.origin._replace(corrected=True, provenance=provenance, prompts=step, is_painted=False)
    return MaskChange(changed.mask, origin)
