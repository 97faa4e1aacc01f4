"""What stands around a slide in the dock: magnification, slides of a folder, tools, depth, risk, a second view."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.slide.magnification import MagnificationController, RotationController
from napari_melanoma.ui.slide.measurements import MeasurementSection
from napari_melanoma.ui.slide.side_by_side import SideBySideController
from napari_melanoma.ui.slide.worklist import SlideWorklist

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.depth.section import SlideDepthSection
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.risk.section import SlideRiskSection
    from napari_melanoma.ui.slide.run_manager import SlideResultLocation
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

LazySection = TypeVar("LazySection", "SlideDepthSection", "SlideRiskSection")


class SlideSections(QObject):
    """Holds these parts, so that the dock has one thing to turn to another slide.

    Depth and risk, which take long to import, are made once the dock is drawn, or when they are first asked for.
    """

    failed = Signal(object)

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        self._slide: ViewerSlide | None = None
        self._location: SlideResultLocation | None = None
        self._created_sections: list[SlideDepthSection | SlideRiskSection] = []  # those that were made
        self.magnification = MagnificationController(viewer, dock)
        self.worklist = SlideWorklist(dock)
        self.measurements = MeasurementSection(dock, viewer)
        self.side_by_side = SideBySideController(dock, viewer)
        self.rotation = RotationController(dock, viewer)
        self.worklist.failed.connect(self.failed)
        dock.run_manager.results_found.connect(self._on_results_found)
        for fold, make in ((dock.depth_section, lambda: self.depth), (dock.risk_section, lambda: self.risk)):
            fold.toggled.connect(make)
            dock.waiting.add_task(make)

    @property
    def busy(self) -> bool:
        """Whether one of them is at work."""
        return self.worklist.busy or any(part.busy for part in self._created_sections)

    @cached_property
    def depth(self) -> SlideDepthSection:
        """The depth of a melanoma."""
        from napari_melanoma.ui.slide.depth.section import SlideDepthSection

        return self._initialize_section(SlideDepthSection(self._dock, self._viewer))

    @cached_property
    def risk(self) -> SlideRiskSection:
        """The risk of metastasis, which follows the depth."""
        from napari_melanoma.ui.slide.risk.section import SlideRiskSection

        return self._initialize_section(SlideRiskSection(self._dock, self._viewer, self.depth))

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Be about another slide, or the same with another scale."""
        self._slide = slide
        for part in (
            self.magnification,
            self.worklist,
            self.measurements,
            self.side_by_side,
            self.rotation,
            *self._created_sections,
        ):
            part.set_slide(slide)

    def _on_results_found(self, location: SlideResultLocation) -> None:
        """Look at what was kept of the slide, now that it is known where that is."""
        self._location = location
        for part in self._created_sections:
            part.load(location)

    def _initialize_section(self, section: LazySection) -> LazySection:
        """Bring a part that was just made to the slide that the dock is about."""
        self._created_sections.append(section)
        section.failed.connect(self.failed)
        if self._slide is not None:
            section.set_slide(self._slide)
        if self._location is not None:
            section.load(self._location)
        return section
