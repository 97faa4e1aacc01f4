"""``data.csv``: the images of a run and the part that each plays, with the content they had when it began."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from napari_melanoma.core.csv_cells import CsvError, CsvWriter, csv_dicts
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.files import write_text
from napari_melanoma.data.dataset import Sample

Part = Literal["learn", "tuning", "held_out", "base", "unlabelled"]
PARTS: tuple[Part, ...] = get_args(Part)
COLUMNS = (
    *("part", "image_id", "domain", "group", "split", "diagnosis", "modality", "review"),
    *("image", "mask", "image_sha", "mask_sha", "drawn"),
)


@dataclass(frozen=True)
class DataRow:
    """One image of a run: the part that it plays, its row of the data set, and SHA-256 of the files it had.

    ``base`` is learnt from so that the model does not forget; ``unlabelled`` is seen without its answers.
    """

    part: Part
    sample: Sample
    image_sha: str
    mask_sha: str


def write_data(path: Path, rows: Iterable[DataRow]) -> None:
    """Write the table, atomically."""
    text = io.StringIO(newline="")
    writer = CsvWriter(text)
    writer.row(COLUMNS)
    for row in rows:
        sample = row.sample
        writer.row(
            [
                *(row.part, sample.image_id, sample.domain, sample.group, sample.split, sample.diagnosis or ""),
                *(
                    sample.modality or "",
                    sample.review or "",
                    sample.image.absolute(),
                    sample.mask.absolute() if sample.mask else "",
                ),
                *(row.image_sha, row.mask_sha, int(sample.drawn)),
            ]
        )
    write_text(path, text.getvalue())


def read_data(path: Path) -> list[DataRow]:
    """Read the table of a run.

    In its order.
    """
    try:
        with path.open(newline="", encoding="utf-8") as table:
            return [_row(cells) for cells in csv_dicts(table)]
    except (OSError, KeyError, ValueError, CsvError) as error:
        raise RunError(
            f"{path}, the list of the run's images, cannot be read ({error!r}). Start a new run in another folder."
        ) from error


def fingerprint(rows: Iterable[DataRow]) -> str:
    """Give a value that changes with the content of any image or mask, its name, and the part that it plays.

    SHA-256 in hexadecimal digits; no path goes into it.
    """
    lines = sorted(f"{row.part} {row.sample.image_id} {row.image_sha} {row.mask_sha}\n" for row in rows)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _row(cells: dict[str, str]) -> DataRow:
    """Turn a line of the table into a row."""
    part = cells["part"]
    if part not in PARTS:
        raise ValueError(f"unknown part '{part}'")
    sample = Sample(
        image_id=cells["image_id"],
        image=Path(cells["image"]),
        mask=Path(cells["mask"]) if cells["mask"] else None,
        group=cells["group"],
        split=cells["split"],
        domain=cells["domain"],
        modality=cells["modality"] or None,
        diagnosis=cells["diagnosis"] or None,
        review=cells["review"] or None,
        drawn=cells.get("drawn") == "1",  # runs of before do not say
    )
    return DataRow(part, sample, cells["image_sha"], cells["mask_sha"])
