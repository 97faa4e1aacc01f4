"""What a package outside the tree adds to the Slide dock: a section and an export; errors of its code are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from qtpy.QtGui import QAction
from slide_fixtures import UNSEEN

from napari_melanoma.core.errors import PluginError
from napari_melanoma.slides.tissue_classifier.strokes import Stroke
from napari_melanoma.ui.sections import SECTIONS
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.guarded import GuardedSection
from napari_melanoma.ui.widgets.style import WrappedLabel

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
STROKE = Stroke("a", "Dermis", "cells", ((8.0, 8.0),))


@pytest.fixture(autouse=True)
def user_and_plugin(installed_plugin, user):
    """The package is installed before the dock opens."""


def opens_section(person, slide_path):
    person.opens_slides(slide_path)
    hosted = person.dock.sections.hosted
    person.until(lambda: "Strokes" in hosted.sections and hosted.sections["Strokes"].widget is not None)
    return hosted


@pytest.mark.path
def test_a_section_of_a_plugin_is_shown_and_follows_the_slide(person, slide_path):
    painted = opens_section(person, slide_path).session.painted
    assert person.label_text("example_strokes") == "Strokes on this slide: 0"
    painted.apply(lambda state: replace(state, strokes=(STROKE,)))
    assert person.label_text("example_strokes") == "Strokes on this slide: 1"
    painted.undo()
    assert person.label_text("example_strokes") == "Strokes on this slide: 0"


def test_an_export_of_a_plugin_is_in_the_menu(analysed, tmp_path):
    menu = analysed.dock.share_button.menu()
    menu.aboutToShow.emit()
    menu.aboutToShow.emit()
    (action,) = menu.findChildren(QAction, "export_areas")
    assert action.text() == "Areas of lesions (text) (melanoma-example)..."
    texts = [one.text() for one in menu.actions()]
    assert texts.index(action.text()) < len(texts) - 3  # above the import and the folder
    action.trigger()
    analysed.chooses_file("export_dialog", tmp_path / "areas.txt")
    assert len((tmp_path / "areas.txt").read_text().splitlines()) == 2


def test_a_section_that_fails_states_its_package(person, slide_path, monkeypatch):
    def fail(*_):
        raise KeyError("magnification")

    monkeypatch.setattr(SECTIONS.members["Strokes"], "__init__", fail)
    hosted = opens_section(person, slide_path)
    label = hosted.sections["Strokes"].widget
    assert isinstance(label, WrappedLabel)
    assert "'Strokes' of melanoma-example 1.0 cannot be used" in label.text()
    assert "KeyError: 'magnification'" in label.text()
    person.until(lambda: hosted.sections["Paint"].is_shown)


class FailingSection(SlideSection):
    """Fails on a slide until ``fault`` is cleared, and in its tool."""

    tools = ("measure",)
    fault = "magnification"

    def __init__(self, session):
        if self.fault:
            raise KeyError(self.fault)
        super().__init__(session)

    def toggle_tool(self, name):
        raise KeyError("tool")


def test_a_section_that_failed_on_a_slide_is_available_on_the_next(person, monkeypatch, qtbot):
    person.until(lambda: "Strokes" in person.dock.sections.hosted.sections)
    section = GuardedSection(SECTIONS.find_plugin("Strokes"), FailingSection)
    assert "KeyError: 'magnification'" in section(None).text()
    monkeypatch.setattr(FailingSection, "fault", "")
    qtbot.addWidget(made := section(None))
    with pytest.raises(PluginError, match="KeyError: 'tool'"):
        made.toggle_tool("measure")


def test_a_plugin_does_not_replace_a_section_of_the_dock(person):
    hosted, errors = person.dock.sections.hosted, []
    person.until(lambda: "Strokes" in hosted.sections)
    hosted.failed.connect(errors.append)
    hosted._on_found({"File metadata": GuardedSection(SECTIONS.find_plugin("Strokes"), SECTIONS.members["Strokes"])})
    assert "File metadata" not in hosted.sections
    assert "expected a new title, found that of the section File metadata" in str(errors[0])
