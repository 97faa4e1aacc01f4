"""Which sections of a dock are shown: by default, by content, with More sections, and to a user who has chosen none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fake_slides import FakeAnalysis
from qtpy.QtWidgets import QVBoxLayout, QWidget
from slide_fixtures import UNSEEN
from slide_models import SKIN_TEST, install_slide_models

from napari_melanoma.models import DEFAULT_TILE_MODEL, installed_bundles
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, read_bundle
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.ui.sections.choice import SectionChoice, SectionDock
from napari_melanoma.ui.slide.reading_mode import SectionTabs
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import section

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot
    from slide_fixtures import Pathologist

TEN = tuple("ABCDEFGHIJ")
_, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
BASIC = {"Paint", "Regions", "Measure", "Depth", "Report"}
ANALYSIS = {"Heatmap", "Lesions", "Risk"}
PHANTOM = "napari_melanoma.phantoms.is_phantom"


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


@pytest.fixture
def user(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first session of a user whose installation has no models."""
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setattr(installed_bundles, "SHIPPED_FOLDER", home / "none")
    return home


def shown(person: Pathologist) -> set[str]:
    return {title for title, frame in person.dock.choice.list_frames().items() if not frame.isHidden()}


def offered(person: Pathologist) -> list[str]:
    combo = person.dock.model_picker.combo
    return [combo.itemData(index) for index in range(combo.count())]


def test_a_real_slide_shows_no_sections_of_an_analysis_before_there_is_a_model(
    person: Pathologist, slide_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.opens_slides(slide_path)
    assert shown(person) == BASIC
    assert offered(person) == ["other"]
    assert (person.dock.model_picker.model, person.dock.analyze_button.isEnabled()) == ("", False)
    assert "paint classes" in person.dock.analyze_button.toolTip()
    tabs = SectionTabs(person.dock)
    tabs._show_buttons()
    labels = [label for label, button in tabs.buttons.items() if not button.isHidden()]
    assert labels == ["Slide", "Paint", "Measure", "Analysis", "Depth", "Report", "Regions"]

    # With the first model that is not a demonstration, it does.
    install_slide_models()
    user_data().models_changed.emit("")
    assert shown(person) == BASIC
    monkeypatch.setattr(BundleConfig, "is_demonstration", False)
    user_data().models_changed.emit("")
    assert shown(person) == BASIC | ANALYSIS
    assert "tile-test" in offered(person)
    assert not tabs.buttons["Results"].isHidden()
    person.clicks("more_sections")
    assert shown(person) > BASIC | ANALYSIS | {"Overview", "Tissue"}
    person.clicks("more_sections")
    assert shown(person) == BASIC | ANALYSIS


def test_a_sample_slide_shows_the_analysis_and_offers_demonstrations(
    person: Pathologist, slide_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PHANTOM, lambda path: True)
    install_slide_models()
    person.opens_slides(slide_path)
    assert shown(person) == BASIC | ANALYSIS
    assert offered(person) == ["skin-test", "tile-test", "other"]
    assert person.dock.model_picker.model == ""


@pytest.mark.parametrize("stored", ["", "tile-demo"])  # tile-demo was the default, and is no longer included
def test_the_default_model_is_selected_unless_another_one_is_stored(
    user: Path, stored: str, slide_path: Path, request: pytest.FixtureRequest
) -> None:
    DockSettings().set("slide/model", stored)
    tissue = read_bundle(SKIN_TEST)
    config = tissue.config.model_copy(update={"title": "Tissue of skin"})
    installed_bundles.install_bundle(BundleInfo(tissue.path, config), DEFAULT_TILE_MODEL)
    person = request.getfixturevalue("person")
    person.opens_slides(slide_path)
    assert person.dock.model_picker.model == DEFAULT_TILE_MODEL
    assert shown(person) == BASIC | ANALYSIS
    assert offered(person) == [DEFAULT_TILE_MODEL, "other"]
    person.dock.model_picker.model = "tile-demo"  # of a stored result
    assert person.dock.model_picker.model == DEFAULT_TILE_MODEL


def test_a_slide_with_results_shows_their_sections(person: Pathologist, slide_path: Path) -> None:
    folder = background_runs.slide_folder(person.dock.settings.slide_results, slide_path)
    options = SlideOptions(model="skin-demo")  # a model that is no longer included
    FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path), "skin-demo", options=options).begins().finishes()
    person.opens_slides(slide_path)
    assert shown(person) == BASIC | ANALYSIS - {"Risk"}
    person.opens_section("Lesions")
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert person.dock.model_picker.model == ""
