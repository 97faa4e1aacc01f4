"""Shortcuts of all docks: declared once, listed, without conflicts, and activated in the right dock."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent, QKeySequence, QShortcut
from qtpy.QtWidgets import QApplication, QComboBox, QLineEdit, QTreeWidget, QWidget

from conftest import wait_until_idle
from napari_melanoma.ui.viewer import shortcuts
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.shortcuts import SHORTCUTS, ShortcutHelp, format_key, show_shortcuts

DOCKS = ("Lesion", "Review", "Train", "Slide", "Case", "Tray")
# Keys that mean in our docks what they mean everywhere.
AS_EVERYWHERE = {"review.undo", "help", "train.back", "tray.find", "tray.refresh"} | {
    *(f"{dock}.{step}" for dock in ("lesion", "slide") for step in ("next", "previous")),
    *(f"{dock}.{step}" for dock in ("case", "lesion", "slide") for step in ("undo", "redo")),
}
OURS = {name: shortcut for name, shortcut in SHORTCUTS.items() if shortcut.context in ("window", "dock")}


@pytest.fixture
def window(shared_client, shown_viewer, qtbot, monkeypatch, tmp_path):
    """A window that is really shown, with all docks."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    docks = {name: show_dock(shown_viewer, name) for name in DOCKS}
    shown_viewer.window._qt_window.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is shown_viewer.window._qt_window)
    qtbot.waitUntil(lambda: bool(docks["Slide"].sections.hosted.sections))  # found in the background
    yield shown_viewer, docks
    wait_until_idle(qtbot)


def actions_of(menu):
    for action in menu.actions():
        if action.menu() is None:
            yield action
        else:
            yield from actions_of(action.menu())


@pytest.mark.path
def test_keys_of_all_docks_are_declared_connected_and_without_conflicts_with_napari(window):
    viewer, docks = window
    check_conflicts_with_napari(viewer)
    check_connections(docks)
    check_tooltips(docks)

    # Each key of the canvas has one action.
    keys = [key for name, one in SHORTCUTS.items() if one.context == "canvas" for key in shortcuts.list_keys(name)]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(docks["Slide"].reading_keys.actions)

    # A key that is held too long acts once unless it steps.
    found = {one.objectName(): one.autoRepeat() for one in viewer.window._qt_window.findChildren(QShortcut)}
    assert found["review.next"] is found["slide.back"] is found["case.undo"] is True
    once = ("review.accept", "review.reject", "slide.reading", "slide.close", "lesion.correct", "train.start")
    assert [name for name in once if found[name]] == []


def check_conflicts_with_napari(viewer):
    bar = viewer.window._qt_window.menuBar().actions()
    taken = {QKeySequence(str(key)).toString(): name for name, keys in default_shortcuts.items() for key in keys}
    for action in (action for entry in bar if entry.menu() is not None for action in actions_of(entry.menu())):
        if not action.shortcut().isEmpty():
            taken[action.shortcut().toString()] = action.text()
    for entry in bar:
        mnemonic = QKeySequence.mnemonic(entry.text()).toString()
        taken |= {mnemonic: f"menu {entry.text()}"} if mnemonic else {}
    assert {"Alt+L", "Alt+P", "Alt+F", "Alt+S", "Alt+Up", "Ctrl+0"} <= set(taken)
    keys = {name: QKeySequence(one.key).toString() for name, one in OURS.items() if name not in AS_EVERYWHERE}
    assert not {name: taken[key] for name, key in keys.items() if key in taken}


def check_connections(docks):
    found = {}
    for name, dock in docks.items():
        for shortcut in dock.findChildren(QShortcut):
            declared = SHORTCUTS.get(shortcut.objectName())
            assert declared is not None, shortcut.key().toString()
            if declared.context == "numbers":
                assert re.fullmatch(r"(Ctrl\+)?[1-9]", shortcut.key().toString())
                continue
            assert shortcut.key() == QKeySequence(shortcuts.get_key(shortcut.objectName()))
            is_forwarded = (name, declared.dock) == ("Review", "Lesion")  # to the Lesion dock, which may be hidden
            assert declared.dock in (name, "All docks") or is_forwarded
            found[shortcut.objectName()] = shortcut
    assert set(OURS) - set(found) <= {
        "slide.depth",
        "slide.undo",
        "slide.redo",
    }  # added with sections, after the dock was drawn


def check_tooltips(docks):
    pattern = re.compile(r"(?:(?:Ctrl|Alt|Shift|Meta)\+)+(?!click|drag)\w+")  # what the mouse does is no shortcut
    for name, dock in docks.items():
        keys = {format_key(one) for one, shortcut in SHORTCUTS.items() if shortcut.dock in (name, "All docks")}
        keys |= {"Ctrl+Shift+Z"}  # napari's redo on a layer
        for widget in dock.findChildren(QWidget):
            mentioned = set(pattern.findall(widget.toolTip()))
            assert mentioned <= keys, (name, widget.objectName(), mentioned - keys)


def test_no_key_conflicts_with_the_platform():
    standard = {
        binding.toString(): kind.name
        for kind in QKeySequence.StandardKey
        for binding in QKeySequence.keyBindings(kind)
        if not binding.isEmpty()
    }
    standard |= {"Alt+Return": "full screen on Windows", "Alt+F4": "close", "Alt+Space": "window menu"}
    found = {name: standard[one.key] for name, one in OURS.items() if one.key in standard and name not in AS_EVERYWHERE}
    assert not found


def test_a_key_means_one_thing_in_a_dock_and_the_same_in_others():
    for key in {one.key for one in OURS.values()}:
        same = [(name, one) for name, one in OURS.items() if one.key == key]
        assert len({one.dock for _, one in same}) == len(same), key
        acts = {
            name.split(".")[-1].removeprefix("list_").removesuffix("_all").removesuffix("_view") for name, _ in same
        }
        assert len(acts) == 1, (key, acts)


@pytest.mark.both_qts
def test_a_key_of_two_docks_acts_in_the_right_one_and_the_list_opens_from_everywhere(window, qtbot):
    viewer, docks = window
    canvas = viewer.window._qt_viewer.canvas.native
    pressed = []
    for name in ("Lesion", "Slide"):
        shortcut = next(s for s in docks[name].findChildren(QShortcut) if s.objectName() == f"{name.lower()}.analyse")
        shortcut.activated.disconnect()
        shortcut.activated.connect(lambda name=name: pressed.append(name))
    viewer.add_image(np.full((60, 80, 3), 180, np.uint8), rgb=True)
    qtbot.keyClick(canvas, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: pressed == ["Lesion"])
    show_dock(viewer, "Slide")
    qtbot.wait(50)
    docks["Slide"].setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    docks["Slide"].setFocus()
    qtbot.keyClick(docks["Slide"], Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: pressed == ["Lesion", "Slide"])
    # The list of keys opens from everywhere, and can be searched.
    for how in ("F1 on the canvas", "F1 in the dock", "? in the dock", "menu"):
        opens_list(window, qtbot, how)
        dialogs = window[0].window._qt_window.findChildren(ShortcutHelp)
        assert len(dialogs) == 1, how
        if how == "menu":
            searches(dialogs[0], qtbot)
        dialogs[0].close()
        dialogs[0].deleteLater()
        QApplication.sendPostedEvents(dialogs[0], QEvent.Type.DeferredDelete)


def opens_list(window, qtbot, how):
    viewer, docks = window
    main = viewer.window._qt_window
    if how == "menu":
        show_shortcuts()
    elif how == "F1 on the canvas":
        qtbot.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_F1)
    else:
        dock = docks["Case"]
        show_dock(viewer, "Case")
        dock.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        dock.setFocus()
        qtbot.waitUntil(dock.hasFocus)
        if how.startswith("F1"):
            qtbot.keyClick(dock, Qt.Key.Key_F1)
        else:
            qtbot.keyClick(dock, "?")
    qtbot.waitUntil(lambda: main.findChild(ShortcutHelp) is not None)


def searches(dialog, qtbot):
    tree, search = dialog.findChild(QTreeWidget), dialog.findChild(QLineEdit)
    rows = shown_rows(tree)
    assert [row[1:] for row in rows] == [(format_key(name), one.text) for name, one in SHORTCUTS.items()]
    assert tree.viewport().width() >= sum(tree.sizeHintForColumn(column) for column in range(2))  # no line is cut
    qtbot.keyClicks(search, "bookmark")
    assert {row[0] for row in shown_rows(tree)} == {"Slide"}
    assert all("bookmark" in row[2].lower() for row in shown_rows(tree))
    search.setText("alt+")
    assert all("alt+" in row[1].lower() for row in shown_rows(tree))
    search.setText("no such thing")
    assert shown_rows(tree) == []
    assert dialog.no_match_label.isVisible()


def shown_rows(tree):
    groups = [tree.topLevelItem(index) for index in range(tree.topLevelItemCount())]
    items = [(group, group.child(row)) for group in groups if not group.isHidden() for row in range(group.childCount())]
    return [(group.text(0), item.text(0), item.text(1)) for group, item in items if not item.isHidden()]


def test_altgr_types_into_a_text_field_where_it_is_reported_as_ctrl_alt(qapp, qtbot):
    field, combo = QLineEdit(), QComboBox()
    altgr = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    combo.setEditable(True)
    for widget in (field, combo):
        qtbot.addWidget(widget)
    shortcuts.add_help_shortcuts(field)

    def is_kept(text, field=field):
        """Whether the field keeps Ctrl+Alt+Q from shortcuts, on a keyboard where it types this text."""
        event = QKeyEvent(QEvent.Type.ShortcutOverride, Qt.Key.Key_Q, altgr, text)
        event.ignore()  # as Qt sends it
        QApplication.sendEvent(field, event)
        return event.isAccepted()

    assert not is_kept("@")
    qapp.focusChanged.emit(None, field)
    assert is_kept("@")
    assert not is_kept("")
    assert not is_kept("\x11")
    field.setReadOnly(True)  # such a field receives no characters
    assert not is_kept("@")
    qapp.focusChanged.emit(field, combo)
    assert is_kept("@", combo)
    combo.lineEdit().setReadOnly(True)
    assert not is_kept("@", combo)
    field.setReadOnly(False)
    qapp.focusChanged.emit(combo, field)
    qapp.focusChanged.emit(field, None)
    assert not is_kept("@")


def test_on_macos_control_replaces_alt(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    keys = {shortcuts.get_key(name) for name in OURS}
    assert not [key for key in keys if re.fullmatch(r"Alt\+.*", key)]
    assert shortcuts.get_key("slide.line") == "Meta+Alt+Q"
    assert shortcuts.get_key("lesion.analyse") == "Ctrl+Return"  # Qt takes Command for it
    assert len(keys) == len({one.key for one in OURS.values()})


def test_the_page_of_the_documentation_has_the_same_keys(repository):
    page = (repository / "docs" / "reference" / "keyboard-shortcuts.md").read_text(encoding="utf-8")
    dock, found = "", []
    for line in page.splitlines():
        if line.startswith("## "):
            dock = line.removeprefix("## ")
        elif dock and line.startswith("| ") and not line.startswith(("| Key", "| ---", "|---")):
            key, text = (cell.strip() for cell in line.strip("|").split("|"))
            found.append((dock, key, text))
    assert found == [(one.dock, one.key, one.text) for one in SHORTCUTS.values()]
    declared = {one.key for one in SHORTCUTS.values()} | {"Ctrl+C", "Ctrl+Shift+Z", "Shift+Tab"}
    pattern = re.compile(r"(?:(?:Ctrl|Alt|Shift)\+)+\w+")
    for name in ("slide-dock", "lesion-dock", "case", "train-dock", "data-sets", "depth-by-hand"):
        text = (repository / "docs" / "how-to" / f"{name}.md").read_text(encoding="utf-8")
        assert set(pattern.findall(text)) <= declared, name
