"""What can be wrong with the images of a run, each said with what was expected, what was found and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import first_few
from napari_melanoma.core.errors import DataSetError, RunError

if TYPE_CHECKING:
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.data.splits import Parts
    from napari_melanoma.training.cache_index import Content, Facts

NAMED = 3  # of the files that a message is about
FEW_TO_JUDGE = 5
FEW_TO_TUNE = 3


def check_readable(faults: Mapping[Path, str]) -> None:
    """Refuse files that cannot be read."""
    if faults:
        said = [text if str(path) in text else f"{path} {text}" for path, text in faults.items()]
        more = f" {len(said) - NAMED} more files cannot be read either." if len(said) > NAMED else ""
        raise DataSetError(
            f"{len(said)} of the files cannot be used. {' '.join(sentence(text) for text in said[:NAMED])}{more} "
            "Replace them, or take their rows out of the table."
        )


def sentence(text: str) -> str:
    """End a text with a full stop."""
    return text if text.endswith(".") else f"{text}."


def check_stated_sizes(samples: Iterable[Sample], contents: Mapping[Path, Content]) -> None:
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
    _refuse_sizes(wrong)


def check_sizes(samples: Iterable[Sample], facts: Mapping[Path, Facts]) -> None:
    """Refuse masks of another size than their upright image."""
    wrong = []
    for sample in samples:
        if sample.mask is None:
            continue
        image, mask = facts[sample.image], facts[sample.mask]
        if (image.rows, image.columns) != (mask.rows, mask.columns):
            size = f"{mask.columns} x {mask.rows}, upright image {image.columns} x {image.rows}"
            wrong.append(f"{sample.mask} ({size})")
    _refuse_sizes(wrong)


def _refuse_sizes(wrong: Sequence[str]) -> None:
    """Raise where a mask does not lie on its image."""
    if wrong:
        raise DataSetError(
            f"expected masks of the size of their image, found {len(wrong)} of another: {first_few(wrong)}. "
            "Export these masks at the size of the image, or take their rows out of the table."
        )


def check_counts(parts: Parts) -> None:
    """Refuse too few images or groups."""
    learn, tuning = len(parts.learn), len(parts.tuning)
    groups = {sample.group for sample in (*parts.learn, *parts.tuning)}
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


def check_lesions(samples: Sequence[Sample], facts: Mapping[Path, Facts]) -> None:
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
                f"{len(samples)} masks to learn from ({first_few(masks)}). Draw the lesions into the masks."
            )


def warnings(parts: Parts) -> list[str]:
    """Say what a person may want to know before a run starts, though it can."""
    found = []
    judged = len(parts.held_out)
    if not judged:
        found.append("No image is held out, so the new model cannot be judged against the old one.")
    elif judged < FEW_TO_JUDGE:
        found.append(f"Only {judged} of the images are held out: too few to tell whether the new model is better.")
    if len(parts.tuning) < FEW_TO_TUNE:
        found.append(f"Epoch and threshold are picked on only {len(parts.tuning)} of the images: both will be rough.")
    return found


def empty_masks(parts: Parts, facts: Mapping[Path, Facts]) -> list[str]:
    """Say which masks of lesions are empty.

    A sentence, or none.
    """
    empty = [sample.image_id for sample in parts.learn if sample.mask and facts[sample.mask].lesion == 0]
    return (
        [f"{len(empty)} of the {len(parts.learn)} masks to learn from are empty: {first_few(empty)}."] if empty else []
    )
