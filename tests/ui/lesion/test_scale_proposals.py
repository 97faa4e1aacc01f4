"""The scale of a photograph is proposed from a ruler in it, and used only after the reader has accepted it."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from lesion_fixtures import FIXTURES
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QDoubleSpinBox, QLabel, QWidget
from steady import list_moved_controls

from conftest import PATIENCE_MS, photograph, until, wait_until_idle
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging import ruler as ruler_module
from napari_melanoma.imaging.ruler import Ruler
from napari_melanoma.io.results import read_table
from napari_melanoma.ui.session import recovery
from napari_melanoma.ui.session.photograph_scale import PhotographScale
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.viewer.shortcuts import SHORTCUTS, get_key

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)
TEXT = "Proposed scale: 100 µm/px, from a ruler of 10\N{NO-BREAK SPACE}mm."
UNKNOWN, KNOWN = "160 x 120 px · no scale", "160 x 120 px · 100 µm/px"
SIZE = PixelSize(100.0, 100.0, "accepted ruler")


def make_ruler(millimeters=10.0):
    """A ruler of 100 pixels with a tick at each millimeter."""
    ticks = np.stack([np.full(11, 110.0), np.linspace(20.0, 120.0, 11)], axis=1)
    return Ruler((110.0, 20.0), (110.0, 120.0), millimeters, ticks, millimeters / 10, 0.9)


class Searches:
    """Replaces the search: what it finds, by the stated type, and for which photographs it was called."""

    def __init__(self):
        self.found, self.by_type, self.searched = make_ruler(), {}, []
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self, rgb, modality=None):
        self.searched.append(int(rgb[0, 0, 0]))  # the shade of a photograph
        assert self.may_end.wait(PATIENCE_MS / 1000)
        return self.by_type.get(modality, self.found)


@pytest.fixture(autouse=True)
def searches(monkeypatch):
    made = Searches()
    monkeypatch.setattr(ruler_module, "find_ruler", made)
    yield made
    made.may_end.set()


def scale_of(person):
    return person.dock.picker.session.part(PhotographScale)


def shown_text(person):
    """What the notice says; empty while it is hidden."""
    label = person.finds(QLabel, "proposed_scale")
    return label.text() if label.isVisibleTo(person.dock) else ""


def opens(person, shade=215, name="mole", **options):
    """Open a photograph of a shade, which tells it from others."""
    rgb = photograph()
    rgb[0, 0, 0] = shade
    image = person.opens(name, rgb=rgb, **options)
    person.waits()
    return image


def roles(person):
    return {photographs.get_role(layer) for layer in person.viewer.layers} - {None}


def get_size(person):
    return photographs.get_pixel_size(person.dock.picker.session.image)


def saves(person, tmp_path):
    (tmp_path / "results").mkdir(exist_ok=True)
    person.dock.settings.folder = tmp_path / "results"
    person.clicks("save")
    person.waits()
    (row,) = read_table(tmp_path / "results" / "results.csv")
    return json.loads((tmp_path / "results" / "mole" / "result.json").read_text()), row


def list_stored_scales(folder):
    """The files of a folder that have a scale."""
    found = []
    for path in sorted(path for path in folder.rglob("*.json") if path.is_file()):
        if json.loads(path.read_text()).get("pixel_size_um"):
            found.append(path.name)
    return found


@pytest.mark.path
def test_a_proposed_scale_is_shown_and_neither_used_nor_stored(person, home):
    opens(person)
    assert shown_text(person) == TEXT
    layer = person.layer("proposed scale")
    assert layer.visible
    assert not layer.editable
    assert len(layer.data) == 12  # the line and its ticks
    assert np.allclose(layer.data[0], [[110, 20], [110, 120]])
    assert [text for text in layer.text.values if text] == ["proposed: 10 mm"]
    assert person.finds(QLabel, "photograph_description").text() == UNKNOWN
    person.analyses()
    assert "area_mm2" not in person.lesion.result.measurements
    person.draws(person.layer("mask"), [(10, 10), (10, 60)])
    wait_until_idle(person.qtbot)
    assert list(recovery.recovery_root().glob("*/recovery.json")), "corrections are kept for recovery"
    stored, row = saves(person, home)
    assert stored["pixel_size_um"] is None
    assert not row.get("area_mm2")
    assert not row.get("scale_source")
    person.clicks("save")
    person.waits()
    assert list_stored_scales(home) == []
    assert shown_text(person) == TEXT, "it waits for the reader"


@pytest.mark.both_qts
def test_an_accepted_scale_is_measured_with_stored_and_undone(person, home):
    opens(person)
    person.analyses()
    person.clicks("scale_accept")
    person.waits()
    assert get_size(person) == SIZE
    assert shown_text(person) == ""
    assert person.finds(QLabel, "photograph_description").text() == KNOWN
    assert "proposed scale" not in roles(person)
    assert np.allclose(person.layer("ruler").data, [[[110, 20], [110, 120]]])
    assert all(np.allclose(layer.scale, 100) for layer in person.viewer.layers)
    assert person.lesion.result.measurements["area_mm2"] == pytest.approx(person.mask.sum() / 100)
    assert "mole: 100 µm per pixel, from a ruler of 10 mm that was found in the photograph." in person.dock.status.text
    stored, row = saves(person, home)
    assert stored["pixel_size_um"] == {"y": 100.0, "x": 100.0, "source": "accepted ruler"}
    assert row["scale_source"] == "ruler"
    assert float(row["area_mm2"]) == pytest.approx(person.mask.sum() / 100, rel=1e-3)
    # Undo takes it back, with the line, and the proposal is there again; so does redo.
    keys = person.dock.picker.session.image.keymap
    undo, redo = (next(keys[key] for key in keys if str(key) == name) for name in ("Ctrl+Z", "Ctrl+Shift+Z"))
    undo(None)
    person.waits()
    assert get_size(person) is None
    assert shown_text(person) == TEXT
    assert len(person.layer("ruler").data) == 0
    assert "area_mm2" not in person.lesion.result.measurements
    redo(None)
    person.waits()
    assert (get_size(person), shown_text(person)) == (SIZE, "")
    assert len(person.layer("ruler").data) == 1
    person.dock.status.link_activated.emit("undo_scale")
    person.waits()
    assert get_size(person) is None
    # What was accepted is restored with its origin when the photograph is opened again, and nothing is searched.
    redo(None)
    person.waits()
    saves(person, home)
    person.viewer.layers.clear()
    person.waits()
    opens(person)
    assert get_size(person) == SIZE
    assert "accepted" in person.dock.status.text
    assert shown_text(person) == ""


def test_one_key_accepts_and_another_undoes_in_the_dock(window):
    main = window.dock.window()
    main.activateWindow()
    window.qtbot.waitUntil(lambda: QApplication.activeWindow() is main)
    opens(window)
    assert get_key("lesion.accept_scale") in ("Alt+Y", "Meta+Alt+Y")
    assert get_key("lesion.accept_scale") in window.finds(QAbstractButton, "scale_accept").toolTip()
    presses_accept(window)
    until(window.qtbot, lambda: get_size(window) == SIZE)
    presses_accept(window)
    until(window.qtbot, lambda: "No scale is proposed" in window.dock.status.text)
    assert get_size(window) == SIZE
    window.dock.setFocus()
    QTest.keyClick(window.dock, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    until(window.qtbot, lambda: get_size(window) is None)
    assert shown_text(window) == TEXT
    assert SHORTCUTS["lesion.undo"].context == "dock"


def presses_accept(person):
    QTest.keyClick(person.dock.window(), Qt.Key.Key_Y, Qt.KeyboardModifier.AltModifier)


def test_a_corrected_scale_becomes_the_line_of_the_ruler_tool(person):
    opens(person)
    person.clicks("scale_correct")
    assert shown_text(person) == ""
    assert "proposed scale" not in roles(person)
    assert person.finds(QAbstractButton, "ruler").isChecked()
    assert person.finds(QDoubleSpinBox, "ruler_length").value() == 10
    line = person.layer("ruler")
    assert (str(line.mode), line.selected_data, person.viewer.layers.selection.active) == ("direct", {0}, line)
    assert get_size(person) is None, "not before it is set"
    line.data = [(np.array([[110.0, 20.0], [110.0, 70.0]]), "line")]  # as if an end were dragged
    person.clicks("ruler_set")
    person.waits()
    assert get_size(person) == PixelSize(200.0, 200.0, "ruler")
    assert "mole: 200 µm per pixel, from a line of 10 mm." in person.dock.status.text
    person.clicks("ruler")
    assert shown_text(person) == ""
    # Undo returns to the line that is edited, then to the proposal.
    scale_of(person).undo()
    assert get_size(person) is None
    assert "200 µm" not in person.dock.status.text
    assert shown_text(person) == ""
    scale_of(person).undo()
    assert shown_text(person) == TEXT


def test_the_ruler_tool_has_the_length_of_an_accepted_line(person):
    person.dock.settings.ruler_mm = 25.0
    opens(person)
    person.clicks("scale_accept")
    person.clicks("ruler")
    assert person.finds(QDoubleSpinBox, "ruler_length").value() == 10
    person.clicks("ruler_set")
    assert get_size(person) == PixelSize(100.0, 100.0, "ruler")
    person.clicks("ruler_clear")
    assert get_size(person) is None
    assert shown_text(person) == "", "nothing is proposed after a scale was set"
    image = person.dock.picker.session.image
    assert photographs.list_cleared(image) == ("pixel_size",)
    scale_of(person).undo()
    assert get_size(person) == PixelSize(100.0, 100.0, "ruler")
    scale_of(person).undo()
    assert get_size(person) == SIZE
    scale_of(person).undo()
    assert get_size(person) is None
    assert photographs.list_cleared(image) == (), "no scale was ever stated"


def test_a_dismissed_scale_does_not_come_back_while_the_photograph_is_open(person, searches):
    opens(person)
    opens(person, name="other", shade=100)
    person.dock.picker.step(1)
    person.waits()
    person.clicks("scale_dismiss")
    assert shown_text(person) == ""
    assert "was dismissed" in person.dock.status.text
    count = len(searches.searched)
    for _ in range(2):
        person.dock.picker.step(1)
        person.waits()
    assert shown_text(person) == ""
    assert len(searches.searched) == count
    scale_of(person).undo()
    assert shown_text(person) == TEXT
    # Another time that it is opened, it is proposed again.
    scale_of(person).redo()
    person.viewer.layers.clear()
    person.waits()
    opens(person)
    assert shown_text(person) == TEXT


def test_each_photograph_keeps_its_own_proposal(person, searches):
    opens(person)
    searches.found = None
    opens(person, name="other", shade=100)
    assert shown_text(person) == ""
    for text in (TEXT, "", TEXT):
        person.dock.picker.step(1)
        person.waits()
        assert shown_text(person) == text
        assert person.layer("proposed scale").visible == bool(text)
    assert searches.searched == [215, 100], "once each"


def test_quick_steps_through_photographs_search_the_one_in_view_alone(person, searches):
    searches.may_end.clear()
    opened = [person.opens(f"mole{shade}", rgb=np.full((30, 40, 3), shade, np.uint8)) for shade in range(10, 16)]
    until(person.qtbot, lambda: bool(searches.searched))
    first = searches.searched[0]
    for _ in range(3):
        person.dock.picker.step(1)
        QTest.qWait(20)
    assert searches.searched == [first], "one at a time"
    searches.may_end.set()
    person.waits()
    in_view = int(person.dock.picker.session.image.data[0, 0, 0])
    assert searches.searched == [first, in_view]
    proposed = [layer.name for layer in person.viewer.layers if photographs.get_role(layer) == "proposed scale"]
    assert proposed == [f"mole{in_view} proposed scale"], "what was found in another one is ignored"
    assert len(opened) == 6


def test_a_photograph_closed_during_the_search_leaves_nothing(person, searches):
    searches.may_end.clear()
    person.opens()
    until(person.qtbot, lambda: bool(searches.searched))
    with person.qtbot.captureExceptions() as errors:
        person.viewer.layers.clear()
        searches.may_end.set()
        person.waits()
    assert errors == []
    assert list(person.viewer.layers) == []
    assert person.dock.scale_notice.isHidden()
    assert person.dock.status.text == ""


def test_a_scale_that_is_set_during_the_search_prevails(person, searches):
    searches.may_end.clear()
    image = person.opens()
    until(person.qtbot, lambda: bool(searches.searched))
    own = PixelSize(20.0, 20.0, "ruler")
    photographs.set_pixel_size(person.viewer, image, own)  # as a case does
    searches.may_end.set()
    person.waits()
    assert get_size(person) == own
    assert shown_text(person) == ""
    assert "proposed scale" not in roles(person)
    scale_of(person).undo()
    assert get_size(person) == own, "undo changes only what was set here"


def test_a_scale_set_elsewhere_ends_the_proposal(person):
    image = opens(person)
    photographs.set_pixel_size(person.viewer, image, PixelSize(20.0, 20.0))
    assert shown_text(person) == ""
    assert "proposed scale" not in roles(person)
    scale_of(person).undo()
    presses = person.dock.scale_notice.accept
    presses()
    assert get_size(person) == PixelSize(20.0, 20.0)


KNOWN_SCALES = {
    "of the file or layer": {"scale": (20.0, 20.0), "units": ("um", "um")},
    "other height than width": {"scale": (2.0, 1.0)},
}


@pytest.mark.parametrize("options", KNOWN_SCALES.values(), ids=KNOWN_SCALES)
def test_no_ruler_is_searched_where_it_cannot_be_proposed(person, searches, options):
    opens(person, **options)
    assert searches.searched == []
    assert shown_text(person) == ""


def test_a_photograph_without_a_ruler_changes_nothing(person, searches):
    searches.found = None
    opens(person)
    assert searches.searched == [215]
    assert shown_text(person) == ""
    assert roles(person) == set()
    person.dock.scale_notice.accept()
    assert get_size(person) is None


def test_an_unreadable_photograph_is_not_reported_by_the_search(person, searches):
    with person.qtbot.captureExceptions() as errors:
        person.opens(rgb=np.full((120, 160, 3), -3.0))
        person.waits()
    assert errors == []
    assert searches.searched == []
    assert person.dock.status.text == ""


def test_another_type_of_photograph_is_another_search(person, searches):
    searches.by_type = {"macroscopic": make_ruler(100.0), "dermoscopic": None}
    opens(person)
    assert shown_text(person) == TEXT
    person.dock.picker.set_modality("macroscopic")
    person.waits()
    assert shown_text(person) == "Proposed scale: 1,000 µm/px, from a ruler of 100\N{NO-BREAK SPACE}mm."
    person.dock.picker.set_modality("dermoscopic")
    person.waits()
    assert shown_text(person) == ""
    assert "proposed scale" not in roles(person)


def test_nothing_is_proposed_for_a_hidden_photograph(person, searches):
    image = person.opens(visible=False)
    person.waits()
    assert searches.searched == []
    image.visible = True
    person.waits()
    assert shown_text(person) == TEXT
    image.visible = False
    assert shown_text(person) == ""
    person.dock._accept_scale()
    assert "is hidden" in person.dock.status.text
    image.visible = True
    assert get_size(person) is None


def test_no_control_moves_while_a_scale_is_proposed_and_accepted(window, searches):
    searches.may_end.clear()
    person = window
    person.opens(rgb=photograph(shape=(681, 1024)))  # its description nearly fills a line
    dock = person.dock

    def proposes():
        searches.may_end.set()
        until(person.qtbot, lambda: shown_text(person) == TEXT)

    def undoes():
        dock.status.link_activated.emit("undo_scale")

    states = {
        "opened": lambda: None,
        "proposed": proposes,
        "accepted": lambda: person.clicks("scale_accept"),
        "undone": undoes,
        "dismissed": lambda: person.clicks("scale_dismiss"),
        "proposed again": undoes,
    }
    assert not list_moved_controls(dock, states)
    notice = person.finds(QWidget, "proposal")
    assert dock.rect().contains(QRect(notice.mapTo(dock, QPoint()), notice.size()))


def test_a_long_ruler_is_drawn_with_fewer_ticks_and_removed_while_it_is_selected(person, searches):
    ticks = np.stack([np.full(301, 110.0), np.linspace(0.0, 150.0, 301)], axis=1)
    searches.found = Ruler((110.0, 0.0), (110.0, 150.0), 30.0, ticks, 0.1, 0.9)
    image = opens(person)
    layer = person.layer("proposed scale")
    assert 30 <= len(layer.data) <= layers.MAX_TICKS + 1
    person.viewer.layers.selection.active = layer
    person.clicks("scale_dismiss")
    assert person.viewer.layers.selection.active == image


def draw_scale(px_per_mm=24.0):
    """Skin with a lesion and a scale of 20 mm, whose ticks are longer at every fifth millimeter."""
    rows, columns = np.mgrid[:480, :640]
    rgb = np.full((480, 640, 3), (215, 170, 150), np.uint8)
    rgb[(rows - 200) ** 2 + (columns - 320) ** 2 <= 90**2] = (70, 45, 40)
    for number in range(21):
        column = round(60 + number * px_per_mm)
        rgb[400 - (30 if number % 5 == 0 else 15) : 400, column - 1 : column + 2] = 40
    return rgb


def test_a_drawn_ruler_is_found_in_a_photograph(person, monkeypatch):
    monkeypatch.undo()
    person.opens(rgb=draw_scale())
    person.waits()
    assert scale_of(person).state.proposed.px_per_mm == pytest.approx(24, rel=0.01)
    person.clicks("scale_accept")
    assert get_size(person).x_um == pytest.approx(1000 / 24, rel=0.01)
