"""The panel of an analysis sends each command to the analysis for which it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from conftest import wait_until_idle
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.ui.session.run_status import SlideRunPanel


@pytest.fixture
def panel(qtbot: QtBot) -> SlideRunPanel:
    made = SlideRunPanel()
    qtbot.addWidget(made)
    return made


def test_several_analyses_are_canceled_at_once(qtbot: QtBot, panel: SlideRunPanel, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
        panel.set_folder(folder)
        panel.buttons.command_requested.emit("cancel")
    panel.send_command("pause", folders[1])
    panel.send_command("cancel", folders[1])
    panel.set_folder(None)
    wait_until_idle(qtbot, panel)
    assert [RunFolder(folder).read_command() for folder in folders] == ["cancel"] * 3
