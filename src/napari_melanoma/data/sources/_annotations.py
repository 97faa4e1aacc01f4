"""Sets whose masks are annotations in JSON files, which are drawn when the images are imported."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.data.annotation_json import JSON_NAME, find_text
from napari_melanoma.data.mask_areas import MaskObject
from napari_melanoma.data.mask_formats import MaskFormat, as_list, read_annotations
from napari_melanoma.data.mask_values import ImageNames, find_stated_split
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import pair_records, read_image_rows
from napari_melanoma.data.sources.folder import TABLES

_ImageInFile = tuple[str, Path]  # the name of an image, and the file that names it


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
    split_of: dict[str, set[str]] = defaultdict(set)
    for (image, file), of_image in objects.items():
        candidates = names.find(image, file)
        if len(candidates) != 1:
            reason = f"may be {format_names(list(map(str, candidates)))}" if candidates else "no image has this name"
            tree.notes.append((image, f"{format_count(len(of_image), 'object')} left out: {reason}"))
            continue
        objects_of[candidates[0].as_posix()] += of_image
    for (image, file), split in splits.items():
        if len(candidates := names.find(image, file)) == 1:
            split_of[candidates[0].as_posix()].add(split)
    found, contradicting = [], []
    for record in records:
        name = record.image.name if record.image else ""
        of_record = objects_of.get(name, [])
        stated = split_of.get(name, set())
        contradicting += [name] if len(stated) > 1 else []
        of_split = {"split": next(iter(stated))} if len(stated) == 1 else {}
        values = {**_find_diagnosis(of_record, tree), **of_split, **record.values}
        found.append(replace(record, mask=None, objects=tuple(of_record), values=values))
    if contradicting:
        note = f"none is used for {format_names(contradicting)}, which are in files of several splits"
        tree.notes.append(("split", note))
    return found if objects_of else []


def _read_objects(
    tree: SourceTree, format_: MaskFormat
) -> tuple[dict[_ImageInFile, list[MaskObject]], dict[_ImageInFile, str]]:
    """Read the objects of each image in each file, and the splits of the images that files of COCO list."""
    objects: dict[_ImageInFile, list[MaskObject]] = defaultdict(list)
    splits: dict[_ImageInFile, str] = {}
    left_out: Counter[str] = Counter()
    for file in tree.files:
        if not JSON_NAME.fullmatch(file.name.rpartition("/")[2]):
            continue
        content = parse_json(tree.read_content(file), file.name, allow_nan=True)
        for one in read_annotations(content, path := Path(file.name), format_):
            if isinstance(one, str):
                left_out[one] += 1
            else:
                objects[one.image, path].append(one)
        if format_ == "coco" and isinstance(content, dict) and (split := find_stated_split(path)):
            for image in as_list(content.get("images")):  # also in files without annotations
                splits[find_text(image, "file_name"), path] = split
    tree.notes += [("annotations", f"left out: {count} {what}") for what, count in left_out.items()]
    return objects, splits


def _find_diagnosis(objects: list[MaskObject], tree: SourceTree) -> Mapping[str, str]:
    diagnoses = sorted({one.diagnosis for one in objects} - {""})
    if len(diagnoses) > 1:
        tree.notes.append(
            (objects[0].image, f"its objects have several diagnoses, none is used: {', '.join(diagnoses)}")
        )
    return {"diagnosis": diagnoses[0]} if len(diagnoses) == 1 else {}
