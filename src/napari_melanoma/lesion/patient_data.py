"""Clinical metadata for photographs: from a table, and common values for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import compose_name
from napari_melanoma.io.results import read_table

if TYPE_CHECKING:
    from napari_melanoma.data.harmonize import HarmonizeReport

KEY = "image_id"
PatientData = dict[str, str]


class PatientTable:
    """Clinical metadata for each photograph, in the columns and values of the harmonized table."""

    def __init__(self, given: Mapping[str, str], table: Path | None = None) -> None:
        self._given = _harmonized([dict(given)])[0][0] if given else {}
        self._by_image: dict[str, PatientData] = {}
        self.unrecognized: list[tuple[str, str]] = []
        if table is not None:
            rows, report = _harmonized(read_table(table))
            self._by_image = _by_image(rows, table)
            self.unrecognized = list(report.describe_unrecognized("not used", "if they mean the same, rename it"))

    def __len__(self) -> int:
        """Number of photographs in the table."""
        return len(self._by_image)

    def missing_images(self, images: Iterable[str]) -> list[str]:
        """Return the photographs without a row in the table, in order; none without a table."""
        return [image for image in images if compose_name(image) not in self._by_image] if self._by_image else []

    def patient_data(self, image: str) -> PatientData:
        """Return the known clinical metadata of a photograph by column."""
        row = self._by_image.get(compose_name(image), {})
        return self._given | {name: value for name, value in row.items() if name != KEY and value}


def _by_image(rows: list[PatientData], table: Path) -> dict[str, PatientData]:
    found = {compose_name(row[KEY]): row for row in rows if row.get(KEY)}
    if not found:
        if not rows:
            raise InputError(f"{table} has no rows: expected one for each image, with its '{KEY}'.")
        header = next(iter(rows[0]), "")
        if ";" in header:
            raise InputError(f"the columns of {table} are separated by semicolons. Save it as CSV with commas.")
        raise InputError(
            f"{table} lists no photographs: expected a column '{KEY}' with the file name of each, without suffix."
        )
    return found


def _harmonized(rows: list[dict[str, str]]) -> tuple[list[PatientData], HarmonizeReport]:
    """Harmonized rows, with values that were not understood as given, and the report of the harmonization."""
    from napari_melanoma.data.harmonize import harmonize_rows
    from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX

    harmonized, found = [], harmonize_rows(rows)
    for row in found.rows:
        kept = {
            name.removesuffix(AS_GIVEN_SUFFIX): str(value)
            for name, value in row.items()
            if name.endswith(AS_GIVEN_SUFFIX)
        }
        harmonized.append(
            kept | {name: str(value) for name, value in row.items() if value and not name.endswith(AS_GIVEN_SUFFIX)}
        )
    return harmonized, found.report
