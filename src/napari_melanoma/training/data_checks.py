"""What can be wrong with the images of a run, and the contents of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import DataSetError, RunError
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.pipeline import map_in_threads
from napari_melanoma.io.photographs import read_image_size
from napari_melanoma.training.pixel_store import CacheIndex, FileInfo, label_counts

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.data.splits import TrainingSplit
    from napari_melanoma.training.pixel_store import DecodedFacts

NAMED = 3  # of the files that a message is about
FEW_TO_JUDGE = 5
FEW_TO_TUNE = 3


def check_readable(faults: Mapping[Path, str]) -> None:
    """Refuse files that cannot be read."""
    if faults:
        said = [text if str(path) in text else f"{path} {text}" for path, text in faults.items()]
        more = f" {len(said) - NAMED} more files cannot be read either." if len(said) > NAMED else ""
        raise DataSetError(
            f"{len(said)} of the files cannot be used. {' '.join(as_sentence(text) for text in said[:NAMED])}{more} "
            "Replace them, or take their rows out of the table."
        )


def as_sentence(text: str) -> str:
    """End a text with a full stop."""
    return text if text.endswith(".") else f"{text}."


def check_stated_sizes(samples: Iterable[Sample], contents: Mapping[Path, FileInfo]) -> None:
    """Refuse masks whose file states another size than their image's, before anything is decoded.

    An image that lies on its side until its EXIF orientation is followed passes; its mask may have either size.
    """
    wrong = []
    for sample in samples:
        if sample.mask is None:
            continue
        image, mask = contents[sample.image], contents[sample.mask]
        sizes = {(image.width, image.height), (image.height, image.width), (0, 0)}
        if (mask.width, mask.height) not in sizes and image.width:
            wrong.append(f"{sample.mask} ({mask.width} x {mask.height}, image {image.width} x {image.height})")
    _raise_for_sizes(wrong)


def check_sizes(samples: Iterable[Sample], facts: Mapping[Path, DecodedFacts]) -> None:
    """Refuse masks of another size than their upright image."""
    wrong = []
    for sample in samples:
        if sample.mask is None:
            continue
        image, mask = facts[sample.image], facts[sample.mask]
        if (image.rows, image.columns) != (mask.rows, mask.columns):
            size = f"{mask.columns} x {mask.rows}, upright image {image.columns} x {image.rows}"
            wrong.append(f"{sample.mask} ({size})")
    _raise_for_sizes(wrong)


def _raise_for_sizes(wrong: Sequence[str]) -> None:
    """Raise where a mask does not lie on its image."""
    if wrong:
        raise DataSetError(
            f"expected masks of the size of their image, found {len(wrong)} of another: {format_names(wrong)}. "
            "Export these masks at the size of the image, or take their rows out of the table."
        )


def check_counts(parts: TrainingSplit) -> None:
    """Refuse too few images or groups."""
    learn, tuning = len(parts.training), len(parts.validation)
    groups = {sample.group for sample in (*parts.training, *parts.validation)}
    if learn + tuning >= 3 and len(groups) < 2:
        raise RunError(
            f"all {learn + tuning} images to learn from are of one patient or lesion, and those stay together: "
            "expected at least two groups, one to learn from and one to tune with. Add images of another patient, or "
            "correct patient_id in the table."
        )
    if learn < 2 or not tuning:
        raise RunError(
            f"{learn} images to learn from and {tuning} to tune with; at least 2 and 1 are needed, with masks that "
            "were accepted or corrected. Add images with masks, or raise data.tuning_fraction."
        )


def check_lesions(samples: Sequence[Sample], facts: Mapping[Path, DecodedFacts]) -> None:
    """Refuse masks from which nothing can be learnt: not a pixel of lesion, or not one of skin, in all of them."""
    lesions = [facts[sample.mask].lesion for sample in samples if sample.mask]
    for what, missing in (
        ("lesion", all(share == 0 for share in lesions)),
        ("skin", all(share == 1 for share in lesions)),
    ):
        if missing:
            masks = [sample.mask for sample in samples]
            raise DataSetError(
                f"expected lesion (white) and skin (black) in the masks, found no pixel of {what} in any of the "
                f"{len(samples)} masks to learn from ({format_names(masks)}). Draw the lesions into the masks."
            )


def data_warnings(parts: TrainingSplit) -> list[str]:
    """Say what a person may want to know before a run starts, though it can."""
    found = []
    judged = len(parts.test)
    if not judged:
        found.append("No image is held out, so the new model cannot be judged against the old one.")
    elif judged < FEW_TO_JUDGE:
        found.append(f"Only {judged} of the images are held out: too few to tell whether the new model is better.")
    if len(parts.validation) < FEW_TO_TUNE:
        found.append(
            f"Epoch and threshold are picked on only {len(parts.validation)} of the images: both will be rough."
        )
    return found


def empty_mask_warnings(parts: TrainingSplit, facts: Mapping[Path, DecodedFacts]) -> list[str]:
    """Say which masks of lesions are empty.

    A sentence, or none.
    """
    empty = [sample.image_id for sample in parts.training if sample.mask and facts[sample.mask].lesion == 0]
    return (
        [f"{len(empty)} of the {len(parts.training)} masks to learn from are empty: {format_names(empty)}."]
        if empty
        else []
    )


LESION_VALUE = 255  # what masks of one lesion have inside


def check_labels(samples: Iterable[Sample], facts: Mapping[Path, DecodedFacts], classes: Sequence[str]) -> None:
    """Refuse label images with values that no class has."""
    wrong = []
    for sample in samples:
        if sample.mask is None:
            continue
        unknown = [value for value in label_counts(facts[sample.mask]) if value >= len(classes)]
        if unknown:
            wrong.append((sample.mask, unknown))
    if not wrong:
        return
    said = format_names([f"{path} ({', '.join(map(str, unknown))})" for path, unknown in wrong])
    hint = (
        " 255 marks the lesion in masks of one class: for these leave 'classes' out of the recipe."
        if all(LESION_VALUE in unknown for _, unknown in wrong)
        else ""
    )
    raise DataSetError(
        f"expected label images with the values {numbered_classes(classes)}, found others in {len(wrong)} of them: {said}. "
        f"Correct these files, or name all classes in the recipe's 'classes'.{hint}"
    )


def check_every_class(samples: Sequence[Sample], facts: Mapping[Path, DecodedFacts], classes: Sequence[str]) -> None:
    """Refuse data from which a class cannot be learnt, as no pixel is of it."""
    there = {value for sample in samples if sample.mask for value in label_counts(facts[sample.mask])}
    missing = [f"{value} ({name})" for value, name in enumerate(classes) if value not in there]
    if missing:
        found = ", ".join(classes[value] for value in sorted(there))
        raise DataSetError(
            f"in the {len(samples)} label images to learn from no pixel is of {', '.join(missing)}; found only {found}."
            " Add images that show what is missing, or take it out of the recipe's 'classes'."
        )


def numbered_classes(classes: Sequence[str]) -> str:
    """Say which value means which class.

    Such as ``0 background, 1 dermis``.
    """
    return ", ".join(f"{value} {name}" for value, name in enumerate(classes))


SAVED_EVERY = 500  # files, after which an interrupted first reading is not repeated


@dataclass
class FileScan:
    """Contents of files, and the reason for each file that could not be read."""

    known: dict[Path, FileInfo] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)


def scan_files(paths: Iterable[Path], index: CacheIndex, run: RunContext) -> FileScan:
    """Find out what is in files."""
    contents, unknown = FileScan(), []
    for path in dict.fromkeys(paths):
        known = _indexed_info(path, index)
        if known is None:
            unknown.append(path)
        else:
            contents.known[path] = known
    fresh: list[tuple[str, FileInfo]] = []
    try:
        for done, (path, found) in enumerate(map_in_threads(_read_info, unknown, run), start=1):
            if isinstance(found, FileInfo):
                contents.known[path] = found
                fresh.append((str(path.absolute()), found))
            else:
                contents.faults[path] = found
            if len(fresh) >= SAVED_EVERY:
                index.add_file_infos(fresh)
                fresh.clear()
            run.report(Progress(done, len(unknown), "Looking at the files"))
    finally:
        index.add_file_infos(fresh)
    return contents


def _indexed_info(path: Path, index: CacheIndex) -> FileInfo | None:
    """Ask the index for a file that has not changed since."""
    try:
        status = path.stat()
    except OSError:
        return None  # reading it says why
    return index.file_info(str(path.absolute()), status.st_size, status.st_mtime_ns)


def _read_info(path: Path) -> FileInfo | str:
    """Read a file through, and the head of it for the size of the image."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            status = path.stat()
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return FileInfo(status.st_size, status.st_mtime_ns, digest, *(read_image_size(path) or (0, 0)))
