"""Checks of the files, masks and label images of a run, and warnings about its splits.

Functions named ``check_...`` raise an error that names the files; functions named ``..._warnings`` return sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.context import Progress, RunContext, map_in_threads
from napari_melanoma.core.errors import DataSetError, RunError
from napari_melanoma.core.files import hash_file
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import TrainingSplit, find_validation_split
from napari_melanoma.io.photographs import read_image_size
from napari_melanoma.metrics.overlap import UNLABELED_PIXEL
from napari_melanoma.training.monitor import describe_few_validation, describe_groups
from napari_melanoma.training.pixel_store import CacheIndex, DecodedFacts, FileInfo, label_counts

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

NAMED = 3  # files that a message lists
LABELS_LIMIT = (
    "A network of several classes on photographs can be trained, evaluated, compared and exported, but lesion, the "
    "Lesion dock and the example.py of its export predict masks of one lesion only."
)
FEW_TEST_IMAGES = 5  # fewer cause a warning
SAVED_EVERY = 500  # files; an interrupted first scan resumes from the last save
LESION_VALUE = 255  # value of lesion pixels in masks of one class


def check_readable(faults: Mapping[Path, str]) -> None:
    """Refuse files that cannot be read.

    ``faults``: the reason for each file.
    """
    if faults:
        reasons = [text if str(path) in text else f"{path} {text}" for path, text in faults.items()]
        more = f" {len(reasons) - NAMED} more files cannot be read." if len(reasons) > NAMED else ""
        raise DataSetError(
            f"{len(reasons)} of the files cannot be used. "
            f"{' '.join(text.removesuffix('.') + '.' for text in reasons[:NAMED])}{more} "
            "Replace the files, or remove their rows from the table."
        )


def check_stated_sizes(samples: Iterable[Sample], infos: Mapping[Path, FileInfo]) -> None:
    """Refuse masks whose file header states another size than that of the image, before anything is decoded.

    Width and height may be exchanged, as the EXIF orientation of an image may rotate it by 90 degrees; ``check_sizes``
    compares the decoded sizes.
    """
    mismatches = []
    for sample in samples:
        if sample.mask is None:
            continue
        image, mask = infos[sample.image], infos[sample.mask]
        sizes = {(image.width, image.height), (image.height, image.width), (0, 0)}  # (0, 0): not in the header
        if (mask.width, mask.height) not in sizes and image.width:
            mismatches.append(f"{sample.mask} ({mask.width} x {mask.height}, image {image.width} x {image.height})")
    _raise_for_sizes(mismatches)


def check_sizes(samples: Iterable[Sample], facts: Mapping[Path, DecodedFacts]) -> None:
    """Refuse masks whose decoded size differs from that of the upright image."""
    mismatches = []
    for sample in samples:
        if sample.mask is None:
            continue
        image, mask = facts[sample.image], facts[sample.mask]
        if (image.rows, image.columns) != (mask.rows, mask.columns):
            size = f"{mask.columns} x {mask.rows}, upright image {image.columns} x {image.rows}"
            mismatches.append(f"{sample.mask} ({size})")
    _raise_for_sizes(mismatches)


def _raise_for_sizes(mismatches: Sequence[str]) -> None:
    """Raise an error that lists masks of another size than their image, if any."""
    if mismatches:
        raise DataSetError(
            f"expected masks of the same size as their image, found {len(mismatches)} of another size: "
            f"{format_names(mismatches)}. Export these masks at the size of the image, or remove their rows from the "
            "table."
        )


def check_counts(parts: TrainingSplit) -> None:
    """Refuse too few images or groups in the training and validation sets."""
    train, validation = len(parts.training), len(parts.validation)
    groups = {sample.group for sample in (*parts.training, *parts.validation)}
    if train + validation >= 3 and len(groups) < 2:
        raise RunError(
            f"all {train + validation} images of the training and validation sets are of one patient or lesion and "
            "cannot "
            "be separated: expected at least two groups, one for each set. Add images of another patient, or correct "
            "patient_id in the table."
        )
    if train < 2 or not validation:
        raise RunError(
            f"the training set has {format_count(train, 'image')} and the validation set {validation}; "
            "at least 2 and 1 are needed, with accepted or corrected masks. Add images with masks, or increase "
            "data.validation_fraction."
        )


def check_lesions(samples: Sequence[Sample], facts: Mapping[Path, DecodedFacts]) -> None:
    """Refuse training masks if none of them contains lesion, or none of them contains skin."""
    lesions = [facts[sample.mask].lesion for sample in samples if sample.mask]
    for tissue, is_missing in (
        ("lesion", all(share == 0 for share in lesions)),
        ("skin", all(share == 1 for share in lesions)),
    ):
        if is_missing:
            masks = [sample.mask for sample in samples]
            raise DataSetError(
                f"expected lesion (white) and skin (black) in the masks, found no pixel of {tissue} in any of the "
                f"{len(samples)} training masks ({format_names(masks)}). Draw the lesions into the masks."
            )


def split_warnings(parts: TrainingSplit, recipe: TrainRecipe) -> list[str]:
    """Return warnings about images of splits that the run does not use, and validation images taken from others."""
    if recipe.data.fold is not None:
        return []
    data, warnings = recipe.data, []
    counts = Counter(sample.split for sample in parts.other_splits)
    if counts:
        listed = ", ".join(f"'{split}' ({format_count(count, 'image')})" for split, count in sorted(counts.items()))
        warnings.append(
            f"Not used: the split {listed}. The recipe trains on '{data.split}', validates on "
            f"'{find_validation_split(data) or data.split}' and tests on '{data.test_split}'."
        )
    assigned = find_validation_split(data)
    held_out = [sample for sample in parts.validation if sample.split != assigned]
    if held_out and assigned and not monitors_test(parts, recipe):
        domains = {sample.domain for sample in held_out}
        groups = {sample.group for sample in held_out}
        trained = {sample.group for sample in parts.training if sample.domain in domains}
        warnings.append(
            f"No image of {format_names(sorted(domains))} has the split '{assigned}', so the "
            f"validation set is {format_count(len(held_out), 'image')} of {describe_groups(len(groups))}: "
            f"{100 * len(groups) / len(groups | trained):.0f} % of those to train on."
        )
    return warnings


def monitors_test(parts: TrainingSplit, recipe: TrainRecipe) -> bool:
    """Whether the images that are monitored after each epoch are the test images, as there is no validation set."""
    data = recipe.data
    assigned = None if data.fold is not None else find_validation_split(data)
    return not data.validation_fraction and any(sample.split != assigned for sample in parts.validation)


def data_warnings(parts: TrainingSplit) -> list[str]:
    """Return warnings about small test and validation sets."""
    warnings = []
    evaluated = len(parts.test)
    if not evaluated:
        warnings.append("No image is in the test set, so the new model cannot be compared with the previous one.")
    elif evaluated < FEW_TEST_IMAGES:
        images = format_count(evaluated, "image")
        warnings.append(f"The test set has only {images}: too few to decide whether the new model is better.")
    few = describe_few_validation(len(parts.validation), len({sample.group for sample in parts.validation}))
    if few:
        warnings.append(
            f"Epoch, threshold and validation figures will be {few}. Assign more patients to the validation split, or "
            "increase data.validation_fraction."
        )
    return warnings


def empty_mask_warnings(parts: TrainingSplit, facts: Mapping[Path, DecodedFacts]) -> list[str]:
    """Return a warning about empty training masks, if any."""
    empty = [sample.image_id for sample in parts.training if sample.mask and facts[sample.mask].lesion == 0]
    return (
        [f"{len(empty)} of the {len(parts.training)} training masks are empty: {format_names(empty)}."] if empty else []
    )


def check_labels(samples: Sequence[Sample], facts: Mapping[Path, DecodedFacts], classes: Sequence[str]) -> None:
    """Refuse label images with values that belong to no class; ``UNLABELED_PIXEL`` marks pixels without a label."""
    present = {value for sample in samples if sample.mask for value in label_counts(facts[sample.mask])}
    is_mask = present <= {0, LESION_VALUE}  # masks of one lesion
    invalid = []
    for sample in samples:
        if sample.mask is None:
            continue
        unknown = [value for value in label_counts(facts[sample.mask]) if value >= len(classes)]
        unknown = [value for value in unknown if value != UNLABELED_PIXEL or is_mask]
        if unknown:
            invalid.append((sample.mask, unknown))
    if not invalid:
        return
    listed = format_names([f"{path} ({', '.join(map(str, unknown))})" for path, unknown in invalid])
    hint = (
        " 255 marks the lesion in masks of one class: for these, remove 'classes' from the recipe."
        if all(LESION_VALUE in unknown for _, unknown in invalid)
        else ""
    )
    raise DataSetError(
        f"expected label images with the values {numbered_classes(classes)}, found others in {len(invalid)} of them: "
        f"{listed}. Correct these files, or list all classes in the recipe's 'classes'.{hint}"
    )


def check_every_class(samples: Sequence[Sample], facts: Mapping[Path, DecodedFacts], classes: Sequence[str]) -> None:
    """Refuse training data in which a class has no pixel."""
    present = {value for sample in samples if sample.mask for value in label_counts(facts[sample.mask])}
    present -= {UNLABELED_PIXEL}
    missing = [f"{value} ({name})" for value, name in enumerate(classes) if value not in present]
    if missing:
        present_names = ", ".join(classes[value] for value in sorted(present))
        raise DataSetError(
            f"in the {len(samples)} training label images no pixel is of {', '.join(missing)}; found only "
            f"{present_names}. Add images that show it, or remove it from the recipe's 'classes'."
        )


def numbered_classes(classes: Sequence[str]) -> str:
    """Format the values of label images with their classes, such as ``0 background, 1 dermis``."""
    return ", ".join(f"{value} {name}" for value, name in enumerate(classes))


@dataclass
class FileScan:
    """Checksums and image sizes of files, and the reason for each file that could not be read."""

    infos: dict[Path, FileInfo] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)


def scan_files(paths: Iterable[Path], index: CacheIndex, run: RunContext) -> FileScan:
    """Read the checksum and image size of each file, or take them from the index if the file has not changed."""
    scan, to_read = FileScan(), []
    for path in dict.fromkeys(paths):
        info = _indexed_info(path, index)
        if info is None:
            to_read.append(path)
        else:
            scan.infos[path] = info
    not_saved: list[tuple[str, FileInfo]] = []
    try:
        for done, (path, result) in enumerate(map_in_threads(_read_info, to_read, run), start=1):
            if isinstance(result, FileInfo):
                scan.infos[path] = result
                not_saved.append((str(path.absolute()), result))
            else:
                scan.faults[path] = result
            if len(not_saved) >= SAVED_EVERY:
                index.add_file_infos(not_saved)
                not_saved.clear()
            run.report(Progress(done, len(to_read), "Reading the files"))
    finally:
        index.add_file_infos(not_saved)
    return scan


def _indexed_info(path: Path, index: CacheIndex) -> FileInfo | None:
    """Return the index entry of a file that has not changed."""
    try:
        status = path.stat()
    except OSError:
        return None  # _read_info reports the reason
    return index.file_info(str(path.absolute()), status.st_size, status.st_mtime_ns)


def _read_info(path: Path) -> FileInfo | str:
    """Read a file's checksum and the size of its image; return the reason if it cannot be read."""
    try:
        status = path.stat()  # first, so that a later change of the file is noticed when it is decoded
        digest = hash_file(path)
    except FileNotFoundError:
        return "was not found"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return FileInfo(status.st_size, status.st_mtime_ns, digest, *(read_image_size(path) or (0, 0)))
