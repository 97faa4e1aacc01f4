"""The states of slides, for the lists of the Slide dock and the Tray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from napari_melanoma.ui.widgets.thumbnails import BackgroundCache

if TYPE_CHECKING:
    from qtpy.QtCore import QObject

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader
    from napari_melanoma.ui.widgets.job import JobFunction
    from napari_melanoma.ui.widgets.settings import DockSettings

CACHED_STATES = 100_000


class ReadStates(NamedTuple):
    """States of many slides by their results in ``root``, and when their reading has started."""

    root: Path
    started: float
    items: Mapping[Path, WorkItem]


class SlideStates(BackgroundCache):
    """Work items of slides by their results in the folder for results, which may change."""

    def __init__(self, settings: DockSettings, parent: QObject) -> None:
        super().__init__(self._read_items, parent, CACHED_STATES)
        self._settings = settings
        self._root: Path | None = None
        self._reader: WorkItemReader | None = None
        self._read_at: dict[Path, float] = {}

    def refresh(self, paths: Iterable[Path]) -> None:
        """Read states again; the cached ones remain until then, unless they are of another folder for results."""
        self._update_root()
        super().refresh(paths)

    def prepare(self, slides: Sequence[Path]) -> JobFunction:
        """Return a function that reads the states of many slides in a thread, for ``add``."""
        return partial(self._read_all, self._update_root(), monotonic(), slides)

    def add(self, found: ReadStates) -> None:
        """Add the states of many slides, unless they are of another folder for results or newer ones were read."""
        if found.root == self._update_root():
            self.put(
                {slide: item for slide, item in found.items.items() if self._read_at.get(slide, 0.0) <= found.started}
            )

    def clear(self) -> None:
        """Remove all states and requests, and find the results of all slides again."""
        self._reader = None
        self._read_at.clear()
        super().clear()

    def _update_root(self) -> Path:
        """Return the folder for results; states and requests of another one are removed."""
        from napari_melanoma.ui.slide.run_manager import find_results_root

        root = find_results_root(self._settings)
        if root != self._root:
            self.clear()
            self._root = root
        return root

    def _read_all(self, root: Path, started: float, slides: Sequence[Path], run: RunContext) -> ReadStates:
        from napari_melanoma.slides.slide_table import WorkItemReader

        reader = self._reader
        if reader is None or reader.out != root:
            reader = self._reader = WorkItemReader(root)
        return ReadStates(root, started, reader.read(slides, run))

    def _read_items(self, slides: Sequence[Path], run: RunContext) -> Mapping[Path, WorkItem]:
        """Read the states of some slides, in a thread; ``clear`` cancels it when the folder for results changes."""
        root = self._root
        assert root is not None  # set by the request
        return self._read_all(root, monotonic(), slides, run).items

    def _on_read(self, values: Mapping[Path, WorkItem]) -> None:
        self._read_at.update(dict.fromkeys(values, monotonic()))
        super()._on_read(values)
