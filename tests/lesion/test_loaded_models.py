"""Models are loaded once per process, and the expected duration of the first load is reported."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from napari_melanoma.case import results
from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.lesion import loaded_models


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Progress messages of a process without torch whose user folder records no earlier load."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(loaded_models, "_timing_file", lambda: tmp_path / "state" / "loading.json")
    return []


def load(messages: list[str], seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((100.0, 100.0 + seconds))
    monkeypatch.setattr(loaded_models, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with loaded_models.report_loading(RunContext(lambda progress: messages.append(progress.message))):
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())


def test_the_duration_is_estimated_from_the_last_load(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (7.6, 0.2, 4000.0, 3.0):
        load(messages, seconds, monkeypatch)
    # What took an hour was no loading: it is not remembered.
    assert messages == [f"Loading the model, about {about} s" for about in (4, 8, 1, 1)]


def test_a_load_longer_than_the_last_one_is_reported(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_models, "LATE_FACTOR", 0.01)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    reported = Event()

    def report(progress: Progress) -> None:
        messages.append(progress.message)
        if len(messages) == 2:
            reported.set()

    with loaded_models.report_loading(RunContext(report)):
        assert reported.wait(20)
    assert messages == ["Loading the model, about 4 s", "Loading the model takes longer than usual (about 4 s)"]


def test_a_later_load_reports_no_duration(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    with loaded_models.report_loading(RunContext(lambda progress: messages.append(progress.message))):
        pass
    assert messages == ["Loading the model"]
    assert not loaded_models._timing_file().exists()


@pytest.mark.parametrize("content", ["", "{}", "[3]", '{"seconds": "long"}', '{"seconds": -4}'])
def test_an_unreadable_record_is_ignored(messages: list[str], monkeypatch, content: str) -> None:
    loaded_models._timing_file().parent.mkdir()
    loaded_models._timing_file().write_text(content)
    load(messages, 2.0, monkeypatch)
    assert messages == ["Loading the model, about 4 s"]
    assert json.loads(loaded_models._timing_file().read_text()) == {"seconds": 2.0}


def test_second_prediction_for_a_case_reuses_the_loaded_models(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    def classifier(info) -> SimpleNamespace:
        loads.append(info.name)
        return SimpleNamespace(calibration=SimpleNamespace(fit_all=lambda: None))

    monkeypatch.setattr(Classifier, "load", classifier)
    monkeypatch.setattr(results, "predict_case", lambda store, select, run, segment: select("dermoscopic"))
    loaded_models._classifier.cache_clear()
    try:
        first, second = (results.predict_case_with(None, "", RunContext()) for _ in range(2))
    finally:
        loaded_models._classifier.cache_clear()
    assert first is second
    assert loads == ["melanoma-small"]
