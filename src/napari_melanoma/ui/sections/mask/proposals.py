"""Masks that fit the clicks as well as the current one: outlines on the photograph, of which a click chooses one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.lesion.prompting import PromptedMasks
from napari_melanoma.ui.viewer import layers
from napari_melanoma.ui.viewer.camera import get_zoom
from napari_melanoma.ui.viewer.photographs import find_layer, get_shape

if TYPE_CHECKING:
    from napari_melanoma.ui.session.photograph import PhotographSession

LEFT_BUTTON = 1  # of napari's mouse events
DRAG_PX = 6.0  # of the screen: shorter drags are clicks
REACH_PX = 6.0  # of the screen, from the pointer to an outline
HINT = "The green outlines fit, too: click one to use its mask (Tab)."


class ProposalTool:
    """Outlines the masks of the last response beside the current one, and lets the user choose one with a click.

    ``on_choose``: called with the position of a mask, counted from the smallest. The pointer is noticed between
    ``start`` and ``stop`` while there are outlines; a click that is for a tool of the active layer is not: such a tool
    calls ``choose_at`` itself.
    """

    def __init__(self, session: PhotographSession, on_choose: Callable[[int], None]) -> None:
        self._session, self._on_choose = session, on_choose
        self._viewer, self._status = session.viewer, session.services.status
        self._outlines: list[list[NDArray[np.float32]]] = []  # of each mask, the smallest first
        self._texts: list[str] = []
        self._current = -1  # position of the current mask
        self._highlighted: int | None = None
        self._is_started = False

    def update(self) -> None:
        """Draw the outlines for the current mask: none if it is not one of the last response."""
        self._highlight(None)
        found = find_hypotheses(self._session)
        self._outlines, self._texts, self._current = [], [], -1
        if found is not None:
            hypotheses, self._current = found
            margins, shape = hypotheses.margins, get_shape(self._session.image)
            self._outlines = [trace_hypothesis(margins[index], shape) for index in hypotheses.by_area]
            count, qualities = len(self._outlines), hypotheses.qualities[hypotheses.by_area]
            self._texts = [
                f"Mask {number} of {count}, expected Jaccard {quality:.2f}. Click to use it."
                for number, quality in enumerate(qualities, start=1)
            ]
        self._draw()
        self._notice_pointer()
        if len(self._outlines) > 1 and self._session.displayed.value:
            self._status.show_message(HINT)
        else:
            self._end_hint()

    def step(self, by: int) -> None:
        """Choose the next or previous mask."""
        if self._outlines:
            self._on_choose((self._current + by) % len(self._outlines))

    def choose_at(self, position: tuple[float, ...]) -> bool:
        """Choose the mask with an outline at a position in napari's world; return whether there is one."""
        found = self._find(position)
        if found is not None:
            self._on_choose(found)
        return found is not None

    def start(self) -> None:
        """Let clicks choose a mask."""
        self._is_started = True
        self._notice_pointer()

    def stop(self) -> None:
        """Ignore the pointer."""
        self._is_started = False
        self._highlight(None)
        self._end_hint()
        self._notice_pointer()

    def _end_hint(self) -> None:
        self._status.end_message(HINT)
        if self._status.text.startswith(HINT):  # followed by the duration of a prediction
            self._status.end_message(self._status.text)

    def _notice_pointer(self) -> None:
        presses, moves = self._viewer.mouse_drag_callbacks, self._viewer.mouse_move_callbacks
        is_noticed, is_needed = self._on_press in presses, self._is_started and bool(self._outlines)
        if is_needed and not is_noticed:
            presses.append(self._on_press)
            moves.append(self._on_move)
        elif is_noticed and not is_needed:
            presses.remove(self._on_press)
            moves.remove(self._on_move)

    def _draw(self) -> None:
        session = self._session
        if session.is_open:
            others = {index: one for index, one in enumerate(self._outlines) if index != self._current}
            layers.show_proposals(session.viewer, session.image, others, self._highlighted)

    def _find(self, position: tuple[float, ...]) -> int | None:
        """Find the mask whose outline is at a position; None where that of the current mask is as near."""
        image = self._session.image
        layer = find_layer(self._viewer, image, "proposals") if self._outlines and image.visible else None
        if layer is None or not layer.visible:
            return None
        scale = np.abs(np.array(image.scale[-2:]))
        point = np.array(image.world_to_data(position)[-2:]) * scale
        distances = [
            min((_measure_distance(point, one * scale) for one in mask), default=np.inf) for mask in self._outlines
        ]
        nearest = int(np.argmin(distances))
        is_reached = distances[nearest] <= REACH_PX / get_zoom(self._viewer)
        return nearest if is_reached and distances[nearest] < distances[self._current] else None

    def _highlight(self, index: int | None) -> None:
        previous, self._highlighted = self._highlighted, index
        if index == previous:
            return
        active = self._viewer.layers.selection.active
        self._viewer.cursor.style = "pointing" if index is not None else "standard" if active is None else active.cursor
        if previous is not None and self._status.text == self._texts[previous]:
            self._status.show_message(HINT)
        if index is not None:
            self._status.show_message(self._texts[index])
        self._draw()

    def _is_free(self) -> bool:
        """Whether clicks are not those of a tool."""
        return str(getattr(self._viewer.layers.selection.active, "mode", "pan_zoom")) in ("pan_zoom", "pick")

    def _on_move(self, viewer: Any, event: Any) -> None:  # noqa: ANN401 - napari's, called by it
        self._highlight(self._find(event.position) if self._is_free() else None)

    def _on_press(self, viewer: Any, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's, called by it
        is_used = str(getattr(self._viewer.layers.selection.active, "mode", "pan_zoom")) != "pan_zoom"
        if is_used or event.button != LEFT_BUTTON or event.modifiers:
            return
        position, pressed_at, distance = event.position, tuple(event.pos), 0.0
        yield
        while event.type == "mouse_move":
            distance = max(distance, *(abs(float(a) - float(b)) for a, b in zip(event.pos, pressed_at, strict=True)))
            yield
        if distance <= DRAG_PX:
            self.choose_at(position)


def find_hypotheses(session: PhotographSession) -> tuple[PromptedMasks, int] | None:
    """Return the masks of the last response, and the position of the current mask; None if it is none of them."""
    lesion, response = session.lesion, session.prompted.response
    step, hypotheses = None if lesion is None else lesion.prompts, None if response is None else response.hypotheses
    if lesion is None or step is None or response is None or hypotheses is None:
        return None
    is_current = step.answer == response.number and not lesion.origin.is_painted
    return (hypotheses, hypotheses.by_area.index(step.chosen)) if is_current else None


def trace_hypothesis(margins: NDArray[np.float32], shape: tuple[int, int]) -> list[NDArray[np.float32]]:
    """Trace the outlines of a mask on a photograph; each float32 (point, 2), (row, column), closed.

    ``margins``: float32 (side, side), negative outside the mask. ``shape``: rows and columns of the photograph.
    """
    from skimage.measure import find_contours

    padded = np.pad(margins, 1, constant_values=min(float(margins.min()), -1.0))  # closed at the border
    scale, limit = np.array(shape) / margins.shape, np.array(shape) - 0.5
    traced = find_contours(padded, 0.0, fully_connected="high")
    return [np.clip((one - 0.5) * scale - 0.5, -0.5, limit).astype(np.float32) for one in traced]


def _measure_distance(point: NDArray[np.float64], outline: NDArray[np.float64]) -> float:
    """Return the distance of a point from a line through points, float64 (point, 2)."""
    start, along = outline[:-1], np.diff(outline, axis=0)
    lengths = np.maximum((along**2).sum(1), np.finfo(float).tiny)
    share = np.clip(((point - start) * along).sum(1) / lengths, 0, 1)
    return float(np.linalg.norm(start + share[:, None] * along - point, axis=1).min())
