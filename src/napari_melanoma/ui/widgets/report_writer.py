"""Ask for a report's options and file, and write it in a separate process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QDialog, QDialogButtonBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.ui.widgets.dialogs import choose_new_file
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, named, row

PDF_SETTING = "report/pdf"
PERSONAL_TIP = "Without it, the report contains no dates, file names and names of readers, and no exact age above 89"
WIDTH_PX = 380
FindPaths = Callable[[], list[Path]]


class ReportOptions(NamedTuple):
    """Sources and options of a report.

    ``paths``: case folders and result folders. ``find_more``: returns further result folders; it may read from disk.
    ``case``: folder of a case that is not reported, but whose lesions are those of slides.
    """

    paths: tuple[Path, ...]
    find_more: FindPaths = list
    pdf: bool = True
    personal: bool = False
    strokes: bool = False
    case: Path | None = None

    def make_command(self, out: Path) -> list[str]:
        from napari_melanoma.core.processes import python_command

        options = ["--pdf"] if self.pdf else []
        options += ["--personal"] if self.personal else []
        options += ["--strokes"] if self.strokes else []
        options += ["--case", str(self.case)] if self.case is not None else []
        paths = map(str, (*self.paths, *self.find_more()))
        return python_command("report", *paths, "--out", str(out), *options, "--json")


class ReportDialog(QDialog):
    """The options of a report."""

    def __init__(self, parent: QWidget, source: ReportOptions, settings: DockSettings) -> None:
        from napari_melanoma.reports.pdf import PRINT_IN_BROWSER  # imports the page templates: 13 ms

        super().__init__(parent)
        self._source, self._settings = source, settings
        self.setObjectName("report_dialog")
        self.setWindowTitle("Write a report")
        self.setMinimumWidth(WIDTH_PX)
        text = "An HTML file for screens and printers, with everything that is stored with the case or the results."
        self.pdf_check = named(QCheckBox("PDF file, too"), "report_pdf", "PDF file", "Write the same pages as PDF, too")
        self.pdf_check.setChecked(bool(settings.get(PDF_SETTING, True)))
        self.personal_check = named(
            QCheckBox("Dates, names of readers and files"), "report_personal", "Personal data", PERSONAL_TIP
        )
        tip = "Number of the strokes painted on slides, by class and reader"
        self.strokes_check = named(QCheckBox("Painted strokes"), "report_strokes", "Painted strokes", tip)
        save = named(QPushButton("Save..."), "report_save", "Choose the file")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        buttons.addButton(save, QDialogButtonBox.ButtonRole.AcceptRole)
        save.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(WrappedLabel(text))
        self._browser_label = WrappedLabel(PRINT_IN_BROWSER)
        self._browser_label.hide()
        column.addWidget(self.pdf_check)
        column.addWidget(self._browser_label)
        column.addWidget(row(QLabel("Include"), self.personal_check, self.strokes_check))
        column.addWidget(WrappedLabel(f"{PERSONAL_TIP}. Free text is included as you wrote it."))
        column.addWidget(buttons)
        job = BackgroundJob(lambda run: _find_pdf_advice())
        job.succeeded.connect(self._on_pdf_checked)
        job.start(self)

    def _on_pdf_checked(self, advice: str) -> None:
        """Offer no PDF file if it cannot be written, and state what to do instead."""
        self.pdf_check.setVisible(not advice)
        self._browser_label.setVisible(bool(advice))
        self._browser_label.setToolTip(advice)

    def accept(self) -> None:
        """Store whether a PDF file is written, too."""
        self._settings.set(PDF_SETTING, self.pdf_check.isChecked())
        super().accept()

    @property
    def options(self) -> ReportOptions:
        return self._source._replace(
            pdf=self.pdf_check.isChecked() and not self.pdf_check.isHidden(),
            personal=self.personal_check.isChecked(),
            strokes=self.strokes_check.isChecked(),
        )


@cache
def _find_pdf_advice() -> str:
    """Return how to make PDF files possible, "" if they are; found once, since it takes about 2 s."""
    from napari_melanoma.doctor import check_reports

    return " ".join(check.fix for check in check_reports() if check.status != "ok")


class ReportWriter(QObject):
    """Writes one report at a time, and links to it in the status line."""

    failed = Signal(object)  # Exception

    def __init__(self, dock: QWidget, status: StatusLine, icons: ThemedIcons, settings: DockSettings) -> None:
        super().__init__(dock)
        self._dock, self._status, self._icons, self._settings = dock, status, icons, settings
        self._job: BackgroundJob | None = None
        self._processes: list[subprocess.Popen[str]] = []  # of the job
        status.cancelled.connect(self._on_cancelled)

    def ask(
        self,
        paths: Sequence[Path],
        folder: Path,
        name: str,
        find_more: FindPaths = list,
        case: Path | None = None,
    ) -> None:
        """Ask for the options and the file.

        ``paths``, ``find_more``, ``case``: as in ``ReportOptions``. ``folder``, ``name``: where the file is suggested.
        """
        source = ReportOptions(tuple(paths), find_more, case=case)
        dialog = ReportDialog(self._dock.window(), source, self._settings)
        dialog.accepted.connect(lambda: self._choose_file(dialog.options, folder / f"{name}.html"))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _choose_file(self, options: ReportOptions, suggested: Path) -> None:
        write = partial(self.write, options)
        choose_new_file(self._dock, "report_file_dialog", "Write a report", "HTML report", write, suggested)

    def write(self, options: ReportOptions, out: Path) -> None:
        """Write the report in the background, unless one is being written."""
        if self._job is not None:
            self._status.show_message("A report is being written. Wait until it is finished.")
            return
        processes = self._processes
        self._job = BackgroundJob(lambda run: run_command(options.make_command(out), processes, run))
        self._job.progressed.connect(lambda progress: self._status.progress("reporting", progress))
        self._job.succeeded.connect(self._on_written)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._status.begin("reporting", "Writing the report ...")
        self._job.start(self)

    def _on_written(self, summary: dict[str, Any]) -> None:
        files = [Path(file) for file in summary.get("files", ())]
        links = format_names([self._icons.link(file.as_uri(), file.name) for file in files])
        first, *others = summary["failures"] or [""]
        rest = f" (and {format_count(len(others), 'other part')})" if others else ""
        self._status.end("reporting", f"Saved: {links}." + (f" Missing: {first}{rest}" if first else ""))

    def _on_finished(self) -> None:
        self._job = None
        self._status.end("reporting")

    def _on_cancelled(self, task: str) -> None:
        if task == "reporting" and self._job is not None:
            self._job.cancel()
            for process in self._processes:
                process.kill()


def run_command(command: Sequence[str], processes: list[subprocess.Popen[str]], run: RunContext) -> dict[str, Any]:
    """Run a command that writes JSON lines; return its summary, and as ``failures`` the reasons why parts are missing.

    ``processes``: contains the process while it runs.
    """
    from napari_melanoma.core.processes import NO_CONSOLE

    summary: dict[str, Any] = {}
    failures: list[str] = []
    run.check()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        creationflags=NO_CONSOLE,
    ) as process:
        processes.append(process)
        if run.cancelled:  # canceled before the process was in the list
            process.kill()
        try:
            for line in process.stdout or ():
                event = _read_line(line, run)
                if event.get("event") == "failed":
                    failures.append(str(event.get("error", "")))
                elif event.get("event") == "summary":
                    summary = event
        finally:
            processes.remove(process)
    run.check()
    if summary.get("status") in (None, "error"):
        ended = f"the result was not written (code {process.returncode})."
        raise MelanomaError(str(summary.get("message", ended)))
    return {**summary, "failures": failures}


def _read_line(line: str, run: RunContext) -> dict[str, Any]:
    """Return the event of a line, and report progress; empty if the line is not an event."""
    try:
        event = parse_json(line, "a line of the report's process")
    except ValueError:
        return {}
    if not isinstance(event, dict):
        return {}
    if event.get("event") == "progress":
        run.report(Progress(event["done"], event["total"], event["message"]))
    return event
