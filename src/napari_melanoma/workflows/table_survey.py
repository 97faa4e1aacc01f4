"""What a table of somebody else holds, before it is taken: its columns with samples, and the words nobody knows."""

from __future__ import annotations

from collections.abc import Mapping as Mapped
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.data.harmonise import Harmoniser
from napari_melanoma.data.harmonise_report import HarmoniseReport
from napari_melanoma.data.mapping import Mapping, suggest_mapping
from napari_melanoma.data.table_text import each_row

LOOKED_AT = 500  # rows from which samples and guesses are taken
SAMPLES = 4
AT_ONCE = 2000  # rows between two reports


@dataclass(frozen=True)
class TablePreview:
    """The beginning of a table."""

    path: Path
    samples: Mapped[str, tuple[str, ...]]
    guess: Mapping


def preview_table(path: Path) -> TablePreview:
    """Look at the beginning of a table."""
    rows = list(islice(each_row(path), LOOKED_AT))
    if not rows:
        raise DataSetError(f"{path} has no rows: expected a header and at least one row below it.")
    header = list(rows[0])
    samples = {
        name: tuple(islice(dict.fromkeys(value for row in rows if (value := row[name])), SAMPLES)) for name in header
    }
    return TablePreview(path, samples, suggest_mapping(header, rows))


def survey_table(path: Path, mapping: Mapping, source: str = "", *, run: RunContext) -> HarmoniseReport:
    """Read a whole table as it would be taken, and say what was not understood."""
    at_work = Harmoniser(source)
    for number, row in enumerate(each_row(path), start=1):
        at_work.row(mapping.apply(row))
        if number % AT_ONCE == 0:
            run.check()
            run.report(Progress(number, None, "reading the table"))
    return at_work.report()
