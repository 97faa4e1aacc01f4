"""Predictions and heatmaps of photographs without a dock: what is canceled and what has failed."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest
from napari.components import ViewerModel
from psygnal import Signal
from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal

from conftest import wait_until_idle
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import capitalize
from napari_melanoma.ui.session.heatmap_options import SharedHeatmapOptions
from napari_melanoma.ui.session.lesion_prediction import LesionPredictionOutcome, PredictionHeatmap
from napari_melanoma.ui.session.photograph import PhotographSession, PhotographSessions
from napari_melanoma.ui.session.photograph_predictions import PhotographPredictions
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from napari_melanoma.ui.session.lesion_prediction import LesionPredictionRequest

SHAPE = (6, 8)
PREDICTION: Any = SimpleNamespace(classes=("nevus", "melanoma"), positive="melanoma", predicted="nevus")
ERROR = InputError("there is not enough memory")


class Request(QObject):
    """A request that the worker never answers."""

    progressed, succeeded, failed = (QtSignal(object) for _ in range(3))

    def cancel(self) -> None:
        """Nothing is to be stopped."""

    def ignore(self) -> None:
        self.blockSignals(True)


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


class Predictions:
    """Two photographs with predictions, whose heatmaps are shown."""

    def __init__(self, folder: Path) -> None:
        viewer = ViewerModel()
        for name in ("first", "second"):
            viewer.add_image(np.zeros((*SHAPE, 3), np.uint8), rgb=True, name=name)
        sessions = PhotographSessions(viewer, partial(PhotographSession, services=Mock()))
        self.first, self.second = sessions.update()
        self.parent, self.controller = QObject(), Controller(sessions)
        self.sent: list[Request] = []  # to the worker
        client: Any = SimpleNamespace(folder=folder, request=self._send)
        self.options = SharedHeatmapOptions(DockSettings())
        parts: tuple[Any, Any] = (self.controller, client)
        self.predictions = PhotographPredictions(*parts, Classifier(self.parent), self.options, self.parent)  # type: ignore[arg-type]
        self.failures: list[Exception] = []
        self.predictions.failed.connect(self.failures.append)
        self.options.edit(is_shown=True)
        for session in (self.first, self.second):
            session.lesion = make_lesion()
            self.predictions.refresh(session)
            assert session.request is not None
            session.prediction = LesionPredictionOutcome(session.request, PREDICTION)
        self.predictions.queue.cancel()

    def _send(self, verb: str, **arguments: object) -> Request:
        self.sent.append(Request())
        return self.sent[-1]

    def requests(self, session: PhotographSession) -> LesionPredictionRequest:
        """Request the heatmap of a photograph as its layer does."""
        request = self.options.value.make_request(session.prediction)
        assert request is not None
        self.predictions.queue.submit(request)
        return request

    def fails(self, session: PhotographSession) -> None:
        """The worker cannot compute a heatmap."""
        self.predictions.queue.failed.emit(self.requests(session), ERROR)


def make_lesion() -> Any:
    photograph = SimpleNamespace(rgb=np.zeros((*SHAPE, 3), np.uint8), modality=None, damage=None)
    result = SimpleNamespace(mask=np.ones(SHAPE, bool), photograph=photograph, lesions_found=1, modality=None)
    return SimpleNamespace(result=result, image_digest="image", mask_digest="mask")


@pytest.fixture
def predictions(qtbot: QtBot, home: Path, tmp_path: Path) -> Iterator[Predictions]:
    made = Predictions(tmp_path)
    yield made
    made.predictions.cancel()
    wait_until_idle(qtbot)
    made.parent.deleteLater()


def test_a_canceled_heatmap_is_not_computed_before_it_is_requested_again(predictions: Predictions) -> None:
    first, second = predictions.first, predictions.second
    request = predictions.requests(first)
    predictions.predictions.cancel()
    assert first.heatmap is not None
    assert (first.heatmap.request, first.heatmap.values, first.heatmap.error) == (request, None, "")
    assert second.heatmap is None, "it was not requested"
    assert first.prediction is not None
    assert first.prediction.prediction is PREDICTION
    predictions.options.edit(opacity=10)
    assert first.heatmap is not None
    predictions.options.edit(is_shown=False)
    assert first.heatmap is None


def test_a_heatmap_that_is_computed_stays_when_another_is_canceled(predictions: Predictions) -> None:
    first, second = predictions.first, predictions.second
    heatmap = PredictionHeatmap(predictions.requests(first), np.ones(SHAPE, np.float32))
    predictions.predictions.cancel()
    first.heatmap = heatmap
    predictions.requests(second)
    predictions.predictions.cancel()
    assert first.heatmap is heatmap
    assert second.heatmap is not None
    assert second.heatmap.values is None


def test_a_failed_heatmap_is_that_of_one_photograph(predictions: Predictions) -> None:
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


def test_a_failed_heatmap_is_tried_again_on_request_and_with_a_replaced_model(predictions: Predictions) -> None:
    first = predictions.first
    predictions.fails(first)
    predictions.predictions.repeat_heatmap(first)
    assert first.heatmap is None
    predictions.fails(first)
    assert first.heatmap is not None
    models_changed().changed.emit("small")
    assert first.heatmap is None


def test_a_model_that_is_not_found_is_searched_once_until_the_models_change(
    predictions: Predictions, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Mock(side_effect=ERROR)
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.find_bundle", search)
    models_changed().changed.emit("small")
    search.reset_mock()
    for _ in range(3):
        predictions.predictions.refresh(predictions.first)
    assert search.call_count == 0
    models_changed().changed.emit("small")
    assert search.call_count > 0


def test_the_failure_of_an_outdated_heatmap_is_not_shown(predictions: Predictions) -> None:
    first = predictions.first
    request = predictions.requests(first)
    predictions.options.edit(method="occlusion")
    predictions.predictions.queue.failed.emit(request, ERROR)
    assert (first.heatmap, predictions.failures) == (None, [])


def test_the_response_of_a_model_that_was_replaced_meanwhile_is_ignored(predictions: Predictions, qtbot: QtBot) -> None:
    predictions.sent.clear()
    predictions.requests(predictions.first)
    qtbot.waitUntil(lambda: len(predictions.sent) == 1)
    models_changed().changed.emit("small")
    qtbot.waitUntil(lambda: len(predictions.sent) == 2)
    first, second = predictions.sent
    assert (first.signalsBlocked(), second.signalsBlocked()) == (True, False)
    assert predictions.first.heatmap is None
