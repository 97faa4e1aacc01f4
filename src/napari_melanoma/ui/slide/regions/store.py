"""Regions of the open slides: read, edited with undo, saved, imported and exported."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.slide.shape_layers import LatestValueWriter, WriteResult
from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.lesion_edits import EditHistory
    from napari_melanoma.slides.region_files import StoredRegions
    from napari_melanoma.slides.regions import Regions
    from napari_melanoma.ui.slide.run_manager import SlideResultLocation
    from napari_melanoma.ui.slide.shape_layers import Stamp
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

RegionEdit = Callable[["Regions"], "Regions"]


class RegionStore(QObject):
    """Hold the regions of slides, and save each change."""

    changed = Signal(object)
    message = Signal(str)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._slide: ViewerSlide | None = None
        self._states: dict[str, RegionHistoryState] = {}
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)
        self.writer: LatestValueWriter[RegionHistoryState] = LatestValueWriter(self._latest, save_region_state)

    @property
    def busy(self) -> bool:
        """Whether regions are being read or written."""
        return self._latest.busy

    @property
    def state(self) -> RegionHistoryState | None:
        """Regions of the displayed slide with their history; None until they were read."""
        return None if self._slide is None else self._states.get(self._slide.identity)

    @property
    def regions(self) -> Regions:
        """The current regions; none until they were read."""
        now = self.state
        return () if now is None else now.history.current

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        self._slide = slide
        self.changed.emit(())

    def load(self, location: SlideResultLocation) -> None:
        """Read the stored regions."""
        now = self.state
        if self._slide is None or self._slide.identity != location.identity:
            return
        if now is None or now.folder != location.folder:
            self._latest.submit(f"{location.identity} load", lambda: partial(load_region_state, location))

    def apply_edit(self, edit: RegionEdit, selected: Collection[str] = ()) -> None:
        """Apply an edit as an undo step, and save the regions."""
        now = self.state
        if now is None:
            return
        try:
            regions = edit(now.history.current)
        except MelanomaError as error:
            self.changed.emit(())
            self.failed.emit(error)
            return
        if regions != now.history.current:
            self._set_state(replace(now, history=now.history.push(regions)), selected)

    def undo(self) -> None:
        """Undo the last change."""
        self._step_history("undo")

    def redo(self) -> None:
        """Redo the last change that was undone."""
        self._step_history("redo")

    def import_file(self, path: Path) -> None:
        """Take the regions of a file too."""
        now, slide = self.state, self._slide
        if now is not None and slide is not None:
            work = partial(read_imported_regions, now.identity, now.history.current, slide.size, path)
            self._latest.submit(f"import {path}", lambda: work)

    def export_file(self, path: Path) -> None:
        """Export the regions to a file."""
        regions = self.regions
        self._latest.submit(f"export {path}", lambda: partial(write_exported_regions, regions, path))

    def _step_history(self, way: str) -> None:
        now = self.state
        if now is not None:
            history = getattr(now.history, way)()
            if history is not now.history:
                self._set_state(replace(now, history=history))

    def _set_state(self, state: RegionHistoryState, selected: Collection[str] = ()) -> None:
        """Set, save and emit a state."""
        self._states[state.identity] = state
        self.writer.save(state.folder, state)
        self.changed.emit(selected)

    def _on_done(self, done: LoadedRegions | ImportedRegions | WriteResult | str | None) -> None:
        if isinstance(done, str):
            self.message.emit(done)
        elif isinstance(done, LoadedRegions):
            self._states[done.state.identity] = done.state
            self.writer.set_stamp(done.state.folder, done.stamp)
            self.changed.emit(())
        elif not isinstance(done, ImportedRegions):
            if done is not None and done.notes:
                self.message.emit("; ".join(done.notes))
        elif self._slide is not None and self._slide.identity == done.identity:
            imported = done.found.regions
            self.apply_edit(lambda regions: (*regions, *imported))
            self.message.emit("; ".join((f"{len(imported)} regions imported", *done.found.notes)) + ".")


GEOJSON_FILTER = "GeoJSON (*.geojson *.json)"


@dataclass(frozen=True)
class RegionHistoryState:
    """The regions of a slide with their history, and the folder."""

    identity: str
    folder: Path
    history: EditHistory[Regions]


@dataclass(frozen=True)
class LoadedRegions:
    """Regions that were loaded, and the stamp of the file."""

    state: RegionHistoryState
    stamp: Stamp | None


@dataclass(frozen=True)
class ImportedRegions:
    """Regions that were imported for a slide."""

    identity: str
    found: StoredRegions


def load_region_state(location: SlideResultLocation, run: RunContext) -> LoadedRegions:
    """Read the stored regions, with an empty history."""
    from napari_melanoma.slides.lesion_edits import EditHistory
    from napari_melanoma.slides.region_files import load_regions

    found = load_regions(location.folder)
    return LoadedRegions(
        RegionHistoryState(location.identity, location.folder, EditHistory(found.regions)), found.stamp
    )


def save_region_state(folder: Path, state: RegionHistoryState, stamp: Stamp | None) -> StoredRegions:
    """Write the regions."""
    from napari_melanoma.slides.region_files import save_regions

    return save_regions(folder, Path(state.identity), state.history.current, stamp)


def read_imported_regions(
    identity: str, known: Regions, size: tuple[int, int], path: Path, run: RunContext
) -> ImportedRegions:
    """Read regions of a file; ``size``: height and width of the slide in pixels of the finest level."""
    from napari_melanoma.slides.region_files import import_regions

    return ImportedRegions(identity, import_regions(path, size, known))


def write_exported_regions(regions: Regions, path: Path, run: RunContext) -> str:
    """Export regions to a file; return the message."""
    from napari_melanoma.io.geojson import write_geojson

    write_geojson(path, regions)
    return f"Saved: {path}"


def choose_import_file(window: QWidget, folder: Path, on_chosen: Callable[[str], None]) -> None:
    """Ask for a file to read."""
    _open_dialog(
        QFileDialog(window, "Regions of this slide", str(folder), GEOJSON_FILTER), "region_import_dialog", on_chosen
    )


def choose_export_file(window: QWidget, slide: str, on_chosen: Callable[[str], None]) -> None:
    """Ask for a file to write."""
    dialog = QFileDialog(window, "Export the regions as GeoJSON")
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilter(GEOJSON_FILTER)
    dialog.setDefaultSuffix("geojson")  # if none is typed
    dialog.selectFile(f"{slide}-regions.geojson")
    _open_dialog(dialog, "region_export_dialog", on_chosen)


def _open_dialog(dialog: QFileDialog, name: str, on_chosen: Callable[[str], None]) -> None:
    dialog.setObjectName(name)
    dialog.fileSelected.connect(on_chosen)
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
