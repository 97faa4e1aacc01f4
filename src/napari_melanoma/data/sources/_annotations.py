"""Sets whose masks are annotations in JSON files, which are drawn when the images are imported."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.data.annotation_json import JSON_NAME
from napari_melanoma.data.mask_areas import MaskObject
from napari_melanoma.data.mask_formats import MaskFormat, read_annotations
from napari_melanoma.data.mask_values import ImageNames
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import pair_records, read_image_rows
from napari_melanoma.data.sources.folder import TABLES

_SPLIT = re.compile(r"(?<![a-z])(train|val|test)", re.IGNORECASE)  # in names such as instances_train2017.json


def describe_format(name: MaskFormat, title: str, url: str, files: str) -> SourceSpec:
    """Return the description of a format of annotations."""
    return SourceSpec(
        name=name,
        title=title,
        licence="that of its images",
        url=url,
        modality="",
        reference="",
        layout=f"{files}\nthe images, in folders of any name\nmetadata.csv with patient_id ..., if known",
        public=False,
    )


def find_annotated(tree: SourceTree, format_: MaskFormat) -> list[SourceRecord]:
    """Find the images, with the objects that annotations of a format outline on them."""
    objects, splits = _read_objects(tree, format_)
    if not objects:
        return []
    rows = read_image_rows(tree, TABLES, keep_folders=True)
    records = pair_records(tree, rows, {})
    names = ImageNames(Path(record.image.name) for record in records if record.image)
    objects_of: dict[str, list[MaskObject]] = defaultdict(list)
    split_of: dict[str, str] = {}
    for image, of_image in objects.items():
        candidates = names.find(image)
        if len(candidates) != 1:
            reason = f"may be {format_names(list(map(str, candidates)))}" if candidates else "no image has this name"
            tree.notes.append((image, f"{format_count(len(of_image), 'object')} left out: {reason}"))
            continue
        objects_of[candidates[0].as_posix()] += of_image
        split_of[candidates[0].as_posix()] = splits[image]
    found = []
    for record in records:
        name = record.image.name if record.image else ""
        of_record = objects_of.get(name, [])
        values = {**_find_diagnosis(of_record, tree), **_as_split(split_of.get(name, "")), **record.values}
        found.append(replace(record, mask=None, objects=tuple(of_record), values=values))
    return found if objects_of else []


def _read_objects(tree: SourceTree, format_: MaskFormat) -> tuple[dict[str, list[MaskObject]], dict[str, str]]:
    """Read the objects by the name of their image, and the split of each, which the name of the file states."""
    objects: dict[str, list[MaskObject]] = defaultdict(list)
    splits: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for name, one in _iterate_objects(tree, format_):
        if isinstance(one, str):
            left_out[one] += 1
            continue
        objects[one.image].append(one)
        found = _SPLIT.findall(name)
        splits[one.image] = found[-1].lower() if found else ""
    tree.notes += [("annotations", f"left out: {count} {what}") for what, count in left_out.items()]
    return objects, splits


def _iterate_objects(tree: SourceTree, format_: MaskFormat) -> Iterator[tuple[str, MaskObject | str]]:
    """Yield the file name, and an object or a description of what was left out."""
    for file in tree.files:
        name = file.name.rpartition("/")[2]
        if JSON_NAME.fullmatch(name):
            content = parse_json(tree.read_content(file), file.name, allow_nan=True)
            yield from ((name, one) for one in read_annotations(content, Path(file.name), format_))


def _find_diagnosis(objects: list[MaskObject], tree: SourceTree) -> Mapping[str, str]:
    diagnoses = sorted({one.diagnosis for one in objects} - {""})
    if len(diagnoses) > 1:
        tree.notes.append(
            (objects[0].image, f"its objects have several diagnoses, none is used: {', '.join(diagnoses)}")
        )
    return {"diagnosis": diagnoses[0]} if len(diagnoses) == 1 else {}


def _as_split(name: str) -> Mapping[str, str]:
    return {"split": name} if name else {}
