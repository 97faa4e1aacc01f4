"""Sets that can be imported, and their records: rows of tables, paired with images, masks and DICOM headers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from textwrap import indent
from zipfile import BadZipFile

from napari_melanoma.core.errors import DataSetError, InputError, UnreadableImage
from napari_melanoma.core.files import compose_name, normalize_name
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.data.cell_values import escapes_folder, strip_image_suffix, translate_diagnosis
from napari_melanoma.data.dataset import IMAGE_SUFFIXES, PackedRow, unpack_row
from napari_melanoma.data.harmonize import TEXT_SEPARATOR, describe_renamed
from napari_melanoma.data.mask_areas import ImageFileArea, MaskObject
from napari_melanoma.data.mask_values import (
    ARRAY_SUFFIX,
    NO_PHOTOGRAPH,
    find_common_suffix,
    nnunet_case_name,
    note_suffix,
    strip_mask_suffix,
)
from napari_melanoma.data.source_files import SourceFile, SourceTree, close_archives
from napari_melanoma.data.table_mapping import TableMapping, find_column_meanings
from napari_melanoma.data.table_schema import FILE_COLUMNS
from napari_melanoma.io.dicom import DETECTOR_SCALE, DicomHeader, read_header
from napari_melanoma.io.discovery import SUFFIXES, is_left_out, note_left_out
from napari_melanoma.privacy.pseudonyms import pseudonym

RowsByImage = dict[str, PackedRow]  # image id, after the folders if they are kept, to the row about the image
MAX_LISTED = 12  # columns that a note lists
TABLES = r"(?:dataset|metadata|labels|patients|clinical)\.(?:csv|tsv|jsonl)"  # of a user's own images
COLORS = 3  # files of a photograph whose red, green and blue are files
CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})", re.IGNORECASE)  # of a case of nnU-Net
NO_MAPPING = TableMapping()


@dataclass(frozen=True)
class SourceSpec:
    """Description of a set.

    ``layout`` describes the expected files; ``images`` is the number of images in the complete set, 0 if not fixed;
    ``ids`` is a pattern of ids that are unique to the set or its archive; ``folders`` is a pattern of folder names that
    suggest the set; ``public`` is False for the user's own files; ``lacks`` is what an experiment may need and the set
    does not have.
    """

    name: str
    title: str
    licence: str
    url: str
    modality: str
    reference: str
    layout: str
    images: int = 0
    ids: str = ""
    folders: str = ""
    public: bool = True
    lacks: str = ""


def describe_own_files(name: str, title: str, url: str, layout: str, reference: str = "") -> SourceSpec:
    """Describe files of a user, in the format of a program."""
    return SourceSpec(name, title, "that of its images", url, "", reference, layout, public=False)


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One image or table row of a set: its files, and its values in the set's own columns and words.

    ``channels``: the files of red, green and blue, if images of the set are several files; ``image`` is the first.
    ``original``: the file that ``image_id`` is a pseudonym of, "" if it is none. ``objects``: annotated areas, which
    are drawn as the mask.
    """

    image_id: str
    image: SourceFile | None
    mask: SourceFile | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    channels: tuple[SourceFile, ...] = ()
    original: str = ""
    objects: tuple[MaskObject, ...] = ()

    @property
    def has_mask(self) -> bool:
        return self.mask is not None or bool(self.objects)

    @property
    def is_converted(self) -> bool:
        """Whether the image becomes a PNG: a DICOM file names its patient, and HEIC is no format of data sets."""
        return self.image is not None and (bool(self.channels) or self.image.suffix not in IMAGE_SUFFIXES)


@dataclass(frozen=True)
class SourceContents:
    """The content of a set's folder.

    ``notes``: topics and messages; ``faults``: images or masks that cannot be used, and why; ``unread``: names of
    tables that were not read.
    """

    records: list[SourceRecord]
    notes: list[tuple[str, str]]
    faults: list[tuple[str, str]]
    unread: list[str]

    @property
    def importable(self) -> list[SourceRecord]:
        """The records to import: those with an image; all rows if there is only a table."""
        return [record for record in self.records if record.image is not None] or self.records


@dataclass(frozen=True)
class DataSource:
    """A set that can be imported: its description, and the function that finds its records."""

    spec: SourceSpec
    find_records: Callable[[SourceTree], list[SourceRecord]]

    def read_folder(
        self, folder: Path, mapping: TableMapping = NO_MAPPING, masks: Path | None = None, table: Path | None = None
    ) -> SourceContents:
        """Read the images and table rows of the set from a folder; raises if there are none.

        ``masks``: another folder or file with the masks; ``table``: a file that is joined later.
        """
        tree = SourceTree.scan(folder, mapping, masks, table)
        try:
            records = self.find_records(tree)
        finally:
            close_archives(tree.files)
        if not records and masks is not None:
            raise DataSetError(
                f"{masks} has no mask in the format {self.spec.name} of a photograph in {folder}. Name the folder of "
                "the photographs with --images, and another format with --format (png for image files)."
            )
        if not records:
            raise DataSetError(
                f"{folder} does not contain {self.spec.title}. Expected:\n{indent(self.spec.layout, '  ')}\n"
                f"Found: {tree.describe_contents()}.\n{describe_access(self.spec)}"
            )
        return SourceContents(records, tree.notes, tree.faults, tree.unread)


def describe_access(spec: SourceSpec) -> str:
    """Describe where to get a set, its license, and what it does not have; or where a format is described."""
    if not spec.public and spec.url.startswith("https:"):
        return f"The format is described at {spec.url}"
    lacks = f" It has no {spec.lacks}." if spec.lacks else ""
    return f"Get {spec.title} from {spec.url} (license: {spec.licence}).{lacks}"


def read_table_rows(tree: SourceTree, names: str) -> Iterator[dict[str, str]]:
    """Read all tables whose name matches a pattern, in the order of their paths, with the user's mapping applied.

    Yields column name to text without surrounding white space, "" if a cell is empty.
    """
    for file in tree.find_tables(names):
        yield from tree.iterate_rows(file)


def read_image_rows(tree: SourceTree, names: str, source: str = "", *, keep_folders: bool = False) -> RowsByImage:
    """Read tables that name images.

    Returns image id (without suffix) to its row in the columns and words of the tables; empty if no table names images.
    With ``keep_folders``, ids begin with the folders that a table names: ``p1/x`` and ``p2/x`` are two images. If
    several rows are about one image, the first counts; differing values of the others are kept in ``other_<column>``.
    Problems are noted in ``tree.notes``.
    """
    rows_by_image: RowsByImage = {}
    contradictions: Counter[str] = Counter()
    columns: dict[str, None] = {}
    renamed: dict[str, str] = {}
    without_image = 0
    image_column = cache(_find_image_column)
    for row in read_table_rows(tree, names):
        columns.update(dict.fromkeys(row))
        column = image_column(tuple(row), source)
        image_id = compose_name(strip_image_suffix(name_in_table := row.get(column, "")))  # as in the names of files
        if escapes_folder(name_in_table) and image_id != name_in_table:
            renamed[name_in_table] = image_id
        if keep_folders and image_id:
            image_id = "/".join((*_list_folders(name_in_table), image_id))
        values = {name: text for name, text in row.items() if text and name != column and name not in FILE_COLUMNS}
        if image_id in rows_by_image:
            first_row = rows_by_image[image_id].to_dict()
            contradictions.update(fill_gaps(first_row, values))
            rows_by_image[image_id] = PackedRow(first_row)
        elif image_id:
            rows_by_image[image_id] = PackedRow(values)
        else:
            without_image += bool(values)
    _note_contradictions(tree, contradictions)
    if renamed:
        tree.notes.append(("image_id", describe_renamed(renamed)))
    if without_image and not rows_by_image:
        tables = sorted(file.name for file in tree.find_tables(names))
        tree.unread += tables
        shown = ", ".join(list(columns)[:MAX_LISTED])
        note = f"no column names the images (found {shown}): add a column image_id, or map one with --map FILE"
        tree.notes.append((", ".join(tables), note))
    if rows_by_image and without_image:
        tree.notes.append(
            ("image_id", f"{without_image} row{'s name' if without_image > 1 else ' names'} no image: left out")
        )
    return rows_by_image


def _list_folders(path: str) -> list[str]:
    """List the folders of an image's path in a tree or in a table, without those that are named for images."""
    folders = compose_name(path).replace("\\", "/").split("/")[:-1]
    return [name for name in folders if name.strip(".") and name.lower() not in _IMAGE_FOLDERS]


def _note_contradictions(tree: SourceTree, rows_by_column: Mapping[str, int]) -> None:
    for column, count in rows_by_column.items():
        tree.notes.append((column, f"{describe_contradictions(count)}, the other is in other_{column}"))


def describe_contradictions(rows: int) -> str:
    """Describe a number of rows that contradict an earlier row of the same image."""
    contradict = "1 row contradicts another" if rows == 1 else f"{rows} rows contradict another"
    return f"{contradict} of the same image: the first counts"


def fill_gaps(row: dict[str, str], other: Mapping[str, str]) -> list[str]:
    """Fill the gaps of a row from another row about the same image, in place.

    Differing values are kept in ``other_<column>``. Returns the columns with differing values.
    """
    differing = [column for column, text in other.items() if row.setdefault(column, text) != text]
    for column in differing:
        others = [
            text for text in row.get(f"other_{column}", "").split(TEXT_SEPARATOR) if text not in ("", other[column])
        ]
        row[f"other_{column}"] = TEXT_SEPARATOR.join([*others, other[column]])
    return differing


def join_table(
    records: Sequence[SourceRecord], table: Path, mapping: TableMapping
) -> tuple[list[SourceRecord], list[tuple[str, str]]]:
    """Join the rows of a table to records, by the ids of images or the names of their files; also returns notes.

    Where the set has another value, that of the table counts. Raises if no row is about a record.
    """
    tree = SourceTree.scan(table, mapping)
    rows = read_image_rows(tree, ".+", keep_folders=True)
    stems = [record.image_id if record.image is None else record.image.stem for record in records]
    names = [(one.image_id, stem, nnunet_case_name(stem)) for one, stem in zip(records, stems, strict=True)]
    counts = Counter(of_record[-1] for of_record in names)
    matcher, joined, without_row = _RowMatcher(rows), list[SourceRecord](), list[str]()
    differing: Counter[str] = Counter()
    for record, of_record in zip(records, names, strict=True):
        image = record.image or SourceFile(record.image_id, "")
        values = matcher.match_row(of_record, image, is_unique=counts[of_record[-1]] == 1)
        without_row += [] if values else [record.original or record.image_id]
        differing.update(fill_gaps(values, unpack_row(record.values)))
        joined.append(replace(record, values=values))
    if len(without_row) == len(records):
        found = f"rows for {format_names(list(rows))}" if rows else "no column that names images"
        raise InputError(
            f"{table} has {found}, but the set has the {format_count(len(records), 'image')} "
            f"{format_names(without_row)}. Expected a column image_id with the names of images, with or without suffix."
        )
    matcher.add_notes(tree)
    for column, images in differing.items():
        note = f"the table differs from the set for {format_count(images, 'image')}: it counts, the other value is in"
        tree.notes.append((column, f"{note} other_{column}"))
    unused = [name for name, _ in matcher.iterate_unused()]
    if without_row or unused:
        note = f"joined to {len(records) - len(without_row)} of {format_count(len(records), 'image')}"
        note += f"; no row for {format_names(without_row)}" if without_row else ""
        note += f"; {format_count(len(unused), 'row')} without an image left out ({format_names(unused)})" * bool(
            unused
        )
        tree.notes.append((table.name, note))
    return joined, tree.notes


def join_records(
    images: Mapping[str, SourceFile],
    masks: Mapping[str, SourceFile],
    rows: Mapping[str, PackedRow],
    common: Callable[[str], Mapping[str, str]] | Mapping[str, str],
) -> list[SourceRecord]:
    """Combine files and table rows into records, ordered by id; rows without an image become records too.

    ``common``: default values for all rows, or a function that returns those for an image id.
    """
    values = common if callable(common) else lambda image_id: common
    empty = PackedRow({})
    return [
        SourceRecord(
            image_id,
            images.get(image_id),
            masks.get(image_id),
            rows.get(image_id, empty).with_defaults(values(image_id)),
        )
        for image_id in sorted({*images, *rows})
    ]


def _find_image_column(names: tuple[str, ...], source: str) -> str:
    """Return the preferred column that names images; "" if there is none."""
    ranked = [
        (meaning.rank, name)
        for name in names
        for meaning in find_column_meanings(name, source)
        if meaning.column_name == "image_id"
    ]
    return min(ranked)[1] if ranked else ""


# "Masken" and "lesionmasks" are masks, "masked" images are not
_MASK_FOLDER = re.compile(
    r"(?:^|[ ._-])(?:[a-z]*mask(?:s|en)?|[a-z]*segmentations?|seg|gt|ground[ _]?truths?)(?:[ ._-]|$)", re.IGNORECASE
)
_LABEL_FOLDER = re.compile(r"labels?(?:tr|ts|val)?", re.IGNORECASE)  # has masks, if there is a folder of images too
_IMAGE_FOLDERS = ("image", "images", "photographs", "photos", "imagestr", "imagests", "imagesval")
_SPLIT_FOLDERS = ("train", "training", "val", "valid", "validation", "test", "testing")
_NNUNET_SPLITS = {"imagestr": "", "imagests": "test", "imagesval": "val"}  # image folder of nnU-Net to split
Key = tuple[tuple[str, ...], str]  # names of the folders, without those for images or masks; and the stem


def pair_records(
    tree: SourceTree,
    rows: Mapping[str, Mapping[str, str]],
    common: Mapping[str, str],
    *,
    class_folders: bool = False,
) -> list[SourceRecord]:
    """Pair the images of a tree with masks and with rows of tables.

    A mask lies in a folder named for masks (the innermost folder named for images or masks counts), or it has the name
    of an image with ``_mask``, ``_segmentation``, ``_gt`` or the like appended. Images with the same name in several
    folders get the folders' names as a prefix. In the layout of nnU-Net (``imagesTr/x_0000.png``, ``labelsTr/x.png``)
    an image is named after its case ``x``; images in ``imagesTs`` get the split test, those in ``imagesVal`` the split
    val. In other folders too, ``x_0000.png`` with a mask ``x.png`` is the case ``x``. Red, green and blue may be in
    ``x_0000.png``, ``x_0001.png`` and ``x_0002.png``. Several masks of an image are those of several annotators. Tables
    may name ``x_0000`` or ``x``, with or without folders. A DICOM image gets a pseudonym as id, and the values of its
    header that the tables lack. Masks without an image are faults; other files that are left out are noted.

    ``rows``: image id, possibly after folders, to row; ``common``: default values for all records; ``class_folders``:
    folders that are named for diagnoses state the diagnosis of images whose rows do not. Returns records ordered by id,
    including images without a mask and rows without an image.
    """
    images, masks = _separate_masks(tree.files)
    if masks and not images and not any(file.is_mask for file in tree.files):  # an outer folder does not mark masks
        separated = _separate_masks(tree.files, _count_common_folders(tree.files))
        images, masks = separated if separated[1] else (images, masks)
    tree.notes += note_suffix(_remove_common_suffix(masks, images))
    cases = _group_channels(images, {stem for _, stem in masks})
    counts = Counter(stem for _, stem in cases)
    masks_of = _match_masks(cases, masks, counts)
    several = max(map(len, masks_of.values()), default=0) > 1
    in_files = max(map(len, cases.values()), default=0) > 1  # then a case of one file may lack channels
    matcher = _RowMatcher(rows)
    records, used_ids, used = [], set[str](), set[SourceFile]()
    for key, channels in cases.items():
        (folders, stem), image = key, channels[0]
        case = image.stem if normalize_name(image.stem) == stem else nnunet_case_name(image.stem)
        is_unique = counts[stem] == 1
        image_id = free_name(safe_name(case if is_unique else "_".join((*folders, case))), used_ids)
        used_ids.add(image_id.lower())
        row_names = (case, image.stem, nnunet_case_name(image.stem))
        row = matcher.match_row(row_names if is_unique else (image_id, *row_names), image, is_unique=is_unique)
        found, values = masks_of[key], {**common, **_nnunet_split(image), **row}
        objects = tuple(
            MaskObject(image.name, ImageFileArea(mask), file=Path(mask.name), is_default=is_default)
            for mask, is_default in (found.items() if several else ())
        )
        mask = None if several else next(iter(found), None)
        is_case = len(channels) > 1 or (in_files and CHANNEL.fullmatch(image.stem) is not None)
        record = SourceRecord(image_id, image, mask, values, channels if is_case else (), objects=objects)
        used |= {image, *channels, *found}
        records.append(_add_header(record, tree) if image.suffix in DICOM_SUFFIXES else record)
    records = _add_class_folders(tree, records) if class_folders else records
    _report_left_out(tree, used, masks, counts)
    if merged := sum(len(record.channels) == COLORS for record in records):
        note = f"{format_count(merged, 'photograph')} in three files, read as red, green and blue by name or number"
        tree.notes.append(("channels", note))
    matcher.add_notes(tree)
    records += [
        SourceRecord(row_name, None, None, {**common, **values}) for row_name, values in matcher.iterate_unused()
    ]
    return sorted(records, key=lambda record: record.image_id)


def _match_masks(
    cases: Iterable[Key], masks: Mapping[Key, list[SourceFile]], counts: Mapping[str, int]
) -> dict[Key, dict[SourceFile, bool]]:
    """Return the masks of each image, and whether each is used by default.

    Masks in other folders are of an image whose name is unique by ``counts``; they are the default if there is none in
    its own folder. Of several in a folder, the first is the default.
    """
    by_stem: dict[str, list[Key]] = defaultdict(list)
    for key in masks:
        by_stem[key[1]].append(key)
    matched: dict[Key, dict[SourceFile, bool]] = {}
    for key in cases:
        keys = by_stem[key[1]] if counts[key[1]] == 1 else [key]
        default = [key] if key in masks else keys
        matched[key] = {
            mask: other in default and place == 0 for other in keys for place, mask in enumerate(masks.get(other, []))
        }
    return matched


def _remove_common_suffix(masks: dict[Key, list[SourceFile]], images: Mapping[Key, SourceFile]) -> str:
    """Remove the suffix of another program from the keys of masks without an image, in place; return it.

    Masks of images that have a mask of their own name keep their keys, so they are left out, which is noted.
    """
    names = [{stem, nnunet_case_name(stem)} for _, stem in images]
    stems, used = set[str]().union(*names), {stem for _, stem in masks}
    without_mask = set[str]().union(*(of_image for of_image in names if used.isdisjoint(of_image)))
    suffix = find_common_suffix((stem for _, stem in masks if stem not in stems), without_mask)
    for folders, stem in [key for key in masks if suffix and key[1] not in stems and key[1].endswith(suffix)]:
        if stem.removesuffix(suffix) in without_mask:
            masks.setdefault((folders, stem.removesuffix(suffix)), []).extend(masks.pop((folders, stem)))
    return suffix


class _RowMatcher:
    """Finds the rows of tables about an image, by its name and by the folders that a table names."""

    def __init__(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        self._rows = rows
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._images_by_row: dict[str, list[str]] = defaultdict(list)
        self._contradictions: Counter[str] = Counter()
        for row_name in rows:
            self._by_stem[normalize_name(row_name.rpartition("/")[2])].append(row_name)

    def match_row(self, names: Iterable[str], image: SourceFile, *, is_unique: bool) -> dict[str, str]:
        """Return the values of the rows about an image, in any of its names; empty if there are none.

        ``is_unique``: no other image has its name.
        """
        row_names = next(filter(None, (self._find_rows(name, image, is_unique) for name in names)), [])
        values: dict[str, str] = {}
        for row_name in row_names:
            self._images_by_row[row_name].append(image.name)
            self._contradictions.update(fill_gaps(values, self._rows[row_name]))
        return values

    def _find_rows(self, name: str, image: SourceFile, is_unique: bool) -> list[str]:
        folders = _list_folders(image.name)
        similar = self._by_stem.get(normalize_name(strip_image_suffix(name)), [])  # may differ in case
        same = [row_name for row_name in similar if row_name.rpartition("/")[2] == name] or similar
        depths = {row_name: _count_equal_folders(row_name.split("/")[:-1], folders) for row_name in same}
        deepest = max(depths.values(), default=0)
        if deepest:
            return [row_name for row_name in same if depths[row_name] == deepest or (is_unique and "/" not in row_name)]
        plain = [row_name for row_name in same if "/" not in row_name]
        if plain or not is_unique:
            return plain if len({*plain}) == 1 else []
        return same if len(same) == 1 else []  # a path on another computer

    def iterate_unused(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield the rows without an image, named without folders if that is distinct."""
        unused = [row_name for row_name in self._rows if row_name not in self._images_by_row]
        counts = Counter(row_name.rpartition("/")[2] for row_name in unused)
        for row_name in unused:
            stem = row_name.rpartition("/")[2]
            yield stem if counts[stem] == 1 else row_name.replace("/", "_"), self._rows[row_name]

    def add_notes(self, tree: SourceTree) -> None:
        """Note rows about one image that contradict each other, and rows that were used for several images."""
        _note_contradictions(tree, self._contradictions)
        shared = [row_name for row_name, images in self._images_by_row.items() if len(images) > 1]
        if shared:
            note = (
                f"the row of {format_names(shared)} is used for several images of that name in different folders, such "
                f"as {format_names(self._images_by_row[shared[0]])}: name the folders in the table if they differ"
            )
            tree.notes.append(("image_id", note))


def add_rows(
    tree: SourceTree, records: Iterable[SourceRecord], rows: Mapping[str, Mapping[str, str]]
) -> list[SourceRecord]:
    """Add the rows about the images of records, by the names and folders of their files; values of the rows count."""
    images = [(record, record.image) for record in records if record.image is not None]
    counts = Counter(normalize_name(image.stem) for _, image in images)
    matcher = _RowMatcher(rows)
    found = []
    for record, image in images:
        row = matcher.match_row([image.stem], image, is_unique=counts[normalize_name(image.stem)] == 1)
        found.append(replace(record, values={**record.values, **row}))
    matcher.add_notes(tree)
    return found


def _count_equal_folders(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the innermost folders that two paths share; 0 if none of the paths is the end of the other."""
    pairs = list(zip(reversed(first), reversed(second), strict=False))
    return len(pairs) if all(normalize_name(one) == normalize_name(other) for one, other in pairs) else 0


def _report_left_out(
    tree: SourceTree, used: Container[SourceFile], masks: Mapping[Key, Sequence[SourceFile]], images: Mapping[str, int]
) -> None:
    """Report masks without an image as faults, and note other image files that are not used.

    ``images``: number of images by their stems.
    """
    without = {mask: stem for (_, stem), of_key in masks.items() for mask in of_key if mask not in used}
    for mask, stem in without.items():
        several = f"may belong to {images.get(stem)} images in different folders: rename one of them"
        tree.faults.append((mask.name, several if images.get(stem) else NO_PHOTOGRAPH))
    left_out = [file.name for file in tree.files if file.suffix in (*SUFFIXES, ARRAY_SUFFIX) and file not in used]
    if left_out := sorted({*left_out} - {mask.name for mask in without}):
        note = f"{format_count(len(left_out), 'image or mask file')} left out, because another file has the same name"
        tree.notes.append(("files", f"{note} apart from its suffix and case: {format_names(left_out)}"))
    on_disk = (Path(file.path) for file in tree.files if file.archive is None)
    tree.notes += note_left_out(path for path in on_disk if is_left_out(path))


def _add_class_folders(tree: SourceTree, records: list[SourceRecord]) -> list[SourceRecord]:
    """Add the diagnoses that the innermost folders name, if all are diagnoses; other folders are noted."""
    folders = {record.image_id: (_list_folders(record.image.name) or [""])[-1] for record in records if record.image}
    names = sorted({*folders.values()})
    all_names = {name for record in records if record.image for name in _list_folders(record.image.name)}
    if splits := sorted(name for name in all_names if name.lower() in _SPLIT_FOLDERS):
        note = "not used as splits: name them in a column split of metadata.csv"
        tree.notes.append(("folders", f"{format_names(splits)}: {note}"))
    if len(names) < 2:
        return records
    shown = format_names([name or "the outermost" for name in names])
    if not all(map(translate_diagnosis, names)):
        if not any(record.values for record in records) and 2 * len(names) <= len(records):
            note = "not used. If they are classes, patients or splits, name them in a column of metadata.csv"
            tree.notes.append(("folders", f"{shown}: {note}"))
        return records
    without = [record for record in records if not _states_diagnosis(record.values)]
    if without:
        tree.notes.append(("folders", f"{shown}: used as the diagnosis of {format_count(len(without), 'image')}"))
    return [
        record
        if _states_diagnosis(record.values)
        else replace(record, values={**record.values, "diagnosis": folders[record.image_id]})
        for record in records
    ]


def _states_diagnosis(values: Mapping[str, str]) -> bool:
    return any(meaning.column_name == "diagnosis" for name in values for meaning in find_column_meanings(name))


def _add_header(record: SourceRecord, tree: SourceTree) -> SourceRecord:
    """Add the values of a DICOM header that the tables lack, and replace the id by a pseudonym."""
    assert record.image is not None
    header = read_dicom_header(record.image, tree)
    values = {**(list_header_values(header) if header else {}), **record.values}
    image_id = pseudonym(record.image.name, "image")
    return replace(record, image_id=image_id, values=values, original=record.image.name)


def _group_channels(images: Mapping[Key, SourceFile], masks: Container[str]) -> dict[Key, tuple[SourceFile, ...]]:
    """Group the channels of nnU-Net cases: ``x_0000`` in its folders, or where only ``x`` has a mask."""
    grouped: dict[Key, list[SourceFile]] = defaultdict(list)
    for (folders, stem), image in images.items():
        match = CHANNEL.fullmatch(stem)
        in_layout = any(name in _NNUNET_SPLITS for name in image.name.lower().split("/")[:-1])
        is_channel = match is not None and (
            in_layout or (stem not in masks and match["case"] in masks and (folders, match["case"]) not in images)
        )
        grouped[folders, match["case"] if match and is_channel else stem].append(image)
    for files in grouped.values():
        files.sort(key=lambda file: file.stem)
    return {key: tuple(files) for key, files in grouped.items()}


def _nnunet_split(file: SourceFile) -> dict[str, str]:
    """Return the cell ``split`` of an image in a folder of nnU-Net; empty for training images and other folders."""
    folders = file.name.lower().split("/")[:-1]
    split = next((_NNUNET_SPLITS[name] for name in folders if name in _NNUNET_SPLITS), "")
    return {"split": split} if split else {}


def _separate_masks(
    files: Iterable[SourceFile], outer: int = 0
) -> tuple[dict[Key, SourceFile], dict[Key, list[SourceFile]]]:
    """Separate images and masks, ignoring the ``outer`` outermost folders.

    A mask is that of the image with the same name, else of the image with its name without a suffix for masks. Returns
    the images, and the masks by the keys of their images.
    """
    images: dict[Key, SourceFile] = {}
    in_mask_folders: list[tuple[Key, Key, SourceFile]] = []
    undecided: list[tuple[Key, Key, SourceFile]] = []
    plain: list[tuple[Key, SourceFile]] = []
    files = [file for file in files if file.suffix in (*SUFFIXES, ARRAY_SUFFIX)]
    has_images = any(name.lower() in _IMAGE_FOLDERS for file in files for name in file.name.split("/")[outer:-1])
    are_named = any(file.is_mask for file in files)  # then masks beside the images are not used
    for file in files:
        folders = file.name.split("/")[1 if file.is_mask else outer : -1]
        other_folders = tuple(
            name for name in folders if not _is_mask_folder(name, has_images) and name.lower() not in _IMAGE_FOLDERS
        )
        stem, stem_without_suffix = normalize_name(file.stem), strip_mask_suffix(file.stem)
        key, image_key = (other_folders, stem), (other_folders, stem_without_suffix)
        is_named_mask = file.suffix == ARRAY_SUFFIX or stem_without_suffix != stem
        if file.is_mask and not is_named_mask and not _is_in_mask_folder(folders, has_images):
            plain.append((key, file))
        elif file.is_mask or _is_in_mask_folder(folders, has_images):
            if file.is_mask or not are_named:
                in_mask_folders.append((key, image_key, file))
        elif is_named_mask:
            undecided.append((key, image_key, file))
        else:
            images.setdefault(key, file)
    of_own_name = {key for key, _, _ in in_mask_folders}
    masks: dict[Key, list[SourceFile]] = defaultdict(list)
    beside: list[tuple[Key, SourceFile]] = []
    for key, image_key, file in undecided:  # x_lesion.jpg may be an image of a lesion
        if image_key in images and not {key, image_key} <= of_own_name:
            beside.append((image_key, file))
        elif file.suffix != ARRAY_SUFFIX:
            images.setdefault(key, file)
    stems = {stem for _, stem in images}
    for key, image_key, file in in_mask_folders:
        is_of_same_name = key in images or (image_key not in images and key[1] in stems)
        masks[key if is_of_same_name else image_key].append(file)
    named = {*masks}
    for key, file in plain:  # beside a mask x_mask.png, x.png is its photograph
        if key not in named and not {name.lower() for name in file.name.split("/")[:-1]} & {*_IMAGE_FOLDERS}:
            masks[key].append(file)
    for image_key, file in beside:
        masks[image_key].append(file)
    return images, dict(masks)


def _is_mask_folder(name: str, has_images: bool) -> bool:
    """Whether a folder's name marks masks; ``labels`` does so only next to a folder of images."""
    return bool(_MASK_FOLDER.search(name)) or (has_images and bool(_LABEL_FOLDER.fullmatch(name)))


def _is_in_mask_folder(folders: Sequence[str], has_images: bool) -> bool:
    """Whether the innermost of the folders that are named for images or masks is named for masks."""
    for name in reversed(folders):
        if name.lower() in _IMAGE_FOLDERS:
            return False
        if _is_mask_folder(name, has_images):
            return True
    return False


def _count_common_folders(files: Iterable[SourceFile]) -> int:
    """Count the outermost folders that all images and masks share."""
    folders = [file.name.split("/")[:-1] for file in files if file.suffix in SUFFIXES]
    return next(
        (depth for depth, names in enumerate(zip(*folders, strict=False)) if len({*names}) > 1), min(map(len, folders))
    )


DICOM_SUFFIXES = (".dcm", ".dicom")
MAGIC, MAGIC_OFFSET = b"DICM", 128  # by which a file without suffix is recognized as DICOM


def read_dicom_header(file: SourceFile, tree: SourceTree) -> DicomHeader | None:
    """Read the header of a DICOM file; None for other files, and for unreadable ones, which are noted."""
    try:
        with file.open() as opened:
            opened.seek(MAGIC_OFFSET)
            if opened.read(len(MAGIC)) != MAGIC and not file.suffix:
                return None
            opened.seek(0)
            header = read_header(opened)
    except (UnreadableImage, OSError, BadZipFile) as error:
        tree.notes.append((file.name, str(error)))
        return None
    if header.has_detector_scale:
        tree.notes.append((file.name, DETECTOR_SCALE))
    return header


def list_header_values(header: DicomHeader) -> dict[str, str]:
    """Return the values of a header, under column names that are known to the harmonization."""
    values = {
        "patient_id": pseudonym(header.patient),
        "lesion_id": pseudonym(header.lesion, "lesion"),
        "modality": header.modality,
        "age": "" if header.age is None else f"{header.age:.2f}".rstrip("0").rstrip("."),
        "PatientSex": header.sex,
        "Body Part Examined": header.body_part,
        "laterality": header.laterality,
        "ethnicity": header.ethnicity,
    }
    if header.pixel_size is not None:
        values |= {"mpp_x": f"{header.pixel_size.x_um:g}", "mpp_y": f"{header.pixel_size.y_um:g}"}
    return {name: text for name, text in values.items() if text}
