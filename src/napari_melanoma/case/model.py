"""The data model of a case: frozen values that are stored as JSON.

Empty text and ``None`` mean unknown; all fields except the ids may be unknown. Values guessed from a name, a header or
a table are stored like others, with their origin in ``guesses`` until a user confirms them.
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

VERSION = "1.0"  # a larger major number is another format; a larger minor number has keys that are unknown here
NAME = r"^[A-Za-z0-9_-]{0,32}$"  # of files in the case folder
Origin = Literal["name", "dicom", "exif", "table"]
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
    diameter_1_mm: float | None = Field(None, description="longest diameter")
    diameter_2_mm: float | None = Field(None, description="diameter across it")
    depth_mm: float | None = Field(None, description="Breslow thickness")
    ulceration: bool | None = Field(None, description="whether it is ulcerated")
    mitoses_per_mm2: float | None = Field(None, description="mitoses per square millimeter")
    clark: int | None = Field(None, description="Clark level, 1 to 5")
    metastasis: bool | None = Field(None, description="whether it has metastasized")
    note: str = Field("", description="free text; stays in the case and is never exported")
    images: tuple[CaseImage, ...] = Field((), description="in their order")


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
        """Find a lesion."""
        return next((found for found in self.lesions if found.id == lesion_id), None) or _raise_missing(lesion_id)

    def find_image(self, image_id: str) -> CaseImage:
        """Find an image, assigned to a lesion or not."""
        return next((found for _, found in self.iterate_images() if found.id == image_id), None) or _raise_missing(
            image_id
        )


def _raise_missing(name: str) -> Any:  # noqa: ANN401 - never returns
    """Raise for an id that the case does not have."""
    raise KeyError(f"the case has no {name}")
