"""Which sections of a dock are shown: by default, by content and by the user's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_melanoma.ui.sections.choice import (
    CONTENT,
    SectionChoice,
    SectionDialog,
    SectionDock,
)
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
        for frame in self.frames.values():
            layout.addWidget(frame)
        self.choice = SectionChoice(self)
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


def test_the_choice_is_made_in_the_dialog_and_remembered(dock: Dock, qtbot: QtBot) -> None:
    assert dock.shown == "ADEFGHIJ"
    for _ in range(2):
        dock.choice.button.click()
    (dialog,) = dock.findChildren(SectionDialog)
    for title in "BCJ":
        dialog.boxes[title].click()
    assert dock.shown == "ABCDEFGHI"  # as many as the user wants
    dialog.close()
    again = Dock()
    qtbot.addWidget(again)
    assert again.shown == "ABCDEFGHI"


def test_a_section_with_content_is_shown_unless_the_user_hides_it(dock: Dock) -> None:
    dock.choice.find_content = lambda: ["B", "C"]
    dock.choice.update()
    assert dock.shown == "".join(TEN)
    dock.choice.button.click()
    (dialog,) = dock.findChildren(SectionDialog)
    assert [label.text() for label in dialog.findChildren(QLabel)].count(CONTENT) == 2
    dialog.boxes["B"].click()
    assert dock.shown == "ACDEFGHIJ"
    dock.choice.find_content = list  # of another slide
    dock.choice.update()
    assert dock.shown == "ADEFGHIJ"


def test_a_hidden_section_is_collapsed_and_shown_again_as_it_was(dock: Dock) -> None:
    frames = dock.frames
    assert not frames["B"].is_expanded
    assert dock.settings.is_section_open("B_section", default=True)
    dock.choice.choose("J", False)
    frames["A"].collapse()
    dock.choice.choose("A", False)
    for title in ("A", "B"):
        dock.choice.choose(title, True)
    assert (frames["A"].is_expanded, frames["B"].is_expanded) == (False, True)


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
