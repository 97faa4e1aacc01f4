"""MONAI: a data list as in the Medical Segmentation Decathlon, with the images and masks that it names."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.data.exports import TEST, DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.data.formats._annotations import JSON_NAME
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import TABLES, SourceRecord, add_rows, describe_own_files, read_image_rows
from napari_melanoma.data.splits import FOLD
from napari_melanoma.io.results import write_labels

SOURCE = describe_own_files(
    name="decathlon",
    title="MONAI data list",
    url="https://docs.monai.io/en/stable/data.html#decathlon-datalist",
    reference="Antonelli et al. 2022, doi:10.1038/s41467-022-30695-9",
    layout="""\
dataset.json with the lists training, validation and test of {"image": ..., "label": ...}; label is the file of a mask,
or a class, and fold (from 0 on) is optional
the files that it names, by paths from the folder of dataset.json or from the imported folder
metadata.csv with patient_id ..., if known""",
)
SPLITS = {"training": "", "validation": "val", "test": "test"}
EXPORT = DataExportSpec(
    "decathlon", "MONAI data list (dataset.json as in the Medical Segmentation Decathlon)", has_parts=True
)
DATA_LIST = "dataset.json"
SECTIONS = {"": "training", "train": "training", "val": "validation", TEST: "test"}


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the cases of all data lists."""
    files = {file.name: file for file in tree.files}
    root = f"{tree.folder.absolute().as_posix()}/"
    rows = read_image_rows(tree, TABLES, keep_folders=True)
    records, used, missing = [], set[str](), list[str]()
    for folder, split, case, where in _iterate_cases(tree):

        def find_file(path: object, folder: str = folder, where: str = where) -> SourceFile | None:
            if not isinstance(path, str):
                raise DataSetError(f"{where}: expected the path of one color image or mask, found {str(path)[:60]}.")
            posix = PureWindowsPath(path).as_posix().removeprefix(root)
            # another file of that name is not used: an image and its mask often differ in their folders alone
            named = (posixpath.normpath(posixpath.join(parent, posix)) for parent in (folder, ""))
            found = next((files[name] for name in named if name in files), None)
            missing.extend([] if found else [path])
            return found

        image = find_file(case.get("image"))
        if image is None:
            continue
        label = case.get("label")
        is_file = isinstance(label, str) and bool(PurePosixPath(label).suffix)
        mask = find_file(label) if is_file else None
        image_id = free_name(safe_name(image.stem), used)
        used.add(image_id.lower())
        values = {"split": split} if split else {}
        values |= {"fold": str(case["fold"] + 1)} if type(case.get("fold")) is int else {}
        values |= {"label": str(label)} if label is not None and not is_file else {}
        records.append(SourceRecord(image_id, image, mask, values))
    both = {record.image for record in records} & {record.mask for record in records}
    if names := sorted(file.name for file in both if file):
        raise DataSetError(
            f"the data lists in {tree.folder} name a file both as an image and as a mask: {format_names(names)}. "
            "Correct the lists."
        )
    if missing:
        note = f"not found, so these images or masks are left out: {format_names(missing)}"
        expected = "Expected paths from the folder of the data list or from the imported folder"
        tree.notes.append(("files", f"{note}. {expected}"))
    return add_rows(tree, records, rows)


def _iterate_cases(tree: SourceTree) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Yield the folder of a data list, the split of a case, the case, and its position for errors."""
    for file in tree.files:
        folder, _, name = file.name.rpartition("/")
        if not JSON_NAME.fullmatch(name):
            continue
        content = parse_json(tree.read_content(file), file.name, allow_nan=True)
        if not (isinstance(content, dict) and isinstance(content.get("training"), list)):
            continue
        for key, split in SPLITS.items():
            for number, entry in enumerate(content.get(key) or []):
                case, where = {"image": entry} if isinstance(entry, str) else entry, f"{file.name}: {key} {number}"
                if not isinstance(case, dict):
                    raise DataSetError(f"{where}: expected an image and a label, found {str(entry)[:60]}.")
                yield folder, split, case, where


def write(data: ExportedData, folder: Path) -> None:
    """Write images and masks, and a list for each split; the column fold is used as in MONAI's Auto3DSeg."""

    def write_case(image: ExportedImage) -> dict[str, object]:
        path, shape = image.copy_image(folder / "images")
        label = folder / "labels" / f"{image.image_id}.png"
        write_labels(label, image.read_labels(shape))
        fold = str(image.row.get(FOLD, "")).strip()
        numbered = {"fold": int(fold) - 1} if fold.isdecimal() else {}  # counted from 0 there
        return {"image": f"images/{path.name}", "label": f"labels/{label.name}", **numbered}

    lists: dict[str, list[dict[str, object]]] = {name: [] for name in SECTIONS.values()}
    for image, case in data.write_each(write_case):
        lists[SECTIONS[image.split]].append(case)
    labels = {str(values[0]): name for name, values in data.classes.items() if len(values) == 1}
    write_json(
        folder / DATA_LIST,
        {
            "name": data.name,
            "modality": {"0": "RGB"},
            "labels": {"0": "background", **labels},
            "numTraining": len(lists["training"]),
            "numTest": len(lists["test"]),
            **{name: cases for name, cases in lists.items() if cases or name == "training"},
        },
    )
