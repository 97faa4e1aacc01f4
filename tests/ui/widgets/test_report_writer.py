"""A report is asked for, written in its own process, linked, and can be cancelled."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pytest
from qtpy.QtWidgets import QCheckBox, QFileDialog, QPushButton, QWidget

from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.report_writer import ReportDialog, ReportOptions, ReportWriter
from napari_melanoma.ui.widgets.settings import DockSettings


class Status:
    """A status line that records what it shows."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.cancelled = self

    def connect(self, slot) -> None:
        self.cancel = slot

    def begin(self, task: str, message: str) -> None:
        self.messages.append(message)

    def progress(self, task: str, progress) -> None:
        self.messages.append(progress.message)

    def end(self, task: str, message: str | None = None) -> None:
        if message:
            self.messages.append(message)

    def show_message(self, message: str) -> None:
        self.messages.append(message)


class Icons:
    @staticmethod
    def link(target: str, text: str) -> str:
        return f"<{text}>"


@pytest.fixture
def dock(qtbot, home) -> QWidget:
    made = QWidget()
    qtbot.addWidget(made)
    return made


@pytest.fixture
def writer(dock) -> ReportWriter:
    return ReportWriter(dock, Status(), Icons(), DockSettings())


def runs(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Run a script instead of the command."""
    monkeypatch.setattr(ReportOptions, "make_command", lambda self, out: [sys.executable, "-c", script])


def summary(status: str, **values: object) -> str:
    return f"print({json.dumps(json.dumps({'event': 'summary', 'status': status, **values}))})"


def test_options_become_a_command_and_are_stored_without_personal_data(dock, qtbot, tmp_path: Path) -> None:
    settings = DockSettings()
    dialog = ReportDialog(dock, ReportOptions((tmp_path / "case",)), settings)
    assert dialog.options == ReportOptions((tmp_path / "case",), pdf=True, personal=False, strokes=False)
    for name in ("report_personal", "report_strokes"):
        dialog.findChild(QCheckBox, name).setChecked(True)
    dialog.findChild(QPushButton, "report_save").click()
    command = dialog.options.make_command(tmp_path / "out.html")
    assert command[5:] == [
        *("napari_melanoma", "report", str(tmp_path / "case"), "--out", str(tmp_path / "out.html")),
        *("--pdf", "--personal", "--strokes", "--json"),
    ]
    again = ReportDialog(dock, ReportOptions((tmp_path / "case",)), settings)
    assert again.options[2:] == (True, False, False, None)


def test_a_report_is_written_and_linked(dock, writer, qtbot, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "P-1-report.html"
    progress = json.dumps({"event": "progress", "done": 1, "total": 2, "message": "Reading slides"})
    runs(monkeypatch, f"print({json.dumps(progress)});" + summary("done", files=[str(out)]))
    writer.ask((tmp_path,), tmp_path, "P-1-report")
    dock.findChild(ReportDialog).findChild(QPushButton, "report_save").click()
    chooser = dock.findChild(QFileDialog, "report_file_dialog")
    assert Path(chooser.selectedFiles()[0]).name == "P-1-report.html"
    chooser.fileSelected.emit(str(out))
    chooser.reject()
    qtbot.waitUntil(tasks.is_idle)
    assert writer._status.messages == [
        "Writing the report ...",
        "Reading slides",
        "Saved: <P-1-report.html>.",
    ]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            'print(\'{"event": "failed", "error": "Image 2 is missing."}\');' * 2
            + summary("failed", files=["/a/r.html"]),
            "Saved: <r.html>. Missing: Image 2 is missing. (and 1 other part)",
        ),
        (summary("error", message="r.html exists, and is not a report."), "is not a report"),
        ("import sys; sys.exit(7)", "not written (code 7)"),
    ],
    ids=["parts are missing", "refused", "crashed"],
)
def test_errors_are_shown(writer, qtbot, monkeypatch, tmp_path: Path, script: str, expected: str) -> None:
    runs(monkeypatch, script)
    writer.failed.connect(lambda error: writer._status.show_message(str(error)))
    writer.write(ReportOptions((tmp_path,)), tmp_path / "r.html")
    qtbot.waitUntil(tasks.is_idle)
    assert expected in writer._status.messages[-1]


def test_a_report_is_cancelled_at_once(writer, qtbot, monkeypatch, tmp_path: Path) -> None:
    runs(monkeypatch, "import time; time.sleep(600)")
    writer.write(ReportOptions((tmp_path,)), tmp_path / "r.html")
    qtbot.waitUntil(lambda: bool(writer._processes))
    started = time.monotonic()
    writer.write(ReportOptions((tmp_path,)), tmp_path / "other.html")
    assert writer._status.messages[-1] == "A report is being written. Wait until it is finished."
    writer._status.cancel("reporting")
    qtbot.waitUntil(tasks.is_idle)
    assert time.monotonic() - started < 60
    assert writer._job is None


def test_a_report_that_is_cancelled_before_its_process_starts_is_not_written(
    writer, qtbot, monkeypatch, tmp_path: Path
) -> None:
    """As while the result folders are searched."""
    searched, out = threading.Event(), tmp_path / "r.html"

    def make_command(options: ReportOptions, path: Path) -> list[str]:
        assert searched.wait(10)
        return [sys.executable, "-c", f"open({str(path)!r}, 'w')"]

    monkeypatch.setattr(ReportOptions, "make_command", make_command)
    writer.write(ReportOptions((tmp_path,)), out)
    writer._status.cancel("reporting")
    searched.set()
    qtbot.waitUntil(tasks.is_idle)
    assert not out.exists()
