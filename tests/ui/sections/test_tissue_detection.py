"""Detection of tissue in the background: the latest request counts, and corrections are kept."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from psygnal import Signal
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal

from conftest import wait_until_idle
from napari_melanoma.core.context import RunContext
from napari_melanoma.slides import tissue
from napari_melanoma.ui.sections.tissue.detection import CORRECTED, TissueDetections
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.tissue import TissueState

MASK = np.eye(4, dtype=bool)


class Status(QObject):
    """The status line of a dock."""

    cancelled = QtSignal(str)
    is_in_view = True

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def begin(self, task: str, text: str) -> None:
        pass

    def end(self, task: str, text: str = "") -> None:
        pass

    def show_message(self, text: str) -> None:
        self.messages.append(text)


class Sessions(dict[str, Any]):
    """The sessions of the open slides."""

    changed = Signal()


class Detecting:
    """Detections of an open slide, whose detection by the method ``otsu`` waits for ``may_end``."""

    def __init__(self, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
        self.qtbot, self.begun, self.may_end = qtbot, Event(), Event()
        self.is_stopped = False
        monkeypatch.setattr(tissue, "read_overview", lambda slide: None)
        monkeypatch.setattr(tissue, "tissue_of_overview", self._detect)
        self.status = Status()
        self.sessions, self.found, self.canceled = Sessions(), [], []
        self.detections = TissueDetections(self.status, self.sessions)
        self.detections.detected.connect(lambda session, found: self.found.append((session, found.method)))
        self.detections.canceled.connect(lambda session, method: self.canceled.append(method))

    def _detect(
        self, info: object, overview: object, config: tissue.TissueConfig, size: object, run: RunContext
    ) -> tuple[Any, Any]:
        if config.method == "otsu":
            self.begun.set()
            assert self.may_end.wait(10)
            self.is_stopped = run.cancelled
        return MASK, ()

    def opens(self) -> Any:
        info = SimpleNamespace(path=None, name="slide", pixel_size=None, view="")
        session = SimpleNamespace(
            identity="slide",
            slide=SimpleNamespace(info=info, slide=SimpleNamespace(info=info)),
            tissue=Shared(TissueState()),
            corrected_tissue=None,
        )
        self.sessions["slide"] = session
        self.sessions.changed.emit()
        return session

    def requests(self, session: Any, method: str) -> None:
        session.tissue.set(TissueState(method))
        self.detections.start(session, "auto")

    def ends(self) -> None:
        self.may_end.set()
        wait_until_idle(self.qtbot, self.detections)


@pytest.fixture
def detecting(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Detecting:
    monkeypatch.setattr(
        "napari_melanoma.ui.sections.tissue.detection.slide_display_name", lambda info: info.name, raising=True
    )
    return Detecting(qtbot, monkeypatch)


def test_the_latest_method_counts(detecting: Detecting) -> None:
    session = detecting.opens()
    detecting.requests(session, "otsu")
    detecting.qtbot.waitUntil(detecting.begun.is_set)
    detecting.requests(session, "entropy")
    detecting.ends()
    assert detecting.found == [(session, "entropy")]
    assert detecting.is_stopped, "the one that it replaces"


def test_a_slide_that_is_opened_again_gets_its_own_tissue(detecting: Detecting) -> None:
    detecting.requests(detecting.opens(), "otsu")
    detecting.qtbot.waitUntil(detecting.begun.is_set)
    del detecting.sessions["slide"]
    detecting.sessions.changed.emit()
    session = detecting.opens()
    detecting.requests(session, "entropy")
    detecting.ends()
    assert detecting.found == [(session, "entropy")]
    assert detecting.is_stopped, "that of the closed slide"


@pytest.mark.parametrize(
    ("before", "after", "is_replaced"),
    [
        (None, None, True),
        (MASK, MASK.copy(), True),
        (None, MASK, False),
        (MASK, ~MASK, False),
        (MASK, None, True),
    ],
)
def test_corrections_since_the_request_are_kept(
    detecting: Detecting, before: Any, after: Any, is_replaced: bool
) -> None:
    session = detecting.opens()
    session.corrected_tissue = before
    detecting.requests(session, "otsu")
    detecting.qtbot.waitUntil(detecting.begun.is_set)
    session.corrected_tissue = after
    detecting.ends()
    assert (len(detecting.found), detecting.canceled) == ((1, []) if is_replaced else (0, ["auto"]))
    assert (CORRECTED.format("slide") in detecting.status.messages) is not is_replaced
