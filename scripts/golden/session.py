"""Drive docks in a viewer as a user would: press buttons by name, answer dialogs, and write down the state."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QWidget,
)

from golden.state import PLUGIN, describe, plugin_actions, visible_texts
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from napari.layers import Layer

Widget = TypeVar("Widget", bound=QWidget)
PATIENCE_S = 60.0
QUIET_S = 0.6  # without any change: what has rested for so long is taken for done
STEP_MS = 50


class Session:
    """One viewer with docks of the plugin, in the folder of a scenario."""

    def __init__(self, folder: Path) -> None:
        import napari

        self.folder = folder
        self.viewer = napari.Viewer(show=True)
        self.docks: list[QWidget] = []
        (folder / "state").mkdir(exist_ok=True)

    def open_dock(self, name: str) -> None:
        """Open a dock as the menu of napari does."""
        _, dock = self.viewer.window.add_plugin_dock_widget(PLUGIN, name)
        self.docks.append(dock)
        self.settle()

    def trigger(self, command: str) -> None:
        """Choose an entry of a menu of napari by the command of the plugin that it runs."""
        actions = [action for _, action in plugin_actions(self.docks)]
        next(action for action in actions if action.objectName() == f"{PLUGIN}.{command}").trigger()
        self.settle()

    def open_files(self, *paths: str) -> list[Layer]:
        """Open files with the reader of the plugin."""
        layers = [layer for path in paths for layer in self.viewer.open(self.folder / path, plugin=PLUGIN)]
        self.settle()
        return layers

    def find(self, name: str, kind: type[Widget]) -> Widget:
        """Find a widget by its name, in the docks and in open dialogs; wait until it is there."""
        found: list[Widget] = []

        def there() -> bool:
            parts = [
                *reversed(self.docks),
                *(window for window in QApplication.topLevelWidgets() if window.isVisible()),
            ]
            each = (widget for part in parts for widget in part.findChildren(kind, name))
            found[:] = sorted(each, key=lambda widget: not widget.isVisible())
            return bool(found)

        self.wait_until(there, f"no {kind.__name__} '{name}'")
        return found[0]

    def click(self, name: str) -> None:
        """Press a button and wait for what follows."""
        button = self.find(name, QAbstractButton)
        self.wait_until(button.isEnabled, f"'{name}' is disabled: {button.toolTip()}")
        if button.isVisible() and button.height() > 0:
            QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        else:
            button.click()
        self.settle()

    def choose(self, name: str, text: str) -> None:
        """Choose an entry of a combo box by the beginning of its text."""
        combo = self.find(name, QComboBox)
        items = [combo.itemText(number) for number in range(combo.count())]
        matching = [number for number, item in enumerate(items) if item.startswith(text)]
        if not matching:
            raise LookupError(f"'{name}' has no entry '{text}', but {items}")
        index = matching[0]
        combo.setCurrentIndex(index)
        combo.activated.emit(index)
        self.settle()

    def set_value(self, name: str, value: float) -> None:
        """Set a number in a box or on a slider."""
        self.find(name, QWidget).setProperty("value", value)
        self.settle()

    def type_text(self, name: str, text: str) -> None:
        """Type a text into a line and press Return."""
        line = self.find(name, QLineEdit)
        line.selectAll()
        QTest.keyClicks(line, text)
        QTest.keyClick(line, Qt.Key.Key_Return)
        self.settle()

    def type_number(self, name: str, text: str) -> None:
        """Type a number into a box."""
        line = self.find(name, QAbstractSpinBox).lineEdit()
        line.selectAll()
        QTest.keyClicks(line, text)
        QTest.keyClick(line, Qt.Key.Key_Return)
        self.settle()

    def open_section(self, title: str) -> None:
        """Open a section of a dock by the beginning of its title."""
        titles = [found for dock in self.docks for found in dock.findChildren(QAbstractButton, "sectionTitle")]
        button = next(found for found in titles if found.text().startswith(title))
        if not button.isChecked():
            button.click()
        self.settle()

    def follow(self, name: str, link: str) -> None:
        """Follow a link in a label."""
        self.find(name, QLabel).linkActivated.emit(link)
        self.settle()

    def click_row(self, name: str, row: int) -> None:
        """Click on a row of a list, a table or a tree."""
        view = self.find(name, QAbstractItemView)
        index = view.model().index(row, 0)
        view.scrollTo(index)
        place = view.visualRect(index).center()
        QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
        self.settle()

    def drop(self, name: str, *paths: str) -> None:
        """Drop files on a widget."""
        target = self.find(name, QWidget)
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(self.folder / path)) for path in paths])
        place, actions = target.rect().center(), Qt.DropAction.CopyAction
        keys = (Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(target, QDragEnterEvent(place, actions, data, *keys))
        QApplication.sendEvent(target, QDropEvent(QPointF(place), actions, data, *keys))
        self.settle()

    def choose_file(self, name: str, path: str) -> None:
        """Choose a file or a folder in the dialog that asks for it."""
        dialog = self._window(name, QFileDialog)
        chosen = str(self.folder / path)
        if dialog.fileMode() == QFileDialog.FileMode.ExistingFiles:
            dialog.filesSelected.emit([chosen])
        else:
            dialog.fileSelected.emit(chosen)
        dialog.reject()
        self.settle()

    def answer(self, name: str, button: str) -> None:
        """Press a button of a question."""
        box = self._window(name, QMessageBox)
        next(found for found in box.buttons() if button in found.text().replace("&", "")).click()
        self.settle()

    def _window(self, name: str, kind: type[Widget]) -> Widget:
        """Wait for a window of some name."""
        found: list[Widget] = []

        def there() -> bool:
            windows = [window for window in QApplication.topLevelWidgets() if window.objectName() == name]
            inside = [window for dock in self.docks for window in dock.window().findChildren(kind, name)]
            found[:] = [window for window in (*windows, *inside) if isinstance(window, kind) and window.isVisible()]
            return bool(found)

        self.wait_until(there, f"no window '{name}'")
        return found[0]

    def wait_until(self, condition: Callable[[], bool], failing: str, patience_s: float = PATIENCE_S) -> None:
        """Let Qt work until a condition holds."""
        end = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{failing} within {patience_s:.0f} s")
            QTest.qWait(STEP_MS)

    def wait_for_layer(self, ending: str) -> None:
        """Wait for a layer whose name ends so."""
        self.wait_until(lambda: any(found.name.endswith(ending) for found in self.viewer.layers), f"no layer {ending}")
        self.settle()

    def settle(self) -> None:
        """Wait until no dock works on anything and nothing has changed for a while."""
        self.wait_until(tasks.is_idle, "the docks are busy")
        rested, seen, end = time.monotonic(), "", time.monotonic() + PATIENCE_S
        while time.monotonic() - rested < QUIET_S and time.monotonic() < end:
            QTest.qWait(STEP_MS)
            state = str(visible_texts(self.docks)) + str([layer.name for layer in self.viewer.layers])
            if state != seen or not tasks.is_idle():
                rested, seen = time.monotonic(), state

    def note_when(self, name: str, text: str, label: str, patience_s: float) -> None:
        """Write what is seen as soon as a label begins with a text."""
        shown = self.find(name, QLabel)
        self.wait_until(lambda: shown.text().startswith(text), f"'{name}' does not show '{text}'", patience_s)
        self.settle()
        self.note(label)

    def note(self, label: str) -> None:
        """Write what is seen now."""
        state = describe(self.viewer, self.docks)
        path = self.folder / "state" / f"{label}.json"
        path.write_text(json.dumps(state, indent=1, ensure_ascii=False), encoding="utf-8")

    def end(self, code: int) -> None:
        """Close the viewer, let the processes of the docks end, and end this one whatever is left."""
        self.viewer.close()
        QTest.qWait(500)
        os._exit(code)
