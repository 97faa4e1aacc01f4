"""Choose between the results of the whole slide and of a view, and frame the analyzed region."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import named, row

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Shapes

    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.lesions import SlideLesions
    from napari_melanoma.ui.slide.run_manager import SlideResultLocation
    from napari_melanoma.ui.slide.run_panel import SlideRunPanel
    from napari_melanoma.ui.viewer.camera import ViewRectangle
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

Region = tuple[int, int, int, int]
FRAME_COLOR, WIDTHS = "cyan", 400  # the frame is as wide as the longer side of the slide divided by this
WAIT_MS = 50  # between two checks whether an edit of the lesions has finished
CHOICES = ("the whole slide", "the view")
TIP = "Which results are shown; both are stored separately"


class AnalysisRegionController(QObject):
    """Switch between the results of the whole slide and of the view."""

    results_switched = Signal()
    changed = Signal()

    def __init__(self, context: SlideContext, run_panel: SlideRunPanel, lesions: SlideLesions, button: QWidget) -> None:
        super().__init__(context)
        self._context, self._viewer = context, context.viewer
        self._run_panel, self._lesions, self._button = run_panel, lesions, button
        self._choice: QWidget | None = None
        self._combo: NoWheelComboBox | None = None
        self._is_analyzed = (False, False)  # the whole slide; the view
        self._pending_switch = ("", False)  # identity of the slide, and whether to show the view
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MS)
        self._timer.timeout.connect(self._retry_switch)

    @property
    def is_view(self) -> bool:
        """Whether the results of the view are shown."""
        return self._context.is_view

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, starting with its whole-slide results."""
        self._context.is_view, self._is_analyzed = False, (False, False)
        self._update_choice()

    def show_results(self, location: SlideResultLocation) -> None:
        """Show the results of the whole slide, else those of the view."""
        self._is_analyzed = (location.is_analyzed, location.is_view_analyzed)
        self._context.is_view = location.is_view_analyzed and not location.is_analyzed
        self._update_choice()
        folder = self._folder
        if folder is not None and any(self._is_analyzed):
            self._run_panel.set_folder(folder)

    def set_is_view(self, view: bool) -> None:
        """Switch to the whole slide or to the view, before it is analyzed."""
        if view != self.is_view:
            self._switch_results(view, follow=False)

    def restore_results(self) -> None:
        """Show the previous results again, because no analysis was started."""
        if self._run_panel.watch.path is not None:
            return
        if not self._is_analyzed[self.is_view]:
            self._context.is_view = False
        self._switch_results(self.is_view)

    def mark_started(self) -> None:
        """Record that there will be results of the whole slide, or of the view."""
        self._is_analyzed = (self._is_analyzed[0] or not self.is_view, self._is_analyzed[1] or self.is_view)
        self._update_choice()

    def get_visible_region(self) -> Region:
        """Return the visible part of the slide: top, left, height, width in pixels of the finest level."""
        slide = self._context.slide
        if slide is None:
            raise InputError("open a slide first.")
        return clip_to_slide(slide_camera.get_visible_region(self._viewer, slide), slide.size)

    def show_frame(self, region: Region | None) -> None:
        """Draw a frame around a region; None removes it."""
        slide = self._context.slide
        layer = None if slide is None else slide_layers.find_layer(self._viewer, slide, "view")
        if slide is None or region is None:
            if layer is not None:
                self._viewer.layers.remove(layer)
            return
        top, left, height, width = region
        corners = [(top, left), (top, left + width), (top + height, left + width), (top + height, left)]
        ring = [(r - 0.5, c - 0.5) for r, c in corners]
        layer = slide_layers.get_or_add_layer(self._viewer, slide, "view", partial(_create_frame_layer, slide))
        layer.editable = True
        layer.data = []
        layer.add_rectangles(
            [ring], edge_width=max(slide.size) / WIDTHS, edge_color=FRAME_COLOR, face_color="transparent"
        )
        layer.editable = False  # it is not to be edited: it shows what was analyzed

    @property
    def _folder(self) -> Path | None:
        location = self._context.result_location
        return None if location is None else location.folder

    def _switch_results(self, view: bool, *, follow: bool = True) -> None:
        """Show the other results, once pending edits of the lesions are saved."""
        slide = self._context.slide
        if slide is None:
            return
        if follow and self._lesions.busy:
            self._pending_switch = (slide.identity, view)
            self._timer.start()
            return
        self._context.is_view = view
        self._update_choice()
        self._run_panel.set_folder(None)
        self.results_switched.emit()
        self.show_frame(None)
        if follow:
            self._run_panel.set_folder(self._folder)
            self.changed.emit()

    def _retry_switch(self) -> None:
        slide = self._context.slide
        identity, view = self._pending_switch
        if slide is not None and slide.identity == identity:
            self._switch_results(view)

    def _update_choice(self) -> None:
        """Show the choice if both results exist."""
        both = all(self._is_analyzed)
        if both and self._choice is None:
            self._choice = self._create_choice()
        if self._choice is not None and self._combo is not None:
            self._choice.setVisible(both)
            self._combo.setCurrentIndex(int(self.is_view))

    def _create_choice(self) -> QWidget:
        self._combo = named(NoWheelComboBox(), "slide_scope", "Results of", TIP)
        self._combo.addItems(CHOICES)
        self._combo.activated.connect(self._on_chosen)
        choice = row(QLabel("results of"), self._combo, stretch=1)
        buttons = self._button.parentWidget()
        column: Any = buttons.parentWidget().layout()
        column.insertWidget(column.indexOf(buttons) + 1, choice)
        return choice

    def _on_chosen(self, index: int) -> None:
        if bool(index) != self.is_view:
            self._switch_results(bool(index))


def clip_to_slide(view: ViewRectangle, size: tuple[int, int]) -> Region:
    """Clip a view to the slide, in whole pixels of the finest level: top, left, height, width."""
    top, left = max(0, math.floor(view.top)), max(0, math.floor(view.left))
    bottom = min(size[0], math.ceil(view.top + view.height))
    right = min(size[1], math.ceil(view.left + view.width))
    if bottom <= top or right <= left:
        raise InputError("no part of the slide is in view: move the view to the slide, or analyze the whole slide.")
    return top, left, bottom - top, right - left


def _create_frame_layer(slide: ViewerSlide) -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2, edge_width=max(slide.size) / WIDTHS)
