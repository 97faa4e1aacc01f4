"""Predictions and heatmaps of photographs without a dock: what is dropped, canceled, and what has failed."""

from __future__ import annotations

from functools import partial
from queue import Queue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest
from napari.components import ViewerModel
from patience import PATIENCE_S
from psygnal import Signal
from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal

from conftest import wait_until_idle
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import capitalize
from napari_melanoma.ui.session.open_photograph import PhotographSessions
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.session.photograph_predictions import (
    HeatmapKey,
    PhotographPredictions,
    PredictionHeatmap,
    PredictionOutcome,
)
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

SHAPE = (6, 8)
PREDICTION: Any = SimpleNamespace(
    classes=("nevus", "melanoma"), positive="melanoma", predicted="nevus", unused=(), used_columns=frozenset()
)
ERROR = InputError("there is not enough memory")


class Request:
    """A call of the worker, which the test answers."""

    def __init__(self, name: str) -> None:
        self.name, self.is_canceled = name, False
        self.answer: Queue[Exception] = Queue()

    def cancel(self) -> None:
        self.is_canceled = True
        self.answer.put(Cancelled())


class Controller(QObject):
    """Has the photographs of a viewer, which do not change."""

    changed = Signal(object)

    def __init__(self, sessions: PhotographSessions) -> None:
        super().__init__()
        self.sessions, self.watcher = sessions, Mock()


class Classifier(QObject):
    """One model for all photographs."""

    changed = QtSignal()
    has_models = True

    def model_for(self, modality: str | None) -> str:
        return "small"


class Status(QObject):
    """A status line that shows nothing."""

    cancelled = QtSignal(str)
    text = ""

    def begin(self, *_: object) -> None: ...
    def progress(self, *_: object) -> None: ...
    def end(self, *_: object) -> None: ...


class Predictions:
    """Two photographs with predictions, whose heatmaps are shown."""

    def __init__(self, qtbot: QtBot) -> None:
        viewer = ViewerModel()
        for name in ("first", "second"):
            viewer.add_image(np.zeros((*SHAPE, 3), np.uint8), rgb=True, name=name)
        sessions = PhotographSessions(viewer, partial(PhotographSession, services=Mock()))
        self.first, self.second = sessions.update()
        self.parent, self._qtbot = QObject(), qtbot
        self.sent: list[Request] = []  # to the worker
        client: Any = SimpleNamespace(call=self._call)
        parts: tuple[Any, ...] = (Controller(sessions), client, Classifier(self.parent), Status(self.parent))
        self.predictions = PhotographPredictions(*parts, DockSettings(), self.parent)
        self.options, self.controller = self.predictions.heatmap_options, parts[0]
        self.failures: list[Exception] = []
        self.predictions.failed.connect(self.failures.append)
        self.options.edit(is_shown=True)
        for session in (self.first, self.second):
            session.lesion = make_lesion()
            self.predictions.refresh(session)
            assert session.prediction_key is not None
            session.prediction = PredictionOutcome(session.prediction_key, PREDICTION)
        wait_until_idle(qtbot)
        assert not self.sent, "they are up to date"

    def _call(self, run: RunContext, function: Callable[..., object], *arguments: object) -> None:
        request = Request(function.__name__)
        with run.stopped_by(request.cancel):
            self.sent.append(request)
            raise request.answer.get(timeout=PATIENCE_S)

    def requests(self, session: PhotographSession) -> HeatmapKey:
        """Request the heatmap of a photograph as its layer does, until the worker has the request."""
        key = self.options.value.make_key(session.prediction)
        assert key is not None
        count = len(self.sent)
        self.predictions.request_heatmap(session)
        self._qtbot.waitUntil(lambda: len(self.sent) > count)
        return key

    def fails(self, session: PhotographSession) -> None:
        """The worker cannot compute a heatmap."""
        self.requests(session)
        self.answer(-1)

    def answer(self, index: int) -> None:
        """Fail a request, and wait until that is processed."""
        self.sent[index].answer.put(ERROR)
        queue = self.predictions.queue
        job = queue._job
        self._qtbot.waitUntil(lambda: queue._job is not job)


def make_lesion(mask_digest: str = "mask") -> Any:
    photograph = SimpleNamespace(rgb=np.zeros((*SHAPE, 3), np.uint8), modality=None, damage=None)
    result = SimpleNamespace(mask=np.ones(SHAPE, bool), photograph=photograph, lesions_found=1, modality=None)
    return SimpleNamespace(result=result, image_digest="image", mask_digest=mask_digest)


@pytest.fixture
def predictions(qtbot: QtBot, home: Path) -> Iterator[Predictions]:
    made = Predictions(qtbot)
    yield made
    made.predictions.cancel()
    wait_until_idle(qtbot)
    made.parent.deleteLater()


def test_a_result_whose_key_has_changed_is_dropped(predictions: Predictions, qtbot: QtBot) -> None:
    session = predictions.first
    before, session.lesion = session.prediction, make_lesion("edited")
    predictions.predictions.refresh(session)
    qtbot.waitUntil(lambda: len(predictions.sent) == 1)
    session.lesion = make_lesion("edited again")
    predictions.predictions.refresh(session)
    predictions.answer(0)
    assert session.prediction is before
    qtbot.waitUntil(lambda: len(predictions.sent) == 2)
    predictions.answer(1)
    assert session.current_prediction is not None
    assert (session.current_prediction.key.mask_digest, session.current_prediction.error) == (
        "edited again",
        str(ERROR),
    )
    wait_until_idle(qtbot)
    assert [request.name for request in predictions.sent] == ["classify", "classify"]


def test_a_canceled_heatmap_is_computed_when_it_is_requested_again_and_a_computed_one_stays(predictions: Predictions):
    first, second = predictions.first, predictions.second
    key = predictions.requests(first)
    predictions.predictions.cancel()
    assert predictions.sent[-1].is_canceled
    assert first.heatmap is not None
    assert (first.heatmap.key, first.heatmap.values, first.heatmap.error) == (key, None, "")
    assert second.heatmap is None, "it was not requested"
    assert first.prediction is not None
    assert first.prediction.prediction is PREDICTION
    predictions.options.edit(is_shown=False)
    assert first.heatmap is None
    # One that is computed stays when another is canceled.
    predictions.options.edit(is_shown=True)
    heatmap = PredictionHeatmap(predictions.requests(first), np.ones(SHAPE, np.float32))
    predictions.predictions.cancel()
    first.heatmap = heatmap
    predictions.requests(second)
    predictions.predictions.cancel()
    assert first.heatmap is heatmap
    assert second.heatmap is not None
    assert second.heatmap.values is None


def test_a_failed_heatmap_is_that_of_one_photograph_one_method_and_one_model(predictions: Predictions):
    first, second = predictions.first, predictions.second
    predictions.fails(first)
    assert predictions.failures == [ERROR]
    assert first.heatmap is not None
    assert capitalize(str(ERROR)) in first.heatmap.error
    assert second.heatmap is None
    predictions.options.edit(opacity=10)
    assert first.heatmap is not None
    predictions.options.edit(method="occlusion")
    assert first.heatmap is None
    predictions.fails(first)
    user_data().models_changed.emit("small")
    assert first.heatmap is None


def test_the_failure_of_an_outdated_heatmap_is_not_shown(predictions: Predictions) -> None:
    first = predictions.first
    predictions.requests(first)
    predictions.options.edit(method="occlusion")
    predictions.answer(-1)
    assert (first.heatmap, predictions.failures) == (None, [])


def test_the_response_of_a_model_that_was_replaced_meanwhile_is_ignored(predictions: Predictions, qtbot: QtBot) -> None:
    predictions.requests(predictions.first)
    user_data().models_changed.emit("small")
    assert not predictions.sent[0].is_canceled
    predictions.answer(0)
    qtbot.waitUntil(lambda: len(predictions.sent) == 2)
    assert predictions.first.heatmap is None
    assert predictions.failures == []
