"""Tiles of annotated slides as a data set: a row a tile with its class, place and split, an image and a label image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.counting import counted
from napari_melanoma.core.errors import DataSetError, MelanomaError, SaveError, in_words
from napari_melanoma.core.file_names import free_name, safe_name
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.runs import CONCERNS_ALL, RunContext
from napari_melanoma.core.tile import TileConfig
from napari_melanoma.data.new_dataset import gathered, write_dataset_table
from napari_melanoma.data.tiles import TARGET, TileSet, write_tile_set
from napari_melanoma.io.results import write_labels, write_rgb
from napari_melanoma.io.slides.opening import open_slide
from napari_melanoma.workflows.tile_cutting import ChosenTiles, CuttingConfig, choose_tiles, cut_tiles
from napari_melanoma.workflows.tile_regions import SlideRegions, TakenClasses, regions_of, taken_classes
from napari_melanoma.workflows.tile_splits import split_tiles

if TYPE_CHECKING:
    from napari_melanoma.io.slides.slide import Slide

Row = dict[str, str]
MODALITY, FEWEST_CLASSES = "wsi", 2


class TileDataOptions(CuttingConfig):
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
    places: Sequence[Path],
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
    annotated = list(_annotated(slides, places, options, report))
    if not annotated:
        said = f" ({report.faults[0][0]}: {report.faults[0][1]})" if report.faults else ""
        raise DataSetError(f"none of {len(slides)} slides has regions that can be taken{said}.")
    taken = taken_classes([one.regions for one in annotated], options.classes, options.rest)
    with gathered(out) as place:
        cut = partial(_cut_all, taken=taken, place=place, options=options, report=report, run=run)
        rows = [row for one in run.track(annotated, "cutting tiles") for row in cut(one)]
        _refuse_none(rows, options, report)
        _describe(rows, patients or {}, options, report)
        _write_about(place, taken, options, report)
        write_dataset_table(place / "dataset.csv", rows)
    _note(report, taken, len(annotated))
    return report


def _refuse_none(rows: Sequence[Row], options: TileDataOptions, report: TileReport) -> None:
    """Raise where there is no tile, with the reason."""
    if not rows and report.faults:
        raise DataSetError(f"no tile could be cut ({report.faults[-1][0]}: {report.faults[-1][1]})")
    if not rows:
        raise DataSetError(
            f"no tile of {options.tile_px} px at {options.mpp:g} µm lies to {options.share:.0%} within the "
            "regions: draw larger ones, or choose a smaller tile, a finer scale or a smaller share."
        )


def _write_about(place: Path, taken: TakenClasses, options: TileDataOptions, report: TileReport) -> None:
    """Write what is true of all tiles, and where they come from."""
    tile = TileConfig(mpp=options.mpp, side_px=options.tile_px)
    shown = tuple(name for name in taken.names if report.classes.get(name))
    write_tile_set(place, TileSet(tile=tile, labels=taken.labels, classes=shown))
    counts = {"slides": report.slides, "images": report.tiles}
    origin = {"source": "tiles of annotated slides", **counts, "options": options.model_dump(mode="json")}
    write_json(place / "source.json", {**origin, "made_with": provenance()})


def _annotated(
    slides: Sequence[Path], places: Sequence[Path], options: TileDataOptions, report: TileReport
) -> Iterator[SlideRegions]:
    """Slides with their regions, each under a name of its own; what cannot be taken is noted."""
    names: set[str] = set()
    for path in slides:
        name = free_name(safe_name(path.name if path.is_dir() else path.stem), names)
        try:
            found = regions_of(path, places, options.readers)
        except MelanomaError as error:
            if places and len(slides) == 1:
                raise
            report.faults.append((path.name, str(error)))
            continue
        names.add(name.lower())
        report.notes += [(path.name, note) for note in found.notes]
        yield found.named(name)


def _cut_all(
    one: SlideRegions, taken: TakenClasses, place: Path, options: TileDataOptions, report: TileReport, run: RunContext
) -> list[Row]:
    """Cut the tiles of a slide; one that turns out to be damaged leaves none, and the others go on."""
    rows: list[Row] = []
    try:
        for row in _cut(one, taken, place, options, run):
            rows.append(row)
    except (*CONCERNS_ALL, SaveError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises is of this slide
        report.faults.append((one.path.name, in_words(error)))
        for path in (place / part / f"{row['image_id']}.png" for part in ("images", "masks") for row in rows):
            path.unlink(missing_ok=True)
        return []
    return rows


def _cut(
    one: SlideRegions, taken: TakenClasses, place: Path, options: TileDataOptions, run: RunContext
) -> Iterator[Row]:
    """Write the tiles of a slide, and give their rows."""
    regions = one.map_of(taken.numbers)
    with open_slide(one.path, one.pixel_size) as slide:
        chosen = choose_tiles(slide.info, regions, len(taken.names), options)
        for tile in cut_tiles(slide, chosen, regions):
            run.check()
            row = _row(one, slide, chosen, tile.index, taken)
            write_rgb(place / "images" / f"{row['image_id']}.png", tile.rgb)
            write_labels(place / "masks" / f"{row['image_id']}.png", taken.values[tile.labels])
            yield row


def _row(one: SlideRegions, slide: Slide, chosen: ChosenTiles, index: int, taken: TakenClasses) -> Row:
    """What the table says of a tile."""
    row, column = chosen.places[index].tolist()
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


def _describe(
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


def _note(report: TileReport, taken: TakenClasses, slides: int) -> None:
    """Say what a person would otherwise find out in a training."""
    bare = [name for name in taken.names if not report.classes.get(name)]
    if bare:
        said = f"no tile shows {', '.join(bare)} to the share asked for: its regions are smaller than a tile"
        report.notes.append(("classes", said))
    if report.classes.get(""):
        several = counted(report.classes[""], "tile")
        report.notes.append(("classes", f"{several} of several classes: for segmentation alone"))
    told = [name for name in report.classes if name]
    if len(told) < FEWEST_CLASSES:
        report.notes.append(("classes", "fewer than two classes have tiles: there is nothing to tell apart yet"))
    if report.slides < slides:
        report.notes.append(("slides", f"{counted(slides - report.slides, 'slide')} gave no tile"))
