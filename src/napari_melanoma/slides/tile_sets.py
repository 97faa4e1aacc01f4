"""Make data sets of tiles from the regions of annotated slides: select, cut, label and split tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import BATCH_ERRORS, RunContext
from napari_melanoma.core.errors import DataSetError, InputError, MelanomaError, SaveError, ScaleMissing, describe_error
from napari_melanoma.core.files import compose_name, normalize_name, remove_file, write_json
from napari_melanoma.core.formatting import format_class, format_count
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize, format_scale
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.core.prediction_config import TileConfig
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.reader_names import identify_reader, unify_names
from napari_melanoma.data.dataset import Sample, assemble_folder, write_dataset_table
from napari_melanoma.data.groups import Groups, describe_patient_ids
from napari_melanoma.data.splits import find_rarest_classes, split_samples
from napari_melanoma.data.table_schema import TEST, TRAIN
from napari_melanoma.io.results import write_labels, write_rgb
from napari_melanoma.io.slide_store import file_errors_translated
from napari_melanoma.metrics.overlap import UNLABELED_PIXEL
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import Slide, SlideInfo
from napari_melanoma.slides.regions import (
    IGNORED_VALUE,
    MAX_CLASSES,
    READER,
    REGIONS,
    RegionMap,
    Regions,
    find_region_files,
    import_regions,
    is_ignored,
    region_reader,
    set_reader,
)
from napari_melanoma.slides.tiling import TileGrid, TilingConfig, plan_tiles, tissue_share

CELLS_PER_TILE = 16  # cells of the class map along the side of a tile; shares are accurate to a few thousandths
MAX_IGNORED_SHARE = 0.01  # greatest share of a tile in ignored regions
TILES_PER_READ = 32
MODALITY, MIN_CLASSES = "wsi", 2
REFUSE, AGREE = "refuse", "agree"  # values of ``readers``
DISAGREEMENT_CELLS = 2048  # cells along the longer side of a slide, for finding disagreement of readers
MIN_PATIENTS = 4  # fewer patients cannot be split into three sets; areas of slides are split instead
AREA_TILES = (6, 4, 3, 2, 1)  # tiles along the side of an area, the preferred number first
MIN_AREAS_PER_CLASS = 3  # for training, validation and test set
FEW_PATIENTS_NOTE = (
    "{patients}: too few for a split by patient. Tiles are split by areas of slides instead; results on other areas of "
    "the same slide overestimate those on new patients"
)
FEW_AREAS_NOTE = (
    ". All tiles of {classes} are from few areas, so areas have only {side} a side, and test tiles are next to "
    "training tiles. Draw another region of {classes} at a different position"
)
LEFT_OUT = ""  # the split of tiles that share pixels with those of another area
SHARED_NOTE = ". {tiles} on the border of areas are left out, since they share pixels with tiles of other areas"
_SIDES = (("y_px", "height_px"), ("x_px", "width_px"))  # columns with position and size of a tile
TILES, FORMAT = "tiles.json", 1
TARGET = "tissue"  # column with the class of a tile

Row = dict[str, str]


class TileCuttingConfig(Config):
    """Scale and size of tiles, and which are selected."""

    mpp: float = Field(0.5, title="Pixel size (µm)", gt=0, le=100, description="micrometers per pixel of the tiles")
    tile_px: int = Field(224, title="Tile size (px)", ge=32, le=2048, description="side of a tile in pixels")
    share: float = Field(
        0.6,
        title="Minimum share in regions",
        gt=0,
        le=1,
        description="minimum share of a tile in regions, and of one class to label the tile",
    )
    overlap: float = Field(
        0.0, title="Tile overlap (share)", ge=0, le=0.9, description="share of a tile's side that overlaps the next"
    )
    most: int = Field(
        400,
        title="Maximum tiles per class and slide",
        ge=1,
        description="maximum number of tiles per class and slide, sampled at random",
    )
    seed: int = Field(0, title="Random seed", ge=0, description="seed of the random sampling")

    @property
    def tiling(self) -> TilingConfig:
        """Tiling of a slide, with tiles inside the slide only."""
        return TilingConfig(side_px=self.tile_px, mpp=self.mpp, overlap=self.overlap, border="inside")


@dataclass(frozen=True)
class SelectedTiles:
    """Selected tiles of a slide.

    ``tiles``: int32 (tile, 2), row and column in the grid. ``classes``: uint8 (tile,), class number, 0 if no class
    covers enough of the tile. ``shares``: float32 (tile,), share of the tile in regions.
    """

    grid: TileGrid
    tiles: NDArray[np.int32]
    classes: NDArray[np.uint8]
    shares: NDArray[np.float32]


@dataclass(frozen=True)
class LabeledTile:
    """A tile with labels.

    ``rgb``: uint8 (row, column, channel=3). ``labels``: uint8 (row, column), class numbers. ``index``: of the tile in
    ``SelectedTiles``.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    index: int


@dataclass(frozen=True)
class AnnotatedSlide:
    """A slide with regions.

    ``pixel_size``: set by the user; None to use that of the file. ``notes``: messages for the user. ``name``: prefix of
    the names of its tiles. ``title``: its name in the table, distinct from that of other slides.
    """

    path: Path
    regions: Regions
    pixel_size: PixelSize | None = None
    notes: tuple[str, ...] = ()
    name: str = ""
    title: str = ""


@dataclass(frozen=True)
class TileClasses:
    """The classes of a data set.

    ``names``: the classes, in the order of their numbers from 1. ``numbers``: class of a region to class number.
    ``labels``: names of the values of label images. ``values``: uint8 (256,), class number to value of label images.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, int]
    labels: tuple[str, ...]
    values: NDArray[np.uint8]


def select_tiles(info: SlideInfo, regions: RegionMap, classes: int, config: TileCuttingConfig) -> SelectedTiles:
    """Select the tiles in the regions of a slide, at most ``config.most`` for each class; ``classes``: their number."""
    assert classes <= MAX_CLASSES
    grid = plan_tiles(info.levels, info.pixel_size, config.tiling)
    if not grid.rows or not grid.columns:
        return SelectedTiles(grid, np.zeros((0, 2), np.int32), np.zeros(0, np.uint8), np.zeros(0, np.float32))
    labels, place = _class_map(info, regions, grid)
    shares = np.stack([tissue_share(grid.boxes, labels == number, place) for number in range(1, classes + 1)])
    ignored = tissue_share(grid.boxes, labels == IGNORED_VALUE, place)
    covered = shares.sum(axis=0)
    tiles = np.argwhere((covered >= config.share - 1e-6) & (ignored <= MAX_IGNORED_SHARE)).astype(np.int32)
    tile_shares = shares[:, tiles[:, 0], tiles[:, 1]]
    is_labeled = tile_shares.max(axis=0) >= config.share - 1e-6
    tile_classes = np.where(is_labeled, tile_shares.argmax(axis=0) + 1, 0).astype(np.uint8)
    sampled = _sample_per_class(tile_classes, config)
    selected = tiles[sampled]
    return SelectedTiles(grid, selected, tile_classes[sampled], covered[selected[:, 0], selected[:, 1]])


def cut_tiles(slide: Slide, selected: SelectedTiles, regions: RegionMap) -> Iterator[LabeledTile]:
    """Yield tiles with labels at their scale (see ``RegionMap.labels``); damaged tiles are left out."""
    from napari_melanoma.slides.engine import TileReader

    reader, grid = TileReader(slide, selected.grid), selected.grid
    boxes = grid.boxes
    step_y, step_x = boxes.height / grid.side_px, boxes.width / grid.side_px
    window = Box(0, 0, grid.side_px, grid.side_px)
    for first in range(0, len(selected.tiles), TILES_PER_READ):
        tiles = selected.tiles[first : first + TILES_PER_READ]
        pixels, readable = reader.read(tiles)
        for index, (top, left, _, _) in enumerate(boxes.select(tiles).tolist()):
            if readable[index]:
                labels = regions.labels(MapPlacement(top, left, step_y, step_x), window)
                yield LabeledTile(pixels[index], labels, first + index)


def _class_map(info: SlideInfo, regions: RegionMap, grid: TileGrid) -> tuple[NDArray[np.uint8], MapPlacement]:
    """Draw the class map of the whole slide, with ``CELLS_PER_TILE`` cells along the side of a tile."""
    steps = [max(1.0, read * grid.downsample / CELLS_PER_TILE) for read in grid.read_px]
    full = info.levels[0]
    place = MapPlacement(0.0, 0.0, steps[0], steps[1], info.pixel_size)
    rows, columns = (int(np.ceil(side / step)) for side, step in zip((full.height, full.width), steps, strict=True))
    return regions.labels(place, Box(0, 0, rows, columns)), place


def _sample_per_class(classes: NDArray[np.uint8], config: TileCuttingConfig) -> NDArray[np.intp]:
    """Sample at most ``config.most`` tiles of each class; return their indices in order."""
    random = np.random.default_rng(config.seed)
    parts: Sequence[NDArray[np.intp]] = [np.flatnonzero(classes == number) for number in np.unique(classes)]
    sampled = [part if len(part) <= config.most else random.choice(part, config.most, replace=False) for part in parts]
    return np.sort(np.concatenate(sampled)) if sampled else np.zeros(0, np.intp)


class TileDataOptions(TileCuttingConfig):
    """Options for making tiles from regions."""

    classes: tuple[str, ...] = Field(
        (), title="Classes to use", description="classes to use, NAME=OTHER to rename; by default all drawn classes"
    )
    rest: str = Field(
        "Background",
        title="Class outside the regions",
        min_length=1,
        description="class outside the regions; the first value of label images",
    )
    readers: str = Field(
        "refuse",
        title="If readers disagree",
        min_length=1,
        description="regions of readers that disagree: refuse, agree (use those with agreement), or the name of the "
        "reader to use",
    )
    test_fraction: float = Field(
        0.2, title="Test set (share of patients)", ge=0, lt=0.9, description="share of the patients in the test set"
    )


@dataclass
class TileReport:
    """What a data set of tiles contains, and messages.

    ``classes``, ``splits``: number of tiles by class and by split. ``notes``, ``faults``: pairs of a subject, such as
    the name of a slide, and a message; ``faults`` are about slides that could not be used.
    """

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

    ``folders``: where the regions are searched, see ``find_region_files``. ``out``: the data set, which must not exist.
    ``patients``: slide name to further columns, such as ``patient_id``; raises ``DataSetError`` if several slides have
    that name. The rows of the data set have ``slide``,
    ``level``, ``x_px``, ``y_px``, ``width_px`` and ``height_px`` (in pixels of the finest level), ``share`` and, in
    ``tissue``, the class.
    """
    report = TileReport()
    _check_patients(slides, patients or {})
    annotated = list(_read_annotated_slides(slides, folders, options, report))
    if not annotated:
        reason = f" ({report.faults[0][0]}: {report.faults[0][1]})" if report.faults else ""
        raise DataSetError(f"none of {len(slides)} slides has usable regions{reason}.")
    classes = choose_classes([slide.regions for slide in annotated], options.classes, options.rest)
    with assemble_folder(out) as folder:
        cut = partial(_cut_slide, classes=classes, folder=folder, options=options, report=report, run=run)
        rows = [row for slide in run.track(annotated, "Cutting tiles") for row in cut(slide)]
        if not rows and report.faults:
            raise DataSetError(f"no tile could be cut ({report.faults[-1][0]}: {report.faults[-1][1]})")
        if not rows:
            raise DataSetError(
                f"no tile of {options.tile_px} px at {options.mpp:g} µm is covered to {options.share:.0%} by the "
                "regions. Draw larger regions, or use smaller tiles, a finer scale or a smaller share."
            )
        rows = _add_patients_and_split(rows, patients or {}, options, report, folder)
        _write_description(folder, classes, options, report)
        write_dataset_table(folder / "dataset.csv", rows)
    _add_notes(report, classes, len(annotated))
    return report


def _write_description(folder: Path, classes: TileClasses, options: TileDataOptions, report: TileReport) -> None:
    tile = TileConfig(mpp=options.mpp, side_px=options.tile_px)
    with_tiles = tuple(name for name in classes.names if report.classes.get(name))
    write_tile_set(folder, TileSet(tile=tile, labels=classes.labels, classes=with_tiles))
    counts = {"slides": report.slides, "images": report.tiles}
    origin = {"source": "tiles of annotated slides", **counts, "options": options.model_dump(mode="json")}
    write_json(folder / "source.json", {**origin, "made_with": collect_provenance()})


def _read_annotated_slides(
    slides: Sequence[Path], folders: Sequence[Path], options: TileDataOptions, report: TileReport
) -> Iterator[AnnotatedSlide]:
    """Yield slides with regions, with unique names; slides that cannot be used are reported."""
    names: set[str] = set()
    used: dict[Path, Path] = {}
    shared = Counter(normalize_name(table_name(path)) for path in slides)
    for path in slides:
        name = free_name(safe_name(table_name(path)), names)
        title = table_name(path) if shared[normalize_name(table_name(path))] == 1 else name
        try:
            for file in find_region_files(path, folders, slides):
                if used.setdefault(file, path) != path:
                    raise InputError(f"{file} has the regions of {used[file]}, too. Rename one of the slides.")
            slide = read_annotated_slide(path, folders, options.readers, slides)
        except MelanomaError as error:
            if folders and len(slides) == 1:
                raise
            report.faults.append((path.name, str(error)))
            continue
        names.add(name.lower())
        report.notes += [(path.name, note) for note in slide.notes]
        yield replace(slide, name=name, title=title)


def table_name(slide: Path) -> str:
    """Return the name of a slide in tables, which other slides may share."""
    return slide.name if slide.is_dir() else slide.stem


def _check_patients(slides: Sequence[Path], patients: Mapping[str, object]) -> None:
    """Raise if patient data are stated for a name that several slides have, letters in upper case being the same."""
    stated = {normalize_name(name) for name, values in patients.items() if values}
    names = [table_name(path) for path in slides]
    for name, count in Counter(map(normalize_name, names)).items():
        if count > 1 and name in stated:
            shared = " and ".join(dict.fromkeys(one for one in names if normalize_name(one) == name))
            raise DataSetError(
                f"{count} slides are named {shared}, so that the patient data of that name cannot be assigned. Give "
                "the slides different names."
            )


def _cut_slide(
    annotated: AnnotatedSlide,
    classes: TileClasses,
    folder: Path,
    options: TileDataOptions,
    report: TileReport,
    run: RunContext,
) -> list[Row]:
    """Cut the tiles of a slide; a damaged slide is reported and has no tiles."""
    rows: list[Row] = []
    try:
        for row in _write_tiles(annotated, classes, folder, options, run):
            rows.append(row)
    except (*BATCH_ERRORS, SaveError):
        raise
    except Exception as error:  # noqa: BLE001 - any error of a library concerns this slide only
        report.faults.append((annotated.path.name, describe_error(error)))
        _remove_tiles(folder, rows)
        return []
    return rows


def _write_tiles(
    annotated: AnnotatedSlide, classes: TileClasses, folder: Path, options: TileDataOptions, run: RunContext
) -> Iterator[Row]:
    regions = RegionMap(annotated.regions, classes.numbers)
    with open_slide(annotated.path, annotated.pixel_size) as slide:
        selected = select_tiles(slide.info, regions, len(classes.names), options)
        for tile in cut_tiles(slide, selected, regions):
            run.check()
            row = _tile_row(annotated, selected, tile.index, classes)
            write_rgb(folder / "images" / f"{row['image_id']}.png", tile.rgb)
            write_labels(folder / "masks" / f"{row['image_id']}.png", classes.values[tile.labels])
            yield row


def _tile_row(annotated: AnnotatedSlide, selected: SelectedTiles, index: int, classes: TileClasses) -> Row:
    """Return the row of a tile in ``dataset.csv``; patients and split are added later."""
    row, column = selected.tiles[index].tolist()
    ((top, left, height, width),) = selected.grid.boxes.select((row, column)).tolist()
    mpp = selected.grid.mpp or (0.0, 0.0)
    return {
        "image_id": f"{annotated.name}-{row:04}-{column:04}",
        "patient_id": annotated.name,
        "modality": MODALITY,
        "mpp_x": f"{mpp[1]:.6g}",
        "mpp_y": f"{mpp[0]:.6g}",
        "slide": annotated.title,
        "level": str(selected.grid.level),
        "y_px": f"{top:.10g}",
        "x_px": f"{left:.10g}",
        "height_px": f"{height:.10g}",
        "width_px": f"{width:.10g}",
        "share": f"{selected.shares[index]:.3f}",
        TARGET: classes.names[int(selected.classes[index]) - 1] if selected.classes[index] else "",
    }


def _add_patients_and_split(
    rows: list[Row],
    patients: Mapping[str, Mapping[str, str]],
    options: TileDataOptions,
    report: TileReport,
    folder: Path,
) -> list[Row]:
    """Add patients and split to the rows, and the counts to the report.

    Returns the rows without tiles that the split leaves out, whose files are removed.
    """
    by_name = {compose_name(name): values for name, values in patients.items()}
    spellings = Counter(map(normalize_name, by_name))
    by_letters = {key: values for name, values in by_name.items() if spellings[key := normalize_name(name)] == 1}
    for row in rows:
        slide = row["slide"]
        of_slide = by_name.get(compose_name(slide)) or by_letters.get(normalize_name(slide), {})
        row.update({name: text for name, text in of_slide.items() if text})
    report.slides = len({row["slide"] for row in rows})
    report.patients = len({row["patient_id"] for row in rows})
    note = split_tiles(rows, options.test_fraction)
    report.notes += [("split", note)] if note else []
    _remove_tiles(folder, [row for row in rows if row["split"] == LEFT_OUT])
    rows = [row for row in rows if row["split"] != LEFT_OUT]
    report.tiles = len(rows)
    report.classes = dict(Counter(row[TARGET] for row in rows).most_common())
    report.splits = dict(Counter(row["split"] for row in rows))
    return rows


def _remove_tiles(folder: Path, rows: Iterable[Row]) -> None:
    for path in (folder / part / f"{row['image_id']}.png" for row in rows for part in ("images", "masks")):
        with file_errors_translated(path):
            remove_file(path)


def _add_notes(report: TileReport, classes: TileClasses, slides: int) -> None:
    """Add notes on what limits a training with these tiles."""
    without_tiles = [name for name in classes.names if not report.classes.get(name)]
    if without_tiles:
        note = f"no tile shows {', '.join(without_tiles)} to the required share: its regions are smaller than a tile"
        report.notes.append(("classes", note))
    if report.classes.get(""):
        mixed = format_count(report.classes[""], "tile")
        report.notes.append(("classes", f"{mixed} of several classes: usable for segmentation only"))
    present = [name for name in report.classes if name]
    if len(present) < MIN_CLASSES:
        report.notes.append(("classes", "fewer than two classes have tiles: a classifier cannot be trained"))
    if report.slides < slides:
        report.notes.append(("slides", f"{format_count(slides - report.slides, 'slide')} without tiles"))


def read_annotated_slide(
    slide: Path, folders: Sequence[Path], readers: str, others: Sequence[Path] = ()
) -> AnnotatedSlide:
    """Read the regions of a slide, and select those of the readers to use; ``others``: see ``find_region_files``."""
    files = find_region_files(slide, folders, others)
    if not files:
        where = ", ".join(map(str, folders)) or "beside it"
        raise InputError(
            f"no regions of {slide.name} found ({where}). Draw regions in the Slide dock, or specify a file."
        )
    sizes = [read_notes(file.parent).pixel_size for file in files]
    size = next((known for known in sizes if known is not None), None)
    if any(one is not None and not one.is_close(size) for one in sizes if size is not None):
        found = " and ".join(format_scale(one.y_um, one.x_um) for one in sizes if one is not None)
        raise InputError(
            f"readers have set different scales for {slide.name}: {found} µm per pixel. Set the same one in the Slide "
            "dock."
        )
    with open_slide(slide, size) as opened:
        info = opened.info
    if info.pixel_size is None:
        raise ScaleMissing(
            f"{slide.name} has no pixel size, which tiles in micrometers require. Set it in the Slide dock."
        )
    regions, notes = _read_regions(files, info)
    classless = sum(not region.class_name for region in regions)
    notes += [f"{format_count(classless, 'region')} without a class omitted"] if classless else []
    classified = tuple(region for region in regions if region.class_name)
    if all(is_ignored(region.class_name) for region in classified):
        raise InputError(f"no region of {slide.name} has a class. Assign classes in the Slide dock first.")
    selected, reader_notes = _resolve_readers(classified, info, readers)
    return AnnotatedSlide(slide, selected, size, (*notes, *reader_notes))


def choose_classes(slides: Sequence[Regions], requested: Sequence[str], rest: str) -> TileClasses:
    """Determine names and numbers of the classes.

    ``slides``: regions of each slide. ``requested``: names of classes to use, NAME=OTHER to rename; empty for all.
    ``rest``: class outside the regions, always the first value of label images.
    """
    counts = Counter(region.class_name for regions in slides for region in regions if not is_ignored(region.class_name))
    requests = [text.partition("=") for text in requested]
    renamed = {format_class(name): new_name or format_class(name) for name, _, new_name in requests}
    new_names = renamed or {name: name for name in sorted(counts)}
    missing = [name for name in new_names if not counts[name]]
    if missing:
        known = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
        raise DataSetError(
            f"no region has the class {', '.join(missing)} (classes: {known}). Draw regions of it, or select another "
            "class."
        )
    names = tuple(dict.fromkeys(new_names.values()))
    if len(names) > MAX_CLASSES:
        raise DataSetError(f"{len(names)} classes are too many for label images: select at most {MAX_CLASSES}.")
    labels = (rest, *(name for name in names if name != rest))
    values = np.zeros(IGNORED_VALUE + 1, np.uint8)
    values[IGNORED_VALUE] = UNLABELED_PIXEL
    for number, name in enumerate(names, start=1):
        values[number] = labels.index(name)
    numbers = {name: names.index(new_name) + 1 for name, new_name in new_names.items()}
    return TileClasses(names, numbers, labels, values)


def _read_regions(files: Sequence[Path], info: SlideInfo) -> tuple[Regions, list[str]]:
    """Read the regions in all files, with notes; of several files, the path names the reader."""
    size = info.levels[0].height, info.levels[0].width
    regions: Regions = ()
    notes: list[str] = []
    for file in files:
        reader = "" if len(files) == 1 else (file.parent.parent.name if file.name == REGIONS else file.stem)
        imported = import_regions(file, size, origin=info.origin, slide=info.path, areas_only=True)
        regions += tuple(set_reader(region, reader) for region in imported.regions)
        notes += imported.notes
    return regions, notes


def _resolve_readers(regions: Regions, info: SlideInfo, readers: str) -> tuple[Regions, tuple[str, ...]]:
    """Select the regions of the readers to use, with notes; ``readers``: as in ``TileDataOptions``."""
    names = sorted(set(unify_names(map(region_reader, regions)).values()))
    if readers not in (REFUSE, AGREE):
        name = identify_reader(readers)
        own = tuple(region for region in regions if identify_reader(region_reader(region)) == name)
        if not own:
            raise DataSetError(
                f"reader '{readers}' has no regions on {info.path.name} (readers: {_join_readers(names)}). Select one "
                "of these."
            )
        omitted = len(regions) - len(own)
        return own, ((f"{format_count(omitted, 'region')} of other readers omitted",) if omitted else ())
    differ = _describe_disagreement(regions, info) if len(names) > 1 else {}
    if not differ:
        return regions, ()
    differences = "; ".join(f"{_join_readers(pair)} differ on {area}" for pair, area in differ.items())
    if readers == REFUSE:
        raise DataSetError(
            f"overlapping regions of {info.path.name} have different classes: {differences}. Use only areas with "
            f"agreement (readers: {AGREE}), or specify the reader to use."
        )
    return regions, (f"{differences}: omitted",)


def _describe_disagreement(regions: Regions, info: SlideInfo) -> dict[tuple[str, str], str]:
    """Format the area to which two readers assign different classes, by pair of readers that disagree."""
    full, classes = info.levels[0], sorted({region.class_name for region in regions})
    step = max(1.0, max(full.height, full.width) / DISAGREEMENT_CELLS)
    place = MapPlacement(0.0, 0.0, step, step, info.pixel_size)
    window = Box(0, 0, int(full.height / step) + 1, int(full.width / step) + 1)
    region_map = RegionMap(regions, {name: number for number, name in enumerate(classes, start=1)})
    area = place.cell_area_mm2 or 0.0
    return {pair: f"{cells * area:.3g} mm²" for pair, cells in region_map.disagreement(place, window).items()}


def _join_readers(readers: Sequence[str]) -> str:
    return " and ".join(name or f"({READER} without a name)" for name in readers)


@dataclass(frozen=True)
class TileSplitRules:
    """Shares of a split, as required by ``data.splits``."""

    test_fraction: float
    split: str = TRAIN
    validation_split: str = ""
    test_split: str = TEST
    validation_fraction: float = 0.0


def split_tiles(rows: Sequence[dict[str, str]], test_fraction: float) -> str:
    """Set ``split`` in the rows of tiles, by patient.

    The test set is chosen by a hash of the patient name, so that patients stay in it when slides or regions are added.
    With fewer than four patients, tiles are split by areas of slides, which are written to ``lesion_id``, and
    ``patient_id`` is emptied. The areas are as large as possible with three for each class, at least two of which
    remain for training and validation. Of overlapping tiles, those that share pixels with a tile of another area have
    the split ``LEFT_OUT``.

    Returns a note for the user, also on ids of patients that may be of the same one; empty if tiles are split by
    patient.
    """
    groups = [*map(Groups(rows).find_of_row, rows)]
    questions = " ".join(describe_patient_ids(group.names for group in groups))
    patients = len({group.name for group in groups})
    if patients >= MIN_PATIENTS:
        _write_split(rows, [group.name for group in groups], test_fraction)
        return questions
    rows, area_note = _assign_areas(rows)
    rarest = find_rarest_classes([row["lesion_id"] for row in rows], [row.get(TARGET, "") for row in rows])
    for name in sorted(set(rarest.values())):
        same_class = [row for row in rows if rarest[row["lesion_id"]] == name]
        spare = max(0, len({row["lesion_id"] for row in same_class}) - (MIN_AREAS_PER_CLASS - 1))
        _write_split(same_class, [row["lesion_id"] for row in same_class], test_fraction, spare)
    note = FEW_PATIENTS_NOTE.format(patients=format_count(patients, "patient")) + area_note
    return f"{note}. {questions}" if questions else note


def _write_split(
    rows: Sequence[dict[str, str]], groups: Sequence[str], test_fraction: float, most: int | None = None
) -> None:
    """Set the split of tiles by the ``groups`` that they are in; ``most``: greatest number of groups to test on."""
    samples = [
        Sample(row["image_id"], Path(), Path(), group, "", "tiles") for row, group in zip(rows, groups, strict=True)
    ]
    tested = sorted({sample.group for sample in split_samples(samples, TileSplitRules(test_fraction), 0).test})[:most]
    for row, group in zip(rows, groups, strict=True):
        row["split"] = TEST if group in tested else TRAIN


def _assign_areas(rows: Sequence[dict[str, str]]) -> tuple[list[dict[str, str]], str]:
    """Assign tiles to areas of their slide, as large as possible with enough areas for each class.

    Returns the rows whose tiles share no pixels with other areas, and a note if areas of the preferred size are too
    few or tiles are left out.
    """
    tiles = Counter(row.get(TARGET, "") for row in rows)
    too_few: list[str] = []
    kept: list[dict[str, str]] = []
    for side in AREA_TILES:
        for row in rows:
            row["lesion_id"], row["patient_id"] = _area_name(row, side), ""
        kept = _select_disjoint_areas(rows, side)
        areas = Counter(name for name, _ in {(row.get(TARGET, ""), row["lesion_id"]) for row in kept})
        few = [name for name in sorted(tiles) if name and areas[name] < min(MIN_AREAS_PER_CLASS, tiles[name])]
        too_few = too_few or few
        if not few:
            break
    chosen = {id(row) for row in kept}
    for row in rows:
        if id(row) not in chosen:
            row["split"] = LEFT_OUT
    note = FEW_AREAS_NOTE.format(classes=" and of ".join(too_few), side=format_count(side, "tile")) if too_few else ""
    left_out = len(rows) - len(kept)
    return kept, note + (SHARED_NOTE.format(tiles=format_count(left_out, "tile")) if left_out else "")


def _select_disjoint_areas(rows: Sequence[dict[str, str]], side: int) -> list[dict[str, str]]:
    """Return the rows without tiles that share pixels with a tile of another area of the slide.

    Tiles that lie within their area precede those that extend beyond it. ``side``: of an area, in tiles.
    """
    boxes = [[(float(row[at]), float(row[size])) for at, size in _SIDES] for row in rows]
    extends = [any(start % (side * length) > (side - 1 + 1e-6) * length for start, length in box) for box in boxes]
    order = sorted(range(len(rows)), key=lambda number: (rows[number]["slide"], extends[number], boxes[number]))
    near: dict[tuple[str, int, int], list[int]] = {}
    kept = []
    for number in order:
        row, box = rows[number], boxes[number]
        cell = [int(start // length) for start, length in box]
        around = product((cell[0] - 1, cell[0], cell[0] + 1), (cell[1] - 1, cell[1], cell[1] + 1))
        others = [other for at in around for other in near.get((row["slide"], *at), ())]
        if not any(
            rows[other]["lesion_id"] != row["lesion_id"] and _share_pixels(box, boxes[other]) for other in others
        ):
            near.setdefault((row["slide"], cell[0], cell[1]), []).append(number)
            kept.append(number)
    return [rows[number] for number in sorted(kept)]


def _share_pixels(box: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> bool:
    """Whether two tiles overlap, each (first pixel, length) along rows and columns; not if they only touch."""
    return all(
        abs(start - other_start) < length * (1 - 1e-6)
        for (start, length), (other_start, _) in zip(box, other, strict=True)
    )


def _area_name(row: dict[str, str], side: int) -> str:
    position = [int(float(row[at]) // (side * float(row[size]))) for at, size in _SIDES]
    return f"{row['slide']} area {position[0]}-{position[1]}"


class TileSet(Config):
    """Metadata of a data set of tiles, the file ``tiles.json``: scale and size of the tiles, and the classes."""

    tile: TileConfig
    labels: tuple[str, ...] = Field(min_length=2, description="names of the values 0, 1, 2 ... of the label images")
    classes: tuple[str, ...] = Field((), description="classes of tiles in the table")
    target: str = TARGET


def write_tile_set(folder: Path, tiles: TileSet) -> None:
    """Write ``tiles.json``."""
    write_json(folder / TILES, {"format_version": FORMAT, **tiles.model_dump(mode="json")})


def read_tile_set(folder: Path) -> TileSet | None:
    """Read the tile metadata of a data set; None if it has none."""
    path = folder / TILES
    try:
        values = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataSetError(
            f"{path} cannot be read ({parse_error_reason(error)}): create the data set of tiles again."
        ) from error
    if not isinstance(values, dict) or values.pop("format_version", None) != FORMAT:
        raise DataSetError(f"{path} has an unsupported format version: create the data set of tiles again.")
    return TileSet.parse(values, str(path))


def read_joint_tile_set(folders: Iterable[Path]) -> TileSet | None:
    """Read the common tile metadata of several data sets; None if not all of them have it."""
    tile_sets = [(folder, read_tile_set(folder)) for folder in folders]
    if not tile_sets or any(tiles is None for _, tiles in tile_sets):
        return None
    (first_folder, first), *others = [(folder, tiles) for folder, tiles in tile_sets if tiles is not None]
    for folder, tiles in others:
        if (tiles.tile, tiles.labels, tiles.target) != (first.tile, first.labels, first.target):
            raise DataSetError(
                f"the tiles of {first_folder.name} and {folder.name} differ: {_describe_tile_set(first)}, and "
                f"{_describe_tile_set(tiles)}. Create them with the same scale, side and classes, or train on one of "
                "them."
            )
    classes = dict.fromkeys(name for _, tiles in tile_sets if tiles is not None for name in tiles.classes)
    return first.model_copy(update={"classes": tuple(classes)})


def _describe_tile_set(tiles: TileSet) -> str:
    return f"{tiles.tile.side_px} px at {tiles.tile.mpp:g} µm of {', '.join(tiles.labels)}"
