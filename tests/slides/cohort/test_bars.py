"""What is at work at once has bars of its own below that of the whole, and stands in the lines for machines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from napari_melanoma.cli import session
from napari_melanoma.core.context import ParallelProgress, Progress


def test_progress_bars_appear_end_and_restart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session.sys.stderr, "isatty", lambda: True)
    report: Any = session.create_report(as_json=False)
    a, b = Progress(3, 10, "a: 5 tiles/s"), Progress(0, None, "b: starting")
    report.progress(ParallelProgress(1, 4, "slides, 2 on 2 workers: a 30 %, b", (a, b)))
    whole, *parts = report._bar.tasks
    assert (whole.completed, whole.total, whole.description) == (1, 4, "slides, 2 on 2 workers")
    assert [(part.completed, part.total, part.description) for part in parts] == [
        (3, 10, "a: 5 tiles/s"),
        (0, None, "b: starting"),
    ]
    before = parts[0].start_time
    report.progress(ParallelProgress(2, 4, "slides, 1 on 2 workers: c 10 %", (Progress(1, 10, "c: 4 tiles/s"),)))
    assert [part.visible for part in parts] == [True, False]
    assert (parts[0].completed, parts[0].description) == (1, "c: 4 tiles/s")
    assert parts[0].start_time > before
    report.emit("slide", "")  # of no interest to people
    report.finish("done", "Ended.")
    assert capsys.readouterr().out == "Ended.\n"


def test_lines_for_machines_have_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    report = session.create_report(as_json=True)
    report.progress(ParallelProgress(1, 4, "slides", (Progress(3, 10, "a"),)))
    report.progress(Progress(1, 4, "slides"))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["parts"] == [{"done": 3, "total": 10, "message": "a"}]
    assert "parts" not in second


def test_log_omits_events_without_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(session.sys.stderr, "isatty", lambda: False)
    report = session.create_report(as_json=False)
    report.emit("slide", "")
    report.emit("slide", "failed: a")
    assert capsys.readouterr().err == "failed: a\n"
