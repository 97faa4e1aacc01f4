"""What stands around a slide in the dock: magnification, slides of a folder, tools, depth, risk, a second view."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.slide.magnification import SlideMagnifying, SlideRotating
from napari_melanoma.ui.slide.measuring import SlideMeasures
from napari_melanoma.ui.slide.side_by_side import SlideBeside
from napari_melanoma.ui.slide.worklist import SlideWorklist

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.controller import Place
    from napari_melanoma.ui.slide.depth.section import SlideDepths
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.risk.section import SlideRisk
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

LatePart = TypeVar("LatePart", "SlideDepths", "SlideRisk")


class SlideAround(QObject):
    """Holds these parts, so that the dock has one thing to turn to another slide.

    Depth and risk, which take long to import, are made once the dock is drawn, or when they are first asked for.
    """

    failed = Signal(object)

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        self._slide: OpenSlide | None = None
        self._place: Place | None = None
        self._late: list[SlideDepths | SlideRisk] = []  # those that were made
        self.magnifying = SlideMagnifying(viewer, dock)
        self.worklist = SlideWorklist(dock)
        self.measuring = SlideMeasures(dock, viewer)
        self.beside = SlideBeside(dock, viewer)
        self.rotating = SlideRotating(dock, viewer)
        self.worklist.failed.connect(self.failed)
        dock.desk.found.connect(self._on_found)
        for fold, make in ((dock.depth_fold, lambda: self.depth), (dock.risk_fold, lambda: self.risk)):
            fold.toggled.connect(make)
            dock.waiting.later(make)

    @property
    def busy(self) -> bool:
        """Whether one of them is at work."""
        return self.worklist.busy or any(part.busy for part in self._late)

    @cached_property
    def depth(self) -> SlideDepths:
        """The depth of a melanoma."""
        from napari_melanoma.ui.slide.depth.section import SlideDepths

        return self._caught_up(SlideDepths(self._dock, self._viewer))

    @cached_property
    def risk(self) -> SlideRisk:
        """The risk of metastasis, which follows the depth."""
        from napari_melanoma.ui.slide.risk.section import SlideRisk

        return self._caught_up(SlideRisk(self._dock, self._viewer, self.depth))

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide, or the same with another scale."""
        self._slide = slide
        for part in (self.magnifying, self.worklist, self.measuring, self.beside, self.rotating, *self._late):
            part.turn_to(slide)

    def _on_found(self, place: Place) -> None:
        """Look at what was kept of the slide, now that it is known where that is."""
        self._place = place
        for part in self._late:
            part.look(place)

    def _caught_up(self, made: LatePart) -> LatePart:
        """Bring a part that was just made to the slide that the dock is about."""
        self._late.append(made)
        made.failed.connect(self.failed)
        if self._slide is not None:
            made.turn_to(self._slide)
        if self._place is not None:
            made.look(self._place)
        return made
