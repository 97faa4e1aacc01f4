"""The layout of nnU-Net: names of cases and of their channels, class labels, and channels stored in several files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.parsing import parse_json, read_object_or_empty, shorten
from napari_melanoma.data.mask_values import ClassValues, read_mask_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})", re.IGNORECASE)
SPLITS_FILE = "splits_final.json"
DESCRIPTION = "dataset.json"  # with the names of classes and channels
COLORS = "rgb"
MAX_CHANNELS = 16  # files of a case that are looked for
ONE_FILE_ADVICE = "expected one color image a case, or three files with red, green and blue in 8 bits"


def read_nnunet_labels(folder: Path) -> ClassValues:
    """Read the class names of an nnU-Net data set from its ``dataset.json``, of any of its folders.

    Returns name to values, several for a region such as ``"whole": [1, 2]``, without the background but with the
    class ``ignore`` of pixels that were not annotated; empty if there are none.
    """
    labels = _read_entry(folder, "labels")
    if any(isinstance(value, str) for value in labels.values()):  # version 1 maps values to names
        labels = {str(name): value for value, name in labels.items()}
    lists = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    texts = {name: [str(value) for value in values] for name, values in lists.items()}
    values = {name: tuple(map(int, filter(str.isdecimal, of_class))) for name, of_class in texts.items()}
    return {name: found for name, found in values.items() if found and min(found) > 0}


def read_channel_order(folder: Path) -> tuple[int, ...]:
    """Return the numbers of the red, green and blue channel, as named in ``dataset.json``, else 0, 1, 2."""
    names = _read_entry(folder, "channel_names") or _read_entry(folder, "modality")
    letters = [str(names.get(str(number), ""))[:1].lower() for number in range(len(COLORS))]
    return tuple(map(letters.index, COLORS)) if sorted(letters) == sorted(COLORS) else (0, 1, 2)


def _read_entry(folder: Path, key: str) -> Mapping[str, object]:
    """Read an object from the ``dataset.json`` of an nnU-Net data set; empty if there is none."""
    contents = (read_object_or_empty(file).get(key) for file in _list_descriptions(folder.absolute()))
    return next((content for content in contents if isinstance(content, dict)), {})


def _list_descriptions(folder: Path) -> Iterator[Path]:
    """Yield where the description of a folder's data set may be.

    It is beside ``imagesTr`` and ``labelsTr``, in a folder of predictions, two folders above those of a validation
    (``nnUNetTrainer__nnUNetPlans__2d/fold_0/validation``), or in the only data set in ``nnUNet_raw``.
    """
    for parent in (folder, folder.parent, folder.parent.parent):
        yield parent / DESCRIPTION
    within = list(folder.glob(f"*/{DESCRIPTION}"))
    if len(within) == 1:
        yield within[0]


def find_channels(first: Path) -> list[Path]:
    """List the files of a case from its first channel ``x_0000.png`` on."""
    match = CHANNEL.fullmatch(first.stem)
    if match is None or int(match["channel"]):
        return [first]
    paths = [first.with_name(f"{match['case']}_{number:04d}{first.suffix}") for number in range(MAX_CHANNELS)]
    return [path for path in paths if path.exists()]


def merge_channels(paths: Sequence[Path], order: Sequence[int]) -> NDArray[np.uint8]:
    """Merge three gray images into uint8 (row, column, channel=3).

    ``order``: indices of red, green and blue in ``paths``. Raises for another number, depth or size of channels.
    """
    check_channel_count([path.name for path in paths])
    channels = [read_mask_values(path) for path in paths]
    found = sorted({f"{channel.dtype} {channel.shape[1]} x {channel.shape[0]}" for channel in channels})
    if len(found) > 1 or channels[0].dtype != np.uint8:
        raise DataSetError(f"its channels in several files are {' and '.join(found)}: {ONE_FILE_ADVICE}, of one size")
    return np.stack([channels[number] for number in order], axis=-1)


def note_merged(channel_counts: Iterable[int]) -> list[tuple[str, str]]:
    """Return a note (topic and message) on photographs whose channels are in three files; empty if there are none."""
    merged = sum(count == len(COLORS) for count in channel_counts)
    if not merged:
        return []
    count = format_count(merged, "photograph")
    return [("channels", f"{count} in three files, read as red, green and blue by name or number")]


def check_channel_count(names: Sequence[str]) -> None:
    """Raise if the channels of a case are in several files, but are not three."""
    if len(names) not in (1, len(COLORS)):
        raise DataSetError(f"{', '.join(names)} are the channels of one nnU-Net case: {ONE_FILE_ADVICE}.")


def parse_folds(text: str, where: str) -> list[dict[str, list[str]]]:
    """Parse the folds of a cross-validation, each with the cases for training and validation."""
    content = parse_json(text, where)
    folds = content if isinstance(content, list) else [content]
    for number, fold in enumerate(folds):
        lists = [fold.get(name) if isinstance(fold, dict) else None for name in ("train", "val")]
        if not all(isinstance(cases, list) and all(isinstance(case, str) for case in cases) for cases in lists):
            raise DataSetError(
                f"{where}, fold {number}: expected the lists 'train' and 'val' of cases, as nnU-Net writes them, found "
                f"{shorten(str(fold))}. Correct or remove the file."
            )
    return folds
