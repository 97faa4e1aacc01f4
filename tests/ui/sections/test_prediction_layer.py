"""The layer of a heatmap without a dock: what the user changes in napari's list of layers is kept."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_melanoma.ui.sections.prediction import PhotographHeatmapLayer
from napari_melanoma.ui.session.open_photograph import PhotographSessions
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.session.photograph_predictions import (
    HeatmapKey,
    PredictionHeatmap,
    PredictionKey,
    PredictionOutcome,
    SharedHeatmapOptions,
)
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari.layers import Image
    from pytestqt.qtbot import QtBot

SHAPE = (6, 8)
PREDICTION: Any = SimpleNamespace(classes=("nevus", "melanoma"), positive="melanoma", predicted="melanoma")


class Photographs:
    """Two photographs with heatmaps, of which one is displayed at a time."""

    def __init__(self, qtbot: QtBot) -> None:
        self.viewer, self.options, self._qtbot = ViewerModel(), SharedHeatmapOptions(DockSettings()), qtbot
        self.requested: list[HeatmapKey | None] = []
        predictions = SimpleNamespace(heatmap_options=self.options, request_heatmap=self._request)
        services: Any = SimpleNamespace(predictions=predictions, status=None)
        for name in ("first", "second"):
            self.viewer.add_image(np.zeros((*SHAPE, 3), np.uint8), rgb=True, name=name)
        sessions = PhotographSessions(self.viewer, partial(PhotographSession, services=services))
        self.first, self.second = sessions.update()
        self.options.edit(is_shown=True)
        for session in (self.first, self.second):
            session.prediction = PredictionOutcome(PredictionKey("small", "image", "mask"), PREDICTION)
            self.explains(session)
        self.displays(self.first)

    def _request(self, session: PhotographSession) -> None:
        self.requested.append(self.options.value.make_key(session.prediction))

    def explains(self, session: PhotographSession) -> None:
        """Set the current heatmap of a photograph."""
        key = self.options.value.make_key(session.prediction)
        assert key is not None
        session.heatmap = PredictionHeatmap(key, np.ones(SHAPE, np.float32))

    def displays(self, session: PhotographSession) -> None:
        """Display a photograph as the dock does."""
        photographs.show_only(self.viewer, session.image)
        for other in (self.first, self.second):
            other.displayed.set(False)
        session.displayed.set(True)
        session.part(PhotographHeatmapLayer)  # type: ignore[arg-type]
        self.waits()

    def closes(self) -> None:
        for session in (self.first, self.second):
            session.end_parts()

    def waits(self) -> None:
        """Let Qt deliver what is due."""
        self._qtbot.wait(10)

    def heatmap(self, session: PhotographSession) -> Image | None:
        layer: Image | None = photographs.find_layer(self.viewer, session.image, "heatmap")
        return layer


@pytest.fixture
def shown(qtbot: QtBot, home: Path) -> Iterator[Photographs]:
    made = Photographs(qtbot)
    yield made
    made.closes()


def test_the_heatmap_of_the_displayed_photograph_is_shown(shown: Photographs) -> None:
    for session, other in ((shown.first, shown.second), (shown.second, shown.first), (shown.first, shown.second)):
        shown.displays(session)
        layer, hidden = shown.heatmap(session), shown.heatmap(other)
        assert layer is not None
        assert layer.visible
        assert hidden is None or not hidden.visible
    assert shown.options.value.is_shown
    assert not shown.requested


def test_a_heatmap_that_was_hidden_stays_hidden_until_it_is_shown_again(shown: Photographs) -> None:
    layer = shown.heatmap(shown.first)
    assert layer is not None
    layer.visible = False
    shown.waits()
    assert not shown.options.value.is_shown, "so that it is not saved"
    shown.displays(shown.second)
    shown.displays(shown.first)
    assert not layer.visible
    layer.visible = True
    shown.waits()
    assert shown.options.value.is_shown
    assert layer.visible


def test_a_heatmap_that_was_removed_is_not_added_again(shown: Photographs) -> None:
    shown.viewer.layers.remove(shown.heatmap(shown.first))
    shown.waits()
    assert not shown.options.value.is_shown
    shown.displays(shown.second)
    shown.displays(shown.first)
    assert shown.heatmap(shown.first) is None


def test_a_heatmap_that_is_switched_on_again_after_its_removal_can_be_hidden(shown: Photographs) -> None:
    shown.viewer.layers.remove(shown.heatmap(shown.first))
    shown.waits()
    shown.options.edit(is_shown=True)
    layer = shown.heatmap(shown.first)
    assert layer is not None
    assert layer.visible
    layer.visible = False
    shown.waits()
    assert not shown.options.value.is_shown


def test_a_heatmap_that_goes_with_its_photograph_stays_switched_on(shown: Photographs) -> None:
    layer = shown.heatmap(shown.first)
    assert layer is not None
    layer.visible = False
    shown.first.image.visible = False
    shown.waits()
    assert shown.options.value.is_shown
    shown.displays(shown.first)
    assert layer.visible
    shown.viewer.layers.remove(layer)
    shown.viewer.layers.remove(shown.first.image)
    shown.waits()
    assert shown.options.value.is_shown


def test_a_heatmap_comes_back_with_its_photograph_after_a_slide(shown: Photographs) -> None:
    layer = shown.heatmap(shown.first)
    assert layer is not None
    for hidden in (shown.first.image, layer):  # as for a slide
        hidden.visible = False
    shown.waits()
    photographs.show_only(shown.viewer, shown.first.image)  # the dock has displayed it all the time
    assert layer.visible
    layer.visible = False
    shown.waits()
    assert not shown.options.value.is_shown
    shown.first.image.visible = False
    photographs.show_only(shown.viewer, shown.first.image)
    assert not layer.visible


def test_the_opacity_applies_to_all_photographs(shown: Photographs) -> None:
    shown.displays(shown.second)
    heatmaps = shown.heatmap(shown.first), shown.heatmap(shown.second)
    shown.options.edit(opacity=20)
    assert [layer is not None and layer.opacity for layer in heatmaps] == [0.2, 0.2]
    assert heatmaps[1] is not None
    heatmaps[1].opacity = 0.35  # in napari's controls
    shown.waits()
    assert shown.options.value.opacity == 35
    assert [layer is not None and layer.opacity for layer in heatmaps] == [0.35, 0.35]


def test_an_outdated_heatmap_is_hidden_when_the_new_one_is_canceled(shown: Photographs) -> None:
    session, layer = shown.first, shown.heatmap(shown.first)
    assert layer is not None
    session.prediction = PredictionOutcome(PredictionKey("small", "image", "edited"), PREDICTION)
    (key,) = shown.requested
    assert key is not None
    assert layer.visible, "until the new one has been computed, which is fast"
    session.heatmap = PredictionHeatmap(key)  # canceled
    shown.waits()
    assert not layer.visible
    assert shown.options.value.is_shown
    session.heatmap = None
    assert shown.requested == [key, key]
