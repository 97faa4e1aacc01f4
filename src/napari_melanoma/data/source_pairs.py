"""Images and masks that lie together in whatever way: told apart by their names and folders, and paired."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from napari_melanoma.core.file_names import free_name, safe_name
from napari_melanoma.data.dataset import IMAGE_SUFFIXES
from napari_melanoma.data.masks.matching import plain_stem
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.sources import Record

_MASK_FOLDER = re.compile(r"(?:^|[ ._-])(?:masks?|segmentations?|seg|gt|ground[ _]?truths?)(?:[ ._-]|$)", re.IGNORECASE)
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
        What tables say of an image, by its stem.
    common : mapping
        Columns that all of them have.

    Returns
    -------
    list of Record
        In order of their ids; images without a mask and rows of the tables without an image are among them.
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
    stems = {image.stem for image in images.values()}
    for key, image in images.items():
        named = image.stem if counts[key[1]] == 1 else "_".join((*key[0], image.stem))
        image_id = free_name(safe_name(named), taken)
        taken.add(image_id.lower())
        alone = by_stem[key[1]] if counts[key[1]] == 1 and len(by_stem[key[1]]) == 1 else [None]
        records.append(Record(image_id, image, masks.get(key) or alone[0], {**common, **known.get(image.stem, {})}))
    for name, said in known.items():
        if name not in stems and name.lower() not in taken:
            records.append(Record(name, None, None, {**common, **said}))
    return sorted(records, key=lambda record: record.image_id)


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
