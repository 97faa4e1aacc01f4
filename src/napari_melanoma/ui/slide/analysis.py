"""Start, resume, detach and follow the analysis of a slide or of the view; switch between the results of the two."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QLabel, QMessageBox, QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.slide.run_manager import SlideAnalysisRequest
from napari_melanoma.ui.viewer import camera, slide_layers
from napari_melanoma.ui.viewer.shape_layers import line_width
from napari_melanoma.ui.viewer.view_memory import is_in_view
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.style import named, row

if TYPE_CHECKING:
    from napari.layers import Shapes

    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.session.location import SlideResultLocation
    from napari_melanoma.ui.session.run_panel import SlideRunPanel
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.lesions import SlideLesions
    from napari_melanoma.ui.viewer.camera import ViewRectangle
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide


DETACHED_MESSAGE = "The analysis continues in the background. Press Analyze or reopen the slide to see its progress."


class SlideAnalysisController(QObject):
    """Pass the user's requests to the run manager, and show the state of the run.

    ``view_chosen``: whether the view, not the whole slide, is about to be analyzed. ``started``: the ``Region`` of the
    displayed slide that is being analyzed; None for the whole slide. ``not_started``: the user declined or the start
    failed, so the previous results must be shown again. ``detached``: the user hid the progress of an analysis, which
    continues.
    """

    view_chosen = Signal(bool)
    started = Signal(object)
    not_started = Signal()
    detached = Signal()

    def __init__(
        self,
        context: SlideContext,
        run_panel: SlideRunPanel,
        make_request: Callable[[bool], SlideAnalysisRequest | None],
        make_options: Callable[[SlideInfo], SlideOptions],
    ) -> None:
        super().__init__(context)
        self._context, self._run_panel = context, run_panel
        self._make_request, self._make_options = make_request, make_options
        self._requested_options: SlideOptions | None = None  # of the analysis that is being started
        context.run_manager.started.connect(self._on_started)
        context.run_manager.options_differ.connect(self._on_options_differ)
        context.run_manager.not_started.connect(self._on_not_started)
        run_panel.resume_requested.connect(self._on_resume)
        run_panel.detached.connect(self._on_detached)

    def start(self, *, view: bool) -> None:
        """Analyze the whole slide, or the view only."""
        context = self._context
        try:
            request = self._make_request(view)
        except InputError as error:
            context.run_manager.failed.emit(error)
            return
        if request is None or (request.reset_lesions and not self._confirm_replacing_edits(request.info.name)):
            return
        self.view_chosen.emit(view)
        context.settings.set("slide/model", request.options.model)
        if context.result_location is not None:  # the current one, as ``view_chosen`` may have switched the results
            self._start(replace(request, location=context.result_location), "Starting ...")

    def _confirm_replacing_edits(self, name: str) -> bool:
        """Return whether the user agrees to replace lesions that were drawn or edited."""
        question = f"Replace your lesions of '{name}'?"
        details = (
            "The analysis detects the lesions again and replaces those that you drew or edited. "
            "A backup is saved next to the results."
        )
        box = create_question(self._context.dock, "replace_lesions", question, details, "Slide")
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        return pressed is not None and pressed.objectName() == "replace"

    def _on_resume(self) -> None:
        """Resume with the options of the run, even if the controls show others."""
        slide, location, status = self._context.slide, self._context.result_location, self._run_panel.status
        if slide is not None and location is not None and status is not None:
            options = status.options or self._make_options(slide.info)
            self._start(SlideAnalysisRequest(slide.info, location, options), "Resuming ...")

    def _start(self, request: SlideAnalysisRequest, message: str) -> None:
        self._requested_options = request.options
        self._context.status.begin("starting", message)
        self._context.run_manager.start(request)

    def _on_options_differ(self, request: SlideAnalysisRequest, difference: str) -> None:
        """Ask before results are replaced."""
        self._context.status.end("starting")
        self._run_panel.clear_pending_command()
        question = f"Replace the results of '{request.info.name}'?"
        details = f"They were made with other options ({difference})."
        box = create_question(self._context.dock, "replace_result", question, details, "Slide")
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        if pressed is not None and pressed.objectName() == "replace":
            self._start(replace(request, force=True), "Starting ...")
        else:
            self._requested_options = None
            self.not_started.emit()

    def _on_started(self, folder: Path) -> None:
        context, options = self._context, self._requested_options
        context.status.end("starting", "The analysis continues if you close napari.")
        if (
            context.slide is not None
            and context.result_location is not None
            and folder == context.result_location.folder
        ):
            self.started.emit(None if options is None else options.region)
            self._run_panel.set_folder(folder)
        self._requested_options = None

    def _on_not_started(self) -> None:
        self._requested_options = None
        self.not_started.emit()  # the previous results are shown again

    def _on_detached(self) -> None:
        self._run_panel.set_folder(None)
        self._context.status.show_message(DETACHED_MESSAGE)
        self.detached.emit()


Region = tuple[int, int, int, int]  # top, left, height, width in pixels of the finest level
FRAME_COLOR = "cyan"
RESULT_CHOICES = ("the whole slide", "the view")
RESULTS_TIP = "Which results are shown; both are stored separately"
NOT_IN_VIEW = "no part of the slide is in view: move the view to the slide, or analyze the whole slide."


class AnalysisRegionController(QObject):
    """Switch between the results of the whole slide and of the view.

    "The view" is the part of the slide that was visible when it was analyzed. ``results_switched``: other results were
    chosen, so the displayed ones must be removed. ``changed``: the chosen results are being read; not emitted before an
    analysis, which writes them first.
    """

    results_switched = Signal()
    changed = Signal()

    def __init__(self, context: SlideContext, run_panel: SlideRunPanel, lesions: SlideLesions, button: QWidget) -> None:
        super().__init__(context)
        self._context, self._viewer = context, context.viewer
        self._run_panel, self._lesions, self._button = run_panel, lesions, button
        self._choice: QWidget | None = None
        self._combo: NoWheelComboBox | None = None
        self._is_analyzed = (False, False)  # whether there are results of the whole slide, and of the view
        self._pending_switch: tuple[str, bool] | None = None  # identity of the slide; whether to switch to the view
        tasks.idle.connect(self._retry_switch)

    @property
    def is_view(self) -> bool:
        """Whether the results of the view are shown."""
        return self._context.is_view

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, starting with its whole-slide results."""
        self._context.is_view, self._is_analyzed, self._pending_switch = False, (False, False), None
        self._update_choice()

    def show_results(self, location: SlideResultLocation) -> None:
        """Show results that were found: those of the whole slide, or those of the view if there are no others."""
        self._is_analyzed = (location.is_analyzed, location.is_view_analyzed)
        self._context.is_view = location.is_view_analyzed and not location.is_analyzed
        self._update_choice()
        folder = self._folder
        if folder is not None and any(self._is_analyzed):
            self._run_panel.set_folder(folder)

    def prepare_analysis(self, view: bool) -> None:
        """Switch to the results that the next analysis will write; their previous run is not shown."""
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
        """Record that an analysis of the whole slide or of the view was started, so that both can be chosen."""
        self._is_analyzed = (self._is_analyzed[0] or not self.is_view, self._is_analyzed[1] or self.is_view)
        self._update_choice()

    def get_visible_region(self) -> Region:
        """Return the visible part of the slide; raise InputError if no part is visible."""
        slide = self._context.slide
        if slide is None:
            raise InputError("open a slide first.")
        if not is_in_view(self._viewer, slide.layers):
            raise InputError(NOT_IN_VIEW)
        return clip_to_slide(camera.get_visible_region(self._viewer, slide), slide.size)

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
        # napari's coordinates are those of pixel centers: the edge of the slide is at -0.5.
        ring = [(row - 0.5, column - 0.5) for row, column in corners]
        layer = slide_layers.get_or_add_layer(self._viewer, slide, "view", _create_frame_layer)
        layer.editable = True
        layer.data = []
        line_px = line_width(self._viewer, slide, "view")
        layer.add_rectangles([ring], edge_width=line_px, edge_color=FRAME_COLOR, face_color="transparent")
        layer.editable = False  # the frame shows what was analyzed

    @property
    def _folder(self) -> Path | None:
        location = self._context.result_location
        return None if location is None else location.folder

    def _switch_results(self, view: bool, *, follow: bool = True) -> None:
        """Show the results of the view, or else of the whole slide.

        With ``follow``, wait until pending edits of the lesions are applied, and then follow the run of these results.
        """
        slide = self._context.slide
        if slide is None:
            return
        self._pending_switch = None
        if follow and not tasks.is_idle(self._lesions):
            self._pending_switch = (slide.identity, view)
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
        slide, pending = self._context.slide, self._pending_switch
        if slide is not None and pending is not None and slide.identity == pending[0]:
            self._switch_results(pending[1])

    def _update_choice(self) -> None:
        """Show the choice if there are results of the slide and of the view."""
        has_both = all(self._is_analyzed)
        if has_both and self._choice is None:
            self._choice = self._create_choice()
        if self._choice is not None and self._combo is not None:
            self._choice.setVisible(has_both)
            self._combo.setCurrentIndex(int(self.is_view))

    def _create_choice(self) -> QWidget:
        self._combo = named(NoWheelComboBox(), "slide_scope", "Results of", RESULTS_TIP)
        self._combo.addItems(RESULT_CHOICES)
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
    """Clip a view to the slide, and round it outward to whole pixels; ``size``: height and width of the slide."""
    top, left = max(0, math.floor(view.top)), max(0, math.floor(view.left))
    bottom = min(size[0], math.ceil(view.top + view.height))
    right = min(size[1], math.ceil(view.left + view.width))
    if bottom <= top or right <= left:
        raise InputError(NOT_IN_VIEW)
    return top, left, bottom - top, right - left


def _create_frame_layer() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2)
