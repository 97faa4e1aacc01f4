"""The Labels layer of a mask, in a module of its own, since napari's layers are imported with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.events import Event
from numpy.typing import NDArray


class MaskLabels(Labels):
    """A Labels layer that emits ``refreshed`` after undo, redo and ``refresh``, also while it is hidden.

    napari emits ``set_data`` then, but no event of a layer that is hidden.
    """

    def __init__(self, data: NDArray[np.uint8], **options: Any) -> None:  # noqa: ANN401 - those of Labels
        self._is_complete = False
        super().__init__(data, **options)
        self.events.add(refreshed=Event)
        self._is_complete = True

    @property
    def _type_string(self) -> str:
        """The type by which napari finds icons, menus and writers of a layer."""
        return "labels"

    def refresh(self, event: Event | None = None, **parts: bool) -> None:
        """Draw the layer again; napari calls this after undo and redo, and others after they have changed pixels."""
        super().refresh(event, **parts)
        if self._is_complete:
            self.events.refreshed()
