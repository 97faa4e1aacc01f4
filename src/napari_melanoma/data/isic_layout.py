"""What the ISIC challenges have in common: a folder or archive of images and one of masks for each part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.sources import Record, SourceSpec

IDS = r"(ISIC_\d{7})(?:_downsampled)?"  # the archive gives each to one image for good
IMAGE = r"(ISIC_\d+)\.(?:jpe?g|png)"
MASK = r"(ISIC_\d+)_segmentation\.png"


class Part(NamedTuple):
    """A part of a challenge: the split that it is, and the folders of its images and masks."""

    split: str
    images: str
    masks: str


def challenge_records(
    tree: SourceTree, parts: Iterable[Part], spec: SourceSpec, known: Mapping[str, Mapping[str, str]]
) -> list[Record]:
    """Find the images of a challenge, and the rows of its tables.

    In order of their ids.
    """
    common = {"modality": spec.modality}
    found: dict[str, Record] = {}
    for part in parts:
        masks = tree.find(_named(part.masks), MASK)
        for image_id, image in tree.find(_named(part.images), IMAGE).items():
            values = {**common, **known.get(image_id, {}), "split": part.split}
            found.setdefault(image_id, Record(image_id, image, masks.get(image_id), values))
    for image_id, said in known.items():
        found.setdefault(image_id, Record(image_id, None, None, {**common, **said}))
    return [found[image_id] for image_id in sorted(found)]


def _named(folder: str) -> str:
    """Match a folder of this name anywhere in a path."""
    return rf"(?:^|/){re.escape(folder)}(?:/|$)"
