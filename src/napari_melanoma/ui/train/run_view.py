"""One run as it trains: state, curves, samples, log and buttons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QFontDatabase, QGuiApplication, QHideEvent, QShowEvent
from qtpy.QtWidgets import QFrame, QLabel, QPlainTextEdit, QProgressBar, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.ui.train.curves import Curves
from napari_melanoma.ui.train.gate import GateView
from napari_melanoma.ui.train.run_buttons import RunButtons
from napari_melanoma.ui.train.run_watch import RunWatch, Sight
from napari_melanoma.ui.train.run_words import Seen, said_doing, said_more, said_state, share_done
from napari_melanoma.ui.train.samples import SamplesView
from napari_melanoma.ui.widgets.look import ThemedIcons, named, quiet, row, section, tool

if TYPE_CHECKING:
    from napari_melanoma.runs.runs import RunReport
    from napari_melanoma.ui.widgets.settings import Settings

NO_RUN_SHOWN = "No run is shown. Start one, or choose one from the list of runs."


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
            self._more.setText(NO_RUN_SHOWN if path is None else "Reading ...")
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


class RunPage(QWidget):
    """A run, live or of another day."""

    left = Signal()

    def __init__(self, icons: ThemedIcons, settings: Settings) -> None:
        super().__init__()
        self.back = tool(
            "back", "Back", "Back to the settings and the list of runs; a run goes on (Escape)", "All runs"
        )
        icons.add(self.back, "left_arrow")
        self.run = RunView(icons, settings)
        self.gate = GateView(icons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(7)
        layout.addWidget(self.back, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self.gate)
        layout.addWidget(self.run)
        layout.addStretch(1)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.back.clicked.connect(self.left)
        self.run.watch.changed.connect(self._on_report)

    @property
    def path(self) -> Path | None:
        """The run that is shown."""
        return self.run.path

    def set_run(self, path: Path | None) -> None:
        """Show a run."""
        if path != self.path:
            self.gate.show_comparison(None)
            self.gate.hide()
        self.run.set_run(path)

    def _on_report(self, report: RunReport) -> None:
        """Show the gate of a run that has one."""
        has_gate = str(report.state) == "finished" and report.bundle is not None
        self.gate.show_comparison(report if has_gate else None)
        self.gate.setVisible(has_gate)


SECTION = "run_notices"


class RunNotices(QFrame):
    """Shows the notices of a run; the newest always, the earlier ones unless they are folded away."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        named(self, "notice", "Notices of the run").setToolTip("")
        self._settings = settings
        self._said: list[str] = []
        self._open = settings.is_open(SECTION, True)
        self._newest = named(quiet(), "run_notice", "Newest notice of the run")
        self._earlier = named(quiet(), "run_notices_earlier", "Earlier notices of the run")
        for label in (self._newest, self._earlier):
            label.setToolTip("")
        self._fold: QToolButton = tool("run_notices_fold", "Show or hide the earlier notices", text=" ")
        self._fold.clicked.connect(self._on_fold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        for widget in (self._newest, self._fold, self._earlier):
            layout.addWidget(widget)
        self._show()

    def add(self, words: str) -> None:
        """Take a notice; one that was said before is the newest again."""
        first = words.split(" ")[0]
        is_name = any(letter.isdigit() or letter == "_" for letter in first)  # such as batch_size
        said = words if is_name else f"{words[:1].upper()}{words[1:]}"
        if said:
            self._said = [said, *(other for other in self._said if other != said)]
            self._show()

    def clear(self) -> None:
        """Forget all of them: another run is shown, or the same one from its beginning."""
        self._said = []
        self._show()

    def _on_fold(self) -> None:
        self._open = not self._open
        self._settings.set_open(SECTION, self._open)
        self._show()

    def _show(self) -> None:
        newest, earlier = self._said[:1], self._said[1:]
        self._newest.setText("".join(newest))
        self._earlier.setText("\n".join(f"• {said}" for said in earlier))
        self._earlier.setVisible(self._open and bool(earlier))
        self._fold.setText(f"Hide {len(earlier)} earlier" if self._open else f"Show {len(earlier)} earlier")
        self._fold.setVisible(bool(earlier))
        self.setVisible(bool(newest))


class RunNotice(QFrame):
    """Says which runs are at work or wait; hidden where none does."""

    chosen = Signal(object)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        self._reports: list[RunReport] = []
        named(self, "notice", "Runs at work").setToolTip("")
        self._words = named(QLabel(), "runs_at_work", "Runs at work")
        self._words.setToolTip("")
        self._words.setWordWrap(True)
        self._words.linkActivated.connect(self._on_link)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._words)
        icons.changed.connect(self._say)
        self.hide()

    def show_runs(self, reports: Sequence[RunReport]) -> None:
        """Show those that are at work or wait."""
        self._reports = [report for report in reports if report.state.active]
        self._say()
        self.setVisible(bool(self._reports))

    def _say(self) -> None:
        lines = [f"{self._icons.link(str(r.path), r.name)}: {said_state(r)}" for r in self._reports]
        self._words.setText("<br>".join(lines))

    def _on_link(self, link: str) -> None:
        self.chosen.emit(Path(link))


MOST_LINES = 1000


class LogView(QWidget):
    """Follows its end, unless the reader has scrolled up."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._text = named(QPlainTextEdit(), "log", "Log of the run")
        self._text.setToolTip("")
        self._text.setReadOnly(True)
        self._text.setMaximumBlockCount(MOST_LINES)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setPlaceholderText("Nothing was logged yet.")
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        font.setPointSizeF(8.0)
        self._text.setFont(font)
        self._text.setFixedHeight(110)
        self._copy = tool("log_copy", "Copy the log", "Copy the log to the clipboard", "copy")
        self._copy.setEnabled(False)
        self._copy.clicked.connect(self._on_copy)
        icons.add(self._copy, "copy_to_clipboard")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._text)
        layout.addWidget(row(self._copy))

    @property
    def text(self) -> str:
        """What it shows."""
        return str(self._text.toPlainText())

    def clear(self) -> None:
        """Show nothing."""
        self._text.clear()
        self._copy.setEnabled(False)

    def add(self, text: str) -> None:
        """Append lines."""
        lines = text.rstrip("\n")
        if not lines:
            return
        bar = self._text.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 2
        self._text.appendPlainText(lines)
        self._copy.setEnabled(True)
        if at_end:
            bar.setValue(bar.maximum())

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text)
