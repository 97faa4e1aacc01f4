"""Cache of the analysis states of slides, read in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.core.context import RunContext
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.job import JobFunction
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.thumbnails import BackgroundCache

if TYPE_CHECKING:
    from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader

CACHED_STATES = 100_000


ReadStates = tuple[Path, Mapping[Path, "WorkItem"]]
"""The folder for results from which states were read, and the states."""


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
        return partial(self._read_all, self._root, slides)

    def add(self, states: ReadStates) -> None:
        """Add the states of many slides, unless the folder for results has changed since.

        States that have changed are read again: a long reading may be older than the cached state of a slide.
        """
        root, items = states
        if root == self._root:
            changed = {slide for slide, item in items.items() if self.peek(slide) not in (None, item)}
            self.put({slide: item for slide, item in items.items() if slide not in changed})
            self.refresh(changed)

    def clear(self) -> None:
        """Remove all states and requests; the folders of results are searched again."""
        self._root, self._reader = self._settings.slide_results, None
        super().clear()

    def _read_all(self, root: Path, slides: Sequence[Path], run: RunContext) -> ReadStates:
        from napari_melanoma.slides.slide_table import WorkItemReader

        reader = self._reader
        if reader is None or reader.out != root:
            reader = self._reader = WorkItemReader(root)
        return root, reader.read(slides, run)

    def _read_items(self, slides: Sequence[Path], run: RunContext) -> Mapping[Path, WorkItem]:
        """Read the states of some slides; ``clear`` cancels this job when another folder for results is selected."""
        return self._read_all(self._root, slides, run)[1]
