"""What a case is: frozen values that JSON holds, so that an edit is a new value and undo is the one before.

An empty text and ``None`` mean that something is not known, which every field but the ids may be. What was guessed from
a name, a header or a table stands like any other value, and its origin in ``guesses`` until a person has confirmed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from napari_melanoma.core.config import Config
from napari_melanoma.core.validity import Validity
from napari_melanoma.data.table_schema import check_value, find_column
from napari_melanoma.data.taxonomy import UNKNOWN
from napari_melanoma.io.results import read_risk_validity

VERSION = "1.0"  # a greater first number is another format; a greater second one has keys that are not known here
NAME = r"^[A-Za-z0-9_-]{0,32}$"  # of files in the case folder
Origin = Literal["name", "dicom", "exif", "table"]
CellKind = str | float | bool | None


def format_cell(value: CellKind) -> str:
    """Write a value as the table holds it.

    Returns "" for None; 1 and 0 for yes and no; numbers without a needless point.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class CasePart(Config):
    """What the parts of a case have in common: fields called as a column of the table hold what that column may."""

    guesses: dict[str, Origin] = Field({}, description="fields that nobody has confirmed: name to origin")
    more: dict[str, Any] = Field({}, description="keys that a newer version wrote, kept as they are")

    def cell(self, name: str) -> str:
        """Give a field as a form shows it and the table holds it.

        Returns "" where it is not known; 1 and 0 for yes and no.
        """
        return format_cell(getattr(self, name))

    @field_validator("*", mode="after")
    @classmethod
    def _check_column(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - of any field
        """Refuse what the column of that name could not hold."""
        column = find_column(info.field_name or "")
        if column is None or not isinstance(value, str | float | int):
            return value
        said = check_value(column, format_cell(value))
        if said:
            raise PydanticCustomError("table", "{said}", {"said": said})
        return "" if value == UNKNOWN else value


class CaseCorrection(Config):
    """A mask that a person drew or corrected, as a PNG of the upright image's size in the case folder."""

    path: Path = Field(description="PNG, 0 outside and 255 inside")
    digest: str = Field(description="SHA-256 of the mask's shape, type and pixels")
    image_digest: str = Field("", description="SHA-256 of the upright photograph that it was drawn on")
    model: str = Field("", description="the model whose mask was corrected; empty where it was drawn from nothing")
    created: str = Field("", description="UTC, ISO 8601")
    program: str = Field("", description="version of napari-melanoma")
    more: dict[str, Any] = Field({}, description="keys that a newer version wrote, kept as they are")


class CaseResult(Config):
    """A result folder, and the mask that it was derived from."""

    path: Path = Field(description="folder with result.json")
    correction: str = Field("", description="digest of the correction it rests on; empty: the model's own mask")
    model: str = Field("", description="name of the model")
    created: str = Field("", description="UTC, ISO 8601")
    more: dict[str, Any] = Field({}, description="keys that a newer version wrote, kept as they are")


class CaseRisk(Config):
    """What a model says of the risk of metastasis from a slide, as far as a dock shows it; the whole is in ``path``."""

    path: Path = Field(description="JSON with all of it, as beside the slide")
    verdict: str = Field(description="the answer in a sentence")
    probability: float = Field(ge=0, le=1)
    interval: tuple[float, float] | None = None
    shares: dict[str, float] = Field({}, description="what image, depth and patient move it by")
    without: float | None = Field(None, description="the probability where nothing is known")
    beside: dict[str, dict[str, Any]] = Field({}, description="other methods: title, probability, why there is none")
    depth: str = Field("", description="the thickness that was used, and where it is from, in words")
    known: dict[str, str] = Field({}, description="column to cell, as it was when the answer was given")
    row: dict[str, str] = Field({}, description="column to cell of the case itself, as it was when the answer was kept")
    missing: tuple[str, ...] = Field((), description="columns that the model asks for and nobody had filled in")
    warnings: tuple[str, ...] = Field((), description="what to know before it is believed")
    model: str = Field("", description="name of the model")
    fingerprint: str = Field("", description="SHA-256 of its weights")
    created: str = Field("", description="UTC, ISO 8601")
    number: str = Field("", description="the probability with its interval, in words")
    validity: dict[str, Any] | None = Field(None, description="whether it is valid, and the reasons against it")
    more: dict[str, Any] = Field({}, description="keys that a newer version wrote, kept as they are")

    @property
    def known_validity(self) -> Validity:
        """Whether it is valid, also where it was stored without saying so."""
        return read_risk_validity({**self.model_dump(mode="json"), "model": {"name": self.model}})

    @property
    def headline(self) -> str:
        """Its first line: what it says, or why it is not valid."""
        validity = self.known_validity
        return validity.headline("") or self.verdict


class CaseImage(CasePart):
    """A photograph, a tile of a total-body photograph, or a slide."""

    id: str = Field(description="I1, I2 ...: never given twice in a case", pattern=NAME)
    path: Path = Field(description="the file")
    content: str = Field("", description="digest of the file, by which it is found again")
    modality: str = Field("", description="dermoscopic, macroscopic, tbp_tile or wsi")
    mpp_x: float | None = Field(None, description="width of a pixel in micrometres, where a person said so")
    mpp_y: float | None = Field(None, description="height of a pixel in micrometres, where a person said so")
    taken_on: str = Field("", description="day, YYYY-MM-DD", pattern=r"^(\d{4}-\d\d-\d\d)?$")
    correction: CaseCorrection | None = Field(None, description="the mask that a person stands for")
    results: tuple[CaseResult, ...] = Field((), description="what was computed, the newest last")
    risk: CaseRisk | None = Field(None, description="of a slide: what a model says of the risk of metastasis")

    @property
    def name(self) -> str:
        """The file's name without suffix, as layers and results are called."""
        return self.path.stem

    @property
    def current(self) -> CaseResult | None:
        """The newest result that rests on the mask that counts now."""
        return next((result for result in reversed(self.results) if self.is_current(result)), None)

    def is_current(self, result: CaseResult) -> bool:
        """Whether a result rests on the mask that counts now.

        False where the mask was corrected, or its correction dropped, since.
        """
        return result.correction == (self.correction.digest if self.correction else "")


class CaseLesion(CasePart):
    """One lesion: where it is, what is known of it, and its images."""

    id: str = Field(description="L1, L2 ...: never given twice in a case", pattern=NAME)
    label: str = Field("", description="what its files or its table call it")
    site: str = Field("", description="region of the body, as in the harmonised table")
    sub_site: str = Field("", description="the place within it")
    laterality: str = Field("", description="side of the patient: left, right or midline")
    diagnosis: str = Field("", description="as in the harmonised table")
    diagnosis_detail: str = Field("", description="its subtype")
    diagnosis_by: str = Field("", description="how it was made")
    diameter_1_mm: float | None = Field(None, description="longest diameter")
    diameter_2_mm: float | None = Field(None, description="diameter across it")
    depth_mm: float | None = Field(None, description="Breslow thickness")
    ulceration: bool | None = Field(None, description="whether it is ulcerated")
    mitoses_per_mm2: float | None = Field(None, description="mitoses in a square millimetre")
    clark: int | None = Field(None, description="Clark level, 1 to 5")
    metastasis: bool | None = Field(None, description="whether it has spread")
    note: str = Field("", description="free text; stays in the case and is never exported")
    images: tuple[CaseImage, ...] = Field((), description="in their order")


class CasePatient(CasePart):
    """Who the lesions belong to, under a pseudonym."""

    patient_id: str = Field("", description="a pseudonym; no name and no number of a hospital")
    age: float | None = Field(None, description="years")
    sex: str = Field("", description="female or male")
    fitzpatrick: int | None = Field(None, description="skin type, I to VI as 1 to 6")
    ethnicity: str = Field("", description="as the patient or the table says")
    personal_history: bool | None = Field(None, description="melanoma before")
    family_history: bool | None = Field(None, description="melanoma in the family")
    note: str = Field("", description="free text; stays in the case and is never exported")


class Case(Config):
    """One patient with lesions and their images; ``images`` are those that belong to no lesion yet."""

    version: str = Field(VERSION, description="of the format", pattern=r"^\d+\.\d+$")
    patient: CasePatient = Field(default_factory=CasePatient, description="whom it is about")
    lesions: tuple[CaseLesion, ...] = Field((), description="in their order")
    images: tuple[CaseImage, ...] = Field((), description="images of no lesion yet")
    lesions_numbered: int = Field(0, ge=0, description="the last number that was given to a lesion")
    images_numbered: int = Field(0, ge=0, description="the last number that was given to an image")
    created: str = Field("", description="UTC, ISO 8601")
    more: dict[str, Any] = Field({}, description="keys that a newer version wrote, kept as they are")

    @model_validator(mode="after")
    def _check_unique_ids(self) -> Self:
        lesions = [lesion.id for lesion in self.lesions]
        images = [image.id for _, image in self.iterate_images()]
        for what, ids in (("lesions", lesions), ("images", images)):
            twice = [name for name, count in Counter(ids).items() if count > 1]
            if twice:
                raise ValueError(f"two {what} have the id '{twice[0]}': give one of them another")
        return self

    def iterate_images(self) -> Iterator[tuple[CaseLesion | None, CaseImage]]:
        """Go through all images, those of no lesion last.

        Yields the lesion it belongs to, and the image.
        """
        for lesion in self.lesions:
            yield from ((lesion, image) for image in lesion.images)
        yield from ((None, image) for image in self.images)

    def find_lesion(self, lesion_id: str) -> CaseLesion:
        """Find a lesion."""
        return next((found for found in self.lesions if found.id == lesion_id), None) or _raise_missing(lesion_id)

    def find_image(self, image_id: str) -> CaseImage:
        """Find an image, in a lesion or in none."""
        return next((found for _, found in self.iterate_images() if found.id == image_id), None) or _raise_missing(
            image_id
        )


def _raise_missing(name: str) -> Any:  # noqa: ANN401 - never returns
    """Raise for an id that the case does not have."""
    raise KeyError(f"the case has no {name}")
