"""Docks: tabs, width, the layout of the user, other plugins; every order of opening keeps each within reach."""

from __future__ import annotations

import itertools

import pytest
from fake_slides import draw_slide
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication, QDockWidget, QLabel, QMainWindow, QScrollArea, QTabBar, QVBoxLayout, QWidget

from conftest import wait_until_idle
from napari_melanoma.ui.viewer.docking import DockPlacement, show_dock

PLUGIN = "napari-melanoma"
RIGHT, LEFT = Qt.DockWidgetArea.RightDockWidgetArea, Qt.DockWidgetArea.LeftDockWidgetArea
DOCKS = ("Lesion", "Review", "Train", "Slide", "Case")
SIZES = {"laptop": (1366, 768), "full HD": (1920, 1080)}
CANVAS_PX = 400


@pytest.fixture
def docks(shared_client, make_napari_viewer, qtbot, monkeypatch, tmp_path):
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
def test_docks_open_as_tabs_with_the_new_one_in_front(docks):
    lesion, train, review = (docks.opens(name) for name in ("Lesion", "Train", "Review"))
    assert docks.are_tabs(lesion, train, review)
    assert [docks.in_front(frame) for frame in (lesion, train, review)] == [False, False, True]
    assert review.height() > 0.8 * docks.window.height()
    assert all(frame.widget().width() >= 340 for frame in (lesion, train, review))
    # A dock that is opened again comes to the front.
    show_dock(docks.viewer, "Lesion")
    docks.qtbot.waitUntil(lambda: docks.in_front(lesion) and not docks.in_front(train))
    train.hide()
    docks.qtbot.wait(50)
    train.show()  # as the menu does
    docks.qtbot.waitUntil(lambda: docks.in_front(train) and not docks.in_front(lesion))
    # So does one that was closed before, as a tab.
    train.destroyOnClose()
    docks.qtbot.wait(50)
    assert docks.in_front(lesion) != docks.in_front(review)
    again = docks.opens("Train")
    assert docks.are_tabs(lesion, review, again)
    assert docks.in_front(again)
    # No dock needs more than the minimum width.
    frames = (lesion, review, again, docks.opens("Case"))
    assert [frame.windowTitle() for frame in frames if frame.widget().minimumSizeHint().width() > 340] == []


def test_the_layout_of_the_user_is_kept(docks):
    lesion, train = docks.opens("Lesion"), docks.opens("Train")
    docks.window.addDockWidget(LEFT, train)
    train.hide()
    train.show()
    review = docks.opens("Review")
    assert docks.window.dockWidgetArea(train) == LEFT
    assert docks.are_tabs(lesion, review)
    docks.window.splitDockWidget(lesion, review, Qt.Orientation.Vertical)
    lesion.setFloating(True)
    docks.qtbot.wait(50)
    lesion.setFloating(False)
    docks.qtbot.wait(50)
    assert docks.window.tabifiedDockWidgets(train) == []


def test_lesion_and_review_are_side_by_side_in_a_wide_window(docks):
    docks.window.resize(1560, 850)
    QApplication.processEvents()
    if docks.window.width() < 1500:
        pytest.skip("the screen is too small for a wide window")
    left, right = (docks.opens(name) for name in ("Lesion", "Review"))
    assert docks.are_tabs(left)
    assert docks.in_front(left)
    assert docks.in_front(right)
    assert left.geometry().right() < right.geometry().left()
    train = docks.opens("Train")
    assert docks.are_tabs(right, train) or docks.are_tabs(left, train)


def test_docks_of_other_plugins_are_not_moved_and_leave_us_our_height(docks):
    for number in range(3):  # napari gives each further dock of anybody's more empty space below
        plain = QWidget()
        QVBoxLayout(plain).addWidget(QLabel("a plugin"))
        docks.viewer.window.add_dock_widget(plain, name=f"other {number}", area="left")
    train = docks.opens("Train").widget()
    scroll = train.findChild(QScrollArea, "train_scroll")
    docks.qtbot.waitUntil(lambda: scroll.height() > 0.7 * train.height())
    other = docks.viewer.window.add_dock_widget(QWidget(), name="other", area="right")
    lesion = docks.opens("Lesion")
    assert docks.window.tabifiedDockWidgets(other) == []
    assert docks.are_tabs(lesion, train.parentWidget())


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
def test_the_image_gets_the_width_of_a_closed_dock(docks, close):
    docks.viewer.window.resize(1700, 850)
    docks.qtbot.wait(50)
    lesion, case = docks.opens("Lesion"), docks.opens("Case")
    assert not docks.are_tabs(lesion, case)
    canvas, width = docks.window.centralWidget(), lesion.width()
    before = canvas.width()
    getattr(case, close)()
    docks.qtbot.waitUntil(lambda: canvas.width() > before + 300)
    assert lesion.width() == pytest.approx(width, abs=2)


@pytest.fixture(scope="module", params=SIZES.values(), ids=SIZES)
def size(request):
    """Width and height of the window, as on a screen of that size."""
    screen = QApplication.primaryScreen().availableGeometry()
    if screen.width() < request.param[0] or screen.height() < request.param[1]:
        pytest.skip(f"the screen has {screen.width()} x {screen.height()} pixels")
    return request.param


@pytest.fixture
def plain(size, qtbot):
    """A window laid out as napari's, in which docks open in no time."""
    window = QMainWindow()
    qtbot.addWidget(window)
    window.setCentralWidget(QWidget())
    left = QDockWidget("layer list")
    left.setMinimumWidth(280)
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, left)
    window.resize(*size)
    window.show()
    made = Window(window, size, qtbot)
    made.settle()
    return made


@pytest.fixture
def stage(size, shared_client, make_napari_viewer, qtbot, monkeypatch, tmp_path):
    """A window of napari that is as large as the screen."""
    from napari.settings import get_settings

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    get_settings().application.plugin_widget_positions.clear()
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(*size)
    made = Window(None, size, qtbot, viewer)
    made.settle()
    yield made
    wait_until_idle(qtbot)


@pytest.fixture
def slide_path(tmp_path):
    return draw_slide(tmp_path / "section.tif")


class Window:
    """Opens docks, and inspects what a user can see and reach."""

    def __init__(self, window, size, qtbot, viewer=None):
        self._plain, self.size, self.qtbot, self.viewer = window, size, qtbot, viewer

    @property
    def window(self):
        return self._plain if self.viewer is None else self.viewer.window._qt_window

    def frames(self):
        found = self.window.findChildren(QDockWidget, options=Qt.FindChildOption.FindDirectChildrenOnly)
        return [frame for frame in found if frame.widget() and own(frame.widget())]

    def frame(self, name):
        return next(frame for frame in self.frames() if frame.widget().accessibleName() == name)

    def settle(self):
        for _ in range(4):  # timers of 0 ms, each of which may start another, and layouts that follow
            QApplication.processEvents()
        if self.viewer is not None:
            self.qtbot.wait(50)

    def opens_stand_in(self, name):
        """Open a placeholder of the same size as a dock, as napari does."""
        area, frame = Qt.DockWidgetArea.RightDockWidgetArea, QDockWidget(f"{name} (napari-melanoma)")
        content = QWidget()
        content.setObjectName(f"{name.lower()}_dock")
        content.setAccessibleName(name)
        QVBoxLayout(content).addSpacing(500)
        DockPlacement(content)
        frame.setWidget(content)
        there = [one for one in self.window.findChildren(QDockWidget) if self.window.dockWidgetArea(one) == area]
        self.window.addDockWidget(area, frame)
        sizes = range(1, 4 * len(there) + 2, 4)
        self.window.resizeDocks([*there, frame], list(sizes), Qt.Orientation.Vertical)
        self.settle()

    def closes_all(self):
        for frame in self.frames():
            self.window.removeDockWidget(frame)
            frame.deleteLater()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        self.settle()

    def chooses(self, name):
        """Choose a dock in napari's menu."""
        menu = next(
            action.menu() for action in self.viewer.window.plugins_menu.actions() if action.text() == "Melanoma"
        )
        next(action for action in menu.actions() if action.text() == f"{name} (Melanoma)").trigger()
        self.settle()

    def shows(self, name):
        """Show a dock as a link does."""
        show_dock(self.viewer, name)
        self.settle()

    def is_in_front(self, frame):
        return not frame.visibleRegion().isEmpty()

    def faults(self, names):
        """Reasons why a user cannot see or reach these docks; clicks each tab."""
        window, (width, height) = self.window.rect(), self.size
        found = []
        if self.window.width() > width or self.window.height() > height:
            found.append(f"the window is {self.window.width()} x {self.window.height()}")
        if self.window.centralWidget().width() < CANVAS_PX:
            found.append(f"the canvas is {self.window.centralWidget().width()} px wide")
        for name in names:
            frame = self.frame(name)
            if not self.is_in_front(frame) and not self.clicks_tab(name):
                found.append(f"{name} has no tab")
            elif not self.is_in_front(frame):
                found.append(f"{name} is not in front after a click on its tab")
            elif not window.contains(frame.geometry()):
                found.append(f"{name} is at {frame.geometry().getRect()} outside of {window.getRect()}")
            elif frame.height() < 0.8 * self.window.height():
                found.append(f"{name} is {frame.height()} px high")
        return found

    def clicks_tab(self, name):
        for bar in self.window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
            texts = [bar.tabText(index) for index in range(bar.count())]
            if bar.isVisible() and name in texts and self.window.rect().contains(bar.geometry()):
                place = bar.tabRect(texts.index(name))
                if not bar.rect().contains(place) or bar.fontMetrics().horizontalAdvance(name) > place.width():
                    return False
                self.qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=place.center())
                self.settle()
                return True
        return False


def own(content):
    return any(isinstance(child, DockPlacement) for child in content.children())


def orders_at(size):
    """Return half of the orders: the even permutations at one size, and the odd ones at the other.

    In each half, any three docks are opened first in any order.
    """
    is_half_even = size == SIZES["laptop"]
    return [order for order in itertools.permutations(DOCKS) if is_even(order) == is_half_even]


def is_even(order):
    swapped = [DOCKS.index(first) > DOCKS.index(second) for first, second in itertools.combinations(order, 2)]
    return sum(swapped) % 2 == 0


def test_every_order_keeps_every_dock_within_reach(plain):
    wrong = {}
    for order in orders_at(plain.size):
        for number, name in enumerate(order, start=1):
            plain.opens_stand_in(name)
            if not plain.is_in_front(plain.frame(name)):
                wrong[order[:number]] = f"{name} is not in front"
        found = plain.faults(order)
        if found:
            wrong[order] = found
        plain.closes_all()
    assert not wrong


@pytest.mark.parametrize("size", [SIZES["full HD"]], ids=["full HD"])
def test_docks_opened_by_the_menu_and_by_one_another(stage):
    order = DOCKS
    for number, name in enumerate(order, start=1):
        stage.chooses(name) if number % 2 else stage.shows(name)
        assert stage.is_in_front(stage.frame(name))
        assert stage.faults(order[:number]) == []
    for name in order:  # once more: by a link, and by the menu, which hides a dock that lies behind others
        stage.shows(name)
        assert stage.is_in_front(stage.frame(name))
    assert len(stage.frames()) == len(order)
    for name in order[:-1]:
        hidden = not stage.is_in_front(stage.frame(name))
        stage.chooses(name)
        assert stage.is_in_front(stage.frame(name)) == hidden
    assert stage.faults([name for name in order if not stage.frame(name).isHidden()]) == []


@pytest.mark.parametrize("size", [SIZES["laptop"]], ids=["laptop"])
def test_docks_opened_at_once_have_one_place_and_leave_the_window_as_it_is(stage, slide_path):
    stage.chooses("Slide")
    slide = stage.frame("Slide").widget()
    slide.opener.open([slide_path])  # what works on a slide needs more height than the invitation
    wait_until_idle(stage.qtbot, slide)
    for name in ("Review", "Train", "Lesion", "Case"):
        show_dock(stage.viewer, name)
    stage.settle()
    # The dock in front is hidden by the menu, and comes back.
    assert stage.is_in_front(stage.frame("Case"))
    stage.chooses("Case")
    assert stage.frame("Case").isHidden()
    assert [stage.is_in_front(stage.frame(name)) for name in DOCKS].count(True) == 1
    stage.chooses("Case")
    assert stage.is_in_front(stage.frame("Case"))
    assert stage.faults(DOCKS) == []
    # A tab behind others is closed.
    stage.shows("Case")
    stage.frame("Slide").close()  # as the menu of the window's border does
    stage.settle()
    assert stage.frame("Slide").isHidden()
    assert stage.faults([name for name in DOCKS if name != "Slide"]) == []
