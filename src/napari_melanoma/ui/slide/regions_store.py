"""Store of the regions of the open slides, with undo, import and export, and the selection of regions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.widgets.edited_document import DocumentState, EditedDocument
from napari_melanoma.ui.widgets.latest_writer import Stamp

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.region_files import StoredRegions
    from napari_melanoma.slides.regions import Regions


@dataclass(frozen=True)
class RegionState(DocumentState["Regions"]):
    """The regions of one slide. ``unread``: features of the file that are no regions; saving writes them back."""

    unread: tuple[Any, ...] = ()


class RegionStore(EditedDocument[RegionState]):
    """Load, edit and save the regions of slides, and import and export them as files."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent, _load_regions, _save_regions)

    @property
    def regions(self) -> Regions:
        """The current regions of the slide; empty until they have been loaded."""
        return () if self.state is None else self.state.history.current

    def import_file(self, path: Path, size: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> None:
        """Add the regions of a file.

        ``size``: height and width of the slide in pixels of the finest level. ``origin``: corner of the scanned area.
        """
        state = self.state
        if state is not None:
            work = partial(_read_imported_regions, path, size, origin, state.history.current)
            self._submit(f"import {path}", lambda: work, partial(self._on_imported, state.identity))

    def export_file(self, path: Path, origin: tuple[int, int] = (0, 0)) -> None:
        """Write the regions to a GeoJSON file; ``origin``: corner of the scanned area."""
        work = partial(_write_exported_regions, self.regions, origin, path)
        self._submit(f"export {path}", lambda: work, self.message.emit)

    def _on_imported(self, identity: str, imported: StoredRegions) -> None:
        if self.state is not None and self.state.identity == identity:
            self.apply_edit(lambda regions: (*regions, *imported.regions))
            count = format_count(len(imported.regions), "region")
            self.message.emit("; ".join((f"{count} imported", *imported.notes)) + ".")


class RegionSelection(QObject):
    """The ids of the selected regions, shared by the list, the layer and the operations."""

    changed = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.ids: tuple[str, ...] = ()

    def select(self, ids: Iterable[str]) -> None:
        """Replace the selection."""
        selected = tuple(dict.fromkeys(ids))
        if set(selected) != set(self.ids):
            self.ids = selected
            self.changed.emit()

    def remove_missing(self, regions: Regions) -> None:
        """Deselect regions that no longer exist."""
        if self.ids:
            existing = {region.id for region in regions}
            self.select(region_id for region_id in self.ids if region_id in existing)


def _load_regions(identity: str, folder: Path) -> tuple[RegionState, StoredRegions]:
    from napari_melanoma.slides.region_files import load_regions

    stored = load_regions(folder)
    return RegionState(identity, History(stored.regions), folder, stored.unread), replace(stored, notes=())


def _save_regions(state: RegionState, stamp: Stamp | None) -> StoredRegions:
    from napari_melanoma.slides.region_files import save_regions

    return save_regions(state.folder, Path(state.identity), state.history.current, stamp, state.unread)


def _read_imported_regions(
    path: Path, size: tuple[int, int], origin: tuple[int, int], existing: Regions, run: RunContext
) -> StoredRegions:
    from napari_melanoma.slides.region_files import import_regions

    return import_regions(path, size, existing, origin=origin)


def _write_exported_regions(regions: Regions, origin: tuple[int, int], path: Path, run: RunContext) -> str:
    """Export regions to a file; return the message."""
    from napari_melanoma.io.geojson import write_geojson

    write_geojson(path, regions, origin=origin)
    return f"Saved: {path}"
