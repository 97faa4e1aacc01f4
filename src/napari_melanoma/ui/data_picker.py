"""What a model learns from: corrections, folders with ``dataset.csv``, and data that keep it from forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QShowEvent
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_melanoma.ui.corrections_changed import corrections_changed
from napari_melanoma.ui.data_list import DataSetList
from napari_melanoma.ui.look import ThemedIcons, quiet, row, tool
from napari_melanoma.ui.review.settings import ReviewSettings

NO_BASE = "Optional: data that the model was trained on."


class DataPicker(QWidget):
    """Two lists of data sets: to learn from, and to keep what was learnt before."""

    changed = Signal()
    added = Signal(str)
    failed = Signal(object)

    def __init__(self, settings: ReviewSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self.learn = DataSetList("learn_from", "Data sets to learn from", settings, icons, settings.corrections)
        self.base = DataSetList("base_data", "Data sets that keep it from forgetting", settings, icons)
        self._hint = quiet(NO_BASE)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        for title, name, part, tip in (
            ("learn from", "add_data", self.learn, "Add a folder with dataset.csv; or drop one on the dock"),
            ("keep from forgetting", "add_base", self.base, "Add data that the model was trained on before (optional)"),
        ):
            add = tool(name, f"Add a data set to: {title}", tip)
            icons.add(add, "plus")
            add.clicked.connect(part.ask)
            layout.addWidget(row(QLabel(title), add, stretch=0))
            layout.addWidget(part)
            part.changed.connect(self._on_changed)
            part.added.connect(self.added)
            part.failed.connect(self.failed)
        layout.addWidget(self._hint)
        corrections_changed().changed.connect(self._on_corrections)
        self.setAcceptDrops(True)
        self._on_changed()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Folders to learn from."""
        return tuple(str(folder) for folder in self.learn.folders)

    @property
    def base_data(self) -> tuple[str, ...]:
        """Folders that keep it from forgetting."""
        return tuple(str(folder) for folder in self.base.folders)

    @property
    def unread(self) -> bool:
        """Whether nothing is known yet of a data set that shall be used."""
        return self.learn.unread or self.base.unread

    @property
    def kinds(self) -> frozenset[bool]:
        """Of what the data sets to learn from are: True for tiles of slides, False for photographs."""
        return frozenset(bool(row.counts.tiles) for row in self.learn.rows if row.used and row.counts is not None)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn from on the list, ticked or not, as far as is known."""
        return not any(row.counts is None or row.counts.images or not row.fixed for row in self.learn.rows)

    @property
    def busy(self) -> bool:
        """Whether a data set is being counted."""
        return self.learn.busy or self.base.busy

    def use(self, datasets: Sequence[str], base: Sequence[str]) -> None:
        """Tick the data sets of a recipe and no others."""
        self.learn.use_only([Path(name) for name in datasets])
        self.base.use_only([Path(name) for name in base])

    def recount(self) -> None:
        """Count every data set again, for files have gone or changed."""
        self.learn.recount()
        self.base.recount()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Accept folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Take folders: onto the list that they are dropped on."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        onto_base = self.base.geometry().top() - self.fontMetrics().height() * 2 < event.position().y()
        event.acceptProposedAction()
        (self.base if onto_base else self.learn).add(paths)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Count the corrections again: another window may have added some."""
        super().showEvent(event)
        self._on_corrections()

    def _on_corrections(self, folder: object = None) -> None:
        self.learn.follow_corrections(self._settings.corrections)

    def _on_changed(self) -> None:
        self._hint.setVisible(not self.base.rows)
        self.changed.emit()
