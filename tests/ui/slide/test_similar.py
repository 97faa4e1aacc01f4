"""Find similar: click a cell, go to similar ones on this slide and others, and paint them."""

from __future__ import annotations

import pytest
from canvas_mouse import CanvasMouse
from fake_slides import LESION, TILE, draw_slide
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QToolButton
from slide_fixtures import PAINT_SECTION, UNSEEN

from napari_melanoma.ui.sections import host
from napari_melanoma.ui.sections.paint import section
from napari_melanoma.ui.sections.paint.cell_lists import INVITATION, SEARCHING
from napari_melanoma.ui.widgets.settings import DockSettings

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
SIDE = 1536  # 24 cells
DARK = ((LESION[0].start + 1.5) * TILE, (LESION[1].start + 2.0) * TILE)
PALE = (10 * TILE, 3 * TILE)


@pytest.fixture(autouse=True)
def installed(user, monkeypatch):
    """Host the Paint section alone, whatever is installed; the user has not expanded or collapsed it."""
    DockSettings()._store.remove(f"sections/{PAINT_SECTION}")
    monkeypatch.setattr(host, "find_sections", lambda _: {"Paint": section.PaintSection})


@pytest.fixture
def searching(person, tmp_path):
    """User with the first of two slides of a folder open, and the tool Find similar."""
    (tmp_path / "slides").mkdir()
    for name, tint in (("first", 0), ("second", 9)):
        draw_slide(tmp_path / "slides" / f"{name}.tif", side=SIDE, tint=tint)
    person.opens_slides(tmp_path / "slides" / "first.tif")
    person.until(lambda: is_open(person))
    person.mouse = CanvasMouse(person)
    person.clicks("paint_similar")
    return person


def opened(person):
    return person.dock.sections.hosted.sections["Paint"].widget


def is_open(person):
    hosted = person.dock.sections.hosted.sections.get("Paint")
    return hosted is not None and hosted.widget is not None


def strokes(person):
    return opened(person).session.painted.value.strokes


def thumbnails(person):
    return opened(person).similar.strip.cells


def text(person):
    return person.label_text("paint_similar_text")


def is_found(person, slides):
    return text(person).startswith("Searched") and f"of {slides}" in text(person) and "meanwhile" not in text(person)


def cell_button(person, index):
    return person.finds(QToolButton, f"paint_similar_cell_{index + 1}")


@pytest.mark.slow
def test_similar_cells_of_two_slides_are_found_visited_and_painted(searching, tmp_path):
    person, first = searching, searching.dock.slide
    assert text(person) == INVITATION
    person.mouse.clicks(DARK)
    person.mouse.clicks(DARK)  # a double click
    person.until(lambda: is_found(person, "1 slide"))
    person.waits()
    found = thumbnails(person)
    assert found[0].text == "clicked"
    assert all(thumbnail.image is not None for thumbnail in found)
    assert "1 slide of the folder has no features yet: second.tif." in text(person)
    assert not strokes(person)

    # A thumbnail leads to its cell.
    cell_button(person, 1).click()
    assert person.sees(found[1].center)

    # Features of the other slide are computed on request, then it is searched, too.
    person.clicks("paint_similar_compute")
    person.until(lambda: is_found(person, "2 slides"))
    person.waits()
    assert not person.finds(QToolButton, "paint_similar_compute").isVisible()
    others = [index for index, thumbnail in enumerate(thumbnails(person)) if thumbnail.slide.name == "second.tif"]
    assert others
    thumbnail = thumbnails(person)[others[0]]
    assert thumbnail.tip.startswith(f"Similarity {thumbnail.text}, second.tif.")

    # A digit paints a class on it: its slide is opened, and the list stays.
    person.qtbot.keyClick(cell_button(person, others[0]), Qt.Key.Key_5)
    person.until(lambda: person.dock.slide is not None and person.dock.slide.info.name == "second")
    person.until(lambda: is_open(person) and bool(strokes(person)))
    assert (strokes(person)[0].class_name, strokes(person)[0].points) == ("Tumor", (thumbnail.center,))
    assert person.sees(thumbnail.center)
    assert thumbnail in thumbnails(person)
    person.waits()

    # Return paints the selected class on a cell of the first slide, which is displayed again.
    opened(person).view.class_list.select_class(2)
    person.qtbot.keyClick(cell_button(person, 0), Qt.Key.Key_Return)
    person.until(lambda: person.dock.slide.identity == first.identity and is_open(person))
    person.until(lambda: bool(strokes(person)))
    assert strokes(person)[0].class_name == "Dermis"
    sessions = {one.slide.info.name: len(one.painted.value.strokes) for one in opened(person).session.sessions}
    assert sessions == {"first": 1, "second": 1}

    # Escape removes the list.
    person.waits()
    person.qtbot.keyClick(cell_button(person, 0), Qt.Key.Key_Escape)
    assert not opened(person).similar.isVisible()
    assert not thumbnails(person)


def test_the_tool_ends_and_a_search_ends_with_its_slide(searching, tmp_path):
    person, dock = searching, searching.dock
    person.clicks("paint_similar")
    assert not opened(person).similar.isVisible()
    person.clicks("paint_similar")
    opened(person).similar.search((-900.0, 5.0))
    person.until(lambda: "There is no cell at row -900" in dock.status.text)
    assert not opened(person).similar.strip.cells
    person.mouse.clicks(PALE)
    person.until(lambda: text(person) == SEARCHING or is_found(person, "1 slide"))
    dock.close_slide()
    person.waits()
    assert not person.viewer.layers
    assert not dock.context.tool_buttons or not any(button.isChecked() for button in dock.context.tool_buttons)

    # On a slide that was not searched, nothing is left of it.
    (tmp_path / "elsewhere").mkdir()
    person.opens_slides(draw_slide(tmp_path / "elsewhere" / "third.tif", tint=5))
    person.until(lambda: is_open(person))
    assert not opened(person).similar.isVisible()
