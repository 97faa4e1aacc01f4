"""Start and Resume: a run is launched in a thread, once, and what is in its way is said."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.job import Job

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.recipe import TrainRecipe


class Starter(QObject):
    """Launches one run at a time."""

    changed = Signal()
    started = Signal(object)
    failed = Signal(object)
    progressed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._job: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether a run is being launched."""
        return self._job is not None

    def start(self, recipe: TrainRecipe) -> None:
        """Launch a new run; nothing happens while one is being launched."""
        self._begin(partial(_start, recipe))

    def resume(self, run: Path) -> None:
        """Let a run that was stopped go on; nothing happens while one is being launched."""
        self._begin(partial(_resume, run))

    def _begin(self, work: partial[Path]) -> None:
        if self._job is not None:
            return
        self._job = Job(work)
        self._job.progressed.connect(self.progressed)
        self._job.succeeded.connect(self.started)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start()
        self.changed.emit()

    def _on_finished(self) -> None:
        self._job = None
        self.changed.emit()


def _start(recipe: TrainRecipe, run: RunContext) -> Path:
    """Check a recipe once more, for files may have gone, and launch it."""
    from napari_melanoma.ui.checking import check
    from napari_melanoma.workflows import runs

    check(recipe, run)
    path = runs.new_run(recipe.name)
    runs.launch(recipe, path)
    return path


def _resume(path: Path, run: RunContext) -> Path:
    """Launch a run again with the recipe that it began with."""
    from napari_melanoma.core.errors import RunError
    from napari_melanoma.core.runs import Progress
    from napari_melanoma.workflows import runs

    recipe = runs.read_run(path).recipe
    if recipe is None:
        raise RunError(f"{path.name} was begun by another version of this program, and cannot be resumed by this one.")
    if runs.alive(path):  # the last word is said some seconds before the process has gone
        run.report(Progress(0, None, f"Waiting for the process of {path.name} to end"))
    runs.launch(recipe, path, resume=True)
    return path
