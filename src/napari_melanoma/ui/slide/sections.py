"""Assemble the sections of the Slide dock for magnification, worklist, measurements, depth, risk and side by side."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.slide.magnification import MagnificationController, RotationController
from napari_melanoma.ui.slide.measurements import MeasurementSection
from napari_melanoma.ui.slide.side_by_side import SideBySideController
from napari_melanoma.ui.slide.worklist import SlideWorklist

if TYPE_CHECKING:
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.controls import SlideControls
    from napari_melanoma.ui.slide.depth.section import SlideDepthSection
    from napari_melanoma.ui.slide.risk.section import SlideRiskSection
    from napari_melanoma.ui.slide.run_manager import SlideResultLocation
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

LazySection = TypeVar("LazySection", "SlideDepthSection", "SlideRiskSection")


class SlideSections(QObject):
    """Create the sections and pass them the displayed slide.

    Depth and risk take long to import: they are created after the dock is drawn, or when they are first needed.
    """

    failed = Signal(object)

    scale_requested = Signal()

    def __init__(self, context: SlideContext, controls: SlideControls) -> None:
        super().__init__(context)
        self._context, self._controls = context, controls
        self._slide: ViewerSlide | None = None
        self._location: SlideResultLocation | None = None
        self._created_sections: list[SlideDepthSection | SlideRiskSection] = []  # depth and risk, once created
        self.magnification = MagnificationController(context, controls.magnification)
        self.worklist = SlideWorklist(context, controls.worklist_section)
        self.measurements = MeasurementSection(context, controls.measurement_section)
        self.side_by_side = SideBySideController(
            context, controls.side_by_side_section, controls.heatmap_controls.style_layer
        )
        self.rotation = RotationController(context, controls.rotation)
        controls.heatmap_controls.changed.connect(self.side_by_side.update_heatmap)
        controls.navigation_panel.scale_bar_toggled.connect(self.side_by_side.set_scale_bar)
        self.worklist.failed.connect(self.failed)
        context.run_manager.results_found.connect(self._on_results_found)
        for section, create in (
            (controls.depth_section, lambda: self.depth),
            (controls.risk_section, lambda: self.risk),
        ):
            section.toggled.connect(create)
            context.waiting.add_task(create)

    @property
    def busy(self) -> bool:
        """Whether one of the sections is busy."""
        return self.worklist.busy or any(part.busy for part in self._created_sections)

    @cached_property
    def depth(self) -> SlideDepthSection:
        """The Depth section."""
        from napari_melanoma.ui.slide.depth.section import SlideDepthSection

        section = SlideDepthSection(self._context, self._controls.depth_section, self.measurements.find_ruler_line)
        section.scale_requested.connect(self.scale_requested)
        return self._initialize_section(section)

    @cached_property
    def risk(self) -> SlideRiskSection:
        """The Risk section, which uses the readings of the depth."""
        from napari_melanoma.ui.slide.risk.section import SlideRiskSection

        return self._initialize_section(SlideRiskSection(self._context, self._controls.risk_section, self.depth.store))

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same with another scale."""
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
        """Load the stored results of the slide."""
        self._location = location
        for part in self._created_sections:
            part.load(location)

    def _initialize_section(self, section: LazySection) -> LazySection:
        """Connect a new section and show it the displayed slide."""
        self._created_sections.append(section)
        section.failed.connect(self.failed)
        if self._slide is not None:
            section.set_slide(self._slide)
        if self._location is not None:
            section.load(self._location)
        return section
