"""Export results of slides for other programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import ConfigError, InputError, describe_error
from napari_melanoma.core.files import atomic_file, save_error
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.paths import UnsafePath, is_inside
from napari_melanoma.core.placement import MapPlacement
from napari_melanoma.io.results import HEATMAP, OUTLINES, read_slide_result, read_slide_validity
from napari_melanoma.io.slide_spec import DONE, FAILED, NO_TISSUE, WAITING
from napari_melanoma.io.slide_store import STORE, SlideResult
from napari_melanoma.slides.lesion_files import (
    LABEL_COLORS,
    label_image,
    read_lesions,
    write_lesions_table,
    write_outlines,
)
from napari_melanoma.slides.lesions import LESION_COLUMNS, lesions_table
from napari_melanoma.slides.result_folder import recorded_slide

if TYPE_CHECKING:
    from napari_melanoma.slides.lesions import SlideLesion

MASK_SIDE = 4096  # maximum of the longer side of a mask: 32 MB
STATES = {WAITING: "waiting", DONE: "done", FAILED: "failed", NO_TISSUE: "no tissue"}
OTHER = (200, 160, 0)  # lesions without a class


@dataclass(frozen=True)
class ExportedSlide:
    """An analyzed slide for export: its folder, its current lesions, and the slide file if known."""

    folder: Path
    lesions: tuple[SlideLesion, ...] | None
    content: Mapping[str, Any]
    slide: Path | None = None
    saved: bool = True  # the files of the folder are up to date

    @property
    def lesions_or_empty(self) -> tuple[SlideLesion, ...]:
        """The lesions; an error if there are none yet."""
        if self.lesions is None:
            raise InputError(f"{self.folder.name}: there are no lesions yet. Complete the analysis of the slide first.")
        return self.lesions


def read_exported_slide(folder: Path, slide: Path | None = None) -> ExportedSlide:
    """Read the results of a slide."""
    from napari_melanoma.reports.slide import has_something_to_report

    if not (folder / STORE).is_dir() and has_something_to_report(folder):  # only a reading or a risk
        return ExportedSlide(folder, None, read_slide_result(folder), slide or recorded_slide(folder))
    SlideResult.open(folder)
    return ExportedSlide(folder, read_lesions(folder), read_slide_result(folder), slide or recorded_slide(folder))


def _write_geojson(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Write outlines for QuPath."""
    if given.saved and given.lesions_or_empty:
        _copy_file(given.folder / OUTLINES, path)  # with more digits than the table
    else:
        write_outlines(path, given.lesions_or_empty, read_slide_validity(given.content))


def _write_csv(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Write a row per lesion."""
    write_lesions_table(path, given.lesions_or_empty, read_slide_validity(given.content))


def _write_lesions_parquet(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Write a row per lesion as Parquet."""
    from napari_melanoma.io.tables import write_parquet

    rows, cells = lesions_table(given.lesions_or_empty), read_slide_validity(given.content).to_columns()
    columns: dict[str, list[object]] = {name: [row[name] for row in rows] for name in LESION_COLUMNS}
    write_parquet(path, {**columns, **{name: [cell] * len(rows) for name, cell in cells.items()}})


def _write_tiles_parquet(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Write a row per tile as Parquet: position in pixels of the finest level, state and probabilities."""
    from napari_melanoma.io.tables import write_parquet

    result = SlideResult.open(given.folder)
    rows, columns = np.nonzero(result.state != NO_TISSUE)
    placement, state = result.spec.placement, result.state[rows, columns]
    table: dict[str, Any] = {
        "row": rows,
        "column": columns,
        "y_px": placement.top + rows * placement.step_y,
        "x_px": placement.left + columns * placement.step_x,
        "height_px": np.full(len(rows), placement.step_y, float),
        "width_px": np.full(len(rows), placement.step_x, float),
        "state": [STATES[int(one)] for one in state],
    }
    values = result.probability[rows, columns] if result.spec.classes else np.empty((len(rows), 0))
    write_parquet(path, table | {f"probability_{one}": values[:, n] for n, one in enumerate(result.spec.classes)})


def _write_heatmap_tiff(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Copy the heatmap that the analysis wrote."""
    if not (given.folder / HEATMAP).is_file():
        raise InputError("the heatmap is written at the end of the analysis: wait for it, or resume the analysis.")
    _copy_file(given.folder / HEATMAP, path)


def _write_heatmap_zarr(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Write the probabilities of the tiles as OME-Zarr, with the lesions as labels."""
    from napari_melanoma.slides.export_formats import LabelLayer, write_ome_zarr

    result = SlideResult.open(given.folder)
    if not result.spec.classes:
        raise InputError(f"{given.folder.name} has no heatmap: its model predicts no classes.")
    maps = np.moveaxis(result.probability, 2, 0)
    labels = None
    if given.lesions is not None:
        values = label_image(given.lesions, result.spec.placement, maps.shape[1:])
        labels = LabelLayer("lesions", values, _lesion_colors(given.lesions), _lesion_properties(given))
    write_ome_zarr(path, maps, result.spec.classes, result.spec.placement, labels)


def _write_mask(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Write a label image of the lesions as OME-TIFF."""
    from napari_melanoma.slides.export_formats import write_label_tiff

    size, pixel = _slide_size(given)
    step = 2 ** max(0, int(np.ceil(np.log2(max(size) / MASK_SIDE))))
    placement = MapPlacement(0.0, 0.0, step, step, pixel)
    shape = -(-size[0] // step), -(-size[1] // step)
    write_label_tiff(path, label_image(given.lesions_or_empty, placement, shape), placement, "lesions")


def _write_dicom(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Write the lesions of a DICOM slide as a DICOM segmentation."""
    from napari_melanoma.slides.export_formats import LesionSegment, find_dicom_level, write_dicom_segmentation

    slide = _require_slide(given)
    level = find_dicom_level(slide)
    size, _ = _slide_size(given)
    shape = (level.height, level.width)
    labels = label_image(given.lesions_or_empty, MapPlacement.from_thumbnail(shape, size), shape)
    present = set(np.unique(labels).tolist())
    segments = [
        LesionSegment(lesion.index, f"lesion {lesion.index}, {lesion.label}", lesion.origin != "found")
        for lesion in given.lesions_or_empty
        if lesion.index in present
    ]
    model = str((given.content.get("model") or {}).get("name") or "model")
    write_dicom_segmentation(path, level, labels, segments, model, read_slide_validity(given.content).headline(""))


def _write_depth(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Write a row per depth reading, including that of the analysis."""
    from napari_melanoma.io.results import write_table
    from napari_melanoma.slides.depth_readings import collect_readings, readings_rows

    write_table(path, readings_rows(collect_readings([given.folder])))


def _write_report(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Write the report of depth and risk."""
    from napari_melanoma.reports.slide import write_slide_report

    write_slide_report(path, given.folder, given.slide)


def _write_risk(path: Path, given: ExportedSlide, run: RunContext) -> None:
    """Copy the risk prediction."""
    from napari_melanoma.io.results import RISK_FILE

    if not (given.folder / RISK_FILE).is_file():
        reason = "no risk was estimated yet. Estimate it in the Slide dock first (command line: napari-melanoma risk)."
        raise InputError(f"{given.folder.name}: {reason}")
    _copy_file(given.folder / RISK_FILE, path)


@dataclass(frozen=True)
class ExportFormat:
    """An export format: its title, the default file name, and the function that writes it."""

    text: str
    name: str
    write: Callable[[Path, ExportedSlide, RunContext], None]


FORMATS: Mapping[str, ExportFormat] = {
    "geojson": ExportFormat("Outlines for QuPath (GeoJSON)", "lesions.geojson", _write_geojson),
    "csv": ExportFormat("Table of lesions (CSV)", "lesions.csv", _write_csv),
    "parquet": ExportFormat("Table of lesions (Parquet)", "lesions.parquet", _write_lesions_parquet),
    "tiles": ExportFormat("Table of tiles (Parquet)", "tiles.parquet", _write_tiles_parquet),
    "depth": ExportFormat("Depth readings (CSV)", "readings.csv", _write_depth),
    "risk": ExportFormat("Risk with its inputs (JSON)", "risk.json", _write_risk),
    "report": ExportFormat("Report of depth and risk (HTML)", "report.html", _write_report),
    "tif": ExportFormat("Heatmap (OME-TIFF)", "heatmap.ome.tif", _write_heatmap_tiff),
    "zarr": ExportFormat("Heatmap and lesions (OME-Zarr)", "heatmap.ome.zarr", _write_heatmap_zarr),
    "mask": ExportFormat("Mask of lesions (OME-TIFF)", "lesions.ome.tif", _write_mask),
    "dicom": ExportFormat("Segmentation (DICOM)", "lesions.dcm", _write_dicom),
}


def _copy_file(source: Path, path: Path) -> None:
    """Copy a file of the folder; links out of the folder are rejected."""
    if not is_inside(source, source.parent):
        raise UnsafePath(f"{source} is a link out of the folder: replace it by the file.")
    try:
        with atomic_file(path) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise save_error(path, error) from error


def _lesion_colors(lesions: tuple[SlideLesion, ...]) -> dict[int, tuple[int, int, int]]:
    """Return the color of each lesion."""
    return {lesion.index: LABEL_COLORS.get(lesion.label, OTHER) for lesion in lesions}


def _lesion_properties(given: ExportedSlide) -> list[dict[str, Any]]:
    """Return the properties of each lesion for labels of OME-Zarr."""
    lesions, validity = given.lesions_or_empty, read_slide_validity(given.content)
    invalid = {} if validity.valid else {"validity": validity.headline("")}
    names = ("label", "probability", "area_mm2", "perimeter_mm", "origin")
    rows = lesions_table(lesions)
    known = [{name: row[name] for name in names if row[name] is not None and row[name] == row[name]} for row in rows]
    return [{"label-value": lesion.index, **values, **invalid} for lesion, values in zip(lesions, known, strict=True)]


def _require_slide(given: ExportedSlide) -> Path:
    if given.slide is None or not given.slide.exists():
        raise InputError(
            f"the slide of {given.folder.name} is required, but its path is not in the results: name its file with "
            "--slide."
        )
    return given.slide


def _slide_size(given: ExportedSlide) -> tuple[tuple[int, int], PixelSize | None]:
    """Return height and width of the finest level, and the pixel size in the results."""
    from napari_melanoma.slides.reading.opening import open_slide

    spec = SlideResult.open(given.folder).spec
    if spec.size is not None:
        return spec.size, spec.placement.pixel_size
    with open_slide(_require_slide(given)) as slide:
        full = slide.info.levels[0]
        return (full.height, full.width), spec.placement.pixel_size


@dataclass(frozen=True)
class ExportedFile:
    """An exported file, or the error."""

    folder: Path
    format: str
    path: Path
    error: str = ""


def find_result_folders(paths: Sequence[Path]) -> list[Path]:
    """Find the result folders of slides in some folders, each once and in order."""
    found: dict[Path, None] = {}
    for folder in paths:
        below = sorted(path for path in folder.glob("*") if _is_slide_folder(path)) if folder.is_dir() else []
        own = [folder] if _is_slide_folder(folder) else below
        if not own:
            raise InputError(
                f"{folder} contains no results of slides: expected a folder written by 'napari-melanoma slide' or the "
                "Slide dock."
            )
        found |= dict.fromkeys(own)
    return list(found)


def _is_slide_folder(folder: Path) -> bool:
    """Whether a folder contains an analysis, a reading or a risk of a slide."""
    from napari_melanoma.depth.readings import DEPTH_FILE
    from napari_melanoma.io.results import RISK_FILE

    return (folder / STORE).is_dir() or any((folder / name).is_file() for name in (DEPTH_FILE, RISK_FILE))


def export_results(
    folders: Sequence[Path],
    out: Path,
    formats: Sequence[str],
    *,
    slide: Path | None = None,
    on_written: Callable[[ExportedFile], None] = lambda written: None,
    run: RunContext,
) -> list[ExportedFile]:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ConfigError(f"unknown format '{unknown[0]}'. Expected one of: {', '.join(FORMATS)}.")
    if slide is not None and len(folders) > 1:
        raise ConfigError(f"--slide names one slide, but there are {len(folders)} results. Export them one by one.")
    exported: list[ExportedFile] = []
    work = [(folder, name) for folder in folders for name in formats]
    for done, (folder, name) in enumerate(work):
        run.check()
        run.report(Progress(done, len(work), f"{folder.name}: {FORMATS[name].text}"))
        exported.append(_write_format(folder, name, out, slide, run))
        on_written(exported[-1])
    run.report(Progress(len(work), len(work), "Export complete"))
    return exported


def _write_format(folder: Path, name: str, out: Path, slide: Path | None, run: RunContext) -> ExportedFile:
    path = out / folder.name / FORMATS[name].name
    try:
        FORMATS[name].write(path, read_exported_slide(folder, slide), run)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - any error concerns this file only; the others continue
        return ExportedFile(folder, name, path, describe_error(error))
    return ExportedFile(folder, name, path)
