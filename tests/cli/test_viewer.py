"""The process of the viewer: an explained error without a display, the signals that end it, and its environment."""

from __future__ import annotations

import os
import signal
import sys
from io import StringIO
from types import SimpleNamespace

import pytest

from napari_melanoma import cli
from napari_melanoma.api import classification
from napari_melanoma.api.inputs import to_run
from napari_melanoma.cli import application, session
from napari_melanoma.cli.application import DISPLAY_VARIABLES, call_ui
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.slides.cohort import _set_thread_count


@pytest.mark.skipif(sys.platform != "linux", reason="Windows and macOS have a display, or Qt finds none")
def test_a_missing_display_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DISPLAY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MelanomaError, match=r"no window can be opened.*xvfb-run"):
        call_ui("open", "open_viewer", [])


def test_each_signal_that_stops_a_command_ends_the_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(session, "SIGNALS", ("SIGINT", "SIGTERM", "SIGUSR1", "SIGOTHER"))  # SIGBREAK is of Windows
    monkeypatch.setattr(application, "import_module", lambda name: SimpleNamespace(end=lambda: None))
    reset: dict[int, object] = {}
    monkeypatch.setattr(signal, "signal", reset.__setitem__)
    call_ui("launch", "end")
    assert reset == dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGUSR1), signal.SIG_DFL)


def test_mps_fallback_is_set_before_torch_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "app", lambda **_: None)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=lambda count: None))
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=1))
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(get_worker=lambda: worker))
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, StringIO())  # whose encoding is not changed
    monkeypatch.setattr("napari_melanoma.lesion.loaded_models.load_classifier", lambda path: None)

    def load_classifier() -> None:
        classification._load_classifier("melanoma-small", None)  # type: ignore[arg-type]

    for start in (cli.main, lambda: to_run(None), load_classifier, _set_thread_count):
        monkeypatch.setattr(os, "environ", {"OMP_WAIT_POLICY": "ACTIVE"})
        start()
        for name in ("OMP_NUM_THREADS", "PYDANTIC_DISABLE_PLUGINS"):  # of a worker, and of the command line
            os.environ.pop(name, None)
        assert os.environ == {"OMP_WAIT_POLICY": "ACTIVE", "PYTORCH_ENABLE_MPS_FALLBACK": "1"}
