"""Which sections the Slide dock shows to a user who has chosen none, and which models it offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fake_slides import FakeAnalysis
from slide_fixtures import UNSEEN

from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.slide.reading_mode import SectionTabs

if TYPE_CHECKING:
    from pathlib import Path

    from slide_fixtures import Pathologist

_, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
BASIC = {"Paint", "Regions", "Measure", "Depth", "Synoptic report"}
ANALYSIS = {"Analysis", "Heatmap", "Lesions", "Risk"}
PHANTOM = "napari_melanoma.phantoms.recognition.is_phantom"


@pytest.fixture
def user(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first session of a user."""
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    return home


def shown(person: Pathologist) -> set[str]:
    return {title for title, frame in person.dock.choice.list_frames().items() if not frame.isHidden()}


def offered(person: Pathologist) -> list[str]:
    combo = person.dock.model_picker.combo
    return [combo.itemData(index) for index in range(combo.count())]


def test_a_real_slide_shows_no_analysis_before_there_is_a_model(
    person: Pathologist, slide_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.opens_slides(slide_path)
    assert shown(person) == BASIC
    assert offered(person) == ["other"]
    tabs = SectionTabs(person.dock)
    tabs._show_buttons()
    labels = [label for label, button in tabs.buttons.items() if not button.isHidden()]
    assert labels == ["Slide", "Paint", "Measure", "Depth", "Synoptic report", "Regions"]

    # With the first model that is not a demonstration, it does.
    monkeypatch.setattr(BundleConfig, "is_demonstration", False)
    models_changed().changed.emit("")
    assert shown(person) == BASIC | ANALYSIS
    assert "tile-demo" in offered(person)
    assert not tabs.buttons["Analysis"].isHidden()
    person.clicks("more_sections")
    assert shown(person) > BASIC | ANALYSIS | {"Overview", "Tissue"}
    person.clicks("more_sections")
    assert shown(person) == BASIC | ANALYSIS


def test_a_sample_slide_shows_the_analysis_and_offers_demonstrations(
    person: Pathologist, slide_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PHANTOM, lambda path: True)
    person.opens_slides(slide_path)
    assert shown(person) == BASIC | ANALYSIS
    assert person.dock.model_picker.model == "tile-demo"


def test_a_refresh_of_the_dock_reads_no_values_but_new_results_do(
    analysed: Pathologist, monkeypatch: pytest.MonkeyPatch
) -> None:
    dock, asked = analysed.dock, list[str]()
    monkeypatch.setattr(dock.choice, "find_content", lambda: asked.append("") or ())
    dock.refresh()
    assert not asked
    analysed.session.results.changed.emit(analysed.session.results.value)
    assert asked


def test_a_slide_with_results_shows_their_sections(person: Pathologist, slide_path: Path) -> None:
    folder = background_runs.slide_folder(person.dock.run_manager.root, slide_path)
    FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().finishes()
    person.opens_slides(slide_path)
    assert shown(person) == BASIC | ANALYSIS - {"Analysis", "Risk"}
