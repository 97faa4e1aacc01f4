"""Export the results of slides and photographs, and the synoptic reports of cases, for other programs.

From top to bottom: the writers of all formats, the export of folders, and the files that need more code: label images
as OME-TIFF, and DICOM segmentations.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.case.model import Case, CaseLesion
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import ConfigError, InputError, describe_error
from napari_melanoma.core.files import atomic_file, normalize_name, save_error, write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.core.paths import UnsafePath, is_inside, real_path
from napari_melanoma.core.polygons import to_shape
from napari_melanoma.io.dicom_slides import matrix_size, read_slide_headers
from napari_melanoma.io.geojson import CANVAS
from napari_melanoma.io.results import HEATMAP, RESULT, read_slide_result
from napari_melanoma.io.slide_store import DONE, FAILED, NO_TISSUE, STORE, WAITING, SlideResult
from napari_melanoma.reports.dicom_photograph_report import (
    ExportedPhotograph,
    is_photograph_folder,
    read_exported_photograph,
    write_photograph_report,
)
from napari_melanoma.reports.export_formats import EXPORTS, ExportedSlide, NothingToExportError, find_export
from napari_melanoma.reports.ome_zarr import LabelLayer, OmeVersion, write_ome_zarr
from napari_melanoma.reports.slide import is_slide_folder, write_slide_report
from napari_melanoma.slides.lesion_files import (
    LABEL_COLORS,
    SavedLesions,
    label_image,
    lesion_to_annotation,
    read_saved_lesions,
    write_lesions_table,
    write_outlines,
)
from napari_melanoma.slides.lesions import LESION_COLUMNS, SlideLesion, area_noun, is_lesion_area, lesions_table
from napari_melanoma.slides.maps import tile_maps
from napari_melanoma.slides.notes import VIEW_FOLDER
from napari_melanoma.slides.reading.openslide import dicom_spacing
from napari_melanoma.slides.reading.pyramids import find_downsample, stated_downsample
from napari_melanoma.slides.reading.tiled import TileLevel
from napari_melanoma.slides.result_folder import recorded_slide, scanned_area_of
from napari_melanoma.slides.results import read_stitched_maps

MASK_SIDE = 4096  # usual longer side of a mask: 32 MB
STATES = {WAITING: "waiting", DONE: "done", FAILED: "failed", NO_TISSUE: "no tissue"}
OTHER = (200, 160, 0)  # color of lesions without a class
TILE, SMALLEST = 512, 512  # sides in a TIFF file: of a tile, and of the smallest level
HIGHDICOM_MISSING = (
    "a DICOM segmentation requires highdicom, which is not installed: pip install 'napari-melanoma[dicom]'."
)
NOT_A_DICOM_SLIDE = "is not a DICOM slide: a DICOM segmentation must reference DICOM images. Export a mask or outlines."
MAX_SIDE_PX = 8192  # preferred maximum side of label images with small lesions, such as DICOM segmentations
MAX_NAMED = 10  # lesions that a message lists
COARSE_HEATMAP = "The heatmap has a cell for each tile, as the finer one is written at the end of the analysis."
MANUFACTURER = "napari-melanoma"


def read_exported_slide(
    folder: Path, slide: Path | None = None, *, personal: bool = False, ome_zarr: OmeVersion = "0.5"
) -> ExportedSlide:
    # Without an analysis, there may be a reading, a risk, a synoptic report, counted points or measurements.
    is_unanalyzed = not (folder / STORE).is_dir() and ((folder / RESULT).is_file() or is_slide_folder(folder))
    if not is_unanalyzed:
        SlideResult.open(folder)
    saved = None if is_unanalyzed else read_saved_lesions(folder)
    lesions = None if saved is None else saved.lesions
    content, slide = read_slide_result(folder), slide or recorded_slide(folder)
    content = content if saved is None else saved.add_to(content)
    outer = folder.absolute().parent
    own = outer.parent if outer.name == VIEW_FOLDER and is_slide_folder(outer.parent) else None
    return ExportedSlide(folder, lesions, content, slide, personal=personal, ome_zarr=ome_zarr, slide_folder=own)


def _write_geojson(path: Path, exported: ExportedSlide) -> None:
    area = scanned_area_of(exported.folder, exported.slide)
    origin = CANVAS if area is None else (area.top, area.left)
    saved = SavedLesions.of_analysis(exported.content, exported.required_lesions)
    write_outlines(path, saved.lesions, exported.validity, origin, saved.describe())


def _write_lesions(path: Path, exported: ExportedSlide) -> None:
    """Write a row per lesion, as CSV or Parquet."""
    from napari_melanoma.io.tables import write_parquet

    if path.suffix.lower() != ".parquet":
        write_lesions_table(path, exported.required_lesions, exported.validity)
        return
    rows = lesions_table(exported.required_lesions)
    columns: dict[str, list[object]] = {name: [row[name] for row in rows] for name in LESION_COLUMNS}
    write_parquet(path, columns | _validity_columns(exported, len(rows)))


def _write_qupath_table(path: Path, exported: ExportedSlide) -> None:
    """Write a row per lesion in the columns of QuPath's measurement tables, whose positions count from its origin."""
    import shapely

    from napari_melanoma.io.results import write_table

    _, pixel = _slide_size(exported)
    area = scanned_area_of(exported.folder, exported.slide)
    top, left = CANVAS if area is None else (area.top, area.left)
    unit, y_um, x_um = ("px", 1.0, 1.0) if pixel is None else ("µm", pixel.y_um, pixel.x_um)
    image = exported.slide.name if exported.slide else exported.folder.name
    rows = []
    for lesion in exported.required_lesions:
        annotation = lesion_to_annotation(lesion)
        shape = shapely.union_all([to_shape(polygon) for polygon in lesion.polygons])
        row = {
            "Image": image,
            "Object type": "Annotation",
            "Name": annotation.name,
            "Classification": annotation.class_name,
            "ROI": "Polygon" if len(lesion.polygons) == 1 else "Geometry",
            f"Centroid X {unit}": (shape.centroid.y - left) * x_um,
            f"Centroid Y {unit}": (shape.centroid.x - top) * y_um,
            f"Area {unit}^2": shape.area * x_um * y_um,
        }
        # A measurement of QuPath may have the name of a column
        rows.append({**row, **annotation.measurements, **row, **exported.validity.to_columns()})
    write_table(path, rows, None if rows else ("Image", "Object type", "Name", "Classification", "ROI"))


def _validity_columns(exported: ExportedSlide, rows: int) -> dict[str, list[object]]:
    return {name: [cell] * rows for name, cell in exported.validity.to_columns().items()}


def _write_tiles_parquet(path: Path, exported: ExportedSlide) -> None:
    """Write a row per tile as Parquet: its box in pixels of the finest level, state and probabilities."""
    from napari_melanoma.io.tables import write_parquet

    result = SlideResult.open(exported.folder)
    rows, columns = np.nonzero(result.state != NO_TISSUE)
    state = result.state[rows, columns]
    top, left, height, width = result.boxes.select(np.column_stack([rows, columns])).T
    table: dict[str, Any] = {
        "row": rows,
        "column": columns,
        "y_px": top,
        "x_px": left,
        "height_px": height,
        "width_px": width,
        "state": [STATES[int(one)] for one in state],
    }
    values = result.probability[rows, columns] if result.spec.classes else np.empty((len(rows), 0))
    table |= {f"probability_{one}": values[:, n] for n, one in enumerate(result.spec.classes)}
    write_parquet(path, table | _validity_columns(exported, len(rows)))


def _write_heatmap_tiff(path: Path, exported: ExportedSlide) -> None:
    """Copy the heatmap that the analysis wrote; if it is not valid, its description states why."""
    if not (exported.folder / HEATMAP).is_file():
        raise InputError("the heatmap is written at the end of the analysis: wait for it, or resume the analysis.")
    copy_result_file(exported.folder / HEATMAP, path, exported.validity.headline(""))


def _write_heatmap_zarr(path: Path, exported: ExportedSlide) -> str:
    """Write the heatmap as OME-Zarr, with the lesions as labels."""
    result = SlideResult.open(exported.folder)
    if not result.spec.classes:
        raise InputError(f"{exported.folder.name} has no heatmap: its model predicts no classes.")
    stitched = read_stitched_maps(exported.folder, result)
    note = "" if stitched or result.spec.kind != "dense" else COARSE_HEATMAP
    maps, labels = stitched or tile_maps(result), None
    if exported.lesions is not None:
        drawn = _draw_lesions(exported.lesions, maps.placement, maps.probability.shape[1:])
        colors = {lesion.index: LABEL_COLORS.get(lesion.label, OTHER) for lesion in exported.lesions}
        properties = _lesion_properties(exported)
        labels = LabelLayer("lesions", drawn.values, drawn.place, colors, properties)
        note = " ".join(filter(None, (note, drawn.note)))
    validity = {"valid": exported.validity.valid, "validity": exported.validity.headline("")}
    write_ome_zarr(path, maps, result.spec.classes, labels, exported.ome_zarr, {"napari_melanoma": validity})
    return note


def _write_spatialdata(path: Path, exported: ExportedSlide) -> None:
    """Write thumbnail, tissue, tiles with their values, lesions and regions as a SpatialData store."""
    from napari_melanoma.reports.spatialdata import write_spatialdata

    size, _ = _slide_size(exported)
    write_spatialdata(path, exported, size, STATES)


class DrawnLesions(NamedTuple):
    """A label image of lesions, uint16 (row, column), its place on the slide, and a note on lesions without a pixel."""

    values: NDArray[np.uint16]
    place: MapPlacement
    note: str


def _draw_lesions(lesions: Sequence[SlideLesion], place: MapPlacement, shape: tuple[int, ...]) -> DrawnLesions:
    """Draw lesions on the cells of a map, or on parts of them if outlines do not follow the cells or miss them.

    ``place``, ``shape``: of the map. Cells are halved down to a pixel of the slide and up to ``MASK_SIDE`` a side, or
    ``MAX_SIDE_PX`` while a lesion has no cell.
    """
    corners = [place.to_map(ring) for one in lesions for polygon in one.polygons for ring in polygon.arrays]
    follow_cells = all(np.allclose(points, points.round(), atol=1e-6) for points in corners)
    rows, columns = shape
    while True:
        labels = label_image(lesions, place, (rows, columns))
        drawn = set(np.unique(labels).tolist())
        missing = [lesion for lesion in lesions if lesion.index not in drawn]
        side = MAX_SIDE_PX if missing else 0 if follow_cells else MASK_SIDE
        if 2 * max(rows, columns) > side or min(place.step_y, place.step_x) < 2:
            return DrawnLesions(labels, place, _describe_missing(missing))
        place = replace(place, step_y=place.step_y / 2, step_x=place.step_x / 2)
        rows, columns = 2 * rows, 2 * columns


def _describe_missing(lesions: Sequence[SlideLesion]) -> str:
    """Describe which lesions a label image lacks."""
    if not lesions:
        return ""
    noun = area_noun(lesions[0].label)
    numbers = ", ".join(str(one.index) for one in lesions[:MAX_NAMED])
    numbers += " and others" if len(lesions) > MAX_NAMED else ""
    return (
        f"The file lacks {format_count(len(lesions), noun)} without a pixel, too small or inside others: "
        f"{noun}{'' if len(lesions) == 1 else 's'} {numbers}. Export outlines, too."
    )


def _write_mask(path: Path, exported: ExportedSlide) -> str:
    """Write a label image of the lesions as OME-TIFF, over the whole slide or its scanned area."""
    size, pixel = _slide_size(exported)
    area = scanned_area_of(exported.folder, exported.slide) or Box(0, 0, *size)
    step = 2 ** max(0, int(np.ceil(np.log2(max(area.height, area.width) / MASK_SIDE))))
    placement = MapPlacement(area.top, area.left, step, step, pixel)
    shape = -(-area.height // step), -(-area.width // step)
    drawn = _draw_lesions(exported.required_lesions, placement, shape)
    write_label_tiff(path, drawn.values, drawn.place, "lesions", exported.validity.headline(""))
    return drawn.note


def _write_dicom(path: Path, exported: ExportedSlide) -> str:
    from napari_melanoma.reports.dicom_report import lesion_uid

    slide = _require_slide(exported)
    level = find_dicom_level(slide)
    size, _ = _slide_size(exported)
    shape = (level.height, level.width)
    place = MapPlacement.from_thumbnail(shape, size)
    if level.downsample is not None:
        place = MapPlacement(0.0, 0.0, level.downsample, level.downsample)
    labels = label_image(exported.required_lesions, place, shape)
    present = set(np.unique(labels).tolist())
    segments = [
        LesionSegment(
            lesion.index,
            f"{area_noun(lesion.label)} {lesion.index}, {lesion.label}",
            lesion.origin != "found",
            lesion_uid(level.header, lesion),
            is_lesion_area(lesion.label),
        )
        for lesion in exported.required_lesions
        if lesion.index in present
    ]
    model = str((exported.content.get("model") or {}).get("name") or "model")
    write_dicom_segmentation(path, level, labels, segments, model, exported.validity.headline(""))
    return _describe_missing([lesion for lesion in exported.required_lesions if lesion.index not in present])


def _write_dicom_report(path: Path, exported: ExportedSlide) -> str:
    """Write lesions, depth, measurements and regions of a DICOM slide as a DICOM measurement report."""
    from napari_melanoma.reports.dicom_report import write_measurement_report

    slide = _require_slide(exported)
    return write_measurement_report(path, slide, exported, *_slide_size(exported))


def _write_depth(path: Path, exported: ExportedSlide) -> None:
    """Write a row per depth reading, including the reading of the analysis."""
    from napari_melanoma.io.results import write_table
    from napari_melanoma.slides.depth_readings import collect_readings, readings_rows

    collection = collect_readings([exported.folder], exported.lesion)
    if collection.failed:
        raise InputError(collection.failed[0][1])
    rows = readings_rows(collection)
    write_table(path, [row for row in rows if exported.with_invalid_depth or row["valid"] != "false"])


def _write_counts(path: Path, exported: ExportedSlide) -> None:
    """Write a row, or an object, per measurement, and per class of counted points and area, as CSV or JSON."""
    from napari_melanoma.io.results import write_table
    from napari_melanoma.slides.counts import COLUMNS, collect_measurements

    rows = collect_measurements(exported.folder, partial(_slide_size, exported))
    if not rows:
        reason = "nothing was measured or counted yet. Use the section Measure of the Slide dock first."
        raise NothingToExportError(f"{exported.folder.name}: {reason}")
    if path.suffix.lower() == ".json":
        write_json(path, {"slide": exported.folder.name, "measurements": rows})
    else:
        write_table(path, rows, COLUMNS)


def _write_report(path: Path, exported: ExportedSlide) -> None:
    write_slide_report(path, exported.folder, exported.slide, lesion=exported.lesion)


WRITERS: Mapping[str, Callable[[Path, ExportedSlide], str | None]] = {
    "geojson": _write_geojson,
    "csv": _write_lesions,
    "qupath": _write_qupath_table,
    "tiles": _write_tiles_parquet,
    "depth": _write_depth,
    "counts": _write_counts,
    "report": _write_report,
    "tif": _write_heatmap_tiff,
    "zarr": _write_heatmap_zarr,
    "spatialdata": _write_spatialdata,
    "mask": _write_mask,
    "dicom": _write_dicom,
    "dicom-sr": _write_dicom_report,
}
"""Format of this package to the function that writes it."""
PHOTOGRAPH_WRITERS: Mapping[str, Callable[[Path, ExportedPhotograph], None]] = {"dicom-sr": write_photograph_report}
"""Format to the function that writes the result of a photograph."""


def write_export(name: str, path: Path, exported: ExportedSlide) -> str:
    """Write a file in a format of this package or of a plug-in; ``name``: of the format, maybe with a suffix.

    Returns what the file lacks of the results, as a sentence for the user; empty if it lacks nothing.
    """
    return (find_export(name)[0].write or WRITERS[name.partition(".")[0]])(path, exported) or ""


def copy_result_file(source: Path, path: Path, description: str = "") -> None:
    """Copy a file of a result folder; links that leave the folder are rejected.

    ``description``: added to that of the image in an OME-TIFF file, unless it is empty.
    """
    if not is_inside(source, source.parent):
        raise UnsafePath(f"{source} is a link out of the folder: replace it by the file.")
    try:
        with atomic_file(path) as temporary:
            shutil.copyfile(source, temporary)
            if description:
                _describe_ome_tiff(temporary, description)
    except OSError as error:
        raise save_error(path, error) from error


def _describe_ome_tiff(path: Path, description: str) -> None:
    """Set the description of the image in an OME-TIFF file without one."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        metadata = tiff.ome_metadata or ""
    added = f"<Description>{escape(description)}</Description>"
    described = re.sub(r"<Image\b[^>]*>", lambda image: f"{image[0]}{added}", metadata, count=1)
    tifffile.tiffcomment(path, described.encode())


def _lesion_properties(exported: ExportedSlide) -> list[dict[str, Any]]:
    """Return the properties of each lesion for labels of OME-Zarr."""
    lesions, validity = exported.required_lesions, exported.validity
    invalid = {} if validity.valid else {"validity": validity.headline("")}
    names = ("label", "probability", "area_mm2", "perimeter_mm", "origin")
    rows = lesions_table(lesions)
    known = [{name: row[name] for name in names if row[name] is not None and row[name] == row[name]} for row in rows]
    return [{"label-value": lesion.index, **values, **invalid} for lesion, values in zip(lesions, known, strict=True)]


def _require_slide(exported: ExportedSlide) -> Path:
    if exported.slide is None or not exported.slide.exists():
        raise InputError(
            f"the slide of {exported.folder.name} is required, but its path is not in the results: name its file with "
            "--slide."
        )
    return exported.slide


def _slide_size(exported: ExportedSlide) -> tuple[tuple[int, int], PixelSize | None]:
    """Return height and width of the finest level, and the pixel size, from the results, or else from the file."""
    from napari_melanoma.slides.reading.opening import open_slide

    spec = SlideResult.open(exported.folder).spec if (exported.folder / STORE).is_dir() else None
    if spec is not None and spec.size is not None:
        return spec.size, spec.placement.pixel_size
    with open_slide(_require_slide(exported)) as slide:
        full = slide.info.levels[0]
        return (full.height, full.width), slide.info.pixel_size if spec is None else spec.placement.pixel_size


class ExportSource(NamedTuple):
    """What is exported: its folder, its folder in the output, and the function that reads it."""

    folder: Path
    target: Path
    read: Callable[[], ExportedSlide | ExportedPhotograph]


@dataclass(frozen=True)
class ExportedFile:
    """An exported file, or why there is none.

    ``left_out``: whether there was nothing to export. ``note``: what the file lacks of the results.
    """

    folder: Path
    format: str
    path: Path
    error: str = ""
    left_out: bool = False
    note: str = ""


def find_exported_folders(paths: Sequence[Path]) -> list[Path]:
    """Find the result folders of slides and photographs in some folders; folders of cases are returned unchanged."""
    return list(dict.fromkeys(folder for path in paths for folder in _find_exported(path)))


def _find_exported(path: Path) -> list[Path]:
    if _is_case(path) or is_photograph_folder(path):
        return [path]
    below = sorted(path.glob("*")) if path.is_dir() and not is_slide_folder(path) else []
    photographs = [folder for folder in below if is_photograph_folder(folder)]
    slides = any(map(is_slide_folder, below)) or not photographs
    return [*photographs, *(find_result_folders([path]) if slides else [])]


def find_result_folders(paths: Sequence[Path]) -> list[Path]:
    """Find the result folders of slides in some folders, each once and in order."""
    folders: dict[Path, None] = {}
    for folder in paths:
        below = sorted(path for path in folder.glob("*") if is_slide_folder(path)) if folder.is_dir() else []
        own = [folder] if is_slide_folder(folder) else below
        if not own:
            raise InputError(
                f"{folder} contains no results of slides: expected a folder written by 'napari-melanoma slide' or the "
                "Slide dock."
            )
        folders |= dict.fromkeys(own)
    return list(folders)


def require_outside_results(out: Path) -> None:
    """Raise an error for an output folder that is the result folder of a slide, or lies in one."""
    place = real_path(out)
    for folder in (place, *place.parents):
        if is_slide_folder(folder):
            where = "is" if folder == place else "lies in"
            raise InputError(
                f"--out {out} {where} the result folder of a slide ({folder}): expected a folder outside the "
                "results of slides. Choose another one."
            )


def _is_case(folder: Path) -> bool:
    from napari_melanoma.case.store import CASE

    return (folder / CASE).is_file()


def export_results(
    folders: Sequence[Path],
    out: Path,
    formats: Sequence[str],
    *,
    slide: Path | None = None,
    photographs: Path | None = None,
    reader: str = "",
    personal: bool = False,
    ome_zarr: OmeVersion = "0.5",
    on_written: Callable[[ExportedFile], None] = lambda written: None,
    run: RunContext,
) -> list[ExportedFile]:
    """Write results of slides and photographs, and synoptic reports of cases, to a folder for each in ``out``.

    ``photographs``: a file, or the folder that contains them. ``reader``: name of who corrected masks of photographs.
    ``personal``: include names of readers, and times, in synoptic reports. ``ome_zarr``: version of OME-Zarr.
    ``on_written``: called after each file.
    """
    for name in formats:
        find_export(name)
    if slide is not None and len(folders) > 1:
        raise ConfigError(f"--slide names one slide, but there are {len(folders)} results. Export them one by one.")
    files: list[ExportedFile] = []
    read_slide = partial(read_exported_slide, slide=slide, personal=personal, ome_zarr=ome_zarr)
    read_photograph = partial(read_exported_photograph, photograph=photographs, reader=reader)
    sources: list[ExportSource] = []
    for folder in folders:
        if _is_case(folder):
            sources += _list_case_sources(folder, out, personal=personal)
            continue
        read = partial(read_photograph if is_photograph_folder(folder) else read_slide, folder)
        sources.append(ExportSource(folder, out / folder.name, read))
    _require_distinct_targets(sources)
    work = [(source, name) for source in sources for name in formats]
    for done, (source, name) in enumerate(work):
        run.check()
        run.report(Progress(done, len(work), f"{source.folder.name}: {find_export(name)[0].title}"))
        files.append(_write_format(source, name))
        on_written(files[-1])
    run.report(Progress(len(work), len(work), "Export complete"))
    return files


def _require_distinct_targets(sources: Sequence[ExportSource]) -> None:
    """Raise an error if two results would be written to one folder; names that differ only in case count as equal."""
    known: dict[str, Path] = {}
    for source in sources:
        other = known.setdefault(normalize_name(str(source.target)), source.folder)
        if real_path(other) != real_path(source.folder):
            raise InputError(
                f"{other} and {source.folder} have the same name: the files of one would replace those of the other. "
                "Export them one by one, to different folders."
            )


def _list_case_sources(folder: Path, out: Path, *, personal: bool) -> list[ExportSource]:
    """List the lesions of a case, or only the case, with an error, if none has a synoptic report."""
    from napari_melanoma.case.store import CaseStore

    try:
        store = CaseStore.open_read_only(folder)
        if all(one.report is None for one in store.case.lesions):
            raise NothingToExportError(
                f"{folder} is a case without a synoptic report: fill in that of a lesion in the Case dock."
            )
    except (InputError, ConfigError) as error:
        return [ExportSource(folder, out / folder.name, partial(_raise, error))]
    read = partial(_read_case_lesion, folder, store.case, personal=personal)
    target = out / store.folder.name
    return [ExportSource(folder / one.id, target / one.id, partial(read, one)) for one in store.case.lesions]


def _raise(error: Exception) -> NoReturn:
    raise error


def _read_case_lesion(folder: Path, case: Case, lesion: CaseLesion, *, personal: bool) -> ExportedSlide:
    from napari_melanoma.case.lesion_content import read_lesion_content

    if lesion.report is None:
        raise NothingToExportError(
            f"{folder.name}, {lesion.id}: there is no synoptic report yet. Fill in that of the lesion in the Case dock."
        )
    report = lesion.report
    content = read_lesion_content(case, lesion, folder, lambda image: None, identifies_files=report.is_signed)
    changes = tuple(map(str, content.list_changes(report)))
    changes = (*lesion.double_findings, *changes) if report.is_signed else changes
    return ExportedSlide(
        folder / lesion.id, None, {}, personal=personal, synoptic=report, changes=changes, patient=case.patient
    )


def _write_photograph(exported: ExportedPhotograph, name: str, path: Path) -> ExportedFile:
    if name not in PHOTOGRAPH_WRITERS:
        expected = ", ".join(PHOTOGRAPH_WRITERS)
        raise NothingToExportError(
            f"{exported.folder.name} is the result of a photograph, which --to {name} does not export: expected "
            f"--to {expected}."
        )
    PHOTOGRAPH_WRITERS[name](path, exported)
    return ExportedFile(exported.folder, name, path)


def _write_format(source: ExportSource, name: str) -> ExportedFile:
    chosen, file_name = find_export(name)
    folder, path = source.folder, source.target / file_name
    try:
        exported = source.read()
        if isinstance(exported, ExportedPhotograph):
            return _write_photograph(exported, name, path)
        if exported.synoptic is not None and chosen.subject != "synoptic":
            expected = ", ".join(name for name, one in EXPORTS.members.items() if one.subject == "synoptic")
            raise InputError(f"a case has synoptic reports to export: expected --to {expected}.")
        return ExportedFile(folder, name, path, note=write_export(name, path, exported))
    except Exception as error:  # noqa: BLE001 - any error concerns this file only; the others continue
        return ExportedFile(folder, name, path, describe_error(error), isinstance(error, NothingToExportError))


def write_label_tiff(
    path: Path, labels: NDArray[np.uint16], place: MapPlacement, name: str, description: str = ""
) -> None:
    """Write a label image as OME-TIFF.

    ``labels``: uint16 (row, column). ``place``: of its pixels on the slide. ``name``: of the channel. ``description``:
    of the image.
    """
    import tifffile

    metadata: dict[str, Any] = {"axes": "YX", "Name": name, "Channel": {"Name": [name]}, "Description": description}
    if place.cell_um is not None:
        metadata |= {"PhysicalSizeY": place.cell_um[0], "PhysicalSizeX": place.cell_um[1]}
        metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    levels = [labels]
    while max(levels[-1].shape) > SMALLEST:
        levels.append(levels[-1][::2, ::2])
    storage: dict[str, Any] = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "minisblack"}
    with atomic_file(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as tiff:
        tiff.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **storage)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, metadata=None, **storage)


@dataclass(frozen=True)
class LesionSegment:
    """One lesion: its number in the label image, its name, and whether it was edited by hand.

    ``tracking_uid``: as in the measurement report; a new one if it is empty. ``is_lesion``: not an area of a structure.
    """

    number: int
    label: str
    is_manual: bool = False
    tracking_uid: str = ""
    is_lesion: bool = True


@dataclass(frozen=True)
class DicomLevel:
    """One level of a DICOM slide: its header and its size in pixels."""

    header: Any  # pydicom's Dataset
    height: int
    width: int
    downsample: float | None = None  # of a padded level


def find_dicom_level(slide: Path) -> DicomLevel:
    """Find the level of a DICOM slide to segment: the finest of at most ``MAX_SIDE_PX`` a side, or the coarsest."""
    headers = read_slide_headers(slide)
    if not headers:
        raise InputError(f"{slide.name} {NOT_A_DICOM_SLIDE}")
    if any("ConcatenationUID" in header for header in headers):
        raise InputError(
            f"{slide.name} stores a level in several files, which is not supported for segmentations. Export a mask or "
            "outlines instead."
        )
    levels = [DicomLevel(header, *matrix_size(header)) for header in headers]
    level = next((level for level in levels if max(level.height, level.width) <= MAX_SIDE_PX), levels[-1])
    grid = TileLevel(level.height, level.width, int(level.header.Rows), int(level.header.Columns))
    stated = stated_downsample(dicom_spacing(levels[0].header), dicom_spacing(level.header))
    return replace(level, downsample=find_downsample(grid, (levels[0].height, levels[0].width), stated))


def write_dicom_segmentation(
    path: Path,
    level: DicomLevel,
    labels: NDArray[np.uint16],
    segments: Sequence[LesionSegment],
    model: str,
    invalid: str = "",
) -> None:
    """Write lesions as a binary, tiled DICOM segmentation with a segment for each lesion.

    Patient and study are copied from the header of the slide, as DICOM requires.

    ``labels``: uint16 (row, column) of the size of the level: the number of a segment, 0 for none. ``model``: its name.
    ``invalid``: why the analysis is not valid, which is then stated in the file; else "".
    """
    try:
        import highdicom  # noqa: F401 - fail before any computation
    except ImportError as error:
        raise ConfigError(HIGHDICOM_MISSING) from error
    if not segments:
        raise InputError("there is no lesion. A DICOM segmentation needs at least one segment.")
    numbers = np.zeros(int(labels.max(initial=0)) + 1, np.uint16)
    for number, segment in enumerate(segments, start=1):
        if segment.number < len(numbers):
            numbers[segment.number] = number
    try:
        segmentation = _build_segmentation(level, numbers[labels], segments, model)
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"the header of the slide lacks attributes that a DICOM segmentation requires ({error}). Export a mask or "
            "outlines."
        ) from error
    if invalid:
        segmentation.ContentDescription = f"Not valid. {segmentation.ContentDescription}"
        for segment in segmentation.SegmentSequence:
            segment.SegmentDescription = invalid[:1024]  # maximum length in DICOM
    with atomic_file(path) as temporary:
        segmentation.save_as(temporary)


def _build_segmentation(
    level: DicomLevel, numbers: NDArray[np.uint16], segments: Sequence[LesionSegment], model: str
) -> Any:  # noqa: ANN401
    """Build a segmentation; ``numbers``: uint16 (row, column), segments numbered from 1, 0 for none."""
    import highdicom

    content = "Lesions" if all(one.is_lesion for one in segments) else "Areas"
    return highdicom.seg.Segmentation(
        source_images=[level.header],
        pixel_array=numbers[None],
        segmentation_type="BINARY",
        segment_descriptions=[_segment_description(number, one, model) for number, one in enumerate(segments, start=1)],
        series_instance_uid=highdicom.UID(),
        series_number=100,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=model,
        software_versions=version(MANUFACTURER),
        device_serial_number="none",
        content_description=f"{content}, for research only",
        tile_pixel_array=True,
        omit_empty_frames=True,
    )


def _segment_description(number: int, segment: LesionSegment, model: str) -> Any:  # noqa: ANN401 - highdicom's
    """Describe a segment for the file; its number there is ``number``."""
    import highdicom
    from pydicom.sr.coding import Code

    kind = "SEMIAUTOMATIC" if segment.is_manual else "AUTOMATIC"
    altered, lesion = Code("49755003", "SCT", "Morphologically Altered Structure"), Code("52988006", "SCT", "Lesion")
    tissue = Code("85756007", "SCT", "Tissue")
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=altered if segment.is_lesion else tissue,
        segmented_property_type=lesion if segment.is_lesion else tissue,
        algorithm_type=kind,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=model,
            family=Code("123110", "DCM", "Artificial Intelligence"),
            version=version(MANUFACTURER),
        ),
        tracking_uid=segment.tracking_uid or highdicom.UID(),
        tracking_id=f"{'lesion' if segment.is_lesion else 'area'} {segment.number}",
    )
