"""Combo boxes of models list them when that is needed, and remember the stored model until then."""

from __future__ import annotations

import shutil

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget
from slide_models import TILE_TEST

from napari_melanoma.extensions.risk.ui.model_picker import RiskModelPicker
from napari_melanoma.models import (
    AUTOMATIC,
    DEFAULT_BUNDLE,
    DEFAULT_CLASSIFIER,
    DEFAULT_PHONE_CLASSIFIER,
    installed_bundles,
)
from napari_melanoma.models.bundle import CONFIG
from napari_melanoma.ui.slide.model_picker import SlideModelPicker
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.model_picker import OTHER, ClassifierPicker, ExtensibleModelPicker, ModelPicker
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import ThemedIcons


@pytest.fixture
def listings(monkeypatch):
    """The tasks for which models were listed."""
    found, list_models = [], installed_bundles.list_photograph_models
    monkeypatch.setattr(
        installed_bundles, "list_photograph_models", lambda task: found.append(task) or list_models(task)
    )
    return found


@pytest.fixture
def models_folder(tmp_path, monkeypatch):
    """An empty folder for the user's models."""
    monkeypatch.setattr(installed_bundles, "user_models_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def picker(qtbot, home):
    """Make a combo box that is not shown."""
    window = QWidget()
    qtbot.addWidget(window)

    def make(kind=ModelPicker):
        made = kind(ThemedIcons(ViewerModel(), window, Connections()))
        qtbot.addWidget(made)
        return made

    return make


def test_the_stored_model_is_known_before_the_models_are_listed(picker, listings):
    made = picker()
    made.select_stored(DEFAULT_BUNDLE)
    assert (made.model, listings) == (DEFAULT_BUNDLE, [])
    made.show()
    assert listings == ["segmentation"]
    assert (made.model, made.combo.currentText()) == (DEFAULT_BUNDLE, DEFAULT_BUNDLE)
    assert made.combo.count() > 1


def test_models_that_change_before_the_list_is_made_are_listed_once(picker, listings):
    made, changes = picker(), []
    made.changed.connect(lambda: changes.append(made.model))
    made.select_stored("gone")
    user_data().models_changed.emit("")
    assert listings == ["segmentation"]
    assert (made.model, changes) == ("gone", [])
    assert made.combo.currentText() == "gone (not found)"
    user_data().models_changed.emit(DEFAULT_BUNDLE)
    assert changes == [DEFAULT_BUNDLE]


@pytest.mark.parametrize("kind", [ModelPicker, ClassifierPicker])
def test_a_listing_that_failed_is_repeated(picker, monkeypatch, kind):
    """As when the model folder is on a drive that is not available for a moment."""
    made, list_models = picker(kind), installed_bundles.list_photograph_models

    def fail(task):
        raise OSError("drive not ready")

    monkeypatch.setattr(installed_bundles, "list_photograph_models", fail)
    made.select_stored("")
    with pytest.raises(OSError, match="drive not ready"):
        made.ensure_listed()
    monkeypatch.setattr(installed_bundles, "list_photograph_models", list_models)
    made.select_stored(DEFAULT_BUNDLE if kind is ModelPicker else DEFAULT_CLASSIFIER)
    assert made.combo.count() > 1
    assert made.combo.currentText() == made.model != ""


def test_the_stored_classifier_may_depend_on_the_photograph_or_be_none(picker, listings):
    made = picker(ClassifierPicker)
    made.select_stored(AUTOMATIC)
    assert (made.model, listings) == (AUTOMATIC, [])
    models = [DEFAULT_CLASSIFIER, DEFAULT_PHONE_CLASSIFIER]
    assert [made.model_for(modality) for modality in ("dermoscopic", "macroscopic")] == models
    assert made.model_for(None) == DEFAULT_CLASSIFIER
    assert [made.combo.itemText(index) for index in range(4)] == ["no prediction", "automatic", *sorted(models)]
    assert made.combo.currentText() == "automatic"
    none = picker(ClassifierPicker)
    none.select_stored("")
    assert (none.model, none.model_for("dermoscopic")) == ("", "")
    assert listings == ["classification"]


@pytest.mark.parametrize("kind", [ModelPicker, ClassifierPicker, SlideModelPicker])
def test_models_that_another_program_installs_or_removes_are_noticed_when_the_list_opens(picker, models_folder, kind):
    """Models are imported on the command line, and removed or renamed as folders."""
    shipped = {ModelPicker: DEFAULT_BUNDLE, ClassifierPicker: DEFAULT_CLASSIFIER, SlideModelPicker: str(TILE_TEST)}
    made = picker(kind)
    made.ensure_listed()
    before = texts(made)
    first, second = (
        installed_bundles.install_bundle(installed_bundles.find_bundle(shipped[kind]), name) for name in ("one", "two")
    )
    assert texts(made) == before
    made.combo.opening.emit()
    assert set(texts(made)) == {*before, "one", "two"}
    made.model = "one"
    for bundle in (first, second):
        shutil.rmtree(bundle.path)
    made.combo.opening.emit()
    assert set(texts(made)) == {*before, "one (not found)"}
    assert made.model == "one"
    installed_bundles.install_bundle(installed_bundles.find_bundle(shipped[kind]), "one")
    made.combo.opening.emit()
    assert set(texts(made)) == {*before, "one"}


@pytest.mark.parametrize("kind", [ModelPicker, ClassifierPicker, SlideModelPicker, RiskModelPicker])
def test_an_unusable_model_is_listed_with_the_reason_until_it_is_removed(picker, models_folder, kind):
    folder = models_folder / "broken"
    folder.mkdir()
    (folder / CONFIG).write_text("{", encoding="utf-8")
    made = picker(kind)
    made.ensure_listed()
    index = made.combo.findText("broken (not usable)")
    assert "config.json" in made.combo.itemData(index, Qt.ItemDataRole.ToolTipRole)
    assert not made.combo.model().item(index).isEnabled()
    assert made.combo.currentIndex() != index
    if issubclass(kind, ExtensibleModelPicker):
        assert made.combo.itemData(made.combo.count() - 1) == OTHER
    shutil.rmtree(folder)
    made.combo.showPopup()
    made.combo.hidePopup()
    assert "broken (not usable)" not in texts(made)


def texts(picker):
    return [picker.combo.itemText(index) for index in range(picker.combo.count())]
