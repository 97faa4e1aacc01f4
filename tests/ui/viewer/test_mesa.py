"""The workaround for Mesa's crash: only on Linux, active with every dock, without accumulating programs."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

import numpy as np
import pytest
from vispy.gloo.glir import GlirProgram, GlirShader

from conftest import wait_until_idle
from napari_melanoma.ui.viewer import mesa

PATCHED = [(GlirShader, "set_data"), (GlirProgram, "create"), (GlirProgram, "link_program"), (GlirProgram, "delete")]


@pytest.fixture
def before(monkeypatch):
    """Restore vispy's own handling of programs afterwards."""
    ways = (mesa._vispy_set_data, mesa._vispy_create, mesa._vispy_link, lambda program: None)
    for (owner, name), way in zip(PATCHED, ways, strict=True):
        monkeypatch.setattr(owner, name, way)


@pytest.fixture
def linked(monkeypatch, before):
    """Programs that are linked again."""
    found = []
    link = mesa._vispy_link

    def counted(program):
        found.append(program)
        link(program)

    monkeypatch.setattr(mesa, "_vispy_link", counted)
    return found


def ways():
    return [getattr(owner, name) for owner, name in PATCHED]


def test_programs_are_reused_on_linux(before, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    mesa.reuse_shader_programs()
    assert ways() == [mesa._set_code, mesa._create, mesa._link, mesa._release]


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_programs_are_deleted_as_before(before, monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    known = ways()
    mesa.reuse_shader_programs()
    assert ways() == known


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux draws with Mesa")
def test_new_layers_reuse_the_programs_of_closed_ones(linked, make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    mesa.reuse_shader_programs()
    counts = []
    for gray in (40, 80, 120):
        viewer.add_image(np.full((8, 8, 3), gray, np.uint8), rgb=True)
        viewer.add_labels(np.ones((8, 8), np.uint8))
        viewer.screenshot(canvas_only=True, flash=False)
        viewer.layers.clear()
        gc.collect()  # napari does so itself; here it collects what is young
        viewer.screenshot(canvas_only=True, flash=False)
        counts.append(len(linked))
    assert counts[0] > 0
    assert counts[1:] == [counts[0]] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux draws with Mesa")
def test_a_reused_program_draws_its_own_layer_without_being_linked_again(linked, make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    mesa.reuse_shader_programs()
    for gray in (40, 200, 90):
        viewer.add_image(np.full((8, 8, 3), gray, np.uint8), rgb=True)
        viewer.reset_view()
        shot = viewer.screenshot(canvas_only=True, flash=False)
        assert abs(int(shot[shot.shape[0] // 2, shot.shape[1] // 2, 0]) - gray) <= 1
        viewer.layers.clear()

    before, square = len(linked), np.array([[0.0, 0], [0, 100], [100, 100], [100, 0]])
    style = {"shape_type": "polygon", "edge_width": 0, "face_color": "red", "opacity": 1}
    layer = viewer.add_shapes([square], **style)
    viewer.reset_view()
    pictures, counts = [], []
    for moved in (0, 300, 0):
        layer.data = [(np.add(square, [0, moved]), "polygon")]
        pictures.append(viewer.screenshot(canvas_only=True, flash=False))
        counts.append(len(linked))
    assert counts[0] > before
    assert counts[1:] == [counts[0]] * 2
    center = tuple(side // 2 for side in pictures[0].shape[:2])
    assert [picture[center][0] for picture in pictures] == [255, 0, 255]


def test_every_dock_calls_it_once(shared_client, viewer, monkeypatch, tmp_path, qtbot):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    calls, names = [], ["Lesion", "Review", "Train", "Case", "Slide"]
    for name in names:
        module = import_module(f"napari_melanoma.ui.{name.lower()}.dock")
        monkeypatch.setattr(module, "reuse_shader_programs", lambda name=name: calls.append(name))
    for name in names:
        _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", name)
        wait_until_idle(qtbot, dock)
    assert calls == names
