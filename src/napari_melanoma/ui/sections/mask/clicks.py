"""The tools that correct a mask by clicks, or select a lesion: buttons, thumbnails, and the mouse on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Signal
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.lesion.prompting import PromptedMasks
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
from napari_melanoma.ui.viewer import layers
from napari_melanoma.ui.viewer.photographs import find_layer, get_shape
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.style import row, tool_button
from napari_melanoma.ui.widgets.thumbnails import to_qimage

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from napari_melanoma.ui.session.photograph import PhotographSession

LEFT_BUTTON, RIGHT_BUTTON = 1, 2  # of napari's mouse events
KEPT_MODES = ("pick", "pan_zoom")  # of the layer, in which the tool stays on
DRAG_PX = 6.0  # of the screen: shorter drags are clicks
THUMBNAIL_PX = 64
THUMBNAIL_MARGIN = 0.3  # around all hypotheses
OUTLINE_COLOR = (255, 225, 0)
CLICK_KEY = format_key("lesion.click")
HINT = "Click the lesion to include, right-click or Shift+click to exclude, drag for a box. Ctrl+Z undoes the last."
NEW_TIP = "The next click starts another lesion. A box outside all lesions does so, too."
FIND_TIP = "Propose all lesions of the photograph; a right-click removes a proposal"


class PromptTool(QWidget):
    """The buttons of the tool; ``pictures``: the hypotheses as thumbnails, for another place."""

    chosen = Signal(int)  # position of a hypothesis, from the smallest

    def __init__(self, session: PhotographSession) -> None:
        super().__init__()
        self._session, icons = session, session.services.icons
        self.button = tool_button("click", "Correct by clicks", f"{HINT} ({CLICK_KEY})", "Click", checkable=True)
        icons.add(self.button, "picker")
        self.new_button = tool_button("new_lesion", "Another lesion", NEW_TIP, "Another", checkable=True)
        self.find_button = tool_button("find_lesions", "Find all lesions", FIND_TIP, "Find all")
        self._group = QButtonGroup(self)
        self.pictures = QWidget()
        self._row = QHBoxLayout(self.pictures)
        self._row.setContentsMargins(0, 0, 0, 0)
        self.pictures.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(QLabel("prompt"), self.button, self.new_button, self.find_button))
        self._group.idClicked.connect(self.chosen)

    def show_hypotheses(self) -> None:
        """Show a thumbnail for each mask of the last response, the smallest first, if the current mask is one."""
        pixels, current = self._session.prompted.pixels, find_hypotheses(self._session)
        pictures, qualities, chosen = [], [], -1
        if current is not None and pixels is not None:
            hypotheses, chosen = current
            pictures = draw_hypotheses(pixels.preview, hypotheses.margins[hypotheses.by_area])
            qualities = [float(hypotheses.qualities[index]) for index in hypotheses.by_area]
        for button in self._group.buttons():
            self._group.removeButton(button)
            self._row.removeWidget(button)
            button.deleteLater()
        for index, (picture, quality) in enumerate(zip(pictures, qualities, strict=True)):
            button = tool_button(
                f"hypothesis_{index}", f"Mask {index + 1}", f"Expected Jaccard {quality:.2f}", checkable=True
            )
            button.setIcon(QIcon(QPixmap.fromImage(to_qimage(picture))))
            button.setIconSize(QSize(THUMBNAIL_PX, THUMBNAIL_PX))
            button.setChecked(index == chosen)
            self._group.addButton(button, index)
            self._row.addWidget(button)
        self.pictures.setVisible(bool(pictures))

    def step(self, by: int) -> None:
        """Choose the next or previous hypothesis."""
        count = len(self._group.buttons())
        if count:
            button = self._group.button((self._group.checkedId() + by) % count)
            assert button is not None
            button.click()


class PromptLayer:
    """Draws the clicks of the current mask, also of one that undo restored."""

    def __init__(self, session: PhotographSession) -> None:
        self._session = session
        session.follow(session.shown, self._draw)
        self._draw()

    def _draw(self) -> None:
        session = self._session
        prompts = list_prompts(session.lesion)
        is_drawn = session.is_open and find_layer(session.viewer, session.image, "prompts") is not None
        if is_drawn or (session.is_open and prompts):
            layers.show_prompts(session.viewer, session.image, prompts)


def find_hypotheses(session: PhotographSession) -> tuple[PromptedMasks, int] | None:
    """Return the masks of the last response, and the position of the current mask; None if it is none of them."""
    lesion, response = session.lesion, session.prompted.response
    step, hypotheses = None if lesion is None else lesion.prompts, None if response is None else response.hypotheses
    if lesion is None or step is None or response is None or hypotheses is None:
        return None
    is_current = step.answer == response.number and not lesion.origin.is_painted
    return (hypotheses, hypotheses.by_area.index(step.chosen)) if is_current else None


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

    While the tool is on, the mask is the active layer, or the layer of the strokes if there is no mask. ``on_leave`` is
    called when the user selects a brush of this layer.
    """

    def __init__(
        self, viewer: Viewer, on_prompt: Callable[[PromptOptions], None], on_leave: Callable[[], None]
    ) -> None:
        self._viewer = viewer
        self._on_prompt = on_prompt
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
        start, pressed_at = self._to_pixel(image, event), tuple(event.pos)
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
        elif self._contains(image, start):
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


def draw_hypotheses(preview: NDArray[np.uint8], logits: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
    """Draw the outline of each mask on the part of a photograph that contains all masks.

    ``preview``: uint8 (row, column, channel). ``logits``: float32 (hypothesis, side, side), of the whole photograph.
    Returns thumbnails, each uint8 (row, column, channel), at most 128 pixels on a side.
    """
    from PIL import Image
    from scipy import ndimage

    from napari_melanoma.core.geometry import Box
    from napari_melanoma.imaging.masks import square_around

    rows, columns = preview.shape[:2]
    resized = [np.asarray(Image.fromarray(mask).resize((columns, rows), Image.Resampling.BILINEAR)) for mask in logits]
    square = square_around(np.any([mask > 0 for mask in resized], axis=0), THUMBNAIL_MARGIN)
    part = square or Box(0, 0, rows, columns)
    left, right = max(0, part.left), min(columns, part.left + part.width)
    top, bottom = max(0, part.top), min(rows, part.top + part.height)
    crop, zoom = (left, top, right, bottom), 2 * THUMBNAIL_PX / max(right - left, bottom - top)
    size = (max(1, round(zoom * (right - left))), max(1, round(zoom * (bottom - top))))
    picture = np.asarray(Image.fromarray(preview).resize(size, Image.Resampling.BILINEAR, box=crop))
    drawn = []
    for mask in resized:
        inside = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR, box=crop)) > 0
        outline = ndimage.binary_dilation(inside) & ~inside
        drawn.append(np.where(outline[..., None], OUTLINE_COLOR, picture).astype(np.uint8))
    return drawn
