"""What is known of the patients of photographs: from a table, and from what was said of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError

if TYPE_CHECKING:
    from napari_melanoma.data.harmonize import HarmonizeReport

KEY = "image_id"
PatientData = dict[str, str]


class PatientTable:
    """A form for each photograph, in the columns and words of the harmonised table."""

    def __init__(self, given: Mapping[str, str], table: Path | None = None) -> None:
        self._given = _harmonized([dict(given)])[0][0] if given else {}
        self._by_image: dict[str, PatientData] = {}
        self.unrecognized: list[tuple[str, str]] = []
        if table is not None:
            forms, report = _harmonized(_rows(table))
            self._by_image = _by_image(forms, table)
            self.unrecognized = list(report.describe_unrecognized("not used", "rename it if it is that"))

    def __len__(self) -> int:
        """How many photographs the table speaks of."""
        return len(self._by_image)

    def missing_images(self, images: Iterable[str]) -> list[str]:
        """Name the photographs that a table should speak of, and does not.

        In their order; none where no table was given.
        """
        return [image for image in images if image not in self._by_image] if self._by_image else []

    def patient_data(self, image: str) -> PatientData:
        """Give the form of a photograph.

        Column to value; what is not known is left out.
        """
        row = {name: value for name, value in self._by_image.get(image, {}).items() if name != KEY and value}
        return self._given | row


def _rows(table: Path) -> list[dict[str, str]]:
    """Rows of a table as they stand in it."""
    from napari_melanoma.io.results import read_table

    try:
        rows = read_table(table)
    except OSError as error:
        raise InputError(f"{table} cannot be read: {error.strerror}. Name a CSV file with patient data.") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{table} is no table of comma-separated UTF-8: {error}.") from error
    return rows


def _by_image(rows: list[PatientData], table: Path) -> dict[str, PatientData]:
    """The row of each photograph."""
    found = {row[KEY]: row for row in rows if row.get(KEY)}
    if not found:
        if not rows:
            raise InputError(f"{table} has no row: it needs one for each image, with its '{KEY}'.")
        header = next(iter(rows[0]), "")
        if ";" in header:
            raise InputError(f"the columns of {table} are separated by semicolons: save it as CSV with commas.")
        raise InputError(
            f"{table} names no photograph: it needs a column '{KEY}' with the file name of each, without suffix."
        )
    return found


def _harmonized(rows: list[dict[str, str]]) -> tuple[list[PatientData], HarmonizeReport]:
    """Rows in our columns and words; what could not be understood stays as it was said. And what was met."""
    from napari_melanoma.data.harmonize import harmonize_rows
    from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX

    forms, found = [], harmonize_rows(rows)
    for row in found.rows:
        kept = {
            name.removesuffix(AS_GIVEN_SUFFIX): str(value)
            for name, value in row.items()
            if name.endswith(AS_GIVEN_SUFFIX)
        }
        forms.append(
            kept | {name: str(value) for name, value in row.items() if value and not name.endswith(AS_GIVEN_SUFFIX)}
        )
    return forms, found.report
