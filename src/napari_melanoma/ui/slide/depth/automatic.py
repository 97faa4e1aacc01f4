"""The depth measured by a model: started beside the work, followed, resumed; its results lie within the slide's own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QHideEvent, QShowEvent

from napari_melanoma.ui.slide.analysis import SlideRunPanel
from napari_melanoma.ui.slide.watch import SlideAt, SlideSight
from napari_melanoma.ui.widgets.job import Job, Latest

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import Wish
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.slide.dock import SlideDock

GOES_ON = "The depth is being measured; that goes on if you close napari."


class DepthLooker:
    """Looks at the folder of an analysis for how it fares; its maps are not read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def look(self, run: RunContext) -> SlideSight:
        """Read how it fares."""
        from napari_melanoma.io.results import read_content
        from napari_melanoma.slides.runs import read_slide_run

        return SlideSight(self.path, SlideAt(read_slide_run(self.path)), None, read_content(self.path))


class DepthRunPanel(SlideRunPanel):
    """Follows the analysis for the depth while its fold is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("depth_run")

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Follow it while somebody looks."""
        super().showEvent(event)
        self.watch.set_active(self.watch.path is not None)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Leave it alone while nobody looks; it goes on."""
        super().hideEvent(event)
        if not self.isHidden():  # it is what is around it that went
            self.watch.set_active(False)

    def _looker(self, path: Path) -> DepthLooker:
        return DepthLooker(path)


class DepthAnalysis(QObject):
    """Starts the analysis of a slide for its depth, and asks it to pause, end or go on."""

    ended = Signal(bool, bool)
    changed = Signal()
    failed = Signal(object)

    def __init__(self, dock: SlideDock, panel: DepthRunPanel) -> None:
        super().__init__(dock)
        self._dock, self._panel = dock, panel
        self._job: Job | None = None
        self._own: Path | None = None
        self._state = ""
        self.models: tuple[str, ...] | None = None
        self._asking = Latest(self)
        self._asking.succeeded.connect(self._on_known)
        self._asking.failed.connect(self.failed)
        panel.seen.connect(self._on_seen)
        panel.failed.connect(self.failed)
        panel.wish.connect(self._on_wish)
        panel.resume_wanted.connect(self.start)
        panel.detached.connect(partial(panel.set_folder, None))

    @property
    def busy(self) -> bool:
        """Whether it is being started, or something is read; an analysis at work is not meant."""
        return self._job is not None or self._asking.busy or self._panel.busy

    @property
    def active(self) -> bool:
        """Whether it is being started, or at work."""
        return self._job is not None or self._panel.active

    def turn_to(self, own: Path | None) -> None:
        """Follow what was begun for another slide."""
        if own != self._own:
            self._own, self._state = own, ""
            self._panel.set_folder(None)
            slide = self._dock.slide
            if own is not None and slide is not None:
                self._asking.submit("begun", lambda: partial(_known, own, slide.info.path))

    def start(self) -> None:
        """Start it, or let it go on where it stopped; nothing happens while one is being started."""
        slide, own = self._dock.slide, self._own
        if self._job is not None or slide is None or own is None:
            return
        self._dock.status.begin("starting", "Starting ...")
        self._job = Job(partial(_start, slide.info, own, (self.models or ("",))[0]))
        self._job.succeeded.connect(partial(self._on_started, own))
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start()
        self.changed.emit()

    def _on_known(self, known: tuple[Path, tuple[str, ...], Path | None]) -> None:
        own, self.models, begun = known
        if own == self._own and begun is not None:
            self._panel.set_folder(begun)
        self.changed.emit()

    def _on_started(self, own: Path, folder: Path) -> None:
        self._dock.status.end("starting", GOES_ON)
        if own == self._own:
            self._state = ""
            self._panel.set_folder(folder)

    def _on_finished(self) -> None:
        self._job = None
        self._dock.status.end("starting")
        self.changed.emit()

    def _on_seen(self, sight: SlideSight) -> None:
        state = str(sight.report.state)
        if state != self._state:
            before, self._state = self._state, state
            if state == "finished" and before:
                from napari_melanoma.depth.readings import proposed

                found = proposed(sight.content)
                self.ended.emit(bool(found.proposals), found.validity.valid)
        self.changed.emit()

    def _on_wish(self, wish: Wish) -> None:
        folder = self._panel.watch.path
        if folder is not None:
            self._dock.desk.ask(folder, wish)


def _known(own: Path, slide: Path, run: RunContext) -> tuple[Path, tuple[str, ...], Path | None]:
    """Which models can measure, and where an analysis was begun."""
    from napari_melanoma.slides.depth_readings import analysis_folder, depth_models

    folder = analysis_folder(own, slide)
    return own, depth_models(), folder if (folder / "events.jsonl").is_file() else None


def _start(info: SlideInfo, own: Path, model: str, run: RunContext) -> Path:
    """Launch the analysis; one that was made another way is made anew, for nobody corrects anything there."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.core.processes import alive
    from napari_melanoma.slides.depth_readings import analysis_folder
    from napari_melanoma.slides.findings import differs
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.result_folder import note_slide, slide_noted
    from napari_melanoma.slides.runs import launch_slide, read_slide_run

    if not model:
        raise InputError("no model that draws the epidermis is installed: measure by hand, or install one.")
    folder = analysis_folder(own, info.path)
    if alive(folder) and read_slide_run(folder).state.active:
        return folder
    if slide_noted(own) is None:
        note_slide(own, info.path, named=True)
    size = info.pixel_size
    given = size.x_um if size is not None and size.source in ("given", "ruler") else None
    options = SlideOptions(model=model, mpp=given)
    return launch_slide(info.path, folder.parent, options, force=bool(differs(folder, options)))
