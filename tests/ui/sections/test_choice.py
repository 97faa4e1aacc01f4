"""Which sections of a dock are shown: by default, by content, and with More sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_melanoma.ui.sections.choice import SectionChoice, SectionDock
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import section

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

TEN = tuple("ABCDEFGHIJ")


class Dock(SectionDock):
    """Ten sections, two of which are not shown by default."""

    name = "slide"

    def __init__(self) -> None:
        super().__init__()
        self.settings = DockSettings()
        self.frames = {title: section(title, f"{title}_section", None, self.settings, True) for title in TEN}
        layout = QVBoxLayout(self)
        self.choice = SectionChoice(self)
        for widget in (*self.frames.values(), self.choice.button):
            layout.addWidget(widget)
        self.choice.update()

    def list_places(self) -> dict[str, QWidget]:
        return dict(self.frames)

    def list_default(self) -> set[str]:
        return {*TEN} - {"B", "C"}

    @property
    def shown(self) -> str:
        return "".join(title for title, frame in self.frames.items() if not frame.isHidden())


@pytest.fixture
def dock(qtbot: QtBot, home: Path) -> Dock:
    made = Dock()
    qtbot.addWidget(made)
    return made


def test_the_others_are_one_click_away_and_that_is_remembered(dock: Dock, qtbot: QtBot) -> None:
    assert dock.shown == "ADEFGHIJ"
    dock.choice.button.click()
    assert dock.shown == "".join(TEN)
    again = Dock()
    qtbot.addWidget(again)
    assert again.shown == "".join(TEN)
    again.choice.button.click()
    assert again.shown == "ADEFGHIJ"


def test_a_section_with_content_is_shown(dock: Dock) -> None:
    dock.choice.find_content = lambda: ["B"]
    dock.choice.update()
    assert dock.shown == "ABDEFGHIJ"
    assert not dock.choice.button.isHidden()
    dock.choice.find_content = lambda: ["B", "C"]
    dock.choice.update()
    assert dock.shown == "".join(TEN)
    assert dock.choice.button.isHidden(), "there are no others"
    dock.choice.find_content = list  # of another slide
    dock.choice.update()
    assert dock.shown == "ADEFGHIJ"


def test_a_hidden_section_is_collapsed_and_shown_again_as_it_was(dock: Dock) -> None:
    frames, choice = dock.frames, dock.choice
    assert not frames["B"].is_expanded
    assert dock.settings.is_section_open("B_section", default=True)
    choice.button.click()
    assert (frames["B"].is_expanded, frames["C"].is_expanded) == (True, True)
    frames["C"].collapse()
    for _ in range(2):
        choice.button.click()
    assert (frames["B"].is_expanded, frames["C"].is_expanded) == (True, False)


def test_a_shortcut_shows_a_hidden_section_in_addition_until_the_dock_is_closed(dock: Dock, qtbot: QtBot) -> None:
    dock.frames["C"].expand()
    assert dock.shown == "ACDEFGHIJ"
    again = Dock()
    qtbot.addWidget(again)
    assert again.shown == "ADEFGHIJ"


def test_a_section_that_is_not_needed_for_an_image_stays_chosen(dock: Dock) -> None:
    dock.choice.set_needed("A", False)
    assert dock.shown == "DEFGHIJ"
    assert not dock.choice.is_hidden("A")
    dock.choice.set_needed("A", True)
    assert dock.shown == "ADEFGHIJ"
