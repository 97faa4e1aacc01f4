"""Analyze a slide from the Slide dock."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QMessageBox, QProgressBar, QVBoxLayout, QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.slide.controller import Request
from napari_melanoma.ui.slide.watch import SlideLooker, SlideSight, goes_on, no_resume, said_run
from napari_melanoma.ui.train.run_buttons import RunButtons
from napari_melanoma.ui.train.run_watch import RunWatch
from napari_melanoma.ui.widgets.dialogs import answer, ask
from napari_melanoma.ui.widgets.look import Words, named

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import Wish
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.watch import SlideAt

LET_GO = "The analysis is left to itself. Analyse, or opening the slide again, shows how far it is."


class SlideAnalysing(QObject):
    """Takes what the user wants of an analysis to the desk, and shows what comes of it."""

    def __init__(self, dock: SlideDock) -> None:
        super().__init__(dock)
        self._dock = dock
        self._asked: SlideOptions | None = None  # of what is being started
        self._failed = False
        dock.analyse.clicked.connect(partial(self._on_analyse, view=False))
        dock.analyse_view.clicked.connect(partial(self._on_analyse, view=True))
        dock.desk.started.connect(self._on_started)
        dock.desk.differs.connect(self._on_differs)
        dock.desk.changed.connect(self._on_changed)
        dock.desk.failed.connect(self._on_failed)
        dock.run_panel.wish.connect(self._on_wish)
        dock.run_panel.resume_wanted.connect(self._on_resume)
        dock.run_panel.detached.connect(self._on_detached)

    def _on_analyse(self, _: bool = False, *, view: bool) -> None:
        dock, slide = self._dock, self._dock.slide
        if slide is None or dock.place is None or not dock.analyse.isEnabled():
            return
        options = dock.options(slide.info)
        try:
            region = dock.scope.region() if view else None
        except InputError as error:
            dock.desk.failed.emit(error)
            return
        found = dock.lesions.findings if view == dock.scope.is_view else None
        anew = found is not None and found.corrected
        if anew and not self._may_find_anew(slide.info.name):
            return
        dock.scope.choose(view)
        dock.settings.keep("slide/model", dock.model.model)
        wanted = options.model_copy(update={"region": region})
        self._start(Request(slide.info, dock.place, wanted, dock.tissues.corrected(slide), anew=anew), "Starting ...")

    def _may_find_anew(self, name: str) -> bool:
        """Ask where lesions were drawn or changed, for an analysis finds all of them anew."""
        question = f"Find the lesions of '{name}' anew?"
        details = "Those that you drew or changed are kept in a file beside the results."
        box = ask(self._dock, "replace_lesions", question, details, "Slide")
        box.addButton("Find anew", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = answer(box)
        return pressed is not None and pressed.objectName() == "replace"

    def _on_resume(self) -> None:
        """Go on as it was begun, whatever the controls say now."""
        slide, place, at = self._dock.slide, self._dock.place, self._dock.run_panel.at
        if slide is not None and place is not None and at is not None:
            options = at.run.options or self._dock.options(slide.info)
            self._start(Request(slide.info, place, options), "Starting again ...")

    def _start(self, request: Request, said: str) -> None:
        self._asked = request.options
        self._dock.status.begin("starting", said)
        self._dock.desk.start(request)

    def _on_differs(self, request: Request, differs: str) -> None:
        """Ask before results are replaced."""
        self._dock.status.end("starting")
        self._dock.run_panel.wish_failed()
        question = f"Replace the results of '{request.info.name}'?"
        box = ask(self._dock, "replace_result", question, f"They were made in another way ({differs}).", "Slide")
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = answer(box)
        if pressed is not None and pressed.objectName() == "replace":
            self._start(replace(request, force=True), "Starting ...")
        else:
            self._asked = None
            self._dock.scope.follow()

    def _on_started(self, folder: Path) -> None:
        dock = self._dock
        dock.status.end("starting", "The analysis goes on if you close napari.")
        if dock.slide is not None and dock.place is not None and folder == dock.place.folder:
            dock.results.begin()
            dock.scope.started()
            dock.scope.frame(None if self._asked is None else self._asked.region)
            dock.run_panel.set_folder(folder)
        self._asked = None

    def _on_failed(self, _: Exception) -> None:
        self._failed = self._asked is not None

    def _on_changed(self) -> None:
        """Go back to what there was where something could not be started."""
        if self._failed and not self._dock.desk.starting:
            self._failed, self._asked = False, None
            self._dock.scope.follow()

    def _on_wish(self, wish: Wish) -> None:
        if self._dock.place is not None:
            self._dock.desk.ask(self._dock.place.folder, wish)

    def _on_detached(self) -> None:
        self._dock.run_panel.set_folder(None)
        self._dock.status.say(LET_GO)
        self._dock.refresh()


STEPS = 1000


class SlideRunPanel(QWidget):
    """Follows the folder of one slide while it is seen; starts and stops nothing itself."""

    wish = Signal(str)
    resume_wanted = Signal()
    detached = Signal()
    seen = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "slide_run", "Analysis").setToolTip("")
        self.at: SlideAt | None = None
        self._target = ""
        self.watch = RunWatch(self, self._looker, goes_on)
        self._words = named(Words(), "run_state", "How the analysis fares")
        self._words.setToolTip("")
        self._bar = named(QProgressBar(), "run_progress", "Progress of the analysis")
        self._bar.setTextVisible(False)
        self._bar.setRange(0, STEPS)
        self._bar.setFixedHeight(8)
        self.buttons = RunButtons("where it stopped; tiles that are done are not done again")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self._words, self._bar, self.buttons):
            layout.addWidget(widget)
        self.watch.seen.connect(self._on_seen)
        self.watch.failed.connect(self.failed)
        self.buttons.wish.connect(self._on_wish)
        self.buttons.resume_wanted.connect(self._on_resume)
        self.buttons.detached.connect(self.detached)
        self.hide()

    @property
    def busy(self) -> bool:
        """Whether something is being read."""
        return self.watch.busy

    @property
    def active(self) -> bool:
        """Whether the analysis is at work."""
        return self.at is not None and bool(self.at.state.active)

    def set_folder(self, folder: Path | None) -> None:
        """Follow another folder, or the same one from its beginning."""
        if folder is None or folder != self.watch.path:
            self.at = None
            self.buttons.show_report(None)
            self.hide()
            self._target = ""
        self.watch.set_active(False)
        self.watch.set_run(folder)
        self.watch.set_active(folder is not None)

    def set_target(self, target: str) -> None:
        """Read the map of another class from now on."""
        self._target = target
        self.watch.refresh()

    def wish_failed(self) -> None:
        """Take back the word that a wish was heard, where it could not be told."""
        self.buttons.forget()
        self.watch.expecting = False

    def _looker(self, path: Path) -> SlideLooker:
        return SlideLooker(path, lambda: self._target)

    def _on_seen(self, sight: SlideSight) -> None:
        self.at = sight.report
        run = sight.report.run
        self.buttons.show_report(sight.report, no_resume(run))
        self.watch.expecting = bool(self.buttons.answer)
        state = str(run.state)
        # Of an analysis that is done nothing is left to say or to press here.
        self.setVisible(state != "finished" and (state != "lost" or not sight.content))
        self._words.setText(self.buttons.answer.capitalize() or said_run(run))
        # Not the bar that moves to and fro: where OpenGL is drawn by the processor, each of its steps draws all.
        self._bar.setValue(round(STEPS * (run.fraction or 0)))
        self.seen.emit(sight)

    def _on_wish(self, wish: str) -> None:
        self._words.setText(self.buttons.answer.capitalize())
        self.watch.expecting = True
        self.wish.emit(wish)

    def _on_resume(self) -> None:
        self._words.setText(self.buttons.answer.capitalize())
        self.watch.expecting = True
        self.resume_wanted.emit()
