"""Models are loaded once per process, and a long import of torch is reported."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest

from napari_melanoma.case import results
from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.context import RunContext
from napari_melanoma.lesion import loaded_models


def record(messages: list[str]) -> RunContext:
    return RunContext(lambda progress: messages.append(progress.message))


@pytest.mark.parametrize(
    ("imports_torch", "expected"),
    [(True, [loaded_models.LOADING, loaded_models.LOADING_TORCH]), (False, [loaded_models.LOADING])],
)
def test_a_long_import_of_torch_is_reported(monkeypatch: pytest.MonkeyPatch, imports_torch: bool, expected) -> None:
    messages: list[str] = []
    monkeypatch.setattr(loaded_models, "SLOW_S", 0.01)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with loaded_models.report_loading(record(messages)):
        if imports_torch:
            monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
        time.sleep(0.1)
    assert messages == expected


@pytest.mark.parametrize("is_loaded", [True, False], ids=["torch was loaded before", "torch is loaded quickly"])
def test_a_short_load_has_one_message(monkeypatch: pytest.MonkeyPatch, is_loaded: bool) -> None:
    messages: list[str] = []
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    if is_loaded:
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    with loaded_models.report_loading(record(messages)):
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert messages == [loaded_models.LOADING]


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
