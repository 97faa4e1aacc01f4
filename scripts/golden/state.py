"""Describe a viewer as plain values: named widgets, visible texts, layers, shortcuts, menu entries, notifications."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QAbstractItemModel, QModelIndex, Qt
from qtpy.QtGui import QAction, QShortcut
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QGroupBox,
    QLabel,
    QLineEdit,
    QListView,
    QMainWindow,
    QMenu,
    QMessageBox,
    QPlainTextEdit,
    QProgressBar,
    QTextEdit,
    QToolButton,
    QTreeView,
    QWidget,
)

from golden.normalizing import is_progress

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

Plain = dict[str, object]

PLUGIN = "napari-melanoma"
BINDINGS = ("PyQt6", "PySide6")
OF_QT = ("qt_", "_")  # what Qt names itself
MOST_ROWS = 100
MARKUP = re.compile(r"</?[a-z][^>]*>")


def describe(viewer: Viewer, docks: list[QWidget]) -> Plain:
    """Describe everything that a person can see of the plugin, and the layers."""
    parts = [*docks, *_windows(docks)]
    return {
        "widgets": [described for part in parts for described in _named(part)],
        "texts": visible_texts(docks),
        "shortcuts": sorted({key for part in parts for key in _shortcuts(part)}),
        "menus": _menu_entries(docks),
        "layers": [describe_layer(layer) for layer in viewer.layers],
        "selected": sorted(layer.name for layer in viewer.layers.selection),
        "notifications": _notifications(),
    }


def visible_texts(docks: list[QWidget]) -> list[str]:
    """List the visible texts of docks and dialogs."""
    return [text for part in (*docks, *_windows(docks)) for text in _texts(part)]


def _windows(docks: list[QWidget]) -> list[QWidget]:
    """List the dialogs and other windows that are open beside napari's own."""
    own = {dock.window() for dock in docks}
    found = [window for window in QApplication.topLevelWidgets() if window.isVisible() and window not in own]
    return sorted((window for window in found if window.objectName()), key=lambda window: window.objectName())


def _named(part: QWidget) -> list[Plain]:
    """Describe a widget and those in it that have a name, in the order of their names."""
    found = [widget for widget in (part, *part.findChildren(QWidget)) if _is_ours(widget)]
    return sorted((_widget(widget, part) for widget in found), key=lambda state: (state["name"], str(state)))


def _is_ours(widget: QWidget) -> bool:
    name = widget.objectName()
    return bool(name) and not name.startswith(OF_QT)


def _widget(widget: QWidget, part: QWidget) -> Plain:
    """Describe one widget; its class is the one of Qt, since our own classes may be renamed."""
    state: Plain = {
        "name": widget.objectName(),
        "class": next(kind.__name__ for kind in type(widget).__mro__ if kind.__module__.startswith(BINDINGS)),
        "enabled": widget.isEnabledTo(part),
        "visible": widget.isVisibleTo(part),
        "tooltip": _words(widget.toolTip()),
    }
    return state | _content(widget)


def _content(widget: QWidget) -> Plain:
    """Describe what a widget shows, by its kind."""
    match widget:
        case QComboBox():
            items = [widget.itemText(index) for index in range(widget.count())]
            return {"items": items, "text": widget.currentText()}
        case QAbstractButton():
            menu = widget.menu() if isinstance(widget, QToolButton) else None
            return {"text": widget.text(), "checked": widget.isChecked(), "entries": _entries(menu)}
        case QAbstractSpinBox():
            return {"text": widget.text()}
        case QAbstractSlider() | QProgressBar():
            return {"value": widget.value(), "range": [widget.minimum(), widget.maximum()]}
        case QLabel():
            return {"text": _words(widget.text())}
        case QLineEdit():
            return {"text": widget.text(), "placeholder": widget.placeholderText()}
        case QTextEdit() | QPlainTextEdit():
            return {"lines": [line for line in widget.toPlainText().splitlines() if not is_progress(line)]}
        case QMessageBox():
            return {"text": _words(widget.text()), "more": _words(widget.informativeText())}
        case QGroupBox():
            return {"text": widget.title()}
        case QAbstractItemView():
            model = widget.model()
            columns = 1 if isinstance(widget, QListView) else model.columnCount() if model else 0
            deep = isinstance(widget, QTreeView)
            return {"rows": [] if model is None else _rows(model, QModelIndex(), columns, deep)}
    return {}


def _rows(model: QAbstractItemModel, parent: QModelIndex, columns: int, deep: bool) -> list[object]:
    """List the texts of a table or a list; of a tree with the rows below each row."""
    rows: list[object] = []
    for row in range(min(model.rowCount(parent), MOST_ROWS)):
        cells = [model.index(row, column, parent) for column in range(columns)]
        rows.append([str(cell.data(Qt.ItemDataRole.DisplayRole) or "") for cell in cells])
        below = _rows(model, cells[0], columns, deep) if deep and cells else []
        rows += [below] if below else []
    return rows


def _texts(part: QWidget) -> list[str]:
    """List the visible texts of labels and buttons, named or not, in the order in which Qt lists the widgets."""
    kinds = (QLabel, QAbstractButton)
    found = [widget for widget in part.findChildren(QWidget) if isinstance(widget, kinds) and widget.isVisibleTo(part)]
    return [text for text in (_words(widget.text()) for widget in found) if text]


def _shortcuts(part: QWidget) -> list[str]:
    return [shortcut.key().toString() for shortcut in part.findChildren(QShortcut)]


def _menu_entries(docks: list[QWidget]) -> list[Plain]:
    """Describe the entries of napari's menus that the plugin contributes."""
    return [{"menu": path, **_action(action)} for path, action in plugin_actions(docks)]


def plugin_actions(docks: list[QWidget]) -> list[tuple[str, QAction]]:
    """List the entries of the plugin in the menus of napari, each with the path to it."""
    windows = [window for window in {dock.window() for dock in docks} if isinstance(window, QMainWindow)]
    return [entry for window in windows for entry in _actions_below(window.menuBar().actions(), "")]


def _actions_below(actions: Iterable[QAction], path: str) -> Iterator[tuple[str, QAction]]:
    """Yield the entries of the plugin in menus and the menus below them; napari fills some when they are shown."""
    for action in actions:
        menu = action.menu()
        if isinstance(menu, QMenu):
            menu.aboutToShow.emit()
            yield from _actions_below(menu.actions(), f"{path}{action.text()} > ")
        elif action.objectName().startswith(PLUGIN):
            yield path, action


def _entries(menu: QMenu | None) -> list[Plain]:
    """Describe the entries of the menu of a button; some are filled when they are shown."""
    if menu is None:
        return []
    menu.aboutToShow.emit()
    return [_action(action) for action in menu.actions()]


def _action(action: QAction) -> Plain:
    return {
        "name": action.objectName(),
        "text": action.text(),
        "enabled": action.isEnabled(),
        "checked": action.isChecked(),
        "tooltip": _words(action.toolTip()),
        "shortcut": action.shortcut().toString(),
    }


def _words(text: str) -> str:
    """Strip markup from a text of Qt."""
    return " ".join(html.unescape(MARKUP.sub(" ", text)).split()) if MARKUP.search(text) else text


def _notifications() -> list[str]:
    from napari.utils.notifications import notification_manager

    return [f"{record.severity}: {record.message}" for record in notification_manager.records]


def describe_layer(layer: Layer) -> Plain:
    """Describe a layer with a checksum or statistics of its content."""
    state: Plain = {
        "name": layer.name,
        "type": type(layer).__name__,
        "visible": layer.visible,
        "opacity": layer.opacity,
        "blending": str(layer.blending),
        "scale": [float(value) for value in layer.scale],
        "translate": [float(value) for value in layer.translate],
        "rotate": np.asarray(layer.rotate).tolist(),
        "units": [str(unit) for unit in layer.units],
        "editable": layer.editable,
        "metadata": sorted(map(str, layer.metadata)),
    }
    if hasattr(layer, "colormap"):
        state["colormap"] = str(getattr(layer.colormap, "name", ""))
    if hasattr(layer, "contrast_limits"):
        state["contrast_limits"] = [float(value) for value in layer.contrast_limits]
    if getattr(layer, "features", None) is not None and len(layer.features):
        state["features"] = {str(name): [str(value) for value in column] for name, column in layer.features.items()}
    return state | {"data": _data(layer)}


def _data(layer: Layer) -> object:
    """Describe the content of a layer; of several levels the sizes of all and the content of the coarsest."""
    if getattr(layer, "multiscale", False):
        return {"levels": [list(level.shape) for level in layer.data], "coarsest": _array(np.asarray(layer.data[-1]))}
    if isinstance(layer.data, list):
        return [_array(np.asarray(part)) for part in layer.data]
    return _array(np.asarray(layer.data))


def _array(array: np.ndarray) -> Plain:
    """Describe an array: exactly where it holds whole numbers, by its statistics where it holds floats."""
    state: Plain = {"shape": list(array.shape), "dtype": str(array.dtype)}
    if not np.issubdtype(array.dtype, np.floating):
        return state | {"sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}
    finite = array[np.isfinite(array)].astype(np.float64)
    state["finite"] = int(finite.size)
    if finite.size:
        state |= {"minimum": float(finite.min()), "maximum": float(finite.max())}
        state |= {"mean": float(finite.mean()), "deviation": float(finite.std())}
    return state
