"""Regions of the open slides: read, edited with undo, selected, saved, imported and exported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.widgets.edited_document import DocumentState, EditedDocument, EditHistory, Stamp

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.region_files import StoredRegions
    from napari_melanoma.slides.regions import Regions


@dataclass(frozen=True)
class RegionState(DocumentState["Regions"]):
    """The regions of one slide; ``unread``: the other features of their file, which are kept."""

    unread: tuple[Any, ...] = ()


class RegionStore(EditedDocument[RegionState]):
    """The regions of slides, with import and export."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent, _load_regions, _save_regions)

    @property
    def regions(self) -> Regions:
        """The current regions; none until they were read."""
        now = self.state
        return () if now is None else now.history.current

    def import_file(self, path: Path, size: tuple[int, int]) -> None:
        """Add the regions of a file; ``size``: height and width of the slide in pixels of the finest level."""
        now = self.state
        if now is not None:
            work = partial(_read_imported_regions, path, size, now.history.current)
            self._submit(f"import {path}", lambda: work, partial(self._on_imported, now.identity))

    def export_file(self, path: Path) -> None:
        """Export the regions to a file."""
        work = partial(_write_exported_regions, self.regions, path)
        self._submit(f"export {path}", lambda: work, self.message.emit)

    def _on_imported(self, identity: str, found: StoredRegions) -> None:
        if self.state is not None and self.state.identity == identity:
            self.apply_edit(lambda regions: (*regions, *found.regions))
            count = format_count(len(found.regions), "region")
            self.message.emit("; ".join((f"{count} imported", *found.notes)) + ".")


class RegionSelection(QObject):
    """The selected regions, by their ids, which the list, the layer and the operations share."""

    changed = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.ids: tuple[str, ...] = ()

    def select(self, ids: Iterable[str]) -> None:
        """Select other regions."""
        chosen = tuple(dict.fromkeys(ids))
        if set(chosen) != set(self.ids):
            self.ids = chosen
            self.changed.emit()

    def keep_existing(self, regions: Regions) -> None:
        """Deselect regions that no longer exist."""
        if self.ids:
            known = {one.id for one in regions}
            self.select(one for one in self.ids if one in known)


def _load_regions(identity: str, folder: Path) -> tuple[RegionState, StoredRegions]:
    from napari_melanoma.slides.region_files import load_regions

    found = load_regions(folder)
    return RegionState(identity, EditHistory(found.regions), folder, found.unread), replace(found, notes=())


def _save_regions(state: RegionState, stamp: Stamp | None) -> StoredRegions:
    from napari_melanoma.slides.region_files import save_regions

    return save_regions(state.folder, Path(state.identity), state.history.current, stamp, state.unread)


def _read_imported_regions(path: Path, size: tuple[int, int], known: Regions, run: RunContext) -> StoredRegions:
    from napari_melanoma.slides.region_files import import_regions

    return import_regions(path, size, known)


def _write_exported_regions(regions: Regions, path: Path, run: RunContext) -> str:
    """Export regions to a file; return the message."""
    from napari_melanoma.io.geojson import write_geojson

    write_geojson(path, regions)
    return f"Saved: {path}"
