"""The Risk section of the Slide dock: its coordination, the controller of its widgets, and the export."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.session.open_case import NO_CASE, find_open_case
from napari_melanoma.ui.session.report_file import ReportFile
from napari_melanoma.ui.session.run_status import analysis_identity
from napari_melanoma.ui.slide.risk_store import RiskRequest, RiskRequestQueue, RiskResultStore
from napari_melanoma.ui.slide.risk_view import RUNNING, RiskView, describe_changes, describe_depth, find_risk_blocker
from napari_melanoma.ui.viewer import camera
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.viewer.view_memory import center_view, zoom_to_box
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.status_line import show_outcome
from napari_melanoma.ui.widgets.style import add_to_section

if TYPE_CHECKING:
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.session.run_status import SlideRunUpdate, SuspiciousTile
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

ESTIMATE_FIRST = "Estimate the risk first."
ESTIMATE_AGAIN = "Estimate the risk again: its inputs have changed."
RELOAD_MS = 150  # delay after the last change of a depth reading


class SlideRiskSection(QObject):
    """Synchronize widgets, layers and files of the risk; the widgets are created when the section is first opened."""

    failed = Signal(object)  # the exception

    def __init__(self, context: SlideContext, section: QCollapsible) -> None:
        super().__init__(context)
        self._context, self._viewer, self._section = context, context.viewer, section
        self._slide: ViewerSlide | None = None
        self._session: SlideSession | None = None  # of the slide; None until its results were searched
        self._view: RiskView | None = None
        self._last_analysis: tuple[object, ...] = ()  # identity of the last finished one whose results were read
        self.visible_maps: dict[str, set[str]] = {}  # methods of the maps to show, by identity of the slide
        self.store, self.request_queue = RiskResultStore(self), RiskRequestQueue(context.dock)
        self.controller, self._exporter = RiskController(self, context), RiskExporter(context, self.store)
        self._reload_timer = DebounceTimer(self, RELOAD_MS)
        self._is_outdated = False  # a depth reading was changed after the results were read
        tasks.idle.connect(self._reload_when_idle)
        self.store.changed.connect(self.update_view)
        self.request_queue.started.connect(partial(context.status.begin, "predicting"))
        self.request_queue.progressed.connect(partial(context.status.progress, "predicting"))
        self.request_queue.finished.connect(self._on_request_finished)
        for source in (self.store, self.request_queue):
            source.failed.connect(self.failed)
        context.status.cancelled.connect(self._on_cancelled)
        context.run_updated.connect(self._on_run_update)
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.isExpanded())

    @property
    def view(self) -> RiskView:
        """The widgets, created when they are first needed."""
        if self._view is None:
            view = self._view = RiskView(self._context.icons)
            view.model_picker.model = self._context.settings.get(MODEL_SETTING, "")
            add_to_section(self._section, view)
            for part in (self.controller, self._exporter):
                part.connect_signals(view)
            view.show_model(view.model_picker.bundle)
            self._read_results()
        return self._view

    @property
    def slide(self) -> ViewerSlide | None:
        """The displayed slide."""
        return self._slide

    @property
    def folder(self) -> Path | None:
        """Folder of the slide's results; None until it has been found."""
        return None if self._session is None else self._session.folder

    def flush_depth(self) -> None:
        """Write the latest depth reading."""
        if self._session is not None:
            self._session.depth.flush()

    @property
    def created_view(self) -> RiskView | None:
        """The widgets; None if the section has never been opened."""
        return self._view

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same with another scale."""
        if slide is None or self._slide is None or slide.identity != self._slide.identity:
            self._last_analysis = ()
        self._follow_session(None)
        self._slide = slide
        self.store.set_slide(slide)

    def _follow_session(self, session: SlideSession | None) -> None:
        """Follow the depth reading of a session."""
        if self._session is not None:
            self._session.depth.changed.disconnect(self.schedule_reload)
        self._session = session
        if session is not None:
            session.depth.changed.connect(self.schedule_reload)

    def schedule_reload(self) -> None:
        """Read the results again after a changed depth reading has been written."""
        if self._view is not None:
            self._is_outdated = True
            tasks.set_running(self, True)
            self._reload_timer.start()

    def _read_results(self) -> None:
        """Read the stored results, unless the section has never been opened."""
        if self._view is not None and self._session is not None:
            self.store.read(self._session.identity, self._session.folder)

    def update_view(self) -> None:
        """Update the widgets to the current inputs and results."""
        view, stored = self._view, self.store.result
        if view is None:
            return
        view.patient_form.show_row(self.store.patient_data)
        view.thickness_label.setText("" if stored is None else describe_depth(stored.depth))
        view.update_estimate_button(self.find_blocker(), "" if stored is None else stored.fault)
        self.update_prediction()

    def update_prediction(self) -> None:
        """Show the prediction, and which of its inputs have changed."""
        view = self._view
        if view is None:
            return
        view.patient_form.show_origin(self.store.case_name, changed=self.store.is_edited)
        prediction, outdated = self._get_prediction()
        view.show_prediction(prediction, outdated)
        blocker = ESTIMATE_AGAIN if outdated else ""
        self._update_explanations(blocker if prediction else ESTIMATE_FIRST)

    def _update_explanations(self, blocker: str) -> None:
        """Show the visible maps and the gallery; ``blocker``: why neither can be requested, empty if they can."""
        from napari_melanoma.ui.slide.risk_store import show_maps

        view, slide, stored = self._view, self._slide, self.store.result
        if view is None or slide is None:
            return
        maps = {} if stored is None else {one.method: one for one in stored.maps}
        available = {name for name in view.map_checks if name in maps or self._is_pending(name)}
        visible = {name: name in available & self.visible_maps.get(slide.identity, set()) for name in view.map_checks}
        view.show_explanations(blocker, visible)
        show_maps(self._viewer, slide, maps, visible)
        view.gallery.show_features(slide, {} if stored is None else stored.gallery)
        view.gallery.update_find_button(blocker or (RUNNING if self._is_pending("biomarkers") else ""))

    def _get_prediction(self) -> tuple[Mapping[str, Any], str]:
        """Return the prediction for the slide, empty if there is none, and a notice about changed inputs."""
        view, stored = self._view, self.store.result
        if view is None or stored is None or not stored.prediction:
            return {}, ""
        bundle = view.model_picker.bundle
        fingerprint = "" if bundle is None else bundle.fingerprint
        # Without a model there is no form to compare with.
        row = stored.prediction["known"] if bundle is None else view.patient_form.row
        return stored.prediction, describe_changes(stored.prediction, fingerprint, row, stored.depth)

    def find_blocker(self) -> str:
        """Return why the risk cannot be estimated now; empty if it can."""
        view, info = self._view, None if self._slide is None else self._slide.info
        model = "" if view is None else view.model_picker.model
        return find_risk_blocker(info, model, self.store.result, running=self._is_pending("risk"))

    def _is_pending(self, kind: str) -> bool:
        return self.folder is not None and self.request_queue.is_pending(kind, self.folder)

    def _on_section_toggled(self, is_open: bool) -> None:
        if is_open:
            self.view.setVisible(True)  # creates the widgets when the section is first opened
            self.update_view()

    def _on_request_finished(self, request: RiskRequest, message: str) -> None:
        """Read the result, even of a slide that is no longer displayed."""
        self._context.status.end("predicting", message or None)  # None: an error message stays visible
        identity = str(request.slide.absolute())
        if not message:
            self.visible_maps.get(identity, set()).discard(request.kind)
        self.store.read(identity, request.folder)
        session = None if self._session is None else self._session.sessions.get(identity)
        if session is not None:
            session.depth.reload_predictions()  # the network may have predicted a depth
        self.update_view()

    def _on_cancelled(self, task: str) -> None:
        if task == "predicting":
            self.request_queue.cancel()

    def load(self, session: SlideSession) -> None:
        """Read the stored results from the folder that was found for the slide."""
        self._follow_session(session)
        self._read_results()

    def _on_run_update(self, update: SlideRunUpdate) -> None:
        """Read the results again when an analysis of the slide has finished."""
        analysis, status = analysis_identity(update.content), update.status
        if status.path == self.folder and str(status.state) == "finished" and analysis != self._last_analysis:
            self._last_analysis = analysis
            self._read_results()

    def _reload_when_idle(self) -> None:
        depth_tasks = () if self._session is None else (self._session.depth.queue,)
        if self._is_outdated and tasks.is_idle(self._reload_timer, *depth_tasks):
            self._is_outdated = False
            tasks.set_running(self, False)
            self._read_results()


MODEL_SETTING = "slide/risk_model"
VIEW_TILES = 3  # width of the view, in tiles, when a tile is shown


class RiskController(QObject):
    """Handle the widgets of the section."""

    def __init__(self, section: SlideRiskSection, context: SlideContext) -> None:
        super().__init__(section)
        self._section, self._context, self._viewer = section, context, context.viewer

    def connect_signals(self, view: RiskView) -> None:
        view.model_picker.changed.connect(self._on_model)
        view.model_picker.failed.connect(self._section.failed)
        view.patient_form.edited.connect(self._on_edited)
        view.patient_form.reset_requested.connect(self._section.store.restore_case_data)
        view.estimate_button.clicked.connect(self._on_estimate)
        view.patch_label.linkActivated.connect(self._show_patch)
        view.map_toggled.connect(self._on_map)
        view.gallery.features_requested.connect(partial(self._request, "biomarkers"))
        view.gallery.tile_clicked.connect(self._show_tile)

    def _request(self, kind: str, **arguments: Any) -> None:  # noqa: ANN401 - JSON values
        """Submit a request for the displayed slide."""
        section = self._section
        if section.created_view is not None and section.slide is not None and section.folder is not None:
            parameters = {"model": section.created_view.model_picker.model, **arguments}
            info = section.slide.info
            section.request_queue.submit(
                RiskRequest(kind, info.path, slide_display_name(info), section.folder, parameters)
            )
            section.update_view()

    def _on_edited(self) -> None:
        """Store the edited patient data; the form is not updated, because the user may still be typing."""
        if self._section.created_view is not None:
            self._section.store.set_patient_data(self._section.created_view.patient_form.row)
            self._section.update_prediction()

    def _on_model(self) -> None:
        """Update the section after another model was selected, or the list of models has changed."""
        view = self._section.created_view
        if view is not None:
            self._context.settings.set(MODEL_SETTING, view.model_picker.model)
            view.show_model(view.model_picker.bundle)
            self._section.update_view()

    def _on_estimate(self) -> None:
        section, slide = self._section, self._section.slide
        if section.created_view is None or slide is None or section.find_blocker():
            return
        section.flush_depth()  # include the latest reading
        size = slide.info.pixel_size
        mpp = size.x_um if size is not None and size.source in ("given", "ruler") else None
        self._request(
            "risk",
            row=section.created_view.patient_form.row,
            options={"model": section.created_view.model_picker.model, "mpp": mpp},
        )

    def _on_map(self, name: str, on: bool) -> None:
        """Show a map, which is computed if necessary, or hide it."""
        section, stored = self._section, self._section.store.result
        if section.slide is None or stored is None:
            return
        visible = section.visible_maps.setdefault(section.slide.identity, set())
        visible.add(name) if on else visible.discard(name)
        if on and name not in {one.method for one in stored.maps}:
            self._request(name, method=name)
        section.update_view()

    def _show_patch(self, index: str) -> None:
        """Zoom to a patch that was used for the prediction; ``index``: from the link."""
        slide, stored = self._section.slide, self._section.store.result
        patches = [] if stored is None or not stored.prediction else stored.prediction["patches"]
        if slide is not None and int(index) < len(patches) and patches[int(index)].get("box"):
            zoom_to_box(self._viewer, slide, camera.ViewRectangle(*patches[int(index)]["box"]))

    def _show_tile(self, tile: SuspiciousTile) -> None:
        """Center the view on a tile."""
        slide = self._section.slide
        if slide is not None:
            center_view(self._viewer, slide, (tile.row, tile.column), VIEW_TILES * tile.width_px)


ADDED_TO_CASE = "Added to the case: the lesion shows it; details are in risk/{}."


class RiskExporter:
    """Write the report on depth and risk, and add the prediction to the open case."""

    def __init__(self, context: SlideContext, store: RiskResultStore) -> None:
        self._context, self._store = context, store
        self._file = ReportFile(context)

    def connect_signals(self, view: RiskView) -> None:
        view.case_button.clicked.connect(lambda: show_outcome(self._context.status, self._add_to_case))
        view.report_button.clicked.connect(lambda: self._on_report())

    def _on_report(self) -> None:
        slide, folder = self._context.slide, self._store.folder
        if slide is not None and folder is not None:
            title, name = "Save the report on depth and risk", f"{slide.info.name}-report.html"
            self._file.choose(
                "risk_report_dialog", title, name, lambda path: partial(_write_report, path, folder, slide.info)
            )

    def _add_to_case(self) -> str:
        """Add the prediction to the open case; return a message for the user."""
        from napari_melanoma.case.results import save_risk

        stored, slide = self._store.result, self._context.slide
        if stored is None or slide is None:
            raise InputError(NO_CASE)
        controller, image = find_open_case(self._context.window, slide)
        case = save_risk(controller.store, controller.case, image.id, stored.prediction)
        controller.edit(case, "the risk of a slide")
        saved_risk = case.find_image(image.id).risk
        return ADDED_TO_CASE.format("" if saved_risk is None else saved_risk.path.name)


def _write_report(path: Path, folder: Path, info: SlideInfo, run: RunContext) -> Path:
    from napari_melanoma.reports.slide import write_slide_report

    return write_slide_report(path, folder, info.path, scale=info.pixel_size)
