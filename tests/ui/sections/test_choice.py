"""Which sections of a dock are shown: a table of choices, and the dialog that lists all sections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_melanoma.ui.sections.choice import (
    CONTENT,
    FULL_TIP,
    MAX_SHOWN,
    SectionChoice,
    SectionDialog,
    SectionDock,
    resolve_shown,
)
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import section

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

TEN = tuple("ABCDEFGHIJ")


@dataclass(frozen=True)
class Case:
    name: str
    shown: str
    titles: tuple[str, ...] = TEN
    chosen: dict[str, bool] = field(default_factory=dict)
    seldom: str = "BC"


CASES = [
    Case("all, if there are at most eight", "ABCDEFGH", titles=TEN[:8]),
    Case("without those that are seldom needed, if there are more", "ADEFGHIJ"),
    Case("the first ones, if there are still too many", "ABCDEFGH", seldom=""),
    Case("seldom needed ones while there is room", "ABDEFGHI", titles=TEN[:9]),
    Case("a chosen one instead of the last one", "ABDEFGHI", chosen={"B": True}),
    Case("fewer than eight, if others are not wanted", "AB", titles=("A", "B", "D"), chosen={"D": False}),
    Case("the next one instead of one that is not wanted", "ABDEFGHI", chosen={"J": False}),
    Case("a title that is not installed any more takes no room", "ADEFGHIJ", chosen={"Z": True}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_shown_sections(case: Case) -> None:
    assert "".join(resolve_shown(case.titles, case.chosen, case.seldom)) == case.shown


class Dock(SectionDock):
    """Ten sections, two of which are seldom needed."""

    name = "slide"
    seldom_shown = ("B", "C")

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
    dock.choice.find_content = lambda: ["B"]
    for _ in range(2):
        dock.choice.button.click()
    (dialog,) = dock.findChildren(SectionDialog)
    assert [label.text() for label in dialog.findChildren(QLabel)].count(CONTENT) == 1
    box = dialog.boxes["B"]
    assert (box.isEnabled(), box.toolTip()) == (False, FULL_TIP)
    dialog.boxes["J"].click()
    assert box.isEnabled()
    box.click()
    assert not dialog.boxes["J"].isEnabled()
    assert dock.shown == "ABDEFGHI"
    assert len(dock.shown) == MAX_SHOWN
    dialog.close()
    again = Dock()
    qtbot.addWidget(again)
    assert again.shown == "ABDEFGHI"


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
