"""Recent slides and cases on the start page of the Slide dock."""

from __future__ import annotations

import errno
import re
from html import unescape
from pathlib import Path

import pytest
from fake_slides import draw_slide
from qtpy.QtWidgets import QLabel
from slide_fixtures import UNSEEN

from conftest import photograph, wait_until_idle
from napari_melanoma.core.context import RunContext
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.slide_layers import list_slides
from napari_melanoma.ui.widgets.file_drop import (
    MAX_RECENT,
    RECENT_CASES,
    RECENT_SLIDES,
    RecentPaths,
    _find_missing,
)
from napari_melanoma.ui.widgets.settings import DockSettings

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


def test_the_latest_path_is_the_first(home):
    recent = RecentPaths(DockSettings(), RECENT_SLIDES)
    paths = [home / f"{number}.svs" for number in range(MAX_RECENT + 2)]
    for path in paths:
        recent.add(path)
    recent.add(paths[4])
    assert recent.paths == [paths[4], *(path for path in paths[:1:-1] if path != paths[4])]
    recent.remove(paths[4])
    assert recent.paths[0] == paths[-1]


def test_a_path_on_a_drive_that_is_not_available_is_missing(tmp_path, monkeypatch):
    def fail(path, **_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", fail)
        found = _find_missing([(tmp_path, False), (tmp_path / "case", True)], RunContext())
    assert found == {tmp_path, tmp_path / "case"}


def links_of(person):
    """Return the links of the start page by their texts."""
    text = person.finds(QLabel, "welcome_recent").text()
    return {
        unescape(name): unescape(target) for target, name in re.findall(r"<a href='([^']*)'[^>]*>([^<]*)</a>", text)
    }


def text_of(person):
    return re.sub("<[^>]*>", " ", person.finds(QLabel, "welcome_recent").text())


def follows(person, name):
    person.finds(QLabel, "welcome_recent").linkActivated.emit(links_of(person)[name])


def test_the_slides_that_were_open_together_are_reopened_together(person, slide_path, tmp_path):
    other = draw_slide(tmp_path / "other.tif", tint=4)
    person.opens_slides(slide_path)
    person.opens_slides(other)
    person.dock.show_file(slide_path)  # the first one is on screen at last
    person.waits()
    person.viewer.layers.clear()  # as napari does when its window is closed
    person.waits()
    person.until(lambda: "Reopen the last session (2)" in text_of(person))
    follows(person, "Reopen the last session (2)")
    person.until(lambda: {slide.info.path for slide in list_slides(person.viewer)} == {slide_path, other})
    person.waits()
    assert person.dock.slide.info.path == slide_path

    # A slide that the user closes is not part of it.
    person.clicks("close_slide")
    person.waits()
    assert len(RecentPaths(person.dock.settings, RECENT_SLIDES).session) == 1
    person.viewer.layers.clear()
    person.waits()
    assert "Reopen the last session" not in text_of(person)


def test_recent_slides_are_listed_and_open(person, slide_path, tmp_path):
    label = person.finds(QLabel, "welcome_recent")
    assert not label.isVisibleTo(person.dock)
    odd = tmp_path / "a 'b' & 100 %.tif"
    person.opens_slides(slide_path)
    person.opens_slides(draw_slide(odd, tint=4))
    person.clicks("close_slide")
    person.clicks("close_slide")
    person.waits()
    person.until(lambda: label.isVisibleTo(person.dock))
    assert list(links_of(person)) == ["clear", slide_path.name, odd.name]  # the one that was shown last is the first
    label.linkHovered.emit(links_of(person)[odd.name])
    assert label.toolTip() == str(odd)
    follows(person, odd.name)
    person.until(lambda: person.dock.slide is not None and person.dock.slide.info.path == odd)


def test_missing_files_can_be_removed_and_the_list_cleared(person, slide_path, tmp_path):
    moved = slide_path.with_name("elsewhere.tif")
    person.opens_slides(slide_path)
    person.clicks("close_slide")
    person.waits()
    slide_path.rename(moved)
    person.dock.recent.find_missing()
    person.until(lambda: f"{slide_path.name} (not found)" in text_of(person))
    assert list(links_of(person)) == ["clear", "remove"]
    follows(person, "remove")
    assert links_of(person) == {}
    assert RecentPaths(person.dock.settings, RECENT_SLIDES).paths == []

    # An image in a zarr folder is named with it.
    folder = tmp_path / "lung.zarr" / "image0"
    folder.mkdir(parents=True)
    RecentPaths(DockSettings(), RECENT_SLIDES).add(folder)
    person.opens_slides(moved)
    person.clicks("close_slide")
    person.waits()
    assert links_of(person)["lung.zarr/image0"].endswith(f":{folder}")

    follows(person, "clear")
    assert not person.finds(QLabel, "welcome_recent").isVisibleTo(person.dock)
    assert RecentPaths(person.dock.settings, RECENT_SLIDES).paths == []


def test_recent_cases_are_listed_and_open(person, tmp_path, monkeypatch):
    dock = show_dock(person.viewer, "Case")
    dock.controller.create(tmp_path / "P-1")
    person.until(lambda: dock.controller.case is not None)
    dock.controller.close()
    person.until(lambda: dock.controller.case is None)
    RecentPaths(person.dock.settings, RECENT_CASES).add(tmp_path / "gone")
    show_dock(person.viewer, "Slide")
    person.dock.recent.find_missing()
    person.until(lambda: "gone (not found)" in text_of(person))
    assert "Recent cases" in text_of(person)
    follows(person, "P-1")
    person.until(lambda: dock.controller.case is not None)
    assert dock.controller.store.folder == tmp_path / "P-1"


def test_recent_photographs_are_listed_in_the_lesion_dock(viewer, dock, qtbot, tmp_path):
    from PIL import Image

    path = tmp_path / "mole.png"
    Image.fromarray(photograph()).save(path)
    dock.opener.open([path])
    qtbot.waitUntil(lambda: dock.picker.session is not None)
    wait_until_idle(qtbot, dock)
    viewer.layers.clear()
    label = dock.findChild(QLabel, "welcome_recent")
    assert "mole.png" in label.text()
    _, link = re.findall(r"<a href='([^']*)'", label.text())
    label.linkActivated.emit(unescape(link))
    qtbot.waitUntil(lambda: dock.picker.session is not None)
