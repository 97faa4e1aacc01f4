"""The tool that refines outlines of lesions and regions by clicks on the slide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal

from napari_melanoma.ui.slide.pixel_tools import PixelTool, find_window
from napari_melanoma.ui.viewer.camera import get_camera

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_melanoma.slides.outline_clicks import OutlineClick
    from napari_melanoma.ui.slide.shape_layers import Keys
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

WINDOW_PX = 512  # side of what is read around a click, in pixels of the displayed level
REACH_PX = 120.0  # of the screen: a click that is farther from every outline changes none
DRAG_PX = 6.0  # of the screen: longer drags are not clicks
RIGHT_BUTTON = 2
HINT = "Click next to an outline to include more, right-click or Shift+click in it to exclude. Space moves the view."


class OutlineClickTool(PixelTool):
    """Emits clicks on the slide with the displayed pixels around them. ``clicked``: an ``OutlineClick``."""

    clicked = Signal(object)

    def start(self, slide: ViewerSlide, keys: Keys) -> None:
        """Activate the tool."""
        self.add_layer(slide, keys)

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Emit a click where the button was pressed, unless the mouse is dragged."""
        slide = self._slide
        if slide is None or str(layer.mode) != "pick":
            return
        include = event.button != RIGHT_BUTTON and "Shift" not in event.modifiers
        point, pressed, distance = slide.to_slide(tuple(event.position[-2:])), tuple(event.pos), 0.0
        yield
        while event.type == "mouse_move":
            distance = max(abs(float(now) - float(then)) for now, then in zip(event.pos, pressed, strict=True))
            yield
        if distance <= DRAG_PX:
            self.clicked.emit(self._make_click(slide, point, include=include))

    def _make_click(self, slide: ViewerSlide, point: tuple[float, float], *, include: bool) -> OutlineClick:
        from napari_melanoma.slides.outline_clicks import OutlineClick

        side = WINDOW_PX / 2 * slide.info.levels[int(slide.layers[0].data_level)].downsample
        window = find_window(self._viewer, slide, point, (side, side), (WINDOW_PX + 1) ** 2)
        reach = REACH_PX / max(float(get_camera(self._viewer).zoom), 1e-12)
        return OutlineClick(point, include, reach, slide.pixel_um, slide.size, window.placement, window.read_colors)
