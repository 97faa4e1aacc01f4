"""The Slide dock: open a slide, detect tissue, analyze it in the background, correct and save the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, QUrl
from qtpy.QtGui import QDesktopServices, QHideEvent, QShowEvent, QWindow
from qtpy.QtWidgets import QMessageBox

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.io.dicom_report import is_dicom_report
from napari_melanoma.io.geojson import is_geojson
from napari_melanoma.io.spatialdata import find_spatialdata
from napari_melanoma.slides.notes import SlideNotes
from napari_melanoma.ui.session.annotations import import_region_file
from napari_melanoma.ui.session.location import SlideResultLocation
from napari_melanoma.ui.session.navigation import add_bookmark
from napari_melanoma.ui.session.open_case import find_open_case
from napari_melanoma.ui.session.open_slide import READING_LINK
from napari_melanoma.ui.session.run_status import SlideRunUpdate, find_analysis_blocker
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.slide.analysis import AnalysisController, AnalysisLauncher
from napari_melanoma.ui.slide.answer import AnswerController
from napari_melanoma.ui.slide.context import SlideContext
from napari_melanoma.ui.slide.controls import SlideControls
from napari_melanoma.ui.slide.export import SlideExporter
from napari_melanoma.ui.slide.hosted_sections import HostedSections
from napari_melanoma.ui.slide.reading_keys import NavigationTargets, ReadingKeys
from napari_melanoma.ui.slide.run_manager import preload
from napari_melanoma.ui.slide.slide_picker import SlideOpener
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.garbage import LibraryFreeze
from napari_melanoma.ui.viewer.shape_layers import LineWidthUpdater
from napari_melanoma.ui.viewer.shortcuts import add_number_shortcuts, add_shortcut
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide, slide_display_name
from napari_melanoma.ui.viewer.view_memory import fit_view
from napari_melanoma.ui.widgets.dialogs import choose_folder, create_question, exec_question
from napari_melanoma.ui.widgets.file_drop import (
    RECENT_CASES,
    RECENT_SLIDES,
    RecentFiles,
    RecentList,
    RecentPaths,
)
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.report_writer import ReportWriter
from napari_melanoma.ui.widgets.signals import Connections, follow_focus
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.ui.slide.reading_mode import ReadingMode


NO_SLIDE_FOR_REGIONS = "{} holds regions of a slide, but no slide is open. Open the slide, then drop the file again."
PRELOAD_MS = 300  # delay, after which the dock is drawn
NO_RESULTS = "nothing is stored for this slide yet: analyze it, measure it or fill in the synoptic report first."


class SlideDock(SlideControls):
    """View and analyze whole-slide images; an analysis runs in its own process, which outlives the window."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self._viewer = napari_viewer
        context = self.context
        self.opener = SlideOpener(napari_viewer, self)
        LineWidthUpdater(napari_viewer, self)
        self.launcher = AnalysisLauncher(self)
        self._awaited_slides: tuple[str, str] | None = None  # the one to show beside another while it is being opened
        self.analysis: AnalysisController | None = None  # of the displayed slide; None until its results were searched
        self.report_writer = ReportWriter(self, self.status, self.icons, self.settings)
        self.sections = SlideSections(context, self)
        self.answers = AnswerController(self, self.sections.hosted)
        self.picker.find_notes = self._find_notes
        self.exporter = SlideExporter(self, self.sections.hosted)
        self.recent = self._create_recent_lists()
        self.targets = NavigationTargets(context, self.sections.hosted)
        self.reading_mode = ReadingModeSwitch(self)
        self.dropped_files = DroppedFiles(self)
        self.reading_keys = ReadingKeys(context, self.targets, self.reading_mode.leave)
        self.model_picker.select_stored(self.settings.get("slide/model", ""))
        self.waiting.add_task(self.model_picker.ensure_listed)
        self.waiting.add_task(self.choice.update)
        self.waiting.add_task(self.refresh)
        self._connect()
        self._connect_sections()
        self._add_shortcuts()
        context.workspace.slides.provide(self, self)
        self.picker.refresh()
        self._on_slide()
        self.waiting.opened.connect(self.refresh)
        self.waiting.start()
        self._library_freeze = LibraryFreeze(self, napari_viewer, self.connections)
        self.waiting.drawn.connect(self._library_freeze.freeze)
        self._preload = BackgroundJob(preload)
        self._preload.finished.connect(self._library_freeze.freeze)
        QTimer.singleShot(PRELOAD_MS, self._preload.start)
        QTimer.singleShot(PRELOAD_MS, self.run_manager.find_running_slides)
        QTimer.singleShot(PRELOAD_MS, self.recent.find_missing)

    def _create_recent_lists(self) -> RecentFiles:
        slides, cases = (RecentPaths(self.settings, key) for key in (RECENT_SLIDES, RECENT_CASES))
        open_cases = self.context.workspace.cases
        lists = (
            RecentList("Recent slides", slides, self.opener.open),
            RecentList("Recent cases", cases, lambda folders: open_cases.show().open(folders[0]), are_cases=True),
        )
        return RecentFiles(self.welcome, self.icons, lists)

    def _connect(self) -> None:
        self.picker.changed.connect(self._on_slide)
        self.picker.scale_toggled.connect(self._on_scale_toggled)
        self.picker.close_requested.connect(self.close_slide)
        scale = self.scale_panel
        scale.pixel_size_changed.connect(self._on_pixel_size)
        scale.failed.connect(lambda error: show_failure(self.status, error, scale.drawn))
        for widget in (self.welcome, self.status):
            widget.link_activated.connect(self._on_link)
        self.notice.linkActivated.connect(self._on_link)
        self.status.cancelled.connect(self._on_cancelled)
        self.opener.already_open.connect(self.picker.select_slide)
        self.opener.started.connect(partial(self.status.begin, "opening", "Opening ..."))
        self.opener.progressed.connect(partial(self.status.progress, "opening"))
        self.opener.finished.connect(self._on_opened)
        self.folder_requested.connect(self._on_folder)
        self.report_requested.connect(self._on_report)
        self.model_picker.changed.connect(self._on_model)
        user_data().models_changed.connect(self.choice.update)
        user_data().slide_results_changed.connect(self._on_slide)
        self.options_controller.changed.connect(self.refresh)
        self.run_manager.results_found.connect(self._on_results_found)
        self.run_manager.running_slides_found.connect(self._on_running_slides)
        self.run_manager.changed.connect(self.refresh)
        self.run_manager.message.connect(self.status.add_note)
        for source in (
            *(self.model_picker, self.opener),
            *(self.run_manager, self.run_panel, self.exporter, self.report_writer),
            *(self.sections.hosted, self.recent),
        ):
            source.failed.connect(self._on_failed)

    def _connect_sections(self) -> None:
        """Connect the sections with each other."""
        self.run_panel.updated.connect(self.sections.share_run)
        self.run_panel.updated.connect(self.refresh)
        self.export_requested.connect(self.exporter.choose_file)
        self.analyze_button.clicked.connect(lambda: self._analyze(view=False))
        self.analyze_view_button.clicked.connect(lambda: self._analyze(view=True))
        self.reading_keys.view_step_requested.connect(self._step_view)
        self.context.slide_requested.connect(self.show_file)
        self.context.scale_requested.connect(lambda: self.picker.scale_button.setChecked(True))

    def _add_shortcuts(self) -> None:
        slots: dict[str, Callable[[], object]] = {
            "analyse": self.analyze_button.click,
            "analyse_view": self.analyze_view_button.click,
            "next": partial(self.picker.step, 1),
            "previous": partial(self.picker.step, -1),
            "back": partial(self._step_view, -1),
            "forward": partial(self._step_view, 1),
            "close": self.close_slide,
            "bookmark": self.add_bookmark,
            "save": self.save_button.click,
        }
        for name, slot in slots.items():
            add_shortcut(self, f"slide.{name}", slot)
        add_number_shortcuts(self, "slide.classes", self.context.class_key_pressed.emit)

    @property
    def slide(self) -> ViewerSlide | None:
        """The displayed slide."""
        return self.context.slide

    @property
    def result_location(self) -> SlideResultLocation | None:
        """Folder of the results that are shown; None until it was found."""
        return self.context.result_location

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the analysis while the dock is visible."""
        super().showEvent(event)
        self.run_panel.watch.set_active(True)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop following the analysis, which continues."""
        super().hideEvent(event)
        self.run_panel.watch.set_active(False)
        self.context.flush_requested.emit()

    def refresh(self, _: object = None) -> None:
        """Update the controls: whether there is a slide, and whether, or why not, it can be analyzed."""
        info = None if self.slide is None else self.slide.info
        picker, running = self.model_picker, self.run_panel.active or self.run_manager.is_starting
        self.show_visibility(self.slide)
        self.show_slide_controls(info is not None, is_known=self.context.session is not None)
        blocker = find_analysis_blocker(info, picker.model, fluorescence=picker.reads_fluorescence, running=running)
        session = self.context.session
        has_results = session is not None and bool(session.results.value.content)
        blocker = blocker or self.options_controller.error
        self.update_analyze_buttons(blocker, has_results)
        self.answers.show_blocker(blocker)
        self.show_setup()

    def _on_slide(self) -> None:
        """Display another slide, or none."""
        self.sections.flush()
        previous, slide = self.context.slide, self.picker.slide
        if previous is not None and (slide is None or slide.identity != previous.identity):
            self.status.show_message("")  # the message is about the previous slide
        self.context.slide, self.context.session = slide, None
        if self.analysis is not None:
            self.analysis.close()
            self.analysis = None
        self.metadata_label.show_info(None if slide is None else slide.info)
        self.options_controller.set_options()
        self.sections.hosted.show_slide(slide)
        self.reading_keys.watch_canvas()
        self.refresh()
        if slide is not None:
            self.recent.add(RECENT_SLIDES, slide.info.path.absolute())
            displayed, paths = slide.info.path.absolute(), slide_layers.list_paths(self._viewer)
            self.recent.record_session(RECENT_SLIDES, sorted(paths, key=displayed.__eq__))
            session = self.sections.hosted.session
            notes = None if session is None else session.notes.value
            self.run_manager.find_results(slide.info, slide.identity, notes)

    def close_slide(self) -> None:
        """Close the displayed slide after saving its edits; ask first if it is being analyzed."""
        slide, folder = self.slide, self.run_panel.watch.path
        if slide is None or folder is None or not self.run_panel.active:
            self._save_and_close(slide)
            return
        box = create_question(
            self,
            "close_slide_question",
            f"Close '{slide.info.name}' while it is being analyzed?",
            "The analysis can continue in the background; its results are shown when you open the slide again.",
            "Slide",
        )
        keep = box.addButton("Keep the analysis running", QMessageBox.ButtonRole.AcceptRole)
        stop = box.addButton("Cancel the analysis", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton("Do not close", QMessageBox.ButtonRole.RejectRole))
        updates = self.run_panel.updated.connect(lambda _: None if self.run_panel.active else keep.click())
        pressed = exec_question(box)  # answered when the analysis has ended: the slide is closed, as was asked for
        QObject.disconnect(updates)
        if pressed is stop:
            self.run_panel.send_command("cancel", folder)
        if pressed in (keep, stop):
            self._save_and_close(slide)

    def _save_and_close(self, slide: ViewerSlide | None) -> None:
        """Save the edits of a slide, and remove its layers."""
        if slide is None:
            return
        if (session := self.sections.hosted.session) is not None and not session.lesions.is_saved:
            session.lesions.save()
        self.sections.flush()
        slide_layers.close_slides(self._viewer, [slide.info.path])
        self.recent.record_session(RECENT_SLIDES, slide_layers.list_paths(self._viewer), closed=True)
        self.status.show_briefly(f"{slide_display_name(slide.info)} is closed.")

    def _analyze(self, *, view: bool) -> None:
        """Analyze the whole slide, or the view only; also when a button is clicked twice."""
        if self.analysis is not None and self.analyze_button.isEnabled():
            self.analysis.start(view=view)

    def _on_options_restored(self, model: str, options: SlideOptions | None) -> None:
        """Show the model and options of the shown results, so that "Analyze again" uses them."""
        self.model_picker.model = model
        self.options_controller.set_options(options)
        self.show_setup()

    def add_bookmark(self) -> None:
        """Bookmark the view."""
        if (session := self.sections.hosted.session) is not None:
            add_bookmark(session)

    def _step_view(self, direction: int) -> None:
        """Show the previous (-1) or next (1) view."""
        if (session := self.sections.hosted.session) is not None:
            session.view_history.step(direction)

    def show_file(self, path: Path) -> None:
        """Show a slide; open it if necessary."""
        if not self.picker.select_file(path):
            self.opener.open([path])

    def show_beside(self, path: Path) -> bool:
        """Show a slide next to the displayed one; without one, display it and return False."""
        identity, displayed = str(path.absolute()), self.slide
        if displayed is None or displayed.identity == identity:
            self.show_file(path)
            return False
        if slide_layers.find_slide(self._viewer, identity):
            self._compare(identity)
        else:
            self._awaited_slides = identity, displayed.identity
            self.opener.open([path])
        return True

    def _compare(self, identity: str) -> None:
        self.side_by_side_section.expand()
        self.sections.hosted.sessions.second.set(identity)

    def _on_opened(self, count: int) -> None:
        """Show the slide that was displayed before again, and the requested one next to it, if it could be opened."""
        self.status.end("opening")
        if self._awaited_slides is not None:
            (identity, first), self._awaited_slides = self._awaited_slides, None
            if all(slide_layers.find_slide(self._viewer, one) for one in (identity, first)):
                self.picker.select_slide(first)
                self._compare(identity)

    def _on_results_found(self, location: SlideResultLocation) -> None:
        """Show the stored notes and results of the slide, and follow its analysis."""
        session = self.sections.hosted.open_session(location)
        if session is None or self.slide is None:
            return
        self.context.session, location = session, session.location
        self.model_picker.offer_demonstrations(location.is_phantom)
        results_folder = location.slide_folder or location.folder
        self.show_folder(results_folder)
        for problem in filter(None, (location.tissue_error, location.notes_file.problem)):
            show_failure(self.status, InputError(problem))
        stated, known = location.notes.pixel_size, location.known_notes
        shown, cleared = self.slide.info.pixel_size, None if known is None else known.pixel_size
        if stated not in (None, shown) or (stated is None and cleared is not None and cleared == shown):
            self._set_pixel_size(stated)
        self.picker.update_description()
        self.sections.hosted.show_results()
        if self.analysis is not None:  # the results were searched twice
            self.analysis.close()
        self.analysis = AnalysisController(session, self.launcher, self, self.get_options)
        self.analysis.changed.connect(self.refresh)
        self.analysis.options_restored.connect(self._on_options_restored)
        self.dropped_files.import_regions()
        self.refresh()
        if (requested := self.slide.metadata.pop(slide_layers.REQUESTED_SCALE, None)) is not None:
            use = partial(self._use_requested_scale, session, requested)
            session.findings.submit(lambda run: None, lambda _: use())  # when it is known whether a report is signed

    def _use_requested_scale(self, session: SlideSession, requested: PixelSize) -> None:
        """Set and save the scale that was given when the slide was opened, instead of the stored one."""
        if session is self.context.session:
            stored = session.notes.value.pixel_size
            self._set_pixel_size(stored)
            if stored is None or stored.mm != requested.mm:
                self._on_pixel_size(requested)

    def _on_scale_toggled(self, on: bool) -> None:
        lock = self.context.session.synoptic.find_scale_lock() if on and self.context.session is not None else ""
        if lock:
            self.status.show_briefly(lock)
            self.picker.scale_button.setChecked(False)
        elif on and self.slide is not None:
            self.scale_panel.start(self.slide)
        else:
            self.scale_panel.stop()

    def _on_pixel_size(self, size: PixelSize | None) -> None:
        """Set and save the pixel size that the user gave; None restores that of the file."""
        if self.slide is None:
            return
        self.picker.scale_button.setChecked(False)
        session = self.context.session
        if session is not None and (lock := session.synoptic.find_scale_lock()):
            self.status.show_briefly(lock)
            return
        before = self.slide.info.pixel_size
        self._set_pixel_size(size)
        if session is not None:
            session.set_scale(size, before)
            self.picker.update_description()
        number = "" if size is None else format_scale(size.y_um, size.x_um)
        text = f"{number} µm per pixel, set by you" if number else "restored from the file"
        self.status.show_briefly(f"Scale: {text}.")

    def _find_notes(self, identity: str) -> SlideNotes | None:
        session = self.sections.hosted.sessions.get(identity)
        return None if session is None else session.notes.value

    def _set_pixel_size(self, size: PixelSize | None) -> None:
        slide = self.slide
        if slide is None:
            return
        slide_layers.set_pixel_size(self._viewer, slide, size)
        fit_view(self._viewer, tuple(slide.layers))
        self.picker.update_description()
        self.sections.hosted.show_slide(slide)
        self.metadata_label.show_info(slide.info)
        self.refresh()

    def _on_model(self) -> None:
        self.settings.set("slide/model", self.model_picker.model)
        self.choice.update()
        self.refresh()

    def _on_running_slides(self, slides: list[tuple[Path, Path]]) -> None:
        """Offer to open slides that are being analyzed; ``slides``: each slide and the folder of its results."""
        open_slides = {slide.identity for slide in slide_layers.list_slides(self._viewer)}
        links = [self.icons.link(slide.as_uri(), slide.name) for slide, _ in slides if str(slide) not in open_slides]
        self.notice.setText(f"Analysis in progress: {', '.join(links)}. Click to open." if links else "")
        self.notice.setVisible(bool(links))

    def _on_link(self, link: str) -> None:
        if self.recent.follow_link(link):
            return
        if link == "sample":
            self.opener.open_sample()
        elif link == "open":
            self.opener.choose_files()
        elif self.sender() is self.notice:
            self.notice.hide()
            self.opener.open([Path(QUrl(link).toLocalFile())])
        elif not self.reading_mode.open_link(link) and QUrl(link).scheme():  # sections follow links without a scheme
            QDesktopServices.openUrl(QUrl(link))

    def _on_cancelled(self, task: str) -> None:
        if task == "opening":
            self.opener.cancel()

    def _on_report(self) -> None:
        """Write a report from the stored results of the slide; pending changes are stored first."""
        location = self.context.location
        folder = None if location is None else location.slide_folder or location.folder
        self.context.store_pending()
        if folder is None or not folder.is_dir():
            self._on_failed(InputError(NO_RESULTS))
            return
        ask = partial(self.report_writer.ask, (folder,), folder.parent, f"{folder.name}-report")
        try:
            found = find_open_case(self.context.workspace.case, self.context.session.slide)
        except InputError:  # without the lesion of the slide
            ask()
        else:
            found.open_case.saver.run_when_saved(partial(ask, case=found.store.folder), "report")

    def _on_folder(self) -> None:
        root = self.settings.slide_results
        choose_folder(self, "folder_dialog", "Folder for slide results", root, self._on_root_chosen)

    def _on_root_chosen(self, folder: Path) -> None:
        self.settings.slide_results = folder  # of all windows

    def _on_failed(self, error: Exception) -> None:
        self.status.end("starting")
        self.run_panel.clear_pending_command()
        show_failure(self.status, error)


class DroppedFiles(QObject):
    """Open slides that are dropped on the dock, and import regions into the displayed slide."""

    def __init__(self, dock: SlideDock) -> None:
        super().__init__(dock)
        self._dock = dock
        self._dropped: list[Path] = []  # imported when the slides that were dropped with them are open
        self._regions: list[Path] = []  # imported when the session of the displayed slide is open
        for area in (dock.welcome, dock.drops):
            area.dropped.connect(self._on_dropped)
        dock.picker.changed.connect(self._regions.clear)
        dock.opener.finished.connect(self._on_opened)

    def import_regions(self, paths: Sequence[Path] = ()) -> None:
        """Add the regions of files to the displayed slide, or keep the files until its session is open."""
        self._regions += paths
        dock, session = self._dock, self._dock.sections.hosted.session
        while self._regions and (session is not None or dock.slide is None):
            path = self._regions.pop(0)
            if session is None:
                show_failure(dock.status, InputError(NO_SLIDE_FOR_REGIONS.format(path.name)))
            else:
                import_region_file(session, path)

    def _on_dropped(self, paths: list[Path]) -> None:
        regions = [path for path in paths if is_geojson(path) or find_spatialdata(path) or is_dicom_report(path)]
        if images := [path for path in paths if path not in regions]:
            self._dropped = regions
            self._dock.opener.open_dropped(images)
        else:
            self.import_regions(regions)

    def _on_opened(self) -> None:
        regions, self._dropped = self._dropped, []
        self.import_regions(regions)


class ReadingModeSwitch(QObject):
    """Turn the reading mode on and off; its toolbar and its tabs are created when it is first turned on."""

    def __init__(self, dock: SlideDock) -> None:
        super().__init__(dock)
        self._dock = dock
        self.mode: ReadingMode | None = None
        add_shortcut(dock, "slide.reading", self.toggle)
        dock.picker.reading_button.clicked.connect(self.toggle)
        dock.context.scale_requested.connect(partial(self._open_tab, "Slide"))
        dock.context.section_requested.connect(self._open_tab)

    def toggle(self) -> None:
        """Turn the reading mode on or off."""
        if self.leave():
            return
        if self.mode is None:
            from napari_melanoma.ui.slide.reading_mode import ReadingMode

            dock = self._dock
            self.mode = ReadingMode(dock, dock.sections.hosted)
            self.mode.bookmark_requested.connect(dock.add_bookmark)
            self.mode.ruler_requested.connect(partial(dock.context.tool_requested.emit, "line"))
        self.mode.enter()

    def open_link(self, link: str) -> bool:
        """Turn the reading mode on or off if the link requests it; return whether it does."""
        if link == READING_LINK:
            self.toggle()
        return link == READING_LINK

    def leave(self) -> bool:
        """Turn the reading mode off; return whether it was on."""
        return self.mode is not None and self.mode.leave()

    def _open_tab(self, title: str) -> None:
        """Open the tab of what was requested, such as the panel of the scale, which would not be visible otherwise."""
        if self.mode is not None and self.mode.is_on:
            self.mode.tabs.open_tab(title)


class SlideSections(QObject):
    """Create the sections, and connect them with the controls."""

    def __init__(self, context: SlideContext, controls: SlideControls) -> None:
        super().__init__(context)
        self._context, self._controls = context, controls
        self.hosted = HostedSections(context, controls)
        self._connections = Connections(controls)
        self.hosted.session_changed.connect(self._on_session)
        context.analysis_requested.connect(self._on_analysis_requested)
        follow_focus(self._on_focus_window)

    def _on_session(self, session: SlideSession | None) -> None:
        """Show the sections with values of the displayed slide, also those that it gets; documents do so themselves."""
        self._connections.end()
        for value in () if session is None else (session.results, session.lesions, session.tissue):
            self._connections.connect(value.changed, lambda _: self._controls.choice.update())
        if session is not None:  # otherwise the sections of the previous slide stay until its results were found
            self._controls.choice.update()

    def share_run(self, update: SlideRunUpdate) -> None:
        """Share an update of the analysis with the sections."""
        if self._context.session is not None:
            self._context.session.run.set(update)

    def _on_focus_window(self, window: QWindow | None) -> None:
        """Follow what other programs have changed while another window had the focus."""
        if window is not None and self._context.session is not None:
            self._context.session.check_files()

    def flush(self) -> None:
        """Store what was just entered or drawn, before another slide is displayed."""
        if self.hosted.session is not None:
            self.hosted.session.commit_requested.emit()

    def _on_analysis_requested(self, model: str) -> None:
        """Analyze the slide with a model that a section has saved."""
        self._controls.model_picker.model = model
        self._controls.model_picker.changed.emit()
        self._controls.analyze_button.click()
