"""The states of slides, for the lists of the Slide dock and the Tray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.ui.widgets.thumbnails import BackgroundCache

if TYPE_CHECKING:
    from qtpy.QtCore import QObject

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader
    from napari_melanoma.ui.widgets.settings import DockSettings

CACHED_STATES = 100_000


class SlideStates(BackgroundCache):
    """Work items of slides by their results in the folder for results, which may change."""

    def __init__(self, settings: DockSettings, parent: QObject) -> None:
        super().__init__(self.read, parent, CACHED_STATES)
        self._settings = settings
        self._reader: WorkItemReader | None = None

    def read(self, slides: Sequence[Path], run: RunContext) -> dict[Path, WorkItem]:
        """Read the states of slides, in a thread."""
        from napari_melanoma.slides.slide_table import WorkItemReader
        from napari_melanoma.ui.slide.run_manager import find_results_root

        out, reader = find_results_root(self._settings), self._reader
        if reader is None or reader.out != out:
            reader = self._reader = WorkItemReader(out)
        return reader.read(slides, run)

    def clear(self) -> None:
        """Remove all states and requests, and find the results of all slides again."""
        self._reader = None
        super().clear()
