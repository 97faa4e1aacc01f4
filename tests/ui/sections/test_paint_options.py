"""The features that are selected in the Paint section."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QWidget

from napari_melanoma.slides.tissue_classifier.classifier import TissueFitOptions
from napari_melanoma.slides.tissue_classifier.feature_sources import SHIPPED_SOURCES
from napari_melanoma.ui.sections.paint.options import FEATURES_SETTING, OptionsRow
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import Connections, ThemedIcons


@pytest.mark.parametrize(
    ("stored", "sources"),
    [
        ("automatic", SHIPPED_SOURCES),
        ("texture", ("texture",)),
        ("encoder", SHIPPED_SOURCES),  # of an earlier version
    ],
)
def test_stored_features_are_those_of_the_command_line(
    qtbot: QtBot, user_folders: None, stored: str, sources: tuple[str, ...]
) -> None:
    settings = DockSettings()
    settings.set(FEATURES_SETTING, stored)
    window = QWidget()
    qtbot.addWidget(window)
    row = OptionsRow(settings, ThemedIcons(ViewerModel(), window, Connections()))
    qtbot.addWidget(row)
    assert row.fit == TissueFitOptions(sources=sources)
    with qtbot.waitSignal(row.changed):
        row.features_box.setCurrentIndex(row.features_box.findData("imagenet"))
    assert settings.get(FEATURES_SETTING, "") == "imagenet"
