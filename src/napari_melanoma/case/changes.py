"""Choose photographs of a lesion in a case, and compare them over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from napari_melanoma.case.model import CaseImage, CaseLesion
from napari_melanoma.case.results import choose_pixel_size, read_case_mask, read_case_photograph
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.lesion.changes import LesionChanges, MeasuredPhotograph, compare_photographs


@dataclass(frozen=True)
class ImagePair:
    """Two photographs of a lesion, the earlier one first."""

    first: CaseImage
    second: CaseImage


def list_photographs(lesion: CaseLesion) -> tuple[CaseImage, ...]:
    """Return the photographs of a lesion that have a mask, the earliest first and those without a day last."""
    photographs = (image for image in lesion.images if not image.is_slide and (image.correction or image.current))
    return tuple(sorted(photographs, key=lambda image: (not image.taken_on, image.taken_on)))


def list_follow_ups(lesion: CaseLesion) -> tuple[ImagePair, ...]:
    """Return the first and the last photograph of each modality, if they were taken on different days."""
    by_modality: dict[str, list[CaseImage]] = {}
    for image in list_photographs(lesion):
        if image.taken_on:
            by_modality.setdefault(image.modality, []).append(image)
    pairs = [ImagePair(images[0], images[-1]) for images in by_modality.values()]
    return tuple(pair for pair in pairs if pair.first.taken_on != pair.second.taken_on)


def compare_images(pair: ImagePair, run: RunContext) -> LesionChanges:
    """Read and compare two photographs, as ``compare_photographs`` does.

    Raise ``InputError`` if a file is missing or unreadable, or if an image has no mask.
    """
    run.check()
    first = _read_measured(pair.first)
    run.check()
    second = _read_measured(pair.second)
    run.check()
    return compare_photographs(first, second, run)


def _read_measured(image: CaseImage) -> MeasuredPhotograph:
    photograph, mask = read_case_photograph(image, accept_damaged=True), read_case_mask(image)
    if mask is None:
        raise InputError(f"{image.path.name} has no mask. Open it from the case to segment the lesion.")
    return MeasuredPhotograph(replace(photograph, pixel_size=choose_pixel_size(image, photograph)), mask)


def explain_incomparable(images: Sequence[CaseImage]) -> str:
    """Return why photographs of a lesion cannot be compared, and what to do; empty if they can."""
    modalities = {image.modality for image in images if image.modality}
    if len(images) < 2:
        return "A comparison requires two photographs of this lesion with masks. Open a photograph to segment it"
    return "The photographs have different modalities: select two of the same" if len(modalities) > 1 else ""
