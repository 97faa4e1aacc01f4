"""The depth of a melanoma in the Slide dock: measured by hand or by a model, overridden with a record, kept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.slide.depth_acts import DepthActs
from napari_melanoma.ui.slide.depth_compared import compared_lines, show_compared
from napari_melanoma.ui.slide.depth_handing import DepthHanding
from napari_melanoma.ui.slide.depth_keeper import DepthKeeper
from napari_melanoma.ui.slide.depth_line import DepthLine
from napari_melanoma.ui.slide.depth_mitoses import MitosisLayers
from napari_melanoma.ui.slide.drawn_layers import is_open
from napari_melanoma.ui.slide.regions_controls import READER

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.io.slide_depth import Reading
    from napari_melanoma.ui.slide.depth_auto import DepthAnalysis
    from napari_melanoma.ui.slide.depth_view import DepthView
    from napari_melanoma.ui.slide.desk import Place
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.layers import OpenSlide

FOUND = "The model has measured: look at its line, and take it, move it or draw your own."
NOT_FOUND = "The model found nothing to measure: the fold Depth says why. Measure by hand."
NOT_VALID = "The model has ended, and its result is not valid: the fold Depth says why. Measure by hand."


class SlideDepths(QObject):
    """Keeps layers, fold and file of the depth in step; what is in the fold is made when it is first opened."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer, self._fold = dock, viewer, dock.depth_fold
        self._slide: OpenSlide | None = None
        self._view: DepthView | None = None
        self.analysis: DepthAnalysis | None = None
        self._ended: Any = None  # of the slide's own analysis, when it was looked at last
        self.keeper = DepthKeeper(self)
        keys = {"Control-Z": partial(self.keeper.step, "undo"), "Control-Shift-Z": partial(self.keeper.step, "redo")}
        self.line = DepthLine(viewer, self, keys)
        self.mitoses = MitosisLayers(viewer, self, keys)
        self._said = ""  # the last sentence about readings in the status line
        self.keeper.reader = dock.settings.kept(READER, "")
        self.keeper.changed.connect(self._on_changed)
        self.keeper.said.connect(self._on_said)
        self.keeper.failed.connect(self.failed)
        self.acts = DepthActs(self, dock)
        self.handing = DepthHanding(dock, self.keeper)
        self.handing.failed.connect(self.failed)
        dock.run_panel.seen.connect(self._on_seen)
        dock.left.connect(self._on_left)
        dock.destroyed.connect(self.keeper.files.flush)
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(self._fold.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether something is read, written or started; an analysis at work is not meant."""
        return self.keeper.busy or self.handing.busy or (self.analysis is not None and self.analysis.busy)

    @property
    def view(self) -> DepthView:
        """The fold's content, made when it is first needed."""
        if self._view is None:
            from napari_melanoma.ui.slide.depth_auto import DepthAnalysis
            from napari_melanoma.ui.slide.depth_view import DepthView

            made = self._view = DepthView(self._dock.settings, self._dock.icons)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(made)
            self.analysis = DepthAnalysis(self._dock, made.run)
            self._connect(made, self.analysis)
            now = self.keeper.now
            self.analysis.turn_to(None if now is None else now.folder)
        return self._view

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide, or the same with another scale."""
        other = slide is None or self._slide is None or slide.identity != self._slide.identity
        if self._view is not None and other:
            self._view.fields.typed.now()  # what was typed is of the slide before
        self.line.turn_to(slide)
        self.mitoses.turn_to(slide)
        self._slide = slide
        if other:
            self._ended = None
            if self.analysis is not None:
                self.analysis.turn_to(None)
        self.keeper.turn_to(slide)
        if other:
            self._know_reader()

    def _know_reader(self) -> None:
        """Go by the name that was given last, also where that was in the fold of the regions."""
        name = self._dock.settings.kept(READER, "")
        if name != self.keeper.reader and name.lower() != "model":
            if self._view is not None:
                self._view.reader.setText(name)
            self.keeper.be(name)

    def _on_said(self, text: str) -> None:
        """Show a sentence, or take back the last one unless another part of the dock has replaced it."""
        status = self._dock.status
        if text or status.text == self._said:
            status.say(text)
        self._said = text

    @property
    def viewer(self) -> Viewer:
        """Where the layers are."""
        return self._viewer

    @property
    def slide(self) -> OpenSlide | None:
        """The slide that it is about."""
        return self._slide

    @property
    def seen(self) -> DepthView | None:
        """The fold's content, where it was made."""
        return self._view

    def _connect(self, view: DepthView, analysis: DepthAnalysis) -> None:
        self.acts.hear(view)
        self.handing.hear(view)
        view.automatic_wanted.connect(analysis.start)
        analysis.ended.connect(self._on_ended)
        analysis.changed.connect(self._tell)
        analysis.failed.connect(self.failed)

    def _on_fold(self, is_open: bool) -> None:
        if is_open:
            self._tell()

    def look(self, place: Place) -> None:
        """Look at what was measured before, now that it is known where that is."""
        self.keeper.look(place)
        if self.analysis is not None and self._slide is not None and self._slide.identity == place.identity:
            self.analysis.turn_to(place.own or place.folder)

    def _on_left(self) -> None:
        """Keep what is not written yet: the window may be about to close."""
        if self._view is not None:
            self._view.fields.typed.now()
        self.keeper.flush()

    def _on_seen(self, sight: Any) -> None:  # noqa: ANN401 - a SlideSight
        """Look anew when the slide's own analysis has come to its end."""
        now, ended = self.keeper.now, sight.content.get("seconds")
        if now is not None and sight.path == now.folder and str(sight.report.state) == "finished":
            before, self._ended = self._ended, ended
            if before != ended:
                self.keeper.look_again()

    def _on_ended(self, found: bool, valid: bool) -> None:
        """Show what the analysis for the depth has come to."""
        self._dock.status.say(NOT_VALID if not valid else FOUND if found else NOT_FOUND)
        self.keeper.look_again()

    def _on_changed(self) -> None:
        """Draw and say what counts now."""
        slide, now = self._slide, self.keeper.now
        if slide is not None and now is not None and is_open(self._viewer, slide):
            reading = self.keeper.reading
            is_number = reading.mm is not None and (reading.when or now.found.validity.valid)
            self.line.show(reading.line, f"{reading.mm:.2f} mm" if is_number else "")
            self.mitoses.show(reading.mitoses)
            show_compared(
                self._viewer, slide, compared_lines(now.history.now, self.keeper.reader, now.found, reading.line)
            )
        self._tell()

    def _tell(self) -> None:
        """Say what there is, where somebody looks."""
        if self._view is None and not self._fold.isExpanded():
            return
        from napari_melanoma.io.slide_depth import Reading
        from napari_melanoma.report import depth_words as words

        view, now, reading = self.view, self.keeper.now, self.keeper.reading
        view.setEnabled(now is not None)
        self._say(reading)
        valid = now is None or now.found.validity.valid
        unread = reading.model_copy(update={"clark": None, "clark_by": "", "ulcerated": None})
        view.fields.show_reading(reading if valid or reading.when else unread)
        if now is not None:
            depth, found = now.history.now, now.found
            tips = ["; ".join(one.notes) for one in found.proposals]
            said = words.said_found(found, reading, now.chosen)
            view.show_lines(words.numbered(found.proposals), tips, now.chosen, said)
            view.validity.show_validity(found.validity, self._slide and self._slide.identity)
            rows = words.reader_rows(depth, self.keeper.reader, self.keeper.base if valid else Reading())
            view.show_readers(rows, words.said_others(depth, self.keeper.reader))
            for way, able in (("undo", now.history.past), ("redo", now.history.undone)):
                view.steps[way].setEnabled(bool(able))
        view.show_hint(self.line.tool, has_line=reading.line is not None)
        for button in (view.report, view.to_case):
            button.setEnabled(bool(reading.when))
        if self.analysis is not None:
            view.show_automatic(self.analysis.models, self._why_not())

    def _say(self, reading: Reading) -> None:
        """Say thickness, category and warnings; the number of a model that is not valid stands in its own part."""
        from napari_melanoma.report import depth_words as words

        view, slide = self.view, self._slide
        now = self.keeper.now
        if now is not None and not now.found.validity.valid and not reading.when:
            reading = reading.model_copy(update={"mm": None})
        view.head.setText(words.said_head(reading))
        view.origin.setText(words.said_origin(reading))
        view.origin.setVisible(bool(view.origin.text()))
        said = list(words.warnings(reading, self.keeper.size))
        if slide is not None and slide.info.pixel_size is None:
            said.insert(0, f"No scale: a depth needs one. {self._dock.icons.link('scale', 'Set the scale')}.")
        view.warning.setText("<br>".join(said))
        view.warning.setVisible(bool(said))

    def _why_not(self) -> str:
        """Why no model can be started now; empty where one can."""
        slide = self._slide
        if slide is None or slide.info.pixel_size is None:
            return "A depth needs a scale: set it first, with the ruler beside the slide's name."
        if slide.info.kind != "brightfield":
            return "The models have learnt from brightfield stains: measure by hand."
        return "It is at work." if self.analysis is not None and self.analysis.active else ""
