"""What stands around a slide in the dock: magnification, slides of a folder, tools, depth, risk, a second view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.slide.beside import SlideBeside
from napari_melanoma.ui.slide.depth import SlideDepths
from napari_melanoma.ui.slide.magnification import SlideMagnifying
from napari_melanoma.ui.slide.risk import SlideRisk
from napari_melanoma.ui.slide.rotation import SlideRotating
from napari_melanoma.ui.slide.tools import SlideMeasures
from napari_melanoma.ui.slide.worklist import SlideWorklist

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.layers import OpenSlide


class SlideAround(QObject):
    """Holds these parts, so that the dock has one thing to turn to another slide.

    Parameters
    ----------
    dock : SlideDock
        The dock.
    viewer : napari.viewer.Viewer
        The viewer.

    Attributes
    ----------
    failed : Signal(object)
        An exception of any of them.
    """

    failed = Signal(object)

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self.magnifying = SlideMagnifying(viewer, dock)
        self.worklist = SlideWorklist(dock)
        self.measuring = SlideMeasures(dock, viewer)
        self.beside = SlideBeside(dock, viewer)
        self.rotating = SlideRotating(dock, viewer)
        self.depth = SlideDepths(dock, viewer)
        self.risk = SlideRisk(dock, viewer, self.depth)
        self.worklist.failed.connect(self.failed)
        self.depth.failed.connect(self.failed)
        self.risk.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether one of them is at work."""
        return self.worklist.busy or self.depth.busy or self.risk.busy

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide, or the same with another scale.

        Parameters
        ----------
        slide : OpenSlide or None
            None for none.
        """
        self.magnifying.turn_to(slide)
        self.worklist.turn_to(slide)
        self.measuring.turn_to(slide)
        self.beside.turn_to(slide)
        self.rotating.turn_to(slide)
        self.depth.turn_to(slide)
        self.risk.turn_to(slide)
