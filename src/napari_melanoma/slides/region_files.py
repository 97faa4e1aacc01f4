"""The regions of a slide on the disk: ``regions.geojson`` in its result folder, and what comes from other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import back_up_if_changed, file_stamp
from napari_melanoma.io.geojson import Annotation, fit_to_slide, read_geojson, write_geojson
from napari_melanoma.slides.regions import READER, Regions, assign_ids, region_reader
from napari_melanoma.slides.result_folder import record_slide, recorded_slide, slide_folder, slide_name

REGIONS = "regions.geojson"
SUFFIXES = (".geojson", ".json")


@dataclass(frozen=True)
class StoredRegions:
    """Regions of a slide and, in words, what was mended or left out; ``stamp`` tells the file from a later one."""

    regions: Regions = ()
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None


def load_regions(folder: Path) -> StoredRegions:
    """Read the regions that were kept with a slide's results.

    Returns as they were written; empty where none were drawn yet.
    """
    path = folder / REGIONS
    if not path.is_file():
        return StoredRegions()
    stamp = file_stamp(path)
    found = read_geojson(path)
    return StoredRegions(assign_ids(found.annotations), found.omitted, stamp)


def save_regions(folder: Path, slide: Path, regions: Regions, known: tuple[int, int] | None) -> StoredRegions:
    """Keep regions with a slide's results, at once and atomically; another's file is put aside, not overwritten.

    With the new stamp, and a note where another program or window had written the file meanwhile.
    """
    path = folder / REGIONS
    if recorded_slide(folder) is None:
        record_slide(folder, slide, record_name=True)
    notes = back_up_if_changed(path, known)
    write_geojson(path, regions)
    return StoredRegions(regions, notes, file_stamp(path))


def import_regions(path: Path, size: tuple[int, int], known: Regions = (), reader: str = "") -> StoredRegions:
    """Read regions from a file of another program, or of another reader.

    ``size``: height and width of the slide in pixels of its finest level. Returns the new ones, with ids that no other
    has. What encloses nothing or lies beside the slide is left out, outlines that cross themselves are mended.
    """
    read = read_geojson(path)
    fresh = tuple(one for one in read.annotations if one not in known)
    found = fit_to_slide(replace(read, annotations=fresh), size)
    if fresh and not found.annotations:
        raise InputError(
            f"{path}: nothing of its {len(fresh)} regions lies on the slide of {size[0]} x {size[1]} pixels. Regions "
            "are in pixels of the finest level: choose the file of this slide."
        )
    same = len(read.annotations) - len(fresh)
    notes = (*found.changed, *([f"{same} are there already"] if same else []))
    signed = [_with_reader(one, reader) for one in found.annotations]
    return StoredRegions(assign_ids(signed, {one.id for one in known}), notes)


def find_annotated_slides(root: Path) -> list[tuple[Path, Path]]:
    """List the slides that somebody drew regions on.

    Slide and file of its regions; slides that are where they were then.
    """
    files = [path for pattern in (f"*/{REGIONS}", f"*/*/{REGIONS}") for path in sorted(root.glob(pattern))]
    found = [(recorded_slide(path.parent), path) for path in files]
    return [(slide, path) for slide, path in found if slide is not None and slide.exists()]


def find_region_files(slide: Path, folders: Sequence[Path]) -> list[Path]:
    """Find the files of regions of a slide."""
    found: list[Path] = []
    for place in folders or [slide.parent]:
        if not place.exists():
            raise InputError(f"{place} does not exist: expected a GeoJSON file of regions, or a folder of such.")
        if place.is_file():
            found.append(place)
            continue
        stem = slide_name(slide)
        names = [f"{name}{suffix}" for name in (stem, stem.removesuffix(".ome")) for suffix in SUFFIXES]
        candidates = [slide_folder(place, slide) / REGIONS, place / REGIONS, *(place / name for name in names)]
        found += [one for one in candidates if one.is_file()][:1]
    return found


def _with_reader(region: Annotation, reader: str) -> Annotation:
    """A region with its reader's name."""
    if not reader or region_reader(region):
        return region
    return replace(region, properties={**region.properties, READER: reader})
