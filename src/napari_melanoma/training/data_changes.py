"""Changes of the data sets of a run between its start and its continuation.

A continued run uses the images, splits and labels with which it started; what differs from the present data sets is
stated. ``tables.json`` in the run folder has the SHA-256 of their tables at the start.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import hash_file, write_json
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import DatasetEntry, find_table, iter_entries
from napari_melanoma.training.data_selection import list_datasets, sample_files
from napari_melanoma.training.pixel_store import user_store_folder
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, read_data

TABLES = "tables.json"
AS_STARTED = "The run continues with the images, splits and labels that it started with."


def write_table_digests(folder: RunFolder, recipe: TrainRecipe) -> None:
    """Store the digests of the tables of a new run."""
    digests = {str(path): hash_file(find_table(path)) for path in list_datasets(recipe)}
    write_json(folder.path / TABLES, {"tables": digests})


def describe_data_changes(folder: RunFolder, recipe: TrainRecipe) -> list[str]:
    """Describe the data sets of a run that were moved or changed since it started, in sentences with what to do."""
    stored = read_object_or_empty(folder.path / TABLES).get("tables")
    digests = stored if isinstance(stored, dict) else {}
    rows: dict[str, list[DataRow]] = defaultdict(list)
    for row in read_data(folder.data):
        rows[row.sample.domain].append(row)
    started = folder.data.stat().st_mtime
    sentences = []
    for path in list_datasets(recipe):
        try:
            table = find_table(path)
        except DataSetError:
            sentences.append(
                f"The data set {path} is not there any more: it was moved, renamed or deleted. {AS_STARTED} Images "
                "that have to be read again, such as those of the test set, will be missing. Move it back before the "
                "end of the run, or start a new run with its new folder."
            )
            continue
        changes = list(_list_file_changes(rows[path.name], started))
        if is_edited := digests.get(str(path), "") not in ("", hash_file(table)):
            changes.insert(0, "its table was edited")
        try:
            changes += _list_row_changes(rows[path.name], path) if is_edited or not digests else ()
        except DataSetError as error:  # of no other use to the run, which continues
            changes.append(f"its table is unusable ({error})")
        if changes:
            sentences.append(
                f"The data set {path} has changed since the run started: {'; '.join(changes)}. {AS_STARTED} Start a "
                "new run to use the changes."
            )
    return sentences


def _list_file_changes(rows: Sequence[DataRow], started: float) -> Iterator[str]:
    """Describe files that are missing or have other content; only those written after the start are read.

    Results of slides are folders, whose embeddings a continued run compares by itself.
    """
    missing, changed, predicted = list[str](), list[str](), user_store_folder()
    for row in rows:
        for path, sha in zip(sample_files(row.sample), (row.image_sha, row.mask_sha), strict=False):
            if path.is_relative_to(predicted):  # a mask of a model, which is no part of the data set
                continue
            try:
                status = path.stat()
                is_new = max(status.st_mtime, status.st_ctime) > started
                if is_new and path.is_file() and hash_file(path) != sha:
                    changed.append(path.name)
            except OSError:
                missing.append(path.name)
    for files, state in ((changed, "changed"), (missing, "missing")):
        if files:
            yield f"{format_count(len(files), 'file')} {state} ({format_names(files)})"


def _list_row_changes(rows: Sequence[DataRow], path: Path) -> Iterator[str]:
    """Describe images of a run whose rows are missing, or have another split or diagnosis."""
    now = {entry.image_id: entry.row for entry in iter_entries(path) if isinstance(entry, DatasetEntry)}
    removed, changed = list[str](), list[str]()
    for sample in (row.sample for row in rows):
        row = now.get(sample.image_id)
        if row is None:
            removed.append(sample.image_id)
        elif ((row.get("split") or "").strip(), row.get("diagnosis") or row.get("diagnostic") or "") != (
            sample.split,
            sample.diagnosis or "",
        ):
            changed.append(sample.image_id)
    if removed:
        yield f"{format_count(len(removed), 'image')} not in the table or without a file ({format_names(removed)})"
    if changed:
        yield f"{format_count(len(changed), 'image')} with another split or diagnosis ({format_names(changed)})"
