"""Models are loaded once a process, and the first time it is said how long that takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from platformdirs import user_state_path

from napari_melanoma.case import predictions
from napari_melanoma.classification.predictor import Classifier
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.lesion import loaded_models


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What is said; in a process that has not imported torch, in a home where nothing was loaded yet."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(loaded_models, "_timing_file", lambda: tmp_path / "state" / "loading.json")
    return []


def load(said: list[str], seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((100.0, 100.0 + seconds))
    monkeypatch.setattr(loaded_models, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with loaded_models.report_loading(RunContext(lambda progress: said.append(progress.message))):
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())


def test_it_says_about_how_long_by_the_last_time(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (7.6, 0.2, 4000.0, 3.0):
        load(said, seconds, monkeypatch)
    # What took an hour was no loading: it is not remembered.
    assert said == [f"Loading the model, about {about} s" for about in (4, 8, 1, 1)]


def test_what_takes_longer_than_the_last_time_is_said_to_do_so(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_models, "LATE_FACTOR", 0.01)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    reported = Event()

    def report(progress: Progress) -> None:
        said.append(progress.message)
        if len(said) == 2:
            reported.set()

    with loaded_models.report_loading(RunContext(report)):
        assert reported.wait(20)
    assert said == ["Loading the model, about 4 s", "Loading the model takes longer than usual (about 4 s)"]


def test_what_is_loaded_later_takes_no_time_worth_a_word(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    with loaded_models.report_loading(RunContext(lambda progress: said.append(progress.message))):
        pass
    assert said == ["Loading the model"]
    assert not loaded_models._timing_file().exists()


@pytest.mark.parametrize("content", ["", "{}", "[3]", '{"seconds": "long"}', '{"seconds": -4}'])
def test_a_memory_that_cannot_be_read_is_as_none(said: list[str], monkeypatch, content: str) -> None:
    loaded_models._timing_file().parent.mkdir()
    loaded_models._timing_file().write_text(content)
    load(said, 2.0, monkeypatch)
    assert said == ["Loading the model, about 4 s"]
    assert json.loads(loaded_models._timing_file().read_text()) == {"seconds": 2.0}


def test_the_memory_lies_with_the_other_state_of_the_program() -> None:
    assert loaded_models._timing_file().parent == user_state_path("napari-melanoma", appauthor=False)


def test_a_case_that_is_asked_about_again_loads_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    def classifier(info) -> SimpleNamespace:
        loads.append(info.name)
        return SimpleNamespace(judge=SimpleNamespace(warm=lambda: None))

    monkeypatch.setattr(Classifier, "load", classifier)
    monkeypatch.setattr(predictions, "predict_case", lambda store, model, run, draw: model)
    loaded_models._classifier.cache_clear()
    try:
        first, second = (predictions.predict_case_with(None, "", RunContext()) for _ in range(2))
    finally:
        loaded_models._classifier.cache_clear()
    assert first is second
    assert loads == ["melanoma-small"]
