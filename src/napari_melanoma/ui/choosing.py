"""One click on the image that says which lesion is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer


class Choosing:
    """Waits for a click on a photograph.

    ``chosen``: takes row and column of the pixel.
    """

    def __init__(self, viewer: Viewer, chosen: Callable[[tuple[int, int]], None]) -> None:
        self._viewer = viewer
        self._chosen = chosen
        self._image: Image | None = None

    def start(self, image: Image) -> None:
        """Wait for a click."""
        self.stop()
        self._image = image
        active = self._viewer.layers.selection.active
        if active is not None and hasattr(active, "mode"):
            active.mode = "pan_zoom"  # the click shall not paint
        self._viewer.mouse_drag_callbacks.append(self._on_click)

    def stop(self) -> None:
        """Wait no longer."""
        callbacks = self._viewer.mouse_drag_callbacks
        if self._on_click in callbacks:
            callbacks.remove(self._on_click)
        self._image = None

    def _on_click(self, viewer: Any, event: Any) -> None:  # noqa: ANN401 - napari's, called by it
        image = self._image
        if image is None:
            return
        row, column = (round(float(value)) for value in image.world_to_data(event.position)[-2:])
        rows, columns = (image.data[0] if image.multiscale else image.data).shape[:2]
        if 0 <= row < rows and 0 <= column < columns:
            self._chosen((row, column))
