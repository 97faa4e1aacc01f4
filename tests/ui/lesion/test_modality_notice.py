"""The Lesion dock shows a warning while an image is shown that does not look like a photograph of skin."""

from __future__ import annotations

import numpy as np
from qtpy.QtWidgets import QLabel

from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig


def test_the_warning_is_visible_only_with_its_photograph(person):
    notice = person.dock.modality_notice
    person.opens("lesion", lesion_phantom(LesionPhantomConfig(seed=3, size=(120, 160))).rgb)
    person.analyses()
    assert not notice.isVisibleTo(person.dock)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    person.opens("noise", noise)
    assert not notice.isVisibleTo(person.dock)
    person.analyses()
    assert notice.isVisibleTo(person.dock)
    assert "does not look like a photograph of a skin lesion" in person.finds(QLabel, "modality_warning").text()
    person.dock.picker.step(-1)
    assert not notice.isVisibleTo(person.dock)
