"""How the Review dock looks: 40 photographs labeled with keys while nothing moves, and the measures of a dock."""

from __future__ import annotations

import numpy as np
import pytest
from looks import find_place, is_in_view, list_blanks, list_cut_texts, list_repeated_facts, list_section_blanks
from PIL import Image as PillowImage
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QAbstractItemView, QApplication, QComboBox, QLineEdit, QWidget

from conftest import PATIENCE_MS, wait_until_idle
from napari_melanoma.data.corrections import Corrections
from napari_melanoma.imaging import ruler as ruler_module
from napari_melanoma.imaging.ruler import Ruler
from napari_melanoma.ui.library import review_photographs
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.session.photograph_scale import PhotographScale
from napari_melanoma.ui.viewer.camera import find_canvas
from napari_melanoma.ui.viewer.docking import find_frame
from napari_melanoma.ui.widgets.charts import CurvePoint
from napari_melanoma.ui.widgets.dock_layout import AnswerCard
from napari_melanoma.ui.widgets.status_line import StatusLine

from .library.test_review import find_action, mole

COUNT, WIDTH, HEIGHT = 40, 1366, 768
MIN_ROWS = 5
CONTROLS = (QAbstractButton, QAbstractItemView, QComboBox, QLineEdit, AnswerCard, StatusLine)


@pytest.fixture
def photographs(tmp_path):
    place = tmp_path / "clinic"
    place.mkdir()
    for number in range(COUNT):
        PillowImage.fromarray(mole(3 * number)).save(place / f"a-photograph-with-a-long-name-{number:02}.png")
    return place


@pytest.fixture
def corrections(tmp_path, home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    settings = ReviewSettings()
    settings.corrections, settings.reviewer = tmp_path / "my corrections", "Ana"
    return Corrections(tmp_path / "my corrections")


@pytest.fixture
def dock(shared_client, make_napari_viewer, corrections, photographs, qtbot, monkeypatch):
    """The Review dock in a window of a laptop, with rated photographs."""
    monkeypatch.setattr(review_photographs, "REPEAT_S", 0.0)
    viewer = make_napari_viewer(show=True)
    window = viewer.window._qt_window
    window.resize(WIDTH, HEIGHT)
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Review")
    window.resizeDocks([find_frame(made)], [made.minimumWidth()], Qt.Orientation.Horizontal)
    window.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is window, timeout=PATIENCE_MS)
    made.open([photographs])
    wait_until_idle(qtbot)
    yield made
    wait_until_idle(qtbot)


def find_boxes(dock):
    """Return where all visible controls of the dock, the dock and the canvas lie in the window."""
    window, boxes = dock.window(), {}
    counts = {}
    frame, canvas = find_frame(dock), find_canvas(window)
    for one in (frame, canvas, *dock.findChildren(QWidget)):
        if isinstance(one, CONTROLS) or one in (frame, canvas):
            name = f"{type(one).__name__} {one.objectName()} {one.accessibleName()}"
            counts[name] = counts.get(name, 0) + 1
            if one.isVisible() and not one.rect().isEmpty():
                boxes[f"{name} {counts[name]}"] = QRect(one.mapTo(window, QPoint()), one.size()).getRect()
    return boxes


def list_whole_rows(view):
    """Return the photographs whose rows are completely visible."""
    area = view.viewport().rect()
    rects = (view.visualRect(view.model().index(row)) for row in range(view.model().rowCount()))
    return [rect for rect in rects if area.contains(rect)]


def press(dock, key, modifiers=Qt.KeyboardModifier.NoModifier):
    QTest.keyClick(dock.window().windowHandle(), key, modifiers)


@pytest.mark.both_qts
def test_40_photographs_are_labeled_with_keys_while_nothing_moves(dock, corrections, qtbot):
    window, opener = dock.window(), dock.opener
    dock.diagnosis.mode_button.click()
    wait_until_idle(qtbot)
    press(dock, Qt.Key.Key_PageDown, Qt.KeyboardModifier.AltModifier)
    wait_until_idle(qtbot)  # with the first layer, napari widens its own controls
    known, moved = find_boxes(dock), []

    def compare(step):
        for name, box in find_boxes(dock).items():
            if known.setdefault(name, box) != box:
                moved.append(f"{step}: {name} was at {known[name]}, is at {box}")

    def wait_for_next(count, previous):
        def is_shown():
            is_next = count == COUNT or (opener.is_shown and opener.path != previous)
            return is_next and len(corrections.rows()) == count

        qtbot.waitUntil(is_shown, timeout=PATIENCE_MS)

    seen = []
    for number in range(COUNT):
        seen.append(opener.path)
        assert dock.list_model.is_displayed(dock.list_view.currentIndex())
        press(dock, Qt.Key.Key_1 if int(opener.path.stem[-2:]) >= COUNT // 2 else Qt.Key.Key_2)
        wait_for_next(number + 1, seen[-1])
        if number % 20 == 10:  # the user pauses: the photograph is analyzed, and the labels are fitted
            wait_until_idle(qtbot)
        compare(f"label {number + 1}")
        parts = (
            find_canvas(window),
            dock.list_view,
            dock.answer,
            dock.primary_button,
            *dock.diagnosis.class_list.chips,
        )
        assert [part.objectName() for part in parts if not is_in_view(window, part)] == []
        assert len(list_whole_rows(dock.list_view)) >= MIN_ROWS
    wait_until_idle(qtbot)
    compare("all labeled")
    assert not moved, "\n".join(moved)
    assert len(set(seen)) == len(corrections.rows()) == COUNT
    assert find_frame(opener.connected_dock).isHidden()


def test_masks_are_reviewed_with_keys_and_tools_in_one_dock(dock, corrections, qtbot):
    window = dock.window()
    before = find_place(dock, "primary")
    assert dock.primary_button.text() == "Next"
    dock.primary_button.click()
    wait_until_idle(qtbot)
    assert (dock.primary_button.text(), find_place(dock, "primary")) == ("Accept", before)
    # The tools of the mask are here, and act
    lesion = dock.opener.connected_dock
    paint = dock.findChild(QAbstractButton, "paint")
    assert paint.isVisible()
    paint.click()
    assert lesion.picker.session.mask.mode == "paint"
    first = dock.opener.path
    press(dock, Qt.Key.Key_E, Qt.KeyboardModifier.AltModifier)  # a key of the hidden dock
    assert lesion.picker.session.mask.mode == "erase"
    press(dock, Qt.Key.Key_A, Qt.KeyboardModifier.AltModifier)
    wait_until_idle(qtbot)
    assert [row["image_id"] for row in corrections.rows()] == [first.stem]
    assert dock.opener.path != first
    assert dock.findChild(QAbstractButton, "paint").isVisible()
    # The Lesion dock comes as a tab when the user opens it, with the section of the mask, and nothing else raises it
    canvas = find_canvas(window).size()
    find_action(dock, "open_lesion_dock").trigger()
    assert window.tabifiedDockWidgets(find_frame(dock)) == [find_frame(lesion)]
    qtbot.waitUntil(lambda: lesion.findChild(QAbstractButton, "paint") is not None, timeout=PATIENCE_MS)
    assert dock.findChild(QAbstractButton, "paint") is None
    find_frame(dock).raise_()
    qtbot.waitUntil(lambda: dock.findChild(QAbstractButton, "paint") is not None, timeout=PATIENCE_MS)
    press(dock, Qt.Key.Key_PageDown, Qt.KeyboardModifier.AltModifier)
    wait_until_idle(qtbot)
    assert not dock.visibleRegion().isEmpty()
    assert lesion.visibleRegion().isEmpty()
    assert find_canvas(window).size() == canvas


def test_a_proposed_scale_is_accepted_in_the_review(dock, qtbot, monkeypatch):
    """The notice of the Lesion dock comes with the mask's tools, and takes room from the list alone."""
    ticks = np.stack([np.full(11, 110.0), np.linspace(20.0, 120.0, 11)], axis=1)
    ruler = Ruler((110.0, 20.0), (110.0, 120.0), 10.0, ticks, 1.0, 0.9)
    monkeypatch.setattr(ruler_module, "find_ruler", lambda *_: ruler)
    for button, source in (("scale_dismiss", None), ("scale_accept", "accepted ruler")):
        dock.next_button.click()
        wait_until_idle(qtbot)
        lesion, place = dock.opener.connected_dock, find_place(dock, "paint")
        scale = lesion.picker.session.part(PhotographScale)
        qtbot.waitUntil(lesion.scale_notice.isVisible, timeout=PATIENCE_MS)
        assert is_in_view(dock.window(), lesion.scale_notice)
        dock.findChild(QAbstractButton, button).click()
        wait_until_idle(qtbot)
        assert not lesion.scale_notice.isVisible()
        assert find_place(dock, "paint") == place
        assert (scale.state.size and scale.state.size.source) == source
    find_action(dock, "open_lesion_dock").trigger()
    qtbot.waitUntil(lambda: lesion.isAncestorOf(lesion.scale_notice), timeout=PATIENCE_MS)


def test_looks(dock, qtbot):
    window = dock.window()
    states = {
        "listed": lambda: None,
        "under review": dock.primary_button.click,
        "diagnoses": dock.diagnosis.mode_button.click,
        "a label": lambda: press(dock, Qt.Key.Key_2),
        "low": lambda: window.resize(WIDTH, 700),
    }
    for state, enter in states.items():
        enter()
        wait_until_idle(qtbot)
        QTest.qWait(100)
        assert not (cut := list_cut_texts(dock)), f"{state}: {cut}"
        assert not (blanks := list_section_blanks(dock.models)), f"{state}: {blanks}"
        assert not (repeated := list_repeated_facts(dock)), f"{state}: {repeated}"
        assert is_in_view(window, dock.answer), state
        assert len([one for one in dock.findChildren(QAbstractButton, "primary") if one.isVisible()]) == 1


def test_the_pages_are_as_high_as_their_content_and_no_pressed_button_moves(dock, qtbot):
    """The list has the rest of the height; the learning curve takes its place on request, and is seen whole."""
    dock.primary_button.click()
    wait_until_idle(qtbot)
    pages = {"mode_mask": dock.mask_pane, "mode_diagnosis": dock.diagnosis}
    for name in ("mode_mask", "mode_diagnosis", "mode_mask"):
        before = find_place(dock, name)
        dock.findChild(QAbstractButton, name).click()
        QTest.qWait(50)
        assert find_place(dock, name) == before
        assert not list_blanks(pages[name])
    for _ in range(2):  # open the strokes, and close them
        before, height = find_place(dock, "more_scribbles"), dock.list_view.height()
        dock.findChild(QAbstractButton, "more_scribbles").click()
        QTest.qWait(500)
        assert find_place(dock, "more_scribbles") == before
        assert dock.list_view.height() != height
    dock.diagnosis.mode_button.click()
    QTest.qWait(50)
    more = find_place(dock, "more_labels")
    dock.findChild(QAbstractButton, "more_labels").click()
    dock.diagnosis.chart.show_points([CurvePoint(15, 0.4, 0.2, 0.6), CurvePoint(29, 0.5, 0.3, 0.7)])
    qtbot.waitUntil(lambda: is_in_view(dock.window(), dock.diagnosis.chart), timeout=PATIENCE_MS)
    assert find_place(dock, "more_labels") == more
    assert not dock.list_view.isVisible()
    dock.findChild(QAbstractButton, "more_labels").click()
    assert dock.list_view.isVisible()
