"""The patient data of a slide for models of slide and patient data: from a table, a case, and the measured depth."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import FileStamp, compose_name, file_stamp
from napari_melanoma.core.prediction_config import DEPTH_COLUMN, TabularEncoding
from napari_melanoma.data.harmonize import harmonize_rows, restore_unrecognized
from napari_melanoma.data.tabular_encoding import read_table_values
from napari_melanoma.io.discovery import SUFFIXES
from napari_melanoma.io.tables import iterate_rows
from napari_melanoma.slides.bag_models import SlidePatientData
from napari_melanoma.slides.depth_readings import UNKNOWN_DEPTH, read_known_depth
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.detection import SCANNER_SUFFIXES
from napari_melanoma.slides.result_folder import slide_name

TABLE_SOURCE = "table"  # of a depth that was not measured on the slide
_DICOM_SUFFIXES = (".dcm", ".dicom")
IMAGE_COLUMNS = ("image_id", "slide", "slide_id", "file", "filename", "file_name", "name")  # that name the slide


def read_patient_data(slide: Path, folder: Path, encoding: TabularEncoding, options: SlideOptions) -> SlidePatientData:
    """Read the patient data of a slide for a model with an encoding.

    ``folder``: results of the slide. Values of the table take precedence over those of the options.
    """
    if not encoding.fields:
        return SlidePatientData({}, ())
    common = harmonize_rows([options.patient]).rows[0] if options.patient else {}
    table = _read_patient_rows(options.metadata, file_stamp(options.metadata)) if options.metadata else {}
    own = restore_unrecognized(table.get(compose_name(slide_name(slide)), {}))
    row, source = with_measured_depth(common | own, folder)
    is_known = read_table_values([row], encoding).known[0]
    known = {name: row[name] for name, known in zip(encoding.fields, is_known, strict=True) if known}
    unknown = tuple(name for name in encoding.fields if name not in known)
    return SlidePatientData(known, unknown, source if DEPTH_COLUMN in known else "")


@lru_cache(maxsize=1)
def _read_patient_rows(table: Path, stamp: FileStamp | None) -> Mapping[str, dict[str, str]]:
    """Read the rows of ``read_patient_table``, once for all slides of a command."""
    del stamp
    return read_patient_table(table)[0]


def with_measured_depth(row: Mapping[str, str], folder: Path | None) -> tuple[dict[str, str], str]:
    """Return the patient data of a slide with the depth that was measured on it, if any, and the source of the depth.

    The source is ``reader``, ``automatic`` (the analysis, unless it is not valid) or ``table``; empty if the depth is
    unknown. The same for training and prediction. ``folder``: results of the slide.
    """
    depth = UNKNOWN_DEPTH if folder is None else read_known_depth(folder)
    if depth.mm is None or depth.not_valid:
        return dict(row), TABLE_SOURCE if row.get(DEPTH_COLUMN) else ""
    return {**row, DEPTH_COLUMN: f"{depth.mm:g}"}, depth.source


def read_patient_table(table: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Read the rows of a CSV or XLSX table by the composed name of the slide, and notes on unrecognized columns.

    The rows are harmonized. The slide is named by a column ``image_id``, ``slide`` or ``file``, with or without suffix.
    """
    given = list(iterate_rows(table))
    columns = {name.strip().lower().replace(" ", "_"): name for row in given[:1] for name in row}
    key = next((columns[name] for name in IMAGE_COLUMNS if name in columns), None)
    if key is None:
        raise DataSetError(
            f"{table} has no column that names the slides (found: {', '.join(columns.values()) or 'no rows'}). Add a "
            "column 'slide' with their file names."
        )
    rest = [{name: cell for name, cell in row.items() if name != key} for row in given]
    harmonized = harmonize_rows(rest)
    rows: dict[str, dict[str, str]] = {}
    for row, values in zip(given, harmonized.rows, strict=True):
        path = Path(row[key].replace("\\", "/"))
        name = compose_name(_slide_of_cell(path))
        if name in rows:
            raise DataSetError(f"{table} has several rows of the slide '{name}'. Keep one row for each slide.")
        if name:
            rows[name] = values
    findings = harmonized.report.describe_unrecognized("kept unchanged", "if they mean the same, rename it")
    return rows, [f"column '{column}': {note}" for column, note in findings]


def _slide_of_cell(path: Path) -> str:
    """Return the name of the slide that a cell of a table states, which may be the path of a file that is elsewhere."""
    suffix = path.suffix.lower()
    if suffix in _DICOM_SUFFIXES:  # a slide of several files has the name of its folder
        return path.parent.name or path.stem
    if suffix in (*SUFFIXES, *SCANNER_SUFFIXES):
        return path.stem
    return slide_name(path) if path.exists() else path.name  # in which a dot may separate numbers: S21.1234
