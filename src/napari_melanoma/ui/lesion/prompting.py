"""Correct a mask by clicks: each prompt is sent to the worker, and its response changes the mask as an undo step."""

from __future__ import annotations

import time
import uuid
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
from napari_melanoma.lesion.prompt_history import PromptHistory, PromptState, PromptStep, strokes_outside
from napari_melanoma.ui.lesion.prompt_tool import HINT, PromptCanvasTool, draw_hypotheses
from napari_melanoma.ui.session.analyzed_lesion import result_for_mask, threshold_mask
from napari_melanoma.ui.session.prompted import FIND_ALL, PendingPrompt, PromptedPhotograph
from napari_melanoma.ui.session.recovery import RecoveredLesion
from napari_melanoma.ui.viewer import layers
from napari_melanoma.ui.viewer.photographs import get_model_digest
from napari_melanoma.ui.widgets.job import BackgroundJob, tasks

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.lesion.prompting import PromptedMasks
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.result_updates import LesionController
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
    from napari_melanoma.ui.worker_client import WorkerClient, WorkerRequest

TASK: Literal["prompting"] = "prompting"  # in the status line
ChangeState = Callable[[PromptState], PromptState]


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
    not analyzed before. ``is_corrected``: whether there was a mask that differs from the predicted one.
    ``verb``, ``arguments``: of the request; empty if none is needed. ``out``: the output file of the worker. ``rest``:
    the pending prompts for other lesions. ``arrays``: the strokes and the previous mask of the request.
    """

    before: NDArray[np.bool_]
    is_first: bool
    is_corrected: bool
    state: PromptState
    verb: str
    arguments: dict[str, Any]
    out: Path
    rest: list[PendingPrompt]
    arrays: Prompts = field(default_factory=Prompts)


class PromptChange(NamedTuple):
    """A change of the state by a response of the worker.

    ``response_number``: 0 if the response has no hypotheses to choose from. ``chosen``: the index of the hypothesis.
    """

    change: ChangeState
    response_number: int = 0
    chosen: int = 0


class PromptController(QObject):
    """Sends prompts to the worker, one request at a time, and changes the mask.

    The stages of a request: prepare it in a thread, process it in the worker, read the response in a thread.
    """

    failed = Signal(object)  # Exception

    def __init__(self, controls: LesionControls, controller: LesionController, client: WorkerClient) -> None:
        super().__init__(controls)
        self._controls, self._controller, self._client = controls, controller, client
        self._sessions, self._viewer = controls.sessions, controls.sessions.viewer
        self._tool = controls.prompt_tool
        self._switch_off = partial(controls.prompt_tool.button.setChecked, False)
        self._canvas = PromptCanvasTool(self._viewer, self._on_prompt, self._switch_off)
        self._stage: BackgroundJob | WorkerRequest | None = None
        self._encoding: BackgroundJob | None = None  # never at the same time as a stage
        self._active: PhotographSession | None = None  # the photograph of the stage or encoding
        self._tool.toggled.connect(self._on_toggled)
        self._tool.chosen.connect(self._on_chosen)
        self._tool.find_button.clicked.connect(partial(self._add_pending, FIND_ALL))
        controls.correction_tools.activated.connect(self._switch_off)
        controls.model.changed.connect(self._request_encoding)
        controls.status.cancelled.connect(self._on_cancelled)
        controller.changed.connect(self._on_changed)
        tasks.idle.connect(self._next)
        self._sessions.removed.connect(self._on_removed)
        self.destroyed.connect(self._canvas.stop)

    def update_view(self) -> None:
        """Show the prompts of the photograph in view, and switch the tool off."""
        self._tool.button.setChecked(False)
        session = self._controls.picker.session
        if session is None:
            self._tool.show_hypotheses([], [], 0)
        else:
            self._on_changed(session)

    def _on_toggled(self, on: bool) -> None:
        session = self._controls.picker.session
        if on and session is not None:
            self._controls.correction_tools.stop()
            self._controls.status.show_message(HINT)
            self._start_tool(session.image)
            self._request_encoding()
        else:
            self._canvas.stop()
            if self._controls.status.text == HINT:
                self._controls.status.show_message("")

    def _start_tool(self, image: Image) -> None:
        strokes = self._canvas.start(image)
        if strokes is not None:
            self._controller.watcher.watch(strokes)

    def _request_encoding(self) -> None:
        """Prepare the photograph in view while the tool is on, so that the first click takes effect at once."""
        session = self._controls.picker.session
        if self._tool.button.isChecked() and session is not None:
            self._prompted(session).must_encode = True
            self._next()

    def _on_prompt(self, prompt: PromptOptions) -> None:
        self._add_pending(PendingPrompt(prompt, self._tool.new_button.isChecked()))
        self._tool.new_button.setChecked(False)

    def _add_pending(self, prompt: PendingPrompt, *_: object) -> None:
        session = self._controls.picker.session
        if session is not None:
            self._prompted(session).pending.append(prompt)
            self._next()

    def start_from(self, session: PhotographSession, step: PromptStep) -> None:
        """Start again from a mask that replaced the previous one of a photograph."""
        history = self._prompted(session).history
        history.steps.append(step)
        history.current = step

    def _prompted(self, session: PhotographSession) -> PromptedPhotograph:
        """Return the prompts of a photograph; create them at first use."""
        if session.prompted is None:
            session.prompted = PromptedPhotograph(self._client.folder / f"{uuid.uuid4().hex}-prompted.npy")
        return session.prompted

    def _next(self) -> None:
        """Send pending prompts, those of the photograph in view first, once the previous response is in its mask."""
        if self._stage is not None or self._encoding is not None:
            return
        current = self._controls.picker.session
        prompted = [(session, session.prompted) for session in self._sessions if session.prompted is not None]
        prompted.sort(key=lambda item: item[0] is not current)
        for session, photograph in prompted:
            if photograph.pending:
                tasks.set_running(self, True)
                self._controller.watcher.flush()
                if tasks.is_idle(self._controller):
                    self._send(session, photograph)
                return
        for session, photograph in prompted:
            if photograph.must_encode:
                self._encode(session, photograph)
                return

    def _encode(self, session: PhotographSession, photograph: PromptedPhotograph) -> None:
        """Write the pixels of a photograph, then request its features; prompts wait only for the pixels."""
        photograph.must_encode = False
        if session.is_open:
            work = partial(prepare_encoding, photograph, session.source, self._controls.model.model)
            self._encoding, self._active = BackgroundJob(work), session
            self._encoding.succeeded.connect(self._on_encodable)
            self._encoding.failed.connect(self._on_failed)
            self._encoding.start(self)

    def _on_encodable(self, arguments: dict[str, Any]) -> None:
        self._encoding = self._active = None
        self._client.request("encode", **arguments).failed.connect(self.failed)
        self._next()

    def _send(self, session: PhotographSession, photograph: PromptedPhotograph) -> None:
        """Send the pending prompts of a photograph."""
        pending, photograph.pending = photograph.pending, []
        if not session.is_open:
            self._end()
            return
        self._controls.status.begin(TASK, "Finding the lesion ...")
        mask = MaskToCorrect.find(session)
        work = partial(prepare_prompt, photograph, session.source, pending, mask, self._controls.model.model)
        self._start(session, BackgroundJob(work), partial(self._on_prepared, session, photograph))

    def _start(
        self, session: PhotographSession, stage: BackgroundJob | WorkerRequest, on_success: Callable[[Any], None]
    ) -> None:
        self._stage, self._active = stage, session
        tasks.set_running(self, True)
        stage.succeeded.connect(on_success)
        stage.failed.connect(self._on_failed)
        if isinstance(stage, BackgroundJob):
            stage.start()

    def _on_prepared(
        self, session: PhotographSession, photograph: PromptedPhotograph, prepared: PreparedPrompt
    ) -> None:
        photograph.pending[:0] = prepared.rest
        if not prepared.verb:
            self._finish(session, photograph, prepared, PromptChange(lambda state: state))
            return
        request = self._client.request(prepared.verb, **prepared.arguments)
        self._client.prioritize_request(request)
        self._start(session, request, partial(self._on_response, session, photograph, prepared))

    def _on_response(
        self,
        session: PhotographSession,
        photograph: PromptedPhotograph,
        prepared: PreparedPrompt,
        response: dict[str, Any],
    ) -> None:
        options = self._controller.options_of(session) if prepared.is_first else None
        work = partial(read_response, photograph, prepared, response, options)
        self._start(session, BackgroundJob(work), partial(self._on_read, session, photograph, prepared))

    def _on_read(
        self,
        session: PhotographSession,
        photograph: PromptedPhotograph,
        prepared: PreparedPrompt,
        response: tuple[PromptChange, RecoveredLesion | None],
    ) -> None:
        change, first = response
        if first is not None:
            self._controller.recovery.restore(session, first)
        self._finish(session, photograph, prepared, change if first is None else None)

    def _finish(
        self,
        session: PhotographSession,
        photograph: PromptedPhotograph,
        prepared: PreparedPrompt,
        change: PromptChange | None,
    ) -> None:
        """Change the mask in one undo step."""
        self._end()
        if change is not None:
            make = partial(change_mask, photograph, prepared, change)
            self._controller.replace_mask(session, make, key="prompt")
        self._next()

    def _on_changed(self, session: PhotographSession) -> None:
        """Show the prompts and hypotheses of the current mask, also of one that undo restored."""
        photograph, lesion = session.prompted, session.lesion
        step = None if photograph is None or lesion is None else photograph.history.set_current(lesion.mask_digest)
        if step is not None and session.is_open:
            layers.show_prompts(self._viewer, session.image, step.prompted)
        if session is self._controls.picker.session:
            self._show_hypotheses(photograph, step)
            if self._tool.button.isChecked():
                self._start_tool(session.image)

    def _on_chosen(self, position: int) -> None:
        """Change the lesion that was prompted last to another hypothesis."""
        session = self._controls.picker.session
        photograph = None if session is None else session.prompted
        if session is None or photograph is None or photograph.hypotheses is None or self._stage is not None:
            return
        index = photograph.hypotheses.by_area[position]
        set_hypothesis = partial(_set_hypothesis, photograph.hypotheses, index)
        change = PromptChange(set_hypothesis, photograph.response_number, index)
        self._controller.replace_mask(session, partial(change_mask, photograph, None, change), key="prompt")

    def _show_hypotheses(self, photograph: PromptedPhotograph | None, step: PromptStep | None) -> None:
        """Show the hypotheses of the last response, if the mask is one of them."""
        hypotheses = None if photograph is None else photograph.hypotheses
        if photograph is None or hypotheses is None or photograph.preview is None or step is None:
            self._tool.show_hypotheses([], [], 0)
            return
        if step.answer != photograph.response_number:
            self._tool.show_hypotheses([], [], 0)
            return
        pictures = draw_hypotheses(photograph.preview, hypotheses.margins[hypotheses.by_area])
        qualities = [float(hypotheses.qualities[index]) for index in hypotheses.by_area]
        self._tool.show_hypotheses(pictures, qualities, hypotheses.by_area.index(step.chosen))

    def _on_failed(self, error: Exception) -> None:
        self._encoding = None
        self._end()
        self.failed.emit(error)
        self._next()

    def _on_cancelled(self, task: str) -> None:
        if task != TASK:
            return
        stage = self._stage
        for session in self._sessions:
            if session.prompted is not None:
                session.prompted.pending.clear()
        self._end()
        if stage is not None:
            stage.cancel()

    def _end(self) -> None:
        self._stage = self._active = None
        tasks.set_running(self, False)
        self._controls.status.end(TASK)

    def _on_removed(self, session: PhotographSession) -> None:
        stage = self._stage or self._encoding
        if stage is not None and self._active is session:
            self._encoding = None
            self._end()
            if isinstance(stage, BackgroundJob):
                stage.cancel()
            else:
                stage.ignore()
            self._next()
        if session.prompted is not None:
            array = session.prompted.array
            for path in array.parent.glob(f"{array.stem}*"):
                with suppress(OSError):  # on Windows, the worker may still read it; the client removes its folder
                    path.unlink(missing_ok=True)


def prepare_prompt(
    prompted: PromptedPhotograph,
    source: LayerPhotographSource,
    pending: list[PendingPrompt],
    current: MaskToCorrect,
    model: str,
    run: RunContext,
) -> PreparedPrompt:
    """Add the prompts of one lesion to the state, and write the arrays of a request; call this in a thread.

    ``model``: the selected model, which is used if it accepts prompts.
    """
    import numpy as np

    from napari_melanoma.models.installed_bundles import find_prompted_model

    rgb = prompted.read(source).rgb
    run.check()
    before = np.zeros(rgb.shape[:2], bool) if current.mask is None else current.mask != 0
    digest, lesion = array_fingerprint(before), current.lesion
    if lesion is not None and lesion.image_digest != prompted.image_digest:
        lesion = None  # the pixels were replaced
    state = find_state(prompted.history, before, lesion)
    if prompted.history.find(digest) is None:
        prompted.history.current = prompted.history.add(state)  # undo returns to it
    is_first, is_corrected = lesion is None, bool(before.any()) and digest != current.predicted_digest
    out = prompted.array.with_suffix(".out.npy")
    arguments: dict[str, Any] = {"model": find_prompted_model(model), "image": str(prompted.array), "out": str(out)}
    if pending[0] is FIND_ALL:
        return PreparedPrompt(before, is_first, is_corrected, state, "find_lesions", arguments, out, pending[1:])
    state, rest = add_pending(state, pending)
    prompts = state.lesions[state.current]
    if prompts == PromptOptions():
        return PreparedPrompt(before, is_first, is_corrected, state, "", {}, out, rest)
    arguments["options"] = prompts.model_dump(mode="json")
    own = state.current_pixels
    arrays = Prompts(
        strokes=None if current.strokes is None else strokes_outside(current.strokes, state.other_pixels),
        previous=own if own.any() else None,
    )
    for name, array in (("strokes", arrays.strokes), ("previous", arrays.previous)):
        if array is not None:
            path = prompted.array.with_suffix(f".{name}.npy")
            np.save(path, array)
            arguments[name] = str(path)
    return PreparedPrompt(before, is_first, is_corrected, state, "prompt", arguments, out, rest, arrays)


def prepare_encoding(
    prompted: PromptedPhotograph, source: LayerPhotographSource, model: str, run: RunContext
) -> dict[str, Any]:
    """Write the pixels of a photograph, and return the arguments of the request for its features.

    Call this in a thread. ``model``: the selected model, which is used if it accepts prompts.
    """
    from napari_melanoma.models.installed_bundles import find_prompted_model

    prompted.read(source)
    return {"model": find_prompted_model(model), "image": str(prompted.array)}


def find_state(history: PromptHistory, mask: NDArray[np.bool_], lesion: AnalyzedLesion | None) -> PromptState:
    """Return the state of a mask, bool (row, column), which may have been edited, analyzed again or recovered."""
    if lesion is None:
        return history.restore_state(mask)
    record = lesion.result.prompt_record
    if history.current is None and record is not None:
        state = PromptState.from_record(record, mask)
        return replace(state, locked=mask != _predicted_mask(lesion)) if record.by_hand else state
    if not lesion.corrected:
        return history.restore_state(mask, mask)
    return history.restore_state(mask, _predicted_mask(lesion) if history.current is None else None)


def _predicted_mask(lesion: AnalyzedLesion) -> NDArray[np.bool_]:
    return threshold_mask(lesion.result, lesion.result.options, lesion.chosen)


def add_pending(state: PromptState, pending: list[PendingPrompt]) -> tuple[PromptState, list[PendingPrompt]]:
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
    return state, []


def read_response(
    prompted: PromptedPhotograph,
    prepared: PreparedPrompt,
    response: dict[str, Any],
    options: LesionOptions | None,
    run: RunContext,
) -> tuple[PromptChange, RecoveredLesion | None]:
    """Read the worker's response; call this in a thread.

    ``options``: the options of a photograph that was not analyzed; otherwise None. Returns the change of the state and,
    for a photograph that was not analyzed, the result before the change with the mask after it.
    """
    import numpy as np

    from napari_melanoma.lesion.analysis import ModelStamp, derive_result, remeasure
    from napari_melanoma.lesion.prompting import PromptedMasks

    photograph, state = prompted.photograph, prepared.state
    assert photograph is not None
    run.check()
    prompted.model = response["model"]
    shape = (photograph.rgb.shape[0], photograph.rgb.shape[1])
    logits, qualities = np.load(prepared.out), np.array(response["qualities"], np.float32)
    threshold = response["model"]["threshold"]
    if prepared.verb == "find_lesions":
        prompted.hypotheses = None
        seeds = [PromptOptions(include=((row, column),)) for row, column in response["seeds"]]
        lesions = [
            PromptedMasks(lesion_logits[None], quality[None], shape, seed.to_prompts(), threshold)
            for lesion_logits, quality, seed in zip(logits, qualities, seeds, strict=True)
        ]
        change = PromptChange(partial(_propose, [lesion.best_mask for lesion in lesions], seeds))
        highest = logits.max(0, keepdims=True, initial=-9)
        best = PromptedMasks(highest, np.ones(1, np.float32), shape, Prompts(), threshold)
    else:
        prompts = state.lesions[state.current].to_prompts()
        prompts = replace(prompts, strokes=prepared.arrays.strokes, previous=prepared.arrays.previous)
        prompted.hypotheses = best = PromptedMasks(logits, qualities, shape, prompts, threshold)
        prompted.response_number += 1
        change = PromptChange(partial(_set_hypothesis, best, best.best), prompted.response_number, best.best)
    if options is None:
        return change, None
    prompt_options = state.lesions[state.current] if prepared.verb == "prompt" else None
    options = options.model_copy(
        update={"model": prepared.arguments["model"], "flips": False, "prompts": prompt_options}
    )
    derived = derive_result(photograph, best.probability(best.best), options, ModelStamp(**response["model"]))
    base = replace(remeasure(derived, prepared.before, options), corrected=prepared.is_corrected)
    base.compute_properties()
    changed = change_mask(prompted, prepared, change, base, prepared.before.view(np.uint8))
    digests, origin = (array_fingerprint(base.mask), prompted.image_digest), get_mask_origin(changed.provenance)
    return change, RecoveredLesion(base, *digests, None, changed.mask, None, time.time(), Path(), origin)


def _set_hypothesis(hypotheses: PromptedMasks, index: int, state: PromptState) -> PromptState:
    return state.set_mask(hypotheses.mask(index))


def _propose(masks: list[NDArray[np.bool_]], seeds: list[PromptOptions], state: PromptState) -> PromptState:
    return state.propose(masks, seeds)


def change_mask(
    prompted: PromptedPhotograph,
    prepared: PreparedPrompt | None,
    change: PromptChange,
    result: LesionResult,
    current_mask: NDArray[np.uint8],
) -> LesionResult:
    """Return the result after a change of the prepared state, and add the state to the history; call this in a thread.

    ``prepared``: None to change the current state. ``current_mask``: uint8 (row, column), which may have been edited
    since the state was prepared.
    """
    mask, history = current_mask != 0, prompted.history
    state = history.restore_state(mask) if prepared is None else prepared.state.edit(prepared.before, mask)
    changed = change.change(state)
    history.add(changed, change.response_number, change.chosen)
    record = changed.to_record(prompted.model, by_hand=result.corrected_by_hand)
    provenance = {**result.provenance, PROMPTS: record.model_dump(mode="json")}
    return result_for_mask(replace(result, provenance=provenance), changed.mask)
