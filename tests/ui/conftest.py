"""A viewer with the Lesion dock, a fake worker without a network, and a check for leaks."""

from __future__ import annotations

import gc
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from message_boxes import press_button
from napari import Viewer
from patience import PATIENCE_MS
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent
from qtpy.QtGui import QAction

from napari_melanoma.imaging import modality
from napari_melanoma.imaging.modality import ModalityEstimate
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.worker_client import WorkerClient

SHAPE = (120, 160)
FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
WINDOW_SIZE = (800, 520)  # nearly the smallest: without a GPU, drawing takes as long as there are pixels


def make_fake_client():
    """Return a client of the fake worker."""
    return WorkerClient([sys.executable, str(FAKE_WORKER)])


def wait_until_idle(qtbot, *scopes, timeout=2 * PATIENCE_MS):
    """Wait until nothing is running or pending in docks, or parts of them; without scopes, in all."""
    try:
        qtbot.waitUntil(lambda: tasks.is_idle(*scopes), timeout=timeout)
    except TimeoutError as error:
        raise TimeoutError(f"still running: {tasks.running(*scopes)}") from error


def until(qtbot, condition):
    qtbot.waitUntil(condition, timeout=PATIENCE_MS)


def photograph(lesions=((60, 80, 25),), shape=SHAPE):
    """Skin with dark disks (row, column, radius): uint8 (row, column, channel)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rgb = np.full((*shape, 3), (215, 170, 150), np.uint8)
    for row, column, radius in lesions:
        rgb[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = (70, 45, 40)
    return rgb


def pytest_configure(config):
    """Register the markers; CONTRIBUTING.md has their rules."""
    config.addinivalue_line("markers", "path: a main path of a dock in a window, run by `make test`")
    config.addinivalue_line("markers", "both_qts: may fail under one Qt binding only, so run under both")
    for wait in (QtBot.waitUntil, QtBot.waitSignal, QtBot.waitSignals, QtBot.waitActive, QtBot.waitExposed):
        wait.__kwdefaults__["timeout"] = PATIENCE_MS  # 5 s are too short on a busy machine


@pytest.fixture(autouse=True)
def recognized_drawings(monkeypatch):
    """Drawings of a few colors count as dermoscopic: their type would be recognized by chance."""
    recognize = modality._recognize_uncropped

    def recognize_drawing(rgb):
        is_drawn = 1 < len(np.unique(rgb.reshape(-1, 3), axis=0)) <= 16
        return ModalityEstimate("dermoscopic", 0.95) if is_drawn else recognize(rgb)

    monkeypatch.setattr(modality, "_recognize_uncropped", recognize_drawing)


@pytest.fixture(scope="session", autouse=True)
def lasting_messages():
    """Keep brief messages until they are replaced: on a slow machine they would end before a test reads them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_melanoma.ui.widgets.status_line.BRIEF_MS", 10 * PATIENCE_MS)
        yield


@pytest.fixture(scope="session", autouse=True)
def immediate_searches():
    """Search for a ruler at once: tests wait for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_melanoma.ui.lesion.scale_proposals.SEARCH_DELAY_MS", 0)
        yield


@pytest.fixture(autouse=True)
def answered_questions(monkeypatch):
    """Close a question that nobody answers, which would wait forever, and let its test fail."""
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QMessageBox

    unanswered, exec_box = [], QMessageBox.exec

    def exec_for_a_while(box):
        def give_up():
            unanswered.append(box.text())
            box.reject()

        timer = QTimer(box)
        timer.timeout.connect(give_up)
        timer.start(PATIENCE_MS)
        return exec_box(box)

    monkeypatch.setattr(QMessageBox, "exec", exec_for_a_while)
    yield
    assert not unanswered, f"nobody answered: {unanswered}"


@pytest.fixture
def home(tmp_path, monkeypatch, qapp):
    """Separate settings and recovery files for each test; napari's own folders stay, since Qt has icons there."""
    from qtpy.QtCore import QSettings

    for variable in ("XDG_STATE_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "state"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(kind, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    return tmp_path


@pytest.fixture
def client(home, nothing_left):
    """A worker client with the fake worker."""
    made = make_fake_client()
    yield made
    made.close()
    made.deleteLater()


@pytest.fixture
def nothing_left(qtbot, qapp):
    """Check that a test leaves no widgets, threads, processes and temporary folders."""
    before = {id(widget) for widget in qapp.allWidgets()}
    yield
    wait_until_idle(qtbot)

    def left():
        new = [widget for widget in qapp.allWidgets() if id(widget) not in before]
        return [widget for widget in new if type(widget).__module__.startswith("napari_melanoma")]

    def gone():
        if left():  # rarely; a full collection takes as long as a short test
            gc.collect()
        own = left()
        assert not own, own

    qtbot.waitUntil(gone, timeout=PATIENCE_MS)

    def ended():  # a thread emits finished shortly before it ends
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("melanoma")]

    qtbot.waitUntil(ended, timeout=PATIENCE_MS)
    assert not [child for child in psutil.Process().children(recursive=True) if FAKE_WORKER.name in command_of(child)]


def command_of(process):
    """The command line of a process; empty if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def shared_client(client, monkeypatch):
    """Use the fake worker as the shared worker of docks."""
    from napari_melanoma.ui import worker_client

    monkeypatch.setattr(worker_client._SharedWorker, "client", client)
    monkeypatch.setattr(worker_client._SharedWorker, "users", 1)
    return client


@pytest.fixture
def make_napari_viewer(make_napari_viewer, qapp):
    """Make viewers that are closed after the test; docks are deleted before napari looks for viewers that are left."""
    yield make_napari_viewer
    Viewer.close_all()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def viewer(client, make_napari_viewer):
    """An empty viewer without a visible window."""
    return make_napari_viewer(show=False)


@pytest.fixture
def shown_viewer(nothing_left, make_napari_viewer, qtbot):
    """An empty viewer in a visible window."""
    made = make_napari_viewer(show=True)
    window = made.window._qt_window
    window.resize(*WINDOW_SIZE)
    window.activateWindow()
    qtbot.waitExposed(window)
    return made


@pytest.fixture
def dock(viewer, shared_client, qtbot):
    """The Lesion dock as opened from napari's menu, with a proxy of the viewer."""
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Lesion")
    yield made
    wait_until_idle(qtbot, made)


class Person:
    """Simulates a user of the dock."""

    def __init__(self, viewer, dock, qtbot):
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot

    def opens(self, name="mole", rgb=None, **options):
        return self.viewer.add_image(photograph() if rgb is None else rgb, name=name, rgb=True, **options)

    def finds(self, kind, name):
        self.qtbot.waitUntil(lambda: self.dock.findChild(kind, name) is not None, timeout=PATIENCE_MS)
        return self.dock.findChild(kind, name)

    def clicks(self, name):
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QAbstractButton

        button = self.finds(QAbstractButton, name)
        assert button.isEnabled(), f"{name} is disabled: {button.toolTip()}"
        self.qtbot.waitUntil(lambda: button.height() > 0, timeout=PATIENCE_MS)  # shown but not laid out yet
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def chooses(self, name):
        """Choose an action of a menu."""
        action = self.finds(QAction, name)
        assert action.isEnabled(), f"{name} is disabled: {action.toolTip()}"
        action.trigger()

    def waits(self):
        wait_until_idle(self.qtbot, self.dock)

    def analyses(self):
        self.clicks("primary")
        self.waits()

    def layer(self, role, name="mole"):
        return self.viewer.layers[f"{name} {role}"]

    @property
    def mask(self):
        return self.layer("mask").data != 0

    @property
    def lesion(self):
        return self.dock.picker.session.lesion

    def answers(self, question, button):
        press_button(self.qtbot, question, button)

    def draws(self, layer, points, label=1, mode="paint", brush=9):
        """Draw with the mouse through the layer's own tools."""
        from napari.utils._test_utils import read_only_mouse_event
        from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks

        self.viewer.layers.selection.active = layer
        layer.selected_label, layer.brush_size, layer.mode = label, brush, mode
        steps = [("mouse_press", mouse_press_callbacks)]
        steps += [("mouse_move", mouse_move_callbacks)] * (len(points) - 1)
        for point, (kind, call) in zip(points, steps, strict=True):
            call(layer, self._event(read_only_mouse_event, kind, layer, point))
        mouse_release_callbacks(layer, self._event(read_only_mouse_event, "mouse_release", layer, points[-1]))

    def _event(self, make, kind, layer, point):
        world = tuple(layer.data_to_world(point))
        return make(type=kind, is_dragging=kind == "mouse_move", position=world, dims_displayed=(0, 1))


@pytest.fixture
def person(viewer, dock, qtbot):
    """A user of the dock."""
    return Person(viewer, dock, qtbot)


@pytest.fixture
def window(client, shown_viewer, qtbot):
    """A user of the dock in a visible window."""
    from napari_melanoma.ui.lesion.dock import LesionDock

    made = LesionDock(shown_viewer, client)
    shown_viewer.window.add_dock_widget(made, name="Lesion", area="right")
    return Person(shown_viewer, made, qtbot)
