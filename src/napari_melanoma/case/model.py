"""The data model of a case: frozen values that are stored as JSON, and edits that return a new case.

Empty text and ``None`` mean unknown; all fields except the ids may be unknown. Values guessed from a name, a header or
a table are stored like others, with their origin in ``guesses`` until a user confirms them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from napari_melanoma.core.config import Config
from napari_melanoma.core.validity import Validity, read_risk_validity
from napari_melanoma.data.table_schema import check_value, find_column
from napari_melanoma.data.taxonomy import UNKNOWN
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.io.discovery import SLIDE_SUFFIXES

VERSION = "1.1"  # a larger major number is another format; a larger minor number has keys that are unknown here
NAME = r"^[A-Za-z0-9_-]{0,32}$"  # of files in the case folder
Origin = Literal["name", "content", "dicom", "exif", "table"]
CellKind = str | float | bool | None


def format_cell(value: CellKind) -> str:
    """Format a value for a table: "" for None, 1 and 0 for yes and no, integers without a decimal point."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class CasePart(Config):
    """Base of the parts of a case: fields with the name of a table column accept the values of that column."""

    guesses: dict[str, Origin] = Field({}, description="fields that are not confirmed: name to origin")
    more: dict[str, Any] = Field({}, description="keys of a newer version, kept unchanged")

    def cell(self, name: str) -> str:
        """Format a field as in a table: "" if unknown, 1 and 0 for yes and no."""
        return format_cell(getattr(self, name))

    @field_validator("*", mode="after")
    @classmethod
    def _check_column(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - of any field
        """Reject values that the column of that name does not accept."""
        column = find_column(info.field_name or "")
        if column is None or not isinstance(value, str | float | int):
            return value
        problem = check_value(column, format_cell(value))
        if problem:
            raise PydanticCustomError("table", "{problem}", {"problem": problem})
        return "" if value == UNKNOWN else value


class CaseCorrection(Config):
    """A mask that a user drew or corrected, as a PNG with the size of the upright image in the case folder."""

    path: Path = Field(description="PNG, 0 outside and 255 inside")
    digest: str = Field(description="SHA-256 of the mask's shape, type and pixels")
    image_digest: str = Field("", description="SHA-256 of the upright photograph")
    model: str = Field("", description="the model whose mask was corrected; empty if it was drawn by hand")
    created: str = Field("", description="UTC, ISO 8601")
    program: str = Field("", description="version of napari-melanoma")
    more: dict[str, Any] = Field({}, description="keys of a newer version, kept unchanged")


class CaseResult(Config):
    """A result folder, and the mask that it is based on."""

    path: Path = Field(description="folder with result.json")
    correction: str = Field("", description="digest of the correction it is based on; empty: the predicted mask")
    model: str = Field("", description="name of the model")
    created: str = Field("", description="UTC, ISO 8601")
    more: dict[str, Any] = Field({}, description="keys of a newer version, kept unchanged")


class CaseRisk(Config):
    """Predicted risk of metastasis from a slide, as shown in the dock; the complete result is in ``path``."""

    path: Path = Field(description="JSON with the complete result")
    verdict: str = Field(description="the result in a sentence")
    probability: float = Field(ge=0, le=1)
    interval: tuple[float, float] | None = None
    shares: dict[str, float] = Field({}, description="contributions of image, depth and patient")
    without: float | None = Field(None, description="the probability without any patient data")
    beside: dict[str, dict[str, Any]] = Field(
        {}, description="other methods: title, probability, or the reason why there is none"
    )
    depth: str = Field("", description="the thickness that was used, and its source")
    known: dict[str, str] = Field({}, description="column to cell, at the time of the prediction")
    row: dict[str, str] = Field({}, description="column to cell of the case, at the time of saving")
    missing: tuple[str, ...] = Field((), description="input columns of the model that were unknown")
    warnings: tuple[str, ...] = Field((), description="warnings on the result")
    model: str = Field("", description="name of the model")
    fingerprint: str = Field("", description="SHA-256 of its weights")
    created: str = Field("", description="UTC, ISO 8601")
    number: str = Field("", description="the probability with its interval, as text")
    validity: dict[str, Any] | None = Field(None, description="whether it is valid, and the reasons if not")
    more: dict[str, Any] = Field({}, description="keys of a newer version, kept unchanged")

    @property
    def known_validity(self) -> Validity:
        """Whether it is valid, also for results stored without this information."""
        return read_risk_validity({**self.model_dump(mode="json"), "model": {"name": self.model}})

    @property
    def headline(self) -> str:
        """The result, or the reason why it is not valid."""
        validity = self.known_validity
        return validity.headline("") or self.verdict


class CaseImage(CasePart):
    """A photograph, a tile of a total-body photograph, or a slide."""

    id: str = Field(description="I1, I2 ...: unique in a case", pattern=NAME)
    path: Path = Field(description="the file")
    content: str = Field("", description="digest of the file, to find it if it was moved")
    modality: str = Field("", description="dermoscopic, macroscopic, tbp_tile or wsi")
    mpp_x: float | None = Field(None, description="width of a pixel in micrometers, if set by the user")
    mpp_y: float | None = Field(None, description="height of a pixel in micrometers, if set by the user")
    taken_on: str = Field("", description="day, YYYY-MM-DD", pattern=r"^(\d{4}-\d\d-\d\d)?$")
    correction: CaseCorrection | None = Field(None, description="mask drawn or corrected by the user")
    results: tuple[CaseResult, ...] = Field((), description="results, the newest last")
    risk: CaseRisk | None = Field(None, description="of a slide: predicted risk of metastasis")

    @property
    def name(self) -> str:
        """The file name without suffix, used for layers and results."""
        return self.path.stem

    @property
    def is_slide(self) -> bool:
        """Whether it is a slide."""
        return self.modality == "wsi" or (not self.modality and self.path.name.lower().endswith(SLIDE_SUFFIXES))

    @property
    def current(self) -> CaseResult | None:
        """The newest result for the current mask."""
        return next((result for result in reversed(self.results) if self.is_current(result)), None)

    def is_current(self, result: CaseResult) -> bool:
        """Return whether a result is based on the current mask."""
        return result.correction == (self.correction.digest if self.correction else "")


class CaseLesion(CasePart):
    """One lesion: site, clinical data and images."""

    id: str = Field(description="L1, L2 ...: unique in a case", pattern=NAME)
    label: str = Field("", description="its name in files or tables")
    site: str = Field("", description="region of the body, as in the harmonized table")
    sub_site: str = Field("", description="location within the site")
    laterality: str = Field("", description="side of the patient: left, right or midline")
    diagnosis: str = Field("", description="as in the harmonized table")
    diagnosis_detail: str = Field("", description="its subtype")
    diagnosis_by: str = Field("", description="how it was made")
    itch: bool | None = Field(None, description="whether it itches")
    hurt: bool | None = Field(None, description="whether it hurts")
    bleed: bool | None = Field(None, description="whether it bleeds")
    elevation: bool | None = Field(None, description="whether it is raised")
    diameter_1_mm: float | None = Field(None, description="longest diameter")
    diameter_2_mm: float | None = Field(None, description="diameter across it")
    depth_mm: float | None = Field(None, description="Breslow thickness")
    ulceration: bool | None = Field(None, description="whether it is ulcerated")
    mitoses_per_mm2: float | None = Field(None, description="mitoses per square millimeter")
    clark: int | None = Field(None, description="Clark level, 1 to 5")
    metastasis: bool | None = Field(None, description="whether it has metastasized")
    note: str = Field("", description="free text; stays in the case and is never exported")
    images: tuple[CaseImage, ...] = Field((), description="in their order")
    synoptic: SynopticReport | None = Field(None, description="synoptic report of the pathologist")


class CasePatient(CasePart):
    """The patient, under a pseudonym."""

    patient_id: str = Field("", description="a pseudonym; no name and no hospital number")
    age: float | None = Field(None, description="years")
    sex: str = Field("", description="female or male")
    fitzpatrick: int | None = Field(None, description="skin type, I to VI as 1 to 6")
    ethnicity: str = Field("", description="as reported")
    personal_history: bool | None = Field(None, description="previous melanoma")
    family_history: bool | None = Field(None, description="melanoma in the family")
    note: str = Field("", description="free text; stays in the case and is never exported")


class Case(Config):
    """One patient with lesions and their images; ``images`` are not assigned to a lesion."""

    version: str = Field(VERSION, description="of the format", pattern=r"^\d+\.\d+$")
    patient: CasePatient = Field(default_factory=CasePatient, description="the patient")
    lesions: tuple[CaseLesion, ...] = Field((), description="in their order")
    images: tuple[CaseImage, ...] = Field((), description="images that are not assigned to a lesion")
    lesions_numbered: int = Field(0, ge=0, description="the last lesion number in use")
    images_numbered: int = Field(0, ge=0, description="the last image number in use")
    created: str = Field("", description="UTC, ISO 8601")
    more: dict[str, Any] = Field({}, description="keys of a newer version, kept unchanged")

    @model_validator(mode="after")
    def _check_unique_ids(self) -> Self:
        lesions = [lesion.id for lesion in self.lesions]
        images = [image.id for _, image in self.iterate_images()]
        for what, ids in (("lesions", lesions), ("images", images)):
            twice = [name for name, count in Counter(ids).items() if count > 1]
            if twice:
                raise ValueError(f"two {what} have the id '{twice[0]}': change one of them")
        return self

    def iterate_images(self) -> Iterator[tuple[CaseLesion | None, CaseImage]]:
        """Yield each image with its lesion; unassigned images come last, with None."""
        for lesion in self.lesions:
            yield from ((lesion, image) for image in lesion.images)
        yield from ((None, image) for image in self.images)

    def find_lesion(self, lesion_id: str) -> CaseLesion:
        return next((found for found in self.lesions if found.id == lesion_id), None) or _raise_missing(lesion_id)

    def find_image(self, image_id: str) -> CaseImage:
        """Find an image, assigned to a lesion or not."""
        return next((found for _, found in self.iterate_images() if found.id == image_id), None) or _raise_missing(
            image_id
        )


def _raise_missing(name: str) -> Any:  # noqa: ANN401 - never returns
    """Raise for an id that the case does not have."""
    raise KeyError(f"the case has no {name}")


def number_lesions(case: Case) -> dict[str, str]:
    """Return the displayed numbers of the lesions by id: those of files or tables if unique, else those of the ids."""
    labels = {lesion.id: lesion.label for lesion in case.lesions if lesion.label}
    by_id = {lesion.id: lesion.id.removeprefix("L") for lesion in case.lesions}
    merged = {**by_id, **labels}
    are_numbers = all(re.fullmatch(r"\d{1,3}", text) for text in labels.values())
    return merged if are_numbers and len(set(merged.values())) == len(merged) else by_id


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
