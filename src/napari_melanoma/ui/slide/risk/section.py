"""The Risk section of the Slide dock."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFileDialog

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.ui.slide.picker import said_name
from napari_melanoma.ui.slide.risk import view as words
from napari_melanoma.ui.slide.risk.store import RiskAsking, RiskKeeper, RiskQuestion
from napari_melanoma.ui.slide.side_by_side import NO_CASE, case_beside
from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.slide.controller import Place
    from napari_melanoma.ui.slide.depth.section import SlideDepths
    from napari_melanoma.ui.slide.depth.store import DepthKeeper
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.risk.view import RiskView
    from napari_melanoma.ui.slide.watch import SlideSight, SuspiciousTile
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

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
            from napari_melanoma.ui.slide.risk.view import RiskView

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
        from napari_melanoma.ui.slide.risk.store import show_maps

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


MODEL = "slide/risk_model"
VIEW_TILES = 3  # how many times as wide as a place the view is that goes there


class RiskActs(QObject):
    """Takes what the user does to keeper and worker."""

    def __init__(self, page: SlideRisk, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(page)
        self._page, self._dock, self._viewer = page, dock, viewer

    def hear(self, view: RiskView) -> None:
        """Hear what the user does in the fold."""
        keeper = self._page.keeper
        view.model.changed.connect(self._on_model)
        view.model.failed.connect(self._page.failed)
        view.patient.edited.connect(self._on_edited)
        view.patient.restored.connect(keeper.restore)
        view.estimate.clicked.connect(self._on_estimate)
        view.patches.linkActivated.connect(self._on_patch)
        view.map_wanted.connect(self._on_map)
        view.gallery.wanted.connect(partial(self._ask, "biomarkers"))
        view.gallery.chosen.connect(self._on_place)

    def _ask(self, kind: str, **arguments: Any) -> None:  # noqa: ANN401 - as JSON holds it
        """Ask about the slide in view."""
        page = self._page
        if page.made is not None and page.slide is not None and page.folder is not None:
            told = {"model": page.made.model.model, **arguments}
            page.asking.ask(RiskQuestion(kind, page.slide.info.path, said_name(page.slide.info), page.folder, told))
            page.tell()

    def _on_edited(self) -> None:
        """Take what was typed; the form itself is left alone, for a hand may be in it."""
        if self._page.made is not None:
            self._page.keeper.fill_in(self._page.made.patient.row)
            self._page.tell_answer()

    def _on_model(self) -> None:
        """Another model is picked, or there are others."""
        view = self._page.made
        if view is not None:
            self._dock.settings.keep(MODEL, view.model.model)
            view.show_model(view.model.bundle)
            self._page.tell()

    def _on_estimate(self) -> None:
        page, slide = self._page, self._page.slide
        if page.made is None or slide is None or page.why_not():
            return
        page.depth.flush()  # what was just measured counts
        size = slide.info.pixel_size
        given = size.x_um if size is not None and size.source in ("given", "ruler") else None
        self._ask("risk", row=page.made.patient.row, options={"model": page.made.model.model, "mpp": given})

    def _on_map(self, name: str, on: bool) -> None:
        """Show a map, which is asked for where it is not known, or hide it."""
        page, kept = self._page, self._page.keeper.kept
        if page.slide is None or kept is None:
            return
        wanted = page.wanted.setdefault(page.slide.identity, set())
        wanted.add(name) if on else wanted.discard(name)
        if on and name not in {one.method for one in kept.maps}:
            self._ask(name, method=name)
        page.tell()

    def _on_patch(self, place: str) -> None:
        """Go to a patch that the answer rests on."""
        slide, kept = self._page.slide, self._page.keeper.kept
        patches = [] if kept is None or not kept.answer else kept.answer["patches"]
        if slide is not None and int(place) < len(patches) and patches[int(place)].get("box"):
            slide_camera.fly_to_box(self._viewer, slide, slide_camera.View(*patches[int(place)]["box"]))

    def _on_place(self, tile: SuspiciousTile) -> None:
        """Go where a feature is excited."""
        slide = self._page.slide
        if slide is not None:
            slide_camera.fly(self._viewer, slide, (tile.row, tile.column), VIEW_TILES * tile.width_px)


DONE = "Taken into the case: the lesion shows it; all of it is in risk/{}."


class RiskHanding(QObject):
    """Writes the page, and hands answers to the Case dock."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock, keeper: RiskKeeper) -> None:
        super().__init__(keeper)
        self._dock, self._keeper = dock, keeper
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_written)
        self._latest.failed.connect(self.failed)

    def hear(self, view: RiskView) -> None:
        """Hear what the user does in the fold."""
        view.to_case.clicked.connect(self._on_case)
        view.report.clicked.connect(self._on_report)

    @property
    def busy(self) -> bool:
        """Whether a page is being written."""
        return self._latest.busy

    def _on_report(self) -> None:
        slide, folder = self._dock.slide, self._keeper.folder
        if slide is None or folder is None:
            return
        dialog = QFileDialog(self._dock.window(), "Write depth and risk as a page", "", "Page (*.html)")
        dialog.setObjectName("risk_report_dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(f"{slide.info.name}-report.html")
        dialog.fileSelected.connect(partial(self._write, folder, slide.info))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _write(self, folder: Path, info: SlideInfo, name: str) -> None:
        work = partial(_report, Path(name).with_suffix(".html"), folder, info)
        self._latest.submit(f"report {name}", lambda: work)

    def _on_written(self, path: Path) -> None:
        self._dock.status.say(f"Written: {self._dock.icons.link(path.as_uri(), path.name)}.")

    def _on_case(self) -> None:
        """Keep the answer with the case that is open, beside its other files."""
        try:
            name = self._keep()
        except MelanomaError as error:
            self.failed.emit(error)
        else:
            self._dock.status.say(DONE.format(name))

    def _keep(self) -> str:
        """Write it; the name of its file."""
        from napari_melanoma.case.results import keep_risk

        kept = self._keeper.kept
        if kept is None:
            raise InputError(NO_CASE)
        desk, image = case_beside(self._dock)
        changed = keep_risk(desk.store, desk.case, image.id, kept.answer)
        desk.edit(changed, "the risk of a slide")
        written = changed.image(image.id).risk
        return "" if written is None else written.path.name


def _report(path: Path, folder: Path, info: SlideInfo, run: RunContext) -> Path:
    """Write the page."""
    from napari_melanoma.reports.slide import write_slide_report

    return write_slide_report(path, folder, info.path, scale=info.pixel_size)
