"""The Slide dock: open a slide, find tissue, analyse it beside the work, see and correct what was found, save."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QHideEvent, QShowEvent
from qtpy.QtWidgets import QFileDialog

from napari_melanoma.ui.slide.analysis import SlideAnalysing
from napari_melanoma.ui.slide.controller import Place, SlideDesk, preload
from napari_melanoma.ui.slide.controls import SlideControls
from napari_melanoma.ui.slide.drawing import LesionDrawing
from napari_melanoma.ui.slide.exporting import SlideExports
from napari_melanoma.ui.slide.heatmap import SlideHeat
from napari_melanoma.ui.slide.lesions import SlideLesions
from napari_melanoma.ui.slide.picker import SlideOpener
from napari_melanoma.ui.slide.regions.section import SlideRegions
from napari_melanoma.ui.slide.relation import LesionRelation
from napari_melanoma.ui.slide.results import SlideResults
from napari_melanoma.ui.slide.scope import SlideScope
from napari_melanoma.ui.slide.sections import SlideAround
from napari_melanoma.ui.slide.showing import SlideShowing
from napari_melanoma.ui.slide.tissue import TissueKeeper
from napari_melanoma.ui.slide.watch import why_not
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.mesa import keep_shaders
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.viewer.view_memory import fit
from napari_melanoma.ui.widgets.job import Job
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

PRELOAD_MS = 300  # when the dock is drawn


class SlideDock(SlideControls):
    """Look at whole-slide images and analyse them, in a process that outlives the window."""

    left = Signal()

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        keep_shaders()
        self._viewer = napari_viewer
        self._slide: OpenSlide | None = None
        self._place: Place | None = None
        self.desk = SlideDesk(self, self.settings)
        self.opener = SlideOpener(napari_viewer, self)
        self.scope = SlideScope(self, napari_viewer)
        self.showing = SlideShowing(napari_viewer, self)
        self.tissues = TissueKeeper(napari_viewer, self.tissue)
        self.heatmap = SlideHeat(napari_viewer, self.heat)
        self.lesions = SlideLesions(napari_viewer, self)
        self.results = SlideResults(self, napari_viewer)
        self.exports = SlideExports(self)
        self.around = SlideAround(self, napari_viewer)
        self.analysing = SlideAnalysing(self)
        self.drawing = LesionDrawing(self, napari_viewer)
        self.relation = LesionRelation(self)
        self.regions = SlideRegions(self, napari_viewer)
        self.model.model = self.settings.kept("slide/model", "")
        self.waiting.later(self.model.fill)
        self.waiting.later(self.refresh)
        self._connect()
        self._add_shortcuts()
        self.picker.refresh()
        self._on_slide()
        self.waiting.opened.connect(self.refresh)
        self.waiting.begin()
        self._preload = Job(preload)
        QTimer.singleShot(PRELOAD_MS, self._preload.start)
        QTimer.singleShot(PRELOAD_MS, self.desk.look_for_work)
        self.destroyed.connect(self.connections.close)

    def _connect(self) -> None:
        self.picker.changed.connect(self._on_slide)
        self.picker.scale.connect(self._on_scale)
        self.scale.wanted.connect(self._on_scaled)
        for area in (self.welcome, self.drops):
            area.dropped.connect(self.opener.open)
        for words in (self.welcome, self.status):
            words.followed.connect(self._on_link)
        self.notice.linkActivated.connect(self._on_link)
        self.status.cancelled.connect(self._on_cancelled)
        self.opener.known.connect(self.picker.pick)
        self.opener.started.connect(partial(self.status.begin, "opening", "Opening ..."))
        self.opener.progressed.connect(partial(self.status.progress, "opening"))
        self.opener.finished.connect(lambda _: self.status.end("opening"))
        self.tissues.started.connect(partial(self.status.begin, "finding", "Finding the tissue ..."))
        self.tissues.ended.connect(partial(self.status.end, "finding", "Tissue found."))
        self.places.edited.connect(self._keep_notes)
        self.around.measuring.edited.connect(self._keep_notes)
        self.around.rotating.turned.connect(self._keep_notes)
        self.folder.clicked.connect(self._on_folder)
        self.model.changed.connect(self._on_model)
        self.advanced.changed.connect(self.refresh)
        self.desk.found.connect(self._on_found)
        self.desk.at_work.connect(self._on_at_work)
        self.desk.changed.connect(self.refresh)
        self.run_panel.seen.connect(self.refresh)
        for source in (
            *(self.model, self.scale, self.opener, self.showing, self.tissues, self.lesions),
            *(self.desk, self.run_panel, self.exports, self.around, self.regions),
        ):
            source.failed.connect(self._on_failed)

    def _add_shortcuts(self) -> None:
        slots: dict[str, Callable[[], object]] = {
            "analyse": self.analyse.click,
            "analyse_view": self.analyse_view.click,
            "next": partial(self.picker.step, 1),
            "previous": partial(self.picker.step, -1),
            "bookmark": self.showing.bookmark,
            "save": self.save.click,
        }
        for name, slot in slots.items():
            add_shortcut(self, f"slide.{name}", slot)

    @property
    def busy(self) -> bool:
        """Whether anything is on its way; an analysis at work is not meant."""
        parts = (
            *(self.desk, self.opener, self.showing, self.tissues, self.lesions),
            *(self.strip, self.exports, self.around, self.relation, self.advanced, self.regions),
        )
        return any(part.busy for part in parts) or self.run_panel.busy or self.waiting.busy

    @property
    def slide(self) -> OpenSlide | None:
        """The slide that the dock is about."""
        return self._slide

    @property
    def place(self) -> Place | None:
        """Where its results lie; None until that is known."""
        return self.scope.of(self._place)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the analysis while somebody looks."""
        super().showEvent(event)
        self.run_panel.watch.set_active(True)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Leave the analysis alone while nobody looks; it goes on."""
        super().hideEvent(event)
        self.run_panel.watch.set_active(False)
        self.left.emit()

    def refresh(self, _: object = None) -> None:
        """Show what can be done now, and why not where it cannot."""
        info = None if self._slide is None else self._slide.info
        running = self.run_panel.active or self.desk.starting
        self.show_slide(info is not None)
        why = why_not(info, self.model.model, running=running) or self.advanced.fault
        self.show_analyse(why, bool(self.results.content))

    def _on_slide(self) -> None:
        """Show what is known of the slide that the dock is about now."""
        before, slide = self._slide, self.picker.slide
        if before is not None and (slide is None or slide.identity != before.identity):
            self.status.say("")  # what was said is of the slide before
        self._slide, self._place = slide, None
        self.run_panel.set_folder(None)
        self.facts.show_info(None if slide is None else slide.info)
        self.places.show_bookmarks(())
        parts = (self.scope, self.showing, self.tissues, self.heatmap, self.lesions, self.results, self.regions)
        for part in (*parts, self.around):
            part.turn_to(slide)
        self.refresh()
        if slide is not None:
            self.waiting.then(self.showing.show_bar)  # when all else is shown
            self.desk.look_for(slide.info, slide.identity)

    def _on_found(self, place: Place) -> None:
        """Show what is noted of a slide, and follow its analysis where there is one."""
        if self._slide is None or place.identity != self._slide.identity:
            return
        self._place = place
        self.places.show_bookmarks(place.notes.bookmarks)
        self.around.measuring.show_measures(place.notes.measures)
        self.around.rotating.show_kept(place.notes.angle)
        self.tissues.show_kept(place.tissue)
        if place.fault:
            self.status.say(place.fault)
        if place.notes.pixel_size is not None:
            self._set_scale(place.notes.pixel_size)
        self.scope.find(place)
        self.refresh()

    def _on_scale(self, on: bool) -> None:
        if on and self._slide is not None:
            self.scale.start(self._slide)
        else:
            self.scale.stop()

    def _on_scaled(self, size: PixelSize | None) -> None:
        """The user says how large pixels are, or no longer does."""
        if self._slide is None:
            return
        self._set_scale(size)
        self.picker.ruler.setChecked(False)
        self._keep_notes(size)
        said = "back to what the file says" if size is None else f"{size.x_um:.4g} µm per pixel, set by you"
        self.status.say(f"Scale: {said}.")

    def _set_scale(self, size: PixelSize | None) -> None:
        slide = self._slide
        if slide is None:
            return
        slide_layers.set_pixel_size(self._viewer, slide, size)
        fit(self._viewer, tuple(slide.layers))
        self.picker.tell()
        self.showing.renew(slide)
        self.around.turn_to(slide)
        self.facts.show_info(slide.info)
        self.refresh()

    def _keep_notes(self, size: Any = False) -> None:  # noqa: ANN401 - False: as it was
        """Keep bookmarks, measures, scale and angle with the results."""
        from dataclasses import replace

        if self._place is None or self._slide is None:
            return
        notes = replace(self._place.notes, bookmarks=self.places.bookmarks, fingerprint=self._slide.info.fingerprint)
        notes = replace(notes, measures=self.around.measuring.measures, angle=self._slide.angle)
        if size is not False:
            notes = replace(notes, pixel_size=size)
        self._place = replace(self._place, notes=notes)
        self.desk.keep(self._place.folder, notes)

    def _on_model(self) -> None:
        self.settings.keep("slide/model", self.model.model)
        self.refresh()

    def _on_at_work(self, slides: list[tuple[Path, Path]]) -> None:
        """Offer slides that are being analysed and are not open."""
        known = {slide.identity for slide in slide_layers.open_slides(self._viewer)}
        links = [self.icons.link(slide.as_uri(), slide.name) for slide, _ in slides if str(slide) not in known]
        self.notice.setText(f"Being analysed: {', '.join(links)}. Click to open." if links else "")
        self.notice.setVisible(bool(links))

    def _on_link(self, link: str) -> None:
        if link == "sample":
            self.opener.sample()
        elif link == "open":
            self.opener.ask()
        elif self.sender() is self.notice:
            self.notice.hide()
            self.opener.open([Path(QUrl(link).toLocalFile())])
        elif not self.regions.followed(link):
            QDesktopServices.openUrl(QUrl(link))

    def _on_cancelled(self, task: str) -> None:
        if task == "opening":
            self.opener.cancel()

    def _on_folder(self) -> None:
        dialog = QFileDialog(self.window(), "Folder for results of slides", str(self.desk.root))
        dialog.setObjectName("folder_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_root)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_root(self, name: str) -> None:
        self.desk.root = Path(name)
        self._on_slide()

    def _on_failed(self, error: Exception) -> None:
        self.status.end("starting")
        self.run_panel.wish_failed()
        show_failure(self.status, error)
