"""Dialogs that show a text or select a color, folder or file, and questions before work is closed or replaced."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QColor, QGuiApplication
from qtpy.QtWidgets import (
    QAbstractButton,
    QColorDialog,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QMainWindow,
    QMessageBox,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.paths import expand_user
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.pending import commit_all, commit_typed

if TYPE_CHECKING:
    from napari_melanoma.io.geojson import Color

CLOSING_AGAIN = "melanoma_closing_again"  # property of a window
OUTLINE_FILTERS = ("Outlines as GeoJSON or DICOM SR (*.geojson *.json *.geojson.gz *.dcm)", "All files (*)")


def create_question(parent: QWidget, name: str, question: str, details: str, title: str = "Lesion") -> QMessageBox:
    box = QMessageBox(parent.window())
    box.setObjectName(name)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle(title)
    box.setText(question)
    box.setInformativeText(details)
    return box


def exec_question(box: QMessageBox) -> QAbstractButton | None:
    """Show a question box and delete it afterwards.

    Returns the button that was pressed; None if the box was closed or deleted with its window.
    """
    pressed: list[QAbstractButton] = []  # box.clickedButton() fails if the box was deleted with its window
    box.buttonClicked.connect(pressed.append)
    box.finished.connect(box.deleteLater)
    box.exec()
    return pressed[0] if pressed else None


def confirm(parent: QWidget, name: str, question: str, details: str, action: str, title: str = "Slide") -> bool:
    """Ask a question; return whether the user agreed. ``action``: text of the button that agrees."""
    box = create_question(parent, name, question, details, title)
    button = box.addButton(action, QMessageBox.ButtonRole.DestructiveRole)
    button.setObjectName("replace")
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    return exec_question(box) is button


def show_markdown(parent: QWidget, name: str, title: str, markdown: str, link_color: str) -> QDialog:
    """Show a text in a dialog that is not modal; its links open in a browser.

    ``name``: of the object, before ``_dialog``, and before ``_text`` for the text in it.
    """
    dialog = QDialog(parent)
    dialog.setObjectName(f"{name}_dialog")
    dialog.setAccessibleName(title)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowTitle(title)
    text = QTextBrowser()
    text.setObjectName(f"{name}_text")
    text.setAccessibleName(title)
    text.setOpenExternalLinks(True)
    text.setMarkdown(markdown)
    default = QGuiApplication.palette().link().color().name()  # that of Markdown, whatever the theme
    text.setHtml(text.toHtml().replace(f"color:{default}", f"color:{link_color}"))
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
    buttons.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    layout.addWidget(text)
    layout.addWidget(buttons)
    dialog.resize(620, 640)
    dialog.show()
    return dialog


def choose_color(parent: QWidget, name: str, color: Color, on_chosen: Callable[[Color], object]) -> None:
    """Open a dialog that selects an 8-bit RGB color."""
    dialog = QColorDialog(QColor(*color), parent.window())
    dialog.setObjectName(name)
    dialog.colorSelected.connect(lambda chosen: on_chosen((chosen.red(), chosen.green(), chosen.blue())))
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()


def choose_folder(
    parent: QWidget, name: str, title: str, start: Path | None, on_chosen: Callable[[Path], object]
) -> QFileDialog:
    """Open a dialog that selects a folder, starting in ``start`` or the home folder."""
    dialog = _create_file_dialog(parent, name, title, start or expand_user("~"), on_chosen)
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    dialog.open()
    return dialog


def choose_file(
    parent: QWidget,
    name: str,
    title: str,
    filters: Sequence[str],
    on_chosen: Callable[[Path], object],
    start: Path | None = None,
) -> None:
    """Open a dialog that selects an existing file, starting in ``start`` or the folder used last.

    ``filters``: such as ``Tables (*.csv)``, the first of which is selected; none for all files.
    """
    dialog = _create_file_dialog(parent, name, title, start, on_chosen)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    if filters:
        dialog.setNameFilters(list(filters))
    dialog.open()


def choose_new_file(
    parent: QWidget,
    name: str,
    title: str,
    kind: str,
    on_chosen: Callable[[Path], object],
    suggested: Path,
    suffixes: Sequence[str] = (),
) -> None:
    """Open a dialog that selects a file to write, with what was typed and drawn until now.

    ``kind``: name of the format, such as ``HTML report``. ``suggested``: the suggested file; the dialog starts in its
    folder if the path is absolute, otherwise in the folder used last. ``suffixes``: that the file may have, by default
    the last suffix of ``suggested``; Qt adds that of the selected filter, the first at the beginning, to a name without
    a dot.
    """
    commit_all()
    dialog = _create_file_dialog(parent, name, title, suggested.parent if suggested.is_absolute() else None, on_chosen)
    filters = {f"{kind} (*{suffix})": suffix.removeprefix(".") for suffix in suffixes or (suggested.suffix,)}
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilters(list(filters))
    dialog.filterSelected.connect(lambda selected: dialog.setDefaultSuffix(filters.get(selected, "")))
    dialog.setDefaultSuffix(next(iter(filters.values())))
    dialog.selectFile(suggested.name)
    dialog.open()


def _create_file_dialog(
    parent: QWidget, name: str, title: str, start: Path | None, on_chosen: Callable[[Path], object]
) -> QFileDialog:
    commit_typed()
    dialog = QFileDialog(parent.window(), title, "" if start is None else str(start))
    dialog.setObjectName(name)
    dialog.fileSelected.connect(lambda path: on_chosen(Path(path)))
    dialog.finished.connect(dialog.deleteLater)
    return dialog


class WindowGuard(QObject):
    """Asks before the main window of a dock is closed, by filtering its close event."""

    failed = Signal(object)  # Exception

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        self._watched: weakref.ref[QWidget] | None = None  # a strong reference would keep a closed window alive

    def watch(self) -> None:
        """Watch the outermost window that contains the dock."""
        window = self._dock
        while (parent := window.parentWidget()) is not None:  # window() of a floating dock is only its own frame
            window = parent
        previous = self.window
        if window is not previous and window is not self._dock:
            if previous is not None:
                previous.removeEventFilter(self)
            window.installEventFilter(self)
            self._watched = weakref.ref(window)

    @property
    def window(self) -> QWidget | None:
        return None if self._watched is None else self._watched()

    def may_close(self) -> bool:
        """Ask the user if there is unsaved work; return False to keep the window open."""
        raise NotImplementedError

    @property
    def is_closing_again(self) -> bool:
        """Whether a guard closes the window that it has kept open, so that the user has answered questions already."""
        window = self.window
        return window is not None and bool(window.property(CLOSING_AGAIN))

    def close_again(self) -> None:
        """Close the window, which was kept open until something was stored."""
        window = self.window
        if window is not None:
            window.setProperty(CLOSING_AGAIN, True)
            window.close()
            if isalive(window):
                window.setProperty(CLOSING_AGAIN, False)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Ignore a close event unless ``may_close``; hidden windows close without a question."""
        is_rejected = (
            event.type() == QEvent.Type.Close
            and watched is self.window
            and watched.isVisible()
            and not _is_torn_down(watched)
            and not self.may_close()
        )
        if is_rejected:
            event.ignore()
        return is_rejected


class StoreGuard(WindowGuard):
    """Closes the main window of a dock only once everything is stored; it stays open if that fails.

    ``stores``: objects that store what users make, each with a signal ``failed``.
    """

    def __init__(self, dock: QWidget, *stores: Any) -> None:  # noqa: ANN401 - objects of Qt with a signal
        super().__init__(dock)
        self._stores, self._is_waiting = stores, False
        tasks.idle.connect(self._on_idle)
        for store in stores:
            store.failed.connect(self._on_store_failed)

    def may_close(self) -> bool:
        """Return whether nothing is being stored; otherwise, close the window afterwards."""
        self._is_waiting = not tasks.is_idle(*self._stores)
        return not self._is_waiting

    def _on_idle(self) -> None:
        if self._is_waiting and tasks.is_idle(*self._stores):
            self._is_waiting = False
            self.close_again()

    def _on_store_failed(self, error: Exception) -> None:
        self._is_waiting = False


def _is_torn_down(window: QObject) -> bool:
    """Return whether the canvas was removed: napari's ``viewer.close()`` removes it before it closes the window."""
    center = window.centralWidget() if isinstance(window, QMainWindow) else None
    parts = [] if center is None else center.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly)
    return bool(parts) and not any(part.isVisible() for part in parts)
