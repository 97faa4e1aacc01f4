"""A damaged photograph is opened only if the user accepts, and is marked as damaged."""

from __future__ import annotations

import pytest
from lesion_fixtures import FIXTURES
from PIL import Image as PillowImage
from qtpy.QtWidgets import QLabel, QMessageBox

from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


@pytest.mark.path
def test_the_user_confirms_and_the_mark_stays(person, tmp_path, qtbot):
    path = tmp_path / "half.jpg"
    PillowImage.fromarray(lesion_phantom(LesionPhantomConfig(seed=3, size=(160, 200))).rgb).save(path, quality=90)
    path.write_bytes(path.read_bytes()[:-2][: path.stat().st_size * 2 // 3] + b"\xff\xd9")

    def question():
        return person.dock.window().findChild(QMessageBox, "damaged_photograph")

    person.dock.opener.open([path])
    qtbot.waitUntil(lambda: question() is not None, timeout=20_000)
    assert "rows could be decoded" in question().text()
    assert not person.viewer.layers
    question().reject()
    qtbot.waitUntil(lambda: question() is None, timeout=20_000)
    assert not person.viewer.layers

    person.dock.opener.open([path])
    qtbot.waitUntil(lambda: question() is not None, timeout=20_000)
    next(button for button in question().buttons() if "Open" in button.text()).click()
    qtbot.waitUntil(lambda: len(person.viewer.layers) == 1, timeout=20_000)
    assert "rows could be decoded" in person.viewer.layers[0].metadata["napari_melanoma"]["damage"]
    assert any("DAMAGED" in label.text() for label in person.dock.findChildren(QLabel))
    person.analyses()
    assert "Damaged photograph" in person.finds(QLabel, "modality_warning").text()
