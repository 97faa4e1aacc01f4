"""Keeps what is drawn and measured on images of a case in the case folder, a moment after the hand rests."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.case.edits import set_correction, set_image
from napari_melanoma.ui.case.images import CaseOpening, ruler
from napari_melanoma.ui.widgets.settings import Settling

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case, CaseImage
    from napari_melanoma.case.store import CaseStore
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.case.store import CaseDesk
    from napari_melanoma.ui.lesion.state import Lesion
    from napari_melanoma.ui.widgets.job import Work

REST_MS = 700
State = tuple[object, ...]


class CaseKeeping(QObject):
    """Writes masks and results through the Lesion dock's own queue, so that each is what is seen."""

    def __init__(self, desk: CaseDesk, opening: CaseOpening, parent: QObject) -> None:
        super().__init__(parent)
        self._desk = desk
        self._opening = opening
        self._due: dict[str, str] = {}
        self._kept: dict[str, State] = {}
        self._seen: set[str] = set()  # photographs whose correction is, or was, the mask in the viewer
        self._settling = Settling(self)
        self._settling.setInterval(REST_MS)
        self._settling.timeout.connect(self._on_rest)
        opening.analysed.connect(self._on_analysed)
        desk.saving.drawing = self

    @property
    def busy(self) -> bool:
        """Whether something that was drawn is not in the case folder yet."""
        lesion = self._opening.lesion
        return bool(self._due) or (lesion is not None and lesion.work.busy)

    @property
    def is_due(self) -> bool:
        """Whether something was drawn or analysed a moment ago."""
        return bool(self._due)

    def flush(self) -> None:
        """Write at once, without waiting for the hand to rest."""
        lesion = self._opening.lesion
        if lesion is not None:
            lesion.work.watcher.flush()
        self._settling.now()

    def _on_analysed(self, image_id: str, identity: str) -> None:
        if self._desk.may_edit:
            self._due[identity] = image_id
            self._settling.start()

    def _on_rest(self) -> None:
        due, self._due = self._due, {}
        for identity, image_id in due.items():
            self._settle(identity, image_id)

    def _settle(self, identity: str, image_id: str) -> None:
        """Keep an analysis unless the case has it already, or has a correction that is not in the viewer."""
        dock, image = self._opening.lesion, _image(self._desk.case, image_id)
        lesion = None if dock is None else dock.work.book.lesions.get(identity)
        if dock is None or image is None or lesion is None or not self._desk.may_edit:
            return
        drawn, state = image.correction, _state(lesion)
        is_same = (drawn.digest if drawn else "") == (lesion.digest if lesion.corrected else "")
        if is_same:
            self._seen.add(identity)
        elif drawn is not None and not lesion.corrected and identity not in self._seen:
            return  # it could not be read, or is about to be drawn: nobody has undone it
        if is_same and identity in self._opening.restored:
            self._opening.restored.discard(identity)
            self._kept[identity] = state
        if self._kept.get(identity) != state:
            told = partial(self._on_kept, identity, image_id, state)
            dock.work.hand_over("case", identity, partial(self._prepare, image_id), told)
        elif lesion.unsaved:
            dock.work.hand_over("case", identity, lambda known: _nothing, _ignore)

    def _prepare(self, image_id: str, lesion: Lesion) -> Work | None:
        store, case, result = self._desk.store, self._desk.case, lesion.result
        if store is None or case is None or _image(case, image_id) is None:
            return None
        return lambda run: _keep(store, case, image_id, result)

    def _on_kept(self, identity: str, image_id: str, state: State, kept: Case) -> None:
        case, new, now = self._desk.case, kept.image(image_id), _image(self._desk.case, image_id)
        if case is None or now is None or now.content != new.content:
            return
        self._kept[identity] = state
        self._seen.add(identity)
        digests = ("", new.correction.digest if new.correction else "")
        results = tuple(result for result in new.results if result.correction in digests)
        layer = self._opening.image(now.path)
        given = None if layer is None else ruler(layer)
        scale = {} if given is None else {"mpp_x": given.x_um, "mpp_y": given.y_um}
        self._desk.amend(set_correction(set_image(case, image_id, results=results, **scale), image_id, new.correction))


def _state(lesion: Lesion) -> State:
    """What makes one result another than the one before."""
    result = lesion.result
    size = result.photograph.pixel_size
    return lesion.digest, lesion.corrected, result.model.fingerprint, result.options.model_dump_json(), size


def _image(case: Case | None, image_id: str) -> CaseImage | None:
    """An image of a case; None where it was removed."""
    found = () if case is None else (image for _, image in case.each_image() if image.id == image_id)
    return next(iter(found), None)


def _keep(store: CaseStore, case: Case, image_id: str, result: LesionResult) -> Case:
    """Write a result, and drop a correction that was undone."""
    from napari_melanoma.case.results import keep_result

    kept = keep_result(store, case, image_id, result)
    return kept if result.corrected else set_correction(kept, image_id, None)


def _nothing(run: RunContext) -> None:
    """What is in the case already counts as saved."""


def _ignore(done: None) -> None:
    """Nobody has to be told."""
