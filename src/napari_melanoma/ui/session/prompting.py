"""Correct a mask by clicks: each prompt is sent to the worker, and its response changes the mask as an undo step.

The clicks that made a mask belong to the mask (``AnalyzedLesion.prompts``), so that undo restores both.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.imaging.prompts import PromptOptions, Prompts
from napari_melanoma.lesion.mask_record import PROMPTS, get_mask_origin
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptState, PromptStep, find_state, strokes_outside
from napari_melanoma.ui.session.analyzed_lesion import (
    AnalyzedLesion,
    LesionUpdate,
    RecoveredLesion,
    result_for_mask,
    threshold_mask,
)
from napari_melanoma.ui.viewer.photographs import get_model_digest
from napari_melanoma.ui.widgets.job import BackgroundJob, StagedJob, run_job, tasks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.prompting import PromptedMasks
    from napari_melanoma.ui.session.lesion_updates import LesionController
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
    from napari_melanoma.ui.widgets.job import Stages
    from napari_melanoma.ui.widgets.status_line import StatusLine
    from napari_melanoma.ui.worker_client import WorkerClient

TASK: Literal["prompting"] = "prompting"  # in the status line
PREVIEW_PX = 512
ChangeState = Callable[[PromptState], PromptState]


class PendingPrompt(NamedTuple):
    """A prompt to be sent, and whether it begins another lesion."""

    prompt: PromptOptions
    is_new: bool = False


FIND_ALL = PendingPrompt(PromptOptions())  # compared by identity


class PromptPixels(NamedTuple):
    """The pixels of a photograph, which are also in a ``.npy`` file for the worker.

    ``preview``: a smaller photograph, uint8 (row, column, channel). ``data``: of the layer when they were read.
    """

    photograph: Photograph
    digest: str
    preview: NDArray[np.uint8]
    data: object


class PromptResponse(NamedTuple):
    """A response of the worker: its number, the fields of the ``ModelStamp`` of its model, and its masks.

    ``hypotheses``: the masks to choose from; None if all lesions were found.
    """

    number: int
    model: dict[str, Any]
    hypotheses: PromptedMasks | None


@dataclass(frozen=True, eq=False)
class PromptedPhotograph:
    """The requests for masks by prompts, and the last response.

    ``must_encode``: whether the worker should compute the features before the first prompt. ``pixels``: None before
    they were read. ``response``: None before the first.
    """

    pending: tuple[PendingPrompt, ...] = ()
    must_encode: bool = False
    pixels: PromptPixels | None = None
    response: PromptResponse | None = None


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
    def find(cls, session: PhotographSession) -> MaskToCorrect:
        """Collect the mask of a photograph."""
        labels = session.mask or session.existing_mask
        if labels is None:
            return cls(None, session.strokes, None)
        return cls(labels.data.copy(), session.strokes, session.masked_lesion, get_model_digest(labels))


@dataclass(frozen=True)
class PreparedPrompt:
    """A request to the worker for the current lesion of a state, or for all lesions.

    ``before``: bool (row, column), the mask before the prompts. ``is_first``: whether the pixels of the photograph were
    not analyzed before. ``is_corrected``: whether there was a mask that differs from the predicted one. ``verb``,
    ``arguments``: of the request; empty if none is needed. ``rest``: the pending prompts for other lesions. ``arrays``:
    the strokes and the previous mask of the request.
    """

    pixels: PromptPixels
    before: NDArray[np.bool_]
    is_first: bool
    is_corrected: bool
    state: PromptState
    verb: str
    arguments: dict[str, Any]
    rest: tuple[PendingPrompt, ...]
    arrays: Prompts = field(default_factory=Prompts)


class PromptChange(NamedTuple):
    """A change of the state by a response of the worker; ``chosen``: the index of the hypothesis."""

    change: ChangeState
    response: PromptResponse
    chosen: int = 0


class PromptController(QObject):
    """Sends prompts to the worker, those of one lesion at a time, and changes the mask."""

    failed = Signal(object)  # Exception

    def __init__(
        self, controller: LesionController, client: WorkerClient, status: StatusLine, get_model: Callable[[], str]
    ) -> None:
        super().__init__(controller.parent())
        self._controller, self._client, self._status, self._get_model = controller, client, status, get_model
        self._sessions = controller.sessions
        self._first: PhotographSession | None = None  # whose prompts are sent before those of others
        self._job: BackgroundJob | StagedJob | None = None
        self._active: PhotographSession | None = None  # the photograph of the job
        self._is_prompting = False  # whether the job is a prompt; otherwise it prepares the first one
        status.cancelled.connect(self._on_cancelled)
        tasks.idle.connect(self._next)
        self._sessions.removed.connect(self._on_removed)

    def add(self, session: PhotographSession, prompt: PendingPrompt) -> None:
        """Change the mask of a photograph by a prompt, or by all lesions that are found."""
        self._first = session
        session.prompted = replace(session.prompted, pending=(*session.prompted.pending, prompt))
        self._next()

    def encode(self, session: PhotographSession) -> None:
        """Prepare a photograph, so that the first prompt takes effect at once."""
        self._first = session
        session.prompted = replace(session.prompted, must_encode=True)
        self._next()

    def choose(self, session: PhotographSession, position: int) -> None:
        """Change the lesion that was prompted last to another hypothesis, counted from the smallest."""
        response = session.prompted.response
        if response is None or response.hypotheses is None or self._is_prompting:
            return
        index = response.hypotheses.by_area[position]
        change = PromptChange(partial(_set_hypothesis, response.hypotheses, index), response, index)
        self._controller.replace_mask(session, partial(change_mask, None, change), key="prompt")

    def _array(self, session: PhotographSession) -> Path:
        """Return the file of the pixels for the worker."""
        return self._client.folder / f"{session.identity}-prompted.npy"

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
                self._run(waiting, self._prompt(waiting, pending), is_prompting=True)
        elif waiting := next((session for session in sessions if session.prompted.must_encode), None):
            waiting.prompted = replace(waiting.prompted, must_encode=False)
            self._run(waiting, self._encode(waiting), is_prompting=False)

    def _run(self, session: PhotographSession, stages: Stages, *, is_prompting: bool) -> None:
        if session.is_open:
            self._active, self._is_prompting = session, is_prompting
            self._job = run_job(self, "prompt", stages, self._on_done, self._on_failed)
        else:
            self._end()

    def _encode(self, session: PhotographSession) -> Stages:
        """Write the pixels of a photograph, then request its features; prompts wait only for the pixels."""
        array, model = self._array(session), self._get_model()
        read = partial(read_pixels, session.prompted.pixels, session.source, array)
        pixels, arguments = yield lambda run: (read(), _shared_arguments(model, array))
        session.prompted = replace(session.prompted, pixels=pixels)
        self._client.request("encode", **arguments).failed.connect(self.failed)

    def _prompt(self, session: PhotographSession, pending: tuple[PendingPrompt, ...]) -> Stages:
        """Send the pending prompts of one lesion, and change the mask in one undo step."""
        mask, array = MaskToCorrect.find(session), self._array(session)
        read = partial(read_pixels, session.prompted.pixels, session.source, array)
        prepared = yield partial(prepare_prompt, read, array, pending, mask, self._get_model())
        rest = (*prepared.rest, *session.prompted.pending)
        session.prompted = replace(session.prompted, pending=rest, pixels=prepared.pixels)
        previous, first = session.prompted.response, None
        if prepared.verb:
            request = self._client.request(prepared.verb, **prepared.arguments)
            response = yield request
            options = self._controller.options.get(session) if prepared.is_first else None
            number = 1 if previous is None else previous.number + 1
            change, first = yield partial(read_response, prepared, number, response, options)
            session.prompted = replace(session.prompted, response=change.response)
        else:  # a proposed lesion was removed
            assert previous is not None
            change = PromptChange(lambda state: state, previous._replace(hypotheses=None))
        if first is not None:
            self._controller.restore(session, first)
        else:
            self._controller.replace_mask(session, partial(change_mask, prepared, change), key="prompt")

    def _on_done(self, result: None) -> None:
        self._end()
        self._next()

    def _on_failed(self, error: Exception) -> None:
        self._end()
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
        self._job, self._active, self._is_prompting = None, None, False
        tasks.set_running(self, False)
        self._status.end(TASK)

    def _on_removed(self, session: PhotographSession) -> None:
        self._first = None if session is self._first else self._first
        job = self._job
        if job is not None and self._active is session:
            self._end()
            job.ignore()
            self._next()
        array = self._array(session)
        for path in array.parent.glob(f"{array.stem}*"):
            with suppress(OSError):  # on Windows, the worker may still read it; the client removes its folder
                path.unlink(missing_ok=True)


def read_pixels(previous: PromptPixels | None, source: LayerPhotographSource, array: Path) -> PromptPixels:
    """Return the pixels of a photograph with its current scale; call this in a thread.

    They are read again, and written to ``array``, only if those of the layer were replaced.
    """
    if previous is None or source.data is not previous.data:
        photograph, digest = source.read_into(array)
        previous = PromptPixels(photograph, digest, make_preview(photograph.rgb), source.data)
    return previous._replace(photograph=source.describe(previous.photograph.rgb))


def make_preview(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a smaller copy of a photograph, uint8 (row, column, channel), from which thumbnails are cropped."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(rgb)
    image.thumbnail((PREVIEW_PX, PREVIEW_PX), Image.Resampling.BILINEAR)
    return np.array(image)


def prepare_prompt(
    read: Callable[[], PromptPixels],
    array: Path,
    pending: tuple[PendingPrompt, ...],
    current: MaskToCorrect,
    model: str,
    run: RunContext,
) -> PreparedPrompt:
    """Add the prompts of one lesion to the state, and write the arrays of a request; call this in a thread.

    ``read``: returns the pixels and writes them to ``array``. ``model``: the selected model, which is used if it
    accepts prompts.
    """
    import numpy as np

    pixels = read()
    run.check()
    shape = pixels.photograph.rgb.shape[:2]
    before = np.zeros(shape, bool) if current.mask is None else current.mask != 0
    lesion = current.lesion
    if lesion is not None and lesion.image_digest != pixels.digest:
        lesion = None  # the pixels were replaced
    state = find_lesion_state(lesion, before)
    is_corrected = bool(before.any()) and array_fingerprint(before) != current.predicted_digest
    arguments = {**_shared_arguments(model, array), "out": str(array.with_suffix(".out.npy"))}
    made = partial(PreparedPrompt, pixels, before, lesion is None, is_corrected)
    if pending[0] is FIND_ALL:
        return made(state, "find_lesions", arguments, pending[1:])
    state, rest = add_pending(state, pending)
    prompts = state.lesions[state.current]
    if prompts == PromptOptions():
        return made(state, "", {}, rest)
    arguments["options"] = prompts.model_dump(mode="json")
    own = state.current_pixels
    arrays = Prompts(
        strokes=None if current.strokes is None else strokes_outside(current.strokes, state.other_pixels),
        previous=own if own.any() else None,
    )
    for name, values in (("strokes", arrays.strokes), ("previous", arrays.previous)):
        if values is not None:
            path = array.with_suffix(f".{name}.npy")
            np.save(path, values)
            arguments[name] = str(path)
    return made(state, "prompt", arguments, rest, arrays)


def _shared_arguments(model: str, array: Path) -> dict[str, Any]:
    """Return the arguments of all requests; ``model``: the selected one, which is used if it accepts prompts."""
    from napari_melanoma.models.installed_bundles import find_prompted_model

    return {"model": find_prompted_model(model), "image": str(array)}


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
    prepared: PreparedPrompt, number: int, response: dict[str, Any], options: LesionOptions | None, run: RunContext
) -> tuple[PromptChange, RecoveredLesion | None]:
    """Read the worker's response; call this in a thread.

    ``number``: of the response. ``options``: the options of a photograph that was not analyzed; otherwise None. Returns
    the change of the state and, for a photograph that was not analyzed, the result before the change with the mask
    after it.
    """
    import numpy as np

    from napari_melanoma.lesion.analysis import ModelStamp, derive_result, remeasure
    from napari_melanoma.lesion.prompting import PromptedMasks

    photograph, state, model = prepared.pixels.photograph, prepared.state, response["model"]
    run.check()
    shape = (photograph.rgb.shape[0], photograph.rgb.shape[1])
    logits, qualities = np.load(prepared.arguments["out"]), np.array(response["qualities"], np.float32)
    threshold = model["threshold"]
    if prepared.verb == "find_lesions":
        seeds = [PromptOptions(include=((row, column),)) for row, column in response["seeds"]]
        lesions = [
            PromptedMasks(lesion_logits[None], quality[None], shape, seed.to_prompts(), threshold)
            for lesion_logits, quality, seed in zip(logits, qualities, seeds, strict=True)
        ]
        propose = partial(_propose, [lesion.best_mask for lesion in lesions], seeds)
        change = PromptChange(propose, PromptResponse(number, model, None))
        highest = logits.max(0, keepdims=True, initial=-9)
        best = PromptedMasks(highest, np.ones(1, np.float32), shape, Prompts(), threshold)
    else:
        prompts = state.lesions[state.current].to_prompts()
        prompts = replace(prompts, strokes=prepared.arrays.strokes, previous=prepared.arrays.previous)
        best = PromptedMasks(logits, qualities, shape, prompts, threshold)
        change = PromptChange(partial(_set_hypothesis, best, best.best), PromptResponse(number, model, best), best.best)
    if options is None:
        return change, None
    prompt_options = state.lesions[state.current] if prepared.verb == "prompt" else None
    options = options.model_copy(
        update={"model": prepared.arguments["model"], "flips": False, "prompts": prompt_options}
    )
    derived = derive_result(photograph, best.probability(best.best), options, ModelStamp(**model))
    base = replace(remeasure(derived, prepared.before, options), corrected=prepared.is_corrected)
    base.compute_properties()
    before = PromptStep.of(find_state(prepared.before, None))  # undo returns to it
    lesion = AnalyzedLesion.from_model(base, prepared.pixels.digest, array_fingerprint(base.mask), None, before)
    changed = change_mask(prepared, change, lesion, prepared.before.view(np.uint8))
    assert changed.result is not None
    digests, origin = (lesion.mask_digest, lesion.image_digest), get_mask_origin(changed.result.provenance)
    steps = before, changed.prompts
    return change, RecoveredLesion(base, *digests, None, changed.result.mask, origin=origin, prompts=steps)


def _set_hypothesis(hypotheses: PromptedMasks, index: int, state: PromptState) -> PromptState:
    return state.set_mask(hypotheses.mask(index))


def _propose(masks: list[NDArray[np.bool_]], seeds: list[PromptOptions], state: PromptState) -> PromptState:
    return state.propose(masks, seeds)


def change_mask(
    prepared: PreparedPrompt | None, change: PromptChange, lesion: AnalyzedLesion, current_mask: NDArray[np.uint8]
) -> LesionUpdate:
    """Return the update with the mask after a change of the prepared state; call this in a thread.

    ``prepared``: None to change the current state. ``current_mask``: uint8 (row, column), which may have been edited
    since the state was prepared.
    """
    mask, result = current_mask != 0, lesion.result
    state = find_lesion_state(lesion, mask) if prepared is None else prepared.state.edit(prepared.before, mask)
    changed = change.change(state)
    step = PromptStep.of(changed, 0 if change.response.hypotheses is None else change.response.number, change.chosen)
    record = changed.to_record(change.response.model, by_hand=result.corrected_by_hand)
    provenance = {**result.provenance, PROMPTS: record.model_dump(mode="json")}
    return LesionUpdate(result_for_mask(replace(result, provenance=provenance), changed.mask), lesion.chosen, step)
