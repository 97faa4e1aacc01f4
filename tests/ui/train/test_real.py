"""The Train dock in napari itself, with a training that really runs: from the menu to the active model."""

from __future__ import annotations

import contextlib
import json

import psutil
import pytest
from message_boxes import answering
from qtpy.QtCore import Qt

from conftest import wait_until_idle
from napari_melanoma.training.recipe import TrainRecipe

from .test_train import Trainer, write_data_set

PATIENCE_MS = 300_000  # a child that imports torch on a machine that is busy otherwise
PAUSE_MS = 100  # asking more often would take as long as the training
TINY = {"encoder": "mobilenetv3_small_050", "decoder_channels": 16}


@pytest.fixture
def trainer(home, shown_viewer, qtbot, monkeypatch):
    """A user who opened the dock from napari's menu."""
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    _, dock = shown_viewer.window.add_plugin_dock_widget("napari-melanoma", "Train")
    made = Trainer(shown_viewer, dock, qtbot)
    made.waits()
    yield made
    with contextlib.suppress(RuntimeError):
        wait_until_idle(qtbot, dock, timeout=PATIENCE_MS)


def tiny(recipe: TrainRecipe) -> TrainRecipe:
    """The same recipe with a network that learns in seconds."""
    model = recipe.model.model_copy(update={"options": TINY, "input_size": 32, "freeze_normalisation": False})
    data = recipe.data.model_copy(update={"cache_size": 48})
    quick = {"epochs": 2, "batch_size": 4, "device": "cpu", "precision": "fp32", "samples": 2}
    return recipe.model_copy(update={**quick, "name": "tiny", "model": model, "data": data})


def state(trainer) -> str:
    report = trainer.dock.run_page.status
    return "" if report is None else str(report.state)


def test_from_the_menu_to_the_new_model(trainer, home, qtbot):
    from napari_melanoma.models.installed_bundles import list_bundles

    def until(condition):
        for _ in range(PATIENCE_MS // PAUSE_MS):
            if condition():
                return
            qtbot.wait(PAUSE_MS)
        assert condition()

    trainer.adds(write_data_set(home / "blobs", 12, side=32))
    trainer.picks("start_from", "none")
    trainer.dock.recipe_form.set_values(tiny(trainer.dock.build_recipe()))
    trainer.dock._check_recipe()
    trainer.waits()
    trainer.starts()
    run = trainer.dock.run_page.watch.path
    assert run.name == "tiny-01"
    until(lambda: state(trainer) in ("finished", "failed", "lost"))
    assert state(trainer) == "finished", trainer.dock.run_page.status.message
    until(lambda: trainer.dock.run_page.comparison_view.isVisible())
    pid = json.loads((run / "process.json").read_text())["pid"]
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert len(trainer.dock.run_page.status.metrics) == 2
    until(trainer.dock.run_page.comparison_view.activate_button.isEnabled)
    with answering("replace"):  # so few images show no difference, so the dock asks
        qtbot.mouseClick(trainer.dock.run_page.comparison_view.activate_button, Qt.MouseButton.LeftButton)
    until(lambda: "is in use" in trainer.dock.status.text)
    assert "tiny" in [bundle.name for bundle in list_bundles()]
    trainer.clicks("back")
    assert trainer.dock.start_picker.combo.findData("tiny") >= 0
