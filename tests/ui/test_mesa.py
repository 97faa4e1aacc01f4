"""The way round Mesa's crash: only where it is needed, from every dock, and so that no program is deleted."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest
from vispy.gloo import Program

from napari_melanoma.ui import mesa


@pytest.fixture
def deleted(monkeypatch):
    """Programs that vispy deletes; its own way is put back afterwards."""
    found = []
    monkeypatch.setattr(Program, "delete", lambda program: found.append(program))
    return found


def test_a_program_of_a_closed_layer_is_kept_on_linux(deleted, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    mesa.keep_shaders()
    program = Program()
    program.delete()
    assert deleted == []


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_programs_are_deleted_as_before(deleted, monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    mesa.keep_shaders()
    program = Program()
    program.delete()
    assert deleted == [program]


def test_another_call_changes_nothing_more(deleted, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    mesa.keep_shaders()
    once = Program.delete
    mesa.keep_shaders()
    assert Program.delete is once


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux draws with Mesa")
def test_a_layer_that_is_removed_deletes_no_program(deleted, make_napari_viewer):
    import numpy as np

    viewer = make_napari_viewer()
    mesa.keep_shaders()
    viewer.layers.remove(viewer.add_image(np.zeros((8, 8, 3), np.uint8), rgb=True))
    assert deleted == []


@pytest.mark.parametrize("name", ["Lesion", "Review", "Train", "Case", "Slide"])
def test_every_dock_calls_it_once(name, shared_client, make_napari_viewer, monkeypatch, tmp_path, qtbot):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    calls = []
    monkeypatch.setattr(
        import_module(f"napari_melanoma.ui.{name.lower()}.dock"), "keep_shaders", lambda: calls.append(name)
    )
    _, dock = make_napari_viewer().window.add_plugin_dock_widget("napari-melanoma", name)
    qtbot.waitUntil(lambda: not dock.busy, timeout=20_000)
    assert calls == [name]
