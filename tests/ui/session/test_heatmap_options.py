"""The heatmap options that all photographs share are stored, and what has failed is tried again after a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_melanoma.classification.prediction import METHODS
from napari_melanoma.ui.session.heatmap_options import HEATMAP_METHODS, HeatmapOptions, SharedHeatmapOptions
from napari_melanoma.ui.session.lesion_prediction import ClassifierInput, LesionPredictionRequest
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = LesionPredictionRequest("mole", ClassifierInput("small", "image", "mask"), (), "grad_cam")


@pytest.fixture
def settings(home: Path) -> DockSettings:
    return DockSettings()


def test_every_method_can_be_selected() -> None:
    assert tuple(HEATMAP_METHODS) == METHODS


def test_options_are_used_next_time_without_the_class(settings: DockSettings) -> None:
    options = SharedHeatmapOptions(settings)
    assert options.value == HeatmapOptions()
    options.edit(is_shown=True, method="occlusion", target="nevus", opacity=20)
    assert options.value == HeatmapOptions(True, "occlusion", "nevus", 20)
    assert SharedHeatmapOptions(settings).value == HeatmapOptions(True, "occlusion", opacity=20)


def test_a_method_of_another_version_is_not_used(settings: DockSettings) -> None:
    settings.set("lesion/heatmap_method", "removed")
    assert SharedHeatmapOptions(settings).value.method == "cam"


def test_a_failure_is_kept_until_another_option_than_the_opacity_changes(settings: DockSettings) -> None:
    options, emitted = SharedHeatmapOptions(settings), []
    options.changed.connect(emitted.append)
    options.add_failure(REQUEST, "there is none.")
    options.edit(opacity=10)
    assert options.value.find_failure(REQUEST) == "there is none."
    assert options.value.find_failure(REQUEST._replace(method="cam")) == ""
    options.edit(method="cam")
    assert options.value.find_failure(REQUEST) == ""
    assert emitted[-1] is options.value
    assert len(emitted) == 3
