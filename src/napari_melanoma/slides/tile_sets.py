"""Annotated slides as a data set of tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import BATCH_ERRORS, RunContext
from napari_melanoma.core.errors import DataSetError, InputError, MelanomaError, SaveError, ScaleMissing, describe_error
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.core.placement import MapPlacement
from napari_melanoma.core.prediction_config import TileConfig
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample, assemble_folder, write_dataset_table
from napari_melanoma.data.splits import find_rarest_classes, split_samples
from napari_melanoma.io.results import write_labels, write_rgb
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.region_files import REGIONS, find_region_files, import_regions
from napari_melanoma.slides.regions import (
    IGNORED_VALUE,
    MAX_CLASSES,
    READER,
    RegionMap,
    Regions,
    is_ignored,
    region_reader,
)
from napari_melanoma.slides.tiling import TileGrid, TilingConfig, plan_tiles, tissue_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.slides.reading.slide import Slide, SlideInfo

CELLS_PER_TILE = 16  # of the map of classes, along the side of a tile: shares are right to a few thousandths
MAX_IGNORED_SHARE = 0.01  # of a tile that may be of a region to ignore
TILES_PER_READ = 32


class TileCuttingConfig(Config):
    """Scale and size of the tiles, and which of them are taken."""

    mpp: float = Field(0.5, gt=0, le=100, description="micrometers per pixel of the tiles")
    tile_px: int = Field(224, ge=32, le=2048, description="side of a tile in pixels")
    share: float = Field(
        0.6, gt=0, le=1, description="share of a tile that regions cover, and that one class covers to be its class"
    )
    overlap: float = Field(0.0, ge=0, le=0.9, description="share of a tile's side that the next one shows again")
    most: int = Field(400, ge=1, description="tiles of each class that are taken from a slide, drawn where it has more")
    seed: int = Field(0, ge=0, description="another seed, other tiles drawn")

    @property
    def tiling(self) -> TilingConfig:
        """How a slide is cut: nothing outside of it, for glass beyond its edge is no picture."""
        return TilingConfig(side_px=self.tile_px, mpp=self.mpp, overlap=self.overlap, border="inside")


@dataclass(frozen=True)
class SelectedTiles:
    """Tiles of a slide.

    ``places``: int32 (tile, 2): row and column of each that was chosen. ``classes``: uint8 (tile,): number of the class
    that it shows; 0 where none covers enough of it. ``shares``: float32 (tile,): share of it that regions cover.
    """

    grid: TileGrid
    tiles: NDArray[np.int32]
    classes: NDArray[np.uint8]
    shares: NDArray[np.float32]
    n_candidates: int


@dataclass(frozen=True)
class LabeledTile:
    """A tile: uint8 (row, column, channel=3), its labels uint8 (row, column), and its place among the chosen."""

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    index: int


def select_tiles(info: SlideInfo, regions: RegionMap, classes: int, config: TileCuttingConfig) -> SelectedTiles:
    """Choose the tiles of a slide that lie in its regions.

    In the order of the slide; those of a class that has more than ``config.most`` are drawn.
    """
    assert classes <= MAX_CLASSES
    grid = plan_tiles(info.levels, info.pixel_size, config.tiling)
    if not grid.rows or not grid.columns:
        return _no_tiles(grid)
    labels, place = _class_map(info, regions, grid)
    shares = np.stack([tissue_share(grid, labels == number, place) for number in range(1, classes + 1)])
    unlearnt = tissue_share(grid, labels == IGNORED_VALUE, place)
    covered = shares.sum(axis=0)
    taken = np.argwhere((covered >= config.share - 1e-6) & (unlearnt <= MAX_IGNORED_SHARE)).astype(np.int32)
    found = shares[:, taken[:, 0], taken[:, 1]]
    shown = np.where(found.max(axis=0) >= config.share - 1e-6, found.argmax(axis=0) + 1, 0).astype(np.uint8)
    kept = _sample_per_class(shown, config)
    at = taken[kept]
    return SelectedTiles(grid, at, shown[kept], covered[at[:, 0], at[:, 1]], len(taken))


def cut_tiles(slide: Slide, selected: SelectedTiles, regions: RegionMap) -> Iterator[LabeledTile]:
    """Read tiles with their labels; damaged ones are left out.

    Its labels as ``RegionMap.labels`` gives them, at the tile's own scale.
    """
    from napari_melanoma.slides.engine import TileReader

    reader, grid = TileReader(slide, selected.grid), selected.grid
    step_y, step_x = (read / grid.side_px * grid.downsample for read in grid.read_px)
    window = Box(0, 0, grid.side_px, grid.side_px)
    for first in range(0, len(selected.tiles), TILES_PER_READ):
        places = selected.tiles[first : first + TILES_PER_READ]
        pixels, good = reader.read(places)
        for index, (row, column) in enumerate(places.tolist()):
            if good[index]:
                top, left, _, _ = grid.slide_box(row, column)
                labels = regions.labels(MapPlacement(top, left, step_y, step_x), window)
                yield LabeledTile(pixels[index], labels, first + index)


def _class_map(info: SlideInfo, regions: RegionMap, grid: TileGrid) -> tuple[NDArray[np.uint8], MapPlacement]:
    """Classes of the whole slide, with so many cells along the side of a tile."""
    steps = [max(1.0, read * grid.downsample / CELLS_PER_TILE) for read in grid.read_px]
    full = info.levels[0]
    place = MapPlacement(0.0, 0.0, steps[0], steps[1], info.pixel_size)
    rows, columns = (int(np.ceil(side / step)) for side, step in zip((full.height, full.width), steps, strict=True))
    return regions.labels(place, Box(0, 0, rows, columns)), place


def _sample_per_class(shown: NDArray[np.uint8], config: TileCuttingConfig) -> NDArray[np.intp]:
    """Indices of at most so many tiles of each class, in order."""
    random = np.random.default_rng(config.seed)
    parts: Sequence[NDArray[np.intp]] = [np.flatnonzero(shown == number) for number in np.unique(shown)]
    kept = [part if len(part) <= config.most else random.choice(part, config.most, replace=False) for part in parts]
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.intp)


def _no_tiles(grid: TileGrid) -> SelectedTiles:
    """No tile: the slide is smaller than one."""
    return SelectedTiles(grid, np.zeros((0, 2), np.int32), np.zeros(0, np.uint8), np.zeros(0, np.float32), 0)


Row = dict[str, str]
MODALITY, MIN_CLASSES = "wsi", 2


class TileDataOptions(TileCuttingConfig):
    """How tiles are made of regions."""

    classes: tuple[str, ...] = Field(
        (), description="classes to take, NAME or NAME=WORD to give it another name; none: all that were drawn"
    )
    rest: str = Field(
        "Background", min_length=1, description="class of what no region covers; the first value of label images"
    )
    readers: str = Field(
        "refuse",
        min_length=1,
        description="where regions of two readers say different things: refuse, agree (take what they agree on), or "
        "the name of the reader who counts",
    )
    held_out: float = Field(0.2, ge=0, lt=0.9, description="share of the patients that a model is judged on")


@dataclass
class TileReport:
    """What was made: tiles in all and by class and split, patients, and what to know."""

    tiles: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)
    patients: int = 0
    slides: int = 0
    notes: list[tuple[str, str]] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)


def make_tile_data(
    slides: Sequence[Path],
    folders: Sequence[Path],
    out: Path,
    options: TileDataOptions,
    *,
    run: RunContext,
    patients: Mapping[str, Mapping[str, str]] | None = None,
) -> TileReport:
    """Cut tiles from the annotated regions of slides into a data set.

    ``out``: the data set, which must not exist. Its rows say ``slide``, ``level``, ``x_px``, ``y_px``, ``width_px`` and
    ``height_px`` (in pixels of the slide's finest level), ``share`` and, in ``tissue``, the class. What was made;
    ``faults`` name slides that could not be taken.
    """
    report = TileReport()
    annotated = list(_annotated(slides, folders, options, report))
    if not annotated:
        said = f" ({report.faults[0][0]}: {report.faults[0][1]})" if report.faults else ""
        raise DataSetError(f"none of {len(slides)} slides has regions that can be taken{said}.")
    taken = choose_classes([one.regions for one in annotated], options.classes, options.rest)
    with assemble_folder(out) as place:
        cut = partial(_cut_all, taken=taken, place=place, options=options, report=report, run=run)
        rows = [row for one in run.track(annotated, "cutting tiles") for row in cut(one)]
        _check_not_empty(rows, options, report)
        _add_patients_and_split(rows, patients or {}, options, report)
        _write_description(place, taken, options, report)
        write_dataset_table(place / "dataset.csv", rows)
    _add_notes(report, taken, len(annotated))
    return report


def _check_not_empty(rows: Sequence[Row], options: TileDataOptions, report: TileReport) -> None:
    """Raise where there is no tile, with the reason."""
    if not rows and report.faults:
        raise DataSetError(f"no tile could be cut ({report.faults[-1][0]}: {report.faults[-1][1]})")
    if not rows:
        raise DataSetError(
            f"no tile of {options.tile_px} px at {options.mpp:g} µm lies to {options.share:.0%} within the "
            "regions: draw larger ones, or choose a smaller tile, a finer scale or a smaller share."
        )


def _write_description(place: Path, taken: TileClasses, options: TileDataOptions, report: TileReport) -> None:
    """Write what is true of all tiles, and where they come from."""
    tile = TileConfig(mpp=options.mpp, side_px=options.tile_px)
    shown = tuple(name for name in taken.names if report.classes.get(name))
    write_tile_set(place, TileSet(tile=tile, labels=taken.labels, classes=shown))
    counts = {"slides": report.slides, "images": report.tiles}
    origin = {"source": "tiles of annotated slides", **counts, "options": options.model_dump(mode="json")}
    write_json(place / "source.json", {**origin, "made_with": collect_provenance()})


def _annotated(
    slides: Sequence[Path], places: Sequence[Path], options: TileDataOptions, report: TileReport
) -> Iterator[AnnotatedSlide]:
    """Slides with their regions, each under a name of its own; what cannot be taken is noted."""
    names: set[str] = set()
    for path in slides:
        name = free_name(safe_name(path.name if path.is_dir() else path.stem), names)
        try:
            found = read_annotated_slide(path, places, options.readers)
        except MelanomaError as error:
            if places and len(slides) == 1:
                raise
            report.faults.append((path.name, str(error)))
            continue
        names.add(name.lower())
        report.notes += [(path.name, note) for note in found.notes]
        yield found.with_name(name)


def _cut_all(
    one: AnnotatedSlide, taken: TileClasses, place: Path, options: TileDataOptions, report: TileReport, run: RunContext
) -> list[Row]:
    """Cut the tiles of a slide; one that turns out to be damaged leaves none, and the others go on."""
    rows: list[Row] = []
    try:
        for row in _write_tiles(one, taken, place, options, run):
            rows.append(row)
    except (*BATCH_ERRORS, SaveError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises is of this slide
        report.faults.append((one.path.name, describe_error(error)))
        for path in (place / part / f"{row['image_id']}.png" for part in ("images", "masks") for row in rows):
            path.unlink(missing_ok=True)
        return []
    return rows


def _write_tiles(
    one: AnnotatedSlide, taken: TileClasses, place: Path, options: TileDataOptions, run: RunContext
) -> Iterator[Row]:
    """Write the tiles of a slide, and give their rows."""
    regions = one.region_map(taken.numbers)
    with open_slide(one.path, one.pixel_size) as slide:
        chosen = select_tiles(slide.info, regions, len(taken.names), options)
        for tile in cut_tiles(slide, chosen, regions):
            run.check()
            row = _row(one, slide, chosen, tile.index, taken)
            write_rgb(place / "images" / f"{row['image_id']}.png", tile.rgb)
            write_labels(place / "masks" / f"{row['image_id']}.png", taken.values[tile.labels])
            yield row


def _row(one: AnnotatedSlide, slide: Slide, chosen: SelectedTiles, index: int, taken: TileClasses) -> Row:
    """What the table says of a tile."""
    row, column = chosen.tiles[index].tolist()
    top, left, height, width = chosen.grid.slide_box(row, column)
    mpp = chosen.grid.mpp or (0.0, 0.0)
    return {
        "image_id": f"{one.name}-{row:04}-{column:04}",
        "patient_id": one.name,
        "modality": MODALITY,
        "mpp_x": f"{mpp[1]:.6g}",
        "mpp_y": f"{mpp[0]:.6g}",
        "slide": one.path.stem if one.path.is_file() else one.path.name,
        "level": str(chosen.grid.level),
        **{name: f"{value:.10g}" for name, value in zip(("y_px", "x_px"), (top, left), strict=True)},
        **{name: f"{value:.10g}" for name, value in zip(("height_px", "width_px"), (height, width), strict=True)},
        "share": f"{chosen.shares[index]:.3f}",
        TARGET: taken.names[int(chosen.classes[index]) - 1] if chosen.classes[index] else "",
    }


def _add_patients_and_split(
    rows: list[Row], patients: Mapping[str, Mapping[str, str]], options: TileDataOptions, report: TileReport
) -> None:
    """Add what is known of the patients and the split, and count."""
    for row in rows:
        row.update({name: text for name, text in patients.get(row["slide"], {}).items() if text})
    report.slides = len({row["slide"] for row in rows})
    report.patients = len({row["patient_id"] for row in rows})
    note = split_tiles(rows, options.held_out)
    report.notes += [("split", note)] if note else []
    report.tiles = len(rows)
    report.classes = dict(Counter(row[TARGET] for row in rows).most_common())
    report.splits = dict(Counter(row["split"] for row in rows))


def _add_notes(report: TileReport, taken: TileClasses, slides: int) -> None:
    """Return what a person would otherwise find out in a training."""
    bare = [name for name in taken.names if not report.classes.get(name)]
    if bare:
        said = f"no tile shows {', '.join(bare)} to the share asked for: its regions are smaller than a tile"
        report.notes.append(("classes", said))
    if report.classes.get(""):
        several = format_count(report.classes[""], "tile")
        report.notes.append(("classes", f"{several} of several classes: for segmentation alone"))
    told = [name for name in report.classes if name]
    if len(told) < MIN_CLASSES:
        report.notes.append(("classes", "fewer than two classes have tiles: there is nothing to tell apart yet"))
    if report.slides < slides:
        report.notes.append(("slides", f"{format_count(slides - report.slides, 'slide')} gave no tile"))


REFUSE, AGREE = "refuse", "agree"
DISAGREEMENT_CELLS = 2048  # along the longer side of a slide, to find where readers disagree


@dataclass(frozen=True)
class AnnotatedSlide:
    """A slide with its regions, the scale that the user gave it, and what was found on the way."""

    path: Path
    regions: Regions
    pixel_size: PixelSize | None = None
    notes: tuple[str, ...] = ()
    name: str = ""

    def with_name(self, name: str) -> AnnotatedSlide:
        """Return it the name that its tiles are called after.

        Otherwise the same.
        """
        return replace(self, name=name)

    def region_map(self, numbers: Mapping[str, int]) -> RegionMap:
        """Make the map of its classes."""
        return RegionMap(self.regions, numbers)


@dataclass(frozen=True)
class TileClasses:
    """The classes of a data set.

    ``values``: uint8 (256,): number in a map of classes to value in a label image.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, int]
    labels: tuple[str, ...]
    values: NDArray[np.uint8]


def read_annotated_slide(slide: Path, folders: Sequence[Path], readers: str) -> AnnotatedSlide:
    """Read the regions of a slide, and settle whose count."""
    files = find_region_files(slide, folders)
    if not files:
        where = ", ".join(map(str, folders)) or "beside it"
        raise InputError(f"no regions of {slide.name} found ({where}): draw some in the Slide dock, or name a file.")
    given = [read_notes(file.parent).pixel_size for file in files]
    size = next((one for one in given if one is not None), None)
    with open_slide(slide, size) as opened:
        info = opened.info
    if info.pixel_size is None:
        raise ScaleMissing(f"{slide.name} has no scale, and tiles are in micrometers: set it in the Slide dock.")
    found, notes = _read_regions(files, info)
    classless = sum(not one.class_name for one in found)
    notes += [f"{classless} regions without a class left out"] if classless else []
    drawn = tuple(one for one in found if one.class_name)
    if not any(not is_ignored(one.class_name) for one in drawn):
        raise InputError(f"no region of {slide.name} has a class: give them one, and come back.")
    counted, more = _resolve_readers(drawn, info, readers)
    return AnnotatedSlide(slide, counted, size, (*notes, *more))


def choose_classes(slides: Sequence[Regions], requested: Sequence[str], rest: str) -> TileClasses:
    """Settle which classes there are, under which names and numbers.

    Returns the rest is the first of the values of label images, whether it was drawn as well or not.
    """
    counts = Counter(one.class_name for regions in slides for one in regions if not is_ignored(one.class_name))
    named = {name: becomes or name for name, _, becomes in (one.partition("=") for one in requested)}
    words = named or {name: name for name in sorted(counts)}
    missing = [name for name in words if not counts[name]]
    if missing:
        known = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
        raise DataSetError(
            f"no region is of the class {', '.join(missing)} (there are: {known}). Draw some, or name another class."
        )
    names = tuple(dict.fromkeys(words.values()))
    if len(names) > MAX_CLASSES:
        raise DataSetError(f"{len(names)} classes are too many for label images: name at most {MAX_CLASSES}.")
    labels = (rest, *(name for name in names if name != rest))
    values = np.zeros(IGNORED_VALUE + 1, np.uint8)
    for number, name in enumerate(names, start=1):
        values[number] = labels.index(name)
    return TileClasses(names, {name: names.index(word) + 1 for name, word in words.items()}, labels, values)


def _read_regions(files: Sequence[Path], info: SlideInfo) -> tuple[Regions, list[str]]:
    """Regions of all files of a slide."""
    size = info.levels[0].height, info.levels[0].width
    found: Regions = ()
    notes: list[str] = []
    for file in files:
        reader = "" if len(files) == 1 else _reader_from_path(file)
        read = import_regions(file, size, reader=reader)
        found += read.regions
        notes += read.notes
    return found, notes


def _reader_from_path(file: Path) -> str:
    """The name of a reader by the file: regions.geojson is the same everywhere, so its folders tell."""
    return file.parent.parent.name if file.name == REGIONS else file.stem


def _resolve_readers(regions: Regions, info: SlideInfo, readers: str) -> tuple[Regions, tuple[str, ...]]:
    """Regions of those who count."""
    names = sorted({region_reader(one) for one in regions})
    if readers not in (REFUSE, AGREE):
        own = tuple(one for one in regions if region_reader(one) == readers)
        if not own:
            raise DataSetError(
                f"reader '{readers}' drew nothing on {info.path.name} (there are: {_join_readers(names)}). Name one of them."
            )
        left = len(regions) - len(own)
        return own, ((f"{left} regions of other readers left out",) if left else ())
    differ = _describe_disagreement(regions, info) if len(names) > 1 else {}
    if not differ:
        return regions, ()
    said = "; ".join(f"{_join_readers(pair)} differ on {area}" for pair, area in differ.items())
    if readers == REFUSE:
        raise DataSetError(
            f"regions of {info.path.name} overlap and say different classes: {said}. Take what both agree on "
            f"(readers: {AGREE}), or name the reader who counts."
        )
    return regions, (f"{said}: left out",)


def _describe_disagreement(regions: Regions, info: SlideInfo) -> dict[tuple[str, str], str]:
    """Where two readers say different classes: the pair, and how large the area is."""
    full, classes = info.levels[0], sorted({one.class_name for one in regions})
    step = max(1.0, max(full.height, full.width) / DISAGREEMENT_CELLS)
    place = MapPlacement(0.0, 0.0, step, step, info.pixel_size)
    window = Box(0, 0, int(full.height / step) + 1, int(full.width / step) + 1)
    found = RegionMap(regions, {name: number for number, name in enumerate(classes, start=1)})
    area = place.cell_area_mm2 or 0.0
    return {pair: f"{cells * area:.3g} mm²" for pair, cells in found.disagreement(place, window).items()}


def _join_readers(readers: Sequence[str]) -> str:
    """Readers in words."""
    return " and ".join(name or f"(no {READER} named)" for name in readers)


MIN_PATIENTS = 4  # patients: fewer cannot be learnt from, tuned on and judged on
AREA_TILES = (6, 4, 3, 2, 1)  # along the side of an area that stays together where there are fewer
MIN_AREAS_PER_CLASS = 3  # areas of a class: one to learn from, one to tune with, one to judge on
TRAIN_SPLIT, TEST_SPLIT = "train", "val"
FEW_PATIENTS_NOTE = (
    "{patients}: too few to keep one apart. Tiles of an area of a slide stay together instead, and "
    "figures on other areas of the same slide are better than those on another patient's would be"
)
FEW_AREAS_NOTE = (
    ". All tiles of {classes} are from few places, so that areas of {side} a side stay together, and the model is "
    "judged right beside what it learnt from: draw another region of {classes}, in another place"
)


@dataclass(frozen=True)
class TileSplitRules:
    """Shares of a split, as ``data.splits`` asks for them."""

    held_out_fraction: float
    split: str = TRAIN_SPLIT
    held_out_split: str = TEST_SPLIT
    tuning_fraction: float = 0.0


def split_tiles(rows: Sequence[dict[str, str]], held_out: float) -> str:
    """Write ``split`` into the rows of tiles, by patient.

    A patient is held out by a hash of the name, so that more slides, or more regions, move nobody. Of fewer than four
    patients ``patient_id`` gives way to ``lesion_id``, an area of a slide; areas are as large as leaves each class
    three of them, and of each class at least two are left to learn from and tune with.

    What to know about it; empty where there is nothing.
    """
    patients = len({row["patient_id"] for row in rows})
    if patients >= MIN_PATIENTS:
        _write_split(rows, "patient_id", _test_groups(rows, "patient_id", held_out))
        return ""
    close = _assign_areas(rows)
    rarest = find_rarest_classes([row["lesion_id"] for row in rows], [row.get(TARGET, "") for row in rows])
    for name in sorted(set(rarest.values())):
        alike = [row for row in rows if rarest[row["lesion_id"]] == name]
        spare = max(0, len({row["lesion_id"] for row in alike}) - (MIN_AREAS_PER_CLASS - 1))
        _write_split(alike, "lesion_id", set(sorted(_test_groups(alike, "lesion_id", held_out))[:spare]))
    return FEW_PATIENTS_NOTE.format(patients=format_count(patients, "patient")) + close


def _test_groups(rows: Sequence[dict[str, str]], by: str, held_out: float) -> set[str]:
    """Groups of rows that a model is judged on."""
    samples = [_to_split_sample(row, row[by]) for row in rows]
    return {sample.group for sample in split_samples(samples, TileSplitRules(held_out), 0).test}


def _write_split(rows: Sequence[dict[str, str]], by: str, judged: set[str]) -> None:
    """Write the split of rows by their group."""
    for row in rows:
        row["split"] = TEST_SPLIT if row[by] in judged else TRAIN_SPLIT


def _assign_areas(rows: Sequence[dict[str, str]]) -> str:
    """Put each tile into an area of its slide, as large as leaves each class enough of them; say where none did."""
    tiles = Counter(row.get(TARGET, "") for row in rows)
    close: list[str] = []
    for side in AREA_TILES:
        for row in rows:
            row["lesion_id"], row["patient_id"] = _area_name(row, side), ""
        areas = Counter(name for name, _ in {(row.get(TARGET, ""), row["lesion_id"]) for row in rows})
        few = [name for name in sorted(tiles) if name and areas[name] < min(MIN_AREAS_PER_CLASS, tiles[name])]
        close = close or few
        if not few:
            break
    return FEW_AREAS_NOTE.format(classes=" and of ".join(close), side=format_count(side, "tile")) if close else ""


def _area_name(row: dict[str, str], side: int) -> str:
    """Name of the area of its slide that a tile lies in."""
    places = [int(float(row[at]) // (side * float(row[size]))) for at, size in _SIDES]
    return f"{row['slide']} area {places[0]}-{places[1]}"


_SIDES = (("y_px", "height_px"), ("x_px", "width_px"))


def _to_split_sample(row: dict[str, str], group: str) -> Sample:
    """A tile as splits know it: its group does not depend on the name of the data set."""
    return Sample(row["image_id"], Path(), Path(), group, "", "tiles")


TILES, FORMAT = "tiles.json", 1
TARGET = "tissue"  # column: what a tile shows


class TileSet(Config):
    """Scale and side of the tiles, and the classes: the values 0, 1, 2 ... of the label images in their order."""

    tile: TileConfig
    labels: tuple[str, ...] = Field(min_length=2, description="names of the values of the label images")
    classes: tuple[str, ...] = Field((), description="what the column of classes says, in order")
    target: str = TARGET


def write_tile_set(folder: Path, tiles: TileSet) -> None:
    """Write ``tiles.json``."""
    write_json(folder / TILES, {"format_version": FORMAT, **tiles.model_dump(mode="json")})


def read_tile_set(folder: Path) -> TileSet | None:
    """Read what a data set says of its tiles.

    None where it holds no tiles of slides, or nobody said so.
    """
    path = folder / TILES
    try:
        values = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataSetError(
            f"{path} cannot be read ({parse_error_reason(error)}): make the data set of tiles again."
        ) from error
    if not isinstance(values, dict) or values.pop("format_version", None) != FORMAT:
        raise DataSetError(f"{path} is of another version of this program: make the data set of tiles again.")
    return TileSet.parse(values, str(path))


def read_joint_tile_set(folders: Iterable[Path]) -> TileSet | None:
    """Read what several data sets say of their tiles together.

    None where not all of them hold tiles of slides.
    """
    found = [(folder, read_tile_set(folder)) for folder in folders]
    if not found or any(tiles is None for _, tiles in found):
        return None
    (first, one), *others = [(folder, tiles) for folder, tiles in found if tiles is not None]
    for folder, tiles in others:
        if (tiles.tile, tiles.labels, tiles.target) != (one.tile, one.labels, one.target):
            raise DataSetError(
                f"the tiles of {first.name} and {folder.name} differ: {_describe_tile_set(one)}, and {_describe_tile_set(tiles)}. Make them with "
                "the same scale, side and classes, or learn from one of them."
            )
    classes = dict.fromkeys(name for _, tiles in found if tiles is not None for name in tiles.classes)
    return one.model_copy(update={"classes": tuple(classes)})


def _describe_tile_set(tiles: TileSet) -> str:
    """A kind of tiles in words."""
    return f"{tiles.tile.side_px} px at {tiles.tile.mpp:g} µm of {', '.join(tiles.labels)}"
