"""The whole slide or what was in view: each has results of its own, and the dock is about one of them at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QLabel, QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.look import named, row

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.controller import Place
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.viewer.camera import View
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

Region = tuple[int, int, int, int]
COLOUR, WIDTHS = "cyan", 400  # of the frame; this many of its widths are as long as the slide
WAIT_MS = 50  # until a correction that is being measured has come to its lesions
CHOICES = ("the whole slide", "what was in view")
TIP = "Whose results are shown; each is kept by itself"


class SlideScope(QObject):
    """Says where the results lie that the dock is about, and frames the part of the slide that they are of."""

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        self._choice: QWidget | None = None
        self._combo: StillCombo | None = None
        self._known = (False, False)  # whether the whole slide was analysed, and a view of it
        self.is_view = False
        self._waits = ("", False)  # for which slide, and whether for its view
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MS)
        self._timer.timeout.connect(self._on_waited)

    def of(self, place: Place | None) -> Place | None:
        """Say where the results lie that are shown.

        Returns the same, or that of the view, which lies within it.
        """
        if place is None or not self.is_view:
            return place
        return replace(place, out=place.view_out, folder=place.view_folder, analysed=place.view_analysed)

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide, as a whole."""
        self.is_view, self._known = False, (False, False)
        self._tell()

    def find(self, place: Place) -> None:
        """Show what there is of a slide: the whole of it, else what was in view."""
        self._known = (place.analysed, place.view_analysed)
        self.is_view = place.view_analysed and not place.analysed
        self._tell()
        folder = self._folder
        if folder is not None and any(self._known):
            self._dock.run_panel.set_folder(folder)

    def choose(self, view: bool) -> None:
        """Turn to the whole slide, or to the view, before it is analysed."""
        if view != self.is_view:
            self._switch(view, follow=False)

    def follow(self) -> None:
        """Show again what there was, where nothing was started after all."""
        if self._dock.run_panel.watch.path is not None:
            return
        if not self._known[self.is_view]:
            self.is_view = False
        self._switch(self.is_view)

    def started(self) -> None:
        """What the dock is about is being analysed: there will be results of it."""
        self._known = (self._known[0] or not self.is_view, self._known[1] or self.is_view)
        self._tell()

    def region(self) -> Region:
        """Give what of the slide is in view.

        Top, left, height, width in pixels of the finest level.
        """
        slide = self._dock.slide
        if slide is None:
            raise InputError("open a slide first.")
        return within(slide_camera.seen(self._viewer, slide), slide.size)

    def frame(self, region: Region | None) -> None:
        """Frame a part of the slide."""
        slide = self._dock.slide
        layer = None if slide is None else slide_layers.part(self._viewer, slide, "view")
        if slide is None or region is None:
            if layer is not None:
                self._viewer.layers.remove(layer)
            return
        top, left, height, width = region
        corners = [(top, left), (top, left + width), (top + height, left + width), (top + height, left)]
        ring = [(r - 0.5, c - 0.5) for r, c in corners]
        layer = slide_layers.put(self._viewer, slide, "view", partial(_frame, slide))
        layer.editable = True
        layer.data = []
        layer.add_rectangles([ring], edge_width=max(slide.size) / WIDTHS, edge_color=COLOUR, face_color="transparent")
        layer.editable = False  # it says what was analysed

    @property
    def _folder(self) -> Path | None:
        place = self._dock.place
        return None if place is None else place.folder

    def _switch(self, view: bool, *, follow: bool = True) -> None:
        """Show the other results; not before a correction of these has come to its lesions and is saved."""
        slide = self._dock.slide
        if slide is None:
            return
        if follow and self._dock.lesions.busy:
            self._waits = (slide.identity, view)
            self._timer.start()
            return
        self.is_view = view
        self._tell()
        self._dock.run_panel.set_folder(None)
        self._dock.results.begin()
        self.frame(None)
        if follow:
            self._dock.run_panel.set_folder(self._folder)
            self._dock.refresh()

    def _on_waited(self) -> None:
        slide = self._dock.slide
        identity, view = self._waits
        if slide is not None and slide.identity == identity:
            self._switch(view)

    def _tell(self) -> None:
        """Show the choice where there is one."""
        both = all(self._known)
        if both and self._choice is None:
            self._choice = self._made_choice()
        if self._choice is not None and self._combo is not None:
            self._choice.setVisible(both)
            self._combo.setCurrentIndex(int(self.is_view))

    def _made_choice(self) -> QWidget:
        self._combo = named(StillCombo(), "slide_scope", "Results of", TIP)
        self._combo.addItems(CHOICES)
        self._combo.activated.connect(self._on_chosen)
        choice = row(QLabel("results of"), self._combo, stretch=1)
        buttons = self._dock.analyse.parentWidget()
        column: Any = buttons.parentWidget().layout()
        column.insertWidget(column.indexOf(buttons) + 1, choice)
        return choice

    def _on_chosen(self, index: int) -> None:
        if bool(index) != self.is_view:
            self._switch(bool(index))


def within(view: View, size: tuple[int, int]) -> Region:
    """Give what of a slide a view shows.

    ``view``: in pixels of the finest level; may reach beyond the slide. Top, left, height, width in whole pixels, all
    within the slide.
    """
    top, left = max(0, math.floor(view.top)), max(0, math.floor(view.left))
    bottom = min(size[0], math.ceil(view.top + view.height))
    right = min(size[1], math.ceil(view.left + view.width))
    if bottom <= top or right <= left:
        raise InputError("nothing of the slide is in view: move it there, or analyse the whole slide.")
    return top, left, bottom - top, right - left


def _frame(slide: OpenSlide) -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2, edge_width=max(slide.size) / WIDTHS)
