"""Read and write the regions of a slide: ``regions.geojson`` in its result folder, and imported files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import back_up_if_changed, file_stamp
from napari_melanoma.core.formatting import format_count
from napari_melanoma.depth.readings import DepthReading
from napari_melanoma.io.dicom_report import ReportContent, ReportedDepth, is_dicom_report, read_measurement_report
from napari_melanoma.io.geojson import (
    CANVAS,
    SUFFIXES,
    Annotation,
    GeoJsonContent,
    Origin,
    fit_to_slide,
    read_geojson,
    write_geojson,
)
from napari_melanoma.io.results import read_origin
from napari_melanoma.io.spatialdata import find_spatialdata, read_spatialdata
from napari_melanoma.slides.notes import SlideMeasurement
from napari_melanoma.slides.regions import READER, Regions, assign_ids, region_reader
from napari_melanoma.slides.result_folder import record_slide, recorded_slide, slide_folder, slide_name

REGIONS = "regions.geojson"


@dataclass(frozen=True)
class StoredRegions:
    """Regions of a slide as stored in a file.

    ``notes``: messages on repaired or omitted regions. ``stamp``: version of the file. ``unread``: GeoJSON features
    that are not regions, such as points. ``measures``: lengths, areas and angles of an imported report. ``readings``:
    its depth readings, one for each reader.
    """

    regions: Regions = ()
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None
    unread: tuple[Any, ...] = ()
    measures: tuple[SlideMeasurement, ...] = ()
    readings: tuple[DepthReading, ...] = ()


def load_regions(folder: Path) -> StoredRegions:
    """Read the regions stored with the results of a slide; empty if there are none."""
    path = folder / REGIONS
    if not path.is_file():
        return StoredRegions()
    stamp = file_stamp(path)
    content = read_geojson(path, read_origin(folder))
    return StoredRegions(assign_ids(content.annotations), content.omitted, stamp, content.unread)


def save_regions(
    folder: Path, slide: Path, regions: Regions, known: tuple[int, int] | None, unread: tuple[Any, ...] = ()
) -> StoredRegions:
    """Save regions in the result folder of a slide, atomically; a file changed by another program is backed up first.

    ``known``: stamp of the file when it was last read or saved. ``unread``: other features of that file, which are
    kept. Returns the regions with the new stamp, and a note on the backup.
    """
    path = folder / REGIONS
    if recorded_slide(folder) is None:
        record_slide(folder, slide, record_name=True)
    notes = back_up_if_changed(path, known)
    write_geojson(path, regions, unread, read_origin(folder))
    return StoredRegions(regions, notes, file_stamp(path), unread)


def import_regions(
    path: Path,
    size: tuple[int, int],
    known: Regions = (),
    origin: Origin = CANVAS,
    slide: Path | None = None,
    *,
    areas_only: bool = False,
) -> StoredRegions:
    """Read regions from a file of another program or reader: GeoJSON, a SpatialData store, or a DICOM report.

    Regions without area or outside the slide are left out, and self-intersecting outlines are repaired.

    ``size``: height and width of the slide in pixels of the finest level. ``known``: regions of the slide. ``origin``:
    the corner of the scanned area. ``slide``: its file, which reports need. ``areas_only``: without the measurements of
    regions. Returns the regions that are not known yet, with unique ids.
    """
    content = _read_annotations(path, origin, slide, areas_only=areas_only)
    new = tuple(region for region in content.annotations if region not in known)
    fitted = fit_to_slide(replace(content, annotations=new), size)
    if new and not fitted.annotations:
        raise InputError(
            f"{path}: none of its {len(new)} regions lies on the slide of {size[0]} x {size[1]} pixels. Regions "
            "must be in pixels of the finest level. Select the file of this slide."
        )
    same = len(content.annotations) - len(new)
    notes = (*fitted.changed, *([f"{same} already {'exists' if same == 1 else 'exist'}"] if same else []))
    regions = assign_ids(fitted.annotations, {region.id for region in known})
    if not isinstance(content, ReportContent):
        return StoredRegions(regions, notes)
    measures = tuple(SlideMeasurement(line.kind, line.points) for line in content.lines)
    thinnest_first = sorted(content.depths, key=lambda one: one.mm or 0)  # the thickest reading of each reader is kept
    readings = {one.reader: _to_reading(one, path) for one in thinnest_first}
    if others := len(content.depths) - len(readings):
        notes += (f"{format_count(others, 'depth reading')} of readers with a thicker one: left out",)
    return StoredRegions(regions, notes, measures=measures, readings=tuple(readings.values()))


def _to_reading(found: ReportedDepth, path: Path) -> DepthReading:
    values = {name: getattr(found, name) for name in DepthReading.model_fields if hasattr(found, name)}
    values["margins"] = {"lateral_mm": found.lateral_mm, "deep_mm": found.deep_mm}
    values["mitoses"] = {"per_mm2": found.mitoses_per_mm2}
    return DepthReading.parse({**values, "notes": f"Imported from {path.name}."}, f"{path.name}, a depth reading")


def _read_annotations(path: Path, origin: Origin, slide: Path | None, *, areas_only: bool) -> GeoJsonContent:
    store = find_spatialdata(path)
    if store is not None:
        return read_spatialdata(store)
    if slide is not None and is_dicom_report(path):
        return read_measurement_report(path, slide)
    return read_geojson(path, origin, areas_only=areas_only)


def find_annotated_slides(root: Path) -> list[tuple[Path, Path]]:
    """List the slides with regions in the result folders below a root, as pairs of slide and region file.

    Slides that no longer exist at the recorded path are left out.
    """
    files = [path for pattern in (f"*/{REGIONS}", f"*/*/{REGIONS}") for path in sorted(root.glob(pattern))]
    pairs = [(recorded_slide(path.parent), path) for path in files]
    return [(slide, path) for slide, path in pairs if slide is not None and slide.exists()]


def find_region_files(slide: Path, locations: Sequence[Path]) -> list[Path]:
    """Find the files with regions of a slide, at most one at each location.

    ``locations``: files, or folders with result folders or with files named after the slide; by default the folder of
    the slide.
    """
    found: list[Path] = []
    for location in locations or [slide.parent]:
        if not location.exists():
            raise InputError(
                f"{location} does not exist. Expected a GeoJSON file of regions, or a folder of such files."
            )
        if location.is_file() or find_spatialdata(location):
            found.append(location)
            continue
        stem = slide_name(slide)
        names = [f"{name}{suffix}" for name in (stem, stem.removesuffix(".ome")) for suffix in SUFFIXES]
        candidates = [slide_folder(location, slide) / REGIONS, location / REGIONS, *(location / name for name in names)]
        found += [path for path in candidates if path.is_file()][:1]
    return found


def set_reader(region: Annotation, reader: str) -> Annotation:
    """Set the reader of a region that has none."""
    if not reader or region_reader(region):
        return region
    return replace(region, properties={**region.properties, READER: reader})
