"""The risk of metastasis in the Slide dock: told by the worker, with what it rests on, kept beside the slide."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.slide import risk_words as words
from napari_melanoma.ui.slide.risk_acts import MODEL, RiskActs
from napari_melanoma.ui.slide.risk_asking import RiskAsking, RiskQuestion
from napari_melanoma.ui.slide.risk_handing import RiskHanding
from napari_melanoma.ui.slide.risk_keeper import RiskKeeper

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.depth import SlideDepths
    from napari_melanoma.ui.slide.depth_keeper import DepthKeeper
    from napari_melanoma.ui.slide.desk import Place
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.layers import OpenSlide
    from napari_melanoma.ui.slide.risk_view import RiskView
    from napari_melanoma.ui.slide.watch import SlideSight

FIRST = "Estimate the risk first."
WRITTEN_MS = 150  # between two looks whether a reading of depth was written


class SlideRisk(QObject):
    """Keeps fold, layers and files of the risk in step; what is in the fold is made when it is first opened."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock, viewer: Viewer, depth: SlideDepths) -> None:
        super().__init__(dock)
        self._dock, self._viewer, self._depth, self._fold = dock, viewer, depth.keeper, dock.risk_fold
        self._slide: OpenSlide | None = None
        self._folder: Path | None = None
        self._view: RiskView | None = None
        self._seen: Any = None  # when the slide's own analysis ended, as it was looked at last
        self.wanted: dict[str, set[str]] = {}  # maps that shall be seen, by the identity of the slide
        self.keeper, self.asking = RiskKeeper(self), RiskAsking(dock)
        self.acts, self._handing = RiskActs(self, dock, viewer), RiskHanding(dock, self.keeper)
        self._written = QTimer(self)
        self._written.setInterval(WRITTEN_MS)
        self._written.timeout.connect(self._on_written)
        self.keeper.changed.connect(self.tell)
        self.asking.began.connect(partial(dock.status.begin, "answering"))
        self.asking.progressed.connect(partial(dock.status.progress, "answering"))
        self.asking.ended.connect(self._on_ended)
        for source in (self.keeper, self.asking, self._handing):
            source.failed.connect(self.failed)
        dock.status.cancelled.connect(self._on_cancelled)
        dock.run_panel.seen.connect(self._on_seen)
        self._depth.changed.connect(self.depth_changed)
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(self._fold.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether something is read or asked."""
        shown = self._view is not None and self._view.gallery.busy
        return self.keeper.busy or self.asking.busy or self._written.isActive() or shown

    @property
    def view(self) -> RiskView:
        """The fold's content, made when it is first needed."""
        if self._view is None:
            from napari_melanoma.ui.slide.risk_view import RiskView

            made = self._view = RiskView(self._dock.icons)
            made.model.model = self._dock.settings.kept(MODEL, "")
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(made)
            for part in (self.acts, self._handing):
                part.hear(made)
            made.show_model(made.model.bundle)
            self._read()
        return self._view

    @property
    def slide(self) -> OpenSlide | None:
        """The slide that it is about."""
        return self._slide

    @property
    def folder(self) -> Path | None:
        """Where what is known of it lies; None until that is known."""
        return self._folder

    @property
    def depth(self) -> DepthKeeper:
        """What readers measure."""
        return self._depth

    @property
    def made(self) -> RiskView | None:
        """The fold's content, where it was made."""
        return self._view

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide, or the same with another scale."""
        if slide is None or self._slide is None or slide.identity != self._slide.identity:
            self._folder = self._seen = None
        self._slide = slide
        self.keeper.turn_to(slide)

    def depth_changed(self) -> None:
        """Look anew when a reading of the depth was written."""
        if self._view is not None:
            self._written.start()

    def _read(self) -> None:
        """Read what lies beside the slide, where somebody looks."""
        if self._view is not None and self._slide is not None and self._folder is not None:
            self.keeper.read(self._slide.identity, self._folder)

    def tell(self) -> None:
        """Show what is known now."""
        view, kept = self._view, self.keeper.kept
        if view is None:
            return
        view.patient.show_row(self.keeper.row)
        view.thickness.setText("" if kept is None else words.said_depth(kept.depth))
        view.show_able(self.why_not(), "" if kept is None else kept.fault)
        self.tell_answer()

    def tell_answer(self) -> None:
        """Show what was told, and whether something else is known since."""
        view = self._view
        if view is None:
            return
        view.patient.show_origin(self.keeper.case, changed=self.keeper.is_tried)
        answer, old = self._answer()
        view.show_answer(answer, old)
        self._tell_explained("" if answer and not old else FIRST)

    def _tell_explained(self, why_not: str) -> None:
        """Show the maps that are wanted and the gallery, and whether they can be asked for."""
        from napari_melanoma.ui.slide.risk_maps import show_maps

        view, slide, kept = self._view, self._slide, self.keeper.kept
        if view is None or slide is None:
            return
        maps = {} if kept is None else {one.method: one for one in kept.maps}
        there = {name for name in view.maps if name in maps or self._awaits(name)}
        wanted = {name: name in there & self.wanted.get(slide.identity, set()) for name in view.maps}
        view.show_explaining(why_not, wanted)
        show_maps(self._viewer, slide, maps, wanted)
        view.gallery.show_gallery(slide, {} if kept is None else kept.gallery)
        view.gallery.show_able(why_not or (words.AT_WORK if self._awaits("biomarkers") else ""))

    def _answer(self) -> tuple[Mapping[str, Any], str]:
        """What was told of the slide, and what is another since."""
        view, kept = self._view, self.keeper.kept
        if view is None or kept is None or not kept.answer:
            return {}, ""
        bundle = view.model.bundle
        fingerprint = "" if bundle is None else bundle.fingerprint
        row = kept.answer["known"] if bundle is None else view.patient.row
        return kept.answer, words.changed_since(kept.answer, fingerprint, row, kept.depth)

    def why_not(self) -> str:
        """Say why nothing can be estimated now.

        Empty where it can be.
        """
        view, info = self._view, None if self._slide is None else self._slide.info
        model = "" if view is None else view.model.model
        return words.why_not(info, model, self.keeper.kept, at_work=self._awaits("risk"))

    def _awaits(self, kind: str) -> bool:
        return self._folder is not None and self.asking.awaits(kind, self._folder)

    def _on_fold(self, is_open: bool) -> None:
        if is_open:
            self.view.setVisible(True)  # made now, if it was not yet
            self.tell()

    def _on_ended(self, question: RiskQuestion, said: str) -> None:
        """Look at what is there now, also of a slide that is no longer in view."""
        self._dock.status.end("answering", said or None)  # what went wrong stays in sight
        identity = str(question.slide.absolute())
        if not said:
            self.wanted.get(identity, set()).discard(question.kind)
        self.keeper.read(identity, question.folder)
        self.tell()

    def _on_cancelled(self, task: str) -> None:
        if task == "answering":
            self.asking.cancel()

    def look(self, place: Place) -> None:
        """Read what was told before, now that it is known where that is."""
        if self._slide is not None and self._slide.identity == place.identity:
            self._folder = place.own or place.folder
            self._read()

    def _on_seen(self, sight: SlideSight) -> None:
        """Look anew when the slide's own analysis has come to its end."""
        ended = sight.content.get("seconds")
        if sight.path == self._folder and str(sight.report.state) == "finished" and ended != self._seen:
            self._seen = ended
            self._read()

    def _on_written(self) -> None:
        if not self._depth.busy:
            self._written.stop()
            self._read()
