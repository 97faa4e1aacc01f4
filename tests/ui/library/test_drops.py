"""Files dropped on the docks, sent through the window as Qt sends them."""

from __future__ import annotations

import pytest
from lesion_fixtures import FIXTURES
from PIL import Image as PillowImage
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QComboBox, QLineEdit, QScrollArea, QWidget

from conftest import PATIENCE_MS, wait_until_idle
from napari_melanoma.ui.library.review import ReviewDock

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


def drops(widget, *paths):
    """Drop files on the center of a widget; return whether they were accepted."""
    window = widget.window()
    place = widget.mapTo(window, widget.rect().center())
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    how = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    entering = QDragEnterEvent(place, *how)
    QApplication.sendEvent(window.windowHandle(), entering)
    if entering.isAccepted():
        QApplication.sendEvent(window.windowHandle(), QDropEvent(QPointF(place), *how))
    return entering.isAccepted()


def scrolls_to(widget):
    """Bring a widget of a dock into view."""
    above = widget.parentWidget()
    while above is not None and not isinstance(above, QScrollArea):
        above = above.parentWidget()
    if above is not None:
        above.ensureWidgetVisible(widget)
        QApplication.processEvents()


def pictures(place, *names):
    place.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        PillowImage.new("RGB", (40, 30), (200, 150, 10 + number)).save(place / name)
    return [place / name for name in names]


def test_photographs_can_be_dropped_anywhere_on_the_lesion_dock(window, tmp_path):
    mole = window.opens("mole")
    window.analyses()
    fields = window.dock.findChildren(QLineEdit)
    assert len(fields) > 5
    assert not any(field.acceptDrops() for field in fields)
    for part in ("photograph", "diagnosis", "threshold_slider", "measurements", "save", "status"):
        window.viewer.layers.selection.active = mole
        mole.visible = True  # what was dropped before has hidden it, and its results with it
        window.waits()
        (path,) = pictures(tmp_path, f"on_{part}.png")
        widget = window.finds(QWidget, part)

        def taken(widget=widget, path=path):
            scrolls_to(widget)  # again where the answer, that comes a moment later, has pushed it out of sight
            return drops(widget, path)

        window.qtbot.waitUntil(taken, timeout=PATIENCE_MS)
        window.waits()
        assert path.stem in [layer.name for layer in window.viewer.layers], part
        assert window.finds(QComboBox, "diagnosis").currentText() == "", part


@pytest.fixture
def review(client, viewer, stage, qtbot, tmp_path, monkeypatch):
    """The Review dock in a window that is really shown."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    made = ReviewDock(viewer, client)
    made.settings.corrections = tmp_path / "corrections"
    stage.setCentralWidget(made)
    stage.show()
    qtbot.waitExposed(stage)
    yield made
    wait_until_idle(qtbot, made)


@pytest.mark.both_qts
def test_only_dropped_photographs_are_rated(review, tmp_path, qtbot):
    (tmp_path / "notes.txt").write_text("no photograph")
    assert drops(review.welcome, tmp_path / "notes.txt")
    wait_until_idle(qtbot, review)
    assert review.list_model.rowCount() == 0
    assert review.status.text == "notes.txt is not a photograph. Drop a folder of photographs, or photographs."
    # Of a folder, only what is dropped is rated.
    paths = pictures(tmp_path / "clinic", "a-1.png", "b-2.png", "c-3.png")
    pictures(tmp_path / "clinic" / "more", "d-4.png")
    assert drops(review.welcome, *paths[:2])
    wait_until_idle(qtbot, review)
    assert review.list_model.rowCount() == 2
    assert review.title.text() == "2 photographs in clinic"
    assert drops(review.list_view, tmp_path / "clinic")
    wait_until_idle(qtbot, review)
    assert review.list_model.rowCount() == 4
    assert review.title.text() == "clinic"
