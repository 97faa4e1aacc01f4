"""The regions of each slide: read, changed with undo, written, imported."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.slide.drawn_layers import LastWrites, Written
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.lesion_edits import History
    from napari_melanoma.slides.region_files import FoundRegions
    from napari_melanoma.slides.regions import Regions
    from napari_melanoma.ui.slide.controller import Place
    from napari_melanoma.ui.slide.drawn_layers import Stamp
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

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


PATTERN = "GeoJSON (*.geojson *.json)"


@dataclass(frozen=True)
class Drawn:
    """The regions of a slide with what was undone, and where they are kept."""

    identity: str
    folder: Path
    history: History[Regions]


@dataclass(frozen=True)
class Loaded:
    """The regions of a slide as they were read, and the stamp of the file."""

    drawn: Drawn
    stamp: Stamp | None


@dataclass(frozen=True)
class Imported:
    """What a file held for a slide."""

    identity: str
    found: FoundRegions


def load(place: Place, run: RunContext) -> Loaded:
    """Read what was drawn before.

    Nothing of it undone.
    """
    from napari_melanoma.slides.lesion_edits import History
    from napari_melanoma.slides.region_files import load_regions

    found = load_regions(place.folder)
    return Loaded(Drawn(place.identity, place.folder, History(found.regions)), found.stamp)


def keep(folder: Path, drawn: Drawn, stamp: Stamp | None) -> FoundRegions:
    """Write what is drawn now."""
    from napari_melanoma.slides.region_files import keep_regions

    return keep_regions(folder, Path(drawn.identity), drawn.history.now, stamp)


def import_from(identity: str, known: Regions, size: tuple[int, int], path: Path, run: RunContext) -> Imported:
    """Read regions of a file.

    ``size``: height and width in pixels of its finest level.
    """
    from napari_melanoma.slides.region_files import import_regions

    return Imported(identity, import_regions(path, size, known))


def export_to(regions: Regions, path: Path, run: RunContext) -> str:
    """Write regions somewhere else."""
    from napari_melanoma.io.geojson import write_geojson

    write_geojson(path, regions)
    return f"Written: {path}"


def ask_import(window: QWidget, folder: Path, chosen: Callable[[str], None]) -> None:
    """Let the user choose a file to read."""
    _open(QFileDialog(window, "Regions of this slide", str(folder), PATTERN), "region_import_dialog", chosen)


def ask_export(window: QWidget, slide: str, chosen: Callable[[str], None]) -> None:
    """Let the user choose a file to write."""
    dialog = QFileDialog(window, "Write the regions as GeoJSON")
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilter(PATTERN)
    dialog.setDefaultSuffix("geojson")  # where none is typed
    dialog.selectFile(f"{slide}-regions.geojson")
    _open(dialog, "region_export_dialog", chosen)


def _open(dialog: QFileDialog, name: str, chosen: Callable[[str], None]) -> None:
    dialog.setObjectName(name)
    dialog.fileSelected.connect(chosen)
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
