"""The regions of a slide on the disk: ``regions.geojson`` in its result folder, and what comes from other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import put_others_aside, stamp_of
from napari_melanoma.io.geojson import Annotation, fitted, read_geojson, write_geojson
from napari_melanoma.slides.regions import READER, Regions, reader_of, with_ids
from napari_melanoma.slides.result_folder import name_of, note_slide, slide_folder, slide_noted

REGIONS = "regions.geojson"
SUFFIXES = (".geojson", ".json")


@dataclass(frozen=True)
class FoundRegions:
    """Regions of a slide and, in words, what was mended or left out; ``stamp`` tells the file from a later one."""

    regions: Regions = ()
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None


def load_regions(folder: Path) -> FoundRegions:
    """Read the regions that were kept with a slide's results.

    Returns as they were written; empty where none were drawn yet.
    """
    path = folder / REGIONS
    if not path.is_file():
        return FoundRegions()
    stamp = stamp_of(path)
    found = read_geojson(path)
    return FoundRegions(with_ids(found.annotations), found.left_out, stamp)


def keep_regions(folder: Path, slide: Path, regions: Regions, known: tuple[int, int] | None) -> FoundRegions:
    """Keep regions with a slide's results, at once and atomically; another's file is put aside, not overwritten.

    With the new stamp, and a note where another program or window had written the file meanwhile.
    """
    path = folder / REGIONS
    if slide_noted(folder) is None:
        note_slide(folder, slide, named=True)
    notes = put_others_aside(path, known)
    write_geojson(path, regions)
    return FoundRegions(regions, notes, stamp_of(path))


def import_regions(path: Path, size: tuple[int, int], known: Regions = (), reader: str = "") -> FoundRegions:
    """Read regions from a file of another program, or of another reader.

    ``size``: height and width of the slide in pixels of its finest level. Returns the new ones, with ids that no other
    has. What encloses nothing or lies beside the slide is left out, outlines that cross themselves are mended.
    """
    read = read_geojson(path)
    fresh = tuple(one for one in read.annotations if one not in known)
    found = fitted(replace(read, annotations=fresh), size)
    if fresh and not found.annotations:
        raise InputError(
            f"{path}: nothing of its {len(fresh)} regions lies on the slide of {size[0]} x {size[1]} pixels. Regions "
            "are in pixels of the finest level: choose the file of this slide."
        )
    same = len(read.annotations) - len(fresh)
    notes = (*found.changed, *([f"{same} are there already"] if same else []))
    signed = [_signed(one, reader) for one in found.annotations]
    return FoundRegions(with_ids(signed, {one.id for one in known}), notes)


def annotated_slides(root: Path) -> list[tuple[Path, Path]]:
    """List the slides that somebody drew regions on.

    Slide and file of its regions; slides that are where they were then.
    """
    files = [path for pattern in (f"*/{REGIONS}", f"*/*/{REGIONS}") for path in sorted(root.glob(pattern))]
    found = [(slide_noted(path.parent), path) for path in files]
    return [(slide, path) for slide, path in found if slide is not None and slide.exists()]


def find_regions(slide: Path, places: Sequence[Path]) -> list[Path]:
    """Find the files of regions of a slide."""
    found: list[Path] = []
    for place in places or [slide.parent]:
        if not place.exists():
            raise InputError(f"{place} does not exist: expected a GeoJSON file of regions, or a folder of such.")
        if place.is_file():
            found.append(place)
            continue
        stem = name_of(slide)
        names = [f"{name}{suffix}" for name in (stem, stem.removesuffix(".ome")) for suffix in SUFFIXES]
        candidates = [slide_folder(place, slide) / REGIONS, place / REGIONS, *(place / name for name in names)]
        found += [one for one in candidates if one.is_file()][:1]
    return found


def _signed(region: Annotation, reader: str) -> Annotation:
    """A region with its reader's name."""
    if not reader or reader_of(region):
        return region
    return replace(region, other={**region.other, READER: reader})
