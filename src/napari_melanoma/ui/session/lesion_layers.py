"""The layers of analyzed lesions: show results, and detect edits by the user."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.widgets.job import GuiTaskQueue
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.utils.events import Event

    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.analyzed_lesion import LesionUpdate
    from napari_melanoma.ui.session.photograph import PhotographSession, PhotographSessions

EDIT_IDLE_MS = 100
HIDDEN_CHECK_MS = 1000


class LesionLayers(QObject):
    """Adds and updates the layers of analyzed photographs."""

    editable_layer_added = Signal(object)  # Labels: a mask, or scribbles
    shown = Signal(object)  # PhotographSession

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._queue = GuiTaskQueue(self)

    def add_layers(self, session: PhotographSession, callback: Callable[[], None] | None = None) -> None:
        """Add the layers of a result, each in its own turn of the event loop, so that the viewer stays responsive.

        ``callback``: called after the last layer.
        """
        steps = (self._show_mask, self._show_probability, self._show_contours, self._show_roi, self._show_remaining)
        self._queue.add(*(partial(self._show, step, session) for step in steps))
        if callback is not None:
            self._queue.add(callback)

    def _show(self, step: Callable[[PhotographSession, LesionResult], None], session: PhotographSession) -> None:
        if session.is_open and session.lesion is not None:
            step(session, session.lesion.result)

    def _show_mask(self, session: PhotographSession, result: LesionResult) -> None:
        labels = session.mask
        if labels is None:  # otherwise the mask left by a previous dock is reused
            labels = layers.show_mask(session.viewer, session.image, result.mask.astype("uint8"))
        self.editable_layer_added.emit(labels)

    def _show_probability(self, session: PhotographSession, result: LesionResult) -> None:
        layers.show_probability(session.viewer, session.image, result.smoothed)

    def _show_contours(self, session: PhotographSession, result: LesionResult) -> None:
        layers.show_contours(session.viewer, session.image, result.contours)
        layers.show_other_lesions(session.viewer, session.image, result)
        layers.show_numbers(session.viewer, session.image, result.lesion_boxes)

    def _show_roi(self, session: PhotographSession, result: LesionResult) -> None:
        layers.show_roi(session.viewer, session.image, result.roi)

    def _show_remaining(self, session: PhotographSession, result: LesionResult) -> None:
        labels = session.mask
        if labels is not None:
            layers.show_band(session.viewer, session.image, result.band)
            layers.show_measurements(session.viewer, session.image, result)
            if _can_select_mask(session):
                session.viewer.layers.selection.active = labels
            self.shown.emit(session)

    def show_update(self, session: PhotographSession, update: LesionUpdate) -> bool:
        """Show an update in the layers of a photograph.

        Returns False if the mask was edited in the meantime, so that nothing was changed.
        """
        viewer, image, lesion, labels = session.viewer, session.image, session.lesion, session.mask
        if lesion is None or labels is None:
            return False
        if update.outdated or (update.previous_mask is not None and (labels.data != update.previous_mask).any()):
            layers.show_contours(viewer, image, lesion.result.contours)
            layers.show_other_lesions(viewer, image, lesion.result)
            return False
        if update.result is None:
            layers.show_contours(viewer, image, update.contours or [])
            layers.show_other_contours(viewer, image, update.other_contours or [])
            return True
        if update.changed_pixels is not None:
            layers.write_mask(labels, update.changed_pixels, update.result.mask)
        if update.result.smoothed is not lesion.result.smoothed:
            layers.show_probability(viewer, image, update.result.smoothed)
        layers.show_result(viewer, image, update.result)
        return True


def _can_select_mask(session: PhotographSession) -> bool:
    """Whether a layer of the photograph is selected and no tool is active, so that the selection may change."""
    active = session.viewer.layers.selection.active
    is_own = active is not None and photographs.get_identity(active) == session.identity
    return is_own and str(active.mode) == "pan_zoom"


class LayerWatcher(QObject):
    """Watches the masks and scribbles of photographs.

    Each signal carries the session of the photograph. ``edits_finished``: after a pause in editing the mask.
    """

    edits_finished = Signal(object)
    scribbles_edited = Signal(object)
    removed = Signal(object, object)  # also the layers that were removed with a photograph, by role

    def __init__(self, sessions: PhotographSessions, parent: QObject) -> None:
        super().__init__(parent)
        self.connections = Connections()
        self._sessions = sessions
        self._edited: set[PhotographSession] = set()
        self._removed_layers: dict[str, dict[str, Layer]] = {}
        self._idle_timer = DebounceTimer(self, EDIT_IDLE_MS)
        self._idle_timer.timeout.connect(self._on_edits_finished)
        # A photograph and its layers are removed one after the other.
        self._removal_timer = DebounceTimer(self, 0)
        self._removal_timer.timeout.connect(self._on_removal_finished)
        viewer_layers = sessions.viewer.layers
        self.connections.connect(viewer_layers.events.removed, self._on_removed)
        self._active: Layer | None = viewer_layers.selection.active
        self.connections.connect(viewer_layers.selection.events.active, self._on_active)
        hidden_timer = QTimer(self)
        hidden_timer.timeout.connect(self._check_hidden_mask)
        hidden_timer.start(HIDDEN_CHECK_MS)

    def watch(self, labels: Labels) -> None:
        """Watch a layer for edits and undo."""
        self.connections.connect(labels.events.paint, self._on_painted)
        self.connections.connect(labels.events.set_data, self._on_painted)  # undo and redo emit only this

    def mark_edited(self, session: PhotographSession) -> None:
        """Mark a mask as edited."""
        self._edited.add(session)
        self._idle_timer.start()

    def flush(self) -> None:
        """Emit pending edits at once."""
        self._idle_timer.flush()

    def _on_edits_finished(self) -> None:
        edited, self._edited = self._edited, set()
        for session in edited:
            self.edits_finished.emit(session)

    def _on_painted(self, event: Event) -> None:
        session = self._sessions.find(photographs.get_identity(event.source))
        if session is None or session.lesion is None:
            return
        if event.source == session.mask:
            self.mark_edited(session)
        else:
            self.scribbles_edited.emit(session)

    def _on_active(self, event: Event) -> None:
        self._check_hidden_mask()
        self._active = event.value

    def _check_hidden_mask(self) -> None:
        """Treat the selected mask as edited while it is hidden, since napari emits no event for its undo then."""
        layer = self._active
        session = None if layer is None or layer.visible else self._sessions.find(photographs.get_identity(layer))
        if session is not None and layer == session.mask:
            self.mark_edited(session)

    def _on_removed(self, event: Event) -> None:
        identity = photographs.get_identity(event.value)
        if identity is not None:
            role = photographs.get_role(event.value) or "photograph"
            self._removed_layers.setdefault(identity, {})[role] = event.value
            self._removal_timer.start()

    def _on_removal_finished(self) -> None:
        removed_layers, self._removed_layers = self._removed_layers, {}
        for identity, layers_of_photograph in removed_layers.items():
            session = self._sessions.find(identity)
            if session is not None and not session.is_open:
                self._edited.discard(session)
                self.removed.emit(session, layers_of_photograph)
