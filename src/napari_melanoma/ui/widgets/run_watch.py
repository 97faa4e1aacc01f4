"""Read the folder of a running training or analysis repeatedly, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.widgets.job import BackgroundJob

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunStatus

INTERVAL_MS = 500


@dataclass(frozen=True)
class RunSnapshot:
    """Result of reading a run folder once; ``events``: new events."""

    status: RunStatus
    events: Sequence[Mapping[str, Any]] = ()


class RunReader(Protocol):
    """Reads the new content of the folder ``path`` of a run."""

    path: Path

    def read_new(self, run: RunContext, /) -> RunSnapshot:
        """Read what is new since the last call."""


class RunWatcher(QObject):
    """Read a run folder repeatedly while the watcher is active and the run may change.

    ``reader``: creates the reader of a folder.
    """

    changed = Signal(object)  # RunStatus of the last snapshot
    events = Signal(object)  # new events of the last snapshot, if any
    snapshot_taken = Signal(object)  # RunSnapshot
    failed = Signal(object)  # the exception

    def __init__(self, parent: QObject, reader: Callable[[Path], RunReader]) -> None:
        super().__init__(parent)
        self._create_reader = reader
        self._reader: RunReader | None = None
        self._active_reader: RunReader | None = None
        self._job: BackgroundJob | None = None
        self.expecting = False  # True while a command was sent that the run has not carried out yet
        self._refresh_pending = False
        self._active = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._read)

    @property
    def path(self) -> Path | None:
        """The watched run folder."""
        return None if self._reader is None else self._reader.path

    @property
    def is_watching(self) -> bool:
        """Whether the folder will be read again."""
        return self._active and (self._timer.isActive() or self._job is not None)

    def set_run(self, path: Path | None) -> None:
        """Watch another folder, or read the same one from the start."""
        self._reader = None if path is None else self._create_reader(path)
        self._timer.stop()
        self.refresh()

    def set_active(self, active: bool) -> None:
        """Start or stop watching, for example when the view is shown or hidden."""
        self._active = active
        if active:
            self.refresh()
        else:
            self._timer.stop()

    def refresh(self) -> None:
        """Read at once, for example to continue watching after an ended run was resumed."""
        if self._job is not None:
            self._refresh_pending = True
        elif self._active:
            self._read()

    def _read(self) -> None:
        if self._reader is None or self._job is not None:
            return
        self._refresh_pending = False
        self._active_reader = self._reader
        self._job = BackgroundJob(self._reader.read_new)
        self._job.succeeded.connect(self._on_snapshot)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start(self)

    def _on_snapshot(self, snapshot: RunSnapshot) -> None:
        if self._active_reader is not self._reader:
            return  # another run has been selected since
        self.snapshot_taken.emit(snapshot)
        if snapshot.events:
            self.events.emit(snapshot.events)
        self.changed.emit(snapshot.status)
        if self._active and (self.expecting or snapshot.status.may_change):
            self._timer.start()

    def _on_finished(self) -> None:
        self._job = None
        if self._refresh_pending and self._active:
            self._read()
