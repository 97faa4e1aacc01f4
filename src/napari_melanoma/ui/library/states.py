"""Cache of the analysis states of slides, read in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QObject

from napari_melanoma.core.context import RunContext
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.job import JobFunction
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.thumbnails import BackgroundCache

if TYPE_CHECKING:
    from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader

CACHED_STATES = 100_000


class ReadStates(NamedTuple):
    """States that were read from a folder for results, and those that were cached when the reading began."""

    root: Path
    items: Mapping[Path, WorkItem]
    earlier: Mapping[Path, WorkItem | None]


class SlideStates(BackgroundCache):
    """States of slides (``WorkItem``) in the folder for results; they are cleared when another one is selected."""

    def __init__(self, settings: DockSettings, parent: QObject) -> None:
        super().__init__(self._read_items, parent, CACHED_STATES)
        self._settings = settings
        self._root = settings.slide_results
        self._reader: WorkItemReader | None = None
        user_data().slide_results_changed.connect(self.clear)

    def prepare(self, slides: Sequence[Path]) -> JobFunction:
        """Return a function that reads the states of many slides in a thread; pass its result to ``add``."""
        earlier = {slide: self.peek(slide) for slide in slides}

        def read(run: RunContext, root: Path = self._root) -> ReadStates:
            return ReadStates(root, self._read_all(root, slides, run), earlier)

        return read

    def add(self, states: ReadStates) -> None:
        """Add the states of many slides, unless the folder for results has changed since.

        States that were read since the reading began are kept: they are newer.
        """
        if states.root == self._root:
            items, earlier = states.items, states.earlier
            self.put({slide: item for slide, item in items.items() if self.peek(slide) in (None, earlier[slide])})

    def clear(self) -> None:
        """Remove all states and requests; the folders of results are searched again."""
        self._root, self._reader = self._settings.slide_results, None
        super().clear()

    def _read_all(self, root: Path, slides: Sequence[Path], run: RunContext) -> Mapping[Path, WorkItem]:
        from napari_melanoma.slides.slide_table import WorkItemReader

        reader = self._reader
        if reader is None or reader.out != root:
            reader = self._reader = WorkItemReader(root)
        return reader.read(slides, run)

    def _read_items(self, slides: Sequence[Path], run: RunContext) -> Mapping[Path, WorkItem]:
        """Read the states of some slides; ``clear`` cancels this job when another folder for results is selected."""
        return self._read_all(self._root, slides, run)
