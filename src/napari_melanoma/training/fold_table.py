"""The table of the folds of a cross-validation, ``folds.csv``, and how a run of one fold splits its images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.csv_files import CsvError, read_csv_dicts
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.parsing import parse_error_reason
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Key, Sample
from napari_melanoma.data.splits import TrainingSplit, split_fold, split_samples
from napari_melanoma.io.results import write_table

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

FOLDS = "folds.csv"
COLUMNS = ("data_set", "image_id", "group", "fold")


def write_folds(path: Path, plan: Iterable[tuple[Sample, str, int]]) -> None:
    """Write the table; ``plan``: image, group and fold, counted from 1."""
    rows = [dict(zip(COLUMNS, (*sample.key, group, fold), strict=True)) for sample, group, fold in plan]
    write_table(path, rows, COLUMNS)


def read_folds(path: Path) -> dict[Key, int]:
    """Read the fold of each image of a cross-validation, by data set and image id."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {(row["data_set"], row["image_id"]): int(row["fold"]) for row in read_csv_dicts(file)}
    except (OSError, CsvError, KeyError, ValueError) as error:
        raise RunError(
            f"cannot read {path}, the folds of the cross-validation ({parse_error_reason(error)}). Restore the file, "
            "or start again with --folds."
        ) from error


def list_folds(folder: Path) -> list[RunFolder]:
    """Return the runs of a cross-validation in order; empty if the folder has none."""
    if not (folder / FOLDS).is_file():
        return []
    return [RunFolder(folder / f"fold-{number}") for number in sorted({*read_folds(folder / FOLDS).values()})]


def choose_split(
    recipe: TrainRecipe, folders: Sequence[str]
) -> Callable[[Sequence[Sample], Callable[[Sample], str]], TrainingSplit]:
    """Return the function that splits samples by a stratum: by the folds of a cross-validation, or by splits.

    Folds are those of the data sets alone: other data, such as replay data, are split as usual.
    """
    fold = recipe.data.fold
    if fold is None or tuple(folders) != recipe.data.datasets:
        return lambda samples, stratum: split_samples(samples, recipe.data, recipe.seed, stratum)
    folds = read_folds(Path(fold.table))
    return lambda samples, stratum: split_fold(samples, folds, fold.number, recipe.data, recipe.seed, stratum)
