"""Save corrections and results of images in the case folder, and delay closing a window until they are saved."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.case.model import set_correction, set_image
from napari_melanoma.ui.case.images import CaseImageOpener
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.widgets.dialogs import WindowGuard, create_question, exec_question
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case, CaseImage
    from napari_melanoma.case.store import CaseStore
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.case.controller import CaseController
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.widgets.job import JobFunction


SAVE_DELAY_MS = 700
ResultState = tuple[object, ...]  # see ``_result_state``


class CaseCorrectionSaver(QObject):
    """Saves masks and results through the Lesion dock's queue, so that they match the viewer."""

    def __init__(self, controller: CaseController, opener: CaseImageOpener, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        self._opener = opener
        self._pending: dict[PhotographSession, str] = {}  # with the id of the image
        self._saved_states: dict[str, ResultState] = {}
        self._in_sync: set[str] = set()  # photographs whose mask in the viewer has matched the saved correction
        self._save_timer = DebounceTimer(self, SAVE_DELAY_MS)
        self._save_timer.timeout.connect(self._save_pending)
        opener.analyzed.connect(self._on_analyzed)
        opener.explained.connect(self._save_heatmap)
        controller.saver.corrections = self

    @property
    def is_saved(self) -> bool:
        """Whether all corrections are in the case folder."""
        lesion = self._opener.connected_dock
        return tasks.is_idle(self) and (lesion is None or tasks.is_idle(lesion.controller))

    def flush(self) -> None:
        """Save at once, without delay."""
        lesion = self._opener.connected_dock
        if lesion is not None:
            lesion.controller.watcher.flush()
        self._save_timer.flush()

    def _on_analyzed(self, image_id: str, session: PhotographSession) -> None:
        if self._controller.is_editable:
            self._pending[session] = image_id
            self._save_timer.start()

    def _save_pending(self) -> None:
        pending, self._pending = self._pending, {}
        for session, image_id in pending.items():
            self._save_analysis(session, image_id)

    def _save_analysis(self, session: PhotographSession, image_id: str) -> None:
        """Save an analysis, unless it is saved already, or the case has a correction that is not in the viewer yet."""
        dock, image = self._opener.connected_dock, _find_image(self._controller.case, image_id)
        lesion, identity = session.lesion, session.identity
        if dock is None or image is None or lesion is None or not self._controller.is_editable:
            return
        correction, state = image.correction, _result_state(lesion)
        is_same = (correction.digest if correction else "") == (lesion.mask_digest if lesion.corrected else "")
        if is_same:
            self._in_sync.add(identity)
        elif correction is not None and not lesion.corrected and identity not in self._in_sync:
            return  # the correction could not be read or is not shown yet; the user has not undone it
        if is_same and identity in self._opener.restored:
            self._opener.restored.discard(identity)
            self._saved_states[identity] = state
        if self._saved_states.get(identity) != state:
            on_saved = partial(self._on_saved, session, image_id, state)
            dock.controller.submit_save("case", session, partial(self._prepare, image_id), on_saved)
            return
        if lesion.unsaved:
            dock.controller.submit_save("case", session, lambda lesion: _do_nothing, _ignore)
        self._save_heatmap(image_id, session)

    def _save_heatmap(self, image_id: str, session: PhotographSession) -> None:
        """Save the visible heatmap if its analysis is saved; otherwise the heatmap is saved after the analysis."""
        dock = self._opener.connected_dock
        if dock is not None and self._controller.is_editable:
            dock.controller.submit_save("heatmap", session, partial(self._prepare_heatmap, image_id, session), _ignore)

    def _prepare_heatmap(self, image_id: str, session: PhotographSession, lesion: AnalyzedLesion) -> JobFunction | None:
        from napari_melanoma.case.results import save_case_explanation

        dock, store = self._opener.connected_dock, self._controller.store
        image = _find_image(self._controller.case, image_id)
        is_saved = not lesion.unsaved and self._saved_states.get(session.identity) == _result_state(lesion)
        if dock is None or store is None or image is None or not is_saved:
            return None
        result = dock.predictions.add_prediction(session, lesion)
        return None if result.heatmap is None else lambda run: save_case_explanation(store, image, result)

    def _prepare(self, image_id: str, lesion: AnalyzedLesion) -> JobFunction | None:
        store, case, result = self._controller.store, self._controller.case, lesion.result
        if store is None or case is None or _find_image(case, image_id) is None:
            return None
        return lambda run: _save_result(store, case, image_id, result)

    def _on_saved(self, session: PhotographSession, image_id: str, state: ResultState, saved: Case) -> None:
        case, new = self._controller.case, saved.find_image(image_id)
        current = _find_image(case, image_id)
        if case is None or current is None or current.path != new.path:
            return
        self._saved_states[session.identity] = state
        self._in_sync.add(session.identity)
        digests = ("", new.correction.digest if new.correction else "")
        results = tuple(result for result in new.results if result.correction in digests)
        layer = self._opener.find_image(current.path)
        ruler_size = (
            None if layer is None else layer.metadata.get(METADATA_KEY, {}).get("ruler")
        )  # set by the user with the ruler
        scale = {} if ruler_size is None else {"mpp_x": ruler_size.x_um, "mpp_y": ruler_size.y_um}
        self._controller.amend(
            set_correction(set_image(case, image_id, results=results, **scale), image_id, new.correction)
        )
        self._save_heatmap(image_id, session)


def _result_state(lesion: AnalyzedLesion) -> ResultState:
    """Return the values that decide whether a result must be saved again."""
    result = lesion.result
    size = result.photograph.pixel_size
    return lesion.mask_digest, lesion.corrected, result.model.fingerprint, result.options.model_dump_json(), size


def _find_image(case: Case | None, image_id: str) -> CaseImage | None:
    """Find an image of a case; None if it was removed."""
    images = () if case is None else case.iterate_images()
    return next((image for _, image in images if image.id == image_id), None)


def _save_result(store: CaseStore, case: Case, image_id: str, result: LesionResult) -> Case:
    """Write a result, and remove a correction that was undone."""
    from napari_melanoma.case.results import save_result

    saved = save_result(store, case, image_id, result)
    return saved if result.corrected else set_correction(saved, image_id, None)


def _do_nothing(run: RunContext) -> None:
    """Do nothing, because the result is in the case already."""


def _ignore(done: None) -> None:
    """Ignore the end of a save."""


class CaseCloseGuard(WindowGuard):
    """Saves the case before the main window of its dock is closed."""

    def __init__(self, dock: QWidget, controller: CaseController, corrections: CaseCorrectionSaver) -> None:
        super().__init__(dock)
        self._controller = controller
        self._corrections = corrections
        self._closing = self._is_waiting = False
        tasks.idle.connect(self._on_idle)

    def move_to_front(self) -> None:
        """Filter events before other guards, because this guard saves without asking."""
        window = self.window
        if window is not None:
            window.removeEventFilter(self)
            window.installEventFilter(self)

    def may_close(self) -> bool:
        """Return whether everything is saved; otherwise save, then close the window."""
        self._controller.saver.flush_requested.emit()
        if self._closing or not self._has_unsaved_changes():
            return True
        self._corrections.flush()
        if self._controller.saver.has_unsaved_changes:
            self._controller.saver.save()
        self._is_waiting = True
        return False

    def _has_unsaved_changes(self) -> bool:
        return self._controller.is_editable and (self._controller.saver.has_unsaved_changes or not self._is_idle())

    def _is_idle(self) -> bool:
        return self._corrections.is_saved and tasks.is_idle(self._controller)

    def _on_idle(self) -> None:
        if not self._is_waiting or not self._is_idle():
            return
        self._is_waiting = False
        if self._controller.saver.error is not None:
            self._confirm_close()
        elif self._controller.saver.has_unsaved_changes:
            self._controller.saver.save()
            self._is_waiting = True
        else:
            self._close_window()

    def _confirm_close(self) -> None:
        box = create_question(
            self._dock, "case_not_saved", "The case cannot be saved.", str(self._controller.saver.error), "Case"
        )
        close = box.addButton("Close without saving", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton("Stay in napari", QMessageBox.ButtonRole.RejectRole))
        if exec_question(box) is close:
            self._controller.saver.discard_changes()
            self._close_window()

    def _close_window(self) -> None:
        window = self.window
        if window is not None and window.isVisible():  # it may have been closed while the case was being saved
            self._closing = True
            window.close()
            self._closing = False
