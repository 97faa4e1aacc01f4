"""The layout of several docks, each of which needs the height of the window and its minimum width."""

from __future__ import annotations

import pytest
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication, QDockWidget, QLabel, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from conftest import wait_until_idle
from napari_melanoma.ui.viewer.docking import DockPlacement, show_dock

PLUGIN = "napari-melanoma"
RIGHT, LEFT = Qt.DockWidgetArea.RightDockWidgetArea, Qt.DockWidgetArea.LeftDockWidgetArea


@pytest.fixture
def stage(shared_client, make_napari_viewer, qtbot, monkeypatch, tmp_path):
    """A window of a usual size in which docks are opened as the menu does."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    from napari.settings import get_settings

    get_settings().application.plugin_widget_positions.clear()
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1300, 850)
    opened = Docks(viewer, qtbot)
    yield opened
    wait_until_idle(qtbot)


class Docks:
    """Opens docks, and inspects their layout."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot

    @property
    def window(self):
        return self.viewer.window._qt_window

    def opens(self, name):
        frame, _ = self.viewer.window.add_plugin_dock_widget(PLUGIN, name)
        self.qtbot.wait(50)
        return frame

    def are_tabs(self, *frames):
        first, *others = frames
        return set(self.window.tabifiedDockWidgets(first)) == set(others)

    def in_front(self, frame):
        return not frame.visibleRegion().isEmpty()


@pytest.mark.path
@pytest.mark.both_qts
def test_docks_open_as_tabs_with_the_new_one_in_front(stage):
    lesion, train, review = (stage.opens(name) for name in ("Lesion", "Train", "Review"))
    assert stage.are_tabs(lesion, train, review)
    assert [stage.in_front(frame) for frame in (lesion, train, review)] == [False, False, True]
    assert review.height() > 0.8 * stage.window.height()
    assert all(frame.widget().width() >= 340 for frame in (lesion, train, review))
    # A dock that is opened again comes to the front.
    show_dock(stage.viewer, "Lesion")
    stage.qtbot.waitUntil(lambda: stage.in_front(lesion) and not stage.in_front(train))
    train.hide()
    stage.qtbot.wait(50)
    train.show()  # as the menu does
    stage.qtbot.waitUntil(lambda: stage.in_front(train) and not stage.in_front(lesion))
    # So does one that was closed before, as a tab.
    train.destroyOnClose()
    stage.qtbot.wait(50)
    assert stage.in_front(lesion) != stage.in_front(review)
    again = stage.opens("Train")
    assert stage.are_tabs(lesion, review, again)
    assert stage.in_front(again)
    # No dock needs more than the minimum width.
    frames = (lesion, review, again, stage.opens("Case"))
    assert [frame.windowTitle() for frame in frames if frame.widget().minimumSizeHint().width() > 340] == []


def test_the_layout_of_the_user_is_kept(stage):
    lesion, train = stage.opens("Lesion"), stage.opens("Train")
    stage.window.addDockWidget(LEFT, train)
    train.hide()
    train.show()
    review = stage.opens("Review")
    assert stage.window.dockWidgetArea(train) == LEFT
    assert stage.are_tabs(lesion, review)
    stage.window.splitDockWidget(lesion, review, Qt.Orientation.Vertical)
    lesion.setFloating(True)
    stage.qtbot.wait(50)
    lesion.setFloating(False)
    stage.qtbot.wait(50)
    assert stage.window.tabifiedDockWidgets(train) == []


@pytest.mark.parametrize("order", [("Lesion", "Review"), ("Review", "Lesion")])
def test_lesion_and_review_are_side_by_side_in_a_wide_window(stage, order):
    stage.window.resize(1560, 850)
    QApplication.processEvents()
    if stage.window.width() < 1500:
        pytest.skip("the screen is too small for a wide window")
    left, right = (stage.opens(name) for name in order)
    assert stage.are_tabs(left)
    assert stage.in_front(left)
    assert stage.in_front(right)
    assert left.geometry().right() < right.geometry().left()
    train = stage.opens("Train")
    assert stage.are_tabs(right, train) or stage.are_tabs(left, train)


def test_docks_of_other_plugins_are_not_moved_and_leave_us_our_height(stage):
    for number in range(3):  # napari gives each further dock of anybody's more empty space below
        plain = QWidget()
        QVBoxLayout(plain).addWidget(QLabel("a plugin"))
        stage.viewer.window.add_dock_widget(plain, name=f"other {number}", area="left")
    train = stage.opens("Train").widget()
    scroll = train.findChild(QScrollArea, "train_scroll")
    stage.qtbot.waitUntil(lambda: scroll.height() > 0.7 * train.height(), timeout=5_000)
    other = stage.viewer.window.add_dock_widget(QWidget(), name="other", area="right")
    lesion = stage.opens("Lesion")
    assert stage.window.tabifiedDockWidgets(other) == []
    assert stage.are_tabs(lesion, train.parentWidget())


@pytest.mark.both_qts
def test_a_dock_removed_before_it_is_raised_causes_no_error(qtbot):
    window = QMainWindow()
    qtbot.addWidget(window)
    window.show()
    frame, content = QDockWidget(window), QWidget()
    docking = DockPlacement(content)
    frame.setWidget(content)
    window.addDockWidget(RIGHT, frame)
    qtbot.wait(20)
    assert docking.parent() is content
    frame.hide()
    frame.show()
    frame.deleteLater()
    QApplication.sendPostedEvents(frame, QEvent.Type.DeferredDelete)
    qtbot.wait(20)
    assert not isalive(frame)


@pytest.mark.both_qts
@pytest.mark.parametrize("close", ["destroyOnClose", "hide"])
def test_the_image_gets_the_width_of_a_closed_dock(stage, close):
    stage.viewer.window.resize(1700, 850)
    stage.qtbot.wait(50)
    lesion, case = stage.opens("Lesion"), stage.opens("Case")
    assert not stage.are_tabs(lesion, case)
    canvas, width = stage.window.centralWidget(), lesion.width()
    before = canvas.width()
    getattr(case, close)()
    stage.qtbot.waitUntil(lambda: canvas.width() > before + 300)
    assert lesion.width() == pytest.approx(width, abs=2)
