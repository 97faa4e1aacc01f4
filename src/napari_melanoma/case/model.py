"""The data model of a case: immutable values that are stored as JSON, and edits that return a new case.

Empty text and ``None`` mean unknown; all fields except the ids may be unknown. ``imports`` of the case states which
values were read from names, headers and tables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from napari_melanoma.core.config import Config
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.data.table_schema import check_value, field_title, find_column
from napari_melanoma.data.taxonomy import UNKNOWN
from napari_melanoma.depth.findings import SlideFindings
from napari_melanoma.depth.readings import SlideDepthReadings, format_time
from napari_melanoma.depth.report_blocks import CASE_COLUMNS
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, describe_imported_value
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.depth.t_category import ROMAN
from napari_melanoma.io.discovery import SLIDE_SUFFIXES

# Columns of the findings of a lesion by field of its synoptic report, which contains them
FINDINGS = CASE_COLUMNS
VERSION = "1.1"  # of the format: a new major version is incompatible, a new minor version only adds keys
ID_PATTERN = r"^[A-Za-z0-9_-]{0,32}$"  # ids are part of file names in the case folder
Origin = Literal["name", "content", "dicom", "exif", "table"]
ORIGINS: dict[Origin, str] = {
    "table": "tables",
    "dicom": "DICOM headers",
    "exif": "EXIF metadata",
    "content": "contents of files",
    "name": "file names",
}
CellKind = str | float | bool | None  # type of a value in a table
OTHER_FINDINGS = (
    "The findings of {} differ from those that were added to the case{}. Press Add to case again to add them."
)


def format_cell(value: CellKind) -> str:
    """Format a value for a table: empty for None, 1 and 0 for yes and no, whole numbers without a decimal point."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class CasePart(Config):
    """Base class of patient, lesion and image; a field that is named like a table column accepts only its values."""

    more: dict[str, Any] = Field({}, description="keys of a newer version, kept unchanged")

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Names of all fields, also of those that are stored in another one."""
        return tuple(cls.model_fields)

    def cell(self, name: str) -> str:
        """Format a field as in a table, see ``format_cell``."""
        return format_cell(getattr(self, name))

    @field_validator("*", mode="after")
    @classmethod
    def _check_column(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - value of any field
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
    """Predicted risk of metastasis from a slide, as shown in the Case dock; ``path`` contains the complete result."""

    path: Path = Field(description="JSON with the complete result")
    verdict: str = Field(description="the result in a sentence")
    probability: float = Field(ge=0, le=1)
    interval: tuple[float, float] | None = None
    shares: dict[str, float] = Field({}, description="contributions of image, depth and patient")
    without: float | None = Field(None, description="the probability without any data of this case")
    comparators: dict[str, dict[str, Any]] = Field(
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
        """Whether the result is valid; determined now if that was not stored."""
        return read_validity({**self.model_dump(mode="json"), "model": {"name": self.model}})

    @property
    def headline(self) -> str:
        """The result, or the reason why it is not valid."""
        validity = self.known_validity
        return validity.headline("") or self.verdict


class CaseSlideFindings(Config):
    """The findings of a slide as they were when they were added to the case: a copy, which nothing edits.

    ``added``: empty for readings that an earlier version has copied, without the report.
    """

    document: SlideFindings = Field(description="as in findings.json of the slide")
    added: str = Field("", description="UTC, ISO 8601")

    def describe_difference(self, now: SlideFindings, name: str, *, personal: bool = True) -> str:
        """State that the findings of the slide are others now; empty if they are the same, or if there are none.

        ``name``: of the slide. ``personal``: state the day of the copy.
        """
        compared = {"readings", "report"} if self.added else {"readings"}
        own, other = (one.model_dump(mode="json", include=compared) for one in (self.document, now))
        if own == other or (not now.readings and now.report is None):
            return ""
        day = (format_time(self.added) or self.added)[:10]
        return OTHER_FINDINGS.format(name, f" on {day}" if self.added and personal else "")


class CaseImage(CasePart):
    """A photograph, a tile of a total-body photograph, or a slide."""

    id: str = Field(description="I1, I2 ...: unique in a case", pattern=ID_PATTERN)
    path: Path = Field(description="the file")
    modality: str = Field("", description="dermoscopic, macroscopic, tbp_tile or wsi")
    mpp_x: float | None = Field(None, description="width of a pixel in micrometers, if set by the user")
    mpp_y: float | None = Field(None, description="height of a pixel in micrometers, if set by the user")
    taken_on: str = Field("", description="day, YYYY-MM-DD", pattern=r"^(\d{4}-\d\d-\d\d)?$")
    correction: CaseCorrection | None = Field(None, description="mask drawn or corrected by the user")
    results: tuple[CaseResult, ...] = Field((), description="results, the newest last")
    risk: CaseRisk | None = Field(None, description="of a slide: predicted risk of metastasis")
    findings: CaseSlideFindings | None = Field(None, description="of a slide: its findings when they were added")

    @property
    def readings(self) -> SlideDepthReadings:
        """The readings of a slide that were added to the case."""
        return SlideDepthReadings() if self.findings is None else self.findings.document

    @property
    def name(self) -> str:
        """The file name without suffix, used for layers and results."""
        return self.path.stem

    @property
    def pixel_size(self) -> PixelSize | None:
        """The pixel size that the case states; None if it states none."""
        return PixelSize(self.mpp_y, self.mpp_x) if self.mpp_x and self.mpp_y else None

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


class CaseFindings(CasePart):
    """Histologic findings of a lesion as a table contains them, which no reader has confirmed."""

    depth_mm: float | None = Field(None, description="Breslow thickness")
    ulceration: bool | None = Field(None, description="whether it is ulcerated")
    mitoses_per_mm2: float | None = Field(None, description="mitoses per square millimeter")
    clark: int | None = Field(None, description="Clark level, 1 to 5")

    def answer(self, name: str) -> SynopticAnswer | None:
        """Return a finding by its field of the synoptic report, as a suggestion."""
        value = getattr(self, FINDINGS[name])
        if value is None:
            return None
        if name == "ulceration":
            value = "present" if value else "not_identified"
        elif name == "clark":
            value = ROMAN[value - 1]
        return SynopticAnswer(value=value, suggested_by="case")


class CaseLesion(CasePart):
    """One lesion: site, clinical data, images, imported findings, and the synoptic report.

    ``depth_mm``, ``ulceration``, ``mitoses_per_mm2`` and ``clark`` are views: what a reader has answered in the report,
    else what was imported, unless the report is signed.
    """

    id: str = Field(description="L1, L2 ...: unique in a case", pattern=ID_PATTERN)
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
    metastasis: bool | None = Field(None, description="whether it has metastasized")
    note: str = Field("", description="free text; stays in the case and is never exported")
    images: tuple[CaseImage, ...] = Field((), description="in their order")
    imported: CaseFindings = Field(CaseFindings(), description="findings from tables, until a reader answers them")
    synoptic: SynopticReport | None = Field(None, description="synoptic report of the pathologist")

    @model_validator(mode="before")
    @classmethod
    def _read_earlier(cls, values: Any) -> Any:  # noqa: ANN401 - any input
        """Read imported findings as earlier versions stored them: as columns, or as suggestions of the report."""
        if not isinstance(values, Mapping):
            return values
        columns = {name: values[name] for name in FINDINGS.values() if name in values}
        rest = {key: value for key, value in values.items() if key not in columns}
        report = values.get("synoptic")
        if isinstance(report, Mapping):
            found, rest["synoptic"] = _split_imported(report)
            columns = {**columns, **found}
        if columns and not isinstance(values.get("imported"), CaseFindings):
            rest["imported"] = {**columns, **values.get("imported", {})}
        return rest

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Names of all fields, with the findings."""
        return (*cls.model_fields, *FINDINGS.values())

    @property
    def form(self) -> SynopticReport:
        """The synoptic report, with imported findings as suggestions where no reader has answered."""
        report = self.synoptic or SynopticReport()
        imported = {name: answer for name in FINDINGS if (answer := self.imported.answer(name)) is not None}
        return report.suggest(imported)

    @property
    def report(self) -> SynopticReport | None:
        """The form; None if no reader has filled in a field."""
        return self.form if self.synoptic is not None and self.synoptic.is_filled_in else None

    @property
    def double_findings(self) -> tuple[str, ...]:
        """State each imported finding that a reader has answered differently, or that a signed report lacks."""
        report = self.synoptic or SynopticReport()
        texts = (describe_imported_value(report, name, self.imported.answer(name)) for name in FINDINGS)
        return tuple(filter(None, texts))

    @property
    def depth_mm(self) -> float | None:
        """Breslow thickness."""
        value = self._find("breslow")
        return None if value is None else float(value)

    @property
    def depth_at_least(self) -> bool:
        """Whether the melanoma may be thicker than that."""
        answer = (self.synoptic or SynopticReport()).answer("breslow")
        return answer is not None and answer.at_least and not answer.suggested_by

    @property
    def ulceration(self) -> bool | None:
        """Whether it is ulcerated."""
        value = self._find("ulceration")
        return None if value is None else value == "present"

    @property
    def mitoses_per_mm2(self) -> float | None:
        """Mitoses per square millimeter."""
        value = self._find("mitotic_rate")
        return None if value is None else float(value)

    @property
    def clark(self) -> int | None:
        """Clark level, 1 to 5."""
        value = self._find("clark")
        return None if value is None else ROMAN.index(str(value)) + 1

    def _find(self, name: str) -> str | float | None:
        """Return the value of a finding that a reader has confirmed, else the imported one, see the class."""
        report = self.synoptic or SynopticReport()
        answer = report.answer(name)
        if answer is None or answer.suggested_by:
            answer = None if report.is_signed else self.imported.answer(name)
        return None if answer is None else answer.value


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
    imports: tuple[str, ...] = Field((), description="for each import, the values that were read from the files")
    created: str = Field("", description="UTC, ISO 8601")
    more: dict[str, Any] = Field({}, description="keys of a newer version, kept unchanged")

    @model_validator(mode="after")
    def _check_unique_ids(self) -> Self:
        lesions = [lesion.id for lesion in self.lesions]
        images = [image.id for _, image in self.iterate_images()]
        for kind, ids in (("lesions", lesions), ("images", images)):
            duplicates = [name for name, count in Counter(ids).items() if count > 1]
            if duplicates:
                raise ValueError(f"two {kind} have the id '{duplicates[0]}': change one of them")
        return self

    def iterate_images(self) -> Iterator[tuple[CaseLesion | None, CaseImage]]:
        """Yield each image with its lesion; unassigned images come last, with None instead of a lesion."""
        for lesion in self.lesions:
            yield from ((lesion, image) for image in lesion.images)
        yield from ((None, image) for image in self.images)

    def find_lesion(self, lesion_id: str) -> CaseLesion:
        """Return a lesion; raise ``KeyError`` if there is none with this id."""
        return next((lesion for lesion in self.lesions if lesion.id == lesion_id), None) or _raise_missing(lesion_id)

    def find_image(self, image_id: str) -> CaseImage:
        """Return an image, which may be unassigned; raise ``KeyError`` if there is none with this id."""
        images = (image for _, image in self.iterate_images())
        return next((image for image in images if image.id == image_id), None) or _raise_missing(image_id)


def _split_imported(report: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the imported findings in a stored report of an earlier version, as columns, and the report without them.

    They were answers that are suggested by the case, and values in the texts of ``conflicts``.
    """
    answers, texts = report.get("answers"), report.get("conflicts")
    if not isinstance(answers, Mapping):
        return {}, dict(report)
    suggested = {
        name: one for name, one in answers.items() if isinstance(one, Mapping) and one.get("suggested_by") == "case"
    }
    found = {name: one.get("value") for name, one in suggested.items() if name in FINDINGS}
    for name, text in texts.items() if isinstance(texts, Mapping) else ():
        stated = re.search(r"(?: and |Added after signature: [^:]*: )(.*?)(?:,| in the case|\. It)", str(text))
        if name in FINDINGS and stated is not None:
            words = {label: word for word, label in FIELDS_BY_NAME[name].choices.items()}
            found.setdefault(name, words.get(stated[1], stated[1].split()[0]))
    kept = {key: value for key, value in report.items() if key != "conflicts"}
    kept["answers"] = {name: one for name, one in answers.items() if name not in suggested}
    cells: dict[Any, Any] = {"present": True, "not_identified": False}
    cells |= {level: number for number, level in enumerate(ROMAN, start=1)}
    columns = {FINDINGS[name]: cells.get(value, value) for name, value in found.items()}
    has_content = SynopticReport.parse(kept, "a lesion").has_content
    return columns, kept if has_content else None


def _raise_missing(name: str) -> Any:  # noqa: ANN401 - never returns
    raise KeyError(f"the case has no {name}")


def number_lesions(case: Case) -> dict[str, str]:
    """Return the numbers that are displayed for the lesions, by id.

    They are the labels of the lesions if these are unique numbers, else the numbers in the ids.
    """
    labels = {lesion.id: lesion.label for lesion in case.lesions if lesion.label}
    by_id = {lesion.id: lesion.id.removeprefix("L") for lesion in case.lesions}
    merged = {**by_id, **labels}
    are_numbers = all(re.fullmatch(r"\d{1,3}", text) for text in labels.values())
    return merged if are_numbers and len(set(merged.values())) == len(merged) else by_id


Part = TypeVar("Part", bound=CasePart)
Value = TypeVar("Value", bound=Config)
Images = tuple[CaseImage, ...]


def set_patient(case: Case, **values: object) -> Case:
    """Set fields of the patient."""
    return _replace_fields(case, patient=_change_part(case.patient, values))


def add_lesion(case: Case, **values: object) -> Case:
    """Add a lesion with a new id; it is the last lesion of the returned case."""
    number = _last_number(case.lesions_numbered, (lesion.id for lesion in case.lesions)) + 1
    lesion = _change_part(CaseLesion(id=f"L{number}"), values)
    return _replace_fields(case, lesions=(*case.lesions, lesion), lesions_numbered=number)


def remove_lesion(case: Case, lesion_id: str) -> Case:
    """Remove a lesion; its images remain in the case as unassigned images."""
    images = case.find_lesion(lesion_id).images
    remaining = tuple(lesion for lesion in case.lesions if lesion.id != lesion_id)
    return _replace_fields(case, lesions=remaining, images=(*case.images, *images))


def set_lesion(case: Case, lesion_id: str, **values: object) -> Case:
    """Set fields of a lesion; subtype and origin of another diagnosis than the stated one are removed."""
    before = case.find_lesion(lesion_id)
    changed = _change_part(before, values)
    if before.diagnosis and changed.diagnosis != before.diagnosis:
        changed = _change_part(changed, {"diagnosis_detail": "", "diagnosis_by": "", **values})
    return _replace_lesion(case, changed)


def set_lesion_answers(
    case: Case, lesion_id: str, answers: Mapping[str, SynopticAnswer | None], reader: str, when: str, origin: str = ""
) -> Case:
    """Set findings in the synoptic report of a lesion, which must not be signed; None makes one unknown.

    ``origin``: id of the image whose reading the findings are from; empty if they were entered.
    """
    lesion = case.find_lesion(lesion_id)
    report = lesion.form
    changes = len(report.history)
    for name, answer in answers.items():
        report = report.set_answer(name, answer, reader, when)
    report = report.with_origin(origin, changes) if origin else report
    return set_lesion(case, lesion_id, **values_for_form(lesion, report))


def values_for_form(lesion: CaseLesion, edited: SynopticReport) -> dict[str, Any]:
    """Return the fields of a lesion that change when its form is edited, with their values.

    An imported finding that a reader answers or removes is imported no longer.
    """
    form = lesion.form
    removed = [
        FINDINGS[name] for name in form.suggested if name in FINDINGS and edited.answer(name) != form.answer(name)
    ]
    imported = _replace_fields(lesion.imported, **dict.fromkeys(removed))
    report = edited.without_suggestions("case")
    return {"imported": imported, "synoptic": report if report.has_content else None}


def add_images(case: Case, images: Iterable[CaseImage], lesion_id: str = "") -> Case:
    """Add images with new ids to a lesion, or without ``lesion_id`` to the unassigned images."""
    number = _last_number(case.images_numbered, (image.id for _, image in case.iterate_images()))
    numbered = [_replace_fields(image, id=f"I{new}") for new, image in enumerate(images, start=number + 1)]
    extended = _insert_images(case, lesion_id, len(_list_images(case, lesion_id)), numbered)
    return _replace_fields(extended, images_numbered=number + len(numbered))


def remove_image(case: Case, image_id: str) -> Case:
    """Remove an image from the case; its file is not changed."""
    case.find_image(image_id)
    return _map_images(case, image_id, lambda images: tuple(image for image in images if image.id != image_id))


def move_image(case: Case, image_id: str, lesion_id: str, position: int | None = None) -> Case:
    """Move an image to a lesion, or without ``lesion_id`` to the unassigned images.

    ``position``: index among the images there; None for the end.
    """
    without_image = remove_image(case, image_id)
    index = len(_list_images(without_image, lesion_id)) if position is None else position
    return _insert_images(without_image, lesion_id, index, [case.find_image(image_id)])


def move_images(case: Case, image_ids: Sequence[str], lesion_id: str, position: int | None = None) -> Case:
    """Move images as ``move_image``; they are next to each other, in this order.

    ``position``: number of other images there that precede them; None for the end.
    """
    for image in image_ids:
        case = move_image(case, image, lesion_id)
    for step, image in enumerate(image_ids if position is not None else ()):
        case = move_image(case, image, lesion_id, None if position is None else position + step)
    return case


def set_image(case: Case, image_id: str, **values: object) -> Case:
    """Set fields of an image."""
    return _replace_image(case, _change_part(case.find_image(image_id), values))


def set_paths(case: Case, paths: Mapping[str, Path]) -> Case:
    """Set the paths of images by id, all at once, since there may be thousands."""

    def update(images: Images) -> Images:
        return tuple(_replace_fields(image, path=paths.get(image.id, image.path)) for image in images)

    lesions = tuple(_replace_fields(lesion, images=update(lesion.images)) for lesion in case.lesions)
    return _replace_fields(case, lesions=lesions, images=update(case.images))


def set_correction(case: Case, image_id: str, correction: CaseCorrection | None) -> Case:
    """Set the corrected mask of an image; None removes it."""
    return _replace_image(case, _replace_fields(case.find_image(image_id), correction=correction))


def add_result(case: Case, image_id: str, result: CaseResult) -> Case:
    """Add a result to an image, in place of an earlier result in the same folder."""
    image = case.find_image(image_id)
    other_results = tuple(other for other in image.results if other.path != result.path)
    return _replace_image(case, _replace_fields(image, results=(*other_results, result)))


def add_slide_findings(case: Case, image_id: str, findings: SlideFindings, when: str = "") -> Case:
    """Add a copy of the findings of a slide to its image, in place of an earlier copy; see ``CaseSlideFindings``."""
    added = CaseSlideFindings(document=findings, added=when)
    return _replace_image(case, _replace_fields(case.find_image(image_id), findings=added))


def describe_imported(parts: Iterable[tuple[str, Mapping[str, Origin]]]) -> str:
    """Describe which values were read from files, by their sources; empty if none were.

    ``parts``: for each part, its kind, such as ``lesion``, and the sources of its fields.
    """
    counts = Counter((origin, kind, name) for kind, origins in parts for name, origin in origins.items())
    sentences = []
    for origin, source in ORIGINS.items():
        values = (
            f"{'day' if name == 'taken_on' else field_title(name).lower()} of "
            f"{'the patient' if kind == 'patient' else format_count(count, kind)}"
            for (of, kind, name), count in counts.items()
            if of == origin
        )
        if text := ", ".join(values):
            sentences.append(f"From {source}: {text}.")
    return " ".join(sentences)


def _last_number(stored: int, ids: Iterable[str]) -> int:
    """Return the last number in use; the stored one may be missing or too small in files of other programs."""
    return max([stored, *(int(number) for name in ids if (number := name[1:]).isdecimal())])


def _change_part(part: Part, values: dict[str, object]) -> Part:
    """Return a part with other values, which are validated."""
    kind = type(part)
    findings = {name: values[name] for name in values if isinstance(part, CaseLesion) and name in FINDINGS.values()}
    unknown = {name: kind.model_fields[name].get_default() for name in kind.model_fields.keys() & values.keys()}
    new_values = {
        name: unknown.get(name, value) if _is_blank(value) else value
        for name, value in values.items()
        if name not in findings
    }
    if findings and isinstance(part, CaseLesion):
        new_values["imported"] = _change_part(part.imported, findings)
    return kind.parse({**dict(part), **new_values}, "what was entered")


def _is_blank(value: object) -> bool:
    return value is None or not str(value).strip()


def _replace_fields(value: Value, **fields: object) -> Value:
    """Return a copy of a value with other fields, which are not validated."""
    return value.model_copy(update=fields)


def _list_images(case: Case, lesion_id: str) -> Images:
    """Return the images of a lesion, or without an id the unassigned images."""
    return case.find_lesion(lesion_id).images if lesion_id else case.images


def _insert_images(case: Case, lesion_id: str, position: int, images: list[CaseImage]) -> Case:
    """Insert images into those of a lesion, or without an id into the unassigned images."""
    present = _list_images(case, lesion_id)
    combined = (*present[:position], *images, *present[position:])
    if not lesion_id:
        return _replace_fields(case, images=combined)
    return _replace_lesion(case, _replace_fields(case.find_lesion(lesion_id), images=combined))


def _replace_lesion(case: Case, lesion: CaseLesion) -> Case:
    lesions = (lesion if other.id == lesion.id else other for other in case.lesions)
    return _replace_fields(case, lesions=tuple(lesions))


def _replace_image(case: Case, image: CaseImage) -> Case:
    return _map_images(
        case, image.id, lambda images: tuple(image if other.id == image.id else other for other in images)
    )


def _map_images(case: Case, image_id: str, change: Callable[[Images], Images]) -> Case:
    """Apply a change to the images of the lesion that contains an image, and to the unassigned images.

    Other lesions remain the same objects.
    """
    lesions = (
        _replace_fields(lesion, images=change(lesion.images))
        if any(image.id == image_id for image in lesion.images)
        else lesion
        for lesion in case.lesions
    )
    return _replace_fields(case, lesions=tuple(lesions), images=change(case.images))


# Data known before a diagnosis: later findings would reveal the class to a classifier
PRIOR_PATIENT_FIELDS = ("age", "sex", "fitzpatrick", "ethnicity", "personal_history", "family_history")
PRIOR_LESION_FIELDS = (
    *("site", "sub_site", "laterality", "diameter_1_mm", "diameter_2_mm"),
    *("itch", "hurt", "bleed", "elevation"),
)


def collect_prior_metadata(case: Case, lesion: CaseLesion | None) -> dict[str, str]:
    """Return the patient data of a lesion that are known before a diagnosis, by column of the harmonized table."""
    row = {name: case.patient.cell(name) for name in PRIOR_PATIENT_FIELDS}
    row |= {} if lesion is None else {name: lesion.cell(name) for name in PRIOR_LESION_FIELDS}
    return {name: text for name, text in row.items() if text}
