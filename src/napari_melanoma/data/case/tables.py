"""What tables say of the images of a case: rows in our columns, found by the file's path or by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.data.case.facts import Facts
from napari_melanoma.data.harmonise import harmonise
from napari_melanoma.data.mapping import Mapping as ColumnMapping
from napari_melanoma.data.table_text import each_row
from napari_melanoma.io.finding import SUFFIXES

Row = dict[str, str]
PLACES = ("", "images")  # where the images of a table lie, relative to it, where it names no path


@dataclass(frozen=True)
class CaseTable:
    """A table in our columns and words: its rows by image name and by file, and what a person should know of it."""

    path: Path
    count: int
    by_name: Mapping[str, Row]
    by_path: Mapping[Path, Row]
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def images(self) -> list[Path]:
        """Files that the table names and that are there."""
        folders = [self.path.parent / place for place in PLACES]
        stems = {
            path.stem: path
            for folder in folders
            if folder.is_dir()
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in SUFFIXES
        }
        named = [path for path in self.by_path if path.is_file()]
        return [*named, *(stems[name] for name in self.by_name if name in stems and name not in self._with_path)]

    def facts(self, image: Path) -> Facts:
        """Say what the row of an image says.

        Parameters
        ----------
        image : pathlib.Path
            Its file; absolute.

        Returns
        -------
        Facts
            Empty where no row is about it.
        """
        row = self.by_path.get(image) or self.by_name.get(image.stem, {})
        return Facts.said("table", row, patient=row.get("patient_id", ""), lesion=row.get("lesion_id", ""))

    def rows_without(self, images: Iterable[Path]) -> int:
        """Count the rows that are about none of some images.

        Parameters
        ----------
        images : iterable of pathlib.Path
            Absolute.

        Returns
        -------
        int
            0 where each row has one.
        """
        there = set(images)
        stems = {path.stem for path in there}
        with_image = {id(row) for path, row in self.by_path.items() if path in there}
        with_image |= {id(row) for name, row in self.by_name.items() if name in stems}
        return self.count - len(with_image)

    @property
    def _with_path(self) -> set[str]:
        """Names of images whose row names a file that is there."""
        return {row.get("image_id", "") for path, row in self.by_path.items() if path.is_file()}


def read_case_table(path: Path, mapping: ColumnMapping | None = None) -> CaseTable:
    """Read a table and bring it to our columns and words.

    Parameters
    ----------
    path : pathlib.Path
        CSV in any of the forms that ``table_text`` reads.
    mapping : Mapping, optional
        What its columns and words mean, where they are not known.

    Returns
    -------
    CaseTable
        Without rows, and with a note, where it is no table that names images.
    """
    rows, notes = _rows(path)
    given = [mapping.apply(row) for row in rows] if mapping else rows
    harmonised = harmonise(given)
    notes += [(path.name, f"{about}: {said}.") for about, said in harmonised.report.findings()]
    if rows and not any("image_id" in row or "path" in row for row in harmonised.rows):
        notes.append((path.name, "no column of it is known to name images: say with a mapping which one does."))
    by_name, by_path = dict[str, Row](), dict[Path, Row]()
    for row in harmonised.rows:  # of two rows that name one image the first counts
        if "image_id" in row:
            by_name.setdefault(row["image_id"], row)
        if "path" in row:
            by_path.setdefault(path.parent / row["path"], row)
    return CaseTable(path, len(rows), by_name, by_path, tuple(notes))


def _rows(path: Path) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows of a table as they are, and what is said where it cannot be read."""
    try:
        return list(each_row(path)), []
    except InputError as error:
        return [], [(path.name, f"was left out: {error}")]
