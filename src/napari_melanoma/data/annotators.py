"""Masks of one image by several annotators: state it, and unite them, let them vote, or use those of one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.data.mask_areas import MaskObject

UNION, MAJORITY = "union", "majority"
DESCRIPTION = (
    "of an image with masks of several: the name of an annotator, or of a folder or file of masks; union: unite them; "
    "majority: pixels in the masks of more than half of them"
)
Image = TypeVar("Image", bound=Hashable)


def select_annotator(
    objects_of: Mapping[Image, Sequence[MaskObject]], annotator: str
) -> tuple[dict[Image, list[MaskObject]], list[tuple[str, str]]]:
    """Select the objects of each image by their annotators; also returns notes (topic and message).

    ``annotator``: a name, "union" or "majority", or "" for the annotation that is the default of its format, else all.
    """
    if annotator in (UNION, MAJORITY):
        return {image: list(objects) for image, objects in objects_of.items()}, []
    if annotator:
        return _select_one(objects_of, annotator)
    selected = {image: [one for one in objects if one.is_default] for image, objects in objects_of.items()}
    several = {image: objects for image, objects in objects_of.items() if len({one.source for one in objects}) > 1}
    united = [image for image in several if len({one.source for one in selected[image]}) > 1]
    chosen = [image for image in several if image not in united]
    how = f"--annotator NAME selects one, --annotator {UNION} or {MAJORITY} combines them"
    notes = []
    for images, outcome in (
        (united, "which were united"),
        (chosen, "of which one was used (the ground truth, else the last of a task, or the first of several files)"),
    ):
        if images:
            names = format_names(dict.fromkeys(one.author for image in images for one in several[image]))
            count = format_count(len(images), "image")
            notes.append(("annotators", f"{count} with masks of several ({names}), {outcome}; {how}"))
    return selected, notes


def _select_one(
    objects_of: Mapping[Image, Sequence[MaskObject]], annotator: str
) -> tuple[dict[Image, list[MaskObject]], list[tuple[str, str]]]:
    """Select the objects of one annotator, or of the folders or files of that name."""
    selected = {image: [one for one in objects if annotator in one.names] for image, objects in objects_of.items()}
    if not any(selected.values()):
        known = format_names(dict.fromkeys(one.author for objects in objects_of.values() for one in objects), 12)
        raise InputError(
            f"no mask is by '{annotator}': expected an annotator, or the name of a folder or file of masks, found "
            f"{known or 'no annotations'}."
        )
    without = sum(bool(objects_of[image]) and not objects for image, objects in selected.items())
    note = f"{format_count(without, 'image')} with masks, but none by {annotator}: left without a mask"
    return selected, [("annotators", note)] if without else []
