"""The analysis of a slide as it goes: words, a bar, and the buttons that it listens to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from napari_melanoma.ui.look import named
from napari_melanoma.ui.runs.buttons import RunButtons
from napari_melanoma.ui.runs.watch import RunWatch
from napari_melanoma.ui.slide.watch import SlideLooker, SlideSight, goes_on
from napari_melanoma.ui.slide.words import no_resume, said_run
from napari_melanoma.ui.words import Words

if TYPE_CHECKING:
    from napari_melanoma.ui.slide.watch import SlideAt

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
