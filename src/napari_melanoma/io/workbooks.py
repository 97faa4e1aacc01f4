"""Rows of a workbook of a spreadsheet program (XLSX)."""

from __future__ import annotations

import datetime
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

from napari_melanoma.core.errors import DataSetError

SUFFIX = ".xlsx"


def is_workbook(path: Path) -> bool:
    """Whether a file is named as a workbook that can be read."""
    return path.suffix.lower() == SUFFIX


def iterate_workbook_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of the first sheet as texts, without empty rows; formulas as their last results.

    Whole numbers have no decimals, and dates are in the form YYYY-MM-DD.
    """
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions that openpyxl does not read
            book = load_workbook(path, read_only=True, data_only=True)
            try:
                for cells in book.worksheets[0].iter_rows(values_only=True):
                    texts = [_format_cell(cell) for cell in cells]
                    if any(texts):
                        yield texts
            finally:
                book.close()
    except FileNotFoundError as error:
        raise DataSetError(f"there is no file {path}: expected a table as CSV or XLSX.") from error
    except (OSError, KeyError, IndexError, ValueError, zipfile.BadZipFile, InvalidFileException) as error:
        raise DataSetError(
            f"cannot read the workbook {path}: {error}. Save its sheet as CSV, and select that file."
        ) from error


def _format_cell(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.datetime):
        return cell.date().isoformat()
    return str(cell).strip()
