"""Pair the images and masks of a public set by their names and folders."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.data.dataset import IMAGE_SUFFIXES
from napari_melanoma.data.masks.label_values import nnunet_case_name, strip_mask_suffix
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.sources import SourceRecord, SourceSpec

_MASK_FOLDER = re.compile(r"(?:^|[ ._-])(?:masks?|segmentations?|seg|gt|ground[ _]?truths?)(?:[ ._-]|$)", re.IGNORECASE)
_LABEL_FOLDER = re.compile(r"labels?(?:tr|ts|val)?", re.IGNORECASE)  # a folder of labels, where there is one of images
_KINDS = ("image", "images", "photographs", "photos", "imagestr", "imagests", "imagesval")
_NNUNET = {"imagestr": "", "imagests": "test", "imagesval": "val"}  # folder of nnU-Net to split
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})", re.IGNORECASE)
ID_PATTERN = r"(ISIC_\d{7})(?:_downsampled)?"  # the archive assigns each to one image permanently
IMAGE_PATTERN = r"(ISIC_\d+)\.(?:jpe?g|png)"
MASK_PATTERN = r"(ISIC_\d+)_segmentation\.png"
Key = tuple[tuple[str, ...], str]


def pair_records(
    tree: SourceTree, known: Mapping[str, Mapping[str, str]], common: Mapping[str, str]
) -> list[SourceRecord]:
    """Pair the images of a tree with masks.

    A mask lies in a folder named for masks (the innermost folder named for images or masks counts), or its name is that
    of an image with ``_mask``, ``_segmentation``, ``_gt`` or the like appended. Images of one name in several folders
    get the folders' names as a prefix. In the layout of nnU-Net (``imagesTr/x_0000.png``, ``labelsTr/x.png``) an image
    is named after its case, and those of ``imagesTs`` are in the split test; ``x_0000.png`` with a mask ``x.png`` is a
    case in other folders too, and tables may name ``x_0000`` or ``x``.

    Returns records ordered by id, including images without a mask and rows without an image.
    """
    nnunet = {file.name: case for file in tree.files if (case := _nnunet_case(file))}
    images, masks = _separate_masks(tree.files)
    if masks and not images:  # "skin segmentation/" around all files does not mark masks
        inner = _separate_masks(tree.files, _count_common_folders(tree.files))
        images, masks = inner if inner[1] else (images, masks)
    images, cases = _strip_channels(images, {stem for _, stem in masks})
    nnunet |= cases
    by_stem: dict[str, list[SourceFile]] = defaultdict(list)
    for (_, stem), mask in masks.items():
        by_stem[stem].append(mask)
    counts = Counter(stem for _, stem in images)
    records, taken = [], set[str]()
    names = {key: nnunet.get(image.name, image.stem) for key, image in images.items()}
    used_rows: set[str] = set()
    for key, image in images.items():
        named = names[key] if counts[key[1]] == 1 else "_".join((*key[0], names[key]))
        image_id = free_name(safe_name(named), taken)
        taken.add(image_id.lower())
        row = next((one for one in (names[key], image.stem, nnunet_case_name(image.stem)) if one in known), "")
        used_rows |= {names[key], row}
        alone = by_stem[key[1]] if counts[key[1]] == 1 and len(by_stem[key[1]]) == 1 else [None]
        records.append(
            SourceRecord(
                image_id,
                image,
                masks.get(key) or alone[0],
                {**common, **_nnunet_split(image), **known.get(row, {})},
            )
        )
    for name, values in known.items():
        if name not in used_rows and name.lower() not in taken:
            records.append(SourceRecord(name, None, None, {**common, **values}))
    return sorted(records, key=lambda record: record.image_id)


def _strip_channels(
    images: Mapping[Key, SourceFile], masks: Container[str]
) -> tuple[dict[Key, SourceFile], dict[str, str]]:
    """Rename images ``x_0000`` to ``x`` where only ``x`` has a mask; also returns the case of each such file."""
    found: dict[Key, SourceFile] = {}
    cases: dict[str, str] = {}
    for (folders, stem), image in images.items():
        case = nnunet_case_name(stem)
        if case != stem and stem not in masks and case in masks and (folders, case) not in images:
            cases[image.name] = nnunet_case_name(image.stem)
            found[folders, case] = image
        else:
            found[folders, stem] = image
    return found, cases


def _nnunet_case(file: SourceFile) -> str:
    """Return the nnU-Net case of an image, "" for another file."""
    folders = file.name.lower().split("/")[:-1]
    match = _CHANNEL.fullmatch(file.stem)
    if match is None or file.suffix not in IMAGE_SUFFIXES or not any(name in _NNUNET for name in folders):
        return ""
    if match["channel"] != "0000":
        raise DataSetError(
            f"{file.name} is one channel of an nnU-Net case that is stored in several files: expected one color image "
            f"a case, {match['case']}_0000{file.suffix}. Merge the channels into one RGB image, then import again."
        )
    return match["case"]


def _nnunet_split(file: SourceFile) -> dict[str, str]:
    """Return the split of an nnU-Net folder."""
    folders = file.name.lower().split("/")[:-1]
    split = next((_NNUNET[name] for name in folders if name in _NNUNET), "")
    return {"split": split} if split else {}


def _separate_masks(files: Iterable[SourceFile], outer: int = 0) -> tuple[dict[Key, SourceFile], dict[Key, SourceFile]]:
    """Separate images and masks; keys are the folders, without those named for images or masks, and the stem.

    The ``outer`` outermost folders are ignored.
    """
    images: dict[Key, SourceFile] = {}
    masks: dict[Key, SourceFile] = {}
    unsure: list[tuple[Key, Key, SourceFile]] = []
    files = list(files)
    has_images = any(name.lower() in _KINDS for file in files for name in file.name.split("/")[outer:-1])
    for file in files:
        if file.suffix not in IMAGE_SUFFIXES:
            continue
        folders = file.name.split("/")[outer:-1]
        inner = tuple(name for name in folders if not _is_mask_folder(name, has_images) and name.lower() not in _KINDS)
        name = _nnunet_case(file) or file.stem
        stem, plain = name.casefold(), strip_mask_suffix(name)
        if _holds_masks(folders, has_images):
            masks.setdefault((inner, plain), file)
        elif plain != stem:
            unsure.append(((inner, stem), (inner, plain), file))
        else:
            images.setdefault((inner, stem), file)
    for key, plain_key, file in unsure:  # x_lesion.jpg may be an image of a lesion
        if plain_key in images:
            masks.setdefault(plain_key, file)
        else:
            images.setdefault(key, file)
    return images, masks


def _is_mask_folder(name: str, has_images: bool) -> bool:
    """Whether a folder's name marks masks; ``labels`` does so only next to a folder of images."""
    return bool(_MASK_FOLDER.search(name)) or (has_images and bool(_LABEL_FOLDER.fullmatch(name)))


def _holds_masks(folders: Sequence[str], has_images: bool) -> bool:
    """Whether the innermost folder that is named for images or masks is one for masks."""
    for name in reversed(folders):
        if name.lower() in _KINDS:
            return False
        if _is_mask_folder(name, has_images):
            return True
    return False


def _count_common_folders(files: Iterable[SourceFile]) -> int:
    """Count the outer folders that all images and masks share."""
    folders = [file.name.split("/")[:-1] for file in files if file.suffix in IMAGE_SUFFIXES]
    return next(
        (depth for depth, names in enumerate(zip(*folders, strict=False)) if len({*names}) > 1), min(map(len, folders))
    )


class ChallengePart(NamedTuple):
    """A part of a challenge: its split, and the folders of its images and masks."""

    split: str
    images: str
    masks: str


def find_challenge_records(
    tree: SourceTree, parts: Iterable[ChallengePart], spec: SourceSpec, known: Mapping[str, Mapping[str, str]]
) -> list[SourceRecord]:
    """Find the images of a challenge and the rows of its tables, ordered by id."""
    common = {"modality": spec.modality}
    found: dict[str, SourceRecord] = {}
    for part in parts:
        masks = tree.find_files(_folder_pattern(part.masks), MASK_PATTERN)
        for image_id, image in tree.find_files(_folder_pattern(part.images), IMAGE_PATTERN).items():
            values = {**common, **known.get(image_id, {}), "split": part.split}
            found.setdefault(image_id, SourceRecord(image_id, image, masks.get(image_id), values))
    for image_id, row in known.items():
        found.setdefault(image_id, SourceRecord(image_id, None, None, {**common, **row}))
    return [found[image_id] for image_id in sorted(found)]


def _folder_pattern(folder: str) -> str:
    """Match a folder of this name anywhere in a path."""
    return rf"(?:^|/){re.escape(folder)}(?:/|$)"
