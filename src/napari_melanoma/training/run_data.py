"""The tables of a run's images and folds, and its list of the images that a model is trained on."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.csv_files import CsvError, CsvWriter, read_csv_dicts
from napari_melanoma.core.errors import BundleError, RunError
from napari_melanoma.core.files import write_text
from napari_melanoma.core.parsing import parse_error_reason, parse_json
from napari_melanoma.core.renamed_keys import rename_keys
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Key, Sample, read_pixel_size
from napari_melanoma.data.splits import TrainingSplit, split_fold, split_samples
from napari_melanoma.data.training_images import (
    FILE_NAME,
    HashedImages,
    TrainingImages,
    find_trained_images,
    hash_images,
    make_training_images,
    read_training_images,
    shorten_digest,
)
from napari_melanoma.io.results import write_table
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.weights_files import START_WORDS, find_weights_file
from napari_melanoma.training.recipe import TrainRecipe

DataPart = Literal[
    "train",  # training set
    "validation",  # validation set
    "test",  # test set
    "replay",  # preserves the performance of the initial model
    "unlabelled",  # from the target domain of an adaptation, used without labels
]
PARTS: tuple[DataPart, ...] = get_args(DataPart)
COLUMNS = (
    *("part", "image_id", "domain", "group", "split", "diagnosis", "modality", "review"),
    *("image", "mask", "image_sha", "mask_sha", "drawn", "mask_model", "joined"),  # drawn: 1 for synthetic images
    *("mpp_y", "mpp_x"),  # of the table, for distances in mm on the test set
)


@dataclass(frozen=True)
class DataRow:
    """One image or slide of a run: its part, its row of the data set, and the SHA-256 of image and mask.

    Of a slide, ``image_sha`` is the fingerprint of its embeddings. ``mask_sha`` is "" without a mask.
    """

    part: DataPart
    sample: Sample
    image_sha: str
    mask_sha: str


def write_data(path: Path, rows: Iterable[DataRow]) -> None:
    """Write the table atomically."""
    text = io.StringIO(newline="")
    writer = CsvWriter(text)
    writer.write_row(COLUMNS)
    for row in rows:
        sample = row.sample
        writer.write_row(
            [
                *(row.part, sample.image_id, sample.domain, sample.group, sample.split, sample.diagnosis or ""),
                *(sample.modality or "", sample.review or "", sample.image.absolute()),
                *(sample.mask.absolute() if sample.mask else "", row.image_sha, row.mask_sha, int(sample.synthetic)),
                *(sample.mask_model or "", json.dumps(sample.joined) if sample.joined else ""),
                *((size.y_um, size.x_um) if (size := sample.pixel_size) else ("", "")),
            ]
        )
    write_text(path, text.getvalue())


def read_data(path: Path) -> list[DataRow]:
    """Read the table of a run, in order."""
    try:
        with path.open(newline="", encoding="utf-8") as table:
            return [_row(cells) for cells in read_csv_dicts(table)]
    except (OSError, KeyError, ValueError, CsvError) as error:
        raise RunError(
            f"{path}, the list of the run's images, is not readable ({error!r}). Start a new run in another folder."
        ) from error


def data_fingerprint(rows: Iterable[DataRow]) -> str:
    """Return a value that changes with the content, name or part of any image or mask.

    The SHA-256 in hexadecimal digits; it does not depend on paths.
    """
    lines = sorted(f"{row.part} {row.sample.image_id} {row.image_sha} {row.mask_sha}\n" for row in rows)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _row(cells: dict[str, str]) -> DataRow:
    cells = rename_keys("run_data", cells)
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
        synthetic=cells["drawn"] == "1",
        pixel_size=read_pixel_size(cells),
        mask_model=cells.get("mask_model"),  # None in the tables of earlier versions
        joined=tuple(parse_json(cells.get("joined") or "[]", "the column joined")),
    )
    return DataRow(part, sample, cells["image_sha"], cells["mask_sha"])


VALIDATION_OVERLAP = (
    "{count} of the {all} validation images are among the training and validation images of '{name}'. The epoch and "
    "the threshold are selected on them, and results on them are optimistic. Use other validation images for a fair "
    "estimate."
)


def write_training_images(
    folder: RunFolder,
    recipe: TrainRecipe,
    rows: Sequence[DataRow],
    pixels: Mapping[Path, str],
    *,
    run: RunContext,
    encoder: str = "",
) -> list[str]:
    """Write the list of a run's images without the test set, including the images of its initial models.

    ``pixels``: digest of the pixels of each image path, or of the embeddings of a slide. Returns a warning for each of
    these models that was trained or validated on validation images.
    """
    samples = [row.sample for row in rows if row.part != "test"]
    digests = {sample.image: shorten_digest(pixels[sample.image]) for sample in samples if pixels.get(sample.image)}
    hashed = hash_images(samples, run, known_digests=digests, perceptual=recipe.tile is None and recipe.bags is None)
    listed = make_training_images(hashed)
    start = recipe.model.start
    for name in filter(None, (encoder, "" if start in START_WORDS else start)):
        listed |= inherited_training_images(name)
    listed.write(folder.path / FILE_NAME)
    return _validation_overlap(recipe, rows, hashed)


def _validation_overlap(recipe: TrainRecipe, rows: Sequence[DataRow], hashed: HashedImages) -> list[str]:
    """Warn of validation images that the initial model was trained or validated on: these favor some epochs."""
    validation = {row.sample.image for row in rows if row.part == "validation"}
    is_validation = np.array([sample.image in validation for sample in hashed.samples], bool)
    models = [recipe.model.start] if recipe.model.starts_from_bundle else []
    warnings = []
    for name in models:
        listed = inherited_training_images(name)
        overlap = find_trained_images(hashed, listed, tiles=recipe.tile is not None) & is_validation
        if count := int(overlap.sum()):
            warnings.append(VALIDATION_OVERLAP.format(count=count, all=int(is_validation.sum()), name=Path(name).name))
    return warnings


def inherited_training_images(name: str) -> TrainingImages:
    """Return the training images of an initial model; if they are not listed, an entry that names the model."""
    file = find_weights_file(name)
    if file is not None:
        return TrainingImages(unlisted=(f"the images behind the weights file {file.name}",))
    try:
        bundle = find_bundle(name)
        listed = read_training_images(bundle)
    except BundleError:
        listed = None
    return listed or TrainingImages(unlisted=(f"the images behind the model '{Path(name).name}'",))


FOLDS = "folds.csv"
FOLD_COLUMNS = ("data_set", "image_id", "group", "fold")


def write_folds(path: Path, plan: Iterable[tuple[Sample, str, int]]) -> None:
    """Write the table; ``plan``: image, group and fold, counted from 1."""
    rows = [dict(zip(FOLD_COLUMNS, (*sample.key, group, fold), strict=True)) for sample, group, fold in plan]
    write_table(path, rows, FOLD_COLUMNS)


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

    Data sets that the table of the folds does not have, such as replay data, are split as usual.
    """
    fold = recipe.data.fold
    folds = read_folds(Path(fold.table)) if fold else {}
    in_folds = {data_set for data_set, _ in folds}

    def split_usual(samples: Sequence[Sample], stratum: Callable[[Sample], str]) -> TrainingSplit:
        return split_samples(samples, recipe.data, recipe.seed, stratum)

    def split(samples: Sequence[Sample], stratum: Callable[[Sample], str]) -> TrainingSplit:
        assert fold is not None
        is_trained = tuple(folders) == recipe.data.datasets  # images without a fold are not used
        others = [] if is_trained else [sample for sample in samples if sample.domain not in in_folds]
        own = [sample for sample in samples if is_trained or sample.domain in in_folds]
        parts = split_fold(own, folds, fold.number, recipe.data, recipe.seed, stratum)
        return _join_splits(parts, split_usual(others, stratum)) if others else parts

    return split_usual if fold is None or in_folds.isdisjoint(Path(one).name for one in folders) else split


def _join_splits(first: TrainingSplit, second: TrainingSplit) -> TrainingSplit:
    """Join the parts of data sets that were split in two ways."""
    return TrainingSplit(
        [*first.training, *second.training],
        [*first.validation, *second.validation],
        [*first.test, *second.test],
        (*first.left_out, *second.left_out),
        (*first.other_splits, *second.other_splits),
    )
