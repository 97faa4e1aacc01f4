"""The Lesion dock says it when a picture is no photograph of skin, for as long as the picture is shown."""

from __future__ import annotations

import numpy as np
from qtpy.QtWidgets import QLabel

from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig


def test_the_warning_is_in_sight_with_its_picture_alone(person):
    notice = person.dock.modality
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
