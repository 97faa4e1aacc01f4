"""The layers of analyzed lesions: show results, and detect edits by the user."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.lesion.analyzed_lesions import LesionStore, LesionUpdate
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.widgets.job import GuiTaskQueue
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.utils.events import Event


EDIT_IDLE_MS = 100
HIDDEN_CHECK_MS = 1000


class LesionLayers(QObject):
    """Adds and updates the layers of analyzed photographs."""

    editable_layer_added = Signal(object)  # Labels: a mask, or scribbles
    shown = Signal(str)

    def __init__(self, store: LesionStore, parent: QObject) -> None:
        super().__init__(parent)
        self._store = store
        self._queue = GuiTaskQueue(self)

    def add_layers(self, identity: str, callback: Callable[[], None] | None = None) -> None:
        """Add the layers of a result, each in its own turn of the event loop, so that the viewer stays responsive.

        ``callback``: called after the last layer.
        """
        tasks = (self._show_mask, self._show_probability, self._show_contours, self._show_roi, self._show_remaining)
        self._queue.add(*(partial(task, identity) for task in tasks))
        if callback is not None:
            self._queue.add(callback)

    def _show_mask(self, identity: str) -> None:
        image = self._store.image(identity)
        if image is not None:
            labels = self._store.mask(identity)
            if labels is None:  # otherwise the mask left by a previous dock is reused
                mask = self._store.lesions[identity].result.mask
                labels = layers.show_mask(self._store.viewer, image, mask.astype("uint8"))
            self.editable_layer_added.emit(labels)

    def _show_probability(self, identity: str) -> None:
        image = self._store.image(identity)
        if image is not None:
            layers.show_probability(self._store.viewer, image, self._store.lesions[identity].result.smoothed)

    def _show_contours(self, identity: str) -> None:
        image = self._store.image(identity)
        if image is not None:
            viewer, result = self._store.viewer, self._store.lesions[identity].result
            layers.show_contours(viewer, image, result.contours)
            layers.show_other_lesions(viewer, image, result)
            layers.show_numbers(viewer, image, result.lesion_boxes)

    def _show_roi(self, identity: str) -> None:
        image = self._store.image(identity)
        if image is not None:
            layers.show_roi(self._store.viewer, image, self._store.lesions[identity].result.roi)

    def _show_remaining(self, identity: str) -> None:
        image, labels = self._store.image(identity), self._store.mask(identity)
        if image is not None and labels is not None:
            result = self._store.lesions[identity].result
            layers.show_band(self._store.viewer, image, result.band)
            layers.show_measurements(self._store.viewer, image, result)
            if self._can_select_mask(identity):
                self._store.viewer.layers.selection.active = labels
            self.shown.emit(identity)

    def _can_select_mask(self, identity: str) -> bool:
        """Whether a layer of the photograph is selected and no tool is active, so that the selection may change."""
        active = self._store.viewer.layers.selection.active
        return active is not None and photographs.get_identity(active) == identity and str(active.mode) == "pan_zoom"

    def show_update(self, update: LesionUpdate) -> bool:
        """Show an update in the layers of a photograph.

        Returns False if the mask was edited in the meantime, so that nothing was changed.
        """
        viewer, lesion = self._store.viewer, self._store.lesions[update.identity]
        image, labels = self._store.image(update.identity), self._store.mask(update.identity)
        if image is None or labels is None:
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


class LayerWatcher(QObject):
    """Watches the masks and scribbles of photographs.

    Each signal carries the identity of the photograph. ``edits_finished``: after a pause in editing the mask.
    """

    mask_edited = Signal(str)
    edits_finished = Signal(str)
    scribbles_edited = Signal(str)
    removed = Signal(str, object)  # also the layers that were removed with a photograph, by role

    def __init__(self, store: LesionStore, parent: QObject) -> None:
        super().__init__(parent)
        self.connections = Connections()
        self._store = store
        self._edited: set[str] = set()
        self._removed_layers: dict[str, dict[str, Layer]] = {}
        self._idle_timer = DebounceTimer(self, EDIT_IDLE_MS)
        self._idle_timer.timeout.connect(self._on_edits_finished)
        # A photograph and its layers are removed one after the other.
        self._removal_timer = DebounceTimer(self, 0)
        self._removal_timer.timeout.connect(self._on_removal_finished)
        self.connections.connect(store.viewer.layers.events.removed, self._on_removed)
        self._active: Layer | None = store.viewer.layers.selection.active
        self.connections.connect(store.viewer.layers.selection.events.active, self._on_active)
        hidden_timer = QTimer(self)
        hidden_timer.timeout.connect(self._check_hidden_mask)
        hidden_timer.start(HIDDEN_CHECK_MS)

    def watch(self, labels: Labels) -> None:
        """Watch a layer for edits and undo."""
        self.connections.connect(labels.events.paint, self._on_painted)
        self.connections.connect(labels.events.set_data, self._on_painted)  # undo and redo emit only this

    def mark_edited(self, identity: str) -> None:
        """Mark a mask as edited."""
        self._edited.add(identity)
        self._idle_timer.start()
        self.mask_edited.emit(identity)

    def flush(self) -> None:
        """Emit pending edits at once."""
        self._idle_timer.flush()

    def _on_edits_finished(self) -> None:
        edited, self._edited = self._edited, set()
        for identity in edited:
            self.edits_finished.emit(identity)

    def _on_painted(self, event: Event) -> None:
        identity = photographs.get_identity(event.source)
        if identity not in self._store.lesions:
            return
        if event.source == self._store.mask(identity):
            self.mark_edited(identity)
        else:
            self.scribbles_edited.emit(identity)

    def _on_active(self, event: Event) -> None:
        self._check_hidden_mask()
        self._active = event.value

    def _check_hidden_mask(self) -> None:
        """Treat the selected mask as edited while it is hidden, since napari emits no event for its undo then."""
        layer = self._active
        identity = None if layer is None or layer.visible else photographs.get_identity(layer)
        if identity in self._store.lesions and layer == self._store.mask(str(identity)):
            self.mark_edited(str(identity))

    def _on_removed(self, event: Event) -> None:
        identity = photographs.get_identity(event.value)
        if identity is not None:
            self._removed_layers.setdefault(identity, {})[photographs.get_role(event.value) or "photograph"] = (
                event.value
            )
            self._removal_timer.start()

    def _on_removal_finished(self) -> None:
        removed_layers, self._removed_layers = self._removed_layers, {}
        for identity, layers_of_photograph in removed_layers.items():
            if self._store.image(identity) is None:
                self._edited.discard(identity)
                self.removed.emit(identity, layers_of_photograph)
