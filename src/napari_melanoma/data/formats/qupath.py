"""Measurement tables of QuPath: a row for each image, annotation or detection, in the columns of the table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import replace

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.paths import free_name
from napari_melanoma.data.cell_values import strip_image_suffix
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import TABLES, SourceRecord, describe_own_files, read_image_rows
from napari_melanoma.io.tables import decode_table, parse_table_text

SOURCE = describe_own_files(
    name="qupath",
    title="measurement tables of QuPath",
    url="https://qupath.readthedocs.io/en/stable/docs/tutorials/exporting_measurements.html",
    layout="""\
tables of 'Measure > Export measurements' (.tsv, .csv or .txt) with the columns Image and Object type, ROI or
Classification
metadata.csv with the patients: image_id (the name of the slide without suffix), patient_id ..., if known""",
)
IMAGE, CLASS_COLUMNS = "Image", ("Classification", "Class")
KNOWN = ("Object type", "ROI", "Object ID", *CLASS_COLUMNS)
# QuPath writes numbers in the language of the computer, without separators of thousands
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d+)?|[.,]\d+)(e[-+]?\d+)?|nan|-?(infinity|∞)", re.IGNORECASE)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Return a row for each object, with the name of its slide, and what is known about the slide."""
    records: list[SourceRecord] = []
    slides: dict[str, Mapping[str, str]] | None = None
    for file in tree.files:
        if file.suffix not in (".tsv", ".csv", ".txt") or not _is_measured(tree, file):
            continue
        rows = list(parse_table_text(decode_table(tree.read_content(file)), file.name))
        _write_decimal_points(rows)
        slides = dict(read_image_rows(tree, TABLES)) if slides is None else slides
        records += _make_records(rows, slides, tree)
    used: set[str] = set()
    unique = []
    for record in records:
        image_id = free_name(record.image_id, used)
        used.add(image_id.lower())
        unique.append(replace(record, image_id=image_id))
    return unique


def _is_measured(tree: SourceTree, file: SourceFile) -> bool:
    try:
        row = next(parse_table_text(decode_table(tree.read_content(file)), file.name), {})
    except InputError:
        return False
    return bool(row.get(IMAGE)) and any(name in row for name in KNOWN)


def _write_decimal_points(rows: list[dict[str, str]]) -> None:
    """Replace the decimal commas of a table in place, if its columns of numbers have commas and no points."""
    columns = dict.fromkeys(column for row in rows for column in row)
    numbers = [
        column
        for column in columns
        if column not in (IMAGE, *KNOWN) and all(_NUMBER.fullmatch(row.get(column) or "0") for row in rows)
    ]
    if any("." in (row.get(column) or "") for row in rows for column in numbers):
        return
    for row in rows:
        row |= {column: row[column].replace(",", ".") for column in numbers if row.get(column)}


def _find_slide_name(image: str, slides: Container[str]) -> str:
    """Return the name of a slide as tables have it: without the suffix of a file, as in ``S12.345.svs``.

    QuPath appends the name of an image within a file, as in ``S12.vsi - 20x``; that of a known slide is kept.
    """
    file = image.partition(" - ")[0]
    within = strip_image_suffix(file)
    slide = strip_image_suffix(image)
    return within if within != file and slide not in slides else slide


def _make_records(
    rows: list[dict[str, str]], slides: Mapping[str, Mapping[str, str]], tree: SourceTree
) -> list[SourceRecord]:
    """Name each row after its slide, with a number if the slide has several."""
    counts, numbers = Counter(row[IMAGE] for row in rows), Counter[str]()
    records = []
    for row in rows:
        name = row.pop(IMAGE)
        numbers[name] += 1
        slide = _find_slide_name(name, slides)
        image_id = slide if counts[name] == 1 else f"{slide}_{numbers[name]}"
        # "Class" may be a diagnosis for the harmonized table; that of QuPath is a class of objects
        values = {"object_class" if column in CLASS_COLUMNS else column: text for column, text in row.items() if text}
        known = {column: text for column, text in slides.get(slide, {}).items() if text}
        records.append(SourceRecord(image_id, None, None, {**tree.mapping.apply(values), **known, "slide": name}))
    return records
