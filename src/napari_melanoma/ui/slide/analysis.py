"""Analyses of a slide and of its view: launch, resume and detach them, and select whose results are shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import ConfigError, InputError, MelanomaError
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.ui.session.run_status import SlideRunUpdate, needs_run_panel
from napari_melanoma.ui.slide.run_manager import SlideAnalysisRequest
from napari_melanoma.ui.viewer import camera, slide_layers
from napari_melanoma.ui.viewer.camera import ViewRectangle
from napari_melanoma.ui.viewer.shape_layers import line_width
from napari_melanoma.ui.viewer.view_memory import is_in_view
from napari_melanoma.ui.widgets.dialogs import confirm
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari.layers import Shapes

    from napari_melanoma.slides.background_runs import SlideRunStatus
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.ui.session.lesions import LesionState
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.slide.controls import SlideControls

Region = tuple[int, int, int, int]  # top, left, height, width in pixels of the finest level
FRAME_COLOR = "cyan"
NOT_IN_VIEW = "no part of the slide is in view: move the view to the slide, or analyze the whole slide."
STARTED_MESSAGE = "The analysis continues if you close napari."
DETACHED_MESSAGE = "The analysis continues in the background. Press Analyze or reopen the slide to see its progress."


class AnalysisLauncher(QObject):
    """Launch analyses, also of a slide that is no longer displayed, and ask before results are replaced.

    ``launched``: the request, and the folder of the analysis that runs now. ``not_launched``: the user declined or the
    launch failed.
    """

    launched = Signal(object, object)  # SlideAnalysisRequest, Path
    not_launched = Signal()

    def __init__(self, controls: SlideControls) -> None:
        super().__init__(controls)
        self._controls, self._manager, self._status = controls, controls.run_manager, controls.status
        self._request: SlideAnalysisRequest | None = None  # of the analysis that is being launched
        self._manager.started.connect(self._on_started)
        self._manager.options_differ.connect(self._on_options_differ)
        self._manager.not_started.connect(self.not_launched)

    def launch(self, request: SlideAnalysisRequest, message: str = "Starting ...") -> None:
        """Launch an analysis, and show a message until it runs."""
        self._request = request
        self._status.begin("starting", message)
        self._manager.start(request)

    def _on_options_differ(self, request: SlideAnalysisRequest, difference: str) -> None:
        """Ask before results are replaced."""
        self._status.end("starting")
        self._controls.run_panel.clear_pending_command()
        question = f"Replace the results of '{request.info.name}'?"
        details = f"They were made with other options ({difference})."
        if confirm(self._controls, "replace_result", question, details, "Replace"):
            self.launch(replace(request, force=True))
        else:
            self.not_launched.emit()

    def _on_started(self, folder: Path) -> None:
        self._status.end("starting", STARTED_MESSAGE)
        self.launched.emit(self._request, folder)


class AnalysisController(QObject):
    """The analyses of a displayed slide: of the whole slide, and of the view when it was analyzed.

    ``changed``: other results are shown, or the analysis is no longer followed. ``options_restored``: results of an
    earlier analysis are shown; name of the model, and the options, None if they cannot be read.
    """

    changed = Signal()
    options_restored = Signal(str, object)  # SlideOptions

    def __init__(
        self,
        session: SlideSession,
        launcher: AnalysisLauncher,
        controls: SlideControls,
        get_options: Callable[[SlideSession], SlideOptions],
    ) -> None:
        super().__init__(controls)
        self._session, self._launcher, self._controls = session, launcher, controls
        self._get_options = get_options
        self._results, self._run_panel = session.results, controls.run_panel
        self._viewer = session.services.viewer
        location = session.location
        self._is_analyzed = (location.is_analyzed, location.is_view_analyzed)
        self._pending_view: bool | None = None  # whether to show the results of the view when edits have been applied
        self._connections = Connections(self)
        self._connect()
        self._results.reopen(is_view=self._select_view())
        self._update_choice()
        if any(self._is_analyzed):
            heatmap = self._results.value.heatmap
            target = "" if heatmap is None or heatmap.shows_classes else heatmap.target
            self._run_panel.set_folder(self._folder, target)

    def _connect(self) -> None:
        for signal, slot in (
            (self._controls.result_choice.activated, self._on_chosen),
            (tasks.idle, self._retry_switch),
            (self._launcher.launched, self._on_launched),
            (self._launcher.not_launched, self._restore_results),
            (self._run_panel.resume_requested, self._on_resume),
            (self._run_panel.detached, self._on_detached),
            (self._results.ended, self._on_ended),
            (self._results.target_selected, self._run_panel.set_target),
            (self._session.lesions.saved, self._on_lesions_saved),
        ):
            self._connections.connect(signal, slot)

    def close(self) -> None:
        """Stop following the analysis, which continues."""
        self._connections.end()
        self._run_panel.set_folder(None)
        self._controls.result_choice.hide()
        self._controls.show_setup()
        self.deleteLater()

    def start(self, *, view: bool) -> None:
        """Analyze the whole slide, or the view only."""
        self._session.commit_requested.emit()  # a threshold may just have been typed
        try:
            request = self._make_request(view)
        except MelanomaError as error:
            show_failure(self._session.services.status, error)
            return
        if request.reset_lesions and not self._confirm_replacing_edits(request.info.name):
            return
        if view != self._is_view:
            self._switch_results(view, follow=False)
        self._session.services.settings.set("slide/model", request.options.model)
        self._launcher.launch(request)

    def get_visible_region(self) -> Region:
        """Return the visible part of the slide; raise InputError if no part is visible."""
        slide = self._session.slide
        if not is_in_view(self._viewer, slide.layers):
            raise InputError(NOT_IN_VIEW)
        return clip_to_slide(camera.get_visible_region(self._viewer, slide), slide.size)

    def show_frame(self, region: Region | None) -> None:
        """Draw a frame around a region; None removes it."""
        slide = self._session.slide
        if region is None:
            layer = slide_layers.find_layer(self._viewer, slide, "view")
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
    def _is_view(self) -> bool:
        return self._results.value.is_view

    @property
    def _folder(self) -> Path:
        return self._session.result_location.folder

    def _make_request(self, view: bool) -> SlideAnalysisRequest:
        region, location = self.get_visible_region() if view else None, self._session.location
        return SlideAnalysisRequest(
            self._session.slide.info,
            location.of_view if view else location,
            self._get_options(self._session).model_copy(update={"region": region}),
            self._session.corrected_tissue,
            reset_lesions=view == self._is_view and self._session.lesions.is_corrected,
        )

    def _confirm_replacing_edits(self, name: str) -> bool:
        """Return whether the user agrees to replace lesions that were drawn or edited."""
        details = (
            "The analysis detects the lesions again and replaces those that you drew or edited. Classes that you set "
            "are kept for lesions that are found again. A backup is saved next to the results."
        )
        return confirm(self._controls, "replace_lesions", f"Replace your lesions of '{name}'?", details, "Replace")

    def _select_view(self) -> bool:
        """Return whether to show the results of the view: those shown last, or those that exist."""
        whole, view = self._is_analyzed
        return view and (self._is_view or not whole)

    def _on_launched(self, request: SlideAnalysisRequest, folder: Path) -> None:
        """Follow an analysis of this slide, which starts without results."""
        if folder != self._folder:
            return
        self._results.reset(is_view=self._is_view)
        self._is_analyzed = (self._is_analyzed[0] or not self._is_view, self._is_analyzed[1] or self._is_view)
        self._update_choice()
        self.show_frame(request.options.region)
        self._run_panel.set_folder(folder)

    def _restore_results(self) -> None:
        """Show the previous results again, because no analysis was started."""
        if self._run_panel.watch.path is None:
            self._switch_results(self._is_view and self._is_analyzed[1])

    def _on_resume(self) -> None:
        """Resume with the options of the run, even if the controls show others."""
        status, session = self._run_panel.status, self._session
        options = None if status is None else status.options
        request = SlideAnalysisRequest(
            session.slide.info, session.result_location, options or self._get_options(session)
        )
        self._launcher.launch(request, "Resuming ...")

    def _on_detached(self) -> None:
        self._run_panel.set_folder(None)
        self._session.services.status.show_message(DETACHED_MESSAGE)
        self.changed.emit()

    def _on_lesions_saved(self, state: LesionState) -> None:
        """Show results with the lesions that were saved; their file is not read again."""
        content = self._results.value.content
        if content and state.source.folder == self._folder:
            add = partial(self._results.add_lesions, content)
            self._session.lesions.submit(lambda run: state.to_saved().add_to(content), add)

    def _on_ended(self, update: SlideRunUpdate, was_running: bool) -> None:
        """Show the outcome of an analysis that has just ended, or that ended in an earlier session."""
        content, status = self._results.value.content, self._session.services.status
        outcome = describe_outcome(update.status, content)
        if not needs_run_panel(update):  # otherwise the run panel shows it
            status.show_message(outcome if was_running or not content else f"Previous analysis: {outcome}")
        elif was_running:
            status.show_message("")
        options = _read_options(update)
        if content and not was_running:  # repeating the analysis uses the same model and options
            self.options_restored.emit(str((content.get("model") or {}).get("name", "")), options)
        self.show_frame(None if options is None else options.region)

    def _switch_results(self, view: bool, *, follow: bool = True) -> None:
        """Show the results of the view, or else of the whole slide.

        With ``follow``, wait until pending edits of the lesions are applied, and then follow the run of these results.
        """
        self._pending_view = None
        if follow and not tasks.is_idle(self._session.lesions.queue):
            self._pending_view = view
            return
        self._run_panel.set_folder(None)
        self._results.reset(is_view=view)
        self._update_choice()
        self.show_frame(None)
        if follow:
            self._run_panel.set_folder(self._folder)
            self.changed.emit()

    def _retry_switch(self) -> None:
        if self._pending_view is not None:
            self._switch_results(self._pending_view)

    def _update_choice(self) -> None:
        """Show the choice if there are results of the slide and of the view."""
        self._controls.result_choice.setVisible(all(self._is_analyzed))
        self._controls.result_choice.show_view(self._is_view)
        self._controls.show_setup()

    def _on_chosen(self, index: int) -> None:
        if bool(index) != self._is_view:
            self._switch_results(bool(index))


def describe_outcome(run: SlideRunStatus, content: Mapping[str, Any]) -> str:
    """Describe the outcome of an analysis: slide, number of tiles, time and model, or why there is no result."""
    if str(run.state) in ("failed", "cancelled") or not content:
        return run.message
    tiles, seconds = content.get("tiles_done", 0), float(content.get("seconds") or 0.0)
    model = (content.get("model") or {}).get("name", "")
    return f"{content.get('slide', '')}: {tiles:,} tiles in {format_duration(seconds)} by {model}."


def _read_options(update: SlideRunUpdate) -> SlideOptions | None:
    """Return the options of the analysis; None if this version cannot read them."""
    from napari_melanoma.slides.options import SlideOptions

    if update.status.options is not None:
        return update.status.options
    try:
        return SlideOptions.parse(dict(update.content.get("options") or {}), "result.json")
    except ConfigError:
        return None


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
