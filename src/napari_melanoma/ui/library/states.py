"""Cache of the analysis states of slides, read in the background."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.core.context import RunContext
from napari_melanoma.ui.widgets.job import JobFunction
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.thumbnails import BackgroundCache

if TYPE_CHECKING:
    from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader

CACHED_STATES = 100_000


ReadStates = tuple[Path, Mapping[Path, "WorkItem"]]
"""The folder for results from which states were read, and the states."""


class SlideStates(BackgroundCache):
    """States of slides (``WorkItem``), read from the folder for results; they are cleared when that folder changes."""

    def __init__(self, settings: DockSettings, parent: QObject) -> None:
        super().__init__(self._read_items, parent, CACHED_STATES)
        self._settings = settings
        self._root: Path | None = None
        self._reader: WorkItemReader | None = None

    def refresh(self, paths: Iterable[Path]) -> None:
        """Read states again; until then, the cached ones remain available."""
        self._update_root()
        super().refresh(paths)

    def prepare(self, slides: Sequence[Path]) -> JobFunction:
        """Return a function that reads the states of many slides in a thread; pass its result to ``add``."""
        return partial(self._read_all, self._update_root(), slides)

    def add(self, states: ReadStates) -> None:
        """Add the states of many slides, unless the folder for results has changed since.

        States that have changed are read again: a long reading may be older than the cached state of a slide.
        """
        root, items = states
        if root == self._update_root():
            changed = {slide for slide, item in items.items() if self.peek(slide) not in (None, item)}
            self.put({slide: item for slide, item in items.items() if slide not in changed})
            self.refresh(changed)

    def clear(self) -> None:
        """Remove all states and requests; the folders of results are searched again."""
        self._reader = None
        super().clear()

    def _update_root(self) -> Path:
        """Return the current folder for results; remove all states and requests if it has changed."""
        from napari_melanoma.ui.slide.run_manager import find_results_root

        root = find_results_root(self._settings)
        if root != self._root:
            self.clear()
            self._root = root
        return root

    def _read_all(self, root: Path, slides: Sequence[Path], run: RunContext) -> ReadStates:
        from napari_melanoma.slides.slide_table import WorkItemReader

        reader = self._reader
        if reader is None or reader.out != root:
            reader = self._reader = WorkItemReader(root)
        return root, reader.read(slides, run)

    def _read_items(self, slides: Sequence[Path], run: RunContext) -> Mapping[Path, WorkItem]:
        """Read the states of some slides; ``clear`` cancels this job when the folder for results changes."""
        root = self._root
        assert root is not None  # set when the states are requested
        return self._read_all(root, slides, run)[1]
