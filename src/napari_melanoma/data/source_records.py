"""Records of a public set: rows of its tables, and images paired with masks by their names and folders."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import compose_name, normalize_name
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.data.dataset import IMAGE_SUFFIXES, PackedRow
from napari_melanoma.data.harmonize import TEXT_SEPARATOR, describe_renamed
from napari_melanoma.data.label_values import nnunet_case_name, strip_mask_suffix
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.sources import SourceRecord, SourceSpec
from napari_melanoma.data.table_mapping import escapes_folder, find_column_meanings, strip_image_suffix
from napari_melanoma.data.table_schema import FILE_COLUMNS
from napari_melanoma.io.tables import decode_table, iterate_rows, parse_table_text

KnownRows = dict[str, PackedRow]
MAX_LISTED = 12  # columns that a note names


def read_table_rows(tree: SourceTree, names: str) -> Iterator[dict[str, str]]:
    """Read tables as published, in the order of their paths; all tables of one name in several folders are read.

    Yields column name to text without surrounding white space, "" if a cell is empty.
    """
    for file in tree.find_tables(names):
        if file.archive is None:
            rows = iterate_rows(Path(file.path))
        else:
            rows = parse_table_text(decode_table(tree.read_content(file)), file.name)
        yield from map(tree.mapping.apply, rows)


def read_image_rows(tree: SourceTree, names: str, source: str = "") -> KnownRows:
    """Read tables that name images.

    Returns image id (without suffix) to its row in the tables' own columns and words; empty if there is no table, or
    none with a column for images. Of rows about one image the first counts; differing values of others are kept in
    ``other_<column>``.
    """
    known: KnownRows = {}
    contradictions: Counter[str] = Counter()
    columns: dict[str, None] = {}
    renamed: dict[str, str] = {}
    nameless = 0
    image_column = cache(_find_image_column)
    for row in read_table_rows(tree, names):
        columns.update(dict.fromkeys(row))
        column = image_column(tuple(row), source)
        image = compose_name(strip_image_suffix(given := row.get(column, "")))  # as the names of files are
        if escapes_folder(given) and image != given:
            renamed[given] = image
        values = {name: text for name, text in row.items() if text and name != column and name not in FILE_COLUMNS}
        if image in known:
            first = known[image].to_dict()
            contradictions.update(fill_gaps(first, values))
            known[image] = PackedRow(first)
        elif image:
            known[image] = PackedRow(values)
        else:
            nameless += bool(values)
    for column, n in contradictions.items():
        tree.notes.append((column, f"{describe_contradictions(n)}, the other is in other_{column}"))
    if renamed:
        tree.notes.append(("image_id", describe_renamed(renamed)))
    if nameless and not known:
        tables = sorted(file.name for file in tree.find_tables(names))
        tree.unread += tables
        shown = ", ".join(list(columns)[:MAX_LISTED])
        note = f"no column names the images (found {shown}): add a column image_id, or map one with --map FILE"
        tree.notes.append((", ".join(tables), note))
    if known and nameless:
        tree.notes.append(("image_id", f"{nameless} row{'s name' if nameless > 1 else ' names'} no image: left out"))
    return known


def describe_contradictions(rows: int) -> str:
    """Describe rows of a table that contradict an earlier row of the same image."""
    contradict = "1 row contradicts another" if rows == 1 else f"{rows} rows contradict another"
    return f"{contradict} of the same image: the first counts"


def fill_gaps(row: dict[str, str], other: Mapping[str, str]) -> list[str]:
    """Fill the gaps of a row from another row of its image; differing values are kept in ``other_<column>``.

    Returns the columns in which the two differ.
    """
    differ = [column for column, text in other.items() if row.setdefault(column, text) != text]
    for column in differ:
        kept = [
            text for text in row.get(f"other_{column}", "").split(TEXT_SEPARATOR) if text not in ("", other[column])
        ]
        row[f"other_{column}"] = TEXT_SEPARATOR.join([*kept, other[column]])
    return differ


def join_records(
    images: Mapping[str, SourceFile],
    masks: Mapping[str, SourceFile],
    known: Mapping[str, PackedRow],
    common: Callable[[str], Mapping[str, str]] | Mapping[str, str],
) -> list[SourceRecord]:
    """Combine files and table rows into records: one for each image and each row without one, ordered by id."""
    values = common if callable(common) else lambda image_id: common
    empty = PackedRow({})
    return [
        SourceRecord(
            image_id,
            images.get(image_id),
            masks.get(image_id),
            known.get(image_id, empty).with_defaults(values(image_id)),
        )
        for image_id in sorted({*images, *known})
    ]


def parse_one_hot(row: Mapping[str, str], classes: Mapping[str, str]) -> str:
    """Read a class that a table gives in one column per class, such as ``MEL,NV,BCC`` with 1.0 in one of them.

    Returns the class of the only column above one half; "" if there is none, or more than one.
    """
    found = [word for column, word in classes.items() if _parse_float(row.get(column, "")) > 0.5]
    return found[0] if len(found) == 1 else ""


def _parse_float(text: str) -> float:
    """Parse a number; 0 where it is none."""
    return float(text) if re.fullmatch(r"\d*\.?\d+(?:[eE][+-]?\d+)?|\d+\.", text) else 0.0


def _find_image_column(names: tuple[str, ...], source: str) -> str:
    """Find the column that names images; "" if there is none."""
    ranked = [
        (meaning.rank, name)
        for name in names
        for meaning in find_column_meanings(name, source)
        if meaning.column_name == "image_id"
    ]
    return min(ranked)[1] if ranked else ""


_MASK_FOLDER = re.compile(r"(?:^|[ ._-])(?:masks?|segmentations?|seg|gt|ground[ _]?truths?)(?:[ ._-]|$)", re.IGNORECASE)
_LABEL_FOLDER = re.compile(r"labels?(?:tr|ts|val)?", re.IGNORECASE)  # a folder of labels, if there is one of images
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
    """Rename images ``x_0000`` to ``x`` if only ``x`` has a mask; also returns the case of each renamed file."""
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
        stem, plain = normalize_name(name), strip_mask_suffix(name)
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
    """Whether the innermost folder named for images or masks is a folder of masks."""
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
