"""What tables say of the images of a case: rows in our columns, found by the file's path or by its name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.paths import NamedPaths, Outside
from napari_melanoma.data.case.facts import Facts
from napari_melanoma.data.harmonise import Harmoniser
from napari_melanoma.data.mapping import Mapping as ColumnMapping
from napari_melanoma.data.table_text import each_row
from napari_melanoma.io.finding import SUFFIXES

Row = dict[str, str]
NAMED = 3  # names that a message lists
PLACES = ("", "images")  # where the images of a table lie, relative to it, where it names no path


@dataclass(frozen=True)
class CaseTable:
    """A table in our columns and words: rows about images that are there, and what a person should know of it."""

    path: Path
    count: int
    by_name: Mapping[str, Row]
    by_path: Mapping[Path, Row]
    beside: Mapping[str, Path]
    shared: frozenset[str] = frozenset()
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def images(self) -> list[Path]:
        """Files that the table names, by path or by name, in its order."""
        named = {row.get("image_id", "") for row in self.by_path.values()}
        return [*self.by_path, *(self.beside[n] for n in self.by_name if n in self.beside and n not in named)]

    def facts(self, image: Path) -> Facts:
        """Say what the row of an image says.

        Empty where no row is about it.
        """
        row = self.by_path.get(image) or ({} if image.stem in self.shared else self.by_name.get(image.stem, {}))
        return Facts.said("table", row, patient=row.get("patient_id", ""), lesion=row.get("lesion_id", ""))

    def rows_without(self, images: Iterable[Path]) -> int:
        """Count the rows that are about none of some images.

        0 where each row has one.
        """
        there = set(images)
        stems = {path.stem for path in there} - self.shared
        with_image = {id(row) for path, row in self.by_path.items() if path in there}
        with_image |= {id(row) for name, row in self.by_name.items() if name in stems}
        return self.count - len(with_image)


def read_case_table(path: Path, images: Iterable[Path] = (), mapping: ColumnMapping | None = None) -> CaseTable:
    """Read a table and bring it to our columns and words; rows about images that are not there are only counted.

    Without rows, and with a note, where it is no table that names images.
    """
    beside, harmoniser, there = _beside(path), Harmoniser(), set(images)
    names = {image.stem for image in there.union(beside)}
    by_name, by_path, named, notes = dict[str, Row](), dict[Path, Row](), 0, list[tuple[str, str]]()
    paths, outside = NamedPaths(path.parent, allow_outside=False), Outside(path.parent)
    try:
        for given in each_row(path):
            row = harmoniser.row(mapping.apply(given) if mapping else given)
            name = row.get("image_id") or PureWindowsPath(row.get("path", "")).stem
            named += bool(name)
            if name in names:  # of two rows that name one image the first counts
                by_name.setdefault(name, row)
            if "path" in row:
                file = _meant(row["path"], path.parent)
                if file not in there and not paths.holds(file):
                    outside.add(row["path"])
                elif file.is_file():
                    by_path.setdefault(file, row)
    except InputError as error:
        notes.append((path.name, f"was left out: {error}"))
    if outside.count:
        notes.append((path.name, f"{outside}. These images were not taken: name them or their folder, too."))
    report = harmoniser.report()
    unknown = report.unrecognized_columns("left out", "if it is that, map it in the dialog for the table's columns")
    notes += [(path.name, f"{about}: {said}.") for about, said in (*unknown, *report.findings())]
    if report.rows and not named:
        notes.append((path.name, "no column of it is known to name images: say with a mapping which one does."))
    shared = _shared(there.union(beside, by_path))
    clear = {id(row) for row in by_path.values()}
    unclear = [name for name, row in by_name.items() if name in shared and id(row) not in clear]
    if unclear:
        notes.append((path.name, _said_unclear(unclear)))
    by_stem = {file.stem: file for file in beside}
    return CaseTable(path, report.rows, by_name, by_path, by_stem, shared, tuple(notes))


def names_no_image(path: Path) -> bool:
    """Say whether a table has rows, but no column that is known to name images.

    False where it is no table at all.
    """
    try:
        with closing(each_row(path)) as rows:
            first = next(rows, None)
    except InputError:
        return False
    row = None if first is None else Harmoniser().row(first)
    return row is not None and not {"image_id", "path"} & row.keys()


def _meant(text: str, folder: Path) -> Path:
    """The file that a table means by a path, which Windows may have written."""
    return Path(os.path.normpath(folder / PureWindowsPath(text).as_posix()))


def _shared(files: Iterable[Path]) -> frozenset[str]:
    """Names that files of several folders have."""
    folders = defaultdict[str, set[Path]](set)
    for file in files:
        folders[file.stem].add(file.parent)
    return frozenset(name for name, found in folders.items() if len(found) > 1)


def _said_unclear(names: list[str]) -> str:
    """Say which names could be of several images."""
    listed = ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
    return f"images of several folders are called {listed}: these rows were not used. Give their paths, too."


def _beside(path: Path) -> list[Path]:
    """Images that lie where those of a table lie: in its folder, or in ``images`` there."""
    folders = [folder for place in PLACES if (folder := path.parent / place).is_dir()]
    files = (file for folder in folders for file in sorted(folder.iterdir()))
    return [file for file in files if file.suffix.lower() in SUFFIXES]
