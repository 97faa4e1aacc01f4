"""After the gate: the new model is taken over or discarded in a thread, and every dock hears of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.models_changed import models_changed

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.models.bundle import BundleInfo


class Decider(QObject):
    """Does what the user decided about the model of a run."""

    taken_over = Signal(object, object)
    discarded = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether a decision is being carried out."""
        return self._latest.busy

    def take_over(self, run: Path) -> None:
        """Put the model of a run among the user's own; it is there once, however often this is asked for."""
        self._latest.submit(str(run), lambda: partial(_take_over, run))

    def discard(self, run: Path) -> None:
        """Note that the model of a run is not wanted; its files stay."""
        self._latest.submit(str(run), lambda: partial(_discard, run))

    def _on_done(self, done: tuple[Path, BundleInfo | None]) -> None:
        run, bundle = done
        if bundle is None:
            self.discarded.emit(run)
        else:
            models_changed().changed.emit(bundle.name)
            self.taken_over.emit(run, bundle)


def _take_over(path: Path, run: RunContext) -> tuple[Path, BundleInfo]:
    from napari_melanoma.workflows.adoption import take_over

    return path, take_over(path)


def _discard(path: Path, run: RunContext) -> tuple[Path, None]:
    from napari_melanoma.workflows.adoption import discard

    discard(path)
    return path, None
