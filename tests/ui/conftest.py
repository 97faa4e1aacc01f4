"""A viewer with the Lesion dock, a fake worker without a network, and a check for leaks."""

from __future__ import annotations

import functools
import gc
import os
import sys
import tempfile
import threading
from collections import Counter
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from message_boxes import press_button
from qtpy.QtCore import QEvent
from quick_napari import (
    compute_once,
    ignore_other_windows,
    parse_unit_of_pixels_once,
    read_attributes_directly,
    restyle_only_when_changed,
    set_dims_only_when_changed,
    update_shortcuts_when_seen,
)
from reused_viewer import ReusedViewer
from reused_worker import FAKE_WORKER, FakeWorkerClient, ReusedWorker

from napari_melanoma.ui.viewer import garbage
from napari_melanoma.ui.widgets.job import tasks

SHAPE = (120, 160)
PATIENCE_MS = 60_000
VIEWERS = ("shown_viewer", "viewer")
# Relative duration of tests that use these fixtures.
COSTS = {"make_napari_viewer": 12, "shown_viewer": 8, "viewer": 6, "opens_dock": 6, "person": 6}
UNUSUAL = 100_000  # objects; each viewer leaves some thousands, importing napari twice as many as this


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
    config.addinivalue_line("markers", "both_qts: may fail under one Qt binding only, so run under both")
    config.addinivalue_line("markers", "own_viewer: gets a new viewer: it leaves callbacks there or needs all parts")


@pytest.hookimpl(trylast=True)  # of what -m leaves
def pytest_collection_modifyitems(config, items):
    """Run tests of one kind of viewer one after the other; keep one part of the files, such as 1/2, if that is set.

    The variable is ``NAPARI_MELANOMA_TEST_PART``.
    """
    items.sort(key=lambda item: [makes_viewer(item), *(name in item.fixturenames for name in VIEWERS)])
    part_setting = os.environ.get("NAPARI_MELANOMA_TEST_PART")
    if not part_setting:
        return
    part, parts = (int(number) for number in part_setting.split("/"))
    cost = Counter()
    for item in items:
        cost[item.path] += max(COSTS.get(name, 1) for name in ("", *item.fixturenames))
    load, index = [0] * parts, {}
    for path in sorted(cost, key=lambda path: (-cost[path], path)):
        index[path] = load.index(min(load))
        load[index[path]] += cost[path]
    config.hook.pytest_deselected(items=[item for item in items if index[item.path] != part - 1])
    items[:] = [item for item in items if index[item.path] == part - 1]


@pytest.fixture(autouse=True)
def quick_collection(qapp):
    """Exclude imported objects from garbage collection, since napari collects whenever a layer is removed."""
    leave_out_what_is_there(qapp)
    yield
    leave_out_what_is_there(qapp)


def leave_out_what_is_there(qapp):
    """Freeze existing objects if there are more than tests create."""
    if len(gc.get_objects()) > UNUSUAL:
        qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def nothing_read_or_written_for_each_viewer():
    """Read plugin manifests once, and do not write napari's settings: both take longer than most tests.

    Garbage collection when a layer is removed is also limited; napari does it for drivers on Windows. A dock does not
    freeze objects, since it would unfreeze those of ``quick_collection`` when it is closed.
    """
    from napari._vispy import canvas
    from napari.settings import NapariSettings
    from npe2 import PluginManifest

    read = functools.cache(PluginManifest.from_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "from_file", staticmethod(lambda path: read(path).model_copy(deep=True)))
        patch.setattr(NapariSettings, "save", lambda self, *_, **__: None)
        patch.setattr(garbage, "gc", SimpleNamespace(**{**vars(gc), "freeze": lambda: None, "unfreeze": lambda: None}))
        compute_once(patch)
        read_attributes_directly(patch)
        set_dims_only_when_changed(patch)
        parse_unit_of_pixels_once(patch)
        ignore_other_windows(patch)
        restyle_only_when_changed(patch)
        update_shortcuts_when_seen(patch)
        if sys.platform != "win32":
            patch.setattr(canvas, "gc", SimpleNamespace(collect=lambda: gc.collect(0)), raising=False)
        yield


@pytest.fixture
def thawed(monkeypatch):
    """Let docks themselves leave libraries out of garbage collection, and nothing be left out before."""
    monkeypatch.setattr(garbage, "gc", gc)
    gc.unfreeze()
    yield
    gc.unfreeze()


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


@pytest.fixture(scope="session", autouse=True)
def reused_worker(qapp):
    yield
    ReusedWorker.end()


@pytest.fixture
def client(home, nothing_left):
    """A worker client with the fake worker."""
    made = FakeWorkerClient()
    yield made
    made.leave()
    made.deleteLater()
    assert not list(home.glob("napari-melanoma-worker-*"))


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
        ours = left()
        assert not ours, ours

    qtbot.waitUntil(gone, timeout=PATIENCE_MS)

    def ended():  # a thread emits finished shortly before it ends
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("melanoma")]

    qtbot.waitUntil(ended, timeout=PATIENCE_MS)
    assert not [
        child
        for child in psutil.Process().children(recursive=True)
        if FAKE_WORKER.name in command_of(child) and child.pid != ReusedWorker.pid()
    ]


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


@pytest.fixture(scope="session")
def reused_viewer(qapp, nothing_read_or_written_for_each_viewer):
    made = ReusedViewer(qapp)
    yield made
    made.close()


@pytest.fixture
def make_napari_viewer(reused_viewer, closed_viewer, make_napari_viewer):
    """Make viewers that are closed after the test; those that are reused are faster."""
    return make_napari_viewer


@pytest.fixture
def closed_viewer(reused_viewer):
    """Close the viewer of other tests: there is one at a time."""
    reused_viewer.close()


def makes_viewer(item):
    """Return whether a test has a viewer of its own."""
    return "make_napari_viewer" in item.fixturenames or item.get_closest_marker("own_viewer") is not None


def empty_viewer(request, is_shown):
    if makes_viewer(request.node):
        yield request.getfixturevalue("make_napari_viewer")(show=is_shown)
        return
    reused = request.getfixturevalue("reused_viewer")
    is_drawn = is_shown and ("drawn" in request.fixturenames or "undrawn" not in request.fixturenames)
    yield reused.get(is_shown, request.getfixturevalue("qtbot"), is_drawn=is_drawn)
    if hasattr(request.node, "rep_call") and not request.node.rep_call.failed:
        reused.empty()
    else:
        reused.discard()


@pytest.fixture
def viewer(client, request):
    """An empty viewer without a visible window, the same for all tests that do not make their own."""
    yield from empty_viewer(request, is_shown=False)


@pytest.fixture
def undrawn():
    """Leave the canvas of ``shown_viewer`` empty, for tests about something else than drawing."""


@pytest.fixture
def drawn(shown_viewer):
    """Draw the layers of ``shown_viewer`` and create their controls, also where a fixture requests ``undrawn``."""


@pytest.fixture
def shown_viewer(nothing_left, request):
    """An empty viewer in a visible window, the same for all tests that do not make their own."""
    yield from empty_viewer(request, is_shown=True)


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
        return self.dock.controller.store.lesions[self.dock.picker.identity]

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
