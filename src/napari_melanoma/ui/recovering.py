"""Brings corrections that a crash left back into the viewer, as a step that can be undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.ui import layers
from napari_melanoma.ui.lesion import steps as lesion_steps
from napari_melanoma.ui.lesion.state import Lesion
from napari_melanoma.ui.photographs import pixel_size

if TYPE_CHECKING:
    from napari_melanoma.ui.lesion.book import LesionBook
    from napari_melanoma.ui.lesion.work import Make
    from napari_melanoma.ui.origin import Point
    from napari_melanoma.ui.presenter import Presenter
    from napari_melanoma.ui.recovery import Recovered

Put = Callable[[str, "Make", "Point | None"], None]


class Recovering(QObject):
    """Puts what was found where it belongs, beside or over what is there by now."""

    def __init__(self, book: LesionBook, presenter: Presenter, put: Put, parent: QObject) -> None:
        super().__init__(parent)
        self._book = book
        self._presenter = presenter
        self._put = put

    def bring_back(self, identity: str, found: Recovered) -> None:
        """Show corrections that a crash left; Ctrl+Z takes them back to the mask that is there, or the model's."""
        if self._book.mask(identity) is not None:
            self._draw(identity, found)
        elif self._book.image(identity) is not None:
            self._book.lesions[identity] = Lesion.new(found.result, found.image_digest, found.digest, found.chosen)
            self._presenter.show_new(identity, partial(self._draw, identity, found))

    def _draw(self, identity: str, found: Recovered) -> None:
        image = self._book.image(identity)
        if image is None:
            return
        if found.scribbles is not None:
            strokes = layers.scribbles(self._book.viewer, image)
            self._presenter.drawable.emit(strokes)
            layers.add_strokes(strokes, found.scribbles)
        photograph = replace(found.result.photograph, pixel_size=pixel_size(image))
        base = replace(found.result, photograph=photograph)
        self._put(identity, lambda known, mask: lesion_steps.drawn(base, found.mask), found.chosen)
