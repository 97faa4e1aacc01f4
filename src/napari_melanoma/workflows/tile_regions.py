"""The regions of a slide made ready for tiles: its files, its readers, its classes under the names asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.region_maps import MOST_CLASSES, NOT_LEARNT, RegionMap
from napari_melanoma.analysis.regions import READER, Regions, is_ignored, reader_of
from napari_melanoma.core.errors import DataSetError, InputError, ScaleMissing
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.placement import MapPlace
from napari_melanoma.io.slide_notes import read_notes
from napari_melanoma.io.slides.opening import open_slide
from napari_melanoma.workflows.slide_regions import REGIONS, find_regions, import_regions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.io.slides.slide import SlideInfo

REFUSE, AGREE = "refuse", "agree"
OVERVIEW_CELLS = 2048  # along the longer side of a slide, to find where readers disagree


@dataclass(frozen=True)
class SlideRegions:
    """A slide with its regions, the scale that the user gave it, and what was found on the way."""

    path: Path
    regions: Regions
    pixel_size: PixelSize | None = None
    notes: tuple[str, ...] = ()
    name: str = ""

    def named(self, name: str) -> SlideRegions:
        """Give it the name that its tiles are called after.

        Otherwise the same.
        """
        return replace(self, name=name)

    def map_of(self, numbers: Mapping[str, int]) -> RegionMap:
        """Make the map of its classes."""
        return RegionMap(self.regions, numbers)


@dataclass(frozen=True)
class TakenClasses:
    """The classes of a data set.

    ``values``: uint8 (256,): number in a map of classes to value in a label image.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, int]
    labels: tuple[str, ...]
    values: NDArray[np.uint8]


def regions_of(slide: Path, places: Sequence[Path], readers: str) -> SlideRegions:
    """Read the regions of a slide, and settle whose count."""
    files = find_regions(slide, places)
    if not files:
        where = ", ".join(map(str, places)) or "beside it"
        raise InputError(f"no regions of {slide.name} found ({where}): draw some in the Slide dock, or name a file.")
    given = [read_notes(file.parent).pixel_size for file in files]
    size = next((one for one in given if one is not None), None)
    with open_slide(slide, size) as opened:
        info = opened.info
    if info.pixel_size is None:
        raise ScaleMissing(f"{slide.name} has no scale, and tiles are in micrometres: set it in the Slide dock.")
    found, notes = _read(files, info)
    classless = sum(not one.class_name for one in found)
    notes += [f"{classless} regions without a class left out"] if classless else []
    drawn = tuple(one for one in found if one.class_name)
    if not any(not is_ignored(one.class_name) for one in drawn):
        raise InputError(f"no region of {slide.name} has a class: give them one, and come back.")
    counted, more = _settled(drawn, info, readers)
    return SlideRegions(slide, counted, size, (*notes, *more))


def taken_classes(slides: Sequence[Regions], asked: Sequence[str], rest: str) -> TakenClasses:
    """Settle which classes there are, under which names and numbers.

    Returns the rest is the first of the values of label images, whether it was drawn as well or not.
    """
    counts = Counter(one.class_name for regions in slides for one in regions if not is_ignored(one.class_name))
    named = {name: becomes or name for name, _, becomes in (one.partition("=") for one in asked)}
    words = named or {name: name for name in sorted(counts)}
    missing = [name for name in words if not counts[name]]
    if missing:
        known = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
        raise DataSetError(
            f"no region is of the class {', '.join(missing)} (there are: {known}). Draw some, or name another class."
        )
    names = tuple(dict.fromkeys(words.values()))
    if len(names) > MOST_CLASSES:
        raise DataSetError(f"{len(names)} classes are too many for label images: name at most {MOST_CLASSES}.")
    labels = (rest, *(name for name in names if name != rest))
    values = np.zeros(NOT_LEARNT + 1, np.uint8)
    for number, name in enumerate(names, start=1):
        values[number] = labels.index(name)
    return TakenClasses(names, {name: names.index(word) + 1 for name, word in words.items()}, labels, values)


def _read(files: Sequence[Path], info: SlideInfo) -> tuple[Regions, list[str]]:
    """Regions of all files of a slide."""
    size = info.levels[0].height, info.levels[0].width
    found: Regions = ()
    notes: list[str] = []
    for file in files:
        reader = "" if len(files) == 1 else _reader_named(file)
        read = import_regions(file, size, reader=reader)
        found += read.regions
        notes += read.notes
    return found, notes


def _reader_named(file: Path) -> str:
    """The name of a reader by the file: regions.geojson is the same everywhere, so its folders tell."""
    return file.parent.parent.name if file.name == REGIONS else file.stem


def _settled(regions: Regions, info: SlideInfo, readers: str) -> tuple[Regions, tuple[str, ...]]:
    """Regions of those who count."""
    names = sorted({reader_of(one) for one in regions})
    if readers not in (REFUSE, AGREE):
        own = tuple(one for one in regions if reader_of(one) == readers)
        if not own:
            raise DataSetError(
                f"reader '{readers}' drew nothing on {info.path.name} (there are: {_named(names)}). Name one of them."
            )
        left = len(regions) - len(own)
        return own, ((f"{left} regions of other readers left out",) if left else ())
    differ = _disagreement(regions, info) if len(names) > 1 else {}
    if not differ:
        return regions, ()
    said = "; ".join(f"{_named(pair)} differ on {area}" for pair, area in differ.items())
    if readers == REFUSE:
        raise DataSetError(
            f"regions of {info.path.name} overlap and say different classes: {said}. Take what both agree on "
            f"(readers: {AGREE}), or name the reader who counts."
        )
    return regions, (f"{said}: left out",)


def _disagreement(regions: Regions, info: SlideInfo) -> dict[tuple[str, str], str]:
    """Where two readers say different classes: the pair, and how large the area is."""
    full, classes = info.levels[0], sorted({one.class_name for one in regions})
    step = max(1.0, max(full.height, full.width) / OVERVIEW_CELLS)
    place = MapPlace(0.0, 0.0, step, step, info.pixel_size)
    window = Box(0, 0, int(full.height / step) + 1, int(full.width / step) + 1)
    found = RegionMap(regions, {name: number for number, name in enumerate(classes, start=1)})
    area = place.cell_area_mm2 or 0.0
    return {pair: f"{cells * area:.3g} mm²" for pair, cells in found.disagreement(place, window).items()}


def _named(readers: Sequence[str]) -> str:
    """Readers in words."""
    return " and ".join(name or f"(no {READER} named)" for name in readers)
