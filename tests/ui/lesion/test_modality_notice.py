"""The Lesion dock shows a warning while an image is shown that does not look like a photograph of skin."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from lesion_fixtures import FIXTURES
from qtpy.QtWidgets import QComboBox, QLabel

from napari_melanoma.imaging.modality import ModalityEstimate
from napari_melanoma.lesion import analysis
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig
from napari_melanoma.ui.lesion import dock as lesion_dock
from napari_melanoma.ui.viewer.photographs import METADATA_KEY

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)

NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def test_the_warning_is_visible_only_with_its_photograph_and_links_to_its_file(person, monkeypatch, tmp_path):
    notice, label = person.dock.modality_notice, person.finds(QLabel, "modality_warning")
    person.opens("lesion", lesion_phantom(LesionPhantomConfig(seed=3, size=(120, 160))).rgb)
    person.analyses()
    assert not notice.isVisibleTo(person.dock)
    person.opens("noise", NOISE)
    assert not notice.isVisibleTo(person.dock)
    person.analyses()
    assert notice.isVisibleTo(person.dock)
    assert "does not look like a photograph of a skin lesion" in label.text()
    assert "href" not in label.text()
    person.dock.picker.step(-1)
    assert not notice.isVisibleTo(person.dock)
    # A file is opened as a slide by the link.
    shown = []
    slide_dock = SimpleNamespace(show_file=shown.append)
    monkeypatch.setattr(lesion_dock, "show_dock", lambda viewer, name: {"Slide": slide_dock}[name])
    person.opens("section", NOISE[::-1], metadata={METADATA_KEY: {"path": str(tmp_path / "section.tif")}})
    person.analyses()
    link = re.search(r"href='([^']*)'", label.text()).group(1)
    label.linkActivated.emit(link)
    assert shown == [tmp_path / "section.tif"]


def test_an_uncertain_type_is_requested_in_the_dock_and_stored(person, monkeypatch):
    monkeypatch.setattr(analysis, "recognize_modality", lambda rgb: ModalityEstimate("macroscopic", 0.95))
    notice, label = person.dock.modality_notice, person.finds(QLabel, "modality_warning")
    combo = person.finds(QComboBox, "photograph_type")
    person.opens("lesion", lesion_phantom(LesionPhantomConfig(seed=3, size=(120, 160))).rgb)
    person.analyses()
    assert combo.currentText() == "not stated"
    assert "Is this photograph <a" in label.text()
    assert "assumed" not in label.text(), "which the prediction states, or that it is not valid for what it looks like"
    label.linkActivated.emit("macroscopic")
    person.waits()
    result = person.lesion.result
    assert combo.currentText() == "macroscopic"
    assert (result.photograph.modality, result.modality) == ("macroscopic", "macroscopic")
    assert not notice.isVisibleTo(person.dock)
    combo.setCurrentIndex(combo.findData("dermoscopic"))
    combo.activated.emit(combo.currentIndex())
    person.waits()
    result = person.lesion.result
    assert result.modality == "dermoscopic"
    person.opens("other", lesion_phantom(LesionPhantomConfig(seed=4, size=(120, 160))).rgb)
    assert combo.currentText() == "not stated"
    person.dock.picker.step(-1)
    assert combo.currentText() == "dermoscopic"
