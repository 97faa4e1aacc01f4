"""The regions of a slide: their file, the selected ones, and the import and export of other files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.session.document import DocumentKind, SlideFolder, Stored

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.region_files import StoredRegions
    from napari_melanoma.slides.regions import Regions
    from napari_melanoma.ui.session.document import Document, Shared
    from napari_melanoma.ui.session.slide import SlideSession


def select_regions(selected: Shared[tuple[str, ...]], ids: Iterable[str]) -> None:
    """Replace the ids of the selected regions, unless they are the same in another order."""
    wanted = tuple(dict.fromkeys(ids))
    if set(wanted) != set(selected.value):
        selected.set(wanted)


def import_region_file(session: SlideSession, path: Path) -> None:
    """Add the regions, measurements and depth readings of a file, once those of the slide have been read."""
    document, info = session.regions, session.slide.info

    def read(run: RunContext) -> StoredRegions:
        from napari_melanoma.slides.region_files import import_regions

        if document.problem:
            raise InputError(document.problem)
        return import_regions(path, session.slide.size, document.value, origin=info.origin, slide=info.path)

    def add(imported: StoredRegions) -> None:
        document.apply(lambda regions: (*regions, *imported.regions))
        if imported.measures:
            session.measures.apply(lambda known: (*known, *(one for one in imported.measures if one not in known)))
        if imported.readings:
            session.depth.add_readings(imported.readings, partial(show, imported))
        else:
            show(imported, 0, ())

    def show(imported: StoredRegions, readings: int, notes: tuple[str, ...]) -> None:
        counts = [format_count(len(imported.regions), "region")]
        counts += [format_count(len(imported.measures), "measurement")] if imported.measures else []
        counts += [format_count(readings, "depth reading")] if readings else []
        document.message.emit("; ".join((f"{', '.join(counts)} imported", *imported.notes, *notes)) + ".")

    document.submit(read, add)


def export_region_file(document: Document[Regions], path: Path) -> None:
    """Write the regions to a GeoJSON file in the background."""
    regions = document.value

    def write(run: RunContext) -> str:
        from napari_melanoma.io.geojson import write_geojson

        write_geojson(path, regions, origin=document.location.origin)
        return f"Saved: {path}"

    document.submit(write, document.message.emit)


def _read(location: SlideFolder) -> Stored[Regions]:
    from napari_melanoma.slides.region_files import load_regions

    stored = load_regions(location.folder)
    return Stored(stored.regions, stored.stamp, unread=stored.unread)


def _write(location: SlideFolder, regions: Regions, stored: Stored[Regions]) -> Stored[Regions]:
    from napari_melanoma.slides.region_files import save_regions

    saved = save_regions(location.folder, location.slide, regions, stored.stamp, stored.unread)
    return Stored(regions, saved.stamp, saved.notes, saved.unread)


REGION_DOCUMENT: DocumentKind[Regions] = DocumentKind("regions", (), _read, _write)
