"""The scale of an open photograph: proposed from a ruler in it, set or cleared by the user, with undo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from psygnal import Signal

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui.session.document import Edited
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.viewer.shape_layers import bind_keys

if TYPE_CHECKING:
    from napari.layers import Image, Shapes
    from numpy.typing import NDArray

    from napari_melanoma.imaging.ruler import Ruler
    from napari_melanoma.ui.session.open_photograph import OpenPhotograph

UNDO_SCALE_LINK = "undo_scale"  # in messages of both docks that show the scale
RulerStatus = Literal["open", "proposed", "accepted", "corrected", "settled"]
MAX_ASPECT_DIFFERENCE = 1e-3  # from 1, of the height and the width of a pixel; a ruler is found in square pixels


@dataclass(frozen=True, eq=False)
class ScaleState:
    """The scale of a photograph, and the ruler that was found in it.

    ``size``: set by the user, by a case or from a stored result; None for that of the file. ``ruler``: None if none was
    found. ``status``: of the ruler; ``corrected``: it became a line that the user edits; ``settled``: it was dismissed,
    or another scale was set, and nothing is proposed any more. ``is_cleared``: ``size`` is None because a scale was
    cleared, not because none was ever set.
    """

    size: PixelSize | None = None
    ruler: Ruler | None = None
    status: RulerStatus = "open"
    is_cleared: bool = False

    @property
    def proposed(self) -> Ruler | None:
        """The ruler whose scale the user may accept; None if there is none."""
        return self.ruler if self.status == "proposed" else None

    @property
    def drawn(self) -> Ruler | None:
        """The ruler that was accepted or corrected, which is a line of the ruler tool; None if there is none."""
        return self.ruler if self.status in ("accepted", "corrected") else None


class PhotographScale:
    """Sets the scale of a photograph, with undo; a proposed scale changes nothing and is stored nowhere.

    A part of the session of a photograph. ``changed``: emits the new ``ScaleState``.
    """

    changed = Signal(object)

    def __init__(self, session: OpenPhotograph) -> None:
        self._session = session
        image = session.image
        is_cleared = "pixel_size" in photographs.list_cleared(image)
        self._stated = Edited(ScaleState(photographs.get_ruler_size(image), is_cleared=is_cleared))
        self._searched: tuple[str | None, ...] = ()  # the stated type of the photograph when a ruler was searched
        self._is_writing = False
        self._bound: list[Image | Shapes] = []  # layers with keys for undo
        session.follow(self._stated.changed, self._show)
        self._bind_keys(session.image)

    @property
    def state(self) -> ScaleState:
        """The current state."""
        return self._stated.value

    @property
    def needs_search(self) -> bool:
        """Whether a ruler is to be searched: no scale is known, and nothing was decided about a proposal."""
        image = self._session.image
        is_open = self.state.status in ("open", "proposed") and photographs.get_pixel_size(image) is None
        is_square = abs(photographs.get_pixel_aspect(image) - 1) < MAX_ASPECT_DIFFERENCE
        return is_open and is_square and self._searched != (photographs.get_modality(image),)

    def propose(self, ruler: Ruler | None, modality: str | None) -> None:
        """Propose the scale of a ruler, unless one was set meanwhile; ``modality``: of the photograph when searched."""
        if self.needs_search:
            self._searched = (modality,)
            self._stated.set(replace(self.state, ruler=ruler, status="open" if ruler is None else "proposed"))

    def accept(self) -> Ruler | None:
        """Set the proposed scale; return its ruler, None if nothing is proposed."""
        self.update()
        ruler = self.state.proposed
        if ruler is not None:
            size = replace(ruler.pixel_size, source="accepted ruler")
            self._stated.apply(lambda state: replace(state, size=size, status="accepted", is_cleared=False))
        return ruler

    def correct(self) -> None:
        """Replace the proposal by a line of the ruler tool."""
        self._end_proposal("corrected")

    def dismiss(self) -> None:
        """Remove the proposal."""
        self._end_proposal("settled")

    def set_size(self, size: PixelSize | None) -> None:
        """Set another scale; None restores that of the file."""
        self.update()
        self._stated.apply(lambda state: replace(state, size=size, status="settled", is_cleared=size is None))

    def undo(self) -> None:
        """Undo the last step."""
        self.update()
        self._stated.undo()

    def redo(self) -> None:
        """Redo the last step that was undone."""
        self.update()
        self._stated.redo()

    def update(self) -> None:
        """Follow a scale that was set elsewhere, such as by a case; earlier steps are forgotten then."""
        if self._is_writing:
            return
        image = self._session.image
        size, is_known = photographs.get_ruler_size(image), photographs.get_pixel_size(image) is not None
        if size != self.state.size or (is_known and self.state.proposed is not None):
            self._stated.set(ScaleState(size, status="settled", is_cleared=size is None))

    def get_ruler_layer(self) -> Shapes:
        """Return the layer of the ruler tool, with keys for undo; add it if it is missing."""
        layer = layers.get_ruler_layer(self._session.viewer, self._session.image)
        self._bind_keys(layer)
        return layer

    def _end_proposal(self, status: RulerStatus) -> None:
        self.update()
        if self.state.proposed is not None:
            self._stated.apply(lambda state: replace(state, status=status))

    def _show(self, state: ScaleState) -> None:
        """Set the scale of the layers, and show the proposal, or the line that it became."""
        image, viewer = self._session.image, self._session.viewer
        if not self._session.is_open:
            return
        self._is_writing = True
        try:
            if photographs.get_ruler_size(image) != state.size:
                photographs.set_pixel_size(viewer, image, state.size, is_cleared=state.is_cleared)
            layers.show_proposed_scale(viewer, image, state.proposed)
            if state.drawn is not None:
                layers.show_ruler_line(self.get_ruler_layer(), image, _get_ends(state.drawn))
            elif state.proposed is not None:
                layers.remove_ruler_line(viewer, image, _get_ends(state.proposed))
        finally:
            self._is_writing = False
        self.changed.emit(state)

    def _bind_keys(self, layer: Image | Shapes) -> None:
        """Let Ctrl+Z on a layer undo the scale until the photograph is closed."""
        if layer in self._bound:
            return
        self._bound.append(layer)
        keys = {"Control-Z": self.undo, "Control-Shift-Z": self.redo}
        bind_keys(layer, keys)
        for key in keys:
            self._session.at_end(partial(layer.bind_key, key, None))


def _get_ends(ruler: Ruler) -> NDArray[np.float64]:
    return np.array([ruler.start, ruler.end])
