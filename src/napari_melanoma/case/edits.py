"""Edits of a case: each returns a new case and leaves the original unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from napari_melanoma.case.model import Case, CaseCorrection, CaseImage, CaseLesion, CasePart, CaseResult
from napari_melanoma.core.config import Config

Part = TypeVar("Part", bound=CasePart)
Value = TypeVar("Value", bound=Config)
Images = tuple[CaseImage, ...]


def set_patient(case: Case, **values: object) -> Case:
    """Set fields of the patient; they no longer count as guesses."""
    return _replace_fields(case, patient=_change_part(case.patient, values))


def add_lesion(case: Case, **values: object) -> Case:
    """Add a lesion at the end; its id is ``case.lesions[-1].id`` of the returned case."""
    number = _last_number(case.lesions_numbered, (lesion.id for lesion in case.lesions)) + 1
    lesion = _change_part(CaseLesion(id=f"L{number}"), values)
    return _replace_fields(case, lesions=(*case.lesions, lesion), lesions_numbered=number)


def remove_lesion(case: Case, lesion_id: str) -> Case:
    """Remove a lesion; its images stay in the case as unassigned images."""
    images = case.find_lesion(lesion_id).images
    left = tuple(lesion for lesion in case.lesions if lesion.id != lesion_id)
    return _replace_fields(case, lesions=left, images=(*case.images, *images))


def set_lesion(case: Case, lesion_id: str, **values: object) -> Case:
    """Set fields of a lesion; they no longer count as guesses."""
    changed = _change_part(case.find_lesion(lesion_id), values)
    return _replace_fields(case, lesions=tuple(changed if found.id == lesion_id else found for found in case.lesions))


def add_images(case: Case, images: Iterable[CaseImage], lesion_id: str = "") -> Case:
    """Add images to a lesion, or to the unassigned images; each gets a new id."""
    number = _last_number(case.images_numbered, (image.id for _, image in case.iterate_images()))
    numbered = [_replace_fields(image, id=f"I{number + more}") for more, image in enumerate(images, start=1)]
    added = _insert_images(case, lesion_id, len(_images_of(case, lesion_id)), numbered)
    return _replace_fields(added, images_numbered=number + len(numbered))


def remove_image(case: Case, image_id: str) -> Case:
    """Remove an image from the case; its file stays where it is."""
    case.find_image(image_id)
    return _map_images(case, image_id, lambda images: tuple(image for image in images if image.id != image_id))


def move_image(case: Case, image_id: str, lesion_id: str, position: int | None = None) -> Case:
    """Move an image to a lesion, or to the unassigned images; this confirms its lesion."""
    image = _change_part(case.find_image(image_id), {}, confirmed=("lesion",))
    left = remove_image(case, image_id)
    index = len(_images_of(left, lesion_id)) if position is None else position
    return _insert_images(left, lesion_id, index, [image])


def set_image(case: Case, image_id: str, **values: object) -> Case:
    """Set fields of an image; they no longer count as guesses."""
    return _replace_image(case, _change_part(case.find_image(image_id), values))


def set_correction(case: Case, image_id: str, correction: CaseCorrection | None) -> Case:
    """Set the mask that a user drew or corrected."""
    return _replace_image(case, _replace_fields(case.find_image(image_id), correction=correction))


def add_result(case: Case, image_id: str, result: CaseResult) -> Case:
    """Add a result to an image; a result in the same folder is replaced."""
    image = case.find_image(image_id)
    others = tuple(found for found in image.results if found.path != result.path)
    return _replace_image(case, _replace_fields(image, results=(*others, result)))


def confirm(case: Case, part_id: str = "", *fields: str) -> Case:
    """Confirm guesses of the patient (no id), a lesion or an image."""
    if not part_id:
        return _replace_fields(
            case, patient=_change_part(case.patient, {}, confirmed=fields or tuple(case.patient.guesses))
        )
    lesion = next((found for found in case.lesions if found.id == part_id), None)
    if lesion is not None:
        changed = _change_part(lesion, {}, confirmed=fields or tuple(lesion.guesses))
        return _replace_fields(case, lesions=tuple(changed if found.id == part_id else found for found in case.lesions))
    image = case.find_image(part_id)
    return _replace_image(case, _change_part(image, {}, confirmed=fields or tuple(image.guesses)))


def confirm_all(case: Case) -> Case:
    """Confirm all guesses."""
    parts = [lesion.id for lesion in case.lesions] + [image.id for _, image in case.iterate_images()]
    for part_id in ("", *parts):
        case = confirm(case, part_id)
    return case


def _last_number(numbered: int, ids: Iterable[str]) -> int:
    """Return the last number in use; files of other programs may store none, or one that is too small."""
    return max([numbered, *(int(number) for name in ids if (number := name[1:]).isdecimal())])


def _change_part(part: Part, values: dict[str, object], confirmed: Iterable[str] = ()) -> Part:
    """Return a part with other, validated values; fields that were set or confirmed are no longer guesses."""
    kind = type(part)
    given = {
        name: _empty_value(kind, name) if _is_empty(kind, name, value) else value for name, value in values.items()
    }
    settled = {*values, *confirmed}
    guesses = {name: origin for name, origin in part.guesses.items() if name not in settled}
    return kind.parse({**dict(part), "guesses": guesses, **given}, "what was entered")


def _is_empty(kind: type[CasePart], name: str, value: object) -> bool:
    """Whether a value means unknown."""
    return name in kind.model_fields and (value is None or (isinstance(value, str) and not value.strip()))


def _empty_value(kind: type[CasePart], name: str) -> object:
    """Return the value of a field that means unknown."""
    return kind.model_fields[name].get_default()


def _replace_fields(value: Value, **fields: object) -> Value:
    """Return a value with other fields, which are not validated."""
    return value.model_copy(update=fields)


def _images_of(case: Case, lesion_id: str) -> Images:
    """Return the images of a lesion, or the unassigned ones."""
    return case.find_lesion(lesion_id).images if lesion_id else case.images


def _insert_images(case: Case, lesion_id: str, position: int, images: list[CaseImage]) -> Case:
    """Insert images at a position of a lesion, or of the unassigned images."""
    present = _images_of(case, lesion_id)
    filled = (*present[:position], *images, *present[position:])
    if not lesion_id:
        return _replace_fields(case, images=filled)
    lesions = (_replace_fields(found, images=filled) if found.id == lesion_id else found for found in case.lesions)
    return _replace_fields(case, lesions=tuple(lesions))


def _replace_image(case: Case, image: CaseImage) -> Case:
    """Replace the image with the same id."""
    return _map_images(
        case, image.id, lambda images: tuple(image if found.id == image.id else found for found in images)
    )


def _map_images(case: Case, image_id: str, change: Callable[[Images], Images]) -> Case:
    """Change the images of the lesion that contains an image; other lesions stay the same objects."""
    lesions = (
        _replace_fields(lesion, images=change(lesion.images))
        if any(found.id == image_id for found in lesion.images)
        else lesion
        for lesion in case.lesions
    )
    return _replace_fields(case, lesions=tuple(lesions), images=change(case.images))
