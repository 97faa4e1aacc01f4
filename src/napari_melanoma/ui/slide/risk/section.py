"""The Risk section of the Slide dock."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFileDialog

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.ui.slide.open_case import NO_CASE, find_open_case
from napari_melanoma.ui.slide.risk import view as words
from napari_melanoma.ui.slide.risk.store import RiskRequest, RiskRequestQueue, RiskResultStore
from napari_melanoma.ui.slide.slide_description import slide_display_name
from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.depth.store import DepthReadingStore
    from napari_melanoma.ui.slide.risk.view import RiskView
    from napari_melanoma.ui.slide.run_manager import SlideResultLocation
    from napari_melanoma.ui.slide.run_status import SlideRunUpdate, SuspiciousTile
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

ESTIMATE_FIRST = "Estimate the risk first."
RELOAD_MS = 150  # between two looks whether a reading of depth was written


class SlideRiskSection(QObject):
    """Keeps fold, layers and files of the risk in step; what is in the fold is made when it is first opened."""

    failed = Signal(object)

    def __init__(self, context: SlideContext, section: QCollapsible, depth_store: DepthReadingStore) -> None:
        super().__init__(context)
        self._context, self._viewer, self._depth_store, self._section = context, context.viewer, depth_store, section
        self._slide: ViewerSlide | None = None
        self._folder: Path | None = None
        self._view: RiskView | None = None
        self._last_analysis: Any = None  # when the slide's own analysis ended, as it was looked at last
        self.visible_maps: dict[str, set[str]] = {}  # maps that shall be seen, by the identity of the slide
        self.store, self.request_queue = RiskResultStore(self), RiskRequestQueue(context.dock)
        self.controller, self._exporter = RiskController(self, context), RiskExporter(context, self.store)
        self._reload_timer = QTimer(self)
        self._reload_timer.setInterval(RELOAD_MS)
        self._reload_timer.timeout.connect(self._reload_when_idle)
        self.store.changed.connect(self.update_view)
        self.request_queue.started.connect(partial(context.status.begin, "answering"))
        self.request_queue.progressed.connect(partial(context.status.progress, "answering"))
        self.request_queue.finished.connect(self._on_request_finished)
        for source in (self.store, self.request_queue, self._exporter):
            source.failed.connect(self.failed)
        context.status.cancelled.connect(self._on_cancelled)
        context.run_updated.connect(self._on_run_update)
        self._depth_store.changed.connect(self.schedule_reload)
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether something is read or asked."""
        shown = self._view is not None and self._view.gallery.busy
        return self.store.busy or self.request_queue.busy or self._reload_timer.isActive() or shown

    @property
    def view(self) -> RiskView:
        """The fold's content, made when it is first needed."""
        if self._view is None:
            from napari_melanoma.ui.slide.risk.view import RiskView

            made = self._view = RiskView(self._context.icons)
            made.model_picker.model = self._context.settings.get(MODEL_SETTING, "")
            self._section.content().layout().itemAt(0).widget().layout().addWidget(made)
            for part in (self.controller, self._exporter):
                part.connect_signals(made)
            made.show_model(made.model_picker.bundle)
            self._read_results()
        return self._view

    @property
    def slide(self) -> ViewerSlide | None:
        """The slide that it is about."""
        return self._slide

    @property
    def folder(self) -> Path | None:
        """Where what is known of it lies; None until that is known."""
        return self._folder

    @property
    def depth_store(self) -> DepthReadingStore:
        """What readers measure."""
        return self._depth_store

    @property
    def created_view(self) -> RiskView | None:
        """The fold's content, where it was made."""
        return self._view

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Be about another slide, or the same with another scale."""
        if slide is None or self._slide is None or slide.identity != self._slide.identity:
            self._folder = self._last_analysis = None
        self._slide = slide
        self.store.set_slide(slide)

    def schedule_reload(self) -> None:
        """Look anew when a reading of the depth was written."""
        if self._view is not None:
            self._reload_timer.start()

    def _read_results(self) -> None:
        """Read what lies beside the slide, where somebody looks."""
        if self._view is not None and self._slide is not None and self._folder is not None:
            self.store.read(self._slide.identity, self._folder)

    def update_view(self) -> None:
        """Show what is known now."""
        view, kept = self._view, self.store.result
        if view is None:
            return
        view.patient_form.show_row(self.store.patient_data)
        view.thickness_label.setText("" if kept is None else words.describe_depth(kept.depth))
        view.update_estimate_button(self.find_blocker(), "" if kept is None else kept.fault)
        self.update_prediction()

    def update_prediction(self) -> None:
        """Show what was told, and whether something else is known since."""
        view = self._view
        if view is None:
            return
        view.patient_form.show_origin(self.store.case_name, changed=self.store.is_edited)
        answer, old = self._get_prediction()
        view.show_prediction(answer, old)
        self._update_explanations("" if answer and not old else ESTIMATE_FIRST)

    def _update_explanations(self, why_not: str) -> None:
        """Show the maps that are wanted and the gallery, and whether they can be asked for."""
        from napari_melanoma.ui.slide.risk.store import show_maps

        view, slide, kept = self._view, self._slide, self.store.result
        if view is None or slide is None:
            return
        maps = {} if kept is None else {one.method: one for one in kept.maps}
        there = {name for name in view.map_checks if name in maps or self._is_pending(name)}
        wanted = {name: name in there & self.visible_maps.get(slide.identity, set()) for name in view.map_checks}
        view.show_explanations(why_not, wanted)
        show_maps(self._viewer, slide, maps, wanted)
        view.gallery.show_features(slide, {} if kept is None else kept.gallery)
        view.gallery.update_find_button(why_not or (words.RUNNING if self._is_pending("biomarkers") else ""))

    def _get_prediction(self) -> tuple[Mapping[str, Any], str]:
        """What was told of the slide, and what is another since."""
        view, kept = self._view, self.store.result
        if view is None or kept is None or not kept.prediction:
            return {}, ""
        bundle = view.model_picker.bundle
        fingerprint = "" if bundle is None else bundle.fingerprint
        row = kept.prediction["known"] if bundle is None else view.patient_form.row
        return kept.prediction, words.describe_changes(kept.prediction, fingerprint, row, kept.depth)

    def find_blocker(self) -> str:
        """Say why nothing can be estimated now.

        Empty where it can be.
        """
        view, info = self._view, None if self._slide is None else self._slide.info
        model = "" if view is None else view.model_picker.model
        return words.find_risk_blocker(info, model, self.store.result, running=self._is_pending("risk"))

    def _is_pending(self, kind: str) -> bool:
        return self._folder is not None and self.request_queue.is_pending(kind, self._folder)

    def _on_section_toggled(self, is_open: bool) -> None:
        if is_open:
            self.view.setVisible(True)  # made now, if it was not yet
            self.update_view()

    def _on_request_finished(self, request: RiskRequest, message: str) -> None:
        """Look at what is there now, also of a slide that is no longer in view."""
        self._context.status.end("answering", message or None)  # what went wrong stays in sight
        identity = str(request.slide.absolute())
        if not message:
            self.visible_maps.get(identity, set()).discard(request.kind)
        self.store.read(identity, request.folder)
        self.update_view()

    def _on_cancelled(self, task: str) -> None:
        if task == "answering":
            self.request_queue.cancel()

    def load(self, location: SlideResultLocation) -> None:
        """Read what was told before, now that it is known where that is."""
        if self._slide is not None and self._slide.identity == location.identity:
            self._folder = location.slide_folder or location.folder
            self._read_results()

    def _on_run_update(self, sight: SlideRunUpdate) -> None:
        """Look anew when the slide's own analysis has come to its end."""
        ended = sight.content.get("seconds")
        if sight.path == self._folder and str(sight.report.state) == "finished" and ended != self._last_analysis:
            self._last_analysis = ended
            self._read_results()

    def _reload_when_idle(self) -> None:
        if not self._depth_store.busy:
            self._reload_timer.stop()
            self._read_results()


MODEL_SETTING = "slide/risk_model"
VIEW_TILES = 3  # how many times as wide as a place the view is that goes there


class RiskController(QObject):
    """Takes what the user does to keeper and worker."""

    def __init__(self, section: SlideRiskSection, context: SlideContext) -> None:
        super().__init__(section)
        self._section, self._context, self._viewer = section, context, context.viewer

    def connect_signals(self, view: RiskView) -> None:
        """Hear what the user does in the fold."""
        keeper = self._section.store
        view.model_picker.changed.connect(self._on_model)
        view.model_picker.failed.connect(self._section.failed)
        view.patient_form.edited.connect(self._on_edited)
        view.patient_form.reset_requested.connect(keeper.restore_case_data)
        view.estimate_button.clicked.connect(self._on_estimate)
        view.patch_label.linkActivated.connect(self._show_patch)
        view.map_toggled.connect(self._on_map)
        view.gallery.features_requested.connect(partial(self._request, "biomarkers"))
        view.gallery.tile_clicked.connect(self._show_tile)

    def _request(self, kind: str, **arguments: Any) -> None:  # noqa: ANN401 - as JSON holds it
        """Ask about the slide in view."""
        page = self._section
        if page.created_view is not None and page.slide is not None and page.folder is not None:
            told = {"model": page.created_view.model_picker.model, **arguments}
            page.request_queue.submit(
                RiskRequest(kind, page.slide.info.path, slide_display_name(page.slide.info), page.folder, told)
            )
            page.update_view()

    def _on_edited(self) -> None:
        """Take what was typed; the form itself is left alone, for a hand may be in it."""
        if self._section.created_view is not None:
            self._section.store.set_patient_data(self._section.created_view.patient_form.row)
            self._section.update_prediction()

    def _on_model(self) -> None:
        """Another model is picked, or there are others."""
        view = self._section.created_view
        if view is not None:
            self._context.settings.set(MODEL_SETTING, view.model_picker.model)
            view.show_model(view.model_picker.bundle)
            self._section.update_view()

    def _on_estimate(self) -> None:
        page, slide = self._section, self._section.slide
        if page.created_view is None or slide is None or page.find_blocker():
            return
        page.depth_store.flush()  # what was just measured counts
        size = slide.info.pixel_size
        given = size.x_um if size is not None and size.source in ("given", "ruler") else None
        self._request(
            "risk",
            row=page.created_view.patient_form.row,
            options={"model": page.created_view.model_picker.model, "mpp": given},
        )

    def _on_map(self, name: str, on: bool) -> None:
        """Show a map, which is asked for where it is not known, or hide it."""
        page, kept = self._section, self._section.store.result
        if page.slide is None or kept is None:
            return
        wanted = page.visible_maps.setdefault(page.slide.identity, set())
        wanted.add(name) if on else wanted.discard(name)
        if on and name not in {one.method for one in kept.maps}:
            self._request(name, method=name)
        page.update_view()

    def _show_patch(self, index: str) -> None:
        """Go to a patch that the answer rests on."""
        slide, kept = self._section.slide, self._section.store.result
        patches = [] if kept is None or not kept.prediction else kept.prediction["patches"]
        if slide is not None and int(index) < len(patches) and patches[int(index)].get("box"):
            slide_camera.zoom_to_box(self._viewer, slide, slide_camera.ViewRectangle(*patches[int(index)]["box"]))

    def _show_tile(self, tile: SuspiciousTile) -> None:
        """Go where a feature is excited."""
        slide = self._section.slide
        if slide is not None:
            slide_camera.center_view(self._viewer, slide, (tile.row, tile.column), VIEW_TILES * tile.width_px)


ADDED_TO_CASE = "Taken into the case: the lesion shows it; all of it is in risk/{}."


class RiskExporter(QObject):
    """Writes the page, and hands answers to the Case dock."""

    failed = Signal(object)

    def __init__(self, context: SlideContext, store: RiskResultStore) -> None:
        super().__init__(store)
        self._context, self._store = context, store
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_written)
        self._latest.failed.connect(self.failed)

    def connect_signals(self, view: RiskView) -> None:
        """Hear what the user does in the fold."""
        view.case_button.clicked.connect(self._on_case)
        view.report_button.clicked.connect(self._on_report)

    @property
    def busy(self) -> bool:
        """Whether a page is being written."""
        return self._latest.busy

    def _on_report(self) -> None:
        slide, folder = self._context.slide, self._store.folder
        if slide is None or folder is None:
            return
        dialog = QFileDialog(self._context.window, "Write depth and risk as a page", "", "Page (*.html)")
        dialog.setObjectName("risk_report_dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(f"{slide.info.name}-report.html")
        dialog.fileSelected.connect(partial(self._write_report, folder, slide.info))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _write_report(self, folder: Path, info: SlideInfo, name: str) -> None:
        work = partial(_write_report, Path(name).with_suffix(".html"), folder, info)
        self._latest.submit(f"report {name}", lambda: work)

    def _on_written(self, path: Path) -> None:
        self._context.status.show_message(f"Written: {self._context.icons.link(path.as_uri(), path.name)}.")

    def _on_case(self) -> None:
        """Keep the answer with the case that is open, beside its other files."""
        try:
            name = self._add_to_case()
        except MelanomaError as error:
            self.failed.emit(error)
        else:
            self._context.status.show_message(ADDED_TO_CASE.format(name))

    def _add_to_case(self) -> str:
        """Write it; the name of its file."""
        from napari_melanoma.case.results import save_risk

        kept = self._store.result
        if kept is None:
            raise InputError(NO_CASE)
        desk, image = find_open_case(self._context)
        changed = save_risk(desk.store, desk.case, image.id, kept.prediction)
        desk.edit(changed, "the risk of a slide")
        written = changed.find_image(image.id).risk
        return "" if written is None else written.path.name


def _write_report(path: Path, folder: Path, info: SlideInfo, run: RunContext) -> Path:
    """Write the page."""
    from napari_melanoma.reports.slide import write_slide_report

    return write_slide_report(path, folder, info.path, scale=info.pixel_size)
