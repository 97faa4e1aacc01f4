"""The regions of each slide in a window: read, changed with undo, written at once after every change, in threads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.slide.last_writes import LastWrites, Written
from napari_melanoma.ui.slide.regions_files import Drawn, Imported, Loaded, export_to, import_from, keep, load

if TYPE_CHECKING:
    from napari_melanoma.analysis.regions import Regions
    from napari_melanoma.ui.slide.desk import Place
    from napari_melanoma.ui.slide.layers import OpenSlide

Edit = Callable[["Regions"], "Regions"]


class RegionKeeper(QObject):
    """Knows the regions of slides, and keeps each change."""

    changed = Signal(object)
    said = Signal(str)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._slide: OpenSlide | None = None
        self._known: dict[str, Drawn] = {}
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)
        self.files: LastWrites[Drawn] = LastWrites(self._latest, keep)

    @property
    def busy(self) -> bool:
        """Whether regions are being read or written."""
        return self._latest.busy

    @property
    def drawn(self) -> Drawn | None:
        """Those of the slide that it is about; None until they were read."""
        return None if self._slide is None else self._known.get(self._slide.identity)

    @property
    def regions(self) -> Regions:
        """As they are now; none until they were read."""
        now = self.drawn
        return () if now is None else now.history.now

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        self.changed.emit(())

    def look(self, place: Place) -> None:
        """Read what was drawn before, now that it is known where that is."""
        now = self.drawn
        if self._slide is None or self._slide.identity != place.identity:
            return
        if now is None or now.folder != place.folder:
            self._latest.submit(f"{place.identity} load", lambda: partial(load, place))

    def change(self, edit: Edit, selected: Collection[str] = ()) -> None:
        """Change the regions by hand; a step that can be undone, kept at once."""
        now = self.drawn
        if now is None:
            return
        try:
            regions = edit(now.history.now)
        except MelanomaError as error:
            self.changed.emit(())
            self.failed.emit(error)
            return
        if regions != now.history.now:
            self._take(replace(now, history=now.history.then(regions)), selected)

    def undo(self) -> None:
        """Take back the last change."""
        self._step("undo")

    def redo(self) -> None:
        """Do again what was taken back."""
        self._step("redo")

    def read(self, path: Path) -> None:
        """Take the regions of a file too."""
        now, slide = self.drawn, self._slide
        if now is not None and slide is not None:
            work = partial(import_from, now.identity, now.history.now, slide.size, path)
            self._latest.submit(f"import {path}", lambda: work)

    def write(self, path: Path) -> None:
        """Write the regions somewhere else."""
        regions = self.regions
        self._latest.submit(f"export {path}", lambda: partial(export_to, regions, path))

    def _step(self, way: str) -> None:
        now = self.drawn
        if now is not None:
            history = getattr(now.history, way)()
            if history is not now.history:
                self._take(replace(now, history=history))

    def _take(self, drawn: Drawn, selected: Collection[str] = ()) -> None:
        """Let regions count from now on: known, told, kept."""
        self._known[drawn.identity] = drawn
        self.files.keep(drawn.folder, drawn)
        self.changed.emit(selected)

    def _on_done(self, done: Loaded | Imported | Written | str | None) -> None:
        if isinstance(done, str):
            self.said.emit(done)
        elif isinstance(done, Loaded):
            self._known[done.drawn.identity] = done.drawn
            self.files.know(done.drawn.folder, done.stamp)
            self.changed.emit(())
        elif not isinstance(done, Imported):
            if done is not None and done.notes:
                self.said.emit("; ".join(done.notes))
        elif self._slide is not None and self._slide.identity == done.identity:
            fresh = done.found.regions
            self.change(lambda regions: (*regions, *fresh))
            self.said.emit("; ".join((f"{len(fresh)} regions imported", *done.found.notes)) + ".")
