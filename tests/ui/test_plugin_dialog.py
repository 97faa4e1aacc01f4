"""The list of plug-ins in napari: a file is confirmed as it was shown, and new files are announced once."""

from __future__ import annotations

import pytest
from napari.utils import notifications
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QLabel, QPlainTextEdit, QPushButton

from napari_melanoma.core import plugins
from napari_melanoma.core.plugin_files import list_plugin_files, plugin_folder
from napari_melanoma.training.losses import losses
from napari_melanoma.ui.plugin_dialog import PluginDialog, announce_new_files, show_plugins

FILE = '''"""A loss."""
ENTRY_POINTS = {"losses": {"absolute": "absolute"}}
from napari_melanoma.training.losses import LossSpec, list_loss

@list_loss(LossSpec(name="absolute", title="Absolute error", reference="none"))
def absolute(logits, target): ...
'''


@pytest.fixture
def path(user_folders):
    plugin_folder().mkdir(parents=True)
    path = plugin_folder() / "mine.py"
    path.write_text(FILE)
    yield path
    plugins.refresh()


def texts(dialog):
    return [label.text() for label in dialog.findChildren(QLabel) if not label.isHidden()]


def opens_list(viewer):
    show_plugins()
    return viewer.window._qt_window.findChild(PluginDialog)


@pytest.mark.path
def test_packages_are_listed_and_a_file_is_used_after_a_click(shown_viewer, qtbot, path, installed_plugin):
    dialog = opens_list(shown_viewer)
    shown = texts(dialog)
    assert "melanoma-example 1.0" in shown
    assert "mine.py. New: not used yet." in shown
    assert "losses: absolute" in shown
    assert str(plugin_folder()) in shown[-2] + shown[-1]
    dialog.findChild(QPushButton, "use_mine.py").click()
    qtbot.waitUntil(lambda: dialog.findChild(QPushButton, "use_mine.py") is None)
    assert "mine.py is used from now on. Open a dock again to see what it adds." in texts(dialog)
    assert [file.state for file in list_plugin_files()] == ["confirmed"]
    assert opens_list(shown_viewer) is dialog
    dialog.close()


def test_a_file_that_cannot_be_loaded_states_the_reason(shown_viewer, qtbot, path):
    assert losses()  # as the Train dock does
    path.write_text(f"{FILE}raise KeyError('weights')")
    dialog = opens_list(shown_viewer)
    dialog.findChild(QPushButton, "use_mine.py").click()
    qtbot.waitUntil(lambda: dialog.findChild(QPushButton, "use_mine.py") is None)
    shown = [text for text in texts(dialog) if "'absolute' of the plug-in file mine.py cannot be used" in text]
    assert len(shown) == 2  # in the list, and below it
    assert "KeyError: 'weights'" in shown[0]
    assert not any("is used from now on" in text for text in texts(dialog))
    dialog.close()


def test_a_file_that_changed_since_it_was_listed_is_not_used(shown_viewer, qtbot, path):
    dialog = opens_list(shown_viewer)
    path.write_text(f"{FILE}# changed")
    dialog.findChild(QPushButton, "use_mine.py").click()
    assert any("was changed in the meantime" in text for text in texts(dialog))
    assert [file.state for file in list_plugin_files()] == ["new"]
    dialog.close()


@pytest.mark.path
def test_a_file_is_read_here_with_its_hidden_characters(shown_viewer, qtbot, path, monkeypatch):
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: pytest.fail(f"{url} may be run by its program"))
    path.write_text(f"{FILE}# hidden: \u202e", encoding="utf-8")
    dialog = opens_list(shown_viewer)
    dialog.findChild(QPushButton, "read_mine.py").click()
    text = dialog.findChild(QPlainTextEdit, "plugin_text")
    assert text.isReadOnly()
    assert text.toPlainText() == f"{FILE}# hidden: \\u202e"
    path.write_text(f"{FILE}# changed")
    dialog.findChild(QPushButton, "read_mine.py").click()
    assert any("was changed in the meantime" in one for one in texts(dialog))
    dialog.close()


def test_a_file_with_a_fault_cannot_be_used(shown_viewer, path):
    path.write_text("x = 1")
    dialog = opens_list(shown_viewer)
    assert not dialog.findChild(QPushButton, "use_mine.py").isEnabled()
    assert any("it has no dictionary such as ENTRY_POINTS" in text for text in texts(dialog))
    dialog.close()


def test_a_new_file_is_announced_once_for_each_content(path, monkeypatch):
    messages = []
    monkeypatch.setattr(notifications, "show_info", messages.append)
    path.write_text(f"{FILE}# announced")
    announce_new_files()
    announce_new_files()
    path.write_text(f"{FILE}# announced again")
    announce_new_files()
    assert len(messages) == 2
    assert messages[0].startswith("Plug-in files are not used until you confirm them: mine.py. See Layers > Segment")
