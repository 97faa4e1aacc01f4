"""The Diagnosis section of the Review dock through its controls: label by keys, undo, order, readers and use."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as PillowImage
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QCursor, QShortcut
from qtpy.QtWidgets import QAbstractButton, QLabel

from conftest import wait_until_idle
from napari_melanoma.data.corrections import Corrections, read_labels
from napari_melanoma.ui.library import diagnosis
from napari_melanoma.ui.library.resolve import INFORMATIVE
from napari_melanoma.ui.library.review import ReviewDock
from napari_melanoma.ui.session.corrections_store import ReviewSettings

COUNT = 24
MELANOMA, NEVUS = 1, 2  # keys


def mole(shade):
    rows, columns = np.mgrid[:120, :160]
    rgb = np.full((120, 160, 3), (215, 170, 150), np.uint8)
    rgb[(rows - 60) ** 2 + (columns - 80) ** 2 <= 25**2] = (70, 45, shade)
    return rgb


@pytest.fixture
def photographs(tmp_path):
    """A folder with photographs; the bluer, the more likely melanoma by the fake worker."""
    place = tmp_path / "clinic"
    place.mkdir()
    for number in range(COUNT):
        PillowImage.fromarray(mole(30 + 3 * number)).save(place / f"mole-{number:02}.png")
    return place


@pytest.fixture
def corrections(tmp_path, home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    settings = ReviewSettings()
    settings.corrections, settings.reviewer = tmp_path / "my corrections", "Ana"
    return Corrections(tmp_path / "my corrections")


class Labeler:
    """Simulates a user who labels."""

    def __init__(self, viewer, dock, qtbot):
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot

    def waits(self):
        wait_until_idle(self.qtbot)
        self.qtbot.wait(20)
        wait_until_idle(self.qtbot)

    def opens(self, folder):
        self.dock.welcome.dropped.emit([folder])
        self.waits()

    def shown(self):
        return [image.name.removesuffix(".png") for image in self.dock.list_model.rows]

    def presses(self, key):
        keys = {shortcut.key().toString(): shortcut for shortcut in self.dock.findChildren(QShortcut)}
        keys[key].activated.emit()
        self.waits()

    def sees(self):
        return self.dock.opener.connected_dock.picker.session.image.name

    @property
    def section(self):
        return self.dock.diagnosis

    def presses_key(self, number, name="review.classes"):
        keys = [key for key in self.dock.findChildren(QShortcut) if key.objectName() == name]
        keys[number - 1].activated.emit()
        self.waits()

    def labels(self, count):
        """Label photographs by their color, as they come; return their names."""
        seen = []
        for _ in range(count):
            name = self.sees()
            seen.append(name)
            self.presses_key(MELANOMA if int(name[-2:]) >= COUNT // 2 else NEVUS)
        return seen

    def text(self, name):
        return self.section.findChild(QLabel, name).text()


@pytest.fixture
def labeler(viewer, shared_client, corrections, qtbot, photographs):
    """A user with the Diagnosis section expanded, and the first photograph open."""
    _, made = viewer.window.add_plugin_dock_widget("napari-melanoma", "Review")
    user = Labeler(viewer, made, qtbot)
    user.section.title_button.click()
    user.opens(photographs)
    user.presses("Alt+PgDown")
    yield user
    user.waits()


@pytest.mark.both_qts
def test_number_keys_store_diagnoses_and_open_the_next(labeler, corrections):
    assert labeler.dock.sort_combo.currentText() == INFORMATIVE
    assert [labeler.section.list.item(row).text() for row in range(3)] == ["melanoma", "nevus", "seborrheic keratosis"]
    first, second = labeler.labels(2)
    assert first != second != labeler.sees()
    rows = corrections.rows()
    assert {row["image_id"] for row in rows} == {first, second}
    for row in rows:
        (label,) = read_labels(row)
        assert (label.diagnosis, label.reader) == (row["diagnosis"], "Ana")
        assert label.at.startswith("20")
        assert (row["review"], row["mask_path"]) == ("unreviewed", "")
    assert "with the predicted mask" in labeler.dock.status.text
    # A digit works while the dock has the focus, one that is no class does nothing
    labeler.presses_key(NEVUS, "review.class_keys")
    assert len(corrections.rows()) == 3
    shown = labeler.sees()
    labeler.presses_key(9)
    assert len(corrections.rows()) == 3
    assert labeler.sees() == shown
