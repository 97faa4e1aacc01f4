"""The heatmap options that all photographs share are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_melanoma.ui.session.photograph_predictions import HeatmapOptions, SharedHeatmapOptions
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(home: Path) -> DockSettings:
    return DockSettings()


def test_options_are_used_next_time_without_the_class(settings: DockSettings) -> None:
    options = SharedHeatmapOptions(settings)
    assert options.value == HeatmapOptions()
    options.edit(is_shown=True, method="occlusion", target="nevus", opacity=20)
    assert options.value == HeatmapOptions(True, "occlusion", "nevus", 20)
    assert SharedHeatmapOptions(settings).value == HeatmapOptions(True, "occlusion", opacity=20)


def test_a_method_of_another_version_is_not_used(settings: DockSettings) -> None:
    settings.set("lesion/heatmap_method", "grad_cam")
    assert SharedHeatmapOptions(settings).value.method == "cam"
