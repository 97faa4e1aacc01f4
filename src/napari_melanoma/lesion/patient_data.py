"""Clinical metadata of photographs, from a table and from values that apply to all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import compose_name
from napari_melanoma.io.formats import Modality
from napari_melanoma.io.tables import iterate_rows

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.data.harmonize import HarmonizeReport

KEY_COLUMN = "image_id"
PatientData = dict[str, str]


class PatientTable:
    """The clinical metadata of each photograph, with harmonized columns and values.

    ``common``: values that a user states for all photographs, by column; a value in the table takes precedence.
    ``unrecognized``: pairs of a column of the table that is not used, and the problem.

    Raises ``InputError`` for a stated value that its column does not have; in a table it counts as unknown.
    """

    def __init__(self, common: Mapping[str, str], table: Path | None = None) -> None:
        self._common = _check_stated(common) if common else {}
        self._rows: dict[str, PatientData] = {}
        self.unrecognized: list[tuple[str, str]] = []
        if table is not None:
            rows, report = _harmonize(list(iterate_rows(table)))
            self._rows = _index_by_image(rows, table)
            self.unrecognized = list(report.describe_unrecognized("not used", "if they mean the same, rename it"))

    def __len__(self) -> int:
        """Number of photographs in the table."""
        return len(self._rows)

    def missing_images(self, images: Iterable[str]) -> list[str]:
        """Return the photographs without a row in the table, in the same order; empty if there is no table."""
        return [image for image in images if _image_key(image) not in self._rows] if self._rows else []

    def shared_rows(self, images: Iterable[str]) -> list[str]:
        """Return the names that several photographs share, of those with a row in the table."""
        counts = Counter(map(_image_key, images))
        return [image for image, count in counts.items() if count > 1 and image in self._rows]

    def patient_data(self, image: str) -> PatientData:
        """Return the known clinical metadata of a photograph by column."""
        row = self._rows.get(_image_key(image), {})
        return self._common | {name: value for name, value in row.items() if name != KEY_COLUMN and value}

    def pixel_size(self, image: str) -> PixelSize | None:
        """Return the scale that the table states for a photograph (``mpp_y``, ``mpp_x``); None if it states none."""
        from napari_melanoma.data.dataset import read_pixel_size

        return read_pixel_size(self.patient_data(image))

    def modality(self, image: str) -> Modality | None:
        """Return the type that the metadata state for a photograph; None if they state none."""
        modality = self.patient_data(image).get("modality")
        return cast("Modality", modality) if modality in get_args(Modality) else None


def _image_key(name: str) -> str:
    """Return the name of an image as in a harmonized table: without the suffix that ``IMG_1.JPG.png`` also has."""
    from napari_melanoma.data.cell_values import strip_image_suffix

    return compose_name(strip_image_suffix(name))


def _check_stated(values: Mapping[str, str]) -> PatientData:
    """Harmonize the values that a user states; raise for an unknown column or an invalid value."""
    from napari_melanoma.data.table_schema import check_value, find_column

    data = _harmonize([dict(values)])[0][0]
    for name, text in data.items():
        if (column := find_column(name)) and (problem := check_value(column, text)):
            raise InputError(problem)
    if unknown := [name for name in data if find_column(name) is None]:
        raise InputError(f"'{unknown[0]}' is not a column of patient data. Use names such as age, sex or site.")
    return data


def _index_by_image(rows: list[PatientData], table: Path) -> dict[str, PatientData]:
    """Return the rows by image; rows of the same image complete each other and must not contradict."""
    from napari_melanoma.data.table_schema import COLUMN_NAMES

    by_image: dict[str, PatientData] = {}
    for row in rows:
        if image := _image_key(row.get(KEY_COLUMN, "")):
            known = by_image.setdefault(image, {})
            for name, value in row.items():
                if value and known.setdefault(name, value) != value and name in COLUMN_NAMES and name != KEY_COLUMN:
                    raise InputError(
                        f"{table} has different values of {name} for the image '{image}': {known[name]} and {value}. "
                        "Keep one row of each image."
                    )
    if not by_image:
        if not rows:
            raise InputError(f"{table} has no rows: expected one for each image, with its '{KEY_COLUMN}'.")
        raise InputError(
            f"{table} lists no photographs: expected a column '{KEY_COLUMN}' with the file name of each, without "
            "suffix."
        )
    return by_image


def _harmonize(rows: list[dict[str, str]]) -> tuple[list[PatientData], HarmonizeReport]:
    """Return harmonized rows with the values that were not recognized, and the report of the harmonization."""
    from napari_melanoma.data.harmonize import harmonize_rows, restore_unrecognized

    harmonization = harmonize_rows(rows)
    return [restore_unrecognized(row) for row in harmonization.rows], harmonization.report
