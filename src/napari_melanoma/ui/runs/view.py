"""One run as it goes: where it stands in words, curves, samples and log, and the buttons that it listens to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QHideEvent, QShowEvent
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_melanoma.ui.curves import Curves
from napari_melanoma.ui.log_view import LogView
from napari_melanoma.ui.look import ThemedIcons, named, quiet, row, section, tool
from napari_melanoma.ui.runs.buttons import RunButtons
from napari_melanoma.ui.runs.notices import RunNotices
from napari_melanoma.ui.runs.watch import RunWatch, Sight
from napari_melanoma.ui.runs.words import Seen, said_doing, said_more, said_state, share_done
from napari_melanoma.ui.samples_view import SamplesView

if TYPE_CHECKING:
    from napari_melanoma.ui.settings import Settings
    from napari_melanoma.workflows.runs import RunReport

NO_RUN = "No run is shown. Start one, or choose one from the list of runs."


class RunView(QWidget):
    """Follows one run folder while it is seen; starts and stops nothing itself."""

    wish = Signal(str)
    resume_wanted = Signal(object)
    detached = Signal()

    def __init__(self, icons: ThemedIcons, settings: Settings) -> None:
        super().__init__()
        named(self, "run_view", "Run").setToolTip("")
        self.watch = RunWatch(self)
        self.report: RunReport | None = None
        self._seen = Seen()
        self._name = named(QLabel(), "run_name", "Name of the run")
        self._state = named(QLabel(), "run_state", "State of the run")
        self._more = named(quiet(), "run_more", "More about the run")
        for label in (self._name, self._state, self._more):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setWordWrap(True)
            label.setToolTip("")
        self._bar = named(QProgressBar(), "run_progress", "Progress of the run")
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        self._folder = tool("run_folder", "Open the run folder", "Open the folder of this run")
        icons.add(self._folder, "pop_out")
        self.buttons = RunButtons()
        self._notices = RunNotices(settings)
        self.curves = Curves(icons)
        self.samples = SamplesView(icons)
        self.log = LogView(icons)
        self._lay_out(icons, settings)
        self._folder.clicked.connect(self._on_folder)
        self.buttons.wish.connect(self._on_wish)
        self.buttons.resume_wanted.connect(self._on_resume)
        self.buttons.detached.connect(self.detached)
        self.watch.seen.connect(self._on_seen)
        self.set_run(None)

    @property
    def path(self) -> Path | None:
        """The run folder that is shown."""
        return self.watch.path

    @property
    def busy(self) -> bool:
        """Whether something is being read."""
        return self.watch.busy or self.samples.busy

    def set_run(self, path: Path | None) -> None:
        """Show another run, or the same one from its beginning, as after a resume."""
        other = path != self.path or path is None
        self.log.clear()
        self._notices.clear()
        if other:
            self.report = None
            self._seen = Seen()
            self._name.setText("" if path is None else path.name)
            self._state.setText("")
            self._more.setText(NO_RUN if path is None else "Reading ...")
            self._bar.setRange(0, 1000)
            self._bar.setValue(0)
            self.buttons.show_report(None)
            self.samples.show_samples(None, ())
        self._page.setVisible(path is not None)
        self.watch.set_run(path)

    def wish_failed(self) -> None:
        """Take back the word that a wish was heard, where it could not be told to the run."""
        self.buttons.forget()
        self.watch.expecting = False
        self._show_words()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Look at the run while somebody looks at this."""
        super().showEvent(event)
        self.watch.set_active(True)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Leave the run alone while nobody looks."""
        super().hideEvent(event)
        self.watch.set_active(False)

    def _on_seen(self, sight: Sight) -> None:
        report = self.report = sight.report
        self._seen = self._seen.after(sight.events, sight.worked)
        self._name.setText(_title(report))
        self.buttons.show_report(report)
        self.watch.expecting = bool(self.buttons.answer)
        self._show_words()
        self.curves.show_run(sight.losses, report.metrics, report.epochs)
        self.samples.show_samples(sight.path, sight.epochs)
        self.log.add(sight.log)
        for event in sight.events:
            if event["kind"] == "notice":
                self._notices.add(str(event.get("message", "")))
            elif event["kind"] == "samples":
                self.samples.refresh()

    def _show_words(self) -> None:
        """Say where the run stands, and at once what was just wished for."""
        if self.report is None:
            return
        state = self.buttons.answer or said_doing(self.report, self._seen) or said_state(self.report, self._seen)
        self._state.setText(f"{state[:1].upper()}{state[1:]}")
        self._more.setText(said_more(self.report, self._seen))
        share = share_done(self.report)
        unknown = share is None or (share == 0 and bool(said_doing(self.report, self._seen)))
        self._bar.setRange(0, 0 if unknown and self.report.state.active else 1000)
        self._bar.setValue(round(1000 * (share or 0)))

    def _on_wish(self, wish: str) -> None:
        self._show_words()
        self.wish.emit(wish)
        self.watch.refresh()

    def _on_resume(self) -> None:
        self._show_words()
        if self.path is not None:
            self.watch.expecting = True
            self.resume_wanted.emit(self.path)
            self.watch.refresh()

    def _on_folder(self) -> None:
        if self.path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.path)))

    def _lay_out(self, icons: ThemedIcons, settings: Settings) -> None:
        self._more.setMinimumHeight(2 * self._more.fontMetrics().lineSpacing() + 4)  # so that the buttons stay in place
        self._more.setAlignment(Qt.AlignmentFlag.AlignTop)
        font = self._state.font()
        font.setBold(True)
        self._state.setFont(font)
        sections = (
            section("Samples", "samples_section", self.samples, settings, True),
            section("Log", "log_section", self.log, settings, False),
        )
        icons.fold(*sections)
        self._page = QWidget()
        page = QVBoxLayout(self._page)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(6)
        for widget in (self._bar, self.buttons, self._notices, self.curves, *sections):
            page.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(row(self._name, self._folder, stretch=0))
        layout.addWidget(self._state)
        layout.addWidget(self._more)
        layout.addWidget(self._page)
        layout.addStretch(1)


def _title(report: RunReport) -> str:
    """Name the run, and what comes out of it."""
    return report.name if report.recipe is None else f"{report.name} · {report.recipe.title}"
