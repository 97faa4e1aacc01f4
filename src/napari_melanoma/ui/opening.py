"""Photographs into the viewer, read in a thread, so that the window lives meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.io.photographs import SUFFIXES, find_photographs
from napari_melanoma.ui.close_guard import ask
from napari_melanoma.ui.job import Job, Work
from napari_melanoma.ui.view_memory import show_only

if TYPE_CHECKING:
    from napari.viewer import Viewer

LayerData = tuple[Any, dict[str, Any], str]


class Opener(QObject):
    """Opens files and the sample, one wish after the other."""

    started = Signal()
    progressed = Signal(object)
    failed = Signal(object)
    finished = Signal(int)

    def __init__(self, viewer: Viewer, parent: QWidget) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._job: Job | None = None
        self._waiting: deque[Work] = deque()
        self._count = 0

    @property
    def busy(self) -> bool:
        """Whether something is being opened."""
        return self._job is not None

    def open(self, paths: Sequence[Path]) -> None:
        """Open photographs."""
        self._start(partial(_read, list(paths)))

    def accept(self, path: Path) -> None:
        """Open a photograph although it is damaged."""
        self._start(partial(_read, [path], accept_damaged=True))

    def sample(self) -> None:
        """Open a synthetic photograph."""
        self._start(_sample)

    def ask(self) -> None:
        """Let the user choose files."""
        dialog = QFileDialog(self.parent().window(), "Open photographs")
        dialog.setObjectName("open_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        patterns = " ".join(f"*{suffix}" for suffix in sorted(SUFFIXES))
        dialog.setNameFilters([f"Photographs ({patterns})", "All files (*)"])
        dialog.filesSelected.connect(self._on_files)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_files(self, names: list[str]) -> None:
        self.open([Path(name) for name in names])

    def cancel(self) -> None:
        """Open nothing more; what is open stays."""
        self._waiting.clear()
        if self._job is not None:
            self._job.cancel()

    def _start(self, work: Work) -> None:
        self._waiting.append(work)
        if self._job is None:
            self._count = 0
            self.started.emit()
            self._next()

    def _next(self) -> None:
        self._job = Job(self._waiting.popleft())
        self._job.progressed.connect(self.progressed)
        self._job.succeeded.connect(self._on_read)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start()

    def _on_read(self, found: tuple[list[LayerData], list[Exception]]) -> None:
        from napari.layers import Layer

        layers, errors = found
        for data, attributes, kind in layers:
            added = self._viewer.add_layer(Layer.create(data, attributes, kind))
            show_only(self._viewer, added)
        self._count += len(layers)
        for error in errors:
            if isinstance(error, _Damaged):
                self._offer(error)
            else:
                self.failed.emit(error)

    def _offer(self, found: _Damaged) -> None:
        """Ask whether a damaged photograph is to be opened; the window lives meanwhile."""
        dock = self.parent()
        assert isinstance(dock, QWidget)
        offer_damaged(dock, found.path, found.damage, partial(self.accept, found.path))

    def _on_finished(self) -> None:
        self._job = None
        if self._waiting:
            self._next()
            return
        self.finished.emit(self._count)


def offer_damaged(
    dock: QWidget, path: Path, damage: str, accept: Callable[[], None], decline: Callable[[], None] = lambda: None
) -> None:
    """Ask whether a damaged photograph is to be opened; the window lives meanwhile."""
    box = ask(
        dock,
        "damaged_photograph",
        f"{path.name} is damaged: {damage}.",
        "Open it anyway? Results may be wrong, and each of them is marked as damaged.",
        "Damaged photograph",
    )
    box.setIcon(QMessageBox.Icon.Warning)
    box.addButton("Open anyway", QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton("Do not open", QMessageBox.ButtonRole.RejectRole))
    box.accepted.connect(accept)
    box.rejected.connect(decline)
    box.finished.connect(box.deleteLater)
    box.open()


class _Damaged(Exception):  # noqa: N818 - carried beside errors, never raised
    """A photograph that is opened where the user accepts that a part of it is missing."""

    def __init__(self, path: Path, damage: str) -> None:
        super().__init__(damage)
        self.path, self.damage = path, damage


def _read(
    paths: list[Path], run: RunContext, *, accept_damaged: bool = False
) -> tuple[list[LayerData], list[Exception]]:
    """Read what can be read; what cannot is said, and the others are opened."""
    from napari_melanoma.core.errors import DamagedImage, MelanomaError
    from napari_melanoma.io.napari_functions import read_layers

    layers: list[LayerData] = []
    errors: list[Exception] = []
    for path in run.track(find_photographs(paths), "Opening"):
        try:
            layers += read_layers(str(path), accept_damaged)
        except DamagedImage as error:
            errors.append(_Damaged(path, error.damage))
        except MelanomaError as error:
            errors.append(error)
    return layers, errors


def _sample(run: RunContext) -> tuple[list[LayerData], list[Exception]]:
    from napari_melanoma.data.samples import dermoscopic_sample

    run.report(Progress(0, None, "Drawing the sample"))
    return dermoscopic_sample(), []
