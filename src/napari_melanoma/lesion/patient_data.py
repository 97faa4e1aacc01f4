"""What is known of the patients of photographs: from a table, and from what was said of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError

if TYPE_CHECKING:
    from napari_melanoma.data.harmonize import HarmoniseReport

KEY = "image_id"
Form = dict[str, str]


class Forms:
    """A form for each photograph, in the columns and words of the harmonised table."""

    def __init__(self, given: Mapping[str, str], table: Path | None = None) -> None:
        self._given = _understood([dict(given)])[0][0] if given else {}
        self._of: dict[str, Form] = {}
        self.unrecognized: list[tuple[str, str]] = []
        if table is not None:
            forms, report = _understood(_rows(table))
            self._of = _by_image(forms, table)
            self.unrecognized = list(report.unrecognized_columns("not used", "rename it if it is that"))

    def __len__(self) -> int:
        """How many photographs the table speaks of."""
        return len(self._of)

    def lacking(self, images: Iterable[str]) -> list[str]:
        """Name the photographs that a table should speak of, and does not.

        In their order; none where no table was given.
        """
        return [image for image in images if image not in self._of] if self._of else []

    def of(self, image: str) -> Form:
        """Give the form of a photograph.

        Column to value; what is not known is left out.
        """
        row = {name: value for name, value in self._of.get(image, {}).items() if name != KEY and value}
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


def _by_image(rows: list[Form], table: Path) -> dict[str, Form]:
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


def _understood(rows: list[dict[str, str]]) -> tuple[list[Form], HarmoniseReport]:
    """Rows in our columns and words; what could not be understood stays as it was said. And what was met."""
    from napari_melanoma.data.harmonize import harmonise
    from napari_melanoma.data.table_schema import AS_GIVEN

    forms, found = [], harmonise(rows)
    for row in found.rows:
        kept = {name.removesuffix(AS_GIVEN): str(value) for name, value in row.items() if name.endswith(AS_GIVEN)}
        forms.append(kept | {name: str(value) for name, value in row.items() if value and not name.endswith(AS_GIVEN)})
    return forms, found.report
