"""Making a data set: gathered in a hidden folder beside its place, and moved there once it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from napari_melanoma.core.csv_cells import CsvWriter
from napari_melanoma.core.errors import DataSetError, RunError
from napari_melanoma.core.files import atomic_file, save_error
from napari_melanoma.core.ownership import holder_in_words, locked
from napari_melanoma.data.packed_rows import as_dict
from napari_melanoma.data.table_schema import NAMES

SHARED = (
    *("image_id", "patient_id", "lesion_id", "near_duplicate_of", "source", "modality", "diagnosis", "diagnosis_by"),
    *("target", "melanoma", "age", "sex", "site", "sub_site", "fitzpatrick", "diameter_1_mm", "split"),
)


@contextmanager
def gathered(out: Path, *, discard_on: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """Give a folder to gather a data set in; on leaving it gets its name, unless something failed: then it stays.

    With ``images`` and ``masks``, and whatever an earlier try left there.
    """
    if out.exists():
        raise DataSetError(f"{out} is there already. Name another folder for the data set, or remove this one.")
    place = out.with_name(f".{out.name}.gathering")
    lock = place.with_name(f"{place.name}.lock")
    is_new = not place.exists()
    try:
        for part in ("images", "masks"):
            (place / part).mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(locked(lock))
            except RunError as error:
                raise DataSetError(
                    f"another command is gathering {out} ({holder_in_words(lock)}). Wait for it, or name "
                    "another data set."
                ) from error
            try:
                yield place
            except discard_on:
                if is_new:  # under the lock: afterwards another command may gather there
                    shutil.rmtree(place, ignore_errors=True)  # the error that is under way says more
                    with suppress(OSError):  # Windows removes it on release
                        lock.unlink(missing_ok=True)
                raise
        lock.unlink(missing_ok=True)
        place.rename(out)
    except OSError as error:
        raise save_error(out, error) from error


def write_dataset_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write ``dataset.csv``: the columns that every data set shares and others of the schema, then those of its own."""
    there = dict.fromkeys(column for row in rows for column in row)
    columns = [name for name in NAMES if name in SHARED or name in there] + [
        name for name in there if name not in NAMES
    ]
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        CsvWriter(file).dicts(columns, map(as_dict, rows))
