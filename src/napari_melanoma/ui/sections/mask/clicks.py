"""The tools that correct a mask by clicks, or select a lesion, with the mouse on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.ui.sections.mask.proposals import DRAG_PX, LEFT_BUTTON
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
from napari_melanoma.ui.viewer import layers
from napari_melanoma.ui.viewer.photographs import find_layer, get_shape

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from napari_melanoma.ui.session.photograph import PhotographSession

RIGHT_BUTTON = 2  # of napari's mouse events
KEPT_MODES = ("pick", "pan_zoom")  # of the layer, in which the tool stays on
HINT = "Click the lesion to include, right-click or Shift+click to exclude, drag for a box."


class PromptLayer:
    """Draws the clicks of the current mask, also of one that undo restored."""

    def __init__(self, session: PhotographSession) -> None:
        self._session = session
        session.follow(session.shown, self._draw)
        self._draw()

    def _draw(self) -> None:
        session = self._session
        prompts = list_prompts(session.lesion)
        is_drawn = session.is_open and find_layer(session.viewer, session.image, "clicks") is not None
        if is_drawn or (session.is_open and prompts):
            layers.show_prompts(session.viewer, session.image, prompts)


def list_prompts(lesion: AnalyzedLesion | None) -> list[PromptOptions]:
    """Return the clicks and boxes of each lesion in the current mask; of a recovered mask, those of its record."""
    if lesion is None:
        return []
    if lesion.prompts is not None:
        return lesion.prompts.prompted
    record = lesion.result.prompt_record
    return [] if record is None else list(record.lesions)


class PromptCanvasTool:
    """Calls ``on_prompt`` for clicks and boxes on a photograph.

    While the tool is on, the mask is the active layer, or the layer of the strokes if there is no mask. ``choose_at``
    returns whether a click, in napari's world, has chosen a proposed mask: it is no prompt then. ``on_leave`` is called
    when the user selects a brush of this layer.
    """

    def __init__(
        self,
        viewer: Viewer,
        on_prompt: Callable[[PromptOptions], None],
        choose_at: Callable[[tuple[float, ...]], bool],
        on_leave: Callable[[], None],
    ) -> None:
        self._viewer = viewer
        self._on_prompt = on_prompt
        self._choose_at = choose_at
        self._on_leave = on_leave
        self._image: Image | None = None
        self._layer: Labels | None = None

    def start(self, image: Image) -> None:
        """Start the tool, or continue on the mask once there is one, so that Ctrl+Z undoes prompts."""
        mask = find_layer(self._viewer, image, "mask")
        layer = layers.get_scribbles_layer(self._viewer, image) if mask is None else mask
        if layer is self._layer:
            return
        self.stop()
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = "pick"  # a mode that neither pans nor paints; the space bar pans
        layer.mouse_drag_callbacks.append(self._on_press)
        layer.events.mode.connect(self._on_mode)
        self._image, self._layer = image, layer

    def stop(self) -> None:
        """Stop the tool, so that dragging moves the view again."""
        layer, self._layer, self._image = self._layer, None, None
        if layer is not None:
            layer.events.mode.disconnect(self._on_mode)
            if self._on_press in layer.mouse_drag_callbacks:
                layer.mouse_drag_callbacks.remove(self._on_press)
            if str(layer.mode) == "pick":
                layer.mode = "pan_zoom"

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Leave the tool when a brush is selected, also with napari's own buttons; the space bar only pans."""
        if self._layer is not None and str(self._layer.mode) not in KEPT_MODES:
            self._on_leave()

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        image = self._image
        if image is None or str(layer.mode) != "pick":
            return
        if event.button not in (LEFT_BUTTON, RIGHT_BUTTON):
            return
        exclude = event.button == RIGHT_BUTTON or "Shift" in event.modifiers
        start, pressed_at, position = self._to_pixel(image, event), tuple(event.pos), event.position
        yield
        end, distance = start, 0.0
        while event.type == "mouse_move":
            end = self._to_pixel(image, event)
            distance = max(abs(float(a) - float(b)) for a, b in zip(event.pos, pressed_at, strict=True))
            yield
        if image is not self._image:
            return  # the tool was stopped meanwhile, such as for another photograph
        if distance > DRAG_PX:
            (top, bottom), (left, right) = (sorted(pair) for pair in zip(start, end, strict=True))
            rows, columns = get_shape(image)
            if not exclude and bottom > 0 and right > 0 and top < rows - 1 and left < columns - 1:
                self._on_prompt(PromptOptions(box=(max(top, 0), max(left, 0), min(bottom, rows), min(right, columns))))
        elif (exclude or not self._choose_at(position)) and self._contains(image, start):
            self._on_prompt(PromptOptions(**{"exclude" if exclude else "include": (start,)}))

    @staticmethod
    def _to_pixel(image: Image, event: Any) -> tuple[float, float]:  # noqa: ANN401 - napari's event
        row, column = image.world_to_data(event.position)[-2:]
        return float(row), float(column)

    @staticmethod
    def _contains(image: Image, pixel: tuple[float, float]) -> bool:
        return all(-0.5 <= value < side - 0.5 for value, side in zip(pixel, get_shape(image), strict=True))


class LesionClickTool:
    """Calls ``callback`` with (row, column) of a click on a photograph."""

    def __init__(self, viewer: Viewer, callback: Callable[[tuple[int, int]], None]) -> None:
        self._viewer = viewer
        self._callback = callback
        self._image: Image | None = None

    def start(self, image: Image) -> None:
        """Start waiting for a click."""
        self.stop()
        self._image = image
        active = self._viewer.layers.selection.active
        if active is not None and hasattr(active, "mode"):
            active.mode = "pan_zoom"  # so that the click does not paint
        self._viewer.mouse_drag_callbacks.append(self._on_click)

    def stop(self) -> None:
        """Stop waiting for a click."""
        callbacks = self._viewer.mouse_drag_callbacks
        if self._on_click in callbacks:
            callbacks.remove(self._on_click)
        self._image = None

    def _on_click(self, viewer: Any, event: Any) -> None:  # noqa: ANN401 - napari's, called by it
        image = self._image
        if image is None:
            return
        row, column = (round(float(value)) for value in image.world_to_data(event.position)[-2:])
        rows, columns = get_shape(image)
        if 0 <= row < rows and 0 <= column < columns:
            self._callback((row, column))
