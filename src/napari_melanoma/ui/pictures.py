"""Pictures for a list of photographs, read in a thread when a row is first seen, and a bounded number kept."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QImage, QPixmap

from napari_melanoma.ui.job import Job

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext

KEPT = 600
WAITING = 60  # more rows than are seen at once: what was scrolled past is not read
BATCH = 6


class Pictures(QObject):
    """Gives pictures at once where they are known, and else reads them, what was asked for last first."""

    read = Signal(object)

    def __init__(self, side_px: int, parent: QObject) -> None:
        super().__init__(parent)
        self._side_px = side_px
        self._known: OrderedDict[Path, QPixmap | None] = OrderedDict()
        self._wanted: OrderedDict[Path, None] = OrderedDict()
        self._job: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether pictures are being read."""
        return self._job is not None

    def find(self, path: Path) -> QPixmap | None:
        """Give a picture, or let it be read.

        None where it is not there yet, or cannot be read.
        """
        if path in self._known:
            self._known.move_to_end(path)
            return self._known[path]
        self._wanted.pop(path, None)
        self._wanted[path] = None
        while len(self._wanted) > WAITING:
            self._wanted.popitem(last=False)
        self._next()
        return None

    def _next(self) -> None:
        if self._job is not None or not self._wanted:
            return
        batch = [self._wanted.popitem()[0] for _ in range(min(BATCH, len(self._wanted)))]
        self._job = Job(partial(_read, batch, self._side_px))
        self._job.succeeded.connect(self._on_read)
        self._job.finished.connect(self._on_finished)
        self._job.start()

    def _on_read(self, pictures: dict[Path, QImage | None]) -> None:
        for path, picture in pictures.items():
            self._known[path] = None if picture is None else QPixmap.fromImage(picture)
            if picture is not None:
                self.read.emit(path)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)

    def _on_finished(self) -> None:
        self._job = None
        self._next()


def _read(paths: list[Path], side_px: int, run: RunContext) -> dict[Path, QImage | None]:
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.io.thumbnails import read_thumbnail

    pictures: dict[Path, QImage | None] = {}
    for path in paths:
        run.check()
        try:
            rgb = read_thumbnail(path, side_px)
        except MelanomaError:  # the rating says what is wrong with it
            pictures[path] = None
            continue
        rows, columns = rgb.shape[:2]
        pictures[path] = QImage(rgb.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy()
    return pictures
