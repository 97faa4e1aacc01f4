"""Tables of a public set: their rows by image, and the records that combine rows and files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from napari_melanoma.data.harmonize import TEXT_SEPARATOR, describe_renamed
from napari_melanoma.data.packed_rows import PackedRow
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.sources import SourceRecord
from napari_melanoma.data.table_cells import escapes_folder, find_column_meanings, strip_image_suffix
from napari_melanoma.io.tables import decode_table, iterate_rows, parse_table_text

KnownRows = dict[str, PackedRow]
FILE_COLUMNS = ("path", "mask_path")
MAX_LISTED = 12  # columns that a note names


def read_table_rows(tree: SourceTree, names: str) -> Iterator[dict[str, str]]:
    """Read tables as published, in the order of their names.

    Yields column name to text without surrounding white space, "" where a cell is empty.
    """
    for file in tree.find_files("", rf"({names})(?:\.gz)?").values():
        if file.archive is None:
            rows = iterate_rows(Path(file.path))
        else:
            rows = parse_table_text(decode_table(tree.read_content(file)), file.name)
        yield from map(tree.mapping.apply, rows)


def read_image_rows(tree: SourceTree, names: str, source: str = "") -> KnownRows:
    """Read tables that name images.

    Returns image id (without suffix) to its row in the tables' own columns and words; empty where there is no table, or
    none with a column for images. Of rows about one image the first counts; differing values of others are kept in
    ``other_<column>``.
    """
    known: KnownRows = {}
    contradictions: Counter[str] = Counter()
    columns: dict[str, None] = {}
    renamed: dict[str, str] = {}
    nameless = 0
    image_column = cache(_find_image_column)
    for row in read_table_rows(tree, names):
        columns.update(dict.fromkeys(row))
        column = image_column(tuple(row), source)
        image = strip_image_suffix(given := row.get(column, ""))
        if escapes_folder(given) and image != given:
            renamed[given] = image
        values = {name: text for name, text in row.items() if text and name != column and name not in FILE_COLUMNS}
        if image in known:
            first = known[image].to_dict()
            contradictions.update(fill_gaps(first, values))
            known[image] = PackedRow(first)
        elif image:
            known[image] = PackedRow(values)
        else:
            nameless += bool(values)
    for column, n in contradictions.items():
        tree.notes.append((column, f"{describe_contradictions(n)}, the other is in other_{column}"))
    if renamed:
        tree.notes.append(("image_id", describe_renamed(renamed)))
    if nameless and not known:
        tables = sorted({file.name for file in tree.find_files("", rf"({names})(?:\.gz)?").values()})
        tree.unread += tables
        shown = ", ".join(list(columns)[:MAX_LISTED])
        note = f"no column names the images (found {shown}): add a column image_id, or map one with --map FILE"
        tree.notes.append((", ".join(tables), note))
    if known and nameless:
        tree.notes.append(("image_id", f"{nameless} row{'s name' if nameless > 1 else ' names'} no image: left out"))
    return known


def describe_contradictions(rows: int) -> str:
    """Describe rows of a table that contradict an earlier row of the same image."""
    contradict = "1 row contradicts another" if rows == 1 else f"{rows} rows contradict another"
    return f"{contradict} of the same image: the first counts"


def fill_gaps(row: dict[str, str], other: Mapping[str, str]) -> list[str]:
    """Fill the gaps of a row from another row of its image; differing values are kept in ``other_<column>``.

    Returns the columns in which the two differ.
    """
    differ = [column for column, text in other.items() if row.setdefault(column, text) != text]
    for column in differ:
        kept = [
            text for text in row.get(f"other_{column}", "").split(TEXT_SEPARATOR) if text not in ("", other[column])
        ]
        row[f"other_{column}"] = TEXT_SEPARATOR.join([*kept, other[column]])
    return differ


def join_records(
    images: Mapping[str, SourceFile],
    masks: Mapping[str, SourceFile],
    known: Mapping[str, PackedRow],
    common: Callable[[str], Mapping[str, str]] | Mapping[str, str],
) -> list[SourceRecord]:
    """Combine files and table rows into records: one for each image and each row without one, ordered by id."""
    values = common if callable(common) else lambda image_id: common
    empty = PackedRow({})
    return [
        SourceRecord(
            image_id,
            images.get(image_id),
            masks.get(image_id),
            known.get(image_id, empty).with_defaults(values(image_id)),
        )
        for image_id in sorted({*images, *known})
    ]


def parse_one_hot(row: Mapping[str, str], classes: Mapping[str, str]) -> str:
    """Read a class that a table gives in one column per class, such as ``MEL,NV,BCC`` with 1.0 in one of them.

    Returns the class of the only column above one half; "" where there is none, or more than one.
    """
    found = [word for column, word in classes.items() if _parse_float(row.get(column, "")) > 0.5]
    return found[0] if len(found) == 1 else ""


def _parse_float(text: str) -> float:
    """Parse a number; 0 where it is none."""
    return float(text) if re.fullmatch(r"\d*\.?\d+(?:[eE][+-]?\d+)?|\d+\.", text) else 0.0


def _find_image_column(names: tuple[str, ...], source: str) -> str:
    """Find the column that names images; "" where there is none."""
    ranked = [
        (meaning.rank, name)
        for name in names
        for meaning in find_column_meanings(name, source)
        if meaning.column_name == "image_id"
    ]
    return min(ranked)[1] if ranked else ""
