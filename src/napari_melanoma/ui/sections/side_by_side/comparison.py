"""The comparison of two slides: their cameras move together, and the second slide is registered to the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QObject

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.slides.notes import SlideAlignment
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.job import cancel_jobs, run_job
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari.layers import Layer, Points

    from napari_melanoma.imaging.registration import Registration
    from napari_melanoma.ui.sections.side_by_side.second_view import SecondView
    from napari_melanoma.ui.session.slide import SlideSession

ALIGN = (
    "Register the slides automatically or by landmarks, or center the same position in both views and press Align here."
)
LANDMARKS = "Click the same structure in both views, in the same order: {} of at least 2. Press Landmarks again to end."
REGISTERING = "Registering the slides ..."
NO_SCALE = "The views can be linked only if both slides have a scale, or neither."


class SlideComparison(QObject):
    """Synchronize the cameras of two views, and register the slide in the second to the displayed one.

    The layers of the second slide are transformed to the first view: both cameras have the same center and zoom.
    Coordinates of a slide are (y, x) in µm, or in pixels without a scale, from the center of its first pixel.
    ``changed``: what the section shows.
    """

    changed = Signal()

    def __init__(self, session: SlideSession, second: SecondView, is_linked: bool) -> None:
        super().__init__(session.sessions.parent)
        self._session, self._slide, self._other = session, session.slide, second.slide
        self._viewer, self._model = session.services.viewer, second.model
        self.can_link = (self._slide.info.pixel_size is None) == (self._other.info.pixel_size is None)
        self._unit = "px" if self._slide.info.pixel_size is None else "µm"
        self._pixel_um = (*self._slide.pixel_um, *self._other.pixel_um)
        self.is_linked = is_linked
        self.alignment = ""  # its description, or the number of landmarks; empty if there is none
        self._matrix = self._find_unaligned()  # from coordinates of the second slide to those of the first
        self._is_syncing = False  # True while this class sets the cameras
        self._is_registering = False
        self.landmarks: Landmarks | None = None  # while they are being set
        self._model.reset_view()
        self._connections = Connections(self)
        connect = self._connections.connect
        for viewer, slot in ((self._viewer, self._on_first_camera), (self._model, self._on_second_camera)):
            for emitter in (get_camera(viewer).events.center, get_camera(viewer).events.zoom):
                connect(emitter, slot)
        connect(self._slide.layers[0].events.affine, self._show_layers)
        connect(self._model.layers.events.inserted, self._show_layers)
        connect(session.heatmap_display.changed, self._show_layers)
        self._show_layers()
        self._restore()

    @property
    def text(self) -> str:
        """What the section states: the current step, the alignment, or what to do."""
        if not self.can_link:
            return NO_SCALE
        return REGISTERING if self._is_registering else self.alignment or ALIGN

    def close(self) -> None:
        self._remove_landmarks()
        self._connections.end()
        cancel_jobs(self)
        self.deleteLater()

    def set_linked(self, on: bool) -> None:
        """Let the views move together, or each by itself."""
        self.is_linked = on
        self._on_first_camera()

    def align(self, _: bool = False) -> None:
        """Shift the second slide so that the centers of both views are the same position."""
        self._cancel_registration()
        first, second = (get_camera(viewer).center[-2:] for viewer in (self._viewer, self._model))
        shift = np.eye(3)
        shift[:2, 2] = np.subtract(first, second)
        affine = np.array(self._slide.affine)
        matrix = np.linalg.inv(affine) @ shift @ affine @ self._matrix
        self.is_linked = True
        moved = f"{shift[1, 2]:.4g}, {shift[0, 2]:.4g} {self._unit} (x, y)"
        self._set_alignment(matrix, f"Aligned: the second slide was shifted by {moved}.")
        self._save()

    def register(self, _: bool = False) -> None:
        self._end_landmarks()
        self._is_registering = True
        self.changed.emit()
        work = partial(_register, self._slide, self._other)
        run_job(self, "register", work, self._on_registered, self._on_failed)

    def reset(self, _: bool = False) -> None:
        """Discard the alignment, including the saved one, and show the second slide with its own rotation."""
        self._cancel_registration()
        self._end_landmarks()
        self._set_alignment(self._find_unaligned(), "")
        self._save()

    def set_landmarks(self, on: bool) -> None:
        """Start or stop setting landmarks."""
        if not on:
            self._end_landmarks()
            return
        self._cancel_registration()
        self.is_linked = False  # each view is moved to a structure by itself
        pictures = (self._slide.layers[0], self._model.layers[0])
        self.landmarks = Landmarks((self._viewer, self._model), pictures, self._on_landmarks)
        self.alignment = LANDMARKS.format(0)
        self.changed.emit()

    def _cancel_registration(self) -> None:
        """Cancel a running registration, whose result would replace what the user does now."""
        cancel_jobs(self)
        self._is_registering = False

    def _on_first_camera(self, event: object = None) -> None:
        """Move the second view with the first."""
        if self.is_linked and self.can_link and not self._is_syncing:
            self._copy_camera(get_camera(self._viewer), get_camera(self._model))

    def _on_second_camera(self, event: object = None) -> None:
        """Move the first view with the second."""
        if self.is_linked and self.can_link and not self._is_syncing:
            self._copy_camera(get_camera(self._model), get_camera(self._viewer))

    def _copy_camera(self, source: Any, target: Any) -> None:  # noqa: ANN401 - its module differs between versions
        self._is_syncing = True
        try:
            target.zoom = source.zoom
            target.center = (*target.center[:-2], *source.center[-2:])
        finally:
            self._is_syncing = False

    def _show_layers(self, _: object = None) -> None:
        """Transform the layers of the second view into the coordinates of the first, and style its heatmap."""
        affine = np.array(self._slide.affine) @ self._matrix
        for layer in self._model.layers:
            if not np.array_equal(layer.affine.affine_matrix[-3:, -3:], affine):
                layer.affine = affine
        if self.landmarks is not None:
            self.landmarks.layers[0].affine = np.array(self._slide.affine)
        heatmap = slide_layers.find_layer(self._model, self._other, "heatmap")
        if heatmap is not None:
            self._session.heatmap_display.value.apply(heatmap)
        self._on_first_camera()

    def _find_unaligned(self) -> NDArray[np.float64]:
        """Return the matrix that shows the second slide with its own rotation."""
        matrix: NDArray[np.float64] = np.linalg.inv(self._slide.affine) @ np.array(self._other.affine)
        return matrix

    def _set_alignment(self, matrix: NDArray[np.float64], text: str) -> None:
        """Apply an alignment to the second slide, and show the same position in both views."""
        self._matrix, self.alignment = matrix, text
        self._show_layers()
        if text:
            self._copy_camera(get_camera(self._viewer), get_camera(self._model))
        self.changed.emit()

    def _restore(self) -> None:
        """Apply the alignment that is saved with the first slide, if neither scale has changed since."""
        saved = self._session.notes.value.alignments.get(self._other.info.fingerprint)
        if saved is not None and saved.pixel_um == self._pixel_um:
            error = "" if saved.error is None else f"; remaining error {saved.error:.2g} {self._unit}"
            self._set_alignment(np.array(saved.matrix), f"Registered earlier{error}. Press Reset to discard it.")

    def _save(self, error: float | None = None) -> None:
        """Save the alignment in the notes of the first slide, or remove it there."""
        if key := self._other.info.fingerprint:
            alignments = {one: saved for one, saved in self._session.notes.value.alignments.items() if one != key}
            if self.alignment:
                matrix = tuple(map(tuple, self._matrix.tolist()))
                alignments[key] = SlideAlignment(matrix, self._pixel_um, error)
            self._session.edit_notes(lambda notes: replace(notes, alignments=alignments))

    def _on_registered(self, registration: Registration) -> None:
        matrix = shift_to_centers(registration.matrix, self._slide.pixel_um, self._other.pixel_um)
        self.is_linked, self._is_registering = True, False
        self._apply(registration, matrix)

    def _apply(self, registration: Registration, matrix: NDArray[np.float64]) -> None:
        self._set_alignment(matrix, describe(registration, self._unit))
        self._save(registration.error)

    def _on_failed(self, error: Exception) -> None:
        self._is_registering = False
        self.changed.emit()
        show_failure(self._session.services.status, error)

    def _on_landmarks(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
        """Register the slides when both views have the same number of landmarks, at least two."""
        from napari_melanoma.imaging.registration import register_landmarks

        count = min(len(first), len(second))
        if count < 2 or len(first) != len(second):
            self.alignment = LANDMARKS.format(count)
            self.changed.emit()
            return
        try:
            registration = register_landmarks(second, first, with_scale=self._slide.info.pixel_size is None)
        except MelanomaError as error:
            show_failure(self._session.services.status, error)
        else:
            self._apply(registration, registration.matrix)

    def _end_landmarks(self) -> None:
        """Remove the landmarks, and let the views move together again."""
        if self.landmarks is None:
            return
        is_registered = min(len(layer.data) for layer in self.landmarks.layers) > 1
        self._remove_landmarks()
        if not is_registered:
            self.alignment = ""
        self.set_linked(True)
        self.changed.emit()

    def _remove_landmarks(self) -> None:
        landmarks, self.landmarks = self.landmarks, None
        if landmarks is not None:
            landmarks.remove()


LANDMARK_COLOR = "#ffe100"
LANDMARK_PX = 14  # in screen pixels


class Landmarks:
    """Landmarks: points on the same structures in two views, numbered in a Points layer in each view.

    ``on_changed``: called with the first and second positions, float (point, axis=2): (y, x) in data coordinates.
    """

    def __init__(
        self,
        viewers: tuple[Any, Any],
        pictures: tuple[Layer, Layer],
        on_changed: Callable[[NDArray[np.float64], NDArray[np.float64]], None],
    ) -> None:
        self._viewers, self._on_changed = viewers, on_changed
        self.layers = tuple(map(_add_landmark_layer, viewers, pictures))
        for layer in self.layers:
            layer.events.data.connect(self._on_data)

    def remove(self) -> None:
        for viewer, layer in zip(self._viewers, self.layers, strict=True):
            layer.events.data.disconnect(self._on_data)
            if layer in viewer.layers:
                viewer.layers.remove(layer)

    def _on_data(self, event: object = None) -> None:
        for layer in self.layers:
            _number_landmarks(layer)
        first, second = (np.array(layer.data, float).reshape(-1, 2) for layer in self.layers)
        self._on_changed(first, second)


def _add_landmark_layer(viewer: Any, picture: Layer) -> Points:  # noqa: ANN401 - a viewer or its model
    """Add an empty layer with the coordinates of a slide, (y, x) in µm, or in pixels without a scale."""
    from napari.layers import Points

    layer = Points(
        ndim=2,
        name="landmarks",
        size=1,
        face_color="transparent",
        border_color=LANDMARK_COLOR,
        border_width=0.15,
        symbol="cross",
        canvas_size_limits=(LANDMARK_PX, LANDMARK_PX),
        features={"number": []},
        text={"string": "{number:.0f}", "color": LANDMARK_COLOR, "size": LANDMARK_PX, "anchor": "upper_left"},
        units=picture.units,
        affine=picture.affine.affine_matrix[-3:, -3:],
    )
    viewer.add_layer(layer)
    layer.feature_defaults = {"number": 1.0}
    layer.mode = "add"
    return layer


def _number_landmarks(layer: Points) -> None:
    """Number the points from 1 on, in their order."""
    numbers = [float(number) for number in range(1, len(layer.data) + 1)]
    if list(layer.features["number"]) != numbers:
        layer.features = {"number": numbers}
    layer.feature_defaults = {"number": len(numbers) + 1.0}


def _register(first: ViewerSlide, second: ViewerSlide, run: RunContext) -> Registration:
    from napari_melanoma.slides.notes import register_slides

    return register_slides(first.slide, second.slide, first.info.pixel_size, second.info.pixel_size)


def describe(registration: Registration, unit: str) -> str:
    """Describe a registration with its error; ``unit``: that of positions."""
    changes = [f"turned by {round(registration.rotation)}°"]
    changes += ["mirrored"] if registration.is_flipped else []
    changes += [f"scaled by {registration.scale:.3g}"] if abs(registration.scale - 1) > 0.001 else []
    source = f"{registration.count} landmarks"
    if registration.method == "images":
        source = f"{registration.count} of {registration.tried} parts of the tissue"
    error = "its error is known from three landmarks on"
    if registration.error is not None:
        error = f"remaining error {registration.error:.2g} {unit}"
    return f"Registered by {source}: {', '.join(changes)}; {error}."


def shift_to_centers(
    matrix: NDArray[np.float64], first_um: tuple[float, float], second_um: tuple[float, float]
) -> NDArray[np.float64]:
    """Convert a matrix for positions that count from the outer corners to one that counts from pixel centers.

    ``first_um``, ``second_um``: height and width of a pixel of each slide.
    """
    shifted = matrix.copy()
    shifted[:2, 2] += shifted[:2, :2] @ np.divide(second_um, 2) - np.divide(first_um, 2)
    return shifted
