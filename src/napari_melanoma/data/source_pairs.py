"""Images and masks that lie together in whatever way: told apart by their names and folders, and paired."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from napari_melanoma.data.dataset import IMAGE_SUFFIXES
from napari_melanoma.data.masks.matching import plain_stem
from napari_melanoma.data.safe_names import free_name, safe_name
from napari_melanoma.data.source_files import SourceFile, SourceTree, table_rows
from napari_melanoma.data.sources import Record
from napari_melanoma.data.vocabulary import harmonised

_MASK_FOLDER = re.compile(r"(?:^|[ ._-])(?:masks?|segmentations?|seg|gt|ground[ _]?truths?)(?:[ ._-]|$)", re.IGNORECASE)
PLACES = ("image_id", "path", "mask_path")
_KINDS = ("image", "images", "photographs", "photos")

Key = tuple[tuple[str, ...], str]


def paired_records(tree: SourceTree, known: Mapping[str, Mapping[str, str]], common: Mapping[str, str]) -> list[Record]:
    """Pair the images of a tree with masks.

    A mask lies in a folder whose name says so (of several folders that say what they hold, the innermost counts), or
    its name ends in ``_mask``, ``_segmentation``, ``_gt`` and the like and an image is called as it is without that.
    Images of one name in several folders get the folders' names too.

    Parameters
    ----------
    tree : SourceTree
        Of any folder.
    known : mapping
        What tables say of an image, by its stem or by its file name.
    common : mapping
        Columns that all of them have.

    Returns
    -------
    list of Record
        In order of their ids; images without a mask are among them.
    """
    images, masks = _told_apart(tree.files)
    if masks and not images:  # "skin segmentation/" around everything says nothing
        inner = _told_apart(tree.files, _common_folders(tree.files))
        images, masks = inner if inner[1] else (images, masks)
    by_stem: dict[str, list[SourceFile]] = defaultdict(list)
    for (_, stem), mask in masks.items():
        by_stem[stem].append(mask)
    counts = Counter(stem for _, stem in images)
    records, taken = [], set[str]()
    for key, image in images.items():
        named = image.stem if counts[key[1]] == 1 else "_".join((*key[0], image.stem))
        image_id = free_name(safe_name(named), taken)
        taken.add(image_id.lower())
        alone = by_stem[key[1]] if counts[key[1]] == 1 and len(by_stem[key[1]]) == 1 else [None]
        said = known.get(image.stem) or known.get(PurePosixPath(image.name).name) or {}
        records.append(Record(image_id, image, masks.get(key) or alone[0], {**common, **said}))
    return sorted(records, key=lambda record: record.image_id)


def known_of_images(tree: SourceTree, names: str) -> dict[str, dict[str, str]]:
    """Read a table that names images.

    Parameters
    ----------
    tree : SourceTree
        In which it lies.
    names : str
        Regular expression that its whole name matches.

    Returns
    -------
    dict
        Image to what is said of it, in our columns; empty where there is no table, or none with a column for images.
    """
    text = tree.text(names)
    rows = (harmonised(row) for row in table_rows(text or ""))
    return {
        row["image_id"]: {column: value for column, value in row.items() if column not in PLACES}
        for row in rows
        if "image_id" in row
    }


def _told_apart(files: Iterable[SourceFile], outer: int = 0) -> tuple[dict[Key, SourceFile], dict[Key, SourceFile]]:
    """Images and masks by their place without folders that only say which of the two they hold, and their stem.

    So many outer folders have no say.
    """
    images: dict[Key, SourceFile] = {}
    masks: dict[Key, SourceFile] = {}
    unsure: list[tuple[Key, Key, SourceFile]] = []
    for file in files:
        if file.suffix not in IMAGE_SUFFIXES:
            continue
        folders = file.name.split("/")[outer:-1]
        place = tuple(name for name in folders if not _MASK_FOLDER.search(name) and name.lower() not in _KINDS)
        stem, plain = file.stem.casefold(), plain_stem(file.stem)
        if _holds_masks(folders):
            masks.setdefault((place, plain), file)
        elif plain != stem:
            unsure.append(((place, stem), (place, plain), file))
        else:
            images.setdefault((place, stem), file)
    for key, plain_key, file in unsure:  # x_lesion.jpg may be an image of a lesion
        if plain_key in images:
            masks.setdefault(plain_key, file)
        else:
            images.setdefault(key, file)
    return images, masks


def _holds_masks(folders: Sequence[str]) -> bool:
    """Whether the innermost folder that says what it holds says masks."""
    for name in reversed(folders):
        if name.lower() in _KINDS:
            return False
        if _MASK_FOLDER.search(name):
            return True
    return False


def _common_folders(files: Iterable[SourceFile]) -> int:
    """How many outer folders all images and masks share."""
    ways = [file.name.split("/")[:-1] for file in files if file.suffix in IMAGE_SUFFIXES]
    return next(
        (depth for depth, names in enumerate(zip(*ways, strict=False)) if len({*names}) > 1), min(map(len, ways))
    )
